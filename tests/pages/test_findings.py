"""Sentences about tables: they say what the tables say."""

import numpy as np
import pandas as pd

from unidino.pages import findings


def differences(rows):
    names = ["accuracy", "level", "compared with", "difference", "low", "high"]
    return pd.DataFrame(rows, columns=names).assign(n=12)


def test_compared_names_what_is_apart():
    table = differences(
        [
            ("NSC", "well", "a", 0.2, 0.1, 0.3),
            ("NSC", "well", "b", -0.2, -0.3, -0.1),
            ("NSC", "well", "c", 0.1, -0.1, 0.3),
            ("NSC", "well", "d", 0.0, 0.0, 0.0),
            ("NSCB", "well", "a", 0.1, 0.05, 0.3),
            ("NSCB", "well", "b", 0.3, 0.15, 0.4),
        ]
    )
    assert findings.compared(table, "me").split("\n") == [
        "- **NSC, well** (n = 12): `me` is ahead of a (0.20, 0.10 to 0.30); "
        "behind b (-0.20, -0.30 to -0.10); not apart from c and d.",
        "- **NSCB, well** (n = 12): `me` is ahead of a (0.10, 0.05 to 0.30) "
        "and b (0.30, 0.15 to 0.40).",
    ]
    small = differences([("area", "line", "a", 0.004, 0.001, 0.008)])
    assert findings.compared(small, "me", 3).endswith("ahead of a (0.004, 0.001 to 0.008).")
    small = differences([("area", "line", "a", -0.01, -0.02, -0.001)])
    assert findings.compared(small, "me").endswith("behind a (-0.01, -0.02 to 0.00).")


def test_above_exchanged_labels():
    scores = pd.DataFrame(
        {
            "features": ["a", "b", "a", "b", "a"],
            "level": "well",
            "accuracy": ["NSC", "NSC", "NSCB", "NSCB", "NSPW"],
            "value": [0.5, 0.2, 0.1, 0.2, 0.9],
            "null_low": [0.1, 0.05, 0.1, 0.1, np.nan],
            "null_high": [0.3, 0.2, 0.25, 0.25, np.nan],
            "n": [7, 7, 6, 6, 7],
        }
    )
    assert findings.above_exchanged(scores).split("\n") == [
        "- **NSC, well** (n = 7), whose range ends between 0.20 and 0.30: above: a; not above: b.",
        "- **NSCB, well** (n = 6), whose range ends at 0.25: none is above; not above: a and b.",
    ]
    small = scores[:2].assign(null_high=[0.001, 0.004])
    assert "range ends between 0.001 and 0.004:" in findings.above_exchanged(small, 3)


def test_wider_compares_both_intervals():
    scores = pd.DataFrame(
        {
            "features": ["a", "b", "c", "c"],
            "level": "well",
            "accuracy": ["NSC", "NSC", "NSC", "NSPW"],
            "low": [0.1, 0.2, 0.3, 0.1],
            "high": [0.3, 0.3, 0.3, 0.2],
            "class_low": [0.1, 0.1, 0.2, np.nan],
            "class_high": [0.4, 0.3, 0.5, np.nan],
            "n": 7,
        }
    )
    said = (
        "- **NSC, well** (n = 7): {} times as wide; {} has {} by compounds, {} by mechanisms."
    ).format
    assert findings.wider(scores, "mechanisms") == said(
        "1.50 to 2.00", "a", "0.10 to 0.30", "0.10 to 0.40"
    )
    assert findings.wider(scores[1:], "mechanisms") == said(
        "2.00", "b", "0.20 to 0.30", "0.10 to 0.30"
    )
    assert findings.wider(scores[2:], "mechanisms") == ""


def test_above_chance():
    scores = pd.DataFrame(
        {
            "features": ["a", "b", "a", "b", "a"],
            "level": ["well", "well", "gene", "gene", "set"],
            "accuracy": ["activity", "activity", "same gene", "same gene", "same set"],
            "low": [0.1, 0.0, -0.1, np.nan, 0.2],
            "high": [0.2, 0.1, 0.1, np.nan, 0.3],
            "n": 5,
        }
    )
    assert findings.above_chance(scores).split("\n") == [
        "- **activity, well** (n = 5): above chance: a; not clear of it: b.",
        "- **same gene, gene** (n = 5): none is above chance; not clear of it: a and b.",
        "- **same set, set** (n = 5): above chance: a.",
    ]
    never = scores[:2].assign(low=[0.1, 0.0], high=[0.2, 0.0])
    assert findings.above_chance(never).endswith("(n = 5): above chance: a; 0 by rule: b.")


