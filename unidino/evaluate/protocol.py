"""All questions that a dataset answers, asked of several feature sets on the same wells."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from .. import tables
from ..profiles.aggregation import consensus
from . import baselines, bootstrap, neighbours, permutation, similarity

WELL = "well"
"""The level at which nothing is merged."""


def treated_wells(profiles, label=None, also=None, among=""):
    """The wells that are asked about: no negative control, labelled, readable.

    Parameters
    ----------
    profiles : pd.DataFrame
        Well profiles. Without a column control_type no well is known to be a control.
    label : str, optional
        Column that a well must have a value of.
    also : pd.Series of bool, optional
        What else a dataset asks of its wells, one value a row.
    among : str
        In words, for the error: which wells `also` leaves, such as "of the selected compounds".

    Returns
    -------
    pd.DataFrame
        Numbered from 0.

    Raises
    ------
    ValueError
        A column that does not exist, or no well left.
    """
    # What could not be read has no features.
    kept = profiles[tables.feature_columns(profiles)].notna().all(axis=1)
    for control in tables.key_columns(profiles, ["control_type"]):
        kept &= ~profiles[control].isin(["negcon"])
    if label is not None:
        kept &= profiles[tables.find_column(profiles, label)].notna()
    if also is not None:
        kept &= also
    if not kept.any():
        labelled = "" if label is None else f"has a {label}, "
        raise ValueError(
            f"no well is left: none {among}{' ' * bool(among)}{labelled}is readable and no "
            "negative control."
        )
    return profiles[kept].reset_index(drop=True)


@dataclass(frozen=True)
class Protocol:
    """How a dataset is scored: which wells count, what is asked, what a level merges.

    Attributes
    ----------
    rules : tuple of neighbours.Rule
    levels : dict of str to tuple of str
        Name of a level -> columns whose wells are merged to one profile; `WELL` needs none.
    select : callable
        Well profiles -> the wells that are asked about.
    batch : str
        Column of the batches: for rules that need labels of several, and for exchanged labels,
        which stay within a batch where a profile has one.
    classes : str, optional
        Column of what compounds share, such as the mechanism. A screen that holds other mechanisms
        varies more than one that holds other compounds of the same: `scores` has both intervals.
    """

    rules: tuple
    levels: dict = field(default_factory=dict)
    select: Callable = lambda profiles: profiles
    batch: str = "batch"
    classes: str | None = None

    def at_level(self, wells, rule, operation="mean"):
        """The profiles that a rule compares.

        Parameters
        ----------
        wells : pd.DataFrame
            From `select`.
        rule : neighbours.Rule
        operation : {"mean", "median"}
            How the wells of a profile are merged.

        Returns
        -------
        pd.DataFrame
        """
        if rule.several_batches:
            several = neighbours.in_several(wells, rule.label, self.batch)
            wells = wells[several].reset_index(drop=True)
        if rule.level == WELL:
            return wells
        return consensus(wells, list(self.levels[rule.level]), operation)

    def accuracy(self, wells, rule, metric="cosine"):
        """(accuracy, the profiles that it was computed on)."""
        profiles = self.at_level(wells, rule)
        return rule.accuracy(profiles, metric), profiles

    def scores(self, feature_sets, metric="cosine", *, draws=2000, permutations=1000, seed=0):
        """Accuracies of several feature sets under all rules: intervals, and what chance gives.

        Parameters
        ----------
        feature_sets : dict of str to pd.DataFrame
            Name -> well profiles, normalised; the same wells in each.
        metric : str
            As of `evaluate.nearest_neighbour_accuracy`.
        draws, seed : int
            Of the bootstrap, which resamples what a rule names, such as compounds.
        permutations : int
            Exchanges of labels behind the null.

        Returns
        -------
        pd.DataFrame
            features, level, accuracy (name of the rule), value, low, high (95 %), class_low,
            class_high (95 %, resampling `classes`), macro (mean over the labels), null, null_low,
            null_high (`permutation_null`; missing where neighbours depend on labels, or a label has
            one group only), correct, n, without_neighbour. Scores are missing where profiles of a
            set are zero or constant: nothing is nearest to them.
        """
        rows = []
        for name, profiles in feature_sets.items():
            wells = self.select(profiles)
            for rule in self.rules:
                try:
                    made, compared = self.accuracy(wells, rule, metric)
                except similarity.NoDirection:
                    # Such as a batch alone in the mean over all batches: every profile is the same.
                    rows.append(_unasked(name, rule, len(self.at_level(wells, rule))))
                    continue
                low, high = bootstrap.bootstrap_interval(
                    made, compared, rule.by, draws=draws, seed=seed
                )
                wide = (np.nan, np.nan)
                if self.classes is not None:
                    wide = bootstrap.bootstrap_interval(
                        made, compared, self.classes, draws=draws, seed=seed
                    )
                chance = self._exchanged(made, compared, rule, permutations, seed)
                rows.append(
                    _row(name, rule, made)
                    | {"low": low, "high": high, "macro": made.macro}
                    | dict(zip(("class_low", "class_high"), wide, strict=True))
                    | chance
                )
        return pd.DataFrame(rows)[_COLUMNS]

    def by_class(self, profiles, rule, metric="cosine", *, least=5, draws=2000, seed=0):
        """Accuracy within each of the `classes`, with an interval where it has enough compounds.

        Parameters
        ----------
        profiles : pd.DataFrame
            Normalised well profiles.
        rule : neighbours.Rule
        metric, draws, seed
            As of `scores`.
        least : int
            An interval resamples the groups of a class that has at least so many: of fewer, most
            resamples repeat one another.

        Returns
        -------
        pd.DataFrame
            Index: the class; groups, correct, n, value, low, high.
        """
        made, compared = self.accuracy(self.select(profiles), rule, metric)
        scored = made.neighbours
        names, groups = (
            compared[tables.find_column(compared, name)].to_numpy()[scored["profile"]]
            for name in (self.classes, rule.by)
        )
        rows = {}
        for name in sorted(set(names)):
            own = scored[names == name].reset_index(drop=True)
            part = neighbours.Accuracy(own, 0, made.identity)
            count = len(set(groups[names == name]))
            low = high = np.nan
            if count >= least:
                low, high = bootstrap.bootstrap_interval(
                    part, compared, rule.by, draws=draws, seed=seed
                )
            rows[name] = {
                "groups": count, "correct": part.correct, "n": part.n, "value": float(part),
                "low": low, "high": high,
            }  # fmt: skip
        return pd.DataFrame(rows).T.rename_axis(self.classes).convert_dtypes()

    def _exchanged(self, made, profiles, rule, draws, seed):
        """The null of exchanged labels, where there is one."""
        if made.by_label or tables.find_column(profiles, rule.label) == tables.find_column(
            profiles, rule.by
        ):
            return {}
        within = self.batch if tables.key_columns(profiles, [self.batch]) else None
        try:
            null = permutation.permutation_null(
                made, profiles, rule.by, within=within, draws=draws, seed=seed
            )
        except permutation.NothingToExchange:
            return {}
        return null[["null", "null_low", "null_high"]].to_dict()

    def chance(self, profiles, size, metric="cosine", *, seeds=20):
        """Accuracies of Gaussian random features: mean and 2.5 to 97.5 percentiles of the draws.

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
        wells = self.select(profiles)
        rows = []
        drawn = [baselines.gaussian(wells, size, seed) for seed in range(seeds)]
        for rule in self.rules:
            made = [self.accuracy(random, rule, metric)[0] for random in drawn]
            low, high = np.quantile(made, [0.025, 0.975])
            rows.append(
                _row("Gaussian", rule, made[0])
                | {
                    "value": np.mean(made),
                    "low": low,
                    "high": high,
                    "macro": np.mean([one.macro for one in made]),
                    "correct": np.mean([one.correct for one in made]),
                }
            )
        return pd.DataFrame(rows).reindex(columns=_COLUMNS)

    def differences(self, feature_sets, first, metric="cosine", *, draws=2000, seed=0):
        """By how much one feature set is better than each other, on the same resampled groups.

        Parameters
        ----------
        feature_sets : dict of str to pd.DataFrame
            Name -> well profiles of the same wells.
        first : str
            The set that the others are compared with.
        metric, draws, seed
            As of `scores`.

        Returns
        -------
        pd.DataFrame
            level, accuracy, compared with, difference, low, high (95 %), n.

        Raises
        ------
        ValueError
            Feature sets of different wells.
        """
        wells = {name: self.select(profiles) for name, profiles in feature_sets.items()}
        keys = {name: _keys(made) for name, made in wells.items()}
        for name in wells:
            if keys[name] != keys[first]:
                raise ValueError(
                    f"{name} and {first} describe different wells; compare the same ones."
                )
        rows = []
        for rule in self.rules:
            own, compared = self.accuracy(wells[first], rule, metric)
            for name in wells:
                if name == first:
                    continue
                other, _ = self.accuracy(wells[name], rule, metric)
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
                        "n": own.n,
                    }
                )
        return pd.DataFrame(rows)


