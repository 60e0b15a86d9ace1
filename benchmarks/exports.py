"""How long it takes to understand the folder of a microscope's export, before any image is opened.

    python benchmarks/exports.py [--plates 18]

Empty files under the names of 18 plates of 384 wells, 9 sites and 5 channels, in a temporary
folder; the index of Harmony is of one such plate, with as many elements an image as Harmony
writes. Seconds of the processor, the listing of the folder and the check that files are there
included; without the time of a disk that is slow to list.

Printed on two cores that others used, too:

Phenix, by names          311,040 images  62,208 sites    1.9 s
Phenix, by a pattern      311,040 images  62,208 sites    2.1 s
ImageXpress, by names     311,040 images  62,208 sites    2.0 s
Phenix, by its index       17,280 images   3,456 sites    0.6 s
"""

import argparse
import contextlib
import os
import random
import tempfile
import time
import uuid
from pathlib import Path

from unidino import valsets

WELLS = [(row, column) for row in range(1, 17) for column in range(1, 25)]
PATTERN = r"(?P<plate>[^/]+)__.*/(?P<well>r\d+c\d+)f(?P<site>\d+)p(?P<plane>\d+)-(?P<channel>ch\d)"
# What else Harmony writes of every image, as text of about the same length.
_MORE = "".join(f"<Other{n}>1.5E-03</Other{n}>" for n in range(24))


def phenix(plate):
    """(folder, names) of a plate of an Opera Phenix."""
    names = [
        f"r{row:02d}c{column:02d}f{site:02d}p01-ch{channel}sk1fk1fl1.tiff"
        for row, column in WELLS
        for site in range(1, 10)
        for channel in range(1, 6)
    ]
    return f"BR{plate:05d}__2021-05-02T16_02_51-Measurement 1/Images", names


def imagexpress(plate):
    """(folder, names) of a plate of an ImageXpress."""
    rng = random.Random(plate)
    names = [
        f"screen_{chr(64 + row)}{column:02d}_s{site}_w{channel}"
        f"{str(uuid.UUID(int=rng.getrandbits(128))).upper()}.tif"
        for row, column in WELLS
        for site in range(1, 10)
        for channel in range(1, 6)
    ]
    return f"{1000 + plate}/TimePoint_1", names


def touch(root, folder, names):
    """Empty files."""
    path = Path(root, folder)
    path.mkdir(parents=True)
    for name in names:
        os.close(os.open(path / name, os.O_CREAT))
    return path


def write_index(folder, names):
    """An index of these files of a Phenix."""
    images = []
    for name in names:
        row, column, site, channel = name[1:3], name[4:6], name[7:9], name[15]
        images.append(
            f"<Image><id>1</id><State>Ok</State><URL>{name}</URL><Row>{int(row)}</Row>"
            f"<Col>{int(column)}</Col><FieldID>{int(site)}</FieldID><PlaneID>1</PlaneID>"
            f"<TimepointID>0</TimepointID><ChannelID>{channel}</ChannelID><ChannelName>stain "
            f"{channel}</ChannelName><ImageResolutionX>6E-07</ImageResolutionX>{_MORE}</Image>"
        )
    text = "\n".join(images)
    space = "http://www.perkinelmer.com/PEHH/HarmonyV5"
    (folder / "Index.idx.xml").write_text(
        f'<EvaluationInputData xmlns="{space}"><Images>{text}</Images></EvaluationInputData>'
    )


def measured(what, count, root, **options):
    """Print the processor seconds of opening a folder."""
    start = time.process_time()
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        metadata = valsets.open_valset(root, **options)
    seconds = time.process_time() - start
    print(f"{what:24}{count:>9,} images{len(metadata.metadata):>8,} sites{seconds:7.1f} s")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--plates", type=int, default=18)
    plates = parser.parse_args().plates
    with tempfile.TemporaryDirectory() as folder:
        for what, layout in (("Phenix, by names", phenix), ("ImageXpress, by names", imagexpress)):
            root = Path(folder, layout.__name__)
            made = [layout(plate) for plate in range(plates)]
            for one in made:
                touch(root, *one)
            count = sum(len(names) for _, names in made)
            measured(what, count, root)
            if layout is phenix:
                measured("Phenix, by a pattern", count, root, pattern=PATTERN)
        where, names = phenix(0)
        write_index(touch(Path(folder, "index"), where, names), names)
        measured("Phenix, by its index", len(names), Path(folder, "index"))


if __name__ == "__main__":
    main()
