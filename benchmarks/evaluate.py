"""Time and memory of the metrics on tables of many wells, beside plain ways to ask the same.

    python benchmarks/evaluate.py [--wells 4000,10000,30000,100000] [--plain 4000]

Plates of 384 wells hold 16 negative controls, eight wells of a positive control, and compounds that
stand on four plates of a batch, each time at another position; a batch has eight plates, a target
eight compounds on average. Profiles are float32, stored as a Parquet file gives them: Gaussian
noise, and of each target a direction that its compounds show more or less. NSC and NSCB ask treated
wells for the target; activity and distinctiveness ask all wells, consistency as many consensus
profiles, of one to three targets each. Every size and metric runs in a process of its own.

A pair is a profile and another that it is compared with. CPU is user and system time, which other
programs on the machine change less than the minutes on the clock; memory is the peak of the
process, table and libraries included. Plain is the whole matrix of distances in float64 for NSC and
NSCB, copairs for the others, asked of `--plain` wells. Its answers are the same but for ties, which
count by the mean of their orders here: the last column is the largest difference between groups
without any.

Printed on one thread of two cores that other programs kept busy: the minutes on the clock are
theirs.

    python benchmarks/evaluate.py --wells 4000 --null 1000 \\
      --metrics NSC,NSCB,activity,distinctiveness

    metric            wells     CPU   clock  ns a pair  memory   value  time, x  memory, x  differs
    NSC                4000    0.03    1.73        120    0.42   0.596      0.9        1.3    0e+00
    NSCB               4000    0.03    0.96        108    0.42   0.494      1.1        1.3    0e+00
    activity           4000    0.01    0.45       9102    0.43   0.670     11.7        4.4    3e-16
    distinctiveness    4000    0.02    1.00        673    0.43   0.364     60.3        4.4    4e-16

    python benchmarks/evaluate.py --wells 10000,30000,100000

    metric            wells     CPU   clock  ns a pair  memory   value
    NSC               10000    0.10    6.15         71    0.63   0.569
    NSCB              10000    0.11    8.49         78    0.63   0.534
    activity          10000    0.04    1.65      10459    0.64   0.679
    distinctiveness   10000    0.04    1.66        644    0.64   0.393
    consistency       10000    1.01   51.57        304    0.66   0.043
    NSC               30000    0.57   30.64         43    0.95   0.511
    NSCB              30000    0.59   31.32         45    0.96   0.502
    activity          30000    0.10    5.59       6202    0.97   0.679
    distinctiveness   30000    0.14   10.62        710    0.98   0.411
    activity         100000    0.36   18.93       3563    2.11   0.681
    distinctiveness  100000    0.43   21.53        620    2.12   0.415

    python benchmarks/evaluate.py --wells 100000 --metrics NSC,NSCB

    metric            wells     CPU   clock  ns a pair  memory   value
    NSC              100000    4.86    4.90         33    2.03   0.461
    NSCB             100000    4.92    4.93         34    2.04   0.459

Not measured: consistency by copairs.
"""

import argparse
import multiprocessing
import resource
import tempfile
import time

import numpy as np
import pandas as pd

from unidino import evaluate

METRICS = ("NSC", "NSCB", "activity", "distinctiveness", "consistency")
_CONSISTENCY_MOST = 10_000
_PLATE, _CONTROLS, _POSITIVE, _TOGETHER, _BATCH = 384, 16, 8, 4, 8


