"""What tables of scores say, in sentences: another model or seed cannot leave a false one."""

SHOWN = 4
"""Scores that `moved` names, at most."""


def _asked(row):
    return f"**{row.accuracy}, {row.level}** (n = {row.n})"


def listed(parts):
    parts = list(parts)
    return ", ".join(parts[:-1]) + (" and " if len(parts) > 1 else "") + parts[-1]


def compared(differences, first, decimals=2):
    """Which feature sets one is apart from, question by question, in Markdown.

    Parameters
    ----------
    differences : pd.DataFrame
        Of `Protocol.differences`: level, accuracy, compared with, difference, low, high, n.
    first : str
        The set whose advantage the differences are.
    decimals : int
        More than two where differences are so small that two hide on which side of 0 they lie.

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
                    "{} ({:z.{d}f}, {:z.{d}f} to {:z.{d}f})".format(*row, d=decimals)
                    for row in rows[["compared with", "difference", "low", "high"]].to_numpy()
                ]
                said.append(f"{word} {listed(shown)}")
        level = part[(part["low"] <= 0) & (part["high"] >= 0)]
        if len(level):
            said.append(f"not apart from {listed(level['compared with'])}")
        row = next(part.itertuples())
        items.append(f"- {_asked(row)}: `{first}` is {'; '.join(said)}.")
    return "\n".join(items)


def above_exchanged(scores, decimals=2):
    """Which feature sets score more than exchanged labels do, question by question, in Markdown.

    Parameters
    ----------
    scores : pd.DataFrame
        Of `Protocol.scores`.
    decimals : int
        Of the ends of the ranges.

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
        said = [f"above: {listed(above)}"] if len(above) else ["none is above"]
        if len(within):
            said.append(f"not above: {listed(within)}")
        ends = _span(part["null_high"], "ends at", "ends between", "and", decimals)
        items.append(f"- {_asked(next(part.itertuples()))}, whose range {ends}: {'; '.join(said)}.")
    return "\n".join(items)


