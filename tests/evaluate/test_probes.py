"""What a line reads, against normal equations and worlds with a known answer."""

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import GroupKFold

from unidino.evaluate import probes


def table(seed=0, rows=60, features=8, effect=1.0):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "batch": rng.choice(list("xyz"), rows, p=[0.5, 0.3, 0.2]),
            "plate": rng.choice(list("pq"), rows),
            "compound": rng.choice([f"c{i}" for i in range(7)], rows),
            "column": rng.integers(1, 13, rows).astype(float),
        }
    )
    values = rng.normal(size=(rows, features))
    values[:, 0] += effect * 3 * (frame["batch"] == "x")
    values[:, 1] += effect * frame["column"]
    values[:, 2] = 4.0  # never varies
    return pd.concat([frame, pd.DataFrame(values).add_prefix("emb")], axis=1)


def ridge(train, known, test, weights=None):
    """Values foretold by ridge regression with an intercept, from the normal equations."""
    kept = train.std(0) > 0
    mean, spread = train[:, kept].mean(0), train[:, kept].std(0)
    first, second = ((part[:, kept] - mean) / spread for part in (train, test))
    weights = np.ones(len(train)) if weights is None else weights
    design = np.column_stack([np.ones(len(first)), first])
    penalty = kept.sum() * np.eye(design.shape[1])
    penalty[0, 0] = 0
    square = design.T @ (weights[:, None] * design) + penalty
    solved = np.linalg.solve(square, design.T @ (weights[:, None] * known))
    return np.column_stack([np.ones(len(second)), second]) @ solved


def folds(frame):
    values = frame.filter(like="emb").to_numpy()
    groups = pd.factorize(frame["compound"])[0]
    return values, GroupKFold(5).split(values, groups=groups)


def test_groups_are_read_as_by_normal_equations():
    frame = table()
    made = probes.read_out(frame, "batch", "compound")
    values, parts = folds(frame)
    names = np.array(list("xyz"))
    told = np.empty(len(frame), object)
    for train, test in parts:
        assert not set(frame["compound"][train]) & set(frame["compound"][test])
        known = frame["batch"].to_numpy()[train]
        counts = {name: (known == name).sum() for name in names}
        weights = np.array([len(known) / 3 / counts[name] for name in known])
        scores = ridge(values[train], 2.0 * (known[:, None] == names) - 1, values[test], weights)
        told[test] = names[scores.argmax(1)]
    assert made["told"].tolist() == told.tolist()
    shares = [(told[frame["batch"] == name] == name).mean() for name in names]
    assert probes.readable(made) == pytest.approx(np.mean(shares))


def test_numbers_are_read_as_by_normal_equations():
    frame = table(1)
    frame.loc[[3, 8], "column"] = np.nan
    made = probes.read_out(frame, "column", "compound", within="plate")
    part = frame.dropna(subset="column").reset_index(drop=True)
    assert made["profile"].tolist() == np.flatnonzero(frame["column"].notna()).tolist()
    for name in ["column", *part.filter(like="emb")]:
        part[name] -= part.groupby("plate")[name].transform("mean")
    values, parts = folds(part)
    known = part["column"].to_numpy()
    told = np.empty(len(part))
    for train, test in parts:
        told[test] = ridge(values[train], known[train][:, None], values[test])[:, 0]
    np.testing.assert_allclose(made["told"], told, atol=1e-9)
    assert made["right"].isna().all()
    expected = 1 - ((known - told) ** 2).sum() / ((known - known.mean()) ** 2).sum()
    assert probes.readable(made) == pytest.approx(expected) and expected > 0.7


def test_nothing_is_read_where_nothing_is():
    frame = table(2, rows=400, effect=0.0)
    assert probes.readable(probes.read_out(frame, "batch", "compound")) == pytest.approx(
        1 / 3, abs=0.08
    )
    assert probes.readable(probes.read_out(frame, "column", "compound")) < 0.05


def test_what_compounds_look_like_does_not_pass_for_their_place():
    """Each compound has a column of its own and a look of its own, and the column none."""
    rng = np.random.default_rng(3)
    compound = np.repeat(np.arange(12), 8)
    frame = pd.DataFrame({"compound": compound, "column": compound.astype(float)})
    looks = rng.normal(size=(12, 20))
    values = looks[compound] + 0.1 * rng.normal(size=(96, 20))
    frame = pd.concat([frame, pd.DataFrame(values).add_prefix("emb")], axis=1)
    assert probes.readable(probes.read_out(frame, "column", "compound")) < 0.2
    leaky = frame.assign(well=np.arange(96))
    assert probes.readable(probes.read_out(leaky, "column", "well")) > 0.8


def test_a_line_needs_features_that_vary():
    frame = table().assign(**{f"emb{i}": 1.0 for i in range(8)})
    made = probes.read_out(frame, "column", "compound")
    assert probes.readable(made) < 0
    assert probes.readable(probes.read_out(frame, "batch", "compound")) == pytest.approx(
        1 / 3, abs=0.34
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"compound": "one"}, "there is one compound only: nothing is left to learn from"),
        ({"batch": "x"}, "batch has one value only: there is nothing to read"),
        ({"compound": None}, "60 profiles have no compound"),
        ({"emb0": np.nan}, "missing or infinite features"),
    ],
)
def test_mistakes_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        probes.read_out(table().assign(**changes), "batch", "compound")
