"""What is to be said of a plate at a glance: each question, its verdict in a word, and why."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from .. import tables
from ..evaluate import dose_response, plate_quality, retrieval_summary
from ..pages import plate, plate_answers, plate_doubts
from ..profiles.reference import listed

PASS, LOOK, FAIL, UNASKED = "pass", "look", "fail", "not asked"

MANY_FAILED = 0.05
"""Share of unreadable sites above which a plate fails: what an extraction lets be missing."""

MANY_SPOILT = 0.1
"""Share of wells with a saturated or flat channel above which a plate fails."""

GOOD_Z_PRIME = 0.5
"""An assay with this Z' or more is an excellent one.

Source: Zhang, Chung and Oldenburg 1999 (doi 10.1177/108705719900400206).
"""

NAMED = 12
"""Wells that a verdict names, at most."""


@dataclass(frozen=True)
class Verdict:
    """An answer to one question.

    Attributes
    ----------
    question : str
    word : {"pass", "look", "fail", "not asked"}
    said : str
        What was found, or what is needed to ask.
    rule : str
        When the word is another.
    """

    question: str
    word: str
    said: str
    rule: str


@dataclass(frozen=True)
class Findings:
    """All that was asked of a plate.

    Attributes
    ----------
    wells : plate.Wells or None
        None where no profile can be asked anything.
    why : str
        Why not.
    flagged : pd.DataFrame
        Of `plate_quality.flags`, as `meaningful` leaves them.
    bare : numpy.ndarray of bool
        Which sites are `without_cells`.
    limits : plate_quality.Limits
    effects : pd.DataFrame
        Of `plate.position_effects`; without rows where positions cannot be asked about.
    answers : dict
        Of `plate_answers.ask`, by question.
    distance : pd.Series
        Of each row of the plate's wells from the negative controls; missing where unknown.
    doses : plate_answers.Doses or None
        None where no dose response can be asked about.
    doubts : list of str
    """

    wells: object
    why: str
    flagged: pd.DataFrame
    bare: np.ndarray
    limits: object
    effects: pd.DataFrame
    answers: dict
    distance: pd.Series
    doses: object
    doubts: list


def ask(stored, columns, limits, *, told, level, draws, seed):
    """Ask a plate what its own page asks.

    Parameters
    ----------
    stored : stored.Plate
    columns : plate.Columns
    limits : plate_quality.Limits
    told, level, draws, seed
        As of `plate_doubts.distrust` and `plate.position_effects`.

    Returns
    -------
    Findings
    """
    flagged = plate_quality.flags(stored.sites, limits)
    bare = without_cells(flagged, len(stored.sites))
    flagged = meaningful(flagged, bare)
    distance = pd.Series(np.nan, stored.wells.index)
    wells, why = None, _unasked(stored)
    if not why:
        try:
            wells = plate.wells_to_ask(stored.profiles, columns)
        except ValueError as error:
            why = f"{str(error)[:1].upper()}{str(error)[1:]} {_warned(stored)}".strip()
    effects, answers, doses, doubts = pd.DataFrame(), {}, None, []
    if wells is not None:
        if wells.positioned:
            effects = plate.position_effects(wells, draws=draws, seed=seed)
        answers = {n: plate_answers.ask(n, wells, seed=seed) for n in plate_answers.QUESTIONS}
        doubts = plate_doubts.distrust(wells, flagged, stored.sites, effects, answers, level, told)
        if wells.negative.any():
            features = tables.feature_columns(wells.profiles)
            known = dose_response.distance_from_controls(wells.profiles, features)
            distance = _by_well(stored.wells, wells.profiles, known)
        if not plate_answers.no_doses(wells):
            doses = plate_answers.doses(wells, draws=draws, seed=seed)
    return Findings(wells, why, flagged, bare, limits, effects, answers, distance, doses, doubts)


def without_cells(flagged, count):
    """Which of so many sites are flagged as empty or sparse, (count,) bool."""
    bare = np.zeros(count, bool)
    bare[flagged.loc[flagged["flag"].isin(("empty", "sparse")), "row"]] = True
    return bare


def meaningful(flagged, bare):
    """The flags without those that the absence of cells explains.

    Parameters
    ----------
    flagged : pd.DataFrame
        Of `plate_quality.flags`.
    bare : numpy.ndarray of bool
        Of `without_cells`.

    Returns
    -------
    pd.DataFrame
        Without focus and dimness of bare sites, where noise is sharp and background dark, and
        without sparse and few objects of empty ones. What is too bright there stays.
    """
    flag = flagged["flag"]
    empty = flagged["row"].isin(flagged.loc[flag == "empty", "row"])
    follows = (flag == "focus") | ((flag == "intensity") & (flagged["value"] < 0))
    explained = follows & bare[flagged["row"]]
    explained |= empty & flag.isin(("sparse", "few objects"))
    return flagged[~explained].reset_index(drop=True)


def bare_wells(stored, found):
    """Which rows of the plate's wells show no cells in any site that was read, (n,) bool."""
    read = (stored.sites["Metadata_status"] != "failed").to_numpy(bool)
    if stored.by_well:
        keys, asked = map(plate_quality.well_names, (stored.sites, stored.wells))
    else:
        keys, asked = (frame["Metadata_path"] for frame in (stored.sites, stored.wells))
    groups = pd.Series(found.bare[read]).groupby(np.array(keys, dtype=object)[read])
    told = groups.all().to_dict()
    return np.array([told.get(key, False) for key in asked], bool)


