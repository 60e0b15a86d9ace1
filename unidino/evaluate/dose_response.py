"""Dose response along the axis between two controls, fitted on some wells and scored on others."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from .. import tables


@dataclass(frozen=True)
class Axis:
    """The direction from the negative to the positive controls.

    Attributes
    ----------
    centre, spread : numpy.ndarray
        Mean and standard deviation of each feature over the negative controls.
    direction : numpy.ndarray
        Mean of the positive minus mean of the negative controls, in those units; length 1.
    """

    centre: np.ndarray
    spread: np.ndarray
    direction: np.ndarray

    def score(self, values):
        """Position of profiles along the axis, (n,); 0 is the mean negative control."""
        usable = self.spread > 0
        scaled = (values[:, usable] - self.centre[usable]) / self.spread[usable]
        return scaled @ self.direction


def fit_axis(negative, positive):
    """The axis between controls.

    Parameters
    ----------
    negative, positive : numpy.ndarray
        (n, features); features that are constant among the negative controls are left out.

    Raises
    ------
    ValueError
        Fewer than two negative controls or no positive one; controls that are all alike.
    """
    if len(negative) < 2 or len(positive) < 1:
        raise ValueError(
            f"an axis needs at least two negative and one positive control, got {len(negative)} "
            f"and {len(positive)}."
        )
    centre, spread = negative.mean(0), negative.std(0, ddof=1)
    usable = spread > 0
    direction = (positive.mean(0) - centre)[usable] / spread[usable]
    length = np.linalg.norm(direction)
    if not length:
        raise ValueError("the positive controls equal the negative ones: there is no axis.")
    return Axis(centre, spread, direction / length)


def z_prime(negative, positive):
    """Z' of an assay: 1 is ideal, below 0 the controls overlap.

    Parameters
    ----------
    negative, positive : numpy.ndarray
        Scores of the controls.

    Source: Zhang, Chung and Oldenburg 1999 (doi 10.1177/108705719900400206).
    """
    spread = 3 * (np.std(negative, ddof=1) + np.std(positive, ddof=1))
    return float(1 - spread / abs(np.mean(positive) - np.mean(negative)))


def cross_fitted(profiles, half, dose, control="control_type"):
    """Fit the axis on one half of a plate and score the other, both ways.

    An axis that is drawn between controls and scored on the same wells flatters itself; here no
    well is scored by an axis that it helped to draw.

    Parameters
    ----------
    profiles : pd.DataFrame
    half : str
        Column with two values.
    dose : str
        Column of doses or their ranks; wells that are no controls form the series.
    control : str
        Column with negcon and poscon.

    Returns
    -------
    summary : pd.DataFrame
        One row a scored half: ``scored``, ``spearman`` of score and dose, ``z_prime`` and the
        numbers of wells.
    scores : pd.DataFrame
        One row a well: half, dose, control, ``score``.

    Raises
    ------
    ValueError
        Not two halves, or a half without controls.
    """
    columns = {name: tables.find_column(profiles, name) for name in (half, dose, control)}
    halves = sorted(profiles[columns[half]].unique())
    if len(halves) != 2:
        raise ValueError(f"the column {half} has the values {halves}; expected two halves.")
    values = profiles[tables.feature_columns(profiles)].to_numpy(float)
    kinds = profiles[columns[control]]
    scores = pd.DataFrame(
        {
            "half": profiles[columns[half]].to_numpy(),
            "dose": profiles[columns[dose]].to_numpy(float),
            "control": kinds.to_numpy(),
            "score": np.nan,
        }
    )
    summary = []
    for fitted, scored in (halves, halves[::-1]):
        on = scores["half"] == fitted
        axis = fit_axis(
            values[on & (scores["control"] == "negcon")],
            values[on & (scores["control"] == "poscon")],
        )
        here = scores["half"] == scored
        scores.loc[here, "score"] = axis.score(values[here])
        part = scores[here]
        series = part[part["control"].isna()]
        negative = part.loc[part["control"] == "negcon", "score"]
        positive = part.loc[part["control"] == "poscon", "score"]
        summary.append(
            {
                "scored": scored,
                "fitted": fitted,
                "spearman": float(spearmanr(series["score"], series["dose"]).statistic),
                "z_prime": z_prime(negative, positive),
                "dose_wells": len(series),
                "negative_controls": len(negative),
                "positive_controls": len(positive),
            }
        )
    return pd.DataFrame(summary), scores
