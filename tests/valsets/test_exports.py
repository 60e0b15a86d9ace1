"""Folders as microscopes write them: every layout, what is asked, what each mistake is told."""

import os
import re
import subprocess
import sys
import uuid
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
import torch

import unidino
from unidino import cli, dataset, identity, paths, valsets
from unidino.models import checkpoints, vit
from unidino.train import augment, data
from unidino.valsets import ExportMetadata, open_valset
from unidino.valsets.exports import harmony
from unidino.valsets.exports.layouts import LAYOUTS
from unidino.verify import verify
from unidino.wells import row_letters

PROJECT = Path(__file__).resolve().parents[2]
SIDE = 40
WELLS = ((1, 2), (1, 11), (2, 2))
PLATES = ("P1", "P2")


def pixels(plate, row, column, site, channel, plane=1, timepoint=1):
    """The image of these numbers, the same wherever it is written."""
    seed = [PLATES.index(plate), row, column, site, channel, plane, timepoint]
    image = np.random.default_rng(seed).normal(300, 40, (SIDE, SIDE))
    image[8:20, 5 * channel : 5 * channel + 12] += 3000
    return image.astype(np.uint16)


def guid(*numbers):
    return str(uuid.UUID(int=hash(numbers) % 2**128)).upper()


def well(row, column):
    return f"{row_letters(row)}{column:02d}"


def phenix(p, r, c, s, ch, z=1, t=1):
    inner = f"{p}__2021-05-02T16_02_51-Measurement 1/Images"
    return f"{inner}/r{r:02d}c{c:02d}f{s:02d}p{z:02d}-ch{ch}sk{t}fk1fl1.tiff"


def imagexpress(p, r, c, s, ch, z=None, t=1):
    inner = f"TimePoint_{t}" + (f"/ZStep_{z}" if z else "")
    return f"{p}/{inner}/HTS_{well(r, c)}_s{s}_w{ch}{guid(p, r, c, s, ch, z, t)}.tif"


WRITERS = {
    "Opera Phenix or Operetta (Harmony)": phenix,
    "CellVoyager CV7000 or CV8000": lambda p, r, c, s, ch, z=1, t=1: (
        f"{p}/AssayPlate_#655090_{well(r, c)}_T{t:04d}F{s:03d}L01A0{ch}Z{z:02d}C{ch:02d}.tif"
    ),
    "CQ1": lambda p, r, c, s, ch, z=1, t=1: (
        f"{p}/Image/W{24 * (r - 1) + c:04d}F{s:04d}T{t:04d}Z{z:03d}C{ch}.tif"
    ),
    "IN Cell Analyzer": lambda p, r, c, s, ch, z=1, t=1: (
        f"{p}/{row_letters(r)} - {c:02d}(fld {s} wv {STAINS[ch]} - {STAINS[ch]} z {z}).tif"
    ),
    "scan^R": lambda p, r, c, s, ch, z=1, t=1: (
        f"{p}/data/{row_letters(r)}{c}--W{24 * (r - 1) + c:05d}--P{s:05d}--Z{z - 1:05d}"
        f"--T{t - 1:05d}--{STAINS[ch]}.tif"
    ),
    "Cytation (Gen5)": lambda p, r, c, s, ch, z=1, t=1: (
        f"{p}/{row_letters(r)}{c}_02_{ch}_{s}_{STAINS[ch]}_{t:03d}.tif"
    ),
    "ImageXpress HCS.ai": lambda p, r, c, s, ch, z=1, t=1: (
        f"{p}/experiment/timepoint{t - 1}/painting_t{t - 1}_{well(r, c)}_s{s}_w{ch}_z{z - 1}.tif"
    ),
    "ArrayScan or CellInsight": lambda p, r, c, s, ch, z=1, t=1: (
        f"{p}/020506_{well(r, c)}f{s:02d}d{ch}.TIF"
    ),
    "ImageXpress (MetaXpress)": imagexpress,
    "ImageXpress (MetaXpress), one image a well": lambda p, r, c, s, ch, z=1, t=1: (
        f"{p}/TimePoint_1/HTS_{well(r, c)}.tif"
    ),
}
STAINS = {1: "DAPI", 2: "FITC", 3: "Cy5"}
NAMES = {
    "Opera Phenix or Operetta (Harmony)": "ch{n}",
    "CellVoyager CV7000 or CV8000": "C{n:02d}",
    "CQ1": "C{n}",
    "IN Cell Analyzer": "{stain} - {stain}",
    "scan^R": "{stain}",
    "Cytation (Gen5)": "{stain}",
    "ArrayScan or CellInsight": "d{n}",
    "ImageXpress HCS.ai": "w{n}",
    "ImageXpress (MetaXpress)": "w{n}",
    "ImageXpress (MetaXpress), one image a well": "w1",
}


def write(root, writer, plates=PLATES, wells=WELLS, sites=(1, 2), channels=(1, 2), **axes):
    """Images of a layout below a folder; {(plate, well, site): their paths, channel by channel}."""
    made = {}
    planes, times = axes.get("planes", (None,)), axes.get("timepoints", (None,))
    for plate in plates:
        for row, column in wells:
            for site in sites:
                files = made.setdefault((plate, well(row, column), str(site)), [])
                for channel in channels:
                    for z in planes:
                        for t in times:
                            more = {} if z is None else {"z": z}
                            more |= {} if t is None else {"t": t}
                            path = root / writer(plate, row, column, site, channel, **more)
                            path.parent.mkdir(parents=True, exist_ok=True)
                            image = pixels(plate, row, column, site, channel, z or 1, t or 1)
                            tifffile.imwrite(path, image)
                            files.append(str(path))
    return made


def keyed(metadata):
    """{(plate, well, site): files} of a dataset."""
    keys = metadata.metadata[["plate", "well", "site"]].itertuples(index=False, name=None)
    return dict(zip(keys, metadata.files(), strict=True))


def as_csv(root, made, channels, name="plate.csv"):
    """The same files as a table of one row a site."""
    rows = [dict(zip(("plate", "well", "site"), key, strict=True)) for key in made]
    for row, files in zip(rows, made.values(), strict=True):
        row |= dict(zip(channels, files, strict=True))
    pd.DataFrame(rows).to_csv(root / name, index=False)
    return root / name


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = vit.EmbeddingModel(vit.ModelConfig(arch="vit_tiny", size=32, intensity="dtype"))
    checkpoints.save_model(made, path)
    return str(path)


def embedded(valset, model, outdir, **options):
    """Site embeddings in the order of plates, wells and sites."""
    made = unidino.extract(
        str(valset), model=model, outdir=str(outdir), norm_method="no_post_proc", **options
    )
    sites = made.sites().sort_values(["Metadata_Plate", "Metadata_Well", "Metadata_Site"])
    return sites.reset_index(drop=True)


