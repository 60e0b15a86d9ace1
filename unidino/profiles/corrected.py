"""Profiles corrected by a method's name, as an extraction does it."""

import numpy as np
import pandas as pd

from .. import arguments, tables
from . import correction
from .harmony import check_batches, harmony
from .position import Position
from .sphere import Sphere
from .tvn import TVN

FITTED = {kind.name: kind for kind in (TVN, Sphere, Position)}
"""Corrections that are fit on negative controls and applied to any profiles, by name."""

CORRECTIONS = ("none", *FITTED, "harmony")
"""Names of all, none included."""


def fresh(method, batch="batch"):
    """A correction of `FITTED` by its name, not fit yet.

    Parameters
    ----------
    method : str
        A key of `FITTED`.
    batch : str
        Column of the batches that tvn aligns.
    """
    return TVN(batch=batch) if method == TVN.name else FITTED[method]()


def check_correction(profiles, method, batch="batch"):
    """Stop where a correction could not be fit, as far as a table without features tells.

    Parameters
    ----------
    profiles : pd.DataFrame
        One row a profile; features are not looked at.
    method : str
        Of `CORRECTIONS`.
    batch : str
        Column of the batches that tvn and harmony align.

    Raises
    ------
    ValueError
        An unknown method, no negative controls or too few, profiles without a batch, one batch
        only.
    """
    arguments.check_choice("correct", method, CORRECTIONS)
    if method in FITTED:
        fresh(method, batch).check(profiles)
    elif method == "harmony":
        check_batches(profiles, batch)


def correct(profiles, method, batch="batch"):
    """Profiles after a correction.

    Profiles with missing features have no part in it and stay as they are.

    Parameters
    ----------
    profiles : pd.DataFrame
        One row a profile; features as they are to be compared.
    method, batch : str
        As of `check_correction`.

    Returns
    -------
    pd.DataFrame
        The same rows and columns.
    fitted : Correction or None
        What can be applied to other profiles, where there is such a thing.

    Raises
    ------
    ValueError, ImportError
        As `TVN`, `Sphere` and `harmony`.
    """
    arguments.check_choice("correct", method, CORRECTIONS)
    if method == "none":
        return profiles, None
    features = tables.feature_columns(profiles)
    whole = np.isfinite(profiles[features].to_numpy(float)).all(1)
    fitted = None
    if method == "harmony":
        corrected = harmony(profiles[whole], batch)
    else:
        fitted = fresh(method, batch).fit(profiles[whole])
        corrected = fitted.transform(profiles[whole])
    made = profiles.copy()
    made[features] = made[features].astype(float)
    made.loc[whole, features] = corrected[features]
    return made, fitted


def held_out(profiles, method, batch="batch", plate="plate"):
    """Profiles after corrections that did not see the negative controls they are compared with.

    A correction makes the controls it was fit on alike, the more so the fewer they are beside the
    features: compared with these, whatever was not in the fit looks different.

    Parameters
    ----------
    profiles : pd.DataFrame
        As of `correct`, none of them incomplete.
    method, batch : str
        As of `check_correction`; a correction that is fit (`FITTED`).
    plate : str
        Column whose controls are held out in turn.

    Returns
    -------
    list of pd.DataFrame
        One table a plate: all treated profiles and the controls of that plate, corrected by the
        controls of all others.

    Raises
    ------
    ValueError
        A correction that is not fit, controls on fewer than two plates; as `correct`.
    """
    arguments.check_choice("correct", method, tuple(FITTED))
    control = fresh(method, batch).controls(profiles)
    plates = profiles[tables.find_column(profiles, plate)].to_numpy()
    names = pd.unique(plates[control])
    if len(names) < 2:
        raise ValueError(
            f"controls stand on {len(names)} plate; to hold out those of one, others are needed."
        )
    made = []
    for name in names:
        held = control & (plates == name)
        fitted = fresh(method, batch).fit(profiles[~held])
        made.append(fitted.transform(profiles[held | ~control]).reset_index(drop=True))
    return made


def load_correction(path):
    """A correction that `Correction.save` wrote, ready to `transform`.

    Raises
    ------
    FileNotFoundError, ValueError
        No such file; a file that is none of ours.
    """
    return correction.load(path, FITTED)
