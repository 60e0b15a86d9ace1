"""Sites, tiles and single channels against slow twins, through DataLoaders and errors."""

import numpy as np
import pandas as pd
import pytest
import tifffile
import torch
from torch.utils.data import DataLoader

import unidino
from unidino import dataset, images, intensity, quality, remembered, tiff, tiles
from unidino.metadata import Metadata
from unidino.valsets.csv import CSVMetadata

SHAPE = (150, 190)


def noisy_cells(seed, channels=3, dtype=np.uint16, shape=SHAPE):
    """Bright discs on dim noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    image = rng.normal(40, 2, (channels, *shape))
    for _ in range(6):
        cy, cx = rng.uniform(0, shape[0]), rng.uniform(0, shape[1])
        image += 90 * rng.random((channels, 1, 1)) * ((y - cy) ** 2 + (x - cx) ** 2 < 150)
    return np.clip(np.rint(image), 0, 255).astype(dtype)


@pytest.fixture(scope="module")
def plate(tmp_path_factory):
    """A merged plate and the same in one file a channel."""
    folder = tmp_path_factory.mktemp("plate")
    rows = []
    for i in range(4):
        image = noisy_cells(i)
        name = f"site{i}.tif"
        tifffile.imwrite(folder / name, image, photometric="minisblack")
        row = {"plate": "p1", "well": f"A{i + 1}", "path": name}
        for c, channel in enumerate(["DNA", "ER", "Mito"]):
            tifffile.imwrite(folder / f"{channel}{i}.tif", image[c])
            row[channel] = f"{channel}{i}.tif"
        rows.append(row)
    frame = pd.DataFrame(rows)
    frame[["plate", "well", "path"]].to_csv(folder / "merged.csv", index=False)
    frame.drop(columns="path").to_csv(folder / "apart.csv", index=False)
    return folder


def merged(plate, **options):
    return CSVMetadata(plate / "merged.csv", **options)


def apart(plate, **options):
    return CSVMetadata(plate / "apart.csv", **options)


@pytest.mark.parametrize("make", [merged, apart])
def test_sites_are_their_images(make, plate):
    metadata = make(plate)
    for i in range(4):
        np.testing.assert_array_equal(dataset.load_site(metadata, i), noisy_cells(i))


def test_selected_channels(plate):
    expected = noisy_cells(1)[[2, 0]]
    one = merged(plate, channels="Mito=ch3,DNA=ch1")
    other = apart(plate, channels=["Mito", "DNA"])
    for metadata in (one, other):
        assert metadata.channels == ["Mito", "DNA"]
        np.testing.assert_array_equal(dataset.load_site(metadata, 1), expected)


@pytest.mark.parametrize("make", [merged, apart])
def test_single_channels(make, plate):
    metadata = make(plate, single_channel_metadata=True)
    assert len(metadata.metadata) == 12
    made = [dataset.load_site(metadata, i) for i in range(12)]
    expected = [noisy_cells(i)[c : c + 1] for i in range(4) for c in range(3)]
    for image, twin in zip(made, expected, strict=True):
        np.testing.assert_array_equal(image, twin)


def test_published_contract_is_enough(plate):
    class Mine(Metadata):
        is_merged = True
        single_channel_metadata = False
        inference_metadata_columns = ["well"]

    metadata = Mine()
    metadata.metadata = pd.DataFrame({"path": [str(plate / "site0.tif")], "well": ["A01"]})
    item = dataset.Dataset(metadata, None, True, size=64, tiling="legacy")[0]
    assert metadata.channels == ["ch1", "ch2", "ch3"]
    assert item["crops"].shape == (3, 4, 1, 64, 64)
    assert item["well"] == "A01"


def test_items_are_transformed_images_in_0_to_1(plate):
    plain = dataset.Dataset(merged(plate), intensity_scaling="dtype")
    assert len(plain) == 4
    torch.testing.assert_close(
        plain[2], torch.from_numpy(noisy_cells(2).astype(np.float32) / 65535), rtol=0, atol=1e-7
    )
    flipped = dataset.Dataset(merged(plate), lambda image: image.flip(2), intensity_scaling="dtype")
    torch.testing.assert_close(flipped[2], plain[2].flip(2))
    ranged = dataset.Dataset(merged(plate), intensity_range=[0, 255])
    torch.testing.assert_close(ranged[2], plain[2] * 257)


def by_limits(image, low, high):
    low, high = (np.reshape(limit, (-1, 1, 1)) for limit in (low, high))
    return torch.from_numpy(((image - low) / (high - low)).clip(0, 1).astype(np.float32))


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("make", [merged, apart])
def test_images_are_scaled_by_their_plate_or_alone(make, single, plate):
    statistics = dataset.plate_statistics(make(plate))
    metadata = make(plate, single_channel_metadata=single)
    by_plate = dataset.Dataset(metadata)
    alone = dataset.Dataset(metadata, intensity_scaling="image")
    for i in range(len(metadata.metadata)):
        site, channels = (i // 3, [i % 3]) if single else (i, [0, 1, 2])
        raw = noisy_cells(site)[channels]
        limits = statistics[["low", "high"]].to_numpy()[channels].T
        torch.testing.assert_close(by_plate[i], by_limits(raw, *limits), atol=1e-6, rtol=0)
        limits = np.percentile(raw.reshape(len(raw), -1), (0.5, 99.9), axis=1)
        torch.testing.assert_close(alone[i], by_limits(raw, *limits), atol=1e-6, rtol=0)


def test_plates_are_measured_apart_when_asked_for(plate, monkeypatch):
    frame = pd.read_csv(plate / "merged.csv").assign(plate=["p1", "p1", "p2", "p2"])
    frame.to_csv(plate / "two.csv", index=False)
    metadata = CSVMetadata(plate / "two.csv")
    statistics = dataset.plate_statistics(metadata)
    part = dataset.Dataset(metadata)
    whole, measured = dataset._statistics, []
    monkeypatch.setattr(dataset, "_statistics", lambda rows: measured.append(1) or whole(rows))
    for i in (0, 1, 3, 2):
        rows = statistics[statistics["plate"] == ("p1", "p1", "p2", "p2")[i]]
        limits = rows[["low", "high"]].to_numpy().T
        torch.testing.assert_close(part[i], by_limits(noisy_cells(i), *limits), atol=1e-6, rtol=0)
        assert len(measured) == 1 + (i > 1)


def test_a_dataset_scales_as_its_model_wants(plate, tmp_path):
    """Crops embedded by hand are the sites that extraction embeds."""
    model = unidino.load_model()
    assert model.config.intensity == dataset.DEFAULT_SCALING
    part = dataset.Dataset(apart(plate), None, True, size=model.config.size)
    made = unidino.extract(
        str(plate / "apart.csv"), operation="none", norm_method="no_post_proc",
        outdir=str(tmp_path), device="cpu", num_workers=0, precision="fp32",
    ).profiles  # fmt: skip
    features = made.filter(regex="^emb_").to_numpy(float)
    for i in range(4):
        item = part[i]
        with torch.inference_mode():
            kept = item["crops"][:, item["labels"]]
            embedded = torch.cat([model(crops).mean(0) for crops in kept])
        np.testing.assert_allclose(embedded, features[i], atol=2e-4)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"intensity_scaling": "plates"}, "intensity_scaling 'plates' is not one of dtype, plate"),
        ({"intensity_scaling": "plate", "intensity_range": [0, 9]}, "goes with .* 'dtype', not"),
    ],
)
def test_wrong_scalings(given, message, plate):
    with pytest.raises(ValueError, match=message):
        dataset.Dataset(merged(plate), **given)


@pytest.mark.parametrize("tiling", ["cover", "grid", "legacy"])
def test_crops_equal_the_loop(tiling, plate):
    part = dataset.Dataset(
        apart(plate), None, True, size=64, tiling=tiling, intensity_scaling="dtype"
    )
    item = part[1]
    image = noisy_cells(1).astype(np.float32) / 65535
    grid = tiles.tile_grid(*SHAPE, 64, None, tiling)
    assert item["crops"].shape == (3, len(grid), 1, 64, 64)
    assert item["labels"].dtype == torch.bool
    threshold = 0
    if tiling != "legacy":
        statistics = dataset.plate_statistics(apart(plate))
        threshold = statistics["threshold"].iloc[0]
    for n, (y, x) in enumerate(grid):
        for c in range(3):
            expected = image[c, y : y + 64, x : x + 64]
            np.testing.assert_allclose(item["crops"][c, n, 0].numpy(), expected, atol=1e-7)
        share = (noisy_cells(1)[0, y : y + 64, x : x + 64] > threshold).mean()
        assert bool(item["labels"][n]) == (share >= 0.01)
    assert {"plate", "well"} <= set(item)


@pytest.mark.parametrize("workers", [0, 2])
def test_raw_tiles_equal_the_loop(workers, plate):
    metadata = apart(plate)
    statistics = dataset.plate_statistics(metadata)
    reader = dataset.SiteTiles(metadata, statistics, size=64, with_limits=True)
    thresholds = statistics["threshold"].to_numpy()
    items = list(DataLoader(reader, batch_size=None, num_workers=workers))
    assert [item["index"] for item in items] == [0, 1, 2, 3]
    for i, item in enumerate(items):
        image = noisy_cells(i)
        grid = tiles.tile_grid(*SHAPE, 64)
        cut = [image[:, y : y + 64, x : x + 64] for y, x in grid]
        kept = [t for t in cut if (t[0] > thresholds[0]).mean() >= 0.01]
        assert item["tiles"].dtype == torch.uint16
        np.testing.assert_array_equal(item["tiles"].numpy(), np.stack(kept))
        assert (item["tiles_total"], item["tiles_kept"]) == (len(grid), len(kept))
        assert item["foreground"] == pytest.approx((image[0] > thresholds[0]).mean())
        for c in range(3):
            assert item["mean"][c] == pytest.approx(image[c].mean(), rel=1e-9)
            assert item["focus"][c] == quality.focus(image[c])
            assert item["saturated"][c] == (image[c] >= 65535).mean()
            assert item["signal"][c] == (image[c] > thresholds[c]).mean()
            assert item["low"][c] == np.percentile(image[c], 0.5)
        assert item["objects"] == quality.count_objects(image[0], thresholds[0])


@pytest.mark.parametrize("make", [merged, apart])
def test_what_an_item_holds_outlives_the_next(make, plate):
    metadata = make(plate)
    reader = dataset.SiteTiles(metadata, dataset.plate_statistics(metadata), size=64)
    items = [reader[i] for i in range(3)]
    for i, item in enumerate(items):
        again = dataset.SiteTiles(metadata, dataset.plate_statistics(metadata), size=64)[i]
        np.testing.assert_array_equal(item["tiles"].numpy(), again["tiles"].numpy())


def test_planes_take_the_place_of_an_image_of_their_shape_and_type(plate):
    metadata = apart(plate)
    kept = dataset.load_site(metadata, 0)
    assert dataset.load_site(metadata, 1, kept) is kept
    np.testing.assert_array_equal(kept, noisy_cells(1))
    for other in (kept[:2].copy(), kept.astype(np.int32)):
        loaded = dataset.load_site(metadata, 2, other)
        assert loaded is not other
        np.testing.assert_array_equal(loaded, noisy_cells(2))
    np.testing.assert_array_equal(dataset.load_site(merged(plate), 3, kept), noisy_cells(3))


class Threads(torch.utils.data.Dataset):
    """How many threads the process that reads has."""

    def __len__(self):
        return 2

    def __getitem__(self, i):
        return [torch.get_num_threads(), tiff.threads()]


def test_reading_processes_have_one_thread_each():
    assert list(DataLoader(Threads(), batch_size=None, num_workers=2)) == [[1, 1], [1, 1]]
    assert Threads()[0] == [torch.get_num_threads(), None]


def test_small_images_are_padded(plate):
    metadata = apart(plate)
    statistics = dataset.plate_statistics(metadata)
    item = dataset.SiteTiles(metadata, statistics, size=224)[0]
    assert item["tiles"].shape == (1, 3, 224, 224)
    np.testing.assert_array_equal(item["tiles"][0].numpy(), tiles.fit_to_tile(noisy_cells(0), 224))


def test_unreadable_sites_are_recorded_or_raised(plate, tmp_path):
    frame = pd.read_csv(plate / "apart.csv")
    for name in ["DNA", "ER", "Mito"]:
        frame[name] = [str(plate / file) for file in frame[name]]
    (tmp_path / "broken.tif").write_text("broken")
    frame.loc[1, "ER"] = str(tmp_path / "broken.tif")
    frame.to_csv(tmp_path / "x.csv", index=False)
    metadata = CSVMetadata(tmp_path / "x.csv")
    statistics = dataset.plate_statistics(metadata)
    item = dataset.SiteTiles(metadata, statistics, size=64)[1]
    assert set(item) == {"index", "error"}
    assert "broken.tif: not a readable image" in item["error"]
    with pytest.raises(ValueError, match="broken.tif: not a readable"):
        dataset.SiteTiles(metadata, statistics, size=64, on_error="raise")[1]


def rewritten(plate, tmp_path, image):
    """The first site with another image in its second channel."""
    frame = pd.read_csv(plate / "apart.csv").head(1)
    for name in ["DNA", "ER", "Mito"]:
        frame[name] = [str(plate / file) for file in frame[name]]
    tifffile.imwrite(tmp_path / "other.tif", image, photometric="minisblack")
    frame["ER"] = str(tmp_path / "other.tif")
    frame.to_csv(tmp_path / "x.csv", index=False)
    return CSVMetadata(tmp_path / "x.csv")


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((10, 10), np.uint16), "other.tif: is 10 x 10 uint16, its site's first channel"),
        (np.zeros(SHAPE, np.uint8), "other.tif: is 150 x 190 uint8, its site's first channel"),
        (np.zeros((2, *SHAPE), np.uint16), "other.tif: has 2 channels, expected one"),
    ],
)
def test_channels_of_a_site_must_agree(image, message, plate, tmp_path):
    with pytest.raises(ValueError, match=message):
        dataset.load_site(rewritten(plate, tmp_path, image), 0)


@pytest.mark.parametrize("channels", [2, 4])
def test_merged_files_hold_as_many_channels_as_are_named(channels, plate, tmp_path):
    frame = pd.read_csv(plate / "merged.csv")
    frame["path"] = [str(plate / name) for name in frame["path"]]
    frame.to_csv(tmp_path / "x.csv", index=False)
    metadata = CSVMetadata(tmp_path / "x.csv")
    other = tmp_path / "other.tif"
    tifffile.imwrite(other, noisy_cells(0, channels), photometric="minisblack")
    metadata.metadata.loc[1, "path"] = str(other)
    message = f"other.tif: is {channels} channels of 150 x 190 uint16, expected 3 channels"
    with pytest.raises(ValueError, match=message):
        dataset.load_site(metadata, 1)
    metadata.as_single_channel()
    with pytest.raises(ValueError, match=message):
        dataset.load_site(metadata, 3)


def test_float_images_must_say_their_range(plate, tmp_path):
    tifffile.imwrite(tmp_path / "f.tif", noisy_cells(0)[0].astype(np.float32))
    pd.DataFrame({"DNA": ["f.tif"]}).to_csv(tmp_path / "x.csv", index=False)
    metadata = CSVMetadata(tmp_path / "x.csv")
    with pytest.raises(ValueError, match="f.tif: float values from .* expected 0 to 1"):
        dataset.Dataset(metadata, intensity_scaling="dtype")[0]
    assert dataset.Dataset(metadata, intensity_range=[0, 255])[0].max() <= 1


def plate_of(folder, changed, keys=("plate", "well"), sites=40):
    """A plate of small sites, some of them with other images: {number: array}."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(sites):
        image = changed.get(i, rng.integers(200, 900, (1, 24, 24), dtype=np.uint16))
        tifffile.imwrite(folder / f"{i}.tif", image, photometric="minisblack")
        row = {"plate": "p1", "well": f"{'ABCD'[i // 12]}{i % 12 + 1}", "path": f"{i}.tif"}
        rows.append({name: row[name] for name in (*keys, "path")})
    pd.DataFrame(rows).to_csv(folder / "x.csv", index=False)
    return CSVMetadata(folder / "x.csv")


