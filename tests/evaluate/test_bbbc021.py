"""BBBC021's questions on tables with known answers; the figures that show them."""

import numpy as np
import pandas as pd
import pytest

from unidino import evaluate, tables
from unidino.evaluate import bbbc021, protocol
from unidino.pages import plots


def wells(seed=0, noise=0.3, features=8):
    """Six mechanisms of three compounds and two doses; each dose twice, on two plates."""
    rng = np.random.default_rng(seed)
    rows, values = [], []
    centres = rng.normal(size=(6, features))
    for mechanism in range(6):
        for c in range(3):
            week = 1 if mechanism == 5 else 1 + (mechanism + c) % 3
            for dose in (1.0, 10.0):
                for plate in (1, 2):
                    rows.append((f"m{mechanism}", f"c{mechanism}{c}", dose, week, plate))
                    values.append(centres[mechanism] + noise * rng.normal(size=features))
    for week in (1, 2, 3):
        for plate in (1, 2):
            for kind in ["DMSO"] * 4 + ["taxol"]:
                rows.append(("DMSO" if kind == "DMSO" else "m0", kind, 0.0, week, plate))
                values.append(rng.normal(size=features))
    names = [f"Metadata_{n}" for n in ("moa", "compound", "concentration", "Batch", "Plate")]
    frame = pd.DataFrame(rows, columns=names)
    frame["Metadata_Plate"] = [
        f"Week{b}_{p}"
        for b, p in zip(frame["Metadata_Batch"], frame["Metadata_Plate"], strict=True)
    ]
    position = frame.groupby("Metadata_Plate").cumcount()
    frame["Metadata_Well"] = [f"{'ABCDEFGH'[i // 12]}{i % 12 + 1:02d}" for i in position]
    control = {"DMSO": "negcon", "taxol": "poscon"}
    frame["Metadata_control_type"] = frame["Metadata_compound"].map(control)
    return pd.concat([frame, pd.DataFrame(values).add_prefix("emb")], axis=1)


def test_controls_and_unlabelled_wells_do_not_count():
    frame = wells()
    frame.loc[0, "Metadata_moa"] = None
    frame.loc[1, "emb3"] = np.nan
    made = bbbc021.treated(frame)
    assert len(made) == 6 * 3 * 2 * 2 - 2
    assert not made["Metadata_compound"].isin(["DMSO", "taxol"]).any()


def test_taxol_is_a_treatment_in_three_wells_of_week_1():
    frame = wells()
    taxol = frame.index[frame["Metadata_compound"] == "taxol"]
    assert len(taxol) == 6
    frame.loc[taxol, "Metadata_Well"] = "D04"
    kept = bbbc021.treated(frame)
    kept = kept[kept["Metadata_compound"] == "taxol"]
    assert set(kept["Metadata_Plate"]) == {"Week1_1", "Week1_2"}
    frame.loc[taxol, "Metadata_Well"] = "D06"
    assert "taxol" not in set(bbbc021.treated(frame)["Metadata_compound"])


def test_names_with_and_without_prefix_are_one():
    frame = wells()
    bare = frame.rename(columns=lambda name: name.removeprefix("Metadata_").lower())
    scored = bbbc021.PROTOCOL.scores({"a": frame}, draws=50)
    pd.testing.assert_frame_equal(scored, bbbc021.PROTOCOL.scores({"a": bare}, draws=50))


def test_nothing_left():
    with pytest.raises(ValueError, match="no well is left"):
        bbbc021.treated(wells().assign(Metadata_moa=None))
    with pytest.raises(ValueError, match="no column 'moa'"):
        bbbc021.treated(wells().drop(columns="Metadata_moa"))


def test_census_counts():
    made = bbbc021.census(wells())
    assert made.loc["treated"].tolist() == [72, 36, 18, 6, 3]
    # The last mechanism was seen in week 1 only.
    assert made.loc["treated, mechanism in several batches"].tolist() == [60, 30, 15, 5, 3]


def test_clear_mechanisms_are_found_under_every_rule():
    scored = bbbc021.PROTOCOL.scores({"clear": wells(noise=0.01)}, draws=100).set_index(
        ["level", "accuracy"]
    )
    about_moa = scored.drop(("well", "NSPW"))
    assert (about_moa["value"] == 1).all()
    assert scored["n"].tolist() == [36, 30, 72, 60, 60, 72]
    assert (scored["without_neighbour"] == 0).all()


