"""What a GPU computes, beside the CPU; skipped without one."""

import json

import numpy as np
import pandas as pd
import pytest
import tifffile
import torch

import unidino
from unidino import devices, sites
from unidino.embedding import GPU_BATCHES, Embedder
from unidino.models import half
from unidino.train import train
from unidino.train.log import STEPS, read_log

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.fixture
def plate(tmp_path):
    """A CSV of four sites of two channels: smooth waves of several lengths, and noise."""
    y, x = np.mgrid[:200, :260]
    rng = np.random.default_rng(0)
    rows = []
    for i in range(4):
        row = {"plate": "p", "well": f"A0{i + 1}", "control_type": "negcon" if i < 2 else None}
        for c in range(2):
            wave = np.sin(x / (3 + 2 * i)) * np.cos(y / (4 + 3 * c)) + 1
            row[f"stain{c}"] = f"{i}_{c}.tif"
            values = (9000 * wave + rng.normal(500, 60, wave.shape)).clip(0, 65535)
            tifffile.imwrite(tmp_path / row[f"stain{c}"], values.astype(np.uint16))
        rows.append(row)
    pd.DataFrame(rows).to_csv(tmp_path / "plate.csv", index=False)
    return str(tmp_path / "plate.csv")


def profiles(plate, outdir, **options):
    made = unidino.extract(
        plate, outdir=str(outdir), norm_method="no_post_proc", min_foreground=0.0, **options
    )
    return made.profiles.filter(like="emb_").to_numpy()


def least_cosine(one, other):
    return (
        (one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
    ).min()


def test_a_gpu_gives_the_profiles_of_the_cpu(plate, tmp_path):
    cpu = profiles(plate, tmp_path / "cpu", device="cpu", precision="fp32")
    gpu = profiles(plate, tmp_path / "gpu", device="cuda", num_workers=2, precision="fp32")
    scale = np.abs(cpu).max()
    np.testing.assert_allclose(gpu, cpu, atol=2e-3 * scale)


@pytest.mark.parametrize("fused", [False, True])
def test_half_precision_is_the_default_of_a_gpu(fused, plate, tmp_path, monkeypatch):
    monkeypatch.setattr(sites, "COMPILED_TILES", 0 if fused else 10**9)
    full = profiles(plate, tmp_path / "fp32", device="cuda", precision="fp32")
    half = profiles(plate, tmp_path / "auto", device="cuda")
    settings = json.loads(next((tmp_path / "auto").rglob("settings.json")).read_text())
    assert settings["precision"] == "bf16"
    assert settings["measured"]["compiled"] == fused
    assert settings["measured"]["batch_size"] in GPU_BATCHES
    assert least_cosine(half, full) > 0.999
    if fused:
        # What was measured once holds for those who go on.
        monkeypatch.setattr(sites, "COMPILED_TILES", 10**9)
        next((tmp_path / "auto").rglob("p.parquet")).unlink()
        np.testing.assert_array_equal(profiles(plate, tmp_path / "auto", device="cuda"), half)


def test_patches_as_one_product_are_the_convolution():
    model = unidino.load_model("random_vit").cuda()
    tiles = torch.rand(6, 1, 224, 224, device="cuda")
    halved = half.in_half(model, torch.bfloat16)
    with torch.inference_mode():
        exact = model.backbone.patch_embed.proj(tiles)
        made = halved.backbone.patch_embed.proj(tiles.bfloat16()).float()
    assert made.shape == exact.shape
    assert float((made - exact).abs().max() / exact.abs().max()) < 0.01


def test_processes_share_a_gpu(plate, tmp_path):
    options = {"valset": plate, "outdir": str(tmp_path), "norm_method": "no_post_proc"}
    options |= {"batch_size": 8}  # a site at a time, so that each process has some
    devices.share(["cuda:0", "cuda:0"], unidino.extract, options | {"num_workers": 1})
    assert list(tmp_path.rglob("*.npz"))
    made = unidino.extract(**options, gpus=1)
    assert made.counts["ok"] == 4


def test_too_many_tiles_at_a_time_for_the_memory():
    model = unidino.load_model("random_vit").cuda()
    held = torch.empty(int(torch.cuda.mem_get_info()[0] * 0.98), dtype=torch.uint8, device="cuda")
    tiles = torch.zeros(1, 1, 224, 224, device="cuda").expand(4096, -1, -1, -1)
    with pytest.raises(RuntimeError, match="too little memory left for 4096 tiles of 224 px"):
        Embedder(model, 4096, torch.device("cuda")).forward(tiles)
    del held


def test_a_gpu_distils_like_the_cpu(plate, tmp_path):
    options = {"arch": "vit_tiny", "embed_dim": 24, "patch_size": 8, "size": 32, "epochs": 2}
    options |= {"epoch_length": 32, "batch_size_per_gpu": 8, "warmup_epochs": 0, "lr": 0.02}
    options |= {"num_workers": 0, "distil_from": "unidino-demo", "dino_weight": 0.0}
    options |= {"datasets": [plate], "intensity_scaling": "plate", "freeze_last_layer": 0}
    options |= {"warmup_teacher_temp_epochs": 0}
    losses = {}
    for device in ("cpu", "cuda"):
        train(str(tmp_path / device), device=device, **options)
        losses[device] = read_log(tmp_path / device, STEPS)["loss"].to_numpy()
    np.testing.assert_allclose(losses["cuda"], losses["cpu"], rtol=0.02)
