"""A web server of this machine whose every answer a test decides."""

import contextlib
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from unidino import remote, web

DATA = bytes(range(256)) * 8


class Server(ThreadingHTTPServer):
    """A server of this machine: every path has its answer, bytes or what writes one."""

    daemon_threads = True

    def __init__(self):
        self.answers, self.asked = {}, []
        super().__init__(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server_address[1]}"

    def url(self, path, answer=DATA):
        self.answers[path] = answer
        return f"http://{self.address}{path}"

    def handle_error(self, *_):
        """Clients that hang up are part of the tests."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path = self.path.partition("?")[0]
        self.server.asked.append(path)
        answer = self.server.answers.get(path)
        if answer is None:
            answer = status(404)
        answer(self) if callable(answer) else send(self, answer)

    def log_message(self, *_):
        pass


def send(handler, data, length=None, code=200, **headers):
    handler.send_response(code)
    handler.send_header("Content-Length", str(len(data) if length is None else length))
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(data)


def status(code, **headers):
    return lambda handler: send(handler, b"<Error>", code=code, **headers)


def broken_off(handler):
    send(handler, DATA[:100], length=len(DATA))
    handler.close_connection = True


def in_turn(*answers):
    left = iter(answers)

    def answer(handler):
        one = next(left)
        one(handler) if callable(one) else send(handler, one)

    return answer


def trickle(handler):
    """A byte now and then, without an end."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000000")
    handler.end_headers()
    with contextlib.suppress(OSError):
        for _ in range(200):
            handler.wfile.write(b"x")
            handler.wfile.flush()
            time.sleep(0.02)


def without_end(handler):
    handler.send_response(200)
    handler.send_header("Connection", "close")
    handler.end_headers()
    handler.close_connection = True
    with contextlib.suppress(OSError):
        for _ in range(1000):
            handler.wfile.write(DATA)


@contextlib.contextmanager
def serving(monkeypatch, tmp_path):
    """A `Server` that may be asked, and a cache of its own."""
    made = Server()
    threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    monkeypatch.setenv("UNIDINO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("UNIDINO_REMOTE_ALLOW", made.address)
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(web, "_WAITS", (0, 0, 0))
    remote.check([])
    yield made
    web._web.cache_clear()
    made.shutdown()
    made.server_close()
