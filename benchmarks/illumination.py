"""How well uneven light is found, beside CellProfiler's ways of finding it.

    python benchmarks/illumination.py [--figure book/static/illumination.png]

Planted: 384 simulated fields of 324 x 324 pixels in a light that falls by a half to the corners and
whose centre wanders from field to field, as the simulated microscope has it; the error is that of
the function, scaled to mean 1, against the mean light. Each way is given the mean image of some of
the fields; an offset is a constant that the camera adds and no light falls on.
Embedded: 96 such fields by the demo model, in even light, in the planted light, and corrected.
Real: functions of one half of a set's images, by which the mean image of the other half is divided;
the coefficient of variation of that mean over 8 x 8 tiles, averaged over 20 ways to halve the set.
Cells that lie unevenly by chance are in it, so that even light would not give 0. The eight images
of the time lapse show the same cells, so that its halves are not independent.

- local lines: `unidino.flatfield`; told: the standard error that it says, from two halves
- median: as in the pipelines of JUMP, the mean image shrunk to 108 pixels (a tenth of their
  fields), median filter of size 20, rescaled by the robust minimum
- polynomial: "Fit Polynomial" of CellProfiler's own library, centrosome, on the same shrunk image
  (`pip install 'unidino[measure]'`)

Printed on two cores, in 5 minutes:

light found, offset 0: error in %, root mean square (at most)
DNA                     24 sites        96 sites       384 sites
  as it is           14.7 (68.0)     14.7 (68.0)     14.7 (68.0)
  local lines         9.0 (31.0)      3.8 (14.1)      2.2 (13.9)
  median             15.1 (51.5)      6.5 (26.0)      3.9 (22.7)
  polynomial          7.3 (22.8)      2.4 (11.9)      1.3 (14.0)
  told                7.9             4.4             2.1
Tubulin                 24 sites        96 sites       384 sites
  as it is           14.7 (68.0)     14.7 (68.0)     14.7 (68.0)
  local lines         7.7 (24.8)      2.6 ( 6.3)      1.6 ( 8.6)
  median              9.7 (28.9)      4.5 (19.6)      2.8 (20.3)
  polynomial          7.7 (23.0)      1.9 (13.3)      1.4 (14.8)
  told                4.7             2.8             1.1

light found, offset 200: error in %, root mean square (at most)
DNA                     24 sites        96 sites       384 sites
  as it is           14.7 (68.0)     14.7 (68.0)     14.7 (68.0)
  local lines         7.9 (36.7)      3.8 (22.2)      2.9 (19.7)
  median             12.9 (48.0)      6.2 (32.2)      4.4 (30.2)
  polynomial          6.0 (20.5)      2.2 (21.1)      1.9 (22.9)
  the offset is 17% of the mean
Tubulin                 24 sites        96 sites       384 sites
  as it is           14.7 (68.0)     14.7 (68.0)     14.7 (68.0)
  local lines         7.0 (29.7)      2.7 (12.6)      2.0 (15.5)
  median              8.8 (31.1)      4.5 (25.1)      3.3 (25.7)
  polynomial          6.8 (28.1)      1.8 (19.5)      1.6 (20.9)
  the offset is 11% of the mean

embeddings of 96 fields: distance from those in even light, in distances
between two fields (median)
  left as it is        0.222
  estimated here       0.047
  the planted light    0.001

mean image of the other half: coefficient of variation over tiles, %
                                       as it is  local lines       median   polynomial
human cells, plate AS_09047 (58)           24.6          4.5          4.0          6.5
mouse stem cells, time lapse (8)            8.9          1.1          1.2          1.6
U2OS plate, GFP (96)                       11.9         10.0         10.9         11.8
U2OS plate, DNA (96)                       11.5          7.5          8.1          9.0

The width of the lines, a tenth of the shorter side, was chosen among 1/6 to 1/16 on the real sets.
Of the planted light, which is a paraboloid, a polynomial of the second degree misses nothing by its
shape; of real light it misses most. Local lines are nearer to the planted light than the median at
every number of fields, and on real images as good or better in three sets of four.
"""

import argparse
import re
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile
from PIL import Image

import unidino
from unidino import dataset, flatfield, paths, plate_illumination
from unidino.pages import plots
from unidino.simulate import cells, datasets, layouts
from unidino.simulate.microscope import Camera

