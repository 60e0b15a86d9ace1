"""An illumination function from the images of a plate: their mean, smoothed.

Averaged over many fields, cells lie everywhere alike, and what is left is the light. The images
are averaged without regard to what they show, as CellProfiler does it with "Regular" and "All". The
mean is smoothed by local lines, which follow the light to the edges of the field, where a running
mean or median flattens it.
"""

import numpy as np
from scipy.ndimage import correlate1d

BLOCKS = 100
"""Blocks along the shorter side of an image, of which the means are smoothed."""

WIDTH = 1 / 10
"""Standard deviation of the Gaussian weights of the local lines, in shorter sides."""

LARGEST_RANGE = 20.0
"""Light does not fall further: a function whose highest value is more times its lowest is refused.
"""

_REACH = 4


def edges(side, blocks):
    """Where the blocks of a side begin, and where the last ends: (blocks + 1,) integers."""
    return np.linspace(0, side, blocks + 1).astype(int)


def grid(height, width):
    """Blocks along the height and the width of an image: `BLOCKS` on the shorter, nearly square."""
    shorter = min(height, width)
    blocks = min(BLOCKS, shorter)
    return tuple(max(1, round(side * blocks / shorter)) for side in (height, width))


def block_sums(plane):
    """Sums of the pixels of each block of a plane.

    Parameters
    ----------
    plane : numpy.ndarray
        (H, W).

    Returns
    -------
    numpy.ndarray
        (rows, columns) of `grid`: 64-bit integers of integers of up to 32 bits, which are exact on
        every machine; else 64-bit floats.
    """
    exact = plane.dtype.kind in "ui" and plane.dtype.itemsize <= 4
    sums = plane
    for axis, (side, blocks) in enumerate(zip(plane.shape, grid(*plane.shape), strict=True)):
        starts = edges(side, blocks)[:-1]
        sums = np.add.reduceat(sums, starts, axis=axis, dtype=np.int64 if exact else np.float64)
    return sums


def block_means(sums, count, shape):
    """Mean intensity of each block, of the sums of `count` images of a shape (H, W)."""
    height, width = (
        np.diff(edges(side, blocks)) for side, blocks in zip(shape, sums.shape, strict=True)
    )
    return sums / (count * np.outer(height, width))


def smoothed(values, sigma):
    """A field, smoothed: at every place the value of the plane that fits around it best.

    Local linear regression with Gaussian weights (Source: Fan and Gijbels, Local Polynomial
    Modelling and Its Applications, 1996). A plane comes out as it is, up to the edges.

    Parameters
    ----------
    values : numpy.ndarray
        (rows, columns).
    sigma : float
        Standard deviation of the weights, in places.

    Returns
    -------
    numpy.ndarray
        Same shape, 64-bit floats.
    """
    steps = np.arange(-int(_REACH * sigma + 0.5), int(_REACH * sigma + 0.5) + 1)
    weights = np.exp(-((steps / sigma) ** 2) / 2)

    def moment(field, down, across):
        field = correlate1d(field, weights * (steps / sigma) ** down, axis=0, mode="constant")
        return correlate1d(field, weights * (steps / sigma) ** across, axis=1, mode="constant")

    values = np.asarray(values, np.float64)
    one = np.ones_like(values)
    n, y, x = moment(one, 0, 0), moment(one, 1, 0), moment(one, 0, 1)
    yy, xy, xx = moment(one, 2, 0), moment(one, 1, 1), moment(one, 0, 2)
    v, vy, vx = moment(values, 0, 0), moment(values, 1, 0), moment(values, 0, 1)
    # Cramer's rule, element by element: libraries of linear algebra round as the machine has it.
    a, b, c = yy * xx - xy * xy, xy * x - y * xx, y * xy - yy * x
    return (v * a + vy * b + vx * c) / (n * a + y * b + x * c)


def enlarged(values, shape):
    """A field of blocks at every pixel: lines between their centres, continued to the edges.

    Parameters
    ----------
    values : numpy.ndarray
        (rows, columns), of `grid`.
    shape : (int, int)
        H, W.

    Returns
    -------
    numpy.ndarray
        (H, W).
    """
    for axis, side in enumerate(shape):
        blocks = values.shape[axis]
        if blocks == 1:
            values = np.repeat(values, side, axis)
            continue
        bounds = edges(side, blocks)
        centres = (bounds[:-1] + bounds[1:] - 1) / 2
        pixels = np.arange(side)
        left = np.clip(np.searchsorted(centres, pixels, "right") - 1, 0, blocks - 2)
        share = (pixels - centres[left]) / (centres[left + 1] - centres[left])
        share = share[:, None] if axis == 0 else share
        low, high = np.take(values, left, axis), np.take(values, left + 1, axis)
        values = low * (1 - share) + high * share
    return values


def function(means, shape):
    """The illumination function that the mean intensities of blocks tell.

    Parameters
    ----------
    means : numpy.ndarray
        (rows, columns), from `block_means`.
    shape : (int, int)
        H, W of the images.

    Returns
    -------
    numpy.ndarray
        (H, W) float32, 1 where it is lowest, so that no pixel grows and none is clipped. Of a
        channel that is the same everywhere it is 1.

    Raises
    ------
    ValueError
        The mean varies by more than `LARGEST_RANGE` across the field, or is below 0.
    """
    light = smoothed(means, WIDTH * min(means.shape))
    light = enlarged(light, shape)
    lowest, highest = light.min(), light.max()
    if highest == lowest:
        return np.ones(shape, np.float32)
    if lowest * LARGEST_RANGE < highest:
        raise ValueError(
            f"the smoothed mean of the images lies between {lowest:.4g} and {highest:.4g}, "
            f"and at most {LARGEST_RANGE:g} times the lowest is taken for uneven light"
        )
    return (light / lowest).astype(np.float32)


def difference(one, other):
    """Root mean square of the relative difference of two functions, each scaled to mean 1."""
    one, other = (np.asarray(f, np.float64) for f in (one, other))
    return float(np.sqrt(np.mean((one / one.mean() - other / other.mean()) ** 2)))
