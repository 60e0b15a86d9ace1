"""From a dataset's images to site embeddings and well profiles; ``python -m unidino.inference``."""

import contextlib
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from . import arguments, intensity, paths, profiles, queries, sites, tables, tiles, valsets
from .embedding import PRECISIONS, Embedder, check_size, find_device
from .models import DEFAULT_MODEL, load_model
from .models.vit import POOLINGS
from .profiles import normalisation
from .progress import logging_to, say

OPERATIONS = ("mean", "median", "none")


@dataclass
class Extraction:
    """What `extract` made.

    Attributes
    ----------
    profiles : pd.DataFrame
        The normalised profiles: metadata columns, then ``emb_<channel>_<0000>``.
    profiles_path, unnormalised_path : Path
        Their Parquet file, and that of the profiles before normalisation.
    sites_path : Path
        Folder of the site embeddings, one Parquet file a plate.
    counts : dict
        Sites read, ok, empty and failed; tiles and tiles kept; profiles and features.
    provenance : dict
        Model, settings, reference of the normalisation, dropped features, versions.
    metadata : Metadata
        The dataset.
    warnings : list of str
    """

    profiles: pd.DataFrame
    profiles_path: Path
    unnormalised_path: Path
    sites_path: Path
    counts: dict
    provenance: dict
    metadata: object
    warnings: list = field(default_factory=list)

    def sites(self):
        """The site table of all plates: one row a site, failed ones too."""
        files = sorted(self.sites_path.rglob("*.parquet"))
        return pd.concat([tables.read_table(file) for file in files], ignore_index=True)


