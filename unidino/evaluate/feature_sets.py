"""Profiles of one dataset, by several models or programs, to be compared on the same wells."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from .. import paths, tables, valsets
from ..profiles.aggregation import aggregate
from ..profiles.normalisation import normalise
from ..profiles.reference import listed
from . import baselines, measured_cells

_TABLES = (".parquet", ".csv", ".csv.gz")

UNITS = {
    "well": ("source", "batch", "plate", "well"),
    "image": ("image",),
}
"""What a profile describes -> columns that name one."""


@dataclass
class FeatureSet:
    """One way to describe the wells of a dataset.

    Attributes
    ----------
    name : str
        In tables and figures.
    profiles : pd.DataFrame or None
        One row a well: metadata, then features as they were made, not normalised; None where they
        are absent.
    provenance : dict
        Of an extraction; empty for tables of other software.
    said : str
        Why it is absent, or what was left out; else empty.
    kind : str
        What it rests on: "model", a network or another program that was given; "no model",
        statistics of the images or of measured cells; "label alone", nothing but a label such as
        the position, which is compared as it is, without normalisation.
    """

    name: str
    profiles: pd.DataFrame | None
    provenance: dict = field(default_factory=dict)
    said: str = ""
    kind: str = "model"


def read(entries, valset, outdir=None, unit="well"):
    """Read feature sets that are on disk; nothing is embedded.

    Parameters
    ----------
    entries : list of str
        A model's name, whose extraction of the dataset lies in `outdir`, or cp_measure
        (`measured_cells`); the folder of an extraction; a table (``.parquet``, ``.csv``,
        ``.csv.gz``) of an extraction, of the published code or of CellProfiler. ``NAME=`` before
        any of them gives it another name.
    valset : str
        The dataset's name, or the CSV that it is listed in.
    outdir : str or Path, optional
        Output root of extractions; `paths.outputs_root` by default.
    unit : {"well", "image"}
        What a profile describes.

    Returns
    -------
    list of FeatureSet
        In the order given; one that is absent says so, and how it is made.

    Raises
    ------
    ValueError
        No entry, two of one name, none that could be read; a table without features, or without
        the columns plate and well, or image.
    """
    if isinstance(entries, str) or not list(entries):
        raise ValueError(
            f"profiles is {entries!r}; it is a list of models or tables, such as ['unidino-demo']."
        )
    outdir = outdir or paths.outputs_root()
    made = [_read(str(entry), str(valset), outdir, unit) for entry in entries]
    names = [one.name for one in made]
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise ValueError(
            f"two of the profiles are called {twice[0]!r}; give one another name: "
            f"'another={twice[0]}'."
        )
    if all(one.profiles is None for one in made):
        raise ValueError("none of the profiles is there: " + " ".join(one.said for one in made))
    return made


def _read(entry, valset, outdir, unit):
    named, equals, place = entry.partition("=")
    if not equals:
        named, place = None, entry
    path = Path(place).expanduser()
    if place.endswith(_TABLES):
        if not path.is_file():
            return FeatureSet(named or path.name.split(".")[0], None, said=f"No file {path}.")
        return _checked(named or path.name.split(".")[0], path, unit)
    folder = path
    if not folder.is_dir():
        is_file = valset.endswith(_TABLES)
        folder = paths.valset_folder(outdir, place, Path(valset).stem if is_file else valset)
    found = sorted(folder.glob("*_no_post_proc_*_features.parquet"))
    if not found:
        told = f"Not extracted: unidino extract --valset {valset} --model {place} --outdir {outdir}"
        if place == measured_cells.NAME:
            told = f"Not measured: python -m unidino.evaluate.measured_cells {valset}"
        return FeatureSet(named or place, None, said=told)
    made = _checked(named or place, found[0], unit)
    return replace(made, kind="no model") if place == measured_cells.NAME else made


@dataclass(frozen=True)
class Comparison:
    """Feature sets of one dataset on the wells that all of them describe.

    Attributes
    ----------
    valset : str
    sets : list of FeatureSet
        The absent ones among them.
    """

    valset: str
    sets: list

    @property
    def first(self):
        """The first set that is there: what the others are compared with."""
        return next(one for one in self.sets if one.profiles is not None)

    @property
    def data(self):
        """ "simulated" or "real", by the provenance of the first set."""
        return "simulated" if self.first.provenance.get("simulated") else "real"

    @property
    def where(self):
        """Dataset and kind of data, for headings."""
        return f"{self.valset}, {self.data}"

    @property
    def kinds(self):
        """{name of a set: what it rests on}."""
        return {one.name: one.kind for one in self.sets}

    def models(self, profiles):
        """Those of {name of a set: profiles} that rest on images."""
        return {name: made for name, made in profiles.items() if self.kinds[name] != "label alone"}


def compare(entries, valset, root=None, outdir=None, alone=("well", "batch"), unit="well"):
    """Feature sets that are on disk, and those that need no model, on the same wells.

    Parameters
    ----------
    entries, valset, outdir, unit
        As of `read`.
    root, alone
        As of `without_model`.

    Returns
    -------
    Comparison

    Raises
    ------
    ValueError
        As `read` and `on_same_wells`.
    """
    found = read(entries, valset, outdir, unit)
    first = next(one for one in found if one.profiles is not None)
    simple = without_model(first, valset, root, alone, unit)
    return Comparison(str(valset), on_same_wells([*found, *simple], unit))


def _checked(name, path, unit):
    frame = tables.read_table(path)
    if not tables.feature_columns(frame):
        raise ValueError(
            f"{path.name} has no feature columns; expected emb…, or CellProfiler's Cells_, "
            "Cytoplasm_, Nuclei_."
        )
    for column in ("plate", "well") if unit == "well" else UNITS[unit]:
        tables.find_column(frame, column)
    return FeatureSet(name, frame, frame.attrs.get("provenance", {}))


def without_model(first, valset, root=None, alone=("well", "batch"), unit="well"):
    """Sets that know less than a model: what it has to beat, and what the layout gives away.

    Parameters
    ----------
    first : FeatureSet
        Of whose wells they are made.
    valset : str
        As of `read`; its images are read for hand-made features.
    root : str, optional
        Its data root.
    alone : sequence of str
        Columns that are features by themselves (`baselines.one_hot`).
    unit : {"well", "image"}
        As of `read`.

    Returns
    -------
    list of FeatureSet
        "hand-made", "count and intensity", then "position alone" for the well and "<column> alone"
        for others; one that cannot be made says why.
    """
    wells = first.profiles

    def by_hand():
        sites = baselines.handmade(valsets.open_valset(valset, root=root))
        return aggregate(sites) if unit == "well" else sites

    made = [
        _made("hand-made", "no model", by_hand),
        _made("count and intensity", "no model", lambda: baselines.count_and_intensity(wells)),
    ]
    for column in alone:
        name = "position alone" if column == "well" else f"{column} alone"
        # Bound now: the loop goes on.
        made.append(_made(name, "label alone", lambda c=column: baselines.one_hot(wells, c)))
    return made


def object_count(first):
    """The set "object count": the number of nuclei in each well and nothing else.

    Parameters
    ----------
    first : FeatureSet
        Of whose wells it is made.

    Returns
    -------
    FeatureSet
        Without profiles, and saying why, where the table holds no counts.
    """
    return _made("object count", "no model", lambda: baselines.object_count(first.profiles))


def _made(name, kind, make):
    try:
        return FeatureSet(name, make(), kind=kind)
    except (ValueError, OSError) as error:
        return FeatureSet(name, None, said=str(error), kind=kind)


def on_same_wells(sets, unit="well"):
    """The sets on the wells that all of them describe, with the labels of the first.

    Parameters
    ----------
    sets : list of FeatureSet
        From `read`.
    unit : {"well", "image"}
        As of `read`; what is said of wells holds of images.

    Returns
    -------
    list of FeatureSet
        The absent ones as they are; of the others the wells whose features all have, in the order
        of the first. ``said`` tells how many wells each had beside these, and how many of its
        features miss values on them, which are left out.

    Raises
    ------
    ValueError
        A well that stands twice in a table; no well that all describe.
    """
    present = [one for one in sets if one.profiles is not None]
    keys = [
        name for name in UNITS[unit] if all(tables.key_columns(p.profiles, [name]) for p in present)
    ]
    frames = {one.name: one.profiles.set_axis(_places(one, keys, unit)) for one in present}
    first = frames[present[0].name]
    kept = first.index
    for frame in frames.values():
        # A well that could not be read has no feature at all; a feature that a few wells lack is
        # left out instead.
        read = frame[tables.feature_columns(frame)].notna().any(axis=1).to_numpy()
        kept = kept[kept.isin(frame.index[read])]
    if not len(kept):
        raise ValueError(
            f"no {unit} is described by all of {', '.join(frames)}: compare the columns "
            f"{', '.join(keys)} of their tables."
        )
    labels = first.loc[kept, tables.metadata_columns(first)]
    return [
        one if one.profiles is None else _cut(one, frames[one.name], labels, unit) for one in sets
    ]


def _cut(one, frame, labels, unit):
    """A set on some of its wells, with these labels; features that one lacks are left out."""
    features = frame.loc[labels.index, tables.feature_columns(frame)]
    finite = np.isfinite(features.to_numpy(float)).all(0)
    said = [one.said] if one.said else []
    if len(frame) > len(labels):
        said.append(f"{len(frame) - len(labels)} {unit}s left out: not every set describes them.")
    if not finite.all():
        missing = [(name,) for name in features.columns[~finite]]
        said.append(f"{len(missing)} features left out, with missing values: {listed(missing)}.")
    joined = pd.concat([labels, features.loc[:, finite]], axis=1).reset_index(drop=True)
    return replace(one, profiles=joined, said=" ".join(said))


def _places(one, keys, unit):
    """Where each row of a set lies, as an index of tuples."""
    columns = [tables.find_column(one.profiles, name) for name in keys]
    places = pd.MultiIndex.from_frame(one.profiles[columns].astype(str))
    if places.has_duplicates:
        again = places[places.duplicated()][0]
        raise ValueError(
            f"{one.name}: {', '.join(f'{k} {v}' for k, v in zip(keys, again, strict=True))} stands "
            f"in two rows; a set has one row for each {unit}. Average them first."
        )
    return places


def normalised(sets, norm_method="standardize", reference="negcon"):
    """The profiles of all sets that are there, normalised alike.

    Parameters
    ----------
    sets : list of FeatureSet
    norm_method, reference : str
        As of `profiles.normalise`, by plate. Labels alone stay as they are: a normalisation by
        plate would take a batch out.

    Returns
    -------
    dict of str to pd.DataFrame
        By name, in their order.

    Raises
    ------
    ValueError
        As `profiles.normalise`.
    """
    return {
        one.name: one.profiles
        if one.kind == "label alone"
        else normalise(one.profiles, norm_method, reference).profiles
        for one in sets
        if one.profiles is not None
    }


def described(sets, unit="well"):
    """A table of what is compared.

    Parameters
    ----------
    sets : list of FeatureSet
    unit : {"well", "image"}
        As of `read`.

    Returns
    -------
    pd.DataFrame
        features (the name), wells or images, dimensions, kind, made by, said; an absent set has
        its reason.
    """
    rows = []
    for one in sets:
        present = one.profiles is not None
        settings = one.provenance.get("settings", {})
        origin = one.provenance.get("model_origin") or settings.get("model")
        if origin is None and present and one.kind == "model":
            origin = "another program"
        if settings.get("model") == Path(paths.DEMO_WEIGHTS).stem and one.provenance.get(
            "simulated"
        ):
            origin = f"{origin}; its training saw this simulator's plates, of other seeds"
        rows.append(
            {
                "features": one.name,
                f"{unit}s": len(one.profiles) if present else 0,
                "dimensions": len(tables.feature_columns(one.profiles)) if present else 0,
                "kind": one.kind,
                "made by": origin or "",
                "said": one.said,
            }
        )
    return pd.DataFrame(rows).set_index("features")
