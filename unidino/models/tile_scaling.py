"""What is done to each tile alone before it enters a network, as the network's authors do it."""

import torch
import torch.nn.functional as F

METHODS = ("none", "moments", "percentiles")

_EIGHT_BITS = 255
_FLOOR = 1e-7
_SHARES = (0.01, 0.99)


def scaled(x, method):
    """Tiles, each channel of each scaled by its own pixels.

    Parameters
    ----------
    x : torch.Tensor
        (B, C, H, W), float32.
    method : {"none", "moments", "percentiles"}
        As they are; see `by_moments` and `by_percentiles`.

    Returns
    -------
    torch.Tensor
        The same shape.
    """
    ways = {"none": lambda x: x, "moments": by_moments, "percentiles": by_percentiles}
    return ways[method](x)


def by_moments(x):
    """Mean 0 and variance 1; 0 where a tile is constant.

    The floor of the variance is that of intensities to 255, which the authors feed.

    Source: CaicedoLab/CHAMMI-75, commit 4db6a35, benchmarks/models.py, PerImageNormalize.
    """
    x = x * _EIGHT_BITS
    variance, mean = torch.var_mean(x, (2, 3), correction=0, keepdim=True)
    return (x - mean) / (variance + _FLOOR).sqrt()


def by_percentiles(x):
    """The 1st percentile at 0 and the 99th at 1; nothing is clipped.

    Where the two coincide, in a tile of next to nothing but background, its least and greatest
    values take their place: the authors divide by 1e-6, which depends on the unit of the
    intensities. A constant tile is 0.

    Source: cellimnet/microsnoop-publish, commit 5cdcaf0, microsnoop/datasets/datasets_utils.py.
    """
    flat = x.flatten(2)
    shares = torch.tensor(_SHARES, dtype=x.dtype, device=x.device)
    low, high = torch.quantile(flat, shares, dim=2)
    alike = high <= low
    low = torch.where(alike, flat.amin(2), low)[..., None, None]
    high = torch.where(alike, flat.amax(2), high)[..., None, None]
    return (x - low) / torch.where(high > low, high - low, 1)


def resized(x, size):
    """Tiles of `size` x `size` pixels: bilinear, antialiased where they shrink."""
    if x.shape[2:] == (size, size):
        return x
    return F.interpolate(x, (size, size), mode="bilinear", antialias=True)
