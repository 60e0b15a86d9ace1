"""Uneven illumination: images divided by functions of it, as CellProfiler divides them."""

import os
import string
import threading
from collections import OrderedDict

import numpy as np

from . import images

SUFFIXES = (".npy", ".tif", ".tiff")
"""Of files that hold a function."""

MEDIANS = (0.1, 10.0)
"""Between these lies the median of a function: what is far from 1 is no function, but an image."""

NONE, ESTIMATE = "none", "estimate"
"""What a dataset's functions may be instead of files: the images stay as they are; or the functions
are estimated of each plate's images."""

HELD_BYTES = 512 * 2**20
"""Of functions that a process keeps: those of the plates at work, whatever the number of plates."""

_held = OrderedDict()
_lock = threading.Lock()


def check(given):
    """Stop on what says nothing about illumination functions: see `choose`.

    Raises
    ------
    ValueError
    """
    if given in (None, NONE, ESTIMATE):
        return
    if not str(given).lower().endswith(SUFFIXES):
        raise ValueError(
            f"illumination is {given!r}; expected {NONE!r}, {ESTIMATE!r}, or where the functions "
            "lie, such as 'illum/{plate}_{channel}.npy'."
        )
    if "://" in str(given):
        raise ValueError(
            f"illumination {str(given)!r} is an address; functions elsewhere are named by a table, "
            "in LoadData's columns FileName_Illum… or URL_Illum… Or copy them to this machine."
        )
    _parts(given)


def _parts(template):
    """The name of a function's file as (text, column or None behind it) pairs."""
    try:
        parts = list(string.Formatter().parse(str(template)))
    except ValueError as error:
        raise ValueError(f"illumination {str(template)!r} has odd braces: {error}.") from None
    for _, field, form, conversion in parts:
        if field is not None and (form or conversion or not field):
            raise ValueError(
                f"illumination {str(template)!r} is to name columns in its braces and nothing "
                "else, such as {plate} and {channel}."
            )
    return [(text, field) for text, field, _, _ in parts]


def choose(metadata, given):
    """Set which illumination functions the images of a dataset are divided by, in place.

    Parameters
    ----------
    metadata : Metadata
    given : str or None
        None: those that its table gives. "none", or "estimate", where they are made later: none.
        Or the path of the functions, with a dataset's columns, and ``channel``, in braces, such as
        ``illum/{plate}_{channel}.npy``; it starts at the working directory.

    Raises
    ------
    ValueError
        Something else; a column in braces that there is not, or that is empty in a row.
    """
    check(given)
    if given is None:
        return
    frame = metadata.metadata.drop(columns="illumination", errors="ignore")
    if given not in (NONE, ESTIMATE):
        template = os.path.abspath(os.path.expanduser(given))
        frame = frame.assign(illumination=_named(metadata, frame, template))
        metadata.opened_with = metadata.opened_with | {"illumination": template}
    metadata.metadata = frame


def _named(metadata, frame, template):
    """The file of every channel's function, a list a row; rows of the same names share one."""
    parts = _parts(template)
    fields = list(dict.fromkeys(field for _, field in parts if field))
    known = [str(name) for name in frame.columns if name not in ("path", "channel")]
    unknown = [field for field in fields if field not in (*known, "channel")]
    if unknown:
        raise ValueError(
            f"illumination names {', '.join(unknown)} in braces; the columns of "
            f"{metadata.valset} are {', '.join(known)}, and channel."
        )
    channels = [metadata.channels] * len(frame)
    if metadata.single_channel_metadata:
        named = frame["channel"] if "channel" in frame else metadata.channels * len(frame)
        channels = [[name] for name in named]
    columns = [field for field in fields if field != "channel"]
    for field in columns:
        if (empty := frame[field].isna()).any():
            raise ValueError(
                f"illumination names {{{field}}}, and {metadata.valset} has no {field} in row "
                f"{int(empty.to_numpy().argmax()) + 1}."
            )
    made, listed = {}, []
    for *row, names in zip(*(frame[field] for field in columns), channels, strict=True):
        key = (*row, *names)
        if key not in made:
            told = dict(zip(columns, row, strict=True))
            made[key] = [
                "".join(
                    text + str((told | {"channel": name}).get(field, "")) for text, field in parts
                )
                for name in names
            ]
        listed.append(made[key])
    return listed


