"""Extract what the pages read: the profiles of datasets by models, each once, side by side.

    python book/extracted.py [--force] [--jobs 2] FOLDER NAME ...

A NAME is DATASET@MODEL or DATASET@random_vit@SEED; of simulated datasets FOLDER/NAME.json says what
each was made from, so that those are made whose modules, parameters or weights changed. With a data
root of one's own (UNIDINO_DATA) the profiles go to UNIDINO_OUTDIR, an extraction goes on where it
was stopped, and datasets that are absent are said and left.
"""

import argparse
import functools
import json
import os
import re
import shutil
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import ExitStack, redirect_stderr
from multiprocessing import get_context
from pathlib import Path

from digest import ROOT, code_digest
from page import environment

from unidino import paths
from unidino.evaluate import measured_cells
from unidino.tables import write_json

CODE = "import unidino\nimport unidino.simulate\nunidino.extract"
"""What an extraction runs: with the modules that this names, its digest changes."""

WITHOUT_BATCH = "without_batch"
"""Folder of the plates that are simulated once more without batch, plate and position effects: what
a correction that lost nothing would leave."""


def parameters(name, own_data):
    """Of `unidino.extract`, for a name.

    Parameters
    ----------
    name : str
        DATASET@MODEL, DATASET@random_vit@SEED, or without_batch/DATASET@MODEL.
    own_data : bool
        Whether the data root is one's own.

    Raises
    ------
    ValueError
        Another name; measured cells of one's own data.
    """
    found = re.fullmatch(rf"({WITHOUT_BATCH}/)?([\w-]+)@([\w-]+?)(?:@(\d+))?", name)
    if not found:
        raise ValueError(
            f"{name} is no extraction: expected DATASET@MODEL or DATASET@random_vit@SEED."
        )
    other, valset, model, seed = found.groups()
    if own_data and model == measured_cells.NAME:
        raise ValueError(
            f"{name}: the measures that are kept are of simulated plates. Measure your own: python "
            f"-m unidino.evaluate.measured_cells {valset}"
        )
    made = {"valset": valset, "model": model, "seed": int(seed or 0)}
    if not own_data:
        made["precision"] = "fp32"  # the committed pages do not differ by machine
    if valset == "HPA":
        made["reference"] = "all"  # it has no controls
    # Untrained transformers see the tiles of the demo model, and so do all models in the worlds,
    # whose fields are no larger.
    if model == "random_vit" or valset == "worlds":
        made["size"] = 112
    if valset == "worlds":
        made["foreground_channel"] = "any"
    if other and not own_data:
        made["root"] = str(ROOT / "_build" / WITHOUT_BATCH)
    return made


def measured(valset):
    """The committed measures of a simulated dataset's cells, which take longer than all models."""
    return ROOT / "data" / "measured" / f"{valset}.parquet"


@functools.cache
def _of_code(code):
    """Of the modules of an extraction, which all extractions of a run share."""
    return code_digest([code], None)


def digest(name, own_data):
    """Of all that decides what an extraction gives, apart from the images."""
    options = parameters(name, own_data)
    if options["model"] == measured_cells.NAME:
        return code_digest([], name, [measured(options["valset"])])
    inputs = [paths.find_weights(paths.DEMO_WEIGHTS)] if options["model"] == "unidino-demo" else []
    shown = {key: value for key, value in options.items() if key != "root"}
    return code_digest([], [_of_code(CODE), shown, name], inputs)


def note(folder, name):
    """The file that says what an extraction was made from."""
    return Path(folder, f"{name}.json")


def is_current(folder, name):
    """Whether an extraction was made from what is here now."""
    file = note(folder, name)
    if not file.is_file():
        return False
    stored = json.loads(file.read_text())
    where = paths.valset_folder(Path(folder, stored["place"]), stored["model"], stored["valset"])
    return stored["digest"] == digest(name, False) and where.is_dir()


def extract(folder, name, own_data):
    """Make one extraction; the seconds it took, or a text that says why there is none.

    Parameters
    ----------
    folder : Path
    name : str
    own_data : bool
    """
    import unidino

    began = time.monotonic()
    options = parameters(name, own_data)
    with ExitStack() as stack:
        if own_data:
            place = paths.outputs_root()
        else:
            note(folder, name).unlink(missing_ok=True)
            place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="unidino-")))
            log = place / "log"
            stack.enter_context(redirect_stderr(stack.enter_context(log.open("w"))))
        try:
            if options["model"] == measured_cells.NAME:
                file = measured_cells.default_file(options["valset"], place)
                file.parent.mkdir(parents=True)
                shutil.copyfile(measured(options["valset"]), file)
            else:
                unidino.extract(**options, outdir=str(place))
        except (ValueError, OSError, RuntimeError) as error:
            return str(error)
        if not own_data:
            target = Path(folder, *Path(name).parts[:-1])
            keep(place, target)
            (model,) = (one.name for one in place.iterdir() if one.is_dir())
            content = {"digest": digest(name, own_data), "valset": options["valset"]}
            content |= {"model": model, "place": str(Path(name).parent)}
            write_json(note(folder, name), content)
    return time.monotonic() - began


def keep(made, outdir):
    """Move extractions, one a model and dataset, in the place of those of an earlier run."""
    for folder in sorted(made.glob("*/*")):
        if not folder.is_dir():
            continue
        target = outdir / folder.relative_to(made)
        shutil.rmtree(target, ignore_errors=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(folder, target)


def main(arguments=None):
    """The command line; the exit status."""
    parser = argparse.ArgumentParser(prog="extracted.py", description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("name", nargs="+")
    parser.add_argument("--force", action="store_true", help="make them even if nothing changed")
    parser.add_argument("--jobs", type=int, default=2, help="extractions at a time")
    given = parser.parse_args(arguments)
    own_data = bool(os.environ.get("UNIDINO_DATA"))
    folder = given.folder.resolve()
    try:
        for name in given.name:
            parameters(name, own_data)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    wanted = list(dict.fromkeys(given.name))
    if not given.force and not own_data:
        every, wanted = wanted, [name for name in wanted if not is_current(folder, name)]
        print(f"extractions: {len(every) - len(wanted)} of {len(every)} are up to date")
    if not wanted:
        return 0
    failed = False
    with tempfile.TemporaryDirectory(prefix="unidino-extracted-") as temporary:
        os.environ.update(environment(Path(temporary)))
        # Spawned: they take the number of their threads from the environment before they import.
        context = get_context("spawn")
        with ProcessPoolExecutor(min(given.jobs, len(wanted)), mp_context=context) as pool:
            running = {pool.submit(extract, folder, name, own_data): name for name in wanted}
            for number, future in enumerate(as_completed(running), 1):
                said = future.result()
                label = f"[{number}/{len(wanted)}] {running[future]}"
                if isinstance(said, str):
                    failed = True
                    print(f"{label}: {said}", file=sys.stderr, flush=True)
                else:
                    print(f"{label}: extracted in {said:.0f} s", flush=True)
    return int(failed and not own_data)


if __name__ == "__main__":
    sys.exit(main())
