"""The record of what was tried for the demo model; ``python -m unidino.demo.trials WEIGHTS …``.

Every variant is scored alike, on the development sets alone, simulated and real; the held-out crops
have no part in it.
"""

import argparse
import sys
from pathlib import Path

import pandas as pd

from .. import paths, tables
from ..models import checkpoints
from . import card
from .evaluation import Evaluation
from .scoring import DEVELOPMENT_RULES

TRIAL_COLUMNS = [
    "tried", "stage", "options", "crops", "minutes", "pooling", "block", "projected_dim",
    *(
        f"{name}, {rule.name}"
        for name in ("BBBC021", "jumpcp-valset", "stains")
        for rule in DEVELOPMENT_RULES[name]
    ),
    "SBS plate, Z', rows A-D", "SBS plate, Z', rows E-H",
]  # fmt: skip
"""Of the record: options are those that differ from the stage's in `recipe.STAGES`; minutes those
of the training's steps; scores stand with their 95 % intervals."""

DRAWS = 200


def described(weights, tried):
    """What an exported file says of its training.

    Parameters
    ----------
    weights : str or Path
        From `export.export`, its table of epochs beside it.
    tried : str
        What is new in this trial, in words.

    Returns
    -------
    dict
        The columns before the scores.

    Raises
    ------
    FileNotFoundError, ValueError
        No such file, or none that `export` wrote.
    """
    weights = Path(weights)
    header = checkpoints.read_header(weights)
    curves = weights.with_suffix(".epochs.csv")
    if not header.get("training", {}).get("epoch_length") or not curves.is_file():
        raise ValueError(
            f"{weights} does not tell the epoch_length of its training, or {curves.name} is not "
            "beside it: write both with python -m unidino.train.export."
        )
    config = header["config"]
    changed = card.changed_options(header)
    epochs = pd.read_csv(curves)
    minutes = 60 * card.hours(epochs, header) if len(epochs) else 0
    return {
        "tried": tried,
        "stage": card.stage_of(header),
        "options": ", ".join(f"{name}={value!r}" for name, value in changed.items()),
        "crops": len(epochs) * header["training"]["epoch_length"],
        "minutes": round(minutes),
        "pooling": config["pooling"],
        "block": config.get("block") or "",
        "projected_dim": config.get("projected_dim") or "",
    }


def scored(weights, outdir="data/sample/demo", draws=DRAWS):
    """Scores of a file on the development sets as text with intervals.

    Parameters
    ----------
    weights : str or Path
    outdir : str or Path
        Folder of `data.write`.
    draws : int
        Of the bootstrap.

    Returns
    -------
    dict of str to str
        The score columns of `TRIAL_COLUMNS`.
    """
    scorer = Evaluation(weights, outdir=outdir, with_baselines=False, draws=draws)
    scores = pd.concat([scorer.development(), scorer.stains(), scorer.sbs()])
    texts = {f"{row.set}, {row.metric}": card.interval_text(row) for row in scores.itertuples()}
    return {name: text for name, text in texts.items() if name in TRIAL_COLUMNS}


def record(row, path):
    """Add a trial to the table; one of the same name is replaced, where it stands.

    Parameters
    ----------
    row : dict
        `TRIAL_COLUMNS`.
    path : str or Path

    Raises
    ------
    ValueError
        The file is another table.
    """
    path = Path(path)
    before = [] if not path.is_file() else read(path).to_dict("records")
    places = {one["tried"]: one for one in before} | {row["tried"]: row}
    with tables.atomic_path(path) as temporary:
        frame = pd.DataFrame(places.values(), columns=TRIAL_COLUMNS)
        frame.to_csv(temporary, index=False, lineterminator="\n")


def read(path):
    """The record, its cells as text.

    Raises
    ------
    ValueError
        The file is another table.
    """
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    if list(frame) != TRIAL_COLUMNS:
        raise ValueError(f"{path} has the columns {', '.join(frame)}; expected {TRIAL_COLUMNS}.")
    return frame


def main(argv=None):
    """The command line."""
    parser = argparse.ArgumentParser("python -m unidino.demo.trials", description=__doc__)
    parser.add_argument("weights", help="file of python -m unidino.train.export")
    parser.add_argument("--tried", required=True, help="what is new in this trial, in words")
    parser.add_argument("--outdir", default="data/sample/demo", help="of unidino.demo.data")
    parser.add_argument("--draws", type=int, default=DRAWS, help="of the bootstrap")
    parser.add_argument(
        "--table", default=paths.project_root() / "data" / "checkpoints" / "trials.csv"
    )
    given = parser.parse_args(argv)
    try:
        if Path(given.table).is_file():
            read(given.table)  # stops before any work
        row = described(given.weights, given.tried)
        row |= scored(given.weights, given.outdir, given.draws)
        record(row, given.table)
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f"error: {error}")
    print(pd.Series(row).to_string())


if __name__ == "__main__":
    main()
