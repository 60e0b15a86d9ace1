"""Worlds: small sets of plates in each of which one thing is planted and another is not.

What a metric should find is known of each, so that the worlds tell what a metric sees.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from . import cells, designs, layouts
from .microscope import Camera

TABLE = "plates.csv"
"""All worlds in one table, a row a site."""

CHANNELS = ("dna", "tubulin", "actin")
"""Stains, and columns of paths in `TABLE`."""

MOA = ("Microtubule destabilizers", "Actin disruptors", "DNA damage")
"""Mechanisms of all worlds but the one of `designs.ONE_STAIN`."""

COMPOUNDS = 5
"""A mechanism."""

STRENGTHS = (0.15, 0.4, 1.0)
"""Of the sweep; its strength 0 is the world without mechanisms."""

FIELD, SITES = 176, 2
"""Pixels a side of a field, and fields a well."""

_KIND = cells.CellType(radius=22, nucleus_radius=8.5, density=620)

# Two compounds of a mechanism are not one: each does something else beside it, so much weaker.
_OWN_EFFECT = 0.2

# Standard deviations of the logarithm of what a batch does to its treated wells, and whole
# logarithms of what a position does from one side of a plate to the other.
_BY_BATCH = {"cell_area": 0.35, "nucleus_area": 0.25, "elongation": 0.25, "actin_fibres": 0.4}
_BATCH_BRIGHTNESS = 0.35
_ACROSS = {"nucleus_area": 0.7, "tubulin_bundling": 0.9}
_DOWN = {"cell_area": 0.8, "actin_fibres": 1.2}
_POSITION_BRIGHTNESS = (0.5, 0.6, -0.6)


@dataclass(frozen=True)
class World:
    """Plates of one make.

    Attributes
    ----------
    name : str
        In the column ``world``.
    batches : list of list of dict
        Treatments of the plates of each batch, controls among them.
    plates : int
        A batch; all of its plates hold the same treatments.
    positions : {"random", "fixed"}
        Of replicates, see `layouts.POSITIONS`.
    batch : float
        Factor on the effects that batch, plate and edge have in all simulated sets.
    treated_batch : float
        Strength of an effect of the batch on treated wells alone, as of another lot of the
        solvent: negative controls do not show it, so that no normalisation on them takes it out.
    position : float
        Strength of an effect of row and column, the same on all plates.
    """

    name: str
    batches: list
    plates: int = 1
    positions: str = "random"
    batch: float = 1.0
    treated_batch: float = 0.0
    position: float = 0.0


def _treatments(mechanisms, strengths, controls):
    """Every compound of every mechanism at every strength, and negative controls."""
    made = [{"compound": "DMSO", "strength": 0.0, "control_type": "negcon"}] * controls
    for i, mechanism in enumerate(mechanisms):
        for k in range(COMPOUNDS):
            compound = f"compound {i * COMPOUNDS + k + 1:02d}"
            named = {"compound": compound, "moa": mechanism, "mechanism": mechanism}
            made += [named | {"strength": strength} for strength in strengths]
    return made


def _in_batches(batch_of, controls):
    """Compounds without any effect, each in one batch of three; controls in all."""
    placed = _treatments(MOA, (0.0,), controls)
    return [
        [*placed[:controls], *(t for i, t in enumerate(placed[controls:]) if batch_of(i) == batch)]
        for batch in range(len(MOA))
    ]


def _mostly_one(i):
    """Batch of a compound: of its mechanism's for all but the last, which lies in the next."""
    own, number = divmod(i, COMPOUNDS)
    return (own + (number == COMPOUNDS - 1)) % len(MOA)


