"""A report is one file that needs nothing beside it, and says what the tables say."""

import doctest
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile

import unidino
from unidino import cli, paths, tables
from unidino.evaluate import dose_response, plate_quality, questions
from unidino.report import report, svg
from unidino.verify import verify

from .conftest import WELLS, frame_of, images, parsed, part, text_of, verdict

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def text(folder, tmp_path_factory):
    return report(folder, output=str(tmp_path_factory.mktemp("r") / "x.html")).read_text()


@pytest.fixture(scope="module")
def root(text):
    return parsed(text)


def written(folder, tmp_path, **options):
    """The root of a report."""
    options = {"draws": 99} | options
    return parsed(report(folder, output=str(tmp_path / "x.html"), **options).read_text())


# One file.


def assert_needs_nothing(text):
    """Nothing is loaded, nothing runs, every picture has words."""
    assert "http://" not in text and "https://" not in text and "url(" not in text
    root = parsed(text)
    tags = {node.tag for node in root.iter()}
    assert not tags & {
        "script",
        "link",
        "iframe",
        "object",
        "embed",
        "base",
        "form",
        "use",
        "image",
    }
    assert not any(name.startswith("on") for node in root.iter() for name in node.attrib)
    ids = [node.get("id") for node in root.iter() if node.get("id")]
    assert len(ids) == len(set(ids))
    for node in root.iter():
        if node.get("src") is not None:
            assert re.match("data:image/jpeg;base64,[A-Za-z0-9+/=]+$", node.get("src"))
        if node.get("href") is not None:
            assert node.get("href").removeprefix("#") in ids
        if node.tag == "img":
            assert node.get("alt")
        if node.tag == "svg":
            within_key = node.get("class") == "key"  # beside its words
            assert within_key or node.get("aria-hidden") or node.get("aria-label")
    for table in root.iter("table"):
        widths = {sum(1 for _ in row) for row in table.iter("tr")}
        assert len(widths) == 1


def test_the_file_needs_nothing_beside_it(text):
    assert_needs_nothing(text)
    assert len(text) < 1e6
    assert sum(1 for _ in parsed(text).iter("img")) > 20


def test_no_folder_of_the_machine_is_told(text, folder):
    assert str(folder.parents[2]) not in text and str(folder) not in text


def test_reports_lie_beside_the_profiles_and_are_the_same_each_time(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "small" / "t")
    made = report(copy)
    assert made == copy / "reports" / "p_report.html"
    first = made.read_bytes()
    made.write_text("an earlier one")
    assert report(str(copy)).read_bytes() == first
    assert [file.name for file in made.parent.iterdir()] == [made.name]
    assert verify(copy) == verify(folder)  # which knows reports
    (made.parent / "notes.txt").touch()
    assert [f.file for f in verify(copy) if f.what == "is nothing that an extraction writes"] == [
        "reports/notes.txt"
    ]


def test_an_extraction_goes_on_after_a_report(tmp_path, extracted):
    table = images(tmp_path / "d", wells=WELLS[:6], kinds=["negcon"] * 4 + ["a", "b"])
    made = report(extracted(table))
    extracted(table)
    assert made.exists()
    # What is overwritten takes its reports along.
    extracted(table, overwrite=True, stride=16)
    assert not made.exists()
    (report(extracted(table, stride=16)).parent / "notes.txt").touch()
    with pytest.raises(ValueError, match="notes.txt is nothing that an extraction writes"):
        extracted(table, overwrite=True)


def test_the_command(folder, tmp_path, capsys):
    out = tmp_path / "mine.html"
    cli.main(["report", str(folder), "--output", str(out), "--plate", "p"])
    printed = capsys.readouterr()
    assert printed.out == f"{out}\n" and "open it in a browser, or mail it" in printed.err
    with pytest.raises(SystemExit, match="error: .* holds no plate 'q'. There are: p."):
        cli.main(["report", str(folder), "--plate", "q"])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"output": "x.pdf"}, ValueError, "output 'x.pdf' is no HTML file; give a name that ends"),
        ({"projection": "tsne"}, ValueError, "projection 'tsne' is not one of pca, umap"),
        ({"level": 1.0}, ValueError, "level is 1.0; it is a share, above 0 and below 1"),
        ({"told": 0.0}, ValueError, "told is 0.0; it is a share"),
        ({"sparse": 2.0}, ValueError, "sparse is 2.0; it is a share"),
        ({"draws": 0}, ValueError, "draws is 0; it must be above 0"),
        ({"plate": 3}, TypeError, "parameter plate takes str or None, got 3"),
        ({"label": "drug"}, ValueError, "label 'drug' is no column of the profiles; the columns "
         "are: Plate, Well, control_type, compound. Name one of them"),
        ({"perturbation": "x"}, ValueError, "perturbation 'x' is no column of the profiles"),
        ({"dose": "compound"}, ValueError, "dose 'compound' holds text such as 'a'; doses are "
         "numbers. Correct the column in the dataset or its plate map"),
    ],
)  # fmt: skip
def test_wrong_parameters_are_named(folder, options, error, message, tmp_path):
    before = sorted(folder.rglob("*"))
    with pytest.raises(error, match=message):
        report(folder, **options)
    assert sorted(folder.rglob("*")) == before


