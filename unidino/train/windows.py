"""Windows of single planes for training, decoded as little as their files allow.

The layout of a file, found once and remembered, decides how its planes are read:

- mapped: uncompressed, rows at known places; only the bytes of the windows' rows are read.
- segments: tiles or strips, compressed or not; only those that a window touches are decoded.
- chunks: those of an array of OME-Zarr, likewise.
- whole: other files, and those not clearly understood, are left to `images.read_image`.
"""

import contextlib
import math
import os
import threading
from collections import OrderedDict
from typing import NamedTuple

import numpy as np
import tifffile

from .. import images

ONLY = -1
"""In the place of a channel's number: the file stands for one channel and must hold no other."""

_MOST_ALIKE = 64
_MOST_BESIDE = 2**16  # bytes


class Layout(NamedTuple):
    """Where the planes of a file lie, in bytes."""

    kind: str
    header: images.ImageHeader
    # mapped: of each channel's first pixel. segments, a pair a page: of the directory that
    # describes it in full and of its own.
    offsets: range | tuple = ()
    strides: tuple = ()  # mapped: from row to row, from column to column
    stored: np.dtype | None = None  # mapped: the type in the file, of either byte order

    def span(self, height, width):
        """Bytes from the first to the last pixel of a window of a mapped plane."""
        row, column = self.strides
        return (height - 1) * row + (width - 1) * column + self.stored.itemsize


def _strides(shape, stored):
    """Bytes between neighbours along the axes of an array in C order."""
    return [stored.itemsize * math.prod(shape[axis + 1 :]) for axis in range(len(shape))]


def _one_array(header, offset, strides, position, stored):
    """Layout of one uncompressed array, given the bytes between neighbours along its axes."""
    step = stored.itemsize if position is None else strides[position]
    offsets = range(offset, offset + header.channels * step, step)
    rows = tuple(stride for axis, stride in enumerate(strides) if axis != position)
    return Layout("mapped", header, offsets, rows, stored)


def _tiff_layout(tiff):
    """Layout of an `images.TiffImage`, or None where it is none of those understood here."""
    file, header, position = tiff.file, tiff.header, tiff.position
    stored = header.dtype.newbyteorder(file.byteorder)
    if tiff.is_part or any(one.is_multifile or one.transform is not None for one in tiff.series):
        return None
    first = tiff.series[0]
    if len(tiff.series) == 1 and first.dataoffset is not None:
        strides = _strides(tiff.sizes, stored)
        return _one_array(header, first.dataoffset, strides, position, stored)
    pages = [page for one in tiff.series for page in one[:]]
    if any(page is None or page.parent is not file or page.offset <= 0 for page in pages):
        return None
    kinds = {(page.keyframe.shaped, page.keyframe.dtype) for page in pages}
    (planar, depth, height, width, samples), dtype = kinds.pop()
    if kinds or (depth, height, width, dtype) != (1, header.height, header.width, header.dtype):
        return None
    interleaved = (position, len(pages), planar, samples) == (2, 1, 1, header.channels)
    apart = position in (None, 0) and (len(pages) * planar, samples) == (header.channels, 1)
    if not (interleaved or apart):
        return None
    if all(page.keyframe.is_final for page in pages):
        column = samples * stored.itemsize
        step = stored.itemsize if interleaved else height * width * column
        offsets = tuple(p.dataoffsets[0] + i * step for p in pages for i in range(planar * samples))
        return Layout("mapped", header, offsets, (width * column, column), stored)
    for page in pages:
        # Contiguous bytes that need undoing, and strips that hide tiles, are read as a whole.
        if page.keyframe.is_contiguous or page.keyframe.jpegheader is not None:
            return None
        down, across, _, _ = _segment_grid(page.keyframe)
        if {len(page.dataoffsets), len(page.databytecounts)} != {planar * down * across}:
            return None
    return Layout("segments", header, tuple((p.keyframe.offset, p.offset) for p in pages))


def _segment_grid(page):
    """(segments down, segments across, their height, their width) of a plane."""
    _, _, height, width, _ = page.shaped
    tall, wide = (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, width)
    return math.ceil(height / tall), math.ceil(width / wide), tall, wide


def _npy_layout(npy):
    """Layout of an `images.NpyImage`."""
    shape = npy.shape[::-1] if npy.fortran else npy.shape
    strides = _strides(shape, npy.stored)
    strides = strides[::-1] if npy.fortran else strides
    return _one_array(npy.header, npy.offset, strides, npy.position, npy.stored)


def _find_layout(path, reading, alone):
    with images.open_image(path, alone=alone, **reading) as image:
        layout = None
        with contextlib.suppress(Exception):  # what is not understood here is read as a whole
            if isinstance(image, images.TiffImage):
                layout = _tiff_layout(image)
            elif isinstance(image, images.NpyImage):
                layout = _npy_layout(image)
        if isinstance(image, images.ZarrImage):
            layout = Layout("chunks", image.header)
        if layout and layout.kind == "mapped":
            end = max(layout.offsets) + layout.span(image.header.height, image.header.width)
            layout = layout if end <= os.path.getsize(path) else None  # cut short
        return layout or Layout("whole", image.header)


