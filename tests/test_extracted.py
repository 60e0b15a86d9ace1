"""Extractions that pages read: what their names mean, when they are made again, what goes wrong."""

import json
from pathlib import Path

import extracted
import pytest

import unidino
from unidino import simulate, tables
from unidino.evaluate import measured_cells


@pytest.fixture
def calls(monkeypatch):
    """What `unidino.extract` was called with; it leaves a file instead of profiles."""
    made = []

    def extract(outdir, **options):
        made.append(options)
        if options["valset"] == "lost":
            raise FileNotFoundError("no such data")
        model = options["model"] + (f"-{options['seed']}" if options["seed"] else "")
        folder = Path(outdir, model, options["valset"])
        folder.mkdir(parents=True)
        (folder / "profiles.txt").write_text(str(len(made)))

    monkeypatch.setattr(unidino, "extract", extract, raising=False)
    return made


def test_names_tell_the_parameters():
    demo = extracted.parameters("HPA@unidino-demo", False)
    plain = {"valset": "HPA", "model": "unidino-demo", "seed": 0, "reference": "all"}
    assert demo == plain | {"precision": "fp32"}
    # One's own data, as quickly as the machine can.
    assert extracted.parameters("HPA@unidino-demo", True) == plain
    random = extracted.parameters("BBBC021@random_vit@2", False)
    size = unidino.load_model().config.size
    seeded = {"valset": "BBBC021", "model": "random_vit", "seed": 2, "precision": "fp32"}
    assert random == seeded | {"size": size}
    worlds = extracted.parameters("worlds@transfer", False)
    assert worlds["foreground_channel"] == "any" and worlds["size"] == size
    unbatched = extracted.parameters("without_batch/jumpcp-valset@unidino-demo", False)
    assert unbatched["root"].endswith("_build/without_batch")
    assert "root" not in extracted.parameters("without_batch/jumpcp-valset@unidino-demo", True)


def test_an_extraction_is_kept_until_it_changes(calls, tmp_path, monkeypatch):
    name = "BBBC021@random_vit@2"
    assert not extracted.is_current(tmp_path, name)
    assert extracted.extract(tmp_path, name, False) > 0
    kept = tmp_path / "random_vit-2" / "BBBC021" / "profiles.txt"
    assert kept.read_text() == "1" and extracted.is_current(tmp_path, name)
    (kept.parent / "old").touch()
    extracted.extract(tmp_path, name, False)
    assert kept.read_text() == "2" and not (kept.parent / "old").exists()
    below = "without_batch/jumpcp-valset@unidino-demo"
    extracted.extract(tmp_path, below, False)
    assert (tmp_path / "without_batch" / "unidino-demo" / "jumpcp-valset").is_dir()
    assert extracted.is_current(tmp_path, below)
    assert len({extracted.digest(one, False) for one in (name, below, "HPA@transfer")}) == 3
    monkeypatch.setattr(extracted, "CODE", "import unidino.quality")
    assert not extracted.is_current(tmp_path, name)


def test_a_failed_extraction_leaves_no_note(calls, tmp_path):
    (tmp_path / "lost@transfer.json").write_text("{}")
    assert extracted.extract(tmp_path, "lost@transfer", False) == "no such data"
    assert not list(tmp_path.iterdir())


def test_measured_cells_are_copied(calls, tmp_path, monkeypatch):
    source = tmp_path / "kept" / "HPA.parquet"
    source.parent.mkdir()
    source.write_bytes(b"measures")
    monkeypatch.setattr(extracted, "measured", lambda valset: source.with_stem(valset))
    out = tmp_path / "out"
    extracted.extract(out, "HPA@cp_measure", False)
    assert measured_cells.default_file("HPA", out).read_bytes() == b"measures"
    assert extracted.is_current(out, "HPA@cp_measure") and not calls
    source.write_bytes(b"others")
    assert not extracted.is_current(out, "HPA@cp_measure")


def test_own_data_stay_where_they_are_extracted(calls, tmp_path, monkeypatch):
    monkeypatch.setenv("UNIDINO_OUTDIR", str(tmp_path / "mine"))
    extracted.extract(tmp_path / "notes", "HPA@transfer", True)
    assert (tmp_path / "mine" / "transfer" / "HPA").is_dir()
    assert not (tmp_path / "notes").exists()


def test_a_name_that_is_none(tmp_path, capsys):
    assert extracted.main([str(tmp_path), "HPA"]) == 1
    assert "HPA is no extraction: expected DATASET@MODEL" in capsys.readouterr().err


def test_measures_of_simulated_plates_are_not_those_of_own_data(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("UNIDINO_DATA", str(tmp_path))
    assert extracted.main([str(tmp_path), "HPA@cp_measure"]) == 1
    assert "python -m unidino.evaluate.measured_cells HPA" in capsys.readouterr().err


def test_what_is_current_is_not_made_again(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("UNIDINO_DATA", raising=False)
    monkeypatch.setattr(extracted, "is_current", lambda folder, name: True)
    assert extracted.main([str(tmp_path), "HPA@transfer", "HPA@transfer"]) == 0
    assert "extractions: 1 of 1 are up to date" in capsys.readouterr().out


def test_notes_name_what_was_made(calls, tmp_path):
    extracted.extract(tmp_path, "HPA@transfer", False)
    note = json.loads(extracted.note(tmp_path, "HPA@transfer").read_text())
    assert (note["model"], note["valset"], note["place"]) == ("transfer", "HPA", ".")


@pytest.mark.parametrize("valset", ["BBBC021", "jumpcp-valset", "HPA"])
def test_committed_measures_are_of_this_simulator(valset):
    """Of the images that this simulator draws; `make measured` makes them again."""
    made = tables.read_table(extracted.measured(valset))
    assert made.attrs["provenance"]["simulator"] == simulate.fingerprint(), "run make measured"