def test_a_file_that_cannot_be_written_is_named(folder, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="cannot be written: a file stands where a folder is wanted"):
        report(folder, output=str(tmp_path / "file" / "x.html"))


def test_python_m_and_a_light_start():
    code = "import sys, unidino.cli; print([m for m in ('torch', 'umap') if m in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True)
    assert ran.stdout.strip() == "[]"
    ran = subprocess.run(
        [sys.executable, "-m", "unidino.report", "--help"], cwd=PROJECT, capture_output=True,
        text=True,
    )  # fmt: skip
    assert ran.returncode == 0 and "--projection" in ran.stdout


# What it says.


def test_the_head_says_what_it_is_of(root, folder):
    head = root.find("body/header")
    assert text_of(head.find("p")) == "Real images · quality report"
    assert text_of(head.find("h1")) == "Plate p"
    facts = {text_of(one.find("dt")): text_of(one.find("dd")) for one in head.find("dl")}
    assert facts["Dataset"] == "t" and facts["Channels"] == "DNA, ER"
    assert facts["Model"] == folder.parent.name
    assert facts["Wells"] == "24" and facts["Sites"] == "48 (47 ok, 0 empty, 1 failed)"
    assert facts["Software"] == f"uniDINO {unidino.__version__}"
    assert re.match(r"\d{4}-\d\d-\d\d", facts["Extracted"])
    counts = [text_of(item) for item in head.find("ul")]
    words = frame_of(root, "verdicts")["Verdict"].str[2:].value_counts()
    assert counts == [
        f"{sign} {word} {words.get(word, 0)}"
        for sign, word in (("✕", "fail"), ("!", "look"), ("✓", "pass"), ("–", "not asked"))
    ]


def test_every_section_is_reached(root):
    links = [node.get("href")[1:] for node in root.find("body/nav").iter("a")]
    assert links == [node.get("id") for node in root.iter("section")]
    assert links == [
        "verdicts", "failed", "flags", "maps", "positions", "activity", "pictures", "map",
        "doubts", "making", "wells",
    ]  # fmt: skip


def test_the_table_of_wells_is_that_of_the_profiles(root, folder):
    shown = frame_of(root, "wells").set_index("Well")
    wells = tables.read_table(folder / "t_no_post_proc_well_features.parquet")
    assert list(shown.index) == wells["Metadata_Well"].tolist()
    for column, name in {
        "Foreground": "foreground", "Objects": "objects", "Mean DNA": "mean_DNA",
        "Mean ER": "mean_ER", "Focus DNA": "focus_DNA", "Focus ER": "focus_ER",
        "Saturated DNA": "saturated_DNA",
    }.items():  # fmt: skip
        numbers = shown[column].str.replace(",", "").astype(float)
        np.testing.assert_allclose(numbers, wells[f"Metadata_{name}"], rtol=0.005)
    assert "Saturated ER" not in shown  # as in the heat maps
    assert shown["Failed"].astype(int).tolist() == wells["Metadata_sites_failed"].tolist()
    assert shown["compound"].tolist() == wells["Metadata_compound"].fillna("").tolist()
    after = tables.read_table(folder / "t_standardize_well_features.parquet")
    distance = dose_response.distance_from_controls(after)
    np.testing.assert_allclose(shown["Distance"].str.replace(",", "").astype(float), distance,
                               rtol=0.005)  # fmt: skip


