"""Backbones: the shapes of the published vision transformers, and any of timm or torchvision.

Preprocessing (tile size, intensity scaling, pooling) belongs to the weights and travels with them
as `ModelConfig`.
"""

import math
from dataclasses import asdict, dataclass, fields
from difflib import get_close_matches
from functools import partial

import torch
from torch import nn

from .. import arguments, intensity
from ..choices import POOLINGS
from . import microsnoop, tile_scaling

# Width, depth, heads (the released vision_transformer.py; narrow variants keep the base and large
# depth and heads at width 384).
ARCHITECTURES = {
    "vit_tiny": (192, 12, 3),
    "vit_small": (384, 12, 6),
    "vit_base": (768, 12, 12),
    "vit_xbase": (384, 12, 12),
    "vit_slarge": (384, 24, 16),
    "vit_large": (1024, 24, 16),
}
_AFTER = ("cls_reducer", "projection")
"""What follows the backbone, in this order."""

_LATER = ("tile_scaling", "fixed_size", "pixel_size")
"""Fields of a config that earlier versions did not have: stored only where they are set."""

_RANGES = {
    "embed_dim": (1, 65536),
    "cls_reduced_dim": (1, 65536),
    "projected_dim": (1, 65536),
    "patch_size": (1, 512),
    "size": (1, 2048),
    "in_chans": (1, 64),
    "repeat_channels": (1, 16),
    "reg_tokens": (0, 1024),
    "block": (1, 1024),
}
"""Least and largest values of a config; the weights' own shapes bound the widths further."""


@dataclass(frozen=True)
class ModelConfig:
    """What is needed to rebuild a model and to feed it as it was trained.

    Attributes
    ----------
    arch : str
        A key of `ARCHITECTURES`, ``microsnoop``, ``timm:<name>`` or ``torchvision:<name>``.
    embed_dim : int or None
        Width of a vision transformer where it differs from the architecture's own.
    cls_reduced_dim : int or None
        Width after the reducer (Linear, ReLU, Dropout, Linear); None for no reducer.
    patch_size, size : int
        Pixels; `size` is the tile side that the weights were trained at.
    in_chans : int
        Channels that enter together: 1, or 5 for the multi-channel comparison.
    repeat_channels : int
        How often a channel is repeated for a backbone that expects colour images.
    pooling : {"cls", "mean", "max", "cls_mean", "cls_max", "cls_mean_max"}
        The normalised CLS token (as published), the mean or maximum of the patch tokens, or several
        of them side by side (that many times the features).
    projected_dim : int or None
        Width after a linear projection, fitted once the backbone is trained (`projection`).
    intensity : {"dtype", "plate", "image"}
        Scaling of raw intensities to [0, 1], see `unidino.intensity`.
    reg_tokens : int
        Register tokens of a vision transformer.
    mean, std : tuple of float or None
        Per-channel standardisation of the [0, 1] input that the weights expect.
    pixel_size : float or None
        Of the images that it was trained on, in µm; None where that is not known.
    block : int or None
        The block whose output is read, from 1: a vision transformer's layer, or a stage of one of
        timm's convolutional networks (a resolution). None reads the end of the network.
    tile_scaling : {"none", "moments", "percentiles"}
        What is done to each tile alone before it enters, see `tile_scaling`.
    fixed_size : bool
        Tiles of another size are resized to `size` after that, as the weights' authors do. A
        vision transformer without it takes them as they are, its position embeddings resized.
    """

    arch: str = "vit_small"
    embed_dim: int | None = None
    cls_reduced_dim: int | None = None
    patch_size: int = 16
    size: int = 224
    in_chans: int = 1
    repeat_channels: int = 1
    pooling: str = "cls"
    projected_dim: int | None = None
    intensity: str = "dtype"
    reg_tokens: int = 0
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    block: int | None = None
    tile_scaling: str = "none"
    fixed_size: bool = False

    pixel_size: float | None = None

    def __post_init__(self):
        """Stop on a value of another type or range: a config may come from a stranger's file.

        Raises
        ------
        ValueError, TypeError
            Names the field, its value and what was expected.
        """
        arguments.check_types(vars(self), ModelConfig)
        arguments.check_choice("pooling", self.pooling, POOLINGS)
        arguments.check_choice("intensity", self.intensity, intensity.METHODS)
        arguments.check_choice("tile_scaling", self.tile_scaling, tile_scaling.METHODS)
        for name, (least, most) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise ValueError(f"{name} is {value}; expected {least} to {most}.")
        if self.pixel_size is not None and not 0 < self.pixel_size < math.inf:
            raise ValueError(f"pixel_size is {self.pixel_size}; expected µm, above 0.")
        for name in ("mean", "std"):
            self._check_numbers(name, getattr(self, name))
        if resolve_arch(self.arch) != self.arch:
            raise ValueError(f"arch is {self.arch!r}; expected {resolve_arch(self.arch)!r}.")
        if self.size % self.patch_size and self.arch in ARCHITECTURES:
            raise ValueError(
                f"size {self.size} is not a multiple of the patch size {self.patch_size}; take "
                f"{self.size // self.patch_size * self.patch_size or self.patch_size}."
            )

    def _check_numbers(self, name, values):
        if values is None:
            return
        channels = self.in_chans * self.repeat_channels
        numbers = all(type(v) in (int, float) and math.isfinite(v) for v in values)
        if len(values) not in (1, channels) or not numbers or (name == "std" and min(values) <= 0):
            kind = "numbers above 0" if name == "std" else "numbers"
            raise ValueError(f"{name} is {values}; expected 1 or {channels} {kind}.")

    def as_dict(self):
        """What is stored of a config.

        Fields that came later are left out where they are not set, so that extractions and
        trainings from before them go on.
        """
        unset = [name for name in _LATER if getattr(self, name) == getattr(ModelConfig, name)]
        return {name: value for name, value in asdict(self).items() if name not in unset}

    @classmethod
    def from_dict(cls, content, source):
        """A config from JSON.

        Raises
        ------
        ValueError
            An unknown key, a value of another type or range; names `source`.
        """
        if not isinstance(content, dict):
            raise ValueError(f"{source} holds a model config that is no mapping.")
        known = {field.name for field in fields(cls)}
        unknown = sorted(map(str, set(content) - known))
        if unknown:
            raise ValueError(
                f"{source} holds a model config with unknown keys {', '.join(unknown[:3])}: it was "
                "written by another version; update unidino."
            )
        lists = {key: tuple(value) for key, value in content.items() if isinstance(value, list)}
        try:
            return cls(**{**content, **lists})
        except (ValueError, TypeError) as error:
            raise ValueError(f"{source} holds a model config that is refused: {error}") from None


