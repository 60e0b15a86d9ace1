"""The forward pass: precisions, batches, groups of sites, and what a GPU is given beside it."""

import numpy as np
import pytest
import torch

import unidino
from unidino import embedding
from unidino.embedding import Embedder
from unidino.models import half, vit

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return vit.EmbeddingModel(vit.ModelConfig(arch="vit_tiny", size=32)).eval()


@pytest.mark.parametrize(
    ("flags", "precision"),
    [
        ("flags : fpu avx2", "fp32"),
        ("flags : fpu avx512f avx512_bf16", "bf16"),
        ("flags : amx_bf16 amx_tile", "bf16"),
        (None, "fp32"),
    ],
)
def test_auto_is_what_the_processor_has(flags, precision, tmp_path):
    file = tmp_path / "cpuinfo"
    if flags:
        file.write_text(f"processor : 0\n{flags}\n")
    assert embedding.resolved_precision("auto", CPU, file) == precision
    assert embedding.resolved_precision("fp16", CPU, file) == "fp16"


def tiles_of_cells(count, size):
    """Discs of several sizes and brightnesses on noise."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:size, :size]
    made = rng.normal(0.1, 0.02, (count, size, size))
    for tile in made:
        for _ in range(6):
            cy, cx, r = *rng.uniform(0, size, 2), rng.uniform(4, 14)
            tile += rng.uniform(0.1, 0.6) * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / r**2)
    return torch.from_numpy(made.clip(0, 1).astype(np.float32)).unsqueeze(1)


def test_half_precision_keeps_embeddings_of_trained_weights():
    trained = unidino.load_model()
    tiles = tiles_of_cells(6, trained.config.size)
    full = Embedder(trained, None, CPU, "fp32").forward(tiles)
    made = Embedder(trained, None, CPU, "bf16").forward(tiles)
    assert made.dtype == torch.float32
    assert float(torch.cosine_similarity(full, made).min()) > 0.999
    assert not torch.equal(full, made)
    # The model that was given is as it was.
    assert next(trained.backbone.parameters()).dtype == torch.float32


def test_networks_that_are_no_transformers_run_under_autocast(model):
    other = vit.EmbeddingModel(
        vit.ModelConfig(arch="timm:test_efficientnet", size=32, repeat_channels=3, pooling="mean")
    ).eval()
    tiles = tiles_of_cells(4, 32)
    full, made = (Embedder(other, None, CPU, p).forward(tiles) for p in ("fp32", "bf16"))
    assert float(torch.cosine_similarity(full, made).min()) > 0.99


@pytest.mark.parametrize("channels", [1, 3])
def test_patches_as_one_product_are_the_convolution(channels):
    convolution = torch.nn.Conv2d(channels, 5, 4, 4)
    x = torch.rand(2, channels, 12, 20)
    with torch.no_grad():
        torch.testing.assert_close(half.PatchProduct(convolution)(x), convolution(x))


@pytest.mark.parametrize("rows", [1, 4, 5, 11])
def test_parts_of_a_batch_are_of_one_size(rows, model, monkeypatch):
    embedder, seen = Embedder(model, 4, CPU), []
    passed = embedder._passed
    monkeypatch.setattr(embedder, "_passed", lambda x: seen.append(len(x)) or passed(x))
    tiles = tiles_of_cells(rows, 32)
    made = embedder.forward(tiles)
    assert max(seen) <= 4 and max(seen) - min(seen) <= 1 and sum(seen) == rows
    with torch.no_grad():
        one_by_one = torch.cat([model(tile[None]) for tile in tiles])
    torch.testing.assert_close(made, one_by_one, rtol=1e-4, atol=1e-5)


def item(index, tiles, channels=2):
    made = tiles_of_cells(tiles * channels, 32).view(tiles, channels, 32, 32)
    return {"index": index, "tiles": made}


def test_groups_of_sites_are_means_of_their_tiles(model):
    groups = [
        [item(0, 3), {"index": 1, "error": "absent"}, item(2, 1)],
        [{"index": 3, "error": ""}],
    ]
    kept = [i["tiles"] for i in groups[0] if "tiles" in i]
    made = list(Embedder(model, 4, CPU).sites(iter(groups), lambda item: (0.0, 1.0)))
    assert [[i["index"] for i, _ in group] for group in made] == [[0, 1, 2], [3]]
    assert made[0][1][1] is None and made[1][0][1] is None
    for (_, found), tiles in zip(made[0][::2], kept, strict=True):
        with torch.no_grad():
            each = [[model(tile[c][None, None])[0] for c in range(2)] for tile in tiles]
        wanted = np.mean([[e.numpy() for e in row] for row in each], 0)
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    assert all("tiles" not in i for group in made for i, _ in group)


def test_a_cpu_takes_the_batch_of_the_benchmark(model):
    embedder = Embedder(model, None, CPU)
    embedder.tune(32)
    embedder.compile()
    assert embedder.batch_size == embedding.CPU_BATCH and not embedder.compiled
