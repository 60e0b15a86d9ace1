"""What an extraction's folder holds of one plate."""

import datetime
import re
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from .. import paths, tables
from ..verify.contents import Contents, recorded_settings
from ..verify.profile_tables import is_before

LISTED = 20
"""Names that a message lists, at most."""


@dataclass(frozen=True)
class Plate:
    """A plate, or a whole dataset without plates, as an extraction left it.

    Attributes
    ----------
    folder : Path
        Of the extraction.
    key : tuple of str
        Of the plate; () where the dataset has no plates.
    sites : pd.DataFrame
        One row a site, failed ones too: what was measured, with the labels of its well.
    wells : pd.DataFrame
        The profiles before normalisation, one row a well (a site where there are no wells).
    profiles : pd.DataFrame
        Those after it; without rows where the plate could not be normalised.
    file : Path
        Table of `profiles`.
    others : list of str
        Names of further tables of normalised profiles in the folder.
    made : dict
        Provenance of `profiles`.
    measured : dict
        Provenance of the plate's site table.
    recorded : dict
        The settings that all plates share.
    extracted : (str, str)
        When, and how that is known.
    table : Path or None
        Its site table; None where the dataset has no plates.
    keys : list of tuple
        Of all plates of the extraction.
    """

    folder: Path
    key: tuple
    sites: pd.DataFrame
    wells: pd.DataFrame
    profiles: pd.DataFrame
    file: Path
    others: list
    made: dict
    measured: dict
    recorded: dict
    extracted: tuple
    table: object
    keys: list

    @property
    def dataset(self):
        return self.made["valset"]

    @property
    def name(self):
        """The plate in words."""
        return " ".join(self.key) if self.key else "all images"

    @property
    def output(self):
        """Where its report goes by default."""
        if not self.key:
            return paths.report_files(self.folder, [("dataset",)])["dataset",]
        return paths.report_files(self.folder, self.keys)[self.key]

    @property
    def by_well(self):
        """Whether a row of the profiles is a well."""
        return self.file.stem.endswith("_well_features")

    @property
    def unit(self):
        return "well" if self.by_well else "site"

    @property
    def model(self):
        return self.made["settings"]["model"]

    @property
    def simulated(self):
        return bool(self.made.get("simulated"))

    def without_place(self, text):
        """A message without the folders of the machine that it was made on: reports are mailed."""
        origin = str(self.recorded.get("origin") or "")
        for place in (origin.rpartition("/")[0], str(self.folder)):
            if len(place) > 1:
                text = text.replace(f"{place}/", "")
        return text

    @property
    def channels(self):
        return list(self.made["settings"]["channels"])


def _keys_of(contents):
    """{plate key: its site table}; () for every table of a dataset without plates."""
    found = {}
    for table in contents.sites:
        if table.damage:
            continue
        frame = pd.DataFrame(columns=list(table.columns))
        key = table.plate if tables.plate_columns(frame) else ()
        found.setdefault(key, []).append(table)
    return found


def read(folder, plate=None, profiles=None):
    """One plate of an extraction.

    Parameters
    ----------
    folder : str or Path
        <outdir>/<model>/<valset>.
    plate : str, optional
        Its name, or batch/plate where the name repeats; the only one by default.
    profiles : str, optional
        File name of the table of profiles; the normalised one that was written last by default.

    Returns
    -------
    Plate

    Raises
    ------
    FileNotFoundError, ValueError
        No such folder, nothing extracted in it, an unknown or ambiguous plate, a damaged table:
        says what there is and what to do.
    """
    contents = Contents(folder)
    folder = Path(folder)
    by_plate = _keys_of(contents)
    if not by_plate:
        raise ValueError(
            f"{folder} holds no readable site tables. {_advice(folder)}"
        )  # fmt: skip
    key = _chosen(folder, list(by_plate), plate)
    before, after, others = _tables_of(contents, folder, profiles)
    sites = pd.concat([_whole(table.file, folder) for table in by_plate[key]], ignore_index=True)
    wells, normalised = (_rows_of(table, key, folder) for table in (before, after))
    if not len(wells):
        raise ValueError(
            f"{before.file.name} holds no profiles of the plate {' '.join(key)}. Run the same "
            "extraction again: what is embedded stays."
        )
    sites = _labelled(sites, wells)
    recorded, _ = recorded_settings(folder)
    return Plate(
        folder=folder,
        key=key,
        sites=sites,
        wells=wells,
        profiles=normalised,
        file=after.file,
        others=others,
        made=after.made,
        measured=by_plate[key][0].made,
        recorded=recorded,
        extracted=_when(folder, by_plate[key][0].file),
        table=by_plate[key][0].file if key else None,
        keys=list(by_plate),
    )


def _advice(folder):
    return f"unidino verify {folder} says what is wrong with each file, and what to do."


