"""Checkpoints in and out: strict, and without executing anything that a file contains."""

import argparse
import hashlib
import json
import math
import pickle
from dataclasses import asdict, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from .. import tables
from .vit import ARCHITECTURES, EmbeddingModel, ModelConfig, arch_config, resolve_arch

_CONTAINERS = ("state_dict", "model", "model_state_dict")
_PREFIXES = ("module.", "_orig_mod.", "backbone.")


def load_pth(path):
    """The content of a torch-saved file of tensors and plain values; nothing in it is executed.

    Raises
    ------
    ValueError
        Not a torch file, or one with other types.
    """
    try:
        # The published checkpoints hold their arguments as a Namespace: plain attributes, no code.
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error).split("\n")[0]
        raise ValueError(
            f"{path} is refused: it is not a torch file of tensors and plain values ({reason}). "
            "Save the state dict alone with torch.save(model.state_dict(), …)."
        ) from None
    except Exception as error:  # bytes that are no torch file fail in any way in the unpickler
        raise ValueError(f"{path} is not a readable torch file ({error!r}).") from None


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
    arguments = vars(arguments) if isinstance(arguments, argparse.Namespace) else arguments or {}
    if key in content:
        content = content[key]
    elif "teacher" in content or "student" in content:
        raise ValueError(f"{path} holds no {key!r}; it has {', '.join(map(str, content))}.")
    else:
        content = next((content[name] for name in _CONTAINERS if name in content), content)
    tensors = {k: v for k, v in content.items() if isinstance(v, torch.Tensor)}
    if not tensors or len(tensors) != len(content):
        raise ValueError(
            f"{path} holds no state dict: {', '.join(map(str, list(content)[:5]))}. Expected the "
            "published format (teacher, student, …) or names of weights to tensors."
        )
    return tensors, arguments


def backbone_weights(state):
    """The backbone's weights under their bare names: wrappers' prefixes and the DINO head gone."""
    bare = {}
    for key, value in state.items():
        changed = True
        while changed:
            changed = False
            for prefix in _PREFIXES:
                if key.startswith(prefix):
                    key, changed = key[len(prefix) :], True
        if not key.startswith("head."):
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
        More JSON for the header (training data, licence, command).
    """
    header = {"unidino": json.dumps({"config": asdict(model.config), **(details or {})})}
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
            return json.loads((file.metadata() or {}).get("unidino", "{}"))
    except SafetensorError as error:
        raise ValueError(f"{path} is not a readable safetensors file ({error}).") from None


def read_safetensors(path):
    """(state dict, ModelConfig or None) of a safetensors file."""
    config = read_header(path).get("config")
    with safe_open(path, framework="pt") as file:
        state = {key: file.get_tensor(key) for key in file.keys()}
    return state, config and ModelConfig.from_dict(config, path)


def _config_from_weights(state, arguments, path):
    """The config that a state dict of a vision transformer implies.

    Width, depth, patch and tile size follow from the shapes; the number of heads does not, so it
    comes from the checkpoint's own `arguments` or from the usual shape of that width and depth.
    """
    if "cls_token" not in state or "pos_embed" not in state:
        raise ValueError(
            f"{path} holds no vision transformer ({', '.join(list(state)[:3])}, …) and no config. "
            "Give its arch, such as timm:resnet50."
        )
    width = state["cls_token"].shape[-1]
    depth = 1 + max(int(key.split(".")[1]) for key in state if key.startswith("blocks."))
    _, in_chans, _, patch_size = state["patch_embed.proj.weight"].shape
    registers = state["reg_token"].shape[1] if "reg_token" in state else 0
    positions = state["pos_embed"].shape[1] - 1 - registers
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
    path, *, arch=None, embed_dim=None, cls_reduced_dim=None, pooling=None, key="teacher"
):
    """A model from a weights file: ``.safetensors``, or torch-saved (``.pth``, ``.pt``, ``.ckpt``).

    Parameters
    ----------
    path : str or Path
    arch, embed_dim, cls_reduced_dim
        Where the file does not say; when it does, they must agree with it.
    pooling : {"cls", "mean", "max", "cls_mean", "cls_max", "cls_mean_max"}, optional
        In the place of the file's own.
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
    arguments = {}
    if path.suffix == ".safetensors":
        state, config = read_safetensors(path)
    else:
        state, arguments = read_pth(path, key)
        stored = arguments.get("model_config")
        config = stored and ModelConfig.from_dict(stored, path)
    state = backbone_weights(state)
    if config is None:
        if arch is not None and resolve_arch(arch) not in ARCHITECTURES:
            config = arch_config(arch)
        else:
            config = _config_from_weights(state, {"arch": arch} if arch else arguments, path)
    given = {"arch": arch and resolve_arch(arch), "cls_reduced_dim": cls_reduced_dim}
    width = config.embed_dim or ARCHITECTURES.get(config.arch, (None,))[0]
    have = {"arch": config.arch, "cls_reduced_dim": config.cls_reduced_dim, "embed_dim": width}
    for name, value in {**given, "embed_dim": embed_dim}.items():
        if value is not None and value != have[name]:
            raise ValueError(f"{path} has {name} {have[name]}, not {value}; leave {name} out.")
    if pooling not in (None, config.pooling):
        if config.projected_dim:
            raise ValueError(
                f"{path} ends in a projection that was fitted to pooling {config.pooling}, not "
                f"{pooling}; leave pooling out."
            )
        config = replace(config, pooling=pooling)
    model = EmbeddingModel(config)
    model.load_weights(state, path)
    model.sha256 = tables.sha256_file(path)
    model.name = f"{path.stem}-{model.sha256[:8]}"
    return model.eval()
