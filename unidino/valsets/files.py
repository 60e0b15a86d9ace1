"""Where the images of a table lie, and their illumination functions: columns of paths, LoadData
tables, one row an image."""

import os
import re
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from .. import illumination, images, remote, tables
from ..variation import variation
from .columns import letters_of

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]+)://?")
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")
# Cells that are more than a path with slashes: with backslashes, an address or a drive, doubled
# slashes, names that begin with a point.
_ODD_PATH = r"\\|//|/\.|^\.|^[A-Za-z][A-Za-z0-9+.\-]*:/"
_LONGEST_SUFFIX = max(map(len, images.SUFFIXES))
_LOAD_DATA = ("FileName", "PathName", "URL")
_OTHER_FUNCTIONS = (".mat",)  # of CellProfiler 2


def is_image(value, suffixes=images.SUFFIXES):
    """Whether a cell names a file that is read as an image, by its ending."""
    if isinstance(value, str) and "://" in value:
        value = remote.file_name(value)
    return isinstance(value, str) and value.lower().endswith(suffixes)


def are_images(values):
    """Which cells of a column name images, as `is_image` of each.

    Parameters
    ----------
    values : pd.Series

    Returns
    -------
    numpy.ndarray of bool, shape (rows,)
    """
    if pd.api.types.is_numeric_dtype(values):
        return np.zeros(len(values), bool)
    if values.dtype == object:
        return np.fromiter(map(is_image, values.tolist()), bool, len(values))
    # An ending decides, and there are few of them.
    cells = pa.array(values, pa.large_string(), from_pandas=True)
    ends = pc.utf8_slice_codeunits(cells, -_LONGEST_SUFFIX).dictionary_encode()
    known = np.array([*map(is_image, ends.dictionary.to_pylist()), False])
    told = known[ends.indices.fill_null(len(known) - 1).to_numpy()]
    addresses = pc.match_substring(cells, "://").fill_null(False).to_numpy(zero_copy_only=False)
    for row in np.flatnonzero(addresses):
        told[row] = is_image(cells[int(row)].as_py())
    return told


def image_columns(frame):
    """The columns with at least one cell that names an image."""
    return [column for column in frame.columns if are_images(frame[column]).any()]


def check_images(frame, column):
    """Stop unless every cell of a column names an image.

    Raises
    ------
    ValueError
        Names the first row that does not.
    """
    values = frame[column]
    absent = values.isna()
    if absent.any():
        raise ValueError(
            f"mixed channel counts: the channel {column} is empty in {int(absent.sum())} rows, the "
            f"first is row {int(absent.to_numpy().argmax()) + 1}. Fill them in, or remove the rows."
        )
    wrong = ~are_images(values)
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(
            f"the column {column} of row {row + 1} holds {values.iat[row]}; expected the path of "
            f"an image, ending in {', '.join(images.SUFFIXES)}. Correct it, or name the columns of "
            "images by channels."
        )


def load_data(frame):
    """A LoadData table of CellProfiler with one column of paths a channel.

    URL_X, or FileName_X in the folder PathName_X where that is not blank, becomes X, in the place
    of the first of them; the columns stand in any order. Of X = IllumY see `functions_apart`.

    Raises
    ------
    ValueError
        Planes inside of files, a channel that is also another column.
    """
    found = {}
    for column in frame.columns:
        kind, _, channel = column.partition("_")
        if kind in _LOAD_DATA and channel:
            found.setdefault(channel, {})[kind] = column
    found = {channel: kinds for channel, kinds in found.items() if kinds.keys() != {"PathName"}}
    files = {}
    for channel, kinds in found.items():
        if channel in frame.columns:
            raise ValueError(
                f"has a column {channel} beside {', '.join(kinds.values())}. Rename it."
            )
        for inside in ("Frame", "Series"):
            name = f"{inside}_{channel}"
            if name in frame.columns and (tables.text(frame[name]).dropna() != "0").any():
                raise ValueError(
                    f"the column {name} takes planes from inside of files, which is not read here. "
                    "Save each plane as a file of its own."
                )
        blank = pd.Series([None] * len(frame), index=frame.index, dtype=object)
        urls, names, folders = (
            frame[kinds[kind]].astype(object) if kind in kinds else blank
            for kind in ("URL", "FileName", "PathName")
        )
        folders = folders.map(lambda folder: folder.rstrip("/\\") + "/", na_action="ignore")
        in_folder = (folders.where(folders.notna(), "") + names).where(names.notna(), None)
        files[kinds[next(iter(kinds))]] = (channel, urls.where(urls.notna(), in_folder))
    used = {column for kinds in found.values() for column in kinds.values()}
    used |= {f"{inside}_{channel}" for channel in found for inside in ("Frame", "Series")}
    columns = {}
    for column in frame.columns:
        if column in files:
            channel, paths = files[column]
            columns[channel] = paths
        elif column not in used:
            columns[column] = frame[column]
    return pd.DataFrame(columns) if found else frame


