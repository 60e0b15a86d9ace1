"""What pages say about an extraction, on made-up profiles."""

from pathlib import Path
from types import SimpleNamespace

import nbformat
import numpy as np
import pandas as pd
import pytest
import tifffile

from unidino import dataset, paths, tables, valsets
from unidino.pages import extraction, notebook, plots

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "extract.ipynb"


@pytest.fixture
def made():
    """Forty wells whose first component is the foreground; two of them hold next to no cells."""
    rng = np.random.default_rng(0)
    foreground = rng.uniform(0.3, 0.5, 40)
    foreground[:2] = 0.01
    keys = {"Metadata_Plate": "1", "Metadata_Well": [f"A{i:02d}" for i in range(1, 41)]}
    features = rng.normal(0, 0.1, (40, 4))
    features[:, 0] += 50 * foreground
    features[:2] += 500
    profiles = pd.DataFrame(keys).assign(
        Metadata_moa=["a", "b"] * 20,
        Metadata_foreground=foreground,
        Metadata_mean_DNA=rng.uniform(1, 2, 40),
        Metadata_saturated_DNA=0.0,
        Metadata_focus_DNA=0.5,
        Metadata_signal_DNA=0.3,
    )
    profiles[[f"emb_DNA_{i:04d}" for i in range(4)]] = features
    return SimpleNamespace(
        profiles=profiles,
        metadata=SimpleNamespace(channels=["DNA"]),
        provenance={"operation": "mean", "simulated": True, "valset": "toy"},
    )


def test_sparse_fields_do_not_take_the_components(made):
    arguments = extraction.principal_components(made)
    assert np.flatnonzero(arguments["ringed"]).tolist() == [0, 1]
    # They are drawn on the edge of the others' frame.
    spread = np.ptp(arguments["coordinates"][2:], axis=0)
    assert (np.ptp(arguments["coordinates"], axis=0) < 1.1 * spread).all()
    figure = plots.scatter(**arguments)
    assert "sparse field" in [t.get_text() for t in figure.axes[0].get_legend().get_texts()]
    plots.plt.close(figure)


def test_a_channel_that_is_dead_on_a_plate_keeps_the_plate_in_the_figure(made):
    whole = extraction.principal_components(made)
    made.profiles["emb_ER_0000"] = np.r_[np.full(20, np.nan), np.arange(20.0)]
    made.profiles.loc[len(made.profiles)] = {"Metadata_moa": "a", "Metadata_foreground": 0.4}
    arguments = extraction.principal_components(made)
    np.testing.assert_array_equal(arguments["coordinates"], whole["coordinates"])
    assert len(arguments["labels"]) == 40


def test_what_components_follow(made):
    text = extraction.what_components_follow(made)
    assert "over 38 profiles; 2 profiles of sparse fields are left out: " in text
    assert "PC1 goes along with the share of pixels above the background (rho = " in text
    assert text.endswith("), PC2: none.")
    made.profiles = made.profiles.drop(index=0)
    one = extraction.what_components_follow(made)
    assert "over 38 profiles; 1 profile of a sparse field is left out: " in one
    made.profiles = made.profiles.drop(index=1)
    assert "over 38 profiles: " in extraction.what_components_follow(made)
    assert f"where that is {extraction.FOLLOWS} or more" in extraction.WHAT_FOLLOWS


def test_what_components_do_not_follow(made):
    rng = np.random.default_rng(3)
    made.profiles["Metadata_foreground"] = rng.uniform(0.3, 0.5, 40)
    made.profiles["Metadata_mean_DNA"] = rng.uniform(1, 2, 40)
    assert "neither component goes along" in extraction.what_components_follow(made)


