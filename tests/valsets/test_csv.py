"""CSV datasets and plate maps as people write them, and what each mistake is told."""

import numpy as np
import pandas as pd
import pytest
import tifffile

from unidino.valsets.csv import CSVMetadata

IMAGE = np.zeros((12, 14), np.uint8)


@pytest.fixture
def folder(tmp_path):
    for name in ("a", "b", "c", "d"):
        tifffile.imwrite(tmp_path / f"{name}.tif", IMAGE)
        tifffile.imwrite(tmp_path / f"{name}3.tif", np.stack([IMAGE] * 3), photometric="minisblack")
    tifffile.imwrite(tmp_path / "two.tif", np.stack([IMAGE] * 2), photometric="minisblack")
    return tmp_path


def write(folder, text, name="my_plate.csv"):
    (folder / name).write_text(text.replace(" ", ""))
    return folder / name


APART = "plate,well,DNA,ER,compound\n7,A1,a.tif,b.tif,x\n7,B02,c.tif,d.tif,DMSO\n"


def test_one_column_a_channel(folder):
    metadata = CSVMetadata(write(folder, APART))
    assert metadata.valset == "my_plate"
    assert metadata.channels == ["DNA", "ER"]
    assert not metadata.is_merged
    assert metadata.metadata["path"][1] == [str(folder / "c.tif"), str(folder / "d.tif")]
    assert metadata.metadata["well"].tolist() == ["A01", "B02"]
    assert metadata.metadata["plate"].tolist() == ["7", "7"]
    assert metadata.inference_metadata_columns == ["plate", "well", "compound"]
    assert metadata.key_columns == metadata.well_columns == ["plate", "well"]


def test_merged_images(folder):
    metadata = CSVMetadata(write(folder, "path\na3.tif\nb3.tif\n"))
    assert metadata.is_merged
    assert metadata.channels == ["ch1", "ch2", "ch3"]
    assert metadata.well_columns == []


@pytest.mark.parametrize("separator", [";", "\t"])
def test_separators_and_byte_order_marks(separator, folder):
    text = "\ufeff" + APART.replace(",", separator)
    (folder / "x.csv").write_text(text, encoding="utf-8")
    assert CSVMetadata(folder / "x.csv").channels == ["DNA", "ER"]


def test_names_of_the_field(folder):
    text = "Metadata_Plate,Metadata_Well,Metadata_Site,DNA\n1,A1,1,a.tif\n1,A1,2,b.tif\n"
    metadata = CSVMetadata(write(folder, text))
    assert metadata.key_columns == ["plate", "well", "site"]


def test_load_data_columns(folder):
    text = (
        f"FileName_DNA,PathName_DNA,FileName_ER,PathName_ER,Metadata_Well\n"
        f"a.tif,{folder},b.tif,{folder}/,A1\n"
    )
    metadata = CSVMetadata(write(folder, text))
    assert metadata.channels == ["DNA", "ER"]
    assert metadata.paths(0) == [str(folder / "a.tif"), str(folder / "b.tif")]
    urls = f"URL_DNA,Metadata_Well\nfile://{folder}/a.tif,A1\n"
    assert CSVMetadata(write(folder, urls)).paths(0) == [str(folder / "a.tif")]


def test_sites_of_a_well_are_numbered(folder):
    metadata = CSVMetadata(write(folder, "well,DNA\nA1,a.tif\nA2,b.tif\nA1,c.tif\n"))
    assert metadata.metadata["site"].tolist() == ["1", "1", "2"]


def test_relative_paths_follow_root(folder):
    (folder / "tables").mkdir()
    csv = write(folder / "tables", "DNA\na.tif\n")
    assert CSVMetadata(csv, root=folder).paths(0) == [str(folder / "a.tif")]
    with pytest.raises(FileNotFoundError, match="1 of 1 image files are missing"):
        CSVMetadata(csv)


@pytest.mark.parametrize(
    "selection", [["ER", "DNA"], {"ER": "ER", "DNA": "DNA"}, "ER,DNA", "ER=ER, DNA=DNA"]
)
def test_channels_are_ordered(selection, folder):
    metadata = CSVMetadata(write(folder, APART), channels=selection)
    assert metadata.channels == ["ER", "DNA"]
    assert metadata.paths(0) == [str(folder / "b.tif"), str(folder / "a.tif")]


def test_controls_query(folder):
    metadata = CSVMetadata(write(folder, APART), controls="compound == 'DMSO'")
    assert metadata.metadata["control_type"].tolist() == [None, "negcon"]


@pytest.mark.parametrize("with_plate", [True, False])
def test_plate_map(with_plate, folder):
    layout = "well,treatment,control_type\nB2,DMSO,negcon\nA01,x,\n"
    if with_plate:
        layout = "Plate,well,treatment,control_type\n7,B2,DMSO,negcon\n7,A01,x,\n"
    text = "plate,well,DNA\n7,A1,a.tif\n7,B2,b.tif\n"
    metadata = CSVMetadata(write(folder, text), platemap=write(folder, layout, "layout.csv"))
    assert metadata.metadata["treatment"].tolist() == ["x", "DMSO"]
    assert metadata.metadata["control_type"].tolist() == [None, "negcon"]
    assert "treatment" in metadata.inference_metadata_columns


