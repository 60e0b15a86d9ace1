"""Maps of profiles: what UMAP is asked for."""

import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from unidino.evaluate import maps


@pytest.mark.parametrize(("count", "neighbours"), [(36, 15), (9, 8)])
def test_umap_is_asked_for_two_coordinates(count, neighbours, monkeypatch):
    """In the place of umap, whose compilation takes longer than all else here: a page runs it."""
    asked = {}

    class UMAP:
        def __init__(self, **options):
            asked.update(options)

        def fit_transform(self, values):
            return values[:, :2]

    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=UMAP))
    values = np.random.default_rng(0).normal(size=(count, 4))
    frame = pd.DataFrame(values).add_prefix("emb").assign(Metadata_Well="A01")
    made = maps.umap_coordinates(frame, seed=3)
    np.testing.assert_array_equal(made, values[:, :2])
    assert asked == {
        "n_neighbors": neighbours, "metric": "cosine", "densmap": False, "random_state": 3,
        "n_jobs": 1,
    }  # fmt: skip


def test_too_few_profiles_have_no_map():
    with pytest.raises(ValueError, match="4 profiles are too few for a map; 5 or more"):
        maps.umap_coordinates(pd.DataFrame(np.eye(4)).add_prefix("emb"))
