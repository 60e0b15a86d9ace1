"""Every kind of file reads to the same array, and what cannot be read says why."""

import os
import struct
import zlib

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from unidino import images, remembered

RAW = np.random.default_rng(0).integers(0, 65535, (3, 20, 31), dtype=np.uint16)
RGB8 = (RAW >> 8).astype(np.uint8)
LAST = np.ascontiguousarray(np.moveaxis(RAW, 0, 2))
GREY = np.full((20, 31), 90, np.uint8)


def tiff(data, **options):
    if data.ndim > 2:
        options = {"photometric": "minisblack"} | options

    def write(path):
        tifffile.imwrite(path, data, **options)

    return write


def thumbnail(path):
    with tifffile.TiffWriter(path) as file:
        file.write(RAW, photometric="minisblack")
        file.write(RAW[0, ::4, ::4], subfiletype=1)


def pages(path):
    with tifffile.TiffWriter(path) as file:
        for plane in RAW:
            file.write(plane, contiguous=False)


RAMP = np.tile(np.arange(256, dtype=np.uint16) * 257, (3, 1))


def indexed(colours, data=RGB8[0], **options):
    """Numbers of the colours (3, 256) of a palette."""
    return tiff(data, photometric="palette", colormap=colours.astype(np.uint16), **options)


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
    "grey.png": (lambda p: Image.fromarray(RGB8[0]).save(p), RGB8[:1]),
    "grey16.png": (lambda p: Image.fromarray(RAW[0]).save(p), RAW[:1]),
    "colour.png": (lambda p: Image.fromarray(np.moveaxis(RGB8, 0, 2).copy()).save(p), RGB8),
    "deep.png": (lambda p: p.write_bytes(imagecodecs.png_encode(LAST)), RAW),
    "plane.npy": (lambda p: np.save(p, RAW[0]), RAW[:1]),
    "other_bytes.npy": (lambda p: np.save(p, RAW[0].astype(">u2")), RAW[:1]),
    "other_bytes.tif": (tiff(RAW, byteorder=">"), RAW),
    "long.npy": (lambda p: np.save(p, RAW[0].astype(">i8")), RAW[:1].astype(np.int64)),
    "thumbnail.tif": (thumbnail, RAW),
    "ramp.tif": (indexed(RAMP), RGB8[:1]),
    "dim_ramp.tif": (indexed(RAMP // 256, compression="zlib"), RGB8[:1]),
    "uneven_ramp.tif": (indexed(RAMP / 1.5), RGB8[:1]),
    "ramps.tif": (indexed(RAMP, RGB8), RGB8),
    "jpeg.png": (lambda p: Image.fromarray(GREY).save(p, format="JPEG", quality=100), None),
}


@pytest.mark.parametrize("name", FILES)
def test_files_read_to_the_same_array(name, tmp_path):
    write, expected = FILES[name]
    expected = GREY[None] if expected is None else expected
    write(tmp_path / name)
    image = images.read_image(tmp_path / name)
    assert image.dtype == expected.dtype and image.dtype.isnative
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


@pytest.mark.parametrize("options", [{}, {"metadata": None}, {"bigtiff": True}])
@pytest.mark.parametrize("channels", [2, 5, 19])
def test_a_stack_of_narrow_pages_does_not_say_where_its_channels_are(channels, options, tmp_path):
    data = np.random.default_rng(0).integers(0, 999, (20, 31, channels), dtype=np.uint16)
    path = tmp_path / "x.tif"
    tiff(data, **options)(path)
    for read in (images.read_image, images.image_header):
        with pytest.raises(images.ImageError, match=rf"\(20, 31, {channels}\) and does not say"):
            read(path)
    np.testing.assert_array_equal(images.read_image(path, "first"), data)
    np.testing.assert_array_equal(images.read_image(path, "last"), np.moveaxis(data, 2, 0))


@pytest.mark.parametrize(
    "options", [{"metadata": {"axes": "CYX"}}, {"imagej": True}, {"ome": True}]
)
def test_named_axes_may_be_narrow(options, tmp_path):
    data = np.random.default_rng(0).integers(0, 999, (9, 12, 5), dtype=np.uint16)
    tiff(data, **{"metadata": {"axes": "CYX"}} | options)(tmp_path / "x.tif")
    np.testing.assert_array_equal(images.read_image(tmp_path / "x.tif"), data)


def named(names, path, data=RAW):
    metadata = {"axes": "CYX"[-data.ndim :], "Channel": {"Name": names}}
    tifffile.imwrite(path, data, metadata=metadata, photometric="minisblack")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["DNA", " ER ", "Mito"], ("DNA", "ER", "Mito")),
        (["DNA", "ER", "DNA"], ()),
        (["DNA", "", "Mito"], ()),
        (None, ()),
    ],
)
def test_headers_know_the_names_that_tell_channels_apart(names, expected, tmp_path):
    named(names, tmp_path / "n.ome.tif")
    assert images.image_header(tmp_path / "n.ome.tif").names == expected


