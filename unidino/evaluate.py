"""How well profiles find their like: nearest neighbours, average precision, and their intervals."""

import numpy as np
import pandas as pd

from . import tables

METRICS = ("cosine", "correlation", "euclidean", "cityblock")

_BLOCK_ROWS = 1024


class Accuracy(float):
    """A share of correct neighbours that knows how it came about; a float in every other way.

    Attributes
    ----------
    accuracy : float
    correct, n : int
        Correct and scored profiles.
    without_neighbour : int
        Profiles that had no allowed neighbour; not scored.
    neighbours : pd.DataFrame
        One row a scored profile: ``profile`` and ``neighbour`` (row numbers), ``label``,
        ``neighbour_label``, ``distance``, ``correct``.
    """

    def __new__(cls, neighbours, without_neighbour):
        n = len(neighbours)
        made = super().__new__(cls, neighbours["correct"].mean() if n else float("nan"))
        made.neighbours = neighbours
        made.n = n
        made.correct = int(neighbours["correct"].sum())
        made.without_neighbour = int(without_neighbour)
        return made

    @property
    def accuracy(self):
        return float(self)

    def __reduce__(self):
        return Accuracy, (self.neighbours, self.without_neighbour)


def _names(value, option):
    """A list of column names from a name, a list, an array or a Series."""
    if value is None:
        return []
    if isinstance(value, str):
        return [value]
    names = list(value)
    wrong = [name for name in names if not isinstance(name, str)]
    if wrong:
        raise ValueError(
            f"{option} takes names of columns, got {wrong[0]!r}; add the values to the profiles as "
            "a column and give its name."
        )
    return names


def _codes(profiles, column):
    """Integers, equal where the values are; -1 where missing."""
    return pd.factorize(profiles[tables.find_column(profiles, column)])[0]


def _prepared(values, metric):
    """Features on which the metric is a plain product or difference."""
    if metric == "correlation":
        values = values - values.mean(1, keepdims=True)
    if metric in ("cosine", "correlation"):
        norms = np.linalg.norm(values, axis=1, keepdims=True)
        values = np.divide(values, norms, out=np.zeros_like(values), where=norms > 0)
    return values


def _distances(block, values, metric):
    """Distances between rows, (len(block), len(values))."""
    if metric in ("cosine", "correlation"):
        return 1 - block @ values.T
    from scipy.spatial.distance import cdist

    return cdist(block, values, metric)


def nearest_neighbour_accuracy(
    profiles,
    label,
    exclude=(),
    metric="cosine",
    exclude_if_same_label=(),
    features=None,
):
    """Share of profiles whose nearest allowed neighbour has their label.

    NSC is ``exclude=["compound"]``; NSCB ``exclude=["compound", "batch"]``; the released code's
    NSCB ``exclude=["compound"], exclude_if_same_label=["batch"]``; NSPW
    ``label="compound", exclude=["plate", "well"]``.

    Parameters
    ----------
    profiles : pd.DataFrame
        One row a profile: metadata, then features.
    label : str
        Column to match, such as "moa". Profiles without a label are neither scored nor neighbours.
    exclude : list of str
        A neighbour that shares any of these columns is not allowed; a missing value is shared with
        nobody.
    metric : {"cosine", "correlation", "euclidean", "cityblock"}
    exclude_if_same_label : list of str
        A neighbour that shares any of these columns *and* the label is not allowed.
    features : list of str, optional
        Feature columns; all of them by default.

    Returns
    -------
    Accuracy
        A float with ``.accuracy``, ``.n``, ``.correct``, ``.without_neighbour``, ``.neighbours``.
        Profiles left without a neighbour are counted, not scored. Of neighbours at the same
        distance the first row is taken.

    Raises
    ------
    ValueError
        A missing column, missing features, an unknown metric.

    Source: Ljosa et al. 2013 (doi 10.1177/1087057113503553, NSC); Ando, McLean and Berndl 2017
    (doi 10.1101/161422, NSCB).
    """
    if metric not in METRICS:
        raise ValueError(f"metric {metric!r} is not one of {', '.join(METRICS)}.")
    exclude = _names(exclude, "exclude")
    same_label = _names(exclude_if_same_label, "exclude_if_same_label")
    if features is None:
        features = tables.feature_columns(profiles)
    if not len(features):
        raise ValueError("the profiles have no features: no column is named emb…, Cells_ …")
    lacking = [name for name in features if name not in profiles.columns]
    if lacking:
        raise ValueError(f"the profiles lack the features {', '.join(map(str, lacking[:5]))}.")
    labels = _codes(profiles, label)
    barred = [_codes(profiles, name) for name in exclude]
    barred_with_label = [_codes(profiles, name) for name in same_label]
    rows = np.flatnonzero(labels >= 0)
    values = profiles[list(features)].to_numpy(float)[rows]
    finite = np.isfinite(values).all(1)
    if not finite.all():
        raise ValueError(
            f"{int((~finite).sum())} profiles have missing or infinite features, the first is row "
            f"{rows[np.flatnonzero(~finite)[0]]}. Remove them (dropna) or their features."
        )
    values = _prepared(values, metric)
    labels = labels[rows]
    barred = [codes[rows] for codes in barred]
    barred_with_label = [codes[rows] for codes in barred_with_label]
    nearest, distance = _nearest(values, metric, labels, barred, barred_with_label)
    found = nearest >= 0
    names = profiles[tables.find_column(profiles, label)].to_numpy()
    own, other = rows[found], rows[nearest[found]]
    neighbours = pd.DataFrame(
        {
            "profile": own,
            "neighbour": other,
            "label": names[own],
            "neighbour_label": names[other],
            "distance": distance[found],
            "correct": labels[found] == labels[nearest[found]],
        }
    )
    return Accuracy(neighbours, (~found).sum())


