"""Image files in: (channels, height, width) in the file's own type, nothing guessed silently."""

import contextlib
import functools
import hashlib
import json
import math
import multiprocessing
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np
import tifffile
from PIL import __version__ as pillow_version
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from . import ome_zarr, remembered, remote
from . import paths as places

CHANNEL_AXES = ("first", "last")

MAX_PROJECTION = "max"
"""In the place of a plane's number: the brightest of all planes at every pixel."""

MAX_PIXELS = 2**29
"""Values (channels x height x width) that a file may hold, so that a few megabytes of damaged or
hostile data cannot fill the memory. The environment variable UNIDINO_MAX_PIXELS replaces it."""

# Axis letters of tifffile that can hold channels: named channels, samples, pages of unknown
# meaning. Depth and time cannot.
_CHANNEL_LETTERS = "CSQI"


_PLAUSIBLE_PIXELS = (0.01, 20.0)
"""µm; resolutions that stand for other sizes are those of a printer or a screen."""

_MICROMETRES = {
    "pm": 1e-6, "picometer": 1e-6, "a": 1e-4, "å": 1e-4, "angstrom": 1e-4,
    "nm": 1e-3, "nanometer": 1e-3, "um": 1.0, "µm": 1.0, "micron": 1.0, "microns": 1.0,
    "micrometer": 1.0, "mm": 1e3, "millimeter": 1e3, "cm": 1e4, "centimeter": 1e4,
    "inch": 25400.0, "in": 25400.0, "m": 1e6, "meter": 1e6,
}  # fmt: skip


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


def _refuse(path, reason):
    raise ImageError(f"{path}: {reason}")


@contextlib.contextmanager
def _naming(path):
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


def micrometres(value, unit):
    """A length in µm.

    Parameters
    ----------
    value : float or str
    unit : str
        As OME-XML, OME-Zarr or ImageJ write it: nm, µm, micrometer, micron …

    Returns
    -------
    float or None
        None where it is no length above 0, or of another unit, such as pixels.
    """
    try:
        # µ has two code points, and ImageJ escapes it.
        unit = str(unit).replace("\\u00B5", "µ").replace("μ", "µ").strip().lower()
        length = float(value) * _MICROMETRES[unit]
    except (KeyError, TypeError, ValueError):
        return None
    return length if 0 < length < math.inf else None


def pixel_size_of(level):
    """The size in µm of the pixels of an `ome_zarr.Level`; None where it is not known."""
    return _of_both_sides(*(micrometres(*side) for side in level.pixel))


def _of_both_sides(x, y):
    """The size of a pixel that is as high as wide; None where it is not, or not known."""
    if x is None or y is None or abs(x - y) > 0.01 * x:
        return None
    # Files hold it in few digits, or as a fraction of whole numbers.
    return float(f"{x:.6g}")


def _max_pixels():
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
    limit = _max_pixels()
    if values > limit:
        _refuse(
            path,
            f"says that it holds {values:,} {what}, more than the limit of {limit:,}. If that is "
            "right, set the environment variable UNIDINO_MAX_PIXELS to that number or above.",
        )


def _header(path, sizes, position, dtype):
    """The header of an image, once its type and size are found to be such as are read here."""
    channels = 1 if position is None else sizes[position]
    height, width = (n for i, n in enumerate(sizes) if i != position)
    dtype = np.dtype(dtype).newbyteorder("=")
    if dtype.kind not in "uif" or dtype.itemsize > 8:
        what = "a mask (booleans)" if dtype.kind == "b" else f"values of type {dtype}"
        _refuse(path, f"holds {what}; expected integers or real numbers of at most 64 bits.")
    if not channels * height * width:
        _refuse(path, f"is empty ({channels} x {height} x {width} pixels).")
    check_size(path, channels * height * width)
    return ImageHeader(int(channels), int(height), int(width), dtype)


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
            _refuse(path, f"holds {count} pixels that are not finite (NaN or infinite).")


