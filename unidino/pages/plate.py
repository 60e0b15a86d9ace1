"""What the page of one's own plate asks, what it cannot ask and why, and what to distrust."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy.stats import mannwhitneyu

from .. import quality, tables, valsets
from ..evaluate import (
    activity,
    bootstrap_interval,
    distinctiveness,
    dose_response,
    maps,
    nearest_neighbour_accuracy,
    permutation_null,
    plate_quality,
    summary,
)
from ..metadata import DOSES
from ..profiles.reference import listed
from . import extraction, plots

EXAMPLE = ("data/example/plate.csv", "data/example/layout.csv")
"""The simulated plate that the page runs on by default, and its plate map."""

LABELS = tuple(name for name in tables.LABELS if name != "control_type")
"""Columns that may be the label where none is named, the first that a plate has."""

LEAST_REPLICATES = 3
"""Wells of a treatment below which one bad well decides what is said of it."""

TREATMENT = "Metadata_asked_treatment"
"""Column that `wells_to_ask` adds: what replicates share."""

_OF_DATASET = ("valset", "root", "platemap", "channels", "controls", "channel_axis")


@dataclass(frozen=True)
class Columns:
    """The columns that the page asks about, as the profiles name them; None where there is none.

    Attributes
    ----------
    label : str or None
        Whose neighbours are looked for.
    perturbation : str or None
        What, with the dose, replicates share; another column than the label where that is a
        mechanism.
    dose : str or None
    batches : tuple of str
        What the wells may follow beside their position: plate and batch, where there are several.
    """

    label: str | None
    perturbation: str | None
    dose: str | None
    batches: tuple


def example_files(valset, platemap, root):
    """The table and the plate map: those of the example lie in the project.

    Parameters
    ----------
    valset, platemap : str or None
        As given; the example's map goes with no other table.
    root : Path
        Folder of the project.

    Returns
    -------
    (str, str or None)
    """
    if platemap == EXAMPLE[1] and valset != EXAMPLE[0]:
        platemap = None
    valset, platemap = (
        str(root / name) if name in EXAMPLE and (root / name).is_file() else name
        for name in (valset, platemap)
    )
    return valset, platemap


def find_columns(given, label=None, perturbation=None, dose=None, batch="batch"):
    """What the page asks about, looked for before any image is embedded.

    Parameters
    ----------
    given : dict
        Parameters of `unidino.extract`.
    label : str, optional
        The first of `LABELS` that the plate has, by default.
    perturbation : str, optional
        The label, by default.
    dose : str, optional
        The first of `metadata.DOSES` that holds numbers, by default.
    batch : str

    Returns
    -------
    Columns

    Raises
    ------
    ValueError, FileNotFoundError
        As `unidino.open_valset`; a column that does not exist, that differs between the sites of a
        well, or, for doses, that holds no numbers: names the parameter, those there are and the
        remedy.
    """
    metadata = valsets.open_valset(**{name: given.get(name) for name in _OF_DATASET})
    frame = metadata.metadata.drop(columns="path")
    named = {"label": label, "perturbation": perturbation, "dose": dose}
    if batch != "batch":
        named["batch"] = batch
    found = {name: _column(metadata, name, value) for name, value in named.items() if value}
    if "dose" in found and not _holds_numbers(frame[found["dose"]]):
        text = frame[found["dose"]].dropna()
        shown = f" such as {text.iloc[0]!r}" if len(text) else ""
        raise ValueError(
            f"dose {dose!r} holds text{shown}; doses are numbers. Correct the column in "
            f"{metadata.valset} or its plate map, or name another."
        )
    for name in tables.key_columns(frame, LABELS):
        if frame[name].nunique() > 1:
            found.setdefault("label", name)
    for name in tables.key_columns(frame, DOSES):
        if _holds_numbers(frame[name]) and frame[name].nunique() > 1:
            found.setdefault("dose", name)
    batches = [name for name in ("plate", found.get("batch", "batch")) if name in frame.columns]
    several = tuple(name for name in batches if frame[name].nunique(dropna=False) > 1)
    label = found.get("label")
    columns = (label, found.get("perturbation", label), found.get("dose"))
    named = [tables.metadata_name(name) if name else None for name in columns]
    return Columns(*named, tuple(map(tables.metadata_name, several)))


def _holds_numbers(values):
    return pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)


def _column(metadata, parameter, name):
    """The bare column that a parameter names, the same for all sites of most wells."""
    frame = metadata.metadata
    bare = str(name).removeprefix("Metadata_")
    lower = {str(column).lower(): column for column in frame.columns if column != "path"}
    if bare.lower() not in lower:
        raise ValueError(
            f"{parameter} {name!r} is no column of {metadata.valset}"
            f"{' or its plate map' if metadata.well_columns else ''}; the columns are: "
            f"{', '.join(map(str, lower.values()))}. Name one of them, or add it."
        )
    column = lower[bare.lower()]
    if metadata.well_columns and column not in metadata.well_columns:
        wells = frame.groupby(metadata.well_columns, dropna=False)[column]
        several, values = wells.size() > 1, wells.nunique(dropna=False)
        if 2 * (values > 1).sum() >= max(1, several.sum()):
            raise ValueError(
                f"{parameter} {name!r} differs between the sites of a well, so that no well has "
                "one; name a column that describes wells."
            )
    return column


@dataclass(frozen=True)
class Wells:
    """The wells that are asked about, and in which words.

    Attributes
    ----------
    profiles : pd.DataFrame
        Readable wells without gaps, with Metadata_Plate, Metadata_Well, Metadata_control_type and
        `TREATMENT`, missing where nobody names one.
    columns : Columns
    notes : list of str
        Sentences: what was left out, what was pooled.
    """

    profiles: pd.DataFrame
    columns: Columns
    notes: list

    @property
    def negative(self):
        """Which are negative controls, (n,) bool."""
        return plate_quality.negative_controls(self.profiles)

    @property
    def treated(self):
        """Which have a treatment and are no controls of either kind, (n,) bool."""
        named = self.profiles["Metadata_control_type"].isna() & self.profiles[TREATMENT].notna()
        return named.to_numpy(bool, copy=True)

    @property
    def positioned(self):
        """Whether every well is named by its position."""
        return all(plots.well_position(well) for well in self.profiles["Metadata_Well"])

    @property
    def labels(self):
        """(label of each well, controls by their type; what it is called)."""
        kinds = self.profiles["Metadata_control_type"].astype(object)
        if self.columns.label is None:
            return kinds, "control type"
        return kinds.fillna(self.profiles[self.columns.label]), _bare(self.columns.label)


def _bare(column):
    return column.removeprefix("Metadata_")


def _wells(count):
    return f"{count} well{'' if count == 1 else 's'}"


def wells_to_ask(profiles, columns):
    """The wells of an extraction as the page asks about them.

    Replicates share the perturbation and, where there is one, the dose; where each such treatment
    stands in one well only, the doses of a perturbation are taken together.

    Parameters
    ----------
    profiles : pd.DataFrame
        Of `unidino.extract`.
    columns : Columns

    Returns
    -------
    Wells
    """
    whole = extraction.complete(profiles).reset_index(drop=True)
    notes = []
    if len(whole) < len(profiles):
        lost = len(profiles) - len(whole)
        notes.append(
            f"{lost} of {len(profiles)} profiles have features missing and are asked nothing: "
            "their images could not be read, or a channel of their plate is dead."
        )
    for name, values in (
        ("Plate", "the set"),
        ("Well", [f"row {i}" for i in range(len(whole))]),
        ("control_type", None),
    ):
        if f"Metadata_{name}" not in whole:
            whole.insert(0, f"Metadata_{name}", values)
    empty = whole["Metadata_control_type"] == "empty"
    if empty.any():
        notes.append(f"{_wells(int(empty.sum()))} marked empty are asked nothing.")
        whole = whole[~empty].reset_index(drop=True)
    kinds = whole["Metadata_control_type"].astype(object)
    # A column that differs within many wells reaches no profile.
    columns = Columns(
        *(name if name in whole else None for name in (
            columns.label, columns.perturbation, columns.dose
        )),
        tuple(name for name in columns.batches if name in whole),
    )  # fmt: skip
    names = _text(whole, columns.perturbation)
    doses = _text(whole, columns.dose)
    if columns.perturbation and columns.dose:
        both = (names + ", " + doses).where(doses.notna(), names)
        counts = both[kinds.isna()].value_counts()
        pooled = names[kinds.isna()].value_counts()
        if counts.max() == 1 and pooled.max() > 1:
            notes.append(
                f"No {_bare(columns.perturbation)} has two wells of one {_bare(columns.dose)}: "
                "its doses are taken together as replicates. A second well of each dose would "
                "keep them apart."
            )
            both = names
        names = both
    elif columns.dose:
        names = _bare(columns.dose) + " " + doses
    return Wells(whole.assign(**{TREATMENT: names.fillna(kinds)}), columns, notes)


def _text(frame, column):
    """A column as text, numbers in their shortest form; missing stays missing."""
    if column is None:
        return pd.Series(None, frame.index, dtype=object)
    values = frame[column]
    text = values.map(lambda v: f"{v:g}" if isinstance(v, float) else str(v)).astype(object)
    return text.where(values.notna(), None)


def what_was_read(wells):
    """Plates, controls and annotation as the page understands them, a table.

    Parameters
    ----------
    wells : Wells

    Returns
    -------
    pd.DataFrame
    """
    frame, columns = wells.profiles, wells.columns

    def values(column):
        if column is None:
            return "none"
        count = frame.loc[frame["Metadata_control_type"].isna(), column].nunique()
        return f"{_bare(column)}, {count} values among the treatments"

    kinds = frame["Metadata_control_type"]
    rows = {
        "wells": str(len(frame)),
        "plates": str(len(tables.groups(frame, tables.plate_columns(frame)))),
        "negative controls": str(int((kinds == "negcon").sum())),
        "positive controls": str(int((kinds == "poscon").sum())),
        "wells of treatments": str(int(wells.treated.sum())),
        "label": values(columns.label),
        "what replicates share": " and ".join(
            _bare(name) for name in (columns.perturbation, columns.dose) if name
        ) or "unknown",
        "dose": values(columns.dose),
    }  # fmt: skip
    return pd.DataFrame({"read": rows}).rename_axis("")


def bullets(sentences):
    """Sentences as a list in Markdown; nothing where there are none."""
    return "\n".join(f"- {sentence}" for sentence in sentences)


# Quality control.


def without_positions(wells):
    """Why there is no picture of the plate, in a sentence; "" where there is one."""
    if wells.positioned:
        return ""
    odd = next(w for w in wells.profiles["Metadata_Well"] if not plots.well_position(w))
    return (
        f"Positions cannot be asked about: the well {odd!r} is no position on a plate. A column "
        "well with names such as A01, or a row and a column, is needed."
    )


def heat_maps(wells, heading):
    """Arguments of `plots.measure_heat_maps`: foreground, objects, the channels' intensities."""
    frame = wells.profiles
    measures = {
        "foreground (share of pixels)": frame["Metadata_foreground"],
        "objects (count a field)": frame["Metadata_objects"],
    }
    for channel in quality.channels(frame):
        measures[f"mean {channel} (raw)"] = frame[f"Metadata_mean_{channel}"]
    return {"profiles": frame, "measures": measures, "heading": heading}


