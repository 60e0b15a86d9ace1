"""What extraction does on a CPU: files to Parquet, beside the forward pass and the matrix product.

    python benchmarks/extract.py [--sites 8] [--repeats 3] [--threads 2] [--within]
    python benchmarks/extract.py --batches 8,16,32 [--threads 2]

Data: the simulated sites of benchmarks/gpu.py, five channels of 1080 x 1080 pixels of 16 bits in
uncompressed TIFFs, read from the page cache; a random ViT-S/16 and tiles of 224 pixels, of which
all are kept. With OMP_NUM_THREADS as given, in each precision that the CPU multiplies:

- command: `python -m unidino.inference` from its start to its end, with an empty cache;
- embedding: its part from before the first site is read, for the statistics of the plate, to after
  the last table of sites is written;
- forward: `Embedder.forward` of tiles in memory; timm: the plain model of timm with the same
  weights, 32 tiles at a time, which gives the same embeddings;
- within (--within): the share of the embedding's own time that it spends in `Embedder.forward`,
  in the same process: it holds where speeds change from run to run, as the shares of rates do not;
- product: of two matrices of 4096 x 4096 numbers. A tile's work is what torch counts of products.
- first tile: from the start of the same command to the end of its first forward pass; memory: the
  largest resident set of the command, and of an interpreter that only imports the libraries.

The repeats take turns, those in memory three times each, and the best counts. Rates are by the
clock, and by seconds of user and system time, times the threads: other programs on the machine
change these less, where there is one thread that waits for no other.

Printed on one thread of two cores with AVX2 that other programs kept busy:

    python benchmarks/extract.py --sites 2 --repeats 3 --threads 1

    2 sites, 1 threads, 3 repeats

    fp32                      clock  processor    aim
    command, tiles/s           6.21       6.45
    embedding, tiles/s         7.71       8.00
    forward, tiles/s           7.48       7.53
    timm, tiles/s              6.16       6.24
    product, GFLOP/s           67.1       74.8
    command / forward          0.83       0.86
    embedding / forward        1.03       1.06   0.93
    forward / timm             1.21       1.21
    forward / product          0.94       0.85   0.85
    timm / product             0.77       0.70
    first tile, s               9.3        8.9      4
    memory, GB                 1.22               1.2
    beyond imports, GB         0.31
    least cosine of the embeddings to timm's: 1.000000
    bf16: not measured, for this CPU has neither amx_bf16 nor avx512_bf16

On one thread of two cores with AVX512-BF16 (AMD EPYC), little beside it:

    python benchmarks/extract.py --sites 2 --repeats 2 --threads 1

    2 sites, 1 threads, 2 repeats

    fp32                      clock  processor    aim
    command, tiles/s           8.55       8.55
    embedding, tiles/s        10.33      10.34
    forward, tiles/s          10.78      10.78
    timm, tiles/s              9.93       9.93
    product, GFLOP/s          106.6      106.7
    command / forward          0.79       0.79
    embedding / forward        0.96       0.96   0.93
    forward / timm             1.09       1.09
    forward / product          0.85       0.85   0.85
    timm / product             0.78       0.78
    first tile, s               5.1        5.0      4
    memory, GB                 1.22               1.2
    beyond imports, GB         0.31
    least cosine of the embeddings to timm's: 1.000000

    bf16                      clock  processor    aim
    command, tiles/s          19.18      19.19
    embedding, tiles/s        29.86      29.87
    forward, tiles/s          31.22      31.22
    timm, tiles/s             29.65      29.66
    product, GFLOP/s          422.1      422.2
    command / forward          0.61       0.61
    embedding / forward        0.96       0.96   0.93
    forward / timm             1.05       1.05
    forward / product          0.62       0.62    0.7
    timm / product             0.59       0.59
    first tile, s               3.8        3.8      4
    memory, GB                 1.18               1.2
    beyond imports, GB         0.28
    least cosine of the embeddings to timm's: 1.000000

What was measured beside the command may have run at another speed than it, and a share of embedding
to forward above 1 says so. On the first machine, within one process:

    python benchmarks/extract.py --sites 2 --repeats 2 --threads 1 --within

    2 sites, 1 threads, 2 repeats
    fp32, within              0.965      0.967   0.93
    fp32, within              0.956      0.960   0.93

    python benchmarks/extract.py --threads 1 --batches 8,16,32

    fp32, tiles at a time     clock  processor   system  page faults
    8                          4.59       6.84     0.00            0
    16                         4.58       7.04     0.03         1584
    32                         4.26       6.17     0.12         7314

More than 16 tiles at a time are slower there: the largest activation of 32 tiles, 39 MB, is taken
from the system and given back in every layer, which the page faults show. The first tile is late by
libraries: by processor time, torch takes 2.4 s to load, torch._dynamo, which torchvision.ops loads
for timm, 2.2, and the first 16 tiles about 2. Imports are also what the memory is, for the most
part: of torch with CUDA here.
"""

