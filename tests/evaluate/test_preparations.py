"""Ways to prepare profiles, on worlds whose batches and biology are known."""

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import cdist

from unidino.evaluate import preparations
from unidino.evaluate.preparations import BATCH, BIOLOGY, KEPT, REMOVED, Layout

LAYOUT = Layout()


def world(shift=0.0, effect=3.0, seed=0, batches=3, features=10):
    """Four targets of two compounds, two wells and six controls on each plate, a plate a batch."""
    rng = np.random.default_rng(seed)
    looks = rng.normal(size=(4, features)) * effect
    moves = rng.normal(size=(batches, features)) * shift
    rows, values = [], []
    for batch in range(batches):
        names = [(f"c{i}", f"t{i // 2}", None) for i in range(8)] * 2
        names += [("DMSO", None, "negcon")] * 6
        for place, (compound, target, control) in zip(rng.permutation(24), names, strict=False):
            well = f"{'ABCD'[place // 6]}{place % 6 + 1:02d}"
            rows.append((f"b{batch}", f"p{batch}", well, compound, target, control))
            look = looks[int(target[1])] if target else 0.0
            values.append(20 + look + moves[batch] + rng.normal(size=features))
    names = ["Batch", "Plate", "Well", "compound", "target", "control_type"]
    frame = pd.DataFrame(rows, columns=[f"Metadata_{name}" for name in names])
    return pd.concat([frame, pd.DataFrame(np.array(values)).add_prefix("emb")], axis=1)


@pytest.fixture(scope="module")
def prepared():
    return preparations.prepare(world(shift=3.0), LAYOUT)


def test_every_way_is_gone_or_says_why(prepared):
    names = [one.name for one in prepared]
    assert names[:2] == ["raw", "standardize"] and "standardize, all wells" in names
    assert {"tvn", "sphere", "position", "harmony", "mad_robustize", "spherize"} < set(names)
    table = preparations.described(prepared)
    assert (table.loc[["raw", "tvn", "harmony"], "wells"] == 66).all()
    assert table.loc["raw", "kind"] == "raw" and table.loc["harmony", "kind"] == "corrected"
    few = preparations.prepare(world(features=40), LAYOUT, methods=["spherize", "tvn"])
    table = preparations.described(few)
    assert table.index.tolist() == [
        "raw", "spherize", "standardize", "standardize, all wells", "tvn"
    ]  # fmt: skip
    assert table.loc["spherize", "wells"] == 0
    assert "more reference profiles" in table.loc["spherize", "said"]


def test_without_normalisation_corrections_start_from_the_table_itself():
    frame = world()
    made = preparations.prepare(frame, LAYOUT, "no_post_proc", methods=["position"])
    assert [one.name for one in made] == ["raw", "position"]
    assert made[0].profiles.equals(frame)


def test_all_wells_are_no_second_reference_where_no_control_is_named():
    frame = world().drop(columns="Metadata_control_type")
    made = preparations.prepare(frame, LAYOUT, methods=["tvn"])
    assert [one.name for one in made] == ["raw", "standardize", "tvn"]
    assert "names no negative controls" in made[2].said


def test_a_well_without_features_is_left_out_of_all():
    frame = world()
    frame.loc[4, "emb3"] = np.nan
    made = preparations.prepare(frame, LAYOUT, methods=["tvn"])
    assert {len(one.profiles) for one in made} == {65}


def twin(frame, layout, weights):
    """Every measure from its definition; each perturbation counts as often as `weights` says."""
    asked = frame[frame["Metadata_control_type"].isna()].reset_index(drop=True)
    names = asked["Metadata_compound"].unique()
    weight = asked["Metadata_compound"].map(dict(zip(names, weights, strict=True)))
    values = asked.filter(like="emb").to_numpy()
    far = cdist(values, values, "cosine")
    np.fill_diagonal(far, np.inf)
    columns = {name: asked[f"Metadata_{name}"].to_numpy() for name in ("Batch", "compound")}
    target = asked["Metadata_target"].to_numpy()

    def share(label, barred):
        total = 0.0
        for i in range(len(asked)):
            allowed = [all(c[i] != c[j] for c in barred) for j in range(len(asked))]
            nearest = np.where(allowed, far[i], np.inf).argmin()
            total += weight[i] * (label[nearest] == label[i])
        return total / weight.sum()

    batch, compound = columns["Batch"], columns["compound"]
    # 14 wells of other compounds in the own batch, of 42.
    made = {"nearest": (1 - share(batch, [compound])) / (1 - 1 / 3)}
    made["NSC"] = share(target, [compound])
    made["NSCB"] = share(target, [compound, batch])
    made["NSB"] = share(compound, [batch])
    return made


