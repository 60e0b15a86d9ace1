"""From site embeddings to profiles: aggregation, normalisation, correction of batches."""

from .aggregation import OPERATIONS, STATUSES, aggregate, consensus
from .normalisation import NORM_METHODS, Normalised, normalise
from .reference import SPARSE, check_reference, reference_rows
from .tvn import tvn

__all__ = [
    "NORM_METHODS",
    "OPERATIONS",
    "SPARSE",
    "STATUSES",
    "Normalised",
    "aggregate",
    "check_reference",
    "consensus",
    "normalise",
    "reference_rows",
    "tvn",
]
