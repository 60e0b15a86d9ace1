"""Tables keep their provenance, and no half-written file gets a final name."""

import errno
import json

import pandas as pd
import pytest

from unidino import tables

FRAME = pd.DataFrame(
    {"Metadata_Batch": ["b1", "b2"], "Metadata_moa": ["x", None], "emb_DNA_0000": [1.0, 2.0]}
)


def test_parquet_keeps_values_and_provenance(tmp_path):
    path = tmp_path / "deep" / "t.parquet"
    tables.write_table(FRAME, path, {"model": "random_vit"})
    read = tables.read_table(path)
    pd.testing.assert_frame_equal(read, FRAME)
    assert read.attrs["provenance"] == {"model": "random_vit"}
    assert json.loads(path.with_suffix(".json").read_text()) == {"model": "random_vit"}
    assert sorted(p.name for p in path.parent.iterdir()) == ["t.json", "t.parquet"]


def test_tables_of_other_software(tmp_path):
    FRAME.to_parquet(tmp_path / "t.parquet")
    assert tables.read_table(tmp_path / "t.parquet").attrs["provenance"] == {}
    FRAME.to_csv(tmp_path / "t.csv", index=False)
    pd.testing.assert_frame_equal(tables.read_table(tmp_path / "t.csv"), FRAME)


def test_names_survive_a_csv(tmp_path):
    frame = pd.DataFrame(
        {
            "Metadata_Plate": ["007", "7", "1E05"],
            "Metadata_compound": ["None", "NA", None],
            "Metadata_dose": [0.1, float("nan"), 3.0],
            "emb_DNA_0000": [1.5, float("nan"), 2.5],
        }
    )
    frame.to_csv(tmp_path / "t.csv", index=False)
    pd.testing.assert_frame_equal(tables.read_table(tmp_path / "t.csv"), frame)
    (tmp_path / "t.csv").write_text("Metadata_Plate,emb0\n7,1,2\n")
    with pytest.raises(ValueError, match="t.csv cannot be read as a table"):
        tables.read_table(tmp_path / "t.csv")


def test_keys_of_other_software_become_text(tmp_path):
    frame = pd.DataFrame({"Metadata_Plate": [7.0, None], "Site": [1, 2], "emb0": [0.0, 1.0]})
    frame.to_parquet(tmp_path / "t.parquet")
    read = tables.read_table(tmp_path / "t.parquet")
    assert read["Metadata_Plate"].tolist() == ["7", None]
    assert read["Site"].tolist() == ["1", "2"]


@pytest.mark.parametrize("columns", [["a"], ["a", "b"]])
def test_no_rows_are_in_no_group(columns):
    frame = pd.DataFrame({"a": ["x", "y", "x"], "b": ["1", None, "2"]})
    assert tables.groups(frame.iloc[:0], columns) == {}
    assert sum(map(len, tables.groups(frame, columns).values())) == 3


def test_failed_write_leaves_the_earlier_file(tmp_path):
    path = tmp_path / "t.txt"
    path.write_text("earlier")
    with pytest.raises(RuntimeError), tables.atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "earlier"
    assert list(tmp_path.iterdir()) == [path]


def full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_one_line_and_leaves_the_earlier_file(tmp_path, monkeypatch):
    path = tmp_path / "t.json"
    tables.write_json(path, {"a": 1})
    monkeypatch.setattr(tables.os, "fsync", full)
    with pytest.raises(OSError, match="t.json cannot be written: the disk is full. Free some") as e:
        tables.write_json(path, {"a": 2})
    assert "\n" not in str(e.value)
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("stands", "written", "reason"),
    [
        ("file", "file/t.json", "a file stands where a folder is wanted. Move it"),
        ("file", "file/deeper/t.json", "a file stands where a folder is wanted. Move it"),
        ("t.json/x", "t.json", "a folder stands in its place. Move it"),
    ],
)
def test_what_stands_in_the_way_is_named(stands, written, reason, tmp_path):
    (tmp_path / stands).parent.mkdir(exist_ok=True)
    (tmp_path / stands).write_text("mine")
    with pytest.raises(OSError, match=f"json cannot be written: {reason}"):
        tables.write_json(tmp_path / written, {})
    assert (tmp_path / stands).read_text() == "mine"


