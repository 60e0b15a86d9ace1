"""Cells segmented and measured as CellProfiler does it, by cp_measure: what a model has to beat.

``python -m unidino.evaluate.measured_cells VALSET`` writes the profiles of a dataset's wells to
where the evaluation pages look for those of a model called cp_measure.
"""

import argparse
import contextlib
import functools
import hashlib
import inspect
import json
import os
import re
import sys
import time
import warnings
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from importlib.metadata import version
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import ndimage

from .. import arguments, paths, quality, simulate, tables, valsets
from ..profiles.aggregation import aggregate
from ..progress import Progress, one_line, say
from .baselines import scaled_sites

NAME = "cp_measure"
"""Of these features in lists of models, and of their folder among the extractions."""

EXTRA = "measure"
"""The extra that installs cp_measure and scikit-image."""

OBJECTS = ("Nuclei", "Cells")

NUCLEAR = re.compile(r"dna|dapi|hoechst|nucle|draq|^h2b|^blue$", re.IGNORECASE)
"""What the name of a channel of nuclei holds."""

CELL_REACH = 1.5
"""How far a cell reaches beyond its nucleus, in radii of the plate's usual nucleus."""

LEFT_OUT = "Costes' correlations, which take two thirds of the time of all others together"


def nuclear_channel(channels, nuclei=None):
    """The channel in which nuclei are segmented.

    Parameters
    ----------
    channels : list of str
    nuclei : str, optional
        Its name; by default the one whose name says DNA, DAPI, Hoechst, nuclei, blue
        or the like.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        No such channel; none or several that the names tell.
    """
    if nuclei is not None:
        arguments.check_choice("nuclei", nuclei, tuple(channels))
        return nuclei
    found = [name for name in channels if NUCLEAR.search(name)]
    if len(found) != 1:
        raise ValueError(
            f"which of the channels {', '.join(channels)} shows nuclei? Name it: nuclei=…"
        )
    return found[0]


def segment(plane):
    """Nuclei of a field, and the cells around them.

    Smoothing, the threshold of Otsu, a watershed from the peaks of the distance to the border
    where nuclei touch; a cell is what lies within `CELL_REACH` nuclear radii and nearest to its
    nucleus.

    Parameters
    ----------
    plane : numpy.ndarray
        (H, W) float, the stain of nuclei.

    Returns
    -------
    nuclei, cells : numpy.ndarray
        (H, W) int32, 0 for the background; a cell has the number of its nucleus.
    """
    from skimage.feature import peak_local_max
    from skimage.segmentation import expand_labels, watershed

    smooth = ndimage.gaussian_filter(np.asarray(plane, np.float32), quality.SMOOTHING)
    if smooth.max() == smooth.min():
        return np.zeros(plane.shape, np.int32), np.zeros(plane.shape, np.int32)
    parts, _ = ndimage.label(smooth > quality.otsu_threshold(smooth))
    areas = np.bincount(parts.ravel())
    areas[0] = 0
    parts *= (areas >= quality.LEAST_AREA)[parts]
    kept = areas[areas >= quality.LEAST_AREA]
    if not len(kept):
        return np.zeros(plane.shape, np.int32), np.zeros(plane.shape, np.int32)
    radius = float(np.sqrt(np.median(kept) / np.pi))
    inside = ndimage.binary_fill_holes(parts > 0)
    distance = ndimage.distance_transform_edt(inside)
    # A nucleus is ragged on the scale of pixels: its border alone must not split it.
    distance = ndimage.gaussian_filter(distance, max(1.0, radius / 4))
    peaks = peak_local_max(
        distance, min_distance=max(2, round(0.7 * radius)), labels=parts, exclude_border=False
    )
    seeds = np.zeros(plane.shape, np.int32)
    seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    nuclei = watershed(-distance, seeds, mask=inside).astype(np.int32)
    return nuclei, expand_labels(nuclei, round(CELL_REACH * radius)).astype(np.int32)


def site_measures(image, channels, nuclei):
    """Measures of a site's cells: the median over cells of each.

    Parameters
    ----------
    image : numpy.ndarray
        (C, H, W) float, 0 to 1.
    channels : list of str
    nuclei : str
        The channel of nuclei.

    Returns
    -------
    dict of str to float
        By CellProfiler's names, such as ``Nuclei_AreaShape_Area`` and
        ``Cells_Intensity_MeanIntensity_<channel>``, and ``Metadata_cells``, their number; of a
        site without a cell that number alone.

    Source: Munoz et al. 2025 (arXiv:2507.01163), cp_measure.
    """
    return _of_masks(image, channels, np.stack(segment(image[channels.index(nuclei)])))


