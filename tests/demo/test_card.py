"""The demo model's card: its sources, its training and its scores in words and figures."""

import shlex

import matplotlib
import numpy as np
import pandas as pd
import pytest

from unidino import paths
from unidino.demo import card, real_sets, recipe
from unidino.demo.card import plot_blocks, plot_scores, plot_training
from unidino.demo.data import REAL_SHARE, TRAINING_PLATES
from unidino.demo.score_tables import SCORE_COLUMNS

matplotlib.use("agg")


def test_sources_are_listed_without_the_translocation_assay(tmp_path, monkeypatch, capsys):
    for name in real_sets.MIX_FOLDERS:
        (tmp_path / "real" / name).mkdir(parents=True)
    folder = tmp_path / "real" / "train_mix"
    names = ["file", "source", "repo", "commit", "path", "licence", "stain_channel", "cell_type",
             "bit_depth"]  # fmt: skip
    rows = [
        ["s/0.png", "s", "o/r", "c0ffee", "x/0.png", "CC BY 4.0 - LICENSE", "DNA", "HeLa", "8"],
        ["s/1.png", "s", "o/r", "c0ffee", "x/1.png", "MIT", "GFP", "cells (SBS Vitra)", "8"],
    ]
    pd.DataFrame(rows, columns=names).to_csv(folder / "manifest.csv", index=False)
    more = [["t/0.png", "t", "p/r", "beef", "y/0.png", "MIT", "ER", "U2OS", "8"]]
    second = tmp_path / "real" / "train_more" / "manifest.csv"
    pd.DataFrame(more, columns=names).to_csv(second, index=False)
    monkeypatch.setenv("UNIDINO_REAL", str(tmp_path / "real"))
    card.main([str(tmp_path / "sources.csv")])
    assert "2 images of 2 sources" in capsys.readouterr().out
    made = card.read_sources(tmp_path / "sources.csv")
    assert made.values.tolist() == [
        ["train_mix/s/0.png", *rows[0][1:6], "DNA", "HeLa"],
        ["train_more/t/0.png", *more[0][1:6], "ER", "U2OS"],
    ]
    assert card.attribution(made) == ["o/r, commit c0ffee, 1 images, CC BY 4.0"]
    (folder / "manifest.csv").unlink()
    with pytest.raises(SystemExit, match="real training images are not part of this project"):
        card.main([str(tmp_path / "sources.csv")])
    with pytest.raises(
        FileNotFoundError, match="no sources at .*: run python -m unidino.demo.card"
    ):
        card.read_sources(tmp_path / "gone.csv")


def test_committed_sources_are_those_of_the_mix():
    sources = card.read_sources()
    assert list(sources) == card.SOURCE_COLUMNS
    assert not sources["cells"].str.contains("SBS Vitra").any()
    assert (sources[["repo", "commit", "path", "licence"]] != "").all(axis=None)
    root = paths.real_data_root()
    if root is None or not (root / "train_mix").is_dir():
        pytest.skip("the real training images are absent (UNIDINO_REAL)")
    pd.testing.assert_frame_equal(sources, card.mix_sources(root))


def test_shares_of_the_draws_add_up():
    made = card.by_source(card.read_sources()).set_index("source")
    assert made["share of draws"].sum() == pytest.approx(1)
    real = made[made["kind"] == "real"]
    assert real["share of draws"].sum() == pytest.approx(REAL_SHARE)
    ratio = real.loc["dsb2018", "share of draws"] / real.loc["stardist", "share of draws"]
    assert ratio == pytest.approx(227**0.5)
    # Five stains of 185 images each are drawn apart.
    ratio = real.loc["periscope", "share of draws"] / real.loc["stardist", "share of draws"]
    assert ratio == pytest.approx(5 * 185**0.5)
    assert set(TRAINING_PLATES) == set(made.index[made["kind"] == "simulated"])


@pytest.mark.parametrize("stage", recipe.STAGES)
def test_training_is_told_by_what_differs(stage):
    options = recipe.STAGES[stage]
    header = {"training": options | {"epochs": 7, "output_dir": "x", "seed": 0}}
    table = card.training_options(header).set_index("option")
    assert table.loc["epochs", ["published", "here"]].tolist() == ["201", "7"]
    assert not {"output_dir", "seed", "num_workers"} & set(table.index)
    assert card.stage_of(header) == stage
    # Also what the recipe leaves as published.
    more = {"training": header["training"] | {"shared_zoom": True, "monitor": "x"}}
    assert card.changed_options(more) == {"shared_zoom": True, "epochs": 7}
    assert card.changed_options({"training": options}) == {}


def test_the_command_runs_the_recipe():
    (first,), last = recipe.SHIPPED, "self-distil-gpu"
    plain = card.training_command({"training": recipe.STAGES[first]}).splitlines()
    assert [shlex.split(line)[:3] for line in plain] == [
        ["python", "-m", "unidino.demo.data"],
        ["python", "-m", "unidino.demo.recipe"],
    ]
    assert "--stages" not in plain[1]
    both = card.training_command({"training": recipe.STAGES[last]}).splitlines()
    assert both[1] == f"{plain[1]} --stages {first},{last}"
    command = card.training_command({"training": recipe.DISTIL | {"epochs": 7}})
    program = command.split("<<'END'\n")[1].split("END\n")[0]
    compile(program, "command", "exec")
    assert "stages=['distil'], epochs=7)" in program
    assert card.training_options({}).empty


