"""Training from a notebook: the command it types, and the processes that run it."""

import collections
import contextlib
import copy
import functools
import hashlib
import inspect
import json
import math
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.ticker import MaxNLocator

from .. import dataset, paths, tables, train, valsets
from ..models import checkpoints, load_model
from ..models.vit import EmbeddingModel
from ..progress import logging_to, say
from ..train import augment
from ..train.data import TrainingImages, collate, open_training_set, remembered_planes, views_of
from ..train.log import CONFIG, ENVIRONMENT, EPOCHS, STEPS, read_log
from ..train.monitor import Monitor
from ..train.options import checked, model_config
from ..train.run import warm_start
from ..train.state import ROLLING, WEIGHTS
from ..train.windows import PlaneReader
from . import plots

LOG = "launch.log"
"""Everything that the processes print, beside the logs of the training itself."""

_LAST_LINES = 20


@functools.wraps(train.train)
def parameters(**given):
    """What the notebook takes: the parameters of `train.train`, its folder optional."""


parameters.__annotations__ = train.train.__annotations__ | {"output_dir": str | None}


def process_count(processes, device=None):
    """Processes to start: as many as asked for; for 0 one a GPU, and one where there is none.

    Raises
    ------
    ValueError
        Fewer than 0.
    """
    if processes < 0:
        raise ValueError(f"processes is {processes}; expected 0 (one a GPU) or more.")
    return processes or (1 if device else max(1, torch.cuda.device_count()))


def command(options, processes):
    """The command line of a training, with the options that differ from their defaults.

    Parameters
    ----------
    options : dict
        Of `train.train`.
    processes : int
        Started by torchrun where there are several.

    Returns
    -------
    list of str
    """
    words = [sys.executable, "-m"]
    if processes > 1:
        words += ["torch.distributed.run", "--standalone", "--nproc_per_node", str(processes), "-m"]
    words.append("unidino.train")
    for name, parameter in inspect.signature(train.train).parameters.items():
        value = options[name]
        if value == parameter.default:
            continue
        if isinstance(value, bool):
            words.append(f"--{name}" if value else f"--no-{name}")
        else:
            words += [f"--{name}", str(value)]
    return words


def shown(words):
    """A command as one types it, an option a line, without the folders of this machine."""
    words = [re.sub(r"(?<![\w.~])/(?:[^/'\",\s]+/)*", "…/", word) for word in words]
    text = " ".join(map(_quoted, words))
    text = re.sub(r"^\S+ -m torch\.distributed\.run", "torchrun", text)
    text = re.sub(r"^\S+ -m unidino", "python -m unidino", text)
    return re.sub(r" (--(?!standalone|nproc_per_node))", r" \\\n  \1", text)


def _quoted(word):
    if re.fullmatch(r"[\w…@%+=:,./-]+", word):
        return word
    return shlex.quote(word) if re.search(r'["$`\\!]', word) else f'"{word}"'


def run_command(words, folder):
    """Run a command, its output on the terminal and in the folder's log, not on the page.

    An interrupted cell sends SIGTERM, upon which training writes a checkpoint.

    Raises
    ------
    RuntimeError
        It failed; holds its last lines.
    """
    last = collections.deque(maxlen=_LAST_LINES)
    log = Path(folder) / LOG
    with logging_to(log), _started(words) as process:
        try:
            for line in process.stdout:
                if line.strip():
                    say(line.rstrip())
                    last.append(line.rstrip())
        except BaseException:
            process.terminate()
            process.communicate()
            raise
    if process.returncode == train.EXIT_STOPPED:
        raise RuntimeError(f"training was stopped; run it again to go on from {log.parent}.")
    if process.returncode:
        lines = "\n".join(last)
        raise RuntimeError(
            f"training ended with status {process.returncode}. {log} ends with:\n{lines}"
        )


def _started(words):
    # A ctrl-C reaches the whole group; ignored there, it leaves training the time to write.
    main = threading.current_thread() is threading.main_thread()
    earlier = signal.signal(signal.SIGINT, signal.SIG_IGN) if main else None
    try:
        return subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        )
    finally:
        if main:
            signal.signal(signal.SIGINT, earlier)


