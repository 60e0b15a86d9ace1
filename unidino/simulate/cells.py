"""One simulated field of view: cells and their stains.

Nothing here is measured from a real data set: shapes and structures are drawn so that they look
like fluorescence images, with each phenotype a named change of a few parameters.
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree


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
        """Centres: cells grow in patches, no two nuclei overlap; in clumps they are squeezed."""
        rng, (height, width) = self.rng, self.shape
        kind, phenotype = self.cell_type, self.phenotype
        radius = kind.radius
        area = (height + 2 * radius) * (width + 2 * radius) * phenotype["count"] / 1e6
        wanted = rng.poisson(max(kind.density * area, 0.2))
        clumps = rng.integers(*_CLUMP, rng.poisson(kind.clumps * area), endpoint=True)
        least = 2.1 * kind.nucleus_radius * np.sqrt(phenotype["nucleus_area"])
        points = np.empty((wanted + clumps.sum(), 2))
        count = 0

        def anywhere():
            return rng.uniform((-radius, -radius), (height + radius, width + radius))

        def beside(point, nearest, furthest):
            angle, reach = rng.uniform(0, 2 * np.pi), radius * rng.uniform(nearest, furthest)
            return point + reach * np.array([np.sin(angle), np.cos(angle)])

        def far_enough(point, least):
            return (np.hypot(*(points[:count] - point).T) > least).all()

        for size in clumps:
            centre = anywhere()
            for _ in range(8 * size):
                point = beside(centre, 0.0, 1.3)
                if size and far_enough(point, 0.72 * least):
                    points[count] = point
                    count, size = count + 1, size - 1
        piled = count
        for _ in range(8 * wanted):
            if count == piled + wanted:
                break
            near = count and rng.random() < kind.clustering
            point = beside(points[rng.integers(count)], 1.1, 1.9) if near else anywhere()
            if far_enough(point, least):
                points[count] = point
                count += 1
        self.centres = points[:count]
        self.cells = count
        # Cells of a clump lie on top of each other.
        self.thickness = np.where(np.arange(count) < piled, _PILED, 1.0)

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


NORMAL = {
    # Factors, 1 for an untreated cell.
    "count": 1.0,
    "cell_area": 1.0,
    "nucleus_area": 1.0,
    "nucleus_roughness": 1.0,
    "elongation": 1.0,
    "dna_intensity": 1.0,
    "chromatin": 1.0,
    "tubulin_intensity": 1.0,
    "tubulin_density": 1.0,
    "tubulin_bundling": 1.0,
    "actin_intensity": 1.0,
    "actin_fibres": 1.0,
    "actin_cortex": 1.0,
    "er_intensity": 1.0,
    "er_spread": 1.0,
    "rna_intensity": 1.0,
    "nucleoli": 1.0,
    "golgi_intensity": 1.0,
    "golgi_dispersal": 1.0,
    "mito_intensity": 1.0,
    "mito_fragmentation": 1.0,
    # Shares of cells, 0 to 1.
    "mitotic": 0.03,
    "apoptotic": 0.01,
    "binucleate": 0.02,
}
"""Phenotype of an untreated cell."""

SHARES = ("mitotic", "apoptotic", "binucleate")

# Cells of a clump, fewest and most, and how much brighter they are than one layer.
_CLUMP, _PILED = (4, 8), 1.25

# Pixels: grains of the fine, medium and coarse texture that all stains of a field share.
_GRAINS = (1.1, 2.3, 6.0)


@dataclass(frozen=True)
class CellType:
    """Shape of a kind of cell.

    Attributes
    ----------
    radius, nucleus_radius : float
        Pixels.
    irregular : float
        How ragged the outline is, 0 to 1.
    density : float
        Cells per million pixels.
    clustering : float
        Share of the cells that grow beside another, 0 to 1.
    clumps : float
        Heaps of cells per million pixels, beside the other cells.
    line : str
        Cell line with a texture of its own, see `microscope.style`; none for the usual one.
    """

    radius: float = 25.0
    nucleus_radius: float = 9.5
    irregular: float = 0.5
    density: float = 470.0
    clustering: float = 0.35
    clumps: float = 2.0
    line: str = ""


def blend(changes, strength):
    """Phenotype at a strength between untreated (0) and full effect (1).

    Parameters
    ----------
    changes : dict
        Parameters of `NORMAL` at full effect.
    strength : float
    """
    phenotype = dict(NORMAL)
    for name, target in changes.items():
        normal = NORMAL[name]
        if name in SHARES:
            phenotype[name] = float(np.clip(normal + (target - normal) * strength, 0, 0.9))
        else:
            phenotype[name] = normal * (target / normal) ** strength
    return phenotype


class Field(Outlines):
    """The cells of one field, from which each stain is drawn.

    Parameters
    ----------
    rng : numpy.random.Generator
    shape : (int, int)
        Height, width in pixels.
    cell_type : CellType
    phenotype : dict
        See `NORMAL` and `blend`.
    style : textures.Style
        Of outlines and nuclei; each stain has its own.
    """

    def __init__(self, rng, shape, cell_type, phenotype, style=USUAL):
        super().__init__(rng, shape, cell_type, phenotype, style)
        if self.cells:
            self._white = [rng.standard_normal(shape, dtype=np.float32) for _ in _GRAINS]
            self._textures = {}

    def _texture(self, number):
        sigma = _GRAINS[number] * self.style.grain
        if sigma not in self._textures:
            self._textures[sigma] = smooth(self._white[number], sigma)
        return self._textures[sigma]

    @property
    def fine(self):
        return self._texture(0)

    @property
    def medium(self):
        return self._texture(1)

    @property
    def coarse(self):
        return self._texture(2)

    @property
    def cytoplasm(self):
        """Soft mask of the cells without their nuclei."""
        return soft(self.edge, 1.2) * (1 - self.nucleus)

    def _per_cell(self, sigma):
        """A brightness of each cell, spread over its pixels."""
        bright = self.thickness * np.exp(self.rng.normal(0, sigma, self.cells))
        return bright[self.own].astype(np.float32)

    def _beside_nucleus(self, reach):
        """Place of each pixel relative to a point beside its cell's nucleus."""
        own = self.core
        away = reach * self.nucleus_size[own]
        y = self.straight[0] - self.nucleus_offset[own, 0] - away * np.sin(self.toward[own])
        x = self.straight[1] - self.nucleus_offset[own, 1] - away * np.cos(self.toward[own])
        return y, x

    def stain(self, name, style=USUAL):
        """Brightness of a stain, 0 for none and about 1 for its usual structures.

        Parameters
        ----------
        name : str
            A key of `STAINS`.
        style : textures.Style

        Returns
        -------
        numpy.ndarray
            (H, W) float32.
        """
        if not self.cells:
            return np.zeros(self.shape, np.float32)
        self.style = style
        drawn = np.maximum(STAINS[name](self), 0)
        if style.diffuse:
            drawn = drawn + style.diffuse * soft(self.edge, 1.5)
        return drawn.astype(np.float32)

    def dna(self):
        p, s = self.phenotype, self.style
        texture = 1 + s.contrast * p["chromatin"] * (0.16 * self.medium + 0.1 * self.fine)
        condensed = np.where(self.mitotic | self.apoptotic, 1.9, 1.0)[self.core]
        clumps = 0.25 + 1.1 * soft(self.medium - 0.2, 0.2)
        broken = np.where(self.apoptotic[self.core], clumps, 1.0)
        body = self.nucleus * np.clip(texture, 0.3, 2) * condensed * broken
        return (
            p["dna_intensity"] * self._per_cell(0.2) * body * (1 - 0.4 * s.contrast * self.nucleoli)
        )

    def _radiating(self, turns):
        """Distance from a point beside the nucleus, and filaments that run away from it."""
        s = self.style
        y, x = self._beside_nucleus(0.6)
        radius = np.hypot(y, x)
        texture = noise(self.rng, (512, 256), (1.7 * s.grain, 5.0 * s.grain))
        turns = turns * s.density
        bend = 2.2 * s.wave * self.coarse
        turn = np.arctan2(y, x) * turns + bend + 37 * self.own
        return radius, sample(texture, turn, radius * 0.45 + 11 * self.own)

    def tubulin(self):
        p, s = self.phenotype, self.style
        radius, texture = self._radiating(turns=50 * p["tubulin_density"] ** 0.5)
        width = 0.5 * s.width * p["tubulin_bundling"] ** 0.5
        lines = s.contrast * ridges(texture, width) * p["tubulin_density"] ** 0.7
        body = soft(self.edge, 2.0) * (1 - 0.6 * self.nucleus)
        fall = 0.35 + 0.9 * np.exp(-radius / (0.75 * s.reach * self.cell_type.radius))
        signal = body * fall * (0.28 + 0.95 * p["tubulin_bundling"] ** 0.5 * lines)
        spindle = self.mitotic[self.core] * np.exp(-((self.nuclear_radius / 1.6) ** 2)) * body
        return p["tubulin_intensity"] * self._per_cell(0.18) * (signal + 1.3 * spindle)

    def _stress_fibres(self):
        s = self.style
        along = self.angle + self.rng.normal(0, 0.2, self.cells)
        cos, sin = np.cos(along[self.core]), np.sin(along[self.core])
        y, x = self.straight
        across = y * cos - x * sin + 1.4 * s.wave * self.coarse + 53 * self.core
        texture = noise(self.rng, (256, 256), (0.9 * s.grain, 9.0 * s.grain))
        along = (x * cos + y * sin) * 0.6 + 29 * self.core
        return ridges(sample(texture, across, along) - s.density**-0.5, 0.5 * s.width)

    def actin(self):
        p, s = self.phenotype, self.style
        body = soft(self.edge, 1.0)
        cortex = np.exp(-((self.edge - 1.6) ** 2) / (3.0 * s.width**2)) * self.body
        fibres = self._stress_fibres() * body * (1 - 0.3 * self.nucleus)
        ruffles = cortex * np.clip(0.75 + 0.45 * self.coarse, 0.1, 2)
        signal = (
            0.22 * body
            + 0.8 * p["actin_cortex"] * ruffles
            + 0.6 * s.contrast * p["actin_fibres"] * fibres
        )
        return p["actin_intensity"] * self._per_cell(0.2) * signal

    def _outwards(self):
        return np.clip(self.nuclear_radius - 1, 0, None)

    def er(self):
        p, s = self.phenotype, self.style
        fall = np.exp(-self._outwards() / (1.1 * s.reach * p["er_spread"]))
        mesh = 0.6 + 0.4 * ridges(self.fine, 0.8 * s.width)
        net = 0.45 + 0.75 * s.contrast * ridges(self.medium, 0.55 * s.width) * mesh
        envelope = np.exp(-(((self.nuclear_radius - 1.03) / (0.1 * s.width)) ** 2)) * self.body
        signal = self.cytoplasm * fall * net + 0.35 * envelope + 0.12 * self.nucleus
        return p["er_intensity"] * self._per_cell(0.18) * signal

    def rna(self):
        p, s = self.phenotype, self.style
        even = 0.8 + 0.12 * s.contrast * self.medium
        cytosol = self.cytoplasm * np.exp(-self._outwards() / (1.6 * s.reach)) * even
        bright = 0.95 * s.contrast * p["nucleoli"] * self.nucleoli
        signal = 0.75 * cytosol + 0.35 * self.nucleus + bright
        return p["rna_intensity"] * self._per_cell(0.15) * signal

    def golgi(self):
        p, s = self.phenotype, self.style
        y, x = self._beside_nucleus(1.25)
        width = 0.62 * s.reach * self.nucleus_size[self.core] * p["golgi_dispersal"]
        cap = np.exp(-(y**2 + x**2) / (2 * width**2))
        stacks = np.clip(
            0.15 + 0.75 * s.contrast * self.medium + 0.3 * s.contrast * self.fine, 0, 2.5
        )
        thin = p["golgi_dispersal"] ** -0.7
        return p["golgi_intensity"] * thin * 1.5 * cap * stacks * self.cytoplasm

    def agp(self):
        return 0.72 * self.actin() + 0.9 * self.golgi()

    def mito(self):
        p, s = self.phenotype, self.style
        meshes = noise(self.rng, self.shape, 1.5 * s.grain * s.density**-0.5)
        network = ridges(meshes + 0.35 * s.wave * self.coarse, 0.33 * s.width)
        dots = spots(self.fine, 0.9, 0.2, s.density)
        share = np.clip(np.log2(p["mito_fragmentation"]) / 2, 0, 1)
        shape = (1 - share) * network + share * 1.25 * dots
        fall = np.exp(-((self._outwards() / (1.5 * s.reach)) ** 2)) * soft(self.edge - 2, 1.5)
        signal = self.cytoplasm * fall * (0.12 + 1.15 * s.contrast * shape)
        return p["mito_intensity"] * self._per_cell(0.22) * signal

    def nucleoplasm(self):
        return (
            self.nucleus
            * (0.8 + 0.1 * self.style.contrast * self.medium)
            * (1 - 0.8 * self.nucleoli)
        )

    def nuclear_membrane(self):
        width = 0.09 * self.style.width
        ring = np.exp(-(((self.nuclear_radius - 0.97) / width) ** 2)) * self.body
        return ring + 0.12 * self.nucleus

    def nucleolus(self):
        return 1.3 * self.nucleoli + 0.1 * self.nucleus

    def speckles(self):
        dots = spots(self.fine + 0.5 * self.medium, 1.1, 0.2, self.style.density)
        return self.nucleus * (0.15 + 1.2 * self.style.contrast * dots)

    def membrane(self):
        rim = np.exp(-((self.edge - 0.8) ** 2) / (2 * self.style.width**2)) * self.body
        return rim + 0.1 * soft(self.edge, 1.0)

    def vesicles(self):
        return self.cytoplasm * (0.08 + 1.3 * spots(self.fine, 1.35, 0.2, self.style.density))

    def centrosome(self):
        y, x = self._beside_nucleus(1.2)
        return (
            1.8 * np.exp(-(y**2 + x**2) / (4.5 * self.style.width**2)) * self.body
            + 0.08 * self.cytoplasm
        )

    def cytosol(self):
        return self.cytoplasm * (0.7 + 0.08 * self.style.contrast * self.coarse)

    def intermediate_filaments(self):
        s = self.style
        radius, texture = self._radiating(turns=30)
        fall = np.exp(-radius / (0.6 * s.reach * self.cell_type.radius))
        lines = s.contrast * ridges(texture + 0.4 * self.coarse, 0.6 * s.width)
        return 1.2 * self.cytoplasm * fall * (0.15 + lines)

    def aggresome(self):
        y, x = self._beside_nucleus(1.4)
        return (
            1.6 * np.exp(-(y**2 + x**2) / (20 * self.style.width**2)) * self.cytoplasm
            + 0.2 * self.cytoplasm
        )


