"""Guides and Cell Health: tables that are joined, two protocols on tables with known answers."""

import gzip

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestRegressor
from sklearn.metrics import r2_score

from unidino import paths
from unidino.evaluate import baselines, cell_health, guides, ridge
from unidino.simulate import readouts as planted
from unidino.valsets import open_valset

LINES = ("A549", "ES2")


def wells(seed=0, genes=12, noise=0.3):
    """Wells of guides in two lines, two of each; a control gene of four guides; empty wells."""
    rng = np.random.default_rng(seed)
    names = [f"G{i}-{k + 1}" for i in range(genes) for k in range(2)]
    names += [f"Chr2-{k + 1}" for k in range(4)]
    centres = {g: rng.normal(size=5) for g in [f"G{i}" for i in range(genes)]}
    centres["Chr2"] = np.zeros(5)
    rows, values = [], []
    for line in LINES:
        for position, name in enumerate([*names, *names, None, None]):
            gene = name.split("-")[0] if name else None
            kind = "empty" if name is None else "negcon" if gene == "Chr2" else None
            rows.append((f"P{line}", f"A{position + 1:02d}", line, name, gene, kind, 20.0))
            values.append(centres[gene] if gene else np.full(5, 50.0))
    columns = ["Plate", "Well", "cell_line", "reagent_identifier", "gene_symbol", "control_type"]
    frame = pd.DataFrame(rows, columns=[f"Metadata_{name}" for name in [*columns, "objects"]])
    values = np.array(values) + noise * rng.normal(size=(len(frame), 5))
    return pd.concat([frame, pd.DataFrame(values).add_prefix("emb")], axis=1)


def measured(frame, seed=1, noise=0.2):
    """Readouts: two that follow the profiles, one that is random, one that lacks guides."""
    rng = np.random.default_rng(seed)
    keys = ["Metadata_cell_line", "Metadata_reagent_identifier"]
    means = frame.dropna(subset=keys).groupby(keys)[[f"emb{i}" for i in range(5)]].mean()
    made = pd.DataFrame(index=means.index)
    made["cc_sum"] = means.sum(axis=1) + noise * rng.normal(size=len(means))
    made["cc_first"] = 100 * means["emb0"] + 7
    made["vb_random"] = rng.normal(size=len(means))
    made["vb_lacking"] = made["cc_sum"].where(np.arange(len(made)) % 4 > 0)
    return made.rename_axis(["cell_line", "reagent_identifier"]).reset_index()


@pytest.fixture(scope="module")
def known():
    frame = wells()
    return guides.joined(frame, measured(frame))


def written(table, path, **options):
    table = table.rename(columns={"cell_line": "Metadata_cell_line"})
    table = table.rename(columns={"reagent_identifier": "Metadata_pert_name"})
    table.insert(0, "Metadata_profile_id", [f"profile_{i}" for i in range(len(table))])
    table.to_csv(path, sep="\t", index=False, **options)
    return path


# The table of readouts.


def test_readouts_are_read_compressed_or_not(tmp_path):
    table = measured(wells())
    plain = written(table, tmp_path / "a.tsv")
    packed = tmp_path / "b.tsv.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    for path in (plain, packed):
        read = guides.read_readouts(path)
        # The type of text is that of the reader of tables.
        pd.testing.assert_frame_equal(read.astype(table.dtypes), table)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t[["cell_line", "reagent_identifier"]], "has no readout: no column begins with"),
        (lambda t: t.assign(vb_random="much"), "the readout vb_random is no number"),
        (lambda t: pd.concat([t, t.iloc[[3]]]), "Chr2-4 stands twice in A549"),
        (lambda t: t.drop(columns="cell_line"), "no column 'cell_line'"),
    ],
)
def test_readouts_that_are_none(change, message, tmp_path):
    path = written(change(measured(wells())), tmp_path / "a.tsv")
    with pytest.raises(ValueError, match=message):
        guides.read_readouts(path)


