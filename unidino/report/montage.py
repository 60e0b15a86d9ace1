"""Photographs of a few wells, as far as the images are still there."""

import base64
import copy
import io
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from PIL import Image

from .. import paths, tables
from ..evaluate import plate_quality
from ..pages import plate
from ..pages.plots import bar_length
from ..verify.origin import opened
from .verdicts import bare_wells

FIELD, DETAIL = 340, 170
"""Longest side of a whole field, and side of what is cut from its middle, in pixels."""

QUALITY = 82
"""Of the JPEGs, out of 100."""

SAME = 1e-4
"""Relative difference of mean intensities below which an image is the one that was embedded."""

COLOURS = {
    1: [(255, 255, 255)],
    2: [(255, 0, 255), (0, 255, 0)],
    3: [(0, 160, 255), (255, 120, 0), (0, 220, 120)],
}
"""Colours of the channels of a composite, by their number: none is red beside green."""

_MORE = [(0, 114, 255), (255, 140, 0), (0, 200, 110), (255, 60, 200), (240, 228, 66)]


@dataclass(frozen=True)
class Card:
    """A well in pictures.

    Attributes
    ----------
    well : str
    why : str
        Why it is shown.
    composite : str
        Data URI.
    details : list of str
        Data URIs, one a channel.
    box : tuple of float or None
        Left, top, width and height of the details within the composite, shares; None where they
        show all of it.
    """

    well: str
    why: str
    composite: str
    details: list
    box: tuple | None


@dataclass(frozen=True)
class Montage:
    """Cards by their heading, or why there are none.

    Attributes
    ----------
    groups : dict of str to list of Card
    said : list of str
        What is to be said of the images, such as that they are not there any more.
    colours : dict of str to str
        Channel -> its colour in composites, as hexadecimal.
    bars : tuple of str or None
        Length of the white bars in composites and in details; None where no pixel size is known.
    """

    groups: dict = field(default_factory=dict)
    said: list = field(default_factory=list)
    colours: dict = field(default_factory=dict)
    bars: tuple | None = None


def chosen(stored, found, most=4, level=0.05):
    """Which wells are shown, and why.

    Parameters
    ----------
    stored : stored.Plate
    found : verdicts.Findings
    most : int
        Wells of a group.
    level : float
        Below which a corrected p-value finds a treatment.

    Returns
    -------
    dict
        {heading: list of (row of the sites, why)}; without controls and treatments wells evenly
        spaced over the plate.
    """
    sites = stored.sites
    names = np.array(plate_quality.well_names(sites), dtype=object)
    read = (sites["Metadata_status"] != "failed").to_numpy(bool)
    made = {}
    kinds = sites.get("Metadata_control_type", pd.Series(None, sites.index, dtype=object))
    for kind, heading in (("negcon", "Negative controls"), ("poscon", "Positive controls")):
        own = read & (kinds == kind).to_numpy(bool)
        # What a control looks like is asked; empty ones are shown as flagged.
        wells = list(dict.fromkeys(names[own & ~found.bare])) or list(dict.fromkeys(names[own]))
        made[heading] = [(well, "") for well in _spaced(wells, most)]
    heading, group = _treatments(stored, found, most, level)
    made[heading] = group
    taken = {well for group in made.values() for well, _ in group}
    if not taken:
        wells = list(dict.fromkeys(names[read]))
        made[f"{stored.unit.capitalize()}s, evenly spaced"] = [
            (w, "") for w in _spaced(wells, 2 * most)
        ]
    looked = plate_quality.wells_to_look_at(found.flagged, sites)
    rows = {}
    for heading, group in made.items():
        rows[heading] = [(_typical(sites, names, read, well), why) for well, why in group]
    heading = "Flagged wells, the one farthest beyond a limit first"
    empty = looked["reasons"] == "empty"
    if empty.sum() > 1:
        # All of them look alike, and would leave no room for others.
        looked = looked[~(empty & empty.duplicated())]
        heading += f" (one of {empty.sum()} empty ones)"
    rows[heading] = [
        (row, why)
        for well, why in looked[["well", "reasons"]].to_numpy()
        if (row := _flagged_site(found.flagged, names, read, well)) is not None
    ][:most]
    return {heading: group for heading, group in rows.items() if group}