def test_moved_counts_both_ways():
    rows = pd.DataFrame(
        {
            "features": ["a", "b", "c"],
            "hue": ["raw", "raw", "raw"],
            "level": "well",
            "accuracy": "NSC",
            "value": [0.2, -0.15, 0.01],
            "low": [0.1, -0.3, -0.1],
            "high": [0.3, -0.1, 0.1],
            "n": 5,
        }
    )
    assert findings.moved(rows) == (
        "It raises 1 of the 3 scores: a (raw; NSC, well: +0.20). "
        "It lowers 1 of the 3 scores: b (raw; NSC, well: -0.15). "
        "The other 1 are not clear of 0."
    )
    many = pd.concat([rows[:1].assign(features=f"f{i}", value=0.1 * i) for i in range(1, 7)])
    assert findings.moved(many).startswith("It raises 6 of the 6 scores, most: f6 (raw;")
    assert findings.moved(many).count("NSC, well") == findings.SHOWN
    assert findings.moved(rows[2:]) == "None of the 1 differences is clear of 0."


def test_gains_are_those_from_first_to_last():
    table = pd.DataFrame({"a": [0.1, 0.9, 0.35], "b": [0.4, 0.1, 0.2]})
    assert findings.gained(table, ["a", "b"]) == (
        "From the first group to the last: a +0.25 and b -0.20."
    )


def test_random_features_are_the_chance_where_nothing_is_exchanged():
    names = ["level", "accuracy", "features", "value", "low", "high", "n", "null_high"]
    rows = [
        ("well", "NSS", "model", 0.2, 0.1, 0.3, 40, np.nan),
        ("well", "NSS", "simple", 0.05, 0.0, 0.1, 40, np.nan),
        ("well", "NSS", "Gaussian", 0.03, 0.0, 0.06, 40, np.nan),
        ("well", "NSC", "model", 0.2, 0.1, 0.3, 40, 0.1),
        ("well", "NSC", "Gaussian", 0.03, 0.0, 0.06, 40, np.nan),
    ]
    said = findings.above_random(pd.DataFrame(rows, columns=names))
    assert said.count("\n") == 0 and "NSS" in said
    assert said.endswith("whose range ends at 0.06: model.")
    rows[0] = ("well", "NSS", "model", 0.01, 0.0, 0.3, 40, np.nan)
    assert findings.above_random(pd.DataFrame(rows, columns=names)).endswith(": none.")


def test_batch_measures_by_their_signs():
    names = ["BRAS", "LISI (batch)", "variance by source"]
    rows = [[0.8, 0.85, 0.03], [0.9, 0.8, 0.05], [0.9, 0.9, 0.01], [0.7, 0.8, 0.05]]
    rows.append([np.nan] * 3)
    table = pd.DataFrame(rows, ["none", "tvn", "harmony", "sphere", "other"], names)
    assert findings.batch_measures(table) == (
        "Less of the batch is seen after `tvn` by BRAS, after `harmony` by all three, after "
        "`sphere` by no measure."
    )
    assert findings.batch_measures(table.iloc[:1]) == ""


def ways(rows):
    """(prepared, measure, difference, low, high), the base among them."""
    names = ["prepared", "measure", "difference", "difference_low", "difference_high"]
    base = [("raw", measure, 0.0, 0.0, 0.0) for measure in ("gone", "kept", "NSC")]
    return pd.DataFrame([*base, *rows], columns=names)


