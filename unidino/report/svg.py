"""Figures drawn as SVG within the page: wells have names that a pointer shows, text stays text."""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd

from ..pages import plots
from ..wells import PLATES, row_letters
from .html import element

CELL = 20
_LEFT, _TOP, _GAP = 26, 22, 8
_MARKS = {"negcon": "–", "poscon": "+"}

CLIPPED = 2.0
"""Percent of the wells at either end that may share the last colour: one odd well would otherwise
take all colours from the others."""


def plate_shape(positions):
    """Rows and columns of the smallest usual plate that holds the positions (n, 2), from 0."""
    rows, columns = (int(n) + 1 for n in positions.max(0))
    fits = (size for size in PLATES if rows <= size[0] and columns <= size[1])
    return next(fits, (rows, columns))


def _letters(row):
    return row_letters(row + 1) or ""


def number(value):
    """A number as text, three significant digits; "missing" where it is."""
    if not np.isfinite(value):
        return "missing"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


@cache
def _colours():
    """Fill and ink of each of the 256 steps of cividis, which all see alike."""
    import matplotlib

    steps = (255 * matplotlib.colormaps["cividis"](np.arange(256))[:, :3]).round().astype(int)
    bright = steps @ [0.299, 0.587, 0.114] > 110
    return [
        (f"#{red:02x}{green:02x}{blue:02x}", "#000" if light else "#fff")
        for (red, green, blue), light in zip(steps, bright, strict=True)
    ]


@dataclass(frozen=True)
class Scale:
    """Colours of values.

    Attributes
    ----------
    low, high : float
        Values of the first and the last colour.
    least, most : float
        The smallest and the largest value there is.
    """

    low: float
    high: float
    least: float
    most: float

    @classmethod
    def of(cls, values):
        """The scale of values, of which some may be missing; None where all are."""
        values = np.asarray(values, float)
        values = values[np.isfinite(values)]
        if not len(values):
            return None
        least, most = float(values.min()), float(values.max())
        low, high = (float(v) for v in np.percentile(values, [CLIPPED, 100 - CLIPPED]))
        # Where most wells share one value the others are all that there is to see.
        return cls(low, high, least, most) if high > low else cls(least, most, least, most)

    def share(self, value):
        """Where a value lies, 0 to 1."""
        if self.high == self.low:
            return 0.5
        return float(np.clip((value - self.low) / (self.high - self.low), 0, 1))


def _filled(share):
    """(fill, ink) of a share of the scale, 0 to 1."""
    return _colours()[min(int(256 * share), 255)]


def plate_map(positions, values, names, kinds, title, failed=None, bare=None):
    """A plate as a grid of wells coloured by a value, and the medians of its rows and columns.

    Parameters
    ----------
    positions : numpy.ndarray of int
        (n, 2), row and column of each well, from 0.
    values : numpy.ndarray
        (n,), NaN where missing.
    names : list of str
        What the pointer shows of each well, before its value.
    kinds : sequence
        negcon, poscon or neither, for each well.
    title : str
        Of the figure, for those who do not see it.
    failed : numpy.ndarray of bool, optional
        (n,) wells of which nothing could be read.
    bare : numpy.ndarray of bool, optional
        (n,) wells without cells: hatched, without a colour, and in no median.

    Returns
    -------
    Element
        Without a well that has a value: the grid alone.
    """
    rows, columns = plate_shape(positions)
    values = np.asarray(values, float)
    failed = np.zeros(len(values), bool) if failed is None else failed
    bare = np.zeros(len(values), bool) if bare is None else bare
    coloured = np.where(bare, np.nan, values)
    scale = Scale.of(coloured)
    parts = [_axes(rows, columns)]
    for row in range(rows):
        for column in range(columns):
            parts.append(_square(row, column, "vacant"))
    for (row, column), value, name, kind, lost, hatched in zip(
        positions, values, names, kinds, failed, bare, strict=True
    ):
        told = "could not be read" if lost else number(value)
        fill, ink = ("#fff", "#000")
        if np.isfinite(value) and not hatched:
            fill, ink = _filled(scale.share(value))
        name = f"{name}, empty or sparse" if hatched else name
        parts.append(_square(row, column, "well", fill, f"{name}: {told}"))
        if hatched:
            parts.append(_hatching(_LEFT + column * CELL + 0.5, _TOP + row * CELL + 0.5, CELL - 1))
        mark = "×" if lost else _MARKS.get(kind)
        if mark:
            parts.append(_mark(row, column, mark, ink))
    parts += _medians(positions, coloured, rows, columns, scale)
    width, height = _LEFT + (columns + 1) * CELL + _GAP + 1, _TOP + (rows + 1) * CELL + _GAP + 1
    return _drawing(width, height, title, parts, "plate")


