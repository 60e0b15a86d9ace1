"""Image files in: (channels, height, width) in the file's own type, nothing guessed silently."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

TIFF_SUFFIXES = (".tif", ".tiff")
SUFFIXES = (*TIFF_SUFFIXES, ".png", ".jpg", ".jpeg", ".npy")
CHANNEL_AXES = ("first", "last")

# Axis letters of tifffile that can hold channels: named channels, samples, pages of unknown
# meaning. Depth and time cannot.
_CHANNEL_LETTERS = "CSQI"


@dataclass(frozen=True)
class ImageHeader:
    """What a file says about its image without decoding it."""

    channels: int
    height: int
    width: int
    dtype: np.dtype


def _refuse(path, reason):
    raise ValueError(f"{path}: {reason}")


def _layout(path, shape, axes, channel_axis):
    """How to turn an array of `shape` into (C, H, W): (axes to drop, position of the channels).

    Parameters
    ----------
    axes : str
        A letter an axis, as tifffile names them; Y and X are height and width.
    channel_axis : {"first", "last", None}
        Decides where the file does not; a file that names its channels is believed.
    """
    kept = [i for i, n in enumerate(shape) if n > 1 or axes[i] in "YX"]
    dropped = tuple(i for i in range(len(shape)) if i not in kept)
    letters = "".join(axes[i] for i in kept)
    sizes = [shape[i] for i in kept]
    others = [letter for letter in letters if letter not in "YX"]
    if not others and len(letters) == 2:
        return dropped, None
    if len(letters) != 3:
        _refuse(
            path,
            f"has axes {axes} of sizes {tuple(shape)}; expected height, width and at most one axis "
            "of channels. Save one plane of depth and time a file.",
        )
    if others[0] not in _CHANNEL_LETTERS:
        what = {"Z": "depth", "T": "time"}.get(others[0], others[0])
        _refuse(
            path,
            f"has {sizes[letters.index(others[0])]} planes of {what} (axes {axes}), which are not "
            "channels. Save one plane or a projection a file.",
        )
    position = letters.index(others[0])
    unnamed = others[0] in "QI"
    if unnamed and channel_axis == "last" and position == 0:
        return dropped, 2
    return dropped, position


def _tiff_axes(path, file, channel_axis):
    """(axes to drop, position of the channels, sizes, series to stack) of an open TIFF."""
    series = file.series
    planes = {(one.shape, one.axes, one.dtype) for one in series}
    if len(series) > 1 and len(planes) == 1 and series[0].axes == "YX":
        # Pages that were written one by one: equal planes are the channels.
        return (), 0, [len(series), *series[0].shape], series
    dropped, position = _layout(path, series[0].shape, series[0].axes, channel_axis)
    sizes = [n for i, n in enumerate(series[0].shape) if i not in dropped]
    return dropped, position, sizes, None


def _header(sizes, position, dtype):
    channels = 1 if position is None else sizes[position]
    height, width = (n for i, n in enumerate(sizes) if i != position)
    return ImageHeader(channels, height, width, np.dtype(dtype))


def _open(path):
    """(kind, opener) by the file's ending; stops on others and on absent files."""
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        _refuse(path, f"is of no kind read here; expected {', '.join(SUFFIXES)}.")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such image.")
    return path, suffix


def _npy(path, channel_axis):
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    if array.ndim == 2:
        return array, None
    if array.ndim != 3:
        _refuse(path, f"is an array of shape {array.shape}; expected two or three axes.")
    if channel_axis is None:
        _refuse(
            path,
            f"is an array of shape {array.shape} that does not say which axis holds the channels: "
            "set channel_axis to 'first' or 'last'.",
        )
    return array, 0 if channel_axis == "first" else 2


_PIL_TYPES = {"1": np.bool_, "L": np.uint8, "RGB": np.uint8, "I;16": np.uint16, "F": np.float32}


def _pil_type(path, image):
    if image.mode not in _PIL_TYPES:
        _refuse(
            path,
            f"has colour mode {image.mode}, which is neither grey nor RGB. Save it as grey "
            "values, or each channel as a file.",
        )
    return np.dtype(_PIL_TYPES[image.mode])


