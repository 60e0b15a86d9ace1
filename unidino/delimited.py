"""Delimited text as spreadsheets and instruments write it: the dialect found, cells kept as text.

A table of text says nothing about types, and guessing them loses names: plate 007, batch 1E05, the
gene NA. So cells are read as text, and a column becomes numbers only where nothing is lost by it.
"""

import codecs
import csv
import gzip
import io
import re
import zlib
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

MOST_COLUMNS = 10_000
"""Columns of a table of text that is read cell by cell; tables of features may have more."""

SEPARATORS = (",", ";", "\t", "|")

_SAMPLE_ROWS = 200
_LONGEST_LINE = 4_000_000
_BLOCK = 1000
# That of pandas 3, which pandas 2 knows, too: it takes less memory than Python's strings.
_TEXT = pd.StringDtype("pyarrow", na_value=np.nan)
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_PLAIN = re.compile(_NUMBER)
_COMMA = re.compile(r"[+-]?(?:\d+,\d*|,\d+)(?:[eE][+-]?\d+)?")
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(?:,\d{3})+")
# Numbers by their letters, names by their use: 007, 1E05, and digits beyond what a float holds.
_NAME = re.compile(r"[+-]?0\d.*|\d+[eE]\d+|[+-]?\d{16,}")
_NO_NUMBER = ("na", "nan", "null")
# How a number can begin: with a digit of any script, behind a sign and a decimal mark.
_NUMBER_BEGINS = r"^[+-]?[.,]?[^\x00-/:-\x7f]"
_TRUTH = {"true": True, "false": False}
_EXCEL = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")


@dataclass
class Dialect:
    """How a file of text holds its table.

    Attributes
    ----------
    encoding : str
    separator : str
    skipped : int
        Lines before the header: blank ones, and a ``sep=`` of Excel.
    names : list of str
        The header, stripped, without the empty names at its end.
    """

    encoding: str
    separator: str
    skipped: int
    names: list


def find_dialect(path):
    """The encoding, separator and header of a file.

    The separator is the one that cuts the first rows into as many cells as the header.

    Raises
    ------
    ValueError
        A workbook, bytes that are no text, no header, a column named twice.
    """
    path = Path(path)
    encoding = _encoding(path)
    with _opened(path, encoding) as file:
        lines = list(islice(_lines(file), _SAMPLE_ROWS))
    skipped = next((i for i, line in enumerate(lines) if line.strip(" \t,;|\r\n")), None)
    if skipped is None:
        raise ValueError("it is empty; expected a header and rows.")
    candidates = SEPARATORS
    told = re.fullmatch(r'"?sep=(.|\\t)"?[,;\s]*', lines[skipped].rstrip("\r\n"), re.IGNORECASE)
    if told:
        candidates = (told[1].replace("\\t", "\t"),)
        skipped += 1
        if skipped == len(lines):
            raise ValueError("it is empty; expected a header and rows.")
    fits = {separator: _fit(lines[skipped:], separator) for separator in candidates}
    several = {separator: fit for separator, fit in fits.items() if fit[-1] > 1}
    # A header of one cell over rows of several is no header: left to be refused with its line.
    separator = max(several, key=several.get) if several else min(fits, key=fits.get)
    header = next(csv.reader(lines[skipped:], delimiter=separator, skipinitialspace=True))
    names = _without_end([_clean(name) for name in header])
    repeated = pd.Series([name for name in names if name]).loc[lambda name: name.duplicated()]
    if len(repeated):
        raise ValueError(f"it has the column {repeated.iat[0]} twice. Rename or remove one.")
    return Dialect(encoding, separator, skipped, names)


def _fit(lines, separator):
    """(share of rows with at most, and with just, as many cells as the header, their number)."""
    try:
        rows = csv.reader(lines, delimiter=separator, skipinitialspace=True)
        cells = [len(_without_end(row)) for row in rows]
    except csv.Error:
        return 0.0, 0.0, 0
    header, *body = cells
    body = [count for count in body if count] or [header]
    return (
        sum(count <= header for count in body) / len(body),
        sum(count == header for count in body) / len(body),
        header,
    )


