"""What lies below a folder: the names of images, folder by folder, and the indexes beside them."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from ... import images
from ...progress import say

INDEXES = ("Index.idx.xml", "Index.xml", "Index.ref.xml")
"""Names of Harmony's index; the first that lies in a folder counts."""

SUFFIXES = tuple(suffix for suffix in images.SUFFIXES if suffix != ".zarr")
"""Of files: OME-Zarr plates are folders, and given by their own path."""

_SAID_EVERY = 500_000


@dataclass
class Listing:
    """Names below a folder; folders are relative to it, with slashes, "" for itself.

    Attributes
    ----------
    images : dict
        {folder: names of images, sorted}, of folders that hold any.
    indexes : dict
        {folder: name of its Harmony index}.
    htds : dict
        {folder: names of MetaXpress' plate descriptions (.HTD)}.
    others : list of str
        The first few files that are none of these.
    """

    images: dict = field(default_factory=dict)
    indexes: dict = field(default_factory=dict)
    htds: dict = field(default_factory=dict)
    others: list = field(default_factory=list)

    @property
    def count(self):
        """How many images there are."""
        return sum(map(len, self.images.values()))

    def first(self, number=3):
        """The first few images, as paths below the folder."""
        found = (join(folder, name) for folder, names in self.images.items() for name in names)
        return [path for path, _ in zip(found, range(number), strict=False)]


def join(folder, name):
    """A path below the listed folder."""
    return f"{folder}/{name}" if folder else name


def listed(root):
    """Everything below a folder, but hidden names and OME-Zarr images; links are followed once.

    Parameters
    ----------
    root : Path

    Returns
    -------
    Listing
        Folders in the order of their names.

    Raises
    ------
    OSError
        A folder that may not be read.
    ValueError
        A name that is no text, which no table can hold.
    """
    found, seen, todo, said = Listing(), set(), [""], _SAID_EVERY
    while todo:
        folder = todo.pop()
        path = root / folder
        status = path.stat()
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        names, folders, htds = [], [], []
        with os.scandir(path) as entries:
            for entry in entries:
                name = entry.name
                if name.startswith("."):
                    continue
                if name.lower().endswith(SUFFIXES):
                    names.append(_text(path, name))
                elif entry.is_dir() and not name.lower().endswith(".zarr"):
                    folders.append(join(folder, _text(path, name)))
                elif name.lower().endswith(".htd"):
                    htds.append(name)
                elif name not in INDEXES and len(found.others) < 3:
                    found.others.append(join(folder, name))
        if names:
            found.images[folder] = sorted(names)
        if htds:
            found.htds[folder] = sorted(htds)
        index = next((name for name in INDEXES if Path(path, name).is_file()), None)
        if index:
            found.indexes[folder] = index
        todo += sorted(folders, reverse=True)
        if found.count > said:
            say(f"{root}: {found.count:,} images so far")
            said = found.count + _SAID_EVERY
    return found


def _text(folder, name):
    """A name, which has to be text."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{folder} holds {name!a}, which is not UTF-8. Rename it.") from None
    return name
