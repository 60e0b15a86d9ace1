"""Alleles of genes in two batches of one layout: what features know, and what the place gives."""

import numpy as np
import pandas as pd

from .. import tables, wells
from ..profiles.aggregation import consensus
from . import baselines, bootstrap, neighbours, permutation


def merged(profiles):
    """One profile an allele and batch, the mean of its wells, and where these lie.

    Parameters
    ----------
    profiles : pd.DataFrame
        Well profiles with batch, well, gene and allele.

    Returns
    -------
    pd.DataFrame
        As of `consensus`, with Metadata_row and Metadata_column (means over the wells, counted
        from 1).

    Raises
    ------
    ValueError
        As `wells.positions`.
    """
    places = wells.positions(profiles[tables.find_column(profiles, "well")])
    keys = [tables.find_column(profiles, name) for name in ("allele", "batch")]
    means = places[["row", "column"]].groupby([profiles[key].to_numpy() for key in keys]).mean()
    made = consensus(profiles, keys, "mean")
    where = means.loc[list(made[keys].itertuples(index=False, name=None))].reset_index(drop=True)
    return pd.concat([where.add_prefix("Metadata_"), made], axis=1)


def place(alleles, within=None):
    """The metadata of `merged` beside the row and the column: nothing but the place.

    They are compared by their Euclidean distance, in wells.

    Parameters
    ----------
    alleles : pd.DataFrame
        Of `merged`.
    within : str, optional
        Column, such as the source plate, whose profiles are nearer than all others: where plates
        of 96 wells are interleaved on one of 384, next to a well stand those of another plate.

    Returns
    -------
    pd.DataFrame
    """
    values = alleles[["Metadata_row", "Metadata_column"]].set_axis(["emb0", "emb1"], axis=1)
    values = values.astype(float)
    if within is not None:
        codes, names = pd.factorize(alleles[tables.find_column(alleles, within)])
        # Further apart than any two wells of a plate.
        apart = np.eye(len(names))[codes] * 100
        values = values.assign(**{f"emb{2 + i}": apart[:, i] for i in range(len(names))})
    return baselines.described(alleles, values)


def nearest(alleles, label, batch, *, apart=None, metric="cosine"):
    """How often an allele of one batch has its like nearest among the profiles of the others.

    Parameters
    ----------
    alleles : pd.DataFrame
        Of `merged`, or of `place` with the metric euclidean.
    label : {"allele", "gene"}
        What the nearest has to share; for genes another allele, as its own is barred.
    batch : str
        Whose alleles are asked about.
    apart : float, optional
        Profiles whose place on the plate is no more than so many wells away, in rows and in
        columns, are barred.
    metric : str
        As of `nearest_neighbour_accuracy`.

    Returns
    -------
    neighbours.Accuracy

    Raises
    ------
    ValueError
        A batch without profiles; as `nearest_neighbour_accuracy`.
    """
    batches = alleles[tables.find_column(alleles, "batch")]
    own = (batches == batch).to_numpy()
    if not own.any():
        raise ValueError(
            f"no profile is of the batch {batch!r}; there are {', '.join(sorted(set(batches)))}."
        )
    allowed = own[:, None] & ~own
    if apart is not None:
        where = alleles[["Metadata_row", "Metadata_column"]].to_numpy(float)
        allowed &= np.abs(where[:, None] - where).max(2) > apart
    exclude = [] if label == "allele" else ["allele"]
    return neighbours.nearest_neighbour_accuracy(alleles, label, exclude, metric, allowed=allowed)


def scores(alleles, label, batch, name, *, apart=None, within=None, draws=2000, seed=0):
    """`nearest` of the features and of the place alone, beside exchanged labels.

    Parameters
    ----------
    alleles : pd.DataFrame
        Of `merged`.
    label, batch, apart
        As of `nearest`.
    name : str
        Of the question, as in figures.
    within : str, optional
        Column within which labels of alleles are exchanged, such as the source plate; the place is
        then asked for within it, too.
    draws, seed : int
        Of the bootstrap, which resamples genes, and of the exchanges.

    Returns
    -------
    pd.DataFrame
        One row a feature set ("CellProfiler", "place alone", with `within` "place, same …", and for
        genes "labels exchanged"): features, level, accuracy (`name`), value, low, high (95 %: of
        the bootstrap; of the exchanges), macro (mean over the labels), correct, n.
    """
    rows = []
    described = [("CellProfiler", alleles, "cosine"), ("place alone", place(alleles), "euclidean")]
    if within is not None:
        named = f"place, same {within.replace('_', ' ')}"
        described.append((named, place(alleles, within), "euclidean"))
    for features, profiles, metric in described:
        made = nearest(profiles, label, batch, apart=apart, metric=metric)
        low, high = bootstrap.bootstrap_interval(made, profiles, "gene", draws=draws, seed=seed)
        scored = {"value": float(made), "low": low, "high": high, "macro": made.macro}
        rows.append({"features": features, **scored, "correct": made.correct, "n": made.n})
        if features == "CellProfiler" and label == "gene":
            null = permutation.permutation_null(
                made, profiles, "allele", within=within, draws=draws, seed=seed
            )
            exchanged = {"value": null["null"], "low": null["null_low"], "high": null["null_high"]}
            exchanged |= {"macro": np.nan, "correct": null["null"] * made.n, "n": made.n}
    if label == "gene":
        rows.append({"features": "labels exchanged", **exchanged})
    table = pd.DataFrame(rows)
    table.insert(1, "level", "allele")
    table.insert(2, "accuracy", name)
    return table
