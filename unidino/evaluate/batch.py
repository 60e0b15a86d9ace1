"""How much of a profile tells where it was measured: its batch, plate, position and cell count.

A number here says what is left of a nuisance, never that something was gained: beside it belongs
what is left of biology.
"""

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.stats import chi2, rankdata

from .. import arguments, tables, wells
from . import similarity

PERPLEXITY = 30
"""Of the neighbourhoods of `lisi`: about so many profiles weigh in."""

_NEIGHBOURS_A_PERPLEXITY = 3
_SEARCH_STEPS = 50


def bras(profiles, label, batch, metric="cosine", features=None):
    """Batch-removal adapted silhouette: how alike profiles of one label are across batches.

    Parameters
    ----------
    profiles : pd.DataFrame
        One row a profile: metadata, bare or with ``Metadata_``, then features.
    label : str
        Within which batches are compared, such as the compound. Profiles without one are left out.
    batch : str
        Column that should leave no trace.
    metric : {"cosine", "abs_cosine", "correlation", "euclidean", "cityblock", "chebyshev"}
    features : list of str, optional
        As of `nearest_neighbour_accuracy`.

    Returns
    -------
    pd.DataFrame
        One row a label, in the order of their names: the label, ``n_profiles`` and ``n_batches``
        (scored: a batch that holds a single profile of the label has no spread there to compare
        with, and is left out), ``bras`` (0 for batches apart, 1 for batches alike; missing where
        fewer than two batches are left). The mean of the last is the score.

    Raises
    ------
    ValueError
        A column that does not exist, missing batches, missing or infinite features, no label of
        two batches with two profiles each, an unknown metric; for cosines and correlation a
        profile without direction.

    Notes
    -----
    1 - ``|s|``, where s is the silhouette of the batches within a label and its distance to other
    batches is the mean over all their profiles, not that of the nearest: a batch whose nearest
    lies within it hides behind it otherwise. Mean within a label.

    Source: Rautenstrauch and Ohler 2025 (doi 10.1038/s41587-025-02743-4); scib-metrics 0.6.
    """
    arguments.check_choice("metric", metric, similarity.METRICS)
    features = similarity.find_features(profiles, features, [label, batch])
    label_column = tables.find_column(profiles, label)
    batches = similarity.whole_codes(profiles, batch)
    labelled = np.flatnonzero(profiles[label_column].notna())
    values = similarity.comparable(profiles, features, metric, labelled)
    names, batches = profiles[label_column].to_numpy()[labelled], batches[labelled]
    rows = []
    for name, members in pd.Series(names).groupby(names).indices.items():
        codes = batches[members]
        several = np.bincount(codes)[codes] > 1
        members, codes = members[several], np.unique(codes[several], return_inverse=True)[1]
        count = codes.max(initial=-1) + 1
        score = np.nan
        if count > 1:
            score = 1 - np.abs(_silhouettes(values[members], codes, metric)).mean()
        rows.append((name, len(members), count, score))
    made = pd.DataFrame(rows, columns=[label_column, "n_profiles", "n_batches", "bras"])
    if made["bras"].isna().all():
        raise ValueError(
            f"no {label} has two profiles in each of two {batch}es: what a {batch} changes cannot "
            "be told from what one profile does."
        )
    return made


def _silhouettes(values, codes, metric):
    """Silhouette of each row, its own group against all profiles of the others."""
    member = np.eye(codes.max() + 1)[codes]
    size = member.sum(0)[codes]
    own, other = np.empty(len(values)), np.empty(len(values))
    for here, distances in similarity.distance_blocks(values, metric):
        sums = np.maximum(distances, 0) @ member
        own[here] = sums[np.arange(len(sums)), codes[here]]
        other[here] = sums.sum(1) - own[here]
    own, other = own / (size - 1), other / (len(values) - size)
    larger = np.maximum(own, other)
    return np.divide(other - own, larger, out=np.zeros_like(own), where=larger > 0)


