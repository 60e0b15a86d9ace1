"""Average precision and replicate correlation against their definitions."""

import copairs.map
import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import cdist

from unidino import evaluate
from unidino.evaluate import retrieval, similarity


def precision(hits):
    """Average precision of rankings, (…, n) bool."""
    at = np.cumsum(hits, axis=-1) / np.arange(1, hits.shape[-1] + 1)
    return (at * hits).sum(-1) / hits.sum(-1)


def distances(frame, metric):
    values = frame.filter(like="emb").to_numpy(float)
    if metric == "abs_cosine":
        return 1 - np.abs(1 - cdist(values, values, "cosine"))
    return cdist(values, values, "cityblock" if metric == "manhattan" else metric)


def test_average_precision_equals_the_ranking(table):
    frame = table(10, rows=40).dropna().reset_index(drop=True)
    made = evaluate.average_precision(
        frame, pos_sameby=["moa"], pos_diffby=["compound"], neg_diffby=["moa"]
    )
    apart = distances(frame, "cosine")
    for i in range(len(frame)):
        other = np.arange(len(frame)) != i
        same = (frame["Metadata_moa"] == frame["Metadata_moa"][i]) & other
        positive = same & (frame["Metadata_compound"] != frame["Metadata_compound"][i])
        negative = frame["Metadata_moa"] != frame["Metadata_moa"][i]
        ranked = np.flatnonzero(positive | negative)
        ranked = ranked[np.argsort(apart[i, ranked])]
        assert made["average_precision"][i] == pytest.approx(precision(positive[ranked].to_numpy()))
    assert not made["tied"].any()


@pytest.mark.parametrize("metric", ["cosine", "correlation", "euclidean", "chebyshev"])
def test_without_ties_all_is_as_copairs_has_it(metric, table):
    frame = table(15, rows=80).dropna().reset_index(drop=True)
    rules = [["Metadata_compound"], ["Metadata_Plate"], [], ["Metadata_compound"]]
    made = evaluate.average_precision(frame, *rules, metric=metric)
    names = [name for name in frame if name.startswith("emb")]
    expected = copairs.map.average_precision(
        frame.drop(columns=names), frame[names].to_numpy(), *rules, distance=metric,
        progress_bar=False,
    )  # fmt: skip
    counts = ["n_pos_pairs", "n_total_pairs"]
    assert made[counts].equals(expected[counts])
    for column in ("average_precision", "normalized_average_precision"):
        expected[column] = expected[column].where(expected["n_pos_pairs"] > 0)
        np.testing.assert_allclose(made[column], expected[column], atol=1e-12)
    assert made["average_precision"].isna().any()
    grouped = evaluate.mean_average_precision(frame, *rules, metric=metric, null_size=300)
    assert grouped["n_profiles"].sum() == made["average_precision"].notna().sum()


def with_ties(seed, rows=14):
    """Profiles of few different directions and lengths."""
    rng = np.random.default_rng(seed)
    values = rng.integers(1, 4, (rows, 1)) * np.eye(4)[rng.integers(0, 4, rows)]
    frame = pd.DataFrame(values).add_prefix("emb")
    return frame.assign(Metadata_moa=rng.permutation(np.arange(rows) % 3).astype(str))


@pytest.mark.parametrize("metric", evaluate.METRICS)
@pytest.mark.parametrize("seed", range(3))
def test_ties_count_by_the_mean_of_their_orders(metric, seed):
    """The mean of 10,000 shuffles, each ranked with the ties as they then stand."""
    frame = with_ties(seed)
    made = evaluate.average_precision(frame, ["moa"], metric=metric)
    apart = distances(frame, metric).round(9)
    rng = np.random.default_rng(seed)
    for i in range(len(frame)):
        other = np.flatnonzero(np.arange(len(frame)) != i)
        like = (frame["Metadata_moa"] == frame["Metadata_moa"][i]).to_numpy()[other]
        shuffles = rng.permuted(np.tile(np.arange(len(other)), (10_000, 1)), axis=1)
        order = np.argsort(apart[i, other][shuffles], axis=1, kind="stable")
        scores = precision(like[np.take_along_axis(shuffles, order, axis=1)])
        error = scores.std() / 100
        assert made["average_precision"][i] == pytest.approx(scores.mean(), abs=5 * error + 1e-9)
        worst = precision(like[np.lexsort([like, apart[i, other]])])
        assert made["lowest_average_precision"][i] == pytest.approx(worst)
        assert made["tied"][i] == (np.ptp(scores) > 1e-9)


