"""Which profiles a normalisation rests on, and whether they are enough: told before any image."""

import numpy as np

from .. import quality, queries, tables

LEAST_REFERENCE = 4
"""Reference wells on a plate below which its spread cannot be estimated at all."""

FEW_REFERENCE = 16
"""Reference wells below which a standard deviation is uncertain by more than a sixth."""

SPARSE = 0.25
"""A profile with less than this part of the median foreground is of a sparse field.

Foregrounds of healthy control wells differ by a few tenths; without cells a well embeds its own
background, which is far from all others and widens the spread of every feature.
"""

LEAST_FOREGROUND = 0.01
"""The median is that of the reference profiles that show at least this much, for it must hold where
most controls are empty. Where none does, as with a reporter that only hits light up, a still
smaller foreground says nothing."""

SHOWN = 10
"""Plates or wells that a warning names before it says how many more there are."""

_MEANT = "all profiles"
_UNNAMED = "all profiles (the dataset names no controls)"
ALL = (_MEANT, _UNNAMED)
"""A reference of all profiles in words: asked for, or because no controls are named."""

_UNNAMED_NOTE = (
    "the dataset names no controls, so the reference of a plate is all of its profiles, treatments "
    "included. Name them by a column control_type or by controls, or set reference='all' if that "
    "is meant."
)


def plates_of(profiles, by=None):
    """{key of a plate: its rows}; one group where there are none.

    Parameters
    ----------
    profiles : pd.DataFrame
    by : list of str, optional
        Columns that name a plate; source, batch and plate by default, as far as there are.
    """
    if by is None:
        by = tables.plate_columns(profiles)
    return tables.groups(profiles, [tables.find_column(profiles, name) for name in by])


def listed(keys):
    """Keys of plates or wells in words, the first ten of them."""
    shown = ", ".join(" ".join(map(str, key)) or "the set" for key in keys[:SHOWN])
    return shown + (f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else "")


def reference_rows(profiles, reference):
    """Which profiles a fit rests on.

    Parameters
    ----------
    profiles : pd.DataFrame
    reference : str
        "negcon", "all" or a query, see `queries.rows`.

    Returns
    -------
    (numpy.ndarray of bool, str)
        The rows, and what they are in words.

    Raises
    ------
    ValueError
        Neither of these (`queries.UnknownColumn` where the query names no column of the table), or
        a query that matches nothing.
    """
    if reference == "all":
        return np.ones(len(profiles), bool), _MEANT
    if reference == "negcon":
        control_type = tables.key_columns(profiles, ["control_type"])
        rows = (
            (profiles[control_type[0]] == "negcon").to_numpy(bool, copy=True)
            if control_type
            else np.zeros(0, bool)
        )
        if not rows.any():
            return np.ones(len(profiles), bool), _UNNAMED
        return rows, "negative controls"
    try:
        rows = queries.rows(profiles, reference)
    except ValueError as error:
        told = f"reference {reference!r} is neither negcon, all nor a query on the profiles"
        error.args = (f"{told} ({error}).",)
        raise
    if not rows.any():
        raise ValueError(
            f"reference {reference!r} matches no profile: "
            f"{queries.values_named(profiles, reference)} Correct the query, or use 'all'."
        )
    return rows, f"profiles where {reference}"


def sparse_reference(profiles, plates, rows):
    """Reference profiles of next to no cells: a foreground far below that of their plate's others.

    Parameters
    ----------
    profiles : pd.DataFrame
        With ``Metadata_foreground``, and ``Metadata_status`` where there is any; without
        foreground no profile is sparse.
    plates : dict
        From `plates_of`.
    rows : numpy.ndarray of bool
        The reference.

    Returns
    -------
    (numpy.ndarray of bool, list of str)
        The rows to leave out, where at least `LEAST_REFERENCE` others of their plate remain: those
        of status empty, and those below `SPARSE` times the median of the others that show any
        foreground. Warnings on these, and on those that stay.
    """
    if "Metadata_foreground" not in quality.columns(profiles):
        return np.zeros(len(profiles), bool), []
    foreground = profiles["Metadata_foreground"].to_numpy(float)
    empty, lit = np.zeros(len(profiles), bool), np.ones(len(profiles), bool)
    if "Metadata_status" in profiles.columns:
        empty, lit = ((profiles["Metadata_status"] == s).to_numpy(bool) for s in ("empty", "ok"))
    below, by_status = np.zeros((2, len(profiles)), bool)  # the latter foreground does not tell
    for members in plates.values():
        if lit.any() and not lit[members].any():
            continue  # nothing of this plate will be normalised, see `defects.EMPTY`
        measured = members[rows[members] & np.isfinite(foreground[members])]
        shown = foreground[measured[~empty[measured]]]
        shown = shown[shown >= LEAST_FOREGROUND]
        least = SPARSE * np.median(shown) if len(shown) else 0
        below[measured] = foreground[measured] < least
        by_status[measured] = empty[measured] & ~below[measured]

    def words(which):
        status = "status empty, or " if (which & by_status).any() else ""
        return (
            f"show next to no cells ({status}foreground below {SPARSE:.0%} of the median of their "
            "plate's reference)"
        )

    measured = rows & np.isfinite(foreground)
    return leave_out(profiles, plates, rows, measured, below | by_status, words)


