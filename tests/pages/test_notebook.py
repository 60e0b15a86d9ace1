"""Notebooks stop on parameters they do not declare, and store the same bytes on every run."""

import io
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from unidino import paths
from unidino.pages import notebook

DECLARED = 'valset = "HPA"  # which\nsize = None\nshare = 0.5\n'


def run(*cells):
    """A shell that has run these cells and is in the one after them."""
    names = {}
    for cell in cells:
        exec(cell, names)
    return SimpleNamespace(user_ns=names | {"In": ["", *cells, "check_parameters()"]})


def takes(valset: str, size: int | None = None, share: float = 0.5):
    pass


def test_declared_values():
    expected = {"valset": "HPA", "size": None, "share": 0.5}
    assert notebook.check_parameters(takes, run(DECLARED)) == expected


def test_injected_values():
    shell = run(DECLARED, '# Parameters\nvalset = "insect"\nsize = 96\nshare = 1\n')
    assert notebook.check_parameters(takes, shell) == {"valset": "insect", "size": 96, "share": 1}


def test_running_the_cells_again():
    shell = run(DECLARED, "# Parameters\nsize = 96\n", "import os\nx = os.name", DECLARED)
    assert notebook.check_parameters(takes, shell)["size"] is None


def test_changes_by_hand_are_all_kept():
    own = ('valset = "insect"', "size = 96", "a = 1\nb = 2\nc = 3\nd = 4")
    expected = {"valset": "insect", "size": 96, "share": 0.5}
    assert notebook.check_parameters(takes, run(DECLARED, own[0], own[1])) == expected
    again = run(DECLARED, "notebook = None  # check_parameters()", own[2], *own[:2])
    assert notebook.check_parameters(takes, again) == expected


def test_unknown_parameter_stops():
    with pytest.raises(ValueError, match="unknown parameter valsett. Did you mean valset"):
        notebook.check_parameters(takes, run(DECLARED, '# Parameters\nvalsett = "HPA"\n'))


@pytest.mark.parametrize(
    ("function", "injected", "message"),
    [
        (takes, "valset = 7", "valset takes str, got 7"),
        (takes, "size = '96'", "size takes int or None, got '96'"),
        (None, "valset = 7", "parameter valset takes str, got 7"),
        (None, "share = 'much'", "parameter share takes float, got 'much'"),
    ],
)
def test_wrong_type_stops(function, injected, message):
    with pytest.raises(TypeError, match=message):
        notebook.check_parameters(function, run(DECLARED, f"# Parameters\n{injected}\n"))


def test_a_list_may_be_given_as_text():
    cells = ('profiles = ["a"]', '# Parameters\nprofiles = \'["b", "c=d.csv"]\'')
    shell = run(*cells)
    assert notebook.check_parameters(shell=shell) == {"profiles": ["b", "c=d.csv"]}
    assert shell.user_ns["profiles"] == ["b", "c=d.csv"]
    for text in ("unidino-demo", '{"a": 1}'):
        with pytest.raises(TypeError, match="parameter profiles takes a list"):
            notebook.check_parameters(shell=run(cells[0], f"# Parameters\nprofiles = {text!r}"))


def test_cells_out_of_order():
    with pytest.raises(ValueError, match="no cell of parameters was run before this one"):
        notebook.check_parameters(takes, run())


def test_results_are_the_same_bytes_again(tmp_path, monkeypatch):
    monkeypatch.setenv("UNIDINO_RESULTS", str(tmp_path))
    written = []
    for _ in range(2):
        name = notebook.results_table(pd.DataFrame({"moa": ["a"], "nsc": [1 / 3]}), "nsc")
        assert name == "tables/nsc.csv"
        figure, axes = plt.subplots()
        axes.plot([0, 1])
        shown = notebook.save_figure(figure, "line", picture=True)
        assert shown.data.startswith(b"\x89PNG")
        assert Image.open(io.BytesIO(shown.data)).mode == "P"
        assert (tmp_path / "figures" / "line.png").read_bytes() == shown.data
        assert not plt.fignum_exists(figure.number)
        files = [(tmp_path / n).read_bytes() for n in (name, "figures/line.pdf")]
        written.append([*files, shown.data])
    assert written[0] == written[1]
    assert written[0][0] == b"moa,nsc\na,0.333333\n"


