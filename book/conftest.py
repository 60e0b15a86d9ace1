"""How pytest (nbval) runs the pages: each on its own, in temporary folders, its cells in order."""

import os
import tempfile
from pathlib import Path

import nbformat
import pytest
from nbval.kernel import RunningKernel
from page import environment

FOLDER = "UNIDINO_CHECK"
"""Environment variable that names the folder of this check, for all its workers."""

EXTRACTED = "UNIDINO_EXTRACTED"
"""That names the output root of the extractions that pages read."""


def _is_page(item):
    return item.path.suffix == ".ipynb"


def pytest_configure(config):
    """Without a folder given (pytest called by hand) take a temporary one."""
    if FOLDER not in os.environ:
        folder = tempfile.TemporaryDirectory(prefix="unidino-check-")
        os.environ[FOLDER] = folder.name
        config.add_cleanup(folder.cleanup)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """Put the cells back in order after pytest-randomly."""
    cells = [item for item in items if _is_page(item)]
    cells.sort(key=lambda item: (str(item.path), item.cell_num))
    items[:] = [item for item in items if not _is_page(item)] + cells


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """The kernel, which starts next, inherits the environment of this process."""
    if _is_page(item):
        reads = nbformat.read(item.path, as_version=4).metadata.get("unidino", {}).get("reads")
        extracted = os.environ.get(EXTRACTED) if reads else None
        os.environ.update(environment(Path(os.environ[FOLDER], item.path.stem), extracted))


def _execute_cell_input(self, cell_input, allow_stdin=None):
    """Keep the history, as Jupyter does: unidino.pages.notebook looks for the parameters there."""
    return self.kc.execute(cell_input, allow_stdin=allow_stdin, stop_on_error=False)


RunningKernel.execute_cell_input = _execute_cell_input
