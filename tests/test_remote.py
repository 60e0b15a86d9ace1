"""Files elsewhere: what is asked of whom, and what becomes of every answer."""

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections import Counter

import numpy as np
import pytest
import tifffile

from tests.serving import DATA, broken_off, in_turn, send, status, trickle, without_end
from unidino import identity, images, paths, presence, remembered, remote, web


def refused(file):
    with pytest.raises(remote.RemoteError) as raised:
        remote.copy(file)
    assert str(raised.value).startswith(f"{file}: ")
    return str(raised.value).removeprefix(f"{file}: ")


WRITTEN = {
    "https://host/a b/é.tif#1": "https://host/a%20b/%C3%A9.tif",
    "HTTP://host:8000/a%20b.tif?sig=x%2By": "http://host:8000/a%20b.tif?sig=x%2By",
    "http://[2001:4860::88]:8/a.tif": "http://[2001:4860::88]:8/a.tif",
    "https://host/a::b.tif": "https://host/a::b.tif",
    "s3://bucket/a b/c#1.tif": "s3://bucket/a b/c#1.tif",
    "zip:///in/a.tif::x/../b.zip": "zip://in/a.tif::/tables/b.zip",
    "zip://a.tif::file:///far/b%20c.zip": "zip://a.tif::/far/b c.zip",
    "zip://../../etc/a.tif::/b.zip": "zip://../../etc/a.tif::/b.zip",
    "gs://bucket/a.tif": "gs addresses are not read, only https, http, s3, zip. Copy the images",
    "ftp://host/a.tif": "ftp addresses are not read",
    "s3:/bucket/a.tif": "lacks a slash: write s3://",
    "s3://bucket": "names no bucket and key",
    "s3://a/": "names no bucket and key",
    "s3://evil.org:80#/a.tif": "names no bucket and key",
    "s3://evil.org@/a.tif": "names no bucket and key",
    "https:///a.tif": "names no host",
    "https://host:x/a.tif": "is no address",
    "https://[::1/a.tif": "is no address",
    "https://me:secret@host/a.tif": "holds an account. Only what is public is read",
    "https://public.org@127.0.0.1/a.tif": "holds an account",
    "zip://a.tif": "names no member of an archive",
    "zip://::b.zip": "names no member of an archive",
    "zip://a.tif::https://host/b.zip": "an archive elsewhere is not read. Copy it",
    "zip://a.tif::zip://b.zip::/c.zip": "an archive elsewhere is not read",
    "simplecache::https://host/a.tif": "protocols that are chained are not read",
    "filecache::s3://bucket/a.tif": "protocols that are chained are not read",
    "https://host/a.tif::zip://b": "protocols that are chained are not read",
}


@pytest.mark.parametrize("given", WRITTEN)
def test_addresses_are_written_in_one_way_or_refused(given):
    if WRITTEN[given].startswith(remote._START):
        made = remote.address(given, "/tables/")
        assert made == WRITTEN[given] == remote.address(made, "/tables/")
        assert remote.is_remote(made)
    else:
        with pytest.raises(ValueError, match=WRITTEN[given]):
            remote.address(given, "/tables/")


@pytest.mark.parametrize(
    ("file", "address", "name"),
    [
        ("s3://b-1/k/a.tif", "https://b-1.s3.amazonaws.com/k/a.tif", "a.tif"),
        ("s3://b/k/a b+c#?.tif", "https://b.s3.amazonaws.com/k/a%20b%2Bc%23%3F.tif", "a b+c#?.tif"),
        ("s3://a.b/k.tif", "https://s3.amazonaws.com/a.b/k.tif", "k.tif"),
        ("s3://Old_Name/k.tif", "https://s3.amazonaws.com/Old_Name/k.tif", "k.tif"),
        ("https://host/x/a%20b.tif?sig=/c.png", "https://host/x/a%20b.tif?sig=/c.png", "a b.tif"),
    ],
)
def test_buckets_have_public_addresses(file, address, name):
    assert remote.web_address(file) == address
    assert remote.file_name(file) == name


