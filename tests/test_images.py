"""Every kind of file reads to the same array, and what cannot be read says why."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from unidino import images

RAW = np.random.default_rng(0).integers(0, 65535, (3, 20, 31), dtype=np.uint16)
RGB8 = (RAW >> 8).astype(np.uint8)


def tiff(data, **options):
    if data.ndim > 2:
        options = {"photometric": "minisblack"} | options

    def write(path):
        tifffile.imwrite(path, data, **options)

    return write


def pages(path):
    with tifffile.TiffWriter(path) as file:
        for plane in RAW:
            file.write(plane, contiguous=False)


FILES = {
    "paged.tif": (pages, RAW),
    "shaped.tif": (tiff(RAW), RAW),
    "one.tif": (tiff(RAW[0]), RAW[:1]),
    "planar.tif": (tiff(RGB8, photometric="rgb", planarconfig="separate"), RGB8),
    "interleaved.tif": (tiff(np.moveaxis(RGB8, 0, 2), photometric="rgb"), RGB8),
    "deflate.tiff": (tiff(RAW, compression="zlib"), RAW),
    "lzw.tif": (tiff(RAW[0], compression="lzw"), RAW[:1]),
    "zstd.tif": (tiff(RAW, compression="zstd"), RAW),
    "tiled.tif": (tiff(RAW, tile=(16, 16)), RAW),
    "big.tif": (tiff(RAW, bigtiff=True), RAW),
    "named.ome.tif": (tiff(RAW, metadata={"axes": "CYX"}), RAW),
    "imagej.tif": (tiff(RAW, imagej=True, metadata={"axes": "CYX"}), RAW),
    "flat.ome.tif": (tiff(RAW[None, :, None], metadata={"axes": "TCZYX"}), RAW),
    "float.tif": (tiff((RAW / 65535).astype(np.float32)), (RAW / 65535).astype(np.float32)),
    "bool.tif": (tiff(RAW[0] > 9999), RAW[:1] > 9999),
    "grey.png": (lambda p: Image.fromarray(RGB8[0]).save(p), RGB8[:1]),
    "grey16.png": (lambda p: Image.fromarray(RAW[0]).save(p), RAW[:1]),
    "colour.png": (lambda p: Image.fromarray(np.moveaxis(RGB8, 0, 2).copy()).save(p), RGB8),
    "plane.npy": (lambda p: np.save(p, RAW[0]), RAW[:1]),
}


@pytest.mark.parametrize("name", FILES)
def test_files_read_to_the_same_array(name, tmp_path):
    write, expected = FILES[name]
    write(tmp_path / name)
    image = images.read_image(tmp_path / name)
    assert image.dtype == expected.dtype
    assert image.flags.c_contiguous
    np.testing.assert_array_equal(image, expected)
    header = images.image_header(tmp_path / name)
    assert (header.channels, header.height, header.width) == expected.shape
    assert header.dtype == expected.dtype


def test_jpeg(tmp_path):
    smooth = np.tile(np.arange(64, dtype=np.uint8), (48, 1))
    Image.fromarray(smooth).save(tmp_path / "x.jpg", quality=95)
    image = images.read_image(tmp_path / "x.jpg")
    assert image.shape == (1, 48, 64)
    assert np.abs(image[0].astype(int) - smooth).max() < 8


@pytest.mark.parametrize(("axis", "data"), [("first", RAW), ("last", np.moveaxis(RAW, 0, 2))])
@pytest.mark.parametrize("suffix", ["npy", "tif"])
def test_channel_axis_decides_where_the_file_does_not(axis, data, suffix, tmp_path):
    path = tmp_path / f"x.{suffix}"
    if suffix == "npy":
        np.save(path, data)
    else:
        tifffile.imwrite(path, data, photometric="minisblack", metadata=None)
    np.testing.assert_array_equal(images.read_image(path, axis), RAW)
    assert images.image_header(path, axis).channels == 3


def test_named_channels_are_believed(tmp_path):
    tifffile.imwrite(tmp_path / "n.ome.tif", RAW, metadata={"axes": "CYX"})
    np.testing.assert_array_equal(images.read_image(tmp_path / "n.ome.tif", "last"), RAW)


def cut(path):
    tifffile.imwrite(path, RAW, compression="zlib", photometric="minisblack")
    path.write_bytes(path.read_bytes()[:900])


BAD = {
    "bare.npy": (lambda p: np.save(p, RAW), "does not say which axis holds the channels"),
    "four.npy": (lambda p: np.save(p, RAW[None]), "array of shape .*expected two or three axes"),
    "deep.ome.tif": (tiff(RAW, metadata={"axes": "ZYX"}), "3 planes of depth .*Save one plane"),
    "film.ome.tif": (tiff(RAW, metadata={"axes": "TYX"}), "3 planes of time"),
    "both.ome.tif": (
        tiff(np.stack([RAW, RAW]), metadata={"axes": "ZCYX"}),
        "has axes ZCYX of sizes .*at most one axis of channels",
    ),
    "alpha.png": (
        lambda p: Image.fromarray(np.zeros((4, 4, 4), np.uint8)).save(p),
        "colour mode RGBA",
    ),
    "palette.png": (
        lambda p: Image.fromarray(RGB8[0]).convert("P").save(p),
        "colour mode P, which is neither grey nor RGB",
    ),
    "text.tif": (lambda p: p.write_text("no image"), "not a readable image"),
    "text.png": (lambda p: p.write_text("no image"), "not a readable image"),
    "cut.tif": (cut, "not a readable image"),
    "x.czi": (lambda p: p.touch(), "of no kind read here; expected .tif"),
}


@pytest.mark.parametrize("name", BAD)
def test_unreadable_files_are_named(name, tmp_path):
    write, message = BAD[name]
    write(tmp_path / name)
    with pytest.raises(ValueError, match=f"{name}: .*{message}|{name}: {message}"):
        images.read_image(tmp_path / name)


def test_absent_file(tmp_path):
    for read in (images.read_image, images.image_header):
        with pytest.raises(FileNotFoundError, match="gone.tif: no such image"):
            read(tmp_path / "gone.tif")


def test_header_decodes_no_pixels(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "x.tif", RAW, photometric="minisblack")
    monkeypatch.setattr(tifffile.TiffPageSeries, "asarray", lambda *a, **k: pytest.fail("decoded"))
    assert images.image_header(tmp_path / "x.tif").channels == 3


@pytest.mark.parametrize(("shape", "expected"), [((40, 60), (20, 30)), ((61, 40), (30, 20))])
def test_shrinking_keeps_the_aspect_as_torchvision(shape, expected):
    import torch
    from torchvision.transforms import functional

    image = np.random.default_rng(1).integers(0, 4096, (2, *shape), dtype=np.uint16)
    shrunk = images.shrink_shorter_side(image, 20)
    assert shrunk.shape == (2, *expected)
    assert shrunk.dtype == np.uint16
    twin = functional.resize(torch.from_numpy(image.astype(np.float32)), 20, antialias=True)
    assert np.abs(shrunk - twin.numpy()).max() <= 0.5 + 1e-3


@pytest.mark.parametrize("side", [None, 40, 41])
def test_nothing_is_enlarged(side):
    image = np.zeros((1, 40, 60), np.uint8)
    assert images.shrink_shorter_side(image, side) is image
