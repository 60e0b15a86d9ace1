"""Pictures show the wells that they say, as the model was given them, or say why not."""

import base64
import io
import re
import shutil
import warnings

import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image

from unidino.evaluate import plate_quality
from unidino.pages import plate
from unidino.report import montage, stored, verdicts

from .conftest import WELLS, images


def asked(one):
    columns = plate.stored_columns(one.wells)
    return verdicts.ask(one, columns, plate_quality.Limits(), told=0.8, level=0.05, draws=9, seed=0)


@pytest.fixture(scope="module")
def one(folder):
    return stored.read(folder)


def decoded(uri):
    kind, data = uri.split(",")
    assert kind == "data:image/jpeg;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def site(one, well, which=0):
    return int(np.flatnonzero(one.sites["Metadata_Well"] == well)[which])


def test_controls_active_treatments_and_flagged_wells_are_chosen(one):
    groups = montage.chosen(one, asked(one), most=3)
    assert list(groups) == [
        "Negative controls", "Positive controls", "Most active treatments",
        "Flagged wells, the one farthest beyond a limit first",
    ]  # fmt: skip
    wells = {
        name: [one.sites["Metadata_Well"].iat[row] for row, _ in group]
        for name, group in groups.items()
    }
    kinds = one.wells.set_index("Metadata_Well")["Metadata_control_type"]
    assert len(wells["Negative controls"]) == len(wells["Positive controls"]) == 3
    assert (kinds[wells["Negative controls"]] == "negcon").all()
    assert (kinds[wells["Positive controls"]] == "poscon").all()
    assert kinds[wells["Most active treatments"]].isna().all()
    compounds = one.wells.set_index("Metadata_Well")["Metadata_compound"]
    assert set(compounds[wells["Most active treatments"]]) == {"a", "b"}
    # The bright site itself is shown of its well; one that cannot be read never is.
    flagged = dict(groups["Flagged wells, the one farthest beyond a limit first"])
    assert "DNA saturated" in flagged[site(one, "B03", 1)]
    shown = [row for group in groups.values() for row, _ in group]
    assert (one.sites["Metadata_status"].iloc[shown] != "failed").all()


def test_the_active_well_is_the_farthest_of_its_treatment(one):
    found = asked(one)
    frame = found.wells.profiles
    names = [name for name in frame if name.startswith("emb_")]
    own = (frame["Metadata_control_type"] == "negcon").to_numpy()
    centre = frame.loc[own, names].to_numpy(float).mean(0)
    far = np.linalg.norm(frame[names].to_numpy(float) - centre, axis=1)
    for row, why in montage.chosen(one, found)["Most active treatments"]:
        treatment = why.split(";")[0]
        mine = (frame[plate.TREATMENT] == treatment).to_numpy()
        assert (
            one.sites["Metadata_Well"].iat[row]
            == frame["Metadata_Well"][mine].iloc[far[mine].argmax()]
        )


def test_without_controls_and_treatments_wells_are_evenly_spaced(tmp_path, extracted):
    table = images(tmp_path / "d", wells=WELLS[:9], kinds=None)
    one = stored.read(extracted(table, reference="all"))
    groups = montage.chosen(one, asked(one), most=2)
    (rows,) = (group for name, group in groups.items() if name == "Wells, evenly spaced")
    assert [one.sites["Metadata_Well"].iat[row] for row, _ in rows] == ["A01", "A03", "A06", "B03"]


def test_of_several_sites_the_one_of_median_foreground_is_shown():
    sites = pd.DataFrame({"Metadata_foreground": [0.9, 0.1, 0.5, np.nan, 0.2]})
    names = np.array(["A01"] * 4 + ["A02"], dtype=object)
    read = np.array([True, True, True, False, True])
    assert montage._typical(sites, names, read, "A01") == 2
    assert montage._typical(sites, names, read, "A02") == 4


