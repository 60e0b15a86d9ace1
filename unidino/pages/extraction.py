"""What a page says about an extraction, from its stored tables: a resumed run says the same."""

import textwrap
from dataclasses import dataclass
from itertools import chain

import numpy as np
import pandas as pd

from .. import flatfield, illumination, paths, quality, tables
from ..profiles import SPARSE
from . import notebook, plots

# `dataset` loads torch, which takes seconds: functions that read images import it.

COLOURED_BY = ("moa", "target", "gene_symbol", "label", "treatment", "compound", "perturbation_id")
"""Columns that profiles are coloured by, the first that a dataset has."""

_UNTRAINED = "random_vit"

_MEASURES = {"mean": "mean intensity (raw)", "saturated": "saturated share", "focus": "focus"}


def page_name(made):
    """Stem of the page's files: the dataset in lower case."""
    return "extract_" + made.provenance["valset"].lower().replace("-", "_")


def kind(made):
    """ "simulated" or "real"."""
    return "simulated" if made.provenance["simulated"] else "real"


def headline(made, *others):
    """What the page shows, in Markdown: data, model and normalisation of each, then all warnings.

    Parameters
    ----------
    made, *others : inference.Extraction
        Of the same images: what several warn of is said once.
    """
    every = (made, *others)
    warned = dict.fromkeys(text for one in every for text in one.warnings)
    sentences = [_sentence(one) for one in every]
    warnings = "\n".join(f"- Warning: {text}" for text in warned)
    return "\n\n".join([*sentences, *filter(None, (warnings,))])


def _sentence(made):
    model = made.provenance["settings"]["model"]
    origin = made.provenance.get("model_origin")
    told = f" ({origin})" if origin else ""
    if model.startswith(_UNTRAINED):
        told = " (an untrained network: a baseline, not a result)"
    article = "**Simulated** images" if made.provenance["simulated"] else "Real images"
    reference = made.provenance.get("reference", "none")
    return (
        f"{article} of {made.provenance['valset']}, embedded by `{model}`{told}; "
        f"normalised by `{made.provenance['norm_method']}`, reference: {reference}."
    )


def counts(made):
    """Sites, tiles and profiles of an extraction, as a table."""
    wording = {
        "sites": "sites in the table",
        "ok": "sites read, with foreground",
        "empty": "sites read, without foreground",
        "failed": "sites that could not be read",
        "tiles": "tiles",
        "tiles_kept": "tiles kept",
        "profiles": "profiles",
        "features": "features",
    }
    values = {text: made.counts[key] for key, text in wording.items()}
    values["features without spread, dropped"] = len(made.provenance.get("dropped_features", ()))
    return pd.DataFrame({"count": values}).rename_axis(kind(made))


def channels(sites):
    """Mean intensity, saturated share and focus of each channel, over the sites that were read."""
    read = sites[sites["Metadata_status"] != "failed"]
    names = [c.removeprefix("Metadata_mean_") for c in sites if c.startswith("Metadata_mean_")]
    table = pd.DataFrame(
        {text: [read[f"Metadata_{m}_{n}"].mean() for n in names] for m, text in _MEASURES.items()},
        index=names,
    )
    return table.rename_axis("channel")


def label_of(profiles):
    """The column that profiles are coloured by, or None."""
    for name in COLOURED_BY:
        for column in profiles.columns:
            if column.lower() == f"metadata_{name}" and profiles[column].nunique() > 1:
                return column
    return None


def _label_values(profiles, column=None):
    """(label of each profile, its name): controls by their type, the others by their label."""
    column = column or label_of(profiles)
    values = profiles[column].astype(object) if column else pd.Series(None, profiles.index)
    controls = profiles.get("Metadata_control_type")
    if controls is not None:
        values = values.where(controls.isna(), controls.map(plots.CONTROLS))
    name = column.removeprefix("Metadata_") if column else "label"
    return values, name


def _title(*parts):
    """A column's title: one part a line, long ones on two."""
    wording = (str(part).replace("|", " + ") for part in parts if pd.notna(part) and part != "")
    return "\n".join(textwrap.fill(text, 20, max_lines=2, placeholder=" …") for text in wording)


