"""Figures show the values that they are given, where they belong."""

import matplotlib
import numpy as np
import pytest

from unidino.pages import plots
from unidino.report import svg

from .conftest import text_of

POSITIONS = np.array([(0, 0), (0, 1), (2, 3), (3, 5)])
NAMES = ["A01", "A02", "C04", "D06"]


def wells(drawing, class_="well"):
    """{title: rect} of the squares of a class."""
    return {
        rect.find("title").text: rect
        for rect in drawing.iter("rect")
        if rect.get("class") == class_ and rect.find("title") is not None
    }


def place(rect):
    """(row, column) of a square."""
    column, row = ((float(rect.get(axis)) - 0.5) for axis in "xy")
    return (row - svg._TOP) / svg.CELL, (column - svg._LEFT) / svg.CELL


def test_wells_lie_at_their_positions_with_their_values():
    values = np.array([1.0, 2.0, 3.0, np.nan])
    drawing = svg.plate_map(POSITIONS, values, NAMES, [None] * 4, "t", np.arange(4) == 3)
    found = wells(drawing)
    assert list(found) == ["A01: 1", "A02: 2", "C04: 3", "D06: could not be read"]
    assert [place(rect) for rect in found.values()] == [tuple(p) for p in POSITIONS]
    assert sum(rect.get("class") == "vacant" for rect in drawing.iter("rect")) == 4 * 6
    assert drawing.get("aria-label") == "t" and drawing.get("role") == "img"


def test_colours_are_those_of_cividis_between_the_percentiles():
    positions = np.array([(i // 12, i % 12) for i in range(96)])
    values = np.arange(96.0)
    values[95] = 1e6
    drawing = svg.plate_map(positions, values, [str(i) for i in range(96)], [None] * 96, "t")
    low, high = np.percentile(values, [2, 98])
    for i, rect in enumerate(wells(drawing).values()):
        share = float(np.clip((values[i] - low) / (high - low), 0, 1))
        assert rect.get("fill") == matplotlib.colors.to_hex(matplotlib.colormaps["cividis"](share))
    bar = text_of(svg.colour_bar(values, "raw"))
    assert bar == f"≤ {low:.3g} ≥ {high:.3g} raw (all: 0 to 1,000,000)"


def test_medians_of_rows_and_columns_stand_beside_the_plate():
    values = np.array([1.0, 3.0, 5.0, np.nan])
    found = wells(svg.plate_map(POSITIONS, values, NAMES, [None] * 4, "t"), "median")
    assert set(found) == {
        "Median of row A: 2", "Median of row C: 5",
        "Median of column 1: 1", "Median of column 2: 3", "Median of column 4: 5",
    }  # fmt: skip


def test_controls_and_failures_are_marked_in_a_legible_ink():
    drawing = svg.plate_map(
        POSITIONS, np.array([1.0, 9.0, 5.0, np.nan]), NAMES, ["negcon", "poscon", None, None], "t",
        np.arange(4) == 3,
    )  # fmt: skip
    marks = {
        node.text: node.get("fill") for node in drawing.iter("text") if node.get("class") == "mark"
    }
    assert marks == {"–": "#fff", "+": "#000", "×": "#000"}


def test_plates_have_their_usual_shapes():
    assert svg.plate_shape(np.array([(0, 0)])) == (4, 6)
    assert svg.plate_shape(np.array([(7, 11)])) == (8, 12)
    assert svg.plate_shape(np.array([(8, 3)])) == (16, 24)
    assert svg.plate_shape(np.array([(31, 47)])) == (32, 48)
    assert svg.plate_shape(np.array([(40, 50)])) == (41, 51)


def test_scales_of_few_values():
    assert text_of(svg.colour_bar([np.nan], "raw")) == "No well has a value."
    assert text_of(svg.colour_bar([2.0, 2.0], "raw")) == "All wells: 2 raw"
    # All but one are equal: the colours go to the one that is not.
    scale = svg.Scale.of([0.0] * 99 + [1.0])
    assert (scale.low, scale.high) == (0, 1)
    nothing = svg.plate_map(POSITIONS, [np.nan] * 4, NAMES, [None] * 4, "t")
    assert {rect.get("fill") for rect in wells(nothing).values()} == {"#fff"}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.12345, "0.123"),
        (12.0, "12"),
        (1234.5, "1,234"),
        (np.nan, "missing"),
        (-2.5e-7, "-2.5e-07"),
    ],
)
def test_numbers_in_words(value, text):
    assert svg.number(value) == text


