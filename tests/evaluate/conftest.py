"""Random tables of profiles."""

import numpy as np
import pandas as pd
import pytest


@pytest.fixture(scope="session")
def table():
    """A function (seed, rows, features) that makes profiles with gaps in some labels."""
    return _table


def _table(seed, rows=60, features=6):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "Metadata_moa": rng.choice(["a", "b", "c", None], rows, p=[0.4, 0.3, 0.2, 0.1]),
            "Metadata_compound": rng.choice([f"c{i}" for i in range(9)], rows),
            "Metadata_Batch": rng.choice([1, 2, 3], rows),
            "Metadata_Plate": rng.choice(["p", "q", None], rows),
        }
    )
    values = rng.normal(size=(rows, features))
    return pd.concat([frame, pd.DataFrame(values).add_prefix("emb")], axis=1)
