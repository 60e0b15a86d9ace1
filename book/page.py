"""Run a notebook into a page of the book, once something that the page depends on has changed.

    python book/page.py papermill notebooks/evaluate_hpa.ipynb book/results/hpa.ipynb -p folds 3

What stands after ``papermill`` is its own command. The page and the tables and figures of its run
are renamed into place only after the run ended well and left nothing in the page that does not
belong into a book: a failed run changes nothing.
"""

import argparse
import ast
import base64
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from digest import ROOT, page_digest
from PIL import Image, ImageChops

from unidino.paths import real_data_root
from unidino.tables import atomic_path

INJECTED = "injected-parameters"
"""The tag that papermill gives to the cell of the parameters it was called with."""

ADDRESS = re.compile(r"\bat 0x[0-9a-f]{6,}")
PLACEHOLDER = re.compile(r"\$\{(\w+)\}")


class PageError(Exception):
    """A page that cannot be made; the message says why and what to do."""


def environment(folder, extracted=None):
    """Environment in which pages run and are checked, so that both give the same outputs.

    Parameters
    ----------
    folder : Path
        A folder of this run alone, made if need be, for its results and, on simulated data, its
        embeddings.
    extracted : Path, optional
        On simulated data, the output root of extractions that a page reads and does not make.

    Returns
    -------
    dict
        As a process takes it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    env = dict(os.environ, UNIDINO_RESULTS=str(folder / "results"), IPYTHONDIR=str(folder / "ipy"))
    if not os.environ.get("UNIDINO_DATA"):
        # Committed pages: nothing of an earlier run, and sums that do not depend on the machine's
        # number of cores or its accelerator.
        env["UNIDINO_OUTDIR"] = str(extracted or folder / "embeddings")
        env["CUDA_VISIBLE_DEVICES"] = ""
        for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
            env[variable] = "1"
        # A tenth of the time went into handing memory of activations back and asking for it again.
        env.update(MALLOC_MMAP_MAX_="0", MALLOC_TRIM_THRESHOLD_=str(2**32))
    return env


def parse(arguments):
    """What to run, from the command line."""
    parser = argparse.ArgumentParser(prog="page.py", description=__doc__.split("\n")[0])
    parser.add_argument("--force", action="store_true", help="run it even if nothing has changed")
    parser.add_argument("--input", action="append", default=[], help="file or folder it reads")
    parser.add_argument("--real", action="append", default=[], help="folder of real data it needs")
    parser.add_argument(
        "--reads", type=Path, action="append", default=[], metavar="JSON",
        help="note of an extraction that it reads, see extracted.py",
    )  # fmt: skip
    commands = parser.add_subparsers(dest="command", required=True)
    papermill_parser = commands.add_parser("papermill")
    papermill_parser.add_argument("source", type=Path)
    papermill_parser.add_argument("page", type=Path)
    papermill_parser.add_argument("-k", dest="kernel", default="python3")
    for flag, dest in (("-p", "parameters"), ("-r", "raw")):
        papermill_parser.add_argument(flag, dest=dest, nargs=2, action="append", default=[])
    return parser.parse_args(arguments)


def values(source, given):
    """Value of every parameter as text: what was given, else the notebook's default.

    Parameters
    ----------
    source : nbformat.NotebookNode
        Its parameters are the literals assigned in the cell tagged ``parameters``.
    given : list of (str, str)
        From the command line.

    Raises
    ------
    PageError
        A parameter that the notebook does not declare; papermill alone only prints a message.
    """
    declared = {}
    for cell in source.cells:
        if "parameters" in cell.metadata.get("tags", []):
            for node in ast.parse(cell.source).body:
                target = node.targets[0] if isinstance(node, ast.Assign) else node.target
                declared[target.id] = str(ast.literal_eval(node.value))
    for name, _ in given:
        if name not in declared:
            raise PageError(f"it has no parameter {name!r}; it has: {', '.join(declared)}.")
    return {**declared, **dict(given)}


def fill_in(text, parameters):
    """Replace ``${name}`` by the parameter's value, in prose and captions."""
    return PLACEHOLDER.sub(lambda match: parameters.get(match[1], match[0]), text)


