"""Datasets from a CSV with one row a site, and plate maps that bring treatments and controls."""

import re
from pathlib import Path
from urllib.parse import unquote, urlparse

import pandas as pd

from .. import images, tables
from ..metadata import Metadata, mark_controls, well_name
from ..tables import read_csv

_SUFFIX = re.compile(
    "(" + "|".join(re.escape(suffix) for suffix in images.SUFFIXES) + ")$", re.IGNORECASE
)
# Columns that other software writes for the same thing.
_SYNONYMS = {
    "well_position": "well",
    "well_id": "well",
    "wellid": "well",
    "plate_id": "plate",
    "plateid": "plate",
    "field": "site",
    "fov": "site",
    "imagenumber": "site",
}


def bare_names(frame):
    """Column names without ``Metadata_``, the key columns in lower case."""
    names = {}
    for column in frame.columns:
        name = str(column).strip().removeprefix("Metadata_")
        if name.lower() in (*tables.KEYS, "path", "control_type", "simulated"):
            name = name.lower()
        names[column] = name
    for column, name in names.items():
        synonym = _SYNONYMS.get(name.lower())
        if synonym and synonym not in names.values():
            names[column] = synonym
    repeated = pd.Series(list(names.values()))
    repeated = repeated[repeated.duplicated()].unique()
    if len(repeated):
        raise ValueError(
            f"the table has the column {repeated[0]} twice (with and without Metadata_, or in "
            "another case). Remove one."
        )
    return frame.rename(columns=names)


def _load_data_paths(frame):
    """CellProfiler's LoadData columns as one column of paths a channel.

    FileName_X with PathName_X, or URL_X, becomes X.
    """
    frame = frame.copy()
    for column in list(frame.columns):
        kind, _, channel = str(column).partition("_")
        if kind == "URL" and channel:
            urls = frame.pop(column)
            frame[channel] = urls.map(lambda u: unquote(urlparse(u).path), na_action="ignore")
            frame = frame.drop(columns=[f"FileName_{channel}", f"PathName_{channel}"],
                               errors="ignore")  # fmt: skip
        elif kind == "FileName" and channel and f"URL_{channel}" not in frame.columns:
            folder = frame.pop(f"PathName_{channel}") if f"PathName_{channel}" in frame else None
            files = frame.pop(column)
            frame[channel] = files if folder is None else folder.str.rstrip("/") + "/" + files
    return frame


def _looks_like_images(values):
    text = values.dropna()
    return (
        bool(len(text)) and text.map(lambda v: isinstance(v, str) and bool(_SUFFIX.search(v))).all()
    )


