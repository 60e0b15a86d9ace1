"""What a folder has received: a line a file, with source, size and checksum; one run at a time."""

import contextlib
import datetime
import errno
import json
import threading

import filelock

from .. import paths, tables
from ..progress import say
from .transfer import digest, mismatch

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@contextlib.contextmanager
def alone(folder, name):
    """Be the only run that fetches into a folder.

    Raises
    ------
    ValueError
        Another is at work there.
    OSError
        It may not be written.
    """
    hidden = paths.received_folder(folder)
    created = not folder.exists()
    try:
        hidden.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise tables.unwritable(folder, error) from None
    lock = filelock.FileLock(hidden / "lock", timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise ValueError(
            f"another run fetches into {folder}. Wait until it has ended, or fetch {name} into "
            "another folder (root)."
        ) from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        say(f"{folder}: this disk keeps no locks; start no second download into it")
        lock = None
    try:
        yield hidden
    finally:
        if lock is not None:
            lock.release()
        if created:  # where nothing arrived, nothing is left
            with contextlib.suppress(OSError):
                if not any(file.name != "lock" for file in hidden.iterdir()):
                    (hidden / "lock").unlink(missing_ok=True)
                    hidden.rmdir()
                    folder.rmdir()


class Received:
    """The record ``received.jsonl`` of a folder; its last line of a file counts."""

    def __init__(self, folder):
        self.folder = folder
        self.file = paths.received_folder(folder) / "received.jsonl"
        self._lock = threading.Lock()
        self.lines = {}
        with contextlib.suppress(FileNotFoundError):
            for line in self.file.read_text().splitlines():
                with contextlib.suppress(ValueError, KeyError):  # a killed run's last line
                    content = json.loads(line)
                    self.lines[content["path"]] = content

    def write(self, item, digests, unpacked=None):
        """Add what has arrived: digests of `transfer.fetch`, files of an archive by their paths."""
        line = {"path": item.path, "url": item.url, "published": item.checksum, **digests}
        line["received"] = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        if unpacked is not None:
            line["unpacked"] = unpacked
        self._append(line)

    def accept(self, entry):
        """Add that a licence was accepted."""
        when = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        line = {"path": "", "licence": entry.licence, "licence_url": entry.licence_url}
        self._append(line | {"accepted": when})

    def _append(self, line):
        with self._lock:
            with open(self.file, "a") as file:
                file.write(json.dumps(line, sort_keys=True, ensure_ascii=False) + "\n")
            self.lines[line["path"]] = line

    def holds(self, item, check=False):
        """Whether all of an item is in place.

        Parameters
        ----------
        item : transfer.Item
        check : bool
            Read the file again and compare its checksum; else by its size.

        Raises
        ------
        ValueError
            Something else stands in its place; names it and what to do.
        """
        line = self.lines.get(item.path)
        same = line is not None and line["url"] == item.url
        same = same and item.checksum in (None, line["published"])
        same = same and item.size in (None, line["size"])
        if item.packed:
            files = line.get("unpacked", {}) if same else {}
            sizes = all(_size(self.folder / path) == size for path, (size, _) in files.items())
            if files and sizes and check:
                self._check_unpacked(files)
            return bool(files) and sizes
        place = self.folder / item.path
        if not place.exists():
            return False
        if same and _size(place) == line["size"] and not check:
            return True
        return self._compared(item, place, line if same else None)

    def _check_unpacked(self, files):
        """Raise where a file of an archive is not what came out of it."""
        for path, (_, sha256) in files.items():
            if tables.sha256_file(self.folder / path) != sha256:
                raise ValueError(
                    f"{self.folder / path} is not what came out of its archive any more. Nothing "
                    "was changed: move it away to fetch the archive again."
                )

    def _compared(self, item, place, line):
        """Whether a file that is there is the published one; raises where it is another."""
        digests = digest(place)
        wrong = mismatch(item, digests)
        if wrong is None and line is not None and digests["sha256"] != line["sha256"]:
            wrong = f"its SHA-256 is {digests['sha256']}, received was {line['sha256']}"
        if wrong is None and line is None and item.checksum is None and item.size is None:
            wrong = "nothing was published to compare it with"
        if wrong is not None:
            raise ValueError(
                f"{place} is there already, but {wrong}. Nothing was changed: move it away to "
                "fetch it again, or fetch into another folder (root)."
            )
        if line is None:
            self.write(item, digests)
        return True


def _size(path):
    try:
        return path.stat().st_size
    except OSError:
        return None
