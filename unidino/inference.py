"""From a dataset's images to site embeddings and well profiles; ``python -m unidino.inference``."""

import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from . import (
    anndata_tables,
    arguments,
    claims,
    cluster,
    devices,
    illumination,
    images,
    intensity,
    paths,
    profiles,
    quality,
    queries,
    shards,
    tables,
    tiles,
    valsets,
)
from .choices import AUTO, POOLINGS, PRECISIONS
from .metadata import added_columns
from .models import DEFAULT_MODEL, check_name, load_model
from .profiles.reference import listed
from .progress import logging_to, one_line, say

# `embedding` and `sites` load torch, which takes seconds: functions that need them import them.


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
        Model, settings, reference of the normalisation and what was left out of it, dead channels,
        dropped features, versions.
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

    def site_tables(self):
        """The site tables, one a plate: (path, pd.DataFrame), see `sites.read_sites`."""
        from . import sites

        units = sites.units(self.metadata)
        for key, file in paths.site_tables(self.sites_path.parent, units).items():
            yield file, sites.read_sites(file, self.metadata, units[key])

    def sites(self):
        """The site table of all plates: one row a site, failed ones too."""
        return pd.concat([table for _, table in self.site_tables()], ignore_index=True)

    def to_anndata(self):
        """The profiles as AnnData, with those before normalisation as the layer "raw".

        Returns
        -------
        anndata.AnnData
            See `anndata_tables.of_extraction`.

        Raises
        ------
        ImportError
            anndata is not installed.
        ValueError
            A shard made no profiles.
        """
        if self.profiles is None:
            raise ValueError(
                "a shard makes no profiles, so there are none to give as AnnData; when all shards "
                "are embedded, run without shard."
            )
        return anndata_tables.of_extraction(
            self.profiles_path, self.profiles, provenance=self.provenance
        )