def test_headers_of_one_channel_and_of_other_files(tmp_path):
    named(["DNA"], tmp_path / "n.ome.tif", RAW[0])
    assert images.image_header(tmp_path / "n.ome.tif", alone=True).names == ("DNA",)
    tiff(RAW)(tmp_path / "x.tif")
    assert images.image_header(tmp_path / "x.tif").names == ()


def test_named_channels_are_believed(tmp_path):
    tifffile.imwrite(tmp_path / "n.ome.tif", RAW, metadata={"axes": "CYX"})
    np.testing.assert_array_equal(images.read_image(tmp_path / "n.ome.tif", "last"), RAW)


def cut(path):
    tifffile.imwrite(path, RAW, compression="zlib", photometric="minisblack")
    path.write_bytes(path.read_bytes()[:900])


def imagej_without_black(path):
    tifffile.imwrite(path, RAW[0], photometric="miniswhite")


def series(*arrays, **options):
    """Several images in one file."""

    def write(path):
        with tifffile.TiffWriter(path, **options) as file:
            for array in arrays:
                file.write(array, photometric="minisblack", contiguous=False)

    return write


def film(path):
    frames = [Image.fromarray(plane) for plane in RGB8]
    frames[0].save(path, save_all=True, append_images=frames[1:])


def grey_of(bits):
    """A PNG of so many bits a pixel."""

    def write(path):
        row = bytes([0]) + bytes(4)
        start = struct.pack(">IIBBBBB", 32 // bits, 1, bits, 0, 0, 0, 0)
        parts = [(b"IHDR", start), (b"IDAT", zlib.compress(row)), (b"IEND", b"")]
        made = b"".join(
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
            for kind, data in parts
        )
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + made)

    return write


def postscript(path):
    path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")


def cut_array(path):
    np.save(path, RAW[0])
    path.write_bytes(path.read_bytes()[:-1])


def sparse(path):
    tiles = [np.full((16, 16), 7, np.uint8)] * 3 + [None]
    tifffile.imwrite(path, iter(tiles), shape=GREY.shape, dtype=np.uint8, tile=(16, 16))


def nowhere(path):
    tifffile.imwrite(path, GREY)
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages.first.tags["StripOffsets"].overwrite(0)


def taller(path):
    """More rows than there are strips for."""
    tifffile.imwrite(path, GREY, rowsperstrip=5, compression="zlib", metadata=None)
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages.first.tags["ImageLength"].overwrite(40)


def cut_pages(path):
    series(*RAW)(path)
    path.write_bytes(path.read_bytes()[:-1])


def cut_plane(path):
    tifffile.imwrite(path, RAW[0])
    path.write_bytes(path.read_bytes()[:-1])


def no_number(value, dtype=np.float32):
    plane = np.ones((4, 5), dtype)
    plane[1, 2] = value
    return plane