def other_type():
    return np.random.default_rng(1).integers(0, 255, (1, 24, 24), dtype=np.uint8)


def test_headers_held_for_few_plates_at_a_time_tell_the_same(tmp_path, monkeypatch):
    metadata = plate_of(tmp_path, {7: other_type(), 31: np.full((2, 24, 24), 60000, np.uint16)})
    metadata.metadata["plate"] = [f"p{i % 3}" for i in range(len(metadata.metadata))]
    plates, expected = metadata.plates(), dataset.inspect(metadata)
    assert sorted(expected.refused) == [7, 31] and len(plates) == 3
    monkeypatch.setattr(dataset, "_HEADERS_TOGETHER", 1)
    assert dataset.inspect(metadata) == expected
    second = dataset.inspect(metadata, {("p1",): plates["p1",]})
    assert sorted(second.refused) == [7, 31] and list(second.usual) == [("p1",)]
    first = dataset.inspect(metadata, {("p0",): plates["p0",]})
    assert not first.refused and list(first.usual) == [("p0",)]


def test_sites_unlike_their_plate_are_refused_and_not_measured(tmp_path):
    changed = {7: other_type(), 23: np.full((1, 24, 30), 60000, np.uint16)}
    changed |= {31: np.full((2, 24, 24), 60000, np.uint16), 39: np.full((1, 24, 24), np.nan)}
    (tmp_path / "even").mkdir()
    expected = dataset.plate_statistics(plate_of(tmp_path / "even", {}), refused=changed, sites=99)
    metadata = plate_of(tmp_path, changed)
    (tmp_path / "3.tif").write_text("broken")
    found = dataset.inspect(metadata)
    assert sorted(found.refused) == [3, 7, 23, 31, 39]
    assert found.usual == {("p1",): images.ImageHeader(1, 24, 24, np.dtype(np.uint16))}
    words = "; 35 of the 39 readable sites of its plate are 24 x 24 uint16. Convert it, or list it"
    for i, own in ((7, "24 x 24 uint8"), (23, "24 x 30 uint16"), (31, "2 channels of 24 x 24")):
        assert found.refused[i].startswith(f"{tmp_path / str(i)}.tif: is {own}")
        assert words in found.refused[i]
    assert "3.tif: not a readable image" in found.refused[3]
    measured = dataset.plate_statistics(metadata, sites=99)
    # Site 3 is missing as well, which moves the percentiles of even noise by little.
    np.testing.assert_allclose(measured[["low", "high"]], expected[["low", "high"]], atol=3)
    reader = dataset.SiteTiles(metadata, measured, size=24, refused=found.refused)
    assert words in reader[7]["error"] and "tiles" in reader[8]
    crops = dataset.Dataset(metadata, None, True, size=24)
    assert crops[8]["crops"].shape == (1, 1, 1, 24, 24)
    with pytest.raises(images.ImageError, match="7.tif: is 24 x 24 uint8; 35 of the 39"):
        crops[7]