def _of_masks(image, channels, masks):
    """Measures of the objects of masks (2, H, W), in the order of `OBJECTS`."""
    from cp_measure.featurizer import featurize, make_featurizer_config

    if not masks.any():
        return {"Metadata_cells": 0}
    numbered = [f"channel{i}" for i in range(len(channels))]
    config = make_featurizer_config(numbered, objects=list(OBJECTS), correlation_costes=False)
    with warnings.catch_warnings():
        # A cell without light in a channel divides by 0: its measure is missing there.
        warnings.simplefilter("ignore")
        values, columns, rows = featurize(image[None].astype(float), masks[None], config)
    of_object = np.array([row[1] for row in rows])
    made = {"Metadata_cells": int((of_object == OBJECTS[0]).sum())}
    for name in OBJECTS:
        part = values[of_object == name]
        part = np.where(np.isfinite(part), part, np.nan)
        known = np.isfinite(part).any(0)
        medians = np.full(part.shape[1], np.nan)
        medians[known] = np.nanmedian(part[:, known], axis=0)
        for column, value in zip(columns, medians, strict=True):
            measure, *places = column.split("__")
            places = [channels[int(place.removeprefix("channel"))] for place in places]
            kind = [] if places else ["AreaShape"]
            made["_".join([name, *kind, measure, *places])] = float(value)
    return made


@functools.cache
def _measured_by():
    """What decides the measures of pixels and masks: the code here and the software it calls."""
    packages = ("cp-measure", "scikit-image", "scipy", "mahotas", "centrosome")
    return inspect.getsource(_of_masks), OBJECTS, [f"{name} {version(name)}" for name in packages]


def _kept_or_measured(row, image, channels, nuclei, kept):
    """(row, measures of a site, seconds of one processor that they took when they were made)."""
    start = time.process_time()
    masks = np.stack(segment(image[channels.index(nuclei)]))
    if kept:
        about = repr([_measured_by(), channels, image.shape, image.dtype.str, masks.dtype.str])
        parts = (about.encode(), image.tobytes(), masks.tobytes())
        file = Path(kept, f"{hashlib.sha256(b''.join(parts)).hexdigest()}.json")
        # What is damaged is measured again.
        with contextlib.suppress(OSError, ValueError):
            stored = json.loads(file.read_text())
            return row, dict(stored["measures"]), stored["seconds"]
    measures = _of_masks(image, channels, masks)
    seconds = time.process_time() - start
    if kept:
        with contextlib.suppress(OSError):
            # As pairs, which stay in order.
            tables.write_json(file, {"measures": list(measures.items()), "seconds": seconds})
    return row, measures, seconds


def _side_by_side(tasks, processes):
    """The results of `_kept_or_measured`, as they come; few images are in memory at a time."""
    if processes == 1:
        yield from (_kept_or_measured(*task) for task in tasks)
        return
    # Spawned: a forked process can wait for ever for a thread that it does not have.
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        running = set()
        for task in tasks:
            running.add(pool.submit(_kept_or_measured, *task))
            if len(running) >= 2 * processes:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (one.result() for one in done)
        yield from (one.result() for one in running)


