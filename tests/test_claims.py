"""An output folder is one dataset's and one run's at a time; nothing in it goes too early."""

import json
import multiprocessing
import shutil
import threading
import time

import pandas as pd
import pytest

from unidino import claims, paths, tables

DATASET = {"valset": "screen", "origin": "/a/screen.csv"}
SETTINGS = {"size": 48, "channels": ["DNA"]}


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "model" / "screen"


def site_table(folder, plate="p1", settings=SETTINGS, valset="screen", ok=4):
    path = folder / "sites" / f"{plate}.parquet"
    counts = {"ok": ok, "empty": 0, "failed": 4 - ok}
    made = {"settings": settings, "valset": valset, "counts": counts}
    tables.write_table(pd.DataFrame({"emb_0": [1.0]}), path, made)
    return path


def claim(folder, dataset=DATASET, settings=SETTINGS, plates=("p1",), found=(), overwrite=False):
    files = [folder / "sites" / f"{plate}.parquet" for plate in plates]
    return claims.claimed(folder, dataset, settings, files, lambda: list(found), overwrite)


def made_before(folder, **options):
    with claim(folder):
        return site_table(folder, **options)


def everything(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_settings_without_a_plate_bind_nobody(folder):
    with claim(folder):
        pass
    with claim(folder, settings={"size": 96}):
        pass
    assert json.loads((folder / "settings.json").read_text()) == DATASET | {"size": 96}


@pytest.mark.parametrize("where", ["p1", "stale"])
def test_the_settings_of_every_table_are_compared(where, folder):
    made_before(folder, plate=where)
    with pytest.raises(ValueError, match="made otherwise: size was 48, is 96. Set overwrite=True"):
        with claim(folder, settings=SETTINGS | {"size": 96}):
            pass
    # The record says what is asked for, the table does not.
    tables.write_json(folder / "settings.json", DATASET | SETTINGS)
    site_table(folder, where, SETTINGS | {"size": 32})
    with pytest.raises(ValueError, match="size was 32, is 48"), claim(folder):
        pass


def test_differing_plates_are_listed(folder):
    made_before(folder)
    with pytest.raises(ValueError, match=r"made otherwise: a; b; c \(and 2 more\). Set overwrite"):
        with claim(folder, found="abcde"):
            pass


@pytest.mark.parametrize("damage", ["", "{", "[1]", "\x00\xff"])
def test_a_damaged_record_is_named_and_written_again(damage, folder, capsys):
    made_before(folder)
    (folder / "settings.json").write_text(damage)
    with claim(folder):
        pass
    assert "settings.json is damaged. It is written again" in capsys.readouterr().err
    assert json.loads((folder / "settings.json").read_text()) == DATASET | SETTINGS


OTHER = {"valset": "screen", "origin": "/b/screen.csv"}


def test_two_datasets_of_one_name_never_share_a_folder(folder):
    made_before(folder)
    with pytest.raises(ValueError, match="holds plates of /a/screen.csv, such as sites/p1.*/b/scr"):
        with claim(folder, OTHER, plates=["p2"]):
            pass
    with pytest.raises(ValueError, match="made otherwise from /a/screen.csv: plate p1"):
        with claim(folder, OTHER, found=["plate p1: other images"]):
            pass


def test_tables_of_one_name_that_say_something_else_never_share_a_folder(folder, tmp_path):
    tables_ = [tmp_path / name / "screen.csv" for name in "ab"]
    for table, compound in zip(tables_, ("DMSO", "water"), strict=True):
        table.parent.mkdir()
        table.write_text(f"well,compound\nA1,{compound}\n")
    first, second = ({"valset": "screen", "origin": str(table)} for table in tables_)
    with claim(folder, first):
        site_table(folder)
    with pytest.raises(ValueError, match="holds plates of .*a.screen.csv, and this is .*b.screen"):
        with claim(folder, second):
            pass
    tables_[1].write_text(tables_[0].read_text())
    with claim(folder, second):
        pass


def test_a_dataset_may_be_moved(folder):
    made_before(folder)
    with claim(folder, OTHER):
        pass
    assert claims.recorded_settings(folder)["origin"] == "/b/screen.csv"


def test_overwrite_keeps_the_old_until_a_new_plate_is_written(folder):
    made_before(folder)
    with claim(folder, settings={"size": 96}, overwrite=True):
        assert not (folder / "sites").exists()
        assert everything(paths.aside_folder(folder)) == [
            "settings.json",
            "sites/p1.json",
            "sites/p1.parquet",
        ]
        site_table(folder, settings={"size": 96}, ok=0)
        claims.settle(folder)
        assert paths.aside_folder(folder).exists()
        assert (folder / "sites").exists()
        site_table(folder, settings={"size": 96})
        claims.settle(folder)
        assert not paths.aside_folder(folder).exists()
    assert tables.read_provenance(folder / "sites" / "p1.parquet")["settings"] == {"size": 96}


def test_a_run_that_stops_before_its_first_plate_puts_the_old_back(folder):
    made_before(folder)
    with pytest.raises(RuntimeError), claim(folder, settings={"size": 96}, overwrite=True):
        site_table(folder, settings={"size": 96}, ok=0)
        raise RuntimeError
    assert not paths.aside_folder(folder).exists()
    assert tables.read_provenance(folder / "sites" / "p1.parquet")["settings"] == SETTINGS
    assert claims.recorded_settings(folder) == DATASET | SETTINGS


def test_so_does_the_next_run_where_it_was_killed(folder):
    made_before(folder)
    folder.rename(paths.aside_folder(folder))
    tables.write_json(folder / "settings.json", {"size": 96})
    (folder / "sites").mkdir()
    (folder / "sites" / ".0123456789abcdef.unidino.tmp").touch()
    with pytest.raises(ValueError, match="size was 48, is 96"):
        with claim(folder, settings={"size": 96}):
            pass
    assert everything(folder) == ["settings.json", "sites/p1.json", "sites/p1.parquet"]


def test_leftovers_of_a_killed_run_go(folder):
    made_before(folder)
    (folder / "sites" / ".0123456789abcdef.unidino.tmp").touch()
    with claim(folder):
        pass
    assert everything(folder) == ["settings.json", "sites/p1.json", "sites/p1.parquet"]


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("notes.txt", "notes.txt is nothing that an extraction writes, and overwrite"),
        ("sites/images.tif", "images.tif is nothing that an extraction writes"),
        ("deeper/settings.json", "deeper/settings.json is nothing that"),
    ],
)
def test_files_of_somebody_else_are_never_discarded(file, message, folder):
    made_before(folder)
    (folder / file).parent.mkdir(exist_ok=True)
    (folder / file).write_text("mine")
    with pytest.raises(ValueError, match=message), claim(folder, overwrite=True):
        pass
    assert (folder / file).read_text() == "mine"
    assert (folder / "sites" / "p1.parquet").exists()


