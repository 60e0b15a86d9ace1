"""Networks that others published: their files load strictly, and compute what their code does.

The keys and shapes in ``published/`` are those of the code that is named there; the forward passes
are written again here, from the names of the weights alone.
"""

import argparse
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

import unidino
from unidino import embedding, tables
from unidino.models import checkpoints, microsnoop, tile_scaling, vit

TABLES = Path(__file__).parent / "published"


def shapes(name):
    return {k: tuple(v) for k, v in json.loads((TABLES / f"{name}.json").read_text()).items()}


def random_weights(name):
    """Weights under the published names that keep activations of about 1."""
    generator = torch.Generator().manual_seed(sum(map(ord, name)))
    state = {}
    for key, shape in shapes(name).items():
        if key.endswith("num_batches_tracked"):
            state[key] = torch.tensor(7)
        elif key.endswith("running_var"):
            state[key] = 0.5 + torch.rand(shape, generator=generator)
        else:
            fan = max(1, int(np.prod(shape[1:])))
            state[key] = torch.randn(shape, generator=generator) / fan**0.5
    return state


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("published")


@pytest.fixture(scope="module")
def of_microsnoop():
    return random_weights("microsnoop")


@pytest.fixture(scope="module")
def snoop_file(folder, of_microsnoop):
    """As training on several GPUs saved it."""
    path = folder / "cnn_epoch-999.pth"
    model = {f"module.{name}": value for name, value in of_microsnoop.items()}
    args = argparse.Namespace(embed_dim=256, in_chans=1)
    torch.save(
        {"model": model, "optimizer": {"state": {}}, "checkpoint_epoch": 999, "args": args}, path
    )
    return path


@pytest.fixture(scope="module")
def of_morphem():
    return random_weights("morphem")


@pytest.fixture(scope="module")
def morphem_file(folder, of_morphem):
    path = folder / "model.safetensors"
    save_file(of_morphem, path)
    return path


@pytest.fixture(scope="module")
def raw():
    """Two raw images of 16 bits, (2, 64, 96)."""
    return np.random.default_rng(0).gamma(2, 400, (2, 64, 96)).astype(np.uint16)


def as_input(raw):
    return torch.tensor(raw.astype(np.float32) / 65535)[:, None]


# The networks, again.


