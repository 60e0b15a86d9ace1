"""A training step with plain attention against one with the fused kernel, on this CPU.

    python benchmarks/training.py [--images 64] [--repeats 5]

A step is the teacher's forward pass over the two global views, the student's over all views, and
the backward pass: a vit_tiny, views of 96 and 48 pixels as of the demo model, batches of random
numbers. The fused kernel saves memory, which so few tokens do not need, and its backward pass is
slow in bf16 on a CPU, where training takes the plain way. Both give the same gradients, which is
checked first; the time of each is the least of the repetitions, taken in turn. On a GPU training
leaves the choice to torch.
"""

import argparse
import time

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from unidino.demo.recipe import SELF_DISTIL
from unidino.models import vit
from unidino.train import dino

KERNELS = {"plain": SDPBackend.MATH, "fused": SDPBackend.FLASH_ATTENTION}
PRECISIONS = {"fp32": None, "bf16": torch.bfloat16}


def network(seed=0):
    o = SELF_DISTIL
    torch.manual_seed(seed)
    backbone = vit.EmbeddingModel(vit.ModelConfig(arch=o["arch"], size=o["size"]))
    head = dino.DINOHead(backbone.embedding_dim, o["out_dim"])
    return dino.MultiCropNetwork(backbone, head)


def step(student, teacher, views, kernel, dtype):
    """Forward and backward; the seconds it took."""
    student.zero_grad()
    began = time.perf_counter()
    with sdpa_kernel(kernel), torch.autocast("cpu", dtype, enabled=dtype is not None):
        with torch.no_grad():
            answer, _, _ = teacher(views[:1])
        logits, _, _ = student(views)
    dino.DINOLoss(logits.shape[1])(logits, answer, 0.04)[0].backward()
    return time.perf_counter() - began


def check(views):
    """Stop unless both kernels give the same gradients."""
    gradients = []
    for kernel in KERNELS.values():
        student = network()
        step(student, network(1), [view[:8] for view in views], kernel, None)
        gradients.append(
            torch.cat([p.grad.ravel() for p in student.parameters() if p.requires_grad])
        )
    error = (gradients[0] - gradients[1]).norm() / gradients[1].norm()
    assert error < 1e-4, error


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    o = SELF_DISTIL
    views = [
        torch.rand(2 * given.images, 1, o["size"], o["size"]),
        torch.rand(o["local_crops_number"] * given.images, 1, o["local_size"], o["local_size"]),
    ]
    check(views)
    student, teacher = network(), network(1)
    for name, dtype in PRECISIONS.items():
        seconds = {kernel: [] for kernel in KERNELS}
        for _ in range(given.repeats + 1):
            for kernel, backend in KERNELS.items():
                seconds[kernel].append(step(student, teacher, views, backend, dtype))
        # The first of each warms up.
        best = {kernel: min(times[1:]) for kernel, times in seconds.items()}
        plain, fused = best.values()
        print(
            f"{name}, {torch.get_num_threads()} threads: "
            + ", ".join(f"{kernel} {given.images / s:.1f} images/s" for kernel, s in best.items())
            + f": {fused / plain:.2f} times as many"
        )


if __name__ == "__main__":
    main()
