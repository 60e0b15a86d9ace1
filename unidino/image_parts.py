"""What image files have in common: what one says of its image, and what is read of it."""

import contextlib
import os
from dataclasses import dataclass, field
from itertools import product
from typing import NamedTuple

import numpy as np

CHANNEL_AXES = ("first", "last")

MAX_PROJECTION = "max"
"""In the place of a plane's number: the brightest of all planes at every pixel."""

MAX_PIXELS = 2**29
"""Values (channels x height x width) that a file may hold, so that a few megabytes of damaged or
hostile data cannot fill the memory. The environment variable UNIDINO_MAX_PIXELS replaces it."""

# Axis letters of tifffile that can hold channels: named channels, samples, pages of unknown
# meaning. Depth and time cannot.
_CHANNEL_LETTERS = "CSQI"


class ImageError(ValueError):
    """A file that is no image of channels as read here; the message begins with its path."""


@dataclass(frozen=True)
class ImageHeader:
    """What a file says about its image without decoding it; the type in native byte order.

    The names of its channels are those of OME-XML that tells all of them apart; the size of its
    pixels is in µm, None where the file does not say it, or not one for height and width.
    """

    channels: int
    height: int
    width: int
    dtype: np.dtype
    names: tuple = field(default=(), compare=False)
    pixel_size: float | None = field(default=None, compare=False)

    def __str__(self):
        return self._words(f"{self.height} x {self.width} {self.dtype}")

    @property
    def kind(self):
        """Channels and type in words, without the size."""
        return self._words(self.dtype)

    def _words(self, plane):
        return f"{self.channels} channels of {plane}" if self.channels > 1 else str(plane)


def refuse(path, reason):
    raise ImageError(f"{path}: {reason}")