def _chosen(folder, keys, plate):
    """The key that a name means."""
    words = ["/".join(key) for key in keys]
    named = f"{', '.join(words[:LISTED])}{f' … ({len(words)})' if len(words) > LISTED else ''}"
    if keys == [()]:
        if plate is None:
            return ()
        raise ValueError(
            f"the dataset in {folder} has no plates, so none is called {plate!r}. Leave plate out: "
            "the report is on all of it."
        )
    if plate is None:
        if len(keys) == 1:
            return keys[0]
        raise ValueError(
            f"{folder} holds {len(keys)} plates, a report is on one. Name it by plate: {named}."
        )
    found = [
        key for key in keys if plate in {"/".join(key[i:]) for i in range(len(key))}
    ]  # fmt: skip
    if len(found) == 1:
        return found[0]
    if found:
        several = ", ".join("/".join(key) for key in found)
        raise ValueError(
            f"{len(found)} plates in {folder} are called {plate!r}. Name one in full: {several}."
        )
    near = get_close_matches(plate, words, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"{folder} holds no plate {plate!r}.{hint} There are: {named}.")


def _tables_of(contents, folder, name):
    """(the table before normalisation, the one asked for, names of the others)."""
    whole = [table for table in contents.profiles if not table.damage]
    before = [table for table in whole if is_before(table, folder)]
    if not before:
        what = "damaged profiles" if contents.profiles else "no profiles"
        raise ValueError(
            f"{folder} holds {what} (a table …_no_post_proc_…_features.parquet is needed). Run the "
            f"same extraction again, without shard: what is embedded stays. {_advice(folder)}"
        )
    by_name = {table.file.name: table for table in whole}
    if name is not None:
        chosen = by_name.get(Path(name).name) or by_name.get(f"{Path(name).name}.parquet")
        if chosen is None:
            raise ValueError(
                f"profiles {name!r} is no whole table of profiles in {folder}; there are: "
                f"{', '.join(by_name)}."
            )
    else:
        normalised = [table for table in whole if table not in before] or before
        chosen = max(normalised, key=lambda t: (t.file.stat().st_mtime_ns, t.file.name))
    level = chosen.file.stem.rsplit("_", 2)[1]
    own = [t for t in before if t.file.stem.rsplit("_", 2)[1] == level]
    if not own:
        raise ValueError(
            f"{chosen.file.name} stands without the profiles before normalisation, "
            f"…_no_post_proc_{level}_features.parquet. Run the same extraction again."
        )
    others = [n for n, table in by_name.items() if table not in (own[0], chosen)]
    return own[0], chosen, others


def _whole(file, folder):
    try:
        frame = tables.read_table(file)
    except (ValueError, OSError) as error:
        raise ValueError(f"{error} {_advice(folder)}") from None
    frame.attrs = {}  # copied by pandas with every column
    return frame


def _rows_of(table, key, folder):
    """The rows of a plate, read without the others."""
    if not key:
        return _whole(table.file, folder)
    names = tables.plate_columns(pd.DataFrame(columns=list(table.columns)))
    try:
        keys = tables.read_table(table.file, names)
        mine = tables.groups(keys, names).get(key, np.empty(0, int))
        reader, parts, start = pq.ParquetFile(table.file, page_checksum_verification=True), [], 0
        for batch in reader.iter_batches(4096):
            here = mine[(mine >= start) & (mine < start + len(batch))] - start
            if len(here) or not parts:
                parts.append(batch.take(pa.array(here)))
            start += len(batch)
        frame = pa.Table.from_batches(parts, reader.schema_arrow).to_pandas()
    except (ValueError, OSError, pa.ArrowException) as error:
        reason = str(error).split("\n")[0]
        raise ValueError(f"{table.file} cannot be read ({reason}). {_advice(folder)}") from None
    frame.attrs = {}
    return tables.keys_as_text(frame).reset_index(drop=True)


def _labelled(sites, wells):
    """The sites with those columns of their wells that they lack."""
    keys = tables.key_columns(sites, tables.WELL_KEY)
    if not tables.key_columns(sites, ["well"]) or wells.duplicated(keys).any():
        keys = ["Metadata_path"]
    added = [
        name
        for name in tables.metadata_columns(wells)
        if name not in sites and not re.match("Metadata_(sites|row$)", name)
    ]
    return sites.merge(wells[[*keys, *added]], how="left", on=keys, validate="many_to_one")


def _when(folder, file):
    """When a plate was extracted, from the log of the run, else from its file."""
    log = paths.log_file(folder)
    if log.is_file():
        dated = re.findall(r"(?m)^(\d{4}-\d\d-\d\d \d\d:\d\d):\d\d ", log.read_text())
        if dated:
            return dated[-1], "the end of the log"
    at = datetime.datetime.fromtimestamp(file.stat().st_mtime, datetime.UTC)
    return f"{at:%Y-%m-%d %H:%M} UTC", "the date of the site table"
