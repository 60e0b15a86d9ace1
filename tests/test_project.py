"""The tree as a whole: what is committed, and that the lists in it agree with each other."""

import ast
import os
import re
import subprocess
import tomllib
from pathlib import Path

import check
import nbformat
import numpy as np
import page
import pandas as pd
import pytest
import torch
import yaml
from packaging.requirements import Requirement
from stage import files

import unidino

PROJECT = Path(__file__).resolve().parents[1]
RESULTS = PROJECT / "book" / "results"
NOTEBOOKS = sorted((PROJECT / "notebooks").glob("*.ipynb"))
PAGES = sorted(RESULTS.glob("*.ipynb"))
CHAPTERS = [PROJECT / "README.md", *sorted((PROJECT / "book").glob("*.md"))]
TAGS = {
    "parameters", "hide-input", "hide-output", "hide-cell", "remove-cell", "remove-input",
    "remove-output", "full-width",
}  # fmt: skip


def committed():
    """Tracked files, and those that would be."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("this is no git checkout")
    return [p for name in listed.stdout.splitlines() if (p := PROJECT / name).is_file()]


def texts():
    """Path and text of every committed text file."""
    for path in committed():
        try:
            yield path, path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue


def code_cells(path):
    return [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]


def by_name(paths):
    return [pytest.param(path, id=path.stem) for path in paths]


@pytest.fixture(scope="module")
def pyproject():
    return tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def requirements(pyproject):
    extras = pyproject["optional-dependencies"]
    return [
        *pyproject["dependencies"],
        *extras["book"],
        *extras["test"],
        *extras["transfer"],
        *extras["measure"],
        *extras["correct"],
        *extras["scale"],
        *extras["download"],
        *extras["remote"],
        *extras["scanpy"],
        *extras["zarr"],
    ]


@pytest.fixture(scope="module")
def makefile():
    return (PROJECT / "Makefile").read_text()


# Lists that agree.


def test_environment_mirrors_pyproject(requirements, pyproject):
    listed = yaml.safe_load((PROJECT / "environment.yml").read_text())["dependencies"]
    (pip,) = [entry["pip"] for entry in listed if isinstance(entry, dict)]
    assert [entry for entry in pip if not entry.startswith("-")] == requirements
    assert f"python{pyproject['requires-python']}" in listed


def test_constraints_pin_what_pyproject_asks_for(requirements):
    lines = (PROJECT / "constraints.txt").read_text().splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    versions = {}
    for pin in pins:
        (specifier,) = pin.specifier
        assert specifier.operator == "==" and "+" not in specifier.version, str(pin)
        versions[pin.name.lower()] = specifier.version
    for requirement in map(Requirement, requirements):
        assert requirement.specifier.contains(versions[requirement.name.lower()]), requirement


def test_documented_commands_are_targets(makefile):
    targets = set(re.findall(r"^([a-z]+):", makefile, flags=re.MULTILINE))
    for path in CHAPTERS:
        blocks = re.findall(r"```bash\n(.*?)```|`(make[^`]*)`", path.read_text(), flags=re.DOTALL)
        for text in map("".join, blocks):
            for used in re.findall(r"(?:^|[`;&])\s*make (?:-\S+ )*([a-z]+)", text, re.MULTILINE):
                assert used in targets, f"{path.name} says make {used}"


@pytest.mark.parametrize("path", by_name([*CHAPTERS, *NOTEBOOKS]))
def test_commands_that_are_shown_name_their_dataset(path):
    shown = re.findall(r"unidino extract\b[ \w{$]*", path.read_text())
    for command in shown:
        # The words alone, as in a sentence, or with an option.
        assert command.strip() == "unidino extract", command


def test_every_page_has_a_rule_and_a_place_in_the_book(makefile):
    rules = re.findall(r"^\$\(RESULTS\)/(\w+)\.ipynb:(?:.*) always$", makefile, re.MULTILINE)
    listed = re.findall(r"^PAGES \+?:?= \$\(RESULTS\)/(\w+)\.ipynb", makefile, flags=re.MULTILINE)
    assert rules == listed
    contents = files(yaml.safe_load((PROJECT / "_toc.yml").read_text()))
    in_book = [Path(name).name for name in contents if name.startswith("book/results/")]
    assert sorted(rules) == sorted(path.stem for path in PAGES) == sorted(in_book)
    assert rules == in_book, "the Makefile lists the pages in another order than _toc.yml"


def test_contents_name_files_that_exist():
    for name in files(yaml.safe_load((PROJECT / "_toc.yml").read_text())):
        assert any((PROJECT / f"{name}{s}").is_file() for s in (".md", ".ipynb")), name


@pytest.mark.parametrize("path", by_name(CHAPTERS))
def test_links_and_tree_name_files_that_exist(path):
    text = path.read_text()
    for target in re.findall(r"\]\((?!\w+:)([^)#]+)", text):
        assert (path.parent / target).exists(), target
    tree = re.search(r"```text\nuniDINO/\n(.*?)```", text, flags=re.DOTALL)
    folder = PROJECT
    for line in tree[1].splitlines() if tree else []:
        names = re.split(r"\s{2,}", line.strip())[0].split()
        if not line.startswith(" "):
            folder = PROJECT / names[0]
        for name in names:
            assert (folder / name if line.startswith(" ") else PROJECT / name).exists(), name


def make(*arguments, **environment):
    """What make prints, called from another folder."""
    command = ["make", "-C", str(PROJECT), "--no-print-directory", *arguments]
    env = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS", "PAGES"))}
    called = subprocess.run(command, cwd="/", env={**env, **environment}, capture_output=True)
    assert called.returncode == 0, called.stderr.decode()
    return called.stdout.decode()


def test_make_alone_prints_the_targets():
    printed = make()
    for target in ("book", "pages", "html", "test", "extract", "lab", "clean"):
        assert re.search(rf"^  make {target} +\w", printed, flags=re.MULTILINE)


def test_pages_are_papermill_commands():
    printed = make("-n", "pages", "AFRESH=1")
    command = "papermill notebooks/train.ipynb book/results/train.ipynb -k python3"
    assert f"page.py --force {command}" in printed
    assert "-m unidino.simulate" in printed
    assert f"page.py {command}" in make("-n", "pages")


def test_profiles_are_extracted_once_and_read_by_pages():
    printed = make("-n", "pages").replace("\\\n", " ")
    (made,) = re.findall(r"extracted.py --jobs 2 _build/extracted[^\n]*", printed)
    extraction = "BBBC021@random_vit@2"
    assert {extraction, "HPA@cp_measure", "example_data@unidino-demo"} <= set(made.split())
    (page,) = re.findall(r"page.py --reads[^\n]*evaluate_bbbc021.ipynb -k[^\n]*", printed)
    assert f"--reads _build/extracted/{extraction}.json" in page and page.count("--reads") == 6
    (page,) = re.findall(r"page.py --reads[^\n]*evaluate_batches.ipynb -k[^\n]*", printed)
    assert "/without_batch/jumpcp-valset@unidino-demo.json" in page and page.count("--reads") == 3
    assert "--batch-effect 0" in printed
    one = make("-n", "_build/extracted/HPA@transfer.json")
    assert "extracted.py --jobs 2 _build/extracted HPA@transfer" in one
    of_own = make("-n", "pages", UNIDINO_DATA=str(PROJECT / "data"))
    assert " _build/extracted" not in of_own
    assert not re.search("without_batch|cp_measure|worlds", of_own)


def test_own_data_root_has_pages_of_its_own(tmp_path):
    root = tmp_path / "my data"
    root.mkdir()
    printed = make("-n", "pages", "html", UNIDINO_DATA=str(root))
    (folder,) = set(re.findall(r"_build/pages/[\w-]+", printed))
    assert re.fullmatch(r"_build/pages/my_data-\d+", folder)
    assert f"extracted.py --jobs 2 --force {folder}/extracted " in printed
    assert f"--force papermill notebooks/train.ipynb {folder}/book/results/" in printed
    assert " book/results" not in printed and "unidino.simulate" not in printed
    other = tmp_path / "other" / "my data"
    other.mkdir(parents=True)
    assert folder not in make("-n", "pages", UNIDINO_DATA=str(other))
    assert folder in make("-n", "pages", f"UNIDINO_DATA={root}")
    with pytest.raises(AssertionError, match="UNIDINO_DATA names no folder"):
        make("-n", "pages", UNIDINO_DATA=str(tmp_path / "nowhere"))


# What may be committed.


def test_no_path_of_a_machine_and_no_registry_is_committed():
    folders = "|".join(["work", "root", "farm", "home", "Users", "private"])
    hosts = ["pypi" + ".org", "pythonhosted" + ".org", "anaconda" + ".org", "npmjs" + ".org"]
    hosts += ["debian" + ".org", "download.pytorch" + ".org", "huggingface" + ".co/"]
    for path, text in texts():
        assert not re.search(rf"(?<![\w.)}}])/({folders})/[A-Za-z.]", text), path
        assert not [host for host in hosts if host in text], path


def test_sizes():
    sizes = {path: path.stat().st_size for path in committed()}
    assert max(sizes.values()) < 16e6 and sum(sizes.values()) < 40e6


def test_glossary_describes_the_model_that_is_shipped():
    model = unidino.load_model("unidino-demo")
    made = model(torch.zeros(1, 1, model.config.size, model.config.size))
    text = (PROJECT / "book" / "glossary.md").read_text()
    assert f" {model.config.size} for the demo model" in text
    assert f" {made.shape[1]} for the demo model" in text


# Source notebooks.


@pytest.mark.parametrize("path", by_name(NOTEBOOKS))
def test_source_notebook_is_stripped_and_starts_with_parameters(path):
    notebook = nbformat.read(path, as_version=4)
    assert notebook.metadata.kernelspec.name == "python3"
    assert set(notebook.metadata) <= {"kernelspec", "language_info"}
    cells = code_cells(path)
    assert not any(cell.outputs or cell.execution_count for cell in cells)
    tagged = [n for n, cell in enumerate(cells) if "parameters" in cell.metadata.get("tags", [])]
    assert tagged == [0]
    assert cells[0].source.startswith("#")
    for node in ast.parse(cells[0].source).body:
        assert isinstance(node, ast.Assign | ast.AnnAssign), ast.unparse(node)
        ast.literal_eval(node.value)


@pytest.mark.parametrize("path", by_name(NOTEBOOKS))
def test_cells_have_known_tags_and_figures_captions(path):
    notebook = nbformat.read(path, as_version=4)
    prose = "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")
    names = []
    for cell in notebook.cells:
        assert set(cell.metadata) <= {"tags", "mystnb"}, cell.id
        assert set(cell.metadata.get("tags", [])) <= TAGS, cell.id
        if cell.cell_type == "code":
            figure = cell.metadata.get("mystnb", {}).get("figure")
            assert ("save_figure(" in cell.source) == (figure is not None), cell.id
            if figure:
                assert figure.caption.strip(), cell.id
                names.append(figure.name)
    assert len(set(names)) == len(names)
    for name in names:
        assert f"{{numref}}`{name}`" in prose, f"{name} is not cited"


# Pages.


@pytest.mark.parametrize("path", by_name(PAGES))
def test_page_is_its_source_with_outputs(path):
    made = nbformat.read(path, as_version=4)
    source = PROJECT / "notebooks" / made.metadata.unidino.source
    cells = [cell for cell in code_cells(path) if cell.id != page.INJECTED]
    assert [c.source for c in cells] == [c.source for c in code_cells(source)]
    assert page.problems(made) == []
    assert any("NBVAL_CHECK_OUTPUT" in c.source and c.outputs for c in cells)
    for cell in cells:
        if "figure" in cell.metadata.get("mystnb", {}):
            (output,) = cell.outputs
            assert {"image/png", "image/jpeg"} & set(output.data)


@pytest.mark.parametrize("path", by_name(PAGES))
def test_first_screen_says_what_the_data_are_and_which_model(path):
    shown = []
    for cell in nbformat.read(path, as_version=4).cells[:6]:
        shown += [cell.source] if cell.cell_type == "markdown" else []
        shown += [page.output_text(output) for output in cell.get("outputs", [])]
    text = "\n".join(shown)
    assert re.search(r"\b([Ss]imulated|[Rr]eal)\b", text)
    assert re.search(r"\b([Mm]odel|random_vit|unidino-demo)\b", text)


def test_names_of_figures_differ_between_pages():
    names = [
        cell.metadata.mystnb.figure.name.lower()
        for path in PAGES
        for cell in code_cells(path)
        if "figure" in cell.metadata.get("mystnb", {})
    ]
    assert len(set(names)) == len(names)


def test_every_result_belongs_to_one_page():
    listed = [
        name
        for path in PAGES
        for name in nbformat.read(path, as_version=4).metadata.unidino.results
    ]
    assert len(set(listed)) == len(listed)
    stored = {
        p.relative_to(RESULTS).as_posix()
        for folder in ("tables", "figures")
        for p in (RESULTS / folder).rglob("*")
        if p.is_file()
    }
    assert set(listed) == stored


@pytest.mark.parametrize("path", by_name(sorted((RESULTS / "tables").glob("*.csv"))))
def test_a_changed_number_in_a_committed_table_is_a_difference(path):
    table = pd.read_csv(path)
    numbers = table.select_dtypes("number").dropna(axis=1, how="all")
    for name in numbers.columns[~numbers.columns.str.startswith(check.UNSTABLE)]:
        row = table[name].first_valid_index()
        changed = table.astype({name: float})
        changed.loc[row, name] += np.maximum(0.01, abs(changed.loc[row, name]) * 0.01)
        assert f"column {name}" in check.difference(table, changed)


def test_clean_deletes_nothing_that_was_fetched(tmp_path):
    sample = tmp_path / "data" / "sample"
    kept = [sample / "checkpoints" / "uniDINO.pth", sample / "mine" / "a.tif"]
    gone = [sample / "HPA" / "SIMULATED.json", sample / "HPA" / "a.tif"]
    gone += [sample / "demo" / "HPA" / "SIMULATED.json", sample / ".HPA.k2_x9ab1" / "a.tif"]
    for file in (*kept, *gone):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    command = ["make", "-C", str(tmp_path), "-f", str(PROJECT / "Makefile"), "clean"]
    subprocess.run(command, check=True, capture_output=True)
    assert sorted(p for p in sample.rglob("*") if p.is_file()) == sorted(kept)
    assert not (sample / "demo").exists()
