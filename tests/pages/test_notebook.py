"""Notebooks stop on parameters they do not declare, and store the same bytes on every run."""

from types import SimpleNamespace

import matplotlib.pyplot as plt
import pandas as pd
import pytest

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
        shown = notebook.save_figure(figure, "line")
        assert shown.data.startswith(b"\x89PNG")
        assert not plt.fignum_exists(figure.number)
        files = [(tmp_path / n).read_bytes() for n in (name, "figures/line.pdf")]
        written.append([*files, shown.data])
    assert written[0] == written[1]
    assert written[0][0] == b"moa,nsc\na,0.333333\n"