SIDE, VIGNETTE, WANDER = 324, 0.5, 0.15
STAINS = {"DNA": "dna", "Tubulin": "tubulin"}
SITES = (24, 96, 384)
OFFSETS = (0, 200)
SPLITS, TILES = 20, 8
EMBEDDED = 96


def cellprofiler(mean, smooth):
    """CorrectIlluminationCalculate on the mean image: shrunk to a tenth of a field of 1080 pixels,
    smoothed, rescaled by the robust minimum, enlarged."""
    from skimage.transform import resize

    shape = [round(side * 108 / min(mean.shape)) for side in mean.shape]
    small = smooth(resize(mean / 65535, shape, order=1, mode="symmetric"))
    lowest = np.sort(small[small > 0])[int((small > 0).sum() * 0.02)]
    return resize(np.maximum(small, lowest) / lowest, mean.shape, order=1, mode="symmetric")


def median(small):
    """Smoothing method "Median Filter" of size 20, as the pipelines of JUMP have it."""
    from skimage.filters import median as filtered
    from skimage.morphology import disk

    sixteen = (small * 65535).astype(np.uint16)
    return filtered(sixteen, disk(int(20 / 2.35 + 0.5)), behavior="rank") / 65535


def polynomial(small):
    """Smoothing method "Fit Polynomial", by CellProfiler's own library."""
    from centrosome.smooth import fit_polynomial

    return fit_polynomial(small, np.ones(small.shape, bool))


def local_lines(mean):
    means = flatfield.block_means(flatfield.block_sums(mean), 1, mean.shape)
    return flatfield.function(means, mean.shape)


METHODS = {
    "as it is": np.ones_like,
    "local lines": local_lines,
    "median": lambda mean: cellprofiler(mean, median),
    "polynomial": lambda mean: cellprofiler(mean, polynomial),
}


def write(folder, count, vignette, light=1.0):
    """A plate of fields of cells in uneven light; its table."""
    folder.mkdir(parents=True, exist_ok=True)
    camera = Camera(vignette=vignette, offset=0.0)
    rows = []
    for i in range(count):
        site = layouts.Site(
            files=[],
            stains=list(STAINS.values()),
            name=f"light|{i}",
            mechanism=None,
            strength=0.0,
            cell_type=cells.CellType(),
            camera=camera,
            shape=(SIDE, SIDE),
            gains=[1.0] * len(STAINS),
        )
        row = {"plate": "p", "well": f"{'ABCDEFGHIJKLMNOP'[i // 24]}{i % 24 + 1:02d}"}
        for channel, plane in zip(STAINS, datasets.draw(site, 0), strict=True):
            row[channel] = f"{i}_{channel}.tif"
            tifffile.imwrite(folder / row[channel], np.rint(plane * light).astype(plane.dtype))
        rows.append(row)
    pd.DataFrame(rows).to_csv(folder / "plate.csv", index=False)
    return str(folder / "plate.csv")


def planted():
    """The light that all fields share: the mean over the places where its centre wanders."""
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    return 1 - VIGNETTE * (y**2 + x**2 + 2 * WANDER**2) / 2


def deviation(found, light):
    """How far a function is from the light, both scaled to mean 1: root mean square, at most."""
    ratio = (found / found.mean()) / (light / light.mean()) - 1
    return 100 * np.sqrt((ratio**2).mean()), 100 * np.abs(ratio).max()


def simulated():
    with tempfile.TemporaryDirectory() as folder:
        metadata = unidino.open_valset(write(Path(folder), max(SITES), VIGNETTE))
        order = dataset.sample_rows(metadata, 0)
        stack = np.stack([dataset.load_site(metadata, i) for i in order])
        told = {
            count: plate_illumination.estimate(metadata, order, "p", sites=count)[1]
            for count in SITES
        }
    light = planted()
    head = "".join(f"{f'{count} sites':>16}" for count in SITES)
    for offset in OFFSETS:
        print(f"\nlight found, offset {offset}: error in %, root mean square (at most)")
        for c, channel in enumerate(STAINS):
            print(f"{channel:16}{head}")
            for name, method in METHODS.items():
                line = f"  {name:14}"
                for count in SITES:
                    mean = stack[:count, c].astype(float).mean(0) + offset
                    error, most = deviation(method(mean), light)
                    line += f"{error:9.1f} ({most:4.1f})"
                print(line)
            if offset == 0:
                errors = "".join(f"{100 * told[count][c]['error']:9.1f}       " for count in SITES)
                print(f"  {'told':14}{errors.rstrip()}")
            share = offset / (offset + stack[:, c].mean())
            if offset:
                print(f"  the offset is {share:.0%} of the mean")


