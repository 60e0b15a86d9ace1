"""Nearest neighbours against a plain loop over random tables; intervals; average precision."""

import pickle

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import cdist

from unidino import evaluate


def table(seed, rows=60, features=6):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "Metadata_moa": rng.choice(["a", "b", "c", None], rows, p=[0.4, 0.3, 0.2, 0.1]),
            "Metadata_compound": rng.choice([f"c{i}" for i in range(9)], rows),
            "Metadata_Batch": rng.choice([1, 2, 3], rows),
            "Metadata_Plate": rng.choice(["p", "q", None], rows),
        }
    )
    values = rng.normal(size=(rows, features))
    return pd.concat([frame, pd.DataFrame(values).add_prefix("emb")], axis=1)


def loop(frame, label, exclude, metric, same_label=()):
    """The definition, profile by profile."""
    frame = frame[frame[label].notna()].reset_index(drop=True)
    distances = cdist(frame.filter(like="emb"), frame.filter(like="emb"), metric)
    correct = without = 0
    for i in range(len(frame)):
        best = None
        for j in range(len(frame)):
            same = frame.loc[i, label] == frame.loc[j, label]
            if i == j or any(frame.loc[i, c] == frame.loc[j, c] for c in exclude):
                continue
            if same and any(frame.loc[i, c] == frame.loc[j, c] for c in same_label):
                continue
            if best is None or distances[i, j] < distances[i, best]:
                best = j
        without += best is None
        correct += best is not None and frame.loc[i, label] == frame.loc[best, label]
    return correct, len(frame) - without, without


@pytest.mark.parametrize("metric", evaluate.METRICS)
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    ("exclude", "same_label"),
    [
        ([], []),
        (["Metadata_compound"], []),
        (["Metadata_compound", "Metadata_Batch"], []),
        (["Metadata_compound"], ["Metadata_Batch"]),
        (["Metadata_Plate"], ["Metadata_Batch", "Metadata_compound"]),
    ],
)
def test_accuracy_equals_the_loop(metric, seed, exclude, same_label):
    frame = table(seed)
    made = evaluate.nearest_neighbour_accuracy(
        frame, "moa", exclude, metric, exclude_if_same_label=same_label
    )
    expected = loop(frame, "Metadata_moa", exclude, metric, same_label)
    assert (made.correct, made.n, made.without_neighbour) == expected
    assert float(made) == made.accuracy == pytest.approx(made.correct / made.n)
    assert made.neighbours["correct"].sum() == made.correct


def test_blocks_do_not_change_the_result(monkeypatch):
    frame = table(3)
    whole = evaluate.nearest_neighbour_accuracy(frame, "moa", ["compound"])
    monkeypatch.setattr(evaluate, "_BLOCK_ROWS", 7)
    parts = evaluate.nearest_neighbour_accuracy(frame, "moa", ["compound"])
    pd.testing.assert_frame_equal(whole.neighbours, parts.neighbours)


@pytest.mark.parametrize(
    "columns", ["compound", ["compound"], pd.Series(["compound"]), np.array(["compound"])]
)
def test_columns_in_any_container(columns):
    frame = table(4)
    assert evaluate.nearest_neighbour_accuracy(frame, "moa", columns) == (
        evaluate.nearest_neighbour_accuracy(frame, "Metadata_moa", ["Metadata_compound"])
    )


def test_profiles_without_neighbours_are_counted():
    frame = table(5).assign(Metadata_compound="one")
    made = evaluate.nearest_neighbour_accuracy(frame, "moa", ["compound"])
    assert made.n == 0
    assert np.isnan(made)
    assert made.without_neighbour == frame["Metadata_moa"].notna().sum()


def test_ties_go_to_the_first_row():
    frame = pd.DataFrame({"moa": ["a", "b", "a", "b"], "emb0": [1.0, 1, 1, 1], "emb1": [0.5] * 4})
    made = evaluate.nearest_neighbour_accuracy(frame, "moa", [])
    assert made.neighbours["neighbour"].tolist() == [1, 0, 0, 0]


