"""The questions that BBBC021 answers: is a treatment's nearest neighbour of its mechanism?"""

import numpy as np
import pandas as pd

from .. import tables
from ..profiles.aggregation import consensus
from . import baselines, bootstrap, neighbours
from .neighbours import Rule

TREATMENT = ("compound", "concentration")
"""Columns that name a treatment of BBBC021."""


RULES = (
    Rule("NSC", "treatment"),
    Rule("NSCB", "treatment", exclude=("compound", "batch"), several_batches=True),
    Rule("NSC", "well"),
    Rule("NSCB", "well", exclude=("compound", "batch"), several_batches=True),
    Rule("NSCB, released rule", "well", exclude_if_same_label=("batch",), several_batches=True),
    Rule("NSPW", "well", label="compound", exclude=("plate", "well")),
)
"""The accuracies of the paper, and beside the released batch rule that of the literature."""


def treated(profiles):
    """The wells that count: labelled, no negative control, no taxol that serves as a control.

    Taxol counts in the wells D03, D04 and D05 of the plates of week 1, as published; elsewhere it
    is the positive control. Wells of which nothing could be read are left out, too.

    Parameters
    ----------
    profiles : pd.DataFrame
        Well profiles with compound, moa, plate and well, bare or with ``Metadata_``.

    Returns
    -------
    pd.DataFrame

    Raises
    ------
    ValueError
        A column that does not exist, or no well left.
    """
    compound, moa, plate, well = (
        profiles[tables.find_column(profiles, name)]
        for name in ("compound", "moa", "plate", "well")
    )
    control = tables.key_columns(profiles, ["control_type"])
    negative = (compound == "DMSO") | (moa == "DMSO")
    if control:
        negative |= profiles[control[0]] == "negcon"
    week_1 = plate.astype(str).str.startswith("Week1_") & well.isin(["D03", "D04", "D05"])
    kept = moa.notna() & ~negative & ((compound != "taxol") | week_1)
    kept &= profiles[tables.feature_columns(profiles)].notna().all(axis=1)
    if not kept.any():
        raise ValueError("no well is left: none is labelled, treated and readable.")
    return profiles[kept].reset_index(drop=True)


def census(profiles):
    """How many wells, treatments, compounds and mechanisms stand behind the accuracies.

    Returns
    -------
    pd.DataFrame
        Rows "all", "treated" and "treated, in several batches" (mechanisms); integers.
    """
    wells = treated(profiles)
    several = wells[neighbours.in_several(wells, "moa", "batch")]
    names = ("treated", "treated, mechanism in several batches")
    parts = dict(zip(names, (wells, several), strict=True))
    rows = {}
    for name, part in {"all": profiles, **parts}.items():
        columns = {c: part[tables.find_column(part, c)] for c in (*TREATMENT, "moa", "batch")}
        rows[name] = {
            "wells": len(part),
            "treatments": len(pd.DataFrame(columns)[list(TREATMENT)].drop_duplicates()),
            "compounds": columns["compound"].nunique(),
            "mechanisms": columns["moa"].nunique(),
            "batches": columns["batch"].nunique(),
        }
    return pd.DataFrame(rows).T.rename_axis("wells that are")


def at_level(wells, rule, operation="mean"):
    """The profiles that a rule compares.

    Parameters
    ----------
    wells : pd.DataFrame
        From `treated`.
    rule : Rule
    operation : {"mean", "median"}
        How the wells of a treatment are merged.

    Returns
    -------
    pd.DataFrame
        One row a well or a treatment.
    """
    if rule.several_batches:
        wells = wells[neighbours.in_several(wells, "moa", "batch")].reset_index(drop=True)
    return consensus(wells, list(TREATMENT), operation) if rule.level == "treatment" else wells


def accuracy(wells, rule, metric="cosine"):
    """(accuracy, the profiles that it was computed on).

    Raises
    ------
    ValueError
        As `evaluate.nearest_neighbour_accuracy`.
    """
    profiles = at_level(wells, rule)
    return rule.accuracy(profiles, metric), profiles


def scores(feature_sets, metric="cosine", *, draws=2000, seed=0):
    """Accuracies of several feature sets under all rules, with bootstrap intervals.

    Parameters
    ----------
    feature_sets : dict of str to pd.DataFrame
        Name -> well profiles, normalised; the same wells in each.
    metric : str
        As of `evaluate.nearest_neighbour_accuracy`.
    draws, seed : int
        Of the bootstrap, which resamples compounds.

    Returns
    -------
    pd.DataFrame
        features, level, accuracy (name of the rule), value, low, high (95 %), correct, n,
        without_neighbour.
    """
    rows = []
    for name, profiles in feature_sets.items():
        wells = treated(profiles)
        for rule in RULES:
            made, compared = accuracy(wells, rule, metric)
            low, high = bootstrap.bootstrap_interval(
                made, compared, rule.by, draws=draws, seed=seed
            )
            rows.append(
                {
                    "features": name,
                    "level": rule.level,
                    "accuracy": rule.name,
                    "value": float(made),
                    "low": low,
                    "high": high,
                    "correct": made.correct,
                    "n": made.n,
                    "without_neighbour": made.without_neighbour,
                }
            )
    return pd.DataFrame(rows)


