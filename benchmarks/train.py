"""Training against a plain variant: images a second, share of the matrix rate, loader, processes.

    python benchmarks/train.py [--tiny] [--device cuda] [--workers 14] [--seconds 6] [--profile]
    python benchmarks/train.py --kernels

Both train a ViT-S/16 by self-distillation with the published views (two of 224 and eight of 96
pixels), batch (102), head (K = 20000) and intensities, in bf16 autocast with AdamW and drop path,
on the same images, processes and reading processes. The plain variant is written here, as papers
describe the method:

- a reader takes the whole image from its file, scales it to [0, 1] in float32, and makes the ten
  crops one after another on float tensors, which the default collation puts together. Ours reads
  the windows of the crops, in the file's own type, and makes views of them on the device.
- the student sees the local views after the global ones, the loss is a loop over pairs of views,
  the teacher moves parameter by parameter, attention is written out, and weights are normalised by
  torch's parametrization. Its AdamW and its loader are torch's by default. Ours takes attention
  and AdamW as fused kernels, reads four batches ahead in each process instead of two, and looks at
  a step's loss once the next is begun. Only ours clips gradients. Neither writes logs here.

That the losses of both agree is checked first. Data: the simulated images of benchmarks/gpu.py,
uncompressed, in the page cache. The time of a step is that of its batches held in memory; rates
with a loader begin when it runs steadily. Work counts the products of forward and backward passes,
as torch counts them; its share is of the bf16 matrix product measured in the same run. One process
against two runs python -m unidino.train at a tiny size: on GPUs where there are two, otherwise on
the CPU, where it shows only that it works. --tiny is for a CPU, and its rates mean little.

--kernels compares a training step with plain attention and with the fused kernel, on this CPU: a
vit_tiny, views of 96 and 48 pixels as of the demo model, batches of random numbers. The fused
kernel saves memory, which so few tokens do not need, and its backward pass is slow in bf16 on a
CPU, where training takes the plain way. Both give the same gradients, which is checked first; the
time of each is the least of the repetitions, taken in turn. On a GPU training leaves the choice to
torch.
"""

import argparse
import contextlib
import inspect
import itertools
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tifffile
import timm
import torch
import torch.nn.functional as F
from gpu import Timer, matmul, simulated
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.data import DataLoader, Dataset, RandomSampler

from unidino.models import vit
from unidino.train import augment, data, dino, loop, train
from unidino.train.log import EPOCHS
from unidino.train.options import checked, model_config
from unidino.train.processes import Processes
from unidino.train.run import Trainer

PUBLISHED = {
    "arch": "vit_small",
    "size": 224,
    "local_size": 96,
    "local_crops_number": 8,
    "out_dim": 20000,
    "batch_size_per_gpu": 102,
    "precision": "bf16",
}
TINY = {
    "arch": "vit_tiny",
    "embed_dim": 24,
    "size": 32,
    "local_size": 16,
    "local_crops_number": 8,
    "out_dim": 64,
    "batch_size_per_gpu": 4,
    "precision": "fp32",
}
PRECISIONS = {"fp32": None, "bf16": torch.bfloat16}
ROOT = Path(__file__).resolve().parents[1]
TEACHER_TEMP, STUDENT_TEMP, MOMENTUM = 0.04, 0.1, 0.9995


class PlainViews(Dataset):
    """Ten float crops of a whole image, made one after another in the reading process."""

    def __init__(self, files, options):
        self.files = files
        sides = [options["size"]] * 2 + [options["local_size"]] * options["local_crops_number"]
        self.sides = sides

    def __len__(self):
        return len(self.files)

    def __getitem__(self, i):
        pixels = tifffile.imread(self.files[i]).astype(np.float32) / 65535
        image = torch.from_numpy(pixels)[None]
        return [self.view(image, side) for side in self.sides]

    @staticmethod
    def view(image, side):
        top = random.randint(0, image.shape[1] - side)
        left = random.randint(0, image.shape[2] - side)
        crop = image[:, top : top + side, left : left + side]
        if random.random() < 0.5:
            crop = crop.flip(1)
        if random.random() < 0.5:
            crop = crop.flip(2)
        crop = (crop + random.uniform(-0.3, 0.3)).clamp(0, 1)
        return (crop ** random.uniform(0.5, 1.5)).clamp(0, 1)


