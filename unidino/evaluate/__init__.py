"""What profiles know: metrics, their intervals, baselines, and one module a benchmark."""

from .batch import (
    bras,
    drift,
    graph_connectivity,
    inductive_scores,
    kbet,
    lisi,
    pc_regression,
    scaled_lisi,
    variance_explained,
)
from .bootstrap import bootstrap_interval, mean_interval, paired_difference
from .neighbours import Accuracy, in_several, nearest_neighbour_accuracy
from .permutation import permutation_null
from .questions import activity, consistency, distinctiveness
from .retrieval import average_precision, mean_average_precision, replicate_correlation
from .significance import retrieval_summary
from .similarity import METRICS

__all__ = [
    "METRICS",
    "Accuracy",
    "activity",
    "average_precision",
    "bootstrap_interval",
    "bras",
    "consistency",
    "distinctiveness",
    "drift",
    "graph_connectivity",
    "in_several",
    "inductive_scores",
    "kbet",
    "lisi",
    "mean_average_precision",
    "mean_interval",
    "nearest_neighbour_accuracy",
    "paired_difference",
    "pc_regression",
    "permutation_null",
    "replicate_correlation",
    "retrieval_summary",
    "scaled_lisi",
    "variance_explained",
]
