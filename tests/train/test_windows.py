"""Windows equal slices of the whole image, whatever the file, and cost no more than they must."""

import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from unidino import images
from unidino.train import windows

RAW = np.random.default_rng(0).integers(0, 65535, (3, 50, 70), dtype=np.uint16)
RGB8 = (RAW >> 8).astype(np.uint8)
FLOAT = (RAW / 65535).astype(np.float32)
LAST = np.ascontiguousarray(np.moveaxis(RAW, 0, 2))
TILE = (16, 32)

# Top, left, height, width: inside, the whole, a corner, one pixel, over each border, beyond the
# image, and more than twice as large.
WINDOWS = np.array(
    [
        (3, 5, 20, 20),
        (4, 6, 9, 40),
        (0, 0, 50, 70),
        (49, 69, 1, 1),
        (-7, 10, 16, 16),
        (40, 60, 24, 24),
        (-130, 200, 8, 8),
        (-60, -80, 230, 310),
    ]
)


def tiff(data, **options):
    if data.ndim > 2:
        options = {"photometric": "minisblack"} | options
    return lambda path: tifffile.imwrite(path, data, **options)


def pages(**options):
    def write(path):
        with tifffile.TiffWriter(path) as file:
            for plane in RAW:
                file.write(plane, contiguous=False, **options)

    return write


def pyramid(path):
    with tifffile.TiffWriter(path, ome=True) as file:
        options = {"tile": TILE, "compression": "zlib", "photometric": "minisblack"}
        file.write(RAW, subifds=1, metadata={"axes": "CYX"}, **options)
        file.write(RAW[:, ::2, ::2], subfiletype=1, **options)


def gaps(path):
    """Uncompressed strips in no order: the offsets of the first two change places."""
    tifffile.imwrite(path, RAW[0], rowsperstrip=16)
    with tifffile.TiffFile(path, mode="r+") as file:
        tag = file.pages.first.tags["StripOffsets"]
        first, second, *others = tag.value
        tag.overwrite((second, first, *others))


def differences(path):
    """Differences of neighbours without compression, which tifffile reads but does not write."""
    tifffile.imwrite(path, RAW[0], extratags=[(65000, 3, 1, 2, True)])
    own, predictor = struct.pack("<HH", 65000, 3), struct.pack("<HH", 317, 3)
    path.write_bytes(path.read_bytes().replace(own, predictor, 1))


def save(array):
    return lambda path: np.save(path, array)


def picture(array, **options):
    return lambda path: Image.fromarray(array).save(path, **options)


RGB8_LAST = np.ascontiguousarray(np.moveaxis(RGB8, 0, 2))
LZW = {"compression": "lzw", "rowsperstrip": 7, "predictor": True}
TILED = {"compression": "zlib", "tile": TILE}

