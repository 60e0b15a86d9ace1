"""Image files that lie elsewhere: on the web, in a public bucket, in an archive of this machine.

Each is copied once into a cache of bounded size, from which the least recently used copies leave,
and read there. A file elsewhere counts as unchanged as long as its copy, or what was remembered of
it (see `remembered`), is there: whoever knows of a change deletes the cache.

Only what is public is asked for, and only of machines of the internet, see `web`.
"""

import contextlib
import functools
import hashlib
import os
import re
import secrets
import shutil
import time
import zipfile
import zlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import islice
from urllib.parse import quote, unquote, urlsplit

from filelock import FileLock

from . import paths, web
from .progress import Progress, say
from .tables import atomic_path, unwritable
from .web import AbsentError, RefusedError, RemoteError, UnansweredError  # noqa: F401

SCHEMES = ("https", "http", "s3", "zip")
"""How an address of a file elsewhere may begin."""

CACHE_BYTES = 50 * 10**9
"""Bytes of copies that are kept; the environment variable UNIDINO_REMOTE_CACHE replaces it."""

MOST_BYTES = 4 * 2**30
"""Bytes that a file may have: no image that is read here is larger."""

SILENT_FILES = 8
"""After so many files in a row for which a host did not answer, it is asked for no more."""

FORGOTTEN = 600
"""Seconds for which a file that failed is not asked for again."""

_KEPT = 0.9  # of the cache where copies leave: many at a time, and seldom
_ABANDONED = 86_400
_HELD = "held"
_AT_ONCE = 10_000  # files that are waited for together
_LOCKS = 3  # hexadecimal digits: so many files can be waited for at once
_START = tuple(f"{scheme}://" for scheme in SCHEMES)
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._\-]{1,253}[A-Za-z0-9]")
_CHAINED = re.compile(r"::[A-Za-z][A-Za-z0-9+.\-]*://")
_IN_URLS = "%/:=&?~#+!$,;'@()*[]"
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?(|[kMGT])B?", re.IGNORECASE)
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}

# What failed in this process: {address: (error, when)}; {host: files in a row without an answer}.
_failed = {}
_said = set()
_silent = Counter()
_reasons = {}


def is_remote(file):
    """Whether a path, as `address` writes it, is one of a file elsewhere."""
    return isinstance(file, str) and file.startswith(_START)


def is_folder(file):
    """Whether a path ends like a folder of Zarr, whose files are fetched as they are read: in no
    suffix, or in .zarr."""
    name = file_name(file)
    return "." not in name or name.lower().endswith(".zarr")


def address(value, folder):
    """The address that a cell of a table names, written in one way.

    Parameters
    ----------
    value : str
        ``https://host/name.tif``, ``http://…``, ``s3://bucket/key``, or
        ``zip://inner/name.tif::archive.zip``.
    folder : str
        In which the archive lies, if its path is relative.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        Other schemes and chains of them, no host or bucket or member, an account.
    """
    scheme, slashes, rest = value.partition("://")
    scheme = scheme.lower() if slashes else value.partition(":")[0].lower()
    if "::" in scheme or (scheme != "zip" and _CHAINED.search(rest)):
        raise ValueError(
            "protocols that are chained are not read. Write the address of the file itself, or "
            "zip://NAME::ARCHIVE for a member of an archive on this machine."
        )
    if scheme not in SCHEMES:
        raise ValueError(
            f"{scheme} addresses are not read, only {', '.join(SCHEMES)}. Copy the images to this "
            "machine, write paths relative to their folder, and name it by root."
        )
    if not slashes:
        raise ValueError(f"lacks a slash: write {scheme}://.")
    if scheme == "zip":
        return _member_address(rest, folder)
    if scheme == "s3":
        bucket, _, key = rest.partition("/")
        if not _BUCKET.fullmatch(bucket) or not key.strip("/"):
            raise ValueError("names no bucket and key: write s3://bucket/folder/name.tif.")
        return f"s3://{bucket}/{key}"
    made = f"{scheme}://{quote(rest.partition('#')[0], safe=_IN_URLS)}"
    try:
        parts = urlsplit(made)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"is no address ({error}).") from None
    if not host:
        raise ValueError("names no host: write https://host/folder/name.tif.")
    if parts.username is not None:
        raise ValueError(
            "holds an account. Only what is public is read: take the account out of the address, "
            "or copy the images to this machine."
        )
    return made


