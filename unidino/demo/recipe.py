"""How the demo model is trained: stage after stage, then a projection; one command.

``python -m unidino.demo.recipe DATA FOLDER`` trains on what ``python -m unidino.demo.data DATA``
prepared. Every stage keeps its checkpoints in ``FOLDER/<stage>``: the same command goes on where an
interrupted one stopped.
"""

import argparse
import sys
from pathlib import Path

from .. import arguments, paths
from ..models import vit
from ..progress import one_line
from ..train import train
from ..train.export import export
from ..train.state import WEIGHTS
from .data import development_sets, training_sets

VIEWS = {
    # Two tiles a side cover the simulated fields of 224 pixels, where 96 needs three.
    "size": 112,
    "local_size": 48,
    "zoom_min": 0.7,
    "zoom_max": 2.33,
    "shift": 0.1,
    "gamma_min": 0.7,
    "gamma_max": 1.4,
}
"""How views are cut in all stages: 48 to 160 pixels of an image, resampled to 112."""

_SHARED = VIEWS | {
    "arch": "vit_tiny",
    "intensity_scaling": "plate",
    "min_contrast": 0.03,
    "batch_size_per_gpu": 32,
    "clip_grad": 3.0,
    "num_workers": 1,
    "saveckp_freq": 0,
    "checkpoint_minutes": 3.0,
}

DISTIL = _SHARED | {
    "distil_from": "transfer",
    "dino_weight": 0.0,
    "local_crops_number": 0,
    "drop_path_rate": 0.0,
    "epochs": 20,
    "epoch_length": 4096,
    "lr": 0.008,
    "warmup_epochs": 1,
    "weight_decay_end": 0.1,
    "momentum_teacher": 0.98,
}
"""Options of `unidino.train.train` for the first stage: features of natural images, reproduced on
microscopy by a vision transformer of single channels."""

LONGER = DISTIL | {"epochs": 10, "lr": 0.005}
"""Of the second stage, which starts from the first one's weights: the same again, from a lower
learning rate."""

SELF_DISTIL = _SHARED | {
    "distil_from": "transfer",
    "distil_weight": 0.5,
    "local_crops_number": 4,
    "drop_path_rate": 0.0,
    "out_dim": 1024,
    "use_bn_in_head": True,
    "freeze_last_layer": 1,
    "momentum_teacher": 0.99,
    "warmup_teacher_temp": 0.025,
    "teacher_temp": 0.025,
    "warmup_teacher_temp_epochs": 0,
    "centring": "sinkhorn",
    "koleo_weight": 0.1,
    "epochs": 10,
    "epoch_length": 2048,
    "lr": 0.002,
    "warmup_epochs": 1,
}
"""Of another second stage: self-distillation, while the features of natural images are held on
to."""

_GPU = {"batch_size_per_gpu": 256, "num_workers": 15, "precision": "bf16", "epoch_length": 24576}

DISTIL_GPU = (
    DISTIL
    | _GPU
    | {"epochs": 24, "lr": 0.001, "momentum_teacher": 0.996, "warmup_teacher_temp_epochs": 24}
)
"""Of the first stage where a GPU is at hand: as `DISTIL`, on seven times as many images, in larger
batches."""

SELF_DISTIL_GPU = (
    SELF_DISTIL
    | _GPU
    | {
        "out_dim": 4096,
        "momentum_teacher": 0.996,
        "group_size": 4,
        "epochs": 8,
        "lr": 0.0005,
    }
)
"""Of the second stage there: as `SELF_DISTIL`; four images in a row come from one plate, so that
those that are hard to tell apart meet in a batch."""

STAGES = {
    "distil": DISTIL,
    "longer": LONGER,
    "self-distil": SELF_DISTIL,
    "distil-gpu": DISTIL_GPU,
    "self-distil-gpu": SELF_DISTIL_GPU,
}

FROM = {"longer": "distil", "self-distil": "distil", "self-distil-gpu": "distil-gpu"}
"""The stage whose weights a stage starts from."""

SHIPPED = ("distil-gpu",)
"""Stages of the model that is shipped."""

