"""Tables of the small real sets that the pages on real data read (none of them is committed)."""

import gzip
import io
import re
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.nn import functional

from .. import profiles
from ..embedding import Embedder
from ..evaluate import baselines, bbbc021
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


MOA_PLATES = {
    "BR00122246": "2023_05_15_Batch1",
    "BR00122247": "2023_05_17_Batch2",
    "BR00122248": "2023_05_17_Batch3",
    "BR00122249": "2023_08_02_Batch5",
    "BR00122250": "2023_05_15_Batch1",
}
"""Plates of JUMP-MOA that were imaged once fixed, and the batch whose table holds each.

BR00122248 stands in a second batch, imaged alive before: published are the results of this one.
"""

CPJUMP1_HOURS = {
    "BR00117010": 48,
    "BR00117011": 48,
    "BR00117012": 48,
    "BR00117013": 48,
    "BR00117024": 24,
    "BR00117025": 24,
    "BR00117026": 24,
}
"""The seven plates of U2OS cells with compounds, and how long the compounds acted."""

_PROFILES = "normalized_feature_select_negcon_batch"


def jump_moa_plate(root, plate):
    """One plate of JUMP-MOA: 90 compounds at four positions each, 47 mechanisms, 24 DMSO wells.

    Parameters
    ----------
    root : Path
        The real data root, see `unidino.paths.real_data_root`.
    plate : str
        One of `MOA_PLATES`.

    Returns
    -------
    wells : pd.DataFrame
        One row a well: plate, well, compound (its common name; DMSO), sample (the number of what
        was bought; missing for DMSO), moa, control_type (negcon is DMSO), features of cells as
        they are named, and those of whole images, which in other tables are no features, under
        ``emb_Image_..._0000``. Normalised on the plate's DMSO wells, as published.
    dropped : list of str
        Features with a missing value on this plate; they are left out, as where copairs' results
        were computed, and every well stays.

    Raises
    ------
    ValueError
        Another plate.
    """
    if plate not in MOA_PLATES:
        raise ValueError(f"JUMP-MOA has no plate {plate!r}; it has: {', '.join(MOA_PLATES)}.")
    path = Path(root) / "jump_moa_plates" / f"{MOA_PLATES[plate]}_{_PROFILES}.csv.gz"
    table = pd.read_csv(path, low_memory=False)
    table = table[table["Metadata_Plate"] == plate].reset_index(drop=True)
    values, dropped = _features(table)
    labels = {
        "plate": plate,
        "well": table["Metadata_Well"],
        "compound": table["Metadata_Common Name"].fillna("DMSO"),
        "sample": table["Metadata_broad_sample"],
        "moa": table["Metadata_MoA"],
        "control_type": table["Metadata_control_type"],
    }
    return pd.concat([pd.DataFrame(labels), values], axis=1), dropped


def _features(table):
    """(features without a missing value under names by which they are known, names of others)."""
    names = [name for name in table if not name.startswith("Metadata_")]
    complete = table[names].notna().all()
    kept = [name for name in names if complete[name]]
    known = {name: f"emb_{name}_0000" for name in kept if name.startswith("Image_")}
    return table[kept].rename(columns=known), [name for name in names if not complete[name]]


def jump_moa_published(root, plate, against, level="compound"):
    """What copairs gave on a plate of JUMP-MOA, as published with it.

    Parameters
    ----------
    root : Path
        The real data root, see `unidino.paths.real_data_root`.
    plate : str
        One of `MOA_PLATES`.
    against : {"Control", "Treatment"}
        What the other wells of a compound compete with: the 24 DMSO wells of the plate, or all
        wells of something else.
    level : {"compound", "well"}

    Returns
    -------
    pd.DataFrame
        For compounds mean_average_precision and corrected_p_value, indexed by sample; the 91st,
        "control", is that of the DMSO wells. For wells average_precision, indexed by well.
    """
    kind, key = {
        "compound": ("Aggregate_result", "Metadata_broad_sample"),
        "well": ("Result", "Metadata_Well"),
    }[level]
    folder = Path(root) / "jump_moa_plates" / "published_map"
    (path,) = folder.glob(f"{plate}_{_PROFILES}*_{kind}_*_wrt_{against}_woNAN.csv")
    content = path.read_bytes()
    # Some of the tables are gzipped, whatever their names.
    if content[:2] == b"\x1f\x8b":
        content = gzip.decompress(content)
    table = pd.read_csv(io.BytesIO(content)).set_index(key)
    names = ["average_precision", "mean_average_precision", "corrected_p_value"]
    return table[[name for name in names if name in table]]


