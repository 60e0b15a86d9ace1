"""From site embeddings to profiles: aggregation, consensus, and the names of what follows them."""

import numpy as np
import pandas as pd

from .. import quality, tables

OPERATIONS = ("mean", "median")

STATUSES = ("ok", "empty", "failed")
"""What can become of a site, the best first."""

# Columns of one step: wide enough to be quick, narrow enough that a large table is not copied.
_STEP = 256


def aggregate(sites, by=None, operation="mean"):
    """One profile a group: the mean or median of its sites' features.

    Sites with ``Metadata_status`` failed are left out, and so are sites of which every feature is
    missing; those without foreground ("empty") count only where a group has nothing else. A group
    of which nothing could be read keeps its row, features missing. A feature that some of the
    sites lack is averaged over the others.

    Parameters
    ----------
    sites : pd.DataFrame
        Metadata columns and features, one row a site.
    by : list of str, optional
        Columns that name a group, bare or with ``Metadata_``; source, batch, plate and well by
        default, as far as there are.
    operation : {"mean", "median"}

    Returns
    -------
    pd.DataFrame
        One row a group, in the order of their first sites: metadata that is constant within
        groups (missing in the groups in which it is not; left out if these are half of those that
        have several rows), ``Metadata_sites`` (how many were averaged), the measures of quality
        (means over the sites that were read, empty ones too), features in the precision they came
        in.
        Where there is a ``Metadata_status``, that of a group is the best of its sites', and
        ``Metadata_sites_empty`` and ``Metadata_sites_failed`` count the others.

    Raises
    ------
    ValueError
        Another operation or status, a column that does not exist, a table without rows or features.
    """
    if by is None:
        by = tables.key_columns(sites, tables.WELL_KEY)
        if not tables.key_columns(sites, ["well"]):
            raise ValueError("the table has no column well: name the columns of a group with `by`.")
    return _aggregate(sites, by, operation, "Metadata_sites")


def consensus(profiles, by, operation="median"):
    """One profile a treatment: the mean or median of its replicates.

    Parameters
    ----------
    profiles : pd.DataFrame
        One row a well.
    by : list of str
        Columns that name a treatment, such as compound and concentration.
    operation : {"mean", "median"}

    Returns
    -------
    pd.DataFrame
        As of `aggregate`, counting ``Metadata_replicates`` in the place of sites.

    Raises
    ------
    ValueError
        As `aggregate`.
    """
    counted = [c for c in profiles.columns if str(c).startswith("Metadata_sites")]
    return _aggregate(profiles.drop(columns=counted), by, operation, "Metadata_replicates")


def _aggregate(frame, by, operation, counted):
    """`aggregate`, the counts in columns that begin with `counted`."""
    if operation not in OPERATIONS:
        raise ValueError(f"operation {operation!r} is not one of {', '.join(OPERATIONS)}.")
    by = [by] if isinstance(by, str) else list(by)
    if not by:
        raise ValueError("`by` names no column: what is a group?")
    keys = [tables.find_column(frame, name) for name in by]
    features = tables.feature_columns(frame)
    if not features:
        raise ValueError("the table has no features: no column is named emb…, Cells_, Nuclei_ …")
    if not len(frame):
        raise ValueError("the table has no rows; there is nothing to aggregate.")
    group = frame.groupby(keys, sort=False, dropna=False).ngroup().to_numpy()
    count = group.max() + 1
    usable, summary = _usable(frame, features, group, count, counted)
    measures = [c for c in quality.columns(frame) if c not in keys]
    metadata = [c for c in tables.metadata_columns(frame) if c not in {*summary, *measures}]
    described = _constant(frame[metadata], group, keys).assign(**summary)
    # A site that could not be read has no measures: a mean passes over it.
    measured = _reduce(frame, measures, np.ones(len(frame), bool), group, count, "mean")
    values = _reduce(frame, features, usable, group, count, operation)
    return pd.concat([described, measured, values], axis=1)


def _usable(frame, features, group, count, counted):
    """(rows that count, columns that say how many did and why others did not)."""
    read = ~_all_missing(frame, features)
    if "Metadata_status" not in frame.columns:
        return read, {counted: np.bincount(group[read], minlength=count)}
    status = frame["Metadata_status"].to_numpy(object)
    unknown = set(status) - set(STATUSES)
    if unknown:
        raise ValueError(
            f"Metadata_status holds {sorted(map(str, unknown))[0]!r}; a site's status is "
            f"{', '.join(STATUSES[:-1])} or {STATUSES[-1]}."
        )
    failed = (status == "failed") | ~read
    empty = (status == "empty") & ~failed
    ok = ~failed & ~empty
    has_ok = np.bincount(group[ok], minlength=count) > 0
    usable = ok | (empty & ~has_ok[group])
    used = np.bincount(group[usable], minlength=count)
    return usable, {
        "Metadata_status": np.where(has_ok, "ok", np.where(used > 0, "empty", "failed")),
        counted: used,
        f"{counted}_empty": np.bincount(group[empty], minlength=count),
        f"{counted}_failed": np.bincount(group[failed], minlength=count),
    }


def _all_missing(frame, features):
    """Rows without a single feature."""
    missing = frame[features[0]].isna().to_numpy(copy=True)
    # Looked at closely only where the first feature is missing: the table may be large.
    missing[missing] = frame.loc[missing, features].isna().all(axis=1)
    return missing


def _constant(metadata, group, keys):
    """The value of each column in each group.

    Missing in the groups in which it varies; a column that varies in half of them is left out.
    """
    first = np.unique(group, return_index=True)[1]
    several = np.count_nonzero(np.bincount(group) > 1)
    constant = {}
    for column in metadata.columns:
        codes = pd.factorize(metadata[column].map(_hashable))[0]
        # A missing value is -1, a value like any other here.
        varying = np.unique(group[codes != codes[first[group]]])
        if column in keys or 2 * len(varying) < max(several, 1):
            values = metadata[column].iloc[first].reset_index(drop=True)
            constant[column] = values.where(~values.index.isin(varying)) if len(varying) else values
    return pd.DataFrame(constant)


def _hashable(value):
    return tuple(value) if isinstance(value, list) else value


def _reduce(frame, features, usable, group, count, operation):
    """Those columns of each group, missing where it has no usable row."""
    group = group[usable]
    order = np.argsort(group, kind="stable")
    present, starts = np.unique(group[order], return_index=True)
    rows = np.flatnonzero(usable)[order]
    parts = []
    for start in range(0, len(features), _STEP):
        names = features[start : start + _STEP]
        block = frame[names]
        kind = np.result_type(*block.dtypes)
        values = block.to_numpy(float)[rows]
        if not len(present):
            reduced = values
        elif operation == "mean":
            reduced = _mean(values, starts)
        else:
            reduced = pd.DataFrame(values).groupby(group[order]).median().to_numpy()
        made = np.full((count, len(names)), np.nan, np.float32 if kind == np.float32 else float)
        made[present] = reduced
        parts.append(pd.DataFrame(made, columns=names))
    return pd.concat(parts, axis=1) if parts else pd.DataFrame(index=range(count))


def _mean(values, starts):
    """Means of runs of rows, over what is not missing."""
    missing = np.isnan(values)
    if missing.any():
        counts = np.add.reduceat(~missing, starts, dtype=float)
        values = np.where(missing, 0, values)
    else:
        counts = np.diff(np.append(starts, len(values)))[:, None]
    sums = np.add.reduceat(values, starts)
    return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
