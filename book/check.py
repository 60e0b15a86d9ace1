"""Check the committed pages: run them again, compare what they mark and the tables they write.

    python book/check.py [--extracted FOLDER] [PAGE.ipynb ...]

Every page runs in temporary folders of its own, so that neither leftovers nor other pages help it,
and nothing committed is written. Two comparisons follow: the cells marked ``NBVAL_CHECK_OUTPUT``
(by nbval, exactly), and the tables under ``book/results/tables`` (numbers within a tolerance).
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
from digest import ROOT

from unidino.paths import real_data_root

RELATIVE, ABSOLUTE = 1e-4, 1e-5
"""Numbers may differ by this: sums of float32 depend on the machine in their last digits."""

UNSTABLE = ("umap", "trained")
"""Columns that begin so hold an embedding for drawing, or the course of a training, which differs
between machines after some hundred steps: only their presence is compared."""


def difference(committed, made):
    """What differs between two tables, in one sentence, or None.

    Parameters
    ----------
    committed, made : pd.DataFrame
        As read from CSV.
    """
    if list(committed.columns) != list(made.columns):
        return f"columns {list(committed.columns)} became {list(made.columns)}"
    if len(committed) != len(made):
        return f"{len(committed)} rows became {len(made)}"
    for name in committed.columns:
        if name.startswith(UNSTABLE):
            continue
        old, new = committed[name], made[name]
        if all(pd.api.types.is_numeric_dtype(c) and c.dtype != bool for c in (old, new)):
            same = np.isclose(old, new, rtol=RELATIVE, atol=ABSOLUTE, equal_nan=True)
        else:
            same = (old.astype("string") == new.astype("string")).fillna(False) | (
                old.isna() & new.isna()
            )
        if not np.all(same):
            row = int(np.argmin(np.asarray(same, dtype=bool)))
            before, after = (values.tolist()[row] for values in (old, new))
            return f"row {row + 2}, column {name}: {before!r} became {after!r}"
    return None


def compare_results(page, made):
    """Compare the results that a page lists with those that its check made.

    Parameters
    ----------
    page : Path
        The committed page.
    made : Path
        Results folder of its check.

    Returns
    -------
    list of str
        One sentence a difference, led by the file's name.
    """
    listed = _noted(page, "results")
    found = []
    for name in listed:
        if not (page.parent / name).is_file():
            found.append(f"{name} is listed by {page.name} but missing")
        elif not (made / name).is_file():
            found.append(f"{name} was not made again by {page.name}")
        elif name.endswith(".csv"):
            differs = difference(pd.read_csv(page.parent / name), pd.read_csv(made / name))
            found += [f"{name} of {page.name}: {differs}"] if differs else []
    if made.is_dir():
        new = {p.relative_to(made).as_posix() for p in made.rglob("*") if p.is_file()}
        found += [f"{name} of {page.name} is not committed" for name in sorted(new - set(listed))]
    return found


def _noted(page, name):
    return nbformat.read(page, as_version=4).metadata.get("unidino", {}).get(name, [])


def missing_extractions(pages, extracted):
    """Extractions that pages read and that are not in the folder."""
    names = dict.fromkeys(name for page in pages for name in _noted(page, "reads"))
    return [n for n in names if extracted is None or not (extracted / f"{n}.json").is_file()]


def missing_real_data(page):
    """Folders of real data that a page needs and that are not here."""
    needed = _noted(page, "real")
    root = real_data_root()
    return [name for name in needed if root is None or not (root / name).is_dir()]


def check(pages, jobs=2, extracted=None):
    """Check pages; print what differs.

    Parameters
    ----------
    pages : list of Path
    jobs : int
        Pages at a time.
    extracted : Path, optional
        Output root of the extractions that they read, made afresh.

    Returns
    -------
    bool
        Whether all is as committed. Pages whose real data is absent are left out, saying so.
    """
    here = []
    for page in pages:
        absent = missing_real_data(page)
        if absent:
            print(f"skipped {page.name}: no real data {', '.join(absent)} (set UNIDINO_REAL)")
        else:
            here.append(page)
    if not here:
        return True
    absent = missing_extractions(here, extracted)
    if absent:
        print(
            f"{extracted or 'no folder of extractions'}: {absent[0]}.json is absent, which a page "
            "reads; make check makes it, and gives its folder as --extracted."
        )
        return False
    with tempfile.TemporaryDirectory(prefix="unidino-check-") as folder:
        env = {k: v for k, v in os.environ.items() if k != "UNIDINO_DATA"}
        env["UNIDINO_CHECK"] = folder
        if extracted is not None:
            env["UNIDINO_EXTRACTED"] = str(extracted)
        command = [sys.executable, "-m", "pytest", "-q", "-ra"]
        command += ["-p", "no:cacheprovider", "--rootdir", str(ROOT), "-c", os.devnull]
        if min(jobs, len(here)) > 1:
            command += ["-n", str(min(jobs, len(here))), "--dist", "loadscope"]
        command += ["--nbval-lax", "--nbval-current-env", *map(str, here)]
        same = subprocess.run(command, cwd=ROOT, env=env).returncode == 0
        differences = [d for p in here for d in compare_results(p, Path(folder, p.stem, "results"))]
    for text in differences:
        print(f"differs: {text}")
    if not same or differences:
        print(
            "The pages no longer show what the code does. If the change is meant: make pages, look "
            "at what moved, commit it and say why."
        )
    return same and not differences


def main(arguments=None):
    """The command line; the exit status."""
    parser = argparse.ArgumentParser(prog="check.py", description=__doc__.split("\n")[0])
    parser.add_argument("pages", nargs="*", type=Path, help="default: all of book/results")
    parser.add_argument("--jobs", type=int, default=2, help="pages at a time")
    parser.add_argument("--extracted", type=Path, help="folder of the extractions that pages read")
    options = parser.parse_args(arguments)
    extracted = options.extracted and options.extracted.resolve()
    pages = options.pages or sorted((ROOT / "book" / "results").glob("*.ipynb"))
    if not pages:
        print("there is no page to check: run make book")
        return 1
    return 0 if check([page.resolve() for page in pages], options.jobs, extracted) else 1


if __name__ == "__main__":
    sys.exit(main())