def screen(wells, features, seed=0):
    """A table of so many wells; see above."""
    rng = np.random.default_rng(seed)
    each = _PLATE - _CONTROLS - _POSITIVE
    plate, place = np.divmod(np.arange(wells), _PLATE)
    compounds = each * (plate[-1] // _TOGETHER + 1)
    compound = np.empty(wells, int)
    for number in range(plate[-1] + 1):
        kinds = np.concatenate([
            number // _TOGETHER * each + rng.permutation(each),
            np.full(_POSITIVE, compounds),
            np.full(_CONTROLS, -1),
        ])  # fmt: skip
        compound[plate == number] = kinds[: (plate == number).sum()]
    target = np.append(rng.integers(0, compounds // 8, compounds), compounds // 8)
    frame = _profiles(target[compound], np.append(rng.random(compounds), 1)[compound] *
                      (compound >= 0), features, rng)  # fmt: skip
    metadata = {
        "compound": np.where(compound < 0, "DMSO", np.char.add("c", compound.astype(str))),
        "plate": plate.astype(str),
        "batch": (plate // _BATCH).astype(str),
        "well": place.astype(str),
        "control_type": np.select(
            [compound < 0, compound == compounds], ["negcon", "poscon"], None
        ),
        "target": np.where(compound < 0, None, np.char.add("t", target[compound].astype(str))),
    }
    for name, values in metadata.items():
        frame.insert(0, name, pd.Series(values))
    return frame


def consensus(count, features, seed=0):
    """A table of so many compounds, each of one to three targets, small and large ones."""
    rng = np.random.default_rng(seed)
    own = [(count // 4 * rng.random(rng.integers(1, 4)) ** 2).astype(int) for _ in range(count)]
    frame = _profiles(np.array([numbers[0] for numbers in own]), rng.random(count), features, rng)
    frame.insert(0, "target", ["|".join(f"t{n}" for n in sorted(set(ns))) for ns in own])
    frame.insert(0, "compound", [f"c{i}" for i in range(count)])
    return frame


def _profiles(kinds, strengths, features, rng):
    """Noise, and the direction of a kind at a strength."""
    directions = 0.4 * rng.standard_normal((kinds.max() + 1, features), np.float32)
    values = np.empty((features, len(kinds)), np.float32)
    for start in range(0, len(kinds), 1000):
        part = slice(start, start + 1000)
        noise = rng.standard_normal((len(kinds[part]), features), np.float32)
        shown = directions[kinds[part]] * strengths[part, None].astype(np.float32)
        values[:, part] = (noise + shown).T
    return pd.DataFrame(values.T, columns=[f"emb{i:04d}" for i in range(features)], copy=False)


def ours(metric, frame, null_size):
    """(value, ties) of a metric: of the one accuracy, or of each group's mean average precision."""
    if metric in ("NSC", "NSCB"):
        exclude = ["compound", "batch"][: 1 + (metric == "NSCB")]
        made = evaluate.nearest_neighbour_accuracy(frame, "target", exclude)
        return pd.DataFrame({"value": [float(made)], "tied": made.tied_share})
    made = getattr(evaluate, metric)(frame, null_size=null_size)
    made = made.set_index("target" if metric == "consistency" else "compound")
    made = made[["mean_average_precision", "tied_share"]].set_axis(["value", "tied"], axis=1)
    return made.dropna()


def plain(metric, frame, null_size):
    """The values, by whole matrices of distances or by copairs."""
    from copairs.map import average_precision, mean_average_precision, multilabel

    metadata, values = frame.filter(regex="^(?!emb)").copy(), frame.filter(like="emb").to_numpy()
    options = {"progress_bar": False}
    if metric in ("NSC", "NSCB"):
        values = values.astype(float)
        values /= np.linalg.norm(values, axis=1, keepdims=True)
        distance = 1 - values @ values.T
        np.fill_diagonal(distance, np.inf)
        for name in ["compound", "batch"][: 1 + (metric == "NSCB")]:
            codes = metadata[name].to_numpy()
            distance[codes[:, None] == codes] = np.inf
        target = metadata["target"].to_numpy()
        return pd.Series([(target[distance.argmin(1)] == target).mean()])
    if metric == "consistency":
        metadata["target"] = metadata["target"].str.split("|")
        made = multilabel.average_precision(
            metadata, values, ["target"], [], [], ["target"], multilabel_col="target", **options
        )
        groups = ["target"]
    else:
        metadata["control"] = metadata["control_type"] == "negcon"
        # Each control is a treatment of its own, and the replicate of none.
        metadata["compound"] = metadata["compound"].mask(
            metadata["control"], [f"DMSO {i}" for i in range(len(metadata))]
        )
        against = "control" if metric == "activity" else "compound"
        made = average_precision(
            metadata, values, ["compound"], ["well"], ["plate"], [against], **options
        )
        made = made[~made["control"]]
        groups = ["compound"]
    made = made.dropna(subset="average_precision")
    made = made[(made["n_pos_pairs"] > 0) & (made["n_pos_pairs"] < made["n_total_pairs"])]
    with tempfile.TemporaryDirectory() as cache:
        made = mean_average_precision(made, groups, null_size, 0.05, 0, cache_dir=cache, **options)
    return made.set_index(groups[0])["mean_average_precision"]


def pairs(metric, frame):
    """How often a profile is compared with another."""
    if metric == "consistency":
        return frame["target"].str.split("|").map(len).sum() * (len(frame) - 1)
    if metric in ("NSC", "NSCB"):
        return len(frame) * (len(frame) - 1)
    asked = frame[frame["control_type"] != "negcon"]
    against = frame if metric == "distinctiveness" else frame.drop(index=asked.index)
    replicates = asked["compound"].map(asked["compound"].value_counts()) - 1
    return int((asked["plate"].map(against["plate"].value_counts()) + replicates).sum())


def measured(way, metric, wells, features, null_size, queue):
    """Run one metric: its answer, pairs, seconds of CPU and clock, peak memory in GB."""
    frame = consensus(wells, features) if metric == "consistency" else screen(wells, features)
    if metric in ("NSC", "NSCB"):
        frame = frame[frame["control_type"].isna()].reset_index(drop=True)
    count = pairs(metric, frame)
    began, clock = _cpu(), time.perf_counter()
    answer = (plain if way == "plain" else ours)(metric, frame, null_size)
    spent = _cpu() - began, time.perf_counter() - clock
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    queue.put((answer, count, *spent, peak))


def _cpu():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def in_a_process(*arguments):
    """`measured`, in a process of its own."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=measured, args=(*arguments, queue))
    process.start()
    answer = queue.get()
    process.join()
    return answer


def main(argv=None):
    """Print one line a size and metric."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--wells", default="4000,10000,30000,100000", help="separated by commas")
    parser.add_argument("--plain", type=int, default=4000, help="wells that both ways are asked")
    parser.add_argument("--features", type=int, default=2000)
    parser.add_argument("--null", type=int, default=10_000, help="random rankings of a p-value")
    parser.add_argument("--metrics", default=",".join(METRICS))
    given = parser.parse_args(argv)
    print(f"{given.features} features, {given.null} random rankings; CPU and clock in minutes, "
          "memory in GB; x: plain / here\n")  # fmt: skip
    print(f"{'metric':<16}{'wells':>7}{'CPU':>8}{'clock':>8}{'ns a pair':>11}{'memory':>8}"
          f"{'value':>8}{'time, x':>9}{'memory, x':>11}{'differs':>9}")  # fmt: skip
    for wells in map(int, given.wells.split(",")):
        for metric in given.metrics.split(","):
            if metric == "consistency" and wells > _CONSISTENCY_MOST:
                continue
            case = metric, wells, given.features, given.null
            answer, count, cpu, clock, peak = in_a_process("here", *case)
            value = answer["value"].mean()
            line = (f"{metric:<16}{wells:>7}{cpu / 60:>8.2f}{clock / 60:>8.2f}"
                    f"{cpu / count * 1e9:>11.0f}{peak:>8.2f}{value:>8.3f}")  # fmt: skip
            if wells == given.plain:
                other, _, slow, _, large = in_a_process("plain", *case)
                apart = (answer["value"] - other)[answer["tied"] == 0].abs().max()
                line += f"{slow / cpu:>9.1f}{large / peak:>11.1f}{apart:>9.0e}"
            print(line, flush=True)


if __name__ == "__main__":
    main()
