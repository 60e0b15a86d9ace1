"""Backbones against a plain twin, and the messages of unknown or misfitting settings."""

from dataclasses import replace

import pytest
import torch
from torch import nn

import unidino
from unidino.models import vit


def plain_vit(state, x, heads, patch):
    """A vision transformer's CLS embedding from its weights, written out from the formulas."""
    tokens = nn.functional.conv2d(
        x, state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], stride=patch
    )
    tokens = tokens.flatten(2).mT
    batch, _, width = tokens.shape
    tokens = torch.cat([state["cls_token"].expand(batch, -1, -1), tokens], 1) + state["pos_embed"]

    def norm(t, name):
        mean = t.mean(-1, keepdim=True)
        variance = ((t - mean) ** 2).mean(-1, keepdim=True)
        scaled = (t - mean) / (variance + 1e-6).sqrt()
        return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]

    def linear(t, name):
        return t @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    depth = len({key.split(".")[1] for key in state if key.startswith("blocks.")})
    for i in range(depth):
        block = f"blocks.{i}"
        qkv = linear(norm(tokens, f"{block}.norm1"), f"{block}.attn.qkv")
        q, k, v = qkv.view(batch, -1, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
        attention = (q @ k.mT / (width // heads) ** 0.5).softmax(-1)
        mixed = (attention @ v).transpose(1, 2).reshape(batch, -1, width)
        tokens = tokens + linear(mixed, f"{block}.attn.proj")
        hidden = linear(norm(tokens, f"{block}.norm2"), f"{block}.mlp.fc1")
        hidden = hidden * 0.5 * (1 + torch.erf(hidden / 2**0.5))
        tokens = tokens + linear(hidden, f"{block}.mlp.fc2")
    return norm(tokens, "norm")


@pytest.mark.parametrize("arch", ["vit_tiny", "vit_xbase"])
def test_embedding_equals_the_formulas(arch):
    model = unidino.load_model("random_vit", arch=arch, seed=3)
    x = torch.rand(2, 1, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = plain_vit(model.weights(), x, vit.ARCHITECTURES[arch][2], 16)[:, 0]
        torch.testing.assert_close(model(x), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("pooling", "reduce"), [("mean", torch.mean), ("max", torch.amax)])
def test_pooling_of_patch_tokens(pooling, reduce):
    model = vit.EmbeddingModel(vit.ModelConfig(arch="vit_tiny", size=64, pooling=pooling)).eval()
    x = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        tokens = plain_vit(model.weights(), x, 3, 16)
        torch.testing.assert_close(model(x), reduce(tokens[:, 1:], 1), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("arch", "settings", "width"),
    [
        ("vit_tiny", {}, 192),
        ("vit_small_patch16", {}, 384),
        ("small", {"cls_reduced_dim": 64}, 64),
        ("vit_base", {"embed_dim": 384}, 384),
        ("vit_slarge", {}, 384),
        ("timm:resnet18", {}, 512),
        ("timm:vit_tiny_patch16_224", {}, 192),
        ("resnet18", {}, 512),
        ("torchvision:mobilenet_v3_small", {}, 576),
    ],
)
def test_architectures_embed_single_channels(arch, settings, width):
    model = unidino.load_model("random_vit", arch=arch, **settings)
    assert not model.training
    with torch.inference_mode():
        assert model(torch.rand(2, 1, 224, 224)).shape == (2, width)
    assert model.embedding_dim == width


def test_the_large_architecture_without_its_weights():
    """Shapes alone: to draw 300 million random numbers takes longer than all others together."""
    with torch.device("meta"):
        model = vit.EmbeddingModel(vit.arch_config("vit_large"))
    assert model.embedding_dim == 1024
    assert len(model.backbone.blocks) == 24 and model.backbone.blocks[0].attn.num_heads == 16
    assert model.weights()["pos_embed"].shape == (1, 1 + 14 * 14, 1024)


@pytest.mark.parametrize("side", [96, 112, 256])
def test_other_tile_sizes_interpolate_positions(side):
    model = unidino.load_model("random_vit")
    with torch.inference_mode():
        assert model(torch.rand(2, 1, side, side)).isfinite().all()


def test_random_vit_is_seeded():
    first, again, other = (unidino.load_model("random_vit", seed=s) for s in (0, 0, 1))
    assert first.sha256 == again.sha256 != other.sha256


def test_random_vit_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    unidino.load_model("random_vit")
    assert torch.rand(1) == expected


def test_standardised_colour_input():
    config = vit.ModelConfig(arch="vit_tiny", repeat_channels=3, mean=(0.5,) * 3, std=(0.25,) * 3)
    model = vit.EmbeddingModel(config).eval()
    x = torch.rand(1, 1, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = plain_vit(model.weights(), (x.expand(-1, 3, -1, -1) - 0.5) / 0.25, 3, 16)[:, 0]
        torch.testing.assert_close(model(x), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"arch": "vit_smal"}, r"unknown arch 'vit_smal'.*Nearest: vit_small"),
        ({"arch": "timm:resnet18", "embed_dim": 64}, "embed_dim applies to vit_tiny"),
        (
            {"arch": "vit_small", "embed_dim": 100},
            "embed_dim 100 is not a multiple of vit_small's 6",
        ),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        unidino.load_model("random_vit", **settings)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"pooling": "avg"}, "pooling 'avg' is not one of cls, mean, max"),
        (
            {"arch": "vit_tiny", "size": 100},
            "size 100 is not a multiple of the patch size 16; take 96",
        ),
    ],
)
def test_wrong_config_is_named(config, message):
    with pytest.raises(ValueError, match=message):
        vit.ModelConfig(**config)


