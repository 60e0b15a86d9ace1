"""The single planes that training draws from: their files, intensities and weights."""

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from .. import dataset, intensity, tables, valsets
from ..progress import say
from .processes import barrier

_PLATE = ("source", "batch", "plate")
_REMEMBERED = "planes.pt"


@dataclass
class Planes:
    """The planes of one dataset, a row an item to draw.

    Attributes
    ----------
    name : str
    files : list of str
        (N x C), item by item.
    numbers : numpy.ndarray
        (N, C), the plane of each file.
    low, high : numpy.ndarray
        (N, C), raw intensities that become 0 and 1; not a number where each image decides.
    weights : numpy.ndarray
        (N,), relative probabilities within the dataset.
    groups : numpy.ndarray
        (N,), number of the plate and channel that an item belongs to; of the plate with several
        channels together.
    channel_axis : {"first", "last", None}
    """

    name: str
    files: list
    numbers: np.ndarray
    low: np.ndarray
    high: np.ndarray
    weights: np.ndarray
    groups: np.ndarray
    channel_axis: str | None = None

    def __len__(self):
        return len(self.weights)

    def plain(self):
        """Tensors and plain values, as `torch.load` reads them without executing anything."""
        return {
            name: torch.from_numpy(value) if isinstance(value, np.ndarray) else value
            for name, value in vars(self).items()
        }

    @classmethod
    def from_plain(cls, content):
        """The reverse of `plain`."""
        return cls(
            **{
                name: value.numpy() if isinstance(value, torch.Tensor) else value
                for name, value in content.items()
            }
        )


def open_training_set(text):
    """The metadata of a training set: a published dataset, as trained on, or a CSV.

    Parameters
    ----------
    text : str
        A valset or the path of a CSV; ``HPA@/data`` names the data root of a valset.

    Returns
    -------
    Metadata
        The published training mix where there is one: JUMP-CP's training tables, and controls
        down-sampled in BBBC021, BBBC037 and the insect set.
    """
    name, root = valsets.name_and_root(text)
    options = {getattr(valsets, cls): given for cls, given in dataset.TRAINING_SETS.values()}
    for valset, cls in valsets.VALSETS.items():
        if valset.lower() == name.lower():
            return cls(False, root, **options.get(cls, {}))
    return valsets.open_valset(name, root=root)


def planes_of(metadata, in_chans, scaling, intensity_range=None, seed=0):
    """The planes of a dataset and how their intensities scale.

    Parameters
    ----------
    metadata : Metadata
        One row a site.
    in_chans : int
        1: every channel is an item of its own; more: sites of so many channels.
    scaling : {"dtype", "plate", "image"}
    intensity_range : (low, high), optional
        With "dtype".
    seed : int
        Of the sample that plates are measured on.

    Returns
    -------
    Planes

    Raises
    ------
    ValueError
        A site that does not have `in_chans` channels; a column ``sample_weight`` with values that
        are not above or equal to 0.
    """
    channels = metadata.channels
    if in_chans > 1 and len(channels) != in_chans:
        raise ValueError(
            f"{metadata.valset} has {len(channels)} channels ({', '.join(channels)}), in_chans is "
            f"{in_chans}. Train on datasets of {in_chans} channels, or on single ones (in_chans 1)."
        )
    frame = metadata.metadata.reset_index(drop=True)
    sites = len(frame)
    files, numbers = [], np.zeros((sites, len(channels)), np.int64)
    for i in range(sites):
        paths = metadata.paths(i)
        wanted = metadata.channel_indices(i)
        files += paths if wanted is None else paths * len(channels)
        if wanted is not None:
            numbers[i] = wanted
    low = np.full((sites, len(channels)), np.nan)
    high = low.copy()
    if scaling == "plate":
        low, high = _plate_limits(metadata, frame, seed)
    elif scaling == "dtype" and intensity_range is not None:
        low[:], high[:] = intensity.dtype_limits(np.uint16, intensity_range)
    weights = _sample_weights(frame, metadata.valset)
    keys = [name for name in _PLATE if name in frame.columns]
    groups = np.zeros(sites, np.int64)
    if keys:
        groups = frame.groupby(keys, sort=False, dropna=False).ngroup().to_numpy(np.int64)
    if in_chans == 1:
        groups = (groups[:, None] * len(channels) + np.arange(len(channels))).reshape(-1)
        numbers, low, high = (values.reshape(-1, 1) for values in (numbers, low, high))
        weights = np.repeat(weights, len(channels))
    axis = metadata.channel_axis
    return Planes(metadata.valset, files, numbers, low, high, weights, groups, axis)


def _plate_limits(metadata, frame, seed):
    """(low, high) of every site and channel from its plate's percentiles."""
    statistics = intensity.plate_statistics(metadata, seed=seed)
    keys = [name for name in _PLATE if name in statistics.columns]
    low = np.full((len(frame), len(metadata.channels)), np.nan)
    high = low.copy()
    groups = frame.groupby(keys, sort=False, dropna=False).indices if keys else None
    parts = statistics.groupby(keys, sort=False, dropna=False) if keys else [((), statistics)]
    for key, part in parts:
        rows = slice(None) if groups is None else groups[key if len(keys) > 1 else key[0]]
        by_channel = part.set_index("channel").loc[metadata.channels]
        low[rows], high[rows] = by_channel["low"], by_channel["high"]
    return low, high


def _sample_weights(frame, name):
    if "sample_weight" not in frame.columns:
        return np.ones(len(frame))
    weights = pd.to_numeric(frame["sample_weight"], errors="coerce").to_numpy(float)
    wrong = np.flatnonzero(~(weights >= 0) | ~np.isfinite(weights))
    if len(wrong) or not weights.sum():
        row = int(wrong[0]) if len(wrong) else 0
        raise ValueError(
            f"{name}: the column sample_weight holds {frame['sample_weight'].iat[row]} in row "
            f"{row + 1}; expected numbers of 0 or more, not all 0."
        )
    return weights / weights.mean()


def read_planes(folder):
    """The planes that a training remembered in its folder.

    Raises
    ------
    FileNotFoundError
        None are there.
    """
    cache = Path(folder, _REMEMBERED)
    if not cache.is_file():
        raise FileNotFoundError(f"no {_REMEMBERED} in {folder}: it is no folder of a training.")
    return [Planes.from_plain(part) for part in torch.load(cache)["sets"]]


def remembered_planes(opened, options, folder, rank, world):
    """The planes of every set; plates are measured once, by the first process, and remembered.

    Parameters
    ----------
    opened : list of Metadata
    options : dict
        Of `train.train`, checked.
    folder : Path
        Where ``planes.pt`` remembers tables and plate percentiles.
    rank, world : int

    Returns
    -------
    list of Planes
    """
    cache = folder / _REMEMBERED
    key = [str(options[n]) for n in ("intensity_scaling", "intensity_range", "in_chans", "seed")]
    key.append(" ".join(field.name for field in fields(Planes)))
    key += [tables.frame_digest(metadata.metadata) for metadata in opened]
    if rank == 0 and not (cache.is_file() and torch.load(cache)["key"] == key):
        say(f"reading the tables of {len(opened)} datasets, measuring plates")
        sets = [
            planes_of(
                metadata,
                options["in_chans"],
                options["intensity_scaling"],
                options["intensity_range"],
                options["seed"],
            )
            for metadata in opened
        ]
        content = {"key": key, "sets": [part.plain() for part in sets]}
        with tables.atomic_path(cache) as temporary:
            torch.save(content, temporary)
    barrier(world)
    return read_planes(folder)
