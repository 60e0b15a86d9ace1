"""Extractions killed at random moments and resumed, and two at once on one folder.

    python benchmarks/kills.py --kills 60 --races 20

After every kill the tables of the resumed run are compared, byte for byte, with those of a run that
nobody disturbed. Every other kill hits a run that overwrites an earlier extraction: until its first
plate is written, that one must be whole. Of two runs at once both must end well where they ask for
the same; where they do not, one of them must stop with a message, and no table may be of the other.
"""

import argparse
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pycytominer  # noqa: F401 (loaded here, so that no forked run spends its time on it)
import tifffile
import torch

from unidino import inference
from unidino.models import checkpoints, load_model, vit

PLATES, WELLS = 4, 6


def make_inputs(folder):
    """A table of small images, and weights of a small model."""
    rng = np.random.default_rng(0)
    rows = []
    for plate in range(PLATES):
        for well in range(WELLS):
            name = f"{plate}_{well}.tif"
            image = rng.normal(2000, 200, (64, 64))
            image[16:40, 16:40] += 3000 * rng.random()
            tifffile.imwrite(folder / name, image.astype(np.uint16))
            row = {"plate": f"p{plate}", "well": f"A{well + 1:02d}", "dna": name}
            rows.append(row | {"control_type": "negcon" if well < 4 else None})
    pd.DataFrame(rows).to_csv(folder / "screen.csv", index=False)
    torch.manual_seed(0)
    model = vit.EmbeddingModel(vit.ModelConfig(arch="vit_tiny", size=32, intensity="plate"))
    checkpoints.save_model(model, folder / "small.safetensors")


def extract(inputs, outdir, failures=None, **options):
    """One extraction, silent; what it stops with goes into the queue `failures`."""
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    try:
        inference.extract(
            str(inputs / "screen.csv"),
            model=str(inputs / "small.safetensors"),
            outdir=str(outdir),
            **options,
        )
    except Exception as error:  # whatever it is, it is counted by its message
        if failures is None:
            raise
        failures.put(f"{type(error).__name__}: {error}")


def start(*arguments, **options):
    # Forked: importing libraries takes longer than the run, and nothing is written meanwhile.
    process = multiprocessing.get_context("fork").Process(
        target=extract, args=arguments, kwargs=options
    )
    process.start()
    return process


def finish(*arguments, **options):
    process = start(*arguments, **options)
    process.join()
    if process.exitcode:
        sys.exit(f"an extraction that nobody disturbed ended with {process.exitcode}")


def written(outdir):
    """{path: bytes} of the tables, leftovers included; logs and locks left out."""
    files = (path for path in Path(outdir).rglob("*") if path.is_file())
    return {
        path.relative_to(outdir).as_posix(): path.read_bytes()
        for path in files
        if path.suffix not in (".log", ".lock")
    }


def kill_and_resume(inputs, outdir, moment, overwrite, old, new):
    """What a run killed after `moment` seconds left, and whether the resumed one is the same."""
    if overwrite:
        finish(inputs, outdir, size=48)
    process = start(inputs, outdir, overwrite=overwrite)
    time.sleep(moment)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    came = "finished" if process.exitcode == 0 else "killed"
    failures = multiprocessing.get_context("fork").Queue()
    start(inputs, outdir, failures).join()
    if overwrite and not failures.empty():
        message = failures.get()
        if "made otherwise" not in message:
            return came, f"other end: {message}"
        if written(outdir) != old:
            return came, "the earlier extraction is damaged"
        came += " before the first plate, the earlier extraction whole"
        finish(inputs, outdir, overwrite=True)
    elif not failures.empty():
        return came, f"other end: {failures.get()}"
    return came, "same bytes" if written(outdir) == new else "OTHER BYTES"


def race(inputs, outdir, delay, other, expected):
    """What becomes of two runs at once, the second with the settings `other`."""
    failures = multiprocessing.get_context("fork").Queue()
    first = start(inputs, outdir, failures)
    time.sleep(delay)
    second = start(inputs, outdir, failures, **other)
    first.join()
    second.join()
    stopped = []
    while not failures.empty():
        stopped.append(failures.get())
    told = all("makes something else" in s or "made otherwise" in s for s in stopped)
    if len(stopped) != (1 if other else 0) or not told:
        return f"other end: {stopped}"
    return "as it should be" if written(outdir) in expected else "MIXED"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--races", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    rng = random.Random(given.seed)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        make_inputs(folder)
        load_model(str(folder / "small.safetensors"))  # loads the libraries that it takes
        finish(folder, folder / "old", size=48)
        begin = time.perf_counter()
        finish(folder, folder / "new")
        seconds = time.perf_counter() - begin
        old, new = written(folder / "old"), written(folder / "new")
        tables_made = sum(name.endswith(".parquet") for name in new)
        print(f"an extraction: {seconds:.1f} s, {tables_made} tables", flush=True)
        kills = Counter()
        for i in range(given.kills):
            moment = rng.uniform(0, seconds)
            kills[kill_and_resume(folder, folder / f"k{i}", moment, i % 2 == 1, old, new)] += 1
        for (came, end), count in sorted(kills.items()):
            print(f"{count:4} kills: {came}; {end}")
        races = Counter()
        for i in range(given.races):
            other = {"size": 48} if i % 2 else {}
            kind = "other settings" if other else "the same settings"
            delay = rng.uniform(0, seconds / 2)
            races[kind, race(folder, folder / f"r{i}", delay, other, (old, new))] += 1
        for (kind, end), count in sorted(races.items()):
            print(f"{count:4} races, {kind}: {end}")
    good = {"same bytes", "as it should be"}
    return int(any(end not in good for _, end in (*kills, *races)))


if __name__ == "__main__":
    sys.exit(main())
