"""Sites from images: one plane and time point, or the planes of a projection, a file a channel."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from ... import tables
from ...image_parts import MAX_PROJECTION
from .found import natural


@dataclass
class Assembled:
    """The sites of an export.

    Attributes
    ----------
    sites : pd.DataFrame
        One row a site; ``path`` is the list of its files, `files_per_channel` of each channel one
        after another, or one file where it holds all channels.
    channels : list of str or None
    files_per_channel : int
    planes_apart, times_apart : bool
        Planes, and time points, lie in files of their own.
    left_out : list of str
        Columns that differ between the images of a site.
    """

    sites: pd.DataFrame
    channels: list | None
    files_per_channel: int = 1
    planes_apart: bool = False
    times_apart: bool = False
    left_out: list = field(default_factory=list)


def assembled(found, root, plane=None, timepoint=None, channels=None):
    """The sites of what was recognised.

    Parameters
    ----------
    found : found.Recognised
    root : Path
        Folder that its paths lie below.
    plane : int or "max", optional
    timepoint : int, optional
        Which files are taken where planes or time points lie in files of their own.
    channels : list of str, optional
        Those wanted; others may be incomplete. All by default.

    Returns
    -------
    Assembled

    Raises
    ------
    ValueError
        Several planes or time points and no choice, or one that is not there; two files of one
        image; a channel that most sites or a plate lack; planes that differ in number. Names them.
    """
    keys = [name for name in tables.KEYS if name in found.images]
    # Of all images, so that no site is lost of which none is taken.
    site, count = _numbered(found.images, keys)
    first = np.unique(site, return_index=True)[1]
    sites = found.images.iloc[first].reset_index(drop=True)
    frame = found.images.assign(_site=site)
    if channels:
        frame = frame[frame["channel"].isin(channels)]
    wanted = [name for name in found.channels if not channels or name in channels]
    frame, times_apart = _of_time(frame, timepoint)
    frame, planes, planes_apart = _of_planes(frame, plane)
    by_channel = bool(found.channels)
    channel, depth = np.zeros(len(frame), int), np.zeros(len(frame), int)
    if by_channel:
        numbers = {name: i for i, name in enumerate(wanted)}
        channel = frame["channel"].map(numbers).to_numpy(int)
    if planes is not None:
        depth = np.searchsorted(planes, frame["plane"].to_numpy(int))
    shape = (count, max(len(wanted), 1), 1 if planes is None else len(planes))
    cells = np.ravel_multi_index((frame["_site"].to_numpy(), channel, depth), shape)
    _check_once(frame, cells, keys, by_channel)
    grid = np.full(np.prod(shape), None, dtype=object)
    grid[cells] = frame["path"].to_numpy(object)
    grid = grid.reshape(shape)
    if by_channel:
        _check_channels(grid, sites, wanted, found.channels)
    if planes is not None:
        usual = _usual_planes(grid, sites, wanted)
        grid, planes = grid[:, :, usual], np.array(planes)[usual]
    _name_lacking(grid, sites["path"], wanted, planes)
    start = f"{root}/" if str(root) != "/" else "/"
    rows = (start + grid).reshape(count, -1)
    made = sites[keys].assign(path=rows.tolist() if by_channel else rows[:, 0])
    others = [n for n in sites if n not in (*keys, "path", "channel", "plane", "timepoint")]
    differing = [n for n in others if _differ(frame[n], frame["_site"])]
    for name in others:
        if name not in differing:
            made[name] = sites[name]
    return Assembled(
        made,
        wanted if by_channel else None,
        grid.shape[2],
        planes_apart,
        times_apart,
        differing,
    )


def _differ(values, site):
    """Whether the images of a site say different things."""
    return values.groupby(site).nunique(dropna=False).max() > 1


def told(numbers):
    """Numbers in words: 1 to 5, or each where some are left out."""
    numbers = sorted(int(n) for n in numbers)
    if len(numbers) > 2 and numbers[-1] - numbers[0] == len(numbers) - 1:
        return f"{numbers[0]} to {numbers[-1]}"
    shown = ", ".join(map(str, numbers[:12]))
    return f"{shown} …" if len(numbers) > 12 else shown


def in_names(values):
    """The numbers of planes or time points that tell files apart; empty where one is all."""
    numbers = values.dropna().unique()
    return sorted(int(n) for n in numbers) if values.nunique(dropna=False) > 1 else []


def _of_time(frame, timepoint):
    """(the images of a time point, whether it lies in files of its own)."""
    times = in_names(frame["timepoint"])
    if not times:
        return frame, False
    if timepoint is None:
        raise ValueError(
            f"has {len(times)} time points ({told(times)}), of which one is read. Set timepoint, "
            f"such as timepoint={times[0]}."
        )
    if timepoint not in times:
        raise ValueError(f"has no time point {timepoint}; it has {told(times)}.")
    return frame[frame["timepoint"] == timepoint], True


def _of_planes(frame, plane):
    """(the images of a plane, None, or those of a projection, their numbers; whether planes lie in
    files of their own)."""
    numbers = in_names(frame["plane"])
    if not numbers:
        return frame, None, False
    beside = frame["plane"].isna()
    if plane is None:
        apart = frame.loc[beside, "path"]
        if len(apart):
            raise ValueError(
                f"has planes ({told(numbers)}) and images of none, such as {apart.iat[0]}, the "
                f"microscope's own projection perhaps. Set plane, such as plane={numbers[0]} or "
                "plane='max', to take the planes; move them elsewhere, or name the others by a "
                "pattern, to take these."
            )
        raise ValueError(
            f"has {len(numbers)} planes ({told(numbers)}). Set plane to one of them, such as "
            f"plane={numbers[len(numbers) // 2]}, or to 'max' for the maximum projection."
        )
    if plane == MAX_PROJECTION:
        return frame[~beside], numbers, True
    if plane not in numbers:
        raise ValueError(f"has no plane {plane}; it has {told(numbers)}, or 'max' of them.")
    return frame[frame["plane"] == plane], None, True


def _numbered(frame, keys):
    """The number of every image's site, sorted by its keys, and how many there are."""
    code = np.zeros(len(frame), np.int64)
    for key in keys:
        ordered = sorted(frame[key].unique(), key=natural)
        places = frame[key].map({text: i for i, text in enumerate(ordered)}).to_numpy(np.int64)
        code = np.unique(code * len(ordered) + places, return_inverse=True)[1]
    return code, int(code.max()) + 1


