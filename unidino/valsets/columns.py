"""The columns of a stranger's table by the names used here: keys, wells, kinds of control."""

import re

import numpy as np
import pandas as pd

from .. import tables, wells
from ..controls import CONTROL_TYPES
from ..variation import variation

# What other software calls a key, letters and digits only; the likeliest first.
_SYNONYMS = {
    "plate": ("plateid", "platename", "platebarcode", "assayplatebarcode", "barcode",
              "platenumber"),
    "well": ("wellid", "wellname", "wellposition", "welladdress", "wellnumber", "wellcoord"),
    "site": ("siteid", "field", "fieldid", "fieldindex", "fieldofview", "fov", "fovid"),
    "batch": ("batchid", "batchname"),
    "source": ("sourceid",),
    "channel": ("channelname", "channelid", "channelnumber", "wavelength"),
}  # fmt: skip
_IMAGE_PREFIX = re.compile(r"Image_(?=(Metadata|FileName|PathName|URL)_)")
# What tells the rows of a well apart that are no fields of one plate and channel.
_PLATES = re.compile(r".*(plate|barcode).*")
_NO_FIELDS = re.compile(
    r"(z|t|plane|slice|time|timepoint|zplane|zslice|zstack|timeid|timeindex)(id|index|number)?"
    r"|(channel|dye|stain|wavelength|filter|fluorophore|marker).*"
    r"|(batch|run|date|day|experiment|screen|replicate|donor|passage)(id|name|number)?"
)
_MOST_COLUMNS = 999
_MONTH = (
    r"(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|mär|mrz|mai|okt|dez"
    r"|janv|févr|mars|avr|juin|juil|août|sept|déc)\.?"
)
# 02-Jan, 2. Jan 24, Jan-02, 2024-01-02, 01/02/2024: as spreadsheets write dates.
_DATE = re.compile(
    rf"\d{{1,2}}[-./ ]+{_MONTH}([-./ ]+\d{{2,4}})?|{_MONTH}[-./ ]+\d{{1,4}}"
    r"|(19|20)\d{2}-\d{1,2}-\d{1,2}([ T][\d:.]+)?"
    r"|\d{1,2}(?P<mark>[./-])\d{1,2}(?P=mark)(19|20)\d{2}",
    re.IGNORECASE,
)
_TREATMENTS = ("trt", "treatment", "na", "nan", "null", "none")


def letters_of(name):
    """A column's name without what is written in many ways: case, blanks, underscores, hyphens."""
    return re.sub(r"[\s_\-.]", "", str(name)).lower()


def bare_names(frame):
    """The table with bare names: no ``Metadata_`` or ``Image_``, the keys in lower case.

    Other software's names of the keys are translated where the table has no column of the name
    used here, ``Plate_DAPI`` beside ``FileName_DAPI`` among them.

    Raises
    ------
    ValueError
        Two columns that differ in their prefix or case only.
    """
    names = {}
    for column in frame.columns:
        name = _IMAGE_PREFIX.sub("", str(column).strip()).removeprefix("Metadata_")
        if name.lower() in (*tables.KEYS, "path", "channel", "control_type", "simulated"):
            name = name.lower()
        names[column] = name
    folded = pd.Series([name.lower() for name in names.values()])
    if folded.duplicated().any():
        name = list(names.values())[int(folded.duplicated().to_numpy().argmax())]
        raise ValueError(
            f"has the column {name} twice (with and without Metadata_, or in another case). "
            "Remove one."
        )
    stains = {name.partition("_")[2] for name in names.values() if name.startswith("FileName_")}
    for key, synonyms in _SYNONYMS.items():
        if key in names.values():
            continue
        meant = [*synonyms, *(letters_of(f"{key}{stain}") for stain in sorted(stains))]
        found = {letters_of(name): column for column, name in reversed(names.items())}
        column = next((found[name] for name in meant if name in found), None)
        if column is not None:
            names[column] = key
    return frame.rename(columns=names)


def name_wells(frame):
    """The table with a column ``well``, from a row and a column of the plate where it has none.

    Rows are letters or count from 1, as in ``Row`` 2, ``Col`` 3: B03. Beside a column ``well`` that
    says the same both are left out.

    Returns
    -------
    (pd.DataFrame, str or None)
        And what was done, in words.

    Raises
    ------
    ValueError
        A row or column that no plate has, or another than the well's.
    """
    pair = [
        next((column for column in frame.columns if letters_of(column) in names), None)
        for names in (wells.ROW_NAMES, wells.COLUMN_NAMES)
    ]
    if "well" in frame.columns:
        return _beside_wells(frame, *pair), None
    if None in pair:
        return frame, None
    rows, columns = _row_letters(frame[pair[0]]), _column_numbers(frame[pair[1]])
    right = rows.notna() & columns.notna()
    if not right.all():
        first = int((~right).to_numpy().argmax())
        raise ValueError(
            f"row {first + 1} has {pair[0]} {frame[pair[0]].iat[first]} and {pair[1]} "
            f"{frame[pair[1]].iat[first]}, which name no well: rows are letters or count from 1, "
            "columns count from 1. Correct them, or name the wells in a column well."
        )
    named = frame.drop(columns=pair)
    named.insert(0, "well", (rows + columns).astype(object))
    return named, f"wells are named by the columns {pair[0]} and {pair[1]}"


