"""Tables of profiles: those before normalisation against the sites, the others against those."""

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from .. import paths, profiles, quality, tables
from ..profiles.reference import listed
from .findings import RUN, Finding, damaged, otherwise, settings_of, sidecar_findings
from .site_tables import TILES

_ROWS = 2048
_COLUMNS = 64
_BUFFER = 2**16
# Means are summed in the order of the dataset's table, here in that of the files.
_RELATIVE, _ABSOLUTE = 1e-6, 1e-9


def profile_findings(found, recorded, before, total):
    """Findings on the tables of profiles, once the site tables are compared with them."""
    if not found.profiles:
        yield Finding("wrong", ".", "there are no profiles", RUN)
    compared = {one.table.file: one for one in before}
    for table in found.profiles:
        if table.damage:
            yield table.wrong(table.damage)
            continue
        if reason := _unreadable(table):
            yield table.wrong(reason)
            continue
        faults = _made_faults(table, found.folder, recorded, total)
        beside = paths.profiles_table(
            found.folder, table.made["valset"], "no_post_proc", _level(table)
        )
        if table.file in compared:
            faults += compared[table.file].finished(total)
        elif beside not in compared:
            faults.append(
                f"{beside.name}, the profiles before normalisation, is missing or damaged"
            )
        elif not compared[beside].faults:
            faults += _against(table, compared[beside].table)
        faults = faults or [*_copy_faults(table), *_correction_faults(table)]
        if faults:
            yield from (table.wrong(what) for what in faults)
            continue
        yield from sidecar_findings(table)
        rows = table.made["counts"].get("profiles")
        yield Finding("fine", table.name, f"{rows} profiles of {len(table.features)} features")


def _level(table):
    return "site" if table.file.stem.endswith("_site_features") else "well"


def _unreadable(table):
    """Why a table cannot be read whole, or None."""
    try:
        reader = pq.ParquetFile(table.file, page_checksum_verification=True)
        for start in range(0, len(table.columns), _COLUMNS):
            reader.read(columns=list(table.columns[start : start + _COLUMNS]))
    except Exception as error:  # whatever a decoder makes of damaged bytes
        return damaged(error)


def is_before(table, folder):
    """Whether profiles are those before normalisation, by name."""
    if table.damage:
        return False
    wanted = paths.profiles_table(folder, table.made["valset"], "no_post_proc", _level(table))
    return wanted == table.file


class _Rows:
    """The rows of a Parquet file in their order, some at a time."""

    def __init__(self, file, columns):
        reader = pq.ParquetFile(file, page_checksum_verification=True, buffer_size=_BUFFER)
        self._batches = reader.iter_batches(_ROWS, columns=list(columns))
        self._left = pd.DataFrame(columns=list(columns))

    def take(self, count):
        """The next rows, `count` of them or as many as are left."""
        parts, have = [self._left] if len(self._left) else [], len(self._left)
        while have < count and (batch := next(self._batches, None)) is not None:
            parts.append(batch.to_pandas())
            have += len(parts[-1])
        rows = pd.concat(parts, ignore_index=True) if parts else self._left
        self._left = rows.iloc[count:]
        return rows.iloc[:count].reset_index(drop=True)


