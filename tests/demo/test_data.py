"""The demo model's data: the real mix as a CSV, simulated plates apart from the book's."""

import json

import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image

from unidino import dataset, paths, simulate, valsets
from unidino.demo import data, real_sets


@pytest.fixture
def real(tmp_path, monkeypatch):
    """A real data root: sources of 4 and 1 images and a Vitra image, and one more of 4 and 1."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "real" / "train_mix"
    rows = []

    def add(source, name, dtype, stain, cell_type="cells"):
        (folder / source).mkdir(parents=True, exist_ok=True)
        values = rng.integers(0, 200, (40, 50)).astype(dtype)
        if name.endswith(".png"):
            Image.fromarray(values).save(folder / source / name)
        else:
            tifffile.imwrite(folder / source / name, values + np.asarray(0.25, dtype))
        bits = {"u1": "8", "u2": "16", "f4": "f32"}[np.dtype(dtype).str[1:]]
        rows.append([f"{source}/{name}", source, stain, cell_type, 40, 50, bits])

    for i in range(3):
        add("many", f"{i}.png", np.uint8, "DNA")
    add("many", "3.png", np.uint16, "DNA")
    add("one", "0.tif", np.float32, "")
    add("one", "vitra.png", np.uint8, "GFP", "cultured cells (SBS Vitra)")
    names = ["file", "source", "stain_channel", "cell_type", "height", "width", "bit_depth"]
    pd.DataFrame(rows, columns=names).to_csv(folder / "manifest.csv", index=False)
    more = folder.with_name("train_more")
    rows.clear()
    folder = more
    for i in range(4):
        add("stained", f"{i}.png", np.uint8, "ER")
    add("stained", "4.png", np.uint8, "actin")
    pd.DataFrame(rows, columns=names).to_csv(more / "manifest.csv", index=False)
    monkeypatch.setenv("UNIDINO_REAL", str(more.parent))
    return more.parent


def test_mix_is_a_dataset_of_single_channels(real, tmp_path):
    frame = data.write_train_mix(tmp_path)
    assert not frame["path"].str.startswith("/").any()
    assert list(frame["plate"].unique()) == [
        "many DNA 8 bits 40 x 50",
        "many DNA 16 bits 40 x 50",
        "one unknown f32 bits 40 x 50",
        "stained ER 8 bits 40 x 50",
        "stained actin 8 bits 40 x 50",
    ]
    # Each stain of a source with the square root of its images: 2 to 1, over 4 images and 1.
    weight = frame.groupby(["source", "stain"])["sample_weight"].sum()
    assert weight["many", "DNA"] / weight["one", "unknown"] == pytest.approx(2, rel=1e-4)
    assert weight["stained", "ER"] / weight["stained", "actin"] == pytest.approx(2, rel=1e-4)
    assert frame["sample_weight"].mean() == pytest.approx(1, rel=1e-4)
    metadata = valsets.open_valset(tmp_path / "train_mix.csv")
    assert metadata.channels == ["ch1"]
    types = [dataset.load_site(metadata, i).dtype for i in range(len(frame))]
    assert types == [np.uint8] * 3 + [np.uint16] * 2 + [np.uint8] * 5
    assert len(dataset.plate_statistics(metadata)) == 5


def test_translocation_assay_is_left_out(real):
    assert not real_sets.train_mix(real)["path"].str.contains("vitra").any()


def test_the_real_mix_is_complete():
    root = paths.real_data_root()
    if root is None or not (root / "train_mix").is_dir():
        pytest.skip("the real training images are absent (UNIDINO_REAL)")
    frame = real_sets.train_mix(root)
    assert len(frame) == 1854
    assert frame["source"].nunique() == 34
    assert frame["path"].map(lambda file: (root / file).is_file()).all()
    share = frame.groupby("source")["sample_weight"].sum() / frame["sample_weight"].sum()
    assert share["dsb2018"] + share["dsb2018_rest"] < 0.15  # of 541 of the images


def small(monkeypatch):
    monkeypatch.setattr(data, "TRAINING", ((1, 40), (2, 48)))
    monkeypatch.setattr(data, "DEVELOPMENT_RENDERINGS", (11, 12))
    monkeypatch.setattr(data, "TRAINING_PLATES", {"HPA": {"wells": 20}})
    plates = {"wells": 20, "plates": 1, "batches": 1, "field": 40}
    monkeypatch.setattr(data, "DEVELOPMENT", {"jumpcp-valset": plates})


def test_everything_is_written_and_listed(real, tmp_path, monkeypatch, capsys):
    small(monkeypatch)
    out = tmp_path / "demo"
    data.main([str(out), "--workers", "1", "--seed", "300"])
    said = capsys.readouterr().out
    assert "simulated-2/HPA" in said
    assert "together " in said
    sets = data.training_sets(out)
    assert [one.get("valset", "mix") for one in sets] == ["mix", "HPA", "HPA"]
    assert [one["weight"] for one in sets] == pytest.approx([0.7, 0.15, 0.15])
    opened = [valsets.open_valset(sets[0]["csv"])]
    opened += [valsets.open_valset(one["valset"], root=one["root"]) for one in sets[1:]]
    assert [one.simulated for one in opened] == [False, True, True]
    made = [
        json.loads((paths.dataset_folder("HPA", one["root"]) / simulate.MARKER).read_text())
        for one in sets[1:]
    ]
    for number, one in enumerate(made, 1):
        parameters = one["parameters"]
        assert parameters["seed"] == 300 + number
        assert parameters["rendering"] == number
        assert parameters["mechanisms"] == "random"
    development, other = data.development_sets(out)
    made = [
        json.loads((paths.dataset_folder(one["valset"], one["root"]) / simulate.MARKER).read_text())
        for one in (development, other)
    ]
    assert [one["parameters"]["rendering"] for one in made] == [11, 12]
    assert [one["parameters"]["seed"] for one in made] == [311, 312]
    assert valsets.open_valset(**development).metadata["target"].notna().any()


def test_development_is_apart_from_training():
    training = {rendering for rendering, _ in data.TRAINING}
    development = set(data.DEVELOPMENT_RENDERINGS)
    assert not training & development
    assert 0 not in training | development
    assert set(data.TRAINING_PLATES) == set(simulate.LAYOUTS) - {"worlds"}


def test_mistakes_are_named(real, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="seed is 5; it must be 100 or more"):
        data.write(tmp_path / "demo", seed=5)
    with pytest.raises(ValueError, match="scale is 0; it must be above 0"):
        data.write(tmp_path / "demo", scale=0)
    with pytest.raises(FileNotFoundError, match="is absent: run python -m unidino.demo.data"):
        data.training_sets(tmp_path / "demo")
    (real / "train_mix" / "manifest.csv").unlink()
    with pytest.raises(SystemExit, match="training images are not part of this project"):
        data.main([str(tmp_path / "demo")])
    monkeypatch.setattr(paths, "real_data_root", lambda: None)
    with pytest.raises(
        FileNotFoundError, match="no real images: set UNIDINO_REAL to the folder above"
    ):
        data.write_train_mix(tmp_path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.full((20, 20), -1.0, np.float32), "holds -1 to -1; expected counts"),
        (np.zeros((20, 20), np.int32), "holds int32; expected 8 or 16 bits"),
        (np.zeros((2, 20, 20), np.uint8), "has 2 channels; expected one"),
    ],
)
def test_odd_images_are_named(values, message, real, tmp_path):
    file = real / "train_mix" / "one" / "0.tif"
    tifffile.imwrite(file, values, photometric="minisblack")
    with pytest.raises(ValueError, match=message):
        data.write_train_mix(tmp_path)