def _fill_in_all(node, parameters):
    if isinstance(node, str):
        return fill_in(node, parameters)
    if isinstance(node, dict):
        return {key: _fill_in_all(value, parameters) for key, value in node.items()}
    if isinstance(node, list):
        return [_fill_in_all(value, parameters) for value in node]
    return node


def plain_png(encoded):
    """A PNG in base64, its pixels alone and small: no text chunks, no needless channels."""
    with Image.open(io.BytesIO(base64.b64decode(encoded))) as image:
        pixels = image.convert("RGBA")
    if pixels.getextrema()[3] == (255, 255):
        pixels = pixels.convert("RGB")
        bands = pixels.split()
        if not any(ImageChops.difference(bands[0], band).getbbox() for band in bands[1:]):
            pixels = bands[0]
        elif pixels.getcolors(256):
            # Exact: every colour that occurs has its place in the palette.
            pixels = pixels.quantize(256, dither=Image.Dither.NONE)
    stored = io.BytesIO()
    pixels.save(stored, "png", optimize=True)
    return base64.b64encode(stored.getvalue()).decode()


def clean(notebook, source, parameters):
    """Make the page depend on its contents alone, in place.

    Removes what papermill and the kernel note about this run (times, paths, versions), joins
    pieces of printed text, and fills in the parameters' values in prose and captions.
    """
    originals = {cell.id: cell for cell in source.cells}
    notebook.metadata.clear()
    notebook.metadata.update(source.metadata)
    for cell in notebook.cells:
        original = originals.get(cell.id)
        if original is None:
            cell.id, cell.metadata = INJECTED, nbformat.from_dict({"tags": [INJECTED]})
        else:
            cell.metadata = nbformat.from_dict(_fill_in_all(original.metadata, parameters))
        if cell.cell_type != "code":
            cell.source = fill_in(cell.source, parameters)
            continue
        outputs = []
        for output in cell.outputs:
            before = outputs[-1] if outputs else None
            if before and output.output_type == "stream" and output.name == before.get("name"):
                before.text += output.text
                continue
            if "image/png" in output.get("data", {}):
                output.data["image/png"] = plain_png(output.data["image/png"])
            outputs.append(output)
        cell.outputs = outputs


def output_text(output):
    """All text of an output, images left out."""
    data = output.get("data", {})
    return "\n".join(
        [output.get("text", ""), *output.get("traceback", [])]
        + [str(value) for kind, value in data.items() if not kind.startswith("image/")]
    )


def problems(notebook):
    """What keeps a page out of the book.

    Returns
    -------
    list of str
        Each names the cell and shows the text.
    """
    found, places = [], {str(ROOT), str(Path.home()), tempfile.gettempdir()} - {"/"}
    for number, cell in enumerate(notebook.cells, 1):
        if cell.cell_type != "code":
            left = PLACEHOLDER.findall(cell.source)
            found += [f"cell {number} names {name!r}, which is no parameter" for name in left]
            continue
        for output in cell.outputs:
            text = output_text(output).strip()
            if output.output_type == "error":
                found.append(f"cell {number} ends in an error: {text}")
            elif output.get("name") == "stderr":
                found.append(f"cell {number} writes to stderr: {text}")
            elif ADDRESS.search(text):
                found.append(f"cell {number} prints an address in memory: {text}")
            elif any(f"{place}/" in text for place in places):
                found.append(f"cell {number} prints a path of this machine: {text}")
    if not any(cell.get("outputs") for cell in notebook.cells):
        found.append("no cell has an output")
    return found


def is_current(page, digest):
    """Whether a page was made from this digest, and all its tables and figures are there."""
    if not page.is_file():
        return False
    stored = nbformat.read(page, as_version=4).metadata.get("unidino", {})
    results = stored.get("results", [])
    return stored.get("digest") == digest and all((page.parent / r).is_file() for r in results)


