"""Options of training, checked before any work."""

import json
from pathlib import Path

from .. import arguments, choices, intensity

# `data`, `valsets` and `vit` load torch or pandas, which takes seconds: functions import them.

OPTIMIZERS = ("adamw", "sgd", "lars")

EXIT_STOPPED = 128 + 15
"""Exit status after a SIGTERM whose checkpoint was written."""

FREE = (
    "output_dir num_workers saveckp_freq checkpoint_minutes device monitor monitor_label "
    "monitor_exclude monitor_freq batch_size_per_gpu grad_accum"
).split()
"""Options that change how a run is carried out, not what it computes."""

BY_DEVICE = {
    "arch": ("vit_small", "vit_tiny"),
    "size": (224, 96),
    "local_size": (96, 48),
    "local_crops_number": (8, 4),
    "out_dim": (20000, 1024),
    "epochs": (201, 10),
    "epoch_length": (None, 1280),
    "batch_size_per_gpu": (102, 32),
    "lr": (0.0004, 0.003),
    "momentum_teacher": (0.9995, 0.99),
    "warmup_epochs": (20, 1),
    "warmup_teacher_temp_epochs": (30, 3),
    "freeze_last_layer": (3, 1),
    "num_workers": (6, 1),
}
"""Options that are left out: the published values on a GPU, smaller ones on a CPU, where those take
weeks. Rate and momentum are those that few steps need."""

_WITHIN = ("warmup_epochs", "warmup_teacher_temp_epochs", "freeze_last_layer")
"""Counts of epochs that are no more than all."""


def published():
    """The published value of every option that has one."""
    return {name: values[0] for name, values in BY_DEVICE.items()}


def _trains_on_cpu(device):
    import torch

    return not torch.cuda.is_available() if device is None else device.startswith("cpu")


def _filled(given):
    """The options with a value for those of `BY_DEVICE` that were left out."""
    column = int(_trains_on_cpu(given["device"]))
    left_out = [name for name in BY_DEVICE if given[name] is None]
    filled = given | {name: BY_DEVICE[name][column] for name in left_out}
    for name in set(left_out) & set(_WITHIN):
        filled[name] = min(filled[name], filled["epochs"])
    if not given["dino_weight"] and "local_crops_number" in left_out:
        filled["local_crops_number"] = 0
    return filled


def small_defaults(given, options):
    """What is chosen smaller than published because there is no GPU, in words; "" for nothing.

    Parameters
    ----------
    given, options : dict
        Before and after `checked`.
    """
    if not _trains_on_cpu(given["device"]):
        return ""
    small = [
        f"{name} {options[name]}" + (f" (published {values[0]})" if values[0] is not None else "")
        for name, values in BY_DEVICE.items()
        if given[name] is None and options[name]
    ]
    if not small:
        return ""
    return (
        "on a CPU the published options take weeks; those left out are small here, for a first "
        f"model: {', '.join(small)}. Give any of them, or train on a GPU."
    )


def as_json(content):
    """As it comes back from JSON, so that stored and given options compare."""
    return json.loads(json.dumps(content))


