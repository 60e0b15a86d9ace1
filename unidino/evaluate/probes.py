"""What a straight line through the features can read: a batch, or a place on the plate."""

import numpy as np
import pandas as pd

from .. import tables
from . import similarity
from .batch import is_line

_FOLDS = 5


def read_out(profiles, column, by, *, within=None, features=None):
    """A column foretold from the features of profiles that the line was not fit on.

    Parameters
    ----------
    profiles : pd.DataFrame
        One row a profile: metadata, bare or with ``Metadata_``, then features.
    column : str
        What is read: names of groups, or numbers. Profiles without a value are left out.
    by : str
        Profiles that are alike in this are left out together, in five parts of them: what the
        compounds at a place look like must not pass for the place.
    within : str, optional
        Features, and numbers to be read, are taken about the mean of those that are alike in this,
        such as a plate, so that a difference between plates has no part in what is read.
    features : list of str, optional
        As of `nearest_neighbour_accuracy`.

    Returns
    -------
    pd.DataFrame
        One row a profile that has a value: ``profile`` (its row), ``value``, ``told``, and
        ``right`` (of groups: whether it was foretold, of the group's profiles; of numbers missing).
        `readable` makes one number of it.

    Raises
    ------
    ValueError
        A column that does not exist, missing or infinite features, profiles without `by`, fewer
        than two of these, one value only.

    Notes
    -----
    Ridge regression on features of equal spread (for groups on their indicators, rare groups as
    heavy as common ones), the penalty as large as there are features: strong enough for more
    features than profiles, and the same for every table that is compared.
    """
    from sklearn.linear_model import Ridge, RidgeClassifier
    from sklearn.model_selection import GroupKFold

    features = similarity.find_features(profiles, features, [column, by])
    series = profiles[tables.find_column(profiles, column)]
    rows = np.flatnonzero(series.notna())
    part = profiles.iloc[rows].reset_index(drop=True)
    groups = similarity.whole_codes(part, by)
    if groups.max(initial=0) < 1:
        raise ValueError(f"there is one {by} only: nothing is left to learn from without it.")
    line = is_line(series)
    known = series.iloc[rows].to_numpy(float if line else object)
    if len(pd.unique(known)) < 2:
        raise ValueError(f"{column} has one value only: there is nothing to read.")
    values = similarity.comparable(part, features, "euclidean")
    if within is not None:
        plates = similarity.whole_codes(part, within)
        values = _about_mean(values, plates)
        known = _about_mean(known[:, None], plates)[:, 0] if line else known
    told = np.empty(len(part), known.dtype)
    for train, test in GroupKFold(min(_FOLDS, groups.max() + 1)).split(values, groups=groups):
        mean, spread = values[train].mean(0), values[train].std(0)
        kept = spread > similarity.TOLERANCE * max(spread.max(initial=0), np.finfo(float).tiny)
        if not kept.any() or len(pd.unique(known[train])) < 2:
            told[test] = known[train].mean() if line else known[train][0]
            continue
        scaled = (values[:, kept] - mean[kept]) / spread[kept]
        penalty = float(kept.sum())
        made = Ridge(penalty) if line else RidgeClassifier(penalty, class_weight="balanced")
        told[test] = made.fit(scaled[train], known[train]).predict(scaled[test])
    right = np.full(len(part), np.nan) if line else (told == known).astype(float)
    return pd.DataFrame({"profile": rows, "value": known, "told": told, "right": right})


def readable(made):
    """`read_out` as one number.

    Parameters
    ----------
    made : pd.DataFrame
        From `read_out`.

    Returns
    -------
    float
        Of groups the mean over them of the share that was foretold: 1 / groups is chance. Of
        numbers the share of their variance that was foretold, 0 where nothing is: below it the line
        foretells worse than their mean would.
    """
    if made["right"].notna().all():
        return float(made.groupby("value")["right"].mean().mean())
    known, told = made["value"].astype(float), made["told"].astype(float)
    return float(1 - ((known - told) ** 2).sum() / ((known - known.mean()) ** 2).sum())


def _about_mean(values, groups):
    """Rows about the mean of their group."""
    return values - pd.DataFrame(values).groupby(groups).transform("mean").to_numpy()
