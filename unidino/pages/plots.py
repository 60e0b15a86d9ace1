"""Figures of the book: one function a figure, readable at page width, safe for colour blindness."""

import re

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from .. import tables

WIDTH = 7.5
"""Inches; the width of a page's text."""

# Okabe and Ito's palette: told apart with every common colour vision deficiency.
PALETTE = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000",
)  # fmt: skip
MARKERS = "os^DvP*X"
OTHER = "#BBBBBB"

CONTROLS = {"negcon": "negative control", "poscon": "positive control", "empty": "empty"}
"""What figures call the kinds of control."""

STYLE = {
    "figure.dpi": 110,
    "savefig.dpi": 110,
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "image.cmap": "cividis",
    # Text stays text in PDF, so that it can be searched and edited.
    "pdf.fonttype": 42,
}


def subplots(height, rows=1, columns=1, width=WIDTH, **options):
    """(figure, axes as a grid) in the book's style; inches, options of `plt.subplots`."""
    with plt.rc_context(STYLE):
        return plt.subplots(
            rows, columns, figsize=(width, height), layout="constrained", squeeze=False, **options
        )


def category_styles(labels):
    """(colour, marker) of each label, controls first, then by name.

    The labels beyond the eight most frequent, after the controls, share grey and come last.
    """
    counts = pd.Series(list(labels)).value_counts(sort=False)
    kinds = list(CONTROLS.values())
    ordered = sorted(counts.index, key=lambda name: (name not in kinds, -counts[name], str(name)))
    shown, others = ordered[: len(PALETTE)], ordered[len(PALETTE) :]
    shown.sort(key=lambda name: (kinds.index(name) if name in kinds else len(kinds), str(name)))
    styles = dict(zip(shown, zip(PALETTE, MARKERS, strict=True), strict=False))
    return styles | dict.fromkeys(others, (OTHER, "o"))


def bar_length(width):
    """(length in µm, share of the width) of a scale bar of about a fifth of a picture's width.

    Parameters
    ----------
    width : float
        Of the picture, in µm.
    """
    best = width / 5
    power = 10 ** np.floor(np.log10(best))
    length = max(n * power for n in (1, 2, 5) if n * power <= best)
    return length, length / width


def _scale_bar(axis, image, pixel_size):
    """A bar and its length in the lower right corner of a picture; nothing without a size."""
    if pixel_size is None:
        return
    height, width = image.shape[-2:]
    length, share = bar_length(width * pixel_size)
    right, low = 0.95 * width, 0.94 * height
    edges = [withStroke(linewidth=2.5, foreground="black")]
    axis.plot(
        [right - share * width, right], [low, low], color="white", linewidth=1.8,
        solid_capstyle="butt", path_effects=[withStroke(linewidth=3.2, foreground="black")],
        scalex=False, scaley=False,
    )  # fmt: skip
    axis.text(
        right - share * width / 2, low - 0.03 * height, f"{length:g} µm", color="white",
        fontsize=7, ha="center", va="bottom", path_effects=edges,
    )  # fmt: skip


def tile_montage(sites, channels, limits, titles, heading, across=4, pixel_sizes=None):
    """One column a site, one row a channel, in the intensities that the model sees.

    A scale bar stands in the last row.

    Parameters
    ----------
    sites : list of numpy.ndarray
        Raw images, (C, H, W).
    channels : list of str
    limits : list of list of (low, high)
        Raw intensities shown black and white, for each site one pair a channel.
    titles : list of str
        One a site.
    heading : str
    across : int
        Sites that the page's width has room for, at least.
    pixel_sizes : list of float or None, optional
        Of each site, in µm; None where it is not known.
    """
    side = WIDTH / max(len(sites), across)
    height = max(image.shape[1] / image.shape[2] for image in sites) * side
    width = min(WIDTH, side * len(sites) + 0.4)
    figure, axes = subplots(height * len(channels) + 0.6, len(channels), len(sites), width)
    for row, channel in enumerate(channels):
        for column, (image, pairs) in enumerate(zip(sites, limits, strict=True)):
            axis, (low, high) = axes[row, column], pairs[row]
            axis.imshow(image[row], cmap="gray", vmin=low, vmax=high, interpolation="antialiased")
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
            if row == 0:
                axis.set_title(titles[column], fontsize=8.5)
            if column == 0:
                axis.set_ylabel(channel)
    sizes = pixel_sizes or [None] * len(sites)
    for axis, image, size in zip(axes[-1], sites, sizes, strict=True):
        _scale_bar(axis, image, size)
    figure.suptitle(heading, fontsize=10.5)
    return figure