def features(frame):
    return frame[[name for name in frame if name.startswith("emb_")]].to_numpy()


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_every_layout(layout, tmp_path, capfd):
    root = tmp_path / "screen"
    several = (1,) if layout.weak else (1, 2)
    made = write(root, WRITERS[layout.name], sites=several, channels=several)
    if layout.name == "CQ1":  # which counts wells
        number = {"A02": "2", "A11": "11", "B02": "26"}
        made = {(plate, number[name], site): f for (plate, name, site), f in made.items()}
    metadata = open_valset(root)
    assert isinstance(metadata, ExportMetadata)
    assert keyed(metadata) == made
    form = NAMES[layout.name]
    assert metadata.channels == [form.format(n=n, stain=STAINS[n]) for n in several]
    assert metadata.valset == "screen" and metadata.root == str(root)
    said = capfd.readouterr().err
    assert f"names of {layout.name}, such as " in said
    counts = "6 sites; 1 channel (" if layout.weak else "12 sites; 2 channels ("
    assert f"2 plates (P1, P2); 6 wells; {counts}" in said
    assert "1 plane; 1 time point" in said
    image = dataset.load_site(metadata, 0)
    plate, name, site = metadata.metadata.loc[0, ["plate", "well", "site"]]
    row, column = next(p for p in WELLS if name in (well(*p), str(24 * (p[0] - 1) + p[1])))
    expected = [pixels(plate, row, column, int(site), channel) for channel in several]
    np.testing.assert_array_equal(image, expected)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_example_of_every_layout_is_its_own_alone(layout):
    name = layout.example.replace("AB12CD34-…", guid(1))
    assert [one.name for one in LAYOUTS if one.pattern.fullmatch(name)] == [layout.name]


# Names as the sources of `layouts` quote them: (well, site, channel, plane, time point) as written.
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("r04c17f01p07-ch1sk1fk1fl1.tiff", ("04c17", "01", "1", "07", "1")),
        ("r01c01f001p01-ch1.tiff", ("01c01", "001", "1", "01", None)),
        ("r01c01f01p01rc2-ch15sk3fk1fl1.tiff", ("01c01", "01", "15", "01", "3")),
        (
            "AssayPlate_Greiner_#655090_B02_T0001F004L01A01Z01C01.tif",
            ("B02", "004", "01", "01", "0001"),
        ),
        (
            "20200812-CardiomyocyteDifferentiation14-Cycle1_B03_T0001F036L01A01Z18C01.png",
            ("B03", "036", "01", "18", "0001"),
        ),
        ("Dest210809-141456_K06_T0001F001L01A03Z01C04.tif", ("K06", "001", "04", "01", "0001")),
        ("W0262F0001T0001Z000C2.tif", ("0262", "0001", "2", None, "0001")),
        ("W1F001T0001Z01C1.tif", ("1", "001", "1", "01", "0001")),
        ("A - 01(fld 2 wv Blue - FITC).tif", ("Ac01", "2", "Blue - FITC", None, None)),
        (
            "A - 01(fld 1 wv UV - DAPI z 3 time 2 - 2636ms).tif",
            ("Ac01", "1", "UV - DAPI", "3", "2"),
        ),
        (
            "C - 6(fld 1 wv TL - Bright field - open z 01).tif",
            ("Cc6", "1", "TL - Bright field - open", "01", None),
        ),
        ("A - 13(fld 2).tif", ("Ac13", "2", None, None, None)),
        ("A01f01d2.TIF", ("A01", "01", "2", None, None)),
        ("020506platerun_A01f01d2.TIF", ("A01", "01", "2", None, None)),
        (
            "A1--W00001--P00001--Z00000--T00000--Alexa 488.tif",
            ("A1", "00001", "Alexa 488", "00000", "00000"),
        ),
        ("A1_01_1_1_DAPI_001.tif", ("A1", "1", "DAPI", None, "001")),
        (
            "ACHN-20X-P009041_B02_s1_w1836B5662-3526-47FE-A453-0D1775E08D17.tif",
            ("B02", "1", "1", None, None),
        ),
        (
            "G10_s1_w1BEDC2073-A983-4B98-95E9-84466707A25D.tif",
            ("G10", "1", "1", None, None),
        ),
        ("TE12345_A05_s1_w1.tif", ("A05", "1", "1", None, None)),
        ("Plate_AF48_s37_w10.TIF", ("AF48", "37", "10", None, None)),
        ("HTS_A01_s1_w1_thumb6A1B.tif", None),
        ("SC_BP445-45_40x_M10_CH01.tif", None),
        ("DC_sCMOS #1_CAM1.tif", None),
        ("A01.tif", None),
        ("overview.png", None),
    ],
)
def test_names_of_real_files(name, expected):
    found = [match for one in LAYOUTS if (match := one.pattern.fullmatch(name))]
    assert len(found) == (expected is not None)
    if found:
        groups = found[0].groupdict()
        place = groups.get("well") or f"{groups['row']}c{groups['column']}"
        rest = (groups.get(part) for part in ("site", "channel", "plane", "timepoint"))
        assert (place, *rest) == expected


def test_images_of_one_channel_without_a_name(tmp_path):
    named(tmp_path, "A - 13(fld 2).tif", "B - 01(fld 2).tif")
    metadata = open_valset(tmp_path)
    assert metadata.channels == ["ch1"]
    assert metadata.metadata["well"].tolist() == ["A13", "B01"]
    assert dataset.load_site(metadata, 1).shape == (1, SIDE, SIDE)


def test_weak_names_give_way(tmp_path):
    made = write(tmp_path, phenix, plates=("P1",))
    tifffile.imwrite(tmp_path / "stitched_A02.tif", pixels("P1", 1, 1, 1, 1))
    metadata = open_valset(tmp_path)
    assert keyed(metadata) == made
    assert metadata.notes == ("left out: 1 other image, stitched_A02.tif",)


def test_real_jump_field(tmp_path):
    root = paths.real_data_root()
    folder = root and root / "cellpainting_fovs" / "jump_r01c02f01"
    if not folder or not folder.is_dir():
        pytest.skip("the real Phenix field is absent (set UNIDINO_REAL)")
    metadata = open_valset(folder, channels="DNA=ch4,ER=ch1")
    assert metadata.metadata[["well", "site"]].to_numpy().tolist() == [["A02", "1"]]
    image = dataset.load_site(metadata, 0)
    for plane, number in zip(image, (4, 1), strict=True):
        file = folder / f"r01c02f01p01-ch{number}sk1fk1fl1.tiff"
        np.testing.assert_array_equal(plane, tifffile.imread(file))


# Harmony's index


def index(path, images, version=5, plate="Painted", names=("HOECHST 33342", "Alexa 488"), **more):
    """An index as Harmony writes it: 4 and 5 describe every image, 6 and 7 channels in maps."""
    space = "http://www.perkinelmer.com/PEHH/HarmonyV5"
    if version == 7:
        space = "43B2A954-E3C3-47E1-B392-6635266B0DD3/HarmonyV7"
    resolution = more.get("resolution", "5.9833747E-07")

    def described(channel):
        return (
            f"<ChannelName>{names[channel - 1]}</ChannelName>"
            f'<ImageResolutionX Unit="m">{resolution}</ImageResolutionX>'
            f'<ImageResolutionY Unit="m">{resolution}</ImageResolutionY>'
        )

    entries, records = "", ""
    for n in range(1, len(names) + 1):
        entries += f'<Entry ChannelID="{n}">{described(n) if version == 7 else ""}</Entry>'
    for url, row, column, site, channel, plane, time in images:
        records += (
            f'<Image Version="1"><id>{row:02d}{column:02d}K1F{site}P{plane}R{channel}</id>'
            f"<State>Ok</State><URL>{url}</URL><Row>{row}</Row><Col>{column}</Col>"
            f"<FieldID>{site}</FieldID><PlaneID>{plane}</PlaneID><TimepointID>{time}</TimepointID>"
            f"<ChannelID>{channel}</ChannelID>{described(channel) if version == 5 else ''}"
            '<PositionX Unit="m">0</PositionX></Image>'
        )
    path.write_text(
        f'<?xml version="1.0" encoding="utf-8"?><EvaluationInputData xmlns="{space}" Version="1">'
        f"<User>me</User><Plates><Plate><PlateID>0815</PlateID><Name>{plate}</Name>"
        '<PlateTypeName>384</PlateTypeName><Well id="0102"/></Plate></Plates>'
        '<Wells><Well><id>0102</id><Row>1</Row><Col>2</Col><Image id="0102K1F1P1R1"/></Well>'
        "</Wells>"
        f"<Maps><Map>{entries}</Map></Maps><Images>{records}</Images></EvaluationInputData>"
    )
    return path