def test_readouts_are_looked_for_in_the_folder_of_the_dataset(tmp_path):
    table, folder = measured(wells()), paths.dataset_folder("cell-health", tmp_path)
    folder.mkdir()
    found, said = guides.find_readouts("cell-health", tmp_path)
    assert found is None
    assert said == (
        "There is no cell_health_median.tsv in the folder Cell_Health. Give one: "
        "-p readouts cell_health_median.tsv.gz."
    )
    found, said = guides.find_readouts("plate.csv", tmp_path)
    assert found is None and said.startswith("No readout table is known of plate.csv. Give one")
    for name in reversed(guides.FILES):
        written(table.head(9), folder / name)
        found, said = guides.find_readouts("cell-health", tmp_path)
        assert len(found) == 9 and said == ""
    other = written(table.head(5), tmp_path / "other.tsv")
    assert len(guides.find_readouts("cell-health", tmp_path, other)[0]) == 5


# Guides.


def test_guides_are_medians_of_their_wells_beside_their_readouts():
    frame = wells()
    table = measured(frame)
    table = table[table["reagent_identifier"] != "G3-1"]
    profiles, readouts = guides.joined(frame, table)
    assert len(profiles) == len(readouts) == 2 * (12 * 2 + 4 - 1)
    assert profiles["Metadata_reagent_identifier"].notna().all()
    for i in (0, 17, 40):
        line, guide = profiles.loc[i, ["Metadata_cell_line", "Metadata_reagent_identifier"]]
        own = frame[(frame["Metadata_cell_line"] == line)
                    & (frame["Metadata_reagent_identifier"] == guide)]  # fmt: skip
        assert len(own) == 2 and profiles.loc[i, "emb2"] == pytest.approx(own["emb2"].median())
        row = table[(table["cell_line"] == line) & (table["reagent_identifier"] == guide)]
        assert readouts.loc[i, "cc_sum"] == row["cc_sum"].item()


def test_guides_without_readouts():
    frame = wells()
    table = measured(frame).assign(cell_line="HeLa")
    with pytest.raises(ValueError, match="has, for example, HeLa Chr2-1, .*have A549 G0-1, A549"):
        guides.joined(frame, table)
    with pytest.raises(ValueError, match="no column 'reagent_identifier'"):
        guides.joined(frame.drop(columns="Metadata_reagent_identifier"), table)


def test_unreadable_wells_are_passed_over():
    frame = wells()
    table = measured(frame)
    frame.loc[0, [f"emb{i}" for i in range(5)]] = np.nan
    profiles, _ = guides.joined(frame, table)
    again = frame.loc[frame["Metadata_reagent_identifier"].eq("G0-1"), "emb1"].iloc[1]
    assert profiles["Metadata_replicates"].value_counts()[1] == 1
    assert profiles.set_index("Metadata_reagent_identifier")["emb1"].loc["G0-1"].iloc[0] == again


def test_groups_are_genes_or_guides(known):
    profiles, _ = known
    assert set(guides.groups_of(profiles)) == {*[f"G{i}" for i in range(12)], "Chr2"}
    without = profiles.drop(columns="Metadata_gene_symbol")
    assert len(set(guides.groups_of(without))) == 28
    lacking = profiles.assign(
        Metadata_gene_symbol=profiles["Metadata_gene_symbol"].replace("G0", None)
    )
    assert {"G0-1", "G0-2", "G1"} < set(guides.groups_of(lacking))


def test_counts_of_the_lines(known):
    made = guides.counted(*known)
    assert made.index.tolist() == list(LINES)
    assert made.loc["ES2"].tolist() == [28, 13, 2, 4, pytest.approx(7 / (28 * 4), abs=1e-4)]
    profiles, readouts = guides.first_lines(*known, 1)
    assert set(profiles["Metadata_cell_line"]) == {"A549"} and len(profiles) == len(readouts) == 28


# Folds.


def test_folds_keep_genes_together_or_not():
    groups = np.repeat([f"g{i}" for i in range(20)], 2)
    together = cell_health.fold_numbers(groups, True, 5, 0)
    assert np.bincount(together).tolist() == [8] * 5
    assert (together[::2] == together[1::2]).all()
    random = cell_health.fold_numbers(groups, False, 5, 0)
    assert np.bincount(random).tolist() == [8] * 5
    # A guide finds the other one of its gene in another fold in 32 of 39 cuts.
    apart = [
        (cut[::2] != cut[1::2]).mean()
        for cut in (cell_health.fold_numbers(groups, False, 5, seed) for seed in range(200))
    ]
    assert np.mean(apart) == pytest.approx(32 / 39, abs=0.02)
    assert not np.array_equal(together, cell_health.fold_numbers(groups, True, 5, 1))


