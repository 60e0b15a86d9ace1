"""What the place on a plate adds to profiles, learnt from negative controls and taken off."""

import numpy as np

from .. import tables, wells
from .correction import Correction

GRID = (*np.geomspace(1e-3, 1e3, 13), np.inf)
"""Ridge penalties that are tried, as multiples of the number of controls; the last takes nothing
off."""

TERMS = ("row", "column", "edge")

LEAST_CONTROLS = 8
"""Fewer controls cannot tell three terms from chance."""

_FOLDS = 5


class Position(Correction):
    """Straight lines over rows and columns, and a step at the edge, shared by all plates.

    The lines are fit on the negative controls, each plate about the mean of its own, so that
    neither treatments nor differences between plates have a part in them. A plate's treatments
    reach positions where it has no control: there the lines go on as they are.

    Parameters
    ----------
    controls : str or array of bool
        As of `TVN`.
    ridge : float, optional
        Penalty on the terms, 0 or more; infinite takes nothing off. By default that of `GRID` that
        foretells the controls of a plate best from those of all others (of five parts, where all
        controls lie on one plate): without an effect of position this is, as a rule, infinite.
    plate, well : str
        Columns, bare or with ``Metadata_``.

    Raises
    ------
    ValueError
        A negative ridge. Of `fit` and `transform`: fewer than `LEAST_CONTROLS` controls, controls
        that all lie in one row and one column, wells that are no position, missing features.

    Source: positional effects as Malo et al. 2006 (doi 10.1038/nbt1186) describe them; additive
    terms, ridge and the choice of its penalty are this project's.
    """

    name = "position"

    def __init__(self, controls="negcon", ridge=None, plate="plate", well="well"):
        super().__init__(controls)
        if ridge is not None and not ridge >= 0:
            raise ValueError(f"position: ridge is {ridge}; it must be 0 or more.")
        self.ridge, self.plate, self.well = ridge, plate, well

    def settings(self):
        chosen = {"ridge": self.ridge, "plate": self.plate, "well": self.well}
        return super().settings() | chosen

    def check(self, profiles):
        rows = self.controls(profiles)
        if rows.sum() < LEAST_CONTROLS:
            raise ValueError(
                f"position: {int(rows.sum())} controls are too few; it needs {LEAST_CONTROLS} or "
                "more to tell an effect of the position from chance."
            )
        terms = self._terms(profiles)[rows]
        if not (terms.std(0) > 0).any():
            raise ValueError(
                "position: all controls lie in one row and one column, so nothing is known of the "
                "others; leave the correction out."
            )
        return rows

    def fit(self, profiles):
        values = self.values(profiles, fitting=True)
        rows = self.check(profiles)
        terms, own = self._terms(profiles)[rows], values[rows]
        centre, spread = terms.mean(0), terms.std(0)
        spread[spread == 0] = np.inf  # a term that the controls do not vary in is never used
        plates = self._plates(profiles)[rows]
        design = _within((terms - centre) / spread, plates)
        own = _within(own, plates)
        if self.ridge is None:
            folds = plates if plates.max() else np.arange(len(own)) % _FOLDS
            self.ridge = _foretelling(design, own, folds)
        self.arrays = {
            "centre": centre,
            "spread": spread,
            "weights": _ridge(design, own, self.ridge),
        }
        return self

    def transform(self, profiles):
        values = self.values(profiles)
        terms = (self._terms(profiles) - self.arrays["centre"]) / self.arrays["spread"]
        return self.replaced(profiles, values - terms @ self.arrays["weights"])

    def _terms(self, profiles):
        """(n, 3): row, column and edge of each well."""
        names = profiles[tables.find_column(profiles, self.well)]
        return wells.positions(names)[list(TERMS)].to_numpy(float)

    def _plates(self, profiles):
        keys = tables.plate_columns(profiles)
        if not keys or self.plate != "plate":
            keys = [tables.find_column(profiles, self.plate)]
        return profiles.groupby(keys, sort=False, dropna=False).ngroup().to_numpy()


def _within(values, groups):
    """Rows about the mean of their group."""
    member = np.eye(groups.max() + 1)[groups]
    return values - member @ (member.T @ values / member.sum(0)[:, None])


def _ridge(design, values, ridge):
    """Weights (terms, features) of a ridge regression through 0."""
    if np.isinf(ridge):
        return np.zeros((design.shape[1], values.shape[1]))
    penalty = ridge * len(design) * np.eye(design.shape[1])
    return np.linalg.lstsq(design.T @ design + penalty, design.T @ values, rcond=None)[0]


def _foretelling(design, values, folds):
    """The penalty of `GRID` whose lines foretell left-out rows best, features counted alike."""
    scale = values.std(0)
    values = values[:, scale > 0] / scale[scale > 0]
    errors = np.zeros(len(GRID))
    for fold in np.unique(folds):
        rest, own = folds != fold, folds == fold
        for i, ridge in enumerate(GRID):
            weights = _ridge(design[rest], values[rest], ridge)
            errors[i] += ((values[own] - design[own] @ weights) ** 2).sum()
    # Of equally good ones the largest: it takes least off.
    return float(GRID[len(GRID) - 1 - int(errors[::-1].argmin())])
