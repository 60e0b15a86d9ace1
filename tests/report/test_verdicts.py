"""Each verdict's word is the one that its rule says, on made-up plates."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from unidino.evaluate import dose_response, plate_quality, questions
from unidino.pages import plate
from unidino.report import stored, verdicts

from .conftest import KINDS, WELLS


def made(kinds=KINDS, effect=30.0, seed=0, wells=WELLS, settings=(), warnings=(), **columns):
    """A plate with one site a well; each treatment moves a feature of its own."""
    count = len(wells)
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(count, 6))
    for i, name in enumerate(("a", "b", "poscon")):
        values[[kind == name for kind in kinds], i] += effect
    frame = pd.DataFrame({"Metadata_Plate": "p", "Metadata_Well": wells, "Metadata_status": "ok"})
    controls = [kind if kind in ("negcon", "poscon") else None for kind in kinds]
    frame["Metadata_control_type"] = pd.Series(controls, dtype=object)
    frame["Metadata_compound"] = pd.Series(
        [None if k == "negcon" else k for k in kinds], dtype=object
    )
    frame["Metadata_path"] = [f"{well}.tif" for well in wells]
    frame["Metadata_error"] = None
    frame["Metadata_foreground"] = rng.uniform(0.3, 0.5, count)
    frame["Metadata_objects"] = rng.uniform(20, 30, count)
    for measure in ("mean", "focus", "signal"):
        frame[f"Metadata_{measure}_DNA"] = rng.uniform(1, 2, count)
    frame["Metadata_saturated_DNA"] = 0.0
    for name, given in columns.items():
        frame[name] = given
    profiles = pd.concat([frame, pd.DataFrame(values).add_prefix("emb_DNA_000")], axis=1)
    provenance = {
        "settings": {"model": "m", "channels": ["DNA"]}, "valset": "d", "warnings": list(warnings),
        "norm_method": "standardize", "reference": "negative controls",
    } | dict(settings)  # fmt: skip
    return stored.Plate(
        folder=Path("x"), key=("p",), sites=frame, wells=profiles, profiles=profiles,
        file=Path("d_standardize_well_features.parquet"), others=[], made=provenance, measured={},
        recorded={}, extracted=("now", "the log"), table=None, keys=[("p",)],
    )  # fmt: skip


def asked(one, level=0.05, told=0.8, draws=99, **limits):
    columns = plate.stored_columns(one.wells)
    return verdicts.ask(
        one, columns, plate_quality.Limits(**limits), told=told, level=level, draws=draws, seed=0
    )


def judged(one, level=0.05, told=0.8, draws=99, **limits):
    """{question: verdict}."""
    found = asked(one, level, told, draws, **limits)
    return {v.question: v for v in verdicts.verdicts(one, found, told=told, level=level)}


def test_a_good_plate_passes():
    found = judged(made())
    assert {v.word for v in found.values()} == {"pass"}
    assert found["Images read"].said == "Sites that could be read: all 24."
    assert found["Normalisation"].said == "standardize, on negative controls; nothing was odd."
    assert len(found) == 12 and all(v.rule.startswith("look: ") for v in found.values())


def status(*failed, kind="failed"):
    return [kind if i in failed else "ok" for i in range(24)]


@pytest.mark.parametrize(
    ("failed", "word", "share"),
    [((0,), "look", "1 of 24 (4.2%)"), ((0, 1), "fail", "2 of 24 (8.3%)")],
)
def test_unreadable_sites(failed, word, share):
    verdict = judged(made(Metadata_status=status(*failed)))["Images read"]
    assert verdict.word == word
    assert verdict.said == f"Sites that could not be read: {share}; reasons below."


def test_wells_without_cells():
    one = made(Metadata_status=status(3, kind="empty"))
    verdict = judged(one)["Cells there"]
    assert (verdict.word, verdict.said) == ("look", "1 of 24 wells (empty): A04.")
    one.sites.loc[5, "Metadata_foreground"] = 0.01
    said = judged(one)["Cells there"].said
    assert said == "2 of 24 wells (empty, sparse): A04, A06."
    assert judged(one, sparse=0.001)["Cells there"].said == "1 of 24 wells (empty): A04."


@pytest.mark.parametrize(("count", "word"), [(2, "look"), (3, "fail")])
def test_saturated_wells(count, word):
    share = np.where(np.arange(24) < count, 0.2, 0.0)
    verdict = judged(made(Metadata_saturated_DNA=share))["Exposure"]
    assert verdict.word == word
    assert verdict.said.startswith(f"{count} of 24 wells (DNA saturated): A01, A02")
    assert judged(made(Metadata_saturated_DNA=share), saturated=0.3)["Exposure"].word == "pass"


@pytest.mark.parametrize(("measure", "question"), [("mean", "Brightness"), ("focus", "Focus")])
def test_wells_unlike_the_others(measure, question):
    odd = np.where(np.arange(24) == 7, 100.0, np.linspace(1, 2, 24))
    verdict = judged(made(**{f"Metadata_{measure}_DNA": odd}))[question]
    assert verdict.word == "look" and verdict.said.endswith(": B02.")
    odd[:] = np.linspace(1, 2, 24)
    assert judged(made(**{f"Metadata_{measure}_DNA": odd}))[question].word == "pass"


def test_many_wells_are_counted():
    assert verdicts.shortened(range(12)) == ", ".join(map(str, range(12)))
    assert verdicts.shortened(range(14)) == ", ".join(map(str, range(12))) + " and 2 more"


def test_few_sites_are_not_compared():
    one = made(KINDS[:6], wells=WELLS[:6])
    found = judged(one)
    assert found["Focus"].word == found["Brightness"].word == "not asked"
    assert "fewer than 8 sites none is called unlike" in found["Focus"].said
    assert found["Cells there"].said.startswith("No well is empty. With fewer than 8 sites")


def test_where_nothing_was_read_nothing_passes():
    one = made(Metadata_status="failed", Metadata_foreground=np.nan, Metadata_objects=np.nan)
    for frame in (one.sites, one.wells):
        for name in frame.columns:
            if name.startswith(("emb_", "Metadata_mean", "Metadata_focus", "Metadata_sat")):
                frame[name] = np.nan
    found = judged(one)
    assert {q: v.word for q, v in found.items()} == {
        "Images read": "fail", "Normalisation": "fail",
        **dict.fromkeys(("Cells there", "Exposure", "Brightness", "Focus", "Edges and gradients",
                         "Layout", "Negative controls", "Z'", "Active treatments",
                         "Distinct treatments"), "not asked"),
    }  # fmt: skip
    assert found["Exposure"].said == "No site could be read."
    assert found["Z'"].said == "No profile can be asked: see Normalisation."
    assert found["Normalisation"].said.startswith("None of the 24 profiles has all features")


def test_normalisation():
    warned = judged(made(warnings=["few controls"]))["Normalisation"]
    assert (warned.word, warned.said) == ("look", "The run warned: few controls.")
    dead = judged(made(settings={"dead_channels": {"p": ["DNA"]}}))["Normalisation"]
    assert dead.word == "fail" and dead.said.endswith("since they are dead there: DNA.")
    other = judged(made(settings={"dead_channels": {"q": ["DNA"]}}))["Normalisation"]
    assert other.word == "pass"
    raw = judged(made(settings={"norm_method": "no_post_proc"}))["Normalisation"]
    assert raw.word == "not asked" and "not normalised" in raw.said


def test_a_plate_that_is_not_in_the_normalised_table():
    from dataclasses import replace

    one = made(warnings=["1 of 2 plates stay missing: p"])
    one = replace(one, profiles=one.profiles.iloc[:0], keys=[("p",), ("q",)])
    verdict = judged(one)["Normalisation"]
    assert verdict.word == "fail"
    assert verdict.said == (
        "The plate is not in d_standardize_well_features.parquet: none of it could be normalised. "
        "The run warned, of this or of other plates: 1 of 2 plates stay missing: p."
    )


def test_gradients():
    one = made()
    for name in one.profiles.columns[-6:]:
        one.profiles[name] += 6.0 * np.repeat(np.arange(4), 6)
    found = judged(one, draws=499)["Edges and gradients"]
    assert (
        found.word == "look" and "explains" in found.said and "negative controls" not in found.said
    )
    named = judged(made(Metadata_Well=[f"well {i}" for i in range(24)]))
    assert named["Edges and gradients"].word == named["Layout"].word == "not asked"
    assert "the well 'well 0' is no position" in named["Edges and gradients"].said


def test_layouts_that_tell_the_label():
    kinds = ["negcon", "negcon", "a", "b", "c", "d"] * 4
    found = judged(made(kinds))
    assert found["Layout"].word == "look"
    assert "The column of a well tells its compound" in found["Layout"].said
    assert "All 8 negative controls stand in column 01 and 02" in found["Layout"].said


def test_negative_controls():
    none = judged(made(["a", "b"] * 12))["Negative controls"]
    assert none.word == "not asked" and "column control_type with negcon" in none.said
    few = ["negcon"] * 4 + ["a", "b"] * 10
    found = judged(made(few))["Negative controls"]
    assert (found.word, found.said) == ("look", "Only 4 wells; position is not judged by them.")
    alike = judged(made(effect=0.0))["Negative controls"]
    assert alike.word == "look" and "scatter as widely as the treatments" in alike.said
    alone = judged(made(["negcon"] * 24))["Negative controls"]
    assert alone.said == "24 wells; no treatment to compare them with."


@pytest.mark.parametrize(("effect", "word"), [(100.0, "pass"), (8.0, "look"), (3.0, "fail")])
def test_z_prime_is_that_of_the_scores(effect, word):
    one = made(effect=effect)
    verdict = judged(one)["Z'"]
    score = dose_response.along_controls(one.profiles)
    kinds = one.profiles["Metadata_control_type"]
    negative, positive = (score[(kinds == kind).to_numpy()] for kind in ("negcon", "poscon"))
    spread = 3 * (negative.std(ddof=1) + positive.std(ddof=1))
    expected = 1 - spread / abs(positive.mean() - negative.mean())
    assert verdict.word == word and verdict.said.startswith(f"{expected:.2f}, of ")


def test_z_prime_needs_both_controls():
    verdict = judged(made(["negcon", "a", "negcon", "b"] * 6))["Z'"]
    assert verdict.word == "not asked"
    assert verdict.said.endswith("there are 12 negative and 0 positive ones.")


def test_treatments_are_counted_as_the_questions_find_them():
    one = made()
    found = judged(one)
    frame = one.profiles.assign(treatment=one.profiles["Metadata_compound"].fillna("negcon"))
    for name, question in (("activity", "Active"), ("distinctiveness", "Distinct")):
        table = getattr(questions, name)(frame, "treatment", seed=0).dropna(
            subset="mean_average_precision"
        )
        count = int((table["corrected_p_value"] < 0.05).sum())
        assert found[f"{question} treatments"].said.startswith(
            f"{count} of {len(table)} treatments"
        )
    assert judged(made(effect=0.0))["Active treatments"].word == "look"


def test_treatments_that_cannot_be_asked_about():
    one = made(["negcon"] * 12 + [f"c{i}" for i in range(12)])
    found = judged(one)
    assert found["Active treatments"].word == "not asked"
    assert "every treatment has one well" in found["Active treatments"].said
    few = judged(made(["negcon"] * 2 + ["a", "a", "b", "b"], wells=WELLS[:6]))["Active treatments"]
    assert few.word == "not asked" and "a perfect ranking would reach" in few.said


def test_distances_belong_to_their_wells():
    one = made()
    lost = one.profiles.drop(index=[2, 9]).sample(frac=1, random_state=0).reset_index(drop=True)
    from dataclasses import replace

    found = asked(replace(one, profiles=lost))
    expected = dose_response.distance_from_controls(lost)
    by_well = dict(zip(lost["Metadata_Well"], expected, strict=True))
    for well, value in zip(one.wells["Metadata_Well"], found.distance, strict=True):
        assert np.isnan(value) if well not in by_well else value == by_well[well]
    assert np.isnan(asked(made(["a", "b"] * 12)).distance).all()


def bare_plate():
    """A plate whose wells A04 and B05 are empty, and sharp and dark as noise is; C03 is sparse."""
    one = made(Metadata_status=status(3, 10, kind="empty"))
    rows = {"Metadata_foreground": 0.0, "Metadata_objects": 0.0, "Metadata_focus_DNA": 20.0,
            "Metadata_mean_DNA": 0.01}  # fmt: skip
    for frame in (one.sites, one.wells):
        for name, value in rows.items():
            frame.loc[[3, 10], name] = value
        frame.loc[14, ["Metadata_foreground", "Metadata_focus_DNA"]] = 0.01, 15.0
    return one


def test_what_is_empty_is_called_nothing_else():
    one = bare_plate()
    raised = plate_quality.flags(one.sites, plate_quality.Limits())
    assert {"empty", "sparse", "few objects", "focus"} <= set(raised["flag"])
    found = asked(one)
    looked = plate_quality.wells_to_look_at(found.flagged, one.sites).set_index("well")["reasons"]
    assert looked[["A04", "B05"]].tolist() == ["empty", "empty"]
    assert looked["C03"].startswith("sparse (0.01, limit ") and "focus" not in looked["C03"]
    answers = judged(one)
    assert answers["Focus"].word == answers["Brightness"].word == "pass"
    assert answers["Focus"].rule.endswith("; sites without cells are not asked")


def test_what_is_too_bright_is_flagged_without_cells_too():
    one = bare_plate()
    one.sites.loc[3, ["Metadata_mean_DNA", "Metadata_saturated_DNA"]] = 100.0, 0.5
    flagged = asked(one).flagged
    assert sorted(flagged.loc[flagged["row"] == 3, "flag"]) == ["empty", "intensity", "saturated"]


def test_focus_is_not_asked_where_no_site_shows_cells():
    found = judged(made(Metadata_status="empty"))
    assert (found["Focus"].word, found["Focus"].said) == ("not asked", "No site shows cells.")
    assert found["Cells there"].word == "look"


@pytest.mark.parametrize(("second", "bare"), [("empty", True), ("ok", False), ("failed", True)])
def test_a_well_is_bare_where_each_site_that_was_read_is(second, bare):
    from dataclasses import replace

    one = bare_plate()
    more = one.sites.iloc[[3]].assign(Metadata_status=second, Metadata_path="other.tif")
    if second == "ok":
        more["Metadata_foreground"] = 0.4
    one = replace(one, sites=pd.concat([one.sites, more], ignore_index=True))
    told = verdicts.bare_wells(one, asked(one))
    assert np.flatnonzero(told).tolist() == ([3, 10, 14] if bare else [10, 14])


def test_rows_that_are_sites_are_bare_by_their_own():
    from dataclasses import replace

    one = replace(bare_plate(), file=Path("d_standardize_site_features.parquet"))
    assert np.flatnonzero(verdicts.bare_wells(one, asked(one))).tolist() == [3, 10, 14]


def test_what_could_reach_the_level_is_reachable():
    few = asked(made(["negcon"] * 2 + ["a", "a", "b", "b"], wells=WELLS[:6])).answers["activity"]
    least = verdicts.retrieval_summary(few.table, 0.05)["least_corrected_p_value"]
    assert not verdicts.reachable(few, least) and verdicts.reachable(few, least + 1e-9)
    alone = asked(made(["negcon"] * 12 + [f"c{i}" for i in range(12)])).answers["activity"]
    assert not verdicts.reachable(alone, 0.99)