def test_genes_of_the_real_annotation_are_cut_by_random_folds():
    root = paths.real_data_root()
    if root is None or not (root / "cellhealth_idr0080").is_dir():
        pytest.skip("the real annotation is absent (UNIDINO_REAL)")
    frame = pd.read_csv(root / "cellhealth_idr0080" / "idr0080-screenA-annotation.csv", dtype=str)
    names = {"Reagent Identifier": "reagent_identifier", "Gene Symbol": "gene_symbol"}
    known = frame.rename(columns=names)[list(names.values())].dropna().drop_duplicates()
    # Way et al. 2021: 119 guides, with the wells without reagent as one.
    assert len(known) == 118 and known["gene_symbol"].nunique() == 58
    groups = guides.groups_of(known.reset_index(drop=True))
    together = cell_health.fold_numbers(groups, True)
    assert pd.Series(together).groupby(groups).nunique().max() == 1
    random = pd.Series(cell_health.fold_numbers(groups, False))
    shared = pd.Series(groups).map(pd.Series(groups).value_counts()) > 1
    assert (random.groupby(groups).transform("nunique") > 1)[shared].mean() > 0.7


# Predictions.


def test_forest_is_the_released_one():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 4)), rng.normal(size=(30, 2))
    fold = np.arange(30) % 3
    made = cell_health.forest(x, y, fold, None, trees=7, seed=2)
    for number in range(3):
        for column in range(2):
            model = RandomForestRegressor(7, min_samples_leaf=0.01, random_state=2)
            model.fit(x[fold != number], y[fold != number, column])
            np.testing.assert_array_equal(
                made[fold == number, column], model.predict(x[fold == number])
            )


@pytest.mark.parametrize("together", [True, False])
def test_predictions_line_by_line_where_readouts_are(known, together):
    profiles, readouts = known
    made = cell_health.predict(profiles, readouts, together, seed=3)
    assert list(made) == list(LINES)
    for line, one in made.items():
        rows = (profiles["Metadata_cell_line"] == line).to_numpy()
        features = profiles.loc[rows, [f"emb{i}" for i in range(5)]].to_numpy()
        groups = profiles.loc[rows, "Metadata_gene_symbol"].to_numpy()
        for name in readouts:
            value = readouts.loc[rows, name].to_numpy()
            has = ~np.isnan(value)
            np.testing.assert_array_equal(one.predicted[name].notna(), has)
            fold = cell_health.fold_numbers(groups[has], together, 5, 3)
            np.testing.assert_array_equal(one.fold[name][has], fold)
            kept = groups[has] if together else np.arange(has.sum())
            expected = ridge.out_of_fold(features[has], value[has, None], fold, kept)[:, 0]
            np.testing.assert_allclose(one.predicted[name][has], expected, rtol=1e-6)
            r_squared = r2_score(value[has], expected)
            assert one.r_squared()[name] == pytest.approx(r_squared, rel=1e-6)
            means = [r2_score(value[has][fold == k], expected[fold == k]) for k in range(5)]
            assert one.mean_of_folds()[name] == pytest.approx(np.mean(means), rel=1e-6)
        assert one.r_squared()["cc_sum"] > 0.5 > one.r_squared()["vb_random"]


def test_readouts_that_cannot_be_predicted(known):
    profiles, readouts = known
    few = readouts.assign(
        vb_random=readouts["vb_random"].where(np.arange(len(readouts)) % 28 < 18), cc_first=3.0
    )
    made = cell_health.predict(profiles, few)["A549"]
    assert made.r_squared().isna().to_dict() == {
        "cc_sum": False, "cc_first": True, "vb_random": True, "vb_lacking": False,
    }  # fmt: skip
    assert made.mean_of_folds().isna().sum() == 2
    none = few[["cc_first", "vb_random"]]
    assert cell_health.predict(profiles, none) == {}
    assert cell_health.exchanged(profiles, none, permutations=2) == {}


