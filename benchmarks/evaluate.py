"""Aggregation, normalisation and nearest neighbours against plain loops, as ratios of one run.

    python benchmarks/evaluate.py [--rows 20000] [--features 1152] [--large]

A loop runs on a part of the table that takes it seconds and is scaled up, as it has a fixed price a
group or a profile; both answers are compared first. Ratios depend on the machine far less than
seconds do.
"""

import argparse
import resource
import time

import numpy as np
import pandas as pd

from unidino import evaluate, profiles


def table(rows, features, seed=0):
    """Sites: 4 a well, 96 wells a plate, 8 of them controls."""
    rng = np.random.default_rng(seed)
    well = np.arange(rows) // 4
    compound = rng.integers(0, max(2, rows // 40), well[-1] + 1)
    frame = pd.DataFrame(
        {
            "Metadata_Batch": well // 960,
            "Metadata_Plate": well // 96,
            "Metadata_Well": well % 96,
            "Metadata_compound": compound[well],
            "Metadata_moa": compound[well] % 24,
            "Metadata_control_type": np.where(well % 96 < 16, "negcon", None),
        }
    )
    values = rng.standard_normal((rows, features), dtype=np.float32)
    names = [f"emb_DNA_{i:04d}" for i in range(features)]
    return pd.concat([frame, pd.DataFrame(values, columns=names)], axis=1), names


def seconds(function, *arguments, **options):
    """(result, seconds)."""
    start = time.perf_counter()
    made = function(*arguments, **options)
    return made, time.perf_counter() - start


def loop_aggregate(sites, names, groups):
    """Every row compared with every group."""
    made = []
    for plate, well in groups:
        same = (sites["Metadata_Plate"] == plate) & (sites["Metadata_Well"] == well)
        made.append(sites.loc[same, names].to_numpy().mean(0))
    return np.array(made)


def loop_nearest(values, frame, rows):
    """One profile at a time: distances to all, then the nearest that is allowed."""
    made = []
    lengths = np.sqrt((values**2).sum(1))
    for i in rows:
        distances = 1 - values @ values[i] / (lengths * lengths[i])
        for j in np.argsort(distances, kind="stable"):
            other = frame["Metadata_compound"][i] != frame["Metadata_compound"][j]
            if j != i and other and frame["Metadata_Batch"][i] != frame["Metadata_Batch"][j]:
                made.append(j)
                break
    return np.array(made)


def report(name, quick, slow, what):
    print(f"{name:<28}{quick:>9.2f} s{slow:>12.1f} s{slow / quick:>9.0f} x   {what}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--features", type=int, default=1152)
    parser.add_argument("--large", action="store_true", help="also 100,000 rows of 2000 features")
    options = parser.parse_args()
    sites, names = table(options.rows, options.features)
    print(f"{len(sites)} sites of {len(names)} features")
    print(f"{'':<28}{'here':>11}{'loop':>14}{'ratio':>11}")

    wells, quick = seconds(profiles.aggregate, sites)
    some = wells.iloc[:: max(1, len(wells) // 100)]
    groups = some[["Metadata_Plate", "Metadata_Well"]].to_numpy()
    expected, slow = seconds(loop_aggregate, sites, names, groups)
    np.testing.assert_allclose(some[names].to_numpy(), expected, rtol=1e-4, atol=1e-6)
    report("sites to wells", quick, slow * len(wells) / len(some), f"{len(wells)} wells")

    made, quick = seconds(profiles.normalise, wells)
    plates = wells["Metadata_Plate"].nunique()
    print(f"{'normalisation':<28}{quick:>9.2f} s{'':<26}{plates} plates, by pycytominer")

    wells = made.profiles
    exclude = ["compound", "batch"]
    found, quick = seconds(evaluate.nearest_neighbour_accuracy, wells, "moa", exclude)
    rows = np.arange(0, len(wells), max(1, len(wells) // 50))
    expected, slow = seconds(loop_nearest, wells[names].to_numpy(float), wells, rows)
    np.testing.assert_array_equal(found.neighbours["neighbour"].to_numpy()[rows], expected)
    report("nearest neighbours (NSCB)", quick, slow * len(wells) / len(rows), f"{found.n} wells")

    if options.large:
        del sites, wells, made
        sites, names = table(100_000, 2000)
        print(f"{len(sites)} sites of {len(names)} features")
        for operation in profiles.OPERATIONS:
            wells, quick = seconds(profiles.aggregate, sites, None, operation)
            print(f"{'sites to wells, ' + operation:<28}{quick:>9.2f} s")
        few = sites.drop(columns=names[256:])
        found, quick = seconds(evaluate.nearest_neighbour_accuracy, few, "moa", exclude)
        print(f"{'nearest neighbours':<28}{quick:>9.2f} s   {found.n} profiles of 256 features")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak memory {peak:.1f} GB")


if __name__ == "__main__":
    main()