def indexed(root, version=5, name="Index.idx.xml", planes=(1,), times=(0,), **more):
    """A plate with an index whose files say nothing by their names; its images' folder."""
    folder = root / "Images"
    folder.mkdir(parents=True)
    images = []
    for row, column in WELLS:
        for site in (1, 2):
            for channel in (1, 2):
                for plane in planes:
                    for time in times:
                        url = f"{len(images):05d}.tiff"
                        numbers = row, column, site, channel, plane, time
                        images.append((url, *numbers))
                        image = pixels("P1", row, column, site, channel, plane, time + 1)
                        tifffile.imwrite(folder / url, image)
    index(folder / name, images, version, **more)
    return folder


@pytest.mark.parametrize(("version", "name"), [(5, "Index.idx.xml"), (7, "Index.xml")])
@pytest.mark.parametrize("inside", [False, True])
def test_index_of_harmony(version, name, inside, tmp_path, capfd):
    folder = indexed(tmp_path / "a plate", version, name)
    metadata = open_valset(folder if inside else folder.parent)
    assert metadata.valset == "a plate"
    assert metadata.channels == ["HOECHST 33342", "Alexa 488"]
    frame = metadata.metadata
    assert frame["plate"].unique().tolist() == ["Painted"]
    assert frame["well"].tolist() == [well(*place) for place in WELLS for _ in (1, 2)]
    assert frame["site"].tolist() == ["1", "2"] * 3
    assert frame["pixel_size"].unique() == pytest.approx([0.59833747], abs=1e-6)
    for i, (row, column) in enumerate(place for place in WELLS for _ in (1, 2)):
        expected = [pixels("P1", row, column, i % 2 + 1, channel) for channel in (1, 2)]
        np.testing.assert_array_equal(dataset.load_site(metadata, i), expected)
    said = capfd.readouterr().err
    where = name if inside else f"Images/{name}"
    assert f"index of Harmony, {where}; 1 plate (Painted); 3 wells; 6 sites; 2 channels" in said
    assert "pixels of 0.5983 µm" in said


def test_time_points_of_an_index_count_as_the_names_do(tmp_path):
    folder = indexed(tmp_path / "p", times=(0, 1))
    metadata = open_valset(folder.parent, timepoint=2)
    expected = [pixels("P1", 1, 2, 1, channel, 1, 2) for channel in (1, 2)]
    np.testing.assert_array_equal(dataset.load_site(metadata, 0), expected)
    with pytest.raises(ValueError, match=r"p: has 2 time points \(1, 2\).*such as timepoint=1"):
        open_valset(folder.parent)
    with pytest.raises(ValueError, match="p: has no time point 3; it has 1, 2"):
        open_valset(folder.parent, timepoint=3)


def test_channels_of_one_name_are_told_apart(tmp_path):
    folder = indexed(tmp_path / "p", names=("Brightfield", "brightfield"))
    assert open_valset(folder).channels == ["Brightfield ch1", "brightfield ch2"]


def test_index_beside_a_folder_of_images_and_with_paths(tmp_path):
    folder = indexed(tmp_path / "p")
    text = (folder / "Index.idx.xml").read_text()
    (folder / "Index.idx.xml").unlink()
    text = text.replace("<URL>", "<URL>C:\\export\\")
    (folder.parent / "Index.xml").write_text(text)
    assert len(open_valset(folder.parent).metadata) == 6


def test_images_that_an_index_lists_and_that_are_not_there(tmp_path):
    folder = indexed(tmp_path / "p")
    (folder / "00003.tiff").unlink()
    told = "Copy what is missing; or take Index.idx.xml away"
    message = rf"p: 1 of 12 image files are missing, the first are\n.*00003.tiff\n{told}"
    with pytest.raises(FileNotFoundError, match=message):
        open_valset(folder)
    metadata = open_valset(folder, max_missing=0.1)
    assert "1 of 12 image files are missing" in metadata.notes[0]
    for file in folder.glob("*.tiff"):
        file.rename(folder.parent / file.name)
    with pytest.raises(ValueError, match=r"Index.idx.xml: none of the 12 images that it lists"):
        open_valset(folder.parent)


def test_of_two_indexes_of_a_plate_one_counts(tmp_path):
    folder = indexed(tmp_path / "p")
    (folder.parent / "Index.xml").write_text((folder / "Index.idx.xml").read_text())
    (folder / "Index.ref.xml").write_text("")
    assert len(open_valset(folder.parent).metadata) == 6


def test_unrecorded_images_of_an_index_are_no_images(tmp_path):
    folder = indexed(tmp_path / "p")
    file = folder / "Index.idx.xml"
    file.write_text(file.read_text().replace("<URL>00000.tiff</URL>", "<URL></URL>"))
    with pytest.raises(FileNotFoundError, match=r"00001 lacks HOECHST 33342.tiff"):
        open_valset(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[:-40], r"Index.idx.xml: is no whole XML \("),
        (lambda text: "", "is no whole XML"),
        (lambda text: text.replace("EvaluationInputData", "Other"), "its root is Other, expected"),
        (
            lambda text: re.sub("<URL>.*?</URL>", "", text),
            "lists no images. Export the plate again",
        ),
        (lambda text: re.sub("<FieldID>.*?</FieldID>", "", text), "00000.tiff has no FieldID"),
        (lambda text: text.replace("<Row>1<", "<Row>x<"), "00000.tiff has the Row 'x', expected a"),
        (lambda text: text.replace("<Row>1<", "<Row>77<"), "has images of row 77, which no plate"),
        (
            lambda text: text.replace("?>", '?><!DOCTYPE a [<!ENTITY b "c">]>', 1),
            "declares a document type, which no index of Harmony has",
        ),
    ],
)
def test_damaged_indexes_are_named(change, message, tmp_path):
    folder = indexed(tmp_path / "p")
    file = folder / "Index.idx.xml"
    file.write_text(change(file.read_text()))
    with pytest.raises(ValueError, match=message):
        open_valset(folder)


def test_entities_are_not_read_in_any_encoding(tmp_path):
    bomb = (
        '<?xml version="1.0" encoding="UTF-16"?><!-- {} --><!DOCTYPE x [<!ENTITY a SYSTEM "/x">]>'
        "<EvaluationInputData>&a;</EvaluationInputData>"
    )
    for filler in ("", " " * 70_000):
        path = tmp_path / "Index.xml"
        path.write_bytes(bomb.format(filler).encode("utf-16"))
        with pytest.raises(ValueError, match="declares a document type"):
            harmony.read_index(path)


