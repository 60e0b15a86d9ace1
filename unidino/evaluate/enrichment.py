"""Are genes of a set near each other: folds of enrichment, recall, known relationships."""

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from .. import arguments, tables
from . import questions, similarity

PERCENTS = (1, 3, 5, 10)
"""Of the neighbours that folds of enrichment and recall look at."""

TAILS = (5, 10)
"""Percentiles of all pairs from either end, beyond which a known pair is recovered."""

SMOOTHING = 0.5
"""Added to each of the four counts of an odds ratio: one that is zero makes no infinity."""


def odds_ratio(hits, neighbours, positives, candidates, smoothing=SMOOTHING):
    """Odds of a class among the nearest neighbours over its odds among all others.

    Parameters
    ----------
    hits : float or numpy.ndarray
        Of the class among the nearest.
    neighbours : int or numpy.ndarray
        The nearest.
    positives : int or numpy.ndarray
        Of the class among all.
    candidates : int or numpy.ndarray
        All that could be near.
    smoothing : float
        Added to each of the four counts.

    Returns
    -------
    float or numpy.ndarray

    Source: the half is the correction of Haldane and Anscombe.
    """
    inside, outside = hits, positives - hits
    others_inside, others_outside = neighbours - hits, candidates - positives - neighbours + hits
    return ((inside + smoothing) * (others_outside + smoothing)) / (
        (others_inside + smoothing) * (outside + smoothing)
    )


class _Ranked:
    """Annotated constructs, and who lies in the top percents of each."""

    def __init__(self, profiles, gene, gene_set, percents, metric, features):
        arguments.check_choice("metric", metric, similarity.METRICS)
        for percent in percents:
            if not 0 < percent <= 100:
                raise ValueError(f"percents holds {percent}; a percent is above 0, at most 100.")
        features = similarity.find_features(profiles, features, [gene, gene_set])
        column = tables.find_column(profiles, gene_set)
        labels = profiles[column].map(questions.split_labels)
        self.rows = np.flatnonzero(labels.map(len))
        if not len(self.rows):
            raise ValueError(f"no profile has a {gene_set}: column {column} is empty.")
        own = profiles.iloc[self.rows]
        self.genes = similarity.whole_codes(own, gene)
        self.names = own[tables.find_column(own, gene)].to_numpy()
        _, member = questions.membership(labels.iloc[self.rows])
        member = member.toarray().astype(bool)
        # Labels are exchanged between genes, so that those of a gene must be one thing.
        first = np.unique(self.genes, return_index=True)[1]
        self.member = member[first].astype(np.float32)
        torn = np.flatnonzero((member != member[first][self.genes]).any(1))
        if len(torn):
            raise ValueError(
                f"the constructs of {self.names[torn[0]]} have different {gene_set}s; give a gene "
                "one set, or several divided by '|' in each row."
            )
        values = similarity.comparable(profiles, features, metric, self.rows)
        self.allowed = self.genes[:, None] != self.genes
        self.candidates = self.allowed.sum(1)
        self.percents = percents
        if not self.candidates.all():
            raise ValueError(f"all annotated profiles are of one {gene}: {self.names[0]}.")
        distance = np.concatenate([b for _, b in similarity.distance_blocks(values, metric)])
        distance = np.where(self.allowed, distance, np.inf)
        width = similarity.tie_widths(values, metric)
        ordered = np.sort(distance, axis=1)
        self.sizes, self.tops = [], []
        for percent in percents:
            size = np.ceil(self.candidates * percent / 100 - 1e-9).astype(int)
            last = ordered[np.arange(len(ordered)), size - 1][:, None]
            nearer = distance < last - width(last)
            tied = np.abs(distance - last) <= width(last)
            # Of those that are equally far only some are in: each counts for that share.
            share = (size - nearer.sum(1)) / tied.sum(1)
            self.sizes.append(size)
            self.tops.append((nearer + tied * share[:, None]).astype(np.float32))

    def counts(self, order=None):
        """(positives, hits of each percent), labels exchanged between genes where asked."""
        member = self.member if order is None else self.member[order]
        alike = (member @ member.T) > 0
        alike = alike[np.ix_(self.genes, self.genes)] & self.allowed
        return alike.sum(1), [(top * alike).sum(1) for top in self.tops]

    def means(self, order=None):
        """Mean over the queries of (odds ratio, recall) at each percent, (percents, 2)."""
        positives, every = self.counts(order)
        asked = positives > 0
        made = []
        for size, hits in zip(self.sizes, every, strict=True):
            odds = odds_ratio(hits, size, positives, self.candidates)[asked]
            made.append((odds.mean(), (hits[asked] / positives[asked]).mean()))
        return np.array(made)


