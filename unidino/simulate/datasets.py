"""Simulated plates with planted phenotypes, in the layout of each published dataset; worlds.

``python -m unidino.simulate`` writes those that are missing under the data root.
"""

import hashlib
import json
import os
import shutil
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile

from .. import arguments, paths, tables
from ..progress import Progress
from . import cells, designs, layouts, microscope, readouts, worlds

MARKER = "SIMULATED.json"
TRUTH = "planted_truth.csv"

LAYOUTS = {
    "BBBC021": layouts.bbbc021,
    "jumpcp-valset": layouts.jump,
    "example_data": layouts.example,
    "cell-health": layouts.cell_health,
    "HPA": layouts.hpa,
    "BBBC037": layouts.bbbc037,
    "insect": layouts.insect,
    "worlds": worlds.plan,
}
"""Planner of each dataset that can be simulated: the published seven, and the worlds, which are
nothing but simulated."""

_SIMULATOR = (cells, designs, layouts, microscope, readouts, worlds)

_SIZES = {
    # As wide as the others, and as flat as the real fields.
    "BBBC021": {"field": 179, "sites": 1},
    "worlds": {"field": worlds.FIELD, "sites": worlds.SITES},
}
_USUAL_SIZE = {"field": 224, "sites": 1}

PHENOTYPES = ("published", "random")
"""Phenotypes of the mechanisms: of `designs.MECHANISMS`, or drawn for each treatment."""


def _changes(site, seed, mechanisms):
    """Parameters of `cells.NORMAL` at the full effect of a site's treatment."""
    if site.mechanism is None:
        return {}
    if mechanisms == "random":
        return layouts.random_phenotype(seed, site.mechanism, site.treatment)
    return designs.MECHANISMS.get(site.mechanism, {})


def draw(site, seed, mechanisms="published", rendering=0):
    """The channels of a site as the camera stores them.

    Parameters
    ----------
    site : layouts.Site
    seed, mechanisms, rendering
        See `simulate`.

    Returns
    -------
    numpy.ndarray
        (C, H, W).
    """
    rng = designs.generator(seed, "site", site.name)
    phenotype = cells.blend(_changes(site, seed, mechanisms), site.strength)
    for name, factor in site.changes.items():
        phenotype[name] *= factor
    # A few fields are empty or sparse, and a few confluent.
    luck = rng.random()
    if luck < 0.012:
        phenotype["count"] = 0.0
    elif luck < 0.035:
        phenotype["count"] *= 0.25
    elif luck < 0.075:
        phenotype["count"] *= 1.7
    blurred = replace(site.camera, blur=site.camera.blur * float(np.exp(rng.normal(0, 0.12))))
    if rng.random() < 0.02:
        blurred = replace(blurred, blur=blurred.blur + 1.6)
    kind = microscope.cell_type(rendering, site.cell_type)
    shapes = microscope.style(rendering, "shapes", kind.line)
    drawn = cells.Field(rng, site.shape, kind, phenotype, shapes)
    debris = microscope.debris(rng, site.shape)
    planes = []
    for stain, gain in zip(site.stains, site.gains, strict=True):
        shares = stain if isinstance(stain, dict) else {stain: 1.0}
        brightness = gain * sum(
            share * drawn.stain(name, microscope.style(rendering, name, kind.line))
            for name, share in shares.items()
        )
        if debris is not None:
            brightness = brightness + float(rng.exponential()) * debris
        # A channel has one optics, that of its first stain.
        optics = microscope.camera(rendering, blurred, next(iter(shares)))
        planes.append(microscope.photograph(rng, brightness, optics))
    return np.stack(planes)


def _write(job):
    """Draw and store one site."""
    folder, site, options = job
    image = draw(site, **options)
    # No software name, date or description: the same bytes on every machine.
    tags = {"metadata": None, "software": False, "photometric": "minisblack"}
    for i, file in enumerate(site.files):
        path = Path(folder, file)
        path.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(path, image if len(site.files) == 1 else image[i], **tags)


def fingerprint():
    """SHA-256 of the simulator's source: other code makes other images."""
    digest = hashlib.sha256()
    for module in (*_SIMULATOR, sys.modules[__name__]):
        digest.update(Path(module.__file__).read_bytes())
    return digest.hexdigest()


