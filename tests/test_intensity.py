"""Scaling by type, plate and image; backgrounds of noisy, sparse, confluent and masked fields."""

import numpy as np
import pandas as pd
import pytest
import tifffile
import torch

from unidino import dataset, intensity
from unidino.valsets.csv import CSVMetadata


def field(rng, cells=12, background=200.0, noise=8.0, height=1200.0, shape=(160, 200)):
    """Blobs on a noisy background; confluent when there are many."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    image = np.full(shape, float(background))
    for _ in range(cells):
        cy, cx = rng.uniform(0, shape[0]), rng.uniform(0, shape[1])
        image += height * np.exp(-(((y - cy) ** 2 + (x - cx) ** 2) / 120))
    return image + rng.normal(0, noise, shape)


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i4", "u8", "i8", "f2", "f4", "f8"])
def test_pixels_exceed_comparable_thresholds_alike(dtype):
    values = np.array([0, 1, 2, 99, 100, 101, 127]).astype(dtype)
    limits = [-7.5, 0, 0.5, 99.999, 100.0, 100.001, 4e9, np.inf, -np.inf, np.nan]
    for limit, made in zip(limits, intensity.comparable(limits, dtype), strict=True):
        assert (values > made).tolist() == [float(value) > limit for value in values]
    top = [100.0]
    assert (values >= intensity.comparable(top, dtype)[0]).sum() == 3


def write_plates(folder, images):
    """A CSV of plates, one well an image; images maps a plate to a list of arrays."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for plate, planes in images.items():
        for i, plane in enumerate(planes):
            name = f"{plate}_{i}.tif"
            tifffile.imwrite(folder / name, plane)
            rows.append({"plate": plate, "well": f"A{i + 1}", "DNA": name})
    pd.DataFrame(rows).to_csv(folder / "sites.csv", index=False)
    return CSVMetadata(folder / "sites.csv")


def as16(image):
    return np.clip(np.rint(image), 0, 65535).astype(np.uint16)


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [(np.uint8, (0, 255)), (np.uint16, (0, 65535)), (np.float32, (0, 1))],
)
def test_natural_ranges(dtype, expected):
    assert intensity.dtype_limits(dtype) == expected


def test_given_range_replaces_the_types():
    assert intensity.dtype_limits(np.int32, [10, 4095]) == (10, 4095)


@pytest.mark.parametrize(
    ("dtype", "given", "message"),
    [
        (np.int16, None, "int16 have no natural range: give intensity_range"),
        (np.uint32, None, "uint32 have no natural range"),
        (np.uint8, [5, 5], r"intensity_range is \[5, 5\]; expected \[low, high\]"),
        (np.uint8, [1, 2, 3], "expected .low, high. with low below"),
    ],
)
def test_ranges_that_are_none(dtype, given, message):
    with pytest.raises(ValueError, match=message):
        intensity.dtype_limits(dtype, given)


@pytest.mark.parametrize("values", [[-0.1, 0.5], [0.5, 300.0], [0.5, np.nan]])
def test_float_images_outside_their_range(values):
    with pytest.raises(ValueError, match="x.tif: float values .* expected 0 to 1"):
        intensity.check_float_range(np.array(values, np.float32), "x.tif")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32])
def test_scaling_equals_the_loop(dtype):
    raw = (np.random.default_rng(0).random((2, 3, 4, 5)) * 200).astype(dtype)
    low, high = np.array([3.0, 50.0, 0.0]), np.array([90.0, 180.0, 255.0])
    scaled = intensity.scale(torch.from_numpy(raw), low, high)
    assert scaled.dtype == torch.float32
    for index in np.ndindex(raw.shape):
        c = index[1]
        expected = min(max((float(raw[index]) - low[c]) / (high[c] - low[c]), 0), 1)
        assert scaled[index].item() == pytest.approx(expected, abs=1e-6)


def test_image_limits_are_its_percentiles():
    image = np.random.default_rng(0).integers(0, 4000, (2, 50, 50), dtype=np.uint16)
    low, high = intensity.image_limits(image)
    for c in (0, 1):
        assert low[c] == np.percentile(image[c], 0.5)
        assert high[c] == np.percentile(image[c], 99.9)
    assert intensity.image_limits(np.full((1, 4, 4), 7, np.uint8))[1] == 8