def test_too_many_images_of_an_index(tmp_path, monkeypatch):
    folder = indexed(tmp_path / "p")
    monkeypatch.setattr(harmony, "MOST_IMAGES", 5)
    with pytest.raises(ValueError, match="lists more than 5 images"):
        open_valset(folder)


def test_plates_without_an_index_among_plates_with_one(tmp_path):
    indexed(tmp_path / "P1")
    write(tmp_path, phenix, plates=("P2",))
    with pytest.raises(ValueError, match="an index of Harmony for 1 of its plates, and none for"):
        open_valset(tmp_path)


# Plates and folders


def test_plates_are_called_as_their_folders(tmp_path):
    root = tmp_path / "screen"
    write(root, phenix)
    folder = root / "P1__2021-05-02T16_02_51-Measurement 1"
    layout = tmp_path / "layout.csv"
    layout.write_text("plate,well,gene\n" + "".join(f"P1,{w},x\n" for w in ("A2", "A11", "B2")))
    for given in (folder, folder / "Images"):
        one = open_valset(given, platemap=layout)
        assert one.valset == folder.name and one.metadata["plate"].unique().tolist() == ["P1"]
    assert open_valset(root).metadata["plate"].unique().tolist() == ["P1", "P2"]


def test_two_measurements_of_a_plate_are_two_plates(tmp_path):
    for number in (1, 2):
        folder = tmp_path / f"P1__2021-05-02T16_02_51-Measurement {number}" / "Images"
        folder.mkdir(parents=True)
        tifffile.imwrite(folder / "r01c01f01p01-ch1sk1fk1fl1.tiff", pixels("P1", 1, 1, 1, 1))
    plates = open_valset(tmp_path).metadata["plate"].tolist()
    assert plates == [f"P1__2021-05-02T16_02_51-Measurement {number}" for number in (1, 2)]


def test_plates_of_one_name_lie_in_batches(tmp_path):
    for batch in ("week1", "week2"):
        write(tmp_path / batch, imagexpress, plates=("P1",), wells=((1, 2),))
    metadata = open_valset(tmp_path)
    assert list(metadata.plates()) == [("week1", "P1"), ("week2", "P1")]


def test_plates_in_one_folder_are_called_as_their_files(tmp_path):
    for plate in ("a_1", "a_2"):
        tifffile.imwrite(tmp_path / f"{plate}_B03_w1.tif", pixels("P1", 1, 1, 1, 1))
    assert open_valset(tmp_path).metadata["plate"].tolist() == ["a_1", "a_2"]


def test_indexes_of_several_plates(tmp_path):
    for plate in PLATES:
        indexed(tmp_path / f"{plate}-export", plate=plate)
    assert list(open_valset(tmp_path).plates()) == [("P1",), ("P2",)]


def test_links_are_followed_once(tmp_path):
    root = tmp_path / "screen"
    made = write(root / "a", imagexpress, plates=("P1",))
    (root / "a" / "loop").symlink_to(root)
    (tmp_path / "linked").symlink_to(root)
    assert list(keyed(open_valset(tmp_path / "linked"))) == list(made)


# MetaXpress


@pytest.mark.parametrize(
    ("form", "channels"),
    [
        ("x_{w}_s{s}_w{c}{g}.tif", ["w1", "w2"]),
        ("x_{w}_s{s}_w{c}_[{g}].TIF", ["w1", "w2"]),
        ("{w}_s{s}_w{c}{g}.tif", ["w1", "w2"]),
        ("x_y_{w}_w{c}.tif", ["w1", "w2"]),
        ("x_{w}_s{s}.tif", ["w1"]),
        ("x_{w}_s{s}{g}.tif", ["w1"]),
        ("x_{w}.tif", ["w1"]),
    ],
)
def test_names_of_metaxpress(form, channels, tmp_path, capfd):
    sites = ("1", "2") if "{s}" in form else ("1",)
    for name in ("A02", "B11"):
        for site in sites:
            for channel in range(1, len(channels) + 1):
                own = guid(name, site, channel)
                file = tmp_path / form.format(w=name, s=site, c=channel, g=own)
                tifffile.imwrite(file, pixels("P1", 1, 1, int(site), channel))
                thumb = form.replace("{g}", "_thumb{g}").replace("_[_thumb{g}]", "_thumb_[{g}]")
                if thumb != form:
                    (tmp_path / thumb.format(w=name, s=site, c=channel, g=own)).write_text("")
    metadata = open_valset(tmp_path)
    assert metadata.channels == channels
    assert list(keyed(metadata)) == [
        (tmp_path.name, name, site) for name in ("A02", "B11") for site in sites
    ]
    if "{g}" in form:
        count = 2 * len(sites) * len(channels)
        assert f"left out: {count} thumbnails" in capfd.readouterr().err
    assert not metadata.notes


HTD = '"HTSInfoFile", Version 1.0\r\n"Description", "é"\r\n"NWavelengths", 2\r\n{}"EndFile"\r\n'


def test_wavelengths_are_called_as_the_plate_description_says(tmp_path):
    write(tmp_path, imagexpress)
    names = '"WaveName1", "DAPI"\r\n"WaveName2", "Cy5, long"\r\n'
    for plate in PLATES:
        (tmp_path / plate / "HTS.HTD").write_bytes(HTD.format(names).encode("latin-1"))
    metadata = open_valset(tmp_path)
    assert metadata.channels == ["DAPI", "Cy5, long"]
    assert metadata.paths(0)[1].rsplit("_w")[-1][0] == "2"
    swapped = '"WaveName2", "DAPI"\r\n"WaveName1", "Cy5, long"\r\n'
    (tmp_path / "P2" / "HTS.HTD").write_text(HTD.format(swapped))
    metadata = open_valset(tmp_path)
    assert metadata.channels == ["DAPI", "Cy5, long"]
    last = metadata.paths(len(metadata.metadata) - 1)
    assert [path.rsplit("_w")[-1][0] for path in last] == ["2", "1"]


def test_plates_that_call_wavelengths_otherwise_are_named(tmp_path):
    write(tmp_path, imagexpress)
    for plate, name in (("P1", "DAPI"), ("P2", "Hoechst")):
        names = f'"WaveName1", "{name}"\r\n"WaveName2", "GFP"\r\n'
        (tmp_path / plate / "TimePoint_1" / "HTS.HTD").write_text(HTD.format(names))
    message = "plate P1 has no Hoechst, which others have; it has DAPI, GFP. Plates that name"
    with pytest.raises(ValueError, match=message):
        open_valset(tmp_path)
    assert open_valset(tmp_path, channels="GFP").channels == ["GFP"]


def test_a_plate_description_that_tells_nothing(tmp_path):
    write(tmp_path, imagexpress, plates=("P1",))
    (tmp_path / "P1" / "HTS.HTD").write_bytes(b'\x00"WaveName1\n' + b"x" * 200_000)
    assert open_valset(tmp_path).channels == ["w1", "w2"]