def montage(made, most=4, label=None):
    """Arguments of `plots.tile_montage`: sites evenly spaced through those with foreground.

    Parameters
    ----------
    made : inference.Extraction
    most : int
        Sites.
    label : str, optional
        Column that heads them, beside the well, and through whose values they are spaced; that of
        `label_of`, and the order of the table, by default.
    """
    from .. import dataset

    files, plates = zip(*made.site_tables(), strict=True)
    sites = pd.concat([plate.assign(file=i) for i, plate in enumerate(plates)], ignore_index=True)
    read = np.flatnonzero(sites["Metadata_status"] == "ok")
    if not len(read):
        read = np.flatnonzero(sites["Metadata_status"] == "empty")
    values, _ = _label_values(sites, label)
    if label is not None:
        read = read[np.argsort(values.iloc[read].astype(str), kind="stable")]
    chosen = read[np.linspace(0, len(read) - 1, min(most, len(read))).astype(int)]
    limits = []
    for number in sites["file"].iloc[chosen]:
        statistics = pd.DataFrame(tables.read_provenance(files[number])["intensity_statistics"])
        limits.append(_limits(statistics, made.metadata.channels))
    wells = sites.get("Metadata_Well", pd.Series("", sites.index))
    rows = sites["Metadata_row"].iloc[chosen]
    return {
        "sites": [dataset.load_site(made.metadata, row) for row in rows],
        "pixel_sizes": [dataset.pixel_size_read(made.metadata, row) for row in rows],
        "channels": made.metadata.channels,
        "limits": limits,
        "titles": [_title(wells.iloc[i], values.iloc[i]) for i in chosen],
        "heading": f"{made.provenance['valset']}, {kind(made)}",
    }


def what_was_corrected(made):
    """Which illumination functions the images were divided by, in a sentence or two."""
    setting = made.provenance["settings"].get("illumination")
    if setting is None:
        return (
            "No illumination function is applied: the images are embedded as they are "
            "(`illumination`)."
        )
    if setting == "given":
        return "The images are divided by the illumination functions that the dataset gives."
    records = [tables.read_provenance(file)["illumination"] for file, _ in made.site_tables()]
    # Without plates all tables tell of the same functions.
    records = {record["identity"]: record for record in records}.values()
    errors = [one["error"] for record in records for one in record["functions"].values()]
    counts = sorted({record["sites"] for record in records})
    counts = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    plates = f" on each of {len(records)} plates" if len(records) > 1 else ""
    return (
        f"The images are divided by illumination functions, estimated for each channel from "
        f"{counts} sites{plates}. Their standard error, by the functions of two halves of the "
        f"sites, is {np.median(errors):.1%} (median) and at most {max(errors):.1%}."
    )


def light(made):
    """Arguments of `plots.illumination`, of the first plate that is corrected; None without one.

    The functions are those of the plate's first corrected site, the mean images those of up to
    `plate_illumination.SITES` of its sites.
    """
    from .. import dataset, plate_illumination

    for key, rows in made.metadata.plates().items():
        part = dataset.subset(made.metadata, rows)
        lit = [row for row in range(len(rows)) if any(part.illumination(row))]
        if not lit:
            continue
        order = dataset.sample_rows(dataset.subset(part, lit), 0)
        before, after, count = plate_illumination.mean_images(part, [lit[i] for i in order])
        functions = [
            np.ones(before.shape[1:]) if file is None else _blocks(file)
            for file in part.illumination(lit[0])
        ]
        where = f", plate {' '.join(map(str, key))}" if key else ""
        return {
            "functions": np.stack(functions),
            "before": before,
            "after": after,
            "channels": part.channels,
            "heading": f"{made.provenance['valset']}{where}, {kind(made)}: {count} sites",
        }
    return None


def _blocks(file):
    """A function's means over the blocks of its field."""
    function = illumination.read_function(file)
    return flatfield.block_means(flatfield.block_sums(function), 1, function.shape)


def illumination_figure(made, name=None):
    """The figure of `plots.illumination`, stored under a name, by default that of the page, and
    shown; None where nothing is corrected."""
    arguments = light(made)
    if arguments is None:
        return None
    figure = plots.illumination(**arguments)
    return notebook.save_figure(figure, name or f"{page_name(made)}_illumination")


