"""Plates of OME-Zarr: wells, fields, channels and the size of pixels, from their own metadata."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd

from .. import images, ome_zarr, remote
from ..metadata import Metadata
from ..progress import say
from ..wells import well_name
from .columns import check_wells
from .plate_maps import with_treatments

_THREADS = 16


class OMEZarrMetadata(Metadata):
    """A dataset from an OME-Zarr plate (HCS layout, version 0.4 or 0.5); no table is needed.

    A row is a field of view: the well as the plate names it, and as ``site`` the name of its
    image. Channels have the labels that viewers show, where these tell all apart.

    Parameters
    ----------
    plate : str or Path
        Folder, or address (https, s3) of one elsewhere.
    single_channel_metadata : bool
        One row an image and channel.
    check_files : bool
        Check that every image is there.
    resolution_level : int, optional
        0, the full resolution, by default.
    acquisition : int, optional
        Number (id) of the acquisition, of a plate that has several.
    remote : bool
        Allow a plate elsewhere: its files are fetched as they are read.
    platemap, channels, controls, plane, timepoint, max_missing
        See `CSVMetadata`.

    Raises
    ------
    ValueError, FileNotFoundError
        No plate, damaged metadata, several acquisitions and no choice, an unknown level; names the
        folder and the remedy.
    ImportError
        What reads OME-Zarr is not installed.
    """

    def __init__(
        self,
        plate,
        single_channel_metadata=False,
        check_files=True,
        *,
        resolution_level=None,
        acquisition=None,
        remote=False,
        platemap=None,
        channels=None,
        controls=None,
        plane=None,
        timepoint=None,
        max_missing=0.0,
    ):
        images.check_part(plane, timepoint)
        root = _root(plate, remote)
        self.root = self.origin = root
        self.remote = remote
        self.is_merged = True
        self.single_channel_metadata = False
        self.plane, self.timepoint = plane, timepoint
        self.opened_with = {} if acquisition is None else {"acquisition": acquisition}
        self.valset = root.rpartition("/")[2].removesuffix(ome_zarr.SUFFIX) or "plate"
        version, described = _plate(root)
        fields = _fields(root, version, described)
        several = len(set(fields.values())) > 1
        fields = _of_acquisition(fields, described, acquisition, self.valset)
        if several:
            self.valset += f"_acquisition{acquisition}"
        place, first = _first_image(root, version, fields)
        self.resolution_level = _level(resolution_level, first, self.valset)
        level = first.levels[self.resolution_level]
        self.channels = _channel_names(first, f"{root}/{'/'.join(place)}/{level.path}")
        frame = pd.DataFrame(
            {
                "path": [f"{root}/{well}/{image}/{level.path}" for well, image in fields],
                "plate": described.name or self.valset,
                "well": well_name(pd.Series([well.replace("/", "") for well, _ in fields])),
                "site": [image for _, image in fields],
            }
        )
        self.metadata = frame = with_treatments(self, frame, platemap, controls)
        self.inference_metadata_columns = [c for c in frame.columns if c != "path"]
        self._describe(version, first)
        self.validate(check_files=check_files, max_missing=max_missing)
        if channels is not None:
            self.select_channels(channels)
        if single_channel_metadata:
            self.as_single_channel()

    def _describe(self, version, image):
        """Say what was understood, before any image is read."""
        frame = self.metadata
        size = images.pixel_size_of(image.levels[self.resolution_level])
        count = len(image.levels)
        say(
            f"{self.valset}: OME-Zarr {version}, plate {frame['plate'].iat[0]}, "
            f"{frame['well'].nunique()} wells, {len(frame)} fields; resolution level "
            f"{self.resolution_level} of {count}, "
            f"{f'pixels of {size:.4g} µm' if size else 'the size of its pixels unknown'}"
        )
        beside = _versions(frame["site"].unique())
        if beside:
            self.note(
                f"wells list the images {', '.join(beside)} beside those of which their names are "
                "longer forms: if these are versions of the same fields, each counts as a site of "
                "its own"
            )
        odd = check_wells(frame["well"])
        if odd:
            self.note(odd)


def _versions(names):
    """Names such as 0_mip that stand beside their beginnings, such as 0, in order."""
    known = set(names)
    return [name for name in names if any(name.startswith(f"{one}_") for one in known)]


def _root(plate, allowed):
    """The folder or address of a plate, once it may be asked for."""
    text = str(plate).rstrip("/")
    if "://" not in text:
        return str(Path(text).expanduser().absolute())
    root = remote.address(text, "")
    if not allowed:
        raise ValueError(
            f"the plate {root} lies elsewhere, and nothing was asked of that place. If you trust "
            f"it, set {remote.LEAVE}: its files are fetched as they are read. Or copy it to this "
            "machine."
        )
    remote.check([root])
    return root


def _plate(root):
    """(version, what the metadata say of the plate) of the folder of one."""
    try:
        version, content = ome_zarr.attributes(root)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"no OME-Zarr plate at {root}: it has no zarr.json (0.5) and no .zattrs (0.4). Give "
            "the path of the plate's folder."
        ) from None
    if "plate" not in content:
        kinds = {
            "multiscales": "is an OME-Zarr image, not a plate. List images in the column path of a "
            "CSV, one row each",
            "well": "is a well of an OME-Zarr plate. Give the folder of the plate, two above it",
            "bioformats2raw.layout": "is a series of images that are no plate (bioformats2raw). "
            "List its images in the column path of a CSV, one row each",
        }
        kind = next((text for name, text in kinds.items() if name in content), None)
        has = f": its metadata hold {', '.join(map(str, content))}" if content else ""
        raise ValueError(f"{root} {kind or f'is no OME-Zarr plate{has}'}.")
    described = ome_zarr.checked(content, "plate", version, root)
    if not described.wells:
        raise ValueError(f"{root}: the plate has no wells. Convert or copy it again.")
    return version, described


def _fields(root, version, described):
    """The fields of all wells: {(path of the well, name of the image): acquisition or None}.

    A well whose metadata are missing has the fields that most others have: its images are then
    missing as files of other datasets are.
    """

    def images_of(well):
        group = f"{root}/{well.path}"
        try:
            _, content = ome_zarr.attributes(group, version)
        except FileNotFoundError:
            return None
        return tuple(ome_zarr.fields(content, group))

    with ThreadPoolExecutor(_THREADS) as pool:
        found = list(pool.map(images_of, described.wells))
    there = [one for one in found if one is not None]
    if not there:
        raise FileNotFoundError(
            f"{root}: none of its {len(found)} wells is there; the first is "
            f"{described.wells[0].path}. Copy the plate again, with all folders below it."
        )
    usual = Counter(there).most_common(1)[0][0]
    fields = {}
    for well, listed in zip(described.wells, found, strict=True):
        for name, acquisition in usual if listed is None else listed:
            fields[well.path, name] = acquisition
    if not fields:
        raise ValueError(f"{root}: its wells list no images. Convert or copy it again.")
    return fields


def _of_acquisition(fields, described, wanted, valset):
    """The fields of one acquisition, as a list."""
    counts = Counter(fields.values())
    if wanted is None:
        if len(counts) == 1:
            return list(fields)
        names = {one.id: one.name for one in described.acquisitions or ()}
        told = ", ".join(
            f"{'none' if one is None else one}"
            f"{f' ({names[one]})' if names.get(one) else ''}: {count} images"
            for one, count in counts.items()
        )
        numbered = [one for one in counts if one is not None]
        raise ValueError(
            f"{valset} has {len(counts)} acquisitions, of which one is read: {told}. Set "
            f"acquisition, such as acquisition={numbered[0]}; each is a dataset of its own."
        )
    if wanted not in counts:
        has = ", ".join(str(one) for one in counts if one is not None) or "none with a number"
        raise ValueError(f"{valset} has no acquisition {wanted}; it has {has}.")
    return [field for field, one in fields.items() if one == wanted]


def _first_image(root, version, fields):
    """The first field whose image says something, and what it says."""
    missing = None
    for well, name in fields:
        try:
            return (well, name), ome_zarr.image(f"{root}/{well}/{name}", version)
        except FileNotFoundError as error:
            missing = missing or error
    raise FileNotFoundError(
        f"none of the {len(fields)} images of {root} is there. The first: {missing}"
    )


def _channel_names(image, array):
    """The labels of an image's channels, where its array has as many; else None."""
    try:
        shape = ome_zarr.array(array).shape
        count = dict(zip(image.axes, shape, strict=False)).get("C", 1)
    except (ValueError, OSError):
        count = len(image.names)
    return list(image.names) if image.names and len(image.names) == count else None


def _level(wanted, image, valset):
    count = len(image.levels)
    wanted = 0 if wanted is None else wanted
    if not 0 <= wanted < count:
        has = f"{count} resolution levels, 0 to {count - 1}" if count > 1 else "one level, 0"
        raise ValueError(f"{valset} has {has}; resolution_level is {wanted}.")
    return wanted
