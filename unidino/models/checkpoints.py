"""Checkpoints in and out: strict, and without executing anything that a file contains."""

import argparse
import contextlib
import hashlib
import json
import math
import pickle
import zipfile
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from .. import paths, tables
from . import catalogue
from .vit import ARCHITECTURES, EmbeddingModel, ModelConfig, arch_config, resolve_arch

_CONTAINERS = ("state_dict", "model", "model_state_dict")
_PREFIXES = ("module.", "_orig_mod.", "backbone.")
_HEADS = ("head.", "reproduction.")
"""Of a training: the model that is used has none."""


_COMPRESSED = "compressed"
_LICENCE = 200
"""Characters of a stranger's licence that are recorded."""


def load_pth(path):
    """The content of a torch-saved file of tensors and plain values; nothing in it is executed.

    Raises
    ------
    ValueError
        Not a torch file, or one with other types.
    """
    try:
        if zipfile.is_zipfile(path):
            # Torch stores without compression; anything else may be far larger than its file.
            with zipfile.ZipFile(path) as file:
                if sum(part.file_size for part in file.infolist()) > Path(path).stat().st_size:
                    raise pickle.UnpicklingError(_COMPRESSED)
        # The published checkpoints hold their arguments as a Namespace: plain attributes, no code.
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # Torch's own text advises to execute what the file holds.
        reason = _COMPRESSED if str(error) == _COMPRESSED else "damaged, or with code"
        raise ValueError(
            f"{path} is refused: it is not a torch file of tensors and plain values ({reason}). "
            "Save the state dict alone with torch.save(model.state_dict(), …)."
        ) from None
    except Exception as error:  # bytes that are no torch file fail in any way in the unpickler
        raise ValueError(
            f"{path} is not a readable torch file ({type(error).__name__}): damaged, or of another "
            "kind. Name a .safetensors or .pth file of weights."
        ) from None


def read_pth(path, key="teacher"):
    """(state dict, arguments) of a torch-saved file.

    Parameters
    ----------
    path : Path
        A published training checkpoint (``student``, ``teacher``, ``args`` …), or a state dict,
        bare or under "state_dict" or "model".
    key : {"teacher", "student"}
        Which network of a training checkpoint.

    Returns
    -------
    state : dict of str to torch.Tensor
    arguments : dict
        The training arguments that the file holds; empty where it holds none.

    Raises
    ------
    ValueError
        Not a torch file, one with types beyond tensors and plain values, or without weights.
    """
    content = load_pth(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}, not a dict of weights.")
    arguments = content.get("args")
    arguments = vars(arguments) if isinstance(arguments, argparse.Namespace) else arguments
    arguments = arguments if isinstance(arguments, dict) else {}
    if key in content:
        content = content[key]
    elif "teacher" in content or "student" in content:
        raise ValueError(f"{path} holds no {key!r}; it has {', '.join(map(str, content))}.")
    else:
        content = next((content[name] for name in _CONTAINERS if name in content), content)
    named = isinstance(content, dict) and all(isinstance(key, str) for key in content)
    if not (named and content and all(isinstance(v, torch.Tensor) for v in content.values())):
        has = ", ".join(str(part)[:40] for part in list(content)[:5]) if named else "no names"
        raise ValueError(
            f"{path} holds no state dict: {has}. Expected the published format (teacher, student, "
            "…) or names of weights to tensors."
        )
    return dict(content), arguments


def check_numbers(state, path):
    """Stop on weights that are no plain finite numbers, or larger than their file.

    Raises
    ------
    ValueError
        Names the file and the weight.
    """
    plain = {
        name: isinstance(value, torch.Tensor)
        and type(value) in (torch.Tensor, torch.nn.Parameter)
        and (value.layout, value.device.type) == (torch.strided, "cpu")
        and not (value.is_quantized or value.is_complex())
        for name, value in state.items()
    }
    odd = [name for name, fine in plain.items() if not fine]
    if odd:
        raise ValueError(f"{path} holds {odd[0][:80]}, which is no plain tensor of real numbers.")
    size = sum(value.numel() * value.element_size() for value in state.values())
    if size > Path(path).stat().st_size:
        raise ValueError(
            f"{path} holds weights of {size:,} bytes, more than the file has: they are repeated. "
            "Save them with torch.save or safetensors from plain tensors."
        )
    for name, value in state.items():
        if not torch.isfinite(value.float()).all():
            raise ValueError(
                f"{path} holds weights that are not finite ({name[:80]}): the training failed, or "
                "the file is damaged. Take an earlier checkpoint."
            )