class PlainNetwork(nn.Module):
    """A vision transformer of timm with attention written out, and a head."""

    def __init__(self, options, drop_path_rate):
        super().__init__()
        self.backbone = timm.create_model(
            options["arch"] + "_patch16_224",
            in_chans=1,
            num_classes=0,
            dynamic_img_size=True,
            drop_path_rate=drop_path_rate,
            **{"embed_dim": options["embed_dim"]} if "embed_dim" in options else {},
        )
        for block in self.backbone.blocks:
            block.attn.fused_attn = False
        self.mlp = nn.Sequential(
            nn.Linear(self.backbone.num_features, 2048),
            nn.GELU(),
            nn.Linear(2048, 2048),
            nn.GELU(),
            nn.Linear(2048, 256),
        )
        last = nn.Linear(256, options["out_dim"], bias=False)
        self.last = nn.utils.parametrizations.weight_norm(last)
        lengths = self.last.parametrizations.weight.original0
        lengths.data.fill_(1)
        lengths.requires_grad = False

    def forward(self, views):
        return self.last(F.normalize(self.mlp(self.backbone(views)), dim=-1))


class PlainTraining:
    """Self-distillation without any of this project's engine."""

    def __init__(self, options, device):
        self.device = device
        self.precision = PRECISIONS[options["precision"]]
        torch.manual_seed(0)
        self.student = PlainNetwork(options, 0.1).to(device)
        self.teacher = PlainNetwork(options, 0.0).to(device)
        self.teacher.load_state_dict(self.student.state_dict())
        self.teacher.requires_grad_(False)
        self.teacher.eval()
        self.center = torch.zeros(1, options["out_dim"], device=device)
        self.optimizer = torch.optim.AdamW(self.student.parameters(), lr=1e-4, weight_decay=0.04)

    def loss(self, student, teacher):
        """Mean over the pairs of a teacher's view and another one of the student."""
        total, pairs = 0.0, 0
        for i, target in enumerate(teacher):
            q = F.softmax((target.float() - self.center) / TEACHER_TEMP, dim=-1)
            for j, logits in enumerate(student):
                if i != j:
                    log_p = F.log_softmax(logits.float() / STUDENT_TEMP, dim=-1)
                    total = total - (q * log_p).sum(-1).mean()
                    pairs += 1
        return total / pairs

    def step(self, views):
        views = [view.to(self.device, non_blocking=True) for view in views]
        enabled = self.precision is not None
        with torch.autocast(self.device.type, self.precision, enabled=enabled):
            with torch.no_grad():
                teacher = self.teacher(torch.cat(views[:2]))
            large = self.student(torch.cat(views[:2]))
            small = self.student(torch.cat(views[2:]))
        loss = self.loss([*large.chunk(2), *small.chunk(len(views) - 2)], teacher.chunk(2))
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        with torch.no_grad():
            mean = teacher.float().mean(0, keepdim=True)
            self.center = 0.9 * self.center + 0.1 * mean
            for own, followed in zip(
                self.teacher.parameters(), self.student.parameters(), strict=True
            ):
                own.mul_(MOMENTUM).add_(followed, alpha=1 - MOMENTUM)
        value = loss.item()
        assert np.isfinite(value)
        return value


@contextlib.contextmanager
def plain_batches(files, options, workers, device):
    """Batches of the plain reader, as an endless iterator."""
    images = PlainViews(files, options)
    loader = DataLoader(
        images,
        batch_size=options["batch_size_per_gpu"],
        sampler=RandomSampler(images, replacement=True, num_samples=10**8),
        num_workers=workers,
        pin_memory=device.type == "cuda",
    )
    batches = iter(loader)
    try:
        yield batches
    finally:
        if workers:
            batches._shutdown_workers()