def read_function(path):
    """An illumination function, checked.

    The last ones that were read are kept in memory, up to `HELD_BYTES`.

    Parameters
    ----------
    path : str or Path
        NPY or TIFF of one plane, as CellProfiler's CorrectIlluminationCalculate and SaveImages
        write it.

    Returns
    -------
    numpy.ndarray
        (H, W) in the file's own type, which is real; not to be written to.

    Raises
    ------
    FileNotFoundError
        No such file.
    images.ImageError
        No image of one plane; whole numbers; values that are not finite or not above 0, or whose
        median lies outside `MEDIANS`. Names the file.
    """
    path = os.fspath(path)
    mark = _mark(path)
    with _lock:
        if (path, mark) in _held:
            _held.move_to_end((path, mark))
            return _held[path, mark]
    made = _checked(path)
    with _lock:
        _held[path, mark] = made
        while len(_held) > 1 and sum(one.nbytes for one in _held.values()) > HELD_BYTES:
            _held.popitem(last=False)
    return made


def _mark(path):
    """What changes when a file is written anew; None where there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns, status.st_ino


def header(path):
    """The header of a function's file: its size and type, see `images.image_header`.

    Raises
    ------
    FileNotFoundError, images.ImageError
        As `read_function`, of what tells without its values.
    """
    if not str(path).lower().endswith(SUFFIXES):
        raise images.ImageError(
            f"{path}: an illumination function is one of {', '.join(SUFFIXES)}. Save it as NPY."
        )
    try:
        found = images.image_header(path, alone=True)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such illumination function.") from None
    if found.dtype.kind != "f":
        raise images.ImageError(
            f"{path}: holds whole numbers ({found.dtype}), and an illumination function real ones "
            "around 1. Save it as NPY, or as TIFF of 32-bit floats."
        )
    return found


def _checked(path):
    header(path)
    values = images.read_image(path, alone=True)[0]
    wrong = int((values <= 0).sum())
    if wrong:
        raise images.ImageError(
            f"{path}: holds {wrong} values that are not above 0 (the lowest is {values.min():g}), "
            "by which no image can be divided. Compute the illumination function again."
        )
    median, (low, high) = float(np.median(values)), MEDIANS
    if not low <= median <= high:
        raise images.ImageError(
            f"{path}: the median is {median:g}, and that of an illumination function between "
            f"{low:g} and {high:g}. Divide it by its median, or have CellProfiler rescale it."
        )
    values.flags.writeable = False
    return values


def check_size(path, shape, image):
    """Stop where a function is not of the size of an image.

    Parameters
    ----------
    path : str
        Of the function.
    shape : (int, int)
        Of the image: height, width in pixels.
    image : str
        Its file.

    Raises
    ------
    images.ImageError
        Names both files and sizes.
    """
    found = header(path)
    if (found.height, found.width) != tuple(shape):
        raise images.ImageError(_other_size(path, (found.height, found.width), shape, image))


def _other_size(path, size, shape, image):
    height, width = shape
    return (
        f"{path}: is {size[0]} x {size[1]} pixels, and the image that it is to correct, {image}, "
        f"{height} x {width}. An illumination function has the size of its images: compute it of "
        "these."
    )


def corrected(image, functions, files):
    """An image divided by the illumination functions of its channels.

    As CellProfiler's CorrectIlluminationApply with "Divide", which sets what would lie beyond the
    image's range to its ends. The quotient is rounded to the image's type, so that ranges,
    saturation and thresholds mean what they meant: it is half a grey level off at most.

    Parameters
    ----------
    image : numpy.ndarray
        (C, H, W), overwritten where it may be.
    functions : sequence of (str or None)
        File of each channel's function; None leaves a channel as it is.
    files : sequence of str
        Image file of each channel, or the one of all, for messages.

    Returns
    -------
    numpy.ndarray
        Same type. Whole numbers are rounded (halves to even) and clipped to the type's range, and
        so are floats; those of a channel that lies below 1 are clipped to 1.

    Raises
    ------
    images.ImageError, FileNotFoundError
        See `read_function`; a function of another size than the image.
    """
    if not any(functions):
        return image
    if not image.flags.writeable:
        image = image.copy()
    for c, path in enumerate(functions):
        if path is None:
            continue
        function = read_function(path)
        if function.shape != image.shape[1:]:
            file = files[min(c, len(files) - 1)]
            raise images.ImageError(_other_size(path, function.shape, image.shape[1:], file))
        low, high = _range(image[c])
        quotient = np.divide(image[c], function, dtype=np.float64)
        if image.dtype.kind != "f":
            np.rint(quotient, out=quotient)
        image[c] = np.clip(quotient, low, high, out=quotient)
    return image


def _range(plane):
    """Lowest and highest value that a corrected plane may hold, as floats of 64 bits."""
    if plane.dtype.kind == "f":
        top = float(np.finfo(plane.dtype).max)
        return -top, 1.0 if plane.max() <= 1 else top
    limits = np.iinfo(plane.dtype)
    low, high = float(limits.min), float(limits.max)
    # The largest 64-bit integers are no floats, and the next ones are too large.
    return low, np.nextafter(high, 0) if int(high) > limits.max else high
