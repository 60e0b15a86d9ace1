"""Folds of enrichment, recall and known relationships beside loops that do the same."""

import itertools

import numpy as np
import pandas as pd
import pytest

from unidino.evaluate import enrichment

SETS = {"A": "s", "B": "s", "C": "s|t", "D": "t", "E": "u", "F": "u", "G": None, "H": "lonely"}
"""Gene -> its sets: C is in two, G in none, H alone."""


def constructs(seed=0, noise=0.6, size=6, several="ABD"):
    """Eight genes, of which some have two constructs."""
    rng = np.random.default_rng(seed)
    centres = {name: rng.normal(size=size) for name in ("s", "t", "u", "lonely", None)}
    names = [gene for gene in SETS for _ in range(2 if gene in several else 1)]
    labels = {"Metadata_gene_symbol": names, "Metadata_moa": [SETS[gene] for gene in names]}
    values = np.array([centres[(SETS[gene] or "s").split("|")[0]] for gene in names])
    values = values + noise * rng.normal(size=values.shape)
    return pd.concat([pd.DataFrame(labels), pd.DataFrame(values).add_prefix("emb")], axis=1)


def genes(seed=0, noise=0.6):
    return constructs(seed, noise, several="")


def cosines(frame):
    values = frame[[c for c in frame if c.startswith("emb")]].to_numpy()
    values = values / np.linalg.norm(values, axis=1, keepdims=True)
    return values @ values.T


def sets_of(cell):
    return set() if pd.isna(cell) else set(cell.split("|"))


def naive_enrichment(frame, percents, labels):
    """{(construct, percent): (hits, neighbours, positives, candidates)}, sets given by gene."""
    alike, genes = cosines(frame), frame["Metadata_gene_symbol"].tolist()
    annotated = [i for i, gene in enumerate(genes) if labels[gene]]
    made = {}
    for i in annotated:
        others = [j for j in annotated if genes[j] != genes[i]]
        right = [j for j in others if labels[genes[j]] & labels[genes[i]]]
        if not right:
            continue
        order = sorted(others, key=lambda j: -alike[i, j])
        for percent in percents:
            count = int(np.ceil(len(others) * percent / 100))
            hits = sum(j in right for j in order[:count])
            made[i, percent] = hits, count, len(right), len(others)
    return made


def naive_odds(hits, count, right, others):
    table = np.array([[hits, count - hits], [right - hits, others - count - right + hits]]) + 0.5
    return table[0, 0] * table[1, 1] / (table[0, 1] * table[1, 0])


PERCENTS = (1, 20, 50)


def test_enrichment_beside_a_loop():
    frame = constructs()
    labels = {gene: sets_of(cell) for gene, cell in SETS.items()}
    expected = naive_enrichment(frame, PERCENTS, labels)
    made = enrichment.of_constructs(frame, percents=PERCENTS)
    assert len(made) == len(expected) == 9 * 3
    for row in made.itertuples():
        counts = expected[row.profile, row.percent]
        assert (row.hits, row.neighbours, row.positives, row.candidates) == counts
        assert row.odds_ratio == pytest.approx(naive_odds(*counts))
        assert row.recall == pytest.approx(counts[0] / counts[2])
        assert row.gene == frame["Metadata_gene_symbol"][row.profile]


def test_odds_ratio_by_hand_and_without_hits():
    # 2 of 3 nearest are right, 4 of 20 in all: (2/1) / (2/15), each count with a half.
    assert enrichment.odds_ratio(2, 3, 4, 20) == pytest.approx(2.5 * 15.5 / (1.5 * 2.5))
    assert enrichment.odds_ratio(2, 3, 4, 20, smoothing=0) == pytest.approx(15)
    for hits in (0, 2):
        assert np.isfinite(enrichment.odds_ratio(hits, 2, 2, 10))


def test_equally_near_neighbours_count_by_their_expectation():
    """B and C are the same profile: in one order of the two, the nearest of A is right."""
    frame = pd.DataFrame(
        {
            "gene_symbol": list("ABCD"),
            "orf_identifier": list("abcd"),
            "moa": ["s", "s", "t", "t"],
            "emb0": [1.0, 1.0, 1.0, -1.0],
            "emb1": [0.0, 0.5, 0.5, 0.3],
        }
    )
    made = enrichment.of_constructs(frame, percents=(10, 60))
    of_a = made[made["gene"] == "A"].set_index("percent")["hits"]
    orders = list(itertools.permutations("BC"))
    assert of_a[10] == pytest.approx(np.mean([order[0] == "B" for order in orders]))
    assert of_a[60] == pytest.approx(1)
    same = frame.assign(emb0=1.0, emb1=0.0)
    hits = enrichment.of_constructs(same, percents=(10,))["hits"]
    assert hits.tolist() == pytest.approx([1 / 3] * 4)