@dataclass
class Training:
    """A training that a page starts and reads back.

    Attributes
    ----------
    given : dict
        The parameters of `train.train`; the folder is filled in.
    options : dict
        The same, checked: precision and sets resolved.
    processes : int
    opened : list of Metadata
        The sets to train on.
    """

    given: dict
    options: dict
    processes: int
    opened: list

    @classmethod
    def of(cls, processes, **given):
        """A training with these parameters; wrong ones stop here.

        Without `output_dir` the options that decide what is computed give the folder its name: the
        same ones go on with a run, others start one of their own.

        Raises
        ------
        ValueError, TypeError, FileNotFoundError
        """
        count = process_count(processes, given["device"])
        options = checked(given | {"output_dir": given["output_dir"] or ""}, train.train)
        config = model_config(options)
        if not given["output_dir"]:
            decisive = {k: v for k, v in options.items() if k not in train.FREE}
            decisive["total"] = options["batch_size_per_gpu"] * options["grad_accum"] * count
            text = json.dumps(decisive, sort_keys=True)
            digest = hashlib.sha256(text.encode()).hexdigest()[:8]
            folder = paths.outputs_root() / "training" / f"{paths.escape(config.arch)}-{digest}"
            given = given | {"output_dir": str(folder)}
        options["output_dir"] = given["output_dir"]
        Monitor.open(options)
        return cls(given, options, count, [open_training_set(n) for n in options["datasets"]])

    @property
    def folder(self):
        """Where checkpoints and logs are."""
        return Path(self.options["output_dir"]).expanduser().absolute()

    @property
    def weights(self):
        """The teacher's weights."""
        return self.folder / WEIGHTS

    @property
    def command(self):
        """The command line."""
        return command(self.given, self.processes)

    @property
    def heading(self):
        """Model and data, for the top of a figure."""
        kinds = {
            metadata.simulated: "simulated" if metadata.simulated else "real"
            for metadata in self.opened
        }
        sets = ", ".join(metadata.valset for metadata in self.opened)
        return f"{self.options['arch']} on {sets} ({' and '.join(kinds.values())})"

    @property
    def question(self):
        """What the accuracy on the monitor is of, or None."""
        watched = Monitor.open(self.options)
        return watched and f"accuracy of {watched.label} in {Path(watched.valset).stem}"

    @functools.cached_property
    def steps(self):
        """The log of the steps; ``epochs_done`` counts epochs up to and with the step."""
        log = read_log(self.folder, STEPS)
        per_epoch = len(log) / self.options["epochs"]
        return log.assign(epochs_done=(log["step"] + 1) / per_epoch)

    @functools.cached_property
    def epochs(self):
        """The log of the epochs."""
        return read_log(self.folder, EPOCHS)

    def run(self):
        """Train, or go on; a finished run ends at once."""
        run_command(self.command, self.folder)

    def planes(self):
        """The planes of every set, as the run remembered them."""
        return remembered_planes(self.opened, self.options, self.folder)


START = "start.json"
"""Accuracy on the monitor before the first step."""

_CANDIDATES = 12


def headline(training):
    """What is trained on what, in a sentence of Markdown."""
    o = training.options
    kinds = {metadata.simulated for metadata in training.opened}
    kind = "**Simulated** images" if all(kinds) else "Real images"
    if len(kinds) == 2:
        kind = "Real and **simulated** images"
    sets = ", ".join(m.valset for m in training.opened)
    width = f", {o['embed_dim']} wide" if o["embed_dim"] else ""
    start = f"the weights of `{Path(o['ckpt']).name}`" if o["ckpt"] else "random weights"
    text = (
        f"{kind} of {sets}: the model, a `{o['arch']}`{width}, starts from {start} and is trained "
        f"for {o['epochs']} epochs"
    )
    watched = Monitor.open(o)
    if watched:
        text += f"; its nearest-neighbour {training.question} is followed"
        known = {valsets.name_and_root(name) for name in o["datasets"]}
        seen = (watched.valset, watched.root) in known
        text += ", **which is trained on, too**" if seen else ", which it never trains on"
    return text + "."


def facts(training):
    """What was trained, in numbers that are the same on every machine."""
    o = training.options
    model = load_model(training.weights)
    drawn_views = f"2 of {o['size']}, {o['local_crops_number']} of {o['local_size']}"
    values = {
        "images to draw from": sum(len(part) for part in training.planes()),
        "images of a step": o["batch_size_per_gpu"] * o["grad_accum"] * training.processes,
        "steps": len(training.steps),
        "epochs": len(training.epochs),
        "views of an image (pixels)": drawn_views,
        "views larger than their image, padded": int(training.epochs["padded_views"].sum()),
        "images that could not be read": int(training.epochs["unread_images"].sum()),
        "parameters of the model": sum(p.numel() for p in model.parameters()),
        "numbers in an embedding": model.embedding_dim,
        "prototypes of the head": o["out_dim"],
        "intensity scaling": o["intensity_scaling"],
        "precision": o["precision"],
    }
    return pd.DataFrame({"value": values}).rename_axis("training")


