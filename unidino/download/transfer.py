"""Files over HTTPS: asked for with care, resumed, checked, and renamed into place when whole.

A transfer that breaks goes on where it stopped (RFC 9110: Range with If-Range), from the start
where the server has no ranges or the file has changed meanwhile. What has arrived by halves stays
beside the target, so that the next run goes on, too.
"""

import contextlib
import email.utils
import hashlib
import http.cookiejar
import json
import os
import re
import socket
import threading
import time
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

from .. import addresses, paths, tables
from ..progress import say
from . import space

ATTEMPTS = 5
"""Tries in a row that bring nothing before a transfer is given up."""

LONGEST_WAIT = 300
"""Seconds; what a server asks to wait beyond this counts as a refusal."""

REDIRECTS = 5
DOCUMENT = 64 * 2**20
"""Largest listing that is read, in bytes."""

CHUNK = 2**20
SMALL = 2**22
"""Bytes below which half a file is not worth keeping for the next run."""

TIMEOUT = (15, 60)
"""Seconds to connect, and between two chunks."""

ARCHIVES = (".zip", ".tar", ".gz", ".tgz")
"""What is unpacked where a source says so, by name; of .gz the one file in it."""

_PASSING = (408, 425, 429, 500, 502, 503, 504)


class TransferError(OSError):
    """A file or listing that could not be had; the message says why and what to do."""


class NoNetwork(TransferError):
    """Nothing answered at all."""


class Stopped(Exception):
    """Another transfer failed, or the run was interrupted."""


@dataclass(frozen=True)
class Item:
    """One file to fetch.

    Attributes
    ----------
    url : str
    path : str
        Below the entry's folder, with slashes; of an archive, the name that it is kept under.
    size : int or None
        Bytes, as published.
    checksum : str or None
        As published: ``md5:…`` or ``sha256:…``.
    source : catalogue.Source
        Says whether it is an archive, and what becomes of it.
    part : str or None
    """

    url: str
    path: str
    size: int | None
    checksum: str | None
    source: object
    part: str | None = None

    @property
    def packed(self):
        """Whether it is an archive to unpack."""
        return self.source.unpack is not None and self.path.lower().endswith(ARCHIVES)