def image_header(path, channel_axis=None):
    """Channels, size and type of an image, without decoding its pixels.

    Parameters
    ----------
    path : str or Path
    channel_axis : {"first", "last"}, optional
        For files that do not say where their channels are.

    Returns
    -------
    ImageHeader

    Raises
    ------
    FileNotFoundError, ValueError
        Absent, unreadable or of a layout that is not one image of channels; names the file.
    """
    path, suffix = _open(path)
    try:
        if suffix in TIFF_SUFFIXES:
            with tifffile.TiffFile(path) as file:
                _, position, sizes, _ = _tiff_axes(path, file, channel_axis)
                return _header(sizes, position, file.series[0].dtype)
        if suffix == ".npy":
            array, position = _npy(path, channel_axis)
            return _header(list(array.shape), position, array.dtype)
        with Image.open(path) as image:
            dtype = _pil_type(path, image)
            return ImageHeader(len(image.getbands()), image.height, image.width, dtype)
    except (ValueError, FileNotFoundError) as error:
        if str(error).startswith(f"{path}:"):
            raise
        raise ValueError(f"{path}: not a readable image ({error}).") from None
    except Exception as error:  # damaged files fail in any way in the decoders
        raise ValueError(f"{path}: not a readable image ({error}).") from None


def read_image(path, channel_axis=None):
    """An image as channels, height, width.

    TIFF (OME, ImageJ, BigTIFF; paged, planar or interleaved; tiled; compressed), PNG, JPEG, NPY.
    A TIFF's named channels, pages and samples are its channels; RGB files have three.

    Parameters
    ----------
    path : str or Path
    channel_axis : {"first", "last"}, optional
        For files that do not say where their channels are.

    Returns
    -------
    numpy.ndarray
        (C, H, W), C-contiguous, in the file's own type.

    Raises
    ------
    FileNotFoundError, ValueError
        As `image_header`.
    """
    path, suffix = _open(path)
    try:
        if suffix in TIFF_SUFFIXES:
            with tifffile.TiffFile(path) as file:
                dropped, position, _, planes = _tiff_axes(path, file, channel_axis)
                if planes is None:
                    array = file.series[0].asarray().squeeze(dropped)
                else:
                    array = np.stack([plane.asarray() for plane in planes])
        elif suffix == ".npy":
            array, position = _npy(path, channel_axis)
        else:
            with Image.open(path) as image:
                dtype = _pil_type(path, image)
                array = np.asarray(image).astype(dtype, copy=False)
            position = 2 if array.ndim == 3 else None
    except (ValueError, FileNotFoundError) as error:
        if str(error).startswith(f"{path}:"):
            raise
        raise ValueError(f"{path}: not a readable image ({error}).") from None
    except Exception as error:  # damaged files fail in any way in the decoders
        raise ValueError(f"{path}: not a readable image ({error}).") from None
    array = array[None] if position is None else np.moveaxis(array, position, 0)
    return np.ascontiguousarray(array)


def shrink_shorter_side(image, shorter_side):
    """Shrink an image, antialiased, so that its shorter side is `shorter_side` pixels.

    Parameters
    ----------
    image : numpy.ndarray
        (C, H, W).
    shorter_side : int or None
        Smaller images, and all where None, are returned unchanged.

    Returns
    -------
    numpy.ndarray
        Same type; integers are rounded.
    """
    import torch

    height, width = image.shape[1:]
    shorter = min(height, width)
    if shorter_side is None or shorter <= shorter_side:
        return image
    # As torchvision's Resize: the longer side is cut to whole pixels.
    size = [int(shorter_side * side / shorter) for side in (height, width)]
    shrunk = torch.nn.functional.interpolate(
        torch.from_numpy(image.astype(np.float32))[None],
        size=size,
        mode="bilinear",
        antialias=True,
        align_corners=False,
    )[0].numpy()
    if np.issubdtype(image.dtype, np.integer):
        limits = np.iinfo(image.dtype)
        shrunk = np.clip(np.rint(shrunk), limits.min, limits.max)
    return shrunk.astype(image.dtype)
