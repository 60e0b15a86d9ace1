"""One file of the web, copied to a path: asked of machines of the internet alone, and again where a
server does not answer.

What an address leads to is checked when a connection is opened, after every redirect too, so that
no name can lead elsewhere a moment later. A proxy of the environment is used, which looks names up
itself: then they are checked before each request, as far as this machine knows them. No accounts,
passwords or cookies are sent.
"""

import asyncio
import contextlib
import errno
import functools
import os
import re
import socket
import time
from urllib.parse import urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

from . import addresses

PATIENCE = 60
"""Seconds that a server may stay silent, and after which `SLOWEST` holds."""

SLOWEST = 10_000
"""Bytes a second, on average: what comes slower counts as no answer."""

ATTEMPTS = 4
"""How often a server that does not answer, or breaks off, is asked."""

TOGETHER = 16
"""Files that are fetched side by side."""

S3 = "https://s3.amazonaws.com/"
"""The address below which buckets lie, whatever their names."""

OWN = (
    "A server of your own network is named, address and port, by the environment variable "
    "UNIDINO_REMOTE_ALLOW."
)
"""What an error about a private address says at its end."""

_PRIVATE = "leads to a machine that is none of the internet"
_CONNECTING = 20
_WAITS = (1, 2, 4)
_LONGEST_WAIT = 30
_TRANSIENT = (408, 429, 500, 502, 503, 504)


class RemoteError(ValueError):
    """A file elsewhere that cannot be had; the message begins with its address."""


class AbsentError(RemoteError):
    """There is no such file, by the answer of its server."""


class RefusedError(RemoteError):
    """The server wants to know who asks; some answer so where there is no such file."""


class UnansweredError(RemoteError):
    """No answer, or only such as break off; `reason` says so in words."""

    def __init__(self, message, reason=""):
        super().__init__(message)
        self.reason = reason


class _Again(Exception):
    """No answer, or one that broke off: it may come another time, after `wait` seconds."""

    def __init__(self, reason, wait=0):
        super().__init__(reason)
        self.wait = wait


class _Status(Exception):
    """What a server answers in the place of a file."""

    def __init__(self, response):
        self.status = response.status
        self.region = response.headers.get("x-amz-bucket-region")
        self.wait = response.headers.get("Retry-After", "")


def modules():
    """What fetches: the module aiohttp, and fsspec's file system of the web.

    Raises
    ------
    ImportError
        Names what is not installed, and the extra.
    """
    try:
        import aiohttp
        from fsspec.implementations.http import HTTPFileSystem
    except ImportError as error:
        raise ImportError(
            f"files elsewhere are fetched by fsspec and aiohttp, and {error.name} is not "
            "installed: pip install 'unidino[remote]'."
        ) from None
    return aiohttp, HTTPFileSystem


def allowed():
    """The (address, port) pairs that are asked though they are not of the internet.

    Raises
    ------
    ValueError
        UNIDINO_REMOTE_ALLOW holds something else.
    """
    given = os.environ.get("UNIDINO_REMOTE_ALLOW", "").split(",")
    made = set()
    for one in filter(None, map(str.strip, given)):
        host, _, port = one.rpartition(":")
        if not host or not port.isdecimal():
            raise ValueError(
                f"UNIDINO_REMOTE_ALLOW holds {one!r}; expected addresses with their ports, such as "
                "127.0.0.1:8000."
            )
        made.add((host.strip("[]"), int(port)))
    return made


def check_host(url, resolve=False):
    """Stop on an address whose host is not a machine of the internet, as far as its name tells.

    Parameters
    ----------
    url : str
    resolve : bool
        Look its name up, too.

    Raises
    ------
    ValueError
        Names host and remedy.
    """
    if _server(url) in allowed():
        return
    with contextlib.suppress(OSError):  # a name that this machine does not know
        try:
            addresses.check_public(_server(url)[0], resolve=resolve)
        except ValueError as error:
            raise ValueError(f"{error} {OWN}") from None


def _server(url):
    """(host, port) of an address."""
    parts = urlsplit(url)
    return parts.hostname, parts.port or {"https": 443, "http": 80}[parts.scheme]


