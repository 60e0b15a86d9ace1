"""Names of wells, which are written in many ways, in one spelling."""

import re

from . import tables

PARTS = r"([A-Z]{1,2})(0[1-9]|[1-9]\d+)"
"""Pattern of a well as `well_name` writes it: its row, and its column."""

ROW_NAMES = ("row", "wellrow", "platerow")
COLUMN_NAMES = ("col", "column", "wellcol", "wellcolumn", "platecol", "platecolumn")
"""What columns are called that hold a well's row or column, letters only."""

_WELL = re.compile(r"([A-Za-z]{1,2})[-_ :]?0*(\d+)")
_ROW_AND_COLUMN = re.compile(r"[Rr]0*(\d{1,2})[-_ ]?[Cc]0*(\d+)")


def well_name(values):
    """Wells in one spelling: A1, a01, A-01 and the Phenix's r01c01 become A01.

    Parameters
    ----------
    values : pd.Series

    Returns
    -------
    pd.Series
        Missing stays missing. A number loses leading zeros; what is neither letters and a number
        nor rows and columns stays as it is.
    """
    text = tables.text(values)
    named = text.map({well: _well(well) for well in text.dropna().unique()}).astype(object)
    return named.where(named.notna(), None)


def _well(well):
    position = _ROW_AND_COLUMN.fullmatch(well)
    if position:
        return (row_letters(int(position[1])) or f"r{position[1]}c") + position[2].zfill(2)
    position = _WELL.fullmatch(well)
    if position:
        return position[1].upper() + position[2].zfill(2)
    return str(int(well)) if well.isdecimal() else well


def row_letters(number):
    """Letters of a plate's row, counted from 1: A, B … Z, AA … AZ; None for others."""
    if not 1 <= number <= 52:
        return None
    return ("A" if number > 26 else "") + chr(65 + (number - 1) % 26)