def _member_address(rest, folder):
    member, _, archive = rest.partition("::")
    member = member.lstrip("/")
    if archive.lower().startswith("file://"):
        archive = unquote(archive[len("file://") :])
    if not member or not archive:
        raise ValueError("names no member of an archive: write zip://inner/name.tif::archive.zip.")
    if "::" in archive or "://" in archive:
        raise ValueError(
            "an archive elsewhere is not read. Copy it to this machine and write its path after ::."
        )
    return f"zip://{member}::{os.path.normpath(os.path.join(folder, archive))}"


def file_name(file):
    """What a file elsewhere is called, without folders and query: its ending tells its kind."""
    path = file.partition("::")[0] if file.lower().startswith("zip://") else file
    if path.lower().startswith(("https://", "http://")):
        path = unquote(re.split("[?#]", path, maxsplit=1)[0])
    return path.rpartition("/")[2]


def hosts(files):
    """Where files elsewhere lie: {host or archive: files there}, most of them first."""
    count = Counter()
    for start, number in Counter(map(_start, files)).items():
        count[_host(start)] += number
    return dict(count.most_common())


def _start(file):
    """The scheme and host, bucket or archive of an address, as an address."""
    if file.startswith("zip://"):
        return f"zip://::{file.partition('::')[2]}"
    return "/".join(file.split("/", 3)[:3])


def _host(file):
    if file.startswith("zip://"):
        return f"the archive {file.partition('::')[2]}"
    return urlsplit(web_address(file)).netloc


def web_address(file):
    """Where on the web a file elsewhere lies: of ``s3://`` the bucket's public address."""
    if not file.startswith("s3://"):
        return file
    bucket, _, key = file[len("s3://") :].partition("/")
    # A certificate covers one name before .s3: buckets with points in theirs go behind the host.
    behind = re.search(r"[._A-Z]", bucket)
    start = f"{web.S3}{bucket}" if behind else web.S3.replace("//", f"//{bucket}.").rstrip("/")
    return f"{start}/{quote(key, safe='/~')}"


LEAVE = "remote=True (--remote True, -p remote True)"
"""In Python, on the command line and for papermill."""


def allowance(files):
    """What a table wants of elsewhere and of archives, and how to allow it: an error's message."""
    told = [f"{count:,} of {host}" for host, count in hosts(files).items()]
    shown = ", ".join(told[:3]) + (f" and of {len(told) - 3} others" if len(told) > 3 else "")
    packed = sum(file.startswith("zip://") for file in files)
    wants = f"the table wants {len(files):,} file{'s' if len(files) > 1 else ''}"
    if packed == len(files):
        return (
            f"{wants} in archives of this machine: {shown}. No archive was opened. If you trust "
            f"the table, set {LEAVE}, and they are read from there. Or unpack them, and write "
            "their paths."
        )
    return (
        f"{wants} from elsewhere{' and from archives' if packed else ''}: {shown}. Nothing was "
        f"fetched. If you trust the table, set {LEAVE}, and they are fetched as the plates are "
        "read. Or copy them to this machine, write paths relative to their folder, and name it by "
        "root."
    )


def check(files):
    """Stop, before anything is fetched, on what keeps files elsewhere from being so.

    What has failed before is forgotten.

    Raises
    ------
    ImportError
        What fetches is not installed.
    ValueError
        Addresses of machines that are not of the internet; settings of the environment that say
        nothing.
    """
    _failed.clear()
    _silent.clear()
    _said.clear()
    cache_bytes()
    web.allowed()
    starts = {start for start in set(map(_start, files)) if not start.startswith("zip://")}
    if starts:
        web.modules()
    for start in starts:
        web.check_host(web_address(start))


def cache_bytes():
    """Bytes of copies that are kept: UNIDINO_REMOTE_CACHE, such as "200 GB", or `CACHE_BYTES`.

    Raises
    ------
    ValueError
        No size.
    """
    given = os.environ.get("UNIDINO_REMOTE_CACHE", "").strip()
    if not given:
        return CACHE_BYTES
    found = _SIZE.fullmatch(given)
    size = int(float(found[1]) * _UNITS[found[2].lower()]) if found else 0
    if not size:
        raise ValueError(f"UNIDINO_REMOTE_CACHE is {given!r}; expected a size such as 200 GB.")
    return size


def copy(file):
    """The copy of a file elsewhere on this machine, fetched where there is none.

    Parameters
    ----------
    file : str
        As `address` writes it.

    Returns
    -------
    Path
        With the file's ending.

    Raises
    ------
    RemoteError
        It cannot be had, or could not within the last minutes; says why.
    OSError
        The cache cannot be written.
    """
    place = _place(file)
    return place if _use(place) else _fetched(file, place)


