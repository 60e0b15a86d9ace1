"""What is finished of a plate that is being embedded: stretches of its sites, beside its table."""

import hashlib
import json
import zipfile

import numpy as np

from . import paths, tables
from .progress import say


def identity(*content):
    """SHA-256 of everything that the parts of a plate must agree in, JSON-serialisable."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


class PlateParts:
    """The parts of one plate; a part is a file of sites that follow each other.

    Parameters
    ----------
    file : Path
        The plate's table.
    identity : str
        From `identity`; parts that have another are of other images or settings, and are deleted.
    sites : int
        Of the plate.
    """

    def __init__(self, file, identity, sites):
        self.file = file
        self.folder = paths.parts_folder(file)
        self.identity = identity
        self.sites = sites
        self.held = {}
        """{(start, stop): (what was measured, features)} of what is embedded."""

    def read(self):
        """Take up what earlier runs left."""
        for path in sorted(self.folder.glob("*.npz")):
            start, stop = map(int, path.stem.split("-"))
            content = self._content(path, stop - start)
            overlaps = any(start < b and a < stop for a, b in self.held)
            if content is None or overlaps or stop > self.sites:
                path.unlink(missing_ok=True)
            else:
                self.held[start, stop] = content

    def _content(self, path, count):
        """(measured, features) of a part; None where it is damaged or of something else."""
        try:
            with np.load(path, allow_pickle=False) as part:
                known = bytes(part["identity"]).decode()
                measured = json.loads(bytes(part["measured"]))
                features = part["features"]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            say(
                f"warning: {path} is damaged ({type(error).__name__}); its sites are embedded again"
            )
            return None
        fits = known == self.identity and len(measured) == len(features) == count
        return (measured, features) if fits else None

    def gaps(self, start, stop):
        """Stretches between two sites that are still to be embedded: (first, end) pairs."""
        found = []
        for a, b in sorted(self.held):
            if b <= start or a >= stop:
                continue
            if start < a:
                found.append((start, a))
            start = b
        return [*found, (start, stop)] if start < stop else found

    def hold(self, start, measured, features, store):
        """Take sites that are embedded.

        Parameters
        ----------
        start : int
            The first of them.
        measured : list of dict
            Numbers, text and None.
        features : numpy.ndarray
            (n, D) float32.
        store : bool
            Whether a killed run shall find them.
        """
        stop = start + len(measured)
        self.held[start, stop] = measured, features
        if store:
            with tables.atomic_path(self.folder / f"{start:08d}-{stop:08d}.npz") as temporary:
                with open(temporary, "wb") as file:
                    np.savez(
                        file,
                        identity=_as_bytes(self.identity),
                        measured=_as_bytes(json.dumps(measured)),
                        features=features,
                    )

    def joined(self):
        """All sites in their order: (measured, features)."""
        parts = [self.held[key] for key in sorted(self.held)]
        measured = [row for rows, _ in parts for row in rows]
        return measured, np.concatenate([features for _, features in parts])

    def remove(self):
        """Delete the parts, once they are in the plate's table."""
        for path in self.folder.glob("*.npz"):
            path.unlink(missing_ok=True)
        if self.folder.is_dir():
            self.folder.rmdir()


def _as_bytes(text):
    return np.frombuffer(text.encode(), np.uint8)
