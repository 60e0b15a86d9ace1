"""Features without a model: cell counts and intensities, random numbers, hand-made features."""

import numpy as np
import pandas as pd
import pytest
import tifffile

import unidino
from unidino import tables
from unidino.evaluate import baselines


def field(nuclei):
    """Bright squares on a dark ground."""
    plane = np.full((120, 160), 110, np.uint16)
    for i in range(nuclei):
        y, x = 8 + 20 * (i // 7), 8 + 20 * (i % 7)
        plane[y : y + 9, x : x + 9] = 3000
    return plane


def test_count_and_intensity_of_a_dataset(tmp_path):
    rows = []
    for i, nuclei in enumerate((6, 15, 9)):
        for channel, image in (("DNA", field(nuclei)), ("Actin", field(3))):
            tifffile.imwrite(tmp_path / f"{channel}{i}.tif", image)
        rows.append({"plate": "p", "well": f"A0{3 - i}", "site": 1, "dose": i})
    csv = pd.DataFrame(rows).assign(
        DNA=[f"DNA{i}.tif" for i in range(3)], Actin=[f"Actin{i}.tif" for i in range(3)]
    )
    csv.to_csv(tmp_path / "plate.csv", index=False)
    made = unidino.extract(
        str(tmp_path / "plate.csv"), outdir=str(tmp_path / "out"), norm_method="no_post_proc"
    )
    table = baselines.count_and_intensity(made.profiles)
    assert tables.feature_columns(table) == [
        "emb_count_0000",
        "emb_intensity_0000",
        "emb_intensity_0001",
    ]
    expected = table["Metadata_dose"].map({0: 6, 1: 15, 2: 9}).astype(float)
    np.testing.assert_array_equal(table["emb_count_0000"], expected)
    means = [field(6 if well == "A03" else 15 if well == "A02" else 9).mean()
             for well in table["Metadata_Well"]]  # fmt: skip
    np.testing.assert_allclose(table["emb_intensity_0000"], means, rtol=1e-6)
    np.testing.assert_allclose(table["emb_intensity_0001"], field(3).mean(), rtol=1e-6)


def test_counts_of_another_programs_table():
    frame = pd.DataFrame({"Metadata_Well": ["A01"], "Cells_AreaShape_Area": [1.0]})
    for make in (baselines.count_and_intensity, baselines.object_count):
        with pytest.raises(ValueError, match="extractions of unidino only"):
            make(frame)


def test_the_count_alone():
    frame = pd.DataFrame({"Metadata_Well": ["A01", "A02"], "Metadata_objects": [3, 7]})
    made = baselines.object_count(frame.assign(emb_DNA_0000=1.0))
    assert tables.feature_columns(made) == ["emb_count_0000"]
    assert made["emb_count_0000"].tolist() == [3.0, 7.0]
    assert made["Metadata_Well"].tolist() == ["A01", "A02"]


def test_one_hot_features_of_a_label():
    frame = pd.DataFrame({"Metadata_Well": ["A01", "B02", "A01"], "emb_DNA_0000": [1.0, 2.0, 3.0]})
    made = baselines.one_hot(frame, "well")
    values = made[tables.feature_columns(made)].to_numpy()
    np.testing.assert_array_equal(values, [[1, 0], [0, 1], [1, 0]])
    assert made["Metadata_Well"].tolist() == ["A01", "B02", "A01"]


@pytest.mark.parametrize("wells", [["A01", "A01"], ["A01", None, "B01"]])
def test_one_hot_features_of_nothing(wells):
    with pytest.raises(ValueError, match=r"well has \d values in \d profiles, \d missing"):
        baselines.one_hot(pd.DataFrame({"Metadata_Well": wells}), "well")


def test_gaussian_features_keep_the_labels():
    frame = pd.DataFrame({"Metadata_moa": list("ab"), "emb_DNA_0000": [1.0, 2.0]})
    made = baselines.gaussian(frame, 7, seed=3)
    assert made["Metadata_moa"].tolist() == ["a", "b"]
    assert len(tables.feature_columns(made)) == 7
    pd.testing.assert_frame_equal(made, baselines.gaussian(frame, 7, seed=3))
    assert not made.equals(baselines.gaussian(frame, 7, seed=4))
