"""What a page depends on, as one digest: its notebook, its modules, its parameters, its inputs.

Only contents count: neither file times, which a clone sets anew, nor commits and versions.
"""

import ast
import functools
import hashlib
import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "unidino"

FORM = 1
"""Raise it when pages of the same notebook come out in another form: then all are made again."""


def _sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@functools.cache
def _lazy_names(package):
    """Names that the package itself offers, and the module that each comes from."""
    for node in ast.parse((package / "__init__.py").read_text()).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "_PUBLIC":
            return ast.literal_eval(node.value)
    return {}


def _mentioned(tree, name, module):
    """Dotted names of the package `name` that a syntax tree imports or uses.

    `module` is the dotted place inside the package of the code's own folder, or None for code
    outside. Names in strings count when they are nothing else: ``"unidino.train"`` started by a
    command.
    """
    bound, found = {name}, set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name == name:
                    bound.add(alias.asname or name)
                found.add(alias.name)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level and module is not None:
                folder = [name, *module][: len(module) + 2 - node.level]
                base = ".".join([*folder, *filter(None, [node.module])])
            found.update(f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if re.fullmatch(rf"{name}(\.\w+)+", node.value):
                found.add(node.value)
        elif isinstance(node, ast.Attribute):
            parts = []
            while isinstance(node, ast.Attribute):
                parts.append(node.attr)
                node = node.value
            if getattr(node, "id", None) in bound:
                found.add(".".join([name, *reversed(parts)]))
    return {dotted.removeprefix(f"{name}.") for dotted in found if dotted.startswith(f"{name}.")}


def modules(sources, package=PACKAGE):
    """Files of the package that some code uses, directly or through other modules.

    Parameters
    ----------
    sources : iterable of str
        Python code outside the package, such as the cells of a notebook.

    Returns
    -------
    list of Path
        Sorted. All modules where a source asks for ``*`` or is not plain Python.
    """
    every = {}
    for path in package.rglob("*.py"):
        *folder, stem = path.relative_to(package).with_suffix("").parts
        every[(*folder, stem)[: -1 if stem == "__init__" else None]] = path
    del every[()]
    lazy = _lazy_names(package)
    found, waiting = set(), [(source, None) for source in sources]
    while waiting:
        source, folder = waiting.pop()
        lines = (line for line in source.splitlines() if not line.lstrip().startswith(("%", "!")))
        try:
            mentioned = _mentioned(ast.parse("\n".join(lines)), package.name, folder)
        except SyntaxError:
            return sorted(every.values())
        for dotted in mentioned:
            first, *rest = dotted.split(".")
            if first == "*":
                return sorted(every.values())
            parts = (*lazy.get(first, first).split("."), *rest)
            # A module and the folders that it lies in, which are run before it; a folder that is
            # run by `python -m` brings its __main__.
            places = [parts[:n] for n in range(1, len(parts) + 1)]
            for place in [*places, (*parts, "__main__")]:
                if place in every and place not in found:
                    found.add(place)
                    path = every[place]
                    inside = place if path.stem == "__init__" else place[:-1]
                    waiting.append((path.read_text(), inside))
    return sorted(every[place] for place in found)


def _contents(path):
    """Digests of a file, or of all files in a folder by their place in it (hidden ones left out).

    Raises
    ------
    FileNotFoundError
        Neither a file nor a folder.
    """
    if path.is_file():
        return _sha256(path)
    if not path.is_dir():
        raise FileNotFoundError(f"{path}: no such input. Make it, or correct the page's rule.")
    files = {p.relative_to(path).as_posix(): p for p in path.rglob("*") if p.is_file()}
    return {n: _sha256(files[n]) for n in sorted(files) if not re.search(r"(^|/)\.", n)}


def code_digest(code, content, inputs=(), package=PACKAGE):
    """Digest of all that decides what some code does.

    Parameters
    ----------
    code : iterable of str
        See `modules`.
    content : object
        What else counts, as JSON takes it: parameters, prose.
    inputs : iterable of Path
        Files and folders that it reads, apart from simulated data.

    Returns
    -------
    str
        SHA-256, hex.
    """
    content = {
        "form": FORM,
        "content": content,
        "modules": {
            path.relative_to(package).as_posix(): _sha256(path) for path in modules(code, package)
        },
        "inputs": [_contents(Path(path)) for path in inputs],
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def page_digest(notebook, parameters, inputs=(), package=PACKAGE):
    """Digest of all that decides what a page says.

    Parameters
    ----------
    notebook : nbformat.NotebookNode
        The source notebook.
    parameters : dict
        What is injected into it.
    inputs : iterable of Path
        As of `code_digest`.

    Returns
    -------
    str
        SHA-256, hex.
    """
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    cells = [[cell.cell_type, cell.source, cell.metadata] for cell in notebook.cells]
    return code_digest(code, [cells, parameters], inputs, package)