def _execute(command, env, name):
    """Run a command, each line it prints led by the page's name; the exit status."""
    with subprocess.Popen(
        command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        for line in process.stdout:
            if line.strip() and not line.startswith("[IPKernelApp]"):
                print(f"    {name} | {line.rstrip()}", flush=True)
    return process.returncode


def make(options, source, parameters, digest):
    """Run the notebook and put the page, its tables and its figures into place."""
    page = options.page.resolve()
    command = [sys.executable, "-m", "papermill", "--no-progress-bar", "--log-level", "WARNING"]
    command += ["-k", options.kernel]
    for flag, given in (("-p", options.parameters), ("-r", options.raw)):
        for name, value in given:
            command += [flag, name, value]
    with tempfile.TemporaryDirectory(prefix="unidino-page-") as folder:
        folder = Path(folder)
        made = folder / page.name
        command += [str(options.source.resolve()), str(made)]
        extracted = options.reads[0].resolve().parent if options.reads else None
        status = _execute(command, environment(folder, extracted), page.stem)
        if status:
            failed = ROOT / "_build" / "failed" / page.name
            if made.is_file():
                failed.parent.mkdir(parents=True, exist_ok=True)
                failed.write_bytes(made.read_bytes())
            raise PageError(
                f"{options.source.name} stopped. The page is left as it was; "
                f"{failed.relative_to(ROOT)} is the notebook as far as it came."
            )
        notebook = nbformat.read(made, as_version=4)
        clean(notebook, source, parameters)
        found = problems(notebook)
        if found:
            raise PageError(
                "it ran, but is not fit for the book, and the page is left as it was:\n  "
                + "\n  ".join(found)
            )
        publish(page, notebook, folder / "results", options, digest)


def publish(page, notebook, results, options, digest):
    """Move the results and then the page into place; drop results that the page no longer makes."""
    made = sorted(p.relative_to(results).as_posix() for p in results.rglob("*") if p.is_file())
    before = []
    if page.is_file():
        before = nbformat.read(page, as_version=4).metadata.get("unidino", {}).get("results", [])
    for name in made:
        with atomic_path(page.parent / name) as temporary:
            temporary.write_bytes((results / name).read_bytes())
    notebook.metadata["unidino"] = {
        "source": options.source.name,
        "digest": digest,
        "real": options.real,
        "reads": [path.stem for path in options.reads],
        "results": made,
    }
    with atomic_path(page) as temporary:
        temporary.write_text(nbformat.writes(notebook).rstrip("\n") + "\n")
    for name in set(before) - set(made):
        (page.parent / name).unlink(missing_ok=True)


def _digest_of(note):
    """The digest that an extraction was made from."""
    if not note.is_file():
        if os.environ.get("UNIDINO_DATA"):
            # Of the datasets in one's own data root: the page says which are not there.
            return "absent"
        raise PageError(f"{note} is absent, which it reads; make extracted makes it first.")
    return json.loads(note.read_text())["digest"]


def run(options, label):
    """Make one page, or say why it stays as it is."""
    source = nbformat.read(options.source, as_version=4)
    parameters = values(source, [*options.parameters, *options.raw])
    inputs = [Path(path) for path in options.input]
    for folder in options.real:
        root = real_data_root()
        if root is None or not (root / folder).is_dir():
            print(f"{label}: left as it is, for there is no real data {folder} (UNIDINO_REAL)")
            return
        inputs.append(root / folder)
    given = [options.parameters, options.raw]
    if options.reads:
        given.append([_digest_of(path) for path in options.reads])
    digest = page_digest(source, given, inputs)
    if not options.force and is_current(options.page, digest):
        print(f"{label}: up to date")
        return
    print(f"{label}: starts", flush=True)
    begin = time.monotonic()
    make(options, source, parameters, digest)
    print(f"{label}: done in {time.monotonic() - begin:.0f} s", flush=True)


def main(arguments=None):
    """The command line; the exit status. PAGES in the environment lists all pages of this run."""
    options = parse(arguments)
    label, pages = options.page.stem, os.environ.get("PAGES", "").split()
    if str(options.page) in pages:
        label = f"[{pages.index(str(options.page)) + 1}/{len(pages)}] {label}"
    try:
        run(options, label)
    except (PageError, FileNotFoundError) as error:
        print(f"{label}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