class Before:
    """The profiles before normalisation, compared with one site table after another.

    Attributes
    ----------
    first : dict
        {plate key: its first row}, in the order of the rows.
    """

    def __init__(self, table):
        self.table, self.faults = table, []
        self.first, self._index, self._at = {}, {}, 0
        self._matched = 0
        names = _key_columns(table.columns)
        wells = [name for name in names if name.lower() not in ("metadata_site", "metadata_path")]
        self.by = wells if _level(table) == "well" else ["Metadata_path"]
        if not set(self.by) & set(names):
            self.faults.append(f"it lacks the key columns of a {_level(table)}")
            return
        try:
            keys = tables.read_table(table.file, names)
            keys.attrs = {}
            self._rows = _Rows(table.file, table.columns)
        except Exception as error:  # whatever a decoder makes of damaged bytes
            self.faults.append(damaged(error))
            return
        index = _keys(keys, self.by)
        self._index = {key: row for row, key in enumerate(index)}
        if len(self._index) < len(index):
            self.faults.append(f"{len(index) - len(self._index)} of its rows repeat another's keys")
        if plates := tables.plate_columns(keys):
            self.first = {key: rows[0] for key, rows in tables.groups(keys, plates).items()}

    def compare(self, table, frame):
        """Find whether the rows of a plate are what its sites make; after a fault, none further."""
        if self.faults:
            return
        if table.features != self.table.features:
            self.faults.append("its features are not those of the site tables")
            return
        lacking = [name for name in self.by if name not in frame]
        operation = self.table.made.get("operation")
        if lacking:
            self.faults.append(f"{table.name} lacks its key columns {', '.join(lacking)}")
            return
        names = [*self.by, "Metadata_status", *quality.columns(frame), *table.features]
        frame = frame[names]
        if _level(self.table) == "well":
            if operation not in profiles.OPERATIONS:
                self.faults.append(f"its provenance says operation {operation!r}")
                return
            frame = profiles.aggregate(frame, self.by, operation)
        if lacking := [name for name in frame.columns if name not in self.table.columns]:
            self.faults.append(f"it lacks the columns {', '.join(lacking)}")
            return
        keys = _keys(frame, self.by)
        lost = [key for key in keys if key not in self._index]
        if lost:
            self.faults.append(
                f"{len(lost)} profiles of {table.name} are missing, such as {listed(lost[:1])}"
            )
            return
        rows = np.array([self._index[key] for key in keys])
        if rows.min() < self._at or np.ptp(rows) + 1 != len(rows):
            self.faults.append(f"its rows of {table.name} do not stand together")
            return
        self._matched += len(rows)
        try:
            self._rows.take(rows.min() - self._at)
            stored = self._rows.take(len(rows))
        except Exception as error:  # whatever a decoder makes of damaged bytes
            self.faults.append(damaged(error))
            return
        self._at = rows.max() + 1
        frame = frame.iloc[np.argsort(rows)].reset_index(drop=True)
        self._compare_values(table, frame, stored)

    def _compare_values(self, table, frame, stored):
        """Find values that are not those of the sites; rows are in the same order."""
        words = ["Metadata_status"]
        numeric = [name for name in frame.columns if name not in (*self.by, *words)]
        ours, theirs = (f[numeric].to_numpy(float, na_value=np.nan) for f in (frame, stored))
        largest = np.nan_to_num(np.abs(ours)).max(axis=0, initial=0)
        with np.errstate(invalid="ignore"):
            differ = np.abs(ours - theirs) > _RELATIVE * np.abs(ours) + _ABSOLUTE * largest
        differ |= np.isfinite(ours) != np.isfinite(theirs)
        texts = frame[words].to_numpy(object) != stored[words].to_numpy(object)
        differ = np.concatenate([texts, differ], axis=1)
        if differ.any():
            row, column = np.argwhere(differ)[0]
            name = (words + numeric)[column]
            how = self.table.made.get("operation") if _level(self.table) == "well" else "value"
            key = listed([tuple(frame[self.by].iloc[row])])
            self.faults.append(
                f"{int(differ.sum())} values are not the {how} of the sites in {table.name}, such "
                f"as {name} of {key}: {stored[name].iat[row]}, not {frame[name].iat[row]}"
            )

    def finished(self, total):
        """The faults that the whole shows, too."""
        if self.faults or total.partial:
            return self.faults
        left = len(self._index) - self._matched
        if left:
            return [f"{left} of its {len(self._index)} rows are of no site there is"]
        return self.faults


def _keys(frame, names):
    """The keys of the rows, a list of tuples."""
    return list(frame[names].itertuples(index=False, name=None))


def _key_columns(columns):
    """Those columns that tell whose a row is, its path too."""
    frame = pd.DataFrame(columns=list(columns))
    return [*tables.key_columns(frame), *(["Metadata_path"] if "Metadata_path" in frame else [])]


