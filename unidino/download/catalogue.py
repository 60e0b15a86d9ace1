"""What can be fetched, where it lies and under which terms: the entries of ``catalogue.toml``."""

import functools
import re
import tomllib
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from .. import paths

FILE = Path(__file__).with_name("catalogue.toml")

KINDS = ("files", "zenodo", "bucket", "index", "table")
"""Where the files of a source are listed, see ``catalogue.toml``."""

AUTOMATIC = {"all": "yes", "some": "in part", "none": "by hand"}


@dataclass(frozen=True)
class Source:
    """One place that files come from; the fields as in ``catalogue.toml``."""

    kind: str
    base: str = ""
    record: str = ""
    prefix: str = ""
    files: tuple = ()
    match: tuple = ()
    keep: str = ""
    table: str = ""
    column: str = ""
    where: str = ""
    endings: tuple = ()
    into: str = "."
    unpack: str | None = None
    top: str | None = None
    root_of: str | None = None
    only: bool = False
    unpacked: int | None = None

    @property
    def by_part(self):
        """Whether the source has files of its own for each part."""
        texts = [self.base, self.prefix, self.into, *(f["name"] for f in self.files)]
        return self.kind == "bucket" or any("{part}" in text for text in texts)


@dataclass(frozen=True)
class Entry:
    """One name of the catalogue; the fields as in ``catalogue.toml``."""

    name: str
    title: str
    licence: str
    licence_url: str
    asks: bool
    cite: tuple
    folder: str
    size: str
    automatic: str
    manual: str
    confirmed: tuple
    sources: tuple = ()
    use: str = ""
    part: str = "part"
    parts: tuple = ()
    part_example: str = ""

    def target(self, root=None):
        """Folder that it goes into, below a data root.

        Without a root weights go where they are looked for first, datasets to
        `paths.download_root`.
        """
        if root is not None:
            return Path(root).expanduser().absolute() / self.folder
        if self.folder == "checkpoints" and paths.data_is_simulated_default():
            return paths.checkpoint_folders()[0]
        return paths.download_root() / self.folder

    def chosen(self, parts):
        """The parts that a caller names, checked: all of them where none are named.

        Parameters
        ----------
        parts : str, list of str or None
            A text holds several with commas between them.

        Raises
        ------
        ValueError
            Names the part that is none, and those there are.
        """
        if isinstance(parts, str):
            parts = [part.strip() for part in parts.split(",") if part.strip()]
        if not parts:
            return list(self.parts)
        if not any(source.by_part for source in self.sources):
            if any(source.kind == "zenodo" for source in self.sources):
                return list(parts)
            raise ValueError(f"{self.name} has no parts; leave parts out.")
        if self.parts:
            for part in parts:
                if part not in self.parts:
                    near = get_close_matches(part, self.parts, n=1)
                    hint = f" Did you mean {near[0]}?" if near else ""
                    raise ValueError(
                        f"{self.name} has no {self.part} {part!r}.{hint} There are "
                        f"{', '.join(self.parts)}."
                    )
        levels = self.part_example.count("/")
        for part in parts:
            if part.count("/") != levels or not re.fullmatch(r"[\w+-]+(/[\w+-]+)*", part):
                raise ValueError(
                    f"the part {part!r} of {self.name} is not a {self.part}, such as "
                    f"{self.part_example or self.parts[0]}."
                )
        return list(dict.fromkeys(parts))


def read(file):
    """The entries of a catalogue in the format of ``catalogue.toml``, by name."""
    with open(file, "rb") as opened:
        content = tomllib.load(opened)
    return {name: _entry(name, values) for name, values in content.items()}


def _entry(name, values):
    sources = []
    for given in values.pop("sources", []):
        for key in ("files", "match", "endings"):
            given[key] = tuple(given.get(key, ()))
        sources.append(Source(**given))
    for key in ("cite", "parts", "confirmed"):
        values[key] = tuple(values.get(key, ()))
    return Entry(name=name, sources=tuple(sources), **values)


def row(entry):
    """The row of an entry in the book's table, see ``book/download.md``."""
    licence = f"[{entry.licence}]({entry.licence_url})"
    cells = [f"`{entry.name}`", entry.title, entry.size, licence, "; ".join(entry.cite)]
    return f"| {' | '.join([*cells, AUTOMATIC[entry.automatic]])} |"


@functools.cache
def entries():
    """The entries of the package's own catalogue, by name."""
    return read(FILE)


def find(name):
    """The entry of a name, in any case.

    Raises
    ------
    ValueError
        There is none; suggests the nearest and lists them.
    """
    known = {key.lower(): key for key in entries()}
    if str(name).lower() in known:
        return entries()[known[str(name).lower()]]
    near = get_close_matches(str(name).lower(), known, n=1, cutoff=0.4)
    hint = f" Did you mean {known[near[0]]}?" if near else ""
    raise ValueError(
        f"nothing is published under the name {name!r}; there are {', '.join(entries())}.{hint}"
    )