def test_heat_maps_hold_the_values_of_the_tables(root, folder):
    wells = tables.read_table(folder / "t_no_post_proc_well_features.parquet").set_index(
        "Metadata_Well"
    )
    figures = {
        text_of(figure.find("figcaption")): figure for figure in part(root, "maps").iter("figure")
    }
    assert [name.split(",")[0] for name in figures][:4] == [
        "Layout", "Distance from the negative controls", "Foreground", "Objects",
    ]  # fmt: skip
    for caption, name in {
        "Foreground": "foreground", "Mean intensity, ER": "mean_ER", "Focus, DNA": "focus_DNA",
        "Saturated, DNA": "saturated_DNA",
    }.items():  # fmt: skip
        told = [n.find("title").text for n in figures[caption].iter("rect")
                if n.get("class") == "well"]  # fmt: skip
        found = {one.split(",")[0].split(":")[0]: one.rpartition(": ")[2] for one in told}
        assert found == {w: svg.number(v) for w, v in wells[f"Metadata_{name}"].items()}
    assert "Saturated, ER" not in figures  # nothing to see
    assert any(one.startswith("A06, poscon, positive control: ") for one in told)


def test_flags_are_those_of_the_plate(root, folder):
    sites = tables.read_table(folder / "sites" / "p.parquet")
    flagged = plate_quality.flags(sites)
    table = plate_quality.flag_table(flagged, sites)
    shown = frame_of(root, "flags")
    assert shown["Flag"].tolist() == table["flag"].tolist()
    for name in ("sites", "wells"):
        assert shown[name.capitalize()].astype(int).tolist() == table[name].tolist()
    looked = plate_quality.wells_to_look_at(flagged, sites)
    assert frame_of(root, "flags", 1)["Well"].tolist() == looked["well"].tolist()
    assert frame_of(root, "flags", 1)["Why"].tolist() == looked["reasons"].tolist()


def test_sites_that_could_not_be_read_are_listed_with_their_reason(root):
    (row,) = frame_of(root, "failed").to_dict("records")
    assert row["Where"] == "A02" and row["Sites"] == "1"
    assert row["Reason"] == "not a readable image (not a TIFF file: header=b'no i')."
    assert row["First file"] == "img/0_A02_0_ER.tif"
    assert verdict(root, "Images read")[0] == "look"


def test_treatments_score_as_the_questions_say(root, folder):
    frame = tables.read_table(folder / "t_standardize_well_features.parquet")
    frame["treatment"] = frame["Metadata_compound"].fillna("negcon")
    shown = frame_of(root, "activity").set_index("Treatment")
    for name, column in ((questions.activity, "Activity"), (questions.distinctiveness,
                                                           "Distinctiveness")):  # fmt: skip
        scores = name(frame, "treatment", seed=0).set_index("treatment")
        expected = scores["mean_normalized_average_precision"][shown.index]
        np.testing.assert_allclose(shown[column].astype(float), expected, atol=0.005)


def test_the_map_names_every_well(root):
    drawing = next(part(root, "map").iter("svg"))
    names = [n.find("title").text for n in drawing.iter() if n.get("class") == "dot"]
    assert sorted(name.split(",")[0] for name in names) == WELLS
    legend = [text_of(item) for item in part(root, "map").iter("li")]
    assert legend[:4] == ["negative control (12)", "positive control (4)", "a (4)", "b (4)"]


def test_the_components_are_those_of_the_profiles(root, folder):
    frame = tables.read_table(folder / "t_standardize_well_features.parquet")
    values = frame[[name for name in frame if name.startswith("emb_")]].to_numpy(float)
    left, lengths, _ = np.linalg.svd(values - values.mean(0), full_matrices=False)
    drawing = next(part(root, "map").iter("svg"))
    shares = lengths**2 / (lengths**2).sum()
    assert [n.text for n in drawing.iter("text")] == [
        f"PC{i + 1} ({shares[i]:.0%} of variance)" for i in range(2)
    ]
    at = {}
    for node in drawing.iter():
        if node.get("class") == "dot":
            name = node.find("title").text.split(",")[0]
            if node.tag == "circle":
                at[name] = float(node.get("cx")), float(node.get("cy"))
            else:
                points = np.array([p.split(",") for p in node.get("points").split()], float)
                at[name] = tuple((points.max(0) + points.min(0)) / 2)
    drawn = np.array([at[well] for well in frame["Metadata_Well"]])
    for axis in (0, 1):
        rho = np.corrcoef(drawn[:, axis], left[:, axis])[0, 1]
        assert abs(rho) > 0.99


