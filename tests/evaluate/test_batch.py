"""Batch metrics against scib-metrics' own values, slow twins, and worlds with a known truth."""

import json
import runpy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from unidino.evaluate import batch

HERE = Path(__file__).parent
ORACLE = json.loads((HERE / "scib_oracle.json").read_text())


@pytest.fixture(scope="module")
def table():
    """The profiles that the oracle was asked about, rows in another order."""
    values, labels, batches = runpy.run_path(str(HERE / "scib_oracle.py"))["table"]()
    frame = pd.DataFrame(values, columns=[f"emb{i}" for i in range(values.shape[1])])
    frame.insert(0, "Metadata_compound", [f"c{i}" for i in labels])
    frame.insert(1, "Metadata_batch", [f"b{i}" for i in batches])
    return frame.assign(Metadata_line=3 * values[:, 0]).sample(frac=1, random_state=1)


def test_bras_equals_scib_metrics(table):
    made = batch.bras(table, "compound", "batch")
    assert made["bras"].mean() == pytest.approx(ORACLE["bras"], abs=1e-5)
    assert made["Metadata_compound"].tolist() == [f"c{i}" for i in range(5)]
    assert set(made["n_profiles"]) == {18} and set(made["n_batches"]) == {3}


@pytest.mark.parametrize(
    ("column", "kind", "scores", "scaled"),
    [
        ("batch", "batch", "lisi_batch", "ilisi"),
        ("compound", "label", "lisi_label", "clisi"),
    ],
)
def test_lisi_equals_scib_metrics(column, kind, scores, scaled, table):
    made = batch.lisi(table, column, perplexity=20)
    np.testing.assert_allclose(made["lisi"].sort_index(), ORACLE[scores], rtol=1e-3)
    assert batch.scaled_lisi(made, kind) == pytest.approx(ORACLE[scaled], abs=1e-3)
    assert set(made["perplexity"]) == {20} and set(made["neighbours"]) == {60}


def test_pc_regression_equals_scib_metrics(table):
    made = batch.pc_regression(table, "batch", components=4)
    assert made == pytest.approx(ORACLE["pcr_batch"], abs=1e-5)
    made = batch.pc_regression(table, "line", components=4)
    assert made == pytest.approx(ORACLE["pcr_line"], abs=1e-5)


def twin_bras(frame, metric):
    """From the definition, a pair at a time."""
    names = [c for c in frame if str(c).startswith("emb")]

    def distance(a, b):
        if metric == "euclidean":
            return np.linalg.norm(a - b)
        return 1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b)

    scores = {}
    for label, part in frame.groupby("compound"):
        part = part[part.groupby("batch")["batch"].transform("size") > 1]
        if part["batch"].nunique() < 2:
            continue
        shares = []
        for i, row in part.iterrows():
            own, other = [], []
            for j, against in part.iterrows():
                if i != j:
                    kind = own if row["batch"] == against["batch"] else other
                    kind.append(distance(*(r[names].to_numpy(float) for r in (row, against))))
            a, b = np.mean(own), np.mean(other)
            shares.append(1 - abs((b - a) / max(a, b)))
        scores[label] = np.mean(shares)
    return scores


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("seed", range(3))
def test_bras_equals_its_twin_without_lone_profiles(seed, metric):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "compound": rng.choice(list("abcd"), 40),
            "batch": rng.choice(["x", "y", "z"], 40, p=[0.6, 0.3, 0.1]),
        }
    )
    # One label in one batch only, one that a batch holds a single profile of.
    frame.loc[frame["compound"] == "d", "batch"] = "x"
    for i in range(3):
        frame[f"emb{i}"] = rng.normal(size=40) + (frame["batch"] == "y")
    frame.loc[[3, 9], "compound"] = None
    made = batch.bras(frame, "compound", "batch", metric).set_index("compound")
    expected = twin_bras(frame.dropna(subset="compound"), metric)
    assert set(made.index) == {"a", "b", "c", "d"} and np.isnan(made.loc["d", "bras"])
    for label, value in expected.items():
        assert made.loc[label, "bras"] == pytest.approx(value, abs=1e-9)


