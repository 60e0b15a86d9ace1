"""Shapes of the cells of a simulated field: where they lie, their outlines, nuclei and nucleoli."""

import numpy as np
from scipy.spatial import cKDTree

from .textures import USUAL, noise, soft, spots


class Outlines:
    """Cells as masks, without any stain.

    Parameters
    ----------
    rng, shape, cell_type, phenotype, style
        See `cells.Field`.
    """

    def __init__(self, rng, shape, cell_type, phenotype, style=USUAL):
        self.rng = rng
        self.shape = shape
        self.phenotype = phenotype
        self.cell_type = cell_type
        self.style = style
        self._place()
        if self.cells:
            self._outline()
            self._nuclei()

    def _place(self):
        """Centres: cells grow in patches, no two nuclei overlap."""
        rng, (height, width) = self.rng, self.shape
        radius, phenotype = self.cell_type.radius, self.phenotype
        area = (height + 2 * radius) * (width + 2 * radius)
        wanted = rng.poisson(max(self.cell_type.density * phenotype["count"] * area / 1e6, 0.2))
        least = 2.1 * self.cell_type.nucleus_radius * np.sqrt(phenotype["nucleus_area"])
        points = np.empty((wanted, 2))
        count = 0
        for _ in range(8 * wanted):
            if count == wanted:
                break
            if count and rng.random() < 0.35:
                angle, reach = rng.uniform(0, 2 * np.pi), radius * rng.uniform(1.1, 1.9)
                point = points[rng.integers(count)] + reach * np.array(
                    [np.sin(angle), np.cos(angle)]
                )
            else:
                point = rng.uniform((-radius, -radius), (height + radius, width + radius))
            if (np.hypot(*(points[:count] - point).T) > least).all():
                points[count] = point
                count += 1
        self.centres = points[:count]
        self.cells = count

    def _outline(self):
        """Which cell each pixel belongs to, and where in that cell it lies."""
        rng, shape, n, kind = self.rng, self.shape, self.cells, self.cell_type
        phenotype = self.phenotype
        self.mitotic = rng.random(n) < phenotype["mitotic"]
        self.apoptotic = ~self.mitotic & (rng.random(n) < phenotype["apoptotic"])
        resting = ~self.mitotic & ~self.apoptotic
        self.binucleate = resting & (rng.random(n) < phenotype["binucleate"])
        self.angle = rng.uniform(0, np.pi, n)
        stretch = phenotype["elongation"] * np.exp(rng.normal(0.12, 0.15, n))
        rounded = np.where(resting, 1.0, 0.72)
        self.radius = kind.radius * np.sqrt(phenotype["cell_area"]) * rounded
        self.radius = self.radius * np.exp(rng.normal(0, 0.12, n))
        y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
        wobble = kind.irregular * kind.radius * 0.42
        warped_y = y + wobble * noise(rng, shape, 9 * self.style.grain)
        warped_x = x + wobble * noise(rng, shape, 9 * self.style.grain)
        near = min(2, n)
        distances, nearest = cKDTree(self.centres).query(
            np.stack([warped_y.ravel(), warped_x.ravel()], 1), k=near
        )
        distances, nearest = distances.reshape(*shape, near), nearest.reshape(*shape, near)
        own = nearest[..., 0]
        dy, dx = warped_y - self.centres[own, 0], warped_x - self.centres[own, 1]
        cos, sin = np.cos(self.angle[own]), np.sin(self.angle[own])
        root = np.sqrt(stretch[own])
        reach = np.hypot((dx * cos + dy * sin) / root, (dy * cos - dx * sin) * root)
        # Neighbours press against each other: a cell ends where the next one is as near.
        gap = distances[..., -1] - distances[..., 0] if near == 2 else np.full(shape, 99.0)
        self.own = own
        self.edge = np.minimum(self.radius[own] - reach, gap / 2).astype(np.float32)
        self.body = self.edge > 0
        # Nuclei do not follow the ragged outline: each belongs to the nearest centre itself.
        _, core = cKDTree(self.centres).query(np.stack([y.ravel(), x.ravel()], 1))
        self.core = core.reshape(shape)
        self.straight = y - self.centres[self.core, 0], x - self.centres[self.core, 1]

    def _nuclei(self):
        """Soft masks of nuclei and nucleoli."""
        rng, n, phenotype, own = self.rng, self.cells, self.phenotype, self.core
        size = self.cell_type.nucleus_radius * np.sqrt(phenotype["nucleus_area"])
        size = size * np.exp(rng.normal(0, 0.1, n))
        offset = rng.normal(0, 0.08, (n, 2)) * self.radius[:, None]
        # A metaphase plate is a thin bright bar.
        ratio = np.where(self.mitotic, 2.4, np.exp(rng.normal(0.22, 0.12, n)))
        tilt = self.angle + rng.normal(0, 0.4, n)
        size = size * np.where(self.mitotic, 0.75, np.where(self.apoptotic, 0.7, 1.0))
        y, x = self.straight[0] - offset[own, 0], self.straight[1] - offset[own, 1]
        cos, sin = np.cos(tilt[own]), np.sin(tilt[own])
        along, across = x * cos + y * sin, y * cos - x * sin
        half = np.where(self.binucleate, 0.95 * size, 0)[own]
        along = np.where(half > 0, np.abs(along) - half, along)
        root = np.sqrt(ratio[own])
        style = self.style
        rough = 0.05 * phenotype["nucleus_roughness"] * noise(rng, self.shape, 4.0 * style.grain)
        self.nuclear_radius = np.hypot(along / root, across * root) / size[own] + rough
        self.nucleus = soft((1 - self.nuclear_radius) * size[own], 0.8)
        self.nucleus_size = size
        self.nucleus_offset = offset
        self.toward = rng.uniform(0, 2 * np.pi, n)
        grains = spots(noise(rng, self.shape, 1.8 * style.grain), 1.3, 0.25, style.density)
        self.nucleoli = grains * self.nucleus * (self.nuclear_radius < 0.75)