def lisi(profiles, column, metric="euclidean", features=None, *, perplexity=PERPLEXITY):
    """Inverse Simpson index of a column among each profile's neighbours.

    Parameters
    ----------
    profiles : pd.DataFrame
        As of `bras`.
    column : str
        Whose values are counted: a batch, where many are wished for, or a label, where one is.
    metric, features
        As of `bras`.
    perplexity : float
        Neighbours that weigh in, by a Gaussian kernel of that perplexity over three times as many.
        Where there are fewer profiles than that, the kernel covers all and its perplexity is a
        third of them.

    Returns
    -------
    pd.DataFrame
        One row a profile: the column, ``lisi`` (from 1, one value only, to the number of values),
        ``perplexity`` and ``neighbours`` (as used).

    Raises
    ------
    ValueError
        As `bras`; fewer than four profiles; a perplexity of 1 or less.

    Source: Korsunsky et al. 2019 (doi 10.1038/s41592-019-0619-0).
    """
    arguments.check_choice("metric", metric, similarity.METRICS)
    if not perplexity > 1:
        raise ValueError(f"perplexity is {perplexity}; expected more than 1, such as {PERPLEXITY}.")
    if len(profiles) < 4:
        raise ValueError(f"lisi: {len(profiles)} profiles are too few; it needs four or more.")
    features = similarity.find_features(profiles, features, [column])
    codes = similarity.whole_codes(profiles, column)
    values = similarity.comparable(profiles, features, metric)
    count = min(int(_NEIGHBOURS_A_PERPLEXITY * perplexity), len(values) - 1)
    used = min(perplexity, count / _NEIGHBOURS_A_PERPLEXITY)
    member = np.eye(codes.max() + 1)[codes]
    made = np.empty(len(values))
    for here, distances in similarity.distance_blocks(values, metric):
        distances[np.arange(len(distances)), np.arange(here.start, here.stop)] = np.inf
        near = np.argpartition(distances, count - 1, axis=1)[:, :count]
        weights = _kernel(np.take_along_axis(distances, near, 1), max(used, 1 + 1e-6))
        shares = np.einsum("ij,ijk->ik", weights, member[near])
        made[here] = 1 / (shares**2).sum(1)
    return pd.DataFrame(
        {
            tables.find_column(profiles, column): profiles[tables.find_column(profiles, column)],
            "lisi": made,
            "perplexity": used,
            "neighbours": count,
        }
    )


def _kernel(distances, perplexity):
    """Weights (n, k) of the neighbours of each row, of the wanted perplexity; sums are 1."""
    distances = np.maximum(distances, 0)
    distances = distances - distances.min(1, keepdims=True)
    scale = np.maximum(distances.mean(1, keepdims=True), np.finfo(float).tiny)
    distances = distances / scale
    low, high = np.full((len(distances), 1), 1e-8), np.full((len(distances), 1), 1e8)
    for _ in range(_SEARCH_STEPS):
        middle = np.sqrt(low * high)
        weights = np.exp(-middle * distances)
        weights /= weights.sum(1, keepdims=True)
        entropy = -(weights * np.log(np.maximum(weights, np.finfo(float).tiny))).sum(1)
        wide = (entropy > np.log(perplexity))[:, None]
        low, high = np.where(wide, middle, low), np.where(wide, high, middle)
    return weights


def scaled_lisi(scores, kind):
    """`lisi` of all profiles as one number between 0 and 1, where 1 is what is wished for.

    Parameters
    ----------
    scores : pd.DataFrame
        From `lisi`.
    kind : {"batch", "label"}
        A batch should be mixed, (median - 1) / (values - 1); a label should not,
        (values - median) / (values - 1).

    Returns
    -------
    float

    Raises
    ------
    ValueError
        One value only: there is nothing to mix.

    Source: Luecken et al. 2022 (doi 10.1038/s41592-021-01336-8), iLISI and cLISI.
    """
    arguments.check_choice("kind", kind, ("batch", "label"))
    count = scores.iloc[:, 0].nunique()
    if count < 2:
        raise ValueError(f"{scores.columns[0]} has one value only: there is nothing to mix.")
    mixed = (scores["lisi"].median() - 1) / (count - 1)
    return float(mixed if kind == "batch" else 1 - mixed)


