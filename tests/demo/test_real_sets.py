"""Readers of the real plates, on small tables of their form."""

import gzip

import numpy as np
import pandas as pd
import pytest

from unidino import tables
from unidino.demo import real_sets

SUFFIX = "normalized_feature_select_negcon_batch"


@pytest.fixture
def root(tmp_path):
    """Two plates of JUMP-MOA in one table, their published results, and CPJUMP1."""
    folder = tmp_path / "jump_moa_plates"
    (folder / "published_map").mkdir(parents=True)
    plates = ["BR00122246"] * 3 + ["BR00122250"] * 3
    moa = pd.DataFrame(
        {
            "Metadata_Plate": plates,
            "Metadata_Well": ["A01", "A02", "A03"] * 2,
            "Metadata_broad_sample": ["BRD-1", "BRD-2", np.nan] * 2,
            "Metadata_Common Name": ["one", "two", np.nan] * 2,
            "Metadata_MoA": ["x", "y", np.nan] * 2,
            "Metadata_control_type": [np.nan, np.nan, "negcon"] * 2,
            "Image_Granularity_1_DNA": np.arange(6.0),
            "Cells_AreaShape_Area": np.arange(6.0) + 10,
            "Nuclei_AreaShape_Area": [1.0, np.nan, 3.0, 4.0, 5.0, 6.0],
        }
    )
    moa.to_csv(folder / f"2023_05_15_Batch1_{SUFFIX}.csv.gz", index=False)
    per_compound = (
        "Metadata_broad_sample,mean_average_precision,corrected_p_value\nBRD-1,0.5,0.01\n"
    )
    per_well = "Metadata_Well,average_precision,n_pos_pairs\nA01,0.25,3\n"
    stem = f"BR00122250_{SUFFIX}"
    end = "NegconNorm_mAP_wrt_Control_woNAN.csv"
    (folder / "published_map" / f"{stem}_Aggregate_result_{end}").write_text(per_compound)
    zipped = gzip.compress(per_well.encode())
    (folder / "published_map" / f"{stem}_Result_{end}").write_bytes(zipped)

    folder = tmp_path / "cpjump1_u2os"
    folder.mkdir()
    for plate in real_sets.CPJUMP1_HOURS:
        pd.DataFrame(
            {
                "Metadata_broad_sample": ["BRD-1", np.nan],
                "Metadata_pert_iname": ["one", "DMSO"],
                "Metadata_Plate": plate,
                "Metadata_Well": ["A01", "A02"],
                "Metadata_control_type": [np.nan, "negcon"],
                "Cells_AreaShape_Area": [1.0, 2.0],
            }
        ).to_csv(folder / f"{plate}_{SUFFIX}.csv.gz", index=False)
    (folder / "JUMP-Target-1_compound_metadata_additional_annotations.tsv").write_text(
        "broad_sample\ttarget\ttarget_list\tmoa_list\nBRD-1\tA\tA|B\tx|y\n\t\t\tvehicle\n"
    )
    return tmp_path


def test_a_round_of_the_atlas(tmp_path):
    folder = tmp_path / "pediatric_cancer_atlas"
    folder.mkdir()
    wells = ["C03", "C04", "C05", "C06", "C07", "C08"]
    pd.DataFrame(
        {
            "Metadata_cell_line": ["U-2OS", "TC-71", "U2-OS", "U2-OS", "U2-OS", "A673"],
            "Metadata_Plate": ["BR1"] * 5 + ["BR2"],
            "Metadata_Well": wells,
            "Metadata_time_point": [24] * 6,
            "Metadata_seeding_density": [1000, 1000, 500, 2000, 1000, 500],
            "Metadata_condition": "standard",
            "Nuclei_AreaShape_Area": np.arange(6, dtype=np.float32),
        }
    ).to_parquet(folder / "round_3.parquet")
    made = real_sets.atlas_round(tmp_path, 3)
    assert made.columns.tolist() == [
        "plate", "well", "cell_line", "cell_line_named", "hours", "density", "condition",
        "control_type", "Nuclei_AreaShape_Area",
    ]  # fmt: skip
    assert made["cell_line"].tolist() == ["U2-OS", "TC71", "U2-OS", "U2-OS", "U2-OS", "A673"]
    assert made["cell_line_named"].tolist()[:2] == ["U-2OS", "TC-71"]
    # By density and well: C05, C03, C07, C06; every second.
    assert made.loc[made["control_type"] == "negcon", "well"].tolist() == ["C03", "C06"]
    with pytest.raises(ValueError, match="the atlas has no round 5; it has: 1, 2, 3 and 4"):
        real_sets.atlas_round(tmp_path, 5)


def test_a_plate_of_jump_moa(root):
    wells, dropped = real_sets.jump_moa_plate(root, "BR00122250")
    assert dropped == []
    assert wells.columns.tolist() == [
        "plate", "well", "compound", "sample", "moa", "control_type",
        "emb_Image_Granularity_1_DNA_0000", "Cells_AreaShape_Area", "Nuclei_AreaShape_Area",
    ]  # fmt: skip
    assert tables.feature_columns(wells) == wells.columns[6:].tolist()
    assert wells["compound"].tolist() == ["one", "two", "DMSO"]
    assert wells["Cells_AreaShape_Area"].tolist() == [13, 14, 15]
    assert wells["control_type"].eq("negcon").tolist() == [False, False, True]


def test_features_with_a_missing_value_go_and_wells_stay(root):
    """On the plate that lacks it, not on the other of the same table."""
    wells, dropped = real_sets.jump_moa_plate(root, "BR00122246")
    assert dropped == ["Nuclei_AreaShape_Area"]
    assert len(wells) == 3
    assert wells[tables.feature_columns(wells)].shape == (3, 2)


def test_an_unknown_plate_is_named(root):
    with pytest.raises(ValueError, match="JUMP-MOA has no plate 'P1'; it has: BR00122246, BR"):
        real_sets.jump_moa_plate(root, "P1")


def test_published_results_gzipped_or_not(root):
    compounds = real_sets.jump_moa_published(root, "BR00122250", "Control")
    assert compounds.loc["BRD-1"].to_dict() == {
        "mean_average_precision": 0.5,
        "corrected_p_value": 0.01,
    }
    wells = real_sets.jump_moa_published(root, "BR00122250", "Control", "well")
    assert wells.to_dict() == {"average_precision": {"A01": 0.25}}


def test_plates_of_cpjump1(root):
    wells = real_sets.cpjump1_plates(root)
    assert wells["plate"].unique().tolist() == list(real_sets.CPJUMP1_HOURS)
    first = wells.iloc[0].drop(["control_type", "Cells_AreaShape_Area"])
    assert first.tolist() == ["BR00117010", "A01", 48, "BRD-1", "one", "A", "A|B", "x|y"]
    control = wells.iloc[-1]
    assert control["compound"] == control["compound_name"] == "DMSO"
    assert control["hours"] == 24 and control["control_type"] == "negcon"
    assert control[["target", "targets", "moa"]].isna().all()
    assert tables.feature_columns(wells) == ["Cells_AreaShape_Area"]