def cpjump1_plates(root):
    """Seven plates of CPJUMP1: U2OS cells, 306 compounds, nearly each at one position of them all.

    Parameters
    ----------
    root : Path
        The real data root, see `unidino.paths.real_data_root`.

    Returns
    -------
    pd.DataFrame
        2,688 wells: plate, well, hours (how long the compound acted: 24 or 48), compound (the
        number of what was bought; DMSO), compound_name (four compounds were bought twice), target
        (the first), targets and moa (several are divided by ``|``), control_type (negcon is DMSO,
        others are positive controls), 904 features, none missing, normalised on each plate's DMSO
        wells.
    """
    folder = Path(root) / "cpjump1_u2os"
    table = pd.concat(
        [pd.read_csv(folder / f"{plate}_{_PROFILES}.csv.gz") for plate in CPJUMP1_HOURS],
        ignore_index=True,
    )
    annotations = pd.read_csv(
        folder / "JUMP-Target-1_compound_metadata_additional_annotations.tsv", sep="\t"
    )
    known = annotations.dropna(subset="broad_sample").set_index("broad_sample")
    sample = table["Metadata_broad_sample"]
    labels = {
        "plate": table["Metadata_Plate"],
        "well": table["Metadata_Well"],
        "hours": table["Metadata_Plate"].map(CPJUMP1_HOURS),
        "compound": sample.fillna("DMSO"),
        "compound_name": table["Metadata_pert_iname"],
        "target": sample.map(known["target"]),
        "targets": sample.map(known["target_list"]),
        "moa": sample.map(known["moa_list"]),
        "control_type": table["Metadata_control_type"],
    }
    values, _ = _features(table)
    return pd.concat([pd.DataFrame(labels), values], axis=1)


ATLAS_ROUNDS = (1, 2, 3, 4)
"""Rounds of the pilot of the Pediatric Cancer Atlas, each with features of its own."""

ANCHOR = "U2-OS"
"""The line that stands on every plate of the atlas."""

_SPELLINGS = {"U-2OS": ANCHOR, "A-673": "A673", "TC-71": "TC71"}


def atlas_round(root, number):
    """Plates of one round of the Pediatric Cancer Atlas: cell lines, untreated, at three times.

    Parameters
    ----------
    root : Path
        The real data root, see `unidino.paths.real_data_root`.
    number : int
        One of `ATLAS_ROUNDS`.

    Returns
    -------
    pd.DataFrame
        One row a well: plate, well, cell_line (in one spelling), cell_line_named (as in the
        tables), hours (24, 48 or 72), density (cells seeded), condition (coating), control_type,
        and the features common to the round's plates, normalised on each plate as published.
        Of the anchor's wells on a plate every second, in the order of density and position, is
        negcon: what corrections may learn from. The others are a line like any other.

    Raises
    ------
    ValueError
        Another round.
    """
    if number not in ATLAS_ROUNDS:
        raise ValueError(f"the atlas has no round {number!r}; it has: 1, 2, 3 and 4.")
    table = pd.read_parquet(Path(root) / "pediatric_cancer_atlas" / f"round_{number}.parquet")
    named = table["Metadata_cell_line"].astype(str)
    labels = pd.DataFrame(
        {
            "plate": table["Metadata_Plate"].astype(str),
            "well": table["Metadata_Well"].astype(str),
            "cell_line": named.replace(_SPELLINGS),
            "cell_line_named": named,
            "hours": table["Metadata_time_point"].astype(int),
            "density": table["Metadata_seeding_density"].astype(int),
            "condition": table["Metadata_condition"].astype(str),
        }
    )
    anchor = labels[labels["cell_line"] == ANCHOR].sort_values(["plate", "density", "well"])
    second = anchor.index[anchor.groupby("plate").cumcount() % 2 == 1]
    labels["control_type"] = np.where(labels.index.isin(second), "negcon", None)
    return pd.concat([labels, _features(table)[0]], axis=1)