class Choice(NamedTuple):
    """What is read of files that hold more than one image of channels; see `read_image`."""

    channel_axis: str | None = None
    alone: bool = False
    plane: int | str | None = None
    timepoint: int | None = None


def _chosen(path, shape, axes, choice):
    """The planes of depth and the time point that are read: {axis: numbers from 0}."""
    taken, asked = {}, []
    depth, time = "Z", "T"
    unnamed = [axis for axis in axes if axis in "QI" and shape[axes.index(axis)] > 1]
    stacked = choice.plane is not None and depth not in axes and len(unnamed) == 1
    if stacked and choice.alone:
        depth = unnamed[0]
    elif stacked:
        count = shape[axes.index(unnamed[0])]
        _refuse(
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
            _refuse(path, f"has {has}; {name} is {wanted}.")
        elif wanted is not None and axis >= 0:
            taken[axis] = range(count) if wanted == MAX_PROJECTION else range(wanted - 1, wanted)
    if asked:
        counts, remedies = (" and ".join(parts) for parts in zip(*asked, strict=True))
        _refuse(path, f"has {counts} (axes {axes}): set {remedies}.")
    return taken


def _layout(path, shape, axes, choice):
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
    taken = _chosen(path, shape, axes, choice)
    kept = [i for i, n in enumerate(shape) if i not in taken and (n != 1 or axes[i] in "YX")]
    taken |= {i: range(1) for i in range(len(shape)) if i not in kept and i not in taken}
    letters = "".join(axes[i] for i in kept)
    sizes = [shape[i] for i in kept]
    others = [letter for letter in letters if letter not in "YX"]
    if not others and len(letters) == 2:
        return taken, None
    if len(letters) != 3 or len(others) != 1:
        _refuse(
            path,
            f"has axes {axes} of sizes {tuple(shape)}; expected height, width and at most one axis "
            "of channels beside depth and time. Save it so.",
        )
    if others[0] not in _CHANNEL_LETTERS:
        _refuse(
            path,
            f"has {sizes[letters.index(others[0])]} planes of {others[0]} (axes {axes}), which are "
            "not channels. Save one plane or a projection a file.",
        )
    position = letters.index(others[0])
    unnamed = others[0] in "QI" and position == 0
    if unnamed and choice.channel_axis is None and sizes[2] < sizes[0]:
        # An array of height, width and channels is stored as a stack of narrow pages.
        _refuse(
            path,
            f"has axes of sizes {tuple(sizes)} and does not say which of them holds the channels, "
            "the first or the last: set channel_axis to 'first' or 'last'.",
        )
    return taken, 2 if unnamed and choice.channel_axis == "last" else position


def _brightest(parts):
    """The brightest of several arrays at every pixel, as few at a time as there are."""
    parts = iter(parts)
    made = next(parts)
    for part in parts:
        made = np.maximum(made, part)
    return made


def _picks(taken):
    """One {axis: number} for each part of an array that is read."""
    return [dict(zip(taken, numbers, strict=True)) for numbers in product(*taken.values())]


def threads():
    """Threads that decode an image: one in a process that reads beside others, else (None) many."""
    return 1 if multiprocessing.parent_process() else None


class TiffImage(NamedTuple):
    """An open TIFF, understood as one image."""

    header: ImageHeader
    position: int | None  # of the channels among the axes that are kept
    file: tifffile.TiffFile
    series: list  # several: each is a plane
    taken: dict  # of the axes of the only series, or of (series, height, width): see `_layout`
    sizes: list  # along the axes that are kept
    companions: bool  # planes lie in other files, too

    @property
    def is_part(self):
        """Whether it holds more planes than are read."""
        shape = self.shape
        return any(shape[axis] > 1 for axis in self.taken)

    @property
    def shape(self):
        """Along all axes."""
        first = self.series[0].shape
        return (len(self.series), *first) if len(self.series) > 1 else first

    def read(self):
        """The array (sizes) as it is stored."""
        if not self.is_part and len(self.series) == 1:
            return self.series[0].asarray(maxworkers=threads()).squeeze((*self.taken,))
        if not self.is_part:
            return np.stack([plane.asarray(maxworkers=threads()) for plane in self.series])
        if len(self.series) > 1:
            planes = (self.series[number] for number in self.taken[0])
            return _brightest(plane.asarray(maxworkers=threads()) for plane in planes)
        return _brightest(self._part(pick) for pick in _picks(self.taken))

    def _part(self, pick):
        """What is left of the only series at one number along every axis that does not stay."""
        (series,) = self.series
        leading, page = _page_axes(series)
        if leading is None:
            array = series.asarray(maxworkers=threads())
            return array[tuple(pick.get(axis, slice(None)) for axis in range(array.ndim))]
        numbers = np.arange(math.prod(leading)).reshape(leading)
        numbers = numbers[tuple(pick.get(axis, slice(None)) for axis in range(len(leading)))]
        inside = tuple(pick.get(len(leading) + i, slice(None)) for i in range(len(page)))
        if series.dataoffset is None:
            array = self.file.asarray(numbers.ravel().tolist(), series=series, maxworkers=threads())
        else:
            size, stored = math.prod(page), series.dtype.newbyteorder(self.file.byteorder)
            starts = series.dataoffset + numbers.ravel() * size * stored.itemsize
            read = self.file.filehandle.read_array
            array = np.stack([read(stored, size, int(start)) for start in starts])
        return array.reshape(*numbers.shape, *page)[(..., *inside)]


def _page_axes(series):
    """(lengths of the axes along which a series has pages, shape of a page); (None, None) where the
    pages of a series are not the last of its axes."""
    page = series.keyframe.shape
    leading = series.shape[: len(series.shape) - len(page)]
    apart = series.dataoffset is not None or len(series) == math.prod(leading)
    return (leading, page) if (*leading, *page) == series.shape and apart else (None, None)


@contextlib.contextmanager
def _open_tiff(path, choice):
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(tifffile.TiffFile(path))
        len(file.pages)  # finds pages that lead back to earlier ones, which would never end
        own_name = ()
        if _is_ome(path, file) and _is_part(path, file, choice.alone):
            own_name = _own_name(path, file)
            file = stack.enter_context(tifffile.TiffFile(path, is_ome=False))
            len(file.pages)
        series = file.series
        if len(series) > 1:
            # Thumbnails and the like stand beside an image.
            series = [series[0], *(one for one in series[1:] if not one.keyframe.is_reduced)]
        first = series[0]
        if file.is_ome and first.kind != "ome":
            _refuse(path, "does not hold the planes that its OME-XML describes. Save it again.")
        if len(series) > 1:
            planes = {(one.shape, one.axes, one.dtype) for one in series}
            if file.is_ome or len(planes) > 1 or first.axes != "YX":
                _refuse(
                    path,
                    f"holds {len(series)} images, not one ({_shapes(series)}). List one image a "
                    "row: save each as a file of its own.",
                )
            # Pages that were written one by one: equal planes are the channels.
            shape, axes = (len(series), *first.shape), "IYX"
            choice = choice._replace(channel_axis="first")
        else:
            shape, axes = first.shape, first.axes
        taken, position = _layout(path, shape, axes, choice)
        sizes = [n for i, n in enumerate(shape) if i not in taken]
        header = _header(path, sizes, position, first.dtype)
        header = replace(
            header,
            names=own_name or _channel_names(file, header.channels),
            pixel_size=_tiff_pixel_size(file, first.keyframe),
        )
        if len(series) == 1 and _page_axes(first)[0] is None:
            check_size(path, math.prod(shape))
        for one in series:
            _check_whole(path, one)
        companions = file.is_ome and any(page.parent is not file for page in series[0][:] if page)
        yield TiffImage(header, position, file, series, taken, sizes, companions)


def _shapes(series):
    shown = ", ".join(" x ".join(map(str, one.shape)) for one in series[:3])
    return shown + (" …" if len(series) > 3 else "")


def _check_whole(path, series):
    """Stop on a series of which planes or bytes are missing, or whose pieces are huge."""
    page = series.keyframe
    if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
        _refuse(path, "stores white as 0 (MinIsWhite). Save it with black as 0.")
    if page.photometric == tifffile.PHOTOMETRIC.PALETTE:
        _check_palettes(path, series)
    if page.is_tiled:
        check_size(path, math.prod((*page.tile, page.samplesperpixel)), "pixels in a tile")
    if series.dataoffset:
        if series.dataoffset + series.nbytes > series.parent.filehandle.size:
            raise ValueError("it ends early")
        return
    for one in series[:]:
        if one is None:
            _refuse(path, "lacks planes that it says it has. Copy or save it again.")
        starts, lengths = one.dataoffsets, one.databytecounts
        # Tiles and strips that are not stored, or end up so when writing stops, would be zeros.
        if len(starts) < math.prod(one.keyframe.chunked) or not (min(starts) and min(lengths)):
            _refuse(path, "lacks a part of its pixels (tiles or strips). Copy or save it again.")
        ends = (start + length for start, length in zip(starts, lengths, strict=True))
        if max(ends) > one.parent.filehandle.size:
            raise ValueError("it ends early")


def _check_palettes(path, series):
    """Stop on indexed colours whose numbers are not in proportion to the greys they stand for."""
    for one in series[:]:
        colours = None if one is None else one.aspage().colormap
        grey = colours is not None and (colours == colours[0]).all()
        steps = np.diff(colours[0].astype(int)) if grey else np.zeros(1)
        # A ramp that does not divide evenly into its steps is rounded.
        if steps.min() <= 0 or np.ptp(steps) > 1:
            _refuse(
                path,
                "has indexed colours (a palette), whose numbers are not intensities. Save it as "
                "grey values, or each channel as a file.",
            )


def _is_ome(path, file):
    described = file.pages.first.description
    if not file.is_ome and "openmicroscopy.org/Schemas/OME" in described:
        _refuse(path, "has damaged OME-XML. Save it again.")
    return file.is_ome


@functools.lru_cache(maxsize=8)
def _parsed(text):
    """The root of OME-XML, which is asked several things."""
    return ElementTree.fromstring(text)


def _local(element):
    return element.tag.rpartition("}")[2]


def _channel_names(file, count):
    """Names of the channels of an OME-TIFF of one image; () where they do not tell all apart."""
    if not file.is_ome:
        return ()
    root = _parsed(file.ome_metadata)
    names = tuple(one.get("Name", "").strip() for one in root.iter() if _local(one) == "Channel")
    return names if all(names) and len({*names}) == len(names) == count else ()


def _tiff_pixel_size(file, page):
    """The size of a TIFF's pixels in µm, by what wrote it; None where that is not known."""
    if file.is_ome:
        root = _parsed(file.ome_metadata)
        pixels = next((one for one in root.iter() if _local(one) == "Pixels"), None)
        if pixels is None:
            return None
        sides = (
            micrometres(
                pixels.get(f"PhysicalSize{side}"), pixels.get(f"PhysicalSize{side}Unit", "µm")
            )
            for side in "XY"
        )
        return _of_both_sides(*sides)
    if file.is_metaseries:
        told = file.metaseries_metadata or {}
        told = told.get("PlaneInfo", {})
        if told.get("spatial-calibration-state", True):
            unit = told.get("spatial-calibration-units")
            sides = (micrometres(told.get(f"spatial-calibration-{side}"), unit) for side in "xy")
            return _of_both_sides(*sides)
        return None
    densities = [_density(page.tags.get(f"{side}Resolution")) for side in "XY"]
    if not all(densities):
        return None
    units = {tifffile.RESUNIT.CENTIMETER: "cm", tifffile.RESUNIT.INCH: "inch"}
    # ImageJ writes a unit of its own, and resolutions in it.
    unit = (file.imagej_metadata or {}).get("unit") or units.get(page.resolutionunit)
    size = _of_both_sides(*(micrometres(1 / density, unit) for density in densities))
    low, high = _PLAUSIBLE_PIXELS
    return size if size and low <= size <= high else None


def _density(tag):
    """Pixels a unit, from a tag of two whole numbers; None where it says nothing."""
    try:
        numerator, denominator = tag.value
        return numerator / denominator or None
    except (AttributeError, TypeError, ValueError, ZeroDivisionError):
        return None


def _is_part(path, file, alone):
    """Whether an OME-TIFF is to be read as its own planes, without the set that it names.

    Raises
    ------
    ImageError
        OME-XML that cannot be read, of several images, or that names files which are missing, of
        another set, or elsewhere.
    """
    try:
        root = _parsed(file.ome_metadata)
    except ElementTree.ParseError as error:
        _refuse(path, f"has damaged OME-XML ({error}). Save it again.")
    binary = next((one for one in root if _local(one) == "BinaryOnly"), None)
    # A file without a UUID of its own knows itself by its name.
    own = {root.get("UUID")} - {None}
    named = {}
    for one in root.iter():
        if _local(one) == "UUID":
            name = one.get("FileName", "")
            if one.text in own or (not own and name.lower() == Path(path).name.lower()):
                own.add(one.text)
            else:
                named[one.text] = name
    if alone and (binary is not None or named) and len(file.pages) == 1:
        return True
    if binary is not None:
        _refuse(
            path,
            f"is a part of an OME-TIFF set that {binary.get('MetadataFile')} describes, which is "
            "not read here. Save each site as one OME-TIFF, or one plane a file.",
        )
    images = [one for one in root if _local(one) == "Image"]
    if len(images) > 1:
        where = f", in {len(named) + 1} files" if named else ""
        _refuse(
            path,
            f"holds {len(images)} images (fields){where}. List one image a row: save each as a "
            "file of its own.",
        )
    for uuid, name in named.items():
        _check_companion(path, uuid, name)
    return False


def _own_name(path, file):
    """The name, as a tuple, of the channel whose plane an OME-TIFF of a set holds; () where its
    OME-XML does not tell."""
    root = ElementTree.fromstring(file.ome_metadata)
    own, names = root.get("UUID"), set()
    for image in (one for one in root.iter() if _local(one) == "Image"):
        channels = [one.get("Name", "").strip() for one in image.iter() if _local(one) == "Channel"]
        for data in (one for one in image.iter() if _local(one) == "TiffData"):
            uuid = next((one for one in data if _local(one) == "UUID"), None)
            if uuid is None:
                continue
            named = uuid.get("FileName", "").lower() == Path(path).name.lower()
            if uuid.text == own if own else named:
                number = data.get("FirstC", "0")
                known = number.isdecimal() and int(number) < len(channels)
                names.add(channels[int(number)] if known else "")
    return tuple(names) if len(names) == 1 and all(names) else ()


def _check_companion(path, uuid, name):
    if not name or name != os.path.basename(name) or "\\" in name:
        _refuse(path, f"names a file that is not beside it ({name!r}). Save it again.")
    beside = Path(path).with_name(name)
    if not beside.is_file():
        _refuse(path, f"{name}, which it names, is missing. Copy it beside this file.")
    with _naming(beside), tifffile.TiffFile(beside) as other:
        text = other.ome_metadata or ""
        found = ElementTree.fromstring(text).get("UUID") if text else None
    if found not in (None, uuid):
        _refuse(
            path,
            f"{name}, which it names, is another file than it names (its UUID differs): files "
            "were renamed or mixed. Export the set again.",
        )


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
        _refuse(path, f"is an array of shape {shape}; expected two or three axes.")
    _chosen(path, shape, "CYX"[-len(shape) :], choice)
    if len(shape) == 3 and choice.channel_axis is None:
        _refuse(
            path,
            f"is an array of shape {shape} that does not say which axis holds the channels: "
            "set channel_axis to 'first' or 'last'.",
        )
    position = None if len(shape) == 2 else CHANNEL_AXES.index(choice.channel_axis) * 2
    header = _header(path, shape, position, stored)
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
            _refuse(path, f"holds {image.n_frames} frames; expected one image.")
        depth = start[24] if kind is PngImageFile else 8
        if depth == 1:
            _header(path, image.size, None, np.bool_)
        if image.mode not in _PIL_TYPES:
            _refuse(
                path,
                f"has colour mode {image.mode}, which is neither grey nor RGB. Save it as grey "
                "values, or each channel as a file.",
            )
        if depth not in (8, 16):
            _refuse(path, f"holds {depth} bits a pixel; expected 8 or 16.")
        # Pillow cuts 16 bits a colour to 8.
        deep = depth == 16 and image.mode == "RGB"
        dtype = np.uint16 if deep else _PIL_TYPES[image.mode]
        colours = len(image.getbands())
        position = 2 if colours > 1 else None
        sizes = (image.height, image.width, colours)[: 3 if colours > 1 else 2]
        _chosen(path, sizes, "YXC"[: len(sizes)], choice)
        header = _header(path, sizes, position, dtype)
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
    taken: dict  # see `_layout`

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
            for pick in _picks(self.taken)
        )
        return _brightest(np.asarray(array[part]) for part in parts)


