"""Time and memory of profiles on tables of many wells, beside plain ways to make the same.

    python benchmarks/profiles.py [--plates 3,27,261] [--plain 27]

Plates of 384 wells with 16 negative controls, as benchmarks/evaluate.py simulates them. Sites lie
in one Parquet file, a row group every four plates, with status and four measures of quality.
Every step and size runs in a process of its own, on one thread:

- mean, median: `profiles.aggregate_file` from the file to profiles. Plain is the same of
  `tables.read_table`, which holds the table, by pandas' groupby alone.
- standardize, mad_robustize, robustize, spherize: `profiles.normalise` of wells. Plain is
  `pycytominer.normalize` plate by plate (spherize: once), without a look at dead plates, dead
  channels or features without spread. spherize has 256 features, for it needs more controls than
  features, and starts at 27 plates; here, too, it is pycytominer's.
- NSC: `evaluate.nearest_neighbour_accuracy` of treated wells, up to 27 plates; evaluate.py beside
  this goes on from there (100,000 wells of 2,000 features took 4.9 CPU minutes).

CPU is user and system time in seconds, which other programs on the machine change less than the
clock; memory is the peak of the process in GB, libraries (0.2 to 0.4) and the table that is
normalised included. x is plain / here, asked of up to `--plain` plates, and the last column the
largest difference, relative to the largest value of the feature.

Printed on two cores that other programs kept busy:

    python benchmarks/profiles.py

    step              wells   table     CPU  memory  time, x  memory, x  differs
    mean               1152   0.021    0.90    0.34      0.6        1.0    0e+00
    median             1152   0.021    1.08    0.40      0.7        0.9    0e+00
    standardize        1152   0.005    0.17    0.21      8.2        1.1    1e-07
    mad_robustize      1152   0.005    0.22    0.21      6.1        1.1    2e-07
    robustize          1152   0.005    0.16    0.21     13.5        1.1    1e-07
    NSC                1152   0.005    0.20    0.22      0.3        0.9    0e+00
    mean              10368   0.191    2.77    0.71      1.3        2.0    0e+00
    median            10368   0.191    4.35    0.67      1.5        2.5    0e+00
    standardize       10368   0.048    0.44    0.35     19.1        1.2    2e-07
    mad_robustize     10368   0.048    0.59    0.35     11.8        1.2    3e-07
    robustize         10368   0.048    0.61    0.35     16.7        1.2    1e-07
    spherize          10368   0.011    1.02    0.35      0.9        0.8    2e-07
    NSC               10368   0.048    4.02    0.49      0.8        1.6    0e+00
    mean             100224   1.847   25.58    1.23

That run was stopped there, and two others went on; four times the features in as many wells take
memory for their profiles (0.14 GB more of them), not for their sites (0.57 GB more):

    python benchmarks/profiles.py --plates 261 --plain 0 \\
      --steps standardize,mad_robustize,robustize

    standardize      100224   0.462    7.35    1.60
    mad_robustize    100224   0.462    7.01    1.61
    robustize        100224   0.462    7.66    1.61

    python benchmarks/profiles.py --plates 27 --features 4608 --plain 0 --steps mean,median

    mean              10368   0.764   10.36    0.95
    median            10368   0.764   17.24    0.86

Not measured yet: median and spherize of 100,224 wells, and a table of sites larger than memory.
"""

import argparse
import importlib
import multiprocessing
import os
import resource
import tempfile
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from unidino import evaluate, profiles, tables

_SCALED = ("standardize", "mad_robustize", "robustize", "spherize")
STEPS = ("mean", "median", *_SCALED, "NSC")
_MOST = {"NSC": 27}
_LEAST = {"spherize": 27}
_WHITENED = 256
_PLATE, _TOGETHER = 384, 4