def extract(
    valset: str,
    *,
    model: str = DEFAULT_MODEL,
    arch: str | None = None,
    ckpt: str | None = None,
    embed_dim: int | None = None,
    cls_reduced_dim: int | None = None,
    pooling: str | None = None,
    root: str | None = None,
    platemap: str | None = None,
    channels: str | list | dict | None = None,
    controls: str | None = None,
    channel_axis: str | None = None,
    outdir: str | None = None,
    overwrite: bool = False,
    size: int | None = None,
    stride: int | None = None,
    resize_shorter_side: int | None = None,
    tiling: str = "cover",
    min_foreground: float = 0.01,
    foreground_channel: str | None = None,
    small_images: str = "reflect",
    intensity_scaling: str | None = None,
    intensity_range: list | tuple | None = None,
    operation: str = "mean",
    norm_method: str = "standardize",
    reference: str = "negcon",
    l2norm: bool = False,
    csv: bool = False,
    batch_size: int = 64,
    num_workers: int | None = None,
    device: str | None = None,
    precision: str = "fp32",
    on_error: str = "record",
    seed: int = 0,
):
    """Embed every site of a dataset and make normalised well profiles.

    One plate is one unit of work: its site embeddings are written to a temporary name and renamed,
    so a killed run resumes with the plates that are not finished.

    Parameters
    ----------
    valset : str
        A published dataset (BBBC021, jumpcp-valset, cell-health, HPA, BBBC037, insect,
        example_data), or the path of a CSV with one row a site.
    model : str
        unidino-demo, random_vit, unidino, transfer, dino (with ckpt), or a weights file's path.
    arch : str
        Architecture of random_vit, or of weights that do not say.
    ckpt : str
        Weights file of the models dino and transfer.
    embed_dim, cls_reduced_dim : int
        Width and reduced width, where weights do not say.
    pooling : {"cls", "mean", "max", "cls_mean", "cls_max", "cls_mean_max"}
        Overrides the pooling that is stored with the model.
    root : str
        Data root; UNIDINO_DATA, else simulated data.
    platemap : str
        CSV of treatments and controls, joined on plate and well.
    channels : str, list or dict
        Channels to use, in this order; "DNA=ch5,ER=ch1" renames.
    controls : str
        Query that names the negative controls, such as "compound == 'DMSO'".
    channel_axis : {"first", "last"}
        Where merged image files do not say where their channels are.
    outdir : str
        Output root; the outputs go to <outdir>/<model>/<valset>.
    overwrite : bool
        Discard what an earlier run with other settings left there.
    size, stride : int
        Pixels; the size that the model was trained at, and the size, by default.
    resize_shorter_side : int
        Shrink larger images to this shorter side, in pixels; the dataset's own by default (1080
        for cell-health and HPA).
    tiling : {"cover", "grid", "legacy"}
        All pixels with even overlaps; whole tiles only; the released code's square grid.
    min_foreground : float
        Share of a tile's pixels above the background for it to be kept, 0 to 1.
    foreground_channel : str
        Channel in which foreground is looked for, "any" for each; the first by default.
    small_images : {"reflect", "resize"}
        How images smaller than a tile are brought to its size.
    intensity_scaling : {"dtype", "plate", "image"}
        Overrides the scaling that is stored with the model.
    intensity_range : list
        Raw [low, high] that become 0 and 1 with the scaling dtype.
    operation : {"mean", "median", "none"}
        From sites to a well; none keeps one profile a site.
    norm_method : {"standardize", "mad_robustize", "robustize", "spherize", "no_post_proc"}
        Normalisation per plate (spherize: over all plates).
    reference : str
        Wells that normalisation is fitted on: negcon, all, or a query.
    l2norm : bool
        Scale profiles to unit length before normalisation.
    csv : bool
        Write the profiles as CSV, too.
    batch_size : int
        Tiles of one channel in a forward pass.
    num_workers : int
        Processes that read images; by default none on the CPU, up to 8 beside a GPU.
    device : str
        cuda, cuda:1, cpu …; the first GPU, else the CPU, by default.
    precision : {"fp32", "bf16", "fp16"}
        Of the forward pass.
    on_error : {"record", "raise"}
        An unreadable image is recorded with its site, or stops the run.
    seed : int
        Of random_vit and of the sample that intensity statistics are taken from.

    Returns
    -------
    Extraction

    Raises
    ------
    ValueError, TypeError, FileNotFoundError
        Wrong parameters or data, before any computing; leftovers made with other settings.
    """
    given = dict(locals())
    _check(given)
    where = find_device(device)
    weights = ("arch", "ckpt", "embed_dim", "cls_reduced_dim", "pooling", "seed")
    network = load_model(model, **{name: given[name] for name in weights})
    metadata = valsets.open_valset(
        valset,
        root=root,
        platemap=platemap,
        channels=channels,
        controls=controls,
        channel_axis=channel_axis,
    )
    if resize_shorter_side is not None:
        metadata.resize_shorter_side = resize_shorter_side
    _check_reference(metadata, operation, norm_method, reference)
    size = check_size(network, size or network.config.size)
    tiles.check_stride(size, stride or size, tiling)
    scaling = intensity_scaling or network.config.intensity
    if intensity_range is not None and scaling != "dtype":
        raise ValueError(
            f"intensity_range goes with the intensity scaling 'dtype', not {scaling!r}; set "
            "intensity_scaling='dtype' or leave intensity_range out."
        )
    settings = {
        "model": network.name,
        "weights_sha256": network.sha256,
        "model_config": asdict(network.config),
        "channels": metadata.channels,
        "size": size,
        "stride": stride or size,
        "resize_shorter_side": metadata.resize_shorter_side,
        "tiling": tiling,
        "min_foreground": min_foreground,
        "foreground_channel": foreground_channel or metadata.channels[0],
        "small_images": small_images,
        "intensity_scaling": scaling,
        "intensity_range": None if intensity_range is None else list(intensity_range),
        "precision": precision,
        "seed": seed,
        "site_table_sha256": sites.site_table_digest(metadata),
    }
    folder = paths.valset_folder(outdir or paths.outputs_root(), network.name, metadata.valset)
    sites.claim(folder, settings, overwrite)
    reading = {
        "batch_size": None,
        "num_workers": num_workers if num_workers is not None else _workers(where),
    }
    run = sites.Run(
        metadata=metadata,
        embedder=Embedder(network.to(where), batch_size, where, precision),
        settings=settings,
        folder=folder,
        reading=reading,
        on_error=on_error,
    )
    with logging_to(paths.log_file(folder)):
        run.embed_plates()
        return _finish(run, operation, norm_method, reference, l2norm, csv)


def _check(given):
    """Everything about the parameters that can be said before data are opened."""
    arguments.check_types(given, extract)
    for name, choices in {
        "tiling": tiles.TILINGS,
        "small_images": tiles.SMALL_IMAGES,
        "operation": OPERATIONS,
        "norm_method": normalisation.NORM_METHODS,
        "precision": tuple(PRECISIONS),
        "on_error": ("record", "raise"),
    }.items():
        arguments.check_choice(name, given[name], choices)
    optional = {"intensity_scaling": intensity.METHODS, "pooling": POOLINGS}
    for name, choices in optional.items():
        if given[name] is not None:
            arguments.check_choice(name, given[name], choices)
    for name in ("size", "stride", "resize_shorter_side", "batch_size"):
        arguments.check_positive(name, given[name])
    if given["num_workers"] is not None and given["num_workers"] < 0:
        raise ValueError(f"num_workers is {given['num_workers']}; it must be 0 or more.")
    if not 0 <= given["min_foreground"] <= 1:
        raise ValueError(f"min_foreground is {given['min_foreground']}; it is a share, 0 to 1.")


def _plate_columns(metadata):
    """Columns of the tables that name a plate."""
    names = ("source", "batch", "plate")
    return [tables.metadata_name(name) for name in names if name in metadata.key_columns]