@pytest.mark.parametrize("seed", [0, 1])
def test_measures_equal_their_twins(seed):
    frame = world(shift=1.0, effect=1.0, seed=seed)
    made = preparations.measures(frame, LAYOUT)
    assert list(made) == [*BATCH, *BIOLOGY]
    drawn = np.random.default_rng(seed).integers(0, 4, 8)
    for weights in (np.ones(8), drawn):
        for name, value in twin(frame, LAYOUT, weights).items():
            assert made[name].values(weights[None].astype(float))[0] == pytest.approx(value), name
    assert made["NSC"].n == 48 and made["activity"].n == made["consistency"].n == 8


def values_of(frame):
    """Values of all measures, every perturbation counted once."""
    made = preparations.measures(frame, LAYOUT)
    return {name: one.values(np.ones((1, 8)))[0] for name, one in made.items()}


def test_measures_of_others_are_those_of_their_functions():
    from unidino import evaluate
    from unidino.evaluate import probes

    frame = world(shift=1.0, effect=1.0)
    made = {
        n: m.values(np.ones((1, 8)))[0] for n, m in preparations.measures(frame, LAYOUT).items()
    }
    asked = preparations.treated(frame, LAYOUT)
    line = probes.readable(probes.read_out(asked, "batch", "compound"))
    assert made["line"] == pytest.approx((1 - line) / (1 - 1 / 3))
    lisi = evaluate.lisi(asked, "batch", "cosine")["lisi"].mean()
    assert made["mixing"] == pytest.approx((lisi - 1) / 2)
    active = evaluate.activity(frame, null_size=10)["mean_normalized_average_precision"]
    assert made["activity"] == pytest.approx(active.mean())


def test_batches_that_are_numbers_are_names():
    frame = world(shift=1.0, effect=1.0)
    number = frame["Metadata_Batch"].str[1:].astype(int) * 10
    assert values_of(frame.assign(Metadata_Batch=number)) == values_of(frame)


def test_a_batch_that_is_planted_is_read_and_one_that_is_none_is_not():
    far = preparations.measures(world(shift=30.0), LAYOUT)
    none = preparations.measures(world(shift=0.0, effect=0.5), LAYOUT)
    for name in ("nearest", "line"):
        assert far[name].values(np.ones((1, 8)))[0] < 0.05
        assert none[name].values(np.ones((1, 8)))[0] > 0.7
    assert (
        far["mixing"].values(np.ones((1, 8)))[0] < none["mixing"].values(np.ones((1, 8)))[0] - 0.3
    )


def test_scores_and_their_differences(prepared):
    prepared = [one for one in prepared if one.name in ("raw", "standardize", "spherize")]
    made = preparations.scores(prepared, LAYOUT, "raw", draws=200)
    raw = made[made["prepared"] == "raw"]
    assert raw["measure"].tolist() == [*BATCH, *BIOLOGY, REMOVED, KEPT]
    assert (raw[["difference", "difference_low", "difference_high"]] == 0).all().all()
    assert (made["low"] <= made["value"] + 1e-9).all()
    wide = made.pivot(index="prepared", columns="measure", values="value")
    assert wide[REMOVED].to_numpy() == pytest.approx(wide[list(BATCH)].mean(axis=1).to_numpy())
    assert wide[KEPT].to_numpy() == pytest.approx(wide[list(BIOLOGY)].mean(axis=1).to_numpy())
    # The shift of a batch is gone once each plate is centred on its controls.
    assert wide.loc["standardize", REMOVED] > wide.loc["raw", REMOVED] + 0.3
    assert wide.loc["standardize", KEPT] > wide.loc["raw", KEPT]
    text = preparations.side_by_side(made, [REMOVED, "none such", KEPT])
    assert text.columns.tolist() == [REMOVED, KEPT] and text.index[0] == "raw"
    row = raw[raw["measure"] == KEPT].iloc[0]
    assert text.loc["raw", KEPT] == f"{row.value:.2f} ({row.low:.2f} to {row.high:.2f})"


