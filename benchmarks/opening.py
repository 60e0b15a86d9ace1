"""Opening a table of many sites, reading the headers of its images, and reading sites.

    python benchmarks/opening.py [--rows 10000 100000 1000000] [--images 2000] [--sites 8]

Tables of five channel columns are made up and opened by `unidino.CSVMetadata`, each in a process of
its own, without a look for the files, which do not exist. Seconds are those of the processor; the
memory is the peak of the process above what it takes before, beside the bytes of the table that is
kept. Then its plates are grouped, taken one by one, and named by relative paths. Small TIFFs, every
other of five channels, are inspected twice: as new, and as remembered. Two busy cores printed:

          rows    open, s       peak, MB     table, MB     plates, s      names, s
        10,000       0.26          32.74          6.82          0.01          0.03
       100,000       2.38         138.05         68.28          0.08          0.28
     1,000,000      19.97        1012.39        683.74          0.50          3.31
        images    headers    read, s
         2,000        new       1.54
         2,000 remembered       0.02

What one site of five channels of 1080 x 1080 pixels costs a process that reads, on the same cores:

reading a site, uncompressed: 31 ms of one processor, 6 to load, 21 measures, 4 tiles: 3,973 tiles/s
a process
reading a site, deflate: 76 ms of one processor, 46 to load, 25 measures, 4 tiles: 1,656 tiles/s a
process
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tifffile

import unidino
from unidino import dataset, identity, images, remembered

CHANNELS = ("DNA", "ER", "RNA", "AGP", "Mito")
FIELDS, COLUMNS, WELLS = 9, 24, 384


def write_table(path, rows):
    """A screen of 384-well plates, nine sites a well, one file a channel."""
    with open(path, "w") as file:
        print("batch,plate,well,site,compound,concentration", *CHANNELS, sep=",", file=file)
        for i in range(rows):
            number, site = divmod(i, FIELDS)
            plate, place = divmod(number, WELLS)
            well = f"{'ABCDEFGHIJKLMNOP'[place // COLUMNS]}{place % COLUMNS + 1:02d}"
            batch, compound = f"b{plate // 32:02d}", "DMSO" if place % COLUMNS == 0 else number
            stem = f"images/{batch}/P{plate:05d}/{well}_s{site + 1}"
            files = (f"{stem}_{channel}.tif" for channel in CHANNELS)
            print(batch, f"P{plate:05d}", well, site + 1, compound, 5, *files, sep=",", file=file)


def table_bytes(frame):
    """Bytes of a table with all that it refers to, what stands in many cells once."""
    total, seen = 0, set()
    for name in frame.columns:
        if frame[name].dtype != object:
            total += frame[name].memory_usage(index=False, deep=True)
            continue
        total += 8 * len(frame)
        for cell in frame[name]:
            for held in (cell, *cell) if isinstance(cell, list) else (cell,):
                if id(held) not in seen:
                    seen.add(id(held))
                    total += sys.getsizeof(held)
    return total


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def seconds(work):
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def open_table(path):
    """One line of the first table."""
    before = peak()
    opened, metadata = seconds(lambda: unidino.CSVMetadata(path, check_files=False))
    memory, rows = peak() - before, len(metadata.metadata)
    grouped, plates = seconds(metadata.plates)
    cut, _ = seconds(lambda: [dataset.subset(metadata, some) for some in plates.values()])
    named, _ = seconds(lambda: identity.relative_paths(metadata, np.arange(rows)))
    held = table_bytes(metadata.metadata)
    numbers = (memory / 2**20, held / 2**20, grouped + cut, named)
    print(f"{rows:10,} {opened:10.2f}", "".join(f"{number:14.2f}" for number in numbers))


def read_headers(folder, count):
    """The lines of the second table."""
    planes = np.random.default_rng(0).integers(0, 60000, (5, 64, 64), dtype=np.uint16)
    files = []
    for i in range(count):
        files.append(folder / f"{i}.tif")
        tifffile.imwrite(files[-1], planes if i % 2 else planes[0], photometric="minisblack")
    time.sleep(remembered.SETTLED)
    for state in ("new", "remembered"):
        taken, headers = seconds(lambda: images.image_headers(files))
        assert [header.channels for header in headers] == [1, 5] * (count // 2)
        print(f"{count:10,} {state:>10} {taken:10.2f}")


def read_sites(folder, count):
    """The lines below the tables, of sites of five channels of 1080 x 1080 pixels."""
    from gpu import reading, simulated  # with all that trains, which tables need not wait for

    folder.mkdir()
    for line in reading(folder, simulated(folder, count, 1080)):
        print(line)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--sites", type=int, default=8)
    parser.add_argument("--open", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.open:
        open_table(options.open)
        return
    names = ("peak, MB", "table, MB", "plates, s", "names, s")
    print(f"{'rows':>10} {'open, s':>10}", "".join(f"{name:>14}" for name in names), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for rows in options.rows:
            write_table(f"{folder}/table.csv", rows)
            command = [sys.executable, __file__, "--open", f"{folder}/table.csv"]
            subprocess.run(command, check=True)
        os.environ["UNIDINO_CACHE"] = f"{folder}/cache"
        print(f"{'images':>10} {'headers':>10} {'read, s':>10}", flush=True)
        read_headers(Path(folder), options.images)
        read_sites(Path(folder) / "sites", options.sites)


if __name__ == "__main__":
    main()
