"""``unidino table``: what was understood of an export, as a CSV to look at and to edit."""

import os
import sys
from itertools import chain
from pathlib import Path

import pandas as pd

from ... import arguments, images, ome_zarr
from ...progress import one_line, say
from .export import ExportMetadata


def table(
    folder: str,
    /,
    *,
    pattern: str | None = None,
    plane: int | str | None = None,
    timepoint: int | None = None,
    channels: str | list | dict | None = None,
):
    """The table of a microscope's export: one row a site, a column of files a channel.

    The paths are absolute, so that the CSV may be written anywhere; its extraction gives the
    embeddings that that of the folder gives.

    Parameters
    ----------
    folder : str
        Folder that a microscope exported.
    pattern : str
        Regular expression that is searched in the paths below the folder, for names that no known
        microscope gives.
    plane : int
        Plane of depth to list where planes lie in files of their own, from 1.
    timepoint : int
        Time point to list where time points lie in files of their own, from 1.
    channels : str, list or dict
        Channels to list, in this order; "DNA=ch5,ER=ch1" renames.

    Returns
    -------
    pd.DataFrame

    Raises
    ------
    ValueError, TypeError
        As `ExportMetadata`; a plane or time point that neither names nor the files have; a
        projection, whose files no cell can name; a channel that is called like another column.
    """
    given = {"folder": folder, "pattern": pattern, "plane": plane, "timepoint": timepoint}
    arguments.check_types(given | {"channels": channels}, table)
    if ome_zarr.is_plate(folder):
        raise ValueError(
            f"{folder} is an OME-Zarr, whose arrays no cell can name: give it as the dataset, and "
            "treatments by platemap."
        )
    metadata = ExportMetadata(
        folder,
        check_files=False,
        pattern=pattern,
        plane=plane,
        timepoint=timepoint,
        channels=channels,
    )
    if metadata.files_per_channel > 1:
        raise ValueError(
            f"{metadata.valset}: a projection is of {metadata.files_per_channel} files a channel, "
            "and a cell of a table names one. Extract the folder itself with plane='max', and "
            "bring what is known of the wells by platemap; or list one plane, such as plane=1."
        )
    _check_inside(metadata)
    frame = metadata.described
    if metadata.is_merged:
        return frame.assign(path=metadata.metadata["path"])
    files = pd.DataFrame(metadata.metadata["path"].tolist(), columns=metadata.channels)
    both = [name for name in metadata.channels if name in frame]
    if both:
        raise ValueError(
            f"{metadata.valset}: {both[0]} is a channel and another column. Rename the channel by "
            f"channels='other={both[0]}'."
        )
    return pd.concat([frame, files], axis=1)


def _check_inside(metadata):
    """Stop where the chosen plane or time point, which no names tell, is not inside of the files.

    One file is asked, the first that there is.
    """
    inside = {"plane": metadata.plane, "timepoint": metadata.timepoint}
    inside = {name: value for name, value in inside.items() if value is not None}
    there = filter(os.path.isfile, chain.from_iterable(metadata.files()))
    file = next(there, None) if inside else None
    if file is None:
        return
    alone = not metadata.is_merged
    images.image_header(file, alone=alone, **metadata.reading)
    try:
        images.image_header(file, alone=alone)
    except images.ImageError:
        words = " and ".join(f"{name}={value!r}" for name, value in inside.items())
        say(
            f"{metadata.valset}: {Path(file).name} holds more than one image, and a table names "
            f"files alone: extract it with {words}, too"
        )


def main(argv=None, program="unidino table"):
    """The command line: the CSV on the standard output, what was understood beside it."""
    options = vars(arguments.parser(table, program).parse_args(argv))
    folder = options.pop("folder")
    try:
        made = table(folder, **options)
    except (ValueError, TypeError, OSError) as error:
        sys.exit(f"error: {one_line(error)}")
    try:
        made.to_csv(sys.stdout, index=False)
        sys.stdout.flush()
    except BrokenPipeError:
        # Who reads has read enough, as head does; what is left in the buffer goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
