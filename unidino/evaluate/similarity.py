"""What profiles can be compared, how alike two of them are, and which similarities are equal."""

import re

import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist

from .. import tables

TOLERANCE = 1e-6
"""Below this, differences are rounding: between similarities (ties), and in features, as a share
of their size (profiles that are zero or constant)."""

_DIRECTIONS = ("cosine", "abs_cosine", "correlation")
_CITYBLOCK = ("cityblock", "manhattan")
METRICS = (*_DIRECTIONS, "euclidean", *_CITYBLOCK, "chebyshev")
"""Ways to compare two profiles; cityblock and manhattan are two names of one."""

# Distances held at a time; 64 MB in single precision, however many profiles there are.
_BLOCK_VALUES = 2**24


def find_features(profiles, features=None, others=()):
    """The feature columns, given or found by their names.

    Parameters
    ----------
    profiles : pd.DataFrame
    features : str or list of str, optional
    others : iterable of str
        Columns that are no features whatever their names.

    Returns
    -------
    list of str

    Raises
    ------
    ValueError
        A feature that does not exist, none, or names that leave open which they are.
    """
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


def comparable(profiles, features, metric, rows=None):
    """Features of profiles that all have a similarity with others, ready for `distance_blocks`.

    Parameters
    ----------
    profiles : pd.DataFrame
    features : list of str
    metric : str
        Of `METRICS`.
    rows : numpy.ndarray of int, optional
        Positions of the profiles to take; all by default.

    Returns
    -------
    numpy.ndarray
        (rows, features); of length 1 for cosines and correlations. float64, or float32 where all
        features are and directions are compared: a large table is not held twice as large.

    Raises
    ------
    ValueError
        Text, missing or infinite features; for cosines and correlations a profile that is zero or
        constant in every feature: its direction would be rounding. Names the rows.
    """
    rows = np.arange(len(profiles)) if rows is None else rows
    if not len(rows):
        raise ValueError("there are no profiles to compare: the table has no rows.")
    text = [name for name in features if not pd.api.types.is_numeric_dtype(profiles[name])]
    if text:
        raise ValueError(f"feature {text[0]} holds text; convert it to numbers or leave it out.")
    single = metric in _DIRECTIONS and (profiles.dtypes[features] == np.float32).all()
    values = _rows(profiles, features, rows, np.float32 if single else float)
    parts = _parts(values)
    whole = [np.isfinite(values[part]).all(1) for part in parts]
    refuse(
        rows[~np.concatenate(whole)],
        "have missing or infinite features",
        ". Remove these profiles (dropna) or the features.",
    )
    if metric not in _DIRECTIONS:
        return values
    why = f": they have no direction that {metric} could compare. Remove these profiles first."
    typical = sum(np.abs(values[part]).sum(0, dtype=float) for part in parts) / len(values)
    zero = [(np.abs(values[part]) <= TOLERANCE * typical).all(1) for part in parts]
    refuse(rows[np.concatenate(zero)], "are zero in every feature", why, NoDirection)
    constant = [
        np.ptp(values[part], axis=1) <= TOLERANCE * np.abs(values[part]).max(1) for part in parts
    ]
    refuse(rows[np.concatenate(constant)], "are constant in every feature", why, NoDirection)
    for part in parts:
        block = values[part].astype(float)
        if metric == "correlation":
            block -= block.mean(1, keepdims=True)
        values[part] = block / np.linalg.norm(block, axis=1, keepdims=True)
    return values


def _rows(profiles, features, rows, dtype):
    """Features of some rows, (rows, features): the one copy that is made of them."""
    values = np.empty((len(rows), len(features)), dtype)
    places = profiles.columns.get_indexer_for(features)
    for part in _parts(values):
        values[part] = profiles.iloc[rows[part], places].to_numpy(dtype, na_value=np.nan)
    return values


def _parts(values):
    """Slices of the rows, so that what is computed on the way stays small."""
    step = max(1, _BLOCK_VALUES // max(1, values.shape[1]))
    return [slice(start, start + step) for start in range(0, len(values), step)]


class NoDirection(ValueError):
    """A profile is zero, or constant in every feature: its direction would be rounding."""


def refuse(rows, fault, rest, kind=ValueError):
    """Raise where there are rows with a fault, naming the first of them and then the `rest`."""
    if len(rows):
        more = " …" if len(rows) > 5 else ""
        named = f"row{'s' if len(rows) > 1 else ''} {', '.join(map(str, rows[:5]))}{more}"
        raise kind(f"{len(rows)} profiles {fault}, {named}{rest}")


def whole_codes(profiles, name):
    """Integers of a column that has no missing value, equal where its values are.

    Raises
    ------
    ValueError
        A column that does not exist; profiles without a value.
    """
    column = tables.find_column(profiles, name)
    refuse(
        np.flatnonzero(profiles[column].isna()),
        f"have no {column}",
        "; give each its own, or remove such profiles first.",
    )
    return pd.factorize(profiles[column])[0]


def distance_blocks(values, metric):
    """Distances between all rows of `comparable` values, some rows at a time.

    Yields
    ------
    rows : slice
    distances : numpy.ndarray
        (rows, all); 1 - similarity for cosines and correlations.
    """
    step = max(1, _BLOCK_VALUES // len(values))
    for start in range(0, len(values), step):
        rows = slice(start, min(start + step, len(values)))
        yield rows, distances(values[rows], values, metric)


def bands(count):
    """Slices of so many rows; the distances between two of them are a block of their own."""
    side = max(1, int(_BLOCK_VALUES**0.5))
    return [slice(start, min(start + side, count)) for start in range(0, count, side)]


def distances(block, values, metric):
    """Distances of rows of `comparable` values from others, (rows, others)."""
    if metric not in _DIRECTIONS:
        return cdist(block, values, "cityblock" if metric in _CITYBLOCK else metric)
    made = block @ values.T
    if metric == "abs_cosine":
        np.abs(made, out=made)
    return np.subtract(1, made, out=made)


def tie_widths(values, metric):
    """How much larger than a distance another may be and still be the same.

    For cosines and correlations that is `TOLERANCE`, or where profiles all but coincide a
    thousandth of the distance: similarities are flat there (1 - cos x = x**2 / 2), so that 1e-6
    would make one of profiles that differ by a thousandth. Where features have units it is
    `TOLERANCE` of the median distance from the mean.

    Parameters
    ----------
    values : numpy.ndarray
        Of `comparable`.
    metric : str

    Returns
    -------
    callable
        Distances of any shape -> widths of that shape.
    """
    if metric in _DIRECTIONS:
        # Single precision tells no similarities apart that differ by less.
        least = TOLERANCE if values.dtype == np.float32 else TOLERANCE**2
        return lambda distance: np.clip(distance / 1000, least, TOLERANCE)
    size = np.median(distances(values, values.mean(0)[None], metric))
    return lambda distance: np.full_like(distance, TOLERANCE * size)
