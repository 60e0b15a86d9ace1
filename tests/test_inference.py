"""Extraction against a slow twin; resuming, refusing to mix, and what each mistake is told."""

import errno
import inspect
import json
import os
import re
import shutil

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import tifffile
import torch

import unidino
from unidino import dataset, embedding, inference, paths, profiles, progress, quality, sites, tables
from unidino.metadata import added_columns
from unidino.models import checkpoints, vit


def cells(seed, channels, shape, dtype):
    """Bright discs on noise, in the range of a type."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    image = rng.normal(0.1, 0.01, (channels, *shape))
    for _ in range(8):
        cy, cx = rng.uniform(0, shape[0]), rng.uniform(0, shape[1])
        image += 0.4 * rng.random((channels, 1, 1)) * ((y - cy) ** 2 + (x - cx) ** 2 < 200)
    image = np.clip(image, 0, 1)
    if dtype == "12 in 16":
        return np.rint(image * 4095).astype(np.uint16)
    if np.issubdtype(dtype, np.floating):
        return image.astype(dtype)
    return np.rint(image * np.iinfo(dtype).max).astype(dtype)


def make_plate(folder, channels=2, shape=(96, 130), dtype=np.uint16, wells=8, sites=1, plates=1):
    """A CSV plate whose first half is negative control; returns the CSV."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for plate in range(plates):
        for well in range(wells):
            for site in range(sites):
                row = {"plate": f"p{plate}", "well": f"A{well + 1:02d}", "site": site + 1}
                row["control_type"] = "negcon" if well < wells // 2 else None
                row["treatment"] = "DMSO" if well < wells // 2 else f"t{well % 2}"
                image = cells(1000 * plate + 10 * well + site, channels, shape, dtype)
                for c in range(channels):
                    name = f"{plate}_{well}_{site}_{c}.tif"
                    tifffile.imwrite(folder / name, image[c])
                    row[f"stain{c + 1}"] = name
                rows.append(row)
    pd.DataFrame(rows).to_csv(folder / "plate.csv", index=False)
    return folder / "plate.csv"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A tiny model on small tiles, scaled by type: quick to run many times."""
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = vit.EmbeddingModel(vit.ModelConfig(arch="vit_tiny", size=48, intensity="dtype"))
    checkpoints.save_model(model, path)
    return str(path)


@pytest.fixture(scope="module")
def plate(tmp_path_factory):
    return make_plate(tmp_path_factory.mktemp("plate"), sites=2, plates=2)


def run(table, weights, outdir, **options):
    return unidino.extract(str(table), model=str(weights), outdir=str(outdir), **options)


def twin(csv, weights, scaling, tiling="cover"):
    """Site embeddings one tile at a time, in float32, from the definitions."""
    model = unidino.load_model(weights)
    size = model.config.size
    frame = pd.read_csv(csv)
    channels = [c for c in frame.columns if c.startswith("stain")]
    statistics = dataset.plate_statistics(unidino.open_valset(str(csv)))
    made = []
    for _, row in frame.iterrows():
        planes = [tifffile.imread(csv.parent / row[c]) for c in channels]
        own = statistics
        if "plate" in statistics.columns:
            own = statistics[statistics["plate"] == row["plate"]]
        own = own.set_index("channel")
        height, width = planes[0].shape
        site = []
        for c, plane in zip(channels, planes, strict=True):
            if scaling == "plate":
                low, high = own.loc[c, "low"], own.loc[c, "high"]
            elif scaling == "image":
                low, high = np.percentile(plane, [0.5, 99.9])
            else:
                high = 1.0 if plane.dtype.kind == "f" else np.iinfo(plane.dtype).max
                low = 0.0
            embeddings = []
            starts = [
                [round(i * (side - size) / max(n - 1, 1)) for i in range(n)]
                for side in (height, width)
                for n in [-(-(side - size) // size) + 1]
            ]
            for y in starts[0]:
                for x in starts[1]:
                    first = planes[0][y : y + size, x : x + size]
                    if (first > own.loc[channels[0], "threshold"]).mean() < 0.01:
                        continue
                    tile = plane[y : y + size, x : x + size].astype(np.float32)
                    tile = np.clip((tile - np.float32(low)) / np.float32(high - low), 0, 1)
                    with torch.inference_mode():
                        embeddings.append(model(torch.from_numpy(tile)[None, None])[0].numpy())
            site.append(np.mean(embeddings, 0))
        made.append(np.concatenate(site))
    return np.stack(made)


@pytest.mark.parametrize(
    ("channels", "shape", "dtype", "scaling"),
    [
        (1, (96, 130), np.uint8, "dtype"),
        (2, (130, 96), np.uint16, "plate"),
        (3, (48, 100), np.float32, "dtype"),
        (4, (97, 97), "12 in 16", "plate"),
        (5, (64, 75), np.uint8, "image"),
        (6, (48, 48), np.uint16, "dtype"),
    ],
)
def test_embeddings_equal_the_plain_twin(channels, shape, dtype, scaling, weights, tmp_path):
    csv = make_plate(tmp_path / "data", channels, shape, dtype, wells=4)
    options = {"intensity_scaling": scaling, "reference": "all", "batch_size": 7}
    made = run(csv, weights, tmp_path / "out", precision="fp32", **options)
    sites = made.sites()
    features = tables.feature_columns(sites)
    assert features == [f"emb_stain{c + 1}_{i:04d}" for c in range(channels) for i in range(192)]
    expected = twin(csv, weights, scaling)
    np.testing.assert_allclose(sites[features].to_numpy(), expected, atol=1e-5)
    assert made.counts["ok"] == 4


def test_pooling_is_part_of_the_settings(weights, tmp_path):
    csv = make_plate(tmp_path / "data", 1, (48, 60), wells=4)
    options = {"reference": "all", "norm_method": "no_post_proc"}
    made = run(csv, weights, tmp_path / "out", pooling="max", **options)
    settings = json.loads((made.sites_path.parent / "settings.json").read_text())
    assert settings["model_config"]["pooling"] == "max"
    mean = run(csv, weights, tmp_path / "mean", pooling="mean", **options).profiles
    features = tables.feature_columns(mean)
    assert (made.profiles[features].to_numpy() > mean[features].to_numpy()).all()
    with pytest.raises(ValueError, match="holds an extraction made otherwise: model_config"):
        run(csv, weights, tmp_path / "out", **options)
    with pytest.raises(ValueError, match="pooling 'median' is not one of cls, mean, max"):
        run(csv, weights, tmp_path / "out", pooling="median")


def test_results_do_not_follow_batches_and_workers(plate, weights, tmp_path):
    once = run(plate, weights, tmp_path / "a", batch_size=64)
    again = run(plate, weights, tmp_path / "b", batch_size=5, num_workers=2)
    features = tables.feature_columns(once.profiles)
    np.testing.assert_allclose(once.profiles[features], again.profiles[features], atol=1e-3)


def test_tables_and_provenance(plate, weights, tmp_path):
    made = run(plate, weights, tmp_path, csv=True)
    folder = made.profiles_path.parent
    assert made.profiles_path.name == "plate_standardize_well_features.parquet"
    assert made.unnormalised_path.name == "plate_no_post_proc_well_features.parquet"
    assert sorted(p.name for p in made.sites_path.iterdir() if p.suffix == ".parquet") == [
        "p0.parquet",
        "p1.parquet",
    ]
    assert folder.parent.name == f"small-{tables.sha256_file(weights)[:8]}"
    assert made.counts == {
        "sites": 32, "ok": 32, "empty": 0, "failed": 0, "tiles": 192,
        "tiles_kept": made.counts["tiles_kept"], "profiles": 16, "features": 384,
    }  # fmt: skip
    raw = tables.read_table(made.unnormalised_path)
    wells = profiles.aggregate(made.sites(), ["plate", "well"])
    features = tables.feature_columns(wells)
    np.testing.assert_allclose(raw[features], wells[features], atol=1e-6)
    assert (raw["Metadata_sites"] == 2).all()
    measures = [f"Metadata_{name}" for name in quality.SITE_MEASURES] + [
        f"Metadata_{name}_stain{c}" for name in quality.CHANNEL_MEASURES for c in (1, 2)
    ]
    assert quality.columns(made.profiles) == quality.columns(raw) == measures
    assert raw[measures].notna().all(axis=None) and raw["Metadata_objects"].between(1, 8).all()
    controls = made.profiles["Metadata_control_type"] == "negcon"
    for _, part in made.profiles[controls].groupby("Metadata_Plate"):
        np.testing.assert_allclose(part[features].mean(), 0, atol=1e-4)
        np.testing.assert_allclose(part[features].std(ddof=0), 1, atol=1e-3)
    for path in (made.profiles_path, made.unnormalised_path):
        stored = tables.read_provenance(path)
        assert stored == json.loads(path.with_suffix(".json").read_text())
        assert stored["settings"]["weights_sha256"] == tables.sha256_file(weights)
        assert stored["counts"]["sites"] == 32
        assert path.with_suffix(".csv").is_file()
    assert stored["simulated"] is False
    assert not made.profiles["Metadata_simulated"].any()
    statistics = tables.read_provenance(made.sites_path / "p0.parquet")["intensity_statistics"]
    assert [row["channel"] for row in statistics] == ["stain1", "stain2"]


def test_finished_plates_are_skipped(plate, weights, tmp_path, monkeypatch):
    first = run(plate, weights, tmp_path)
    (first.sites_path / "p1.parquet").unlink()
    read = []
    original = dataset.read_site
    monkeypatch.setattr(
        dataset,
        "read_site",
        lambda metadata, i, *into: (
            read.append(metadata.paths(i)[0]) or original(metadata, i, *into)
        ),
    )
    again = run(plate, weights, tmp_path)
    assert read
    assert all("/1_" in path for path in read)
    pd.testing.assert_frame_equal(again.profiles, first.profiles)
    assert again.counts == first.counts


def test_a_killed_run_leaves_whole_plates(plate, weights, tmp_path, monkeypatch):
    original = tables.write_table

    def killed(frame, path, provenance=None):
        if path.name == "p1.parquet":
            raise KeyboardInterrupt
        original(frame, path, provenance)

    monkeypatch.setattr(tables, "write_table", killed)
    with pytest.raises(KeyboardInterrupt):
        run(plate, weights, tmp_path)
    monkeypatch.undo()
    files = [p.name for p in tmp_path.rglob("*.parquet")]
    assert files == ["p0.parquet"]
    whole = run(plate, weights, tmp_path)
    fresh = run(plate, weights, tmp_path / "fresh")
    pd.testing.assert_frame_equal(whole.profiles, fresh.profiles)


@pytest.mark.parametrize(
    ("options", "named"),
    [({"size": 64}, "size was 48, is 64"), ({"tiling": "grid"}, "tiling was 'cover', is 'grid'")],
)
def test_other_settings_are_never_mixed_in(options, named, weights, tmp_path):
    csv = make_plate(tmp_path / "data", 1, (48, 60), wells=4)
    run(csv, weights, tmp_path / "out", **RAW)
    with pytest.raises(ValueError, match=f"made otherwise: .*{named}.*overwrite=True"):
        run(csv, weights, tmp_path / "out", **RAW, **options)
    run(csv, weights, tmp_path / "out", overwrite=True, **RAW, **options)


RAW = {"norm_method": "no_post_proc"}


def never_embed(monkeypatch):
    monkeypatch.setattr(embedding.Embedder, "forward", lambda *a: pytest.fail("embedded again"))


def test_labels_are_joined_without_embedding_again(weights, tmp_path, monkeypatch):
    csv = make_plate(tmp_path / "data", 1, (48, 60), wells=8)
    first = run(csv, weights, tmp_path / "out", reference="all")
    stored = tables.read_table(first.sites_path / "p0.parquet")
    assert not {"Metadata_treatment", "Metadata_control_type"} & set(stored.columns)
    never_embed(monkeypatch)
    frame = pd.read_csv(csv).drop(columns="control_type")
    frame["treatment"] = [f"corrected {i // 2}" for i in range(8)]
    frame = frame.iloc[::-1]
    frame.to_csv(csv, index=False)
    layout = pd.DataFrame({"well": frame["well"], "dose": range(8)})
    layout.to_csv(tmp_path / "map.csv", index=False)
    query = "treatment in ['corrected 0', 'corrected 1']"
    again = run(csv, weights, tmp_path / "out", controls=query, platemap=str(tmp_path / "map.csv"))
    assert again.profiles["Metadata_treatment"].tolist() == frame["treatment"].tolist()
    assert again.profiles["Metadata_dose"].astype(str).tolist() == [str(i) for i in range(8)]
    assert (again.profiles["Metadata_control_type"] == "negcon").sum() == 4
    features = tables.feature_columns(stored)
    before = tables.read_table(first.unnormalised_path).sort_values("Metadata_Well")
    after = again.sites().sort_values("Metadata_Well")
    np.testing.assert_array_equal(after[features], before[features])


def test_site_tables_do_not_follow_the_order_of_the_table(weights, tmp_path):
    csv = make_plate(tmp_path / "data", 1, (48, 60), wells=4)
    first = run(csv, weights, tmp_path / "a", **RAW)
    pd.read_csv(csv).sample(frac=1, random_state=1).to_csv(csv, index=False)
    again = run(csv, weights, tmp_path / "b", **RAW)
    made = [(one.sites_path / "p0.parquet").read_bytes() for one in (first, again)]
    assert made[0] == made[1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("image", "plate p1: 1 of 4 sites have other images or keys .*such as 1_0_0_0.tif"),
        ("well", "plate p1: 1 of 4 sites have other images or keys"),
        ("row", "plate p1: 1 of 4 sites are gone; such as 1_3_0_0.tif"),
        ("renamed", "sites/p1.parquet holds the plate p0, not p1"),
        ("keys", "plate b p0: it was stored without Metadata_Batch"),
    ],
)
def test_plates_of_other_images_are_never_mixed_in(change, message, weights, tmp_path, monkeypatch):
    csv = make_plate(tmp_path / "data", 1, (48, 60), wells=4, plates=2)
    made = run(csv, weights, tmp_path / "out", **RAW)
    never_embed(monkeypatch)
    frame = pd.read_csv(csv)
    if change == "image":
        file = tmp_path / "data" / "1_0_0_0.tif"
        before = file.stat()
        tifffile.imwrite(file, np.flip(tifffile.imread(file)))
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    elif change == "well":
        frame.loc[4, "well"] = "B01"
    elif change == "row":
        frame = frame.iloc[:-1]
    elif change == "keys":
        frame["batch"] = "b"
        for name in ("p0", "p1"):
            made_before = made.sites_path / f"{name}.parquet"
            (made.sites_path / "b").mkdir(exist_ok=True)
            table = tables.read_table(made_before)
            stored = tables.read_provenance(made_before) | {"plate": ["b", name]}
            tables.write_table(table, made.sites_path / "b" / f"{name}.parquet", stored)
    else:
        shutil.copy(made.sites_path / "p0.parquet", made.sites_path / "p1.parquet")
    frame.to_csv(csv, index=False)
    with pytest.raises(ValueError, match=f"holds an extraction made otherwise: {message}"):
        run(csv, weights, tmp_path / "out", **RAW)


def test_a_copied_dataset_is_the_same(weights, tmp_path, monkeypatch):
    csv = make_plate(tmp_path / "data", 1, (48, 60), wells=4)
    first = run(csv, weights, tmp_path / "out", **RAW)
    shutil.copytree(tmp_path / "data", tmp_path / "elsewhere")
    shutil.rmtree(tmp_path / "data")
    never_embed(monkeypatch)
    moved = run(tmp_path / "elsewhere" / "plate.csv", weights, tmp_path / "out", **RAW)
    pd.testing.assert_frame_equal(moved.profiles, first.profiles)


def test_datasets_of_one_name_do_not_share_outputs(weights, tmp_path):
    csv = make_plate(tmp_path / "a", 1, (48, 60), wells=4)
    first = run(csv, weights, tmp_path / "out", **RAW)
    before = first.profiles_path.read_bytes()
    frame = pd.read_csv(make_plate(tmp_path / "b", 1, (48, 60), wells=4)).assign(plate="p9")
    frame.to_csv(tmp_path / "b" / "plate.csv", index=False)
    for options in ({}, {"overwrite": True}):
        with pytest.raises(ValueError, match="a/plate.csv.*b/plate.csv"):
            run(tmp_path / "b" / "plate.csv", weights, tmp_path / "out", **RAW, **options)
    assert first.profiles_path.read_bytes() == before
    for name in ("screen.batch1.csv", "screen.batch2.csv"):
        frame.to_csv(tmp_path / "b" / name, index=False)
    made = {
        run(tmp_path / "b" / name, weights, tmp_path / "out", **RAW).profiles_path
        for name in ("screen.batch1.csv", "screen.batch2.csv")
    }
    assert {path.parent.name for path in made} == {"screen.batch1", "screen.batch2"}


def test_a_damaged_site_table_is_made_again(weights, tmp_path, capsys):
    csv = make_plate(tmp_path / "data", 1, (48, 60), wells=4)
    made = run(csv, weights, tmp_path / "out", **RAW)
    file = made.sites_path / "p0.parquet"
    before = file.read_bytes()
    file.write_bytes(before[:1000])
    run(csv, weights, tmp_path / "out", **RAW)
    assert "p0.parquet is damaged; its plate is embedded again" in capsys.readouterr().err
    assert file.read_bytes() == before


def test_a_site_table_damaged_in_the_middle_is_named(weights, tmp_path):
    csv = make_plate(tmp_path / "data", 1, (48, 60), wells=4)
    made = run(csv, weights, tmp_path / "out", **RAW)
    file = made.sites_path / "p0.parquet"
    column = pq.ParquetFile(file).metadata.row_group(0).column(40)
    start = column.dictionary_page_offset or column.data_page_offset
    contents = bytearray(file.read_bytes())
    contents[start + column.total_compressed_size - 1] ^= 1
    file.write_bytes(contents)
    with pytest.raises(ValueError, match="p0.parquet cannot be read .* Delete it and run again"):
        run(csv, weights, tmp_path / "out", **RAW)


def test_one_plate_may_be_embedded_again_alone(weights, tmp_path):
    csv = make_plate(tmp_path / "data", 1, (48, 60), wells=4, plates=2)
    file = tmp_path / "data" / "1_0_0_0.tif"
    image = file.read_bytes()
    file.unlink()
    made = run(csv, weights, tmp_path / "out", max_missing=0.2, **RAW)
    kept = (made.sites_path / "p0.parquet").stat().st_mtime_ns
    file.write_bytes(image)
    with pytest.raises(ValueError, match=r"delete sites/p1.parquet to embed it alone"):
        run(csv, weights, tmp_path / "out", **RAW)
    (made.sites_path / "p1.parquet").unlink()
    assert run(csv, weights, tmp_path / "out", **RAW).counts["ok"] == 8
    assert (made.sites_path / "p0.parquet").stat().st_mtime_ns == kept


def test_overwrite_checks_everything_before_it_discards(weights, tmp_path):
    csv = make_plate(tmp_path / "data", 1, (48, 60), wells=4)
    made = run(csv, weights, tmp_path / "out", **RAW)
    before = made.profiles_path.read_bytes()
    for mistake in ({"foreground_channel": "DNA"}, {"size": 100}, {"reference": "well == 'Z'"}):
        with pytest.raises(ValueError):
            run(csv, weights, tmp_path / "out", overwrite=True, **mistake)
        assert made.profiles_path.read_bytes() == before
    for file in (tmp_path / "data").glob("*.tif"):
        file.write_text("broken")
    with pytest.raises(ValueError, match="could be read"):
        run(csv, weights, tmp_path / "out", overwrite=True, **RAW)
    assert made.profiles_path.read_bytes() == before


def test_parts_of_a_dataset_without_plates(weights, tmp_path, monkeypatch):
    csv = make_plate(tmp_path / "data", 1, (48, 60), wells=6)
    frame = pd.read_csv(csv).drop(columns=["plate", "well", "site"])
    frame.to_csv(csv, index=False)
    monkeypatch.setattr(sites, "PART_SITES", 4)
    made = run(csv, weights, tmp_path / "out", **RAW)
    assert made.profiles_path.name == "plate_no_post_proc_site_features.parquet"
    before = made.profiles
    (made.sites_path / "part-0001.parquet").unlink()
    pd.testing.assert_frame_equal(run(csv, weights, tmp_path / "out", **RAW).profiles, before)
    # A dark image in the second part changes the limits of all, those of the first part, too.
    (made.sites_path / "part-0001.parquet").unlink()
    file = tmp_path / "data" / "0_5_0_0.tif"
    tifffile.imwrite(file, tifffile.imread(file) // 100)
    with pytest.raises(ValueError, match="the intensities of all sites"):
        run(csv, weights, tmp_path / "out", **RAW)


def test_other_normalisations_reuse_the_sites(plate, weights, tmp_path, monkeypatch):
    run(plate, weights, tmp_path)
    monkeypatch.setattr(embedding.Embedder, "forward", lambda *a: pytest.fail("embedded again"))
    robust = run(plate, weights, tmp_path, norm_method="mad_robustize", reference="all")
    assert robust.provenance["reference"] == "all profiles"
    raw = run(plate, weights, tmp_path, norm_method="no_post_proc")
    assert raw.profiles_path == raw.unnormalised_path
    sites = run(plate, weights, tmp_path, operation="none")
    assert sites.profiles_path.name == "plate_standardize_site_features.parquet"
    assert len(sites.profiles) == 32
    median = run(plate, weights, tmp_path, operation="median", norm_method="no_post_proc")
    twin = profiles.aggregate(median.sites(), ["plate", "well"], "median")
    features = tables.feature_columns(twin)
    np.testing.assert_allclose(median.profiles[features], twin[features], atol=1e-6)


def test_corrected_profiles_lie_beside_their_correction(plate, weights, tmp_path):
    plain = run(plate, weights, tmp_path)
    made = run(plate, weights, tmp_path, correct="tvn", batch="plate")
    assert made.profiles_path.name == "plate_standardize_tvn_well_features.parquet"
    twin = profiles.tvn(plain.profiles, batch="plate")
    pd.testing.assert_frame_equal(made.profiles, twin)
    file = made.profiles_path.with_name("plate_standardize_tvn_well_correction.npz")
    again = profiles.load_correction(file).transform(plain.profiles)
    pd.testing.assert_frame_equal(again, twin)
    told = tables.read_provenance(made.profiles_path)
    assert told["correct"] == "tvn" and told["correction"]["batch"] == "plate"
    # What it was made from stays.
    features = tables.feature_columns(twin)
    before = tables.read_table(plain.profiles_path)[features]
    pd.testing.assert_frame_equal(before, plain.profiles[features])


def test_unit_length_before_normalisation(plate, weights, tmp_path):
    made = run(plate, weights, tmp_path, l2norm=True, norm_method="no_post_proc")
    features = tables.feature_columns(made.profiles)
    np.testing.assert_allclose(np.linalg.norm(made.profiles[features], axis=1), 1, atol=1e-5)
    assert made.profiles_path.name == "plate_l2_no_post_proc_well_features.parquet"
    raw = tables.read_table(made.unnormalised_path)
    assert (np.linalg.norm(raw[features], axis=1) > 1.5).all()


def test_unreadable_sites_are_counted_or_stop(weights, tmp_path):
    csv = make_plate(tmp_path / "data", wells=10)
    (tmp_path / "data" / "0_9_0_1.tif").write_text("broken")
    made = run(csv, weights, tmp_path / "out")
    assert (made.counts["failed"], made.counts["ok"]) == (1, 9)
    failed = made.sites().query("Metadata_status == 'failed'").iloc[0]
    assert "0_9_0_1.tif: not a readable image" in failed["Metadata_error"]
    assert made.profiles.set_index("Metadata_Well").loc["A10"].filter(like="emb").isna().all()
    with pytest.raises(ValueError, match="0_9_0_1.tif: not a readable image"):
        run(csv, weights, tmp_path / "strict", on_error="raise")


def test_sites_unlike_their_plate_fail_wherever_they_stand(weights, tmp_path, capfd):
    csv = make_plate(tmp_path / "data", channels=1, plates=2, wells=5)
    file = sorted((tmp_path / "data").rglob("*.tif"))[0]
    tifffile.imwrite(file, (tifffile.imread(file) // 256).astype(np.uint8))
    made = run(csv, weights, tmp_path / "out", reference="all", norm_method="no_post_proc")
    assert (made.counts["failed"], made.counts["ok"]) == (1, 9)
    errors = made.sites()["Metadata_error"].dropna().tolist()
    assert len(errors) == 1 and f"{file.name}: is 96 x 130 uint" in errors[0]
    told = "1 of 10 sites are recorded as failed. The first: "
    assert told in capfd.readouterr().err and told in made.warnings[0]
    with pytest.raises(ValueError, match=f"{file.name}: is 96 x 130 uint"):
        run(csv, weights, tmp_path / "strict", reference="all", on_error="raise")


def test_types_without_a_range_are_said_before_the_first_plate(weights, tmp_path, monkeypatch):
    csv = make_plate(tmp_path / "data", channels=1, plates=2, wells=4)
    frame = pd.read_csv(csv)
    second = frame[frame["plate"] == frame["plate"].unique()[1]]
    for column in (c for c in frame if c.startswith("stain")):
        for name in second[column]:
            file = csv.parent / name
            tifffile.imwrite(file, tifffile.imread(file).astype(np.int32))
    monkeypatch.setattr(embedding.Embedder, "forward", lambda *a: pytest.fail("computed"))
    with pytest.raises(ValueError, match="plate .*: images of type int32 have no natural range"):
        run(csv, weights, tmp_path / "out", reference="all", intensity_scaling="dtype")


def test_nothing_readable(weights, tmp_path):
    csv = make_plate(tmp_path / "data", wells=8, channels=1)
    for file in (tmp_path / "data").glob("*.tif"):
        file.write_text("broken")
    with pytest.raises(ValueError, match="none of the 8 sites could be read. The first: .*tif"):
        run(csv, weights, tmp_path / "out")


def test_empty_fields_are_marked(weights, tmp_path, capsys):
    csv = make_plate(tmp_path / "data", wells=8, sites=2)
    noise = np.random.default_rng(0).normal(6553, 600, (2, 96, 130)).astype(np.uint16)
    for c in (0, 1):
        tifffile.imwrite(tmp_path / "data" / f"0_0_1_{c}.tif", noise[c])
    made = run(csv, weights, tmp_path / "out")
    assert made.counts["empty"] == 1
    assert "1 of 16 sites show no foreground (status empty)" in capsys.readouterr().err
    raw = tables.read_table(made.unnormalised_path).set_index("Metadata_Well")
    assert raw.loc["A01", "Metadata_sites"] == 1
    legacy = run(csv, weights, tmp_path / "legacy", tiling="legacy")
    assert legacy.counts["empty"] == 0
    assert "show no foreground" not in capsys.readouterr().err


def test_datasets_without_wells(weights, tmp_path):
    csv = make_plate(tmp_path / "data", wells=8)
    frame = pd.read_csv(csv).drop(columns=["plate", "well", "site"])
    frame.to_csv(csv, index=False)
    made = run(csv, weights, tmp_path / "out")
    assert len(made.profiles) == 8
    assert [p.name for p in made.sites_path.glob("*.parquet")] == ["part-0000.parquet"]
    assert made.profiles_path.name == "plate_standardize_site_features.parquet"


def test_wells_without_a_plate_are_whole(weights, tmp_path, monkeypatch):
    csv = make_plate(tmp_path / "data", sites=2)
    frame = pd.read_csv(csv).drop(columns="plate").sort_values("site")
    frame.to_csv(csv, index=False)
    whole = run(csv, weights, tmp_path / "whole").profiles
    monkeypatch.setattr(sites, "PART_SITES", 5)
    made = run(csv, weights, tmp_path / "parts")
    assert len(list(made.sites_path.glob("*.parquet"))) > 1
    assert (made.profiles["Metadata_sites"] == 2).all()
    parts = made.profiles.set_index("Metadata_Well").loc[whole["Metadata_Well"]].reset_index()
    pd.testing.assert_frame_equal(parts[whole.columns], whole, rtol=1e-4, check_dtype=False)


def test_what_varies_within_a_well_reaches_no_profile(weights, tmp_path):
    csv = make_plate(tmp_path / "data", sites=2, plates=2)
    frame = pd.read_csv(csv)
    frame["operator"] = "a"
    frame.loc[(frame["plate"] == "p1") & (frame["site"] == 2), "operator"] = "b"
    frame.to_csv(csv, index=False)
    made = run(csv, weights, tmp_path / "out")
    assert "Metadata_operator" in made.sites().columns
    assert "Metadata_operator" not in made.profiles.columns
    assert "Metadata_treatment" in made.profiles.columns
    # A dataset is told in advance of every name that it cannot use.
    known = {f"Metadata_{name}" for name in added_columns(made.metadata.channels)}
    given = set(tables.prefixed(frame).columns)
    for table in (made.sites(), made.profiles):
        assert set(tables.metadata_columns(table)) <= known | given


def test_multi_channel_models(tmp_path):
    config = vit.ModelConfig(arch="vit_tiny", size=48, in_chans=2)
    checkpoints.save_model(vit.EmbeddingModel(config), tmp_path / "two.safetensors")
    csv = make_plate(tmp_path / "data")
    made = run(csv, tmp_path / "two.safetensors", tmp_path / "out")
    assert made.counts["features"] == 192
    assert "emb_all_0000" in made.profiles.columns
    with pytest.raises(ValueError, match="embeds 2 channels together, the dataset has 1"):
        run(csv, tmp_path / "two.safetensors", tmp_path / "one", channels=["stain1"])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"tiling": "covr"}, ValueError, "tiling 'covr' is not one of cover, grid, legacy. Did"),
        ({"norm_method": "all"}, ValueError, "norm_method 'all' is not one of standardize"),
        (
            {"correct": "tvm"},
            ValueError,
            "correct 'tvm' is not one of none, tvn, sphere, position, harmony",
        ),
        ({"correct": "tvn"}, ValueError, "no column 'batch'"),
        ({"operation": "max"}, ValueError, "operation 'max' is not one of mean, median, none"),
        ({"intensity_scaling": "well"}, ValueError, "intensity_scaling 'well' is not one of"),
        ({"size": 0}, ValueError, "size is 0; it must be above 0"),
        ({"size": "48"}, TypeError, "parameter size takes int or None, got '48'"),
        ({"min_foreground": 2.0}, ValueError, "min_foreground is 2.0; it is a share"),
        ({"max_missing": 5.0}, ValueError, "max_missing is 5.0; it is a share, 0 to 1"),
        ({"num_workers": -1}, ValueError, "num_workers is -1; it must be 0 or more"),
        ({"foreground_channel": "DNA"}, ValueError, "'DNA' is not a channel; it is one of stain1"),
        (
            {"intensity_range": [0, 1], "intensity_scaling": "plate"},
            ValueError,
            "intensity_range goes with the intensity scaling 'dtype', not 'plate'",
        ),
        ({"stride": 60}, ValueError, "stride 60 leaves gaps between tiles of 48"),
        ({"device": "gpu7"}, ValueError, "device 'gpu7'"),
        ({"controls": "well < 'A03'"}, ValueError, "2 plates have fewer than 4 .*reference='all'"),
    ],
)
def test_mistakes_are_named_before_any_computing(
    options, error, message, plate, weights, tmp_path, monkeypatch
):
    monkeypatch.setattr(embedding.Embedder, "forward", lambda *a: pytest.fail("computed"))
    with pytest.raises(error, match=message):
        run(plate, weights, tmp_path, **options)
    assert not list(tmp_path.rglob("*.parquet"))


def test_command_line(plate, weights, tmp_path, capsys):
    inference.main(["--valset", str(plate), "--model", weights, "--outdir", str(tmp_path)])
    printed = capsys.readouterr().out.strip()
    assert printed.endswith("plate_standardize_well_features.parquet")
    with pytest.raises(SystemExit, match="error: unknown valset 'HAP'. .* Did you mean HPA"):
        inference.main(["--valset", "HAP"])


def test_a_full_disk_ends_in_one_line(weights, tmp_path, monkeypatch):
    csv = make_plate(tmp_path / "data", 1, (48, 60), wells=4)

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tables.pq, "write_table", full)
    arguments = ["--valset", str(csv), "--model", weights, "--outdir", str(tmp_path / "out")]
    with pytest.raises(SystemExit, match="^error: .*p0.parquet cannot be written: the disk"):
        inference.main([*arguments, "--norm_method", "no_post_proc"])


def test_too_little_memory_names_the_batch_size(plate, weights, tmp_path, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate much")

    monkeypatch.setattr(vit.EmbeddingModel, "forward", full)
    with pytest.raises(SystemExit, match="^error: cpu has too little memory left for 16 ti"):
        inference.main(["--valset", str(plate), "--model", weights, "--outdir", str(tmp_path)])


def test_traces_of_reading_processes_are_left_out():
    trace = (
        "Caught ValueError in DataLoader worker process 0.\nTraceback:\nValueError: a.tif: no: x"
    )
    assert progress.one_line(ValueError(trace)) == "a.tif: no: x"
    assert progress.one_line(RuntimeError("CUDA error: x\nCompile with y")) == "CUDA error: x"
    assert progress.one_line(ValueError("two\nlines")) == "two\nlines"
    assert progress.one_line(RuntimeError()) == "RuntimeError"


def test_missing_files_are_recorded_up_to_a_share(weights, tmp_path, capsys):
    csv = make_plate(tmp_path / "data", 1, (48, 60), wells=8, sites=2)
    (tmp_path / "data" / "0_6_1_0.tif").unlink()
    made = run(csv, weights, tmp_path / "out", max_missing=0.07)
    assert (made.counts["failed"], made.counts["ok"]) == (1, 15)
    said = "1 of 16 image files are missing, the first are .*0_6_1_0.tif"
    assert re.search(said, capsys.readouterr().err)
    assert any(re.search(said, warning) for warning in made.warnings)
    failed = made.sites().query("Metadata_status == 'failed'")
    assert failed["Metadata_error"].str.contains("0_6_1_0.tif").tolist() == [True]
    for options in ({}, {"on_error": "raise", "max_missing": 0.5}):
        with pytest.raises(FileNotFoundError, match="1 of 16 image files are missing"):
            run(csv, weights, tmp_path / "new", **options)


def test_a_plate_of_which_nothing_can_be_read_stops_no_other(weights, tmp_path):
    csv = make_plate(tmp_path / "data", 1, (48, 60), wells=4, plates=2)
    for file in (tmp_path / "data").glob("1_*.tif"):
        file.write_bytes(b"no image")
    made = run(csv, weights, tmp_path / "out", reference="all")
    assert made.counts["failed"] == made.counts["ok"] == 4
    features = made.profiles.set_index("Metadata_Plate").filter(regex="^emb_").dropna()
    assert features.index.unique().tolist() == ["p0"]


def test_log_says_what_is_to_come(plate, weights, tmp_path):
    made = run(plate, weights, tmp_path, precision="fp32")
    log = paths.log_file(made.profiles_path.parent).read_text()
    assert "plate: 32 sites of the channels stain1, stain2, up to 384 tiles of 48 px" in log
    assert "on cpu in fp32, 16 at a time" in log


def test_notebook_declares_the_same_parameters():
    notebook = json.loads((paths.project_root() / "notebooks" / "extract.ipynb").read_text())
    cell = next(c for c in notebook["cells"] if "parameters" in c["metadata"].get("tags", []))
    declared = {}
    exec("".join(cell["source"]), declared)
    declared.pop("__builtins__")
    signature = inspect.signature(inference.extract).parameters
    assert list(declared) and set(declared) == set(signature)
    for name, parameter in signature.items():
        if parameter.default is not inspect.Parameter.empty:
            assert declared[name] == parameter.default, name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 100}, "size 100 is not a multiple of the patch size 16; take 96"),
        (
            {"reference": "compund == 'DMSO'"},
            "neither negcon, all nor a query .*no column 'compund'",
        ),
        ({"reference": "@pd.io.common.os.getpid() > 0"}, "neither negcon, all nor a query .*'@'"),
        ({"reference": "well == 'H12'"}, "matches no profile: Metadata_Well holds 'A01'"),
        ({"reference": "well == 'A01'"}, r"2 of 2 plates have fewer than 4 .*: p0 \(1\), p1 \(1"),
        ({"norm_method": "spherize"}, r"\(negative controls: 8\) than features \(384\)"),
    ],
)
def test_stops_before_reading_images(options, message, plate, weights, tmp_path, monkeypatch):
    monkeypatch.setattr(sites.SiteEmbeddings, "embed_plates", lambda *_: pytest.fail("read"))
    with pytest.raises(ValueError, match=message):
        run(plate, weights, tmp_path, **options)


def test_few_controls_are_said_before_any_image(plate, weights, tmp_path, monkeypatch, capsys):
    """Once: what is known in advance is not repeated when the profiles are made."""

    def embed(*_):
        assert "2 of 2 plates have fewer than 16 reference profiles" in capsys.readouterr().err
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(sites.SiteEmbeddings, "embed_plates", embed)
        with pytest.raises(KeyboardInterrupt):
            run(plate, weights, tmp_path)
    made = run(plate, weights, tmp_path)
    assert capsys.readouterr().err.count("have fewer than 16 reference profiles") == 1
    assert len(made.warnings) == 1


def test_controls_that_headers_refuse_are_said_before_any_computing(
    weights, tmp_path, monkeypatch, capsys
):
    csv = make_plate(tmp_path / "data", plates=2)
    for well in range(2):
        (tmp_path / "data" / f"1_{well}_0_0.tif").write_bytes(b"no image")

    def embed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(sites.SiteEmbeddings, "_embed", embed)
        with pytest.raises(KeyboardInterrupt):
            run(csv, weights, tmp_path / "out")
    assert (
        "1 of 2 plates have fewer than 4 reference profiles (negative controls) of which a site "
        "can be read: p1; they will stay missing in the normalised table."
    ) in capsys.readouterr().err
    for well in range(1, 5):
        (tmp_path / "data" / f"0_{well}_0_0.tif").write_bytes(b"no image")
    with pytest.raises(ValueError, match="2 of 2 plates have fewer than 4 .* can be read: p0, p1"):
        run(csv, weights, tmp_path / "out")


def test_a_channel_that_is_flat_in_some_wells_or_sites_is_named(weights, tmp_path):
    csv = make_plate(tmp_path / "data", wells=12, sites=2)
    images = {"0_1_0_1": 500, "0_1_1_1": 500, "0_9_0_1": 65535, "0_9_1_1": 65535, "0_4_1_1": 0}
    for name, value in images.items():
        image = np.full((96, 130), value, np.uint16)
        image[0, :9] -= value == 65535  # saturated, but not constant
        tifffile.imwrite(tmp_path / "data" / f"{name}.tif", image)
    made = run(csv, weights, tmp_path / "out", intensity_scaling="plate")
    assert made.provenance["reference_left_out"] == ["p0 A02"]
    assert made.warnings[0] == (
        "channel stain2 is constant or saturated in 1 sites of 1 wells whose other sites are not: "
        "p0 A05; they are averaged into the profiles of these wells"
    )
    assert (
        "channel stain2 is constant or saturated in 2 of 12 profiles: p0 A02, p0 A10;"
        in (made.warnings[1])
    )
    by_well = made.profiles.set_index("Metadata_Well")
    assert by_well.loc["A02", "Metadata_signal_stain2"] == 0


def ome_plate(folder, names, plates=None):
    """Merged OME-TIFFs with named channels, half of them controls."""
    folder.mkdir()
    rows = []
    for i, given in enumerate(names):
        image = dict(zip(["DNA", "Actin"], cells(i, 2, (96, 130), np.uint16), strict=True))
        tifffile.imwrite(
            folder / f"{i}.ome.tif",
            np.stack([image[name] for name in given]),
            metadata={"axes": "CYX", "Channel": {"Name": given}},
        )
        row = {"plate": plates[i] if plates else "p0", "well": f"A{i + 1}"}
        rows.append(row | {"path": f"{i}.ome.tif", "control_type": "negcon" if i % 2 else None})
    pd.DataFrame(rows).to_csv(folder / "plate.csv", index=False)
    return folder / "plate.csv"


def test_channels_in_another_order_than_the_plates_fail(weights, tmp_path):
    order = ["DNA", "Actin"]
    csv = ome_plate(tmp_path / "data", [order] * 10 + [order[::-1]] * 2)
    made = run(csv, weights, tmp_path / "out")
    assert made.counts["failed"] == 2
    assert made.warnings[0] == (
        "the files name their channels DNA, Actin, the dataset ch1, ch2: "
        "channels='DNA=ch1,Actin=ch2' takes the names of the files"
    )
    assert "names its channels Actin, DNA; 10 of the 12 sites" in made.warnings[1]
    made = run(csv, weights, tmp_path / "named", channels="DNA=ch1,Actin=ch2")
    assert "the dataset" not in made.warnings[0]
    made = run(csv, weights, tmp_path / "swapped", channels="Actin=ch1,DNA=ch2")
    assert "the files name their channels DNA, Actin, the dataset Actin, DNA:" in made.warnings[0]


def test_plates_of_another_order_of_channels_are_said(weights, tmp_path):
    order = ["DNA", "Actin"]
    plates = ["p0"] * 8 + ["p1"] * 8
    csv = ome_plate(tmp_path / "data", [order] * 8 + [order[::-1]] * 8, plates)
    made = run(csv, weights, tmp_path / "out", channels="DNA=ch1,Actin=ch2")
    assert made.counts["failed"] == 0
    assert made.warnings[0].startswith(
        "the files of the plates name their channels differently: DNA, Actin on p0; Actin, DNA on "
        "p1. Each is read in the order of its files"
    )


@pytest.mark.parametrize(
    ("columns", "given", "note"),
    [
        (
            ["DNA", "Mito"],
            ["Mito", "AGP"],
            "name their channels Mito, AGP, the dataset DNA, Mito, in",
        ),
        (["DNA", "Mito"], ["Mito", "DNA"], "channels='Mito=DNA,DNA=Mito' takes the names of the"),
        (["OrigDNA", "OrigMito"], ["dna", "MITO"], None),
        (["DNA", "Mito"], ["405 nm", "Channel:0:1"], None),
    ],
)
def test_files_that_name_their_channels_otherwise_than_the_columns(
    columns, given, note, weights, tmp_path
):
    rows = []
    for i in range(8):
        row = {"plate": f"p{i // 4}", "well": f"A{i + 1}", "control_type": "negcon"}
        for c, (column, name) in enumerate(zip(columns, given, strict=True)):
            row[column] = f"{i}_{c}.ome.tif"
            metadata = {"axes": "YX", "Channel": {"Name": [name]}}
            image = cells(i + 10 * c, 1, (96, 130), np.uint16)[0]
            tifffile.imwrite(tmp_path / row[column], image, metadata=metadata)
        rows.append(row)
    pd.DataFrame(rows).to_csv(tmp_path / "plate.csv", index=False)
    made = run(tmp_path / "plate.csv", weights, tmp_path / "out")
    told = [text for text in made.warnings if "name their channels" in text]
    assert len(told) == (note is not None)
    assert note is None or note in told[0]


def test_counts_that_are_stored_as_floats_are_not_saturated(weights, tmp_path):
    csv = make_plate(tmp_path / "data")
    for file in (tmp_path / "data").glob("*.tif"):
        tifffile.imwrite(file, tifffile.imread(file).astype(np.float32))
    made = run(csv, weights, tmp_path / "out", intensity_scaling="plate")
    assert (made.profiles[["Metadata_saturated_stain1", "Metadata_saturated_stain2"]] == 0).all(
        axis=None
    )
    assert not any("saturated" in text for text in made.warnings)


def test_a_dead_channel_and_a_dead_plate_are_named(weights, tmp_path):
    """A lamp of plate p1 and the camera of p2 failed: p0 is normalised as if it were alone."""
    csv = make_plate(tmp_path / "data", plates=3)
    rng = np.random.default_rng(0)
    for file in (tmp_path / "data").glob("1_*_1.tif"):
        tifffile.imwrite(file, rng.poisson(100, (96, 130)).astype(np.uint16))
    for file in (tmp_path / "data").glob("2_*.tif"):
        tifffile.imwrite(file, np.full((96, 130), 7, np.uint16))
    made = run(csv, weights, tmp_path / "out", intensity_scaling="plate")
    assert made.provenance["dead_channels"] == {
        "p2": ["stain1", "stain2"],
        "p1": ["stain2"],
    }
    text = " ".join(made.warnings)
    assert "and stay missing: p2." in text
    assert "channel stain2 is dead on 1 of 3 plates" in text
    features = tables.feature_columns(made.profiles)
    assert len(features) == 384
    p0, p1, p2 = (part[features] for _, part in made.profiles.groupby("Metadata_Plate"))
    assert p2.isna().all(axis=None) and p0.notna().all(axis=None)
    assert p1.notna().all().sum() == p1.isna().all().sum() == 192
    frame = pd.read_csv(csv)
    frame[frame["plate"] == "p0"].to_csv(csv.with_name("p0.csv"), index=False)
    alone = run(csv.with_name("p0.csv"), weights, tmp_path / "out", intensity_scaling="plate")
    np.testing.assert_allclose(p0, alone.profiles[features], rtol=1e-4, atol=1e-5)


def test_size_that_a_foreign_backbone_refuses():
    model = vit.EmbeddingModel(vit.ModelConfig(arch="timm:vit_tiny_patch16_224"))
    with pytest.raises(ValueError, match="takes no tiles of size 100 .* leave size out"):
        embedding.check_size(model.eval(), 100)
