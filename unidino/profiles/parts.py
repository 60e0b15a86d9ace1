"""Tables in memory or in Parquet files, of which a few columns are read at a time.

pyarrow does it, which writes these tables: a Parquet file stores each column apart, so that some
features of all rows cost no more to read than their share, and every group is whole whatever the
order of the rows. Means and medians are then exact, and of the same code as those of a table in
memory. Rows by the batch would do for a mean, but a median needs all values of its group; duckdb
and polars compute it, too, as one more dependency and with a memory that they decide on.
"""

from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from .. import tables


@dataclass
class Part:
    """Consecutive rows of a table that hold whole groups.

    Attributes
    ----------
    rows : slice
    opened : callable
        Gives a context manager, and that a function from names to the frame of these columns.
    """

    rows: slice
    opened: Callable


class Held:
    """A table in memory; attributes and methods as of `Stored`."""

    def __init__(self, frame):
        self._frame = self.names = frame
        self.features = tables.feature_columns(frame)
        self.single = (frame.dtypes[self.features] == np.float32).tolist()

    def labels(self):
        return self._frame[tables.metadata_columns(self._frame)]

    def parts(self, group):
        return [Part(slice(0, len(group)), partial(nullcontext, self._frame.__getitem__))]


class Stored:
    """A table in one or more Parquet files: all their rows, in the order of the files.

    Attributes
    ----------
    files : list of Path
    names : pd.DataFrame
        Has all the columns; need not have the rows.
    features : list of str
    single : list of bool
        Which features are of single precision in all files.
    """

    def __init__(self, paths):
        """Look at the footers of the files.

        Parameters
        ----------
        paths : str, Path or list of them
            A folder stands for all ``.parquet`` files below it.

        Raises
        ------
        FileNotFoundError, ValueError
            No such file, one that is no Parquet or damaged; features that are not those of the
            first file, or no numbers.
        """
        self.files = find_files(paths)
        self._lengths, columns = [], {}
        for file in self.files:
            length, types = _layout(file)
            features = tables.feature_columns(pd.DataFrame(columns=list(types)))
            if not columns:
                self.features, self.single = features, [True] * len(features)
            _check_features(file, features, self.files[0], self.features)
            for i, name in enumerate(self.features):
                _check_number(file, name, types[name])
                self.single[i] &= types[name] == pa.float32()
            columns |= dict.fromkeys(types)
            self._lengths.append(length)
        self.names = pd.DataFrame(columns=list(columns))

    def labels(self):
        """Read the columns that are no features."""
        wanted = tables.metadata_columns(self.names)
        read = [tables.read_table(file, wanted) for file in self.files]
        for frame in read:
            frame.attrs = {}  # compared by pandas where frames are joined
        return pd.concat(read, ignore_index=True)

    def parts(self, group):
        """Files apart where no group lies in several of them, together those that share some.

        Parameters
        ----------
        group : numpy.ndarray
            (N,), the number of each row's group, in the order of their first rows.

        Returns
        -------
        list of Part
        """
        highest = np.maximum.accumulate(group)
        lowest = np.minimum.accumulate(group[::-1])[::-1]
        made, files, start = [], [], 0
        for file, end in zip(self.files, np.cumsum(self._lengths), strict=True):
            files.append(file)
            if end > start and (end == len(group) or lowest[end] > highest[end - 1]):
                made.append(Part(slice(start, end), partial(_opened, files)))
                files, start = [], end
        return made


def find_files(paths):
    """The Parquet files that are meant, each once."""
    made = []
    for path in map(Path, [paths] if isinstance(paths, str | Path) else paths):
        below = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
        if not below:
            raise FileNotFoundError(f"the folder {path} holds no .parquet file.")
        made += below
    if not made:
        raise ValueError("there is no table to aggregate: the list of paths is empty.")
    for file in made:
        if file.is_file() and file.suffix != ".parquet":
            raise ValueError(
                f"{file.name} is no .parquet file: only of these can single columns be read. Read "
                "it whole: profiles.aggregate(tables.read_table(path))."
            )
    twice = [file for file, count in Counter(made).items() if count > 1]
    if twice:
        raise ValueError(f"{twice[0]} is listed twice; its rows would count twice.")
    return made


def _layout(file):
    """(number of rows, {column: its type in Arrow}), without what was the index of a frame."""
    length = len(tables.read_table(file, []))
    schema = pq.read_schema(file)
    return length, {name: schema.field(name).type for name in schema.empty_table().to_pandas()}


def _check_features(file, features, first, expected):
    for lacking, there, names in ((file, first, features), (first, file, expected)):
        absent = sorted({*features, *expected} - set(names))
        if absent:
            raise ValueError(
                f"{lacking} has no column {absent[0]!r}; it lacks {len(absent)} of the features "
                f"of {there}. Aggregate tables of the same model and channels together, others "
                "apart."
            )


def _check_number(file, name, kind):
    numbers = (pa.types.is_floating, pa.types.is_integer, pa.types.is_boolean, pa.types.is_null)
    if not any(is_one(kind) for is_one in numbers):
        raise ValueError(
            f"{file} holds the feature {name!r} as {kind}, not as a number; convert it "
            "(pd.to_numeric) or remove it."
        )


@contextmanager
def _opened(files):
    """As `Part.opened`, the rows of several files one after another."""
    with ExitStack() as stack:
        readers = [
            stack.enter_context(pq.ParquetFile(file, page_checksum_verification=True))
            for file in files
        ]

        def read(names):
            made = []
            for file, reader in zip(files, readers, strict=True):
                try:
                    block = reader.read(names).select(names)
                except (OSError, pa.ArrowException) as error:
                    reason = str(error).split("\n")[0]
                    raise ValueError(
                        f"{file} cannot be read as a table: it is damaged ({reason})."
                    ) from None
                made.append(block.to_pandas(ignore_metadata=True))
            return made[0] if len(made) == 1 else pd.concat(made, ignore_index=True)

        yield read