def read(path):
    """A file of delimited text as a frame of text.

    Parameters
    ----------
    path : str or Path
        May be compressed (gzip).

    Returns
    -------
    (pd.DataFrame, Dialect)
        Cells are stripped, empty ones missing. Blank rows, surplus separators at the end of rows,
        and a first column without a name that numbers the rows are left out.

    Raises
    ------
    ValueError
        Names the line: more cells than the header has, a header that is repeated, a quotation mark
        that is not closed; too many columns, cells without a column's name.
    """
    path = Path(path)
    dialect = find_dialect(path)
    names = dialect.names
    if len(names) > MOST_COLUMNS:
        raise ValueError(f"it has {len(names)} columns; at most {MOST_COLUMNS} are read.")
    # A text in Arrow's memory takes its letters, as a Python object 50 bytes more: rows are kept as
    # columns of the former, block by block.
    rows, blocks = [], []
    with _opened(path, dialect.encoding) as file:
        lines = _lines(file)
        for _ in range(dialect.skipped):
            next(lines)
        reader = csv.reader(lines, delimiter=dialect.separator, skipinitialspace=True, strict=True)
        try:
            next(reader)
            for row in reader:
                # Most rows are neither short nor long, nor can they be the header.
                whole = len(row) == len(names) and row[-1].strip() and names[0] not in row[0]
                cells = row if whole else _cells(row, dialect, reader.line_num)
                if not cells:
                    continue
                rows.append(cells)
                if len(rows) == _BLOCK:
                    blocks.append(_as_columns(rows))
                    rows = []
        except csv.Error as error:
            raise ValueError(f"line {reader.line_num + dialect.skipped}: {error}.") from None
    if rows:
        blocks.append(_as_columns(rows))
    if not blocks:
        raise ValueError("it has no rows below its header.")
    frame = {}
    for position, name in enumerate(names):
        values = _as_series(pa.chunked_array([block[position] for block in blocks]))
        for block in blocks:
            block[position] = None
        if name:
            frame[name] = values
        else:
            _check_nameless(position, values.dropna().tolist(), len(values))
    return pd.DataFrame(frame), dialect


def _cells(row, dialect, line):
    """As many cells as the header has, of a row that ends early, late or in blanks; or none."""
    cells, names = _without_end([cell.strip() for cell in row]), dialect.names
    line += dialect.skipped
    if len(cells) > len(names):
        raise ValueError(
            f"line {line} has {len(cells)} cells, the header {len(names)}: "
            f"{cells[len(names)]!r} has no column. {_too_many_cells(dialect)}"
        )
    if cells == names:
        raise ValueError(f"line {line} repeats the header: join tables without their headers.")
    return cells and cells + [""] * (len(names) - len(cells))


def _as_columns(rows):
    """Columns of stripped text, missing where nothing is left."""
    blank, missing = (pa.scalar(value, pa.large_string()) for value in ("", None))
    columns = (pa.array(cells, blank.type) for cells in zip(*rows, strict=True))
    columns = (pc.utf8_trim_whitespace(cells) for cells in columns)
    return [pc.if_else(pc.equal(cells, blank), missing, cells) for cells in columns]


def _as_series(cells):
    """A column of text; of None where all is missing, as pandas makes it of a list."""
    if cells.null_count == len(cells):
        return pd.Series([None] * len(cells), dtype=object)
    # One piece: rows are taken from it without a look at all pieces.
    return pd.Series(cells.combine_chunks(), dtype=_TEXT)


def _too_many_cells(dialect):
    """What to do about a row with more cells than the header."""
    if len(dialect.names) == 1 or dialect.names[0].startswith("#"):
        return (
            f"The header is read from line {dialect.skipped + 1}, {dialect.names[0]!r}: if that is "
            "a title or comment, remove the lines above the names of the columns."
        )
    return (
        f"Put a value that contains {dialect.separator!r} in quotation marks, or complete the "
        "header."
    )