def test_projections_beside_planes_are_told(tmp_path):
    write(tmp_path, imagexpress, plates=("P1",), planes=(1, 2))
    write(tmp_path, imagexpress, plates=("P1",))
    message = r"has planes \(1, 2\) and images of none, such as P1/TimePoint_1/HTS_A02_s1_w1"
    with pytest.raises(ValueError, match=message):
        open_valset(tmp_path)
    metadata = open_valset(tmp_path, plane=2)
    expected = [pixels("P1", 1, 2, 1, channel, 2) for channel in (1, 2)]
    np.testing.assert_array_equal(dataset.load_site(metadata, 0), expected)
    pattern = r"TimePoint_1/[^/]+_(?P<well>[A-P]\d\d)_s(?P<site>\d+)_w(?P<channel>\d)"
    metadata = open_valset(tmp_path, pattern=pattern)
    assert "/ZStep" not in "".join(sum(metadata.files(), []))
    assert "left out: 24 other images, P1/TimePoint_1/ZStep_1" in metadata.notes[0]


# Planes


@pytest.mark.parametrize("writer", [phenix, imagexpress], ids=["names", "folders"])
def test_several_planes_are_asked_for(writer, tmp_path, capfd):
    write(tmp_path, writer, plates=("P1",), planes=(1, 2, 3))
    message = r"has 3 planes \(1 to 3\). Set plane to one of them, such as plane=2, or to 'max'"
    with pytest.raises(ValueError, match=f"{tmp_path.name}: {message}"):
        open_valset(tmp_path)
    assert "3 planes (1 to 3); 1 time point" in capfd.readouterr().err
    with pytest.raises(ValueError, match="has no plane 4; it has 1 to 3, or 'max' of them"):
        open_valset(tmp_path, plane=4)
    with pytest.raises(ValueError, match="plane is 'mean'; expected a number from 1, or 'max'"):
        open_valset(tmp_path, plane="mean")
    metadata = open_valset(tmp_path, plane=2)
    assert metadata.files_per_channel == 1 and metadata.plane is None
    for i, (row, column) in enumerate(WELLS):
        expected = [pixels("P1", row, column, 1, channel, 2) for channel in (1, 2)]
        np.testing.assert_array_equal(dataset.load_site(metadata, 2 * i), expected)


def projections(channels=(1, 2)):
    """What numpy makes of the planes 1 to 3 of the sites of P1, in the order of the table."""
    for row, column in WELLS:
        for site in (1, 2):
            stacks = [[pixels("P1", row, column, site, c, z) for z in (1, 2, 3)] for c in channels]
            yield np.max(stacks, axis=1)


def test_maximum_projection(tmp_path, model):
    write(tmp_path / "planes", phenix, plates=("P1",), planes=(1, 2, 3))
    metadata = open_valset(tmp_path / "planes", plane="max")
    assert metadata.files_per_channel == 3 and metadata.plane is None
    assert [len(files) for files in metadata.files()] == [6] * 6
    room = None
    for i, expected in enumerate(projections()):
        room = dataset.load_site(metadata, i, room)
        np.testing.assert_array_equal(room, expected)
    # Selected, renamed and taken one by one.
    picked = open_valset(tmp_path / "planes", plane="max", channels="B=ch2")
    single = open_valset(tmp_path / "planes", True, plane="max")
    single.validate()
    assert single.channels == ["ch1", "ch2"] and len(single.metadata) == 12
    assert single.metadata["channel"].tolist() == ["ch1", "ch2"] * 6
    for i, expected in enumerate(projections()):
        np.testing.assert_array_equal(dataset.load_site(picked, i), expected[1:])
        for c in (0, 1):
            np.testing.assert_array_equal(dataset.load_site(single, 2 * i + c), expected[c : c + 1])
    # The same embeddings as the projections as files.
    flat = {}
    for (key, _), expected in zip(keyed(metadata).items(), projections(), strict=True):
        flat[key] = [str(tmp_path / f"{'_'.join(key)}_{c}.tif") for c in (1, 2)]
        for file, image in zip(flat[key], expected, strict=True):
            tifffile.imwrite(file, image)
    csv = as_csv(tmp_path, flat, metadata.channels)
    ours = embedded(tmp_path / "planes", model, tmp_path / "out", plane="max")
    theirs = embedded(csv, model, tmp_path / "out")
    assert (ours["Metadata_status"] == "ok").all()
    np.testing.assert_allclose(features(ours), features(theirs), atol=1e-6)


def test_a_projection_is_of_all_its_planes(tmp_path):
    write(tmp_path, phenix, plates=("P1",), planes=(1, 2))
    before = identity.image_ids(open_valset(tmp_path, plane="max"), range(6))
    file = next(tmp_path.rglob("r01c02f02p02-ch2*"))
    tifffile.imwrite(file, pixels("P1", 1, 1, 1, 1))
    after = identity.image_ids(open_valset(tmp_path, plane="max"), range(6))
    assert [one != other for one, other in zip(before, after, strict=True)] == [
        number == 1 for number in range(6)
    ]


@pytest.mark.parametrize("scaling", ["plate", "image"])
def test_training_draws_from_projections(scaling, tmp_path):
    write(tmp_path / "planes", phenix, plates=("P1",), planes=(1, 2, 3))
    metadata = open_valset(tmp_path / "planes", plane="max")
    flat = {}
    for (key, _), expected in zip(keyed(metadata).items(), projections(), strict=True):
        flat[key] = [str(tmp_path / f"{'_'.join(key)}_{c}.tif") for c in (1, 2)]
        for file, image in zip(flat[key], expected, strict=True):
            tifffile.imwrite(file, image)
    table = open_valset(as_csv(tmp_path, flat, metadata.channels))
    # Beside another set, so that its files do not begin at the first.
    for in_chans in (1, 2):
        drawn = [
            data.TrainingImages(
                [data.planes_of(one, in_chans, scaling) for one in (table, own)],
                augment.ViewSettings(size=24, local_size=16, local_crops_number=1),
                intensity_scaling=scaling,
            )
            for own in (table, metadata)
        ]
        for image in range(len(drawn[0])):
            items = [one.item(image, np.random.default_rng(image)) for one in drawn]
            for name in ("global", "local", "low", "high"):
                np.testing.assert_array_equal(items[0][name], items[1][name])
        last = drawn[1].files(len(drawn[1]) - 1)
        assert len(last) == 3 * in_chans and "p03-ch2" in last[-1]


def test_planes_that_only_some_have(tmp_path):
    made = write(tmp_path, phenix, plates=("P1",), planes=(1, 2, 3))
    files = made["P1", "A02", "1"]
    Path(files[1]).unlink()
    with pytest.raises(FileNotFoundError, match="r01c02f01p01-ch1sk1fk1fl1 lacks ch1 plane 2.tiff"):
        open_valset(tmp_path, plane="max")
    with pytest.raises(FileNotFoundError, match="lacks ch1.tiff"):
        open_valset(tmp_path, plane=2)
    metadata = open_valset(tmp_path, plane="max", max_missing=0.1)
    with pytest.raises(FileNotFoundError, match="lacks ch1 plane 2.tiff: no such image"):
        dataset.load_site(metadata, 0)
    for file in [f for f in Path(tmp_path).rglob("*.tiff") if "p03" in f.name and "f02" in f.name]:
        file.unlink()
    for file in [f for f in Path(tmp_path).rglob("*p03*.tiff") if "r01c02f01" not in f.name]:
        file.unlink()
    with pytest.raises(
        ValueError, match="plate P1, well A02, site 1 has 3 planes, most sites have"
    ):
        open_valset(tmp_path, plane="max")