def extract(
    valset: str,
    *,
    model: str = DEFAULT_MODEL,
    arch: str | None = None,
    ckpt: str | None = None,
    embed_dim: int | None = None,
    cls_reduced_dim: int | None = None,
    pooling: str | None = None,
    block: int | None = None,
    root: str | None = None,
    remote: bool = False,
    platemap: str | None = None,
    channels: str | list | dict | None = None,
    controls: str | None = None,
    channel_axis: str | None = None,
    pattern: str | None = None,
    plane: int | str | None = None,
    timepoint: int | None = None,
    resolution_level: int | None = None,
    acquisition: int | None = None,
    outdir: str | None = None,
    overwrite: bool = False,
    size: int | None = None,
    stride: int | None = None,
    resize_shorter_side: int | None = None,
    pixel_size: float | None = None,
    tiling: str = "cover",
    min_foreground: float = 0.01,
    foreground_channel: str | None = None,
    small_images: str = "reflect",
    illumination: str | None = None,
    intensity_scaling: str | None = None,
    intensity_range: list | tuple | None = None,
    operation: str = "mean",
    norm_method: str = "standardize",
    reference: str = "negcon",
    l2norm: bool = False,
    correct: str = "none",
    batch: str = "batch",
    csv: bool = False,
    anndata: bool = False,
    batch_size: int | None = None,
    num_workers: int | None = None,
    device: str | None = None,
    gpus: int | list | None = None,
    shard: str | None = None,
    engine: str = "local",
    ray_address: str | None = None,
    precision: str = "auto",
    on_error: str = "record",
    max_missing: float = 0.05,
    seed: int = 0,
):
    """Embed every site of a dataset and make normalised well profiles.

    One plate is one unit of work: its site embeddings are written to a temporary name and renamed,
    and while it is embedded, every half minute what there is of it, so that a killed run resumes
    where it was. Several runs of the same share the plates.

    Parameters
    ----------
    valset : str
        A published dataset (BBBC021, jumpcp-valset, cell-health, HPA, BBBC037, insect,
        example_data), the simulated worlds, or the path of a CSV with one row a site, of the
        folder that a microscope exported, or of an OME-Zarr plate.
    model : str
        unidino-demo, random_vit, unidino, transfer; dino, microsnoop or morphem, with ckpt; or a
        weights file's path.
    arch : str
        Architecture of random_vit, or of weights that do not say.
    ckpt : str
        Weights file of the models dino, microsnoop, morphem and transfer.
    embed_dim : int
        Width of the model, where weights do not say.
    cls_reduced_dim : int
        Width after the reducer that the model ends in, where weights do not say.
    pooling : {"cls", "mean", "max", "cls_mean", "cls_max", "cls_mean_max"}
        Overrides the pooling that is stored with the model.
    block : int
        Block of the model that is read, from 1, in the place of its own.
    root : str
        Data root; UNIDINO_DATA, else simulated data.
    remote : bool
        Fetch the images that a table lists elsewhere (https, http, s3, members of zip archives), as
        its plates are read. Without it such a table is an error.
    platemap : str
        CSV of treatments and controls, joined on plate and well.
    channels : str, list or dict
        Channels to use, in this order; "DNA=ch5,ER=ch1" renames.
    controls : str
        Query that names the negative controls, such as "compound == 'DMSO'".
    channel_axis : {"first", "last"}
        Where merged image files do not say where their channels are.
    pattern : str
        Of a folder with names that no known microscope gives: a regular expression with the groups
        well (or row and col), site, channel, plate, plane, timepoint, batch, source, and others,
        that is searched in the paths below it.
    plane : int or "max"
        Plane of depth that is read where images have several, from 1; "max": the brightest of all
        planes at every pixel (maximum projection).
    timepoint : int
        Time point that is read where images have several, from 1.
    resolution_level : int
        Of an OME-Zarr plate; 0, the full resolution, by default.
    acquisition : int
        Number (id) of the acquisition of an OME-Zarr plate that has several.
    outdir : str
        Output root; the outputs go to <outdir>/<model>/<valset>.
    overwrite : bool
        Discard what an earlier run with other settings or images left there, once the first new
        plate is written.
    size : int
        Side of a tile in pixels; that which the model was trained at, by default.
    stride : int
        Pixels from one tile to the next; the size, by default.
    resize_shorter_side : int
        Shrink larger images to this shorter side, in pixels; the dataset's own by default (1080
        for cell-health and HPA).
    pixel_size : float
        Rescale the images to this size of a pixel in µm, antialiased where they shrink. Their own
        is that of the table's column pixel_size, else what their files say. Not with
        resize_shorter_side.
    tiling : {"cover", "grid", "legacy"}
        All pixels with even overlaps; whole tiles only; the released code's square grid.
    min_foreground : float
        Share of a tile's pixels above the background for it to be kept, 0 to 1.
    foreground_channel : str
        Channel in which foreground is looked for, "any" for each; the first by default.
    small_images : {"reflect", "resize"}
        How images smaller than a tile are brought to its size.
    illumination : str
        Uneven illumination is divided out: by the functions that the table gives, by default;
        "none" leaves the images as they are; "estimate" takes a function of each plate and channel
        from its images. Or where the functions lie, by the
        table's columns, such as "illum/{plate}_{channel}.npy".
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
    correct : {"none", "tvn", "sphere", "position", "harmony"}
        Correction of the normalised profiles (of raw ones with no_post_proc): tvn, sphere and
        position are fit on the negative controls and stored beside the profiles; harmony learns
        from all.
    batch : str
        Column of the batches that tvn and harmony align.
    csv : bool
        Write the profiles as CSV, too.
    anndata : bool
        Write the profiles as AnnData (.h5ad), too, for scanpy and its like; `unidino anndata` makes
        it of a table that is there.
    batch_size : int
        Tiles of one channel in a forward pass; by default 16 on the CPU, and on a GPU what was
        measured to be fast when the extraction began.
    num_workers : int
        Processes that read images; by default none on the CPU, up to 16 beside a GPU.
    device : str
        cuda, cuda:1, cpu …; the first GPU, else the CPU, by default.
    gpus : int or list
        How many GPUs of this machine share the sites, or their numbers; one by default.
    shard : str
        A part of the sites, such as "3/16", the third of sixteen: it is embedded, and no profiles
        are made. A run without shard collects the parts, embeds what is missing and makes the
        profiles.
    engine : {"local", "ray"}
        What embeds: this machine, or the workers of a Ray cluster, a GPU each where it has GPUs,
        else a processor each. The precision auto is then that of this machine.
    ray_address : str
        Of a cluster whose machines see the same paths as this one; "auto" for the one that this
        machine belongs to. Ray is started on this machine by default.
    precision : {"auto", "fp32", "bf16", "fp16"}
        Of the forward pass; auto: bf16 where the hardware multiplies it (a GPU since 2020, a CPU
        with AMX or AVX512-BF16), else fp32; what an extraction began with, it goes on with.
    on_error : {"record", "raise"}
        An unreadable image is recorded with its site, or stops the run.
    max_missing : float
        Share of the image files that may be missing, 0 to 1; their sites are recorded as failed.
        With on_error "raise" none may.
    seed : int
        Of random_vit and of the sample that intensity statistics are taken from.

    Returns
    -------
    Extraction
        Of a shard without profiles: they and their paths are None.

    Raises
    ------
    ValueError, TypeError, FileNotFoundError
        Wrong parameters or data, before any computing; leftovers made with other settings.
    ImportError
        What is asked for needs an extra that is not installed.
    RuntimeError
        A GPU or a task of Ray failed; what was embedded is kept.

    Examples
    --------
    >>> import unidino
    >>> made = unidino.extract("data/example/plate.csv", platemap="data/example/layout.csv")
    >>> len(made.profiles), made.counts["features"]
    (24, 72)
    """
    given = dict(locals())
    _check(given)
    from . import sites

    shared_by = [] if gpus is None else devices.gpu_names(gpus)
    first = shared_by[0] if shared_by else device
    metadata, embedder, settings, folder, known = _open(given | {"device": first})
    foreseen = _foresee(metadata, embedder.model, given)
    embeddings = sites.SiteEmbeddings(
        metadata, embedder, settings, folder, num_workers, on_error, shard, known
    )
    with embeddings.claimed(overwrite), logging_to(paths.log_file(folder)):
        _warn(foreseen)
        if len(shared_by) > 1:
            devices.share(shared_by, extract, given | {"gpus": None, "overwrite": False})
        if engine == "ray":
            own = given | {"engine": "local", "ray_address": None, "overwrite": False}
            cluster.share(
                embeddings.sizes, embeddings.finished, extract, own, ray_address, metadata.valset
            )
        embeddings.embed_plates(
            lambda refused: _warn(
                warning
                for warning in _foresee(metadata, embedder.model, given, refused)
                if warning not in foreseen
            )
        )
        if shard is not None:
            return _of_shard(embeddings, folder)
        embeddings.note_illumination()
        with claims.alone(folder):
            unnormalised, counts = _aggregate(embeddings, operation)
            made = _write(embeddings, unnormalised, counts, given)
        _report(made, foreseen)
        return made