def test_resampled_genes_count_as_often_as_drawn(known):
    made = cell_health.predict(*known)["A549"]
    weights = cell_health.gene_weights(made.genes, 20, 0)
    drawn = made.resampled(weights)
    sorted_genes = np.unique(made.genes)
    for number in (0, 7, 19):
        times = pd.Series(made.genes).map(dict(zip(sorted_genes, weights[number], strict=True)))
        rows = np.repeat(np.arange(len(times)), times)
        for column, name in enumerate(made.observed):
            part = pd.DataFrame({"y": made.observed[name], "p": made.predicted[name]}).dropna()
            mean = part["y"].mean()
            part = part.loc[[row for row in rows if row in part.index]]
            left = ((part["y"] - part["p"]) ** 2).sum() / ((part["y"] - mean) ** 2).sum()
            assert drawn[number, column] == pytest.approx(1 - left)
    assert weights.sum(1).tolist() == [13] * 20


def test_resamples_without_variance_have_no_score():
    values = pd.DataFrame({"cc_a": [1.0, 3.0, 2.0, 2.0]})
    genes = np.array(["a", "a", "b", "b"])
    made = cell_health.Prediction(values, values + 0.1, values * 0, genes)
    drawn = made.resampled(np.array([[1, 1], [2, 0], [0, 2]]))
    assert drawn[:2, 0].tolist() == pytest.approx([1 - 0.04 / 2, 1 - 0.04 / 4])
    assert np.isnan(drawn[2, 0])


def test_one_guide_in_a_fold_has_no_variance():
    values = pd.DataFrame({"cc_a": [1.0, 3.0, 2.0]})
    fold = pd.DataFrame({"cc_a": [0, 0, 1]})
    made = cell_health.Prediction(values, values, fold, np.array(list("abc")))
    assert np.isnan(made.mean_of_folds()["cc_a"])


def test_exchanged_genes_keep_their_guides():
    rng = np.random.default_rng(0)
    groups = np.array(["a", "b", "a", "c", "b", "d", "c", "e", "e", "e"])
    seen = set()
    for _ in range(300):
        order = cell_health.exchange(groups, rng)
        assert sorted(order) == list(range(10))
        came = pd.Series(groups[order]).groupby(groups).agg(set)
        assert came.map(len).tolist() == [1] * 5
        assert came["e"] == {"e"} and came["d"] == {"d"}
        seen.add(tuple(order))
    assert len({order[:3] for order in seen}) > 20
    assert len({order[7:] for order in seen}) == 6


def test_exchanged_readouts_score_below_0(known):
    profiles, readouts = known
    drawn = cell_health.exchanged(profiles, readouts, permutations=40, seed=1)
    assert drawn["A549"].shape == (40, 4)
    assert drawn["A549"].mean() < 0
    made = cell_health.predict(profiles, readouts)["A549"].r_squared()
    assert (made[["cc_sum", "cc_first"]] > drawn["A549"][:, :2].max(0)).all()
    again = cell_health.exchanged(profiles, readouts, permutations=40, seed=1)
    np.testing.assert_array_equal(drawn["ES2"], again["ES2"])


def test_exchanged_readouts_are_predicted_like_others(known):
    """One exchange, against the prediction of a table in that order."""
    profiles, readouts = guides.first_lines(*known, 1)
    one = readouts[["cc_sum"]]
    drawn = cell_health.exchanged(profiles, one, permutations=1, seed=5)["A549"]
    order = cell_health.exchange(guides.groups_of(profiles), np.random.default_rng(5))
    moved = one.iloc[order].reset_index(drop=True)
    made = cell_health.predict(profiles, moved, seed=5)["A549"].r_squared()
    np.testing.assert_allclose(drawn[0], made)


# Scores.


def test_area_is_that_under_the_curve():
    r_squared = np.array([-0.4, 0.0, 0.2, 0.55, 0.9, np.nan])
    fine = np.linspace(0, 1, 200001)
    made = cell_health.curve(r_squared, fine)
    assert cell_health.curve(r_squared, [0.0, 0.3]).tolist() == [0.6, 0.4]
    assert cell_health.area(r_squared) == pytest.approx(np.trapezoid(made, fine), abs=1e-4)
    np.testing.assert_allclose(cell_health.area([[0.5, -1], [1.0, 1.0]]), [0.25, 1])


@pytest.fixture(scope="module")
def predictions(known):
    profiles, readouts = known
    sets = {"good": profiles, "random": baselines.gaussian(profiles, 5, 0)}
    return {
        together: {n: cell_health.predict(p, readouts, together) for n, p in sets.items()}
        for together in (False, True)
    }


