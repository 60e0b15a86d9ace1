"""What profiles know of genes: replicates, constructs of a gene, genes of a set, known pairs."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from .. import arguments, tables
from ..profiles.aggregation import consensus
from . import baselines, bootstrap, questions, significance, similarity

LEVEL = 0.05
"""Of the corrected p-value below which something is retrieved."""

PERCENTS = (1, 3, 5, 10)
"""Of the neighbours that folds of enrichment and recall look at."""

TAILS = (5, 10)
"""Percentiles of all pairs from either end, beyond which a known pair is recovered."""

SMOOTHING = 0.5
"""Added to each of the four counts of an odds ratio: one that is zero makes no infinity."""

QUESTIONS = ("activity", "distinctiveness", "same gene", "same set")
"""Of retrieval: is a construct unlike the controls, unlike all others; does it find other
constructs of its gene, other genes of its set?"""


@dataclass(frozen=True)
class Screen:
    """Columns by which a screen of genes is asked, bare or with ``Metadata_``.

    Attributes
    ----------
    gene : str
        What is over-expressed, knocked out or mutated.
    construct : str
        What was made to do so: replicates share it, and a gene may have several.
    gene_set : str
        Pathway or class of a gene; several in a cell are divided by ``|``.
    controls : str
        Rows of the negative controls, as of `questions.activity`.
    """

    gene: str = "gene_symbol"
    construct: str = "orf_identifier"
    gene_set: str = "moa"
    controls: str = "negcon"

    def treated(self, wells):
        """The wells that are no control, have a construct and could be read, numbered from 0.

        Raises
        ------
        ValueError
            No column of the constructs, no well left.
        """
        kept = wells[tables.find_column(wells, self.construct)].notna()
        kept &= ~questions.control_rows(wells, self.controls)
        kept &= wells[tables.feature_columns(wells)].notna().all(axis=1)
        if not kept.any():
            raise ValueError(
                f"no well is left: none is treated, readable and has a {self.construct}."
            )
        return wells[kept].reset_index(drop=True)

    def constructs(self, wells, operation="mean"):
        """One profile a construct, of the treated wells."""
        return consensus(self.treated(wells), [self.construct], operation)

    def genes(self, wells):
        """One profile a gene: the mean over its constructs, which count alike."""
        return consensus(self.constructs(wells), [self.gene], "mean")

    def census(self, wells):
        """How much there is to ask about.

        Parameters
        ----------
        wells : pd.DataFrame
            Well profiles, or labels alone.

        Returns
        -------
        pd.Series
            ``wells``, ``controls``, ``constructs``, ``wells of a construct`` (median), ``genes``,
            ``genes of several constructs``, ``gene sets``, ``sets of three genes``; 0 for what the
            table has no column of.
        """
        control = questions.control_rows(wells, self.controls)
        labels = {name: self._labels(wells, name)[~control] for name in _LABELS}
        construct, gene, sets = labels.values()
        several = construct.groupby(gene).nunique() > 1
        pairs = pd.DataFrame({"gene": gene, "set": sets.map(questions.split_labels)})
        members = pairs.explode("set").dropna().groupby("set")["gene"].nunique()
        return pd.Series(
            {
                "wells": len(wells),
                "controls": int(control.sum()),
                "constructs": construct.nunique(),
                "wells of a construct": construct.value_counts().median(),
                "genes": gene.nunique(),
                "genes of several constructs": int(several.sum()),
                "gene sets": len(members),
                "sets of three genes": int((members >= 3).sum()),
            }
        )

    def _labels(self, wells, name):
        """A column of labels; missing ones where the table has none."""
        try:
            return wells[tables.find_column(wells, getattr(self, name))]
        except ValueError:
            return pd.Series(None, wells.index, dtype=object)


_LABELS = ("construct", "gene", "gene_set")


def retrieval(wells, screen=Screen(), *, metric="cosine", null_size=10000, seed=0):
    """The four `QUESTIONS`, as far as the table allows.

    Constructs are the median of their wells where they are compared with each other.

    Parameters
    ----------
    wells : pd.DataFrame
        Normalised well profiles, controls included.
    screen : Screen
    metric, null_size, seed
        As of `questions.activity`.

    Returns
    -------
    made : dict of str to pd.DataFrame
        Question -> what `questions.activity` and its like give; those that can be asked.
    said : dict of str to str
        Question -> why it cannot be asked.
    """
    drawn = {"metric": metric, "null_size": null_size, "seed": seed}
    replicates = {"perturbation": screen.construct, "controls": screen.controls, **drawn}

    def constructs():
        return screen.constructs(wells, "median")

    asks = {
        "activity": lambda: questions.activity(_named(wells, screen), **replicates),
        "distinctiveness": lambda: questions.distinctiveness(_named(wells, screen), **replicates),
        "same gene": lambda: questions.consistency(
            constructs(), screen.gene, screen.construct, **drawn
        ),
        "same set": lambda: questions.consistency(
            constructs(), screen.gene_set, screen.gene, **drawn
        ),
    }
    made, said = {}, {}
    for question, ask in asks.items():
        try:
            made[question] = ask()
        except ValueError as error:
            said[question] = str(error)
    return made, said


def _named(wells, screen):
    """The wells that are controls, or have a construct, and could be read."""
    control = questions.control_rows(wells, screen.controls)
    kept = control | wells[tables.find_column(wells, screen.construct)].notna()
    kept &= wells[tables.feature_columns(wells)].notna().all(axis=1)
    return wells[kept].reset_index(drop=True)


def among_active(wells, activity, screen=Screen(), *, metric="cosine", null_size=10000, seed=0):
    """Gene sets asked of active genes alone, and what that is over all genes that have a set.

    Parameters
    ----------
    wells : pd.DataFrame
        Normalised well profiles, controls included.
    activity : pd.DataFrame
        Of `questions.activity` by construct; a gene is active where one of its constructs is.
    screen, metric, null_size, seed
        As of `retrieval`.

    Returns
    -------
    pd.Series
        ``active genes``, ``sets`` (that two of them share), ``active`` (mean normalised average
        precision over these sets), ``annotated`` (over all sets of two genes, inactive genes
        counted as 0), ``all genes`` (asked of all, active or not), ``retrieved`` (share of
        ``sets``); what rests on ``sets`` is missing where there is none.

    Raises
    ------
    ValueError
        As `questions.consistency`, where sets are missing altogether.
    """
    constructs = screen.constructs(wells, "median")
    called = activity[activity["corrected_p_value"] < LEVEL].iloc[:, 0]
    names = constructs[tables.find_column(constructs, screen.construct)]
    genes = constructs[tables.find_column(constructs, screen.gene)]
    active = set(genes[names.isin(called)])
    drawn = {"metric": metric, "null_size": null_size, "seed": seed}
    asks = (constructs, screen.gene_set, screen.gene)
    every = questions.consistency(*asks, **drawn)
    shared = every["n_perturbations"] > 1
    told = {
        "active genes": len(active),
        "sets": 0,
        "active": np.nan,
        "annotated": 0.0,
        "all genes": every.loc[shared, "mean_normalized_average_precision"].mean(),
        "retrieved": np.nan,
    }
    try:
        made = questions.consistency(*asks, active=active, **drawn)
    except ValueError:
        # No set is shared by two active genes: what is annotated is retrieved by none.
        return pd.Series(told)
    summed = significance.summary(made, LEVEL)
    told |= {
        "sets": int(summed["asked"]),
        "active": summed["mean_normalized_average_precision"],
        "annotated": made.loc[shared, "mean_over_annotated"].mean(),
        "retrieved": summed["retrieved"],
    }
    return pd.Series(told)


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

    def __init__(self, profiles, screen, percents, metric, features):
        arguments.check_choice("metric", metric, similarity.METRICS)
        for percent in percents:
            if not 0 < percent <= 100:
                raise ValueError(f"percents holds {percent}; a percent is above 0, at most 100.")
        features = similarity.find_features(profiles, features, [screen.gene, screen.gene_set])
        column = tables.find_column(profiles, screen.gene_set)
        labels = profiles[column].map(questions.split_labels)
        self.rows = np.flatnonzero(labels.map(len))
        if not len(self.rows):
            raise ValueError(f"no profile has a {screen.gene_set}: column {column} is empty.")
        own = profiles.iloc[self.rows]
        self.genes = similarity.whole_codes(own, screen.gene)
        self.names = own[tables.find_column(own, screen.gene)].to_numpy()
        _, member = questions.membership(labels.iloc[self.rows])
        # Labels are exchanged between genes, so that those of a gene must be one thing.
        first = np.unique(self.genes, return_index=True)[1]
        self.member = member[first].astype(np.float32)
        torn = np.flatnonzero((member != member[first][self.genes]).any(1))
        if len(torn):
            raise ValueError(
                f"the constructs of {self.names[torn[0]]} have different {screen.gene_set}s; give "
                "a gene one set, or several divided by '|' in each row."
            )
        values = similarity.comparable(profiles, features, metric, self.rows)
        self.allowed = self.genes[:, None] != self.genes
        self.candidates = self.allowed.sum(1)
        self.percents = percents
        if not self.candidates.all():
            raise ValueError(f"all annotated profiles are of one {screen.gene}: {self.names[0]}.")
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


def enrichment(profiles, screen=Screen(), percents=PERCENTS, *, metric="cosine", features=None):
    """Folds of enrichment and recall of each construct: genes of its set among its nearest.

    Constructs of the query's own gene are no neighbours: a gene is like itself for other reasons.

    Parameters
    ----------
    profiles : pd.DataFrame
        One row a construct, such as of `Screen.constructs`; those without a gene set are left out.
    screen : Screen
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
    ranked = _Ranked(profiles, screen, percents, metric, features)
    positives, every = ranked.counts()
    asked = np.flatnonzero(positives)
    if not len(asked):
        raise ValueError(f"no {screen.gene_set} is shared by two {screen.gene}s.")
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