def stored(tmp_path, made, model="m", valset="toy"):
    counts = {"sites": 41, "empty": 1, "failed": 0, "tiles": 80, "tiles_kept": 78}
    counts |= {"profiles": 40, "features": 4}
    provenance = made.provenance | {
        "counts": counts, "settings": {"channels": ["DNA"]}, "reference": "negcon",
        "dead_channels": {"DNA": ["1"]},
    }  # fmt: skip
    folder = paths.valset_folder(tmp_path, model, valset)
    file = paths.profiles_table(folder, valset, "standardize", "site")
    tables.write_table(made.profiles.assign(Metadata_control_type=["negcon"] + [None] * 39), file,
                       provenance)  # fmt: skip


def test_extractions_are_read_from_disk(made, tmp_path):
    stored(tmp_path, made)
    read = {"toy": extraction.stored("toy", "m", outdir=tmp_path)}
    with pytest.raises(
        FileNotFoundError, match="unidino extract --valset other --model m --norm_method"
    ):
        extraction.stored("other", "m", outdir=tmp_path)
    read["other"] = "why"
    table = extraction.overview(read)
    assert table.loc["toy", ["images", "channels", "sites", "without cells"]].tolist() == [
        "simulated", 1, 41, 1
    ]  # fmt: skip
    assert table.loc["toy", "tiles kept"] == "78 of 80"
    assert table.loc["toy", "said"] == "dead channels: DNA"
    assert table.loc["other", ["images", "said"]].tolist() == ["absent", "why"]
    channels = extraction.channel_overview(read)
    assert channels.index.tolist() == [("toy", "DNA")]
    mean = channels.loc[("toy", "DNA"), "mean intensity (raw)"]
    assert mean == made.profiles["Metadata_mean_DNA"].mean()
    (panel,) = extraction.component_panels(read)
    assert panel["control"].sum() == 1 and np.flatnonzero(panel["ringed"]).tolist() == [0, 1]
    figure = plots.component_panels([panel] * 4, "heading")
    drawn = [axis for axis in figure.axes if axis.get_visible()]
    assert len(drawn) == 4 and drawn[0].get_title().startswith("toy (40): ")
    plots.plt.close(figure)


def test_what_several_extractions_warn_of_is_said_once():
    def one(model, *warnings):
        provenance = {
            "settings": {"model": model}, "simulated": True, "valset": "HPA", "norm_method": "none"
        }  # fmt: skip
        return SimpleNamespace(provenance=provenance, warnings=warnings)

    lines = extraction.headline(one("a", "few controls"), one("b", "few controls", "dark"))
    assert lines.split("\n") == [
        "**Simulated** images of HPA, embedded by `a`; normalised by `none`, reference: none.",
        "",
        "**Simulated** images of HPA, embedded by `b`; normalised by `none`, reference: none.",
        "",
        "- Warning: few controls",
        "- Warning: dark",
    ]


def test_planted():
    truth = pd.DataFrame(
        {"mechanism": ["x", None, "y"], "strength": [0.5, 0, 0.9], "mean_gain": [1, 1.2, 0.9]}
    )
    made = extraction.planted(truth)
    assert made["with an effect planted"] == 2
    assert made["strength"] == "0.50 to 0.90"
    assert made["brightness factor"] == "0.90 to 1.20"
    assert made["cell number factor"] == "none"


def test_titles_wrap_and_leave_out_what_is_missing():
    assert extraction._title("A01", np.nan) == "A01"
    assert extraction._title("", "Nuclear membrane|Nucleoli") == "Nuclear membrane +\nNucleoli"


def test_montage_has_limits_for_each_site():
    images = [np.zeros((2, 8, 8)), np.ones((2, 8, 8))]
    limits = [[(0, 1), (0, 2)], [(0, 3), (0, 4)]]
    figure = plots.tile_montage(images, ["DNA", "ER"], limits, ["a", "b"], "heading")
    assert [axis.images[0].get_clim()[1] for axis in figure.axes] == [1, 3, 2, 4]
    plots.plt.close(figure)


@pytest.mark.parametrize(
    ("width", "length"), [(100, 20), (49, 5), (50, 10), (650, 100), (3.3, 0.5), (0.04, 0.005)]
)
def test_scale_bars_are_round_and_about_a_fifth(width, length):
    found, share = plots.bar_length(width)
    assert found == pytest.approx(length) and share == pytest.approx(length / width)
    assert 0.08 <= share <= 0.2


