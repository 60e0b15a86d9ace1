"""Counts of important features by channel, on tables where the channel is known."""

import numpy as np
import pandas as pd
import pytest

from unidino.evaluate import channels


def table(seed=0, n=60):
    """`left` shows in the channel DNA, `right` in Mito."""
    rng = np.random.default_rng(seed)
    label = np.repeat(["left", "right", "none"], n // 3)
    frame = pd.DataFrame({"Metadata_moa": label})
    for channel, own in (("DNA", "left"), ("ER", ""), ("Mito", "right")):
        for i in range(8):
            shown = 3.0 * (label == own) * (i < 4)
            frame[f"emb_{channel}_{i:04d}"] = rng.normal(size=n) + shown
    return frame


def test_counts_lie_where_the_label_is_seen():
    made = channels.top_feature_counts(table(), "moa", 4)
    assert made.columns.tolist() == ["DNA", "ER", "Mito"]
    assert made.index.tolist() == ["left", "none", "right"]
    assert made.loc["left"].tolist() == [4, 0, 0]
    assert made.loc["right"].tolist() == [0, 0, 4]
    assert made.loc["none", "ER"] == 0
    pd.testing.assert_frame_equal(made, channels.top_feature_counts(table(), "moa", 4))


def test_counts_are_those_of_the_forest():
    from sklearn.ensemble import RandomForestClassifier

    frame = table(seed=3)
    names = [c for c in frame if c.startswith("emb")]
    forest = RandomForestClassifier(50, class_weight="balanced", random_state=7)
    forest.fit(frame[names], frame["Metadata_moa"] == "none")
    best = pd.Series(forest.feature_importances_, names).nlargest(6).index
    expected = [sum(name.startswith(f"emb_{c}_") for name in best) for c in ("DNA", "ER", "Mito")]
    made = channels.top_feature_counts(frame, "moa", 6, trees=50, seed=7)
    assert made.loc["none"].tolist() == expected


def test_labels_of_one_profile_and_profiles_without_one_are_left_out():
    frame = table()
    frame.loc[0, "Metadata_moa"] = "single"
    frame.loc[1, "Metadata_moa"] = None
    assert channels.top_feature_counts(frame, "moa", 4).index.tolist() == ["left", "none", "right"]


def test_nothing_to_count():
    with pytest.raises(ValueError, match="top is 24 of 24 features"):
        channels.top_feature_counts(table(), "moa", 24)
    with pytest.raises(ValueError, match="moa has 1 values, 1 of them"):
        channels.top_feature_counts(table().assign(Metadata_moa="one"), "moa", 4)
    with pytest.raises(ValueError, match="no column 'target'"):
        channels.top_feature_counts(table(), "target", 4)
