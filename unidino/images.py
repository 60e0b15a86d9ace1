"""Image files in: (channels, height, width) in the file's own type, nothing guessed silently."""

import contextlib
import functools
import hashlib
import json
import math
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tifffile
from PIL import __version__ as pillow_version
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from . import image_parts, ome_zarr, pixel_size, remembered, remote, tiff
from . import paths as places
from .image_parts import (
    CHANNEL_AXES,
    Choice,
    ImageError,
    ImageHeader,
    brightest,
    check_part,
    check_size,
    chosen,
    header_of,
    layout,
    max_pixels,
    naming,
    picks,
    refuse,
)
from .pixel_size import pixel_size_of
from .tiff import TiffImage, open_tiff

__all__ = [
    "CHANNEL_AXES",
    "SUFFIXES",
    "ImageError",
    "ImageHeader",
    "NpyImage",
    "Picture",
    "TiffImage",
    "ZarrImage",
    "check_finite",
    "check_part",
    "check_size",
    "image_header",
    "image_headers",
    "open_image",
    "pixel_size_of",
    "read_image",
    "rescaled_sides",
    "resized",
    "shrink_shorter_side",
    "shrunk_sides",
]


class NpyImage(NamedTuple):
    """A NumPy file, understood as one image."""

    header: ImageHeader
    position: int | None  # of the channels among the axes
    path: Path
    shape: tuple
    stored: np.dtype  # of either byte order
    fortran: bool
    offset: int  # bytes before the first value

    def read(self):
        """The array (shape) as it is stored."""
        # Copied, not mapped: a file that is cut short meanwhile would kill the process.
        return np.load(self.path, allow_pickle=False)


_NPY_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


@contextlib.contextmanager
def _open_npy(path, choice):
    with open(path, "rb") as file:
        version = np.lib.format.read_magic(file)
        if version not in _NPY_HEADERS:
            raise ValueError(f"version {version} of the format")
        shape, fortran, stored = _NPY_HEADERS[version](file)
        offset, size = file.tell(), os.fstat(file.fileno()).st_size
    if len(shape) not in (2, 3):
        refuse(path, f"is an array of shape {shape}; expected two or three axes.")
    chosen(path, shape, "CYX"[-len(shape) :], choice)
    if len(shape) == 3 and choice.channel_axis is None:
        refuse(
            path,
            f"is an array of shape {shape} that does not say which axis holds the channels: "
            "set channel_axis to 'first' or 'last'.",
        )
    position = None if len(shape) == 2 else CHANNEL_AXES.index(choice.channel_axis) * 2
    header = header_of(path, shape, position, stored)
    if offset + math.prod(shape) * stored.itemsize > size:
        raise ValueError("it ends early")
    yield NpyImage(header, position, path, shape, stored, fortran, offset)


class Picture(NamedTuple):
    """An open PNG or JPEG, understood as one image."""

    header: ImageHeader
    position: int | None  # of the channels among the axes
    read: Callable


_PIL_TYPES = {"L": np.uint8, "RGB": np.uint8, "I;16": np.uint16, "F": np.float32}


@contextlib.contextmanager
def _open_picture(path, choice):
    with open(path, "rb") as file:
        start = file.read(26)
    # No other decoder, whatever the file holds; and not Pillow's own limit on pixels, which comes
    # with `Image.open` and is lower than that of stitched wells.
    kind = JpegImageFile if start.startswith(b"\xff\xd8") else PngImageFile
    with kind(path) as image:
        if getattr(image, "n_frames", 1) > 1:
            refuse(path, f"holds {image.n_frames} frames; expected one image.")
        depth = start[24] if kind is PngImageFile else 8
        if depth == 1:
            header_of(path, image.size, None, np.bool_)
        if image.mode not in _PIL_TYPES:
            refuse(
                path,
                f"has colour mode {image.mode}, which is neither grey nor RGB. Save it as grey "
                "values, or each channel as a file.",
            )
        if depth not in (8, 16):
            refuse(path, f"holds {depth} bits a pixel; expected 8 or 16.")
        # Pillow cuts 16 bits a colour to 8.
        deep = depth == 16 and image.mode == "RGB"
        dtype = np.uint16 if deep else _PIL_TYPES[image.mode]
        colours = len(image.getbands())
        position = 2 if colours > 1 else None
        sizes = (image.height, image.width, colours)[: 3 if colours > 1 else 2]
        chosen(path, sizes, "YXC"[: len(sizes)], choice)
        header = header_of(path, sizes, position, dtype)
        # What is missing of a JPEG is read as grey: a byte holds 8 blocks of 8 x 8 pixels at most.
        # Deflate, of PNG, makes no more than 1032 bytes of one.
        densest = 512 if kind is JpegImageFile else 1032 / (colours * header.dtype.itemsize)
        if image.height * image.width > densest * os.path.getsize(path):
            raise ValueError("it ends early")

        def read():
            if deep:
                import imagecodecs

                return imagecodecs.png_decode(Path(path).read_bytes())
            return np.asarray(image).astype(dtype, copy=False)

        yield Picture(header, position, read)


