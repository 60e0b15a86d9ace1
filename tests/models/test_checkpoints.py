"""Weights in every format load to the same model; wrong files are refused with their reason."""

import argparse
import dataclasses
import json
import os
import zipfile

import pytest
import torch
from safetensors.torch import save_file

import unidino
from unidino import models, paths
from unidino.models import checkpoints, vit

DEFAULT = models.DEFAULT_MODEL


@pytest.fixture(scope="module")
def model():
    return unidino.load_model("random_vit", arch="vit_tiny", seed=7)


@pytest.fixture(scope="module")
def image():
    return torch.rand(1, 1, 224, 224, generator=torch.Generator().manual_seed(2))


def published(model, **arguments):
    """A training checkpoint as the released code writes it, student unlike teacher."""
    teacher = {f"backbone.{k}": v for k, v in model.weights().items()}
    head = {"head.mlp.0.weight": torch.rand(4, 192), "head.last_layer.weight_g": torch.rand(8, 1)}
    return {
        "student": {f"module.{k}": v + 1 for k, v in (teacher | head).items()},
        "teacher": teacher | head,
        "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]},
        "epoch": 3,
        "args": argparse.Namespace(arch="vit_tiny", lr=0.0004, ckpt=None, **arguments),
        "dino_loss": {"center": torch.zeros(1, 8)},
    }


def same(model, other, image):
    with torch.inference_mode():
        torch.testing.assert_close(model(image), other(image), atol=0, rtol=0)


def test_published_format_loads_the_teacher(model, image, tmp_path):
    torch.save(published(model), tmp_path / "uniDINO.pth")
    loaded = unidino.load_model(tmp_path / "uniDINO.pth")
    same(model, loaded, image)
    assert loaded.name == f"uniDINO-{loaded.sha256[:8]}"
    assert loaded.config.intensity == "dtype"


def test_published_format_student(model, tmp_path):
    torch.save(published(model), tmp_path / "x.pth")
    student = checkpoints.load_checkpoint(tmp_path / "x.pth", key="student")
    assert torch.equal(student.weights()["cls_token"], model.weights()["cls_token"] + 1)


def test_released_weights_are_found_by_name(model, image, tmp_path, monkeypatch):
    monkeypatch.setenv("UNIDINO_DATA", str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    torch.save(published(model), tmp_path / "checkpoints" / paths.UNIDINO_WEIGHTS)
    loaded = unidino.load_model("unidino")
    same(model, loaded, image)
    assert loaded.name == "unidino"


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"state_dict": s}, lambda s: {"model": s}])
def test_plain_state_dicts(wrap, model, image, tmp_path):
    torch.save(wrap(model.weights()), tmp_path / "plain.pt")
    same(model, unidino.load_model("dino", ckpt=str(tmp_path / "plain.pt")), image)


def test_demo_model_is_found_by_name(model, image, tmp_path, monkeypatch):
    monkeypatch.setenv("UNIDINO_DATA", str(tmp_path))
    path = tmp_path / "checkpoints" / paths.DEMO_WEIGHTS
    checkpoints.save_model(model, path)
    loaded = unidino.load_model("unidino-demo")
    same(model, loaded, image)
    assert loaded.name == "unidino-demo"
    assert models.weights_file("unidino-demo") == path
    assert unidino.load_model("unidino-demo", pooling="max").config.pooling == "max"


def test_absent_demo_weights_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "checkpoint_folders", lambda: [tmp_path / "checkpoints"])
    monkeypatch.setattr(paths, "data_root", lambda: tmp_path)
    assert models.weights_file("unidino-demo") is None
    with pytest.raises(
        FileNotFoundError,
        match="unidino-demo.safetensors are in none of .*They come .*data/checkpoints .*README",
    ):
        unidino.load_model("unidino-demo")


def test_default_is_one_of_the_names():
    assert models.DEFAULT_MODEL in models.NAMES


@pytest.mark.parametrize("pooling", vit.POOLINGS)
def test_pooling_can_be_overridden(pooling, model, image, tmp_path):
    config = dataclasses.replace(model.config, pooling="mean")
    stored = vit.EmbeddingModel(config)
    stored.load_weights(model.weights(), "the model")
    checkpoints.save_model(stored, tmp_path / "m.safetensors")
    loaded = unidino.load_model(tmp_path / "m.safetensors", pooling=pooling)
    assert loaded.config == dataclasses.replace(config, pooling=pooling)
    with torch.inference_mode():
        tokens = model.backbone.forward_features(image)
        expected = {
            "cls": tokens[:, 0],
            "mean": tokens[:, 1:].mean(1),
            "max": tokens[:, 1:].amax(1),
        }
        wanted = torch.cat([expected[part] for part in pooling.split("_")], 1)
    torch.testing.assert_close(loaded(image), wanted)
    untrained = unidino.load_model("random_vit", seed=7, pooling=pooling)
    same(untrained, loaded, image)
    with pytest.raises(ValueError, match="pooling 'median' is not one of cls, mean, max"):
        unidino.load_model(tmp_path / "m.safetensors", pooling="median")


