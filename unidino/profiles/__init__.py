"""From site embeddings to profiles: aggregation, normalisation, correction of batches."""

from .aggregation import OPERATIONS, STATUSES, aggregate, consensus
from .normalisation import NORM_METHODS, Normalised, check_reference, normalise, reference_rows
from .tvn import tvn

__all__ = [
    "NORM_METHODS",
    "OPERATIONS",
    "STATUSES",
    "Normalised",
    "aggregate",
    "check_reference",
    "consensus",
    "normalise",
    "reference_rows",
    "tvn",
]