class EmbeddingModel(nn.Module):
    """A backbone with its pooling and input contract.

    Parameters
    ----------
    config : ModelConfig
    drop_path_rate : float
        Stochastic depth during training, 0 to 1.

    Attributes
    ----------
    embedding_dim : int
        D, the length of an embedding.
    name : str
        Name under which outputs are filed.
    sha256 : str
        Of the weights' file, or of the weights where there is none.
    origin : str
        Where the weights come from, in words, where the name does not say it; else empty.
    licence : str
        That of the weights, where it is known; else empty.
    """

    def __init__(self, config, drop_path_rate=0.0):
        super().__init__()
        self.config = config
        self.name = config.arch
        self.sha256 = ""
        self.origin = ""
        self.licence = ""
        self.backbone, width = _backbone(config, drop_path_rate)
        self.is_vit = config.arch in ARCHITECTURES
        self.poolings = config.pooling.split("_")
        if config.block:
            width = _block_width(self.backbone, config)
        width *= len(self.poolings)
        if config.pooling != "cls" and not hasattr(self.backbone, "forward_features"):
            raise ValueError(
                f"pooling {config.pooling!r} needs patch tokens; {config.arch} has none."
            )
        ends = self.poolings if config.block else self.poolings[:-1]
        if "cls" in ends and not getattr(self.backbone, "num_prefix_tokens", 0):
            raise ValueError(
                f"pooling {config.pooling!r} needs a CLS token; {config.arch} has none"
                f"{' in block ' + str(config.block) if config.block else ''}. Take mean or max."
            )
        if config.cls_reduced_dim:
            self.cls_reducer = nn.Sequential(
                nn.Linear(width, width),
                nn.ReLU(),
                nn.Dropout(),
                nn.Linear(width, config.cls_reduced_dim),
            )
        else:
            self.cls_reducer = nn.Identity()
        width = config.cls_reduced_dim or width
        self.projection = nn.Identity()
        if config.projected_dim:
            self.projection = nn.Linear(width, config.projected_dim)
        self.embedding_dim = config.projected_dim or width
        for name in ("mean", "std"):
            values = getattr(config, name)
            tensor = None if values is None else torch.tensor(values).view(1, -1, 1, 1)
            self.register_buffer(f"input_{name}", tensor, persistent=False)
        if not self.is_vit:
            # Convolutions on a CPU take less than half the time in this layout.
            self.to(memory_format=torch.channels_last)

    def forward(self, x):
        """Embed a batch.

        Parameters
        ----------
        x : torch.Tensor
            (B, in_chans, H, W), float in [0, 1]; H and W multiples of the patch size, for a
            vision transformer that does not resize them.

        Returns
        -------
        torch.Tensor
            (B, D).

        Raises
        ------
        ValueError
            Another shape; integers.
        """
        if x.ndim != 4 or x.shape[1] != self.config.in_chans:
            raise ValueError(
                f"the model takes (B, {self.config.in_chans}, H, W), got {tuple(x.shape)}. Pass "
                "each channel alone: image.unsqueeze(1) turns (C, H, W) into a batch of C."
            )
        if not x.is_floating_point():
            raise ValueError(
                f"the model takes intensities scaled to [0, 1] in floating point, got {x.dtype}; "
                "unidino.intensity scales images."
            )
        side = self.config.patch_size if self.is_vit and not self.config.fixed_size else 1
        if x.shape[2] % side or x.shape[3] % side:
            raise ValueError(
                f"the model takes sides that are multiples of {side} pixels, got "
                f"{x.shape[2]} x {x.shape[3]}: crop or resize the images."
            )
        x = self.prepared(x)
        if self.config.pooling == "cls" and not self.is_vit:
            return self.reduced(self.backbone(x))
        return self.reduced(self.pooled(*self.tokens(x)))

    def embedding_and_grid(self, x):
        """The embedding (B, D), and the patch tokens where they lie (B, W, h, w)."""
        prefix, grid = self.tokens(self.prepared(x))
        return self.reduced(self.pooled(prefix, grid)), grid

    def prepared(self, x):
        """What enters the backbone: tiles scaled and standardised as its weights expect."""
        x = tile_scaling.scaled(x, self.config.tile_scaling)
        if self.config.fixed_size:
            x = tile_scaling.resized(x, self.config.size)
        if self.config.repeat_channels > 1:
            x = x.repeat_interleave(self.config.repeat_channels, dim=1)
        if self.input_mean is not None:
            x = (x - self.input_mean) / self.input_std
        if self.is_vit:
            x = x.to(self.backbone.patch_embed.proj.weight.dtype)
        return x

    def tokens(self, x):
        """What the block that is read makes of prepared input.

        Parameters
        ----------
        x : torch.Tensor
            (B, C, H, W), from `prepared`.

        Returns
        -------
        prefix : torch.Tensor
            (B, P, D): CLS and register tokens; P is 0 for convolutional networks.
        grid : torch.Tensor
            (B, D, h, w): patch tokens, or the map, where they lie.
        """
        if self.config.block:
            return self.tokens_of(x, [self.config.block])[0]
        made = self.backbone.forward_features(x)
        if made.ndim == 4:
            return _without_prefix(made), made
        count = getattr(self.backbone, "num_prefix_tokens", 0)
        prefix, grid = made[:, :count], made[:, count:].mT
        rows = round((grid.shape[2] * x.shape[2] / x.shape[3]) ** 0.5)
        return prefix, grid.unflatten(2, (rows, -1))

    def tokens_of(self, x, blocks):
        """What several blocks make of prepared input: `tokens` of each, in rising order."""
        options = {"norm": True, "stop_early": True, "intermediates_only": True}
        if hasattr(self.backbone, "num_prefix_tokens"):
            options["return_prefix_tokens"] = True
        made = self.backbone.forward_intermediates(x, [block - 1 for block in blocks], **options)
        if "return_prefix_tokens" in options:
            return [(prefix, grid) for grid, prefix in made]
        return [(_without_prefix(grid), grid) for grid in made]

    def pooled(self, prefix, grid):
        """The pooling of the config over `tokens`: (B, poolings x D)."""
        parts = {
            "cls": lambda: prefix[:, 0],
            "mean": lambda: grid.mean((2, 3), dtype=torch.float32),
            "max": lambda: grid.amax((2, 3)),
        }
        # In float32, too, where the backbone holds its weights in half precision.
        return torch.cat([parts[name]() for name in self.poolings], 1).float()

    def reduced(self, x):
        """Reducer and projection, where there are any: the embedding (B, D)."""
        x = self.cls_reducer(x)
        # It takes means out: small differences of large numbers, whatever the precision before.
        with torch.autocast(x.device.type, enabled=False):
            return self.projection(x.float()) if self.config.projected_dim else x

    def weights(self):
        """Backbone and reducer weights under the published names, as a plain state dict.

        Those of the projection, where there is one, begin with ``projection.``.
        """
        state = dict(self.backbone.state_dict())
        for name in _AFTER:
            state |= {f"{name}.{k}": v for k, v in getattr(self, name).state_dict().items()}
        return state

    def check_weights(self, state, source):
        """Stop on weights that do not fit.

        Raises
        ------
        ValueError
            Missing, unexpected or differently shaped weights; names `source` and the first few.
        """
        problems = misfits(self.weights(), state)
        if problems:
            raise ValueError(
                f"{source} does not fit {self.config.arch}: {'; '.join(problems)}. Give the arch, "
                "embed_dim and cls_reduced_dim that the weights were trained with."
            )

    def load_weights(self, state, source):
        """Load `weights` strictly: see `check_weights`."""
        self.check_weights(state, source)
        parts = {name: {} for name in ("backbone", *_AFTER)}
        for key, value in state.items():
            name, _, rest = key.partition(".")
            part, key = (name, rest) if name in _AFTER else ("backbone", key)
            parts[part][key] = value
        for name, part in parts.items():
            getattr(self, name).load_state_dict(part)


