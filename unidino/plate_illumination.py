"""The illumination functions of a plate, estimated from its images and stored with its results."""

import contextlib
import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np

from . import dataset, flatfield, illumination, paths, tables
from .progress import Progress

SITES = 384
"""Sites of a plate, of as many wells as there are, that are averaged."""

TOLD = 2.0
"""A function that deviates from even light by less than so many of its errors may be chance."""

_THREADS = 8


def settings():
    """How functions are estimated, for the settings that all tables of an extraction share."""
    return {
        "method": "mean of sites, smoothed by local lines",
        "sites": SITES,
        "blocks": flatfield.BLOCKS,
        "width": flatfield.WIDTH,
    }


def estimate(metadata, rows, name, sites=SITES):
    """The illumination function of each channel, of the images as they are stored.

    Parameters
    ----------
    metadata : Metadata
        Of one plate, or without plates.
    rows : sequence of int
        In the order in which they are read, see `dataset.sample_rows`; unreadable ones are left
        out.
    name : str
        Of the plate, for messages.
    sites : int
        That are averaged, at most.

    Returns
    -------
    functions : list of numpy.ndarray
        (H, W) float32, see `flatfield.function`.
    measured : list of dict
        Of each channel ``error``, the standard error of its function (root mean square over the
        field, relative), from the difference of the functions of two halves of the sites; and
        ``spread``, the standard deviation of the function itself, relative to its mean.
    count : int
        Sites that were averaged.

    Raises
    ------
    ValueError
        Fewer than two readable sites; images of different sizes; light that varies too much. Names
        plate, channel or files.
    """
    shape, halves, counts = None, [0, 0], [0, 0]
    for i, (row, sums, size) in enumerate(_read(metadata, rows, name, sites)):
        if shape is None:
            shape, first = size, row
        elif shape != size:
            one, other = (metadata.paths(r)[0] for r in (first, row))
            raise ValueError(
                f"{metadata.valset}: {one} is {shape[0]} x {shape[1]} pixels and {other} "
                f"{size[0]} x {size[1]}: one illumination function cannot be estimated for images "
                "of several sizes. Set illumination='none', or give functions."
            )
        halves[i % 2] = halves[i % 2] + sums
        counts[i % 2] += 1
    if min(counts) == 0:
        raise ValueError(
            f"{metadata.valset}, {name}: {sum(counts)} of {len(rows)} sites could be read, and an "
            "illumination function is estimated from two or more, better hundreds. Set "
            "illumination='none', or give functions."
        )
    functions, measured = [], []
    for c, channel in enumerate(metadata.channels):
        means = flatfield.block_means(halves[0][c] + halves[1][c], sum(counts), shape)
        try:
            functions.append(flatfield.function(means, shape))
        except ValueError as error:
            raise ValueError(
                f"{metadata.valset}, {name}, channel {channel}: {error}. Look at its images; set "
                "illumination='none', or give functions."
            ) from None
        width = flatfield.WIDTH * min(means.shape)
        parts = [
            flatfield.smoothed(flatfield.block_means(half[c], count, shape), width)
            for half, count in zip(halves, counts, strict=True)
        ]
        # The difference of two halves has four times the variance of their mean.
        error = flatfield.difference(*parts) / 2 if all(part.mean() for part in parts) else 0.0
        spread = float(functions[-1].std(dtype=float) / functions[-1].mean(dtype=float))
        measured.append({"error": error, "spread": spread})
    return functions, measured, sum(counts)


def _read(metadata, rows, name, sites):
    """(row, sums of the blocks of each channel, (H, W)) of the first readable rows, in order."""

    def sums(row):
        image = dataset.read_site(metadata, row)
        return row, _sums(image), image.shape[1:]

    title = f"{metadata.valset}: illumination of {name}"
    with Progress(min(sites, len(rows)), "site", title) as bar:
        for read in _side_by_side(sums, rows, sites):
            bar.update(1)
            yield read


