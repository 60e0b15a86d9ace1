"""Every artefact has one name, and no path depends on the working directory."""

import pytest

from unidino import paths


def test_defaults_do_not_follow_the_working_directory(tmp_path, monkeypatch):
    for name in ("UNIDINO_DATA", "UNIDINO_OUTDIR", "UNIDINO_RESULTS"):
        monkeypatch.delenv(name, raising=False)
    before = paths.data_root(), paths.outputs_root(), paths.results_folder()
    monkeypatch.chdir(tmp_path)
    assert (paths.data_root(), paths.outputs_root(), paths.results_folder()) == before
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


def test_names_are_escaped_one_to_one(tmp_path):
    names = ["a/b", "a_b", "a%2Fb", "..", ".", "A:b", "ä", "week 1", "a\\b"]
    escaped = [paths.escape(name) for name in names]
    assert len(set(escaped)) == len(names)
    for name in escaped:
        (tmp_path / name).touch()
    assert len(list(tmp_path.iterdir())) == len(names)


def test_plates_of_other_batches_have_other_files(tmp_path):
    files = {paths.site_table(tmp_path, key) for key in [("b1", "p"), ("b2", "p"), ("p",)]}
    assert len(files) == 3
    assert tmp_path / "sites" / "b1" / "p.parquet" in files


def test_profiles_say_their_level(tmp_path):
    well = paths.profiles_table(tmp_path, "HPA", "standardize")
    site = paths.profiles_table(tmp_path, "HPA", "standardize", "none")
    assert well.name == "HPA_standardize_well_features.parquet"
    assert site.name == "HPA_standardize_site_features.parquet"
