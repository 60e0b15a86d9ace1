"""Checkpoints of training: written whole or not at all, checked on load, newest good one first."""

import argparse
import hashlib
import re
import signal
import threading
from pathlib import Path

import torch

from .. import tables
from ..models.checkpoints import load_pth, save_model
from ..progress import say

ROLLING = "checkpoint.pth"
WEIGHTS = "teacher.safetensors"
"""The teacher for use, renewed with every rolling checkpoint."""

_HEADS = ("head", "reproduction")
"""Parts of a network beside its backbone, where it has them."""

_NUMBERED = re.compile(r"checkpoint(\d+)\.pth")


def numbered(epoch):
    """File name of the checkpoint after `epoch` epochs."""
    return f"checkpoint{epoch:04d}.pth"


def _published_names(network):
    """A network's weights under the names of the published checkpoints."""
    state = {f"backbone.{k}": v for k, v in network.backbone.weights().items()}
    for name in _HEADS:
        head = getattr(network, name)
        if head is not None:
            state |= {f"{name}.{k}": v for k, v in head.state_dict().items()}
    return state


def _load_published(network, state):
    """The reverse of `_published_names`, strictly."""
    parts = {name: {} for name in ("backbone", *_HEADS)}
    for key, value in state.items():
        part, _, name = key.removeprefix("module.").partition(".")
        parts[part][name] = value
    network.backbone.load_weights(parts["backbone"], "the checkpoint")
    for name in _HEADS:
        if getattr(network, name) is not None:
            getattr(network, name).load_state_dict(parts[name])


def _digest(content):
    """SHA-256 over all tensors and plain values, wherever they lie in nested dicts and lists."""
    digest = hashlib.sha256()

    def add(value):
        if isinstance(value, torch.Tensor):
            flat = value.detach().cpu().contiguous().reshape(-1)
            digest.update(flat.view(torch.uint8).numpy().tobytes())
        elif isinstance(value, dict):
            for key in value:
                digest.update(str(key).encode())
                add(value[key])
        elif isinstance(value, list | tuple):
            for part in value:
                add(part)
        elif isinstance(value, argparse.Namespace):
            add(vars(value))
        else:
            digest.update(repr(value).encode() + b"\0")

    add(content)
    return digest.hexdigest()


def write_whole(content, path):
    """Write a dict of tensors and plain values with its digest: whole or not at all.

    Raises
    ------
    OSError
        The disk does not take it.
    """
    try:
        with tables.atomic_path(path) as temporary:
            torch.save(content | {"digest": _digest(content)}, temporary)
    except RuntimeError as error:  # of torch's writer, on a full disk
        reason = str(error).split("\n")[0]
        raise OSError(f"{path} cannot be written ({reason}): is the disk full?") from None


def read_whole(path):
    """What `write_whole` wrote.

    Raises
    ------
    ValueError
        Damaged, or another kind of file.
    """
    content = load_pth(path)
    said = content.pop("digest", None) if isinstance(content, dict) else None
    if said is None or said != _digest(content):
        raise ValueError(f"{path} is damaged: its contents do not match their digest.")
    return content


def save(folder, trainer, options, log, names=(ROLLING,)):
    """Write the state of a training as published checkpoints, and its teacher for use.

    Parameters
    ----------
    folder : Path
    trainer : run.Trainer
        Student, teacher, optimiser, loss, scaler and the number of finished steps.
    options : dict
        Of the training; stored as ``args``.
    log : dict
        Plain values and tensors: what the log needs to go on.
    names : sequence of str
        Files to write.
    """
    content = {
        "student": {f"module.{k}": v for k, v in _published_names(trainer.student).items()},
        "teacher": _published_names(trainer.teacher),
        "optimizer": trainer.optimizer.state_dict(),
        "epoch": trainer.step // trainer.steps_per_epoch,
        "args": argparse.Namespace(**options),
        "dino_loss": trainer.loss.state_dict(),
        "fp16_scaler": trainer.scaler.state_dict(),
        # Schedules, draws and random numbers of a step follow from its number and the seed.
        "sampler": {"seed": options["seed"], "position": trainer.step * trainer.total_batch},
        "step": trainer.step,
        "random_state": torch.get_rng_state(),
        "log": log,
    }
    for name in names:
        write_whole(content, Path(folder) / name)
    details = {"epoch": content["epoch"], "step": trainer.step, "training": options}
    save_model(trainer.teacher.backbone, Path(folder) / WEIGHTS, details)


def newest(folder):
    """(file, content) of the newest checkpoint that is whole, or (None, None) without any.

    Raises
    ------
    ValueError
        There are checkpoints, and all of them are damaged.
    """
    folder = Path(folder)
    files = [p for p in folder.glob("checkpoint*.pth") if _NUMBERED.fullmatch(p.name)]
    files = [folder / ROLLING, *sorted(files, reverse=True)]
    reasons = []
    for file in files:
        if not file.is_file():
            continue
        try:
            content = read_whole(file)
        except ValueError as error:
            reasons.append(str(error))
            say(f"warning: {error} Looking for an earlier checkpoint.")
            continue
        return file, content
    if reasons:
        raise ValueError(
            f"no checkpoint in {folder} can be read: {' '.join(reasons)} Remove them to start "
            "again, or train into another output_dir."
        )
    return None, None


def restore(content, trainer):
    """Put a training into the state of a checkpoint."""
    _load_published(trainer.student, content["student"])
    _load_published(trainer.teacher, content["teacher"])
    for group, own in zip(
        content["optimizer"]["param_groups"], trainer.optimizer.param_groups, strict=True
    ):
        if "fused" in own:  # as this device has it, not that of the checkpoint
            group["fused"] = own["fused"]
    trainer.optimizer.load_state_dict(content["optimizer"])
    trainer.loss.load_state_dict(content["dino_loss"])
    trainer.scaler.load_state_dict(content["fp16_scaler"])
    torch.set_rng_state(content["random_state"])
    trainer.step = content["step"]


class StopRequest:
    """Notes a SIGTERM (a pre-empted job), so that a checkpoint is written before the end.

    Used as a context; ``requested`` says whether the signal came. Outside the main thread, where
    Python allows no handlers, nothing is noted.
    """

    def __init__(self):
        self.requested = False

    def _note(self, number, frame):
        self.requested = True

    def __enter__(self):
        self._earlier = None
        if threading.current_thread() is threading.main_thread():
            self._earlier = signal.signal(signal.SIGTERM, self._note)
        return self

    def __exit__(self, *exception):
        if self._earlier is not None:
            signal.signal(signal.SIGTERM, self._earlier)


def ignore_sigterm(worker):
    """For a reading process: the signal to a whole process group is the training's to answer."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
