"""Parts of a dataset: who embeds what, kept when a run is killed, the same bytes in the end."""

import hashlib
import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tifffile
import torch

import unidino
from unidino import devices, inference, paths, plate_parts, shards, sites, tables
from unidino.models import checkpoints, vit
from unidino.sites import SiteEmbeddings

SIZES = {("a",): 7, ("b",): 30, ("c",): 1, ("d",): 12}


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 16, 60])
@pytest.mark.parametrize("together", [1, 4])
def test_shards_are_all_sites_each_once(count, together):
    seen = {key: np.zeros(n, int) for key, n in SIZES.items()}
    loads = []
    for number in range(count):
        made = shards.stretches(SIZES, number, count, lambda key: together)
        loads.append(sum(map(len, made)))
        for part in made:
            seen[part.key][part.start : part.stop] += 1
            assert part.whole == (len(part) == SIZES[part.key])
            assert part.start % together == 0
            if count <= len(SIZES):
                assert part.whole
    assert all((times == 1).all() for times in seen.values())
    if count > len(SIZES):
        assert max(loads) <= sum(SIZES.values()) / count + 2 * together


def test_whole_plates_are_spread_by_their_sites():
    assert [
        sum(map(len, shards.stretches(SIZES, number, 2))) for number in range(2)
    ] == [30, 20]  # fmt: skip


