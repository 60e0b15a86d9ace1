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

_COLUMNS = (
    "world", "batch", "plate", "well", "site", "compound", "moa", "control_type", "strength",
)  # fmt: skip

CHANNELS = ("dna", "tubulin", "actin")
"""Stains, and columns of paths in `TABLE`."""

MOA = ("Microtubule destabilizers", "Actin disruptors", "DNA damage")
"""Mechanisms of all worlds but the one of `designs.ONE_STAIN`."""

COMPOUNDS = 5
"""A mechanism."""

STRENGTHS = (0.2, 0.45, 1.0)
"""Of the sweep; its strength 0 is the world without mechanisms."""

FIELD, SITES = 112, 2
"""Pixels a side of a field, and fields a well."""

_KIND = cells.CellType(radius=16, nucleus_radius=6.5, density=1150)

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

    @property
    def strengths(self):
        """Strengths of the treatments, the least first; of treatments that do nothing, [0]."""
        wells = (treatment for batch in self.batches for treatment in batch)
        return sorted({well["strength"] for well in wells if "mechanism" in well})

    @property
    def planted(self):
        """What is planted, in words."""
        least, greatest = self.strengths[0], self.strengths[-1]
        several = f"{least:g} to {greatest:g}" if least < greatest else f"{greatest:g}"
        said = [f"mechanisms at strength {several}" if greatest else "no mechanism"]
        said.append("batch effects" if self.batch else "no batch effect")
        if self.treated_batch:
            said.append("a batch effect on treated wells alone")
        if self.position:
            said.append("effects of row and column")
            said.append(f"replicates at {self.positions} positions")
        return ", ".join(said)

    @property
    def to_find(self):
        """What a good metric finds, in words."""
        said = ["the mechanisms" if self.strengths[-1] else "no mechanism"]
        if not self.batch:
            said.append("no batch")
        if self.position:
            said.append("no replicate")
        return ", ".join(said)


def _treatments(mechanisms, strengths, controls, compounds=COMPOUNDS):
    """Every compound of every mechanism at every strength, and negative controls."""
    made = [{"compound": "DMSO", "strength": 0.0, "control_type": "negcon"}] * controls
    for i, mechanism in enumerate(mechanisms):
        for k in range(compounds):
            named = {"compound": f"compound {i * compounds + k + 1:02d}", "moa": mechanism}
            named["mechanism"] = mechanism
            made += [named | {"strength": strength} for strength in strengths]
    return made


def _in_batches(controls, compounds, elsewhere):
    """Compounds without any effect, a batch a mechanism; controls in all.

    The last compounds of a mechanism, `elsewhere` of them, lie in the batch of the next.
    """
    batches = [[] for _ in MOA]
    placed = _treatments(MOA, (0.0,), controls, compounds)
    for i, treatment in enumerate(placed[controls:]):
        own, number = divmod(i, compounds)
        batches[(own + (number >= compounds - elsewhere)) % len(MOA)].append(treatment)
    return [placed[:controls] + batch for batch in batches]


def all_worlds():
    """The worlds, in the order of the page.

    Returns
    -------
    list of World
    """
    null = _treatments(MOA, (0.0,), 6)
    # Eight compounds and the controls are enough to see whether a replicate is found.
    few = null[:14]
    # Labels of five compounds in six stand together, so that neighbours of a batch are right.
    mostly, wholly = _in_batches(5, 6, 1), _in_batches(5, COMPOUNDS, 0)
    return [
        World("sweep", [_treatments(MOA, STRENGTHS, 6)] * 2),
        World("no mechanism", [null] * 2),
        World("no batch", [_treatments(MOA, (1.0,), 6)] * 2, batch=0.0),
        World("batch", mostly, treated_batch=1.6),
        World("confounded", wholly, treated_batch=1.6),
        World("fixed positions", [few], plates=2, positions="fixed", position=1.7),
        World("random positions", [few], plates=2, positions="random", position=1.7),
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
            row = {name: s if name == "site" else well.get(name) for name in _COLUMNS}
            rows.append(row | dict(zip(CHANNELS, files, strict=True)))
            drawn.append(layouts.site_of(well, s, files, CHANNELS, _KIND, camera, (field, field)))
    truth = layouts.truth_table(placed, CHANNELS, ["world", "compound", "moa"])
    return layouts.Plan(drawn, {TABLE: pd.DataFrame(rows)}, truth)
