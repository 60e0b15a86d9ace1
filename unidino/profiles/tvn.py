"""Typical variation normalisation: what the controls vary by, taken out of every profile."""

import numpy as np

from .. import tables
from .correction import Correction, eigen
from .reference import LEAST_REFERENCE


class TVN(Correction):
    """Whiten profiles on the pooled controls, then align the controls of every batch (CORAL).

    Profiles stay in the features' own axes (ZCA; the released code turns them, which changes no
    distance). With one batch, or where batches are no matter, the second step changes nothing but
    rounding. A batch that the fit did not see is aligned by its own controls to those of the fit.

    Parameters
    ----------
    controls : str or array of bool
        Rows of the negative controls: "negcon" (control_type), a query, or one value a row of the
        profiles that are fit and transformed.
    batch : str
        Column whose batches are aligned, bare or with ``Metadata_``.
    regularisation : float
        Added to the variances before whitening, and to covariances before their roots; above 0. It
        has the squared unit of the features: raw and normalised ones give different results.

    Raises
    ------
    ValueError
        A regulariser that is not above 0. Of `fit` and `transform`: fewer than 4 controls in a
        batch, profiles without a batch, missing features, a wrong number of controls.

    Source: Ando, McLean and Berndl 2017 (doi 10.1101/161422); Sun and Saenko 2016 (Deep CORAL,
    arXiv:1607.01719); regulariser 1.0 and the order of steps as the released uniDINO code.
    """

    name = "tvn"

    def __init__(self, controls="negcon", batch="batch", regularisation=1.0):
        super().__init__(controls)
        if not regularisation > 0:
            raise ValueError(
                f"tvn: regularisation is {regularisation}; it must be above 0 (published: 1.0)."
            )
        self.batch, self.regularisation = batch, regularisation

    def settings(self):
        return super().settings() | {"batch": self.batch, "regularisation": self.regularisation}

    def check(self, profiles):
        rows = self.controls(profiles)
        self._batches(profiles, rows)
        return rows

    def fit(self, profiles):
        values = self.values(profiles, fitting=True)
        rows = self.check(profiles)
        mean = values[rows].mean(0)
        eigenvalues, vectors = eigen(values[rows] - mean)
        # Back in the features' own axes: where controls are fewer than features, the axes of the
        # directions in which no control varies are anyone's, and medians would depend on them.
        whitening = (vectors / np.sqrt(eigenvalues + self.regularisation)) @ vectors.T
        colour = self._root((values[rows] - mean) @ whitening, 0.5)
        self.arrays = {"mean": mean, "whitening": whitening, "colour": colour}
        return self

    def transform(self, profiles):
        values = self.values(profiles)
        rows = self.controls(profiles)
        groups = self._batches(profiles, rows)
        values = (values - self.arrays["mean"]) @ self.arrays["whitening"]
        for here in groups.values():
            own = self._root(values[here[rows[here]]], -0.5)
            values[here] = values[here] @ own @ self.arrays["colour"]
        return self.replaced(profiles, values)

    def _root(self, values, power):
        """A power of the regularised mean outer product of rows about the pooled centre.

        A batch's shift counts as its spread. By eigenvectors: scipy's sqrtm stalls on
        ill-conditioned matrices.
        """
        eigenvalues, vectors = eigen(values)
        return (vectors * (eigenvalues + self.regularisation) ** power) @ vectors.T

    def _batches(self, profiles, controls):
        """{batch: its rows}, each with enough controls."""
        names = profiles[tables.find_column(profiles, self.batch)]
        if names.isna().any():
            raise ValueError(
                f"tvn: {int(names.isna().sum())} profiles have no {self.batch}, the first is row "
                f"{int(names.isna().to_numpy().argmax())}; every profile needs one to be aligned "
                "with."
            )
        groups = {name: np.asarray(rows) for name, rows in names.groupby(names).indices.items()}
        few = [name for name, rows in groups.items() if controls[rows].sum() < LEAST_REFERENCE]
        if few:
            shown = ", ".join(f"{name} ({int(controls[groups[name]].sum())})" for name in few[:5])
            raise ValueError(
                f"tvn: {len(few)} of {len(groups)} batches have fewer than {LEAST_REFERENCE} "
                f"controls ({self.batch}: {shown}); leave these batches out, or align by a coarser "
                "column."
            )
        return groups


def tvn(profiles, controls="negcon", batch="batch", regularisation=1.0):
    """`TVN`, fit on profiles and applied to them.

    Parameters
    ----------
    profiles : pd.DataFrame
        One row a profile; features as they are to be compared.
    controls, batch, regularisation
        As of `TVN`.

    Returns
    -------
    pd.DataFrame
        The same rows and columns.

    Raises
    ------
    ValueError
        As `TVN`.
    """
    return TVN(controls, batch, regularisation).fit(profiles).transform(profiles)