def test_pictures_have_the_contrast_of_the_plate(one, folder):
    row = site(one, "A01")
    made = montage.photograph(one, {"x": [(row, "why")]})
    (card,) = made.groups["x"]
    assert (card.well, card.why, made.said) == ("A01", "why", [])
    statistics = pd.DataFrame(one.measured["intensity_statistics"]).set_index("channel")
    source = folder.parents[2]
    for channel, uri in zip(one.channels, card.details, strict=True):
        raw = tifffile.imread(source / "img" / f"0_A01_0_{channel}.tif").astype(float)
        low, high = statistics.loc[channel, ["low", "high"]]
        expected = 255 * np.clip((raw - low) / (high - low), 0, 1)
        drawn = decoded(uri).astype(float)
        assert drawn.shape == (48, 48)
        assert np.corrcoef(drawn.ravel(), expected.ravel())[0, 1] > 0.99
        assert np.abs(drawn - expected).mean() < 5
    composite = decoded(card.composite)
    assert composite.shape == (48, 48, 3)
    assert card.box is None  # the middle is all there is
    assert made.colours == {"DNA": "#ff00ff", "ER": "#00ff00"}
    assert made.bars is None


def test_large_fields_are_shrunk_and_cut_in_the_middle():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 100, (2, 600, 900)).astype(np.uint16)
    image[0, 215:385, 365:535] = 1000
    limits, colours = [(0, 1000), (0, 100)], montage.colours_of(["a", "b"])
    card = montage._card(image, limits, colours, "A01", "", None)
    assert decoded(card.composite).shape == (227, 340, 3)
    assert decoded(card.details[0]).shape == (170, 170)
    assert decoded(card.details[0]).min() > 240  # the bright middle, nothing else
    np.testing.assert_allclose(card.box, (365 / 900, 215 / 600, 170 / 900, 170 / 600))


@pytest.mark.parametrize(
    ("width", "length"),
    [(100.0, 20), (416.0, 50), (249.0, 20), (1000.0, 200), (9.0, 1), (3.3, 0.5)],
)
def test_scale_bars_have_a_round_length_of_at_most_a_fifth(width, length):
    made, share = montage.bar_length(width)
    assert made == pytest.approx(length) and share == pytest.approx(length / width)
    assert 0.08 - 1e-9 <= share <= 0.2 + 1e-9


def test_scale_bars_are_as_long_as_they_say():
    black = Image.fromarray(np.zeros((200, 300), np.uint8))
    drawn = np.asarray(montage._with_bar(black, 300 * 0.65))
    length, _ = montage.bar_length(300 * 0.65)
    columns = np.flatnonzero((drawn == 255).any(0))
    assert np.ptp(columns) + 1 == round(length / 0.65)
    assert montage._with_bar(black, None) is black


@pytest.mark.parametrize(
    ("options", "bars"),
    [
        ({}, ("5 µm", "5 µm")),  # 48 pixels of 0.65 µm are 31.2 µm
        ({"resize_shorter_side": 32}, ("5 µm", "5 µm")),
        ({"pixel_size": 1.3}, ("5 µm", "5 µm")),
    ],
)
def test_the_size_of_a_pixel_is_that_of_the_image_as_read(options, bars, tmp_path, extracted):
    table = images(tmp_path / "d", wells=WELLS[:6], kinds=["negcon"] * 4 + ["a", "b"])
    pd.read_csv(table).assign(pixel_size=0.65).to_csv(table, index=False)
    one = stored.read(extracted(table, **options))
    made = montage.photograph(one, {"x": [(0, "")]})
    assert made.bars == bars
    (card,) = made.groups["x"]
    drawn = decoded(card.details[0])
    bar = np.flatnonzero(drawn[-3] > 200)
    assert abs(np.ptp(bar) + 1 - 5 / (31.2 / drawn.shape[1])) <= 1.5


