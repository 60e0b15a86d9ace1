"""Files that hold more than one image: the plane and time point asked for, and the pixels' size."""

import itertools
import re

import numpy as np
import pandas as pd
import pytest
import tifffile

import unidino
from unidino import arguments, images, pixel_size, tables
from unidino.train import windows

STACK = np.random.default_rng(0).integers(0, 65535, (2, 5, 3, 16, 23), np.uint16)
"""(T, Z, C, Y, X)."""


def written(path, axes, bigger=False, **options):
    """A TIFF of the axes named, at the first number of every other one; returns its array."""
    data = STACK[tuple(slice(None) if axis in axes else 0 for axis in "TZCYX")]
    data = np.moveaxis(data, range(data.ndim), [axes.index(a) for a in "TZCYX" if a in axes])
    options = {"metadata": {"axes": axes}, "photometric": "minisblack"} | options
    tifffile.imwrite(path, np.ascontiguousarray(data), **options)
    return data


def chosen(data, axes, plane, timepoint):
    """The (C, H, W) that is asked for, from the whole array."""
    for axis, wanted in (("T", timepoint), ("Z", plane)):
        if axis in axes:
            at = axes.index(axis)
            data = data.max(at) if wanted == "max" else data.take(wanted - 1, at)
            axes = axes.replace(axis, "")
    return data if "C" in axes else data[None]


