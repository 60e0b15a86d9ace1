"""Tables in random dialects and with random damage: the same table, or one line that names it.

    python benchmarks/fuzz_tables.py [--tables 2000] [--seed 0]

A small screen is written in a random dialect: separator, decimal comma, encoding, line ends,
quotation marks, blank rows, surplus separators, names of columns. Undamaged, it must open as it
was. Damaged (bytes overwritten, cut, doubled, inserted or removed), it must open, or end in a
ValueError or FileNotFoundError of fewer than 1000 characters. Anything else is counted and shown.
"""

import argparse
import collections
import csv
import io
import tempfile
import time
from pathlib import Path

import numpy as np

from unidino import open_valset

NAMES = {
    "plate": ("plate", "Plate", "Metadata_Plate", "Plate ID", "barcode", "Image_Metadata_Plate"),
    "well": ("well", "Well", "Metadata_Well", "well_position", "WellID"),
    "site": ("site", "Field", "Metadata_Site", "fov"),
    "compound": ("compound", "Metadata_compound"),
    "dose": ("dose", "Metadata_dose"),
}
PLATES = ("007", "7", "1E05", "100000", "NA")
COMPOUNDS = ("DMSO", "None", "NA", "a, b", 'say "x"', "5;6", "µ", "12")
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be")


def screen(rng):
    """The rows of a small screen: a dict each, numbers as floats."""
    rows = []
    for plate in rng.choice(PLATES, 3, replace=False):
        for well in range(4):
            compound, dose = str(rng.choice(COMPOUNDS)), float(rng.choice([0.5, 1.25, 1000.0]))
            for site in range(2):
                stem = f"img/{plate}_{well}_{site}"
                rows.append(
                    {"plate": str(plate), "well": f"A{well + 1:02d}", "site": str(site + 1)}
                    | {"compound": compound, "dose": dose}
                    | {"DNA": f"{stem}_d.tif", "ER": f"{stem}_e.tif"}
                )
    return rows


def written(rows, rng):
    """The bytes of a table in a random dialect."""
    separator = str(rng.choice([",", ";", "\t"]))
    comma = separator != "," and rng.random() < 0.5
    ends = int(rng.integers(3)) * int(rng.random() < 0.3)
    header = {name: str(rng.choice(NAMES.get(name, (name,)))) for name in rows[0]}
    file = io.StringIO()
    writer = csv.writer(
        file,
        delimiter=separator,
        quoting=csv.QUOTE_ALL if rng.random() < 0.2 else csv.QUOTE_MINIMAL,
        lineterminator=str(rng.choice(["\n", "\r\n", "\r"])),
    )
    blank = [""] * (len(header) + ends)
    if rng.random() < 0.1:
        file.write(f"sep={separator}" + writer.dialect.lineterminator)
    writer.writerow([*header.values(), *[""] * ends])
    for row in rows:
        dose = str(row["dose"]).replace(".", "," if comma else ".")
        writer.writerow([*(row | {"dose": dose}).values(), *[""] * ends])
        if rng.random() < 0.05:
            writer.writerow(blank)
    return file.getvalue().encode(str(rng.choice(ENCODINGS)))


def damaged(data, rng):
    """The bytes with one kind of damage."""
    data = bytearray(data)
    kind = rng.choice(["overwritten", "cut", "doubled", "inserted", "removed"])
    start, stop = sorted(rng.integers(0, len(data), 2))
    if kind == "overwritten":
        for i in rng.integers(0, len(data), int(rng.integers(1, 8))):
            data[i] = int(rng.integers(256))
    elif kind == "cut":
        del data[start:]
    elif kind == "doubled":
        data[stop:stop] = data[start:stop]
    elif kind == "inserted":
        data[start:start] = bytes(rng.choice(list(b',;"\n\t\0 '), int(rng.integers(1, 5))).tolist())
    else:
        del data[start : min(stop, start + 40)]
    return bytes(data)


def outcome(path, rows=None):
    """What became of a table, in a word; an undamaged one is compared with its rows."""
    try:
        metadata = open_valset(path, check_files=False)
    except (ValueError, FileNotFoundError) as error:
        if rows is None and len(str(error)) < 1000:
            return "named"
        return f"refused: {str(error)[:200]}"
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:200]}"
    if rows is None:
        return "opened"
    frame = metadata.metadata
    same = all(frame[name].tolist() == [row[name] for row in rows] for name in NAMES)
    files = [[str(Path(metadata.root, row[name])) for name in ("DNA", "ER")] for row in rows]
    return "same" if same and frame["path"].tolist() == files else "another table"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tables", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    counts, start = collections.Counter(), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.tables):
            rows = screen(rng)
            data = written(rows, rng)
            whole = number % 2 == 0
            path = Path(folder, f"t{number}.txt")
            path.write_bytes(data if whole else damaged(data, rng))
            result = outcome(path, rows if whole else None)
            counts[("whole" if whole else "damaged", result.split(":")[0])] += 1
            if result not in ("same", "named", "opened"):
                print(f"table {number}: {result}")
            path.unlink()
    for (kind, result), count in sorted(counts.items()):
        print(f"{kind:8} {result:14} {count}")
    print(f"{options.tables / (time.perf_counter() - start):.0f} tables a second")


if __name__ == "__main__":
    main()