def test_header_holds_config_and_details(model, tmp_path):
    checkpoints.save_model(model, tmp_path / "m.safetensors", {"epoch": 3})
    header = checkpoints.read_header(tmp_path / "m.safetensors")
    assert header["epoch"] == 3 and header["config"]["arch"] == "vit_tiny"
    with pytest.raises(FileNotFoundError, match="no weights at .*gone.safetensors"):
        checkpoints.read_header(tmp_path / "gone.safetensors")


def test_safetensors_keep_the_config(tmp_path, image):
    config = vit.ModelConfig(
        arch="vit_tiny", size=96, pooling="mean", intensity="plate", cls_reduced_dim=32,
        mean=(0.5,), std=(0.2,),
    )  # fmt: skip
    model = vit.EmbeddingModel(config).eval()
    checkpoints.save_model(model, tmp_path / "m.safetensors", {"licence": "CC0"})
    loaded = unidino.load_model(tmp_path / "m.safetensors")
    assert loaded.config == config
    same(model, loaded, image)


def test_reducer_is_found_in_the_published_format(tmp_path, image):
    model = unidino.load_model("random_vit", cls_reduced_dim=16)
    torch.save(published(model), tmp_path / "r.pth")
    loaded = unidino.load_model(tmp_path / "r.pth")
    assert loaded.config.cls_reduced_dim == 16
    same(model, loaded, image)


def test_timm_state_dict_needs_its_arch(tmp_path, image):
    model = unidino.load_model("random_vit", arch="timm:resnet18")
    torch.save(dict(model.weights()), tmp_path / "r.pth")
    with pytest.raises(ValueError, match="holds no vision transformer .* Give its arch"):
        unidino.load_model(tmp_path / "r.pth")
    same(model, unidino.load_model(tmp_path / "r.pth", arch="timm:resnet18"), image)


def test_transfer_loads_a_local_file(tmp_path, image):
    model = vit.EmbeddingModel(vit.ModelConfig(arch="vit_small", repeat_channels=3)).eval()
    torch.save(dict(model.weights()), tmp_path / "dino.pth")
    loaded = unidino.load_model("transfer", ckpt=str(tmp_path / "dino.pth"))
    assert loaded.name == "transfer"
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    with torch.inference_mode():
        standardised = (image.expand(-1, 3, -1, -1) - mean) / std
        expected = model.backbone(standardised)
        torch.testing.assert_close(loaded(image), expected, atol=1e-6, rtol=1e-6)


class Malicious:
    def __reduce__(self):
        return os.mkdir, ("executed-by-a-checkpoint",)


def test_nothing_is_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"teacher": Malicious()}, tmp_path / "bad.pth")
    with pytest.raises(ValueError, match="bad.pth is refused: it is not a torch file of tensors"):
        unidino.load_model(tmp_path / "bad.pth")
    assert not (tmp_path / "executed-by-a-checkpoint").exists()


def drop(state, key):
    return {k: v for k, v in state.items() if k != key}


def test_strict_loading_names_the_weights(model, tmp_path):
    cases = {
        "missing": (drop(model.weights(), "norm.bias"), r"1 missing \(norm.bias\)"),
        "extra": (model.weights() | {"neck.w": torch.ones(1)}, r"1 unexpected \(neck.w\)"),
        "shape": (
            model.weights() | {"norm.bias": torch.ones(3)},
            r"1 misshapen \(norm.bias \(3,\) instead of \(192,\)\)",
        ),
    }
    for name, (state, message) in cases.items():
        torch.save(dict(state), tmp_path / f"{name}.pth")
        with pytest.raises(ValueError, match=f"{name}.pth does not fit vit_tiny: {message}"):
            unidino.load_model(tmp_path / f"{name}.pth")


def write(path, content):
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda d: d / "no.pth", FileNotFoundError, "no weights at .*no.pth. Give the path"),
        (lambda d: write(d / "t.pth", b"text"), ValueError, "t.pth is (refused|not a readable)"),
        (lambda d: write(d / "t.safetensors", b"text"), ValueError, "not a readable safetensors"),
        (
            lambda d: torch.save([1], d / "l.pth") or d / "l.pth",
            ValueError,
            "l.pth holds a list, not a dict",
        ),
        (
            lambda d: torch.save({"epoch": 3}, d / "e.pth") or d / "e.pth",
            ValueError,
            "e.pth holds no state dict: epoch",
        ),
        (
            lambda d: torch.save({"student": {}}, d / "s.pth") or d / "s.pth",
            ValueError,
            "s.pth holds no 'teacher'; it has student",
        ),
    ],
)  # fmt: skip
def test_wrong_files(make, error, message, tmp_path):
    with pytest.raises(error, match=message):
        unidino.load_model(make(tmp_path))


