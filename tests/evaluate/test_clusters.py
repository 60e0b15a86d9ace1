"""Agreement of clusters with labels: known answers, scikit-learn as a twin, and its null."""

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from unidino.evaluate import clusters


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("parts", "labels"), [(1, 4), (3, 3), (12, 4), (40, 2)])
def test_measures_are_those_of_scikit_learn(seed, parts, labels):
    rng = np.random.default_rng(seed)
    found, true = rng.integers(parts, size=60), rng.integers(labels, size=60)
    made = clusters.agreement(found, true, permutations=1)["value"]
    assert made["ARI"] == pytest.approx(adjusted_rand_score(true, found), abs=1e-12)
    assert made["NMI"] == pytest.approx(normalized_mutual_info_score(true, found), abs=1e-12)


def test_same_parts_agree_whatever_they_are_called():
    made = clusters.agreement(list("aabbcc"), [3, 3, 1, 1, 2, 2], permutations=200)
    assert made["value"].tolist() == pytest.approx([1, 1])
    assert made["null_high"].max() <= 1 and (made["null"] < 0.7).all()
    assert made[["clusters", "labels", "n"]].iloc[0].tolist() == [3, 3, 6]


@pytest.mark.parametrize("parts", [["a"] * 4, list("abcd")])
def test_one_part_and_single_profiles(parts):
    other = list("aabb")
    made = clusters.agreement(parts, other, permutations=1)["value"]
    assert made["ARI"] == pytest.approx(adjusted_rand_score(other, parts))
    assert made["NMI"] == pytest.approx(normalized_mutual_info_score(other, parts))
    assert clusters.agreement(parts, parts, permutations=1)["value"].tolist() == [1, 1]


def test_null_of_whole_groups_keeps_what_groups_alone_give():
    """Clusters that are the compounds: no mechanism, yet more than by single profiles."""
    compounds = np.repeat(np.arange(12), 6)
    mechanisms = compounds % 4
    alone = clusters.agreement(compounds, mechanisms, permutations=300)
    whole = clusters.agreement(compounds, mechanisms, compounds, permutations=300)
    assert (alone["p_value"] < 0.01).all()
    assert (whole["p_value"] == 1).all()
    np.testing.assert_allclose(whole["null"], whole["value"])


def test_p_value_counts_exchanges_and_the_observed():
    """Two clusters of two groups each: 8 of 24 exchanges give the partition that was found."""
    groups = np.repeat(np.arange(4), 3)
    made = clusters.agreement(groups // 2, groups // 2, groups, permutations=6000, seed=1)
    assert made.loc["ARI", "p_value"] == pytest.approx(1 / 3, abs=0.02)


def test_same_seed_same_null():
    rng = np.random.default_rng(0)
    found, true = rng.integers(3, size=(2, 30))
    once, again = (clusters.agreement(found, true, permutations=20, seed=4) for _ in range(2))
    assert once.equals(again)
    assert not once.equals(clusters.agreement(found, true, permutations=20, seed=5))


BAD = {
    "lengths": (([1, 2], [1, 2, 3]), "there are 2 clusters, 3 labels and 3 groups; expected one"),
    "missing label": (([1, 2, 1], ["a", None, "b"]), "labels: 1 profiles have none, .* is row 2"),
    "missing cluster": (([1, np.nan], ["a", "b"]), "clusters: 1 profiles have none"),
    "no profile": (([], []), "there are no clusters: no profile is left"),
    "several labels": (([1, 1], ["a", "b"], ["x", "x"]), "the group x has several labels"),
}


@pytest.mark.parametrize(("given", "said"), BAD.values(), ids=BAD)
def test_bad_input_is_named(given, said):
    with pytest.raises(ValueError, match=said):
        clusters.agreement(*given)


def test_permutations_must_be_some():
    with pytest.raises(ValueError, match="permutations is 0; it must be above 0"):
        clusters.agreement([1, 2], [1, 2], permutations=0)
