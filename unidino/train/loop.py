"""Training by self-distillation: ``python -m unidino.train``, or ``torchrun -m unidino.train``.

One process a GPU, or one on the CPU; the same code with and without a launcher. Method: Caron et
al. 2021 (arXiv:2104.14294) with the settings of the released training script, see `train`.
"""

import os
import sys
import time
from dataclasses import asdict
from pathlib import Path

from torch.utils.data import DataLoader

from .. import arguments, tables
from ..progress import Progress, logging_to, say
from . import augment
from .data import OPTIONS, GlobalSequence, TrainingImages, collate, remembered_planes
from .log import CONFIG, ENVIRONMENT, EpochSums, TrainingLog, collapse_warnings, environment
from .monitor import Monitor
from .options import as_json, checked, model_config, open_sets
from .processes import Processes, barrier
from .run import NonFiniteLoss, Run, effective_rank
from .state import ROLLING, WEIGHTS, StopRequest, newest, numbered, restore, save

EXIT_STOPPED = 128 + 15
"""Exit status after a SIGTERM whose checkpoint was written."""

FREE = (
    "output_dir num_workers saveckp_freq checkpoint_minutes device monitor monitor_label "
    "monitor_exclude monitor_freq batch_size_per_gpu grad_accum"
).split()
"""Options that change how a run is carried out, not what it computes."""


