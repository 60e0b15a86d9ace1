"""Planes, their scaling and weights; draws that depend on seed and position alone."""

import dataclasses
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
import torch
from torch.utils.data import DataLoader

from unidino import images, simulate, valsets
from unidino.train import augment, data
from unidino.train.data import (
    GlobalSequence,
    TrainingImages,
    collate,
    open_training_set,
    planes_of,
    remembered_planes,
    views_of,
)
from unidino.valsets.csv import CSVMetadata

VIEWS = augment.ViewSettings(size=32, local_size=16, local_crops_number=2)


def write_plate(folder, sites=6, channels=2, shape=(60, 80), merged=False, **columns):
    """A CSV of two plates, each as bright as its number; the path of the CSV."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for i in range(sites):
        rng = np.random.default_rng(i)
        bright = 500 * (1 + i % 2)
        image = rng.integers(bright, bright + 200, (channels, *shape), dtype=np.uint16)
        row = {"plate": f"p{i % 2}", "well": f"A{i + 1:02d}"}
        if merged:
            row["path"] = f"{i}.tif"
            tifffile.imwrite(folder / row["path"], image, photometric="minisblack")
        else:
            for c in range(channels):
                row[f"stain{c}"] = f"{i}_{c}.tif"
                tifffile.imwrite(folder / row[f"stain{c}"], image[c])
        rows.append(row | {name: values[i] for name, values in columns.items()})
    pd.DataFrame(rows).to_csv(folder / "plate.csv", index=False)
    return folder / "plate.csv"


def opened(path, in_chans=1, scaling="plate", views=VIEWS, intensity_range=None, **drawn):
    paths = path if isinstance(path, list) else [path]
    sets = [planes_of(CSVMetadata(p), in_chans, scaling, intensity_range) for p in paths]
    return TrainingImages(sets, views, intensity_scaling=scaling, **drawn)


@pytest.mark.parametrize("merged", [False, True])
def test_every_channel_is_an_item_with_the_limits_of_its_plate(tmp_path, merged):
    path = write_plate(tmp_path, merged=merged)
    part = planes_of(CSVMetadata(path), 1, "plate")
    assert len(part) == 12 and part.numbers.shape == (12, 1)
    for i in range(12):
        site, channel = divmod(i, 2)
        image = images.read_image(part.files[i])[part.numbers[i, 0]]
        whole = tmp_path / (f"{site}.tif" if merged else f"{site}_{channel}.tif")
        expected = images.read_image(whole)[channel if merged else 0]
        np.testing.assert_array_equal(image, expected)
        bright = 500 * (1 + site % 2)
        assert bright <= part.low[i, 0] < bright + 20
        assert bright + 180 < part.high[i, 0] <= bright + 200


def test_scaling_by_type_range_and_image(tmp_path):
    path = write_plate(tmp_path)
    by_type = opened(path, scaling="dtype")[(0, 0)]
    assert (by_type["low"], by_type["high"]) == (0, 65535)
    ranged = opened(path, scaling="dtype", intensity_range=(10, 900))[(0, 0)]
    assert (ranged["low"], ranged["high"]) == (10, 900)
    item = opened(path, scaling="image")[(0, 0)]
    file = opened(path, scaling="image").files(item["image"])[0].split(" (plane")[0]
    low, high = np.percentile(images.read_image(file), (0.5, 99.9))
    assert item["low"] == pytest.approx(low) and item["high"] == pytest.approx(high)


def test_windows_are_the_image_at_their_corners(tmp_path):
    data = opened(write_plate(tmp_path), scaling="dtype")
    for position in range(20):
        item = data[(3, position)]
        file = data.files(item["image"])[0].split(" (plane")[0]
        plane = images.read_image(file)[0]
        rng = np.random.Generator(np.random.Philox(key=[0, (3 << 40) | position]))
        rng.random()
        corners, draws, tone, _ = augment.draw_views(rng, VIEWS, *plane.shape, 1)
        np.testing.assert_array_equal(item["draws"], draws)
        np.testing.assert_array_equal(item["tone"], tone)
        for view, (top, left) in zip(item["global"], corners[:2], strict=True):
            np.testing.assert_array_equal(view[0], plane[top : top + 32, left : left + 32])
        for view, (top, left) in zip(item["local"], corners[2:], strict=True):
            np.testing.assert_array_equal(view[0], plane[top : top + 16, left : left + 16])


def test_whole_sites_enter_together(tmp_path):
    data = opened(write_plate(tmp_path, channels=3), in_chans=3)
    item = data[(0, 5)]
    assert len(data) == 6
    assert item["global"].shape == (2, 3, 32, 32) and item["low"].shape == (3,)
    assert len(data.files(item["image"])) == 3
    with pytest.raises(ValueError, match="has 3 channels .*, in_chans is 5"):
        opened(tmp_path / "plate.csv", in_chans=5)


def drawn(data, count=3000):
    return np.bincount([data[(0, i)]["image"] for i in range(count)], minlength=len(data)) / count


def test_the_mix_has_the_expectation_of_the_published_repetition(tmp_path):
    small = write_plate(tmp_path / "small", sites=2, shape=(16, 16))
    large = write_plate(tmp_path / "large", sites=10, shape=(16, 16))
    views = augment.ViewSettings(size=16, local_size=16, local_crops_number=0)
    data = opened([small, large], views=views)
    # 20 images, and 4 repeated 5 times: half of the draws each.
    assert data.published_length == 40
    shares = drawn(data)
    assert shares[:4].sum() == pytest.approx(0.5, abs=0.04)
    shares = drawn(opened([small, large], dataset_weights=[1, 3], views=views))
    assert shares[:4].sum() == pytest.approx(0.25, abs=0.04)


def test_rows_are_weighed_by_sample_weight(tmp_path):
    path = write_plate(tmp_path, sites=4, shape=(16, 16), sample_weight=[0, 1, 1, 2])
    views = augment.ViewSettings(size=16, local_size=16, local_crops_number=0)
    shares = drawn(opened(path, views=views)).reshape(4, 2).sum(1)
    np.testing.assert_allclose(shares, [0, 0.25, 0.25, 0.5], atol=0.04)
    wrong = write_plate(tmp_path / "wrong", sites=3, sample_weight=[1, -1, 1])
    with pytest.raises(ValueError, match="sample_weight holds -1 in row 2; expected numbers of 0"):
        opened(wrong)


def groups_of(data, items):
    """Plate and channel of each drawn image, from the names that `write_plate` gives its files."""
    names = [data.files(item["image"])[0].split("/")[-1].split(".")[0] for item in items]
    pairs = [tuple(map(int, name.split("_"))) for name in names]
    return [(site % 2, channel) for site, channel in pairs]


def test_consecutive_draws_come_from_one_plate_and_channel(tmp_path):
    path = write_plate(tmp_path, sites=8, shape=(16, 16), sample_weight=[1, 1, 2, 1, 1, 3, 1, 2])
    views = augment.ViewSettings(size=16, local_size=16, local_crops_number=0)
    data = opened(path, views=views, group_size=4)
    drawn_groups = groups_of(data, [data[(2, i)] for i in range(400)])
    blocks = [set(drawn_groups[i : i + 4]) for i in range(0, 400, 4)]
    assert all(len(block) == 1 for block in blocks)
    assert {group for block in blocks for group in block} == {(0, 0), (0, 1), (1, 0), (1, 1)}
    alone = groups_of(data := opened(path, views=views), [data[(2, i)] for i in range(40)])
    assert any(len(set(alone[i : i + 4])) > 1 for i in range(0, 40, 4))
    # The share of every image is that of single draws.
    expected = np.repeat([1, 1, 2, 1, 1, 3, 1, 2], 2) / 24
    made = drawn(opened(path, views=views, group_size=4), 12000)
    np.testing.assert_allclose(made, expected, atol=0.02)


def test_flat_images_are_drawn_again(tmp_path):
    rng = np.random.default_rng(0)
    rows = []
    for i in range(6):
        # Standard deviation 0.002 (flat) or 0.1 of the whole range.
        values = 0.5 + (0.1 if i % 2 else 0.002) * rng.standard_normal((40, 40))
        tifffile.imwrite(tmp_path / f"{i}.tif", (values.clip(0, 1) * 65535).astype(np.uint16))
        rows.append({"path": f"{i}.tif"})
    pd.DataFrame(rows).to_csv(tmp_path / "plate.csv", index=False)
    path = tmp_path / "plate.csv"
    shown = {
        least: {int(data[(0, i)]["image"]) for i in range(100)}
        for least in (0.0, 0.05)
        if (data := opened(path, scaling="dtype", min_contrast=least))
    }
    assert shown == {0.0: set(range(6)), 0.05: {1, 3, 5}}
    # Where no image has so much contrast, the best of ten is taken.
    data = opened(path, scaling="dtype", min_contrast=0.4)
    stds = [(data[(0, i)]["global"] / 65535).std(axis=(2, 3)).min() for i in range(20)]
    assert min(stds) > 0.05


def test_items_depend_on_seed_epoch_and_position_alone(tmp_path):
    path = write_plate(tmp_path)
    data = opened(path)
    order = GlobalSequence(2, 4, 0, 6, 1, 0, 1)
    batches = {
        workers: list(
            DataLoader(data, batch_sampler=order, num_workers=workers, collate_fn=collate)
        )
        for workers in (0, 2)
    }
    for alone, shared in zip(*batches.values(), strict=True):
        for name in ("image", "global", "local", "draws", "tone", "low", "high"):
            assert torch.equal(alone[name], shared[name]), name
    other = opened(path, seed=1)
    assert not np.array_equal(data[(0, 0)]["tone"], other[(0, 0)]["tone"])
    assert not np.array_equal(data[(0, 0)]["tone"], data[(1, 0)]["tone"])


@pytest.mark.parametrize(("world", "batch", "accumulate"), [(1, 12, 1), (2, 6, 1), (3, 2, 2)])
def test_processes_partition_one_sequence(world, batch, accumulate):
    whole = list(GlobalSequence(3, 9, 0, 12, 1, 0, 1))
    parts = [list(GlobalSequence(3, 9, 0, batch, accumulate, rank, world)) for rank in range(world)]
    for step in range(9):
        mine = [
            index
            for part in parts
            for index in sum(part[step * accumulate : (step + 1) * accumulate], [])
        ]
        assert sorted(mine) == whole[step]
    late = list(GlobalSequence(3, 9, 5, 12, 1, 0, 1))
    assert late == whole[5:]


def test_small_images_are_padded_and_counted(tmp_path):
    path = write_plate(tmp_path, shape=(20, 80))
    data = opened(path)
    item = data[(0, 0)]
    assert item["padded"] == 2
    assert item["global"].shape == (2, 1, 32, 32)
    batch = collate([data[(0, i)] for i in range(3)])
    assert batch["padded"] == 6


def test_an_unreadable_image_is_replaced_and_reported(tmp_path):
    path = write_plate(tmp_path)
    data = opened(path)
    for broken in ("0_0.tif", "1_1.tif"):
        (tmp_path / broken).write_text("broken")
    items = [data[(0, i)] for i in range(60)]
    errors = [error for item in items for error in item["unread"]]
    assert errors and all("not a readable image" in error for error in errors)
    shown = {data.files(item["image"])[0] for item in items}
    assert not any("0_0.tif" in file or "1_1.tif" in file for file in shown)
    for file in tmp_path.glob("*.tif"):
        file.write_text("broken")
    with pytest.raises(ValueError, match="10 images drawn one after another could not be read"):
        data[(0, 0)]


def test_sites_unlike_their_plate_are_not_drawn(tmp_path, capfd):
    path = write_plate(tmp_path, shape=(40, 40))
    tifffile.imwrite(tmp_path / "2_1.tif", np.zeros((40, 40), np.uint8))
    for c in range(2):
        tifffile.imwrite(tmp_path / f"3_{c}.tif", np.full((40, 41), 60000, np.uint16))
    part = planes_of(CSVMetadata(path), 1, "plate")
    assert part.weights.tolist() == [1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 1]
    assert part.high.max() <= 1200
    assert "warning: 2 of 6 sites are not drawn from. The first: " in capfd.readouterr().err
    only = write_plate(tmp_path / "only", sites=4, sample_weight=[0, 0, 0, 1])
    (tmp_path / "only" / "3_1.tif").write_text("broken")
    with pytest.raises(ValueError, match="no site can be drawn from. The first: .*3_1.tif: not a"):
        planes_of(CSVMetadata(only), 1, "plate")


def test_float_images_outside_their_range_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.full((40, 40), 7.0, np.float32))
    pd.DataFrame({"path": ["a.tif"]}).to_csv(tmp_path / "plate.csv", index=False)
    with pytest.raises(ValueError, match="float values from 7 to 7, expected 0 to 1"):
        opened(tmp_path / "plate.csv", scaling="dtype")[(0, 0)]


def test_batches_keep_integers_and_mix_types(tmp_path):
    path = write_plate(tmp_path / "16")
    eight = tmp_path / "8"
    eight.mkdir()
    tifffile.imwrite(eight / "a.tif", np.full((40, 40), 200, np.uint8))
    pd.DataFrame({"path": ["a.tif"]}).to_csv(eight / "plate.csv", index=False)
    both = opened([path, eight / "plate.csv"])
    batch = collate([both[(0, i)] for i in range(16)])
    assert batch["global"].dtype == torch.uint16
    views = views_of(batch, VIEWS, torch.device("cpu"))
    assert [view.shape for view in views] == [(32, 1, 32, 32), (32, 1, 16, 16)]
    # View by view: image 3 of the second global view stands at 16 + 3.
    single = views_of(collate([both[(0, 3)]]), VIEWS, torch.device("cpu"))
    torch.testing.assert_close(views[0][19], single[0][1])
    torch.testing.assert_close(views[1][19], single[1][1])


@pytest.mark.parametrize("name", ["blur_prob", "noise_prob"])
def test_blur_and_noise_reach_the_views_where_they_are_asked_for(name, tmp_path):
    path = write_plate(tmp_path)
    seen = []
    for probability in (0.0, 1.0):
        settings = dataclasses.replace(VIEWS, **{name: probability})
        assert settings.spoilt == bool(probability)
        batch = collate([opened(path, views=settings)[(0, i)] for i in range(3)])
        seen.append(views_of(batch, settings, torch.device("cpu")))
    for clean, spoilt in zip(*seen, strict=True):
        assert not any(torch.equal(a, b) for a, b in zip(clean, spoilt, strict=True))


def test_published_sets_are_opened_as_trained_on(tmp_path):
    name, root = valsets.name_and_root("HPA@/some/where")
    assert (name, root) == ("HPA", "/some/where")
    assert valsets.name_and_root("/a@b/plate.csv") == ("/a@b/plate.csv", None)
    simulate.simulate("BBBC021", tmp_path, field=48, wells=21, plates=1, batches=2, workers=1)
    whole = valsets.open_valset("BBBC021", root=tmp_path)
    part = open_training_set(f"bbbc021@{tmp_path}")
    controls = whole.metadata["compound"] == "DMSO"
    kept = part.metadata["compound"] == "DMSO"
    # 15 % of the 6 controls of each plate.
    assert (controls.sum(), kept.sum()) == (12, 2)


def test_planes_are_remembered_as_plain_values(tmp_path, monkeypatch):
    metadata = CSVMetadata(write_plate(tmp_path))
    options = {"intensity_scaling": "plate", "intensity_range": None, "in_chans": 1, "seed": 0}
    folder = tmp_path / "out"
    folder.mkdir()
    first = remembered_planes([metadata], options, folder)
    monkeypatch.setattr(data, "planes_of", None)
    again = remembered_planes([metadata], options, folder)
    np.testing.assert_array_equal(first[0].low, again[0].low)
    assert first[0].files == again[0].files
    monkeypatch.undo()
    # Other images under the same names are measured again.
    tifffile.imwrite(tmp_path / "0_0.tif", np.full((60, 80), 7000, np.uint16))
    other = remembered_planes([metadata], options, folder)
    assert other[0].high[0, 0] > 2 * first[0].high[0, 0]


def test_damaged_planes_are_named_and_measured_again(tmp_path, capfd):
    metadata = CSVMetadata(write_plate(tmp_path))
    options = {"intensity_scaling": "plate", "intensity_range": None, "in_chans": 1, "seed": 0}
    first = remembered_planes([metadata], options, tmp_path)
    file = tmp_path / "planes.pt"
    whole = file.read_bytes()
    changed = bytearray(whole)
    changed[whole.index(np.float64(first[0].low[0, 0]).tobytes())] ^= 1
    for content in (b"", b"no planes", whole[:-200], bytes(changed)):
        file.write_bytes(content)
        with pytest.raises(ValueError, match="planes.pt .*command once more: it rebuilds it"):
            data.read_planes(tmp_path)
        again = remembered_planes([metadata], options, tmp_path)
        np.testing.assert_array_equal(first[0].low, again[0].low)
        assert "planes.pt" in capfd.readouterr().err
        assert data.read_planes(tmp_path)[0].digest == first[0].digest


def test_files_are_known_by_names_and_contents(tmp_path, monkeypatch):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        for name in "wxyz":
            (tmp_path / folder / name).write_bytes(name.encode() * 1000)
    files = [str(tmp_path / "a" / name) for name in "wxyz"]
    digest = data.files_digest(files)
    # A copy elsewhere, at another time, is the same.
    os.utime(files[0], (1, 1))
    assert data.files_digest([str(tmp_path / "b" / name) for name in "wxyz"]) == digest
    assert data.files_digest(files[::-1]) != digest
    content = b"x" * 1000
    for changed in (b"w" + content[1:], content[1:] + b"w", content + b"x", b""):
        Path(files[1]).write_bytes(changed)
        assert data.files_digest(files) != digest
    monkeypatch.setattr(data, "_COMPARED", 2)  # w and y
    sampled = data.files_digest(files)
    Path(files[1]).unlink()
    assert data.files_digest(files) == sampled
    Path(files[2]).unlink()
    assert data.files_digest(files) != sampled
