"""The folder that a microscope exported as a dataset, without a conversion or a table."""

from pathlib import Path

import pandas as pd

from ... import images
from ...metadata import Metadata
from ...progress import say
from ..columns import check_wells
from ..plate_maps import with_treatments
from .assembly import assembled, in_names, told
from .listing import listed
from .recognise import recognised


class ExportMetadata(Metadata):
    """A dataset from the folder of a microscope's export.

    The index of Harmony tells plates, wells, sites, channels and the size of pixels; of other
    microscopes the names of files and folders do, see `layouts`. What was understood is said
    before any image is read.

    Parameters
    ----------
    folder : str or Path
        Of a plate, or of several.
    single_channel_metadata : bool
        One row an image and channel.
    check_files : bool
        Check that every file is there.
    pattern : str, optional
        Regular expression that is searched in the paths below the folder, for names that no
        microscope gives: its groups are well (or row and col), site, channel, plate, plane,
        timepoint, batch and source, and any other, which becomes a column. Where it has no group
        channel, files hold all channels.
    plane, timepoint
        Which files are taken where planes or time points lie in files of their own, from 1;
        plane "max" is the maximum projection. Where they lie inside of files, see `CSVMetadata`.
    platemap, channels, controls, channel_axis, max_missing
        See `CSVMetadata`. Sites that lack a file are recorded as failed, up to `max_missing`.

    Attributes
    ----------
    understood : str
        Plates, wells, sites, channels, planes, time points and the size of pixels, in words.

    Raises
    ------
    ValueError, FileNotFoundError
        A folder that is not understood, or in several ways; several planes or time points and no
        choice: what was looked for and what is there, and the remedy.
    """

    def __init__(
        self,
        folder,
        single_channel_metadata=False,
        check_files=True,
        *,
        pattern=None,
        plane=None,
        timepoint=None,
        platemap=None,
        channels=None,
        controls=None,
        channel_axis=None,
        max_missing=0.0,
    ):
        if channel_axis is not None and channel_axis not in images.CHANNEL_AXES:
            raise ValueError(f"channel_axis {channel_axis!r} is not 'first' or 'last'.")
        images.check_part(plane, timepoint)
        root = Path(folder).expanduser().absolute()
        if not root.is_dir():
            raise FileNotFoundError(f"no folder at {root}. Give that of a microscope's export.")
        self.valset = folder_name(root)
        # The same sites, whether the plate's folder is given or that of its images.
        self.root = str(root.parent if self.valset != root.name else root)
        self.origin = str(root.resolve())
        given = {"pattern": pattern, "plane": plane, "timepoint": timepoint}
        self.opened_with = {name: value for name, value in given.items() if value is not None}
        self.simulated = Path(root, "SIMULATED.json").is_file()
        self.channel_axis = channel_axis
        self.single_channel_metadata = False
        found = recognised(root, listed(root), self.valset, pattern)
        self.understood = _in_words(found)
        say(f"{self.valset}: {self.understood}")
        self.remedy_for_missing = found.remedy
        self.channels = found.channels
        # Of whole files the channels are counted as they are read.
        wanted = self.named_channels(channels).values() if channels and found.channels else None
        try:
            made = assembled(found, root, plane, timepoint, wanted)
        except ValueError as error:
            raise ValueError(f"{self.valset}: {error}") from None
        # What tells files apart is not looked for inside of them.
        self.plane = None if made.planes_apart else plane
        self.timepoint = None if made.times_apart else timepoint
        self.channels = made.channels
        self.is_merged = made.channels is None
        self.files_per_channel = made.files_per_channel
        self.metadata = frame = with_treatments(self, made.sites, platemap, controls)
        self.inference_metadata_columns = [c for c in frame.columns if c != "path"]
        self._describe(found, made)
        self.validate(check_files=check_files, max_missing=max_missing)
        if channels is not None:
            self.select_channels(channels)
        if single_channel_metadata:
            self.as_single_channel()

    def _describe(self, found, made):
        """Note what is left out, and what is odd."""
        if found.left_out:
            self.note(
                f"left out: {_several(len(found.left_out), 'other image')}, "
                f"{', '.join(found.left_out[:3])}{' …' if len(found.left_out) > 3 else ''}"
            )
        if found.thumbnails:
            say(f"{self.valset}: left out: {_several(found.thumbnails, 'thumbnail')}")
        if made.left_out:
            self.note(
                f"{', '.join(made.left_out)} differ between the images of a site, and are left out"
            )
        odd = check_wells(self.metadata["well"])
        if odd:
            self.note(odd)


def folder_name(folder):
    """The name under which the outputs of a folder are filed: its own, of Images its parent's."""
    folder = Path(folder)
    if folder.name.lower() in ("images", "image") and folder.parent.name:
        return folder.parent.name
    return folder.name or "export"


def _in_words(found):
    frame = found.images
    plate_keys = [name for name in ("source", "batch", "plate") if name in frame]
    plates = frame[plate_keys].drop_duplicates()
    names = [" ".join(map(str, row)) for row in plates.to_numpy()]
    shown = ", ".join(names[:3]) + (" …" if len(names) > 3 else "")
    wells = len(frame[[*plate_keys, "well"]].drop_duplicates())
    sites = len(frame[[*plate_keys, "well", "site"]].drop_duplicates())
    channels = found.channels
    parts = [
        f"{found.source}",
        f"{_several(len(names), 'plate')} ({shown})",
        _several(wells, "well"),
        _several(sites, "site"),
        f"{_several(len(channels), 'channel')} ({', '.join(channels)})"
        if channels
        else "channels inside of the files",
    ]
    for column, what in (("plane", "plane"), ("timepoint", "time point")):
        numbers = in_names(frame[column])
        parts.append(
            f"{_several(len(numbers), what)} ({told(numbers)})" if numbers else f"1 {what}"
        )
    if "pixel_size" in frame:
        sizes = sorted(pd.to_numeric(frame["pixel_size"], errors="coerce").dropna().unique())
        parts += [f"pixels of {', '.join(f'{size:.4g}' for size in sizes)} µm"] if sizes else []
    return "; ".join(parts)


def _several(count, what):
    return f"{count:,} {what}{'' if count == 1 else 's'}"
