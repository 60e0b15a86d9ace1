"""Which images of which wells, sites and channels lie below a folder: by index, name or pattern."""

import re
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from ... import tables
from ...wells import COLUMN_NAMES, ROW_NAMES, row_letters, well_name
from ..columns import bare_names, letters_of, name_wells
from . import harmony, imagexpress
from .layouts import HARMONY, IMAGEXPRESS, LAYOUTS, THUMBNAIL
from .listing import INDEXES, SUFFIXES, join

_MEASUREMENT = re.compile(r"(.+?)__\d{4}-\d\d-\d\dT.*")  # plate__2021-05-02T16_02_51-Measurement 1
_PLANE_GROUPS = ("z", "zplane", "zslice", "zstack", "slice", "planeid", "zindex")
_TIME_GROUPS = ("t", "time", "timepointid", "timeindex", "tp", "frame")
_POSITION = (*ROW_NAMES, *COLUMN_NAMES)

REMEDIES = (
    "Name the parts of the path by pattern, a regular expression such as "
    r"pattern='(?P<plate>[^/]+)/(?P<well>[A-P]\d\d)_(?P<site>\d+)_(?P<channel>\w+)\.tif', or list "
    "the images in a CSV with one row a site."
)


@dataclass
class Recognised:
    """The images of an export.

    Attributes
    ----------
    images : pd.DataFrame
        One row an image: ``path`` below the folder, ``plate``, ``well``, ``site``, ``channel`` (its
        name; missing where files hold all channels), ``plane`` and ``timepoint`` (numbers, or
        missing), ``pixel_size`` (µm) where an index tells it, and what else the pattern names.
    source : str
        What told it, in words.
    channels : list of str
        In order; empty where files hold all channels.
    left_out : list of str
        Images that are of no site.
    thumbnails : int
    remedy : str
        Where files are missing.
    """

    images: pd.DataFrame
    source: str
    channels: list
    left_out: list = field(default_factory=list)
    thumbnails: int = 0
    remedy: str = "Copy what is missing beside the rest."


def recognised(root, listing, name, pattern=None):
    """Understand what lies below a folder.

    Parameters
    ----------
    root : Path
    listing : listing.Listing
        Of that folder.
    name : str
        Of the plate that lies in the folder itself.
    pattern : str, optional
        Regular expression that is searched in the paths below the folder.

    Returns
    -------
    Recognised

    Raises
    ------
    ValueError
        No images, none that is understood, images of several microscopes, a wrong pattern or index;
        says what was looked for and what to do.
    """
    if not listing.count and not listing.indexes:
        seen = f"has {', '.join(listing.others)}" if listing.others else "is empty"
        raise ValueError(
            f"{root} has no images ({', '.join(SUFFIXES)}) in it or below: it {seen}. Give "
            "the folder of a microscope's export, the path of an OME-Zarr plate itself, or a CSV "
            "with one row a site; files of other kinds are to be saved as TIFF or OME-Zarr first."
        )
    if pattern is not None:
        return _by_pattern(root, listing, name, pattern)
    if listing.indexes:
        return _by_index(root, listing, name)
    return _by_names(root, listing, name)


def _by_names(root, listing, name):
    """By the names of the files, which are of one layout."""
    rows, left_out, thumbnails = {}, [], 0
    order = list(LAYOUTS)
    for folder, files in listing.images.items():
        for file in files:
            for layout in order:
                match = layout.pattern.fullmatch(file)
                if match:
                    rows.setdefault(layout.name, []).append((folder, file, *match.groups()))
                    if layout is not order[0]:
                        order = [layout, *(other for other in LAYOUTS if other is not layout)]
                    break
            else:
                if THUMBNAIL.fullmatch(file):
                    thumbnails += 1
                else:
                    left_out.append(join(folder, file))
    layouts = {layout.name: layout for layout in LAYOUTS}
    if not rows:
        shown = "\n  ".join([*(f"{one.name}: {one.example}" for one in LAYOUTS)])
        seen = ", ".join(listing.first())
        raise ValueError(
            f"{root}: none of its {listing.count:,} images is named as microscopes name them; the "
            f"first are {seen}. Looked for an index of Harmony ({', '.join(INDEXES)}), and for "
            f"names such as\n  {shown}\n{REMEDIES}"
        )
    if any(not layouts[kind].weak for kind in rows):
        for kind in [kind for kind in rows if layouts[kind].weak]:
            left_out += [join(*row[:2]) for row in rows.pop(kind)]
    if len(rows) > 1:
        told = "; ".join(
            f"{len(found):,} of {kind}, such as {join(*found[0][:2])}"
            for kind, found in rows.items()
        )
        raise ValueError(
            f"{root} holds images of several microscopes: {told}. Give the folder of one of them, "
            f"or read them all at once. {REMEDIES}"
        )
    ((kind, found),) = rows.items()
    source = f"names of {kind}, such as {found[0][1]}"
    found, channels = _named(root, listing, name, layouts[kind], found)
    return Recognised(found, source, channels, left_out, thumbnails)


