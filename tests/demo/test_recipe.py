"""The demo model's recipe: every stage from the one before, finished ones kept, one file."""

import numpy as np
import pandas as pd
import pytest
import tifffile

import unidino
from tests.train.two_layers import NarrowHead
from unidino.demo import recipe
from unidino.models import checkpoints
from unidino.train import dino
from unidino.train.log import STEPS, read_log
from unidino.train.state import WEIGHTS

TINY = {
    "size": 32, "local_size": 16, "batch_size_per_gpu": 4, "epochs": 1, "epoch_length": 8,
    "warmup_epochs": 0, "warmup_teacher_temp_epochs": 0, "freeze_last_layer": 0, "num_workers": 0,
    "distil_from": "random_vit", "min_contrast": 0.0,
}  # fmt: skip


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Images to train on where `training_sets` says, the recipe's stages made tiny."""
    rng = np.random.default_rng(0)
    for i in range(6):
        tifffile.imwrite(tmp_path / f"{i}.tif", rng.integers(0, 60000, (48, 48)).astype("u2"))
    pd.DataFrame({"plate": "p", "path": [f"{i}.tif" for i in range(6)]}).to_csv(
        tmp_path / "mix.csv", index=False
    )
    one = {"csv": str(tmp_path / "mix.csv"), "weight": 1.0}
    monkeypatch.setattr(recipe, "training_sets", lambda outdir: [one])
    monkeypatch.setattr(recipe, "watched", lambda data: {})
    monkeypatch.setattr(dino, "DINOHead", NarrowHead)
    stages = {name: options | TINY for name, options in recipe.STAGES.items()}
    stages["self-distil"] |= {"out_dim": 16, "koleo_weight": 0.0}
    monkeypatch.setattr(recipe, "STAGES", stages)
    projection = {"pooling": "cls_mean", "projected_dim": 2, "projection_images": 5}
    monkeypatch.setattr(recipe, "PROJECTION", projection | {"projection_crops": 3})
    return tmp_path


def test_the_command_trains_every_stage_and_exports(data, tmp_path, capsys):
    output = tmp_path / "made.safetensors"
    command = [str(data), str(tmp_path / "run"), "--output", str(output), "--device", "cpu",
               "--stages", "distil,self-distil"]  # fmt: skip
    recipe.main(command)
    assert capsys.readouterr().out.strip().endswith("made.safetensors")
    assert unidino.load_model(output).embedding_dim == 2
    first = checkpoints.read_header(tmp_path / "run" / "distil" / WEIGHTS)
    last = checkpoints.read_header(output)
    assert (first["step"], last["step"]) == (2, 2)
    assert last["training"]["ckpt"] == WEIGHTS
    assert [one["dino_weight"] for one in last["earlier"]] == [0.0]
    assert last["training"]["dino_weight"] == 1.0
    # The second stage begins where the first one ended.
    steps = read_log(tmp_path / "run" / "self-distil", STEPS)
    assert list(steps["step"]) == [0, 1]
    before = (tmp_path / "run" / "distil" / WEIGHTS).stat().st_mtime_ns
    output.unlink()
    recipe.main(command)
    assert output.is_file()
    assert (tmp_path / "run" / "distil" / WEIGHTS).stat().st_mtime_ns == before


def test_scale_and_stages(data, tmp_path):
    recipe.run(data, tmp_path / "run", tmp_path / "one.safetensors", scale=2.0,
               device="cpu")  # fmt: skip
    header = checkpoints.read_header(tmp_path / "one.safetensors")
    assert header["training"]["epoch_length"] == 16 and header["step"] == 4
    assert [one.name for one in (tmp_path / "run").iterdir()] == list(recipe.SHIPPED)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--stages", "distill"], "stages 'distill' is not one of distil, longer, self-distil"),
        (["--scale", "0"], "scale is 0"),
        (["--precision", "fp8"], "precision 'fp8' is not one of"),
    ],
)
def test_mistakes_are_named(data, tmp_path, given, message):
    with pytest.raises(SystemExit, match=message):
        recipe.main([str(data), str(tmp_path / "run"), "--output", str(tmp_path / "x.safetensors"),
                     *given])  # fmt: skip


def test_data_that_are_absent_are_named(tmp_path):
    with pytest.raises(SystemExit, match="is absent: run python -m unidino.demo.data"):
        recipe.main([str(tmp_path), str(tmp_path / "run")])
