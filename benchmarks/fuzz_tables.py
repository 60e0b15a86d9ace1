"""Tables in random dialects and with random damage: the same table, or one line that names it.

    python -m benchmarks.fuzz_tables [--tables 2000] [--seed 0]

A small screen is written in a random dialect: separator, decimal comma, encoding, line ends,
quotation marks, blank rows, surplus separators, names of columns. Undamaged, it must open as it
was, and so with its treatments in a plate map of another dialect. Damaged (bytes overwritten, cut,
doubled, inserted or removed), table or map, it must open, or end in a ValueError or
FileNotFoundError of fewer than 1000 characters that names the file. Anything else is counted and
shown, a case that does not end too, and ends the run with exit status 1.

``python -m benchmarks.fuzz_tables --tables 4000``: of 2000 whole ones all were the same, of 2000
damaged ones 154 opened and 1846 were refused by name, 0 faults; 134 CPU s, at most 0.13 GiB of
memory.
"""

import argparse
import collections
import csv
import io
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.fuzzing import Hung, took, within
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
        if "dose" in row:
            row = row | {"dose": str(row["dose"]).replace(".", "," if comma else ".")}
        writer.writerow([*row.values(), *[""] * ends])
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


def apart(rows):
    """(rows without their treatments, rows of a plate map that has these)."""
    of_wells = ("compound", "dose")
    sites = [{name: value for name, value in row.items() if name not in of_wells} for row in rows]
    wells = {(row["plate"], row["well"]): row for row in rows}
    names = ("plate", "well", *of_wells)
    return sites, [{name: row[name] for name in names} for row in wells.values()]


def outcome(path, rows=None, platemap=None):
    """What became of a table, in a word; an undamaged one is compared with its rows."""
    try:
        with within():
            metadata = open_valset(path, check_files=False, platemap=platemap)
    except Hung as error:
        return f"hung: {error}"
    except (ValueError, FileNotFoundError) as error:
        told = str(error)
        # A dataset is called by its file's name.
        named = any(Path(file).stem in told for file in (path, platemap) if file)
        if rows is None and named and len(told) < 1000:
            return "named"
        return f"refused: {told[:200]}"
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:200]}"
    if rows is None:
        return "opened"
    frame = metadata.metadata
    same = all(frame[name].tolist() == [row[name] for row in rows] for name in NAMES)
    files = [[str(Path(metadata.root, row[name])) for name in ("DNA", "ER")] for row in rows]
    return "same" if same and frame["path"].tolist() == files else "another table"


def cases(folder, count, seed=0):
    """Open tables, one after another: (number, kind of case, what became of it)."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        rows = screen(rng)
        sites, layout = apart(rows)
        path, platemap = folder / f"t{number}.txt", None
        whole, mapped = number % 2 == 0, number % 4 > 1
        if mapped:
            platemap = folder / f"m{number}.txt"
            of_sites, of_wells = written(sites, rng), written(layout, rng)
            path.write_bytes(of_sites)
            platemap.write_bytes(of_wells if whole else damaged(of_wells, rng))
        else:
            data = written(rows, rng)
            path.write_bytes(data if whole else damaged(data, rng))
        kind = f"{'whole' if whole else 'damaged'} {'map' if mapped else 'table'}"
        yield number, kind, outcome(path, rows if whole else None, platemap)
        for file in folder.iterdir():
            file.unlink()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tables", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    counts, faults = collections.Counter(), 0
    with tempfile.TemporaryDirectory() as folder:
        for number, kind, result in cases(Path(folder), options.tables, options.seed):
            counts[kind, result.split(":")[0]] += 1
            if result not in ("same", "named", "opened"):
                faults += 1
                print(f"{number} {kind}: {result}", flush=True)
    for (kind, result), count in sorted(counts.items()):
        print(f"{kind:14} {result:14} {count}")
    print(f"{options.tables} tables, {faults} faults; {took()}")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
