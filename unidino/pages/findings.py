"""What tables of scores say, in sentences: another model or seed cannot leave a false one."""

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
        A list, one item a question that has such a null, with where its range ends: each set has
        a range of its own.
    """
    items = []
    for _, part in scores.groupby(["level", "accuracy"], sort=False):
        part = part[part["null_high"].notna()]
        if not len(part):
            continue
        above = part[part["value"] > part["null_high"]]["features"]
        within = part[part["value"] <= part["null_high"]]["features"]
        said = [f"above: {_listed(above)}"] if len(above) else ["none is above"]
        if len(within):
            said.append(f"not above: {_listed(within)}")
        ends = _span(part["null_high"], "ends at", "ends between", "and")
        items.append(f"- {_asked(next(part.itertuples()))}, whose range {ends}: {'; '.join(said)}.")
    return "\n".join(items)


def wider(scores, classes):
    """How much wider intervals are when whole classes are resampled, in Markdown.

    Parameters
    ----------
    scores : pd.DataFrame
        Of `Protocol.scores`, with class_low and class_high.
    classes : str
        What is resampled, such as "mechanisms".

    Returns
    -------
    str
        A list, one item a question: the range of the ratios of widths over feature sets, and both
        intervals of the first set. Sets whose interval by compound has no width are passed over.
    """
    items = []
    for _, part in scores.groupby(["level", "accuracy"], sort=False):
        width = part["high"] - part["low"]
        part = part[(width > 0) & part["class_low"].notna()]
        if not len(part):
            continue
        ratios = (part["class_high"] - part["class_low"]) / (part["high"] - part["low"])
        row = next(part.itertuples())
        items.append(
            f"- {_asked(row)}: {_span(ratios, '', '', 'to').strip()} times as wide; {row.features} "
            f"has {row.low:.2f} to {row.high:.2f} by compounds, {row.class_low:.2f} to "
            f"{row.class_high:.2f} by {classes}."
        )
    return "\n".join(items)


def _span(values, one, several, between):
    """Smallest and largest value, or the only one, in words."""
    low, high = f"{values.min():.2f}", f"{values.max():.2f}"
    return f"{one} {low}" if low == high else f"{several} {low} {between} {high}"


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
    falls = {name: int((table[name].diff() < 0).sum()) for name in columns}
    steady = [name for name, count in falls.items() if not count]
    said = []
    if steady:
        said.append(f"From row to row the score never falls for {_listed(steady)}.")
    if len(steady) < len(columns):
        steps = len(table) - 1
        counts = [f"{name} ({n} of {steps} steps)" for name, n in falls.items() if n]
        said.append(f"It falls somewhere for {_listed(counts)}.")
    return " ".join(said)
