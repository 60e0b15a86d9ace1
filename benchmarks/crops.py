"""Training views read as windows against whole images, as ratios of one run on one core.

    python benchmarks/crops.py [--images 40] [--repeats 5]

Published way: decode the whole image of five channels, scale one of them to [0, 1], cut two views
of 224 pixels and eight of 96, flip, shift and gamma-correct each. Here: read the raw windows of the
same ten views, which the training augments later, in batches on its device. Windows are timed with
the files' layouts known; on first touch, where files differ in their pixels alone, as images of one
size from one program do; and on first touch of files unlike any before, such as those that hold
the time of their making. The batched augmentation is timed apart, on this core, though it is meant
for a GPU.

Data: simulated blobs and noise, 1080 x 1080 pixels of 16 bits and five channels, in a temporary
folder, so files come from the page cache and a disk's own time is in neither way. Both ways give
the same raw views, which is checked first. The time of a sample is the least of the repetitions;
ratios depend on the machine far less than times do.
"""

import argparse
import functools
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import tifffile
import torch

from unidino.train import augment
from unidino.train.windows import PlaneReader

CHANNELS, SIDE = 5, 1080
SIZES = [224] * 2 + [96] * 8
KINDS = {
    "uncompressed, one block": {},
    "uncompressed, bare pages": {"metadata": None, "rowsperstrip": 8, "contiguous": False},
    "tiles of 256, deflate": {"compression": "zlib", "tile": (256, 256)},
    "strips of 8 rows, deflate": {"compression": "zlib", "rowsperstrip": 8},
    "strips of 8 rows, LZW": {"compression": "lzw", "rowsperstrip": 8},
}


def simulated(seed):
    """Blobs of some 30 pixels over a background, and noise of the camera; (C, H, W) uint16."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.gamma(0.3, 4000, (1, CHANNELS, 36, 36)).astype(np.float32))
    blobs = torch.nn.functional.interpolate(coarse, (SIDE, SIDE), mode="bicubic")[0].numpy()
    noise = rng.standard_normal((CHANNELS, SIDE, SIDE), dtype=np.float32)
    values = np.clip(blobs, 0, 60000) + 400
    return (values + noise * (5 + np.sqrt(values) / 4)).clip(0, 65535).astype(np.uint16)


def write(path, image, options):
    with tifffile.TiffWriter(path) as file:
        if "contiguous" in options:
            for plane in image:
                file.write(plane, **options)
        else:
            file.write(image, photometric="minisblack", **options)


def draw(rng):
    """(number of the channel, corners of the views)."""
    places = SIDE + 1 - np.array(SIZES)
    return int(rng.integers(CHANNELS)), rng.integers(0, places[:, None], (len(SIZES), 2))


def published(rng, path, channel, corners):
    """Ten augmented float32 views of a decoded image."""
    image = tifffile.imread(path, maxworkers=1)
    plane = torch.from_numpy(image[channel].astype(np.float32) / 65535)
    views = []
    for (top, left), size in zip(corners.tolist(), SIZES, strict=True):
        view = plane[top : top + size, left : left + size]
        flips = [axis for axis in (0, 1) if rng.random() < 0.5]
        view = view.flip(flips) if flips else view
        view = (view + rng.uniform(-0.3, 0.3)).clamp(0, 1)
        views.append(view.pow(rng.uniform(0.5, 1.5)).clamp(0, 1))
    return views


def here(reader, path, channel, corners):
    """The raw windows of the same views, stacked: (2, 224, 224) and (8, 96, 96)."""
    windows = reader.windows(path, channel, corners, SIZES)
    return np.stack(windows[:2]), np.stack(windows[2:])


def check(path, channel, corners):
    image = tifffile.imread(path)
    windows = [window for stack in here(PlaneReader(), path, channel, corners) for window in stack]
    for (top, left), size, window in zip(corners, SIZES, windows, strict=True):
        expected = image[channel, top : top + size, left : left + size]
        np.testing.assert_array_equal(window, expected)


def seconds(make_way, work, repeats):
    """Mean over the samples of the least seconds of each; each repetition has its own way."""
    times = np.empty((repeats, len(work)))
    for row in times:
        way = make_way()
        for i, sample in enumerate(work):
            start = time.perf_counter()
            way(*sample)
            row[i] = time.perf_counter() - start
    return times.min(0).mean()


def batched_augmentation(repeats, batch=16):
    """Seconds a sample of `augment.make_views` on batches of raw windows."""
    rng = np.random.default_rng(0)
    settings = augment.ViewSettings()
    drawn = [augment.draw_views(rng, settings, SIDE, SIDE, 1)[1:3] for _ in range(batch)]
    draws, tone = (torch.from_numpy(np.stack(part)) for part in zip(*drawn, strict=True))

    def views():
        for part, size in ((slice(2), 224), (slice(2, None), 96)):
            chosen, tones = draws[:, part].flatten(0, 1), tone[:, part].flatten(0, 1)
            low = torch.zeros(len(chosen), 1)
            augment.make_views(raw[size], chosen, tones, low, low + 65535, size, native=True)

    raw = {
        size: torch.from_numpy(rng.integers(0, 65535, (batch * n, 1, size, size), np.uint16))
        for size, n in ((224, 2), (96, 8))
    }
    return seconds(lambda: views, [()], repeats) / batch


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
    rng = np.random.default_rng(0)
    draws = [draw(rng) for _ in range(options.images)]
    print(f"{options.images} images of {CHANNELS} x {SIDE} x {SIDE}, least of {options.repeats}")
    print("samples per second and core; x: as many times the published way\n")
    print(f"{'':<26}{'published':>10}{'known':>19}{'first touch':>19}{'unlike others':>19}")
    times = {}
    for kind, how in KINDS.items():
        with tempfile.TemporaryDirectory() as folder:
            paths = [str(Path(folder) / f"{i}.tif") for i in range(options.images)]
            for i, path in enumerate(paths):
                write(path, simulated(i), how)
            work = [(path, *drawn) for path, drawn in zip(paths, draws, strict=True)]
            check(*work[0])
            reader = PlaneReader()
            for path, channel, _ in work:
                reader.header(path, channel)
            ways = (
                lambda: functools.partial(published, rng),
                lambda reader=reader: functools.partial(here, reader),
                lambda: functools.partial(here, PlaneReader()),
                lambda: lambda *sample: here(PlaneReader(), *sample),
            )
            found = [seconds(way, work, options.repeats) for way in ways]
        times[kind] = found
        ratios = [f"{1 / value:>11.0f}{found[0] / value:>6.1f} x" for value in found[1:]]
        print(f"{kind:<26}{1 / found[0]:>10.0f}{''.join(ratios)}", flush=True)
    spent = batched_augmentation(options.repeats)
    slow, known, *_ = times["uncompressed, one block"]
    print(f"\nbatched augmentation: {1000 * spent:.2f} ms a sample on this core")
    print(f"with it, uncompressed, one block: {slow / (known + spent):.1f} x the published way")


if __name__ == "__main__":
    main()
