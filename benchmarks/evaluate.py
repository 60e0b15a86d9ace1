"""Time and memory of metrics on tables of many wells: ``python benchmarks/evaluate.py``.

Random float32 features on plates of 384 wells, 16 of them controls; each compound in four wells, of
two plates. Every size and metric runs in a process of its own, whose peak memory is printed beside
that of the table itself.
"""

import argparse
import multiprocessing
import resource
import time
import zlib

import numpy as np
import pandas as pd

from unidino import evaluate

METRICS = ("NSC", "NSCB", "activity", "distinctiveness", "consistency")
_CONSISTENCY_MOST = 10_000


def screen(wells, features):
    """A table of so many wells."""
    rng = np.random.default_rng(0)
    plate, place = np.divmod(np.arange(wells), 384)
    frame = pd.DataFrame(
        rng.standard_normal((wells, features), np.float32),
        columns=[f"emb{i:04d}" for i in range(features)],
    )
    control = place >= 368
    compound = np.where(
        control, "DMSO", np.char.add("c", (plate // 2 * 184 + place % 184).astype(str))
    )
    frame.insert(0, "compound", compound)
    frame.insert(1, "plate", plate.astype(str))
    frame.insert(2, "batch", (plate // 8).astype(str))
    rows, columns = (
        np.array(list("ABCDEFGHIJKLMNOP"))[place // 24],
        np.char.zfill((place % 24 + 1).astype(str), 2),
    )
    frame.insert(3, "well", np.char.add(rows, columns))
    frame.insert(4, "control_type", np.where(control, "negcon", None))
    frame.insert(
        5, "moa", pd.Series(compound).map(lambda name: f"m{zlib.crc32(name.encode()) % 200}")
    )
    return frame


def peak():
    """Peak memory of this process, GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def measured(metric, wells, features, queue):
    """Run one metric and report its seconds and memory."""
    frame = screen(wells, features)
    treated = frame["control_type"].isna()
    began = time.perf_counter()
    if metric in ("NSC", "NSCB"):
        frame = frame[treated]
        began = time.perf_counter()
        exclude = ["compound", "batch"][: 1 + (metric == "NSCB")]
        value = float(evaluate.nearest_neighbour_accuracy(frame, "moa", exclude))
    elif metric == "consistency":
        made = evaluate.consistency(frame[treated], "moa", null_size=1000)
        value = made["mean_average_precision"].mean()
    else:
        made = getattr(evaluate, metric)(frame, null_size=1000)
        value = made["mean_average_precision"].mean()
    queue.put((time.perf_counter() - began, peak(), value))


def main(argv=None):
    """Print one line a size and metric."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wells", default="1000,10000,100000", help="separated by commas")
    parser.add_argument("--features", type=int, default=2000)
    parser.add_argument("--metrics", default=",".join(METRICS))
    given = parser.parse_args(argv)
    print("metric            wells  seconds  table GB  peak GB    value")
    context = multiprocessing.get_context("spawn")
    for wells in map(int, given.wells.split(",")):
        for metric in given.metrics.split(","):
            if metric == "consistency" and wells > _CONSISTENCY_MOST:
                continue
            queue = context.Queue()
            process = context.Process(target=measured, args=(metric, wells, given.features, queue))
            process.start()
            seconds, memory, value = queue.get()
            process.join()
            table = wells * given.features * 4 / 1e9
            print(f"{metric:15} {wells:7} {seconds:8.1f} {table:9.2f} {memory:8.2f} {value:8.3f}",
                  flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