def test_what_a_table_wants_is_counted_by_host():
    files = ["s3://b/1.tif", "https://b.s3.amazonaws.com/2.tif", "https://h:8/3.tif"]
    files += ["zip://4.tif::/d/x.zip", "https://i/5.tif", "https://j/6.tif"]
    told = remote.allowance(files)
    assert told.startswith(
        "the table wants 6 files from elsewhere and from archives: 2 of b.s3.amazonaws.com, 1 of "
        "h:8, 1 of the archive /d/x.zip and of 2 others. Nothing was fetched. If you trust the "
        "table, set remote=True (--remote True, -p remote True)"
    )
    assert "wants 1 file from elsewhere: 1 of i." in remote.allowance(files[4:5])
    packed = remote.allowance(files[3:4])
    assert packed.startswith(
        "the table wants 1 file in archives of this machine: 1 of the archive /d/x.zip. No archive "
        "was opened. If you trust the table, set remote=True (--remote True, -p remote True)"
    )
    assert "elsewhere" not in packed and "fetched" not in packed and "Or unpack them" in packed


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("UNIDINO_REMOTE_CACHE", "much", "UNIDINO_REMOTE_CACHE is 'much'; expected a size such as"),
        ("UNIDINO_REMOTE_CACHE", "0", "UNIDINO_REMOTE_CACHE is '0'"),
        ("UNIDINO_REMOTE_CACHE", "-1 GB", "UNIDINO_REMOTE_CACHE is '-1 GB'"),
        ("UNIDINO_REMOTE_ALLOW", "localhost", "UNIDINO_REMOTE_ALLOW holds 'localhost'; expected"),
        ("UNIDINO_REMOTE_ALLOW", "127.0.0.1:http", "UNIDINO_REMOTE_ALLOW holds '127.0.0.1:http'"),
    ],
)
def test_settings_that_say_nothing(variable, value, message, monkeypatch):
    monkeypatch.setenv(variable, value)
    with pytest.raises(ValueError, match=message):
        remote.check([])


def test_sizes_of_the_cache(monkeypatch):
    for given, size in {"": remote.CACHE_BYTES, "1.5 GB": 15 * 10**8, "2kb": 2000, "7": 7}.items():
        monkeypatch.setenv("UNIDINO_REMOTE_CACHE", given)
        assert remote.cache_bytes() == size


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "10.0.0.1", "[::1]", "2130706433", "169.254.169.254"]
)
def test_private_addresses_of_a_table_are_named_at_once(host, server):
    with pytest.raises(ValueError, match="is not a public address .* UNIDINO_REMOTE_ALLOW"):
        remote.check([server.url("/a.tif"), f"http://{host}:1/a.tif"])
    remote.check([server.url("/a.tif"), "https://data.example.org/a.tif", "s3://b/k.tif"])
    assert not server.asked


def test_what_fetches_may_be_absent(monkeypatch):
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    remote.check(["zip://a.tif::/b.zip"])
    with pytest.raises(ImportError, match=r"aiohttp is not installed: pip install 'unidino\[remot"):
        remote.check(["https://host/a.tif"])


def test_a_file_is_fetched_once_and_keeps_its_ending(server):
    file = server.url("/a b.TIF").replace(" ", "%20") + "?sig=1.png"
    server.answers["/a%20b.TIF"] = DATA
    place = remote.copy(file)
    assert place.suffix == ".tif" and place.read_bytes() == DATA
    assert remote.copy(file) == place and len(server.asked) == 1
    assert not list(place.parent.glob(".*"))


