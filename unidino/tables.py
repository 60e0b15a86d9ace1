"""Tables in and out: Parquet files that carry their provenance, and the names of their columns."""

import contextlib
import errno
import gzip
import hashlib
import json
import os
import re
import secrets
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

KEYS = ("source", "batch", "plate", "well", "site")
"""Key columns, outermost first; in tables they are Metadata_Source … Metadata_Site."""

PLATE_KEY = KEYS[:3]
"""What names a plate: plate names repeat across batches, and batches across sources."""

WELL_KEY = KEYS[:4]
"""What names a well."""

_PROVENANCE_KEY = b"unidino"
_FEATURE = re.compile(r"emb(_(.+_)?)?\d+$|Cells_|Cytoplasm_|Nuclei_")


_TEMPORARY = ".{}.unidino.tmp"


@contextlib.contextmanager
def atomic_path(path):
    """Give a temporary path beside `path`; rename it into place when the block ends well.

    A killed or failed run leaves no half-written file under the final name, and what stands there
    has reached the disk: the file is synced before it is renamed, the folder afterwards. Temporary
    names are random, so that two machines or containers never share one; see `remove_leftovers`.

    Raises
    ------
    OSError
        A full disk, a folder that may not be written, a file in the place of a folder: names
        `path`, the reason and the remedy.
    """
    path = Path(path)
    temporary = path.with_name(_TEMPORARY.format(secrets.token_hex(8)))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            _sync(temporary)
            os.replace(temporary, path)
            with contextlib.suppress(OSError):  # some network disks sync no folders
                _sync(path.parent)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(path, error) from None


def _sync(path):
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def unwritable(path, error):
    """The OSError that says in one line why `path` cannot be written, and what to do."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        reason, remedy = "the disk is full", "Free some space, or write to another disk"
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        reason, remedy = "the folder may not be written", "Give a folder that may"
    elif error.errno in (errno.ENOTDIR, errno.EEXIST):
        reason, remedy = "a file stands where a folder is wanted", "Move it, or give another folder"
    elif error.errno == errno.EISDIR:
        reason, remedy = "a folder stands in its place", "Move it, or give another name"
    else:
        reason = str(error.strerror or error).split("\n")[0]
        remedy = "Look at the disk, or give another folder"
    return OSError(f"{path} cannot be written: {reason}. {remedy}; then run this again.")


def remove_leftovers(folder):
    """Delete what killed runs left half-written below a folder on which nobody else is at work."""
    for path in Path(folder).rglob(_TEMPORARY.format("*")):
        path.unlink(missing_ok=True)


def sha256_file(path):
    """SHA-256 of a file's bytes, as hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def frame_digest(frame):
    """SHA-256 of a frame's column names and values, independent of its index.

    Lists in cells (paths of the channels) count by their elements.
    """
    digest = hashlib.sha256()
    for column in frame.columns:
        values = frame[column].map(lambda v: "|".join(map(str, v)) if isinstance(v, list) else v)
        digest.update(str(column).encode())
        digest.update(values.to_csv(index=False, header=False).encode())
    return digest.hexdigest()


def write_json(path, content):
    """Write `content` as JSON, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")


def write_table(frame, path, provenance=None):
    """Write a frame as Parquet, atomically, its provenance inside and beside it as JSON.

    Parameters
    ----------
    frame : pd.DataFrame
        The table; its index is not kept.
    path : Path
        Ends in ``.parquet``.
    provenance : dict, optional
        JSON-serialisable; read back by `read_table` as ``frame.attrs["provenance"]``.
    """
    path = Path(path)
    table = pa.Table.from_pandas(frame.reset_index(drop=True), preserve_index=False)
    if provenance is not None:
        write_json(path.with_suffix(".json"), provenance)
        text = json.dumps(provenance, sort_keys=True).encode()
        table = table.replace_schema_metadata({**table.schema.metadata, _PROVENANCE_KEY: text})
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_provenance(path):
    """The provenance inside a Parquet file; an empty dict for files of other software."""
    metadata = pq.read_schema(path).metadata or {}
    return json.loads(metadata.get(_PROVENANCE_KEY, b"{}"))


def read_table(path):
    """Read a table of profiles: Parquet (with provenance) or CSV.

    Returns
    -------
    pd.DataFrame
        ``attrs["provenance"]`` holds what was stored with a Parquet file.

    Raises
    ------
    FileNotFoundError, ValueError
        No such file, or one of another kind.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"no table at {path}. Make it with unidino.extract (notebooks/extract.ipynb), or give "
            "the path of an existing .parquet or .csv file."
        )
    if path.suffix == ".parquet":
        frame = pq.read_table(path).to_pandas()
        frame.attrs["provenance"] = read_provenance(path)
        return frame
    if path.name.endswith((".csv", ".csv.gz")):
        return pd.read_csv(path)
    raise ValueError(f"{path.name} is neither .parquet nor .csv; these are the tables read here.")


