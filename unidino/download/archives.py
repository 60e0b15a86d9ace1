"""Archives of strangers unpacked: beside the target, within limits, files and folders alone."""

import gzip
import hashlib
import re
import shutil
import stat
import tarfile
import unicodedata
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from ..progress import say
from .transfer import digest

MOST_FILES = 1_000_000
RATIO = 100
"""Most bytes that a byte of an archive may become, on the whole: images become two or three."""

SMALL = 2**26
"""Bytes that an archive may become whatever its ratio."""

_CHUNK = 2**20
_LONGEST = 2**26
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")


class HostileArchive(ValueError):
    """An archive that does what none of these has to; nothing of it was put into place."""


def unpack(archive, folder, top=None, most=None, name=None):
    """Unpack an archive into a new folder.

    Parameters
    ----------
    archive : Path
        A zip, a tar, compressed or not, or one compressed file (.gz).
    folder : Path
        Made; removed again where the archive is refused.
    top : str, optional
        The folder in it that is wanted; what lies beside it is left out, which is said.
    most : int, optional
        Bytes that it may become, by what is known of it.
    name : str, optional
        What the archive is called, where it lies under another name.

    Returns
    -------
    dict
        Relative path, with slashes, to (size in bytes, SHA-256) of each file.

    Raises
    ------
    HostileArchive
        A path out of the folder, an absolute or odd one, one that stands twice, a link, a device, a
        password, more files or bytes than can be meant, sizes that lie; names archive and member.
    ValueError
        It is damaged, no archive, or has no folder `top`.
    OSError
        The disk is full.
    """
    archive, folder = Path(archive), Path(folder)
    name = name or archive.name
    packed = archive.stat().st_size
    limit = most if most is not None else max(RATIO * packed, SMALL)
    folder.mkdir(parents=True)
    try:
        limits = _Limits(name, top, limit)
        if name.lower().endswith(".gz") and not name.lower().endswith(".tar.gz"):
            return _gzip(archive, folder, limits)
        made = (_zip if zipfile.is_zipfile(archive) else _tar)(archive, folder, limits)
        limits.check_top(made)
        return made
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        broken = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, NotImplementedError)
        if isinstance(error, broken) or (isinstance(error, OSError) and error.errno is None):
            raise ValueError(f"{name} cannot be unpacked: {error}.") from None
        raise


class _Limits:
    """What a member may be called, and how much all of them may become."""

    def __init__(self, name, top, limit):
        self.name, self.top, self.limit = name, top, limit
        self._files, self._folders = set(), set()
        self.beside = []
        self.files = 0
        self.declared = 0
        self.written = 0

    def refuse(self, member, why):
        raise HostileArchive(
            f"{self.name} was not unpacked: its member {member[:200]!r} {why}. The file is not "
            "what was published; nothing of it was put into place."
        )

    def path(self, member, is_folder):
        """The parts of a member's path, checked; None where it is left out."""
        parts = safe_parts(member.rstrip("/") if is_folder else member)
        if parts is None:
            self.refuse(member, "has a path that leads out of the folder, or is odd")
        # Some disks take names that differ by case or composition alone for one.
        key = tuple(unicodedata.normalize("NFC", part).casefold() for part in parts)
        above = {key[: i + 1] for i in range(len(key) - (not is_folder))}
        if above & self._files or not is_folder and (key in self._files or key in self._folders):
            self.refuse(member, "stands there twice")
        self._folders |= above
        if not is_folder:
            self._files.add(key)
        if self.top is not None and parts[0] != self.top:
            self.beside += [] if is_folder else [member]
            return None
        return parts

    def check_top(self, made):
        """Say what was left out; stop where nothing else is there."""
        some = ", ".join(self.beside[:5]) + (" …" if len(self.beside) > 5 else "")
        if self.top is not None and not made:
            raise ValueError(f"{self.name} has no files in a folder {self.top}; it has {some}.")
        if self.beside:
            say(f"{self.name}: what lies beside the folder {self.top} is left out: {some}")

    def declare(self, member, size):
        """Count a file by what the archive says of it."""
        self.files += 1
        self.declared += size
        if self.files > MOST_FILES:
            self.refuse(member, f"is one of more than {MOST_FILES} files")
        if self.declared > self.limit:
            self.refuse(member, f"brings it to more than {self.limit} bytes: more than is meant")

    def write(self, source, target, member, size=None):
        """Copy one file, counting what really comes; returns its size and SHA-256."""
        target.parent.mkdir(parents=True, exist_ok=True)
        count, sha256 = 0, hashlib.sha256()
        with open(target, "xb") as file:
            while chunk := source.read(_CHUNK):
                count += len(chunk)
                self.written += len(chunk)
                if size is not None and count > size:
                    self.refuse(member, f"becomes more than the {size} bytes that it says")
                if self.written > self.limit:
                    self.refuse(member, f"becomes more than {self.limit} bytes: more than is meant")
                sha256.update(chunk)
                file.write(chunk)
        if size is not None and count != size:
            self.refuse(member, f"has {count} bytes, and says {size}")
        return count, sha256.hexdigest()


def safe_parts(name):
    """The parts of a relative path with slashes; None for one that is absolute, leads upwards or is
    odd: backslashes, colons, control characters, names that some systems reserve."""
    if not name or name.startswith("/") or re.search(r"[\\:\x00-\x1f\x7f]", name):
        return None
    parts = name.split("/")
    while parts and parts[0] == ".":
        parts = parts[1:]
    return None if not parts or any(map(_odd, parts)) else parts


