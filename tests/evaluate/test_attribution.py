"""Shapley values of channels: naive twins, the axioms, and tables where the channel is planted."""

import itertools

import numpy as np
import pandas as pd
import pytest

from unidino import evaluate, profiles
from unidino.evaluate import attribution, channels
from unidino.evaluate.neighbours import Rule
from unidino.evaluate.protocol import Protocol

CHANNELS = ("DNA", "ER", "Mito")


def treated(frame):
    kept = frame["Metadata_control_type"].isna()
    return frame[kept].reset_index(drop=True)


PROTOCOL = Protocol((Rule("NSC", "treatment"),), {"treatment": ("compound",)}, treated)
NSC = attribution.Neighbours(PROTOCOL, PROTOCOL.rules[0])
ACTIVITY = attribution.Activity(PROTOCOL)


def planted(seed=0, strength=4.0, compounds=5, widths=(4, 4, 4)):
    """Mechanisms that change one channel alone, two in each; two plates, replicates and controls.

    Returns
    -------
    profiles : pd.DataFrame
    truth : dict
        Mechanism -> channel.
    """
    rng = np.random.default_rng(seed)
    names = [f"emb_{c}_{i:04d}" for c, w in zip(CHANNELS, widths, strict=True) for i in range(w)]
    of = np.array([name.split("_")[1] for name in names])
    truth = {f"{channel} {i}": channel for channel in CHANNELS for i in range(2)}
    rows, values = [], []
    for mechanism, channel in truth.items():
        centre = strength * rng.normal(size=len(names)) * (of == channel)
        for compound in range(compounds):
            for plate in "pq":
                rows.append((mechanism, f"{mechanism} c{compound}", plate, None))
                values.append(centre)
    for plate in "pq":
        rows += [("DMSO", "DMSO", plate, "negcon")] * 6
        values += [np.zeros(len(names))] * 6
    frame = pd.DataFrame(rows, columns=["moa", "compound", "Plate", "control_type"])
    frame = frame.add_prefix("Metadata_").assign(Metadata_Batch=1)
    frame["Metadata_Well"] = [f"W{i:03d}" for i in rng.permutation(len(frame))]
    noise = rng.normal(size=(len(frame), len(names)))
    return pd.concat([frame, pd.DataFrame(np.array(values) + noise, columns=names)], axis=1), truth


def naive_shapley(worth, names):
    """The mean over all orders of what each adds, by the definition."""
    total = dict.fromkeys(names, 0.0)
    orders = list(itertools.permutations(names))
    for order in orders:
        before = frozenset()
        for name in order:
            total[name] += worth[before | {name}] - worth[before]
            before |= {name}
    return {name: value / len(orders) for name, value in total.items()}


def random_scores(seed=0, count=4, labels=3, units=6):
    """A table as of `score_subsets` with random scores."""
    rng = np.random.default_rng(seed)
    names = [f"c{i}" for i in range(count)]
    columns = [attribution.subset_name(s) for s in attribution.subsets(names)]
    frame = pd.DataFrame(
        [(f"l{k}", f"u{k}-{u}") for k in range(labels) for u in range(units) for _ in range(u + 1)],
        columns=["label", "unit"],
    )
    values = pd.DataFrame(rng.random((len(frame), len(columns))), columns=columns)
    return pd.concat([frame, values], axis=1)


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_shapley_values_are_the_mean_over_all_orders(count):
    scored = random_scores(seed=count, count=count)
    names = attribution.scored_channels(scored)
    assert names == [f"c{i}" for i in range(count)]
    made = attribution.shapley(scored, draws=10).set_index(["label", "channel"])
    means = attribution.by_label(scored)
    for label in ("l0", "l1", "l2", "all"):
        worth = {
            frozenset(s): means.loc[label, attribution.subset_name(s)]
            for s in attribution.subsets(names)
        }
        expected = naive_shapley(worth, names)
        for name in names:
            row = made.loc[(label, name)]
            assert row["shapley"] == pytest.approx(expected[name])
            others = frozenset(names) - {name}
            everything, nothing = worth[frozenset(names)], worth[frozenset()]
            assert row["alone"] == pytest.approx(worth[frozenset([name])] - nothing)
            assert row["left out"] == pytest.approx(everything - worth[others])
        # Efficiency: what all score together is divided without rest.
        assert made.loc[label]["shapley"].sum() == pytest.approx(everything - nothing)


