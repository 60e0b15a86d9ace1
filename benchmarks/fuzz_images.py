"""Damaged image files: each is read, or refused with an error that names it.

    python -m benchmarks.fuzz_images 3000

Small TIFF, PNG, JPEG and NPY files are damaged in their headers or anywhere, or say that they are
up to 60,000 pixels wide and high, and are read as a whole, by their headers, and in windows. Prints
how many ended how; anything but "read" and "refused" is a fault, as is a case that does not end or
that takes more than `MOST` of memory, and ends the run with exit status 1.

``python -m benchmarks.fuzz_images 32000 --seed 1``: 5373 read, 26627 refused, 0 faults; 45 CPU s,
at most 0.34 GiB of memory.
"""

import argparse
import collections
import logging
import re
import struct
import sys
import tempfile
import warnings
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
from PIL import Image

from benchmarks.fuzzing import Hung, most_memory, took, within
from unidino import images
from unidino.train.windows import PlaneReader

MOST = 64 * 2**20
"""Bytes that the process may grow by in a case: the files are of some KB."""

SIDES = (0, 1, 39, 41, 1000, 20_000, 30_000, 60_000)
"""What files say of their width and height; 60,000 squared is above `image_parts.MAX_PIXELS`."""


def originals(folder, rng):
    """One file of every kind; a list of paths."""
    stack = rng.integers(0, 65535, (3, 40, 52), dtype=np.uint16)
    bytes3 = (stack >> 8).astype(np.uint8)
    last = np.ascontiguousarray(np.moveaxis(stack, 0, 2))
    grey = {"photometric": "minisblack"}
    tiffs = {
        "plain": (stack[0], {}),
        "float": ((stack[0] / 65535).astype(np.float32), {}),
        "paged": (stack, grey | {"metadata": None}),
        "ome.ome": (stack, grey | {"metadata": {"axes": "CYX"}}),
        "imagej": (stack, {"imagej": True, "metadata": {"axes": "CYX"}}),
        "deflate": (stack, grey | {"compression": "zlib", "predictor": True, "rowsperstrip": 7}),
        "lzw": (stack[0], {"compression": "lzw", "tile": (16, 32)}),
        "jpeg": (bytes3[0], {"compression": "jpeg", "tile": (16, 16)}),
        "colour": (np.moveaxis(bytes3, 0, 2).copy(), {"photometric": "rgb"}),
        "big": (stack[0], {"bigtiff": True, "byteorder": ">"}),
    }
    for name, (array, options) in tiffs.items():
        tifffile.imwrite(folder / f"{name}.tif", array, **options)
    Image.fromarray(bytes3[0]).save(folder / "grey.png")
    Image.fromarray(stack[0]).save(folder / "grey16.png")
    (folder / "deep.png").write_bytes(imagecodecs.png_encode(last))
    Image.fromarray(np.moveaxis(bytes3, 0, 2).copy()).save(folder / "colour.jpg")
    np.save(folder / "plane.npy", stack[0])
    np.save(folder / "stack.npy", stack.astype(">f4"))
    return sorted(path for path in folder.iterdir() if path.is_file())


def damaged(data, rng):
    """The bytes of a file with one to four damages, mostly near its beginning or end."""
    data = bytearray(data)
    for _ in range(rng.integers(1, 5)):
        near = rng.choice([64, 512, max(len(data), 1)])
        at = int(rng.integers(min(near, max(len(data), 1))))
        at = len(data) - 1 - at if rng.random() < 0.3 else at
        kind = rng.integers(6)
        if kind == 0:
            data[at : at + 1] = bytes([rng.integers(256)])
        elif kind == 1:
            size = int(rng.choice([2, 4, 8]))
            value = int(rng.choice([0, 1, 2**15, 2**16 - 1, 2**31 - 1, 2**32 - 1, 2**63 - 1]))
            value = (value & (1 << 8 * size) - 1).to_bytes(size, str(rng.choice(["little", "big"])))
            data[at : at + size] = value
        elif kind == 2:
            del data[at:]
        elif kind == 3:
            del data[at : at + int(rng.integers(1, 40))]
        elif kind == 4:
            data[at:at] = rng.bytes(int(rng.integers(1, 40)))
        else:
            data[at : at + 20] = bytes(20)
    return bytes(data)


