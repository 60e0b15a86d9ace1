"""Sphering: profiles scaled so that the negative controls vary alike in every direction."""

import numpy as np

from .. import tables
from .correction import Correction, eigen
from .reference import LEAST_REFERENCE

GRID = np.geomspace(1e-5, 1e3, 25)
"""Regularisers that are tried, as multiples of the mean variance of the controls."""

_FOLDS = 5


class Sphere(Correction):
    """Whiten profiles on the pooled negative controls, in the features' own axes (ZCA).

    Parameters
    ----------
    controls : str or array of bool
        As of `TVN`.
    regularisation : float, optional
        Added to the variances of the controls, in the squared unit of the features; above 0. By
        default that of `GRID` under which controls of a plate are likeliest, judged by those of
        all others: no treatment and no metric has a part in the choice.
    plate : str
        Column of the plates that are left out in turn for that choice; where all controls lie on
        one, five parts of them are.

    Raises
    ------
    ValueError
        A regulariser that is not above 0. Of `fit` and `transform`: fewer than 4 controls, controls
        that do not vary, missing features, a wrong number of controls.

    Source: Kessy, Lewin and Strimmer 2018 (doi 10.1080/00031305.2016.1277159), ZCA; Chandrasekaran
    et al. 2023 (doi 10.1101/2023.03.23.534023), on negative controls; the choice of the regulariser
    by held-out likelihood is this project's.
    """

    name = "sphere"

    def __init__(self, controls="negcon", regularisation=None, plate="plate"):
        super().__init__(controls)
        if regularisation is not None and not regularisation > 0:
            raise ValueError(f"sphere: regularisation is {regularisation}; it must be above 0.")
        self.regularisation, self.plate = regularisation, plate

    def settings(self):
        return super().settings() | {"regularisation": self.regularisation, "plate": self.plate}

    def check(self, profiles):
        rows = self.controls(profiles)
        if rows.sum() < LEAST_REFERENCE:
            raise ValueError(
                f"sphere: {int(rows.sum())} controls are too few; it needs {LEAST_REFERENCE} or "
                "more."
            )
        return rows

    def fit(self, profiles):
        values = self.values(profiles, fitting=True)
        rows = self.check(profiles)
        own = values[rows]
        mean = own.mean(0)
        variances, directions = _principal(own - mean)
        if not variances.sum() > 0:
            raise ValueError(
                "sphere: the controls are all alike: there is no variance to scale by."
            )
        if self.regularisation is None:
            self.regularisation = likeliest(own, self._folds(profiles, rows))
        # Where controls are fewer than features, they vary in no other direction.
        rest = 1 / np.sqrt(self.regularisation)
        scale = 1 / np.sqrt(variances + self.regularisation) - rest
        whitening = rest * np.eye(own.shape[1]) + (directions.T * scale) @ directions
        self.arrays = {"mean": mean, "whitening": whitening}
        return self

    def transform(self, profiles):
        values = (self.values(profiles) - self.arrays["mean"]) @ self.arrays["whitening"]
        return self.replaced(profiles, values)

    def _folds(self, profiles, rows):
        """Which part of the controls each belongs to."""
        keys = tables.key_columns(profiles, [self.plate])
        plates = np.zeros(int(rows.sum()), int)
        if keys:
            plates = profiles.loc[rows, keys[0]].astype(str).to_numpy()
        folds = np.unique(plates, return_inverse=True)[1]
        return folds if folds.max() else np.arange(len(folds)) % min(_FOLDS, len(folds) // 2)


def _principal(centred):
    """(variances, directions) of the principal components of rows, as many as there can be."""
    _, singular, directions = np.linalg.svd(centred, full_matrices=False)
    return singular**2 / len(centred), directions


def likeliest(values, folds):
    """The regulariser under which left-out rows are likeliest.

    Parameters
    ----------
    values : numpy.ndarray
        (n, features).
    folds : numpy.ndarray of int
        (n,), the part that each row is left out with.

    Returns
    -------
    float
        Of `GRID`, times the mean variance of the features.

    Notes
    -----
    Rows of a part under a normal distribution with mean and covariance of the others, the
    regulariser added to its variances.
    """
    unit = values.var(0).mean()
    # Directions in which rows vary at all: in all others the variance is what is added.
    centred = values - values.mean(0)
    inside = centred @ _principal(centred)[1].T
    outside = values.shape[1] - inside.shape[1]
    total = np.zeros(len(GRID))
    for fold in np.unique(folds):
        rest, own = inside[folds != fold], inside[folds == fold]
        mean = rest.mean(0)
        eigenvalues, vectors = eigen(rest - mean)
        squares = ((own - mean) @ vectors) ** 2
        for i, share in enumerate(GRID):
            variances = eigenvalues + share * unit
            logarithms = np.log(variances).sum() + outside * np.log(share * unit)
            total[i] -= len(own) * logarithms + (squares / variances).sum()
    return float(GRID[total.argmax()] * unit)


def sphere(profiles, controls="negcon", regularisation=None, plate="plate"):
    """`Sphere`, fit on profiles and applied to them.

    Parameters
    ----------
    profiles : pd.DataFrame
    controls, regularisation, plate
        As of `Sphere`.

    Returns
    -------
    pd.DataFrame
        The same rows and columns.

    Raises
    ------
    ValueError
        As `Sphere`.
    """
    return Sphere(controls, regularisation, plate).fit(profiles).transform(profiles)
