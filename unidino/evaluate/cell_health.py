"""The question of Cell Health: which readouts of other assays do profiles of guides predict?

Two protocols stand side by side. The released one cuts the guides of a line into random folds, so
that a guide is predicted by a model that has seen another guide of the same gene. The sound one
keeps the guides of a gene in one fold.

Source: Way et al. 2021 (doi 10.1091/mbc.E20-12-0784); the released protocol: the uniDINO paper
(doi 10.1016/j.csbj.2025.02.020).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from .. import paths, tables
from ..profiles.aggregation import consensus
from . import baselines, feature_sets, ridge

LINE, GUIDE, GENE = "cell_line", "reagent_identifier", "gene_symbol"
"""Columns that a profile has, bare or with ``Metadata_``."""

FOREST_READOUTS = (
    "vb_num_live_cells", "vb_percent_dead", "vb_live_cell_area", "vb_live_cell_roundness",
    "vb_live_cell_width_length", "cc_all_n_objects", "cc_cc_n_objects", "cc_s_n_objects",
    "cc_g1_plus_g2_count", "cc_s_intensity_nucleus_area_sum",
)  # fmt: skip
"""Ten of the readouts that were predicted best, as published."""

FILES = ("cell_health_median.tsv", "cell_health_median.tsv.gz")
"""Names of the readout table in the dataset's folder; the second is that of its repository."""

_PREFIXES = ("cc_", "vb_")


def read_readouts(path):
    """The readouts of guides in cell lines.

    Parameters
    ----------
    path : str or Path
        Delimited text, compressed or not, in the layout of ``cell_health_median`` of the
        cell-health repository: Metadata_pert_name (the guide), Metadata_cell_line, readouts
        ``cc_…`` and ``vb_…``.

    Returns
    -------
    pd.DataFrame
        cell_line, reagent_identifier, then the readouts; missing where they were not measured.

    Raises
    ------
    FileNotFoundError, ValueError
        No such file; a column that is missing, no readout, one that is text, a guide that stands
        twice in a line.
    """
    frame = tables.read_csv(path)
    keys = [tables.find_column(frame, name) for name in ("cell_line", "pert_name")]
    names = [name for name in frame.columns if str(name).startswith(_PREFIXES)]
    if not names:
        raise ValueError(f"{path} has no readout: no column begins with cc_ or vb_.")
    text = [name for name in names if not pd.api.types.is_numeric_dtype(frame[name])]
    if text:
        raise ValueError(f"{path}: the readout {text[0]} is no number; expected one in every row.")
    made = frame[keys + names].set_axis([LINE, GUIDE, *names], axis=1)
    twice = made.duplicated([LINE, GUIDE])
    if twice.any():
        line, guide = made.loc[twice, [LINE, GUIDE]].iloc[0]
        raise ValueError(
            f"{path}: {guide} stands twice in {line}; expected the consensus of its wells."
        )
    return made


def find_readouts(valset, root=None, file=None):
    """The readout table of a dataset, where there is one.

    Parameters
    ----------
    valset : str
        Of a published dataset, in whose folder it is looked for; or a CSV.
    root : str or Path, optional
        Data root.
    file : str or Path, optional
        The table, wherever it lies.

    Returns
    -------
    (pd.DataFrame or None, str)
        As of `read_readouts`; else why there is none, and what to do.
    """
    if file is not None:
        return read_readouts(file), ""
    told = "Give one: -p readouts cell_health_median.tsv.gz"
    if valset not in paths.DATASET_FOLDERS:
        return None, f"No readout table is known of {valset}. {told}."
    folder = paths.dataset_folder(valset, root)
    found = [folder / name for name in FILES if (folder / name).is_file()]
    if found:
        return read_readouts(found[0]), ""
    return None, f"There is no {FILES[0]} in the folder {folder.name}. {told}."


def read(entries, valset, outdir=None):
    """Read sets of features of wells, as `feature_sets.read` does, and of guides.

    Parameters
    ----------
    entries : list of str
        As of `feature_sets.read`; a table ``.tsv`` or ``.tsv.gz`` is one of guides, in the layout
        of ``cell_painting_median`` of the cell-health repository.
    valset, outdir
        As of `feature_sets.read`.

    Returns
    -------
    list of feature_sets.FeatureSet
        Those of wells first. Tables of guides have no column well, and are taken as they are:
        normalised already.

    Raises
    ------
    ValueError
        As `feature_sets.read`; a table of guides without its columns, or with a guide twice.
    """
    given = [str(entry) for entry in entries]
    merged = [entry for entry in given if entry.endswith((".tsv", ".tsv.gz"))]
    wells = [entry for entry in given if entry not in merged]
    made = feature_sets.read(wells, valset, outdir) if wells or not merged else []
    return made + [_table_of_guides(entry) for entry in merged]


