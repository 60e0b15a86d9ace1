"""Images by the indexes that Harmony wrote beside them."""

import numpy as np
import pandas as pd

from ...wells import row_letters
from . import harmony
from .found import Recognised, name_plates, outer, ready
from .layouts import HARMONY
from .listing import join


def by_index(root, listing, name):
    """The images that the indexes of a folder list, one a plate; see `recognise.recognised`."""
    known = {folder: set(names) for folder, names in listing.images.items()}
    parts, names, indexes = [], {}, {}
    for folder, file in listing.indexes.items():
        plate = outer(folder, HARMONY.folders)[0]
        if plate not in indexes or folder in listing.images:
            indexes[plate] = folder, file  # of two of a plate, the one beside its images
    for plate, (folder, file) in indexes.items():
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
        frame["folder"] = plate
        frame["prefix"] = index.plate or ""
        frame["pixel_size"] = np.nan if index.pixel_size is None else index.pixel_size
        parts.append(frame.drop(columns=["url", "row", "column"]))
        names |= dict.fromkeys(index.channels.values())
    frame = pd.concat(parts, ignore_index=True)
    # Channels have no names there, so that these plates would not go with the others.
    others = [
        folder
        for folder, files in listing.images.items()
        if outer(folder, HARMONY.folders)[0] not in indexes
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
    name_plates(frame, name, frame["prefix"], of_index=True)
    more = f" and {len(indexes) - 1} more" if len(indexes) > 1 else ""
    if frame["pixel_size"].isna().all():
        del frame["pixel_size"]
    source = f"index of Harmony, {join(*next(iter(indexes.values())))}{more}"
    remedy = (
        f"Copy what is missing; or take {file} away: then the names of the files are read, and "
        "what is there counts."
    )
    return Recognised(ready(frame), source, list(names), left_out, remedy=remedy)


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
