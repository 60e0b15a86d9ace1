"""From site embeddings to profiles: aggregation, consensus, and the names of what follows them."""

import sys
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd

from .. import arguments, quality, tables
from ..progress import one_line, say
from . import parts

OPERATIONS = ("mean", "median")

STATUSES = ("ok", "empty", "failed")
"""What can become of a site, the best first."""

# Values of one step, as many columns as hold about so many (some hundred MB at most, counting the
# copies that sorting and medians make): wide enough to be quick, and a large table is not copied.
_VALUES = 2**23


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
    table = parts.Held(sites)
    return _aggregate(table, _well(table) if by is None else by, operation, "Metadata_sites")


def aggregate_file(paths, by=None, operation="mean"):
    """One profile a group of a table that need not fit into memory.

    Held are the columns that are no features, the profiles that are made, and of the features some
    at a time; of a table in several files, such as those of an extraction's ``sites`` folder, one
    file after another where each holds whole groups.

    Parameters
    ----------
    paths : str, Path or list of them
        Parquet files of one table; a folder stands for all below it.
    by, operation
        As of `aggregate`.

    Returns
    -------
    pd.DataFrame
        What `aggregate` makes of the table.

    Raises
    ------
    FileNotFoundError, ValueError
        As `aggregate`; a file that is missing, no Parquet, or damaged, features that are no
        numbers, or not those of the other files: names file and column, before features are read.
    """
    table = parts.Stored(paths)
    return _aggregate(table, _well(table) if by is None else by, operation, "Metadata_sites")


def write_wells(
    sites: str,
    wells: str,
    /,
    by: str | list | None = None,
    operation: str = "mean",
):
    """Profiles of the wells of a table of sites of any size, from Parquet to Parquet.

    Parameters
    ----------
    sites : str
        A .parquet file, or a folder of them.
    wells : str
        The .parquet file to write; it must not exist.
    by : str or list
        Columns that name a group, separated by commas, such as Metadata_Plate,Metadata_Well; by
        default source, batch, plate and well, as far as there are.
    operation : {"mean", "median"}
        Of the sites of a well.

    Returns
    -------
    Path
        Of the profiles, with how they were made: what all files of sites tell alike, and this.

    Raises
    ------
    FileExistsError
        There is a file at `wells`.
    FileNotFoundError, TypeError, ValueError, OSError
        As `aggregate_file`; parameters of another type; a file that cannot be written.
    """
    arguments.check_types({"by": by, "operation": operation}, write_wells)
    path = Path(wells)
    if path.suffix != ".parquet":
        raise ValueError(f"{path.name} is no .parquet file: profiles are written as one.")
    if path.exists():
        raise FileExistsError(f"{path} is there already: delete it, or give another name.")
    by = [name.strip() for name in by.split(",")] if isinstance(by, str) else by
    made = aggregate_file(sites, by, operation)
    told = [tables.read_provenance(file) for file in parts.find_files(sites)]
    shared = {k: v for k, v in told[0].items() if all(k in one and one[k] == v for one in told)}
    provenance = shared | {"operation": operation, "norm_method": "no_post_proc", "l2norm": False}
    tables.write_table(made, path, provenance)
    say(f"{path.name}: {len(made)} profiles of {len(tables.feature_columns(made))} features")
    return path


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
    table = parts.Held(profiles.drop(columns=counted))
    return _aggregate(table, by, operation, "Metadata_replicates")


def _aggregate(table, by, operation, counted):
    """`aggregate` of a table of `parts`, the counts in columns that begin with `counted`."""
    keys = _keys(table, by, operation)
    labels = table.labels()
    if not len(labels):
        raise ValueError("the table has no rows; there is nothing to aggregate.")
    group = labels.groupby(keys, sort=False, dropna=False).ngroup().to_numpy()
    count = group.max() + 1
    pieces = table.parts(group)
    usable, summary = _usable(labels, table.features, pieces, group, count, counted)
    measures = [c for c in quality.columns(labels) if c not in keys]
    metadata = [c for c in labels.columns if c not in {*summary, *measures}]
    described = _constant(labels[metadata], group, keys).assign(**summary)
    # A site that could not be read has no measures: a mean passes over it.
    every = np.ones(len(labels), bool)
    single = (labels.dtypes[measures] == np.float32).tolist()
    measured = _reduce(labels.__getitem__, measures, single, every, group, count, "mean")
    del labels  # as large as the table is long
    values = []
    for piece in pieces:
        own = group[piece.rows] - group[piece.rows].min()
        rows, present = usable[piece.rows], own.max() + 1
        with piece.opened() as read:
            values.append(
                _reduce(read, table.features, table.single, rows, own, present, operation)
            )
    values = values[0] if len(values) == 1 else pd.concat(values, ignore_index=True)
    return pd.concat([described, measured, values], axis=1)