def test_statistics_do_not_follow_the_order_of_the_table(tmp_path):
    rng = np.random.default_rng(1)
    images = {plate: [as16(field(rng)) for _ in range(6)] for plate in ("p1", "p2")}
    metadata = write_plates(tmp_path, images)
    once = dataset.plate_statistics(metadata, sites=3)
    assert once[["plate", "channel"]].to_numpy().tolist() == [["p1", "DNA"], ["p2", "DNA"]]
    metadata.metadata = metadata.metadata.sample(frac=1, random_state=0).reset_index(drop=True)
    again = dataset.plate_statistics(metadata, sites=3).sort_values("plate", ignore_index=True)
    pd.testing.assert_frame_equal(once, again)
    other = dataset.plate_statistics(metadata, sites=3, seed=1)
    assert not other.sort_values("plate", ignore_index=True).equals(once)


def test_statistics_do_not_depend_on_where_a_dataset_lies(tmp_path):
    rng = np.random.default_rng(1)
    images = [as16(field(rng, shape=(32, 32))) for _ in range(20)]
    here, there = (write_plates(tmp_path / place, {"p": images}) for place in ("a", "b/c"))
    pd.testing.assert_frame_equal(
        dataset.plate_statistics(here, sites=3), dataset.plate_statistics(there, sites=3)
    )
    # Nor does it matter whether the files lie below the table's folder.
    here.root = None
    pd.testing.assert_frame_equal(
        dataset.plate_statistics(here, sites=3), dataset.plate_statistics(there, sites=3)
    )


