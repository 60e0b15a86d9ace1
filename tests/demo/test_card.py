"""The demo model's card: its sources, its training and its scores in words and figures."""

import shlex

import matplotlib
import numpy as np
import pandas as pd
import pytest

from unidino import arguments, paths
from unidino.demo import card
from unidino.demo.card import plot_scores, plot_training
from unidino.demo.data import OPTIONS, REAL_SHARE, TRAINING_PLATES
from unidino.demo.evaluation import SCORE_COLUMNS
from unidino.train.export import export

matplotlib.use("agg")


def test_sources_are_listed_without_the_translocation_assay(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "real" / "train_mix"
    folder.mkdir(parents=True)
    names = ["file", "source", "repo", "commit", "path", "licence", "stain_channel", "cell_type",
             "bit_depth"]  # fmt: skip
    rows = [
        ["s/0.png", "s", "o/r", "c0ffee", "x/0.png", "CC BY 4.0 - LICENSE", "DNA", "HeLa", "8"],
        ["s/1.png", "s", "o/r", "c0ffee", "x/1.png", "MIT", "GFP", "cells (SBS Vitra)", "8"],
    ]
    pd.DataFrame(rows, columns=names).to_csv(folder / "manifest.csv", index=False)
    monkeypatch.setenv("UNIDINO_REAL", str(tmp_path / "real"))
    card.main([str(tmp_path / "sources.csv")])
    assert "1 images of 1 sources" in capsys.readouterr().out
    made = card.read_sources(tmp_path / "sources.csv")
    assert made.values.tolist() == [[*rows[0][:6], "DNA", "HeLa"]]
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
    assert set(TRAINING_PLATES) == set(made.index[made["kind"] == "simulated"])


def test_training_is_told_by_what_differs():
    header = {"training": OPTIONS | {"epochs": 7, "output_dir": "x", "seed": 0}}
    options = card.training_options(header).set_index("option")
    assert options.loc["epochs", ["published", "here"]].tolist() == ["201", "7"]
    assert not {"output_dir", "seed", "num_workers"} & set(options.index)
    command = card.training_command(header)
    assert "data.train_options('data/sample/demo') | {'epochs': 7}\n" in command
    # Also what the recipe leaves as published.
    more = {"training": header["training"] | {"shared_zoom": True, "monitor": "x"}}
    assert card.changed_options(more) == {"shared_zoom": True, "epochs": 7}
    assert shlex.split(command.splitlines()[0])[:3] == ["python", "-m", "unidino.demo.data"]
    program, export_line = command.split("<<'END'\n")[1].split("END\n")
    assert shlex.split(export_line.replace("\\\n", ""))[:3] == [
        "python",
        "-m",
        "unidino.train.export",
    ]
    assert export_line.endswith("unidino-demo.safetensors")
    header |= {"config": {"pooling": "cls_max", "projected_dim": 5, "size": 96}}
    header |= {"projection": {"images": 70, "crops": 3, "seed": 1, "shrinkage": 0.1}}
    export_line = card.training_command(header).split("END\n")[-1].replace("\\\n", "")
    given = shlex.split(export_line)[3:]
    options = vars(arguments.parser(export, "export").parse_args(given))
    wanted = {"pooling": "cls_max", "projected_dim": 5, "projection_images": 70}
    wanted |= {"projection_crops": 3, "seed": 1}
    assert {name: options[name] for name in wanted} == wanted
    compile(program, "command", "exec")
    assert " | " not in card.training_command({"training": OPTIONS})
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
                rows.append(row | {"minus": "Gaussian", "value": 0.3})
    return pd.DataFrame(rows)


def test_scores_of_one_model_and_its_baselines(scores):
    own = card.own_scores(scores, "demo", "01234567ff", "max")
    assert own.groupby("model").size().to_dict() == {"demo": 4, "random_vit": 2, "Gaussian": 2}
    assert set(own["pooling"]) == {"max", ""}
    assert own["set"].tolist() == ["SBS plate"] * 4 + ["real crops"] * 4
    table = card.side_by_side(own)
    assert list(table) == ["demo", "random_vit", "Gaussian"]
    assert list(table.index) == [
        "real translocation plate: Z', rows A-D",
        "real BBBC021 cells, held out: NSC of moa, treatments",
    ]
    assert table.iloc[1].tolist() == ["0.40 (0.30 to 0.50)"] * 3
    assert list(card.side_by_side(own, differences=True)) == ["minus Gaussian"]
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


def test_absent_tables_are_none(tmp_path):
    assert card.optional_table(tmp_path / "trials.csv") is None