def test_symmetric_channels_are_worth_the_same_and_a_dummy_nothing():
    names = ["a", "b", "dummy"]
    worth = {(): 0.1, ("a",): 0.3, ("b",): 0.3, ("a", "b"): 0.9}
    columns = {
        attribution.subset_name(s): [worth[tuple(n for n in s if n != "dummy")]] * 2
        for s in attribution.subsets(names)
    }
    scored = pd.concat(
        [pd.DataFrame({"label": "l", "unit": ["u", "v"]}), pd.DataFrame(columns)], axis=1
    )
    made = attribution.shapley(scored).set_index(["label", "channel"]).loc["l"]
    assert made["shapley"].tolist() == pytest.approx([0.4, 0.4, 0.0])


def test_intervals_resample_units_by_a_naive_twin():
    scored = random_scores(count=2, labels=1, units=5)
    made = attribution.shapley(scored, draws=60, seed=3, level=0.9)
    rng = np.random.default_rng(3)
    units = scored["unit"].unique()
    drawn = []
    for counts in rng.multinomial(5, np.full(5, 0.2), 60):
        rows = [
            scored[scored["unit"] == u]
            for u, n in zip(units, counts, strict=True)
            for _ in range(n)
        ]
        mean = pd.concat(rows).drop(columns=["label", "unit"]).mean()
        worth = {frozenset(): mean["none"], frozenset(["c0", "c1"]): mean["c0 + c1"]}
        worth |= {frozenset([c]): mean[c] for c in ("c0", "c1")}
        drawn.append(naive_shapley(worth, ["c0", "c1"])["c1"])
    row = made.set_index(["label", "channel"]).loc[("l0", "c1")]
    assert [row["low"], row["high"]] == pytest.approx(np.quantile(drawn, [0.05, 0.95]))
    assert row["said"] == "" and row["units"] == 5 and row["items"] == 15


def test_no_interval_below_five_units():
    made = attribution.shapley(random_scores(units=4, labels=2)).set_index("label")
    assert made.loc["l0", ["low", "high"]].isna().all(axis=None)
    assert set(made.loc["l1", "said"]) == {"no interval: 4 units"}
    assert made.loc["all", ["low", "high"]].notna().all(axis=None)


def test_subsets_are_scored_as_the_metric_scores_their_features():
    frame, _ = planted(strength=1.0)
    scored = attribution.score_subsets(frame, NSC)
    assert list(scored.columns[2:]) == [
        "none", "DNA", "ER", "DNA + ER", "Mito", "DNA + Mito", "ER + Mito", "DNA + ER + Mito",
    ]  # fmt: skip
    weighed = attribution.equal_norms(frame)
    merged = profiles.aggregation.consensus(treated(weighed), ["compound"], "mean")
    for name in scored.columns[3:]:
        features = [c for c in merged if any(f"emb_{own}_" in c for own in name.split(" + "))]
        expected = evaluate.nearest_neighbour_accuracy(
            merged, "moa", ["compound"], features=features
        )
        assert scored[name].mean() == pytest.approx(float(expected))


def test_without_channels_the_score_is_the_mean_over_all_exchanges_of_labels():
    frame, _ = planted(strength=1.0, compounds=3)
    kept = ["DNA 0 c0", "DNA 0 c1", "DNA 0 c2", "DNA 1 c0", "DNA 1 c1", "ER 0 c0"]
    frame = frame[frame["Metadata_compound"].isin(kept)]
    merged = profiles.aggregation.consensus(frame, ["compound"], "mean")
    neighbours = NSC.rule.accuracy(merged).neighbours
    own, other = (neighbours[c].to_numpy() for c in ("profile", "neighbour"))
    hits, asked = dict.fromkeys(["DNA 0", "DNA 1", "ER 0"], 0), {"DNA 0": 0, "DNA 1": 0, "ER 0": 0}
    for drawn in itertools.permutations(merged["Metadata_moa"]):
        drawn = np.array(drawn)
        for name in hits:
            hits[name] += int(((drawn[own] == name) & (drawn[other] == name)).sum())
            asked[name] += int((drawn[own] == name).sum())
    items = NSC.items(frame)
    made = items.assign(value=NSC.chance(items)).groupby("label")["value"].agg(["min", "max"])
    for name in hits:
        assert made.loc[name].tolist() == pytest.approx([hits[name] / asked[name]] * 2)
    assert made["min"].tolist() == pytest.approx([2 / 5, 1 / 5, 0])