BAD = {
    "fields.ome.tif": (series(*RAW, ome=True), r"holds 3 images \(fields\)\. List one image a row"),
    "stained.ome.tif": (series(RAW, RAW, ome=True), r"holds 2 images \(fields\)"),
    "sizes.tif": (series(RAW[0], RAW[0, 1:]), "holds 2 images, not one .20 x 31, 19 x 31"),
    "twice.tif": (series(RAW, RAW), "holds 2 images, not one .3 x 20 x 31"),
    "white.tif": (imagej_without_black, "stores white as 0 .MinIsWhite"),
    "mask.tif": (tiff(RAW[0] > 9), "holds a mask .booleans.; expected integers or real"),
    "mask.npy": (lambda p: np.save(p, RAW[0] > 9), "holds a mask"),
    "mask.png": (grey_of(1), "holds a mask"),
    "four.png": (grey_of(4), "holds 4 bits a pixel; expected 8 or 16"),
    "complex.npy": (lambda p: np.save(p, np.ones((4, 4), complex)), "values of type complex128"),
    "words.npy": (lambda p: np.save(p, np.array([["a", "b"]])), "holds values of type <U1"),
    "objects.npy": (lambda p: np.save(p, np.array([[None]]), allow_pickle=True), "type object"),
    "record.npy": (lambda p: np.save(p, np.ones((4, 4), "u1,u2")), "holds values of type"),
    "empty.npy": (lambda p: np.save(p, np.ones((0, 4))), "is empty .1 x 0 x 4 pixels"),
    "none.npy": (lambda p: np.save(p, np.ones(())), r"array of shape \(\); expected two or three"),
    "nan.npy": (lambda p: np.save(p, no_number(np.nan)), "holds 1 pixels that are not finite"),
    "inf.tif": (tiff(no_number(-np.inf)), "holds 1 pixels that are not finite"),
    "huge.npy": (lambda p: np.save(p, no_number(1e300, float)), "holds 1 pixels that are not fin"),
    "film.png": (film, "holds 3 frames; expected one image"),
    "eps.png": (postscript, "not a readable image .not a PNG file"),
    "eps.jpg": (postscript, "not a readable image"),
    "short.npy": (cut_array, "not a readable image .it ends early"),
    "short.tif": (cut_plane, "not a readable image .it ends early"),
    "pages.tif": (cut_pages, "not a readable image .it ends early"),
    "sparse.tif": (sparse, "lacks a part of its pixels"),
    "nowhere.tif": (nowhere, "lacks a part of its pixels"),
    "taller.tif": (taller, "lacks a part of its pixels"),
    "folder.tif": (lambda p: p.mkdir(), "is no file, but a folder or a device"),
    "pipe.png": (lambda p: os.mkfifo(p), "is no file, but a folder or a device"),
    "nothing.tif": (lambda p: p.touch(), "not a readable image"),
    "nothing.npy": (lambda p: p.touch(), "not a readable image"),
    "nothing.png": (lambda p: p.touch(), "not a readable image"),
    "bare.npy": (lambda p: np.save(p, RAW), "does not say which axis holds the channels"),
    "four.npy": (lambda p: np.save(p, RAW[None]), "array of shape .*expected two or three axes"),
    "deep.ome.tif": (
        tiff(RAW, metadata={"axes": "ZYX"}),
        "has 3 planes of depth .*set plane to one",
    ),
    "film.ome.tif": (
        tiff(RAW, metadata={"axes": "TYX"}),
        "has 3 time points .*set timepoint to one",
    ),
    "both.tif": (
        tiff(np.stack([RAW, RAW]), metadata={"axes": "RCYX"}),
        "has axes RCYX of sizes .*at most one axis of channels",
    ),
    "alpha.png": (
        lambda p: Image.fromarray(np.zeros((4, 4, 4), np.uint8)).save(p),
        "colour mode RGBA",
    ),
    "palette.png": (
        lambda p: Image.fromarray(RGB8[0]).convert("P").save(p),
        "colour mode P, which is neither grey nor RGB",
    ),
    "palette.tif": (
        lambda p: Image.fromarray(np.moveaxis(RGB8, 0, 2).copy()).quantize(16).save(p),
        r"has indexed colours \(a palette\).*Save it as grey values",
    ),
    "shuffled.tif": (indexed(np.random.default_rng(1).permuted(RAMP, axis=1)), "indexed colours"),
    "mixed.tif": (indexed(RAMP[:, np.random.default_rng(1).permutation(256)]), "indexed colours"),
    "falling.tif": (indexed(RAMP[:, ::-1]), "indexed colours"),
    "curved.tif": (indexed(RAMP.astype(float) ** 2 / 65535), "indexed colours"),
    "flat.tif": (indexed(RAMP * 0), "indexed colours"),
    "green.tif": (indexed(RAMP * [[0], [1], [0]]), "indexed colours"),
    "palettes.tif": (indexed(RAMP[:, ::-1], RGB8), "indexed colours"),
    "text.tif": (lambda p: p.write_text("no image"), "not a readable image"),
    "text.png": (lambda p: p.write_text("no image"), "not a readable image"),
    "cut.tif": (cut, "not a readable image"),
    "x.czi": (lambda p: p.touch(), "of no kind read here; expected .tif"),
}


