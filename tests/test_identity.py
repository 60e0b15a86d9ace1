"""What a site is an image of follows the contents of its files, not their times or folder."""

import os
from types import SimpleNamespace

import numpy as np
import pytest

from unidino import identity, remembered


def dataset(root, names, planes=None):
    return SimpleNamespace(
        root=str(root),
        valset="d",
        place=str(root),
        files=lambda rows: ([str(root / name) for name in names[i]] for i in rows),
        channel_indices=lambda i: planes,
        illumination=lambda i: [None, None],
        illumination_files=lambda rows: [],
        target_pixel_size=None,
    )


def write(root, seed=0, size=1000):
    root.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for name in ("a", "b"):
        (root / name).write_bytes(rng.bytes(size))
    return dataset(root, [("a", "b"), ("b", "a")])


@pytest.mark.parametrize("size", [0, 1000, identity.SAMPLED_BYTES + 1, 3_000_000])
def test_copies_are_the_same(size, tmp_path):
    ids = identity.image_ids(write(tmp_path / "here", size=size), [0, 1])
    moved = write(tmp_path / "there", size=size)
    os.utime(tmp_path / "there" / "a", (1, 1))
    assert identity.image_ids(moved, [0, 1]) == ids
    assert identity.image_ids(moved, [1]) == ids[1:]
    assert len(set(ids)) == 2
    assert all(len(text) == 16 for text in ids)


@pytest.mark.parametrize("size", [1000, 3_000_000])
def test_new_contents_under_an_old_name_and_time_are_noticed(size, tmp_path):
    made = write(tmp_path, size=size)
    before = identity.image_ids(made, [0])
    times = os.stat(tmp_path / "b")
    (tmp_path / "b").write_bytes(np.random.default_rng(1).bytes(size))
    os.utime(tmp_path / "b", ns=(times.st_atime_ns, times.st_mtime_ns))
    assert identity.image_ids(made, [0]) != before


def test_a_band_of_a_large_file_is_noticed(tmp_path):
    write(tmp_path, size=3_000_000)
    before = identity.file_digest(tmp_path / "a")
    for start in range(0, 3_000_000, 200_000):
        contents = bytearray((tmp_path / "a").read_bytes())
        contents[start : start + 200_000] = bytes(200_000)
        (tmp_path / "b").write_bytes(contents)
        assert identity.file_digest(tmp_path / "b") != before


def test_planes_and_names_count(tmp_path):
    ids = identity.image_ids(write(tmp_path), [0])
    assert identity.image_ids(dataset(tmp_path, [("a", "b")], [1, 0]), [0]) != ids
    os.rename(tmp_path / "b", tmp_path / "c")
    assert identity.image_ids(dataset(tmp_path, [("a", "c")]), [0]) != ids


def test_what_is_no_file_has_an_id(tmp_path):
    (tmp_path / "folder.tif").mkdir()
    (tmp_path / "dangling.tif").symlink_to(tmp_path / "nothing")
    os.mkfifo(tmp_path / "pipe.tif")
    names = ["folder.tif", "dangling.tif", "pipe.tif", "gone.tif", "gone.tif/x"]
    digests = [identity.file_digest(tmp_path / name) for name in names]
    assert digests == ["no file", "missing", "no file", "missing", "missing"]
    assert len(set(identity.image_ids(dataset(tmp_path, [(n,) for n in names]), range(5)))) == 5


def test_contents_are_read_once(tmp_path, monkeypatch):
    monkeypatch.setattr(remembered, "SETTLED", -10)
    write(tmp_path)
    made = dataset(tmp_path, [("a", "b"), ("b", "a"), ("gone",)])
    ids = identity.image_ids(made, [0, 1])
    read = []
    digest = identity.file_digest
    monkeypatch.setattr(identity, "file_digest", lambda path: read.append(path) or digest(path))
    assert identity.image_ids(made, [0, 1]) == ids
    assert not read
    for _ in range(2):
        identity.image_ids(made, [0, 1, 2])
    assert read == [str(tmp_path / "gone")] * 2
    (tmp_path / "a").write_bytes(b"other")
    assert identity.image_ids(made, [0]) != ids[:1]
    assert read[2:] == [str(tmp_path / "a")]
