"""Nearest neighbours against a plain loop over random tables."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import cdist

from unidino import evaluate
from unidino.evaluate import similarity


def pairwise(values, metric):
    """Distances of all pairs by scipy."""
    if metric == "abs_cosine":
        return 1 - np.abs(1 - cdist(values, values, "cosine"))
    return cdist(values, values, "cityblock" if metric == "manhattan" else metric)


def loop(frame, label, exclude, metric, same_label=()):
    """The definition, profile by profile; of equal distances each counts by its share."""
    frame = frame[frame[label].notna()]
    distances = pairwise(frame.filter(like="emb").to_numpy(), metric)
    labels, barred, paired = (
        frame[names].to_numpy(object) for names in ([label], list(exclude), list(same_label))
    )
    correct = without = tied = 0
    for i in range(len(frame)):
        allowed = []
        for j in range(len(frame)):
            same = labels[i, 0] == labels[j, 0]
            shared, either = (
                any(a == b and pd.notna(a) for a, b in zip(given[i], given[j], strict=True))
                for given in (barred, paired)
            )
            both = same and either
            if i != j and not shared and not both:
                allowed.append(j)
        if not allowed:
            without += 1
            continue
        least = distances[i, allowed].min()
        nearest = [j for j in allowed if distances[i, j] <= least + 1e-9]
        share = np.mean([labels[i, 0] == labels[j, 0] for j in nearest])
        correct += share
        tied += 0 < share < 1
    return correct, len(frame) - without, without, tied


@pytest.mark.parametrize("metric", evaluate.METRICS)
@pytest.mark.parametrize(
    ("exclude", "same_label"),
    [
        ([], []),
        (["Metadata_compound"], []),
        (["Metadata_compound", "Metadata_Batch"], []),
        (["Metadata_compound"], ["Metadata_Batch"]),
        (["Metadata_Plate"], ["Metadata_Batch", "Metadata_compound"]),
    ],
)
def test_accuracy_equals_the_loop(metric, exclude, same_label, table):
    frame = table(0)
    made = evaluate.nearest_neighbour_accuracy(
        frame, "moa", exclude, metric, exclude_if_same_label=same_label
    )
    expected = loop(frame, "Metadata_moa", exclude, metric, same_label)
    tied = made.neighbours["tied"].sum()
    assert (made.correct, made.n, made.without_neighbour, tied) == expected
    assert float(made) == made.accuracy == pytest.approx(made.correct / made.n)
    assert made.neighbours["correct"].sum() == made.correct


def test_blocks_do_not_change_the_result(monkeypatch, table):
    frame = table(3)
    whole = evaluate.nearest_neighbour_accuracy(frame, "moa", ["compound"])
    monkeypatch.setattr(similarity, "_BLOCK_VALUES", 7 * 54)
    parts = evaluate.nearest_neighbour_accuracy(frame, "moa", ["compound"])
    pd.testing.assert_frame_equal(whole.neighbours, parts.neighbours)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("profiles", [1, 7, 8, 9, 15, 16, 17, 41])
@pytest.mark.parametrize("ties", [True, False])
def test_seams_of_bands(ties, profiles, metric, monkeypatch, table):
    """One below, at and above one and two bands of eight; neighbours and ties across the seams."""
    monkeypatch.setattr(similarity, "_BLOCK_VALUES", 8 * 8)
    frame = table(profiles, rows=profiles).assign(Metadata_moa=lambda f: f["Metadata_moa"].mask(
        f["Metadata_moa"].isna(), "d"))  # fmt: skip
    names = [name for name in frame if name.startswith("emb")]
    if ties:
        frame[names] = np.eye(len(names))[np.arange(profiles) % 3]
    for exclude in ([], ["Metadata_compound"], ["Metadata_compound", "Metadata_Batch"]):
        with warnings.catch_warnings(action="ignore"):
            made = evaluate.nearest_neighbour_accuracy(frame, "moa", exclude, metric)
        expected = loop(frame, "Metadata_moa", exclude, metric)
        tied = made.neighbours["tied"].sum()
        found = (made.correct, made.n, made.without_neighbour, tied)
        assert found == pytest.approx(expected)
        apart = pairwise(frame[names].to_numpy(), metric)
        np.fill_diagonal(apart, np.inf)
        for name in exclude:
            own = frame[name].to_numpy(object)
            apart[own[:, None] == own] = np.inf
        label = frame["Metadata_moa"].to_numpy()
        for row in made.neighbours.itertuples():
            allowed = np.isfinite(apart[row.profile])
            nearest = apart[row.profile] <= apart[row.profile].min() + 1e-9
            assert row.neighbour == nearest.argmax()
            assert row.distance == pytest.approx(apart[row.profile].min(), abs=1e-12)
            assert row.answerable == (label[allowed] == row.label).any()


@pytest.mark.parametrize(
    "columns", ["compound", ["compound"], pd.Series(["compound"]), np.array(["compound"])]
)
def test_columns_in_any_container(columns, table):
    frame = table(4)
    assert evaluate.nearest_neighbour_accuracy(frame, "moa", columns) == (
        evaluate.nearest_neighbour_accuracy(frame, "Metadata_moa", ["Metadata_compound"])
    )


def test_profiles_without_neighbours_are_counted(table):
    frame = table(5).assign(Metadata_compound="one")
    made = evaluate.nearest_neighbour_accuracy(frame, "moa", ["compound"])
    assert made.n == 0
    assert np.isnan(made)
    assert made.without_neighbour == frame["Metadata_moa"].notna().sum()


@pytest.mark.parametrize("metric", evaluate.METRICS)
def test_equal_neighbours_count_by_their_share(metric):
    """Wells that nothing tells apart: a third of the others has the label, not the first row's."""
    frame = pd.DataFrame({"moa": ["a", "b", "a", "b"], "emb0": [1.0] * 4, "emb1": [0.5] * 4})
    for order in ([0, 1, 2, 3], [0, 2, 1, 3]):
        made = evaluate.nearest_neighbour_accuracy(frame.iloc[order], "moa", [], metric)
        assert made == pytest.approx(1 / 3)
        assert (made.n, made.tied_share) == (4, 1)
        assert made.correct == pytest.approx(4 / 3)
        assert made.neighbours["neighbour"].tolist() == [1, 0, 0, 0]


