"""The size of pixels in µm, from the lengths and units that files state."""

import math

PLAUSIBLE = (0.01, 20.0)
"""µm; resolutions that stand for other sizes are those of a printer or a screen."""

_MICROMETRES = {
    "pm": 1e-6, "picometer": 1e-6, "a": 1e-4, "å": 1e-4, "angstrom": 1e-4,
    "nm": 1e-3, "nanometer": 1e-3, "um": 1.0, "µm": 1.0, "micron": 1.0, "microns": 1.0,
    "micrometer": 1.0, "mm": 1e3, "millimeter": 1e3, "cm": 1e4, "centimeter": 1e4,
    "inch": 25400.0, "in": 25400.0, "m": 1e6, "meter": 1e6,
}  # fmt: skip


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
    return square(*(micrometres(*side) for side in level.pixel))


def square(x, y):
    """The size of a pixel that is as high as wide; None where it is not, or not known."""
    if x is None or y is None or abs(x - y) > 0.01 * x:
        return None
    # Files hold it in few digits, or as a fraction of whole numbers.
    return float(f"{x:.6g}")