def test_activity_of_a_subset_is_that_of_its_features():
    frame, _ = planted(strength=1.0)
    scored = attribution.score_subsets(frame, ACTIVITY)
    assert (scored["none"] == 0).all()
    weighed = attribution.equal_norms(frame)
    features = [c for c in weighed if c.startswith("emb_ER")]
    expected = evaluate.activity(weighed, "compound", features=features, null_size=10)
    expected = expected.set_index("Metadata_compound")["mean_normalized_average_precision"]
    np.testing.assert_allclose(scored["ER"], expected.loc[scored["unit"]])
    assert scored["label"].tolist() == [unit.rsplit(" ", 1)[0] for unit in scored["unit"]]


def test_activity_leaves_out_what_cannot_be_asked():
    frame, _ = planted(strength=1.0, compounds=2)
    alone = frame["Metadata_compound"].eq("ER 0 c0") & frame["Metadata_Plate"].eq("q")
    scored = attribution.score_subsets(frame[~alone], ACTIVITY)
    assert len(scored) == 11 and "ER 0 c0" not in set(scored["unit"])


@pytest.mark.parametrize("question", [NSC, ACTIVITY], ids=["NSC", "activity"])
def test_the_planted_channel_comes_first(question):
    frame, truth = planted(compounds=3)
    table = attribution.compared(frame, question, top=6, draws=50, repeats=1)
    ranks = attribution.planted_ranks(table, truth)
    first = attribution.found_first(ranks, 3).set_index("way")
    assert first.loc["shapley", ["first", "of", "mean rank", "by chance"]].tolist() == [6, 6, 1, 2]
    counts = channels.top_feature_counts(treated(frame), "moa", 6)
    counted = table.pivot(index="label", columns="channel", values="forest").loc[counts.index]
    assert (counted[counts.columns] == counts).all(axis=None)
    assert table.loc[table["label"] == "all", "forest"].isna().all()
    assert set(table.loc[table["label"] == "ER 1", "said"]) == {"no interval: 3 units"}


def test_a_channel_of_more_features_has_no_more_say():
    frame, _ = planted(widths=(4, 40, 4))
    made = attribution.equal_norms(frame)
    norms = [(made.filter(like=f"emb_{c}_") ** 2).sum(axis=1).mean() for c in CHANNELS]
    assert norms == pytest.approx([norms[0]] * 3)
    before = [(frame.filter(like=f"emb_{c}_") ** 2).sum(axis=1).mean() ** 0.5 for c in CHANNELS]
    assert norms[0] ** 0.5 == pytest.approx(np.mean(before))
    # Within a channel nothing changes but the unit.
    ratio = made.filter(like="emb_ER") / frame.filter(like="emb_ER")
    assert np.ptp(ratio.to_numpy()) < 1e-12


def test_corrections_are_fit_anew_on_each_subset():
    frame, _ = planted(strength=1.0, compounds=3)
    scored = attribution.score_subsets(frame, NSC, "sphere")
    part = attribution.equal_norms(frame).drop(columns=[c for c in frame if "emb_Mito" in c])
    alone = profiles.correct(part, "sphere")[0]
    assert scored["DNA + ER"].tolist() == NSC.items(alone)["value"].tolist()
    whole = profiles.correct(attribution.equal_norms(frame), "sphere")[0]
    assert scored["DNA + ER + Mito"].tolist() == NSC.items(whole)["value"].tolist()