def of_constructs(
    profiles,
    gene="gene_symbol",
    gene_set="moa",
    percents=PERCENTS,
    *,
    metric="cosine",
    features=None,
):
    """Folds of enrichment and recall of each construct: genes of its set among its nearest.

    Constructs of the query's own gene are no neighbours: a gene is like itself for other reasons.

    Parameters
    ----------
    profiles : pd.DataFrame
        One row a construct, such as of `gene_sets.Screen.constructs`; those without a gene set are
        left out.
    gene, gene_set : str
        Columns, bare or with ``Metadata_``; several sets in a cell are divided by ``|``.
    percents : sequence of float
        Of the candidates, rounded up to whole neighbours.
    metric, features
        As of `nearest_neighbour_accuracy`.

    Returns
    -------
    pd.DataFrame
        One row a query (a construct whose set another gene shares) and percent: ``profile`` (row),
        ``gene``, ``percent``, ``neighbours``, ``hits`` (of equally near ones the expected number),
        ``positives``, ``candidates``, ``odds_ratio`` (`odds_ratio`), ``recall``. The mean of the
        odds ratios is the "folds of enrichment".

    Raises
    ------
    ValueError
        A column that does not exist, nothing annotated, no set of two genes, a gene whose
        constructs have different sets, a percent that is none; as `nearest_neighbour_accuracy`.

    Source: Moshkov et al. 2024 (doi 10.1038/s41467-024-45999-1), who look at the top percent,
    neither smooth the ratio nor leave out the query's own gene.
    """
    ranked = _Ranked(profiles, gene, gene_set, percents, metric, features)
    positives, every = ranked.counts()
    asked = np.flatnonzero(positives)
    if not len(asked):
        raise ValueError(f"no {gene_set} is shared by two {gene}s.")
    parts = []
    for percent, size, hits in zip(percents, ranked.sizes, every, strict=True):
        made = pd.DataFrame(
            {
                "profile": ranked.rows,
                "gene": ranked.names,
                "percent": percent,
                "neighbours": size,
                "hits": hits,
                "positives": positives,
                "candidates": ranked.candidates,
            }
        ).iloc[asked]
        numbers = (made[name] for name in ("hits", "neighbours", "positives", "candidates"))
        parts.append(
            made.assign(odds_ratio=odds_ratio(*numbers), recall=made["hits"] / made["positives"])
        )
    return pd.concat(parts, ignore_index=True)


def exchanged(
    profiles,
    gene="gene_symbol",
    gene_set="moa",
    percents=PERCENTS,
    *,
    metric="cosine",
    features=None,
    draws=1000,
    seed=0,
):
    """Folds and recall beside those of gene sets that are exchanged between genes.

    Parameters
    ----------
    profiles, gene, gene_set, percents, metric, features
        As of `of_constructs`. The constructs of a gene stay together, and neighbours as they are.
    draws, seed : int

    Returns
    -------
    pd.DataFrame
        One row a measure ("folds", "recall") and percent: value, null (mean), null_low and
        null_high (2.5 and 97.5 percentiles), p_value (share of exchanges that are at least as
        high, the observed one counted among them).

    Raises
    ------
    ValueError
        As `of_constructs`.
    """
    arguments.check_positive("draws", draws)
    ranked = _Ranked(profiles, gene, gene_set, percents, metric, features)
    if not ranked.counts()[0].any():
        raise ValueError(f"no {gene_set} is shared by two {gene}s.")
    rng = np.random.default_rng(seed)
    observed = ranked.means()
    null = np.stack([ranked.means(rng.permutation(len(ranked.member))) for _ in range(draws)])
    rows = [
        {"measure": measure, "percent": percent} | _beside_null(observed[i, j], null[:, i, j])
        for j, measure in enumerate(("folds", "recall"))
        for i, percent in enumerate(percents)
    ]
    return pd.DataFrame(rows)


