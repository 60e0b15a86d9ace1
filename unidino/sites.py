"""Site embeddings of a dataset, plate by plate: claimed, resumed, written with their provenance."""

import contextlib
import hashlib
import json
import os
import platform
import re
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
from torch.utils.data import DataLoader

from . import (
    claims,
    dataset,
    identity,
    illumination,
    intensity,
    paths,
    plate_illumination,
    plate_parts,
    profiles,
    quality,
    remote,
    shards,
    software,
    tables,
    tiles,
)
from .embedding import channel_groups
from .profiles.reference import listed
from .progress import Pace, Progress, say

PART_SITES = 500
"""Sites in a unit of work where a dataset has no plates."""

_LIBRARIES = ("torch", "timm", "numpy", "pandas", "tifffile", "pycytominer")


_IMAGE_ID = "Metadata_image_id"
# What decides, beside the images, which pixels are averaged to illumination functions.
_OF_PIXELS = ("seed", "channels", "channel_axis", "plane", "timepoint", "resolution_level")
_OTHER_LIMITS = "the intensities of all sites, from which their common limits are taken, differ"


def units(metadata):
    """The units of work of a dataset: its plates, or parts of whole wells where it has none.

    Returns
    -------
    dict
        {plate key: row numbers (n,)}, in the order of the table.
    """
    if metadata.plate_columns:
        return metadata.plates()
    frame, keys = metadata.metadata, metadata.well_columns
    rows, sizes = np.arange(len(frame)), np.ones(len(frame), int)
    if keys:
        wells = list(tables.groups(frame, keys).values())
        rows, sizes = np.concatenate(wells), np.array([len(well) for well in wells])
    part = np.repeat((np.cumsum(sizes) - sizes) // PART_SITES, sizes)
    return {(f"part-{i:04d}",): rows[part == number] for i, number in enumerate(np.unique(part))}


def _by_path(metadata, rows):
    """The positions of `rows` in the order of their files, in which a plate is embedded and stored:
    whatever the order of the dataset's table, its site tables are the same."""
    names = identity.relative_paths(metadata, rows)
    return np.array(sorted(range(len(rows)), key=names.__getitem__), dtype=int)


def read_sites(file, metadata, rows):
    """The site table of a plate with what the dataset says of its sites now.

    Parameters
    ----------
    file : Path
    metadata : Metadata
    rows : numpy.ndarray
        (n,) row numbers of the plate, from `units`.

    Returns
    -------
    pd.DataFrame
        One row a site, in the order of `rows`: keys, the dataset's other columns, ``Metadata_row``,
        what was measured, features.

    Raises
    ------
    ValueError
        A damaged file.
    """
    try:
        stored = tables.read_table(file)
    except ValueError as error:
        raise ValueError(f"{error} Delete it and run again: its plate is embedded anew.") from None
    measured = stored.drop(columns=[*_key_names(metadata), "Metadata_path", _IMAGE_ID])
    measured = measured.iloc[np.argsort(_by_path(metadata, rows))].reset_index(drop=True)
    described = _described(dataset.subset(metadata, rows)).assign(Metadata_row=rows)
    return pd.concat([described, measured], axis=1)


PART_SECONDS = 30
"""After so long, what is embedded of a plate is written: a killed run loses little more."""

COMPILED_TILES = 2_000_000
"""Sets of more tiles are worth the seconds that a GPU's code takes to be fused."""

MOST_WORKERS = 16
"""Processes that read beside a GPU, at most."""

_LOOKED_AT = 3
_NUMBER = re.compile(r"[a-z]*[\s:=_#-]*\d+([\s:.]\d+)*(\s*nm)?", re.IGNORECASE)
_WAITING = 1.0


@dataclass
class _Work:
    """A stretch of a plate that is taken, read ahead and embedded."""

    stretch: shards.Stretch
    file: Path
    free: object
    statistics: pd.DataFrame
    identified: pd.DataFrame
    parts: plate_parts.PlateParts
    together: int
    gaps: list
    loaders: list
    light: dict | None

    def begin(self):
        """Start to read."""
        self.loaders[:1] = map(iter, self.loaders[:1])


class SiteEmbeddings:
    """The plates of a dataset through one embedder, into one table a plate.

    Parameters
    ----------
    metadata : Metadata
    embedder : Embedder
    settings : dict
        What every plate shares, see `claims`.
    folder : Path
        From `paths.valset_folder`.
    num_workers : int or None
        Processes that read; by default none on the CPU, whose cores they would take, and up to
        `MOST_WORKERS` beside a GPU, which they keep fed.
    on_error : {"record", "raise"}
    shard : str, optional
        Such as "3/16": the part of the sites that is embedded, see `shards.stretches`.
    measured : dict, optional
        What an earlier run of the folder measured: ``batch_size`` and ``compiled``.
    """

    def __init__(
        self,
        metadata,
        embedder,
        settings,
        folder,
        num_workers,
        on_error,
        shard=None,
        measured=None,
    ):
        self.metadata = metadata
        self.embedder = embedder
        self.settings = settings
        self.folder = folder
        self.on_gpu = embedder.device.type != "cpu"
        if num_workers is None:
            num_workers = min(MOST_WORKERS, max(1, _processors() - 1)) if self.on_gpu else 0
        self.num_workers = num_workers
        self.on_error = on_error
        self.shard = shards.parsed(shard)
        self.measured = measured
        self.groups = channel_groups(embedder.model, metadata.channels)
        dataset.foreground_index(metadata, settings["foreground_channel"])
        self.units = units(metadata)
        self.sizes = {key: len(rows) for key, rows in self.units.items()}
        self.finished = set()
        self.image_ids = {}
        self.shared_statistics = None
        self.estimating = isinstance(settings.get("illumination"), dict)
        self.shared_light = None
        self.refused = {}
        self.usual = {}
        self._later = {}
        self._names = {}
        self._files = None
        self._ahead = None

    def files(self):
        """The site tables, one a unit."""
        if self._files is None:
            self._files = paths.site_tables(self.folder, self.units)
        return self._files

    def claimed(self, overwrite=False):
        """The output folder, ours alone while the block lasts: see `claims.claimed`."""
        origin = self.metadata.origin or self.metadata.root or type(self.metadata).__qualname__
        dataset = {"valset": self.metadata.valset, "origin": str(origin)}
        if self.metadata.opened_with:
            dataset["opened_with"] = self.metadata.opened_with
        return claims.claimed(
            self.folder,
            dataset,
            self.settings | ({claims.MEASURED: self.measured} if self.measured else {}),
            self.files().values(),
            self._differences,
            overwrite,
        )

    def _differences(self):
        """What finished plates were made of otherwise, a list of str; notes those that agree."""
        found, statistics = [], []
        ours = {stretch.key for stretch in self._stretches()}
        for key, file in self.files().items():
            if key not in ours or not file.exists():
                continue
            made = claims.provenance(file)
            if made is None:
                say(f"warning: {file} is damaged; its plate is embedded again")
                continue
            plate = " ".join(map(str, key))
            if made.get("plate") != [str(part) for part in key]:
                held = " ".join(made.get("plate", ["another"]))
                found.append(f"{file.relative_to(self.folder)} holds the plate {held}, not {plate}")
            elif text := self._other_sites(key, file):
                found.append(f"plate {plate}: {text}")
            self.finished.add(key)
            statistics.append(made.get("intensity_statistics"))
        if not self.metadata.plate_columns and len({json.dumps(s) for s in statistics}) > 1:
            found.append(_OTHER_LIMITS)
        return found

    def _check_shared_statistics(self):
        """Stop where the parts to come would be scaled otherwise than those that are finished."""
        for key in sorted(self.finished)[:1]:
            made = claims.provenance(self.files()[key])["intensity_statistics"]
            if made != self._stored_statistics(self.shared_statistics):
                raise claims.made_otherwise(self.folder, [_OTHER_LIMITS])

    def _other_sites(self, key, file):
        """How the sites of a finished plate differ from the dataset's; None where they agree."""
        names = [*_key_names(self.metadata), "Metadata_path", _IMAGE_ID]
        stored = tables.read_table(file, names)
        lacking = [name for name in names if name not in stored]
        if lacking:
            return f"it was stored without {', '.join(lacking)}"
        now = self._identified(key, self._ordered(key))
        was, now = (set(_as_text(frame[names])) for frame in (stored, now))
        if was == now:
            return None
        some = min(now - was or was - now)[-2]
        alone = f" (delete {file.relative_to(self.folder)} to embed it alone)"
        told = []
        if other := len(now - was):
            told.append(
                f"{other} of {len(now)} sites have other images or keys than when they were "
                "embedded"
            )
        if (gone := len(was) - len(now)) > 0:
            told.append(f"{gone} of {len(was)} sites are gone")
        alone = alone if self.metadata.plate_columns else ""
        return f"{', '.join(told)}; such as {some}{alone}"

    def _ordered(self, key):
        """The rows of a unit in the order they are embedded in."""
        return self.units[key][_by_path(self.metadata, self.units[key])]

    def _identified(self, key, rows):
        """Keys, path and image id of the sites of a unit, whose rows are given in order."""
        ids = self._ids(key, rows)
        described = _described(dataset.subset(self.metadata, rows))
        return described[[*_key_names(self.metadata), "Metadata_path"]].assign(**{_IMAGE_ID: ids})

    def _ids(self, key, rows):
        """Image ids of the sites of a unit, whose rows are given in order; they are kept."""
        ids = identity.image_ids(self.metadata, rows)
        # As one text, which takes a quarter of the memory of many.
        self.image_ids[key] = "".join(ids)
        return ids

    def _stretches(self):
        """What this run, or its shard, is to embed."""
        return shards.stretches(self.sizes, *self.shard, unit=self._together)

    @property
    def own_sites(self):
        """How many sites this run, or its shard, is to embed."""
        return sum(map(len, self._stretches()))

    def embed_plates(self, inspected=lambda refused: None):
        """Embed what is not finished, of the shard or of all.

        Parameters
        ----------
        inspected : callable, optional
            Called before any computing with the rows of the sites whose headers refuse them.
        """
        todo = {s.key for s in self._stretches()} - self.finished
        if self.finished:
            count = f"{len(self.finished)} of {len(self.units)}"
            say(f"{self.metadata.valset}: {count} plates are finished")
        if not todo:
            return
        self._inspect(todo)
        inspected(list(self.refused))
        if not self.metadata.plate_columns:
            everything = np.arange(len(self.metadata.metadata))
            metadata = self.metadata
            if self.estimating:
                ids = [i for key in self.units for i in self._ids(key, self._ordered(key))]
                self.shared_light = self._light((), metadata, everything, ids)
                metadata = _lit(metadata, self.shared_light)
            self.shared_statistics = self._statistics(metadata, everything)
            self._check_shared_statistics()
        self._measure()
        # Now that it is known how many sites pass together, where plates are divided.
        todo = [s for s in self._stretches() if s.key not in self.finished]
        sites = sum(map(len, todo))
        self._announce(todo)
        with Progress(sites, "site", f"{self.metadata.valset}") as bar:
            self._pace = Pace(sites, "site")
            # Closed, so that a run that fails gives its plates free at once.
            with contextlib.closing(self._taken(todo, bar)) as taken:
                for work in taken:
                    self._embed(work, bar)
                    claims.settle(self.folder)

    def _taken(self, todo, bar):
        """One stretch after another for this run alone, the next one opened meanwhile by a thread
        where other processes read, or images lie elsewhere."""
        pool = ThreadPoolExecutor(1) if self.num_workers or self._later else None
        try:
            while work := self._ahead.result() if self._ahead else self._take(todo, bar):
                self._ahead = pool.submit(self._take, todo, bar) if pool else None
                try:
                    yield work
                finally:
                    work.free()
        finally:
            todo.clear()
            ahead, self._ahead = self._ahead, None
            if ahead and ahead.exception() is None and (left := ahead.result()):
                left.free()
            if pool:
                pool.shutdown()

    def _read_ahead(self):
        """Have the next stretch read, if it is opened, while the table of this one is written."""
        ahead = self._ahead
        if ahead and ahead.done() and ahead.exception() is None and ahead.result():
            ahead.result().begin()

    def _take(self, todo, bar):
        """The next stretch that no other run holds, with all that is needed to embed it; None at
        the end. What others have finished meanwhile is passed over."""
        said = False
        while todo:
            for stretch in list(todo):
                file = self.files()[stretch.key]
                free = claims.plate_held(self._lock_file(stretch, file))
                if free is None:
                    continue
                todo.remove(stretch)
                if claims.provenance(file) is None:
                    try:
                        return self._prepared(stretch, file, free)
                    except BaseException:
                        free()
                        raise
                free()
                self._accept(stretch.key, file)
                bar.update(len(stretch))
            if todo and not said:
                said = True
                say(f"{len(todo)} plates are being embedded by other runs; waiting for them")
            if todo:
                time.sleep(_WAITING)
        return None

    def _lock_file(self, stretch, file):
        if stretch.whole:
            return paths.plate_lock_file(file)
        name = f"{paths.parts_folder(file).name}.{stretch.start}-{stretch.stop}.lock"
        return file.with_name(name)

    def _accept(self, key, file):
        """Take over a plate that another run has finished meanwhile."""
        if text := self._other_sites(key, file):
            raise claims.made_otherwise(self.folder, [f"plate {' '.join(map(str, key))}: {text}"])
        self.finished.add(key)

    def _prepared(self, stretch, file, free):
        rows = self._ordered(stretch.key)
        if stretch.key in self._later:
            self._look_at({stretch.key: self._later.pop(stretch.key)})
        identified = self._identified(stretch.key, rows)
        metadata = dataset.subset(self.metadata, rows)
        ids = identified[_IMAGE_ID].tolist()
        light = self.shared_light
        if self.estimating and light is None:
            light = self._light(stretch.key, metadata, rows, ids)
        metadata = _lit(metadata, light)
        statistics = self.shared_statistics
        if statistics is None:
            statistics = self._statistics(metadata, rows)
        parts = plate_parts.PlateParts(
            file,
            plate_parts.identity(
                self.settings,
                self._stored_statistics(statistics),
                ids,
                *([light[1]] if light else []),
            ),
            len(rows),
        )
        parts.read()
        gaps = parts.gaps(stretch.start, stretch.stop)
        if metadata.remote:
            read = [i for start, stop in gaps for i in range(start, stop)]
            remote.fetch(_all_files(metadata, read), f"{metadata.valset}: fetching images")
        reader = self._reader(metadata, rows, statistics)
        loaders = [self._loader(reader, *gap) for gap in gaps]
        together = self._together(stretch.key)
        light = light[1] if light else self._given_light(metadata)
        return _Work(
            stretch, file, free, statistics, identified, parts, together, gaps, loaders, light
        )

    def _light_folder(self, key):
        table = self.files()[key] if self.metadata.plate_columns else None
        return paths.illumination_folder(self.folder, table)

    def _light(self, key, metadata, rows, ids):
        """Files and record of the functions of a plate, or of all where there are none, whose
        metadata, rows and image ids are given in the same order; see `plate_illumination`."""
        refused = self._refused(rows)
        kept = [row for row in range(len(rows)) if row not in refused]
        order = dataset.sample_rows(dataset.subset(metadata, kept), self.settings["seed"])
        wanted = plate_illumination.identity(
            self.settings["illumination"],
            {name: value for name, value in self.settings.items() if name in _OF_PIXELS},
            sorted(ids),
        )
        folder = self._light_folder(key)
        name = f"plate {' '.join(map(str, key))}" if key else "all sites"
        while (free := claims.plate_held(folder.with_name(f".{folder.name}.lock"))) is None:
            time.sleep(_WAITING)
        try:
            return plate_illumination.of_plate(
                metadata, [kept[i] for i in order], name, folder, wanted
            )
        finally:
            free()

    def _given_light(self, metadata):
        """What the provenance of a plate says of the functions that it was given; None of none."""
        if not metadata.illumination_files():
            return None
        rows = [metadata.illumination(row) for row in range(len(metadata.metadata))]
        digests = {}
        for file in metadata.illumination_files():
            with remote.opened(file) as place:
                digests[file] = tables.sha256_file(place)
        return {
            "functions": {
                channel: [digests[file] for file in dict.fromkeys(files) if file is not None]
                for channel, files in zip(metadata.channels, zip(*rows, strict=True), strict=True)
            }
        }

    def corrected(self):
        """The dataset with the functions that its images were divided by, also estimated ones."""
        if not self.estimating:
            return self.metadata
        listed = [None] * len(self.metadata.metadata)
        for key, rows in self.units.items():
            folder = self._light_folder(key)
            files = paths.illumination_functions(folder, self.metadata.channels)
            files = [str(file) for file in files.values()]
            for row in rows:
                listed[row] = files
        part = dataset.subset(self.metadata, np.arange(len(listed)))
        part.metadata = part.metadata.assign(illumination=listed)
        return part

    def note_illumination(self):
        """Say for which plates and channels the estimated functions may be chance."""
        if not self.estimating:
            return
        folders = dict.fromkeys(self._light_folder(key) for key in self.units)
        records = [record for folder in folders if (record := plate_illumination.stored(folder))]
        found = [(r, channel) for r in records for channel in plate_illumination.untold(r)]
        if not found:
            return
        record, channel = found[0]
        one = record["functions"][channel]
        count = sum(len(r["functions"]) for r in records)
        self.metadata.note(
            f"{len(found)} of {count} estimated illumination functions cannot be told from chance, "
            f"such as that of {channel}, {record['plate']}: it varies by {one['spread']:.1%}, and "
            f"of its {record['sites']} sites the error is {one['error']:.1%}. More sites tell "
            "more; illumination='none' takes the images as they are"
        )

    def _loader(self, reader, start, stop):
        return DataLoader(
            reader,
            sampler=range(start, stop),
            batch_size=None,
            num_workers=self.num_workers,
            pin_memory=self.on_gpu,
        )

    def _together(self, key):
        """Sites of a plate that pass the model together: as many as fill a batch."""
        return max(1, round(self.embedder.batch_size / self._tiles(key)))

    def _tiles(self, key):
        """Tiles of a site of a plate, all channels, by the header that most of its sites have."""
        header = self.usual.get(key if self.metadata.plate_columns else ())
        if header is None:
            return self.embedder.batch_size
        height, width = dataset.sides_read(self.metadata, header)
        names = ("size", "stride", "tiling", "small_images")
        count = tiles.tile_count(height, width, *(self.settings[name] for name in names))
        return count * (1 if self.groups == ["all"] else len(self.groups))

    def _measure(self):
        """Batches and code for the device: what an earlier run measured, or measured now."""
        total = sum(n * self._tiles(key) for key, n in self.sizes.items())
        if (self.measured or {}).get("compiled", total >= COMPILED_TILES):
            self.embedder.compile()
        self.embedder.tune(self.settings["size"])
        self.measured = {
            "device": self.embedder.device.type,
            "batch_size": self.embedder.batch_size,
            "compiled": self.embedder.compiled,
        }
        claims.record_measured(self.folder, self.measured)

    def tables(self):
        """The site tables, one after another, with what the dataset says of their sites now."""
        for key, file in self.files().items():
            yield read_sites(file, self.metadata, self.units[key])

    def _inspect(self, todo):
        """Say before any computing what the headers of the images to come tell.

        Plates of images elsewhere are looked at when their turn comes; now one site of each is,
        whose header stands for the others where work is divided.

        Raises
        ------
        ValueError
            See `_look_at`; no site that was looked at is readable.
        """
        plates = self.metadata.plates()
        if self.metadata.plate_columns:
            plates = {key: rows for key, rows in plates.items() if key in todo}
            self._later = {key: rows for key, rows in plates.items() if self._elsewhere(rows)}
        now = {key: rows for key, rows in plates.items() if key not in self._later}
        errors = self._look_at_few(self._later)
        if now:
            self._look_at(now)
        elif not any(self.usual.values()):
            raise ValueError(
                f"none of the {len(errors)} sites that were looked at could be read. The first: "
                f"{errors[0]}"
            )

    def _elsewhere(self, rows):
        """Whether some of the sites have to be fetched."""
        return self.metadata.remote and any(map(remote.is_remote, _all_files(self.metadata, rows)))

    def _look_at_few(self, plates):
        """Find the usual header of plates by the first of a few sites of each that is readable.

        Returns
        -------
        list of str
            The errors of the others.
        """
        errors, few = [], {key: rows[:_LOOKED_AT] for key, rows in plates.items()}
        first = [rows[0] for rows in few.values()]
        remote.fetch(
            _all_files(self.metadata, first), f"{self.metadata.valset}: fetching one site a plate"
        )
        for key, rows in few.items():
            self.usual[key] = None
            for row in rows:
                (header,) = dataset.site_headers(dataset.subset(self.metadata, [row]))
                if not isinstance(header, str):
                    self.usual[key] = header
                    break
                errors.append(header)
        return errors

    def _look_at(self, plates):
        """Find by their headers the sites of plates that are not to be read, and say what is odd.

        Raises
        ------
        ValueError
            No site is readable; a type that the scaling does not know; with on_error "raise", the
            first site that is refused.
        """
        found = dataset.inspect(self.metadata, plates)
        self.refused |= found.refused
        self.usual = found.usual | self.usual
        first = next(iter(found.refused.values()), None)
        name, looked = self.metadata.valset, sum(map(len, plates.values()))
        if first and self.on_error == "raise":
            raise ValueError(first)
        if len(self.refused) == len(self.metadata.metadata):
            raise ValueError(f"none of the {looked} sites could be read. The first: {first}")
        if self._by_type():
            for key, header in found.usual.items():
                try:
                    intensity.dtype_limits(header.dtype if header else np.uint16)
                except ValueError as error:
                    plate = f", plate {' '.join(map(str, key))}" if key else ""
                    raise ValueError(f"{name}{plate}: {error}") from None
        self._check_functions(plates, found.usual)
        self._note_names(found.names)
        if first:
            count = f"{len(found.refused)} of {looked} sites"
            self.metadata.note(f"{count} are recorded as failed. The first: {first}")

    def _check_functions(self, plates, usual):
        """Stop on given illumination functions that are none, or not of the size of the images."""
        for key, rows in plates.items():
            header = usual.get(key)
            for file in self.metadata.illumination_files(rows):
                illumination.read_function(file)
                # Sites of a dataset without plates may have sizes of their own.
                if header is not None and key:
                    shape = (header.height, header.width)
                    illumination.check_size(file, shape, self.metadata.paths(rows[0])[0])

    def _note_names(self, names):
        """Say where the names that files give their channels are not those of the dataset."""
        said = set(self._names.values())
        self._names |= names
        lists = {}
        for key, given in self._names.items():
            lists.setdefault(given, []).append(key)
        if len(lists) > 1 and set(lists) != said:
            told = "; ".join(f"{', '.join(g)} on {listed(keys)}" for g, keys in lists.items())
            self.metadata.note(
                f"the files of the plates name their channels differently: {told}. Each is read in "
                "the order of its files: list plates of another order as a dataset of their own"
            )
        for given in lists:
            if given not in said:
                self._note_other_names(given)

    def _note_other_names(self, given):
        metadata, wanted = self.metadata, self.metadata.channels
        if metadata.is_merged:
            planes = metadata.channel_indices(0)
            given = [given[plane] for plane in planes if plane < len(given)]
        if len(given) != len(wanted):
            return
        numbered = [name for name in wanted if re.fullmatch(r"ch\d+", name)]
        ours, theirs = (list(map(_spelt, names)) for names in (wanted, given))
        swapped = sorted(ours) == sorted(theirs) and ours != theirs
        if numbered or swapped:
            renaming = ",".join(f"{own}={name}" for own, name in zip(given, wanted, strict=True))
            metadata.note(
                f"the files name their channels {', '.join(given)}, the dataset "
                f"{', '.join(wanted)}: channels='{renaming}' takes the names of the files"
            )
        elif ours != theirs and not all(map(_NUMBER.fullmatch, given)):
            metadata.note(
                f"the files name their channels {', '.join(given)}, the dataset "
                f"{', '.join(wanted)}, in this order. Where these are not names of the same, "
                "correct the table"
            )

    def _by_type(self):
        """Whether intensities are scaled by the type of the files."""
        return (
            self.settings["intensity_scaling"] == "dtype"
            and self.settings["intensity_range"] is None
        )

    def _refused(self, rows):
        """{place among `rows`: error} of the sites that `_inspect` found wanting."""
        return {i: self.refused[row] for i, row in enumerate(rows) if row in self.refused}

    def _statistics(self, metadata, rows):
        refused = self._refused(rows)
        return dataset.plate_statistics(metadata, refused=refused, seed=self.settings["seed"])

    def _reader(self, metadata, rows, statistics):
        names = ("size", "stride", "tiling", "min_foreground", "foreground_channel", "small_images")
        return dataset.SiteTiles(
            metadata,
            statistics,
            **{name: self.settings[name] for name in names},
            on_error=self.on_error,
            refused=self._refused(rows),
            with_limits=self.settings["intensity_scaling"] == "image",
            natural_range=self._by_type(),
        )

    def _announce(self, todo):
        """Say what is to come, by the headers of the images."""
        sites = sum(map(len, todo))
        total = sum(self._tiles(stretch.key) * len(stretch) for stretch in todo)
        features = len(self.groups) * self.embedder.model.embedding_dim
        say(
            f"{self.metadata.valset}: {sites} sites of the channels "
            f"{', '.join(self.metadata.channels)}, up to {total} tiles of {self.settings['size']} "
            f"px on {self.embedder.device} in {self.embedder.precision}, "
            f"{self.embedder.batch_size} at a time; {sites * features * 4 / 1e6:.0f} MB in "
            f"{self.folder}"
        )

    def _embed(self, work, bar):
        """Embed what is lacking of a stretch; write the plate's table once all of it is there."""
        begun = len(work.stretch) - sum(stop - start for start, stop in work.gaps)
        bar.update(begun)
        self._pace.skip(begun)
        by_channel = work.statistics.set_index("channel").loc[self.metadata.channels]

        def limits(item):
            return intensity.site_limits(
                item,
                by_channel,
                self.settings["intensity_scaling"],
                self.settings["intensity_range"],
            )

        for (start, stop), loader in zip(work.gaps, work.loaders, strict=True):
            groups = _grouped(iter(loader), start, stop, work.together)
            measured, embeddings, stored = [], [], time.monotonic()
            missing = np.full(
                (len(self.groups), self.embedder.model.embedding_dim), np.nan, np.float32
            )
            for group in self.embedder.sites(groups, limits):
                for item, embedding in group:
                    measured.append(_row(item, self.metadata.channels, self.settings["tiling"]))
                    embeddings.append(missing if embedding is None else embedding)
                bar.update(len(group))
                self._pace.done(len(group))
                if time.monotonic() - stored > PART_SECONDS:
                    work.parts.hold(start, measured, np.stack(embeddings), store=True)
                    start += len(measured)
                    measured, embeddings, stored = [], [], time.monotonic()
            if measured:
                store = not work.stretch.whole
                work.parts.hold(start, measured, np.stack(embeddings), store)
        self._read_ahead()
        if work.stretch.whole:
            self._write_plate(work)

    def _write_plate(self, work):
        measured, embeddings = work.parts.joined()
        width = self.embedder.model.embedding_dim
        features = pd.DataFrame(
            embeddings.reshape(len(measured), -1),
            columns=[f"emb_{group}_{i:04d}" for group in self.groups for i in range(width)],
        )
        measured = pd.DataFrame(measured)
        frame = pd.concat([work.identified, measured, features], axis=1)
        statuses = measured["Metadata_status"].value_counts()
        key = work.stretch.key
        provenance = self.provenance([key]) | {
            "plate": [str(part) for part in key],
            "counts": {name: int(statuses.get(name, 0)) for name in profiles.STATUSES},
            "intensity_statistics": self._stored_statistics(work.statistics),
        }
        if work.light:
            kind = "estimated" if self.estimating else "given"
            provenance["illumination"] = {"kind": kind} | work.light
        tables.write_table(frame, work.file, provenance)
        work.parts.remove()

    def _stored_statistics(self, statistics):
        by_channel = statistics.set_index("channel").loc[self.metadata.channels].reset_index()
        return json.loads(by_channel.to_json(orient="records"))

    def provenance(self, keys=None):
        """What a table of some plates, by default all, says about its making."""
        ids = [self.image_ids[key] for key in (self.units if keys is None else keys)]
        return {
            "software": software.versions(["unidino"]) | {"commit": software.commit()},
            "libraries": {"python": platform.python_version()} | software.versions(_LIBRARIES),
            "settings": self.settings,
            "model_origin": self.embedder.model.origin,
            "model_licence": self.embedder.model.licence,
            "images_sha256": hashlib.sha256("".join(ids).encode()).hexdigest(),
            "pixel_size": self.metadata.pixel_size,
            "simulated": bool(self.metadata.simulated),
            "valset": self.metadata.valset,
        }


def _processors():
    """Processors that this process may use: of a scheduler's job, not of the machine."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _grouped(items, start, stop, together):
    """Items of the sites `start` to `stop`, as lists of those that pass the model together."""
    while start < stop:
        end = min(start // together * together + together, stop)
        yield [next(items) for _ in range(end - start)]
        start = end


def _all_files(metadata, rows):
    """Files that some sites are read from: their images and illumination functions."""
    yield from chain.from_iterable(metadata.files(rows))
    yield from metadata.illumination_files(rows)


def _spelt(name):
    """A channel's name without what is written in many ways."""
    return re.sub(r"[^\w]|_", "", str(name)).lower().removeprefix("orig")


def _lit(metadata, light):
    """A dataset that is divided by the functions of `SiteEmbeddings._light`, or as it is."""
    if light is None:
        return metadata
    lit = dataset.subset(metadata, np.arange(len(metadata.metadata)))
    lit.metadata = lit.metadata.assign(illumination=[light[0]] * len(lit.metadata))
    return lit


def _key_names(metadata):
    return [tables.metadata_name(name) for name in metadata.key_columns]


def _as_text(frame):
    """The rows of a table as tuples of text."""
    text = frame.astype(object).where(frame.notna(), "")
    return [tuple(map(str, row)) for row in text.itertuples(index=False, name=None)]


def _described(metadata):
    """What the dataset says of its sites, one row each."""
    frame = metadata.metadata
    wanted = [*metadata.key_columns, *metadata.inference_metadata_columns, "control_type"]
    wanted = [name for name in dict.fromkeys(wanted) if name in frame.columns]
    described = frame[wanted].copy()
    rows = range(len(frame))
    described["path"] = [files[0] for files in identity.relative_paths(metadata, rows)]
    for name in described.columns[described.map(lambda v: isinstance(v, list)).any()]:
        described[name] = described[name].map(lambda v: "|".join(map(str, v)))
    described["simulated"] = bool(metadata.simulated)
    if "plate" in metadata.key_columns:
        described["plate"] = described["plate"].astype(str)
    return tables.prefixed(described)


def _row(item, channels, tiling):
    """The columns that reading a site adds."""
    failed = "error" in item
    # The released code averages sites without foreground like any other.
    empty = not failed and bool(item["empty"]) and tiling != "legacy"
    status = "failed" if failed else "empty" if empty else "ok"
    row = {"Metadata_status": status, "Metadata_error": item.get("error")}
    for measure in quality.SITE_MEASURES:
        key = "tiles_total" if measure == "tiles" else measure
        row[f"Metadata_{measure}"] = np.nan if failed else float(item[key])
    for measure in quality.CHANNEL_MEASURES:
        for i, channel in enumerate(channels):
            value = np.nan if failed else float(item[measure][i])
            row[f"Metadata_{measure}_{channel}"] = value
    return row
