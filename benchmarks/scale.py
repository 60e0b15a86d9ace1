"""Memory of an extraction beside its table of sites: up to a million of them.

    python benchmarks/scale.py [--sites 10000,100000,1000000] [--traced 100000]

Tables of plates of 3456 sites, five files each (benchmarks/opening.py), go through
`sites.SiteEmbeddings` to site tables on disk, and from there through `inference._aggregate` to well
profiles. No file is there: headers, digests and tiles are made up, of one tile of 8 x 8 pixels a
site, and the model is a mean. Every size runs in a process of its own. Table is what the rows of
the dataset take with all that they refer to; the others are the largest resident set of each step,
in MB, but for held, which is what is resident once the table is open, with what the allocator
keeps; CPU is user and system time in seconds. Beyond the table is what a step's largest resident
set has grown since the size before, divided by the growth of the table, less one. --traced prints
which lines hold the memory at the end of the embedding.

Printed by one thread of two busy cores (AMD EPYC with AVX512, pandas 2.3):

    python benchmarks/scale.py --sites 10000,100000,300000,1000000

        sites     table    before    opened      held  embedded  averaged  profiles       CPU
        10000       6.3     605.9     638.8     638.8     681.3     688.9       0.5       3.4
       100000      63.3     605.7     761.6     724.0     752.1     765.4       5.3      18.9
              beyond the table: opened +116% embedded +24% averaged +34%
       300000     190.2     605.6     987.7     958.1     972.9     944.0      16.0      55.2
              beyond the table: opened +78% embedded +74% averaged +41%
      1000000     634.2     605.4    1773.6    1448.4    1515.5    1568.2      53.3     170.5
              beyond the table: opened +77% embedded +22% averaged +41%

What is held of an open table is more than its bytes, and while it is opened more again; what
embedding and aggregating take on top of it does not grow as the sites do. With pandas
3.1.1 opening 300,000 sites takes as much, 989 MB at most where it is 988 here. The ratio compares
two sizes, each with an allocator of its own behind it: between 300,000 and a million sites it is
known best.
"""

import argparse
import contextlib
import io
import re
import resource
import subprocess
import sys
import tempfile
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from opening import CHANNELS, table_bytes, write_table

import unidino
from unidino import dataset, identity, images, inference, sites
from unidino.embedding import Embedder

STEPS = ("opened", "embedded", "averaged")
SIDE = 8
SETTINGS = {
    "size": SIDE, "stride": SIDE, "resize_shorter_side": None, "foreground_channel": CHANNELS[0],
    "intensity_scaling": "dtype", "intensity_range": None, "channel_axis": None,
    "tiling": "cover", "min_foreground": 0.0, "small_images": "reflect", "seed": 0,
}  # fmt: skip


class Mean(torch.nn.Module):
    """A model of two features."""

    is_vit, name, origin, licence, embedding_dim = False, "mean", "", "", 2
    config = SimpleNamespace(in_chans=1, size=SIDE)

    def forward(self, x):
        return torch.stack([x.mean((1, 2, 3)), x.amax((1, 2, 3))], 1)


def make_up():
    """Replace what would be read from files."""
    image = np.random.default_rng(0).integers(100, 60000, (len(CHANNELS), SIDE, SIDE), np.uint16)
    read, items = dataset.SiteTiles._measured, {}

    def measured(reader, i):
        # One site is measured, and stands for all: that they take no time of their own.
        if not items:
            items.update(read(reader, 0))
        return items | {"index": i}

    def digested(path):
        return f"1 {hash(path):x}", False

    dataset.read_site = dataset.load_site = lambda *_: image
    dataset.SiteTiles._measured = measured
    identity._lasting_digest = digested
    header = images.ImageHeader(1, SIDE, SIDE, image.dtype)
    images.image_headers = lambda files, *_, **__: [header] * len(files)


def resident(field="VmHWM"):
    """MB of this process: by default the most since `forget`."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(rf"{field}:\s+(\d+) kB", status)[1]) / 1024


def forget():
    """From now on, what is resident now is the most."""
    Path("/proc/self/clear_refs").write_text("5")


def one_size(folder, count, traced):
    """Print the numbers of one size on a line."""
    path = folder / "screen.csv"
    write_table(path, count)
    make_up()
    found = {"before": resident("VmRSS")}
    forget()
    metadata = unidino.CSVMetadata(path, check_files=False)
    found |= {"opened": resident(), "held": resident("VmRSS")}
    embedder = Embedder(Mean(), 1000, torch.device("cpu"))
    settings = SETTINGS | {"channels": metadata.channels, "model": "mean"}
    forget()
    if traced:
        tracemalloc.start()
    with contextlib.redirect_stderr(io.StringIO()):
        made = sites.SiteEmbeddings(metadata, embedder, settings, folder / "made", 0, "record")
        with made.claimed():
            made.embed_plates()
    found["embedded"] = resident()
    if traced:
        for line in tracemalloc.take_snapshot().statistics("lineno")[:12]:
            print(line, file=sys.stderr)
        print("peak", tracemalloc.get_traced_memory()[1] / 2**20, file=sys.stderr)
        tracemalloc.stop()
    forget()
    profiles, _ = inference._aggregate(made, "mean")
    found["averaged"] = resident()
    used = resource.getrusage(resource.RUSAGE_SELF)
    found["table"] = table_bytes(metadata.metadata) / 2**20
    found["profiles"] = profiles.memory_usage(deep=True).sum() / 2**20
    found["CPU"] = used.ru_utime + used.ru_stime
    print(" ".join(f"{name}={value}" for name, value in found.items()))


def in_a_process(count, traced):
    """{name: number} of a size."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--one", folder, "--sites", str(count)]
        command += ["--traced", str(count)] if traced else []
        ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    pairs = (part.split("=") for part in ran.stdout.splitlines()[-1].split())
    return {name: float(value) for name, value in pairs}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sites", default="10000,100000,1000000", help="separated by commas")
    parser.add_argument("--traced", type=int, help="a size whose lines are listed, which is slow")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    sizes = [int(count) for count in given.sites.split(",")]
    if given.one:
        one_size(Path(given.one), *sizes, given.traced)
        return
    names = ("table", "before", "opened", "held", *STEPS[1:], "profiles", "CPU")
    print(f"{'sites':>9}", *(f"{name:>9}" for name in names), flush=True)
    last = None
    for count in sizes:
        found = in_a_process(count, count == given.traced)
        print(f"{count:>9}", *(f"{found[name]:>9.1f}" for name in names), flush=True)
        if last:
            grown = found["table"] - last["table"]
            beyond = (f"{name} {(found[name] - last[name]) / grown - 1:+.0%}" for name in STEPS)
            print(f"{'':>9} beyond the table:", *beyond, flush=True)
        last = found


if __name__ == "__main__":
    main()