@pytest.mark.parametrize("name", BAD)
def test_unreadable_files_are_named(name, tmp_path):
    write, message = BAD[name]
    write(tmp_path / name)
    with pytest.raises(images.ImageError, match=f"{name}: .*{message}|{name}: {message}"):
        images.read_image(tmp_path / name)


def test_absent_file(tmp_path):
    (tmp_path / "dangling.tif").symlink_to(tmp_path / "gone.tif")
    for read in (images.read_image, images.image_header):
        for name in ("gone", "dangling"):
            with pytest.raises(FileNotFoundError, match=f"{name}.tif: no such image"):
                read(tmp_path / f"{name}.tif")


def test_a_file_that_stands_for_a_channel_holds_one(tmp_path):
    tiff(RAW)(tmp_path / "x.tif")
    with pytest.raises(images.ImageError, match="x.tif: has 3 channels, expected one"):
        images.read_image(tmp_path / "x.tif", alone=True)


def test_headers_of_many_files(tmp_path):
    tiff(RAW)(tmp_path / "a.tif")
    (tmp_path / "b.tif").write_text("no image")
    found = images.image_headers([tmp_path / f"{name}.tif" for name in "abc"])
    assert found[0] == images.ImageHeader(3, 20, 31, np.dtype(np.uint16))
    assert str(found[0]) == "3 channels of 20 x 31 uint16"
    assert found[0].kind == "3 channels of uint16"
    assert found[1].startswith(f"{tmp_path / 'b.tif'}: not a readable image")
    assert found[2] == f"{tmp_path / 'c.tif'}: no such image."


@pytest.fixture
def opened(monkeypatch):
    """The names of the images that are opened; headers of new files are remembered."""
    monkeypatch.setattr(remembered, "SETTLED", -10)
    names = []
    open_image = images.open_image

    def counted(path, *options):
        names.append(os.path.basename(path))
        return open_image(path, *options)

    monkeypatch.setattr(images, "open_image", counted)
    return names


def test_headers_are_remembered_as_they_were(tmp_path, opened, monkeypatch):
    tiff(RAW)(tmp_path / "a.tif")
    named(["x", "y", "z"], tmp_path / "b.ome.tif")
    Image.fromarray(GREY).save(tmp_path / "c.png")
    (tmp_path / "d.tif").write_text("no image")
    files = sorted(tmp_path.iterdir())
    headers = images.image_headers(files)
    assert sorted(opened) == [file.name for file in files]
    assert headers[:3] == [images.image_header(file) for file in files[:3]]
    assert headers[1].names == ("x", "y", "z")
    opened.clear()
    again = images.image_headers(files)
    assert again == headers
    assert [one.names for one in again[:3]] == [one.names for one in headers[:3]]
    assert again[0].dtype == headers[0].dtype
    assert opened == ["d.tif"]  # what is wrong may be put right
    opened.clear()
    assert images.image_headers(files[:1], "last") == [images.image_header(files[0], "last")]
    assert opened == ["a.tif"] * 2
    opened.clear()
    monkeypatch.setenv("UNIDINO_MAX_PIXELS", "1000")
    assert "says that it holds 1,860 pixels" in images.image_headers(files)[0]
    assert sorted(opened) == [file.name for file in files]


