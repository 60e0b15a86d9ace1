"""Which channels tell a label apart: counts of the features that a random forest leans on."""

import numpy as np
import pandas as pd

from .. import arguments, tables
from . import similarity


def top_feature_counts(profiles, label, top=50, *, features=None, trees=100, seed=0):
    """How many of a label's most important features lie in each channel.

    Importance is the decrease of impurity in a forest that tells the label from all others. It
    shares what several features know among them, so a count says where something is seen, not how
    much of it.

    Parameters
    ----------
    profiles : pd.DataFrame
        One row a profile. Those without a label are left out.
    label : str
        Column, bare or with ``Metadata_``.
    top : int
        Features counted for each label; fewer where fewer have any importance.
    features : list of str, optional
        As of `nearest_neighbour_accuracy`.
    trees, seed : int
        Of the forests.

    Returns
    -------
    pd.DataFrame
        One row a label, in the order of their names, one column a channel, in the order of the
        features (`tables.feature_channel`); counts. Labels of a single profile are left out.

    Raises
    ------
    ValueError
        A column that does not exist, missing features, fewer than two labels of two profiles,
        a top that is not fewer than all features.

    Source: importance as Breiman 2001 (doi 10.1023/A:1010933404324); counts as Morelli et al. 2025.
    """
    from sklearn.ensemble import RandomForestClassifier

    arguments.check_positive("top", top)
    arguments.check_positive("trees", trees)
    features = similarity.find_features(profiles, features, [label])
    if top >= len(features):
        raise ValueError(
            f"top is {top} of {len(features)} features: a count of all says nothing. Give fewer."
        )
    names = profiles[tables.find_column(profiles, label)]
    rows = np.flatnonzero(names.notna())
    values = similarity.comparable(profiles, features, "euclidean", rows)
    names = names.to_numpy()[rows]
    kinds, counts = np.unique(names, return_counts=True)
    kinds = kinds[counts > 1]
    if len(counts) < 2 or not len(kinds):
        raise ValueError(
            f"{label} has {len(counts)} values, {len(kinds)} of them with two profiles or more: "
            "there is nothing to tell apart."
        )
    channels = np.array([tables.feature_channel(name) for name in features])
    made = {}
    for kind in kinds:
        forest = RandomForestClassifier(
            trees, max_features="sqrt", class_weight="balanced", random_state=seed, n_jobs=1
        )
        importance = forest.fit(values, names == kind).feature_importances_
        order = np.argsort(-importance, kind="stable")[:top]
        made[kind] = pd.Series(channels[order[importance[order] > 0]]).value_counts()
    table = pd.DataFrame(made).T.reindex(columns=list(dict.fromkeys(channels)))
    return table.fillna(0).astype(int).rename_axis(label)
