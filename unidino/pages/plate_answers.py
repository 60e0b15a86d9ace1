"""What the page of one's own plate asks of its profiles: replicates, neighbours, doses.

What cannot be asked is said in a sentence, with what would be needed.
"""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from .. import tables
from ..evaluate import (
    activity,
    bootstrap_interval,
    distinctiveness,
    dose_response,
    maps,
    nearest_neighbour_accuracy,
    permutation_null,
    retrieval_summary,
)
from .plate import TREATMENT, bare, bullets, counted, name_them

# Replicates.

FEW_RESAMPLED = 10
"""Groups below which a bootstrap interval is said to be too narrow."""


@dataclass(frozen=True)
class Answer:
    """A question that was put to the wells.

    Attributes
    ----------
    table : pd.DataFrame
        What it gave; without rows where it could not be asked.
    said : str
        Why it could not be.
    """

    table: pd.DataFrame = field(default_factory=pd.DataFrame)
    said: str = ""


QUESTIONS = {"activity": activity, "distinctiveness": distinctiveness}
"""The two questions of replicates under their names."""


def ask(name, wells, *, seed=0):
    """One of `QUESTIONS`, replicates at the same position barred.

    Parameters
    ----------
    name : str
    wells : Wells
    seed : int
        Of the drawn p-values.

    Returns
    -------
    Answer
    """
    frame, controls = wells.profiles, wells.negative
    names = frame.loc[~controls, TREATMENT].dropna()
    cannot = f"{name.capitalize()} cannot be asked:"
    if not len(names):
        return Answer(said=f"{cannot} no column names the treatments. {name_them('label')}")
    if names.value_counts().max() < 2:
        return Answer(
            said=f"{cannot} every treatment has one well. A second well of each, at another "
            "position, is needed."
        )
    if name == "activity" and not controls.any():
        return Answer(said=f"{cannot} no well is a negative control. {name_them('controls')}")
    asked = frame[controls | frame[TREATMENT].notna()].reset_index(drop=True)
    try:
        return Answer(QUESTIONS[name](asked, TREATMENT, seed=seed))
    except ValueError as error:
        return Answer(said=f"{cannot} {str(error).replace(TREATMENT, 'treatment')}")


def retrieval_table(answers, level):
    """The answers to `QUESTIONS` in a row each; those that could be asked."""
    rows = {
        name: retrieval_summary(a.table, level) for name, a in answers.items() if not a.table.empty
    }
    made = pd.DataFrame(rows).T.rename_axis("question")
    return made.astype({"asked": int, "not_askable": int}) if rows else made


def retrieval_findings(answers, wells, level):
    """What the answers say, and what could not be asked, in Markdown."""
    sentences = list(wells.notes)
    for name, answer in answers.items():
        if answer.table.empty:
            sentences.append(answer.said)
            continue
        told = retrieval_summary(answer.table, level)
        least = told["least_corrected_p_value"]
        asked = int(told["asked"])
        against = "the negative controls" if name == "activity" else "all other wells"
        found = round(told["retrieved"] * asked)
        sentences.append(
            f"{name.capitalize()}: {found} of {asked} treatments find their replicates before "
            f"{against} of their plate (corrected p < {level:g}); the mean normalised average "
            f"precision is {told['mean_normalized_average_precision']:z.2f}."
        )
        if least >= level:
            sentences.append(
                f"No treatment could be found by {name}: a perfect ranking of all would reach a "
                f"corrected p of {least:.2g}. More replicates, or more wells to compare with, are "
                "needed."
            )
        lacking = answer.table["said"].value_counts().drop("", errors="ignore")
        for why, count in lacking.items():
            sentences.append(f"{name.capitalize()}, {count} treatments: {why}. {_REMEDIES[why]}")
    return bullets(sentences)


_REMEDIES = {
    "not askable: one profile": "A second well of each is needed.",
    "not askable: one position a treatment": (
        "What such replicates share may be their position; a well at another position is needed."
    ),
    "not askable: nothing to compare with on its plates": (
        "Negative controls, or other treatments, are needed on the same plate."
    ),
}


def by_treatment(answers):
    """Both answers side by side, one row a treatment, the best found first."""
    parts = []
    for name, answer in answers.items():
        if not answer.table.empty:
            kept = answer.table.set_index(TREATMENT)
            parts.append(
                pd.DataFrame(
                    {
                        "wells": kept["n_wells"],
                        f"{name}": kept["mean_normalized_average_precision"],
                        f"{name}, corrected p": kept["corrected_p_value"],
                    }
                )
            )
    if not parts:
        return pd.DataFrame()
    made = pd.concat(parts, axis=1)
    made = made.loc[:, ~made.columns.duplicated()].rename_axis("treatment")
    return made.sort_values(list(made.columns[1:2]), ascending=False, kind="stable")


# Neighbours.


