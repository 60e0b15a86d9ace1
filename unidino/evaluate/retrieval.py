"""How well profiles retrieve their like: average precision by copairs, replicate correlation."""

import tempfile

import numpy as np

from .. import tables

METRICS = ("cosine", "abs_cosine", "correlation", "euclidean", "manhattan", "chebyshev")


def average_precision(
    profiles, pos_sameby, pos_diffby=(), neg_sameby=(), neg_diffby=(), metric="cosine"
):
    """Average precision of each profile's retrieval of its like.

    Parameters
    ----------
    profiles : pd.DataFrame
        One row a profile: metadata, bare or with ``Metadata_``, then features.
    pos_sameby, pos_diffby : list of str
        What a positive pair shares, and must not share.
    neg_sameby, neg_diffby : list of str
        The same for negative pairs; without either, a negative pair differs in what a positive
        pair shares.
    metric : {"cosine", "abs_cosine", "correlation", "euclidean", "manhattan", "chebyshev"}

    Returns
    -------
    pd.DataFrame
        The metadata with ``average_precision`` (missing for profiles without a positive pair),
        ``normalized_average_precision`` (0 for chance, 1 for perfect), ``n_pos_pairs`` and
        ``n_total_pairs``. Quote it with its pair rules.

    Raises
    ------
    ValueError
        A column that does not exist, missing values in it or in the features, no pairs, an unknown
        metric.

    Source: Kalinin et al. 2024 (doi 10.1101/2024.04.01.587631).
    """
    from copairs import map as copairs_map
    from copairs.matching import UnpairedException

    if metric not in METRICS:
        raise ValueError(f"metric {metric!r} is not one of {', '.join(METRICS)}.")
    if not neg_sameby and not neg_diffby:
        neg_diffby = pos_sameby
    rules = [
        [tables.find_column(profiles, name) for name in _listed(rule)]
        for rule in (pos_sameby, pos_diffby, neg_sameby, neg_diffby)
    ]
    metadata = profiles[tables.metadata_columns(profiles)].reset_index(drop=True)
    for column in dict.fromkeys(sum(rules, [])):
        _complete(metadata[column].isna(), f"no {column}, which the pair rules use")
    features = _features(profiles)
    try:
        return copairs_map.average_precision(
            metadata, features.astype(np.float32), *rules, distance=metric, progress_bar=False
        )
    except UnpairedException:
        raise ValueError(
            f"no pair of profiles meets the rules: positive pairs share {rules[0]} and not "
            f"{rules[1]}, negative ones share {rules[2]} and not {rules[3]}."
        ) from None


def mean_average_precision(
    profiles,
    pos_sameby,
    pos_diffby=(),
    neg_sameby=(),
    neg_diffby=(),
    metric="cosine",
    *,
    null_size=10000,
    seed=0,
):
    """Mean average precision of each group of like profiles, and whether chance explains it.

    Parameters
    ----------
    profiles, pos_sameby, pos_diffby, neg_sameby, neg_diffby, metric
        As of `average_precision`; a group is what shares `pos_sameby`.
    null_size : int
        Random rankings that a p-value rests on.
    seed : int

    Returns
    -------
    pd.DataFrame
        One row a group: the columns of `pos_sameby`, ``n_profiles`` (with a positive pair),
        ``mean_average_precision``, ``mean_normalized_average_precision``, ``p_value``,
        ``corrected_p_value`` (Benjamini-Hochberg).

    Raises
    ------
    ValueError
        As `average_precision`.
    """
    from copairs import map as copairs_map

    scores = average_precision(profiles, pos_sameby, pos_diffby, neg_sameby, neg_diffby, metric)
    columns = [tables.find_column(profiles, name) for name in _listed(pos_sameby)]
    # A folder of its own: copairs' cache in the home folder outlives the call, and what it holds
    # depends on which call filled it, so that p-values would, too.
    with tempfile.TemporaryDirectory() as cache:
        made = copairs_map.mean_average_precision(
            scores,
            columns,
            null_size=null_size,
            threshold=0.05,
            seed=seed,
            progress_bar=False,
            cache_dir=cache,
        )
    made["n_profiles"] = made["indices"].map(len)
    names = ("mean_average_precision", "mean_normalized_average_precision")
    return made[[*columns, "n_profiles", *names, "p_value", "corrected_p_value"]]


def replicate_correlation(profiles, by, *, draws=1000, seed=0):
    """Median correlation between the replicates of each treatment, and of chance.

    Parameters
    ----------
    profiles : pd.DataFrame
        One row a well.
    by : list of str
        Columns that name a treatment; profiles without one are left out.
    draws : int
        Random sets of profiles, each of another treatment, that chance is taken from.
    seed : int

    Returns
    -------
    pd.DataFrame
        One row a treatment with two or more profiles: its columns, ``n_profiles``,
        ``replicate_correlation`` (median over pairs, -1 to 1), ``chance_95`` (95th percentile of
        random sets of the same size, or of one profile of every treatment where a treatment has
        more profiles than there are treatments), ``replicating`` (bool). The mean of the last is
        "percent replicating".

    Raises
    ------
    ValueError
        A column that does not exist, missing features, constant profiles, fewer than two
        treatments, or none with two profiles.

    Source: Way et al. 2022 (doi 10.1016/j.cels.2022.10.001).
    """
    keys = [tables.find_column(profiles, name) for name in _listed(by)]
    profiles = profiles.dropna(subset=keys).reset_index(drop=True)
    values = _features(profiles).astype(float)
    values = values - values.mean(1, keepdims=True)
    norms = np.linalg.norm(values, axis=1)
    _complete(norms == 0, "the same value in every feature")
    values /= norms[:, None]
    members = list(profiles.groupby(keys, sort=False).indices.values())
    several = [rows for rows in members if len(rows) > 1]
    if not several:
        raise ValueError(f"no {' and '.join(_listed(by))} has two profiles: nothing is replicated.")
    if len(members) < 2:
        raise ValueError(f"there is one {' and '.join(_listed(by))} only: nothing to compare with.")
    rng = np.random.default_rng(seed)
    chance = {}
    for size in sorted({len(rows) for rows in several}):
        drawn = (
            [
                rng.choice(members[i])
                for i in rng.choice(len(members), min(size, len(members)), replace=False)
            ]
            for _ in range(draws)
        )
        chance[size] = np.quantile([_median_product(values[rows]) for rows in drawn], 0.95)
    made = profiles.loc[[rows[0] for rows in several], keys].reset_index(drop=True)
    made["n_profiles"] = [len(rows) for rows in several]
    made["replicate_correlation"] = [_median_product(values[rows]) for rows in several]
    made["chance_95"] = made["n_profiles"].map(chance)
    made["replicating"] = made["replicate_correlation"] > made["chance_95"]
    return made


def _median_product(values):
    """Median product of all pairs of rows."""
    products = values @ values.T
    return float(np.median(products[np.triu_indices(len(values), 1)]))


def _listed(names):
    return [names] if isinstance(names, str) else list(names)


def _features(profiles):
    """Features of all profiles, all finite."""
    features = tables.feature_columns(profiles)
    if not features:
        raise ValueError("the profiles have no features: no column is named emb…, Cells_ …")
    values = profiles[features].to_numpy()
    _complete(~np.isfinite(values).all(1), "missing or infinite features")
    return values


def _complete(lacking, what):
    lacking = np.flatnonzero(lacking)
    if len(lacking):
        raise ValueError(
            f"{len(lacking)} profiles have {what}, the first is row {lacking[0]}; remove such "
            "profiles first."
        )
