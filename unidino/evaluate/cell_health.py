"""The question of Cell Health: which readouts of other assays do profiles of guides predict?

Two protocols stand side by side. The released one cuts the guides of a line into random folds, so
that a guide is predicted by a model that has seen another guide of the same gene. The sound one
keeps the guides of a gene in one fold.

Source: Way et al. 2021 (doi 10.1091/mbc.E20-12-0784); the released protocol: the uniDINO paper
(doi 10.1016/j.csbj.2025.02.020).
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from .. import tables
from . import ridge
from .guides import LINE, groups_of

FOREST_READOUTS = (
    "vb_num_live_cells", "vb_percent_dead", "vb_live_cell_area", "vb_live_cell_roundness",
    "vb_live_cell_width_length", "cc_all_n_objects", "cc_cc_n_objects", "cc_s_n_objects",
    "cc_g1_plus_g2_count", "cc_s_intensity_nucleus_area_sum",
)  # fmt: skip
"""Ten of the readouts that were predicted best, as published."""


def fold_numbers(groups, together, folds=5, seed=0):
    """Which fold each row is predicted in.

    Parameters
    ----------
    groups : numpy.ndarray
        (n,), such as the gene of each guide.
    together : bool
        Rows of a group share a fold; otherwise rows are shuffled, as released.
    folds, seed : int

    Returns
    -------
    numpy.ndarray
        (n,), 0 to folds - 1.
    """
    from sklearn.model_selection import GroupKFold, KFold

    kind = GroupKFold if together else KFold
    cut = kind(folds, shuffle=True, random_state=seed)
    made = np.empty(len(groups), int)
    for number, (_, held) in enumerate(cut.split(groups, groups=groups if together else None)):
        made[held] = number
    return made


def forest(features, values, fold, groups, *, trees=100, seed=0):
    """Predict every row by a random forest on the rows of the other folds, as released.

    Parameters
    ----------
    features, values, fold
        As of `ridge.out_of_fold`; every column of values has a forest of its own.
    groups
        Not used: the forest chooses nothing.
    trees, seed : int
        The released code sets no seed.

    Returns
    -------
    numpy.ndarray
        (n, k).
    """
    from sklearn.ensemble import RandomForestRegressor

    predicted = np.empty(values.shape)
    for number in np.unique(fold):
        held = fold == number
        for column in range(values.shape[1]):
            model = RandomForestRegressor(trees, min_samples_leaf=0.01, random_state=seed)
            model.fit(features[~held], values[~held, column])
            predicted[held, column] = model.predict(features[held])
    return predicted


@dataclass(frozen=True)
class Prediction:
    """Readouts of the guides of a line, as measured and as predicted out of fold.

    Attributes
    ----------
    observed, predicted : pd.DataFrame
        (n, readouts), missing where a readout was not measured.
    fold : pd.DataFrame
        The same shape: in which fold a value was predicted, -1 where it was not.
    genes : numpy.ndarray
        (n,), what is resampled.
    """

    observed: pd.DataFrame
    predicted: pd.DataFrame
    fold: pd.DataFrame
    genes: np.ndarray

    def r_squared(self):
        """R^2 of each readout over all out-of-fold predictions.

        Returns
        -------
        pd.Series
            1 - sum of squared errors / sum of squares around the mean of the line, so that a
            prediction by the mean of the other folds lies a little below 0.
        """
        return pd.Series(
            self.resampled(np.ones((1, len(np.unique(self.genes)))))[0],
            index=self.observed.columns,
        )

    def mean_of_folds(self):
        """R^2 of each readout as released: the mean of the R^2 of the folds.

        Returns
        -------
        pd.Series
            Missing where a fold holds one guide, which has no variance.
        """
        from sklearn.metrics import r2_score

        made = {}
        for name in self.observed:
            cut = self.fold[name]
            scores = [
                r2_score(self.observed[name][cut == k], self.predicted[name][cut == k])
                if (cut == k).sum() > 1
                else np.nan
                for k in range(cut.max() + 1)
            ]
            made[name] = np.mean(scores) if scores else np.nan
        return pd.Series(made)

    def resampled(self, weights):
        """R^2 of each readout where genes count several times, or not at all.

        Parameters
        ----------
        weights : numpy.ndarray
            (draws, genes), of the sorted genes.

        Returns
        -------
        numpy.ndarray
            (draws, readouts); missing where nothing is left of a readout. The mean stays that of
            the whole line: a mean of the resample would make each of them look worse.
        """
        codes = np.unique(self.genes, return_inverse=True)[1]
        has = self.predicted.notna().to_numpy()
        observed = np.where(has, self.observed, 0.0)
        wrong = np.where(has, self.observed - self.predicted, 0.0) ** 2
        centred = np.where(has, observed - observed.sum(0) / has.sum(0).clip(1), 0)
        squares, errors = (weights @ _summed(part, codes) for part in (centred**2, wrong))
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(squares > 0, 1 - errors / squares, np.nan)


def _summed(values, codes):
    """Sums of rows by group, (groups, columns)."""
    made = np.zeros((codes.max() + 1, values.shape[1]))
    np.add.at(made, codes, values)
    return made


def predict(profiles, readouts, together=True, model=ridge.out_of_fold, *, folds=5, seed=0):
    """Predict the readouts of the guides of each line from the other folds.

    Parameters
    ----------
    profiles, readouts : pd.DataFrame
        From `guides.joined`.
    together : bool
        Keep the guides of a gene in one fold; see `fold_numbers`.
    model : callable
        `ridge.out_of_fold`, `forest`, or another of their arguments.
    folds, seed : int

    Returns
    -------
    dict of str to Prediction
        By line. A readout that fewer than twice as many genes as folds have, or that does not
        vary, is not predicted; a line without any is left out.
    """
    made = {}
    for line, part in _lines(profiles, readouts):
        predicted = np.full(part.values.shape, np.nan)
        fold = np.full(part.values.shape, -1)
        for rows, columns in part.patterns(2 * folds):
            own = part.groups[rows]
            number = fold_numbers(own, together, folds, seed)
            kept = own if together else np.arange(len(own))
            place = np.ix_(rows, columns)
            predicted[place] = model(part.features[rows], part.values[place], number, kept)
            fold[place] = number[:, None]
        if (fold < 0).all():
            continue
        made[line] = Prediction(
            *(pd.DataFrame(v, columns=readouts.columns) for v in (part.values, predicted, fold)),
            part.groups,
        )
    return made


def exchanged(profiles, readouts, *, permutations=100, folds=5, seed=0):
    """R^2 of each readout under the sound protocol where readouts say nothing about the profiles.

    The readouts of whole genes are exchanged, between genes of as many guides, so that guides of a
    gene stay alike; those of a gene that no other equals, among its guides.

    Parameters
    ----------
    profiles, readouts, folds, seed
        As of `predict`.
    permutations : int

    Returns
    -------
    dict of str to numpy.ndarray
        By line, (permutations, readouts).
    """
    made = {}
    rng = np.random.default_rng(seed)
    for line, part in _lines(profiles, readouts):
        drawn = np.full((permutations, part.values.shape[1]), np.nan)
        for rows, columns in part.patterns(2 * folds):
            own, values = part.groups[rows], part.values[np.ix_(rows, columns)]
            orders = [exchange(own, rng) for _ in range(permutations)]
            wide = np.hstack([values[order] for order in orders])
            number = fold_numbers(own, True, folds, seed)
            predicted = ridge.out_of_fold(part.features[rows], wide, number, own)
            errors = ((wide - predicted) ** 2).sum(0) / ((wide - wide.mean(0)) ** 2).sum(0)
            drawn[:, columns] = 1 - errors.reshape(permutations, len(columns))
        if not np.isnan(drawn).all():
            made[line] = drawn
    return made


def exchange(groups, rng):
    """An order of rows that exchanges whole groups with others of as many rows.

    Parameters
    ----------
    groups : numpy.ndarray
        (n,).
    rng : numpy.random.Generator

    Returns
    -------
    numpy.ndarray
        (n,), row numbers; a group whose size no other has keeps its rows, in another order.
    """
    members = [rng.permutation(np.flatnonzero(groups == one)) for one in np.unique(groups)]
    order = np.arange(len(groups))
    for size in {len(own) for own in members}:
        alike = [own for own in members if len(own) == size]
        for own, other in zip(alike, rng.permutation(len(alike)), strict=True):
            order[np.sort(own)] = alike[other]
    return order


@dataclass(frozen=True)
class _Line:
    """Profiles and readouts of the guides of a line, as arrays."""

    features: np.ndarray
    values: np.ndarray
    groups: np.ndarray

    def patterns(self, fewest):
        """(rows, columns) of readouts that the same guides have, of `fewest` groups at least."""
        has = ~np.isnan(self.values)
        kinds, kind = np.unique(has, axis=1, return_inverse=True)
        for number, there in enumerate(kinds.T):
            rows = np.flatnonzero(there)
            columns = np.flatnonzero(kind == number)
            if len(np.unique(self.groups[rows])) < fewest:
                continue
            varies = np.ptp(self.values[np.ix_(rows, columns)], axis=0) > 0
            if varies.any():
                yield rows, columns[varies]


def _lines(profiles, readouts):
    lines = profiles[tables.find_column(profiles, LINE)].astype(str).to_numpy()
    features = profiles[tables.feature_columns(profiles)].to_numpy(float)
    values, groups = readouts.to_numpy(float), groups_of(profiles)
    for line in dict.fromkeys(lines):
        rows = lines == line
        yield line, _Line(features[rows], values[rows], groups[rows])


AREA, MEDIAN = "area", "median R²"


def curve(r_squared, thresholds):
    """Share of readouts whose R^2 is above each threshold.

    Returns
    -------
    numpy.ndarray
        (thresholds,); readouts that were not predicted do not count.
    """
    values = np.asarray(r_squared, float)
    values = values[~np.isnan(values)]
    return (values > np.asarray(thresholds, float)[:, None]).mean(1)


def area(r_squared):
    """Area under the curve of `curve` from 0 to 1: the mean R^2, negative ones counting as 0.

    Parameters
    ----------
    r_squared : array_like
        (…, readouts).

    Returns
    -------
    numpy.ndarray or float
    """
    return np.nanmean(np.clip(r_squared, 0, 1), axis=-1)


_COLUMNS = [
    "features", "level", "accuracy", "value", "low", "high", "null", "null_low", "null_high", "n",
]  # fmt: skip

_STATISTICS = {AREA: area, MEDIAN: lambda r_squared: np.nanmedian(r_squared, axis=-1)}


def scores(predictions, nulls=None, *, draws=1000, seed=0):
    """Areas under the curves and medians of several feature sets, line by line.

    Parameters
    ----------
    predictions : dict of str to dict of str to Prediction
        Name of a feature set -> line -> from `predict`.
    nulls : dict of str to dict of str to numpy.ndarray, optional
        The same, from `exchanged`, of as many sets as there are.
    draws, seed : int
        Of the bootstrap, which resamples genes.

    Returns
    -------
    pd.DataFrame
        features, level (the line), accuracy (`AREA` or `MEDIAN`), value, low, high (95 %), null,
        null_low, null_high (of exchanged readouts, where given), n (readouts).
    """
    rows = []
    for name, lines in predictions.items():
        for line, made in lines.items():
            own = made.r_squared()
            drawn = made.resampled(gene_weights(made.genes, draws, seed))
            null = (nulls or {}).get(name, {}).get(line)
            for statistic, function in _STATISTICS.items():
                row = {"features": name, "level": line, "accuracy": statistic}
                row |= _with_interval(float(function(own)), function(drawn))
                row |= dict.fromkeys(("null", "null_low", "null_high"), np.nan)
                if null is not None:
                    chance = function(null)
                    row["null"] = chance.mean()
                    row["null_low"], row["null_high"] = np.quantile(chance, [0.025, 0.975])
                rows.append(row | {"n": int(own.notna().sum())})
    return pd.DataFrame(rows, columns=_COLUMNS)


def side_by_side(scored):
    """Scores as `protocol.side_by_side`, areas with three decimals: two hide the order near 0.

    Parameters
    ----------
    scored : pd.DataFrame
        Of `scores` and `chance`.

    Returns
    -------
    pd.DataFrame
        A row a feature set, columns (accuracy, line and n of readouts), texts.
    """
    places = [3 if accuracy == AREA else 2 for accuracy in scored["accuracy"]]
    rows = zip(scored["value"], scored["low"], scored["high"], places, strict=True)
    texts = [
        f"{value:z.{places}f} ({low:z.{places}f} to {high:z.{places}f})"
        for value, low, high, places in rows
    ]
    asked = [f"{line}, n = {n}" for line, n in zip(scored["level"], scored["n"], strict=True)]
    wide = scored.assign(text=texts, asked=asked)
    order = wide[["accuracy", "asked"]].drop_duplicates()
    made = wide.pivot(index="features", columns=["accuracy", "asked"], values="text")
    made = made[list(order.itertuples(index=False, name=None))]
    made = made.reindex(scored["features"].unique()).fillna("–")
    return made.rename_axis(index=None, columns=["", ""])


def above_by_chance(permutations):
    """How often a set that knows nothing lies above its range of exchanged readouts.

    Parameters
    ----------
    permutations : int
        Exchanges, whose 97.5th percentile ends the range. Of few it lies lower than that of all.

    Returns
    -------
    float
    """
    # The percentile stands between two of the sorted exchanges, and a value of the same kind falls
    # with equal chance into each of the gaps around them.
    return (permutations - 0.975 * (permutations - 1)) / (permutations + 1)


def gene_weights(genes, draws, seed):
    """How often each of the sorted genes counts in each resample, (draws, genes)."""
    count = len(np.unique(genes))
    return np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), draws)


def _with_interval(value, drawn):
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return {"value": value, "low": low, "high": high}


def differences(predictions, first, *, draws=1000, seed=0):
    """By how much the area of one feature set is larger than others', on the same resampled genes.

    Parameters
    ----------
    predictions, draws, seed
        As of `scores`.
    first : str

    Returns
    -------
    pd.DataFrame
        level (the line), accuracy, compared with, difference, low, high (95 %), n (readouts).
    """
    rows = []
    for name, lines in predictions.items():
        if name == first:
            continue
        for line, other in lines.items():
            made = _difference(predictions[first][line], other, draws, seed)
            made["difference"] = made.pop("value")
            rows.append({"level": line, "accuracy": AREA, "compared with": name} | made)
    columns = ["level", "accuracy", "compared with", "difference", "low", "high", "n"]
    return pd.DataFrame(rows, columns=columns)


def leakage(shuffled, together, *, draws=1000, seed=0):
    """By how much the area is larger where guides of a gene stand in different folds.

    Parameters
    ----------
    shuffled, together : dict of str to dict of str to Prediction
        Feature set -> line -> from `predict`, with random folds and with genes kept together.
    draws, seed
        As of `scores`.

    Returns
    -------
    pd.DataFrame
        features, hue (the line), level, accuracy, value (the difference), low, high (95 %), n.
    """
    rows = [
        {"features": name, "hue": line, "level": "random folds", "accuracy": AREA}
        | _difference(shuffled[name][line], own, draws, seed)
        for name, lines in together.items()
        for line, own in lines.items()
    ]
    columns = ["features", "hue", "level", "accuracy", "value", "low", "high", "n"]
    return pd.DataFrame(rows, columns=columns)


def _difference(one, other, draws, seed):
    """Difference of two areas on the same resampled genes, and the number of readouts."""
    weights = gene_weights(one.genes, draws, seed)
    value = float(area(one.r_squared()) - area(other.r_squared()))
    drawn = area(one.resampled(weights)) - area(other.resampled(weights))
    return _with_interval(value, drawn) | {"n": int(one.r_squared().notna().sum())}


RELEASED, RANDOM, TOGETHER = (
    "as released",
    "random folds, one R²",
    "genes together, one R²",
)


def protocols(asked, model=forest, *, folds=5, draws=1000, seed=0):
    """R^2 of each readout under the released protocol, the sound one, and one step between.

    Parameters
    ----------
    asked : dict of str to (pd.DataFrame, pd.DataFrame)
        Feature set -> from `guides.joined`.
    model, folds
        As of `predict`.
    draws, seed : int
        Of the bootstrap over genes.

    Returns
    -------
    pd.DataFrame
        features (the readout), level (the feature set), accuracy (the line), hue (`RELEASED`,
        `RANDOM` or `TOGETHER`), value, low, high (95 %; missing for the mean of the folds), n
        (guides).
    """
    rows = []
    for name, (profiles, readouts) in asked.items():
        for together in (False, True):
            made = predict(profiles, readouts, together, model, folds=folds, seed=seed)
            for line, prediction in made.items():
                described = {"level": name, "accuracy": line}
                rows += [described | row for row in _by_protocol(prediction, together, draws, seed)]
    columns = ["features", "level", "accuracy", "hue", "value", "low", "high", "n"]
    return pd.DataFrame(rows, columns=columns)


def _by_protocol(prediction, together, draws, seed):
    """Rows of `protocols` of one line and one kind of folds."""
    drawn = prediction.resampled(gene_weights(prediction.genes, draws, seed))
    released = prediction.mean_of_folds()
    for column, (name, value) in enumerate(prediction.r_squared().items()):
        row = {"features": name, "n": int(prediction.predicted[name].count())}
        if not together:
            yield row | {"hue": RELEASED, "value": released[name]}
        hue = TOGETHER if together else RANDOM
        yield row | {"hue": hue} | _with_interval(value, drawn[:, column])


def chance(random, readouts, *, folds=5, seed=0):
    """What random features score under the sound protocol: mean and range of the draws.

    Parameters
    ----------
    random : list of pd.DataFrame
        Of `baselines.gaussian`, for the same guides.
    readouts, folds, seed
        As of `predict`.

    Returns
    -------
    pd.DataFrame
        As of `scores`, low and high the 2.5 to 97.5 percentiles of the draws.
    """
    drawn = [predict(one, readouts, folds=folds, seed=seed) for one in random]
    rows = []
    for line in drawn[0]:
        r_squared = np.array([one[line].r_squared() for one in drawn])
        for statistic, function in _STATISTICS.items():
            values = function(r_squared)
            row = {"features": "Gaussian", "level": line, "accuracy": statistic}
            row |= _with_interval(values.mean(), values)
            rows.append(row | {"n": int((~np.isnan(r_squared[0])).sum())})
    return pd.DataFrame(rows).reindex(columns=_COLUMNS)


def curves(protocols_of):
    """The curves of several feature sets and protocols, as `score_figures.curve_panels` draws them.

    Parameters
    ----------
    protocols_of : dict of str to dict of str to dict of str to Prediction
        Name of a protocol -> feature set -> line.

    Returns
    -------
    pd.DataFrame
        panel, name, x (the threshold), y (the share of readouts).
    """
    thresholds = np.linspace(0, 1, 101)
    parts = [
        pd.DataFrame(
            {
                "panel": f"{line}, {protocol}",
                "name": name,
                "x": thresholds,
                "y": curve(made.r_squared(), thresholds),
            }
        )
        for protocol, sets in protocols_of.items()
        for name, lines in sets.items()
        for line, made in lines.items()
    ]
    return pd.concat(parts) if parts else pd.DataFrame(columns=["panel", "name", "x", "y"])


def by_readout(predictions):
    """R^2 of each readout.

    Returns
    -------
    pd.DataFrame
        line, readout, then a column a feature set.
    """
    made = {
        name: pd.concat({line: one.r_squared() for line, one in lines.items()})
        for name, lines in predictions.items()
    }
    if not made:
        return pd.DataFrame(columns=["line", "readout"])
    return pd.DataFrame(made).rename_axis(["line", "readout"]).reset_index()


def worth_of_leakage(make, shares, seeds, *, folds=5):
    """What random folds add, over the share of an effect that the guides of a gene have in common.

    Parameters
    ----------
    make : callable
        (seed, share) -> a table of guides whose readouts are ``cc_seen_…`` and ``cc_unseen_…``,
        such as `simulate.readouts.guide_profiles`.
    shares : sequence of float
    seeds : sequence of int
    folds : int

    Returns
    -------
    pd.DataFrame
        panel (which readouts), name (`RANDOM` or `TOGETHER`), x (the share), y (mean R^2 over
        readouts and tables), low, high (range over tables).
    """
    rows = []
    for share in shares:
        for seed in seeds:
            table = make(seed, share).assign(cell_line="simulated")
            readouts = table.filter(regex="^cc_")
            profiles = table.drop(columns=readouts.columns)
            for together, name in ((False, RANDOM), (True, TOGETHER)):
                made = predict(profiles, readouts, together=together, folds=folds, seed=seed)
                r_squared = made["simulated"].r_squared()
                for panel, start in _SEEN.items():
                    own = r_squared[r_squared.index.str.startswith(start)]
                    rows.append({"panel": panel, "name": name, "x": share, "y": own.mean()})
    keys = ["panel", "name", "x"]
    groups = pd.DataFrame(rows).groupby(keys, sort=False)["y"]
    return groups.agg(y="mean", low="min", high="max").reset_index()


_SEEN = {
    "readouts of what the profiles show": "cc_seen_",
    "readouts of what they do not": "cc_unseen_",
}