def _unasked(stored):
    """Why nothing can be asked of the profiles, in a sentence; "" where something can."""
    if len(stored.profiles):
        return ""
    why = f"The plate is not in {stored.file.name}: none of it could be normalised."
    return f"{why} {_warned(stored)}".strip()  # fmt: skip


def keys_of(frame):
    """What tells the rows of profiles apart."""
    return [*tables.key_columns(frame), *(["Metadata_path"] if "Metadata_path" in frame else [])]


def _by_well(all_wells, asked, values):
    """Values of the wells that were asked, in the order of all."""
    keys = [name for name in keys_of(all_wells) if name in asked]
    index = list(asked[keys].itertuples(index=False, name=None))
    lookup = dict(zip(index, values, strict=True))
    rows = all_wells[keys].itertuples(index=False, name=None)
    return pd.Series([lookup.get(row, np.nan) for row in rows], all_wells.index, dtype=float)


def verdicts(stored, found, *, told, level):
    """The verdicts on a plate, in the order in which its images become findings.

    Parameters
    ----------
    stored : stored.Plate
    found : Findings
    told, level : float
        As of `ask`.

    Returns
    -------
    list of Verdict
    """
    return [
        _read(stored),
        *_of_flags(stored, found),
        _normalised(stored, found),
        _position(stored, found, level),
        _layout(found, told),
        _controls(found, level),
        _apart(found),
        *(_replicates(found, name, level) for name in plate_answers.QUESTIONS),
    ]


NOTHING = "No profile can be asked: see Normalisation."


def _read(stored):
    sites = stored.sites
    failed = int((sites["Metadata_status"] == "failed").sum())
    rule = f"look: any site is unreadable; fail: more than {MANY_FAILED:.0%} are"
    if not failed:
        return Verdict("Images read", PASS, f"Sites that could be read: all {len(sites)}.", rule)
    share = failed / len(sites)
    said = f"Sites that could not be read: {failed} of {len(sites)} ({share:.1%}); reasons below."
    return Verdict("Images read", FAIL if share > MANY_FAILED else LOOK, said, rule)