def test_scores_and_their_intervals(known, predictions):
    nulls = {"good": cell_health.exchanged(*known, permutations=30)}
    made = cell_health.scores(predictions[True], nulls, draws=200)
    assert made.groupby("features").size().tolist() == [4, 4]
    own = predictions[True]["good"]["ES2"]
    row = made.set_index(["features", "level", "accuracy"]).loc[("good", "ES2", "area")]
    assert row["value"] == pytest.approx(np.mean(own.r_squared().clip(0, 1)))
    drawn = own.resampled(cell_health.gene_weights(own.genes, 200, 0)).clip(0, 1).mean(1)
    np.testing.assert_allclose([row["low"], row["high"]], np.quantile(drawn, [0.025, 0.975]))
    chance = nulls["good"]["ES2"].clip(0, 1).mean(1)
    assert row["null_high"] == pytest.approx(np.quantile(chance, 0.975))
    assert row["value"] > row["null_high"] and row["n"] == 4
    median = made.set_index(["features", "level", "accuracy"]).loc[("random", "A549", "median R²")]
    assert median["value"] == predictions[True]["random"]["A549"].r_squared().median()
    assert np.isnan(median["null_low"])
    assert cell_health.scores({}).empty


def test_differences_on_the_same_genes(predictions):
    made = cell_health.differences(predictions[True], "good", draws=100)
    assert made["level"].tolist() == list(LINES)
    one, other = (predictions[True][name]["A549"] for name in ("good", "random"))
    expected = cell_health.area(one.r_squared()) - cell_health.area(other.r_squared())
    assert made["difference"][0] == pytest.approx(expected)
    weights = cell_health.gene_weights(one.genes, 100, 0)
    drawn = cell_health.area(one.resampled(weights)) - cell_health.area(other.resampled(weights))
    assert made["low"][0] == pytest.approx(np.quantile(drawn, 0.025))
    assert (made["low"] > 0).all()


def test_leakage_is_what_random_folds_add(predictions):
    made = cell_health.leakage(predictions[False], predictions[True], draws=50)
    row = made[(made["features"] == "good") & (made["hue"] == "ES2")].iloc[0]
    areas = [cell_health.area(predictions[t]["good"]["ES2"].r_squared()) for t in (False, True)]
    assert row["value"] == pytest.approx(areas[0] - areas[1])
    assert row["low"] <= row["value"] <= row["high"]
    assert cell_health.leakage({}, {}).empty


def test_chance_is_the_mean_of_the_draws(known):
    profiles, readouts = known
    random = [baselines.gaussian(profiles, 4, seed) for seed in range(3)]
    made = cell_health.chance(random, readouts)
    areas = [
        cell_health.area(cell_health.predict(one, readouts)["ES2"].r_squared()) for one in random
    ]
    row = made[(made["level"] == "ES2") & (made["accuracy"] == "area")].iloc[0]
    assert row["value"] == pytest.approx(np.mean(areas)) and row["features"] == "Gaussian"
    assert row["n"] == 4 and np.isnan(row["null"])


def test_the_gene_alone_scores_where_its_guides_are_parted(known):
    profiles, readouts = known
    alone = guides.gene_alone(profiles)
    shared = readouts.assign(
        cc_gene=profiles.groupby("Metadata_gene_symbol")["emb0"].transform("mean")
    )
    parted, kept = (
        cell_health.predict(alone, shared[["cc_gene"]], together)["A549"].r_squared()["cc_gene"]
        for together in (False, True)
    )
    assert parted > 0.3 and kept < 0


def test_protocols_side_by_side(known):
    profiles, readouts = known

    def forest(*arguments):
        return cell_health.forest(*arguments, trees=5)

    asked = {"good": guides.first_lines(profiles, readouts[["cc_sum", "vb_random"]], 1)}
    made = cell_health.protocols(asked, forest, draws=60).set_index(["features", "hue"])
    assert (
        len(made) == 2 * 3 and set(made["accuracy"]) == {"A549"} and set(made["level"]) == {"good"}
    )
    random = cell_health.predict(*asked["good"], False, forest)["A549"]
    together = cell_health.predict(*asked["good"], True, forest)["A549"]
    assert made.loc[("cc_sum", cell_health.RELEASED), "value"] == random.mean_of_folds()["cc_sum"]
    assert made.loc[("cc_sum", cell_health.RANDOM), "value"] == random.r_squared()["cc_sum"]
    row = made.loc[("vb_random", cell_health.TOGETHER)]
    assert row["value"] == together.r_squared()["vb_random"] and row["n"] == 28
    assert row["low"] < row["value"] < row["high"]
    assert np.isnan(made.loc[("cc_sum", cell_health.RELEASED), "low"])
    assert cell_health.protocols({}).empty