FILES = {
    "mapped": {
        "shaped.tif": tiff(RAW),
        "paged.tif": pages(),
        "bare.tif": pages(metadata=None),
        "alone.tif": tiff(RAW[0]),
        "strips.tif": pages(rowsperstrip=4, metadata=None),
        "motorola.tif": tiff(RAW, byteorder=">"),
        "motorola_float.tif": tiff(FLOAT, byteorder=">", bigtiff=True),
        "big.tif": tiff(RAW, bigtiff=True),
        "planar.tif": tiff(RGB8, photometric="rgb", planarconfig="separate"),
        "interleaved.tif": tiff(RGB8_LAST, photometric="rgb"),
        "imagej.tif": tiff(RAW, imagej=True, metadata={"axes": "CYX"}),
        "named.ome.tif": tiff(RAW, metadata={"axes": "CYX"}),
        "flat.ome.tif": tiff(RAW[None, :, None], metadata={"axes": "TCZYX"}),
        "plane.npy": save(RAW[0]),
        "other_bytes.npy": save(RAW[0].astype(">u2")),
        "fortran.npy": save(np.asfortranarray(FLOAT[0])),
    },
    "segments": {
        "deflate.tif": tiff(RAW, compression="zlib", rowsperstrip=8),
        "lzw.tif": tiff(RAW, **LZW),
        "lzw_pages.tif": pages(**LZW),
        "motorola_lzw.tif": tiff(RAW, byteorder=">", **LZW),
        "float.tif": tiff(FLOAT, compression="zlib", predictor=3, tile=TILE),
        "tiled.tif": tiff(RAW, **TILED),
        "tiled_pages.tif": pages(metadata=None, **TILED),
        "tiled_bare.tif": tiff(RAW, tile=TILE),
        "tiled_planar.tif": tiff(RGB8, photometric="rgb", planarconfig="separate", **TILED),
        "tiled_colour.tif": tiff(RGB8_LAST, photometric="rgb", **TILED),
        "tiled.ome.tif": tiff(RAW, metadata={"axes": "CYX"}, bigtiff=True, **TILED),
        "jpeg.tif": tiff(RGB8_LAST, photometric="rgb", compression="jpeg", tile=(16, 16)),
        "pyramid.ome.tif": pyramid,
        "gaps.tif": gaps,
    },
    "whole": {
        "differences.tif": differences,
        "grey.png": picture(RGB8[0]),
        "grey16.png": picture(RAW[0]),
        "colour.png": picture(RGB8_LAST),
        "colour.jpg": picture(RGB8_LAST),
    },
}
AXES = {
    "first.npy": ("mapped", "first", save(RAW)),
    "last.npy": ("mapped", "last", save(LAST)),
    "last_fortran.npy": ("mapped", "last", save(np.asfortranarray(LAST))),
    "first.tif": ("mapped", "first", tiff(RAW, metadata=None)),
    "last.tif": ("mapped", "last", tiff(LAST, metadata=None)),
    "last_gaps.tif": ("whole", "last", tiff(LAST, metadata=None, compression="zlib")),
    "named.ome.tif": ("segments", "last", tiff(RAW, metadata={"axes": "CYX"}, **TILED)),
}
CASES = [(name, kind, None, write) for kind in FILES for name, write in FILES[kind].items()]
CASES += [(name, *case) for name, case in AXES.items()]


def twin(image, channel, places):
    """Slices of the whole plane after padding it by numpy."""
    pad = 500
    padded = np.pad(image[channel], pad, mode="reflect")
    return [padded[pad + t : pad + t + h, pad + x : pad + x + w] for t, x, h, w in places]


@pytest.mark.parametrize(("name", "kind", "axis", "write"), CASES)
def test_windows_equal_slices_of_the_image(name, kind, axis, write, tmp_path, monkeypatch):
    path = tmp_path / name
    write(path)
    image = images.read_image(path, axis)
    reader = windows.PlaneReader(axis)
    assert windows._find_layout(path, reader.reading, False).kind == kind
    if kind != "whole":
        monkeypatch.setattr(images, "read_image", lambda *a, **o: pytest.fail("read as a whole"))
    for channel in range(len(image)):
        assert reader.header(path, channel) == (*image.shape[1:], image.dtype)
        for places in (WINDOWS, WINDOWS[:1], WINDOWS[4:5]):
            made = reader.windows(str(path), channel, places[:, :2], places[:, 2:])
            for window, expected in zip(made, twin(image, channel, places), strict=True):
                assert window.dtype == image.dtype
                assert window.flags.c_contiguous and window.flags.owndata
                np.testing.assert_array_equal(window, expected)
        np.testing.assert_array_equal(reader.plane(path, channel), image[channel])


@pytest.mark.parametrize("shape", [(1, 9), (9, 1), (1, 1), (2, 3)])
def test_the_smallest_images_mirror_as_numpy(shape, tmp_path):
    plane = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    np.save(tmp_path / "x.npy", plane)
    made = windows.PlaneReader().windows(tmp_path / "x.npy", 0, WINDOWS[:, :2], WINDOWS[:, 2:])
    for window, expected in zip(made, twin(plane[None], 0, WINDOWS), strict=True):
        np.testing.assert_array_equal(window, expected)