def graph_connectivity(profiles, label, metric="cosine", features=None, *, neighbours=15):
    """Whether profiles of one label hang together in the graph of nearest neighbours.

    Parameters
    ----------
    profiles : pd.DataFrame
        As of `bras`; profiles without a label are left out of the graph.
    label : str
        Such as the compound, whose batches may lie apart.
    metric, features
        As of `bras`.
    neighbours : int
        Of each profile; two are joined where either is among those of the other.

    Returns
    -------
    pd.DataFrame
        One row a label, in the order of their names: the label, ``n_profiles`` and ``connected``
        (the part of its profiles that paths within the label join, of the largest such group).

    Raises
    ------
    ValueError
        As `bras`; no label of two profiles, no more profiles than neighbours.

    Source: Luecken et al. 2022 (doi 10.1038/s41592-021-01336-8).
    """
    arguments.check_positive("neighbours", neighbours)
    arguments.check_choice("metric", metric, similarity.METRICS)
    features = similarity.find_features(profiles, features, [label])
    column = tables.find_column(profiles, label)
    rows = np.flatnonzero(profiles[column].notna())
    values = similarity.comparable(profiles, features, metric, rows)
    near = _nearest(values, metric, neighbours, "graph_connectivity")
    own = np.repeat(np.arange(len(values)), neighbours)
    graph = coo_array((np.ones(near.size), (own, near.ravel())), shape=[len(values)] * 2).tocsr()
    made = []
    names = profiles[column].to_numpy()[rows]
    for name, members in pd.Series(names).groupby(names).indices.items():
        if len(members) < 2:
            continue
        part = graph[members][:, members]
        _, component = connected_components(part, directed=False)
        made.append((name, len(members), np.bincount(component).max() / len(members)))
    if not made:
        raise ValueError(f"no {label} has two profiles: there is nothing to connect.")
    return pd.DataFrame(made, columns=[column, "n_profiles", "connected"])


def kbet(profiles, batch, metric="euclidean", features=None, *, neighbours=None, level=0.05):
    """Whether the batches among each profile's neighbours are those of a random choice.

    Parameters
    ----------
    profiles : pd.DataFrame
        As of `bras`.
    batch : str
    metric, features
        As of `bras`.
    neighbours : int, optional
        As many as a batch has profiles on average by default.
    level : float
        A neighbourhood passes where the p-value of a chi-squared test is at least this.

    Returns
    -------
    pd.DataFrame
        One row a profile: the batch, ``p_value``, ``accepted`` and ``neighbours``. The mean of
        ``accepted`` is the score, 1 for batches that are mixed.

    Raises
    ------
    ValueError
        As `bras`; one batch only, no more profiles than neighbours.

    Source: Büttner et al. 2019 (doi 10.1038/s41592-018-0254-1). Expected is what batches have of
    all other profiles, since no profile is a neighbour of its own.
    """
    arguments.check_choice("metric", metric, similarity.METRICS)
    features = similarity.find_features(profiles, features, [batch])
    codes = similarity.whole_codes(profiles, batch)
    counts = np.bincount(codes)
    if len(counts) < 2:
        raise ValueError(f"there is one {batch} only: nothing to mix.")
    neighbours = neighbours or max(2, round(len(codes) / len(counts)))
    values = similarity.comparable(profiles, features, metric)
    near = _nearest(values, metric, neighbours, "kbet")
    member = np.eye(len(counts))
    observed = member[codes[near]].sum(1)
    others = counts - member[codes]
    expected = neighbours * others / (len(codes) - 1)
    apart = (observed - expected) ** 2
    # Of a batch that no other profile belongs to, none is expected, and none is there.
    statistic = np.divide(apart, expected, out=np.zeros_like(apart), where=expected > 0).sum(1)
    p_value = chi2.sf(statistic, (others > 0).sum(1) - 1)
    column = tables.find_column(profiles, batch)
    made = {column: profiles[column], "p_value": p_value, "accepted": p_value >= level}
    return pd.DataFrame(made | {"neighbours": neighbours})


