"""JUMP-CP's questions on tables with known answers."""

import numpy as np
import pandas as pd
import pytest

from unidino import evaluate, profiles
from unidino.evaluate import baselines, jumpcp, protocol


def wells(seed=0, noise=0.2, shift=0.0):
    """Four targets of two compounds and one of one, at three sources of two batches each."""
    rng = np.random.default_rng(seed)
    compounds = [(f"c{i}", f"t{i // 2}") for i in range(8)] + [("c8", "t4")]
    centres = {compound: rng.normal(size=6) for compound, _ in compounds}
    targets = {target: rng.normal(size=6) for _, target in compounds}
    rows, values = [], []
    for source in "abc":
        for batch in (1, 2):
            moved = shift * rng.normal(size=6)
            for compound, target in [*compounds, *[("DMSO", None)] * 6]:
                rows.append((source, f"{source}{batch}", f"{source}{batch}p", compound, target))
                own = 0 if target is None else targets[target] + 0.3 * centres[compound]
                values.append(moved + own + noise * rng.normal(size=6))
    frame = pd.DataFrame(rows, columns=["source", "batch", "plate", "perturbation_id", "target"])
    frame["well"] = [f"A{i % 15 + 1:02d}" for i in range(len(frame))]
    frame["control_type"] = np.where(frame["perturbation_id"] == "DMSO", "negcon", None)
    return pd.concat([frame, pd.DataFrame(values).add_prefix("emb")], axis=1)


def test_controls_and_targets_of_one_compound_do_not_count():
    made = jumpcp.treated(wells())
    assert set(made["perturbation_id"]) == {f"c{i}" for i in range(8)}
    assert len(made) == 8 * 6


def test_levels_and_answers_of_clear_targets():
    scored = jumpcp.PROTOCOL.scores({"a": wells(noise=0.01)}, draws=50, permutations=50)
    assert scored["n"].tolist() == [8, 48, 48, 48, 48]
    assert (scored["value"] == 1).all()


def test_scores_are_those_of_the_metric():
    frame = wells(noise=1.5, shift=1)
    made = jumpcp.PROTOCOL.scores({"a": frame}, draws=50, permutations=50)
    made = made.set_index(["accuracy", "level"])["value"]
    treated = jumpcp.treated(frame)
    expected = evaluate.nearest_neighbour_accuracy(treated, "perturbation_id", ["source"])
    assert made["NSS", "well"] == expected
    by_batch = profiles.consensus(treated, ["perturbation_id", "source", "batch"], "mean")
    expected = evaluate.nearest_neighbour_accuracy(by_batch, "target", ["perturbation_id", "batch"])
    assert made["NSCB", "compound in a batch"] == expected


def test_null_is_missing_where_the_label_is_what_is_exchanged():
    made = jumpcp.PROTOCOL.scores({"a": wells()}, draws=50, permutations=50)
    has = made.set_index(["accuracy", "level"])["null_high"].notna()
    assert has["NSC", "compound"] and not has["NSS", "well"]


def test_nothing_left():
    with pytest.raises(ValueError, match="no well is left"):
        jumpcp.treated(wells().assign(target=None))
    own = wells()
    with pytest.raises(ValueError, match="no target is shared by two compounds"):
        jumpcp.treated(own.assign(target=own["perturbation_id"]))


def test_active_compounds_by_their_own_profiles():
    frame = wells(noise=0.5)
    silent = frame["perturbation_id"].isin(["c0", "c1"])
    names = [c for c in frame if c.startswith("emb")]
    drawn = np.random.default_rng(1).normal(0, 0.5, (silent.sum(), len(names)))
    frame.loc[silent, names] = drawn
    frame["well"] = [f"{'ABCDEF'[i // 15 % 6]}{i % 15 + 1:02d}" for i in range(len(frame))]
    found = jumpcp.active_by_replicates(frame, null_size=2000)
    assert set(found) <= {f"c{i}" for i in range(9)}
    assert not {"c0", "c1"} & set(found) and len(found) >= 6


def test_active_compounds_by_the_released_rule():
    frame = wells().assign(**{f"emb{i}": 0.0 for i in range(6)})
    frame.loc[frame["perturbation_id"] == "c3", "emb0"] = -0.9
    frame.loc[(frame["perturbation_id"] == "c4") & (frame["source"] == "a"), "emb1"] = 0.9
    assert jumpcp.active_by_share(frame) == ["c3"]
    assert jumpcp.active_by_share(frame, "a") == ["c3", "c4"]
    assert jumpcp.active_by_share(frame, share=0.2) == []
    with pytest.raises(ValueError, match="no well is of the source 'd'; there are a, b, c"):
        jumpcp.active_by_share(frame, "d")
    with pytest.raises(ValueError, match="share is 2"):
        jumpcp.active_by_share(frame, share=2)


def test_census_counts():
    made = jumpcp.census(wells())
    assert made.loc["all"].tolist() == [90, 10, 5, 6, 3]
    assert made.iloc[1].tolist() == [48, 8, 4, 6, 3]


def test_a_set_without_direction_has_no_score():
    frame = wells()
    alone = baselines.one_hot(frame, "source")
    made = jumpcp.PROTOCOL.scores({"a": frame, "source": alone}, draws=50, permutations=50)
    lacking = made[made["features"] == "source"].set_index(["accuracy", "level"])
    # In the mean over all sources every compound is the same.
    assert np.isnan(lacking.loc[("NSC", "compound"), "value"])
    assert lacking.loc[("NSC", "compound"), "without_neighbour"] == 8
    assert lacking.loc[("NSS", "well"), "value"] < 0.3
    table = protocol.side_by_side(made)
    assert table.loc["source"].iloc[0] == "–"
    assert table.columns[0] == ("NSC", "compound, n = 8")
