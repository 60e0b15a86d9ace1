"""Transfers that break, servers that lie: what arrives is whole and right, or an error says why."""

import errno
import gzip
import hashlib
import os
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from unidino import addresses, paths
from unidino.download import space, transfer
from unidino.download.command import fetch_entry

CONTENT = np.random.default_rng(0).bytes(300_000)
OTHER = np.random.default_rng(1).bytes(300_000)


def md5(content):
    return f"md5:{hashlib.md5(content).hexdigest()}"


def sha256(content):
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(transfer, "CHUNK", 10_000)


def halves(folder):
    """What is left of transfers in a folder."""
    return sorted(file.name for file in paths.received_folder(folder).glob("*.part*"))


@pytest.mark.parametrize("checksum", [None, md5(CONTENT), sha256(CONTENT), md5(CONTENT).upper()])
def test_a_file_arrives_and_is_not_asked_for_again(served, web, files_entry, tmp_path, checksum):
    served.files["a.bin"] = CONTENT
    checksum = checksum and checksum.replace("MD5", "md5")
    entry = files_entry(len(CONTENT), checksum)
    folder = fetch_entry(entry, web, root=tmp_path)
    assert folder == tmp_path / "Some"
    assert (folder / "a.bin").read_bytes() == CONTENT
    assert not halves(folder)
    asked = len(served.ranges_asked("a.bin"))
    fetch_entry(entry, web, root=tmp_path)
    assert len(served.ranges_asked("a.bin")) == asked == 1
    fetch_entry(entry, web, root=tmp_path, check=True)
    assert len(served.ranges_asked("a.bin")) == 1


@pytest.mark.parametrize("size", [0, None])
def test_an_empty_file(served, web, files_entry, tmp_path, size):
    served.files["a.bin"] = b""
    folder = fetch_entry(files_entry(size, md5(b"")), web, root=tmp_path)
    assert (folder / "a.bin").read_bytes() == b"" and not halves(folder)


@pytest.mark.parametrize("said_size", [True, False])
def test_a_broken_transfer_goes_on_where_it_stopped(
    served, web, files_entry, tmp_path, small_chunks, said_size
):
    served.files["a.bin"] = CONTENT
    served.cuts["a.bin"] = [100_000, 50_000, 70_000]
    fetch_entry(files_entry(len(CONTENT) if said_size else None), web, root=tmp_path)
    assert (tmp_path / "Some" / "a.bin").read_bytes() == CONTENT
    starts = [0, *(int(r[6:-1]) for r in served.ranges_asked("a.bin")[1:])]
    assert starts == sorted(starts) and len(starts) == 4 and starts[-1] == 220_000
    assert web.waited == [1, 1, 1]


def test_the_next_run_goes_on_where_a_run_was_given_up(
    served, web, files_entry, tmp_path, small_chunks
):
    served.files["a.bin"] = CONTENT
    served.cuts["a.bin"] = [120_000]
    served.statuses["a.bin"] = []
    served.before["a.bin"] = lambda: served.statuses["a.bin"].extend(
        [503] * (len(served.ranges_asked("a.bin")) > 1)
    )
    entry = files_entry(len(CONTENT))
    with pytest.raises(transfer.TransferError, match="could not be had in 5 tries: .* says 503"):
        fetch_entry(entry, web, root=tmp_path)
    assert web.waited == [1, 2, 4, 8]
    served.before.clear()
    served.asked.clear()
    fetch_entry(entry, web, root=tmp_path)
    assert served.ranges_asked("a.bin") == ["bytes=120000-"]
    assert (tmp_path / "Some" / "a.bin").read_bytes() == CONTENT


def test_halves_of_small_files_are_kept_within_a_run_alone(
    served, web, files_entry, tmp_path, small_chunks, monkeypatch
):
    monkeypatch.setattr(transfer, "SMALL", len(CONTENT))
    served.files["a.bin"] = CONTENT
    served.cuts["a.bin"] = [100_000, 50_000] + [0] * 5
    entry = files_entry(len(CONTENT))
    with pytest.raises(transfer.TransferError, match="could not be had in 5 tries"):
        fetch_entry(entry, web, root=tmp_path)
    starts = served.ranges_asked("a.bin")
    assert starts[:3] == [None, "bytes=100000-", "bytes=150000-"]
    served.cuts.clear()
    served.asked.clear()
    fetch_entry(entry, web, root=tmp_path)
    assert served.ranges_asked("a.bin") == [None]
    assert (tmp_path / "Some" / "a.bin").read_bytes() == CONTENT