@pytest.mark.parametrize("count", range(1, 8))
def test_every_channel_has_a_colour(count):
    colours = montage.colours_of(list(range(count)))
    assert len(colours) == count
    assert count > 5 or len(set(colours)) == count
    # None is red beside green: all differ in more than these two.
    assert (255, 0, 0) not in colours


def test_channels_that_were_renamed_are_found(tmp_path, extracted):
    table = images(tmp_path / "d", wells=WELLS[:6], kinds=["negcon"] * 4 + ["a", "b"])
    one = stored.read(extracted(table, channels="Nuclei=ER,Other=DNA"))
    made = montage.photograph(one, {"x": [(0, "")]})
    (card,) = made.groups["x"]
    raw = tifffile.imread(tmp_path / "d" / "img" / "0_A01_0_ER.tif").astype(float)
    assert np.corrcoef(decoded(card.details[0]).ravel(), raw.ravel())[0, 1] > 0.95


@pytest.mark.parametrize("illumination", ["estimate", "given"])
def test_illumination_is_divided_out_of_pictures(illumination, tmp_path, extracted):
    table = images(tmp_path / "d", wells=WELLS[:6], kinds=["negcon"] * 4 + ["a", "b"])
    (tmp_path / "d" / "functions").mkdir()
    light = np.linspace(0.5, 1.5, 48 * 48, dtype=np.float32).reshape(48, 48)
    for channel in ("DNA", "ER"):
        np.save(tmp_path / "d" / "functions" / f"{channel}.npy", light)
    files = str(tmp_path / "d" / "functions" / "{channel}.npy")
    asked = illumination if illumination == "estimate" else files
    one = stored.read(extracted(table, illumination=asked))
    made = montage.photograph(one, {"x": [(0, "")]})
    assert made.groups and not made.said
    if illumination == "given":
        (card,) = made.groups["x"]
        raw = tifffile.imread(tmp_path / "d" / "img" / "0_A01_0_DNA.tif") / light
        assert np.corrcoef(decoded(card.details[0]).ravel(), raw.ravel())[0, 1] > 0.95
        for channel in ("DNA", "ER"):
            np.save(tmp_path / "d" / "functions" / f"{channel}.npy", np.flip(light))
        made = montage.photograph(one, {"x": [(0, "")]})
        assert not made.groups and "divided by other illumination functions" in made.said[0]


def test_nothing_is_fetched_without_leave(tmp_path, folder):
    """Whatever the folder says was allowed when it was made."""
    shutil.copytree(folder, tmp_path / "small" / "t")
    one = stored.read(tmp_path / "small" / "t")
    frame = pd.read_csv(folder.parents[2] / "t.csv")
    for channel in ("DNA", "ER"):
        frame[channel] = "https://127.0.0.1:9/" + frame[channel]
    frame.to_csv(tmp_path / "t.csv", index=False)
    recorded = {"origin": str(tmp_path / "t.csv"), "opened_with": {"remote": True}}
    made = montage.photograph(_with(one, one.recorded | recorded), {"x": [(0, "")]})
    assert not made.groups
    assert "t.csv, cannot be opened" in made.said[0] and "remote=True" in made.said[0]