def _nearest(values, metric, count, name):
    """(n, count): the nearest other rows of each, in no order."""
    if count >= len(values):
        raise ValueError(
            f"{name}: {len(values)} profiles are too few for {count} neighbours each; give fewer."
        )
    near = np.empty((len(values), count), int)
    for here, distances in similarity.distance_blocks(values, metric):
        distances[np.arange(len(distances)), np.arange(here.start, here.stop)] = np.inf
        near[here] = np.argpartition(distances, count - 1, axis=1)[:, :count]
    return near


def variance_explained(profiles, columns, features=None):
    """Share of the features' variance that each column explains by itself.

    Parameters
    ----------
    profiles : pd.DataFrame
        As of `bras`.
    columns : list of str
        Text is taken as groups, numbers as a straight line: give plates that are numbers as text.
    features : list of str, optional
        As of `nearest_neighbour_accuracy`.

    Returns
    -------
    pd.DataFrame
        One row a column: ``column``, ``kind`` (groups or line), ``n_profiles`` (those that have a
        value), ``explained`` (mean R squared over the features, which so count alike),
        ``by_chance`` (what is expected without any relation, (groups - 1) / (n - 1)),
        ``beyond_chance`` (adjusted R squared: below 0 by chance as often as above).

    Raises
    ------
    ValueError
        A column that does not exist, missing or infinite features, fewer than three profiles with
        a value, no feature that varies.
    """
    features = similarity.find_features(profiles, features, columns)
    rows = []
    for name in columns:
        series = profiles[tables.find_column(profiles, name)]
        has, values, total = _variance(profiles, name, features)
        design = _design(series.iloc[has])
        explained = _share(design, values, total)
        n, degrees = len(has), design.shape[1]
        chance = degrees / (n - 1)
        left = n - 1 - degrees
        adjusted = 1 - (1 - explained) * (n - 1) / left if left else np.nan
        kind = "line" if is_line(series) else "groups"
        rows.append((name, kind, n, explained, chance, adjusted))
    names = ["column", "kind", "n_profiles", "explained", "by_chance", "beyond_chance"]
    return pd.DataFrame(rows, columns=names)


def exchanged_variance(profiles, column, within=(), features=None, *, draws=999, seed=0):
    """What `variance_explained` gives once the values of a column are exchanged.

    Parameters
    ----------
    profiles, features
        As of `variance_explained`.
    column : str
    within : list of str
        Values are exchanged between profiles that are alike in these columns, such as those of a
        plate; between all by default.
    draws : int
    seed : int

    Returns
    -------
    numpy.ndarray
        (draws,), ``explained`` of each exchange.

    Raises
    ------
    ValueError
        As `variance_explained`; draws that are not above 0.
    """
    arguments.check_positive("draws", draws)
    features = similarity.find_features(profiles, features, [column, *within])
    has, values, total = _variance(profiles, column, features)
    part = profiles.iloc[has]
    design = _design(part[tables.find_column(profiles, column)])
    keys = [tables.find_column(profiles, name) for name in within]
    groups = list(tables.groups(part, keys).values())
    rng, made = np.random.default_rng(seed), np.empty(draws)
    order = np.arange(len(has))
    for i in range(draws):
        for members in groups:
            order[members] = rng.permutation(members)
        made[i] = _share(design[order], values, total)
    return made