def test_curves_and_tables_of_readouts(predictions):
    both = {"random folds": predictions[False], "genes kept together": predictions[True]}
    made = cell_health.curves(both)
    assert made["panel"].unique().tolist() == [f"{line}, {name}" for name in both for line in LINES]
    part = made[(made["panel"] == "ES2, genes kept together") & (made["name"] == "good")]
    own = predictions[True]["good"]["ES2"].r_squared()
    assert part["y"].iloc[30] == (own > part["x"].iloc[30]).mean()
    table = cell_health.by_readout(predictions[True]).set_index(["line", "readout"])
    assert table.loc[("ES2", "cc_sum"), "good"] == own["cc_sum"]
    assert cell_health.curves({"random folds": {}}).empty and cell_health.by_readout({}).empty


def test_worth_of_leakage_grows_with_what_guides_share():
    made = cell_health.worth_of_leakage(planted.guide_profiles, [0.0, 1.0], range(2))
    wide = made.pivot(index=["panel", "x"], columns="name", values="y")
    more = wide[cell_health.RANDOM] - wide[cell_health.TOGETHER]
    for panel in made["panel"].unique():
        assert abs(more.loc[(panel, 0.0)]) < 0.1 < more.loc[(panel, 1.0)]
    table = planted.guide_profiles(1, 1.0).assign(cell_line="simulated")
    own = table.filter(regex="^cc_seen")
    profiles = table.drop(columns=table.filter(regex="^cc_").columns)
    expected = cell_health.predict(profiles, own, seed=1)["simulated"].r_squared().mean()
    row = made[(made["x"] == 1) & (made["name"] == cell_health.TOGETHER)].iloc[0]
    assert expected == pytest.approx(row["low"]) or expected == pytest.approx(row["high"])


# What cannot be asked.


def said(profiles, readouts, lacking=""):
    made = guides.questions(profiles, readouts, lacking)
    assert ((made["asked"] == "yes") == (made["said"] == "")).all()
    return made["said"].tolist()


def test_what_can_be_asked():
    frame = wells()
    table = measured(frame)
    assert said(frame, table) == ["", "", ""]
    assert said(frame, None, "There is none.") == ["There is none."] * 3
    without = frame.drop(columns="Metadata_gene_symbol")
    told = "No column gene_symbol: guides are taken to be of genes of their own."
    assert said(without, table) == ["", told, ""]
    single = frame[~frame["Metadata_reagent_identifier"].str.endswith(("-2", "-3", "-4"), na=False)]
    assert said(single.reset_index(drop=True), table) == [
        "", "One guide a gene: every fold keeps genes together.", "",
    ]  # fmt: skip
    few = wells(genes=5)
    told = "Each line has fewer than 10 genes, which 5 folds need."
    assert said(few, measured(few)) == [told] * 3
    bare = frame.drop(columns=["Metadata_cell_line", "Metadata_objects"])
    told = "The profiles have no column cell_line."
    assert said(bare, table) == [told] * 3
    assert said(frame.drop(columns="Metadata_objects"), table)[2] == (
        "The profiles come without cell counts."
    )
    assert said(frame, table.assign(cell_line="x"))[0].startswith("no guide of the profiles has")


def test_simulated_readouts_join_with_simulated_wells(tmp_path):
    from unidino import simulate

    simulate.simulate("cell-health", tmp_path, wells=30, field=48, batches=1, workers=1)
    frame = open_valset("cell-health", root=tmp_path).metadata
    profiles = frame[["plate", "well", "cell_line", "reagent_identifier", "gene_symbol",
                      "control_type"]].assign(emb_0=1.0)  # fmt: skip
    table, _ = guides.find_readouts("cell-health", tmp_path)
    known, readouts = guides.joined(profiles, table)
    assert len(known) == 28 and tuple(readouts) == planted.READOUTS


# Tables of guides.


def of_guides(path, change=lambda t: t):
    frame = pd.DataFrame(
        {
            "Metadata_profile_id": ["profile_0", "profile_1", "profile_2"],
            "Metadata_pert_name": ["KRAS-2A", "AKT1-2", "EMPTY"],
            "Metadata_cell_line": ["A549", "ES2", "ES2"],
            "Cells_AreaShape_Area": [0.5, -1.0, 2.0],
        }
    )
    change(frame).to_csv(path, sep="\t", index=False)
    return str(path)