def mixture(training):
    """Images of every set, one a site and channel, and its share of the draws."""
    sets = training.planes()
    shares = training.options["dataset_weights"]
    if shares is None:
        repeats = dataset.published_repeats([len(part) for part in sets])
        shares = [len(part) * n for part, n in zip(sets, repeats, strict=True)]
    table = pd.DataFrame(
        {
            "dataset": [part.name for part in sets],
            "data": ["simulated" if m.simulated else "real" for m in training.opened],
            "sites": [len(m.metadata) for m in training.opened],
            "images": [len(part) for part in sets],
            "share of draws": np.array(shares, float) / sum(shares),
        }
    )
    return table.round(3).set_index("dataset")


def start_accuracy(training):
    """Accuracy on the monitor of the weights that training starts from; None without a monitor.

    It is measured once and remembered in the training's folder.
    """
    o = training.options
    watched = Monitor.open(o)
    if watched is None:
        return None
    asked = json.loads(json.dumps([o[n] for n in ("monitor", "monitor_label", "monitor_exclude")]))
    file = training.folder / START
    if file.is_file():
        with contextlib.suppress(ValueError, KeyError, TypeError):  # damaged: measured again
            stored = json.loads(file.read_text())
            if stored["monitor"] == asked:
                return float(stored["accuracy"])
    device = torch.device(o["device"] or ("cuda" if torch.cuda.is_available() else "cpu"))
    with tempfile.TemporaryDirectory() as folder:
        checkpoints.save_model(start_model(o), Path(folder) / WEIGHTS)
        accuracy = watched.accuracy(folder, device)
    tables.write_json(file, {"monitor": asked, "accuracy": accuracy})
    return accuracy