@contextlib.contextmanager
def opened(file):
    """Where a file is read on this machine, while errors name the file itself.

    Of a file elsewhere a copy is kept as long as the block lasts, also where it leaves the cache.
    Errors are those of `copy`.

    Parameters
    ----------
    file : str
        A path, or as `address` writes it.

    Yields
    ------
    str
    """
    if not is_remote(file):
        yield file
        return
    place = _held(file)
    try:
        yield str(place)
    except (ValueError, OSError) as error:
        told = (
            one.replace(str(place), file) if isinstance(one, str) else one for one in error.args
        )
        error.args = tuple(told)
        raise
    finally:
        if place.parent.name == _HELD:
            place.unlink(missing_ok=True)


def _held(file):
    """A second name of a copy, which stays where the first leaves the cache."""
    folder = paths.fetched_folder() / _HELD
    while True:
        place = copy(file)
        folder.mkdir(exist_ok=True)
        second = folder / (secrets.token_hex(8) + place.suffix)
        try:
            os.link(place, second)
            return second
        except FileNotFoundError:  # it has left at once
            continue
        except OSError:  # a file system without second names
            return place


def fetch(files, title="fetching images"):
    """Copy the files elsewhere among `files` that are not in the cache, many at a time.

    Those that cannot be had are left out: who opens them learns why.

    Parameters
    ----------
    files : iterable of str
    title : str
        What is done, for the progress.

    Raises
    ------
    ConnectionError
        A host does not answer at all.
    OSError
        The cache cannot be written.
    """
    files = [file for file in dict.fromkeys(files) if is_remote(file) and not is_folder(file)]
    wanted = {file: _place(file) for file in files}
    lacking = {file: place for file, place in wanted.items() if not _use(place)}
    if not lacking:
        return
    got = 0
    with Progress(len(lacking), "file", title) as bar, ThreadPoolExecutor(web.TOGETHER) as pool:
        left = iter(lacking.items())
        try:
            while asked := [pool.submit(_size_of, *one) for one in islice(left, _AT_ONCE)]:
                for done in as_completed(asked):
                    got += done.result()
                    bar.note(f"{got / 1e6:,.0f} MB")
                    bar.update()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    gone = sum(not place.exists() for file, place in wanted.items() if file not in _failed)
    if gone and "cache" not in _said:
        _said.add("cache")
        say(
            f"warning: UNIDINO_REMOTE_CACHE, {cache_bytes() / 1e9:g} GB, holds less than these "
            f"{len(wanted):,} files: {gone:,} of them are fetched again when they are read. Set it "
            "higher"
        )


def _size_of(file, place):
    """Bytes of a file that was fetched; 0 where it cannot be had."""
    try:
        return _fetched(file, place).stat().st_size
    except FileNotFoundError:
        return 0
    except RemoteError:
        host = _host(file)
        if _silent[host] >= SILENT_FILES:
            raise ConnectionError(_no_answer(host)) from None
        return 0


def _no_answer(host):
    return (
        f"{host} did not answer for {_silent[host]} files in a row ({_reasons[host]}). What is "
        "embedded is kept: look at the network, and run this again."
    )


