"""The output folder of an extraction: whose it is, who is at work in it, what is set aside."""

import contextlib
import errno
import filecmp
import json
import os
import shutil
from pathlib import Path

import filelock
import pyarrow as pa

from . import paths, tables
from .progress import say

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
_SHOWN = 3


@contextlib.contextmanager
def claimed(folder, dataset, settings, files, differences, overwrite=False):
    """Have an output folder to ourselves, once it is clear that nothing is mixed in it.

    Two runs on one folder never overlap: the second waits where it asks for the same, and stops
    where it asks for something else. That is the operating system's lock on a file beside the
    folder. It holds between the processes of one machine, also in containers that share its disk,
    and ends with the process. Between machines it holds on network disks whose server keeps locks
    (NFS, SMB, Lustre mounted with ``flock``), and not where they are mounted with ``nolock``,
    ``local_lock``, ``nobrl`` or ``localflock``: there, start one run at a time. A disk without
    any locks is said. Whatever the disk, each table is renamed into place whole, and is compared
    with what is asked for before it is used.

    Parameters
    ----------
    folder : Path
        From `paths.valset_folder`.
    dataset : dict
        ``valset`` and ``origin``, the table or folder that the dataset is of.
    settings : dict
        What all tables of the folder share.
    files : iterable of Path
        The site tables that the dataset will have there.
    differences : callable
        Says what is different about those that are there already, a list of str.
    overwrite : bool
        Set aside what is there. It is deleted when a new plate has been written, see `settle`, and
        put back where the run ends before.

    Raises
    ------
    ValueError
        The folder holds another dataset, plates made otherwise, or files of somebody else.
    OSError
        It may not be written.
    """
    folder = Path(folder).resolve()
    wanted = json.loads(json.dumps(dataset | settings))
    with _alone(folder, wanted, overwrite):
        _recover(folder)
        tables.remove_leftovers(folder)
        if overwrite:
            _set_aside(folder, dataset)
        else:
            _check(folder, wanted, settings, {Path(f).resolve() for f in files}, differences)
        tables.write_json(paths.settings_file(folder), wanted)
        try:
            yield
        finally:
            _recover(folder)


@contextlib.contextmanager
def _alone(folder, wanted, overwrite):
    """Hold the folder's lock."""
    file = paths.lock_file(folder)
    lock = filelock.FileLock(file)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except filelock.Timeout:
        if overwrite:
            raise ValueError(
                f"another run is at work in {folder}, and overwrite would discard what it makes. "
                "Wait until it has ended, or give another outdir."
            ) from None
        recorded = recorded_settings(folder)
        found = _otherwise(recorded, wanted) if recorded else []
        if found:
            raise ValueError(
                f"another run is at work in {folder} and makes something else: "
                f"{_listed(found)}. Give another outdir."
            ) from None
        say(f"another run is at work in {folder}; this one waits until it has ended")
        lock.acquire()
    except (OSError, NotImplementedError) as error:
        if getattr(error, "errno", errno.ENOSYS) not in _NO_LOCKS:
            raise tables.unwritable(folder, error) from None
        say(f"warning: the disk of {folder} has no locks: start no second run there meanwhile")
    try:
        yield
    finally:
        lock.release()


def recorded_settings(folder):
    """What the last run recorded of itself in a folder; empty without a record that can be read."""
    file = paths.settings_file(folder)
    try:
        recorded = json.loads(file.read_text())
        if not isinstance(recorded, dict):
            raise ValueError
    except FileNotFoundError:
        return {}
    except ValueError:
        say(f"warning: {file} is damaged. It is written again; the tables say the same themselves")
        return {}
    return recorded


def _otherwise(earlier, wanted):
    """What differs between two records, a list of str."""
    return [
        f"{key} was {earlier.get(key)!r}, is {wanted.get(key)!r}"
        for key in sorted(earlier.keys() | wanted.keys())
        if earlier.get(key) != wanted.get(key)
    ]


def _listed(found):
    more = f" (and {len(found) - _SHOWN} more)" if len(found) > _SHOWN else ""
    return "; ".join(found[:_SHOWN]) + more


def provenance(file):
    """What a table says about its making; None where it is damaged."""
    try:
        return tables.read_provenance(file)
    except (OSError, ValueError, pa.ArrowException):
        return None


