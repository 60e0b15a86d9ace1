"""One real plate with its published answers, small enough to keep.

``python tests/evaluate/jump_moa_oracle.py`` writes ``jump_moa_BR00122250.parquet`` from the real
plates (UNIDINO_REAL). Its source and licence stand in ``jump_moa_BR00122250.md``.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from unidino import paths, tables
from unidino.demo import real_sets

PLATE = "BR00122250"
FILE = Path(__file__).with_name(f"jump_moa_{PLATE}.parquet")


def table(root):
    """The wells in an orthonormal basis of what they span, beside what copairs gave for each.

    A turn changes no length and no angle: cosines and Euclidean distances are those of all
    features, in as many numbers as there are wells.

    Parameters
    ----------
    root : Path
        The real data root, see `unidino.paths.real_data_root`.

    Returns
    -------
    pd.DataFrame
        One row a well: plate, well, compound, moa, control_type, published_against_controls and
        published_against_treatments (average precision of the well), then features in float32.
    """
    wells, _ = real_sets.jump_moa_plate(root, PLATE)
    made = wells[["plate", "well", "compound", "moa", "control_type"]].copy()
    for against in ("Control", "Treatment"):
        published = real_sets.jump_moa_published(root, PLATE, against, "well")
        made[f"published_against_{against.lower()}s"] = made["well"].map(
            published["average_precision"]
        )
    values = wells[tables.feature_columns(wells)].to_numpy()
    # The wells are the rows of a triangle: half of the numbers are zeros, which take no room.
    turned = np.linalg.qr(values.T, mode="r").T.astype(np.float32)
    names = [f"emb_{i:04d}" for i in range(turned.shape[1])]
    return pd.concat([made, pd.DataFrame(turned, columns=names)], axis=1)


if __name__ == "__main__":
    tables.write_table(table(paths.real_data_root()), FILE)