def test_tables_of_guides_stand_beside_profiles_of_wells(tmp_path):
    frame = wells()
    frame.to_csv(tmp_path / "wells.csv", index=False)
    table = of_guides(tmp_path / "cell_painting_median.tsv.gz")
    read = guides.read([f"mine={table}", str(tmp_path / "wells.csv"), table], "x.csv")
    assert [one.name for one in read] == ["wells", "mine", "cell_painting_median"]
    assert [guides.is_of_guides(one) for one in read] == [False, True, True]
    made = read[1].profiles
    assert made["Metadata_reagent_identifier"].tolist() == ["KRAS-2A", "AKT1-2"]
    assert made["Metadata_gene_symbol"].tolist() == ["KRAS", "AKT1"]
    assert len(guides.read([table], "x.csv")) == 1
    with pytest.raises(ValueError, match="profiles is"):
        guides.read([], "x.csv")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns="Cells_AreaShape_Area"), "has no feature columns"),
        (lambda t: pd.concat([t, t.iloc[[1]]]), "AKT1-2 stands twice in ES2"),
        (lambda t: t.drop(columns="Metadata_pert_name"), "no column 'pert_name'"),
    ],
)
def test_tables_of_guides_that_are_none(change, message, tmp_path):
    table = of_guides(tmp_path / "a.tsv", change)
    with pytest.raises(ValueError, match=message):
        guides.read([table], "x.csv")


def test_guides_that_all_sets_have(known):
    profiles, readouts = known
    order = np.random.default_rng(0).permutation(len(profiles))[:40]
    other = profiles.iloc[order].reset_index(drop=True)
    asked = {"all": known, "some": (other, readouts.iloc[order].reset_index(drop=True))}
    made = guides.same_guides(asked)
    for part in (0, 1):
        pd.testing.assert_frame_equal(made["all"][part], made["some"][part])
    pd.testing.assert_frame_equal(
        made["all"][0], profiles.iloc[np.sort(order)].reset_index(drop=True)
    )
    asked["none"] = (other.assign(Metadata_cell_line="HeLa"), asked["some"][1])
    with pytest.raises(ValueError, match="no guide and line is in all of all, some, none"):
        guides.same_guides(asked)


def test_other_features_for_the_same_guides(known):
    profiles, _ = known
    keys = pd.MultiIndex.from_frame(profiles[["Metadata_cell_line", "Metadata_reagent_identifier"]])
    features = pd.DataFrame({"emb_a_0000": np.arange(len(keys))}, index=keys)
    made = guides.with_features(profiles, features.sample(frac=1, random_state=0))
    assert made["emb_a_0000"].tolist() == list(range(len(keys)))
    pd.testing.assert_series_equal(made["Metadata_gene_symbol"], profiles["Metadata_gene_symbol"])


def test_areas_are_shown_with_the_decimals_that_tell_them_apart():
    names = ["features", "level", "accuracy", "value", "low", "high", "n"]
    rows = [
        ("a", "A549", cell_health.AREA, 0.0042, 0.0011, 0.02, 7),
        ("b", "A549", cell_health.AREA, 0.0001, 0.0, 0.01, 7),
        ("a", "A549", cell_health.MEDIAN, -0.001, -0.2, 0.1, 7),
    ]
    made = cell_health.side_by_side(pd.DataFrame(rows, columns=names))
    assert made.index.tolist() == ["a", "b"]
    assert made[cell_health.AREA, "A549, n = 7"].tolist() == [
        "0.004 (0.001 to 0.020)",
        "0.000 (0.000 to 0.010)",
    ]
    assert made[cell_health.MEDIAN, "A549, n = 7"].tolist() == ["0.00 (-0.20 to 0.10)", "–"]


@pytest.mark.parametrize("permutations", [20, 50, 1000])
def test_chance_of_being_above_the_range(permutations):
    rng = np.random.default_rng(0)
    drawn = rng.random((4000, permutations))
    above = rng.random(4000) > np.quantile(drawn, 0.975, axis=1)
    assert cell_health.above_by_chance(permutations) == pytest.approx(above.mean(), abs=0.01)