def test_exchanged_sets_beside_a_loop():
    frame = constructs(noise=1.5)
    made = enrichment.exchanged(frame, percents=PERCENTS, draws=25, seed=3)
    annotated = frame.dropna(subset="Metadata_moa")
    names = annotated["Metadata_gene_symbol"].drop_duplicates().tolist()
    rng = np.random.default_rng(3)
    null = []
    for _ in range(25):
        order = rng.permutation(len(names))
        labels = {gene: sets_of(SETS[names[i]]) for gene, i in zip(names, order, strict=True)}
        counts = naive_enrichment(frame, PERCENTS, labels | {"G": set()})
        null.append(
            {
                (measure, percent): np.mean(
                    [
                        naive_odds(*four) if measure == "folds" else four[0] / four[2]
                        for (_, asked), four in counts.items()
                        if asked == percent
                    ]
                )
                for measure in ("folds", "recall")
                for percent in PERCENTS
            }
        )
    null = pd.DataFrame(null)
    queries = enrichment.of_constructs(frame, percents=PERCENTS).groupby("percent")
    for row in made.itertuples():
        drawn = null[row.measure, row.percent]
        column = "odds_ratio" if row.measure == "folds" else "recall"
        assert row.value == pytest.approx(queries[column].mean()[row.percent])
        assert row.null == pytest.approx(drawn.mean())
        assert [row.null_low, row.null_high] == pytest.approx(drawn.quantile([0.025, 0.975]))
        above = (drawn >= row.value - 1e-6).sum()
        assert row.p_value == pytest.approx((1 + above) / 26)


def test_genes_that_say_nothing_are_at_their_null():
    made = enrichment.exchanged(constructs(seed=5, noise=1000), draws=200)
    assert (made["p_value"] > 0.02).all()


def test_relationships_beside_a_loop():
    frame = genes(noise=1.0)
    made = enrichment.relationships(frame, tails=(5, 20), draws=30, seed=2)
    alike, names = cosines(frame), frame["Metadata_gene_symbol"].tolist()
    pairs = list(itertools.combinations(range(len(names)), 2))
    every = np.array([alike[pair] for pair in pairs])
    share = {pair: ((every < alike[pair]).sum() + 0.5) / len(pairs) for pair in pairs}

    def recalled(order, tail):
        known = [
            share[pair]
            for pair in pairs
            if sets_of(SETS[names[order[pair[0]]]]) & sets_of(SETS[names[order[pair[1]]]])
        ]
        outside = [s <= tail / 100 or s >= 1 - tail / 100 for s in known]
        return np.mean(outside), np.mean([s >= 1 - tail / 100 for s in known]), len(known)

    rng = np.random.default_rng(2)
    orders = [rng.permutation(len(names)) for _ in range(30)]
    for row in made.itertuples():
        value, above, known = recalled(range(len(names)), row.tail)
        assert (row.known, row.pairs) == (known, 28) == (5, 28)
        assert (row.value, row.above) == pytest.approx((value, above))
        null = np.array([recalled(order, row.tail)[0] for order in orders])
        assert row.null == pytest.approx(null.mean())
        assert [row.null_low, row.null_high] == pytest.approx(np.quantile(null, [0.025, 0.975]))
        assert row.p_value == pytest.approx((1 + (null >= value - 1e-6).sum()) / 31)


def test_pairs_that_are_all_alike_are_no_relationship():
    frame = genes()
    same = frame.assign(**{c: float(c == "emb0") for c in frame if c.startswith("emb")})
    assert enrichment.relationships(same, draws=5)["value"].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("change", "call", "message"),
    [
        ({"moa": None}, "of_constructs", "no profile has a moa"),
        ({"moa": list("abcdefghijk")}, "of_constructs", "the constructs of A have different moas"),
        ({"gene_symbol": "A", "moa": "s"}, "of_constructs", "are of one gene_symbol: A"),
        ({}, "relationships", "the gene A stands in several rows; average them first"),
    ],
)
def test_tables_that_cannot_be_ranked(change, call, message):
    frame = constructs().assign(**{f"Metadata_{name}": value for name, value in change.items()})
    with pytest.raises(ValueError, match=message):
        getattr(enrichment, call)(frame)


def test_nothing_is_shared():
    frame = genes().assign(Metadata_moa=list("abcdefgh"))
    for call in ("of_constructs", "exchanged", "relationships"):
        with pytest.raises(ValueError, match="no moa is shared by two gene_symbols"):
            getattr(enrichment, call)(frame)


def test_percents_and_tails_out_of_range():
    frame = genes()
    with pytest.raises(ValueError, match="percents holds 0; a percent is above 0"):
        enrichment.of_constructs(frame, percents=(0,))
    with pytest.raises(ValueError, match="tails holds 50; a tail is a percentile above 0"):
        enrichment.relationships(frame, tails=(50,))