def write_sites(path, wells, sites, features, seed=0):
    """Sites of so many wells, a few plates at a time."""
    rng = np.random.default_rng(seed)
    writer = None
    for start in range(0, wells, _PLATE * _TOGETHER):
        well = np.repeat(np.arange(start, min(start + _PLATE * _TOGETHER, wells)), sites)
        values = rng.standard_normal((features, len(well)), np.float32)
        frame = {
            "Metadata_Plate": [f"p{i}" for i in well // _PLATE],
            "Metadata_Well": [f"w{i}" for i in well % _PLATE],
            "Metadata_Site": np.arange(len(well)) % sites,
            "Metadata_compound": [f"c{i}" for i in well // 4],
            "Metadata_status": np.full(len(well), "ok"),
        }
        for name in ("foreground", "objects", "coverage", "tiles"):
            frame[f"Metadata_{name}"] = rng.random(len(well))
        frame |= {f"emb{i:04d}": column for i, column in enumerate(values)}
        table = pa.table(frame)
        writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd")
        writer.write_table(table)
    writer.close()


def screen(wells, features):
    """Wells to normalise and to ask, of benchmarks/evaluate.py."""
    return importlib.import_module("evaluate").screen(wells, features)


def ours(step, table):
    """What the package makes."""
    if step in ("mean", "median"):
        return profiles.aggregate_file(table, operation=step)
    if step == "NSC":
        return float(evaluate.nearest_neighbour_accuracy(table, "target", ["compound"]))
    return profiles.normalise(table, step).profiles


def plain(step, table):
    """What a few lines make."""
    if step in ("mean", "median"):
        frame = tables.read_table(table)
        features = tables.feature_columns(frame)
        keys = ["Metadata_Plate", "Metadata_Well"]
        return frame.groupby(keys, sort=False)[features].agg(step).reset_index()
    if step == "NSC":
        values = table[tables.feature_columns(table)].to_numpy()
        values = values / np.linalg.norm(values, axis=1, keepdims=True)
        similar = values @ values.T
        codes = pd.factorize(table["compound"])[0]
        similar[codes[:, None] == codes] = -np.inf
        target = table["target"].to_numpy()
        return float((target[similar.argmax(1)] == target).mean())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pycytominer
    parts = [table] if step == "spherize" else [part for _, part in table.groupby("plate")]
    return pd.concat(
        pycytominer.normalize(
            part,
            tables.feature_columns(part),
            meta_features=["plate", "well"],
            samples="control_type == 'negcon'",
            method=step,
            mad_robustize_epsilon=0.0,
        )
        for part in parts
    ).loc[table.index]


def measured(way, step, wells, features, path):
    """Run one step: its answer, seconds of CPU, peak memory in GB."""
    table = path
    if step not in ("mean", "median"):
        table = screen(wells, _WHITENED if step == "spherize" else features)
    if step == "NSC":
        table = table[table["control_type"].isna()].reset_index(drop=True)
    began = _cpu()
    answer = (plain if way == "plain" else ours)(step, table)
    spent = _cpu() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    if step != "NSC":
        # As a file: it may be large.
        answer = answer[tables.feature_columns(answer)].to_numpy(np.float32)
        np.save(f"{path}.{way}.npy", answer)
        answer = f"{path}.{way}.npy"
    return answer, spent, peak


def _cpu():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def in_a_process(function, *arguments):
    """What `function` returns, run in a process of its own."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context) as pool:
        return pool.submit(function, *arguments).result()


def apart(here, there):
    """The largest difference, relative to the largest value of its feature."""
    if isinstance(here, float):
        return abs(here - there)
    one, other = np.load(here, mmap_mode="r"), np.load(there, mmap_mode="r")
    return max(
        np.abs(one[:, i] - other[:, i]).max() / np.abs(one[:, i]).max() for i in range(one.shape[1])
    )


def main(argv=None):
    """Print one line a step and size."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--plates", default="3,27,261", help="separated by commas")
    parser.add_argument("--plain", type=int, default=27, help="most plates of the plain ways")
    parser.add_argument("--features", type=int, default=1152)
    parser.add_argument("--sites", type=int, default=4, help="of a well")
    parser.add_argument("--steps", default=",".join(STEPS))
    given = parser.parse_args(argv)
    # Read by the libraries of the processes below.
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
    print(f"{given.features} features, {given.sites} sites a well; CPU in seconds, memory in GB; "
          "x: plain / here\n")  # fmt: skip
    print(f"{'step':<15}{'wells':>8}{'table':>8}{'CPU':>8}{'memory':>8}"
          f"{'time, x':>9}{'memory, x':>11}{'differs':>9}")  # fmt: skip
    for plates in map(int, given.plates.split(",")):
        wells = plates * _PLATE
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "sites.parquet"
            for step in given.steps.split(","):
                if not _LEAST.get(step, 0) <= plates <= _MOST.get(step, plates):
                    continue
                size = wells * (_WHITENED if step == "spherize" else given.features) * 4 / 1e9
                if step in ("mean", "median"):
                    size *= given.sites
                    if not path.exists():
                        in_a_process(write_sites, path, wells, given.sites, given.features)
                case = step, wells, given.features, path
                answer, cpu, peak = in_a_process(measured, "here", *case)
                line = f"{step:<15}{wells:>8}{size:>8.3f}{cpu:>8.2f}{peak:>8.2f}"
                if plates <= given.plain:
                    other, slow, large = in_a_process(measured, "plain", *case)
                    line += f"{slow / cpu:>9.1f}{large / peak:>11.1f}{apart(answer, other):>9.0e}"
                print(line, flush=True)


if __name__ == "__main__":
    main()
