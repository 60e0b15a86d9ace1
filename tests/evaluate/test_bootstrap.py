"""Intervals against a bootstrap by hand, and what they refuse."""

import numpy as np
import pandas as pd
import pytest

from unidino import evaluate
from unidino.evaluate import bootstrap


def test_interval_equals_a_bootstrap_by_hand(table):
    frame = table(7, rows=90).dropna(subset="Metadata_moa").reset_index(drop=True)
    made = evaluate.nearest_neighbour_accuracy(frame, "moa", ["compound"])
    low, high = evaluate.bootstrap_interval(made, frame, "compound", draws=4000)
    rng = np.random.default_rng(1)
    scored = made.neighbours.assign(
        compound=frame["Metadata_compound"].to_numpy()[made.neighbours["profile"]]
    )
    groups = [part["correct"].to_numpy() for _, part in scored.groupby("compound")]
    drawn = [
        np.concatenate([groups[i] for i in rng.integers(0, len(groups), len(groups))]).mean()
        for _ in range(4000)
    ]
    assert (low, high) == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.015)
    assert low < made < high


def test_difference_of_equal_sets_is_zero(table):
    frame = table(8)
    made = evaluate.nearest_neighbour_accuracy(frame, "moa", ["compound"])
    assert evaluate.paired_difference(made, made, frame, "compound") == (0, 0, 0)


def test_pairing_narrows_the_interval(table):
    frame = table(9, rows=300).dropna(subset="Metadata_moa").reset_index(drop=True)
    label = frame["Metadata_moa"].map({"a": 0.0, "b": 1.0, "c": 2.0})
    noise = np.random.default_rng(0).normal(size=len(frame))
    frame = frame.assign(good=label + 0.5 * noise, worse=label + 0.52 * noise)
    nearest = evaluate.nearest_neighbour_accuracy
    good = nearest(frame, "moa", [], "euclidean", features=["good"])
    worse = nearest(frame, "moa", [], "euclidean", features=["worse"])
    difference, low, high = evaluate.paired_difference(good, worse, frame, "compound")
    assert difference == pytest.approx(float(good) - float(worse))
    assert low <= difference <= high
    widths = [
        np.diff(evaluate.bootstrap_interval(one, frame, "compound"))[0] for one in (good, worse)
    ]
    assert high - low < np.hypot(*widths)


def test_controls_are_no_part_of_the_resamples(table):
    frame = table(7, rows=90).dropna(subset="Metadata_moa").reset_index(drop=True)
    made = evaluate.nearest_neighbour_accuracy(frame, "moa", ["compound"])
    controls = frame.iloc[:50].assign(Metadata_moa=None, Metadata_compound="DMSO")
    padded = pd.concat([frame, controls], ignore_index=True)
    same = evaluate.nearest_neighbour_accuracy(padded, "moa", ["compound"])
    assert same == made
    assert evaluate.bootstrap_interval(same, padded, "compound") == (
        evaluate.bootstrap_interval(made, frame, "compound")
    )


def test_intervals_name_what_is_wrong(table):
    frame = table(8)
    made = evaluate.nearest_neighbour_accuracy(frame, "moa", ["compound"])
    with pytest.raises(ValueError, match="the columns moa, compound, batch, plate differ"):
        evaluate.bootstrap_interval(made, frame.iloc[:9], "compound")
    with pytest.raises(ValueError, match="scored profiles have no Plate, the first is row"):
        evaluate.bootstrap_interval(made, frame, "Plate")
    with pytest.raises(ValueError, match="level is 95; it is a share"):
        evaluate.bootstrap_interval(made, frame, "compound", level=95)
    nothing = evaluate.nearest_neighbour_accuracy(frame.assign(compound=1), "moa", "compound")
    with pytest.raises(ValueError, match="no profile was scored"):
        evaluate.bootstrap_interval(nothing, frame, "compound")


def test_only_the_table_that_was_scored_will_do(table):
    frame = table(8).assign(Metadata_Well=[f"A{i:02d}" for i in range(60)])
    made = evaluate.nearest_neighbour_accuracy(frame, "moa", ["compound"])
    expected = evaluate.bootstrap_interval(made, frame, "compound", draws=50)
    bare = frame.rename(columns=lambda name: name.removeprefix("Metadata_").lower())
    assert evaluate.bootstrap_interval(made, bare, "compound", draws=50) == expected
    swapped = frame.index.to_numpy().copy()
    swapped[[0, 1]] = [1, 0]
    others = {
        "in another order": frame.sample(frac=1, random_state=0),
        "two rows swapped": frame.iloc[swapped],
        "longer": pd.concat([frame, frame]),
        "controls taken out": frame[frame["Metadata_moa"].notna()],
        "other labels": frame.assign(Metadata_moa="a"),
        "other wells": frame.assign(Metadata_Well="B01"),
        "no labels": frame.drop(columns="Metadata_moa"),
    }
    for other in others.values():
        with pytest.raises(ValueError, match="not the profiles that the accuracy was computed on"):
            evaluate.bootstrap_interval(made, other, "compound")
        with pytest.raises(ValueError, match="not the profiles that the accuracy was computed on"):
            evaluate.paired_difference(made, made, other, "compound")


def test_intervals_as_text():
    assert bootstrap.interval_text(0.342, 0.231, 0.457) == "0.34 (0.23 to 0.46)"
    assert bootstrap.interval_text(0.342, np.nan, np.nan) == "0.34"
    assert bootstrap.interval_text(np.nan, np.nan, np.nan) == "–"
    assert bootstrap.interval_text(0.001, -0.004, 0.2) == "0.00 (0.00 to 0.20)"
    assert bootstrap.interval_text(-0.004, -0.006, 0.2) == "0.00 (-0.01 to 0.20)"
