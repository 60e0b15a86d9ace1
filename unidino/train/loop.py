"""Training by self-distillation: ``python -m unidino.train``, or ``torchrun -m unidino.train``.

One process a GPU, or one on the CPU; the same code with and without a launcher. Method: Caron et
al. 2021 (arXiv:2104.14294) with the settings of the released training script, see `train`.
"""

import contextlib
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path

import filelock
import torch
from torch.utils.data import DataLoader

from .. import arguments, tables
from ..progress import Progress, logging_to, one_line, say
from . import augment
from .data import (
    DRAWING,
    GlobalSequence,
    TrainingImages,
    collate,
    read_planes,
    remembered_planes,
)
from .distil import Source
from .log import (
    CONFIG,
    ENVIRONMENT,
    EpochSums,
    Pace,
    TrainingLog,
    collapse_warnings,
    environment,
    in_words,
)
from .monitor import Monitor
from .options import as_json, checked, model_config, open_sets, small_defaults
from .processes import Processes
from .run import NonFiniteLoss, Trainer
from .state import (
    ROLLING,
    WEIGHTS,
    StopRequest,
    ignore_sigterm,
    newest,
    numbered,
    restore,
    save,
)

EXIT_STOPPED = 128 + 15
"""Exit status after a SIGTERM whose checkpoint was written."""

LOCK = ".lock"
"""Held by the training that is at work in a folder."""

FREE = (
    "output_dir num_workers saveckp_freq checkpoint_minutes device monitor monitor_label "
    "monitor_exclude monitor_freq batch_size_per_gpu grad_accum"
).split()
"""Options that change how a run is carried out, not what it computes."""