def _beside_pixels(path, layout):
    """The bytes of a mapped file that are not pixels, a part around each plane."""
    parts, end = [], 0
    span = layout.span(layout.header.height, layout.header.width)
    with open(path, "rb", buffering=0) as file:
        for start in [*sorted(layout.offsets), math.inf]:
            file.seek(end)
            parts.append(file.read(int(min(max(start - end, 0), _MOST_BESIDE))))
            end = max(end, start + span)
    return parts


# The readers yield an array a box (top, left, bottom, right); the next may overwrite it.
def _read_mapped(path, layout, channel, boxes, options):
    row, column = layout.strides
    starts = [top * row + left * column for top, left, _, _ in boxes]
    ends = [
        start + layout.span(bottom - top, right - left)
        for start, (top, left, bottom, right) in zip(starts, boxes, strict=True)
    ]
    runs, places, size = _joined(starts, ends)
    # Mapping the file into memory is no faster, and would kill the process where a disk fails.
    buffer = _buffer(size)
    filled = 0
    with open(path, "rb", buffering=0) as file:
        for start, end in runs:
            file.seek(layout.offsets[channel] + start)
            if file.readinto(buffer[filled : filled + end - start]) != end - start:
                raise ValueError(f"{path}: ends early.")
            filled += end - start
    for place, (top, left, bottom, right) in zip(places, boxes, strict=True):
        shape = bottom - top, right - left
        yield np.ndarray(shape, layout.stored, buffer, place, layout.strides)


_kept = threading.local()


def _buffer(size):
    """Bytes that a thread fills again and again, as fresh memory costs as much as reading."""
    if len(getattr(_kept, "buffer", ())) < size:
        _kept.buffer = np.empty(size, np.uint8)
    return _kept.buffer[:size]


def _joined(starts, ends):
    """Stretches of bytes, those that overlap joined, one after another in a buffer.

    Returns
    -------
    runs : list of [start, end]
        Of the file, in order.
    places : list of int
        Where each stretch begins in the buffer.
    size : int
        Of the buffer.
    """
    runs, places, size = [], [0] * len(starts), 0
    for i in sorted(range(len(starts)), key=starts.__getitem__):
        if not runs or starts[i] > runs[-1][1]:
            runs.append([starts[i], starts[i]])
        begin, end = runs[-1]
        places[i] = size - (end - begin) + starts[i] - begin
        size += max(ends[i] - end, 0)
        runs[-1][1] = max(end, ends[i])
    return runs, places, size