def test_how_it_was_made_is_told(root, folder):
    shown = frame_of(root, "making").set_index("Setting")["Value"]
    made = tables.read_provenance(folder / "t_standardize_well_features.parquet")
    assert shown["profiles"] == "t_standardize_well_features.parquet"
    assert shown["normalisation"] == "standardize" and shown["reference"] == "negative controls"
    assert shown["weights_sha256"] == made["settings"]["weights_sha256"]
    assert shown["SHA-256 of the images"] == made["images_sha256"]
    assert shown["min_foreground"] == "0.01" and shown["version of torch"]


def test_umap_is_drawn_where_it_is_asked_for(folder, tmp_path, monkeypatch):
    from unidino.evaluate import maps

    asked = []

    def coordinates(frame, seed):
        asked.append(seed)
        return np.arange(2.0 * len(frame)).reshape(-1, 2)

    monkeypatch.setattr(maps, "umap_coordinates", coordinates)
    root = written(folder, tmp_path, projection="umap", seed=3)
    assert asked == [3] and "UMAP 1" in text_of(part(root, "map"))


def test_limits_and_level_are_those_that_are_given(folder, tmp_path):
    root = written(folder, tmp_path, saturated=0.9, outlying=1e9, level=0.001)
    assert frame_of(root, "flags")["Sites"].astype(int).sum() == 1  # the unreadable one
    assert verdict(root, "Exposure")[0] == "pass"
    assert "corrected p < 0.001" in verdict(root, "Active treatments")[1]


# Other plates.


def test_the_example_is_said_to_be_simulated(tmp_path):
    """With doses, and without what would fill a screen."""
    example = PROJECT / "data" / "example"
    made = unidino.extract(
        str(example / "plate.csv"), platemap=str(example / "layout.csv"),
        outdir=str(tmp_path), model="random_vit", block=1, size=160,
    )  # fmt: skip
    text = report(made.profiles_path.parent).read_text()
    assert_needs_nothing(text)
    root = parsed(text)
    head = root.find("body/header")
    assert text_of(head.find("p")) == "Simulated images · quality report"
    assert "an untrained network: a baseline, not a result" in text_of(head)
    assert part(root, "doses") is not None
    doses = frame_of(root, "wells")["concentration"]
    assert doses.tolist() == [f"{d:g}" for d in made.profiles["Metadata_concentration"]]


@pytest.mark.parametrize("plate", ["<script>alert(1)</script>", 'a/b "&', "π ≠ 3\u202e"])
def test_odd_names_stay_text(plate, tmp_path, extracted):
    kinds = ["negcon"] * 4 + ["a", "b"]
    labels = ["x"] * 4 + ["<img src=x onerror=alert(1)>", "`tick`"]
    table = images(tmp_path / "d", [plate], WELLS[:6], kinds, drop=["compound"], gene=labels)
    folder = extracted(table)
    made = report(folder)
    assert folder / "reports" in made.parents
    text = made.read_text(encoding="utf-8")
    assert_needs_nothing(text)
    root = parsed(text)
    assert "".join(root.find("body/header/h1").itertext()) == f"Plate {plate}"
    assert frame_of(root, "wells")["gene"].tolist() == labels


def test_doses_without_labels_shade_the_map(tmp_path, extracted):
    kinds = ["negcon"] * 8 + ["a"] * 16
    doses = [0.0] * 8 + [0.1, 1.0, 10.0, 100.0] * 4
    table = images(tmp_path / "d", kinds=kinds, drop=["compound"], dose=doses)
    root = written(extracted(table), tmp_path)
    assert "diamonds by dose" in text_of(part(root, "map"))
    figures = [text_of(f.find("figcaption")) for f in part(root, "maps").iter("figure")]
    assert figures[1] == "Dose, by rank"
    ticks = [n.text for n in part(root, "doses").iter("text") if n.get("class") == "tick"]
    assert ticks[:5] == ["0.1", "1", "10", "100", "negative"]


def test_one_well_without_anything(tmp_path, extracted):
    table = images(tmp_path / "d", wells=["A01"], kinds=None)
    text = report(extracted(table, norm_method="no_post_proc")).read_text()
    assert_needs_nothing(text)
    root = parsed(text)
    assert verdict(root, "Active treatments")[0] == "not asked"
    assert "There is no map: 1 well" in text_of(part(root, "map"))
    assert len(frame_of(root, "wells")) == 1
    assert verdict(root, "Normalisation") == (
        "not asked",
        "These profiles are not normalised: distances are raw. Look: the run warned of something; "
        "fail: a channel, or the whole plate, is lost.",
    )