def _beside_wells(frame, row, column):
    """The table without the columns of rows and columns that say the same as its wells.

    A column counts whose entries are rows or columns of plates throughout; one alone stays.
    """
    if row is None and column is None:
        return frame
    parts = wells.well_name(frame["well"]).astype("string").str.extract(wells.PARTS)
    given = {row: _row_letters, column: _column_numbers}
    given = {name: read(frame[name]) for name, read in given.items() if name is not None}
    known = {
        name: said
        for name, said in given.items()
        if said.notna().any() and (said.notna() == tables.text(frame[name]).notna()).all()
    }
    wrong = np.zeros(len(frame), bool)
    for name, said in known.items():
        meant = parts[0 if name == row else 1]
        wrong |= (said.notna() & meant.notna() & (said != meant)).to_numpy(bool, na_value=False)
    if wrong.any():
        i = int(wrong.argmax())
        told = " and ".join(f"{name} {tables.text(frame[name]).iat[i]}" for name in known)
        raise ValueError(
            f"row {i + 1}: well {frame['well'].iat[i]}, but {told} ({int(wrong.sum())} such rows). "
            "Correct one of them. A column that is no row or column of the plate needs another "
            "name."
        )
    both = len(known) == 2 and parts.notna().all(axis=None)
    return frame.drop(columns=list(known)) if both else frame


def check_wells(names):
    """What is odd about the names of wells, in words, or None.

    Parameters
    ----------
    names : pd.Series
        As `wells.well_name` writes them.

    Raises
    ------
    ValueError
        A date, which a spreadsheet made of a well.
    """
    written = names.dropna().unique()
    dates = [name for name in written if _DATE.fullmatch(name)]
    if dates:
        row = int((names == dates[0]).to_numpy().argmax()) + 1
        raise ValueError(
            f"row {row}: well {dates[0]} is a date, which Excel makes of wells such as 1-2 "
            f"({int(names.isin(dates).sum())} such rows). Write the well again, such as A01, in a "
            "column formatted as text."
        )
    odd = [name for name in written if not re.fullmatch(wells.PARTS, name)]
    if not odd or 2 * len(odd) >= len(written):
        return None
    return (
        f"{len(odd)} of {len(written)} names of wells are not written as the others: "
        f"{', '.join(odd[:3])}{' …' if len(odd) > 3 else ''}. They count as wells of these names"
    )


def _row_letters(rows):
    """Rows of plates as letters: 1 and a are A; None for what is no row."""

    def letters(row):
        if re.fullmatch(r"[A-Za-z]{1,2}", row):
            return row.upper()
        return wells.row_letters(int(row)) if row.isdecimal() else None

    return tables.text(rows).map(letters, na_action="ignore").astype("string")


def _column_numbers(columns):
    """Columns of plates as in the names of wells: 1 is 01; None for what is no column."""
    numbers = pd.to_numeric(tables.text(columns), errors="coerce")
    right = (numbers >= 1) & (numbers % 1 == 0) & (numbers <= _MOST_COLUMNS)
    return numbers.where(right).astype("Int64").astype("string").str.zfill(2)


def number_sites(frame):
    """The table with a column ``site``, counted within a well where it has none.

    Raises
    ------
    ValueError
        The rows of a well differ in a plate's name that is not called plate, or, where they would
        be counted, in depth, time, channel or experiment; names the column.
    """
    if "well" not in frame.columns:
        return frame
    keys = [name for name in tables.WELL_KEY if name in frame.columns]
    number = frame.groupby(keys, dropna=False, sort=False).cumcount() + 1
    if number.max() == 1:
        return frame
    known = (*tables.KEYS, *tables.FILE_COLUMNS)
    others = [column for column in frame.columns if column not in known]
    for column, found in variation(frame, keys, others).items():
        name = letters_of(column)
        row = found.rows[0]
        well = " ".join(str(frame[key].iat[row]) for key in keys)
        if _PLATES.fullmatch(name):
            raise ValueError(
                f"the rows of well {well} differ in {column}. If it names plates, call it plate; "
                "otherwise leave it out."
            )
        if "site" not in frame.columns and _NO_FIELDS.fullmatch(name):
            raise ValueError(
                f"the rows of well {well} differ in {column}, and no column names their site. If "
                f"they are fields, number them in a column site; otherwise keep one {column}, or "
                "tell the rows apart by a column channel, plate or batch."
            )
    return frame if "site" in frame.columns else frame.assign(site=number.astype(str))


def control_kinds(frame):
    """The table with ``control_type`` in the words used here, and a note or None.

    ``poscon_diverse`` and other ``poscon_…`` of JUMP-CP are positive controls, ``trt`` is a
    treatment, missing here. Without a column control_type, pert_type is read in its place. A word
    that is not known stays, for `Metadata.validate` to name.
    """
    given = next((n for n in ("control_type", "pert_type") if n in frame.columns), None)
    if given is None:
        return frame, None
    kinds = tables.text(frame[given]).map(_kind, na_action="ignore").astype(object)
    kinds = kinds.where(kinds.notna(), None)
    if given == "pert_type":
        unknown = [kind for kind in kinds.dropna().unique() if kind not in CONTROL_TYPES]
        if unknown:
            return frame, (
                f"the column pert_type holds {', '.join(map(repr, unknown[:3]))}, so it names no "
                "controls; name them by controls or a column control_type"
            )
    return frame.assign(control_type=kinds), None


def _kind(word):
    lower = word.lower()
    if lower in _TREATMENTS:
        return None
    if lower in CONTROL_TYPES:
        return lower
    return "poscon" if lower.startswith("poscon_") else word