def test_sites_without_the_plane_or_time_point_are_missing(tmp_path):
    made = write(tmp_path, phenix, plates=("P1",), planes=(1, 2), timepoints=(1, 2))
    for file in tmp_path.rglob("r01c02f02p02*sk2*"):
        file.unlink()
    with pytest.raises(FileNotFoundError, match="2 of 12 image files are missing"):
        open_valset(tmp_path, plane=2, timepoint=2)
    metadata = open_valset(tmp_path, plane=2, timepoint=2, check_files=False)
    assert list(keyed(metadata)) == list(made)
    assert metadata.paths(1)[1].endswith("r01c02f02p01-ch1sk1fk1fl1 lacks ch2.tiff")
    assert len(open_valset(tmp_path, plane=1, timepoint=2).metadata) == 6


def test_planes_of_channels_that_are_not_taken(tmp_path):
    write(tmp_path, phenix, plates=("P1",), planes=(1, 2))
    for file in tmp_path.rglob("*p02-ch2*"):
        file.unlink()
    metadata = open_valset(tmp_path, channels="ch2")
    assert metadata.paths(0)[0].endswith("r01c02f01p01-ch2sk1fk1fl1.tiff")


def test_channels_with_other_planes_than_the_others(tmp_path):
    write(tmp_path, phenix, plates=("P1",), planes=(1, 2, 3))
    for file in tmp_path.rglob("*p0[23]-ch2*"):
        file.unlink()
    message = "wants the same planes of all channels; most sites have 3 in ch1, 1 in ch2. Take one "
    with pytest.raises(ValueError, match=f"{message}plane, or channels='ch1'"):
        open_valset(tmp_path, plane="max")
    with pytest.raises(ValueError, match="ch2 was found in 0 of 6 sites. Take those that all have"):
        open_valset(tmp_path, plane=2)
    assert open_valset(tmp_path, plane="max", channels="ch1").channels == ["ch1"]


def test_planes_that_count_from_0_count_from_1(tmp_path):
    writer = WRITERS["scan^R"]
    write(tmp_path, writer, plates=("P1",), planes=(1, 2), timepoints=(1, 2))
    metadata = open_valset(tmp_path, plane=2, timepoint=1)
    assert "--Z00001--T00000" in metadata.paths(0)[0]
    with pytest.raises(ValueError, match="has 2 time points"):
        open_valset(tmp_path, plane=2)


@pytest.mark.parametrize("plane", [1, "max"])
def test_the_only_plane_may_be_asked_for(plane, tmp_path):
    write(tmp_path, phenix, plates=("P1",))
    metadata = open_valset(tmp_path, plane=plane, timepoint=1)
    expected = [pixels("P1", 1, 2, 1, channel) for channel in (1, 2)]
    np.testing.assert_array_equal(dataset.load_site(metadata, 0), expected)


def test_planes_inside_of_files_are_chosen_there(tmp_path):
    for channel in (1, 2):
        stack = np.stack([pixels("P1", 1, 1, 1, channel, z) for z in (1, 2, 3)])
        file = tmp_path / f"x_A01_s1_w{channel}.tif"
        tifffile.imwrite(file, stack, imagej=True, metadata={"axes": "ZYX"})
    metadata = open_valset(tmp_path, plane="max")
    assert metadata.plane == "max" and metadata.files_per_channel == 1
    expected = [np.max([pixels("P1", 1, 1, 1, c, z) for z in (1, 2, 3)], 0) for c in (1, 2)]
    np.testing.assert_array_equal(dataset.load_site(metadata, 0), expected)


# What is not there


def test_a_site_that_lacks_a_file_is_recorded_as_failed(tmp_path, model):
    made = write(tmp_path / "p", phenix, sites=(1, 2, 3, 4))
    Path(made["P1", "A11", "3"][1]).unlink()
    message = r"p: 1 of 48 image files are missing, the first are\n.* lacks ch2.tiff\nCopy what is"
    with pytest.raises(FileNotFoundError, match=message):
        open_valset(tmp_path / "p")
    sites = embedded(tmp_path / "p", model, tmp_path / "out")
    failed = sites[sites["Metadata_status"] == "failed"]
    assert failed[["Metadata_Plate", "Metadata_Well", "Metadata_Site"]].to_numpy().tolist() == [
        ["P1", "A11", "3"]
    ]
    assert "f03p01-ch1sk1fk1fl1 lacks ch2.tiff: no such image" in failed["Metadata_error"].iat[0]


def test_channels_that_few_sites_have(tmp_path):
    write(tmp_path, phenix)
    write(tmp_path, phenix, wells=WELLS[:1], channels=(3,))
    message = "ch3 was found in 4 of 12 sites. Take those that all have by channels='ch1,ch2'"
    with pytest.raises(ValueError, match=message):
        open_valset(tmp_path)
    assert open_valset(tmp_path, channels="ch1,ch2").channels == ["ch1", "ch2"]
    with pytest.raises(ValueError, match="channels names ch9, which .* does not have; it has ch1"):
        open_valset(tmp_path, channels="ch9")


def test_a_plate_that_lacks_a_channel(tmp_path):
    write(tmp_path, phenix)
    for file in tmp_path.rglob("P2*/Images/*ch2*"):
        file.unlink()
    with pytest.raises(ValueError, match="plate P2 has no ch2, which others have; it has ch1"):
        open_valset(tmp_path)


def test_two_files_of_one_image(tmp_path):
    write(tmp_path, phenix, plates=("P1",))
    file = next(tmp_path.rglob("r01c02f01p01-ch1*"))
    tifffile.imwrite(file.with_name(file.name.replace("fk1", "fk2")), pixels("P1", 1, 1, 1, 1))
    message = "fl1.tiff are both plate P1, well A02, site 1, channel ch1 .1 such files"
    with pytest.raises(ValueError, match=f"{message}.*by a pattern"):
        open_valset(tmp_path)


def test_other_images_are_left_out_and_named(tmp_path):
    write(tmp_path, phenix, plates=("P1",))
    tifffile.imwrite(tmp_path / "overview.tif", pixels("P1", 1, 1, 1, 1))
    (tmp_path / ".hidden.tif").write_text("")
    metadata = open_valset(tmp_path)
    assert metadata.notes == ("left out: 1 other image, overview.tif",)
    folder = indexed(tmp_path / "with index")
    tifffile.imwrite(folder / "overview.tif", pixels("P1", 1, 1, 1, 1))
    metadata = open_valset(folder.parent)
    assert metadata.notes == ("left out: 1 other image, Images/overview.tif",)


def test_folders_that_are_not_understood(tmp_path):
    with pytest.raises(ValueError, match=r"has no images \(.tif, .*it is empty. Give the folder"):
        open_valset(tmp_path)
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "plate.zarr").mkdir()
    with pytest.raises(ValueError, match="it has (notes.txt, plate.zarr|plate.zarr, notes.txt)"):
        open_valset(tmp_path)
    for name in ("b.tif", "a.tif", "c.png", "d.tif"):
        (tmp_path / name).write_text("")
    with pytest.raises(ValueError) as caught:
        open_valset(tmp_path)
    message = str(caught.value)
    assert "none of its 4 images is named as microscopes name them" in message
    assert "the first are a.tif, b.tif, c.png. Looked for an index of Harmony" in message
    assert all(f"{layout.name}: {layout.example}" in message for layout in LAYOUTS)
    assert "pattern='(?P<plate>" in message and "a CSV with one row a site" in message
    with pytest.raises(FileNotFoundError, match="no folder at .*/nowhere"):
        ExportMetadata(tmp_path / "nowhere")