def test_means_are_over_what_every_way_was_asked():
    """Without controls a table has no activity, and then none has a part in the means."""
    raw = preparations.Prepared("raw", "raw", world())
    other = preparations.Prepared("other", "raw", world().assign(Metadata_control_type=None))
    other.profiles = other.profiles[other.profiles["Metadata_target"].notna()]
    made = preparations.scores([raw, other], LAYOUT, "other", draws=20)
    wide = made.pivot(index="prepared", columns="measure", values="value")
    common = [name for name in BIOLOGY if name != "activity"]
    assert np.isnan(wide.loc["other", "activity"])
    assert wide[KEPT].to_numpy() == pytest.approx(wide[common].mean(axis=1).to_numpy())
    activity = made[(made["prepared"] == "raw") & (made["measure"] == "activity")].iloc[0]
    assert np.isnan(activity["difference"])


def test_a_resample_without_any_answer_counts_for_nothing():
    one = preparations.Measure(np.array([[0.0], [1.0]]), np.array([[0.0], [2.0]]))
    values = one.values(np.array([[1.0, 1.0], [2.0, 0.0]]))
    assert values[0] == 0.5 and np.isnan(values[1]) and one.n == 2


def test_ceilings_are_what_no_batch_and_no_label_give():
    made = preparations.ceilings(world(shift=30.0), LAYOUT, draws=5).set_index("measure")
    assert made.loc["nearest", "value"] == pytest.approx(1, abs=0.25)
    assert made.loc["line", "value"] == pytest.approx(1, abs=0.25)
    assert set(made["exchanged"]) == {"batches", "labels"} and REMOVED in made.index
    # Of seven other compounds one has the label of a random one.
    assert made.loc["NSC", "value"] == pytest.approx(1 / 7, abs=0.15)
    assert abs(made.loc["consistency", "value"]) < 0.3
    assert (made["low"] <= made["high"]).all()


def test_telltales():
    frame = world(shift=5.0)
    far = preparations.telltales(frame, LAYOUT).set_index(["group", "measure"])["value"]
    none = preparations.telltales(world(), LAYOUT).set_index(["group", "measure"])["value"]
    assert far["mixing", "PC regression"] > 0.5 > none["mixing", "PC regression"]
    assert far["mixing", "BRAS"] < none["mixing", "BRAS"]
    assert far["mixing", "kBET"] < none["mixing", "kBET"]
    assert far["variance", "batch"] == far["variance", "plate"] > 0.5
    assert np.isnan(far["variance", "count"]) and abs(none["variance", "row"]) < 0.2
    one = preparations.telltales(frame.assign(Metadata_Batch="b"), LAYOUT)
    one = one.set_index(["group", "measure"])["value"]
    assert np.isnan(one["variance", "batch"]) and ("mixing", "PC regression") not in one
    column = frame["Metadata_Well"].str[1:].astype(float)
    placed = frame.assign(Metadata_objects=column, emb0=20 + 3 * column, emb1=20 - 2 * column)
    told = preparations.telltales(placed, LAYOUT).set_index(["group", "measure"])["value"]
    assert told["place read", "column"] > 0.7 > none["place read", "column"] + 0.3
    assert told["variance", "count"] > none["variance", "column"] + 0.1


def test_a_correction_on_a_batch_that_it_never_saw():
    made = preparations.unseen(world(shift=1.0, effect=1.0), LAYOUT, ["tvn", "position"])
    assert made["method"].tolist() == ["tvn"] * 3 + ["position"] * 3
    assert made["Metadata_Batch"].nunique() == 3
    before = made[made["method"] == "tvn"]["before"]
    assert made["before"].to_numpy() == pytest.approx(np.tile(before, 2))
    alone = preparations.unseen(world(), Layout(label=None), ["sphere"])
    assert (alone["before"] > 0.3).all()


def test_old_profiles_move_when_a_batch_is_added():
    made = preparations.drifts(world(shift=1.0), LAYOUT, ["sphere", "harmony"])
    assert made["method"].unique().tolist() == ["sphere", "harmony"] and len(made) == 6
    assert (made["displacement"] > 0).all()
    assert preparations.drifts(world().assign(Metadata_control_type=None), LAYOUT, ["tvn"]).empty


