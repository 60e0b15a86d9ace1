"""Answers about files are remembered while the files stay, and never stand for other contents."""

import multiprocessing
import os

import numpy as np
import pyarrow.parquet as pq
import pytest

from unidino import remembered


class Asked:
    """Answers with a file's text, and keeps which were asked for."""

    def __init__(self, lasting=True):
        self.files, self.lasting = [], lasting

    def __call__(self, file):
        self.files.append(file)
        try:
            with open(file, errors="replace") as opened:
                return opened.read(), self.lasting
        except (OSError, ValueError):
            return "none", self.lasting


@pytest.fixture(autouse=True)
def _files_are_at_rest(monkeypatch):
    monkeypatch.setattr(remembered, "SETTLED", -10)


@pytest.fixture
def files(tmp_path):
    made = []
    for i in range(40):
        path = tmp_path / "images" / f"p{i % 5}" / f"{i}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"t{i:02d}")
        made.append(str(path))
    return made


TEXTS = [f"t{i:02d}" for i in range(40)]


def again(folder, files, **options):
    """The answers, and the files that were asked for them."""
    ask = Asked()
    return remembered.answers(folder, files, ask, **options), ask.files


def test_files_are_asked_once(files, tmp_path):
    store = tmp_path / "store"
    assert again(store, files[:30]) == (TEXTS[:30], [*files[:30]])
    assert again(store, files[::-1]) == (TEXTS[::-1], files[:29:-1])
    assert again(store, files[5:9]) == (TEXTS[5:9], [])
    assert again(store, []) == ([], [])
    assert again(tmp_path / "other", files[:1]) == (TEXTS[:1], files[:1])


def longer(path):
    times = os.stat(path)
    path.write_text("longer")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    return "longer"


def later(path):
    os.utime(path, (1, 1))
    return "t03"


def same_size_and_time(path):
    before = os.stat(path)
    while os.stat(path).st_ctime_ns == before.st_ctime_ns:
        path.write_text("new")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    return "new"


@pytest.mark.parametrize("change", [longer, later, same_size_and_time])
def test_a_file_that_changed_is_asked_again(change, files, tmp_path):
    again(tmp_path / "store", files)
    text = change(tmp_path / "images" / "p3" / "3.tif")
    expected = [*TEXTS[:3], text, *TEXTS[4:]]
    assert again(tmp_path / "store", files) == (expected, files[3:4])
    assert again(tmp_path / "store", files) == (expected, [])


def test_what_does_not_last_is_asked_again(files, tmp_path):
    store = tmp_path / "store"
    assert remembered.answers(store, files, Asked(lasting=False)) == TEXTS
    assert again(store, files)[1] == files
    gone = str(tmp_path / "gone.tif")
    for _ in range(2):
        assert again(store, [gone, "a\0b"]) == (["none", "none"], [gone, "a\0b"])


def test_a_file_that_was_just_written_is_not_trusted_yet(files, tmp_path, monkeypatch):
    monkeypatch.setattr(remembered, "SETTLED", 3600)
    for _ in range(2):
        assert again(tmp_path / "store", files) == (TEXTS, files)


def test_answers_under_other_conditions_do_not_count(files, tmp_path):
    store = tmp_path / "store"
    again(store, files, about={"limit": 1})
    assert again(store, files, about={"limit": 2})[1] == files
    assert again(store, files, about={"limit": 2})[1] == []


@pytest.mark.parametrize("damage", ["cut", "empty", "columns", "folder"])
def test_a_damaged_store_is_ignored_and_made_anew(damage, files, tmp_path):
    store = tmp_path / "store"
    again(store, files)
    for part in store.iterdir():
        data = part.read_bytes()
        if damage in ("cut", "empty"):
            part.write_bytes(data[: len(data) // 2 if damage == "cut" else 0])
        elif damage == "columns":
            table = pq.read_table(part)
            pq.write_table(table.drop_columns(["size"]), part)
        else:
            part.unlink()
            part.mkdir()
    found, asked = again(store, files)
    assert (found, sorted(asked)) == (TEXTS, sorted(files))
    assert again(store, files) == (TEXTS, files if damage == "folder" else [])


def test_a_damaged_byte_changes_no_answer(files, tmp_path):
    store = tmp_path / "store"
    again(store, files)
    part = next(store.iterdir())
    whole = part.read_bytes()
    for position in range(0, len(whole), 67):
        data = bytearray(whole)
        data[position] ^= 0xFF
        part.write_bytes(data)
        assert again(store, files)[0] == TEXTS


def test_a_store_that_cannot_be_written_is_done_without(files, tmp_path):
    (tmp_path / "store").write_text("a file")
    for _ in range(2):
        assert again(tmp_path / "store", files) == (TEXTS, files)


def work(store, files, seed):
    remembered.SETTLED = -10
    rng = np.random.default_rng(seed)
    for _ in range(15):
        some = [files[i] for i in rng.permutation(len(files))[:20]]
        found = remembered.answers(store, some, Asked())
        assert found == [f"t{int(os.path.basename(file)[:-4]):02d}" for file in some]


def test_processes_that_write_at_once(files, tmp_path):
    context = multiprocessing.get_context("spawn")
    started = [context.Process(target=work, args=(tmp_path / "store", files, i)) for i in range(2)]
    for one in started:
        one.start()
    for one in started:
        one.join()
    assert [one.exitcode for one in started] == [0, 0]
    again(tmp_path / "store", files)
    assert again(tmp_path / "store", files) == (TEXTS, [])
    assert all(path.suffix == ".parquet" for path in (tmp_path / "store").iterdir())


def test_names_need_not_be_text(tmp_path):
    name = os.fsdecode(bytes(tmp_path) + b"/\xff\xe9.tif")
    with open(name, "w") as file:
        file.write("x")
    assert again(tmp_path / "store", [name]) == (["x"], [name])
    assert again(tmp_path / "store", [name]) == (["x"], [])


def test_many_files_show_how_far_it_is(files, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(remembered, "LONG", 39)
    again(tmp_path / "store", files, title="reading headers")
    assert "reading headers" in capsys.readouterr().err
    again(tmp_path / "store", files, title="reading headers")
    assert not capsys.readouterr().err
