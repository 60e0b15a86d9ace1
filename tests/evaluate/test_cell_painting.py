"""Questions to plates of Cell Painting: a real plate with its answers, and twins on random ones."""

import runpy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from unidino import evaluate, paths, profiles, tables
from unidino.evaluate import cell_painting, questions
from unidino.pages import plots

ORACLE = runpy.run_path(str(Path(__file__).with_name("jump_moa_oracle.py")))
FILE = ORACLE["FILE"]


@pytest.fixture(scope="module")
def plate():
    """Plate BR00122250 of JUMP-MOA; compared in double precision, as published."""
    wells = tables.read_table(FILE)
    names = tables.feature_columns(wells)
    return wells.astype(dict.fromkeys(names, float))


@pytest.mark.parametrize(
    ("question", "against", "mean"),
    [("activity", "controls", 0.7371), ("distinctiveness", "treatments", 0.4289)],
)
def test_published_means_of_the_90_compounds(question, against, mean, plate):
    made = getattr(questions, question)(plate, null_size=100)
    assert len(made) == 90
    # A focus score outweighs all else in some wells: these are ties, which the published table,
    # computed in single precision, ranks.
    assert made["mean_average_precision"].mean() == pytest.approx(mean, abs=2e-4)
    treated = plate[plate["control_type"].isna()]
    published = treated.groupby("compound")[f"published_against_{against}"].mean()
    made = made.set_index("compound")
    differ = (made["mean_average_precision"] - published).abs()
    assert set(differ.index[differ > 1e-6]) <= {"AZD2014", "ML324", "valrubicin"}
    assert differ.max() < 0.01


@pytest.mark.parametrize(
    ("against", "apart", "mean"),
    [
        ("controls", ["compound", "control_type"], 0.7299),
        ("treatments", ["compound"], 0.4251),
    ],
)
def test_published_means_with_the_row_of_the_controls(against, apart, mean, plate):
    wells = plate.assign(control_type=plate["control_type"].fillna("treatment"))
    each = evaluate.average_precision(wells, ["compound"], neg_diffby=apart)
    differ = (each["average_precision"] - each[f"published_against_{against}"]).abs()
    assert (differ > 1e-6).sum() <= 5
    assert each["tied"].mean() < 0.01
    means = each.groupby("compound")["average_precision"].mean()
    assert len(means) == 91
    assert means.mean() == pytest.approx(mean, abs=1e-4)


def test_the_plate_is_complete(plate):
    assert plate["plate"].eq(ORACLE["PLATE"]).all()
    assert plate["well"].nunique() == len(plate) == 384
    assert plate["control_type"].eq("negcon").sum() == 24
    assert plate.drop(columns=["moa", "control_type"]).notna().all(axis=None)
    assert FILE.stat().st_size < 700_000


def test_the_script_makes_the_plate_again(plate):
    root = paths.real_data_root()
    if root is None or not (root / "jump_moa_plates").is_dir():
        pytest.skip("the real JUMP-MOA plates are absent (set UNIDINO_REAL)")
    made = ORACLE["table"](root)
    labels = [name for name in made if not name.startswith("emb_")]
    pd.testing.assert_frame_equal(made[labels], plate[labels])
    # The signs of a basis are left open: lengths and angles count.
    names = tables.feature_columns(made)
    assert names == tables.feature_columns(plate)
    one, other = (frame[names].to_numpy(float) for frame in (made, plate))
    lengths = np.linalg.norm(other, axis=1)
    products = (one @ one.T - other @ other.T) / np.outer(lengths, lengths)
    assert np.abs(products).max() < 1e-6


@pytest.fixture
def wells():
    """Two plates of one layout: compounds a to h at two positions each, c at one, and DMSO."""
    rng = np.random.default_rng(5)
    names = [*"abdefgh"] * 2 + ["c"] + ["DMSO"] * 3
    places = [f"{row}{column:02d}" for row in "ABC" for column in range(1, 7)]
    layout = pd.DataFrame({"well": rng.permutation(places), "compound": names})
    layout["moa"] = layout["compound"].map(dict(zip("abcdefgh", "xxyyyzzw", strict=True)))
    layout["control_type"] = layout["compound"].map({"DMSO": "negcon", "c": "poscon"})
    frame = pd.concat([layout.assign(plate=plate) for plate in "pq"], ignore_index=True)
    signal = frame["compound"].map(lambda name: ord(name[0])).to_numpy()
    values = rng.normal(size=(len(frame), 5)) + np.outer(signal, [1, -1, 0, 0, 0]) / 8
    return frame.join(pd.DataFrame(values).add_prefix("emb"))