def backbone_weights(state):
    """The backbone's weights under their bare names, without wrappers' prefixes and heads."""
    bare = {}
    for key, value in state.items():
        changed = True
        while changed:
            changed = False
            for prefix in _PREFIXES:
                if key.startswith(prefix):
                    key, changed = key[len(prefix) :], True
        if not key.startswith(_HEADS):
            bare[key] = value
    return bare


def weights_digest(state):
    """SHA-256 over names, shapes and float32 values of a state dict."""
    digest = hashlib.sha256()
    for key in sorted(state):
        value = state[key].detach().cpu().float().contiguous()
        digest.update(f"{key}{tuple(value.shape)}".encode())
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()


def save_model(model, path, details=None):
    """Write weights and config as safetensors, atomically.

    Parameters
    ----------
    model : EmbeddingModel
    path : Path
        Ends in ``.safetensors``.
    details : dict, optional
        More JSON for the header (training data, command); the model's licence stands there anyway.
    """
    details = ({"licence": model.licence} if model.licence else {}) | (details or {})
    header = {"unidino": json.dumps({"config": model.config.as_dict(), **details})}
    state = {k: v.detach().cpu().contiguous() for k, v in model.weights().items()}
    with tables.atomic_path(path) as temporary:
        # Written here: the library makes files that only their owner can read.
        temporary.write_bytes(save(state, metadata={"format": "pt", **header}))


def read_header(path):
    """What `save_model` wrote beside the weights: ``config`` and the details; empty without it.

    Raises
    ------
    FileNotFoundError, ValueError
        No such file; not a safetensors file.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no weights at {path}. Give the path of a .safetensors file.")
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get("unidino", "{}")
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is not a readable safetensors file ({error}).") from None
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} has a header that is no JSON ({error}).") from None
    if not isinstance(header, dict):
        raise ValueError(f"{path} has a header that is no mapping.")
    return header


def file_licence(path):
    """The licence of a weights file: what its header says, or that of the released weights.

    A torch-saved file has no place for it: one that bears the released weights' name is taken for
    them.

    Returns
    -------
    str
        One line; empty where nothing is said.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        stated = read_header(path).get("licence")
        return " ".join(stated.split())[:_LICENCE] if isinstance(stated, str) else ""
    return catalogue.licence("unidino") if path.name == paths.UNIDINO_WEIGHTS else ""


def read_safetensors(path):
    """(state dict, ModelConfig or None) of a safetensors file."""
    config = read_header(path).get("config")
    with safe_open(path, framework="pt") as file:
        state = {key: file.get_tensor(key) for key in file.keys()}
    return state, None if config is None else ModelConfig.from_dict(config, path)


def read_weights(path, key="teacher"):
    """What a weights file holds, checked.

    Parameters
    ----------
    path : Path
    key : {"teacher", "student"}
        Which network of a training checkpoint.

    Returns
    -------
    state : dict of str to torch.Tensor
        The backbone's and what follows it, under their bare names.
    config : ModelConfig or None
    arguments : dict
        Of the training, as the file holds them.
    """
    if path.suffix == ".safetensors":
        state, config = read_safetensors(path)
        arguments = {}
    else:
        state, arguments = read_pth(path, key)
        stored = arguments.get("model_config")
        config = None if stored is None else ModelConfig.from_dict(stored, path)
    state = backbone_weights(state)
    check_numbers(state, path)
    return state, config, arguments


