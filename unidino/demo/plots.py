"""Figures of the demo model's card."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from ..pages import plots

SETS = {
    "BBBC021": "simulated BBBC021",
    "jumpcp-valset": "simulated JUMP-CP",
    "SBS plate": "real translocation plate",
    "real crops": "real BBBC021 cells, held out",
}
"""What the sets are, for readers."""

_PANELS = (
    ("accuracy of the nearest neighbour", (0, 1), lambda metric: "rows" not in metric),
    ("Spearman correlation with dose, and Z'", (-1, 1.05), lambda metric: "rows" in metric),
)


def _figure(height, rows, columns=1, **options):
    with plt.rc_context(plots.STYLE):
        return plt.subplots(
            rows, columns, figsize=(plots.WIDTH, height), layout="constrained", squeeze=False,
            **options,
        )  # fmt: skip


def evaluation(scores, heading):
    """Scores with their intervals: neighbour accuracies above, the dose response below.

    What lies beyond an axis is drawn as an arrow at its end: Z' has no lower bound.

    Parameters
    ----------
    scores : pd.DataFrame
        `scores.COLUMNS`; rows that are differences are left out.
    heading : str
    """
    scores = scores[scores["minus"] == ""]
    names = list(dict.fromkeys(scores["model"]))
    panels = [
        (label, limits, part)
        for label, limits, chosen in _PANELS
        if len(part := scores[scores["metric"].map(chosen)])
    ]
    counts = [len(part.drop_duplicates(["set", "metric"])) for _, _, part in panels]
    figure, axes = _figure(
        0.62 * sum(counts) + 0.9 * len(panels) + 0.6, len(panels), height_ratios=counts
    )
    for axis, (label, limits, part) in zip(axes[:, 0], panels, strict=True):
        groups = part.drop_duplicates(["set", "metric"])
        place = {key: y for y, key in enumerate(zip(groups["set"], groups["metric"], strict=True))}
        for y in range(1, len(place), 2):
            axis.axhspan(y - 0.5, y + 0.5, color="#F2F2F2", lw=0)
        for i, name in enumerate(names):
            shift = 0.7 * ((i + 0.5) / len(names) - 0.5)
            _points(axis, part[part["model"] == name], place, shift, i, limits)
        ticks = [
            f"{SETS.get(row.set, row.set)}\n{row.metric} (n = {row.n})"
            for row in groups.itertuples()
        ]
        axis.set_yticks(range(len(place)), ticks, fontsize=8.5)
        axis.set_ylim(len(place) - 0.5, -0.5)
        axis.set_xlim(*limits)
        axis.set_xlabel(label)
        axis.tick_params(axis="y", length=0)
    handles = [
        plt.Line2D(
            [], [], color=plots.PALETTE[i], marker=plots.MARKERS[i], markersize=5, lw=1.2,
            label=name,
        )
        for i, name in enumerate(names)
    ]  # fmt: skip
    figure.legend(
        handles=handles, loc="outside lower center", ncols=min(4, len(names)), frameon=False
    )
    figure.suptitle(heading, fontsize=10.5)
    return figure


def _points(axis, part, place, shift, i, limits):
    colour, marker = plots.PALETTE[i], plots.MARKERS[i]
    for row in part.itertuples():
        y = place[row.set, row.metric] + shift
        low, high = np.clip([row.low, row.high], *limits)
        axis.plot([low, high], [y, y], color=colour, lw=1.2)
        outside = row.value < limits[0]
        axis.plot(
            [max(row.value, limits[0])], [y], color=colour, marker="<" if outside else marker,
            markersize=5, clip_on=False,
        )  # fmt: skip


def training_curves(epochs, heading):
    """How a training went, by epoch: loss, teacher entropy, effective rank, accuracy.

    Parameters
    ----------
    epochs : pd.DataFrame
        Of ``epochs.jsonl``; columns that it lacks are left out.
    heading : str
    """
    curves = {
        "loss": "loss",
        "teacher_entropy": "teacher entropy (nats)",
        "effective_rank": "effective rank",
        "accuracy": "NSC, simulated BBBC021 (wells)",
    }
    shown = [name for name in curves if name in epochs]
    figure, axes = _figure(2.0 * -(-len(shown) // 2) + 0.4, -(-len(shown) // 2), 2, sharex=True)
    for axis, name in zip(axes.flat, shown, strict=False):
        values = epochs[["epoch", name]].apply(pd.to_numeric, errors="coerce").dropna()
        axis.plot(values["epoch"], values[name], ".-", color=plots.PALETTE[0], markersize=4)
        axis.set_title(curves[name], fontsize=9.5)
        axis.yaxis.set_major_locator(MaxNLocator(4))
        axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axis.tick_params(labelbottom=True)
        axis.set_xlabel("epoch")
    for axis in axes.flat[len(shown) :]:
        axis.set_visible(False)
    figure.suptitle(heading, fontsize=10.5)
    return figure