def position_effects(wells, *, draws=199, seed=0):
    """What position explains of the profiles, and of the measures of the images.

    Parameters
    ----------
    wells : Wells
        With positions.
    draws, seed : int
        As of `plate_quality.position_effects`.

    Returns
    -------
    pd.DataFrame
        That of `plate_quality.position_effects` for each of the two, in ``of``; of the wells that
        `plate_quality.position_sample` takes, in ``wells``.
    """
    rows, told = plate_quality.position_sample(wells.profiles)
    frame = wells.profiles[rows].reset_index(drop=True)
    measures = ["Metadata_foreground", "Metadata_objects"]
    measures += [f"Metadata_mean_{channel}" for channel in quality.channels(frame)]
    parts = []
    for of, names in (
        ("profiles", tables.feature_columns(frame)),
        ("foreground, objects, intensities", measures),
    ):
        if len(frame) < 3 or not (frame[names].nunique() > 1).any():
            continue
        made = plate_quality.position_effects(
            frame, names, wells.columns.batches, draws=draws, seed=seed
        )
        parts.append(made.assign(of=of, wells=told))
    if not parts:
        return pd.DataFrame(columns=["of", "position", "wells"])
    made = pd.concat(parts, ignore_index=True)
    return made[["of", "position", *made.columns[1:-2], "wells"]]


