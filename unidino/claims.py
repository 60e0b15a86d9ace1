"""The output folder of an extraction: whose it is, who is at work in it, what is set aside."""

import contextlib
import errno
import filecmp
import json
import os
import secrets
import shutil
from pathlib import Path

import filelock
import pyarrow as pa

from . import paths, tables
from .progress import say

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
_SHOWN = 3


MEASURED = "measured"
"""Key of the record under which stands how the tables are computed, not what: it binds nobody."""


@contextlib.contextmanager
def claimed(folder, dataset, settings, files, differences, overwrite=False):
    """Be at work in an output folder, once it is clear that nothing is mixed in it.

    Runs that ask for the same work in one folder side by side and share its plates, see
    `plate_held`; one that asks for something else stops. Who is at work is known by the operating
    system's locks on files beside the folder. They hold between the processes of one machine, also
    in containers that share its disk, and end with the process. Between machines they hold on
    network disks whose server keeps locks (NFS, SMB, Lustre mounted with ``flock``), and not where
    they are mounted with ``nolock``, ``local_lock``, ``nobrl`` or ``localflock``: there, start one
    run at a time. A disk without any locks is said. Whatever the disk, each table is renamed into
    place whole, and is compared with what is asked for before it is used.

    Parameters
    ----------
    folder : Path
        From `paths.valset_folder`.
    dataset : dict
        ``valset`` and ``origin``, the table or folder that the dataset is of, and what else opens
        it.
    settings : dict
        What all tables of the folder share; under `MEASURED` what a run that goes on takes over.
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
        The folder holds another dataset, plates made otherwise, or files of somebody else; another
        run makes something else there.
    OSError
        It may not be written.
    """
    folder = Path(folder).resolve()
    wanted = json.loads(json.dumps(dataset | settings))
    with contextlib.ExitStack() as stack:
        with alone(folder):
            shared = _at_work(folder)
            if shared:
                _check_shared(folder, wanted, overwrite)
            else:
                _recover(folder)
                tables.remove_leftovers(folder)
            if overwrite:
                _set_aside(folder, dataset)
            else:
                _check(folder, wanted, settings, {Path(f).resolve() for f in files}, differences)
            tables.write_json(paths.settings_file(folder), wanted)
            stack.enter_context(_present(folder))
        try:
            yield
        finally:
            stack.close()
            with alone(folder):
                if not _at_work(folder):
                    _recover(folder)


def _check_shared(folder, wanted, overwrite):
    """Stop where another run is at work that would be disturbed, or makes something else."""
    if overwrite:
        raise ValueError(
            f"another run is at work in {folder}, and overwrite would discard what it makes. Wait "
            "until it has ended, or give another outdir."
        )
    recorded = recorded_settings(folder)
    found = _otherwise(recorded, wanted) if recorded else []
    if found:
        raise ValueError(
            f"another run is at work in {folder} and makes something else: {_listed(found)}. Give "
            "another outdir."
        )
    say(f"another run is at work in {folder}; they share what is left to embed")


def _lock(file, folder, timeout=0):
    """A lock on a file of a folder that ends with this process: held, or None where another has it.

    Where the disk has no locks it is as good as held, which is said.
    """
    # Of the process, not of a thread: plates are taken in one and finished in another.
    lock = filelock.FileLock(file, thread_local=False)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=timeout)
    except filelock.Timeout:
        return None
    except (OSError, NotImplementedError) as error:
        if getattr(error, "errno", errno.ENOSYS) not in _NO_LOCKS:
            raise tables.unwritable(folder, error) from None
        say(f"warning: the disk of {folder} has no locks: start no second run there meanwhile")
    return lock


@contextlib.contextmanager
def alone(folder):
    """Have an output folder to ourselves for a moment: to claim it, or to make the profiles."""
    folder = Path(folder).resolve()
    file = paths.lock_file(folder)
    lock = _lock(file, folder)
    if lock is None:
        say(f"another run claims {folder}, or makes its profiles; this one waits until it has")
        lock = _lock(file, folder, timeout=-1)
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _present(folder):
    """Be known to be at work in a folder."""
    file = paths.runs_folder(folder) / f"{secrets.token_hex(8)}.lock"
    lock = _lock(file, folder)
    try:
        yield
    finally:
        lock.release()
        with contextlib.suppress(OSError):
            file.unlink(missing_ok=True)
            file.parent.rmdir()


def _at_work(folder):
    """Whether other runs are at work in a folder; what killed ones left of themselves is deleted.

    To be asked by the one who holds the folder.
    """
    busy = False
    for file in paths.runs_folder(folder).glob("*.lock"):
        lock = _lock(file, folder)
        if lock is None:
            busy = True
            continue
        lock.release()
        with contextlib.suppress(OSError):
            file.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        paths.runs_folder(folder).rmdir()
    return busy


def plate_held(name):
    """A plate, or a stretch of one, for this run alone.

    Parameters
    ----------
    name : Path
        Of the lock, from `paths.plate_lock_file`.

    Returns
    -------
    callable or None
        Gives it free; None where another run holds it.
    """
    lock = _lock(name, name.parent)
    if lock is None:
        return None

    def free():
        # Before it is released: whoever waits for this file then finds the plate finished.
        with contextlib.suppress(OSError):
            name.unlink(missing_ok=True)
        lock.release()

    return free


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


def record_measured(folder, measured):
    """Record how the tables of a claimed folder are computed, for runs that go on with it."""
    file = paths.settings_file(folder)
    recorded = recorded_settings(folder)
    if recorded.get(MEASURED) != measured:
        tables.write_json(file, recorded | {MEASURED: measured})


def _otherwise(earlier, wanted):
    """What differs between two records, a list of str."""
    return [
        f"{key} was {earlier.get(key)!r}, is {wanted.get(key)!r}"
        for key in sorted((earlier.keys() | wanted.keys()) - {MEASURED})
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
    if file.parts[0] == paths.illumination_folder("").name:
        return file.suffix in (".npy", ".json")
    if file.parts[0] == paths.reports_folder("").name:
        return file.suffix == ".html"
    is_profiles = file.stem.endswith("_features") and file.suffix in (".parquet", ".json", ".csv")
    is_correction = paths.correction_file(file.with_name("_features.parquet")).name
    names = (paths.settings_file("").name, paths.log_file("").name)
    known = is_profiles or file.name.endswith(is_correction) or file.name in names
    return len(file.parts) == 1 and known


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