def train(
    output_dir: str,
    *,
    arch: str = "vit_small",
    patch_size: int = 16,
    embed_dim: int | None = None,
    cls_reduced_dim: int | None = None,
    in_chans: int = 1,
    reg_tokens: int = 0,
    pooling: str = "cls",
    drop_path_rate: float = 0.1,
    ckpt: str | None = None,
    out_dim: int = 20000,
    norm_last_layer: bool = True,
    use_bn_in_head: bool = False,
    freeze_last_layer: int = 3,
    momentum_teacher: float = 0.9995,
    warmup_teacher_temp: float = 0.01,
    teacher_temp: float = 0.04,
    warmup_teacher_temp_epochs: int = 30,
    centring: str = "mean",
    koleo_weight: float = 0.0,
    epochs: int = 201,
    epoch_length: int | None = None,
    batch_size_per_gpu: int = 102,
    grad_accum: int = 1,
    optimizer: str = "adamw",
    lr: float = 0.0004,
    min_lr: float = 1e-6,
    warmup_epochs: int = 20,
    weight_decay: float = 0.04,
    weight_decay_end: float = 0.4,
    clip_grad: float = 3.0,
    precision: str | None = None,
    use_fp16: bool = False,
    datasets: list | str | None = None,
    dataset_weights: list | None = None,
    include_jumpcp: bool | None = None,
    include_bbbc021: bool | None = None,
    include_bbbc037: bool | None = None,
    include_hpa: bool | None = None,
    include_insect: bool | None = None,
    use_example_data: bool = False,
    intensity_scaling: str = "dtype",
    intensity_range: list | tuple | None = None,
    size: int = 224,
    local_size: int = 96,
    local_crops_number: int = 8,
    zoom_min: float = 1.0,
    zoom_max: float = 1.0,
    shared_zoom: bool = False,
    shift: float = 0.3,
    gamma_min: float = 0.5,
    gamma_max: float = 1.5,
    blur_prob: float = 0.0,
    noise_prob: float = 0.0,
    monitor: str | None = None,
    monitor_label: str | None = None,
    monitor_exclude: list | str | None = None,
    monitor_freq: int = 1,
    saveckp_freq: int = 10,
    checkpoint_minutes: float = 15.0,
    group_size: int = 1,
    min_contrast: float = 0.0,
    num_workers: int = 6,
    device: str | None = None,
    seed: int = 0,
):
    """Train a model; go on where an interrupted run with the same options stopped.

    The defaults are those of the published run (a ViT-S/16, 5 GPUs, 102 images each), but that
    gradients are clipped, which the released script declares and does not do.

    Parameters
    ----------
    output_dir : str
        Folder of checkpoints and logs.
    arch : str
        vit_tiny, vit_small, vit_base, vit_large, vit_xbase, vit_slarge, timm:NAME or
        torchvision:NAME.
    patch_size : int
        Pixels, of a vision transformer.
    embed_dim, cls_reduced_dim : int
        Width of a vision transformer, where not its own; width after the reducer.
    in_chans : int
        1: each channel alone; more: whole sites of so many channels.
    reg_tokens : int
        Register tokens (arXiv:2309.16588) of a vision transformer.
    pooling : {"cls", "mean", "max", "cls_mean", "cls_max", "cls_mean_max"}
        What the head sees, and the embedding later: see `vit.ModelConfig`.
    drop_path_rate : float
        Stochastic depth of the student, 0 to 1.
    ckpt : str
        Weights file whose backbone student and teacher start from.
    out_dim : int
        K, prototypes of the head.
    norm_last_layer : bool
        Prototypes of unit length.
    use_bn_in_head : bool
        Batch normalisation in the head.
    freeze_last_layer : int
        Epochs in which the prototypes stay fixed.
    momentum_teacher : float
        Of the teacher's moving average at the start; 1 at the end, by a cosine.
    warmup_teacher_temp, teacher_temp : float
        The teacher's temperature at the start, and after its warm-up.
    warmup_teacher_temp_epochs : int
        Epochs of that warm-up.
    centring : {"mean", "sinkhorn"}
        How the teacher is kept from collapse: moving centre, or Sinkhorn-Knopp.
    koleo_weight : float
        Weight of the KoLeo regulariser (arXiv:2304.07193).
    epochs : int
        Epochs in all.
    epoch_length : int
        Images of an epoch; the published repetition of the smaller sets by default.
    batch_size_per_gpu : int
        Images of a process in a forward pass. The method expects a total batch of about 510.
    grad_accum : int
        Forward passes of a step.
    optimizer : {"adamw", "sgd", "lars"}
        What moves the student.
    lr, min_lr : float
        Peak learning rate for a total batch of 256, scaled by the total batch; rate at the end.
    warmup_epochs : int
        Epochs in which the learning rate rises.
    weight_decay, weight_decay_end : float
        At the start and at the end, by a cosine; not on biases and norms.
    clip_grad : float
        Largest norm of a parameter's gradient; 0 leaves them as they are.
    precision : {"fp32", "bf16", "fp16"}
        Of the forward pass; fp32 by default.
    use_fp16 : bool
        The published name of precision fp16.
    datasets : list
        Valsets or CSVs to train on, in a shell separated by commas; HPA@/data names the data root
        of a valset. A column sample_weight of a CSV weighs its rows.
    dataset_weights : list
        Share of each dataset in the draws; the published repetition by default.
    include_jumpcp, include_bbbc021, include_bbbc037, include_hpa, include_insect : bool
        Sets of the published mix; all of them unless datasets or use_example_data is given.
    use_example_data : bool
        Train on the example plate alone.
    intensity_scaling : {"dtype", "plate", "image"}
        How raw intensities become 0 to 1; stored with the weights.
    intensity_range : list
        Raw [low, high] that become 0 and 1 with the scaling dtype.
    size, local_size : int
        Sides of the two global views and of the local views, in pixels.
    local_crops_number : int
        Local views of an image.
    zoom_min, zoom_max : float
        Range of the magnification of views; 1 and 1 cut at native resolution.
    shared_zoom : bool
        All views of an image have the same magnification, so that embeddings keep sizes.
    shift : float
        Largest additive shift of intensities, 0 to 1.
    gamma_min, gamma_max : float
        Range of the exponent on intensities.
    blur_prob, noise_prob : float
        Probability that a view is blurred, and that noise is added to it.
    monitor : str
        Valset or CSV embedded every monitor_freq epochs, to follow its accuracy.
    monitor_label : str
        Column whose nearest-neighbour accuracy is followed, such as moa; the published sets have
        one of their own.
    monitor_exclude : list
        Columns that a neighbour may not share, such as compound; likewise.
    monitor_freq : int
        Epochs between two looks at the monitor.
    saveckp_freq : int
        Epochs between numbered checkpoints; 0 for none.
    checkpoint_minutes : float
        Minutes between rolling checkpoints within an epoch; one is written after every epoch, too.
    group_size : int
        Consecutive images of the sequence that come from one plate and channel: those that are
        hard to tell apart then meet in a batch.
    min_contrast : float
        Standard deviation, on the scale of [0, 1], that both global views of an image need;
        otherwise another image is drawn, at most nine times.
    num_workers : int
        Reading processes of each GPU.
    device : str
        cuda, cuda:1, cpu …; by default the process's GPU, else the CPU.
    seed : int
        Of everything random.

    Returns
    -------
    Path
        The teacher's weights (safetensors with their config), to be named as a model.

    Raises
    ------
    ValueError, TypeError, FileNotFoundError
        Wrong options or data, before any work; a folder that holds a run with other options.
    NonFiniteLoss
        The loss is not finite.
    SystemExit
        With status 143 after a SIGTERM, once a checkpoint is written.
    """
    options = checked(dict(locals()), train)
    config = model_config(options)
    views = augment.ViewSettings.of(options)
    opened = open_sets(options)
    watched = Monitor.open(options)
    with Processes(options["device"]) as (where, rank, world):
        folder = Path(output_dir).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        with logging_to(folder / ("train.log" if rank == 0 else f"train-{rank}.log")):
            planes = remembered_planes(opened, options, folder, rank, world)
            drawn = {name: options[name] for name in OPTIONS}
            images = TrainingImages(planes, views, **drawn)
            run = Run(options, config, views, images, where, rank, world)
            stored = as_json(options | {"total_batch": run.total_batch})
            stored["model_config"] = as_json(asdict(config))
            _resume(run, folder, stored)
            if rank == 0:
                tables.write_json(folder / CONFIG, stored)
                about = environment(where, world)
                tables.write_json(folder / ENVIRONMENT, about)
                _announce(run, opened)
            barrier(world)
            _loop(run, folder, stored, watched)
    return folder / WEIGHTS