class ZarrImage(NamedTuple):
    """An open array of an OME-Zarr image."""

    header: ImageHeader
    position: int | None  # of the channels among the axes that are kept
    path: str
    axes: int  # how many the array has
    taken: dict  # see `layout`

    def read(self):
        """The array (sizes) as it is stored; what is not stored is filled."""
        return self._part({})

    def window(self, channel, top, left, bottom, right):
        """A part (H, W) of the plane of a channel; only chunks that it touches are decoded."""
        kept = [axis for axis in range(self.axes) if axis not in self.taken]
        wanted = {} if self.position is None else {kept.pop(self.position): channel}
        return self._part(
            wanted | dict(zip(kept, (slice(top, bottom), slice(left, right)), strict=True))
        )

    def _part(self, wanted):
        array = ome_zarr.open_array(self.path)
        parts = (
            tuple((pick | wanted).get(axis, slice(None)) for axis in range(self.axes))
            for pick in picks(self.taken)
        )
        return brightest(np.asarray(array[part]) for part in parts)


@contextlib.contextmanager
def _open_zarr(path, choice):
    group, level, image = ome_zarr.parted(path)
    inside = f"{group}/{level.path}"
    array = ome_zarr.array(inside)
    if len(array.shape) != len(image.axes):
        refuse(
            path,
            f"has {len(array.shape)} axes, its image's metadata {len(image.axes)} ({image.axes}). "
            "Convert it again.",
        )
    taken, position = layout(path, array.shape, image.axes, choice)
    sizes = [n for i, n in enumerate(array.shape) if i not in taken]
    header = header_of(path, sizes, position, array.dtype)
    check_size(path, math.prod(array.chunk), "pixels in a chunk")
    names = image.names if len(image.names) == header.channels else ()
    header = replace(header, names=names, pixel_size=pixel_size_of(level))
    yield ZarrImage(header, position, inside, len(array.shape), taken)


_OPENERS = dict.fromkeys((".tif", ".tiff"), open_tiff)
_OPENERS |= dict.fromkeys((".png", ".jpg", ".jpeg"), _open_picture) | {".npy": _open_npy}
SUFFIXES = (*_OPENERS, ome_zarr.SUFFIX)


def _opener(path):
    """What opens a file, once it is found to be one of a kind that is read."""
    suffix = path.suffix.lower()
    if suffix not in _OPENERS:
        refuse(path, f"is of no kind read here; expected {', '.join(SUFFIXES)}.")
    with naming(path):
        exists, is_file = path.exists(), path.is_file()
    if not exists:
        raise FileNotFoundError(f"{path}: no such image.")
    if not is_file:
        refuse(path, "is no file, but a folder or a device.")
    return _OPENERS[suffix]


@contextlib.contextmanager
def open_image(path, channel_axis=None, alone=False, plane=None, timepoint=None):
    """An image file that was found to be one, before its pixels are read.

    Parameters and errors are those of `read_image`.

    Yields
    ------
    TiffImage, NpyImage, Picture or ZarrImage
    """
    choice = Choice(channel_axis, alone, plane, timepoint)
    if ome_zarr.is_array(path) and not os.path.isfile(path):
        opener = _open_zarr
    elif remote.is_remote(path):
        with remote.opened(path) as copy, open_image(copy, *choice) as image:
            yield image
        return
    else:
        path = Path(path)
        opener = _opener(path)
    with naming(path), opener(path, choice) as image:
        if alone and image.header.channels > 1:
            depth = " Where these are planes of depth, set plane." if plane is None else ""
            refuse(
                path,
                f"has {image.header.channels} channels, expected one. Give merged images in a "
                f"column named path.{depth}",
            )
        yield image


def image_header(path, channel_axis=None, alone=False, plane=None, timepoint=None):
    """Channels, size and type of an image, without decoding its pixels.

    Parameters and errors are those of `read_image`.

    Returns
    -------
    ImageHeader
    """
    with open_image(path, channel_axis, alone, plane, timepoint) as image:
        return image.header


def image_headers(paths, channel_axis=None, alone=False, dataset=None, plane=None, timepoint=None):
    """The headers of many images, read side by side.

    Headers are remembered (see `remembered`) unless they depend on other files, too.

    Parameters
    ----------
    paths : list of str or Path
        Each once.
    channel_axis, alone, plane, timepoint
        As `read_image`.
    dataset : str or Path, optional
        Under whose name they are remembered: the folder that the images lie below, or a table's.

    Returns
    -------
    list of ImageHeader or str
        The error's message instead, where an image has none.
    """
    choice = Choice(channel_axis, alone, plane, timepoint)
    store = places.cache_folder("headers", "|".join(map(str, (dataset or "", *choice))))
    found = remembered.answers(
        store,
        list(map(str, paths)),
        functools.partial(_described, choice=choice),
        about={"read by": _reader(), "most pixels": max_pixels()},
        title="reading headers of images",
    )
    # Files of a set are alike: each header is made once.
    made = {text: _header_of(text) for text in set(found)}
    return [made[text] for text in found]