def _named(root, listing, name, layout, rows):
    """(images, channels) of the files of one layout."""
    groups = sorted(layout.pattern.groupindex, key=layout.pattern.groupindex.get)
    frame = pd.DataFrame(rows, columns=["folder", "path", *groups])
    frame["path"] = frame["path"].where(
        frame["folder"] == "", frame["folder"] + "/" + frame["path"]
    )
    if "row" in frame:
        rows = {text: _row(text) for text in frame["row"].unique()}
        letters = frame["row"].map(rows)
        frame["well"] = letters + frame["column"].str.zfill(2)
        if letters.isna().any():
            first = frame.loc[letters.isna(), "path"].iat[0]
            raise ValueError(f"{root}: {first} is of no row of a plate (1 to 52). {REMEDIES}")
    for part in ("site", "plane", "timepoint"):
        if part not in frame:
            frame[part] = None
    outer = {folder: _outer(folder, layout.folders) for folder in frame["folder"].unique()}
    for part in ("plane", "timepoint"):
        if part in layout.folders.groupindex:
            inner = {folder: parts.get(part) for folder, (_, parts) in outer.items()}
            found = frame["folder"].map(inner)
            frame[part] = frame[part].where(frame[part].notna(), found)
    frame["folder"] = frame["folder"].map({folder: plate for folder, (plate, _) in outer.items()})
    _name_plates(frame, name, frame["prefix"] if "prefix" in frame else None)
    frame["site"] = _unpadded(frame["site"].where(frame["site"].notna(), "1"))
    if "channel" not in frame or frame["channel"].isna().all():
        frame["channel"] = layout.channel.format("1")
        return _ready(frame), ["ch1" if layout.channel == "{}" else layout.channel.format("1")]
    return _channels_of(root, listing, layout, frame)


def _channels_of(root, listing, layout, frame):
    """The images with the names of their channels, and these in order."""
    absent = frame["channel"].isna()
    if absent.any():
        raise ValueError(
            f"{root}: {frame.loc[absent, 'path'].iat[0]} names no channel, "
            f"{frame.loc[~absent, 'path'].iat[0]} does ({int(absent.sum())} of {len(frame)} do "
            f"not). Move them elsewhere. {REMEDIES}"
        )
    raw = sorted(frame["channel"].unique(), key=natural)
    frame["channel"] = frame["channel"].map({text: layout.channel.format(text) for text in raw})
    channels = [layout.channel.format(text) for text in raw]
    if layout is IMAGEXPRESS and listing.htds:
        channels = _by_htd(root, listing, layout, frame, dict(zip(channels, raw, strict=True)))
    return _ready(frame), channels


def _by_htd(root, listing, layout, frame, numbers):
    """Name the wavelengths as the plates' descriptions do; the channels in order."""
    described = {}
    for folder, files in listing.htds.items():
        outer = _outer(folder, layout.folders)[0]
        for file in files:
            described.setdefault(outer, {})[file.rpartition(".")[0]] = join(folder, file)
    renamed = []
    for (folder, prefix), rows in frame.groupby(["folder", "prefix"], sort=False, dropna=False):
        files = described.get(folder, {})
        file = files.get(prefix) or (next(iter(files.values())) if len(files) == 1 else None)
        names = imagexpress.wavelength_names(root / file) if file else {}
        own = {channel: names.get(number, channel) for channel, number in numbers.items()}
        frame.loc[rows.index, "channel"] = rows["channel"].map(own)
        renamed += own.values()
    used = set(frame["channel"].unique())
    return [name for name in dict.fromkeys(renamed) if name in used]


