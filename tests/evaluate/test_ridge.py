"""Ridge regression in closed form against one that is fitted again and again."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from unidino.evaluate import ridge


def table(seed=0, genes=9, features=14):
    """Guides of genes, two or three of each, and three readouts."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(genes), 2 + np.arange(genes) % 2)
    x = rng.normal(size=(genes, features))[groups] + rng.normal(size=(len(groups), features))
    x = 3 + x * rng.uniform(0.1, 20, features)
    y = np.stack([x @ rng.normal(size=features), rng.normal(size=len(x)), 5 + x[:, 0] ** 2], 1)
    return x, y, groups % 3, groups


def naive(features, values, fold, groups, strengths):
    """The same, one fit for every fold, readout, strength and group."""
    predicted = np.empty_like(values)
    for number in np.unique(fold):
        held = fold == number
        scaler = StandardScaler().fit(features[~held])
        x, new = scaler.transform(features[~held]), scaler.transform(features[held])
        y, own = values[~held], groups[~held]
        unit = np.trace(x @ x.T) / len(x)
        for column in range(values.shape[1]):
            errors = []
            for strength in strengths:
                error = 0
                for group in np.unique(own):
                    model = Ridge(strength * unit).fit(x[own != group], y[own != group, column])
                    error += ((y[own == group, column] - model.predict(x[own == group])) ** 2).sum()
                errors.append(error)
            best = Ridge(strengths[int(np.argmin(errors))] * unit).fit(x, y[:, column])
            predicted[held, column] = best.predict(new)
    return predicted


@pytest.mark.parametrize("features", [3, 14, 60])
def test_closed_form_is_what_fitting_gives(features):
    x, y, fold, groups = table(features=features)
    strengths = (0.01, 1.0, 100.0)
    made = ridge.out_of_fold(x, y, fold, groups, strengths)
    np.testing.assert_allclose(made, naive(x, y, fold, groups, strengths), rtol=1e-6)


def test_held_rows_decide_nothing():
    x, y, fold, groups = table()
    other, values = x.copy(), y.copy()
    values[fold == 1] += 100
    made = ridge.out_of_fold(other, values, fold, groups)
    np.testing.assert_array_equal(made[fold == 1], ridge.out_of_fold(x, y, fold, groups)[fold == 1])
    other[(fold == 1) & (groups != 1)] *= 7
    made = ridge.out_of_fold(other, y, fold, groups)
    np.testing.assert_allclose(
        made[groups == 1], ridge.out_of_fold(x, y, fold, groups)[groups == 1]
    )


def test_columns_do_not_depend_on_each_other():
    x, y, fold, groups = table()
    one = ridge.out_of_fold(x, y[:, 1:2], fold, groups)
    np.testing.assert_allclose(one, ridge.out_of_fold(x, y, fold, groups)[:, 1:2])


def test_features_that_do_not_vary():
    x, y, fold, groups = table()
    constant = np.full((len(x), 1), 0.1)
    made = ridge.out_of_fold(np.hstack([x, constant]), y, fold, groups)
    np.testing.assert_allclose(made, ridge.out_of_fold(x, y, fold, groups))
    made = ridge.out_of_fold(constant, y, fold, groups)
    for number in range(3):
        expected = np.tile(y[fold != number].mean(0), ((fold == number).sum(), 1))
        np.testing.assert_allclose(made[fold == number], expected)


def test_one_group_is_too_few():
    x, y, fold, groups = table()
    with pytest.raises(ValueError, match="1 group is left to train on"):
        ridge.out_of_fold(x, y, np.where(groups == 0, 0, 1), groups)
