"""Trainings that are killed again and again end as one that never was.

    python benchmarks/train_kills.py [--seconds 600] [--workers 2] [--seed 0]

A small model is trained on made-up images, once without and then with interruptions at random
times: SIGKILL to the process, SIGKILL or SIGTERM to its group, and each time the same call goes on.
After every interruption the lines of both logs must be JSON and belong to the run, and the newest
checkpoint must be whole; at the end both logs (times aside) and the teacher's weights must be those
of the undisturbed run. Printed are the interruptions by kind and the disagreements.
"""

import argparse
import collections
import json
import multiprocessing
import os
import random
import signal
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile

from unidino.models import checkpoints
from unidino.train import EXIT_STOPPED, train
from unidino.train.log import EPOCHS, STEPS
from unidino.train.state import WEIGHTS, newest

OPTIONS = {
    "arch": "vit_tiny", "embed_dim": 12, "size": 32, "local_size": 16, "local_crops_number": 2,
    "out_dim": 32, "epochs": 4, "epoch_length": 32, "batch_size_per_gpu": 8, "lr": 0.01,
    "warmup_epochs": 1, "warmup_teacher_temp_epochs": 2, "freeze_last_layer": 1, "device": "cpu",
    "intensity_scaling": "plate", "monitor_label": "treatment", "monitor_freq": 3,
}  # fmt: skip
KINDS = ("SIGKILL", "SIGKILL to the group", "SIGTERM to the group")


def write_plate(folder):
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:48, :48]
    rows = []
    for i in range(8):
        image = rng.integers(100, 400, (48, 48))
        for cy, cx in rng.uniform(10, 38, (4, 2)):
            image += (6000 * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 30)).astype(int)
        tifffile.imwrite(folder / f"{i}.tif", image.astype(np.uint16))
        rows.append(
            {"plate": "p", "well": f"A{i + 1:02d}", "DNA": f"{i}.tif", "treatment": f"t{i % 2}"}
            | {"control_type": "negcon" if i < 4 else ""}
        )
    pd.DataFrame(rows).to_csv(folder / "plate.csv", index=False)
    return str(folder / "plate.csv")


def work(folder, options):
    os.setsid()
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    train(str(folder), **options)


def lines(folder, name):
    """The lines of a log without times; an error where one is no JSON."""
    path = folder / name
    read = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    for line in read:
        line.pop("images_per_second", None)
    return read


def disagreements(folder, whole, ended):
    """What a folder holds that the undisturbed run does not, in words."""
    found = []
    for name in (STEPS, EPOCHS):
        own, all_lines = lines(folder, name), lines(whole, name)
        if own != all_lines[: len(own)] or (ended and len(own) != len(all_lines)):
            found.append(f"{name}: {len(own)} lines that differ")
    file, content = newest(folder)
    if file is None:
        return found
    if ended:
        weights, twin = (
            checkpoints.load_checkpoint(f / WEIGHTS).weights() for f in (folder, whole)
        )
        if any(not weights[name].equal(twin[name]) for name in twin):
            found.append("weights that differ")
    # The line of an epoch under way may be missing; those before must be there.
    epochs, per_epoch = len(lines(folder, EPOCHS)), OPTIONS["epoch_length"] // 8
    if len(lines(folder, STEPS)) < content["step"] or epochs < content["step"] // per_epoch - 1:
        found.append("a checkpoint ahead of the logs")
    return found


def interrupted(folder, options, rng, longest, counts):
    """Run until the end or an interruption; whether it ended."""
    process = multiprocessing.get_context("fork").Process(target=work, args=(folder, options))
    process.start()
    process.join(rng.uniform(0, longest))
    kind = rng.choice(KINDS)
    if process.is_alive():
        counts[kind] += 1
        number = signal.SIGTERM if "TERM" in kind else signal.SIGKILL
        try:
            os.killpg(process.pid, number) if "group" in kind else os.kill(process.pid, number)
        except ProcessLookupError:  # it has no group yet
            process.kill()
        process.join()
    if process.exitcode not in (0, -signal.SIGKILL, -signal.SIGTERM, EXIT_STOPPED):
        counts["failed"] += 1
        print(f"a run ended with status {process.exitcode}")
    counts["stopped with a checkpoint"] += process.exitcode == EXIT_STOPPED
    return process.exitcode == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rng, counts = random.Random(given.seed), collections.Counter()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        plate = write_plate(root)
        options = OPTIONS | {"datasets": [plate], "monitor": plate, "num_workers": given.workers}
        began = time.monotonic()
        process = multiprocessing.get_context("fork").Process(
            target=work, args=(root / "whole", options)
        )
        process.start()
        process.join()
        assert process.exitcode == 0, (root / "whole" / "train.log").read_text()
        longest = time.monotonic() - began
        end, runs = time.monotonic() + given.seconds, 0
        while time.monotonic() < end:
            folder, ended = root / f"run{runs}", False
            runs += 1
            more = {"checkpoint_minutes": rng.choice([1e-9, 15.0])}
            while not ended:
                ended = interrupted(folder, options | more, rng, longest, counts)
                if folder.exists():
                    for text in disagreements(folder, root / "whole", ended):
                        counts["disagreements"] += 1
                        print(f"run {runs}: {text}")
    print(f"{runs} runs of {longest:.0f} s each, undisturbed")
    for kind in (*KINDS, "stopped with a checkpoint", "failed", "disagreements"):
        print(f"{kind:28}{counts[kind]}")


if __name__ == "__main__":
    main()