def _check(folder, wanted, settings, files, differences):
    """Stop where the folder's tables are of another dataset or made otherwise."""
    recorded = recorded_settings(folder)
    settings = json.loads(json.dumps(settings))
    found, others = [], []
    for file in sorted(folder.rglob("*.parquet")):
        made = provenance(file)
        if made is None or "settings" not in made:
            continue  # damaged ones are made again, and those of other software are not ours
        found += [text for text in _otherwise(made["settings"], settings) if text not in found]
        if file not in files and "sites" in file.relative_to(folder).parts[:-1]:
            others.append(file)
    origin = recorded.get("origin")
    moved = origin not in (None, wanted["origin"])
    if moved and (others or _another_table(origin, wanted["origin"])):
        such = f", such as {others[0].relative_to(folder)}" if others else ""
        raise ValueError(
            f"{folder} holds plates of {origin}{such}, and this is {wanted['origin']}. Two "
            "datasets of one name never share outputs: rename one, or give another outdir."
        )
    found = found or differences()
    if found:
        raise made_otherwise(folder, found, origin if moved else None)


def _another_table(origin, table):
    """Whether a dataset's table is still there, and says something else than this one."""
    both = [Path(origin), Path(table)]
    return all(path.is_file() for path in both) and not filecmp.cmp(*both, shallow=False)


def made_otherwise(folder, found, origin=None):
    """The ValueError that lists how what a folder holds differs from what is asked for."""
    whose = f" from {origin}" if origin else ""
    return ValueError(
        f"{folder} holds an extraction made otherwise{whose}: {_listed(found)}. Set "
        "overwrite=True to discard it, or give another outdir."
    )


def _ours(file):
    """Whether an extraction writes a file at this place below its folder."""
    if any(part.startswith(".") for part in file.parts):
        return True
    if file.parts[0] == "sites":
        return file.suffix in (".parquet", ".json")
    is_profiles = file.stem.endswith("_features") and file.suffix in (".parquet", ".json", ".csv")
    names = (paths.settings_file("").name, paths.log_file("").name)
    return len(file.parts) == 1 and (is_profiles or file.name in names)


def _set_aside(folder, dataset):
    """Rename a folder that holds an extraction of this dataset and nothing else."""
    if not folder.exists():
        return
    files = [file for file in folder.rglob("*") if not file.is_dir()]
    foreign = [file for file in files if not _ours(file.relative_to(folder))]
    if foreign:
        raise ValueError(
            f"{foreign[0]} is nothing that an extraction writes, and overwrite discards the whole "
            "folder. Move it away, or give another outdir."
        )
    recorded = recorded_settings(folder)
    made = [provenance(file) or {} for file in files if file.suffix == ".parquet"]
    names = {record.get("valset") for record in (recorded, *made)} - {None, dataset["valset"]}
    origin = recorded.get("origin", dataset["origin"])
    if names or (origin != dataset["origin"] and os.path.exists(origin)):
        raise ValueError(
            f"{folder} holds an extraction of {', '.join(sorted(names)) or origin}, not of "
            f"{dataset['origin']}, and is not discarded. Give another outdir, or remove it."
        )
    try:
        folder.rename(paths.aside_folder(folder))
    except OSError as error:
        raise tables.unwritable(folder, error) from None


def _has_results(folder):
    """Whether a plate was written of which something could be read."""
    for file in (folder / "sites").rglob("*.parquet"):
        counts = (provenance(file) or {}).get("counts", {})
        if counts.get("ok") or counts.get("empty"):
            return True
    return False


def settle(folder):
    """Delete what an overwrite set aside, once there is a new plate of which something was read."""
    aside = paths.aside_folder(Path(folder).resolve())
    if aside.exists() and _has_results(folder):
        shutil.rmtree(aside)


def _recover(folder):
    """End what an overwrite began: what is still set aside was not replaced, and is put back."""
    aside = paths.aside_folder(folder)
    try:
        settle(folder)
        if aside.exists():
            if folder.exists():
                shutil.rmtree(folder)
            aside.rename(folder)
    except OSError as error:
        raise tables.unwritable(folder, error) from None
