"""What one GPU does: the matmul rate, embedding, extraction from files, training, in one run.

    python benchmarks/gpu.py [--tiny] [--sites 64] [--device cuda]

Data: simulated blobs and noise, five channels of 1080 x 1080 pixels of 16 bits, uncompressed TIFFs
in a temporary folder, read from the page cache. Rates are of this run on this card; shares are of
the bf16 matrix product measured beside them. --tiny is for a CPU: it shows that all of it runs, and
its rates mean nothing.
"""

import argparse
import contextlib
import io
import json
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile
import torch
import torch.distributed as dist

import unidino
from unidino import embedding
from unidino.models import vit
from unidino.train import train
from unidino.train.log import STEPS, read_log
from unidino.train.state import WEIGHTS

CHANNELS = ("DNA", "ER", "RNA", "AGP", "Mito")
DISTINCT = 8
"""Sites with pixels of their own; the others are copies under other names."""


def simulated(folder, sites, side):
    """A CSV of sites, one uncompressed TIFF a channel."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(sites):
        row = {
            "plate": "simulated",
            "well": f"{'ABCDEFGH'[i // 12 % 8]}{i % 12 + 1:02d}",
            "site": i,
        }
        for channel in CHANNELS:
            row[channel] = f"{i}_{channel}.tif"
            path = folder / row[channel]
            if i >= DISTINCT:
                shutil.copyfile(folder / f"{i % DISTINCT}_{channel}.tif", path)
                continue
            coarse = torch.from_numpy(rng.gamma(0.3, 4000, (1, 1, 36, 36)).astype(np.float32))
            blobs = torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic")
            values = blobs[0, 0].numpy().clip(0, 60000) + 400
            noise = rng.standard_normal(values.shape, np.float32) * (5 + np.sqrt(values) / 4)
            tifffile.imwrite(path, (values + noise).clip(0, 65535).astype(np.uint16))
        rows.append(row)
    table = folder / "plate.csv"
    pd.DataFrame(rows).to_csv(table, index=False)
    return table


class Timer:
    """Seconds of repeated calls on a device, after a warm-up."""

    def __init__(self, device, least):
        self.device = device
        self.least = least

    def wait(self):
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def __call__(self, call):
        for _ in range(3):
            call()
        self.wait()
        began, count = time.perf_counter(), 0
        while time.perf_counter() - began < self.least:
            for _ in range(5):
                call()
            count += 5
            self.wait()
        return (time.perf_counter() - began) / count


def matmul(timer, side, dtype):
    """FLOP a second of a square product."""
    a, b = (torch.randn(side, side, device=timer.device, dtype=dtype) for _ in range(2))
    return 2 * side**3 / timer(lambda: a @ b)


def flop_of(model, size):
    """FLOP of the products in a forward pass of one tile, counted by torch."""
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        model(torch.rand(1, 1, size, size, device=next(model.parameters()).device))
    return counter.get_total_flops()


def quietly(call, *arguments, **options):
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        return call(*arguments, **options)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="for a CPU, to see that all of it runs")
    parser.add_argument("--sites", type=int, default=256)
    parser.add_argument("--device", default="cuda")
    given = parser.parse_args()
    device = embedding.find_device(given.device)
    cuda = device.type == "cuda"
    timer = Timer(device, 0.1 if given.tiny else 3.0)
    arch, size, side = ("vit_tiny", 32, 96) if given.tiny else ("vit_small", 224, 1080)
    sites = 4 if given.tiny else given.sites
    print(f"{torch.cuda.get_device_name() if cuda else 'CPU'}, torch {torch.__version__}, "
          f"{torch.get_num_threads()} threads")  # fmt: skip

    ceiling = matmul(timer, 256 if given.tiny else 8192, torch.bfloat16)
    print(f"bf16 product of two matrices: {ceiling / 1e12:.3g} TFLOP/s")

    model = vit.seeded(vit.ModelConfig(arch=arch, size=size), 0).to(device).eval()
    flop = flop_of(model, size)
    best = {}
    for precision in ("fp32", "bf16"):
        for batch in (16,) if given.tiny else (64, 256, 512):
            tiles = torch.rand(batch, 1, size, size, device=device)
            embedder = embedding.Embedder(model, batch, device, precision)
            rate = batch / timer(lambda e=embedder, t=tiles: e.forward(t))
            best[precision] = max(best.get(precision, 0), rate)
            print(f"forward, {arch} of {size} px, {precision}, batch {batch}: {rate:,.0f} tiles/s, "
                  f"{rate * flop / ceiling:.2f} of the product's rate")  # fmt: skip
    whole = vit.seeded(vit.ModelConfig(arch=arch, size=size), 0).to(device).eval().bfloat16()
    with torch.inference_mode():
        half = tiles.bfloat16()
        rate = len(half) / timer(lambda: whole(half))
        exact, short = model(tiles[:64]).float(), whole(half[:64]).float()
    print(f"forward, weights in bf16, batch {len(half)}: {rate:,.0f} tiles/s, "
          f"{rate * flop / ceiling:.2f}; least cosine to fp32 of 64 random tiles, random weights: "
          f"{float(torch.cosine_similarity(exact, short).min()):.5f}")  # fmt: skip

    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        table = simulated(folder, sites, side)
        # What is done once, such as imports, is known by a run on a part of the sites.
        part = folder / "part.csv"
        pd.read_csv(table).head(max(1, sites // 4)).to_csv(part, index=False)
        for workers in (0,) if given.tiny else (4, 8, 14):
            took = {}
            for name in (part, table):
                began = time.perf_counter()
                made = quietly(
                    unidino.extract, str(name), model="random_vit", arch=arch, size=size,
                    outdir=str(folder / f"out{workers}"), operation="none",
                    norm_method="no_post_proc", min_foreground=0.0, batch_size=512,
                    num_workers=workers, device=str(device), precision="bf16" if cuda else "fp32",
                )  # fmt: skip
                count = made.counts["tiles_kept"] * len(CHANNELS)
                took[name] = np.array([time.perf_counter() - began, count])
            seconds, count = took[table]
            more_seconds, more = took[table] - took[part]
            print(f"extraction from files, {workers} workers: {sites} sites in {seconds:.1f} s, "
                  f"{count / seconds:,.0f} tiles/s; without what is done once "
                  f"{more / more_seconds:,.0f} tiles/s, "
                  f"{more / more_seconds / best['bf16' if cuda else 'fp32']:.2f} of the "
                  "forward pass")  # fmt: skip

        options = {"datasets": [str(table)], "intensity_scaling": "plate", "device": str(device)}
        options |= {"precision": "bf16", "num_workers": 14, "epoch_length": 4080}
        options |= {"arch": arch, "epochs": 2, "warmup_epochs": 0, "freeze_last_layer": 0}
        options |= {"warmup_teacher_temp_epochs": 0}
        if given.tiny:
            options |= {"size": 32, "local_size": 16, "batch_size_per_gpu": 4, "epoch_length": 8}
            options |= {"num_workers": 0, "precision": "fp32", "out_dim": 64}
        quietly(train, str(folder / "trained"), **options)
        epochs = [json.loads(line) for line in (folder / "trained" / "epochs.jsonl").open()]
        print(f"training, {arch}, published views and batch, bf16, 14 workers: "
              f"{epochs[-1]['images_per_second']:.0f} images/s in the second epoch")  # fmt: skip

        quietly(train, str(folder / "again"), **options)
        one, other = (read_log(folder / name, STEPS)["loss"] for name in ("trained", "again"))
        print(f"the same training again: losses differ by at most {np.abs(one - other).max():.2g}")
        trained = unidino.load_model(folder / "trained" / WEIGHTS).to(device)
        again = unidino.load_model(folder / "again" / WEIGHTS).to(device)
        probe = torch.rand(8, 1, size, size, device=device)
        with torch.inference_mode():
            cosine = torch.cosine_similarity(trained(probe), again(probe)).min()
        print(f"weights of both, read back: least cosine {float(cosine):.5f}")

    if dist.is_nccl_available() and cuda:
        with tempfile.NamedTemporaryFile() as file:
            dist.init_process_group("nccl", init_method=f"file://{file.name}.dist", rank=0,
                                    world_size=1)  # fmt: skip
            value = torch.arange(4.0, device=device)
            dist.all_reduce(value)
            print(f"NCCL with one process: {value.tolist()}")
            dist.destroy_process_group()


if __name__ == "__main__":
    main()