KINDS = {
    "paged": {"ome": True},
    "compressed": {"ome": True, "compression": "zlib"},
    "tiled": {"ome": True, "tile": (16, 16)},
    "imagej": {"imagej": True},
    "bigendian": {"ome": True, "byteorder": ">"},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("axes", ["ZYX", "TYX", "TZYX", "ZCYX", "TZCYX"])
def test_the_plane_and_time_asked_for_are_read(kind, axes, tmp_path):
    data = written(tmp_path / "x.tif", axes, **KINDS[kind])
    planes = [1, 4, "max"] if "Z" in axes else [None, 1, "max"]
    times = [1, 2] if "T" in axes else [None, 1]
    for plane, timepoint in itertools.product(planes, times):
        options = {"plane": plane, "timepoint": timepoint}
        made = images.read_image(tmp_path / "x.tif", **options)
        np.testing.assert_array_equal(made, chosen(data, axes, plane, timepoint))
        header = images.image_header(tmp_path / "x.tif", **options)
        assert (header.channels, header.height, header.width) == made.shape
        for channel in range(len(made)):
            reader = windows.PlaneReader(**options)
            np.testing.assert_array_equal(reader.plane(tmp_path / "x.tif", channel), made[channel])


def test_axes_in_another_order(tmp_path):
    data = written(tmp_path / "x.ome.tif", "CZYX")
    made = images.read_image(tmp_path / "x.ome.tif", plane=2)
    np.testing.assert_array_equal(made, data[:, 1])


def pages(path, **options):
    with tifffile.TiffWriter(path) as file:
        for plane in STACK[0, :, 0]:
            file.write(plane, photometric="minisblack", **options)


@pytest.mark.parametrize("options", [{}, {"contiguous": False}, {"compression": "zlib"}])
def test_unnamed_pages_of_a_channel_can_be_planes(options, tmp_path):
    path = tmp_path / "x.tif"
    pages(path, **options)
    planes = STACK[0, :, 0]
    np.testing.assert_array_equal(images.read_image(path), planes)
    for plane, expected in ((2, planes[1]), ("max", planes.max(0))):
        made = images.read_image(path, alone=True, plane=plane)
        np.testing.assert_array_equal(made, expected[None])
    with pytest.raises(images.ImageError, match="has 5 channels.*planes of depth, set plane"):
        images.read_image(path, alone=True)
    with pytest.raises(images.ImageError, match="has 5 pages that it does not call planes"):
        images.read_image(path, plane=2)


def write_png(path):
    from PIL import Image

    Image.fromarray(STACK[0, 0, 0]).save(path)


ONE = {
    "x.tif": lambda path: tifffile.imwrite(path, STACK[0, 0, 0]),
    "x.png": write_png,
    "x.npy": lambda path: np.save(path, STACK[0, 0, 0]),
}


@pytest.mark.parametrize("name", ONE)
def test_a_file_of_one_plane_has_the_first_alone(name, tmp_path):
    ONE[name](tmp_path / name)
    for options in ({"plane": 1}, {"plane": "max"}, {"timepoint": 1}):
        made = images.read_image(tmp_path / name, **options)
        np.testing.assert_array_equal(made, STACK[:1, 0, 0])
    with pytest.raises(images.ImageError, match=f"{name}: has 1 plane of depth; plane is 2"):
        images.read_image(tmp_path / name, plane=2)
    with pytest.raises(images.ImageError, match=f"{name}: has 1 time point; timepoint is 3"):
        images.read_image(tmp_path / name, timepoint=3)


@pytest.mark.parametrize(
    ("axes", "options", "message"),
    [
        ("ZYX", {}, "has 5 planes of depth (axes ZYX): set plane to one of 1 to 5 or 'max' for"),
        ("TYX", {}, "has 2 time points (axes TYX): set timepoint to one of 1 to 2."),
        ("TZCYX", {}, "has 5 planes of depth and 2 time points (axes TZCYX): set plane to one "),
        ("TZYX", {"plane": 1}, "has 2 time points (axes TZYX): set timepoint"),
        ("ZYX", {"plane": 6}, "has 5 planes of depth; plane is 6."),
        ("TYX", {"timepoint": 3}, "has 2 time points; timepoint is 3."),
    ],
)
def test_which_plane_is_asked_for(axes, options, message, tmp_path):
    written(tmp_path / "x.ome.tif", axes)
    for ask in (images.read_image, images.image_header):
        with pytest.raises(images.ImageError, match=re.escape(f"x.ome.tif: {message}")):
            ask(tmp_path / "x.ome.tif", **options)
    assert message in images.image_headers([tmp_path / "x.ome.tif"], **options)[0]


@pytest.mark.parametrize(
    ("plane", "timepoint", "message"),
    [
        (0, None, "plane is 0; expected a number from 1, or 'max'."),
        ("mean", None, "plane is 'mean'; expected"),
        (True, None, "plane is True"),
        (None, "max", "timepoint is 'max'; expected a number from 1."),
        (None, -1, "timepoint is -1"),
    ],
)
def test_no_such_part(plane, timepoint, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        images.check_part(plane, timepoint)


def test_headers_of_other_planes_are_remembered_apart(tmp_path):
    written(tmp_path / "x.ome.tif", "ZCYX")
    found = [
        images.image_headers([tmp_path / "x.ome.tif"], plane=plane)[0] for plane in (None, 2, 9)
    ]
    assert "set plane" in found[0] and found[1].channels == 3 and "plane is 9" in found[2]


def test_one_plane_of_a_deep_file_is_read_without_the_others(tmp_path):
    import tracemalloc

    shape = (16, 512, 512)
    deep = np.zeros(shape, np.uint16)
    tifffile.imwrite(tmp_path / "x.ome.tif", deep, metadata={"axes": "ZYX"})
    tifffile.imwrite(tmp_path / "y.tif", deep, metadata={"axes": "ZYX"}, imagej=True)
    for name, plane in itertools.product(("x.ome.tif", "y.tif"), (9, "max")):
        images.read_image(tmp_path / name, plane=plane)
        tracemalloc.start()
        images.read_image(tmp_path / name, plane=plane)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert most < 6 * deep[0].nbytes, (name, plane)


# The size of a pixel.


def ome_sizes(**attributes):
    def write(path):
        metadata = {"axes": "YX"} | attributes
        tifffile.imwrite(path, STACK[0, 0, 0], metadata=metadata, ome=True)

    return write


def imagej_unit(unit, size):
    def write(path):
        resolution = (1 / size, 1 / size)
        tifffile.imwrite(
            path, STACK[0, 0, 0], imagej=True, resolution=resolution, metadata={"unit": unit}
        )

    return write


def resolution(x, y, unit):
    def write(path):
        tifffile.imwrite(path, STACK[0, 0, 0], resolution=(x, y), resolutionunit=unit)

    return write


def metaseries(state="on", unit="um", size="0.65"):
    """As MetaXpress describes its planes."""

    def write(path):
        text = (
            "<MetaData><PlaneInfo>"
            f'<prop id="spatial-calibration-state" type="bool" value="{state}"/>'
            f'<prop id="spatial-calibration-x" type="float" value="{size}"/>'
            f'<prop id="spatial-calibration-y" type="float" value="{size}"/>'
            f'<prop id="spatial-calibration-units" type="string" value="{unit}"/>'
            "</PlaneInfo></MetaData>"
        )
        options = {"software": "MetaSeries", "description": text, "metadata": None}
        options |= {"resolution": (72, 72), "resolutionunit": "INCH"}
        tifffile.imwrite(path, STACK[0, 0, 0], **options)

    return write


SIZES = {
    "micrometres.ome.tif": (ome_sizes(PhysicalSizeX=0.325, PhysicalSizeY=0.325), 0.325),
    "nanometres.ome.tif": (
        ome_sizes(
            PhysicalSizeX=650, PhysicalSizeXUnit="nm", PhysicalSizeY=650, PhysicalSizeYUnit="nm"
        ),
        0.65,
    ),
    "pixels.ome.tif": (
        ome_sizes(
            PhysicalSizeX=1, PhysicalSizeXUnit="pixel", PhysicalSizeY=1, PhysicalSizeYUnit="pixel"
        ),
        None,
    ),
    "oblong.ome.tif": (ome_sizes(PhysicalSizeX=0.3, PhysicalSizeY=0.6), None),
    "unsaid.ome.tif": (ome_sizes(), None),
    "micron.tif": (imagej_unit("micron", 0.5), 0.5),
    "escaped.tif": (imagej_unit("\\u00B5m", 0.25), 0.25),
    "nm.tif": (imagej_unit("nm", 250.0), 0.25),
    "none.tif": (imagej_unit("pixel", 1.0), None),
    "centimetre.tif": (resolution(20_000, 20_000, "CENTIMETER"), 0.5),
    "inch.tif": (resolution(25_400, 25_400, "INCH"), 1.0),
    "screen.tif": (resolution(72, 72, "INCH"), None),
    "narrow.tif": (resolution(20_000, 10_000, "CENTIMETER"), None),
    "plain.tif": (lambda path: tifffile.imwrite(path, STACK[0, 0, 0]), None),
    "metaxpress.tif": (metaseries(), 0.65),
    "uncalibrated.tif": (metaseries(state="off"), None),
    "plain.npy": (ONE["x.npy"], None),
}


@pytest.mark.parametrize("name", SIZES)
def test_pixel_sizes_that_files_know(name, tmp_path):
    write, expected = SIZES[name]
    write(tmp_path / name)
    for _ in range(2):  # the second may be remembered
        (header,) = images.image_headers([tmp_path / name])
        found = images.image_header(tmp_path / name).pixel_size
        assert found == header.pixel_size
        assert found == (None if expected is None else pytest.approx(expected, rel=1e-6))


def test_headers_are_equal_whatever_their_pixels_are_called(tmp_path):
    SIZES["micron.tif"][0](tmp_path / "a.tif")
    SIZES["plain.tif"][0](tmp_path / "b.tif")
    assert images.image_header(tmp_path / "a.tif") == images.image_header(tmp_path / "b.tif")


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (1, "µm", 1), (1, "μm", 1), ("0.5", "Micrometer", 0.5), (2, "millimeter", 2000),
        (0, "µm", None), (-1, "µm", None), ("nan", "µm", None), ("inf", "µm", None),
        (None, "µm", None), (1, None, None), (1, "furlong", None), ("wide", "µm", None),
    ],
)  # fmt: skip
def test_lengths(value, unit, expected):
    assert pixel_size.micrometres(value, unit) == expected


