"""What every notebook of the book does: check its parameters, store its tables and figures."""

import ast
import functools
import inspect
import io
import json
import os
import warnings
from pathlib import Path

import pandas as pd
import psutil

from .. import arguments, paths, tables
from ..progress import say

# Libraries import tqdm's notebook bars, which warn into the page where ipywidgets is absent; pages
# hold no bars.
warnings.filterwarnings("ignore", message="IProgress not found")

# Cells of tables wrap on the page; pandas would cut what is longer than fifty characters.
pd.set_option("display.max_colwidth", None)

_PLAIN = (ast.Assign, ast.AnnAssign)


def _assigned(source):
    """Names and literal values that a cell of plain assignments sets; None for another cell."""
    try:
        body = ast.parse(source).body
        targets = {
            (node.targets[0] if isinstance(node, ast.Assign) else node.target).id: node.value
            for node in body
            if isinstance(node, _PLAIN)
        }
        if not body or len(targets) != len(body):
            return None
        return {name: ast.literal_eval(value) for name, value in targets.items()}
    except (SyntaxError, ValueError, AttributeError):
        return None


def check_parameters(function=None, shell=None):
    """The notebook's parameters, once what papermill injected fits what the notebook declares.

    Papermill only prints a message about a name it does not know, and turns 007 into 7; here both
    stop the run before any work. A list may be given as text, ``-p profiles '["one", "two"]'``,
    and is one afterwards.

    Parameters
    ----------
    function : callable, optional
        Takes the parameters; its annotations give the types. Without it a value must have the type
        of its default.
    shell : IPython shell, optional
        Whose history is read; the running one by default.

    Returns
    -------
    dict
        Name to value, in the order declared.

    Raises
    ------
    ValueError, TypeError
        Unknown parameter, or a value of the wrong type.
    """
    if shell is None:
        from IPython import get_ipython

        shell = get_ipython()
    cells = [cell for cell in shell.user_ns["In"][:-1] if cell.strip()]
    injected, declared, checked = {}, {}, False
    for cell in cells:
        values = _assigned(cell) or {}
        checked |= "check_parameters(" in cell
        if cell.lstrip().startswith("# Parameters\n"):
            injected |= values
        elif len(values) > len(declared) and not checked:
            # Cells of a person's own change some of the parameters, or come later.
            declared = values
    if not declared:
        raise ValueError("no cell of parameters was run before this one: run the cells in order.")
    arguments.check_names(injected, declared)
    current = {name: shell.user_ns[name] for name in declared}
    if function is not None:
        accepted = inspect.signature(function).parameters
        arguments.check_types({n: v for n, v in current.items() if n in accepted}, function)
    for name, value in current.items():
        kind = type(declared[name])
        if kind is list and isinstance(value, str):
            value = current[name] = shell.user_ns[name] = _list(name, value)
        known = function is not None and name in accepted
        whole = kind is float and isinstance(value, int) and not isinstance(value, bool)
        if known or declared[name] is None or type(value) is kind or whole:
            continue
        raise TypeError(f"parameter {name} takes {kind.__name__}, got {value!r}.")
    return current


def _list(name, text):
    """A list that a command line gave as text."""
    try:
        made = json.loads(text)
    except json.JSONDecodeError:
        made = None
    if not isinstance(made, list):
        raise TypeError(
            f'parameter {name} takes a list, got {text!r}; write it as \'["one", "two"]\'.'
        )
    return made


def results_folder():
    """Folder of this notebook's tables and figures.

    UNIDINO_RESULTS, which `make` sets for pages of the book. A notebook that is run by hand has
    ``NAME_files`` beside itself: beside OUT.ipynb where papermill writes one, else in the working
    folder.
    """
    return paths.results_folder() or _beside_the_notebook()


@functools.cache
def _beside_the_notebook():
    written = papermill_output(psutil.Process().parent())
    if written is None:
        name = Path(os.environ.get("JPY_SESSION_NAME", "")).name
        written = Path.cwd() / (name if name.endswith(".ipynb") else "notebook.ipynb")
    folder = written.with_name(f"{written.stem}_files")
    say(f"tables and figures of this notebook go to {folder}")
    return folder


