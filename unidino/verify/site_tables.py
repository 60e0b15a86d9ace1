"""Site tables: each by itself, against the others, and against the dataset."""

import hashlib
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from .. import paths, profiles, tables
from ..profiles.reference import listed
from .findings import (
    RUN,
    Finding,
    damaged,
    feature_names,
    otherwise,
    settings_of,
    sidecar_findings,
)

TILES = ("tiles", "tiles_kept")
_MEASURED = (
    *("Metadata_path", "Metadata_image_id", "Metadata_status"),
    *(tables.metadata_name(name) for name in TILES),
)


@dataclass
class Total:
    """What the site tables hold together.

    Attributes
    ----------
    counts : Counter
        Sites, those of each status, tiles and tiles kept.
    images_sha256 : str
        As in the provenance of profiles.
    partial : bool
        Tables are missing or damaged, so that nothing can be said of the whole.
    """

    counts: Counter = field(default_factory=Counter)
    images_sha256: str = ""
    partial: bool = False


def site_findings(found, recorded, origin, before, total):
    """Findings on the site tables, which are compared with the profiles on the way."""
    places = _places(found, origin, before)
    usual = _usual_columns(found)
    digest = hashlib.sha256()
    for table in _in_order(found.sites, before):
        faults, frame = _read(table)
        if frame is not None:
            faults += _site_faults(table, frame, usual, recorded)
            misplaced = _misplaced(table, places, found.folder)
            faults += misplaced
            if origin and not misplaced:
                faults += origin.faults(frame, table.plate)
        if faults:
            yield from (table.wrong(what) for what in faults)
            total.partial = True
            continue
        yield from sidecar_findings(table)
        statuses = frame["Metadata_status"].value_counts()
        told = ", ".join(f"{statuses[s]} {s}" for s in profiles.STATUSES if s in statuses)
        yield Finding(
            "fine", table.name, f"plate {' '.join(table.plate)}, {len(frame)} sites: {told}"
        )
        total.counts["sites"] += len(frame)
        total.counts.update({status: int(statuses.get(status, 0)) for status in profiles.STATUSES})
        for name in TILES:
            total.counts[name] += int(frame[f"Metadata_{name}"].sum())
        digest.update("".join(frame["Metadata_image_id"]).encode())
        for one in before:
            one.compare(table, frame)
    for key, file in places.items():
        if not file.exists():
            total.partial = True
            name = file.relative_to(found.folder).as_posix()
            yield Finding("wrong", name, f"the table of plate {' '.join(key)} is missing", RUN)
    if origin and not origin.has_plates and not total.partial:
        for what in origin.lacking():
            total.partial = True
            yield Finding("wrong", "sites", what, RUN)
    total.images_sha256 = digest.hexdigest()


def _usual_columns(found):
    """The columns of most site tables; of as many, those with the features of the profiles."""
    layouts = Counter(table.columns for table in found.sites if not table.damage)
    averaged = {table.features for table in found.profiles if not table.damage}
    return max(layouts, key=lambda c: (layouts[c], feature_names(c) in averaged), default=())


def _places(found, origin, before):
    """{plate key: file} of the plates that there should be."""
    if origin and origin.has_plates:
        keys = list(origin.plates)
    else:
        keys = [table.plate for table in found.sites if table.plate]
        for one in before:
            keys += one.first
    return paths.site_tables(found.folder, dict.fromkeys(keys))


def _in_order(site_tables, before):
    """Site tables in the order of their plates in the profiles, else by name."""
    first = next((one.first for one in before if one.first), {})

    def place(table):
        # Parts of a dataset without plates are numbered.
        return first.get(table.plate, np.inf), len(table.name), table.name

    return sorted(site_tables, key=place)


def _read(table):
    """(faults, the table or None)."""
    if table.damage:
        return [table.damage], None
    try:
        frame = tables.read_table(table.file)
        frame.attrs = {}  # copied by pandas with every column
    except Exception as error:  # whatever a decoder makes of damaged bytes
        return [damaged(error)], None
    lacking = [name for name in _MEASURED if name not in frame]
    if lacking or not table.features:
        return [f"it lacks the columns {', '.join(lacking) or 'of features'}"], None
    if not len(frame):
        return ["it has no rows"], None
    return [], frame


def _site_faults(table, frame, usual, recorded):
    """What is wrong with a site table by itself, a list of str."""
    made, faults = table.made, []
    if other := otherwise(settings_of(table), recorded):
        faults.append(f"it was made otherwise: {other}")
    if plates := tables.plate_columns(frame):
        others = [key for key in tables.groups(frame, plates) if key != table.plate]
        if others:
            faults.append(
                f"its provenance says plate {' '.join(table.plate)}, its rows hold {listed(others)}"
            )
    twice = frame["Metadata_path"].duplicated()
    if twice.any():
        such = frame["Metadata_path"][twice].iat[0]
        faults.append(f"{int(twice.sum())} sites are there twice, such as {such}")
    counts = frame["Metadata_status"].value_counts().to_dict()
    unknown = sorted(map(str, set(counts) - set(profiles.STATUSES)))
    if unknown:
        faults.append(f"Metadata_status holds {unknown[0]!r}")
    counts = {name: int(counts.get(name, 0)) for name in profiles.STATUSES}
    if {name: made["counts"].get(name) for name in counts} != counts:
        faults.append(f"its sites are {counts}, its provenance says {made['counts']}")
    ids = "".join(map(str, frame["Metadata_image_id"]))
    if hashlib.sha256(ids.encode()).hexdigest() != made["images_sha256"]:
        faults.append("its image ids are not those whose hash is in its provenance")
    if table.columns != usual:
        faults.append(f"its columns are not those of the other plates: {_which(table, usual)}")
    failed = (frame["Metadata_status"] == "failed").to_numpy()
    return faults + _value_faults(frame, table.features, failed)


def _which(table, usual):
    """Which columns of a table are not those of most, in words."""
    lacks = [name for name in usual if name not in set(table.columns)]
    adds = [name for name in table.columns if name not in set(usual)]
    told = [f"{len(lacks)} are missing, such as {lacks[0]}"] if lacks else []
    told += [f"{len(adds)} are added, such as {adds[0]}"] if adds else []
    return "; ".join(told) or "their order differs"


def _value_faults(frame, features, failed):
    """Which values are there or missing as they must not be, a list of str."""
    values = frame[list(features)]
    if any(kind.kind != "f" for kind in values.dtypes):
        return ["its features are not all real numbers"]
    values = values.to_numpy()
    faults = []
    for wrong, what in (
        (~np.isfinite(values) & ~failed[:, None], "are not finite though their sites were read"),
        (~np.isnan(values) & failed[:, None], "are there though their sites failed"),
    ):
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            faults.append(
                f"{int(wrong.sum())} values in {int(wrong.any(axis=1).sum())} rows {what}, such as "
                f"{features[column]} in row {row + 1}"
            )
    return faults


def _misplaced(table, places, folder):
    """Why a table does not belong under its name, a list of str."""
    if not table.plate:
        return ["its provenance says nothing of its plate"]
    words = " ".join(table.plate)
    if table.plate not in places:
        return [f"it holds plate {words}, which the dataset does not have"]
    if places[table.plate] != table.file:
        belongs = places[table.plate].relative_to(folder).as_posix()
        return [f"it holds plate {words}, whose table is {belongs}"]
    return []
