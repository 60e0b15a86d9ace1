"""How often a profile's nearest neighbour is of its kind, and how sure that number is."""

import re

import numpy as np
import pandas as pd

from .. import tables

METRICS = ("cosine", "correlation", "euclidean", "cityblock")

# Distances held at a time; 128 MB, however many profiles there are.
_BLOCK_VALUES = 2**24

# Equal distances come out of a matrix product unequal in their last bits.
_TIE = 1e-12


class Accuracy(float):
    """A share of correct neighbours that knows how it came about; a float in every other way.

    Attributes
    ----------
    accuracy : float
    correct, n : int
        Correct and scored profiles.
    without_neighbour : int
        Profiles that had no allowed neighbour; not scored.
    neighbours : pd.DataFrame
        One row a scored profile: ``profile`` and ``neighbour`` (row numbers), ``label``,
        ``neighbour_label``, ``distance``, ``correct``.
    """

    def __new__(cls, neighbours, without_neighbour):
        n = len(neighbours)
        made = super().__new__(cls, neighbours["correct"].mean() if n else float("nan"))
        made.neighbours = neighbours
        made.n = n
        made.correct = int(neighbours["correct"].sum())
        made.without_neighbour = int(without_neighbour)
        return made

    @property
    def accuracy(self):
        return float(self)

    def __reduce__(self):
        return Accuracy, (self.neighbours, self.without_neighbour)


def nearest_neighbour_accuracy(
    profiles,
    label,
    exclude=(),
    metric="cosine",
    exclude_if_same_label=(),
    features=None,
):
    """Share of profiles whose nearest allowed neighbour has their label.

    NSC is ``exclude=["compound"]``; NSCB ``exclude=["compound", "batch"]``; the released code's
    NSCB ``exclude=["compound"], exclude_if_same_label=["batch"]``; NSPW
    ``label="compound", exclude=["plate", "well"]``. What is nearest is asked of all profiles given:
    leave out controls, and mechanisms of one batch only (`in_several`), beforehand.

    Parameters
    ----------
    profiles : pd.DataFrame
        One row a profile: metadata, bare or with ``Metadata_``, then features.
    label : str
        Column to match, such as "moa". Profiles without a label are neither scored nor neighbours.
    exclude : list of str
        A neighbour that shares any of these columns is not allowed; a missing value is shared with
        nobody.
    metric : {"cosine", "correlation", "euclidean", "cityblock"}
    exclude_if_same_label : list of str
        A neighbour that shares any of these columns *and* the label is not allowed.
    features : list of str, optional
        Feature columns. By default those with known names (``emb…``, ``Cells_`` …); in a table
        without them, columns that are numbered alike (f0, f1, …).

    Returns
    -------
    Accuracy
        A float with ``.accuracy``, ``.n``, ``.correct``, ``.without_neighbour``, ``.neighbours``.
        Profiles left without a neighbour are counted, not scored; where that is all of them, the
        value is NaN. Of neighbours at the same distance (within 1e-12) the first row is taken.

    Raises
    ------
    ValueError
        A column that does not exist, no labelled profile, missing or infinite features, an unknown
        metric; for cosine and correlation a profile without direction (zero, or constant).

    Source: Ljosa et al. 2013 (doi 10.1177/1087057113503553, NSC); Ando, McLean and Berndl 2017
    (doi 10.1101/161422, NSCB).
    """
    if metric not in METRICS:
        raise ValueError(f"metric {metric!r} is not one of {', '.join(METRICS)}.")
    exclude = column_names(exclude, "exclude")
    same_label = column_names(exclude_if_same_label, "exclude_if_same_label")
    label_column = tables.find_column(profiles, label)
    features = _features(profiles, features, [label, *exclude, *same_label])
    labels = _codes(profiles, label)
    rows = np.flatnonzero(labels >= 0)
    if not len(rows):
        raise ValueError(f"no profile has a {label}: column {label_column} is empty.")
    barred = [_own_if_missing(_codes(profiles, name)[rows]) for name in exclude]
    # Equal pairs of a column and the label become equal numbers.
    both = [_codes(profiles, name)[rows] for name in same_label]
    barred += [
        _own_if_missing(np.where(codes < 0, -1, codes * (labels.max() + 1) + labels[rows]))
        for codes in both
    ]
    values = _directions(_values(profiles, features, rows), metric, rows)
    nearest, distance = _nearest(values, metric, barred)
    found = nearest >= 0
    names = profiles[label_column].to_numpy()
    own, other = rows[found], rows[nearest[found]]
    neighbours = pd.DataFrame(
        {
            "profile": own,
            "neighbour": other,
            "label": names[own],
            "neighbour_label": names[other],
            "distance": distance[found],
            "correct": labels[own] == labels[other],
        }
    )
    return Accuracy(neighbours, (~found).sum())


def column_names(value, option):
    """A list of column names from a name, a list, an array or a Series."""
    if value is None:
        return []
    if isinstance(value, str):
        return [value]
    names = list(value)
    wrong = [name for name in names if not isinstance(name, str)]
    if wrong:
        raise ValueError(
            f"{option} takes names of columns, got {wrong[0]!r}; add the values to the profiles as "
            "a column and give its name."
        )
    return names