def _of_shard(embeddings, folder):
    """What a shard made: site tables, and parts of them."""
    metadata, count = embeddings.metadata, embeddings.own_sites
    number, of_all = embeddings.shard
    say(
        f"{metadata.valset}: the {count} sites of shard {number + 1}/{of_all} are embedded; when "
        "all shards are, the same command without shard makes the profiles"
    )
    return Extraction(None, None, None, folder / "sites", {"sites": count}, {}, metadata)


def _open(given):
    """What an extraction is of: the dataset, the model that embeds it, the settings that every
    plate shares, the folder, and what an earlier run there measured."""
    from . import plate_illumination
    from .embedding import Embedder, check_size, find_device

    device = find_device(given["device"])
    weights = ("arch", "ckpt", "embed_dim", "cls_reduced_dim", "pooling", "block", "seed")
    network = load_model(given["model"], **{name: given[name] for name in weights})
    of_dataset = ("root", "remote", "platemap", "channels", "controls", "channel_axis")
    of_dataset += ("pattern", "plane", "timepoint", "resolution_level", "acquisition")
    of_dataset += ("illumination",)
    metadata = valsets.open_valset(
        given["valset"],
        **{name: given[name] for name in of_dataset},
        max_missing=given["max_missing"] if given["on_error"] == "record" else 0.0,
    )
    if given["resize_shorter_side"] is not None:
        metadata.resize_shorter_side = given["resize_shorter_side"]
    if given["pixel_size"] is not None:
        _rescale(metadata, float(given["pixel_size"]))
    size = check_size(network, given["size"] or network.config.size)
    stride = given["stride"] or size
    tiles.check_stride(size, stride, given["tiling"])
    scaling = given["intensity_scaling"] or network.config.intensity
    limits = given["intensity_range"]
    if limits is not None and scaling != "dtype":
        raise ValueError(
            f"intensity_range goes with the intensity scaling 'dtype', not {scaling!r}; set "
            "intensity_scaling='dtype' or leave intensity_range out."
        )
    settings = {
        "model": network.name,
        "weights_sha256": network.sha256,
        "model_config": network.config.as_dict(),
        "channels": metadata.channels,
        "size": size,
        "stride": stride,
        "resize_shorter_side": metadata.resize_shorter_side,
        "foreground_channel": given["foreground_channel"] or metadata.channels[0],
        "intensity_scaling": scaling,
        "intensity_range": None if limits is None else list(limits),
        "channel_axis": metadata.channel_axis,
    }
    # Only where they are set, so that extractions from before there were these go on.
    parts = {n: getattr(metadata, n) for n in ("plane", "timepoint", "resolution_level")}
    parts["pixel_size"] = metadata.target_pixel_size
    settings |= {name: value for name, value in parts.items() if value is not None}
    if given["illumination"] == illumination.ESTIMATE:
        settings["illumination"] = plate_illumination.settings()
    elif metadata.illumination_files():
        settings["illumination"] = "given"
    as_given = ("tiling", "min_foreground", "small_images", "seed")
    settings |= {name: given[name] for name in as_given}
    outdir = given["outdir"] or paths.outputs_root()
    folder = paths.valset_folder(outdir, settings["model"], metadata.valset)
    # What was resolved for the tables that are there holds for those to come.
    known = {} if given["overwrite"] else claims.recorded_settings(folder)
    measured = known.get(claims.MEASURED)
    if not isinstance(measured, dict) or measured.get("device") != device.type:
        measured = None
    precision = given["precision"]
    if precision == AUTO and known.get("precision") in PRECISIONS:
        precision = known["precision"]
    batch_size = given["batch_size"] or (measured or {}).get("batch_size")
    _compare_pixels(metadata, network)
    embedder = Embedder(network.to(device), batch_size, device, precision)
    settings["precision"] = embedder.precision
    return metadata, embedder, settings, folder, measured


