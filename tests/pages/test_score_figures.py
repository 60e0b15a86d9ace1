"""Figures of scores: what is drawn is what the table says."""

import numpy as np
import pandas as pd

from unidino.pages import plots, score_figures


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
    figure = score_figures.score_panels(table, "heading", groups=groups)
    first, second = figure.axes[:2]
    assert first.get_title() == "NSC (well, n = 10)"
    assert [t.get_text() for t in first.get_yticklabels()] == ["model", "by hand", "position"]
    assert marks(first) == {0.0: 0.0, 1.0: 0.1, 2.0: 0.2}
    np.testing.assert_allclose(list(marks(second).values()), [0.2, 0.3, 0.4])
    assert len(first.collections) - len(second.collections) == 3  # the ranges of exchanged labels
    told = [text.get_text() for text in figure.legends[0].get_texts()]
    assert told == ["models", "no model", "labels exchanged"]
    plots.plt.close(figure)


def test_long_titles_break_before_the_numbers():
    rule = "nearest of another plate, of another source and of another batch"
    table = scores().replace({"accuracy": {"NSCB": rule}})
    figure = score_figures.score_panels(table, "heading", columns=3)
    first, second = (axis.get_title().split("\n") for axis in figure.axes[:2])
    assert first == ["NSC (well, n = 10)"]
    assert " ".join(second) == f"{rule} (well, n = 11)" and second[-1] == "(well, n = 11)"
    assert max(map(len, second)) <= 48
    plots.plt.close(figure)


def test_counts_of_a_panel_that_differ_are_both_named():
    table = scores().query("accuracy == 'NSC'").assign(n=[10, 12, 30])
    table.loc[table["n"] == 30, "value"] = np.nan
    figure = score_figures.score_panels(table, "heading")
    assert figure.axes[0].get_title() == "NSC (well, n = 10 to 12)"
    plots.plt.close(figure)


def test_several_marks_a_row():
    both = pd.concat([scores(hue="raw"), scores(hue="normalised").assign(value=0.5)])
    figure = score_figures.score_panels(both, "heading", "difference")
    drawn = marks(figure.axes[0])
    assert list(drawn) == [-0.2, 0.8, 1.8, 0.2, 1.2, 2.2]
    np.testing.assert_allclose(list(drawn.values()), [0, 0.1, 0.2, 0.5, 0.5, 0.5])
    told = [text.get_text() for text in figure.legends[0].get_texts()]
    assert told == ["raw", "normalised"]
    plots.plt.close(figure)


def test_what_has_no_value_says_why():
    both = pd.concat([scores(hue="raw", said=""), scores(hue="normalised", said="")])
    both.loc[both["features"] == "position", ["value", "said"]] = [np.nan, "not askable"]
    figure = score_figures.score_panels(both, "heading")
    (written,) = figure.axes[0].texts
    assert (written.get_text(), written.get_position()[1]) == ("not askable", 2)
    assert len(marks(figure.axes[0])) == 4
    plots.plt.close(figure)


def test_an_interval_that_misses_its_value_by_rounding_is_drawn():
    table = scores()
    table["low"] = table["value"] + 1e-12
    plots.plt.close(score_figures.score_panels(table, "heading"))


def test_scores_beyond_one_are_drawn_where_they_are_asked_for():
    table = scores().assign(low=0.5, value=3.0, high=8.0)
    shares = score_figures.score_panels(table, "heading")
    folds = score_figures.score_panels(table, "heading", most=float("inf"))
    assert shares.axes[0].get_xlim()[1] == 1.02
    assert folds.axes[0].get_xlim()[1] > 8
    for figure in (shares, folds):
        plots.plt.close(figure)


def test_series_along_anything_in_its_order():
    series = pd.DataFrame({"group": "a", "dose": [0.0, 0.35, 0.9], "score": [0.0, 0.2, 0.8]})
    figure = plots.dose_series(series, ["a"], "activity", "heading", "set", along="strength")
    axis = figure.axes[0]
    assert axis.get_xlabel() == "strength (in order, not to scale)"
    assert [tick.get_text() for tick in axis.get_xticklabels()] == ["0", "0.35", "0.9"]
    plots.plt.close(figure)


def test_counts_are_written_into_their_cells():
    counts = pd.DataFrame({"DNA": [3, 0], "ER": [1, 4]}, index=["a", "b"])
    figure = score_figures.counts_heat_map(counts, "heading", "features", expected=2)
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


def points(names, kinds):
    at = np.arange(len(names)) / 10
    frame = pd.DataFrame({"name": names, "kind": kinds, "x": at, "y": at + 0.3})
    for side in "xy":
        frame[f"{side}_low"], frame[f"{side}_high"] = frame[side] - 0.1, frame[side] + 0.2
    return frame


def test_two_scores_of_each_way_have_one_mark_in_every_panel():
    panels = {
        "one": points(["raw", "a", "b"], ["raw", "made", "made"]),
        "two": points(["b", "raw"], ["made", "raw"]),
    }
    figure = score_figures.tradeoff(panels, ("removed", "kept"), "heading", {"one": (0.8, 0.9)})
    first, second = figure.axes
    assert (first.get_title(), first.get_ylabel(), second.get_xlabel()) == (
        "one",
        "kept",
        "removed",
    )
    lines = [container.lines[0] for container in first.containers]
    assert [float(line.get_xdata()[0]) for line in lines] == [0, 0.1, 0.2]
    assert [float(line.get_ydata()[0]) for line in lines] == [0.3, 0.4, 0.5]
    colours = [line.get_color() for line in lines]
    assert colours[1] == colours[2] != colours[0]
    assert lines[1].get_marker() != lines[2].get_marker()
    again = second.containers[0].lines[0]
    assert (again.get_color(), again.get_marker()) == (colours[2], lines[2].get_marker())
    told = [text.get_text() for text in figure.legends[0].get_texts()]
    assert told == ["raw", "a", "b", "batches exchanged"]
    assert len(first.patches) == 1 and not second.patches
    plots.plt.close(figure)
    three = score_figures.tradeoff({**panels, "three": panels["two"]}, ("x", "y"), "heading")
    assert [axis.get_visible() for axis in three.axes] == [True] * 3 + [False]
    plots.plt.close(three)


def test_members_of_groups_in_their_order():
    rows = pd.DataFrame(
        {"name": ["p2", "p1", "p2", "p1"], "way": list("aabb"), "value": [0.1, 0.2, 0.3, 0.4]}
    )
    panels = {"round 1": rows, "round 2": rows[:1]}
    figure = score_figures.series_panels(panels, ["b", "a"], "found", "heading")
    first, second = figure.axes
    assert [text.get_text() for text in first.get_xticklabels()] == ["p2", "p1"]
    drawn = [line.get_ydata().tolist() for line in first.lines]
    assert drawn == [[0.3, 0.4], [0.1, 0.2]]
    assert np.isnan(second.lines[0].get_ydata()).all() and first.get_ylabel() == "found"
    plots.plt.close(figure)


def test_nothing_to_draw_is_said():
    for figure in (
        score_figures.score_panels(scores().iloc[:0], "heading"),
        score_figures.curve_panels(
            pd.DataFrame(columns=["panel", "name", "x", "y"]), "heading", "xy"
        ),
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
    figure = score_figures.curve_panels(pd.concat(parts), "heading", ("x", "y"), columns=2)
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
