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


def test_above_exchanged_labels():
    scores = pd.DataFrame(
        {
            "features": ["a", "b", "a", "b", "a"],
            "level": "well",
            "accuracy": ["NSC", "NSC", "NSCB", "NSCB", "NSPW"],
            "value": [0.5, 0.2, 0.1, 0.2, 0.9],
            "null_low": [0.1, 0.05, 0.1, 0.1, np.nan],
            "null_high": [0.3, 0.2, 0.2, 0.25, np.nan],
            "n": [7, 7, 6, 6, 7],
        }
    )
    assert findings.above_exchanged(scores).split("\n") == [
        "- **NSC, well** (n = 7), 0.05 to 0.30: above it: a; within it or below: b.",
        "- **NSCB, well** (n = 6), 0.10 to 0.25: none is above it; within it or below: a and b.",
    ]


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


def test_rises_says_which_do_not():
    table = pd.DataFrame({"a": [0.1, 0.2, 0.2], "b": [0.3, 0.2, 0.5], "c": [0, 1, 2]})
    assert findings.rises(table, ["a", "b", "c"]) == (
        "From row to row it rises for a and c; it does not for b (1 steps fall)."
    )
    assert findings.rises(table, ["b"]) == "It does not for b (1 steps fall)."


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
    assert findings.worth(curves) == (
        "- Shown: random minus kept is -0.05 at 0 (0.20 against 0.25) and +0.50 at 1 "
        "(0.60 against 0.10)."
    )
