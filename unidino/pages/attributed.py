"""What the page of attribution shows: values of channels, maps of pixels, and what they say."""

import textwrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter

from ..evaluate.attribution import ALL, LEAST_UNITS
from ..evaluate.bootstrap import interval_text
from ..evaluate.pixels import ALL_CELLS, DARKEST, all_cells, left_out_tiles
from . import plots
from .findings import listed

WAYS = {
    "shapley": "Shapley value",
    "alone": "alone",
    "left out": "left out",
    "permuted": "permuted",
    "forest": "forest count",
}
"""Columns of `attribution.compared` in words."""

_TESTS = {
    "deletion": "its patches, deleted first, take the treatment away sooner",
    "insertion": "inserted first, they bring it back sooner",
    "on cells": "more of it lies on cells",
}
_DONE = {"deletion": "deleted", "insertion": "inserted"}
_CLEAR = 0.05

# Attributions whose patches may speak against the treatment.
_SIGNED = ("occlusion",)

# What a channel is worth is a mean of shares: less than this is rounding.
_DECIMALS = 9
_NO_FIRST, _TIE = "–", " = "

# Pixels; noise at the limit of the background would make outlines ragged.
_SMOOTHED = 2.0


def channel_heat_maps(panels, heading, label, planted=None):
    """Values of channels, a row a label, one panel a question.

    Parameters
    ----------
    panels : dict of str to pd.DataFrame
        Title -> label, channel, shapley; of the same labels and channels.
    heading, label : str
        Label of the colour bar.
    planted : dict of str to str or pd.Series, optional
        Label -> the channel whose cell is framed.
    """
    planted = {} if planted is None else dict(planted)
    wide = {
        title: table.pivot(index="label", columns="channel", values="shapley")
        .reindex(index=list(dict.fromkeys(table["label"])))
        .reindex(columns=list(dict.fromkeys(table["channel"])))
        for title, table in panels.items()
    }
    most = max(float(np.nanmax(np.abs(table))) for table in wide.values())
    first = next(iter(wide.values()))
    width = min(plots.WIDTH, 3.2 + 0.8 * first.shape[1] * len(wide))
    figure, axes = plots.subplots(0.26 * len(first) + 1.3, 1, len(wide), width, sharey=True)
    for axis, (title, table) in zip(axes[0], wide.items(), strict=True):
        mesh = axis.imshow(table, aspect="auto", vmin=-most, vmax=most, cmap="PuOr_r")
        for (row, column), value in np.ndenumerate(table.to_numpy()):
            colour = "white" if abs(value) > 0.7 * most else "black"
            axis.text(
                column, row, f"{value:.2f}", ha="center", va="center", color=colour, fontsize=8.5
            )
            if planted.get(table.index[row]) == table.columns[column]:
                axis.add_patch(
                    plt.Rectangle(
                        (column - 0.46, row - 0.44), 0.92, 0.88, fill=False, ec="black", lw=2
                    )
                )
        axis.set_xticks(range(table.shape[1]), table.columns)
        axis.set_yticks(range(len(table)), table.index, fontsize=8.5)
        if ALL in table.index:
            axis.axhline(list(table.index).index(ALL) - 0.5, color="black", lw=0.8)
        axis.tick_params(length=0)
        axis.spines[:].set_visible(False)
        axis.set_title(title, fontsize=9.5)
    figure.colorbar(mesh, ax=axes[0].tolist(), label=label)
    figure.suptitle(heading, fontsize=10.5)
    return figure