def _spaced(items, most):
    return [items[i] for i in np.linspace(0, len(items) - 1, min(most, len(items))).astype(int)]


def _treatments(stored, found, most, level):
    """(heading, group) of the active treatments, or of the farthest where none is found active."""
    answer = found.answers.get("activity")
    table = pd.DataFrame() if answer is None else answer.table
    if not table.empty and (table["corrected_p_value"] < level).any():
        return "Most active treatments", _active(found, answer, most)
    return "Treatments farthest from the negative controls", _farthest(stored, found, most)


def _farthest(stored, found, most):
    """Of the treatments whose median well is farthest from the controls, the farthest well.

    Wells without cells are far from all others, and stand among the flagged ones.
    """
    if found.wells is None or not found.wells.negative.any():
        return []
    asked = found.wells.profiles
    bare = set(np.array(plate_quality.well_names(stored.wells), object)[bare_wells(stored, found)])
    names = np.array(plate_quality.well_names(asked), dtype=object)
    controls = asked["Metadata_control_type"].isin(("negcon", "poscon")).to_numpy(bool)
    far = pd.Series(_distances(found), asked.index)
    kept = ~controls & np.array([name not in bare for name in names]) & far.notna().to_numpy()
    treated = far[kept].groupby(asked.loc[kept, plate.TREATMENT])
    order = treated.median().sort_values(ascending=False, kind="stable")
    farthest, wells = treated.idxmax(), dict(zip(asked.index, names, strict=True))
    return [
        (wells[farthest[name]], f"{name}; median distance {value:.3g}")
        for name, value in order.head(most).items()
    ]


def _active(found, answer, most):
    """Of the treatments that score best, the well farthest from the negative controls."""
    best = answer.table.dropna(subset="mean_normalized_average_precision").sort_values(
        "mean_normalized_average_precision", ascending=False, kind="stable"
    )
    asked = found.wells.profiles
    names = np.array(plate_quality.well_names(asked), dtype=object)
    far = _distances(found)
    group = []
    positive = (asked["Metadata_control_type"] == "poscon").to_numpy(bool)
    for treatment, score in best[[plate.TREATMENT, "mean_normalized_average_precision"]].itertuples(
        index=False, name=None
    ):
        rows = np.flatnonzero((asked[plate.TREATMENT] == treatment).to_numpy(bool) & ~positive)
        if len(rows):
            well = names[rows[np.nan_to_num(far[rows], nan=-1.0).argmax()]]
            group.append((well, f"{treatment}; normalised average precision {score:z.2f}"))
    return group[:most]


def _distances(found):
    from ..evaluate import dose_response

    features = tables.feature_columns(found.wells.profiles)
    return dose_response.distance_from_controls(found.wells.profiles, features)


