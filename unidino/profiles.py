"""From site embeddings to profiles: aggregation, normalisation, TVN, consensus."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from . import tables

NORM_METHODS = ("standardize", "mad_robustize", "robustize", "spherize", "no_post_proc")
OPERATIONS = ("mean", "median")

LEAST_REFERENCE = 4
"""Reference wells on a plate below which its spread cannot be estimated at all."""

FEW_REFERENCE = 16
"""Reference wells below which a standard deviation is uncertain by more than a sixth."""

# A spread below this share of a feature's magnitude is rounding of float32, not biology.
_SPREAD_FLOOR = 1e-5


def aggregate(sites, by, operation="mean"):
    """One profile a group: the mean or median of its sites' features.

    Sites with ``Metadata_status`` failed are left out; those without foreground ("empty") count
    only where a group has nothing else. A group whose every site failed keeps its row, features
    missing.

    Parameters
    ----------
    sites : pd.DataFrame
        Metadata columns and features.
    by : list of str
        Columns that name a group, bare or with ``Metadata_``.
    operation : {"mean", "median"}

    Returns
    -------
    pd.DataFrame
        One row a group, in the order of their first sites: metadata that is constant within every
        group, ``Metadata_sites`` (how many were averaged), features.

    Raises
    ------
    ValueError
        Another operation, or a column that does not exist.
    """
    if operation not in OPERATIONS:
        raise ValueError(f"operation {operation!r} is not one of {', '.join(OPERATIONS)}.")
    keys = [tables.find_column(sites, name) for name in by]
    features = tables.feature_columns(sites)
    group = sites.groupby(keys, sort=False, dropna=False).ngroup().to_numpy()
    count = group.max() + 1 if len(group) else 0
    usable = np.ones(len(sites), bool)
    if "Metadata_status" in sites.columns:
        status = sites["Metadata_status"].to_numpy()
        ok = status == "ok"
        has_ok = np.bincount(group[ok], minlength=count) > 0
        usable = ok | ((status == "empty") & ~has_ok[group])
    values = sites.loc[usable, features].groupby(group[usable]).agg(operation)
    values = values.reindex(range(count)).reset_index(drop=True)
    described = _constant_metadata(sites[tables.metadata_columns(sites)], group, keys)
    described["Metadata_sites"] = np.bincount(group[usable], minlength=count)
    return pd.concat([described, values], axis=1)


def _constant_metadata(metadata, group, keys):
    """First value of each column in each group; columns that vary within a group are left out."""
    grouped = metadata.groupby(group, sort=True)
    first = grouped.nth(0)
    first.index = group[first.index.map(metadata.index.get_loc)] if len(first) else first.index
    first = first.sort_index()
    varies = [
        column
        for column in metadata.columns
        if column not in keys and (grouped[column].nunique(dropna=False) > 1).any()
    ]
    return first.drop(columns=varies).reset_index(drop=True)


@dataclass
class Normalised:
    """Normalised profiles and how they came about.

    Attributes
    ----------
    profiles : pd.DataFrame
    reference_used : str
        What the fit rests on, in words.
    dropped_features : list of str
        Features without spread on at least one plate.
    warnings : list of str
    """

    profiles: pd.DataFrame
    reference_used: str
    dropped_features: list = field(default_factory=list)
    warnings: list = field(default_factory=list)


def _reference_rows(profiles, reference):
    """(rows that the fit rests on, in words)."""
    if reference == "all":
        return np.ones(len(profiles), bool), "all profiles"
    if reference == "negcon":
        try:
            kinds = profiles[tables.find_column(profiles, "control_type")]
        except ValueError:
            kinds = pd.Series(None, profiles.index, dtype=object)
        rows = (kinds == "negcon").to_numpy()
        if not rows.any():
            return np.ones(len(profiles), bool), "all profiles (the dataset names no controls)"
        return rows, "negative controls"
    try:
        chosen = profiles.query(reference).index
    except Exception as error:  # a query is an expression: it can fail in any way
        raise ValueError(
            f"reference {reference!r} is neither negcon, all nor a query on the profiles ({error})."
        ) from None
    rows = profiles.index.isin(chosen)
    if not rows.any():
        raise ValueError(f"reference {reference!r} matches no profile.")
    return rows, f"profiles where {reference}"


def _spread(values, method):
    """Spread of each feature as the method measures it, and its magnitude."""
    if method == "standardize":
        spread = values.std(0)
    elif method == "mad_robustize":
        spread = np.median(np.abs(values - np.median(values, 0)), 0)
    else:
        spread = np.subtract(*np.percentile(values, [75, 25], axis=0))
    return spread, np.abs(values).max(0)


def normalise(profiles, norm_method="standardize", reference="negcon", *, by=()):
    """Normalise features against reference profiles, plate by plate; pycytominer does the sums.

    Parameters
    ----------
    profiles : pd.DataFrame
        One row a well (or site, or image).
    norm_method : {"standardize", "mad_robustize", "robustize", "spherize", "no_post_proc"}
        Mean and standard deviation; median and MAD; median and interquartile range; whitening;
        nothing. spherize is fitted once, over all plates.
    reference : str
        "negcon", "all" (as the release), or a pandas query.
    by : list of str
        Columns that name a plate; empty for one normalisation over the set.

    Returns
    -------
    Normalised
        Profiles with missing features are kept, and left out of every fit.

    Raises
    ------
    ValueError
        Fewer than 4 reference profiles on a plate, for spherize no more than there are features;
        a reference that matches nothing.
    """
    if norm_method not in NORM_METHODS:
        raise ValueError(f"norm_method {norm_method!r} is not one of {', '.join(NORM_METHODS)}.")
    if norm_method == "no_post_proc":
        return Normalised(profiles, "none")
    profiles = profiles.reset_index(drop=True)
    features = tables.feature_columns(profiles)
    if not features:
        raise ValueError("the table has no features: no column is named emb…, Cells_, Nuclei_ …")
    complete = np.isfinite(profiles[features].to_numpy(float)).all(1)
    rows, words = _reference_rows(profiles, reference)
    rows = rows & complete
    keys = [tables.find_column(profiles, name) for name in by]
    if norm_method == "spherize" or not keys:
        groups = {(): np.arange(len(profiles))}
    else:
        groups = profiles.groupby(keys, sort=False, dropna=False).indices
    warnings = _check_reference(groups, rows, words, reference)
    values = profiles[features].to_numpy(float)
    flat = np.zeros(len(features), bool)
    if norm_method != "spherize":
        for members in groups.values():
            spread, magnitude = _spread(values[members[rows[members]]], norm_method)
            flat |= ~(spread > _SPREAD_FLOOR * magnitude)
    else:
        spread, magnitude = _spread(values[rows], "standardize")
        flat = ~(spread > _SPREAD_FLOOR * magnitude)
    dropped = [name for name, is_flat in zip(features, flat, strict=True) if is_flat]
    kept = [name for name, is_flat in zip(features, flat, strict=True) if not is_flat]
    if not kept:
        raise ValueError(
            f"no feature varies among the reference ({words}): are the images constant, or the "
            "reference wells copies of each other?"
        )
    if norm_method == "spherize" and rows.sum() <= len(kept):
        raise ValueError(
            f"spherize needs more reference profiles ({words}: {int(rows.sum())}) than features "
            f"({len(kept)}); with fewer, everything else looks active. Use reference='all', or "
            "norm_method='standardize'."
        )
    if dropped:
        warnings.append(
            f"{len(dropped)} of {len(features)} features have no spread among the reference and "
            "are dropped."
        )
    normalised = np.full((len(profiles), len(kept)), np.nan)
    for members in groups.values():
        fit = members[complete[members]]
        normalised[fit] = _pycytominer(values[np.ix_(fit, ~flat)], rows[fit], norm_method)
    table = pd.DataFrame(normalised.astype(np.float32), columns=kept)
    metadata = profiles[tables.metadata_columns(profiles)]
    return Normalised(pd.concat([metadata, table], axis=1), words, dropped, warnings)


def _check_reference(groups, rows, words, reference):
    """Warnings on few reference profiles; stops on too few."""
    counts = {key: int(rows[members].sum()) for key, members in groups.items()}
    names = {key: " ".join(map(str, key)) if isinstance(key, tuple) else str(key) for key in counts}
    lacking = [key for key, count in counts.items() if count < LEAST_REFERENCE]
    if lacking:
        shown = ", ".join(f"{names[key] or 'the set'} ({counts[key]})" for key in lacking[:5])
        remedy = (
            "Name more controls (control_type, controls), use reference='all'"
            if reference != "all"
            else "Normalise plates with more profiles"
        )
        raise ValueError(
            f"{len(lacking)} plates have fewer than {LEAST_REFERENCE} readable reference profiles "
            f"({words}): {shown}. {remedy}, or norm_method='no_post_proc'."
        )
    few = [count for count in counts.values() if count < FEW_REFERENCE]
    if not few:
        return []
    return [
        f"{len(few)} of {len(counts)} plates have fewer than {FEW_REFERENCE} reference profiles "
        f"({words}; the fewest: {min(few)}), so the spread of a feature is uncertain by about "
        f"{1 / np.sqrt(2 * (min(few) - 1)):.0%}."
    ]


def _pycytominer(values, reference, method):
    """Features of one plate through pycytominer's normalisation."""
    import pycytominer

    names = [f"f{i}" for i in range(values.shape[1])]
    frame = pd.DataFrame(values, columns=names)
    frame.insert(0, "Metadata_reference", reference)
    # Zero-spread features are gone already, so the epsilon that guards the MAD is not needed.
    made = pycytominer.normalize(
        frame,
        features=names,
        meta_features=["Metadata_reference"],
        samples="Metadata_reference",
        method=method,
        mad_robustize_epsilon=0.0,
        spherize_method="ZCA-cor",
    )
    return made[names].to_numpy(float)


