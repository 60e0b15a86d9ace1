"""p-values of groups against a loop, and random rankings against all there are."""

import math

import numpy as np
import pandas as pd
import pytest
from copairs.compute import get_null_dists

from unidino.evaluate import significance, similarity


def scores(seed, kinds):
    """Profiles of groups, each of one of so many kinds; what could not be scored among them."""
    rng = np.random.default_rng(seed)
    which = rng.integers(0, kinds, 40)
    total = 6 + which
    frame = pd.DataFrame({"group": rng.choice(list("abcdefg"), 40), "n_total_pairs": total})
    frame["n_pos_pairs"] = 1 + which % 3
    every = [significance.all_precisions(p, t) for p, t in
             zip(frame["n_pos_pairs"], total, strict=True)]  # fmt: skip
    frame["average_precision"] = [rng.choice(values) for values in every]
    frame["lowest_average_precision"] = frame["average_precision"] * rng.choice([1, 0.9], 40)
    frame["normalized_average_precision"] = frame["average_precision"]
    frame["tied"] = frame["lowest_average_precision"] < frame["average_precision"]
    frame.loc[rng.integers(0, 40, 4), "average_precision"] = np.nan
    return frame


@pytest.mark.parametrize("kinds", [1, 2, 5])
@pytest.mark.parametrize("seed", range(4))
def test_groups_equal_the_loop(seed, kinds, tmp_path):
    """Each group by itself, from copairs' own random rankings."""
    frame = scores(seed, kinds)
    made = significance.grouped(frame, ["group"], 300, seed).set_index("group")
    frame = frame.dropna(subset="average_precision")
    pairs = ["n_pos_pairs", "n_total_pairs"]
    confs = np.unique(frame[pairs].to_numpy(), axis=0)
    drawn = get_null_dists(confs, 300, seed, tmp_path, progress_bar=False)
    drawn = dict(zip(map(tuple, confs), drawn, strict=True))
    assert set(made.index) == set(frame["group"])
    for name, group in frame.groupby("group"):
        own = [tuple(pair) for pair in group[pairs].to_numpy()]
        chance = np.mean([drawn[pair] for pair in own], axis=0)
        lowest, mean = group["lowest_average_precision"].mean(), group["average_precision"].mean()
        row = made.loc[name]
        assert row["n_profiles"] == len(group)
        assert row["mean_average_precision"] == pytest.approx(mean)
        assert row["p_value"] == (1 + (chance >= lowest - similarity.TOLERANCE).sum()) / 301
        assert row["copairs_p_value"] == (1 + (chance > mean + similarity.TOLERANCE).sum()) / 301
        if len(set(own)) > 1:
            assert np.isnan(row["exact_p_value"]) and row["least_p_value"] == 1 / 301
            continue
        every = significance.all_precisions(*own[0])
        assert row["exact_p_value"] == (every >= lowest - similarity.TOLERANCE).mean()
        assert row["least_p_value"] == 1 / math.comb(own[0][1], own[0][0])


@pytest.mark.parametrize(("positive", "total"), [(1, 6), (2, 5), (3, 6), (4, 6), (5, 6)])
def test_every_set_of_places_is_drawn_as_often(positive, total):
    count = 20_000
    places = significance.random_places(count, positive, total, np.random.default_rng(0))
    assert places.shape == (count, positive)
    assert (np.diff(places, axis=1) > 0).all() and places.min() >= 0 and places.max() < total
    found = pd.DataFrame(places).value_counts()
    expected = count / math.comb(total, positive)
    assert len(found) == math.comb(total, positive)
    # Six standard deviations.
    assert (found - expected).abs().max() < 6 * np.sqrt(expected)


def test_rankings_of_many_kinds_have_the_same_distribution(monkeypatch):
    """Their p-values are the exact ones but for chance."""
    frame = scores(0, 1)
    full = significance.grouped(frame, ["group"], 20_000, 0)
    monkeypatch.setattr(significance, "DRAWN_IN_FULL", 0)
    made = significance.grouped(frame, ["group"], 20_000, 0)
    unchanged = ["p_value", "copairs_p_value", "corrected_p_value", "corrected_copairs_p_value"]
    pd.testing.assert_frame_equal(made.drop(columns=unchanged), full.drop(columns=unchanged))
    np.testing.assert_allclose(made["p_value"], made["exact_p_value"], atol=6 * 0.5 / 20_000**0.5)
    np.testing.assert_allclose(
        made["copairs_p_value"], full["copairs_p_value"], atol=12 * 0.5 / 20_000**0.5
    )
    pd.testing.assert_frame_equal(made, significance.grouped(frame, ["group"], 20_000, 0))