def test_scores_are_those_of_the_metric():
    frame = wells(noise=1.5)
    scored = bbbc021.PROTOCOL.scores({"noisy": frame}, "correlation", draws=200)
    treated = bbbc021.treated(frame)
    nsc = evaluate.nearest_neighbour_accuracy(treated, "moa", ["compound"], "correlation")
    row = scored[(scored["level"] == "well") & (scored["accuracy"] == "NSC")].iloc[0]
    assert (row["value"], row["correct"], row["n"]) == (float(nsc), nsc.correct, nsc.n)
    interval = evaluate.bootstrap_interval(nsc, treated, "compound", draws=200)
    assert (row["low"], row["high"]) == interval
    wide = evaluate.bootstrap_interval(nsc, treated, "moa", draws=200)
    assert (row["class_low"], row["class_high"]) == wide != interval


def test_accuracy_of_each_mechanism():
    rule = next(rule for rule in bbbc021.RULES if (rule.name, rule.level) == ("NSC", "well"))
    frame = wells(noise=1)
    made = bbbc021.PROTOCOL.by_class(frame, rule, least=3, draws=100)
    treated = bbbc021.treated(frame)
    pairs = evaluate.nearest_neighbour_accuracy(treated, "moa", ["compound"]).neighbours
    for name, row in made.iterrows():
        own = pairs[(treated["Metadata_moa"] == name).to_numpy()[pairs["profile"]]]
        assert (row["groups"], row["n"], row["correct"]) == (3, len(own), own["correct"].sum())
        assert row["value"] == own["correct"].mean()
        assert row["low"] <= row["value"] <= row["high"]
        # Three compounds of four wells: the worst and the best resample are one compound's.
        compounds = treated["Metadata_compound"].to_numpy()[own["profile"]]
        shares = own.groupby(compounds)["correct"].mean()
        assert shares.min() <= row["low"] and row["high"] <= shares.max()
    assert made.index.tolist() == [f"m{i}" for i in range(6)]
    few = bbbc021.PROTOCOL.by_class(frame, rule, least=4, draws=100)
    assert few[["low", "high"]].isna().all(axis=None) and few["value"].equals(made["value"])


def test_chance_is_low_and_spans_its_draws():
    made = bbbc021.PROTOCOL.chance(wells(), 50, seeds=10)
    assert (made["value"] < 0.35).all()
    assert (made["low"] <= made["value"]).all() and (made["value"] <= made["high"]).all()
    pd.testing.assert_frame_equal(made, bbbc021.PROTOCOL.chance(wells(), 50, seeds=10))


def test_differences_of_the_same_wells():
    good, bad = wells(noise=0.2), wells(noise=3)
    made = bbbc021.PROTOCOL.differences({"good": good, "bad": bad, "same": good}, "good", draws=200)
    assert len(made) == 2 * len(bbbc021.RULES)
    same = made[made["compared with"] == "same"]
    assert (same[["difference", "low", "high"]] == 0).all(axis=None)
    nsc = made[(made["compared with"] == "bad") & (made["accuracy"] == "NSC")]
    assert (nsc["low"] > 0).all()
    with pytest.raises(ValueError, match="bad and good describe different wells"):
        bbbc021.PROTOCOL.differences({"good": good, "bad": bad.iloc[1:]}, "good")


def test_ways_to_merge_and_compare():
    made = bbbc021.of_treatments(bbbc021.treated(wells(noise=1)))
    assert len(made) == 8
    row = made[(made["accuracy"] == "NSCB") & (made["metric"] == "cosine")].iloc[1]
    assert row["replicates merged by"] == "median"
    rule = bbbc021.RULES[1]
    profiles = bbbc021.PROTOCOL.at_level(bbbc021.treated(wells(noise=1)), rule, "median")
    expected = evaluate.nearest_neighbour_accuracy(profiles, "moa", ["compound", "batch"])
    assert (row["correct"], row["n"]) == (expected.correct, expected.n)


