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

_NUMBERED = re.compile(r"checkpoint(\d+)\.pth")


def numbered(epoch):
    """File name of the checkpoint after `epoch` epochs."""
    return f"checkpoint{epoch:04d}.pth"


def _published_names(network):
    """A network's weights under the names of the published checkpoints."""
    state = {f"backbone.{k}": v for k, v in network.backbone.weights().items()}
    return state | {f"head.{k}": v for k, v in network.head.state_dict().items()}


def _load_published(network, state):
    """The reverse of `_published_names`, strictly."""
    parts = {"backbone": {}, "head": {}}
    for key, value in state.items():
        part, _, name = key.removeprefix("module.").partition(".")
        parts[part][name] = value
    network.backbone.load_weights(parts["backbone"], "the checkpoint")
    network.head.load_state_dict(parts["head"])


def _digest(content):
    """SHA-256 over all tensors, wherever they lie in nested dicts and lists."""
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

    add(content)
    return digest.hexdigest()


def save(folder, run, options, names=(ROLLING,)):
    """Write the state of a run as published checkpoints, and its teacher for use.

    Parameters
    ----------
    folder : Path
    run : train.Run
        Student, teacher, optimiser, loss, scaler and the number of finished steps.
    options : dict
        Of the run; stored as ``args``.
    names : sequence of str
        Files to write.
    """
    content = {
        "student": {f"module.{k}": v for k, v in _published_names(run.student).items()},
        "teacher": _published_names(run.teacher),
        "optimizer": run.optimizer.state_dict(),
        "epoch": run.step // run.steps_per_epoch,
        "args": argparse.Namespace(**options),
        "dino_loss": run.loss.state_dict(),
        "fp16_scaler": run.scaler.state_dict(),
        # Schedules, draws and random numbers of a step follow from its number and the seed.
        "sampler": {"seed": options["seed"], "position": run.step * run.total_batch},
        "step": run.step,
        "random_state": torch.get_rng_state(),
    }
    content["digest"] = _digest(content)
    for name in names:
        with tables.atomic_path(Path(folder) / name) as temporary:
            torch.save(content, temporary)
    details = {"epoch": content["epoch"], "step": run.step, "training": options}
    save_model(run.teacher.backbone, Path(folder) / WEIGHTS, details)


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
            content = load_pth(file)
            said = content.pop("digest", None) if isinstance(content, dict) else None
            if said is None or said != _digest(content):
                raise ValueError(f"{file} is damaged: its contents do not match their digest.")
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


def restore(content, run):
    """Put a run into the state of a checkpoint."""
    _load_published(run.student, content["student"])
    _load_published(run.teacher, content["teacher"])
    run.optimizer.load_state_dict(content["optimizer"])
    run.loss.load_state_dict(content["dino_loss"])
    run.scaler.load_state_dict(content["fp16_scaler"])
    torch.set_rng_state(content["random_state"])
    run.step = content["step"]


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