def _resume(run, folder, stored):
    """Go on from the newest checkpoint in the folder, if it is of the same run.

    Raises
    ------
    ValueError
        It was trained with other options; names them.
    """
    file, content = newest(folder)
    if file is None:
        return
    earlier = vars(content["args"])
    differing = [
        f"{name} was {earlier.get(name)!r}, is {stored.get(name)!r}"
        for name in sorted(earlier.keys() | stored.keys())
        if name not in FREE and earlier.get(name) != stored.get(name)
    ]
    if differing:
        raise ValueError(
            f"{folder} holds a run with other options: {'; '.join(differing)}. Train into another "
            "output_dir, or start from its weights with ckpt."
        )
    restore(content, run)
    say(f"going on from {file.name}: {run.step} of {run.total_steps} steps are done")


def _announce(run, opened):
    images = run.images
    say(
        f"{images.image_count} images of {', '.join(m.valset for m in opened)}; an epoch draws "
        f"{run.steps_per_epoch * run.total_batch}"
    )
    say(
        f"total batch {run.total_batch} ({run.batch} x grad_accum {run.accumulate} x {run.world} "
        f"processes on {run.device.type}; the method expects about 510), peak learning rate "
        f"{run.peak_lr:.3g} = {run.options['lr']:g} x {run.total_batch} / 256, "
        f"{run.total_steps} steps of {run.options['precision']}"
    )


def _loader(run):
    o = run.options
    sequence = GlobalSequence(
        run.steps_per_epoch,
        run.total_steps,
        run.step,
        run.batch,
        run.accumulate,
        run.rank,
        run.world,
    )
    return DataLoader(
        run.images,
        batch_sampler=sequence,
        num_workers=o["num_workers"],
        collate_fn=collate,
        pin_memory=run.device.type == "cuda",
        prefetch_factor=4 if o["num_workers"] else None,
    )


def _loop(run, folder, stored, watched):
    """Step after step to the end; epochs are summed up, checkpoints written."""
    log = TrainingLog(folder, run.rank == 0, run.step)
    remaining = (run.total_steps - run.step) * run.total_batch
    batches = iter(_loader(run))
    epoch = EpochSums()
    saved = time.monotonic()
    with StopRequest() as stop, Progress(remaining, "image", "training") as bar:
        try:
            while run.step < run.total_steps:
                parts = [next(batches) for _ in range(run.accumulate)]
                made = run.train_step(parts, stop.requested)
                epoch.add(made, parts)
                log.step({"step": run.step - 1} | epoch.numbers(made))
                bar.note(f"loss {made['loss']:.3f}")
                bar.update(run.total_batch)
                whole = run.step % run.steps_per_epoch == 0
                late = time.monotonic() - saved > 60 * stored["checkpoint_minutes"]
                if run.rank == 0 and (whole or made["stop"] or late):
                    _save(run, folder, stored, whole)
                    saved = time.monotonic()
                if whole:
                    _finish_epoch(run, folder, log, epoch, watched)
                    epoch = EpochSums()
                if made["stop"] and run.step < run.total_steps:
                    say(
                        f"stopped by SIGTERM after step {run.step}; the same command goes on from "
                        f"{folder / ROLLING}"
                    )
                    sys.exit(EXIT_STOPPED)
        finally:
            log.close()
    barrier(run.world)


def _save(run, folder, stored, whole):
    names = [ROLLING]
    number = run.step // run.steps_per_epoch
    every = stored["saveckp_freq"]
    if whole and every and (number % every == 0 or run.step == run.total_steps):
        names.append(numbered(number))
    save(folder, run, stored, names)


def _finish_epoch(run, folder, log, epoch, watched):
    """Sum an epoch up: means, effective rank, accuracy on the monitor, warnings."""
    number = run.step // run.steps_per_epoch
    values = {"epoch": number, "step": run.step - 1} | epoch.means()
    values["effective_rank"] = effective_rank(epoch.embeddings)
    last = run.step == run.total_steps
    if watched and (last or number % run.options["monitor_freq"] == 0):
        if run.rank == 0:
            values["accuracy"] = watched.accuracy(folder, run.device)
        barrier(run.world)
    values["warnings"] = collapse_warnings(
        values["loss"],
        values["teacher_entropy"],
        run.options["out_dim"],
        values["effective_rank"],
    )
    log.epoch(values)


def main(argv=None, program="python -m unidino.train"):
    """The command line: one option for every parameter of `train`."""
    options = vars(arguments.parser(train, program).parse_args(argv))
    try:
        weights = train(**options)
    except (ValueError, TypeError, FileNotFoundError, NonFiniteLoss) as error:
        sys.exit(f"error: {error}")
    if int(os.environ.get("RANK", 0)) == 0:
        print(weights)
