"""How well profiles retrieve their like: average precision as in copairs, replicate correlation."""

import numpy as np
import pandas as pd

from .. import arguments, tables
from . import significance, similarity
from .neighbours import column_names


def average_precision(
    profiles,
    pos_sameby,
    pos_diffby=(),
    neg_sameby=(),
    neg_diffby=(),
    metric="cosine",
    features=None,
):
    """Average precision of each profile's retrieval of its like.

    Of profiles that are equally similar (within 1e-6, see `similarity.tie_widths`) the order says
    nothing: they count by the mean over all their orders, so that profiles which nothing tells
    apart score as by chance.

    Parameters
    ----------
    profiles : pd.DataFrame
        One row a profile: metadata, bare or with ``Metadata_``, then features.
    pos_sameby, pos_diffby : list of str
        What a positive pair shares, and must not share.
    neg_sameby, neg_diffby : list of str
        The same for negative pairs; without either, a negative pair differs in what a positive
        pair shares.
    metric : {"cosine", "abs_cosine", "correlation", "euclidean", "cityblock", "chebyshev"}
    features : list of str, optional
        As of `nearest_neighbour_accuracy`.

    Returns
    -------
    pd.DataFrame
        The metadata with ``average_precision`` (missing for profiles without a positive or without
        a negative pair), ``normalized_average_precision`` (0 for chance, 1 for perfect),
        ``lowest_average_precision`` (of the worst order of ties), ``tied`` (whether the order of
        ties matters), ``n_pos_pairs`` and ``n_total_pairs``. Quote it with its pair rules.

    Raises
    ------
    ValueError
        A column that does not exist, missing values in it or in the features, no pairs, an unknown
        metric; for cosines and correlation a profile without direction (zero, or constant).

    Source: Kalinin et al. 2025 (doi 10.1038/s41467-025-60306-2); ties: McSherry and Najork 2008
    (doi 10.1007/978-3-540-78646-7_38).
    """
    arguments.check_choice("metric", metric, similarity.METRICS)
    rules = _rules(
        profiles,
        pos_sameby=pos_sameby,
        pos_diffby=pos_diffby,
        neg_sameby=neg_sameby,
        neg_diffby=neg_diffby,
    )
    features = similarity.find_features(profiles, features, sum(rules, []))
    values = similarity.comparable(profiles, features, metric)
    width = similarity.tie_widths(values, metric)
    columns = dict.fromkeys(sum(rules, []))
    codes = {name: pd.factorize(profiles[name])[0].astype(np.int32) for name in columns}
    parts = []
    for here, block in similarity.distance_blocks(values, metric):
        like, unlike = (_paired(codes, here, *rules[i : i + 2]) for i in (0, 2))
        parts.append(ranking_scores(packed(block, like), packed(block, unlike), width))
    scores = pd.concat(parts, ignore_index=True)
    positive, total = scores["n_pos_pairs"], scores["n_total_pairs"]
    if not positive.any() or not (total > positive).any():
        raise ValueError(
            f"no pair of profiles meets the rules: positive pairs share {rules[0]} and not "
            f"{rules[1]}, negative ones share {rules[2]} and not {rules[3]}."
        )
    return profiles.drop(columns=features).reset_index(drop=True).join(scores)


def mean_average_precision(
    profiles,
    pos_sameby,
    pos_diffby=(),
    neg_sameby=(),
    neg_diffby=(),
    metric="cosine",
    features=None,
    *,
    null_size=10000,
    seed=0,
):
    """Mean average precision of each group of like profiles, and whether chance explains it.

    Parameters
    ----------
    profiles, pos_sameby, pos_diffby, neg_sameby, neg_diffby, metric, features
        As of `average_precision`; a group is what shares `pos_sameby`.
    null_size : int
        Random rankings that a p-value rests on.
    seed : int

    Returns
    -------
    pd.DataFrame
        One row a group: the columns of `pos_sameby`, and those of `significance.grouped`: no tie
        makes a finding.

    Raises
    ------
    ValueError
        As `average_precision`; fewer than one random ranking; no profile with both kinds of pairs.
    """
    scores = average_precision(
        profiles, pos_sameby, pos_diffby, neg_sameby, neg_diffby, metric, features
    )
    keys = [tables.find_column(profiles, name) for name in column_names(pos_sameby, "")]
    return significance.grouped(scores, keys, null_size, seed)