_COLUMNS = [
    "features", "level", "accuracy", "value", "low", "high", "class_low", "class_high", "macro",
    "null", "null_low", "null_high", "correct", "n", "without_neighbour",
]  # fmt: skip


def _keys(wells):
    """Where each well lies."""
    columns = tables.key_columns(wells, ["source", "batch", "plate", "well"])
    return list(zip(*(wells[name].astype(str) for name in columns), strict=True))


def _unasked(name, rule, count):
    """A row without a score."""
    lacking = dict.fromkeys(_COLUMNS[3:], np.nan) | {"correct": 0, "n": 0}
    described = {"features": name, "level": rule.level, "accuracy": rule.name}
    return lacking | described | {"without_neighbour": count}


def _row(name, rule, made):
    return {
        "features": name,
        "level": rule.level,
        "accuracy": rule.name,
        "value": float(made),
        **dict.fromkeys(["class_low", "class_high", "null", "null_low", "null_high"], np.nan),
        "correct": made.correct,
        "n": made.n,
        "without_neighbour": made.without_neighbour,
    }


def counted(scored):
    """Counts as people read them: a row a feature set, a column a rule, the macro mean beside.

    Parameters
    ----------
    scored : pd.DataFrame
        From `Protocol.scores` and `Protocol.chance`.

    Returns
    -------
    pd.DataFrame
        Strings such as "11 of 36, macro 0.31", "–" where there is no score. Tied neighbours count
        by their share, so that a count may be a fraction.
    """
    text = [
        "–" if np.isnan(row.value) else f"{row.correct:.3g} of {row.n}, macro {row.macro:.2f}"
        for row in scored.itertuples()
    ]
    asked = scored["accuracy"] + ", " + scored["level"]
    wide = scored.assign(text=text, asked=asked)
    made = wide.pivot(index="features", columns="asked", values="text")
    made = made.loc[scored["features"].unique(), asked.unique()]
    return made.rename_axis(index=None, columns=None)


def side_by_side(scored):
    """Scores as people read them: a row a feature set, a column a rule, intervals in brackets.

    Parameters
    ----------
    scored : pd.DataFrame
        From `Protocol.scores` and `Protocol.chance`.

    Returns
    -------
    pd.DataFrame
        Strings such as "0.34 (0.23 to 0.46)", "–" where there is no score; columns are (accuracy,
        level and n).
    """
    text = [bootstrap.interval_text(row.value, row.low, row.high) for row in scored.itertuples()]
    count = scored.groupby(["accuracy", "level"])["n"].max()
    asked = [f"{r.level}, n = {count[r.accuracy, r.level]}" for r in scored.itertuples()]
    wide = scored.assign(text=text, asked=asked)
    order = wide[["accuracy", "asked"]].drop_duplicates()
    made = wide.pivot(index="features", columns=["accuracy", "asked"], values="text")
    made = made[list(order.itertuples(index=False, name=None))]
    return made.loc[scored["features"].unique()].rename_axis(index=None, columns=["", ""])