def _of_flags(stored, found):
    """Verdicts on what `plate_quality.flags` found, one a kind of fault."""
    wording, names = found.limits.wording(), plate_quality.well_names(stored.sites)
    count, read = len(set(names)), int((stored.sites["Metadata_status"] != "failed").sum())
    few = len(stored.sites) < plate_quality.LEAST_SITES
    comparable = (
        f"With fewer than {plate_quality.LEAST_SITES} sites none is called unlike the others."
    )
    for question, flags, fails, fine in (
        ("Cells there", ("empty", "sparse", "few objects"), False,
         "No {unit} is without cells or much sparser than the others."),
        ("Exposure", ("flat", "saturated"), True, "No channel is saturated or flat."),
        ("Brightness", ("intensity",), False,
         "No {unit} is much dimmer or brighter than the others."),
        ("Focus", ("focus",), False, "No {unit} is in another focus than the others."),
    ):  # fmt: skip
        own = found.flagged[found.flagged["flag"].isin(flags)]
        rule = "look: " + "; or ".join(wording[flag] for flag in flags)
        of_cells = flags[0] in ("intensity", "focus")
        rule += f"; {_NOT_OF[flags[0]]}" if of_cells else ""
        if fails:
            rule += f"; fail: in more than {MANY_SPOILT:.0%} of the {stored.unit}s"
        if not read or (of_cells and (few or found.bare.sum() == read)):
            said = comparable if few else "No site shows cells."
            said = said if read else "No site could be read."
            yield Verdict(question, UNASKED, said, rule)
            continue
        if own.empty:
            said = fine.format(unit=stored.unit)
            if few and "sparse" in flags:
                said = f"No {stored.unit} is empty. {comparable}"
            yield Verdict(question, PASS, said, rule)
            continue
        wells = list(dict.fromkeys(names[row] for row in own["row"]))
        kinds = ", ".join(
            f"{channel} {flag}".strip()
            for flag, channel in own[["flag", "channel"]].drop_duplicates().to_numpy()
        )
        share = len(wells) / count
        said = f"{len(wells)} of {count} {stored.unit}s ({kinds}): {shortened(wells)}."
        yield Verdict(question, FAIL if fails and share > MANY_SPOILT else LOOK, said, rule)


_NOT_OF = {
    "intensity": "sites without cells are not called dim",
    "focus": "sites without cells are not asked",
}


