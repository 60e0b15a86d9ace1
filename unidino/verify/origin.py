"""The dataset that an extraction is of, as far as it is still there."""

from pathlib import Path

import numpy as np

from .. import identity, tables, valsets
from ..progress import one_line
from .findings import Finding


class Origin:
    """The dataset that an extraction is of, as it is now.

    Attributes
    ----------
    has_plates : bool
        Else site tables are parts of the whole.
    plates : dict
        {plate key: row numbers}.
    seen : numpy.ndarray
        (N,) bool, rows that a site table holds.
    """

    def __init__(self, metadata):
        self.metadata = metadata
        self.has_plates = bool(metadata.plate_columns)
        self.plates = metadata.plates()
        self.seen = np.zeros(len(metadata.metadata), bool)
        self._everything = None

    def _places(self, key):
        """{file: row}, each site by any of its files: the first one follows the channels asked."""
        if not self.has_plates and self._everything is not None:
            return self._everything
        rows = self.plates[key if self.has_plates else ()]
        names = identity.relative_paths(self.metadata, rows)
        places = {file: row for row, files in zip(rows, names, strict=True) for file in files}
        if not self.has_plates:
            self._everything = places
        return places

    def rows(self, stored, key):
        """Row of each site of a stored plate.

        Parameters
        ----------
        stored : pd.Series
            Its paths, as the table has them.
        key : tuple of str
            Of the plate.

        Returns
        -------
        pd.Series
            Row numbers, missing where the dataset has no such site.
        """
        places = self._places(key)
        if stored.iat[0] not in places and self._find_root(key, stored.iat[0]):
            self._everything = None
            places = self._places(key)
        return stored.map(places.get)

    def faults(self, frame, key):
        """How the sites of a stored plate are not those of the dataset, in words."""
        stored = frame["Metadata_path"]
        rows = self.rows(stored, key)
        lost = stored[rows.isna()]
        if len(lost):
            yield f"{len(lost)} of {len(frame)} sites are not in the dataset, such as {lost.iat[0]}"
        rows = rows.dropna().astype(int)
        self.seen[rows] = True
        if self.has_plates:
            yield from self._lacking(self.plates[key])
        for name in self.metadata.key_columns:
            column = tables.metadata_name(name)
            if column not in frame:
                yield f"it lacks the column {column}"
                continue
            now = self.metadata.metadata[name].to_numpy(object)[rows]
            other = np.flatnonzero(frame[column].to_numpy(object)[rows.index] != now)
            if len(other):
                was = frame[column].iat[rows.index[other[0]]]
                yield (
                    f"{column} of {len(other)} sites is not the dataset's, such as {was!r} where "
                    f"that has {now[other[0]]!r}"
                )

    def _lacking(self, rows):
        absent = rows[~self.seen[rows]]
        if len(absent):
            such = identity.relative_paths(self.metadata, absent[:1])[0][0]
            yield f"{len(absent)} of the dataset's {len(rows)} sites are missing, such as {such}"

    def lacking(self):
        """Sites of a dataset without plates that no table holds, in words."""
        yield from self._lacking(np.arange(len(self.seen)))

    def _find_root(self, key, name):
        """Whether the files lay below another folder when they were embedded: found by a name."""
        for row in self.plates[key if self.has_plates else ()]:
            for file in self.metadata.paths(row):
                if file.endswith(f"/{name}"):
                    self.metadata.root = file.removesuffix(f"/{name}")
                    return True
        return False


_READ = ("channel_axis", "plane", "timepoint", "resolution_level")


def opened(recorded, root=None):
    """(an `Origin` or None, notes on why there is none); `root`, where its images lie now."""
    origin, valset = recorded.get("origin"), recorded.get("valset")
    if not isinstance(origin, str) or not Path(origin).exists():
        what = f"its dataset, {origin}, is not there" if origin else "its dataset is not recorded"
        return None, [Finding("note", ".", f"{what}: sites are not compared with it")]
    try:
        if valset in valsets.VALSETS and Path(origin).is_dir():
            metadata = valsets.open_valset(valset, root=root or origin, check_files=False)
        else:
            how = {name: recorded[name] for name in _READ if recorded.get(name) is not None}
            how |= dict(recorded.get("opened_with") or {})
            metadata = valsets.open_valset(origin, root=root, check_files=False, **how)
    except (ValueError, TypeError, OSError) as error:
        reason = " ".join(one_line(error).split()).removesuffix(".")
        what = f"its dataset, {origin}, cannot be opened: sites are not compared with it ({reason})"
        return None, [Finding("note", ".", what)]
    return Origin(metadata), []