def measure(valset, *, root=None, nuclei=None, max_missing=0.05, processes=1, kept=None):
    """Profiles of a dataset's wells from measured cells; nothing normalised.

    Parameters
    ----------
    valset : str
        A published dataset or a CSV, see `unidino.extract`.
    root : str, optional
        Its data root.
    nuclei : str, optional
        See `nuclear_channel`.
    max_missing : float
        Share of the image files that may be missing, 0 to 1.
    processes : int
        Sites that are measured at a time.
    kept : Path, optional
        Folder where every site's measures are kept, and are looked for first: those of the same
        pixels and masks by the same code. By default nothing is kept.

    Returns
    -------
    profiles : pd.DataFrame
        One row a well (an image where there are no wells): metadata, ``Metadata_cells``, measures.
    seconds : numpy.ndarray
        (sites,): seconds of one processor that each took when it was measured.

    Raises
    ------
    ImportError
        The extra is not installed.
    ValueError
        As `valsets.open_valset`, `nuclear_channel`; no site with a cell; `processes` below 1.
    """
    arguments.check_positive("processes", processes)
    for module in ("cp_measure", "skimage"):
        if find_spec(module) is None:
            raise ImportError(f"measuring cells needs {module}: pip install 'unidino[{EXTRA}]'.")
    metadata = valsets.open_valset(valset, root=root, max_missing=max_missing)
    channel = nuclear_channel(metadata.channels, nuclei)
    rows = [None] * len(metadata.metadata)
    seconds = np.zeros(len(rows))
    tasks = ((i, image, metadata.channels, channel, kept) for i, image in scaled_sites(metadata))
    with Progress(len(rows), "site", metadata.valset) as bar:
        for i, measures, took in _side_by_side(tasks, processes):
            rows[i], seconds[i] = measures, took
            bar.update(1)
    described = tables.prefixed(metadata.described)
    frame = pd.concat([described, pd.DataFrame(rows)], axis=1)
    features = tables.feature_columns(frame)
    if not features:
        raise ValueError(f"{metadata.valset}: no site shows a nucleus in {channel}.")
    # What no cell has, such as the Euler number of a line, is no measure.
    known = [name for name in features if frame[name].notna().any()]
    frame = frame.drop(columns=sorted(set(features) - set(known)))
    wells = [tables.metadata_name(name) for name in metadata.well_columns]
    return aggregate(frame, wells, "mean") if wells else frame, seconds


def default_file(valset, outdir=None):
    """Where the profiles of a dataset lie unless another file is named.

    Parameters
    ----------
    valset : str
        A published dataset, or a CSV.
    outdir : str or Path, optional
        Output root; `paths.outputs_root` by default.

    Returns
    -------
    Path
    """
    name = Path(valset).stem if valset.endswith(".csv") else valset
    folder = paths.valset_folder(outdir or paths.outputs_root(), NAME, name)
    return folder / f"{name}_no_post_proc_well_features.parquet"


def write(made, file, valset, root=None):
    """Write profiles, in single precision, with what made them.

    Parameters
    ----------
    made : pd.DataFrame
        The profiles of `measure`.
    file : Path
    valset, root : str
        As of `measure`.
    """
    features = tables.feature_columns(made)
    provenance = {
        "model_origin": f"cp_measure {version('cp-measure')}, cells segmented by scikit-image",
        "left_out": LEFT_OUT,
        "simulated": bool(valsets.open_valset(valset, root=root).simulated),
    }
    marker = (
        paths.dataset_folder(valset, root) / simulate.MARKER if valset in simulate.LAYOUTS else None
    )
    if marker and marker.is_file():
        provenance["simulator"] = json.loads(marker.read_text())["simulator"]
    file.parent.mkdir(parents=True, exist_ok=True)
    tables.write_table(made.astype(dict.fromkeys(features, np.float32)), file, provenance)


def _processor_seconds():
    """Of this process and of those that it started and that have ended."""
    return sum(os.times()[:4])


def main(argv=None):
    """The command line."""
    parser = argparse.ArgumentParser(
        "python -m unidino.evaluate.measured_cells", description=__doc__
    )
    parser.add_argument("valset", help="a published dataset, or a CSV with one row a site")
    parser.add_argument(
        "out", nargs="?", help="Parquet file; by default cp_measure's in the output root"
    )
    parser.add_argument("--root", help="data root; UNIDINO_DATA, else simulated data")
    parser.add_argument("--nuclei", help="channel in which nuclei are segmented")
    parser.add_argument("--processes", type=int, default=1, help="sites measured at a time")
    given = parser.parse_args(argv)
    start = _processor_seconds()
    out = Path(given.out) if given.out else default_file(given.valset)
    try:
        made, _ = measure(
            given.valset, root=given.root, nuclei=given.nuclei, processes=given.processes
        )
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        sys.exit(f"error: {one_line(error)}")
    seconds = _processor_seconds() - start
    write(made, out, given.valset, given.root)
    say(f"{len(made)} profiles of {len(tables.feature_columns(made))} measures in {out}; "
        f"{seconds:.0f} s of one processor")  # fmt: skip


if __name__ == "__main__":
    main()