def _limits(statistics, channels):
    """(low, high) of each channel, in raw units."""
    table = statistics.set_index("channel").loc[list(channels), ["low", "high"]]
    return [tuple(pair) for pair in table.to_numpy()]


def labels(metadata):
    """(label of each site of a dataset, its name), controls by their type."""
    return _label_values(tables.prefixed(metadata.described))


def dataset_montage(metadata, most=3):
    """Arguments of `plots.tile_montage`: a site of each of the first labels of a dataset.

    They stand on its first plate; of a label's sites the first is taken whose first channel shows
    cells on a tenth of its pixels.
    """
    from .. import dataset

    frame = metadata.metadata.reset_index(drop=True)
    rows = np.arange(len(frame))
    if "plate" in frame:
        rows = rows[frame["plate"] == frame["plate"].iloc[0]]
    statistics = dataset.plate_statistics(dataset.subset(metadata, rows))
    threshold = statistics["threshold"].iloc[0]
    values, _ = labels(metadata)
    values = values.reset_index(drop=True)
    sites, titles, sizes = [], [], []
    for label in values.iloc[rows].dropna().drop_duplicates()[:most]:
        candidates = rows[values.iloc[rows] == label]
        loaded = ((dataset.load_site(metadata, row), row) for row in candidates)
        first = next(loaded)
        full = (one for one in chain([first], loaded) if (one[0][0] > threshold).mean() > 0.1)
        image, row = next(full, first)
        sites.append(image)
        sizes.append(dataset.pixel_size_read(metadata, row))
        titles.append(_title(label))
    return {
        "sites": sites,
        "pixel_sizes": sizes,
        "channels": metadata.channels,
        "limits": [_limits(statistics, metadata.channels)] * len(sites),
        "titles": titles,
        "heading": f"{metadata.valset}, {'simulated' if metadata.simulated else 'real'}",
        "across": 5,
    }


def dataset_size(metadata):
    """Sites, plates, channels, sizes and types of a dataset; from its readable files."""
    from .. import dataset

    frame = metadata.metadata
    headers = [one for one in dataset.site_headers(metadata) if not isinstance(one, str)]
    sizes = sorted({(header.height, header.width) for header in headers})
    return {
        "sites": len(frame),
        "plates": str(frame["plate"].nunique()) if "plate" in frame else "none",
        "channels": ", ".join(metadata.channels),
        "field (pixels)": ", ".join(f"{height} x {width}" for height, width in sizes),
        "type": ", ".join(sorted({str(header.dtype) for header in headers})),
    }


def planted(truth):
    """Counts, strengths and nuisances of a simulated dataset, from `simulate.planted_truth`."""

    def span(name, among=slice(None)):
        values = truth.loc[among, name].dropna() if name in truth else pd.Series(dtype=float)
        return f"{values.min():.2f} to {values.max():.2f}" if len(values) else "none"

    label = "mechanism" if "mechanism" in truth else "label"
    treated = truth[label].notna()
    return {
        "wells or images simulated": len(truth),
        "with an effect planted": int((truth["strength"] > 0).sum()) if "strength" in truth else 0,
        "labels": f"{truth[label].nunique()} {label}s",
        "strength": span("strength", treated),
        "brightness factor": span("mean_gain"),
        "cell number factor": span("count_factor"),
    }


def foreground_figure(made):
    """Share of pixels above the background: plate maps, or profiles in order without positions."""
    profiles = made.profiles
    heading = f"{made.provenance['valset']}, {kind(made)}: foreground"
    label = "share of pixels above background"
    wells = profiles.get("Metadata_Well", pd.Series(dtype=object))
    if len(wells) and all(plots.well_position(well) for well in wells):
        return plots.plate_heat_map(profiles, profiles["Metadata_foreground"], label, heading)
    unit = "well" if len(wells) else "site"
    return plots.sequence(profiles["Metadata_foreground"], unit, label, heading)


def complete(profiles):
    """The profiles that have all features, of those features that every readable profile has.

    A channel that is dead on one plate would otherwise take that plate out of what follows.

    Parameters
    ----------
    profiles : pd.DataFrame

    Returns
    -------
    pd.DataFrame
        The rows keep their index.
    """
    features = tables.feature_columns(profiles)
    finite = np.isfinite(profiles[features].to_numpy(float))
    shared = finite[finite.any(1)].all(0)
    if shared.any():
        lacking = [name for name, kept in zip(features, shared, strict=True) if not kept]
        profiles, finite = profiles.drop(columns=lacking), finite[:, shared]
    return profiles[finite.all(1)]