def to_ask(files, most=8):
    """Those of many files that are opened where some are enough: all that lie here, and a few of
    those elsewhere, evenly spaced."""
    elsewhere = [file for file in files if is_remote(file)]
    step = -(-len(elsewhere) // most) or 1
    kept = set(elsewhere[::step])
    return [file for file in files if not is_remote(file) or file in kept]


def missing(files):
    """Those of the files elsewhere that surely are not there: what an archive here does not hold.

    No host is asked.
    """
    return [file for file in files if file.startswith("zip://") and not _is_member(file)]


def _is_member(file):
    member, _, archive = file[len("zip://") :].partition("::")
    try:
        return bool(_archive(archive, mark(file), os.getpid()).getinfo(member))
    except KeyError:
        return False
    except (OSError, zipfile.BadZipFile):
        return os.path.exists(archive)  # what is damaged is said when it is read


def mark(file):
    """What changes when a file elsewhere does, as far as this machine can tell: three integers.

    Size and times of an archive; nothing of a host.
    """
    if not file.startswith("zip://"):
        return 0, 0, 0
    try:
        status = os.stat(file.partition("::")[2])
    except OSError:
        return -1, 0, 0
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _place(file):
    """Where the copy of a file lies."""
    told = f"{file}|{mark(file)}" if file.startswith("zip://") else file
    name = hashlib.sha256(told.encode()).hexdigest()[:40]
    ending = os.path.splitext(file_name(file))[1].lower()
    return paths.fetched_folder() / name[:2] / (name + ending)


def _use(place):
    """Whether a copy is there; it is then the one used last."""
    try:
        os.utime(place)
    except FileNotFoundError:
        return False
    except OSError:  # of another user, from whom it may be read
        return place.is_file()
    return True


def _fetched(file, place):
    error, when = _failed.get(file, (None, 0))
    if error and time.monotonic() - when < FORGOTTEN:
        raise type(error)(str(error))
    lock = paths.fetched_folder() / "locks" / place.stem[:_LOCKS]
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(lock.parent, error) from None
    with FileLock(lock):
        if _use(place):
            return place
        try:
            with atomic_path(place) as temporary:
                _bring(file, temporary)
                size = temporary.stat().st_size
        except RemoteError as error:
            _failed[file] = error, time.monotonic()
            raise
        _make_room(size)
    return place


def _bring(file, target):
    """Copy a file elsewhere to a path."""
    if file.startswith("zip://"):
        _unpack(file, target)
        return
    host = _host(file)
    if _silent[host] >= SILENT_FILES:
        raise RemoteError(f"{file}: not asked for, as {_no_answer(host)}")
    try:
        web.bring(web_address(file), target, file, functools.partial(_check_bytes, file))
        _silent[host] = 0
    except UnansweredError as error:
        _silent[host] += 1
        _reasons[host] = error.reason
        raise


def _unpack(file, target):
    """Copy a member of an archive to a path."""
    member, _, archive = file[len("zip://") :].partition("::")
    try:
        opened = _archive(archive, mark(file), os.getpid())
    except (OSError, zipfile.BadZipFile) as error:
        raise RemoteError(f"{file}: its archive cannot be opened ({web.words(error)}).") from None
    try:
        info = opened.getinfo(member)
        _check_bytes(file, info.file_size)
        with opened.open(info) as source, open(target, "wb") as made:
            shutil.copyfileobj(source, made, 2**20)
    except KeyError:
        raise RemoteError(f"{file}: its archive has no such member. Correct the table.") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        raise RemoteError(
            f"{file}: cannot be read from its archive ({web.words(error)})."
        ) from None


@functools.lru_cache(maxsize=8)
def _archive(path, mark, process):
    """An open archive, whose list of members is read once."""
    return zipfile.ZipFile(path)


def _make_room(size):
    """Count a copy of `size` bytes that has come; where the cache holds too much, let the least
    recently used leave."""
    folder, limit = paths.fetched_folder(), cache_bytes()
    counted = folder / "bytes"
    with FileLock(folder / "locks" / "bytes"):
        try:
            held = int(counted.read_text()) + size
        except (OSError, ValueError):
            held = limit + 1
        if held > limit:
            held = _evict(folder, limit)
        counted.write_text(str(held))


def _evict(folder, limit):
    """Delete the least recently used copies where more than `limit` bytes are held, of which most
    stay; the bytes that are held then."""
    for second in (folder / _HELD).glob("*"):  # of runs that were killed
        with contextlib.suppress(FileNotFoundError):
            if time.time() - second.stat().st_mtime > _ABANDONED:
                second.unlink()
    found = sorted(_copies(folder), key=lambda one: one[1].st_mtime)
    held = sum(status.st_size for _, status in found)
    if held <= limit:
        return held
    for path, status in found:
        # What is on its way to a name of its own has none yet, and is old where a run was killed.
        on_its_way = path.name.startswith(".")
        if held <= _KEPT * limit:
            break
        if not on_its_way or time.time() - status.st_mtime > _ABANDONED:
            path.unlink(missing_ok=True)
            held -= status.st_size
    return held


def _copies(folder):
    """(path, status) of every copy."""
    for path in folder.glob("??/*"):
        try:
            yield path, path.stat()
        except FileNotFoundError:
            continue


def _most_bytes():
    """Bytes that a file may have: those of an image, as far as the cache holds them."""
    return int(min(MOST_BYTES, _KEPT * cache_bytes()))


def _check_bytes(file, size):
    most = _most_bytes()
    if size > most:
        raise RemoteError(
            f"{file}: has {size:,} bytes or more, and a file elsewhere may have {most:,}, which is "
            "what an image may need and UNIDINO_REMOTE_CACHE has room for."
        )