def _table_of_guides(entry):
    """A set of features whose rows are guides."""
    named, equals, path = entry.partition("=")
    if not equals:
        path = entry
    frame = tables.read_csv(path)
    columns = {tables.find_column(frame, "pert_name"): f"Metadata_{GUIDE}"}
    frame = frame.rename(columns=columns)
    line = tables.find_column(frame, LINE)
    if not tables.feature_columns(frame):
        raise ValueError(f"{path} has no feature columns; expected Cells_, Cytoplasm_, Nuclei_.")
    twice = frame.duplicated([line, f"Metadata_{GUIDE}"])
    if twice.any():
        first = frame.loc[twice, [line, f"Metadata_{GUIDE}"]].iloc[0]
        raise ValueError(f"{path}: {first.iloc[1]} stands twice in {first.iloc[0]}.")
    if not tables.key_columns(frame, [GENE]):
        # Guides are called by their gene: AKT1-2, KRAS-2A.
        frame[f"Metadata_{GENE}"] = frame[f"Metadata_{GUIDE}"].str.rpartition("-")[0]
        nameless = frame[f"Metadata_{GENE}"] == ""
        frame = frame[~nameless].reset_index(drop=True)
    name = named if equals else Path(path).name.split(".")[0]
    return feature_sets.FeatureSet(name, frame)


def is_of_guides(one):
    """Whether a set that is there has rows of guides, not of wells."""
    return one.profiles is not None and not tables.key_columns(one.profiles, ["well"])


def same_guides(asked):
    """The guides that all sets have, in the order of the first.

    Parameters
    ----------
    asked : dict of str to (pd.DataFrame, pd.DataFrame)
        Feature set -> from `guides`.

    Returns
    -------
    dict of str to (pd.DataFrame, pd.DataFrame)

    Raises
    ------
    ValueError
        No guide is in all of them.
    """
    keys = {}
    for name, (profiles, _) in asked.items():
        columns = [tables.find_column(profiles, column) for column in (LINE, GUIDE)]
        keys[name] = pd.MultiIndex.from_frame(profiles[columns].astype(str))
    kept = next(iter(keys.values()))
    for own in keys.values():
        kept = kept[kept.isin(own)]
    if not len(kept):
        raise ValueError(f"no guide and line is in all of {', '.join(asked)}.")
    rows = {name: own.get_indexer(kept) for name, own in keys.items()}
    return {
        name: tuple(part.iloc[rows[name]].reset_index(drop=True) for part in parts)
        for name, parts in asked.items()
    }


def guides(profiles, readouts):
    """The profile of each guide in each line, and its readouts.

    Wells without reagent, or without a guide, are left out: that a well is empty is seen by
    everything.

    Parameters
    ----------
    profiles : pd.DataFrame
        One row a well, normalised, with cell_line and reagent_identifier.
    readouts : pd.DataFrame
        From `read_readouts`.

    Returns
    -------
    (pd.DataFrame, pd.DataFrame)
        The medians of the wells, in the order of their first ones, and as many rows of readouts.

    Raises
    ------
    ValueError
        A column that is missing; no guide that has readouts.
    """
    line, guide = (tables.find_column(profiles, name) for name in (LINE, GUIDE))
    wells = profiles[profiles[guide].notna() & profiles[line].notna()]
    wells = wells[wells[tables.feature_columns(wells)].notna().all(axis=1)]
    if control := tables.key_columns(profiles, ["control_type"]):
        wells = wells[wells[control[0]].ne("empty")]
    measured = readouts.set_index([LINE, GUIDE])
    keys = pd.MultiIndex.from_frame(wells[[line, guide]].astype(str))
    wells = wells[keys.isin(measured.index)].reset_index(drop=True)
    if not len(wells):
        shown = ", ".join(map(" ".join, measured.index[:3]))
        raise ValueError(
            f"no guide of the profiles has readouts. The readout table has, for example, {shown}; "
            f"the profiles have {', '.join(map(' '.join, keys.unique()[:3]))}."
        )
    merged = consensus(wells, [line, guide], "median")
    own = pd.MultiIndex.from_frame(merged[[line, guide]].astype(str))
    return merged, measured.loc[own].reset_index(drop=True)


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
            (draws, readouts); missing where what is left of a readout does not vary.
        """
        codes = np.unique(self.genes, return_inverse=True)[1]
        has = self.predicted.notna().to_numpy()
        observed = np.where(has, self.observed, 0.0)
        wrong = np.where(has, self.observed - self.predicted, 0.0) ** 2
        # Around the mean, so that the sums of squares below lose nothing.
        centred = np.where(has, observed - observed.sum(0) / has.sum(0).clip(1), 0)
        count, total, squares, errors = (
            weights @ _summed(part.astype(float), codes)
            for part in (has, centred, centred**2, wrong)
        )
        with np.errstate(invalid="ignore", divide="ignore"):
            spread = squares - total**2 / count
            varies = spread > 1e-9 * (centred**2).sum(0)
            return np.where(varies, 1 - errors / spread, np.nan)


def _summed(values, codes):
    """Sums of rows by group, (groups, columns)."""
    made = np.zeros((codes.max() + 1, values.shape[1]))
    np.add.at(made, codes, values)
    return made


def groups_of(profiles):
    """The gene of each guide, the guide itself where the table names no genes.

    Returns
    -------
    numpy.ndarray
        (n,) of text.
    """
    column = (tables.key_columns(profiles, [GENE]) or tables.key_columns(profiles, [GUIDE]))[0]
    guide = profiles[tables.find_column(profiles, GUIDE)]
    return profiles[column].where(profiles[column].notna(), guide).astype(str).to_numpy()


def predict(profiles, readouts, together=True, model=ridge.out_of_fold, *, folds=5, seed=0):
    """Predict the readouts of the guides of each line from the other folds.

    Parameters
    ----------
    profiles, readouts : pd.DataFrame
        From `guides`.
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
        Feature set -> from `guides`.
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