def illumination(functions, before, after, channels, heading):
    """Illumination functions, the mean image before and after, and both across the middle.

    Parameters
    ----------
    functions, before, after : numpy.ndarray
        (C, H, W) of places in the field: the functions, and the mean images, each divided by its
        mean.
    channels : list of str
    heading : str
    """
    _, height, width = before.shape
    side = (WIDTH - 1.6) / 4
    each = max(0.85, side * height / width)
    figure, axes = subplots((each + 0.12) * len(channels) + 1.15, len(channels), 4)
    far = max(np.percentile(np.abs(before - 1), 99.5), 0.02)
    scale = {"cmap": "PuOr_r", "vmin": 1 - far, "vmax": 1 + far}
    middle = slice(int(0.45 * height), max(int(0.55 * height), int(0.45 * height) + 1))
    across = (np.arange(width) + 0.5) / width
    for row, channel in enumerate(channels):
        maps = axes[row, :3]
        shown = [
            maps[0].imshow(functions[row], cmap="cividis", vmin=1, vmax=max(functions.max(), 1.02)),
            maps[1].imshow(before[row], **scale),
            maps[2].imshow(after[row], **scale),
        ]
        for axis in maps:
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
            axis.axhline(middle.start - 0.5, color="white", linewidth=0.5, alpha=0.7)
            axis.axhline(middle.stop - 0.5, color="white", linewidth=0.5, alpha=0.7)
        maps[0].set_ylabel(channel)
        lines = axes[row, 3]
        for image, name, colour in ((before, "before", 1), (after, "after", 0)):
            values = image[row, middle].mean(0)
            lines.plot(across, values, color=PALETTE[colour], linewidth=1.2, label=name)
        expected = functions[row, middle].mean(0) / functions[row].mean()
        lines.plot(across, expected, "k--", linewidth=0.9, label="function")
        lines.axhline(1, color=OTHER, linewidth=0.7, zorder=0)
        lines.set(xlim=(0, 1), ylim=(1 - 1.15 * far, 1 + 1.15 * far), xticks=[0, 0.5, 1])
        lines.yaxis.tick_right()
        lines.yaxis.set_major_locator(MaxNLocator(4))
        lines.spines["left"].set_visible(False)
        lines.spines["right"].set_visible(True)
        lines.tick_params(labelsize=7.5, labelbottom=row == len(channels) - 1)
    titles = ("function", "mean image before", "mean image after", "across the middle")
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=9)
    axes[-1, 3].set_xlabel("share of the width", fontsize=8)
    axes[0, 3].legend(fontsize=7, handlelength=1.2, frameon=False, loc="best")
    for drawn, columns, label in (
        (shown[0], axes[:, :1], "divided by"),
        (shown[1], axes[:, 1:3], "relative to the mean"),
    ):
        bar = figure.colorbar(
            drawn, ax=columns, location="bottom", aspect=25, shrink=0.85, pad=0.02
        )
        bar.set_label(label, fontsize=8)
        bar.ax.tick_params(labelsize=7.5)
        bar.outline.set_visible(False)
    figure.suptitle(heading, fontsize=10.5)
    return figure


