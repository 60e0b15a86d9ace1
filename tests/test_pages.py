"""The page runner, its digest, and the check of the pages, on a small project of their own."""

import base64
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import check
import nbformat
import numpy as np
import page
import pandas as pd
import pytest
import stage
from digest import modules, page_digest
from nbformat import v4
from PIL import Image
from PIL.PngImagePlugin import PngInfo

PROJECT = Path(__file__).resolve().parents[1]
PARAMETERS = "# Two parameters.\nrows = 2  # number of rows\nname = 'a'"
TABLE = """\
import pandas as pd
from unidino.pages import notebook
notebook.check_parameters()
frame = pd.DataFrame({"name": name, "value": [0.25 * i for i in range(rows)]})
print(notebook.results_table(frame, "numbers"))"""
SHOWN = "# NBVAL_CHECK_OUTPUT\nframe"


def a_notebook(*code, text="# Numbers of ${name}"):
    """A source notebook with stable cell ids."""
    cells = [v4.new_markdown_cell(text)]
    cells.append(v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}))
    cells += [v4.new_code_cell(source) for source in code]
    for number, cell in enumerate(cells):
        cell.id = f"cell-{number}"
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return v4.new_notebook(
        cells=cells, metadata={"kernelspec": kernel, "language_info": {"name": "python"}}
    )


def recipe(source, target, *parameters):
    """Arguments of the page runner, as in the Makefile."""
    return ["papermill", f"notebooks/{source}.ipynb", f"book/results/{target}.ipynb", *parameters]