def declared(data, suffix, rng, sides=None):
    """The bytes of a file that says it has another height and width, otherwise whole."""
    data = bytearray(data)
    height, width = (int(side) for side in sides or rng.choice(SIDES, 2))
    if suffix == ".png":
        data[16:24] = struct.pack(">II", width, height)
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    elif suffix == ".jpg":
        at = re.search(rb"\xff[\xc0-\xc2]..\x08", data, re.DOTALL).end()
        data[at : at + 4] = struct.pack(">HH", height, width)
    elif suffix == ".npy":
        said = re.search(rb"40, 52\), *}( *)", data)
        text = f"{height}, {width}), }}".encode()
        data[said.start() : said.end()] = text.ljust(len(said[0]))
    else:
        _declare_tiff(data, height, width)
    return bytes(data)


def _declare_tiff(data, height, width):
    """Write other sizes into the first page of a TIFF, of either size and byte order."""
    order = "<" if data[:2] == b"II" else ">"
    big = struct.unpack_from(order + "H", data, 2)[0] == 43
    at = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)[0]
    count = struct.unpack_from(order + ("Q" if big else "H"), data, at)[0]
    at, step = at + (8 if big else 2), 20 if big else 12
    for entry in range(at, at + step * count, step):
        tag, kind = struct.unpack_from(order + "HH", data, entry)
        if tag in (256, 257):
            value = width if tag == 256 else height
            struct.pack_into(
                order + {3: "H", 4: "I", 16: "Q"}[kind], data, entry + step - 4 * (1 + big), value
            )


def outcome(path, limit=MOST):
    """How reading a file ends: "read", "refused", or the fault in words."""
    before = most_memory()
    try:
        with within():
            ended = _outcome(path)
    except Hung as error:
        return f"fault: took {error}"
    more = most_memory() - before
    return f"fault: took {more / 2**20:.0f} MiB ({ended})" if more > limit else ended


def _outcome(path):
    try:
        header = images.image_header(path, "first")
        image = images.read_image(path, "first")
        if (image.shape, image.dtype) != (
            (header.channels, header.height, header.width),
            header.dtype,
        ):
            return "fault: another image than its header says"
        plane = PlaneReader("first").plane(path, 0)
        if not np.array_equal(plane, image[0]):
            return "fault: another plane than that of the image"
        return "read"
    except (ValueError, OSError) as error:
        named = str(error).startswith(f"{path}:") and "\n" not in str(error)
        return "refused" if named else f"fault: not named: {error!r:.200}"
    except Exception as error:
        return f"fault: {error!r:.200}"


def cases(folder, count, seed=0):
    """Read damaged files, one after another: (number, name of the whole file, how it ended)."""
    rng = np.random.default_rng(seed)
    files = originals(folder, rng)
    for number in range(count):
        source = files[number % len(files)]
        path = folder / f"damaged_{source.name}"
        data = source.read_bytes()
        says = number // len(files) % 4 == 0
        path.write_bytes(declared(data, source.suffix, rng) if says else damaged(data, rng))
        yield number, source.name, outcome(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("count", type=int, nargs="?", default=1000, help="damaged files to read")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)  # the decoders' own remarks
    warnings.simplefilter("ignore")
    table = collections.defaultdict(collections.Counter)
    with tempfile.TemporaryDirectory() as folder:
        for number, name, ended in cases(Path(folder), given.count, given.seed):
            table[name][ended] += 1
            if ended.startswith("fault"):
                print(f"{number} {name}: {ended}", flush=True)
    for name, counts in table.items():
        print(f"{name:12}", "  ".join(f"{n} {what}" for what, n in sorted(counts.items())))
    total = sum(table.values(), collections.Counter())
    faults = sum(n for what, n in total.items() if what.startswith("fault"))
    read, refused = total["read"], total["refused"]
    print(f"{given.count} files: {read} read, {refused} refused, {faults} faults; {took()}")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
