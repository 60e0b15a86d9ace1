"""What metrics see of simulated worlds, of which it is known what there is to be found.

Simulated rows rank nothing: a feature set that finds a drawn mechanism early may miss a real one.
"""

import numpy as np
import pandas as pd

from .. import tables
from . import baselines, batch, bootstrap, neighbours, permutation, questions, similarity
from .cell_painting import treated
from .neighbours import Rule

NSC = Rule("NSC", "well")
NSCB = Rule("NSCB", "well", exclude=("compound", "batch"), several_batches=True)

UNASKABLE = "not askable: every {label} lies in one {batch}"
"""Said where batches cannot be barred, or compared within a label."""


def accuracies(
    feature_sets,
    by="world",
    rules=(NSC, NSCB),
    metric="cosine",
    *,
    draws=2000,
    permutations=1000,
    seed=0,
):
    """Accuracies of nearest neighbours within each part of the wells, beside their floors.

    Parameters
    ----------
    feature_sets : dict of str to pd.DataFrame
        Name -> well profiles, normalised, with moa, compound, batch and control_type; negative
        controls are left out.
    by : str
        Column of the parts, which are scored each alone: world, or strength.
    rules : tuple of neighbours.Rule
    metric : str
        As of `evaluate.nearest_neighbour_accuracy`.
    draws, seed : int
        Of the bootstrap, which resamples compounds.
    permutations : int
        Exchanges of labels.

    Returns
    -------
    pd.DataFrame
        One row a feature set, part and rule: features, `by`, accuracy (the rule's name), value,
        low, high (95 %), null, null_low, null_high (labels exchanged between all compounds of the
        part, 2.5 to 97.5 percentiles: the floor), within_low, within_high (exchanged between
        compounds of the same batches only: what the batches give away stays in this floor),
        correct, n, said (why there is no value).
    """
    rows = []
    for name, profiles in feature_sets.items():
        wells = treated(profiles)
        for part, own in wells.groupby(tables.find_column(wells, by), sort=False):
            for rule in rules:
                key = {"features": name, by: part, "accuracy": rule.name}
                rows.append(key | _scored(own, rule, metric, draws, permutations, seed))
    return pd.DataFrame(rows)


def _scored(wells, rule, metric, draws, permutations, seed):
    """A rule's accuracy on wells, its interval and its floors, or why there is none."""
    if rule.several_batches:
        wells = wells[neighbours.in_several(wells, rule.label, "batch")]
    wells = wells.reset_index(drop=True)
    names = ("value", "low", "high", "null", "null_low", "null_high", "within_low", "within_high")
    lacking = dict.fromkeys(names, np.nan) | {"correct": 0, "n": 0}
    if not len(wells):
        return lacking | {"said": UNASKABLE.format(label=rule.label, batch="batch")}
    try:
        made = rule.accuracy(wells, metric)
    except similarity.NoDirection:
        return lacking | {"said": "not askable: every profile is the same"}
    low, high = bootstrap.bootstrap_interval(made, wells, rule.by, draws=draws, seed=seed)
    scored = lacking | {"value": float(made), "low": low, "high": high}
    scored |= {"correct": made.correct, "n": made.n, "said": ""}
    for within, prefix in ((None, "null"), ("batch", "within")):
        try:
            floor = permutation.permutation_null(
                made, wells, rule.by, within=within, draws=permutations, seed=seed
            )
        except permutation.NothingToExchange:
            continue
        scored |= {f"{prefix}_low": floor["null_low"], f"{prefix}_high": floor["null_high"]}
        scored |= {"null": floor["null"]} if within is None else {}
    return scored


def least_strengths(scores):
    """The least strength from which on each feature set is above its floor.

    Parameters
    ----------
    scores : pd.DataFrame
        Of `accuracies` by strength: features, strength, value, null_high.

    Returns
    -------
    pd.DataFrame
        One row a feature set, in their order: features, least_strength (above the floor there and
        at every greater strength; missing where it is not above it at the greatest), value and
        floor (its upper end) at that strength.
    """
    rows = []
    for name, part in scores.groupby("features", sort=False):
        part = part.sort_values("strength", ascending=False)
        above = (part["value"] > part["null_high"]).to_numpy()
        from_on = part[np.logical_and.accumulate(above)]
        last = from_on.iloc[-1] if len(from_on) else dict.fromkeys(part.columns, np.nan)
        row = (name, last["strength"], last["value"], last["null_high"])
        rows.append(row)
    return pd.DataFrame(rows, columns=["features", "least_strength", "value", "floor"])


def confounding(profiles, by="world", label="moa", batch="batch"):
    """Whether batches can be told from labels, part by part.

    Parameters
    ----------
    profiles : pd.DataFrame
        One row a well; negative controls are left out.
    by, label, batch : str
        Columns.

    Returns
    -------
    pd.DataFrame
        One row a part: `by`, ``batches``, ``labels``, ``in_one_batch`` (labels whose wells all lie
        in one batch), ``warning`` (empty where labels and batches can be told apart).
    """
    wells = treated(profiles)
    names = {name: wells[tables.find_column(wells, name)] for name in (by, label, batch)}
    rows = []
    for part, own in pd.DataFrame(names).dropna().groupby(by, sort=False):
        batches = own.groupby(label)[batch].nunique()
        alone, count = int((batches == 1).sum()), own[batch].nunique()
        said = ""
        if count > 1 and alone == len(batches):
            said = (
                f"every {label} lies in one {batch}: what is alike in a {label} may be its "
                f"{batch}, NSCB cannot be asked, and no metric on these plates tells them apart."
            )
        elif count > 1 and alone:
            said = f"{alone} of {len(batches)} {label} lie in one {batch}: NSCB leaves them out."
        elif count == 1:
            said = f"there is one {batch}: NSCB cannot be asked."
        rows.append((part, count, len(batches), alone, said))
    return pd.DataFrame(rows, columns=[by, "batches", "labels", "in_one_batch", "warning"])