def simulate(
    valset: str,
    root: str | Path,
    *,
    seed: int = 0,
    field: int | None = None,
    sites: int | None = None,
    wells: int | None = None,
    plates: int | None = None,
    batches: int | None = None,
    effect: float = 1.0,
    batch_effect: float = 1.0,
    mechanisms: str = "published",
    rendering: int = 0,
    workers: int | None = None,
):
    """Write a simulated dataset.

    Parameters
    ----------
    valset : str
        A key of `LAYOUTS`: one of the seven published datasets, or worlds.
    root : str or Path
        Data root; the dataset's folder below it must not exist.
    seed : int
        Of everything random; the same seed gives the same bytes.
    field : int
        Shorter side of a field in pixels (224, of the worlds 112); the longer one keeps the real
        aspect ratio.
    sites : int
        Fields a well (1, in the worlds 2).
    wells, plates, batches : int
        Wells a plate, plates a batch and batches (sources in JUMP-CP, cell lines in Cell Health);
        each dataset has its own defaults. HPA has no wells: `wells` is the number of images. The
        worlds have plates of their own.
    effect : float
        Factor on the strength of every treatment; 0 plants nothing.
    batch_effect : float
        Factor on the batch, plate and well-position effects; 0 plants none.
    mechanisms : {"published", "random"}
        Phenotypes of the mechanisms, or random ones of each treatment, which follow from `seed`
        and the names. (``cell_count`` of the insect table, ``stains`` of the planted truth and
        the readouts of Cell Health stay those of the published ones.)
    rendering : int
        Another look of all stains, cells and optics for every number, see `renderings`; 0 is the
        usual one.
    workers : int
        Processes; the machine's cores by default. The images do not depend on it.

    Returns
    -------
    Path
        The dataset's folder, with ``planted_truth.csv`` and ``SIMULATED.json``.

    Raises
    ------
    ValueError, FileExistsError
        Unknown dataset, numbers out of range; a folder that exists.
    """
    arguments.check_choice("valset", valset, LAYOUTS)
    parameters = _sized(valset, {"field": field, "sites": sites}) | {
        "seed": seed,
        "wells": wells,
        "plates": plates,
        "batches": batches,
        "effect": effect,
        "batch_effect": batch_effect,
    }
    look = {"mechanisms": mechanisms, "rendering": rendering}
    for name in ("field", "sites", "wells", "plates", "batches"):
        arguments.check_positive(name, parameters[name])
    for name in ("effect", "batch_effect"):
        if parameters[name] < 0:
            raise ValueError(f"{name} is {parameters[name]}; it must be 0 or more.")
    arguments.check_choice("mechanisms", mechanisms, PHENOTYPES)
    if isinstance(rendering, bool) or not isinstance(rendering, int):
        raise ValueError(f"rendering is {rendering!r}; it must be a whole number, 0 the usual one.")
    folder = paths.dataset_folder(valset, root)
    if folder.exists():
        raise FileExistsError(f"{folder} exists; simulate into another root, or remove it.")
    plan = LAYOUTS[valset](**parameters)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        jobs = [(str(temporary), site, {"seed": seed} | look) for site in plan.sites]
        _draw_all(jobs, workers, valset)
        for name, table in plan.tables.items():
            path = temporary / name
            path.parent.mkdir(parents=True, exist_ok=True)
            separator = table.attrs.get("separator", ",")
            table.to_csv(path, sep=separator, index=False, lineterminator="\n")
        plan.truth.to_csv(temporary / TRUTH, index=False, lineterminator="\n")
        tables.write_json(
            temporary / MARKER,
            {"simulated": valset, "parameters": parameters | look, "simulator": fingerprint()},
        )
        try:
            os.rename(temporary, folder)
        except OSError:
            # Another process was quicker; its folder holds the same bytes.
            if not (folder / MARKER).exists():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _sized(valset, parameters):
    """Parameters with the dataset's own size of fields and number of sites where none is given."""
    own = _SIZES.get(valset, _USUAL_SIZE)
    return parameters | {n: size for n, size in own.items() if parameters.get(n) is None}