def test_accuracy_by_planted_strength():
    frame = wells(noise=0.01)
    truth = pd.DataFrame(
        {
            "plate": frame["Metadata_Plate"],
            "well": frame["Metadata_Well"],
            "strength": np.where(frame["Metadata_concentration"] == 1, 0.2, 0.9),
        }
    )
    # What was planted weakly is not there at all.
    weak = (truth["strength"] == 0.2) & frame["Metadata_control_type"].isna()
    names = tables.feature_columns(frame)
    frame.loc[weak, names] = np.random.default_rng(1).normal(size=(weak.sum(), len(names)))
    made = bbbc021.by_strength({"a": frame}, truth, parts=2)
    assert made["n"].sum() == 72
    truth["strength"] += np.linspace(0, 0.01, len(truth))
    made = bbbc021.by_strength({"a": frame}, truth, parts=2)
    assert made["n"].tolist() == [36, 36]
    assert made["a"].iloc[0] < 0.6 < made["a"].iloc[1]
    assert made.index[0].startswith("0.20 to 0.2") and made.index[1].startswith("0.90 to 0.9")


def test_side_by_side_keeps_the_order():
    frame = wells()
    scored = pd.concat(
        [
            bbbc021.PROTOCOL.scores({"b": frame, "a": frame}, draws=50),
            bbbc021.PROTOCOL.chance(frame, 5),
        ]
    )
    made = protocol.side_by_side(scored)
    assert made.index.tolist() == ["b", "a", "Gaussian"]
    assert [name for name, _ in made.columns] == [rule.name for rule in bbbc021.RULES]
    assert made.columns[1][1] == "treatment, n = 30"
    assert made.iloc[0, 0] == made.iloc[1, 0]
    assert made.iloc[0, 0].startswith(f"{scored['value'].iloc[0]:.2f} (")
    counts = protocol.counted(scored)
    assert counts.index.tolist() == ["b", "a", "Gaussian"]
    assert counts.columns.tolist() == [f"{rule.name}, {rule.level}" for rule in bbbc021.RULES]
    first = scored.iloc[0]
    assert counts.iloc[0, 0] == f"{first['correct']:.0f} of 36, macro {first['macro']:.2f}"
    nothing = scored.assign(value=np.nan)
    assert (protocol.counted(nothing) == "–").all(axis=None)


def test_figure_of_correlations():
    labels = ["b", "a", "b", "a"]
    correlation = np.array(
        [[1, 0.1, 0.9, 0], [0.1, 1, 0, 0.8], [0.9, 0, 1, 0.2], [0, 0.8, 0.2, 1.0]]
    )
    figure = plots.clustered_correlation(correlation, labels, "heading")
    left, right = figure.axes[:2]
    shown = left.images[0].get_array()
    # Like stands beside like.
    assert shown[0, 1] in (0.8, 0.9) and shown[2, 3] in (0.8, 0.9)
    dots = {
        round(x): sorted(np.round(d.get_offsets()[:, 1]).astype(int).tolist())
        for d in right.collections
        for x in d.get_offsets()[:1, 0]
    }
    assert sorted(dots.values()) == [[0, 1], [2, 3]]
    assert [tick.get_text() for tick in right.get_xticklabels()] == ["a", "b"]
    plots.plt.close(figure)


def test_eight_labels_look_different_and_are_sorted():
    labels = ["m11"] * 3 + [f"m{i:02d}" for i in range(12)] + ["positive control"]
    styles = plots.category_styles([*labels, *["negative control"] * 2])
    shown = [name for name, (colour, _) in styles.items() if colour != plots.OTHER]
    controls = ["negative control", "positive control"]
    assert shown == [*controls, "m00", "m01", "m02", "m03", "m04", "m11"]
    assert len({styles[name] for name in shown}) == 8
    assert list(styles)[8:] == [f"m{i:02d}" for i in range(5, 11)]


def test_both_questions_on_the_same_treatments():
    treated = bbbc021.treated(wells(noise=1.5))
    made = bbbc021.at_both(treated)
    profiles = bbbc021.PROTOCOL.at_level(treated, bbbc021.RULES[0])
    nsc = evaluate.nearest_neighbour_accuracy(profiles, "moa", ["compound"]).neighbours
    # The last mechanism was seen in week 1 only.
    own = nsc[nsc["label"] != "m5"]
    assert made["n"] == len(own) == 30
    assert made["NSC"] == own["correct"].mean()
    several = profiles[profiles["Metadata_moa"] != "m5"].reset_index(drop=True)
    expected = evaluate.nearest_neighbour_accuracy(several, "moa", ["compound", "batch"])
    assert made["NSCB"] == expected