def pixel_maps(rows, heading):
    """Tiles, and what is attributed to their patches with the outlines of cells.

    Parameters
    ----------
    rows : list of (str, list of (str, numpy.ndarray, numpy.ndarray))
        Title of a row -> its pictures: title, values, cells (h, w) bool. Values of the cells' shape
        are a tile, from 0 to 1; others are of its patches. Those of occlusion have a scale that is
        symmetric about 0, one for all of a row; those of other attributions begin at 0. Cells have
        no outline where a tile is `pixels.all_cells`.
    heading : str
    """
    columns = max(len(pictures) for _, pictures in rows)
    # Maps are coarse, and tiles hold little more than a hundred pixels a side.
    side = min(0.95, plots.WIDTH / columns)
    figure, axes = plots.subplots(
        side * 1.05 * len(rows) + 0.5, len(rows), columns, side * columns + 0.5
    )
    for number, (line, (title, pictures)) in enumerate(zip(axes, rows, strict=True)):
        # By name: where no patch speaks against the treatment, the colours still mean the same.
        signed = [np.abs(values).max() for name, values, _ in pictures if name in _SIGNED]
        most = max(signed, default=0.0) or 1.0
        for axis in line[len(pictures) :]:
            axis.set_visible(False)
        for axis, (name, values, cells) in zip(line, pictures, strict=False):
            height, width = cells.shape
            scale = {"cmap": "cividis", "vmin": 0}
            if values.shape == cells.shape:
                scale = {"cmap": "gray", "vmin": 0, "vmax": 1}
            elif name in _SIGNED:
                scale = {"cmap": "PuOr_r", "vmin": -most, "vmax": most}
            axis.imshow(values, extent=(0, width, height, 0), interpolation="nearest", **scale)
            if values.shape != cells.shape and cells.any() and not all_cells(cells):
                x, y = np.arange(width) + 0.5, np.arange(height) + 0.5
                outline = gaussian_filter(cells.astype(float), _SMOOTHED)
                light = "white" if scale["cmap"] == "cividis" else "black"
                axis.contour(x, y, outline, levels=[0.5], colors=light, linewidths=0.6)
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
            if not number:
                axis.set_title(name, fontsize=8.5)
        wrapped = [textwrap.fill(part, 16) for part in title.split("\n")]
        line[0].set_ylabel("\n".join(wrapped), fontsize=8.5)
    figure.suptitle(heading, fontsize=10.5)
    return figure


def fidelity_curves(curves, heading):
    """Mean curves of tiles, a row a test and a column a case; chance is grey.

    Parameters
    ----------
    curves : pd.DataFrame
        case, attribution ("random" for chance), test, patches, score, as of `pixels.examined`.
    heading : str
    """
    cases = list(dict.fromkeys(curves["case"]))
    names = [name for name in dict.fromkeys(curves["attribution"]) if name != "random"]
    colours = {name: plots.PALETTE[i] for i, name in enumerate(names)} | {"random": "#999999"}
    figure, axes = plots.subplots(
        1.5 * len(_DONE) + 0.9, len(_DONE), len(cases), 2.2 * len(cases), sharex=True, sharey="col"
    )
    for line, test in zip(axes, _DONE, strict=True):
        for axis, case in zip(line, cases, strict=True):
            part = curves[(curves["case"] == case) & (curves["test"] == test)]
            for name, own in part.groupby("attribution", sort=False):
                mean = own.groupby("patches")["score"].mean()
                style = {"ls": "--", "zorder": 1} if name == "random" else {"marker": "o", "ms": 3}
                axis.plot(mean.index, mean, color=colours[name], label=name, **style)
            axis.axhline(0, color="#DDDDDD", lw=0.8, zorder=0)
            if test == next(iter(_DONE)):
                axis.set_title(case, fontsize=9)
            axis.set_xlabel(f"share of patches {_DONE[test]}", fontsize=8.5)
        line[0].set_ylabel(f"{test}:\ncontrol 0, treated 1")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    figure.suptitle(heading, fontsize=10.5)
    return figure


def _first(part, way):
    """The channel of the greatest value above 0, several where they tie, or that there is none."""
    values = part.set_index("channel")[way].astype(float).round(_DECIMALS)
    return _TIE.join(values.index[(values == values.max()) & (values > 0)]) or _NO_FIRST


def _has_first(first):
    """Which texts of `_first` name one channel alone."""
    return (first != _NO_FIRST) & ~first.str.contains(_TIE, regex=False)