def _components(made):
    """(coordinates, dense, shares, profiles) of the complete ones on two principal components.

    The components are those of the features that all readable profiles have, over the profiles
    that are not of sparse fields: a handful of empty fields would otherwise be all that they show.
    """
    from sklearn.decomposition import PCA

    profiles = complete(made.profiles)
    features = profiles[tables.feature_columns(profiles)].to_numpy(float)
    foreground = profiles["Metadata_foreground"]
    dense = (foreground >= SPARSE * foreground.median()).to_numpy(copy=True)
    if dense.sum() < 3:
        dense[:] = True
    # One profile, or one feature, has fewer than two components: the others are 0.
    coordinates, shares = np.zeros((len(profiles), 2)), np.zeros(2)
    count = min(2, dense.sum() - 1, features.shape[1])
    if count > 0:
        pca = PCA(count, random_state=0).fit(features[dense])
        coordinates[:, :count] = pca.transform(features)
        shares[:count] = np.nan_to_num(pca.explained_variance_ratio_)
        # The sign of a component is arbitrary: fix it, so that a figure is the same everywhere.
        inner = coordinates[dense]
        coordinates *= np.where(inner[np.abs(inner).argmax(0), [0, 1]] < 0, -1, 1)
    return coordinates, dense, shares, profiles


def _framed(coordinates, dense):
    """Coordinates, those beyond the frame of the dense fields on its edge."""
    low, high = coordinates[dense].min(0), coordinates[dense].max(0)
    margin = 0.04 * (high - low)
    return coordinates.clip(low - margin, high + margin)


def principal_components(made):
    """Arguments of `plots.scatter`: the first two principal components of the profiles.

    Profiles of sparse fields are ringed, those beyond the frame of the others drawn on its edge.
    """
    coordinates, dense, shares, profiles = _components(made)
    values, name = _label_values(profiles)
    return {
        "coordinates": _framed(coordinates, dense),
        "labels": values,
        "axes_names": [f"PC{i + 1} ({share:.0%} of variance)" for i, share in enumerate(shares)],
        "heading": f"{made.provenance['valset']}, {kind(made)}: {len(profiles)} profiles",
        "legend_title": name,
        "ringed": ~dense,
    }


FOLLOWS = 0.5
"""A component goes along with a measure from this absolute rank correlation on."""

WHAT_FOLLOWS = (
    "A component goes along with the measure that Spearman's correlation with it is largest for, "
    f"where that is {FOLLOWS:g} or more in either direction; otherwise with none. Sparse fields, "
    f"those with less than {SPARSE:.0%} of the median foreground, are left out."
)
"""The rule of `what_components_follow`, in sentences."""


def what_components_follow(made):
    """What the first two components go along with, in Markdown: foreground, or a mean intensity.

    Parameters
    ----------
    made : inference.Extraction or Stored

    Returns
    -------
    str
        Says "none" of a component that does not reach `FOLLOWS`.
    """
    coordinates, dense, _, profiles = _components(made)
    names = {"Metadata_foreground": "share of pixels above the background"} | {
        f"Metadata_mean_{channel}": f"mean intensity of {channel}"
        for channel in quality.channels(made.profiles)
    }
    measures = profiles.loc[dense, list(names)].rename(columns=names)
    parts = []
    for i in range(2):
        component = pd.Series(coordinates[dense, i], measures.index)
        rho = measures.corrwith(component, method="spearman").dropna()
        if len(rho) and rho.abs().max() >= FOLLOWS:
            nearest = rho.abs().idxmax()
            parts.append(f"PC{i + 1} goes along with the {nearest} (rho = {rho[nearest]:.1f})")
        else:
            parts.append(f"PC{i + 1}: none")
    sparse = int((~dense).sum())
    left_out = (
        "; 1 profile of a sparse field is left out"
        if sparse == 1
        else f"; {sparse} profiles of sparse fields are left out"
        if sparse
        else ""
    )
    over = f"Spearman's correlation over {int(dense.sum())} profiles{left_out}"
    if all(part.endswith(": none") for part in parts):
        return (
            f"{over}: neither component goes along with how full or how bright the fields are "
            f"(no correlation of {FOLLOWS} or more)."
        )
    return f"{over}: {', '.join(parts)}."


