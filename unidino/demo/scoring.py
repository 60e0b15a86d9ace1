"""How feature sets are scored beside each other: nearest neighbours and dose response.

Sets are asked one by one and counted together; every score has an interval, and the first feature
set its lead over each other one.
"""

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from .. import evaluate, tables
from ..evaluate import bbbc021, dose_response
from ..evaluate.neighbours import Rule, table_identity
from ..profiles.aggregation import consensus

DEVELOPMENT_RULES = {
    "BBBC021": (Rule("NSC of moa, treatments", "treatment"),),
    "jumpcp-valset": (
        Rule("NSC of target, wells", "well", "target", ("perturbation_id",), by="perturbation_id"),
        Rule("compound in another source, wells", "well", "perturbation_id", ("source",),
             by="perturbation_id"),
    ),
    "stains": (Rule("stain, another repository", "image", "stain", ("repo",), by="plate"),),
    "real crops": (Rule("NSC of moa, treatments", "treatment"),),
}  # fmt: skip
"""What is asked of each set, under which name; cosine distance throughout."""


def compared(profiles, name):
    """The profiles of a set that are compared with each other, in the order of their keys.

    Parameters
    ----------
    profiles : pd.DataFrame
        Well profiles; images of the stains; treatments for the real crops.
    name : str
        Key of `DEVELOPMENT_RULES`.

    Returns
    -------
    pd.DataFrame
        Treatments (means of their wells) of BBBC021; the wells of JUMP-CP but the controls.
    """
    if name in ("stains", "real crops"):
        return profiles
    profiles = profiles.sort_values(tables.key_columns(profiles, tables.WELL_KEY), kind="stable")
    if name == "BBBC021":
        return consensus(bbbc021.treated(profiles), list(bbbc021.TREATMENT), "mean")
    kept = profiles[tables.find_column(profiles, "control_type")].isna()
    kept &= profiles[tables.feature_columns(profiles)].notna().all(axis=1)
    return profiles[kept].reset_index(drop=True)


def mean_accuracy(accuracies):
    """One accuracy from those of several seeds: each profile counts by its share of hits.

    Parameters
    ----------
    accuracies : list of evaluate.Accuracy
        On the same profiles.

    Returns
    -------
    evaluate.Accuracy
    """
    first = accuracies[0]
    hits = np.mean([one.neighbours["correct"].to_numpy(float) for one in accuracies], axis=0)
    neighbours = first.neighbours.assign(correct=hits)
    return evaluate.Accuracy(neighbours, first.without_neighbour, first.identity)


def pooled(accuracies, parts, rule):
    """One accuracy over sets of which each was asked by itself, and the profiles of all.

    Parameters
    ----------
    accuracies : list of evaluate.Accuracy
        One a set.
    parts : list of pd.DataFrame
        The profiles of each.
    rule : Rule
        What is resampled of one set is something else in another.

    Returns
    -------
    evaluate.Accuracy, pd.DataFrame
    """
    frames, neighbours, first = [], [], 0
    for number, (accuracy, part) in enumerate(zip(accuracies, parts, strict=True)):
        column = tables.find_column(part, rule.by)
        frames.append(part.assign(**{column: part[column].astype(str) + f" of set {number}"}))
        rows = {name: accuracy.neighbours[name] + first for name in ("profile", "neighbour")}
        neighbours.append(accuracy.neighbours.assign(**rows))
        first += len(part)
    profiles = pd.concat(frames, ignore_index=True)
    made = evaluate.Accuracy(
        pd.concat(neighbours, ignore_index=True),
        sum(accuracy.without_neighbour for accuracy in accuracies),
        table_identity(profiles, accuracies[0].identity),
    )
    return made, profiles


def neighbour_scores(parts, name, *, draws=2000, seed=0):
    """Accuracies of feature sets on sets of one kind, and the first one's lead over the others.

    Parameters
    ----------
    parts : list of dict of str to list of pd.DataFrame
        For each set, name -> profiles, one frame a seed of the features; the first name is the one
        that is compared with the others. Neighbours are sought within a set.
    name : str
        Key of `DEVELOPMENT_RULES`.
    draws, seed : int
        Of the bootstrap, which resamples compounds.

    Returns
    -------
    pd.DataFrame
        `SCORE_COLUMNS` from ``set`` on, and ``features``.

    Raises
    ------
    ValueError
        Feature sets of different profiles.
    """
    parts = [
        {key: [compared(one, name) for one in frames] for key, frames in part.items()}
        for part in parts
    ]
    first = next(iter(parts[0]))
    rows = []
    for rule in DEVELOPMENT_RULES[name]:
        found = {}
        for features, seeds in parts[0].items():
            for number in range(len(seeds)):
                frames = [part[features][number] for part in parts]
                if any(
                    _keys(frame, rule) != _keys(part[first][0], rule)
                    for frame, part in zip(frames, parts, strict=True)
                ):
                    raise ValueError(
                        f"{features} and {first} describe different profiles of {name}."
                    )
                accuracy, table = pooled([rule.accuracy(frame) for frame in frames], frames, rule)
                found.setdefault(features, []).append(accuracy)
                if features == first:
                    profiles = table
        means = {features: mean_accuracy(made) for features, made in found.items()}
        options = {"draws": draws, "seed": seed}
        for features, mean in means.items():
            interval = evaluate.bootstrap_interval(mean, profiles, rule.by, **options)
            rows.append(
                _row(name, rule.name, features, "", float(mean), interval, mean.n)
                | _seeds([float(one) for one in found[features]])
            )
        for features in list(means)[1:]:
            value, *interval = evaluate.paired_difference(
                means[first], means[features], profiles, rule.by, **options
            )
            rows.append(
                _row(name, rule.name, first, features, value, interval, means[first].n)
                | _seeds([value])
            )
    return pd.DataFrame(rows)


