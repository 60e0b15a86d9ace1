"""Segmented and measured cells against discs whose measures are known."""

import numpy as np
import pandas as pd
import pytest
import tifffile

from unidino import tables
from unidino.evaluate import feature_sets, measured_cells

CHANNELS = ["actin", "DNA"]


def discs(places, radius=9, shape=(96, 128)):
    """Discs of brightness 1 on a background of 0."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    made = np.zeros(shape, np.float32)
    for row, column in places:
        made[(y - row) ** 2 + (x - column) ** 2 <= radius**2] = 1
    return made


@pytest.fixture
def plane():
    return discs([(25, 25), (25, 60), (70, 40), (70, 100)])


def test_discs_are_found(plane):
    nuclei, cells = measured_cells.segment(plane)
    assert nuclei.max() == 4
    for number in range(1, 5):
        own = nuclei == number
        # The smoothed border lies where the smoothed brightness is halved, a pixel off at most.
        assert np.pi * 8**2 < own.sum() < np.pi * 10**2
        assert set(np.unique(cells[own])) == {number}
        assert (cells == number).sum() > own.sum()


def test_touching_discs_are_parted():
    nuclei, _ = measured_cells.segment(discs([(40, 40), (40, 56), (70, 100)]))
    assert nuclei.max() == 3
    assert nuclei[40, 40] != nuclei[40, 56]


def test_a_cell_ends_where_the_next_nucleus_is_as_near():
    nuclei, cells = measured_cells.segment(discs([(48, 40), (48, 70)]))
    left, right = cells[48, 54], cells[48, 56]
    assert left == nuclei[48, 40]
    assert right == nuclei[48, 70]


def test_debris_and_empty_fields_have_no_nucleus():
    assert measured_cells.segment(np.zeros((64, 64)))[0].max() == 0
    speck = discs([(40, 40)], radius=2)
    nuclei, cells = measured_cells.segment(speck)
    assert nuclei.max() == cells.max() == 0


def test_measures_are_those_of_the_masks(plane):
    rng = np.random.default_rng(0)
    uneven = rng.uniform(0, 0.1, plane.shape)
    image = np.stack([rng.uniform(0.1, 0.9, plane.shape), 0.8 * plane + uneven]).astype(np.float32)
    made = measured_cells.site_measures(image, CHANNELS, "DNA")
    nuclei, cells = measured_cells.segment(image[1])
    assert made["Metadata_cells"] == nuclei.max() == 4
    for name, masks in (("Nuclei", nuclei), ("Cells", cells)):
        inside = [masks == number for number in range(1, masks.max() + 1)]
        areas = np.median([part.sum() for part in inside])
        assert made[f"{name}_AreaShape_Area"] == areas
        for channel, pixels in zip(CHANNELS, image, strict=True):
            means = np.median([pixels[part].mean() for part in inside])
            found = made[f"{name}_Intensity_MeanIntensity_{channel}"]
            assert found == pytest.approx(means, rel=1e-5)
        correlations = [np.corrcoef(image[0][part], image[1][part])[0, 1] for part in inside]
        found = made[f"{name}_Correlation_Pearson_actin_DNA"]
        assert found == pytest.approx(np.median(correlations), abs=1e-5)


def test_names_are_those_that_tables_take_for_features(plane):
    made = measured_cells.site_measures(np.stack([plane, plane]), CHANNELS, "DNA")
    frame = pd.DataFrame([made])
    assert tables.feature_columns(frame) == [name for name in made if name != "Metadata_cells"]


def test_a_site_without_cells_has_no_measures():
    empty = np.zeros((2, 64, 64), np.float32)
    assert measured_cells.site_measures(empty, CHANNELS, "DNA") == {"Metadata_cells": 0}


@pytest.mark.parametrize(
    ("channels", "nuclei"),
    [
        (["DAPI", "Tubulin", "Actin"], "DAPI"),
        (["blue", "red", "green", "yellow"], "blue"),
        (["ER", "Hoechst", "Mito"], "Hoechst"),
    ],
)
def test_the_channel_of_nuclei_is_told_by_its_name(channels, nuclei):
    assert measured_cells.nuclear_channel(channels) == nuclei
    assert measured_cells.nuclear_channel(channels, channels[-1]) == channels[-1]


def test_an_unknown_channel_of_nuclei_is_asked_for():
    with pytest.raises(ValueError, match="which of the channels ch1, ch2 shows nuclei"):
        measured_cells.nuclear_channel(["ch1", "ch2"])
    with pytest.raises(ValueError, match="nuclei 'DNA' is not one of ch1, ch2"):
        measured_cells.nuclear_channel(["ch1", "ch2"], "DNA")


def plate(folder, places):
    """A CSV of two channels, one site a well."""
    rows = []
    for well, discs_of_well in places.items():
        row = {"plate": "P1", "well": well}
        for channel in CHANNELS:
            path = folder / f"{well}_{channel}.tif"
            tifffile.imwrite(path, (200 + 5000 * discs(discs_of_well)).astype(np.uint16))
            row[channel] = path.name
        rows.append(row)
    csv = folder / "plate.csv"
    pd.DataFrame(rows).to_csv(csv, index=False)
    return csv


def test_a_dataset_is_measured(tmp_path, capfd):
    csv = plate(tmp_path, {"A01": [(25, 25)], "A02": [(25, 25), (60, 60), (60, 100)]})
    out = tmp_path / "measured.parquet"
    measured_cells.main([str(csv), str(out)])
    made = tables.read_table(out)
    assert made["Metadata_Well"].tolist() == ["A01", "A02"]
    assert made["Metadata_cells"].tolist() == [1, 3]
    assert "2 profiles of" in capfd.readouterr().err
    assert made.attrs["provenance"]["model_origin"].startswith("cp_measure ")
    assert made.attrs["provenance"]["simulated"] is False


def test_measured_wells_are_read_like_those_of_a_model(tmp_path, monkeypatch, capfd):
    csv = plate(tmp_path, {"A01": [(25, 25)], "A02": [(25, 25), (60, 60), (60, 100)]})
    monkeypatch.setenv("UNIDINO_OUTDIR", str(tmp_path / "out"))
    known = tables.read_table(csv).assign(emb_0=[1.0, 2.0])[["plate", "well", "emb_0"]]
    known.to_csv(tmp_path / "known.csv", index=False)
    entries = [f"known={tmp_path / 'known.csv'}", "cp_measure"]
    absent = feature_sets.read(entries, str(csv))[1]
    assert absent.profiles is None
    assert absent.said == f"Not measured: python -m unidino.evaluate.measured_cells {csv}"
    measured_cells.main([str(csv)])
    found = feature_sets.on_same_wells(feature_sets.read(entries, str(csv)))[1]
    assert len(found.profiles) == 2 and found.kind == "no model"
    assert found.profiles.filter(like="Nuclei_").to_numpy().dtype == np.float32


PLACES = {"A01": [(25, 25)], "A02": [(25, 25), (60, 60), (60, 100)], "A03": [(60, 60)]}


def test_what_was_measured_is_kept(tmp_path, monkeypatch):
    csv, kept = plate(tmp_path, PLACES), tmp_path / "kept"
    made, seconds = measured_cells.measure(str(csv), kept=kept)
    pd.testing.assert_frame_equal(made, measured_cells.measure(str(csv))[0])
    assert len(list(kept.iterdir())) == 3
    measured = []

    def count(*site):
        measured.append(site)
        return of_masks(*site)

    of_masks = measured_cells._of_masks
    monkeypatch.setattr(measured_cells, "_of_masks", count)
    again, as_before = measured_cells.measure(str(csv), kept=kept)
    pd.testing.assert_frame_equal(again, made)
    assert not measured and as_before.tolist() == seconds.tolist()
    side_by_side, _ = measured_cells.measure(str(csv), processes=2, kept=kept)
    pd.testing.assert_frame_equal(side_by_side, made)
    # Another image, another damaged file, other code: measured again, and nothing else.
    image = tifffile.imread(tmp_path / "A01_actin.tif")
    image[40:50] += 40
    tifffile.imwrite(tmp_path / "A01_actin.tif", image)
    measured_cells.measure(str(csv), kept=kept)
    assert len(measured) == 1
    for file in kept.iterdir():
        file.write_text(file.read_text()[:-40])
    changed, _ = measured_cells.measure(str(csv), kept=kept)
    assert len(measured) == 4
    monkeypatch.setattr(measured_cells, "_measured_by", lambda: "other code")
    pd.testing.assert_frame_equal(measured_cells.measure(str(csv), kept=kept)[0], changed)
    assert len(measured) == 7


def test_a_place_that_cannot_be_written_keeps_nothing(tmp_path):
    csv = plate(tmp_path, {"A01": [(25, 25)], "A02": [(60, 60)]})
    (tmp_path / "file").write_text("no folder")
    made, _ = measured_cells.measure(str(csv), kept=tmp_path / "file")
    assert len(made) == 2


def test_processes_share_the_sites(monkeypatch):
    began = []

    def sites():
        for i in range(9):
            began.append(i)
            yield i, 4

    # The measuring itself takes seconds; that of a number and its remainder does not.
    monkeypatch.setattr(measured_cells, "_kept_or_measured", divmod)
    alone = list(measured_cells._side_by_side(sites(), 1))
    shared = measured_cells._side_by_side(sites(), 2)
    began.clear()
    made = [next(shared)]
    assert len(began) == 4  # no image is read long before its turn
    assert sorted([*made, *shared]) == alone == [divmod(i, 4) for i in range(9)]


def test_the_number_of_processes_is_checked(tmp_path):
    csv = plate(tmp_path, {"A01": [(25, 25)]})
    with pytest.raises(SystemExit, match="processes is 0; it must be above 0"):
        measured_cells.main([str(csv), str(tmp_path / "out.parquet"), "--processes", "0"])


def test_a_dataset_without_nuclei_is_refused(tmp_path):
    csv = plate(tmp_path, {"A01": [], "A02": []})
    with pytest.raises(SystemExit, match="no site shows a nucleus in DNA"):
        measured_cells.main([str(csv), str(tmp_path / "measured.parquet")])


def test_the_extra_is_named_where_it_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(measured_cells, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match=r"needs cp_measure: pip install 'unidino\[measure\]'"):
        measured_cells.main(["plate.csv", str(tmp_path / "measured.parquet")])
