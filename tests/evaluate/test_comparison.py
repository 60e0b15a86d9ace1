"""Tables of scores from several pages, side by side."""

import numpy as np
import pandas as pd
import pytest

from unidino.evaluate import comparison


def table(name, folder, rows, **more):
    frame = pd.DataFrame(rows, columns=["features", "level", "accuracy", "value"])
    frame = frame.assign(low=frame["value"] - 0.1, high=frame["value"] + 0.1, n=10, **more)
    frame.to_csv(folder / f"{name}_scores.csv", index=False)


@pytest.fixture
def folder(tmp_path):
    table("evaluate_a", tmp_path, [("m", "well", "NSC", 0.5), ("h", "well", "NSC", 0.6)],
          data="real")  # fmt: skip
    table("evaluate_b", tmp_path, [("m", "well", "NSC", 0.4), ("h", "well", "NSC", np.nan)],
          data="simulated")  # fmt: skip
    pd.DataFrame({"other": [1]}).to_csv(tmp_path / "strange_scores.csv", index=False)
    pd.DataFrame(
        {
            "set": ["stains", "stains", "stains", "BBBC021"],
            "metric": "NSC",
            "model": ["m", "h", "m", "m"],
            "minus": [None, None, "h", None],
            "value": [0.7, 0.3, 0.4, 0.2],
            "low": 0.1,
            "high": 0.9,
            "n": 5,
        }
    ).to_csv(tmp_path / "demo_model_scores.csv", index=False)
    return tmp_path


def test_tables_of_all_pages_are_read(folder):
    made = comparison.read(folder)
    assert list(made) == list(comparison.COLUMNS)
    found = made[["benchmark", "features", "value", "data"]].apply(tuple, axis=1).tolist()
    assert sorted(found) == [
        ("BBBC021", "m", 0.2, "simulated"),
        ("a", "h", 0.6, "real"),
        ("a", "m", 0.5, "real"),
        ("b", "m", 0.4, "simulated"),
        ("stains", "h", 0.3, "real"),
        ("stains", "m", 0.7, "real"),
    ]


def test_ranks_are_those_of_a_loop(folder):
    scores = comparison.read(folder)
    real = scores[scores["data"] == "real"]
    made = comparison.ranks(real, ["m", "h"])
    # m is second of a, first of the stains.
    assert made.loc["m"].tolist() == made.loc["h"].tolist() == [1.5, 1, 2, 2]
    more = pd.concat([real, real[real["benchmark"] == "stains"].assign(accuracy="again")])
    made = comparison.ranks(more, ["m", "h"])
    assert made.index.tolist() == ["m", "h"]
    np.testing.assert_allclose(made["mean rank"], [4 / 3, 5 / 3])
    one_is_not_asked = pd.concat([more, real[:1].assign(accuracy="alone")])
    pd.testing.assert_frame_equal(comparison.ranks(one_is_not_asked, ["m", "h"]), made)


def test_simulated_rows_rank_nothing(folder):
    with pytest.raises(ValueError, match="simulated rank nothing"):
        comparison.ranks(comparison.read(folder), ["m"])


def test_ranks_need_a_common_question(folder):
    scores = comparison.read(folder).query("data == 'real'")
    with pytest.raises(ValueError, match="no question was asked of all of m, gone"):
        comparison.ranks(scores, ["m", "gone"])


def test_questions_are_named_and_put_side_by_side(folder):
    scores = comparison.read(folder)
    made = comparison.asked(scores, {"second": ("b", "well", "NSC"), "first": ("a", "well", "NSC")})
    assert made["question"].tolist() == ["second", "first", "first"]
    wide = comparison.side_by_side(made)
    assert wide.index.tolist() == [("second", "simulated"), ("first", "real")]
    assert wide["m"].tolist() == ["0.40 (0.30 to 0.50)", "0.50 (0.40 to 0.60)"]
    assert wide["h"].tolist() == ["", "0.60 (0.50 to 0.70)"]
    without_interval = made.assign(low=np.nan)
    assert comparison.side_by_side(without_interval)["m"].tolist() == ["0.40", "0.50"]


def test_which_rows_answer_a_question(folder):
    scores = comparison.read(folder)
    assert scores[comparison.answered(scores, ("a", "well", "NSC"))]["value"].tolist() == [0.5, 0.6]
    assert not comparison.answered(scores, ("a", "well", "NSCB")).any()


def test_an_unknown_question_lists_the_known_ones(folder):
    with pytest.raises(ValueError, match="no score of a, well, NSCB: a, well, NSC"):
        comparison.asked(comparison.read(folder), {"q": ("a", "well", "NSCB")})
    with pytest.raises(ValueError, match="its page wrote no table of scores"):
        comparison.asked(comparison.read(folder), {"q": ("gone", "well", "NSC")})


def test_a_folder_without_scores_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="run make pages"):
        comparison.read(tmp_path)