def our_trainer(table, options, processes, folder):
    """A trainer as `train` makes it, of a run that is too long to end here."""
    parameters = inspect.signature(train).parameters
    given = {name: parameter.default for name, parameter in parameters.items()}
    given |= options | {"output_dir": str(folder), "datasets": [str(table)]}
    given |= {"device": str(processes.device), "freeze_last_layer": 0}
    given |= {"epochs": 100, "epoch_length": 1000 * options["batch_size_per_gpu"]}
    given |= {"warmup_epochs": 1, "warmup_teacher_temp_epochs": 0}
    options = checked(given, train)
    views = augment.ViewSettings.of(options)
    planes = data.planes_of(data.open_training_set(str(table)), 1, options["intensity_scaling"])
    images = data.TrainingImages([planes], views, **{name: options[name] for name in data.DRAWING})
    return Trainer(options, model_config(options), views, images, processes)


@contextlib.contextmanager
def our_batches(trainer, workers):
    """The batches that training takes, read by so many processes."""
    trainer.options["num_workers"] = workers
    with loop._batches(trainer) as batches:
        yield batches


def check_losses(options):
    """Stop unless the loss of both ways is the same on random logits."""
    generator = torch.Generator().manual_seed(0)
    images, views = 4, 2 + options["local_crops_number"]
    student = torch.randn(views * images, options["out_dim"], generator=generator)
    teacher = torch.randn(2 * images, options["out_dim"], generator=generator)
    ours, _ = dino.DINOLoss(options["out_dim"], STUDENT_TEMP)(student, teacher, TEACHER_TEMP)
    plain = PlainTraining.__new__(PlainTraining)
    plain.center = torch.zeros(1, options["out_dim"])
    theirs = plain.loss(student.chunk(views), teacher.chunk(2))
    torch.testing.assert_close(ours, theirs)


class Rates:
    """Images a second of calls that take a batch each."""

    def __init__(self, batch, timer):
        self.batch = batch
        self.timer = timer

    def __call__(self, call, warm):
        """The rate after so many calls, in which everything starts."""
        for _ in range(warm):
            call()
        self.timer.wait()
        began, count = time.perf_counter(), 0
        while time.perf_counter() - began < self.timer.least:
            call()
            count += 1
        self.timer.wait()
        return count * self.batch / (time.perf_counter() - began)


def step_flop(step):
    """FLOP of the products of a step, forward and backward, counted by torch."""
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with counter:
        step()
    return counter.get_total_flops()


def busy_seconds(step, shown):
    """Seconds of a step in which the GPU computes and copies, and of all of it, profiled."""
    from torch.profiler import ProfilerActivity, profile

    steps = 5
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        torch.cuda.synchronize()
        began = time.perf_counter()
        for _ in range(steps):
            step()
        torch.cuda.synchronize()
        seconds = time.perf_counter() - began
    events = profiler.key_averages()
    kernels = [e for e in events if e.device_type.name == "CUDA" and not e.is_user_annotation]
    busy = sum(e.self_device_time_total for e in kernels) / 1e6
    if shown:
        for order in ("self_cuda_time_total", "self_cpu_time_total"):
            print(events.table(sort_by=order, row_limit=25, max_name_column_width=60))
    return busy / steps, seconds / steps


def cycled(batches, count):
    """So many batches, for ever."""
    return itertools.cycle([next(batches) for _ in range(count)])


def ahead(trainer, batches):
    """A call that takes a step, then reads the numbers of the one before, as training does."""
    waiting = []

    def step():
        waiting.append(trainer.train_step([next(batches)]))
        if len(waiting) > 1:
            waiting.pop(0).numbers()

    return step


