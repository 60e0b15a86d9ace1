"""Site embeddings of a dataset, plate by plate: claimed, resumed, written with their provenance."""

import json
import platform
import shutil
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader

from . import dataset, intensity, paths, quality, tables
from .embedding import channel_groups
from .progress import Progress, say

PART_SITES = 500
"""Sites in a unit of work where a dataset has no plates."""

_LIBRARIES = ("torch", "timm", "numpy", "pandas", "tifffile", "pycytominer")


def _relative(metadata):
    """The site table with paths below the dataset's folder: the same on every machine."""
    frame = metadata.metadata.copy()
    root = f"{metadata.root}/" if getattr(metadata, "root", None) else ""
    frame["path"] = frame["path"].map(
        lambda p: (
            [str(x).removeprefix(root) for x in p]
            if isinstance(p, list)
            else str(p).removeprefix(root)
        )
    )
    return frame


def site_table_digest(metadata):
    """SHA-256 of the site table, and for simulated data of what they were simulated with."""
    digest = tables.frame_digest(_relative(metadata))
    marker = Path(getattr(metadata, "root", None) or ".", "SIMULATED.json")
    if metadata.simulated and marker.is_file():
        digest += "+" + tables.sha256_file(marker)
    return digest


def claim(folder, settings, overwrite):
    """Make the output folder ours, or stop when it holds plates made otherwise."""
    file = paths.settings_file(folder)
    settings = json.loads(json.dumps(settings))
    if overwrite and folder.exists():
        shutil.rmtree(folder)
    # Settings alone, from a run that stopped before its first plate, bind nobody.
    if file.exists() and any((folder / "sites").rglob("*.parquet")):
        earlier = json.loads(file.read_text())
        differing = [
            f"{key} was {earlier.get(key)!r}, is {settings.get(key)!r}"
            for key in sorted(earlier.keys() | settings.keys())
            if earlier.get(key) != settings.get(key)
        ]
        if differing:
            raise ValueError(
                f"{folder} holds an extraction made otherwise: {'; '.join(differing)}. Set "
                "overwrite=True to discard it, or give another outdir."
            )
    tables.write_json(file, settings)


class SiteEmbeddings:
    """The plates of a dataset through one embedder, into one table a plate.

    Parameters
    ----------
    metadata : Metadata
    embedder : Embedder
    settings : dict
        What every plate shares, as claimed by `claim`.
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
        self.units = self._units()
        self.shared_statistics = None
        self.refused = {}

    def _units(self):
        """{plate key: rows} in the order of the table; parts where there are no plates."""
        if self.metadata.plate_columns:
            return self.metadata.plates()
        count = len(self.metadata.metadata)
        return {
            (f"part-{i:04d}",): np.arange(start, min(start + PART_SITES, count))
            for i, start in enumerate(range(0, count, PART_SITES))
        }

    def files(self):
        """The site tables, one a unit."""
        return paths.site_tables(self.folder, self.units)

    def embed_plates(self):
        """Embed the plates that are not finished."""
        todo = {key: file for key, file in self.files().items() if not file.exists()}
        sites = sum(len(self.units[key]) for key in todo)
        finished = len(self.units) - len(todo)
        if finished:
            say(f"{self.metadata.valset}: {finished} of {len(self.units)} plates are finished")
        if not todo:
            return
        self._inspect(todo)
        if not self.metadata.plate_columns:
            everything = np.arange(len(self.metadata.metadata))
            self.shared_statistics = self._statistics(self.metadata, everything)
        self._announce(sites, self.units[next(iter(todo))][:1])
        with Progress(sites, "site", f"{self.metadata.valset}") as bar:
            for key, file in todo.items():
                self._embed_plate(self.units[key], file, bar)

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
        if first:
            say(
                f"warning: {len(self.refused)} of {len(rows)} sites are refused. The first: {first}"
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
            f"{self.metadata.valset}: {sites} sites, about {sites * tiles} tiles of {side} px on "
            f"{self.embedder.device}; about {minutes:.1f} min of computing and "
            f"{sites * features * 4 / 1e6:.0f} MB in {self.folder}"
        )

    def _embed_plate(self, row_numbers, file, bar):
        metadata = dataset.subset(self.metadata, row_numbers)
        statistics = self.shared_statistics
        if statistics is None:
            statistics = self._statistics(metadata, row_numbers)
        by_channel = statistics.set_index("channel").loc[metadata.channels]

        def limits(item):
            return intensity.site_limits(
                item,
                by_channel,
                self.settings["intensity_scaling"],
                self.settings["intensity_range"],
            )

        loader = DataLoader(self._reader(metadata, row_numbers, statistics), **self.reading)
        rows, embeddings = [], []
        width = self.embedder.model.embedding_dim
        missing = np.full((len(self.groups), width), np.nan, np.float32)
        for item, embedding in self.embedder.sites(loader, limits):
            rows.append(_row(item, metadata.channels, self.settings["tiling"]))
            embeddings.append(missing if embedding is None else embedding)
            bar.update()
        features = pd.DataFrame(
            np.stack(embeddings).reshape(len(rows), -1),
            columns=[f"emb_{group}_{i:04d}" for group in self.groups for i in range(width)],
        )
        described = _described(metadata).assign(Metadata_row=row_numbers)
        frame = pd.concat([described, pd.DataFrame(rows), features], axis=1)
        provenance = self.provenance() | {
            "intensity_statistics": json.loads(by_channel.reset_index().to_json(orient="records")),
        }
        tables.write_table(frame, file, provenance)

    def provenance(self):
        """What every table of this extraction says about its making."""
        return {
            "software": {"unidino": version("unidino"), "commit": _commit()},
            "libraries": {"python": platform.python_version()}
            | {name: version(name) for name in _LIBRARIES},
            "settings": self.settings,
            "simulated": bool(self.metadata.simulated),
            "valset": self.metadata.valset,
        }


def _described(metadata):
    """The metadata columns of the site table."""
    frame = _relative(metadata)
    wanted = [*metadata.key_columns, *metadata.inference_metadata_columns, "control_type"]
    wanted = [name for name in dict.fromkeys(wanted) if name in frame.columns]
    described = frame[wanted].copy()
    described["path"] = frame["path"].map(lambda p: p[0] if isinstance(p, list) else p)
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


def _commit():
    """The checkout's commit, or None outside one; read from git's files, without running git."""
    git = paths.project_root() / ".git"
    try:
        head = (git / "HEAD").read_text().strip()
        reference = head.removeprefix("ref: ")
        return (git / reference).read_text().strip() if reference != head else head
    except OSError:
        return None