def well_position(well):
    """(row, column) of a well's name, counted from 0: B03 is (1, 2); None for other names."""
    named = re.fullmatch(r"([A-Za-z]{1,2})0*([1-9]\d?)", str(well))
    if named is None:
        return None
    row = 0
    for letter in named[1].upper():
        row = row * 26 + ord(letter) - ord("A") + 1
    return row - 1, int(named[2]) - 1


def _row_name(row):
    name = ""
    row += 1
    while row:
        row, letter = divmod(row - 1, 26)
        name = chr(ord("A") + letter) + name
    return name


def _plates(profiles):
    """{title: rows} of the plates: their names, with batch and source where names repeat."""
    rows = tables.groups(profiles, tables.plate_columns(profiles))
    names = [key[-1] if key else "" for key in rows]
    repeated = len(set(names)) < len(names)
    return {
        " ".join(map(str, key)) if repeated else str(name): members
        for (key, members), name in zip(rows.items(), names, strict=True)
    }


def _fill_plate(axis, positions, values, controls, here, limits):
    """One plate as a grid of filled wells on an axis, controls marked.

    Parameters
    ----------
    positions : numpy.ndarray of int
        (n, 2), row and column of every well of the table; the grid holds all.
    values, controls : numpy.ndarray
        One a well of the table: what colours it; negcon, poscon or neither.
    here : numpy.ndarray of int
        The wells of the plate.
    limits : (float, float)
        Values of the darkest and the brightest colour.
    """
    rows, columns = positions.max(0) + 1
    # Several profiles of a well: their mean.
    known = here[np.isfinite(values[here])]
    sums, counts = np.zeros((2, rows, columns))
    np.add.at(sums, tuple(positions[known].T), values[known])
    np.add.at(counts, tuple(positions[known].T), 1)
    grid = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    low, high = limits
    mesh = axis.pcolormesh(
        grid, vmin=low, vmax=high, cmap="cividis", edgecolors="white", linewidth=0.5
    )
    for kind, mark in (("negcon", "–"), ("poscon", "+")):
        for y, x in dict.fromkeys(tuple(positions[i]) for i in here if controls[i] == kind):
            ink = "black" if not grid[y, x] <= (low + high) / 2 else "white"
            axis.text(x + 0.5, y + 0.5, mark, ha="center", va="center", color=ink)
    axis.set_aspect("equal")
    axis.invert_yaxis()
    every = max(1, columns // 12)
    axis.set_xticks(np.arange(0, columns, every) + 0.5, range(1, columns + 1, every))
    step = max(1, rows // 8)
    axis.set_yticks(
        np.arange(0, rows, step) + 0.5, [_row_name(row) for row in range(0, rows, step)]
    )
    axis.tick_params(length=0, labelsize=8)
    axis.spines[:].set_visible(False)
    return mesh


def plate_heat_map(profiles, values, label, heading, most=4):
    """Plates as grids of wells, coloured by a value; controls are marked.

    Parameters
    ----------
    profiles : pd.DataFrame
        With Metadata_Well, names of positions, and the columns of a plate's key where there are
        plates; Metadata_control_type, where it is there, marks the controls.
    values : array-like
        One a row.
    label : str
        Of the colour bar, with its unit.
    most : int
        Plates drawn, the first ones.
    """
    by_plate = _plates(profiles)
    positions = np.array([well_position(well) for well in profiles["Metadata_Well"]])
    values = np.asarray(values, float)
    controls = profiles.get("Metadata_control_type", pd.Series(None, profiles.index)).to_numpy()
    total = len(by_plate)
    by_plate = dict(list(by_plate.items())[:most])
    shown = np.concatenate(list(by_plate.values()))
    rows, columns = positions.max(0) + 1
    across = min(2, len(by_plate))
    down = -(-len(by_plate) // across)
    height = WIDTH / across * 0.85 * rows / columns + 0.55
    figure, axes = subplots(max(height, 1.6) * down + 0.5, down, across)
    low, high = pd.Series(values[shown]).agg(["min", "max"])
    for axis, (plate, here) in zip(axes.flat, by_plate.items(), strict=False):
        mesh = _fill_plate(axis, positions, values, controls, here, (low, high))
        axis.set_title(plate, fontsize=9)
    for axis in axes.flat[len(by_plate) :]:
        axis.set_visible(False)
    figure.colorbar(mesh, ax=axes, label=label, shrink=0.8)
    counted = f"the first {most} of {total} plates" if total > most else f"n = {len(profiles)}"
    figure.suptitle(f"{heading} ({counted})", fontsize=10.5)
    return figure


def measure_heat_maps(profiles, measures, heading, most=2):
    """Plates as grids of filled wells, one panel a measure, each with colours of its own.

    Parameters
    ----------
    profiles : pd.DataFrame
        As of `plate_heat_map`.
    measures : dict of str to array-like
        Title of a panel, with its unit -> one value a row.
    heading : str
    most : int
        Plates drawn, the first ones; the panels of one measure share their colours.
    """
    by_plate = _plates(profiles)
    total, by_plate = len(by_plate), dict(list(by_plate.items())[:most])
    positions = np.array([well_position(well) for well in profiles["Metadata_Well"]])
    controls = profiles.get("Metadata_control_type", pd.Series(None, profiles.index)).to_numpy()
    shown = np.concatenate(list(by_plate.values()))
    rows, columns = positions.max(0) + 1
    across = min(3, len(measures))
    down = -(-len(measures) // across) * len(by_plate)
    height = max(WIDTH / across * 0.8 * rows / columns + 0.5, 1.3)
    figure, axes = subplots(height * down + 0.4, down, across)
    panels = [
        (i // across * len(by_plate) + j, i % across, title, plate, here, np.asarray(values, float))
        for i, (title, values) in enumerate(measures.items())
        for j, (plate, here) in enumerate(by_plate.items())
    ]
    for row, column, title, plate, here, values in panels:
        axis = axes[row, column]
        low, high = pd.Series(values[shown]).agg(["min", "max"])
        mesh = _fill_plate(axis, positions, values, controls, here, (low, high))
        axis.set_title(title if len(by_plate) == 1 else f"{title}\n{plate}", fontsize=9)
        bar = figure.colorbar(mesh, ax=axis, shrink=0.8)
        bar.ax.tick_params(labelsize=8)
    used = {(row, column) for row, column, *_ in panels}
    for place in np.ndindex(axes.shape):
        axes[place].set_visible(place in used)
    counted = f", the first {most} of {total} plates" if total > most else ""
    figure.suptitle(f"{heading} (n = {len(profiles)} wells{counted})", fontsize=10.5)
    return figure


def scatter(coordinates, labels, axes_names, heading, legend_title, ringed=None):
    """Profiles in the plane, coloured by a label; those beyond the eight most frequent share grey.

    Parameters
    ----------
    coordinates : numpy.ndarray
        (n, 2).
    labels : sequence
        One a row; missing ones are drawn grey.
    axes_names : (str, str)
    ringed : array-like of bool, optional
        Profiles of sparse fields.
    """
    figure, axes = subplots(4.2)
    axis = axes[0, 0]
    labels = pd.Series(list(labels), dtype=object)
    styles = category_styles(labels.dropna())
    rest = labels.isna() | labels.map(lambda name: styles.get(name, (OTHER,))[0] == OTHER)
    if rest.any():
        names = labels[rest].dropna().nunique()
        text = f"{names} others" if names else "no label"
        axis.scatter(*coordinates[rest.to_numpy()].T, s=16, color=OTHER, label=text, lw=0)
    for name, (colour, marker) in styles.items():
        if colour != OTHER:
            here = (labels == name).to_numpy()
            axis.scatter(
                *coordinates[here].T, s=50 if marker == "*" else 26, color=colour, marker=marker,
                # Yellow fades on white without a darker edge.
                edgecolor="#555555" if colour == PALETTE[6] else "white", linewidth=0.4, label=name,
            )  # fmt: skip
    if ringed is not None and np.any(ringed):
        around = dict(s=70, facecolor="none", edgecolor="#555555", lw=0.8, clip_on=False)
        axis.scatter(*coordinates[ringed].T, label="sparse field", **around)
    axis.set(xlabel=axes_names[0], ylabel=axes_names[1])
    for side in (axis.xaxis, axis.yaxis):
        side.set_major_locator(MaxNLocator(5))
    axis.set_title(heading)
    axis.legend(
        title=legend_title, loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=8.5,
        frameon=False,
    )  # fmt: skip
    return figure


def component_panels(panels, heading, columns=3):
    """Profiles of several datasets on their first two components, controls told from the others.

    Parameters
    ----------
    panels : list of dict
        title, coordinates (n, 2), control and ringed (n,) bool; `extraction.component_panels`.
    heading : str
    columns : int
        Panels beside each other.
    """
    rows = -(-len(panels) // columns)
    figure, axes = subplots(2.25 * rows + 0.7, rows, columns)
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    for axis, panel in zip(axes.flat, panels, strict=False):
        x, y = panel["coordinates"].T
        for rows_of, colour, marker in (
            (~panel["control"], PALETTE[0], "o"),
            (panel["control"], PALETTE[1], "^"),
        ):
            axis.scatter(x[rows_of], y[rows_of], s=11, color=colour, marker=marker, lw=0)
        ringed = panel["ringed"]
        axis.scatter(x[ringed], y[ringed], s=34, facecolor="none", edgecolor="#555555", lw=0.7)
        axis.set_title(panel["title"], fontsize=8.5)
        axis.set(xticks=[], yticks=[])
    names = {"treated, or no controls known": ("o", 0), CONTROLS["negcon"]: ("^", 1)}
    handles = [
        plt.Line2D([], [], color=PALETTE[i], marker=marker, ls="", label=name)
        for name, (marker, i) in names.items()
    ]
    if any(panel["ringed"].any() for panel in panels):
        handles.append(
            plt.Line2D([], [], color="#555555", marker="o", ls="", mfc="none", label="sparse field")
        )
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    for axis in axes[:, 0]:
        axis.set_ylabel("PC2", fontsize=9)
    for axis in axes.flat[max(0, len(panels) - columns) : len(panels)]:
        axis.set_xlabel("PC1", fontsize=9)
    figure.suptitle(heading, fontsize=10.5)
    return figure


def small_multiples(coordinates, labels, heading, columns=4):
    """One panel a label: its marks over all others in grey. Any number of labels can be told apart.

    Parameters
    ----------
    coordinates : numpy.ndarray
        (n, 2).
    labels : sequence
        One a row; missing ones are always grey.
    heading : str
    columns : int
        Panels beside each other.
    """
    labels = pd.Series(list(labels), dtype=object)
    names = sorted(labels.dropna().unique(), key=str)
    rows = -(-len(names) // columns)
    figure, axes = subplots(1.75 * rows + 0.5, rows, columns, sharex=True, sharey=True)
    for axis in axes.flat[len(names) :]:
        axis.set_visible(False)
    for axis, name in zip(axes.flat, names, strict=False):
        own = (labels == name).to_numpy()
        axis.scatter(*coordinates[~own].T, s=9, color="#D5D5D5", lw=0)
        axis.scatter(*coordinates[own].T, s=16, color=PALETTE[0], lw=0)
        axis.set_title(f"{name} ({own.sum()})", fontsize=8.5)
        axis.set(xticks=[], yticks=[])
    figure.suptitle(heading, fontsize=10.5)
    return figure


def sequence(values, unit, label, heading):
    """Values in their order, where there is no plate to lay them out on."""
    figure, axes = subplots(2.4)
    axis = axes[0, 0]
    axis.plot(np.arange(1, len(values) + 1), values, ".", color=PALETTE[0], markersize=4)
    axis.set(xlabel=f"{unit} (n = {len(values)})", ylabel=label.replace(" of ", "\nof "))
    axis.set_title(heading)
    return figure


def dose_response(scores, heading):
    """Scores along the axis between controls against dose, one panel a feature set.

    Parameters
    ----------
    scores : dict of str to pd.DataFrame
        Feature set -> wells with half, dose, control and score (`dose_response.cross_fitted`).
    heading : str
    """
    columns = min(3, len(scores))
    rows = -(-len(scores) // columns)
    figure, axes = subplots(0.4 + 2.5 * rows, rows, columns)
    for axis in axes.flat[len(scores) :]:
        axis.set_visible(False)
    for axis, (name, wells) in zip(axes.flat, scores.items(), strict=False):
        for i, (half, part) in enumerate(wells.groupby("half")):
            colour, marker = PALETTE[i], MARKERS[i]
            series = part[part["control"].isna()]
            axis.scatter(series["dose"], series["score"], s=14, color=colour, marker=marker, lw=0)
            mean = series.groupby("dose")["score"].mean()
            axis.plot(mean.index, mean, color=colour, label=f"rows {half}")
            for kind, dose, filled in (("negcon", 0, "none"), ("poscon", 10, colour)):
                controls = part.loc[part["control"] == kind, "score"]
                axis.scatter(
                    [dose] * len(controls), controls, s=26, marker=marker, facecolor=filled,
                    edgecolor=colour, lw=0.8,
                )  # fmt: skip
        axis.set_title(name)
        axis.set(xlabel="dose rank", xticks=range(0, 11, 2))
        axis.yaxis.set_major_locator(MaxNLocator(5))
    for axis in axes[:, 0]:
        axis.set_ylabel("score (SD of negative controls)")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    figure.suptitle(heading, fontsize=10.5)
    return figure


def dose_series(series, names, label, heading, legend_title, controls=None, most=8, along="dose"):
    """Scores of wells against their dose, one colour and mark a compound.

    Parameters
    ----------
    series : pd.DataFrame
        Treated wells: ``group``, ``dose`` and ``score``.
    names : list of str
        The groups; those beyond the first `most` are not drawn.
    label : str
        Of the scores' axis.
    heading, legend_title : str
    controls : dict of str to array-like, optional
        negcon and poscon -> their scores, drawn beside the doses.
    most : int
    along : str
        What the doses are called.
    """
    doses = sorted(series["dose"].unique())
    place = {dose: i for i, dose in enumerate(doses)}
    figure, axes = subplots(3.6)
    axis = axes[0, 0]
    shown = sorted(list(names)[:most], key=str)
    for i, name in enumerate(shown):
        part = series[series["group"] == name]
        at = part["dose"].map(place)
        aside = 0.3 * ((i + 0.5) / len(shown) - 0.5)
        colour, marker = PALETTE[i % 8], MARKERS[i % 8]
        # Yellow fades on white without a darker edge.
        edge = dict(edgecolor="#555555", lw=0.4) if colour == PALETTE[6] else dict(lw=0)
        axis.scatter(at + aside, part["score"], s=20, color=colour, marker=marker, **edge)
        mean = part.groupby(at)["score"].mean()
        axis.plot(mean.index + aside, mean, color=colour, marker=marker, ms=0, lw=1.2)
        axis.plot([], [], color=colour, marker=marker, lw=1.2, label=str(name))
    ticks = {i: f"{dose:g}" for dose, i in place.items()}
    for kind, at, filled in (("negcon", -1, "none"), ("poscon", len(doses), "black")):
        own = np.asarray((controls or {}).get(kind, ()), float)
        if np.isfinite(own).any():
            spread = 0.3 * (np.arange(len(own)) % 5 / 4 - 0.5)
            axis.scatter(at + spread, own, s=20, facecolor=filled, edgecolor="black", lw=0.8)
            ticks[at] = CONTROLS[kind].replace(" ", "\n")
    axis.set_xticks(sorted(ticks), [ticks[i] for i in sorted(ticks)])
    axis.set(xlabel=f"{along} (in order, not to scale)", ylabel=label)
    axis.yaxis.set_major_locator(MaxNLocator(5))
    left_out = len(names) - len(shown)
    axis.set_title(heading + (f", the first {most} of {len(names)}" if left_out else ""))
    axis.legend(
        title=legend_title, loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=8.5,
        frameon=False,
    )  # fmt: skip
    return figure


def _linkage_order(similarity, method="average"):
    """Order of the rows by linkage on one minus their similarity (n, n)."""
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    distance = np.clip(1 - (similarity + similarity.T) / 2, 0, None)
    np.fill_diagonal(distance, 0)
    return leaves_list(linkage(squareform(distance, checks=False), method))


def similarity_heat_map(similarity, labels, heading):
    """Cosine similarity of embeddings, ordered so that alike ones stand together.

    Parameters
    ----------
    similarity : numpy.ndarray
        (n, n), -1 to 1.
    labels : list of str
    """
    order = _linkage_order(similarity)
    figure, axes = subplots(6.2)
    axis = axes[0, 0]
    mesh = axis.imshow(similarity[np.ix_(order, order)], vmin=-1, vmax=1, cmap="PuOr_r")
    axis.set_xticks(range(len(labels)), [labels[i] for i in order], rotation=90, fontsize=7.5)
    axis.set_yticks(range(len(labels)), [labels[i] for i in order], fontsize=7.5)
    axis.tick_params(length=0)
    figure.colorbar(mesh, ax=axis, label="cosine similarity", shrink=0.7)
    axis.set_title(heading)
    return figure


def clustered_correlation(
    correlation, labels, heading, label="correlation", unit="treatments", method="average"
):
    """Correlations in the order of a linkage, and which row has which label.

    Parameters
    ----------
    correlation : numpy.ndarray
        (n, n), -1 to 1.
    labels : sequence
        One a row; each gets a column of dots on the right.
    heading : str
    label : str
        Of the colour bar.
    unit : str
        What a row is.
    method : {"average", "complete"}
        Linkage that orders the rows.
    """
    order = _linkage_order(correlation, method)
    names = sorted(set(labels), key=str)
    ordered = [labels[i] for i in order]
    figure, axes = subplots(5.6, 1, 2, sharey=True, width_ratios=[0.72, 0.28])
    left, right = axes[0]
    mesh = left.imshow(
        correlation[np.ix_(order, order)], vmin=-1, vmax=1, cmap="PuOr_r", aspect="auto",
        interpolation="nearest",
    )  # fmt: skip
    left.set(xticks=[], yticks=[], ylabel=f"{unit} (n = {len(order)}), by {method} linkage")
    for column, name in enumerate(names):
        rows = [row for row, own in enumerate(ordered) if own == name]
        right.axvline(column, color="#DDDDDD", lw=0.6, zorder=0)
        right.scatter([column] * len(rows), rows, s=12, color=PALETTE[0], lw=0)
    right.set_xticks(range(len(names)), names, rotation=90, fontsize=8.5)
    right.set_xlim(-0.6, len(names) - 0.4)
    right.tick_params(length=0)
    for axis in (left, right):
        axis.spines[:].set_visible(False)
    below = left.inset_axes([0.15, -0.09, 0.7, 0.035])
    figure.colorbar(
        mesh, cax=below, label=label, orientation="horizontal", ticks=[-1, -0.5, 0, 0.5, 1]
    )
    figure.suptitle(heading, fontsize=10.5)
    return figure


def plate_layout(wells, category, heading, legend_title):
    """Two plates as grids of wells, coloured by a category; what is rarer than eight: grey.

    Parameters
    ----------
    wells : pd.DataFrame
        With plate and well, bare or with ``Metadata_``; one row a well.
    category : sequence
        One a row; missing ones are drawn grey.
    """
    category = pd.Series(list(category), dtype=object)
    plates = list(_plates(wells).items())[:2]
    drawn = category.iloc[np.concatenate([here for _, here in plates])]
    styles = category_styles(drawn.dropna())
    names = wells[tables.find_column(wells, "well")]
    positions = np.array([well_position(well) for well in names])
    rows, columns = positions.max(0) + 1
    figure, axes = subplots(
        max(1.6, 3.1 * rows / columns, 0.15 * len(styles)) + 0.7, 1, len(plates)
    )
    for axis, (plate, here) in zip(axes[0], plates, strict=True):
        for i in here:
            name = category.iloc[i]
            colour, marker = styles.get(name, (OTHER, "o"))
            # Yellow fades on white without a darker edge.
            edge = dict(edgecolor="#555555", lw=0.4) if colour == PALETTE[6] else dict(lw=0)
            axis.scatter(*positions[i][::-1] + 1, s=52, color=colour, marker=marker, **edge)
        axis.set_title(plate, fontsize=9)
        axis.set_xlim(0.3, columns + 0.7)
        axis.set_ylim(rows + 0.7, 0.3)
        axis.set_xticks(range(1, columns + 1, max(1, columns // 8)))
        step = max(1, rows // 8)
        axis.set_yticks(range(1, rows + 1, step), [_row_name(r) for r in range(0, rows, step)])
        axis.tick_params(length=0, labelsize=8)
        axis.spines[:].set_visible(False)
    shown = [name for name, (colour, _) in styles.items() if colour != OTHER]
    handles = [
        plt.Line2D([], [], color=styles[n][0], marker=styles[n][1], ls="", label=str(n))
        for n in shown
    ]
    if drawn.isna().any() or len(styles) > len(shown):
        handles.append(plt.Line2D([], [], color=OTHER, marker="o", ls="", label="others"))
    axes[0, -1].legend(
        handles=handles, title=legend_title, fontsize=8, loc="center left",
        bbox_to_anchor=(1.01, 0.5), frameon=False,
    )  # fmt: skip
    figure.suptitle(heading, fontsize=10.5)
    return figure


def scatter_panels(panels, order, axes_names, heading):
    """The same two scores of each profile in several panels, coloured by what was found.

    Parameters
    ----------
    panels : dict of str to pd.DataFrame
        Title -> one row a profile: x, y and label.
    order : list of str
        Labels, at most eight; the last is drawn grey and below the others.
    axes_names : (str, str)
        Of scores that are 0 for chance; a line marks it.
    heading : str
    """
    across = min(2, len(panels))
    down = -(-len(panels) // across)
    figure, axes = subplots(3.1 * down + 0.8, down, across, sharex=True, sharey=True)
    styles = {name: (PALETTE[i], MARKERS[i]) for i, name in enumerate(order[:-1])}
    styles[order[-1]] = (OTHER, "o")
    for axis, (title, points) in zip(axes.flat, panels.items(), strict=False):
        for line in (axis.axhline, axis.axvline):
            line(0, color="#999999", lw=0.8, ls=":", zorder=0)
        for name in [order[-1], *order[:-1]]:
            colour, marker = styles[name]
            here = points[points["label"] == name]
            axis.scatter(
                here["x"], here["y"], s=24, color=colour, marker=marker, edgecolor="white",
                linewidth=0.4, clip_on=False,
            )  # fmt: skip
        axis.set_title(f"{title} (n = {len(points)})", fontsize=9.5)
    for axis in axes[-1]:
        axis.set_xlabel(axes_names[0])
    for axis in axes[:, 0]:
        axis.set_ylabel(axes_names[1])
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    figure.suptitle(heading, fontsize=10.5)
    handles = [
        plt.Line2D([], [], color=colour, marker=marker, ls="", label=name)
        for name, (colour, marker) in ((name, styles[name]) for name in order)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(order), frameon=False)
    return figure