def compare(given, folder, device):
    """Both ways of training, in one process."""
    options = TINY if given.tiny else PUBLISHED
    workers = 1 if given.tiny else given.workers
    timer = Timer(device, 0.3 if given.tiny else given.seconds)
    batch = options["batch_size_per_gpu"]
    rate = Rates(batch, timer)
    check_losses(options)
    table = simulated(folder, 4 if given.tiny else given.sites, 96 if given.tiny else 1080)
    files = sorted(map(str, folder.glob("*.tif")))

    ceiling = matmul(Timer(device, 0.1 if given.tiny else 2), 256 if given.tiny else 8192,
                     torch.bfloat16)  # fmt: skip
    print(f"bf16 product of two matrices: {ceiling / 1e12:.3g} TFLOP/s", flush=True)
    made = {}
    with Processes(str(device)) as processes:
        trainer = our_trainer(table, options, processes, folder / "trained")
        plain = PlainTraining(options, device)
        for count in (1,) if given.tiny else sorted({4, 8, workers}):
            with our_batches(trainer, count) as batches:
                made["ours", count] = rate(lambda b=batches: next(b), 2 * count)
            print(f"loader alone, ours, {count} workers: {made['ours', count]:,.0f} images/s",
                  flush=True)  # fmt: skip
        with plain_batches(files, options, workers, device) as batches:
            made["plain", workers] = rate(lambda: next(batches), 2 * workers)
        print(f"loader alone, plain, {workers} workers: {made['plain', workers]:,.0f} images/s",
              flush=True)  # fmt: skip

        with our_batches(trainer, workers) as batches:
            ours_step = ahead(trainer, cycled(batches, 4))
        with plain_batches(files, options, workers, device) as batches:
            held = cycled(batches, 4)

        def plain_step():
            plain.step(next(held))

        for name, step in (("ours", ours_step), ("plain", plain_step)):
            made[name, "step"] = rate(step, 5)
            flop = step_flop(step)
            share = flop * made[name, "step"] / batch / ceiling
            print(f"step alone, {name}: {made[name, 'step']:,.0f} images/s, "
                  f"{1e3 * batch / made[name, 'step']:.1f} ms, {flop / 1e12:.3g} TFLOP, "
                  f"{share:.3f} of the product's rate", flush=True)  # fmt: skip
            if device.type == "cuda":
                busy, seconds = busy_seconds(step, given.profile)
                print(f"  of {1e3 * seconds:.1f} ms under the profiler, the GPU works "
                      f"{1e3 * busy:.1f} ms", flush=True)  # fmt: skip

        with our_batches(trainer, workers) as batches:
            made["ours", "all"] = rate(ahead(trainer, batches), 2 * workers)
        with plain_batches(files, options, workers, device) as batches:
            made["plain", "all"] = rate(lambda: plain.step(next(batches)), 2 * workers)
        for name in ("ours", "plain"):
            print(f"with the loader, {name}, {workers} workers: {made[name, 'all']:,.0f} images/s, "
                  f"{made[name, 'all'] / made[name, 'step']:.2f} of the step alone")  # fmt: skip
    for what, words in ((workers, "loader alone"), ("step", "step alone"), ("all", "training")):
        print(f"ours to plain, {words}: {made['ours', what] / made['plain', what]:.2f}", flush=True)


def scaling(folder, several):
    """Images a second of one and of two processes that train together at a tiny size."""
    table = simulated(folder, 4, 96)
    rates = {}
    device = "cuda" if several else "cpu"
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    told = {"OMP_NUM_THREADS": 1, "PYTHONPATH": path}
    for world in (1, 2):
        options = TINY | {
            "datasets": table,
            "output_dir": folder / f"world{world}",
            "device": device,
            "epochs": 2,
            "epoch_length": 32 * world,
            "warmup_epochs": 0,
            "warmup_teacher_temp_epochs": 0,
            "freeze_last_layer": 0,
            "num_workers": 0,
        }
        words = [f"--{name}={value}" for name, value in options.items()]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            told |= {"WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world}
            told |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free.getsockname()[1]}
        started = [
            subprocess.Popen(
                [sys.executable, "-m", "unidino.train", *words],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                env=os.environ
                | {name: str(value) for name, value in told.items()}
                | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            )
            for rank in range(world)
        ]
        for process in started:
            said = process.communicate()[1]
            if process.returncode:
                sys.exit(said)
        last = (folder / f"world{world}" / EPOCHS).read_text().splitlines()[-1]
        rates[world] = world * json.loads(last)["images_per_second"]
    print(f"{device}, tiny: {rates[1]:.0f} images/s in one process, {rates[2]:.0f} in two, "
          f"{rates[2] / rates[1]:.2f} times as many")  # fmt: skip