def train(
    output_dir: str,
    *,
    arch: str | None = None,
    patch_size: int = 16,
    embed_dim: int | None = None,
    cls_reduced_dim: int | None = None,
    in_chans: int = 1,
    reg_tokens: int = 0,
    pooling: str = "cls",
    drop_path_rate: float = 0.1,
    ckpt: str | None = None,
    distil_from: str | None = None,
    distil_weight: float = 1.0,
    dino_weight: float = 1.0,
    out_dim: int | None = None,
    norm_last_layer: bool = True,
    use_bn_in_head: bool = False,
    freeze_last_layer: int | None = None,
    momentum_teacher: float | None = None,
    warmup_teacher_temp: float = 0.01,
    teacher_temp: float = 0.04,
    warmup_teacher_temp_epochs: int | None = None,
    centring: str = "mean",
    koleo_weight: float = 0.0,
    epochs: int | None = None,
    epoch_length: int | None = None,
    batch_size_per_gpu: int | None = None,
    grad_accum: int = 1,
    optimizer: str = "adamw",
    lr: float | None = None,
    min_lr: float = 1e-6,
    warmup_epochs: int | None = None,
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
    size: int | None = None,
    local_size: int | None = None,
    local_crops_number: int | None = None,
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
    num_workers: int | None = None,
    device: str | None = None,
    seed: int = 0,
):
    """Train a model; go on where an interrupted run with the same options stopped.

    On a GPU the defaults are those of the published run (a ViT-S/16, 5 GPUs, 102 images each), but
    that gradients are clipped, which the released script declares and does not do. On a CPU, where
    it would take weeks, options that are left out are smaller and make a first model in minutes to
    hours: the values in brackets, see `options.BY_DEVICE`.

    Parameters
    ----------
    output_dir : str
        Folder of checkpoints and logs.
    arch : str
        vit_tiny, vit_small, vit_base, vit_large, vit_xbase, vit_slarge, timm:NAME or
        torchvision:NAME; by default vit_small [vit_tiny].
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
    distil_from : str
        A model by name or weights file, such as transfer, that the student learns to reproduce in
        the global views: its embedding from the student's, and the map of its block before that
        from the student's patch tokens, see `distil`. The student is a vision transformer.
    distil_weight, dino_weight : float
        Weights of that loss and of self-distillation. dino_weight 0 leaves self-distillation and
        its local views out: with distil_from, and no local_crops_number.
    out_dim : int
        K, prototypes of the head; by default 20000 [1024].
    norm_last_layer : bool
        Prototypes of unit length.
    use_bn_in_head : bool
        Batch normalisation in the head.
    freeze_last_layer : int
        Epochs in which the prototypes stay fixed; by default 3 [1].
    momentum_teacher : float
        Of the teacher's moving average at the start, by default 0.9995 [0.99]; 1 at the end, by a
        cosine.
    warmup_teacher_temp, teacher_temp : float
        The teacher's temperature at the start, and after its warm-up.
    warmup_teacher_temp_epochs : int
        Epochs of that warm-up; by default 30 [3].
    centring : {"mean", "sinkhorn"}
        How the teacher is kept from collapse: moving centre, or Sinkhorn-Knopp.
    koleo_weight : float
        Weight of the KoLeo regulariser (arXiv:2304.07193).
    epochs : int
        Epochs in all; by default 201 [10].
    epoch_length : int
        Images of an epoch; by default the published repetition of the smaller sets [1280].
    batch_size_per_gpu : int
        Images of a process in a forward pass, by default 102 [32]. The method expects a total
        batch of about 510.
    grad_accum : int
        Forward passes of a step.
    optimizer : {"adamw", "sgd", "lars"}
        What moves the student.
    lr, min_lr : float
        Peak learning rate for a total batch of 256, by default 0.0004 [0.003], scaled by the total
        batch; rate at the end.
    warmup_epochs : int
        Epochs in which the learning rate rises; by default 20 [1].
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
        Sides of the two global views and of the local views, in pixels; by default 224 and 96
        [96 and 48].
    local_crops_number : int
        Local views of an image; by default 8 [4].
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
        Reading processes of each GPU; by default 6 [1].
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
    given = dict(locals())
    options = checked(given, train)
    config = model_config(options)
    views = augment.ViewSettings.of(options)
    with Processes(options["device"]) as processes:
        opened, watched = processes.first(_open, options) or ([], None)
        folder = Path(output_dir).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        name = f"train-{processes.rank}.log" if processes.rank else "train.log"
        with logging_to(folder / name), processes.first(_alone, folder) or contextlib.nullcontext():
            if processes.rank == 0:
                _begin(folder, small_defaults(given, options))
            measured = processes.first(remembered_planes, opened, options, folder)
            planes = measured or read_planes(folder)
            source = Source.of(options["distil_from"], options["in_chans"])
            images = TrainingImages(planes, views, **{name: options[name] for name in DRAWING})
            trainer = Trainer(options, config, views, images, processes, source)
            stored = as_json(options | {"total_batch": trainer.total_batch})
            stored["model_config"] = as_json(asdict(config))
            stored["data"] = [part.digest for part in planes]
            stored["distil_sha256"] = source.model.sha256 if source else None
            known = _resume(trainer, folder, stored)
            if processes.rank == 0:
                tables.write_json(folder / CONFIG, stored)
                tables.write_json(
                    folder / ENVIRONMENT, environment(processes.device, processes.world)
                )
                _announce(trainer, opened)
            log = TrainingLog(folder, processes.rank == 0, trainer.step, known.get("epochs", ()))
            try:
                Loop(trainer, folder, stored, log, watched).run(EpochSums(known.get("epoch")))
            finally:
                log.close()
    return folder / WEIGHTS


def _open(options):
    """The sets to train on, and the one that is watched."""
    return open_sets(options), Monitor.open(options)


_PATIENCE = 20
"""Seconds for which reading processes may outlive a killed training, and with them its lock."""


def _alone(folder):
    """The folder's lock, held: two trainings would overwrite each other's checkpoints.

    Raises
    ------
    ValueError
        Another training is at work there.
    """
    lock = filelock.FileLock(folder / LOCK)
    try:
        return lock.acquire(timeout=_PATIENCE)
    except filelock.Timeout:
        raise ValueError(
            f"another training is at work in {folder}. Wait until it has ended, or train into "
            "another output_dir."
        ) from None
    except NotImplementedError:
        say(f"warning: the disk of {folder} has no locks: start no second training there")


def _begin(folder, small):
    if (folder / CONFIG).is_file():
        tables.remove_leftovers(folder)
    if small:
        say(small)


def _resume(trainer, folder, stored):
    """Go on from the newest checkpoint in the folder, if it is of the same run.

    Returns
    -------
    dict
        What the log needs to go on; empty at a start.

    Raises
    ------
    ValueError
        It was trained with other options, or on other images; names them.
    """
    file, content = newest(folder)
    if file is None:
        return {}
    earlier = vars(content["args"])
    differing = [
        f"{name} was {earlier.get(name)!r}, is {stored.get(name)!r}"
        for name in sorted((earlier.keys() | stored.keys()) - {"data"})
        if name not in FREE and earlier.get(name) != stored.get(name)
    ]
    remedy = "Train into another output_dir, or start from its weights with ckpt."
    if differing:
        raise ValueError(
            f"{folder} holds a run with other options: {'; '.join(differing)}. {remedy}"
        )
    known = earlier.get("data") or [None] * len(stored["data"])
    changed = [
        name
        for name, before, now in zip(stored["datasets"], known, stored["data"], strict=True)
        if before != now
    ]
    if changed:
        raise ValueError(
            f"{folder} holds a run on other images under the same names: those of "
            f"{', '.join(changed)} have changed since (files, their order, sizes or contents). "
            f"{remedy}"
        )
    restore(content, trainer)
    say(f"going on from {file.name}: {trainer.step} of {trainer.total_steps} steps are done")
    return content["log"]


def _announce(trainer, opened):
    say(
        f"{trainer.images.image_count} images of {', '.join(m.valset for m in opened)}; an epoch "
        f"draws {trainer.steps_per_epoch * trainer.total_batch}"
    )
    say(
        f"total batch {trainer.total_batch} ({trainer.batch} x grad_accum {trainer.accumulate} x "
        f"{trainer.world} processes on {trainer.device.type}; the method expects about 510), peak "
        f"learning rate {trainer.peak_lr:.3g} = {trainer.options['lr']:g} x {trainer.total_batch} "
        f"/ 256, {trainer.total_steps} steps of {trainer.options['precision']}"
    )
    remaining = (trainer.total_steps - trainer.step) * trainer.total_batch
    if trainer.device.type == "cpu" and remaining:
        rate = trainer.world / trainer.seconds_an_image()
        seconds = remaining / rate
        say(f"about {rate:.2g} images a second on this CPU: it will take {in_words(seconds)}")
        if seconds > _LONG:
            say(
                f"WARNING: {in_words(seconds)} on this CPU. Train on a GPU, or leave arch, size, "
                "epochs, epoch_length and out_dim out for the small defaults."
            )


_LONG = 2 * 24 * 3600
"""Seconds that nobody waits for without a warning."""


@contextlib.contextmanager
def _batches(trainer):
    """Batches of this process from the next step on, as an iterator."""
    o = trainer.options
    sequence = GlobalSequence(
        trainer.steps_per_epoch,
        trainer.total_steps,
        trainer.step,
        trainer.batch,
        trainer.accumulate,
        trainer.processes.rank,
        trainer.world,
    )
    loader = DataLoader(
        trainer.images,
        batch_sampler=sequence,
        num_workers=o["num_workers"],
        collate_fn=collate,
        pin_memory=trainer.device.type == "cuda",
        prefetch_factor=4 if o["num_workers"] else None,
        worker_init_fn=ignore_sigterm,
    )
    batches = iter(loader)
    try:
        yield batches
    finally:
        # Python ends forgotten workers by SIGTERM, which these ignore: it would wait for ever.
        if o["num_workers"]:
            batches._shutdown_workers()


class Loop:
    """Step after step to the end; epochs are summed up, checkpoints written.

    Parameters
    ----------
    trainer : run.Trainer
    folder : Path
    stored : dict
        The options, as the checkpoints hold them.
    log : log.TrainingLog
    watched : monitor.Monitor or None
        In the first process.
    """

    def __init__(self, trainer, folder, stored, log, watched):
        self.trainer = trainer
        self.folder = folder
        self.stored = stored
        self.log = log
        self.watched = watched

    def run(self, epoch):
        """Train to the end.

        Parameters
        ----------
        epoch : log.EpochSums
            Of the epoch that an interrupted run had begun.

        Raises
        ------
        SystemExit
            After a SIGTERM, once a checkpoint is written.
        """
        trainer, processes = self.trainer, self.trainer.processes
        remaining = (trainer.total_steps - trainer.step) * trainer.total_batch
        saved = time.monotonic()
        pace = Pace(processes.rank == 0)
        with (
            StopRequest() as stop,
            _batches(trainer) as batches,
            Progress(remaining, "image", "training") as bar,
        ):
            if epoch.steps == trainer.steps_per_epoch:
                # A kill after the last step of an epoch may have come before its line.
                lacking = processes.any(self.log.lacks(trainer.epoch))
                epoch = self._finish_epoch(epoch, stop) if lacking else EpochSums()
            while trainer.step < trainer.total_steps:
                parts = [next(batches) for _ in range(trainer.accumulate)]
                measured, embeddings = trainer.train_step(parts)
                epoch.add(measured, embeddings, parts)
                self.log.step({"step": trainer.step - 1} | measured)
                bar.note(f"loss {measured['loss']:.3f}")
                bar.update(trainer.total_batch)
                pace.step(trainer.total_batch, trainer.total_steps - trainer.step)
                whole = trainer.step % trainer.steps_per_epoch == 0
                late = time.monotonic() - saved > 60 * self.stored["checkpoint_minutes"]
                stopping = processes.any(stop.requested)
                if whole or stopping or late:
                    self._save(epoch, whole)
                    saved = time.monotonic()
                if whole:
                    epoch = self._finish_epoch(epoch, stop)
                if stopping and trainer.step < trainer.total_steps:
                    self._stopped()
        processes.barrier()

    def _save(self, epoch, whole):
        """Write a checkpoint, which the lines of its steps precede to the disk."""
        trainer = self.trainer
        if trainer.processes.rank:
            return
        names = [ROLLING]
        every = self.stored["saveckp_freq"]
        last = trainer.step == trainer.total_steps
        if whole and every and (trainer.epoch % every == 0 or last):
            names.append(numbered(trainer.epoch))
        self.log.flush()
        known = {"epoch": epoch.state(), "epochs": self.log.epochs}
        save(self.folder, trainer, self.stored, known, names)

    def _finish_epoch(self, epoch, stop):
        """Sum an epoch up in the log: means, accuracy on the monitor, warnings; a new one begins.

        What is killed here is done again: the checkpoint from before holds the sums.
        """
        trainer, o = self.trainer, self.trainer.options
        values = {"epoch": trainer.epoch, "step": trainer.step - 1} | epoch.means()
        due = trainer.step == trainer.total_steps or trainer.epoch % o["monitor_freq"] == 0
        if o["monitor"] and due:
            try:
                values["accuracy"] = trainer.processes.first(self._accuracy)
            except RuntimeError:
                # The signal to the whole group has ended processes that read for the monitor.
                if not stop.requested:
                    raise
                self._stopped()
        values["warnings"] = collapse_warnings(values, o["out_dim"])
        self.log.epoch(values)
        return EpochSums()

    def _accuracy(self):
        return self.watched.accuracy(self.folder, self.trainer.device)

    def _stopped(self):
        say(
            f"stopped by SIGTERM after step {self.trainer.step}; the same command goes on from "
            f"{self.folder / ROLLING}"
        )
        sys.exit(EXIT_STOPPED)


def main(argv=None, program="python -m unidino.train"):
    """The command line: one option for every parameter of `train`."""
    options = vars(arguments.parser(train, program).parse_args(argv))
    try:
        weights = train(**options)
    except torch.OutOfMemoryError as error:
        sys.exit(f"error: {one_line(error)} Take a smaller batch_size_per_gpu.")
    except (ValueError, TypeError, OSError, RuntimeError, NonFiniteLoss) as error:
        sys.exit(f"error: {one_line(error)}")
    if int(os.environ.get("RANK", 0)) == 0:
        print(weights)
