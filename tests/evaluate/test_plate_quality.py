"""Flags, positions and layouts against slow twins and planted plates."""

import statistics

import numpy as np
import pandas as pd
import pytest

from unidino.evaluate import plate_quality

ROWS, COLUMNS = "ABCD", range(1, 7)
WELLS = [f"{row}{column:02d}" for row in ROWS for column in COLUMNS]


def site_table(seed=0, count=24):
    """Sites of two plates, one a well, all alike but for noise."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "Metadata_Plate": np.repeat(["p", "q"], count),
            "Metadata_Well": WELLS[:count] * 2,
            "Metadata_status": "ok",
            "Metadata_foreground": rng.uniform(0.3, 0.5, 2 * count),
            "Metadata_objects": rng.integers(20, 30, 2 * count).astype(float),
        }
    )
    for channel in ("DNA", "ER"):
        frame[f"Metadata_mean_{channel}"] = rng.uniform(90, 110, 2 * count)
        frame[f"Metadata_saturated_{channel}"] = 0.0
        frame[f"Metadata_focus_{channel}"] = rng.uniform(1, 2, 2 * count)
        frame[f"Metadata_signal_{channel}"] = 0.4
    return frame


def odd_sites():
    """What `site_table` holds, with one oddity of each kind."""
    sites = site_table()
    measured = [c for c in sites if sites[c].dtype == float]
    sites.loc[0, "Metadata_status"] = "failed"
    sites.loc[0, measured] = np.nan
    sites.loc[1, ["Metadata_status", "Metadata_foreground"]] = ["empty", 0.0]
    sites.loc[2, "Metadata_foreground"] = 0.05
    sites.loc[3, "Metadata_objects"] = 2
    sites.loc[4, "Metadata_focus_ER"] = 0
    sites.loc[30, "Metadata_saturated_DNA"] = 0.02
    sites.loc[31, "Metadata_mean_DNA"] = 200
    sites.loc[32, "Metadata_mean_ER"] = 20
    return sites


def twin_flags(sites, limits):
    """From the definitions, a site at a time: {(row, flag, channel)}."""
    found = set()
    for i, site in sites.iterrows():
        if site["Metadata_status"] == "failed":
            found.add((i, "unreadable", ""))
            continue
        if site["Metadata_status"] == "empty":
            found.add((i, "empty", ""))
        plate = sites[sites["Metadata_Plate"] == site["Metadata_Plate"]]
        for flag, name in (("sparse", "foreground"), ("few objects", "objects")):
            middle = statistics.median(plate[f"Metadata_{name}"].dropna())
            if site[f"Metadata_{name}"] < limits.sparse * middle:
                found.add((i, flag, ""))
        for channel in ("DNA", "ER"):
            share = site[f"Metadata_saturated_{channel}"]
            if site[f"Metadata_focus_{channel}"] == 0 or share > 0.99:
                found.add((i, "flat", channel))
            if share > limits.saturated:
                found.add((i, "saturated", channel))
            for flag, name in (("intensity", "mean"), ("focus", "focus")):
                values = plate[f"Metadata_{name}_{channel}"].dropna()
                middle = statistics.median(values)
                spread = 1.4826 * statistics.median(abs(v - middle) for v in values)
                if abs(site[f"Metadata_{name}_{channel}"] - middle) > limits.outlying * spread:
                    found.add((i, flag, channel))
    return found


@pytest.mark.parametrize(
    "limits",
    [plate_quality.Limits(), plate_quality.Limits(sparse=0.9, saturated=0.5, outlying=1.5)],
)
def test_flags_equal_the_definitions(limits):
    sites = odd_sites()
    made = plate_quality.flags(sites, limits)
    found = set(made[["row", "flag", "channel"]].itertuples(index=False, name=None))
    assert found == twin_flags(sites, limits)
    assert len(found) == len(made)
    assert made["row"].is_monotonic_increasing


def test_planted_oddities_are_flagged_and_nothing_else():
    made = plate_quality.flags(odd_sites())
    assert list(made[["row", "flag", "channel"]].itertuples(index=False, name=None)) == [
        (0, "unreadable", ""),
        (1, "empty", ""),
        (1, "sparse", ""),
        (2, "sparse", ""),
        (3, "few objects", ""),
        (4, "flat", "ER"),
        (30, "saturated", "DNA"),
        (31, "intensity", "DNA"),
        (32, "intensity", "ER"),
    ]
    assert plate_quality.flags(site_table()).empty
    assert (made["excess"] > 1).all()
    by_flag = made.set_index(["row", "flag"])
    assert np.isinf(by_flag.loc[(1, "sparse"), "excess"])
    assert by_flag.loc[(30, "saturated"), "excess"] == pytest.approx(2)
    assert by_flag.loc[(32, "intensity"), "value"] < -3.5
    row = by_flag.loc[(3, "few objects")]
    assert row["excess"] == pytest.approx(row["limit"] / 2)


def test_few_sites_are_not_called_unlike_the_others():
    sites = odd_sites().iloc[[1, 2, 3, 31, 32]].assign(Metadata_Plate="p")
    made = plate_quality.flags(sites.reset_index(drop=True))
    assert made["flag"].tolist() == ["empty"]


def test_robust_z():
    rng = np.random.default_rng(0)
    values = rng.normal(5, 2, 20)
    values[3] = np.nan
    rows = {"a": np.arange(0, 12), "b": np.arange(12, 20)}
    made = plate_quality.robust_z(values, rows)
    for members in rows.values():
        own = [values[i] for i in members if not np.isnan(values[i])]
        middle = statistics.median(own)
        spread = statistics.median(abs(v - middle) for v in own)
        for i in members:
            expected = (values[i] - middle) / (1.4826 * spread)
            np.testing.assert_allclose(made[i], expected)
    assert np.isnan(plate_quality.robust_z(values, {"a": np.arange(7)})).all()
    # More than half are equal: the mean absolute deviation, 1 / 8 here.
    mostly = np.array([0.0] * 7 + [1.0])
    made = plate_quality.robust_z(mostly, {"a": np.arange(8)})
    np.testing.assert_allclose(made[-1], 8 / 1.2533)
    assert (plate_quality.robust_z(np.ones(9), {"a": np.arange(9)}) == 0).all()


def test_table_of_flags_counts_sites_and_wells():
    sites = odd_sites()
    made = plate_quality.flag_table(plate_quality.flags(sites), sites).set_index("flag")
    assert made["sites"].to_dict() == {
        "unreadable": 1, "empty": 1, "sparse": 2, "few objects": 1, "flat": 1, "saturated": 1,
        "intensity": 2, "focus": 0,
    }  # fmt: skip
    assert made.loc["intensity", "channels"] == "DNA, ER"
    one = sites.assign(Metadata_Well="A01", Metadata_Plate="p")
    made = plate_quality.flag_table(plate_quality.flags(sites), one).set_index("flag")
    assert made.loc["intensity", ["sites", "wells"]].tolist() == [2, 1]
    limits = plate_quality.Limits(outlying=7)
    made = plate_quality.flag_table(plate_quality.flags(sites, limits), sites, limits)
    assert "beyond 7 robust z" in made.set_index("flag").loc["focus", "raised where"]


def test_wells_to_look_at_are_ranked_with_their_reasons():
    sites = odd_sites()
    made = plate_quality.wells_to_look_at(plate_quality.flags(sites), sites)
    assert made["well"].tolist()[:3] == ["p A02", "p A01", "p A05"]
    assert made["excess"].is_monotonic_decreasing
    reasons = made.set_index("well")["reasons"]
    assert reasons["p A01"] == "unreadable"
    assert reasons["p A02"].startswith("empty; sparse (0, limit 0.")
    assert reasons["p A05"] == "ER flat"
    assert reasons["q B01"] == "DNA saturated (0.02, limit 0.01)"
    assert reasons["q B03"].startswith("ER intensity (z -")
    twice = pd.concat([sites, sites], ignore_index=True)
    made = plate_quality.wells_to_look_at(plate_quality.flags(twice), twice).set_index("well")
    assert made.loc["p A01", ["sites", "flagged", "flags"]].tolist() == [2, 2, 2]
    assert made.loc["p A01", "reasons"] == "unreadable in 2 sites"
    assert plate_quality.wells_to_look_at(plate_quality.flags(site_table()), sites).empty


def test_names_of_wells():
    frame = pd.DataFrame({"Metadata_Plate": ["p", "p"], "Metadata_Well": ["A01", "A02"]})
    assert plate_quality.well_names(frame) == ["A01", "A02"]
    assert plate_quality.well_names(frame.assign(Metadata_Plate=["p", "q"])) == ["p A01", "q A02"]
    assert plate_quality.well_names(frame[["Metadata_Plate"]]) == ["row 0", "row 1"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sparse": 0}, "sparse is 0; it must be above 0"),
        ({"sparse": 1.5}, "sparse is 1.5; it is a share, above 0 and below 1"),
        ({"saturated": 1}, "saturated is 1; it is a share"),
        ({"outlying": -1}, "outlying is -1; it must be above 0"),
    ],
)
def test_limits_that_are_none(given, message):
    with pytest.raises(ValueError, match=message):
        plate_quality.Limits(**given)


# Positions.


def profiles(edge=0.0, seed=0):
    """A plate of 24 wells, the first 16 of them controls; the edge moves two of four features."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(24, 4))
    outer = [well[0] in "AD" or well[1:] in ("01", "06") for well in WELLS]
    values[:, :2] += edge * np.array(outer)[:, None]
    frame = pd.DataFrame(values).add_prefix("emb")
    frame.insert(0, "Metadata_Plate", "p")
    frame.insert(1, "Metadata_Well", WELLS)
    frame.insert(2, "Metadata_control_type", ["negcon"] * 16 + [None] * 8)
    return frame