def run_script(root, script, *arguments):
    """Call a script of a project as the Makefile does."""
    return subprocess.run(
        [sys.executable, f"book/{script}", *arguments], cwd=root, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project with one page that was made; tests copy it before they change it."""
    root = tmp_path_factory.mktemp("project")
    (root / "book" / "results").mkdir(parents=True)
    (root / "notebooks").mkdir()
    for path in (PROJECT / "book").glob("*.py"):
        shutil.copy(path, root / "book")
    shutil.copytree(
        PROJECT / "unidino", root / "unidino", ignore=shutil.ignore_patterns("__pycache__")
    )
    nbformat.write(a_notebook(TABLE, SHOWN), root / "notebooks" / "numbers.ipynb")
    made = run_script(root, "page.py", *recipe("numbers", "numbers", "-p", "rows", "3"))
    assert made.returncode == 0, made.stdout + made.stderr
    assert "numbers: done in" in made.stdout
    return root


@pytest.fixture
def copy(project, tmp_path, monkeypatch):
    """A copy of the project, the working directory at its root."""
    root = shutil.copytree(project, tmp_path / "project")
    monkeypatch.chdir(root)
    return root


def test_page_holds_its_outputs_and_nothing_of_the_run(project):
    made = nbformat.read(project / "book" / "results" / "numbers.ipynb", as_version=4)
    assert [cell.id for cell in made.cells] == [
        "cell-0", "cell-1", "injected-parameters", "cell-2", "cell-3"
    ]  # fmt: skip
    assert made.cells[0].source == "# Numbers of a"
    assert made.cells[2].source.strip() == "# Parameters\nrows = 3"
    assert made.cells[3].outputs[0].text == "tables/numbers.csv\n"
    assert set(made.metadata) == {"kernelspec", "language_info", "unidino"}
    assert made.metadata.unidino.results == ["tables/numbers.csv"]
    assert all(set(cell.metadata) <= {"tags"} for cell in made.cells)
    table = pd.read_csv(project / "book" / "results" / "tables" / "numbers.csv")
    assert table["value"].tolist() == [0, 0.25, 0.5]


def test_page_is_up_to_date_whatever_the_file_times(copy, monkeypatch, capsys):
    page_file = copy / "book" / "results" / "numbers.ipynb"
    before = page_file.read_bytes()
    for path in copy.rglob("*"):
        os.utime(path, (2e9, 2e9) if "results" not in path.parts else (1e9, 1e9))
    monkeypatch.setenv("PAGES", "book/results/first.ipynb book/results/numbers.ipynb")
    assert page.main(recipe("numbers", "numbers", "-p", "rows", "3")) == 0
    assert capsys.readouterr().out == "[2/2] numbers: up to date\n"
    assert page_file.read_bytes() == before


def test_page_is_not_up_to_date_without_its_table(copy):
    path = copy / "book" / "results" / "numbers.ipynb"
    digest = nbformat.read(path, as_version=4).metadata.unidino.digest
    assert page.is_current(path, digest)
    assert not page.is_current(path, "another")
    (copy / "book" / "results" / "tables" / "numbers.csv").unlink()
    assert not page.is_current(path, digest)


def test_same_page_on_every_run(copy):
    page_file = copy / "book" / "results" / "numbers.ipynb"
    before = page_file.read_bytes()
    again = ["--force", *recipe("numbers", "numbers", "-p", "rows", "3")]
    made = run_script(copy, "page.py", *again)
    assert "numbers: done in" in made.stdout, made.stderr
    assert page_file.read_bytes() == before


def test_results_that_a_page_no_longer_makes_are_removed(copy, tmp_path):
    path = copy / "book" / "results" / "numbers.ipynb"
    (tmp_path / "made" / "tables").mkdir(parents=True)
    (tmp_path / "made" / "tables" / "other.csv").write_text("x\n1\n")
    options = page.parse(recipe("numbers", "numbers"))
    made = nbformat.read(path, as_version=4)
    page.publish(path, made, tmp_path / "made", options, "digest")
    assert [p.name for p in (path.parent / "tables").iterdir()] == ["other.csv"]
    assert nbformat.read(path, as_version=4).metadata.unidino.results == ["tables/other.csv"]


def test_failed_run_leaves_the_page_and_keeps_what_it_came_to(copy):
    page_file = copy / "book" / "results" / "numbers.ipynb"
    before = page_file.read_bytes()
    failing = a_notebook(TABLE.replace("0.25", "0.5"), "raise ValueError('no such plate')")
    nbformat.write(failing, copy / "notebooks" / "numbers.ipynb")
    made = run_script(copy, "page.py", *recipe("numbers", "numbers"))
    assert made.returncode == 1
    assert "no such plate" in made.stdout
    assert "numbers.ipynb stopped. The page is left as it was" in made.stderr
    assert page_file.read_bytes() == before
    table = pd.read_csv(copy / "book" / "results" / "tables" / "numbers.csv")
    assert table["value"].tolist() == [0, 0.25, 0.5]
    assert (copy / "_build" / "failed" / "numbers.ipynb").is_file()


def test_unknown_parameter_stops(copy, capsys):
    assert page.main(recipe("numbers", "numbers", "-p", "row", "3")) == 1
    assert "numbers: it has no parameter 'row'; it has: rows, name." in capsys.readouterr().err


def test_page_of_absent_real_data_stays(copy, monkeypatch, capsys):
    monkeypatch.setenv("UNIDINO_REAL", str(copy / "nowhere"))
    assert page.main(["--force", "--real", "plate", *recipe("numbers", "numbers")]) == 0
    said = capsys.readouterr().out
    assert "left as it is, for there is no real data plate (UNIDINO_REAL)" in said


def test_check_finds_planted_changes_and_repairs_nothing(copy):
    results = copy / "book" / "results"
    path, table = results / "numbers.ipynb", results / "tables" / "numbers.csv"
    good = path.read_text()
    assert good.count("0.50") == 2  # once as text, once as HTML
    changed = good.replace("0.50", "0.51")
    (results / "planted.ipynb").write_text(changed)
    table.write_text(table.read_text().replace("0.5", "0.501"))
    before = {p: p.read_bytes() for p in results.rglob("*") if p.is_file()}

    checked = run_script(copy, "check.py")
    assert checked.returncode == 1
    assert "planted.ipynb::Cell 3" in checked.stdout
    assert "1 failed, 7 passed" in checked.stdout
    assert "tables/numbers.csv of numbers.ipynb: row 4, column value" in checked.stdout
    assert "The pages no longer show what the code does." in checked.stdout
    assert {p: p.read_bytes() for p in results.rglob("*") if p.is_file()} == before


def test_check_skips_pages_of_absent_real_data(copy, monkeypatch, capsys):
    path = copy / "book" / "results" / "numbers.ipynb"
    made = nbformat.read(path, as_version=4)
    made.metadata.unidino.real = ["plate"]
    nbformat.write(made, path)
    monkeypatch.setenv("UNIDINO_REAL", str(copy / "nowhere"))
    assert check.main([str(path)]) == 0
    said = capsys.readouterr().out
    assert "skipped numbers.ipynb: no real data plate (set UNIDINO_REAL)" in said


READ = """\
# NBVAL_CHECK_OUTPUT
import os
from pathlib import Path
print(Path(os.environ["UNIDINO_OUTDIR"], "model", "a", "profiles.txt").read_text())"""


def test_a_page_reads_an_extraction(copy, monkeypatch, capsys):
    nbformat.write(a_notebook(READ), copy / "notebooks" / "read.ipynb")
    folder = copy / "_build" / "extracted"
    note, kept = folder / "a@model.json", folder / "model" / "a" / "profiles.txt"
    read = ["--reads", str(note), *recipe("read", "read")]
    assert page.main(read) == 1  # nothing to read yet
    kept.parent.mkdir(parents=True)

    def extract(text):
        kept.write_text(text)
        note.write_text(json.dumps({"digest": f"of {text}"}))

    extract("5")
    assert run_script(copy, "page.py", *read).returncode == 0
    page_file = copy / "book" / "results" / "read.ipynb"
    made = nbformat.read(page_file, as_version=4)
    assert made.cells[-1].outputs[0].text == "5\n" and made.metadata.unidino.reads == ["a@model"]
    capsys.readouterr()
    assert page.main(read) == 0
    assert capsys.readouterr().out == "read: up to date\n"
    assert run_script(copy, "check.py", str(page_file), "--extracted", str(folder)).returncode == 0
    # Of another extraction the page is another.
    extract("8")
    remade = []
    monkeypatch.setattr(page, "make", lambda *given: remade.append(given))
    assert page.main(read) == 0 and len(remade) == 1
    assert run_script(copy, "check.py", str(page_file), "--extracted", str(folder)).returncode == 1
    without = run_script(copy, "check.py", str(page_file))
    assert without.returncode == 1
    assert "no folder of extractions: a@model.json is absent" in without.stdout


def test_page_that_reads_what_is_absent(copy, monkeypatch, capsys):
    lost = copy / "_build" / "extracted" / "lost.json"
    assert page.main(["--reads", str(lost), *recipe("numbers", "numbers")]) == 1
    assert "lost.json is absent, which it reads" in capsys.readouterr().err
    monkeypatch.setenv("UNIDINO_DATA", str(copy))
    assert page._digest_of(lost) == "absent"


def test_check_needs_pages(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(check, "ROOT", tmp_path)
    assert check.main([]) == 1
    assert "there is no page to check: run make book" in capsys.readouterr().out


# What is fit for a page, without running one.


def with_output(*outputs):
    made = a_notebook("x", text="fine")
    made.cells[2].outputs = list(outputs)
    return made


def printed(text, name="stdout"):
    return v4.new_output("stream", text=text, name=name)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (printed("careful", "stderr"), "cell 3 writes to stderr: careful"),
        (
            v4.new_output("error", ename="E", evalue="v", traceback=["E: v"]),
            "ends in an error: E: v",
        ),
        (printed("<Thing at 0x7f00aa11bb22>"), "prints an address in memory"),
        (printed(f"saved {PROJECT}/data/x"), "prints a path of this machine"),
        (printed(f"saved {Path.home()}/x"), "prints a path of this machine"),
    ],
)
def test_problems_name_cell_and_text(output, message):
    (found,) = page.problems(with_output(output))
    assert message in found


def test_page_without_output_or_with_an_unknown_name_is_refused():
    assert page.problems(a_notebook("x", text="nothing")) == ["no cell has an output"]
    made = with_output(printed("fine"))
    made.cells[0].source = "# Numbers of ${name}"
    assert page.problems(made) == ["cell 1 names 'name', which is no parameter"]
    made.cells[0].source = "fine"
    assert page.problems(made) == []


def test_clean_joins_printed_text_and_fills_in_captions():
    source = a_notebook("x")
    source.cells[2].metadata = {"mystnb": {"figure": {"name": "fig-${name}", "caption": "${rows}"}}}
    made = nbformat.reads(nbformat.writes(source), as_version=4)
    made.cells[2].outputs = [printed("a\n"), printed("b\n"), printed("c", "stderr")]
    made.cells[2].metadata["execution"] = {"iopub.execute_input": "now"}
    made.metadata["papermill"] = {"duration": 1.0}
    page.clean(made, source, {"name": "HPA", "rows": "2"})
    assert [(o.name, o.text) for o in made.cells[2].outputs] == [
        ("stdout", "a\nb\n"),
        ("stderr", "c"),
    ]
    assert made.cells[2].metadata == {"mystnb": {"figure": {"name": "fig-HPA", "caption": "2"}}}
    assert made.cells[0].source == "# Numbers of HPA"
    assert "papermill" not in made.metadata


@pytest.mark.parametrize(
    ("mode", "colour", "kept"),
    [
        ("RGBA", (9, 9, 9, 255), "L"),
        ("RGBA", (9, 8, 7, 255), "P"),
        ("RGBA", (9, 9, 9, 80), "RGBA"),
        ("L", 9, "L"),
    ],
)
def test_plain_png_keeps_the_pixels_alone(mode, colour, kept):
    image, text = Image.new(mode, (3, 2), colour), PngInfo()
    text.add_text("Software", "drawn by 1.2.3")
    stored = io.BytesIO()
    image.save(stored, "png", pnginfo=text)
    plain = base64.b64decode(page.plain_png(base64.b64encode(stored.getvalue()).decode()))
    assert b"drawn by" not in plain
    after = Image.open(io.BytesIO(plain))
    assert after.mode == kept
    assert after.convert("RGBA").tobytes() == image.convert("RGBA").tobytes()


@pytest.mark.parametrize(("colours", "kept"), [(256, "P"), (257, "RGB")])
def test_plain_png_has_a_palette_where_the_colours_fit(colours, kept):
    codes = np.arange(257).clip(max=colours - 1)
    pixels = np.stack([codes % 256, 255 - codes % 256, codes // 256], 1).astype(np.uint8)
    stored = io.BytesIO()
    Image.fromarray(pixels[None]).save(stored, "png")
    plain = base64.b64decode(page.plain_png(base64.b64encode(stored.getvalue()).decode()))
    after = Image.open(io.BytesIO(plain))
    assert after.mode == kept
    np.testing.assert_array_equal(np.asarray(after.convert("RGB"))[0], pixels)


def test_committed_pages_run_on_one_thread_and_apart(tmp_path, monkeypatch):
    env = page.environment(tmp_path / "run")
    assert (tmp_path / "run").is_dir()
    assert env["UNIDINO_OUTDIR"] == str(tmp_path / "run" / "embeddings")
    assert env["UNIDINO_RESULTS"] == str(tmp_path / "run" / "results")
    assert env["OMP_NUM_THREADS"] == "1" and env["CUDA_VISIBLE_DEVICES"] == ""
    monkeypatch.setenv("UNIDINO_DATA", str(tmp_path))
    monkeypatch.setenv("UNIDINO_OUTDIR", "kept")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    env = page.environment(tmp_path / "run")
    assert env["UNIDINO_OUTDIR"] == "kept" and "CUDA_VISIBLE_DEVICES" not in env


# The digest.


@pytest.fixture
def package(tmp_path):
    """a imports b in a function, b imports c; d is named by a string; e is offered as `lazy`."""
    folder = tmp_path / "unidino"
    folder.mkdir()
    contents = {
        "__init__": "_PUBLIC = {'lazy': 'e'}\n",
        "a": "def f():\n    from .b import g\n    return g",
        "b": "from unidino import c\n",
        "c": "",
        "d": "",
        "e": "from . import d\n",
        "unused": "",
    }
    for name, text in contents.items():
        (folder / f"{name}.py").write_text(text)
    return folder


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("from unidino import a", "abc"),
        ("import unidino.b as q", "bc"),
        ("from unidino.c import x", "c"),
        ("import unidino as u\nu.lazy('x')", "de"),
        ("run(['-m', 'unidino.d'])", "d"),
        ("%matplotlib inline\n!ls\nimport unidino\nunidino.a.f()", "abc"),
        ("import pandas", ""),
        ("from unidino import *", ["a", "b", "c", "d", "e", "unused"]),
        ("this is no python", ["a", "b", "c", "d", "e", "unused"]),
    ],
)
def test_modules_that_code_uses(package, source, expected):
    assert [path.stem for path in modules([source], package)] == list(expected)


def test_digest_depends_on_contents_alone(package, tmp_path):
    data = tmp_path / "input"
    data.mkdir()
    (data / "x.csv").write_text("1")
    source = a_notebook("from unidino import a")

    def digest(parameters=("a", 1), inputs=(data,), notebook=source):
        return page_digest(notebook, list(parameters), inputs, package)

    first = digest()
    for path in tmp_path.rglob("*"):
        os.utime(path, (1e9, 1e9))
    (package / "unused.py").write_text("changed = True")
    (package / "__init__.py").write_text("__version__ = '9'\n_PUBLIC = {'lazy': 'e'}\n")
    (data / ".hidden").write_text("x")
    assert digest() == first

    seen = {first, digest(parameters=("a", 2)), digest(inputs=())}
    seen.add(digest(notebook=a_notebook("from unidino import a", text="other")))
    (package / "c.py").write_text("changed = True")
    seen.add(digest())
    (data / "x.csv").write_text("2")
    seen.add(digest())
    (data / "x.csv").rename(data / "y.csv")
    seen.add(digest())
    assert len(seen) == 7
    with pytest.raises(FileNotFoundError, match="nowhere: no such input"):
        digest(inputs=(tmp_path / "nowhere",))


# Tables.


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f, None),
        (lambda f: f.assign(x=f.x * (1 + 1e-6)), None),
        (lambda f: f.assign(umap_1=7.0), None),
        (lambda f: f.assign(x=[1.0, 2.001, None]), "row 3, column x"),
        (lambda f: f.assign(x=[1.0, 2.0, 3.0]), "row 4, column x"),
        (lambda f: f.assign(name=["a", "c", None]), "row 3, column name: 'b' became 'c'"),
        (lambda f: f.assign(name=["a", None, None]), "row 3, column name"),
        (lambda f: f.assign(ok=[True, True, True]), "row 3, column ok"),
        (lambda f: f.assign(x=["1.0", "two", None]), "row 3, column x"),
        (lambda f: f.head(2), "3 rows became 2"),
        (lambda f: f.rename(columns={"x": "y"}), "columns"),
    ],
)
def test_difference_of_tables(change, message):
    frame = pd.DataFrame(
        {"name": ["a", "b", None], "x": [1.0, 2.0, None], "ok": [True, False, True], "umap_1": 1.0}
    )
    found = check.difference(frame, change(frame.copy()))
    assert found is None if message is None else message in found


def test_results_that_appear_or_go_missing_are_differences(project, tmp_path):
    path = project / "book" / "results" / "numbers.ipynb"
    assert check.compare_results(path, tmp_path) == [
        "tables/numbers.csv was not made again by numbers.ipynb"
    ]
    (tmp_path / "tables").mkdir()
    shutil.copy(project / "book" / "results" / "tables" / "numbers.csv", tmp_path / "tables")
    assert check.compare_results(path, tmp_path) == []
    (tmp_path / "tables" / "more.csv").write_text("x\n1\n")
    assert check.compare_results(path, tmp_path) == [
        "tables/more.csv of numbers.ipynb is not committed"
    ]


# The book of another data root.


def test_stage_leaves_out_pages_that_were_not_made(tmp_path):
    results = tmp_path / "book" / "results"
    results.mkdir(parents=True)
    absent = stage.stage(tmp_path)
    contents = (tmp_path / "_toc.yml").read_text()
    assert (tmp_path / "_config.yml").is_file() and (tmp_path / "book" / "intro.md").is_file()
    assert "book/intro" in contents and "book/results" not in contents
    assert all(name.startswith("book/results/") for name in absent)
    assert stage.without({"parts": [{"chapters": [{"file": "a"}]}]}, ["a"]) == {"parts": []}
