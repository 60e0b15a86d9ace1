"""TIFF files as one image: OME, ImageJ, MetaXpress, BigTIFF; paged, planar, interleaved, tiled."""

import contextlib
import functools
import math
import multiprocessing
import os
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np
import tifffile

from .image_parts import (
    ImageHeader,
    brightest,
    check_size,
    header_of,
    layout,
    naming,
    picks,
    refuse,
)
from .pixel_size import PLAUSIBLE, micrometres, square


def threads():
    """Threads that decode an image: one in a process that reads beside others, else (None) many."""
    return 1 if multiprocessing.parent_process() else None


class TiffImage(NamedTuple):
    """An open TIFF, understood as one image."""

    header: ImageHeader
    position: int | None  # of the channels among the axes that are kept
    file: tifffile.TiffFile
    series: list  # several: each is a plane
    taken: dict  # of the axes of the only series, or of (series, height, width): see `layout`
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
            return brightest(plane.asarray(maxworkers=threads()) for plane in planes)
        return brightest(self._part(pick) for pick in picks(self.taken))

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
def open_tiff(path, choice):
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
            refuse(path, "does not hold the planes that its OME-XML describes. Save it again.")
        if len(series) > 1:
            planes = {(one.shape, one.axes, one.dtype) for one in series}
            if file.is_ome or len(planes) > 1 or first.axes != "YX":
                refuse(
                    path,
                    f"holds {len(series)} images, not one ({_shapes(series)}). List one image a "
                    "row: save each as a file of its own.",
                )
            # Pages that were written one by one: equal planes are the channels.
            shape, axes = (len(series), *first.shape), "IYX"
            choice = choice._replace(channel_axis="first")
        else:
            shape, axes = first.shape, first.axes
        taken, position = layout(path, shape, axes, choice)
        sizes = [n for i, n in enumerate(shape) if i not in taken]
        header = header_of(path, sizes, position, first.dtype)
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
        refuse(path, "stores white as 0 (MinIsWhite). Save it with black as 0.")
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
            refuse(path, "lacks planes that it says it has. Copy or save it again.")
        starts, lengths = one.dataoffsets, one.databytecounts
        # Tiles and strips that are not stored, or end up so when writing stops, would be zeros.
        if len(starts) < math.prod(one.keyframe.chunked) or not (min(starts) and min(lengths)):
            refuse(path, "lacks a part of its pixels (tiles or strips). Copy or save it again.")
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
            refuse(
                path,
                "has indexed colours (a palette), whose numbers are not intensities. Save it as "
                "grey values, or each channel as a file.",
            )


def _is_ome(path, file):
    described = file.pages.first.description
    if not file.is_ome and "openmicroscopy.org/Schemas/OME" in described:
        refuse(path, "has damaged OME-XML. Save it again.")
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
        return square(*sides)
    if file.is_metaseries:
        told = file.metaseries_metadata or {}
        told = told.get("PlaneInfo", {})
        if told.get("spatial-calibration-state", True):
            unit = told.get("spatial-calibration-units")
            sides = (micrometres(told.get(f"spatial-calibration-{side}"), unit) for side in "xy")
            return square(*sides)
        return None
    densities = [_density(page.tags.get(f"{side}Resolution")) for side in "XY"]
    if not all(densities):
        return None
    units = {tifffile.RESUNIT.CENTIMETER: "cm", tifffile.RESUNIT.INCH: "inch"}
    # ImageJ writes a unit of its own, and resolutions in it.
    unit = (file.imagej_metadata or {}).get("unit") or units.get(page.resolutionunit)
    size = square(*(micrometres(1 / density, unit) for density in densities))
    low, high = PLAUSIBLE
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
        refuse(path, f"has damaged OME-XML ({error}). Save it again.")
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
        refuse(
            path,
            f"is a part of an OME-TIFF set that {binary.get('MetadataFile')} describes, which is "
            "not read here. Save each site as one OME-TIFF, or one plane a file.",
        )
    images = [one for one in root if _local(one) == "Image"]
    if len(images) > 1:
        where = f", in {len(named) + 1} files" if named else ""
        refuse(
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
        refuse(path, f"names a file that is not beside it ({name!r}). Save it again.")
    beside = Path(path).with_name(name)
    if not beside.is_file():
        refuse(path, f"{name}, which it names, is missing. Copy it beside this file.")
    with naming(beside), tifffile.TiffFile(beside) as other:
        text = other.ome_metadata or ""
        found = ElementTree.fromstring(text).get("UUID") if text else None
    if found not in (None, uuid):
        refuse(
            path,
            f"{name}, which it names, is another file than it names (its UUID differs): files "
            "were renamed or mixed. Export the set again.",
        )