def test_headers_that_depend_on_other_files_are_not_remembered(tmp_path, opened):
    write_set(tmp_path)
    for _ in range(2):
        assert images.image_headers([tmp_path / "DNA.ome.tif"])[0].channels == 2
    assert len(opened) == 2
    remove_companion(tmp_path)
    assert "which it names, is missing" in images.image_headers([tmp_path / "DNA.ome.tif"])[0]
    for _ in range(2):
        assert images.image_headers([tmp_path / "DNA.ome.tif"], alone=True)[0].channels == 1
    assert len(opened) == 4


def vast_tiff(path):
    shape = (60_000, 60_000)
    strip = iter([zlib.compress(b"0")])
    tifffile.imwrite(
        path, strip, shape=shape, dtype=np.uint8, compression="zlib", rowsperstrip=shape[0]
    )


def vast_png(path):
    size = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 16, 0, 0, 0, 0)
    header = struct.pack(">I", 13) + size + struct.pack(">I", zlib.crc32(size))
    data = b"IDAT" + zlib.compress(b"0")
    pixels = struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + pixels)


def vast_array(path):
    described = {"descr": "<u2", "fortran_order": False, "shape": (60_000, 60_000)}
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, described)


@pytest.mark.parametrize(
    ("write", "name"), [(vast_tiff, "x.tif"), (vast_png, "x.png"), (vast_array, "x.npy")]
)
def test_vast_images_are_refused_by_their_header(write, name, tmp_path):
    import tracemalloc

    write(tmp_path / name)
    message = f"{name}: says that it holds 3,600,000,000 pixels, more than the limit of 536,870,912"
    tracemalloc.start()
    try:
        for read in (images.read_image, images.image_header):
            with pytest.raises(images.ImageError, match=message):
                read(tmp_path / name)
        assert message in images.image_headers([tmp_path / name])[0]
        assert tracemalloc.get_traced_memory()[1] < 2**23
    finally:
        tracemalloc.stop()


def test_pages_that_lead_in_a_circle_end(tmp_path):
    series(*RAW[:2], shaped=False)(tmp_path / "x.tif")
    data = bytearray((tmp_path / "x.tif").read_bytes())
    with tifffile.TiffFile(tmp_path / "x.tif") as file:
        first, last = (file.pages[i].offset for i in range(2))
    after = last + 2 + 12 * int.from_bytes(data[last : last + 2], "little")
    assert data[after : after + 4] == bytes(4)
    data[after : after + 4] = first.to_bytes(4, "little")
    (tmp_path / "x.tif").write_bytes(data)
    np.testing.assert_array_equal(images.read_image(tmp_path / "x.tif"), RAW[:2])


@pytest.mark.parametrize("name", ["x.tif", "x.png", "x.jpg", "x.npy"])
def test_the_limit_on_pixels(name, tmp_path, monkeypatch):
    path = tmp_path / name
    np.save(path, GREY) if name == "x.npy" else Image.fromarray(GREY).save(path)
    monkeypatch.setenv("UNIDINO_MAX_PIXELS", "620")
    assert images.read_image(path).shape == (1, 20, 31)
    monkeypatch.setenv("UNIDINO_MAX_PIXELS", "619")
    for read in (images.read_image, images.image_header):
        with pytest.raises(images.ImageError, match=f"{name}: says that it holds 620 pixels.*619"):
            read(path)
    monkeypatch.setenv("UNIDINO_MAX_PIXELS", "many")
    with pytest.raises(images.ImageError, match="UNIDINO_MAX_PIXELS is 'many'; expected a number"):
        images.read_image(path)


def test_pictures_above_the_decoders_own_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    Image.fromarray(GREY).save(tmp_path / "x.png")
    np.testing.assert_array_equal(images.read_image(tmp_path / "x.png"), GREY[None])


