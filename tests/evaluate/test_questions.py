"""Questions of retrieval against slow twins, the general rule, and exact counts."""

import itertools
import math

import copairs.map
import numpy as np
import pandas as pd
import pytest

from unidino import evaluate
from unidino.evaluate import questions, significance


def screen(seed=0, plates=3, features=5, effect=1.5, repeats=2, shift=0.0):
    """Wells of plates: six controls, five compounds at `repeats` positions, which plates share."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(0, effect, (5, features))
    rows, values = [], []
    for plate in range(plates):
        wells = iter([f"{r}{c:02d}" for r in "ABCDEF" for c in range(1, 7)])
        for _ in range(6):
            rows.append((f"p{plate}", next(wells), "DMSO", "negcon"))
            values.append(rng.normal(size=features) + shift * plate)
        for compound in range(5):
            for _ in range(repeats):
                rows.append((f"p{plate}", next(wells), f"c{compound}", None))
                values.append(centres[compound] + rng.normal(size=features) + shift * plate)
    frame = pd.DataFrame(rows, columns=["plate", "well", "compound", "control_type"])
    frame[[f"emb{i}" for i in range(features)]] = np.array(values)
    return frame.sample(frac=1, random_state=seed).reset_index(drop=True)


def twin(frame, against, barred):
    """Mean average precision of each compound, a well at a time."""
    values = frame.filter(regex="^emb").to_numpy()
    values = values / np.linalg.norm(values, axis=1, keepdims=True)
    scores = {}
    for i, own in frame.iterrows():
        if own["control_type"] == "negcon":
            continue
        ranked = []
        for j, other in frame.iterrows():
            treated = other["control_type"] != "negcon"
            if i == j:
                continue
            if treated and other["compound"] == own["compound"]:
                if not barred or other["well"] != own["well"]:
                    ranked.append((values[i] @ values[j], True))
            elif other["plate"] == own["plate"] and (against == "all" or not treated):
                ranked.append((values[i] @ values[j], False))
        ranked.sort(key=lambda pair: -pair[0])
        hits = [k + 1 for k, (_, right) in enumerate(ranked) if right]
        if hits and len(hits) < len(ranked):
            precision = np.mean([(n + 1) / place for n, place in enumerate(hits)])
            scores.setdefault(own["compound"], []).append(precision)
    return {compound: np.mean(own) for compound, own in scores.items()}


@pytest.mark.parametrize("barred", [True, False])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("question", "against"), [("activity", "controls"), ("distinctiveness", "all")]
)
def test_questions_of_wells_equal_their_twin(question, against, seed, barred):
    frame = screen(seed, shift=0.3)
    rule = "barred" if barred else "allowed"
    made = getattr(questions, question)(frame, same_position=rule, null_size=100)
    expected = twin(frame, against, barred)
    got = dict(zip(made["compound"], made["mean_average_precision"], strict=True))
    assert set(got) == set(expected) == {f"c{i}" for i in range(5)}
    for compound, value in expected.items():
        assert got[compound] == pytest.approx(value, abs=1e-9)
    assert set(made["n_wells"]) == {6} and set(made["same_position"]) == {rule}
    assert set(made["said"]) == {"" if barred else "position not excluded"}


@pytest.mark.parametrize("step", [1, 9, 10, 11])
@pytest.mark.parametrize(
    ("question", "against", "others"), [("activity", "controls", 6), ("distinctiveness", "all", 16)]
)
def test_seams_of_blocks(question, against, others, step, monkeypatch):
    """One below, at and above a block that holds all ten wells of a plate that are asked about."""
    frame = screen(3)
    # Six replicates are less than eight: see how a plate is divided.
    monkeypatch.setattr(questions, "_BLOCK_PAIRS", step * (others + 8))
    made = getattr(questions, question)(frame, null_size=50)
    expected = twin(frame, against, True)
    got = dict(zip(made["compound"], made["mean_average_precision"], strict=True))
    assert got == pytest.approx(expected, abs=1e-9)


def test_treatments_of_many_and_of_few_wells():
    """A control that stands on every plate often, compounds of two wells, one of a single well."""
    frame = screen(5, plates=4, repeats=3)
    second = frame["compound"].isin(["c1", "c2"]) & frame.duplicated(["compound", "plate"])
    frame = frame[~second & ~((frame["compound"] == "c3") & (frame["plate"] != "p0"))]
    frame = frame.drop(frame.index[frame["compound"] == "c3"][1:]).reset_index(drop=True)
    expected = twin(frame, "all", True)
    made = questions.distinctiveness(frame, null_size=50).set_index("compound")
    assert made.loc["c3", "said"] == "not askable: one profile"
    got = made["mean_average_precision"].dropna().to_dict()
    assert got == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("precision", [np.float32, np.float64])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("question", "against"), [("activity", "control"), ("distinctiveness", 0)])
def test_questions_of_wells_are_as_copairs_has_them(question, against, seed, precision):
    frame = screen(seed, plates=4, repeats=3, features=40, effect=0.1)
    names = [name for name in frame if name.startswith("emb")]
    frame = frame.astype(dict.fromkeys(names, precision))
    frame = frame[~((frame["compound"] == "c1") & (frame["plate"] != "p1"))]
    frame = frame.drop(frame.index[frame["compound"] == "c1"][1:]).reset_index(drop=True)
    frame = frame[(frame["control_type"] != "negcon") | (frame["plate"] != "p3")]
    made = getattr(questions, question)(frame.reset_index(drop=True), null_size=400)
    made = made.set_index("compound")
    metadata = frame.filter(regex="^(?!emb)").reset_index(drop=True)
    metadata["control"] = metadata["control_type"] == "negcon"
    # Each control is a treatment of its own, and the replicate of none.
    metadata["compound"] = metadata["compound"].mask(
        metadata["control"], metadata.index.astype(str)
    )
    expected = copairs.map.average_precision(
        metadata, frame[names].to_numpy(), ["compound"], ["well"], ["plate"],
        [against or "compound"], progress_bar=False,
    )  # fmt: skip
    pairs, total = expected["n_pos_pairs"], expected["n_total_pairs"]
    expected = expected[~expected["control"] & (pairs > 0) & (pairs < total)]
    means = expected.groupby("compound")["average_precision"].agg(["mean", "size"])
    asked = made.dropna(subset="mean_average_precision")
    assert "c1" not in means.index and set(asked.index) == set(means.index)
    means = means.loc[asked.index]
    assert asked["n_profiles"].tolist() == means["size"].tolist()
    # What ties in single precision, copairs ranks.
    certain = asked["tied_share"] == 0
    assert certain.sum() >= 2
    np.testing.assert_allclose(
        asked["mean_average_precision"][certain], means["mean"][certain], atol=1e-6
    )


def test_activity_is_the_general_rule_on_one_plate():
    frame = screen(4, plates=1, repeats=4)
    frame["control_type"] = frame["control_type"].fillna("treatment")
    made = questions.activity(frame, null_size=1000).set_index("compound")
    rules = {"pos_sameby": ["compound"], "neg_diffby": ["compound", "control_type"]}
    general = evaluate.mean_average_precision(frame, **rules, null_size=1000)
    general = general.set_index("compound").drop("DMSO")
    columns = ["mean_average_precision", "mean_normalized_average_precision", "p_value",
               "copairs_p_value", "exact_p_value"]  # fmt: skip
    pd.testing.assert_frame_equal(made.loc[general.index, columns], general[columns])


def test_controls_of_other_plates_do_not_make_activity():
    """Plates far apart, treatments without effect: pooled controls would be told from them."""
    frame = screen(1, plates=4, effect=0, repeats=3)
    offset = frame["plate"].map({f"p{i}": 40.0 * np.cos(i) for i in range(4)})
    frame["emb0"] += offset
    frame["emb1"] += frame["plate"].map({f"p{i}": 40.0 * np.sin(i) for i in range(4)})
    by_plate = questions.activity(frame, "compound", null_size=200)
    own = [
        questions.activity(part, null_size=200)["mean_normalized_average_precision"].mean()
        for _, part in frame.groupby("plate")
    ]
    assert abs(np.mean(own)) < 0.2
    assert by_plate["mean_normalized_average_precision"].mean() < 0.1


def test_positions_are_barred_and_said():
    frame = screen(2, repeats=1)
    with pytest.raises(ValueError, match="none has two profiles at different positions.*'allowed'"):
        questions.activity(frame, null_size=50)
    allowed = questions.activity(frame, same_position="allowed", null_size=50)
    assert set(allowed["said"]) == {"position not excluded"}
    # One compound gets a second position; one has one well; one lies on a plate without controls.
    frame.loc[frame["compound"] == "c0", "well"] = ["F01", "F02", "F02"]
    lone = frame.index[frame["compound"] == "c1"]
    frame = frame.drop(lone[1:]).reset_index(drop=True)
    extra = frame[frame["compound"] == "c2"].head(2).assign(
        compound="c9", plate="p9", well=["A01", "A02"]
    )  # fmt: skip
    made = questions.activity(pd.concat([frame, extra], ignore_index=True), null_size=50)
    said = made.set_index("compound")["said"].to_dict()
    assert said == {
        "c0": "", "c1": "not askable: one profile", "c2": "not askable: one position a treatment",
        "c3": said["c2"], "c4": said["c2"],
        "c9": "not askable: nothing to compare with on its plates",
    }  # fmt: skip
    assert made["mean_average_precision"].notna().sum() == 1
    told = significance.retrieval_summary(made)
    assert told["asked"] == 1 and told["not_askable"] == 5


def twin_consistency(frame, active):
    values = frame.filter(regex="^emb").to_numpy()
    values = values / np.linalg.norm(values, axis=1, keepdims=True)
    sets = [
        set(str(cell).split("|")) if isinstance(cell, str) else set() for cell in frame["target"]
    ]
    compounds = frame["compound"].tolist()
    rows = [i for i in range(len(frame)) if sets[i] and compounds[i] in active]
    scores = {}
    for i in rows:
        for label in sets[i]:
            ranked = []
            for j in rows:
                if compounds[i] == compounds[j]:
                    continue
                if label in sets[j]:
                    ranked.append((values[i] @ values[j], True))
                elif not sets[i] & sets[j]:
                    ranked.append((values[i] @ values[j], False))
            ranked.sort(key=lambda pair: -pair[0])
            hits = [k + 1 for k, (_, right) in enumerate(ranked) if right]
            if hits and len(hits) < len(ranked):
                scores.setdefault(label, []).append(
                    np.mean([(n + 1) / place for n, place in enumerate(hits)])
                )
    return {label: np.mean(own) for label, own in scores.items()}


@pytest.mark.parametrize("seed", range(4))
def test_consistency_equals_its_twin(seed):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"compound": [f"c{i}" for i in range(30)]})
    frame["target"] = [
        "|".join(rng.choice(list("xyzuv"), 1 + i % 2, replace=False)) for i in range(30)
    ]
    frame.loc[[4, 7], "target"] = None
    frame.loc[9, "target"] = "lone"
    frame.loc[12, "compound"] = "c13"  # two profiles of one compound
    frame[["emb0", "emb1", "emb2"]] = rng.normal(size=(30, 3))
    active = set(frame["compound"].iloc[:24])
    made = questions.consistency(frame, active=active, null_size=100).set_index("target")
    expected = twin_consistency(frame, active)
    for label, value in expected.items():
        assert made.loc[label, "mean_average_precision"] == pytest.approx(value, abs=1e-9)
    lone = made.drop(index=list(expected))
    assert lone["mean_average_precision"].isna().all()
    assert set(lone["said"]) == {"not askable: fewer than two perturbations to compare"}
    # Inactive ones count as 0.
    row = made.loc["x"]
    annotated = frame["target"].map(lambda cell: isinstance(cell, str) and "x" in cell.split("|"))
    total = row["mean_normalized_average_precision"] * row["n_profiles"]
    assert row["mean_over_annotated"] == pytest.approx(total / annotated.sum())
    assert row["n_perturbations"] == frame[annotated]["compound"].nunique()


def targets(seed, count=30):
    """Compounds of one or two targets, some of none, one of its own; two profiles of one."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"compound": [f"c{i}" for i in range(count)]})
    frame["target"] = [
        "|".join(rng.choice(list("xyzuv"), 1 + i % 2, replace=False)) for i in range(count)
    ]
    frame.loc[[4, 7], "target"] = None
    frame.loc[9, "target"] = "lone"
    frame[[f"emb{i}" for i in range(20)]] = rng.normal(size=(count, 20))
    return frame