def test_simulated_column(folder):
    metadata = CSVMetadata(write(folder, "DNA,simulated\na.tif,True\n"))
    assert metadata.simulated
    assert not CSVMetadata(write(folder, "DNA\na.tif\n")).simulated


BAD = {
    "empty table": ("plate,well,DNA\n", {}, "my_plate.csv: .*has no rows"),
    "no images": ("plate,well\n1,A1\n", {}, "has no images: expected a column path, or columns"),
    "both": ("path,DNA\na3.tif,a.tif\n", {}, "has a column path and image paths in DNA"),
    "path no text": ("path\n3\n4\n", {}, "column path of row 1 holds 3; expected the path"),
    "empty cell": ("DNA,ER\na.tif,b.tif\nc.tif,\n", {}, "mixed channel counts: the channel ER is"),
    "twice": ("DNA\na.tif\nb.tif\na.tif\n", {}, "2 rows repeat the images .* rows 1 and 3"),
    "planes": ("path\na3.tif\ntwo.tif\n", {}, "mixed channel counts: .*two.tif with 2|a3.tif with"),
    "no well": ("well,DNA\nA1,a.tif\n,b.tif\n", {}, "column well is empty in 1 rows, .* row 2"),
    "two plates": ("plate,Plate,DNA\n1,1,a.tif\n", {}, "has the column plate twice"),
    "unknown channel": (APART, {"channels": ["RNA"]}, "channels names RNA, which are no columns"),
    "unknown plane": ("path\na3.tif\n", {"channels": "DNA=ch9"}, "ch9, which my_plate does not"),
    "channel twice": (APART, {"channels": "A=DNA,B=DNA"}, "names a channel twice: DNA, DNA"),
    "no channel": (APART, {"channels": []}, "channels is empty"),
    "bad query": (APART, {"controls": "compund == 1"}, "controls .* is no query on my_plate"),
    "no control": (APART, {"controls": "compound == 'H2O'"}, "matches no row of my_plate"),
    "control word": ("DNA,control_type\na.tif,neg\n", {}, "control_type holds 'neg'; expected neg"),
    "axis": ("path\na3.tif\n", {"channel_axis": "middle"}, "'middle' is not 'first' or 'last'"),
}


@pytest.mark.parametrize("case", BAD)
def test_mistakes_are_named(case, folder):
    text, options, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        CSVMetadata(write(folder, text), **options)


def test_missing_files_are_counted(folder):
    rows = "".join(f"gone{i}.tif\n" for i in range(5))
    with pytest.raises(FileNotFoundError, match="5 of 6 image files are missing") as error:
        CSVMetadata(write(folder, "DNA\na.tif\n" + rows))
    assert str(error.value).count("gone") == 3
    assert len(CSVMetadata(folder / "my_plate.csv", check_files=False).metadata) == 6


def test_no_csv(folder):
    with pytest.raises(FileNotFoundError, match="no table at .*gone.csv"):
        CSVMetadata(folder / "gone.csv")
    (folder / "bytes.csv").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(ValueError, match="bytes.csv"):
        CSVMetadata(folder / "bytes.csv")


def test_no_plate_map(folder):
    csv = write(folder, APART)
    with pytest.raises(FileNotFoundError, match="no plate map at .*gone.csv. Give .* platemap out"):
        CSVMetadata(csv, platemap=folder / "gone.csv")


PLATE = "plate,well,DNA,compound\n7,A1,a.tif,x\n7,B2,b.tif,y\n"
BAD_MAPS = {
    "no match": ("well,t\nC1,x\nC2,y\n", "no match for 2 of the table's wells.* 7 A01|are A01"),
    "half a match": ("well,t\nA1,x\n", "no match for 1 of the table's wells, the first are B02"),
    "no well": ("plate,t\n7,x\n", "plate map layout.csv has no column well"),
    "twice": ("well,t\nA1,x\nA01,y\nB2,x\n", "plate map layout.csv lists A01 twice"),
    "both": ("well,compound\nA1,x\nB2,y\n", "columns compound are in the table and in plate map"),
    "empty": ("well,t\n", "plate map layout.csv: .*has no rows"),
}


@pytest.mark.parametrize("case", BAD_MAPS)
def test_plate_map_mistakes_are_named(case, folder):
    layout, message = BAD_MAPS[case]
    with pytest.raises(ValueError, match=message):
        CSVMetadata(write(folder, PLATE), platemap=write(folder, layout, "layout.csv"))


def test_plate_map_needs_the_tables_keys(folder):
    layout = write(folder, "plate,well,t\n7,A1,x\n", "layout.csv")
    with pytest.raises(ValueError, match="has a column plate, the table has none"):
        CSVMetadata(write(folder, "well,DNA\nA1,a.tif\n"), platemap=layout)
    with pytest.raises(ValueError, match="the table has no column well"):
        CSVMetadata(write(folder, "DNA\na.tif\n"), platemap=layout)


def test_large_tables_are_quick_to_describe(tmp_path):
    count = 50_000
    frame = pd.DataFrame(
        {
            "plate": "p",
            "well": "A1",
            "DNA": [f"i{i}.tif" for i in range(count)],
            "site": range(count),
        }
    )
    frame.to_csv(tmp_path / "big.csv", index=False)
    metadata = CSVMetadata(tmp_path / "big.csv", check_files=False)
    assert len(metadata.metadata) == count
