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


def protocols(scores):
    """What the released protocol, its folds and folds that keep genes together score, in Markdown.

    Parameters
    ----------
    scores : pd.DataFrame
        Of `cell_health.protocols`, with level (the feature set).

    Returns
    -------
    str
        A list, one item a feature set and line: the mean R^2 of its readouts by each protocol, and
        how many readouts are predicted with genes kept together.
    """
    items = []
    for (name, line), part in scores.groupby(["level", "accuracy"], sort=False):
        means = part.groupby("hue", sort=False)["value"].mean()
        shown = _listed(f"{mean:.2f} ({hue})" for hue, mean in means.items())
        last = part[part["hue"] == means.index[-1]]
        above = int((last["low"] > 0).sum())
        items.append(
            f"- `{name}`, {line}: the mean R² of {len(last)} readouts is {shown}; with genes kept "
            f"together, {above} of {len(last)} have an interval above 0."
        )
    return "\n".join(items) or "Nothing was asked."


def worth(curves):
    """By how much one curve is above another where they begin and end, in Markdown.

    Parameters
    ----------
    curves : pd.DataFrame
        panel, name (two), x, y.

    Returns
    -------
    str
        A list, one item a panel.
    """
    items = []
    for panel, part in curves.groupby("panel", sort=False):
        wide = part.pivot(index="x", columns="name", values="y")[list(dict.fromkeys(part["name"]))]
        upper, lower = wide.columns
        more = wide[upper] - wide[lower]
        ends = [
            f"{difference:+.2f} at {share:g} ({wide.loc[share, upper]:.2f} against "
            f"{wide.loc[share, lower]:.2f})"
            for share, difference in more.iloc[[0, -1]].items()
        ]
        items.append(f"- {panel[:1].upper()}{panel[1:]}: {upper} minus {lower} is {_listed(ends)}.")
    return "\n".join(items)