def all_worlds():
    """The worlds, in the order of the page.

    Returns
    -------
    list of World
    """
    null = _treatments(MOA, (0.0,), 6)
    # Ten compounds are enough to see whether a replicate is found.
    ten = null[:16]
    return [
        World("sweep", [_treatments(MOA, STRENGTHS, 8)] * 2),
        World("no mechanism", [null] * 2),
        World("no batch", [_treatments(MOA, (0.7,), 6)] * 2, batch=0.0),
        World("batch", _in_batches(_mostly_one, 5), treated_batch=1.0),
        World("confounded", _in_batches(lambda i: i // COMPOUNDS, 5), treated_batch=1.0),
        World("fixed positions", [ten], plates=2, positions="fixed", position=1.0),
        World("random positions", [ten], plates=2, positions="random", position=1.0),
        World("one stain", [_treatments(designs.ONE_STAIN, (1.0,), 6)]),
    ]


class _Effects(layouts.Effects):
    """Those of all sets, and what a world adds."""

    def __init__(self, seed, world, batch_effect):
        super().__init__(seed, world.batch * batch_effect, CHANNELS)
        self.world = world
        self.batch_effect = batch_effect

    def of(self, batch, plate, well):
        gains, changes = super().of(batch, plate, well)
        gains = np.log(gains)
        own = designs.generator(self.seed, "treated batch", batch)
        brightness = own.normal(0, _BATCH_BRIGHTNESS, len(CHANNELS))
        by_batch = {name: own.normal(0, spread) for name, spread in _BY_BATCH.items()}
        if not well.get("control_type"):
            strength = self.world.treated_batch * self.batch_effect
            gains = gains + strength * brightness
            changes |= {name: float(np.exp(strength * log)) for name, log in by_batch.items()}
        strength = self.world.position * self.batch_effect
        across, down = strength * well["across"], strength * well["down"]
        gains = gains + np.array(_POSITION_BRIGHTNESS) * (across, down, across)
        for logs, place in ((_ACROSS, across), (_DOWN, down)):
            for name, log in logs.items():
                changes[name] = changes.get(name, 1.0) * float(np.exp(log * place))
        return np.exp(gains).tolist(), changes


def _own_effect(seed, compound, strength):
    """Factors of what a compound does beside its mechanism."""
    made = layouts.random_phenotype(seed, "beside its mechanism", compound)
    return {
        name: float(value ** (_OWN_EFFECT * strength))
        for name, value in made.items()
        if name not in cells.SHARES
    }


def plan(seed, field, sites, wells, plates, batches, effect, batch_effect):
    """All worlds: `layouts.Plan`."""
    if (wells, plates, batches) != (None, None, None):
        raise ValueError("the worlds have plates of their own: leave wells, plates and batches.")
    placed = []
    for world in all_worlds():
        slug = world.name.replace(" ", "-")
        made = layouts.plate_wells(
            seed,
            [f"{slug}-{i + 1}" for i in range(len(world.batches))],
            lambda batch, plates=world.plates: [f"{batch}-P{i + 1}" for i in range(plates)],
            lambda batch, plate, world=world: world.batches[int(batch.rsplit("-", 1)[1]) - 1],
            _Effects(seed, world, batch_effect),
            effect,
            world.positions,
        )
        placed += [{"world": world.name, **well} for well in made]
    drawn, rows = [], []
    camera = Camera(bits=12, offset=110, read_noise=4, electrons=700, gain=2.2)
    for well in placed:
        # In the world of single stains a compound is its mechanism and nothing else.
        if well["strength"] and well["mechanism"] not in designs.ONE_STAIN:
            for name, factor in _own_effect(seed, well["compound"], well["strength"]).items():
                well["changes"][name] = well["changes"].get(name, 1.0) * factor
        for s in range(1, sites + 1):
            stem = f"images/{well['plate']}/{well['well']}_s{s}_"
            files = [f"{stem}{stain}.tif" for stain in CHANNELS]
            names = ("world", "batch", "plate", "well")
            row = {name: well[name] for name in names} | {"site": s}
            names = ("compound", "moa", "control_type", "strength")
            row |= {name: well.get(name) for name in names}
            rows.append(row | dict(zip(CHANNELS, files, strict=True)))
            drawn.append(layouts.site_of(well, s, files, CHANNELS, _KIND, camera, (field, field)))
    truth = layouts.truth_table(placed, CHANNELS, ["world", "compound", "moa"])
    return layouts.Plan(drawn, {TABLE: pd.DataFrame(rows)}, truth)
