"""From site embeddings to profiles: aggregation, normalisation, correction of batches."""

from .aggregation import OPERATIONS, STATUSES, aggregate, consensus
from .normalisation import NORM_METHODS, Normalised, check_reference, normalise
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
    "tvn",
]