@pytest.mark.parametrize("name", [b"x\xff_A01_s1_w1.tif", b"x\xff/x_A01_s1_w1.tif"])
def test_names_that_are_no_text(name, tmp_path):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    path.parent.mkdir(exist_ok=True)
    path.touch()
    with pytest.raises(ValueError, match=r"holds 'x\\udcff.*', which is not UTF-8. Rename it"):
        open_valset(tmp_path)


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        (["r60c01f01p01-ch1.tiff"], {}, "r60c01f01p01-ch1.tiff is of no row of a plate"),
        (["x_A01_w1.tif", "x_A02_s1.tif"], {}, "x_A02_s1.tif names no channel, x_A01_w1.tif does"),
        (["x_A01_w1.tif"], {"channel_axis": "middle"}, "channel_axis 'middle' is not 'first' or"),
        (["x_A01_w1.tif"], {"timepoint": 0}, "timepoint is 0; expected a number from 1"),
        (
            ["60_1.tif"],
            {"pattern": r"(?P<row>\d+)_(?P<col>\d)"},
            "pattern: image row 1 has row 60 and col 1, which name no well",
        ),
        (
            ["02-Jan_1.tif"],
            {"pattern": r"(?P<well>[^_]+)_(?P<site>\d)"},
            "row 1: well 02-Jan is a date",
        ),
    ],
)
def test_what_else_is_wrong(names, options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        open_valset(named(tmp_path, *names), **options)


def test_images_of_several_microscopes(tmp_path):
    write(tmp_path / "a", phenix, plates=("P1",))
    write(tmp_path / "b", imagexpress, plates=("P1",), wells=WELLS[:1])
    with pytest.raises(ValueError) as caught:
        open_valset(tmp_path)
    assert "holds images of several microscopes: 12 of Opera Phenix" in str(caught.value)
    assert "4 of ImageXpress (MetaXpress), such as b/P1/TimePoint_1/HTS_A02" in str(caught.value)
    assert "pattern='(?P<plate>" in str(caught.value)


# Patterns


def named(root, *names):
    for i, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(path, pixels("P1", 1, 1, 1, 1, plane=i + 1))
    return root


def test_patterns_name_the_parts_of_paths(tmp_path):
    names = [
        f"day{d}/{w}-{f}_{c}.tif" for d in (1, 2) for w in ("b3", "C10") for f in "01" for c in "GR"
    ]
    named(tmp_path, *names)
    pattern = r"(?P<Batch>day\d)/(?P<Well>\w\d+)-(?P<field>\d)_(?P<channel>[GR])\.tif"
    metadata = open_valset(tmp_path, pattern=pattern)
    frame = metadata.metadata
    assert metadata.channels == ["G", "R"]
    assert frame["batch"].tolist() == ["day1"] * 4 + ["day2"] * 4
    assert frame["well"].tolist() == ["B03", "B03", "C10", "C10"] * 2
    assert frame["site"].tolist() == ["0", "1"] * 4
    assert metadata.paths(2)[1] == str(tmp_path / "day1/C10-0_R.tif")


def test_patterns_with_rows_columns_planes_and_more(tmp_path):
    names = [f"{p}/2_3_z{z}_{c}_x{c}.tif" for p in ("old", "new") for z in (0, 1) for c in "ab"]
    named(tmp_path, *names)
    pattern = r"(?P<drug>\w+)/(?P<row>\d)_(?P<col>\d)_z(?P<z>\d)_(?P<channel>\w)_(?P<slot>x\w)"
    metadata = open_valset(tmp_path, pattern=pattern, plane=2)
    frame = metadata.metadata
    assert frame[["plate", "well", "drug"]].to_numpy().tolist() == [
        ["new", "B03", "new"],
        ["old", "B03", "old"],
    ]
    assert metadata.paths(0) == [str(tmp_path / f"new/2_3_z1_{c}_x{c}.tif") for c in "ab"]
    assert metadata.notes == ("slot differ between the images of a site, and are left out",)


def test_patterns_without_channels_take_whole_files(tmp_path):
    for name in ("A01", "A02"):
        image = np.stack([pixels("P1", 1, 1, 1, channel) for channel in (1, 2, 3)])
        tifffile.imwrite(tmp_path / f"{name}.tif", image, photometric="minisblack")
    metadata = open_valset(tmp_path, pattern=r"(?P<well>A\d\d)", channels="x=ch3,y=ch1")
    assert metadata.is_merged and metadata.channels == ["x", "y"]
    expected = [pixels("P1", 1, 1, 1, channel) for channel in (3, 1)]
    np.testing.assert_array_equal(dataset.load_site(metadata, 1), expected)
    with pytest.raises(ValueError, match="A01.tif and A02.tif are both .*such as channel"):
        open_valset(tmp_path, pattern=r"(?P<well>A)\d\d")


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("(?P<well>A", r"pattern '\(\?P<well>A' is no regular expression: missing \)"),
        (r"A01_(\d)", "names no well: it has no named groups. Name the part of the path"),
        (r"(?P<channel>\d)", "names no well: its groups are channel"),
        (r"(?P<row>A)", "names no well: its groups are row"),
        (r"(?P<well>x\d+)", "is found in none of the 3 images below .*; the first are A01_1.tif, "),
        (r"(?P<well>A\d+)_(?P<site>x?)", "the group site is empty for A01_1.tif .3 of 3 images"),
        (r"(?P<well>A\d+)_(?P<plane>\d\.t)", "the group plane is '1.t' for A01_1.tif; expected a"),
        (r"(?P<well>A\d+)_(?P<path>\d)", "a group cannot be called path"),
        (r"(?P<well>A\d+)_(?P<Well>\d)", "has the column well twice"),
        (r"(?P<well>A\d+)_(?P<z>\d)(?P<plane>.)", "has two groups that mean plane. Remove one"),
        (r"(?P<row>A)0(?P<col>\d)_(?P<column>0?)", "the group column is empty"),
    ],
)
def test_wrong_patterns_are_named(pattern, message, tmp_path):
    named(tmp_path, "A01_1.tif", "A01_2.tif", "A02_1.tif")
    with pytest.raises(ValueError, match=message):
        open_valset(tmp_path, pattern=pattern)


# Names, options and the table


def test_folders_are_not_taken_for_names(tmp_path, monkeypatch):
    write(tmp_path / "run@2", phenix, plates=("P1",))
    monkeypatch.chdir(tmp_path)
    assert valsets.name_and_root("run@2") == ("run@2", None)
    assert valsets.name_and_root("HPA@/data") == ("HPA", "/data")
    assert open_valset("run@2").valset == "run@2"
    # A name is that dataset's, whatever lies here.
    (tmp_path / "HPA").mkdir()
    assert open_valset("HPA", check_files=False).valset == "HPA"
    assert valsets.name_and_root("hpa@run@2") == ("hpa", "run@2")
    with pytest.raises(ValueError, match="has no images"):
        open_valset("./HPA")
    with pytest.raises(ValueError, match="unknown valset './gone'.*there is no file or folder"):
        open_valset("./gone")


@pytest.mark.parametrize("option", [{"root": "/data"}, {"remote": True}])
def test_options_that_do_not_go_with_a_folder(option, tmp_path):
    (name,) = option
    with pytest.raises(ValueError, match=f"{name} goes with a CSV, not with the folder"):
        open_valset(tmp_path, **option)