def _typical(sites, names, read, well):
    """The site of a well whose foreground is its median."""
    rows = np.flatnonzero((names == well) & read)
    values = sites["Metadata_foreground"].to_numpy(float)[rows]
    return int(rows[np.argsort(values, kind="stable")[(len(rows) - 1) // 2]])


def _flagged_site(flagged, names, read, well):
    """The site of a well that lies farthest beyond a limit, of those that could be read."""
    own = flagged[(names[flagged["row"]] == well) & read[flagged["row"]]]
    return int(own.loc[own["excess"].idxmax(), "row"]) if len(own) else None


def photograph(stored, groups, root=None, remote=False):
    """Read and draw the sites of `chosen`.

    Parameters
    ----------
    stored : stored.Plate
    groups : dict
    root : str, optional
        Folder that the images lie below now.
    remote : bool
        Fetch images that lie elsewhere.

    Returns
    -------
    Montage
    """
    if not groups:
        return Montage(said=["No site could be read, so that there is nothing to show."])
    from .. import dataset

    # The folder may be a stranger's: what was allowed when it was made is not allowed again.
    how = {k: v for k, v in (stored.recorded.get("opened_with") or {}).items() if k != "remote"}
    how |= {"remote": True} if remote else {}
    origin, notes = opened(stored.recorded | {"opened_with": how}, root)
    if origin is None:
        what = notes[0].what.replace(": sites are not compared with it", "")
        return Montage(said=[f"The images are not shown: {stored.without_place(what)}."])
    if stored.key and stored.key not in origin.plates:
        return Montage(said=["The images are not shown: the dataset has this plate no more."])
    wanted = list(dict.fromkeys(row for group in groups.values() for row, _ in group))
    places = origin.rows(stored.sites["Metadata_path"].iloc[wanted], stored.key)
    places.index = wanted
    found = places.notna().to_numpy(bool)
    lost = ["the dataset has these sites no more"] * int((~found).sum())
    there = [row for row, known in zip(wanted, found, strict=True) if known]
    rows = places[found].to_numpy(int)
    part = _as_read(stored, dataset.subset(origin.metadata, rows))
    loaded, unread = _loaded(stored, part, there)
    lost = unread + lost
    if not loaded:
        return Montage(said=[f"The images are not shown: {lost[0]}."])
    first, pixel = next(iter(loaded)), part.read_pixel_size
    colours = colours_of(stored.channels)
    limits = _limits(stored)
    names = plate_quality.well_names(stored.sites)
    cards = {}
    for heading, group in groups.items():
        own = [
            _card(loaded[row], limits, colours, names[row], why, pixel)
            for row, why in group
            if row in loaded
        ]
        cards |= {heading: own} if own else {}
    said = [f"{len(lost)} of {len(wanted)} images are not shown: {lost[0]}."] if lost else []
    hexes = ["#" + "".join(f"{part:02x}" for part in colour) for colour in colours]
    bars = None
    if pixel:
        bars = tuple(f"{bar_length(side * pixel)[0]:g} µm" for side in _sides(loaded[first]))
    return Montage(cards, said, dict(zip(stored.channels, hexes, strict=True)), bars)


def _as_read(stored, metadata):
    """The metadata with what the extraction decided of the size of its images."""
    settings = stored.made["settings"]
    metadata.resize_shorter_side = settings.get("resize_shorter_side")
    metadata.target_pixel_size = settings.get("pixel_size")
    own = stored.made.get("pixel_size")
    # A plate map may have told it, which is not opened here.
    if own and "pixel_size" not in metadata.metadata.columns:
        metadata.metadata = metadata.metadata.assign(pixel_size=float(own))
    return metadata


def _loaded(stored, metadata, rows):
    """({row of the sites: its image as the model was given it}, why others are not there).

    Parameters
    ----------
    metadata : Metadata
        Of the sites `rows` alone, in their order.
    """
    from .. import dataset

    if not rows:
        return {}, []
    made, lost = {}, []
    for i, row in enumerate(rows):
        try:
            if not made:
                metadata = _with_channels(stored, metadata, i, row)
            image = dataset.load_site(metadata, i)
            if not all(_is_measured(stored, image[[n]], c, row)
                       for n, c in enumerate(stored.channels)):  # fmt: skip
                raise ValueError(_OTHERS)
            made[row] = image
        except (ValueError, OSError) as error:
            text = " ".join(str(error).split()).replace(f"{metadata.root}/", "")
            lost.append(stored.without_place(text).removesuffix("."))
    return made, lost


_OTHERS = (
    "their mean intensities are not those that were measured: the files have changed, or are "
    "divided by other illumination functions"
)


def _is_measured(stored, image, channel, row):
    """Whether an image (1, H, W) has the mean intensity that was measured of a site's channel."""
    measured = stored.sites[f"Metadata_mean_{channel}"].iat[row]
    return bool(np.isclose(image.mean(dtype=float), measured, SAME))


def _with_channels(stored, metadata, i, row):
    """The metadata with the channels of the extraction, and their illumination functions.

    Channels may have been renamed for the extraction, which the dataset does not know: they are
    found by what was measured of them.
    """
    from .. import dataset

    setting = stored.made["settings"].get("illumination")
    functions = dict.fromkeys(stored.channels)
    if isinstance(setting, dict):
        folder = paths.illumination_folder(stored.folder, stored.table)
        functions = paths.illumination_functions(folder, stored.channels)

    def chosen(selection):
        part = copy.copy(metadata)
        if setting != "given":
            part.metadata = part.metadata.drop(columns="illumination", errors="ignore")
        part.select_channels(selection)
        if isinstance(setting, dict):
            files = [str(functions[channel]) for channel in selection]
            part.metadata = part.metadata.assign(illumination=[files] * len(part.metadata))
        return part

    if set(stored.channels) <= set(metadata.channels):
        return chosen({channel: channel for channel in stored.channels})
    selection = {}
    for channel in stored.channels:
        for name in metadata.channels:
            image = dataset.load_site(chosen({channel: name}), i)
            if name not in selection.values() and _is_measured(stored, image, channel, row):
                selection[channel] = name
                break
        else:
            raise ValueError(_OTHERS)
    return chosen(selection)


def _limits(stored):
    """(low, high) of each channel, of the plate's statistics."""
    table = pd.DataFrame(stored.measured["intensity_statistics"]).set_index("channel")
    return [tuple(pair) for pair in table.loc[stored.channels, ["low", "high"]].to_numpy(float)]


def colours_of(channels):
    """A colour (red, green, blue) for each channel of a composite."""
    count = len(channels)
    return COLOURS.get(count) or [_MORE[i % len(_MORE)] for i in range(count)]


def _sides(image):
    """(pixels across a whole field, across what is cut from its middle)."""
    side = min(*image.shape[1:], DETAIL)
    return image.shape[2], side


def _card(image, limits, colours, well, why, pixel):
    scaled = [
        np.clip((plane.astype(np.float32) - low) / (high - low if high > low else 1), 0, 1)
        for plane, (low, high) in zip(image, limits, strict=True)
    ]
    mixed = sum(
        plane[..., None] * np.float32(colour) for plane, colour in zip(scaled, colours, strict=True)
    )
    whole = Image.fromarray(np.clip(mixed, 0, 255).astype(np.uint8))
    whole.thumbnail((FIELD, FIELD), Image.Resampling.LANCZOS)
    height, width = image.shape[1:]
    side = _sides(image)[1]
    top, left = (height - side) // 2, (width - side) // 2
    details = []
    for plane in scaled:
        cut = plane[top : top + side, left : left + side]
        picture = Image.fromarray((255 * cut).round().astype(np.uint8))
        details.append(_uri(_with_bar(picture, pixel and side * pixel)))
    box = (left / width, top / height, side / width, side / height)
    return Card(
        well,
        why,
        _uri(_with_bar(whole, pixel and width * pixel)),
        details,
        None if min(box[2:]) > 0.8 else box,
    )


def _with_bar(picture, width):
    """A picture with a white bar at its foot, where the width that it shows is known in µm."""
    if width:
        share = bar_length(width)[1]
        pixels = np.array(picture)
        high, wide = pixels.shape[:2]
        margin, thick = max(2, wide // 30), max(2, wide // 60)
        pixels[high - margin - thick : high - margin, wide - margin - round(share * wide) :
               wide - margin] = 255  # fmt: skip
        picture = Image.fromarray(pixels)
    return picture


def _uri(picture):
    """A picture as a JPEG within the page."""
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