def _rescale(metadata, pixel_size):
    """Have images rescaled as they are read.

    Raises
    ------
    ValueError
        The size of their own pixels is not known.
    """
    if not metadata.pixel_sizes:
        raise ValueError(
            f"pixel_size rescales images of which the size of their own pixels is known, and the "
            f"files of {metadata.valset} do not say it. Give it in µm by a column pixel_size of "
            "the table or plate map, or leave the parameter pixel_size out."
        )
    metadata.target_pixel_size = pixel_size
    metadata.resize_shorter_side = None


_ALIKE = 1.1
"""Pixels that differ by a smaller factor in size show cells as a model knows them."""


def _compare_pixels(metadata, network):
    """Note where images have pixels of several sizes, or of another than a model was trained on."""
    sizes = metadata.pixel_sizes if metadata.target_pixel_size is None else {}
    if sizes and max(sizes) >= _ALIKE * min(sizes):
        told = ", ".join(f"{size:g} µm in {count}" for size, count in list(sizes.items())[:3])
        metadata.note(
            f"the pixels of the images are of several sizes ({told} of the sites looked at), so "
            "that the same cells look of several sizes; pixel_size rescales all to one"
        )
    known, now = network.config.pixel_size, metadata.read_pixel_size
    if known is None or now is None or max(known, now) < _ALIKE * min(known, now):
        return
    larger = f"{known / now:.2g} times as large" if known > now else f"{known / now:.2g} as large"
    metadata.note(
        f"{network.name} was trained on pixels of {known:.3g} µm, those of the images are "
        f"{now:.3g} µm, so that it sees cells {larger} as in training; pixel_size={known:.3g} "
        "rescales the images"
    )