def test_settings_must_agree_with_the_file(model, tmp_path):
    torch.save(published(model), tmp_path / "x.pth")
    with pytest.raises(ValueError, match="has embed_dim 192, not 384; leave embed_dim out"):
        unidino.load_model(tmp_path / "x.pth", embed_dim=384)


def test_unusual_shape_needs_an_arch(tmp_path):
    model = vit.EmbeddingModel(vit.ModelConfig(arch="vit_tiny", embed_dim=96))
    torch.save(dict(model.weights()), tmp_path / "x.pth")
    with pytest.raises(ValueError, match="width 96 and depth 12, which is none of the known"):
        unidino.load_model(tmp_path / "x.pth")
    assert unidino.load_model(tmp_path / "x.pth", arch="vit_tiny").embedding_dim == 96


# Weights from strangers.


@pytest.fixture(scope="module")
def small():
    """A model whose files are written in milliseconds."""
    return vit.seeded(vit.arch_config("vit_tiny", embed_dim=12, size=32), 0)


def with_header(small, text, path):
    save_file(dict(small.weights()), path, metadata={"unidino": text})
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"wings": 2}, "unknown keys wings"),
        ({"arch": "timm:hf-hub:timm/resnet18"}, "unknown arch 'timm:hf-hub:timm/resnet18'"),
        ({"arch": "timm:hf_hub:timm/resnet18.a1"}, "unknown arch"),
        ({"arch": "timm:local-dir:/etc"}, "unknown arch 'timm:local-dir:/etc'"),
        ({"arch": "timm:resnet18.x/../y"}, "unknown arch"),
        ({"arch": "timm:resnet18.hf-hub:x"}, "unknown arch"),
        ({"arch": "torchvision:../x"}, "unknown arch"),
        ({"arch": "vit_tiny_patch16"}, "arch is 'vit_tiny_patch16'; expected 'vit_tiny'"),
        ({"arch": 3}, "parameter arch takes str, got 3"),
        ({"arch": "timm:resnet10t.nothing", "embed_dim": None}, "nothing"),
        ({"embed_dim": 10**6}, "embed_dim is 1000000; expected 1 to 65536"),
        ({"embed_dim": 65535}, r"misshapen \(.* instead of \(.*65535"),
        ({"embed_dim": "12"}, "parameter embed_dim takes int or None, got '12'"),
        ({"embed_dim": True}, "parameter embed_dim takes int or None, got True"),
        ({"size": 10**9}, "size is 1000000000; expected 1 to 2048"),
        ({"size": 32.5}, "parameter size takes int"),
        ({"size": -32}, "size is -32"),
        ({"patch_size": 0}, "patch_size is 0"),
        ({"in_chans": 0}, "in_chans is 0"),
        ({"in_chans": 64}, "misshapen"),
        ({"repeat_channels": 10**6}, "repeat_channels is 1000000"),
        ({"reg_tokens": -1}, "reg_tokens is -1"),
        ({"cls_reduced_dim": 60000}, "missing"),
        ({"projected_dim": 0}, "projected_dim is 0"),
        ({"pooling": "cls_"}, "pooling 'cls_' is not one of"),
        ({"pooling": ["cls"]}, "parameter pooling takes str"),
        ({"intensity": "none"}, "intensity 'none' is not one of dtype, plate, image"),
        ({"mean": [1, 2]}, r"mean is \(1, 2\); expected 1 or 1 numbers"),
        ({"mean": ["0"]}, "mean is"),
        ({"mean": 0.5}, "parameter mean takes tuple or None"),
        ({"std": [0]}, r"std is \(0,\); expected 1 or 1 numbers above 0"),
        ({"std": [float("nan")]}, "std is"),
    ],
)  # fmt: skip
def test_stored_configs_are_checked_like_arguments(changes, message, small, tmp_path):
    config = dataclasses.asdict(small.config) | changes
    path = with_header(small, json.dumps({"config": config}), tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match=f"w.safetensors .*{message}"):
        unidino.load_model(path)
    content = published(small, model_config=config)
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=f"w.pth .*{message}"):
        unidino.load_model(tmp_path / "w.pth")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "header that is no JSON"),
        ("[" * 10**5, "header that is no JSON"),
        ("[]", "header that is no mapping"),
        ('{"config": []}', "model config that is no mapping"),
        ('{"config": "vit_tiny"}', "model config that is no mapping"),
    ],
)
def test_headers_are_checked(text, message, small, tmp_path):
    with pytest.raises(ValueError, match=f"w.safetensors .*{message}"):
        unidino.load_model(with_header(small, text, tmp_path / "w.safetensors"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: torch.full_like(v, torch.nan), r"not finite \(norm.bias\).*Take an earlier"),
        (lambda v: torch.full_like(v, -torch.inf), "not finite"),
        (lambda v: v.double() + 1e300, "not finite"),
        (lambda v: v.to(torch.complex64), "norm.bias, which is no plain tensor"),
        (lambda v: v.to_sparse(), "no plain tensor"),
        (lambda v: v.to("meta"), "no plain tensor"),
        (lambda v: torch.ones(1).expand(10**6, 10**6), "more than the file has"),
        (lambda v: v.to(torch.int32), r"1 of another type \(norm.bias torch.int32 instead of"),
        (lambda v: v[None], "1 misshapen"),
        (lambda v: "zeros", "holds no state dict"),
        (lambda v: {"a": v}, "holds no state dict"),
    ],
)
def test_weights_are_plain_finite_numbers(change, message, small, tmp_path):
    state = dict(small.weights())
    state["norm.bias"] = change(state["norm.bias"])
    torch.save({"teacher": state, "args": argparse.Namespace(arch="vit_tiny")}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=f"w.pth .*{message}"):
        unidino.load_model(tmp_path / "w.pth")