def leave_out(profiles, plates, rows, readable, unfit, words):
    """Leave unfit profiles out of the reference of the plates where enough others remain.

    Parameters
    ----------
    profiles : pd.DataFrame
    plates : dict
        From `plates_of`.
    rows : numpy.ndarray of bool
        The reference.
    readable, unfit : numpy.ndarray of bool
        Those of the reference that were read; those of them that are unfit.
    words : callable
        What is wrong with some rows (bool), in words.

    Returns
    -------
    (numpy.ndarray of bool, list of str)
        The rows to leave out, where at least `LEAST_REFERENCE` others of their plate remain.
        Warnings on these, and on those that stay.
    """
    out, stay = np.zeros((2, len(profiles)), bool)
    for members in plates.values():
        remain = (readable & ~unfit)[members].sum() >= LEAST_REFERENCE
        (out if remain else stay)[members] = unfit[members]
    fates = {
        "are left out of the reference": out,
        f"stay in it, since fewer than {LEAST_REFERENCE} others would remain": stay,
    }
    return out, [
        f"{int(which.sum())} of {int(rows.sum())} reference profiles {words(which)} and {fate}: "
        f"{listed(keys_of(profiles, which))}."
        for fate, which in fates.items()
        if which.any()
    ]


def keys_of(profiles, rows):
    """What some profiles are called, as tuples: plate and well; site where wells repeat; or row."""
    names = tables.key_columns(profiles, tables.WELL_KEY)
    if not names or profiles.duplicated(names).any():
        names = tables.key_columns(profiles)
    if not names:
        return [("row", i) for i in np.flatnonzero(rows)]
    return list(profiles.loc[rows, names].itertuples(index=False, name=None))


def choose(profiles, reference, plates, norm_method):
    """The reference, once every plate has enough of it (all plates together, for spherize).

    Returns
    -------
    (numpy.ndarray of bool, str, list of str)
        As of `reference_rows`, and warnings.

    Raises
    ------
    ValueError
        As `reference_rows`; fewer than `LEAST_REFERENCE` on a plate: names these plates.
    """
    rows, words = reference_rows(profiles, reference)
    counts = _counts(rows, plates, norm_method)
    lacking = [key for key, count in counts.items() if count < LEAST_REFERENCE]
    if lacking:
        shown = listed([(*(key or ("the set",)), f"({counts[key]})") for key in lacking])
        raise ValueError(
            f"{len(lacking)} of {len(counts)} plates have fewer than {LEAST_REFERENCE} reference "
            f"profiles ({words}): {shown}. {remedy(words)}"
        )
    return rows, words, [_UNNAMED_NOTE] if words == _UNNAMED else []


def _counts(rows, plates, norm_method):
    if norm_method == "spherize":
        return {(): int(rows.sum())}
    return {key: int(rows[members].sum()) for key, members in plates.items()}


def remedy(words):
    """What to do about too small a reference."""
    if words in ALL:
        return "Normalise more profiles at once, or use norm_method='no_post_proc'."
    return (
        "Name more controls (control_type, controls), use reference='all', or "
        "norm_method='no_post_proc'."
    )


def few_reference(counts, words):
    """A warning in a list where plates have few reference profiles; an empty list else."""
    few = [count for count in counts.values() if count < FEW_REFERENCE]
    if not few:
        return []
    return [
        f"{len(few)} of {len(counts)} plates have fewer than {FEW_REFERENCE} reference profiles "
        f"({words}; the fewest: {min(few)}), so the spread of a feature is uncertain by about "
        f"{1 / np.sqrt(2 * (min(few) - 1)):.0%}."
    ]


def check_whitening(count, features, words):
    """Stop where whitening would have more features than profiles to be fitted on.

    Raises
    ------
    ValueError
    """
    if count <= features:
        raise ValueError(
            f"spherize needs more reference profiles ({words}: {count}) than features "
            f"({features}); with fewer, everything else looks active. Use reference='all', or "
            "norm_method='standardize'."
        )


def check_reference(
    wells, norm_method="standardize", reference="negcon", *, by=None, features=0, readable=None
):
    """Whether `normalise` will have enough reference wells, before a single image is read.

    Parameters
    ----------
    wells : pd.DataFrame
        One row a well, features not needed.
    norm_method, reference, by
        As for `normalise`.
    features : int
        How many there will be.
    readable : numpy.ndarray of bool, optional
        Wells that are not lost already; all of them by default.

    Returns
    -------
    list of str
        Warnings.

    Raises
    ------
    ValueError
        Those of `normalise` that metadata alone, and the wells that are lost, can tell.
    """
    if norm_method == "no_post_proc":
        return []
    wells = wells.reset_index(drop=True)
    plates = plates_of(wells, by)
    rows, words, notes = choose(wells, reference, plates, norm_method)
    counts = _counts(rows if readable is None else rows & readable, plates, norm_method)
    if norm_method == "spherize":
        check_whitening(counts[()], features, words)
    enough = {key: count for key, count in counts.items() if count >= LEAST_REFERENCE}
    if len(enough) < len(counts):
        lacking = [key for key in counts if key not in enough]
        text = (
            f"{len(lacking)} of {len(counts)} plates have fewer than {LEAST_REFERENCE} reference "
            f"profiles ({words}) of which a site can be read: {listed(lacking)}"
        )
        if not enough:
            raise ValueError(f"{text}. {remedy(words)}")
        notes.append(f"{text}; they will stay missing in the normalised table.")
    return notes + few_reference(enough, words)