def misfits(wanted, state):
    """How a state dict differs from the one that is wanted.

    Parameters
    ----------
    wanted, state : dict of str to torch.Tensor
        Names, shapes and kinds of numbers are compared, no values.

    Returns
    -------
    list of str
        Each names the first few weights; empty where all fit.
    """
    common = sorted(wanted.keys() & state.keys())
    shapes = [
        f"{k} {tuple(state[k].shape)} instead of {tuple(wanted[k].shape)}"
        for k in common
        if wanted[k].shape != state[k].shape
    ]
    types = [
        f"{k} {state[k].dtype} instead of {wanted[k].dtype}"
        for k in common
        if wanted[k].is_floating_point() != state[k].is_floating_point()
    ]
    found = {
        "missing": sorted(wanted.keys() - state.keys()),
        "unexpected": sorted(state.keys() - wanted.keys()),
        "misshapen": shapes,
        "of another type": types,
    }
    return [
        f"{len(names)} {what} ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"
        for what, names in found.items()
        if names
    ]


def _backbone(config, drop_path_rate):
    """(module from images to features, width) of a config, with random weights."""
    import timm

    channels = config.in_chans * config.repeat_channels
    if config.arch in ARCHITECTURES:
        width, depth, heads = ARCHITECTURES[config.arch]
        width = config.embed_dim or width
        if width % heads:
            raise ValueError(
                f"embed_dim {width} is not a multiple of {config.arch}'s {heads} heads."
            )
        backbone = timm.models.VisionTransformer(
            img_size=config.size,
            patch_size=config.patch_size,
            in_chans=channels,
            num_classes=0,
            embed_dim=width,
            depth=depth,
            num_heads=heads,
            reg_tokens=config.reg_tokens,
            drop_path_rate=drop_path_rate,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            dynamic_img_size=True,
        )
        return backbone, width
    if config.embed_dim:
        raise ValueError(
            f"embed_dim applies to {', '.join(ARCHITECTURES)}; {config.arch} has its own."
        )
    if config.arch == microsnoop.ARCH:
        return microsnoop.Encoder(channels), microsnoop.WIDTHS[-1]
    library, _, name = config.arch.partition(":")
    if library == "timm":
        settings = {"num_classes": 0, "in_chans": channels, "drop_path_rate": drop_path_rate}
        try:
            # Transformers that can then take views and tiles of any size.
            backbone = timm.create_model(name, dynamic_img_size=True, **settings)
        except TypeError:
            backbone = timm.create_model(name, **settings)
    else:
        backbone = _torchvision(name, channels)
    with torch.no_grad():
        was_training = backbone.training
        width = backbone.eval()(torch.zeros(1, channels, config.size, config.size)).shape[-1]
        backbone.train(was_training)
    return backbone, width


