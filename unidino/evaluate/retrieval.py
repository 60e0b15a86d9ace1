"""How well profiles retrieve their like: average precision with copairs, replicate correlation."""

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
    positive, negative = _pairs(profiles, *rules[:2]), _pairs(profiles, *rules[2:])
    if not len(positive) or not len(negative):
        raise ValueError(
            f"no pair of profiles meets the rules: positive pairs share {rules[0]} and not "
            f"{rules[1]}, negative ones share {rules[2]} and not {rules[3]}."
        )
    pairs = np.concatenate([positive, negative])
    like = np.arange(len(pairs)) < len(positive)
    distance = similarity.paired_distances(values, pairs, metric)
    # Each of a pair retrieves the other.
    groups = tie_groups(
        pairs.T.ravel(),
        np.tile(distance, 2),
        np.tile(like, 2),
        np.tile(similarity.tie_widths(values, metric)(distance), 2),
    )
    metadata = profiles.drop(columns=features).reset_index(drop=True)
    return metadata.join(group_scores(groups, len(metadata)))


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


def _pairs(profiles, sameby, diffby):
    """Pairs of rows by a rule, each once, (n, 2)."""
    from copairs.matching import find_pairs

    # Numbered columns of codes: copairs writes names into SQL as they are, spaces and all.
    names = {column: f"c{i}" for i, column in enumerate([*sameby, *diffby])}
    codes = pd.DataFrame({names[column]: pd.factorize(profiles[column])[0] for column in names})
    return find_pairs(codes, [names[c] for c in sameby], [names[c] for c in diffby])


def tie_groups(query, distance, like, width):
    """Rankings as groups of neighbours that are equally far.

    Parameters
    ----------
    query : numpy.ndarray of int
        Whose neighbour each is, (n,).
    distance : numpy.ndarray
        (n,).
    like : numpy.ndarray of bool
        Whether each is a positive pair, (n,).
    width : numpy.ndarray
        No distance of a group exceeds its first by more than that one's, (n,).

    Returns
    -------
    pd.DataFrame
        One row a group, the nearest of a query first: ``query``, ``size``, ``positive``, and
        ``size_before``, ``positive_before`` of the query's nearer groups.
    """
    order = np.lexsort([distance, query])
    query, like, distance = query[order], like[order], distance[order]
    reach = distance + width[order]
    starts = (np.diff(query, prepend=-1) != 0) | np.append(False, distance[1:] > reach[:-1])
    begin = np.flatnonzero(starts)
    end = np.append(begin[1:], len(query))
    # A chain of small steps is no tie: it is cut where it leaves the reach of its first.
    for chain in np.flatnonzero(distance[end - 1] > reach[begin]):
        at, last = begin[chain], end[chain]
        while at < last:
            starts[at] = True
            at += np.searchsorted(distance[at:last], reach[at], side="right")
    begin = np.flatnonzero(starts)
    groups = pd.DataFrame(
        {
            "query": query[begin],
            "size": np.diff(begin, append=len(query)),
            "positive": np.add.reduceat(like.astype(int), begin),
        }
    )
    counts = ["size", "positive"]
    before = groups.groupby("query")[counts].cumsum() - groups[counts]
    return groups.join(before.add_suffix("_before"))


def group_scores(groups, count):
    """Scores of each of `count` queries; see `average_precision` for the columns."""
    size, positive, before, hits = (
        groups[name].to_numpy() for name in ("size", "positive", "size_before", "positive_before")
    )
    harmonic = np.append(0, np.cumsum(1 / np.arange(1, (before + size).max() + 1)))
    expected = _expected_precision(size, positive, before, hits, harmonic)
    # The worst order of a group has its positives last.
    ahead = before + size - positive
    lowest = positive - (ahead - hits) * (harmonic[before + size] - harmonic[ahead])
    mixed = (positive > 0) & (positive < size)
    sums = groups.assign(expected=expected, lowest=lowest, mixed=mixed).groupby("query").sum()
    sums = sums.reindex(range(count), fill_value=0)

    positive, total = sums["positive"].to_numpy(), sums["size"].to_numpy()
    scored = (positive > 0) & (positive < total)
    means = sums[["expected", "lowest"]].div(sums["positive"].where(scored), axis=0)
    # A random ranking is one tie.
    chance = _expected_precision(total[scored], positive[scored], 0, 0, harmonic)
    chance = pd.Series(chance / positive[scored], np.flatnonzero(scored))
    return pd.DataFrame(
        {
            "average_precision": means["expected"],
            "normalized_average_precision": (means["expected"] - chance) / (1 - chance),
            "lowest_average_precision": means["lowest"],
            "tied": scored & (sums["mixed"] > 0),
            "n_pos_pairs": positive,
            "n_total_pairs": total,
        }
    )


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