MIX_FOLDERS = ("train_mix", "train_more")
"""Folders of real single-channel images to train on, each with its ``manifest.csv``."""


VARCHAMP_BATCHES = ("2026_01_05_Batch_20", "2026_01_05_Batch_21")

VARCHAMP_CONTROLS = ("NC", "PC", "TC")
"""Roles of the seven alleles that stand in four wells of a plate: negative and positive controls,
and the control of the transfection (eGFP)."""


def varchamp(root):
    """Two batches of over-expressed alleles of 44 genes: four plates each, of one layout.

    Parameters
    ----------
    root : Path
        The real data root, see `unidino.paths.real_data_root`.

    Returns
    -------
    pd.DataFrame
        2,240 wells: batch (Batch_20, Batch_21), plate, well, source_plate (the plate of 96 wells
        that an allele was taken from), gene, allele (the gene's name where it is not mutated), role
        (allele, disease_wt or one of `VARCHAMP_CONTROLS`) and the 314 features that both batches
        have, normalised and selected by batch, as published. The well of each plate that holds no
        allele is left out.
    """
    folder = Path(root) / "varchamp"
    parts = [
        pd.read_csv(
            folder / f"{batch}_normalized_feature_select_batch.csv.gz",
            dtype={"Metadata_source_plate": str},
        )
        for batch in VARCHAMP_BATCHES
    ]
    table = pd.concat(parts, ignore_index=True, join="inner")
    table = table.dropna(subset="Metadata_gene_allele").reset_index(drop=True)
    labels = {
        "batch": table["Metadata_batch"].str.removeprefix("2026_01_05_"),
        "plate": table["Metadata_Plate"],
        "well": table["Metadata_Well"],
        "source_plate": table["Metadata_source_plate"].str.strip(),
        "gene": table["Metadata_symbol"],
        "allele": table["Metadata_gene_allele"],
        "role": table["Metadata_node_type"],
    }
    values, _ = _features(table)
    # A copy in one piece: pandas warns of tables of as many pieces as columns.
    return pd.concat([pd.DataFrame(labels), values], axis=1).copy()


def taorf_labels(root):
    """What is known of the constructs of BBBC037; their profiles are not to be had.

    Parameters
    ----------
    root : Path
        The real data root, see `unidino.paths.real_data_root`.

    Returns
    -------
    pd.DataFrame
        323 constructs, each once: orf_identifier, gene_symbol, moa (class of the published ground
        truth; missing for others), has_phenotype (yes, or missing), replicate_correlation (median,
        as published; missing for some).
    """
    folder = Path(root) / "bbbc037_taorf"
    table = pd.read_csv(folder / "idr0033-screenA-processed.txt", sep="\t")
    table = table.drop_duplicates("ORF Identifier").reset_index(drop=True)
    classes = pd.read_csv(folder / "genetic_screen_ground_truth.csv")
    classes = classes.set_index("Metadata_broad_sample")["Metadata_moa"]
    return pd.DataFrame(
        {
            "orf_identifier": table["ORF Identifier"],
            "gene_symbol": table["Gene Symbol"],
            "moa": table["ORF Identifier"].map(classes),
            "has_phenotype": table["Has Phenotype"],
            "replicate_correlation": table["Median Replicate Correlation"],
        }
    )


MIX_FOLDERS = ("train_mix", "train_more")
"""Folders of real single-channel images to train on, each with its ``manifest.csv``."""


