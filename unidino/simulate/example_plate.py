"""The tiny simulated plate of ``data/example``.

``python -m unidino.simulate.example_plate`` rewrites it.

It is what a newcomer's own plate looks like: a CSV with one column of paths a channel, and a plate
map with treatments and controls.
"""

from pathlib import Path

import pandas as pd
import tifffile

from .. import paths, tables
from . import cells, datasets, layouts
from .microscope import Camera

CHANNELS = {"DNA": "dna", "Tubulin": "tubulin", "Actin": "actin"}
SIDE = 224

_TREATMENTS = {
    "nocodazole": "Microtubule destabilizers",
    "taxol": "Microtubule stabilizers",
    "latrunculin B": "Actin disruptors",
    "emetine": "Protein synthesis",
}
_DOSES = {0.3: 0.5, 3.0: 0.9}


def wells(seed=0):
    """The wells of the plate: 16 negative controls, four compounds at two doses.

    Returns
    -------
    list of dict
    """
    treatments = [{"treatment": "DMSO", "concentration": 0.0, "control_type": "negcon"}] * 16
    for compound, mechanism in _TREATMENTS.items():
        for dose, strength in _DOSES.items():
            treatments.append(
                {
                    "treatment": compound,
                    "concentration": dose,
                    "mechanism": mechanism,
                    "strength": strength,
                }
            )
    placed = layouts.lay_out(seed, ("example plate",), treatments)
    return sorted(placed, key=lambda well: well["well"])


def write(folder, seed=0):
    """Write the plate: images, ``plate.csv`` and ``layout.csv``.

    Parameters
    ----------
    folder : Path
        Made if need be.
    seed : int
    """
    folder = Path(folder)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    camera = Camera(bits=8, offset=6, read_noise=1.2, electrons=500, gain=0.2)
    rows, layout = [], []
    for well in wells(seed):
        site = layouts.Site(
            files=[],
            stains=list(CHANNELS.values()),
            name=f"example plate|{well['well']}",
            mechanism=well.get("mechanism"),
            strength=well.get("strength", 0.0),
            cell_type=cells.CellType(),
            camera=camera,
            shape=(SIDE, SIDE),
            gains=[1.0] * len(CHANNELS),
        )
        row = {"plate": "example", "well": well["well"]}
        for channel, plane in zip(CHANNELS, datasets.draw(site, seed), strict=True):
            row[channel] = f"images/{well['well']}_{channel}.tif"
            tifffile.imwrite(
                folder / row[channel], plane, compression="zlib", metadata=None, software=False
            )
        rows.append({**row, "simulated": True})
        names = ("well", "treatment", "concentration", "control_type")
        layout.append({name: well.get(name) for name in names})
    for name, table in (("plate.csv", rows), ("layout.csv", layout)):
        with tables.atomic_path(folder / name) as temporary:
            pd.DataFrame(table).to_csv(temporary, index=False, lineterminator="\n")


if __name__ == "__main__":
    write(paths.project_root() / "data" / "example")