def test_rare_colours_survive_the_palette(tmp_path, monkeypatch):
    monkeypatch.setenv("UNIDINO_RESULTS", str(tmp_path))
    figure = plt.figure(figsize=(6.4, 4.8))
    figure.figimage(np.linspace(0, 1, 400)[None].repeat(4, 0), cmap="PuOr_r", vmin=0, vmax=1)
    figure.canvas.draw()
    figure.text(0.1, 0.5, "words, whose edges have many greys", color="navy")
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=120)
    shown = notebook.save_figure(figure, "bar")
    before, after = (
        np.asarray(Image.open(one).convert("RGB")).astype(int)
        for one in (drawn, io.BytesIO(shown.data))
    )
    assert np.abs(before - after).max() <= 8


def test_photographs_are_shown_as_jpeg(tmp_path, monkeypatch):
    monkeypatch.setenv("UNIDINO_RESULTS", str(tmp_path))
    noise = np.random.default_rng(0).normal(0.5, 0.05, (480, 640))
    sizes = {}
    for photographs in (False, True):
        figure = plt.figure(figsize=(6.4, 4.8))
        figure.figimage(noise, cmap="gray", vmin=0, vmax=1)
        shown = notebook.save_figure(figure, "noise", photographs=photographs)
        sizes[shown.format] = len(shown.data)
    image = Image.open(io.BytesIO(shown.data))
    assert (image.format, image.mode, image.size) == ("JPEG", "L", (640, 480))
    assert sizes["jpeg"] < sizes["png"]
    assert (tmp_path / "figures" / "noise.pdf").is_file()


def test_tables_are_shown_whole_with_headings_that_break():
    frame = pd.DataFrame(
        {"made_by": ["x" * 80, "y"], "said": ["", None], 3: [1, 2]},
        pd.Index(["a", "b"], name="feature_set"),
    )
    made = notebook.shown(frame)
    assert made.columns.tolist() == ["made by", 3] and made.index.name == "feature set"
    assert "x" * 80 in made._repr_html_() and "x" * 80 in repr(made)
    assert frame.columns.tolist() == ["made_by", "said", 3]


def kernel_of(*command, folder="/data/run"):
    return SimpleNamespace(cmdline=lambda: list(command), cwd=lambda: folder)


@pytest.mark.parametrize(
    ("command", "written"),
    [
        ("python -m papermill in.ipynb OUT.ipynb -p valset HPA", "/data/run/OUT.ipynb"),
        ("python /usr/bin/papermill -k python3 -p a 1 in.ipynb o/x.ipynb", "/data/run/o/x.ipynb"),
        ("papermill in.ipynb /tmp/OUT.ipynb", "/tmp/OUT.ipynb"),
        ("papermill nb/in.ipynb -p valset HPA", "/data/run/in.ipynb"),
        ("papermill nb/in.ipynb - -p valset HPA", "/data/run/in.ipynb"),
        ("papermill in.ipynb s3://bucket/OUT.ipynb", None),
        ("python -m jupyterlab notebooks", None),
    ],
)
def test_where_papermill_writes(command, written):
    found = notebook.papermill_output(kernel_of(*command.split()))
    assert found == (None if written is None else Path(written))


def test_kernels_without_a_parent():
    assert notebook.papermill_output(None) is None


def test_by_hand_everything_lies_beside_the_notebook(tmp_path):
    kernel = "from unidino.pages import notebook; print(notebook.results_folder())"
    # In the place of papermill, whose kernels take seconds to start.
    (tmp_path / "papermill").write_text(
        f"import subprocess, sys; subprocess.run([sys.executable, '-c', {kernel!r}], check=True)"
    )
    environment = {n: v for n, v in os.environ.items() if n != "UNIDINO_RESULTS"}
    done = subprocess.run(
        [sys.executable, "papermill", "in.ipynb", "made/OUT.ipynb", "-p", "valset", "HPA"],
        cwd=tmp_path,
        env=environment | {"PYTHONPATH": str(paths.project_root())},
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == str(tmp_path / "made" / "OUT_files")
    assert "tables and figures of this notebook go to" in done.stderr


def test_by_hand_without_papermill(tmp_path, monkeypatch):
    monkeypatch.delenv("UNIDINO_RESULTS", raising=False)
    monkeypatch.setenv("JPY_SESSION_NAME", "notebooks/mine.ipynb")
    monkeypatch.setattr(notebook, "papermill_output", lambda _: None)
    monkeypatch.chdir(tmp_path)
    notebook._beside_the_notebook.cache_clear()
    assert notebook.results_folder() == tmp_path / "mine_files"
    notebook._beside_the_notebook.cache_clear()


def test_intervals_break_before_their_brackets():
    frame = pd.DataFrame({"m": ["0.34 (0.23 to 0.46)"]})
    (words,) = (text.split(" ") for text in notebook.breakable(frame)["m"])
    assert words == ["0.34", "(0.23\xa0to\xa00.46)"]
