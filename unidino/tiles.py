"""Where the tiles of an image lie, and which of them show cells."""

import numpy as np

TILINGS = ("cover", "grid", "legacy")
SMALL_IMAGES = ("reflect", "resize")
ANY = "any"


def _starts(length, size, stride, tiling):
    """First pixels of the tiles along one axis."""
    if tiling == "cover":
        count = -(-(length - size) // stride) + 1
        return np.rint(np.linspace(0, length - size, count)).astype(int)
    return np.arange(0, length - size + 1, stride)


def check_stride(size, stride, tiling):
    """Stop on a stride that would leave pixels out of "cover".

    Raises
    ------
    ValueError
    """
    if tiling == "cover" and stride > size:
        raise ValueError(
            f"stride {stride} leaves gaps between tiles of {size}: take at most {size}, or "
            "tiling='grid'."
        )


def tile_grid(height, width, size=224, stride=None, tiling="cover"):
    """Top left corners of an image's tiles, row by row.

    Parameters
    ----------
    height, width, size : int
        Pixels; the image must hold a tile (see `fit_to_tile`).
    stride : int, optional
        Largest step between tiles, at most `size` for "cover"; `size` by default.
    tiling : {"cover", "grid", "legacy"}
        "cover": every pixel lies in a tile; the first and last touch the borders and the overlap
        is spread evenly. "grid": steps of exactly `stride`, what remains at the border left out.
        "legacy": as the released code, a square of as many columns as there are rows (a field of
        1024 x 1280 has 16 of its 20 tiles).

    Returns
    -------
    numpy.ndarray
        (n, 2) integers: top, left.

    Raises
    ------
    ValueError
        An image smaller than a tile; a stride that leaves gaps in "cover"; an image taller than
        wide in "legacy", where the released code crashes.
    """
    stride = stride or size
    if min(height, width) < size:
        raise ValueError(
            f"an image of {height} x {width} is smaller than a tile of {size}; fit it first."
        )
    check_stride(size, stride, tiling)
    rows, columns = (_starts(side, size, stride, tiling) for side in (height, width))
    if tiling == "legacy":
        if len(columns) < len(rows):
            raise ValueError(
                f"an image of {height} x {width} is taller than wide, on which the released code "
                "crashes: take tiling='cover' or 'grid'."
            )
        columns = columns[: len(rows)]
    return np.stack(np.meshgrid(rows, columns, indexing="ij"), -1).reshape(-1, 2)


def tile_count(height, width, size, stride, tiling, small_images):
    """How many tiles an image of these sides has, before those without foreground are left out."""
    shorter = min(height, width)
    if shorter < size and small_images == "resize":
        height, width = (round(side * size / shorter) for side in (height, width))
    rows, columns = (len(_starts(max(n, size), size, stride, tiling)) for n in (height, width))
    return rows * (rows if tiling == "legacy" else columns)


def fit_to_tile(image, size, small_images="reflect"):
    """Bring an image with a side below `size` to that size; larger ones pass unchanged.

    Parameters
    ----------
    image : numpy.ndarray
        (C, H, W).
    size : int
        Pixels.
    small_images : {"reflect", "resize"}
        Pad both ends by reflection, or enlarge so that the shorter side is `size`.

    Returns
    -------
    numpy.ndarray
        (C, >= size, >= size), same type.
    """
    height, width = image.shape[1:]
    if min(height, width) >= size:
        return image
    if small_images == "reflect":
        lacking = [max(0, size - side) for side in (height, width)]
        return np.pad(
            image,
            [(0, 0), *((lack // 2, lack - lack // 2) for lack in lacking)],
            mode="reflect",
        )
    import torch

    scale = size / min(height, width)
    target = [max(size, round(side * scale)) for side in (height, width)]
    enlarged = torch.nn.functional.interpolate(
        torch.from_numpy(image.astype(np.float32))[None], size=target, mode="bilinear"
    )[0].numpy()
    if np.issubdtype(image.dtype, np.integer):
        enlarged = np.rint(enlarged)
    return enlarged.astype(image.dtype)


def foreground_shares(image, grid, size, thresholds, foreground_channel=0):
    """Share of each tile's pixels above the background.

    Parameters
    ----------
    image : numpy.ndarray
        (C, H, W), raw.
    grid : numpy.ndarray
        (n, 2), from `tile_grid`.
    thresholds : sequence of float
        One a channel; foreground is strictly above.
    foreground_channel : int or "any"
        "any": a pixel counts when it is above the background in at least one channel.

    Returns
    -------
    numpy.ndarray
        (n,), 0 to 1.
    """
    return tile_shares(foreground(image, thresholds, foreground_channel), grid, size)


def foreground(image, thresholds, foreground_channel=0):
    """Which pixels lie above the background.

    Parameters and the meaning of "any" are those of `foreground_shares`.

    Returns
    -------
    numpy.ndarray of bool
        (H, W).
    """
    if foreground_channel != ANY:
        return image[foreground_channel] > thresholds[foreground_channel]
    above = np.zeros(image.shape[1:], bool)
    for channel, threshold in zip(image, thresholds, strict=True):
        above |= channel > threshold
    return above


def tile_shares(mask, grid, size):
    """Share of each tile's pixels that a mask (H, W) holds, (n,)."""
    # Counting takes a tenth of the time of the mean, and is as exact.
    return np.array([np.count_nonzero(mask[y : y + size, x : x + size]) for y, x in grid]) / size**2


def cut(image, grid, size):
    """The tiles of an image (C, H, W), copied: (n, C, size, size)."""
    made = np.empty((len(grid), len(image), size, size), image.dtype)
    for tile, (y, x) in zip(made, grid, strict=True):
        tile[:] = image[:, y : y + size, x : x + size]
    return made


def choose_tiles(shares, min_foreground=0.01):
    """Which tiles are kept.

    Parameters
    ----------
    shares : numpy.ndarray
        (n,), from `foreground_shares`.
    min_foreground : float
        Least share of foreground, 0 to 1.

    Returns
    -------
    kept : numpy.ndarray of bool
        (n,); the middle tile where none passes, as published.
    empty : bool
        None passed.
    """
    kept = shares >= min_foreground
    empty = not kept.any()
    if empty:
        kept = np.arange(len(shares)) == len(shares) // 2
    return kept, empty


def coverage(height, width, grid, kept, size):
    """Share of an image's pixels that lie in at least one kept tile."""
    covered = np.zeros((height, width), bool)
    for y, x in grid[kept]:
        covered[y : y + size, x : x + size] = True
    return np.count_nonzero(covered) / covered.size