def position_findings(effects, wells, level):
    """What the table of `position_effects` says, in Markdown."""
    if effects.empty:
        return (
            "Position cannot be asked about: three or more wells that differ, in two rows or "
            "columns, are needed."
        )
    told = effects["wells"].iloc[0]
    found = effects[effects["p_value"] < level]
    sentences = [
        f"The {_bare(row.position)} explains {row.explained:.0%} of the variance of the {row.of} "
        f"(exchanged wells: {row.by_chance:.0%} on average; p = {row.p_value:.3g})."
        for row in found.itertuples()
    ] or [
        f"Among {told}, neither of {', '.join(map(_bare, dict.fromkeys(effects['position'])))} "
        f"explains more than exchanged wells do (p < {level:g})."
    ]
    if "treatments included" in told:
        sentences.append(
            f"Position is judged by {told}: where these are not spread at random, their effects "
            f"count as position. With {plate_quality.LEAST_CONTROLS} or more negative controls it "
            "would be judged by them."
        )
    if not wells.columns.batches:
        sentences.append(
            "Whether profiles follow their plate or batch cannot be asked: there is one only. A "
            "second, with the same controls, is needed."
        )
    return bullets(sentences)


# Replicates.


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
        return Answer(said=f"{cannot} no column names the treatments. {_name_them('label')}")
    if names.value_counts().max() < 2:
        return Answer(
            said=f"{cannot} every treatment has one well. A second well of each, at another "
            "position, is needed.",
        )
    if name == "activity" and not controls.any():
        return Answer(said=f"{cannot} no well is a negative control. {_name_them('controls')}"
        )  # fmt: skip
    asked = frame[controls | frame[TREATMENT].notna()].reset_index(drop=True)
    query = "negcon"
    try:
        return Answer(QUESTIONS[name](asked, TREATMENT, controls=query, seed=seed))
    except ValueError as error:
        return Answer(said=f"{cannot} {str(error).replace(TREATMENT, 'treatment')}")


