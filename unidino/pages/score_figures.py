"""Figures of scores: what each feature set reaches, question by question, with its interval."""

import textwrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.patheffects import withStroke

from .plots import MARKERS, PALETTE, WIDTH, subplots

_EXCHANGED = "#E3E3E3"
_DASHES = ("-", "--", "-.", ":", (0, (1, 1)), (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (8, 3)))


def _nothing(heading):
    """A figure that says that there are no scores to draw."""
    figure, axes = subplots(1.2)
    axes[0, 0].set_axis_off()
    axes[0, 0].text(0.5, 0.5, "nothing to draw: this cannot be asked", ha="center", va="center")
    figure.suptitle(heading, fontsize=10.5)
    return figure


def score_panels(
    scores,
    heading,
    label="accuracy",
    groups=None,
    columns=3,
    most=1.0,
    floor="labels exchanged",
):
    """One panel a question: a row a feature set, marks with their intervals.

    Parameters
    ----------
    scores : pd.DataFrame
        features, level, accuracy, n, value, low, high; and null_low and null_high, where the
        range of exchanged labels is drawn behind a row; hue, where rows have several marks; and
        said, which is written where there is no value. Without rows, the figure says that there is
        nothing to draw.
    heading : str
    label : str
        Of the axes of values; where some are negative, a line marks 0.
    groups : dict of str to str, optional
        Feature set -> its group, by which rows are coloured; one colour otherwise.
    columns : int
        Panels beside each other.
    most : float
        End of the axes, where the intervals do not end before it.
    floor : str
        What the range from null_low to null_high is of.
    """
    asked = list(scores[["accuracy", "level"]].drop_duplicates().itertuples(index=False, name=None))
    if not asked:
        return _nothing(heading)
    names = list(dict.fromkeys(scores["features"]))
    groups = groups or {}
    hues = list(dict.fromkeys(scores["hue"])) if "hue" in scores else [None]
    kinds = list(dict.fromkeys(groups.get(name) for name in names)) if len(hues) == 1 else hues
    columns = min(columns, len(asked))
    rows = -(-len(asked) // columns)
    parts = {
        (accuracy, level): scores[(scores["accuracy"] == accuracy) & (scores["level"] == level)]
        for accuracy, level in asked
    }
    titles = [_title(*key, part, 96 // columns) for key, part in parts.items()]
    lines = 1 + max(title.count("\n") for title in titles)
    side = 0.21 * len(names) * max(1, 0.7 * len(hues))
    figure, axes = subplots(
        rows * (side + 0.6 + 0.15 * lines) + 0.75, rows, columns, sharey=True, sharex=True
    )
    for axis in axes.flat[len(asked) :]:
        axis.set_visible(False)
    signed = scores["low"].min() < 0
    for axis, title, part in zip(axes.flat, titles, parts.values(), strict=False):
        for row in part.itertuples():
            kind = groups.get(row.features) if len(hues) == 1 else row.hue
            _draw_score(axis, row, names, hues, kinds.index(kind))
        axis.set_title(title, fontsize=9)
        axis.set_yticks(range(len(names)), names, fontsize=8.5)
        axis.set_ylim(len(names) - 0.4, -0.6)
        axis.tick_params(axis="y", length=0)
        axis.grid(axis="y", color="#EEEEEE", lw=0.6)
        axis.set_axisbelow(True)
        if signed:
            axis.axvline(0, color="#888888", lw=0.8, zorder=0)
    if not signed:
        # Marks at 0 are drawn whole.
        right = min(most, scores["high"].max() * 1.04)
        axes[0, 0].set_xlim(-0.02 * right, 1.02 * right)
    for axis in axes.flat[max(0, len(asked) - columns) : len(asked)]:
        axis.set_xlabel(label, fontsize=9)
        axis.tick_params(labelbottom=True)
    figure.suptitle(heading, fontsize=10.5)
    handles = [
        plt.Line2D([], [], color=PALETTE[i % 8], marker=MARKERS[i % 8], ls="", label=kind)
        for i, kind in enumerate(kinds)
        if kind is not None
    ]
    if "null_low" in scores and scores["null_low"].notna().any():
        handles.append(plt.Rectangle((0, 0), 1, 1, color=_EXCHANGED, label=floor))
    if handles:
        figure.legend(
            handles=handles, loc="outside lower center", ncols=min(4, len(handles)), frameon=False
        )
    return figure


def _title(accuracy, level, part, width):
    """A panel's title with the number of profiles; more than `width` characters on lines."""
    count = part["n"][part["value"].notna()]
    n = f"{count.min()}" if count.nunique() < 2 else f"{count.min()} to {count.max()}"
    asked, counted = str(accuracy), f"({level}, n = {n})"
    if len(asked) + len(counted) < width:
        return f"{asked} {counted}"
    return "\n".join([*textwrap.wrap(asked, width), *textwrap.wrap(counted, width)])


def _draw_score(axis, row, names, hues, i):
    """One mark with its interval, before the range of exchanged labels."""
    y, half, place = names.index(row.features), 0.4 / len(hues), 0
    if len(hues) > 1:
        place = hues.index(row.hue)
    if pd.isna(row.value):
        if place == 0:
            axis.text(0, y, getattr(row, "said", ""), va="center", fontsize=8.5)
        return
    y += 2 * half * (place + 0.5) - 0.4
    if pd.notna(getattr(row, "null_low", np.nan)):
        axis.fill_betweenx(
            [y - half, y + half], row.null_low, row.null_high, color=_EXCHANGED, lw=0, zorder=0
        )
    # An interval without width may miss its value by rounding.
    arms = [[max(0, row.value - row.low)], [max(0, row.high - row.value)]]
    axis.errorbar(
        row.value, y, xerr=arms, fmt=MARKERS[i % 8], color=PALETTE[i % 8], markersize=4.5, lw=1.2
    )


def counts_heat_map(counts, heading, label, expected=None):
    """Counts of a table as a heat map, each written into its cell.

    Parameters
    ----------
    counts : pd.DataFrame
        Rows and columns named as they are drawn.
    heading, label : str
        Label of the colour bar.
    expected : float, optional
        Drawn on the colour bar as a line: what there would be without any preference.
    """
    figure, axes = subplots(0.26 * len(counts) + 1.3, width=min(WIDTH, 3.4 + 0.8 * counts.shape[1]))
    axis = axes[0, 0]
    mesh = axis.imshow(counts, aspect="auto", vmin=0, cmap="cividis")
    middle = counts.to_numpy().max() / 2
    for (row, column), value in np.ndenumerate(counts.to_numpy()):
        colour = "white" if value < middle else "black"
        axis.text(column, row, f"{value:.0f}", ha="center", va="center", color=colour, fontsize=8.5)
    axis.set_xticks(range(counts.shape[1]), counts.columns)
    axis.set_yticks(range(len(counts)), counts.index, fontsize=8.5)
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    bar = figure.colorbar(mesh, ax=axis, label=label)
    if expected is not None:
        bar.ax.axhline(expected, color="white", lw=2)
    axis.set_title(heading)
    return figure


def strength_curves(scores, heading, label="accuracy"):
    """Scores against a planted strength, a line with intervals for each feature set.

    Parameters
    ----------
    scores : pd.DataFrame
        features, strength, value, low, high, null_low, null_high; the range of the last two over
        all feature sets is drawn as a band.
    heading : str
    label : str
        Of the axis of values.
    """
    steps = sorted(scores["strength"].unique())
    names = list(dict.fromkeys(scores["features"]))
    figure, axes = subplots(3.8)
    axis = axes[0, 0]
    floor = scores.groupby("strength").agg(low=("null_low", "min"), high=("null_high", "max"))
    at = np.arange(len(steps))
    wide = np.concatenate([[at[0] - 0.4], at, [at[-1] + 0.4]])
    # Yellow fades on white and grey: it comes last.
    colours = [*PALETTE[:6], PALETTE[7], PALETTE[6]]
    low, high = (np.pad(floor.loc[steps, name], 1, "edge") for name in ("low", "high"))
    axis.fill_between(wide, low, high, color=_EXCHANGED, lw=0, label="labels exchanged")
    for i, name in enumerate(names):
        part = scores[scores["features"] == name].set_index("strength").loc[steps]
        arms = [(part["value"] - part["low"]).clip(0), (part["high"] - part["value"]).clip(0)]
        aside = 0.5 * ((i + 0.5) / len(names) - 0.5)
        axis.errorbar(
            at + aside, part["value"], yerr=arms, fmt=f"-{MARKERS[i % 8]}", color=colours[i % 8],
            markersize=4.5, lw=1.1, label=name,
        )  # fmt: skip
    axis.set_xticks(at, [f"{step:g}" for step in steps])
    axis.set(xlabel="planted strength (in order, not to scale)", ylabel=label, ylim=(-0.02, 1.04))
    axis.set_xlim(wide[0], wide[-1])
    axis.set_title(heading)
    axis.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=8.5, frameon=False)
    return figure


def _curve_style(number):
    """Colour and dashes of a curve."""
    colour = PALETTE[number % 8]
    # Yellow fades on white without a darker edge.
    edge = [withStroke(linewidth=2.6, foreground="#777777")] if colour == PALETTE[6] else []
    return {"color": colour, "ls": _DASHES[number % 8], "lw": 1.6, "path_effects": edge}


def curve_panels(curves, heading, axes_names, columns=3):
    """Curves in several panels, the same colour and dashes for a name in each.

    Parameters
    ----------
    curves : pd.DataFrame
        panel (its title), name, x, y, in the order in which they are drawn; low and high where a
        band is drawn around a curve. At most eight names are told apart.
    heading : str
    axes_names : (str, str)
    columns : int
        Panels beside each other.
    """
    panels = list(dict.fromkeys(curves["panel"]))
    if not panels:
        return _nothing(heading)
    names = list(dict.fromkeys(curves["name"]))
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    figure, axes = subplots(2.4 * rows + 0.9, rows, columns, sharex=True, sharey=True)
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    for axis, panel in zip(axes.flat, panels, strict=False):
        for i, name in enumerate(names):
            part = curves[(curves["panel"] == panel) & (curves["name"] == name)]
            axis.plot(part["x"], part["y"], **_curve_style(i))
            if "low" in curves:
                axis.fill_between(
                    part["x"], part["low"], part["high"], color=PALETTE[i % 8], alpha=0.15, lw=0
                )
        if curves["y"].min() < 0:
            axis.axhline(0, color="#888888", lw=0.8, zorder=0)
        axis.set_title(panel, fontsize=9)
    for axis in axes[-1]:
        axis.set_xlabel(axes_names[0], fontsize=9)
    for axis in axes[:, 0]:
        axis.set_ylabel(axes_names[1], fontsize=9)
    figure.suptitle(heading, fontsize=10.5)
    handles = [plt.Line2D([], [], **_curve_style(i), label=name) for i, name in enumerate(names)]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=min(4, len(handles)), frameon=False
    )
    return figure


def tradeoff(panels, axes_names, heading, bands=None):
    """Two scores of each way to do something, with intervals, one panel a set.

    Parameters
    ----------
    panels : dict of str to pd.DataFrame
        Title -> one row a way: ``name``, ``kind`` (which gives the colour, at most seven), x,
        x_low, x_high, y, y_low, y_high. A way has the same mark in every panel.
    axes_names : (str, str)
    heading : str
    bands : dict of str to (float, float), optional
        Title -> range of x that chance gives, drawn grey.
    """
    rows = pd.concat(panels.values())
    kinds = list(dict.fromkeys(rows["kind"]))
    names = list(dict.fromkeys(rows["name"]))
    kind_of = rows.drop_duplicates("name").set_index("name")["kind"]
    place = {
        name: [other for other in names if kind_of[other] == kind_of[name]].index(name)
        for name in names
    }
    styles = {name: (PALETTE[kinds.index(kind_of[name])], MARKERS[place[name]]) for name in names}
    across = min(2, len(panels))
    down = -(-len(panels) // across)
    beside = len(names) if len(names) < 7 else 4 if max(map(len, names)) < 20 else 3
    height = 3.1 * down + 0.6 + 0.21 * -(-len(names) // beside)
    figure, axes = subplots(height, down, across, sharex=True, sharey=True)
    for axis, (title, points) in zip(axes.flat, panels.items(), strict=False):
        if bands and title in bands:
            axis.axvspan(*bands[title], color=_EXCHANGED, lw=0, zorder=0)
        for row in points.itertuples():
            colour, marker = styles[row.name]
            axis.errorbar(
                row.x, row.y,
                xerr=[[max(0, row.x - row.x_low)], [max(0, row.x_high - row.x)]],
                yerr=[[max(0, row.y - row.y_low)], [max(0, row.y_high - row.y)]],
                fmt=marker, color=colour, markersize=8 if marker == "*" else 6, lw=0.8,
                markeredgecolor="white", markeredgewidth=0.5, alpha=0.9,
            )  # fmt: skip
        axis.set_title(title, fontsize=9.5)
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    for axis in axes[-1]:
        axis.set_xlabel(axes_names[0], fontsize=9)
    for axis in axes[:, 0]:
        axis.set_ylabel(axes_names[1], fontsize=9)
    handles = [
        plt.Line2D([], [], color=styles[name][0], marker=styles[name][1], ls="", label=name)
        for name in names
    ]
    if bands:
        handles.append(plt.Rectangle((0, 0), 1, 1, color=_EXCHANGED, label="batches exchanged"))
    figure.legend(
        handles=handles, loc="outside lower center", ncols=beside, frameon=False, fontsize=8.5
    )
    figure.suptitle(heading, fontsize=10.5)
    return figure


def series_panels(panels, ways, label, heading):
    """A score of each member of several ordered groups, one panel a group, one mark a way.

    Parameters
    ----------
    panels : dict of str to pd.DataFrame
        Title -> one row a member and way: ``name`` (in order), ``way``, ``value`` (0 to 1).
    ways : list of str
        At most eight, in the order of the legend.
    label : str
        Of the values.
    heading : str
    """
    sizes = [rows["name"].nunique() for rows in panels.values()]
    figure, axes = subplots(3.6, 1, len(panels), sharey=True, width_ratios=[n + 1.5 for n in sizes])
    for axis, (title, rows) in zip(axes[0], panels.items(), strict=True):
        names = list(dict.fromkeys(rows["name"]))
        for i, way in enumerate(ways):
            part = rows[rows["way"] == way].set_index("name").reindex(names)
            axis.plot(
                np.arange(len(names)), part["value"], color=PALETTE[i], marker=MARKERS[i],
                markersize=4.5, lw=0.8, clip_on=False,
            )  # fmt: skip
        axis.set_xticks(range(len(names)), names, rotation=90, fontsize=8)
        axis.set_xlim(-0.5, len(names) - 0.5)
        axis.set_title(title, fontsize=9.5)
    axes[0, 0].set(ylim=(0, 1.03), ylabel=label)
    handles = [
        plt.Line2D([], [], color=PALETTE[i], marker=MARKERS[i], lw=0.8, label=way)
        for i, way in enumerate(ways)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(ways), frameon=False)
    figure.suptitle(heading, fontsize=10.5)
    return figure