def test_lone_profiles_do_not_pass_for_mixing():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"compound": ["a"] * 12, "batch": ["x"] * 5 + ["y"] * 5 + ["z", "w"]})
    shift = np.where(frame["batch"] == "x", 40.0, 0.0)
    frame["emb0"], frame["emb1"] = shift + rng.normal(size=12), 20 + rng.normal(size=12)
    (row,) = batch.bras(frame, "compound", "batch", "euclidean").to_dict("records")
    assert row["bras"] < 0.2 and row["n_profiles"] == 10 and row["n_batches"] == 2


def twin_lisi(frame, column, perplexity, count):
    names = [c for c in frame if str(c).startswith("emb")]
    values = frame[names].to_numpy()
    scores = []
    for i, row in enumerate(values):
        far = np.linalg.norm(values - row, axis=1)
        far[i] = np.inf
        near = np.argsort(far)[:count]
        low, high = 1e-9, 1e9
        for _ in range(200):
            beta = (low * high) ** 0.5
            weights = np.exp(-beta * (far[near] - far[near].min()))
            weights /= weights.sum()
            entropy = -sum(w * np.log(w) for w in weights if w > 0)
            low, high = (beta, high) if entropy > np.log(perplexity) else (low, beta)
        shares = pd.Series(weights).groupby(frame[column].to_numpy()[near]).sum()
        scores.append(1 / (shares**2).sum())
    return scores


@pytest.mark.parametrize(("rows", "perplexity", "count"), [(70, 12, 36), (20, 19 / 3, 19)])
def test_lisi_equals_its_twin_also_where_profiles_are_few(rows, perplexity, count):
    rng = np.random.default_rng(rows)
    frame = pd.DataFrame(rng.normal(size=(rows, 3)), columns=["emb0", "emb1", "emb2"])
    frame["batch"] = rng.choice(["x", "y", "z"], rows)
    made = batch.lisi(frame, "batch", perplexity=12)
    np.testing.assert_allclose(
        made["lisi"], twin_lisi(frame, "batch", perplexity, count), rtol=1e-5
    )
    assert made["perplexity"].iloc[0] == pytest.approx(perplexity)
    assert made["neighbours"].iloc[0] == count


def test_lisi_at_its_ends():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"batch": np.arange(90) % 3, "emb0": rng.normal(size=90)})
    mixed = batch.lisi(frame.assign(emb1=rng.normal(size=90)), "batch")
    apart = batch.lisi(frame.assign(emb1=1000.0 * frame["batch"]), "batch", perplexity=9)
    assert batch.scaled_lisi(mixed, "batch") > 0.85 and batch.scaled_lisi(mixed, "label") < 0.15
    assert batch.scaled_lisi(apart, "batch") == pytest.approx(0, abs=1e-6)
    same = batch.lisi(frame.assign(emb0=0.0, emb1=0.0), "batch")
    assert np.isfinite(same["lisi"]).all()  # all equally near


def test_variance_explained_equals_least_squares():
    rng = np.random.default_rng(3)
    frame = pd.DataFrame({"plate": rng.choice(list("abc"), 50), "count": rng.normal(size=50)})
    frame["emb0"] = rng.normal(size=50) + 2 * (frame["plate"] == "a") + frame["count"]
    frame["emb1"] = 100 * rng.normal(size=50)
    frame["emb2"] = 7.0  # does not vary
    frame.loc[4, "plate"] = None
    made = batch.variance_explained(frame, ["plate", "count"]).set_index("column")
    for name in ("plate", "count"):
        part = frame.dropna(subset=name)
        design = pd.get_dummies(part[[name]], columns=["plate"] if name == "plate" else [])
        design = np.column_stack([np.ones(len(part)), design.to_numpy(float)])
        shares, adjusted = [], []
        for feature in ("emb0", "emb1"):
            y = part[feature].to_numpy()
            left = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
            shares.append(1 - (left**2).sum() / ((y - y.mean()) ** 2).sum())
            free = len(y) - np.linalg.matrix_rank(design)
            adjusted.append(1 - (1 - shares[-1]) * (len(y) - 1) / free)
        assert made.loc[name, "explained"] == pytest.approx(np.mean(shares))
        assert made.loc[name, "beyond_chance"] == pytest.approx(np.mean(adjusted))
    assert made["kind"].tolist() == ["groups", "line"] and made["n_profiles"].tolist() == [49, 50]
    assert made["by_chance"].tolist() == pytest.approx([2 / 48, 1 / 49])


