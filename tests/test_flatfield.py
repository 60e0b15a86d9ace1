"""Illumination functions estimated from images: known answers and slow twins."""

import numpy as np
import pytest

from unidino import flatfield


def _by_block(plane):
    """The slow twin of `block_sums`: block after block."""
    height, width = plane.shape
    rows, columns = flatfield.grid(height, width)
    y, x = flatfield.edges(height, rows), flatfield.edges(width, columns)
    return np.array(
        [
            [sum(map(int, plane[y[r] : y[r + 1], x[c] : x[c + 1]].ravel())) for c in range(columns)]
            for r in range(rows)
        ]
    )


@pytest.mark.parametrize("shape", [(7, 5), (120, 120), (130, 201)])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32"])
def test_sums_of_blocks_are_exact(shape, dtype):
    limits = np.iinfo(dtype)
    plane = np.random.default_rng(0).integers(limits.min, limits.max, shape, dtype)
    sums = flatfield.block_sums(plane)
    assert sums.dtype == np.int64
    np.testing.assert_array_equal(sums, _by_block(plane))
    np.testing.assert_allclose(flatfield.block_sums(plane.astype(float)), sums)
    height, width = (
        np.diff(flatfield.edges(*pair)) for pair in zip(shape, sums.shape, strict=True)
    )
    means = flatfield.block_means(sums * 3, 3, shape)
    np.testing.assert_allclose(means * height[:, None] * width, sums)


def _fitted(values, sigma):
    """The slow twin of `smoothed`: a weighted least-squares plane around every place."""
    rows, columns = np.indices(values.shape)
    made = np.empty(values.shape)
    reach = int(4 * sigma + 0.5)
    for (r, c), _ in np.ndenumerate(values):
        y, x = (rows - r).ravel(), (columns - c).ravel()
        near = (abs(y) <= reach) & (abs(x) <= reach)
        root = np.exp(-(y[near] ** 2 + x[near] ** 2) / (4 * sigma**2))
        design = np.stack([np.ones(near.sum()), y[near], x[near]], 1) * root[:, None]
        made[r, c] = np.linalg.lstsq(design, values.ravel()[near] * root, rcond=None)[0][0]
    return made


@pytest.mark.parametrize("shape", [(12, 12), (9, 17)])
@pytest.mark.parametrize("sigma", [1.0, 2.3])
def test_smoothing_fits_a_plane_around_every_place(shape, sigma):
    values = np.random.default_rng(1).random(shape)
    np.testing.assert_allclose(flatfield.smoothed(values, sigma), _fitted(values, sigma))


def test_a_tilted_field_is_not_changed():
    y, x = np.indices((40, 50))
    plane = 3 + 0.02 * y - 0.03 * x
    np.testing.assert_allclose(flatfield.smoothed(plane, 5), plane)


@pytest.mark.parametrize("shape", [(100, 100), (333, 480), (1, 9), (3, 3)])
def test_a_tilted_field_is_enlarged_as_it_is(shape):
    y, x = np.indices(shape)
    plane = 5 + 0.01 * y + 0.02 * x
    means = flatfield.block_means(flatfield.block_sums(plane), 1, shape)
    np.testing.assert_allclose(flatfield.enlarged(means, shape), plane)


def _light(shape):
    """A planted vignette: a paraboloid about a point beside the centre, 1 at its brightest."""
    y, x = (np.linspace(-1, 1, side) for side in shape)
    return 1 - 0.4 * ((y[:, None] - 0.1) ** 2 + (x + 0.2) ** 2) / 2


def _missed(steps, sigma):
    """What a line, fitted with Gaussian weights to the squares of the steps, has at 0."""
    weights = np.exp(-((steps / sigma) ** 2) / 2)
    m0, m1, m2, m3 = ((weights * steps**power).sum() for power in range(4))
    return (m2**2 - m1 * m3) / (m0 * m2 - m1**2)


@pytest.mark.parametrize("shape", [(200, 200), (200, 260)])
def test_a_planted_vignette_is_found_to_the_bias_of_local_lines(shape):
    # A paraboloid is the sum of two parabolas, a fitted plane the sum of two lines.
    light = _light(shape)
    means = flatfield.block_means(flatfield.block_sums(light), 1, shape)
    sigma = flatfield.WIDTH * 100
    squares = [(4 / (side - 1)) ** 2 for side in shape]  # of blocks of two pixels, in half sides

    reach = round(4 * sigma)

    def expected(place):
        near = [np.arange(-min(reach, place), min(reach, n - 1 - place) + 1) for n in means.shape]
        of_axes = (s * _missed(steps, sigma) for s, steps in zip(squares, near, strict=True))
        return -0.4 / 2 * sum(of_axes)

    within, at_corners, beside = map(expected, (50, 0, 1))
    error = flatfield.smoothed(means, sigma) - means
    assert error[50, 50] == pytest.approx(within)
    assert error[0, 0] == pytest.approx(at_corners) == error.max()
    assert error.min() > within - 1e-5
    # Beyond the centres of the outermost blocks lines continue by half a block; between centres
    # they miss no more than the square of a block.
    spread = at_corners + (at_corners - beside) / 2 - within + (4 / 199) ** 2
    found = flatfield.function(means * 5000, shape)
    assert found.min() == 1
    ratio = found / light
    assert np.ptp(ratio) / ratio.mean() < spread / light.min()


def test_noise_of_cells_falls_with_the_number_of_images():
    # Blocks of independent light: the variance of a local line is that of its weights' effective
    # number of blocks, computed from the response to a single block.
    rng = np.random.default_rng(2)
    single = np.zeros((100, 100))
    single[50, 50] = 1
    sigma = flatfield.WIDTH * 100
    expected = np.sqrt((flatfield.smoothed(single, sigma) ** 2).sum())
    errors = [flatfield.smoothed(rng.normal(0, 1, (100, 100)), sigma)[50, 50] for _ in range(60)]
    # Of 60 draws the standard deviation is itself known to 1 / sqrt(120) of it; four times that.
    assert np.std(errors) == pytest.approx(expected, rel=4 / np.sqrt(120))


def test_a_function_is_of_the_channel_that_varies():
    np.testing.assert_array_equal(flatfield.function(np.full((4, 4), 7.0), (4, 4)), 1)
    np.testing.assert_array_equal(flatfield.function(np.zeros((4, 4)), (4, 4)), 1)
    dark = np.ones((10, 10))
    dark[:, :3] = 0.01
    with pytest.raises(ValueError, match="at most 20 times the lowest is taken for uneven light"):
        flatfield.function(dark, (10, 10))


def test_functions_are_compared_whatever_their_scale():
    light = _light((20, 30))
    assert flatfield.difference(light, 3 * light) == pytest.approx(0)
    other = light * np.linspace(0.9, 1.1, 30)
    a, b = light / light.mean(), other / other.mean()
    expected = np.sqrt(sum((p - q) ** 2 for p, q in zip(a.ravel(), b.ravel(), strict=True)) / 600)
    assert flatfield.difference(light, other) == pytest.approx(expected)
