"""What a simulated microscope makes of a stain: blur, uneven light, noise, saturation."""

from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import gaussian_filter

from .cells import USUAL, Style
from .designs import generator


@dataclass(frozen=True)
class Camera:
    """Optics and camera of a microscope.

    Attributes
    ----------
    bits, shift : int
        Of the sensor, and how far its values are shifted left when stored.
    offset, read_noise : float
        In counts.
    electrons : float
        Photo-electrons of a structure of brightness 1.
    gain : float
        Counts a photo-electron.
    blur, haze : float
        Width of the focus in pixels; share of the light that is out of focus.
    vignette : float
        Loss of illumination at the corners, 0 to 1.
    """

    bits: int = 16
    shift: int = 0
    offset: float = 200.0
    read_noise: float = 8.0
    electrons: float = 900.0
    gain: float = 8.0
    blur: float = 0.8
    haze: float = 0.25
    vignette: float = 0.2


_SPECKS = 3.0
"""Specks of debris per million pixels."""


def debris(rng, shape):
    """Brightness of what lies about between and on cells: dust, fragments of dead ones.

    Parameters
    ----------
    rng : numpy.random.Generator
    shape : (int, int)
        Height, width in pixels.

    Returns
    -------
    numpy.ndarray or None
        (H, W) float32, in focus or out of it; None where a field has no speck, as most have.
    """
    count = rng.poisson(_SPECKS * shape[0] * shape[1] / 1e6)
    if not count:
        return None
    made = np.zeros(shape, np.float32)
    for _ in range(count):
        speck = np.zeros(shape, np.float32)
        speck[rng.integers(shape[0]), rng.integers(shape[1])] = 1
        sigma = rng.uniform(1.0, 6.0)
        # The same light, spread over more pixels out of focus.
        made += gaussian_filter(speck, sigma) * sigma * rng.uniform(6, 25)
    return made


def photograph(rng, brightness, camera, background=0.03):
    """What the camera stores of a stain: blur, uneven light, shot and read noise, saturation.

    Parameters
    ----------
    rng : numpy.random.Generator
    brightness : numpy.ndarray
        (H, W), from `Field.stain`.
    camera : Camera
    background : float
        Brightness between cells.

    Returns
    -------
    numpy.ndarray
        (H, W) uint8 for an 8-bit camera, else uint16.
    """
    height, width = brightness.shape
    sharp = gaussian_filter(brightness, camera.blur)
    hazy = gaussian_filter(brightness, 9.0, truncate=2.5)
    light = (1 - camera.haze) * sharp + camera.haze * hazy + background
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    centre = rng.normal(0, 0.15, 2)
    light = light * (1 - camera.vignette * ((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / 2)
    electrons = rng.poisson(np.clip(light, 0, None) * camera.electrons)
    counts = electrons * camera.gain + camera.offset
    counts = counts + rng.normal(0, camera.read_noise, brightness.shape)
    stored = np.clip(np.rint(counts), 0, 2**camera.bits - 1).astype(np.uint16) << camera.shift
    return stored.astype(np.uint8) if camera.bits + camera.shift <= 8 else stored


# Standard deviations of the logarithm of each factor of a style.
_SPREAD = {
    "grain": 0.3,
    "width": 0.28,
    "contrast": 0.35,
    "density": 0.35,
    "reach": 0.35,
    "wave": 0.5,
}
# Of these for the lines of cells that one laboratory stains alike.
_LINE_SHARE = 0.8
# No factor goes beyond: structures stay recognisable.
_LARGEST = 2.2

RENDERING_SCALES = (0.65, 1.6)
"""Smallest and largest factor on the radius of cells and of nuclei."""


def _factor(rng, spread, largest=_LARGEST):
    return float(np.clip(np.exp(rng.normal(0, spread)), 1 / largest, largest))


def style(rendering, name, line=""):
    """The style of a stain, or of the shapes of cells.

    Parameters
    ----------
    rendering : int
    name : str
        A key of `cells.STAINS`, or "shapes".
    line : str
        Cell line with a texture of its own (`cells.CellType.line`), on top of the rendering's.

    Returns
    -------
    cells.Style
    """
    made = USUAL
    if rendering:
        rng = generator(rendering, "style", name)
        factors = {factor: _factor(rng, spread) for factor, spread in _SPREAD.items()}
        diffuse = max(0.0, float(rng.normal(0.0, 0.08))) if name != "shapes" else 0.0
        made = Style(**factors, diffuse=diffuse)
    if not line:
        return made
    rng = generator(0, "line style", line, name)
    both = {
        factor: getattr(made, factor) * _factor(rng, _LINE_SHARE * spread)
        for factor, spread in _SPREAD.items()
    }
    return replace(
        made, **{name: float(np.clip(f, 1 / _LARGEST, _LARGEST)) for name, f in both.items()}
    )


def cell_type(rendering, kind):
    """A cell type at another magnification, with nuclei and outlines of its own.

    Parameters
    ----------
    rendering : int
    kind : cells.CellType
    """
    if rendering == 0:
        return kind
    rng = generator(rendering, "cells")
    low, high = RENDERING_SCALES
    scale = float(np.exp(rng.uniform(np.log(low), np.log(high))))
    nucleus = float(np.clip(scale * _factor(rng, 0.12, 1.25), low, high))
    # As confluent as before, more or less, whatever the size.
    density = kind.density / scale**2 * _factor(rng, 0.15, 1.4)
    return replace(
        kind,
        radius=kind.radius * scale,
        nucleus_radius=kind.nucleus_radius * nucleus,
        irregular=float(np.clip(kind.irregular * _factor(rng, 0.4), 0.05, 0.75)),
        density=density,
    )


def camera(rendering, camera, stain):
    """Other optics, exposure and noise for a stain.

    Parameters
    ----------
    rendering : int
    camera : camera.Camera
    stain : str
    """
    if rendering == 0:
        return camera
    optics = generator(rendering, "optics")
    blur, noise, vignette = _factor(optics, 0.3), _factor(optics, 0.4), _factor(optics, 0.4)
    offset = _factor(optics, 0.5)
    own = generator(rendering, "optics", stain)
    exposure, light = _factor(own, 0.25, 1.6), _factor(own, 0.5)
    return replace(
        camera,
        blur=camera.blur * blur * _factor(own, 0.15),
        haze=float(np.clip(camera.haze * _factor(own, 0.5), 0.02, 0.6)),
        vignette=min(camera.vignette * vignette, 0.6),
        offset=camera.offset * offset,
        read_noise=camera.read_noise * noise,
        electrons=camera.electrons * light,
        gain=camera.gain / light * exposure,
    )