def replicates(feature_sets, by="world", perturbation="compound", *, draws=2000, null_size=1000,
               seed=0):  # fmt: skip
    """Retrieval of replicates from negative controls, with the same position allowed and barred.

    Parameters
    ----------
    feature_sets : dict of str to pd.DataFrame
        Name -> well profiles, normalised, negative controls among them.
    by, perturbation : str
        Columns: of the parts, which are asked each alone, and of what replicates share.
    draws : int
        Resamples of the perturbations behind an interval.
    null_size, seed : int
        As of `questions.activity`.

    Returns
    -------
    pd.DataFrame
        One row a feature set, part and rule: features, `by`, same_position, value (mean normalised
        average precision over the perturbations that could be asked), low, high (95 %), n
        (those), not_askable, said (why none could).
    """
    rows = []
    for name, profiles in feature_sets.items():
        for part, own in profiles.groupby(tables.find_column(profiles, by), sort=False):
            for rule in reversed(questions.POSITIONS):
                key = {"features": name, by: part, "same_position": rule}
                rows.append(key | _retrieved(own, perturbation, rule, draws, null_size, seed))
    return pd.DataFrame(rows)


def _retrieved(profiles, perturbation, rule, draws, null_size, seed):
    profiles = profiles.reset_index(drop=True)
    if rule == "barred":
        kept = treated(profiles)
        well, own = (kept[tables.find_column(kept, name)] for name in ("well", perturbation))
        if (well.groupby(own).nunique() < 2).all():
            lacking = dict.fromkeys(("value", "low", "high"), np.nan)
            return lacking | {"n": 0, "not_askable": own.nunique(), "said": questions.NOT_ASKABLE}
    made = questions.activity(
        profiles, perturbation, same_position=rule, null_size=null_size, seed=seed
    )
    values = made["mean_normalized_average_precision"].dropna().to_numpy()
    drawn = np.random.default_rng(seed).choice(values, (draws, len(values))).mean(1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    scored = {"value": values.mean(), "low": low, "high": high, "n": len(values)}
    return scored | {"not_askable": len(made) - len(values), "said": ""}


def replicates_by_chance(profiles, size, by="world", perturbation="compound", *, seeds=20):
    """`replicates` of Gaussian random features: its range over their draws, the floor.

    Parameters
    ----------
    profiles : pd.DataFrame
        Whose labels and positions are used.
    size : int
        Random features.
    by, perturbation : str
        As of `replicates`.
    seeds : int
        Draws.

    Returns
    -------
    pd.DataFrame
        `by`, same_position, null (mean), null_low, null_high (2.5 and 97.5 percentiles).
    """
    drawn = {str(seed): baselines.gaussian(profiles, size, seed) for seed in range(seeds)}
    made = replicates(drawn, by, perturbation, draws=1, null_size=1)
    values = made.groupby([by, "same_position"], sort=False)["value"]
    return pd.DataFrame(
        {
            "null": values.mean(),
            "null_low": values.quantile(0.025),
            "null_high": values.quantile(0.975),
        }
    ).reset_index()


def batch_scores(feature_sets, by="world", label="moa", column="batch", *, draws=199, seed=0):
    """What batches leave in the profiles of each part.

    Parameters
    ----------
    feature_sets : dict of str to pd.DataFrame
        Name -> well profiles; negative controls are left out.
    by, label, column : str
        Columns: of the parts; of labels, within which batches are compared; of batches.
    draws : int
        Exchanges of the batches between wells of one label.
    seed : int

    Returns
    -------
    pd.DataFrame
        One row a feature set and part: features, `by`, explained (share of the variance that the
        batches explain, `batch.variance_explained`), null_low, null_high (2.5 and 97.5 percentiles
        of the exchanges), ilisi (`batch.scaled_lisi`, 1 for mixed), bras (mean, 1 for mixed;
        missing where no label has two wells in each of two batches), said (why there is none).
    """
    rows = []
    for name, profiles in feature_sets.items():
        wells = treated(profiles)
        for part, own in wells.groupby(tables.find_column(wells, by), sort=False):
            made = {"features": name, by: part}
            rows.append(made | _mixed(own.reset_index(drop=True), label, column, draws, seed))
    return pd.DataFrame(rows)


def _mixed(wells, label, column, draws, seed):
    names = ("explained", "null_low", "null_high", "ilisi", "bras")
    lacking = dict.fromkeys(names, np.nan)
    if not neighbours.in_several(wells, label, column).any():
        return lacking | {"said": UNASKABLE.format(label=label, batch=column)}
    explained = batch.variance_explained(wells, [column])["explained"].iloc[0]
    exchanged = batch.exchanged_variance(wells, column, [label], draws=draws, seed=seed)
    low, high = np.quantile(exchanged, [0.025, 0.975])
    keys = [tables.find_column(wells, name) for name in (label, column)]
    spread = (wells.groupby(keys).size() > 1).groupby(level=0).sum() > 1
    return {
        "explained": explained,
        "null_low": low,
        "null_high": high,
        "ilisi": batch.scaled_lisi(batch.lisi(wells, column), "batch"),
        "bras": batch.bras(wells, label, column)["bras"].mean() if spread.any() else np.nan,
        "said": "",
    }
