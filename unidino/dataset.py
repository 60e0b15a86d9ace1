"""Torch datasets: sites for callers, raw tiles for extraction, single channels for training."""

import contextlib
import copy
import hashlib
import math
import os
from collections import Counter
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
import torch
from torch.utils.data import ConcatDataset
from torch.utils.data import Dataset as TorchDataset

from . import arguments, illumination, images, intensity, quality, tables, tiles, valsets

DEFAULT_SCALING = "plate"
"""That of the default model."""

SAMPLE_SITES = 24
"""Sites of a plate, of as many wells as there are, from which its statistics are taken."""

_HEADERS_TOGETHER = 50_000
"""Sites whose headers are held at once: memory does not follow the number of plates."""


def published_repeats(sizes):
    """How often each set stands in the published mix: the smaller ones about as often as the
    largest.

    Parameters
    ----------
    sizes : list of int
        Images of each set.

    Returns
    -------
    list of int
    """
    return [max(sizes) // size for size in sizes]


def subset(metadata, rows):
    """The same metadata with some rows only, in the order given."""
    part = copy.copy(metadata)
    part.metadata = metadata.metadata.iloc[np.asarray(rows)].reset_index(drop=True)
    return part


def _agreed(files, headers):
    """The header that all files of a site share."""
    first = headers[0]
    for file, header in zip(files, headers, strict=True):
        if header != first:
            raise images.ImageError(
                f"{file}: is {header}, its site's first channel {files[0]} {first}; the channels "
                "of a site must agree. Convert the one that is unlike the others of its plate."
            )
    return first


def site_headers(metadata):
    """What the files of every site say of its image, read side by side.

    Parameters
    ----------
    metadata : Metadata

    Returns
    -------
    list of images.ImageHeader or str
        One a row, of each of its files, with the names of all their channels; the error's message
        instead, where a file has no header or those of a site disagree.
    """
    files = list(dict.fromkeys(file for site in metadata.files() for file in site))
    found = images.image_headers(
        files, alone=not metadata.is_merged, dataset=metadata.place, **metadata.reading
    )
    found = dict(zip(files, found, strict=True))
    agreed = {}

    def header(site):
        headers = [found[file] for file in site]
        # Sites whose files are described by the same objects are alike.
        same = tuple(map(id, headers))
        if same not in agreed:
            made = together(site, headers)
            if isinstance(made, str):
                return made
            agreed[same] = made
        return agreed[same]

    def together(site, headers):
        for one in headers:
            if isinstance(one, str):
                return one
        channels = headers[:: metadata.files_per_channel]
        names = tuple(name for one in channels for name in one.names)
        told = all(one.names for one in channels) and len({*names}) == len(names)
        try:
            return replace(_agreed(site, headers), names=names if told else ())
        except images.ImageError as error:
            return str(error)

    return [header(site) for site in metadata.files()]


@dataclass
class Inspection:
    """What the headers of a dataset's images tell before any pixel is read.

    Attributes
    ----------
    usual : dict
        {plate key: the header of the files of most of its sites, or None where none is readable}.
    refused : dict
        {row: the error's message of a site that is unreadable or unlike its plate's others}.
    names : dict
        {plate key: names of the channels that most of its files give}, where they give any.
    """

    usual: dict
    refused: dict
    names: dict = field(default_factory=dict)


def inspect(metadata, plates=None):
    """Compare the headers of all images with those of their plate.

    The intensities of a plate are scaled and its background is found on one scale, so that its
    sites must agree in type; sites of another size or number of channels were made otherwise, and
    those whose files name other channels, or in another order, show other stains. Datasets without
    plates may mix sizes.

    Parameters
    ----------
    metadata : Metadata
    plates : dict, optional
        {plate key: row numbers (n,)} of those to look at; all by default.

    Returns
    -------
    Inspection
    """
    plates = metadata.plates() if plates is None else plates
    usual, refused, names = {}, {}, {}
    # Where a row is one file of one channel, the rows of a plate differ in its name.
    comparable = metadata.is_merged or not metadata.single_channel_metadata
    for key, rows, headers in _with_headers(metadata, plates):
        kinds = {row: _kind(headers[row], key) for row in rows}
        readable = Counter(kind for kind in kinds.values() if kind)
        most, count = readable.most_common(1)[0] if readable else (None, 0)
        usual[key] = next((headers[row] for row in rows if most and kinds[row] == most), None)
        named = {row: headers[row].names for row in rows if most and kinds[row] == most}
        named = {row: given for row, given in named.items() if given and comparable}
        if named:
            names[key] = Counter(named.values()).most_common(1)[0][0]
        rescaled = metadata.target_pixel_size is not None
        for row in rows:
            if kinds[row] is None:
                refused[row] = headers[row]
            elif rescaled and not (metadata.stated_pixel_size(row) or headers[row].pixel_size):
                refused[row] = _unknown_pixels(metadata.paths(row)[0])
            elif kinds[row] != most:
                refused[row] = (
                    f"{metadata.paths(row)[0]}: is {kinds[row]}; {count} of the "
                    f"{readable.total()} readable sites of its {'plate' if key else 'dataset'} are "
                    f"{most}. Convert it, or list it on another plate."
                )
            elif row in named and named[row] != names[key]:
                agree = sum(given == names[key] for given in named.values())
                refused[row] = (
                    f"{metadata.paths(row)[0]}: names its channels {', '.join(named[row])}; "
                    f"{agree} of the {len(named)} sites of its {'plate' if key else 'dataset'} "
                    f"that name theirs have {', '.join(names[key])}. Save it with these, in their "
                    "order, or list it on another plate."
                )
    return Inspection(usual, refused, names)


def _with_headers(metadata, plates):
    """(key, row numbers, {row: header}) of every plate, read for several plates at a time."""
    ends = np.cumsum([len(rows) for rows in plates.values()]) // _HEADERS_TOGETHER
    for number in np.unique(ends):
        some = [one for one, end in zip(plates.items(), ends, strict=True) if end == number]
        rows = np.concatenate([rows for _, rows in some])
        headers = dict(zip(rows.tolist(), site_headers(subset(metadata, rows)), strict=True))
        for key, members in some:
            yield key, members.tolist(), headers


def _kind(header, key):
    """What the sites of a plate, or of a set without (key ()), share; None where unreadable."""
    if isinstance(header, str):
        return None
    return str(header) if key else header.kind


def read_site(metadata, i, into=None):
    """The image of row `i` as its files hold it.

    Parameters
    ----------
    metadata : Metadata
    i : int
        Row number.
    into : numpy.ndarray, optional
        An image that is needed no more: the planes of several files take its place where they are
        of its shape and type, which saves the time that new memory costs.

    Returns
    -------
    numpy.ndarray
        (C, H, W) in the files' own type, channels in the order of ``metadata.channels``.

    Raises
    ------
    ValueError, FileNotFoundError
        A file that is absent, unreadable, or does not have the channels or size of its site.
    """
    files, wanted = metadata.paths(i), metadata.channel_indices(i)
    headers, depth = [], metadata.files_per_channel
    for n, file in enumerate(files):
        planes = images.read_image(file, alone=wanted is None, **metadata.reading)
        headers.append(images.ImageHeader(*planes.shape, planes.dtype))
        header = _agreed(files[: n + 1], headers)
        if len(files) == 1:
            image = planes
            break
        if n == 0:
            count = len(files) // depth * len(planes)
            image = _room(into, (count, *planes.shape[1:]), planes.dtype)
        own = image[n // depth * len(planes) : (n // depth + 1) * len(planes)]
        if n % depth:
            np.maximum(own, planes, out=own)
        else:
            own[:] = planes
    if wanted is not None:
        needed = metadata.file_channels or max(wanted) + 1
        if len(image) < needed or (metadata.file_channels and len(image) > needed):
            raise ValueError(
                f"{files[0]}: is {header}, expected {needed} channels. If its channels are its "
                "last axis, set channel_axis='last'."
            )
        if list(wanted) != list(range(len(image))):
            image = image[list(wanted)]
    return image


def load_site(metadata, i, into=None):
    """The image of row `i` in raw intensities, corrected and shrunk as its dataset asks.

    Parameters and errors are those of `read_site`; an illumination function that does not fit
    raises ImageError, too.

    Returns
    -------
    numpy.ndarray
        (C, H, W) in the files' own type, channels in the order of ``metadata.channels``; divided by
        the illumination functions of its row, see `illumination.corrected`, then shrunk to
        ``metadata.resize_shorter_side`` where the dataset has one, or rescaled to
        ``metadata.target_pixel_size``.
    """
    return _prepared(metadata, i, read_site(metadata, i, into))


def _prepared(metadata, i, image):
    """An image from `read_site`, which may be overwritten, as `load_site` returns it."""
    files = metadata.paths(i)[:: metadata.files_per_channel]
    image = illumination.corrected(image, metadata.illumination(i), files)
    if metadata.target_pixel_size is None:
        return images.shrink_shorter_side(image, metadata.resize_shorter_side)
    known = metadata.stated_pixel_size(i) or _header(metadata, i).pixel_size
    if known is None:
        raise images.ImageError(_unknown_pixels(files[0]))
    sides = images.rescaled_sides(*image.shape[1:], known / metadata.target_pixel_size)
    images.check_size(files[0], len(image) * math.prod(sides), "pixels once it is rescaled")
    return images.resized(image, sides)


def _header(metadata, i):
    """The header of the first file of row `i`."""
    alone = not metadata.is_merged
    return images.image_header(metadata.paths(i)[0], alone=alone, **metadata.reading)


def pixel_size_read(metadata, i):
    """The size in µm of the pixels of what `load_site` returns; None where it is not known."""
    if metadata.target_pixel_size is not None:
        return metadata.target_pixel_size
    header = _header(metadata, i)
    known = metadata.stated_pixel_size(i) or header.pixel_size
    return known and known * header.height / sides_read(metadata, header)[0]


def _unknown_pixels(file):
    return (
        f"{file}: does not say the size of its pixels, so it cannot be rescaled to another. Give "
        "it in µm by a column pixel_size, or leave the parameter pixel_size out."
    )


def sides_read(metadata, header):
    """Height and width of the images of a header as `load_site` makes them.

    Parameters
    ----------
    metadata : Metadata
    header : images.ImageHeader

    Returns
    -------
    (int, int)
    """
    if metadata.target_pixel_size is None:
        return images.shrunk_sides(header.height, header.width, metadata.resize_shorter_side)
    known = metadata.pixel_size or header.pixel_size or metadata.target_pixel_size
    factor = known / metadata.target_pixel_size
    return images.rescaled_sides(header.height, header.width, factor)


def _room(array, shape, dtype):
    """That array where it is of this shape and type, else a new one."""
    fits = array is not None and (array.shape, array.dtype) == (shape, dtype)
    return array if fits else np.empty(shape, dtype)


def foreground_index(metadata, foreground_channel):
    """Number of the foreground channel, or "any".

    Raises
    ------
    ValueError
        No channel of that name.
    """
    if foreground_channel == tiles.ANY:
        return tiles.ANY
    if foreground_channel is None:
        return 0
    if foreground_channel not in metadata.channels:
        raise ValueError(
            f"foreground_channel {foreground_channel!r} is not a channel; it is one of "
            f"{', '.join(metadata.channels)}, or any."
        )
    return metadata.channels.index(foreground_channel)


def statistics_by_plate(metadata, statistics):
    """The statistics of every plate.

    Parameters
    ----------
    metadata : Metadata
    statistics : pd.DataFrame
        From `plate_statistics`.

    Returns
    -------
    dict
        {plate key: frame with one row a channel, in the order of ``metadata.channels``}; the key
        is () where there are no plates.
    """
    parts = tables.groups(statistics, tables.plate_columns(statistics))
    by_channel = statistics.set_index("channel")
    return {key: by_channel.iloc[rows].loc[metadata.channels] for key, rows in parts.items()}


def _rank(seed, text):
    return hashlib.sha256(f"{seed}|{text}".encode()).digest()


def _site_names(metadata):
    """A name of every row that is the same wherever the dataset lies and whatever its files."""
    frame = metadata.metadata
    if not metadata.key_columns:
        files = [paths[0] for paths in metadata.files()]
        root = f"{metadata.root}/" if metadata.root else None
        if root and all(file.startswith(root) for file in files):
            return [file.removeprefix(root) for file in files]
        return [os.path.basename(file) for file in files]
    keys = frame[metadata.key_columns].astype(str).itertuples(index=False, name=None)
    # Sites that their keys do not tell apart are numbered in the order of the table.
    return [f"{'|'.join(key)}|{turn}" for key, turn in _numbered(keys)]


def _numbered(values):
    """(value, how often it stood before) of every value."""
    seen = Counter()
    for value in values:
        yield value, seen[value]
        seen[value] += 1


def sample_rows(metadata, seed):
    """All rows in a seeded order in which to sample them: a site of each well, then a second …

    The order follows from plate, well and site, not from the names of files or the order of the
    table; where there are none of these, from the names of the files.

    Parameters
    ----------
    metadata : Metadata
        Of one plate, or without plates.
    seed : int

    Returns
    -------
    list of int
    """
    ranks = [_rank(seed, name) for name in _site_names(metadata)]
    order = sorted(range(len(ranks)), key=ranks.__getitem__)
    if "well" not in metadata.key_columns:
        return order
    turns = [turn for _, turn in _numbered(metadata.metadata["well"].iloc[order])]
    return [row for _, row in sorted(zip(turns, order, strict=True), key=lambda pair: pair[0])]


def plate_statistics(metadata, *, refused=None, seed=0, sites=SAMPLE_SITES):
    """Intensity statistics of every plate and channel, from a seeded sample of its sites.

    Parameters
    ----------
    metadata : Metadata
    refused : dict, optional
        Rows that are left out: those of an `Inspection`, which is made where none is given.
    seed : int
    sites : int
        Sites read a plate, of as many wells as there are.

    Returns
    -------
    pd.DataFrame
        One row a plate and channel: the plate's key columns, ``channel``, and what
        `intensity.channel_statistics` measures. One set where there are no plates.
    """
    if refused is None:
        refused = inspect(metadata).refused
    rows = []
    for key, members in metadata.plates().items():
        part = subset(metadata, [row for row in members if row not in refused])
        named = dict(zip(metadata.plate_columns, key, strict=True))
        for channel, values in zip(metadata.channels, _statistics(part, seed, sites), strict=True):
            rows.append(named | {"channel": channel} | values)
    return pd.DataFrame(rows)


def _statistics(metadata, seed=0, sites=SAMPLE_SITES):
    """What `intensity.channel_statistics` measures in the sites of one plate, channel by channel.

    Of single-channel metadata, whose rows are of one channel, that channel alone.
    """
    sampled, tops = _sampled_images(metadata, seed, sites)
    count = 1 if metadata.single_channel_metadata else len(metadata.channels)
    return [
        intensity.channel_statistics([image[c] for image in sampled], tops[c] if tops else None)
        for c in range(count)
    ]


def _sampled_images(metadata, seed, sites):
    """Up to `sites` readable sites of one plate, and the highest value that each channel has in
    their files; None in its place where no image is corrected."""
    corrected = bool(metadata.illumination_files())
    sampled, stored = [], []
    for i in sample_rows(metadata, seed):
        if len(sampled) == sites:
            break
        with contextlib.suppress(ValueError, OSError):  # recorded when the plate is read
            image = read_site(metadata, i)
            tops = image.max((1, 2)).tolist() if corrected else []
            sampled.append(_prepared(metadata, i, image))
            stored.append(tops)
    return sampled, [max(tops) for tops in zip(*stored, strict=True)]


class SiteTiles(TorchDataset):
    """The kept tiles of every site as raw values, with what was measured on the way.

    Parameters
    ----------
    metadata : Metadata
        Sites of one plate, or of a dataset without plates.
    statistics : pd.DataFrame
        From `plate_statistics`, the rows of that plate.
    size, stride, tiling, min_foreground, small_images
        See `unidino.tiles`.
    foreground_channel : str or None
        Name of a channel, "any", or None for the first.
    on_error : {"record", "raise"}
        What an unreadable image does.
    refused : dict
        {row: message} of sites that are not to be read; see `Inspection`.
    with_limits : bool
        Add ``low`` and ``high``, the image's own percentiles.
    natural_range : bool
        Intensities will be scaled by the files' type: refuse float images outside [0, 1].

    Notes
    -----
    Item i is a dict of ``index``, ``tiles`` (n, C, size, size) raw, ``dtype``, ``tiles_total``,
    ``tiles_kept``, ``empty``, ``coverage``, ``foreground``, ``objects`` (of a nucleus's size in the
    first channel), ``height``, ``width``, and ``mean``, ``saturated``, ``focus``, ``signal`` (see
    `quality`) (C,); or of ``index`` and ``error``.
    """

    def __init__(
        self,
        metadata,
        statistics,
        *,
        size=224,
        stride=None,
        tiling="cover",
        min_foreground=0.01,
        foreground_channel=None,
        small_images="reflect",
        on_error="record",
        refused=None,
        with_limits=False,
        natural_range=False,
    ):
        self.metadata = metadata
        self.size = size
        self.stride = stride
        self.tiling = tiling
        self.min_foreground = min_foreground
        self.foreground_channel = foreground_index(metadata, foreground_channel)
        self.small_images = small_images
        self.on_error = on_error
        self.refused = refused or {}
        self.with_limits = with_limits
        self.natural_range = natural_range
        self._image = None
        by_channel = statistics.set_index("channel").loc[metadata.channels]
        self.thresholds = by_channel["threshold"].to_numpy()
        self.backgrounds = self.thresholds
        self.saturation = by_channel["saturation"].to_numpy()
        if tiling == "legacy":
            # The release takes every pixel above 0 of the first channel for foreground.
            self.thresholds = np.zeros(len(metadata.channels))

    def __len__(self):
        return len(self.metadata.metadata)

    def __getitem__(self, i):
        try:
            return self._measured(i)
        except (ValueError, OSError) as error:
            if self.on_error == "raise":
                raise
            return {"index": i, "error": str(error)}

    def measures(self, image):
        """What an item holds of a raw image (C, H, W) whatever its tiles, as a dict."""
        backgrounds, saturation = (
            intensity.comparable(values, image.dtype)
            for values in (self.backgrounds, self.saturation)
        )
        channels = [
            quality.channel_measures(*channel)
            for channel in zip(image, backgrounds, saturation, strict=True)
        ]
        measured = {
            name: np.array([one[name] for one in channels]) for name in quality.CHANNEL_MEASURES
        }
        return measured | {"objects": quality.count_objects(image[0], self.backgrounds[0])}

    def _stored(self, image):
        """What only the image as it is stored tells of each channel, for uneven light that is
        divided out hides it: the share of saturated pixels, and whether there is but one value."""
        limits = intensity.comparable(self.saturation, image.dtype)
        lowest, highest = image.min((1, 2)), image.max((1, 2))
        shares = [
            np.count_nonzero(plane >= limit) / plane.size if top >= limit else 0.0
            for plane, limit, top in zip(image, limits, highest, strict=True)
        ]
        return np.array(shares), lowest == highest

    def _measured(self, i):
        if i in self.refused:
            raise images.ImageError(self.refused[i])
        # Kept from site to site; what an item holds is copied from it.
        image = self._image = read_site(self.metadata, i, self._image)
        stored = self._stored(image) if any(self.metadata.illumination(i)) else None
        image = _prepared(self.metadata, i, image)
        if self.natural_range:
            intensity.check_float_range(image, self.metadata.paths(i)[0])
        item = {"index": i, "dtype": image.dtype.str, "height": image.shape[1]}
        item |= {"width": image.shape[2]} | self.measures(image)
        if stored:
            saturated, flat = stored
            item["saturated"] = saturated
            item["focus"][flat] = item["signal"][flat] = 0.0
        if self.with_limits:
            item["low"], item["high"] = intensity.image_limits(image)
        image = tiles.fit_to_tile(image, self.size, self.small_images)
        grid = tiles.tile_grid(*image.shape[1:], self.size, self.stride, self.tiling)
        thresholds = intensity.comparable(self.thresholds, image.dtype)
        above = tiles.foreground(image, thresholds, self.foreground_channel)
        kept, empty = tiles.choose_tiles(
            tiles.tile_shares(above, grid, self.size), self.min_foreground
        )
        return item | {
            "tiles_total": len(grid),
            "tiles_kept": int(kept.sum()),
            "empty": empty,
            "coverage": tiles.coverage(*image.shape[1:], grid, kept, self.size),
            "foreground": np.count_nonzero(above) / above.size,
            "tiles": torch.from_numpy(tiles.cut(image, grid[kept], self.size)),
        }


class Dataset(TorchDataset):
    """Images of a dataset, with their tiles and metadata when asked for.

    Parameters
    ----------
    metadata_instance : Metadata
        Any object of the published contract; it is validated.
    transform : callable, optional
        Applied to the float32 image (C, H, W) in [0, 1].
    use_crops_with_metadata : bool
        Items are dicts of ``crops`` (C, tiles, 1, size, size), ``labels`` (tiles,) bool: kept or
        not, and the inference columns; else the transformed image.
    size, stride, tiling, min_foreground, foreground_channel, small_images
        See `SiteTiles`.
    intensity_scaling : {"plate", "dtype", "image"}, optional
        How raw intensities become 0 to 1, see `intensity`: give ``model.config.intensity`` of the
        model that takes the images. By default as `load_model()` wants them, "plate"; the released
        uniDINO wants "dtype". A plate is measured when the first of its images is asked for.
    intensity_range : (low, high), optional
        Raw values that become 0 and 1, with "dtype", which it implies; the range of the files' type
        by default.

    Raises
    ------
    ValueError
        Another scaling; a range with another than "dtype".

    Examples
    --------
    >>> import unidino
    >>> model = unidino.load_model()
    >>> images = unidino.Dataset(
    ...     unidino.CSVMetadata("data/example/plate.csv"), intensity_scaling=model.config.intensity
    ... )
    >>> len(images), images[0].shape
    (24, torch.Size([3, 224, 224]))
    >>> model(images[0].unsqueeze(1)).shape  # each channel alone
    torch.Size([3, 24])
    """

    def __init__(
        self,
        metadata_instance,
        transform=None,
        use_crops_with_metadata=False,
        *,
        size=224,
        stride=None,
        tiling="cover",
        min_foreground=0.01,
        foreground_channel=None,
        small_images="reflect",
        intensity_scaling=None,
        intensity_range=None,
    ):
        metadata_instance.validate()
        if intensity_scaling is None:
            intensity_scaling = DEFAULT_SCALING if intensity_range is None else "dtype"
        arguments.check_choice("intensity_scaling", intensity_scaling, intensity.METHODS)
        if intensity_range is not None and intensity_scaling != "dtype":
            raise ValueError(
                "intensity_range goes with the intensity scaling 'dtype', not "
                f"{intensity_scaling!r}; leave one of them out."
            )
        self.metadata_instance = metadata_instance
        self.transform = transform
        self.use_crops_with_metadata = use_crops_with_metadata
        self.size = size
        self.stride = stride
        self.tiling = tiling
        self.min_foreground = min_foreground
        self.foreground_channel = foreground_index(metadata_instance, foreground_channel)
        self.small_images = small_images
        self.intensity_scaling = intensity_scaling
        self.intensity_range = intensity_range
        self._plates = None

    def __len__(self):
        return len(self.metadata_instance.metadata)

    def image(self, i):
        """The image of row `i` before the transform.

        Returns
        -------
        raw : numpy.ndarray
            (C, H, W), from `load_site`.
        scaled : torch.Tensor
            (C, H, W) float32 in [0, 1].
        """
        raw = load_site(self.metadata_instance, i)
        low, high = self._limits(i, raw)
        return raw, intensity.scale(torch.from_numpy(raw), low, high)

    def __getitem__(self, i):
        raw, image = self.image(i)
        transformed = image if self.transform is None else self.transform(image)
        if not self.use_crops_with_metadata:
            return transformed
        row = self.metadata_instance.metadata.iloc[i]
        crops, kept = self._crops(transformed, self._scaled_thresholds(i, raw))
        columns = self.metadata_instance.inference_metadata_columns
        return {"crops": crops, "labels": kept, **{name: row[name] for name in columns}}

    def _limits(self, i, raw):
        """The raw intensities of row `i` that become 0 and 1."""
        if self.intensity_scaling == "image":
            return intensity.image_limits(raw)
        if self.intensity_scaling == "plate":
            statistics = self._plate(i)
            return statistics["low"].to_numpy(), statistics["high"].to_numpy()
        if self.intensity_range is None:
            intensity.check_float_range(raw, self.metadata_instance.paths(i)[0])
        return intensity.dtype_limits(raw.dtype, self.intensity_range)

    def _crops(self, image, thresholds):
        array = tiles.fit_to_tile(image.numpy(), self.size, self.small_images)
        grid = tiles.tile_grid(*array.shape[1:], self.size, self.stride, self.tiling)
        shares = tiles.foreground_shares(
            array, grid, self.size, thresholds, self.foreground_channel
        )
        kept, _ = tiles.choose_tiles(shares, self.min_foreground)
        cut = torch.from_numpy(tiles.cut(array, grid, self.size))
        return cut.transpose(0, 1).unsqueeze(2), torch.from_numpy(kept)

    def _scaled_thresholds(self, i, raw):
        """Background thresholds of the plate of row `i` on the scale of its image, (C,)."""
        if self.tiling == "legacy":
            return np.zeros(len(self.metadata_instance.channels))
        low, high = self._limits(i, raw)
        return (self._plate(i)["threshold"].to_numpy() - low) / (high - low)

    def _plate(self, i):
        """Statistics of the plate of row `i`, one row a channel; measured once.

        Raises
        ------
        images.ImageError
            The site is unlike its plate's others.
        """
        if self._plates is None:
            self._plates = self._grouped()
        plates, number = self._plates
        rows, measured = plates[number[i]]
        if measured is None:
            part = subset(self.metadata_instance, rows)
            refused = inspect(part).refused
            kept = subset(part, [n for n in range(len(rows)) if n not in refused])
            by_row = {int(rows[n]): reason for n, reason in refused.items()}
            measured = pd.DataFrame(_statistics(kept)), by_row
            plates[number[i]] = rows, measured
        statistics, refused = measured
        if i in refused:
            raise images.ImageError(refused[i])
        return statistics

    def _grouped(self):
        """(rows, None) of every plate, which is not measured yet, and the plate of every row."""
        metadata = self.metadata_instance
        columns = list(metadata.plate_columns)
        if metadata.single_channel_metadata:
            columns.append("channel")
        groups = tables.groups(metadata.metadata, columns)
        number = np.empty(len(metadata.metadata), np.int64)
        for n, rows in enumerate(groups.values()):
            number[rows] = n
        return [(rows, None) for rows in groups.values()], number


def get_concatenated_datasets(
    transform,
    include_jumpcp=True,
    include_bbbc021=True,
    include_bbbc037=True,
    include_hpa=True,
    include_insect=True,
    use_example_data=False,
):
    """One single-channel dataset of several, for training.

    Parameters
    ----------
    transform : callable or None
        Applied to each float32 image (1, H, W) in [0, 1].
    include_jumpcp, include_bbbc021, include_bbbc037, include_hpa, include_insect : bool
        Which sets of the published mix.
    use_example_data : bool
        The example plate alone.

    Returns
    -------
    torch.utils.data.ConcatDataset
        Its attribute ``sample_weights`` (one an item, for a WeightedRandomSampler) draws the sets
        as the published repetition of the smaller ones does, in expectation.

    Raises
    ------
    ValueError
        Nothing is included.
    """
    if use_example_data:
        parts = [valsets.ExampleJUMPCPMetadata(True)]
    else:
        wanted = {
            "jumpcp": include_jumpcp,
            "bbbc021": include_bbbc021,
            "bbbc037": include_bbbc037,
            "hpa": include_hpa,
            "insect": include_insect,
        }
        chosen = [valsets.TRAINING_SETS[name] for name, include in wanted.items() if include]
        parts = [cls(True, **options) for cls, options in chosen]
    if not parts:
        raise ValueError("no dataset is included: set one of the include_… flags.")
    # As the published training scales.
    joined = ConcatDataset([Dataset(part, transform, intensity_scaling="dtype") for part in parts])
    sizes = [len(part) for part in joined.datasets]
    joined.sample_weights = torch.cat(
        [torch.full((n,), float(k)) for n, k in zip(sizes, published_repeats(sizes), strict=True)]
    )
    return joined
