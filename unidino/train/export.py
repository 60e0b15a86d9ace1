"""Weights to pass on: half precision, no machine's paths; ``python -m unidino.train.export``."""

import sys
from pathlib import Path

from .. import arguments, tables
from ..choices import GLOBAL_VIEWS, POOLINGS, SHRINKAGE
from ..progress import one_line

# What embeds and projects loads torch, which takes seconds: functions import it.

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
    from ..models import checkpoints

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
        arguments.check_choice("pooling", pooling, POOLINGS)
    for name in ("projected_dim", "projection_images", "block"):
        arguments.check_positive(name, locals()[name])
    if projection_crops < GLOBAL_VIEWS:
        raise ValueError(f"projection_crops is {projection_crops}; it must be 2 or more.")
    if not 0 <= projection_shrinkage <= 1:
        raise ValueError(f"projection_shrinkage is {projection_shrinkage}; it is a share, 0 to 1.")
    output = Path(output)
    if output.suffix != ".safetensors":
        raise ValueError(f"output is {output}; its name must end in .safetensors.")
    from ..models import checkpoints
    from .log import EPOCHS, read_log
    from .state import WEIGHTS

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
        from ..models import load_model, vit

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
        from .. import embedding
        from . import data, projection

        projection.check_dim(projected_dim, network.embedding_dim, projection_images)
        settings = {"images": projection_images, "crops": projection_crops, "seed": seed}
        drawn = projection.embed_images(
            network.to(embedding.find_device(device)),
            data.read_planes(folder),
            header["training"],
            *settings.values(),
        )
        fitted = projection.fit_projection(*drawn, projected_dim, projection_shrinkage)
        network = projection.projected(network.cpu(), *fitted)
        details["projection"] = settings | {"shrinkage": projection_shrinkage}
    if half:
        import torch

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
