"""What half precision changes: embeddings, profiles and metrics, on trained weights.

    python benchmarks/precision.py [--valset BBBC021] [--model unidino-demo]

The simulated plates of a dataset are extracted in float32 and in bf16 and normalised alike. Printed
are the least and the median cosine between the two embeddings of a site and a channel, the same of
the normalised profiles of wells, and for each metric both values and their difference. A CPU
without AMX or AVX512-BF16 computes bf16 the slow way, with the same roundings.

Printed on a CPU with AVX2 alone (186 wells are asked; one of them is 0.0054):

    fp32: 34 s of a processor
    bf16: 180 s of a processor
    sites, DAPI: cosine 0.99986 at least, median 0.999982
    sites, Tubulin: cosine 0.99992 at least, median 0.999987
    sites, Actin: cosine 0.99995 at least, median 0.999990
    normalised wells: cosine 0.99905 at least, median 0.999776
    NSC, wells: 0.4301 and 0.4194, -0.0108
    NSCB, wells: 0.5215 and 0.5161, -0.0054
"""

import argparse
import tempfile
import time

import numpy as np

import unidino
from unidino import evaluate, tables
from unidino.evaluate import bbbc021


def cosines(one, other):
    """Of the rows of two arrays."""
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return (one * other).sum(1) / lengths


def embeddings(made, channel):
    frame = made.sites()
    names = [n for n in tables.feature_columns(frame) if tables.feature_channel(n) == channel]
    return frame.loc[frame["Metadata_status"] == "ok", names].to_numpy()


def metrics(profiles):
    """{name: accuracy} of the nearest neighbour's mechanism."""
    wells = bbbc021.treated(profiles)
    return {
        "NSC, wells": evaluate.nearest_neighbour_accuracy(wells, "moa", exclude=["compound"]),
        "NSCB, wells": evaluate.nearest_neighbour_accuracy(
            wells, "moa", exclude=["compound", "batch"]
        ),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--valset", default="BBBC021")
    parser.add_argument("--model", default="unidino-demo")
    given = parser.parse_args()
    made = {}
    with tempfile.TemporaryDirectory() as folder:
        for precision in ("fp32", "bf16"):
            began = time.process_time()
            made[precision] = unidino.extract(
                given.valset, model=given.model, precision=precision, outdir=f"{folder}/{precision}"
            )
            print(f"{precision}: {time.process_time() - began:.0f} s of a processor")
        full, half = made.values()
        for channel in full.metadata.channels:
            found = cosines(embeddings(full, channel), embeddings(half, channel))
            middle = np.median(found)
            print(f"sites, {channel}: cosine {found.min():.5f} at least, median {middle:.6f}")
    features = tables.feature_columns(full.profiles)
    found = cosines(*(m.profiles[features].to_numpy() for m in made.values()))
    print(f"normalised wells: cosine {found.min():.5f} at least, median {np.median(found):.6f}")
    values = [metrics(m.profiles) for m in made.values()]
    for name in values[0]:
        one, other = (float(value[name]) for value in values)
        print(f"{name}: {one:.4f} and {other:.4f}, {other - one:+.4f}")


if __name__ == "__main__":
    main()
