"""Tables in and out: Parquet files that carry their provenance, and the names of their columns."""

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from . import delimited
from .progress import say

KEYS = ("source", "batch", "plate", "well", "site")
"""Key columns, outermost first; in tables they are Metadata_Source … Metadata_Site."""

PLATE_KEY = KEYS[:3]
"""What names a plate: plate names repeat across batches, and batches across sources."""

WELL_KEY = KEYS[:4]
"""What names a well."""

LABELS = ("compound", "gene", "treatment", "perturbation", "perturbation_id", "moa", "control_type")
"""Columns that hold names, as the keys do, even where every name is a number."""

DOSES = ("concentration", "dose")
"""Columns that hold doses."""

FILE_COLUMNS = ("path", "illumination")
"""Columns that say where files lie, and describe no site."""

_PROVENANCE_KEY = b"unidino"
_FEATURE = re.compile(r"emb(_(.+_)?)?\d+$|Cells_|Cytoplasm_|Nuclei_")
_MISSING = ("", "NA", "NaN", "nan", "null")


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
            _sync(temporary, os.O_RDWR)
            os.replace(temporary, path)
            with contextlib.suppress(OSError):  # some network disks sync no folders
                _sync(path.parent, os.O_RDONLY)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(path, error) from None


def _sync(path, flags):
    descriptor = os.open(path, flags)
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
        pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)


def read_provenance(path):
    """The provenance inside a Parquet file; an empty dict for files of other software."""
    metadata = pq.read_schema(path).metadata or {}
    return json.loads(metadata.get(_PROVENANCE_KEY, b"{}"))


def read_table(path, columns=None):
    """Read a table of profiles: Parquet (with provenance) or CSV.

    Parameters
    ----------
    path : str or Path
    columns : list of str, optional
        Of a Parquet file, only those of these columns that it has.

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
        try:
            if columns is not None:
                columns = [name for name in columns if name in pq.read_schema(path).names]
            table = pq.read_table(path, columns=columns, page_checksum_verification=True)
        except (OSError, pa.ArrowException) as error:
            reason = str(error).split("\n")[0]
            raise ValueError(
                f"{path} cannot be read as a table: it is damaged ({reason})."
            ) from None
        frame = table.to_pandas()
        frame = keys_as_text(frame)
        frame.attrs["provenance"] = read_provenance(path)
        return frame
    if path.name.endswith((".csv", ".csv.gz")):
        with _named(path):
            return _read_profiles(path)
    raise ValueError(f"{path.name} is neither .parquet nor .csv; these are the tables read here.")


def _read_profiles(path):
    """Profiles as CSV: features, of which there may be thousands, as numbers, the rest by type."""
    dialect = delimited.find_dialect(path)
    features = [name for name in dialect.names if _FEATURE.match(name)]
    others = [name for name in dialect.names if name not in set(features)]
    with warnings.catch_warnings():
        # What pandas would cut off the end of a row without a word else.
        warnings.simplefilter("error", pd.errors.ParserWarning)
        frame = pd.read_csv(
            path,
            sep=dialect.separator,
            encoding=dialect.encoding,
            skiprows=dialect.skipped,
            skipinitialspace=True,
            index_col=False,
            dtype=dict.fromkeys(others, object),
            keep_default_na=False,
            na_values=dict.fromkeys(features, _MISSING),
        )
    frame[others] = frame[others].map(_stripped)
    return _typed(frame, others, dialect, path)


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


def feature_channel(name):
    """The channel that a feature describes: emb_ER_0001 -> ER.

    Features of CellProfiler are told apart by their compartment (Nuclei), those of several channels
    together, and of tables that name none, are emb.
    """
    named = re.match(r"emb_(.+)_\d+$", name)
    return named[1] if named else name.split("_")[0].rstrip("0123456789")


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
    if frame.empty:
        return {}
    codes = frame.groupby(list(columns), sort=False, dropna=False).ngroup().to_numpy()
    first = np.unique(codes, return_index=True)[1]
    keys = zip(*(frame[column].to_numpy()[first] for column in columns), strict=True)
    order = np.argsort(codes, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(codes[order])) + 1)
    return dict(zip(keys, members, strict=True))


def read_csv(path, named=None):
    """A table of text (CSV, TSV, in any dialect that `delimited` finds) or Parquet, column by type.

    Parameters
    ----------
    path : str or Path
    named : callable, optional
        Takes the frame of text and returns it with other columns, before types are looked for:
        what a column is called says what it may be.

    Returns
    -------
    pd.DataFrame
        Columns that are plainly numbers are numeric; the key columns and those of `LABELS` are
        text, and so is all that could be a name (see `delimited.typed`). None, NA and null are
        text in a column of text.

    Raises
    ------
    FileNotFoundError, ValueError
        No such file; one that cannot be parsed or has no rows, named with the line.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no table at {path}. Give the path of a CSV with one row a site.")
    with _named(path):
        frame, dialect = (_parquet(path), None) if _is_parquet(path) else delimited.read(path)
        if not len(frame):
            raise ValueError("it has no rows.")
    if named is not None:
        frame = named(frame)
    with _named(path):
        if dialect is None:
            return keys_as_text(frame)
        return _typed(frame, frame.columns, dialect, path)