def _name_them(parameter):
    """What would be needed, in a sentence."""
    if parameter == "controls":
        return (
            "A column control_type with negcon, or `controls`, a query such as "
            "\"compound == 'DMSO'\", would name them."
        )
    return (
        f"A column such as {', '.join(LABELS[:3])}, in the table or in a plate map, or `label` "
        "with the name of another would."
    )


def retrieval_table(answers, level):
    """The answers to `QUESTIONS` in a row each; those that could be asked."""
    rows = {name: summary(a.table, level) for name, a in answers.items() if not a.table.empty}
    made = pd.DataFrame(rows).T.rename_axis("question")
    return made.astype({"asked": int, "not_askable": int}) if rows else made


def retrieval_findings(answers, wells, level):
    """What the answers say, and what could not be asked, in Markdown."""
    sentences = list(wells.notes)
    for name, answer in answers.items():
        if answer.table.empty:
            sentences.append(answer.said)
            continue
        told = summary(answer.table, level)
        least = told["least_corrected_p_value"]
        asked = int(told["asked"])
        against = "the negative controls" if name == "activity" else "all other wells"
        found = round(told["retrieved"] * asked)
        sentences.append(
            f"{name.capitalize()}: {found} of {asked} treatments find their replicates before "
            f"{against} of their plate (corrected p < {level:g}); the mean normalised average "
            f"precision is {told['mean_normalized_average_precision']:.2f}."
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
        One row: ``label``, ``n``, ``correct``, ``accuracy``, ``low``, ``high`` (95 %, resampling
        perturbations), ``macro``, ``answerable``, and of exchanged labels ``exchanged``,
        ``exchanged_high`` (97.5th percentile) and ``p_value``.
    """
    columns, cannot = wells.columns, "Nearest neighbours cannot be asked:"
    if columns.label is None:
        return Answer(said=f"{cannot} the wells have no label. {_name_them('label')}")
    frame = wells.profiles[wells.treated & wells.profiles[columns.label].notna()]
    frame = frame.reset_index(drop=True)
    name, counts = _bare(columns.label), frame[columns.label].value_counts()
    if len(counts) < 2:
        return Answer(said=f"{cannot} fewer than two values of {name} among the treated wells.")
    if counts.max() < 2:
        return Answer(
            said=f"{cannot} every {name} stands in one treated well. A second well of some is "
            "needed.",
        )
    replicated = columns.perturbation != columns.label
    exclude = ["Metadata_Well", *([columns.perturbation] if replicated else [])]
    # Of single wells each is a group of its own.
    frame["Metadata_asked_well"] = np.arange(len(frame)).astype(str)
    made = nearest_neighbour_accuracy(
        frame, columns.label, exclude, features=tables.feature_columns(frame)
    ) if _can_match(frame, columns.label, exclude) else None  # fmt: skip
    if made is None:
        barred = f" and {_bare(columns.perturbation)}" if replicated else ""
        return Answer(
            said=f"{cannot} wells of one {name} share their position{barred}. Wells of it that do "
            "not are needed.",
        )
    by = columns.perturbation if replicated else columns.label
    low, high = bootstrap_interval(made, frame, by, draws=draws, seed=seed)
    exchange = columns.perturbation if replicated else "Metadata_asked_well"
    null = permutation_null(made, frame, exchange, draws=draws, seed=seed)
    row = {
        "label": name,
        "n": made.n,
        "correct": made.correct,
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
        f"There is no map: {_wells(len(wells.profiles))} can be asked about, and "
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
    named = wells.profiles[["Metadata_Plate", "Metadata_Well"]].rename(columns=_bare)
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
            f"{cannot} no column of numbers is named {' or '.join(DOSES)}. Add one, or name it "
            "by `dose`."
        )
    if wells.negative.sum() < 2:
        return (
            f"{cannot} fewer than two wells are negative controls, from which a response is "
            f"measured. {_name_them('controls')}"
        )
    doses = wells.profiles.loc[wells.treated, columns.dose].dropna()
    if doses.nunique() < 2:
        return f"{cannot} all treated wells have one {_bare(columns.dose)}. A second is needed."
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
    features = tables.feature_columns(frame)
    kinds = frame["Metadata_control_type"]
    score = np.full(len(frame), np.nan)
    if (kinds == "poscon").any():
        score = dose_response.along_controls(frame, features)
    scored = "score along the controls' axis"
    if np.isnan(score).any():
        score = dose_response.distance_from_controls(frame, features)
        scored = "distance from the negative controls"
    group = frame[columns.perturbation] if columns.perturbation else "all treatments"
    series = pd.DataFrame({"dose": frame[columns.dose], "score": score}).assign(group=group)
    series = series[wells.treated].dropna().reset_index(drop=True)
    made = dose_response.trends(series, "group", "dose", "score", draws=draws, seed=seed)
    controls = {kind: score[(kinds == kind).to_numpy()] for kind in ("negcon", "poscon")}
    controls = {kind: values[np.isfinite(values)] for kind, values in controls.items()}
    enough = min(map(len, controls.values())) > 1
    z_prime = dose_response.z_prime(*controls.values()) if enough else np.nan
    order = made["spearman"].abs().sort_values(ascending=False, kind="stable").index
    return Doses(series, controls, scored, made.loc[order].reset_index(drop=True), z_prime)


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
            f"in {len(found)} of {len(asked)} cases{': ' if names else ''}{names}."
        )
    for why, count in made.trends["said"].value_counts().drop("", errors="ignore").items():
        wanted = f"Wells of at least {dose_response.LEAST_DOSES} doses of each are needed."
        sentences.append(f"{count} of {len(made.trends)} are {why}. {wanted}")
    if np.isfinite(made.z_prime):
        apart = "apart" if made.z_prime > 0 else "not apart by three standard deviations of each"
        sentences.append(
            f"Z' of {len(made.controls['negcon'])} negative and {len(made.controls['poscon'])} "
            f"positive controls is {made.z_prime:.2f}: they stand {apart}."
        )
    return bullets(sentences)


# What to distrust.


def distrust(wells, flagged, sites, effects, answers, level, told=plate_quality.TOLD):
    """What speaks against a finding on this plate; an empty list where nothing was found.

    Parameters
    ----------
    wells : Wells
    flagged, sites : pd.DataFrame
        Of `plate_quality.flags`.
    effects : pd.DataFrame
        Of `position_effects`; empty where positions could not be asked about.
    answers : dict
        Of `ask`.
    level : float
        Of p-values.
    told : float
        See `plate_quality.TOLD`.

    Returns
    -------
    list of str
        Sentences.
    """
    return [
        *_distrust_layout(wells, told),
        *_distrust_replicates(wells, answers, level),
        *_distrust_controls(wells, level),
        *_distrust_flags(wells, flagged, sites),
        *_distrust_positions(effects, level),
    ]


def _distrust_layout(wells, told):
    """Labels and doses that position gives away, controls that stand together."""
    if not wells.positioned:
        return
    treated = wells.profiles[wells.treated].reset_index(drop=True)
    asked = dict.fromkeys(filter(None, (wells.columns.label, wells.columns.dose)))
    for column in asked:
        part = treated[treated[column].notna()].reset_index(drop=True)
        if part[column].nunique() < 2:
            continue
        shares = plate_quality.told_by_position(part, part[column])
        ranks = {}
        if column == wells.columns.dose:
            ranks = plate_quality.ranks_by_position(part, part[column])
        for place, share in shares.items():
            if share >= told:
                yield (
                    f"The {place} of a well tells its {_bare(column)} ({share:.2f} of what the "
                    f"commonest does not): what {place}s differ in passes for an effect of the "
                    f"{_bare(column)}. Spread it over the plate."
                )
            elif abs(ranks.get(place, 0)) >= told:
                yield (
                    f"The {_bare(column)} rises or falls with the {place} (Spearman's "
                    f"correlation {ranks[place]:.2f}): any gradient over the plate passes for a "
                    "dose response. Spread the doses over the plate."
                )
    negative = wells.profiles[wells.negative]
    if len(negative) > 1 and len(treated):
        for place, names in plate_quality.crowded(negative, treated).items():
            yield (
                f"All {len(negative)} negative controls stand in {place} {' and '.join(names)}, "
                "where no treatment stands: what is odd there sets every treatment apart from "
                "them. Spread the controls over the plate."
            )


def _distrust_replicates(wells, answers, level):
    """Treatments at one position, with few wells, or that no p-value could find."""
    frame = wells.profiles[~wells.negative & wells.profiles[TREATMENT].notna()]
    counts = frame[TREATMENT].value_counts()
    if counts.empty:
        yield (
            "Nothing here names the treatments, so that no finding of this page speaks of any."
        )  # fmt: skip
        return
    places = frame.groupby(TREATMENT)["Metadata_Well"].nunique()
    one = int(((places == 1) & (counts.reindex(places.index) > 1)).sum())
    if one:
        yield (
            f"{one} of {len(counts)} treatments stand at one position on every plate: their "
            "replicates share it, and what is alike may be the position."
        )
    few = int((counts < LEAST_REPLICATES).sum())
    if few:
        yield (
            f"{few} of {len(counts)} treatments have fewer than {LEAST_REPLICATES} wells: one odd "
            "well decides what is said of them."
        )
    for name, answer in answers.items():
        if not answer.table.empty:
            least = summary(answer.table, level)["least_corrected_p_value"]
            if least >= level:
                yield (
                    f"That no treatment is found by {name} says nothing: no p-value below "
                    f"{least:.2g} can be reached."
                )


def _distrust_controls(wells, level):
    """Negative controls that scatter as widely as the treatments."""
    negative = wells.negative
    if negative.sum() < 2 or not wells.treated.any():
        return
    features = tables.feature_columns(wells.profiles)
    distance = dose_response.distance_from_controls(wells.profiles, features)
    own, other = (
        values[np.isfinite(values)] for values in (distance[negative], distance[wells.treated])
    )
    if not len(own) or not len(other):
        return
    test = mannwhitneyu(other, own, alternative="greater")
    if test.pvalue >= level:
        yield (
            f"The negative controls scatter as widely as the treatments: of pairs of the two, "
            f"{test.statistic / (len(own) * len(other)):.0%} have the treatment farther from the "
            f"controls' centre (p = {test.pvalue:.2g}). Look at the plate map and at the images "
            "before anything else."
        )


def _distrust_flags(wells, flagged, sites):
    """Wells that quality control flagged."""
    if not len(flagged):
        return
    looked = plate_quality.wells_to_look_at(flagged, sites)
    total = len(set(plate_quality.well_names(sites)))
    controls = plate_quality.negative_controls(sites)
    own = {
        name
        for name, control in zip(plate_quality.well_names(sites), controls, strict=True)
        if control
    }
    among = sum(name in own for name in looked["well"])
    yield (
        f"{len(looked)} of {_wells(total)} have flags, {among} negative controls among them: "
        f"{listed([(name,) for name in looked['well']])}. Repeat what rests on them without them."
    )


def _distrust_positions(effects, level):
    """Positions that explain more than chance."""
    for row in effects.itertuples():
        if row.p_value < level:
            yield (
                f"The {_bare(row.position)} explains {row.explained:.0%} of the variance of the "
                f"{row.of}, exchanged wells {row.by_chance:.0%} (p = {row.p_value:.2g}; "
                f"{row.wells})."
            )
