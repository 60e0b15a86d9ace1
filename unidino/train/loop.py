"""A training from its checked options to the weights: set up, gone on with, looped, stored.

One process a GPU, or one on the CPU; the same code with and without a launcher. Method: Caron et
al. 2021 (arXiv:2104.14294) with the settings of the released training script, see `training.train`.
"""

import contextlib
import sys
import time
from dataclasses import replace
from pathlib import Path

import filelock
import torch
from torch.utils.data import DataLoader

from .. import tables
from ..progress import Pace, Progress, in_words, logging_to, say
from . import augment
from .data import (
    DRAWING,
    GlobalSequence,
    TrainingImages,
    collate,
    read_planes,
    remembered_planes,
    shared_pixel_size,
)
from .distil import Source
from .log import (
    CONFIG,
    ENVIRONMENT,
    EpochSums,
    TrainingLog,
    collapse_warnings,
    environment,
)
from .monitor import Monitor
from .options import EXIT_STOPPED, FREE, as_json, model_config, open_sets
from .processes import Processes
from .run import Trainer
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

LOCK = ".lock"
"""Held by the training that is at work in a folder."""


def carry_out(options, small):
    """Train with checked options: see `training.train`.

    Parameters
    ----------
    options : dict
        From `options.checked`.
    small : str
        From `options.small_defaults`.

    Returns
    -------
    Path

    Raises
    ------
    RuntimeError
        The device has too little memory.
    """
    config = model_config(options)
    views = augment.ViewSettings.of(options)
    with Processes(options["device"]) as processes:
        opened, watched = processes.first(_open, options) or ([], None)
        folder = Path(options["output_dir"]).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        name = f"train-{processes.rank}.log" if processes.rank else "train.log"
        with logging_to(folder / name), processes.first(_alone, folder) or contextlib.nullcontext():
            if processes.rank == 0:
                _begin(folder, small)
            measured = processes.first(remembered_planes, opened, options, folder)
            planes = measured or read_planes(folder)
            config = replace(config, pixel_size=shared_pixel_size(planes))
            source = Source.of(options["distil_from"], options["in_chans"])
            images = TrainingImages(planes, views, **{name: options[name] for name in DRAWING})
            trainer = Trainer(options, config, views, images, processes, source)
            stored = as_json(options | {"total_batch": trainer.total_batch})
            stored["model_config"] = as_json(config.as_dict())
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
            except torch.OutOfMemoryError as error:
                raise RuntimeError(f"{error} Take a smaller batch_size_per_gpu.") from None
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
    before, now = _of_options(earlier), _of_options(stored)
    differing = [
        f"{name} was {before.get(name)!r}, is {now.get(name)!r}"
        for name in sorted((before.keys() | now.keys()) - {"data"})
        if name not in FREE and before.get(name) != now.get(name)
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


def _of_options(stored):
    """What is stored of a run without what follows from its images, which are compared apart."""
    config = stored.get("model_config") or {}
    config = {name: value for name, value in dict(config).items() if name != "pixel_size"}
    return stored | {"model_config": config}


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
        # Several processes on GPUs that ask each other whether to stop wait for their steps.
        self._asks = 16 if trainer.world > 1 and trainer.device.type == "cuda" else 1

    @property
    def _ahead(self):
        """Whether a step is begun before the numbers of the one before are there."""
        return self.trainer.device.type == "cuda"

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
        pace = Pace(remaining, "image") if processes.rank == 0 else None
        with (
            StopRequest() as stop,
            _batches(trainer) as batches,
            Progress(remaining, "image", "training") as bar,
        ):
            if epoch.steps == trainer.steps_per_epoch:
                # A kill after the last step of an epoch may have come before its line.
                lacking = processes.any(self.log.lacks(trainer.epoch))
                epoch = self._finish_epoch(epoch, stop) if lacking else EpochSums()
            before = None
            while trainer.step < trainer.total_steps:
                parts = [next(batches) for _ in range(trainer.accumulate)]
                taken = trainer.train_step(parts)
                if before:
                    self._note(before, epoch, bar, pace)
                whole = trainer.step % trainer.steps_per_epoch == 0
                late = time.monotonic() - saved > 60 * self.stored["checkpoint_minutes"]
                stopping = (whole or trainer.step % self._asks == 0) and processes.any(
                    stop.requested
                )
                before = taken if self._ahead and not (whole or stopping or late) else None
                if not before:
                    self._note(taken, epoch, bar, pace)
                if whole or stopping or late:
                    self._save(epoch, whole)
                    saved = time.monotonic()
                if whole:
                    epoch = self._finish_epoch(epoch, stop)
                if stopping and trainer.step < trainer.total_steps:
                    self._stopped()
        processes.barrier()

    def _note(self, taken, epoch, bar, pace):
        """Count a step: in the epoch's sums, the log and what is shown."""
        trainer = self.trainer
        measured, embeddings = taken.numbers()
        epoch.add(measured, embeddings, taken.batches)
        self.log.step({"step": taken.step} | measured)
        bar.note(f"loss {measured['loss']:.3f}")
        bar.update(trainer.total_batch)
        if pace:
            pace.done(trainer.total_batch)

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
