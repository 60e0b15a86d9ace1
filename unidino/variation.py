"""What a column describes: rows, or the groups that rows belong to, such as wells."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from . import tables


@dataclass
class Variation:
    """Where a column has more than one value within a group of rows.

    Attributes
    ----------
    rows : list of int
        Number of the first row of every such group.
    of_rows : bool
        The column describes rows, not groups: it differs within most groups that have several rows,
        or is empty in most groups. Otherwise, and always if it is one of `tables.LABELS` or a dose,
        it is a label, and these groups are exceptions.
    """

    rows: list
    of_rows: bool


def variation(frame, keys, columns):
    """Which columns vary within groups of rows, such as the labels within wells.

    Parameters
    ----------
    frame : pd.DataFrame
    keys : list of str
        What names a group.
    columns : list of str
        What is looked at; a missing value is a value like others.

    Returns
    -------
    dict
        {column: Variation}, of those that vary.
    """
    members = tables.groups(frame, keys).values()
    group = np.empty(len(frame), int)
    for number, rows in enumerate(members):
        group[rows] = number
    first = np.array([rows[0] for rows in members])
    several = sum(len(rows) > 1 for rows in members)
    found = {}
    for column in columns:
        values = frame[column]
        if values.dtype == object:
            values = values.map(lambda v: str(v) if isinstance(v, list | tuple) else v)
        codes = pd.Series(pd.factorize(values)[0])
        lowest, highest = codes.groupby(group).min(), codes.groupby(group).max()
        varies = (lowest != highest).to_numpy()
        if not varies.any():
            continue
        present = codes[codes >= 0]
        distinct = present.groupby(group[present.index]).nunique()
        differs, filled = int((distinct > 1).sum()), len(distinct)
        of_rows = differs >= max(several / 2, min(several, 2)) or filled <= len(first) / 2
        of_rows &= str(column).lower() not in (*tables.LABELS, *tables.DOSES)
        found[column] = Variation(first[varies].tolist(), of_rows)
    return found