def test_folders_that_may_not_be_written(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(tables.os, "replace", refuse)
    with pytest.raises(OSError, match="the folder may not be written. Give a folder that may"):
        tables.write_json(tmp_path / "t.json", {})


def test_contents_reach_the_disk_before_the_name(tmp_path, monkeypatch):
    steps = []
    synced, replaced = tables.os.fsync, tables.os.replace
    monkeypatch.setattr(tables.os, "fsync", lambda d: steps.append("sync") or synced(d))
    monkeypatch.setattr(tables.os, "replace", lambda *a: steps.append("rename") or replaced(*a))
    tables.write_json(tmp_path / "t.json", {})
    assert steps == ["sync", "rename", "sync"]


def test_leftovers_of_killed_runs_are_removed(tmp_path):
    names = set()
    for _ in range(3):
        with tables.atomic_path(tmp_path / "sites" / "p.parquet") as temporary:
            names.add(temporary)
            temporary.touch()
        temporary.write_text("half")
    assert len(names) == 3
    tables.remove_leftovers(tmp_path)
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["p.parquet"]


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("no.parquet", FileNotFoundError, "no table at .*no.parquet. Make it with unidino.extract"),
        ("t.xlsx", ValueError, "t.xlsx is neither .parquet nor .csv"),
    ],
)
def test_unreadable_tables(name, error, message, tmp_path):
    (tmp_path / "t.xlsx").touch()
    with pytest.raises(error, match=message):
        tables.read_table(tmp_path / name)


@pytest.mark.parametrize("name", ["batch", "Batch", "Metadata_Batch", "metadata_batch"])
def test_columns_are_found_by_their_bare_name(name):
    assert tables.find_column(FRAME, name) == "Metadata_Batch"


def test_missing_column_names_those_there_are():
    with pytest.raises(ValueError, match="no column 'plate'.*are: Metadata_Batch, Metadata_moa"):
        tables.find_column(FRAME, "plate")


def test_ambiguous_column():
    frame = pd.DataFrame(columns=["Plate", "Metadata_plate"])
    with pytest.raises(ValueError, match="'plate' is ambiguous: Plate, Metadata_plate"):
        tables.find_column(frame, "plate")


def test_feature_and_metadata_columns():
    names = [
        "plate",
        "emb0",
        "emb_0001",
        "emb_DNA_0001",
        "embryo",
        "Cells_Area",
        "Nuclei_X",
        "Cytoplasm_Y",
    ]
    frame = pd.DataFrame(columns=names)
    assert tables.feature_columns(frame) == names[1:4] + names[5:]
    assert tables.metadata_columns(frame) == ["plate", "embryo"]


def test_prefix_follows_the_field():
    frame = pd.DataFrame(columns=["batch", "moa", "Metadata_Well"])
    assert list(tables.prefixed(frame)) == ["Metadata_Batch", "Metadata_moa", "Metadata_Well"]


def test_frame_digest_sees_values_and_names_only():
    frame = pd.DataFrame({"path": [["a", "b"], ["c"]], "x": [1, 2]})
    digest = tables.frame_digest(frame)
    assert tables.frame_digest(frame.set_index(pd.Index([5, 6]))) == digest
    assert tables.frame_digest(frame.assign(x=[1, 3])) != digest
    assert tables.frame_digest(frame.rename(columns={"x": "y"})) != digest
    assert tables.frame_digest(frame.assign(path=[["a", "b"], ["d"]])) != digest


def test_text_of_many_rows_is_that_of_each():
    values = ["a", " a ", None, "", "  ", "é", "a", "7.0"] * 3
    wanted = [(str(v).strip() or None) if v is not None else None for v in values]
    for kind in ("str", object):
        found = tables.text(pd.Series(values, dtype=kind, index=range(5, 29), name="well"))
        assert found.tolist() == wanted
        assert (found.dtype, found.name, found.index[0]) == (object, "well", 5)
    assert tables.text(pd.Series([1, "1", True, 1.0, None])).tolist() == [
        "1",
        "1",
        "True",
        "1.0",
        None,
    ]