def papermill_output(process):
    """The notebook that a papermill process writes, or None.

    Papermill does not tell its kernel; its command line, which papermill's own parser reads, does.

    Parameters
    ----------
    process : psutil.Process or None
        The parent of a kernel.

    Returns
    -------
    Path or None
        Absolute; named after the source notebook where the output is redirected; None for other
        processes, and outputs that are not on this machine.
    """
    try:
        command, folder = process.cmdline(), process.cwd()
    except (AttributeError, psutil.Error):
        return None
    start = next((i for i, word in enumerate(command) if Path(word).stem == "papermill"), None)
    if start is None:
        return None
    from papermill.cli import papermill

    given = papermill.make_context("papermill", command[start + 1 :], resilient_parsing=True).params
    written = given["output_path"] or ""
    if written in ("", "-"):
        written = Path(given["notebook_path"] or "notebook.ipynb").name
    return None if "://" in written else Path(folder, written)


def results_table(frame, name, decimals=6):
    """Store a small table in the `results_folder`.

    Parameters
    ----------
    frame : pd.DataFrame
        Written with its columns only; floats rounded to `decimals`.
    name : str
        File name without suffix.

    Returns
    -------
    str
        The path below the results folder, to print on the page.
    """
    path = results_folder() / "tables" / f"{name}.csv"
    with tables.atomic_path(path) as temporary:
        frame.round(decimals).to_csv(temporary, index=False, lineterminator="\n")
    return f"tables/{path.name}"


def shown(frame):
    """A table as pages show it: headings that may break, no column that is empty throughout.

    Parameters
    ----------
    frame : pd.DataFrame
        Its headings are names of columns, such as ``mean_over_annotated``.
    """
    full = frame.loc[:, ~(frame.isna() | (frame == "")).all()]
    spaced = [n.replace("_", " ") if isinstance(n, str) else n for n in full.columns]
    return full.set_axis(spaced, axis=1).rename_axis(
        index=[n.replace("_", " ") if isinstance(n, str) else n for n in full.index.names]
    )


def breakable(frame):
    """A table of scores whose cells may break before the brackets of an interval, not within.

    Parameters
    ----------
    frame : pd.DataFrame
        Texts such as "0.34 (0.23 to 0.46)".
    """
    return frame.map(lambda text: text.replace(" to ", "\N{NO-BREAK SPACE}to\N{NO-BREAK SPACE}"))


def save_figure(figure, name, picture=False, photographs=False):
    """Store a figure as PDF in the `results_folder`, the same bytes on every run, and show it.

    What is shown is small: a PNG of at most 256 colours, or for photographs a JPEG.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        Closed afterwards.
    name : str
        File name without suffix.
    picture : bool
        Store what is shown, too, for a chapter that shows it.
    photographs : bool
        It consists of images in grey, whose noise no PNG makes small.

    Returns
    -------
    IPython.display.Image
        As the last value of a cell it is the cell's figure, whatever backend libraries have set.
    """
    import matplotlib.pyplot as plt
    from IPython.display import Image
    from PIL import Image as pillow

    path = results_folder() / "figures" / f"{name}.pdf"
    nothing = {"CreationDate": None, "Producer": None, "Creator": None}
    with tables.atomic_path(path) as temporary:
        figure.savefig(temporary, format="pdf", metadata=nothing)
    drawn, stored = io.BytesIO(), io.BytesIO()
    # Pages show photographs at this resolution as they are; text and lines gain from a finer one.
    figure.savefig(drawn, format="png", dpi=100 if photographs else 120)
    plt.close(figure)
    pixels = pillow.open(drawn).convert("RGB")
    if photographs:
        kind = "jpeg"
        pixels.convert("L").save(stored, kind, quality=60, optimize=True)
    else:
        kind = "png"
        # By coverage, not by frequency: the rare colours of a colour bar stay what they are.
        coverage, plain = pillow.Quantize.MAXCOVERAGE, pillow.Dither.NONE
        pixels.quantize(256, coverage, dither=plain).save(stored, kind, optimize=True)
    if picture:
        with tables.atomic_path(path.with_suffix(f".{kind}")) as temporary:
            temporary.write_bytes(stored.getvalue())
    return Image(stored.getvalue(), format=kind)