@pytest.mark.parametrize(
    ("angle", "step", "tied"), [(0.1, 5e-6, True), (0.1, 5e-5, False), (1e-4, 1e-6, False)]
)
def test_similarities_closer_than_the_tolerance_tie(angle, step, tied):
    """A well of another label is the nearest by 5e-7, by 5e-6; by 1e-10 of 5e-9."""
    angles = np.array([0, angle, angle + step, angle + step])
    frame = pd.DataFrame({"emb0": np.cos(angles), "emb1": np.sin(angles), "moa": list("abaa")})
    made = evaluate.nearest_neighbour_accuracy(frame, "moa").neighbours
    assert made["correct"][0] == pytest.approx(2 / 3 if tied else 0)
    assert made["tied"][0] == tied


@pytest.mark.parametrize("metric", evaluate.METRICS)
def test_copies_but_for_rounding_tie(metric):
    """Eight copies of one profile, read in single precision, among others."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(20, 30))
    values[:8] = values[0] * (1 + 1e-7 * rng.normal(size=(8, 30)))
    frame = pd.DataFrame(values).add_prefix("emb").assign(moa=list("aabbccdd") + list("efgh") * 3)
    made = evaluate.nearest_neighbour_accuracy(frame, "moa", metric=metric).neighbours
    np.testing.assert_allclose(made["correct"][:8], 1 / 7)
    scores = evaluate.average_precision(frame, ["moa"], metric=metric)
    np.testing.assert_allclose(scores["average_precision"][:8], np.mean(1 / np.arange(1, 8)))


@pytest.mark.parametrize("metric", evaluate.METRICS)
@pytest.mark.parametrize("seed", range(6))
def test_odd_tables_equal_the_loop(metric, seed, table):
    """Copies of rows, few rows, every column gappy, an index that repeats, many ways to exclude."""
    rng = np.random.default_rng(seed)
    frame = table(seed, rows=int(rng.integers(2, 40)), features=int(rng.integers(3, 6)))
    columns = ["Metadata_compound", "Metadata_Batch", "Metadata_Plate"]
    frame[columns] = frame[columns].astype(object).mask(rng.random((len(frame), 3)) < 0.2)
    frame = frame.iloc[rng.integers(0, len(frame), len(frame))]
    # Small whole numbers: equal distances are equal to the last bit, in a loop as well.
    names = [name for name in frame if name.startswith("emb")]
    frame[names] = (
        2 ** rng.integers(0, 4, (len(frame), 1))
        * np.eye(len(names))[rng.integers(0, len(names), len(frame))]
    )
    frame.iloc[0, 0] = "a"
    frame.index = rng.integers(0, 3, len(frame))
    for _ in range(5):
        exclude = list(rng.choice(columns, rng.integers(0, 3), replace=False))
        same_label = list(rng.choice(columns, rng.integers(0, 3), replace=False))
        made = evaluate.nearest_neighbour_accuracy(
            frame, "moa", exclude, metric, exclude_if_same_label=same_label
        )
        expected = loop(frame, "Metadata_moa", exclude, metric, same_label)
        tied = made.neighbours["tied"].sum()
        found = (made.correct, made.n, made.without_neighbour, tied)
        assert found == pytest.approx(expected)


def test_neighbours_say_who_is_nearest(table):
    frame = table(2)
    made = evaluate.nearest_neighbour_accuracy(frame, "moa", ["compound"])
    values = frame.filter(like="emb").to_numpy()
    for row in made.neighbours.itertuples():
        assert frame["Metadata_moa"][row.profile] == row.label
        assert frame["Metadata_moa"][row.neighbour] == row.neighbour_label
        assert frame["Metadata_compound"][row.profile] != frame["Metadata_compound"][row.neighbour]
        expected = cdist(values[[row.profile]], values[[row.neighbour]], "cosine")[0, 0]
        assert row.distance == pytest.approx(expected, abs=1e-12)
        assert row.correct == (row.label == row.neighbour_label)
    assert made.neighbours["profile"].is_monotonic_increasing


def test_copies_tie_wherever_they_stand(monkeypatch):
    """A matrix product gives copies of a row distances that differ in their last bits."""
    rng = np.random.default_rng(0)
    values = np.repeat(rng.normal(size=(20, 301)), 15, axis=0)
    frame = pd.DataFrame(values).add_prefix("emb").assign(moa=[f"m{i % 150}" for i in range(300)])
    for block in (2**24, 300 * 37, 300):
        monkeypatch.setattr(similarity, "_BLOCK_VALUES", block)
        for metric in ("cosine", "correlation"):
            nearest = evaluate.nearest_neighbour_accuracy(frame, "moa", metric=metric).neighbours
            first = np.arange(300) // 15 * 15
            expected = np.where(np.arange(300) == first, first + 1, first)
            np.testing.assert_array_equal(nearest["neighbour"], expected)
            assert (nearest["distance"] >= 0).all()


@pytest.mark.parametrize(
    ("metric", "row", "message"),
    [
        (
            "cosine",
            [0.0, 0.0, 0.0],
            "1 profiles are zero in every feature, row 1: they have no direction that cosine",
        ),
        ("correlation", [0.1, 0.1, 0.1], "1 profiles are constant in every feature, row 1: they"),
    ],
)
def test_profiles_without_direction(metric, row, message):
    frame = pd.DataFrame([[1.0, 2, 3], row, [3.0, 1, 2]]).add_prefix("emb").assign(moa=list("aab"))
    with pytest.raises(ValueError, match=message):
        evaluate.nearest_neighbour_accuracy(frame, "moa", metric=metric)
    assert evaluate.nearest_neighbour_accuracy(frame, "moa", metric="euclidean").n == 3


def test_a_missing_value_is_shared_with_nobody():
    frame = pd.DataFrame(
        {"moa": list("aab"), "compound": [None, None, None], "emb0": [1.0, 1, 2], "emb1": 3.0}
    )
    made = evaluate.nearest_neighbour_accuracy(frame, "moa", ["compound"])
    assert made.neighbours["neighbour"].tolist() == [1, 0, 0]
    made = evaluate.nearest_neighbour_accuracy(frame, "moa", exclude_if_same_label=["compound"])
    assert made.neighbours["neighbour"].tolist() == [1, 0, 0]


@pytest.mark.parametrize("names", [["f0", "f1"], [0, 1], ["PC_1", "PC_2"]])
def test_features_numbered_alike_are_found(names):
    frame = pd.DataFrame({"moa": list("aab"), "dose": [1.0, 2, 3], "batch_2": [1, 2, 3]})
    frame[names] = [[1.0, 0], [1, 0.1], [0, 1]]
    for exclude in ([], ["batch_2"]):
        found = evaluate.nearest_neighbour_accuracy(frame, "moa", exclude)
        named = evaluate.nearest_neighbour_accuracy(frame, "moa", exclude, features=names)
        pd.testing.assert_frame_equal(found.neighbours, named.neighbours)
    frame[["a1", "a2"]] = 1.0
    with pytest.raises(ValueError, match="columns numbered after .* could all be features"):
        evaluate.nearest_neighbour_accuracy(frame, "moa")


def test_one_feature_by_its_name():
    frame = pd.DataFrame({"moa": list("aab"), "area": [1.0, 2, 9]})
    assert evaluate.nearest_neighbour_accuracy(
        frame, "moa", metric="euclidean", features="area"
    ).neighbours["neighbour"].tolist() == [1, 0, 1]


def test_input_stays_as_it_is(table):
    frame = table(0)
    before = frame.copy()
    for metric in evaluate.METRICS:
        evaluate.nearest_neighbour_accuracy(frame, "moa", ["compound"], metric)
    pd.testing.assert_frame_equal(frame, before)


def test_given_features_only(table):
    frame = table(6).assign(extra=lambda f: f["Metadata_moa"].map({"a": 0.0, "b": 9.0, "c": 99.0}))
    frame = frame.dropna(subset="Metadata_moa").reset_index(drop=True)
    made = evaluate.nearest_neighbour_accuracy(frame, "moa", [], "euclidean", features=["extra"])
    assert made == 1


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (
            {},
            {"label": "mao"},
            "no column 'mao' in the table. Its metadata columns are: Metadata_moa",
        ),
        ({}, {"label": "moa", "exclude": ["compund"]}, "no column 'compund'"),
        ({}, {"label": "moa", "exclude_if_same_label": ["x"]}, "no column 'x'"),
        (
            {},
            {"label": "moa", "exclude": ["compound", "Metadata_moa"]},
            "Metadata_moa is the label, and excluded as well: no neighbour could be right",
        ),
        ({}, {"label": "moa", "exclude_if_same_label": "moa"}, "moa is the label, and excluded"),
        ({}, {"label": "moa", "exclude": [3]}, "exclude takes names of columns, got 3"),
        ({}, {"label": "moa", "metric": "cosin"}, "metric 'cosin' is not one of cosine"),
        ({}, {"label": "moa", "features": ["emb9"]}, "lack the features emb9"),
        ({"emb0": np.nan}, {"label": "moa"}, r"missing or infinite features, rows \d+, .* …\. Rem"),
        ({"emb0": "high"}, {"label": "moa"}, "feature emb0 holds text"),
        ({"Metadata_moa": None}, {"label": "moa"}, "no profile has a moa: column Metadata_moa is"),
    ],
)
def test_mistakes_are_named(change, options, message, table):
    with pytest.raises(ValueError, match=message):
        evaluate.nearest_neighbour_accuracy(table(0).assign(**change), **options)


def test_tables_without_features():
    with pytest.raises(ValueError, match="the profiles have no features"):
        evaluate.nearest_neighbour_accuracy(pd.DataFrame({"moa": ["a"]}), "moa")


def test_no_more_can_be_correct_than_are_answerable():
    """A mechanism of one compound finds no like once the compound is excluded."""
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(6, 4))).add_prefix("emb")
    frame = frame.assign(moa=list("aaaabb"), compound=list("xxyyzz"))
    made = evaluate.nearest_neighbour_accuracy(frame, "moa", ["compound"])
    assert (made.n, made.answerable) == (6, 4)
    assert made.neighbours["answerable"].tolist() == [True] * 4 + [False] * 2


def test_rules_without_a_right_answer_are_said():
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(4, 4))).add_prefix("emb")
    frame = frame.assign(moa=list("aabb"), compound=list("xxyy"))
    with pytest.warns(UserWarning, match="without those that share its compound, no other has its"):
        assert evaluate.nearest_neighbour_accuracy(frame, "moa", ["compound"]) == 0
    with warnings.catch_warnings(action="error"):
        evaluate.nearest_neighbour_accuracy(frame, "moa")


def test_accuracy_pickles(table):
    made = evaluate.nearest_neighbour_accuracy(table(0), "moa", ["compound"])
    again = pickle.loads(pickle.dumps(made))
    assert (again, again.n, again.without_neighbour) == (made, made.n, made.without_neighbour)


def test_labels_of_one_batch_only():
    frame = pd.DataFrame({"moa": list("aabb"), "Metadata_Batch": [1, 2, 1, 1]})
    assert evaluate.in_several(frame, "moa", "batch").tolist() == [True, True, False, False]


@pytest.mark.parametrize("metric", ["cosine", "abs_cosine", "correlation"])
def test_single_precision_finds_the_same_neighbours(metric, monkeypatch):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(90, 30)), columns=[f"emb{i}" for i in range(30)])
    frame = frame.astype(np.float32).assign(moa=rng.choice(list("abc"), 90))
    frame.iloc[40, :30] = frame.iloc[3, :30]  # two that are one
    double = frame.astype(dict.fromkeys(frame.columns[:30], float))
    monkeypatch.setattr(similarity, "_BLOCK_VALUES", 900)  # several parts
    single = similarity.comparable(frame, list(frame.columns[:30]), metric)
    assert single.dtype == np.float32
    assert similarity.comparable(double, list(frame.columns[:30]), metric).dtype == np.float64
    made, expected = (
        evaluate.nearest_neighbour_accuracy(table, "moa", metric=metric)
        for table in (frame, double)
    )
    assert float(made) == float(expected)
    pd.testing.assert_series_equal(made.neighbours["neighbour"], expected.neighbours["neighbour"])
    np.testing.assert_allclose(
        made.neighbours["distance"], expected.neighbours["distance"], atol=1e-6
    )
    for fault, message in (
        (np.nan, "1 profiles have missing or infinite features, row 55"),
        (0.0, "1 profiles are zero in every feature, row 55"),
        (2.0, "1 profiles are constant in every feature, row 55"),
    ):
        wrong = frame.copy()
        wrong.iloc[55, :30] = fault
        with pytest.raises(ValueError, match=message):
            evaluate.nearest_neighbour_accuracy(wrong, "moa", metric=metric)
    assert (frame.iloc[:, :30] == double.iloc[:, :30]).all(axis=None)  # the input stays


def test_controls_among_the_queries_are_said():
    frame = pd.DataFrame(
        {
            "Metadata_moa": ["a", "a", "DMSO", "DMSO", None],
            "Metadata_control_type": [None, None, "negcon", "negcon", "negcon"],
        }
    ).assign(emb0=[1.0, 0.9, -1.0, 0.5, 0.2], emb1=[0.1, 0.3, 0.5, -1.0, 0.7])
    with pytest.warns(UserWarning, match="2 of 4 profiles that are asked about are negative"):
        evaluate.nearest_neighbour_accuracy(frame, "moa")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evaluate.nearest_neighbour_accuracy(frame[:2], "moa")


def test_pairs_that_may_be_neighbours_beside_a_loop():
    rng = np.random.default_rng(3)
    frame = pd.DataFrame(rng.normal(size=(30, 4))).add_prefix("emb")
    frame.insert(0, "moa", rng.choice(list("ab"), 30))
    frame.loc[4, "moa"] = None
    frame.insert(1, "compound", rng.choice(list("pqrst"), 30))
    allowed = rng.random((30, 30)) < 0.3
    allowed[7] = False
    made = evaluate.nearest_neighbour_accuracy(frame, "moa", ["compound"], allowed=allowed)
    values = frame[[f"emb{i}" for i in range(4)]].to_numpy()
    found = made.neighbours.set_index("profile")["neighbour"]
    for i in range(30):
        others = [
            j
            for j in range(30)
            if j != i and allowed[i, j] and frame["compound"][i] != frame["compound"][j] and j != 4
        ]
        if i in (4, 7) or not others:
            assert i not in found
            continue
        distances = cdist(values[[i]], values[others], "cosine")[0]
        assert found[i] == others[int(np.argmin(distances))]
    for wrong in (np.ones((3, 3), bool), np.ones((30, 30))):
        with pytest.raises(ValueError, match="expected one bool for each pair of the 30 profiles"):
            evaluate.nearest_neighbour_accuracy(frame, "moa", allowed=wrong)