@pytest.mark.parametrize("within", [(), ["week"]])
def test_exchanged_variance_is_that_of_exchanged_values(within):
    rng = np.random.default_rng(4)
    frame = pd.DataFrame({"row": rng.choice(list("abc"), 30), "week": ["x"] * 12 + ["y"] * 18})
    frame[["emb0", "emb1"]] = rng.normal(size=(30, 2))
    frame["emb2"] = 7.0  # does not vary
    frame.loc[5, "row"] = None
    made = batch.exchanged_variance(frame, "row", within, draws=40, seed=9)
    part = frame.dropna(subset="row").reset_index(drop=True)
    groups = part.groupby("week").indices.values() if within else [np.arange(29)]
    rng = np.random.default_rng(9)
    for value in made:
        names = part["row"].to_numpy(object)
        drawn = names.copy()
        for members in groups:
            drawn[members] = names[rng.permutation(members)]
        told = batch.variance_explained(part.assign(row=drawn), ["row"])["explained"].iloc[0]
        assert value == pytest.approx(told)


def test_true_and_false_are_groups():
    frame = pd.DataFrame({"edge": [True, False] * 5, "emb0": np.arange(10.0) % 2})
    (row,) = batch.variance_explained(frame, ["edge"]).to_dict("records")
    assert row["kind"] == "groups" and row["explained"] == pytest.approx(1)


def test_what_chance_explains_is_taken_off():
    rng = np.random.default_rng(5)
    values = rng.normal(size=(60, 400))
    frame = pd.DataFrame(values, columns=[f"emb{i}" for i in range(400)])
    frame["plate"] = [f"p{i % 20}" for i in range(60)]
    (row,) = batch.variance_explained(frame, ["plate"]).to_dict("records")
    assert row["explained"] == pytest.approx(row["by_chance"], abs=0.02) and row["explained"] > 0.3
    assert row["beyond_chance"] == pytest.approx(0, abs=0.02)


def test_positions_of_wells():
    frame = pd.DataFrame(
        {"Metadata_Well": ["A1", "b02", "H12", "C05"], "emb0": 1.0}, index=[5, 6, 7, 8]
    )
    made = batch.positions(frame)
    assert made["row"].tolist() == ["A", "B", "H", "C"] and made.index.tolist() == [5, 6, 7, 8]
    assert made["column"].tolist() == ["01", "02", "12", "05"]
    assert made["edge"].tolist() == ["edge", "inner", "edge", "inner"]
    larger = batch.positions(pd.DataFrame({"well": ["H12", "P24", "AF48"]}).head(2))
    assert larger["edge"].tolist() == ["inner", "edge"]
    with pytest.raises(
        ValueError, match="1 wells are no position on a plate, the first is 'x-ray'"
    ):
        batch.positions(pd.DataFrame({"well": ["A01", "x-ray"]}))