def _by_index(root, listing, name):
    """By the indexes of Harmony, one a plate."""
    known = {folder: set(names) for folder, names in listing.images.items()}
    parts, names, indexes = [], {}, {}
    for folder, file in listing.indexes.items():
        outer = _outer(folder, HARMONY.folders)[0]
        if outer not in indexes or folder in listing.images:
            indexes[outer] = folder, file  # of two of a plate, the one beside its images
    for outer, (folder, file) in indexes.items():
        path = join(folder, file)
        index = harmony.read_index(root / path)
        frame = pd.DataFrame(index.images, columns=harmony.Plane._fields)
        frame["path"] = [harmony.located(url, folder, known) for url in frame["url"]]
        _check_there(root, path, frame["path"], known)
        letters = {row: row_letters(row) for row in frame["row"].unique()}
        if None in letters.values():
            raise ValueError(
                f"{root / path}: has images of row {next(n for n in letters if not letters[n])}, "
                "which no plate has. Take it away: the names of the files are read then."
            )
        frame["well"] = frame["row"].map(letters) + frame["column"].astype(str).str.zfill(2)
        frame["site"] = frame["site"].astype(str)
        frame["channel"] = frame["channel"].map(index.channels)
        frame["folder"] = outer
        frame["prefix"] = index.plate or ""
        frame["pixel_size"] = np.nan if index.pixel_size is None else index.pixel_size
        parts.append(frame.drop(columns=["url", "row", "column"]))
        names |= dict.fromkeys(index.channels.values())
    frame = pd.concat(parts, ignore_index=True)
    # Channels have no names there, so that these plates would not go with the others.
    others = [
        folder
        for folder, files in listing.images.items()
        if _outer(folder, HARMONY.folders)[0] not in indexes
        and any(HARMONY.pattern.fullmatch(file) for file in files)
    ]
    if others:
        shown = ", ".join(other or "." for other in others[:3])
        raise ValueError(
            f"{root}: there is an index of Harmony for {len(indexes)} of its plates, and none for "
            f"the images in {shown}. Copy the missing index, or give the plates' folders one by "
            "one."
        )
    indexed = set(frame["path"])
    paths = (join(folder, file) for folder, files in listing.images.items() for file in files)
    left_out = [path for path in paths if path not in indexed]
    _name_plates(frame, name, frame["prefix"], of_index=True)
    more = f" and {len(indexes) - 1} more" if len(indexes) > 1 else ""
    if frame["pixel_size"].isna().all():
        del frame["pixel_size"]
    source = f"index of Harmony, {join(*next(iter(indexes.values())))}{more}"
    remedy = (
        f"Copy what is missing; or take {file} away: then the names of the files are read, and "
        "what is there counts."
    )
    return Recognised(_ready(frame), source, list(names), left_out, remedy=remedy)


def _check_there(root, index, paths, known):
    """Stop where an index lies without any of its images."""
    for path in paths:
        folder, _, file = path.rpartition("/")
        if file in known.get(folder, ()):
            return
    raise ValueError(
        f"{root / index}: none of the {len(paths):,} images that it lists lies beside it or in "
        f"Images, such as {paths.iat[0]}. Copy them there; or take the index away, and the names "
        "of the files are read."
    )


def _by_pattern(root, listing, name, pattern):
    """By a regular expression of the user's."""
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ValueError(
            f"pattern {pattern!r} is no regular expression: {error}. Groups are named (?P<well>…)."
        ) from None
    groups = sorted(compiled.groupindex, key=compiled.groupindex.get)
    columns = bare_names(pd.DataFrame(columns=groups)).columns
    columns = [_part(column) for column in columns]
    letters = {letters_of(column) for column in columns}
    by_position = letters & {*ROW_NAMES} and letters & {*COLUMN_NAMES}
    if "well" not in columns and not by_position:
        found = f"its groups are {', '.join(groups)}" if groups else "it has no named groups"
        raise ValueError(
            f"pattern {pattern!r} names no well: {found}. Name the part of the path that is the "
            "well (?P<well>…), or (?P<row>…) and (?P<col>…); site, channel, plate, plane, "
            "timepoint, batch and source likewise."
        )
    twice = [column for column, count in Counter(columns).items() if count > 1]
    if twice:
        raise ValueError(f"pattern {pattern!r} has two groups that mean {twice[0]}. Remove one.")
    taken = sorted({"path", "folder", "prefix"} & {*columns})
    if taken:
        raise ValueError(f"pattern: a group cannot be called {taken[0]}. Give it another name.")
    numbers = [compiled.groupindex[group] for group in groups]
    rows, left_out = [], []
    for folder, names in listing.images.items():
        for file in names:
            path = join(folder, file)
            match = compiled.search(path)
            if match:
                rows.append((folder, path, *(match[n] for n in numbers)))
            else:
                left_out.append(path)
    if not rows:
        raise ValueError(
            f"pattern {pattern!r} is found in none of the {listing.count:,} images below {root}; "
            f"the first are {', '.join(listing.first())}. It is searched in these paths, with "
            "slashes, capitals and small letters apart."
        )
    frame = pd.DataFrame(rows, columns=["folder", "path", *columns])
    _check_groups(frame, dict(zip(columns, groups, strict=True)))
    try:
        frame, _ = name_wells(frame)
    except ValueError as error:
        raise ValueError(f"pattern: image {error}") from None
    if "site" not in frame:
        frame["site"] = "1"
    frame["site"] = _unpadded(frame["site"])
    for part in ("plane", "timepoint"):
        if part not in frame:
            frame[part] = None
    if "plate" not in frame:
        outer = {folder: _outer(folder, HARMONY.folders)[0] for folder in frame["folder"].unique()}
        frame["folder"] = frame["folder"].map(outer)
        _name_plates(frame, name, None, by_batch="batch" not in frame)
    channels = []
    if "channel" in frame:
        channels = sorted(frame["channel"].unique(), key=natural)
    else:
        frame["channel"] = None
    return Recognised(_ready(frame), f"pattern {pattern}", channels, left_out)


