"""From site embeddings to profiles: aggregation, normalisation, correction of batches."""

from . import correction
from .aggregation import OPERATIONS, STATUSES, aggregate, consensus
from .harmony import harmony
from .normalisation import NORM_METHODS, Normalised, normalise
from .reference import SPARSE, check_reference, reference_rows
from .sphere import Sphere, sphere
from .tvn import TVN, tvn

CORRECTIONS = {kind.name: kind for kind in (TVN, Sphere)}
"""Corrections that are fit on negative controls, by name."""


def load_correction(path):
    """A correction that `Correction.save` wrote, ready to `transform`.

    Raises
    ------
    FileNotFoundError, ValueError
        No such file; a file that is none of ours.
    """
    return correction.load(path, CORRECTIONS)


__all__ = [
    "CORRECTIONS",
    "NORM_METHODS",
    "OPERATIONS",
    "SPARSE",
    "STATUSES",
    "TVN",
    "Normalised",
    "Sphere",
    "aggregate",
    "check_reference",
    "consensus",
    "harmony",
    "load_correction",
    "normalise",
    "reference_rows",
    "sphere",
    "tvn",
]