def test_processes_and_threads_wait_for_one_another(server):
    def slowly(handler):
        time.sleep(0.3)
        send(handler, DATA)

    file = server.url("/a.tif", slowly)
    code = f"from unidino import remote; print(remote.copy({file!r}).stat().st_size)"
    others = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) for _ in range(2)
    ]
    threads = [threading.Thread(target=remote.copy, args=(file,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [int(other.communicate()[0]) for other in others] == [len(DATA)] * 2
    assert server.asked == ["/a.tif"]


def test_redirects_lead_to_public_machines_alone(server, monkeypatch):
    for name, target in {
        "/near.tif": server.url("/a.tif"),
        "/private.tif": "http://10.1.2.3/a.tif",
        "/cloud.tif": "http://169.254.169.254/latest/meta-data/",
        "/other.tif": "http://127.0.0.1:9/a.tif",
        "/six.tif": "http://[::1]:9/a.tif",
        "/file.tif": "file:///etc/passwd",
        "/round.tif": server.url("/round.tif"),
    }.items():
        server.answers[name] = status(302, Location=target)
    assert remote.copy(server.url("/near.tif", server.answers["/near.tif"])).read_bytes() == DATA
    for name, machine in {
        "/private.tif": "10.1.2.3:80",
        "/cloud.tif": "169.254.169.254:80",
        "/other.tif": "127.0.0.1:9",
        "/six.tif": "::1:9",
    }.items():
        assert refused(f"http://{server.address}{name}") == (
            f"leads to a machine that is none of the internet, {machine}, and nothing was asked of "
            "it. A server of your own network is named, address and port, by the environment "
            "variable UNIDINO_REMOTE_ALLOW."
        )
    assert "leads to no file of the web (file:///etc" in refused(
        f"http://{server.address}/file.tif"
    )
    assert "without an end" in refused(f"http://{server.address}/round.tif")
    # None of these is asked for again.
    assert Counter(server.asked)["/private.tif"] == 1


@pytest.mark.parametrize("answers", [["127.0.0.1"], ["10.0.0.1", "127.0.0.1"], ["::1"]])
def test_a_name_that_leads_to_this_machine_is_refused_when_it_connects(
    answers, server, monkeypatch
):
    port = int(server.address.partition(":")[2])
    monkeypatch.delenv("UNIDINO_REMOTE_ALLOW")

    def lookup(host, *_, **__):
        assert host == "data.example.org"
        kinds = {False: socket.AF_INET, True: socket.AF_INET6}
        return [
            (
                kinds[":" in one],
                socket.SOCK_STREAM,
                6,
                "",
                (one, port, 0, 0)[: 4 if ":" in one else 2],
            )
            for one in answers
        ]

    server.url("/a.tif")
    file = f"http://data.example.org:{port}/a.tif"
    # The name is not looked up before: what it leads to is seen when a connection is opened.
    remote.check([file])
    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    told = refused(file)
    assert any(f"none of the internet, {one}:{port}, and nothing" in told for one in answers)
    assert not server.asked


@pytest.fixture
def proxied(server, monkeypatch):
    """The server as a proxy of the environment; what is known of names."""
    known = {}
    lookup = socket.getaddrinfo

    def looked_up(host, port, *rest, **options):
        if host in known:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (known[host], port or 0))]
        if host == "127.0.0.1":
            return lookup(host, port, *rest, **options)
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(socket, "getaddrinfo", looked_up)
    monkeypatch.delenv("UNIDINO_REMOTE_ALLOW")
    monkeypatch.setenv("http_proxy", f"http://{server.address}")
    return known


def test_a_proxy_of_the_environment_is_asked(server, proxied, monkeypatch):
    # A name that only the proxy knows.
    file = "http://data.example.org/a.tif"
    server.answers[file] = DATA
    server.answers["http://data.example.org/b.tif"] = status(302, Location=file)
    assert remote.copy("http://data.example.org/b.tif").read_bytes() == DATA
    assert server.asked == ["http://data.example.org/b.tif", file]
    monkeypatch.setenv("no_proxy", "example.org")
    assert "Cannot connect to host data.example.org" in refused("http://data.example.org/c.tif")
    monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:9")
    assert refused("http://other.org/a.tif") == (
        "the proxy of the environment, socks5, is of a kind that is not used here. Set http_proxy "
        "to one of HTTP, or no_proxy to the host."
    )
    assert len(server.asked) == 2


def test_a_proxy_is_not_asked_for_private_machines(server, proxied, monkeypatch):
    proxied |= {"inner.example.org": "10.0.0.1", "data.example.org": "8.8.8.8"}
    private = "leads to a machine that is none of the internet, {}:80, and nothing was asked of it."
    assert private.format("inner.example.org") in refused("http://inner.example.org/a.tif")
    assert private.format("192.168.0.1") in refused("http://192.168.0.1/a.tif")
    assert not server.asked
    for i, target in enumerate(
        ["http://inner.example.org/a", "//169.254.169.254/b", "http://[::1]/"]
    ):
        file = f"http://data.example.org/{i}.tif"
        server.answers[file] = status(302, Location=target)
        assert "none of the internet" in refused(file)
    assert server.asked == [f"http://data.example.org/{i}.tif" for i in range(3)]
    # A server of one's own network, named so, is asked without the proxy.
    monkeypatch.setenv("UNIDINO_REMOTE_ALLOW", server.address)
    assert remote.copy(server.url("/own.tif")).read_bytes() == DATA
    assert server.asked[-1] == "/own.tif"


def test_buckets_in_other_regions_are_asked_there(monkeypatch, tmp_path):
    asked = []

    class Moved:
        status = 301
        headers = {"x-amz-bucket-region": "eu-west-1"}

    class Web:
        def get_file(self, url, *_, **__):
            asked.append(url)
            if len(asked) == 1:
                raise web._Status(Moved)

    monkeypatch.setattr(web, "_web", lambda *_: Web())
    url = remote.web_address("s3://a.b/k/x.tif")
    web.bring(url, tmp_path / "x", "s3://a.b/k/x.tif", lambda size: None)
    assert asked == [url, "https://s3.eu-west-1.amazonaws.com/a.b/k/x.tif"]


ANSWERS = {
    "gone": (status(404), 1, "there is no such file (404). Correct the table."),
    "gone for good": (status(410), 1, "there is no such file (410)"),
    "not public": (status(403), 1, "the server refuses it (403): it is not public, or there is"),
    "account": (status(401), 1, "the server refuses it (401)"),
    "moved nowhere": (status(301), 1, "the server answers 301 in the place of a file."),
    "part": (status(206), 1, "the server answers 206 in the place of a file."),
    "down": (status(503), 4, "the server answers 503 (4 attempts)."),
    "down, waiting": (status(429, Retry_After="0"), 4, "the server answers 429 (4 attempts)."),
    "truncated": (broken_off, 4, "the answer broke off before its end (4 attempts)."),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_answers_that_are_no_file(case, server):
    answer, attempts, message = ANSWERS[case]
    file = server.url("/a.tif", answer)
    assert refused(file).startswith(message)
    assert len(server.asked) == attempts
    assert not list(paths.fetched_folder().glob("??/*"))
    # For some minutes it is not asked for again, and then it is.
    server.url("/a.tif")
    assert refused(file).startswith(message) and len(server.asked) == attempts
    remote.check([])
    assert remote.copy(file).read_bytes() == DATA


def test_a_server_that_comes_back_is_waited_for(server, monkeypatch):
    slept = []
    monkeypatch.setattr(web, "_WAITS", (1, 2, 4))
    monkeypatch.setattr(time, "sleep", slept.append)
    busy = status(503, Retry_After="7")
    file = server.url("/a.tif", in_turn(status(500), busy, broken_off, DATA))
    assert remote.copy(file).read_bytes() == DATA
    assert [wait for wait in slept if wait >= 1] == [1, 7, 4]


def test_servers_that_stay_silent_or_slow(server, monkeypatch):
    monkeypatch.setattr(web, "PATIENCE", 0.2)
    monkeypatch.setattr(web, "ATTEMPTS", 1)
    silent = server.url("/silent.tif", lambda handler: time.sleep(0.5))
    assert refused(silent) == "no answer within 0.2 s (1 attempts)."
    slow = server.url("/slow.tif", trickle)
    assert "bytes a second came (1 attempts)" in refused(slow)


def test_files_that_are_too_large(server, monkeypatch):
    monkeypatch.setattr(remote, "MOST_BYTES", 2 * len(DATA))
    message = "has {:,} bytes or more, and a file elsewhere may have 4,096, which is what an image"
    told = server.url("/told.tif", lambda handler: send(handler, b"", length=10**12))
    assert message.format(10**12) in refused(told)
    assert "bytes or more, and a file elsewhere may have 4,096" in refused(
        server.url("/endless.tif", without_end)
    )
    assert len(server.asked) == 2
    monkeypatch.setenv("UNIDINO_REMOTE_CACHE", "2 kB")
    assert "may have 1,800, which is" in refused(server.url("/small.tif"))


def test_the_least_recently_used_leave_the_cache(server, monkeypatch):
    monkeypatch.setenv("UNIDINO_REMOTE_CACHE", str(5 * len(DATA)))
    files = [server.url(f"/{i}.tif") for i in range(8)]
    places = [remote.copy(file) for file in files[:5]]
    for age, place in enumerate(places):
        os.utime(place, (time.time() - 100 + age,) * 2)
    remote.copy(files[0])
    left = paths.fetched_folder() / places[0].parent.name / ".0.unidino.tmp"
    abandoned = paths.fetched_folder() / "held" / "1.tif"
    abandoned.parent.mkdir()
    for one in (left, abandoned):
        one.write_bytes(DATA)
        os.utime(one, (0, 0))
    remote.copy(files[5])
    # A tenth is freed beside what is too much, and what a killed run left behind.
    assert [place.exists() for place in places] == [True, False, False, True, True]
    assert not left.exists() and not abandoned.exists()
    remote.copy(files[6])
    assert sum(one.stat().st_size for one in paths.fetched_folder().glob("??/*")) == 5 * len(DATA)
    assert remote.copy(files[1]).read_bytes() == DATA
    assert Counter(server.asked) == dict.fromkeys([f"/{i}.tif" for i in range(7)], 1) | {
        "/1.tif": 2
    }


def test_what_is_being_read_stays_though_its_copy_leaves(server, monkeypatch):
    file, kept = server.url("/a.tif"), paths.fetched_folder() / "held"
    with remote.opened(file) as place:
        remote.copy(file).unlink()
        with open(place, "rb") as read:
            assert read.read() == DATA
    assert not list(kept.iterdir())
    with pytest.raises(ValueError, match=f"^{file} is odd$"), remote.opened(file) as place:
        raise ValueError(f"{place} is odd")
    with remote.opened("/some/file") as place:
        assert place == "/some/file"

    def no_links(*_):
        raise OSError("not here")

    monkeypatch.setattr(os, "link", no_links)
    with remote.opened(file) as place:
        assert place == str(remote.copy(file))
    assert remote.copy(file).exists()


def test_bytes_are_counted_again_where_the_count_is_damaged(server, monkeypatch):
    monkeypatch.setenv("UNIDINO_REMOTE_CACHE", str(4 * len(DATA)))
    for i in range(3):
        remote.copy(server.url(f"/{i}.tif"))
    counted = paths.fetched_folder() / "bytes"
    assert int(counted.read_text()) == 3 * len(DATA)
    counted.write_text("x")
    remote.copy(server.url("/3.tif"))
    assert int(counted.read_text()) == 4 * len(DATA)
    remote.copy(server.url("/4.tif"))
    assert int(counted.read_text()) == 3 * len(DATA)


def test_a_cache_that_cannot_be_written_is_named(server, tmp_path):
    (tmp_path / "cache").write_text("")
    message = "fetched/locks cannot be written: a file stands where a folder is wanted. Move it"
    with pytest.raises(OSError, match=message):
        remote.fetch([server.url("/a.tif")])


def test_many_are_fetched_side_by_side_and_those_without_are_left_out(server, capfd):
    together = threading.Barrier(8)

    def at_once(handler):
        together.wait(10)
        send(handler, DATA)

    files = [server.url(f"/{i}.tif", at_once) for i in range(8)]
    gone = f"http://{server.address}/gone.tif"
    remote.fetch([*files, gone, gone, "/local/a.tif", files[0]])
    assert sorted(server.asked) == sorted([f"/{i}.tif" for i in range(8)] + ["/gone.tif"])
    assert "fetching images: 100%" in capfd.readouterr().err
    remote.fetch(files)
    assert not capfd.readouterr().err
    assert "no such file" in refused(gone)


def test_a_host_that_does_not_answer_is_not_asked_for_all(server, monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    monkeypatch.setenv("UNIDINO_REMOTE_ALLOW", f"127.0.0.1:{port},{server.address}")
    files = [f"http://127.0.0.1:{port}/{i}.tif" for i in range(200)]
    with pytest.raises(
        ConnectionError,
        match=rf"127.0.0.1:{port} did not answer for \d+ files in a row .*Connect call failed.*"
        "What is embedded is kept: look at the network, and run this again",
    ):
        remote.fetch(files)
    assert "not asked for, as 127.0.0.1" in refused(files[-1])
    # Other hosts are, and after a new start this one, too.
    assert remote.copy(server.url("/a.tif")).read_bytes() == DATA
    remote.check([])
    assert "Connect call failed" in refused(files[-1])


def test_an_answer_ends_a_row_of_silence(server, monkeypatch):
    monkeypatch.setattr(web, "ATTEMPTS", 1)
    for i in range(3 * remote.SILENT_FILES):
        answer = DATA if i % remote.SILENT_FILES == 1 else status(503)
        with contextlib.suppress(remote.RemoteError):
            remote.copy(server.url(f"/{i}.tif", answer))
    assert len(server.asked) == 3 * remote.SILENT_FILES


def test_a_cache_smaller_than_what_is_read_is_said(server, monkeypatch, capfd):
    monkeypatch.setenv("UNIDINO_REMOTE_CACHE", str(5 * len(DATA)))
    remote.fetch([server.url(f"/{i}.tif") for i in range(9)])
    told = capfd.readouterr().err
    assert "warning: UNIDINO_REMOTE_CACHE, 1.024e-05 GB, holds less than these 9 files" in told


def archive(folder, members, name="a.zip"):
    with zipfile.ZipFile(folder / name, "w", zipfile.ZIP_DEFLATED) as made:
        for member, data in members.items():
            made.writestr(member, data)
    return str(folder / name)


def test_members_of_archives(server, tmp_path):
    hostile = ["../../up.tif", "/etc/passwd.tif", "C:\\x.tif", "in/side.tif", "é ü.tif"]
    path = archive(tmp_path, {name: name.encode() for name in hostile})
    before = {one for one in tmp_path.rglob("*") if one.is_file()}
    for name in hostile:
        file = f"zip://{name}::{path}"
        place = remote.copy(file)
        assert place.read_bytes() == name.encode()
        assert place.parent.parent == paths.fetched_folder()
    made = {one for one in tmp_path.rglob("*") if one.is_file()} - before
    assert all(paths.fetched_folder() in one.parents for one in made)
    absent = [f"zip://no.tif::{path}", f"zip://in/side.tif::{path}x"]
    assert presence.missing_files([*absent, f"zip://in/side.tif::{path}"]) == absent
    assert refused(absent[0]) == "its archive has no such member. Correct the table."
    assert "its archive cannot be opened" in refused(absent[1])
    assert not server.asked


def test_an_archive_that_changed_is_read_again(server, tmp_path):
    for data in (b"one", b"other"):
        path = archive(tmp_path, {"a.tif": data})
        assert remote.copy(f"zip://a.tif::{path}").read_bytes() == data


def test_damaged_and_hostile_archives(server, tmp_path, monkeypatch):
    path = archive(tmp_path, {"a.tif": os.urandom(999), "in/": b"", "bomb.tif": bytes(10**6)})
    whole = (tmp_path / "a.zip").read_bytes()
    monkeypatch.setattr(remote, "MOST_BYTES", 10**5)
    assert "has 1,000,000 bytes or more" in refused(f"zip://bomb.tif::{path}")
    for name, data in {
        "values": whole[:500] + b"?" + whole[501:],
        "start": b"?" * 40 + whole[40:],
        "end": whole[:-30],
    }.items():
        (tmp_path / f"{name}.zip").write_bytes(data)
        assert "its archive" in refused(f"zip://a.tif::{tmp_path}/{name}.zip")
    locked = bytearray(whole)
    locked[whole.rindex(b"PK\x01\x02a.tif"[:4], 0, whole.index(b"a.tif", 1100)) + 8] |= 1
    (tmp_path / "locked.zip").write_bytes(locked)
    assert "cannot be read from its archive" in refused(f"zip://a.tif::{tmp_path}/locked.zip")
    assert not list(paths.fetched_folder().glob("??/*"))


@pytest.mark.parametrize("where", ["web", "zip"])
def test_images_elsewhere_are_read_as_those_that_lie_here(where, server, tmp_path):
    image = np.random.default_rng(0).integers(0, 999, (20, 31)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", image)
    data = (tmp_path / "a.tif").read_bytes()
    files = {"a.tif": data, "cut.tif": data[:-9]}
    if where == "web":
        named = {name: server.url(f"/{name}", content) for name, content in files.items()}
    else:
        path = archive(tmp_path, files)
        named = {name: f"zip://{name}::{path}" for name in files}
    good, cut = named["a.tif"], named["cut.tif"]
    np.testing.assert_array_equal(images.read_image(good), image[None])
    assert images.image_headers([good, cut], dataset=where) == [
        images.image_header(tmp_path / "a.tif"),
        f"{cut}: not a readable image (it ends early).",
    ]
    with pytest.raises(images.ImageError, match="ends early") as raised:
        images.read_image(cut)
    assert str(paths.fetched_folder()) not in str(raised.value)
    gone = good.replace("a.tif", "gone.tif")
    assert images.image_headers([gone])[0].startswith(f"{gone}: ")
    assert identity.file_digest(good) == identity.file_digest(tmp_path / "a.tif")
    assert identity.file_digest(gone) == "unreadable"


def test_what_was_found_out_is_remembered_without_a_copy(server, tmp_path):
    file = server.url("/a.tif")
    asked = []

    def ask(one):
        asked.append(remote.copy(one))
        return one, True

    for _ in range(2):
        assert remembered.answers(tmp_path / "store", [file], ask) == [file]
        for place in asked:
            place.unlink(missing_ok=True)
    assert len(asked) == len(server.asked) == 1


def test_an_address_with_a_path_behind_its_question_mark_is_a_file(server):
    file = server.url("/a.tif") + "?sig=/x"
    remote.fetch([file])
    assert server.asked == ["/a.tif"]
    assert not remote.is_folder(file) and remote.is_folder("https://host/p.zarr/B/02?x=.tif")


def test_few_of_many_files_elsewhere_are_asked_for():
    files = [f"https://h/{i}.tif" for i in range(100)]
    few = remote.to_ask([*files, "/b.tif"])
    assert few[-1] == "/b.tif" and few[0] == files[0] and 5 <= len(few) <= 9
    assert remote.to_ask(["/b.tif"]) == ["/b.tif"] and remote.to_ask([]) == []