def test_without_ranges_a_transfer_starts_again(
    served, web, files_entry, tmp_path, small_chunks, said
):
    served.files["a.bin"] = CONTENT
    served.ranges = False
    served.cuts["a.bin"] = [100_000]
    fetch_entry(files_entry(len(CONTENT), md5(CONTENT)), web, root=tmp_path)
    assert (tmp_path / "Some" / "a.bin").read_bytes() == CONTENT
    assert any("does not go on in the middle; from the start" in line for line in said)


def test_without_etag_date_and_checksum_halves_are_not_joined(
    served, web, files_entry, tmp_path, small_chunks
):
    served.files["a.bin"] = CONTENT
    served.etags["a.bin"] = None
    served.cuts["a.bin"] = [100_000]
    fetch_entry(files_entry(len(CONTENT)), web, root=tmp_path)
    assert served.ranges_asked("a.bin") == [None, None]
    assert (tmp_path / "Some" / "a.bin").read_bytes() == CONTENT


def test_without_etag_and_date_the_checksum_decides(
    served, web, files_entry, tmp_path, small_chunks, said
):
    served.files["a.bin"] = OTHER
    served.etags["a.bin"] = None
    served.cuts["a.bin"] = [100_000]

    def change():
        if len(served.ranges_asked("a.bin")) == 2:
            served.files["a.bin"] = CONTENT

    served.before["a.bin"] = change
    fetch_entry(files_entry(len(CONTENT), sha256(CONTENT)), web, root=tmp_path)
    assert served.ranges_asked("a.bin") == [None, "bytes=100000-", None]
    assert (tmp_path / "Some" / "a.bin").read_bytes() == CONTENT
    assert any("what arrived is removed, fetching it again" in line for line in said)


@pytest.mark.parametrize("honest", [True, False])
def test_a_file_that_changes_between_the_parts(
    served, web, files_entry, tmp_path, small_chunks, honest
):
    served.files["a.bin"] = OTHER
    served.cuts["a.bin"] = [100_000]

    def change():
        if len(served.ranges_asked("a.bin")) == 2:
            served.files["a.bin"] = CONTENT
            if not honest:  # a server that goes on whatever If-Range says
                served.asked[-1][2].replace_header("If-Range", f'"{md5(CONTENT)[4:]}"')

    served.before["a.bin"] = change
    fetch_entry(files_entry(len(CONTENT)), web, root=tmp_path)
    assert (tmp_path / "Some" / "a.bin").read_bytes() == CONTENT
    ranges = [headers for *_, headers in served.asked if headers.get("Range")]
    assert all(headers.get("If-Range") for headers in ranges) and ranges


def test_a_file_that_became_shorter(served, web, files_entry, tmp_path, small_chunks):
    served.files["a.bin"] = CONTENT
    served.cuts["a.bin"] = [200_000]
    served.etags["a.bin"] = '"same"'

    def change():
        if len(served.ranges_asked("a.bin")) == 2:
            served.files["a.bin"] = CONTENT[:1000]

    served.before["a.bin"] = change
    entry = files_entry(None, md5(CONTENT[:1000]))
    with pytest.raises(transfer.TransferError, match="the server has 1000 bytes, 300000 were"):
        fetch_entry(entry, web, root=tmp_path)
    fetch_entry(entry, web, root=tmp_path)
    assert (tmp_path / "Some" / "a.bin").read_bytes() == CONTENT[:1000]


def test_a_wrong_checksum_is_fetched_once_more_and_then_refused(
    served, web, files_entry, tmp_path, said
):
    served.files["a.bin"] = OTHER
    with pytest.raises(transfer.TransferError) as caught:
        fetch_entry(files_entry(len(CONTENT), md5(CONTENT)), web, root=tmp_path)
    assert f"its MD5 is {md5(OTHER)[4:]}, published is {md5(CONTENT)[4:]}, twice" in str(
        caught.value
    )
    assert len(served.ranges_asked("a.bin")) == 2
    folder = tmp_path / "Some"
    assert not (folder / "a.bin").exists() and not halves(folder)


