"""What tables of scores say, in sentences: another model or seed cannot leave a false one."""

import pandas as pd

SHOWN = 4
"""Scores that `moved` names, at most."""


def _asked(row):
    return f"**{row.accuracy}, {row.level}** (n = {row.n})"


def _listed(parts):
    parts = list(parts)
    return ", ".join(parts[:-1]) + (" and " if len(parts) > 1 else "") + parts[-1]


def compared(differences, first):
    """Which feature sets one is apart from, question by question, in Markdown.

    Parameters
    ----------
    differences : pd.DataFrame
        Of `Protocol.differences`: level, accuracy, compared with, difference, low, high, n.
    first : str
        The set whose advantage the differences are.

    Returns
    -------
    str
        A list, one item a question: ahead of, behind, not apart from. Apart is what has an interval
        without 0.
    """
    items = []
    for _, part in differences.groupby(["level", "accuracy"], sort=False):
        said = []
        for word, rows in (
            ("ahead of", part[part["low"] > 0]),
            ("behind", part[part["high"] < 0]),
        ):
            if len(rows):
                shown = [
                    f"{row[0]} ({row[1]:.2f}, {row[2]:.2f} to {row[3]:.2f})"
                    for row in rows[["compared with", "difference", "low", "high"]].to_numpy()
                ]
                said.append(f"{word} {_listed(shown)}")
        level = part[(part["low"] <= 0) & (part["high"] >= 0)]
        if len(level):
            said.append(f"not apart from {_listed(level['compared with'])}")
        row = next(part.itertuples())
        items.append(f"- {_asked(row)}: `{first}` is {'; '.join(said)}.")
    return "\n".join(items)


def above_exchanged(scores):
    """Which feature sets score more than exchanged labels do, question by question, in Markdown.

    Parameters
    ----------
    scores : pd.DataFrame
        Of `Protocol.scores`.

    Returns
    -------
    str
        A list, one item a question that has such a null.
    """
    items = []
    for _, part in scores.groupby(["level", "accuracy"], sort=False):
        part = part[part["null_high"].notna()]
        if not len(part):
            continue
        above = part[part["value"] > part["null_high"]]["features"]
        within = part[part["value"] <= part["null_high"]]["features"]
        said = [f"above it: {_listed(above)}"] if len(above) else ["none is above it"]
        if len(within):
            said.append(f"within it or below: {_listed(within)}")
        low, high = part["null_low"].min(), part["null_high"].max()
        row = next(part.itertuples())
        items.append(f"- {_asked(row)}, {low:.2f} to {high:.2f}: {'; '.join(said)}.")
    return "\n".join(items)


def above_chance(scores):
    """Which feature sets score more than 0, the chance of normalised precisions, in Markdown.

    Parameters
    ----------
    scores : pd.DataFrame
        features, level, accuracy, value, low, high, n; 0 is chance.

    Returns
    -------
    str
        A list, one item a question. Above is what has its whole interval above 0.
    """
    items = []
    for _, part in scores.groupby(["level", "accuracy"], sort=False):
        above = part[part["low"] > 0]["features"]
        others = part[~(part["low"] > 0)]["features"]
        said = [f"above chance: {_listed(above)}"] if len(above) else ["none is above chance"]
        if len(others):
            said.append(f"not clear of it: {_listed(others)}")
        items.append(f"- {_asked(next(part.itertuples()))}: {'; '.join(said)}.")
    return "\n".join(items)


def moved(differences):
    """Where a change, such as a correction, moved a score, in Markdown.

    Parameters
    ----------
    differences : pd.DataFrame
        features, hue, level, accuracy, value, low, high, n: with the change minus without.

    Returns
    -------
    str
        How many of the differences are above and below 0 with their whole interval, and which, the
        `SHOWN` largest first.
    """
    parts = []
    for word, rows in (
        ("raises", differences[differences["low"] > 0]),
        ("lowers", differences[differences["high"] < 0]),
    ):
        if len(rows):
            order = rows["value"].abs().argsort(kind="stable")[::-1][:SHOWN]
            shown = [
                f"{row.features} ({row.hue}; {row.accuracy}, {row.level}: {row.value:+.2f})"
                for row in rows.iloc[order].itertuples()
            ]
            most = ", most" if len(rows) > SHOWN else ""
            parts.append(
                f"It {word} {len(rows)} of the {len(differences)} scores{most}: {_listed(shown)}."
            )
    if not parts:
        parts = [f"None of the {len(differences)} differences is clear of 0."]
    elif count := int(((differences["low"] <= 0) & (differences["high"] >= 0)).sum()):
        parts.append(f"The other {count} are not clear of 0.")
    return " ".join(parts)


def rises(table, columns):
    """Whether scores rise from row to row of a table, in a sentence.

    Parameters
    ----------
    table : pd.DataFrame
        Rows in the order in which a rise is asked for.
    columns : list of str

    Returns
    -------
    str
    """
    steady = [name for name in columns if table[name].is_monotonic_increasing]
    other = [name for name in columns if name not in steady]
    said = []
    if steady:
        said.append(f"from row to row it rises for {_listed(steady)}")
    if other:
        falls = pd.Series({name: int((table[name].diff() < 0).sum()) for name in other})
        said.append(f"it does not for {_listed(f'{n} ({c} steps fall)' for n, c in falls.items())}")
    text = "; ".join(said)
    return text[:1].upper() + text[1:] + "."