def test_sizes_are_sides_or_pairs(tmp_path):
    tiff(RAW)(tmp_path / "x.tif")
    reader = windows.PlaneReader()
    square = reader.windows(tmp_path / "x.tif", 1, [(0, 0), (2, 3)], [5, 6])
    assert [window.shape for window in square] == [(5, 5), (6, 6)]
    assert reader.windows(tmp_path / "x.tif", 1, [], []) == []


@pytest.mark.parametrize("options", [TILED, {"compression": "zlib", "rowsperstrip": 16}])
def test_untouched_segments_are_not_decoded(options, tmp_path):
    path = tmp_path / "x.tif"
    tiff(RAW, **options)(path)
    with tifffile.TiffFile(path) as file:
        page = file.pages[1]
        last = page.dataoffsets[-1], page.databytecounts[-1]
    with open(path, "r+b") as file:
        file.seek(last[0])
        file.write(b"\xff" * last[1])
    reader = windows.PlaneReader()
    made = reader.windows(path, 1, [(0, 0), (10, 30)], [48, 38])
    np.testing.assert_array_equal(made[0], RAW[1, :48, :48])
    np.testing.assert_array_equal(made[1], RAW[1, 10:48, 30:68])
    np.testing.assert_array_equal(reader.plane(path, 2), RAW[2])
    with pytest.raises(ValueError, match="x.tif: not a readable image"):
        reader.windows(path, 1, [(40, 60)], [10])


def test_bytes_that_windows_share_are_read_once():
    rng = np.random.default_rng(0)
    stored = rng.integers(256, size=300)
    for count in [0, 1, 2, 5, 12] * 4:
        starts = rng.integers(280, size=count).tolist()
        ends = [start + int(rng.integers(1, 20)) for start in starts]
        runs, places, size = windows._joined(starts, ends)
        buffer = np.concatenate([stored[:0], *(stored[start:end] for start, end in runs)])
        assert (
            len(buffer)
            == size
            == len({i for s, e in zip(starts, ends, strict=True) for i in range(s, e)})
        )
        for start, end, place in zip(starts, ends, places, strict=True):
            np.testing.assert_array_equal(buffer[place : place + end - start], stored[start:end])


def test_a_segment_is_read_once_a_call(tmp_path, monkeypatch):
    tiff(RAW, **TILED)(tmp_path / "x.tif")
    read = tifffile.FileHandle.read_segments
    seen = []

    def recorded(self, *arguments, indices, **options):
        seen.extend(indices)
        return read(self, *arguments, indices=indices, **options)

    monkeypatch.setattr(tifffile.FileHandle, "read_segments", recorded)
    reader = windows.PlaneReader()
    reader.windows(tmp_path / "x.tif", 2, [(0, 0), (0, 0), (1, 33), (15, 31)], [16, 8, 9, 2])
    assert sorted(seen) == [0, 1, 3, 4]


def test_only_rows_of_the_plane_are_read(tmp_path, monkeypatch):
    path = tmp_path / "x.tif"
    tiff(RAW, metadata={"axes": "CYX"})(path)
    reader = windows.PlaneReader()
    reader.header(path, 1)
    # With the other planes and rows cut off or overwritten, the window is still there.
    start = path.read_bytes().index(RAW[1].tobytes())
    row = RAW.shape[2] * 2
    kept = path.read_bytes()[start + 10 * row : start + 20 * row]
    path.write_bytes(bytes(start + 10 * row) + kept)
    window = reader.windows(path, 1, [(10, 5)], [(10, 65)])[0]
    np.testing.assert_array_equal(window, RAW[1, 10:20, 5:])


