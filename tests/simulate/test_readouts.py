"""Readouts of simulated guides: real names, planted effects, guides that agree as planted."""

import numpy as np
import pandas as pd
import pytest

from unidino import simulate, tables
from unidino.simulate import cells, designs, layouts, readouts

REAL = (
    "vb_num_live_cells", "vb_percent_dead", "vb_live_cell_area", "vb_live_cell_roundness",
    "vb_live_cell_width_length", "cc_all_n_objects", "cc_cc_n_objects", "cc_s_n_objects",
    "cc_g1_n_objects", "cc_g1_plus_g2_count", "cc_g1_n_spots_h2ax_mean",
    "cc_s_intensity_nucleus_area_sum",
)  # fmt: skip


@pytest.fixture(scope="module")
def plan():
    return layouts.cell_health(0, 64, 1, None, None, None, 1.0, 1.0)


def test_the_plan_has_enough_guides_and_a_table_in_the_real_layout(plan):
    table = plan.tables["cell_health_median.tsv"]
    assert table.columns[:3].tolist() == [
        "Metadata_profile_id", "Metadata_pert_name", "Metadata_cell_line",
    ]  # fmt: skip
    assert tuple(table.columns[3:]) == readouts.READOUTS and len(readouts.READOUTS) == 70
    assert set(REAL) < set(readouts.READOUTS)
    assert table["Metadata_profile_id"].tolist() == [f"profile_{i}" for i in range(len(table))]
    treated = plan.truth.dropna(subset="mechanism")
    for line, own in treated.groupby("batch"):
        assert own["reagent_identifier"].nunique() >= 60 and own["gene_symbol"].nunique() >= 30
        assert own.groupby("gene_symbol")["reagent_identifier"].nunique().min() >= 2
        here = set(table.loc[table["Metadata_cell_line"] == line, "Metadata_pert_name"])
        assert here == {*plan.truth["reagent_identifier"].dropna(), readouts.EMPTY}
    assert set(designs.GENES.values()) <= set(designs.MECHANISMS)


def test_readouts_are_missing_where_cells_are_few(plan):
    table = plan.tables["cell_health_median.tsv"]
    missing = table[list(readouts.READOUTS)].isna()
    assert 0 < missing.to_numpy().mean() < 0.2
    assert not missing[["cc_all_n_objects", "vb_percent_dead"]].any().any()
    empty = table[table["Metadata_pert_name"] == readouts.EMPTY]
    assert empty["cc_s_n_objects"].max() < 0.1 * table["cc_s_n_objects"].median()


def test_expected_readouts_follow_the_phenotype():
    normal, few, dying, large = (
        readouts.expected(cells.NORMAL | change)
        for change in ({}, {"count": 0.5}, {"apoptotic": 0.1}, {"nucleus_area": 2.0})
    )
    assert few["cc_all_n_objects"] == 0.5 * normal["cc_all_n_objects"]
    assert few["vb_num_live_cells"] < 0.5 * normal["vb_num_live_cells"]
    assert dying["vb_percent_dead"] > normal["vb_percent_dead"]
    assert large["cc_all_nucleus_area_mean"] == 2 * normal["cc_all_nucleus_area_mean"]
    for values in (normal, few, dying, large):
        made = np.array(list(values.values()))
        assert np.nanmin(made) > 0
        shares = [v for k, v in values.items() if "high_h2ax" in k or "_percent_" in k]
        assert np.nanmax(shares[:-1]) < 1


def guide(name, line="A549", strength=0.9, mechanism="DNA damage"):
    return {
        "cell_line": line,
        "reagent_identifier": name,
        "gene_symbol": name.rpartition("-")[0],
        "mechanism": mechanism,
        "strength": strength,
    }


def spread(names, strength=0.9):
    """Logarithms of readouts against what is expected: (guides, readouts of whole wells)."""
    table = readouts.table(0, [guide(name, strength=strength) for name in names])
    wanted = readouts.expected(cells.blend(designs.MECHANISMS["DNA damage"], strength))
    unrelated = ("vb_infection_percentage", "vb_ros_back_mean")
    columns = [c for c in readouts.READOUTS if c.startswith("vb_") and c not in unrelated]
    table = table.set_index("Metadata_pert_name").loc[names, columns]
    return np.log(table.to_numpy() / np.array([wanted[c] for c in columns]))