def test_all_that_an_extraction_writes_is_discarded(folder):
    made_before(folder)
    table = paths.profiles_table(folder, "screen", "standardize_tvn")
    for file in (table, table.with_suffix(".csv"), paths.correction_file(table)):
        file.write_text("of the run before")
    with claim(folder, overwrite=True):
        site_table(folder)
    assert everything(folder) == ["settings.json", "sites/p1.json", "sites/p1.parquet"]


def test_other_datasets_are_never_discarded(folder, tmp_path):
    site_table(folder, valset="another")
    with pytest.raises(ValueError, match="an extraction of another, not of /a/screen.csv"):
        with claim(folder, overwrite=True):
            pass
    shutil.rmtree(folder)
    there = tmp_path / "screen.csv"
    there.touch()
    with claim(folder, DATASET | {"origin": str(there)}):
        site_table(folder)
    with pytest.raises(ValueError, match="an extraction of .*screen.csv, not of /a/screen.csv"):
        with claim(folder, overwrite=True):
            pass
    assert (folder / "sites" / "p1.parquet").exists()


def test_who_claims_meanwhile_waits(folder, monkeypatch):
    said = threading.Event()
    monkeypatch.setattr(claims, "say", lambda text: said.set() if "this one waits" in text else 0)
    order = []

    def second():
        with claim(folder):
            order.append("second")

    with claims.alone(folder):
        waiting = threading.Thread(target=second)
        waiting.start()
        assert said.wait(20)
        order.append("first")
    waiting.join(20)
    assert order == ["first", "second"]


def test_runs_of_the_same_share_a_folder(folder, capsys):
    with claim(folder):
        with claim(folder):
            pass
        assert "another run is at work" in capsys.readouterr().err
        assert claims._at_work(folder)
    assert not claims._at_work(folder)
    assert not paths.runs_folder(folder).exists()


def test_the_last_of_several_runs_puts_the_old_back(folder):
    made_before(folder)
    with claim(folder, settings={"size": 96}, overwrite=True):
        with claim(folder, settings={"size": 96}):
            pass
        assert paths.aside_folder(folder).exists()
    assert not paths.aside_folder(folder).exists()
    assert claims.recorded_settings(folder) == DATASET | SETTINGS


def test_a_plate_is_held_by_one(folder):
    name = paths.plate_lock_file(folder / "sites" / "p1.parquet")
    free = claims.plate_held(name)
    assert claims.plate_held(name) is None
    free()
    assert not name.exists()
    again = claims.plate_held(name)
    again()


def test_what_was_measured_binds_nobody(folder):
    with claim(folder):
        claims.record_measured(folder, {"batch_size": 64})
        site_table(folder, settings=SETTINGS)
    assert claims.recorded_settings(folder)[claims.MEASURED] == {"batch_size": 64}
    with claim(folder, settings=SETTINGS | {claims.MEASURED: {"batch_size": 8}}):
        pass


def other_process(folder, entered):
    with claim(folder):
        entered.set()
        time.sleep(60)


def test_a_second_run_of_something_else_stops(folder):
    context = multiprocessing.get_context("spawn")
    entered = context.Event()
    process = context.Process(target=other_process, args=(folder, entered))
    process.start()
    try:
        assert entered.wait(60)
        with pytest.raises(ValueError, match="another run is at work in .*size was 48, is 96. Giv"):
            with claim(folder, settings=SETTINGS | {"size": 96}):
                pass
        with pytest.raises(ValueError, match="another run is at work .* overwrite would discard"):
            with claim(folder, overwrite=True):
                pass
        process.kill()
        process.join()
        with claim(folder):  # the lock of a killed run is free
            pass
    finally:
        process.kill()


def test_folders_that_may_not_be_written_are_named(tmp_path):
    (tmp_path / "model").write_text("a file")
    with pytest.raises(OSError, match="screen cannot be written: a file stands where a folder is"):
        with claim(tmp_path / "model" / "screen"):
            pass


def test_disks_without_locks_are_said(folder, monkeypatch, capsys):
    def refuse(*_, **__):
        raise OSError(claims.errno.ENOLCK, "No locks available")

    monkeypatch.setattr(claims.filelock.FileLock, "acquire", refuse)
    with claim(folder):
        pass
    assert "has no locks: start no second run there" in capsys.readouterr().err