@pytest.mark.parametrize("step", [1, 27, 28, 29, 41])
def test_seams_of_blocks_of_targets(step, monkeypatch):
    """One below, at and above a block of all 28 that have a target; more pairs than profiles."""
    frame = targets(0)
    monkeypatch.setattr(questions, "_BLOCK_PAIRS", step * 28)
    made = questions.consistency(frame, null_size=50).set_index("target")
    got = made["mean_average_precision"].dropna().to_dict()
    assert got == pytest.approx(twin_consistency(frame, set(frame["compound"])), abs=1e-9)


@pytest.mark.parametrize("precision", [np.float32, np.float64])
@pytest.mark.parametrize("seed", range(3))
def test_consistency_is_as_copairs_has_it(seed, precision):
    frame = targets(seed)
    names = [name for name in frame if name.startswith("emb")]
    frame = frame.astype(dict.fromkeys(names, precision))
    made = questions.consistency(frame, null_size=50).set_index("target")
    labelled = frame.dropna(subset="target").reset_index(drop=True)
    metadata = labelled[["compound"]].assign(target=labelled["target"].str.split("|"))
    expected = copairs.map.multilabel.average_precision(
        metadata, labelled[names].to_numpy(), ["target"], [], [], ["target"],
        multilabel_col="target", progress_bar=False,
    )  # fmt: skip
    means = expected.groupby("target")["average_precision"].mean()
    certain = made.index[made["tied_share"] == 0]
    assert len(certain) >= 3
    np.testing.assert_allclose(
        made.loc[certain, "mean_average_precision"], means[certain], atol=1e-6
    )