@pytest.mark.parametrize(
    "content",
    [
        {7: torch.ones(1)},
        {"teacher": 3},
        {"teacher": {}, "args": [1]},
        {"state_dict": torch.ones(3)},
        {"cls_token": torch.ones(1), "pos_embed": torch.ones(1)},
        {"blocks.x.y": torch.ones(1)},
    ],
)
def test_odd_trees_are_refused_by_name(content, tmp_path):
    torch.save(content, tmp_path / "odd.pth")
    with pytest.raises(ValueError, match="odd.pth "):
        unidino.load_model(tmp_path / "odd.pth")


def test_compressed_weights_are_refused(small, tmp_path):
    torch.save({k: torch.zeros_like(v) for k, v in small.weights().items()}, tmp_path / "w.pth")
    with (
        zipfile.ZipFile(tmp_path / "w.pth") as file,
        zipfile.ZipFile(tmp_path / "c.pth", "w", zipfile.ZIP_DEFLATED) as other,
    ):
        for name in file.namelist():
            other.writestr(name, file.read(name))
    with pytest.raises(ValueError, match="c.pth is refused: .*compressed"):
        unidino.load_model(tmp_path / "c.pth")


def test_damaged_bytes_are_refused_by_name(small, tmp_path):
    checkpoints.save_model(small, tmp_path / "w.safetensors")
    torch.save(published(small), tmp_path / "w.pth")
    for name in ("w.safetensors", "w.pth"):
        data = (tmp_path / name).read_bytes()
        for damaged in (b"", data[:5], data[: len(data) // 2], data[:-1], data[9:], b"\xff" * 99):
            (tmp_path / name).write_bytes(damaged)
            with pytest.raises(ValueError, match=name):
                unidino.load_model(tmp_path / name)


def test_transfer_weights_are_checked_alike(small, tmp_path):
    torch.save({"norm.bias": torch.tensor([torch.nan])}, tmp_path / "t.pth")
    with pytest.raises(ValueError, match="t.pth holds weights that are not finite"):
        unidino.load_model("transfer", ckpt=str(tmp_path / "t.pth"))


@pytest.mark.parametrize(
    ("name", "settings", "error", "message"),
    [
        ("unidno", {}, ValueError, "unknown model 'unidno'.*Did you mean 'unidino'"),
        ("dino", {}, ValueError, "model 'dino' needs ckpt"),
        (
            "random_vit",
            {"ckpt": "x.pth"},
            ValueError,
            "ckpt goes with model 'dino', 'microsnoop', 'morphem' or 'transfer', not with 'random",
        ),
        ("transfer", {"arch": "vit_tiny"}, ValueError, "'transfer' has its own arch"),
        ("transfer", {"ckpt": "gone.pth"}, FileNotFoundError, "'transfer' needs the weights"),
        (
            "unidino",
            {},
            FileNotFoundError,
            f"CC BY-NC 4.0.*download weights.*{DEFAULT!r} meanwhile",
        ),
    ],
)
def test_wrong_names(name, settings, error, message, tmp_path, monkeypatch):
    monkeypatch.setenv("UNIDINO_DATA", str(tmp_path))
    with pytest.raises(error, match=message):
        unidino.load_model(name, **settings)
