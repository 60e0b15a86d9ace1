"""What every way of reading a folder finds: a table of images, with plates that have names."""

import re
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from ... import tables
from ...wells import well_name

_MEASUREMENT = re.compile(r"(.+?)__\d{4}-\d\d-\d\dT.*")  # plate__2021-05-02T16_02_51-Measurement 1

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


def outer(folder, inner):
    """(the folder without those inside of a plate's, what these tell) of a path."""
    parts, told = folder.split("/"), {}
    while parts and parts[-1]:
        match = inner.fullmatch(parts[-1])
        if not match:
            break
        told = {name: text for name, text in match.groupdict().items() if text} | told
        parts.pop()
    return "/".join(parts), told


def name_plates(frame, name, prefixes, of_index=False, by_batch=True):
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
        last = last or name
        measured = _MEASUREMENT.fullmatch(last)
        if own and (of_index or in_folder[folder] > 1):
            called.append(own)
        else:
            called.append(measured[1] if measured else last)
        parents.append(parent)
    # Two measurements of one plate are told apart by the names of their folders.
    times = Counter(zip(parents, called, strict=True))
    for i, (folder, _) in enumerate(distinct.itertuples(index=False)):
        if times[parents[i], called[i]] > 1:
            called[i] = folder.rpartition("/")[2] or name
    frame["plate"] = np.array(called, dtype=object)[codes]
    if by_batch and len(set(called)) < len(called):
        frame.insert(0, "batch", np.array([parent or name for parent in parents], object)[codes])


def unpadded(values):
    """Numbers without leading zeros; other texts as they are."""
    texts = values.unique()
    return values.map({text: str(int(text)) if text.isdecimal() else text for text in texts})


def natural(text):
    """Sorts texts by the numbers in them: ch2 before ch10."""
    return [(not part.isdecimal(), int(part) if part.isdecimal() else part.lower())
            for part in re.split(r"(\d+)", str(text)) if part]  # fmt: skip


def ready(frame):
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