def test_an_anchor_is_found_batch_by_batch():
    frame = world(shift=30.0)
    raw = preparations.Prepared("raw", "raw", frame)
    absent = preparations.Prepared("spherize", "normalised", None, "too few")
    made = preparations.found_by_batch([raw, absent], LAYOUT, "c3")
    assert made["prepared"].tolist() == ["raw"] * 3 and made["n"].tolist() == [2, 2, 2]
    asked = preparations.treated(frame, LAYOUT)
    values = asked.filter(like="emb").to_numpy()
    far = cdist(values, values, "cosine")
    for row in made.itertuples():
        here = (asked["Metadata_compound"] == "c3") & (
            asked["Metadata_Batch"] == row.Metadata_Batch
        )
        other = (asked["Metadata_Batch"] != row.Metadata_Batch).to_numpy()
        nearest = [np.where(other, far[i], np.inf).argmin() for i in np.flatnonzero(here)]
        assert row.found == (asked["Metadata_compound"].iloc[nearest] == "c3").mean()
    # The two wells of a batch are each other's nearest, where batches lie far apart.
    assert made["own"].tolist() == [1, 1, 1]
    assert made["own_by_chance"].tolist() == pytest.approx([1 / 5] * 3)
    with pytest.raises(ValueError, match="no treated well holds the compound 'c99'"):
        preparations.found_by_batch([raw], LAYOUT, "c99")


@pytest.mark.parametrize(
    ("changes", "layout", "lacking", "asked"),
    [
        ({}, LAYOUT, {}, {*BATCH, *BIOLOGY}),
        (
            {"Metadata_Batch": "b"},
            LAYOUT,
            {"batch": "one value only, of batch"},
            {"NSC", "activity", "consistency"},
        ),
        (
            {},
            Layout(batch="week"),
            {"batch": "no column week"},
            {"NSC", "activity", "consistency"},
        ),
        (
            {"Metadata_control_type": None},
            LAYOUT,
            {"controls": "no negative controls"},
            {*BATCH, *BIOLOGY} - {"activity"},
        ),
        (
            {"Metadata_Well": "somewhere"},
            LAYOUT,
            {"position": "the first is 'somewhere'"},
            {*BATCH, *BIOLOGY} - {"activity"},
        ),
        (
            {},
            Layout(well="place"),
            {"position": "no column place"},
            {*BATCH, *BIOLOGY} - {"activity"},
        ),
        (
            {},
            Layout(label=None),
            {"label": "none is named"},
            {*BATCH, "NSB", "activity"},
        ),
        ({}, Layout(label="moa"), {"label": "no column moa"}, {*BATCH, "NSB", "activity"}),
        (
            {"Metadata_target": list("abcdefgh") * 8 + ["a", "b"]},
            LAYOUT,
            {},
            None,
        ),
    ],
)  # fmt: skip
def test_what_a_table_cannot_be_asked(changes, layout, lacking, asked):
    frame = world().assign(**changes)
    said = preparations.unaskable(frame, layout)
    assert set(said) == set(lacking)
    for name, text in lacking.items():
        assert text in said[name]
    made = preparations.measures(frame, layout)
    assert asked is None or set(made) == asked


def test_one_label_a_batch_is_told():
    frame = world()
    alone = frame.assign(
        Metadata_compound=frame["Metadata_compound"] + frame["Metadata_Batch"],
        Metadata_target=frame["Metadata_target"] + frame["Metadata_Batch"],
    )
    said = preparations.unaskable(alone, LAYOUT)
    assert set(said) == {"across"}
    assert "each compound and each target lies in one batch only" in said["across"]
    made = preparations.measures(alone, LAYOUT)
    assert "NSCB" not in made and "NSB" not in made and "nearest" in made
    chance = preparations.ceilings(alone, LAYOUT, draws=3)
    assert chance["measure"].tolist() == ["NSC", "consistency"]
    assert set(chance["exchanged"]) == {"labels"}
    compounds = preparations.unaskable(
        frame.assign(Metadata_compound=alone["Metadata_compound"]), LAYOUT
    )
    assert compounds["across"].startswith("each compound lies in one batch only")
    lone = frame.assign(Metadata_target=frame["Metadata_compound"])
    assert "no target of two compounds" in preparations.unaskable(lone, LAYOUT)["label"]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (lambda f: preparations.prepare(f, LAYOUT, methods=["combat"]), "'combat' is not one of"),
        (lambda f: preparations.prepare(f.assign(emb0=np.nan), LAYOUT), "no well has all features"),
        (
            lambda f: preparations.treated(f.assign(Metadata_control_type="negcon"), LAYOUT),
            "no well is treated",
        ),
        (lambda f: preparations.treated(f, Layout(perturbation="gene")), "no column 'gene'"),
        (
            lambda f: preparations.scores([preparations.Prepared("raw", "raw", f)], LAYOUT, "tvn"),
            "base is 'tvn'; the ways are raw",
        ),
        (
            lambda f: preparations.unseen(f.assign(Metadata_Batch="b"), LAYOUT),
            "there is one batch only",
        ),
    ],
)
def test_mistakes_are_named(asked, message):
    with pytest.raises(ValueError, match=message):
        asked(world())