def mix_manifest(root):
    """What is known of every real image that is trained on.

    The four "SBS Vitra" images are left out: they come from the assay of the translocation plate,
    by which models are chosen.

    Parameters
    ----------
    root : Path
        The real data root, see `unidino.paths.real_data_root`.

    Returns
    -------
    pd.DataFrame
        The columns of the manifests as text; ``file`` is relative to `root`.

    Raises
    ------
    FileNotFoundError
        The images are not there.
    """
    parts = []
    for folder in MIX_FOLDERS:
        table = Path(root) / folder / "manifest.csv"
        if not table.is_file():
            raise FileNotFoundError(
                f"{table} is absent: the real training images are not part of this project. Gather "
                "them as data/README.md says, and set UNIDINO_REAL to the folder above "
                f"{' and '.join(MIX_FOLDERS)}."
            )
        part = pd.read_csv(table, dtype=str, keep_default_na=False)
        parts.append(part.assign(file=f"{folder}/" + part["file"]))
    frame = pd.concat(parts, ignore_index=True)
    return frame[~frame["cell_type"].str.contains("SBS Vitra")].reset_index(drop=True)


def train_mix(root):
    """The mix of real single-channel images that the demo model is trained on.

    Parameters
    ----------
    root : Path
        The real data root.

    Returns
    -------
    pd.DataFrame
        One row an image: path (relative to `root`), source, stain, cells, bits (``8``, ``16`` or
        ``f32``) and plate: source, stain, bits and size, because the intensities of a stain are
        comparable within a source, and the images of a plate must be alike. sample_weight,
        1 on average, draws each stain of a source with the square root of its number of images and
        its images alike: of 1,854 images 541 are nuclei of one challenge.

    Raises
    ------
    FileNotFoundError
        The mix is not there.
    """
    frame = mix_manifest(root)
    stain = frame["stain_channel"].replace("", "unknown")
    size = frame["height"] + " x " + frame["width"]
    weight = frame.groupby([frame["source"], stain])["file"].transform("size") ** -0.5
    return pd.DataFrame(
        {
            "path": frame["file"],
            "plate": frame["source"] + " " + stain + " " + frame["bit_depth"] + " bits " + size,
            "source": frame["source"],
            "stain": stain,
            "cells": frame["cell_type"],
            "bits": frame["bit_depth"],
            "sample_weight": (weight / weight.mean()).round(6),
        }
    )


STAINS = {
    "DNA": r"^(?:DNA|DAPI|Hoechst|nuclei$|nucleus|chromatin|H2B|GFP-histone|SYBR)",
    "chromosomes": r"^chromosome",
    "nuclear envelope": r"^nuclear (?:envelope|pore$)",
    "actin": r"actin",
    "tubulin": r"^(?:tubulin|microtubules)",
    "ER": r"^(?:ER |ConA)",
    "Golgi": r"^Golgi",
    "membrane": r"^(?:membrane$|membrane/cell|cell wall)",
    "RNA spots": r"RNA spots",
}
"""Stains that images of several repositories show, and how their manifests call them."""

STAIN_IMAGES = 25
"""Most images of a repository and stain, evenly spread: 541 nuclei are of one challenge."""