def metadata_name(name):
    """The column that holds a bare metadata name in tables: batch -> Metadata_Batch."""
    if name.startswith("Metadata_"):
        return name
    return f"Metadata_{name.capitalize() if name in KEYS else name}"


def prefixed(frame):
    """Rename bare metadata columns to ``Metadata_…``."""
    return frame.rename(columns=metadata_name)


def feature_columns(frame):
    """Feature columns: ``emb…``, or CellProfiler's ``Cells_``, ``Cytoplasm_``, ``Nuclei_``."""
    return [column for column in frame.columns if _FEATURE.match(str(column))]


def metadata_columns(frame):
    """Every column that is not a feature."""
    features = set(feature_columns(frame))
    return [column for column in frame.columns if column not in features]


def find_column(frame, name):
    """The column that `name` means: itself, or with the prefix ``Metadata_``, in any case.

    Raises
    ------
    ValueError
        No such column, or more than one; names those there are.
    """
    if name in frame.columns:
        return name
    wanted = {str(name).lower(), f"metadata_{name}".lower()}
    found = [column for column in frame.columns if str(column).lower() in wanted]
    if len(found) == 1:
        return found[0]
    if found:
        raise ValueError(f"column {name!r} is ambiguous: {', '.join(found)}. Give one in full.")
    have = ", ".join(map(str, metadata_columns(frame)))
    raise ValueError(f"no column {name!r} in the table. Its metadata columns are: {have}.")


def key_columns(frame, names=KEYS):
    """Those of the columns that the table has, bare or with ``Metadata_``, in this order."""
    have = {str(column).lower() for column in frame.columns}
    there = [name for name in names if {name, f"metadata_{name}"} & have]
    return [find_column(frame, name) for name in there]


def plate_columns(frame):
    """The columns that name a plate; none where the table has no plates."""
    return key_columns(frame, PLATE_KEY) if key_columns(frame, ["plate"]) else []


def groups(frame, columns):
    """Rows of each group, such as the plates of a table.

    Parameters
    ----------
    frame : pd.DataFrame
    columns : list of str
        What names a group, for example `plate_columns`; without columns all rows are one group.

    Returns
    -------
    dict
        {key, a tuple with one value a column: row numbers (n,)}, in the order in which the groups
        first appear. Rows of one group keep their order; a missing value is a value like others.
    """
    if not columns:
        return {(): np.arange(len(frame))}
    codes = frame.groupby(list(columns), sort=False, dropna=False).ngroup().to_numpy()
    first = np.unique(codes, return_index=True)[1]
    keys = zip(*(frame[column].to_numpy()[first] for column in columns), strict=True)
    order = np.argsort(codes, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(codes[order])) + 1)
    return dict(zip(keys, members, strict=True))


def read_csv(path):
    """A CSV, TSV or Parquet table; separators and byte-order marks are recognised.

    Raises
    ------
    FileNotFoundError, ValueError
        No such file; one that cannot be parsed or has no rows.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no table at {path}. Give the path of a CSV with one row a site.")
    try:
        if path.suffix == ".parquet":
            frame = pd.read_parquet(path)
        else:
            header = _first_line(path)
            separator = max(",;\t", key=header.count)
            frame = pd.read_csv(path, sep=separator, encoding="utf-8-sig", low_memory=False)
    except (ValueError, UnicodeDecodeError, OSError) as error:
        raise ValueError(f"{path} cannot be read as a table ({error}).") from None
    if frame.empty:
        raise ValueError(f"{path} has no rows; expected one a site.")
    return frame


def _first_line(path):
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8-sig") as file:
        return file.readline()
