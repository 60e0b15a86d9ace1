"""Whether chance explains a mean average precision: drawn as copairs draws, or counted."""

import functools
import itertools
import math
import tempfile

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control

from .. import arguments
from . import similarity

_MEAN = "mean_normalized_average_precision"

ENUMERABLE = 200_000
"""Rankings that an exact p-value is counted over, at most."""


def grouped(scores, keys, null_size, seed):
    """Mean average precision of each group, and its p-values.

    Parameters
    ----------
    scores : pd.DataFrame
        Of `retrieval.average_precision`; rows without a score are left out.
    keys : list of str
        Columns that name a group.
    null_size : int
        Random rankings that a drawn p-value rests on.
    seed : int

    Returns
    -------
    pd.DataFrame
        One row a group: `keys`, ``n_profiles``, ``mean_average_precision``,
        ``mean_normalized_average_precision``, ``tied_share``; ``p_value``, the share of random
        rankings that score at least as high, the observed one counted among them, as the worst
        order of ties does; ``copairs_p_value``, as copairs counts: those that score higher, plus
        one; ``exact_p_value``, the share of all rankings (missing where they are more than
        `ENUMERABLE`, or where the profiles of a group have different numbers of pairs);
        ``least_p_value``, of a perfect ranking; and each but the last corrected (Benjamini and
        Hochberg) over the groups, ``corrected_p_value`` and so on.

    Notes
    -----
    As in copairs, the rankings of a group's profiles are taken to rise and fall together: its mean
    is compared with single rankings, which makes no finding of profiles that are one in disguise.

    Source: Kalinin et al. 2025 (doi 10.1038/s41467-025-60306-2); exact: by the definition.
    """
    from copairs.compute import get_null_dists

    arguments.check_positive("null_size", null_size)
    scored = scores.dropna(subset="average_precision").reset_index(drop=True)
    if scored.empty:
        raise ValueError("no profile has both a positive and a negative pair under these rules.")
    counts = scored[["n_pos_pairs", "n_total_pairs"]].to_numpy()
    kinds, kind = np.unique(counts, axis=0, return_inverse=True)
    # A folder of its own: copairs' cache in the home folder outlives the call, and what it holds
    # depends on which call filled it, so that p-values would, too.
    with tempfile.TemporaryDirectory() as cache:
        chance = get_null_dists(kinds, null_size, seed, cache, progress_bar=False)
    groups = scored.groupby(keys, observed=True)
    made = groups.agg(
        n_profiles=("average_precision", "size"),
        mean_average_precision=("average_precision", "mean"),
        mean_normalized_average_precision=("normalized_average_precision", "mean"),
        tied_share=("tied", "mean"),
    )
    p_values = [
        _p_values(
            chance[kind[group.index]].mean(0),
            kinds[np.unique(kind[group.index])],
            group["lowest_average_precision"].mean(),
            group["average_precision"].mean(),
        )
        for _, group in groups
    ]
    names = ("p_value", "copairs_p_value", "exact_p_value", "least_p_value")
    made[list(names)] = np.array(p_values, float).reshape(len(made), len(names))
    for name in names[:3]:
        made[f"corrected_{name}"] = corrected(made[name])
    return made.reset_index()


def corrected(p_values):
    """Benjamini and Hochberg's correction of those that are there; missing stays missing."""
    values = np.array(p_values, float)
    has = ~np.isnan(values)
    if has.any():
        values[has] = false_discovery_control(values[has])
    return values


def _p_values(chance, kinds, lowest, mean):
    """(drawn, copairs', exact, least) p-values of one group."""
    # copairs draws in single precision; what is equal must count as equal.
    drawn = (1 + (chance >= lowest - similarity.TOLERANCE).sum()) / (1 + len(chance))
    strict = (1 + (chance > mean + similarity.TOLERANCE).sum()) / (1 + len(chance))
    exact = least = np.nan
    if len(kinds) == 1:
        positive, total = (int(count) for count in kinds[0])
        rankings = math.comb(total, positive)
        least = max(1 / rankings, 1 / (1 + len(chance)))
        if rankings <= ENUMERABLE:
            every = all_precisions(positive, total)
            exact = (every >= lowest - similarity.TOLERANCE).mean()
            least = 1 / rankings
    else:
        least = 1 / (1 + len(chance))
    return drawn, strict, exact, least


@functools.lru_cache(maxsize=64)
def all_precisions(positive, total):
    """Average precision of every ranking of so many positives among so many.

    Returns
    -------
    numpy.ndarray
        (total choose positive,).
    """
    places = itertools.chain.from_iterable(itertools.combinations(range(1, total + 1), positive))
    count = math.comb(total, positive) * positive
    places = np.fromiter(places, np.int32, count).reshape(-1, positive)
    return (np.arange(1, positive + 1) / places).mean(1)


def summary(result, level=0.05):
    """A result of one of the questions in a line.

    Parameters
    ----------
    result : pd.DataFrame
        Of `questions.activity` and its like.
    level : float
        Of the corrected p-value.

    Returns
    -------
    pd.Series
        ``asked`` (groups that could be), ``not_askable``, ``mean_normalized_average_precision``
        (over all that could be asked), ``retrieved`` (share with a corrected p-value below the
        level), ``retrieved_by_copairs`` (by its p-value), ``least_corrected_p_value`` (that is
        reached when all are retrieved perfectly: above the level, nothing can be found).
    """
    asked = result.dropna(subset="mean_average_precision")
    return pd.Series(
        {
            "asked": len(asked),
            "not_askable": len(result) - len(asked),
            _MEAN: asked[_MEAN].mean(),
            "retrieved": (asked["corrected_p_value"] < level).mean(),
            "retrieved_by_copairs": (asked["corrected_copairs_p_value"] < level).mean(),
            "least_corrected_p_value": corrected(asked["least_p_value"]).min(initial=1.0),
        }
    )
