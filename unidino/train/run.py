"""Student, teacher, optimiser, and the step that moves them."""

import contextlib
import copy
import json
import math
import time
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from .. import tables
from ..embedding import PRECISIONS
from ..models import checkpoints
from ..models.vit import EmbeddingModel
from . import augment, dino, distil
from .data import views_of


class NonFiniteLoss(FloatingPointError):
    """The loss is not a number or infinite; the checkpoints from before are intact."""


def warm_start(model, path):
    """Load a checkpoint's backbone; position embeddings are interpolated to the model's size."""
    state = checkpoints.load_checkpoint(path).weights()
    if "pos_embed" in state and model.is_vit:
        from timm.layers import resample_abs_pos_embed

        vit = model.backbone
        state["pos_embed"] = resample_abs_pos_embed(
            state["pos_embed"],
            list(vit.patch_embed.grid_size),
            num_prefix_tokens=0 if vit.no_embed_class else vit.num_prefix_tokens,
        )
    model.load_weights(state, path)


def _network(config, options, drop_path_rate, source=None):
    backbone = EmbeddingModel(config, drop_path_rate)
    head = None
    if options["dino_weight"]:
        head = dino.DINOHead(
            backbone.embedding_dim,
            options["out_dim"],
            use_bn=options["use_bn_in_head"],
            norm_last_layer=options["norm_last_layer"],
        )
    reproduction = None
    if source is not None:
        token_dim = backbone.backbone.embed_dim
        reproduction = distil.Reproduction(backbone.embedding_dim, token_dim, *source.widths())
    return dino.MultiCropNetwork(backbone, head, reproduction)


def _check_view_sizes(network, views, config):
    """Stop when the backbone cannot take views of both sizes."""
    for name, size in (("size", views.size), ("local_size", views.local_size)):
        if name == "local_size" and not views.local_crops_number:
            continue
        try:
            with torch.inference_mode():
                network.backbone(torch.zeros(2, config.in_chans, size, size))
        except (RuntimeError, AssertionError, ValueError) as error:
            raise ValueError(
                f"{config.arch} cannot take views with {name} {size} ({error}). For a vision "
                f"transformer it must be a multiple of the patch size {config.patch_size}."
            ) from None


def _optimizer(name, network, device):
    groups = dino.parameter_groups(network)
    if name == "adamw":
        return torch.optim.AdamW(groups, fused=device.type == "cuda")
    if name == "sgd":
        return torch.optim.SGD(groups, lr=0, momentum=0.9)
    from timm.optim import Lars

    return Lars(groups, lr=0, momentum=0.9)


class _Pass(NamedTuple):
    """One forward pass.

    Measured are losses and entropies by their names in the log; of the teacher's logits their sum
    (1, K) and how many rows it has, None and 0 without self-distillation.
    """

    loss: torch.Tensor
    measured: dict
    logits: torch.Tensor | None
    rows: int
    embeddings: torch.Tensor

    def detached(self):
        return self._replace(loss=self.loss.detach())


class Taken:
    """A step that was taken; its numbers may still be on their way from the device.

    They are copied behind the step's work, so that the next step can be given to a GPU before one
    waits for them.

    Parameters
    ----------
    trainer : Trainer
    batches : list of dict
    passes : list of _Pass
    norm : torch.Tensor
        Of the gradients.
    scheduled : dict of float

    Attributes
    ----------
    step : int
        Its number, from 0.
    batches : list of dict
        What it was made of.
    """

    def __init__(self, trainer, batches, passes, norm, scheduled):
        self.step = trainer.step
        self.batches = batches
        self._trainer = trainer
        self._losses = [p.loss for p in passes]
        self._scheduled = scheduled
        self._names = [*passes[0].measured, "grad_norm"]
        rows = [torch.stack(list(p.measured.values())) for p in passes]
        means = dino.sum_over_processes(torch.stack(rows).mean(0)) / trainer.world
        values = torch.cat([means, norm[None]])
        self._values = values.to("cpu", non_blocking=True)
        embeddings = torch.cat([p.embeddings for p in passes])
        self._embeddings = embeddings.to("cpu", non_blocking=True)
        self._copied = None
        if trainer.device.type == "cuda":
            self._copied = torch.cuda.Event()
            self._copied.record()

    def numbers(self):
        """What the step measured, once it is done.

        Returns
        -------
        measured : dict of float
            Means over all processes: ``loss``; with self-distillation its part ``dino_loss`` and
            ``teacher_entropy``; with a source its part ``distil_loss`` (both parts unweighted).
            ``grad_norm`` before clipping, and the schedules' values.
        embeddings : torch.Tensor
            (B, D), of this process, of the first global view: the teacher's, or the student's where
            there is no self-distillation.

        Raises
        ------
        NonFiniteLoss
        """
        if self._copied is not None:
            self._copied.synchronize()
        measured = dict(zip(self._names, self._values.tolist(), strict=True))
        if not math.isfinite(measured["loss"]):
            self._stop()
        return measured | self._scheduled, self._embeddings

    def _stop(self):
        """Stop all processes when one of them has a loss that is not finite; it names its images.

        Raises
        ------
        NonFiniteLoss
        """
        trainer = self._trainer
        losses = [float(loss) for loss in self._losses]
        wrong = [i for i, value in enumerate(losses) if not math.isfinite(value)]
        drawn = [int(image) for i in wrong for image in self.batches[i]["image"]]
        files = [trainer.images.files(image) for image in drawn]
        folder = Path(trainer.options["output_dir"])
        if wrong:
            tables.write_json(
                folder / f"nonfinite-{trainer.processes.rank}.json",
                {"step": self.step, "loss": str(losses[wrong[0]]), "images": files},
            )
        raise NonFiniteLoss(
            f"the loss is not finite at step {self.step} (process {trainer.processes.rank}"
            f"{'' if wrong else ', not of its own images'}). Images of this batch: "
            f"{json.dumps(files[:3])}{' …' if len(files) > 3 else ''}; all are listed in "
            f"{folder}/nonfinite-*.json. The checkpoints there are from before and intact. Lower "
            "lr, set clip_grad, or take precision fp32 or bf16."
        )