def test_wells_without_light_are_at_chance():
    """Nothing tells these compounds apart: eight copies of one profile, two of each compound."""
    lit = np.random.default_rng(0).normal(size=(8, 12))
    frame = pd.DataFrame(np.vstack([lit, np.ones((8, 12)) * np.arange(12)])).add_prefix("emb")
    frame["Metadata_compound"] = [f"c{i // 2}" for i in range(16)]
    made = evaluate.mean_average_precision(frame, ["compound"], null_size=2000).tail(4)
    assert (made["tied_share"] == 1).all()
    # Of 15 others the first seven are ties, one of them of the compound.
    expected = np.mean(1 / np.arange(1, 8))
    np.testing.assert_allclose(made["mean_average_precision"], expected)
    assert (made["p_value"] > 0.3).all() and (made["corrected_p_value"] > 0.3).all()
    alone = evaluate.mean_average_precision(frame.tail(8), ["compound"], null_size=2000)
    np.testing.assert_allclose(alone["mean_normalized_average_precision"], 0, atol=1e-12)
    assert (alone["p_value"] > 0.9).all()


@pytest.mark.parametrize(("directions", "label"), [(2, 2), (3, 4), (6, 8)])
def test_ties_make_no_finding(directions, label):
    """Random labels among profiles of few directions: p is below 0.1 in no more than a tenth."""
    rng = np.random.default_rng(label)
    found = []
    for _ in range(12):
        frame = pd.DataFrame(np.eye(6)[rng.integers(0, directions, 64)]).add_prefix("emb")
        frame["Metadata_moa"] = rng.permutation(np.arange(64) // label).astype(str)
        made = evaluate.mean_average_precision(frame, ["moa"], null_size=200)
        assert made["tied_share"].mean() > 0.9
        found.extend(made["p_value"] <= 0.1)
    assert np.mean(found) < 0.1 + 3 * np.sqrt(0.09 / len(found))


def test_small_steps_are_no_tie():
    """A hundred profiles, each closer to the next than ties are, from end to end far apart."""
    angles = np.append(0, 0.1 + 5e-6 * np.arange(100))
    frame = pd.DataFrame({"emb0": np.cos(angles), "emb1": np.sin(angles)})
    frame["Metadata_moa"] = np.where(np.arange(101) < 11, "a", "b")
    made = evaluate.average_precision(frame, ["moa"])
    assert made["average_precision"][0] == pytest.approx(1, abs=0.01)


def twin_of_groups(positive, negative, width):
    """Scores of one ranking: ties are grouped one neighbour after the other."""
    ranked = sorted([(d, True) for d in positive] + [(d, False) for d in negative])
    groups = []
    for distance, like in ranked:
        first = groups[-1][0] if groups else None
        if first is None or distance > first + width:
            groups.append([distance, 0, 0])
        groups[-1][1] += 1
        groups[-1][2] += like
    expected = lowest = before = hits = 0
    for _, size, found in groups:
        for j in range(1, size + 1):
            among = (found - 1) / (size - 1) * (j - 1) if size > 1 else 0
            expected += found / size * (hits + 1 + among) / (before + j)
        for n in range(found):
            lowest += (hits + n + 1) / (before + size - found + n + 1)
        before, hits = before + size, hits + found
    count = len(positive)
    tied = any(0 < found < size for _, size, found in groups)
    return expected / count, lowest / count, tied


@pytest.mark.parametrize("seed", range(20))
def test_rankings_equal_their_twin(seed):
    """Steps of half a width and more; some queries lack positives, or negatives, or both."""
    rng = np.random.default_rng(seed)
    width = 0.1
    shape = (12, int(rng.integers(1, 6))), (12, int(rng.integers(1, 30)))
    positive, negative = (rng.integers(0, 40, size) * 0.5 * width for size in shape)
    for distances in (positive, negative):
        distances[rng.random(distances.shape) < 0.3] = np.inf
    positive[0], negative[1] = np.inf, np.inf
    made = retrieval.ranking_scores(positive, negative, lambda d: np.full_like(d, width + 1e-9))
    for row, like, unlike in zip(made.itertuples(), positive, negative, strict=True):
        like, unlike = like[np.isfinite(like)], unlike[np.isfinite(unlike)]
        assert (row.n_pos_pairs, row.n_total_pairs) == (len(like), len(like) + len(unlike))
        if not len(like) or not len(unlike):
            assert np.isnan(row.average_precision) and not row.tied
            continue
        expected, lowest, tied = twin_of_groups(like, unlike, width + 1e-9)
        assert row.average_precision == pytest.approx(expected)
        assert row.lowest_average_precision == pytest.approx(lowest)
        assert row.tied == tied


@pytest.mark.parametrize("ties", [True, False])
@pytest.mark.parametrize("step", [1, 33, 34, 35])
def test_seams_of_blocks(step, ties, monkeypatch):
    """One below, at and above a block as large as the table."""
    frame = with_ties(0, 34)
    frame["plate"] = np.arange(34) % 4
    if not ties:
        names = [name for name in frame if name.startswith("emb")]
        frame[names] = np.random.default_rng(0).normal(size=(34, 4))
    rules = {"pos_sameby": "moa", "pos_diffby": "plate", "neg_sameby": "plate", "neg_diffby": "moa"}
    whole = evaluate.average_precision(frame, **rules)
    monkeypatch.setattr(similarity, "_BLOCK_VALUES", step * 34)
    pd.testing.assert_frame_equal(evaluate.average_precision(frame, **rules), whole)


RULES = [
    [["moa"], [], [], ["moa"]],
    [["moa", "plate"], ["well"], ["plate"], ["moa"]],
    [["moa"], ["plate", "well"], ["plate"], []],
    [["moa"], [], ["plate", "well"], ["moa", "compound"]],
]


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("seed", range(4))
def test_random_tables_are_as_copairs_has_them(seed, rules):
    """Labels of one profile, pairs that are both like and unlike, copies of profiles.

    copairs ranks ties in the order in which they stand: between the worst order and the best.
    """
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {name: rng.integers(0, kinds, 50).astype(str)
         for name, kinds in (("moa", 12), ("plate", 3), ("well", 4), ("compound", 20))}
    )  # fmt: skip
    values = rng.normal(size=(50, 5))
    values[rng.integers(0, 50, 12)] = values[rng.integers(0, 50, 12)]
    made = evaluate.average_precision(frame.join(pd.DataFrame(values).add_prefix("emb")), *rules)
    expected = copairs.map.average_precision(frame, values, *rules, progress_bar=False)
    counts = ["n_pos_pairs", "n_total_pairs"]
    assert made[counts].equals(expected[counts])
    scored = made["average_precision"].notna()
    assert (scored == ((made[counts[0]] > 0) & (made[counts[0]] < made[counts[1]]))).all()
    made, expected = made[scored], expected[scored]
    certain = ~made["tied"]
    assert certain.any() and made["tied"].any()
    for column in ("average_precision", "normalized_average_precision"):
        # copairs cuts what is far worse than chance off at -1.
        cut = made[certain][column].clip(-1)
        np.testing.assert_allclose(cut, expected[certain][column], atol=1e-6)
    assert (expected["average_precision"] > made["lowest_average_precision"] - 1e-6).all()