def test_categories_are_told_by_colour_and_shape():
    labels = ["negative control", "a", "b", None]
    drawing, legend = svg.categories(
        POSITIONS, labels, NAMES, [None] * 4, "t", np.array([False, True, False, False])
    )
    assert list(wells(drawing, "flagged")) == ["A02, flagged"]
    assert list(wells(drawing, "ground")) == ["A01", "C04", "D06"]
    dots = [node for node in drawing.iter() if node.get("class") == "dot"]
    told = {(node.tag, node.get("fill")) for node in dots}
    assert len(told) == 4  # shape and colour differ for each
    assert [text_of(item) for item in legend] == [
        "negative control (1)", "a (1)", "b (1)", "no label (1)", "flagged",
    ]  # fmt: skip


def test_labels_beyond_the_eighth_share_grey():
    labels = [str(i) for i in range(10) for _ in range(10 - i)]
    coordinates = np.random.default_rng(0).normal(size=(len(labels), 2))
    drawing, legend = svg.scatter(coordinates, labels, labels, ("x", "y"), "t")
    assert text_of(legend[-1]) == "2 others (3)"
    grey = [node for node in drawing.iter() if node.get("fill") == plots.OTHER]
    assert len(grey) == 3
    shapes = {text_of(item): item.find("svg")[0] for item in legend}
    assert len({(n.tag, n.get("points")) for n in shapes.values()}) == 8  # grey is a circle, too


def test_points_keep_their_order_and_their_names():
    coordinates = np.array([(0.0, 0.0), (1.0, 2.0), (2.0, 1.0)])
    drawing, legend = svg.scatter(
        coordinates, ["a"] * 3, ["one", "two", "three"], ("x", "y"), "t", np.array([0, 0, 1], bool)
    )
    at = {
        node.find("title").text: (float(node.get("cx")), float(node.get("cy")))
        for node in drawing.iter("circle")
        if node.find("title") is not None
    }
    assert at["one"][0] < at["two"][0] < at["three"][0]
    assert at["one"][1] > at["three"][1] > at["two"][1]  # upwards is less in SVG
    np.testing.assert_allclose(
        at["two"][0] - at["one"][0], at["three"][0] - at["two"][0], rtol=0.01
    )
    assert text_of(legend[-1]) == "sparse field (1)"
    rings = [n for n in drawing.iter("circle") if n.get("class") == "ring"]
    assert [(float(n.get("cx")), float(n.get("cy"))) for n in rings] == [at["three"]]


def test_wells_without_a_label_are_shaded_by_a_value():
    coordinates = np.arange(6.0).reshape(3, 2)
    drawing, legend = svg.scatter(
        coordinates, ["negative control", None, None], list("abc"), ("x", "y"), "t",
        shades=np.array([5.0, 1.0, 2.0]),
    )  # fmt: skip
    fills = {n.find("title").text: n.get("fill") for n in drawing.iter() if n.get("class") == "dot"}
    ends = [matplotlib.colors.to_hex(matplotlib.colormaps["cividis"](v)) for v in (0.0, 1.0)]
    assert [fills["b"], fills["c"]] == ends
    assert [text_of(item) for item in legend] == ["negative control (1)"]


def test_all_wells_at_one_place_are_drawn_in_the_middle():
    drawing, _ = svg.scatter(np.zeros((2, 2)), ["a", "a"], ["x", "y"], ("1", "2"), "t")
    dots = [n for n in drawing.iter("circle") if n.get("class") == "dot"]
    assert len({(n.get("cx"), n.get("cy")) for n in dots}) == 1
    assert all(np.isfinite(float(n.get("cx"))) for n in dots)


