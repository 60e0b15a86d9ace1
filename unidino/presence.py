"""Which of very many files are missing, or listed twice."""

import os

import numpy as np

from . import remote


def may_repeat(values):
    """False where no two of many values are equal, quickly and in 8 bytes a value.

    True where two are, or, which next to never happens, have the same hash.
    """
    hashes = np.fromiter(map(hash, values), np.int64)
    hashes.sort()
    return bool((hashes[1:] == hashes[:-1]).any())


def missing_files(files):
    """The files that do not exist, as `os.path.exists` tells of each; folders are listed once.

    Of files elsewhere only those of archives of this machine are looked for, see `remote.missing`.

    Parameters
    ----------
    files : list of str

    Returns
    -------
    list of str
        In order, each once.
    """
    elsewhere = list(filter(remote.is_remote, files))
    if elsewhere:
        absent = {*missing_files([file for file in files if not remote.is_remote(file)])}
        absent.update(remote.missing(elsewhere))
        return list(dict.fromkeys(file for file in files if file in absent))
    # Folder by folder, so that the names of one folder at a time are in memory.
    codes = {}
    folder_of = np.empty(len(files), np.int64)
    for i, file in enumerate(files):
        folder_of[i] = codes.setdefault(file[: file.rfind("/") + 1], len(codes))
    order = np.argsort(folder_of, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(folder_of, minlength=len(codes)))[:-1])
    absent = []
    for folder, rows in zip(codes, members, strict=False):
        names = _listed(folder)
        others = [i for i in rows.tolist() if not names or files[i][len(folder) :] not in names]
        absent += others if names is None else [i for i in others if not os.path.exists(files[i])]
    return list(dict.fromkeys(files[i] for i in sorted(absent)))


def _listed(folder):
    """Names in a folder that surely exist; None where there is no folder.

    Links may lead nowhere, and what cannot be listed may hold files all the same.
    """
    try:
        with os.scandir(folder or ".") as entries:
            return {entry.name for entry in entries if not entry.is_symlink()}
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        return set()