def consensus(profiles, by, operation="median"):
    """One profile a treatment: the mean or median of its replicates; see `aggregate`."""
    made = aggregate(profiles.drop(columns="Metadata_sites", errors="ignore"), by, operation)
    return made.rename(columns={"Metadata_sites": "Metadata_replicates"})


def _root(covariance, power):
    """Symmetric matrix power by its eigenvectors."""
    eigenvalues, vectors = np.linalg.eigh(covariance)
    return (vectors * np.maximum(eigenvalues, np.finfo(float).tiny) ** power) @ vectors.T


def tvn(profiles, controls, batch="batch", regularisation=1.0):
    """Typical variation normalisation: whiten on the controls, then align the batches' controls.

    Parameters
    ----------
    profiles : pd.DataFrame
    controls : array of bool
        Rows of the negative controls.
    batch : str
        Column whose batches are aligned (CORAL), bare or with ``Metadata_``.
    regularisation : float
        Added to the variances before whitening, and to covariances before their roots.

    Returns
    -------
    pd.DataFrame
        The same rows and columns.

    Raises
    ------
    ValueError
        Fewer than two controls in a batch; missing features.

    Source: Ando, McLean and Berndl 2017 (doi 10.1101/161422); Sun and Saenko 2016 (Deep CORAL,
    arXiv:1607.01719); regulariser 1.0 and the order of steps as the released uniDINO code.
    """
    features = tables.feature_columns(profiles)
    values = profiles[features].to_numpy(float)
    if not np.isfinite(values).all():
        lost = int((~np.isfinite(values)).any(1).sum())
        raise ValueError(f"tvn: {lost} profiles have missing features; remove them first.")
    controls = np.asarray(controls, bool)
    batches = profiles[tables.find_column(profiles, batch)].to_numpy()
    counts = pd.Series(controls).groupby(batches).sum()
    if (counts < 2).any():
        raise ValueError(
            f"tvn: {', '.join(map(str, counts[counts < 2].index[:5]))} of {batch} has fewer than "
            "two controls; every batch needs some to be aligned by."
        )
    centred = values - values[controls].mean(0)
    whitened = centred @ _whitening(centred[controls], regularisation)
    colour = _root(_second_moment(whitened[controls], regularisation), 0.5)
    for name in counts.index:
        here = batches == name
        own = _second_moment(whitened[here & controls], regularisation)
        whitened[here] = whitened[here] @ _root(own, -0.5) @ colour
    return pd.concat(
        [
            profiles.drop(columns=features),
            pd.DataFrame(whitened, columns=features, index=profiles.index),
        ],
        axis=1,
    )[list(profiles.columns)]


def _second_moment(values, regularisation):
    """Mean outer product about the pooled centre, so that a batch's shift counts as its spread."""
    return values.T @ values / len(values) + regularisation * np.eye(values.shape[1])


def _whitening(centred, regularisation):
    """PCA whitening of the controls, variances regularised."""
    eigenvalues, vectors = np.linalg.eigh(centred.T @ centred / len(centred))
    return vectors / np.sqrt(np.maximum(eigenvalues, 0) + regularisation)
