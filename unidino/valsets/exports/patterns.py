"""Images by a regular expression of the paths, for names that no microscope gives."""

import re
from collections import Counter

import pandas as pd

from ... import tables
from ...wells import COLUMN_NAMES, ROW_NAMES
from ..columns import bare_names, letters_of, name_wells
from .found import Recognised, name_plates, natural, outer, ready, unpadded
from .layouts import HARMONY
from .listing import join

_PLANE_GROUPS = ("z", "zplane", "zslice", "zstack", "slice", "planeid", "zindex")
_TIME_GROUPS = ("t", "time", "timepointid", "timeindex", "tp", "frame")
_POSITION = (*ROW_NAMES, *COLUMN_NAMES)


def by_pattern(root, listing, name, pattern):
    """The images of a folder that a pattern matches; see `recognise.recognised`."""
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
    frame["site"] = unpadded(frame["site"])
    for part in ("plane", "timepoint"):
        if part not in frame:
            frame[part] = None
    if "plate" not in frame:
        plates = {folder: outer(folder, HARMONY.folders)[0] for folder in frame["folder"].unique()}
        frame["folder"] = frame["folder"].map(plates)
        name_plates(frame, name, None, by_batch="batch" not in frame)
    channels = []
    if "channel" in frame:
        channels = sorted(frame["channel"].unique(), key=natural)
    else:
        frame["channel"] = None
    return Recognised(ready(frame), f"pattern {pattern}", channels, left_out)


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
