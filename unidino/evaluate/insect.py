"""The questions that the insect set answers: modes of action of insecticides in Sf9 cells."""

import re

import pandas as pd

from .. import tables
from .neighbours import Rule
from .protocol import Protocol

COMPOUND = "perturbation_id"

ANNOTATION = "Metadata_annotation"
"""Column of `annotated`: the mode of action, complexes of the respiratory chain as one."""

MERGED = "Mitochondrial complex I-III inhibitor"

_COMPLEX = re.compile(r"\bcomplex (I|II|III)\b")

RULES = (
    Rule("NSC", "treatment", ANNOTATION, (COMPOUND,), by=COMPOUND),
    Rule("NSC", "well", ANNOTATION, (COMPOUND,), by=COMPOUND),
    Rule("NSCP", "well", ANNOTATION, (COMPOUND, "plate"), by=COMPOUND),
    Rule("NSPW", "well", COMPOUND, ("plate", "well"), by=COMPOUND),
)
"""NSCP bars neighbours of the same compound and of the same plate."""


def annotated(profiles):
    """Profiles with the column `ANNOTATION`: inhibitors of complexes I, II and III are one.

    Parameters
    ----------
    profiles : pd.DataFrame
        With MoA, bare or with ``Metadata_``.

    Returns
    -------
    pd.DataFrame
    """
    names = profiles[tables.find_column(profiles, "MoA")]
    merged = names.map(lambda n: MERGED if isinstance(n, str) and _COMPLEX.search(n) else n)
    return profiles.assign(**{ANNOTATION: merged})


def concentrations(profiles, least_cells=0.5):
    """The highest concentration of each compound that leaves cells.

    Parameters
    ----------
    profiles : pd.DataFrame
        Well profiles of all doses and controls, with ``Metadata_objects`` (of an extraction) or
        cell_count (of the dataset).
    least_cells : float
        Mean count of a dose's wells, as a share of that of the negative controls.

    Returns
    -------
    pd.DataFrame
        One row a compound, in the order of first appearance: perturbation_id, concentration,
        cells (share of the controls' count), said (where no dose leaves that many: the lowest is
        taken).

    Raises
    ------
    ValueError
        No control, no count, a share that is not above 0.
    """
    if not least_cells > 0:
        raise ValueError(f"least_cells is {least_cells}; it is a share of the controls', above 0.")
    compound, dose, control = (
        profiles[tables.find_column(profiles, name)]
        for name in (COMPOUND, "concentration", "control_type")
    )
    counted = [
        c for c in ("Metadata_objects", "Metadata_cell_count", "cell_count") if c in profiles
    ]
    if not counted:
        raise ValueError("no column Metadata_objects or cell_count: which dose leaves cells?")
    counts = pd.to_numeric(profiles[counted[0]])
    negative = counts[control == "negcon"].mean()
    if not negative > 0:
        raise ValueError("no negative control has cells: nothing to compare the doses with.")
    frame = pd.DataFrame(
        {COMPOUND: compound, "concentration": pd.to_numeric(dose), "cells": counts / negative}
    )[control.isna()]
    means = frame.groupby([COMPOUND, "concentration"], sort=False)["cells"].mean().reset_index()
    rows = []
    for name, doses in means.groupby(COMPOUND, sort=False):
        alive = doses[doses["cells"] >= least_cells]
        chosen = alive.loc[alive["concentration"].idxmax()] if len(alive) else (
            doses.loc[doses["concentration"].idxmin()]
        )  # fmt: skip
        said = "" if len(alive) else "no dose leaves that many cells: the lowest"
        rows.append((name, chosen["concentration"], chosen["cells"], said))
    return pd.DataFrame(rows, columns=[COMPOUND, "concentration", "cells", "said"])


def protocol(selected):
    """How the insect set is scored, at selected concentrations.

    Parameters
    ----------
    selected : pd.DataFrame
        perturbation_id and concentration, such as of `concentrations`.

    Returns
    -------
    Protocol
        Its ``select`` takes well profiles and keeps treated, readable wells of these doses.
    """
    pairs = set(
        zip(selected[COMPOUND].astype(str), selected["concentration"].astype(float), strict=True)
    )

    def select(profiles):
        wells = annotated(profiles)
        compound = wells[tables.find_column(wells, COMPOUND)].astype(str)
        dose = pd.to_numeric(wells[tables.find_column(wells, "concentration")]).astype(float)
        kept = pd.Series(
            [pair in pairs for pair in zip(compound, dose, strict=True)], index=wells.index
        )
        kept &= wells[tables.find_column(wells, "control_type")].isna()
        kept &= wells[ANNOTATION].notna()
        kept &= wells[tables.feature_columns(wells)].notna().all(axis=1)
        if not kept.any():
            first = selected[[COMPOUND, "concentration"]].to_dict("records")[:3]
            raise ValueError(
                "no well is left: none of the selected compounds and concentrations is in the "
                f"profiles. The first selected: {first}."
            )
        return wells[kept].reset_index(drop=True)

    return Protocol(RULES, {"treatment": (COMPOUND, "concentration")}, select, classes=ANNOTATION)