def exchanged_enrichment(
    profiles,
    screen=Screen(),
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
    profiles, screen, percents, metric, features
        As of `enrichment`. The constructs of a gene stay together, and neighbours as they are.
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
        As `enrichment`.
    """
    arguments.check_positive("draws", draws)
    ranked = _Ranked(profiles, screen, percents, metric, features)
    if not ranked.counts()[0].any():
        raise ValueError(f"no {screen.gene_set} is shared by two {screen.gene}s.")
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
    screen=Screen(),
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
        One row a gene, such as of `Screen.genes`; genes without a set take part in the pairs that
        the percentiles are of.
    screen : Screen
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
        ``null``, ``null_low``, ``null_high``, ``p_value`` as of `exchanged_enrichment`. Equally
        similar pairs stand at the middle of their ranks.

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
    genes = similarity.whole_codes(profiles, screen.gene)
    again = np.flatnonzero(pd.Series(genes).duplicated())
    if len(again):
        name = profiles[tables.find_column(profiles, screen.gene)].iloc[again[0]]
        raise ValueError(f"the gene {name} stands in several rows; average them first.")
    features = similarity.find_features(profiles, features, [screen.gene, screen.gene_set])
    labels = profiles[tables.find_column(profiles, screen.gene_set)].map(questions.split_labels)
    _, member = questions.membership(labels)
    member = member.astype(np.float32)
    known = (member @ member.T) > 0
    first, second = np.triu_indices(len(profiles), 1)
    if not known[first, second].any():
        raise ValueError(f"no {screen.gene_set} is shared by two {screen.gene}s.")
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


def phenotypes(activity, truth, level=LEVEL):
    """Which perturbations differ from the controls, beside which are known to.

    Parameters
    ----------
    activity : pd.DataFrame
        Of `questions.activity`.
    truth : pd.Series
        Perturbation -> bool: planted, or published.
    level : float
        Of the corrected p-value.

    Returns
    -------
    pd.Series
        ``asked``, ``with`` (known to have a phenotype), ``called`` (corrected p-value below the
        level), ``sensitivity`` (share called of those with one), ``false calls`` (share of those
        without), ``area`` (under the ROC curve of the normalised precision: whether one with a
        phenotype stands above one without, 0.5 for chance), ``least_corrected_p_value``.

    Raises
    ------
    ValueError
        A perturbation of which nothing is known; all with, or all without a phenotype.
    """
    asked = activity.dropna(subset="mean_average_precision")
    names = asked.iloc[:, 0]
    unknown = names[~names.isin(truth.index)]
    if len(unknown):
        raise ValueError(
            f"nothing is known of {len(unknown)} perturbations, such as {unknown.iloc[0]!r}: index "
            "the truth by the names that stand in the profiles."
        )
    has = truth.loc[names].to_numpy(bool)
    if has.all() or not has.any():
        raise ValueError(
            f"{has.sum()} of {len(has)} perturbations have a phenotype; there is nothing to tell "
            "apart."
        )
    called = (asked["corrected_p_value"] < level).to_numpy()
    ranks = rankdata(asked["mean_normalized_average_precision"].round(9))
    area = (ranks[has].mean() - (has.sum() + 1) / 2) / (~has).sum()
    return pd.Series(
        {
            "asked": len(asked),
            "with": int(has.sum()),
            "called": int(called.sum()),
            "sensitivity": called[has].mean(),
            "false calls": called[~has].mean(),
            "area": area,
            "least_corrected_p_value": significance.summary(asked)["least_corrected_p_value"],
        }
    )


def retrieval_values(made, wells, screen=Screen()):
    """Answers to the `QUESTIONS` in one long table.

    Parameters
    ----------
    made : dict of str to pd.DataFrame
        Of `retrieval`.
    wells : pd.DataFrame
        The well profiles that were asked about.
    screen : Screen

    Returns
    -------
    pd.DataFrame
        ``accuracy`` (question), ``level`` (what a row is: construct, gene or gene set), ``unit``
        (its name), ``by`` (what a bootstrap resamples: the gene of a construct, where the table
        has genes), ``value`` (normalised average precision; units that cannot be asked left out).
    """
    construct = wells[tables.find_column(wells, screen.construct)]
    gene = screen._labels(wells, "gene")
    own = gene.where(gene.notna(), construct).groupby(construct).first()
    levels = {"same gene": "gene", "same set": "gene set"}
    parts = []
    for question, answers in made.items():
        asked = answers.dropna(subset="mean_average_precision")
        unit = asked.iloc[:, 0]
        level = levels.get(question, "construct")
        parts.append(
            pd.DataFrame(
                {
                    "accuracy": question,
                    "level": level,
                    "unit": unit.astype(str),
                    "by": (unit.map(own) if level == "construct" else unit).astype(str),
                    "value": asked["mean_normalized_average_precision"],
                }
            )
        )
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=_VALUES)


def enrichment_values(queries, measure="folds"):
    """Folds or recall of `enrichment` in the long form of `retrieval_values`, by gene.

    Parameters
    ----------
    queries : pd.DataFrame
        Of `enrichment`.
    measure : {"folds", "recall"}
    """
    arguments.check_choice("measure", measure, _MEASURES)
    return pd.DataFrame(
        {
            "accuracy": queries["percent"].map(lambda percent: f"{measure}, top {percent:g} %"),
            "level": "construct",
            "unit": queries["profile"].astype(str),
            "by": queries["gene"].astype(str),
            "value": queries[_MEASURES[measure]],
        }
    )


_MEASURES = {"folds": "odds_ratio", "recall": "recall"}
_VALUES = ["accuracy", "level", "unit", "by", "value"]


def scores(values, *, draws=2000, seed=0):
    """Means of long tables with their intervals.

    Parameters
    ----------
    values : dict of str to pd.DataFrame
        Feature set -> `retrieval_values` or `enrichment_values`.
    draws, seed : int
        Of the bootstrap, which resamples what ``by`` names.

    Returns
    -------
    pd.DataFrame
        features, level, accuracy, value, low, high (95 %), n (units).
    """
    rows = []
    for name, table in values.items():
        for (accuracy, level), part in table.groupby(["accuracy", "level"], sort=False):
            low, high = bootstrap.mean_interval(part["value"], part["by"], draws=draws, seed=seed)
            rows.append((name, level, accuracy, part["value"].mean(), low, high, len(part)))
    names = ["features", "level", "accuracy", "value", "low", "high", "n"]
    return pd.DataFrame(rows, columns=names)


def differences(values, first, *, draws=2000, seed=0):
    """By how much one feature set is better than each other, on the same resampled groups.

    Parameters
    ----------
    values : dict of str to pd.DataFrame
        As of `scores`.
    first : str
        The set that the others are compared with.
    draws, seed
        As of `scores`.

    Returns
    -------
    pd.DataFrame
        level, accuracy, compared with, difference, low, high (95 %), n (units that both answer).
    """
    keys = ["accuracy", "level", "unit", "by"]
    rows = []
    for name, table in values.items():
        if name == first:
            continue
        both = values[first].merge(table, on=keys, suffixes=("", "_other"))
        both["difference"] = both["value"] - both["value_other"]
        for (accuracy, level), part in both.groupby(["accuracy", "level"], sort=False):
            apart = part["difference"]
            low, high = bootstrap.mean_interval(apart, part["by"], draws=draws, seed=seed)
            rows.append((level, accuracy, name, apart.mean(), low, high, len(part)))
    names = ["level", "accuracy", "compared with", "difference", "low", "high", "n"]
    return pd.DataFrame(rows, columns=names)


def chance(wells, size, screen=Screen(), *, metric="cosine", percents=PERCENTS, seeds=20):
    """Means of Gaussian random features: mean and 2.5 to 97.5 percentiles of the draws.

    Parameters
    ----------
    wells : pd.DataFrame
        Well profiles whose labels are used.
    size : int
        Random features.
    screen, metric
        As of `retrieval`.
    percents : sequence of float
        As of `enrichment`.
    seeds : int

    Returns
    -------
    (pd.DataFrame, pd.DataFrame)
        As `scores`, of the questions and of folds of enrichment; the second is empty where nothing
        is enriched.
    """
    retrieved, enriched = [], []
    for seed in range(seeds):
        drawn = baselines.gaussian(wells, size, seed)
        made, _ = retrieval(drawn, screen, metric=metric, null_size=1)
        retrieved.append(retrieval_values(made, drawn, screen))
        if "same set" in made:
            queries = enrichment(screen.constructs(drawn), screen, percents, metric=metric)
            enriched.append(enrichment_values(queries))
    return _over_draws(retrieved), _over_draws(enriched)


def _over_draws(drawn):
    """Rows of `scores` from long tables of several draws."""
    if not drawn:
        return pd.DataFrame(columns=["features", "level", "accuracy", "value", "low", "high", "n"])
    table = pd.concat([part.assign(draw=i) for i, part in enumerate(drawn)])
    rows = []
    for (accuracy, level), part in table.groupby(["accuracy", "level"], sort=False):
        means = part.groupby("draw")["value"].mean()
        low, high = means.quantile([0.025, 0.975])
        count = part.groupby("draw").size().max()
        rows.append(("Gaussian", level, accuracy, means.mean(), low, high, count))
    return pd.DataFrame(
        rows, columns=["features", "level", "accuracy", "value", "low", "high", "n"]
    )