def _draw_all(jobs, workers, title):
    workers = workers or os.cpu_count() or 1
    with Progress(len(jobs), "field", f"simulating {title}") as bar:
        if workers == 1:
            for job in jobs:
                _write(job)
                bar.update()
            return
        with ProcessPoolExecutor(workers) as pool:
            for _ in pool.map(_write, jobs, chunksize=4):
                bar.update()


def ensure(valset, root=None, **parameters):
    """Simulate a dataset unless it is there already, made with these parameters and this code.

    Parameters
    ----------
    valset : str
    root : str or Path, optional
        Data root, ``data/sample`` by default.
    **parameters
        Of `simulate`.

    Returns
    -------
    Path
        The dataset's folder.

    Raises
    ------
    FileExistsError
        The folder holds something that is not simulated; it is left alone.
    """
    arguments.check_choice("valset", valset, LAYOUTS)
    root = Path(root or paths.data_root())
    folder = paths.dataset_folder(valset, root)
    if folder.exists():
        marker = folder / MARKER
        if not marker.is_file():
            raise FileExistsError(
                f"{folder} holds a dataset that is not simulated (no {MARKER}). Set "
                f"UNIDINO_DATA to its root {root} to use it, or move it away."
            )
        made = json.loads(marker.read_text())
        # Without parameters of its own, a call takes what is there, and renews it as it was made.
        parameters = made["parameters"] | parameters
        wanted = _sized(valset, {n: value for n, value in parameters.items() if n != "workers"})
        if made["parameters"] == wanted and made["simulator"] == fingerprint():
            return folder
        stale = Path(tempfile.mkdtemp(prefix=f".{folder.name}.old.", dir=folder.parent))
        os.rename(folder, stale / folder.name)
        shutil.rmtree(stale, ignore_errors=True)
    return simulate(valset, root, **parameters)


def planted_truth(valset, root=None):
    """What was planted in each well of a simulated dataset.

    Returns
    -------
    pd.DataFrame
        Key columns, ``mechanism``, ``strength`` and the batch, plate and position effects.
    """
    path = paths.dataset_folder(valset, root) / TRUTH
    if not path.is_file():
        raise FileNotFoundError(f"{path.parent} is not simulated: it has no {TRUTH}.")
    return pd.read_csv(path)


def write(
    valset: str = "all",
    root: str | None = None,
    seed: int = 0,
    field: int | None = None,
    sites: int | None = None,
    wells: int | None = None,
    plates: int | None = None,
    batches: int | None = None,
    effect: float = 1.0,
    batch_effect: float = 1.0,
    mechanisms: str = "published",
    rendering: int = 0,
    workers: int | None = None,
):
    """Write the simulated datasets that are missing.

    Parameters
    ----------
    valset : str
        One of the published seven, worlds, or all.
    root : str
        Data root; data/sample by default.
    seed : int
        Of everything random.
    field : int
        Shorter side of a field in pixels; each dataset has its own default, as of what follows.
    sites : int
        Fields a well.
    wells, plates, batches : int
        Wells a plate, plates a batch, batches; the worlds have plates of their own, and are left
        out where one is given.
    effect, batch_effect : float
        Factors on the planted phenotypes, and on batch, plate and position effects.
    mechanisms : str
        published, or random: phenotypes that no mechanism has, drawn for each treatment.
    rendering : int
        Another look of all stains, cells and optics for every number; 0 is the usual one.
    workers : int
        Processes; the machine's cores by default.
    """
    options = dict(locals())
    sized = any(options[name] is not None for name in ("wells", "plates", "batches"))
    every = [name for name in LAYOUTS if not (sized and LAYOUTS[name] is worlds.plan)]
    for name in every if valset == "all" else (valset,):
        chosen = {k: v for k, v in options.items() if k not in ("valset", "root")}
        print(ensure(name, root, **chosen))


def main(argv=None, program="python -m unidino.simulate"):
    """The command line."""
    options = vars(arguments.parser(write, program).parse_args(argv))
    try:
        write(**options)
    except (ValueError, FileExistsError) as error:
        sys.exit(f"error: {error}")
