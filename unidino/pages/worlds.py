"""What the simulated worlds are, and what metrics found in them, in computed words."""

import pandas as pd

from ..evaluate import planted

_ASKED_IN = {"no batch": "Batches", "no replicate": "Positions"}
"""Sections of the page that ask for what neighbours of one mechanism do not tell."""


def verdicts(worlds, scores, seeing):
    """A row a world: what is planted, what there is to be found, and what was found.

    Parameters
    ----------
    worlds : list of simulate.worlds.World
    scores : pd.DataFrame
        Of `planted.accuracies` by world.
    seeing : list of str
        Feature sets that see images; the others know labels or chance alone.

    Returns
    -------
    pd.DataFrame
        Indexed by world: planted, a good metric finds (of mechanisms), NSC, NSC within batches,
        NSCB: how many of the sets are above the floor, and whether that is as it should be; asked
        elsewhere: what else a good metric finds, and the section that asks for it.
    """
    rows = {}
    for world in worlds:
        part = scores[(scores["world"] == world.name) & scores["features"].isin(seeing)]
        nsc, nscb = (part[part["accuracy"] == rule.name] for rule in (planted.NSC, planted.NSCB))
        there = bool(world.strengths[-1])
        mechanisms, *others = world.to_find.split(", ")
        rows[world.name] = {
            "planted": world.planted,
            "a good metric finds": mechanisms,
            "NSC": _verdict(nsc, "null_high", there),
            "NSC, labels exchanged within batches": _verdict(nsc, "within_high", there),
            "NSCB": _verdict(nscb, "null_high", there),
            "asked elsewhere": ", ".join(f"{other} ({_ASKED_IN[other]})" for other in others),
        }
    return pd.DataFrame(rows).T.rename_axis("world")


def _verdict(part, floor, there):
    """How many values are above their floor, and whether something is there to be above it."""
    asked = part[part["value"].notna() & part[floor].notna()]
    if not len(asked):
        said = [text for text in part["said"].unique() if text]
        return said[0] if said else "not askable: within a batch all labels are the same"
    above = int((asked["value"] > asked[floor]).sum())
    word = {
        (True, True): "found",
        (True, False): "not found",
        (False, True): "fooled",
        (False, False): "nothing found",
    }[there, bool(above)]
    return f"{word}: {above} of {len(asked)} above"


def strengths(least, seeing):
    """From which planted strength on each feature set is above its floor, in Markdown.

    Parameters
    ----------
    least : pd.DataFrame
        Of `planted.least_strengths`.
    seeing : list of str
        As of `verdicts`.

    Returns
    -------
    str
    """
    items = []
    for row in least.itertuples():
        if pd.isna(row.least_strength):
            said = "is not above its floor at the greatest strength"
        else:
            said = (
                f"is above its floor from strength {row.least_strength:g} on "
                f"({row.value:.2f}, floor up to {row.floor:.2f})"
            )
        blind = "" if row.features in seeing else " (sees no image)"
        items.append(f"- `{row.features}`{blind} {said}.")
    return "\n".join(items)


def warnings(confounded):
    """The warnings of `planted.confounding`, in Markdown.

    Parameters
    ----------
    confounded : pd.DataFrame

    Returns
    -------
    str
        A list, one item a world that has one.
    """
    told = confounded[confounded["warning"] != ""]
    if not len(told):
        return "No world has labels and batches that cannot be told apart."
    items = told.groupby("warning", sort=False)["world"].agg(", ".join)
    return "\n".join(f"- **{worlds}**: {warning}" for warning, worlds in items.items())


def positions(retrieved, seeing):
    """Where replicates were found although nothing is planted in them, in Markdown.

    Parameters
    ----------
    retrieved : pd.DataFrame
        Of `planted.replicates`, with null_low and null_high of `planted.replicates_by_chance`.
    seeing : list of str
        As of `verdicts`.

    Returns
    -------
    str
    """
    items = []
    for (world, rule), part in retrieved.groupby(["world", "same_position"], sort=False):
        part = part[part["features"].isin(seeing)]
        asked = part[part["value"].notna()]
        key = f"- **{world}**, same position {rule}: "
        if not len(asked):
            items.append(f"{key}{part['said'].iloc[0]}.")
            continue
        above = asked[asked["value"] > asked["null_high"]]
        names = ", ".join(f"`{name}`" for name in above["features"])
        floor = f"{asked['null_high'].max():.2f}"
        items.append(
            f"{key}{len(above)} of {len(asked)} above the floor ({floor})"
            + (f": {names}." if len(above) else ".")
        )
    return "\n".join(items)


def batches(scores, worlds):
    """Whether batches explain more than their exchange does, in Markdown.

    Parameters
    ----------
    scores : pd.DataFrame
        Of `planted.batch_scores`, with ``profiles`` (raw, normalised).
    worlds : list of simulate.worlds.World

    Returns
    -------
    str
        A list, one item a world and kind of profiles.
    """
    items = []
    effects = {world.name: world.batch or world.treated_batch for world in worlds}
    for (world, kind), part in scores.groupby(["world", "profiles"], sort=False):
        asked = part[part["explained"].notna()]
        is_there = "batch effects are planted" if effects[world] else "no batch effect is planted"
        key = f"- **{world}**, {kind} profiles ({is_there}): "
        if not len(asked):
            items.append(f"{key}{part['said'].iloc[0]}.")
            continue
        above = asked[asked["explained"] > asked["null_high"]]
        names = ", ".join(f"`{name}`" for name in above["features"])
        items.append(
            f"{key}{len(above)} of {len(asked)} above" + (f": {names}." if len(above) else ".")
        )
    return "\n".join(items)
