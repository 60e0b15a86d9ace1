"""Exchanged labels against the exact count of all exchanges; macro accuracy by its definition."""

import itertools
import pickle

import numpy as np
import pandas as pd
import pytest

from unidino import evaluate


def table(seed=0, signal=0.0, compounds=6, per=3):
    rng = np.random.default_rng(seed)
    rows = [
        (f"c{i}", "xyz"[i % 3], f"b{i // 3}") for i in range(compounds) for _ in range(per)
    ]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["compound", "moa", "batch"])
    centres = {moa: rng.normal(0, 1, 4) * signal for moa in "xyz"}
    values = np.array([centres[m] for m in frame["moa"]]) + rng.normal(size=(len(frame), 4))
    frame[[f"emb{i}" for i in range(4)]] = values
    return frame


def exact(accuracy, frame, within):
    """Accuracies of every exchange of labels between compounds."""
    pairs = accuracy.neighbours[["profile", "neighbour"]].to_numpy()
    compounds = frame["compound"].to_numpy()
    label = frame.groupby("compound")["moa"].first()
    strata = [list(label.index)]
    if within:
        strata = list(frame.groupby("batch")["compound"].unique().map(list))
    made = []
    for orders in itertools.product(*(itertools.permutations(own) for own in strata)):
        drawn = {
            name: label[other]
            for own, order in zip(strata, orders, strict=True)
            for name, other in zip(own, order, strict=True)
        }
        made.append(np.mean([drawn[compounds[a]] == drawn[compounds[b]] for a, b in pairs]))
    return np.array(made)


@pytest.mark.parametrize("within", [None, "batch"])
@pytest.mark.parametrize("signal", [0.0, 3.0])
def test_drawn_exchanges_approach_all_of_them(signal, within):
    frame = table(1, signal)
    accuracy = evaluate.nearest_neighbour_accuracy(frame, "moa", ["compound"])
    made = evaluate.permutation_null(accuracy, frame, "compound", within=within, draws=4000)
    every = exact(accuracy, frame, within)
    assert made["accuracy"] == float(accuracy)
    assert made["null"] == pytest.approx(every.mean(), abs=0.02)
    assert made["p_value"] == pytest.approx((every >= float(accuracy) - 1e-9).mean(), abs=0.03)
    assert made["null_low"] <= made["null"] <= made["null_high"]
    assert made["exchangeable"] == 1


def test_what_batches_alone_give_stays_in_the_null():
    """Labels that are confounded with batches: found well, and no better than exchanged within."""
    rng = np.random.default_rng(0)
    frame = table(0, compounds=12)
    frame["batch"] = frame["moa"]
    frame["emb0"] += frame["moa"].map({"x": 9.0, "y": -9.0, "z": 0.0}) + rng.normal(size=len(frame))
    frame.loc[frame["compound"] == "c0", "moa"] = "y"
    accuracy = evaluate.nearest_neighbour_accuracy(frame, "moa", ["compound"], "euclidean")
    free = evaluate.permutation_null(accuracy, frame, "compound", draws=500)
    bound = evaluate.permutation_null(accuracy, frame, "compound", within="batch", draws=500)
    assert free["p_value"] < 0.05 < bound["p_value"]
    assert bound["exchangeable"] == pytest.approx(4 / 12)


def test_macro_accuracy_counts_labels_alike():
    frame = table(2, 1.0).iloc[:-4]
    accuracy = evaluate.nearest_neighbour_accuracy(frame, "moa", ["compound"])
    pairs = accuracy.neighbours
    each = [pairs.loc[pairs["label"] == moa, "correct"].mean() for moa in "xyz"]
    assert accuracy.macro == pytest.approx(np.mean(each)) and accuracy.macro != float(accuracy)
    assert pickle.loads(pickle.dumps(accuracy)).macro == accuracy.macro


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda f: f.assign(compound="a"), {}, "these are not the profiles"),
        (lambda f: f, {"by": "batch"}, "a batch has several labels"),
        (lambda f: f, {"by": "week"}, "week"),
        (lambda f: f, {"draws": 0}, "draws is 0"),
        (lambda f: f, {"within": "compound"}, "no label can be exchanged: within each compound"),
        (lambda f: f.assign(gap=[None, *["a"] * 17]), {"by": "gap"}, "scored profiles have no gap"),
        (
            lambda f: f.assign(gap=[None, *["a"] * 17]),
            {"within": "gap"},
            "scored profiles have no gap: exchanging within",
        ),
    ],
)
def test_mistakes_are_named(change, options, message):
    frame = table()
    accuracy = evaluate.nearest_neighbour_accuracy(frame, "moa", ["compound"])
    options = {"by": "compound"} | options
    with pytest.raises(ValueError, match=message):
        evaluate.permutation_null(accuracy, change(frame), **options)


def test_neighbours_that_depend_on_labels_are_refused():
    frame = table()
    accuracy = evaluate.nearest_neighbour_accuracy(
        frame, "moa", ["compound"], exclude_if_same_label=["batch"]
    )
    with pytest.raises(ValueError, match="bars neighbours by their label"):
        evaluate.permutation_null(accuracy, frame, "compound")