def _rules(profiles, **given):
    """The columns of each rule of pairs, complete and not at odds with each other."""
    rules = {
        rule: [tables.find_column(profiles, name) for name in column_names(names, rule)]
        for rule, names in given.items()
    }
    if not rules["neg_sameby"] and not rules["neg_diffby"]:
        rules["neg_diffby"] = rules["pos_sameby"]
    if not rules["pos_sameby"]:
        raise ValueError("pos_sameby names no column; name what the pairs to be found share.")
    for sign in ("pos", "neg"):
        both = set(rules[f"{sign}_sameby"]) & set(rules[f"{sign}_diffby"])
        if both:
            raise ValueError(
                f"{', '.join(sorted(both))} stands in {sign}_sameby and in {sign}_diffby: no pair "
                "both shares it and does not."
            )
    for column in dict.fromkeys(sum(rules.values(), [])):
        similarity.refuse(
            np.flatnonzero(profiles[column].isna()),
            f"have no {column}, which the pair rules use",
            ". Remove such profiles first.",
        )
    return list(rules.values())


def _paired(codes, rows, sameby, diffby):
    """Which other profiles make a pair with those of some rows, (rows, all) bool."""
    count = len(next(iter(codes.values())))
    made = np.arange(count)[rows, None] != np.arange(count)
    for name in sameby:
        made &= codes[name][rows, None] == codes[name]
    for name in diffby:
        made &= codes[name][rows, None] != codes[name]
    return made


def packed(distances, which):
    """Some distances of each row side by side, infinite behind them.

    Parameters
    ----------
    distances : numpy.ndarray
        (rows, n).
    which : numpy.ndarray of bool
        (rows, n).

    Returns
    -------
    numpy.ndarray
        (rows, the most that a row has).
    """
    counts = which.sum(1)
    made = np.full((len(which), counts.max(initial=0)), np.inf)
    made[np.arange(made.shape[1]) < counts[:, None]] = distances[which]
    return made


def ranking_scores(positive, negative, width):
    """Scores of rankings, in which neighbours that are equally far stand in no order.

    Parameters
    ----------
    positive, negative : numpy.ndarray
        Distances of each query from its like and from the others, (queries, n) and (queries, m);
        infinite where there is none.
    width : callable
        As of `similarity.tie_widths`: no distance of a group of ties exceeds its first by more.

    Returns
    -------
    pd.DataFrame
        One row a query; see `average_precision` for the columns.
    """
    distance = np.concatenate([positive, negative], axis=1, dtype=float)
    places = distance.shape[1]
    order = np.argsort(distance, axis=1)
    distance = np.take_along_axis(distance, order, axis=1)
    reach = distance + width(distance)
    starts = np.ones(distance.shape, bool)
    starts[:, 1:] = distance[:, 1:] > reach[:, :-1]
    hits = np.flatnonzero((order < positive.shape[1]) & np.isfinite(distance))
    begin, end = _tie_groups(distance.ravel(), reach.ravel(), starts.ravel(), hits)
    # Only groups with a positive count.
    group, first, found = np.unique(
        np.searchsorted(begin, hits, side="right"), return_index=True, return_counts=True
    )
    begin, end = begin[group - 1], end[group - 1]
    query, size = begin // places, end - begin
    n_pos, total = np.isfinite(positive).sum(1), np.isfinite(distance).sum(1)
    before, found_before = begin % places, first - (np.cumsum(n_pos) - n_pos)[query]

    harmonic = np.append(0, np.cumsum(1 / np.arange(1, places + 1)))
    expected = _expected_precision(size, found, before, found_before, harmonic)
    # The worst order of a group has its positives last.
    ahead = before + size - found
    lowest = found - (ahead - found_before) * (harmonic[before + size] - harmonic[ahead])
    scored = (n_pos > 0) & (n_pos < total)
    with np.errstate(divide="ignore", invalid="ignore"):
        # A random ranking is one tie.
        chance = _expected_precision(total, n_pos, 0, 0, harmonic) / n_pos
        means = [
            np.where(scored, np.bincount(query, sums, len(total)) / n_pos, np.nan)
            for sums in (expected, lowest)
        ]
        normalized = (means[0] - chance) / (1 - chance)
    return pd.DataFrame(
        {
            "average_precision": means[0],
            "normalized_average_precision": normalized,
            "lowest_average_precision": means[1],
            "tied": scored & (np.bincount(query, found < size, len(total)) > 0),
            "n_pos_pairs": n_pos,
            "n_total_pairs": total,
        }
    )