import argparse
import multiprocessing
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

CHANNELS, SIZE, SIDE, PRODUCT, IN_MEMORY, PLAIN_BATCH = 5, 224, 1080, 4096, 32, 32
TARGETS = {"embedding / forward": 0.93, "first tile": 4, "memory": 1.2}
OF_PRODUCT = {"fp32": 0.85, "bf16": 0.70}

IMPORTS = "import unidino.inference, unidino.sites, timm, pycytominer; print('', file=sys.stderr)"
FIRST_PASS = """
from unidino import embedding, inference

def ended(embedder, x, passed=embedding.Embedder._passed):
    passed(embedder, x)
    print("first pass", file=sys.stderr)
    os._exit(0)

embedding.Embedder._passed = ended
inference.main()
"""
WITHIN = """
import time
from unidino import embedding, inference, sites

spent = {}

def timed(cls, name):
    def call(*arguments, inner=getattr(cls, name)):
        clock, cpu = time.perf_counter(), time.process_time()
        made = inner(*arguments)
        before = spent.get(name, (0, 0))
        spent[name] = before[0] + time.perf_counter() - clock, before[1] + time.process_time() - cpu
        return made
    setattr(cls, name, call)

timed(embedding.Embedder, "forward")
timed(sites.SiteEmbeddings, "embed_plates")
inference.main()
shares = [a / b for a, b in zip(spent["forward"], spent["embed_plates"])]
print("within", *shares, file=sys.stderr)
"""


class Run:
    """A Python process, and when it said what.

    Parameters
    ----------
    arguments : list of str
    threads : int
    cache : Path
        An empty folder.

    Attributes
    ----------
    said : list of (str, float, float)
        Lines of stderr, with seconds by the clock and of the process since it was started.
    clock, cpu : float
        Seconds until its end.
    memory : float
        GB, the largest resident set.
    """

    def __init__(self, arguments, threads, cache):
        environment = os.environ | {"OMP_NUM_THREADS": str(threads), "UNIDINO_CACHE": str(cache)}
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            text=True, env=environment,
        )  # fmt: skip
        self.said, self.memory = [], 0.0
        for line in process.stderr:
            cpu, memory = _so_far(process.pid)
            self.said.append((line.rstrip(), time.perf_counter() - began, cpu))
            self.memory = max(self.memory, memory)
        _, status, used = os.wait4(process.pid, 0)
        self.clock, self.cpu = time.perf_counter() - began, used.ru_utime + used.ru_stime
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            sys.exit("\n".join(line for line, *_ in self.said))

    def at(self, pattern):
        """Seconds by the clock and of the process when the last line of this kind was said."""
        return [times for line, *times in self.said if re.search(pattern, line)][-1]


def _so_far(pid):
    """Seconds that a process has taken, and its largest resident set in GB.

    From where it is of this program alone: what wait says counts the parent's before the start.
    """
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    held = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return ticks / os.sysconf("SC_CLK_TCK"), int(held[1]) * 1024 / 1e9 if held else 0.0


