"""The tables of scores and of looks at the held-out crops, as CSV files."""

from pathlib import Path

import pandas as pd

from .. import tables

SCORE_COLUMNS = [
    "model", "sha256", "pooling", "set", "metric", "minus", "value", "low", "high", "n", "seeds",
    "seed_low", "seed_high",
]  # fmt: skip
"""Of a table of scores. ``minus`` names what is subtracted, and is empty for a score itself; low
and high are the ends of a 95 % interval; seed_low and seed_high the range over seeds."""

LOOKS = "heldout_looks.csv"
"""Table of the models that were scored on the held-out crops, beside the demo model's weights."""


def record_look(path, name, model):
    """Note that a model was scored on the held-out crops; the same model again is no new look.

    Parameters
    ----------
    path : Path
        CSV: model, sha256 (first 8), pooling.
    name : str
        That it has in tables.
    model : EmbeddingModel

    Returns
    -------
    int
        Looks so far.
    """
    row = pd.DataFrame(
        {
            "model": [name],
            "sha256": [model.sha256[:8]],
            "pooling": [model.config.pooling],
        }
    )
    before = read_table(path, list(row))
    looks = pd.concat([before, row]).drop_duplicates(["sha256", "pooling"])
    if len(looks) > len(before):
        write_table(looks, path)
    return len(looks)


def append(scores, path):
    """Add scores to a CSV; those of the same model, set and metric are replaced.

    Parameters
    ----------
    scores : pd.DataFrame
        `SCORE_COLUMNS`.
    path : Path

    Returns
    -------
    pd.DataFrame
        The whole table.

    Raises
    ------
    ValueError
        The file is another table.
    """
    keys = ["model", "sha256", "pooling", "set", "metric", "minus"]
    whole = pd.concat([read_table(path), scores], ignore_index=True)
    whole = whole.drop_duplicates(keys, keep="last")
    write_table(whole, path)
    return whole


def read_scores(path):
    """A table of scores, its empty cells empty text.

    Raises
    ------
    FileNotFoundError, ValueError
        No such file; another table.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(
            f"no scores at {path}: run python -m unidino.demo.evaluation with --table {path}"
        )
    return read_table(path)


def read_table(path, columns=SCORE_COLUMNS):
    """The table of that path, or an empty one.

    Raises
    ------
    ValueError
        The file is another table.
    """
    path = Path(path)
    if not path.is_file():
        return pd.DataFrame(columns=columns)
    text = dict.fromkeys(("model", "sha256", "pooling", "set", "metric", "minus"), str)
    frame = pd.read_csv(path, dtype=text, keep_default_na=False, na_values={"low": "", "high": ""})
    if list(frame) != columns:
        raise ValueError(f"{path} has the columns {', '.join(frame)}; expected {columns}.")
    return frame


def write_table(frame, path):
    """Write a table under a temporary name, then rename it."""
    with tables.atomic_path(path) as temporary:
        frame.to_csv(temporary, index=False, lineterminator="\n")