def snoop_twin(state, raw):
    """Embeddings of raw images (N, H, W), from the published names."""
    spread = np.percentile(raw.astype(np.float32), (1, 99), axis=(1, 2))[..., None, None]
    x = torch.tensor((raw - spread[0]) / (spread[1] - spread[0])).float()[:, None]

    def norm(x, name):
        mean, var, weight, bias = (
            state[f"{name}.{part}"][:, None, None]
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) * weight / (var + 1e-5) ** 0.5 + bias

    def conv(x, name):
        kernel = state[f"{name}.weight"]
        return F.conv2d(x, kernel, state[f"{name}.bias"], padding=kernel.shape[-1] // 2)

    for stage in range(4):
        name = f"encoder.downsample.down.res_down_{stage}"
        if stage:
            height, width = x.shape[2] // 2, x.shape[3] // 2
            x = x.reshape(len(x), -1, height, 2, width, 2).amax((3, 5))
        units = [f"{name}.conv.conv_{t}" for t in range(4)]
        once = conv(norm(x, f"{name}.proj.0"), f"{name}.proj.1")
        for unit in units[:2]:
            x = conv(norm(x, f"{unit}.0").clamp(min=0), f"{unit}.2")
        x = twice = once + x
        for unit in units[2:]:
            x = conv(norm(x, f"{unit}.0").clamp(min=0), f"{unit}.2")
        x = twice + x
    x = x.mean((2, 3))
    return x / (x**2).sum(1, keepdim=True) ** 0.5


def standardised(raw):
    """Images of 8 bits to mean 0 and variance 1, in float64."""
    x = raw.astype(np.float64) / 257
    return (x - x.mean((1, 2), keepdims=True)) / np.sqrt(x.var((1, 2), keepdims=True) + 1e-7)


def enlarged(images, size):
    """Bilinear, pixel centres at halves, one axis after the other."""

    def line(values):
        places = (np.arange(size) + 0.5) * len(values) / size - 0.5
        return np.interp(places, np.arange(len(values)), values)

    return np.apply_along_axis(line, 2, np.apply_along_axis(line, 1, images))


def morphem_twin(state, images):
    """Embeddings of standardised images (N, 224, 224), token by token, from the published names."""
    w = {name: value.double().numpy() for name, value in state.items()}

    def norm(x, name):
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
        return x * w[f"{name}.weight"] + w[f"{name}.bias"]

    def linear(x, name):
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    made = []
    for image in images:
        patches = image.reshape(14, 16, 14, 16).swapaxes(1, 2).reshape(196, 256)
        x = patches @ w["patch_embed.proj.weight"].reshape(384, 256).T + w["patch_embed.proj.bias"]
        x = np.concatenate([w["cls_token"][0], x]) + w["pos_embed"][0]
        for n in range(12):
            name = f"blocks.{n}"
            q, k, v = np.split(linear(norm(x, f"{name}.norm1"), f"{name}.attn.qkv"), 3, axis=1)
            heads = []
            for h in range(6):
                part = slice(64 * h, 64 * (h + 1))
                weights = np.exp(q[:, part] @ k[:, part].T / 8)
                heads.append(weights / weights.sum(1, keepdims=True) @ v[:, part])
            x = x + linear(np.concatenate(heads, 1), f"{name}.attn.proj")
            y = torch.tensor(linear(norm(x, f"{name}.norm2"), f"{name}.mlp.fc1"))
            x = x + linear((y * torch.special.ndtr(y)).numpy(), f"{name}.mlp.fc2")
        made.append(norm(x[0], "norm"))
    return np.stack(made)


def test_every_weight_of_microsnoop_has_its_name():
    names = microsnoop.encoder_names()
    own = microsnoop.Encoder().state_dict()
    assert len(set(names.values())) == len(names)
    made = {names[name]: tuple(value.shape) for name, value in own.items()}
    assert made | microsnoop.decoder_shapes() == shapes("microsnoop")


def test_microsnoop_computes_what_the_published_network_does(snoop_file, of_microsnoop, raw):
    model = unidino.load_model("microsnoop", ckpt=str(snoop_file))
    with torch.inference_mode():
        made = model(as_input(raw))
    torch.testing.assert_close(made, snoop_twin(of_microsnoop, raw), atol=1e-5, rtol=1e-4)
    assert (model.name, model.embedding_dim, made.shape) == ("microsnoop", 256, (2, 256))
    assert model.licence.startswith("BSD 3-Clause")


@pytest.mark.parametrize("wrap", [lambda s: {"model": s}, lambda s: s])
def test_microsnoop_without_distributed_training(wrap, snoop_file, of_microsnoop, raw, tmp_path):
    torch.save(wrap(of_microsnoop), tmp_path / "plain.pth")
    plain = unidino.load_model("microsnoop", ckpt=tmp_path / "plain.pth").weights()
    wrapped = unidino.load_model("microsnoop", ckpt=snoop_file).weights()
    assert all(torch.equal(plain[name], value) for name, value in wrapped.items())


@pytest.mark.parametrize("name", ["microsnoop", "morphem"])
def test_what_is_saved_of_them_loads_by_path(name, snoop_file, morphem_file, raw, tmp_path):
    model = unidino.load_model(name, ckpt={"microsnoop": snoop_file}.get(name, morphem_file))
    checkpoints.save_model(model, tmp_path / "own.safetensors")
    own = unidino.load_model(tmp_path / "own.safetensors")
    assert (own.config, own.licence) == (model.config, model.licence)
    with torch.inference_mode():
        x = as_input(raw[:1])
        torch.testing.assert_close(own(x), model(x), atol=0, rtol=0)


def test_microsnoops_map_can_be_pooled_otherwise(snoop_file, raw):
    x = as_input(raw)
    with torch.inference_mode():
        end = unidino.load_model("microsnoop", ckpt=snoop_file)(x)
        mean = unidino.load_model("microsnoop", ckpt=snoop_file, pooling="mean")(x)
    torch.testing.assert_close(F.normalize(mean, dim=1), end)
    with pytest.raises(ValueError, match="microsnoop has no blocks that can be read"):
        unidino.load_model("microsnoop", ckpt=snoop_file, block=2)


def test_morphem_computes_what_the_published_network_does(morphem_file, of_morphem):
    raw = np.random.default_rng(1).gamma(2, 400, (1, 224, 224)).astype(np.uint16)
    model = unidino.load_model("morphem", ckpt=str(morphem_file))
    with torch.inference_mode():
        made = model(as_input(raw))
    wanted = morphem_twin(of_morphem, standardised(raw))
    np.testing.assert_allclose(made.numpy(), wanted, atol=2e-5)
    assert (model.name, model.embedding_dim, model.licence) == ("morphem", 384, "MIT")


def test_morphem_sees_every_tile_at_the_size_it_was_trained_at(morphem_file, of_morphem, raw):
    model = unidino.load_model("morphem", ckpt=morphem_file)
    small = raw[:1, :50, :50]
    with torch.inference_mode():
        made = model(as_input(small))
    wanted = morphem_twin(of_morphem, enlarged(standardised(small), 224))
    np.testing.assert_allclose(made.numpy(), wanted, atol=2e-5)


def test_a_training_of_morphem_gives_its_student(morphem_file, of_morphem, tmp_path):
    head = {"head.mlp.0.weight": torch.ones(2, 384), "head.last_layer.weight_g": torch.ones(2, 1)}
    backbone = {f"backbone.{name}": value for name, value in of_morphem.items()}
    content = {
        "student": {f"module.{name}": value for name, value in (backbone | head).items()},
        "teacher": {name: value + 1 for name, value in (backbone | head).items()},
        "args": argparse.Namespace(arch="vit_small"),
    }
    torch.save(content, tmp_path / "checkpoint.pth")
    found = unidino.load_model("morphem", ckpt=tmp_path / "checkpoint.pth").weights()
    assert found.keys() == of_morphem.keys()
    assert all(torch.equal(found[name], value) for name, value in of_morphem.items())


# Scaling of tiles.


def test_moments_do_not_depend_on_the_unit(raw):
    x = as_input(raw)
    made = tile_scaling.scaled(x, "moments")
    np.testing.assert_allclose(made[:, 0].numpy(), standardised(raw), atol=1e-5)
    torch.testing.assert_close(tile_scaling.scaled(20 * x + 0.1, "moments"), made)
    assert not tile_scaling.scaled(torch.full((1, 1, 8, 8), 0.3), "moments").any()


def test_each_channel_of_each_tile_is_scaled_alone():
    x = torch.rand(3, 2, 16, 24, generator=torch.Generator().manual_seed(3))
    for method in ("moments", "percentiles"):
        made = tile_scaling.scaled(x, method)
        alone = [[tile_scaling.scaled(c[None, None], method)[0, 0] for c in tile] for tile in x]
        torch.testing.assert_close(made, torch.stack([torch.stack(tile) for tile in alone]))
    assert tile_scaling.scaled(x, "none") is x


def test_percentiles_are_at_0_and_1(raw):
    made = tile_scaling.scaled(as_input(raw), "percentiles")[:, 0].numpy()
    low, high = np.percentile(made, (1, 99), axis=(1, 2))
    np.testing.assert_allclose([low, high], [[0, 0], [1, 1]], atol=1e-5)
    assert made.min() < 0 and made.max() > 1


def test_a_tile_of_background_takes_its_extremes():
    tile = torch.full((1, 1, 40, 40), 0.25)
    assert not tile_scaling.scaled(tile, "percentiles").any()
    tile[0, 0, 0, :3] = torch.tensor([0.3, 0.5, 0.75])
    made = tile_scaling.scaled(tile, "percentiles")
    torch.testing.assert_close(made[0, 0, 0, :4], torch.tensor([0.1, 0.5, 1.0, 0.0]))


def test_a_config_of_before_is_stored_as_before():
    plain = vit.ModelConfig()
    assert set(plain.as_dict()) == {
        "arch", "embed_dim", "cls_reduced_dim", "patch_size", "size", "in_chans",
        "repeat_channels", "pooling", "projected_dim", "intensity", "reg_tokens", "mean", "std",
        "block",
    }  # fmt: skip
    changed = vit.ModelConfig(tile_scaling="moments", fixed_size=True)
    for config in (plain, changed):
        assert vit.ModelConfig.from_dict(config.as_dict(), "x") == config
    with pytest.raises(ValueError, match="tile_scaling 'max' is not one of none, moments, perc"):
        vit.ModelConfig(tile_scaling="max")


# In an extraction.


@pytest.fixture(scope="module")
def plate(tmp_path_factory):
    """Four wells of two channels; the images are those of their rows."""
    where = tmp_path_factory.mktemp("plate")
    rng = np.random.default_rng(4)
    rows, images = [], []
    for n in range(4):
        image = rng.gamma(2, 300, (2, 48, 48)).astype(np.uint16)
        images.append(image)
        row = {"plate": "p", "well": f"A{n + 1:02d}"}
        for name, channel in zip(("DNA", "Actin"), image, strict=True):
            row[name] = f"{n}_{name}.tif"
            tifffile.imwrite(where / row[name], channel)
        rows.append(row)
    pd.DataFrame(rows).to_csv(where / "plate.csv", index=False)
    return where / "plate.csv", np.stack(images)


def extracted(csv, outdir, **options):
    return unidino.extract(
        str(csv),
        outdir=str(outdir),
        norm_method="no_post_proc",
        min_foreground=0.0,
        num_workers=0,
        device="cpu",
        precision="fp32",
        **options,
    )


def test_extract_embeds_each_channel_alone(plate, snoop_file, of_microsnoop, tmp_path):
    csv, images = plate
    made = extracted(csv, tmp_path, model="microsnoop", ckpt=str(snoop_file), size=48)
    features = tables.feature_columns(made.profiles)
    assert len(features) == 2 * 256 and features[256] == "emb_Actin_0000"
    wanted = np.hstack([snoop_twin(of_microsnoop, images[:, c]).numpy() for c in range(2)])
    np.testing.assert_allclose(made.profiles[features].to_numpy(), wanted, atol=1e-5)
    assert made.provenance["model_licence"].startswith("BSD 3-Clause")
    assert made.provenance["settings"]["model_config"]["tile_scaling"] == "percentiles"
    assert made.sites_path.parent.parent.name == "microsnoop"


def test_half_precision_stays_close(snoop_file, morphem_file, raw):
    for name, file, size in (("microsnoop", snoop_file, 64), ("morphem", morphem_file, 96)):
        model = unidino.load_model(name, ckpt=file)
        tiles = as_input(raw)[..., :size]
        device = torch.device("cpu")
        full = embedding.Embedder(model, None, device).forward(tiles)
        half = embedding.Embedder(model, None, device, "bf16").forward(tiles)
        assert half.dtype == torch.float32
        assert F.cosine_similarity(full, half).min() > 0.995, name


# What is refused.


@pytest.mark.parametrize("name", ["microsnoop", "morphem"])
def test_no_file(name, tmp_path):
    with pytest.raises(ValueError, match=f"model '{name}' needs ckpt, the path .*commit"):
        unidino.load_model(name)
    with pytest.raises(FileNotFoundError, match=f"'{name}' needs its weights .*no file .*gone"):
        unidino.load_model(name, ckpt=tmp_path / "gone.pth")
    with pytest.raises(ValueError, match=f"'{name}' has its own embed_dim; leave them out"):
        unidino.load_model(name, ckpt=tmp_path / "gone.pth", embed_dim=3)


FIRST = {
    "microsnoop": "decoder.upsample.up.res_up_3.conv.conv_1.full.weight",
    "morphem": "blocks.11.mlp.fc1.bias",
}


@pytest.mark.parametrize("name", list(FIRST))
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s, k: s.pop(k), r"1 missing \({key}\)"),
        (lambda s, k: s.update({"neck.w": torch.ones(1)}), r"1 unexpected \(neck.w\)"),
        (lambda s, k: s.update({k: s[k][:1].clone()}), r"1 misshapen \({key} \(1"),
        (lambda s, k: s.update({k: s[k].long()}), r"1 of another type \({key} torch.int64"),
        (lambda s, k: s.update({k: s[k] * torch.nan}), r"not finite \({key}\)"),
    ],
)
def test_another_weight_is_refused(name, change, message, tmp_path):
    state, key = random_weights(name), FIRST[name]
    change(state, key)
    torch.save({"model": state}, tmp_path / "other.pth")
    message = f"other.pth .*{message.format(key=key.replace('.', '[.]'))}"
    with pytest.raises(ValueError, match=message):
        unidino.load_model(name, ckpt=tmp_path / "other.pth")


def test_the_file_of_another_model_is_refused(snoop_file, morphem_file):
    message = "cnn_epoch-999.pth does not hold the weights of morphem: 150 missing .*; 311 unexp"
    with pytest.raises(ValueError, match=message):
        unidino.load_model("morphem", ckpt=snoop_file)
    message = "model.safetensors does not hold the weights of microsnoop: 311 missing .*; 150 unexp"
    with pytest.raises(ValueError, match=message):
        unidino.load_model("microsnoop", ckpt=morphem_file)


class Malicious:
    def __reduce__(self):
        return os.mkdir, ("executed-by-a-checkpoint",)


@pytest.mark.parametrize("name", ["microsnoop", "morphem"])
def test_nothing_is_executed(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"model": random_weights(name), "args": Malicious()}, tmp_path / "bad.pth")
    with pytest.raises(ValueError, match="bad.pth is refused: it is not a torch file of tensors"):
        unidino.load_model(name, ckpt=tmp_path / "bad.pth")
    assert not (tmp_path / "executed-by-a-checkpoint").exists()