def functions_apart(frame):
    """A table without its columns of illumination functions, and these columns.

    They are called Illum and the name of a channel, as in LoadData tables of CellProfiler.

    Returns
    -------
    (pd.DataFrame, pd.DataFrame)
    """
    suffixes = (*images.SUFFIXES, *_OTHER_FUNCTIONS)
    named = [
        column
        for column in frame.columns
        if re.match("illum.", str(column), re.IGNORECASE)
        and any(is_image(value, suffixes) for value in frame[column].dropna().unique())
    ]
    return frame.drop(columns=named), frame[named]


def functions_by_channel(functions, channels):
    """The column of the illumination functions of each channel that has one.

    Parameters
    ----------
    functions : list of str
        Columns, such as IllumDNA: of the channel DNA, or of OrigDNA as the tables of JUMP call the
        images before correction; case, blanks and underscores do not count.
    channels : list of str

    Returns
    -------
    dict
        {channel: column}

    Raises
    ------
    ValueError
        A column of none of the channels, or two of one channel.
    """
    exact = {letters_of(channel): channel for channel in channels}
    loose = {name.removeprefix("orig"): channel for name, channel in exact.items()}
    found = {}
    for column in functions:
        name = letters_of(column).removeprefix("illum")
        channel = exact.get(name) or loose.get(name.removeprefix("orig"))
        if channel is None:
            raise ValueError(
                f"the column {column} holds illumination functions of a channel that the table "
                f"does not have; it has {', '.join(map(str, channels))}. Call it Illum and a "
                "channel's name, or remove it."
            )
        if channel in found:
            raise ValueError(
                f"the columns {found[channel]} and {column} both hold the illumination functions "
                f"of the channel {channel}. Remove one."
            )
        found[channel] = column
    return found


def resolved_functions(functions, column, folder):
    """The files of illumination functions that a column names, None where a cell is blank.

    Parameters and errors are those of `resolved`; files of other kinds than functions are errors.
    """
    values = functions[column]
    # There are few of them.
    right = [v for v in values.dropna().unique() if is_image(v, illumination.SUFFIXES)]
    wrong = values.notna() & ~values.isin(right)
    if wrong.any():
        row = int(wrong.to_numpy().argmax())
        raise ValueError(
            f"the column {column} of row {row + 1} holds {values.iat[row]}; expected an "
            f"illumination function, ending in {', '.join(illumination.SUFFIXES)}. Have "
            "CellProfiler save it as npy, or remove the column to use the images as they are."
        )
    return resolved(functions, column, folder)


def resolved(frame, column, folder):
    """The files that a column names, as absolute paths.

    Parameters
    ----------
    frame : pd.DataFrame
    column : str
        Paths with slashes or backslashes, or addresses (file://, or see `remote.address`);
        relative ones start at `folder`.
    folder : Path

    Returns
    -------
    list of str

    Raises
    ------
    ValueError
        Other addresses, and paths of a Windows machine elsewhere; names column and row.
    """
    start = f"{folder}/"
    cells = pa.array(frame[column], pa.large_string(), from_pandas=True)
    start_of_all, nothing = (pa.scalar(text, cells.type) for text in (start, ""))
    joined = pc.binary_join_element_wise(start_of_all, cells, nothing)
    paths = pc.if_else(pc.starts_with(cells, "/"), cells, joined).to_numpy(zero_copy_only=False)
    odd = pc.match_substring_regex(cells, _ODD_PATH).to_numpy(zero_copy_only=False)
    for row in range(len(paths)) if start == "//" else np.flatnonzero(odd):
        value = cells[int(row)].as_py()
        try:
            paths[row] = _absolute(value, start)
        except ValueError as error:
            raise ValueError(
                f"the column {column} of row {row + 1} holds {value}: {error}"
            ) from None
    return paths.tolist()