def test_scale_bars_stand_where_the_size_of_pixels_is_known():
    images = [np.zeros((2, 50, 200)), np.ones((2, 50, 200))]
    limits = [[(0, 1), (0, 2)]] * 2
    arguments = images, ["DNA", "ER"], limits, ["a", "b"], "heading"
    figure = plots.tile_montage(*arguments, pixel_sizes=[0.5, None])
    first, second = figure.axes[2:]
    assert not any(axis.lines for axis in (*figure.axes[:2], second))
    (bar,) = first.lines
    assert np.ptp(bar.get_xdata()) * 0.5 == pytest.approx(20)
    assert [text.get_text() for text in first.texts] == ["20 µm"]
    assert first.get_xlim() == (-0.5, 199.5)
    plots.plt.close(figure)


def test_the_bar_is_that_of_the_image_as_read(tmp_path):
    image = np.zeros((60, 80), np.uint16)
    tifffile.imwrite(
        tmp_path / "a.tif", image, resolution=(20_000, 20_000), resolutionunit="CENTIMETER"
    )
    tifffile.imwrite(tmp_path / "b.tif", image)
    table = pd.DataFrame({"path": ["a.tif", "b.tif"], "well": ["A01", "A02"]})
    table.to_csv(tmp_path / "x.csv", index=False)
    metadata = valsets.open_valset(tmp_path / "x.csv")
    assert [dataset.pixel_size_read(metadata, i) for i in (0, 1)] == [0.5, None]
    metadata.resize_shorter_side = 30
    assert dataset.pixel_size_read(metadata, 0) == 1.0
    metadata.target_pixel_size = 0.8
    assert dataset.pixel_size_read(metadata, 0) == 0.8


WELLS = [f"{row}{column:02d}" for row in "AB" for column in range(1, 5)]


@pytest.mark.parametrize(
    "columns",
    [
        {},
        {"well": WELLS},
        {"plate": "p", "well": WELLS},
        {"plate": "p", "well": [f"r01c{i:02d}" for i in range(1, 9)]},
        {"plate": "p", "well": [f"heart {i}" for i in range(8)]},
        {"batch": list("aaaabbbb"), "plate": "p", "well": WELLS[:4] * 2},
        {"plate": "p", "well": "A01", "site": range(8)},
        {"plate": "p", "well": WELLS, "control_type": ["negcon"] * 4 + [None] * 4},
        {"compound": ["x", "x", "y", "y", "z", "z", "z", "z"]},
    ],
    ids=lambda columns: "-".join(map(str, columns)) or "nothing",
)
def test_the_page_runs_on_any_table(columns, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    names = [f"{i}.tif" for i in range(8)]
    for name in names:
        image = rng.normal(200, 5, (64, 64))
        image[20:40, 10:30] += 2000 * rng.random()
        tifffile.imwrite(tmp_path / name, image.astype(np.uint16))
    pd.DataFrame({"DNA": names} | columns).to_csv(tmp_path / "mine.csv", index=False)
    monkeypatch.setenv("UNIDINO_RESULTS", str(tmp_path / "results"))
    given = {"valset": str(tmp_path / "mine.csv"), "outdir": str(tmp_path), "size": 32}
    given["norm_method"] = "no_post_proc" if columns.get("well") == "A01" else "standardize"
    monkeypatch.setattr(notebook, "check_parameters", lambda _: given | {"model": "random_vit"})
    code = [c.source for c in nbformat.read(NOTEBOOK, 4).cells if c.cell_type == "code"]
    space = {}
    for cell in code[1:]:
        exec(cell, space)
    assert len(list((tmp_path / "results" / "figures").glob("*.pdf"))) == 3
    assert len(space["made"].profiles) == (1 if columns.get("well") == "A01" else 8)