def _check(given):
    """Everything about the parameters that can be said before data are opened."""
    arguments.check_types(given, extract)
    shards.parsed(given["shard"])
    if given["shard"] is not None:
        for name in ("overwrite", "gpus"):
            if given[name]:
                raise ValueError(
                    f"shard goes without {name}: every shard writes into one folder"
                    f"{', which each would discard' if name == 'overwrite' else ' on one device'}. "
                    f"Leave {name} out."
                )
    cluster.check(given)
    if given["anndata"]:
        anndata_tables.check_installed()
    if given["gpus"] is not None and given["device"] is not None:
        raise ValueError("gpus names devices, and so does device: leave one of them out.")
    for name, choices in {
        "tiling": tiles.TILINGS,
        "small_images": tiles.SMALL_IMAGES,
        "operation": (*profiles.OPERATIONS, "none"),
        "norm_method": profiles.NORM_METHODS,
        "correct": profiles.CORRECTIONS,
        "precision": (AUTO, *PRECISIONS),
        "on_error": ("record", "raise"),
    }.items():
        arguments.check_choice(name, given[name], choices)
    optional = {"intensity_scaling": intensity.METHODS, "pooling": POOLINGS}
    for name, choices in optional.items():
        if given[name] is not None:
            arguments.check_choice(name, given[name], choices)
    images.check_part(given["plane"], given["timepoint"])
    illumination.check(given["illumination"])
    check_name(given["model"], given["ckpt"])
    for name in ("block", "size", "stride", "resize_shorter_side", "batch_size"):
        arguments.check_positive(name, given[name])
    if given["num_workers"] is not None and given["num_workers"] < 0:
        raise ValueError(f"num_workers is {given['num_workers']}; it must be 0 or more.")
    if given["pixel_size"] is not None:
        if not 0 < given["pixel_size"] < float("inf"):
            raise ValueError(f"pixel_size is {given['pixel_size']}; expected µm, above 0.")
        if given["resize_shorter_side"] is not None:
            raise ValueError(
                "pixel_size and resize_shorter_side both say how large images become: leave one of "
                "them out."
            )
    for name in ("min_foreground", "max_missing"):
        if not 0 <= given[name] <= 1:
            raise ValueError(f"{name} is {given[name]}; it is a share, 0 to 1.")