def start_model(options):
    """The backbone that student and teacher start from."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options["seed"])
        model = EmbeddingModel(model_config(options))
    if options["ckpt"]:
        warm_start(model, options["ckpt"])
    return model.eval()


def epoch_table(training, start=None):
    """The epochs: means of loss, entropy and gradient, effective rank, accuracy on the monitor.

    Parameters
    ----------
    training : Training
    start : float, optional
        Accuracy before the first step, shown as epoch 0.

    Returns
    -------
    pd.DataFrame
        The columns that differ between machines begin with ``trained``.
    """
    names = ["loss", "teacher_entropy", "grad_norm", "effective_rank", "accuracy"]
    if training.options["distil_from"]:
        names.insert(1, "distil_loss")
    table = training.epochs.reindex(columns=["epoch", *names]).dropna(axis="columns", how="all")
    table = table.reindex(columns=["epoch", *(n for n in names if n in table or n == "accuracy")])
    if start is not None:
        first = pd.DataFrame({"epoch": [0], "accuracy": [start]})
        table = pd.concat([first, table], ignore_index=True)[table.columns]
    if table["accuracy"].isna().all():
        table = table.drop(columns="accuracy")
    return table.rename(columns={name: f"trained_{name}" for name in names})


def change_of(training, name, digits=3):
    """A number of the epochs from the first to the last, in words."""
    values = training.epochs[name].dropna()
    first, last = (f"{value:.{digits}g}" for value in (values.iloc[0], values.iloc[-1]))
    epochs = training.epochs.loc[values.index, "epoch"]
    return f"from {first} in epoch {epochs.iloc[0]} to {last} in epoch {epochs.iloc[-1]}"


def accuracy_change(training, start):
    """Rank and accuracy of a run in words, beside the accuracy before it."""
    text = f"The effective rank went {change_of(training, 'effective_rank')}."
    if start is None:
        return text + "\nNo set was watched: name one as `monitor`."
    return text + (
        f"\nThe accuracy was {start:.3g} before training and went "
        f"{change_of(training, 'accuracy')}."
    )


def warning_lines(training):
    """The collapse warnings of all epochs, to be seen, in Markdown."""
    lines = [
        f"> **Warning, epoch {epoch}:** {text}"
        for epoch, found in training.epochs[["epoch", "warnings"]].itertuples(index=False)
        for text in found
    ]
    return "\n>\n".join(lines) or "No epoch showed a sign of collapse."


def drawn_views(training, local=3):
    """Arguments of `training_plots.views`: an image of every set, and what is cut from it.

    Of some images spread over a set the one of highest contrast is taken.

    Parameters
    ----------
    training : Training
    local : int
        Local views shown.
    """
    settings = augment.ViewSettings.of(training.options)
    drawn = {name: training.options[name] for name in ("intensity_scaling", "seed")}
    rows = []
    for part in training.planes()[:5]:
        images = TrainingImages([part], settings, **drawn)
        spread = np.unique(np.linspace(0, len(part) - 1, _CANDIDATES).astype(int))
        made = [_cut(part, images, settings, int(number)) for number in spread]
        rows.append(max(made, key=lambda row: row["image"].std()))
    return {"rows": rows, "local": min(local, settings.local_crops_number)}


def _cut(part, images, settings, number):
    """The first plane of an image, its views, and where they lie: (top, left, side)."""
    rng = np.random.default_rng([images.seed, number])
    again = copy.deepcopy(rng)
    item = images.item(number, rng) | {"unread": []}
    at = number * images.channels
    plane = PlaneReader(**part.reading).plane(part.files[at], int(part.numbers[number, 0]))
    corners, draws, _, _ = augment.draw_views(again, settings, *plane.shape, images.channels)
    sides = np.array(settings.sizes) * draws[:, augment.INVERSE_ZOOM]
    centres = corners + draws[:, [augment.CENTRE_Y, augment.CENTRE_X]]
    low, high = item["low"][0], item["high"][0]
    batch = collate([item])
    made = views_of(batch, settings, torch.device("cpu"))
    return {
        "name": part.name,
        "image": ((plane.astype(np.float32) - low) / (high - low)).clip(0, 1),
        "boxes": np.column_stack([centres - sides[:, None] / 2, sides]),
        "views": [view[0].numpy() for drawn_views in made for view in drawn_views],
    }


def file_list(training):
    """What a training left, one file a line."""
    wording = {
        WEIGHTS: "the teacher, to use",
        ROLLING: "everything, to go on with the same command",
        "checkpoint*.pth": "the same after some epochs",
        STEPS: "numbers of every step",
        EPOCHS: "numbers of every epoch",
        CONFIG: "all options",
        ENVIRONMENT: "versions, devices, command",
        "tensorboard": "the numbers for TensorBoard",
        "train.log": "what the training said",
        LOG: "what its processes printed",
    }
    lines = []
    for pattern, text in wording.items():
        found = [p for p in training.folder.glob(pattern) if p.name == pattern or p.name != ROLLING]
        if found:
            name = pattern if len(found) > 1 else found[0].name
            lines.append(f"{name:<22}{text}")
    return "\n".join(lines)


_LIGHT, _MEAN, _BOUND = plots.PALETTE[4], plots.PALETTE[0], plots.PALETTE[5]
_GLOBAL, _LOCAL = plots.PALETTE[1], plots.PALETTE[4]

_SCHEDULES = {
    "lr": "learning rate",
    "weight_decay": "weight decay",
    "momentum": "teacher momentum",
    "teacher_temp": "teacher temperature",
}


def _course(axis, steps, epochs, name, label):
    """A number at every step, light, and its mean over each epoch."""
    axis.plot(steps["epochs_done"], steps[name], color=_LIGHT, lw=0.8, alpha=0.8, label="step")
    middle = epochs["epoch"] - 0.5
    axis.plot(middle, epochs[name], "o-", color=_MEAN, markersize=4, label="mean of the epoch")
    axis.set(xlabel="epochs done", ylabel=label, xlim=(0, steps["epochs_done"].max()))
    axis.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axis.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=8.5, frameon=False)


def _bound(axis, value, text):
    axis.axhline(value, color=_BOUND, ls="--", lw=1)
    axis.annotate(
        text, (0.995, value), xycoords=("axes fraction", "data"), xytext=(0, 3),
        textcoords="offset points", ha="right", va="bottom", color=_BOUND, fontsize=8.5,
    )  # fmt: skip


def plot_loss(steps, epochs, out_dim, heading):
    """The loss by step and epoch, and where it stays if nothing is learnt.

    Parameters
    ----------
    steps, epochs : pd.DataFrame
        Logs of a training; `steps` with ``epochs_done``.
    out_dim : int
        K.
    heading : str
    """
    figure, axes = plots.subplots(3.0)
    axis = axes[0, 0]
    high = steps["loss"].max()
    if "distil_loss" in steps:
        _course(axis, steps, epochs, "loss", "loss")
    else:
        _course(axis, steps, epochs, "loss", "loss (nats)")
        most = math.log(out_dim)
        _bound(axis, most, f"ln {out_dim} = {most:.2f}")
        high = max(most, high)
    # Not from zero: a short run moves little, and how much is what the figure is for.
    low = steps["loss"].min()
    axis.set_ylim(low - 0.1 * (high - low), high + 0.15 * (high - low))
    axis.set_title(heading)
    return figure


def plot_entropy(steps, epochs, out_dim, heading):
    """The teacher's entropy between its two ends. Parameters as `loss`."""
    figure, axes = plots.subplots(3.0)
    axis = axes[0, 0]
    if "teacher_entropy" not in steps:
        axis.text(0.5, 0.5, "no self-distillation: there is no teacher to decide", ha="center")
        axis.set_axis_off()
        return figure
    _course(axis, steps, epochs, "teacher_entropy", "teacher's entropy (nats)")
    most = math.log(out_dim)
    _bound(axis, most, f"ln {out_dim}: all prototypes alike")
    _bound(axis, 0, "0: one prototype takes all")
    axis.set_ylim(-0.04 * most, 1.12 * most)
    axis.set_title(heading)
    return figure


