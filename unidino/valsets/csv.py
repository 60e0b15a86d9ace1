"""Datasets from a table with one row a site."""

from pathlib import Path

import pandas as pd

from .. import images, tables
from ..metadata import Metadata
from ..progress import say
from ..remote import LEAVE
from ..wells import well_name
from . import files
from .columns import bare_names, check_wells, name_wells, number_sites
from .plate_maps import with_treatments


class CSVMetadata(Metadata):
    """A dataset from a table with one row a site; no code is needed.

    Parameters
    ----------
    csv : str or Path
        Delimited text in any dialect (see `delimited`), or Parquet. A column ``path`` of merged
        images, or one column of paths a channel (the columns whose values end like image files, or
        those that `channels` names). With a column ``channel`` and one column of paths, a row is an
        image, and the rows of a site are put together. Relative paths start at the table's folder.
        Any other column is metadata; ``plate``, ``well`` (or ``row`` and ``col``), ``site``,
        ``batch``, ``source`` and ``control_type`` (or ``pert_type``) have their meaning, with or
        without ``Metadata_``. CellProfiler's LoadData columns are understood; those of ``IllumX``
        are functions by which the images of the channel X are divided, see `illumination`.
    single_channel_metadata : bool
        One row an image and channel.
    root : str or Path, optional
        Folder that relative paths start at, instead of the CSV's.
    check_files : bool
        Check that every file is there.
    platemap : str or Path, optional
        Table of treatments and controls, joined on ``plate`` and ``well``; on the well alone where
        it has no plate.
    channels : str, list or dict, optional
        See `Metadata.select_channels`.
    controls : str, optional
        Query (`queries.rows`) that names the negative controls.
    channel_axis : {"first", "last"}, optional
        Where merged files hold their channels, if they do not say.
    plane : int or "max", optional
    timepoint : int, optional
        What is read of files that hold several planes of depth or time points, from 1; "max" is
        the maximum projection.
    max_missing : float
        See `Metadata.check_files`.
    remote : bool
        Fetch the files that lie elsewhere, see `remote`: no table may ask for that by itself.

    Raises
    ------
    ValueError, FileNotFoundError
        Names the file, the column or the row, and the remedy.
    """

    def __init__(
        self,
        csv,
        single_channel_metadata=False,
        root=None,
        check_files=True,
        *,
        platemap=None,
        channels=None,
        controls=None,
        channel_axis=None,
        plane=None,
        timepoint=None,
        max_missing=0.0,
        remote=False,
    ):
        if channel_axis is not None and channel_axis not in images.CHANNEL_AXES:
            raise ValueError(f"channel_axis {channel_axis!r} is not 'first' or 'last'.")
        images.check_part(plane, timepoint)
        if "://" in str(csv):
            raise ValueError(
                f"the table {csv} lies elsewhere. Fetch it and give its path; the images that it "
                f"lists may lie elsewhere, with {LEAVE}."
            )
        csv = Path(csv).expanduser().absolute()
        self.valset = dataset_name(csv)
        self.origin = str(csv.resolve())
        self.channel_axis = channel_axis
        self.remote = remote
        self.opened_with = {"remote": True} if remote else {}
        self.plane, self.timepoint = plane, timepoint
        self.single_channel_metadata = False
        folder = Path(root).expanduser().absolute() if root else csv.parent
        try:
            frame = tables.read_csv(csv, lambda text: files.load_data(bare_names(text)))
            frame, wells = name_wells(frame)
            odd = None
            if "well" in frame.columns:
                frame = frame.assign(well=well_name(frame["well"]))
                odd = check_wells(frame["well"])
            frame = number_sites(self._with_paths(frame, folder, channels))
        except ValueError as error:
            named = csv.name in str(error)
            raise ValueError(error if named else f"{csv.name}: {error}") from None
        self.root = str(folder)
        self.simulated = _is_simulated(frame) or Path(folder, "SIMULATED.json").is_file()
        frame = frame.drop(columns="simulated", errors="ignore")
        self.metadata = frame = with_treatments(self, frame, platemap, controls)
        self.inference_metadata_columns = [c for c in frame.columns if c not in tables.FILE_COLUMNS]
        self.validate(check_files=check_files, max_missing=max_missing)
        if odd:
            self.note(odd)
        self._describe(wells)
        if channels is not None:
            self.select_channels(channels)
        if single_channel_metadata:
            self.as_single_channel()

    def _with_paths(self, frame, folder, channels):
        """The table with its ``path`` column; sets `is_merged` and `channels`."""
        headless = [column for column in frame.columns if files.is_image(column)]
        if headless:
            raise ValueError(f"has a column named {headless[0]}: the first row must name columns.")
        if "illumination" in frame.columns:
            raise ValueError(
                "has a column illumination, as illumination functions are called here. Rename it."
            )
        frame, functions = files.functions_apart(frame)
        named = files.image_columns(frame)
        asked = _asked(channels)
        single = named[0] if len(named) == 1 else None
        by_row = single and "channel" in frame.columns and frame["channel"].nunique() > 1
        if len(functions.columns) and (by_row or "path" in frame.columns):
            raise ValueError(
                f"the columns {', '.join(functions)} hold illumination functions, which go with "
                "one column of images a channel. List the images so, or remove the columns to use "
                "the images as they are."
            )
        if by_row:
            return self._from_rows_of_images(frame, single, folder)
        self.is_merged = "path" in frame.columns
        if self.is_merged:
            others = [column for column in named if column != "path"]
            if others:
                raise ValueError(
                    f"has a column path and image paths in {', '.join(others)}. Keep path for "
                    "merged images, or the columns for one file a channel."
                )
            files.check_images(frame, "path")
            return frame.assign(path=files.resolved(frame, "path", folder))
        chosen = named
        if asked:
            lacking = [name for name in asked if name not in frame.columns]
            if lacking:
                raise ValueError(
                    f"channels names {', '.join(lacking)}, which are no columns; the table has "
                    f"{', '.join(map(str, frame.columns))}."
                )
            chosen = list(dict.fromkeys(asked))
        if not chosen:
            raise ValueError(
                "has no images: expected a column path, or columns of image paths (ending in "
                f"{', '.join(images.SUFFIXES)}). It has {', '.join(map(str, frame.columns))}."
            )
        for name in chosen:
            files.check_images(frame, name)
        self.channels = [str(name) for name in chosen]
        frame = self._with_functions(frame, functions, [*named, *chosen], folder)
        rest = frame.drop(columns=list({*named, *chosen}))
        found = []
        for name in chosen:
            found.append(files.resolved(frame, name, folder))
            # Its text is let go, for that of a million sites is as large as their table.
            del frame[name]
        return rest.assign(path=[list(row) for row in zip(*found, strict=True)])

    def _with_functions(self, frame, functions, known, folder):
        """The table with its column ``illumination`` where it has functions."""
        if not len(functions.columns):
            return frame
        by_channel = files.functions_by_channel(list(functions), dict.fromkeys(map(str, known)))
        lacking = [channel for channel in self.channels if channel not in by_channel]
        if lacking:
            say(
                f"{self.valset}: {', '.join(lacking)} {'have' if len(lacking) > 1 else 'has'} no "
                "illumination functions: these images are used as they are"
            )
        blank = [None] * len(frame)
        found = [
            files.resolved_functions(functions, by_channel[channel], folder)
            if channel in by_channel
            else blank
            for channel in self.channels
        ]
        return frame.assign(illumination=[list(row) for row in zip(*found, strict=True)])

    def _from_rows_of_images(self, frame, column, folder):
        """One row a site from one row an image and channel."""
        self.is_merged = False
        files.check_images(frame, column)
        frame = frame.assign(**{column: files.resolved(frame, column, folder)})
        sites, self.channels, left_out = files.channels_together(frame, column)
        told = f"; {', '.join(left_out)} differ between channels and are left out"
        say(
            f"{self.valset}: {len(frame)} images are {len(sites)} sites of the channels "
            f"{', '.join(self.channels)}{told if left_out else ''}"
        )
        return sites

    def _describe(self, wells):
        """Say what was made of the table where another might have been meant."""
        if wells:
            say(f"{self.valset}: {wells}")
        if not self.well_columns:
            self.note(
                "no column names the wells (well, or row and col), so every site has a profile of "
                f"its own; the columns are {', '.join(self.inference_metadata_columns) or 'none'}"
            )
        elif not self.plate_columns:
            say(f"{self.valset}: no column plate, so rows of the same well are one well")
        for column in self.inference_metadata_columns:
            values = self.metadata[column]
            if pd.api.types.is_float_dtype(values) and values.isna().any():
                say(
                    f"{self.valset}: the column {column} has no number in "
                    f"{int(values.isna().sum())} of {len(values)} rows"
                )


def dataset_name(csv):
    """The name under which the outputs of a table are filed: its file's, without the suffix.

    Raises
    ------
    ValueError
        Nothing is left.
    """
    stem = Path(csv).name
    stem = stem[:-3] if stem.lower().endswith(".gz") else stem
    stem = (stem.rpartition(".")[0] if "." in stem else stem).strip()
    if not stem:
        raise ValueError(f"the table {csv} has no name before its suffix. Give it one.")
    return stem


def _asked(channels):
    """Column names that a channel selection asks for."""
    if channels is None:
        return []
    if isinstance(channels, str):
        return [part.split("=")[-1].strip() for part in channels.split(",") if part.strip()]
    return list(channels.values() if isinstance(channels, dict) else channels)


def _is_simulated(frame):
    return "simulated" in frame.columns and bool(
        frame["simulated"].map(lambda v: str(v).lower() in ("true", "1", "yes")).all()
    )