STAINS = {
    "dna": Field.dna,
    "tubulin": Field.tubulin,
    "actin": Field.actin,
    "er": Field.er,
    "rna": Field.rna,
    "agp": Field.agp,
    "mito": Field.mito,
    "Nucleoplasm": Field.nucleoplasm,
    "Nuclear membrane": Field.nuclear_membrane,
    "Nucleoli": Field.nucleolus,
    "Nuclear speckles": Field.speckles,
    "Endoplasmic reticulum": Field.er,
    "Golgi apparatus": Field.golgi,
    "Intermediate filaments": Field.intermediate_filaments,
    "Actin filaments": Field.actin,
    "Microtubules": Field.tubulin,
    "Centrosome": Field.centrosome,
    "Plasma membrane": Field.membrane,
    "Mitochondria": Field.mito,
    "Aggresome": Field.aggresome,
    "Cytosol": Field.cytosol,
    "Vesicles": Field.vesicles,
}
"""Stains, and localisations of single proteins by the names of the Human Protein Atlas."""

_OWN = {
    Field.dna: ("dna_intensity", "chromatin"),
    Field.tubulin: ("tubulin_intensity", "tubulin_density", "tubulin_bundling"),
    Field.actin: ("actin_intensity", "actin_fibres", "actin_cortex"),
    Field.er: ("er_intensity", "er_spread"),
    Field.rna: ("rna_intensity", "nucleoli"),
    Field.golgi: ("golgi_intensity", "golgi_dispersal"),
    Field.mito: ("mito_intensity", "mito_fragmentation"),
}
_OWN[Field.agp] = (*_OWN[Field.actin], *_OWN[Field.golgi])

_OF_STAINS = frozenset(name for own in _OWN.values() for name in own)

# What is the cells' changes all stains but these: of nuclei alone, and of outlines alone.
_UNSEEN = dict.fromkeys(
    (Field.dna, Field.nucleoplasm, Field.nucleolus, Field.speckles), ("elongation",)
)
_UNSEEN[Field.membrane] = ("nucleus_roughness", "binucleate")


def changed_stains(changes, stains):
    """Which stains look different where parameters of a phenotype change.

    What is a stain's own (`tubulin_density`) changes that stain, what is the cells' (`count`,
    `cell_area`) changes all.

    Parameters
    ----------
    changes : iterable of str
        Parameters of `NORMAL`.
    stains : iterable of str
        Keys of `STAINS`.

    Returns
    -------
    list of str
        Of `stains`, in their order.
    """

    def touched(drawn, name):
        if name in _OF_STAINS:
            return name in _OWN.get(drawn, ())
        return name not in _UNSEEN.get(drawn, ())

    return [stain for stain in stains if any(touched(STAINS[stain], name) for name in changes)]
