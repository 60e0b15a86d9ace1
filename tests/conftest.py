"""Tests see neither a data root nor output folders of the person who runs them."""

import pytest


@pytest.fixture(autouse=True)
def _no_folders_of_the_user(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("UNIDINO_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    for variable in ("UNIDINO_DATA", "UNIDINO_OUTDIR", "UNIDINO_RESULTS"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A web server of this machine, see `serving`."""
    pytest.importorskip("aiohttp")
    from tests.serving import serving

    with serving(monkeypatch, tmp_path) as made:
        yield made


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """Start the longest module first, so that the last minutes keep all processors busy."""
    items.sort(key=lambda item: item.path.parts[-2:] != ("train", "test_loop.py"))