class Web:
    """Requests to public hosts, by HTTPS.

    Parameters
    ----------
    loopback : bool
        Allow HTTP to this machine itself, for the servers of tests. Never by default.

    Raises
    ------
    ImportError
        The library is missing; names the extra.
    """

    def __init__(self, loopback=False):
        try:
            import requests
        except ImportError:
            raise ImportError(
                "unidino download needs the package requests: pip install 'unidino[download]'."
            ) from None
        self._requests = requests
        # Bodies are read below requests, which would unpack what is stored packed.
        from urllib3.exceptions import HTTPError

        self.broken = (requests.exceptions.RequestException, HTTPError)
        self._loopback = loopback
        self._local = threading.local()
        self.stop = threading.Event()

    def pause(self, seconds):
        """Wait, unless the run ends."""
        if self.stop.wait(seconds):
            raise Stopped

    def _session(self):
        """One session a thread, without credentials of the user's and without cookies kept."""
        if not hasattr(self._local, "session"):
            session = self._requests.Session()
            # No ~/.netrc: only the settings of proxies and certificates are taken over.
            session.trust_env = False
            session.cookies.set_policy(http.cookiejar.DefaultCookiePolicy(allowed_domains=[]))
            session.verify = (
                os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True
            )
            self._local.session = session
        return self._local.session

    def _check(self, url, came_from=None):
        """The proxies for an address that may be asked.

        A name that leads elsewhere a moment later leads to a machine without its certificate.

        Raises
        ------
        TransferError, OSError
            Another protocol, a private host; an unknown one.
        """
        parts = urlsplit(url)
        told = f"{came_from} leads to {url}" if came_from else url
        here = self._loopback and parts.scheme == "http"
        if parts.scheme != "https" and not here or parts.username or not parts.hostname:
            raise TransferError(f"{told}: only https addresses are asked. Nothing was fetched.")
        utils = self._requests.utils
        proxies = {} if here else utils.get_environ_proxies(url)
        proxied = utils.select_proxy(url, proxies) is not None
        try:
            found = addresses.check_public(parts.hostname, self._loopback, resolve=not proxied)
        except ValueError as error:
            raise TransferError(f"{told}: {error}") from None
        if here and found and not addresses.is_loopback(found):
            raise TransferError(f"{told}: only https addresses are asked. Nothing was fetched.")
        return proxies

    @contextlib.contextmanager
    def opened(self, url, headers=None, method="GET"):
        """The answer to a request, its body unread, redirects followed from https to https.

        Raises
        ------
        TransferError
            A refusal that stays one: names address, status and what to do.
        OSError
            What may pass: no connection, an overloaded server (`_Passing`).
        """
        origin, answer = url, None
        for _ in range(REDIRECTS + 1):
            proxies = self._check(url, None if url == origin else origin)
            answer = self._session().request(
                method,
                url,
                headers={"Accept-Encoding": "identity", **(headers or {})},
                stream=True,
                timeout=TIMEOUT,
                allow_redirects=False,
                proxies=proxies,
            )
            if not answer.is_redirect:
                break
            url = urljoin(url, answer.headers["location"])
            answer.close()
        else:
            raise TransferError(f"{origin} leads in circles ({REDIRECTS} redirects). Try later.")
        with contextlib.closing(answer):
            _refuse(answer, origin)
            yield answer

    def patiently(self, action, url):
        """Do something with the network, again after a while where it fails in passing.

        Parameters
        ----------
        action : callable
            Takes nothing; raises `Progressed` where it broke off but got further.
        url : str
            For messages.

        Raises
        ------
        NoNetwork
            Nothing ever answered.
        TransferError
            Other failures that stay.
        """
        failures, heard = 0, False
        while True:
            if self.stop.is_set():
                raise Stopped
            try:
                return action()
            except Progressed as error:
                failures, heard, reason, wait = 0, True, str(error), None
            except _Passing as error:
                heard, reason, wait = True, str(error), error.wait
            except self._requests.exceptions.SSLError as error:
                raise TransferError(
                    f"the certificate of {urlsplit(url).hostname} is not trusted "
                    f"({_reason(error)}). Behind a proxy that opens connections, name its "
                    "certificates in REQUESTS_CA_BUNDLE; nothing was fetched."
                ) from None
            except (*self.broken, socket.gaierror) as error:
                reason, wait = _reason(error), None
                heard = heard or not _unreached(self._requests, error)
            failures += 1
            if failures >= ATTEMPTS:
                break
            wait = min(2 ** (failures - 1), 60) if wait is None else wait
            say(f"{_short(url)}: {reason}; trying again in {wait:.0f} s")
            self.pause(wait)
        kind = TransferError if heard else NoNetwork
        raise kind(f"{url} could not be had in {ATTEMPTS} tries: {reason}.")

    def document(self, url):
        """The text of a small document, such as a listing.

        Raises
        ------
        TransferError
            As `patiently`; or it is larger than `DOCUMENT`.
        """

        def read():
            with self.opened(url) as answer:
                content = bytearray()
                for chunk in answer.iter_content(CHUNK):
                    content += chunk
                    if len(content) > DOCUMENT:
                        raise TransferError(
                            f"{url} is larger than {space.words(DOCUMENT)}: no listing."
                        )
                return content.decode("utf-8", errors="replace")

        return self.patiently(read, url)

    def size(self, url):
        """The size of a file in bytes as its server says; None where it does not."""

        def ask():
            with self.opened(url, method="HEAD") as answer:
                _refuse_packed(answer, url)
                return _length(answer)

        try:
            return self.patiently(ask, url)
        except NoNetwork:
            raise
        except TransferError:  # some servers know no HEAD; the transfer says what is wrong
            return None


class _Passing(OSError):
    """A server that may answer later; `wait` in seconds, if it says."""

    def __init__(self, message, wait=None):
        super().__init__(message)
        self.wait = wait


class Progressed(OSError):
    """A transfer that broke off, but had got further: it counts as no failure."""


def _refuse(answer, url):
    """Raise on a status that brings nothing."""
    status = answer.status_code
    if status in (200, 206, 416):
        return
    if status in _PASSING:
        wait = _retry_after(answer.headers.get("retry-after"))
        if wait is None or wait <= LONGEST_WAIT:
            raise _Passing(f"the server says {status}", wait)
        raise TransferError(
            f"{url}: the server says {status} and asks to wait {wait / 60:.0f} minutes. "
            "Run this again then; it goes on where it stopped."
        )
    meant = {
        401: "it wants an account",
        403: "it is not given out",
        404: "there is no such file any more",
        410: "it was withdrawn",
    }.get(status, "this was not expected")
    raise TransferError(f"{url}: the server says {status}, {meant}.")


