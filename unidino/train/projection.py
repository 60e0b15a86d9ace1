"""A linear projection on top of a trained model, fitted without labels to crops of images."""

from dataclasses import replace

import numpy as np
import torch

from .. import embedding
from ..choices import SHRINKAGE
from ..models import vit
from ..progress import Progress
from . import augment
from .data import TrainingImages, collate, views_of

_BATCH = 50


def check_dim(dim, features, images):
    """Stop on more directions than so many features and images have.

    Raises
    ------
    ValueError
    """
    most = min(features, images - 1)
    if not 1 <= dim <= most:
        raise ValueError(
            f"projected_dim is {dim}; expected 1 to {most}: no more than the {features} features "
            f"and than the {images} images less one."
        )


def fit_projection(features, images, dim, shrinkage=SHRINKAGE):
    """The directions that tell images apart, relative to how their crops differ.

    Parameters
    ----------
    features : numpy.ndarray
        (N, D), embeddings of crops.
    images : numpy.ndarray
        (N,), the image of each crop.
    dim : int
        Directions to keep, those that tell apart best.
    shrinkage : float
        0 to 1, see `SHRINKAGE`.

    Returns
    -------
    weight : numpy.ndarray
        (dim, D); within images the projections have unit variance and no correlation.
    bias : numpy.ndarray
        (dim,); the mean crop becomes 0.

    Notes
    -----
    Two crops of one image show other cells in other places, of the same treatment. Directions in
    which they agree while images differ carry what is asked of profiles; the others are noise to
    every distance.

    Source: linear discriminant analysis (Fisher 1936) with the image as the class, as
    discriminative whitening is learned from matching pairs in image retrieval (Mikolajczyk and
    Matas 2007, Improving descriptors for fast tree matching by optimal linear projection;
    Radenović et al. 2018, arXiv:1711.02512, section 3.4).

    Raises
    ------
    ValueError
        More directions than features, or than images less one; an image with a single crop.
    """
    _, counts = np.unique(images, return_counts=True)
    check_dim(dim, features.shape[1], len(counts))
    if counts.min() < 2:
        raise ValueError("an image has a single crop; the projection needs two or more of each.")
    # Few exports fit a projection, and sklearn takes a second to load.
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    analysis = LinearDiscriminantAnalysis(
        solver="eigen", shrinkage=shrinkage, priors=counts / counts.sum()
    ).fit(features.astype(np.float64), images)
    weight = analysis.scalings_[:, :dim].T
    return weight, -weight @ features.mean(0, dtype=np.float64)


def embed_images(model, sets, options, count, crops, seed=0, batch_size=96):
    """Embeddings of several crops of drawn images, magnified alike but not augmented.

    Parameters
    ----------
    model : EmbeddingModel
        In eval mode, on the device that it is to run on.
    sets : list of planes.Planes
        What the model was trained on.
    options : dict
        Of its training: size, zoom_min, zoom_max and what decides the draws.
    count : int
        Images to draw, as the training drew them.
    crops : int
        Crops of each.
    seed : int
        Of the draws.
    batch_size : int
        Crops in a forward pass.

    Returns
    -------
    features : numpy.ndarray
        (count x crops, D).
    images : numpy.ndarray
        (count x crops,), number of the image of each.
    """
    size = options["size"]
    views = augment.ViewSettings(
        size=size,
        local_size=size,
        local_crops_number=crops - augment.GLOBAL_VIEWS,
        zoom_min=options["zoom_min"],
        zoom_max=options["zoom_max"],
        shared_zoom=True,
        shift=0.0,
        gamma_min=1.0,
        gamma_max=1.0,
    )
    names = ("dataset_weights", "intensity_scaling", "min_contrast")
    drawn = {name: options[name] for name in names}
    source = TrainingImages(sets, views, seed=seed, **drawn)
    device = next(model.parameters()).device
    embedder = embedding.Embedder(model, batch_size, device)
    features, images = [], []
    with Progress(count * crops, "crop", "projection") as bar:
        for first in range(0, count, _BATCH):
            number = min(_BATCH, count - first)
            batch = collate([source[(0, first + i)] for i in range(number)])
            planes = torch.cat(views_of(batch, views, device))
            features.append(embedder.forward(planes).cpu())
            images.append(batch["image"].repeat(crops))
            bar.update(number * crops)
    return torch.cat(features).numpy(), torch.cat(images).numpy()


def projected(model, weight, bias):
    """A model that ends in a projection.

    Parameters
    ----------
    model : EmbeddingModel
        Without one; its weights are shared.
    weight, bias : numpy.ndarray
        From `fit`.

    Returns
    -------
    EmbeddingModel
        In eval mode.
    """
    made = vit.EmbeddingModel(replace(model.config, projected_dim=len(weight)))
    made.backbone, made.cls_reducer = model.backbone, model.cls_reducer
    with torch.no_grad():
        made.projection.weight.copy_(torch.from_numpy(weight))
        made.projection.bias.copy_(torch.from_numpy(bias))
    return made.eval()
