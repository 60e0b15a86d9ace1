"""What metrics see of worlds: small tables of which the answer is known, and naive twins."""

import numpy as np
import pandas as pd
import pytest

from unidino import evaluate
from unidino.evaluate import baselines, batch, planted, questions

OPTIONS = {"draws": 200, "permutations": 200}


def world(name, batch_of, signal=0.0, batch_signal=0.0, compounds=4, replicates=2, seed=0):
    """Three mechanisms of some compounds; what mechanism and batch add to eight features."""
    rng = np.random.default_rng([seed, len(name)])
    centres, batches = rng.normal(size=(3, 8)), rng.normal(size=(9, 8))
    rows, values = [], []
    for i in range(3 * compounds):
        for k in range(replicates):
            own = batch_of(i, k)
            rows.append(
                (name, f"b{own}", f"p{own}", f"A{i + 1:02d}", f"c{i}", f"m{i // compounds}")
            )
            values.append(signal * centres[i // compounds] + batch_signal * batches[own])
    names = ["world", "Batch", "Plate", "Well", "compound", "moa"]
    frame = pd.DataFrame(rows, columns=[f"Metadata_{name}" for name in names])
    plates = frame["Metadata_Plate"].unique()
    controls = [
        (name, f"b{plate[1:]}", plate, f"B{i + 1:02d}", "DMSO", None)
        for plate in plates
        for i in range(3)
    ]
    frame = pd.concat([frame, pd.DataFrame(controls, columns=frame.columns)], ignore_index=True)
    frame["Metadata_control_type"] = np.where(frame["Metadata_compound"] == "DMSO", "negcon", None)
    values = np.vstack([*values, *np.zeros((len(controls), 8))]) + 0.3 * rng.normal(
        size=(len(frame), 8)
    )
    return pd.concat([frame, pd.DataFrame(values).add_prefix("emb")], axis=1)


BALANCED, CONFOUNDED = (lambda i, k: k), (lambda i, k: i // 4)
MOSTLY = lambda i, k: (i // 4 + (i % 4 == 3)) % 3  # noqa: E731


@pytest.fixture(scope="module")
def wells():
    return pd.concat(
        [
            world("mechanism", BALANCED, signal=3),
            world("nothing", BALANCED),
            world("batch", MOSTLY, batch_signal=3, replicates=1),
            world("confounded", CONFOUNDED, batch_signal=3),
        ],
        ignore_index=True,
    )


@pytest.fixture(scope="module")
def scored(wells):
    sets = {"seeing": wells, "other": baselines.gaussian(wells, 8, 1)}
    return planted.accuracies(sets, **OPTIONS)


def of(table, **given):
    for name, value in given.items():
        table = table[table[name] == value]
    assert len(table) == 1
    return table.iloc[0]


def test_metrics_find_what_is_planted_and_are_fooled_where_they_must(scored):
    row = {"features": "seeing"}
    for rule in ("NSC", "NSCB"):
        found = of(scored, world="mechanism", accuracy=rule, **row)
        assert found["value"] == 1 > found["null_high"]
        nothing = of(scored, world="nothing", accuracy=rule, **row)
        assert nothing["value"] <= nothing["null_high"]
    fooled = of(scored, world="batch", accuracy="NSC", **row)
    assert fooled["null_high"] < fooled["value"] <= fooled["within_high"]
    barred = of(scored, world="batch", accuracy="NSCB", **row)
    assert barred["value"] <= barred["null_high"]
    fooled = of(scored, world="confounded", accuracy="NSC", **row)
    assert fooled["value"] == 1 > fooled["null_high"]
    assert np.isnan(fooled["within_high"])
    unasked = of(scored, world="confounded", accuracy="NSCB", **row)
    assert np.isnan(unasked["value"])
    assert (unasked["n"], unasked["said"]) == (0, "not askable: every moa lies in one batch")


def test_values_are_those_of_each_world_alone(scored, wells):
    for name in ("nothing", "batch"):
        own = wells[(wells["Metadata_world"] == name) & wells["Metadata_moa"].notna()]
        own = own.reset_index(drop=True)
        made = evaluate.nearest_neighbour_accuracy(own, "moa", ["compound"])
        row = of(scored, features="seeing", world=name, accuracy="NSC")
        assert (row["value"], row["n"], row["correct"]) == (float(made), made.n, made.correct)
        floor = evaluate.permutation_null(made, own, "compound", draws=200)
        assert row["null_high"] == floor["null_high"]


def test_profiles_that_are_all_the_same_have_no_score(wells):
    features = [name for name in wells if name.startswith("emb")]
    made = planted.accuracies({"flat": wells.assign(**dict.fromkeys(features, 0.0))}, **OPTIONS)
    assert made["value"].isna().all()
    assert made.loc[made["world"] == "nothing", "said"].unique().tolist() == [
        "not askable: every profile is the same"
    ]


def test_least_strength_is_where_a_set_is_above_and_stays_there():
    rows = {
        "early": [0.1, 0.9, 0.9, 0.9],
        "late": [0.9, 0.1, 0.1, 0.9],
        "equal": [0.1, 0.1, 0.9, 0.5],
        "never": [0.9, 0.9, 0.9, np.nan],
    }
    scores = pd.DataFrame(
        [
            {"features": name, "strength": strength, "value": value, "null_high": 0.5}
            for name, values in rows.items()
            for strength, value in zip((0.0, 0.2, 0.5, 1.0), values, strict=True)
        ]
    )
    made = planted.least_strengths(scores.sample(frac=1, random_state=0)).set_index("features")
    assert made.loc["early", "least_strength"] == 0.2
    assert made.loc["late", "least_strength"] == 1.0
    assert made.loc[["equal", "never"]].isna().all(axis=None)
    assert made.loc["early", ["value", "floor"]].tolist() == [0.9, 0.5]


def test_warnings_follow_from_the_table(wells):
    one = world("alone", lambda i, k: 0)
    some = world("some", lambda i, k: 0 if i < 4 else k)
    made = planted.confounding(pd.concat([wells, one, some])).set_index("world")
    assert made["in_one_batch"].to_dict() == {
        "mechanism": 0, "nothing": 0, "batch": 0, "confounded": 3, "alone": 3, "some": 1
    }  # fmt: skip
    assert made.loc[["mechanism", "nothing", "batch"], "warning"].eq("").all()
    assert made.loc["confounded", "warning"] == (
        "every moa lies in one batch: what is alike in a moa may be its batch, NSCB cannot be "
        "asked, and no metric on these plates tells them apart."
    )
    assert made.loc["alone", "warning"] == "there is one batch: NSCB cannot be asked."
    assert made.loc["some", "warning"] == "1 of 3 moa lie in one batch: NSCB leaves them out."


def placed(name, fixed, seed=0):
    """Six compounds on two plates, at the same position or not; positions change all features."""
    rng = np.random.default_rng(seed)
    effects = rng.normal(size=(14, 6))
    rows, values = [], []
    for plate in "pq":
        places = np.arange(14) if fixed else rng.permutation(14)
        for i, place in enumerate(places):
            control = i >= 6
            compound = "DMSO" if control else f"c{i}"
            rows.append((name, plate, f"A{place + 1:02d}", compound, "negcon" if control else None))
            values.append(effects[place])
    columns = [f"Metadata_{n}" for n in ("world", "Plate", "Well", "compound", "control_type")]
    values = np.array(values) + 0.05 * rng.normal(size=(len(rows), 6))
    frame = pd.DataFrame(rows, columns=columns)
    return pd.concat([frame, pd.DataFrame(values).add_prefix("emb")], axis=1)


def test_replicates_at_fixed_positions_are_found_where_the_position_is_allowed():
    wells = pd.concat([placed("fixed", True), placed("random", False)], ignore_index=True)
    made = planted.replicates({"seeing": wells}, draws=200, null_size=50)
    fooled = of(made, world="fixed", same_position="allowed")
    assert fooled["value"] > 0.9
    assert fooled["low"] <= fooled["value"] <= fooled["high"]
    barred = of(made, world="fixed", same_position="barred")
    assert np.isnan(barred["value"])
    assert (barred["not_askable"], barred["said"]) == (6, questions.NOT_ASKABLE)
    own = wells[wells["Metadata_world"] == "random"].reset_index(drop=True)
    for rule in questions.POSITIONS:
        row = of(made, world="random", same_position=rule)
        twin = questions.activity(own, same_position=rule, null_size=50)
        assert row["value"] == pytest.approx(twin["mean_normalized_average_precision"].mean())
        assert row["n"] + row["not_askable"] == 6


def test_floor_of_replicates_is_the_range_of_random_features():
    wells = placed("random", False)
    made = of(
        planted.replicates_by_chance(wells, 5, seeds=4), world="random", same_position="allowed"
    )
    values = [
        questions.activity(
            baselines.gaussian(wells, 5, seed), same_position="allowed", null_size=1
        )["mean_normalized_average_precision"].mean()
        for seed in range(4)
    ]
    assert made["null"] == pytest.approx(np.mean(values))
    assert made["null_low"] == pytest.approx(np.quantile(values, 0.025))
    assert made["null_high"] == pytest.approx(np.quantile(values, 0.975))


def test_batches_are_found_where_there_are_any():
    wells = pd.concat(
        [
            world("mixed", BALANCED, signal=1),
            world("apart", BALANCED, signal=1, batch_signal=3),
            world("confounded", CONFOUNDED, batch_signal=3),
            world("single", MOSTLY, batch_signal=3, replicates=1),
        ],
        ignore_index=True,
    )
    made = planted.batch_scores({"seeing": wells}, draws=99).set_index("world")
    assert made.loc["mixed", "explained"] <= made.loc["mixed", "null_high"]
    assert made.loc["apart", "explained"] > made.loc["apart", "null_high"]
    assert made.loc["apart", "bras"] < 0.5 < made.loc["mixed", "bras"]
    assert made.loc["apart", "ilisi"] < made.loc["mixed", "ilisi"]
    assert made.loc["confounded", "said"] == "not askable: every moa lies in one batch"
    assert made.loc["confounded", ["explained", "ilisi", "bras"]].isna().all()
    # Four wells of a label in one batch and one in another have no spread to compare.
    assert np.isnan(made.loc["single", "bras"])
    own = planted.treated(wells[wells["Metadata_world"] == "apart"])
    twin = batch.variance_explained(own, ["batch"])["explained"].iloc[0]
    assert made.loc["apart", "explained"] == pytest.approx(twin)
