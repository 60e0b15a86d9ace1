"""What JUMP-CP Target-2 is asked: targets, and compounds across batches and sources."""

import numpy as np
import pandas as pd

from .. import arguments, tables
from . import neighbours, questions
from .neighbours import Rule
from .protocol import Protocol

COMPOUND, TARGET = "perturbation_id", "target"

LEVELS = {
    "compound": (COMPOUND,),
    "compound in a batch": (COMPOUND, "source", "batch"),
}

RULES = (
    Rule("NSC", "compound", TARGET, (COMPOUND,), by=COMPOUND),
    Rule("NSC", "compound in a batch", TARGET, (COMPOUND,), by=COMPOUND),
    Rule("NSCB", "compound in a batch", TARGET, (COMPOUND, "batch"), by=COMPOUND),
    Rule("NSB", "well", COMPOUND, ("batch",), by=COMPOUND),
    Rule("NSS", "well", COMPOUND, ("source",), by=COMPOUND),
)
"""NSC and NSCB ask for the target, NSB and NSS for the same compound in another batch or source."""


def treated(profiles):
    """The wells that count: treated, with a target that another compound shares.

    Parameters
    ----------
    profiles : pd.DataFrame
        Well profiles with perturbation_id, target and control_type, bare or with ``Metadata_``.

    Returns
    -------
    pd.DataFrame

    Raises
    ------
    ValueError
        A column that does not exist, or no well left.
    """
    wells = profiles[profiles[tables.find_column(profiles, TARGET)].notna()]
    control = tables.key_columns(wells, ["control_type"])
    if control:
        wells = wells[wells[control[0]].isna()]
    wells = wells[wells[tables.feature_columns(wells)].notna().all(axis=1)]
    if len(wells):
        wells = wells[neighbours.in_several(wells, TARGET, COMPOUND)]
    if not len(wells):
        raise ValueError(
            f"no well is left: none is treated, readable and has a {TARGET} that two compounds "
            "share."
        )
    return wells.reset_index(drop=True)


PROTOCOL = Protocol(RULES, LEVELS, treated, classes=TARGET)
"""How JUMP-CP Target-2 is scored."""


def active_by_replicates(profiles, level=0.05, *, null_size=10000, seed=0):
    """Compounds whose wells are unlike the controls of their plates, by the profiles themselves.

    Parameters
    ----------
    profiles : pd.DataFrame
        Normalised well profiles, controls included.
    level : float
        Of the corrected p-value of `questions.activity`.
    null_size, seed : int

    Returns
    -------
    list of str

    Raises
    ------
    ValueError
        As `questions.activity`.
    """
    made = questions.activity(profiles, COMPOUND, null_size=null_size, seed=seed)
    found = made["corrected_p_value"] < level
    return made.loc[found, tables.find_column(made, COMPOUND)].tolist()


def active_by_share(profiles, source=None, *, beyond=0.84, share=0.05):
    """Compounds of which many features are far from the controls: the rule of the released code.

    Parameters
    ----------
    profiles : pd.DataFrame
        Well profiles of CellProfiler, in standard deviations of the controls of their plate.
    source : str, optional
        Only wells of this source count, such as "source_1"; all by default.
    beyond : float
        A feature is far at this many standard deviations, either way, in the mean of the wells.
    share : float
        More than this share of the features has to be far, 0 to 1.

    Returns
    -------
    list of str

    Raises
    ------
    ValueError
        A column that does not exist, a source without wells, a share outside 0 to 1.
    """
    arguments.check_positive("beyond", beyond)
    if not 0 <= share <= 1:
        raise ValueError(f"share is {share}; it is a share, 0 to 1.")
    column = tables.find_column(profiles, COMPOUND)
    wells = profiles
    if source is not None:
        sources = profiles[tables.find_column(profiles, "source")]
        wells = profiles[sources == source]
        if not len(wells):
            raise ValueError(
                f"no well is of the source {source!r}; there are "
                f"{', '.join(sorted(map(str, sources.dropna().unique())))}."
            )
    control = tables.key_columns(wells, ["control_type"])
    if control:
        wells = wells[wells[control[0]].isna()]
    means = wells.groupby(column, sort=False)[tables.feature_columns(wells)].mean()
    far = (np.abs(means) >= beyond).mean(axis=1)
    return far.index[far > share].tolist()


def census(profiles):
    """How many wells, compounds, targets, batches and sources stand behind the accuracies."""
    rows = {}
    counted = treated(profiles)
    for name, part in {"all": profiles, "treated, target of two compounds": counted}.items():
        rows[name] = {"wells": len(part)} | {
            f"{column}s" if column != "batch" else "batches": part[
                tables.find_column(part, column)
            ].nunique()
            for column in (COMPOUND, TARGET, "batch", "source")
        }
    made = pd.DataFrame(rows).T.rename_axis("wells that are")
    return made.rename(columns={f"{COMPOUND}s": "compounds"})
