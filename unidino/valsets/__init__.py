"""Datasets: the seven published ones by name, and any table of images by path."""

from .compounds import BBBC021Metadata, ExampleJUMPCPMetadata, InsectMetadata, JUMPCPMetadata
from .csv import CSVMetadata
from .genes import BBBC037Metadata, CellHealthMetadata, HPAMetadata
from .registry import TRAINING_SETS, VALSETS, name_and_root, open_valset

__all__ = [
    "TRAINING_SETS",
    "VALSETS",
    "BBBC021Metadata",
    "BBBC037Metadata",
    "CSVMetadata",
    "CellHealthMetadata",
    "ExampleJUMPCPMetadata",
    "HPAMetadata",
    "InsectMetadata",
    "JUMPCPMetadata",
    "name_and_root",
    "open_valset",
]