def first_by_each_way(table):
    """The channel that each way puts first, a row a label.

    Parameters
    ----------
    table : pd.DataFrame
        From `attribution.compared`.

    Returns
    -------
    pd.DataFrame
        Columns as `WAYS` says; channels of the same value stand beside each other, "–" where no
        channel has a value above 0: what is worth nothing is first in nothing.
    """
    groups = table.groupby("label", sort=False)
    return groups.apply(
        lambda part: pd.Series({WAYS[way]: _first(part, way) for way in WAYS}),
        include_groups=False,
    ).rename_axis("label")


def overall(table):
    """What the channels are worth over all labels, and which labels have no interval, in Markdown.

    Parameters
    ----------
    table : pd.DataFrame
        From `attribution.shapley` or `attribution.compared`.

    Returns
    -------
    str
    """
    own = table[table["label"] == ALL]
    parts = [
        f"{row.channel} {interval_text(row.shapley, row.low, row.high)}" for row in own.itertuples()
    ]
    units = own["units"].iloc[0]
    said = (
        f"Over all {units} compounds the channels are worth {listed(parts)}, in sum "
        f"{own['shapley'].sum():.2f}."
    )
    labels = table[table["label"] != ALL].drop_duplicates("label")
    few = labels[labels["units"] < LEAST_UNITS]
    if len(few) == len(labels):
        said += f" No mechanism has {LEAST_UNITS} compounds: their values stand without interval."
    elif len(few):
        said += (
            f" {len(few)} of {len(labels)} mechanisms have fewer than {LEAST_UNITS} compounds and "
            "no interval."
        )
    return said


def agreement(table):
    """Which mechanisms are found at all, and whether other ways put the same channel first.

    Parameters
    ----------
    table : pd.DataFrame
        From `attribution.compared`.

    Returns
    -------
    str
        Markdown.
    """
    own = table[table["label"] != ALL]
    first = first_by_each_way(own)
    by_value = first[WAYS["shapley"]]
    clear = _has_first(by_value)
    parts = [
        f"{name} in {int((first[name] == by_value)[clear].sum())}"
        for name in list(first.columns)[1:]
    ]
    # Shapley values sum to what all channels score together, less what exchanged labels do.
    together = own.groupby("label", sort=False)["shapley"].sum().round(_DECIMALS)
    lost = list(together.index[together <= 0])
    return (
        f"All channels together score more than exchanged labels in {len(together) - len(lost)} of "
        f"{len(together)} mechanisms"
        + (f" (not in {listed(lost)})" if lost else "")
        + f". The Shapley value puts one channel first in {int(clear.sum())} of {len(first)}: "
        "channels that tie have no first among them, nor have those that are worth nothing or less "
        f"(“{_NO_FIRST}”). Of these {int(clear.sum())} the same channel alone comes first by "
        f"{listed(parts)}."
    )


def planted_found(found):
    """How often the planted channel comes first, in Markdown.

    Parameters
    ----------
    found : pd.DataFrame
        features, and the columns of `attribution.found_first`.

    Returns
    -------
    str
        A list, one item a feature set.
    """
    items = []
    for name, rows in found.groupby("features", sort=False):
        parts = [f"{row.first} by {WAYS[row.way]}" for row in rows.itertuples()]
        items.append(
            f"- `{name}`: of {rows['of'].iloc[0]} mechanisms that change one stain only, the "
            f"planted channel comes first in {listed(parts)}; by chance it would in "
            f"{rows['by chance'].iloc[0]:.1f}."
        )
    return "\n".join(items)


def emptied(curves):
    """Where tiles lie once all of their patches are deleted, in a sentence.

    Parameters
    ----------
    curves : pd.DataFrame
        As of `fidelity_curves`.

    Returns
    -------
    str
    """
    own = curves[(curves["attribution"] == "random") & (curves["test"] == "deletion")]
    ends = own[own["patches"] == 1].groupby("case", sort=False)["score"].mean()
    parts = [f"{score:.2f} ({case})" for case, score in ends.items()]
    return (
        f"A tile of nothing but its background lies at {listed(parts)}: what is near 1 "
        "or beyond says that the model takes emptiness for the treatment; a curve need not end at "
        "0."
    )