@functools.cache
def _reader():
    """What a header depends on beside its file: this module, and those that it reads with."""
    code = b"".join(
        Path(module).read_bytes()
        for module in [
            __file__,
            *(one.__file__ for one in (image_parts, ome_zarr, pixel_size, tiff)),
        ]
    )
    code = hashlib.sha256(code).hexdigest()[:16]
    return f"{code} tifffile {tifffile.__version__} Pillow {pillow_version}"


def _described(path, choice):
    """A header or an error's message as JSON, and whether it holds while the file stays."""
    try:
        with open_image(path, *choice) as image:
            header = image.header
            # Folders of this machine do not tell by their times what changes in them.
            of_folder = isinstance(image, ZarrImage) and not remote.is_remote(path)
            others = of_folder or (isinstance(image, TiffImage) and image.companions)
    except (ValueError, OSError) as error:
        return json.dumps(str(error)), False
    size = [header.channels, header.height, header.width]
    told = [*size, header.dtype.str, header.names, header.pixel_size]
    return json.dumps(told), not others


def _header_of(text):
    given = json.loads(text)
    if isinstance(given, str):
        return given
    *size, dtype, names, pixel_size = given
    return ImageHeader(*size, np.dtype(dtype), tuple(names), pixel_size)


def check_finite(path, array):
    """Stop on values that are not finite as 32-bit floats: they spoil every mean and percentile.

    Raises
    ------
    ImageError
        Says how many.
    """
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):
            finite = np.isfinite(array.astype(np.float32, copy=False))
        if not finite.all():
            count = int((~finite).sum())
            refuse(path, f"holds {count} pixels that are not finite (NaN or infinite).")


def read_image(path, channel_axis=None, alone=False, plane=None, timepoint=None):
    """An image as channels, height, width.

    TIFF (OME, ImageJ, BigTIFF; paged, planar or interleaved; tiled; compressed), PNG, JPEG, NPY.
    A TIFF's named channels, pages and samples are its channels; RGB files have three; of indexed
    colours only an even ramp of greys is taken. An OME-TIFF is read with the other files that it
    names.

    Parameters
    ----------
    path : str or Path
    channel_axis : {"first", "last"}, optional
        For files that do not say where their channels are: arrays, and stacks of pages, which are
        taken for channels as long as they are fewer than the pixels of a row.
    alone : bool
        The file stands for one channel: of an OME-TIFF that is part of a set, its own plane alone;
        pages of which a file does not say what they are can be planes of depth.
    plane : int or "max", optional
        Which plane is read of a file that holds several planes of depth (ImageJ, OME-TIFF), from 1;
        "max" is the brightest of them at every pixel.
    timepoint : int, optional
        Which time point is read of a file that holds several, from 1.

    Returns
    -------
    numpy.ndarray
        (C, H, W), C-contiguous, in the file's own type and native byte order; finite.

    Raises
    ------
    FileNotFoundError
        No such file.
    ImageError
        Unreadable, damaged, larger than `image_parts.MAX_PIXELS`, with planes or files missing,
        with several planes of depth or time points of which none is chosen, or not the chosen one,
        of booleans or other types that are no intensities, or of a layout that is not one image of
        channels.
        Names the file. So do files of several channels, where `alone`.
    """
    with open_image(path, channel_axis, alone, plane, timepoint) as image:
        header, array = image.header, image.read()
        array = array[None] if image.position is None else np.moveaxis(array, image.position, 0)
        if array.shape != (header.channels, header.height, header.width):
            raise ValueError(f"its pixels are of shape {array.shape}, its header says {header}")
        array = np.ascontiguousarray(array, header.dtype)
    check_finite(path, array)
    return array


def shrunk_sides(height, width, shorter_side):
    """Height and width after `shrink_shorter_side`, in pixels."""
    shorter = min(height, width)
    if shorter_side is None or shorter <= shorter_side:
        return height, width
    # As torchvision's Resize: the longer side is cut to whole pixels.
    return tuple(int(shorter_side * side / shorter) for side in (height, width))


def rescaled_sides(height, width, factor):
    """Height and width of an image whose pixels become `factor` times as many a side."""
    return tuple(max(1, round(side * factor)) for side in (height, width))


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
    return resized(image, shrunk_sides(*image.shape[1:], shorter_side))


def resized(image, size):
    """An image in another size: bilinear, antialiased where it shrinks.

    Parameters
    ----------
    image : numpy.ndarray
        (C, H, W).
    size : (height, width)
        In pixels; an image of this size is returned unchanged.

    Returns
    -------
    numpy.ndarray
        Same type; integers are rounded.
    """
    import torch

    if tuple(size) == image.shape[1:]:
        return image
    shrunk = torch.nn.functional.interpolate(
        torch.from_numpy(image.astype(np.float32))[None],
        size=tuple(size),
        mode="bilinear",
        antialias=True,
        align_corners=False,
    )[0].numpy()
    if np.issubdtype(image.dtype, np.integer):
        limits = np.iinfo(image.dtype)
        shrunk = np.clip(np.rint(shrunk), limits.min, limits.max)
    return shrunk.astype(image.dtype)
