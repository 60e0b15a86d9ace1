"""Figures of scores: what is drawn is what the table says."""

import numpy as np
import pandas as pd

from unidino.pages import plots


def scores(**more):
    rows = [
        (name, "well", accuracy, 0.1 * i + 0.2 * j, 10 + j)
        for i, name in enumerate(("model", "by hand", "position"))
        for j, accuracy in enumerate(("NSC", "NSCB"))
    ]
    frame = pd.DataFrame(rows, columns=["features", "level", "accuracy", "value", "n"])
    return frame.assign(low=frame["value"] - 0.05, high=frame["value"] + 0.1, **more)


def marks(axis):
    """{row: value} of the marks of a panel."""
    return {
        round(float(c.lines[0].get_ydata()[0]), 3): float(c.lines[0].get_xdata()[0])
        for c in axis.containers
    }


def test_one_panel_a_question():
    table = scores(null_low=[0.01, np.nan] * 3, null_high=[0.05, np.nan] * 3)
    groups = {"model": "models", "by hand": "no model", "position": "no model"}
    figure = plots.score_panels(table, "heading", groups=groups)
    first, second = figure.axes[:2]
    assert first.get_title() == "NSC (well, n = 10)"
    assert [t.get_text() for t in first.get_yticklabels()] == ["model", "by hand", "position"]
    assert marks(first) == {0.0: 0.0, 1.0: 0.1, 2.0: 0.2}
    np.testing.assert_allclose(list(marks(second).values()), [0.2, 0.3, 0.4])
    assert len(first.collections) - len(second.collections) == 3  # the ranges of exchanged labels
    told = [text.get_text() for text in figure.legends[0].get_texts()]
    assert told == ["models", "no model", "labels exchanged"]
    plots.plt.close(figure)


def test_several_marks_a_row():
    both = pd.concat([scores(hue="raw"), scores(hue="normalised").assign(value=0.5)])
    figure = plots.score_panels(both, "heading", "difference")
    assert len(marks(figure.axes[0])) == 6
    told = [text.get_text() for text in figure.legends[0].get_texts()]
    assert told == ["raw", "normalised"]
    plots.plt.close(figure)


def test_an_interval_that_misses_its_value_by_rounding_is_drawn():
    table = scores()
    table["low"] = table["value"] + 1e-12
    plots.plt.close(plots.score_panels(table, "heading"))


def test_counts_are_written_into_their_cells():
    counts = pd.DataFrame({"DNA": [3, 0], "ER": [1, 4]}, index=["a", "b"])
    figure = plots.counts_heat_map(counts, "heading", "features", expected=2)
    axis = figure.axes[0]
    assert [text.get_text() for text in axis.texts] == ["3", "1", "0", "4"]
    assert [t.get_text() for t in axis.get_xticklabels()] == ["DNA", "ER"]
    plots.plt.close(figure)


def test_any_number_of_labels_has_a_panel():
    labels = [f"m{i:02d}" for i in range(11)] * 2 + [None]
    coordinates = np.arange(46.0).reshape(23, 2)
    figure = plots.small_multiples(coordinates, labels, "heading")
    shown = [axis for axis in figure.axes if axis.get_visible()]
    assert [axis.get_title() for axis in shown] == [f"m{i:02d} (2)" for i in range(11)]
    others, own = shown[3].collections
    np.testing.assert_array_equal(own.get_offsets(), coordinates[[3, 14]])
    assert len(others.get_offsets()) == 21
    plots.plt.close(figure)


def test_linkages_order_rows_differently():
    rng = np.random.default_rng(2)
    correlation = np.corrcoef(rng.normal(size=(12, 3)))
    orders = {}
    for method in ("average", "complete"):
        figure = plots.clustered_correlation(correlation, ["a"] * 12, "h", method=method)
        orders[method] = figure.axes[0].images[0].get_array()
        assert f"by {method} linkage" in figure.axes[0].get_ylabel()
        plots.plt.close(figure)
    assert not np.array_equal(orders["average"], orders["complete"])


def test_nothing_to_draw_is_said():
    for figure in (
        plots.score_panels(scores().iloc[:0], "heading"),
        plots.curve_panels(pd.DataFrame(columns=["panel", "name", "x", "y"]), "heading", "xy"),
    ):
        (text,) = figure.axes[0].texts
        assert text.get_text().startswith("nothing to draw")
        plots.plt.close(figure)


def test_curves_keep_their_colours():
    x = np.linspace(0, 1, 5)
    parts = [
        pd.DataFrame({"panel": panel, "name": name, "x": x, "y": y * x, "low": -x, "high": x + 1})
        for panel, name, y in (("p", "a", 1), ("p", "b", 2), ("q", "b", 3), ("r", "a", -1))
    ]
    figure = plots.curve_panels(pd.concat(parts), "heading", ("x", "y"), columns=2)
    p, q, r, unused = figure.axes
    assert [axis.get_title() for axis in (p, q, r)] == ["p", "q", "r"]
    assert not unused.get_visible()
    lines = {
        (axis.get_title(), line.get_color()): line.get_ydata()[-1]
        for axis in (p, q, r)
        for line in axis.lines
        if len(line.get_ydata()) == 5
    }
    a, b = plots.PALETTE[:2]
    assert lines == {("p", a): 1, ("p", b): 2, ("q", b): 3, ("r", a): -1}
    assert len(p.collections) == 2
    told = [text.get_text() for text in figure.legends[0].get_texts()]
    assert told == ["a", "b"]
    plots.plt.close(figure)
