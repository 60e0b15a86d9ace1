"""What the page of one's own plate asks and says, on made-up wells; and the page on any table."""

import sys
from pathlib import Path
from types import SimpleNamespace

import nbformat
import numpy as np
import pandas as pd
import pytest
import tifffile

from unidino import dataset
from unidino.evaluate import plate_quality
from unidino.pages import extraction, notebook, plate, plate_answers, plate_doubts, plots

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "evaluate.ipynb"
WELLS = [f"{row}{column:02d}" for row in "ABCD" for column in range(1, 7)]
# Spread over rows and columns, as a good layout is.
SPREAD = [
    "a", "negcon", "b", "negcon", "c", "negcon",
    "negcon", "c", "negcon", "a", "negcon", "b",
    "b", "negcon", "c", "negcon", "a", "negcon",
    "negcon", "a", "negcon", "b", "negcon", "c",
]  # fmt: skip


def profiles(kinds=SPREAD, effect=8.0, seed=0, **columns):
    """A plate of 24 wells; each compound moves a feature of its own."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(24, 6))
    for i, name in enumerate("abc"):
        values[[kind == name for kind in kinds], i] += effect
    controls = pd.Series([kind if kind == "negcon" else None for kind in kinds], dtype=object)
    frame = pd.DataFrame({"Metadata_Plate": "p", "Metadata_Well": WELLS, "Metadata_status": "ok"})
    frame["Metadata_compound"] = [None if kind == "negcon" else kind for kind in kinds]
    frame["Metadata_control_type"] = controls
    frame["Metadata_foreground"] = rng.uniform(0.3, 0.5, 24)
    frame["Metadata_objects"] = rng.integers(20, 30, 24)
    for measure in ("mean", "focus", "signal"):
        frame[f"Metadata_{measure}_DNA"] = rng.uniform(1, 2, 24)
    frame["Metadata_saturated_DNA"] = 0.0
    frame = frame.assign(**columns)
    return pd.concat([frame, pd.DataFrame(values).add_prefix("emb_DNA_000")], axis=1)


COMPOUND = plate.Columns("Metadata_compound", "Metadata_compound", None, ())
NOTHING = plate.Columns(None, None, None, ())


def wells(*arguments, asked=COMPOUND, **columns):
    return plate.wells_to_ask(profiles(*arguments, **columns), asked)


# Columns.


@pytest.fixture
def given(tmp_path):
    """Parameters of an extraction of a table with images that nobody has drawn."""

    def made(**columns):
        table = pd.DataFrame({"DNA": [f"{i}.tif" for i in range(6)], "plate": "p"})
        table["well"] = WELLS[:6]
        table.assign(**columns).to_csv(tmp_path / "mine.csv", index=False)
        return {"valset": str(tmp_path / "mine.csv")}

    return made


def test_the_map_of_the_example_goes_with_the_example_alone(tmp_path):
    (tmp_path / "data" / "example").mkdir(parents=True)
    for name in plate.EXAMPLE:
        (tmp_path / name).touch()
    table, layout = plate.EXAMPLE
    root = tmp_path
    assert plate.example_files(table, layout, root) == (str(root / table), str(root / layout))
    assert plate.example_files(table, None, root) == (str(root / table), None)
    assert plate.example_files("mine.csv", layout, root) == ("mine.csv", None)
    assert plate.example_files("mine.csv", "map.csv", root) == ("mine.csv", "map.csv")
    assert plate.example_files(table, layout, root / "nowhere") == (table, layout)


def test_columns_are_found_by_their_names(given):
    assert plate.find_columns(given()) == NOTHING
    columns = dict(compound=list("aabbcc"), dose=[1, 2, 3] * 2, moa=list("xxxyyy"))
    columns |= dict(batch=list("122222"), drug=list("aabbcc"), amount=[1, 2] * 3)
    made = plate.find_columns(given(**columns))
    name = "Metadata_compound"
    assert made == plate.Columns(name, name, "Metadata_dose", ("Metadata_Batch",))
    made = plate.find_columns(given(**columns), "MOA", "Metadata_drug", "amount", "drug")
    assert made == plate.Columns(
        "Metadata_moa", "Metadata_drug", "Metadata_amount", ("Metadata_drug",)
    )
    # Doses that are no numbers, or all alike, are none.
    assert plate.find_columns(given(dose=list("abcabc"))).dose is None
    assert plate.find_columns(given(dose=1, compound="a")) == NOTHING


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label": "drug"}, "label 'drug' is no column of mine or its plate map; the columns are: "
         "plate, well, compound, site, notes. Name one of them, or add it"),
        ({"perturbation": "x"}, "perturbation 'x' is no column"),
        ({"dose": "x"}, "dose 'x' is no column"),
        ({"batch": "week"}, "batch 'week' is no column"),
        ({"dose": "compound"}, "dose 'compound' holds text such as 'a'; doses are numbers"),
        ({"label": "notes"}, "label 'notes' differs between the sites of a well"),
    ],
)  # fmt: skip
def test_columns_that_cannot_be_asked_about_are_named(options, message, given):
    columns = dict(compound=list("aabbcc"), well=["A01", "A01", "A02", "A02", "A03", "A03"])
    with pytest.raises(ValueError, match=message):
        plate.find_columns(given(**columns, site=[1, 2] * 3, notes=list("uvwxyz")), **options)


def test_other_mistakes_stop_before_an_image_is_read(given, tmp_path):
    table = given(compound=list("aabbcc"))
    with pytest.raises(ValueError, match="matches no row of mine: compound holds 'a', 'b', 'c'"):
        plate.find_columns(table | {"controls": "compound == 'DMSO'"})
    with pytest.raises(FileNotFoundError, match="no table at .*nowhere.csv. Give the path"):
        plate.find_columns({"valset": str(tmp_path / "nowhere.csv")})


# Wells.


def test_wells_are_named_by_what_replicates_share():
    made = wells()
    assert made.profiles[plate.TREATMENT].tolist() == SPREAD
    assert made.notes == [] and made.positioned
    assert made.negative.sum() == 12 and made.treated.sum() == 12
    named = [plots.CONTROLS.get(kind, kind) for kind in SPREAD]
    assert made.labels[0].tolist() == named and made.labels[1] == "compound"


def test_doses_part_replicates_unless_each_stands_once():
    asked = plate.Columns("Metadata_compound", "Metadata_compound", "Metadata_dose", ())
    two = [0.1 if well < "C" else 10.0 for well in WELLS]
    made = wells(asked=asked, Metadata_dose=two)
    treated = made.profiles.loc[made.treated, plate.TREATMENT]
    assert sorted(set(treated)) == ["a, 0.1", "a, 10", "b, 0.1", "b, 10", "c, 0.1", "c, 10"]
    assert made.notes == []
    made = wells(asked=asked, Metadata_dose=np.arange(24.0))
    assert set(made.profiles.loc[made.treated, plate.TREATMENT]) == {"a", "b", "c"}
    assert made.notes[0].startswith("No compound has two wells of one dose: its doses are taken")
    alone = plate.Columns(None, None, "Metadata_dose", ())
    made = wells(asked=alone, Metadata_dose=two)
    assert set(made.profiles.loc[made.treated, plate.TREATMENT]) == {"dose 0.1", "dose 10"}


def test_what_is_left_out_is_said():
    frame = profiles()
    frame.loc[3, frame.filter(like="emb").columns] = np.nan
    frame.loc[0, "Metadata_control_type"] = "empty"
    made = plate.wells_to_ask(frame, COMPOUND)
    assert len(made.profiles) == 22
    assert made.notes == [
        "1 of 24 profiles have features missing and are asked nothing: their images could not be "
        "read, or a channel of their plate is dead.",
        "1 well marked empty are asked nothing.",
    ]
    with pytest.raises(ValueError, match="none of the 24 profiles has all features"):
        plate.wells_to_ask(
            frame.assign(**dict.fromkeys(frame.filter(like="emb"), np.nan)), COMPOUND
        )


def test_a_table_without_annotation_is_one_of_wells_without_names():
    frame = profiles()
    frame = frame.drop(
        columns=[f"Metadata_{n}" for n in ("Plate", "Well", "compound", "control_type")]
    )
    made = plate.wells_to_ask(frame, NOTHING)
    assert made.profiles[plate.TREATMENT].isna().all()
    assert not made.positioned and not made.treated.any() and not made.negative.any()
    assert made.profiles["Metadata_Well"].tolist()[:2] == ["row 0", "row 1"]
    read = plate.what_was_read(made)["read"]
    assert read["label"] == read["dose"] == "none"
    assert read["what replicates share"] == "unknown"


def test_what_was_read():
    read = plate.what_was_read(wells())["read"]
    assert read.to_dict() == {
        "wells": "24",
        "plates": "1",
        "negative controls": "12",
        "positive controls": "0",
        "wells of treatments": "12",
        "label": "compound, 3 values among the treatments",
        "what replicates share": "compound",
        "dose": "none",
    }


# Positions.


def test_without_positions_is_said_and_drawn_nowhere():
    made = wells(asked=NOTHING, Metadata_Well=[f"heart {i}" for i in range(24)])
    assert plate.without_positions(made) == (
        "Positions cannot be asked about: the well 'heart 0' is no position on a plate. A column "
        "well with names such as A01, or a row and a column, is needed."
    )
    assert plate.without_positions(wells()) == ""
    assert plate.no_layout(wells()) == ""
    unlabelled = profiles().drop(columns="Metadata_control_type")
    made = plate.wells_to_ask(unlabelled, NOTHING)
    assert plate.no_layout(made).startswith("There is no layout to show: the wells have no label.")


def test_heat_maps_have_a_panel_a_measure():
    figure = plots.measure_heat_maps(**plate.heat_maps(wells(), "toy"))
    drawn = [axis for axis in figure.axes if axis.get_visible() and axis.collections]
    titles = [axis.get_title() for axis in drawn if axis.get_title()]
    assert titles == ["foreground (share of pixels)", "objects (count a field)", "mean DNA (raw)"]
    grid = drawn[0].collections[0].get_array().reshape(4, 6)
    np.testing.assert_allclose(grid, profiles()["Metadata_foreground"].to_numpy().reshape(4, 6))
    assert figure.get_suptitle() == "toy (n = 24 wells)"
    plots.plt.close(figure)


def test_heat_maps_of_the_first_plates_share_the_colours_of_a_measure():
    three = pd.concat([profiles().assign(Metadata_Plate=p) for p in "pqr"], ignore_index=True)
    three.loc[30, "Metadata_foreground"] = 0.9
    made = plate.heat_maps(plate.wells_to_ask(three, COMPOUND), "toy")
    figure = plots.measure_heat_maps(**made)
    drawn = [a for a in figure.axes if a.get_title().startswith("foreground")]
    assert [a.get_title().split("\n")[1] for a in drawn] == ["p", "q"]
    assert {a.collections[0].get_clim()[1] for a in drawn} == {0.9}
    assert figure.get_suptitle() == "toy (n = 72 wells, the first 2 of 3 plates)"
    plots.plt.close(figure)


def test_what_position_explains_is_told():
    edge = [well[0] in "AD" or well[1:] in ("01", "06") for well in WELLS]
    frame = profiles(effect=0)
    frame.loc[edge, frame.filter(like="emb").columns] += 20
    made = plate.wells_to_ask(frame, COMPOUND)
    effects = plate.position_effects(made)
    assert effects["wells"].unique().tolist() == ["12 negative controls"]
    assert effects["of"].unique().tolist() == ["profiles", "foreground, objects, intensities"]
    text = plate.position_findings(effects, made, 0.05)
    assert "- The edge explains " in text and "of the variance of the profiles" in text
    assert "there is one only. A second, with the same controls, is needed." in text
    (found,) = plate_doubts._distrust_positions(effects, 0.05)
    assert found.startswith("The edge explains ") and "12 negative controls" in found
    quiet = plate.position_findings(effects.assign(corrected_p_value=1.0), made, 0.05)
    assert "none of row, column, edge explains more than exchanged wells do" in quiet
    assert list(plate_doubts._distrust_positions(effects.assign(corrected_p_value=1.0), 0.05)) == []


def test_position_without_controls_is_judged_by_all_wells():
    made = plate.wells_to_ask(profiles().assign(Metadata_control_type=None), COMPOUND)
    text = plate.position_findings(plate.position_effects(made), made, 0.05)
    assert "Position is judged by all 24 wells, treatments included" in text
    assert "With 8 or more negative controls it would be judged by them." in text
    few = plate.wells_to_ask(profiles().head(2), COMPOUND)
    text = plate.position_findings(plate.position_effects(few), few, 0.05)
    assert text.startswith("Position cannot be asked about: three or more wells")


# Replicates.


def asked(made):
    return {name: plate_answers.ask(name, made) for name in plate_answers.QUESTIONS}


def test_replicates_that_are_alike_are_found():
    made = wells()
    answers = asked(made)
    told = plate_answers.retrieval_table(answers, 0.05)
    assert told["asked"].tolist() == [3, 3] and (told["retrieved"] == 1).all()
    text = plate_answers.retrieval_findings(answers, made, 0.05)
    assert text.split("\n")[0].startswith(
        "- Activity: 3 of 3 treatments find their replicates before the negative controls of their "
        "plate (corrected p < 0.05)"
    )
    shown = plate_answers.by_treatment(answers)
    assert shown.index.tolist() == ["a", "b", "c"] and shown["wells"].tolist() == [4, 4, 4]
    assert list(shown.columns) == [
        "wells", "activity", "activity, corrected p",
        "distinctiveness", "distinctiveness, corrected p",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("frame", "columns", "activity", "distinctiveness"),
    [
        (profiles(), NOTHING, "no column names the treatments. A column such as compound, gene, "
         "treatment, in the table or in a plate map, or `label` with the name of another would.",
         "no column names the treatments."),
        (profiles(Metadata_compound=WELLS), COMPOUND, "every treatment has one well. A second well "
         "of each, at another position, is needed.", "every treatment has one well."),
        (profiles(Metadata_control_type=None), COMPOUND, "no well is a negative control. A column "
         "control_type with negcon, or `controls`, a query such as", None),
        (profiles(["negcon"] * 20 + ["a"] * 4, Metadata_Well=WELLS[:20] + ["D03"] * 4), COMPOUND,
         "no treatment can be asked about: none has two profiles at different positions",
         "no treatment can be asked about"),
    ],
    ids=["no names", "single wells", "no controls", "one position"],
)  # fmt: skip
def test_what_cannot_be_asked_of_replicates(frame, columns, activity, distinctiveness):
    made = plate.wells_to_ask(frame, columns)
    for name, why in (("activity", activity), ("distinctiveness", distinctiveness)):
        answer = plate_answers.ask(name, made)
        assert answer.table.empty == (why is not None)
        if why:
            assert answer.said.startswith(f"{name.capitalize()} cannot be asked: {why}")
            assert answer.said in plate_answers.retrieval_findings({name: answer}, made, 0.05)
            assert plate_answers.retrieval_table({name: answer}, 0.05).empty
            assert plate_answers.by_treatment({name: answer}).empty


def test_p_values_out_of_reach_and_single_wells_are_told():
    kinds = ["negcon"] * 19 + ["a", "a", "b", "b", "c"]
    made = wells(kinds)
    answers = asked(made)
    text = plate_answers.retrieval_findings(answers, made, 0.01)
    assert "No treatment could be found by activity: a perfect ranking of all would reach" in text
    told = "Activity, 1 treatments: not askable: one profile. A second well of each is needed."
    assert told in text
    doubts = list(plate_doubts._distrust_replicates(made, answers, 0.01))
    assert doubts[0].startswith("3 of 3 treatments have fewer than 3 wells")
    assert doubts[1].startswith("That no treatment is found by activity says nothing: no p-value")


# Neighbours.


def test_neighbours_of_planted_compounds():
    made = plate_answers.neighbours(wells(), draws=99)
    row = made.table.iloc[0]
    assert (row["n"], row["correct"], row["resampled"]) == (12, 12, 3)
    assert row["accuracy"] == row["macro"] == row["low"] == row["high"] == 1
    assert row["p_value"] == 1 / 100
    text = plate_answers.neighbour_findings(made, 0.05)
    assert text.startswith("- 12 of 12 treated wells have a nearest neighbour of their compound")
    assert "the neighbours tell the label." in text
    assert "The interval resamples 3 groups only, and is too narrow" in text
    none = plate_answers.neighbours(wells(effect=0), draws=99)
    assert none.table["accuracy"].iloc[0] < 0.8
    assert "tell no more than chance does." in plate_answers.neighbour_findings(none, 1e-9)


def test_a_mechanism_bars_neighbours_of_the_same_compound():
    columns = plate.Columns("Metadata_moa", "Metadata_compound", None, ())
    moa = [{"a": "x", "b": "x", "c": "y"}.get(kind) for kind in SPREAD]
    answer = plate_answers.neighbours(wells(asked=columns, Metadata_moa=moa), draws=19)
    row = answer.table.iloc[0]
    # Compound c is alone in its mechanism: its wells cannot be right.
    assert row["answerable"] == 8 and row["resampled"] == 3
    assert "4 of them can have no right neighbour" in plate_answers.neighbour_findings(answer, 0.05)


@pytest.mark.parametrize(
    ("columns", "named", "message"),
    [
        (NOTHING, {}, "the wells have no label. A column such as compound, gene"),
        (COMPOUND, {"Metadata_compound": "a"}, "fewer than two values of compound. Wells of a "
         "second are needed."),
        (COMPOUND, {"Metadata_compound": WELLS}, "every compound stands in one treated well. A "
         "second well of some is needed."),
        (plate.Columns("Metadata_moa", "Metadata_compound", None, ()),
         {"Metadata_moa": [{"a": "x", "b": "y", "c": "z"}.get(kind) for kind in SPREAD]},
         "wells of one moa share their position or compound. Wells of it that do not are needed."),
        (plate.Columns("Metadata_moa", "Metadata_compound", None, ()),
         {"Metadata_moa": ["x", "y"] * 11 + ["y", "x"]},
         "some compound has several values of moa. Give each one, or name another column by"),
    ],
    ids=["no label", "one label", "single wells", "one compound a label", "several labels"],
)  # fmt: skip
def test_what_cannot_be_asked_of_neighbours(columns, named, message):
    answer = plate_answers.neighbours(wells(asked=columns, **named))
    assert answer.table.empty
    assert answer.said.startswith("Nearest neighbours cannot be asked: ") and message in answer.said
    assert plate_answers.neighbour_findings(answer, 0.05) == answer.said


# The map.


def test_a_map_of_too_few_wells_is_not_drawn():
    few = plate.wells_to_ask(profiles().head(4), COMPOUND)
    assert plate_answers.no_map(few) == (
        "There is no map: 4 wells can be asked about, and 5 or more are needed."
    )
    assert plate_answers.no_map(wells()) == ""
    assert plate_answers.map_table(few, None).empty
    made = plate_answers.map_table(few, np.arange(8).reshape(4, 2))
    assert list(made.columns) == ["Plate", "Well", "label", "umap_1", "umap_2"]
    named = ["a", "negative control", "b", "negative control"]
    assert made["label"].tolist() == named and made["umap_2"].tolist() == [1, 3, 5, 7]


# Doses.

DOSED = plate.Columns("Metadata_compound", "Metadata_compound", "Metadata_dose", ())


def dosed(kinds=SPREAD):
    """Compound a answers to its dose, the others do not."""
    frame = profiles(kinds, effect=0)
    frame["Metadata_dose"] = 0.0
    for name in "abc":
        own = frame["Metadata_compound"] == name
        frame.loc[own, "Metadata_dose"] = [1.0, 3.0, 10.0, 30.0][: own.sum()]
        frame.loc[own, "emb_DNA_0000"] += frame["Metadata_dose"] * (name == "a")
    return frame


def test_doses_are_scored_by_distance_without_positive_controls():
    made = plate_answers.doses(plate.wells_to_ask(dosed(), DOSED), draws=99)
    assert made.scored == "distance from the negative controls"
    first = made.trends.iloc[0]
    assert (first["group"], first["spearman"]) == ("a", pytest.approx(1))
    assert np.isnan(made.z_prime) and len(made.controls["negcon"]) == 12
    text = plate_answers.dose_findings(made, 1.0)
    assert "The distance from the negative controls follows the dose" in text
    assert "a (+1.00)" in text and "Z'" not in text
    assert "in 0 of 3 treatments." in plate_answers.dose_findings(made, 1e-6)


def test_doses_are_scored_along_the_axis_of_both_controls():
    frame = dosed()
    high = frame.index[frame["Metadata_control_type"] == "negcon"][:3]
    frame.loc[high, "Metadata_control_type"] = "poscon"
    frame.loc[high, "emb_DNA_0000"] += 40
    made = plate_answers.doses(plate.wells_to_ask(frame, DOSED), draws=99)
    assert made.scored == "score along the controls' axis"
    assert made.z_prime > 0 and len(made.controls["poscon"]) == 3
    assert "Z' of 9 negative and 3 positive controls is " in plate_answers.dose_findings(made, 0.05)
    figure = plots.dose_series(
        made.series, made.trends["group"].tolist(), made.scored, "toy", "compound", made.controls
    )
    axis = figure.axes[0]
    ticks = [tick.get_text() for tick in axis.get_xticklabels()]
    assert ticks == ["negative\ncontrol", "1", "3", "10", "30", "positive\ncontrol"]
    names = [text.get_text() for text in axis.get_legend().get_texts()]
    assert names == sorted(made.trends["group"])
    plots.plt.close(figure)


def test_more_compounds_than_colours_are_left_out_of_the_figure():
    names = [f"c{i}" for i in range(10)]
    series = pd.DataFrame({"group": names * 2, "dose": [1.0] * 10 + [2.0] * 10, "score": 1.0})
    figure = plots.dose_series(series, names, "score", "toy", "compound")
    assert figure.axes[0].get_title() == "toy, the first 8 of 10"
    assert len(figure.axes[0].get_legend().get_texts()) == 8
    plots.plt.close(figure)


@pytest.mark.parametrize(
    ("frame", "columns", "message"),
    [
        (profiles(), COMPOUND, "no column of numbers is named concentration or dose. Add one, or "
         "name it by `dose`."),
        (dosed().assign(Metadata_control_type=None), DOSED, "fewer than two wells are negative"),
        (dosed().assign(Metadata_dose=1.0), DOSED, "all treated wells have one dose. A second is"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_of_doses(frame, columns, message):
    said = plate_answers.no_doses(plate.wells_to_ask(frame, columns))
    assert said.startswith("Dose response cannot be asked: ") and message in said
    assert plate_answers.no_doses(plate.wells_to_ask(dosed(), DOSED)) == ""


def test_few_doses_are_told():
    frame = dosed()
    frame["Metadata_dose"] = frame["Metadata_dose"].clip(upper=3)
    made = plate_answers.doses(plate.wells_to_ask(frame, DOSED), draws=9)
    assert plate_answers.dose_findings(made, 0.05) == (
        "- 3 of 3 treatments are not askable: fewer than 3 doses. Wells of at least 3 doses of "
        "each are needed."
    )


# Doubts.


def doubts(frame, columns=COMPOUND, level=0.05):
    made = plate.wells_to_ask(frame, columns)
    flagged = plate_quality.flags(frame)
    effects = pd.DataFrame() if plate.without_positions(made) else plate.position_effects(made)
    return plate_doubts.distrust(made, flagged, frame, effects, asked(made), level)


def test_nothing_is_doubted_on_a_good_plate():
    assert doubts(profiles()) == []
    assert plate.bullets([]) == ""


def test_layouts_that_give_labels_away_are_doubted():
    by_row = ["negcon"] * 6 + ["a"] * 6 + ["b"] * 6 + ["c"] * 6
    found = doubts(profiles(by_row))
    assert found[0].startswith("The row of a well tells its compound (1.00 of what the commonest")
    assert found[1].startswith("All 6 negative controls stand in row A, where no treatment stands")
    rising = profiles(Metadata_dose=[float(well[1:]) for well in WELLS])
    found = doubts(rising, DOSED)
    assert any(text.startswith("The column of a well tells its dose") for text in found)
    ladder = rising.assign(Metadata_dose=[int(w[1:]) + 0.01 * i for i, w in enumerate(WELLS)])
    found = doubts(ladder, DOSED)
    assert any(text.startswith("The dose rises or falls with the column") for text in found)


def test_controls_that_scatter_as_widely_are_doubted():
    (found,) = plate_doubts.distrust_controls(wells(effect=0), 0.05)
    assert found.startswith("The negative controls scatter as widely as the treatments: of pairs")
    assert list(plate_doubts.distrust_controls(wells(), 0.05)) == []
    alone = plate.wells_to_ask(profiles(Metadata_control_type=None), COMPOUND)
    assert list(plate_doubts.distrust_controls(alone, 0.05)) == []


def test_flagged_wells_and_positions_that_replicates_share_are_doubted():
    frame = profiles()
    frame.loc[1, "Metadata_mean_DNA"] = 50
    assert any(
        text == "Flags stand on 1 of 24 wells (negative controls among them: 1): A02. Repeat what "
        "rests on them without them."
        for text in doubts(frame)
    )
    both = pd.concat([profiles(), profiles(seed=1).assign(Metadata_Plate="q")], ignore_index=True)
    names = [name if kind else well for name, kind, well in zip(
        both["Metadata_compound"], both["Metadata_control_type"].notna(), both["Metadata_Well"],
        strict=True,
    )]  # fmt: skip
    found = doubts(both.assign(Metadata_compound=names))
    assert any("12 of 12 treatments stand at one position on every plate" in text for text in found)


def test_without_names_nothing_is_said_of_treatments():
    (found,) = plate_doubts._distrust_replicates(wells(asked=NOTHING), {}, 0.05)
    assert found.startswith("Nothing here names the treatments")


def test_a_montage_is_spaced_through_the_labels(monkeypatch):
    sites = profiles().assign(Metadata_row=range(24))
    made = SimpleNamespace(
        metadata=SimpleNamespace(channels=["DNA"]),
        provenance={"simulated": True, "valset": "toy"},
        site_tables=lambda: [("file", sites)],
    )
    statistics = [{"channel": "DNA", "low": 0, "high": 1}]
    monkeypatch.setattr(
        extraction.tables, "read_provenance", lambda _: {"intensity_statistics": statistics}
    )
    monkeypatch.setattr(dataset, "load_site", lambda _, row: row)
    monkeypatch.setattr(dataset, "pixel_size_read", lambda _, row: row / 10)
    shown = extraction.montage(made, 3, "Metadata_compound")
    assert [title.split("\n")[1] for title in shown["titles"]] == ["a", "c", "negative control"]
    assert [WELLS[row] for row in shown["sites"]] == [t.split("\n")[0] for t in shown["titles"]]
    assert shown["pixel_sizes"] == [row / 10 for row in shown["sites"]]


# The page.


@pytest.mark.parametrize(
    ("columns", "figures"),
    [
        ({"plate": "p", "well": WELLS}, {"tiles", "heat_maps", "umap"}),
        ({}, {"tiles", "umap"}),
        (
            {
                "plate": "p", "well": WELLS, "compound": SPREAD, "dose": [1.0, 2.0, 3.0] * 8,
                "control_type": ["negcon" if kind == "negcon" else None for kind in SPREAD],
            },
            {"tiles", "heat_maps", "umap", "layout", "doses"},
        ),
        (
            {
                "batch": ["1"] * 12 + ["2"] * 12, "plate": ["p"] * 12 + ["q"] * 12,
                "well": WELLS[:12] * 2, "compound": SPREAD[:12] * 2,
                "control_type": [
                    "negcon" if kind == "negcon" else None for kind in SPREAD[:12] * 2
                ],
            },
            {"tiles", "heat_maps", "umap", "layout"},
        ),
    ],
    ids=["no annotation", "not even wells", "annotated", "two plates"],
)  # fmt: skip
def test_the_page_runs(columns, figures, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    names = [f"{i}.tif" for i in range(24)]
    for name in names:
        image = rng.normal(200, 5, (64, 64))
        image[20:40, 10:30] += 2000 * rng.random()
        tifffile.imwrite(tmp_path / name, image.astype(np.uint16))
    pd.DataFrame({"DNA": names} | columns).to_csv(tmp_path / "mine.csv", index=False)
    monkeypatch.setenv("UNIDINO_RESULTS", str(tmp_path / "results"))
    # In the place of umap, whose compilation takes longer than all else here.
    drawn = SimpleNamespace(fit_transform=lambda values: values[:, :2])
    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=lambda **_: drawn))
    code = [c.source for c in nbformat.read(NOTEBOOK, 4).cells if c.cell_type == "code"]
    space = {}
    exec(code[0], space)
    given = {name: value for name, value in space.items() if not name.startswith("__")}
    given |= {"valset": str(tmp_path / "mine.csv"), "outdir": str(tmp_path / "out")}
    given |= {"model": "random_vit", "draws": 19}
    monkeypatch.setattr(notebook, "check_parameters", lambda _: given)
    space |= given
    for cell in code[1:]:
        exec(cell, space)
    made = {path.stem for path in (tmp_path / "results" / "figures").glob("*.pdf")}
    assert made == {f"your_plate_{name}" for name in figures}
    tables = {path.stem for path in (tmp_path / "results" / "tables").glob("*.csv")}
    assert ("your_plate_neighbours" in tables) == ("compound" in columns)
