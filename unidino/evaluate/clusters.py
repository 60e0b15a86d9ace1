"""How far clusters that know no label agree with one, and with labels that mean nothing."""

import numpy as np
import pandas as pd

from .. import arguments

MEASURES = ("ARI", "NMI")
"""Adjusted Rand index: 0 by chance if profiles were independent, 1 where clusters and labels are
the same parts. Normalised mutual information: 0 to 1, higher by chance the more clusters there
are."""


def agreement(clusters, labels, groups=None, *, permutations=1000, seed=0):
    """Agreement of a clustering with a label, beside that with exchanged labels.

    Parameters
    ----------
    clusters, labels : sequence
        Of each profile (n,).
    groups : sequence, optional
        Of each profile (n,): labels are exchanged between whole groups, such as compounds, whose
        profiles are alike whatever the label says; between single profiles by default.
    permutations, seed : int

    Returns
    -------
    pd.DataFrame
        Index: `MEASURES`. Columns: value; null (mean), null_low and null_high (2.5 and 97.5
        percentiles) of the exchanged labels; p_value (share of exchanges that are at least as high,
        the observed one counted among them); clusters, labels and n, how many there are.

    Raises
    ------
    ValueError
        Sequences of different lengths, missing values, a group of several labels, no profiles.

    Source: Hubert and Arabie 1985 (doi 10.1007/BF01908075); mutual information over the mean of
    both entropies, as in scikit-learn.
    """
    arguments.check_positive("permutations", permutations)
    cluster, cluster_names = _codes(clusters, "clusters")
    label, label_names = _codes(labels, "labels")
    group, group_names = _codes(range(len(label)) if groups is None else groups, "groups")
    if not len(cluster) == len(label) == len(group):
        raise ValueError(
            f"there are {len(cluster)} clusters, {len(label)} labels and {len(group)} groups; "
            "expected one of each a profile."
        )
    own = np.zeros(len(group_names), int)
    own[group] = label
    if (own[group] != label).any():
        name = group_names[group[(own[group] != label).argmax()]]
        raise ValueError(f"the group {name} has several labels; labels are of whole groups.")
    size = len(cluster_names), len(label_names)
    observed = _measures(cluster, label, *size)
    rng = np.random.default_rng(seed)
    drawn = [_measures(cluster, rng.permutation(own)[group], *size) for _ in range(permutations)]
    null = np.array(drawn)
    low, high = np.quantile(null, [0.025, 0.975], axis=0)
    as_high = (null >= np.array(observed) - 1e-12).sum(0)
    return pd.DataFrame(
        {
            "value": observed,
            "null": null.mean(0),
            "null_low": low,
            "null_high": high,
            "p_value": (1 + as_high) / (1 + permutations),
            "clusters": size[0],
            "labels": size[1],
            "n": len(label),
        },
        index=pd.Index(MEASURES, name="measure"),
    )


def _codes(values, what):
    """Numbers of the different values, and these."""
    codes, names = pd.factorize(np.asarray(values, dtype=object))
    if not len(codes):
        raise ValueError(f"there are no {what}: no profile is left.")
    if (codes < 0).any():
        raise ValueError(
            f"{what}: {int((codes < 0).sum())} profiles have none, the first is row "
            f"{int((codes < 0).argmax()) + 1}; leave them out."
        )
    return codes, names


def _measures(cluster, label, clusters, labels):
    """`MEASURES` of two partitions, from the table of what they share."""
    shared = np.bincount(cluster * labels + label, minlength=clusters * labels).astype(float)
    table = shared.reshape(clusters, labels)
    rows, columns, n = table.sum(1), table.sum(0), len(label)

    def pairs(counts):
        return (counts * (counts - 1)).sum() / 2

    both, first, second, total = pairs(table), pairs(rows), pairs(columns), n * (n - 1) / 2
    expected = first * second / total if total else 0.0
    span = (first + second) / 2 - expected
    rand = (both - expected) / span if span else 1.0

    def entropy(counts):
        share = counts[counts > 0] / n
        return -(share * np.log(share)).sum()

    mean = (entropy(rows) + entropy(columns)) / 2
    information = 2 * mean - entropy(table.ravel())
    return rand, information / mean if mean else 1.0