def test_pattern_goes_with_folders_alone(tmp_path):
    for valset in ("HPA", tmp_path / "plate.csv"):
        with pytest.raises(ValueError, match="pattern goes with a folder of images, not with"):
            open_valset(valset, pattern="x")


def test_platemap_and_controls_as_with_a_table(tmp_path):
    write(tmp_path / "p", phenix, plates=("P1",))
    layout = tmp_path / "layout.csv"
    layout.write_text("well,compound\nA2,DMSO\nA11,x\nB2,y\n")
    options = {"platemap": layout, "controls": "compound == 'DMSO'"}
    frame = open_valset(tmp_path / "p", **options).metadata
    assert frame["compound"].tolist() == ["DMSO"] * 2 + ["x"] * 2 + ["y"] * 2
    assert frame["control_type"].notna().tolist() == [True] * 2 + [False] * 4
    # The words of other layouts are understood, too.
    layout.write_text("well,compound,pert_type\nA2,DMSO,negcon\nA11,x,trt\nB2,y,poscon_diverse\n")
    kinds = open_valset(tmp_path / "p", platemap=layout).metadata["control_type"]
    assert kinds.tolist() == ["negcon"] * 2 + [None] * 2 + ["poscon"] * 2


@pytest.mark.parametrize("kind", ["index", "names"])
def test_the_table_of_a_folder_gives_its_embeddings(kind, tmp_path, model, capsys, monkeypatch):
    root = tmp_path / "export"
    if kind == "index":
        indexed(root)
    else:
        write(root, imagexpress)
    monkeypatch.chdir(tmp_path)
    cli.main(["table", "export", "--channels", "R=Alexa 488" if kind == "index" else "R=w2"])
    (tmp_path / "elsewhere").mkdir()
    csv = tmp_path / "elsewhere" / "plate.csv"
    csv.write_text(capsys.readouterr().out)
    theirs = embedded(csv, model, tmp_path / "out")
    ours = embedded(
        root, model, tmp_path / "out", channels={"R": "Alexa 488" if kind == "index" else "w2"}
    )
    keys = [name for name in ours if name.startswith("Metadata_") and name != "Metadata_path"]
    pd.testing.assert_frame_equal(ours[keys], theirs[keys], check_dtype=False)
    np.testing.assert_allclose(features(ours), features(theirs), atol=1e-6)


def test_the_table_of_a_plane(tmp_path, capsys):
    write(tmp_path, phenix, plates=("P1",), planes=(1, 2))
    cli.main(["table", str(tmp_path), "--plane", "2"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "plate,well,site,ch1,ch2" and "p02-ch1" in lines[1]
    with pytest.raises(SystemExit, match="a projection is of 2 files a channel.*plane='max'"):
        cli.main(["table", str(tmp_path), "--plane", "max"])
    with pytest.raises(SystemExit, match="^error: .*has 2 planes"):
        cli.main(["table", str(tmp_path)])


def test_the_table_of_a_plane_that_is_not_there(tmp_path, capsys):
    write(tmp_path, phenix, plates=("P1",))
    cli.main(["table", str(tmp_path), "--plane", "1"])
    made = capsys.readouterr()
    assert made.out and "extract it with" not in made.err
    for option, part in (("plane", "plane of depth"), ("timepoint", "time point")):
        with pytest.raises(SystemExit, match=f"^error: .*has 1 {part}; {option} is 5"):
            cli.main(["table", str(tmp_path), f"--{option}", "5"])
    assert not capsys.readouterr().out


def test_the_table_of_files_that_hold_planes(tmp_path, capfd):
    stack = np.arange(3 * 8 * 8, dtype=np.uint16).reshape(3, 8, 8)
    tifffile.imwrite(tmp_path / "A01_dna.tif", stack, imagej=True, metadata={"axes": "ZYX"})
    words = ["table", str(tmp_path), "--pattern", r"(?P<well>A\d+)_(?P<channel>\w+)\.tif"]
    cli.main([*words, "--plane", "3"])
    assert "A01_dna.tif holds more than one image" in (told := capfd.readouterr().err)
    assert "extract it with plane=3, too" in told
    with pytest.raises(SystemExit, match="has 3 planes of depth; plane is 4"):
        cli.main([*words, "--plane", "4"])


def test_the_table_ends_where_nobody_reads_on(tmp_path):
    write(tmp_path, phenix)
    code = "from unidino import cli; cli.main(['table', '.'])"
    command = f'{sys.executable} -c "{code}" 2>said | true; echo ${{PIPESTATUS[0]}}'
    ran = subprocess.run(
        ["bash", "-c", command],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout == "0\n"
    assert "Traceback" not in (tmp_path / "said").read_text()


def test_the_table_of_whole_files(tmp_path, capsys):
    named(tmp_path, "A01.tif")
    cli.main(["table", str(tmp_path), "--pattern", r"(?P<well>A\d+)"])
    assert f"A01,1,{tmp_path}/A01.tif" in capsys.readouterr().out


def test_a_channel_called_like_a_column(tmp_path):
    named(tmp_path, "A01_well.tif", "A01_dna.tif")
    with pytest.raises(SystemExit, match="well is a channel and another column. Rename"):
        cli.main(["table", str(tmp_path), "--pattern", r"(?P<well>A\d+)_(?P<channel>\w+)\.tif"])


def test_plates_of_several_sizes_of_pixels(tmp_path, capfd):
    for plate, size in zip(PLATES, ("6E-07", "3.25E-07"), strict=True):
        indexed(tmp_path / plate, plate=plate, resolution=size)
    metadata = open_valset(tmp_path)
    assert metadata.metadata.groupby("plate")["pixel_size"].first().tolist() == [0.6, 0.325]
    assert "pixels of 0.325, 0.6 µm" in capfd.readouterr().err
    for file in tmp_path.rglob("Index.idx.xml"):
        file.write_text(file.read_text().replace("E-07<", "E-07 or so<"))
    assert "pixel_size" not in open_valset(tmp_path).metadata


def test_verify_opens_the_folder_as_it_was_opened(tmp_path, model):
    write(tmp_path / "p", phenix, plates=("P1",), planes=(1, 2))
    pattern = r"r(?P<row>\d+)c(?P<col>\d+)f(?P<site>\d+)p(?P<plane>\d+)-(?P<channel>ch\d)"
    for options in ({"plane": 2}, {"plane": "max", "pattern": pattern}):
        made = unidino.extract(
            str(tmp_path / "p"),
            model=model,
            outdir=str(tmp_path / f"out{len(options)}"),
            norm_method="no_post_proc",
            **options,
        )
        assert verify(made.profiles_path.parent) == []


def test_the_folder_of_images_is_its_plate(tmp_path):
    folder = indexed(tmp_path / "p")
    one, other = open_valset(folder), open_valset(folder.parent)
    assert one.valset == other.valset == "p"
    assert identity.image_ids(one, range(6)) == identity.image_ids(other, range(6))


def test_training_takes_folders(tmp_path):
    write(tmp_path / "p@1", phenix, plates=("P1",))
    metadata = data.open_training_set(str(tmp_path / "p@1"))
    assert isinstance(metadata, ExportMetadata) and len(metadata.metadata) == 6


def test_the_book_lists_the_layouts():
    text = (PROJECT / "book" / "microscopes.md").read_text()
    for layout in LAYOUTS:
        assert f"| {layout.name} | `{layout.example}`" in text