def neighbours(wells, *, draws=1000, seed=0):
    """How often the nearest neighbour of a treated well has its label.

    Another well at the same position is no neighbour, nor, where the label is not what replicates
    share, one of the same perturbation.

    Parameters
    ----------
    wells : Wells
    draws : int
        Resamples of the interval, and exchanges of labels.
    seed : int

    Returns
    -------
    Answer
        One row: ``label``, ``n``, ``correct``, ``resampled`` (perturbations), ``accuracy``,
        ``low``, ``high`` (95 %, resampling these), ``macro``, ``answerable``, and of exchanged
        labels ``exchanged``, ``exchanged_high`` (97.5th percentile) and ``p_value``.
    """
    columns, cannot = wells.columns, "Nearest neighbours cannot be asked:"
    if columns.label is None:
        return Answer(said=f"{cannot} the wells have no label. {name_them('label')}")
    rows = wells.treated & wells.profiles[[columns.label, columns.perturbation]].notna().all(axis=1)
    frame = wells.profiles[rows].reset_index(drop=True)
    name, counts = bare(columns.label), frame[columns.label].value_counts()
    if len(counts) < 2:
        return Answer(
            said=f"{cannot} the treated wells have fewer than two values of {name}. Wells of a "
            "second are needed."
        )
    if counts.max() < 2:
        return Answer(
            said=f"{cannot} every {name} stands in one treated well. A second well of some is "
            "needed."
        )
    replicated, barred = columns.perturbation != columns.label, bare(columns.perturbation)
    if replicated and (frame.groupby(columns.perturbation)[columns.label].nunique() > 1).any():
        return Answer(
            said=f"{cannot} some {barred} has several values of {name}. Give each one, or name "
            "another column by `perturbation`."
        )
    exclude = ["Metadata_Well", *([columns.perturbation] if replicated else [])]
    if not _can_match(frame, columns.label, exclude):
        return Answer(
            said=f"{cannot} wells of one {name} share their position"
            f"{' or ' + barred if replicated else ''}. Wells of it that do not are needed."
        )
    features = tables.feature_columns(frame)
    made = nearest_neighbour_accuracy(frame, columns.label, exclude, features=features)
    # Of wells that replicate nothing each is a group of its own.
    frame["Metadata_asked_well"] = np.arange(len(frame)).astype(str)
    by = columns.perturbation if replicated else columns.label
    low, high = bootstrap_interval(made, frame, by, draws=draws, seed=seed)
    exchange = columns.perturbation if replicated else "Metadata_asked_well"
    null = permutation_null(made, frame, exchange, draws=draws, seed=seed)
    row = {
        "label": name,
        "n": made.n,
        "correct": made.correct,
        "resampled": frame[by].nunique(),
        "accuracy": float(made),
        "low": low,
        "high": high,
        "macro": made.macro,
        "answerable": made.answerable,
        "exchanged": null["null"],
        "exchanged_high": null["null_high"],
        "p_value": null["p_value"],
    }
    return Answer(pd.DataFrame([row]))


def _can_match(frame, label, exclude):
    """Whether two wells of one label differ in all columns that neighbours may not share."""
    for rows in tables.groups(frame, [label]).values():
        part = frame.iloc[rows]
        alike = np.zeros((len(rows), len(rows)), bool)
        for name in exclude:
            codes = pd.factorize(part[name])[0]
            alike |= (codes[:, None] == codes) & (codes[:, None] >= 0)
        if len(rows) > 1 and not (alike | np.eye(len(rows), dtype=bool)).all():
            return True
    return False


def neighbour_findings(answer, level):
    """What the answer of `neighbours` says, in Markdown."""
    if answer.table.empty:
        return answer.said
    row = answer.table.iloc[0]
    sentences = [
        f"{row['correct']:g} of {row['n']} treated wells have a nearest neighbour of their "
        f"{row['label']}: {row['accuracy']:.2f} ({row['low']:.2f} to {row['high']:.2f}); with "
        f"each {row['label']} counting alike, {row['macro']:.2f}.",
        f"Exchanged labels give {row['exchanged']:.2f} on average and up to "
        f"{row['exchanged_high']:.2f} (p = {row['p_value']:.2g}): the neighbours "
        + ("tell the label." if row["p_value"] < level else "tell no more than chance does."),
    ]
    if row["resampled"] < FEW_RESAMPLED:
        sentences.append(
            f"The interval resamples {row['resampled']} groups only, and is too narrow; with "
            f"{FEW_RESAMPLED} or more it would hold better."
        )
    if row["answerable"] < row["n"]:
        sentences.append(
            f"{int(row['n'] - row['answerable'])} of them can have no right neighbour: no other "
            "well that is allowed has their label."
        )
    return bullets(sentences)


# The map.


def no_map(wells):
    """Why there is no map, in a sentence; "" where there is one."""
    if len(wells.profiles) >= maps.LEAST_PROFILES:
        return ""
    return (
        f"There is no map: {counted(len(wells.profiles))} can be asked about, and "
        f"{maps.LEAST_PROFILES} or more are needed."
    )