def filled(scores):
    """What stands for the background of tiles that are all cells, in a sentence.

    Parameters
    ----------
    scores : pd.DataFrame
        case, tile, cells, as of `pixels.examined`.

    Returns
    -------
    str
        Nothing where each tile has a background.
    """
    covered = scores.drop_duplicates(["case", "tile"])["cells"]
    full = int((covered >= ALL_CELLS).sum())
    if not full:
        return ""
    return (
        f"{full} of {len(covered)} tiles are all cells (at least {100 * ALL_CELLS:.0f} % of their "
        "pixels): what stands for their background is drawn from the darkest "
        f"{100 * DARKEST:.0f} % of them."
    )


def believed(scores):
    """In how many tiles an attribution beats random orders of patches, in Markdown.

    Whether more of it lies on cells is asked of tiles that are not all cells.

    Parameters
    ----------
    scores : pd.DataFrame
        attribution, test, value, random_low, random_high, p_value, cells, as of `pixels.examined`;
        a row a tile.

    Returns
    -------
    str
        A list, one item an attribution.
    """
    items = []
    for name, part in scores.groupby("attribution", sort=False):
        said = []
        for test, words in _TESTS.items():
            own, which = part[part["test"] == test], ""
            if test == "on cells":
                own, which = own[own["cells"] < ALL_CELLS], " that are not all cells"
            # A p-value of 1 is not enough: it is that of a tie with all orders, too.
            beyond = own["random_high"] if test == "deletion" else own["random_low"]
            step = own["value"] - beyond if test == "deletion" else beyond - own["value"]
            worse = int((step.round(_DECIMALS) > 0).sum())
            said.append(
                f"in {int((own['p_value'] <= _CLEAR).sum())} of {len(own)} tiles{which} {words}"
                + (f" (in {worse} it is worse than each random order)" if worse else "")
            )
        items.append(f"- **{name}**, against random orders of the patches: {listed(said)}.")
    return "\n".join(items)


def chosen_tiles(profiles, channel, again):
    """By which channel tiles were chosen, and how many are not there for it, in Markdown.

    Parameters
    ----------
    profiles : pd.DataFrame
        Wells of an extraction: Metadata_tiles and Metadata_tiles_kept.
    channel : str or None
        The extraction's foreground_channel; None where it is not known.
    again : bool
        Whether `pixels.by_any_channel` makes up for it.

    Returns
    -------
    str
    """
    if channel is None or "Metadata_tiles_kept" not in profiles:
        return "The profiles do not say which tiles they are made of."
    count, gone = profiles["Metadata_tiles"].sum(), left_out_tiles(profiles)
    lost = int((gone > 0).sum())
    by = "any channel" if channel == "any" else f"the channel {channel} alone"
    said = (
        f"Tiles were chosen by {by}: {gone.sum():.0f} of {count:.0f} are left out, in {lost} of "
        f"{len(profiles)} wells."
    )
    if channel != "any" and lost:
        said += (
            f" Where {channel} shows little, the other channels are looked at less, too: they know "
            f"it from {channel}. "
        )
        said += (
            "Their wells were embedded again for this page, with tiles chosen by any channel."
            if again
            else "`foreground_channel='any'` extracts profiles without this leak."
        )
    return said


def moved(table, other):
    """How much values differ by two ways to make profiles, in Markdown.

    Parameters
    ----------
    table, other : pd.DataFrame
        Of `attribution.shapley`, of the same labels and channels.

    Returns
    -------
    str
    """
    both = table.merge(other, on=["label", "channel"], suffixes=("", "_other"))
    step = (both["shapley"] - both["shapley_other"]).abs()
    if not (step > 0).any():
        return "No value differs."
    groups = both[both["label"] != ALL].groupby("label")
    first, second = (
        groups.apply(lambda part, name=name: _first(part, name), include_groups=False)
        for name in ("shapley", "shapley_other")
    )
    clear = _has_first(first) | _has_first(second)
    return (
        f"The values over all compounds differ by at most {step[both['label'] == ALL].max():.2f}, "
        f"those of single mechanisms by at most {step[both['label'] != ALL].max():.2f}; the first "
        f"channel is the same in {int((first == second)[clear].sum())} of {int(clear.sum())} "
        "mechanisms that have one first channel by either."
    )