@pytest.mark.parametrize("dtype", "u1 u2 u4 u8 i1 i2 i4 i8 f2 f4 f8 >u2 >i4 >f8".split())
def test_every_type_of_image_is_measured_alike(dtype, tmp_path):
    image = np.random.default_rng(3).integers(0, 100, (24, 24))
    np.save(tmp_path / "x.npy", image.astype(dtype))
    pd.DataFrame({"DNA": ["x.npy"]}).to_csv(tmp_path / "x.csv", index=False)
    metadata = CSVMetadata(tmp_path / "x.csv")
    statistics = dataset.plate_statistics(metadata)
    item = dataset.SiteTiles(metadata, statistics, size=24, with_limits=True)[0]
    assert item["mean"][0] == pytest.approx(image.mean())
    assert item["high"][0] == pytest.approx(np.percentile(image, 99.9), abs=0.1)
    scaled = intensity.scale(item["tiles"], [0], [100])
    np.testing.assert_allclose(scaled[0, 0].numpy(), image / 100, atol=1e-6)


@pytest.mark.parametrize("number", [0, 39])
def test_one_pixel_that_is_no_number_fails_its_site_alone(number, tmp_path):
    image = np.random.default_rng(2).random((1, 24, 24), dtype=np.float32)
    broken = image.copy()
    broken[0, 3, 4] = np.nan
    metadata = plate_of(tmp_path, dict.fromkeys(range(40), image) | {number: broken})
    statistics = dataset.plate_statistics(metadata, sites=99)
    assert np.isfinite(statistics[["low", "high", "threshold"]].to_numpy()).all()
    reader = dataset.SiteTiles(metadata, statistics, size=24)
    failed = [i for i, item in enumerate(map(reader.__getitem__, range(40))) if "error" in item]
    assert failed == [number]
    assert "holds 1 pixels that are not finite" in reader[number]["error"]


