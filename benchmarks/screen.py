"""What a screen takes: tiles, GPU hours, processor hours and bytes, from rates that were measured.

    python benchmarks/screen.py [--rates benchmarks/gpu-h200.txt] [--plates 1000]

A site has five channels of 1080 x 1080 pixels of 16 bits, a plate 384 wells of nine sites; a ViT-S
embeds its tiles of 224 pixels, all of them kept. The JUMP-CP images of the published training mix
are 852,600 planes, 170,520 sites (doi 10.1016/j.csbj.2025.02.020). GPU hours are those at the
rate from files that was measured, without what is done once, and the least, those of the forward
pass alone, once enough processes read; hours of a processor are for reading.

Printed from the rates of one H200:

                              sites        tiles    GPU h  GPU h least    CPU h  images GB  sites GB
    a plate                   3,456      432,000     0.01         0.00     0.22      40.31      0.03
    JUMP-CP, training mix   170,520   21,315,000     0.66         0.21    10.75   1,988.95      1.31
    1000 plates           3,456,000  432,000,000    13.41         4.21   217.92  40,310.78     26.54
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
    heads = ("sites", "tiles", "GPU h", "GPU h least", "CPU h", "images GB", "sites GB")
    widths = (9, 13, 9, 13, 9, 11, 10)
    print(f"{'':22}" + "".join(f"{head:>{n}}" for head, n in zip(heads, widths, strict=True)))
    for name, sites in screens.items():
        tiles = sites * TILES
        values = [f"{sites:,}", f"{tiles:,}"]
        values += [f"{tiles / rate / 3600:,.2f}" for rate in (files, forward)]
        values.append(f"{sites * reading / 3600:,.2f}")
        values += [f"{sites * CHANNELS * n / 1e9:,.2f}" for n in (2 * SIDE**2, 4 * WIDTH)]
        print(f"{name:22}" + "".join(f"{v:>{n}}" for v, n in zip(values, widths, strict=True)))


if __name__ == "__main__":
    main()