def plot_schedules(steps, heading):
    """What changes by plan, one panel each.

    Parameters
    ----------
    steps : pd.DataFrame
        With ``epochs_done``.
    heading : str
    """
    figure, axes = plots.subplots(3.6, 2, 2, sharex=True)
    for axis, (name, label) in zip(axes.flat, _SCHEDULES.items(), strict=True):
        axis.plot(steps["epochs_done"], steps[name], color=_MEAN, lw=1.4)
        axis.set_title(label, fontsize=9.5)
        axis.yaxis.set_major_locator(MaxNLocator(4))
        axis.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        axis.set_xlim(0, steps["epochs_done"].max())
        if name != "momentum":
            axis.set_ylim(0, 1.1 * steps[name].max() or 1)
        axis.ticklabel_format(axis="y", useOffset=False, scilimits=(-3, 4))
    for axis in axes[1]:
        axis.set_xlabel("epochs done")
    figure.suptitle(heading, fontsize=10.5)
    return figure


def plot_embeddings(epochs, monitor, start, heading):
    """Effective rank of the embeddings and, where one is watched, accuracy on the monitor.

    Parameters
    ----------
    epochs : pd.DataFrame
    monitor : str or None
        What the accuracy is of.
    start : float or None
        Accuracy before the first step.
    heading : str
    """
    figure, axes = plots.subplots(3.0, 1, 2 if monitor else 1)
    rank = axes[0, 0]
    rank.plot(epochs["epoch"], epochs["effective_rank"], "o-", color=_MEAN, markersize=4)
    rank.set(ylabel="effective rank", ylim=(0, 1.15 * epochs["effective_rank"].max()))
    _bound(rank, 1, "1: all images look alike")
    if monitor:
        axis = axes[0, 1]
        seen = epochs.dropna(subset="accuracy")
        x, y = seen["epoch"].tolist(), seen["accuracy"].tolist()
        if start is not None:
            axis.plot(0, start, "s", color=_BOUND, markersize=6, label="before training", zorder=3)
            axis.axhline(start, color=_BOUND, ls="--", lw=1)
            x, y = [0, *x], [start, *y]
            axis.legend(loc="lower right", fontsize=8.5, frameon=False)
        axis.plot(x, y, "o-", color=_MEAN, markersize=4)
        axis.set(ylabel=monitor, ylim=(0, min(1, 1.4 * max(y) + 0.02)))
    for axis in axes[0]:
        axis.set(xlabel="epochs done", xlim=(-0.15, epochs["epoch"].max() + 0.15))
        axis.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    figure.suptitle(heading, fontsize=10.5)
    return figure


def plot_views(rows, local, heading):
    """Images, where their views lie, and the views as the networks see them.

    Parameters
    ----------
    rows : list of dict
        From `train_report.views`: name, image, boxes and views, the two global ones first.
    local : int
        Local views shown.
    heading : str
    """
    titles = ["image", "global view 1", "global view 2"]
    titles += [f"local view {i + 1}" for i in range(local)]
    side = plots.WIDTH / len(titles)
    figure, axes = plots.subplots(side * len(rows) + 0.7, len(rows), len(titles))
    for line, row in zip(axes, rows, strict=True):
        for i, axis in enumerate(line):
            image = row["image"] if i == 0 else row["views"][i - 1]
            axis.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="antialiased")
            axis.set(xticks=[], yticks=[])
            colour = "#FFFFFF" if i == 0 else _GLOBAL if i < 3 else _LOCAL
            axis.spines[:].set(visible=i > 0, color=colour, linewidth=1.6)
        for i, (top, left, width) in enumerate(row["boxes"][: 2 + local]):
            colour = _GLOBAL if i < 2 else _LOCAL
            corner = (left - 0.5, top - 0.5)
            line[0].add_patch(plt.Rectangle(corner, width, width, fill=False, ec=colour, lw=1.2))
        line[0].set_ylabel(row["name"], fontsize=8.5)
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=8.5)
    figure.suptitle(heading, fontsize=10.5)
    return figure
