"""What a page says about an extraction, from its stored tables: a resumed run says the same."""

import numpy as np
import pandas as pd

from . import dataset, plots, tables

LABELS = ("moa", "target", "gene_symbol", "label", "treatment", "compound", "perturbation_id")
"""Columns that profiles are coloured by, the first that a dataset has."""

_UNTRAINED = "random_vit"


def page_name(made):
    """Stem of the page's files: the dataset in lower case."""
    return "extract_" + made.provenance["valset"].lower().replace("-", "_")


def kind(made):
    """ "simulated" or "real"."""
    return "simulated" if made.provenance["simulated"] else "real"


def headline(made):
    """What the page shows, in a sentence of Markdown: data, model, normalisation, warnings."""
    model = made.provenance["settings"]["model"]
    untrained = " (an untrained network: a baseline, not a result)" if model == _UNTRAINED else ""
    article = "**Simulated** images" if made.provenance["simulated"] else "Real images"
    reference = made.provenance.get("reference", "none")
    lines = [
        f"{article} of {made.provenance['valset']}, embedded by `{model}`{untrained}; "
        f"normalised by `{made.provenance['norm_method']}`, reference: {reference}."
    ]
    lines += [f"- Warning: {text}" for text in made.warnings]
    return "\n".join([lines[0], "", *lines[1:]])


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
    measures = ("mean", "saturated", "focus")
    table = pd.DataFrame(
        {m: [read[f"Metadata_{m}_{name}"].mean() for name in names] for m in measures}, index=names
    )
    return table.rename_axis("channel")


def label_of(profiles):
    """The column that profiles are coloured by, or None."""
    for name in LABELS:
        for column in profiles.columns:
            if column.lower() == f"metadata_{name}" and profiles[column].nunique() > 1:
                return column
    return None


def _label_values(profiles):
    """(label of each profile, its name): controls by their type, the others by their label."""
    column = label_of(profiles)
    values = profiles[column].astype(object) if column else pd.Series(None, profiles.index)
    controls = profiles.get("Metadata_control_type")
    if controls is not None:
        values = values.where(controls.isna(), controls)
    name = column.removeprefix("Metadata_") if column else "label"
    return values, name


def montage(made, most=4):
    """Arguments of `plots.tile_montage`: sites evenly spaced through those with foreground."""
    sites = made.sites()
    read = np.flatnonzero(sites["Metadata_status"] == "ok")
    if not len(read):
        read = np.flatnonzero(sites["Metadata_status"] == "empty")
    chosen = read[np.linspace(0, len(read) - 1, min(most, len(read))).astype(int)]
    # Site tables are sorted by file name; the stored row number leads back to the metadata.
    rows = sites["Metadata_row"].iloc[chosen]
    files = sorted(made.sites_path.rglob("*.parquet"))
    statistics = pd.DataFrame(tables.read_provenance(files[0])["intensity_statistics"])
    by_channel = statistics.set_index("channel")
    values, _ = _label_values(sites)
    wells = sites.get("Metadata_Well", pd.Series("", sites.index))
    titles = [
        "\n".join(str(part)[:18] for part in (wells.iloc[i], values.iloc[i]) if pd.notna(part))
        for i in chosen
    ]
    return {
        "sites": [dataset.load_site(made.metadata, row) for row in rows],
        "channels": made.metadata.channels,
        "limits": [tuple(by_channel.loc[c, ["low", "high"]]) for c in made.metadata.channels],
        "titles": titles,
        "heading": f"{made.provenance['valset']}, {kind(made)}",
    }


def foreground_figure(made):
    """Share of pixels above the background: a plate map, or sites in order without plates."""
    sites = made.sites()
    heading = f"{made.provenance['valset']}, {kind(made)}: foreground"
    label = "share of pixels above background"
    if not {"Metadata_Plate", "Metadata_Well"} <= set(sites.columns):
        return plots.sequence(sites["Metadata_foreground"], "site", label, heading)
    keys = ["Metadata_Plate", "Metadata_Well"]
    wells = sites.groupby(keys, sort=False, dropna=False).agg(
        value=("Metadata_foreground", "mean"),
        Metadata_control_type=("Metadata_control_type", "first"),
    )
    wells = wells.reset_index()
    return plots.plate_heat_map(wells, wells["value"], label, heading)


def principal_components(made):
    """Arguments of `plots.scatter`: the first two principal components of the profiles."""
    from sklearn.decomposition import PCA

    profiles = made.profiles
    features = profiles[tables.feature_columns(profiles)].to_numpy(float)
    complete = np.isfinite(features).all(1)
    pca = PCA(2, random_state=0)
    coordinates = pca.fit_transform(features[complete])
    # The sign of a component is arbitrary: fix it, so that a figure is the same everywhere.
    coordinates *= np.sign(coordinates[np.abs(coordinates).argmax(0), [0, 1]])
    shares = pca.explained_variance_ratio_
    values, name = _label_values(profiles[complete])
    return {
        "coordinates": coordinates,
        "labels": values,
        "axes_names": [f"PC{i + 1} ({share:.0%} of variance)" for i, share in enumerate(shares)],
        "heading": f"{made.provenance['valset']}, {kind(made)}: {complete.sum()} profiles",
        "legend_title": name,
    }