def _drawing(width, height, title, parts, class_):
    return element(
        "svg",
        parts,
        viewBox=f"0 0 {width:g} {height:g}",
        role="img",
        aria_label=title,
        class_=class_,
        style=f"max-width:{width * 1.5:g}px",
    )


def _axes(rows, columns):
    """Letters of the rows and numbers of the columns; of large plates every second."""
    step = 1 if columns <= 12 else 2 if columns <= 24 else 4
    letters = [
        element("text", _letters(row), x=_LEFT - 6, y=_TOP + (row + 0.72) * CELL,
                text_anchor="end")
        for row in range(0, rows, step)
    ]  # fmt: skip
    numbers = [
        element("text", column + 1, x=_LEFT + (column + 0.5) * CELL, y=_TOP - 6,
                text_anchor="middle")
        for column in range(0, columns, step)
    ]  # fmt: skip
    return element("g", letters, numbers, class_="axis", font_size=13 if step == 1 else 16)


def _square(row, column, class_, fill=None, told=None, x=None, y=None):
    return element(
        "rect",
        element("title", told) if told else None,
        x=f"{_LEFT + column * CELL + 0.5 if x is None else x:g}",
        y=f"{_TOP + row * CELL + 0.5 if y is None else y:g}",
        width=CELL - 1,
        height=CELL - 1,
        class_=class_,
        fill=fill,
    )


def _hatching(x, y, side):
    """Lines across a square; patterns would need a reference, which no page of ours holds."""
    third = side / 3
    lines = [f"M{x:g} {y + end:.4g}L{x + end:.4g} {y:g}" for end in (third, 2 * third, side)] + [
        f"M{x + start:.4g} {y + side:g}L{x + side:g} {y + start:.4g}"
        for start in (third, 2 * third)
    ]
    return element("path", d="".join(lines), class_="hatching")


def _mark(row, column, mark, ink):
    return element(
        "text", mark, x=f"{_LEFT + (column + 0.5) * CELL:g}", y=f"{_TOP + (row + 0.72) * CELL:g}",
        text_anchor="middle", fill=ink, class_="mark",
    )  # fmt: skip


def _medians(positions, values, rows, columns, scale):
    """The medians of the rows, on the right, and of the columns, below, in the same colours."""
    for axis, count in ((0, rows), (1, columns)):
        for i in range(count):
            own = values[positions[:, axis] == i]
            own = own[np.isfinite(own)]
            if not len(own):
                continue
            median = float(np.median(own))
            name = f"row {_letters(i)}" if axis == 0 else f"column {i + 1}"
            place = {"x": _LEFT + columns * CELL + _GAP, "y": _TOP + i * CELL + 0.5}
            if axis:
                place = {"x": _LEFT + i * CELL + 0.5, "y": _TOP + rows * CELL + _GAP}
            told = f"Median of {name}: {number(median)}"
            yield _square(0, 0, "median", _filled(scale.share(median))[0], told, **place)


def colour_bar(values, unit, bare=None):
    """The scale of a `plate_map`: its colours, the values at their ends, and those beyond."""
    count, hatched = 0 if bare is None else int(np.sum(bare)), []
    if count:
        values = np.where(bare, np.nan, values)
        square = element("rect", x=1, y=1, width=14, height=14, class_="well", fill="#fff")
        key = element("svg", square, _hatching(1, 1, 14), viewBox="0 0 16 16", class_="key")
        hatched = ["; ", key, f" empty or sparse ({count})"]
    scale = Scale.of(values)
    if scale is None:
        return element("p", "No well has a value.", hatched, class_="scale")
    if scale.low == scale.high:
        said = f"{'Other' if count else 'All'} wells: {number(scale.low)} {unit}".rstrip()
        return element("p", said, hatched, class_="scale")
    low, high, least, most = map(number, (scale.low, scale.high, scale.least, scale.most))
    beyond = f" (all: {least} to {most})" if (least, most) != (low, high) else ""
    low = f"≤ {low}" if least != low else low
    high = f"≥ {high}" if most != high else high
    steps = [
        element("rect", x=i, y=0, width=1.05, height=1, fill=_filled(i / 31)[0]) for i in range(32)
    ]
    bar = element(
        "svg", steps, viewBox="0 0 32 1", preserveAspectRatio="none", aria_hidden="true",
        class_="bar",
    )  # fmt: skip
    told = f" {high} {unit}".rstrip()
    return element("p", low, " ", bar, told, beyond, hatched, class_="scale")