class Trainer:
    """Networks, schedules and the training step.

    Parameters
    ----------
    options : dict
        The parameters of `train.train`, checked.
    config : vit.ModelConfig
    views : augment.ViewSettings
    images : data.TrainingImages
    processes : processes.Processes
    source : distil.Source, optional
        What the student reproduces.

    Attributes
    ----------
    step : int
        Finished steps.
    total_batch : int
        Images of a step, over all processes.
    """

    def __init__(self, options, config, views, images, processes, source=None):
        self.options = options
        self.views = views
        self.images = images
        self.processes = processes
        self.device = device = processes.device
        self.world = world = processes.world
        self.step = 0
        self.batch = options["batch_size_per_gpu"]
        self.accumulate = options["grad_accum"]
        self.total_batch = self.batch * self.accumulate * world
        length = options["epoch_length"] or images.published_length
        self.steps_per_epoch = length // self.total_batch
        if not self.steps_per_epoch:
            raise ValueError(
                f"the total batch is {self.total_batch} images (batch_size_per_gpu {self.batch} x "
                f"grad_accum {self.accumulate} x {world} processes), an epoch has {length}: take a "
                "smaller batch, or a longer epoch_length."
            )
        self.total_steps = options["epochs"] * self.steps_per_epoch
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(options["seed"])
            self.student = _network(config, options, options["drop_path_rate"], source)
            self.teacher = _network(config, options, 0.0)
        if options["ckpt"]:
            warm_start(self.student.backbone, options["ckpt"])
            # What goes on from weights stays under their licence.
            self.teacher.backbone.licence = checkpoints.file_licence(options["ckpt"])
        self.teacher.backbone.load_state_dict(self.student.backbone.state_dict())
        if self.self_distils:
            self.teacher.head.load_state_dict(self.student.head.state_dict())
        self.teacher.requires_grad_(False)
        self.teacher.eval()
        if options["use_bn_in_head"] and self.self_distils:
            # Normalises by the batch, as the student's does: running means lag behind.
            self.teacher.head.train()
        _check_view_sizes(self.teacher, views, config)
        self.source = source
        if source is not None:
            source.check_size(views.size)
            source.to(device)
        self.student.to(device)
        self.teacher.to(device)
        self.loss = dino.DINOLoss(options["out_dim"], centring=options["centring"]).to(device)
        self.optimizer = _optimizer(options["optimizer"], self.student, device)
        self.dtype = PRECISIONS[options["precision"]]
        self.scaler = torch.amp.GradScaler(device.type, enabled=options["precision"] == "fp16")
        self.replica = self._replica()
        self._schedules()

    @property
    def self_distils(self):
        """Whether the student follows its teacher, or a source alone."""
        return self.student.head is not None

    def _replica(self):
        """The student as the forward pass sees it: wrapped where several processes train."""
        if self.world == 1:
            return self.student
        if self.device.type == "cuda":
            self.student = nn.SyncBatchNorm.convert_sync_batchnorm(self.student)
        devices = [self.device] if self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(self.student, device_ids=devices)

    def _schedules(self):
        o, steps = self.options, self.total_steps
        self.peak_lr = o["lr"] * self.total_batch / 256
        warmup = o["warmup_epochs"] * self.steps_per_epoch
        self.lr = dino.cosine_schedule(self.peak_lr, o["min_lr"], steps, warmup)
        self.weight_decay = dino.cosine_schedule(o["weight_decay"], o["weight_decay_end"], steps)
        self.momentum = dino.cosine_schedule(o["momentum_teacher"], 1.0, steps)

    def teacher_temp(self, epoch):
        """The teacher's temperature in an epoch."""
        o = self.options
        return dino.teacher_temperature(
            epoch, o["warmup_teacher_temp"], o["teacher_temp"], o["warmup_teacher_temp_epochs"]
        )

    @contextlib.contextmanager
    def forward_context(self):
        """Precision and attention of the forward pass, as a context."""
        with contextlib.ExitStack() as stack:
            if self.dtype is not None:
                stack.enter_context(torch.autocast(self.device.type, self.dtype))
            if self.device.type == "cpu" and self.dtype is not None:
                # Fused attention is slower in half precision: benchmarks/train.py --kernels.
                stack.enter_context(sdpa_kernel(SDPBackend.MATH))
            yield

    def seconds_an_image(self, images=2):
        """Time that a step takes an image on this process's CPU, tried on noise."""
        o = self.options
        # A copy: batch normalisation learns from whatever it sees.
        student = copy.deepcopy(self.student).train()
        shapes = ((augment.GLOBAL_VIEWS, o["size"]), (o["local_crops_number"], o["local_size"]))
        views = [
            torch.rand(count * images, o["in_chans"], side, side) for count, side in shapes if count
        ]
        began = time.monotonic()
        with torch.random.fork_rng(devices=[]), self.forward_context():
            with torch.no_grad():
                if self.self_distils:
                    student(views[:1])
                if self.source is not None:
                    self.source.targets(views[0])
            logits, embeddings, predicted = student(views)
        made = [embeddings if logits is None else logits, *(predicted or ())]
        sum(part.float().square().mean() for part in made if part is not None).backward()
        return (time.monotonic() - began) / images

    def train_step(self, batches):
        """One optimisation step.

        Parameters
        ----------
        batches : list of dict
            From `data.collate`, one for each accumulated pass.

        Returns
        -------
        Taken
            On a GPU it is returned while the step still computes.
        """
        scheduled = self._scheduled()
        self._prepare(scheduled)
        passes = []
        for i, batch in enumerate(batches):
            with self._gradients_summed(i == len(batches) - 1):
                made = self._forward(batch, scheduled["teacher_temp"])
                self.scaler.scale(made.loss / len(batches)).backward()
            passes.append(made.detached())
        norm = self._update_student()
        if self.self_distils:
            self.loss.update_center(sum(p.logits for p in passes), sum(p.rows for p in passes))
        dino.update_teacher(self.student, self.teacher, scheduled["momentum"])
        taken = Taken(self, batches, passes, norm, scheduled)
        self.step += 1
        return taken

    @property
    def epoch(self):
        """Finished epochs."""
        return self.step // self.steps_per_epoch

    def _scheduled(self):
        """The schedules' values at this step."""
        return {
            "lr": self.lr[self.step],
            "weight_decay": self.weight_decay[self.step],
            "momentum": self.momentum[self.step],
            "teacher_temp": self.teacher_temp(self.epoch),
        }

    def _prepare(self, scheduled):
        # Stochastic depth follows from seed, step and process: a resumed run draws the same.
        torch.manual_seed(hash((self.options["seed"], self.step, self.processes.rank)) % 2**63)
        decayed, free = self.optimizer.param_groups
        decayed["lr"] = free["lr"] = scheduled["lr"]
        decayed["weight_decay"] = scheduled["weight_decay"]
        self.student.train()

    def _gradients_summed(self, last):
        """Context of a pass: the processes sum their gradients once a step, in its last pass."""
        return contextlib.nullcontext() if last or self.world == 1 else self.replica.no_sync()

    def _forward(self, batch, teacher_temp):
        o = self.options
        views = views_of(batch, self.views, self.device)
        with self.forward_context():
            teacher_logits = embeddings = targets = None
            with torch.no_grad():
                if self.self_distils:
                    teacher_logits, embeddings, _ = self.teacher(views[:1])
                if self.source is not None:
                    targets = self.source.targets(views[0])
            student_logits, student_embeddings, predicted = self.replica(views)
        loss, measured, logits, rows = 0.0, {}, None, 0
        if teacher_logits is not None:
            loss, entropy = self.loss(student_logits, teacher_logits, teacher_temp)
            measured |= {"dino_loss": loss.detach(), "teacher_entropy": entropy}
            loss = o["dino_weight"] * loss
            logits, rows = teacher_logits.float().sum(0, keepdim=True), len(teacher_logits)
        if targets is not None:
            error = distil.distillation_loss(predicted, targets)
            loss = loss + o["distil_weight"] * error
            measured["distil_loss"] = error.detach()
        count = len(batch["image"])
        if o["koleo_weight"]:
            spread = [
                dino.koleo(student_embeddings[i * count : (i + 1) * count])
                for i in range(augment.GLOBAL_VIEWS)
            ]
            loss = loss + o["koleo_weight"] * sum(spread) / len(spread)
        measured = {"loss": loss.detach()} | measured
        seen = (student_embeddings.detach() if embeddings is None else embeddings)[:count].float()
        return _Pass(loss, measured, logits, rows, seen)

    def _update_student(self):
        """Clip, step, and forget the gradients; the norm of all gradients before clipping."""
        self.scaler.unscale_(self.optimizer)
        if self.self_distils and self.epoch < self.options["freeze_last_layer"]:
            for parameter in self.student.head.last_layer.parameters():
                parameter.grad = None
        parameters = [p for p in self.student.parameters() if p.grad is not None]
        if self.options["clip_grad"]:
            norms = dino.clip_gradients(parameters, self.options["clip_grad"])
        else:
            norms = torch.stack([p.grad.norm() for p in parameters])
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        return norms.float().norm()