def questions(profiles, readouts, lacking="", folds=5):
    """What a table of profiles can be asked, and why not the rest.

    Parameters
    ----------
    profiles : pd.DataFrame
        One row a well.
    readouts : pd.DataFrame or None
        From `find_readouts`, like `lacking`, which says why there is none.
    lacking : str
    folds : int

    Returns
    -------
    pd.DataFrame
        Index: the question; asked (yes or no), said.
    """
    reasons = [lacking] if readouts is None else []
    reasons += [
        f"The profiles have no column {name}."
        for name in (LINE, GUIDE)
        if not tables.key_columns(profiles, [name])
    ]
    predicted = " ".join(reasons)
    if not reasons:
        try:
            known, _ = guides(profiles, readouts)
        except ValueError as error:
            predicted = str(error)
    genes = predicted
    if not predicted:
        genes = _lacking_genes(known)
        if _genes_by_line(known).max() < 2 * folds:
            predicted = f"Each line has fewer than {2 * folds} genes, which {folds} folds need."
            genes = predicted
    counts = "" if "Metadata_objects" in profiles else "The profiles come without cell counts."
    made = {
        "Which readouts do the profiles of guides predict?": predicted,
        "What are folds worth that part the guides of a gene?": genes,
        "Is it more than the number of cells?": predicted or counts,
    }
    rows = {name: ["no" if said else "yes", said] for name, said in made.items()}
    return pd.DataFrame.from_dict(rows, orient="index", columns=["asked", "said"])


def _genes_by_line(known):
    line = known[tables.find_column(known, LINE)].astype(str)
    return pd.Series(groups_of(known)).groupby(line.to_numpy()).nunique()


def _lacking_genes(known):
    """Why folds that keep genes together say nothing; empty where they do."""
    if not tables.key_columns(known, [GENE]):
        return f"No column {GENE}: guides are taken to be of genes of their own."
    line = known[tables.find_column(known, LINE)].astype(str)
    if pd.Series(groups_of(known)).groupby(line.to_numpy()).value_counts().max() < 2:
        return "One guide a gene: every fold keeps genes together."
    return ""


def counted(profiles, readouts):
    """How many guides, genes and readouts each line has.

    Parameters
    ----------
    profiles, readouts : pd.DataFrame
        From `guides`.

    Returns
    -------
    pd.DataFrame
        Index: the line; guides, genes, guides a gene (median), readouts, missing (share of the
        values).
    """
    line = profiles[tables.find_column(profiles, LINE)].astype(str).to_numpy()
    groups = groups_of(profiles)
    rows = {}
    for name in dict.fromkeys(line):
        own, values = groups[line == name], readouts[line == name]
        rows[name] = {
            "guides": len(own),
            "genes": len(np.unique(own)),
            "guides a gene": float(np.median(np.unique(own, return_counts=True)[1])),
            "readouts": int(values.notna().any().sum()),
            "missing": round(float(values.isna().to_numpy().mean()), 4),
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def first_lines(profiles, readouts, count):
    """The guides of the first lines, in the order of first appearance, as `guides` gives them."""
    line = profiles[tables.find_column(profiles, LINE)]
    kept = line.isin(line.drop_duplicates().iloc[:count])
    return profiles[kept].reset_index(drop=True), readouts[kept].reset_index(drop=True)


def gene_alone(profiles):
    """Which guides cut the same gene, and nothing else, as features."""
    genes = profiles[tables.metadata_columns(profiles)].assign(gene=groups_of(profiles))
    return baselines.one_hot(genes, "gene")


def with_features(profiles, features):
    """Other features for the same guides.

    Parameters
    ----------
    profiles : pd.DataFrame
        From `guides`.
    features : pd.DataFrame
        Index: line and guide, for each of them.

    Returns
    -------
    pd.DataFrame
    """
    own = pd.MultiIndex.from_frame(
        profiles[[tables.find_column(profiles, name) for name in (LINE, GUIDE)]].astype(str)
    )
    return baselines.described(profiles, features.loc[own])


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
    """The curves of several feature sets and protocols, as `plots.curve_panels` draws them.

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
    return pd.concat([pd.DataFrame(columns=["panel", "name", "x", "y"]), *parts])


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