def _variance(profiles, column, features):
    """Rows with a value, their features centred, and the sums of squares of those that vary."""
    has = np.flatnonzero(profiles[tables.find_column(profiles, column)].notna())
    if len(has) < 3:
        raise ValueError(f"{len(has)} profiles have a {column}; three or more are needed.")
    values = similarity.comparable(profiles, features, "euclidean", has)
    values = values - values.mean(0)
    values = values[:, _varies(values)]
    if not values.shape[1]:
        raise ValueError("no feature varies: there is no variance to explain.")
    return has, values, (values**2).sum(0)


def _share(design, values, total):
    """Mean share of the features' sums of squares that orthonormal columns explain."""
    return float((((design.T @ values) ** 2).sum(0) / total).mean())


def _varies(centred):
    """Which columns are more than rounding."""
    spread = np.abs(centred).max(0)
    return spread > similarity.TOLERANCE * max(spread.max(initial=0), np.finfo(float).tiny)


def is_line(series):
    """Whether values are numbers, rather than names of groups."""
    return pd.api.types.is_numeric_dtype(series) and not pd.api.types.is_bool_dtype(series)


def _design(series):
    """Orthonormal columns that span what a column of groups, or of numbers, can explain."""
    if is_line(series):
        columns = series.to_numpy(float)[:, None]
    else:
        codes = pd.factorize(series.astype(str))[0]
        columns = np.eye(codes.max() + 1)[codes]
    columns = columns - columns.mean(0)
    left, sizes, _ = np.linalg.svd(columns, full_matrices=False)
    return left[:, sizes > 1e-9 * max(sizes.max(initial=0), np.finfo(float).tiny)]


def pc_regression(profiles, column, features=None, *, components=50):
    """Share of the variance of the first principal components that a column explains.

    Parameters
    ----------
    profiles, column, features
        As of `variance_explained`, features in their own units: large ones count more.
    components : int
        Principal components, at most as many as there are.

    Returns
    -------
    float
        0 to 1.

    Raises
    ------
    ValueError
        As `variance_explained`.

    Source: Büttner et al. 2019 (doi 10.1038/s41592-018-0254-1).
    """
    arguments.check_positive("components", components)
    features = similarity.find_features(profiles, features, [column])
    series = profiles[tables.find_column(profiles, column)]
    similarity.whole_codes(profiles, column)
    values = similarity.comparable(profiles, features, "euclidean")
    left, sizes, _ = np.linalg.svd(values - values.mean(0), full_matrices=False)
    variances = sizes[:components] ** 2
    if not variances.sum() > 0:
        raise ValueError("no feature varies: there is no variance to explain.")
    shares = ((_design(series).T @ left[:, :components]) ** 2).sum(0)
    return float((shares * variances).sum() / variances.sum())


def positions(profiles, well="well"):
    """Row, column and edge of each well, for `variance_explained`.

    Parameters
    ----------
    profiles : pd.DataFrame
    well : str
        Column of names such as A01.

    Returns
    -------
    pd.DataFrame
        ``row`` and ``column`` as text, ``edge`` ("edge" for the outermost rows and columns of the
        smallest of the plates with 24, 96, 384 and 1536 wells that holds all, else "inner").

    Raises
    ------
    ValueError
        A well that is not a row's letters and a column's number.
    """
    names = profiles[tables.find_column(profiles, well)]
    made = wells.positions(names)
    return pd.DataFrame(
        {
            "row": made["row"].map(wells.row_letters),
            "column": made["column"].astype(str).str.zfill(2),
            "edge": np.where(made["edge"], "edge", "inner"),
        }
    )


