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

DRAWN_IN_FULL = 2**31
"""Places of neighbours that are shuffled for the random rankings of a table, at most."""


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

    copairs shuffles all places of each ranking, once for each pair of numbers of positives and of
    neighbours. Its random numbers are drawn up to `DRAWN_IN_FULL` of them; where thousands of
    profiles have as many different numbers, only the places of the positives are drawn: rankings
    of the same distribution, from other random numbers.

    Source: Kalinin et al. 2025 (doi 10.1038/s41467-025-60306-2); exact: by the definition.
    """
    arguments.check_positive("null_size", null_size)
    scored = scores.dropna(subset="average_precision").reset_index(drop=True)
    if scored.empty:
        raise ValueError("no profile has both a positive and a negative pair under these rules.")
    counts = scored[["n_pos_pairs", "n_total_pairs"]].to_numpy()
    kinds, kind = np.unique(counts, axis=0, return_inverse=True)
    chance = _chance(kinds, null_size, seed)
    groups = scored.groupby(keys, observed=True)
    made = groups.agg(
        n_profiles=("average_precision", "size"),
        mean_average_precision=("average_precision", "mean"),
        mean_normalized_average_precision=("normalized_average_precision", "mean"),
        tied_share=("tied", "mean"),
    )
    means = groups[["lowest_average_precision", "average_precision"]].mean().to_numpy()
    p_values = np.empty((len(made), 4))
    for own, weights, members in _alike(groups.ngroup().to_numpy(), kind):
        drawn = np.average(chance[own], axis=0, weights=weights)
        p_values[members] = _p_values(np.sort(drawn), kinds[own], *means[members].T)
    names = ("p_value", "copairs_p_value", "exact_p_value", "least_p_value")
    made[list(names)] = p_values
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


def _chance(kinds, null_size, seed):
    """Average precisions of random rankings.

    Parameters
    ----------
    kinds : numpy.ndarray of int
        (n, 2): positives, and neighbours in all.

    Returns
    -------
    numpy.ndarray of float32
        (n, null_size).
    """
    from copairs.compute import average_precision, get_null_dists

    if kinds[:, 1].sum() * null_size <= DRAWN_IN_FULL:
        # A folder of its own: copairs' cache in the home folder outlives the call, and what it
        # holds depends on which call filled it, so that p-values would, too.
        with tempfile.TemporaryDirectory() as cache:
            return get_null_dists(kinds, null_size, seed, cache, progress_bar=False)
    rng = np.random.default_rng(seed)
    made = np.empty((len(kinds), null_size), np.float32)
    for row, (positive, total) in zip(made, kinds, strict=True):
        row[:] = average_precision(random_places(null_size, positive, total, rng))
    return made


def random_places(count, positive, total, rng):
    """Places of the positives in random rankings, each set of places as probable as any other.

    Parameters
    ----------
    count : int
        Rankings.
    positive, total : int
        Positives, and neighbours in all.
    rng : numpy.random.Generator

    Returns
    -------
    numpy.ndarray of int
        (count, positive); each row rises, from 0 at the least to total - 1.
    """
    if 2 * positive > total:
        # The places of the others are fewer.
        free = np.ones((count, total), bool)
        others = random_places(count, total - positive, total, rng)
        np.put_along_axis(free, others, False, axis=1)
        return np.nonzero(free)[1].reshape(count, positive)
    places = np.sort(rng.integers(total, size=(count, positive), dtype=np.int32), axis=1)
    twice = np.arange(count)
    # A place that is taken is drawn again, which favours none of those that are free.
    while len(twice):
        again = np.zeros((len(twice), positive), bool)
        again[:, 1:] = places[twice, 1:] == places[twice, :-1]
        kept = again.any(1)
        twice, again = twice[kept], again[kept]
        own = places[twice]
        own[again] = rng.integers(total, size=again.sum(), dtype=np.int32)
        places[twice] = np.sort(own, axis=1)
    return places


def _alike(group, kind):
    """Groups whose profiles are of the same kinds, together.

    Yields
    ------
    (kinds, how many profiles of each, groups) : numpy.ndarray of int
    """
    cells, counts = np.unique(np.stack([group, kind], 1), axis=0, return_counts=True)
    starts = np.flatnonzero(np.diff(cells[:, 0], prepend=-1))
    found = {}
    parts = (np.split(values, starts[1:]) for values in (cells[:, 1], counts))
    for number, (own, weights) in enumerate(zip(*parts, strict=True)):
        found.setdefault((*own, *weights), []).append(number)
    for key, members in found.items():
        own, weights = np.reshape(key, (2, -1))
        yield own, weights, np.array(members)


def _p_values(chance, kinds, lowest, mean):
    """(drawn, copairs', exact, least) p-values of groups, (n, 4); `chance` rises."""
    # copairs draws in single precision; what is equal must count as equal.
    lowest, mean = lowest - similarity.TOLERANCE, mean + similarity.TOLERANCE
    drawn = (1 + _beyond(chance, lowest, "left")) / (1 + len(chance))
    strict = (1 + _beyond(chance, mean, "right")) / (1 + len(chance))
    exact, least = np.nan, 1 / (1 + len(chance))
    if len(kinds) == 1:
        positive, total = (int(count) for count in kinds[0])
        rankings = math.comb(total, positive)
        if rankings <= ENUMERABLE:
            every = np.sort(all_precisions(positive, total))
            exact, least = _beyond(every, lowest, "left") / rankings, 1 / rankings
        else:
            least = max(1 / rankings, least)
    return np.stack(np.broadcast_arrays(drawn, strict, exact, least), axis=1)


def _beyond(rising, values, side):
    """How many are at least (side left) or more than (right) each of the values."""
    return len(rising) - np.searchsorted(rising, values, side)


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


def retrieval_summary(result, level=0.05):
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