def _foresee(metadata, model, given, refused=()):
    """What table, model and headers tell in advance of the normalisation: warnings, or an error.

    A query that names columns which only extraction adds, such as Metadata_sites, waits for them.
    """
    from .embedding import channel_groups

    frame = tables.prefixed(metadata.described)
    readable = ~np.isin(np.arange(len(frame)), list(refused))
    if given["operation"] != "none" and metadata.well_columns:
        names = [tables.metadata_name(name) for name in metadata.well_columns]
        wells = list(tables.groups(frame, names).values())
        frame = frame.iloc[[rows[0] for rows in wells]]
        readable = np.array([readable[rows].any() for rows in wells])
    profiles.check_correction(frame, given["correct"], given["batch"])
    try:
        return profiles.check_reference(
            frame,
            given["norm_method"],
            given["reference"],
            by=metadata.plate_columns,
            features=len(channel_groups(model, metadata.channels)) * model.embedding_dim,
            readable=readable,
        )
    except queries.UnknownColumn as error:
        later = {name.lower() for name in added_columns(metadata.channels)}
        name = error.column.lower().removeprefix("metadata_")
        if name not in later and not tables.feature_columns(pd.DataFrame(columns=[error.column])):
            raise
        return []


def _warn(warnings):
    for warning in warnings:
        say(f"warning: {warning}")


def _aggregate(embeddings, operation):
    """Unnormalised profiles from the finished site tables, and counts of sites and tiles."""
    metadata = embeddings.metadata
    parts, counts = [], dict.fromkeys(("sites", "ok", "empty", "failed", "tiles", "tiles_kept"), 0)
    by_well = operation != "none" and metadata.well_columns
    wells = [tables.metadata_name(name) for name in metadata.well_columns]
    flat = {}
    for table in embeddings.tables():
        statuses = table["Metadata_status"].value_counts()
        counts["sites"] += len(table)
        for status in profiles.STATUSES:
            counts[status] += int(statuses.get(status, 0))
        for name in ("tiles", "tiles_kept"):
            counts[name] += int(table[f"Metadata_{name}"].sum())
        # Wells lie within plates, so each plate is averaged alone and memory follows the wells.
        parts.append(profiles.aggregate(table, wells, operation) if by_well else table)
        if by_well:
            for channel, found in _flat_in_part(table, wells).items():
                flat.setdefault(channel, {}).update(found)
    if not counts["ok"] + counts["empty"]:
        first = parts[0]["Metadata_error"].iloc[0] if "Metadata_error" in parts[0] else ""
        raise ValueError(f"none of the {counts['sites']} sites could be read. The first: {first}")
    for channel, found in flat.items():
        metadata.note(
            f"channel {channel} is constant or saturated in {sum(found.values())} sites of "
            f"{len(found)} wells whose other sites are not: {listed([*found])}; they are averaged "
            "into the profiles of these wells"
        )
    # What varies within the wells of most plates reaches no profile.
    plates = Counter(name for part in parts for name in part)
    shared = [name for name, count in plates.items() if 2 * count > len(parts)]
    made = pd.concat([part.reindex(columns=shared) for part in parts], ignore_index=True)
    return made, counts | {"profiles": len(made), "features": len(tables.feature_columns(made))}


def _flat_in_part(table, wells):
    """{channel: {well: its flat sites}}, of the wells of which some sites are flat, but not all."""
    read = table[table["Metadata_status"] != "failed"]
    members, made = tables.groups(read, wells), {}
    for channel, flat in quality.flat(read).items():
        counts = {key: int(flat[rows].sum()) for key, rows in members.items()}
        some = {key: n for key, n in counts.items() if 0 < n < len(members[key])}
        made |= {channel: some} if some else {}
    return made