class InMemory:
    """What is measured in a process that stays: model, tiles and matrices are there."""

    def __init__(self, threads, precision):
        import timm
        import torch
        from gpu import flop_of

        from unidino import embedding
        from unidino.models import vit

        torch.set_num_threads(threads)
        model = vit.seeded(vit.ModelConfig(arch="vit_small", size=SIZE), 0).eval()
        self.flop = flop_of(model, SIZE)
        dtype = embedding.PRECISIONS[precision] or torch.float32
        self.plain = timm.create_model("vit_small_patch16_224", in_chans=1, num_classes=0).eval()
        self.plain.load_state_dict(model.backbone.state_dict())
        self.plain.to(dtype)
        self.embedder = embedding.Embedder(model, None, torch.device("cpu"), precision)
        self.batch = self.embedder.batch_size
        self.tiles = torch.rand(IN_MEMORY, 1, SIZE, SIZE)
        self.plain_tiles = self.tiles[:PLAIN_BATCH].to(dtype)
        self.factors = [torch.randn(PRODUCT, PRODUCT).to(dtype) for _ in range(2)]
        with torch.inference_mode():
            ours, theirs = self.embedder.forward(self.tiles[:4]), self.plain(self.plain_tiles[:4])
        self.cosine = float(torch.cosine_similarity(ours, theirs.float()).min())

    def forward(self, batch=None):
        self.embedder.batch_size = batch or self.batch
        return measured(lambda: self.embedder.forward(self.tiles), IN_MEMORY)

    def timm(self):
        import torch

        with torch.inference_mode():
            return measured(lambda: self.plain(self.plain_tiles), PLAIN_BATCH)

    def product(self):
        """Rate in tiles, of as much work."""
        return measured(lambda: self.factors[0] @ self.factors[1], 2 * PRODUCT**3 / self.flop)


def measured(call, count):
    """(rate by the clock, rate by seconds of the process, of them the system's, page faults)."""
    before, clock = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    call()
    clock, after = time.perf_counter() - clock, resource.getrusage(resource.RUSAGE_SELF)
    system = after.ru_stime - before.ru_stime
    cpu = after.ru_utime - before.ru_utime + system
    return count / clock, count / cpu, system / cpu, (after.ru_minflt - before.ru_minflt) / count


_made = {}


def in_memory(threads, precision, name, *arguments):
    """A method or attribute of the one `InMemory` of a precision."""
    if precision not in _made:
        _made[precision] = InMemory(threads, precision)
    found = getattr(_made[precision], name)
    return found(*arguments) if callable(found) else found


def simulate(folder, sites):
    from gpu import simulated

    return simulated(folder, sites, SIDE)


def precisions():
    """Those that are measured here."""
    import torch

    from unidino import embedding

    return list(dict.fromkeys(["fp32", embedding.resolved_precision("auto", torch.device("cpu"))]))


def rates_of(run, sites, tiles):
    """{name: (rate by the clock, by seconds of the process)} of a command."""
    began, ended = run.at("sites of the channels"), run.at(rf"\b{sites}/{sites}\b")
    return {
        "command": (tiles / run.clock, tiles / run.cpu),
        "embedding": tuple(tiles / (b - a) for a, b in zip(began, ended, strict=True)),
    }


def options(folder, table, precision, number):
    """What the command is given."""
    return [
        "--valset", str(table), "--model", "random_vit", "--arch", "vit_small",
        "--size", str(SIZE), "--min_foreground", "0", "--norm_method", "no_post_proc",
        "--device", "cpu", "--precision", precision,
        "--outdir", str(folder / f"{precision}{number}"),
    ]  # fmt: skip


def within(folder, table, precision, given):
    """Print the share of the forward pass in the time of the embedding, of every repeat."""
    for number in range(given.repeats):
        code = f"import os, sys; {WITHIN}"
        command = options(folder, table, precision, number)
        run = Run(["-c", code, *command], given.threads, folder / f"w{precision}{number}")
        said = next(line for line, *_ in run.said if line.startswith("within"))
        clock, cpu = map(float, said.split()[1:])
        print(f"{precision + ', within':<22}{clock:>9.3f}{cpu:>11.3f}{0.93:>7}", flush=True)


def measure(ask, folder, table, precision, given):
    """The best rates {name: (by the clock, by processor)}, least seconds to the first tile (both)
    and memory (GB) of the repeats."""
    best, first, memory = {}, [], []
    tiles = given.sites * CHANNELS * len(range(0, SIDE, SIZE)) ** 2
    for number in range(given.repeats):
        command = options(folder, table, precision, number)
        start = f"import os, sys; {FIRST_PASS}"
        begun = Run(["-c", start, *command], given.threads, folder / f"a{precision}{number}")
        first.append(begun.at("first pass"))
        whole = ["-m", "unidino.inference", *command, "--overwrite"]
        run = Run(whole, given.threads, folder / f"b{precision}{number}")
        memory.append(run.memory)
        found = rates_of(run, given.sites, tiles)
        for name in ("forward", "timm", "product"):
            found[name] = max(ask(precision, name)[:2] for _ in range(3))
        for name, rates in found.items():
            best[name] = [max(pair) for pair in zip(rates, best.get(name, (0, 0)), strict=True)]
    return best, [min(pair) for pair in zip(*first, strict=True)], max(memory)