def map_table(wells, coordinates):
    """The coordinates of a map as a table: plate, well, label and umap_1, umap_2.

    Parameters
    ----------
    wells : Wells
    coordinates : numpy.ndarray or None
        (n, 2); None where there is no map.

    Returns
    -------
    pd.DataFrame
    """
    if coordinates is None:
        return pd.DataFrame()
    named = wells.profiles[["Metadata_Plate", "Metadata_Well"]].rename(columns=bare)
    return named.assign(label=wells.labels[0], umap_1=coordinates[:, 0], umap_2=coordinates[:, 1])


# Doses.


@dataclass(frozen=True)
class Doses:
    """Wells of treatments by their dose.

    Attributes
    ----------
    series : pd.DataFrame
        group, dose and score of the treated wells.
    controls : dict of str to numpy.ndarray
        Scores of negcon and poscon.
    scored : str
        What the score is.
    trends : pd.DataFrame
        Of `dose_response.trends`.
    z_prime : float
        Of the controls; NaN where there are not both, several each.
    """

    series: pd.DataFrame
    controls: dict
    scored: str
    trends: pd.DataFrame
    z_prime: float


def no_doses(wells):
    """Why no dose response can be asked about, in a sentence; "" where one can."""
    cannot, columns = "Dose response cannot be asked:", wells.columns
    if columns.dose is None:
        return (
            f"{cannot} no column of numbers is named {' or '.join(tables.DOSES)}. Add one, or "
            "name it by `dose`."
        )
    if wells.negative.sum() < 2:
        return (
            f"{cannot} fewer than two wells are negative controls, from which a response is "
            f"measured. {name_them('controls')}"
        )
    doses = wells.profiles.loc[wells.treated, columns.dose].dropna()
    if doses.nunique() < 2:
        return f"{cannot} all treated wells have one {bare(columns.dose)}. A second is needed."
    return ""


def doses(wells, *, draws=999, seed=0):
    """The response of each perturbation to its dose.

    Scored along the axis between the controls where a plate has three negative and two positive
    ones, else by the distance from the negative ones.

    Parameters
    ----------
    wells : Wells
        Of which `no_doses` says nothing.
    draws, seed : int
        As of `dose_response.trends`.

    Returns
    -------
    Doses
    """
    frame, columns = wells.profiles, wells.columns
    score, scored = _scores(wells)
    group = frame[columns.perturbation] if columns.perturbation else "all treatments"
    series = pd.DataFrame({"dose": frame[columns.dose], "score": score}).assign(group=group)
    series = series[wells.treated].dropna().reset_index(drop=True)
    made = dose_response.trends(series, "group", "dose", "score", draws=draws, seed=seed)
    controls, z_prime = _of_controls(wells, score)
    order = made["spearman"].abs().sort_values(ascending=False, kind="stable").index
    return Doses(series, controls, scored, made.loc[order].reset_index(drop=True), z_prime)


def _scores(wells):
    """(score of each well from the controls, what it is)."""
    frame, features = wells.profiles, tables.feature_columns(wells.profiles)
    score = np.full(len(frame), np.nan)
    if (frame["Metadata_control_type"] == "poscon").any():
        score = dose_response.along_controls(frame, features)
    if not np.isnan(score).any():
        return score, "score along the controls' axis"
    score = dose_response.distance_from_controls(frame, features)
    return score, "distance from the negative controls"


def _of_controls(wells, score):
    """({kind: scores of these controls}, Z' of them: NaN where there are not two of each)."""
    kinds = wells.profiles["Metadata_control_type"]
    controls = {kind: score[(kinds == kind).to_numpy()] for kind in ("negcon", "poscon")}
    controls = {kind: values[np.isfinite(values)] for kind, values in controls.items()}
    enough = min(map(len, controls.values())) > 1
    return controls, dose_response.z_prime(*controls.values()) if enough else np.nan


def controls_apart(wells):
    """Z' of the controls, each scored by an axis or a centre that it helped not to find.

    Parameters
    ----------
    wells : Wells

    Returns
    -------
    (float, str)
        Missing where there are not several of both kinds; what was scored.
    """
    score, scored = _scores(wells)
    return _of_controls(wells, score)[1], scored


def dose_findings(made, level):
    """What `doses` says, in Markdown."""
    asked = made.trends.dropna(subset="spearman")
    sentences = []
    if len(asked):
        found = asked[asked["corrected_p_value"] < level]
        names = ", ".join(
            f"{row.group} ({row.spearman:+.2f})" for row in found.head(10).itertuples()
        )
        sentences.append(
            f"The {made.scored} follows the dose (Spearman's correlation, corrected p < {level:g}) "
            f"in {len(found)} of {len(asked)} treatments{': ' if names else ''}{names}."
        )
    for why, count in made.trends["said"].value_counts().drop("", errors="ignore").items():
        wanted = f"Wells of at least {dose_response.LEAST_DOSES} doses of each are needed."
        sentences.append(f"{count} of {len(made.trends)} treatments are {why}. {wanted}")
    if np.isfinite(made.z_prime):
        apart = "apart" if made.z_prime > 0 else "not apart by three standard deviations of each"
        sentences.append(
            f"Z' of {len(made.controls['negcon'])} negative and {len(made.controls['poscon'])} "
            f"positive controls is {made.z_prime:.2f}: they stand {apart}."
        )
    return bullets(sentences)