def named_plate(folder, names, keys=("plate", "well")):
    """Merged sites whose OME-XML names their channels, site by site; None leaves it out."""
    rng = np.random.default_rng(0)
    rows = []
    for i, given in enumerate(names):
        metadata = {"axes": "CYX"} | ({"Channel": {"Name": given}} if given else {})
        image = rng.integers(200, 900, (2, 24, 24), dtype=np.uint16)
        tifffile.imwrite(folder / f"{i}.ome.tif", image, metadata=metadata)
        row = {"plate": "p1", "well": f"A{i + 1}", "path": f"{i}.ome.tif"}
        rows.append({name: row[name] for name in (*keys, "path")})
    pd.DataFrame(rows).to_csv(folder / "x.csv", index=False)
    return CSVMetadata(folder / "x.csv")


@pytest.mark.parametrize("other", [["Actin", "DNA"], ["DNA", "Tubulin"]])
@pytest.mark.parametrize("keys", [("plate", "well"), ()])
def test_sites_that_name_their_channels_otherwise_are_refused(other, keys, tmp_path):
    metadata = named_plate(tmp_path, [["DNA", "Actin"], other, None, ["DNA", "Actin"]], keys)
    found = dataset.inspect(metadata)
    assert list(found.refused) == [1]
    where = "plate" if keys else "dataset"
    assert found.refused[1] == (
        f"{tmp_path}/1.ome.tif: names its channels {', '.join(other)}; 2 of the 3 sites of its "
        f"{where} that name theirs have DNA, Actin. Save it with these, in their order, or list it "
        "on another plate."
    )
    assert list(found.names.values()) == [("DNA", "Actin")]


