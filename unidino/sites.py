"""Site embeddings of a dataset, plate by plate: claimed, resumed, written with their provenance."""

import hashlib
import json
import platform
import re
import time

import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader

from . import (
    claims,
    dataset,
    identity,
    intensity,
    paths,
    profiles,
    quality,
    software,
    tables,
)
from .embedding import channel_groups
from .profiles.reference import listed
from .progress import Progress, say

PART_SITES = 500
"""Sites in a unit of work where a dataset has no plates."""

_LIBRARIES = ("torch", "timm", "numpy", "pandas", "tifffile", "pycytominer")


_IMAGE_ID = "Metadata_image_id"
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
        Processes that read; by default none on the CPU, whose cores they would take, and up to 8
        beside a GPU, which they keep fed.
    on_error : {"record", "raise"}
    """

    def __init__(self, metadata, embedder, settings, folder, num_workers, on_error):
        self.metadata = metadata
        self.embedder = embedder
        self.settings = settings
        self.folder = folder
        if num_workers is None:
            on_cpu = embedder.device.type == "cpu"
            num_workers = 0 if on_cpu else min(8, torch.multiprocessing.cpu_count())
        self.reading = {"batch_size": None, "num_workers": num_workers}
        self.on_error = on_error
        self.groups = channel_groups(embedder.model, metadata.channels)
        dataset.foreground_index(metadata, settings["foreground_channel"])
        self.units = units(metadata)
        self.finished = set()
        self.image_ids = {}
        self.shared_statistics = None
        self.refused = {}

    def files(self):
        """The site tables, one a unit."""
        return paths.site_tables(self.folder, self.units)

    def claimed(self, overwrite=False):
        """The output folder, ours alone while the block lasts: see `claims.claimed`."""
        origin = self.metadata.origin or self.metadata.root or type(self.metadata).__qualname__
        return claims.claimed(
            self.folder,
            {"valset": self.metadata.valset, "origin": str(origin)},
            self.settings,
            self.files().values(),
            self._differences,
            overwrite,
        )

    def _differences(self):
        """What finished plates were made of otherwise, a list of str; notes those that agree."""
        found, statistics = [], []
        for key, file in self.files().items():
            if not file.exists():
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
        now = self._identified(key)
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

    def _identified(self, key):
        """Keys, path and image id of the sites of a unit, in the order they are embedded in."""
        rows = self.units[key][_by_path(self.metadata, self.units[key])]
        self.image_ids[key] = identity.image_ids(self.metadata, rows)
        described = _described(dataset.subset(self.metadata, rows))
        return described[[*_key_names(self.metadata), "Metadata_path"]].assign(
            **{_IMAGE_ID: self.image_ids[key]}
        )

    def embed_plates(self, inspected=lambda refused: None):
        """Embed the plates that are not finished.

        Parameters
        ----------
        inspected : callable, optional
            Called before any computing with the rows of the sites whose headers refuse them.
        """
        todo = {key: file for key, file in self.files().items() if key not in self.finished}
        sites = sum(len(self.units[key]) for key in todo)
        if self.finished:
            count = f"{len(self.finished)} of {len(self.units)}"
            say(f"{self.metadata.valset}: {count} plates are finished")
        if not todo:
            return
        self._inspect(todo)
        inspected(list(self.refused))
        if not self.metadata.plate_columns:
            everything = np.arange(len(self.metadata.metadata))
            self.shared_statistics = self._statistics(self.metadata, everything)
            self._check_shared_statistics()
        self._announce(sites, self.units[next(iter(todo))][:1])
        with Progress(sites, "site", f"{self.metadata.valset}") as bar:
            for key, file in todo.items():
                self._embed_plate(key, file, bar)
                claims.settle(self.folder)

    def tables(self):
        """The site tables, one after another, with what the dataset says of their sites now."""
        for key, file in self.files().items():
            yield read_sites(file, self.metadata, self.units[key])

    def _inspect(self, todo):
        """Say before any computing what the headers of the images to come tell.

        Raises
        ------
        ValueError
            No site is readable; a type that the scaling does not know; with on_error "raise", the
            first site that is refused.
        """
        units = todo if self.metadata.plate_columns else self.units
        rows = np.concatenate([self.units[key] for key in units])
        found = dataset.inspect(dataset.subset(self.metadata, rows))
        self.refused = {int(rows[i]): message for i, message in found.refused.items()}
        first = next(iter(self.refused.values()), None)
        name = self.metadata.valset
        if first and self.on_error == "raise":
            raise ValueError(first)
        if len(self.refused) == len(self.metadata.metadata):
            raise ValueError(f"none of the {len(rows)} sites could be read. The first: {first}")
        if self._by_type():
            for key, header in found.usual.items():
                try:
                    intensity.dtype_limits(header.dtype if header else np.uint16)
                except ValueError as error:
                    plate = f", plate {' '.join(map(str, key))}" if key else ""
                    raise ValueError(f"{name}{plate}: {error}") from None
        self._note_names(found.names)
        if first:
            count = f"{len(self.refused)} of {len(rows)} sites"
            self.metadata.note(f"{count} are recorded as failed. The first: {first}")

    def _note_names(self, names):
        """Say where the names that files give their channels are not those of the dataset."""
        lists = {}
        for key, given in names.items():
            lists.setdefault(given, []).append(key)
        if len(lists) > 1:
            told = "; ".join(f"{', '.join(g)} on {listed(keys)}" for g, keys in lists.items())
            self.metadata.note(
                f"the files of the plates name their channels differently: {told}. Each is read in "
                "the order of its files: list plates of another order as a dataset of their own"
            )
        for given in lists:
            self._note_other_names(given)

    def _note_other_names(self, given):
        metadata, wanted = self.metadata, self.metadata.channels
        if metadata.is_merged:
            planes = metadata.channel_indices(0)
            given = [given[plane] for plane in planes if plane < len(given)]
        numbered = [name for name in wanted if re.fullmatch(r"ch\d+", name)]
        swapped = sorted(given) == sorted(wanted) and list(given) != list(wanted)
        if len(given) == len(wanted) and (numbered or swapped):
            renaming = ",".join(f"{own}={name}" for own, name in zip(given, wanted, strict=True))
            metadata.note(
                f"the files name their channels {', '.join(given)}, the dataset "
                f"{', '.join(wanted)}: channels='{renaming}' takes the names of the files"
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

    def _announce(self, sites, first_row):
        """Say what is to come, from one site read and one batch embedded."""
        first = dataset.subset(self.metadata, first_row)
        statistics = self.shared_statistics
        if statistics is None:
            statistics = self._statistics(first, first_row)
        item = self._reader(first, first_row, statistics)[0]
        tiles = item.get("tiles_kept", 1) * (1 if self.groups == ["all"] else len(self.groups))
        side = self.settings["size"]
        batch = torch.zeros(
            min(self.embedder.batch_size, max(tiles, 8)),
            self.embedder.model.config.in_chans,
            side,
            side,
            device=self.embedder.device,
        )
        seconds = []
        for _ in range(2):
            start = time.perf_counter()
            self.embedder.forward(batch).cpu()
            seconds.append(time.perf_counter() - start)
        minutes = sites * tiles * seconds[-1] / len(batch) / 60
        features = len(self.groups) * self.embedder.model.embedding_dim
        say(
            f"{self.metadata.valset}: {sites} sites of the channels "
            f"{', '.join(self.metadata.channels)}, about {sites * tiles} tiles of {side} px on "
            f"{self.embedder.device}; about {minutes:.1f} min of computing and "
            f"{sites * features * 4 / 1e6:.0f} MB in {self.folder}"
        )

    def _embed_plate(self, key, file, bar):
        identified = self._identified(key)
        rows = self.units[key][_by_path(self.metadata, self.units[key])]
        metadata = dataset.subset(self.metadata, rows)
        statistics = self.shared_statistics
        if statistics is None:
            statistics = self._statistics(metadata, rows)
        by_channel = statistics.set_index("channel").loc[metadata.channels]

        def limits(item):
            return intensity.site_limits(
                item,
                by_channel,
                self.settings["intensity_scaling"],
                self.settings["intensity_range"],
            )

        loader = DataLoader(self._reader(metadata, rows, statistics), **self.reading)
        measured, embeddings = [], []
        width = self.embedder.model.embedding_dim
        missing = np.full((len(self.groups), width), np.nan, np.float32)
        for item, embedding in self.embedder.sites(loader, limits):
            measured.append(_row(item, metadata.channels, self.settings["tiling"]))
            embeddings.append(missing if embedding is None else embedding)
            bar.update()
        features = pd.DataFrame(
            np.stack(embeddings).reshape(len(measured), -1),
            columns=[f"emb_{group}_{i:04d}" for group in self.groups for i in range(width)],
        )
        measured = pd.DataFrame(measured)
        frame = pd.concat([identified, measured, features], axis=1)
        statuses = measured["Metadata_status"].value_counts()
        provenance = self.provenance([key]) | {
            "plate": [str(part) for part in key],
            "counts": {name: int(statuses.get(name, 0)) for name in profiles.STATUSES},
            "intensity_statistics": self._stored_statistics(statistics),
        }
        tables.write_table(frame, file, provenance)

    def _stored_statistics(self, statistics):
        by_channel = statistics.set_index("channel").loc[self.metadata.channels].reset_index()
        return json.loads(by_channel.to_json(orient="records"))

    def provenance(self, keys=None):
        """What a table of some plates, by default all, says about its making."""
        ids = [i for key in (self.units if keys is None else keys) for i in self.image_ids[key]]
        return {
            "software": software.versions(["unidino"]) | {"commit": software.commit()},
            "libraries": {"python": platform.python_version()} | software.versions(_LIBRARIES),
            "settings": self.settings,
            "model_origin": self.embedder.model.origin,
            "images_sha256": hashlib.sha256("".join(ids).encode()).hexdigest(),
            "simulated": bool(self.metadata.simulated),
            "valset": self.metadata.valset,
        }


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