@contextlib.contextmanager
def naming(path):
    """Errors of the decoders, which are of any kind, as one that names the file."""
    try:
        yield
    except (ImageError, FileNotFoundError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(f"{path}: not a readable image ({reason}).") from None


def check_part(plane, timepoint):
    """Stop on a plane of depth or a time point that no image has.

    Raises
    ------
    ValueError
    """
    for name, value, other in (
        ("plane", plane, f", or {MAX_PROJECTION!r}"),
        ("timepoint", timepoint, ""),
    ):
        number = isinstance(value, int) and not isinstance(value, bool) and value > 0
        if not (value is None or number or (other and value == MAX_PROJECTION)):
            raise ValueError(f"{name} is {value!r}; expected a number from 1{other}.")


def max_pixels():
    given = os.environ.get("UNIDINO_MAX_PIXELS")
    if not given:
        return MAX_PIXELS
    if not given.isdecimal() or not int(given):
        raise ImageError(f"UNIDINO_MAX_PIXELS is {given!r}; expected a number of pixels above 0.")
    return int(given)


def check_size(path, values, what="pixels"):
    """Stop on an image of more values than `MAX_PIXELS`.

    Raises
    ------
    ImageError
    """
    limit = max_pixels()
    if values > limit:
        refuse(
            path,
            f"says that it holds {values:,} {what}, more than the limit of {limit:,}. If that is "
            "right, set the environment variable UNIDINO_MAX_PIXELS to that number or above.",
        )


def header_of(path, sizes, position, dtype):
    """The header of an image, once its type and size are found to be such as are read here."""
    channels = 1 if position is None else sizes[position]
    height, width = (n for i, n in enumerate(sizes) if i != position)
    dtype = np.dtype(dtype).newbyteorder("=")
    if dtype.kind not in "uif" or dtype.itemsize > 8:
        what = "a mask (booleans)" if dtype.kind == "b" else f"values of type {dtype}"
        refuse(path, f"holds {what}; expected integers or real numbers of at most 64 bits.")
    if not channels * height * width:
        refuse(path, f"is empty ({channels} x {height} x {width} pixels).")
    check_size(path, channels * height * width)
    return ImageHeader(int(channels), int(height), int(width), dtype)


class Choice(NamedTuple):
    """What is read of files that hold more than one image of channels; see `read_image`."""

    channel_axis: str | None = None
    alone: bool = False
    plane: int | str | None = None
    timepoint: int | None = None


def chosen(path, shape, axes, choice):
    """The planes of depth and the time point that are read: {axis: numbers from 0}."""
    taken, asked = {}, []
    depth, time = "Z", "T"
    unnamed = [axis for axis in axes if axis in "QI" and shape[axes.index(axis)] > 1]
    stacked = choice.plane is not None and depth not in axes and len(unnamed) == 1
    if stacked and choice.alone:
        depth = unnamed[0]
    elif stacked:
        count = shape[axes.index(unnamed[0])]
        refuse(
            path,
            f"has {count} pages that it does not call planes of depth, so plane "
            f"{choice.plane} cannot be found among them. Save it with named axes (OME-TIFF, "
            "ImageJ), or leave plane out where the pages are channels.",
        )
    for letter, wanted, name, one, many in (
        (depth, choice.plane, "plane", "plane of depth", "planes of depth"),
        (time, choice.timepoint, "timepoint", "time point", "time points"),
    ):
        axis = axes.find(letter)
        count = shape[axis] if axis >= 0 else 1
        has = f"{count} {one if count == 1 else many}"
        if wanted is None and count > 1:
            projected = f" or '{MAX_PROJECTION}' for their maximum projection"
            asked.append(
                (has, f"{name} to one of 1 to {count}{projected if letter == depth else ''}")
            )
        elif wanted not in (None, MAX_PROJECTION) and wanted > count:
            refuse(path, f"has {has}; {name} is {wanted}.")
        elif wanted is not None and axis >= 0:
            taken[axis] = range(count) if wanted == MAX_PROJECTION else range(wanted - 1, wanted)
    if asked:
        counts, remedies = (" and ".join(parts) for parts in zip(*asked, strict=True))
        refuse(path, f"has {counts} (axes {axes}): set {remedies}.")
    return taken


def layout(path, shape, axes, choice):
    """How to turn an array of `shape` into (C, H, W).

    Parameters
    ----------
    axes : str
        A letter an axis, as tifffile names them; Y and X are height and width, Z and T depth and
        time.
    choice : Choice
        Its `channel_axis` decides where the file does not; a file that names its channels is
        believed. Without it the pages of a stack are channels, if they are not more than a page has
        columns.

    Returns
    -------
    taken : dict
        {axis that does not stay: the numbers along it, from 0, whose brightest pixels are read}.
    position : int or None
        Of the channels among the axes that stay.
    """
    taken = chosen(path, shape, axes, choice)
    kept = [i for i, n in enumerate(shape) if i not in taken and (n != 1 or axes[i] in "YX")]
    taken |= {i: range(1) for i in range(len(shape)) if i not in kept and i not in taken}
    letters = "".join(axes[i] for i in kept)
    sizes = [shape[i] for i in kept]
    others = [letter for letter in letters if letter not in "YX"]
    if not others and len(letters) == 2:
        return taken, None
    if len(letters) != 3 or len(others) != 1:
        refuse(
            path,
            f"has axes {axes} of sizes {tuple(shape)}; expected height, width and at most one axis "
            "of channels beside depth and time. Save it so.",
        )
    if others[0] not in _CHANNEL_LETTERS:
        refuse(
            path,
            f"has {sizes[letters.index(others[0])]} planes of {others[0]} (axes {axes}), which are "
            "not channels. Save one plane or a projection a file.",
        )
    position = letters.index(others[0])
    unnamed = others[0] in "QI" and position == 0
    if unnamed and choice.channel_axis is None and sizes[2] < sizes[0]:
        # An array of height, width and channels is stored as a stack of narrow pages.
        refuse(
            path,
            f"has axes of sizes {tuple(sizes)} and does not say which of them holds the channels, "
            "the first or the last: set channel_axis to 'first' or 'last'.",
        )
    return taken, 2 if unnamed and choice.channel_axis == "last" else position


def brightest(parts):
    """The brightest of several arrays at every pixel, as few at a time as there are."""
    parts = iter(parts)
    made = next(parts)
    for part in parts:
        made = np.maximum(made, part)
    return made


def picks(taken):
    """One {axis: number} for each part of an array that is read."""
    return [dict(zip(taken, numbers, strict=True)) for numbers in product(*taken.values())]