def _absolute(value, start):
    """The file that a cell names."""
    scheme = _SCHEME.match(value)
    elsewhere = scheme and len(scheme[1]) > 1 and scheme[1].lower() != "file"
    if elsewhere or ("://" in value and "::" in value):
        return remote.address(value, start)
    path = _local(value)
    path = path if os.path.isabs(path) else start + path
    # One file has one name, so that it is found where it is listed twice; .. stays, for it leaves a
    # linked folder elsewhere than the text says.
    tidy = ".." in path or not ("//" in path or "/." in path)
    return path if tidy else os.path.normpath(path)


def _local(value):
    """A path of this machine from what a cell says."""
    if os.name != "nt" and _DRIVE.match(value):
        raise ValueError(
            "a path of a Windows machine. Write paths relative to the table, or to a folder that "
            "root names."
        )
    scheme = _SCHEME.match(value)
    if scheme is None or len(scheme[1]) < 2:
        return value if os.name == "nt" else value.replace("\\", "/")
    # Not by urlparse, which ends a path at # and ?: these are letters of file names here.
    path = re.sub(r"^file:(//(localhost(?=/))?)?", "", value, flags=re.IGNORECASE)
    if not path.startswith("/"):
        raise ValueError("an address of another machine. Write the path that it has on this one.")
    return unquote(path)


def channels_together(frame, column):
    """One row a site from one row an image: the rows that differ in ``channel`` are put together.

    Parameters
    ----------
    frame : pd.DataFrame
        With ``channel``, and the key columns of a site.
    column : str
        The files.

    Returns
    -------
    (pd.DataFrame, list of str, list of str)
        The sites, with the files of a row as a list in ``path``; the channels, in the order of
        their first rows; the columns that differ between the channels of a site, left out.

    Raises
    ------
    ValueError
        No channel in a row, no columns that name a site, a site with a channel twice or without
        one of the channels; names the first.
    """
    check_images(frame, column)
    names = tables.text(frame["channel"])
    if names.isna().any():
        row = int(names.isna().to_numpy().argmax())
        raise ValueError(f"the column channel is empty in row {row + 1}. Name every image's.")
    keys = [name for name in tables.KEYS if name in frame.columns]
    channels = list(names.unique())
    if not keys:
        raise ValueError(
            f"has one row an image ({', '.join(channels)}) and no column that tells whose: add "
            "plate, well and site."
        )
    frame = frame.assign(channel=names)
    site = frame.groupby(keys, sort=False, dropna=False).ngroup()
    twice = frame.assign(channel=names, _site=site).duplicated(["_site", "channel"])
    if twice.any():
        row = int(twice.to_numpy().argmax())
        same = (site == site.iat[row]) & (names == names.iat[row])
        first, second = same.to_numpy().nonzero()[0][:2] + 1
        raise ValueError(
            f"rows {first} and {second} are both {_words(frame, keys, row)}, channel "
            f"{names.iat[row]}. Tell them apart by a column "
            f"{'site' if 'site' not in keys else 'plate, batch or site'}, or keep one."
        )
    table = pd.DataFrame({"site": site, "channel": names, "file": frame[column]})
    table = table.pivot(index="site", columns="channel", values="file")[channels]
    lacking = table.isna().to_numpy()
    if lacking.any():
        number, channel = (int(i[0]) for i in lacking.nonzero())
        row = int((site == number).to_numpy().argmax())
        raise ValueError(
            f"mixed channel counts: {_words(frame, keys, row)} has no row of channel "
            f"{channels[channel]} ({int(lacking.any(1).sum())} such sites of {len(table)})."
        )
    rest = frame.drop(columns=[column, "channel"])
    varied = variation(rest, keys, [name for name in rest.columns if name not in keys])
    for name, found in varied.items():
        if not found.of_rows:
            row = found.rows[0]
            raise ValueError(
                f"the column {name} is not the same in all rows of {_words(frame, keys, row)} "
                f"({len(found.rows)} such sites of {len(table)}). Correct it: the rows of a site "
                "differ in their channel."
            )
    made = rest.loc[(~site.duplicated()).to_numpy()].drop(columns=list(varied))
    return (
        made.reset_index(drop=True).assign(path=table.to_numpy().tolist()),
        channels,
        list(varied),
    )


def _words(frame, keys, row):
    return ", ".join(f"{key} {frame[key].iat[row]}" for key in keys)
