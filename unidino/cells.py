"""The pixels of a simulated field: where cells lie, how they are stained, what a camera makes of it.

Everything is drawn on a field with a margin, so that cells and blur cross its border, and all
randomness comes from the generators passed in.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from scipy import fft

INTERPHASE, ROUNDED, METAPHASE, ANAPHASE, MONOPOLAR, APOPTOTIC, MULTINUCLEATE = range(7)


@dataclass(frozen=True)
class Camera:
    """How light becomes numbers.

    Attributes
    ----------
    dtype : str
        Of the file.
    bits : int
        Of the camera; its values are shifted left to fill `dtype` where `shift` is set.
    shift : int
        Bits.
    offset : float
        Value without light, in camera units before the shift.
    signal : float
        Camera units of a stain of brightness 1.
    electrons : float
        Electrons a camera unit: fewer is noisier.
    read_noise : float
        Standard deviation, camera units.
    haze : float
        Share of the light that comes from out of focus.
    sigma : float
        Of the point spread function, pixels.
    vignetting : float
        Loss of light in the corners.
    """

    dtype: str = "uint16"
    bits: int = 16
    shift: int = 0
    offset: float = 200.0
    signal: float = 3000.0
    electrons: float = 0.5
    read_noise: float = 12.0
    haze: float = 0.3
    sigma: float = 0.9
    vignetting: float = 0.18


@lru_cache(maxsize=16)
def _frequency_squared(shape, real):
    """Squared spatial frequency, cycles a pixel, of each Fourier coefficient."""
    y = fft.fftfreq(shape[0])[:, None]
    x = (fft.rfftfreq if real else fft.fftfreq)(shape[1])[None, :]
    return (y**2 + x**2).astype(np.float32)


@lru_cache(maxsize=64)
def _spectrum(shape, fine, coarse):
    """Amplitudes of a random field with structures between two sizes, unit variance."""
    squared = _frequency_squared(shape, False)
    amplitude = np.exp(-2 * np.pi**2 * fine**2 * squared)
    if coarse:
        amplitude = amplitude - np.exp(-2 * np.pi**2 * coarse**2 * squared)
    # The transform of white noise has variance 1 a coefficient with norm="ortho".
    return (amplitude / np.sqrt(np.mean(amplitude**2))).astype(np.float32)


def random_fields(rng, shape, fine, coarse=0.0):
    """Two independent smooth Gaussian random fields.

    Parameters
    ----------
    rng : numpy.random.Generator
    shape : (int, int)
    fine, coarse : float
        Gaussian widths in pixels between which the structures lie; `coarse` 0 means no limit.

    Returns
    -------
    numpy.ndarray
        (2, H, W) float32, mean 0, variance 1, periodic.
    """
    white = rng.standard_normal((*shape, 2), dtype=np.float32).view(np.complex64)[..., 0]
    white *= _spectrum(shape, float(fine), float(coarse))
    smooth = fft.ifft2(white, norm="ortho", overwrite_x=True)
    return np.stack([smooth.real, smooth.imag])


def blurred(image, sigma, haze=0.0, haze_sigma=9.0):
    """An image through a Gaussian point spread function with a wide tail.

    Parameters
    ----------
    image : numpy.ndarray
        (H, W) float32; its borders are taken as periodic, so it needs a margin.
    sigma, haze_sigma : float
        Pixels.
    haze : float
        Share of the light in the tail.
    """
    squared = _frequency_squared(image.shape, True)
    transfer = (1 - haze) * np.exp(np.float32(-2 * np.pi**2 * sigma**2) * squared)
    if haze:
        transfer += haze * np.exp(np.float32(-2 * np.pi**2 * haze_sigma**2) * squared)
    return fft.irfft2(fft.rfft2(image) * transfer, s=image.shape)


@dataclass
class Field:
    """The geometry of one field, margins included.

    Attributes
    ----------
    label : numpy.ndarray
        (H, W) cell of each pixel, -1 outside cells.
    depth : numpy.ndarray
        (H, W) pixels from the cell's edge inwards, 0 outside.
    radial : numpy.ndarray
        (H, W) 0 in the cell's middle, 1 at its free edge.
    near_nucleus : numpy.ndarray
        (H, W) distance from the centre of the cell's nucleus in nuclear radii.
    nucleus : numpy.ndarray
        (H, W) 0 in a nucleus's middle, 1 at its edge, large outside.
    body : numpy.ndarray
        (H, W) nuclear body of each pixel, -1 outside.
    x, y, angle, radius, long, short, state
        Of each cell.
    bodies : dict
        Arrays of each nuclear body: cell, x, y, long, short, angle, bright, kind.
    """

    shape: tuple
    margin: int
    label: np.ndarray
    depth: np.ndarray
    radial: np.ndarray
    near_nucleus: np.ndarray
    nucleus: np.ndarray
    body: np.ndarray
    x: np.ndarray
    y: np.ndarray
    angle: np.ndarray
    radius: np.ndarray
    nuclear_radius: np.ndarray
    state: np.ndarray
    bodies: dict

    def spread(self, values, outside=0.0):
        """A value a cell as an image."""
        return np.append(np.asarray(values, np.float32), np.float32(outside))[self.label]

    @property
    def inside(self):
        """Pixels in cells, bool."""
        return self.label >= 0

    @property
    def soft(self):
        """Coverage by cells, with soft edges, 0 to 1."""
        return np.clip(self.depth / 2.0, 0, 1)

    def count(self):
        """Cells whose nucleus lies in the field proper."""
        return int(self._visible().sum())

    def _visible(self):
        height, width = (n - 2 * self.margin for n in self.size)
        y, x = self.y - self.margin, self.x - self.margin
        return (y >= 0) & (y < height) & (x >= 0) & (x < width)

    @property
    def size(self):
        """(height, width) with margins, before padding to a size that transforms quickly."""
        return self.shape


def _place(rng, shape, phenotype, islands):
    """Centres of the cells: no two nuclei too close, more in islands."""
    area = shape[0] * shape[1]
    expected = phenotype.coverage * area / (np.pi * phenotype.cell_radius**2)
    wanted = rng.poisson(expected)
    if not wanted:
        return np.zeros((0, 2), np.float32)
    candidates = rng.uniform(0, 1, (wanted * 8 + 16, 2)) * shape
    height = islands[tuple(candidates.astype(int).T)]
    # Islands: candidates are tried from the highest ground down, so far as clustering says.
    share = phenotype.clustering
    order = np.argsort(-(share * height + (1 - share) * rng.standard_normal(len(height))))
    closest = (1.9 * phenotype.nucleus_radius) ** 2
    chosen = np.empty((wanted, 2), np.float32)
    count = 0
    for y, x in candidates[order]:
        near = chosen[:count]
        if count and ((near[:, 0] - y) ** 2 + (near[:, 1] - x) ** 2).min() < closest:
            continue
        chosen[count] = y, x
        count += 1
        if count == wanted:
            break
    return chosen[:count]


def _states(rng, count, p):
    """State of each cell by the shares of a phenotype."""
    mitotic = p.mitotic
    shares = [
        p.apoptotic, mitotic * p.monopolar, mitotic * (1 - p.monopolar) * 0.75,
        mitotic * (1 - p.monopolar) * 0.25, p.rounded, p.multinucleate,
    ]  # fmt: skip
    kinds = np.array([APOPTOTIC, MONOPOLAR, METAPHASE, ANAPHASE, ROUNDED, MULTINUCLEATE, INTERPHASE])
    # Where the shares exceed the whole, the later kinds give way.
    edges = np.minimum(np.cumsum(shares), 1)
    return kinds[np.searchsorted(edges, rng.uniform(size=count), side="right")]


def _ring(rng, n, distance):
    turn = rng.uniform(0, 2 * np.pi) + np.arange(n) * 2 * np.pi / n
    return distance * np.sin(turn), distance * np.cos(turn)


def _nuclear_bodies(rng, p, y, x, angle, state):
    """Ellipses that make up the nuclei: several a cell where it divides, dies or has too many."""
    rows = []
    r0 = p.nucleus_radius
    for cell, kind in enumerate(state):
        r = r0 * np.exp(rng.normal(0, 0.09))
        turn = angle[cell] + rng.normal(0, 0.3)
        if kind == METAPHASE:
            rows.append((cell, 0, 0, 1.15 * r, 0.38 * r, angle[cell] + np.pi / 2, 2.3, kind))
        elif kind == ANAPHASE:
            for side in (-1, 1):
                gap = side * 0.75 * r
                dy, dx = gap * np.sin(angle[cell]), gap * np.cos(angle[cell])
                rows.append((cell, dy, dx, 0.85 * r, 0.33 * r, angle[cell] + np.pi / 2, 2.0, kind))
        elif kind == MONOPOLAR:
            for dy, dx in zip(*_ring(rng, 8, 0.62 * r), strict=True):
                rows.append((cell, dy, dx, 0.36 * r, 0.2 * r, np.arctan2(dy, dx), 2.0, kind))
        elif kind == APOPTOTIC:
            n = rng.integers(2, 6)
            dy, dx = rng.normal(0, 0.55 * r, (2, n))
            size = rng.uniform(0.25, 0.5, n) * r
            rows += [(cell, dy[i], dx[i], size[i], size[i], 0, 2.6, kind) for i in range(n)]
        elif kind == MULTINUCLEATE:
            n = rng.integers(2, 5)
            size = r * rng.uniform(0.75, 1.05, n) * n**-0.35
            dy, dx = _ring(rng, n, 0.75 * r)
            rows += [(cell, dy[i], dx[i], 1.08 * size[i], size[i], rng.uniform(0, 3), 1.0, kind)
                     for i in range(n)]  # fmt: skip
        else:
            stretch = np.sqrt(p.nucleus_elongation * np.exp(rng.normal(0, 0.08)))
            small = 0.85 if kind == ROUNDED else 1.0
            # DNA content: most cells have one set, some are copying it or have two.
            copies = rng.choice([1.0, 1.35, 1.8], p=[0.6, 0.22, 0.18])
            r *= small * copies**0.28
            bright = copies**0.5 * (1.3 if kind == ROUNDED else 1.0)
            rows.append((cell, 0, 0, r * stretch, r / stretch, turn, bright, kind))
    table = np.array(rows, dtype=np.float64).reshape(-1, 8)
    cell = table[:, 0].astype(int)
    return dict(
        cell=cell, y=y[cell] + table[:, 1], x=x[cell] + table[:, 2], long=table[:, 3],
        short=table[:, 4], angle=table[:, 5], bright=table[:, 6], kind=table[:, 7].astype(int),
    )  # fmt: skip


def _window(centre, reach, length):
    return slice(max(0, int(centre - reach)), min(length, int(centre + reach) + 2))


def _nearest_ellipse(grid, y, x, long, short, angle, reach, taper=None):
    """Which ellipse each pixel belongs to: (index or -1, distance to it, to the second best).

    Distances are in units of the ellipse's own axes: 1 at its edge.
    """
    gy, gx = grid
    shape = gy.shape
    best = np.full(shape, 9.0, np.float32)
    second = np.full(shape, 9.0, np.float32)
    label = np.full(shape, -1, np.int32)
    for i in range(len(y)):
        r = reach * long[i]
        window = _window(y[i], r, shape[0]), _window(x[i], r, shape[1])
        if window[0].start >= window[0].stop or window[1].start >= window[1].stop:
            continue
        dy, dx = gy[window] - np.float32(y[i]), gx[window] - np.float32(x[i])
        c, s = np.float32(np.cos(angle[i])), np.float32(np.sin(angle[i]))
        u = (c * dx + s * dy) * np.float32(1 / long[i])
        v = (c * dy - s * dx) * np.float32(1 / short[i])
        if taper is not None:
            v *= 1 + np.float32(taper[i]) * np.clip(u, -1, 1)
        d = np.sqrt(u * u + v * v)
        b = best[window]
        closer = d < b
        second[window] = np.minimum(second[window], np.maximum(b, d))
        label[window][closer] = i
        best[window] = np.minimum(b, d)
    return label, best, second


def lay_out(rng, height, width, phenotype):
    """Draw the cells of a field.

    Parameters
    ----------
    rng : numpy.random.Generator
    height, width : int
        Of the field without margins, pixels.
    phenotype : phenotypes.Phenotype

    Returns
    -------
    Field
    """
    p = phenotype
    margin = int(np.ceil(1.3 * p.cell_radius))
    shape = fft.next_fast_len(height + 2 * margin), fft.next_fast_len(width + 2 * margin)
    islands, _ = random_fields(rng, shape, 2.2 * p.cell_radius)
    centres = _place(rng, shape, p, islands)
    y, x = centres.T.astype(np.float64)
    count = len(y)
    state = _states(rng, count, p)
    angle = rng.uniform(0, 2 * np.pi, count)
    radius = p.cell_radius * np.exp(rng.normal(0, p.cell_variation, count))
    balls = np.isin(state, (ROUNDED, METAPHASE, ANAPHASE, MONOPOLAR, APOPTOTIC))
    floor = 1.45 * p.nucleus_radius
    ball_radius = np.where(state == APOPTOTIC, 1.15, 1.7) * p.nucleus_radius
    radius = np.where(balls, np.minimum(ball_radius, radius), np.maximum(radius, floor))
    radius = np.where(state == MULTINUCLEATE, radius * 1.2, radius)
    stretch = np.sqrt(np.maximum(1.02, p.cell_elongation * np.exp(rng.normal(0, 0.15, count))))
    stretch = np.where(balls, 1.03, stretch)
    taper = np.where(balls, 0, rng.uniform(-0.45, 0.45, count))
    # The nucleus lies behind the cell's middle, seen along its polarity.
    offset = np.where(balls, 0, rng.uniform(0, 0.3, count) * (radius - p.nucleus_radius).clip(0))
    cy, cx = y + offset * np.sin(angle), x + offset * np.cos(angle)

    gy, gx = np.meshgrid(
        np.arange(shape[0], dtype=np.float32), np.arange(shape[1], dtype=np.float32), indexing="ij"
    )
    coarse = random_fields(rng, shape, 0.3 * p.cell_radius)
    fine = random_fields(rng, shape, 0.1 * p.cell_radius)
    bend = p.cell_irregularity * p.cell_radius
    bent = (gy + bend * (0.5 * coarse[0] + 0.16 * fine[0]),
            gx + bend * (0.5 * coarse[1] + 0.16 * fine[1]))  # fmt: skip
    label, best, second = _nearest_ellipse(
        bent, cy, cx, radius * stretch, radius / stretch, angle, 1.35, taper
    )
    label = np.where(best < 1, label, -1)

    bodies = _nuclear_bodies(rng, p, y, x, angle, state)
    wobble = p.nucleus_irregularity * p.nucleus_radius
    rough = random_fields(rng, shape, 0.42 * p.nucleus_radius)
    body, nuclear, _ = _nearest_ellipse(
        (gy + wobble * rough[0], gx + wobble * rough[1]),
        bodies["y"], bodies["x"], bodies["long"], bodies["short"], bodies["angle"], 1.5,
    )  # fmt: skip
    body = np.where(nuclear < 1, body, -1)
    # A nucleus belongs to its own cell, however the outlines fell.
    owner = np.append(bodies["cell"], -1)[body]
    label = np.where(body >= 0, owner, label)

    each = np.append(radius, 1.0).astype(np.float32)[label]
    depth = np.minimum((second - best) * 0.5, 1 - best) * each
    depth = np.where(body >= 0, np.maximum(depth, 2.0), depth)
    depth = np.where(label >= 0, depth.clip(0), 0).astype(np.float32)
    ny, nx = (np.append(values, 0).astype(np.float32)[label] for values in (y, x))
    nuclear_radius = np.full(count, p.nucleus_radius)
    near = np.hypot(gy - ny, gx - nx) / np.float32(p.nucleus_radius)
    return Field(
        shape=shape, margin=margin, label=label, depth=depth, radial=best.clip(0, 1),
        near_nucleus=np.where(label >= 0, near, 9).astype(np.float32), nucleus=nuclear, body=body,
        x=x, y=y, angle=angle, radius=radius, nuclear_radius=nuclear_radius, state=state,
        bodies=bodies,
    )  # fmt: skip


def expose(rng, light, field, camera, size, defocus=0.0, gain=1.0, tilt=(0.0, 0.0)):
    """What a camera records of a stain.

    Parameters
    ----------
    rng : numpy.random.Generator
    light : numpy.ndarray
        (H, W) brightness of the stain, margins included.
    field : Field
    camera : Camera
    size : (int, int)
        Of the image, pixels.
    defocus : float
        Width in pixels of the blur that comes on top.
    gain : float
        Factor on the light.
    tilt : (float, float)
        Change of the illumination from one border to the other, by axis.

    Returns
    -------
    numpy.ndarray
        (height, width) of the camera's type.
    """
    image = blurred(light.astype(np.float32), np.hypot(camera.sigma, defocus), camera.haze)
    top = field.margin
    image = image[top : top + size[0], top : top + size[1]].clip(0)
    y = np.linspace(-1, 1, size[0], dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, size[1], dtype=np.float32)[None, :]
    evenness = 1 - camera.vignetting * (y**2 + x**2) / 2 + tilt[0] * y + tilt[1] * x
    electrons = image * evenness * np.float32(camera.signal * gain * camera.electrons)
    noise = rng.standard_normal(size, dtype=np.float32)
    # Beyond some tens of electrons a Poisson count is as good as normal.
    values = electrons + np.sqrt(electrons) * noise
    values = values / camera.electrons + camera.offset
    values += camera.read_noise * rng.standard_normal(size, dtype=np.float32)
    return (values.clip(0, 2**camera.bits - 1).astype(camera.dtype)) << camera.shift


def with_defocus(camera, factor):
    """A camera with a point spread function wider by a factor."""
    return replace(camera, sigma=camera.sigma * factor)
