"""Features without a model: nuclei counted on fields whose number is known."""

import numpy as np
import pandas as pd
import pytest
import tifffile
from scipy.ndimage import gaussian_filter

import unidino
from unidino import tables
from unidino.evaluate import baselines


def field(seed, nuclei, shape=(224, 280), gain=3000, offset=110):
    """Blurred discs that do not touch, an illumination gradient, noise."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    image = np.zeros(shape)
    centres = []
    while len(centres) < nuclei:
        centre = rng.uniform(10, np.array(shape) - 10)
        if all(np.hypot(*(centre - other)) > 24 for other in centres):
            centres.append(centre)
            image[np.hypot(rows - centre[0], columns - centre[1]) < 8] = rng.uniform(0.7, 1.3)
    image = gaussian_filter(image, 1) * gain * (1 - 0.3 * columns / shape[1]) + offset
    return rng.poisson(image).astype(np.uint16)


@pytest.mark.parametrize("seed", range(5))
def test_nuclei_are_counted(seed):
    nuclei = 5 + 7 * seed
    assert baselines.count_nuclei(field(seed, nuclei)) == nuclei


def test_debris_does_not_count():
    image = field(0, 9)
    image[3:6, 3:6] = image.max()
    assert baselines.count_nuclei(image) == 9


def test_scale_and_offset_of_the_camera_do_not_matter():
    image = field(1, 12).astype(float)
    assert baselines.count_nuclei(image / 65535) == baselines.count_nuclei(image * 3 + 50) == 12


def test_a_constant_field_has_no_nuclei():
    assert baselines.count_nuclei(np.full((50, 60), 7.0)) == 0


def test_otsu_stands_between_two_peaks():
    rng = np.random.default_rng(0)
    values = np.r_[rng.normal(10, 1, 9000), rng.normal(50, 2, 1000)]
    assert 20 < baselines.otsu_threshold(values) < 40


def naive_otsu(values, bins):
    counts, edges = np.histogram(values, bins)
    centres = (edges[:-1] + edges[1:]) / 2
    best = {}
    for k in range(1, bins):
        parts = [(counts[:k], centres[:k]), (counts[k:], centres[k:])]
        sizes = [part.sum() for part, _ in parts]
        if min(sizes):
            means = [
                (part * at).sum() / size for (part, at), size in zip(parts, sizes, strict=True)
            ]
            best[edges[k]] = sizes[0] * sizes[1] * (means[0] - means[1]) ** 2
    return max(best, key=best.get)


@pytest.mark.parametrize("seed", range(3))
def test_otsu_equals_the_loop(seed):
    values = np.random.default_rng(seed).gamma(2, 1, 5000)
    assert baselines.otsu_threshold(values, 64) == pytest.approx(naive_otsu(values, 64))


def test_count_and_intensity_of_a_dataset(tmp_path):
    rows = []
    for i, nuclei in enumerate((6, 15, 9)):
        for channel, image in (("Actin", field(9, 3)), ("DNA", field(i, nuclei))):
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