def test_hours_follow_from_the_speed():
    epochs = pd.DataFrame({"images_per_second": [10.0, 20.0]})
    assert card.hours(epochs, {"training": {"epoch_length": 3600}}) == pytest.approx(0.15)
    assert np.isnan(card.hours(epochs, {}))


@pytest.fixture
def scores():
    rows = []
    for model, sha, pooling in (
        ("path-01234567", "01234567", "max"),
        ("path-01234567", "01234567", "cls"),
        ("random_vit", "", "max"),
        ("random_vit", "", "cls"),
        ("Gaussian", "", ""),
    ):
        for name, metric, value in (
            ("real crops", "NSC of moa, treatments", 0.4),
            ("SBS plate", "Z', rows A-D", -7.0),
        ):
            row = dict.fromkeys(SCORE_COLUMNS, 1) | {"minus": "", "n": 103}
            row |= {"model": model, "sha256": sha, "pooling": pooling, "set": name}
            row |= {"metric": metric, "value": value, "low": value - 0.1, "high": value + 0.1}
            rows.append(row)
            if sha:
                for minus in ("random_vit", "Gaussian"):
                    rows.append(row | {"minus": minus, "value": 0.3})
    return pd.DataFrame(rows)


def test_scores_of_one_model_and_its_baselines(scores):
    own = card.own_scores(scores, "demo", "01234567ff", "max")
    assert own.groupby("model").size().to_dict() == {"demo": 6, "random_vit": 2, "Gaussian": 2}
    assert set(own["pooling"]) == {"max", ""}
    assert own["set"].tolist() == ["SBS plate"] * 5 + ["real crops"] * 5
    table = card.side_by_side(own)
    assert list(table) == ["demo", "random_vit", "Gaussian"]
    assert list(table.index) == [
        "real translocation plate: Z', rows A-D",
        "real BBBC021 cells, held out: NSC of moa, treatments",
    ]
    assert table.iloc[1].tolist() == ["0.40 (0.30 to 0.50)"] * 3
    differences = list(card.side_by_side(own, differences=True))
    assert differences == ["minus random_vit", "minus Gaussian"]
    # Of a baseline that was scored anew, the later row.
    newer = scores[scores["model"] == "Gaussian"].assign(value=0.9)
    anew = card.own_scores(
        pd.concat([scores, newer], ignore_index=True), "demo", "01234567ff", "max"
    )
    assert anew.loc[anew["model"] == "Gaussian", "value"].tolist() == [0.9, 0.9]
    with pytest.raises(ValueError, match="does not hold the model 01234567 with pooling mean"):
        card.own_scores(scores, "demo", "01234567ff", "mean")
    again = own[own["model"] == "demo"].assign(value=0.5)
    both = card.beside(own, again)
    assert both["committed"].tolist() == [-7.0, 0.4] and set(both["again"]) == {0.5}


def test_looks_stand_beside_their_scores(scores, tmp_path):
    table = tmp_path / "scores.csv"
    scores.to_csv(table, index=False)
    looks = pd.DataFrame({"model": ["path-01234567"], "sha256": ["01234567"], "pooling": ["cls"]})
    shown = card.look_scores(looks, table)
    assert shown.to_dict("index") == {
        "path-01234567": {"sha256": "01234567", "pooling": "cls", "score": "0.40 (0.30 to 0.50)"}
    }
    assert card.look_scores(None, table).empty


def test_figures_are_drawn(scores):
    own = card.own_scores(scores, "demo", "01234567ff", "max")
    figure = plot_scores(own, "scores")
    upper, lower = figure.axes
    assert upper.get_xlim() == (0, 1) and lower.get_xlim()[0] == -1
    drawn = [x for line in lower.lines for x in line.get_xdata()]
    assert min(drawn) == -1  # what lies below the axis stands at its edge
    epochs = pd.DataFrame({"epoch": [1, 2], "loss": [3.0, 2.0], "accuracy": ["", 0.4]})
    figure = plot_training(epochs, "training")
    assert [axis.get_title() for axis in figure.axes][:2] == [
        "loss", "NSC, simulated BBBC021 (wells)",
    ]  # fmt: skip


def test_blocks_are_drawn_a_panel_a_question():
    row = {"metric": "stain", "low": 0.1, "high": 0.5, "n": 9}
    blocks = pd.DataFrame(
        [row | {"block": b, "set": name, "value": b / 20}
         for name in ("stains", "BBBC021", "jumpcp-valset") for b in (2, 4)]
    )  # fmt: skip
    figure = plot_blocks(blocks, "blocks")
    shown = [axis for axis in figure.axes if axis.get_visible()]
    assert len(shown) == 3 and shown[1].get_title() == "simulated BBBC021\nstain (n = 9)"
    table = card.by_block(blocks)
    assert table.loc[4, "simulated BBBC021: stain"] == "0.20 (0.10 to 0.50)"
    assert table.shape == (2, 3)
    line = shown[0].lines[0]
    assert line.get_xdata().tolist() == [2, 4] and line.get_ydata().tolist() == [0.1, 0.2]


def test_absent_tables_are_none(tmp_path):
    assert card.optional_table(tmp_path / "trials.csv") is None
