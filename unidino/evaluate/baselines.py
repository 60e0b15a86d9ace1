"""Features that need no model: the number of nuclei and the mean intensities; random numbers."""

import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter

from .. import dataset, quality, tables


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
        counts[i] = quality.count_objects(image[nuclei])
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


HANDMADE_SCALES = (1.0, 2.0, 4.0, 8.0)
"""Widths of the Gaussians whose differences measure texture, in pixels."""

_QUANTILES = (5, 50, 95, 99)


def channel_features(plane):
    """Fourteen features of one channel.

    Parameters
    ----------
    plane : numpy.ndarray
        (H, W) float, 0 to 1.

    Returns
    -------
    dict
        ``mean``, ``sd``, ``skewness``, ``p5`` … ``p99``; ``texture_1`` … ``texture_8``: standard
        deviation of the structures between two scales; ``gradient``: mean step between neighbours;
        ``autocorrelation_2`` and ``_8``: correlation with itself, shifted by 2 and 8 pixels.
    """
    mean, sd = float(plane.mean()), float(plane.std())
    features = {"mean": mean, "sd": sd}
    features["skewness"] = float(((plane - mean) ** 3).mean() / sd**3) if sd else 0.0
    quantiles = np.percentile(plane, _QUANTILES)
    features |= {f"p{q}": float(v) for q, v in zip(_QUANTILES, quantiles, strict=True)}
    finer = plane
    for scale in HANDMADE_SCALES:
        coarser = gaussian_filter(plane, scale)
        features[f"texture_{scale:.0f}"] = float((finer - coarser).std())
        finer = coarser
    features["gradient"] = float(np.abs(np.diff(plane, axis=1)).mean())
    for shift in (2, 8):
        product = ((plane[:, shift:] - mean) * (plane[:, :-shift] - mean)).mean()
        features[f"autocorrelation_{shift}"] = float(product / sd**2) if sd else 0.0
    return features


def site_features(image, channels):
    """Features of a site: fourteen a channel, and the correlation of each pair of channels.

    Parameters
    ----------
    image : numpy.ndarray
        (C, H, W) float, 0 to 1.
    channels : list of str

    Returns
    -------
    dict
        Names as ``emb_<channel>_<number>``, so that tables treat them like embeddings.
    """
    made = {}
    for name, plane in zip(channels, image, strict=True):
        values = channel_features(plane).values()
        made |= {f"emb_{name}_{i:04d}": value for i, value in enumerate(values)}
    flat = image.reshape(len(image), -1)
    for i in range(len(channels)):
        for j in range(i + 1, len(channels)):
            constant = not (flat[i].std() and flat[j].std())
            value = 0.0 if constant else float(np.corrcoef(flat[i], flat[j])[0, 1])
            made[f"emb_{channels[i]}-{channels[j]}_0000"] = value
    return made


def handmade(metadata):
    """Hand-made features of every site, scaled by the percentiles of its plate.

    Parameters
    ----------
    metadata : Metadata

    Returns
    -------
    pd.DataFrame
        One row a site: the metadata columns with their prefix, then the features.

    Raises
    ------
    ValueError
        A site that is unreadable, or unlike the others of its plate.
    """
    refused = dataset.inspect(metadata).refused
    if refused:
        raise ValueError(next(iter(refused.values())))
    statistics = dataset.plate_statistics(metadata, refused={})
    by_plate = dataset.statistics_by_plate(metadata, statistics)
    rows = [None] * len(metadata.metadata)
    for key, members in metadata.plates().items():
        low, high = by_plate[key][["low", "high"]].to_numpy().T[:, :, None, None]
        for i in members:
            image = dataset.load_site(metadata, i).astype(np.float32)
            scaled = np.clip((image - low) / (high - low), 0, 1)
            rows[i] = site_features(scaled, metadata.channels)
    described = tables.prefixed(metadata.metadata.drop(columns="path"))
    return pd.concat([described, pd.DataFrame(rows)], axis=1)
