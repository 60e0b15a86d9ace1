"""What files were found to hold, remembered from run to run for as long as they stay as they are.

Headers and digests of millions of images are asked for at every start. An answer is kept with the
file's size and its times of modification and of change; a file of which one differs is asked again.
Of files elsewhere (see `remote`) neither is known: what was found out about them stays.
Nothing depends on what is kept: it is ignored where it is damaged, of other software or unwritable,
and may be deleted at any time.
"""

import contextlib
import hashlib
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from . import remote
from .progress import Progress
from .tables import atomic_path

PARTS = 64
"""Files that a store is cut into by the folders of what is remembered: a plate's images lie in few
folders, so that little is read and written for one plate."""

LONG = 5000
"""Files from which on asking shows its progress."""

SETTLED = 2.0
"""Seconds for which a file must have been at rest: clocks of file systems tick as slowly as that,
and what changes twice within a tick keeps its time."""

_THREADS = 8
_CHUNK = 256
_SCHEMA = pa.schema(
    [
        ("path", pa.large_binary()),
        ("size", pa.int64()),
        ("modified", pa.int64()),
        ("changed", pa.int64()),
        ("answer", pa.large_string()),
    ]
)
_ABOUT = b"about"


def answers(folder, files, ask, about=None, title="reading"):
    """What `ask` says of every file, asked of those alone that are new or have changed.

    Parameters
    ----------
    folder : Path
        Of the store, see `paths.cache_folder`. Two processes may use it at once; what one of them
        remembers can be lost to the other, and is then asked again.
    files : list of str
        Absolute paths, or addresses of files elsewhere, each once.
    ask : callable
        Takes a path; returns the answer, a str, and whether it holds as long as the file stays as
        it is.
    about : dict, optional
        What answers depend on beside the files, as JSON; those given under another are ignored.
    title : str
        What is done, for the progress of many files.

    Returns
    -------
    list of str
    """
    about = json.dumps(about or {}, sort_keys=True).encode()
    names = [os.fsencode(file) for file in files]
    settled = time.time_ns() - SETTLED * 1e9
    marks, parts = _marks(files), _parts(names)
    found = np.full(len(files), None, dtype=object)
    for part in np.unique(parts):
        rows = np.flatnonzero(parts == part)
        known = _read(_file(folder, part), about)
        place = pc.index_in(pa.array([names[i] for i in rows], pa.large_binary()), known["path"])
        listed = place.is_valid().to_numpy(zero_copy_only=False)
        rows, place = rows[listed], place.drop_null()
        stored = known.take(place)
        same = [stored[name].to_numpy() for name in _SCHEMA.names[1:4]] == marks[rows].T
        same = same.all(0)
        found[rows[same]] = stored["answer"].to_numpy()[same]
    todo = [i for i, answer in enumerate(found) if answer is None]
    if not todo:
        return found.tolist()
    asked = [files[i] for i in todo]
    remote.fetch(asked)
    told = _asked(asked, ask, title)
    lasting = np.zeros(len(files), bool)
    for i, (answer, holds) in zip(todo, told, strict=True):
        found[i] = answer
        lasting[i] = holds and marks[i, 0] >= 0 and marks[i, 1:].max() <= settled
    for part in np.unique(parts[lasting]):
        rows = np.flatnonzero(lasting & (parts == part))
        columns = dict(zip(_SCHEMA.names[1:4], marks[rows].T, strict=True))
        columns |= {"path": [names[i] for i in rows], "answer": found[rows].tolist()}
        new = pa.table({name: columns[name] for name in _SCHEMA.names}, _SCHEMA)
        _write(_file(folder, part), new, about)
    return found.tolist()


def _file(folder, part):
    return folder / f"{part:02d}.parquet"


def _parts(names):
    """The part of the store that each file belongs to, by its folder."""
    known = {}
    parts = np.empty(len(names), np.int64)
    for i, name in enumerate(names):
        folder = name[: name.rfind(b"/") + 1]
        if folder not in known:
            known[folder] = hashlib.sha256(folder).digest()[0] % PARTS
        parts[i] = known[folder]
    return parts


def _mark(file):
    """Size, time of modification and time of change; -1 and zeros of what is not there.

    The time of change cannot be set: it tells new contents with the old time of modification.
    """
    if remote.is_remote(file):
        return remote.mark(file)
    try:
        status = os.stat(file)
    except (OSError, ValueError):
        return -1, 0, 0
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _marks(files):
    marks = np.empty((len(files), 3), np.int64)

    def fill(start):
        chunk = files[start : start + _CHUNK]
        marks[start : start + _CHUNK] = [_mark(file) for file in chunk]

    with ThreadPoolExecutor(_THREADS) as pool:
        for _ in pool.map(fill, range(0, len(files), _CHUNK)):
            pass
    return marks


def _read(path, about):
    """A part of the store; empty where there is none, or none that can be used."""
    with contextlib.suppress(OSError, ValueError, pa.ArrowException):
        table = pq.read_table(path, page_checksum_verification=True)
        metadata = table.schema.metadata or {}
        if metadata.get(_ABOUT) == about and table.schema.remove_metadata() == _SCHEMA:
            return table
    return _SCHEMA.empty_table()


def _write(path, new, about):
    """Add answers to a part of the store, in the place of earlier ones of these files."""
    kept = _read(path, about)
    kept = kept.filter(pc.invert(pc.is_in(kept["path"], new["path"])))
    table = pa.concat_tables([kept.replace_schema_metadata(), new])
    with contextlib.suppress(OSError), atomic_path(path) as temporary:
        table = table.replace_schema_metadata({_ABOUT: about})
        pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)


def _asked(files, ask, title):
    """Every file's answer, in order, files side by side."""
    chunks = [files[start : start + _CHUNK] for start in range(0, len(files), _CHUNK)]
    shown = Progress(len(files), "file", title) if len(files) > LONG else None
    told = []
    with shown or contextlib.nullcontext(), ThreadPoolExecutor(_THREADS) as pool:
        for answered in pool.map(partial(_ask_each, ask), chunks):
            told += answered
            if shown:
                shown.update(len(answered))
    return told


def _ask_each(ask, files):
    return [ask(file) for file in files]
