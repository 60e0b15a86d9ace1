"""Features that need no model: the number of nuclei and the mean intensities; random numbers."""

import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter

from .. import quality, tables


def count_and_intensity(profiles):
    """Cell count and mean intensity of each channel, which extraction measured on the way.

    What a model knows beyond this is morphology; what it does not beat is not worth its price.

    Parameters
    ----------
    profiles : pd.DataFrame
        Sites or profiles of an extraction, with ``Metadata_objects`` and the measures of
        `quality.channels`.

    Returns
    -------
    pd.DataFrame
        The metadata of `profiles`, then ``emb_count_0000`` and ``emb_intensity_0000`` … , one a
        channel.

    Raises
    ------
    ValueError
        A table of another program, which does not hold them.
    """
    channels = quality.channels(profiles)
    if not channels or "Metadata_objects" not in quality.columns(profiles):
        raise ValueError(
            "the table holds no Metadata_objects or no Metadata_mean_<channel>: counts and "
            "intensities are known of extractions of unidino only."
        )
    features = {"emb_count_0000": profiles["Metadata_objects"]} | {
        f"emb_intensity_{i:04d}": profiles[f"Metadata_mean_{channel}"]
        for i, channel in enumerate(channels)
    }
    return described(profiles, pd.DataFrame(features).astype(float))


def object_count(profiles):
    """The number of nuclei alone, which predicts much of what depends on how many cells there are.

    Parameters
    ----------
    profiles : pd.DataFrame
        As of `count_and_intensity`.

    Returns
    -------
    pd.DataFrame
        The metadata of `profiles`, then ``emb_count_0000``.

    Raises
    ------
    ValueError
        A table that holds no counts.
    """
    if "Metadata_objects" not in profiles:
        raise ValueError(
            "the table holds no Metadata_objects: counts are known of extractions of unidino only."
        )
    counts = pd.DataFrame({"emb_count_0000": profiles["Metadata_objects"].astype(float)})
    return described(profiles, counts)


def one_hot(profiles, column):
    """What one label alone would score: a feature a value, 1 where a profile has it.

    They are compared as they are: a normalisation by plate would take a batch out.

    Parameters
    ----------
    profiles : pd.DataFrame
    column : str
        Such as the well, for its position, or the batch.

    Returns
    -------
    pd.DataFrame
        The metadata of `profiles`, then ``emb_<column>_0000`` … .

    Raises
    ------
    ValueError
        A column that does not exist, has missing values, or one value only.
    """
    values = profiles[tables.find_column(profiles, column)]
    if values.isna().any() or values.nunique() < 2:
        raise ValueError(
            f"{column} has {values.nunique()} values in {len(profiles)} profiles, "
            f"{int(values.isna().sum())} missing; two or more are needed, and none missing."
        )
    codes, names = pd.factorize(values)
    features = pd.DataFrame(
        np.eye(len(names), dtype=np.float32)[codes],
        columns=[f"emb_{column}_{i:04d}" for i in range(len(names))],
    )
    return described(profiles, features)


def described(profiles, features):
    """Features behind the metadata of the profiles that they belong to, rows numbered from 0."""
    metadata = profiles[tables.metadata_columns(profiles)].reset_index(drop=True)
    return pd.concat([metadata, features.reset_index(drop=True)], axis=1)


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
    return described(profiles, pd.DataFrame(values, columns=names))


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


def scaled_sites(metadata):
    """The images of all sites, one after another, scaled by the percentiles of their plate.

    Parameters
    ----------
    metadata : Metadata

    Yields
    ------
    int
        Row of the site.
    numpy.ndarray
        (C, H, W) float, 0 to 1.

    Raises
    ------
    ValueError
        A site that is unreadable, or unlike the others of its plate.
    """
    # Only images need `dataset`, and with it torch, which takes seconds to load; tables do not.
    from .. import dataset

    refused = dataset.inspect(metadata).refused
    if refused:
        raise ValueError(next(iter(refused.values())))
    statistics = dataset.plate_statistics(metadata, refused={})
    by_plate = dataset.statistics_by_plate(metadata, statistics)
    for key, members in metadata.plates().items():
        low, high = by_plate[key][["low", "high"]].to_numpy().T[:, :, None, None]
        for i in members:
            image = dataset.load_site(metadata, i).astype(np.float32)
            yield i, np.clip((image - low) / (high - low), 0, 1)


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
    rows = [None] * len(metadata.metadata)
    for i, image in scaled_sites(metadata):
        rows[i] = site_features(image, metadata.channels)
    described = tables.prefixed(metadata.described)
    return pd.concat([described, pd.DataFrame(rows)], axis=1)
