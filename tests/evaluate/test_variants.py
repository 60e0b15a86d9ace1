"""Alleles in two batches of one layout, beside loops."""

import numpy as np
import pandas as pd
import pytest

from unidino import evaluate
from unidino.evaluate import variants


def wells(seed=0, noise=0.5):
    """Two batches of two plates of one layout: twelve alleles of four genes, one of four wells."""
    rng = np.random.default_rng(seed)
    genes = np.repeat(list("abcd"), 3)
    centres = {gene: rng.normal(size=5) for gene in "abcd"}
    layout = [
        (f"{'ABCD'[i // 3]}{1 + 2 * (i % 3):02d}", f"{g}{i % 3}", g) for i, g in enumerate(genes)
    ]
    layout += [(well, "e0", "e") for well in ("G08", "G09", "H08", "H09")]
    rows = [
        (batch, f"{batch}{plate}", well, f"s{'abcde'.index(gene) % 2}", gene, allele)
        for batch in "xy"
        for plate in (1, 2)
        for well, allele, gene in layout
    ]
    names = ["batch", "plate", "well", "source_plate", "gene", "allele"]
    frame = pd.DataFrame(rows, columns=names)
    values = np.array([centres.get(gene, np.ones(5)) for gene in frame["gene"]])
    values = values + noise * rng.normal(size=values.shape)
    return pd.concat([frame, pd.DataFrame(values).add_prefix("emb")], axis=1)


def naive(alleles, label, batch, apart, distance):
    """(correct, n): the nearest of the other batch, by a loop."""
    correct = count = 0
    for _, own in alleles[alleles["batch"] == batch].iterrows():
        best = []
        for _, other in alleles[alleles["batch"] != batch].iterrows():
            if label == "gene" and other["allele"] == own["allele"]:
                continue
            steps = [abs(own[k] - other[k]) for k in ("Metadata_row", "Metadata_column")]
            if apart is not None and max(steps) <= apart:
                continue
            best.append((distance(own, other), other[label] == own[label]))
        if best:
            least = min(far for far, _ in best)
            near = [right for far, right in best if far <= least + 1e-9]
            correct, count = correct + np.mean(near), count + 1
    return correct, count


def cosine(own, other):
    a, b = (row[[f"emb{i}" for i in range(5)]].to_numpy(float) for row in (own, other))
    return 1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def straight(own, other):
    return np.hypot(*(own[k] - other[k] for k in ("Metadata_row", "Metadata_column")))


def test_alleles_are_merged_with_their_place():
    made = variants.merged(wells())
    assert len(made) == 26
    first = made[(made["allele"] == "b1") & (made["batch"] == "y")].iloc[0]
    assert (first["Metadata_row"], first["Metadata_column"]) == (2, 3)
    several = made[made["allele"] == "e0"]
    assert several[["Metadata_row", "Metadata_column"]].to_numpy().tolist() == [[7.5, 8.5]] * 2
    own = wells().query("allele == 'b1' and batch == 'y'")
    assert first["emb2"] == pytest.approx(own["emb2"].mean(), rel=1e-6)


@pytest.mark.parametrize("label", ["gene", "allele"])
@pytest.mark.parametrize("apart", [None, 0, 2])
def test_nearest_beside_a_loop(label, apart):
    alleles = variants.merged(wells())
    for profiles, metric, distance in (
        (alleles, "cosine", cosine),
        (variants.place(alleles), "euclidean", straight),
    ):
        if label == "allele" and apart is not None:
            with pytest.warns(UserWarning, match="no profile can have a right answer"):
                made = variants.nearest(profiles, label, "x", apart=apart, metric=metric)
        else:
            made = variants.nearest(profiles, label, "x", apart=apart, metric=metric)
        correct, count = naive(alleles, label, "x", apart, distance)
        assert made.n == count
        assert made.correct == pytest.approx(correct)


def test_scores_of_features_place_and_exchanged_labels():
    alleles = variants.merged(wells())
    made = variants.scores(alleles, "gene", "y", "asked", draws=100).set_index("features")
    own = variants.nearest(alleles, "gene", "y")
    assert made.loc["CellProfiler", "value"] == float(own)
    assert made.loc["CellProfiler", "macro"] == own.macro
    at = variants.nearest(variants.place(alleles), "gene", "y", metric="euclidean")
    assert made.loc["place alone", "value"] == float(at)
    null = evaluate.permutation_null(own, alleles, "allele", draws=100)
    assert made.loc["labels exchanged", "value"] == null["null"]
    within = variants.scores(alleles, "gene", "y", "", within="source_plate", draws=100)
    null = evaluate.permutation_null(own, alleles, "allele", within="source_plate", draws=100)
    within = within.set_index("features")
    assert within.loc["labels exchanged", "value"] == null["null"]
    at = variants.nearest(variants.place(alleles, "source_plate"), "gene", "y", metric="euclidean")
    assert within.loc["place, same source plate", "value"] == float(at)
    same = variants.scores(alleles, "allele", "y", "", draws=20).set_index("features")
    assert list(same.index) == ["CellProfiler", "place alone"]
    assert same.loc["place alone", "value"] == 1


def test_the_nearest_place_within_a_source_plate():
    alleles = variants.merged(wells())
    made = variants.nearest(
        variants.place(alleles, "source_plate"), "gene", "x", metric="euclidean"
    ).neighbours
    plates, batches = (alleles[name].to_numpy() for name in ("source_plate", "batch"))
    assert (plates[made["profile"]] == plates[made["neighbour"]]).all()
    for row in made.itertuples():
        own = alleles.loc[row.profile]
        near = alleles[(plates == own["source_plate"]) & (batches == "y")]
        near = near[near["allele"] != own["allele"]]
        assert row.distance == pytest.approx(
            min(straight(own, other) for _, other in near.iterrows())
        )


def test_an_unknown_batch_is_named():
    with pytest.raises(ValueError, match="no profile is of the batch 'z'; there are x, y"):
        variants.nearest(variants.merged(wells()), "gene", "z")
