"""What profiles know of genes: replicates, constructs of a gene, genes of a set, phenotypes."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from .. import arguments, tables
from ..profiles.aggregation import consensus
from . import baselines, bootstrap, enrichment, questions, significance

LEVEL = 0.05
"""Of the corrected p-value below which something is retrieved."""

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


def retrieval(wells, screen=Screen(), *, compared=None, metric="cosine", null_size=10000, seed=0):
    """The four `QUESTIONS`, as far as the table allows.

    Constructs are the median of their wells where they are compared with each other.

    Parameters
    ----------
    wells : pd.DataFrame
        Normalised well profiles, controls included.
    screen : Screen
    compared : list of pd.DataFrame, optional
        What activity is asked of in the place of `wells`: tables of `profiles.held_out`, see
        `questions.pooled_activity`.
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
        "activity": lambda: questions.pooled_activity(
            [_named(part, screen) for part in compared or [wells]], **replicates
        ),
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
    summed = significance.retrieval_summary(made, LEVEL)
    told |= {
        "sets": int(summed["asked"]),
        "active": summed["mean_normalized_average_precision"],
        "annotated": made.loc[shared, "mean_over_annotated"].mean(),
        "retrieved": summed["retrieved"],
    }
    return pd.Series(told)


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
            "least_corrected_p_value": significance.retrieval_summary(asked)[
                "least_corrected_p_value"
            ],
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


def probability_text(value):
    """A p-value as tables show it: four decimals, or that it is less than they can say."""
    return f"{value:.4f}" if value >= 0.00005 else "<0.0001"


def closest_pairs(profiles, screen=Screen(), count=10):
    """The pairs of genes that are most alike by cosine, and which sets they share.

    Parameters
    ----------
    profiles : pd.DataFrame
        One row a gene, such as of `Screen.genes`.
    screen : Screen
    count : int

    Returns
    -------
    pd.DataFrame
        ``gene``, ``and`` (the other), ``cosine``, ``shared sets`` (divided by ``|``, empty for
        none), the most alike first.
    """
    names = profiles[tables.find_column(profiles, screen.gene)].astype(str).to_numpy()
    sets = [set(questions.split_labels(own)) for own in screen._labels(profiles, "gene_set")]
    vectors = profiles[tables.feature_columns(profiles)].to_numpy(float)
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    first, second = np.triu_indices(len(names), 1)
    cosine = (vectors @ vectors.T)[first, second]
    order = np.argsort(-cosine, kind="stable")[:count]
    return pd.DataFrame(
        {
            "gene": names[first[order]],
            "and": names[second[order]],
            "cosine": cosine[order],
            "shared sets": [
                "|".join(sorted(sets[i] & sets[j]))
                for i, j in zip(first[order], second[order], strict=True)
            ],
        }
    )


def tops(queries):
    """How many neighbours each percent comes to.

    Parameters
    ----------
    queries : pd.DataFrame
        Of `enrichment.of_constructs`.

    Returns
    -------
    pd.Series
        Percent -> such as "top 2 of 35 to 36", where neighbours or candidates differ between
        queries with their range. In a small screen several percents come to the same: the first of
        them stands for all.
    """
    ranges = queries.groupby("percent", sort=False)[["neighbours", "candidates"]].agg(
        lambda own: f"{own.min()}" if own.min() == own.max() else f"{own.min()} to {own.max()}"
    )
    return ("top " + ranges["neighbours"] + " of " + ranges["candidates"]).drop_duplicates()


def enrichment_values(queries, measure="folds"):
    """Folds or recall in the long form of `retrieval_values`, by gene, each of the `tops` once.

    Parameters
    ----------
    queries : pd.DataFrame
        Of `enrichment.of_constructs`.
    measure : {"folds", "recall"}
    """
    arguments.check_choice("measure", measure, _MEASURES)
    named = tops(queries)
    queries = queries[queries["percent"].isin(named.index)]
    return pd.DataFrame(
        {
            "accuracy": f"{measure}, " + queries["percent"].map(named),
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


def chance(
    wells, size, screen=Screen(), *, metric="cosine", percents=enrichment.PERCENTS, seeds=20
):
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
        As of `enrichment.of_constructs`.
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
            queries = enrichment.of_constructs(
                screen.constructs(drawn), screen.gene, screen.gene_set, percents, metric=metric
            )
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