def styles_of(labels, first=()):
    """(colour, marker) of each label, as of `plots.category_styles`.

    Where there are more than have a colour, those that are named `first` take them.
    """
    styles = plots.category_styles(labels)
    controls = [name for name in styles if name in plots.CONTROLS.values()]
    ordered = list(dict.fromkeys([*controls, *(n for n in first if n in styles), *styles]))
    shown, others = ordered[: len(plots.PALETTE)], ordered[len(plots.PALETTE) :]
    shown[len(controls) :] = sorted(shown[len(controls) :], key=str)
    made = dict(zip(shown, zip(plots.PALETTE, plots.MARKERS, strict=True), strict=False))
    return made | dict.fromkeys(others, (plots.OTHER, "o"))


def categories(positions, labels, names, kinds, title, outlined, first=()):
    """A plate as a grid of wells marked by a category; a thick outline marks some.

    Parameters
    ----------
    positions, names, kinds, title
        As of `plate_map`.
    labels : sequence
        One a well; missing ones stay grey.
    outlined : numpy.ndarray of bool
        (n,).
    first : sequence, optional
        As of `styles_of`.

    Returns
    -------
    (Element, Element)
        The plate and its legend.
    """
    rows, columns = plate_shape(positions)
    labels = pd.Series(list(labels), dtype=object)
    styles = styles_of(labels.dropna(), first)
    parts = [_axes(rows, columns)]
    for row in range(rows):
        for column in range(columns):
            parts.append(_square(row, column, "vacant"))
    for (row, column), label, name, ring in zip(positions, labels, names, outlined, strict=True):
        colour, marker = styles.get(label, (plots.OTHER, "o"))
        x, y = _LEFT + (column + 0.5) * CELL, _TOP + (row + 0.5) * CELL
        told = name + (", flagged" if ring else "")
        parts.append(_square(row, column, "flagged" if ring else "ground", "#fff", told))
        parts.append(_shape(marker, x, y, CELL * 0.3, colour))
    width, height = _LEFT + columns * CELL + 1, _TOP + rows * CELL + 1
    drawing = _drawing(width, height, title, parts, "plate")
    extra = [_legend_square("flagged")] if np.any(outlined) else []
    return drawing, _legend(labels, styles, extra)


def _legend_square(text):
    box = element("rect", x=2, y=2, width=12, height=12, class_="flagged", fill="#fff")
    return element("li", element("svg", box, viewBox="0 0 16 16", class_="key"), text)


def _legend(labels, styles, extra=(), missing="no label"):
    """What the marks of categories mean, with how often they occur."""
    counts = labels.dropna().value_counts()
    items = []
    for label, (colour, marker) in styles.items():
        if colour != plots.OTHER:
            items.append(_key(marker, colour, f"{label} ({counts[label]})"))
    others = [label for label, (colour, _) in styles.items() if colour == plots.OTHER]
    if others:
        total = int(sum(counts[label] for label in others))
        items.append(_key("o", plots.OTHER, f"{len(others)} others ({total})"))
    if labels.isna().any():
        items.append(_key("o", plots.OTHER, f"{missing} ({int(labels.isna().sum())})"))
    return element("ul", items, list(extra), class_="legend")


def _key(marker, colour, text):
    mark = _shape(marker, 8, 8, 6, colour)
    return element("li", element("svg", mark, viewBox="0 0 16 16", class_="key"), text)


def _shape(marker, x, y, r, colour, told=None):
    """A mark of `plots.MARKERS` about a point, of radius `r`."""
    told = element("title", told) if told else None
    if marker == "o":
        return element(
            "circle", told, cx=f"{x:.4g}", cy=f"{y:.4g}", r=f"{r:.3g}", fill=colour, class_="dot"
        )
    corners = " ".join(f"{x + r * dx:.4g},{y + r * dy:.4g}" for dx, dy in _CORNERS[marker])
    return element("polygon", told, points=corners, fill=colour, class_="dot")


def _ticks(ticks, placed, low, high, x, y):
    """Words below the first axis, round numbers beside the second."""
    for place, text in ticks.items():
        across = placed(np.array([place, low[1]]))[0]
        yield element("text", text, x=f"{across:.4g}", y=y, text_anchor="middle", class_="tick")
    for value in round_numbers(low[1], high[1]):
        down = placed(np.array([low[0], value]))[1] + 4
        yield element("text", f"{value:g}", x=x, y=f"{down:.4g}", text_anchor="end", class_="tick")


def round_numbers(low, high, most=6):
    """Multiples of 1, 2 or 5 and a power of ten between two numbers, at most so many."""
    if not high > low:
        return [float(low)]
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    for step in (power, 2 * power, 5 * power, 10 * power):
        first, last = math.ceil(low / step), math.floor(high / step)
        if last - first < most:
            return [float(f"{i * step:.12g}") for i in range(first, last + 1)]
    raise AssertionError(f"no round numbers between {low} and {high}")


