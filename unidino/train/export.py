"""Weights to pass on: half precision, no machine's paths; ``python -m unidino.train.export``."""

import sys
from pathlib import Path

import torch

from .. import arguments, embedding, tables
from ..models import checkpoints, vit
from . import augment, planes, projection
from .log import EPOCHS, read_log
from .state import WEIGHTS

# They say where a run was carried out, on whose machine.
_PLACES = ("output_dir", "device")


def _nameless(options):
    """Training options without the folders of the machine that trained."""
    kept = {name: value for name, value in options.items() if name not in _PLACES}
    sets = kept.get("datasets") or []
    kept["datasets"] = [_short(text) for text in sets]
    for name in ("monitor", "ckpt"):
        if kept.get(name):
            kept[name] = _short(kept[name])
    return kept


def _short(text):
    """HPA@/data/simulated-1 becomes HPA@simulated-1, /data/mix.csv mix.csv."""
    name, at, root = str(text).partition("@")
    return f"{Path(name).name}{at}{Path(root).name}"


def export(
    folder: str,
    output: str,
    pooling: str | None = None,
    half: bool = True,
    projected_dim: int | None = None,
    projection_images: int = 2000,
    projection_crops: int = 4,
    untrained: bool = False,
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
    half : bool
        Store half precision; it is computed with in single precision all the same.
    projected_dim : int
        Features after a linear projection that is fitted to images of the training, which must
        still lie where they lay; none by default.
    projection_images, projection_crops : int
        Images drawn to fit it, and crops of each.
    untrained : bool
        Random weights in the place of the trained ones: what the projection is worth by itself.
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
        No training there; an ending or pooling that is not one of those.
    """
    arguments.check_types(dict(locals()), export)
    if pooling is not None:
        arguments.check_choice("pooling", pooling, vit.POOLINGS)
    for name in ("projected_dim", "projection_images"):
        arguments.check_positive(name, locals()[name])
    if projection_crops < augment.GLOBAL_VIEWS:
        raise ValueError(f"projection_crops is {projection_crops}; it must be 2 or more.")
    output = Path(output)
    if output.suffix != ".safetensors":
        raise ValueError(f"output is {output}; its name must end in .safetensors.")
    weights = Path(folder) / WEIGHTS
    if not weights.is_file():
        raise FileNotFoundError(
            f"folder {folder} holds no {WEIGHTS}: give the output_dir of a training."
        )
    model = checkpoints.load_checkpoint(weights, pooling=pooling)
    header = checkpoints.read_header(weights)
    details = {name: header[name] for name in ("epoch", "step")}
    details["training"] = _nameless(header["training"])
    epochs = read_log(folder, EPOCHS)
    if untrained:
        model = vit.seeded(model.config, seed)
        details |= {"epoch": 0, "step": 0}
        epochs = epochs.head(0)
    if projected_dim:
        projection.check_dim(projected_dim, model.embedding_dim, projection_images)
        settings = {"images": projection_images, "crops": projection_crops, "seed": seed}
        drawn = projection.embed_images(
            model.to(embedding.find_device(device)),
            planes.read_planes(folder),
            header["training"],
            *settings.values(),
        )
        model = projection.projected(model.cpu(), *projection.fit(*drawn, projected_dim))
        details["projection"] = settings | {"shrinkage": projection.SHRINKAGE}
    if half:
        model.half()
        model.projection.float()
        rounded = {k for k, v in model.weights().items() if not torch.isfinite(v.float()).all()}
        if rounded:
            raise ValueError(
                f"{weights}: {', '.join(sorted(rounded)[:3])} leave the range of half precision; "
                "set half to false."
            )
    checkpoints.save_model(model, output, details)
    with tables.atomic_path(output.with_suffix(".epochs.csv")) as temporary:
        epochs.drop(columns="warnings").round(5).to_csv(temporary, index=False, lineterminator="\n")
    return output


def main(argv=None):
    """The command line."""
    options = vars(arguments.parser(export, "python -m unidino.train.export").parse_args(argv))
    try:
        print(export(**options))
    except (ValueError, TypeError, FileNotFoundError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