def _well(table):
    """The columns that name a well."""
    if not tables.key_columns(table.names, ["well"]):
        raise ValueError("the table has no column well: name the columns of a group with `by`.")
    return tables.key_columns(table.names, tables.WELL_KEY)


def _keys(table, by, operation):
    """The columns that name a group, once all is checked that can be without rows."""
    if operation not in OPERATIONS:
        raise ValueError(f"operation {operation!r} is not one of {', '.join(OPERATIONS)}.")
    by = [by] if isinstance(by, str) else list(by)
    if not by:
        raise ValueError("`by` names no column: what is a group?")
    keys = [tables.find_column(table.names, name) for name in by]
    if not table.features:
        raise ValueError("the table has no features: no column is named emb…, Cells_, Nuclei_ …")
    return keys


def _usable(labels, features, pieces, group, count, counted):
    """(rows that count, columns that say how many did and why others did not)."""
    if "Metadata_status" not in labels.columns:
        read = ~_all_missing(features, pieces, np.ones(len(labels), bool))
        return read, {counted: np.bincount(group[read], minlength=count)}
    status = labels["Metadata_status"].to_numpy(object)
    unknown = set(status) - set(STATUSES)
    if unknown:
        raise ValueError(
            f"Metadata_status holds {sorted(map(str, unknown))[0]!r}; a site's status is "
            f"{', '.join(STATUSES[:-1])} or {STATUSES[-1]}."
        )
    failed = status == "failed"
    failed |= _all_missing(features, pieces, ~failed)
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


def _all_missing(features, pieces, rows):
    """Those of the rows, (N,) bool, that lack every feature."""
    missing = rows.copy()
    for piece in pieces:
        mine = missing[piece.rows]
        with piece.opened() as read:
            # The second feature is looked at only where the first is missing: often nowhere.
            for names in chain([features[:1]], _steps(features[1:], len(mine))):
                if not mine.any():
                    break
                mine[mine] = read(names)[mine].isna().all(axis=1)
    return missing


def _steps(columns, rows):
    """So many of the columns at a time as hold `_VALUES` in those rows."""
    step = max(1, _VALUES // max(rows, 1))
    return (columns[start : start + step] for start in range(0, len(columns), step))


def _constant(metadata, group, keys):
    """The value of each column in each group.

    Missing in the groups in which it varies; a column that varies in half of them is left out.
    """
    first = np.unique(group, return_index=True)[1]
    several = np.count_nonzero(np.bincount(group) > 1)
    constant = {}
    for column in metadata.columns:
        values = metadata[column]
        if values.dtype == object:
            values = values.map(_hashable)
        codes = pd.factorize(values)[0]
        # A missing value is -1, a value like any other here.
        varying = np.unique(group[codes != codes[first[group]]])
        if column in keys or 2 * len(varying) < max(several, 1):
            values = metadata[column].iloc[first].reset_index(drop=True)
            constant[column] = values.where(~values.index.isin(varying)) if len(varying) else values
    return pd.DataFrame(constant)


def _hashable(value):
    """Lists, which Parquet gives back as arrays, as tuples."""
    return tuple(value) if isinstance(value, list | np.ndarray) else value


def _reduce(read, columns, single, usable, group, count, operation):
    """Those columns of each group, missing where it has no usable row."""
    rows = len(group)
    group = group[usable]
    order = np.argsort(group, kind="stable")
    group = group[order]
    present, starts = np.unique(group, return_index=True)
    chosen = np.flatnonzero(usable)[order]
    made = np.full((count, len(columns)), np.nan, np.float32 if all(single) else float)
    done = 0
    for names in _steps(columns, rows):
        values = read(names).to_numpy(float)[chosen]
        if not len(present):
            reduced = values
        elif operation == "mean":
            reduced = _mean(values, starts)
        else:
            reduced = pd.DataFrame(values, copy=False).groupby(group).median().to_numpy()
        made[present, done : done + len(names)] = reduced
        done += len(names)
    frame = pd.DataFrame(made, columns=columns, copy=False)
    if any(single) and not all(single):
        narrow = [name for name, is_single in zip(columns, single, strict=True) if is_single]
        frame = frame.astype(dict.fromkeys(narrow, np.float32))
    return frame


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


def main(argv=None, program="python -m unidino.profiles.aggregation"):
    """The command line of `write_wells`."""
    given = vars(arguments.parser(write_wells, program).parse_args(argv))
    try:
        print(write_wells(given.pop("sites"), given.pop("wells"), **given))
    except (ValueError, TypeError, OSError) as error:
        sys.exit(f"error: {one_line(error)}")


if __name__ == "__main__":
    main()
