"""What an embedding is of: the files of every site, by their place, size and contents."""

import hashlib
import os
import stat
from concurrent.futures import ThreadPoolExecutor

from .progress import Progress

SAMPLED_BYTES = 128 * 1024
"""Files up to this size are read whole, of larger ones as much in evenly spaced blocks."""

_BLOCKS = 16
_THREADS = 8
_LONG = 5000


def relative_paths(metadata, rows):
    """Files of some sites below the dataset's folder: the same wherever it lies.

    Parameters
    ----------
    metadata : Metadata
    rows : sequence of int

    Returns
    -------
    list of tuple of str
        One tuple a row: a file a channel, or the merged file.
    """
    root = f"{metadata.root}/" if getattr(metadata, "root", None) else ""
    return [tuple(path.removeprefix(root) for path in metadata.paths(i)) for i in rows]


def file_digest(path):
    """What tells a file from another of its name: size and SHA-256 of its contents, as text.

    Neither times nor places count, so that a copy is the same file. Larger files than
    `SAMPLED_BYTES` are sampled: an image that was exported, scaled or compressed anew differs
    everywhere, but a change of few pixels in a large one can go unseen.
    """
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            return "no file"
        digest = hashlib.sha256()
        with open(path, "rb") as file:
            if status.st_size <= SAMPLED_BYTES:
                digest.update(file.read())
            else:
                block = SAMPLED_BYTES // _BLOCKS
                for i in range(_BLOCKS):
                    file.seek(i * (status.st_size - block) // (_BLOCKS - 1))
                    digest.update(file.read(block))
    except FileNotFoundError:
        return "missing"
    except OSError:
        return "unreadable"
    return f"{status.st_size} {digest.hexdigest()}"


def image_ids(metadata, rows):
    """What each site is an image of: files by relative path, size and contents, and their planes.

    Parameters
    ----------
    metadata : Metadata
    rows : sequence of int

    Returns
    -------
    list of str
        16 hexadecimal digits a row. Files that cannot be read have an id, too.
    """
    files = list(dict.fromkeys(file for i in rows for file in metadata.paths(i)))
    with ThreadPoolExecutor(_THREADS) as pool:
        found = pool.map(file_digest, files)
        if len(files) > _LONG:
            with Progress(len(files), "file", f"{metadata.valset}: comparing images") as bar:
                digests = {}
                for file, digest in zip(files, found, strict=True):
                    digests[file] = digest
                    bar.update()
        else:
            digests = dict(zip(files, found, strict=True))
    ids = []
    for i, names in zip(rows, relative_paths(metadata, rows), strict=True):
        described = [metadata.channel_indices(i), names, [digests[f] for f in metadata.paths(i)]]
        ids.append(hashlib.sha256(repr(described).encode()).hexdigest()[:16])
    return ids
