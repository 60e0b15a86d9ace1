"""Normalisation of profiles against reference wells, plate by plate; pycytominer does the sums."""

import warnings
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from .. import queries, tables

NORM_METHODS = ("standardize", "mad_robustize", "robustize", "spherize", "no_post_proc")

LEAST_REFERENCE = 4
"""Reference wells on a plate below which its spread cannot be estimated at all."""

FEW_REFERENCE = 16
"""Reference wells below which a standard deviation is uncertain by more than a sixth."""

# A spread below this share of a feature's magnitude is rounding of float32, not biology.
_SPREAD_FLOOR = 1e-5

# A plate's reference that spreads less than this share of what the feature spreads over all
# profiles is an accident (half of the values equal, or nearly): dividing by it makes numbers that
# drown every other feature. Real tables stay well above it.
_SHARE_FLOOR = 1e-3


_UNNAMED = "all profiles (the dataset names no controls)"
_UNNAMED_NOTE = (
    "the dataset names no controls, so the reference of a plate is all of its profiles, treatments "
    "included. Name them by a column control_type or by controls, or set reference='all' if that "
    "is meant."
)


@dataclass
class Normalised:
    """Normalised profiles and how they came about.

    Attributes
    ----------
    profiles : pd.DataFrame
        The rows in their order, the metadata, the features that were kept (float32).
    reference_used : str
        What the fit rests on, in words.
    dropped_features : list of str
        Features without spread among the reference of at least one plate, or never measured.
    warnings : list of str
    """

    profiles: pd.DataFrame
    reference_used: str
    dropped_features: list = field(default_factory=list)
    warnings: list = field(default_factory=list)


def normalise(profiles, norm_method="standardize", reference="negcon", *, by=None):
    """Normalise features against reference profiles, plate by plate.

    Parameters
    ----------
    profiles : pd.DataFrame
        One row a well (or site, or image): metadata with bare or ``Metadata_`` names, features.
    norm_method : {"standardize", "mad_robustize", "robustize", "spherize", "no_post_proc"}
        Mean and standard deviation; median and MAD; median and interquartile range; whitening;
        nothing. spherize is fitted once, on the reference of all plates.
    reference : str
        "negcon" (control_type; all profiles where a dataset names no controls), "all" (as the
        release), or a query (`queries.rows`) such as ``"compound == 'DMSO'"``.
    by : list of str, optional
        Columns that name a plate; source, batch and plate by default, as far as there are. An
        empty list, or a table without plates, is normalised as one set.

    Returns
    -------
    Normalised
        A profile with a missing or infinite feature stays out of every fit. It keeps its row, its
        missing features stay missing (all of them with spherize, which mixes features), and the
        others are normalised. A plate of which nothing could be read is named in the warnings.

    Raises
    ------
    ValueError
        Fewer than 4 readable reference profiles on a plate; for spherize no more of them than
        features; a reference that matches nothing; no features, or features that are not numbers.
    """
    if norm_method not in NORM_METHODS:
        raise ValueError(f"norm_method {norm_method!r} is not one of {', '.join(NORM_METHODS)}.")
    if norm_method == "no_post_proc":
        return Normalised(profiles, "none")
    profiles = profiles.reset_index(drop=True)
    features = tables.feature_columns(profiles)
    values = _numbers(profiles, features)
    finite = np.isfinite(values)
    measured = finite.any(0)
    complete = finite[:, measured].all(1) & finite.any(1)
    rows, words = reference_rows(profiles, reference)
    usable = rows & complete
    notes = [] if words != _UNNAMED else [_UNNAMED_NOTE]
    groups = _plates(profiles, by, norm_method)
    groups, unread = _without_unread(groups, finite.any(1))
    notes += unread
    notes += _check_counts(
        {name: int(usable[members].sum()) for name, members in groups.items()},
        words,
        reference,
        _gaps(features, finite, measured, rows),
    )
    spread = _has_spread(values, groups, usable, complete, norm_method) & measured
    if not spread.any():
        raise ValueError(
            f"no feature varies among the reference ({words}): are the images constant, or the "
            "reference wells copies of each other?"
        )
    if norm_method == "spherize":
        if usable.sum() <= spread.sum():
            raise ValueError(
                f"spherize needs more reference profiles ({words}: {int(usable.sum())}) than "
                f"features ({int(spread.sum())}); with fewer, everything else looks active. Use "
                "reference='all', or norm_method='standardize'."
            )
        spread[spread] = _independent(values[np.ix_(usable, spread)])
    kept = [name for name, keep in zip(features, spread, strict=True) if keep]
    dropped = [name for name, keep in zip(features, spread, strict=True) if not keep]
    if dropped:
        notes.append(
            f"{len(dropped)} of {len(features)} features have no spread "
            f"{'of their own ' if norm_method == 'spherize' else ''}among the reference and are "
            "dropped."
        )
    normalised = np.full((len(profiles), len(kept)), np.nan, np.float32)
    for members in groups.values():
        if norm_method == "spherize":
            members = members[complete[members]]
        here = values[np.ix_(members, spread)].astype(float)
        here[~np.isfinite(here)] = np.nan
        normalised[members] = _pycytominer(here, usable[members], norm_method)
    table = pd.DataFrame(normalised, columns=kept)
    metadata = profiles[tables.metadata_columns(profiles)]
    return Normalised(pd.concat([metadata, table], axis=1), words, dropped, notes)


