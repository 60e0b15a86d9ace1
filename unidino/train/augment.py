"""Multi-crop views: windows drawn for the workers, cut raw, augmented on the device in batches.

Source of the views and their ranges: the released training code (two large and eight small crops
at native resolution, flips, additive shift and gamma, each clipped); zoom, blur and noise are
additions, off by default.
"""

import functools
import math
from dataclasses import dataclass, fields

import numpy as np
import torch
import torch.nn.functional as F

from ..choices import GLOBAL_VIEWS

FLIP = 0.5
BLUR_SIGMAS = (0.4, 2.0)
"""Range of the blur's width, in pixels of the view."""
NOISE_SDS = (0.005, 0.05)
"""Range of the noise's standard deviation, on the scale of [0, 1]."""

_BLUR_RADIUS = 6
_NOISE_BANK = 2**20
# Columns of a view's draws.
INVERSE_ZOOM, CENTRE_Y, CENTRE_X, FLIP_Y, FLIP_X, BLUR, NOISE, NOISE_START = range(8)


@dataclass(frozen=True)
class ViewSettings:
    """How views are drawn from an image.

    Attributes
    ----------
    size, local_size : int
        Sides of the global and the local views, in pixels.
    local_crops_number : int
        Local views of an image, beside the two global ones.
    zoom_min, zoom_max : float
        Range of the magnification, drawn evenly on a logarithmic scale; 1 and 1 cut views at
        native resolution, as published.
    shared_zoom : bool
        All views of an image have the same magnification: embeddings then keep the size of
        structures, which independent magnifications teach them to ignore.
    shift : float
        Largest additive shift of intensities, on the scale of [0, 1].
    gamma_min, gamma_max : float
        Range of the exponent on intensities.
    blur_prob, noise_prob : float
        Probability that a view is blurred, and that noise is added to it.
    """

    size: int = 224
    local_size: int = 96
    local_crops_number: int = 8
    zoom_min: float = 1.0
    zoom_max: float = 1.0
    shared_zoom: bool = False
    shift: float = 0.3
    gamma_min: float = 0.5
    gamma_max: float = 1.5
    blur_prob: float = 0.0
    noise_prob: float = 0.0

    def __post_init__(self):
        for low, high in (("zoom_min", "zoom_max"), ("gamma_min", "gamma_max")):
            if not 0 < getattr(self, low) <= getattr(self, high):
                raise ValueError(
                    f"{low} is {getattr(self, low)} and {high} {getattr(self, high)}; expected "
                    "0 < min <= max."
                )
        for name in ("blur_prob", "noise_prob"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it is a probability, 0 to 1.")
        if not 0 <= self.shift <= 1:
            raise ValueError(f"shift is {self.shift}; it must be 0 to 1.")
        if self.local_crops_number < 0:
            raise ValueError(
                f"local_crops_number is {self.local_crops_number}; expected 0 or more."
            )

    @classmethod
    def of(cls, options):
        """The settings among the options of `unidino.train.train`."""
        return cls(**{field.name: options[field.name] for field in fields(cls)})

    @property
    def native(self):
        """Views are cut at native resolution, without resampling."""
        return self.zoom_min == self.zoom_max == 1

    @property
    def spoilt(self):
        """Some views may be blurred or noisy."""
        return self.blur_prob > 0 or self.noise_prob > 0

    @property
    def sizes(self):
        """Side of every view of an image, global ones first."""
        return [self.size] * GLOBAL_VIEWS + [self.local_size] * self.local_crops_number

    def window(self, size):
        """Side of the raw window that a view of `size` is made from, in image pixels."""
        return size if self.native else math.ceil(size / self.zoom_min) + 2


def draw_views(rng, settings, height, width, channels):
    """Draw where the views of an image lie and how they will be augmented.

    Parameters
    ----------
    rng : numpy.random.Generator
    settings : ViewSettings
    height, width : int
        Of the image, in pixels.
    channels : int
        Each channel has its own shift and gamma.

    Returns
    -------
    corners : numpy.ndarray of int
        (V, 2), top and left of the raw window of each view; windows may reach beyond the image.
    draws : numpy.ndarray of float32
        (V, 8), see the column numbers of this module.
    tone : numpy.ndarray of float32
        (V, channels, 2): shift, gamma.
    padded : int
        Views that are larger than the image.
    """
    sizes = np.array(settings.sizes)
    count = len(sizes)
    uniform = rng.random((count, 9))
    if settings.shared_zoom:
        uniform[:, 0] = uniform[0, 0]
    low, high = math.log(settings.zoom_min), math.log(settings.zoom_max)
    zoom = np.exp(low + (high - low) * uniform[:, 0])
    extent = sizes / zoom
    room = np.array([height, width]) - extent[:, None]
    # Where a view is larger than the image, both ends are padded alike.
    corner = np.where(room >= 0, uniform[:, 1:3] * np.maximum(room, 0), room / 2)
    if settings.native:
        # Whole pixels, each possible place equally likely.
        places = np.maximum(room, 0) + 1
        corner = np.where(room >= 0, np.minimum(uniform[:, 1:3] * places, places - 1), room / 2)
        corners = np.floor(corner).astype(np.int64)
        centre = np.repeat(sizes[:, None] / 2, 2, axis=1)
    else:
        windows = np.array([settings.window(size) for size in sizes])
        middle = corner + extent[:, None] / 2
        corners = np.floor(middle - windows[:, None] / 2).astype(np.int64)
        centre = middle - corners
    draws = np.zeros((count, 8), np.float32)
    draws[:, INVERSE_ZOOM] = 1 / zoom
    draws[:, [CENTRE_Y, CENTRE_X]] = centre
    draws[:, [FLIP_Y, FLIP_X]] = uniform[:, 3:5] < FLIP
    sigma = BLUR_SIGMAS[0] + (BLUR_SIGMAS[1] - BLUR_SIGMAS[0]) * uniform[:, 5]
    draws[:, BLUR] = np.where(uniform[:, 6] < settings.blur_prob, sigma, 0)
    noise = NOISE_SDS[0] + (NOISE_SDS[1] - NOISE_SDS[0]) * uniform[:, 7]
    draws[:, NOISE] = np.where(uniform[:, 8] < settings.noise_prob, noise, 0)
    draws[:, NOISE_START] = rng.integers(_NOISE_BANK, size=count)
    tone = np.empty((count, channels, 2), np.float32)
    tone[..., 0] = rng.uniform(-settings.shift, settings.shift, (count, channels))
    tone[..., 1] = rng.uniform(settings.gamma_min, settings.gamma_max, (count, channels))
    padded = int(((room[:, 0] < 0) | (room[:, 1] < 0)).sum())
    return corners, draws, tone, padded


def make_views(raw, draws, tone, low, high, size, native, spoilt=True):
    """Turn raw windows into augmented views, on the device that they lie on.

    Parameters
    ----------
    raw : torch.Tensor
        (N, C, W, W), any type.
    draws, tone : torch.Tensor
        (N, 8) and (N, C, 2), from `draw_views`.
    low, high : torch.Tensor
        (N, C), the raw intensities that become 0 and 1.
    size : int
        Side of the views.
    native : bool
        See `ViewSettings.native`.
    spoilt : bool
        Whether any view may be blurred or noisy: looking for such makes a GPU wait.

    Returns
    -------
    torch.Tensor
        (N, C, size, size), float32 in [0, 1].
    """
    x = raw.float()
    x = _flipped(x, draws) if native else _resampled(x, draws, size)
    low, high = low[..., None, None], high[..., None, None]
    x = ((x - low) / (high - low)).clamp_(0, 1)
    x = x.add_(tone[..., :1, None]).clamp_(0, 1).pow_(tone[..., 1:, None])
    if not spoilt:
        return x
    blurred = draws[:, BLUR] > 0
    if bool(blurred.any()):
        x[blurred] = _blurred(x[blurred], draws[blurred, BLUR])
    noisy = draws[:, NOISE] > 0
    if bool(noisy.any()):
        x[noisy] = _noisy(x[noisy], draws[noisy])
    return x


def _flipped(x, draws):
    x = torch.where(draws[:, FLIP_Y, None, None, None] > 0, x.flip(2), x)
    return torch.where(draws[:, FLIP_X, None, None, None] > 0, x.flip(3), x)


def _resampled(x, draws, size):
    """Bilinear samples around each window's centre, magnified and flipped."""
    offsets = torch.arange(size, device=x.device, dtype=torch.float32) + 0.5 - size / 2
    axes = []
    for centre, flip in ((CENTRE_X, FLIP_X), (CENTRE_Y, FLIP_Y)):
        scale = draws[:, INVERSE_ZOOM] * (1 - 2 * draws[:, flip])
        place = draws[:, centre, None] + offsets * scale[:, None]
        axes.append(2 * place / x.shape[-1] - 1)
    columns, rows = axes
    grid = torch.stack(
        [
            columns[:, None, :].expand(-1, size, -1),
            rows[:, :, None].expand(-1, -1, size),
        ],
        -1,
    )
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _blurred(x, sigmas):
    """Gaussian blur, each view with its own width; borders reflected."""
    steps = torch.arange(-_BLUR_RADIUS, _BLUR_RADIUS + 1, device=x.device, dtype=torch.float32)
    kernels = torch.exp(-((steps / sigmas[:, None]) ** 2) / 2)
    kernels = (kernels / kernels.sum(1, keepdim=True))[:, :, None, None, None]
    for axis, pad in ((2, (0, 0, _BLUR_RADIUS, _BLUR_RADIUS)), (3, (_BLUR_RADIUS,) * 2 + (0, 0))):
        side = x.shape[axis]
        wide = F.pad(x, pad, mode="reflect")
        x = sum(wide.narrow(axis, i, side) * kernels[:, i] for i in range(len(steps)))
    return x


@functools.cache
def _noise_bank(device):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(_NOISE_BANK, generator=generator).to(device)


def _noisy(x, draws):
    """Add noise taken from a fixed bank at a drawn place, the same on every device."""
    count = x[0].numel()
    start = draws[:, NOISE_START].long()[:, None]
    picked = (start + torch.arange(count, device=x.device)) % _NOISE_BANK
    noise = _noise_bank(x.device)[picked].view_as(x)
    return (x + noise * draws[:, NOISE, None, None, None]).clamp_(0, 1)