def test_nothing_is_retrieved_from_among_the_like_alone():
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(6, 3))).add_prefix("emb")
    frame = frame.assign(compound=list("aabbcc"), plate=list("pqppqq"))
    made = evaluate.average_precision(frame, "compound", neg_sameby="plate", neg_diffby="compound")
    assert made["n_pos_pairs"].tolist() == [1] * 6
    assert made["n_total_pairs"].tolist() == [3, 3, 2, 2, 2, 2]
    frame = frame.assign(plate=list("pqrrss"))
    with pytest.raises(ValueError, match="no pair of profiles meets the rules"):
        evaluate.average_precision(frame, "compound", neg_sameby="plate", neg_diffby="compound")
    frame = frame.assign(plate=list("ppprss"))
    made = evaluate.average_precision(frame, "compound", neg_sameby="plate", neg_diffby="compound")
    assert made["average_precision"].notna().tolist() == [True] * 3 + [False] * 3
    grouped = evaluate.mean_average_precision(
        frame, "compound", neg_sameby="plate", neg_diffby="compound", null_size=50
    )
    assert grouped["n_profiles"].tolist() == [2, 1]


def test_any_name_of_a_column_will_do(table):
    """copairs writes names into SQL as they are."""
    frame = table(10, rows=40).dropna().reset_index(drop=True)
    named = frame.rename(columns={"Metadata_moa": "gene symbol; --", "Metadata_Plate": "kind"})
    made = evaluate.mean_average_precision(named, ["gene symbol; --", "kind"], null_size=50)
    expected = evaluate.mean_average_precision(frame, ["moa", "plate"], null_size=50)
    np.testing.assert_array_equal(made.iloc[:, 2:], expected.iloc[:, 2:])


