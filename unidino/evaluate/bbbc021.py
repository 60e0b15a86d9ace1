"""The questions that BBBC021 answers: is a treatment's nearest neighbour of its mechanism?"""

import pandas as pd

from .. import tables
from . import neighbours
from .neighbours import Rule
from .protocol import Protocol, treated_wells

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
    # Published tables name no controls.
    solvent = (compound == "DMSO") | (moa == "DMSO")
    week_1 = plate.astype(str).str.startswith("Week1_") & well.isin(["D03", "D04", "D05"])
    return treated_wells(profiles, "moa", ~solvent & ((compound != "taxol") | week_1))


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


PROTOCOL = Protocol(
    RULES, {"treatment": TREATMENT, "compound": ("compound",)}, treated, classes="moa"
)
"""How BBBC021 is scored."""


def by_strength(feature_sets, truth, metric="cosine", parts=3):
    """NSC of wells by the strength of what was planted in them.

    Parameters
    ----------
    feature_sets : dict of str to pd.DataFrame
        Name -> well profiles.
    truth : pd.DataFrame
        Of `simulate.planted_truth`: plate, well, strength.
    parts : int
        Ranges of strength.

    Returns
    -------
    pd.DataFrame
        One row a range of strengths, the weakest first: n, then the accuracy of each feature set.
        Wells of one strength are never divided, so the ranges may hold unequal numbers.
    """
    rule = Rule("NSC", "well")
    planted = truth.set_index([truth["plate"].astype(str), "well"])["strength"]
    columns = {}
    for name, profiles in feature_sets.items():
        made, wells = PROTOCOL.accuracy(treated(profiles), rule, metric)
        scored = wells.iloc[made.neighbours["profile"]]
        plate, well = tables.key_columns(wells, ["plate", "well"])
        own = planted.loc[list(zip(scored[plate].astype(str), scored[well], strict=True))]
        ranges = pd.qcut(own.to_numpy(), parts, duplicates="drop")
        names = [f"{own[ranges == r].min():.2f} to {own[ranges == r].max():.2f}"
                 for r in ranges.categories]  # fmt: skip
        correct = made.neighbours["correct"].groupby(ranges.rename_categories(names), observed=True)
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
            profiles = PROTOCOL.at_level(wells, rule, operation)
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


def at_both(wells, operation="mean", metric="cosine"):
    """NSC and NSCB of treatments, both on the treatments that NSCB is asked of.

    NSC of all treatments stands beside NSCB of fewer otherwise: mechanisms of one batch only have
    none.

    Parameters
    ----------
    wells : pd.DataFrame
        From `treated`.
    operation : {"mean", "median"}
    metric : str
        As of `evaluate.nearest_neighbour_accuracy`.

    Returns
    -------
    dict
        NSC, NSCB (shares), n (treatments). The neighbours of NSC are sought among all treatments.
    """
    nsc, nscb = (rule for rule in RULES if rule.level == "treatment")
    everyone = PROTOCOL.at_level(wells, nsc, operation)
    kept = neighbours.in_several(wells, "moa", "batch")
    names = set(wells[tables.find_column(wells, "moa")][kept])
    made = nsc.accuracy(everyone, metric).neighbours
    own = made[made["label"].isin(names)]
    barred = nscb.accuracy(PROTOCOL.at_level(wells, nscb, operation), metric)
    return {"NSC": own["correct"].mean(), "NSCB": float(barred), "n": barred.n}
