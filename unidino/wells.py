"""Names of wells, which are written in many ways, in one spelling."""

import re

import numpy as np
import pandas as pd

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


PLATES = ((4, 6), (8, 12), (16, 24), (32, 48))
"""Rows and columns of the usual plates: 24, 96, 384 and 1536 wells."""


def positions(names):
    """Row, column and edge of wells.

    Parameters
    ----------
    names : pd.Series
        Such as A01.

    Returns
    -------
    pd.DataFrame
        ``row`` and ``column`` (int, from 1) and ``edge`` (bool): the outermost rows and columns of
        the smallest of `PLATES` that holds all. Index of the names.

    Raises
    ------
    ValueError
        A well that is not a row's letters and a column's number.
    """
    parts = well_name(names).astype(str).str.extract(f"^{PARTS}$")
    lost = np.flatnonzero(parts.isna().any(axis=1))
    if len(lost):
        raise ValueError(
            f"{len(lost)} wells are no position on a plate, the first is {names.iloc[lost[0]]!r} "
            f"in row {lost[0]}; expected names such as A01."
        )
    number = {row_letters(i): i for i in range(1, 53)}
    row, column = parts[0].map(number).to_numpy(), parts[1].astype(int).to_numpy()
    furthest = (row.max(initial=1), column.max(initial=1))
    rows, columns = next(
        (size for size in PLATES if furthest[0] <= size[0] and furthest[1] <= size[1]), furthest
    )
    edge = np.isin(row, (1, rows)) | np.isin(column, (1, columns))
    return pd.DataFrame({"row": row, "column": column, "edge": edge}, index=names.index)


def row_letters(number):
    """Letters of a plate's row, counted from 1: A, B … Z, AA … AZ; None for others."""
    if not 1 <= number <= 52:
        return None
    return ("A" if number > 26 else "") + chr(65 + (number - 1) % 26)