PROJECTION = {
    "pooling": "cls_mean_max",
    "block": 8,
    "projected_dim": 24,
    "projection_images": 4000,
    "projection_crops": 8,
    "projection_shrinkage": 0.2,
}
"""Options of `unidino.train.export.export` for the model that is used."""


def watched(data):
    """Options of the set whose accuracy is followed: measured once, at the end of a stage."""
    one = development_sets(data)[0]
    return {"monitor": f"{one['valset']}@{one['root']}"}


def stage_options(stage, data, folder, **changes):
    """All options of a stage's training.

    Parameters
    ----------
    stage : str
        A key of `STAGES`.
    data : str or Path
        Folder of `data.write`.
    folder : str or Path
        Of the recipe.
    **changes
        Options in the place of the stage's own.

    Returns
    -------
    dict
        Of `unidino.train.train`.
    """
    sets = training_sets(data)
    before = FROM.get(stage)
    return (
        STAGES[stage]
        | {
            "output_dir": str(Path(folder, stage)),
            "ckpt": str(Path(folder, before, WEIGHTS)) if before else None,
            "datasets": [one.get("csv") or f"{one['valset']}@{one['root']}" for one in sets],
            "dataset_weights": [one["weight"] for one in sets],
            "monitor_freq": STAGES[stage]["epochs"],
        }
        | watched(data)
        | changes
    )


def run(data, folder, output, *, stages=SHIPPED, scale=1.0, **changes):
    """Train the stages that are not finished, and export the last one's teacher.

    Parameters
    ----------
    data, folder : str or Path
        See `stage_options`.
    output : str or Path
        Weights file to write.
    stages : sequence of str
        Those of `STAGES` to run, in their order.
    scale : float
        Factor on the images of an epoch: more where a GPU draws them.
    **changes
        Options of training in the place of the stages' own, such as arch or device.

    Returns
    -------
    Path
        The weights.

    Raises
    ------
    ValueError, FileNotFoundError
        As `train.train` and `export.export`; an unknown stage.
    """
    arguments.check_positive("scale", scale)
    for stage in stages:
        arguments.check_choice("stages", stage, tuple(STAGES))
    for stage in stages:
        length = {"epoch_length": round(scale * STAGES[stage]["epoch_length"])}
        train(**stage_options(stage, data, folder, **length | changes))
    return export(
        str(Path(folder, stages[-1])), str(output), device=changes.get("device"), **PROJECTION
    )


def main(argv=None):
    """The command line."""
    parser = argparse.ArgumentParser("python -m unidino.demo.recipe", description=__doc__)
    parser.add_argument("data", help="folder of python -m unidino.demo.data")
    parser.add_argument("folder", help="folder for checkpoints and logs")
    parser.add_argument(
        "--output",
        default=str(paths.project_root() / "data" / "checkpoints" / paths.DEMO_WEIGHTS),
        help="weights file to write (default: the demo model's own)",
    )
    parser.add_argument(
        "--stages", default=",".join(SHIPPED), help=f"separated by commas: {', '.join(STAGES)}"
    )
    parser.add_argument("--scale", type=float, default=1.0, help="factor on the images drawn")
    parser.add_argument("--arch", choices=tuple(vit.ARCHITECTURES), help="another transformer")
    parser.add_argument("--batch", type=int, help="images of a step, on each GPU")
    parser.add_argument("--workers", type=int, help="reading processes")
    parser.add_argument("--precision", help="of the forward pass: fp32, bf16 or fp16")
    parser.add_argument("--device", help="cuda, cpu …; by default the GPU, else the CPU")
    given = parser.parse_args(argv)
    changes = {
        "arch": given.arch,
        "batch_size_per_gpu": given.batch,
        "num_workers": given.workers,
        "precision": given.precision,
        "device": given.device,
    }
    changes = {name: value for name, value in changes.items() if value is not None}
    stages = [name.strip() for name in given.stages.split(",")]
    try:
        made = run(given.data, given.folder, given.output, stages=stages, scale=given.scale,
                   **changes)  # fmt: skip
    except (ValueError, TypeError, OSError, RuntimeError) as error:
        sys.exit(f"error: {one_line(error)}")
    print(made)


if __name__ == "__main__":
    main()