def _tie_groups(distance, reach, starts, hits):
    """First places of the groups of ties, and those behind their last; exact where a hit is."""
    begin = np.flatnonzero(starts)
    end = np.append(begin[1:], len(starts))
    # A chain of small steps is no tie: it is cut where it leaves the reach of its first.
    chains = np.unique(np.searchsorted(begin, hits, side="right") - 1)
    chains = chains[distance[end[chains] - 1] > reach[begin[chains]]]
    for chain in chains:
        at, last = begin[chain], end[chain]
        while at < last:
            starts[at] = True
            at += np.searchsorted(distance[at:last], reach[at], side="right")
    if len(chains):
        begin = np.flatnonzero(starts)
        end = np.append(begin[1:], len(starts))
    return begin, end


def _expected_precision(size, positive, before, hits, harmonic):
    """Sum of the precisions at the positives of a group of ties, the mean over its orders.

    Parameters
    ----------
    size, positive : numpy.ndarray of int
        Of each group.
    before, hits : numpy.ndarray of int
        Neighbours and positives that are ranked before it.
    harmonic : numpy.ndarray
        Harmonic numbers from the zeroth on.
    """
    # At place j of a group stands a positive with probability positive/size; then hits + 1, and of
    # the j - 1 ties before it the share (positive - 1)/(size - 1), are among before + j.
    inverse = harmonic[before + size] - harmonic[before]
    among = (positive - 1) / np.maximum(size - 1, 1)
    return positive / size * ((hits + 1) * inverse + among * (size - (before + 1) * inverse))


def replicate_correlation(profiles, by, features=None, *, draws=1000, seed=0):
    """Median correlation between the replicates of each treatment, and of chance.

    Parameters
    ----------
    profiles : pd.DataFrame
        One row a well.
    by : list of str
        Columns that name a treatment; profiles without one are left out.
    features : list of str, optional
        As of `nearest_neighbour_accuracy`.
    draws : int
        Random sets of profiles, each of another treatment, that chance is taken from.
    seed : int

    Returns
    -------
    pd.DataFrame
        One row a treatment with two or more profiles: its columns, ``n_profiles``,
        ``replicate_correlation`` (median over pairs, -1 to 1), ``chance_95`` (95th percentile of
        random sets of the same size, or of one profile of every treatment where a treatment has
        more profiles than there are treatments), ``replicating`` (bool: above chance by more than
        1e-6). The mean of the last is "percent replicating".

    Raises
    ------
    ValueError
        A column that does not exist, missing or infinite features, profiles that are zero or
        constant, fewer than two treatments, or none with two profiles.

    Source: Way et al. 2022 (doi 10.1016/j.cels.2022.10.001).
    """
    names = column_names(by, "by")
    keys = [tables.find_column(profiles, name) for name in names]
    rows = np.flatnonzero(profiles[keys].notna().all(axis=1))
    features = similarity.find_features(profiles, features, keys)
    values = similarity.comparable(profiles, features, "correlation", rows)
    profiles = profiles.iloc[rows].reset_index(drop=True)
    members = list(profiles.groupby(keys, sort=False).indices.values())
    several = [rows for rows in members if len(rows) > 1]
    if not several:
        raise ValueError(f"no {' and '.join(names)} has two profiles: nothing is replicated.")
    if len(members) < 2:
        raise ValueError(f"there is one {' and '.join(names)} only: nothing to compare with.")
    rng = np.random.default_rng(seed)
    chance = {}
    for size in sorted({len(rows) for rows in several}):
        drawn = (
            [
                rng.choice(members[i])
                for i in rng.choice(len(members), min(size, len(members)), replace=False)
            ]
            for _ in range(draws)
        )
        chance[size] = np.quantile([_median_product(values[rows]) for rows in drawn], 0.95)
    made = profiles.loc[[rows[0] for rows in several], keys].reset_index(drop=True)
    made["n_profiles"] = [len(rows) for rows in several]
    made["replicate_correlation"] = [_median_product(values[rows]) for rows in several]
    made["chance_95"] = made["n_profiles"].map(chance)
    above = made["replicate_correlation"] - made["chance_95"]
    made["replicating"] = above > similarity.TOLERANCE
    return made


def _median_product(values):
    """Median product of all pairs of rows."""
    products = values @ values.T
    return float(np.median(products[np.triu_indices(len(values), 1)]))
