"""All feature sets on all benchmarks: the tables of scores that the evaluation pages write."""

from pathlib import Path

import pandas as pd

from .bootstrap import interval_text

COLUMNS = ("benchmark", "level", "accuracy", "features", "value", "low", "high", "n", "data")
"""Of a comparison: one row a question and feature set; low and high are ends of a 95 % interval."""

QUESTION = ["benchmark", "level", "accuracy"]
"""Columns that name a question."""

_SUFFIX = "_scores.csv"
_OF_CARD = "demo_model"
# Names of the card's table: its sets on real images, and what it calls the other columns.
_CARD_REAL = ("stains", "SBS plate", "real crops")
_CARD_COLUMNS = {"model": "features", "metric": "accuracy"}


def read(folder):
    """The scores of all pages.

    Parameters
    ----------
    folder : str or Path
        Of the pages' tables; each ``<page>_scores.csv`` with features, accuracy, value, low, high,
        n and data counts, others (of other shape) do not.

    Returns
    -------
    pd.DataFrame
        `COLUMNS`; benchmark is the page's name without ``evaluate_``, for the demo model's card
        the set. Rows without a value, and differences, are left out.

    Raises
    ------
    FileNotFoundError
        No such table there.
    """
    parts = []
    for path in sorted(Path(folder).glob(f"*{_SUFFIX}")):
        name = path.name.removesuffix(_SUFFIX)
        frame = pd.read_csv(path)
        if name == _OF_CARD and {"set", "model", "metric", "minus"} <= set(frame):
            frame = frame[frame["minus"].isna()].rename(columns=_CARD_COLUMNS)
            real = frame["set"].isin(_CARD_REAL)
            frame = frame.assign(
                benchmark=frame["set"], level="", data=real.map({True: "real", False: "simulated"})
            )
        else:
            frame = frame.assign(benchmark=name.removeprefix("evaluate_"))
        if not set(COLUMNS) - {"level"} <= set(frame):
            continue
        parts.append(frame.reindex(columns=COLUMNS).fillna({"level": ""}))
    if not parts:
        raise FileNotFoundError(
            f"no table of scores in {folder}: the evaluation pages write them, run make pages."
        )
    return pd.concat(parts, ignore_index=True).dropna(subset="value").reset_index(drop=True)


def answered(scores, question):
    """Which rows answer a question.

    Parameters
    ----------
    scores : pd.DataFrame
        From `read`.
    question : tuple of str
        Benchmark, level, accuracy.

    Returns
    -------
    pd.Series
        Bool, one a row.
    """
    return (scores[QUESTION] == list(question)).all(axis=1)


def asked(scores, questions):
    """The rows of some questions, in that order, under names of their own.

    Parameters
    ----------
    scores : pd.DataFrame
        From `read`.
    questions : dict of str to tuple of str
        Name -> (benchmark, level, accuracy).

    Returns
    -------
    pd.DataFrame
        question, then `COLUMNS`.

    Raises
    ------
    ValueError
        A question that no table answers.
    """
    parts = []
    for name, wanted in questions.items():
        rows = scores[answered(scores, wanted)]
        if not len(rows):
            close = scores.loc[scores["benchmark"] == wanted[0], QUESTION].drop_duplicates()
            known = "; ".join(", ".join(row) for row in close.itertuples(index=False)) or (
                "its page wrote no table of scores"
            )
            raise ValueError(f"no score of {', '.join(wanted)}: {known}.")
        parts.append(rows.assign(question=name))
    return pd.concat(parts, ignore_index=True)[["question", *COLUMNS]]


def ranks(scores, features):
    """How feature sets rank on the questions that all of them were asked.

    Parameters
    ----------
    scores : pd.DataFrame
        From `read` or `asked`, of real data: simulated rows rank nothing.
    features : list of str

    Returns
    -------
    pd.DataFrame
        A row a feature set, best first: mean rank (1 is best; ties share their mean), best and
        worst rank, questions.

    Raises
    ------
    ValueError
        A simulated row; no question that all were asked.
    """
    if (scores["data"] != "real").any():
        raise ValueError("ranks are of real data: rows that are simulated rank nothing.")
    wide = scores[scores["features"].isin(features)].pivot_table(
        index=QUESTION, columns="features", values="value", sort=False
    )
    wide = wide.reindex(columns=features).dropna()
    if not len(wide):
        raise ValueError(f"no question was asked of all of {', '.join(features)}.")
    places = wide.rank(axis=1, ascending=False)
    made = pd.DataFrame(
        {
            "mean rank": places.mean(),
            "best": places.min(),
            "worst": places.max(),
            "questions": len(wide),
        }
    )
    return made.rename_axis("features").sort_values("mean rank", kind="stable")


def side_by_side(scores):
    """Texts such as "0.58 (0.42 to 0.72)": a row a question, a column a feature set.

    Parameters
    ----------
    scores : pd.DataFrame
        From `asked`.

    Returns
    -------
    pd.DataFrame
        Question and kind of data stand in the index; an empty cell was not asked.
    """
    texts = [interval_text(row.value, row.low, row.high) for row in scores.itertuples()]
    wide = scores.assign(text=texts).pivot_table(
        index=["question", "data"], columns="features", values="text", aggfunc="first", sort=False
    )
    return wide.fillna("").rename_axis(columns=None)