def test_ticks_stand_where_their_values_are():
    coordinates = np.array([(-1.0, 0.0), (0.0, 10.0), (1.0, 4.0)])
    drawing, _ = svg.scatter(
        coordinates, ["a"] * 3, list("abc"), ("x", "y"), "t", ticks={-1: "none", 0: "0.1", 1: "1"}
    )
    ticks = {n.text: n for n in drawing.iter("text") if n.get("class") == "tick"}
    dots = {n.find("title").text: n for n in drawing.iter("circle") if n.get("class") == "dot"}
    for name, text in zip("abc", ("none", "0.1", "1"), strict=True):
        assert dots[name].get("cx") == ticks[text].get("x")
    assert float(ticks["10"].get("y")) - 4 == pytest.approx(float(dots["b"].get("cy")), abs=0.1)


@pytest.mark.parametrize(
    ("low", "high", "numbers"),
    [
        (0, 10, [0, 2, 4, 6, 8, 10]),
        (4.3, 30.6, [5, 10, 15, 20, 25, 30]),
        (-0.013, 0.021, [-0.01, 0, 0.01, 0.02]),
        (3, 3, [3]),
    ],
)
def test_round_numbers(low, high, numbers):
    assert svg.round_numbers(low, high) == numbers


@pytest.mark.parametrize("seed", range(20))
def test_round_numbers_are_few_and_within(seed):
    low, high = np.sort(np.random.default_rng(seed).normal(size=2) * 10.0 ** (seed - 10))
    numbers = svg.round_numbers(low, high)
    assert 2 <= len(numbers) <= 6 and low <= numbers[0] and numbers[-1] <= high
    assert np.ptp(np.diff(numbers)) < 1e-9 * (high - low)


def test_wells_without_cells_are_hatched_and_take_no_colours():
    values, bare = np.array([1.0, 18.0, 2.0, 3.0]), np.arange(4) == 1
    found = wells(svg.plate_map(POSITIONS, values, NAMES, [None] * 4, "t", None, bare))
    expected = wells(
        svg.plate_map(POSITIONS, np.where(bare, np.nan, values), NAMES, [None] * 4, "t")
    )
    assert list(found) == ["A01: 1", "A02, empty or sparse: 18", "C04: 2", "D06: 3"]
    assert [r.get("fill") for r in found.values()] == [r.get("fill") for r in expected.values()]
    drawing = svg.plate_map(POSITIONS, values, NAMES, [None] * 4, "t", None, bare)
    (lines,) = (node for node in drawing.iter("path") if node.get("class") == "hatching")
    square = found["A02, empty or sparse: 18"]
    x, y, side = (float(square.get(name)) for name in ("x", "y", "width"))
    at = np.array(lines.get("d").replace("M", " ").replace("L", " ").split(), float).reshape(-1, 2)
    assert (at >= [x - 0.01, y - 0.01]).all() and (at <= [x + side + 0.01, y + side + 0.01]).all()
    assert np.ptp(at.reshape(-1, 2, 2).sum(2), axis=1).max() < 0.05  # all at 45 degrees
    medians = wells(drawing, "median")
    assert "Median of row A: 1" in medians and "Median of column 2: 18" not in medians
    bar = text_of(svg.colour_bar(values, "raw", bare))
    assert "18" not in bar and bar.endswith("; empty or sparse (1)")
    two = text_of(svg.colour_bar([2.0, 18.0, 2.0], "raw", np.arange(3) == 1))
    assert two == "Other wells: 2 raw; empty or sparse (1)"
    assert svg.colour_bar(values, "raw", np.zeros(4, bool)).find("svg[@class='key']") is None


def test_names_that_come_first_take_the_colours():
    labels = ["negative control", *"abcdefghij"]
    plain, chosen = svg.styles_of(labels), svg.styles_of(labels, ["j", "x", "i", "c"])
    assert plain == plots.category_styles(labels)
    coloured = [name for name, (colour, _) in chosen.items() if colour != plots.OTHER]
    assert coloured == ["negative control", "a", "b", "c", "d", "e", "i", "j"]
    assert len(set(chosen.values())) == 9 and set(chosen) == set(labels)
