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
    return float((plane > threshold).mean()) if plane.max() > plane.min() else 0.0


def focus(plane):
    """Sharpness of a channel: variance of its Laplacian over its variance; 0 where constant.

    Parameters
    ----------
    plane : numpy.ndarray
        (H, W) float32.

    Returns
    -------
    float
        Near 0 for smooth images, 20 for white noise.
    """
    variance = float(plane.var())
    # The variance of a constant is not 0 where its mean is rounded.
    if not variance or plane.max() == plane.min() or min(plane.shape) < 3:
        return 0.0
    laplacian = 4 * plane[1:-1, 1:-1]
    laplacian -= plane[:-2, 1:-1]
    laplacian -= plane[2:, 1:-1]
    laplacian -= plane[1:-1, :-2]
    laplacian -= plane[1:-1, 2:]
    return float(laplacian.var()) / variance


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
    counts, edges = np.histogram(values, bins)
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
    plane = _binned(np.asarray(plane, np.float32), step)
    # Only objects need scipy, which doubles the time that reading a table's module takes.
    from scipy.ndimage import gaussian_filter, label

    smooth = gaussian_filter(plane, SMOOTHING / step)
    objects, _ = label(smooth > max(otsu_threshold(smooth), least))
    areas = np.bincount(objects.ravel())[1:]
    return int((areas >= LEAST_AREA / step**2).sum())


def _binned(plane, step):
    """Means of squares of `step` pixels; what remains at the border is left out."""
    height, width = (side // step * step for side in plane.shape)
    shifts = [(y, x) for y in range(step) for x in range(step)]
    return sum(plane[y:height:step, x:width:step] for y, x in shifts) / step**2
