"""Room on a disk: asked for before a download, and said in numbers where it runs out."""

import errno
import shutil
from pathlib import Path

from .. import tables

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def words(size):
    """A number of bytes for people: 839 MB."""
    if size is None:
        return "unknown size"
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if size >= 10 or unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def free(folder):
    """Free bytes on the disk of a folder that need not be there yet."""
    folder = Path(folder).absolute()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def check(folder, needed):
    """Stop where a download has no room.

    Raises
    ------
    OSError
        Says how much is lacking, and that a run goes on where it stopped.
    """
    there = free(folder)
    if needed > there:
        raise OSError(
            f"{words(needed)} are needed in {folder} and {words(there)} are free: "
            f"{words(needed - there)} are lacking. Free some, or name another folder with root; "
            "a later run goes on from what is there."
        )


def told(error, target, wanted=None, have=0):
    """The OSError that says what a disk lacks: how much, where it is full; others as they are.

    Parameters
    ----------
    error : OSError
    target : Path
        What was being written.
    wanted : int or None
        Bytes of all of it, where they are known.
    have : int
        Bytes of it that are there and stay.
    """
    if error.errno is None:
        return error
    if error.errno not in _FULL:
        return tables.unwritable(target, error)
    folder = Path(target).parent
    lacking = "" if wanted is None else max(wanted - have - free(folder), 1)
    how_much = f": {words(lacking)} more are needed for {Path(target).name}" if lacking else ""
    return OSError(
        f"the disk of {folder} is full{how_much}. Free some; the same command goes on where it "
        "stopped."
    )
