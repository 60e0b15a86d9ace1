"""Elementary textures that stains are drawn with, and the style in which a stain is drawn."""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter


@dataclass(frozen=True)
class Style:
    """How a preparation renders the structures of cells: factors, 1 for the usual look.

    Attributes
    ----------
    grain : float
        Size of grains, meshes and spots.
    width : float
        Of filaments, rims and rings.
    contrast : float
        Of the texture against the even part of a stain.
    density : float
        Of filaments, meshes and spots.
    reach : float
        How far a stain extends from the nucleus, or from the centre it grows from.
    wave : float
        How much filaments meander.
    diffuse : float
        Brightness of unbound dye all over the cell; 0 by default.
    """

    grain: float = 1.0
    width: float = 1.0
    contrast: float = 1.0
    density: float = 1.0
    reach: float = 1.0
    wave: float = 1.0
    diffuse: float = 0.0


USUAL = Style()


def smooth(white, sigma):
    """White noise as smooth periodic noise of standard deviation 1."""
    made = gaussian_filter(white, sigma, mode="wrap")
    return made / made.std()


def noise(rng, shape, sigma):
    """Smooth periodic Gaussian noise of standard deviation 1."""
    return smooth(rng.standard_normal(shape, dtype=np.float32), sigma)


def ridges(field, width):
    """Lines along the zero crossings of a noise field: a network of filaments."""
    return np.exp(-((field / width) ** 2))


def sample(field, y, x):
    """A periodic noise field at given (rounded) places."""
    return field[y.astype(np.int32) % field.shape[0], x.astype(np.int32) % field.shape[1]]


def soft(distance, width):
    """1 inside, 0 outside, a smooth step of the given width between."""
    return 1 / (1 + np.exp(-np.clip(distance / width, -30, 30)))


def spots(field, level, width, density=1.0):
    """Spots where a noise field is above a level; a lower level for a density above 1."""
    return soft(field - (level - 0.5 * float(np.log(density))), width)