def _without_prefix(grid):
    return grid.new_zeros(len(grid), 0, grid.shape[1])


def block_count(backbone):
    """Blocks that a backbone can be read after; 0 where it only has an end."""
    if not hasattr(backbone, "forward_intermediates"):
        return 0
    return len(backbone.feature_info)


def _block_width(backbone, config):
    """Channels of a block's output.

    Raises
    ------
    ValueError
        There is no such block.
    """
    count = block_count(backbone)
    if not count:
        raise ValueError(f"{config.arch} has no blocks that can be read; leave block out.")
    if config.block > count:
        raise ValueError(f"block is {config.block}; {config.arch} has the blocks 1 to {count}.")
    return backbone.feature_info[config.block - 1]["num_chs"]


def _torchvision(name, channels):
    """A torchvision classifier without its classifying layer."""
    import torchvision

    if channels != 3:
        raise ValueError(
            f"torchvision:{name} takes 3 channels, got {channels}; set repeat_channels so that "
            "in_chans times repeat_channels is 3."
        )
    backbone = torchvision.models.get_model(name, weights=None)
    head = next(name for name in ("fc", "classifier", "heads", "head") if hasattr(backbone, name))
    setattr(backbone, head, nn.Identity())
    return backbone


def resolve_arch(arch):
    """The canonical name of an architecture.

    ``vit_small_patch16`` and ``small`` mean vit_small; bare torchvision names are found.

    Raises
    ------
    ValueError
        Unknown; suggests the nearest names.
    """
    import timm
    import torchvision

    name = str(arch)
    if name == microsnoop.ARCH:
        return name
    short = name.split("_patch")[0]
    for candidate in (short, f"vit_{short}"):
        if candidate in ARCHITECTURES:
            return candidate
    library, _, rest = name.partition(":")
    known = {
        "timm": lambda: timm.list_models(),
        "torchvision": lambda: torchvision.models.list_models(torchvision.models),
    }
    stem, _, tag = rest.partition(".")
    if library in known and stem in known[library]() and (not tag or tag.isidentifier()):
        return name
    if name in known["torchvision"]():
        return f"torchvision:{name}"
    choices = [
        *ARCHITECTURES,
        microsnoop.ARCH,
        *(f"{lib}:{n}" for lib, names in known.items() for n in names()),
    ]
    near = get_close_matches(name, choices, n=3, cutoff=0.4)
    hint = f" Nearest: {', '.join(near)}." if near else ""
    raise ValueError(
        f"unknown arch {name!r}. It is one of {', '.join(ARCHITECTURES)}, {microsnoop.ARCH}, "
        f"timm:<name> or torchvision:<name>.{hint}"
    )


def arch_config(arch, **settings):
    """The `ModelConfig` of an architecture's name, colour backbones fed the repeated channel."""
    arch = resolve_arch(arch)
    if arch.startswith("torchvision:"):
        settings.setdefault("repeat_channels", 3)
    return ModelConfig(arch=arch, **settings)


def seeded(config, seed):
    """A model with random weights that follow from a seed, in eval mode.

    Parameters
    ----------
    config : ModelConfig
    seed : int
        The global generator of torch stays as it is.

    Returns
    -------
    EmbeddingModel
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return EmbeddingModel(config).eval()
