"""What an image is worth before any model sees it: sharpness, and objects of a nucleus's size."""

import numpy as np
import pandas as pd

SITE_MEASURES = ("tiles", "tiles_kept", "coverage", "foreground", "objects")
"""What is measured once a site: the columns ``Metadata_<measure>`` of its table."""

CHANNEL_MEASURES = ("mean", "saturated", "focus", "signal")
"""What is measured in each channel: the columns ``Metadata_<measure>_<channel>``; see `signal`."""

NOISE_FOCUS = 20.0
"""`focus` of white noise: the squares of the Laplacian's weights, 4 and four times 1, summed."""

SATURATED_SHARE = 0.99
"""A channel is saturated where more than this share of its pixels lies at the upper limit."""

SMOOTHING = 1.5
"""Width of the Gaussian that takes noise off before objects are told from background, pixels."""

LEAST_AREA = 30
"""Smaller objects are debris, pixels."""

# Larger fields are binned until their shorter side is below twice this: an object count need not
# cost more than reading the image.
_COUNTED_SIDE = 500

# Rows measured at a time: two buffers of so many rows, of 1000 32-bit floats each, fit the cache.
_BAND = 64


def channels(frame):
    """The channels whose measures a table holds, all of `CHANNEL_MEASURES`, in their order.

    A label that merely begins like a measure (``Metadata_mean_dose``) makes no channel.

    Parameters
    ----------
    frame : pd.DataFrame
        Sites or profiles, with ``Metadata_`` names.

    Returns
    -------
    list of str
    """
    first = f"Metadata_{CHANNEL_MEASURES[0]}_"
    named = [str(c).removeprefix(first) for c in frame.columns if str(c).startswith(first)]
    return [
        channel
        for channel in named
        if all(_numeric(frame, f"Metadata_{measure}_{channel}") for measure in CHANNEL_MEASURES)
    ]


def columns(frame):
    """The columns of a table that hold measures, in their order.

    Parameters
    ----------
    frame : pd.DataFrame
        Sites or profiles, with ``Metadata_`` names.

    Returns
    -------
    list of str
    """
    known = {f"Metadata_{m}" for m in SITE_MEASURES if _numeric(frame, f"Metadata_{m}")}
    known |= {f"Metadata_{m}_{c}" for c in channels(frame) for m in CHANNEL_MEASURES}
    return [column for column in frame.columns if column in known]


def _numeric(frame, column):
    return column in frame.columns and pd.api.types.is_numeric_dtype(frame[column])


def flat(frame):
    """Where a channel shows nothing but one value, or nothing but its upper limit.

    Parameters
    ----------
    frame : pd.DataFrame
        Sites or profiles, with ``Metadata_`` names; of a well all sites are flat.

    Returns
    -------
    dict
        {channel: (N,) bool}.
    """
    return {
        channel: (
            (frame[f"Metadata_focus_{channel}"] == 0)
            | (frame[f"Metadata_saturated_{channel}"] > SATURATED_SHARE)
        ).to_numpy(bool, copy=True)
        for channel in channels(frame)
    }


def channel_measures(plane, background, saturation):
    """`CHANNEL_MEASURES` of one channel of a site.

    Parameters
    ----------
    plane : numpy.ndarray
        (H, W), raw.
    background, saturation : float
        Of the channel's plate, see `intensity.channel_statistics`; best made by
        `intensity.comparable`, so that pixels are compared in their own type.

    Returns
    -------
    dict
        ``mean``; ``saturated``, the share of the pixels at the upper limit; `focus`; `signal`.
    """
    lowest, highest = plane.min(), plane.max()
    mean = plane.mean(dtype=np.float64)
    varies = highest > lowest
    return {
        "mean": float(mean),
        "saturated": _share(plane >= saturation) if highest >= saturation else 0.0,
        "focus": _sharpness(plane, mean) if varies else 0.0,
        "signal": _share(plane > background) if varies else 0.0,
    }


def _share(mask):
    # Counting takes a tenth of the time of the mean, and is as exact.
    return np.count_nonzero(mask) / mask.size


def signal(plane, threshold):
    """Share of the pixels above the background of that channel on the plate; 0 where constant.

    Parameters
    ----------
    plane : numpy.ndarray
        (H, W).
    threshold : float
        Of `intensity.background`.

    Returns
    -------
    float
    """
    return _share(plane > threshold) if plane.max() > plane.min() else 0.0


def focus(plane):
    """Sharpness of a channel: variance of its Laplacian over its variance; 0 where constant.

    Parameters
    ----------
    plane : numpy.ndarray
        (H, W).

    Returns
    -------
    float
        Near 0 for smooth images, 20 for white noise.
    """
    return _sharpness(plane, plane.mean(dtype=np.float64)) if plane.max() > plane.min() else 0.0