def _nearest(values, metric, labels, barred, barred_with_label):
    """Row of the nearest allowed neighbour, -1 where there is none, and its distance."""
    count = len(values)
    nearest = np.full(count, -1)
    distance = np.full(count, np.nan)
    for start in range(0, count, _BLOCK_ROWS):
        stop = min(start + _BLOCK_ROWS, count)
        block = _distances(values[start:stop], values, metric)
        here = slice(start, stop)
        forbidden = np.zeros(block.shape, bool)
        forbidden[np.arange(stop - start), np.arange(start, stop)] = True
        for codes in barred:
            own = codes[here, None]
            forbidden |= (own == codes) & (own >= 0)
        for codes in barred_with_label:
            own = codes[here, None]
            forbidden |= (own == codes) & (own >= 0) & (labels[here, None] == labels)
        # Products of the same vectors differ in the last bits with their place in a block: rounding
        # makes equal distances equal, so that ties go to the first row.
        block = np.where(forbidden, np.inf, np.round(block, 12))
        best = block.argmin(1)
        smallest = block[np.arange(stop - start), best]
        allowed = np.isfinite(smallest)
        nearest[here] = np.where(allowed, best, -1)
        distance[here] = np.where(allowed, smallest, np.nan)
    return nearest, distance


def in_several(profiles, label, group):
    """Rows whose label occurs in more than one group.

    NSCB is not defined for a mechanism seen in one batch only: its profiles are left out.

    Returns
    -------
    numpy.ndarray of bool
    """
    names = profiles[tables.find_column(profiles, label)]
    groups = profiles[tables.find_column(profiles, group)]
    return (groups.groupby(names).transform("nunique") > 1).to_numpy()


def bootstrap_interval(accuracy, profiles, by, *, level=0.95, draws=2000, seed=0):
    """Percentile interval of an accuracy, resampling whole groups such as compounds.

    Parameters
    ----------
    accuracy : Accuracy
    profiles : pd.DataFrame
        The profiles that it was computed on.
    by : str
        Column of what is resampled; profiles of one compound are not independent.
    level : float
    draws : int
    seed : int

    Returns
    -------
    (float, float)
    """
    correct, sizes = _per_group(accuracy, profiles, by)
    generator = np.random.default_rng(seed)
    weights = generator.multinomial(len(sizes), np.full(len(sizes), 1 / len(sizes)), draws)
    shares = weights @ correct / np.maximum(weights @ sizes, 1)
    tail = (1 - level) / 2
    low, high = np.quantile(shares, [tail, 1 - tail])
    return float(low), float(high)


def paired_difference(first, second, profiles, by, *, level=0.95, draws=2000, seed=0):
    """Difference of two accuracies on the same profiles, with its interval.

    Parameters
    ----------
    first, second : Accuracy
        Of two feature sets on the rows of `profiles`.
    by : str
        Column of what is resampled, for both alike.

    Returns
    -------
    (float, float, float)
        first minus second, and the ends of the interval.
    """
    (correct_a, sizes_a), (correct_b, sizes_b) = (
        _per_group(accuracy, profiles, by) for accuracy in (first, second)
    )
    generator = np.random.default_rng(seed)
    groups = len(sizes_a)
    weights = generator.multinomial(groups, np.full(groups, 1 / groups), draws)
    differences = weights @ correct_a / np.maximum(weights @ sizes_a, 1)
    differences = differences - weights @ correct_b / np.maximum(weights @ sizes_b, 1)
    tail = (1 - level) / 2
    low, high = np.quantile(differences, [tail, 1 - tail])
    return float(first) - float(second), float(low), float(high)


def _per_group(accuracy, profiles, by):
    """(correct, scored) profiles of each group, every group of `profiles` present."""
    codes, groups = pd.factorize(profiles[tables.find_column(profiles, by)])
    own = codes[accuracy.neighbours["profile"]]
    correct = np.bincount(own, accuracy.neighbours["correct"], len(groups))
    return correct, np.bincount(own, minlength=len(groups))


def mean_average_precision(
    profiles, pos_sameby, pos_diffby=(), neg_sameby=(), neg_diffby=(), metric="cosine"
):
    """Average precision of retrieving a profile's like, by copairs.

    Parameters
    ----------
    profiles : pd.DataFrame
    pos_sameby, pos_diffby : list of str
        What a positive pair shares, and must not share.
    neg_sameby, neg_diffby : list of str
        The same for negative pairs.
    metric : str
        Of copairs, such as "cosine" or "correlation".

    Returns
    -------
    pd.DataFrame
        The metadata with ``average_precision``, ``n_pos_pairs`` and ``n_total_pairs``; quote the
        mean with its pair rules.

    Source: Kalinin et al. 2024 (doi 10.1101/2024.04.01.587631).
    """
    from copairs import map as copairs_map

    rules = [
        [tables.find_column(profiles, name) for name in _names(rule, "a pair rule")]
        for rule in (pos_sameby, pos_diffby, neg_sameby, neg_diffby)
    ]
    metadata = profiles[tables.metadata_columns(profiles)].reset_index(drop=True)
    features = profiles[tables.feature_columns(profiles)].to_numpy(np.float32)
    return copairs_map.average_precision(
        metadata, features, *rules, distance=metric, progress_bar=False
    )