def _keys(profiles, rule):
    names = dict.fromkeys((rule.label, *rule.exclude, rule.by, "concentration"))
    columns = tables.key_columns(profiles, names)
    return profiles[columns].astype(str).apply(tuple, axis=1).tolist()


def dose_scores(feature_sets, name="SBS plate", *, draws=2000, seed=0):
    """Dose response of feature sets on the translocation plate, cross-fitted, with intervals.

    The intervals resample wells, within a dose and within a kind of control, and leave the axes
    as they were fitted: there are only two compounds.

    Parameters
    ----------
    feature_sets : dict of str to list of pd.DataFrame
        As for `neighbour_scores`: well profiles with half, dose and control_type.
    draws, seed : int
        Of the bootstrap.

    Returns
    -------
    pd.DataFrame
        As `neighbour_scores`.
    """
    made = {}
    for features, frames in feature_sets.items():
        parts = [_dose(frame, draws, seed) for frame in frames]
        values = np.array([part[0] for part in parts])
        made[features] = (values, np.mean([part[1] for part in parts], axis=0), parts[0][2])
    first = next(iter(made))
    rows = []
    for features, (values, resampled, described) in made.items():
        for i, (metric, n) in enumerate(described):
            rows.append(
                _row(name, metric, features, "", values[:, i].mean(), _ends(resampled[:, i]), n)
                | _seeds(values[:, i])
            )
    for features in list(made)[1:]:
        difference = made[first][1] - made[features][1]
        for i, (metric, n) in enumerate(made[first][2]):
            value = made[first][0][:, i].mean() - made[features][0][:, i].mean()
            rows.append(
                _row(name, metric, first, features, value, _ends(difference[:, i]), n)
                | _seeds([value])
            )
    return pd.DataFrame(rows)


def _dose(profiles, draws, seed):
    """(values, resampled values (draws, metrics), (metric, n) of each) of one set of features."""
    profiles = profiles.sort_values(tables.key_columns(profiles, ["well"]), kind="stable")
    summary, scores = dose_response.cross_fitted(profiles, "half", "dose")
    rng = np.random.default_rng(seed)
    values, resampled, described = [], [], []
    for row in summary.sort_values("scored").itertuples():
        part = scores[scores["half"] == row.scored]
        series = part[part["control"].isna()].sort_values("dose", kind="stable")
        draw = [_resample(one["score"], draws, rng) for _, one in series.groupby("dose")]
        ranks = rankdata(series["dose"])
        values.append(row.spearman)
        resampled.append(_correlation(rankdata(np.hstack(draw), axis=1), ranks))
        described.append((f"Spearman, rows {row.scored}", len(series)))
        low, high = (
            _resample(part.loc[part["control"] == kind, "score"], draws, rng)
            for kind in ("negcon", "poscon")
        )
        spread = 3 * (low.std(1, ddof=1) + high.std(1, ddof=1))
        values.append(row.z_prime)
        resampled.append(1 - spread / np.abs(high.mean(1) - low.mean(1)))
        described.append((f"Z', rows {row.scored}", low.shape[1] + high.shape[1]))
    return values, np.stack(resampled, 1), described


def _resample(values, draws, rng):
    values = values.to_numpy()
    return values[rng.integers(len(values), size=(draws, len(values)))]


def _correlation(rows, other):
    """Pearson correlation of each row with a vector."""
    rows = rows - rows.mean(1, keepdims=True)
    other = other - other.mean()
    return rows @ other / np.sqrt((rows**2).sum(1) * (other**2).sum())


def _ends(resampled):
    return np.nanquantile(resampled, [0.025, 0.975])


def _row(name, metric, features, minus, value, interval, n):
    low, high = interval
    described = {"features": features, "set": name, "metric": metric, "minus": minus}
    return described | {"value": value, "low": low, "high": high, "n": n}


def _seeds(values):
    return {"seeds": len(values), "seed_low": min(values), "seed_high": max(values)}