def check_reference(wells, norm_method="standardize", reference="negcon", *, by=None):
    """Whether `normalise` will have enough reference wells, before a single image is read.

    Parameters
    ----------
    wells : pd.DataFrame
        One row a well, features not needed.
    norm_method, reference, by
        As for `normalise`.

    Returns
    -------
    list of str
        Warnings.

    Raises
    ------
    ValueError
        Those of `normalise` that metadata alone can tell.
    """
    if norm_method == "no_post_proc":
        return []
    wells = wells.reset_index(drop=True)
    rows, words = reference_rows(wells, reference)
    counts = {
        name: int(rows[members].sum()) for name, members in _plates(wells, by, norm_method).items()
    }
    return _check_counts(counts, words, reference, "")


def reference_rows(profiles, reference):
    """Which profiles a fit rests on.

    Parameters
    ----------
    profiles : pd.DataFrame
    reference : str
        "negcon", "all" or a query, see `queries.rows`.

    Returns
    -------
    (numpy.ndarray of bool, str)
        The rows, and what they are in words.

    Raises
    ------
    ValueError
        Neither of these (`queries.UnknownColumn` where the query names no column of the table), or
        a query that matches nothing.
    """
    if reference == "all":
        return np.ones(len(profiles), bool), "all profiles"
    if reference == "negcon":
        named = tables.key_columns(profiles, ["control_type"])
        rows = (
            (profiles[named[0]] == "negcon").to_numpy(bool, copy=True)
            if named
            else np.zeros(0, bool)
        )
        if not rows.any():
            return np.ones(len(profiles), bool), _UNNAMED
        return rows, "negative controls"
    try:
        rows = queries.rows(profiles, reference)
    except ValueError as error:
        raise type(error)(
            f"reference {reference!r} is neither negcon, all nor a query on the profiles ({error})."
        ) from None
    if not rows.any():
        raise ValueError(
            f"reference {reference!r} matches no profile: "
            f"{queries.values_named(profiles, reference)} Correct the query, or use 'all'."
        )
    return rows, f"profiles where {reference}"


def _numbers(profiles, features):
    """Features as one array, single precision where they come so."""
    if not features:
        raise ValueError("the table has no features: no column is named emb…, Cells_, Nuclei_ …")
    text = [name for name in features if not pd.api.types.is_numeric_dtype(profiles[name])]
    if text:
        raise ValueError(
            f"{len(text)} feature columns hold text, the first is {text[0]}; convert them to "
            "numbers (pd.to_numeric) or remove them."
        )
    values = profiles[features].to_numpy(na_value=np.nan)
    return values if values.dtype in (np.float32, np.float64) else values.astype(float)


def _plates(profiles, by, norm_method):
    """{key of a plate: its rows}; one group where there are none, and for spherize."""
    if norm_method == "spherize":
        return tables.groups(profiles, [])
    if by is None:
        by = tables.plate_columns(profiles)
    return tables.groups(profiles, [tables.find_column(profiles, name) for name in by])


def _name(plate):
    """A plate's key in words."""
    return " ".join(map(str, plate)) or "the set"


def _without_unread(groups, read):
    """Groups with at least one readable profile, and a warning that names the others."""
    unread = [name for name, members in groups.items() if not read[members].any()]
    if len(unread) == len(groups):
        raise ValueError("no profile has a single readable feature: did every image fail?")
    if not unread:
        return groups, []
    shown = ", ".join(map(_name, unread[:5])) + (" …" if len(unread) > 5 else "")
    kept = {name: members for name, members in groups.items() if name not in unread}
    return kept, [
        f"{len(unread)} of {len(groups)} plates have no readable profile and stay missing: {shown}."
    ]