def _check_nameless(position, present, count):
    """A column without a name may be empty, or number the rows at their beginning."""
    numbers = position == 0 and len(set(present)) == count
    if present and not (numbers and all(value.isdecimal() for value in present)):
        raise ValueError(
            f"column {position + 1} has values ({present[0]!r} …) but no name. Name or remove it."
        )


def typed(values, decimal_comma=False):
    """A column of text as numbers or truth values, where every entry is one; else as it is.

    Parameters
    ----------
    values : pd.Series
        Text; missing where a cell is empty.
    decimal_comma : bool
        A comma in a number is a decimal comma. Otherwise it is one only where it cannot separate
        thousands.

    Returns
    -------
    pd.Series
        int64, float64 (NA, nan and null are missing), bool, or text. Names written in digits, 007
        or 1E05, stay text.
    """
    first = values.first_valid_index()
    if is_words(values) and first is not None and values[first].lower() not in _TRUTH:
        return as_text(values)
    distinct = _distinct(values)
    entries = _numbers_or_text(distinct)
    if entries and all(value.lower() in _TRUTH for value in distinct):
        given = [_TRUTH[v.lower()] if isinstance(v, str) else None for v in values.tolist()]
        kind = object if values.isna().any() else bool
        return pd.Series(given, index=values.index, name=values.name, dtype=kind)
    commas = [value for value in entries if "," in value]
    ambiguous = commas and not _are_decimals(commas, decimal_comma)
    if not entries or ambiguous or not all(map(_is_number, entries)):
        return as_text(values)
    whole = not commas and all(value.lstrip("+-").isdecimal() for value in entries)
    if whole and len(entries) == len(distinct) and not values.isna().any():
        return values.map({value: int(value) for value in entries}).astype(np.int64)
    numbers = {value: float(value.replace(",", ".")) for value in entries}
    return values.map(numbers).astype(float)


def as_text(values):
    """A column of text in pandas' type of text; a column of None alone stays."""
    if values.dtype != object:
        return values
    return pd.Series(values.tolist(), index=values.index, name=values.name)


def is_words(values):
    """Whether no entry of a column of text can be a number; found without Python's rows.

    Such a column has neither a decimal mark nor an `obstacle`.
    """
    cells = pa.array(values, pa.large_string(), from_pandas=True)
    return not pc.any(pc.match_substring_regex(cells, _NUMBER_BEGINS)).as_py()


def _distinct(values):
    """The distinct entries of a column of text."""
    return values.dropna().unique().tolist()


def _numbers_or_text(distinct):
    """Entries without those that stand for a missing number."""
    return [value for value in distinct if value.lower() not in _NO_NUMBER]


def _entries(values):
    """The distinct entries of a column of text, without those that stand for a missing number."""
    return _numbers_or_text(_distinct(values))


def _is_number(entry):
    plain = _PLAIN.fullmatch(entry) or _COMMA.fullmatch(entry)
    return bool(plain) and not _NAME.fullmatch(entry)


def _are_decimals(commas, decimal_comma):
    """Whether the commas in these numbers of a column are decimal commas."""
    return decimal_comma or not all(_THOUSANDS.fullmatch(value) for value in commas)


