"""Profiles laid out in the plane: illustrations of neighbourhoods, no measurements."""

import warnings

from .. import tables

NEIGHBOURS = 15
"""Of each profile, from which UMAP learns; fewer where there are fewer profiles."""

LEAST_PROFILES = 5
"""Fewer profiles have no layout that would tell more than their distances."""


def umap_coordinates(profiles, *, densmap=False, seed=0):
    """Two UMAP coordinates of each profile, by cosine distance.

    They differ between systems and numbers of threads: keep them as a table, compare no digits.

    Parameters
    ----------
    profiles : pd.DataFrame
    densmap : bool
        Keep how dense a neighbourhood is, too.
    seed : int

    Returns
    -------
    numpy.ndarray
        (n, 2).

    Raises
    ------
    ValueError
        Fewer than `LEAST_PROFILES`.

    Source: McInnes et al. 2018 (doi 10.21105/joss.00861); densMAP: Narayan, Berger and Cho 2021
    (doi 10.1038/s41587-020-00801-7).
    """
    if len(profiles) < LEAST_PROFILES:
        raise ValueError(
            f"{len(profiles)} profiles are too few for a map; {LEAST_PROFILES} or more are needed."
        )
    with warnings.catch_warnings():
        # It announces that a seed means one thread, which is what we want.
        warnings.simplefilter("ignore")
        import umap

        reducer = umap.UMAP(
            n_neighbors=min(NEIGHBOURS, len(profiles) - 1),
            metric="cosine",
            densmap=densmap,
            random_state=seed,
            n_jobs=1,
        )
        return reducer.fit_transform(profiles[tables.feature_columns(profiles)].to_numpy())