@pytest.mark.parametrize("name", ["deflate.tif", "shaped.tif", "plane.npy"])
def test_damage_is_named_as_by_read_image(name, tmp_path):
    path = tmp_path / name
    next(kinds[name] for kinds in FILES.values() if name in kinds)(path)
    reader = windows.PlaneReader()
    reader.plane(path, 0)
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(ValueError, match=f"{name}: not a readable image") as whole:
        images.read_image(path)
    for one in (reader, windows.PlaneReader()):
        with pytest.raises(ValueError, match=f"{name}: not a readable image") as found:
            one.plane(path, 0)
        assert str(found.value) == str(whole.value)
    path.unlink()
    for one in (reader, windows.PlaneReader()):
        with pytest.raises(FileNotFoundError, match=f"{name}: no such image"):
            one.windows(path, 0, [(0, 0)], [4])


BAD = {
    "first.npy": (save(RAW), "does not say which axis holds the channels"),
    "deep.ome.tif": (tiff(RAW, metadata={"axes": "ZYX"}), "3 planes of depth"),
    "text.tif": (lambda path: path.write_text("no image"), "not a readable image"),
    "alpha.png": (picture(np.zeros((4, 4, 4), np.uint8)), "colour mode RGBA"),
    "x.czi": (lambda path: path.touch(), "of no kind read here"),
}


@pytest.mark.parametrize("name", BAD)
def test_unreadable_files_are_named(name, tmp_path):
    write, message = BAD[name]
    write(tmp_path / name)
    with pytest.raises(ValueError, match=f"{name}: .*{message}|{name}: {message}"):
        windows.PlaneReader().header(tmp_path / name, 0)


@pytest.mark.parametrize("name", ["deflate.tif", "shaped.tif", "colour.png"])
@pytest.mark.parametrize("channel", [-2, 3])
def test_a_channel_that_is_not_there_is_named(name, channel, tmp_path):
    next(kinds[name] for kinds in FILES.values() if name in kinds)(tmp_path / name)
    for ask in ("header", "plane"):
        with pytest.raises(ValueError, match=f"{name}: has 3 channels; channel {channel},"):
            getattr(windows.PlaneReader(), ask)(tmp_path / name, channel)


def test_empty_windows_are_refused(tmp_path):
    tiff(RAW)(tmp_path / "x.tif")
    with pytest.raises(ValueError, match="x.tif: a window of 0 pixels; expected at least 1"):
        windows.PlaneReader().windows(tmp_path / "x.tif", 0, [(0, 0)], [0])


def searches(monkeypatch):
    """The names of the files whose layout is searched for, as it happens."""
    found = []
    find = windows._find_layout
    monkeypatch.setattr(
        windows,
        "_find_layout",
        lambda path, *options: found.append(Path(path).name) or find(path, *options),
    )
    return found


def test_the_layouts_used_last_are_remembered(tmp_path, monkeypatch):
    found = searches(monkeypatch)
    for i, name in enumerate("abc"):
        np.save(tmp_path / f"{name}.npy", RAW[0, i:])
    reader = windows.PlaneReader(layouts=2)
    for name in "abacab":
        reader.header(tmp_path / f"{name}.npy", 0)
        reader._alike.clear()
    # c puts out b, as a was asked for again; b then puts out c.
    assert found == ["a.npy", "b.npy", "c.npy", "b.npy"]
    assert len(reader._known) == 2


def test_files_that_differ_in_pixels_alone_share_their_layout(tmp_path, monkeypatch):
    found = searches(monkeypatch)
    reader = windows.PlaneReader()
    wanted = {
        "a.tif": (RAW, "x"),
        "b.tif": (RAW[::-1], "x"),
        # Of the same size, but with another description, or another shape.
        "c.tif": (RAW, "y"),
        "d.tif": (RAW[:, ::-1].reshape(3, 70, 50), "y"),
    }
    for name, (data, description) in wanted.items():
        options = {"metadata": None, "description": description, "photometric": "minisblack"}
        tifffile.imwrite(tmp_path / name, data, **options)
    assert len({(tmp_path / name).stat().st_size for name in wanted}) == 1
    for name, (data, _) in wanted.items():
        np.testing.assert_array_equal(reader.plane(tmp_path / name, 2), data[2])
    assert found == ["a.tif", "c.tif", "d.tif"]