def blobs(seed=2, shift=0.0):
    """Three labels in two batches that lie apart by `shift`; one label missing here and there."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"compound": rng.choice(list("abc"), 60), "batch": list("xxy") * 20})
    centre = frame["compound"].map({"a": 0.0, "b": 6.0, "c": 12.0})
    frame["emb0"] = centre + rng.normal(size=60) + shift * (frame["batch"] == "y")
    frame["emb1"] = 5 + rng.normal(size=60)
    frame.loc[[7, 20], "compound"] = None
    return frame


def twin_nearest(frame, count):
    values = frame[["emb0", "emb1"]].to_numpy()
    far = [[np.linalg.norm(a - b) for b in values] for a in values]
    return [
        sorted((j for j in range(len(far)) if j != i), key=row.__getitem__)[:count]
        for i, row in enumerate(far)
    ]


@pytest.mark.parametrize("count", [1, 4])
def test_graph_connectivity_equals_a_walk(count):
    frame = blobs(shift=3.0)
    made = batch.graph_connectivity(frame, "compound", "euclidean", neighbours=count)
    part = frame.dropna(subset="compound").reset_index(drop=True)
    near = twin_nearest(part, count)
    assert made["compound"].tolist() == ["a", "b", "c"]
    for row in made.itertuples():
        left = set(np.flatnonzero(part["compound"] == row.compound))
        assert row.n_profiles == len(left)
        largest, size = 0, len(left)
        while left:
            walk, reached = [left.pop()], 0
            while walk:
                here, reached = walk.pop(), reached + 1
                joined = {i for i in left if i in near[here] or here in near[i]}
                left -= joined
                walk += joined
            largest = max(largest, reached)
        assert row.connected == pytest.approx(largest / size)


def test_graph_connectivity_at_its_ends():
    apart = batch.graph_connectivity(blobs(shift=200.0), "compound", "euclidean", neighbours=15)
    shares = blobs().dropna(subset="compound").groupby("compound")["batch"]
    largest = [part.value_counts(normalize=True).max() for _, part in shares]
    # Each batch hangs together, and no path leads to the other.
    assert apart["connected"].tolist() == pytest.approx(largest)
    assert batch.graph_connectivity(blobs(), "compound", "euclidean")["connected"].min() == 1


@pytest.mark.parametrize("count", [None, 7])
def test_kbet_equals_its_twin(count):
    from scipy.stats import chisquare

    frame = blobs(shift=1.0)
    made = batch.kbet(frame, "batch", neighbours=count)
    size = count or 30
    for i, near in enumerate(twin_nearest(frame, size)):
        others = frame["batch"].drop(i)
        expected = [size * (others == name).mean() for name in "xy"]
        observed = [(frame["batch"][near] == name).sum() for name in "xy"]
        assert made["p_value"][i] == pytest.approx(chisquare(observed, expected).pvalue)
    assert (made["accepted"] == (made["p_value"] >= 0.05)).all()
    assert set(made["neighbours"]) == {size}


def test_kbet_at_its_ends():
    assert batch.kbet(blobs(shift=300.0), "batch")["accepted"].mean() == 0
    assert batch.kbet(blobs(), "batch", neighbours=8)["accepted"].mean() > 0.8
    lone = blobs().assign(batch=["z"] + list("xy") * 29 + ["x"])
    assert np.isfinite(batch.kbet(lone, "batch")["p_value"]).all()


def test_drift_equals_its_twin():
    from scipy.spatial.distance import cdist
    from scipy.stats import spearmanr

    rng = np.random.default_rng(6)
    frame = pd.DataFrame({"batch": list("aabbbcc") * 3})
    names = ["emb0", "emb1", "emb2"]
    frame[names] = rng.normal(size=(21, 3)) + (frame["batch"] == "c").to_numpy()[:, None]

    def whitened(part):
        values = part[names] - part[names].mean()
        return part.assign(**(values / part[names].std()))

    made = batch.drift(frame, "batch", whitened)
    assert made["batch"].tolist() == ["a", "b", "c"] and made["n_profiles"].tolist() == [15, 12, 15]
    for row in made.itertuples():
        old = (frame["batch"] != row.batch).to_numpy()
        before = whitened(frame[old])[names].to_numpy()
        after = whitened(frame)[old][names].to_numpy()
        size = np.mean([np.linalg.norm(x - before.mean(0)) for x in before])
        moved = np.mean([np.linalg.norm(x - y) for x, y in zip(before, after, strict=True)])
        assert row.displacement == pytest.approx(moved / size)
        far = [cdist(values, values, "cosine") for values in (before, after)]
        ranks, other = [], []
        for i in range(old.sum()):
            first, second = (np.delete(block[i], i) for block in far)
            ranks.append(spearmanr(first, second).statistic)
            other.append(first.argmin() != second.argmin())
        assert row.rank_change == pytest.approx(1 - np.mean(ranks))
        assert row.new_neighbour == pytest.approx(np.mean(other))


def test_nothing_drifts_where_each_batch_is_treated_alone():
    frame = blobs()[["batch", "emb0", "emb1"]]

    def by_batch(part):
        features = ["emb0", "emb1"]
        about = part[features] - part.groupby("batch")[features].transform("mean")
        return part.assign(**about)

    made = batch.drift(frame, "batch", by_batch)
    assert made["displacement"].tolist() == pytest.approx([0, 0], abs=1e-12)
    assert made["new_neighbour"].tolist() == [0, 0]
    assert made["rank_change"].tolist() == pytest.approx([0, 0], abs=1e-12)


class Centred:
    """A correction for tests: takes out the mean of what it was fit on."""

    def __init__(self, profiles):
        self.mean = profiles["emb0"].mean()

    def transform(self, profiles):
        return profiles.assign(emb0=profiles["emb0"] - self.mean)


def test_inductive_scores_leave_each_batch_out():
    frame = pd.DataFrame({"batch": list("aabbc"), "emb0": [1.0, 3.0, 10.0, 20.0, 100.0]})
    made = batch.inductive_scores(frame, "batch", Centred, lambda part: part["emb0"].sum())
    assert made["batch"].tolist() == ["a", "b", "c"] and made["n_profiles"].tolist() == [2, 2, 1]
    assert made["before"].tolist() == [4, 30, 100]
    expected = [4 - 2 * 130 / 3, 30 - 2 * 104 / 3, 100 - 34 / 4]
    assert made["after"].tolist() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (lambda f: batch.bras(f.assign(batch=None), "compound", "batch"), "20 profiles have no"),
        (
            lambda f: batch.bras(f.assign(batch="x"), "compound", "batch"),
            "no compound has two profiles in each of two batches",
        ),
        (lambda f: batch.bras(f, "compound", "week"), "week"),
        (lambda f: batch.lisi(f, "batch", perplexity=1), "perplexity is 1; expected more than 1"),
        (lambda f: batch.lisi(f.head(3), "batch"), "3 profiles are too few"),
        (
            lambda f: batch.scaled_lisi(batch.lisi(f.assign(batch="x"), "batch"), "batch"),
            "batch has one value only: there is nothing to mix",
        ),
        (
            lambda f: batch.variance_explained(f.assign(batch=[*"xy", *[None] * 18]), ["batch"]),
            "2 profiles have a batch; three or more are needed",
        ),
        (
            lambda f: batch.variance_explained(f.assign(emb0=1.0, emb1=1.0), ["batch"]),
            "no feature varies",
        ),
        (lambda f: batch.exchanged_variance(f, "week"), "no column 'week' in the table"),
        (lambda f: batch.exchanged_variance(f, "batch", draws=0), "draws is 0"),
        (lambda f: batch.pc_regression(f.assign(emb0=1.0, emb1=1.0), "batch"), "no feature varies"),
        (lambda f: batch.pc_regression(f, "batch", components=0), "components is 0"),
        (
            lambda f: batch.inductive_scores(f.assign(batch="x"), "batch", Centred, len),
            "there is one batch only",
        ),
        (lambda f: batch.lisi(f.assign(emb0=np.nan), "batch"), "missing or infinite features"),
        (
            lambda f: batch.graph_connectivity(f, "compound", neighbours=20),
            "graph_connectivity: 20 profiles are too few for 20 neighbours each",
        ),
        (lambda f: batch.graph_connectivity(f, "compound", neighbours=0), "neighbours is 0"),
        (
            lambda f: batch.graph_connectivity(f.assign(compound=range(20)), "compound"),
            "no compound has two profiles: there is nothing to connect",
        ),
        (lambda f: batch.kbet(f.assign(batch="x"), "batch"), "one batch only: nothing to mix"),
        (lambda f: batch.kbet(f, "batch", neighbours=20), "kbet: 20 profiles are too few for 20"),
        (
            lambda f: batch.drift(f.assign(batch="x"), "batch", lambda part: part),
            "one batch only: no other is there before it is added",
        ),
        (
            lambda f: batch.drift(f.head(4), "batch", lambda part: part),
            "drift: 2 profiles are too few",
        ),
    ],
)  # fmt: skip
def test_mistakes_are_named(asked, message):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"compound": list("ab") * 10, "batch": list("xxyy") * 5})
    frame[["emb0", "emb1"]] = rng.normal(size=(20, 2))
    with pytest.raises(ValueError, match=message):
        asked(frame)
