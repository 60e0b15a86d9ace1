"""What one GPU does: the matmul rate, embedding, extraction from files, training, in one run.

    python benchmarks/gpu.py [--tiny] [--sites 256] [--device cuda] [--profile]

Data: simulated blobs and noise, five channels of 1080 x 1080 pixels of 16 bits, uncompressed TIFFs
in a temporary folder, read from the page cache. Rates are of this run on this card; shares are of
the bf16 matrix product measured beside them. --tiny is for a CPU: it shows that all of it runs, and
its rates mean nothing. --profile says what kernels a forward pass spends its time in.
"""

import argparse
import contextlib
import io
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
from unidino import dataset, embedding
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


def tuned(embedder, size):
    """The batch that `Embedder.tune` takes."""
    embedder.to_tune = embedder.device.type == "cuda"
    embedder.tune(size)
    return embedder.batch_size


def least_cosine(name, folder, device):
    """Of the embeddings of tiles in half precision to those in full, in words."""
    model = unidino.load_model(name).to(device)
    size = model.config.size
    planes = [tifffile.imread(folder / f"{i}_{c}.tif") for i in range(4) for c in CHANNELS[:2]]
    starts = range(0, planes[0].shape[0] - size + 1, size)
    corners = [(y, x) for y in starts for x in starts]
    tiles = np.stack([p[y : y + size, x : x + size] for p in planes for y, x in corners])
    tiles = torch.from_numpy(tiles.astype(np.float32) / 20000).clamp(0, 1).unsqueeze(1).to(device)
    full, half = (
        embedding.Embedder(model, 64, device, precision).forward(tiles)
        for precision in ("fp32", "bf16")
    )
    return f"{len(tiles)} tiles {float(torch.cosine_similarity(full, half).min()):.5f}"


def reading(folder, table):
    """What reading a site costs one process, uncompressed and compressed: lines of text."""
    metadata = unidino.open_valset(str(table))
    statistics = dataset.plate_statistics(metadata)
    for compressed in (False, True):
        if compressed:
            for i in range(DISTINCT):
                for channel in CHANNELS:
                    path = folder / f"{i}_{channel}.tif"
                    if path.is_file():
                        tifffile.imwrite(path, tifffile.imread(path), compression="zlib")
        reader = dataset.SiteTiles(metadata, statistics, min_foreground=0.0)
        reader[0]  # what is done once, such as imports
        spent = [parts_of_reading(reader, i) for i in range(min(DISTINCT, len(reader)))]
        whole, load, measures = np.median(spent, axis=0)
        yield (
            f"reading a site, {'deflate' if compressed else 'uncompressed'}: {1e3 * whole:.0f} ms "
            f"of one processor, {1e3 * load:.0f} to load, {1e3 * measures:.0f} measures, "
            f"{1e3 * (whole - load - measures):.0f} tiles: "
            f"{len(reader[0]['tiles']) * len(CHANNELS) / whole:,.0f} tiles/s a process"
        )


def parts_of_reading(reader, i):
    """Processor seconds of an item of `dataset.SiteTiles`, of loading and of measuring it."""
    times = [time.process_time()]
    reader[i]
    times.append(time.process_time())
    image = dataset.load_site(reader.metadata, i)
    times.append(time.process_time())
    reader.measures(image)
    times.append(time.process_time())
    return np.diff(times)


def kernels(embedder, tiles):
    """Shares of the time of a forward pass by operation, the largest first: lines of text."""
    kinds = [torch.profiler.ProfilerActivity.CPU]
    if embedder.device.type == "cuda":
        kinds.append(torch.profiler.ProfilerActivity.CUDA)
    embedder.forward(tiles)
    with torch.profiler.profile(activities=kinds) as profile:
        embedder.forward(tiles)
    spent = {
        event.key: event.self_device_time_total or event.self_cpu_time_total
        for event in profile.key_averages()
        if event.key.startswith("aten::")
    }
    total = sum(spent.values())
    for name in sorted(spent, key=spent.get, reverse=True)[:8]:
        yield f"  {spent[name] / total:5.1%} {name}"


