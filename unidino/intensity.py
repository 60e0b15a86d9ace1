"""Raw intensities: how they scale to [0, 1], and where the background of a plate lies."""

import math

import numpy as np

METHODS = ("dtype", "plate", "image")
"""By the range of the file's type, as published; by percentiles of the plate and channel; or by
percentiles of the image, which erases intensity phenotypes and is never a default."""

PERCENTILES = (0.5, 99.9)
"""Raw intensities that become 0 and 1 with the scalings "plate" and "image"."""

_PIXELS_A_SITE = 60_000
_BLOCK = 16
# Foreground lies above the background by this many standard deviations of the camera's noise, and
# by this share of the plate's range, which allows for uneven illumination.
_NOISE_SIGMAS = 5
_RANGE_SHARE = 0.02
# Largest values of 10-, 12- and 14-bit cameras, right- and left-aligned in 16 bits.
_CAMERA_MAXIMA = (1023, 4095, 16383, 1023 * 64, 4095 * 16, 16383 * 4)


def dtype_limits(dtype, intensity_range=None):
    """Raw intensities that become 0 and 1 by the type of the file.

    Parameters
    ----------
    dtype : numpy.dtype
    intensity_range : (low, high), optional
        Replaces the type's range; needed for signed and 32-bit integers.

    Returns
    -------
    (float, float)

    Raises
    ------
    ValueError
        A type without a natural range, or a range that is not low < high.
    """
    if intensity_range is not None:
        if len(intensity_range) != 2 or not intensity_range[0] < intensity_range[1]:
            raise ValueError(
                f"intensity_range is {list(intensity_range)}; expected [low, high] with low below "
                "high."
            )
        return float(intensity_range[0]), float(intensity_range[1])
    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        return 0.0, 1.0
    if dtype in (np.uint8, np.uint16):
        return 0.0, float(np.iinfo(dtype).max)
    raise ValueError(
        f"images of type {dtype} have no natural range: give intensity_range=[low, high], the raw "
        "values that become 0 and 1."
    )


def check_float_range(image, source):
    """Stop on float images outside [0, 1], which `dtype_limits` takes them to be in.

    Raises
    ------
    ValueError
        Names the source and the range found.
    """
    if np.issubdtype(image.dtype, np.floating):
        low, high = float(np.nanmin(image)), float(np.nanmax(image))
        if low < 0 or high > 1 or not np.isfinite(image).all():
            raise ValueError(
                f"{source}: float values from {low:g} to {high:g}, expected 0 to 1: give "
                "intensity_range=[low, high], or the intensity scaling 'plate'."
            )


def scale(raw, low, high):
    """Raw intensities to [0, 1], clipped, on any device.

    Parameters
    ----------
    raw : torch.Tensor
        (..., C, H, W), any type.
    low, high : sequence of float
        One a channel, or one for all.

    Returns
    -------
    torch.Tensor
        float32.
    """
    # Limits and methods are wanted without torch, which takes seconds to load.
    import torch

    low, high = (
        torch.as_tensor(np.asarray(limit, np.float32), device=raw.device).reshape(-1, 1, 1)
        for limit in (low, high)
    )
    return ((raw.float() - low) / (high - low)).clamp_(0, 1)


def comparable(thresholds, dtype):
    """Thresholds with which pixels of a type can be compared without converting them.

    Parameters
    ----------
    thresholds : sequence of float
    dtype : numpy.dtype
        Of the pixels.

    Returns
    -------
    list
        For integers of up to 32 bits the whole numbers at or below, which the same pixels exceed;
        else of 64 bits, for pixels are taken to these and not the threshold to theirs.
    """
    dtype = np.dtype(dtype)
    if dtype.kind == "f" or dtype.itemsize > 4:
        return list(np.asarray(thresholds, np.float64))
    return [math.floor(value) if math.isfinite(value) else value for value in thresholds]


def image_limits(image):
    """(low, high) of each channel of one image, (C,) arrays."""
    low, high = np.percentile(image.reshape(len(image), -1), PERCENTILES, axis=1)
    return low, _above(low, high, image.dtype)