def _beside_null(value, null):
    low, high = np.quantile(null, [0.025, 0.975])
    above = (null >= value - similarity.TOLERANCE).sum()
    return {
        "value": value,
        "null": null.mean(),
        "null_low": low,
        "null_high": high,
        "p_value": (1 + above) / (1 + len(null)),
    }


def relationships(
    profiles,
    gene="gene_symbol",
    gene_set="moa",
    tails=TAILS,
    *,
    metric="cosine",
    features=None,
    draws=1000,
    seed=0,
):
    """Known relationships: how many pairs of one gene set are more, or less, alike than most.

    Chance gives twice the tail only where every gene is in equally many pairs, so that the null
    exchanges the names of the genes.

    Parameters
    ----------
    profiles : pd.DataFrame
        One row a gene, such as of `gene_sets.Screen.genes`; genes without a set take part in the
        pairs that the percentiles are of.
    gene, gene_set : str
        Columns, bare or with ``Metadata_``; several sets in a cell are divided by ``|``.
    tails : sequence of float
        Percentiles from either end, above 0 and below 50.
    metric, features
        As of `nearest_neighbour_accuracy`.
    draws, seed : int
        Of the null.

    Returns
    -------
    pd.DataFrame
        One row a tail: ``tail``, ``known`` (pairs that share a set), ``pairs`` (all), ``value``
        (share of the known ones beyond either percentile), ``above`` (beyond the upper one alone),
        ``null``, ``null_low``, ``null_high``, ``p_value`` as of `exchanged`. Equally similar
        pairs stand at the middle of their ranks.

    Raises
    ------
    ValueError
        A gene in several rows, no known pair, a tail that is none; as `nearest_neighbour_accuracy`.

    Source: EFAAR_benchmarking (doi 10.1101/2022.12.09.519400); the null is not theirs.
    """
    arguments.check_positive("draws", draws)
    arguments.check_choice("metric", metric, similarity.METRICS)
    for tail in tails:
        if not 0 < tail < 50:
            raise ValueError(f"tails holds {tail}; a tail is a percentile above 0 and below 50.")
    genes = similarity.whole_codes(profiles, gene)
    again = np.flatnonzero(pd.Series(genes).duplicated())
    if len(again):
        name = profiles[tables.find_column(profiles, gene)].iloc[again[0]]
        raise ValueError(f"the gene {name} stands in several rows; average them first.")
    features = similarity.find_features(profiles, features, [gene, gene_set])
    labels = profiles[tables.find_column(profiles, gene_set)].map(questions.split_labels)
    _, member = questions.membership(labels)
    member = member.toarray().astype(np.float32)
    known = (member @ member.T) > 0
    first, second = np.triu_indices(len(profiles), 1)
    if not known[first, second].any():
        raise ValueError(f"no {gene_set} is shared by two {gene}s.")
    values = similarity.comparable(profiles, features, metric)
    distance = np.concatenate([b for _, b in similarity.distance_blocks(values, metric)])
    # Rounded, so that what is equal shares a rank.
    alike = -np.round(distance[first, second] / similarity.TOLERANCE)
    rank = (rankdata(alike) - 0.5) / len(alike)

    def shares(order):
        own = rank[known[order[first], order[second]]]
        return [((own <= t / 100).mean(), (own >= 1 - t / 100).mean()) for t in tails]

    rng = np.random.default_rng(seed)
    everyone = np.arange(len(profiles))
    observed = np.array(shares(everyone))
    null = np.array([shares(rng.permutation(everyone)) for _ in range(draws)])
    rows = [
        {
            "tail": tail,
            "known": int(known[first, second].sum()),
            "pairs": len(alike),
            "above": observed[i, 1],
        }
        | _beside_null(observed[i].sum(), null[:, i].sum(1))
        for i, tail in enumerate(tails)
    ]
    return pd.DataFrame(rows)