def _write(embeddings, unnormalised, counts, given):
    """Profiles before and after normalisation, written with how they were made."""
    metadata, folder = embeddings.metadata, embeddings.folder
    norm_method, l2norm = given["norm_method"], given["l2norm"]

    level = "well" if metadata.well_columns and given["operation"] != "none" else "site"

    def store(frame, method, l2norm, made):
        path = paths.profiles_table(folder, metadata.valset, method, level, l2norm)
        tables.write_table(frame, path, made)
        if given["csv"]:
            with tables.atomic_path(path.with_suffix(".csv")) as temporary:
                frame.to_csv(temporary, index=False)
        return path

    provenance = embeddings.provenance() | {
        "counts": counts,
        "operation": given["operation"],
        "norm_method": "no_post_proc",
        "l2norm": False,
    }
    before = path = store(unnormalised, "no_post_proc", False, provenance)
    scaled = _unit_length(unnormalised) if l2norm else unnormalised
    normalised = profiles.normalise(
        scaled, norm_method, given["reference"], by=metadata.plate_columns
    )
    if norm_method != "no_post_proc" or l2norm:
        provenance |= {
            "norm_method": norm_method,
            "l2norm": l2norm,
            "reference": normalised.reference_used,
            "reference_left_out": normalised.left_out,
            "dead_channels": normalised.dead_channels,
            "dropped_features": normalised.dropped_features,
            "warnings": normalised.warnings,
        }
        path = store(normalised.profiles, norm_method, l2norm, provenance)
    final, correct = normalised.profiles, given["correct"]
    if correct != "none":
        final, fitted = profiles.correct(final, correct, given["batch"])
        settings = {"batch": given["batch"]} if fitted is None else fitted.settings()
        provenance |= {"correct": correct, "correction": settings}
        path = store(final, f"{norm_method}_{correct}", l2norm, provenance)
        if fitted is not None:
            fitted.save(paths.correction_file(path))
    if given["anndata"]:
        written = anndata_tables.of_extraction(path, final, provenance=provenance)
        anndata_tables.write(written, paths.anndata_file(path))
    _warn(_left_over(path, final, given))
    return Extraction(
        profiles=final,
        profiles_path=path,
        unnormalised_path=before,
        sites_path=folder / "sites",
        counts=counts,
        provenance=provenance,
        metadata=embeddings.corrected(),
        warnings=[*metadata.notes, *normalised.warnings],
    )


def _left_over(path, frame, given):
    """What an earlier run wrote beside the profiles, this one does not, and says otherwise."""
    file = path.with_suffix(".csv")
    stale = []
    if not given["csv"] and file.exists():
        text = frame.to_csv(index=False).encode(errors="surrogateescape")
        stale += [("csv", file)] if file.read_bytes() != text else []
    file = paths.anndata_file(path)
    if not given["anndata"] and file.exists() and not anndata_tables.is_copy(file, path):
        stale += [("anndata", file)]
    for option, file in stale:
        yield (
            f"{file.name} is of an earlier run, and these profiles differ from it; with {option} "
            "it is written anew"
        )


def _unit_length(frame):
    """The profiles, each scaled to length 1."""
    features = tables.feature_columns(frame)
    values = frame[features].to_numpy()
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    scaled = frame.assign(**dict.fromkeys(features, 0.0))
    scaled[features] = values / np.maximum(lengths, np.finfo(np.float32).tiny)
    return scaled


def _report(made, said):
    """Say what was made, and what was odd on the way and is not said yet."""
    counts = made.counts
    _warn(warning for warning in made.warnings if warning not in (*said, *made.metadata.notes))
    if counts["failed"]:
        say(f"warning: {counts['failed']} of {counts['sites']} sites could not be read")
    if counts["empty"]:
        say(
            f"{made.metadata.valset}: {counts['empty']} of {counts['sites']} sites show no "
            "foreground (status empty)"
        )
    say(
        f"{made.metadata.valset}: {counts['profiles']} profiles of {counts['features']} features "
        f"in {made.profiles_path}"
    )


def main(argv=None, program="python -m unidino.inference"):
    """The command line: one option for every parameter of `extract`."""
    options = vars(arguments.parser(extract, program).parse_args(argv))
    try:
        made = extract(**options)
    except (ValueError, TypeError, OSError, RuntimeError, ImportError) as error:
        sys.exit(f"error: {one_line(error)}")
    print(made.profiles_path or made.sites_path)


if __name__ == "__main__":
    main()