def site_limits(item, statistics, method, intensity_range=None):
    """The raw intensities that become 0 and 1 in one site.

    Parameters
    ----------
    item : dict
        From `dataset.SiteTiles`.
    statistics : pd.DataFrame
        From `dataset.plate_statistics`: the plate's rows, in the order of the channels.
    method : {"dtype", "plate", "image"}
    intensity_range : (low, high), optional
        With "dtype".
    """
    if method == "plate":
        return statistics["low"].to_numpy(), statistics["high"].to_numpy()
    if method == "image":
        return item["low"], item["high"]
    return dtype_limits(item["dtype"], intensity_range)


def _above(low, high, dtype):
    """`high`, kept above `low` where an image is constant."""
    step = 1e-6 if np.issubdtype(dtype, np.floating) else 1
    return np.maximum(high, low + step)


def _blocks(plane):
    """Means of blocks, and mean absolute differences of neighbours inside them."""
    height, width = (side // _BLOCK * _BLOCK for side in plane.shape)
    if not height or not width:
        steps = np.abs(np.diff(plane, axis=-1))
        return np.array([plane.mean()]), np.array([steps.mean() if steps.size else 0.0])
    plane = plane[:height, :width]
    shape = (height // _BLOCK, _BLOCK, width // _BLOCK, _BLOCK)
    blocks = plane.reshape(shape).transpose(0, 2, 1, 3)
    means = blocks.mean((2, 3)).ravel()
    steps = np.abs(np.diff(blocks, axis=3)).mean((2, 3)).ravel()
    return means, steps


def background(planes, high):
    """Background level and the threshold above which a pixel is foreground.

    The background is the mean of the darkest blocks, so that it is found wherever one field in a
    hundred shows some, and lies below the cells of confluent fields that show none; the noise is
    that of neighbouring pixels in dark blocks.

    Parameters
    ----------
    planes : list of numpy.ndarray
        (H, W) float32 images of one channel.
    high : float
        Upper end of the channel's range.

    Returns
    -------
    (float, float)
        Background and threshold, in raw units.
    """
    parts = [_blocks(plane) for plane in planes]
    means, steps = (np.concatenate(values) for values in zip(*parts, strict=True))
    level = float(np.percentile(means, 1))
    dark = means <= np.percentile(means, 5)
    # Differences of two normal values have mean absolute value 2 sigma / sqrt(pi).
    noise = float(steps[dark].mean()) * np.sqrt(np.pi) / 2
    return level, level + max(_NOISE_SIGMAS * noise, _RANGE_SHARE * max(high - level, 0))


def channel_statistics(planes, top=None):
    """Range, background and saturation of one channel of a plate.

    Parameters
    ----------
    planes : list of numpy.ndarray
        (H, W) raw images of one type.
    top : float, optional
        The highest value that their files hold, where the images were corrected since.

    Returns
    -------
    dict
        ``low`` and ``high`` (percentiles 0.5 and 99.9 of the pooled pixels), ``background`` and
        ``threshold`` (see `background`) and ``saturation``, in raw units; not a number where there
        are no images, the last also where floats exceed 1, for these have no upper limit.
    """
    if not planes:
        return dict.fromkeys(("low", "high", "background", "threshold", "saturation"), np.nan)
    dtype = planes[0].dtype
    planes = [np.ascontiguousarray(plane, np.float32) for plane in planes]
    pixels = np.concatenate(
        [plane.ravel()[:: max(1, plane.size // _PIXELS_A_SITE)] for plane in planes]
    )
    low, high = np.percentile(pixels, PERCENTILES)
    high = _above(low, high, dtype)
    level, threshold = background(planes, high)
    if top is None:
        top = float(max(plane.max() for plane in planes))
    if dtype == np.uint16 and top in _CAMERA_MAXIMA:
        saturation = top
    elif dtype.kind == "f":
        saturation = 1.0 if top <= 1 else np.nan  # counts stored as floats have no limit of a type
    else:
        saturation = float(np.iinfo(dtype).max)
    return {
        "low": float(low),
        "high": float(high),
        "background": level,
        "threshold": threshold,
        "saturation": saturation,
    }