@pytest.mark.parametrize(
    ("drop", "options", "said"),
    [
        (["plate"], {}, "Plate"),
        (["plate", "well"], {"reference": "all"}, "There are no wells to lay out"),
        ([], {"operation": "none"}, "Every site"),
    ],
)
def test_datasets_without_plates_or_wells(drop, options, said, tmp_path, extracted):
    table = images(tmp_path / "d", sites=2, wells=WELLS[:12], drop=drop,
                   kinds=["negcon"] * 6 + ["a", "b"] * 3)  # fmt: skip
    text = report(extracted(table, **options)).read_text()
    assert_needs_nothing(text)
    root = parsed(text)
    by_site = said != "Plate"
    assert len(frame_of(root, "wells")) == (24 if by_site else 12)
    if by_site:
        assert said in text
    else:
        assert text_of(root.find("body/header/h1")) == "All images"


def test_wells_that_are_no_positions(tmp_path, extracted):
    table = images(tmp_path / "d", wells=[f"well {i}" for i in range(6)],
                   kinds=["negcon"] * 4 + ["a", "b"])  # fmt: skip
    root = written(extracted(table), tmp_path)
    assert "The well 'well 0' is no position on a plate" in text_of(part(root, "maps"))
    assert not list(part(root, "maps").iter("svg"))


def test_a_plate_of_which_nothing_could_be_read(tmp_path, extracted):
    kinds = ["negcon"] * 4 + ["a", "b"]
    table = images(tmp_path / "d", ["p", "q"], WELLS[:6], kinds)
    for file in (tmp_path / "d" / "img").glob("1_*"):
        file.write_bytes(b"no image")
    text = report(extracted(table), plate="q").read_text()
    assert_needs_nothing(text)
    root = parsed(text)
    words = frame_of(root, "verdicts").set_index("Question")["Verdict"].str[2:]
    assert words["Images read"] == words["Normalisation"] == "fail"
    assert set(words.drop(["Images read", "Normalisation"])) == {"not asked"}
    assert "No site could be read" in text_of(part(root, "pictures"))
    titles = [n.find("title").text for n in part(root, "maps").iter("rect")
              if n.get("class") == "well"]  # fmt: skip
    assert titles and all(title.endswith("could not be read") for title in titles)


def test_a_table_longer_than_the_page_says_so(folder, tmp_path, monkeypatch):
    from unidino.report import sections

    monkeypatch.setattr(sections, "ROWS", 10)
    root = written(folder, tmp_path)
    assert len(frame_of(root, "wells")) == 10
    assert "Measures of each well, the first 10 of 24" in text_of(part(root, "wells"))
    assert "10 of the 24 are drawn, evenly spaced" in text_of(part(root, "map"))
    drawing = next(part(root, "map").iter("svg"))
    named = {n.find("title").text.split(",")[0] for n in drawing.iter() if n.get("class") == "dot"}
    assert len(named) == 10 and {"A01", "D06"} <= named


def test_a_real_plate(tmp_path, extracted):
    real = paths.real_data_root()
    if real is None or not (real / "sbs_translocation_plate").is_dir():
        pytest.skip("the real translocation plate is not there (UNIDINO_REAL)")
    from unidino.demo.real_sets import sbs_plate

    frame = sbs_plate(real)
    frame[frame["well"].str[1:].isin(["01", "02", "06", "12"])].to_csv(
        tmp_path / "sbs.csv", index=False
    )
    folder = extracted(tmp_path / "sbs.csv", root=str(real), resize_shorter_side=160)
    made = report(folder, root=str(real))
    text = made.read_text()
    assert_needs_nothing(text)
    assert made.stat().st_size < 2e6
    root = parsed(text)
    assert sum(1 for _ in part(root, "pictures").iter("img")) > 20
    counts = pd.read_csv(tmp_path / "sbs.csv")["control_type"].value_counts()
    assert f"{counts['negcon']} wells" in verdict(root, "Negative controls")[1] or counts[
        "negcon"
    ] < len(WELLS)


@pytest.fixture(scope="module")
def bare_root(tmp_path_factory, extracted):
    """(report, folder) of ten treatments in two wells of one site each; two wells are empty.

    Four controls are too few for any p-value below 0.05.
    """
    kinds = ["negcon"] * 2 + ["a"] * 10 + ["negcon"] * 2 + ["a"] * 10
    genes = [None] * 2 + [f"g{i}" for i in range(10)]
    table = images(tmp_path_factory.mktemp("bare"), kinds=kinds, drop=["compound"], gene=genes * 2)
    rng = np.random.default_rng(1)
    for well in ("A05", "D05"):
        for channel in ("DNA", "ER"):
            noise = rng.normal(400, 3, (48, 48)).astype(np.uint16)
            tifffile.imwrite(table.parent / "img" / f"0_{well}_0_{channel}.tif", noise)
    folder = extracted(table)
    return parsed(report(folder, draws=99).read_text()), folder


