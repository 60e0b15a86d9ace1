"""Real single cells of BBBC021, held out: scaled, embedded and compared by a fixed protocol."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.nn import functional

from .. import profiles
from ..embedding import Embedder
from ..evaluate import bbbc021, handmade

FOLDER = "bbbc021_singlecell_1000"
CHANNELS = ("DNA", "actin", "tubulin")
PERCENTILES = (0.5, 99.7)
"""Of each channel over all crops; they become 0 and 1."""

SIZE = 128
"""Side to which crops are enlarged before they are embedded, pixels."""

_LABELS = ["plate", "well", "site", "compound", "concentration", "moa"]


def read(root):
    """The crops that show cells, and their labels.

    Parameters
    ----------
    root : Path
        The real data root, see `unidino.paths.real_data_root`.

    Returns
    -------
    labels : pd.DataFrame
        One row a crop: plate, well, site, compound, concentration, moa, control_type (negcon is
        DMSO).
    crops : numpy.ndarray
        (n, 3, 68, 68) uint16, channels as `CHANNELS`.

    Raises
    ------
    FileNotFoundError
        The crops are not there.
    """
    folder = Path(root or ".") / FOLDER
    if root is None or not (folder / "labels.csv").is_file():
        raise FileNotFoundError(
            f"the real crops {FOLDER} are absent: set UNIDINO_REAL to the folder above them."
        )
    table = pd.read_csv(folder / "labels.csv")
    table = table[~table["empty_crop"]].reset_index(drop=True)
    crops = np.stack([np.load(folder / "cells" / file) for file in table["file"]])
    labels = table[_LABELS].assign(
        control_type=np.where(table["compound"] == "DMSO", "negcon", None)
    )
    return labels, crops.transpose(0, 3, 1, 2)


def scale(crops):
    """Each channel between its percentiles over all crops, clipped to [0, 1].

    Parameters
    ----------
    crops : numpy.ndarray
        (n, C, H, W).

    Returns
    -------
    numpy.ndarray
        (n, C, H, W) float32.
    """
    low, high = np.percentile(crops, PERCENTILES, axis=(0, 2, 3))[:, None, :, None, None]
    return np.clip((crops - low) / (high - low), 0, 1).astype(np.float32)


def embed(model, scaled, *, size=SIZE, batch_size=64, precision="fp32"):
    """Embeddings of crops, every channel alone.

    Parameters
    ----------
    model : EmbeddingModel
        Single-channel.
    scaled : numpy.ndarray
        (n, C, H, W) float32, 0 to 1.
    size : int
        Side to which crops are resized, pixels (bilinear).

    Returns
    -------
    pd.DataFrame
        (n, C x D), columns ``emb_<channel>_<0000>``.

    Raises
    ------
    ValueError
        A model of several channels.
    """
    if model.config.in_chans != 1:
        raise ValueError(f"{model.name} embeds {model.config.in_chans} channels together, not one.")
    embedder = Embedder(model, batch_size, torch.device("cpu"), precision)
    parts = []
    for channel, name in enumerate(CHANNELS[: scaled.shape[1]]):
        planes = torch.from_numpy(np.ascontiguousarray(scaled[:, channel : channel + 1]))
        planes = functional.interpolate(planes, (size, size), mode="bilinear", align_corners=False)
        values = embedder.forward(planes).numpy()
        columns = [f"emb_{name}_{i:04d}" for i in range(values.shape[1])]
        parts.append(pd.DataFrame(values, columns=columns))
    return pd.concat(parts, axis=1)


def by_hand(scaled):
    """Hand-made features of scaled crops, at their own size; as of `handmade.site_features`."""
    return pd.DataFrame([handmade.site_features(crop, list(CHANNELS)) for crop in scaled])


def treatments(labels, features):
    """Features z-scored on the DMSO crops, averaged over the crops of each treatment.

    Parameters
    ----------
    labels : pd.DataFrame
        From `read`.
    features : pd.DataFrame
        One row a crop; those without spread among the DMSO crops are dropped.

    Returns
    -------
    pd.DataFrame
        One row a compound and concentration, DMSO left out.
    """
    crops = pd.concat([labels, features], axis=1)
    crops = profiles.normalise(crops, "standardize", "negcon", by=[]).profiles
    treated = crops[crops["control_type"].isna()].drop(columns="control_type")
    return profiles.consensus(treated, list(bbbc021.TREATMENT), "mean")