def _check_reference(metadata, operation, norm_method, reference):
    """Stop before computing when a plate has too few reference wells, or a query matches none.

    A query that names columns which only extraction adds, such as Metadata_sites, waits for them.
    """
    wells = tables.prefixed(metadata.metadata.drop(columns="path"))
    if reference not in ("negcon", "all") and norm_method != "no_post_proc":
        with contextlib.suppress(queries.UnknownColumn):
            normalisation.reference_rows(wells, reference)
        return
    if operation != "none" and metadata.well_columns:
        wells = wells.drop_duplicates([tables.metadata_name(n) for n in metadata.well_columns])
    normalisation.check_reference(wells, norm_method, reference, by=_plate_columns(metadata))


def _workers(device):
    """Reading processes: beside a GPU they keep it fed; on the CPU they would take its cores."""
    if device.type == "cpu":
        return 0
    return min(8, torch.multiprocessing.cpu_count())


def _finish(run, operation, norm_method, reference, l2norm, csv):
    """Profiles from the finished site tables."""
    metadata, folder = run.metadata, run.folder
    parts, counts = [], dict.fromkeys(("sites", "ok", "empty", "failed", "tiles", "tiles_kept"), 0)
    by_well = operation != "none" and metadata.well_columns
    wells = [tables.metadata_name(name) for name in metadata.well_columns]
    for file in run.files().values():
        table = tables.read_table(file)
        statuses = table["Metadata_status"].value_counts()
        counts["sites"] += len(table)
        for status in ("ok", "empty", "failed"):
            counts[status] += int(statuses.get(status, 0))
        for name in ("tiles", "tiles_kept"):
            counts[name] += int(table[f"Metadata_{name}"].sum())
        # Wells lie within plates, so each plate is averaged alone and memory follows the wells.
        parts.append(profiles.aggregate(table, wells, operation) if by_well else table)
    if not counts["ok"] + counts["empty"]:
        first = parts[0]["Metadata_error"].iloc[0] if "Metadata_error" in parts[0] else ""
        raise ValueError(f"none of the {counts['sites']} sites could be read. The first: {first}")
    # What varies within the wells of one plate reaches no profile, so that plates stay alike.
    shared = [name for name in parts[0] if all(name in part for part in parts)]
    raw = pd.concat([part[shared] for part in parts], ignore_index=True)
    features = tables.feature_columns(raw)
    counts |= {"profiles": len(raw), "features": len(features)}
    provenance = run.provenance() | {
        "counts": counts,
        "operation": operation,
        "norm_method": "no_post_proc",
        "l2norm": False,
    }
    unnormalised = paths.profiles_table(folder, metadata.valset, "no_post_proc", operation)
    tables.write_table(raw, unnormalised, provenance)
    _as_csv(raw, unnormalised, csv)
    scaled = raw
    if l2norm:
        values = raw[features].to_numpy()
        lengths = np.linalg.norm(values, axis=1, keepdims=True)
        scaled = raw.assign(**dict.fromkeys(features, 0.0))
        scaled[features] = values / np.maximum(lengths, np.finfo(np.float32).tiny)
    normalised = normalisation.normalise(
        scaled, norm_method, reference, by=_plate_columns(metadata)
    )
    path = unnormalised
    if norm_method != "no_post_proc" or l2norm:
        path = paths.profiles_table(folder, metadata.valset, norm_method, operation, l2norm)
        provenance |= {
            "norm_method": norm_method,
            "l2norm": l2norm,
            "reference": normalised.reference_used,
            "dropped_features": normalised.dropped_features,
            "warnings": normalised.warnings,
        }
        tables.write_table(normalised.profiles, path, provenance)
        _as_csv(normalised.profiles, path, csv)
    for warning in normalised.warnings:
        say(f"warning: {warning}")
    if counts["failed"]:
        say(f"warning: {counts['failed']} of {counts['sites']} sites could not be read")
    say(f"{metadata.valset}: {len(raw)} profiles of {len(features)} features in {path}")
    return Extraction(
        profiles=normalised.profiles,
        profiles_path=path,
        unnormalised_path=unnormalised,
        sites_path=folder / "sites",
        counts=counts,
        provenance=provenance,
        metadata=metadata,
        warnings=list(normalised.warnings),
    )


def _as_csv(frame, path, wanted):
    if wanted:
        with tables.atomic_path(path.with_suffix(".csv")) as temporary:
            frame.to_csv(temporary, index=False)


def main(argv=None):
    """The command line: one option for every parameter of `extract`."""
    options = vars(arguments.parser(extract, "python -m unidino.inference").parse_args(argv))
    try:
        made = extract(**options)
    except (ValueError, TypeError, FileNotFoundError) as error:
        sys.exit(f"error: {error}")
    print(made.profiles_path)


if __name__ == "__main__":
    main()