def above_random(scores, random="Gaussian"):
    """Which sets score more than random features where no labels can be exchanged, in Markdown.

    Parameters
    ----------
    scores : pd.DataFrame
        Of `Protocol.scores` and `Protocol.chance`.
    random : str
        Name of the random features, whose interval is the range of their draws.

    Returns
    -------
    str
        A list, one item a question without a range of exchanged labels; "" for none.
    """
    items = []
    for _, part in scores.groupby(["level", "accuracy"], sort=False):
        drawn = part[part["features"] == random]
        if part["null_high"].notna().any() or not len(drawn) or drawn["high"].isna().any():
            continue
        end = drawn["high"].iloc[0]
        others = part[(part["features"] != random) & part["value"].notna()]
        above = others.loc[others["value"] > end, "features"]
        told = listed(above) if len(above) else "none"
        items.append(
            f"- {_asked(next(part.itertuples()))}, where no labels can be exchanged, above "
            f"{random} features, whose range ends at {end:.2f}: {told}."
        )
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
        A list, one item a question. Above is what has its whole interval above 0. What is 0 in
        every resample was not tested: the question leaves it nothing to score with.
    """
    items = []
    for _, part in scores.groupby(["level", "accuracy"], sort=False):
        above = part[part["low"] > 0]["features"]
        by_rule = (part["low"] == 0) & (part["high"] == 0)
        others = part[~(part["low"] > 0) & ~by_rule]["features"]
        said = [f"above chance: {listed(above)}"] if len(above) else ["none is above chance"]
        if len(others):
            said.append(f"not clear of it: {listed(others)}")
        if by_rule.any():
            said.append(f"0 by rule: {listed(part[by_rule]['features'])}")
        items.append(f"- {_asked(next(part.itertuples()))}: {'; '.join(said)}.")
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


def _span(values, one, several, between, decimals=2):
    """Smallest and largest value, or the only one, in words."""
    low, high = (f"{value:z.{decimals}f}" for value in (values.min(), values.max()))
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
                f"It {word} {len(rows)} of the {len(differences)} scores{most}: {listed(shown)}."
            )
    if not parts:
        parts = [f"None of the {len(differences)} differences is clear of 0."]
    elif count := int(((differences["low"] <= 0) & (differences["high"] >= 0)).sum()):
        parts.append(f"The other {count} are not clear of 0.")
    return " ".join(parts)


def gained(table, columns):
    """What scores gain from the first to the last row of a table, in a sentence.

    Parameters
    ----------
    table : pd.DataFrame
        Rows in the order in which a rise is asked for.
    columns : list of str

    Returns
    -------
    str
    """
    change = {name: table[name].iloc[-1] - table[name].iloc[0] for name in columns}
    shown = [f"{name} {value + 0.0:+.2f}" for name, value in change.items()]
    return f"From the first group to the last: {listed(shown)}."


def batch_measures(corrections):
    """Whether corrections leave less of the batch, by each measure, in Markdown.

    Parameters
    ----------
    corrections : pd.DataFrame
        A row a correction, "none" among them; BRAS, LISI (batch): more is less of a batch; variance
        by source: less is.

    Returns
    -------
    str
    """
    signs = {"BRAS": 1, "LISI (batch)": 1, "variance by source": -1}
    before = corrections.loc["none"]
    items = []
    for name, row in corrections.drop(index="none").iterrows():
        if row[list(signs)].isna().any():
            continue
        less = [
            measure
            for measure, sign in signs.items()
            if sign * (row[measure] - before[measure]) > 0
        ]
        told = (
            "no measure" if not less else "all three" if len(less) == len(signs) else listed(less)
        )
        items.append(f"`{name}` by {told}")
    return f"Less of the batch is seen after {', after '.join(items)}." if items else ""


RANKS_NOTHING = {
    "simulated": "These wells are simulated, and `unidino-demo` has seen images of this simulator "
    "in its training, the others have not: this ranks no model.",
    "real": "",
}
"""What is to be said beside a comparison, by the kind of its data."""


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
        shown = listed(f"{mean:.2f} ({hue})" for hue, mean in means.items())
        last = part[part["hue"] == means.index[-1]]
        above = int((last["low"] > 0).sum())
        items.append(
            f"- `{name}`, {line}: the mean R² of {len(last)} readouts is {shown}; with genes kept "
            f"together, {above} of {len(last)} have an interval above 0."
        )
    return "\n".join(items) or "Nothing was asked."


def between_curves(curves):
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
            f"{difference:+z.2f} at {share:g} ({wide.loc[share, upper]:z.2f} against "
            f"{wide.loc[share, lower]:z.2f})"
            for share, difference in more.iloc[[0, -1]].items()
        ]
        items.append(f"- {panel[:1].upper()}{panel[1:]}: {upper} minus {lower} is {listed(ends)}.")
    return "\n".join(items)


def parts_of_leakage(curves):
    """What the distance between the protocols of Cell Health is made of, in Markdown.

    Parameters
    ----------
    curves : pd.DataFrame
        Of `cell_health.worth_of_leakage`: panel (readouts that the profiles show, then those that
        they do not), name (random folds, then genes together), x, y.

    Returns
    -------
    str
    """
    (shown, hidden), (random, together) = (curves[key].unique() for key in ("panel", "name"))
    at = curves.set_index(["panel", "name", "x"])["y"]
    first, last = curves["x"].min(), curves["x"].max()
    start, end = at[shown, together, first], at[shown, together, last]
    leak = at[hidden, random, last] - at[hidden, together, last]
    return (
        f"The distance at {last:g} on the left has two parts. One is what random folds leak. The "
        "other is that guides of a gene that do the same are one example, not several: with genes "
        f"kept together, R² goes from {start:z.2f} at {first:g} to {end:z.2f} at {last:g}. The "
        f"right panel, where nothing can be learned, shows the leak by itself: {leak:+z.2f}."
    )


ROUNDING = 1e-6
"""A difference of scores below it is the rounding of sums in single precision, no difference."""


def _moves(row):
    """How a difference stands to 0, in a word."""
    if abs(row["difference"]) < ROUNDING:
        return "not clear of 0"
    if row["difference_low"] > ROUNDING:
        return "higher"
    return "lower" if row["difference_high"] < -ROUNDING else "not clear of 0"


def _signed(value):
    """A difference with its sign; what is printed as 0 has none."""
    text = f"{value:+.2f}"
    return text if float(text) else "0.00"


def worth(scored, removed, kept, base, questions=()):
    """What each way to prepare profiles is worth beside the one it starts from, in Markdown.

    Parameters
    ----------
    scored : pd.DataFrame
        Of `preparations.scores`: prepared, measure, value, difference, difference_low,
        difference_high.
    removed, kept : str
        The measures that tell how much of the batch is gone, and how much biology is left.
    base : str
        The way that the others are compared with.
    questions : list of str, optional
        The measures that `kept` is the mean of: one that falls is a cost that a mean can hide.

    Returns
    -------
    str
        A list, one item a way: whether it removes the batch at no cost, at a cost, or not at all;
        or that every score is that of `base`.
    """
    wide = scored[scored["prepared"] != base].set_index(["measure", "prepared"])
    items = []
    for name in scored.loc[scored["prepared"] != base, "prepared"].unique():
        own = wide.xs(name, level="prepared")
        ends = own[["difference", "difference_low", "difference_high"]].abs().to_numpy(float)
        if (ends < ROUNDING).all():
            found = "found no effect of position in the controls and " if name == "position" else ""
            items.append(f"- `{name}` {found}took nothing off: every score is that of `{base}`.")
            continue
        said = []
        for measure in (removed, kept):
            if measure in own.index:
                row = own.loc[measure]
                said.append((measure, _moves(row), _signed(row["difference"])))
        fallen = [one for one in questions if one in own.index and _moves(own.loc[one]) == "lower"]
        falls = f"{listed(fallen or ['none'])} {'falls' if len(fallen) == 1 else 'fall'}"
        moves = {measure: move for measure, move, _ in said}
        told = "; ".join(f"{measure} {move} ({amount})" for measure, move, amount in said)
        if moves.get(kept) == "lower":
            verdict = "biology is lost"
        elif removed not in moves or kept not in moves:
            verdict = "one side could not be asked, so nothing is known of its worth"
        elif fallen and moves[removed] == "higher" and moves[kept] == "higher":
            verdict = f"less batch and more biology in the mean, but {falls}"
        elif fallen and moves[removed] == "higher":
            verdict = f"less batch; the mean of retrieval is not clear of 0, but {falls}"
        elif fallen and moves[kept] == "higher":
            verdict = f"more biology in the mean, though not for less batch, and {falls}"
        elif fallen:
            verdict = f"neither is clearly better, and {falls}"
        elif moves[removed] == "higher" and moves[kept] == "higher":
            verdict = "it counts: less batch and more biology"
        elif moves[removed] == "higher":
            verdict = "less batch, at no cost that is clear of 0 and for no gain that is"
        elif moves[kept] == "higher":
            verdict = "more biology, though not for less batch"
        else:
            verdict = "neither is clearly better"
        items.append(f"- `{name}`: {told}; {verdict}.")
    return "\n".join(items)


def lost_retrieval(scored, questions, base):
    """A warning for each way that lowers retrieval, in Markdown.

    Parameters
    ----------
    scored, base
        As of `worth`.
    questions : list of str
        The measures of retrieval.

    Returns
    -------
    str
        A list: first what is lowered with the whole interval, as warnings, then what is lower
        without being clear of 0; or that nothing is lower.
    """
    part = scored[scored["measure"].isin(questions) & (scored["prepared"] != base)]
    part = part[part["difference"] < -ROUNDING]
    clear = part[part["difference_high"] < -ROUNDING]
    items = []
    for name, rows in clear.groupby("prepared", sort=False):
        shown = [
            f"{row.measure} ({_signed(row.difference)}, {_signed(row.difference_low)} to "
            f"{_signed(row.difference_high)})"
            for row in rows.itertuples()
        ]
        items.append(f"- **Warning: retrieval is lower under `{name}`**: {listed(shown)}.")
    slight = part[part["difference_high"] >= -ROUNDING]
    if len(slight):
        shown = [
            f"`{name}` for {listed(rows['measure'])}"
            for name, rows in slight.groupby("prepared", sort=False)
        ]
        items.append(f"- Lower, but not clear of 0: {'; '.join(shown)}.")
    if not items:
        items = [f"- None of the ways scores less than `{base}` in any question."]
    elif not len(clear):
        items.insert(0, f"- No way is clearly below `{base}` in any question.")
    return "\n".join(items)


def few_references(unplanted, planted, removed, base, others):
    """Whether a normalisation on few reference wells shows more of the batch than others do.

    Parameters
    ----------
    unplanted, planted : dict of str to pd.DataFrame
        Feature set -> scores as of `worth`, beside `base`: of plates without any batch, which
        judge first, because what is read of a batch there the normalisation has planted, and of
        the plates that are asked about.
    removed, base : str
        As of `worth`.
    others : list of str
        Ways that `base` is held beside.

    Returns
    -------
    str
        In Markdown: a list, one item a feature set and kind of plates, and what follows from the
        first kind where it is there.
    """
    words = {"higher": "more than", "lower": "less than"}
    items, plants = [], []
    for where, sets in ((", where no batch was planted", unplanted), ("", planted)):
        for name, scored in sets.items():
            rows = scored[scored["measure"] == removed].set_index("prepared")
            if not {base, *others} <= set(rows.index):
                continue
            moves = {other: _moves(rows.loc[other]) for other in others}
            values = listed(f"{rows.loc[way, 'value']:.2f} for `{way}`" for way in (base, *others))
            said = listed(
                f"{words.get(move, 'neither clearly more nor clearly less than')} `{other}`"
                for other, move in moves.items()
            )
            items.append(
                f"- `{name}`{where}: {removed} is {values}: `{base}` shows of the batch {said}."
            )
            if where:
                plants.append(all(move == "higher" for move in moves.values()))
    text = "\n".join(items)
    if plants and all(plants):
        text += f"\n\nSo the reference of `{base}` plants a batch, whatever else a plate has."
    elif plants:
        text += f"\n\nSo it is not clear that the reference of `{base}` plants a batch here."
    return text


def highest_and_lowest(values):
    """The largest and the smallest number, and every way that has it as it is printed.

    Parameters
    ----------
    values : pd.Series
        Index: names of ways.

    Returns
    -------
    str
        A phrase such as "0.01 (`c`) to 0.21 (`a` and `b`)".
    """
    shown = values.round(2) + 0.0
    if shown.nunique() == 1:
        return f"{shown.iloc[0]:.2f} (all alike)"
    return " to ".join(
        f"{end:.2f} ({listed(f'`{name}`' for name in shown.index[shown == end])})"
        for end in (shown.min(), shown.max())
    )


def narrower(scores, classes, count):
    """How many intervals are narrower when whole classes are resampled, in a sentence.

    Parameters
    ----------
    scores, classes
        As of `wider`.
    count : int
        The classes that there are.

    Returns
    -------
    str
    """
    width = scores["high"] - scores["low"]
    ratios = ((scores["class_high"] - scores["class_low"]) / width)[width > 0].dropna()
    less = int((ratios < 1 - ROUNDING).sum())
    if not less:
        return f"None of the {len(ratios)} intervals is narrower by {classes}."
    return (
        f"{less} of the {len(ratios)} intervals {'is' if less == 1 else 'are'} narrower by "
        f"{classes}, which does not make a score more certain: {count} {classes} are too few to "
        "resample."
    )