def test_worth_needs_both_sides():
    up, level, down = (0.2, 0.1, 0.3), (0.1, -0.1, 0.3), (-0.2, -0.3, -0.1)
    cases = {
        "a": (up, up), "b": (up, level), "c": (up, down), "d": (level, up), "e": (down, level),
    }  # fmt: skip
    table = ways(
        [
            (name, measure, *move)
            for name, moves in cases.items()
            for measure, move in zip(("gone", "kept"), moves, strict=True)
        ]
        + [("f", "gone", *up)]
    )
    assert findings.worth(table, "gone", "kept", "raw").split("\n") == [
        "- `a`: gone higher (+0.20); kept higher (+0.20); it counts: less batch and more biology.",
        "- `b`: gone higher (+0.20); kept not clear of 0 (+0.10); less batch, at no cost that is "
        "clear of 0 and for no gain that is.",
        "- `c`: gone higher (+0.20); kept lower (-0.20); biology is lost.",
        "- `d`: gone not clear of 0 (+0.10); kept higher (+0.20); more biology, though not for "
        "less batch.",
        "- `e`: gone lower (-0.20); kept not clear of 0 (+0.10); neither is clearly better.",
        "- `f`: gone higher (+0.20); one side could not be asked, so nothing is known of its "
        "worth.",
    ]


def test_a_way_that_lowers_retrieval_is_warned_of():
    table = ways(
        [
            ("a", "NSC", -0.2, -0.3, -0.1),
            ("a", "NSB", -0.1, -0.2, -0.05),
            ("a", "kept", -0.2, -0.3, -0.1),
            ("b", "NSC", -0.1, -0.3, 0.1),
            ("b", "NSB", 0.1, 0.05, 0.2),
        ]
    )
    assert findings.lost_retrieval(table, ["NSC", "NSB"], "raw").split("\n") == [
        "- **Warning: retrieval is lower under `a`**: NSC (-0.20, -0.30 to -0.10) and NSB (-0.10, "
        "-0.20 to -0.05).",
        "- Lower, but not clear of 0: `b` for NSC.",
    ]
    assert findings.lost_retrieval(table[table["prepared"] != "a"], ["NSC"], "raw").split("\n") == [
        "- No way is clearly below `raw` in any question.",
        "- Lower, but not clear of 0: `b` for NSC.",
    ]
    only = table[table["prepared"] == "b"]
    assert findings.lost_retrieval(only, ["NSB"], "raw") == (
        "- None of the ways scores less than `raw` in any question."
    )


def test_protocols_are_averaged_over_readouts():
    rows = [
        ("a", "model", "A549", hue, value, low)
        for hue, value, low in (("released", 0.5, np.nan), ("together", 0.25, 0.1))
    ]
    rows += [
        ("b", "model", "A549", hue, value, low)
        for hue, value, low in (("released", 0.1, np.nan), ("together", -0.05, -0.2))
    ]
    table = pd.DataFrame(rows, columns=["features", "level", "accuracy", "hue", "value", "low"])
    assert findings.protocols(table) == (
        "- `model`, A549: the mean R² of 2 readouts is 0.30 (released) and 0.10 (together); with "
        "genes kept together, 1 of 2 have an interval above 0."
    )
    assert findings.protocols(table.iloc[:0]) == "Nothing was asked."


def test_worth_is_the_difference_at_both_ends():
    curves = pd.DataFrame(
        {
            "panel": "shown",
            "name": ["random"] * 3 + ["kept"] * 3,
            "x": [0, 0.5, 1] * 2,
            "y": [0.2, 0.4, 0.6, 0.25, 0.2, 0.1],
        }
    )
    assert findings.between_curves(curves) == (
        "- Shown: random minus kept is -0.05 at 0 (0.20 against 0.25) and +0.50 at 1 "
        "(0.60 against 0.10)."
    )


def test_leakage_has_two_parts():
    rows = [
        (panel, name, x, y)
        for (panel, name), ys in {
            ("seen", "random"): (0.6, 0.65),
            ("seen", "together"): (0.6, 0.34),
            ("unseen", "random"): (-0.001, 0.07),
            ("unseen", "together"): (0.0, -0.2),
        }.items()
        for x, y in zip((0.0, 1.0), ys, strict=True)
    ]
    curves = pd.DataFrame(rows, columns=["panel", "name", "x", "y"])
    said = findings.parts_of_leakage(curves)
    assert "R² goes from 0.60 at 0 to 0.34 at 1." in said
    assert said.endswith("shows the leak by itself: +0.27.")
    # What rounds to 0 has no sign.
    assert "-0.00" not in findings.between_curves(curves)
