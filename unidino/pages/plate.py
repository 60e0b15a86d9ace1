"""The page of one's own plate: its columns, its wells, and whether it is sound."""

from dataclasses import dataclass

import pandas as pd

from .. import quality, tables, valsets
from ..evaluate import plate_quality, significance
from ..metadata import added_columns
from . import extraction, plots

EXAMPLE = ("data/example/plate.csv", "data/example/layout.csv")
"""The simulated plate that the page runs on by default, and its plate map."""

LABELS = tuple(name for name in tables.LABELS if name != "control_type")
"""Columns that may be the label where none is named, the first that a plate has."""

TREATMENT = "Metadata_asked_treatment"
"""Column that `wells_to_ask` adds: what replicates share."""

_OF_DATASET = ("valset", "root", "remote", "platemap", "channels", "controls", "channel_axis")
_OF_DATASET += ("pattern", "plane", "timepoint", "resolution_level", "acquisition")


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
        The first of `tables.DOSES` that holds numbers, by default.
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
    options = {name: given.get(name) for name in _OF_DATASET}
    # How many files may be missing is for the extraction to judge, before it embeds any.
    metadata = valsets.open_valset(**options, check_files=False)
    frame = metadata.described
    named = {"label": label, "perturbation": perturbation, "dose": dose}
    if batch != "batch":
        named["batch"] = batch
    found = {name: _column(metadata, name, value) for name, value in named.items() if value}
    batches = [name for name in ("plate", found.get("batch", "batch")) if name in frame.columns]
    several = tuple(name for name in batches if frame[name].nunique(dropna=False) > 1)
    return _completed(frame, found, several, f"{metadata.valset} or its plate map")


def stored_columns(profiles, label=None, perturbation=None, dose=None):
    """What is asked of profiles that are there already, as `find_columns` looks for it.

    Parameters
    ----------
    profiles : pd.DataFrame
        Of one plate.
    label, perturbation, dose : str, optional
        As of `find_columns`.

    Returns
    -------
    Columns

    Raises
    ------
    ValueError
        A column that does not exist, or doses that are no numbers: names the parameter and the
        columns that there are.
    """
    there = [name for name in tables.metadata_columns(profiles) if name.startswith("Metadata_")]
    lower = {bare(name).lower(): name for name in there}
    found = {}
    for parameter, name in (("label", label), ("perturbation", perturbation), ("dose", dose)):
        if name is None:
            continue
        if bare(name).lower() not in lower:
            measured = added_columns(quality.channels(profiles))
            own = [bare(column) for column in there if bare(column) not in measured]
            raise ValueError(
                f"{parameter} {name!r} is no column of the profiles; the columns are: "
                f"{', '.join(own)}. Name one of them, or add it to the dataset and extract again: "
                "nothing is embedded twice."
            )
        found[parameter] = lower[bare(name).lower()]
    return _completed(profiles, found, (), "the dataset or its plate map")


def _completed(frame, found, batches, place):
    """`Columns` of those that were named, the others looked for by their names."""
    if "dose" in found and not _holds_numbers(frame[found["dose"]]):
        text = frame[found["dose"]].dropna()
        shown = f" such as {text.iloc[0]!r}" if len(text) else ""
        raise ValueError(
            f"dose {bare(found['dose'])!r} holds text{shown}; doses are numbers. Correct the "
            f"column in {place}, or name another."
        )
    for name in tables.key_columns(frame, LABELS):
        if frame[name].nunique() > 1:
            found.setdefault("label", name)
    for name in tables.key_columns(frame, tables.DOSES):
        if _holds_numbers(frame[name]) and frame[name].nunique() > 1:
            found.setdefault("dose", name)
    label = found.get("label")
    columns = (label, found.get("perturbation", label), found.get("dose"))
    named = [tables.metadata_name(name) if name else None for name in columns]
    return Columns(*named, tuple(map(tables.metadata_name, batches)))


def _holds_numbers(values):
    return pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)


def _column(metadata, parameter, name):
    """The bare column that a parameter names, the same for all sites of most wells."""
    frame = metadata.metadata
    bare = str(name).removeprefix("Metadata_")
    lower = {
        str(column).lower(): column for column in frame.columns if column not in tables.FILE_COLUMNS
    }
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
        kinds = self.profiles["Metadata_control_type"].map(plots.CONTROLS).astype(object)
        if self.columns.label is None:
            return kinds, "control type"
        return kinds.fillna(self.profiles[self.columns.label]), bare(self.columns.label)


def bare(column):
    """A column's name without its prefix."""
    return column.removeprefix("Metadata_")


def counted(count):
    """ "1 well", "2 wells"."""
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

    Raises
    ------
    ValueError
        No well is readable and has all features.
    """
    whole = extraction.complete(profiles).reset_index(drop=True)
    if whole.empty:
        raise ValueError(
            f"none of the {len(profiles)} profiles has all features: no image could be read, or "
            "every channel is dead. Look at the images and at the column Metadata_error of the "
            "site tables."
        )
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
        notes.append(f"{counted(int(empty.sum()))} marked empty are asked nothing.")
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
                f"No {bare(columns.perturbation)} has two wells of one {bare(columns.dose)}: "
                "its doses are taken together as replicates. A second well of each dose would "
                "keep them apart."
            )
            both = names
        names = both
    elif columns.dose:
        names = bare(columns.dose) + " " + doses
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
        return f"{bare(column)}, {count} values among the treatments"

    kinds = frame["Metadata_control_type"]
    rows = {
        "wells": str(len(frame)),
        "plates": str(len(tables.groups(frame, tables.plate_columns(frame)))),
        "negative controls": str(int((kinds == "negcon").sum())),
        "positive controls": str(int((kinds == "poscon").sum())),
        "wells of treatments": str(int(wells.treated.sum())),
        "label": values(columns.label),
        "what replicates share": " and ".join(
            bare(name) for name in (columns.perturbation, columns.dose) if name
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


def no_layout(wells):
    """Why there is no picture of the layout, in a sentence; "" where there is one."""
    if wells.labels[0].notna().any():
        return without_positions(wells)
    return f"There is no layout to show: the wells have no label. {name_them('label')}"


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


def position_effects(wells, *, draws=999, seed=0):
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
        `plate_quality.position_sample` takes, in ``wells``; ``corrected_p_value`` (Benjamini and
        Hochberg) over all rows.
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
    made["corrected_p_value"] = significance.corrected(made["p_value"])
    names = ["values", "n_wells", "explained", "by_chance", "chance_95", "p_value"]
    return made[["of", "position", *names, "corrected_p_value", "wells"]]


def position_findings(effects, wells, level):
    """What the table of `position_effects` says, in Markdown."""
    if effects.empty:
        return (
            "Position cannot be asked about: three or more wells that differ, in two rows or "
            "columns, are needed."
        )
    told = effects["wells"].iloc[0]
    found = effects[effects["corrected_p_value"] < level]
    sentences = [
        f"The {bare(row.position)} explains {row.explained:.0%} of the variance of the {row.of} "
        f"(exchanged wells: {row.by_chance:.0%} on average; corrected p = "
        f"{row.corrected_p_value:.2g})."
        for row in found.itertuples()
    ] or [
        f"Among {told}, none of {', '.join(map(bare, dict.fromkeys(effects['position'])))} "
        f"explains more than exchanged wells do (corrected p < {level:g})."
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


def name_them(parameter):
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
