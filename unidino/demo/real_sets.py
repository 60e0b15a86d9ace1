"""Tables of the small real sets that the pages on real data read (none of them is committed)."""

import re
from pathlib import Path

import pandas as pd

from ..valsets.compounds import BBBC021Metadata

SBS_CONTROLS = {-1: "negcon", 1: "poscon"}

FIELDS = {
    "hpa": ("hpa_4channel/images", r"(?P<site>[0-9a-f-]+)_(?P<channel>[a-z]+)\.png"),
    "bray": ("cellpainting_fovs/bray_696x520", r"(?P<channel>\w+)\.tif"),
    "jump": (
        "cellpainting_fovs/jump_r01c02f01",
        r"(?P<site>r\d+c\d+f\d+)p01-ch(?P<channel>\d)sk1fk1fl1\.tiff",
    ),
    "kc167": ("kc167_fly_3ch", r"01_(?P<site>POS\d+)_(?P<channel>\w)\.TIF"),
}
"""Fields of view without treatments: folder below the real data root, and their file names."""


def sbs_plate(root):
    """The 96-well translocation plate: GFP reporter and DNA, dose ranks, controls.

    Parameters
    ----------
    root : Path
        The real data root, see `unidino.paths.real_data_root`.

    Returns
    -------
    pd.DataFrame
        One row a well: plate, well, half (rows A-D or E-H), column, dose (rank), control_type and
        the paths DNA and GFP relative to `root`.
    """
    folder = Path(root) / "sbs_translocation_plate"
    wells = pd.read_csv(folder / "1049_Metadata.csv", dtype={"Column": str})
    number = wells["ImageNumber"].astype(str).str.zfill(2)
    name = number + "-" + wells["Row"] + "-" + wells["Column"]
    images = "sbs_translocation_plate/images/Channel"
    return pd.DataFrame(
        {
            "plate": "1049",
            "well": wells["Row"] + wells["Column"],
            "half": wells["Row"].map(lambda row: "A-D" if row < "E" else "E-H"),
            "column": wells["Column"].astype(int),
            "dose": wells["SBS_Doses"],
            "control_type": wells["SBS_Controls"].map(SBS_CONTROLS),
            "DNA": images + "2-" + name + ".tif",
            "GFP": images + "1-" + name + ".tif",
        }
    )


def fields(root, name):
    """Fields of view of one of `FIELDS`.

    Returns
    -------
    pd.DataFrame
        One row a field: ``field`` and one column of paths a channel, relative to `root`.
    """
    folder, pattern = FIELDS[name]
    rows = {}
    for file in sorted((Path(root) / folder).iterdir()):
        match = re.fullmatch(pattern, file.name)
        if match:
            parts = match.groupdict()
            site = parts.get("site", name)
            channel = parts["channel"]
            channel = f"ch{channel}" if channel.isdigit() else channel
            rows.setdefault(site, {})[channel] = f"{folder}/{file.name}"
    return pd.DataFrame(
        [{"field": f"{name}-{i + 1}", **rows[site]} for i, site in enumerate(sorted(rows))]
    )


def bbbc021_cellprofiler(root):
    """The real BBBC021: CellProfiler well means (Ljosa 2013) with the labels of its image table.

    Parameters
    ----------
    root : Path
        The real data root, see `unidino.paths.real_data_root`.

    Returns
    -------
    pd.DataFrame
        632 wells: plate, well, batch, compound, concentration, moa, control_type, 516 features.
    """
    folder = Path(root) / "bbbc021_ljosa"
    labels = BBBC021Metadata(root=folder, check_files=False).metadata
    names = ["plate", "well", "batch", "compound", "concentration", "moa", "control_type"]
    wells = pd.read_csv(folder / "ljosa_jbiomolscreen_2013_per_well_mean.csv.gz").rename(
        columns={"Image_Metadata_Plate": "plate", "Image_Metadata_Well": "well"}
    )
    # Plate and well keep their place in front: the features follow the labels.
    return (
        wells[["plate", "well"]]
        .merge(
            labels[names].drop_duplicates(), on=["plate", "well"], how="left", validate="one_to_one"
        )
        .join(wells.drop(columns=["plate", "well"]))
    )


def train_mix(root):
    """The mix of real single-channel images that the demo model is trained on.

    The four "SBS Vitra" images are left out: they come from the assay of the translocation plate,
    by which models are chosen.

    Parameters
    ----------
    root : Path
        The real data root, see `unidino.paths.real_data_root`.

    Returns
    -------
    pd.DataFrame
        One row an image: path (relative to `root`), source, stain, cells, bits (``8``, ``16`` or
        ``f32``) and plate: source, stain and bits, because the intensities of a stain are
        comparable within a source, and the images of a plate must be of one type. sample_weight,
        1 on average, draws each source with the square root of its number of images and its
        images alike: of 436 images 227 are nuclei of one source.

    Raises
    ------
    FileNotFoundError
        The mix is not there.
    """
    table = Path(root) / "train_mix" / "manifest.csv"
    if not table.is_file():
        raise FileNotFoundError(
            f"{table} is absent: the real training images are not part of this project. Gather "
            "them as data/README.md says, and set UNIDINO_REAL to the folder above train_mix."
        )
    frame = pd.read_csv(table, dtype=str, keep_default_na=False)
    frame = frame[~frame["cell_type"].str.contains("SBS Vitra")].reset_index(drop=True)
    stain = frame["stain_channel"].replace("", "unknown")
    weight = frame.groupby("source")["source"].transform("size") ** -0.5
    return pd.DataFrame(
        {
            "path": "train_mix/" + frame["file"],
            "plate": frame["source"] + " " + stain + " " + frame["bit_depth"] + " bits",
            "source": frame["source"],
            "stain": stain,
            "cells": frame["cell_type"],
            "bits": frame["bit_depth"],
            "sample_weight": (weight / weight.mean()).round(6),
        }
    )
