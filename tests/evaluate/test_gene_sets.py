"""Questions of gene sets beside loops that do the same, and tables that cannot be asked."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from unidino import evaluate
from unidino.evaluate import enrichment, gene_sets, questions
from unidino.profiles import consensus

SCREEN = gene_sets.Screen()
SETS = {"A": "s", "B": "s", "C": "s|t", "D": "t", "E": "u", "F": "u", "G": None, "H": "lonely"}
"""Gene -> its sets: C is in two, G in none, H alone."""


def wells(seed=0, noise=0.6, size=6):
    """Eight genes, two constructs of A, B and D, on three plates at other positions; controls."""
    rng = np.random.default_rng(seed)
    centres = {name: rng.normal(size=size) for name in "stu"} | {"lonely": rng.normal(size=size)}
    constructs = [(f"{gene}{i}", gene) for gene in SETS for i in range(2 if gene in "ABD" else 1)]
    rows, values = [], []
    for p, plate in enumerate("pqr"):
        for place, (construct, gene) in enumerate(constructs):
            well = f"A{(place + 4 * p) % len(constructs) + 1:02d}"
            rows.append((plate, well, construct, gene, SETS[gene], None))
            values.append(centres[(SETS[gene] or "s")[0] if gene != "H" else "lonely"])
        for i in range(6):
            rows.append((plate, f"B{i + 1:02d}", None, "control", None, "negcon"))
            values.append(np.zeros(size))
    names = ["Plate", "Well", "orf_identifier", "gene_symbol", "moa", "control_type"]
    frame = pd.DataFrame(rows, columns=[f"Metadata_{name}" for name in names])
    values = np.array(values) + noise * rng.normal(size=(len(frame), size))
    return pd.concat([frame, pd.DataFrame(values).add_prefix("emb")], axis=1)


def features(frame):
    return frame[[c for c in frame if c.startswith("emb")]].to_numpy()


def cosines(frame):
    values = features(frame)
    values = values / np.linalg.norm(values, axis=1, keepdims=True)
    return values @ values.T


def test_levels_of_a_screen():
    frame = wells()
    constructs, genes = SCREEN.constructs(frame), SCREEN.genes(frame)
    assert len(SCREEN.treated(frame)) == 33
    assert len(constructs) == 11 and len(genes) == 8
    # Constructs count alike, whatever their wells.
    uneven = frame.drop(frame.index[frame["Metadata_orf_identifier"] == "A1"][:2])
    of_a = SCREEN.constructs(uneven)
    of_a = of_a[of_a["Metadata_gene_symbol"] == "A"]
    made = SCREEN.genes(uneven)
    made = made[made["Metadata_gene_symbol"] == "A"]
    np.testing.assert_allclose(features(made)[0], features(of_a).mean(0), rtol=1e-6)
    assert SCREEN.census(frame).to_dict() == {
        "wells": 51,
        "controls": 18,
        "constructs": 11,
        "wells of a construct": 3,
        "genes": 8,
        "genes of several constructs": 3,
        "gene sets": 4,
        "sets of three genes": 1,
    }


def test_census_of_labels_that_are_not_there():
    made = SCREEN.census(wells()[["Metadata_Plate", "Metadata_Well", "Metadata_control_type"]])
    assert made["wells"] == 51
    assert not made[["constructs", "genes", "gene sets"]].any()


def test_no_well_is_treated():
    frame = wells()
    with pytest.raises(ValueError, match="no well is left: none is treated, readable and has a"):
        SCREEN.treated(frame[frame["Metadata_control_type"] == "negcon"])


def test_retrieval_is_what_the_questions_give():
    frame = wells()
    made, said = gene_sets.retrieval(frame, null_size=200)
    assert list(made) == list(gene_sets.QUESTIONS) and not said
    named = frame.assign(Metadata_orf_identifier=frame["Metadata_orf_identifier"].fillna("none"))
    for name in ("activity", "distinctiveness"):
        direct = getattr(questions, name)(named, "orf_identifier", null_size=200)
        pd.testing.assert_frame_equal(made[name], direct)
    medians = consensus(frame[frame["Metadata_control_type"].isna()], ["orf_identifier"], "median")
    same = questions.consistency(medians, "gene_symbol", "orf_identifier", null_size=200)
    pd.testing.assert_frame_equal(made["same gene"], same)
    same = questions.consistency(medians, "moa", "gene_symbol", null_size=200)
    pd.testing.assert_frame_equal(made["same set"], same)


def test_activity_of_tables_with_controls_of_their_own():
    frame = wells()
    control = frame["Metadata_control_type"] == "negcon"
    parts = [frame[~control | (frame["Metadata_Plate"] == plate)] for plate in "pqr"]
    made, _ = gene_sets.retrieval(frame, compared=parts, null_size=20)
    whole, _ = gene_sets.retrieval(frame, null_size=20)
    for name in gene_sets.QUESTIONS:
        pd.testing.assert_frame_equal(made[name], whole[name])


def test_constructs_of_a_gene_beside_a_loop():
    frame = wells()
    made, _ = gene_sets.retrieval(frame, null_size=10)
    medians = consensus(frame[frame["Metadata_control_type"].isna()], ["orf_identifier"], "median")
    genes, alike = medians["Metadata_gene_symbol"].to_numpy(), cosines(medians)
    for row in made["same gene"].dropna(subset="mean_average_precision").itertuples():
        precisions = []
        for i in np.flatnonzero(genes == row.Metadata_gene_symbol):
            order = [j for j in np.argsort(-alike[i]) if j != i]
            hits = np.array([genes[j] == genes[i] for j in order])
            places = np.flatnonzero(hits) + 1
            precisions.append(np.mean(np.arange(1, len(places) + 1) / places))
        assert row.mean_average_precision == pytest.approx(np.mean(precisions), abs=1e-6)


def test_what_a_table_cannot_be_asked_is_said():
    frame = wells()
    _, said = gene_sets.retrieval(frame.drop(columns="Metadata_gene_symbol"), null_size=10)
    assert set(said) == {"same gene", "same set"}
    assert all("no column 'gene_symbol' in the table" in text for text in said.values())
    _, said = gene_sets.retrieval(frame.drop(columns="Metadata_moa"), null_size=10)
    assert set(said) == {"same set"} and "no column 'moa'" in said["same set"]
    one = frame[~frame["Metadata_orf_identifier"].isin(["A1", "B1", "D1"])]
    _, said = gene_sets.retrieval(one, null_size=10)
    assert said.keys() == {"same gene"}
    assert "none is shared by two orf_identifiers" in said["same gene"]
    _, said = gene_sets.retrieval(frame[frame["Metadata_Plate"] == "p"], null_size=10)
    assert {"activity", "distinctiveness"} <= set(said)


def test_sets_among_active_genes():
    frame = wells(noise=0.8)
    made, _ = gene_sets.retrieval(frame, null_size=100)
    activity = made["activity"]
    chosen = ["A0", "B1", "C0", "D0"]
    called = activity["Metadata_orf_identifier"].isin(chosen)
    activity = activity.assign(corrected_p_value=np.where(called, 0.01, 0.5))
    told = gene_sets.among_active(frame, activity, null_size=100)
    medians = SCREEN.constructs(frame, "median")
    asked = medians[medians["Metadata_gene_symbol"].isin(list("ABCD"))].reset_index(drop=True)
    direct = questions.consistency(asked, "moa", "gene_symbol", null_size=100)
    scored = direct["mean_normalized_average_precision"]
    assert (told["active genes"], told["sets"]) == (4, 2)
    assert told["active"] == pytest.approx(scored.mean())
    # s has five constructs, t three; u is of genes that are not active.
    sums = (scored * direct["n_profiles"]).tolist()
    assert told["annotated"] == pytest.approx(np.mean([sums[0] / 5, sums[1] / 3, 0]))
    every = made["same set"]["mean_normalized_average_precision"]
    assert told["all genes"] == pytest.approx(every.mean())
    none = gene_sets.among_active(frame, activity.assign(corrected_p_value=0.5), null_size=10)
    assert none[["active genes", "sets", "annotated"]].tolist() == [0, 0, 0]
    assert none[["active", "retrieved"]].isna().all()


def test_phenotypes_beside_counts_by_hand():
    made = questions.activity(wells(noise=0.9), "gene_symbol", null_size=500)
    truth = pd.Series({gene: gene in "ABCDE" for gene in SETS})
    told = gene_sets.phenotypes(made, truth)
    has = made["Metadata_gene_symbol"].map(truth)
    called = made["corrected_p_value"] < 0.05
    assert (told["asked"], told["with"], told["called"]) == (8, 5, called.sum())
    assert told["sensitivity"] == pytest.approx(called[has].mean())
    assert told["false calls"] == pytest.approx(called[~has].mean())
    area = roc_auc_score(has, made["mean_normalized_average_precision"].round(9))
    assert told["area"] == pytest.approx(area)


def test_wrong_truth():
    made = questions.activity(wells(), "gene_symbol", null_size=10)
    with pytest.raises(ValueError, match="nothing is known of 1 perturbations, such as 'H'"):
        gene_sets.phenotypes(made, pd.Series({gene: gene == "A" for gene in "ABCDEFG"}))
    with pytest.raises(ValueError, match="8 of 8 perturbations have a phenotype"):
        gene_sets.phenotypes(made, pd.Series(dict.fromkeys(SETS, True)))


def test_long_tables_scores_and_differences():
    frame, other = wells(), wells(seed=1, noise=2.0)
    values = {}
    for name, table in {"a": frame, "b": other}.items():
        made, _ = gene_sets.retrieval(table, null_size=10)
        values[name] = gene_sets.retrieval_values(made, table)
    table = values["a"]
    counts = table.groupby("accuracy", sort=False).size()
    assert counts.to_dict() == {
        "activity": 11, "distinctiveness": 11, "same gene": 3, "same set": 3
    }  # fmt: skip
    assert set(table.loc[table["unit"].isin(["A0", "A1"]), "by"]) == {"A"}
    made = gene_sets.scores(values, draws=200)
    mean = table.groupby("accuracy")["value"].mean()
    for row in made[made["features"] == "a"].itertuples():
        assert row.value == pytest.approx(mean[row.accuracy])
        assert row.low <= row.value <= row.high
    differ = gene_sets.differences(values, "a", draws=200).set_index("accuracy")
    both = made.pivot(index="accuracy", columns="features", values="value")
    assert set(differ["compared with"]) == {"b"}
    for name, row in differ.iterrows():
        assert row["difference"] == pytest.approx(both.loc[name, "a"] - both.loc[name, "b"])

    # Of 8 or 9 candidates 1 and 5 % are one neighbour, 20 % two: what is the same stands once.
    queries = enrichment.of_constructs(SCREEN.constructs(frame), percents=(1, 5, 20))
    assert gene_sets.tops(queries).to_dict() == {1: "top 1 of 8 to 9", 20: "top 2 of 8 to 9"}
    kept = queries[queries["percent"] != 5]
    for measure, column in (("folds", "odds_ratio"), ("recall", "recall")):
        long = gene_sets.enrichment_values(queries, measure)
        assert set(long["accuracy"]) == {f"{measure}, top {n} of 8 to 9" for n in (1, 2)}
        assert long["value"].tolist() == kept[column].tolist()
    with pytest.raises(ValueError, match="measure"):
        gene_sets.enrichment_values(queries, "lift")


def test_a_table_without_genes_is_resampled_by_construct():
    frame = wells().drop(columns="Metadata_gene_symbol")
    made, _ = gene_sets.retrieval(frame, null_size=10)
    table = gene_sets.retrieval_values(made, frame)
    assert (table["by"] == table["unit"]).all()
    assert gene_sets.retrieval_values({}, frame).empty


def test_random_features_are_at_chance():
    frame = wells()
    retrieved, enriched = gene_sets.chance(frame, 20, seeds=3)
    assert (retrieved["value"].abs() < 0.3).all()
    assert set(retrieved["features"]) == {"Gaussian"} and len(retrieved) == 4
    # Of so few neighbours 1, 3, 5 and 10 % are one.
    assert len(enriched) == 1 and (enriched["low"] <= enriched["value"]).all()
    _, nothing = gene_sets.chance(frame.drop(columns="Metadata_moa"), 20, seeds=1)
    assert nothing.empty


def test_interval_of_a_mean_beside_resampled_groups():
    rng = np.random.default_rng(0)
    values, groups = rng.normal(size=30), np.repeat(list("abcdef"), 5)
    low, high = evaluate.mean_interval(values, groups, draws=4000, seed=1)
    members = [values[groups == name] for name in "abcdef"]
    drawn = [
        np.concatenate([members[i] for i in rng.integers(6, size=6)]).mean() for _ in range(4000)
    ]
    assert [low, high] == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.03)
    with pytest.raises(ValueError, match="2 values, 1 of them missing, and 1 without a group"):
        evaluate.mean_interval([1.0, np.nan], ["a", None])


def test_closest_pairs_name_both_genes_and_what_they_share():
    values = [[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [-1.0, 0.1]]
    genes = pd.DataFrame(values, columns=["emb0", "emb1"])
    genes.insert(0, "Metadata_gene_symbol", list("ABCD"))
    genes.insert(1, "Metadata_moa", ["s|t", "t|s|u", "u", None])
    told = gene_sets.closest_pairs(genes, count=3)
    assert told[["gene", "and", "shared sets"]].values.tolist() == [
        ["A", "B", "s|t"],
        ["B", "C", "u"],
        ["C", "D", ""],
    ]
    assert told["cosine"].tolist() == pytest.approx([0.8, 0.6, 0.1 / np.hypot(1, 0.1)])


def test_small_probabilities_are_not_zero():
    texts = [gene_sets.probability_text(p) for p in (0.04321, 0.00012, 0.00001)]
    assert texts == ["0.0432", "0.0001", "<0.0001"]
