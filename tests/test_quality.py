"""Measures of a field: objects counted where their number is known, sharpness, their columns."""

import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import gaussian_filter, label

from unidino import quality


def field(seed, nuclei, shape=(224, 280), gain=3000, offset=110):
    """Blurred discs that do not touch, an illumination gradient, noise."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    image = np.zeros(shape)
    centres = []
    while len(centres) < nuclei:
        centre = rng.uniform(10, np.array(shape) - 10)
        if all(np.hypot(*(centre - other)) > 24 for other in centres):
            centres.append(centre)
            image[np.hypot(rows - centre[0], columns - centre[1]) < 8] = rng.uniform(0.7, 1.3)
    image = gaussian_filter(image, 1) * gain * (1 - 0.3 * columns / shape[1]) + offset
    return rng.poisson(image).astype(np.uint16)


@pytest.mark.parametrize("seed", range(5))
def test_nuclei_are_counted(seed):
    nuclei = 5 + 7 * seed
    assert quality.count_objects(field(seed, nuclei)) == nuclei


def test_debris_does_not_count():
    image = field(0, 9)
    image[3:6, 3:6] = image.max()
    assert quality.count_objects(image) == 9


def test_scale_and_offset_of_the_camera_do_not_matter():
    image = field(1, 12).astype(float)
    assert quality.count_objects(image / 65535) == quality.count_objects(image * 3 + 50) == 12


def test_a_constant_field_has_no_nuclei():
    assert quality.count_objects(np.full((50, 60), 7.0)) == 0


def test_otsu_stands_between_two_peaks():
    rng = np.random.default_rng(0)
    values = np.r_[rng.normal(10, 1, 9000), rng.normal(50, 2, 1000)]
    assert 20 < quality.otsu_threshold(values) < 40


def naive_otsu(values, bins):
    counts, edges = np.histogram(values, bins)
    centres = (edges[:-1] + edges[1:]) / 2
    best = {}
    for k in range(1, bins):
        parts = [(counts[:k], centres[:k]), (counts[k:], centres[k:])]
        sizes = [part.sum() for part, _ in parts]
        if min(sizes):
            means = [
                (part * at).sum() / size for (part, at), size in zip(parts, sizes, strict=True)
            ]
            best[edges[k]] = sizes[0] * sizes[1] * (means[0] - means[1]) ** 2
    return max(best, key=best.get)


@pytest.mark.parametrize("seed", range(3))
def test_otsu_equals_the_loop(seed):
    values = np.random.default_rng(seed).gamma(2, 1, 5000)
    assert quality.otsu_threshold(values, 64) == pytest.approx(naive_otsu(values, 64))


def naive_count(plane, threshold):
    """Objects by flood fill on the smoothed plane, four neighbours a pixel."""
    above = gaussian_filter(plane.astype(np.float32), quality.SMOOTHING) > threshold
    seen, count = np.zeros(plane.shape, bool), 0
    for start in zip(*np.nonzero(above), strict=True):
        area, waiting = 0, [start]
        while waiting:
            y, x = waiting.pop()
            inside = 0 <= y < plane.shape[0] and 0 <= x < plane.shape[1]
            if inside and above[y, x] and not seen[y, x]:
                seen[y, x] = True
                area += 1
                waiting += [(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)]
        count += area >= quality.LEAST_AREA
    return count


@pytest.mark.parametrize("seed", range(3))
def test_objects_equal_the_flood_fill(seed):
    rng = np.random.default_rng(seed)
    plane = gaussian_filter(rng.normal(size=(90, 120)), 3) * 1000
    smooth = gaussian_filter(plane.astype(np.float32), quality.SMOOTHING)
    threshold = max(quality.otsu_threshold(smooth), 60.0)
    assert quality.count_objects(plane, 60.0) == naive_count(plane, threshold) > 0


def test_noise_is_no_object_once_the_background_is_known():
    rng = np.random.default_rng(0)
    noise = rng.poisson(110, (224, 280))
    assert quality.count_objects(noise) > 10
    assert quality.count_objects(noise, 110 + 5 * np.sqrt(110)) == 0
    assert quality.count_objects(field(2, 11), 110 + 5 * np.sqrt(110)) == 11


@pytest.mark.parametrize("side", [1400, 2161])
def test_large_fields_are_counted_on_fewer_pixels(side):
    """A grid of discs as large as nuclei are at that sampling, some of the largest debris."""
    plane = np.full((side, side + 37), 100.0)
    rows, columns = np.mgrid[-25:26, -25:26]
    disc = np.hypot(rows, columns) < 20
    for y in range(50, side - 50, 160):
        for x in range(50, side - 50, 160):
            plane[y - 25 : y + 26, x - 25 : x + 26][disc] = 900
            plane[y + 50 : y + 53, x + 50 : x + 53] = 900
    plane = np.random.default_rng(0).poisson(plane)
    assert quality.count_objects(plane) == len(range(50, side - 50, 160)) ** 2


def plain_measures(plane, background, saturation):
    """All at once, as 64-bit floats."""
    plane = plane.astype(np.float64)
    laplacian = 4 * plane[1:-1, 1:-1] - plane[:-2, 1:-1] - plane[2:, 1:-1]
    laplacian -= plane[1:-1, :-2] + plane[1:-1, 2:]
    return {
        "mean": plane.mean(),
        "saturated": (plane >= saturation).mean(),
        "focus": laplacian.var() / plane.var(),
        "signal": (plane > background).mean(),
    }


@pytest.mark.parametrize("blur", [0, 4])
@pytest.mark.parametrize("shape", [(3, 3), (64, 41), (65, 90), (66, 3), (67, 80), (300, 211)])
@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "u4", "i8", "f2", "f4", "f8"])
def test_measures_of_a_channel_equal_the_plain_way(dtype, shape, blur):
    rng = np.random.default_rng(shape[0])
    plane = gaussian_filter(rng.normal(size=shape), blur)
    plane -= plane.mean()
    # A stripe as wide as a band, far from the mean of the rest.
    plane = 100 + 30 * plane / np.abs(plane).max() + 120 * (np.arange(shape[0]) < 64)[:, None]
    plane = (plane * {"u2": 250, "u4": 9000}.get(dtype, 1)).astype(dtype)
    background, saturation = np.percentile(plane, 60) + 0.25, float(np.percentile(plane, 90))
    measured = quality.channel_measures(plane, background, saturation)
    expected = plain_measures(plane, background, saturation)
    assert tuple(measured) == quality.CHANNEL_MEASURES
    assert measured["mean"] == pytest.approx(expected["mean"], rel=1e-9)
    assert measured["focus"] == pytest.approx(expected["focus"], rel=1e-5)
    assert measured["focus"] == quality.focus(plane)
    assert measured["signal"] == expected["signal"] == quality.signal(plane, background)
    assert measured["saturated"] == expected["saturated"] > 0
    assert quality.channel_measures(plane, background, np.nan)["saturated"] == 0


@pytest.mark.parametrize("value", [0, 7, 65535])
def test_measures_of_a_constant_channel(value):
    measured = quality.channel_measures(np.full((130, 70), value, np.uint16), 5, 65535)
    assert measured == {"mean": value, "saturated": value == 65535, "focus": 0, "signal": 0}


def test_focus_without_curvature_or_contrast_is_0():
    ramp = np.add.outer(3 * np.arange(150), 5 * np.arange(90)).astype(np.uint16)
    assert quality.focus(ramp) == 0
    assert quality.focus(ramp[:2]) == quality.focus(ramp[:, :2]) == 0
    assert quality.focus(np.random.default_rng(0).random((20, 20)) * 1e-30) == 0


def plain_count(plane, least):
    """`count_objects` by NumPy's histogram of means over blocks."""
    step = max(1, min(plane.shape) // 500)
    height, width = (side // step * step for side in plane.shape)
    blocks = plane[:height, :width].reshape(height // step, step, width // step, step)
    smooth = gaussian_filter(blocks.mean((1, 3)).astype(np.float32), quality.SMOOTHING / step)
    counts, edges = np.histogram(smooth, 256)
    between = np.zeros(256)
    centres = (edges[:-1] + edges[1:]) / 2
    for k in range(1, 256):
        below, above = counts[:k].sum(), counts[k:].sum()
        distance = np.average(centres[:k], weights=counts[:k])
        distance -= np.average(centres[k:], weights=counts[k:])
        between[k] = below * above * distance**2
    best = np.flatnonzero(between >= between.max() * (1 - 1e-9))
    objects, _ = label(smooth > max((edges[best[0]] + edges[best[-1]]) / 2, least))
    return (np.bincount(objects.ravel())[1:] >= quality.LEAST_AREA / step**2).sum()


@pytest.mark.parametrize("dtype", ["u1", "u2", "i4", "f4", "f8"])
@pytest.mark.parametrize("shape", [(90, 120), (1003, 1101), (1520, 1507)])
def test_objects_are_counted_as_by_the_plain_histogram(shape, dtype):
    rng = np.random.default_rng(shape[0])
    coarse = rng.normal(size=[side // 12 + 1 for side in shape])
    plane = np.kron(coarse, np.ones((12, 12)))[: shape[0], : shape[1]]
    plane = (120 + 30 * np.tanh(plane) + 9 * rng.normal(size=shape)).astype(dtype)
    assert quality.count_objects(plane) == plain_count(plane, -np.inf) > 0
    assert quality.count_objects(plane, 139.5) == plain_count(plane, 139.5)


def test_focus_falls_with_blur_and_ignores_scale():
    plane = field(3, 12).astype(np.float32)
    sharp = quality.focus(plane)
    assert quality.focus(gaussian_filter(plane, 2)) < 0.3 * sharp
    assert quality.focus(3 * plane + 50) == pytest.approx(sharp, rel=1e-3)
    assert quality.focus(np.ones((5, 5), np.float32)) == 0
    assert quality.focus(np.full((301, 299), 0.1, np.float32)) == 0


def test_signal_is_the_share_above_the_background_but_none_where_constant():
    plane = np.arange(100.0).reshape(10, 10)
    assert quality.signal(plane, 74) == 0.25
    assert quality.signal(np.full((10, 10), 500.0), 74) == 0


def test_flat_channels_are_constant_or_at_the_limit():
    frame = pd.DataFrame(
        {
            "Metadata_mean_DNA": [5.0, 5, 5, np.nan],
            "Metadata_saturated_DNA": [0.0, 0.98, 0.995, np.nan],
            "Metadata_focus_DNA": [0.0, 0.1, 0.1, np.nan],
            "Metadata_signal_DNA": [0.0, 1, 1, np.nan],
        }
    )
    assert quality.flat(frame)["DNA"].tolist() == [True, False, True, False]
    assert quality.flat(frame.drop(columns="Metadata_mean_DNA")) == {}


def test_focus_of_white_noise():
    noise = np.random.default_rng(0).poisson(100, (300, 300)).astype(np.float32)
    assert quality.focus(noise) == pytest.approx(quality.NOISE_FOCUS, rel=0.02)


def test_columns_of_measures():
    frame = pd.DataFrame(
        {
            "Metadata_Well": ["A01"],
            "Metadata_tiles": [4.0],
            "Metadata_coverage": ["full"],
            "Metadata_mean_dose": [0.1],
            "Metadata_focus_DNA": [0.2],
            "Metadata_mean_DNA": [110.0],
            "Metadata_saturated_DNA": [0.0],
            "Metadata_signal_DNA": [0.4],
            "emb_DNA_0000": [0.3],
        }
    )
    assert quality.columns(frame) == [
        "Metadata_tiles",
        "Metadata_focus_DNA",
        "Metadata_mean_DNA",
        "Metadata_saturated_DNA",
        "Metadata_signal_DNA",
    ]