def names_and_layouts(folder, rng):
    """One plate of two wells and three sites, stored under other names and merged."""
    raw = [[as16(field(rng, shape=(32, 32))) for _ in range(2)] for _ in range(6)]
    for form in ("first", "renamed", "merged"):
        (folder / form).mkdir()
        rows = []
        for i, planes in enumerate(raw):
            row = {"plate": "p", "well": f"A{i % 2 + 1}", "site": i // 2}
            if form == "merged":
                tifffile.imwrite(folder / form / f"{i}.tif", np.stack(planes), metadata=None)
                row["path"] = f"{i}.tif"
            else:
                for c, plane in enumerate(planes):
                    name = f"{'r' if form == 'renamed' else 'f'}{5 - i if form == 'renamed' else i}"
                    tifffile.imwrite(folder / form / f"{name}_{c}.tif", plane)
                    row[f"ch{c + 1}"] = f"{name}_{c}.tif"
            rows.append(row)
        pd.DataFrame(rows).to_csv(folder / form / "sites.csv", index=False)
        yield CSVMetadata(folder / form / "sites.csv")


def test_statistics_follow_neither_names_nor_layouts_of_files(tmp_path):
    first, *others = (
        dataset.plate_statistics(metadata, sites=3)
        for metadata in names_and_layouts(tmp_path, np.random.default_rng(8))
    )
    for other in others:
        pd.testing.assert_frame_equal(first, other)


@pytest.mark.parametrize("seed", range(5))
def test_wells_are_sampled_in_turns(seed, tmp_path):
    rng = np.random.default_rng(1)
    metadata = write_plates(tmp_path, {"p": [as16(field(rng, shape=(32, 32))) for _ in range(9)]})
    wells = ["A01"] * 6 + ["A02", "A02", "A03"]
    metadata.metadata = metadata.metadata.assign(well=wells, site=[str(i) for i in range(9)])
    sampled = metadata.metadata["well"].iloc[dataset.sample_rows(metadata, seed)].tolist()
    assert sorted(sampled[:3]) == ["A01", "A02", "A03"]
    assert sorted(sampled[3:5]) == ["A01", "A02"]
    assert sampled[5:] == ["A01"] * 4
    shuffled = metadata.metadata.sample(frac=1, random_state=seed).reset_index(drop=True)
    chosen = metadata.metadata.iloc[dataset.sample_rows(metadata, seed)]["site"].tolist()
    metadata.metadata = shuffled
    assert shuffled.iloc[dataset.sample_rows(metadata, seed)]["site"].tolist() == chosen


def test_wells_that_are_few_give_more_sites(tmp_path, monkeypatch):
    rng = np.random.default_rng(1)
    metadata = write_plates(tmp_path, {"p": [as16(field(rng, shape=(32, 32))) for _ in range(30)]})
    metadata.metadata = metadata.metadata.assign(well="A01", site=[str(i) for i in range(30)])
    read = []
    load = dataset.read_site
    monkeypatch.setattr(dataset, "read_site", lambda m, i: read.append(i) or load(m, i))
    dataset.plate_statistics(metadata)
    assert len(set(read)) == len(read) == dataset.SAMPLE_SITES


def share_above(statistics, image):
    return (image > statistics["threshold"].iloc[0]).mean()


def test_noise_alone_is_background_and_sparse_cells_are_not(tmp_path):
    rng = np.random.default_rng(2)
    images = [field(rng, cells) for cells in (12, 0, 1, 15, 0, 8)]
    statistics = dataset.plate_statistics(write_plates(tmp_path, {"p": list(map(as16, images))}))
    assert statistics["background"].iloc[0] == pytest.approx(200, abs=8)
    for i, (least, most) in enumerate([(0.1, 1), (0, 0.01), (0.01, 0.3)]):
        assert least <= share_above(statistics, images[i]) <= most


def test_empty_plate_has_no_foreground(tmp_path):
    rng = np.random.default_rng(3)
    images = [field(rng, 0) for _ in range(5)]
    statistics = dataset.plate_statistics(write_plates(tmp_path, {"p": list(map(as16, images))}))
    assert max(share_above(statistics, image) for image in images) < 0.01


def test_confluent_fields_are_foreground(tmp_path):
    rng = np.random.default_rng(4)
    images = [field(rng, 400, height=500) for _ in range(4)]
    statistics = dataset.plate_statistics(write_plates(tmp_path, {"p": list(map(as16, images))}))
    assert min(share_above(statistics, image) for image in images) > 0.5


def test_masked_images_keep_their_cells(tmp_path):
    rng = np.random.default_rng(5)
    images = []
    for _ in range(4):
        cells = field(rng, 10, background=0, noise=0)
        images.append(np.where(cells > 100, cells + rng.normal(0, 5, cells.shape), 0))
    statistics = dataset.plate_statistics(write_plates(tmp_path, {"p": list(map(as16, images))}))
    assert statistics["background"].iloc[0] == 0
    for image in images:
        assert share_above(statistics, image) == pytest.approx((image > 0).mean(), rel=0.02)


def test_saturation_of_a_12_bit_camera(tmp_path):
    rng = np.random.default_rng(6)
    images = [np.minimum(as16(field(rng, height=6000)), 4095) for _ in range(3)]
    statistics = dataset.plate_statistics(write_plates(tmp_path, {"p": images}))
    assert statistics["saturation"].iloc[0] == 4095
    full = [as16(field(rng)) for _ in range(3)]
    (tmp_path / "full").mkdir()
    statistics = dataset.plate_statistics(write_plates(tmp_path / "full", {"p": full}))
    assert statistics["saturation"].iloc[0] == 65535


def test_unreadable_images_are_passed_over(tmp_path):
    rng = np.random.default_rng(7)
    metadata = write_plates(tmp_path, {"p": [as16(field(rng)) for _ in range(3)]})
    (tmp_path / "p_1.tif").write_text("broken")
    assert np.isfinite(dataset.plate_statistics(metadata)["low"]).all()
    for i in (0, 2):
        (tmp_path / f"p_{i}.tif").write_text("broken")
    assert dataset.plate_statistics(metadata)["low"].isna().all()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (15, 15)])
def test_images_without_a_block_or_a_neighbour_are_measured(shape):
    plane = np.full(shape, 500, np.uint16)
    measured = intensity.channel_statistics([plane, plane])
    assert np.isfinite(list(measured.values())).all()
    assert measured["background"] == 500 < measured["threshold"]


@pytest.mark.parametrize(("top", "expected"), [(0.5, 1.0), (1.0, 1.0), (1.5, np.nan)])
def test_floats_above_1_have_no_upper_limit(top, expected):
    plane = np.linspace(0, top, 100, dtype=np.float32).reshape(10, 10)
    np.testing.assert_equal(intensity.channel_statistics([plane])["saturation"], expected)