def bring(url, target, file, check_size):
    """Copy what an address holds to a path.

    Parameters
    ----------
    url : str
        Percent-encoded.
    target : str or Path
    file : str
        What messages call it.
    check_size : callable
        Takes the bytes that are to come, or have come; raises where they are too many.

    Raises
    ------
    RemoteError
        There is none, or none that may be had; a machine that is not of the internet.
    UnansweredError
        No answer after `ATTEMPTS`.
    OSError
        The path cannot be written.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return _download(url, target, file, check_size)
        except _Again as error:
            reason = error
        if attempt < ATTEMPTS:
            time.sleep(max(_WAITS[attempt - 1], reason.wait))
    raise UnansweredError(f"{file}: {reason} ({ATTEMPTS} attempts).", str(reason))


def _download(url, target, file, check_size):
    """Copy what an address holds to a path, in one attempt."""
    aiohttp, _ = modules()
    try:
        proxy = _proxy(url, file)
        web = _web(os.getpid(), proxy is not None)
        # To a callback, for what is asked for is also what is passed to a request.
        web.get_file(url, str(target), callback=_watch(check_size), proxy=proxy)
    except _Status as answer:
        _explain(answer, url, target, file, check_size)
    except aiohttp.ClientSSLError as error:
        raise RemoteError(f"{file}: no safe connection ({words(error)}).") from None
    except aiohttp.TooManyRedirects:
        raise RemoteError(f"{file}: leads from one address to the next without an end.") from None
    except (aiohttp.RedirectClientError, aiohttp.InvalidURL) as error:
        raise RemoteError(f"{file}: leads to no file of the web ({words(error)}).") from None
    except aiohttp.ClientPayloadError:
        raise _Again("the answer broke off before its end") from None
    except TimeoutError:
        raise _Again(f"no answer within {PATIENCE} s") from None
    except (aiohttp.ClientError, ConnectionError, PermissionError) as error:
        if found := re.search(rf"{_PRIVATE}, [^ ,\]]+", str(error)):
            raise RemoteError(f"{file}: {found[0]}, and nothing was asked of it. {OWN}") from None
        if not isinstance(error, aiohttp.ClientError | ConnectionError):
            raise
        raise _Again(words(error)) from None


def _explain(answer, url, target, file, check_size):
    """What an answer that is no file means."""
    status = answer.status
    if status == 301 and answer.region and url.startswith(S3):
        region = re.sub(r"[^a-z0-9-]", "", answer.region)
        there = url.replace("//s3.", f"//s3.{region}.", 1)
        return _download(there, target, file, check_size)
    if status in _TRANSIENT:
        wait = int(answer.wait) if answer.wait.isdecimal() else 0
        raise _Again(f"the server answers {status}", min(wait, _LONGEST_WAIT))
    if status in (404, 410):
        raise AbsentError(f"{file}: there is no such file ({status}). Correct the table.")
    if status in (401, 403):
        raise RefusedError(
            f"{file}: the server refuses it ({status}): it is not public, or there is none. "
            "Only what needs no account is fetched; copy other images to this machine."
        )
    raise RemoteError(f"{file}: the server answers {status} in the place of a file.")


def words(error):
    return " ".join(str(error).split()) or type(error).__name__


def _watch(check_size):
    """A callback of a transfer that stops it where it is too large or too slow."""
    from fsspec.callbacks import Callback

    began = time.monotonic()

    class Watch(Callback):
        def set_size(self, size):
            check_size(size or 0)

        def relative_update(self, inc=1):
            self.value += inc
            check_size(self.value)
            seconds = time.monotonic() - began
            if seconds > PATIENCE and self.value < seconds * SLOWEST:
                raise _Again(f"no more than {self.value / seconds:.0f} bytes a second came")

    return Watch()


def _proxy(url, file):
    """The proxy through which an address is asked, or None; names are checked where there is one.

    Raises
    ------
    RemoteError
        A proxy of another kind than HTTP's.
    """
    parts = urlsplit(url)
    known = getproxies()
    proxy = known.get(parts.scheme) or known.get("all")
    if not proxy or _server(url) in allowed() or proxy_bypass(parts.hostname):
        return None
    if not proxy.startswith(("http://", "https://")):
        raise RemoteError(
            f"{file}: the proxy of the environment, {proxy.partition('://')[0]}, is of a kind that "
            f"is not used here. Set {parts.scheme}_proxy to one of HTTP, or no_proxy to the host."
        )
    _check_before(url)
    return proxy


def _check_before(url):
    """Stop on a host that this machine knows to be none of the internet, before it is asked."""
    try:
        check_host(url, resolve=True)
    except ValueError:
        raise _private(*_server(url)) from None


def _private(host, port):
    return PermissionError(errno.EPERM, f"{_PRIVATE}, {host}:{port}")


@functools.lru_cache(maxsize=2)
def _web(process, proxied):
    """What fetches, for one process: connections are not shared with those that it starts."""
    _, HTTPFileSystem = modules()
    return HTTPFileSystem(
        encoded=True,
        get_client=functools.partial(_client, proxied=proxied),
        skip_instance_cache=True,
    )


async def _client(proxied, **_):
    aiohttp, _ = modules()

    async def check_status(response):
        if response.status != 200:
            raise _Status(response)

    async def check_redirect(session, context, answer):
        target = answer.response.headers.get("Location", "")
        target = urljoin(str(answer.url), target)
        if target.startswith(("https://", "http://")):
            await asyncio.get_running_loop().run_in_executor(None, _check_before, target)

    redirects = aiohttp.TraceConfig()
    redirects.on_request_redirect.append(check_redirect)
    return aiohttp.ClientSession(
        # All connections of the one lead to the proxy, those of the other to what is asked.
        connector=aiohttp.TCPConnector(limit=TOGETHER, socket_factory=None if proxied else _socket),
        trace_configs=[redirects] if proxied else None,
        raise_for_status=check_status,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECTING, sock_read=PATIENCE),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"Accept-Encoding": "identity"},
        trust_env=False,
    )


def _socket(info):
    """The socket of a connection, once the address that it leads to is found to be public."""
    family, kind, protocol, _, (host, port, *_) = info
    if (host, port) not in allowed():
        try:
            addresses.check_public(host)
        except ValueError:
            raise _private(host, port) from None
    return socket.socket(family, kind, protocol)
