"""Harmony: batches mixed within clusters of profiles, all profiles at once."""

from importlib.util import find_spec

import numpy as np
import pandas as pd

from .. import tables

_MOST_CLUSTERS = 100


def harmony(profiles, batch="batch", *, seed=0):
    """Profiles whose batches were mixed by Harmony.

    It learns from all profiles, treatments included, and cannot be applied to others: no inductive
    score exists for it, and what it is worth is told on the profiles that it saw.

    Parameters
    ----------
    profiles : pd.DataFrame
        One row a profile.
    batch : str
        Column of the batches, bare or with ``Metadata_``.
    seed : int

    Returns
    -------
    pd.DataFrame
        The same rows and columns: principal components are corrected and turned back.

    Raises
    ------
    ImportError
        harmonypy is not installed.
    ValueError
        Fewer than two batches, profiles without one, missing or infinite features, fewer than ten
        profiles.

    Source: Korsunsky et al. 2019 (doi 10.1038/s41592-019-0619-0), by harmonypy; all principal
    components as in Arevalo et al. 2024 (doi 10.1038/s41467-024-50613-5).
    """
    names = check_batches(profiles, batch)
    from harmonypy import run_harmony

    features = tables.feature_columns(profiles)
    values = profiles[features].to_numpy(float)
    if not features or not np.isfinite(values).all():
        raise ValueError(
            "harmony: the table has no features, or missing or infinite ones; remove these first."
        )
    mean = values.mean(0)
    _, sizes, axes = np.linalg.svd(values - mean, full_matrices=False)
    kept = sizes > 1e-9 * sizes[0]
    axes = axes[kept]
    components = (values - mean) @ axes.T
    clusters = int(min(_MOST_CLUSTERS, max(2, len(profiles) // 30)))
    made = run_harmony(
        components, pd.DataFrame({"batch": names.astype(str).to_numpy()}), ["batch"],
        nclust=clusters, random_state=seed, ncores=1, verbose=False,
    ).Z_corr  # fmt: skip
    made = pd.DataFrame(made @ axes + mean, columns=features, index=profiles.index)
    return pd.concat([profiles.drop(columns=features), made], axis=1)[list(profiles.columns)]


def check_batches(profiles, batch):
    """The batch of each profile, where harmony can be asked to mix them.

    Raises
    ------
    ImportError, ValueError
        As `harmony`.
    """
    if find_spec("harmonypy") is None:
        raise ImportError("harmony needs the package harmonypy: pip install 'unidino[correct]'.")
    names = profiles[tables.find_column(profiles, batch)]
    if names.isna().any():
        raise ValueError(
            f"harmony: {int(names.isna().sum())} profiles have no {batch}, the first is row "
            f"{int(names.isna().to_numpy().argmax())}."
        )
    if names.nunique() < 2:
        raise ValueError(f"harmony: there is one {batch} only: nothing to mix.")
    if len(profiles) < 10:
        raise ValueError(f"harmony: {len(profiles)} profiles are too few; it needs ten or more.")
    return names
