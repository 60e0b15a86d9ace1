"""Other laboratories: another rendering of every stain, of the cells and of the optics.

A rendering is a whole number. What it changes follows from this number and the stain's name alone,
so that two datasets of one rendering look alike, and those of another look like no plate of it.
Number 0 is the usual look.
"""

from dataclasses import replace

import numpy as np

from .layouts import generator
from .textures import USUAL, Style

# Standard deviations of the logarithm of each factor of a style.
_SPREAD = {
    "grain": 0.3,
    "width": 0.28,
    "contrast": 0.35,
    "density": 0.35,
    "reach": 0.35,
    "wave": 0.5,
}
# No factor goes beyond: structures stay recognisable.
_LARGEST = 2.2

SCALES = (0.65, 1.6)
"""Smallest and largest factor on the radius of cells and of nuclei."""


def _factor(rng, spread, largest=_LARGEST):
    return float(np.clip(np.exp(rng.normal(0, spread)), 1 / largest, largest))


def style(rendering, name):
    """The style of a stain, or of the shapes of cells.

    Parameters
    ----------
    rendering : int
    name : str
        A key of `cells.STAINS`, or "shapes".

    Returns
    -------
    textures.Style
    """
    if rendering == 0:
        return USUAL
    rng = generator(rendering, "style", name)
    factors = {factor: _factor(rng, spread) for factor, spread in _SPREAD.items()}
    diffuse = max(0.0, float(rng.normal(0.0, 0.08))) if name != "shapes" else 0.0
    return Style(**factors, diffuse=diffuse)


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
    low, high = SCALES
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