class CSVMetadata(Metadata):
    """A dataset from a CSV with one row a site; no code is needed.

    Parameters
    ----------
    csv : str or Path
        A column ``path`` of merged images, or one column of paths a channel (the columns whose
        values end like image files, or those that `channels` names). Relative paths start at the
        CSV's folder. Any other column is metadata; ``plate``, ``well``, ``site``, ``batch``,
        ``source`` and ``control_type`` have their meaning, with or without ``Metadata_``.
        CellProfiler's LoadData columns are understood.
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
    ):
        if channel_axis is not None and channel_axis not in images.CHANNEL_AXES:
            raise ValueError(f"channel_axis {channel_axis!r} is not 'first' or 'last'.")
        csv = Path(csv).expanduser().absolute()
        self.valset = csv.name.split(".")[0]
        self.channel_axis = channel_axis
        self.single_channel_metadata = False
        try:
            frame = _load_data_paths(bare_names(read_csv(csv)))
            folder = Path(root).expanduser().absolute() if root else csv.parent
            frame = self._with_paths(frame, folder, channels)
        except ValueError as error:
            raise ValueError(f"{csv.name}: {error}") from None
        self.root = str(folder)
        self.simulated = _is_simulated(frame) or Path(folder, "SIMULATED.json").is_file()
        frame = frame.drop(columns="simulated", errors="ignore")
        for name in ("plate", "batch", "source"):
            if name in frame.columns:
                frame[name] = _as_label(frame[name])
        if "well" in frame.columns:
            frame["well"] = well_name(frame["well"])
        if platemap is not None:
            frame = join_platemap(frame, platemap)
        if controls is not None:
            frame = mark_controls(frame, controls, self.valset)
        if "control_type" in frame.columns:
            kinds = frame["control_type"].astype(object)
            frame["control_type"] = kinds.where(kinds.notna(), None)
        frame = _number_sites(frame)
        self.metadata = frame
        self.inference_metadata_columns = [c for c in frame.columns if c != "path"]
        self.validate(check_files=check_files)
        if channels is not None:
            self.select_channels(channels)
        if single_channel_metadata:
            self.as_single_channel()

    def _with_paths(self, frame, folder, channels):
        """The table with its ``path`` column; sets `is_merged` and `channels`."""
        named = [column for column in frame.columns if _looks_like_images(frame[column])]
        if "path" in frame.columns:
            others = [column for column in named if column != "path"]
            if others:
                raise ValueError(
                    f"has a column path and image paths in {', '.join(others)}. Keep path for "
                    "merged images, or the columns for one file a channel."
                )
            self.is_merged = True
            wrong = frame["path"].map(lambda v: not isinstance(v, str))
            if wrong.any():
                row = int(wrong.to_numpy().argmax())
                raise ValueError(
                    f"the column path of row {row + 1} holds {frame['path'].iat[row]}; expected "
                    "the path of an image."
                )
            return frame.assign(path=_resolved(frame["path"], folder))
        self.is_merged = False
        asked = _asked(channels)
        if asked:
            lacking = [name for name in asked if name not in frame.columns]
            if lacking:
                raise ValueError(
                    f"channels names {', '.join(lacking)}, which are no columns; the table has "
                    f"{', '.join(map(str, frame.columns))}."
                )
            named = list(dict.fromkeys([*named, *asked]))
        if not named:
            raise ValueError(
                "has no images: expected a column path, or columns of image paths (ending in "
                f"{', '.join(images.SUFFIXES)}). It has {', '.join(map(str, frame.columns))}."
            )
        for name in named:
            absent = frame[name].isna()
            if absent.any():
                raise ValueError(
                    f"mixed channel counts: the channel {name} is empty in {int(absent.sum())} "
                    f"rows, the first is row {int(absent.to_numpy().argmax()) + 1}. Fill them in, "
                    "or remove the rows."
                )
        self.channels = [str(name) for name in named]
        files = [_resolved(frame[name], folder) for name in named]
        rest = frame.drop(columns=named)
        return rest.assign(path=[list(row) for row in zip(*files, strict=True)])


def _asked(channels):
    """Column names that a channel selection asks for."""
    if channels is None:
        return []
    if isinstance(channels, str):
        return [part.split("=")[-1].strip() for part in channels.split(",") if part.strip()]
    return list(channels.values() if isinstance(channels, dict) else channels)


def _resolved(files, folder):
    start = f"{folder}/"
    return [file if file.startswith("/") else start + file for file in files.map(str)]


def _is_simulated(frame):
    return "simulated" in frame.columns and bool(
        frame["simulated"].map(lambda v: str(v).lower() in ("true", "1", "yes")).all()
    )


def _as_label(values):
    """Names as text: plate 7 and plate 7.0 are the plate "7"."""
    if pd.api.types.is_float_dtype(values) and (values.dropna() % 1 == 0).all():
        values = values.astype("Int64")
    return values.astype("string").astype(object).where(values.notna(), None)


def _number_sites(frame):
    """Number the rows of a well where they have no site of their own."""
    if "well" not in frame.columns or "site" in frame.columns:
        return frame
    keys = [name for name in ("source", "batch", "plate", "well") if name in frame.columns]
    number = frame.groupby(keys, dropna=False, sort=False).cumcount() + 1
    return frame.assign(site=number) if number.max() > 1 else frame


def join_platemap(frame, platemap):
    """Add the columns of a plate map to the rows of its wells.

    Parameters
    ----------
    frame : pd.DataFrame
        With ``well``, and ``plate`` where the map has plates.
    platemap : str or Path
        Table with ``well`` and treatments; ``plate`` where layouts differ between plates.

    Returns
    -------
    pd.DataFrame

    Raises
    ------
    ValueError
        No ``well`` column, a well listed twice, columns on both sides, rows without a match.
    """
    name = Path(platemap).name
    try:
        layout = bare_names(read_csv(platemap))
    except FileNotFoundError:
        raise FileNotFoundError(
            f"no plate map at {platemap}. Give the path of a CSV with one row a well, or leave "
            "platemap out."
        ) from None
    except ValueError as error:
        raise ValueError(f"plate map {name}: {error}") from None
    for table, what in ((layout, f"plate map {name}"), (frame, "the table")):
        if "well" not in table.columns:
            raise ValueError(
                f"{what} has no column well, on which plate maps are joined; it has "
                f"{', '.join(map(str, table.columns))}."
            )
    keys = ["plate", "well"] if "plate" in layout.columns else ["well"]
    if "plate" in keys and "plate" not in frame.columns:
        raise ValueError(f"plate map {name} has a column plate, the table has none. Add it.")
    layout = layout.assign(well=well_name(layout["well"]))
    if "plate" in keys:
        layout["plate"] = _as_label(layout["plate"])
    twice = layout.duplicated(keys)
    if twice.any():
        first = layout.loc[twice, keys].iloc[0].tolist()
        raise ValueError(
            f"plate map {name} lists {' '.join(map(str, first))} twice. Keep one row a well."
        )
    both = [c for c in layout.columns if c in frame.columns and c not in keys]
    if both:
        raise ValueError(
            f"the columns {', '.join(both)} are in the table and in plate map {name}. Keep one."
        )
    joined = frame.merge(layout, how="left", on=keys, indicator="_match")
    lost = joined["_match"] != "both"
    if lost.any():
        wells = joined.loc[lost, keys].drop_duplicates()
        shown = "; ".join(" ".join(map(str, row)) for row in wells.head(3).to_numpy())
        raise ValueError(
            f"plate map {name} has no match for {len(wells)} of the table's wells, the first are "
            f"{shown}. It lists {len(layout)}, such as "
            f"{' '.join(map(str, layout[keys].iloc[0]))}. Add the missing wells."
        )
    return joined.drop(columns="_match")