def test_a_truncated_file_is_never_renamed(served, web, files_entry, tmp_path, small_chunks):
    served.files["a.bin"] = CONTENT
    served.cuts["a.bin"] = [100_000] + [0] * 10
    with pytest.raises(transfer.TransferError, match="could not be had in 5 tries"):
        fetch_entry(files_entry(len(CONTENT)), web, root=tmp_path)
    folder = tmp_path / "Some"
    assert not (folder / "a.bin").exists()
    assert (paths.received_folder(folder) / "a.bin.part").stat().st_size == 100_000


def test_a_file_that_is_cut_without_its_length(served, web, files_entry, tmp_path, small_chunks):
    served.files["a.bin"] = CONTENT
    served.lengths["a.bin"] = None
    served.cuts["a.bin"] = [100_000]
    fetch_entry(files_entry(len(CONTENT)), web, root=tmp_path)
    assert (tmp_path / "Some" / "a.bin").read_bytes() == CONTENT


def test_another_size_than_published(served, web, files_entry, tmp_path):
    served.files["a.bin"] = CONTENT + b"x"
    with pytest.raises(transfer.TransferError, match="has 300001 bytes, 300000 were published"):
        fetch_entry(files_entry(len(CONTENT)), web, root=tmp_path)


def test_more_bytes_than_were_said(served, web, files_entry, tmp_path, small_chunks):
    served.files["a.bin"] = CONTENT + b"x" * 50_000
    served.lengths["a.bin"] = None
    with pytest.raises(transfer.TransferError, match="more bytes arrive than the 300000 that"):
        fetch_entry(files_entry(len(CONTENT)), web, root=tmp_path)
    assert not halves(tmp_path / "Some")


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (404, "the server says 404, there is no such file any more"),
        (403, "the server says 403, it is not given out"),
        (401, "the server says 401, it wants an account"),
        (418, "the server says 418, this was not expected"),
        ((503, {"Retry-After": "7200"}), "says 503 and asks to wait 120 minutes. Run this again"),
        ((429, {"Retry-After": "Fri, 01 Jan 2100 00:00:00 GMT"}), "says 429 and asks to wait"),
    ],
)
def test_refusals_are_said_at_once(served, web, files_entry, tmp_path, status, message):
    served.files["a.bin"] = CONTENT
    served.statuses["a.bin"] = [status]
    with pytest.raises(transfer.TransferError, match=message):
        fetch_entry(files_entry(len(CONTENT)), web, root=tmp_path)
    assert not web.waited


@pytest.mark.parametrize(("asks", "waits"), [({"Retry-After": "9"}, 9), ({}, 1)])
def test_an_overloaded_server_is_asked_later(served, web, files_entry, tmp_path, asks, waits):
    served.files["a.bin"] = CONTENT
    served.statuses["a.bin"] = [(503, asks)]
    fetch_entry(files_entry(len(CONTENT)), web, root=tmp_path)
    assert web.waited == [waits]


def test_redirects_are_followed_and_the_range_with_them(
    served, web, files_entry, tmp_path, small_chunks
):
    served.files["b.bin"] = CONTENT
    served.cuts["b.bin"] = [100_000]
    served.statuses["a.bin"] = [(302, {"Location": "/b.bin"})] * 2
    fetch_entry(files_entry(len(CONTENT)), web, root=tmp_path)
    assert (tmp_path / "Some" / "a.bin").read_bytes() == CONTENT
    assert served.ranges_asked("b.bin") == [None, "bytes=100000-"]


@pytest.mark.parametrize(
    "location",
    [
        "http://example.org/a.bin", "ftp://example.org/a", "file:///etc/passwd",
        "https://user:secret@example.org/", "https://", "http://10.0.0.1/",
    ],
)  # fmt: skip
def test_redirects_to_other_protocols_are_refused(
    served, web, files_entry, tmp_path, location, monkeypatch
):
    monkeypatch.setattr(addresses, "check_public", lambda *_, **__: ["93.184.216.34"])
    served.statuses["a.bin"] = [(302, {"Location": location})]
    with pytest.raises(transfer.TransferError, match="only https addresses are asked"):
        fetch_entry(files_entry(len(CONTENT)), web, root=tmp_path)


