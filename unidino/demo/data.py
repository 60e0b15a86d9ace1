"""Everything that the demo model is trained on, and the simulated plates by which it is chosen.

``python -m unidino.demo.data OUTDIR`` lists the real images in ``train_mix.csv`` and simulates
plates of all datasets: for training with random phenotypes in several renderings, for development
with the published mechanisms in renderings that training never shows.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile

from .. import arguments, images, paths, simulate, tables, valsets
from . import real_sets

SEED = 100
"""Seeds below are left to the pages of the book."""

TRAINING = ((1, 224), (2, 320), (3, 272))
"""Rendering and field, in pixels, of each folder of simulated training plates."""

TRAINING_PLATES = {
    "BBBC021": {"wells": 24, "plates": 1, "batches": 2},
    "jumpcp-valset": {"wells": 30, "plates": 1, "batches": 1},
    "example_data": {"wells": 24, "plates": 1, "batches": 1},
    "cell-health": {"wells": 30, "plates": 1, "batches": 1},
    "HPA": {"wells": 44},
    "BBBC037": {"wells": 28, "plates": 1, "batches": 1},
    "insect": {"wells": 28, "plates": 1},
}
"""Size of each simulated training set at `scale` 1."""

DEVELOPMENT = {
    # All 12 mechanisms in 160 wells; 32 compounds at each of 4 sources.
    "BBBC021": {"wells": 40, "plates": 1, "batches": 4},
    "jumpcp-valset": {"wells": 48, "plates": 1, "batches": 4},
}
"""Size of each development set."""

DEVELOPMENT_RENDERINGS = (11, 12, 13)
"""Each set is simulated in all of them: compounds are few, so that one set alone cannot tell
models apart that differ by 0.05."""

REAL_SHARE = 0.7
"""Of the crops of an epoch; the simulated sets share the rest equally."""


def write_train_mix(outdir):
    """Copy the real images below `outdir` and list them in ``<outdir>/train_mix.csv``.

    The copies are uncompressed, so that crops are read without decoding whole images; counts in
    floating point become 16-bit integers, which every scaling of intensities can read.

    Returns
    -------
    pd.DataFrame
        path (relative to `outdir`), plate, source, stain, sample_weight.

    Raises
    ------
    FileNotFoundError, ValueError
        The mix is absent; an image is not one channel of 8 or 16 bits.
    """
    root = paths.real_data_root()
    if root is None:
        raise FileNotFoundError("no real images: set UNIDINO_REAL to the folder above train_mix.")
    frame = real_sets.train_mix(root)
    outdir = Path(outdir).resolve()
    outdir.mkdir(parents=True, exist_ok=True)
    listed = []
    for file in frame["path"]:
        source = Path(root, file)
        values = images.read_image(source)
        if len(values) != 1:
            raise ValueError(f"{source} has {len(values)} channels; expected one.")
        if values.dtype.kind == "f":
            values = _as_integers(values, source)
        elif values.dtype not in (np.uint8, np.uint16):
            raise ValueError(f"{source} holds {values.dtype}; expected 8 or 16 bits, or counts.")
        copy = (outdir / file).with_suffix(".tif")
        copy.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(copy, values[0], metadata=None, software=False)
        listed.append(copy.relative_to(outdir).as_posix())
    frame["path"] = listed
    frame = frame[["path", "plate", "source", "stain", "sample_weight"]]
    with tables.atomic_path(outdir / "train_mix.csv") as temporary:
        frame.to_csv(temporary, index=False, lineterminator="\n")
    return frame


def _as_integers(values, source):
    """Counts in floating point as 16-bit integers."""
    values = np.rint(values)
    low, high = values.min(), values.max()
    if not 0 <= low <= high <= 65535:  # nor NaN
        raise ValueError(f"{source} holds {low:g} to {high:g}; expected counts from 0 to 65535.")
    return values.astype(np.uint16)


def training_sets(outdir):
    """What to train on.

    Returns
    -------
    list of dict
        ``csv``, or ``valset`` and ``root``; and ``weight``, the share of the crops. A folder that
        is not prepared raises FileNotFoundError.
    """
    mix = Path(outdir, "train_mix.csv")
    simulated = [
        {"valset": valset, "root": str(Path(outdir, f"simulated-{rendering}"))}
        for rendering, _ in TRAINING
        for valset in TRAINING_PLATES
    ]
    absent = [one["root"] for one in simulated if not Path(one["root"]).is_dir()]
    if not mix.is_file() or absent:
        raise FileNotFoundError(
            f"{absent[0] if absent else mix} is absent: run python -m unidino.demo.data {outdir}"
        )
    share = (1 - REAL_SHARE) / len(simulated)
    real = {"csv": str(mix), "weight": REAL_SHARE}
    return [real, *(one | {"weight": share} for one in simulated)]


def development_sets(outdir, renderings=None):
    """The simulated sets by which models are chosen: name and root of each.

    Parameters
    ----------
    outdir : str or Path
    renderings : int, optional
        How many of `DEVELOPMENT_RENDERINGS`; all by default.
    """
    return [
        {"valset": valset, "root": str(Path(outdir, f"development-{rendering}"))}
        for rendering in DEVELOPMENT_RENDERINGS[:renderings]
        for valset in DEVELOPMENT
    ]


def write(outdir, seed=SEED, scale=1.0, workers=None):
    """Prepare everything under `outdir`; what this code made already is kept.

    Parameters
    ----------
    outdir : str or Path
    seed : int
        100 or more: training set `k` is simulated with the seed `seed` + `k`.
    scale : float
        Factor on the wells of the simulated training plates.
    workers : int, optional
        See `simulate.simulate`.

    Returns
    -------
    pd.DataFrame
        One row a set: folder, channel images, megabytes.

    Raises
    ------
    ValueError, FileNotFoundError
        Numbers out of range; the real images are absent.
    """
    if seed < SEED:
        raise ValueError(f"seed is {seed}; it must be {SEED} or more, the book uses those below.")
    arguments.check_positive("scale", scale)
    outdir = Path(outdir).expanduser().absolute()
    mix = write_train_mix(outdir)
    files = [(outdir / file).resolve() for file in mix["path"]]
    rows = [{"set": "train_mix.csv", "images": len(mix), "MB": _megabytes(files)}]
    for rendering, field in TRAINING:
        for valset, size in TRAINING_PLATES.items():
            root = outdir / f"simulated-{rendering}"
            options = size | {"wells": max(20, round(size["wells"] * scale)), "field": field}
            options |= {"mechanisms": "random", "rendering": rendering}
            rows.append(_simulated(valset, root, seed + rendering, workers, options))
    for rendering in DEVELOPMENT_RENDERINGS:
        for valset, size in DEVELOPMENT.items():
            root, options = outdir / f"development-{rendering}", size | {"rendering": rendering}
            rows.append(_simulated(valset, root, seed + rendering, workers, options))
    return pd.DataFrame(rows)


def _simulated(valset, root, seed, workers, options):
    folder = simulate.ensure(valset, root, seed=seed, workers=workers, **options)
    count = len(valsets.open_valset(valset, root=root).to_single_channel())
    files = (file for file in folder.rglob("*") if file.is_file())
    return {"set": f"{root.name}/{valset}", "images": count, "MB": _megabytes(files)}


def _megabytes(files):
    return round(sum(file.stat().st_size for file in files) / 1e6, 1)


def main(argv=None):
    """The command line."""
    parser = argparse.ArgumentParser("python -m unidino.demo.data", description=__doc__)
    parser.add_argument("outdir", help="folder to write to")
    parser.add_argument("--seed", type=int, default=SEED, help="of the simulated plates")
    parser.add_argument("--scale", type=float, default=1.0, help="factor on their training wells")
    parser.add_argument("--workers", type=int, help="processes; the machine's cores by default")
    try:
        done = write(**vars(parser.parse_args(argv)))
    except (ValueError, FileNotFoundError, FileExistsError) as error:
        sys.exit(f"error: {error}")
    print(done.to_string(index=False))
    print(f"together {done['images'].sum()} images, {done['MB'].sum():.0f} MB")


if __name__ == "__main__":
    main()
