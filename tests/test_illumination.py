"""Images divided by illumination functions, and what a table says of them."""

import numpy as np
import pandas as pd
import pytest
import tifffile

from unidino import dataset, identity, illumination, images
from unidino.metadata import Metadata

HEIGHT, WIDTH = 24, 32


def _dataset(folder, functions, dtype=np.uint16, merged=False, sites=2, high=None):
    """A dataset of two channels on disk, with its images (sites, 2, H, W)."""
    rng = np.random.default_rng(0)
    high = high or (1 if np.dtype(dtype).kind == "f" else np.iinfo(dtype).max)
    pixels = (rng.random((sites, 2, HEIGHT, WIDTH)) * high).astype(dtype)
    rows = []
    for s, planes in enumerate(pixels):
        row = {"plate": "P1", "well": f"A{s + 1:02d}", "site": "1", "illumination": functions}
        if merged:
            tifffile.imwrite(folder / f"{s}.tif", planes, metadata={"axes": "CYX"})
            rows.append(row | {"path": str(folder / f"{s}.tif")})
        else:
            files = [str(folder / f"{s}_{c}.tif") for c in range(2)]
            for file, plane in zip(files, planes, strict=True):
                tifffile.imwrite(file, plane)
            rows.append(row | {"path": files})
    made = Metadata()
    made.single_channel_metadata, made.is_merged = False, merged
    made.metadata = pd.DataFrame(rows)
    made.channels = ["DNA", "ER"]
    made.inference_metadata_columns = ["plate", "well", "site"]
    made.root = str(folder)
    made.validate()
    return made, pixels


def _function(folder, name="f.npy", seed=1, shape=(HEIGHT, WIDTH), dtype=np.float64):
    values = np.random.default_rng(seed).uniform(0.5, 2.5, shape).astype(dtype)
    path = folder / name
    np.save(path, values) if name.endswith(".npy") else tifffile.imwrite(path, values)
    return str(path), values


def _by_pixel(plane, function, low, high):
    """The slow twin: pixel after pixel, in Python's numbers."""
    made = np.empty_like(plane)
    for place, value in np.ndenumerate(plane):
        quotient = float(value) / float(function[place])
        if plane.dtype.kind != "f":
            quotient = round(quotient)
        made[place] = min(max(quotient, low), high)
    return made


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "float32"])
@pytest.mark.parametrize("merged", [False, True])
@pytest.mark.parametrize("name", ["f.npy", "f.tif"])
def test_a_channel_is_divided_by_its_function(tmp_path, dtype, merged, name):
    path, function = _function(tmp_path, name, dtype=np.float32 if "tif" in name else np.float64)
    metadata, pixels = _dataset(tmp_path, [None, path], dtype, merged)
    limits = (-1e38, 1.0) if dtype == "float32" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    for i in range(2):
        read = dataset.load_site(metadata, i)
        assert read.dtype == dtype
        np.testing.assert_array_equal(read[0], pixels[i, 0])
        np.testing.assert_array_equal(read[1], _by_pixel(pixels[i, 1], function, *limits))
        assert (read[1] == limits[1]).any()


def test_floats_above_1_are_not_clipped(tmp_path):
    path, function = _function(tmp_path)
    metadata, pixels = _dataset(tmp_path, [path, None], np.float32, high=900.0)
    read = dataset.load_site(metadata, 0)
    np.testing.assert_array_equal(read[0], _by_pixel(pixels[0, 0], function, -1e38, 1e38))
    assert read[0].max() > 900


def test_the_largest_integers_stay_in_their_type():
    image = np.full((1, 1, 1), np.iinfo(np.int64).max)
    assert illumination._range(image[0])[1] < 2.0**63
    assert int(illumination._range(image.astype(np.uint64)[0])[1]) < 2**64


