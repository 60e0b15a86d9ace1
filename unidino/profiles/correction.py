"""Corrections: fit on the negative controls of some profiles, applied to any with those features.

What a correction knows is in its arrays and settings alone, so that it lies beside the profiles it
made and is applied to a batch that it never saw.
"""

import json
import zipfile

import numpy as np
import pandas as pd

from .. import tables
from .reference import reference_rows


class Correction:
    """What `TVN`, `Sphere` and `Position` share.

    Attributes
    ----------
    name : str
        In messages, in files and as the option of `inference.extract`.
    features : list of str
        That it was fit on; None before.
    arrays : dict of numpy.ndarray
        What was learnt.
    """

    name = None
    features = None

    def __init__(self, controls):
        self.rows = controls
        self.arrays = {}

    def settings(self):
        """The options it was made with and chose, as JSON takes them."""
        return {"controls": self.rows if isinstance(self.rows, str) else "given"}

    def check(self, profiles):
        """Stop where a fit could not be, as far as a table without features tells.

        Returns
        -------
        numpy.ndarray of bool
            The rows of the negative controls.

        Raises
        ------
        ValueError
        """
        raise NotImplementedError

    def fit(self, profiles):
        """Learn from the negative controls of profiles.

        Returns
        -------
        Correction
            Itself.
        """
        raise NotImplementedError

    def transform(self, profiles):
        """Profiles corrected: the same rows and columns.

        Raises
        ------
        ValueError
            Not fit; features other than those it was fit on; missing or infinite features.
        """
        raise NotImplementedError

    def values(self, profiles, fitting=False):
        """The features as float64 (a copy), those of the fit in their order.

        Raises
        ------
        ValueError
        """
        found = tables.feature_columns(profiles)
        if fitting:
            self.features = found
        if not found:
            raise ValueError(
                f"{self.name}: the table has no features: no column is named emb…, Cells_ …"
            )
        if self.features is None:
            raise ValueError(f"{self.name}: fit it on profiles with controls first.")
        if set(found) != set(self.features):
            lacking = [name for name in self.features if name not in set(found)]
            more = [name for name in found if name not in set(self.features)]
            raise ValueError(
                f"{self.name}: was fit on {len(self.features)} features, the table has "
                f"{len(found)}; it lacks {', '.join(lacking[:3]) or 'none'} and adds "
                f"{', '.join(more[:3]) or 'none'}. Give both the same features."
            )
        values = profiles[self.features].to_numpy(float, copy=True)
        lost = ~np.isfinite(values).all(1)
        if lost.any():
            raise ValueError(
                f"{self.name}: {int(lost.sum())} profiles have missing or infinite features, the "
                f"first is row {int(lost.argmax())}; remove them, or the features, first."
            )
        return values

    def controls(self, profiles):
        """Which rows are negative controls, one boolean a row.

        Raises
        ------
        ValueError
            The table names none; an array of another length or type.
        """
        if isinstance(self.rows, str):
            rows, words = reference_rows(profiles, self.rows)
            if self.rows == "negcon" and words != "negative controls":
                raise ValueError(
                    f"{self.name}: the table names no negative controls (control_type 'negcon'); "
                    "give them as `controls`, a query or one boolean a row."
                )
            return rows
        rows = np.asarray(self.rows)
        if rows.dtype != bool or rows.shape != (len(profiles),):
            raise ValueError(
                f"{self.name}: controls has shape {rows.shape} and type {rows.dtype}; expected one "
                f"boolean for each of the {len(profiles)} profiles."
            )
        return rows

    def replaced(self, profiles, values):
        """Profiles with other values of the features, rows and columns in their order."""
        made = pd.DataFrame(values, columns=self.features, index=profiles.index)
        rest = profiles.drop(columns=self.features)
        return pd.concat([rest, made], axis=1)[list(profiles.columns)]

    def save(self, path):
        """Write what was learnt, as arrays and JSON, to a .npz.

        Raises
        ------
        ValueError
            Not fit yet; controls that were given as booleans.
        """
        if self.features is None:
            raise ValueError(f"{self.name}: fit it before it is saved.")
        if not isinstance(self.rows, str):
            raise ValueError(
                f"{self.name}: its controls were given as booleans of one table, which mean "
                "nothing in another; name them by control_type or a query, then save it."
            )
        told = {"name": self.name, "features": self.features, "settings": self.settings()}
        with tables.atomic_path(path) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, told=np.array(json.dumps(told)), **self.arrays)
        return path


def load(path, kinds):
    """A correction from a file of `Correction.save`.

    Parameters
    ----------
    path : str or Path
    kinds : dict of str to type
        Classes by their names.

    Returns
    -------
    Correction

    Raises
    ------
    FileNotFoundError, ValueError
        No such file; a file that is none of ours.
    """
    try:
        with np.load(path, allow_pickle=False) as content:
            arrays = {name: content[name] for name in content.files}
        told = json.loads(str(arrays.pop("told")))
        made = kinds[told["name"]](**told["settings"])
        made.features, made.arrays = told["features"], arrays
        return made
    except FileNotFoundError:
        raise FileNotFoundError(f"no correction at {path}.") from None
    except (KeyError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path} holds no correction that this version can read: {error}"
        ) from None


def eigen(rows):
    """Eigenvalues (0 or more) and eigenvectors of the mean outer product of rows (n, features).

    Of fewer rows than features the product is never made: that is many times faster.
    """
    count, features = rows.shape
    if count < features:
        _, sizes, vectors = np.linalg.svd(rows, full_matrices=True)
        return np.pad(sizes**2 / count, (0, features - len(sizes))), vectors.T
    eigenvalues, vectors = np.linalg.eigh(rows.T @ rows / count)
    return np.maximum(eigenvalues, 0), vectors