def checked(given, function):
    """The options, checked; ``precision``, the sets to train on and what is left out resolved.

    Parameters
    ----------
    given : dict
    function : callable
        `train.train`, whose annotations give the types.

    Raises
    ------
    ValueError, TypeError
        Names the option, its value and what was expected.
    """
    arguments.check_types(given, function)
    precision = given["precision"] or ("fp16" if given["use_fp16"] else "fp32")
    for name, value, known in (
        ("pooling", given["pooling"], choices.POOLINGS),
        ("centring", given["centring"], choices.CENTRINGS),
        ("optimizer", given["optimizer"], OPTIMIZERS),
        ("intensity_scaling", given["intensity_scaling"], intensity.METHODS),
        ("precision", precision, choices.PRECISIONS),
    ):
        arguments.check_choice(name, value, known)
    given = _filled(given)
    for name in (
        "patch_size embed_dim cls_reduced_dim in_chans out_dim teacher_temp warmup_teacher_temp "
        "epochs epoch_length batch_size_per_gpu grad_accum lr size local_size monitor_freq "
        "checkpoint_minutes group_size distil_weight"
    ).split():
        arguments.check_positive(name, given[name])
    for name in (
        "reg_tokens freeze_last_layer koleo_weight min_lr warmup_epochs weight_decay clip_grad "
        "dino_weight weight_decay_end warmup_teacher_temp_epochs num_workers saveckp_freq seed"
    ).split():
        if given[name] < 0:
            raise ValueError(f"{name} is {given[name]}; it must be 0 or more.")
    if not 0 <= given["min_contrast"] <= 0.5:
        raise ValueError(
            f"min_contrast is {given['min_contrast']}; expected 0 to 0.5, the largest standard "
            "deviation of intensities between 0 and 1."
        )
    if not 0 <= given["drop_path_rate"] < 1:
        raise ValueError(f"drop_path_rate is {given['drop_path_rate']}; expected 0 to below 1.")
    if not 0 <= given["momentum_teacher"] <= 1:
        raise ValueError(f"momentum_teacher is {given['momentum_teacher']}; expected 0 to 1.")
    for name in _WITHIN:
        if given[name] > given["epochs"]:
            raise ValueError(
                f"{name} is {given[name]}, more than the {given['epochs']} epochs: lower it."
            )
    if given["use_fp16"] and given["precision"] not in (None, "fp16"):
        raise ValueError(
            f"use_fp16 goes against precision {given['precision']!r}: set only one of them."
        )
    if given["intensity_range"] is not None:
        if given["intensity_scaling"] != "dtype":
            raise ValueError(
                "intensity_range goes with the intensity scaling 'dtype', not "
                f"{given['intensity_scaling']!r}; leave one of them out."
            )
        intensity.dtype_limits("uint16", given["intensity_range"])
    if given["koleo_weight"] and given["batch_size_per_gpu"] < 2:
        raise ValueError("koleo_weight needs a batch_size_per_gpu of 2 or more.")
    if not given["dino_weight"]:
        if given["distil_from"] is None:
            raise ValueError(
                "dino_weight is 0 and distil_from is missing: nothing would be learnt. Name a "
                "model to distil from, or raise dino_weight."
            )
        if given["local_crops_number"]:
            raise ValueError(
                f"local_crops_number is {given['local_crops_number']}, dino_weight 0: only "
                "self-distillation sees local views. Leave one of the two out."
            )
    return given | {"precision": precision, "datasets": _chosen_sets(given)}


def _chosen_sets(given):
    """Names of the sets to train on, from datasets, the include_… flags or the example data."""
    from .. import valsets

    listed = given["datasets"] or []
    listed = listed.split(",") if isinstance(listed, str) else list(listed)
    flags = {name: given[f"include_{name}"] for name in valsets.TRAINING_SETS}
    if given["use_example_data"]:
        if listed or any(flags.values()):
            raise ValueError(
                "use_example_data trains on the example plate alone: leave datasets and the "
                "include_… flags out."
            )
        chosen = ["example_data"]
    else:
        default = not listed
        chosen = [
            valsets.TRAINING_SETS[name][0].valset
            for name, include in flags.items()
            if (default if include is None else include)
        ] + listed
    if not chosen:
        raise ValueError("no dataset is included: list datasets, or set an include_… flag.")
    weights = given["dataset_weights"]
    if weights is not None:
        if len(weights) != len(chosen):
            raise ValueError(
                f"dataset_weights has {len(weights)} numbers for {len(chosen)} datasets "
                f"({', '.join(map(str, chosen))}); give one for each."
            )
        if not all(isinstance(w, int | float) and w > 0 for w in weights):
            raise ValueError(f"dataset_weights is {weights}; expected numbers above 0.")
    return chosen


def model_config(options):
    """The `vit.ModelConfig` that the options ask for."""
    from ..models import vit

    names = ("embed_dim", "cls_reduced_dim", "patch_size", "size", "in_chans", "pooling")
    settings = {name: options[name] for name in names}
    config = vit.arch_config(
        options["arch"],
        **settings,
        reg_tokens=options["reg_tokens"],
        intensity=options["intensity_scaling"],
    )
    if options["distil_from"] and config.arch not in vit.ARCHITECTURES:
        raise ValueError(
            f"distil_from teaches vision transformers ({', '.join(vit.ARCHITECTURES)}), arch is "
            f"{config.arch}."
        )
    if config.arch in vit.ARCHITECTURES:
        if options["local_crops_number"] and options["local_size"] % config.patch_size:
            raise ValueError(
                f"local_size {options['local_size']} is not a multiple of the patch size "
                f"{config.patch_size}."
            )
    elif options["reg_tokens"]:
        raise ValueError(f"reg_tokens applies to {', '.join(vit.ARCHITECTURES)}.")
    return config


def open_sets(options):
    """The metadata of every set; files that are absent stop here."""
    from . import data

    opened = [data.open_training_set(name) for name in options["datasets"]]
    if options["ckpt"] and not Path(options["ckpt"]).expanduser().is_file():
        raise FileNotFoundError(f"ckpt {options['ckpt']} is no file; name a weights file.")
    return opened
