"""Images by their names, where these are those of a microscope."""

import pandas as pd

from ...wells import row_letters
from . import imagexpress
from .found import REMEDIES, Recognised, name_plates, natural, outer, ready, unpadded
from .layouts import IMAGEXPRESS, LAYOUTS, THUMBNAIL
from .listing import INDEXES, join


def by_names(root, listing, name):
    """The images of a folder whose names are of one layout; see `recognise.recognised`."""
    rows, left_out, thumbnails = {}, [], 0
    order = list(LAYOUTS)
    for folder, files in listing.images.items():
        for file in files:
            for layout in order:
                match = layout.pattern.fullmatch(file)
                if match:
                    rows.setdefault(layout.name, []).append((folder, file, *match.groups()))
                    if layout is not order[0]:
                        order = [layout, *(other for other in LAYOUTS if other is not layout)]
                    break
            else:
                if THUMBNAIL.fullmatch(file):
                    thumbnails += 1
                else:
                    left_out.append(join(folder, file))
    layouts = {layout.name: layout for layout in LAYOUTS}
    if not rows:
        shown = "\n  ".join(f"{one.name}: {one.example}" for one in LAYOUTS)
        seen = ", ".join(listing.first())
        raise ValueError(
            f"{root}: none of its {listing.count:,} images is named as microscopes name them; the "
            f"first are {seen}. Looked for an index of Harmony ({', '.join(INDEXES)}), and for "
            f"names such as\n  {shown}\n{REMEDIES}"
        )
    if any(not layouts[kind].weak for kind in rows):
        for kind in [kind for kind in rows if layouts[kind].weak]:
            left_out += [join(*row[:2]) for row in rows.pop(kind)]
    if len(rows) > 1:
        told = "; ".join(
            f"{len(found):,} of {kind}, such as {join(*found[0][:2])}"
            for kind, found in rows.items()
        )
        raise ValueError(
            f"{root} holds images of several microscopes: {told}. Give the folder of one of them, "
            f"or read them all at once. {REMEDIES}"
        )
    ((kind, found),) = rows.items()
    source = f"names of {kind}, such as {found[0][1]}"
    found, channels = _named(root, listing, name, layouts[kind], found)
    return Recognised(found, source, channels, left_out, thumbnails)


def _named(root, listing, name, layout, rows):
    """(images, channels) of the files of one layout."""
    groups = sorted(layout.pattern.groupindex, key=layout.pattern.groupindex.get)
    frame = pd.DataFrame(rows, columns=["folder", "path", *groups])
    frame["path"] = frame["path"].where(
        frame["folder"] == "", frame["folder"] + "/" + frame["path"]
    )
    if "row" in frame:
        rows = {text: _row(text) for text in frame["row"].unique()}
        letters = frame["row"].map(rows)
        if letters.isna().any():
            first = frame.loc[letters.isna(), "path"].iat[0]
            raise ValueError(f"{root}: {first} is of no row of a plate (1 to 52). {REMEDIES}")
        frame["well"] = letters + frame["column"].str.zfill(2)
    for part in ("site", "plane", "timepoint"):
        if part not in frame:
            frame[part] = None
    places = {folder: outer(folder, layout.folders) for folder in frame["folder"].unique()}
    for part in ("plane", "timepoint"):
        if part in layout.folders.groupindex:
            inner = {folder: parts.get(part) for folder, (_, parts) in places.items()}
            found = frame["folder"].map(inner)
            frame[part] = frame[part].where(frame[part].notna(), found)
    frame["folder"] = frame["folder"].map({folder: plate for folder, (plate, _) in places.items()})
    name_plates(frame, name, frame["prefix"] if "prefix" in frame else None)
    frame["site"] = unpadded(frame["site"].where(frame["site"].notna(), "1"))
    if "channel" not in frame or frame["channel"].isna().all():
        only = "ch1" if layout.channel == "{}" else layout.channel.format("1")
        frame["channel"] = only
        return ready(frame), [only]
    return _channels_of(root, listing, layout, frame)


def _channels_of(root, listing, layout, frame):
    """The images with the names of their channels, and these in order."""
    absent = frame["channel"].isna()
    if absent.any():
        raise ValueError(
            f"{root}: {frame.loc[absent, 'path'].iat[0]} names no channel, "
            f"{frame.loc[~absent, 'path'].iat[0]} does ({int(absent.sum())} of {len(frame)} do "
            f"not). Move them elsewhere. {REMEDIES}"
        )
    raw = sorted(frame["channel"].unique(), key=natural)
    frame["channel"] = frame["channel"].map({text: layout.channel.format(text) for text in raw})
    channels = [layout.channel.format(text) for text in raw]
    if layout is IMAGEXPRESS and listing.htds:
        channels = _by_htd(root, listing, layout, frame, dict(zip(channels, raw, strict=True)))
    return ready(frame), channels


def _by_htd(root, listing, layout, frame, numbers):
    """Name the wavelengths as the plates' descriptions do; the channels in order."""
    described = {}
    for folder, files in listing.htds.items():
        plate = outer(folder, layout.folders)[0]
        for file in files:
            described.setdefault(plate, {})[file.rpartition(".")[0]] = join(folder, file)
    renamed = []
    for (folder, prefix), rows in frame.groupby(["folder", "prefix"], sort=False, dropna=False):
        files = described.get(folder, {})
        file = files.get(prefix) or (next(iter(files.values())) if len(files) == 1 else None)
        names = imagexpress.wavelength_names(root / file) if file else {}
        own = {channel: names.get(number, channel) for channel, number in numbers.items()}
        frame.loc[rows.index, "channel"] = rows["channel"].map(own)
        renamed += own.values()
    used = set(frame["channel"].unique())
    return [name for name in dict.fromkeys(renamed) if name in used]


def _row(text):
    """Letters of a row; None for a number that no plate has."""
    return row_letters(int(text)) if text.isdecimal() else text.upper()
