"""Sentences about corrections and chance: they say what the tables say, and nothing else."""

import numpy as np
import pandas as pd
import pytest

from unidino.pages import findings

UP, LEVEL, DOWN = (0.2, 0.1, 0.3), (0.1, -0.1, 0.3), (-0.2, -0.3, -0.1)


def ways(moves, base="raw"):
    """Scores of ways beside the base: {way: {measure: (difference, low, high)}}."""
    names = ["prepared", "measure", "difference", "difference_low", "difference_high"]
    measures = dict.fromkeys(measure for own in moves.values() for measure in own)
    rows = [(base, measure, 0.0, 0.0, 0.0) for measure in measures]
    rows += [(way, name, *move) for way, own in moves.items() for name, move in own.items()]
    return pd.DataFrame(rows, columns=names)


@pytest.mark.parametrize(
    ("gone", "kept", "verdict"),
    [
        (UP, LEVEL, "less batch; the mean of retrieval is not clear of 0, but NSC and NSB fall"),
        (UP, UP, "less batch and more biology in the mean, but NSC and NSB fall"),
        (LEVEL, UP, "more biology in the mean, though not for less batch, and NSC and NSB fall"),
        (LEVEL, LEVEL, "neither is clearly better, and NSC and NSB fall"),
        (UP, DOWN, "biology is lost"),
    ],
)
def test_a_question_that_falls_is_a_cost(gone, kept, verdict):
    table = ways({"a": {"gone": gone, "kept": kept, "NSC": DOWN, "NSB": DOWN, "NSCB": LEVEL}})
    said = findings.worth(table, "gone", "kept", "raw", ["NSC", "NSB", "NSCB"])
    assert said.endswith(f"; {verdict}.")
    assert "NSC" not in findings.worth(table, "gone", "kept", "raw")


def test_one_question_falls():
    table = ways({"a": {"gone": UP, "kept": LEVEL, "NSC": DOWN}})
    assert findings.worth(table, "gone", "kept", "raw", ["NSC"]).endswith("but NSC falls.")


def test_rounding_is_no_difference():
    tiny = (-1e-7, -2e-7, -5e-8)
    table = ways(
        {
            "position": {"gone": tiny, "kept": (0.0, 0.0, 0.0)},
            "other": {"gone": tiny, "kept": tiny},
            "little": {"gone": tiny, "kept": (-0.001, -0.01, 0.01)},
        }
    )
    assert findings.worth(table, "gone", "kept", "raw").split("\n") == [
        "- `position` found no effect of position in the controls and took nothing off: every "
        "score is that of `raw`.",
        "- `other` took nothing off: every score is that of `raw`.",
        "- `little`: gone not clear of 0 (0.00); kept not clear of 0 (0.00); neither is clearly "
        "better.",
    ]
    lost = findings.lost_retrieval(table, ["gone", "kept"], "raw")
    assert lost.split("\n") == [
        "- No way is clearly below `raw` in any question.",
        "- Lower, but not clear of 0: `little` for kept.",
    ]
    close = ways({"a": {"NSC": (-0.06, -0.11, -0.001)}})
    assert "NSC (-0.06, -0.11 to 0.00)" in findings.lost_retrieval(close, ["NSC"], "raw")


def test_plates_without_a_batch_judge_first():
    def scored(raw, whole):
        moves = {"raw": {"gone": raw}, "whole": {"gone": whole}}
        return ways(moves, "base").assign(value=[0.6, 0.7, 0.8])

    clear, not_clear = scored(UP, UP), scored(LEVEL, DOWN)
    others = ["raw", "whole"]
    said = findings.few_references(
        {"m": clear}, {"m": not_clear, "n": clear}, "gone", "base", others
    )
    assert said.split("\n") == [
        "- `m`, where no batch was planted: gone is 0.60 for `base`, 0.70 for `raw` and 0.80 for "
        "`whole`: `base` shows of the batch more than `raw` and more than `whole`.",
        "- `m`: gone is 0.60 for `base`, 0.70 for `raw` and 0.80 for `whole`: `base` shows of the "
        "batch neither clearly more nor clearly less than `raw` and less than `whole`.",
        "- `n`: gone is 0.60 for `base`, 0.70 for `raw` and 0.80 for `whole`: `base` shows of the "
        "batch more than `raw` and more than `whole`.",
        "",
        "So the reference of `base` plants a batch, whatever else a plate has.",
    ]
    unclear = findings.few_references({"m": not_clear}, {"m": clear}, "gone", "base", others)
    assert unclear.endswith("So it is not clear that the reference of `base` plants a batch here.")
    alone = findings.few_references({}, {"m": clear}, "gone", "base", others)
    assert alone.startswith("- `m`: gone") and "So " not in alone
    assert findings.few_references({}, {"m": clear}, "gone", "base", ["absent"]) == ""


def test_ties_for_an_end_are_all_named():
    values = pd.Series({"a": 0.2101, "b": 0.2099, "c": -0.001, "d": 0.1})
    assert findings.highest_and_lowest(values) == "0.00 (`c`) to 0.21 (`a` and `b`)"
    assert findings.highest_and_lowest(values[:2]) == "0.21 (all alike)"


def test_narrower_counts():
    scores = pd.DataFrame(
        {
            "low": [0.1, 0.1, 0.3, 0.1],
            "high": [0.3, 0.3, 0.3, 0.2],
            "class_low": [0.2, 0.1, 0.2, np.nan],
            "class_high": [0.3, 0.4, 0.5, np.nan],
        }
    )
    assert findings.narrower(scores, "annotations", 6) == (
        "1 of the 2 intervals is narrower by annotations, which does not make a score more "
        "certain: 6 annotations are too few to resample."
    )
    assert findings.narrower(scores[1:], "annotations", 6) == (
        "None of the 1 intervals is narrower by annotations."
    )