def nearest(values, allowed):
    """Rows that are nearest by cosine among the allowed ones of each row, ties and all."""
    unit = values / np.linalg.norm(values, axis=1, keepdims=True)
    found = []
    for row, others in enumerate(allowed):
        near = {other: 1 - unit[row] @ unit[other] for other in others}
        least = min(near.values(), default=None)
        found.append([other for other, far in near.items() if far <= least + 1e-9])
    return found


def share(names, found, rows):
    """Mean over rows of the share of their nearest that have their name."""
    return np.mean([np.mean([names[j] == names[i] for j in found[i]]) for i in rows])


def test_same_compound_against_a_loop(wells):
    made = cell_painting.same_compound(wells, "two", draws=20).set_index(["accuracy", "features"])
    kept = wells[wells["compound"] != "DMSO"].reset_index(drop=True)
    names, places = kept["compound"], kept["well"]
    one_hot = np.array(
        [[*(place[0] == r for r in "ABC"), *(int(place[1:]) == c for c in range(1, 7))]
         for place in places], float,
    )  # fmt: skip
    features = {"CellProfiler": kept[[f"emb{i}" for i in range(5)]].to_numpy(),
                "row and column": one_hot,
                "random choice": np.ones((len(kept), 1))}  # fmt: skip
    for rule in ("allowed", "barred"):
        allowed = [
            [j for j in range(len(kept)) if kept["plate"][i] != kept["plate"][j]
             and (rule == "allowed" or places[i] != places[j])]
            for i in range(len(kept))
        ]  # fmt: skip
        rows = [i for i, own in enumerate(allowed) if names[i] in set(names[own])]
        assert len(rows) == (30 if rule == "allowed" else 28)
        for name, values in features.items():
            own = made.loc[(f"two, position {rule}", name)]
            assert own["n"] == len(rows) and own["said"] == ""
            assert own["value"] == pytest.approx(share(names, nearest(values, allowed), rows))
            assert own["correct"] == pytest.approx(own["value"] * own["n"])
            assert own["low"] <= own["value"] <= own["high"]
    assert made.loc[("two, position allowed", "row and column"), "value"] == 1


def test_same_compound_of_some_wells(wells):
    """Only the positive controls are asked about; they have one position, all others two."""
    made = cell_painting.same_compound(wells, "c", "poscon", draws=20)
    assert made["n"].tolist() == [2, 2, 2, 0, 0, 0]
    assert set(made["said"][3:]) == {"not askable: one position a treatment"}
    assert made.loc[3:, "value"].isna().all()
    # Of 15 wells of the other plate one is right.
    assert made["value"].iloc[2] == pytest.approx(1 / 15)


def test_label_scores_against_a_loop(wells):
    made = cell_painting.label_scores(wells, "moa", "two", draws=300).set_index("features")
    kept = wells[wells["compound"] != "DMSO"]
    values = kept.groupby("compound")[[f"emb{i}" for i in range(5)]].mean().drop(index="h")
    labels = kept.groupby("compound")["moa"].first()[values.index].tolist()
    others = [[j for j in range(7) if j != i] for i in range(7)]
    expected = share(labels, nearest(values.to_numpy(), others), range(7))
    own = made.loc["CellProfiler"]
    assert own["n"] == 7 and own["correct"] == 7 * own["value"]
    assert own["value"] == pytest.approx(expected)
    # Of six others, one, two and one have the label of x, y and z.
    assert own["null"] == pytest.approx((2 * 1 + 3 * 2 + 2 * 1) / 42, abs=0.03)
    assert 0 <= own["null_low"] <= own["null"] <= own["null_high"] <= 1
    assert (made["accuracy"] == "two").all() and (made["level"] == "compound").all()
    assert made.index.tolist() == ["CellProfiler", "row and column"] and 0 < own["p_value"] <= 1


def test_position_knows_rows_and_columns():
    wells = pd.DataFrame({"well": ["A01", "B01", "A12"], "emb0": [5.0, 6.0, 7.0]})
    made = cell_painting.position(wells)
    assert made["well"].tolist() == ["A01", "B01", "A12"]
    values = made[tables.feature_columns(made)].to_numpy()
    assert (values @ values.T).tolist() == [[2, 1, 1], [1, 2, 0], [1, 0, 2]]
    with pytest.raises(ValueError, match="the first is 'x-ray' in row 1; expected names such as A"):
        cell_painting.position(wells.assign(well=["A01", "x-ray", "A12"]))