def test_empty_wells_are_empty_and_nothing_else(bare_root):
    root, folder = bare_root
    sites = tables.read_table(folder / "sites" / "p.parquet").set_index("Metadata_Well")
    assert sites.index[sites["Metadata_status"] == "empty"].tolist() == ["A05", "D05"]
    shown = frame_of(root, "wells").set_index("Well")
    assert shown.loc[["A05", "D05"], "Flags"].tolist() == ["empty", "empty"]
    assert "Sites" not in shown  # one each: the status says it
    for figure in part(root, "maps").iter("figure"):
        if "Focus" in text_of(figure.find("figcaption")):
            hatched = [
                n.find("title").text
                for n in figure.iter("rect")
                if n.get("class") == "well"
                and n.find("title") is not None
                and "empty or sparse" in n.find("title").text
            ]
            assert [name.split(",")[0] for name in hatched] == ["A05", "D05"]
            assert text_of(figure).endswith("empty or sparse (2)")
    cards = [text_of(n) for n in part(root, "pictures").iter("figcaption")]
    assert cards.count("A05 empty") == 1 and "D05 empty" not in cards
    assert "(one of 2 empty ones)" in text_of(part(root, "pictures"))


def test_what_cannot_be_asked_is_answered_nowhere(bare_root):
    root, folder = bare_root
    word, said = verdict(root, "Active treatments")
    assert word == "not asked" and said.startswith("Cannot be asked: a perfect ranking would reach")
    section = text_of(part(root, "activity"))
    assert "Activity: 0 of" not in section and "No treatment could be found by activity" in section
    assert "Activity, corrected p" not in frame_of(root, "activity")
    headings = [text_of(n) for n in part(root, "pictures").iter("h3")]
    assert headings[1] == "Treatments farthest from the negative controls"


def test_the_farthest_treatments_are_named(bare_root):
    root, folder = bare_root
    frame = tables.read_table(folder / "t_standardize_well_features.parquet")
    frame["far"] = dose_response.distance_from_controls(frame)
    kept = frame[~frame["Metadata_Well"].isin(["A05", "D05"]) & frame["Metadata_gene"].notna()]
    order = kept.groupby("Metadata_gene")["far"].median().sort_values(ascending=False).index
    legend = [text_of(item) for item in part(root, "map").iter("li")]
    assert [one.split(" (")[0] for one in legend[1:8]] == sorted(order[:7])
    told = "of 10 names the 7 farthest from the negative controls have colours"
    assert told in text_of(part(root, "map")) and told in text_of(part(root, "maps"))
    cards = [text_of(n) for n in part(root, "pictures").iter("figcaption")]
    shown = [card.split(";")[0].split(" ")[1] for card in cards if "median distance" in card]
    assert shown == list(order[:4])
    wells = [card.split(" ")[0] for card in cards if "median distance" in card]
    farthest = kept.loc[kept.groupby("Metadata_gene")["far"].idxmax()].set_index("Metadata_gene")
    assert wells == farthest.loc[shown, "Metadata_Well"].tolist()


def test_doses_of_many_treatments_show_the_strongest_trends(tmp_path, extracted):
    kinds = ["negcon"] * 4 + ["a"] * 20
    names = [None] * 4 + [f"c{i % 10}" for i in range(20)]
    doses = [0.0] * 4 + [1.0 + i // 10 for i in range(20)]
    table = images(tmp_path / "d", kinds=kinds, drop=["compound"], gene=names, dose=doses)
    root = written(extracted(table), tmp_path)
    legend = [text_of(item) for item in part(root, "doses").iter("li")]
    assert legend[-1] == "others (8)" and "negative control (4)" in legend
    assert sum(item.startswith("c") for item in legend) == 6


def test_the_example_of_the_docstring(tmp_path, monkeypatch):
    monkeypatch.chdir(PROJECT)
    monkeypatch.setenv("UNIDINO_OUTDIR", str(tmp_path))
    (example,) = doctest.DocTestFinder(recurse=False).find(report, "report", globs={})
    assert doctest.DocTestRunner().run(example) == (0, 4)