def chance(profiles, size, metric="cosine", *, seeds=20):
    """Accuracies of Gaussian random features: mean over seeds, and their 2.5 to 97.5 percentiles.

    Parameters
    ----------
    profiles : pd.DataFrame
        Well profiles whose labels are used.
    size : int
        Random features.
    seeds : int

    Returns
    -------
    pd.DataFrame
        As `scores`; ``correct`` is the mean count.
    """
    wells = treated(profiles)
    rows = []
    drawn = [baselines.gaussian(wells, size, seed) for seed in range(seeds)]
    for rule in RULES:
        made = [accuracy(random, rule, metric)[0] for random in drawn]
        low, high = np.quantile(made, [0.025, 0.975])
        rows.append(
            {
                "features": "Gaussian",
                "level": rule.level,
                "accuracy": rule.name,
                "value": np.mean(made),
                "low": low,
                "high": high,
                "correct": np.mean([one.correct for one in made]),
                "n": made[0].n,
                "without_neighbour": made[0].without_neighbour,
            }
        )
    return pd.DataFrame(rows)


def differences(feature_sets, first, metric="cosine", *, draws=2000, seed=0):
    """By how much one feature set is better than each other, on the same resampled compounds.

    Parameters
    ----------
    feature_sets : dict of str to pd.DataFrame
        Name -> well profiles of the same wells.
    first : str
        The set that the others are compared with.

    Returns
    -------
    pd.DataFrame
        level, accuracy, compared with, difference, low, high (95 %).

    Raises
    ------
    ValueError
        Feature sets of different wells.
    """
    wells = {name: treated(profiles) for name, profiles in feature_sets.items()}
    keys = {
        name: list(
            zip(*(made[c] for c in tables.key_columns(made, ["plate", "well"])), strict=True)
        )
        for name, made in wells.items()
    }
    for name in wells:
        if keys[name] != keys[first]:
            raise ValueError(f"{name} and {first} describe different wells; compare the same ones.")
    rows = []
    for rule in RULES:
        own, compared = accuracy(wells[first], rule, metric)
        for name in wells:
            if name == first:
                continue
            other, _ = accuracy(wells[name], rule, metric)
            difference, low, high = bootstrap.paired_difference(
                own, other, compared, rule.by, draws=draws, seed=seed
            )
            rows.append(
                {
                    "level": rule.level,
                    "accuracy": rule.name,
                    "compared with": name,
                    "difference": difference,
                    "low": low,
                    "high": high,
                }
            )
    return pd.DataFrame(rows)


def by_strength(feature_sets, truth, metric="cosine", parts=3):
    """NSC of wells by the strength of what was planted in them.

    Parameters
    ----------
    feature_sets : dict of str to pd.DataFrame
        Name -> well profiles.
    truth : pd.DataFrame
        Of `simulate.planted_truth`: plate, well, strength.
    parts : int
        Ranges of strength, of about equally many wells.

    Returns
    -------
    pd.DataFrame
        One row a range of strengths, the weakest first: n, then the accuracy of each feature set.
    """
    rule = Rule("NSC", "well")
    planted = truth.set_index([truth["plate"].astype(str), "well"])["strength"]
    columns = {}
    for name, profiles in feature_sets.items():
        made, wells = accuracy(treated(profiles), rule, metric)
        scored = wells.iloc[made.neighbours["profile"]]
        plate, well = tables.key_columns(wells, ["plate", "well"])
        own = planted.loc[list(zip(scored[plate].astype(str), scored[well], strict=True))]
        ranges = pd.qcut(own.to_numpy(), parts, duplicates="drop")
        names = [f"{own[ranges == r].min():.2f} to {own[ranges == r].max():.2f}"
                 for r in ranges.categories]  # fmt: skip
        correct = made.neighbours["correct"].groupby(ranges.rename_categories(names))
        columns["n"] = correct.size()
        columns[name] = correct.mean()
    return pd.DataFrame(columns).rename_axis("planted strength")


def of_treatments(wells, metrics=("cosine", "correlation"), operations=("mean", "median")):
    """NSC and NSCB of treatments under each way to merge replicates and to compare them.

    Parameters
    ----------
    wells : pd.DataFrame
        From `treated`.

    Returns
    -------
    pd.DataFrame
        accuracy, replicates merged by, metric, correct, n, value.
    """
    rows = []
    for rule in (rule for rule in RULES if rule.level == "treatment"):
        for operation in operations:
            profiles = at_level(wells, rule, operation)
            for metric in metrics:
                made = rule.accuracy(profiles, metric)
                rows.append(
                    {
                        "accuracy": rule.name,
                        "replicates merged by": operation,
                        "metric": metric,
                        "correct": made.correct,
                        "n": made.n,
                        "value": float(made),
                    }
                )
    return pd.DataFrame(rows)


def side_by_side(scored):
    """Scores as people read them: a row a rule, a column a feature set, intervals in brackets.

    Parameters
    ----------
    scored : pd.DataFrame
        From `scores` and `chance`.

    Returns
    -------
    pd.DataFrame
        Strings such as "0.34 (0.23 to 0.46)".
    """
    text = [f"{row.value:.2f} ({row.low:.2f} to {row.high:.2f})" for row in scored.itertuples()]
    keys = ["level", "accuracy", "n"]
    wide = scored.assign(text=text).pivot(index=keys, columns="features", values="text")
    order = scored[keys].drop_duplicates()
    return wide.loc[list(order.itertuples(index=False, name=None)), scored["features"].unique()]