def shortened(names, most=NAMED):
    """Names in a list, the last ones counted."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(str, names[:most])) + more


def _normalised(stored, found):
    rule = "look: the run warned of something; fail: a channel, or the whole plate, is lost"
    question = "Normalisation"
    if found.wells is None:
        return Verdict(question, FAIL, found.why, rule)
    method = stored.made.get("norm_method")
    if method in (None, "no_post_proc"):
        return Verdict(
            question, UNASKED, "These profiles are not normalised: distances are raw.", rule
        )
    dead = (stored.made.get("dead_channels") or {}).get(listed([stored.key]), [])
    if dead:
        said = f"Missing on this plate, since they are dead there: {', '.join(dead)}."
        return Verdict(question, FAIL, said, rule)
    if warned := _warned(stored):
        return Verdict(question, LOOK, warned, rule)
    said = f"{method}, on {stored.made.get('reference', 'none')}; nothing was odd."
    return Verdict(question, PASS, said, rule)


def _warned(stored):
    """What the run warned of, in sentences; "" where of nothing."""
    warned = [text.rstrip(".") + "." for text in stored.made.get("warnings") or []]
    whose = "" if len(stored.keys) == 1 else ", of this or of other plates"
    return f"The run warned{whose}: {' '.join(warned)}" if warned else ""


def _position(stored, found, level):
    question, rule = "Edges and gradients", f"look: row, column or edge explain more than chance " \
        f"(corrected p < {level:g})"  # fmt: skip
    if found.wells is None:
        return Verdict(question, UNASKED, NOTHING, rule)
    if not found.wells.positioned:
        why = plate.without_positions(found.wells) if stored.by_well else "There are no wells."
        return Verdict(question, UNASKED, why, rule)
    said = plain(plate.position_findings(found.effects, found.wells, level))
    said = [text for text in said if "plate or batch" not in text]
    if found.effects.empty:
        return Verdict(question, UNASKED, " ".join(said), rule)
    hit = (found.effects["corrected_p_value"] < level).any()
    return Verdict(question, LOOK if hit else PASS, " ".join(said), rule)


def plain(markdown):
    """The sentences of a list in Markdown."""
    return [line.removeprefix("- ") for line in markdown.split("\n") if line]


def _layout(found, told):
    question = "Layout"
    rule = (
        f"look: row or column tell {told:g} or more of a label, or the negative controls stand "
        "where no treatment does"
    )
    if found.wells is None or not found.wells.positioned or not found.wells.treated.any():
        return Verdict(question, UNASKED, "No positions of treatments are known.", rule)
    said = list(plate_doubts.distrust_layout(found.wells, told))
    fine = "Neither row nor column gives a label away, and controls stand among treatments."
    return Verdict(question, LOOK if said else PASS, " ".join(said) or fine, rule)


def _controls(found, level):
    question = "Negative controls"
    rule = (
        f"look: fewer than {plate_quality.LEAST_CONTROLS}, or as far from their centre as the "
        f"treatments (p of {level:g} or more)"
    )
    if found.wells is None:
        return Verdict(question, UNASKED, NOTHING, rule)
    count = int(found.wells.negative.sum())
    if not count:
        said = f"No well is a negative control. {plate.name_them('controls')}"
        return Verdict(question, UNASKED, said, rule)
    said = list(plate_doubts.distrust_controls(found.wells, level))
    if count < plate_quality.LEAST_CONTROLS:
        said.append(f"Only {plate.counted(count)}; position is not judged by them.")
    fine = f"{count} wells, closer to their centre than the treatments are."
    if not found.wells.treated.any():
        fine = f"{count} wells; no treatment to compare them with."
    return Verdict(question, LOOK if said else PASS, " ".join(said) or fine, rule)


def _apart(found):
    question = "Z'"
    rule = f"look: below {GOOD_Z_PRIME:g}; fail: below 0"
    if found.wells is None:
        return Verdict(question, UNASKED, NOTHING, rule)
    kinds = found.wells.profiles["Metadata_control_type"]
    counts = [int((kinds == kind).sum()) for kind in ("negcon", "poscon")]
    if min(counts) < 2:
        said = (
            f"Two or more controls of both kinds are needed; there are {counts[0]} negative and "
            f"{counts[1]} positive ones."
        )
        return Verdict(question, UNASKED, said, rule)
    value, scored = plate_answers.controls_apart(found.wells)
    if not np.isfinite(value):
        return Verdict(question, UNASKED, "The controls have no finite scores.", rule)
    word = PASS if value >= GOOD_Z_PRIME else LOOK if value >= 0 else FAIL
    said = f"{value:z.2f}, of {counts[0]} negative and {counts[1]} positive controls ({scored})."
    return Verdict(question, word, said, rule)


def reachable(answer, level):
    """Whether any treatment could be found: a perfect ranking has a corrected p below the level."""
    if answer.table.empty:
        return False
    return not retrieval_summary(answer.table, level)["least_corrected_p_value"] >= level


def _replicates(found, name, level):
    against = "the negative controls" if name == "activity" else "all other wells"
    question = "Active treatments" if name == "activity" else "Distinct treatments"
    rule = f"look: no treatment finds its replicates before {against} (corrected p < {level:g})"
    answer = found.answers.get(name)
    if answer is None:
        return Verdict(question, UNASKED, NOTHING, rule)
    if answer.table.empty:
        return Verdict(question, UNASKED, answer.said, rule)
    told = retrieval_summary(answer.table, level)
    asked = int(told["asked"])
    count = round(told["retrieved"] * asked)
    if not reachable(answer, level):
        least = told["least_corrected_p_value"]
        said = (
            f"Cannot be asked: a perfect ranking would reach a corrected p of {least:.2g}, not one "
            f"below {level:g}. More replicates, or more wells to compare with, are needed."
        )
        return Verdict(question, UNASKED, said, rule)
    said = (
        f"{count} of {asked} treatments find their replicates before {against}; mean normalised "
        f"average precision {told['mean_normalized_average_precision']:z.2f}."
    )
    return Verdict(question, PASS if count else LOOK, said, rule)
