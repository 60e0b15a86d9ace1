"""What is in the wells: plate maps of treatments, and which wells are controls."""

from pathlib import Path

from .. import tables
from ..controls import mark_controls
from ..progress import say
from ..wells import well_name
from .columns import bare_names, check_wells, control_kinds, name_wells


def with_treatments(metadata, frame, platemap, controls):
    """The rows of a dataset with the columns of its plate map, and with its controls named.

    Parameters
    ----------
    metadata : Metadata
        Takes notes of what readers must know of the controls.
    frame : pd.DataFrame
    platemap : str or Path or None
        See `join_platemap`.
    controls : str or None
        See `controls.mark_controls`.

    Returns
    -------
    pd.DataFrame

    Raises
    ------
    FileNotFoundError, ValueError
        A plate map that does not fit; no query on these columns.
    """
    if platemap is not None:
        frame = join_platemap(frame, platemap)
    frame, note = control_kinds(frame)
    if controls is not None:
        return mark_controls(frame, controls, metadata.valset, metadata.note, platemap is None)
    if note:
        metadata.note(note)
    return frame


def join_platemap(frame, platemap):
    """Add the columns of a plate map to the rows of its wells.

    Parameters
    ----------
    frame : pd.DataFrame
        With ``well``, and ``plate`` where the map has plates.
    platemap : str or Path
        Table with ``well`` and treatments; ``plate`` where layouts differ between plates.

    Returns
    -------
    pd.DataFrame

    Raises
    ------
    ValueError
        No ``well`` column, a well listed twice, columns on both sides, rows without a match.
    """
    name = Path(platemap).name
    try:
        layout, _ = name_wells(tables.read_csv(platemap, bare_names))
    except FileNotFoundError:
        raise FileNotFoundError(
            f"no plate map at {platemap}. Give the path of a CSV with one row a well, or leave "
            "platemap out."
        ) from None
    except ValueError as error:
        told = str(error)
        raise ValueError(f"plate map {'' if name in told else f'{name}: '}{told}") from None
    for table, what in ((layout, f"plate map {name}"), (frame, "the table")):
        if "well" not in table.columns:
            raise ValueError(
                f"{what} has no column well, on which plate maps are joined; it has "
                f"{', '.join(map(str, table.columns))}."
            )
    keys = [key for key in tables.WELL_KEY if key in layout.columns]
    for key in keys:
        if key not in frame.columns:
            raise ValueError(f"plate map {name} has a column {key}, the table has none. Add it.")
        absent = layout[key].isna()
        if absent.any():
            raise ValueError(
                f"plate map {name} has no {key} in row {int(absent.to_numpy().argmax()) + 1} "
                f"({int(absent.sum())} such rows). Fill it in, or remove the row."
            )
    layout = layout.assign(well=well_name(layout["well"]))
    try:
        odd = check_wells(layout["well"])
    except ValueError as error:
        raise ValueError(f"plate map {name}: {error}") from None
    if odd:
        say(f"plate map {name}: {odd}")
    twice = layout.duplicated(keys)
    if twice.any():
        first = layout.loc[twice, keys].iloc[0].tolist()
        raise ValueError(
            f"plate map {name} lists {' '.join(map(str, first))} twice. Keep one row a well."
        )
    both = [c for c in layout.columns if c in frame.columns and c not in keys]
    if both:
        raise ValueError(
            f"the columns {', '.join(both)} are in the table and in plate map {name}. Keep one."
        )
    for key in keys[:-1]:
        _check_names_alike(key, frame[key], layout[key], name)
    joined = frame.merge(layout, how="left", on=keys, indicator="_match")
    lost = joined["_match"] != "both"
    if lost.any():
        wells = joined.loc[lost, keys].drop_duplicates()
        shown = "; ".join(" ".join(map(str, row)) for row in wells.head(3).to_numpy())
        raise ValueError(
            f"plate map {name} has no match for {len(wells)} of the table's wells, the first are "
            f"{shown}. It lists {len(layout)}, such as "
            f"{' '.join(map(str, layout[keys].iloc[0]))}. Add the missing wells."
        )
    return joined.drop(columns="_match")


def _check_names_alike(key, values, listed, name):
    """Stop where plates of the table are not in the plate map: they may be named otherwise."""
    there, known = tables.text(values).dropna().unique(), tables.text(listed).unique()
    absent = [value for value in there if value not in set(known)]
    if not absent:
        return
    others = [value for value in known if value not in set(there)] or list(known)

    def shown(values):
        return ", ".join(values[:3]) + (" …" if len(values) > 3 else "")

    if len(absent) == len(there):
        raise ValueError(
            f"plate map {name} and the table name no {key} alike: {shown(others)} in the map, "
            f"{shown(absent)} in the table. Write each {key} the same in both."
        )
    raise ValueError(
        f"plate map {name} has no {key} {shown(absent)} of the table; it has {shown(others)}. "
        f"Write each {key} the same in both, or add the missing rows."
    )
