"""Damaged image files: each is read, or refused with an error that names it.

    python benchmarks/fuzz_images.py 3000

Small TIFF, PNG, JPEG and NPY files are damaged in their headers or anywhere, and read as a whole,
by their headers, and in windows. Prints how many ended how; anything but "read" and "refused" is a
fault, and ends the run with exit status 1.
"""

import argparse
import collections
import logging
import sys
import tempfile
import time
import warnings
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
from PIL import Image

from unidino import images
from unidino.train.windows import PlaneReader

SLOW = 5.0  # seconds


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


def outcome(path):
    """How reading a file ends: "read", "refused", or the fault in words."""
    start = time.perf_counter()
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
        ended = "read"
    except (ValueError, OSError) as error:
        named = str(error).startswith(f"{path}:") and "\n" not in str(error)
        ended = "refused" if named else f"fault: not named: {error!r:.200}"
    except Exception as error:
        ended = f"fault: {error!r:.200}"
    if time.perf_counter() - start > SLOW:
        return f"fault: took more than {SLOW} s ({ended})"
    return ended


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("count", type=int, nargs="?", default=1000, help="damaged files to read")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)  # the decoders' own remarks
    warnings.simplefilter("ignore")
    rng = np.random.default_rng(given.seed)
    table = collections.defaultdict(collections.Counter)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        files = originals(folder, rng)
        for number in range(given.count):
            source = files[number % len(files)]
            path = folder / f"damaged_{source.name}"
            path.write_bytes(damaged(source.read_bytes(), rng))
            ended = outcome(path)
            table[source.name][ended] += 1
            if ended.startswith("fault"):
                print(f"{number} {source.name}: {ended}")
    for name, counts in table.items():
        print(f"{name:12}", "  ".join(f"{n} {what}" for what, n in sorted(counts.items())))
    total = sum(table.values(), collections.Counter())
    faults = sum(n for what, n in total.items() if what.startswith("fault"))
    print(f"{given.count} files: {total['read']} read, {total['refused']} refused, {faults} faults")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
