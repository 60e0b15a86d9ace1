"""What a GPU computes, beside the CPU; skipped without one."""

import numpy as np
import pandas as pd
import pytest
import tifffile
import torch

import unidino
from unidino.embedding import Embedder
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


def test_a_gpu_gives_the_profiles_of_the_cpu(plate, tmp_path):
    cpu = profiles(plate, tmp_path / "cpu", device="cpu")
    gpu = profiles(plate, tmp_path / "gpu", device="cuda", num_workers=2)
    scale = np.abs(cpu).max()
    np.testing.assert_allclose(gpu, cpu, atol=2e-3 * scale)
    half = profiles(plate, tmp_path / "bf16", device="cuda", precision="bf16")
    cosine = (half * cpu).sum(1) / np.linalg.norm(half, axis=1) / np.linalg.norm(cpu, axis=1)
    assert cosine.min() > 0.999, cosine


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