@contextlib.contextmanager
def _named(path):
    """Errors of reading a table name its file."""
    try:
        yield
    except (ValueError, OSError, pd.errors.ParserWarning) as error:
        raise ValueError(f"{path} cannot be read as a table: {error}") from None


def _is_parquet(path):
    with open(path, "rb") as file:
        return file.read(4) == b"PAR1"


def _parquet(path):
    width = len(pq.read_schema(path).names)
    if width > delimited.MOST_COLUMNS:
        raise ValueError(f"it has {width} columns; at most {delimited.MOST_COLUMNS} are read.")
    frame = pq.read_table(path).to_pandas()
    for name in frame.columns:
        if pd.api.types.is_string_dtype(frame[name]):
            frame[name] = frame[name].map(_stripped)
    return frame


def _stripped(value):
    """Text without blanks around it, None where nothing is left; other values as they are."""
    return value.strip() or None if isinstance(value, str) else value


def _typed(frame, columns, dialect, path):
    """Those columns of a frame of text by type; says which are text for a few of their entries."""
    decimal_comma = dialect.separator == ";"
    numbers = [name for name in columns if not _is_name(name)]
    words = {name for name in numbers if delimited.is_words(frame[name])}
    delimited.check_decimal_mark(frame[[n for n in numbers if n not in words]], decimal_comma)
    made = {name: delimited.as_text(frame[name]) for name in columns if _is_name(name)}
    for name in numbers:
        made[name] = delimited.typed(frame[name], decimal_comma)
        if name in words:
            continue
        if (rows := delimited.obstacle(frame[name], decimal_comma)).any():
            first = int(rows.argmax())
            say(
                f"{path.name}: the column {name} is text because of {frame[name].iat[first]!r} in "
                f"row {first + 1} ({int(rows.sum())} such rows of {len(rows)}). Where numbers are "
                "meant, write them as 1250 or 0.5, and leave cells without one empty"
            )
    return frame.assign(**made)


def _is_name(column):
    """Whether a column holds names, whatever they look like."""
    return str(column).rpartition("Metadata_")[2].lower() in (*KEYS, *LABELS)


def keys_as_text(frame):
    """A frame whose key columns, bare or with ``Metadata_``, are text: plate 7.0 is "7"."""
    keys = [
        name
        for name in frame.columns
        if str(name).removeprefix("Metadata_").lower() in KEYS
        and not pd.api.types.is_string_dtype(frame[name])
    ]
    return frame.assign(**{name: text(frame[name]) for name in keys})


def text(values):
    """A column as stripped text, None where it is missing or blank; 7 and 7.0 are "7"."""
    if pd.api.types.is_float_dtype(values) and (values.dropna() % 1 == 0).all():
        # As objects, for pandas 2 hands the values of Int64 with gaps on as floats.
        values = values.astype("Int64").astype(object)
    if pd.api.types.is_string_dtype(values):
        # Each text once: a well stands in many rows.
        codes, distinct = pd.factorize(values)
        distinct = np.array([*(str(v).strip() or None for v in distinct), None], dtype=object)
        return pd.Series(distinct[codes], index=values.index, name=values.name, dtype=object)
    written = values.map(lambda v: str(v).strip() or None, na_action="ignore").astype(object)
    return written.where(written.notna(), None)