def twin_explained(frame, names):
    """Mean over the features of the share of the sum of squares that lies between groups."""
    shares = []
    for column in frame.filter(like="emb"):
        values = frame[column]
        between = sum(
            len(own) * (own.mean() - values.mean()) ** 2 for _, own in values.groupby(names)
        )
        shares.append(between / ((values - values.mean()) ** 2).sum())
    return np.mean(shares)


def test_position_effects_equal_the_definition():
    frame = profiles(edge=1.0)
    made = plate_quality.position_effects(frame, draws=49).set_index("position")
    assert made.index.tolist() == ["row", "column", "edge"]
    for name, names in (
        ("row", frame["Metadata_Well"].str[0]),
        ("column", frame["Metadata_Well"].str[1:]),
    ):
        assert made.loc[name, "explained"] == pytest.approx(twin_explained(frame, names))
        assert made.loc[name, "values"] == names.nunique()
        assert made.loc[name, "by_chance"] == pytest.approx((names.nunique() - 1) / 23)
    again = plate_quality.position_effects(frame, draws=49).set_index("position")
    pd.testing.assert_frame_equal(made, again)


def test_a_planted_edge_is_found_and_nothing_is_not():
    found = plate_quality.position_effects(profiles(edge=4.0)).set_index("position")
    assert found.loc["edge", "p_value"] == 1 / 1000
    assert found.loc["edge", "explained"] > found.loc["edge", "chance_95"]
    chance = [
        plate_quality.position_effects(profiles(seed=seed), draws=39)["p_value"]
        for seed in range(10)
    ]
    assert 0.3 < pd.concat(chance).mean() < 0.7


