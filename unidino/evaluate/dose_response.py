"""Dose response: how far from the negative controls, and along the axis to the positive ones.

No well is scored by an axis, or measured from a centre, that it helped to find.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from .. import arguments, tables
from ..profiles import defects
from . import similarity
from .significance import corrected

LEAST_DOSES = 3
"""Doses of a compound below which no trend is asked about."""


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


def fit_axis(negative, positive, overall=None):
    """The axis between controls.

    Parameters
    ----------
    negative, positive : numpy.ndarray
        (n, features); features that are constant among the negative controls are left out.
    overall : numpy.ndarray, optional
        (features,), the standard deviation over these and the wells around them: features that
        spread next to nothing of it among the negative controls are left out as well, see
        `defects.varies`. What is divided by rounding drowns all others.

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
    if overall is not None:
        usable &= defects.varies(negative, overall, "standardize")
        spread = np.where(usable, spread, 0)
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
            values[on].std(0),
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


def distance_from_controls(profiles, features=None, control="control_type"):
    """How far each well lies from the negative controls of its plate.

    Parameters
    ----------
    profiles : pd.DataFrame
        One row a well, normalised, so that a unit of each feature is what controls spread by.
    features : list of str, optional
        As of `nearest_neighbour_accuracy`.
    control : str
        Column with negcon.

    Returns
    -------
    numpy.ndarray
        (n,): Euclidean distance from the mean of the negative controls; a control is left out of
        the mean that it is measured from. Missing on plates with fewer than two of them.

    Raises
    ------
    ValueError
        A column that does not exist, missing or infinite features.
    """
    values, negative, _, plates = _controlled(profiles, features, control)
    made = np.full(len(values), np.nan)
    for rows in plates.values():
        own = rows[negative[rows]]
        if len(own) < 2:
            continue
        total = values[own].sum(0)
        count = len(own) - negative[rows]
        centre = (total - values[rows] * negative[rows][:, None]) / count[:, None]
        made[rows] = np.linalg.norm(values[rows] - centre, axis=1)
    return made


def along_controls(profiles, features=None, control="control_type"):
    """Where each well lies between the negative and the positive controls of its plate.

    Parameters
    ----------
    profiles, features
        As of `distance_from_controls`.
    control : str
        Column with negcon and poscon.

    Returns
    -------
    numpy.ndarray
        (n,): `Axis.score`, 0 for the mean negative control. A control is scored by an axis that
        the others make. Missing on plates with fewer than three negative or two positive controls.

    Raises
    ------
    ValueError
        As `distance_from_controls`; positive controls that equal the negative ones.
    """
    values, negative, positive, plates = _controlled(profiles, features, control)
    made = np.full(len(values), np.nan)
    for rows in plates.values():
        low, high = rows[negative[rows]], rows[positive[rows]]
        if len(low) < 3 or len(high) < 2:
            continue
        made[rows] = fit_axis(values[low], values[high]).score(values[rows])
        for i in (*low, *high):
            axis = fit_axis(values[low[low != i]], values[high[high != i]])
            made[i] = axis.score(values[i : i + 1])[0]
    return made


def _controlled(profiles, features, control):
    """(values, which are negative, which positive controls, rows of each plate)."""
    kinds = profiles[tables.find_column(profiles, control)].to_numpy(object)
    features = similarity.find_features(profiles, features, [control])
    values = similarity.comparable(profiles, features, "euclidean")
    plates = tables.groups(profiles, tables.plate_columns(profiles))
    return values, kinds == "negcon", kinds == "poscon", plates


def trends(series, group, dose, score, *, draws=999, seed=0):
    """Whether a score rises or falls with dose, compound by compound.

    Parameters
    ----------
    series : pd.DataFrame
        One row a treated well; rows without a dose or a score are left out.
    group, dose, score : str
        Its columns: what the doses are of, numbers, numbers.
    draws : int
        Exchanges of the scores between the wells of a group.
    seed : int

    Returns
    -------
    pd.DataFrame
        One row a group, in the order of first appearance: `group`, ``n_wells``, ``n_doses``,
        ``spearman``, ``p_value`` (share of exchanges with as strong a correlation, of either sign,
        the observed one counted among them), ``corrected_p_value`` (Benjamini and Hochberg, over
        the groups) and ``said``: why a group with fewer than `LEAST_DOSES` doses, or equal scores,
        could not be asked about.

    Raises
    ------
    ValueError
        Doses or scores that are no numbers.
    """
    arguments.check_positive("draws", draws)
    for name in (dose, score):
        if not pd.api.types.is_numeric_dtype(series[name]):
            raise ValueError(f"the column {name} holds text; a trend needs numbers.")
    rng = np.random.default_rng(seed)
    rows = []
    for name, part in series.dropna(subset=[group, dose, score]).groupby(group, sort=False):
        doses, scores = part[dose].rank().to_numpy(), part[score].rank().to_numpy()
        count, rho, p_value, said = part[dose].nunique(), np.nan, np.nan, ""
        if count < LEAST_DOSES:
            said = f"not askable: fewer than {LEAST_DOSES} doses"
        elif np.ptp(scores) == 0:
            said = "not askable: all scores are equal"
        else:
            rho = _correlation(doses, scores)
            chance = [abs(_correlation(doses, rng.permutation(scores))) for _ in range(draws)]
            as_strong = np.sum(np.array(chance) >= abs(rho) - similarity.TOLERANCE)
            p_value = (1 + as_strong) / (1 + draws)
        rows.append((name, len(part), count, rho, p_value, said))
    names = [group, "n_wells", "n_doses", "spearman", "p_value", "said"]
    made = pd.DataFrame(rows, columns=names)
    made.insert(5, "corrected_p_value", corrected(made["p_value"]))
    return made


def _correlation(first, second):
    """Pearson's correlation of two arrays that vary."""
    first, second = first - first.mean(), second - second.mean()
    return float(first @ second / np.sqrt((first @ first) * (second @ second)))
