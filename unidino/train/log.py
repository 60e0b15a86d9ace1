"""What training says and keeps: JSON lines, TensorBoard, and warnings of a collapse."""

import json
import math
import os
import platform
import sys
import time
from pathlib import Path

import pandas as pd
import torch

from .. import software, tables
from ..progress import say
from . import dino

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
        "libraries": software.versions(_LIBRARIES),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "processes": world,
        "threads": torch.get_num_threads(),
    }


def collapse_warnings(means, out_dim):
    """What speaks for a collapse, in words; empty for a healthy run.

    Parameters
    ----------
    means : dict
        Of an epoch: ``dino_loss`` and ``teacher_entropy`` (0 to ln K) with self-distillation, and
        ``effective_rank`` of the embeddings, at least 1.
    out_dim : int
        K.
    """
    found = []
    if "teacher_entropy" in means:
        found += _teacher_warnings(means["dino_loss"], means["teacher_entropy"], math.log(out_dim))
    rank = means.get("effective_rank")
    if rank is not None and rank < 2:
        found.append(f"the effective rank of the embeddings is {rank:.2f}: all images look alike")
    return found


def _teacher_warnings(loss, entropy, most):
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
    epochs : list of dict
        The lines of epochs as the checkpoint knows them; those that the file lacks are put back.
    """

    def __init__(self, folder, first, start_step, epochs=()):
        self.folder = Path(folder)
        self.first = first
        self.epochs = []
        self._board = None
        if not first:
            return
        self._mend(self.folder / STEPS, start_step)
        self.epochs = self._mend(self.folder / EPOCHS, start_step, epochs)
        self._steps = open(self.folder / STEPS, "a", buffering=1)
        from torch.utils.tensorboard import SummaryWriter

        self._board = SummaryWriter(
            str(self.folder / "tensorboard"), purge_step=start_step, flush_secs=30
        )

    @staticmethod
    def _mend(path, start_step, known=()):
        """Rewrite a log without damaged lines and those of steps to come; what it holds then."""
        lines = {line["step"]: line for line in known}
        for number, text in enumerate(_text_lines(path), 1):
            try:
                line = _parsed(text)
            except ValueError:
                say(f"warning: {path}: line {number} is damaged (a kill, or the disk); dropped")
                continue
            lines[line["step"]] = line
        kept = [lines[step] for step in sorted(lines) if step < start_step]
        if kept or path.exists():
            with tables.atomic_path(path) as temporary:
                temporary.write_text("".join(map(_line, kept)))
        return kept

    def step(self, values):
        """One line of numbers; `values` has ``step``."""
        if self.first:
            self._steps.write(_line(values))
            self._to_board("step", values)

    def flush(self):
        """Put the lines of the steps on the disk, as a checkpoint that counts on them needs."""
        if self.first:
            os.fsync(self._steps.fileno())

    def lacks(self, epoch):
        """Whether the first process has no line of that epoch."""
        return self.first and all(line["epoch"] != epoch for line in self.epochs)

    def epoch(self, values):
        """One line of an epoch's means; warnings are said aloud."""
        if not self.first:
            return
        self.epochs.append(json.loads(_line(values)))
        with open(self.folder / EPOCHS, "a") as file:
            file.write(_line(values))
            file.flush()
            os.fsync(file.fileno())
        self._to_board("epoch", values)
        shown = ", ".join(
            f"{name} {values[name]:.4g}"
            for name in ("loss", "distil_loss", "teacher_entropy", "effective_rank", "accuracy")
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


def _line(values):
    """A line of JSON; numbers that are not finite, which JSON has not, are left out."""
    kept = {k: v for k, v in values.items() if not isinstance(v, float) or math.isfinite(v)}
    return json.dumps(kept, allow_nan=False) + "\n"


def _text_lines(path):
    return path.read_text(errors="replace").splitlines() if path.exists() else []


def _parsed(text):
    """The dict of a line.

    Raises
    ------
    ValueError
        It is no JSON of an object with a step.
    """
    line = json.loads(text)
    if not isinstance(line, dict) or not isinstance(line.get("step"), int):
        raise ValueError("no object with a step")
    return line


_KEPT_EMBEDDINGS = 2048
"""Teacher embeddings of an epoch whose effective rank is measured, the last ones."""


class EpochSums:
    """Sums over the finished steps of an epoch; a checkpoint carries them over a restart.

    Parameters
    ----------
    state : dict, optional
        From `state`.
    """

    _MEANS = ("loss", "dino_loss", "distil_loss", "teacher_entropy", "grad_norm")
    """Those that a training has."""

    def __init__(self, state=None):
        state = state or {}
        self.steps = state.get("steps", 0)
        self.images = state.get("images", 0)
        self.padded = state.get("padded", 0)
        self.unread = state.get("unread", 0)
        self.sums = dict(state.get("sums") or {})
        self.embeddings = state.get("embeddings", torch.empty(0))
        self._earlier = state.get("seconds", 0.0)
        self._start = time.monotonic()

    @property
    def seconds(self):
        """Time taken, without the breaks between runs."""
        return self._earlier + time.monotonic() - self._start

    def state(self):
        """Plain values and a tensor, from which the sums go on."""
        names = ("steps", "images", "padded", "unread", "sums", "embeddings", "seconds")
        return {name: getattr(self, name) for name in names}

    def add(self, measured, embeddings, batches):
        """Count one step.

        Parameters
        ----------
        measured : dict of float
            From `run.Taken.numbers`.
        embeddings : torch.Tensor
            (B, D), likewise.
        batches : list of dict
            What the step was made of.
        """
        self.steps += 1
        for name in self._MEANS:
            if name in measured:
                self.sums[name] = self.sums.get(name, 0.0) + measured[name]
        for batch in batches:
            self.images += len(batch["image"])
            self.padded += batch["padded"]
            self.unread += len(batch["unread"])
            for error in batch["unread"]:
                say(f"warning: left out an image that cannot be read: {error}")
        known = self.embeddings.reshape(-1, embeddings.shape[1])
        self.embeddings = torch.cat([known, embeddings.cpu()])[-_KEPT_EMBEDDINGS:]

    def means(self):
        """Means of the epoch, its counts and the effective rank, of this process."""
        means = {name: total / max(1, self.steps) for name, total in self.sums.items()}
        return means | {
            "padded_views": self.padded,
            "unread_images": self.unread,
            "images_per_second": self.images / self.seconds,
            "effective_rank": float(dino.effective_rank(self.embeddings)),
        }


def read_log(folder, name):
    """A JSON-lines log as a frame: `STEPS` or `EPOCHS` of a training folder.

    Raises
    ------
    FileNotFoundError
        Nothing was trained there.
    ValueError
        A damaged line; names it.
    """
    path = Path(folder) / name
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such log. Train into {folder} first (unidino.train).")
    rows = []
    # Line by line: pandas' own parser changes the last digits.
    for number, text in enumerate(_text_lines(path), 1):
        try:
            rows.append(_parsed(text))
        except ValueError:
            raise ValueError(
                f"{path}: line {number} is damaged: {text[:60]!r}. Run the training's command once "
                "more: it drops damaged lines, and puts back those of epochs."
            ) from None
    return pd.DataFrame(rows)
