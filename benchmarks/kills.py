"""Extractions killed at random moments and resumed, and two at once on one folder.

    python benchmarks/kills.py [--kills 60] [--races 20] [--shards 20]

After every kill the tables of the resumed run are compared, byte for byte, with those of a run that
nobody disturbed; of the provenance all but the commit, which may change meanwhile. Every run stores
what it has embedded of a plate after each group of sites, so that some kills hit the middle of a
plate. Every other kill hits a run that overwrites an earlier extraction: until its first plate is
written, that one must be whole. Of two runs at once both must end well where they ask for the same;
where they do not, one of them must stop with a message, and no table may be of the other. Two
shards at once, of two, which are whole plates, or of seven, which divide them: one is killed, and
a run without shard collects what both left, and makes the rest.

Printed while other programs kept both cores busy and others committed:

    python benchmarks/kills.py --kills 20 --races 6 --shards 6

    an extraction: 4.1 s, 6 tables
      10 kills: killed; same bytes
       5 kills: killed before the first plate, the earlier one whole; same bytes
       4 kills: killed within a plate; same bytes
       1 kills: killed within a plate before the first plate, the earlier one whole; same bytes
       3 races, other settings: as it should be
       3 races, the same settings: as it should be
       3 times two shards of 2, one killed: same bytes
       3 times two shards of 7, one killed: same bytes
"""

import argparse
import hashlib
import json
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
import pyarrow as pa
import pyarrow.parquet as pq
import pycytominer  # noqa: F401 (loaded here, so that no forked run spends its time on it)
import tifffile
import torch

from unidino import inference, sites, tables
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
    sites.PART_SECONDS = 0.0
    try:
        inference.extract(
            str(inputs / "screen.csv"),
            model=str(inputs / "small.safetensors"),
            outdir=str(outdir),
            batch_size=8,  # two sites a group: a plate is stored in several parts
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
    """{path: contents} of the tables, leftovers included; logs and locks left out."""
    files = (path for path in Path(outdir).rglob("*") if path.is_file())
    return {
        path.relative_to(outdir).as_posix(): _content(path)
        for path in files
        if path.suffix not in (".log", ".lock")
    }


def _content(path):
    """The bytes of a file; of a table those of its columns, and what it says about its making, in
    itself or beside it, but for the commit."""
    if path.suffix not in (".parquet", ".json"):
        return path.read_bytes()
    table = path.suffix == ".parquet"
    made = tables.read_provenance(path) if table else json.loads(path.read_bytes())
    made.get("software", {}).pop("commit", None)
    if not table:
        return json.dumps(made)
    table, sink = pq.read_table(path).replace_schema_metadata(None), pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return json.dumps(made), hashlib.sha256(sink.getvalue()).hexdigest()


def kill_and_resume(inputs, outdir, moment, overwrite, old, new):
    """What a run killed after `moment` seconds left, and whether the resumed one is the same."""
    if overwrite:
        finish(inputs, outdir, size=48)
    process = start(inputs, outdir, overwrite=overwrite)
    time.sleep(moment)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    came = "finished"
    if process.exitcode:
        came = "killed within a plate" if list(outdir.rglob("*.npz")) else "killed"
    failures = multiprocessing.get_context("fork").Queue()
    start(inputs, outdir, failures).join()
    if overwrite and not failures.empty():
        message = failures.get()
        if "made otherwise" not in message:
            return came, f"other end: {message}"
        if written(outdir) != old:
            return came, "the earlier extraction is damaged"
        came += " before the first plate, the earlier one whole"
        finish(inputs, outdir, overwrite=True)
    elif not failures.empty():
        return came, f"other end: {failures.get()}"
    return came, "same bytes" if written(outdir) == new else "OTHER BYTES"


def shard_race(inputs, outdir, count, pair, moment, new):
    """How one of two shards at once was killed, and whether what is made of both is the same."""
    failures = multiprocessing.get_context("fork").Queue()
    first, second = (start(inputs, outdir, failures, shard=f"{i + 1}/{count}") for i in pair)
    time.sleep(moment)
    os.kill(first.pid, signal.SIGKILL)
    first.join()
    second.join()
    came = "finished" if first.exitcode == 0 else "killed"
    start(inputs, outdir, failures).join()
    if not failures.empty():
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
    parser.add_argument("--shards", type=int, default=20)
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
        halves = Counter()
        for i in range(given.shards):
            of_all = (2, 7)[i % 2]
            pair, moment = rng.sample(range(of_all), 2), rng.uniform(0, seconds)
            ended = shard_race(folder, folder / f"s{i}", of_all, pair, moment, new)
            halves[f"two shards of {of_all}, one {ended[0]}", ended[1]] += 1
        for (kind, end), count in sorted(halves.items()):
            print(f"{count:4} times {kind}: {end}")
    good = {"same bytes", "as it should be"}
    return int(any(end not in good for _, end in (*kills, *races, *halves)))


if __name__ == "__main__":
    sys.exit(main())
