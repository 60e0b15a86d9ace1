"""The real images in one small file, for a machine that sees nothing else: pack here, unpack there.

``python -m unidino.demo.parcel pack OUTDIR FILE`` and ``… unpack FILE OUTDIR``. The images become
JPEGs of 8 bits, which costs a little of what they hold; training where the images themselves can be
had is better done on these.
"""

import argparse
import io
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile
from PIL import Image

from .. import arguments, tables

QUALITY = 92
"""Of the JPEGs."""

_TAILS = (0.01, 99.99)
"""Percentiles of a plate between which deeper intensities become 0 to 255."""

_TABLE = "train_mix.csv"


def pack(outdir, file, part=1, parts=1):
    """Write every `parts`-th image of ``<outdir>/train_mix.csv``, and its rows, into a zip file.

    Parameters
    ----------
    outdir : str or Path
        Folder of `data.write_train_mix`.
    file : str or Path
    part, parts : int
        Which part of how many, from 1; each holds images of every source.

    Raises
    ------
    ValueError
        Parts out of range.
    """
    arguments.check_positive("parts", parts)
    if not 1 <= part <= parts:
        raise ValueError(f"part is {part}; expected 1 to {parts}, the number of parts.")
    outdir = Path(outdir)
    frame = pd.read_csv(outdir / _TABLE)
    mine = frame.index % parts == part - 1
    with tables.atomic_path(file) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        listed = frame[mine].assign(
            path=frame["path"].map(lambda p: str(Path(p).with_suffix(".jpg")))
        )
        archive.writestr(_TABLE, listed.to_csv(index=False, lineterminator="\n"))
        for _, plate in frame.groupby("plate", sort=False):
            read = {name: tifffile.imread(outdir / name) for name in plate["path"]}
            limits = _limits(list(read.values()))
            for name in plate["path"][mine[plate.index]]:
                content = io.BytesIO()
                image = Image.fromarray(_bytes(read[name], limits))
                image.save(content, "JPEG", quality=QUALITY)
                archive.writestr(_jpeg(name), content.getvalue())


def _jpeg(name):
    return str(Path(name).with_suffix(".jpg"))


def _limits(images):
    """Intensities of a plate that become 0 and 255; None where it has 8 bits."""
    if all(image.dtype == np.uint8 for image in images):
        return None
    low, high = np.percentile(np.concatenate([image.ravel() for image in images]), _TAILS)
    return low, max(high, low + 1)


def _bytes(image, limits):
    if limits is None:
        return image
    low, high = limits
    return np.rint(np.clip((image - low) / (high - low), 0, 1) * 255).astype(np.uint8)


def unpack(files, outdir):
    """The images of parts as uncompressed TIFFs below `outdir`, listed in its ``train_mix.csv``.

    Parameters
    ----------
    files : sequence of str or Path
        From `pack`.
    outdir : str or Path

    Returns
    -------
    pd.DataFrame
        As of `data.write_train_mix`.
    """
    outdir = Path(outdir)
    listed = []
    for file in files:
        with zipfile.ZipFile(file) as archive:
            frame = pd.read_csv(io.BytesIO(archive.read(_TABLE)))
            for name in frame["path"]:
                image = np.asarray(Image.open(io.BytesIO(archive.read(name))))
                copy = (outdir / name).with_suffix(".tif")
                copy.parent.mkdir(parents=True, exist_ok=True)
                tifffile.imwrite(copy, image, metadata=None, software=False)
            listed.append(frame)
    frame = pd.concat(listed, ignore_index=True)
    frame["path"] = frame["path"].map(lambda name: str(Path(name).with_suffix(".tif")))
    with tables.atomic_path(outdir / _TABLE) as temporary:
        frame.to_csv(temporary, index=False, lineterminator="\n")
    return frame


def main(argv=None):
    """The command line."""
    parser = argparse.ArgumentParser("python -m unidino.demo.parcel", description=__doc__)
    actions = parser.add_subparsers(dest="action", required=True)
    packing = actions.add_parser("pack", help="from a folder into a file")
    packing.add_argument("outdir", help="folder of python -m unidino.demo.data")
    packing.add_argument("file", help="zip file to write")
    packing.add_argument("--part", type=int, default=1, help="which part, from 1")
    packing.add_argument("--parts", type=int, default=1, help="of how many")
    unpacking = actions.add_parser("unpack", help="from files into a folder")
    unpacking.add_argument("file", nargs="+", help="of pack")
    unpacking.add_argument("outdir", help="folder to fill")
    given = parser.parse_args(argv)
    try:
        if given.action == "pack":
            pack(given.outdir, given.file, given.part, given.parts)
        else:
            unpack(given.file, given.outdir)
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
