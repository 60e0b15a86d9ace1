"""Single-channel networks that other groups published, from their own files, strictly.

Nothing in a file is executed, and a weight that is missing, too many or of another shape is an
error.
"""

from pathlib import Path

import torch

from . import microsnoop
from .catalogue import MODELS
from .checkpoints import check_numbers, named_model, naming, read_pth, read_weights
from .vit import EmbeddingModel, ModelConfig, misfits

_WRAPPER = "module."
_EVALUATED = "student"
"""The network of a training checkpoint that MorphEm's authors evaluate (benchmarks/models.py)."""


def _file(name, ckpt):
    """The file of a model's weights.

    Raises
    ------
    FileNotFoundError
    """
    path = Path(ckpt).expanduser()
    if not path.is_file():
        entry = MODELS[name]
        raise FileNotFoundError(
            f"model {name!r} needs its weights ({entry.file}; {entry.source}; {entry.licence}), "
            f"and there is no file {path}. Fetch them, and give the path as ckpt."
        )
    return path


def _config(name, arch, **settings):
    """What a catalogue's entry says of the input, and what else is given."""
    entry = MODELS[name]
    given = {key: value for key, value in settings.items() if value is not None}
    return ModelConfig(
        arch=arch,
        size=entry.size,
        intensity=entry.intensity,
        tile_scaling=entry.tile_scaling,
        **given,
    )


def _check(name, wanted, state, path):
    """Stop on weights that are not the model's.

    Raises
    ------
    ValueError
        Names the file and the first few weights.
    """
    problems = misfits(wanted, state)
    if problems:
        raise ValueError(
            f"{path} does not hold the weights of {name}: {'; '.join(problems)}. Expected "
            f"{MODELS[name].file} as published ({MODELS[name].source})."
        )


def load_microsnoop(ckpt, pooling=None, block=None):
    """Microsnoop's encoder, each channel alone.

    The input is what its authors feed: tiles whose 1st and 99th percentiles are 0 and 1. Raw
    intensities are scaled by the range of their type, which those percentiles undo, so that
    nothing is clipped before. The authors embed cells or tiles of 224 pixels that overlap by a
    tenth; here tiles are cut as for every model.

    Parameters
    ----------
    ckpt : str or Path
        The published ``.pth``: a dict whose ``model`` is the state dict of encoder and decoder,
        from distributed training or not; or such a state dict alone.
    pooling, block
        As in `vit.ModelConfig`; the published end by default.

    Returns
    -------
    EmbeddingModel
        (B, 1, H, W) to (B, 256), of unit length.

    Raises
    ------
    FileNotFoundError, ValueError
        No such file, or one that does not fit.
    """
    path = _file("microsnoop", ckpt)
    config = _config("microsnoop", microsnoop.ARCH, pooling=pooling, block=block)
    with naming(path):
        stored, _ = read_pth(path)
        if all(name.startswith(_WRAPPER) for name in stored):
            stored = {name.removeprefix(_WRAPPER): value for name, value in stored.items()}
        check_numbers(stored, path)
        names = microsnoop.encoder_names()
        with torch.device("meta"):
            own = EmbeddingModel(config).weights()
            wanted = {names[name]: value for name, value in own.items()}
            wanted |= {
                name: torch.empty(shape, dtype=torch.float32 if shape else torch.int64)
                for name, shape in microsnoop.decoder_shapes().items()
            }
        _check("microsnoop", wanted, stored, path)
        model = named_model(config, {own: stored[name] for own, name in names.items()}, path)
    model.origin = "Microsnoop's encoder, a CNN trained on microscopy by masked reconstruction"
    return model


def load_morphem(ckpt, pooling=None, block=None):
    """MorphEm, a vision transformer trained on CHAMMI-75, each channel alone.

    The input is what its authors feed: tiles of mean 0 and variance 1, resized to 224 pixels.
    Before that, they replace saturated pixels of 8-bit images by random ones of 200 to 255; that
    is left out, so that an image has one embedding. They embed segmented cells.

    Parameters
    ----------
    ckpt : str or Path
        The published ``.safetensors``, or the ``.pth`` of such a training, of which the student
        is read, as its authors do. A projection head in either is left out.
    pooling, block
        As in `vit.ModelConfig`; the normalised CLS token by default.

    Returns
    -------
    EmbeddingModel
        (B, 1, H, W) to (B, 384).

    Raises
    ------
    FileNotFoundError, ValueError
        No such file, or one that does not fit.
    """
    path = _file("morphem", ckpt)
    config = _config("morphem", "vit_small", fixed_size=True, pooling=pooling, block=block)
    with naming(path):
        state, _, _ = read_weights(path, _EVALUATED)
        with torch.device("meta"):
            wanted = EmbeddingModel(config).weights()
        _check("morphem", wanted, state, path)
        model = named_model(config, state, path)
    model.origin = "MorphEm, a ViT-S/16 trained by DINO on the microscopy of CHAMMI-75"
    return model


LOADERS = {"microsnoop": load_microsnoop, "morphem": load_morphem}
