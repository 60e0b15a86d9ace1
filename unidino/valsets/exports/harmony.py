"""The index of an export of Harmony (Opera Phenix, Operetta, Sonata), read as a stream.

Sources
-------
`OperettaReader.java` of ome/bioformats; the documentation of the crate openreadout-hcs, which read
indexes of Harmony 4 and 5 and exports of Harmony 6 and 7: the latter name channels and resolution
in ``Maps/Map/Entry`` alone.
"""

import functools
import sys
from typing import NamedTuple
from xml.parsers import expat

from .listing import join

MOST_IMAGES = 20_000_000
"""Images that an index may list, so that a hostile one cannot fill the memory."""

_NUMBERS = ("Row", "Col", "FieldID", "PlaneID", "TimepointID")
_NEEDED = ("Row", "Col", "FieldID", "ChannelID")
_WANTED = {"URL", "ChannelName", "ImageResolutionX", "PlateID", "Name", *_NEEDED, *_NUMBERS}


class Plane(NamedTuple):
    """One image of an index."""

    url: str
    row: int
    column: int
    site: int
    plane: int
    timepoint: int
    channel: str


class Index(NamedTuple):
    """What an index says.

    Attributes
    ----------
    plate : str or None
        Name of the plate, or its barcode.
    images : list of Plane
        Time points count from 1, as in the names of the files.
    channels : dict
        {ChannelID: name}, in the order of their numbers; a number tells channels of one name apart.
    pixel_size : float or None
        Side of a pixel in µm, where all channels share it.
    """

    plate: str | None
    images: list
    channels: dict
    pixel_size: float | None


def read_index(path):
    """Read an index.

    Parameters
    ----------
    path : Path

    Returns
    -------
    Index

    Raises
    ------
    ValueError
        No XML, or cut short; a document type, which no export has and entities hide in; not an
        index of Harmony; an image without a well, field or channel. Names the file.
    """
    found = _Found(path)
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler = found.start
    parser.EndElementHandler = found.end
    parser.CharacterDataHandler = found.characters
    parser.StartDoctypeDeclHandler = found.document_type
    try:
        with open(path, "rb") as file:
            parser.ParseFile(file)
    except expat.ExpatError as error:
        found.refuse(f"is no whole XML ({error})", "Copy it again")
    if not found.images:
        found.refuse("lists no images", "Export the plate again")
    images, shift = found.images, not min(image.timepoint for image in found.images)
    if shift:
        images = [image._replace(timepoint=image.timepoint + 1) for image in images]
    plate = found.plate.get("Name") or found.plate.get("PlateID") or None
    return Index(plate, images, found.channel_names(), found.pixel_size())


class _Found:
    """What was found in an index so far, element by element."""

    def __init__(self, path):
        self.path = path
        self.plate = {}
        self.images = []
        self.described = {}  # by channel, for the images that do not say it themselves
        self.names = {}
        self.resolutions = {}
        self._depth = 0
        self._record = None  # texts of the elements of an image, a channel or a plate
        self._record_depth = 0
        self._text = ""

    def refuse(self, reason, remedy="Correct it"):
        raise ValueError(
            f"{self.path}: {reason}. {remedy}, or take it away: the names of the files are read "
            "then."
        )

    def document_type(self, *_):
        """Entities are declared there; nothing of Harmony's has one."""
        self.refuse("declares a document type, which no index of Harmony has")

    def start(self, tag, attributes):
        """An element begins."""
        name = _local(tag)
        if not self._depth and name != "EvaluationInputData":
            self.refuse(f"is no index of Harmony: its root is {name}, expected EvaluationInputData")
        self._depth += 1
        self._text = ""
        if name in ("Image", "Plate"):
            self._record, self._record_depth = {}, self._depth
        elif name == "Entry":
            self._record = self.described.setdefault(attributes.get("ChannelID"), {})
            self._record_depth = self._depth

    def characters(self, text):
        """Text inside of an element."""
        if self._record is not None:
            self._text += text

    def end(self, tag):
        """An element ends."""
        if self._record is not None:
            name = _local(tag)
            if self._depth > self._record_depth:
                if name in _WANTED and self._depth == self._record_depth + 1:
                    self._record[name] = self._text.strip()
            else:
                if name == "Image":
                    self._add(self._record)
                elif name == "Plate":
                    self.plate = self.plate or self._record
                self._record = None
        self._text = ""
        self._depth -= 1

    def _add(self, said):
        """Take an image; one without a URL was not recorded."""
        url = said.get("URL")
        if not url:
            return
        for name in _NEEDED:
            if not said.get(name):
                self.refuse(f"the image {url} has no {name}")
        for name in _NUMBERS:
            if not said.setdefault(name, "1").isdecimal():
                self.refuse(f"the image {url} has the {name} {said[name]!r}, expected a number")
        channel = sys.intern(said["ChannelID"])
        self.names.setdefault(channel, said.get("ChannelName"))
        self.resolutions.setdefault(channel, set()).add(said.get("ImageResolutionX"))
        self.images.append(Plane(url, *(int(said[name]) for name in _NUMBERS), channel))
        if len(self.images) > MOST_IMAGES:
            self.refuse(f"lists more than {MOST_IMAGES:,} images", "Split it")

    def channel_names(self):
        ordered = sorted(self.names, key=lambda n: (not n.isdecimal(), n.zfill(9)))
        names = {
            n: self.names[n] or self.described.get(n, {}).get("ChannelName") or f"ch{n}"
            for n in ordered
        }
        return told_apart(names, "ch")

    def pixel_size(self):
        """The only resolution, from m to µm; None where there is none, or several."""
        texts = {
            text or self.described.get(channel, {}).get("ImageResolutionX")
            for channel, given in self.resolutions.items()
            for text in given
        }
        try:
            sizes = {round(float(text) * 1e6, 6) for text in texts}
        except (TypeError, ValueError):
            return None
        size = sizes.pop() if len(sizes) == 1 else 0
        return size if 0 < size < 1e4 else None


@functools.cache
def _local(tag):
    """The name of an element without its namespace."""
    return tag.rpartition(" ")[2]


def told_apart(names, mark):
    """{number: name} of channels, in which a number tells those of one name apart."""
    taken = [name.lower() for name in names.values()]
    return {n: s if taken.count(s.lower()) == 1 else f"{s} {mark}{n}" for n, s in names.items()}


def located(url, folder, known):
    """The path below the export of an image that an index in `folder` names.

    Parameters
    ----------
    url : str
        Absolute ones count by their last part: exports are moved.
    folder : str
    known : dict
        {folder: set of names that lie there}.
    """
    url = url.replace("\\", "/")
    if url.startswith("/") or ":" in url or ".." in url:
        url = url.rpartition("/")[2]
    for place in (folder, join(folder, "Images")):
        below, _, name = join(place, url).rpartition("/")
        if name in known.get(below, ()):
            return join(below, name)
    return join(folder, url)
