"""Distillation: the targets and the loss beside plain twins, a few steps of a real training."""

import numpy as np
import pytest
import torch
from torch import nn

import unidino
from unidino.models import checkpoints, vit
from unidino.train import distil, train
from unidino.train.log import EPOCHS, STEPS, read_log
from unidino.train.state import ROLLING, WEIGHTS

SMALL = {
    "arch": "vit_tiny", "embed_dim": 24, "patch_size": 8, "size": 32, "local_size": 16,
    "local_crops_number": 2, "out_dim": 12, "epochs": 2, "epoch_length": 8,
    "batch_size_per_gpu": 4, "warmup_epochs": 0, "warmup_teacher_temp_epochs": 0,
    "freeze_last_layer": 0, "num_workers": 0, "device": "cpu", "lr": 0.05,
    "use_example_data": True, "intensity_scaling": "plate",
}  # fmt: skip
ALONE = SMALL | {"dino_weight": 0.0, "local_crops_number": None}
"""Without self-distillation."""


@pytest.fixture(scope="module")
def convolutional(tmp_path_factory):
    """A weights file of a small convolutional network, read a block before its end."""
    config = vit.arch_config("timm:resnet10t", repeat_channels=3, pooling="mean", block=4)
    model = vit.seeded(config, 3)
    path = tmp_path_factory.mktemp("source") / "source.safetensors"
    checkpoints.save_model(model, path)
    return path


@pytest.fixture(scope="module")
def transformer(tmp_path_factory):
    """A weights file of a small vision transformer."""
    model = vit.seeded(vit.ModelConfig(arch="vit_tiny", embed_dim=24, size=32, patch_size=8), 4)
    path = tmp_path_factory.mktemp("source") / "vit.safetensors"
    checkpoints.save_model(model, path)
    return path


def plainly_standardised(values):
    """Feature by feature, value by value."""
    rows = np.moveaxis(values.numpy().astype(float), 1, -1).reshape(-1, values.shape[1])
    centred = (rows - rows.mean(0)) / np.sqrt(rows.var(0) + 1e-5)
    shape = np.moveaxis(values.numpy(), 1, -1).shape
    return np.moveaxis(centred.reshape(shape), -1, 1)