def test_exchanges_stay_on_their_plate_and_others_do_not():
    """The plates differ by far more than anything on them."""
    both = pd.concat([profiles(), profiles(seed=1)], ignore_index=True)
    both["Metadata_Plate"] = ["p"] * 24 + ["q"] * 24
    both.loc[24:, both.filter(like="emb").columns] += 50
    made = plate_quality.position_effects(both, others=["Metadata_Plate"], draws=49)
    made = made.set_index("position")
    assert made.loc["Metadata_Plate", "p_value"] == 1 / 50
    assert made.loc["Metadata_Plate", "explained"] > 0.99
    assert made.loc["row", "chance_95"] < 0.01


def test_a_position_with_one_value_is_not_asked_about():
    made = plate_quality.position_effects(profiles().head(6), draws=9)
    assert made["position"].tolist() == ["column"]


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"Metadata_Well": "heart"}, {}, "24 wells are no position on a plate"),
        ({}, {"draws": 0}, "draws is 0; it must be above 0"),
        ({}, {"others": ["week"]}, "no column 'week' in the table"),
    ],
)
def test_mistakes_are_named(change, options, message):
    with pytest.raises(ValueError, match=message):
        plate_quality.position_effects(profiles().assign(**change), **options)


def test_position_is_judged_by_the_controls_where_there_are_enough():
    rows, words = plate_quality.position_sample(profiles())
    assert rows.tolist() == [True] * 16 + [False] * 8
    assert words == "16 negative controls"
    few = profiles().iloc[9:]
    rows, words = plate_quality.position_sample(few)
    assert rows.all() and words == "all 15 wells, treatments included"
    rows, _ = plate_quality.position_sample(few.drop(columns="Metadata_control_type"))
    assert rows.all()


