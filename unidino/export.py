"""Weights to pass on: half precision, no machine's paths; ``python -m unidino.export``."""

import sys
from pathlib import Path

import torch

from . import arguments, checkpoints, tables, training_log, training_state, vit

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


def export(folder: str, output: str, pooling: str | None = None, half: bool = True):
    """Write the teacher of a training as one small file, and its curves as CSV beside it.

    Parameters
    ----------
    folder : str
        Output folder of a training.
    output : str
        File to write, ending in .safetensors.
    pooling : str
        In the place of the pooling trained with; cls, mean, max, cls_mean or cls_max.
    half : bool
        Store half precision; it is computed with in single precision all the same.

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
    output = Path(output)
    if output.suffix != ".safetensors":
        raise ValueError(f"output is {output}; its name must end in .safetensors.")
    weights = Path(folder) / training_state.WEIGHTS
    model = checkpoints.load_checkpoint(weights, pooling=pooling)
    if half:
        model.half()
        rounded = {k for k, v in model.weights().items() if not torch.isfinite(v.float()).all()}
        if rounded:
            raise ValueError(
                f"{weights}: {', '.join(sorted(rounded)[:3])} leave the range of half precision; "
                "set half to false."
            )
    epochs = training_log.read_log(folder, training_log.EPOCHS)
    header = checkpoints.read_header(weights)
    details = {name: header[name] for name in ("epoch", "step")}
    details["training"] = _nameless(header["training"])
    checkpoints.save_model(model, output, details)
    with tables.atomic_path(output.with_suffix(".epochs.csv")) as temporary:
        epochs.drop(columns="warnings").round(5).to_csv(temporary, index=False, lineterminator="\n")
    return output


def main(argv=None):
    """The command line."""
    options = vars(arguments.parser(export, "python -m unidino.export").parse_args(argv))
    try:
        print(export(**options))
    except (ValueError, TypeError, FileNotFoundError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