def test_targets_of_a_convolutional_network(convolutional):
    views = torch.rand(5, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    source = distil.Source.of(str(convolutional), 1)
    vector, grid = source.targets(views)
    network = unidino.load_model(convolutional).backbone
    with torch.inference_mode():
        x = network.maxpool(network.act1(network.bn1(network.conv1(views.repeat(1, 3, 1, 1)))))
        before = network.layer2(network.layer1(x))
        read = network.layer3(before)
    # Of timm's blocks the stem is the first: block 4 is the third layer.
    np.testing.assert_allclose(
        vector, plainly_standardised(read.mean((2, 3))), atol=2e-4, rtol=1e-3
    )
    np.testing.assert_allclose(grid, plainly_standardised(before), atol=2e-4, rtol=1e-3)
    assert source.widths() == (vector.shape[1], grid.shape[1])


def test_targets_of_a_transformer(transformer):
    views = torch.rand(3, 1, 32, 48, generator=torch.Generator().manual_seed(1))
    source = distil.Source.of(str(transformer), 1)
    vector, grid = source.targets(views)
    model = unidino.load_model(transformer)
    with torch.inference_mode():
        embedding = model(views)
        tokens = model.backbone.patch_embed(views)
        tokens = model.backbone._pos_embed(tokens)
        for block in model.backbone.blocks[:11]:
            tokens = block(tokens)
        patches = model.backbone.norm(tokens)[:, 1:]
    np.testing.assert_allclose(vector, plainly_standardised(embedding), atol=2e-4, rtol=1e-3)
    assert grid.shape == (3, 24, 4, 6)
    np.testing.assert_allclose(
        grid, plainly_standardised(patches.mT.reshape(3, 24, 4, 6)), atol=2e-4, rtol=1e-3
    )


def test_a_network_without_blocks_gives_its_embedding_alone():
    source = distil.Source(unidino.load_model("random_vit", arch="torchvision:shufflenet_v2_x0_5"))
    vector, grid = source.targets(torch.rand(3, 1, 64, 64))
    assert grid is None and source.widths() == (vector.shape[1], None)
    predicted = distil.Reproduction(24, 24, *source.widths())(torch.rand(3, 24), None)
    loss = distil.distillation_loss(predicted, (vector, None))
    twin = float((predicted[0] - vector).square().mean().detach())
    assert float(loss.detach()) == pytest.approx(twin, rel=1e-5)


def test_loss_equals_its_twin():
    generator = torch.Generator().manual_seed(2)
    predicted = [
        torch.randn(4, 6, generator=generator),
        torch.randn(4, 5, 2, 3, generator=generator),
    ]
    targets = [torch.randn(4, 6, generator=generator), torch.randn(4, 5, 2, 3, generator=generator)]
    total = 0.0
    for one, other in zip(predicted, targets, strict=True):
        pairs = zip(one.flatten().tolist(), other.flatten().tolist(), strict=True)
        errors = [(a - b) ** 2 for a, b in pairs]
        total += sum(errors) / len(errors)
    assert float(distil.distillation_loss(predicted, targets)) == pytest.approx(total, rel=1e-5)
    # The mean of every target as prediction costs its variance.
    flat = [distil.standardised(torch.randn(4000, 3, generator=generator)) for _ in range(2)]
    nothing = [torch.zeros(4000, 3), torch.zeros(4000, 3)]
    assert float(distil.distillation_loss(nothing, flat)) == pytest.approx(2, abs=1e-3)


def test_maps_are_resampled_to_the_students_patches():
    fine = torch.arange(16.0).view(1, 1, 4, 4)
    coarse = torch.zeros(1, 1, 2, 2)
    loss = distil.distillation_loss((torch.zeros(1, 1), coarse), (torch.zeros(1, 1), fine))
    wanted = nn.functional.interpolate(fine, (2, 2), mode="bilinear", antialias=True)
    assert float(loss) == pytest.approx(float(wanted.square().mean()), rel=1e-5)
    flat = torch.full((1, 1, 4, 4), 3.0)
    loss = distil.distillation_loss((torch.zeros(1, 1), coarse), (torch.zeros(1, 1), flat))
    assert float(loss) == pytest.approx(9, rel=1e-5)


def test_the_first_loss_is_that_of_the_untrained_student(tmp_path, convolutional, monkeypatch):
    seen = {}
    original = distil.distillation_loss

    def spied(predicted, targets):
        seen.setdefault("targets", targets)
        seen.setdefault("predicted", [part.detach() for part in predicted])
        return original(predicted, targets)

    monkeypatch.setattr(distil, "distillation_loss", spied)
    train(str(tmp_path), **ALONE, distil_from=str(convolutional), distil_weight=2.0)
    first = read_log(tmp_path, STEPS).iloc[0]
    twin = sum(
        ((a.double() - b.double()) ** 2).mean()
        for a, b in zip(seen["predicted"], seen["targets"], strict=True)
    )
    assert first["distil_loss"] == pytest.approx(float(twin), rel=1e-5)
    assert first["loss"] == pytest.approx(2 * float(twin), rel=1e-5)
    # Two global views of four images, at each of 4 x 4 patches.
    assert seen["predicted"][1].shape == (8, *seen["targets"][1].shape[1:2], 4, 4)


def test_reproduction_is_learnt_and_used_without_its_heads(tmp_path, convolutional):
    given = ALONE | {"epochs": 6, "epoch_length": 16, "momentum_teacher": 0.5}
    given |= {"distil_from": str(convolutional), "drop_path_rate": 0.0}
    train(str(tmp_path), **given)
    epochs = read_log(tmp_path, EPOCHS)
    assert epochs["distil_loss"].iloc[-1] < 0.97 * epochs["distil_loss"].iloc[0]
    assert "teacher_entropy" not in epochs and "dino_loss" not in epochs
    model = unidino.load_model(tmp_path / WEIGHTS)
    assert model.embedding_dim == 24
    student = checkpoints.load_checkpoint(tmp_path / ROLLING, key="student")
    assert student(torch.rand(1, 1, 32, 32)).shape == (1, 24)


def test_both_losses_are_summed_with_their_weights(tmp_path, convolutional):
    given = SMALL | {"distil_from": str(convolutional), "distil_weight": 0.5, "dino_weight": 3.0}
    train(str(tmp_path), **given)
    steps = read_log(tmp_path, STEPS)
    np.testing.assert_allclose(
        steps["loss"], 3 * steps["dino_loss"] + 0.5 * steps["distil_loss"], rtol=1e-5
    )


def test_a_killed_distillation_goes_on_as_if_never_killed(tmp_path, transformer, monkeypatch):
    given = ALONE | {"distil_from": str(transformer), "checkpoint_minutes": 1e-9}
    train(str(tmp_path / "whole"), **given)
    from unidino.train import loop

    original, calls = loop.Trainer.train_step, []

    def killed(self, batches):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return original(self, batches)

    monkeypatch.setattr(loop.Trainer, "train_step", killed)
    with pytest.raises(KeyboardInterrupt):
        train(str(tmp_path / "cut"), **given)
    monkeypatch.undo()
    train(str(tmp_path / "cut"), **given)
    whole, cut = (read_log(tmp_path / name, STEPS)["loss"].tolist() for name in ("whole", "cut"))
    assert whole == cut


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"dino_weight": 0.0}, ValueError, "dino_weight is 0 and distil_from is missing"),
        (
            {"distil_from": "random_vit", "dino_weight": 0.0},
            ValueError,
            "local_crops_number is 2, dino_weight 0: only self-distillation sees local views",
        ),
        ({"distil_from": "trasnfer"}, ValueError, "Did you mean 'transfer'"),
        ({"distil_from": "random_vit", "distil_weight": 0.0}, ValueError, "distil_weight is 0"),
        ({"distil_from": "random_vit", "dino_weight": -1.0}, ValueError, "dino_weight is -1"),
        (
            {"distil_from": "random_vit", "arch": "timm:resnet10t", "embed_dim": None},
            ValueError,
            "distil_from teaches vision transformers",
        ),
        ({"distil_from": "random_vit", "size": 40}, ValueError, "takes no views of size 40"),
    ],
)
def test_mistakes_are_named_before_any_work(changes, error, message, tmp_path):
    with pytest.raises(error, match=message):
        train(str(tmp_path), **SMALL | changes)


def test_channels_must_agree(tmp_path):
    model = vit.seeded(vit.ModelConfig(arch="vit_tiny", embed_dim=24, size=32, in_chans=5), 0)
    checkpoints.save_model(model, tmp_path / "five.safetensors")
    with pytest.raises(ValueError, match="takes 5 channels together, the student 1"):
        distil.Source.of(str(tmp_path / "five.safetensors"), 1)