def _retry_after(value):
    """Seconds of a Retry-After header, a number or a date."""
    if not value:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        then = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, then.timestamp() - time.time())


def _length(answer):
    value = answer.headers.get("content-length", "")
    return int(value) if value.isdigit() else None


def _reason(error):
    """The innermost cause in one line, without addresses of objects."""
    while True:
        inner = error.__cause__ or error.__context__ or getattr(error, "reason", None)
        if inner is None and error.args and isinstance(error.args[0], BaseException):
            inner = error.args[0]
        if not isinstance(inner, BaseException):
            break
        error = inner
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return re.sub(r"<[^>]*>:? ?", "", str(text).split("\n")[0]) or type(error).__name__


def _unreached(requests, error):
    """Whether nothing answered at all."""
    broken = requests.exceptions.ChunkedEncodingError
    kinds = requests.exceptions.ConnectionError, socket.gaierror
    return isinstance(error, kinds) and not isinstance(error, broken)


def _short(url):
    """The last part of an address, for messages between others."""
    return urlsplit(url).path.rstrip("/").rpartition("/")[2] or urlsplit(url).hostname or url


def _validator(headers):
    """What says that a file is still the same: a strong ETag, else its date; None without."""
    etag = headers.get("etag")
    if etag and not etag.startswith("W/"):
        return etag
    return headers.get("last-modified")


class _Part:
    """What has arrived of a file, and which version of it that is."""

    def __init__(self, item, hidden):
        name = paths.escape(item.path)
        self.item = item
        self.file = hidden / f"{name}.part"
        self._state = hidden / f"{name}.part.json"
        self.state = {}
        with contextlib.suppress(OSError, ValueError):
            self.state = json.loads(self._state.read_text())
        if self.state.get("url") != item.url:
            self.forget()

    @property
    def have(self):
        return self.file.stat().st_size if self.file.exists() else 0

    @property
    def total(self):
        return self.item.size if self.item.size is not None else self.state.get("total")

    def begin(self, headers, total):
        """A version of the file starts to arrive."""
        state = {"url": self.item.url, "validator": _validator(headers), "total": total}
        self.file.unlink(missing_ok=True)
        if total is None or total > SMALL:
            tables.write_json(self._state, state)
        self.state = state

    def forget(self):
        """Remove what has arrived."""
        self.file.unlink(missing_ok=True)
        self._state.unlink(missing_ok=True)
        self.state = {}


def fetch(web, item, target, hidden, counted):
    """Fetch one file to its place.

    Parameters
    ----------
    web : Web
    item : Item
    target : Path
        Renamed to when all of it is there and right; its folder is made. What stands there already
        is taken where it is right.
    hidden : Path
        Folder on the same disk for what has arrived by halves.
    counted : callable
        Takes the number of bytes that arrived; negative where a transfer starts again.

    Returns
    -------
    dict
        ``size``, ``md5`` and ``sha256`` of what arrived.

    Raises
    ------
    TransferError
        It cannot be had, or is not what was published; says what to do.
    OSError
        The disk is full, or may not be written.
    """
    if target.exists():  # whole, but a run was killed before more was done with it
        digests = digest(target)
        if mismatch(item, digests) is None:
            counted(digests["size"])
            return digests
        if target.parent != hidden:
            raise TransferError(
                f"{target} is there already and is not what was published. Nothing was changed: "
                "move it away, or fetch into another folder (root)."
            )
        target.unlink()
    counted(_Part(item, hidden).have)
    for attempt in (1, 2):
        part = _Part(item, hidden)
        try:
            web.patiently(lambda part=part: _receive(web, part, counted), item.url)
        except OSError as error:
            raise space.told(error, target, item.size, part.have) from None
        digests = digest(part.file)
        wrong = mismatch(item, digests)
        if wrong is None:
            break
        counted(-digests["size"])
        part.forget()
        if attempt == 2:
            raise TransferError(
                f"{item.url}: {wrong}, twice. What arrived was removed. Try later; if it stays so, "
                "the file was changed at its source, or something on the way changes it."
            )
        say(f"{_short(item.url)}: {wrong}; what arrived is removed, fetching it again")
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(part.file, target)
    part.forget()
    return digests


