"""Figures of a training: its course by epoch, its schedules, its views."""

import math

import matplotlib.pyplot as plt
from matplotlib.ticker import MaxNLocator

from . import plots

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


def loss(steps, epochs, out_dim, heading):
    """The loss by step and epoch, and where it stays if nothing is learnt.

    Parameters
    ----------
    steps, epochs : pd.DataFrame
        Logs of a training; `steps` with ``epochs_done``.
    out_dim : int
        K.
    heading : str
    """
    figure, axes = plots._figure(3.0)
    axis = axes[0, 0]
    _course(axis, steps, epochs, "loss", "loss (nats)")
    most = math.log(out_dim)
    _bound(axis, most, f"ln {out_dim} = {most:.2f}")
    # Not from zero: a short run moves little, and how much is what the figure is for.
    low, high = steps["loss"].min(), max(most, steps["loss"].max())
    axis.set_ylim(low - 0.1 * (high - low), high + 0.15 * (high - low))
    axis.set_title(heading)
    return figure


def entropy(steps, epochs, out_dim, heading):
    """The teacher's entropy between its two ends. Parameters as `loss`."""
    figure, axes = plots._figure(3.0)
    axis = axes[0, 0]
    _course(axis, steps, epochs, "teacher_entropy", "teacher's entropy (nats)")
    most = math.log(out_dim)
    _bound(axis, most, f"ln {out_dim}: all prototypes alike")
    _bound(axis, 0, "0: one prototype takes all")
    axis.set_ylim(-0.04 * most, 1.12 * most)
    axis.set_title(heading)
    return figure


def schedules(steps, heading):
    """What changes by plan, one panel each.

    Parameters
    ----------
    steps : pd.DataFrame
        With ``epochs_done``.
    heading : str
    """
    figure, axes = plots._figure(3.6, 2, 2, sharex=True)
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


def embeddings(epochs, monitor, start, heading):
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
    figure, axes = plots._figure(3.0, 1, 2 if monitor else 1)
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


def views(rows, local, heading):
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
    figure, axes = plots._figure(side * len(rows) + 0.7, len(rows), len(titles))
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