def _sharpness(plane, mean):
    """`focus` of a plane that varies, band after band of rows, without copies of the whole."""
    height, width = plane.shape
    if min(height, width) < 3:
        return 0.0
    # What is squared lies about 0, so that nothing cancels; integers stay exact. Summed over an
    # image, the Laplacian is what the steps from its border inwards sum to.
    borders = plane[[1, 0, -2, -1], 1:-1], plane[1:-1, [1, 0, -2, -1]].T
    steps = sum(np.dot([1, -1, 1, -1], border.sum(1, dtype=np.float64)) for border in borders)
    inside = (height - 2) * (width - 2)
    number = np.result_type(plane, np.float32).type
    shift = number(mean if plane.dtype.kind == "f" else np.rint(mean))
    band = np.empty((_BAND + 2) * width, np.float32)
    curved = np.empty(_BAND * width, np.float32)
    squares, curvatures = [], []
    for top in range(0, height - 2, _BAND):
        flat = band[: min(_BAND + 2, height - top) * width]
        rows = flat.reshape(-1, width)
        np.subtract(plane[top : top + len(rows)], shift, out=rows, casting="same_kind")
        # The next band begins with the last two rows of this one.
        own = rows if top + len(rows) == height else rows[:-2]
        squares.append(np.vecdot(own, own))
        # Rows end to end are faster than row by row. What the end of one and the beginning of the
        # next make together is left out of what is squared.
        count = flat.size - 2 * width - 2
        laplacian = np.multiply(flat[width + 1 :][:count], 4, out=curved[:count])
        for start in (1, width, width + 2, 2 * width + 1):
            np.subtract(laplacian, flat[start : start + count], out=laplacian)
        laplacian -= np.float32(steps / inside)
        inner = curved[: count + 2].reshape(-1, width)[:, :-2]
        curvatures.append(np.vecdot(inner, inner))
    variance = _mean_of(squares, plane.size) - (mean - float(shift)) ** 2
    if variance <= 0:  # the squares of its differences are 0 in 32 bits
        return 0.0
    return _mean_of(curvatures, inside) / variance


def _mean_of(parts, count):
    """Sum of the rows' sums in all bands, over the number of pixels."""
    return float(np.concatenate(parts).sum(dtype=np.float64)) / count


def otsu_threshold(values, bins=256):
    """The value that splits a histogram into the two parts that differ most.

    Parameters
    ----------
    values : numpy.ndarray
    bins : int

    Returns
    -------
    float

    Source: Otsu 1979 (doi 10.1109/TSMC.1979.4310076).
    """
    counts, edges = _histogram(np.asarray(values), bins)
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    sums = np.cumsum(counts * centres)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    between[~np.isfinite(between)] = 0
    # Between two far-apart peaks every split is equally good: take the middle.
    best = np.flatnonzero(between >= between.max() * (1 - 1e-9))
    return float((edges[best[0] + 1] + edges[best[-1] + 1]) / 2)


def _histogram(values, bins):
    """`numpy.histogram` in half the time: a value within rounding of an edge goes either way."""
    low, high = values.min(), values.max()
    kind = np.result_type(values, np.float32)
    if low == high:
        return np.histogram(values, bins)
    scaled = np.subtract(values, low, dtype=kind).ravel()
    scaled /= kind.type(high) - kind.type(low)
    scaled *= bins
    places = np.minimum(scaled.astype(np.intp), bins - 1)
    return np.bincount(places, minlength=bins), np.linspace(low, high, bins + 1, dtype=kind)


def count_objects(plane, least=-np.inf):
    """Number of bright objects in a field: nuclei in a DNA stain, touching ones as one.

    Parameters
    ----------
    plane : numpy.ndarray
        (H, W), any unit.
    least : float
        Objects are brighter than this, too: in a field without cells the best split is one of
        noise, which only a background known from other fields of the plate tells.

    Returns
    -------
    int
    """
    step = max(1, min(plane.shape) // _COUNTED_SIDE)
    plane = _binned(plane, step)
    # Only objects need scipy, which doubles the time that reading a table's module takes.
    from scipy.ndimage import gaussian_filter, label

    smooth = gaussian_filter(plane, SMOOTHING / step)
    objects, _ = label(smooth > max(otsu_threshold(smooth), least))
    areas = np.bincount(objects.ravel())[1:]
    return int((areas >= LEAST_AREA / step**2).sum())


def _binned(plane, step):
    """Means of squares of `step` pixels, 32-bit floats; what remains at the border is left out."""
    height, width = (side // step * step for side in plane.shape)
    rows = plane[:height:step, :width].astype(np.float32)
    for y in range(1, step):
        rows += plane[y:height:step, :width]
    return sum(rows[:, x::step] for x in range(step)) / step**2