# Layouts.


def twin_told(wells, labels):
    """Goodman and Kruskal's lambda, each well left out of the votes on itself."""

    def guessed(places):
        right = 0
        for i, label in enumerate(labels):
            others = [
                other
                for j, other in enumerate(labels)
                if j != i and places[j] == places[i]
            ]  # fmt: skip
            if others:
                most = max(others.count(name) for name in others)
                best = {name for name in others if others.count(name) == most}
                right += (label in best) / len(best)
        return right / len(labels)

    least = guessed([""] * len(labels))
    made = {}
    for name, places in (("row", [w[0] for w in wells]), ("column", [w[1:] for w in wells])):
        made[name] = max(0, (guessed(places) - least) / (1 - least))
    return made


@pytest.mark.parametrize("seed", range(4))
def test_told_by_position_equals_the_definition(seed):
    rng = np.random.default_rng(seed)
    labels = rng.choice(["a", "b", "c", "d"], 24, p=[0.5, 0.2, 0.2, 0.1]).tolist()
    made = plate_quality.told_by_position(profiles(), labels)
    assert made == pytest.approx(twin_told(WELLS, labels))


def test_a_layout_by_rows_is_told_and_one_of_single_wells_is_not():
    by_row = plate_quality.told_by_position(profiles(), [well[0] for well in WELLS])
    assert by_row == {"row": 1, "column": 0}
    assert plate_quality.told_by_position(profiles(), WELLS) == {"row": 0, "column": 0}
    assert plate_quality.told_by_position(profiles(), ["a"] * 24) == {"row": 0, "column": 0}


def test_doses_along_rows_and_columns():
    from scipy.stats import spearmanr

    doses = np.random.default_rng(0).choice([0.1, 1, 10], 24)
    made = plate_quality.ranks_by_position(profiles(), doses)
    for name, numbers in (
        ("row", [ROWS.index(well[0]) for well in WELLS]),
        ("column", [int(well[1:]) for well in WELLS]),
    ):
        assert made[name] == pytest.approx(spearmanr(numbers, doses).statistic)
    rising = [10.0 ** int(well[1:]) for well in WELLS]
    assert plate_quality.ranks_by_position(profiles(), rising)["column"] == pytest.approx(1)
    assert plate_quality.ranks_by_position(profiles(), [1.0] * 24) == {"row": 0, "column": 0}
    far = profiles().assign(Metadata_Well=[f"{row}01" for row in [*"YZ", "AA", "AB"] * 6])
    ranks = plate_quality.ranks_by_position(far, [1.0, 2.0, 3.0, 4.0] * 6)
    assert ranks["row"] == pytest.approx(1)


def test_controls_that_stand_alone():
    frame = profiles()
    column = frame["Metadata_Well"].str[1:]
    alone = plate_quality.crowded(frame[column == "01"], frame[column != "01"])
    assert alone == {"column": ["01"]}
    two = column.isin(["01", "06"])
    assert plate_quality.crowded(frame[two], frame[~two]) == {"column": ["01", "06"]}
    three = column.isin(["01", "02", "06"])
    assert plate_quality.crowded(frame[three], frame[~three]) == {}
    assert plate_quality.crowded(frame[:6], frame[3:]) == {}