def _check_once(frame, cells, keys, by_channel):
    """Stop where two files are the same image."""
    order = np.argsort(cells, kind="stable")
    same = np.flatnonzero(np.diff(cells[order]) == 0)
    if not len(same):
        return
    a, b = order[same[0]], order[same[0] + 1]
    more = ["channel"] if by_channel else []
    words = ", ".join(f"{name} {frame[name].iat[a]}" for name in (*keys, *more))
    raise ValueError(
        f"{frame['path'].iat[a]} and {frame['path'].iat[b]} are both {words} ({len(same):,} such "
        "files). Move the ones not wanted elsewhere, or tell them apart by a pattern with a group "
        f"for what differs{'' if by_channel else ', such as channel'}."
    )


def _check_channels(grid, sites, wanted, all_channels):
    """Stop on channels that most sites, or all of a plate, lack."""
    there = (grid != None).any(axis=2)  # noqa: E711
    plate_keys = [name for name in tables.PLATE_KEY if name in sites]
    for rows in tables.groups(sites, plate_keys).values():
        absent = np.flatnonzero(there.any(axis=0) & ~there[rows].any(axis=0))
        if len(absent):
            plate = " ".join(str(sites[name].iat[rows[0]]) for name in plate_keys)
            has = ", ".join(np.array(wanted, object)[there[rows].any(axis=0)])
            raise ValueError(
                f"plate {plate} has no {wanted[absent[0]]}, which others have; it has {has}. "
                "Plates that name their channels otherwise are datasets of their own: give their "
                "folders one by one, or take what all have by channels."
            )
    share = there.mean(axis=0)
    whole = [name for name, part in zip(wanted, share, strict=True) if part >= 0.5]
    remedy = f"Take those that all have by channels='{','.join(whole or all_channels[:1])}'"
    few = np.flatnonzero(share < 0.5)
    if len(few):
        number = int(there[:, few[0]].sum())
        raise ValueError(
            f"{wanted[few[0]]} was found in {number:,} of {len(there):,} sites. {remedy}, or copy "
            "the missing files."
        )


def _usual_planes(grid, sites, wanted):
    """Which planes most sites have, of all channels: those that are projected."""
    there = grid != None  # noqa: E711
    usual = there.mean(axis=0) >= 0.5
    counts = usual.sum(axis=1)
    if (usual != usual[0]).any():
        words = ", ".join(f"{n} in {name}" for n, name in zip(counts, wanted, strict=True))
        most = [n for n, c in zip(wanted, counts, strict=True) if c == counts.max()]
        raise ValueError(
            f"plane='max' wants the same planes of all channels; most sites have {words}. Take one "
            f"plane, or channels='{','.join(most)}'."
        )
    more = np.argwhere(there & ~usual[0])
    if len(more):
        row = int(more[0][0])
        keys = [name for name in tables.KEYS if name in sites]
        site = ", ".join(f"{name} {sites[name].iat[row]}" for name in keys)
        raise ValueError(
            f"{site} has {int(there[row].any(axis=0).sum())} planes, most sites have "
            f"{int(counts[0])} ({len({*more[:, 0]}):,} such sites). Their projections would not be "
            "alike: take one plane, or move the other files elsewhere."
        )
    return np.flatnonzero(usual[0])


def _name_lacking(grid, beside, wanted, planes):
    """Give the files that are not there names that say so, after a file of their site."""
    for site, channel, depth in np.argwhere(grid == None):  # noqa: E711
        stem, _, suffix = beside.iat[site].rpartition(".")
        what = [wanted[channel].replace("/", "-") if wanted else "the image"]
        what += [] if planes is None else [f"plane {planes[depth]}"]
        grid[site, channel, depth] = f"{stem} lacks {' '.join(what)}.{suffix}"