def test_names_are_compared_within_a_plate(tmp_path):
    metadata = named_plate(tmp_path, [["DNA", "Actin"], ["Actin", "DNA"]])
    metadata.metadata["plate"] = ["p1", "p2"]
    found = dataset.inspect(metadata)
    assert not found.refused
    assert found.names == {("p1",): ("DNA", "Actin"), ("p2",): ("Actin", "DNA")}


@pytest.mark.parametrize("single", [False, True])
def test_files_of_one_channel_name_it_in_the_order_of_their_columns(single, tmp_path):
    rows = []
    for i in range(4):
        row = {"plate": "p1", "well": f"A{i + 1}"}
        for c in ("DNA", "Actin"):
            row[c] = f"{i}_{c}.ome.tif"
            name = {"DNA": "Actin", "Actin": "DNA"}[c] if i == 3 else c
            tifffile.imwrite(
                tmp_path / row[c],
                np.zeros((24, 24), np.uint16),
                metadata={"axes": "YX", "Channel": {"Name": [name]}},
            )
        rows.append(row)
    pd.DataFrame(rows).to_csv(tmp_path / "x.csv", index=False)
    metadata = CSVMetadata(tmp_path / "x.csv")
    if single:
        metadata.as_single_channel()
        assert not dataset.inspect(metadata).refused
        return
    found = dataset.inspect(metadata)
    assert list(found.refused) == [3]
    assert "names its channels Actin, DNA; 3 of the 4 sites" in found.refused[3]


