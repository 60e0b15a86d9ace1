"""What training draws from: single planes of any datasets, and one global sequence of draws.

Everything about a draw (image, crops, augmentation) follows from the seed, the epoch and the
position in the epoch, so that neither the number of processes and workers nor an interruption
changes it.
"""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import default_collate

from .. import dataset, identity, illumination, intensity, tables, valsets
from ..progress import say
from . import augment
from .state import read_whole, write_whole
from .windows import ONLY, PlaneReader

_REMEMBERED = "planes.pt"


@dataclass
class Planes:
    """The planes of one dataset, a row an item to draw.

    Attributes
    ----------
    name : str
    files : list of str
        (N x C x `files_per_channel`), item by item.
    numbers : numpy.ndarray
        (N, C), the plane of each file, or `windows.ONLY`.
    low, high : numpy.ndarray
        (N, C), raw intensities that become 0 and 1; not a number where each image decides.
    weights : numpy.ndarray
        (N,), relative probabilities within the dataset.
    groups : numpy.ndarray
        (N,), number of the plate and channel that an item belongs to; of the plate with several
        channels together.
    reading : dict
        How its files are read, see `Metadata.reading`.
    files_per_channel : int
        See `Metadata`.
    files_sha256 : str
        From `files_digest`.
    pixel_size : float or None
        Of most of its images, in µm.
    """

    name: str
    files: list
    numbers: np.ndarray
    low: np.ndarray
    high: np.ndarray
    weights: np.ndarray
    groups: np.ndarray
    reading: dict
    files_per_channel: int
    files_sha256: str
    pixel_size: float | None = None

    def __len__(self):
        return len(self.weights)

    @property
    def digest(self):
        """SHA-256 of what is drawn from: the images, their order, weights and groups."""
        digest = hashlib.sha256(self.files_sha256.encode())
        for values in (self.numbers, self.weights, self.groups):
            digest.update(np.ascontiguousarray(values).tobytes())
        return digest.hexdigest()

    def plain(self):
        """Tensors and plain values, as `torch.load` reads them without executing anything."""
        return {
            name: torch.tensor(value) if isinstance(value, np.ndarray) else value
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
    options = dict(valsets.TRAINING_SETS.values())
    for valset, cls in valsets.VALSETS.items():
        if valset.lower() == name.lower():
            return cls(False, root, **options.get(cls, {}))
    metadata = valsets.open_valset(name, root=root)
    if metadata.illumination_files():
        metadata.note(
            "its illumination functions are not applied in training, which draws windows of the "
            "images as they are stored"
        )
        illumination.choose(metadata, illumination.NONE)
    return metadata


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
        A dataset that does not have `in_chans` channels, or of which no site is readable; a column
        ``sample_weight`` with values that are not above or equal to 0.
    """
    channels = metadata.channels
    if in_chans > 1 and len(channels) != in_chans:
        raise ValueError(
            f"{metadata.valset} has {len(channels)} channels ({', '.join(channels)}), in_chans is "
            f"{in_chans}. Train on datasets of {in_chans} channels, or on single ones (in_chans 1)."
        )
    frame = metadata.metadata.reset_index(drop=True)
    sites = len(frame)
    files, numbers = [], np.full((sites, len(channels)), ONLY, np.int64)
    for i in range(sites):
        paths = metadata.paths(i)
        wanted = metadata.channel_indices(i)
        files += paths if wanted is None else paths * len(channels)
        if wanted is not None:
            numbers[i] = wanted
    weights = _sample_weights(frame, metadata.valset)
    refused = dataset.inspect(metadata).refused
    if refused:
        weights[list(refused)] = 0
        first = next(iter(refused.values()))
        if not weights.sum():
            raise ValueError(f"{metadata.valset}: no site can be drawn from. The first: {first}")
        say(f"warning: {len(refused)} of {sites} sites are not drawn from. The first: {first}")
    low = np.full((sites, len(channels)), np.nan)
    high = low.copy()
    if scaling == "plate":
        low, high = _plate_limits(metadata, refused, seed)
    elif scaling == "dtype" and intensity_range is not None:
        low[:], high[:] = intensity.dtype_limits(np.uint16, intensity_range)
    groups = np.empty(sites, np.int64)
    for number, rows in enumerate(metadata.plates().values()):
        groups[rows] = number
    if in_chans == 1:
        groups = (groups[:, None] * len(channels) + np.arange(len(channels))).reshape(-1)
        numbers, low, high = (values.reshape(-1, 1) for values in (numbers, low, high))
        weights = np.repeat(weights, len(channels))
    return Planes(
        metadata.valset,
        files,
        numbers,
        low,
        high,
        weights,
        groups,
        metadata.reading,
        metadata.files_per_channel,
        files_digest(files),
        metadata.pixel_size,
    )


_ALIKE = 1.1


def shared_pixel_size(sets):
    """The size in µm of the pixels of several sets, where all know theirs and they are alike: the
    median, or None.

    Parameters
    ----------
    sets : list of Planes
    """
    sizes = [part.pixel_size for part in sets]
    if None in sizes or max(sizes) >= _ALIKE * min(sizes):
        return None
    return float(np.median(sizes))


_COMPARED, _THREADS = 2000, 8


def files_digest(files):
    """SHA-256 of the names of files, and of the contents of at most 2000, evenly spread.

    Folders and times do not count: a copy of the same images is the same. See
    `identity.file_digest` for how much of a file is read.
    """
    digest = hashlib.sha256()
    for file in files:
        digest.update(os.path.basename(file).encode() + b"\0")
    distinct = list(dict.fromkeys(files))
    compared = distinct[:: max(1, -(-len(distinct) // _COMPARED))]
    with ThreadPoolExecutor(_THREADS) as pool:
        for found in pool.map(identity.file_digest, compared):
            digest.update(found.encode() + b"\0")
    return digest.hexdigest()


def _plate_limits(metadata, refused, seed):
    """(low, high) of every site and channel from its plate's percentiles."""
    statistics = dataset.plate_statistics(metadata, refused=refused, seed=seed)
    by_plate = dataset.statistics_by_plate(metadata, statistics)
    low = np.full((len(metadata.metadata), len(metadata.channels)), np.nan)
    high = low.copy()
    for key, rows in metadata.plates().items():
        low[rows], high[rows] = by_plate[key]["low"], by_plate[key]["high"]
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
    ValueError
        The file is damaged.
    """
    path = Path(folder, _REMEMBERED)
    if not path.is_file():
        raise FileNotFoundError(f"no {_REMEMBERED} in {folder}: it is no folder of a training.")
    try:
        return _read_remembered(path)[1]
    except ValueError as error:
        raise ValueError(f"{error} Run the training's command once more: it rebuilds it.") from None


def _read_remembered(path):
    """(key, planes) of ``planes.pt``; a ValueError where it is damaged, or of another version."""
    content = read_whole(path)
    try:
        return content["key"], [Planes.from_plain(part) for part in content["sets"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is of another version ({error!r}).") from None


def remembered_planes(opened, options, folder):
    """The planes of every set; plates are measured once and remembered.

    Parameters
    ----------
    opened : list of Metadata
    options : dict
        Of `train.train`, checked.
    folder : Path
        Where ``planes.pt`` remembers tables and plate percentiles.

    Returns
    -------
    list of Planes
    """
    cache = Path(folder, _REMEMBERED)
    key = [str(options[n]) for n in ("intensity_scaling", "intensity_range", "in_chans", "seed")]
    key.append(" ".join(field.name for field in fields(Planes)))
    for metadata in opened:
        files = [file for i in range(len(metadata.metadata)) for file in metadata.paths(i)]
        key += [tables.frame_digest(metadata.metadata), files_digest(files)]
    if cache.is_file():
        try:
            known, sets = _read_remembered(cache)
            if known == key:
                return sets
        except ValueError as error:
            say(f"warning: {error} Measuring again.")
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
    write_whole({"key": key, "sets": [part.plain() for part in sets]}, cache)
    return sets


_REDRAWS = 10
_GROUP_DRAWS = 1 << 39
"""Marks, among positions, the random numbers that draw groups."""

DRAWING = ("dataset_weights", "intensity_scaling", "seed", "group_size", "min_contrast")
"""Options of `unidino.train.train` that decide what is drawn."""


class TrainingImages(TorchDataset):
    """Raw multi-crop windows of one drawn image; an item's index is (epoch, position).

    Parameters
    ----------
    sets : list of Planes
    views : augment.ViewSettings
    dataset_weights : list of float or None
        Relative shares of the draws; None draws as the published repetition of smaller sets.
    intensity_scaling : {"dtype", "plate", "image"}
    seed, group_size, min_contrast
        See `unidino.train.train`.

    Notes
    -----
    An item is a dict of ``image`` (number of the image), ``global`` (2, C, W, W) and ``local``
    (V, C, w, w) raw, ``draws`` and ``tone`` (see `augment.draw_views`), ``low`` and ``high`` (C,),
    ``padded`` (views larger than the image) and ``unread`` (errors of images that were drawn
    before and could not be read).
    """

    def __init__(
        self,
        sets,
        views,
        *,
        dataset_weights=None,
        intensity_scaling="plate",
        seed=0,
        group_size=1,
        min_contrast=0.0,
    ):
        self.views = views
        self.scaling = intensity_scaling
        self.seed = seed
        self.group_size = group_size
        self.min_contrast = min_contrast
        self.channels = sets[0].numbers.shape[1]
        # An Arrow array: workers share it, where a list of strings would be copied to each.
        self._files = pa.array([file for part in sets for file in part.files], pa.large_string())
        self._numbers = np.concatenate([part.numbers for part in sets])
        self._limits = np.stack(
            [np.concatenate([getattr(part, n) for part in sets]) for n in ("low", "high")], 1
        )
        self._starts = np.cumsum([0, *map(len, sets)])
        self._file_starts = np.cumsum([0, *(len(part.files) for part in sets)])
        self._depths = [part.files_per_channel for part in sets]
        # Sets that are read alike share what is remembered of their files.
        self._readings = [tuple(part.reading.items()) for part in sets]
        self._readers = {one: PlaneReader(**dict(one)) for one in self._readings}
        repeats = dataset.published_repeats([len(part) for part in sets])
        shares = dataset_weights
        if shares is None:
            shares = [len(part) * n for part, n in zip(sets, repeats, strict=True)]
        weights = [p.weights / p.weights.sum() * s for p, s in zip(sets, shares, strict=True)]
        firsts = np.cumsum([0, *(part.groups.max() + 1 for part in sets)])
        groups = np.concatenate([p.groups + n for p, n in zip(sets, firsts[:-1], strict=True)])
        # One group after another, so that a group is a stretch of the cumulative weights.
        self._order = np.argsort(groups, kind="stable")
        self._cumulative = np.cumsum(np.concatenate(weights)[self._order])
        ends = np.searchsorted(groups[self._order], np.arange(firsts[-1]), side="right")
        self._group_ends = np.concatenate([[0.0], self._cumulative[ends - 1]])
        self.published_length = sum(len(p) * n for p, n in zip(sets, repeats, strict=True))
        self.image_count = len(self._numbers)

    def __len__(self):
        return self.image_count

    def files(self, image):
        """The files of an image and the planes taken from them, in words."""
        return [
            f"{file} (plane {max(number, 0) + 1})"
            for channel in self._planes(image)
            for file, number in channel
        ]

    def _part(self, image):
        return int(np.searchsorted(self._starts, image, side="right")) - 1

    def _planes(self, image):
        """(file, plane in it) of every channel of an image: several where it is a projection."""
        part = self._part(image)
        depth = self._depths[part]
        within = (image - self._starts[part]) * self.channels * depth
        first = int(self._file_starts[part] + within)
        files = self._files[first : first + self.channels * depth].to_pylist()
        return [
            [(file, number) for file in files[c * depth : (c + 1) * depth]]
            for c, number in enumerate(self._numbers[image].tolist())
        ]

    def __getitem__(self, index):
        epoch, position = index
        rng = self._generator(epoch, position)
        start, end = self._stretch(epoch, position)
        unread, best = [], None
        for _ in range(_REDRAWS):
            place = start + rng.random() * (end - start)
            place = int(np.searchsorted(self._cumulative, place, side="right"))
            image = int(self._order[min(place, self.image_count - 1)])
            try:
                item = self.item(image, rng)
            except (ValueError, OSError) as error:
                unread.append(str(error))
                continue
            contrast = self._contrast(item) if self.min_contrast else np.inf
            if best is None or contrast > best[0]:
                best = contrast, item
            if contrast >= self.min_contrast:
                break
        if best is None:
            raise ValueError(
                f"{_REDRAWS} images drawn one after another could not be read. The last: "
                f"{unread[-1]}"
            )
        return best[1] | {"unread": unread}

    def _generator(self, epoch, position):
        """Random numbers that follow from the seed, an epoch and a position."""
        return np.random.Generator(np.random.Philox(key=[self.seed, (epoch << 40) | position]))

    def _stretch(self, epoch, position):
        """Ends of the cumulative weights that a draw is made from: all, or those of a group."""
        if self.group_size == 1:
            return 0.0, self._cumulative[-1]
        rng = self._generator(epoch, _GROUP_DRAWS | (position // self.group_size))
        place = rng.random() * self._cumulative[-1]
        group = int(np.searchsorted(self._group_ends, place, side="right"))
        group = min(group, len(self._group_ends) - 1)  # the first end is a leading 0
        return self._group_ends[group - 1], self._group_ends[group]

    def _contrast(self, item):
        """Standard deviation of the flattest global view, on the scale of [0, 1]."""
        low, high = (item[name][:, None, None] for name in ("low", "high"))
        scaled = np.clip((item["global"] - low) / (high - low), 0, 1)
        return scaled.std(axis=(2, 3)).mean(axis=1).min()

    def item(self, image, rng):
        """The item of one image, its views drawn from `rng`; see the notes of the class."""
        reader = self._readers[self._readings[self._part(image)]]
        planes = self._planes(image)
        first = planes[0][0][0]
        headers = [reader.header(*plane) for channel in planes for plane in channel]
        if len(set(headers)) > 1:
            raise ValueError(f"{first}: the channels of its site differ in size or type.")
        height, width, dtype = headers[0]
        views = self.views
        corners, draws, tone, padded = augment.draw_views(rng, views, height, width, self.channels)
        sizes = [views.window(size) for size in views.sizes]
        count = augment.GLOBAL_VIEWS
        raw = {
            name: np.empty((len(sides), self.channels, sides[0], sides[0]), dtype)
            for name, sides in (("global", sizes[:count]), ("local", sizes[count:]))
            if sides
        }
        for c, channel in enumerate(planes):
            out = [view[c] for windows in raw.values() for view in windows]
            reader.windows(*channel[0], corners, sizes, out)
            for plane in channel[1:]:
                for view, more in zip(out, reader.windows(*plane, corners, sizes), strict=True):
                    np.maximum(view, more, out=view)
        low, high = self._limits[image]
        if self.scaling == "image":
            whole = [np.max([reader.plane(*p) for p in channel], axis=0) for channel in planes]
            low, high = intensity.image_limits(np.stack(whole))
        elif np.isnan(low).any():
            if self.scaling == "plate":
                raise ValueError(f"{first}: no image of its plate could be read.")
            for windows in raw.values():
                intensity.check_float_range(windows, first)
            low, high = (np.full(self.channels, v) for v in intensity.dtype_limits(dtype))
        item = {"image": image, "draws": draws, "tone": tone, "padded": padded}
        item |= {"low": low.astype(np.float32), "high": high.astype(np.float32)}
        return item | raw


def collate(items):
    """A batch of items as tensors; raw windows keep their integers where all are unsigned."""
    batch = {
        "image": torch.tensor([item["image"] for item in items]),
        "padded": sum(item["padded"] for item in items),
        "unread": [error for item in items for error in item["unread"]],
    }
    for name in ("draws", "tone", "low", "high"):
        batch[name] = torch.from_numpy(np.stack([item[name] for item in items]))
    for name in ("global", "local"):
        if name in items[0]:
            types = {item[name].dtype for item in items}
            kind = np.result_type(*types)
            raw = kind if kind in (np.uint8, np.uint16) else np.float32
            windows = [torch.from_numpy(item[name].astype(raw, copy=False)) for item in items]
            # Stacked, in a reading process, where the training sees it.
            batch[name] = default_collate(windows)
    return batch


class GlobalSequence:
    """Batch sampler: this process's part of one global sequence of draws.

    Parameters
    ----------
    steps_per_epoch, total_steps, start_step : int
    batch : int
        Images of a process in a forward pass.
    accumulate : int
        Forward passes of a step.
    rank, world : int
    """

    def __init__(self, steps_per_epoch, total_steps, start_step, batch, accumulate, rank, world):
        self.steps_per_epoch = steps_per_epoch
        self.steps = range(start_step, total_steps)
        self.batch = batch
        self.accumulate = accumulate
        self.rank = rank
        self.world = world

    def __len__(self):
        return len(self.steps) * self.accumulate

    def __iter__(self):
        for step in self.steps:
            epoch, within = divmod(step, self.steps_per_epoch)
            for part in range(self.accumulate):
                block = (within * self.accumulate + part) * self.world + self.rank
                first = block * self.batch
                yield [(epoch, first + i) for i in range(self.batch)]


def views_of(batch, settings, device):
    """The augmented views of a batch on a device, view by view.

    Parameters
    ----------
    batch : dict
        From `collate`.
    settings : augment.ViewSettings
    device : torch.device

    Returns
    -------
    list of torch.Tensor
        (2 x B, C, size, size), and (V x B, C, local_size, local_size) where there are local views:
        all images of the first view, then of the second …
    """
    moved = {
        name: batch[name].to(device, non_blocking=True)
        for name in ("draws", "tone", "low", "high", "global", "local")
        if name in batch
    }
    made, first = [], 0
    for name, size in (("global", settings.size), ("local", settings.local_size)):
        if name not in moved:
            continue
        raw = moved[name]
        images, count = raw.shape[:2]

        def by_view(values):
            return values.transpose(0, 1).flatten(0, 1)

        part = slice(first, first + count)
        views = augment.make_views(
            by_view(raw),
            by_view(moved["draws"][:, part]),
            by_view(moved["tone"][:, part]),
            moved["low"].repeat(count, 1),
            moved["high"].repeat(count, 1),
            size,
            settings.native,
            settings.spoilt,
        )
        made.append(views)
        first += count
    return made