def _odd(part):
    """Whether a part of a path is a name that one of the usual systems does not take as it is."""
    cut = part != part.rstrip(". ")  # . and .. among them
    return not part or cut or len(part.encode()) > 255 or bool(_RESERVED.fullmatch(part))


def _left_out(name):
    """Whether a member is what macOS adds to archives."""
    return name.startswith("__MACOSX/")


def _zip(archive, folder, limits):
    made = {}
    with zipfile.ZipFile(archive) as opened:
        members = []
        for info in opened.infolist():
            if _left_out(info.filename):
                continue
            mode = info.external_attr >> 16
            if mode and not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_IFMT(mode) == 0):
                limits.refuse(info.filename, "is a link or a device")
            if info.flag_bits & 1:
                limits.refuse(info.filename, "is locked by a password")
            parts = limits.path(info.filename, info.is_dir())
            if parts is not None and not info.is_dir():
                limits.declare(info.filename, info.file_size)
                members.append((info, parts))
        for info, parts in members:
            with opened.open(info) as source:
                place = folder.joinpath(*parts)
                made["/".join(parts)] = limits.write(source, place, info.filename, info.file_size)
    return made


def _tar(archive, folder, limits):
    made = {}
    packed = limits.name.lower().endswith((".gz", ".tgz"))
    with (
        gzip.open(archive) if packed else open(archive, "rb") as file,
        tarfile.open(fileobj=_Modest(file, limits), mode="r:") as opened,
    ):
        for member in opened:
            if _left_out(member.name):
                continue
            if not (member.isreg() or member.isdir()) or member.issparse():
                limits.refuse(member.name, "is a link or a device")
            if member.isdir() and member.name in (".", "./"):
                continue
            parts = limits.path(member.name, member.isdir())
            if parts is None or member.isdir():
                continue
            limits.declare(member.name, member.size)
            source = opened.extractfile(member)
            place = folder.joinpath(*parts)
            made["/".join(parts)] = limits.write(source, place, member.name, member.size)
            # Otherwise a tar of many files keeps all of their headers.
            opened.members = []
        # The checksum of a compressed tar stands at its end, behind what tarfile reads.
        rest = 0
        while chunk := file.read(_CHUNK):
            rest += len(chunk)
            if rest > limits.limit:
                limits.refuse("", "is followed by more than is meant")
    return made


class _Modest:
    """A file for tarfile, which reads headers whole, however long they say they are."""

    def __init__(self, file, limits):
        self._file, self._limits = file, limits
        self.tell, self.seek = file.tell, file.seek

    def read(self, size):
        if not 0 <= size <= _LONGEST:
            self._limits.refuse("", f"has a header of {size} bytes")
        return self._file.read(size)


def _gzip(archive, folder, limits):
    member = limits.name[: -len(".gz")]
    parts = limits.path(member, False)
    with gzip.open(archive) as source:
        return {member: limits.write(source, folder.joinpath(*parts), member)}


def rooted(made, root_of, only):
    """Of unpacked files those below the folder that holds a certain file, by their new paths.

    Parameters
    ----------
    made : dict
        Of `unpack`.
    root_of : str
        Name of that file.
    only : bool
        Nothing else is wanted.

    Returns
    -------
    dict
        New relative path to the one in `made`.

    Raises
    ------
    ValueError
        The file is not there, or more than once; says what is there.
    """
    places = [PurePosixPath(path) for path in made if PurePosixPath(path).name == root_of]
    if len(places) != 1:
        some = ", ".join(sorted(made)[:5]) + (" …" if len(made) > 5 else "")
        raise ValueError(
            f"the archive holds {root_of} {len(places)} times, expected once. It holds {some}."
        )
    parent = places[0].parent
    if only:
        return {root_of: str(places[0])}
    below = [path for path in made if parent in PurePosixPath(path).parents]
    return {str(PurePosixPath(path).relative_to(parent)): path for path in below}


def settle(moves, source, target):
    """Rename files into place, over nothing that differs.

    Parameters
    ----------
    moves : dict
        Path below `target` to path below `source`, on the same disk.
    source, target : Path

    Returns
    -------
    int
        Files that were there already, the same.

    Raises
    ------
    ValueError
        Another file, or a link, stands in a place; nothing has been moved then.
    """
    same = set()
    for new, old in moves.items():
        place = target / new
        steps = [target.joinpath(*PurePosixPath(new).parts[:i]) for i in range(1, place_depth(new))]
        if any(step.is_symlink() or (step.exists() and not step.is_dir()) for step in steps):
            raise ValueError(f"{place} cannot be written: a link or file stands in its path.")
        if place.is_symlink() or place.exists():
            here = source / old
            if place.is_symlink() or not place.is_file() or not _equal(place, here):
                raise ValueError(
                    f"{place} is there already and differs from what was published; nothing was "
                    "changed. Move it away, or fetch into another folder (root)."
                )
            same.add(new)
    for new, old in moves.items():
        if new not in same:
            place = target / new
            place.parent.mkdir(parents=True, exist_ok=True)
            (source / old).rename(place)
    return len(same)


def place_depth(path):
    """How many parts a relative path has."""
    return len(PurePosixPath(path).parts)


def _equal(one, other):
    return one.stat().st_size == other.stat().st_size and digest(one) == digest(other)