@contextlib.contextmanager
def _open_zarr(path, choice):
    group, level, image = ome_zarr.parted(path)
    inside = f"{group}/{level.path}"
    array = ome_zarr.array(inside)
    if len(array.shape) != len(image.axes):
        _refuse(
            path,
            f"has {len(array.shape)} axes, its image's metadata {len(image.axes)} ({image.axes}). "
            "Convert it again.",
        )
    taken, position = _layout(path, array.shape, image.axes, choice)
    sizes = [n for i, n in enumerate(array.shape) if i not in taken]
    header = _header(path, sizes, position, array.dtype)
    check_size(path, math.prod(array.chunk), "pixels in a chunk")
    names = image.names if len(image.names) == header.channels else ()
    header = replace(header, names=names, pixel_size=pixel_size_of(level))
    yield ZarrImage(header, position, inside, len(array.shape), taken)


_OPENERS = dict.fromkeys((".tif", ".tiff"), _open_tiff)
_OPENERS |= dict.fromkeys((".png", ".jpg", ".jpeg"), _open_picture) | {".npy": _open_npy}
SUFFIXES = (*_OPENERS, ome_zarr.SUFFIX)


def _opener(path):
    """What opens a file, once it is found to be one of a kind that is read."""
    suffix = path.suffix.lower()
    if suffix not in _OPENERS:
        _refuse(path, f"is of no kind read here; expected {', '.join(SUFFIXES)}.")
    with _naming(path):
        exists, is_file = path.exists(), path.is_file()
    if not exists:
        raise FileNotFoundError(f"{path}: no such image.")
    if not is_file:
        _refuse(path, "is no file, but a folder or a device.")
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
    with _naming(path), opener(path, choice) as image:
        if alone and image.header.channels > 1:
            depth = " Where these are planes of depth, set plane." if plane is None else ""
            _refuse(
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
        about={"read by": _reader(), "most pixels": _max_pixels()},
        title="reading headers of images",
    )
    # Files of a set are alike: each header is made once.
    made = {text: _header_of(text) for text in set(found)}
    return [made[text] for text in found]


@functools.cache
def _reader():
    """What a header depends on beside its file: this module, and those that it reads with."""
    code = b"".join(Path(module).read_bytes() for module in (__file__, ome_zarr.__file__))
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
        Unreadable, damaged, larger than `MAX_PIXELS`, with planes or files missing, with several
        planes of depth or time points of which none is chosen, or not the chosen one, of booleans
        or other types that are no intensities, or of a layout that is not one image of channels.
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