# Extraction.


def stacks(folder):
    """Two tables of the same sites: of stacks of one channel, and of their second planes."""
    rng = np.random.default_rng(1)
    rows = {"stacks": [], "planes": []}
    for well in range(4):
        stack = rng.integers(0, 60000, (3, 48, 64), np.uint16)
        tifffile.imwrite(folder / f"{well}.ome.tif", stack, metadata={"axes": "ZYX"})
        tifffile.imwrite(folder / f"{well}.tif", stack[1])
        for name, end in (("stacks", ".ome.tif"), ("planes", ".tif")):
            rows[name].append({"DNA": f"{well}{end}", "plate": "p", "well": f"A{well + 1:02d}"})
    for name, listed in rows.items():
        pd.DataFrame(listed).to_csv(folder / f"{name}.csv", index=False)
    return [str(folder / f"{name}.csv") for name in rows]


def test_an_extraction_of_a_plane_is_that_of_files_of_it(tmp_path):
    deep, flat = stacks(tmp_path)

    def run(valset, **given):
        return unidino.extract(
            valset, model="random_vit", arch="vit_tiny", size=48, min_foreground=0.0,
            norm_method="no_post_proc", outdir=str(tmp_path / "out"), precision="fp32", **given,
        )  # fmt: skip

    with pytest.raises(ValueError, match="0.ome.tif: has 3 planes of depth .*set plane to one"):
        run(deep, on_error="raise")
    made, other = run(deep, plane=2), run(flat)
    features = tables.feature_columns(made.profiles)
    apart = made.profiles[features].to_numpy() - other.profiles[features].to_numpy()
    assert len(features) and np.abs(apart).max() <= 1e-6
    assert made.provenance["settings"]["plane"] == 2
    assert "plane" not in other.provenance["settings"]
    with pytest.raises(ValueError, match="plane was 2, is 'max'"):
        run(deep, plane="max")
    # The command line has a number or the word.
    parsed = arguments.parser(unidino.extract, "unidino extract").parse_args
    assert parsed(["--valset", "x", "--plane", "2"]).plane == 2
    assert parsed(["--valset", "x", "--plane", "max"]).plane == "max"
    with pytest.raises(ValueError, match="plane is 'mean'; expected a number from 1, or 'max'"):
        run(deep, plane="mean")
