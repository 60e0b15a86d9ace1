"""A server on this machine that breaks off, lies and changes its files as a test wants."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from unidino.download import catalogue, transfer


class Served:
    """What the server answers, by path.

    Attributes
    ----------
    files : dict
        Path to bytes.
    etags : dict
        Path to ETag; the MD5 by default, None for neither ETag nor date.
    cuts : dict
        Path to the bytes after which the connection is closed, one an answer, in turn.
    statuses : dict
        Path to what is answered before the file, in turn: a status, or (status, headers).
    ranges : bool
    lengths : dict
        Path to the Content-Length that is said; None for none.
    headers : dict
        Path to further headers of the answer.
    before : dict
        Path to a function that is called before an answer.
    asked : list
        (method, path, headers) of every request.
    """

    def __init__(self, address):
        self.address = address
        self.files, self.etags, self.cuts, self.statuses = {}, {}, {}, {}
        self.lengths, self.before, self.headers = {}, {}, {}
        self.ranges = True
        self.asked = []

    def url(self, path=""):
        return f"{self.address}/{path}"

    def ranges_asked(self, path):
        """The Range headers of the requests for a file, None where there was none."""
        return [h.get("Range") for m, p, h in self.asked if p == path and m == "GET"]


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self._answer(False)

    def do_GET(self):
        self._answer(True)

    def _answer(self, with_body):
        served = self.server.served
        path = self.path.lstrip("/")
        served.asked.append((self.command, path, self.headers))
        if path in served.before:
            served.before[path]()
        if with_body and served.statuses.get(path):
            status = served.statuses[path].pop(0)
            status, headers = status if isinstance(status, tuple) else (status, {})
            return self._head(status, {"Content-Length": "0"} | headers)
        if path not in served.files:
            return self._head(404, {"Content-Length": "0"})
        content = served.files[path]
        etag = served.etags.get(path, f'"{hashlib.md5(content).hexdigest()}"')
        start, status, headers = 0, 200, dict(served.headers.get(path, {}))
        if etag is not None:
            headers["ETag"] = etag
        asked = self.headers.get("Range")
        same = self.headers.get("If-Range") in (None, etag)
        if asked and served.ranges and same:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= len(content):
                return self._head(416, {"Content-Range": f"bytes */{len(content)}"})
            status = 206
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        length = served.lengths.get(path, len(content) - start)
        if length is not None:
            headers["Content-Length"] = str(length)
        self._head(status, headers)
        if with_body:
            cuts = served.cuts.get(path)
            self.wfile.write(content[start : start + cuts.pop(0)] if cuts else content[start:])
        self.close_connection = True

    def _head(self, status, headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        """A client that went away, as some tests want, is no news."""


@pytest.fixture
def served():
    server = _Server(("127.0.0.1", 0), _Handler)
    server.served = Served(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server.served
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def _of_the_tests(monkeypatch):
    """The tests' files are small, and halves of them are kept all the same; no proxy is asked."""
    monkeypatch.setattr(transfer, "SMALL", 0)
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def web(monkeypatch):
    """Requests that may reach the server, and do not really wait; ``web.waited`` says how long."""
    made = transfer.Web(loopback=True)
    made.waited = []
    monkeypatch.setattr(made, "pause", made.waited.append)
    return made


@pytest.fixture
def said(monkeypatch):
    """What a download says, as a list of lines."""
    lines = []
    for module in ("command", "transfer", "received"):
        monkeypatch.setattr(f"unidino.download.{module}.say", lines.append)
    return lines


@pytest.fixture
def entry_of():
    """Makes an entry of the catalogue, with harmless values for what a test does not give."""

    def make(*sources, **values):
        common = {
            "name": "some",
            "title": "something published",
            "licence": "CC0 1.0",
            "licence_url": "https://creativecommons.org/publicdomain/zero/1.0/",
            "asks": False,
            "cite": ("Somebody 2025",),
            "folder": "Some",
            "size": "1 MB",
            "automatic": "all",
            "manual": "Open the page and take the files.",
            "confirmed": (),
        }
        made = tuple(catalogue.Source(**source) for source in sources)
        return catalogue.Entry(**common | values, sources=made)

    return make


@pytest.fixture
def files_entry(served, entry_of):
    """An entry of one file, ``a.bin``, whose content the test has put on the server."""

    def make(size=None, checksum=None, name="a.bin", **values):
        given = {"name": name}
        given |= {} if size is None else {"size": size}
        given |= {} if checksum is None else {"checksum": checksum}
        return entry_of({"kind": "files", "base": served.url(), "files": (given,)}, **values)

    return make