@pytest.mark.parametrize(("positive", "total"), [(1, 7), (2, 6), (3, 5)])
def test_every_ranking_is_counted(positive, total):
    made = np.sort(significance.all_precisions(positive, total))
    expected = []
    for order in itertools.permutations([True] * positive + [False] * (total - positive)):
        places = [i + 1 for i, right in enumerate(order) if right]
        expected.append(np.mean([(n + 1) / place for n, place in enumerate(places)]))
    repeats = math.factorial(positive) * math.factorial(total - positive)
    np.testing.assert_allclose(made, np.sort(expected)[::repeats])


def test_two_replicates_and_six_controls_cannot_be_found():
    frame = screen(0, plates=1, effect=30)
    made = questions.activity(frame, null_size=5000)
    assert (made["mean_average_precision"] == 1).all()
    np.testing.assert_allclose(made["exact_p_value"], 1 / 7)
    np.testing.assert_allclose(made["least_p_value"], 1 / 7)
    np.testing.assert_allclose(made["p_value"], 1 / 7, atol=0.02)
    # copairs counts what scores higher: nothing does.
    np.testing.assert_allclose(made["copairs_p_value"], 1 / 5001)
    told = significance.retrieval_summary(made)
    assert told["retrieved"] == 0 and told["retrieved_by_copairs"] == 1
    assert told["least_corrected_p_value"] == pytest.approx(1 / 7)


