"""What leaves a training folder: the same features, half the size, nobody's paths."""

import json

import pytest
import torch

import unidino
from unidino.models import checkpoints, vit
from unidino.train.export import export
from unidino.train.log import EPOCHS
from unidino.train.state import WEIGHTS


@pytest.fixture
def trained(tmp_path):
    """A training folder with the files that an export reads."""
    folder = tmp_path / "run"
    torch.manual_seed(0)
    model = vit.EmbeddingModel(vit.ModelConfig(arch="vit_tiny", embed_dim=24, size=32)).eval()
    options = {"lr": 0.1, "output_dir": str(folder), "monitor": "HPA@/my/data", "ckpt": None}
    options |= {"datasets": ["/my/mix.csv", "HPA@/my/simulated-1"], "device": "cuda:3"}
    details = {"epoch": 2, "step": 20, "training": options}
    checkpoints.save_model(model, folder / WEIGHTS, details)
    epochs = [{"epoch": i, "step": 10 * i, "loss": 3.0 / i, "warnings": []} for i in (1, 2)]
    text = "".join(json.dumps(line) + "\n" for line in epochs)
    (folder / EPOCHS).write_text(text)
    return folder, model


def test_an_export_gives_the_same_features_in_half_the_bytes(trained, tmp_path):
    folder, model = trained
    made = export(str(folder), str(tmp_path / "small.safetensors"), pooling="cls_max")
    small = unidino.load_model(made)
    assert small.config.pooling == "cls_max" and small.config.size == 32
    assert made.stat().st_size < 0.6 * (folder / WEIGHTS).stat().st_size
    x = torch.rand(2, 1, 32, 32)
    torch.testing.assert_close(small(x)[:, :24], model(x), atol=0.02, rtol=0.02)
    assert small(x).dtype == torch.float32
    header = checkpoints.read_header(made)
    assert header["training"] == {
        "lr": 0.1, "monitor": "HPA@data", "ckpt": None,
        "datasets": ["mix.csv", "HPA@simulated-1"],
    }  # fmt: skip
    assert b"/my/" not in made.read_bytes()
    lines = (tmp_path / "small.epochs.csv").read_text().splitlines()
    assert lines == ["epoch,step,loss", "1,10,3.0", "2,20,1.5"]
    whole = export(str(folder), str(tmp_path / "whole.safetensors"), half=False)
    torch.testing.assert_close(unidino.load_model(whole)(x), model(x), rtol=0, atol=0)


def test_an_export_stays_under_the_weights_licence(trained, tmp_path):
    folder, model = trained
    header = checkpoints.read_header(folder / WEIGHTS)
    details = {name: header[name] for name in ("epoch", "step", "training")}
    none = checkpoints.read_header(export(str(folder), str(tmp_path / "none.safetensors")))
    assert "licence" not in none
    checkpoints.save_model(model, folder / WEIGHTS, details | {"licence": "CC BY-NC 4.0"})
    made = export(str(folder), str(tmp_path / "made.safetensors"))
    assert checkpoints.read_header(made)["licence"] == "CC BY-NC 4.0"
    other = export(str(folder), str(tmp_path / "other.safetensors"), model="random_vit")
    assert "licence" not in checkpoints.read_header(other)


def test_an_untrained_export_has_the_seeds_weights(trained, tmp_path):
    folder, model = trained
    made = export(
        str(folder), str(tmp_path / "none.safetensors"), half=False, model="random_vit", seed=4
    )
    wanted = vit.seeded(model.config, 4).weights()
    found = unidino.load_model(made).weights()
    assert all(torch.equal(found[name], values) for name, values in wanted.items())
    assert not torch.equal(found["cls_token"], model.weights()["cls_token"])
    header = checkpoints.read_header(made)
    assert (header["epoch"], header["step"], header["training"]["lr"]) == (0, 0, 0.1)
    assert (tmp_path / "none.epochs.csv").read_text() == "epoch,step,loss\n"


def test_wrong_exports(trained, tmp_path):
    folder, model = trained
    with pytest.raises(ValueError, match="output is small.pth; its name must end in"):
        export(str(folder), "small.pth")
    with pytest.raises(ValueError, match="pooling 'median' is not one of"):
        export(str(folder), "small.safetensors", pooling="median")
    with pytest.raises(
        FileNotFoundError, match="nowhere holds no teacher.safetensors: give the output_dir"
    ):
        export(str(tmp_path / "nowhere"), "small.safetensors")
    with torch.no_grad():
        model.backbone.cls_token += 1e6
    details = {"epoch": 2, "step": 20, "training": {}}
    checkpoints.save_model(model, folder / WEIGHTS, details)
    with pytest.raises(ValueError, match="cls_token leave the range of half precision"):
        export(str(folder), str(tmp_path / "small.safetensors"))
