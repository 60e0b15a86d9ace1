"""Features without a model: cell counts and intensities, random numbers, hand-made features."""

import numpy as np
import pandas as pd
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
        for channel, image in (("Actin", field(3)), ("DNA", field(nuclei))):
            tifffile.imwrite(tmp_path / f"{channel}{i}.tif", image)
        rows.append({"plate": "p", "well": f"A0{3 - i}", "site": 1, "dose": i})
    csv = pd.DataFrame(rows).assign(
        Actin=[f"Actin{i}.tif" for i in range(3)], DNA=[f"DNA{i}.tif" for i in range(3)]
    )
    csv.to_csv(tmp_path / "plate.csv", index=False)
    made = unidino.extract(
        str(tmp_path / "plate.csv"), outdir=str(tmp_path / "out"), norm_method="no_post_proc"
    )
    sites = made.sites()
    sites.loc[1, "Metadata_status"] = "failed"
    table = baselines.count_and_intensity(made.metadata, sites, nuclei=1)
    assert tables.feature_columns(table) == [
        "emb_count_0000",
        "emb_intensity_0000",
        "emb_intensity_0001",
    ]
    expected = sites["Metadata_dose"].map({0: 6, 1: 15, 2: 9}).astype(float)
    expected[1] = np.nan
    np.testing.assert_array_equal(table["emb_count_0000"], expected)
    np.testing.assert_array_equal(table["emb_intensity_0001"], sites["Metadata_mean_DNA"])


def test_gaussian_features_keep_the_labels():
    frame = pd.DataFrame({"Metadata_moa": list("ab"), "emb_DNA_0000": [1.0, 2.0]})
    made = baselines.gaussian(frame, 7, seed=3)
    assert made["Metadata_moa"].tolist() == ["a", "b"]
    assert len(tables.feature_columns(made)) == 7
    pd.testing.assert_frame_equal(made, baselines.gaussian(frame, 7, seed=3))
    assert not made.equals(baselines.gaussian(frame, 7, seed=4))
