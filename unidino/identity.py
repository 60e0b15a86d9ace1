"""What an embedding is of: the files of every site, by their place, size and contents."""

import hashlib
import os
import stat

from . import paths, remembered, remote

SAMPLED_BYTES = 128 * 1024
"""Files up to this size are read whole, of larger ones as much in evenly spaced blocks."""

_BLOCKS = 16


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
    return [tuple(path.removeprefix(root) for path in files) for files in metadata.files(rows)]


def file_digest(path):
    """What tells a file from another of its name: size and SHA-256 of its contents, as text.

    Neither times nor places count, so that a copy is the same file. Larger files than
    `SAMPLED_BYTES` are sampled: an image that was exported, scaled or compressed anew differs
    everywhere, but a change of few pixels in a large one can go unseen. Of a file elsewhere (see
    `remote`) its copy tells.
    """
    try:
        path = remote.copy(path) if remote.is_remote(path) else path
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
    except (OSError, remote.RemoteError):
        return "unreadable"
    return f"{status.st_size} {digest.hexdigest()}"


def image_ids(metadata, rows):
    """What each site is an image of: files by relative path, size and contents, and their planes.

    Where images are divided by illumination functions, the contents of these count, too.

    Contents are read once: the digests are remembered (see `remembered`) while a file's size and
    times stay.

    Parameters
    ----------
    metadata : Metadata
    rows : sequence of int

    Returns
    -------
    list of str
        16 hexadecimal digits a row. Files that cannot be read have an id, too.
    """
    of_images = (file for site in metadata.files(rows) for file in site)
    files = list(dict.fromkeys([*of_images, *metadata.illumination_files(rows)]))
    found = remembered.answers(
        paths.cache_folder("digests", metadata.place),
        files,
        _lasting_digest,
        about={"bytes": SAMPLED_BYTES, "blocks": _BLOCKS},
        title=f"{metadata.valset}: comparing images",
    )
    digests = dict(zip(files, found, strict=True))
    ids = []
    named = zip(rows, relative_paths(metadata, rows), metadata.files(rows), strict=True)
    for i, names, site in named:
        described = [metadata.channel_indices(i), names, [digests[file] for file in site]]
        functions = metadata.illumination(i)
        if any(functions):
            described.append([file and digests[file] for file in functions])
        ids.append(hashlib.sha256(repr(described).encode()).hexdigest()[:16])
    return ids


def _lasting_digest(path):
    """A digest, and whether it is one of contents: what is no file may be one the next time."""
    digest = file_digest(path)
    return digest, digest[0].isdecimal()