def test_mechanisms_beside_their_parts(plate):
    active = questions.activity(plate, null_size=500)
    active = active.loc[active["corrected_p_value"] < 0.05, "compound"]
    made = cell_painting.of_mechanisms(plate, active, null_size=500)
    compounds = profiles.consensus(plate[plate["control_type"].isna()], ["compound"])
    moa = compounds.set_index("compound")["moa"]
    pairs = moa.groupby(moa).groups
    pairs = {name: set(members) for name, members in pairs.items() if len(members) > 1}
    assert made["shared"] == len(pairs) == 43
    both = [name for name, members in pairs.items() if members <= set(active)]
    assert made["asked"] == len(both)
    assert made["active compounds"] == len(active)

    # Each compound has one partner: its average precision is one over the partner's rank.
    values = compounds.set_index("compound")[tables.feature_columns(compounds)]
    unit = values.div(np.linalg.norm(values, axis=1), axis=0)

    def precision(name, among):
        (partner,) = pairs[moa[name]] - {name}
        near = (unit.loc[among] @ unit.loc[name]).drop(name).sort_values(ascending=False)
        ap, n = 1 / (list(near.index).index(partner) + 1), len(near)
        chance = np.mean(1 / np.arange(1, n + 1))
        return (ap - chance) / (1 - chance)

    scores = {name: np.mean([precision(m, list(active)) for m in pairs[name]]) for name in both}
    assert made["active"] == pytest.approx(np.mean(list(scores.values())), abs=1e-6)
    assert made["annotated"] == pytest.approx(sum(scores.values()) / 43, abs=1e-6)
    every = [precision(m, list(moa.index)) for members in pairs.values() for m in members]
    assert made["all compounds"] == pytest.approx(np.mean(every), abs=1e-6)
    # At best all that are asked have the least p-value, one over the number of rankings.
    assert made["smallest corrected p"] == pytest.approx(1 / (len(active) - 1))
    assert 0 <= made["retrieved"] <= 1


def answers(values, p_values, exact=None):
    """Made-up answers of three compounds."""
    return pd.DataFrame(
        {
            "compound": list("abc"),
            "mean_average_precision": values,
            "mean_normalized_average_precision": values,
            "corrected_p_value": p_values,
            "corrected_copairs_p_value": [0.01, 0.2, 0.2],
            "corrected_exact_p_value": exact or [np.nan] * 3,
            "least_p_value": [0.004, 0.004, 0.004],
        }
    )


def test_beside_published_counts_and_compares():
    made = answers([0.5, 0.2, 0.8], [0.01, 0.04, 0.06], [0.01, 0.02, 0.03])
    # In another order, and one more.
    published = pd.DataFrame(
        {
            "mean_average_precision": [0.7, 0.1, 0.5, 0.3],
            "corrected_p_value": [0.001, 0.001, 0.2, 0.2],
        },
        index=["c", "control", "a", "b"],
    )
    told = cell_painting.beside_published(made, published)
    assert told["compounds"] == 3
    assert told["ours"] == told["published"] == pytest.approx(0.5)
    assert told["difference"] == pytest.approx(0)
    assert told["largest difference"] == pytest.approx(0.1)
    shares = told[["retrieved, our p", "copairs' p", "exact p", "as published"]]
    assert shares.tolist() == pytest.approx([2 / 3, 1 / 3, 1, 1 / 3])
    assert told["smallest corrected p"] == pytest.approx(0.004)
    # A group of which a replicate is missing may be countable where the others are not.
    for exact in (None, [0.01, np.nan, np.nan]):
        without = cell_painting.beside_published(answers([0, 0, 0], [1, 1, 1], exact), published)
        assert np.isnan(without["exact p"])
    with pytest.raises(ValueError, match="nothing was published of 1 compounds, such as 'a': ind"):
        cell_painting.beside_published(made, published.drop(index="a"))


def test_panels_draw_every_profile_and_explain_every_colour():
    points = pd.DataFrame({"x": [0.1, 0.5, 1.0], "y": [0.2, 0.4, 0.9], "label": ["a", "b", "b"]})
    panels = {"one": points, "two": points.iloc[:2], "three": points.iloc[1:]}
    figure = plots.scatter_panels(panels, ["a", "b", "none"], ("across", "up"), "heading")
    drawn = [axis for axis in figure.axes if axis.get_visible()]
    titles = ["one (n = 3)", "two (n = 2)", "three (n = 2)"]
    assert [axis.get_title() for axis in drawn if axis.get_title()] == titles
    assert [sum(len(c.get_offsets()) for c in axis.collections) for axis in drawn] == [3, 2, 2]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b", "none"]
    plots.plt.close(figure)