KERNELS = {"plain": SDPBackend.MATH, "fused": SDPBackend.FLASH_ATTENTION}


def demo_network(options, seed=0):
    torch.manual_seed(seed)
    backbone = vit.EmbeddingModel(vit.ModelConfig(arch=options["arch"], size=options["size"]))
    head = dino.DINOHead(backbone.embedding_dim, options["out_dim"])
    return dino.MultiCropNetwork(backbone, head)


def timed_pass(student, teacher, views, kernel, dtype):
    """Forward and backward; the seconds it took."""
    student.zero_grad()
    began = time.perf_counter()
    with sdpa_kernel(kernel), torch.autocast("cpu", dtype, enabled=dtype is not None):
        with torch.no_grad():
            answer, _, _ = teacher(views[:1])
        logits, _, _ = student(views)
    dino.DINOLoss(logits.shape[1])(logits, answer, 0.04)[0].backward()
    return time.perf_counter() - began


def check_gradients(options, views):
    """Stop unless both kernels give the same gradients."""
    gradients = []
    for kernel in KERNELS.values():
        student = demo_network(options)
        teacher = demo_network(options, 1)
        timed_pass(student, teacher, [view[:8] for view in views], kernel, None)
        gradients.append(
            torch.cat([p.grad.ravel() for p in student.parameters() if p.requires_grad])
        )
    error = (gradients[0] - gradients[1]).norm() / gradients[1].norm()
    assert error < 1e-4, error


def kernels(images, repeats):
    """Plain attention against the fused kernel, on this CPU."""
    from unidino.demo.recipe import SELF_DISTIL as o

    views = [
        torch.rand(2 * images, 1, o["size"], o["size"]),
        torch.rand(o["local_crops_number"] * images, 1, o["local_size"], o["local_size"]),
    ]
    check_gradients(o, views)
    student, teacher = demo_network(o), demo_network(o, 1)
    for name, dtype in PRECISIONS.items():
        seconds = {kernel: [] for kernel in KERNELS}
        for _ in range(repeats + 1):
            for kernel, backend in KERNELS.items():
                seconds[kernel].append(timed_pass(student, teacher, views, backend, dtype))
        # The first of each warms up.
        best = {kernel: min(times[1:]) for kernel, times in seconds.items()}
        plain, fused = best.values()
        print(
            f"{name}, {torch.get_num_threads()} threads: "
            + ", ".join(f"{kernel} {images / s:.1f} images/s" for kernel, s in best.items())
            + f": {fused / plain:.2f} times as many"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="for a CPU, to see that all of it runs")
    parser.add_argument("--device", help="by default cuda where there is one")
    parser.add_argument("--workers", type=int, default=14, help="reading processes")
    parser.add_argument("--sites", type=int, default=64, help="of five channels")
    parser.add_argument("--seconds", type=float, default=6.0, help="of every measurement")
    parser.add_argument("--profile", action="store_true", help="the kernels of a step on a GPU")
    parser.add_argument("--kernels", action="store_true", help="attention on this CPU, instead")
    parser.add_argument("--images", type=int, default=64, help="of --kernels")
    parser.add_argument("--repeats", type=int, default=5, help="of --kernels")
    given = parser.parse_args()
    if given.kernels:
        kernels(given.images, given.repeats)
        return
    cuda = torch.cuda.is_available()
    device = torch.device(given.device or ("cuda" if cuda and not given.tiny else "cpu"))
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    print(f"{name}, torch {torch.__version__}, {os.cpu_count()} cores, "
          f"{torch.get_num_threads()} threads", flush=True)  # fmt: skip
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        compare(given, Path(folder), device)
    with tempfile.TemporaryDirectory() as folder:
        scaling(Path(folder), device.type == "cuda" and torch.cuda.device_count() > 1)
    print(f"all in {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
