"""The plan of each simulated dataset: plates, treatments, files and tables in the real layout."""

import hashlib
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from . import cells, designs
from .camera import Camera

PAINTING = ("dna", "er", "rna", "agp", "mito")

# Factors at `batch_effect` 1: standard deviations of the logarithm.
_BATCH_GAIN, _PLATE_GAIN, _BATCH_DENSITY, _POSITION = 0.14, 0.05, 0.1, 0.06
_EDGE_COUNT = 0.88

# Columns that name what a well was treated with, in one dataset or another.
_TREATMENTS = ("compound", "perturbation_id", "gene_symbol")


@dataclass
class Site:
    """One field to draw.

    Attributes
    ----------
    files : list of str
        Below the dataset's folder: one a stain, or one for all.
    stains : list of str
        Keys of `cells.STAINS`.
    name : str
        Decides its random numbers, with the seed.
    mechanism : str or None
    strength : float
        0 for untreated to 1 for full effect.
    cell_type : cells.CellType
    camera : Camera
    shape : (int, int)
        Pixels.
    changes : dict
        Factors on top of the mechanism.
    gains : list of float
        Brightness of each stain.
    treatment : str or None
        Compound or gene.
    """

    files: list
    stains: list
    name: str
    mechanism: str | None
    strength: float
    cell_type: cells.CellType
    camera: Camera
    shape: tuple
    changes: dict = field(default_factory=dict)
    gains: list = field(default_factory=list)
    treatment: str | None = None


@dataclass
class Plan:
    """Sites to draw, tables to write, and what was planted in each well."""

    sites: list
    tables: dict
    truth: pd.DataFrame


def generator(seed, *names):
    """Random numbers that follow from a seed and names alone, on every machine."""
    digest = hashlib.sha256("|".join(map(str, (seed, *names))).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "little"))


def random_phenotype(seed, *names):
    """A morphology that no published mechanism has.

    Parameters
    ----------
    seed : int
    *names : str
        Mechanism and treatment; the phenotype follows from them and the seed alone.

    Returns
    -------
    dict
        3 to 7 parameters of `cells.NORMAL` at full effect.
    """
    rng = generator(seed, "phenotype", *names)
    changes = {}
    for name in rng.permutation(list(cells.NORMAL))[: rng.integers(3, 8)].tolist():
        if name in cells.SHARES:
            changes[name] = float(rng.uniform(0, 0.4))
            continue
        # Never so near to 1 that nothing is seen.
        step = 0.3 + abs(rng.normal(0, 0.4))
        low, high = designs.LIMITS[name]
        changes[name] = float(np.clip(np.exp(step * rng.choice((-1, 1))), low, high))
    return changes


def well_grid(count):
    """(rows, columns) of the smallest usual plate that holds `count` wells.

    Raises
    ------
    ValueError
        More than 1536.
    """
    for rows, columns in ((8, 12), (16, 24), (32, 48)):
        if count <= rows * columns:
            return rows, columns
    raise ValueError(f"wells is {count}; a plate has at most 1536.")


def well_label(row, column):
    """A01 for row 0, column 0; AA01 for row 26."""
    letters = chr(ord("A") + row) if row < 26 else "A" + chr(ord("A") + row - 26)
    return f"{letters}{column + 1:02d}"


def lay_out(rng, treatments):
    """Put treatments into the wells of a plate, in random places.

    Returns
    -------
    list of dict
        The treatments with ``row`` and ``column`` (from 0), ``well`` and ``edge``.
    """
    rows, columns = well_grid(len(treatments))
    # A compact block that keeps the plate's proportions, so that small plates have edges, too.
    high = max(1, min(rows, round((len(treatments) * rows / columns) ** 0.5)))
    wide = -(-len(treatments) // high)
    places = [(place // wide, place % wide) for place in rng.permutation(len(treatments))]
    return [
        {
            **treatment,
            "row": row,
            "column": column,
            "well": well_label(row, column),
            "edge": row in (0, high - 1) or column in (0, wide - 1),
            "across": (column + 0.5) / wide - 0.5,
        }
        for treatment, (row, column) in zip(treatments, places, strict=True)
    ]


class Effects:
    """Batch, plate and position effects of a dataset, each drawn from its name."""

    def __init__(self, seed, strength, stains):
        self.seed = seed
        self.strength = strength
        self.stains = stains

    def of(self, batch, plate, well):
        """(gains of the stains, factors on the phenotype) of a well."""
        by_batch = generator(self.seed, "batch", batch)
        by_plate = generator(self.seed, "plate", batch, plate)
        s = self.strength
        gain = by_batch.normal(0, _BATCH_GAIN * s, len(self.stains))
        density = by_batch.normal(0, _BATCH_DENSITY * s)
        gain = gain + by_plate.normal(0, _PLATE_GAIN * s, len(self.stains))
        slope = by_plate.normal(0, 2 * _POSITION * s)
        gain = gain + slope * well["across"]
        count = np.exp(density) * (_EDGE_COUNT**s if well["edge"] else 1.0)
        return np.exp(gain).tolist(), {"count": float(count)}


def plate_wells(seed, batches, plates, treatments_of, effects, effect, batch_effect):
    """Every well of every plate as a dict: keys, treatment, effects, planted strength."""
    wells = []
    for batch in batches:
        for plate in plates(batch):
            placed = lay_out(generator(seed, "layout", batch, plate), treatments_of(batch, plate))
            for well in placed:
                gains, changes = effects.of(batch, plate, well)
                well = {"batch": batch, "plate": plate, **well}
                well["strength"] = well.get("strength", 0.0) * effect
                well |= {"gains": gains, "changes": changes}
                wells.append(well)
    return wells


def truth_table(wells, extra=()):
    """The planted truth, a row a well."""
    names = ["batch", "plate", "well", *extra, "mechanism", "strength"]
    rows = [
        {name: well.get(name) for name in names}
        | {"count_factor": well["changes"]["count"], "mean_gain": float(np.mean(well["gains"]))}
        for well in wells
    ]
    return pd.DataFrame(rows).round(4)


def site_of(well, number, files, stains, cell_type, camera, shape):
    name = f"{well['batch']}|{well['plate']}|{well['well']}|{number}"
    return Site(
        files=files,
        stains=list(stains),
        name=name,
        mechanism=well.get("mechanism"),
        strength=well["strength"],
        cell_type=cell_type,
        camera=camera,
        shape=shape,
        changes=well["changes"],
        gains=well["gains"],
        treatment=next((well[name] for name in _TREATMENTS if well.get(name)), None),
    )


def room_for_treatments(controls, wells, valset):
    """Wells left for treatments."""
    if wells <= controls:
        raise ValueError(f"wells is {wells}; {valset} needs more than its {controls} controls.")
    return wells - controls


def guid(seed, *names):
    text = hashlib.sha256("|".join(map(str, (seed, "guid", *names))).encode()).hexdigest().upper()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:32]))