@pytest.mark.parametrize("host", ["169.254.169.254", "10.0.0.1", "[::1]", "192.168.0.1"])
def test_redirects_to_private_addresses_are_refused(served, files_entry, tmp_path, host):
    web = transfer.Web(loopback=True)
    if host == "[::1]":
        host = "[fd00::1]"
    served.statuses["a.bin"] = [(302, {"Location": f"https://{host}/latest"})]
    with pytest.raises(transfer.TransferError, match="a.bin leads to .* is not a public address"):
        fetch_entry(files_entry(len(CONTENT)), web, root=tmp_path)


def test_redirects_in_circles(served, web, files_entry, tmp_path):
    served.statuses["a.bin"] = [(302, {"Location": "/a.bin"})] * 20
    with pytest.raises(transfer.TransferError, match="leads in circles"):
        fetch_entry(files_entry(len(CONTENT)), web, root=tmp_path)


def test_loopback_is_refused_without_the_tests_option(served, files_entry, tmp_path):
    served.files["a.bin"] = CONTENT
    with pytest.raises(transfer.TransferError, match="only https addresses are asked"):
        fetch_entry(files_entry(len(CONTENT)), transfer.Web(), root=tmp_path)
    assert not served.asked


def test_a_connection_that_is_closed_is_no_missing_network(
    served, web, files_entry, tmp_path, small_chunks
):
    served.files["a.bin"] = CONTENT
    served.cuts["a.bin"] = [0] * 10
    with pytest.raises(transfer.TransferError) as caught:
        fetch_entry(files_entry(len(CONTENT)), web, root=tmp_path)
    assert not isinstance(caught.value, transfer.NoNetwork)
    assert "By hand" not in str(caught.value)


def test_no_cookies_are_kept(served, web, files_entry, tmp_path):
    served.files["a.bin"] = CONTENT
    served.headers["a.bin"] = {"Set-Cookie": "who=me; Path=/"}
    fetch_entry(files_entry(), web, root=tmp_path)
    assert len(served.asked) == 2
    assert all("Cookie" not in headers for *_, headers in served.asked)


def test_no_credentials_of_the_user_are_sent(served, web, files_entry, tmp_path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    served.files["a.bin"] = CONTENT
    fetch_entry(files_entry(len(CONTENT)), web, root=tmp_path)
    assert served.asked and all("Authorization" not in headers for *_, headers in served.asked)


class Answer:
    """An empty answer of a server that is not asked in truth."""

    status_code, is_redirect, headers = 200, False, {"content-length": "0"}

    def close(self):
        pass


@pytest.fixture
def asked_of(monkeypatch):
    """The arguments of requests, none of which leaves this machine."""
    import requests

    arguments = []

    def ask(session, method, url, **options):
        arguments.append({"url": url, "verify": session.verify, **options})
        return Answer()

    monkeypatch.setattr(requests.Session, "request", ask)
    return arguments


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_proxies_and_certificates_of_the_place_are_heeded(asked_of, monkeypatch, variable):
    def unknown(*_, **__):
        raise AssertionError("behind a proxy, names are looked up there")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("https_proxy", "http://proxy.example.org:3128")
    monkeypatch.setenv(variable, "/etc/own.pem")
    assert transfer.Web().size("https://data.example.org/a") == 0
    (asked,) = asked_of
    assert asked["proxies"]["https"] == "http://proxy.example.org:3128"
    assert asked["verify"] == "/etc/own.pem" and not asked["allow_redirects"]
    with pytest.raises(transfer.TransferError, match="is not a public address"):
        transfer.Web().document("https://10.0.0.1/a")


def test_without_a_proxy_every_name_is_looked_up(asked_of, monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(0, 0, 0, "", ("10.1.1.1", 0))])
    with pytest.raises(transfer.TransferError, match="means 10.1.1.1, which is not a public addr"):
        transfer.Web().document("https://data.example.org/a")
    assert not asked_of


def no_network(monkeypatch):
    def unknown(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)