def _part(column):
    """The name used here of what a group of a pattern is called."""
    text = letters_of(column)
    if text in _PLANE_GROUPS:
        return "plane"
    if text in _TIME_GROUPS:
        return "timepoint"
    return column.lower() if column.lower() in ("plane", "timepoint") else column


def _check_groups(frame, groups):
    """Stop on groups that stay empty, or that are no numbers where these are wanted."""
    for column, group in groups.items():
        if column in (*tables.KEYS, "channel") or letters_of(column) in _POSITION:
            absent = frame[column].isna() | (frame[column] == "")
            if absent.any():
                raise ValueError(
                    f"pattern: the group {group} is empty for {frame.loc[absent, 'path'].iat[0]} "
                    f"({int(absent.sum())} of {len(frame)} images). Let it match something, or "
                    "leave it out."
                )
        elif column in ("plane", "timepoint"):
            given = frame[column].dropna()
            wrong = ~given.str.fullmatch(r"\d+")
            if wrong.any():
                raise ValueError(
                    f"pattern: the group {group} is {given[wrong].iat[0]!r} for "
                    f"{frame.loc[wrong[wrong].index[0], 'path']}; expected a number. Let the group "
                    "take the digits alone."
                )


def _outer(folder, inner):
    """(the folder without those inside of a plate's, what these tell) of a path."""
    parts, told = folder.split("/"), {}
    while parts and parts[-1]:
        match = inner.fullmatch(parts[-1])
        if not match:
            break
        told = {name: text for name, text in match.groupdict().items() if text} | told
        parts.pop()
    return "/".join(parts), told


def _name_plates(frame, name, prefixes, of_index=False, by_batch=True):
    """Set ``plate``, and ``batch`` where plates of one name lie in several folders.

    A plate is called as its index says; else as its folder; else, where images of several plates
    lie in one folder, as the names of the files begin.
    """
    prefix = pd.Series("", frame.index) if prefixes is None else prefixes.fillna("")
    units = pd.DataFrame({"folder": frame["folder"], "prefix": prefix})
    codes = units.groupby(["folder", "prefix"], sort=False).ngroup().to_numpy()
    distinct = units.iloc[np.unique(codes, return_index=True)[1]]
    in_folder = Counter(distinct["folder"])
    called, parents = [], []
    for folder, own in distinct.itertuples(index=False):
        parent, _, last = folder.rpartition("/")
        measured = _MEASUREMENT.fullmatch(last)
        if own and (of_index or in_folder[folder] > 1):
            called.append(own)
        else:
            called.append(measured[1] if measured else last or name)
        parents.append(parent)
    # Two measurements of one plate are told apart by the names of their folders.
    times = Counter(zip(parents, called, strict=True))
    for i, (folder, _) in enumerate(distinct.itertuples(index=False)):
        if times[parents[i], called[i]] > 1:
            called[i] = folder.rpartition("/")[2] or name
    frame["plate"] = np.array(called, dtype=object)[codes]
    if by_batch and len(set(called)) < len(called):
        frame.insert(0, "batch", np.array([parent or name for parent in parents], object)[codes])


def _row(text):
    """Letters of a row; None for a number that no plate has."""
    return row_letters(int(text)) if text.isdecimal() else text.upper()


def _unpadded(values):
    """Numbers without leading zeros; other texts as they are."""
    texts = values.unique()
    return values.map({text: str(int(text)) if text.isdecimal() else text for text in texts})


def natural(text):
    """Sorts texts by the numbers in them: ch2 before ch10."""
    return [(not part.isdecimal(), int(part) if part.isdecimal() else part.lower())
            for part in re.split(r"(\d+)", str(text)) if part]  # fmt: skip


def _ready(frame):
    """The images without what their names were made of; wells in one spelling."""
    made = frame.drop(columns=["folder", "prefix", "row", "column"], errors="ignore")
    made["well"] = well_name(made["well"])
    for part in ("plane", "timepoint"):
        numbers = pd.to_numeric(made[part], errors="coerce")
        if numbers.min() == 0:
            numbers += 1  # planes and time points count from 1
        made[part] = numbers.astype("Int64")
    first = [name for name in ("path", *tables.KEYS) if name in made]
    rest = [name for name in made if name not in first]
    return made[first + rest].reset_index(drop=True)