def test_drawn_p_values_approach_the_exact_ones():
    frame = screen(3, plates=1, repeats=3, effect=0.8)
    made = questions.distinctiveness(frame, null_size=20000)
    np.testing.assert_allclose(made["p_value"], made["exact_p_value"], atol=0.01)
    assert (made["corrected_exact_p_value"] >= made["exact_p_value"]).all()


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (lambda f: questions.activity(f.assign(control_type=None)), "the profiles hold none; name"),
        (lambda f: questions.activity(f.assign(plate=None)), "have no plate"),
        (lambda f: questions.activity(f.assign(compound=None)), "have no compound"),
        (lambda f: questions.activity(f, same_position="no"), "same_position"),
        (lambda f: questions.activity(f, metric="angle"), "metric"),
        (lambda f: questions.activity(f, null_size=0), "null_size is 0"),
        (lambda f: questions.consistency(f.assign(target=None)), "no profile has a target"),
        (lambda f: questions.consistency(f.assign(target="x")), "no target can be asked about"),
        (
            lambda f: questions.consistency(f.assign(target="x"), active=[]),
            "none is shared by two compounds that are active",
        ),
    ],
)
def test_mistakes_are_named(asked, message):
    with pytest.raises(ValueError, match=message):
        asked(screen())


def plate_by_plate(frame, transform=lambda table, plate: table):
    """All treated wells and the controls of one plate, a table a plate."""
    control = frame["control_type"] == "negcon"
    return [
        transform(frame[~control | (frame["plate"] == plate)].reset_index(drop=True), plate)
        for plate in frame["plate"].unique()
    ]


def test_pooled_activity_of_the_same_features_is_activity():
    frame = screen(2)
    whole = questions.activity(frame, null_size=200)
    pd.testing.assert_frame_equal(questions.pooled_activity([frame], null_size=200), whole)
    pooled = questions.pooled_activity(plate_by_plate(frame), null_size=200)
    pooled = pooled.set_index("compound").loc[whole["compound"]].reset_index()
    pd.testing.assert_frame_equal(pooled, whole[list(pooled)])


def test_pooled_activity_compares_each_plate_by_its_own_features():
    frame = screen(3)

    def rotated(table, plate):
        rng = np.random.default_rng(int(plate[1]))
        values = table.filter(regex="^emb")
        return table.assign(
            **dict(zip(values, (values.to_numpy() @ rng.normal(size=(5, 5))).T, strict=True))
        )

    parts = plate_by_plate(frame, rotated)
    made = questions.pooled_activity(parts, null_size=50).set_index("compound")
    # Every plate has as many wells of a compound, so that the mean of the tables is the mean.
    expected = pd.DataFrame([twin(part, "controls", True) for part in parts]).mean()
    for compound, mean in expected.items():
        assert made.loc[compound, "mean_average_precision"] == pytest.approx(mean)


def test_tables_that_cannot_be_pooled():
    frame = screen()
    with pytest.raises(ValueError, match="there is no table of wells to ask about"):
        questions.pooled_activity([])
    with pytest.raises(ValueError, match="the tables hold different compounds"):
        questions.pooled_activity([frame, frame[frame["compound"] != "c1"]])