def _config_from_weights(state, arguments, path):
    """The config that a state dict of a vision transformer implies.

    Width, depth, patch and tile size follow from the shapes; the number of heads does not, so it
    comes from the checkpoint's own `arguments` or from the usual shape of that width and depth.
    """
    kinds = {"cls_token": 3, "pos_embed": 3, "patch_embed.proj.weight": 4}
    if any(name not in state or state[name].ndim != n for name, n in kinds.items()):
        raise ValueError(
            f"{path} holds no vision transformer ({', '.join(list(state)[:3])}, …) and no config. "
            "Give its arch, such as timm:resnet50."
        )
    width = state["cls_token"].shape[-1]
    depth = len({key.split(".")[1] for key in state if key.startswith("blocks.")})
    _, in_chans, _, patch_size = state["patch_embed.proj.weight"].shape
    registers = state["reg_token"].shape[-2] if "reg_token" in state else 0
    positions = max(0, state["pos_embed"].shape[1] - 1 - registers)
    arch = resolve_arch(arguments["arch"]) if "arch" in arguments else None
    if arch is None or arch not in ARCHITECTURES:
        usual = [name for name, (w, d, _) in ARCHITECTURES.items() if (w, d) == (width, depth)]
        if not usual:
            raise ValueError(
                f"{path} holds a vision transformer of width {width} and depth {depth}, which is "
                "none of the known ones. Give its arch."
            )
        arch = usual[0]
    reducer = state.get("cls_reducer.3.weight")
    return ModelConfig(
        arch=arch,
        embed_dim=None if width == ARCHITECTURES[arch][0] else width,
        cls_reduced_dim=None if reducer is None else reducer.shape[0],
        patch_size=patch_size,
        size=math.isqrt(positions) * patch_size,
        in_chans=in_chans,
        reg_tokens=registers,
    )


def load_checkpoint(
    path,
    *,
    arch=None,
    embed_dim=None,
    cls_reduced_dim=None,
    pooling=None,
    block=None,
    key="teacher",
):
    """A model from a weights file: ``.safetensors``, or torch-saved (``.pth``, ``.pt``, ``.ckpt``).

    Parameters
    ----------
    path : str or Path
    arch, embed_dim, cls_reduced_dim
        Where the file does not say; when it does, they must agree with it.
    pooling : {"cls", "mean", "max", "cls_mean", "cls_max", "cls_mean_max"}, optional
        In the place of the file's own.
    block : int, optional
        The block to read, see `vit.ModelConfig`, likewise.
    key : {"teacher", "student"}
        Which network of a published training checkpoint.

    Returns
    -------
    EmbeddingModel
        In eval mode.

    Raises
    ------
    FileNotFoundError, ValueError
        No such file; weights that do not fit; content that would have to be executed.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(
            f"no weights at {path}. Give the path of a .safetensors or .pth file, or the name "
            "of a model (see unidino.load_model)."
        )
    with naming(path):
        state, config, stored = read_weights(path, key)
        if config is None:
            if arch is not None and resolve_arch(arch) not in ARCHITECTURES:
                config = arch_config(arch)
            else:
                config = _config_from_weights(state, {"arch": arch} if arch else stored, path)
        given = {"arch": arch and resolve_arch(arch), "cls_reduced_dim": cls_reduced_dim}
        _check_agreement(config, given | {"embed_dim": embed_dim}, path)
        config = _read_by(config, {"pooling": pooling, "block": block}, path)
        model = named_model(config, state, path)
        model.licence = file_licence(path)
        return model


@contextlib.contextmanager
def naming(path):
    """Errors of a weights file name it: what it holds may fail in any way.

    Raises
    ------
    ValueError
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, ValueError | FileNotFoundError) and str(path) in str(error):
            raise
        reason = str(error).split("\n")[0] or repr(error)
        raise ValueError(f"{path} cannot be loaded: {reason}") from None


def named_model(config, state, path):
    """The model of a config with the weights of a file, in eval mode.

    Raises
    ------
    ValueError
        They do not fit; said before memory is taken for the model.
    """
    if config.arch in ARCHITECTURES:
        with torch.device("meta"):
            EmbeddingModel(config).check_weights(state, path)
    model = EmbeddingModel(config)
    model.load_weights(state, path)
    model.sha256 = tables.sha256_file(path)
    model.name = f"{path.stem}-{model.sha256[:8]}"
    return model.eval()


def _check_agreement(config, given, path):
    width = config.embed_dim or ARCHITECTURES.get(config.arch, (None,))[0]
    have = {"arch": config.arch, "cls_reduced_dim": config.cls_reduced_dim, "embed_dim": width}
    for name, value in given.items():
        if value is not None and value != have[name]:
            raise ValueError(f"{path} has {name} {have[name]}, not {value}; leave {name} out.")


def _read_by(config, given, path):
    """The config with another pooling or block."""
    for name, value in given.items():
        own = getattr(config, name)
        if value not in (None, own) and config.projected_dim:
            raise ValueError(
                f"{path} ends in a projection that was fitted to {name} {own or 'of the end'}, "
                f"not {value}; leave {name} out."
            )
    return replace(config, **{name: value for name, value in given.items() if value is not None})
