"""What tests share; they see neither a data root nor output folders of the person who runs them."""

import pytest


@pytest.fixture(autouse=True)
def _no_folders_of_the_user(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("UNIDINO_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    for variable in ("UNIDINO_DATA", "UNIDINO_OUTDIR", "UNIDINO_RESULTS"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    """A tiny model on small tiles, scaled by plate: quick to run many times."""
    import torch

    from unidino.models import checkpoints, vit

    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = vit.EmbeddingModel(vit.ModelConfig(arch="vit_tiny", size=48, intensity="plate"))
    checkpoints.save_model(model, path)
    return str(path)


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
