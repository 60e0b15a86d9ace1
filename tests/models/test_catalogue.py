"""The table of models agrees with the models; a licence is said once, and recorded."""

import re

import numpy as np
import pandas as pd
import pytest
import tifffile
import torch

import unidino
from unidino import models, paths, tables
from unidino.download import catalogue as download
from unidino.models import catalogue, checkpoints, vit, zoo

NC = "CC BY-NC 4.0"


@pytest.fixture
def nothing_told(monkeypatch):
    monkeypatch.setattr(zoo, "_told", set())


@pytest.fixture(scope="module")
def small():
    return vit.seeded(vit.ModelConfig(arch="vit_tiny", embed_dim=12, size=32), 0)


def saved(small, path):
    torch.save({"teacher": {f"backbone.{k}": v for k, v in small.weights().items()}}, path)
    return path


# The table of the book.


def book():
    return (paths.project_root() / "book" / "models.md").read_text()


def row(name):
    """The row of the book's first table that an entry makes."""
    entry = catalogue.MODELS[name]
    scaling = {"none": "", "moments": "; each tile to mean 0 and variance 1"}
    scaling["percentiles"] = "; each tile's percentiles 1 and 99 to 0 and 1"
    wants = f"{entry.file}; {entry.size} px; `{entry.intensity}`{scaling[entry.tile_scaling]}"
    cells = [f"`{name}`", entry.architecture, entry.trained_on, entry.source]
    cells += [entry.licence, wants, str(entry.width), entry.citation]
    return f"| {' | '.join(cells)} |"


@pytest.mark.parametrize("name", list(catalogue.MODELS))
def test_the_book_says_what_the_catalogue_says(name):
    assert row(name) in book().splitlines()


def test_the_book_lists_no_other_models():
    rows = [line for line in book().splitlines() if line.startswith("| `")]
    named = [re.match(r"\| `([\w-]+)` \|", line)[1] for line in rows]
    assert named == [*catalogue.MODELS, *catalogue.ABSENT]
    for name, reason in catalogue.ABSENT.items():
        assert f"| `{name}` | {reason} |" in rows


@pytest.mark.parametrize("name", ["unidino-demo", "random_vit", "transfer"])
def test_an_entry_describes_its_model(name):
    model = unidino.load_model(name)
    entry = catalogue.MODELS[name]
    described = (entry.size, entry.intensity, entry.tile_scaling, entry.width)
    config = model.config
    assert described == (config.size, config.intensity, config.tile_scaling, model.embedding_dim)
    assert model.licence == ("" if entry.licence == "none" else entry.licence)


def test_what_is_downloaded_has_the_same_licence():
    licence = download.find("weights").licence
    assert licence.startswith(f"{catalogue.MODELS['unidino'].licence}: ")
    assert catalogue.non_commercial(licence)


def test_names_are_those_of_the_catalogue():
    assert models.NAMES == ("unidino-demo", "unidino", "random_vit", "transfer")
    assert zoo.NEED_CKPT == ("dino", "microsnoop", "morphem")
    assert set(models.NAMES) | set(zoo.NEED_CKPT) == {*catalogue.MODELS, "dino"}


@pytest.mark.parametrize("name", list(catalogue.ABSENT))
def test_a_model_that_is_not_offered_says_why(name):
    reason = re.escape(catalogue.ABSENT[name])
    with pytest.raises(ValueError, match=f"{name}' is not offered: {reason}. .*microsnoop, morph"):
        unidino.load_model(name)
    with pytest.raises(ValueError, match="is not offered"):
        models.check_name(name.upper())


@pytest.mark.parametrize(
    ("licence", "expected"),
    [
        (NC, True), ("CC BY-NC-ND 4.0", True), ("cc-by-nc-sa-4.0", True),
        ("FAIR Noncommercial Research License", True), ("for non-commercial use", True),
        ("MIT", False), ("BSD 3-Clause", False), ("Apache-2.0", False), ("", False),
        ("CC BY 4.0", False), ("Academic FNCL licence", False),
    ],
)  # fmt: skip
def test_non_commercial_licences_are_known_by_their_names(licence, expected):
    assert catalogue.non_commercial(licence) is expected


# What is said and recorded.


def test_the_released_weights_licence_is_said_once(
    small, tmp_path, monkeypatch, capsys, nothing_told
):
    monkeypatch.setenv("UNIDINO_DATA", str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    file = saved(small, tmp_path / "checkpoints" / paths.UNIDINO_WEIGHTS)
    settings = {"arch": "vit_tiny", "embed_dim": 12}
    assert unidino.load_model("unidino", **settings).licence == NC
    said = capsys.readouterr()
    assert said.out == "" and said.err.count(f"unidino are under {NC}: not for commercial use") == 1
    unidino.load_model("unidino", **settings)
    assert capsys.readouterr().err == ""
    # Under its own name by path, too.
    assert unidino.load_model(file, **settings).licence == NC
    assert f"are under {NC}" in capsys.readouterr().err
    assert unidino.load_model("dino", ckpt=file, **settings).licence == NC


def test_what_says_nothing_of_a_licence_has_none(small, tmp_path, capsys, nothing_told):
    file = saved(small, tmp_path / "mine.pth")
    assert unidino.load_model(file, arch="vit_tiny").licence == ""
    assert unidino.load_model("random_vit").licence == ""
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("stored", "found"),
    [(NC, NC), ("  BSD\n3-Clause ", "BSD 3-Clause"), (["MIT"], ""), ("x" * 999, "x" * 200)],
)
def test_a_licence_stands_in_a_files_header(stored, found, small, tmp_path, capsys, nothing_told):
    checkpoints.save_model(small, tmp_path / "m.safetensors", {"licence": stored})
    assert unidino.load_model(tmp_path / "m.safetensors").licence == found
    assert ("not for commercial use" in capsys.readouterr().err) is (found == NC)


def test_a_licence_is_passed_on(small, tmp_path):
    checkpoints.save_model(small, tmp_path / "a.safetensors", {"licence": NC})
    checkpoints.save_model(
        unidino.load_model(tmp_path / "a.safetensors"), tmp_path / "b.safetensors"
    )
    assert checkpoints.read_header(tmp_path / "b.safetensors")["licence"] == NC


def test_a_licence_is_in_the_provenance_of_every_table(
    small, tmp_path, monkeypatch, capsys, nothing_told
):
    file = saved(small, tmp_path / paths.UNIDINO_WEIGHTS)
    rng = np.random.default_rng(0)
    for well in ("A01", "A02"):
        tifffile.imwrite(tmp_path / f"{well}.tif", rng.integers(0, 999, (32, 32), np.uint16))
    table = pd.DataFrame({"plate": "p", "well": ["A01", "A02"], "DNA": ["A01.tif", "A02.tif"]})
    table.to_csv(tmp_path / "plate.csv", index=False)
    made = unidino.extract(
        str(tmp_path / "plate.csv"),
        model="dino",
        ckpt=str(file),
        arch="vit_tiny",
        size=32,
        outdir=str(tmp_path / "out"),
        norm_method="no_post_proc",
        min_foreground=0.0,
        num_workers=0,
        device="cpu",
    )
    assert capsys.readouterr().err.count(f"are under {NC}: not for commercial use") == 1
    assert made.provenance["model_licence"] == NC
    written = [made.profiles_path, *(path for path, _ in made.site_tables())]
    assert [tables.read_provenance(path)["model_licence"] for path in written] == [NC, NC]
    # What was extracted before there was this record goes on.
    assert "model_licence" not in made.provenance["settings"]