def report(precision, best, first, memory, imports, flop, cosine, threads):
    """Print what was measured in one precision."""
    print(f"\n{precision:<22}{'clock':>9}{'processor':>11}{'aim':>7}")
    for name, (clock, cpu) in best.items():
        if name == "product":
            rates = f"{clock * flop / 1e9:>9.1f}{cpu * threads * flop / 1e9:>11.1f}"
            print(f"{'product, GFLOP/s':<22}{rates}")
        else:
            print(f"{name + ', tiles/s':<22}{clock:>9.2f}{cpu * threads:>11.2f}")
    targets = TARGETS | {"forward / product": OF_PRODUCT[precision]}
    shares = ("command / forward", "embedding / forward", "forward / timm", "forward / product",
              "timm / product")  # fmt: skip
    for name in shares:
        pair = [a / b for a, b in zip(*(best[part] for part in name.split(" / ")), strict=True)]
        print(f"{name:<22}{pair[0]:>9.2f}{pair[1]:>11.2f}{targets.get(name, ''):>7}")
    clock, cpu = first
    print(f"{'first tile, s':<22}{clock:>9.1f}{cpu:>11.1f}{TARGETS['first tile']:>7}")
    print(f"{'memory, GB':<22}{memory:>9.2f}{'':>11}{TARGETS['memory']:>7}")
    print(f"{'beyond imports, GB':<22}{memory - imports:>9.2f}")
    print(f"least cosine of the embeddings to timm's: {cosine:.6f}")


def by_batch(ask, precision, batches, repeats):
    """Print the rate of the forward pass by the tiles that pass at once."""
    print(f"\n{precision + ', tiles at a time':<22}{'clock':>9}{'processor':>11}{'system':>9}"
          f"{'page faults':>13}")  # fmt: skip
    made = {batch: [] for batch in batches}
    for _ in range(repeats):
        for batch, found in made.items():
            found.append(ask(precision, "forward", batch))
    for batch, found in made.items():
        clock, _, _, _ = max(found)
        _, cpu, system, faults = max(found, key=lambda one: one[1])
        print(f"{batch:<22}{clock:>9.2f}{cpu * ask.threads:>11.2f}{system:>9.2f}{faults:>13.0f}")


class Asked:
    """`in_memory` in the process that stays."""

    def __init__(self, pool, threads):
        self.pool, self.threads = pool, threads

    def __call__(self, *arguments):
        return self.pool.submit(in_memory, self.threads, *arguments).result()


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sites", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--batches", default="", help="compare these alone, separated by commas")
    parser.add_argument("--within", action="store_true", help="measure this alone")
    given = parser.parse_args(argv)
    # This process loads no libraries: it holds nothing that those it starts could be blamed for.
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(1, spawn) as pool:
        folder, ask = Path(folder), Asked(pool, given.threads)
        here = pool.submit(precisions).result()
        if given.batches:
            for precision in here:
                by_batch(ask, precision, [int(n) for n in given.batches.split(",")], given.repeats)
            return
        table = pool.submit(simulate, folder, given.sites).result()
        print(f"{given.sites} sites, {given.threads} threads, {given.repeats} repeats")
        imports = Run(["-c", f"import sys; {IMPORTS}"], given.threads, folder / "none").memory
        if given.within:
            for precision in here:
                within(folder, table, precision, given)
            return
        for precision in here:
            flop, cosine = (ask(precision, name) for name in ("flop", "cosine"))
            made = measure(ask, folder, table, precision, given)
            report(precision, *made, imports, flop, cosine, given.threads)
        if "bf16" not in here:
            print("bf16: not measured, for this CPU has neither amx_bf16 nor avx512_bf16")


if __name__ == "__main__":
    main()