def test_without_a_network_it_is_said_what_to_do_by_hand(web, entry_of, tmp_path, monkeypatch):
    no_network(monkeypatch)
    files = ({"name": "a.bin", "size": 5, "checksum": md5(b"hello")}, {"name": "b.bin", "size": 6})
    entry = entry_of({"kind": "files", "base": "https://data.example.org/x/", "files": files})
    with pytest.raises(transfer.NoNetwork) as caught:
        fetch_entry(entry, web, root=tmp_path)
    message = str(caught.value)
    assert "could not be had in 5 tries: Name or service not known. Is there a network?" in message
    assert f"By hand, into {tmp_path / 'Some'}:\nOpen the page and take the files." in message
    assert f"https://data.example.org/x/a.bin -> a.bin (5 bytes, {md5(b'hello')})" in message
    assert "https://data.example.org/x/b.bin -> b.bin (6 bytes)" in message
    assert "The same command checks then what is there" in message
    # What was put there by hand is taken.
    (tmp_path / "Some").mkdir(exist_ok=True)
    (tmp_path / "Some" / "a.bin").write_bytes(b"hello")
    (tmp_path / "Some" / "b.bin").write_bytes(b"hello!")
    fetch_entry(entry, web, root=tmp_path)


def test_without_a_network_many_files_are_not_asked_for_one_by_one(
    web, entry_of, tmp_path, monkeypatch
):
    no_network(monkeypatch)
    files = tuple({"name": f"{i}.bin"} for i in range(50))
    entry = entry_of({"kind": "files", "base": "https://data.example.org/", "files": files})
    with pytest.raises(transfer.NoNetwork, match="… and 45 more"):
        fetch_entry(entry, web, root=tmp_path, workers=2)
    assert len(web.waited) <= 3 * 4
    assert not list(tmp_path.iterdir())


