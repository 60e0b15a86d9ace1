"""Weights to pass on: half precision, no machine's paths; ``python -m unidino.train.export``."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from .. import arguments, embedding, tables
from ..models import checkpoints, load_model, vit
from ..progress import Progress, one_line
from . import augment, data
from .data import TrainingImages, collate, views_of
from .log import EPOCHS, read_log
from .state import WEIGHTS

SHRINKAGE = 0.03
"""Share of an even spread that is mixed into the covariance within images."""

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


# They say where a run was carried out, on whose machine.
_PLACES = ("output_dir", "device")


def _nameless(options):
    """Training options without the folders of the machine that trained."""
    kept = {name: value for name, value in options.items() if name not in _PLACES}
    sets = kept.get("datasets") or []
    kept["datasets"] = [_short(text) for text in sets]
    for name in ("monitor", "ckpt", "distil_from"):
        if kept.get(name):
            kept[name] = _short(kept[name])
    return kept


def _short(text):
    """HPA@/data/simulated-1 becomes HPA@simulated-1, /data/mix.csv mix.csv."""
    name, at, root = str(text).partition("@")
    return f"{Path(name).name}{at}{Path(root).name}"


def _earlier(options):
    """Options of the trainings that a training started from, the first one first."""
    found = []
    while options.get("ckpt") and Path(options["ckpt"]).suffix == ".safetensors":
        options = checkpoints.read_header(options["ckpt"]).get("training", {})
        if options:
            found.insert(0, _nameless(options))
    return found


def export(
    folder: str,
    output: str,
    pooling: str | None = None,
    block: int | None = None,
    half: bool = True,
    projected_dim: int | None = None,
    projection_images: int = 2000,
    projection_crops: int = 4,
    projection_shrinkage: float = SHRINKAGE,
    model: str | None = None,
    device: str | None = None,
    seed: int = 0,
):
    """Write the teacher of a training as one small file, and its curves as CSV beside it.

    Parameters
    ----------
    folder : str
        Output folder of a training.
    output : str
        File to write, ending in .safetensors.
    pooling : str
        In the place of the pooling trained with; cls, mean, max, cls_mean, cls_max or
        cls_mean_max.
    block : int
        Block that is read, from 1, in the place of the last.
    half : bool
        Store half precision; it is computed with in single precision all the same.
    projected_dim : int
        Features after a linear projection that is fitted to images of the training, which must
        still lie where they lay; none by default.
    projection_images, projection_crops : int
        Images drawn to fit it, and crops of each.
    projection_shrinkage : float
        Share of an even spread that is mixed into the covariance within images, 0 to 1: more where
        features are many and images few.
    model : str
        A model by name in the place of the trained one, such as transfer: what the projection is
        worth on it. random_vit has the training's own architecture.
    device : str
        Where they are embedded: cuda, cpu …; by default the GPU, else the CPU.
    seed : int
        Of the draws, and of the random weights.

    Returns
    -------
    Path
        The file. ``<stem>.epochs.csv`` beside it holds the log's epochs.

    Raises
    ------
    ValueError, FileNotFoundError
        No training there; an ending, pooling or block that is not one of those; as `load_model`.
    """
    arguments.check_types(dict(locals()), export)
    if pooling is not None:
        arguments.check_choice("pooling", pooling, vit.POOLINGS)
    for name in ("projected_dim", "projection_images", "block"):
        arguments.check_positive(name, locals()[name])
    if projection_crops < augment.GLOBAL_VIEWS:
        raise ValueError(f"projection_crops is {projection_crops}; it must be 2 or more.")
    if not 0 <= projection_shrinkage <= 1:
        raise ValueError(f"projection_shrinkage is {projection_shrinkage}; it is a share, 0 to 1.")
    output = Path(output)
    if output.suffix != ".safetensors":
        raise ValueError(f"output is {output}; its name must end in .safetensors.")
    weights = Path(folder) / WEIGHTS
    if not weights.is_file():
        raise FileNotFoundError(
            f"folder {folder} holds no {WEIGHTS}: give the output_dir of a training."
        )
    network = checkpoints.load_checkpoint(weights, pooling=pooling, block=block)
    header = checkpoints.read_header(weights)
    details = {name: header[name] for name in ("epoch", "step")}
    details["training"] = _nameless(header["training"])
    if earlier := _earlier(header["training"]):
        details["earlier"] = earlier
    epochs = read_log(folder, EPOCHS)
    if model is not None:
        channels = network.config.in_chans
        if model == "random_vit":
            network = vit.seeded(network.config, seed)
        else:
            network = load_model(model, pooling=pooling, block=block)
        if network.config.in_chans != channels:
            raise ValueError(
                f"model {model} takes {network.config.in_chans} channels together, the training's "
                f"images have {channels}."
            )
        details |= {"epoch": 0, "step": 0, "model": model}
        epochs = epochs.head(0)
    if network.licence:
        details["licence"] = network.licence
    if projected_dim:
        if network.config.projected_dim:
            raise ValueError(f"model {model} ends in a projection already; leave one of them out.")
        check_dim(projected_dim, network.embedding_dim, projection_images)
        settings = {"images": projection_images, "crops": projection_crops, "seed": seed}
        drawn = embed_images(
            network.to(embedding.find_device(device)),
            data.read_planes(folder),
            header["training"],
            *settings.values(),
        )
        fitted = fit_projection(*drawn, projected_dim, projection_shrinkage)
        network = projected(network.cpu(), *fitted)
        details["projection"] = settings | {"shrinkage": projection_shrinkage}
    if half:
        network.half()
        network.projection.float()
        rounded = {k for k, v in network.weights().items() if not torch.isfinite(v.float()).all()}
        if rounded:
            raise ValueError(
                f"{weights}: {', '.join(sorted(rounded)[:3])} leave the range of half precision; "
                "set half to false."
            )
    checkpoints.save_model(network, output, details)
    with tables.atomic_path(output.with_suffix(".epochs.csv")) as temporary:
        epochs.drop(columns="warnings").round(5).to_csv(temporary, index=False, lineterminator="\n")
    return output


def main(argv=None, program="python -m unidino.train.export"):
    """The command line."""
    options = vars(arguments.parser(export, program).parse_args(argv))
    try:
        print(export(**options))
    except (ValueError, TypeError, OSError, RuntimeError) as error:
        sys.exit(f"error: {one_line(error)}")


if __name__ == "__main__":
    main()
