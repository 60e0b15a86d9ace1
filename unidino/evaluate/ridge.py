"""Ridge regression in closed form, with everything that is chosen inside the training groups."""

import numpy as np

STRENGTHS = tuple(float(10**power) for power in range(-2, 5))
"""Penalties that are chosen from, in units of the mean eigenvalue of the training rows' products;
the last leaves next to nothing but the mean."""


def out_of_fold(features, values, fold, groups, strengths=STRENGTHS):
    """Predict every row by a ridge regression on the rows of the other folds.

    Features are centred and scaled, the intercept is taken, and the strength is chosen, for each
    column of values, from the training rows alone: by the error on groups that are left out in
    turn, which has a closed form.

    Parameters
    ----------
    features : numpy.ndarray
        (n, p).
    values : numpy.ndarray
        (n, k), without missing values.
    fold : numpy.ndarray
        (n,), the fold that a row is predicted in.
    groups : numpy.ndarray
        (n,), such as the gene: what is left out together when the strength is chosen.
    strengths : sequence of float

    Returns
    -------
    numpy.ndarray
        (n, k).

    Raises
    ------
    ValueError
        A fold without which fewer than two groups are left.

    Notes
    -----
    With the hat matrix H, intercept included, the errors of a left-out group g are
    (I - H_gg)^-1 (y_g - (H y)_g), as those of single rows are with leave-one-out; the scaling is
    that of all training rows.
    """
    features, values = np.asarray(features, float), np.asarray(values, float)
    predicted = np.empty_like(values)
    for number in np.unique(fold):
        held = fold == number
        predicted[held] = predict(
            features[~held], values[~held], groups[~held], features[held], strengths
        )
    return predicted


def predict(features, values, groups, new, strengths=STRENGTHS):
    """Predict new rows by a ridge regression; see `out_of_fold`.

    Parameters
    ----------
    features, values, groups, strengths
        Of the training rows.
    new : numpy.ndarray
        (m, p).

    Returns
    -------
    numpy.ndarray
        (m, k).
    """
    members = _by_size(groups)
    count = sum(len(rows) for rows in members)
    if count < 2:
        raise ValueError(
            f"{count} group is left to train on; choosing a strength needs two: take fewer folds, "
            "or more groups."
        )
    centre, spread = features.mean(0), features.std(0)
    varies = spread > 1e-12 * np.abs(features).max(0, initial=1)
    train, held = (
        (rows[:, varies] - centre[varies]) / spread[varies] for rows in (features, new)
    )  # fmt: skip
    mean = values.mean(0)
    if not varies.any():
        return np.tile(mean, (len(new), 1))
    sizes, vectors = np.linalg.eigh(train @ train.T)
    sizes = sizes.clip(0)
    penalties = np.asarray(strengths, float) * sizes.mean()
    rotated = vectors.T @ (values - mean)
    errors = np.array(
        [_left_out(sizes / (sizes + one), vectors, rotated, values - mean, members)
         for one in penalties]
    )  # fmt: skip
    chosen = penalties[errors.argmin(0)]
    dual = vectors @ (rotated / (sizes[:, None] + chosen))
    return mean + held @ train.T @ dual


def _by_size(groups):
    """Rows of the groups, those of one size as an array (groups, size)."""
    codes = np.unique(groups, return_inverse=True)[1]
    sizes = np.bincount(codes)
    order = np.argsort(codes, kind="stable")
    return [order[sizes[codes[order]] == size].reshape(-1, size) for size in np.unique(sizes)]


def _left_out(kept, vectors, rotated, centred, members):
    """Sum of the squared errors (k,) on groups that are left out in turn."""
    rows = len(vectors)
    hat = (vectors * kept) @ vectors.T + 1 / rows
    residuals = centred - vectors @ (kept[:, None] * rotated)
    total = np.zeros(centred.shape[1])
    for own in members:
        left = np.eye(own.shape[1]) - hat[own[:, :, None], own[:, None, :]]
        total += (np.linalg.solve(left, residuals[own]) ** 2).sum((0, 1))
    return total
