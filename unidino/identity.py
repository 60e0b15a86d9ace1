"""What an embedding is of: the files of every site, by their place, size and contents."""

import contextlib
import hashlib
import os
import stat

from . import ome_zarr, paths, remembered, remote

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
    `remote`) its copy tells. Of an array of OME-Zarr its metadata count, the names and sizes of all
    its chunks, and the contents of some.
    """
    try:
        if ome_zarr.is_array(path) and not os.path.isfile(path):
            return _array_digest(path)
        with remote.opened(path) as place:
            status = os.stat(place)
            if not stat.S_ISREG(status.st_mode):
                return "no file"
            digest = hashlib.sha256()
            _sample(place, SAMPLED_BYTES, digest)
    except FileNotFoundError:
        return "missing"
    except (OSError, remote.RemoteError):
        return "unreadable"
    return f"{status.st_size} {digest.hexdigest()}"


def _sample(path, most, digest):
    """Add a file to a digest: whole where it has no more bytes than `most`, else in blocks."""
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        if size <= most:
            digest.update(file.read())
            return
        block = most // _BLOCKS
        for i in range(_BLOCKS):
            file.seek(i * (size - block) // (_BLOCKS - 1))
            digest.update(file.read(block))


def _array_digest(path):
    try:
        described, chunks = ome_zarr.stored(path)
    except remote.RemoteError:
        raise
    except ValueError:
        return "unreadable"
    digest = hashlib.sha256(described)
    start = len(path)
    digest.update(repr([(file[start:], size) for file, size in chunks]).encode())
    sampled = chunks[:: -(-len(chunks) // _BLOCKS) or 1]
    for file, size in sampled:
        if size is None:
            # Elsewhere it is not known which are stored: those that are not hold the fill value.
            with contextlib.suppress(remote.AbsentError):
                _sample(remote.copy(file), SAMPLED_BYTES, digest)
        else:
            _sample(file, SAMPLED_BYTES // len(sampled), digest)
    return f"{sum(size or 0 for _, size in chunks)} {digest.hexdigest()}"


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
        if metadata.target_pixel_size is not None:
            # Of what size its pixels are decides how it is rescaled; what files say is in them.
            described.append({"pixel_size": metadata.stated_pixel_size(i)})
        ids.append(hashlib.sha256(repr(described).encode()).hexdigest()[:16])
    return ids


def _lasting_digest(path):
    """A digest, and whether it is one of contents: what is no file may be one the next time."""
    digest = file_digest(path)
    # The times of a folder do not tell of changes below it.
    is_folder = not remote.is_remote(path) and os.path.isdir(path)
    return digest, digest[0].isdecimal() and not is_folder