def test_pieces_larger_than_the_image_count(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "x.tif", GREY, tile=(256, 256))
    monkeypatch.setenv("UNIDINO_MAX_PIXELS", "65535")
    with pytest.raises(
        images.ImageError, match="x.tif: says that it holds 65,536 pixels in a tile"
    ):
        images.read_image(tmp_path / "x.tif")


def test_a_strip_that_swells_is_not_decoded_further(tmp_path):
    import tracemalloc

    bomb = zlib.compress(bytes(2**27), 9)
    tifffile.imwrite(
        tmp_path / "x.tif",
        iter([bomb]),
        shape=GREY.shape,
        dtype=np.uint8,
        compression="zlib",
        rowsperstrip=20,
    )
    tracemalloc.start()
    try:
        images.read_image(tmp_path / "x.tif")
    except images.ImageError:
        pass
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 2**24


def ome(uuid, parts, images=1, channels=2, size=(20, 31)):
    """OME-XML of images whose channels lie in files: parts maps a UUID to a file's name."""
    files = list(parts.items())
    text = '<?xml version="1.0" encoding="UTF-8"?>'
    text += '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"'
    text += f' UUID="{uuid}">' if uuid else ">"
    for i in range(images):
        text += f'<Image ID="Image:{i}"><Pixels ID="Pixels:{i}" DimensionOrder="XYCZT" '
        text += f'Type="uint16" SizeX="{size[1]}" SizeY="{size[0]}" SizeC="{channels}" SizeZ="1" '
        text += 'SizeT="1">'
        for c in range(channels):
            text += f'<Channel ID="Channel:{i}:{c}" SamplesPerPixel="1"/>'
        for c in range(channels):
            text += f'<TiffData FirstC="{c}" IFD="0" PlaneCount="1">'
            if files:
                part = files[(i * channels + c) % len(files)]
                text += f'<UUID FileName="{part[1]}">{part[0]}</UUID>'
            text += "</TiffData>"
        text += "</Pixels></Image>"
    return text + "</OME>"


SET = {"urn:uuid:1": "DNA.ome.tif", "urn:uuid:2": "Actin.ome.tif"}


def write_set(folder, described=ome, parts=SET, **options):
    """One OME-TIFF a channel, each of which describes them all."""
    for i, (uuid, name) in enumerate(parts.items()):
        text = described(uuid, parts, **options)
        tifffile.imwrite(folder / name, RAW[i], description=text, metadata=None)


def test_a_set_of_files_is_read_from_any_of_them(tmp_path):
    write_set(tmp_path)
    for i, name in enumerate(SET.values()):
        np.testing.assert_array_equal(images.read_image(tmp_path / name), RAW[:2])
        alone = images.read_image(tmp_path / name, alone=True)
        np.testing.assert_array_equal(alone, RAW[i : i + 1])


def test_files_know_themselves_by_name_where_they_have_no_uuid(tmp_path):
    write_set(tmp_path, lambda uuid, parts: ome(None, parts))
    np.testing.assert_array_equal(images.read_image(tmp_path / "DNA.ome.tif"), RAW[:2])


def test_a_plate_in_one_description_is_read_one_plane_a_file_or_refused(tmp_path):
    write_set(tmp_path, images=2, channels=1)
    for i, name in enumerate(SET.values()):
        alone = images.read_image(tmp_path / name, alone=True)
        np.testing.assert_array_equal(alone, RAW[i : i + 1])
        with pytest.raises(images.ImageError, match=r"holds 2 images \(fields\), in 2 files"):
            images.read_image(tmp_path / name)


@pytest.mark.parametrize("with_uuid", [True, False])
def test_a_file_of_a_set_tells_the_name_of_its_own_channel(with_uuid, tmp_path):
    def named(uuid, parts):
        text = ome(uuid if with_uuid else None, parts)
        for c, name in enumerate(["Hoechst", "Phalloidin"]):
            text = text.replace(f'"Channel:0:{c}"', f'"Channel:0:{c}" Name="{name}"')
        return text

    write_set(tmp_path, named)
    for file, name in {"DNA.ome.tif": "Hoechst", "Actin.ome.tif": "Phalloidin"}.items():
        assert images.image_header(tmp_path / file, alone=True).names == (name,)
        assert images.image_header(tmp_path / file).names == ("Hoechst", "Phalloidin")

    def of_another_channel(uuid, parts):
        return named(uuid, parts).replace('FirstC="1"', 'FirstC="7"')

    write_set(tmp_path, of_another_channel)
    assert images.image_header(tmp_path / "Actin.ome.tif", alone=True).names == ()
    write_set(tmp_path)
    assert images.image_header(tmp_path / "DNA.ome.tif", alone=True).names == ()