METRICS_OF_DIRECTION = ("cosine", "abs_cosine", "correlation")


@pytest.mark.parametrize("metric", METRICS_OF_DIRECTION)
@pytest.mark.parametrize("size", [0, 1e-9])
@pytest.mark.parametrize("kind", ["zero", "constant", "missing"])
def test_profiles_that_hold_nothing_are_refused_everywhere(kind, size, metric):
    """By one check: exactly zero or constant, or but for rounding."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(20, 5))
    values[[3, 7]] = size * rng.normal(size=(2, 5)) + (kind == "constant")
    if kind == "missing":
        values[[3, 7], 2] = np.nan
    frame = pd.DataFrame(values).add_prefix("emb").assign(Metadata_moa=list("abcd") * 5)
    message = {"missing": "have missing or infinite features"}.get(kind, f"are {kind} in every")
    match = f"2 profiles {message}.*rows 3, 7"
    with pytest.raises(ValueError, match=match):
        evaluate.nearest_neighbour_accuracy(frame, "moa", metric=metric)
    with pytest.raises(ValueError, match=match):
        evaluate.average_precision(frame, ["moa"], metric=metric)
    with pytest.raises(ValueError, match=match):
        evaluate.mean_average_precision(frame, ["moa"], metric=metric)
    with pytest.raises(ValueError, match=match):
        evaluate.replicate_correlation(frame, ["moa"])


def test_negative_pairs_differ_in_the_label_unless_told(table):
    frame = table(10, rows=40).dropna().reset_index(drop=True)
    made = evaluate.average_precision(frame, np.array(["moa"]), pos_diffby=pd.Series(["compound"]))
    told = evaluate.average_precision(frame, ["moa"], ["Metadata_compound"], neg_diffby=["moa"])
    pd.testing.assert_frame_equal(made, told)


def test_mean_average_precision_of_each_group(table):
    rng = np.random.default_rng(0)
    frame = table(11, rows=60).dropna().reset_index(drop=True)
    names = [name for name in frame if name.startswith("emb")]
    frame.loc[frame["Metadata_moa"] == "a", names] = rng.normal(3, 0.1, len(names))
    made = evaluate.mean_average_precision(frame, ["moa"], null_size=500)
    each = evaluate.average_precision(frame, ["moa"])
    expected = each.groupby("Metadata_moa")["average_precision"].agg(["mean", "size"])
    np.testing.assert_allclose(made["mean_average_precision"], expected["mean"])
    assert made["n_profiles"].tolist() == expected["size"].tolist()
    by_label = made.set_index("Metadata_moa")
    assert by_label.loc["a", "corrected_p_value"] < 0.05 < by_label.loc["b", "corrected_p_value"]
    again = evaluate.mean_average_precision(frame, ["moa"], null_size=500)
    pd.testing.assert_frame_equal(made, again)


def test_p_values_leave_no_cache_behind(tmp_path, monkeypatch, table):
    monkeypatch.setenv("HOME", str(tmp_path))
    evaluate.mean_average_precision(table(12).dropna(), ["moa"], null_size=50)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({}, {"pos_sameby": ["mao"]}, "no column 'mao'"),
        ({}, {"pos_sameby": ["moa"]}, "profiles have no Metadata_moa, which the pair rules use"),
        ({}, {"pos_sameby": ["compound"], "metric": "cosin"}, "metric 'cosin' is not one of"),
        (
            {"Metadata_compound": "one"},
            {"pos_sameby": ["Batch"], "pos_diffby": ["compound"]},
            r"positive pairs share \['Metadata_Batch'\] and not \['Metadata_compound'\]",
        ),
        ({"emb1": np.inf}, {"pos_sameby": ["compound"]}, "60 profiles have missing or infinite"),
        ({}, {"pos_sameby": []}, "pos_sameby names no column"),
        ({}, {"pos_sameby": [3]}, "pos_sameby takes names of columns, got 3"),
        (
            {},
            {
                "pos_sameby": ["compound"],
                "neg_sameby": "Batch",
                "neg_diffby": ["compound", "batch"],
            },
            "Metadata_Batch stands in neg_sameby and in neg_diffby",
        ),
    ],
)
def test_pair_rules_name_what_is_wrong(change, options, message, table):
    with pytest.raises(ValueError, match=message):
        evaluate.average_precision(table(0).assign(**change), **options)


def test_replicate_correlation_equals_the_loop(table):
    frame = table(13, rows=80)
    made = evaluate.replicate_correlation(frame, ["compound"], draws=200)
    for row in made.itertuples():
        values = frame.loc[frame["Metadata_compound"] == row.Metadata_compound].filter(like="emb")
        pairs = np.corrcoef(values)[np.triu_indices(len(values), 1)]
        assert row.n_profiles == len(values)
        assert row.replicate_correlation == pytest.approx(np.median(pairs))
        assert row.replicating == (row.replicate_correlation > row.chance_95)
    assert made["replicating"].mean() < 0.5
    names = [name for name in frame if name.startswith("emb")]
    centres = frame.groupby("Metadata_compound")[names].transform("first")
    frame[names] = centres + 0.3 * frame[names]
    assert evaluate.replicate_correlation(frame, "compound", draws=200)["replicating"].all()


def test_wells_without_light_are_no_replicates():
    """Copies correlate perfectly, with copies of other treatments as well."""
    values = np.random.default_rng(0).normal(size=(16, 30))
    values[:8] = values[0] * (1 + 1e-8 * values[:8])
    frame = (
        pd.DataFrame(values).add_prefix("emb").assign(compound=[f"c{i // 2}" for i in range(16)])
    )
    made = evaluate.replicate_correlation(frame, "compound", draws=200)
    assert (made["replicate_correlation"][:4] > 0.999).all()
    dark = evaluate.replicate_correlation(frame.head(8), "compound", draws=200)
    assert not dark["replicating"].any()


def test_one_feature_that_outweighs_all_makes_no_other_profile_zero():
    """A focus score of 1e9 in most wells, of 0.1 in the others."""
    values = np.random.default_rng(0).normal(size=(12, 5))
    values[:9, 0] *= 1e9
    frame = pd.DataFrame(values).add_prefix("emb").assign(moa=list("abc") * 4)
    assert evaluate.nearest_neighbour_accuracy(frame, "moa").n == 12


def test_replicates_name_what_is_wrong(table):
    frame = table(14)
    with pytest.raises(ValueError, match="no compound has two profiles"):
        evaluate.replicate_correlation(frame.drop_duplicates("Metadata_compound"), "compound")
    with pytest.raises(ValueError, match="there is one compound only"):
        evaluate.replicate_correlation(frame.assign(Metadata_compound="c1"), "compound")
    with pytest.raises(ValueError, match="60 profiles are constant in every feature"):
        names = [name for name in frame if name.startswith("emb")]
        evaluate.replicate_correlation(frame.assign(**dict.fromkeys(names, 1.0)), "compound")
    with pytest.raises(ValueError, match="the profiles have no features"):
        evaluate.replicate_correlation(frame[["Metadata_compound"]], "compound")