def _features(profiles, features, others):
    """The feature columns, given or found by their names."""
    if features is not None:
        features = [features] if isinstance(features, str) else list(features)
        lacking = [name for name in features if name not in profiles.columns]
        if lacking:
            raise ValueError(f"the profiles lack the features {', '.join(map(str, lacking[:5]))}.")
    else:
        features = tables.feature_columns(profiles) or _numbered(profiles, others)
    if not features:
        raise ValueError(
            "the profiles have no features: no column is named emb…, Cells_, Nuclei_ …; name them "
            "as `features`."
        )
    return features


def _numbered(profiles, others):
    """Columns of numbers whose names are one stem and a number: f0, f1, … or 0, 1, …"""
    stems = {}
    for column in profiles.columns:
        match = re.fullmatch(r"(?!Metadata_)(.*?)\d+", str(column))
        if match and column not in others and pd.api.types.is_numeric_dtype(profiles[column]):
            stems.setdefault(match[1], []).append(column)
    stems = {stem: columns for stem, columns in stems.items() if len(columns) > 1}
    if len(stems) > 1:
        raise ValueError(
            f"columns numbered after {' and after '.join(map(repr, stems))} could all be features; "
            "name them as `features`."
        )
    return next(iter(stems.values()), [])


def _codes(profiles, column):
    """Integers, equal where the values are; -1 where missing."""
    return pd.factorize(profiles[tables.find_column(profiles, column)])[0]


def _own_if_missing(codes):
    """Codes in which each missing value is a value of its own, shared with nobody."""
    missing = codes < 0
    codes = codes.copy()
    codes[missing] = codes.max(initial=0) + 1 + np.arange(missing.sum())
    return codes


def _values(profiles, features, rows):
    """Features of some rows as numbers, all finite."""
    text = [name for name in features if not pd.api.types.is_numeric_dtype(profiles[name])]
    if text:
        raise ValueError(f"feature {text[0]} holds text; convert it to numbers or leave it out.")
    values = profiles[features].to_numpy(float, na_value=np.nan)[rows]
    lost = rows[~np.isfinite(values).all(1)]
    if len(lost):
        raise ValueError(
            f"{len(lost)} profiles have missing or infinite features, {_in_words(lost)}. Remove "
            "these profiles (dropna) or the features."
        )
    return values


def _in_words(rows):
    """Row numbers, the first few."""
    more = " …" if len(rows) > 5 else ""
    return f"row{'s' if len(rows) > 1 else ''} {', '.join(map(str, rows[:5]))}{more}"


def _directions(values, metric, rows):
    """Features scaled so that the metric is a plain product; changes them in place."""
    if metric not in ("cosine", "correlation"):
        return values
    size = np.abs(values).max(1)
    if metric == "correlation":
        values -= values.mean(1, keepdims=True)
    norms = np.linalg.norm(values, axis=1)
    # What is left of a constant profile without its mean is rounding.
    lost = rows[norms <= 1e-12 * size]
    if len(lost):
        kind = "zero" if metric == "cosine" else "constant"
        raise ValueError(
            f"{len(lost)} profiles are {kind} in every feature, {_in_words(lost)}: they have no "
            f"{metric} with anything. Remove them, or use metric='euclidean'."
        )
    values /= norms[:, None]
    return values


def _distances(block, values, metric):
    """Distances between rows, (len(block), len(values))."""
    if metric in ("cosine", "correlation"):
        made = block @ values.T
        return np.subtract(1, made, out=made)
    from scipy.spatial.distance import cdist

    return cdist(block, values, metric)


def _nearest(values, metric, barred):
    """Row of the nearest allowed neighbour, -1 where there is none, and its distance."""
    count = len(values)
    nearest = np.full(count, -1)
    distance = np.full(count, np.nan)
    # Who shares a value is looked up rather than compared: groups are small beside the table.
    sharing = [pd.Series(codes).groupby(codes).indices for codes in barred]
    step = max(1, _BLOCK_VALUES // count)
    for start in range(0, count, step):
        here = slice(start, min(start + step, count))
        block = _distances(values[here], values, metric)
        block[np.arange(len(block)), np.arange(start, here.stop)] = np.inf
        for codes, members in zip(barred, sharing, strict=True):
            for code in np.unique(codes[here]):
                block[np.ix_(np.flatnonzero(codes[here] == code), members[code])] = np.inf
        smallest = block.min(1)
        margin = _TIE if metric in ("cosine", "correlation") else _TIE * smallest
        first = (block <= (smallest + margin)[:, None]).argmax(1)
        allowed = np.isfinite(smallest)
        nearest[here] = np.where(allowed, first, -1)
        distance[here] = np.where(allowed, np.maximum(smallest, 0), np.nan)
    return nearest, distance


def in_several(profiles, label, group):
    """Rows whose label occurs in more than one group.

    NSCB is not defined for a mechanism seen in one batch only: its profiles are left out.

    Returns
    -------
    numpy.ndarray of bool
    """
    names = profiles[tables.find_column(profiles, label)]
    groups = profiles[tables.find_column(profiles, group)]
    return (groups.groupby(names).transform("nunique") > 1).to_numpy()
