"""Archives that are not what they should be: refused, and nothing of them is left."""

import gzip
import hashlib
import io
import os
import random
import stat
import struct
import tarfile
import zipfile

import pytest

from unidino.download import archives
from unidino.download.archives import HostileArchive


def zip_of(path, members, method=zipfile.ZIP_DEFLATED):
    """A zip of (name or ZipInfo, content)."""
    with zipfile.ZipFile(path, "w", method) as made:
        for name, content in members:
            made.writestr(name, content)
    return path


def tar_of(path, members, mode="w:gz"):
    """A tar of (name, content), or of TarInfo without content."""
    with tarfile.open(path, mode) as made:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                made.addfile(member)
                continue
            name, content = member
            info = tarfile.TarInfo(name)
            info.size = len(content)
            made.addfile(info, io.BytesIO(content))
    return path


MAKERS = {"a.zip": zip_of, "a.tar.gz": tar_of}


def unpacked(*arguments, **options):
    """Sizes of what is unpacked, each SHA-256 compared."""
    made = archives.unpack(*arguments, **options)
    for path, (size, sha256) in made.items():
        content = (arguments[1] / path).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (size, sha256)
    return {path: size for path, (size, _) in made.items()}


def left(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize("name", MAKERS)
def test_files_and_folders_arrive(tmp_path, name):
    members = [("P/a.tif", b"abc"), ("P/deep/b.tif", b""), ("./P/c.tif", b"x" * 5000)]
    archive = MAKERS[name](tmp_path / name, members)
    made = unpacked(archive, tmp_path / "out", top="P")
    assert made == {"P/a.tif": 3, "P/deep/b.tif": 0, "P/c.tif": 5000}
    assert left(tmp_path / "out") == ["P/a.tif", "P/c.tif", "P/deep/b.tif"]
    assert (tmp_path / "out/P/a.tif").read_bytes() == b"abc"
    mode = (tmp_path / "out/P/a.tif").stat().st_mode
    assert not mode & (stat.S_ISUID | stat.S_IXUSR)


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize(
    ("members", "why"),
    [
        (["P/ok", "../evil"], "leads out of the folder"),
        (["P/ok", "P/../../evil"], "leads out of the folder"),
        (["P/ok", "/etc/evil"], "leads out of the folder"),
        (["P/ok", "C:/evil"], "leads out of the folder"),
        (["P/ok", "P\\..\\evil"], "leads out of the folder"),
        (["P/ok", "P/a\nb"], "leads out of the folder, or is odd"),
        (["P/ok", "P/evil."], "or is odd"),
        (["P/ok", "P/NUL.tif"], "or is odd"),
        (["P/ok", "P//b"], "or is odd"),
        (["P/ok", "P/" + "x" * 256], "or is odd"),
        (["P/ok", "P/OK"], "stands there twice"),
        (["P/\u00e9", "P/e\u0301"], "stands there twice"),
        (["P/ok", "Q/../../evil"], "leads out of the folder"),
        (["P/ok", "P/ok/inside"], "stands there twice"),
        (["P/a/b", "P/a"], "stands there twice"),
    ],
)
def test_paths_that_are_refused(tmp_path, name, members, why):
    archive = MAKERS[name](tmp_path / name, [(member, b"x") for member in members])
    with pytest.raises(HostileArchive, match=f"{name} was not unpacked: its member .*{why}"):
        archives.unpack(archive, tmp_path / "out", top="P")
    assert not (tmp_path / "out").exists() and not (tmp_path / "evil").exists()


@pytest.mark.parametrize("name", MAKERS)
def test_a_file_that_stands_twice(tmp_path, name):
    with pytest.warns(UserWarning) if name == "a.zip" else os.scandir(tmp_path):
        archive = MAKERS[name](tmp_path / name, [("a", b"x"), ("a", b"y")])
    with pytest.raises(HostileArchive, match="'a' stands there twice"):
        archives.unpack(archive, tmp_path / "out")


@pytest.mark.parametrize("name", MAKERS)
def test_what_lies_beside_the_folder_is_left_out(tmp_path, name, monkeypatch):
    said = []
    monkeypatch.setattr(archives, "say", said.append)
    members = [("P/a", b"x"), ("Thumbs.db", b"junk"), ("Q/b", b"y")]
    archive = MAKERS[name](tmp_path / name, members)
    assert unpacked(archive, tmp_path / "out", top="P") == {"P/a": 1}
    assert said == [f"{name}: what lies beside the folder P is left out: Thumbs.db, Q/b"]
    with pytest.raises(ValueError, match="has no files in a folder R; it has P/a, Thumbs.db, Q/b"):
        archives.unpack(archive, tmp_path / "gone", top="R")
    assert not (tmp_path / "gone").exists()


KINDS = {
    "symlink": (tarfile.SYMTYPE, stat.S_IFLNK),
    "hardlink": (tarfile.LNKTYPE, None),
    "device": (tarfile.BLKTYPE, stat.S_IFBLK),
    "pipe": (tarfile.FIFOTYPE, stat.S_IFIFO),
}


@pytest.mark.parametrize("kind", KINDS)
def test_links_and_devices(tmp_path, kind):
    of_tar, of_zip = KINDS[kind]
    info = tarfile.TarInfo("P/link")
    info.type, info.linkname = of_tar, "/etc/passwd"
    made = [tar_of(tmp_path / "a.tar", [("P/ok", b"x"), info], "w")]
    if of_zip is not None:
        info = zipfile.ZipInfo("P/link")
        info.external_attr = (of_zip | 0o777) << 16
        made.append(zip_of(tmp_path / "a.zip", [("P/ok", b"x"), (info, "/etc/passwd")]))
    for archive in made:
        with pytest.raises(HostileArchive, match="'P/link' is a link or a device"):
            archives.unpack(archive, tmp_path / "out")
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", MAKERS)
def test_a_bomb_by_its_ratio(tmp_path, name, monkeypatch):
    monkeypatch.setattr(archives, "SMALL", 1000)
    archive = MAKERS[name](tmp_path / name, [("a", bytes(10**6))])
    with pytest.raises(HostileArchive, match="'a' brings it to more than .* bytes: more than is"):
        archives.unpack(archive, tmp_path / "out")
    content = random.Random(0).randbytes(50_000)
    archive = MAKERS[name](tmp_path / f"fine{name}", [("a", content)])
    assert unpacked(archive, tmp_path / "out") == {"a": 50_000}


@pytest.mark.parametrize("name", MAKERS)
def test_a_bomb_by_what_is_known_of_it(tmp_path, name):
    archive = MAKERS[name](tmp_path / name, [(f"{i}", b"x" * 1000) for i in range(5)])
    with pytest.raises(HostileArchive, match="'4' brings it to more than 4500 bytes"):
        archives.unpack(archive, tmp_path / "out", most=4500)
    assert len(archives.unpack(archive, tmp_path / "out", most=5000)) == 5


@pytest.mark.parametrize("name", MAKERS)
def test_too_many_files(tmp_path, name, monkeypatch):
    monkeypatch.setattr(archives, "MOST_FILES", 3)
    archive = MAKERS[name](tmp_path / name, [(f"{i}", b"x") for i in range(4)])
    with pytest.raises(HostileArchive, match="'3' is one of more than 3 files"):
        archives.unpack(archive, tmp_path / "out")


def test_a_tar_with_an_endless_header(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "_LONGEST", 10_000)
    info = tarfile.TarInfo("a")
    info.pax_headers = {"comment": "x" * 20_000}
    archive = tar_of(tmp_path / "a.tar.gz", [info])
    with pytest.raises(HostileArchive, match="a.tar.gz was not unpacked: .* has a header of 2"):
        archives.unpack(archive, tmp_path / "out")


def test_a_zip_whose_sizes_lie(tmp_path):
    archive = zip_of(tmp_path / "a.zip", [("a", bytes(100_000))])
    content = bytearray(archive.read_bytes())
    # The uncompressed size in the directory, where it is read.
    content[(at := content.rindex(b"PK\x01\x02") + 24) : at + 4] = struct.pack("<I", 10)
    archive.write_bytes(content)
    with pytest.raises(ValueError, match="a.zip (was not|cannot be) unpacked"):
        archives.unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_one_compressed_file(tmp_path, monkeypatch):
    content = random.Random(0).randbytes(10_000)
    (tmp_path / "x").write_bytes(gzip.compress(content))
    made = unpacked(tmp_path / "x", tmp_path / "out", name="a_blue.tif.gz")
    assert made == {"a_blue.tif": 10_000}
    assert (tmp_path / "out" / "a_blue.tif").read_bytes() == content
    (tmp_path / "x").write_bytes(gzip.compress(content)[:-20])
    with pytest.raises(ValueError, match="a_blue.tif.gz cannot be unpacked: Compressed file ended"):
        archives.unpack(tmp_path / "x", tmp_path / "gone", name="a_blue.tif.gz")
    monkeypatch.setattr(archives, "SMALL", 1000)
    (tmp_path / "x").write_bytes(gzip.compress(bytes(10**7)))
    with pytest.raises(
        HostileArchive, match="'a_blue.tif' becomes more than .* more than is meant"
    ):
        archives.unpack(tmp_path / "x", tmp_path / "gone", name="a_blue.tif.gz")
    assert not (tmp_path / "gone").exists()


def test_a_zip_with_a_password(tmp_path):
    archive = zip_of(tmp_path / "a.zip", [("a", b"x")])
    content = bytearray(archive.read_bytes())
    content[content.rindex(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(content)
    with pytest.raises(HostileArchive, match="'a' is locked by a password"):
        archives.unpack(archive, tmp_path / "out")


@pytest.mark.parametrize("name", MAKERS)
def test_what_is_damaged(tmp_path, name):
    content = random.Random(0).randbytes(100_000)
    archive = MAKERS[name](tmp_path / name, [("a", content), ("b", content)])
    damaged = bytearray(archive.read_bytes())
    middle = len(damaged) // 2
    damaged[middle : middle + 50] = bytes(50)
    archive.write_bytes(damaged)
    with pytest.raises(ValueError, match=f"{name} cannot be unpacked: "):
        archives.unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>" * 100])
def test_what_is_no_archive(tmp_path, content):
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(ValueError, match="a.zip cannot be unpacked: "):
        archives.unpack(tmp_path / "a.zip", tmp_path / "out")


@pytest.mark.parametrize("name", MAKERS)
def test_what_macos_adds_is_left_out(tmp_path, name):
    members = [("P/a", b"x"), ("__MACOSX/P/._a", b"junk")]
    archive = MAKERS[name](tmp_path / name, members)
    assert unpacked(archive, tmp_path / "out", top="P") == {"P/a": 1}


def test_the_folder_of_a_file_becomes_the_root():
    made = {"top/data/t.csv": 1, "top/data/P/a.tif": 2, "top/readme": 3}
    rooted = archives.rooted(made, "t.csv", only=False)
    assert rooted == {"t.csv": "top/data/t.csv", "P/a.tif": "top/data/P/a.tif"}
    assert archives.rooted(made, "t.csv", only=True) == {"t.csv": "top/data/t.csv"}
    with pytest.raises(ValueError, match="holds x.csv 0 times, expected once. It holds top/data/P"):
        archives.rooted(made, "x.csv", only=False)


def files(folder, contents):
    for path, content in contents.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)


def test_nothing_that_differs_is_overwritten(tmp_path):
    beside, target = tmp_path / "beside", tmp_path / "target"
    files(beside, {"a": b"new", "d/b": b"same", "c": b"theirs"})
    files(target, {"d/b": b"same", "c": b"mine", "other": b"mine"})
    moves = {path: path for path in ("a", "d/b", "c")}
    with pytest.raises(ValueError, match="target/c is there already and differs from what was pu"):
        archives.settle(moves, beside, target)
    assert left(target) == ["c", "d/b", "other"]
    (target / "c").unlink()
    assert archives.settle(moves, beside, target) == 1
    assert {p: (target / p).read_bytes() for p in left(target)} == {
        "a": b"new", "c": b"theirs", "d/b": b"same", "other": b"mine",
    }  # fmt: skip


def test_links_of_the_user_are_not_followed_out(tmp_path):
    beside, target, elsewhere = (tmp_path / name for name in ("beside", "target", "elsewhere"))
    elsewhere.mkdir()
    files(beside, {"P/a": b"new", "b": b"new"})
    target.mkdir()
    (target / "P").symlink_to(elsewhere)
    with pytest.raises(ValueError, match="P/a cannot be written: a link or file stands in its pa"):
        archives.settle({"P/a": "P/a"}, beside, target)
    (target / "b").symlink_to(elsewhere / "b")
    with pytest.raises(ValueError, match="target/b is there already and differs"):
        archives.settle({"b": "b"}, beside, target)
    assert not left(elsewhere)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("a/b.tif", ["a", "b.tif"]), ("./a", ["a"]), (".zattrs", [".zattrs"]), ("", None),
        (".", None), ("..", None), ("a/..", None), ("/", None), ("a/", None), ("con", None),
        ("com1.txt", None), ("console.txt", ["console.txt"]), ("a b é.tif", ["a b é.tif"]),
    ],
)  # fmt: skip
def test_safe_parts(name, parts):
    assert archives.safe_parts(name) == parts