def _receive(web, part, counted):
    """Let the rest of a file arrive; raises where it breaks off."""
    item, have = part.item, part.have
    if part.total is not None and have >= part.total:
        if have == part.total:
            part.file.touch()
            return
        counted(-have)
        part.forget()
        have = 0
    if have and not part.state.get("validator") and item.checksum is None:
        # Nothing would tell whether both halves are of one file.
        counted(-have)
        part.forget()
        have = 0
    headers = {}
    if have:
        headers["Range"] = f"bytes={have}-"
        if part.state.get("validator"):
            headers["If-Range"] = part.state["validator"]
    with web.opened(item.url, headers) as answer:
        _refuse_packed(answer, item.url)
        if answer.status_code == 416:
            counted(-have)
            part.forget()
            raise _Passing("the server has less than had arrived; it starts again")
        if answer.status_code == 206:
            start, total = _range(answer)
            known = part.state.get("validator")
            changed = known is not None and _validator(answer.headers) not in (None, known)
            changed = changed or None not in (total, part.total) and total != part.total
            if start != have or changed:
                counted(-have)
                part.forget()
                raise _Passing("the file has changed since; it starts again")
        else:
            start, total = 0, _length(answer)
            if have:
                say(f"{_short(item.url)}: the server does not go on in the middle; from the start")
                counted(-have)
            part.begin(answer.headers, total)
        if item.size is not None and total is not None and total != item.size:
            part.forget()
            raise TransferError(
                f"{item.url}: the server has {total} bytes, {item.size} were published. The file "
                "was changed at its source, or something else answers for it."
            )
        _write(web, part, answer, start, counted)
    if part.total is not None and part.have < part.total:
        kind = Progressed if part.have > start else _Passing
        raise kind(f"it broke off at {part.have} of {part.total} bytes")
    if part.total is not None and part.have > part.total:
        counted(-part.have)
        part.forget()
        raise TransferError(f"{item.url}: more bytes arrive than the {part.total} that were said.")


def _refuse_packed(answer, url):
    """Stop on a body that a server packs on the way, though it was asked not to.

    A file that is stored packed is told of in the same words, and is what is wanted.
    """
    encoding = answer.headers.get("content-encoding", "identity").lower()
    stored = encoding in ("gzip", "x-gzip") and urlsplit(url).path.endswith((".gz", ".tgz"))
    if encoding != "identity" and not stored:
        raise TransferError(
            f"{url}: the server sends it packed ({encoding}), which was not asked for, so that "
            "its size and checksum cannot be told. Try later, or fetch it by hand."
        )


def _write(web, part, answer, start, counted):
    """Append the body of an answer to what has arrived."""
    limit = part.total
    try:
        with open(part.file, "ab") as file:
            for chunk in answer.raw.stream(CHUNK, decode_content=False):
                if web.stop.is_set():
                    raise Stopped
                file.write(chunk)
                counted(len(chunk))
                if limit is not None and file.tell() > limit:
                    break
            if file.tell() > SMALL:
                file.flush()
                os.fsync(file.fileno())
    except web.broken as error:
        if part.have > start:
            raise Progressed(f"{_reason(error)} at {part.have} bytes") from None
        raise


def _range(answer):
    """(first byte, size of the file) of a partial answer; the size is None where unknown."""
    header = answer.headers.get("content-range", "")
    found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", header.strip())
    if not found:
        return None, None
    return int(found[1]), None if found[3] == "*" else int(found[3])


def digest(file):
    """Size, MD5 and SHA-256 of a file, read once."""
    md5, sha256, size = hashlib.md5(usedforsecurity=False), hashlib.sha256(), 0
    with open(file, "rb") as opened:
        while chunk := opened.read(CHUNK):
            md5.update(chunk)
            sha256.update(chunk)
            size += len(chunk)
    return {"size": size, "md5": md5.hexdigest(), "sha256": sha256.hexdigest()}


def mismatch(item, digests):
    """How a file differs from what was published, in words; None where it does not."""
    if item.checksum is not None:
        kind, _, wanted = item.checksum.partition(":")
        if digests[kind] != wanted.lower():
            return f"its {kind.upper()} is {digests[kind]}, published is {wanted}"
    if item.size is not None and digests["size"] != item.size:
        return f"it has {digests['size']} bytes, published are {item.size}"
    return None