def test_zero_vectors_are_far_from_all():
    frame = pd.DataFrame({"moa": list("aab"), "emb0": [0.0, 1, 1], "emb1": [0.0, 1, 1.1]})
    assert evaluate.nearest_neighbour_accuracy(frame, "moa").neighbours["distance"][0] == 1


def test_given_features_only():
    frame = table(6).assign(extra=lambda f: f["Metadata_moa"].map({"a": 0.0, "b": 9.0, "c": 99.0}))
    frame = frame.dropna(subset="Metadata_moa").reset_index(drop=True)
    made = evaluate.nearest_neighbour_accuracy(frame, "moa", [], "euclidean", features=["extra"])
    assert made == 1


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (
            {},
            {"label": "mao"},
            "no column 'mao' in the table. Its metadata columns are: Metadata_moa",
        ),
        ({}, {"label": "moa", "exclude": ["compund"]}, "no column 'compund'"),
        ({}, {"label": "moa", "exclude_if_same_label": ["x"]}, "no column 'x'"),
        ({}, {"label": "moa", "exclude": [3]}, "exclude takes names of columns, got 3"),
        ({}, {"label": "moa", "metric": "cosin"}, "metric 'cosin' is not one of cosine"),
        ({}, {"label": "moa", "features": ["emb9"]}, "lack the features emb9"),
        ({"emb0": np.nan}, {"label": "moa"}, "profiles have missing or infinite features"),
    ],
)
def test_mistakes_are_named(change, options, message):
    with pytest.raises(ValueError, match=message):
        evaluate.nearest_neighbour_accuracy(table(0).assign(**change), **options)


def test_tables_without_features():
    with pytest.raises(ValueError, match="the profiles have no features"):
        evaluate.nearest_neighbour_accuracy(pd.DataFrame({"moa": ["a"]}), "moa")


def test_accuracy_pickles():
    made = evaluate.nearest_neighbour_accuracy(table(0), "moa", ["compound"])
    again = pickle.loads(pickle.dumps(made))
    assert (again, again.n, again.without_neighbour) == (made, made.n, made.without_neighbour)


def test_labels_of_one_batch_only():
    frame = pd.DataFrame({"moa": list("aabb"), "Metadata_Batch": [1, 2, 1, 1]})
    assert evaluate.in_several(frame, "moa", "batch").tolist() == [True, True, False, False]


def test_interval_equals_a_bootstrap_by_hand():
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


def test_difference_of_equal_sets_is_zero():
    frame = table(8)
    made = evaluate.nearest_neighbour_accuracy(frame, "moa", ["compound"])
    assert evaluate.paired_difference(made, made, frame, "compound") == (0, 0, 0)


def test_pairing_narrows_the_interval():
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


def test_average_precision_equals_the_ranking():
    frame = table(10, rows=40).dropna().reset_index(drop=True)
    made = evaluate.mean_average_precision(
        frame, pos_sameby=["moa"], pos_diffby=["compound"], neg_diffby=["moa"]
    )
    values = frame.filter(like="emb").to_numpy()
    similarity = 1 - cdist(values, values, "cosine")
    for i in range(len(frame)):
        other = np.arange(len(frame)) != i
        same = (frame["Metadata_moa"] == frame["Metadata_moa"][i]) & other
        positive = same & (frame["Metadata_compound"] != frame["Metadata_compound"][i])
        negative = frame["Metadata_moa"] != frame["Metadata_moa"][i]
        if not positive.any():
            continue
        ranked = np.flatnonzero(positive | negative)
        ranked = ranked[np.argsort(-similarity[i, ranked], kind="stable")]
        hits = positive.to_numpy()[ranked]
        precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
        assert made["average_precision"][i] == pytest.approx(precision[hits].mean(), abs=1e-5)
