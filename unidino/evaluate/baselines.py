"""Features that need no model: the number of nuclei and the mean intensities; random numbers."""

import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter, label

from .. import dataset, tables

SMOOTHING = 1.5
"""Width of the Gaussian that takes noise off before nuclei are told from the background, pixels."""

LEAST_AREA = 30
"""Smaller objects are debris, pixels."""


def otsu_threshold(values, bins=256):
    """The value that splits a histogram into the two parts that differ most.

    Parameters
    ----------
    values : numpy.ndarray
    bins : int

    Returns
    -------
    float

    Source: Otsu 1979 (doi 10.1109/TSMC.1979.4310076).
    """
    counts, edges = np.histogram(values, bins)
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    sums = np.cumsum(counts * centres)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    between[~np.isfinite(between)] = 0
    # Between two far-apart peaks every split is equally good: take the middle.
    best = np.flatnonzero(between >= between.max() * (1 - 1e-9))
    return float((edges[best[0] + 1] + edges[best[-1] + 1]) / 2)


def count_nuclei(plane):
    """Number of bright objects in a field: nuclei in a DNA stain, touching ones as one.

    Parameters
    ----------
    plane : numpy.ndarray
        (H, W), any unit.

    Returns
    -------
    int
    """
    smooth = gaussian_filter(plane.astype(float), SMOOTHING)
    objects, _ = label(smooth > otsu_threshold(smooth))
    areas = np.bincount(objects.ravel())[1:]
    return int((areas >= LEAST_AREA).sum())


def count_and_intensity(metadata, sites, nuclei=0):
    """Cell count and mean intensity of each channel, as a table like that of site embeddings.

    What a model knows beyond this is morphology; what it does not beat is not worth its price.

    Parameters
    ----------
    metadata : Metadata
        The dataset that was extracted.
    sites : pd.DataFrame
        Its site table (`Extraction.sites`), which holds the mean intensities.
    nuclei : int
        Channel in which nuclei are counted.

    Returns
    -------
    pd.DataFrame
        The metadata of `sites`, then ``emb_count_0000`` and ``emb_intensity_0000`` … , one a
        channel; missing for sites that could not be read.
    """
    read = (sites["Metadata_status"] != "failed").to_numpy()
    counts = np.full(len(sites), np.nan)
    # Site tables are sorted by file name; the stored row number leads back to the metadata.
    for i in np.flatnonzero(read):
        image = dataset.load_site(metadata, sites["Metadata_row"].iat[i])
        counts[i] = count_nuclei(image[nuclei])
    made = sites[tables.metadata_columns(sites)].reset_index(drop=True)
    features = {"emb_count_0000": counts}
    for i, channel in enumerate(metadata.channels):
        features[f"emb_intensity_{i:04d}"] = sites[f"Metadata_mean_{channel}"].to_numpy()
    return pd.concat([made, pd.DataFrame(features)], axis=1)


def gaussian(profiles, size, seed):
    """The metadata of profiles beside random features: what chance alone scores.

    Parameters
    ----------
    profiles : pd.DataFrame
    size : int
        Features.
    seed : int

    Returns
    -------
    pd.DataFrame
    """
    values = np.random.default_rng(seed).standard_normal((len(profiles), size), dtype=np.float32)
    names = [f"emb{i}" for i in range(size)]
    made = profiles[tables.metadata_columns(profiles)].reset_index(drop=True)
    return pd.concat([made, pd.DataFrame(values, columns=names)], axis=1)
