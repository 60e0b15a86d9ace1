"""Datasets: the published ones and worlds by name; tables and folders of images by path."""

from .compounds import BBBC021Metadata, ExampleJUMPCPMetadata, InsectMetadata, JUMPCPMetadata
from .csv import CSVMetadata
from .exports import ExportMetadata
from .genes import BBBC037Metadata, CellHealthMetadata, HPAMetadata
from .registry import TRAINING_SETS, VALSETS, name_and_root, open_valset
from .worlds import WorldsMetadata
from .zarr_plates import OMEZarrMetadata

__all__ = [
    "TRAINING_SETS",
    "VALSETS",
    "BBBC021Metadata",
    "BBBC037Metadata",
    "CSVMetadata",
    "CellHealthMetadata",
    "ExampleJUMPCPMetadata",
    "ExportMetadata",
    "HPAMetadata",
    "InsectMetadata",
    "JUMPCPMetadata",
    "OMEZarrMetadata",
    "WorldsMetadata",
    "name_and_root",
    "open_valset",
]