def binary_only(uuid, parts):
    return ome(uuid, parts).split("<Image")[0] + '<BinaryOnly MetadataFile="x.ome" UUID="u"/></OME>'


def test_a_file_described_elsewhere(tmp_path):
    write_set(tmp_path, binary_only)
    alone = images.read_image(tmp_path / "DNA.ome.tif", alone=True)
    np.testing.assert_array_equal(alone, RAW[:1])
    with pytest.raises(images.ImageError, match="a part of an OME-TIFF set that x.ome describes"):
        images.read_image(tmp_path / "DNA.ome.tif")


def remove_companion(folder):
    (folder / "Actin.ome.tif").unlink()


def other_companion(folder):
    text = ome("urn:uuid:9", {"urn:uuid:9": "Actin.ome.tif"})
    tifffile.imwrite(folder / "Actin.ome.tif", RAW[1], description=text, metadata=None)


def broken_companion(folder):
    (folder / "Actin.ome.tif").write_text("no image")


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (remove_companion, "DNA.ome.tif: Actin.ome.tif, which it names, is missing"),
        (other_companion, "DNA.ome.tif: Actin.ome.tif, which it names, is another file"),
        (broken_companion, "Actin.ome.tif: not a readable image"),
    ],
)
def test_a_set_that_is_not_whole(harm, message, tmp_path):
    write_set(tmp_path)
    harm(tmp_path)
    for read in (images.read_image, images.image_header):
        with pytest.raises(images.ImageError, match=message):
            read(tmp_path / "DNA.ome.tif")


@pytest.mark.parametrize("name", ["/etc/hosts.tif", "../x.tif", "a/x.tif", "a\\x.tif", ""])
def test_files_elsewhere_are_not_followed(name, tmp_path):
    parts = {"urn:uuid:1": "DNA.ome.tif", "urn:uuid:2": name}
    text = ome("urn:uuid:1", parts)
    tifffile.imwrite(tmp_path / "DNA.ome.tif", RAW[0], description=text, metadata=None)
    with pytest.raises(images.ImageError, match="DNA.ome.tif: names a file that is not beside it"):
        images.read_image(tmp_path / "DNA.ome.tif")


@pytest.mark.parametrize("cut", ["</Pixels>", "</OME>"])
def test_damaged_descriptions(cut, tmp_path):
    text = ome("u", {}, channels=1).replace(cut, "")
    tifffile.imwrite(tmp_path / "x.ome.tif", RAW[0], description=text, metadata=None)
    with pytest.raises(images.ImageError, match="x.ome.tif: has damaged OME-XML"):
        images.read_image(tmp_path / "x.ome.tif")


@pytest.mark.parametrize(
    ("found", "put", "message"),
    [
        ('IFD="0"', 'IFD="1"', "does not hold the planes that its OME-XML describes"),
        ('<TiffData FirstC="1" IFD="0" PlaneCount="1"></TiffData>', "", "lacks planes"),
        ('SizeX="31"', 'SizeX="32"', "does not hold the planes that its OME-XML describes"),
    ],
)
def test_planes_that_are_described_but_not_there(found, put, message, tmp_path):
    text = ome("u", {})
    assert found in text
    tifffile.imwrite(
        tmp_path / "x.ome.tif", RAW[0], description=text.replace(found, put), metadata=None
    )
    for read in (images.read_image, images.image_header):
        with pytest.raises(images.ImageError, match=f"x.ome.tif: {message}"):
            read(tmp_path / "x.ome.tif")


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