def inductive_scores(profiles, batch, fit, score):
    """A correction on a batch that it never saw: fit on all others, applied to that one, scored.

    Parameters
    ----------
    profiles : pd.DataFrame
    batch : str
        Column of what is left out in turn.
    fit : callable
        Profiles -> an object with ``transform(profiles)``.
    score : callable
        Profiles of one batch -> a number.

    Returns
    -------
    pd.DataFrame
        One row a batch, in their order: the batch, ``n_profiles``, ``before`` and ``after``.

    Raises
    ------
    ValueError
        Fewer than two batches, profiles without one.
    """
    codes = similarity.whole_codes(profiles, batch)
    if codes.max() < 1:
        raise ValueError(f"there is one {batch} only: nothing is left to fit on without it.")
    column = tables.find_column(profiles, batch)
    rows = []
    for code in range(codes.max() + 1):
        own = profiles[codes == code].reset_index(drop=True)
        rest = profiles[codes != code].reset_index(drop=True)
        after = fit(rest).transform(own)
        rows.append((own[column].iloc[0], len(own), float(score(own)), float(score(after))))
    return pd.DataFrame(rows, columns=[column, "n_profiles", "before", "after"])


def drift(profiles, batch, refit, metric="cosine"):
    """How far profiles move when a batch is added to those that a correction learns from.

    Parameters
    ----------
    profiles : pd.DataFrame
    batch : str
        Column of what is added in turn.
    refit : callable
        Profiles -> the same rows corrected, by what it learns from all of them.
    metric : str
        Of the distances whose ranks are compared.

    Returns
    -------
    pd.DataFrame
        One row a batch that is added, in their order: the batch, ``n_profiles`` (of the old ones),
        ``displacement`` (mean Euclidean distance between a profile before and after, in units of
        the mean distance of the profiles before from their mean), ``rank_change`` (1 minus the
        Spearman correlation of a profile's distances to the other old ones, mean over profiles),
        ``new_neighbour`` (share of the old profiles whose nearest old one is another). All three
        are 0 where nothing moves.

    Raises
    ------
    ValueError
        Fewer than two batches, profiles without one; fewer than three old profiles; as `bras`.
    """
    arguments.check_choice("metric", metric, similarity.METRICS)
    codes = similarity.whole_codes(profiles, batch)
    if codes.max() < 1:
        raise ValueError(f"there is one {batch} only: no other is there before it is added.")
    column = tables.find_column(profiles, batch)
    every = refit(profiles)
    rows = []
    for code in range(codes.max() + 1):
        old = np.flatnonzero(codes != code)
        if len(old) < 3:
            raise ValueError(f"drift: {len(old)} profiles are too few; it needs three or more.")
        before = refit(profiles.iloc[old].reset_index(drop=True))
        after = every.iloc[old].reset_index(drop=True)
        features = similarity.find_features(before, None, [batch])
        first, second = (made[features].to_numpy(float) for made in (before, after))
        size = np.linalg.norm(first - first.mean(0), axis=1).mean()
        moved = np.linalg.norm(second - first, axis=1).mean()
        ranks = [_ranks(made, features, metric) for made in (before, after)]
        centred = [r - r.mean(1, keepdims=True) for r in ranks]
        lengths = [np.linalg.norm(r, axis=1) for r in centred]
        alike = (centred[0] * centred[1]).sum(1) / np.maximum(lengths[0] * lengths[1], 1e-12)
        nearest = [r.argmin(1) for r in ranks]
        rows.append(
            {
                column: profiles[column].iloc[np.flatnonzero(codes == code)[0]],
                "n_profiles": len(old),
                "displacement": moved / size if size else np.nan,
                "rank_change": float(1 - alike.mean()),
                "new_neighbour": float((nearest[0] != nearest[1]).mean()),
            }
        )
    return pd.DataFrame(rows)


def _ranks(profiles, features, metric):
    """(n, n - 1): ranks of each profile's distances to the others, in the others' order."""
    values = similarity.comparable(profiles, features, metric)
    far = np.concatenate([block for _, block in similarity.distance_blocks(values, metric)])
    others = far[~np.eye(len(far), dtype=bool)].reshape(len(far), -1)
    # What differs by rounding alone is one rank: a refit of the same would else move.
    return rankdata(np.round(others, 9), axis=1)