def test_permutation_of_a_block_by_a_naive_twin():
    frame, _ = planted(strength=2.0, compounds=3)
    made = attribution.permuted(frame, NSC, repeats=2, seed=5)
    weighed = attribution.equal_norms(frame)
    rng = np.random.default_rng(5)
    rows = np.flatnonzero(frame["Metadata_control_type"].isna())
    full = NSC.items(weighed)
    for channel in CHANNELS:
        names = [c for c in frame if f"emb_{channel}_" in c]
        lost = []
        for _ in range(2):
            other = weighed.copy()
            for row, source in zip(rows, rng.permutation(rows), strict=True):
                other.loc[row, names] = weighed.loc[source, names]
            lost.append(full["value"].mean() - NSC.items(other)["value"].mean())
        row = made[(made["channel"] == channel) & (made["label"] == "all")].iloc[0]
        assert row["permuted"] == pytest.approx(np.mean(lost))


def test_ranks_and_ties():
    table = pd.DataFrame(
        {
            "label": ["a"] * 3 + ["b"] * 3 + ["none planted"] * 3,
            "channel": list(CHANNELS) * 3,
            "shapley": [0.5, 0.1, 0.2, 0.3, 0.3, 0.1, 1, 2, 3],
            "forest": [4, 6, 5, 1, 3, 2, 0, 0, 0],
        }
    )
    ranks = attribution.planted_ranks(table, {"a": "DNA", "b": "ER"}, ["shapley", "forest"])
    assert ranks["rank"].tolist() == [1, 3, 2, 1]
    assert ranks["best of the others"].tolist() == [0.2, 6, 0.3, 2]
    found = attribution.found_first(ranks, 3)
    assert found["first"].tolist() == [1, 1] and found["of"].tolist() == [2, 2]
    assert found["mean rank"].tolist() == [1.5, 2.0]
    assert found["by chance"].tolist() == pytest.approx([2 / 3] * 2)
    fewer = attribution.planted_ranks(table, {"a": "DNA", "b": "ER"})
    assert fewer["way"].tolist() == ["shapley", "forest"] * 2


def test_what_is_refused():
    frame, truth = planted(compounds=2)
    with pytest.raises(ValueError, match="NSPW, well, allows neighbours of the same compound"):
        attribution.Neighbours(PROTOCOL, Rule("NSPW", "well", "compound", ("plate",)))
    one = frame.drop(columns=[c for c in frame if "emb_ER" in c or "emb_Mito" in c])
    with pytest.raises(ValueError, match=r"of 1 channels \(DNA …\); between 2 and 8"):
        attribution.score_subsets(one, NSC)
    dark = frame.assign(**{c: 0.0 for c in frame if "emb_ER" in c})
    with pytest.raises(ValueError, match="channel ER is 0 in every profile"):
        attribution.score_subsets(dark, NSC)
    gap = frame.copy()
    gap.loc[3, "emb_ER_0001"] = np.nan
    with pytest.raises(ValueError, match="1 profiles have missing or infinite features, row 3"):
        attribution.score_subsets(gap, NSC)
    flat = frame.copy()
    flat.loc[treated(frame).index[:2], [c for c in frame if "emb_ER" in c]] = 0.0
    with pytest.raises(ValueError, match="channels ER: 1 profiles are zero in every feature"):
        attribution.score_subsets(flat, NSC)
    twice = frame.copy()
    twice.loc[0, ["Metadata_compound", "Metadata_moa"]] = ["ER 0 c0", "DNA 1"]
    rule = attribution.Neighbours(PROTOCOL, Rule("NSC", "well"))
    with pytest.raises(ValueError, match=r"compound ER 0 c0 has several labels \(moa\)"):
        attribution.score_subsets(twice, rule)
    scored = random_scores()
    with pytest.raises(ValueError, match="level is 95; it is a share"):
        attribution.shapley(scored, level=95)
    with pytest.raises(ValueError, match="draws is 0"):
        attribution.shapley(scored, draws=0)
    with pytest.raises(ValueError, match="repeats is 0"):
        attribution.permuted(frame, NSC, repeats=0)
    table = attribution.shapley(scored, draws=10)
    with pytest.raises(ValueError, match="none of the labels was planted: the table has l0, l1"):
        attribution.planted_ranks(table, truth)
    with pytest.raises(ValueError, match="l0 was planted in DNA; the profiles have c0, c1, c2, c3"):
        attribution.planted_ranks(table, {"l0": "DNA"})