def test_a_server_that_does_not_answer(web, entry_of, tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        base = f"http://127.0.0.1:{unused.getsockname()[1]}/"
    entry = entry_of({"kind": "files", "base": base, "files": ({"name": "a.bin", "size": 5},)})
    with pytest.raises(transfer.NoNetwork, match="in 5 tries: Connection refused"):
        fetch_entry(entry, web, root=tmp_path)


def test_an_untrusted_certificate_is_no_missing_network(web, entry_of, tmp_path, monkeypatch):
    import requests

    def refuse(*_, **__):
        raise requests.exceptions.SSLError("certificate verify failed: self-signed")

    monkeypatch.setattr(requests.Session, "request", refuse)
    monkeypatch.setattr(addresses, "check_public", lambda *_, **__: ["93.184.216.34"])
    files = ({"name": "a.bin", "size": 5},)
    entry = entry_of({"kind": "files", "base": "https://data.example.org/", "files": files})
    with pytest.raises(transfer.TransferError, match="certificate of data.example.org is not tru"):
        fetch_entry(entry, web, root=tmp_path)
    assert not web.waited


def test_no_room_is_said_before_anything_is_fetched(
    served, web, files_entry, tmp_path, monkeypatch
):
    served.files["a.bin"] = CONTENT
    usage = os.statvfs_result and type("Usage", (), {"free": 100_000})
    monkeypatch.setattr(space.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(OSError, match=r"300 kB are needed in .*Some and 100 kB are free: 200 kB"):
        fetch_entry(files_entry(len(CONTENT)), web, root=tmp_path)
    assert not served.asked


def test_a_disk_that_fills_up_says_how_much_is_lacking_and_goes_on(
    served, web, files_entry, tmp_path, monkeypatch, small_chunks
):
    served.files["a.bin"] = CONTENT
    room = [100_000]
    real = transfer._write

    def write(web, part, answer, start, counted):
        def counting(n):
            counted(n)
            if part.have + n > room[0]:
                raise OSError(errno.ENOSPC, "No space left on device")

        return real(web, part, answer, start, counting)

    monkeypatch.setattr(transfer, "_write", write)
    entry = files_entry(len(CONTENT))
    with pytest.raises(OSError) as caught:
        with monkeypatch.context() as patched:
            free = type("Usage", (), {"free": 0})
            patched.setattr(space, "check", lambda *_: None)
            patched.setattr(space.shutil, "disk_usage", lambda _: free)
            fetch_entry(entry, web, root=tmp_path)
    part = paths.received_folder(tmp_path / "Some") / "a.bin.part"
    lacking = space.words(len(CONTENT) - part.stat().st_size)
    assert f"is full: {lacking} more are needed for a.bin" in str(caught.value)
    assert "the same command goes on where it stopped" in str(caught.value)
    room[0] = 10**9
    served.asked.clear()
    fetch_entry(entry, web, root=tmp_path)
    assert served.ranges_asked("a.bin")[0] is not None
    assert (tmp_path / "Some" / "a.bin").read_bytes() == CONTENT


def many(served, entry_of, count):
    names = [f"{i}.bin" for i in range(count)]
    served.files |= dict.fromkeys(names, CONTENT)
    files = tuple({"name": name, "size": len(CONTENT)} for name in names)
    return entry_of({"kind": "files", "base": served.url(), "files": files})


def test_files_that_are_refused_do_not_end_the_others(served, web, entry_of, tmp_path):
    entry = many(served, entry_of, 30)
    missing = [f"{i}.bin" for i in range(0, 28, 4)]
    for name in missing:
        served.files.pop(name)
    with pytest.raises(transfer.TransferError) as caught:
        fetch_entry(entry, web, root=tmp_path, workers=1)
    told = str(caught.value)
    assert told.startswith("7 of 30 files could not be had; the others are there, and the same")
    assert told.count("there is no such file any more") == 5 and "… and 2 more" in told
    assert len(list((tmp_path / "Some").glob("*.bin"))) == 23
    served.files |= dict.fromkeys(missing, CONTENT)
    served.asked.clear()
    fetch_entry(entry, web, root=tmp_path)
    assert sorted(path for _, path, _ in served.asked) == sorted(missing)


def test_one_refusal_after_the_other_ends_a_run(served, web, entry_of, tmp_path):
    entry = many(served, entry_of, 40)
    served.files.clear()
    with pytest.raises(transfer.TransferError, match=r"\d+.bin: the server says 404"):
        fetch_entry(entry, web, root=tmp_path, workers=2)
    assert web.stop.is_set() and len(served.asked) < 40


def test_a_full_disk_ends_the_others_and_is_what_is_told(
    served, web, entry_of, tmp_path, monkeypatch
):
    entry = many(served, entry_of, 8)
    real = transfer._write

    def full(web, part, *rest):
        if part.item.path == "3.bin":
            raise OSError(errno.ENOSPC, "No space left on device")
        real(web, part, *rest)

    monkeypatch.setattr(transfer, "_write", full)
    with pytest.raises(OSError, match="the disk of .*Some is full"):
        fetch_entry(entry, web, root=tmp_path, workers=3)
    assert web.stop.is_set()


@pytest.mark.parametrize("status", [416, (206, {"Content-Range": "bytes 7-9/300000"}), 206])
def test_a_server_that_answers_nonsense_is_given_up(served, web, files_entry, tmp_path, status):
    served.files["a.bin"] = CONTENT
    served.statuses["a.bin"] = [status] * 20
    with pytest.raises(transfer.TransferError, match="could not be had in 5 tries"):
        fetch_entry(files_entry(len(CONTENT)), web, root=tmp_path)
    assert len(web.waited) == 4


def test_what_is_packed_on_the_way_is_refused(served, web, files_entry, tmp_path):
    packed = gzip.compress(CONTENT)
    headers = {"Content-Encoding": "gzip", "Content-Length": str(len(packed))}
    served.headers["a.bin"] = headers
    served.files["a.bin"] = packed
    with pytest.raises(transfer.TransferError, match=r"a.bin: the server sends it packed \(gzip\)"):
        fetch_entry(files_entry(), web, root=tmp_path)


def test_what_is_stored_packed_arrives_as_it_is(served, web, files_entry, tmp_path, small_chunks):
    packed = gzip.compress(CONTENT)
    served.headers["a.tsv.gz"] = {"Content-Encoding": "x-gzip"}
    served.files["a.tsv.gz"] = packed
    served.cuts["a.tsv.gz"] = [100_000]
    entry = files_entry(None, sha256(packed), name="a.tsv.gz")
    folder = fetch_entry(entry, web, root=tmp_path)
    assert (folder / "a.tsv.gz").read_bytes() == packed


KILLED = """
import sys
from unidino.download import catalogue, transfer
from unidino.download.command import fetch_entry

transfer.CHUNK = 10_000
transfer.SMALL = 0
source = catalogue.Source("files", sys.argv[1], files=({"name": "a.bin", "size": 300_000},))
names = ("name", "title", "licence", "licence_url", "size", "automatic", "manual")
values = dict.fromkeys(names, "") | {"asks": False, "cite": (), "confirmed": ()}
entry = catalogue.Entry(**values, folder="Some", sources=(source,))
fetch_entry(entry, transfer.Web(loopback=True), root=sys.argv[2])
"""


def test_a_run_that_is_killed_goes_on(served, web, files_entry, tmp_path):
    served.files["a.bin"] = CONTENT
    served.cuts["a.bin"] = [150_000]
    stuck = threading.Event()
    part = paths.received_folder(tmp_path / "Some") / "a.bin.part"

    def hold():
        if len(served.ranges_asked("a.bin")) == 2:
            stuck.set()
            time.sleep(0.2)

    served.before["a.bin"] = hold
    command = [sys.executable, "-c", KILLED, served.url(), str(tmp_path)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as run:
        assert stuck.wait(60)
        run.kill()
    assert part.stat().st_size == 150_000 and not (tmp_path / "Some" / "a.bin").exists()
    served.before.clear()
    served.asked.clear()
    fetch_entry(files_entry(len(CONTENT)), web, root=tmp_path)
    assert served.ranges_asked("a.bin") == ["bytes=150000-"]
    assert (tmp_path / "Some" / "a.bin").read_bytes() == CONTENT


def test_a_folder_that_cannot_be_written(served, web, files_entry, tmp_path):
    (tmp_path / "Some").write_text("a file")
    with pytest.raises(OSError, match="Some cannot be written: a file stands where a folder"):
        fetch_entry(files_entry(len(CONTENT)), web, root=tmp_path)


def test_two_runs_at_once(served, web, files_entry, tmp_path):
    served.files["a.bin"] = CONTENT
    reached, go = threading.Event(), threading.Event()

    def hold():
        reached.set()
        assert go.wait(20)

    served.before["a.bin"] = hold
    entry = files_entry(len(CONTENT))
    first = threading.Thread(target=fetch_entry, args=(entry, web), kwargs={"root": tmp_path})
    first.start()
    try:
        assert reached.wait(20)
        with pytest.raises(ValueError, match="another run fetches into .*Some. Wait until it has"):
            fetch_entry(entry, transfer.Web(loopback=True), root=tmp_path)
    finally:
        go.set()
        first.join(20)
    assert (tmp_path / "Some" / "a.bin").read_bytes() == CONTENT
    fetch_entry(entry, web, root=tmp_path)


def test_what_stands_in_the_place_is_never_overwritten(served, web, files_entry, tmp_path):
    served.files["a.bin"] = CONTENT
    place = tmp_path / "Some" / "a.bin"
    place.parent.mkdir()
    place.write_bytes(b"mine")
    for entry in (files_entry(len(CONTENT), md5(CONTENT)), files_entry(len(CONTENT))):
        with pytest.raises(ValueError, match="a.bin is there already, but .* move it away"):
            fetch_entry(entry, web, root=tmp_path)
    assert place.read_bytes() == b"mine"
    assert not served.ranges_asked("a.bin")


def test_check_finds_what_changed_in_place(served, web, files_entry, tmp_path):
    served.files["a.bin"] = CONTENT
    entry = files_entry(len(CONTENT))
    place = fetch_entry(entry, web, root=tmp_path) / "a.bin"
    place.write_bytes(OTHER)
    fetch_entry(entry, web, root=tmp_path)
    with pytest.raises(ValueError, match="but its SHA-256 is .*, received was .*Nothing was ch"):
        fetch_entry(entry, web, root=tmp_path, check=True)


def test_a_missing_library_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "requests", None)
    with pytest.raises(ImportError, match=r"pip install 'unidino\[download\]'"):
        transfer.Web()


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (839_000_000, "839 MB"),
     (2.5e13, "25.0 TB"), (None, "unknown size")],
)  # fmt: skip
def test_sizes_in_words(size, text):
    assert space.words(size) == text