def test_guides_of_a_gene_share_what_no_image_shows():
    genes = [f"G{i}" for i in range(150)]
    first, second = (spread([f"{g}-{k}" for g in genes]) for k in (1, 2))
    own = (0.9 * readouts.OWN_EFFECT) ** 2
    counted = 1000 * cells.blend(designs.MECHANISMS["DNA damage"], 0.9)["count"]
    noise = readouts.NOISE**2 + 1 / counted
    assert np.mean(first * second) == pytest.approx(own, rel=0.15)
    assert np.mean(first**2 - first * second) == pytest.approx(noise, rel=0.15)
    untreated = [spread([f"{g}-{k}" for g in genes], strength=0.0) for k in (1, 2)]
    assert np.mean(untreated[0] * untreated[1]) == pytest.approx(0, abs=0.0005)


def test_one_row_a_guide_and_line():
    table = readouts.table(0, [guide("A-1"), guide("A-1"), guide("A-1", "ES2"), guide("B-1")])
    assert list(zip(table["Metadata_cell_line"], table["Metadata_pert_name"], strict=True)) == [
        ("A549", "A-1"), ("A549", "B-1"), ("ES2", "A-1"),
    ]  # fmt: skip
    pd.testing.assert_frame_equal(table.iloc[:1], readouts.table(0, [guide("A-1")]))
    other = readouts.table(1, [guide("A-1")])
    assert (other["vb_ros_mean"] != table["vb_ros_mean"][0]).all()


def test_the_table_is_written_with_tabs(tmp_path):
    folder = simulate.simulate("cell-health", tmp_path, wells=20, field=48, batches=1, workers=1)
    text = (folder / "cell_health_median.tsv").read_text()
    assert text.split("\n")[0].split("\t")[3:] == list(readouts.READOUTS)
    assert (folder / "metadata.csv").read_text().startswith("plate,row,column")


def test_phenotypes_are_what_was_planted(plan):
    made = readouts.phenotypes(plan.truth)
    assert len(made) == 3 * 76 and made.shape[1] == len(cells.NORMAL)
    assert tables.feature_columns(made) == list(made.columns)
    names = list(cells.NORMAL)
    strong = cells.blend(designs.MECHANISMS["Eg5 inhibitors"], 0.9)
    row = made.loc[("ES2", "KIF11-1")]
    assert row.iloc[names.index("count")] == pytest.approx(np.log(strong["count"]))
    assert row.iloc[names.index("mitotic")] == pytest.approx(strong["mitotic"])
    control = made.loc[("A549", "Chr2-1")]
    assert control.iloc[names.index("count")] == 0


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_guides_agree_as_planted(share):
    made = readouts.guide_profiles(0, share, genes=400, features=8, noise=0, assay_noise=0)
    assert made["gene_symbol"].nunique() == 400 and made["reagent_identifier"].is_unique
    for start in ("emb_phenotype", "cc_seen", "cc_unseen"):
        values = made.loc[:, made.columns.str.startswith(start)].to_numpy()
        first, second = (values[k::2] - values.mean(0) for k in (0, 1))
        agreement = (first * second).mean() / (values - values.mean(0)).var()
        assert agreement == pytest.approx(share, abs=0.1)
    seen, unseen = (made.filter(regex=f"^cc_{kind}_").to_numpy() for kind in ("seen", "unseen"))
    profiles = np.arctanh(made.filter(regex="^emb_").to_numpy().clip(-0.9999, 0.9999))
    related = [np.abs(np.corrcoef(profiles.T, v.T)[:8, 8:]).mean() for v in (seen, unseen)]
    assert related[0] > 2 * related[1]


def test_profiles_have_the_size_that_was_asked_for():
    made = readouts.guide_profiles(3, 0.5, genes=7, guides=3, features=5, readouts=4)
    assert made.shape == (21, 2 + 5 + 4)
    pd.testing.assert_frame_equal(
        made, readouts.guide_profiles(3, 0.5, genes=7, guides=3, features=5, readouts=4)
    )
    for share in (-0.1, 1.5):
        with pytest.raises(ValueError, match=f"share is {share}; it is a share of the variance"):
            readouts.guide_profiles(0, share)