def test_sets_without_plates_mix_sizes_but_not_types(tmp_path):
    changed = {1: np.full((1, 24, 30), 500, np.uint16), 2: other_type()}
    found = dataset.inspect(plate_of(tmp_path, changed, keys=(), sites=6))
    assert list(found.refused) == [2]
    assert "is uint8; 5 of the 6 readable sites of its dataset" in found.refused[2]


def test_plates_may_differ_from_one_another(tmp_path):
    metadata = plate_of(tmp_path, {0: other_type(), 1: other_type()}, sites=5)
    metadata.metadata["plate"] = ["p1", "p1", "p2", "p2", "p2"]
    found = dataset.inspect(metadata)
    assert not found.refused
    assert [str(header.dtype) for header in found.usual.values()] == ["uint8", "uint16"]


def test_unknown_foreground_channel(plate):
    with pytest.raises(ValueError, match="'dna' is not a channel; it is one of DNA, ER, Mito"):
        dataset.Dataset(apart(plate), foreground_channel="dna")


def test_large_images_are_shrunk(plate):
    metadata = merged(plate)
    metadata.resize_shorter_side = 75
    assert dataset.load_site(metadata, 0).shape == (3, 75, 95)


def test_nothing_included():
    with pytest.raises(ValueError, match="no dataset is included: set one of the include_"):
        dataset.get_concatenated_datasets(None, False, False, False, False, False)


@pytest.mark.parametrize("make", [merged, apart])
def test_headers_are_read_at_the_first_inspection_alone(make, plate, tmp_path, monkeypatch):
    monkeypatch.setattr(remembered, "SETTLED", -10)
    monkeypatch.setenv("UNIDINO_CACHE", str(tmp_path))
    metadata = make(plate)
    first = dataset.site_headers(metadata)

    def no_more(*given):
        raise AssertionError(f"{given} is opened again")

    monkeypatch.setattr(images, "open_image", no_more)
    assert dataset.site_headers(make(plate)) == first
    part = dataset.subset(metadata, [1, 0])
    assert dataset.site_headers(part) == [first[1], first[0]]
    assert dataset.inspect(metadata).usual == {("p1",): first[0]}
