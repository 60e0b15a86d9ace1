"""Typical variation normalisation: what the controls vary by, taken out of every profile."""

import numpy as np
import pandas as pd

from .. import tables
from .reference import LEAST_REFERENCE, reference_rows


def tvn(profiles, controls="negcon", batch="batch", regularisation=1.0):
    """Whiten profiles on the pooled controls, then align the controls of every batch (CORAL).

    With one batch, or where batches are no matter, the second step changes nothing but rounding.

    Parameters
    ----------
    profiles : pd.DataFrame
        One row a profile; features as they are to be compared: the regulariser has their squared
        unit, so raw and normalised features give different results.
    controls : str or array of bool
        Rows of the negative controls: "negcon" (control_type), a query, or one value a row.
    batch : str
        Column whose batches are aligned, bare or with ``Metadata_``.
    regularisation : float
        Added to the variances before whitening, and to covariances before their roots; above 0.

    Returns
    -------
    pd.DataFrame
        The same rows and columns.

    Raises
    ------
    ValueError
        Fewer than 4 controls in a batch, profiles without a batch, missing features, a wrong
        number of controls, a regulariser that is not above 0.

    Source: Ando, McLean and Berndl 2017 (doi 10.1101/161422); Sun and Saenko 2016 (Deep CORAL,
    arXiv:1607.01719); regulariser 1.0 and the order of steps as the released uniDINO code.
    """
    if not regularisation > 0:
        raise ValueError(
            f"tvn: regularisation is {regularisation}; it must be above 0 (published: 1.0)."
        )
    features = tables.feature_columns(profiles)
    if not features:
        raise ValueError("tvn: the table has no features: no column is named emb…, Cells_ …")
    values = profiles[features].to_numpy(float, copy=True)
    lost = ~np.isfinite(values).all(1)
    if lost.any():
        raise ValueError(
            f"tvn: {int(lost.sum())} profiles have missing or infinite features, the first is row "
            f"{int(lost.argmax())}; remove them, or the features, first."
        )
    controls = _controls(profiles, controls)
    groups = _batches(profiles, batch, controls)
    values -= values[controls].mean(0)
    values = values @ _whitening(values[controls], regularisation)
    colour = _root(_second_moment(values[controls], regularisation), 0.5)
    for here in groups.values():
        own = _second_moment(values[here[controls[here]]], regularisation)
        values[here] = values[here] @ (_root(own, -0.5) @ colour)
    made = pd.DataFrame(values, columns=features, index=profiles.index)
    return pd.concat([profiles.drop(columns=features), made], axis=1)[list(profiles.columns)]


def _controls(profiles, controls):
    """One boolean a row."""
    if isinstance(controls, str):
        rows, words = reference_rows(profiles, controls)
        if controls == "negcon" and words != "negative controls":
            raise ValueError(
                "tvn: the table names no negative controls (control_type 'negcon'); give them as "
                "`controls`, a query or one boolean a row."
            )
        return rows
    rows = np.asarray(controls)
    if rows.dtype != bool or rows.shape != (len(profiles),):
        raise ValueError(
            f"tvn: controls has shape {rows.shape} and type {rows.dtype}; expected one boolean for "
            f"each of the {len(profiles)} profiles."
        )
    return rows


def _batches(profiles, batch, controls):
    """{batch: its rows}, each with enough controls."""
    names = profiles[tables.find_column(profiles, batch)]
    if names.isna().any():
        raise ValueError(
            f"tvn: {int(names.isna().sum())} profiles have no {batch}, the first is row "
            f"{int(names.isna().to_numpy().argmax())}; every profile needs one to be aligned with."
        )
    groups = {name: np.asarray(rows) for name, rows in names.groupby(names).indices.items()}
    few = [name for name, rows in groups.items() if controls[rows].sum() < LEAST_REFERENCE]
    if few:
        shown = ", ".join(f"{name} ({int(controls[groups[name]].sum())})" for name in few[:5])
        raise ValueError(
            f"tvn: {len(few)} of {len(groups)} batches have fewer than {LEAST_REFERENCE} controls "
            f"({batch}: {shown}); leave these batches out, or align by a coarser column."
        )
    return groups


def _root(covariance, power):
    """Symmetric matrix power by eigenvectors: scipy's sqrtm stalls on ill-conditioned matrices."""
    eigenvalues, vectors = np.linalg.eigh(covariance)
    return (vectors * np.maximum(eigenvalues, np.finfo(float).tiny) ** power) @ vectors.T


def _second_moment(values, regularisation):
    """Mean outer product about the pooled centre, so that a batch's shift counts as its spread."""
    return values.T @ values / len(values) + regularisation * np.eye(values.shape[1])


def _whitening(centred, regularisation):
    """PCA whitening of the controls, variances regularised."""
    eigenvalues, vectors = np.linalg.eigh(centred.T @ centred / len(centred))
    return vectors / np.sqrt(np.maximum(eigenvalues, 0) + regularisation)
