"""Examples that people read run: in docstrings, in the README and in the chapters of the book."""

import doctest
import re
from pathlib import Path

import pandas as pd
import pytest

import unidino
from unidino import simulate, valsets

PROJECT = Path(__file__).resolve().parents[1]
CHAPTERS = [PROJECT / "README.md", *sorted((PROJECT / "book").glob("*.md"))]
PYTHON = {path: re.findall(r"```python\n(.*?)```", path.read_text(), re.S) for path in CHAPTERS}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Small datasets under the names that the examples use."""
    folder = tmp_path_factory.mktemp("data")
    simulate.simulate("BBBC021", folder, field=96, wells=10, plates=1, batches=2, workers=1)
    simulate.simulate("HPA", folder, field=96, wells=6, workers=1)
    return folder


@pytest.fixture(scope="module")
def plate():
    """The example plate as a table of one's own, with a compound."""
    example = PROJECT / "data" / "example"
    table = pd.read_csv(example / "plate.csv").head(8)
    for channel in ("DNA", "Tubulin", "Actin"):
        table[channel] = [str(example / name) for name in table[channel]]
    return table.assign(compound=["DMSO"] * 4 + ["taxol"] * 4)


@pytest.mark.parametrize("name", ["load_model", "extract", "Dataset"])
def test_examples_of_docstrings(name, tmp_path, monkeypatch):
    monkeypatch.chdir(PROJECT)
    monkeypatch.setenv("UNIDINO_OUTDIR", str(tmp_path))
    (examples,) = doctest.DocTestFinder(recurse=False).find(getattr(unidino, name), name)
    assert examples.examples
    assert doctest.DocTestRunner().run(examples).failed == 0


@pytest.mark.parametrize("path", [p for p, code in PYTHON.items() if code], ids=lambda p: p.stem)
def test_code_of_chapters(path, root, plate, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UNIDINO_DATA", str(root))
    monkeypatch.setenv("UNIDINO_OUTDIR", str(tmp_path / "out"))
    plate.to_csv("my_plate.csv", index=False)
    # What an example registers is known to no other test.
    monkeypatch.setattr(valsets.registry, "VALSETS", dict(valsets.VALSETS))
    monkeypatch.setattr(valsets, "VALSETS", valsets.registry.VALSETS)
    for code in PYTHON[path]:
        exec(code, {})
