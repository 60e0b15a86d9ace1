"""The published datasets and the simulated worlds by name; tables and folders by path."""

from difflib import get_close_matches
from pathlib import Path

from .. import illumination as functions
from .. import ome_zarr
from ..controls import mark_controls
from .compounds import BBBC021Metadata, ExampleJUMPCPMetadata, InsectMetadata, JUMPCPMetadata
from .csv import CSVMetadata
from .exports import ExportMetadata
from .genes import BBBC037Metadata, CellHealthMetadata, HPAMetadata
from .worlds import WorldsMetadata
from .zarr_plates import OMEZarrMetadata

VALSETS = {
    cls.valset: cls
    for cls in (
        BBBC021Metadata,
        JUMPCPMetadata,
        ExampleJUMPCPMetadata,
        CellHealthMetadata,
        HPAMetadata,
        BBBC037Metadata,
        InsectMetadata,
        WorldsMetadata,
    )
}
"""Name of each dataset and its class: the published seven, and the simulated worlds."""

TRAINING_SETS = {
    "jumpcp": (JUMPCPMetadata, {"training_set": True}),
    "bbbc021": (BBBC021Metadata, {"downsample_controls": True}),
    "bbbc037": (BBBC037Metadata, {"downsample_controls": True}),
    "hpa": (HPAMetadata, {}),
    "insect": (InsectMetadata, {"downsample_controls": True}),
}
"""The published training mix: class and options of each set (controls down-sampled per plate)."""

_TABLE_SUFFIXES = (".csv", ".tsv", ".txt", ".tab", ".parquet", ".gz", ".xlsx", ".xls")


def _is_table(text):
    """Whether a dataset is given by a table: by its suffix, or because there is such a file."""
    return text.lower().endswith(_TABLE_SUFFIXES) or Path(text).expanduser().is_file()


def _is_folder(text):
    """Whether a dataset is given by a folder; a name of `VALSETS` is that dataset's."""
    known = {name.lower() for name in VALSETS}
    return text.lower() not in known and Path(text).expanduser().is_dir()


def name_and_root(text):
    """A dataset's name and data root from ``HPA@/data``; the root is None where none is named.

    Paths of tables and folders are left whole.
    """
    text = str(text)
    if _is_table(text) or _is_folder(text) or ome_zarr.is_plate(text):
        return text, None
    name, _, root = text.partition("@")
    return name, root or None


def open_valset(
    valset,
    single_channel_metadata=False,
    root=None,
    check_files=True,
    *,
    platemap=None,
    channels=None,
    controls=None,
    channel_axis=None,
    pattern=None,
    plane=None,
    timepoint=None,
    resolution_level=None,
    acquisition=None,
    max_missing=0.0,
    remote=False,
    illumination=None,
):
    """The metadata of a dataset by name, or of a CSV by path.

    Parameters
    ----------
    valset : str or Path
        A key of `VALSETS` (any case), or the path of a table (see `CSVMetadata`) or of the folder
        of a microscope's export (see `ExportMetadata`), or the folder or address of an OME-Zarr
        plate (see `OMEZarrMetadata`).
    single_channel_metadata, root, check_files
        See `PublishedMetadata` and `CSVMetadata`.
    platemap, channel_axis
        Of a table or folder only; the first of an OME-Zarr plate, too.
    remote : bool
        Of a table or an OME-Zarr plate only.
    pattern : str, optional
        Of a folder only, see `ExportMetadata`.
    channels : str, list or dict, optional
        See `Metadata.select_channels`.
    controls : str, optional
        Query (`queries.rows`) that names the negative controls, instead of the dataset's own.
    plane : int or "max", optional
        Plane of depth that is read where images have several, from 1; "max" is their maximum
        projection.
    timepoint : int, optional
        Time point that is read where images have several, from 1.
    resolution_level, acquisition
        Of an OME-Zarr plate only, see `OMEZarrMetadata`.
    illumination : str, optional
        See `illumination.choose`.

    Returns
    -------
    Metadata

    Raises
    ------
    ValueError
        An unknown name (suggests the nearest), or options that do not apply.
    """
    given = dict(locals())
    if illumination is not None:
        made = open_valset(**given | {"illumination": None, "check_files": False})
        functions.choose(made, illumination)
        if check_files:
            made.check_files(max_missing)
        return made
    name = str(valset)
    if ome_zarr.is_plate(name):
        others = {"root": root, "channel_axis": channel_axis, "pattern": pattern}
        for option, value in others.items():
            if value is not None:
                raise ValueError(f"{option} does not go with an OME-Zarr plate: leave it out.")
        return OMEZarrMetadata(
            name,
            single_channel_metadata,
            check_files,
            resolution_level=resolution_level,
            acquisition=acquisition,
            remote=remote,
            platemap=platemap,
            channels=channels,
            controls=controls,
            plane=plane,
            timepoint=timepoint,
            max_missing=max_missing,
        )
    for option, value in (("resolution_level", resolution_level), ("acquisition", acquisition)):
        if value is not None:
            raise ValueError(
                f"{option} goes with an OME-Zarr plate, which {name} is not: leave it out."
            )
    if pattern is not None and not _is_folder(name):
        raise ValueError(f"pattern goes with a folder of images, not with {name}: leave it out.")
    if _is_table(name):
        return CSVMetadata(
            name,
            single_channel_metadata,
            root,
            check_files,
            platemap=platemap,
            channels=channels,
            controls=controls,
            channel_axis=channel_axis,
            plane=plane,
            timepoint=timepoint,
            max_missing=max_missing,
            remote=remote,
        )
    if _is_folder(name):
        for option, value in (("root", root), ("remote", remote or None)):
            if value is not None:
                raise ValueError(
                    f"{option} goes with a CSV, not with the folder {name}: leave it out."
                )
        return ExportMetadata(
            name,
            single_channel_metadata,
            check_files,
            pattern=pattern,
            plane=plane,
            timepoint=timepoint,
            platemap=platemap,
            channels=channels,
            controls=controls,
            channel_axis=channel_axis,
            max_missing=max_missing,
        )
    known = {key.lower(): key for key in VALSETS}
    if name.lower() not in known:
        near = get_close_matches(name.lower(), known, n=2, cutoff=0.4)
        hint = f" Did you mean {' or '.join(known[n] for n in near)}?" if near else ""
        raise ValueError(
            f"unknown valset {name!r}. It is one of {', '.join(VALSETS)}, or the path of a CSV or "
            f"of a folder of images; there is no file or folder of this name.{hint}"
        )
    of_tables = {"platemap": platemap, "channel_axis": channel_axis, "remote": remote or None}
    for option, value in of_tables.items():
        if value is not None:
            raise ValueError(f"{option} goes with a CSV, not with {known[name.lower()]}.")
    metadata = VALSETS[known[name.lower()]](False, root, check_files=False)
    metadata.plane, metadata.timepoint = plane, timepoint
    if check_files:
        metadata.check_files(max_missing)
    if controls is not None:
        metadata.metadata = mark_controls(
            metadata.metadata, controls, metadata.valset, metadata.note
        )
    if channels is not None:
        metadata.select_channels(channels)
    if single_channel_metadata:
        metadata.as_single_channel()
    return metadata
