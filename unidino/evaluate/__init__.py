"""What profiles know: metrics, their intervals, baselines, and one module a benchmark."""

from .bootstrap import bootstrap_interval, paired_difference
from .neighbours import Accuracy, in_several, nearest_neighbour_accuracy
from .retrieval import average_precision, mean_average_precision, replicate_correlation
from .similarity import METRICS

__all__ = [
    "METRICS",
    "Accuracy",
    "average_precision",
    "bootstrap_interval",
    "in_several",
    "mean_average_precision",
    "nearest_neighbour_accuracy",
    "paired_difference",
    "replicate_correlation",
]