def test_images_that_are_not_there_any_more(tmp_path, folder):
    source, out = folder.parents[2], tmp_path / "small" / "t"
    shutil.copytree(folder, out)
    one = stored.read(out)
    row = site(one, "A01")

    def said(recorded=None, root=None):
        plate_now = one if recorded is None else _with(one, recorded)
        made = montage.photograph(plate_now, {"x": [(row, ""), (site(one, "C01"), "")]}, root)
        assert not made.groups
        (text,) = made.said
        assert str(tmp_path) not in text and str(source) not in text
        return text

    moved = tmp_path / "moved"
    shutil.copytree(source, moved, ignore=shutil.ignore_patterns("out"))
    here = one.recorded | {"origin": str(moved / "t.csv")}
    assert said(one.recorded | {"origin": str(tmp_path / "none.csv")}).startswith(
        "The images are not shown: its dataset, none.csv, is not there"
    )
    assert "its dataset is not recorded" in said({})
    (moved / "img").rename(tmp_path / "elsewhere")
    assert "img/0_A01_0_DNA.tif: no such image" in said(here)
    made = montage.photograph(_with(one, here), {"x": [(row, "")]}, str(tmp_path))
    assert not made.groups  # not below this folder, either
    (tmp_path / "elsewhere").rename(tmp_path / "img")
    made = montage.photograph(_with(one, here), {"x": [(row, "")]}, str(tmp_path))
    assert made.groups and not made.said
    for channel in ("DNA", "ER"):
        name = tmp_path / "img" / f"0_A01_0_{channel}.tif"
        tifffile.imwrite(name, tifffile.imread(name) + np.uint16(100))
    both = {"x": [(row, ""), (site(one, "C01"), "")]}
    made = montage.photograph(_with(one, here), both, str(tmp_path))
    assert [card.well for card in made.groups["x"]] == ["C01"]
    assert re.match("1 of 2 images are not shown: their mean intensities are not", made.said[0])
    frame = pd.read_csv(moved / "t.csv")
    frame[frame["well"] != "A01"].to_csv(moved / "t.csv", index=False)
    made = montage.photograph(_with(one, here), both, str(tmp_path))
    assert made.said == ["1 of 2 images are not shown: the dataset has these sites no more."]
    frame.assign(plate="other").to_csv(moved / "t.csv", index=False)
    assert "the dataset has this plate no more" in said(here)
    (moved / "t.csv").write_text("nothing\n1\n")
    assert "its dataset, t.csv, cannot be opened (" in said(here)


def _with(one, recorded):
    from dataclasses import replace

    return replace(one, recorded=recorded)


def test_where_nothing_could_be_read_nothing_is_shown(one):
    made = montage.photograph(one, {})
    assert made.said == ["No site could be read, so that there is nothing to show."]


def test_planes_channels_and_levels_are_those_that_were_read(tmp_path, extracted):
    """Of an OME-Zarr plate at a lower resolution, its channels renamed and in another order."""
    pytest.importorskip("zarr")
    ngio = pytest.importorskip("ngio")
    wells = [f"B{column:02d}" for column in range(2, 6)]
    plate_folder = tmp_path / "d" / "p.zarr"
    plate_folder.parent.mkdir()
    rng = np.random.default_rng(0)
    fields = {well: rng.normal(500, 50, (2, 96, 96)) for well in wells}
    for i, field in enumerate(fields.values()):
        field[0, 20 + i : 60, 30:50] += 4000
        field[1, 30:50, 20 + i : 60] += 4000
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        inside = [ngio.ImageInWellPath(row=w[0], column=w[1:], path="0") for w in wells]
        ngio.create_empty_plate(plate_folder, name="p", images=inside, ngff_version="0.4")
        for well, field in fields.items():
            ngio.create_ome_zarr_from_array(
                plate_folder / well[0] / well[1:] / "0", field.astype(np.uint16), overwrite=True,
                pixelsize=0.65, levels=2, axes_names="cyx", channels_meta=["DNA", "ER"],
                ngff_version="0.4", consolidation_mode="numpy",
            )  # fmt: skip
    folder = extracted(plate_folder, tmp_path / "out", resolution_level=1, reference="all",
                       channels="Second=ER,First=DNA")  # fmt: skip
    made = montage.photograph(stored.read(folder), {"x": [(0, "")]})
    (card,) = made.groups["x"]
    assert made.said == [] and made.bars == ("10 µm", "10 µm")  # 48 pixels of 1.3 µm
    half = fields["B02"].reshape(2, 48, 2, 48, 2).mean((2, 4))
    for uri, plane in zip(card.details, half[::-1], strict=True):
        assert np.corrcoef(decoded(uri).ravel(), plane.ravel())[0, 1] > 0.95