def embedded():
    """How far uneven light moves embeddings, and how far they are from even light's again."""
    light = planted()

    def features(folder, name, table, **options):
        made = unidino.extract(
            table,
            outdir=str(folder / name),
            norm_method="no_post_proc",
            operation="none",
            precision="fp32",
            **options,
        )
        return made.profiles.filter(regex="^emb_").to_numpy()

    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        np.save(folder / "light.npy", light)
        even = write(folder / "even", EMBEDDED, 0.0)
        uneven = write(folder / "uneven", EMBEDDED, 0.0, light)
        truth = features(folder, "even", even)
        found = {
            "left as it is": features(folder, "left", uneven),
            "estimated here": features(folder, "estimated", uneven, illumination="estimate"),
            "the planted light": features(
                folder, "given", uneven, illumination=str(folder / "light.npy")
            ),
        }
    spread = truth.std(0)
    apart = np.linalg.norm((truth[:, None] - truth[None]) / spread, axis=2)
    usual = np.median(apart[np.triu_indices(len(truth), 1)])
    print(f"\nembeddings of {EMBEDDED} fields: distance from those in even light, in distances")
    print("between two fields (median)")
    for name, values in found.items():
        moved = np.median(np.linalg.norm((values - truth) / spread, axis=1)) / usual
        print(f"  {name:20}{moved:6.3f}")


def read(files):
    def one(file):
        return tifffile.imread(file) if file.suffix == ".tif" else np.asarray(Image.open(file))

    return np.stack([one(file) for file in files]).astype(float)


def uneven(image):
    """Coefficient of variation over the tiles of an image, in %."""
    height, width = (flatfield.edges(side, TILES) for side in image.shape)
    tiles = [
        image[a:b, c:d].mean()
        for a, b in zip(height, height[1:], strict=False)
        for c, d in zip(width, width[1:], strict=False)
    ]
    return 100 * np.std(tiles) / np.mean(tiles)


def real():
    root = paths.real_data_root()
    if root is None:
        print("\nreal images are absent: set UNIDINO_REAL to their folder")
        return
    sets = {"human cells, plate AS_09047": sorted((root / "train_more/cp_illum").glob("*.png"))}
    sets["mouse stem cells, time lapse"] = sorted((root / "train_more/basicpy_nanog").glob("*.png"))
    sbs = sorted((root / "sbs_translocation_plate/images").glob("*.tif"))
    for channel, name in (("1", "GFP"), ("2", "DNA")):
        mine = [file for file in sbs if re.match(f"Channel{channel}-", file.name)]
        sets[f"U2OS plate, {name}"] = mine
    print("\nmean image of the other half: coefficient of variation over tiles, %")
    print(f"{'':34}" + "".join(f"{name:>13}" for name in METHODS))
    rng = np.random.default_rng(0)
    for name, files in sets.items():
        stack = read(files)
        found = []
        for _ in range(SPLITS):
            rows = rng.permutation(len(stack))
            half, other = np.array_split(rows, 2)
            mean, apart = stack[half].mean(0), stack[other].mean(0)
            found.append([uneven(apart / method(mean)) for method in METHODS.values()])
        line = "".join(f"{value:13.1f}" for value in np.mean(found, 0))
        print(f"{f'{name} ({len(files)})':34}{line}")


def draw(path):
    """One half's function, the other half's mean image before and after, as pages show them."""
    root = paths.real_data_root()
    if root is None:
        raise SystemExit("real images are absent: set UNIDINO_REAL to their folder")
    stack = read(sorted((root / "train_more/cp_illum").glob("*.png")))
    half, other = np.array_split(np.random.default_rng(0).permutation(len(stack)), 2)
    function, before = local_lines(stack[half].mean(0)), stack[other].mean(0)

    def blocks(plane):
        return flatfield.block_means(flatfield.block_sums(plane), 1, plane.shape)[None]

    means = [blocks(image / image.mean()) for image in (before, before / function)]
    heading = f"AS_09047: function of {len(half)} fields, mean of {len(other)} others"
    figure = plots.illumination(blocks(function), *means, ["channel d2"], heading)
    figure.savefig(path, dpi=120)
    Image.open(path).convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE).save(path)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--figure", type=Path, help="draw the figure of the book, and nothing else")
    path = parser.parse_args().figure
    if path:
        draw(path)
        return
    simulated()
    embedded()
    real()


if __name__ == "__main__":
    main()
