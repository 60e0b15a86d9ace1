"""What an accuracy would be if labels meant nothing: they are exchanged between compounds."""

import numpy as np
import pandas as pd

from .. import arguments, tables
from .bootstrap import check_table


class NothingToExchange(ValueError):
    """Within each stratum all groups have the same label."""


def permutation_null(accuracy, profiles, by, *, within=None, draws=1000, seed=0):
    """An accuracy beside those of exchanged labels.

    Labels are exchanged between whole groups such as compounds, whose profiles stay together.
    Neighbours stay as they were found.

    Parameters
    ----------
    accuracy : Accuracy
        From `nearest_neighbour_accuracy`, without ``exclude_if_same_label``, whose neighbours
        depend on the labels.
    profiles : pd.DataFrame
        The profiles that it was computed on, rows in the same order.
    by : str
        Column of the groups; all profiles of a group have one label.
    within : str, optional
        Labels are exchanged only between groups that lie in the same of these, such as batches:
        what the batches alone give stays in the null. A group may lie in several.
    draws : int
    seed : int

    Returns
    -------
    pd.Series
        ``accuracy``, ``null`` (mean), ``null_low`` and ``null_high`` (2.5 and 97.5 percentiles),
        ``p_value`` (share of exchanges that are at least as high, the observed one counted among
        them), ``exchangeable`` (share of the groups that can get another label).

    Raises
    ------
    ValueError
        Other profiles than the accuracy's, a column that does not exist or has missing values,
        nothing scored, a group of several labels, an accuracy whose neighbours depend on the
        labels; `NothingToExchange`.

    Notes
    -----
    Of neighbours that are equally near the first in the table counts, in the null and in the
    observed share that the p-value compares with it; ``accuracy`` counts them by their share, as
    it was given. On a table of ties (`Accuracy.tied_share`) the two differ, and the p-value depends
    on the order of the rows: where they are sorted by label the first of several tends to be of an
    early label, whatever the features say. Shuffle the rows of such a table before it is scored.
    """
    arguments.check_positive("draws", draws)
    if not accuracy.n:
        raise ValueError("no profile was scored: there is nothing to exchange.")
    check_table(accuracy, profiles)
    if accuracy.by_label:
        raise ValueError(
            "this accuracy bars neighbours by their label (exclude_if_same_label): exchanged "
            "labels would have other neighbours. Use it without."
        )
    pairs = accuracy.neighbours
    rows = np.unique(np.concatenate([pairs["profile"], pairs["neighbour"]]))
    column = tables.find_column(profiles, by)
    if profiles[column].iloc[rows].isna().any():
        raise ValueError(f"scored profiles have no {column}: exchanging labels needs one for each.")
    groups, names = pd.factorize(profiles[column])
    labels = pd.concat(
        [
            pairs[["profile", "label"]],
            pairs[["neighbour", "neighbour_label"]].set_axis(["profile", "label"], axis=1),
        ]
    ).drop_duplicates()
    codes, _ = pd.factorize(labels["label"])
    own = np.full(len(names), -1)
    own[groups[labels["profile"]]] = codes
    if (own[groups[labels["profile"]]] != codes).any():
        raise ValueError(f"a {by} has several labels: name a column whose profiles have one each.")
    strata = _strata(profiles, groups, within, own >= 0)
    first, second = (groups[pairs[name].to_numpy()] for name in ("profile", "neighbour"))
    rng = np.random.default_rng(seed)
    null = np.empty(draws)
    for i in range(draws):
        drawn = own.copy()
        for members in strata:
            drawn[members] = rng.permutation(own[members])
        null[i] = (drawn[first] == drawn[second]).mean()
    free = sum(len(members) for members in strata if len(np.unique(own[members])) > 1)
    if not free:
        raise NothingToExchange(
            f"no label can be exchanged: within each {within or 'table'} all have the same label."
        )
    observed = (own[first] == own[second]).mean()
    return pd.Series(
        {
            "accuracy": float(accuracy),
            "null": null.mean(),
            "null_low": np.quantile(null, 0.025),
            "null_high": np.quantile(null, 0.975),
            "p_value": (1 + (null >= observed - 1e-12).sum()) / (1 + draws),
            "exchangeable": free / (own >= 0).sum(),
        }
    )


def _strata(profiles, groups, within, labelled):
    """The groups that may exchange labels, as arrays of codes."""
    if within is None:
        return [np.flatnonzero(labelled)]
    column = tables.find_column(profiles, within)
    rows = labelled[groups] & (groups >= 0)
    if profiles.loc[rows, column].isna().any():
        raise ValueError(f"scored profiles have no {column}: exchanging within it needs one each.")
    places = profiles.loc[rows, column].groupby(groups[rows]).agg(frozenset)
    return [
        np.sort(places.index[places == kind].to_numpy()) for kind in dict.fromkeys(places.tolist())
    ]