def quietly(call, *arguments, **options):
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        return call(*arguments, **options)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="for a CPU, to see that all of it runs")
    parser.add_argument("--sites", type=int, default=256)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--profile", action="store_true")
    given = parser.parse_args()
    device = embedding.find_device(given.device)
    cuda = device.type == "cuda"
    timer = Timer(device, 0.1 if given.tiny else 3.0)
    arch, size, side = ("vit_tiny", 32, 240) if given.tiny else ("vit_small", 224, 1080)
    sites = 4 if given.tiny else given.sites
    print(f"{torch.cuda.get_device_name() if cuda else 'CPU'}, torch {torch.__version__}, "
          f"{torch.get_num_threads()} threads")  # fmt: skip

    ceiling = matmul(timer, 256 if given.tiny else 8192, torch.bfloat16)
    print(f"bf16 product of two matrices: {ceiling / 1e12:.3g} TFLOP/s")

    model = vit.seeded(vit.ModelConfig(arch=arch, size=size), 0).to(device).eval()
    flop = flop_of(model, size)
    best = {}
    for precision, compiled in (("fp32", False), ("bf16", False), ("bf16", True)):
        embedder = embedding.Embedder(model, None, device, precision)
        if compiled:
            began = time.perf_counter()
            embedder.compile()
            print(f"fusing the blocks: {time.perf_counter() - began:.1f} s, "
                  f"{'done' if embedder.compiled else 'not to be had here'}")  # fmt: skip
        name = f"{precision}{', fused' if compiled else ''}"
        for batch in (16,) if given.tiny else (64, 256, 512, 1024):
            tiles = torch.rand(batch, 1, size, size, device=device)
            embedder.batch_size = batch
            rate = batch / timer(lambda e=embedder, t=tiles: e.forward(t))
            best[name] = max(best.get(name, 0), rate)
            print(f"forward, {arch} of {size} px, {name}, batch {batch}: {rate:,.0f} tiles/s, "
                  f"{rate * flop / ceiling:.2f} of the product's rate")  # fmt: skip
        if given.profile and precision == "bf16" and not compiled:
            print(*kernels(embedder, tiles), sep="\n")
        if precision == "bf16":
            print(f"  the batch that extraction takes: {tuned(embedder, size)}")

    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        table = simulated(folder, sites, side)
        for name in ("unidino-demo", "random_vit"):
            print(f"bf16, {name}: least cosine to fp32 of {least_cosine(name, folder, device)}")
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
                    norm_method="no_post_proc", min_foreground=0.0,
                    num_workers=workers, device=str(device), precision="auto",
                )  # fmt: skip
                count = made.counts["tiles_kept"] * len(CHANNELS)
                took[name] = np.array([time.perf_counter() - began, count])
            seconds, count = took[table]
            more_seconds, more = took[table] - took[part]
            kept = made.provenance["settings"]["precision"]
            print(f"extraction from files, {workers} workers, {kept}: {sites} sites in "
                  f"{seconds:.1f} s, {count / seconds:,.0f} tiles/s; without what is done once "
                  f"{more / more_seconds:,.0f} tiles/s, {more / more_seconds / best[kept]:.2f} of "
                  "the forward pass")  # fmt: skip
        for line in reading(folder, table):
            print(line)

        options = {"datasets": [str(table)], "intensity_scaling": "plate", "device": str(device)}
        options |= {"precision": "bf16", "num_workers": 14, "epoch_length": 1020}
        options |= {"arch": arch, "epochs": 1, "warmup_epochs": 0, "freeze_last_layer": 0}
        options |= {"warmup_teacher_temp_epochs": 0}
        if given.tiny:
            options |= {"size": 32, "local_size": 16, "batch_size_per_gpu": 4, "epoch_length": 8}
            options |= {"num_workers": 0, "precision": "fp32", "out_dim": 64}
        quietly(train, str(folder / "trained"), **options)
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
