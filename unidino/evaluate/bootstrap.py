"""Intervals of accuracies and means, resampling what is independent: compounds, not their wells."""

import numpy as np
import pandas as pd

from .. import tables
from .neighbours import table_identity


def bootstrap_interval(accuracy, profiles, by, *, level=0.95, draws=2000, seed=0):
    """Percentile interval of an accuracy, resampling whole groups such as compounds.

    Neighbours stay as they were found: what varies is which compounds a screen happens to hold,
    not whom they are compared with.

    Parameters
    ----------
    accuracy : Accuracy
        From `nearest_neighbour_accuracy`.
    profiles : pd.DataFrame
        The profiles that it was computed on, rows in the same order.
    by : str
        Column of what is resampled; profiles of one compound are not independent.
    level : float
        Coverage, 0 to 1.
    draws : int
        Resamples.
    seed : int

    Returns
    -------
    (float, float)

    Raises
    ------
    ValueError
        Other profiles than the accuracy's, a missing column or missing values in it, nothing
        scored, a level that is no share.
    """
    shares = _shares([_per_group(accuracy, profiles, by)], draws, seed)[0]
    return _interval(shares, level)


def paired_difference(first, second, profiles, by, *, level=0.95, draws=2000, seed=0):
    """Difference of two accuracies on the same profiles, with its interval.

    Both are computed on the same resampled compounds: what is hard for both cancels.

    Parameters
    ----------
    first, second : Accuracy
        Of two feature sets on the rows of `profiles`.
    profiles, by, level, draws, seed
        As of `bootstrap_interval`.

    Returns
    -------
    (float, float, float)
        first minus second, and the ends of the interval.

    Raises
    ------
    ValueError
        As `bootstrap_interval`.
    """
    groups = [_per_group(accuracy, profiles, by) for accuracy in (first, second)]
    one, other = _shares(groups, draws, seed)
    low, high = _interval(one - other, level)
    return float(first) - float(second), low, high


def mean_interval(values, groups, *, level=0.95, draws=2000, seed=0):
    """Percentile interval of a mean, resampling whole groups such as genes.

    Parameters
    ----------
    values : array-like of float
        One a unit, such as the score of a construct.
    groups : array-like
        What each belongs to: units of one group are not independent.
    level, draws, seed
        As of `bootstrap_interval`.

    Returns
    -------
    (float, float)

    Raises
    ------
    ValueError
        No value, a missing one, a unit without a group, a level that is no share.
    """
    values = np.asarray(values, float)
    codes, names = pd.factorize(np.asarray(groups, object))
    if not len(values) or np.isnan(values).any() or (codes < 0).any():
        raise ValueError(
            f"{len(values)} values, {int(np.isnan(values).sum())} of them missing, and "
            f"{int((codes < 0).sum())} without a group: resampling needs values, and a group for "
            "each."
        )
    sums = np.bincount(codes, values, len(names)), np.bincount(codes, minlength=len(names))
    return _interval(_shares([sums], draws, seed)[0], level)


def interval_text(value, low, high):
    """A score with its interval as people read it.

    Parameters
    ----------
    value, low, high : float

    Returns
    -------
    str
        Such as "0.34 (0.23 to 0.46)"; the value alone where it has no interval, "–" without value.
    """
    if np.isnan(value):
        return "–"
    # z: what rounds to nothing has no sign.
    return f"{value:z.2f}" if np.isnan(low) else f"{value:z.2f} ({low:z.2f} to {high:z.2f})"


def _per_group(accuracy, profiles, by):
    """(correct, scored) profiles of each group of `profiles`."""
    if not accuracy.n:
        raise ValueError("no profile was scored: there is nothing to resample.")
    check_table(accuracy, profiles)
    rows = accuracy.neighbours["profile"].to_numpy()
    codes, groups = pd.factorize(profiles[tables.find_column(profiles, by)])
    lost = rows[codes[rows] < 0]
    if len(lost):
        raise ValueError(
            f"{len(lost)} scored profiles have no {by}, the first is row {lost[0]}: resampling "
            "needs one for each."
        )
    own = codes[rows]
    correct = np.bincount(own, accuracy.neighbours["correct"], len(groups))
    return correct, np.bincount(own, minlength=len(groups))


def check_table(accuracy, profiles):
    """Raise where the profiles are others than the accuracy's, or in another order."""
    have = table_identity(profiles, accuracy.identity)
    label = next(iter(accuracy.identity))
    names = dict.fromkeys([label, *have])
    differ = [name for name in names if have.get(name) != accuracy.identity[name]]
    if differ:
        raise ValueError(
            "these are not the profiles that the accuracy was computed on: the columns "
            f"{', '.join(differ)} differ. Give that table, its rows in the same order."
        )


def _shares(groups, draws, seed):
    """Accuracies of the same resamples, one array a pair of (correct, scored) counts."""
    # Groups of which nothing is scored, such as controls, are no part of the sample.
    kept = np.flatnonzero(sum(scored for _, scored in groups))
    chances = np.full(len(kept), 1 / len(kept))
    weights = np.random.default_rng(seed).multinomial(len(kept), chances, draws)
    with np.errstate(invalid="ignore"):
        return [(weights @ correct[kept]) / (weights @ scored[kept]) for correct, scored in groups]


def _interval(shares, level):
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; it is a share between 0 and 1, such as 0.95.")
    low, high = np.nanquantile(shares, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
