"""What a simulated microscope makes of a stain: blur, uneven light, noise, saturation."""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter


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


def photograph(rng, brightness, camera, background=0.03, debris=0.0):
    """What the camera stores of a stain: blur, uneven light, shot and read noise, saturation.

    Parameters
    ----------
    rng : numpy.random.Generator
    brightness : numpy.ndarray
        (H, W), from `Field.stain`.
    camera : Camera
    background : float
        Brightness between cells.
    debris : float
        Probability of a bright out-of-focus speck.

    Returns
    -------
    numpy.ndarray
        (H, W) uint8 for an 8-bit camera, else uint16.
    """
    height, width = brightness.shape
    if rng.random() < debris:
        speck = np.zeros_like(brightness)
        speck[rng.integers(height), rng.integers(width)] = 1
        sigma = rng.uniform(2.0, 7.0)
        brightness = brightness + gaussian_filter(speck, sigma) * sigma**2 * rng.uniform(4, 14)
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