def test_few_layouts_are_kept_to_compare_with(tmp_path, monkeypatch):
    monkeypatch.setattr(windows, "_MOST_ALIKE", 2)
    reader = windows.PlaneReader()
    for i in range(4):
        np.save(tmp_path / f"{i}.npy", RAW[0, i:])
        reader.header(tmp_path / f"{i}.npy", 0)
    assert len(reader._alike) == 2
    # Nor are files kept that hold much beside their pixels.
    tifffile.imwrite(tmp_path / "x.tif", RAW, description="x" * 2**17, photometric="minisblack")
    reader = windows.PlaneReader()
    np.testing.assert_array_equal(reader.plane(tmp_path / "x.tif", 1), RAW[1])
    assert not reader._alike


def test_a_reader_can_be_sent_to_workers(tmp_path):
    tiff(RAW)(tmp_path / "x.tif")
    reader = windows.PlaneReader()
    reader.plane(tmp_path / "x.tif", 0)
    copied = pickle.loads(pickle.dumps(reader))
    np.testing.assert_array_equal(copied.plane(tmp_path / "x.tif", 2), RAW[2])


def test_files_that_stand_for_one_channel(tmp_path):
    tiff(RAW[0])(tmp_path / "one.tif")
    tiff(RAW)(tmp_path / "three.tif")
    reader = windows.PlaneReader()
    np.testing.assert_array_equal(reader.plane(tmp_path / "one.tif", windows.ONLY), RAW[0])
    np.testing.assert_array_equal(reader.plane(tmp_path / "three.tif", 0), RAW[0])
    for _ in range(2):
        with pytest.raises(ValueError, match="three.tif: has 3 channels, expected one"):
            reader.plane(tmp_path / "three.tif", windows.ONLY)


@pytest.mark.parametrize("name", ["x.tif", "x.npy"])
def test_windows_with_a_pixel_that_is_no_number_are_refused(name, tmp_path):
    plane = FLOAT[0].copy()
    plane[30, 40] = np.nan
    (save if name == "x.npy" else tiff)(plane)(tmp_path / name)
    reader = windows.PlaneReader()
    np.testing.assert_array_equal(
        reader.windows(tmp_path / name, 0, [(0, 0)], [30])[0], FLOAT[0, :30, :30]
    )
    with pytest.raises(ValueError, match=f"{name}: holds 1 pixels that are not finite"):
        reader.windows(tmp_path / name, 0, [(20, 20)], [30])


def test_large_files_are_refused_before_they_are_read(tmp_path, monkeypatch):
    tiff(RAW)(tmp_path / "x.tif")
    monkeypatch.setenv("UNIDINO_MAX_PIXELS", "10499")
    with pytest.raises(ValueError, match="x.tif: says that it holds 10,500 pixels"):
        windows.PlaneReader().header(tmp_path / "x.tif", 0)


@pytest.mark.parametrize("options", [{}, TILED])
def test_a_file_of_a_set_stands_for_its_own_plane(options, tmp_path):
    parts = "".join(
        f'<TiffData FirstC="{c}" IFD="0" PlaneCount="1">'
        f'<UUID FileName="{c}.ome.tif">urn:uuid:{c}</UUID></TiffData>'
        for c in range(2)
    )
    for c in range(2):
        text = (
            '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
            f'UUID="urn:uuid:{c}"><Image ID="Image:0"><Pixels ID="Pixels:0" SizeX="70" SizeY="50" '
            'SizeC="2" SizeZ="1" SizeT="1" DimensionOrder="XYCZT" Type="uint16">'
            f"{parts}</Pixels></Image></OME>"
        )
        path = tmp_path / f"{c}.ome.tif"
        tifffile.imwrite(path, RAW[c], description=text, metadata=None, **options)
    reader = windows.PlaneReader()
    for c in range(2):
        path = tmp_path / f"{c}.ome.tif"
        np.testing.assert_array_equal(reader.plane(path, windows.ONLY), RAW[c])
        for channel in range(2):
            np.testing.assert_array_equal(reader.plane(path, channel), RAW[channel])