@pytest.mark.parametrize("merged", [False, True])
def test_functions_follow_their_channels(tmp_path, merged):
    path, function = _function(tmp_path)
    metadata, pixels = _dataset(tmp_path, [None, path], merged=merged)
    metadata.select_channels("Endoplasm=ER,DNA")
    metadata.validate()
    read = dataset.load_site(metadata, 1)
    np.testing.assert_array_equal(read[1], pixels[1, 0])
    np.testing.assert_array_equal(read[0], _by_pixel(pixels[1, 1], function, 0, 65535))
    alone = dataset.subset(metadata, [1])
    alone.as_single_channel()
    alone.validate()
    np.testing.assert_array_equal(dataset.load_site(alone, 0)[0], read[0])
    np.testing.assert_array_equal(dataset.load_site(alone, 1)[0], read[1])
    assert list(alone.described) == ["channel", "plate", "well", "site"]


def test_an_image_is_corrected_before_it_is_shrunk(tmp_path):
    path, function = _function(tmp_path)
    metadata, pixels = _dataset(tmp_path, [path, None])
    metadata.resize_shorter_side = HEIGHT // 2
    divided = _by_pixel(pixels[0, 0], function, 0, 65535)[None]
    np.testing.assert_array_equal(
        dataset.load_site(metadata, 0)[:1], images.shrink_shorter_side(divided, HEIGHT // 2)
    )


def test_a_site_is_another_image_with_another_function(tmp_path):
    path, values = _function(tmp_path)
    metadata, _ = _dataset(tmp_path, [None, path])
    plain = dataset.subset(metadata, [0, 1])
    plain.metadata = plain.metadata.drop(columns="illumination")
    without = dataset.subset(metadata, [0, 1])
    without.metadata["illumination"] = [[None, None]] * 2
    ids = identity.image_ids(metadata, [0, 1])
    assert identity.image_ids(plain, [0, 1]) == identity.image_ids(without, [0, 1]) != ids
    swapped = dataset.subset(metadata, [0, 1])
    swapped.metadata["illumination"] = [[path, None]] * 2
    assert not {*identity.image_ids(swapped, [0, 1])} & {*ids}
    copied = dataset.subset(metadata, [0, 1])
    copied.metadata["illumination"] = [[None, _function(tmp_path, "copy.npy")[0]]] * 2
    assert identity.image_ids(copied, [0, 1]) == ids
    np.save(path, values * 1.5)
    assert not {*identity.image_ids(metadata, [0, 1])} & {*ids}


def test_a_function_that_is_written_anew_is_read_anew(tmp_path):
    path, values = _function(tmp_path)
    assert illumination.read_function(path) is illumination.read_function(path)
    np.save(tmp_path / "other.npy", values * 2)
    (tmp_path / "other.npy").rename(path)
    np.testing.assert_array_equal(illumination.read_function(path), values * 2)


def test_functions_are_kept_within_bounds(tmp_path, monkeypatch):
    paths = [_function(tmp_path, f"{i}.npy", seed=i)[0] for i in range(4)]
    monkeypatch.setattr(illumination, "HELD_BYTES", 2 * HEIGHT * WIDTH * 8)
    for path in paths:
        illumination.read_function(path)
    assert [path for path, _ in illumination._held] == paths[2:]
    monkeypatch.setattr(illumination, "HELD_BYTES", 1)
    assert illumination.read_function(paths[0]) is illumination.read_function(paths[0])


def _refused(folder, values, name="bad.npy"):
    np.save(folder / name, values) if name.endswith("npy") else tifffile.imwrite(
        folder / name, values
    )
    with pytest.raises(images.ImageError) as error:
        illumination.read_function(folder / name)
    return str(error.value)


def test_what_is_no_function_is_refused_by_name(tmp_path):
    ones = np.ones((HEIGHT, WIDTH))
    zero, nan = ones.copy(), ones.copy()
    zero[3, 4], nan[5, 6] = 0, np.nan
    told = _refused(tmp_path, zero)
    assert "bad.npy" in told and "1 values that are not above 0 (the lowest is 0)" in told
    assert "bad.npy: holds 1 pixels that are not finite" in _refused(tmp_path, nan)
    assert "median is 3000" in _refused(tmp_path, ones * 3000)
    assert "median is 0.01" in _refused(tmp_path, ones * 0.01)
    assert "whole numbers (uint16)" in _refused(tmp_path, ones.astype(np.uint16), "bad.tif")
    assert "shape (2, 24, 32)" in _refused(tmp_path, np.stack([ones, ones]))
    (tmp_path / "bad.mat").write_bytes(b"MATLAB")
    with pytest.raises(images.ImageError, match=r"bad.mat: an illumination function is one of"):
        illumination.read_function(tmp_path / "bad.mat")
    with pytest.raises(FileNotFoundError, match=r"gone.npy: no such illumination function"):
        illumination.read_function(tmp_path / "gone.npy")


def test_a_function_of_another_size_names_both_files(tmp_path):
    path, _ = _function(tmp_path, shape=(WIDTH, HEIGHT))
    metadata, _ = _dataset(tmp_path, [None, path])
    with pytest.raises(images.ImageError) as error:
        dataset.load_site(metadata, 1)
    told = str(error.value)
    assert path in told and metadata.paths(1)[1] in told and "32 x 24" in told and "24 x 32" in told


def test_what_a_table_says_of_functions_is_checked(tmp_path):
    path, _ = _function(tmp_path)
    metadata, _ = _dataset(tmp_path, [None, path])

    def told(error=ValueError, **columns):
        part = dataset.subset(metadata, [0, 1])
        part.metadata = part.metadata.assign(**columns)
        with pytest.raises(error) as raised:
            part.validate()
        return str(raised.value)

    assert "row 2 holds ['f.npy']; expected a list of 2" in told(
        illumination=[[None, path], ["f.npy"]]
    )
    assert "row 1 holds 'f.npy'; expected a list of 2" in told(illumination=["f.npy", "f.npy"])
    assert "row 1 holds [None, nan]" in told(illumination=[[None, np.nan]] * 2)
    absent = str(tmp_path / "gone.npy")
    missing = told(FileNotFoundError, illumination=[[absent, path]] * 2)
    assert absent in missing and "1 of 2 illumination functions" in missing
    assert "illumination='none'" in missing
    metadata.inference_metadata_columns.append("illumination")
    assert "Rename the dataset's, such as to dataset_illumination" in told()


def test_saturation_and_dead_channels_are_those_of_the_files(tmp_path):
    # A 12-bit camera: of one channel the left third of site 0 is saturated, and of site 1 all is;
    # of the other, site 1 is dead.
    path, function = _function(tmp_path)
    metadata, pixels = _dataset(tmp_path, [path, path], high=4000)
    pixels[0, 0, :, :8] = pixels[1, 0] = 4095
    pixels[1, 1] = 77
    for s, planes in enumerate(pixels):
        for file, plane in zip(metadata.paths(s), planes, strict=True):
            tifffile.imwrite(file, plane)
    statistics = dataset.plate_statistics(metadata)
    assert statistics["saturation"].iloc[0] == 4095
    corrected = [_by_pixel(planes[0], function, 0, 65535) for planes in pixels]
    expected = np.percentile(np.concatenate([one.ravel() for one in corrected]), (0.5, 99.9))
    np.testing.assert_allclose(statistics[["low", "high"]].iloc[0], expected)
    sites = dataset.SiteTiles(metadata, statistics, size=16)
    partly, wholly = sites[0], sites[1]
    assert partly["saturated"].tolist() == [8 / WIDTH, 0] and wholly["saturated"].tolist() == [1, 0]
    assert (partly["focus"] > 0).all() and wholly["focus"].tolist()[1] == 0
    assert wholly["signal"].tolist() == [0, 0]
    assert partly["mean"][0] == pytest.approx(corrected[0].mean())


def test_a_plate_is_measured_alike_with_a_function_of_ones(tmp_path):
    np.save(tmp_path / "ones.npy", np.ones((HEIGHT, WIDTH)))
    metadata, _ = _dataset(tmp_path, [str(tmp_path / "ones.npy")] * 2)
    plain = dataset.subset(metadata, [0, 1])
    plain.metadata = plain.metadata.drop(columns="illumination")
    pd.testing.assert_frame_equal(
        dataset.plate_statistics(metadata), dataset.plate_statistics(plain)
    )
    one, other = (
        dataset.SiteTiles(m, dataset.plate_statistics(m), size=16)[0] for m in (metadata, plain)
    )
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])
