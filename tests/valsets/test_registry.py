"""The seven classes on the real tables, the training mix, and names that are not known."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from unidino import paths, valsets
from unidino.metadata import Metadata
from unidino.presence import may_repeat, missing_files


def real(name):
    root = paths.real_data_root()
    if root is None or not (root / name).is_dir():
        pytest.skip(f"the real tables of {name} are absent (set UNIDINO_REAL)")
    return root / name


def test_real_bbbc021_tables():
    metadata = valsets.BBBC021Metadata(root=real("bbbc021_ljosa"), check_files=False)
    frame = metadata.metadata
    assert len(frame) == 13_200 - 64
    assert frame["plate"].nunique() == 55
    assert frame["batch"].nunique() == 10
    assert frame["moa"].dropna().nunique() == 13
    assert set(frame.loc[frame["control_type"] == "negcon", "compound"]) == {"DMSO"}
    assert frame.iloc[0]["path"][0].endswith(
        "Images/Week4_27481/G10_s1_w1BEDC2073-A983-4B98-95E9-84466707A25D.tif"
    )
    assert sorted(frame["site"].unique()) == ["1", "2", "3", "4"]
    assert metadata.well_columns == ["batch", "plate", "well"]
    wells = frame.groupby(["plate", "compound"]).well.nunique()
    assert (wells.xs("DMSO", level="compound") == 6).all()


def test_real_bbbc021_training_set():
    root = real("bbbc021_ljosa")
    whole = valsets.BBBC021Metadata(root=root, check_files=False).metadata
    kept = valsets.BBBC021Metadata(root=root, check_files=False, downsample_controls=True)
    for compound in ("DMSO", "taxol"):
        before = whole[whole["compound"] == compound].groupby("plate").size()
        after = kept.metadata[kept.metadata["compound"] == compound].groupby("plate").size()
        assert after.tolist() == (before * 0.15).round().clip(lower=1).astype(int).tolist()
    others = ~whole["compound"].isin(["DMSO", "taxol"])
    assert others.sum() == (~kept.metadata["compound"].isin(["DMSO", "taxol"])).sum()
    # The published set has 32,430 single-channel rows; its sampling is not ours.
    assert 3 * len(kept.metadata) == pytest.approx(32_430, rel=0.02)
    clean = valsets.BBBC021Metadata(root=root, check_files=False, clean=True)
    assert clean.metadata["moa"].notna().all()


def test_real_cell_health_annotation():
    metadata = valsets.CellHealthMetadata(root=real("cellhealth_idr0080"), check_files=False)
    frame = metadata.metadata
    assert len(frame) == 3456
    assert frame["plate"].nunique() == 9
    assert not frame["plate"].str.contains("_illum_corrected").any()
    assert sorted(frame["cell_line"].unique()) == ["A549", "ES2", "HCC44"]
    treated = frame[frame["control_type"].isna()]
    assert set(frame["control_type"].dropna()) == {"negcon", "empty"}
    assert treated["reagent_identifier"].nunique() > 100


def test_cell_health_takes_the_version_whose_images_are_there(tmp_path):
    name = "idr0080-screenA-annotation.csv"
    table = pd.read_csv(real("cellhealth_idr0080") / name)
    keep = table["Plate"].isin(["SQ00014610", "SQ00014610_illum_corrected"])
    folder = tmp_path / "Cell_Health"
    images = folder / "idr0080" / "data" / "SQ00014610_illum_corrected" / "Images"
    images.mkdir(parents=True)
    table[keep].to_csv(folder / name, index=False)
    for field in (1, 2, 5):
        (images / f"r01c01f{field:02d}p01-ch1sk1fk1fl1.tiff").touch()
    frame = valsets.CellHealthMetadata(root=tmp_path, check_files=False).metadata
    assert set(frame["plate"]) == {"SQ00014610_illum_corrected"}
    assert sorted(frame["site"].unique()) == ["1", "2", "5"]
    assert len(frame) == 384 * 3


def test_missing_images_are_counted():
    with pytest.raises(FileNotFoundError, match="39,408 of 39,408 image files are missing"):
        valsets.BBBC021Metadata(root=real("bbbc021_ljosa"))


@pytest.mark.parametrize("name", ["bbbc021", "BBBC021", "Jumpcp-Valset"])
def test_names_in_any_case(name, tmp_path):
    with pytest.raises(FileNotFoundError, match="no table at .*Put the dataset there"):
        valsets.open_valset(name, root=tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("HAP", "unknown valset 'HAP'. .* Did you mean HPA"),
        ("bbc021", "Did you mean BBBC021"),
        ("xyz", "unknown valset 'xyz'. It is one of BBBC021, jumpcp-valset"),
    ],
)
def test_unknown_names_suggest_the_nearest(name, message):
    with pytest.raises(ValueError, match=message):
        valsets.open_valset(name)


@pytest.mark.parametrize("option", ["platemap", "channel_axis"])
def test_options_of_a_csv(option):
    with pytest.raises(ValueError, match=f"{option} goes with a CSV, not with HPA"):
        valsets.open_valset("hpa", **{option: "first"})


def test_absent_datasets_are_an_error_with_a_data_root(tmp_path, monkeypatch):
    monkeypatch.setenv("UNIDINO_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="no table at .*kaggle_2021.tsv"):
        valsets.open_valset("HPA")
    assert not list(tmp_path.iterdir())


def test_missing_columns_are_named(tmp_path):
    folder = tmp_path / "HPA"
    folder.mkdir()
    (folder / "kaggle_2021.tsv").write_text("Image,Label\na,b\n")
    with pytest.raises(ValueError, match="kaggle_2021.tsv lacks the columns Label_idx, Cellline"):
        valsets.HPAMetadata(root=tmp_path)


def test_hpa_takes_the_antibody_from_the_address(tmp_path):
    folder = tmp_path / "HPA"
    folder.mkdir()
    addresses = ["https://images.proteinatlas.org/4109/24_H11_1", "0042/b_1", "alone", "/bare"]
    rows = [f"{address},Cytosol,16,A549,True" for address in addresses]
    header = "Image,Label,Label_idx,Cellline,in_trainset"
    (folder / "kaggle_2021.tsv").write_text("\n".join([header, *rows, ""]))
    frame = valsets.HPAMetadata(root=tmp_path, check_files=False).metadata
    assert frame["image"].tolist() == ["24_H11_1", "b_1", "alone", "bare"]
    assert frame["antibody"].tolist() == ["4109", "0042", None, None]
    assert frame["path"][0][2] == f"{folder}/images/24_H11_1_green.tif"


def test_insect_without_its_batch(tmp_path):
    folder = tmp_path / "picasso-monheim"
    folder.mkdir()
    columns = "batch,plate,well,fov_id,cell_count,perturbation_id,MoA,concentration"
    (folder / "metadata_all_batches_sf9.csv").write_text(f"{columns}\nBatch1,p,A1,r1,3,x,y,1\n")
    with pytest.raises(ValueError, match="has no rows of batch Batch3"):
        valsets.InsectMetadata(root=tmp_path)


def test_missing_files_lists_each_once(tmp_path):
    (tmp_path / "a.tif").touch()
    names = [str(tmp_path / name) for name in ("a.tif", "b.tif", "b.tif", "c/d.tif")]
    assert missing_files(names) == [names[1], names[3]]


def test_missing_files_are_those_that_a_stat_does_not_find(tmp_path):
    rng = np.random.default_rng(0)
    names = []
    for folder in ("", "a", "b c", "b c/é", "gone", "file"):
        for name in (*"0123456789", "..", "a b.tif"):
            names.append(f"{tmp_path}/{folder}/{name}")
            if rng.random() < 0.5 and folder not in ("gone", "file") and name != "..":
                (tmp_path / folder).mkdir(exist_ok=True)
                (tmp_path / folder / name).touch()
    (tmp_path / "file").touch()
    for name, target in (("good", "a"), ("dangling", "nowhere"), ("loop", "loop")):
        (tmp_path / "b c" / f"{name}.tif").symlink_to(target)
        names.append(f"{tmp_path}/b c/{name}.tif")
    (tmp_path / "linked").symlink_to(tmp_path / "a")
    names += [f"{tmp_path}/linked/{i}" for i in range(10)] + ["", "no_file", "pyproject.toml"]
    names += [f"{tmp_path}/a//{i}" for i in range(10)] + [f"{tmp_path}/gone/../a/1"]
    names = [names[i] for i in rng.integers(len(names), size=400)]
    absent = [name for name in dict.fromkeys(names) if not os.path.exists(name)]
    assert 20 < len(absent) < len(set(names)) - 20
    assert missing_files(names) == absent
    assert missing_files([]) == []


def test_files_behind_a_folder_that_cannot_be_listed_are_found(tmp_path, monkeypatch):
    (tmp_path / "a.tif").touch()

    def refuse(folder):
        raise PermissionError(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    names = [str(tmp_path / name) for name in ("a.tif", "b.tif")]
    assert missing_files(names) == names[1:]


def test_repeated_values_are_told():
    assert not may_repeat(iter(["a", "b", "ab", ("a", "b"), 7]))
    assert may_repeat(["a", "b", "c", "a"])
    assert not may_repeat([])


def test_files_of_many_rows_are_those_of_each():
    apart = bare(path=[["a", "b"], ("c", Path("d"))], compound=["x", "y"])
    merged = bare(path=["a", Path("b")], compound=["x", "y"])
    for metadata in (apart, merged):
        paths_of = [metadata.paths(i) for i in range(2)]
        assert list(metadata.files()) == paths_of
        assert list(metadata.files([1, 0, 1])) == [paths_of[i] for i in (1, 0, 1)]


class Bare(Metadata):
    single_channel_metadata = False
    is_merged = False
    inference_metadata_columns = ["compound"]


def bare(**columns):
    metadata = Bare()
    metadata.metadata = pd.DataFrame(columns)
    return metadata


def test_contract_of_subclasses():
    metadata = bare(path=[["a.tif", "b.tif"]], compound=["x"])
    metadata.validate(check_files=False)
    assert metadata.channels == ["ch1", "ch2"]
    single = metadata.to_single_channel()
    assert single[["path", "channel"]].to_numpy().tolist() == [["a.tif", "ch1"], ["b.tif", "ch2"]]
    with pytest.raises(AttributeError, match="Bare lacks the attribute 'metadata'"):
        Bare().validate()


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"path": [["a"]]}, "the table lacks the columns compound; it has path"),
        ({"path": [], "compound": []}, "the table has no rows"),
        ({"path": ["a"], "compound": ["x"]}, "row 1 holds 'a'; expected a list of one file"),
        ({"path": [["a", "b"], ["c"]], "compound": "x"}, "mixed channel counts: most sites have"),
        ({"path": [["a"], ["a"]], "compound": "x"}, "2 rows repeat the images of another row"),
    ],
)
def test_broken_contracts_are_named(columns, message):
    with pytest.raises(ValueError, match=message):
        bare(**columns).validate(check_files=False)
