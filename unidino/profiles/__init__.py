"""From site embeddings to profiles: aggregation, normalisation, correction of batches."""

from .aggregation import OPERATIONS, STATUSES, aggregate, aggregate_file, consensus
from .corrected import CORRECTIONS, FITTED, check_correction, correct, held_out, load_correction
from .harmony import harmony
from .normalisation import NORM_METHODS, Normalised, normalise
from .position import Position
from .reference import SPARSE, check_reference, reference_rows
from .sphere import Sphere, sphere
from .tvn import TVN, tvn

__all__ = [
    "CORRECTIONS",
    "FITTED",
    "NORM_METHODS",
    "OPERATIONS",
    "SPARSE",
    "STATUSES",
    "TVN",
    "Normalised",
    "Position",
    "Sphere",
    "aggregate",
    "aggregate_file",
    "check_correction",
    "check_reference",
    "consensus",
    "correct",
    "harmony",
    "held_out",
    "load_correction",
    "normalise",
    "reference_rows",
    "sphere",
    "tvn",
]