def stained_images(root):
    """The real training images of stains that several repositories show.

    Returns
    -------
    pd.DataFrame
        One row an image: path (relative to `root`), plate (as of `train_mix`), repo, stain (a key
        of `STAINS`).
    """
    frame = mix_manifest(root)
    named = pd.Series(None, index=frame.index, dtype=object)
    for stain, pattern in STAINS.items():
        named[named.isna() & frame["stain_channel"].str.contains(pattern)] = stain
    mix = train_mix(root)
    images = mix[["path", "plate"]].assign(repo=frame["repo"], stain=named).dropna()
    several = images.groupby("stain")["repo"].transform("nunique") > 1
    images = images[several]
    groups = images.groupby(["repo", "stain"])
    place, size = groups.cumcount(), groups["path"].transform("size")
    # The first image of each of so many equal stretches.
    kept = (place * STAIN_IMAGES // size) != ((place - 1) * STAIN_IMAGES // size)
    images = images[kept | (size <= STAIN_IMAGES)]
    # Plate by plate, as an extraction lists them.
    return images.sort_values("plate", kind="stable").reset_index(drop=True)


CROPS_FOLDER = "bbbc021_singlecell_1000"
CROP_CHANNELS = ("DNA", "actin", "tubulin")
CROP_PERCENTILES = (0.5, 99.7)
"""Of each channel over all crops; they become 0 and 1."""

SIZE = 128
"""Side to which crops are enlarged before they are embedded, pixels."""

_LABELS = ["plate", "well", "site", "compound", "concentration", "moa"]


def read_crops(root):
    """The crops that show cells, and their labels.

    Parameters
    ----------
    root : Path
        The real data root, see `unidino.paths.real_data_root`.

    Returns
    -------
    labels : pd.DataFrame
        One row a crop: plate, well, site, compound, concentration, moa, control_type (negcon is
        DMSO).
    crops : numpy.ndarray
        (n, 3, 68, 68) uint16, channels as `CROP_CHANNELS`.

    Raises
    ------
    FileNotFoundError
        The crops are not there.
    """
    folder = Path(root or ".") / CROPS_FOLDER
    if root is None or not (folder / "labels.csv").is_file():
        raise FileNotFoundError(
            f"the real crops {CROPS_FOLDER} are absent: set UNIDINO_REAL to the folder above them."
        )
    table = pd.read_csv(folder / "labels.csv")
    table = table[~table["empty_crop"]].reset_index(drop=True)
    crops = np.stack([np.load(folder / "cells" / file) for file in table["file"]])
    labels = table[_LABELS].assign(
        control_type=np.where(table["compound"] == "DMSO", "negcon", None)
    )
    return labels, crops.transpose(0, 3, 1, 2)


def scale_crops(crops):
    """Each channel between its percentiles over all crops, clipped to [0, 1].

    Parameters
    ----------
    crops : numpy.ndarray
        (n, C, H, W).

    Returns
    -------
    numpy.ndarray
        (n, C, H, W) float32.
    """
    low, high = np.percentile(crops, CROP_PERCENTILES, axis=(0, 2, 3))[:, None, :, None, None]
    return np.clip((crops - low) / (high - low), 0, 1).astype(np.float32)


def embed_crops(model, scaled, *, size=SIZE, batch_size=64, precision="fp32"):
    """Embeddings of crops, every channel alone.

    Parameters
    ----------
    model : EmbeddingModel
        Single-channel.
    scaled : numpy.ndarray
        (n, C, H, W) float32, 0 to 1.
    size : int
        Side to which crops are resized, pixels (bilinear).

    Returns
    -------
    pd.DataFrame
        (n, C x D), columns ``emb_<channel>_<0000>``.

    Raises
    ------
    ValueError
        A model of several channels.
    """
    if model.config.in_chans != 1:
        raise ValueError(f"{model.name} embeds {model.config.in_chans} channels together, not one.")
    embedder = Embedder(model, batch_size, torch.device("cpu"), precision)
    parts = []
    for channel, name in enumerate(CROP_CHANNELS[: scaled.shape[1]]):
        planes = torch.from_numpy(np.ascontiguousarray(scaled[:, channel : channel + 1]))
        planes = functional.interpolate(planes, (size, size), mode="bilinear", align_corners=False)
        values = embedder.forward(planes).numpy()
        columns = [f"emb_{name}_{i:04d}" for i in range(values.shape[1])]
        parts.append(pd.DataFrame(values, columns=columns))
    return pd.concat(parts, axis=1)


def crops_by_hand(scaled):
    """Hand-made features of scaled crops, at their own size; as of `handmade.site_features`."""
    return pd.DataFrame([baselines.site_features(crop, list(CROP_CHANNELS)) for crop in scaled])


def crop_treatments(labels, features):
    """Features z-scored on the DMSO crops, averaged over the crops of each treatment.

    Parameters
    ----------
    labels : pd.DataFrame
        From `read`.
    features : pd.DataFrame
        One row a crop; those without spread among the DMSO crops are dropped.

    Returns
    -------
    pd.DataFrame
        One row a compound and concentration, DMSO left out.
    """
    crops = pd.concat([labels, features], axis=1)
    crops = profiles.normalise(crops, "standardize", "negcon", by=[]).profiles
    treated = crops[crops["control_type"].isna()].drop(columns="control_type")
    return profiles.consensus(treated, list(bbbc021.TREATMENT), "mean")