def _made_faults(table, folder, recorded, total):
    """How what profiles say of their making is not what there is, a list of str."""
    made, faults = table.made, []
    if other := otherwise(settings_of(table), recorded):
        faults.append(f"it was made otherwise: {other}")
    method = made.get("norm_method")
    if made.get("correct", "none") != "none":
        method = f"{method}_{made['correct']}"
    wanted = paths.profiles_table(
        folder, made["valset"], method, _level(table), bool(made.get("l2norm"))
    )
    if wanted != table.file:
        faults.append(f"its provenance is that of {wanted.name}")
    if total.partial:
        return faults
    counts = {name: total.counts[name] for name in ("sites", *profiles.STATUSES, *TILES)}
    counts["profiles"] = pq.read_metadata(table.file).num_rows
    told = {name: made["counts"].get(name) for name in counts}
    if told != counts:
        faults.append(f"its provenance counts {told}, there are {counts}")
    elif made["images_sha256"] != total.images_sha256:
        faults.append("it was made of other images than the site tables")
    return faults


def _against(table, before):
    """How profiles after normalisation do not fit those before it, a list of str."""
    kept = [name for name in before.features if name in table.features]
    dropped = set(table.made.get("dropped_features") or ())
    if list(table.features) != kept or dropped != set(before.features) - set(kept):
        return [f"its features are not those of {before.name} less those that it says it dropped"]
    dead = table.made.get("dead_channels") or {}
    channels = np.array([tables.feature_channel(name) for name in kept])
    keys = _key_columns(table.columns)
    at = 0
    try:
        theirs, ours = _Rows(before.file, [*keys, *kept]), _Rows(table.file, table.columns)
        while True:
            was, now = theirs.take(_ROWS), ours.take(_ROWS)
            if len(was) != len(now) or not was[keys].equals(now[keys]):
                return [f"its rows are not those of {before.name}, from row {at + 1} on"]
            if not len(now):
                return []
            missing = np.isnan(was[kept].to_numpy(float))
            for key, rows in tables.groups(now, tables.plate_columns(now)).items():
                of_dead = np.isin(channels, dead.get(listed([key]), []))
                missing[np.ix_(rows, of_dead)] = True
            odd = ~np.isfinite(now[kept].to_numpy(float)) & ~missing
            if odd.any():
                row, column = np.argwhere(odd)[0]
                return [
                    f"{int(odd.sum())} values are not finite, such as {kept[column]} in row "
                    f"{at + row + 1}"
                ]
            at += len(now)
    except Exception as error:  # whatever a decoder makes of damaged bytes
        return [damaged(error)]


def _copy_faults(table):
    """How the copy as CSV, if there is one, is not the table."""
    file = table.file.with_suffix(".csv")
    if not file.exists():
        return
    features, at = list(table.features), 0
    try:
        rows = _Rows(table.file, table.columns)
        kinds = dict.fromkeys(table.columns, str) | dict.fromkeys(features, np.float32)
        for chunk in pd.read_csv(file, dtype=kinds, chunksize=_ROWS):
            held = rows.take(len(chunk))
            if tuple(chunk.columns) != table.columns or not np.array_equal(
                held[features].to_numpy(np.float32), chunk[features].to_numpy(), equal_nan=True
            ):
                yield f"{file.name} beside it says otherwise, from row {at + 1} on"
                return
            at += len(chunk)
        if len(rows.take(1)):
            yield f"{file.name} beside it ends after {at} rows"
    except Exception as error:  # whatever a decoder makes of damaged bytes
        yield f"{file.name} beside it: {damaged(error)}"


def _correction_faults(table):
    """How the fitted correction beside profiles is not there or not one."""
    if table.made.get("correct", "none") not in profiles.FITTED:
        return
    try:
        profiles.load_correction(paths.correction_file(table.file))
    except (OSError, ValueError) as error:
        yield f"its correction cannot be loaded: {' '.join(str(error).split())}"
