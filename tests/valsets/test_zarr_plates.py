"""Plates of OME-Zarr, as its reference library writes them: the same pixels, the same profiles."""

import json
import re
import shutil
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile

import unidino
from unidino import dataset, identity, images, ome_zarr, paths, tables
from unidino.train import windows
from unidino.valsets import OMEZarrMetadata

pytest.importorskip("zarr")
ngio = pytest.importorskip("ngio")

CHANNELS = ["DNA", "ER", "Mito"]
WELLS = ["B02", "B03", "C02", "C03"]


def field(seed, shape=(3, 96, 130)):
    """Bright discs on noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[-2], : shape[-1]]
    image = rng.normal(400, 40, shape)
    for _ in range(8):
        cy, cx = rng.uniform(0, shape[-2]), rng.uniform(0, shape[-1])
        image += 9000 * rng.random((*shape[:-2], 1, 1)) * ((y - cy) ** 2 + (x - cx) ** 2 < 200)
    return image.clip(0, 65535).astype(np.uint16)


def write_plate(path, version="0.4", fields=None, names=CHANNELS, axes="cyx", **options):
    """A plate as ngio writes it; {(well, field): image, or (image, acquisition)}."""
    inside = [
        ngio.ImageInWellPath(
            row=well[0],
            column=well[1:],
            path=name,
            **({"acquisition_id": image[1]} if isinstance(image, tuple) else {}),
        )
        for (well, name), image in fields.items()
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ngio.create_empty_plate(path, name="screen 7", images=inside, ngff_version=version)
        for (well, name), image in fields.items():
            ngio.create_ome_zarr_from_array(
                path / well[0] / well[1:] / name,
                image[0] if isinstance(image, tuple) else image,
                ngff_version=version,
                overwrite=True,
                consolidation_mode="numpy",
                **{
                    "pixelsize": 0.65, "levels": 2, "axes_names": axes, "channels_meta": names,
                }
                | options,
            )  # fmt: skip
    return path


FIELDS = {(well, name): field(10 * i + int(name)) for i, well in enumerate(WELLS) for name in "01"}


@pytest.fixture(scope="module", params=["0.4", "0.5"])
def plate(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("zarr")
    return write_plate(folder / f"plate{request.param}.zarr", request.param, FIELDS)


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    return write_plate(tmp_path_factory.mktemp("old") / "old.zarr", "0.4", FIELDS)


@pytest.fixture(scope="module")
def layout(tmp_path_factory):
    path = tmp_path_factory.mktemp("layout") / "layout.csv"
    frame = pd.DataFrame({"well": WELLS, "compound": ["DMSO", "DMSO", "taxol", "taxol"]})
    frame.to_csv(path, index=False)
    return str(path)


@pytest.fixture(scope="module")
def csv(tmp_path_factory):
    """The same pixels as merged TIFFs."""
    folder = tmp_path_factory.mktemp("csv")
    rows = []
    for (well, site), image in FIELDS.items():
        tifffile.imwrite(folder / f"{well}_{site}.tif", image, photometric="minisblack")
        rows.append({"path": f"{well}_{site}.tif", "plate": "screen 7", "well": well, "site": site})
    pd.DataFrame(rows).to_csv(folder / "same.csv", index=False)
    return str(folder / "same.csv")


def run(valset, weights, outdir, **options):
    options = {"reference": "all", "precision": "fp32"} | options
    return unidino.extract(str(valset), model=weights, outdir=str(outdir), **options)


def same_features(one, other):
    keys = ["Metadata_Well", "Metadata_Site"]
    one, other = (made.sort_values(keys).reset_index(drop=True) for made in (one, other))
    assert one[keys].astype(str).equals(other[keys].astype(str))
    features = tables.feature_columns(one)
    assert len(features) and features == tables.feature_columns(other)
    apart = np.abs(one[features].to_numpy() - other[features].to_numpy()).max()
    assert apart <= 1e-6


def test_a_plate_gives_the_embeddings_of_the_same_pixels(plate, csv, weights, layout, tmp_path):
    table = run(csv, weights, tmp_path, platemap=layout, channels="ch1,ch2,ch3")
    options = {"platemap": layout, "channels": "ch1=DNA,ch2=ER,ch3=Mito", "num_workers": 2}
    made = run(plate, weights, tmp_path, **options)
    same_features(made.sites(), table.sites())
    assert made.counts == table.counts | {"sites": len(FIELDS)}
    assert made.provenance["settings"]["resolution_level"] == 0
    assert set(made.profiles["Metadata_compound"]) == {"DMSO", "taxol"}


def test_a_finished_plate_is_known_again(old, weights, layout, tmp_path, capsys):
    plate = shutil.copytree(old, tmp_path / "old.zarr")
    run(plate, weights, tmp_path / "out", platemap=layout)
    capsys.readouterr()
    run(plate, weights, tmp_path / "out", platemap=layout)
    assert "1 of 1 plates are finished" in capsys.readouterr().err
    chunk = next(file for file in sorted((plate / "B/02/1/0").rglob("*")) if file.name == "0")
    chunk = chunk if chunk.is_file() else next(f for f in chunk.rglob("*") if f.is_file())
    other = next(
        f for f in sorted((plate / "C/03/1/0").rglob("*")) if f.is_file() and "." not in f.name
    )
    shutil.copy(other, chunk)
    with pytest.raises(ValueError, match="1 of 8 sites have other images or keys"):
        run(plate, weights, tmp_path / "out", platemap=layout)
    with pytest.raises(ValueError, match="resolution_level was 0, is 1"):
        run(plate, weights, tmp_path / "out", platemap=layout, resolution_level=1)


def test_what_is_read_of_a_plate(plate, capsys):
    made = unidino.open_valset(plate)
    assert type(made) is OMEZarrMetadata and made.is_merged
    assert made.channels == CHANNELS
    assert made.valset == plate.stem
    frame = made.metadata
    assert list(zip(frame["well"], frame["site"], strict=True)) == list(FIELDS)
    assert set(frame["plate"]) == {"screen 7"}
    said = capsys.readouterr().err
    version = plate.stem.removeprefix("plate")
    assert f"OME-Zarr {version}, plate screen 7, 4 wells, 8 fields; resolution level 0 of 2" in said
    assert "pixels of 0.65 µm" in said
    for i, image in enumerate(FIELDS.values()):
        np.testing.assert_array_equal(dataset.load_site(made, i), image)
    headers = dataset.site_headers(made)
    assert {(h.channels, h.height, h.width, h.names) for h in headers} == {
        (3, 96, 130, tuple(CHANNELS))
    }
    assert [h.pixel_size for h in headers] == [pytest.approx(0.65)] * 8


def test_a_lower_resolution(plate):
    made = unidino.open_valset(plate, resolution_level=1)
    file = made.paths(0)[0]
    assert file == f"{plate}/B/02/0/1" and made.resolution_level == 1
    import zarr

    np.testing.assert_array_equal(images.read_image(file), zarr.open_array(file, mode="r")[:])
    header = images.image_header(file)
    assert (header.height, header.width) == (48, 65)
    assert header.pixel_size == pytest.approx(1.3)


def test_channels_selected_and_one_row_a_channel(old):
    made = unidino.open_valset(old, channels="m=Mito,d=DNA")
    first = FIELDS["B02", "0"]
    np.testing.assert_array_equal(dataset.load_site(made, 0), first[[2, 0]])
    rows = unidino.open_valset(old, True)
    assert list(rows.metadata["channel"][:4]) == [*CHANNELS, "DNA"]
    np.testing.assert_array_equal(dataset.load_site(rows, 1), first[1:2])


@pytest.mark.parametrize("axes", ["cyx", "yx", "tczyx"])
def test_training_reads_the_chunks_of_its_windows(axes, tmp_path, monkeypatch):
    stack = field(3, (2, 3, 96, 130))
    shaped = {"cyx": stack[:, 0], "yx": stack[0, 0], "tczyx": stack[None]}
    data = shaped[axes]
    chunks = (*[1] * (data.ndim - 2), 40, 40)
    names = ["DNA", "ER"] if "c" in axes else ["DNA"]
    plate = write_plate(
        tmp_path / "x.zarr", "0.5", {("B02", "0"): data}, names, axes, chunks=chunks
    )
    made = unidino.open_valset(plate, plane="max" if "z" in axes else None)
    image = dataset.load_site(made, 0)
    reader = windows.PlaneReader(**made.reading)
    path = made.paths(0)[0]
    monkeypatch.setattr(images, "read_image", lambda *a, **o: pytest.fail("read as a whole"))
    for channel in range(len(image)):
        np.testing.assert_array_equal(reader.plane(path, channel), image[channel])
        parts = reader.windows(path, channel, [(10, 20), (50, 90)], [16, 24])
        np.testing.assert_array_equal(parts[0], image[channel, 10:26, 20:36])
        np.testing.assert_array_equal(parts[1], image[channel, 50:74, 90:114])
    (beyond,) = reader.windows(path, 0, [(-4, -4)], [8])
    np.testing.assert_array_equal(beyond, np.pad(image[0], 4, mode="reflect")[:8, :8])
    # The chunks of the lower right corner, where no window was.
    for chunk in (f for f in Path(path).rglob("3") if f.is_file() and f.parent.name == "2"):
        chunk.write_bytes(b"no chunk")
    (part,) = reader.windows(path, 0, [(0, 0)], [80])
    np.testing.assert_array_equal(part, image[0, :80, :80])
    with pytest.raises(pytest.fail.Exception, match="read as a whole"):
        reader.plane(path, 0)


def test_a_folder_of_a_plate_may_have_any_name(old, tmp_path):
    shutil.copytree(old, tmp_path / "exported")
    made = unidino.open_valset(tmp_path / "exported")
    assert type(made) is OMEZarrMetadata and made.valset == "exported"


def test_images_of_zarr_in_a_table(old, tmp_path):
    shutil.copytree(old / "B/02/0", tmp_path / "a.zarr")
    pd.DataFrame({"path": ["a.zarr"], "well": ["A01"]}).to_csv(tmp_path / "x.csv", index=False)
    made = unidino.open_valset(tmp_path / "x.csv")
    np.testing.assert_array_equal(dataset.load_site(made, 0), FIELDS["B02", "0"])


def altered(plate, target, file, change):
    """A copy of a plate of which one JSON file is changed."""
    shutil.copytree(plate, target)
    path = target / file
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return target


def test_labels_that_do_not_tell_channels_apart(old, tmp_path):
    def unnamed(content):
        for one in content["omero"]["channels"]:
            one["label"] = "DAPI"

    plate = altered(old, tmp_path / "x.zarr", "B/02/0/.zattrs", unnamed)
    assert unidino.open_valset(plate).channels == ["ch1", "ch2", "ch3"]
    plate = altered(old, tmp_path / "y.zarr", "B/02/0/.zattrs", lambda c: c.pop("omero"))
    assert unidino.open_valset(plate).channels == ["ch1", "ch2", "ch3"]


def test_more_labels_than_channels_are_none(old, tmp_path):
    def one_more(content):
        channels = content["omero"]["channels"]
        channels.append(channels[0] | {"label": "RNA"})

    plate = altered(old, tmp_path / "x.zarr", "B/02/0/.zattrs", one_more)
    assert unidino.open_valset(plate).channels == ["ch1", "ch2", "ch3"]


def test_as_bioformats2raw_writes_plates(tmp_path):
    """Five axes, its own layout at the root, an acquisition, counts that are none."""
    image = field(1)
    plate = write_plate(
        tmp_path / "b.zarr", "0.4", {("B02", "0"): (image[None, :, None], 0)}, axes="tczyx"
    )

    def as_it_does(content):
        content["bioformats2raw.layout"] = 3
        content["plate"]["field_count"] = 0
        content["plate"]["acquisitions"] = [{"id": 0, "maximumfieldcount": 0, "starttime": "x"}]

    plate = altered(plate, tmp_path / "c.zarr", ".zattrs", as_it_does)
    made = unidino.open_valset(plate)
    assert made.channels == CHANNELS and made.valset == "c"
    np.testing.assert_array_equal(dataset.load_site(made, 0), image)
    for options in ({"plane": 1, "timepoint": 1}, {"plane": "max"}, {"acquisition": 0}):
        again = unidino.open_valset(plate, **options)
        np.testing.assert_array_equal(dataset.load_site(again, 0), image)
    (header,) = dataset.site_headers(made)
    assert header.pixel_size == pytest.approx(0.65)


@pytest.mark.parametrize(
    ("units", "scale", "expected"),
    [
        (("nanometer", "nanometer"), [1.0, 650.0, 650.0], 0.65),
        ((None, None), [1.0, 0.65, 0.65], None),
        (("micrometer", "micrometer"), [1.0, 0.65, 1.3], None),
    ],
)
def test_units_of_pixels(units, scale, expected, old, tmp_path):
    def rescaled(content):
        (scales,) = content["multiscales"]
        for axis, unit in zip(scales["axes"][-2:], units, strict=True):
            axis.pop("unit", None)
            if unit:
                axis["unit"] = unit
        for i, one in enumerate(scales["datasets"]):
            one["coordinateTransformations"] = [
                {"type": "scale", "scale": [scale[0], *(2**i * n for n in scale[1:])]}
            ]

    plate = altered(old, tmp_path / "x.zarr", "B/02/0/.zattrs", rescaled)
    found = images.image_header(f"{plate}/B/02/0/0").pixel_size
    assert found == (None if expected is None else pytest.approx(expected))


def test_a_scale_of_all_levels_counts(old, tmp_path):
    def doubled(content):
        content["multiscales"][0]["coordinateTransformations"] = [
            {"type": "scale", "scale": [1.0, 2.0, 2.0]}
        ]

    plate = altered(old, tmp_path / "x.zarr", "B/02/0/.zattrs", doubled)
    assert images.image_header(f"{plate}/B/02/0/0").pixel_size == pytest.approx(1.3)


# Planes, time points, acquisitions.


@pytest.fixture(scope="module")
def deep(tmp_path_factory):
    stacks = {("B02", "0"): field(1, (2, 3, 40, 50)), ("B03", "0"): field(2, (2, 3, 40, 50))}
    path = tmp_path_factory.mktemp("deep") / "deep.zarr"
    return write_plate(path, "0.5", stacks, ["DNA", "ER"], "czyx", z_spacing=2.0), stacks


def test_planes_of_depth(deep):
    plate, stacks = deep
    message = "has 3 planes of depth (axes CZYX): set plane to one of 1 to 3 or 'max'"
    with pytest.raises(ValueError, match=re.escape(message)):
        unidino.open_valset(plate)
    stack = stacks["B02", "0"]
    for plane, expected in ((3, stack[:, 2]), ("max", stack.max(1))):
        made = unidino.open_valset(plate, plane=plane)
        np.testing.assert_array_equal(dataset.load_site(made, 0), expected)
    with pytest.raises(ValueError, match="has 3 planes of depth; plane is 4"):
        unidino.open_valset(plate, plane=4)


def test_time_points(tmp_path):
    film = field(3, (4, 2, 40, 50))
    plate = write_plate(tmp_path / "t.zarr", "0.4", {("B02", "0"): film}, ["DNA", "ER"], "tcyx")
    with pytest.raises(ValueError, match=r"has 4 time points \(axes TCYX\): set timepoint to one"):
        unidino.open_valset(plate)
    made = unidino.open_valset(plate, timepoint=2)
    np.testing.assert_array_equal(dataset.load_site(made, 0), film[1])


def test_acquisitions_are_chosen(tmp_path):
    fields = {("B02", str(i)): (field(i), i // 2) for i in range(4)}
    plate = write_plate(tmp_path / "a.zarr", "0.4", fields)
    with pytest.raises(ValueError, match="a has 2 acquisitions.*0.*: 2 images, 1.*acquisition=0"):
        unidino.open_valset(plate)
    made = unidino.open_valset(plate, acquisition=1)
    assert list(made.metadata["site"]) == ["2", "3"]
    assert made.valset == "a_acquisition1" and made.opened_with == {"acquisition": 1}
    with pytest.raises(ValueError, match="a has no acquisition 5; it has 0, 1"):
        unidino.open_valset(plate, acquisition=5)


def test_versions_of_a_field_are_said(tmp_path):
    fields = {("B02", name): field(1) for name in ("0", "0_mip", "1")}
    made = unidino.open_valset(write_plate(tmp_path / "v.zarr", "0.4", fields))
    (note,) = made.notes
    assert "wells list the images 0_mip beside those" in note
    fields = {("B02", name): field(1) for name in ("0", "1", "10")}
    assert not unidino.open_valset(write_plate(tmp_path / "w.zarr", "0.4", fields)).notes


# What is stored, and what is not.


def test_chunks_that_are_not_stored_hold_the_fill_value(old, tmp_path):
    plate = shutil.copytree(old, tmp_path / "x.zarr")
    made = unidino.open_valset(plate)
    before = identity.image_ids(made, [0, 1])
    for chunk in (plate / "B/02/0/0").iterdir():
        if chunk.name != ".zarray":
            shutil.rmtree(chunk) if chunk.is_dir() else chunk.unlink()
    assert not dataset.load_site(made, 0).any()
    after = identity.image_ids(made, [0, 1])
    assert before[0] != after[0] and before[1] == after[1]


def test_a_copy_is_the_same_image_and_another_is_not(plate, tmp_path):
    other = shutil.copytree(plate, tmp_path / plate.name)
    digests = [[identity.file_digest(f"{p}/{place}/0") for place in ("B/02/0", "B/02/1")]
               for p in (plate, other)]  # fmt: skip
    assert digests[0] == digests[1] and digests[0][0] != digests[0][1]
    assert identity.file_digest(f"{plate}/B/02/7/0") == "missing"


def test_shards_and_byte_orders(tmp_path):
    import zarr

    image = field(5)
    fields = {("B02", "0"): image}
    plate = write_plate(tmp_path / "s.zarr", "0.5", fields, chunks=(1, 48, 65), shards=(3, 96, 130))
    made = unidino.open_valset(plate)
    np.testing.assert_array_equal(dataset.load_site(made, 0), image)
    assert identity.file_digest(made.paths(0)[0])[0].isdecimal()
    plate = write_plate(tmp_path / "b.zarr", "0.4", fields)
    shutil.rmtree(plate / "B/02/0/0")
    array = zarr.create_array(
        plate / "B/02/0/0", shape=image.shape, dtype=">u2", chunks=(1, 96, 130), zarr_format=2
    )
    array[:] = image
    made = unidino.open_valset(plate)
    read = dataset.load_site(made, 0)
    assert read.dtype == np.uint16 and read.dtype.isnative
    np.testing.assert_array_equal(read, image)


# Bad input.


def drop(name):
    return lambda content: content.pop(name)


def unordered(content):
    content["multiscales"][0]["axes"].reverse()


def of_version(version):
    def change(content):
        content["multiscales"][0]["version"] = version

    return change


BAD = {
    "no name of a row": (
        ".zattrs",
        lambda c: c["plate"]["rows"][0].pop("name"),
        r"x.zarr: damaged metadata: plate.rows.0.name: Field required",
    ),
    "a well elsewhere": (
        ".zattrs",
        lambda c: c["plate"]["wells"][0].update(path="Z/99"),
        "damaged metadata: plate: .*row 'Z' in well path 'Z/99' is not in list of rows",
    ),
    "no wells": (".zattrs", lambda c: c["plate"]["wells"].clear(), "the plate has no wells"),
    "no plate": (".zattrs", drop("plate"), "x.zarr is no OME-Zarr plate"),
    "no images": (
        "B/02/.zattrs",
        lambda c: c["well"].pop("images"),
        "B/02: damaged metadata: well.images is no list of images",
    ),
    "an image elsewhere": (
        "B/02/.zattrs",
        lambda c: c["well"]["images"][0].update(path="../../../x"),
        "B/02: damaged metadata: well.images is no list of images",
    ),
    "no well": ("B/02/.zattrs", drop("well"), "B/02: its metadata describe no well: it has none"),
    "an array elsewhere": (
        "B/02/0/.zattrs",
        lambda c: c["multiscales"][0]["datasets"][0].update(path="../1/0"),
        r"B/02/0: its metadata name an array elsewhere \(../1/0\)",
    ),
    "axes": ("B/02/0/.zattrs", unordered, "B/02/0: damaged metadata: multiscales.axes: "),
    "old": ("B/02/0/.zattrs", of_version("0.3"), "B/02/0: is OME-Zarr 0.3; read are 0.4 and 0.5"),
}


@pytest.mark.parametrize("name", BAD)
def test_damaged_metadata_are_named(name, old, tmp_path):
    file, change, message = BAD[name]
    plate = altered(old, tmp_path / "x.zarr", file, change)
    with pytest.raises(ValueError, match=message):
        unidino.open_valset(plate)


@pytest.mark.parametrize("file", [".zattrs", "B/02/.zattrs", "B/02/0/.zattrs"])
def test_text_that_is_no_json(file, old, tmp_path):
    plate = shutil.copytree(old, tmp_path / "x.zarr")
    (plate / file).write_text("{")
    with pytest.raises(ValueError, match=f"x.zarr/{file}: damaged metadata"):
        unidino.open_valset(plate)


def test_other_groups_are_told_from_plates(old, tmp_path):
    shutil.copytree(old / "B/02/0", tmp_path / "image.zarr")
    with pytest.raises(ValueError, match="image.zarr is an OME-Zarr image, not a plate. List"):
        unidino.open_valset(tmp_path / "image.zarr")
    shutil.copytree(old / "B/02", tmp_path / "well.zarr")
    with pytest.raises(ValueError, match="well.zarr is a well of an OME-Zarr plate"):
        unidino.open_valset(tmp_path / "well.zarr")
    with pytest.raises(FileNotFoundError, match="no OME-Zarr plate at .*gone.zarr"):
        unidino.open_valset(tmp_path / "gone.zarr")


def test_a_missing_well_is_missing_files(old, tmp_path, capsys):
    plate = shutil.copytree(old, tmp_path / "x.zarr")
    shutil.rmtree(plate / "C/02")
    with pytest.raises(FileNotFoundError, match="2 of 8 image files are missing"):
        unidino.open_valset(plate)
    made = unidino.open_valset(plate, max_missing=0.3)
    assert len(made.metadata) == 8
    headers = dataset.site_headers(made)
    assert headers[4] == f"{plate}/C/02/0/0: no such image."
    shutil.rmtree(plate / "B")
    shutil.rmtree(plate / "C")
    with pytest.raises(FileNotFoundError, match="none of its 4 wells is there; the first is B/02"):
        unidino.open_valset(plate)


def test_images_without_arrays(old, tmp_path):
    plate = shutil.copytree(old, tmp_path / "x.zarr")
    for folder in plate.glob("*/*/*"):
        if folder.is_dir():
            shutil.rmtree(folder)
    with pytest.raises(FileNotFoundError, match="none of the 8 images of .*x.zarr is there"):
        unidino.open_valset(plate)


def test_levels_that_there_are_not(old):
    with pytest.raises(ValueError, match="old has 2 resolution levels, 0 to 1; .*level is 2"):
        unidino.open_valset(old, resolution_level=2)
    with pytest.raises(ValueError, match="resolution_level is -1"):
        unidino.open_valset(old, resolution_level=-1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop("shape"), "0/.zarray: damaged metadata"),
        (lambda c: c.update(dtype="words"), "0/.zarray: damaged metadata"),
        (lambda c: c.update(dtype="|b1"), "holds a mask"),
        (
            lambda c: c.update(shape=[3, 10**6, 10**6]),
            "says that it holds 3,000,000,000,000 pixels",
        ),
        (lambda c: c.update(chunks=[10**4] * 3), "1,000,000,000,000 pixels in a chunk"),
        (
            lambda c: c.update(shape=[96, 130], chunks=[96, 130]),
            "has 2 axes, its image's metadata 3",
        ),
    ],
)
def test_damaged_arrays_are_recorded_with_their_site(change, message, old, tmp_path):
    plate = altered(old, tmp_path / "x.zarr", "B/02/0/0/.zarray", change)
    headers = dataset.site_headers(unidino.open_valset(plate))
    assert f"{plate}/B/02/0/0" in headers[0] and message in headers[0]
    assert not isinstance(headers[1], str)
    with pytest.raises(images.ImageError, match=re.escape(message)):
        images.read_image(f"{plate}/B/02/0/0")


def test_a_damaged_chunk_is_an_error_that_names_its_image(old, tmp_path):
    plate = shutil.copytree(old, tmp_path / "x.zarr")
    for chunk in (plate / "B/02/0/0").rglob("*"):
        if chunk.is_file() and chunk.name != ".zarray":
            chunk.write_bytes(b"no chunk")
    with pytest.raises(images.ImageError, match="B/02/0/0: not a readable image"):
        images.read_image(f"{plate}/B/02/0/0")


def test_options_that_do_not_go_together(old, tmp_path, csv):
    for option, value in (("root", "x"), ("channel_axis", "last"), ("pattern", "x")):
        with pytest.raises(ValueError, match=f"{option} does not go with an OME-Zarr plate"):
            unidino.open_valset(old, **{option: value})
    for option in ("resolution_level", "acquisition"):
        for valset in (csv, "BBBC021"):
            with pytest.raises(ValueError, match=f"{option} goes with an OME-Zarr plate"):
                unidino.open_valset(valset, **{option: 1})


@pytest.mark.parametrize("module", ["zarr", "ome_zarr_models"])
def test_what_is_not_installed_is_named(module, old, monkeypatch):
    names = [name for name in sys.modules if name.partition(".")[0] == module]
    for name in [*names, module]:
        monkeypatch.setitem(sys.modules, name, None)
    ome_zarr._models.cache_clear()
    with pytest.raises(ImportError, match=rf"{module}.* is not installed: .*unidino\[zarr\]"):
        ome_zarr._models() if module != "zarr" else ome_zarr.open_array(f"{old}/B/02/0/0")
    ome_zarr._models.cache_clear()


# Plates elsewhere.


@pytest.fixture
def served(plate, server):
    """The address of a plate, and the server that has its files."""
    for file in plate.rglob("*"):
        if file.is_file():
            server.answers[f"/data/{plate.name}/{file.relative_to(plate)}"] = file.read_bytes()
    return f"http://{server.address}/data/{plate.name}", server


def test_a_plate_elsewhere_is_read_when_that_is_allowed(served, plate, weights, tmp_path):
    address, server = served
    with pytest.raises(ValueError, match="lies elsewhere, and nothing was asked.*--remote True"):
        unidino.open_valset(address)
    assert not server.asked
    made = unidino.open_valset(address, remote=True)
    assert made.valset == plate.stem and made.channels == CHANNELS
    for i, image in enumerate(FIELDS.values()):
        np.testing.assert_array_equal(dataset.load_site(made, i), image)
    options = {"norm_method": "no_post_proc", "num_workers": 0}
    far = run(address, weights, tmp_path / "far", remote=True, **options)
    here = run(plate, weights, tmp_path / "here", **options)
    same_features(far.sites(), here.sites())
    asked = [path for path in server.asked if path.rpartition("/")[2] == "0"]
    assert len(asked) == len({*asked})  # every chunk once
    count = len(server.asked)
    run(address, weights, tmp_path / "far", remote=True, **options)
    assert not [path for path in server.asked[count:] if path in server.answers]


def test_chunks_that_are_not_stored_elsewhere_hold_the_fill_value(served, plate):
    address, server = served
    for path in [*server.answers]:
        if f"{plate.name}/B/02/0/0/" in path and "zarr" not in path.rpartition("/")[2]:
            del server.answers[path]
    made = unidino.open_valset(address, remote=True)
    assert not dataset.load_site(made, 0).any()
    np.testing.assert_array_equal(dataset.load_site(made, 1), FIELDS["B02", "1"])
    digest = identity.file_digest(made.paths(0)[0])
    assert digest[0].isdecimal() and digest != identity.file_digest(made.paths(1)[0])


def test_what_a_server_refuses_is_an_error_and_no_fill_value(served, plate):
    from tests.serving import status

    address, server = served
    for path in server.answers:
        if f"{plate.name}/B/02/0/0/" in path and "zarr" not in path.rpartition("/")[2]:
            server.answers[path] = status(403)
    made = unidino.open_valset(address, remote=True)
    with pytest.raises(images.ImageError, match=r"B/02/0/0: .*the server refuses it \(403\)"):
        dataset.load_site(made, 0)


def test_a_bucket_that_does_not_list_its_files(served, monkeypatch):
    from tests import serving

    address, _ = served
    status = serving.status
    monkeypatch.setattr(serving, "status", lambda _: status(403))
    made = unidino.open_valset(address, remote=True)
    np.testing.assert_array_equal(dataset.load_site(made, 1), FIELDS["B02", "1"])
    with pytest.raises(ValueError, match=r"gone.zarr/.*the server refuses it \(403\)"):
        unidino.open_valset(address.rpartition("/")[0] + "/gone.zarr", remote=True)


def test_a_well_that_is_missing_elsewhere(served, plate):
    address, server = served
    for path in [*server.answers]:
        if f"{plate.name}/C/02/" in path:
            del server.answers[path]
    made = unidino.open_valset(address, remote=True)
    headers = dataset.site_headers(made)
    assert headers[4] == f"{address}/C/02/0/0: no such image."


def test_no_plate_elsewhere(server):
    with pytest.raises(FileNotFoundError, match="no OME-Zarr plate at http://.*/gone.zarr"):
        unidino.open_valset(f"http://{server.address}/gone.zarr", remote=True)
    with pytest.raises(ValueError, match="is not a public address"):
        unidino.open_valset("http://10.0.0.1/plate.zarr", remote=True)


# Real images.


def test_a_real_field_gives_the_embeddings_of_its_files(weights, tmp_path):
    root = paths.real_data_root()
    folder = root and root / "cellpainting_fovs" / "jump_r01c02f01"
    if not folder or not folder.is_dir():
        pytest.skip("the real images are absent: set UNIDINO_REAL to their folder")
    files = sorted(folder.glob("*.tif*"))
    planes = np.stack([tifffile.imread(file) for file in files])
    names = [f"w{i + 1}" for i in range(len(planes))]
    row = dict(zip(names, map(str, files), strict=True)) | {"well": "A02", "site": "0"}
    pd.DataFrame([row]).to_csv(tmp_path / "field.csv", index=False)
    options = {"norm_method": "no_post_proc", "resize_shorter_side": 192}
    table = run(tmp_path / "field.csv", weights, tmp_path / "out", **options)
    for version in ("0.4", "0.5"):
        plate = write_plate(
            tmp_path / f"{version}.zarr", version, {("A02", "0"): planes}, names, pixelsize=0.598
        )
        made = run(plate, weights, tmp_path / "out", **options)
        np.testing.assert_array_equal(dataset.read_site(made.metadata, 0), planes)
        same_features(made.sites(), table.sites())
        assert made.provenance["pixel_size"] == 0.598


def test_a_plate_has_no_table_of_files(old):
    from unidino.valsets.exports.table import table

    with pytest.raises(ValueError, match="old.zarr is an OME-Zarr, whose arrays no cell can name"):
        table(str(old))
