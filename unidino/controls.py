"""Which rows are controls: their kinds, and the query that names the negative ones."""

import numpy as np

from . import queries, tables
from .progress import say

CONTROL_TYPES = ("negcon", "poscon", "empty")
"""What ``control_type`` holds; missing for treatments."""


def _blank_controls(frame, controls):
    """Says in which rows a query matches a blank, such as ``compound != 'taxol'`` does."""
    rows = queries.by_blanks(frame, controls)
    for column in queries.columns_named(frame, controls):
        found = np.flatnonzero(rows & frame[column].isna().to_numpy())
        if not len(found):
            continue
        keys = [name for name in tables.WELL_KEY if name in frame.columns]
        unit = "wells" if "well" in keys else "rows"
        names = [" ".join(str(frame[key].iat[i]) for key in keys) for i in found]
        names = list(dict.fromkeys(names)) if "well" in keys else [str(i + 1) for i in found]
        written = column if str(column).isidentifier() else f"`{column}`"
        yield (
            f"controls match {len(names)} {unit} whose {column} is blank, and they count as "
            f"negative controls: {', '.join(names[:3])}{' …' if len(names) > 3 else ''}. Where "
            f"they are none, add: and {written}.notna()"
        )


def _spellings(frame, controls, rows):
    """Says which labels a query leaves out that differ in case or blanks from one it matches."""
    for column in queries.columns_named(frame, controls):
        is_text = frame[column].map(lambda v: isinstance(v, str)).to_numpy(bool)
        labels, matched = frame[column][is_text], frame[column][is_text & rows]
        folded = {" ".join(label.split()).casefold(): label for label in matched.unique()}
        for label, count in labels.value_counts().items():
            meant = folded.get(" ".join(label.split()).casefold())
            if meant is not None and not (matched == label).any():
                yield (
                    f"controls match the {column} {meant!r}, not {label!r} ({count} rows). Where "
                    "they are the same, write them alike"
                )


def mark_controls(frame, controls, valset, note=None, bare=False):
    """Set ``control_type`` to negcon where a query holds.

    Parameters
    ----------
    frame : pd.DataFrame
        Bare column names.
    controls : str
        See `queries.rows`.
    valset : str
    note : callable, optional
        Takes what readers of the results must know of the controls; by default it is said.
    bare : bool
        No plate map was joined, though one can be: an unknown column may be one of its.

    Raises
    ------
    ValueError
        No query on these columns, or one that no row fulfils; lists the values that there are.
    """
    known = frame.drop(columns=[*tables.FILE_COLUMNS], errors="ignore")
    try:
        rows = queries.rows(known, controls)
    except ValueError as error:
        unknown = bare and isinstance(error, queries.UnknownColumn)
        raise ValueError(
            f"controls {controls!r} is no query on {valset} ({error}); its columns are "
            f"{', '.join(map(str, known.columns))}."
            f"{' What is in the wells can come from a CSV given as platemap.' if unknown else ''}"
        ) from None
    if not rows.any():
        raise ValueError(
            f"controls {controls!r} matches no row of {valset}: "
            f"{queries.values_named(known, controls)}"
        )
    for text in queries.unmatched(known, controls):
        say(f"warning: controls: no row of {valset} has {text}")
    for message in [*_blank_controls(known, controls), *_spellings(known, controls, rows)]:
        note(message) if note else say(f"{valset}: {message}")
    marked = frame.copy()
    if "control_type" not in marked.columns:
        marked["control_type"] = None
    kinds = marked["control_type"].astype(object)
    others = kinds[rows][kinds[rows].notna() & (kinds[rows] != "negcon")]
    if len(others):
        say(
            f"warning: controls match {len(others)} rows of {valset} whose control_type is "
            f"{', '.join(sorted(set(others)))}; they count as negative controls"
        )
    # The query decides alone which wells are negative controls; other kinds stay.
    marked["control_type"] = kinds.where(kinds.notna() & (kinds != "negcon"), None)
    marked.loc[rows, "control_type"] = "negcon"
    return marked