def _star(points, inner, turn=-math.pi / 2):
    return [
        ((1.25 if i % 2 == 0 else inner) * math.cos(turn + math.pi * i / points),
         (1.25 if i % 2 == 0 else inner) * math.sin(turn + math.pi * i / points))
        for i in range(2 * points)
    ]  # fmt: skip


def _cross(w):
    return [(-w, -1), (w, -1), (w, -w), (1, -w), (1, w), (w, w), (w, 1), (-w, 1), (-w, w),
            (-1, w), (-1, -w), (-w, -w)]  # fmt: skip


_TURN = math.sqrt(0.5)
_CORNERS = {
    "s": [(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
    "^": [(0, -1.1), (1, 0.8), (-1, 0.8)],
    "v": [(0, 1.1), (1, -0.8), (-1, -0.8)],
    "D": [(0, -1.15), (1.15, 0), (0, 1.15), (-1.15, 0)],
    "P": _cross(0.38),
    "*": _star(5, 0.5),
    "X": [((x - y) * _TURN, (x + y) * _TURN) for x, y in _cross(0.38)],
}


def scatter(
    coordinates,
    labels,
    names,
    axes_names,
    title,
    ringed=None,
    shades=None,
    ticks=None,
    missing="no label",
    first=(),
):
    """Wells in the plane, marked by a label, each with its name.

    Parameters
    ----------
    coordinates : numpy.ndarray
        (n, 2).
    labels : sequence
        One a well; missing ones, and those beyond the eight that have colours, are grey.
    names : list of str
    axes_names : (str, str)
    title : str
    ringed : numpy.ndarray of bool, optional
        Wells of sparse fields.
    shades : numpy.ndarray, optional
        (n,) values that colour the wells without a label, such as doses.
    ticks : dict, optional
        {place on the first axis: what is written there}; the second axis has numbers, too.
    missing : str
        What the legend calls wells without a label.
    first : sequence, optional
        As of `styles_of`.

    Returns
    -------
    (Element, Element)
        The figure and its legend.
    """
    width, height, right, top = 640, 460, 22, 22
    left, bottom = (62, 58) if ticks else (52, 46)
    labels = pd.Series(list(labels), dtype=object)
    styles = styles_of(labels.dropna(), first)
    ringed = np.zeros(len(labels), bool) if ringed is None else np.asarray(ringed)
    low, high = coordinates.min(0), coordinates.max(0)
    span = np.where(high > low, high - low, 1.0)
    inner = np.array([width - left - right, height - top - bottom])

    def placed(points):
        share = np.where(high > low, (points - low) / span, 0.5)
        return share * inner * [1, -1] + [left, height - bottom]

    at = placed(coordinates)
    frame = element("rect", x=left - 14, y=top - 14, width=inner[0] + 28, height=inner[1] + 28,
                    class_="frame")  # fmt: skip
    parts = [frame]
    if ticks:
        parts += _ticks(ticks, placed, low, high, left - 20, height - bottom + 28)
    styled = [styles.get(label, (plots.OTHER, "o")) for label in labels]
    if shades is not None:
        scale = Scale.of(np.where(labels.isna(), shades, np.nan))
        for i in np.flatnonzero(labels.isna() & np.isfinite(shades)):
            styled[i] = (_filled(scale.share(shades[i]))[0], "D")
    # Grey ones first: what has a name lies above them.
    for i in sorted(range(len(labels)), key=lambda i: styled[i][0] != plots.OTHER):
        (x, y), (colour, marker) = at[i], styled[i]
        if ringed[i]:
            parts.append(element("circle", cx=f"{x:.4g}", cy=f"{y:.4g}", r=9, class_="ring"))
        parts.append(_shape(marker, x, y, 5.5, colour, names[i]))
    parts.append(element("text", axes_names[0], x=f"{left + inner[0] / 2:g}", y=height - 8,
                         text_anchor="middle"))  # fmt: skip
    vertical = f"translate(18 {top + inner[1] / 2:g}) rotate(-90)"
    parts.append(element("text", axes_names[1], transform=vertical, text_anchor="middle"))
    extra = []
    if ringed.any():
        ring = element("circle", cx=8, cy=8, r=6, class_="ring")
        key = element("svg", ring, viewBox="0 0 16 16", class_="key")
        extra = [element("li", key, f"sparse field ({int(ringed.sum())})")]
    known = labels if shades is None else labels[labels.notna() | ~np.isfinite(shades)]
    return _drawing(width, height, title, parts, "map"), _legend(known, styles, extra, missing)