@pytest.mark.parametrize(("pooling", "second"), [("cls_mean", "mean"), ("cls_max", "max")])
def test_poolings_side_by_side(pooling, second):
    parts = {}
    for name in ("cls", second, pooling):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            config = vit.ModelConfig(arch="vit_tiny", size=32, pooling=name, cls_reduced_dim=None)
            model = vit.EmbeddingModel(config).eval()
        parts[name] = model(torch.ones(2, 1, 32, 32))
        assert model.embedding_dim == parts[name].shape[1]
    torch.testing.assert_close(parts[pooling], torch.cat([parts["cls"], parts[second]], 1))


def test_pooling_needs_tokens():
    with pytest.raises(ValueError, match="needs patch tokens; torchvision:resnet18 has none"):
        vit.EmbeddingModel(vit.arch_config("resnet18", pooling="mean"))
    with pytest.raises(ValueError, match="needs a CLS token; timm:resnet10t has none"):
        vit.EmbeddingModel(vit.arch_config("timm:resnet10t", pooling="cls_max"))


def test_torchvision_takes_three_channels():
    with pytest.raises(ValueError, match="torchvision:resnet18 takes 3 channels, got 1"):
        vit.EmbeddingModel(vit.arch_config("resnet18", repeat_channels=1))


@pytest.mark.parametrize("shape", [(1, 3, 224, 224), (1, 224, 224)])
def test_wrong_input_shape_is_named(shape):
    with pytest.raises(ValueError, match=r"takes \(B, 1, H, W\), got \(1, (3, )?224, 224\)"):
        unidino.load_model("random_vit")(torch.rand(*shape))


def test_wrong_sides_and_integers_are_named():
    model = unidino.load_model("random_vit")
    with pytest.raises(ValueError, match="multiples of 16 pixels, got 100 x 96: crop or resize"):
        model(torch.rand(1, 1, 100, 96))
    with pytest.raises(ValueError, match="in floating point, got torch.uint8; unidino.intensity"):
        model(torch.zeros(1, 1, 96, 96, dtype=torch.uint8))


def test_blocks_are_read_where_they_end():
    model = vit.seeded(vit.ModelConfig(arch="vit_tiny", embed_dim=24, size=32, patch_size=8), 0)
    x = torch.rand(2, 1, 32, 48, generator=torch.Generator().manual_seed(0))
    for block, pooling in ((12, "cls"), (5, "cls_mean"), (1, "max")):
        config = replace(model.config, block=block, pooling=pooling)
        read = vit.EmbeddingModel(config).eval()
        read.load_weights(model.weights(), "the test")
        with torch.inference_mode():
            tokens = model.backbone._pos_embed(model.backbone.patch_embed(x))
            for layer in model.backbone.blocks[:block]:
                tokens = layer(tokens)
            tokens = model.backbone.norm(tokens)
            parts = {
                "cls": tokens[:, 0],
                "mean": tokens[:, 1:].mean(1),
                "max": tokens[:, 1:].amax(1),
            }
            wanted = torch.cat([parts[name] for name in pooling.split("_")], 1)
            torch.testing.assert_close(read(x), wanted, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        vit.EmbeddingModel(replace(model.config, block=12)).embedding_dim, model.embedding_dim
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"arch": "vit_tiny", "block": 13}, "block is 13; vit_tiny has the blocks 1 to 12"),
        ({"arch": "vit_tiny", "block": 0}, "block is 0; expected 1 to 1024"),
        (
            {"arch": "torchvision:resnet18", "repeat_channels": 3, "block": 1, "pooling": "mean"},
            "torchvision:resnet18 has no blocks that can be read",
        ),
        (
            {"arch": "timm:resnet10t", "repeat_channels": 3, "block": 2},
            "needs a CLS token; timm:resnet10t has none in block 2. Take mean or max",
        ),
    ],
)
def test_blocks_that_are_not_there(settings, message):
    with pytest.raises(ValueError, match=message):
        vit.EmbeddingModel(vit.ModelConfig(**settings))
