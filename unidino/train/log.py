"""What training says and keeps: JSON lines, TensorBoard, and warnings of a collapse."""

import json
import math
import os
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import torch

from .. import tables
from ..progress import say

STEPS, EPOCHS, CONFIG, ENVIRONMENT = (
    "steps.jsonl",
    "epochs.jsonl",
    "config.json",
    "environment.json",
)
"""Files in the output folder, beside the checkpoints."""

_LIBRARIES = ("unidino", "torch", "timm", "numpy", "pandas", "tifffile")
# Shares of ln K. A healthy teacher stays between the entropies, a healthy loss below.
_FLAT, _SHARP, _STUCK = 0.99, 0.005, 0.995


def environment(device, world):
    """Versions, devices and command of a run."""
    return {
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in _LIBRARIES},
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "processes": world,
        "threads": torch.get_num_threads(),
    }


def collapse_warnings(loss, entropy, out_dim, rank=None):
    """What speaks for a collapse, in words; empty for a healthy run.

    Parameters
    ----------
    loss, entropy : float
        Means over an epoch; `entropy` is the teacher's, 0 to ln K.
    out_dim : int
        K.
    rank : float, optional
        Effective rank of the embeddings, at least 1.
    """
    most = math.log(out_dim)
    found = []
    if loss > _STUCK * most:
        found.append(f"the loss {loss:.3f} stays at ln(out_dim) = {most:.3f}: nothing is learnt")
    if entropy > _FLAT * most:
        found.append(
            f"the teacher's entropy {entropy:.3f} is that of equal probabilities ({most:.3f}): "
            "lower teacher_temp or warmup_teacher_temp"
        )
    if entropy < _SHARP * most:
        found.append(
            f"the teacher's entropy {entropy:.4f} is close to 0, one prototype takes all: raise "
            "warmup_teacher_temp"
        )
    if rank is not None and rank < 2:
        found.append(f"the effective rank of the embeddings is {rank:.2f}: all images look alike")
    return found


class TrainingLog:
    """The log of the first process; the others' is silent.

    Parameters
    ----------
    folder : Path
    first : bool
        Whether this process writes.
    start_step : int
        Lines of later steps, from a run that was killed after its last checkpoint, are dropped.
    """

    def __init__(self, folder, first, start_step):
        self.folder = Path(folder)
        self.first = first
        self._board = None
        if not first:
            return
        for name in (STEPS, EPOCHS):
            self._truncate(self.folder / name, start_step)
        self._steps = open(self.folder / STEPS, "a", buffering=1)
        from torch.utils.tensorboard import SummaryWriter

        self._board = SummaryWriter(
            str(self.folder / "tensorboard"), purge_step=start_step, flush_secs=30
        )

    @staticmethod
    def _truncate(path, step):
        if not path.exists():
            return
        kept = []
        for line in path.read_text().splitlines():
            try:
                if json.loads(line)["step"] < step:
                    kept.append(line)
            except (ValueError, KeyError):
                continue  # a line cut off by a kill
        with tables.atomic_path(path) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in kept))

    def step(self, values):
        """One line of numbers; `values` has ``step``."""
        if self.first:
            self._steps.write(json.dumps(values) + "\n")
            self._to_board("step", values)

    def epoch(self, values):
        """One line of an epoch's means; warnings are said aloud."""
        if not self.first:
            return
        with open(self.folder / EPOCHS, "a") as file:
            file.write(json.dumps(values) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._to_board("epoch", values)
        shown = ", ".join(
            f"{name} {values[name]:.4g}"
            for name in ("loss", "teacher_entropy", "effective_rank", "accuracy")
            if values.get(name) is not None
        )
        say(f"epoch {values['epoch']}: {shown}")
        for warning in values["warnings"]:
            say(f"WARNING, epoch {values['epoch']}, collapse: {warning}")

    def _to_board(self, group, values):
        for name, value in values.items():
            if isinstance(value, float) and math.isfinite(value):
                self._board.add_scalar(f"{group}/{name}", value, values["step"])

    def close(self):
        """Write what is waiting."""
        if self.first:
            self._steps.close()
            self._board.close()


class EpochSums:
    """Sums of an epoch, or of what is left of it after a restart."""

    def __init__(self):
        self.steps = 0
        self.images = 0
        self.sums = {"loss": 0.0, "teacher_entropy": 0.0, "grad_norm": 0.0}
        self.padded = 0
        self.unread = []
        self.embeddings = []
        self.start = time.monotonic()

    def add(self, made, parts):
        """Count one step."""
        self.steps += 1
        for name in self.sums:
            self.sums[name] += made[name]
        for part in parts:
            self.images += len(part["image"])
            self.padded += part["padded"]
            for error in part["unread"]:
                say(f"warning: left out an image that cannot be read: {error}")
                self.unread.append(error)
        self.embeddings = [*self.embeddings[-63:], made["embeddings"].cpu()]

    @staticmethod
    def numbers(made):
        """What a line of the log holds of a step."""
        return {k: v for k, v in made.items() if isinstance(v, float) and math.isfinite(v)}

    def means(self):
        """Means of the epoch, and its counts, of this process."""
        made = {name: total / max(1, self.steps) for name, total in self.sums.items()}
        seconds = time.monotonic() - self.start
        return made | {
            "padded_views": self.padded,
            "unread_images": len(self.unread),
            "images_per_second": self.images / seconds,
        }


def read_log(folder, name):
    """A JSON-lines log as a frame: `STEPS` or `EPOCHS` of a training folder.

    Raises
    ------
    FileNotFoundError
        Nothing was trained there.
    """
    path = Path(folder) / name
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such log. Train into {folder} first (unidino.train).")
    # Line by line: pandas' own parser changes the last digits.
    return pd.DataFrame([json.loads(line) for line in path.read_text().splitlines()])