def _sums(image):
    return np.stack([flatfield.block_sums(plane) for plane in image])


def _side_by_side(read, rows, sites):
    """What a function returns of the first rows that are readable, in order."""

    def attempted(row):
        with contextlib.suppress(ValueError, OSError):  # recorded when the plate is embedded
            return read(row)

    order, found = iter(rows), 0
    with ThreadPoolExecutor(_THREADS) as pool:
        while found < sites and (some := list(islice(order, min(_THREADS, sites - found)))):
            made = [one for one in pool.map(attempted, some) if one is not None]
            found += len(made)
            yield from made


def mean_images(metadata, rows, sites=SITES):
    """The mean image of some sites, as they are stored and as they are corrected.

    Parameters
    ----------
    metadata : Metadata
        Of one plate, with its functions.
    rows : sequence of int
        In the order in which they are read; unreadable ones are left out.
    sites : int
        At most.

    Returns
    -------
    before, after : numpy.ndarray
        (C, rows, columns) of the blocks of `flatfield.grid`, each divided by its mean.
    count : int
        Sites.
    """

    def both(row):
        image = dataset.read_site(metadata, row)
        files = metadata.paths(row)[:: metadata.files_per_channel]
        stored = _sums(image), image.shape[1:]
        return *stored, _sums(illumination.corrected(image, metadata.illumination(row), files))

    totals, count = [0, 0], 0
    for before, size, after in _side_by_side(both, rows, sites):
        totals = [totals[0] + before, totals[1] + after]
        count, shape = count + 1, size
    means = [
        np.stack([flatfield.block_means(sums, count, shape) for sums in total]) for total in totals
    ]
    return *(mean / np.maximum(mean.mean((1, 2), keepdims=True), 1e-12) for mean in means), count


def identity(*content):
    """SHA-256 of all that functions follow from, JSON-serialisable."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def of_plate(metadata, rows, name, folder, wanted):
    """The files of a plate's functions: those that a run has stored, or estimated now.

    Parameters
    ----------
    metadata, rows, name
        See `estimate`.
    folder : Path
        From `paths.illumination_folder`; nobody else is at work there.
    wanted : str
        From `identity`.

    Returns
    -------
    files : list of str
        One a channel.
    record : dict
        ``sites`` that were averaged, and of each channel of ``functions`` the ``sha256`` of its
        file, ``error`` and ``spread``.
    """
    files = paths.illumination_functions(folder, metadata.channels)
    record = stored(folder)
    if record is None or record["identity"] != wanted or not _whole(files, record):
        functions, measured, count = estimate(metadata, rows, name)
        for file, function in zip(files.values(), functions, strict=True):
            with tables.atomic_path(file) as temporary, open(temporary, "wb") as opened:
                np.save(opened, function)
        of_channels = {
            channel: {"sha256": tables.sha256_file(file)} | one
            for (channel, file), one in zip(files.items(), measured, strict=True)
        }
        record = {"identity": wanted, "plate": name, "sites": count, "functions": of_channels}
        # Last, so that what it tells of is there.
        tables.write_json(paths.illumination_record(folder), record)
    return [str(file) for file in files.values()], record


def _whole(files, record):
    """Whether the files that a record tells of are there, as they were written."""
    told = record["functions"]
    return files.keys() == told.keys() and all(
        file.is_file() and tables.sha256_file(file) == told[channel]["sha256"]
        for channel, file in files.items()
    )


def stored(folder):
    """The record of the functions in a folder, see `of_plate`; None where there is none."""
    try:
        record = json.loads(paths.illumination_record(folder).read_text())
        return record if {"identity", "functions", "sites"} <= record.keys() else None
    except (OSError, ValueError, AttributeError):
        return None


def untold(record):
    """The channels of a record whose functions may be chance, see `TOLD`."""
    told = record["functions"].items()
    return [channel for channel, one in told if one["spread"] < TOLD * one["error"]]