def _read_segments(path, layout, channel, boxes, options):
    # Values are decoded into the least box around the others.
    y0, x0 = np.min(boxes, axis=0)[:2].tolist()
    y1, x1 = np.max(boxes, axis=0)[2:].tolist()
    canvas = np.empty((y1 - y0, x1 - x0), layout.header.dtype)
    with tifffile.TiffFile(path) as file:
        number, within = divmod(channel, layout.header.channels // len(layout.offsets))
        described, own = layout.offsets[number]
        keyframe = page = file.pages.first
        if described != keyframe.offset:
            file.filehandle.seek(described)
            keyframe = page = tifffile.TiffPage(file, index=1)
        if own != described:
            page = tifffile.TiffFrame(file, index=1, offset=own, keyframe=keyframe)
        plane, sample = (0, within) if keyframe.shaped[4] > 1 else (within, 0)
        down, across, tall, wide = _segment_grid(keyframe)
        touched = {
            (plane * down + row) * across + column
            for top, left, bottom, right in boxes
            for row in range(top // tall, (bottom - 1) // tall + 1)
            for column in range(left // wide, (right - 1) // wide + 1)
        }
        stored = [[t[i] for i in touched] for t in (page.dataoffsets, page.databytecounts)]
        tables = page.jpegtables
        for data, number in file.filehandle.read_segments(*stored, indices=list(touched)):
            segment, (_, _, y, x, _), shape = keyframe.decode(data, number, jpegtables=tables)
            top, bottom = max(y, y0), min(y + shape[1], y1)
            left, right = max(x, x0), min(x + shape[2], x1)
            values = segment[0, top - y : bottom - y, left - x : right - x, sample]
            canvas[top - y0 : bottom - y0, left - x0 : right - x0] = values
    for top, left, bottom, right in boxes:
        yield canvas[top - y0 : bottom - y0, left - x0 : right - x0]


def _read_chunks(path, layout, channel, boxes, options):
    reading, alone = options
    (y0, x0), (y1, x1) = np.min(boxes, axis=0)[:2].tolist(), np.max(boxes, axis=0)[2:].tolist()
    with images.open_image(path, alone=alone, **reading) as image:
        part = image.window(channel, y0, x0, y1, x1)
    for top, left, bottom, right in boxes:
        yield part[top - y0 : bottom - y0, left - x0 : right - x0]


def _read_whole(path, layout, channel, boxes, options):
    reading, alone = options
    image = images.read_image(path, alone=alone, **reading)[channel]
    for top, left, bottom, right in boxes:
        yield image[top:bottom, left:right]


_READERS = {
    "mapped": _read_mapped,
    "segments": _read_segments,
    "chunks": _read_chunks,
    "whole": _read_whole,
}


def _source(start, count, size):
    """(first, end, index from first, or None for all in order) of the pixels that fill a window."""
    if start >= 0 and start + count <= size:
        return start, start + count, None
    period = max(2 * (size - 1), 1)
    index = np.arange(start, start + count) % period
    index = np.minimum(index, period - index)
    first = int(index.min())
    return first, int(index.max()) + 1, index - first


class PlaneReader:
    """Windows of single planes of image files, decoded as little as the file allows.

    Holds no open files, and can be sent to the workers of a DataLoader. Files are taken not to
    change while their layout is remembered.

    Parameters
    ----------
    channel_axis, plane, timepoint
        How files are read, see `images.read_image`.
    layouts : int
        Number of files whose layout is remembered; the one unused for longest is forgotten first.
    """

    def __init__(self, channel_axis=None, plane=None, timepoint=None, layouts=100_000):
        self.reading = {"channel_axis": channel_axis, "plane": plane, "timepoint": timepoint}
        self.layouts = layouts
        self._known = OrderedDict()
        self._alike = OrderedDict()

    def _layout(self, path, channel):
        key = os.fspath(path), channel == ONLY
        layout = self._known.pop(key, None) or self._find(*key)
        self._known[key] = layout  # the last used comes last
        if len(self._known) > self.layouts:
            self._known.popitem(last=False)
        if channel != ONLY and not 0 <= channel < layout.header.channels:
            have = f"{path}: has {layout.header.channels} channels; channel {channel}, counted from"
            hint = "If they are its last axis, set channel_axis='last'."
            raise ValueError(f"{have} 0, is not one of them. {hint}")
        return layout

    def _find(self, path, alone):
        """Layout of a file, known at once where it differs from another in its pixels alone."""
        size = os.path.isfile(path) and os.path.getsize(path)
        kind = os.path.splitext(path)[1].lower(), size, alone
        layout, beside = self._alike.get(kind, (None, None))
        if layout is None or _beside_pixels(path, layout) != beside:
            layout = _find_layout(path, self.reading, alone)
            beside = _beside_pixels(path, layout) if layout.kind == "mapped" else []
            if beside and max(map(len, beside)) < _MOST_BESIDE:
                self._alike[kind] = layout, beside
                if len(self._alike) > _MOST_ALIKE:
                    self._alike.popitem(last=False)
        return layout

    def header(self, path, channel):
        """(height, width, numpy.dtype) of a plane. Parameters and errors as `windows`."""
        header = self._layout(path, channel).header
        return header.height, header.width, header.dtype

    def plane(self, path, channel):
        """A whole plane (H, W). Parameters and errors as `windows`."""
        height, width, _ = self.header(path, channel)
        return self.windows(path, channel, [(0, 0)], [(height, width)])[0]

    def windows(self, path, channel, corners, sizes, out=None):
        """Windows of a plane, in the file's own values and type.

        Parameters
        ----------
        path : str or Path
        channel : int
            Counted from 0 among the channels of `images.read_image`; or `ONLY`.
        corners : (n, 2) ints
            Top and left of each window in pixels; they may lie outside the image.
        sizes : (n,) or (n, 2) ints
            Side, or height and width, of each window in pixels.
        out : list of numpy.ndarray, optional
            n arrays (h, w) to fill; by default they are made, with the type of the file.

        Returns
        -------
        list of numpy.ndarray
            n arrays (h, w), C-contiguous, with their own memory, or `out`. What lies outside the
            image is mirrored at its border pixels, like numpy.pad with mode "reflect".

        Raises
        ------
        FileNotFoundError, ValueError
            As `images.read_image`; the file has no such channel; a window is empty.
        """
        layout = self._layout(path, channel)
        corners = np.asarray(corners, dtype=np.int64).reshape(-1, 2)
        sizes = np.asarray(sizes, dtype=np.int64)
        sizes = np.broadcast_to(sizes if sizes.ndim > 1 else sizes[:, None], corners.shape)
        if (sizes < 1).any():
            raise ValueError(f"{path}: a window of {sizes.min()} pixels; expected at least 1.")
        boxes, mirrored = [], []
        for (top, left), (height, width) in zip(corners.tolist(), sizes.tolist(), strict=True):
            y0, y1, rows = _source(top, height, layout.header.height)
            x0, x1, columns = _source(left, width, layout.header.width)
            boxes.append((y0, x0, y1, x1))
            mirrored.append((rows, columns))
        if out is None:
            out = [np.empty(size, layout.header.dtype) for size in sizes.tolist()]
        options = self.reading, channel == ONLY
        number = max(channel, 0)
        for kind in (layout.kind, "whole"):
            try:
                parts = _READERS[kind](path, layout, number, boxes, options)
                for made, part, (rows, columns) in zip(out, parts, mirrored, strict=True):
                    part = part if rows is None else part[rows]
                    made[...] = part if columns is None else part[:, columns]
                    images.check_finite(path, made)
                return out
            except Exception:
                # Absent or damaged: read_image says so in its own words, or can read it after all.
                if kind == "whole":
                    raise