def _gaps(features, finite, measured, rows):
    """A sentence on the features that most reference profiles lack; empty where there are none."""
    read = finite.any(1) & rows
    lacking = (~finite[read]).sum(0) * measured
    if not lacking.any():
        return ""
    worst = int(lacking.argmax())
    return (
        f" {int((lacking > 0).sum())} features are missing or infinite in some reference profile "
        f"({features[worst]} in {int(lacking[worst])} of {int(read.sum())}), which keeps it out of "
        "the fit: remove such features first."
    )


def _check_counts(counts, words, reference, gaps):
    """Warnings on few reference profiles; stops on too few."""
    lacking = [name for name, count in counts.items() if count < LEAST_REFERENCE]
    if lacking:
        shown = ", ".join(f"{_name(name)} ({counts[name]})" for name in lacking[:5])
        shown += " …" if len(lacking) > 5 else ""
        remedy = "Name more controls (control_type, controls), use reference='all'"
        if words.startswith("all profiles"):
            remedy = "Normalise more profiles at once"
        raise ValueError(
            f"{len(lacking)} of {len(counts)} plates have fewer than {LEAST_REFERENCE} readable "
            f"reference profiles ({words}): {shown}.{gaps} {remedy}, or norm_method='no_post_proc'."
        )
    few = [count for count in counts.values() if count < FEW_REFERENCE]
    if not few:
        return []
    return [
        f"{len(few)} of {len(counts)} plates have fewer than {FEW_REFERENCE} reference profiles "
        f"({words}; the fewest: {min(few)}), so the spread of a feature is uncertain by about "
        f"{1 / np.sqrt(2 * (min(few) - 1)):.0%}."
    ]


def _spread(values, method):
    """Spread of each feature as the method measures it."""
    if method == "mad_robustize":
        return np.median(np.abs(values - np.median(values, 0)), 0)
    if method == "robustize":
        return np.subtract(*np.percentile(values, [75, 25], axis=0))
    return values.std(0)


def _has_spread(values, groups, rows, complete, method):
    """Features that spread among the reference of every plate."""
    overall = values[complete].std(0, dtype=float) if complete.any() else 0.0
    kept = np.ones(values.shape[1], bool)
    for members in groups.values():
        fitted = values[members[rows[members]]].astype(float)
        with np.errstate(invalid="ignore"):  # features that were never measured are NaN throughout
            spread = _spread(fitted, method)
            kept &= spread > _SPREAD_FLOOR * np.abs(fitted).max(0)
            kept &= spread > _SHARE_FLOOR * overall
    return kept


def _independent(reference):
    """Features with a spread of their own, beyond what a sum of the others has.

    Embeddings hold some that do not: layer normalisation fixes the sum of each channel's.
    """
    from scipy.linalg import qr

    scaled = (reference - reference.mean(0, dtype=float)) / reference.std(0, dtype=float)
    upper, order = qr(scaled, mode="r", pivoting=True, check_finite=False)
    own = np.zeros(reference.shape[1])
    diagonal = np.abs(np.diag(upper)) / np.sqrt(len(reference))
    own[order[: len(diagonal)]] = diagonal
    return own > _SHARE_FLOOR


def _pycytominer(values, reference, method):
    """Features of one plate through pycytominer's normalisation."""
    with warnings.catch_warnings():
        # It sets an option of pandas that pandas 3 deprecates, and would say so on every page.
        warnings.simplefilter("ignore")
        import pycytominer
    names = [f"f{i}" for i in range(values.shape[1])]
    frame = pd.DataFrame(values, columns=names)
    frame.insert(0, "Metadata_reference", reference)
    made = pycytominer.normalize(
        frame,
        features=names,
        meta_features=["Metadata_reference"],
        samples="Metadata_reference",
        method=method,
        # Features of zero spread are gone already: an epsilon would only bend the others.
        mad_robustize_epsilon=0.0,
        spherize_method="ZCA-cor",
    )
    made = made[names].to_numpy(float)
    if method == "spherize" and made.std(0).max() > 1 / _SHARE_FLOOR:
        raise ValueError(
            "spherize: along some direction the reference varies less than a thousandth of what "
            "all profiles do, which whitening would blow up. Give more reference profiles, or use "
            "norm_method='standardize' or profiles.tvn, which regularises."
        )
    return made