@dataclass(frozen=True)
class Stored:
    """An extraction as it lies on disk: nothing is opened but its profiles.

    Attributes
    ----------
    profiles : pd.DataFrame
        Normalised.
    provenance : dict
    """

    profiles: pd.DataFrame
    provenance: dict

    @property
    def counts(self):
        return self.provenance["counts"]


def stored(valset, model, norm_method="standardize", outdir=None):
    """Read the profiles of a finished extraction.

    Parameters
    ----------
    valset, model : str
        Names, as in the folder of the extraction.
    norm_method : str
    outdir : str or Path, optional
        Output root; `paths.outputs_root` by default.

    Returns
    -------
    Stored

    Raises
    ------
    FileNotFoundError
        It is not there; the message says how it is made.
    """
    outdir = outdir or paths.outputs_root()
    folder = paths.valset_folder(outdir, model, valset)
    files = [paths.profiles_table(folder, valset, norm_method, level) for level in ("well", "site")]
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        raise FileNotFoundError(
            f"{files[0]} is absent: unidino extract --valset {valset} --model {model} "
            f"--norm_method {norm_method} --outdir {outdir}"
        )
    profiles = tables.read_table(file)
    return Stored(profiles, profiles.attrs["provenance"])


def overview(extractions):
    """One row an extraction: what was read, and what came of it.

    Parameters
    ----------
    extractions : dict of str to Stored or str
        By dataset; in the place of one that is absent, why.

    Returns
    -------
    pd.DataFrame
    """
    rows = {}
    for name, made in extractions.items():
        if isinstance(made, str):
            rows[name] = {"images": "absent", "said": made}
            continue
        count, provenance = made.counts, made.provenance
        dead = provenance.get("dead_channels") or {}
        rows[name] = {
            "images": kind(made),
            "channels": len(provenance["settings"]["channels"]),
            "sites": count["sites"],
            "without cells": count["empty"],
            "unreadable": count["failed"],
            "tiles kept": f"{count['tiles_kept']} of {count['tiles']}",
            "profiles": count["profiles"],
            "features": count["features"],
            "reference": provenance.get("reference", "none"),
            "said": f"dead channels: {', '.join(map(str, dead))}" if dead else "",
        }
    made = pd.DataFrame(rows).T.rename_axis("dataset")
    return made.where(made.notna(), "")


def channel_overview(extractions):
    """Mean intensity, saturated share and focus of each channel of each extraction, over profiles.

    Parameters
    ----------
    extractions : dict of str to Stored or str
        As of `overview`; absent ones are left out.

    Returns
    -------
    pd.DataFrame
        One row a dataset and channel.
    """
    rows = []
    for name, made in extractions.items():
        for channel in [] if isinstance(made, str) else quality.channels(made.profiles):
            measured = {
                text: made.profiles[f"Metadata_{measure}_{channel}"].mean()
                for measure, text in _MEASURES.items()
            }
            rows.append({"dataset": name, "channel": channel} | measured)
    return pd.DataFrame(rows).set_index(["dataset", "channel"])


def component_panels(extractions):
    """Arguments of `plots.component_panels`: each extraction on its first two components.

    Parameters
    ----------
    extractions : dict of str to Stored or str
        As of `overview`; absent ones are left out.

    Returns
    -------
    list of dict
        ``title``, ``coordinates`` (those beyond the frame of dense fields on its edge),
        ``control`` (bool), ``ringed`` (of sparse fields).
    """
    made = []
    for name, one in extractions.items():
        if isinstance(one, str):
            continue
        coordinates, dense, shares, profiles = _components(one)
        control = profiles.get("Metadata_control_type", pd.Series(None, profiles.index))
        made.append(
            {
                "title": f"{name} ({len(profiles)}): {shares[0]:.0%}, {shares[1]:.0%}",
                "coordinates": _framed(coordinates, dense),
                "control": (control == "negcon").to_numpy(),
                "ringed": ~dense,
            }
        )
    return made