@pytest.mark.parametrize("shard", ["0/4", "5/4", "1", "1/0", "-1/4", "a/b", ""])
def test_shards_that_are_none_are_named(shard, tmp_path):
    with pytest.raises(ValueError, match="expected a part of so many, such as 3/16"):
        unidino.extract("nowhere.csv", shard=shard, outdir=str(tmp_path))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shard": "1/2", "overwrite": True}, "shard goes without overwrite: .* would discard"),
        ({"shard": "1/2", "gpus": 2}, "shard goes without gpus"),
        ({"gpus": 2, "device": "cpu"}, "gpus names devices, and so does device"),
        ({"gpus": 99}, "gpus is 99; this machine has "),
        ({"gpus": [0, 0]}, r"gpus is \[0, 0\]; this machine has"),
    ],
)
def test_what_goes_against_each_other(options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        unidino.extract("nowhere.csv", outdir=str(tmp_path), **options)


def test_gpus_by_count_and_by_number():
    assert devices.gpu_names(2, 4) == ["cuda:0", "cuda:1"]
    assert devices.gpu_names([3, 1], 4) == ["cuda:3", "cuda:1"]
    for wrong in (0, 5, [4], [-1], []):
        with pytest.raises(ValueError, match="this machine has 4"):
            devices.gpu_names(wrong, 4)


@pytest.fixture(scope="module")
def screen(tmp_path_factory):
    """Two plates of nine sites and four channels of noise and a disc, and a small model."""
    folder = tmp_path_factory.mktemp("screen")
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:64, :70]
    rows = []
    for i in range(18):
        row = {"plate": f"p{i // 9}", "well": f"A{i % 9 + 1:02d}", "control_type": "negcon"}
        for c in range(2):
            disc = (y - 30) ** 2 + (x - 20 - 3 * (i % 9)) ** 2 < 150 + 40 * c
            name = f"{i}_{c}.tif"
            image = rng.normal(3000, 200, disc.shape) + 9000 * disc
            tifffile.imwrite(folder / name, image.astype(np.uint16))
            row[f"stain{c}"] = name
        rows.append(row)
    rows[4]["stain1"] = rows[4]["stain0"].replace("_0", "_9")
    (folder / rows[4]["stain1"]).write_bytes(b"no image")
    pd.DataFrame(rows).to_csv(folder / "screen.csv", index=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = vit.EmbeddingModel(vit.ModelConfig(arch="vit_tiny", size=32, intensity="plate"))
    checkpoints.save_model(model, folder / "small.safetensors")
    return folder


def extract(screen, outdir, **options):
    return unidino.extract(
        str(screen / "screen.csv"), model=str(screen / "small.safetensors"), outdir=str(outdir),
        **{"batch_size": 24, "norm_method": "no_post_proc", "max_missing": 0.2} | options,
    )  # fmt: skip


def bytes_of(outdir):
    """All tables of an extraction, by their bytes but for the commit that made them; nothing else
    is left beside them."""
    files = {p.relative_to(outdir) for p in outdir.rglob("*") if p.is_file()}
    kept = {p for p in files if p.suffix == ".parquet"}
    aside = {p.name for p in files - kept if p.suffix not in (".json", ".log")}
    assert aside <= {".screen.lock"}, aside
    return {str(p): _content(outdir / p) for p in kept}


def _content(file):
    made = tables.read_provenance(file)
    made["software"].pop("commit")
    sink = pa.BufferOutputStream()
    table = pq.read_table(file).replace_schema_metadata(None)
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return json.dumps(made), hashlib.sha256(sink.getvalue()).hexdigest()


@pytest.fixture(scope="module")
def whole(screen, tmp_path_factory):
    outdir = tmp_path_factory.mktemp("whole")
    extract(screen, outdir)
    return bytes_of(outdir)


@pytest.mark.parametrize("count", [2, 5])
def test_shards_make_the_same_bytes(count, screen, whole, tmp_path):
    for number in range(count, 0, -1):
        made = extract(screen, tmp_path, shard=f"{number}/{count}")
        assert made.profiles is None and made.profiles_path is None
        again = extract(screen, tmp_path, shard=f"{number}/{count}")
        assert again.counts == made.counts
    assert not list(tmp_path.rglob("*_features.parquet"))
    extract(screen, tmp_path)
    assert bytes_of(tmp_path) == whole


def test_what_shards_left_is_embedded_by_the_run_that_collects(screen, whole, tmp_path):
    extract(screen, tmp_path, shard="2/3")
    extract(screen, tmp_path)
    assert bytes_of(tmp_path) == whole


def test_devices_share_one_extraction(screen, whole, tmp_path):
    options = {"valset": str(screen / "screen.csv"), "model": str(screen / "small.safetensors")}
    options |= {"outdir": str(tmp_path), "batch_size": 24, "norm_method": "no_post_proc"}
    devices.share(["cpu", "cpu"], inference.extract, options | {"max_missing": 0.2})
    assert len(list(tmp_path.rglob("p?.parquet"))) == 2
    extract(screen, tmp_path)
    assert bytes_of(tmp_path) == whole


def test_a_device_that_fails_is_named(screen, tmp_path):
    options = {"valset": str(screen / "absent.csv"), "outdir": str(tmp_path)}
    with pytest.raises(RuntimeError, match="embedding on cpu failed: .*absent.csv.*goes on"):
        devices.share(["cpu"], inference.extract, options)


@pytest.mark.parametrize("after", [1, 3, 7, 12, 17])
def test_a_killed_run_goes_on_within_the_plate(after, screen, whole, tmp_path, monkeypatch):
    monkeypatch.setattr(sites, "PART_SECONDS", 0.0)
    embedded = []
    original = sites._row

    def killed(item, *rest):
        embedded.append(item["index"])
        if len(embedded) > after:
            raise KeyboardInterrupt
        return original(item, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(sites, "_row", killed)
        with pytest.raises(KeyboardInterrupt):
            extract(screen, tmp_path)
    done = len(embedded) - 1
    monkeypatch.setattr(sites, "_row", lambda *a: embedded.append(0) or original(*a))
    embedded.clear()
    extract(screen, tmp_path)
    # A group of sites is lost at most.
    assert 18 - done <= len(embedded) <= 18 - done + 1
    assert bytes_of(tmp_path) == whole


def held(folder, name="x", sites_=4):
    parts = plate_parts.PlateParts(folder / "p.parquet", name, sites_)
    parts.read()
    return parts


def test_parts_come_back_as_they_were(tmp_path):
    measured = [{"a": 1 / 3, "b": None, "c": float("nan")}, {"a": 1e300, "b": "text ä", "c": 0.0}]
    features = np.array([[np.nan, 1], [2, 3]], np.float32)
    held(tmp_path).hold(1, measured, features, store=True)
    parts = held(tmp_path)
    assert parts.gaps(0, 4) == [(0, 1), (3, 4)]
    assert parts.gaps(1, 3) == [] and parts.gaps(2, 4) == [(3, 4)]
    rows, found = parts.joined()
    assert json.dumps(rows) == json.dumps(measured)
    np.testing.assert_array_equal(found, features)
    parts.remove()
    assert not paths.parts_folder(tmp_path / "p.parquet").exists()


@pytest.mark.parametrize("damage", ["empty", "cut", "other", "overlap", "beyond"])
def test_parts_that_do_not_fit_are_embedded_again(damage, tmp_path, capsys):
    parts = held(tmp_path)
    parts.hold(0, [{}, {}], np.zeros((2, 3), np.float32), store=True)
    file = next(parts.folder.iterdir())
    if damage == "empty":
        file.write_bytes(b"")
    elif damage == "cut":
        file.write_bytes(file.read_bytes()[:-40])
    elif damage == "overlap":
        held(tmp_path).hold(1, [{}, {}], np.zeros((2, 3), np.float32), store=True)
    again = held(tmp_path, "y" if damage == "other" else "x", 1 if damage == "beyond" else 4)
    wanted = [(2, 4)] if damage == "overlap" else [(0, 4)]
    assert again.gaps(0, 4) == wanted
    assert ("is damaged" in capsys.readouterr().err) == (damage in ("empty", "cut"))
    assert len(list(parts.folder.iterdir())) == (damage == "overlap")


def test_a_plate_that_another_run_finishes_is_taken_over(screen, whole, tmp_path, monkeypatch):
    original, other = SiteEmbeddings._write_plate, []

    def meanwhile(self, work):
        if not other:
            other.append(0)
            extract(screen, tmp_path, shard="2/2")
        original(self, work)

    monkeypatch.setattr(SiteEmbeddings, "_write_plate", meanwhile)
    extract(screen, tmp_path)
    assert bytes_of(tmp_path) == whole


def test_the_precision_that_an_extraction_began_with_goes_on(screen, tmp_path):
    made = extract(screen, tmp_path, precision="bf16")
    (made.sites_path / "p1.parquet").unlink()
    extract(screen, tmp_path)
    settings = json.loads(paths.settings_file(made.sites_path.parent).read_text())
    assert settings["precision"] == "bf16"
    assert settings["measured"] == {"device": "cpu", "batch_size": 24, "compiled": False}
    again = tables.read_provenance(made.sites_path / "p1.parquet")
    assert again["settings"]["precision"] == "bf16"
    with pytest.raises(ValueError, match="precision was 'bf16', is 'fp32'"):
        extract(screen, tmp_path, precision="fp32")
