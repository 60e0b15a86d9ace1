"""Every artefact has one name, and no path depends on the working directory."""

from pathlib import Path

import pytest

from unidino import paths


def test_defaults_do_not_follow_the_working_directory(tmp_path, monkeypatch):
    for name in ("UNIDINO_DATA", "UNIDINO_OUTDIR", "UNIDINO_RESULTS"):
        monkeypatch.delenv(name, raising=False)
    before = paths.data_root(), paths.outputs_root()
    monkeypatch.chdir(tmp_path)
    assert (paths.data_root(), paths.outputs_root()) == before
    assert paths.results_folder() is None
    assert paths.data_is_simulated_default()
    assert before[0] == paths.project_root() / "data" / "sample"


def test_environment_names_the_roots(tmp_path, monkeypatch):
    for name in ("UNIDINO_DATA", "UNIDINO_OUTDIR", "UNIDINO_RESULTS", "UNIDINO_REAL"):
        monkeypatch.setenv(name, str(tmp_path))
    assert not paths.data_is_simulated_default()
    assert paths.data_root() == paths.outputs_root() == paths.results_folder() == tmp_path
    assert paths.real_data_root() == tmp_path


def test_data_root_must_exist(tmp_path, monkeypatch):
    monkeypatch.setenv("UNIDINO_DATA", str(tmp_path / "gone"))
    with pytest.raises(FileNotFoundError, match="UNIDINO_DATA is .*gone, which is not a folder"):
        paths.data_root()


def test_real_data_may_be_absent(tmp_path, monkeypatch):
    monkeypatch.setenv("UNIDINO_REAL", str(tmp_path / "gone"))
    assert paths.real_data_root() is None


def test_fetched_weights_belong_where_clean_leaves_them(tmp_path, monkeypatch):
    kept = paths.project_root() / "data" / "checkpoints"
    monkeypatch.delenv("UNIDINO_DATA", raising=False)
    assert paths.checkpoint_folders()[0] == kept
    monkeypatch.setenv("UNIDINO_DATA", str(tmp_path))
    assert paths.checkpoint_folders()[:2] == [tmp_path / "checkpoints", kept]


LONG = ["P" * 240, "P" * 240 + "Q", "第二十七批次药物筛选板编号甲乙丙丁" * 2, "a/" * 150]


def test_names_are_escaped_one_to_one(tmp_path):
    names = ["a/b", "a_b", "a%2Fb", "..", ".", "A:b", "ä", "a\u0308", "week 1", "a\\b"]
    names += ["a.", "a", "a ", *LONG, *(paths.escape(name) for name in LONG)]
    escaped = [paths.escape(name) for name in names]
    assert len(set(escaped)) == len(names)
    for name in escaped:
        assert len(name) <= paths.NAME_BYTES
        (tmp_path / name).touch()
    assert len(list(tmp_path.iterdir())) == len(names)


def test_long_names_stay_readable():
    assert paths.escape("Plate_" + "7" * 300).startswith("Plate_777")
    longest = paths.profiles_table("", "x" * 400, "mad_robustize", l2norm=True).name
    assert len(longest) < 255
    assert "%~" not in paths.escape("x" * paths.NAME_BYTES)


@pytest.mark.parametrize("name", ["", " ", "\n"])
def test_no_file_is_called_nothing(name, tmp_path):
    with pytest.raises(ValueError, match="is empty, so no file can be called by it"):
        paths.valset_folder(tmp_path, "model", name)


def test_plates_of_other_batches_have_other_files(tmp_path):
    keys = [("b1", "p"), ("b2", "p"), ("p",)]
    files = paths.site_tables(tmp_path, keys)
    assert list(files) == keys
    assert len(set(files.values())) == 3
    assert tmp_path / "sites" / "b1" / "p.parquet" in files.values()


def test_case_alone_tells_files_apart_where_disks_ignore_it(tmp_path):
    keys = [("B1", "p1"), ("b1", "p1"), ("b1", "P1"), ("b1", "p2"), ("B2", "p1")]
    files = paths.site_tables(tmp_path, keys)
    assert len({str(path).lower() for path in files.values()}) == len(keys)
    assert files["B2", "p1"] == tmp_path / "sites" / "B2" / "p1.parquet"
    assert files["b1", "p2"].name == "p2.parquet"
    assert paths.site_tables(tmp_path, reversed(keys)) == files


def test_profiles_say_their_level(tmp_path):
    well = paths.profiles_table(tmp_path, "insect", "standardize")
    site = paths.profiles_table(tmp_path, "HPA", "standardize", "site")
    assert well.name == "insect_standardize_well_features.parquet"
    assert site.name == "HPA_standardize_site_features.parquet"


def test_what_may_be_deleted_lies_in_the_users_cache(tmp_path, monkeypatch):
    for name in ("UNIDINO_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert paths.cache_root() == Path.home() / ".cache" / "unidino"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert paths.cache_root() == tmp_path / "unidino"
    monkeypatch.setenv("UNIDINO_CACHE", str(tmp_path / "own"))
    assert paths.cache_root() == tmp_path / "own"
    folders = {paths.cache_folder(kind, name) for kind in ("a", "b") for name in ("x/y", "..")}
    assert len(folders) == 4
    assert all(folder.parent.parent == tmp_path / "own" for folder in folders)
