"""What a screen takes: tiles, GPU hours, processor hours and bytes, from rates that were measured.

    python benchmarks/screen.py [--rates benchmarks/gpu-h200.txt] [--plates 1000]

A site has five channels of 1080 x 1080 pixels of 16 bits, a plate 384 wells of nine sites; a ViT-S
embeds its tiles of 224 pixels, all of them kept. The JUMP-CP images of the published training mix
are 852,600 planes, 170,520 sites (doi 10.1016/j.csbj.2025.02.020). "As measured" is the rate from
files beside that many reading processes, without what is done once; "by the GPU" what its forward
pass alone would take, once enough processes read.

Printed from the rates of one H200:

                                               GPU hours,    by the  hours of a   images    sites
    screen                   sites        tiles  as measured    GPU  processor       GB       GB
    a plate                  3,456      432,000         0.01   0.00       0.22       40     0.03
    JUMP-CP, training mix  170,520   21,315,000         0.66   0.21      10.75    1,989     1.31
    1000 plates          3,456,000  432,000,000        13.41   4.21     217.92   40,311    26.54
"""

import argparse
import math
import re
from pathlib import Path

CHANNELS, SIDE, TILE, WIDTH = 5, 1080, 224, 384
TILES = CHANNELS * math.ceil(SIDE / TILE) ** 2
PLATE, TRAINING_MIX = 384 * 9, 852_600 // CHANNELS


def rates(file):
    """(forward in bf16, from files: tiles a second; seconds of a processor to read a site)."""
    text = Path(file).read_text()

    def numbers(pattern):
        found = [float(n.replace(",", "")) for n in re.findall(pattern, text)]
        if not found:
            raise SystemExit(f"{file} is no table of gpu.py: it has no line like {pattern!r}")
        return found

    forward = max(numbers(r"forward, .*, bf16, batch \d+: ([\d,]+) tiles/s"))
    files = max(numbers(r"without what is done once ([\d,]+) tiles/s"))
    reading = min(numbers(r"(\d+) with measures and tiles")) / 1e3
    return forward, files, reading


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rates", default=Path(__file__).with_name("gpu-h200.txt"))
    parser.add_argument("--plates", type=int, default=1000)
    given = parser.parse_args()
    forward, files, reading = rates(given.rates)
    screens = {
        "a plate": PLATE,
        "JUMP-CP, training mix": TRAINING_MIX,
        f"{given.plates} plates": given.plates * PLATE,
    }
    print(
        "                                           GPU hours,    by the  hours of a   images    sites"
    )
    print(
        "screen                   sites        tiles  as measured    GPU  processor       GB       GB"
    )
    for name, sites in screens.items():
        tiles = sites * TILES
        print(
            f"{name:21}{sites:9,}{tiles:13,}{tiles / files / 3600:13,.2f}"
            f"{tiles / forward / 3600:7,.2f}{sites * reading / 3600:11,.2f}"
            f"{sites * CHANNELS * SIDE**2 * 2 / 1e9:9,.0f}{sites * CHANNELS * WIDTH * 4 / 1e9:9,.2f}"
        )


if __name__ == "__main__":
    main()