def check_decimal_mark(frame, decimal_comma=False):
    """Stop where some numbers of a table have a decimal comma and others a point.

    Where 0,5 shows that the comma is the decimal mark, the point of 1.250 separates thousands in
    all likelihood, also in another column.

    Parameters
    ----------
    frame : pd.DataFrame
        Columns of text, without those of names.
    decimal_comma : bool
        See `typed`.

    Raises
    ------
    ValueError
        Names the columns and an entry of each.
    """
    comma = point = None
    for name in frame.columns:
        entries = _entries(frame[name])
        numbers = [value for value in entries if _is_number(value)]
        # A dash among decimal commas makes text of them, and they show the mark all the same.
        if 2 * len(numbers) <= len(entries):
            continue
        commas = [value for value in numbers if "," in value]
        points = [value for value in numbers if "." in value and len(numbers) == len(entries)]
        if commas and points:
            raise ValueError(
                f"the column {name} has numbers with a decimal comma ({commas[0]}) and with a "
                f"point ({points[0]}). Write one of them."
            )
        if commas and _are_decimals(commas, decimal_comma):
            comma = comma or (name, commas[0])
        elif points:
            point = point or (name, points[0])
    if comma and point:
        raise ValueError(
            f"the column {comma[0]} has numbers with a decimal comma ({comma[1]}) and the column "
            f"{point[0]} with a point ({point[1]}). Write one of them in the whole table, and "
            "thousands without a mark."
        )


def obstacle(values, decimal_comma=False):
    """What keeps a column of text that is mostly numbers from being one of numbers.

    Parameters
    ----------
    values : pd.Series
        Text; missing where a cell is empty.
    decimal_comma : bool
        See `typed`.

    Returns
    -------
    numpy.ndarray of bool, shape (rows,)
        The rows of these entries; none where the column is not mostly numbers, by its rows or by
        its distinct entries.
    """
    entries = _entries(values)
    others = [value for value in entries if not _is_number(value)]
    if not others:
        commas = [value for value in entries if "," in value]
        others = commas if commas and not _are_decimals(commas, decimal_comma) else []
        return values.isin(others).to_numpy()
    found, filled = values.isin(others).to_numpy(), values.isin(entries).to_numpy()
    if 2 * len(others) < len(entries) or 2 * found.sum() < filled.sum():
        return found
    return np.zeros(len(values), bool)


def _without_end(cells):
    """Cells without the empty ones at the end."""
    while cells and not (cells[-1] and cells[-1].strip()):
        cells.pop()
    return cells


def _clean(name):
    return name.strip().strip("\ufeff\u200b").strip()


def _encoding(path):
    """UTF-8 or UTF-16, by the first bytes."""
    try:
        with _bytes(path) as file:
            start = file.read(4)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"it cannot be read ({error}).") from None
    if start in _EXCEL:
        raise ValueError("it is a workbook, not text. Save it as CSV (UTF-8).")
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if len(start) > 1 and not (start[0] and start[1]):
        return "utf-16-be" if start[1] else "utf-16-le"
    return "utf-8-sig"


def _bytes(path):
    with open(path, "rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path) if compressed else open(path, "rb")


def _opened(path, encoding):
    return io.TextIOWrapper(_bytes(path), encoding=encoding)


def _undecodable(file):
    """The ValueError that names the first byte, by its line, that is no text of its encoding.

    The file's own error knows its place in a block only.
    """
    end = file.buffer.tell()
    file.buffer.seek(0)
    data = file.buffer.read(end)
    try:
        data.decode(file.encoding)
        byte, before = data[-1], data[:-1]  # the file ends within a letter
    except UnicodeDecodeError as error:
        byte, before = data[error.start], data[: error.start]
    text = before.decode(file.encoding, errors="ignore")
    line = len(re.findall("\r\n|\r|\n", text)) + 1
    return ValueError(
        f"byte 0x{byte:02x} in line {line} is no {file.encoding.removesuffix('-sig')} text. Save "
        "the table as CSV UTF-8."
    )


def _lines(file):
    """The lines of an open file; errors of its bytes name the line."""
    number = 0
    while True:
        number += 1
        try:
            line = file.readline(_LONGEST_LINE)
        except UnicodeDecodeError:
            raise _undecodable(file) from None
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"it cannot be read ({error}).") from None
        if not line:
            return
        if "\0" in line:
            raise ValueError(f"line {number} holds a zero byte: it is no text.")
        if len(line) == _LONGEST_LINE:
            raise ValueError(f"line {number} is longer than {_LONGEST_LINE} characters.")
        yield line
