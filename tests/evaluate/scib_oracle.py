"""Values of scib-metrics on a seeded table: ``python tests/evaluate/scib_oracle.py``.

It needs an environment of its own with scib-metrics, which is no dependency of this project; what
it writes, ``scib_oracle.json``, is committed.
"""

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np


def table():
    """Values (90, 6), labels and batches: three batches shifted, five labels apart."""
    rng = np.random.default_rng(7)
    labels = np.arange(90) % 5
    batches = np.arange(90) // 30
    centres, shifts = rng.normal(0, 2, (5, 6)), rng.normal(0, 0.7, (3, 6))
    return rng.normal(size=(90, 6)) + centres[labels] + shifts[batches], labels, batches


def main():
    """Write the oracle."""
    import scib_metrics
    from scib_metrics.nearest_neighbors import NeighborsResults
    from scib_metrics.utils import principal_component_regression

    values, labels, batches = table()
    distance = np.sqrt(((values[:, None] - values[None]) ** 2).sum(-1))
    order = np.argsort(distance, axis=1, kind="stable")[:, :61]  # itself, and 60 neighbours
    near = NeighborsResults(indices=order, distances=np.take_along_axis(distance, order, 1))
    made = {
        "scib-metrics": version("scib-metrics"),
        "bras": scib_metrics.bras(values, labels, batches),
        "lisi_batch": scib_metrics.lisi_knn(near, batches, perplexity=20).tolist(),
        "lisi_label": scib_metrics.lisi_knn(near, labels, perplexity=20).tolist(),
        "ilisi": scib_metrics.ilisi_knn(near, batches, perplexity=20),
        "clisi": scib_metrics.clisi_knn(near, labels, perplexity=20),
        "pcr_batch": principal_component_regression(values, batches, True, 4),
        "pcr_line": principal_component_regression(values, values[:, 0] * 3, False, 4),
    }
    made = {k: v if isinstance(v, str | list) else float(v) for k, v in made.items()}
    path = Path(__file__).with_suffix(".json")
    path.write_text(json.dumps(made, indent=1) + "\n")


if __name__ == "__main__":
    main()
