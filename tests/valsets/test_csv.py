"""CSV datasets and plate maps as people write them, and what each mistake is told."""

import numpy as np
import pandas as pd
import pytest
import tifffile

from unidino import valsets
from unidino.valsets import files
from unidino.valsets.csv import CSVMetadata, dataset_name

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


def column(metadata, name):
    return metadata.metadata[name].tolist()


FORMS = {
    "Metadata_": ("Metadata_Plate,Metadata_Well,Metadata_Site,DNA", "p,A1,1"),
    "CellProfiler": ("Image_Metadata_Plate,Image_Metadata_Well,Image_Metadata_Site,DNA", "p,A1,1"),
    "a stain's plate": ("Image_Metadata_Plate_DNA,Image_Metadata_Well_DNA,Field,FileName_DNA",
                        "p,A1,1"),
    "identifiers": ("Plate ID,Well_ID,FieldID,DNA", "p,a01,1"),
    "barcode": ("Assay_Plate_Barcode,well_position,fov,DNA", "p,A-01,1"),
    "Phenix": ("plate,well,site,DNA", "p,r01c01,1"),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_keys_by_other_names(form, folder):
    header, row = FORMS[form]
    (folder / "t.csv").write_text(f"{header}\n{row},a.tif\n")
    metadata = CSVMetadata(folder / "t.csv")
    assert metadata.metadata[["plate", "well", "site"]].to_numpy().tolist() == [["p", "A01", "1"]]
    assert metadata.channels == ["DNA"]


@pytest.mark.parametrize(
    "names", ["Row,Col", "row,column", "WellRow,WellColumn", "Metadata_Row,COL"]
)
@pytest.mark.parametrize("values", [("2,3", "27,12"), ("B,3", "aa,12"), ("02,03", "27,12")])
def test_wells_from_row_and_column(names, values, folder, capsys):
    rows = "".join(f"p,{value},{file}.tif\n" for value, file in zip(values, "ab", strict=True))
    metadata = CSVMetadata(write(folder, f"plate,{names},DNA\n{rows}"))
    assert column(metadata, "well") == ["B03", "AA12"]
    assert metadata.inference_metadata_columns == ["well", "plate"]
    assert "wells are named by the columns" in capsys.readouterr().err


def test_row_and_column_beside_a_well(folder):
    metadata = CSVMetadata(write(folder, "well,Row,Col,DNA\nB3,2,3,a.tif\nB4,2,4,b.tif\n"))
    assert metadata.inference_metadata_columns == ["well"]


CONTRADICTED = {
    "Row,Col": (["1,1", "1,1", "2,1"], "row 2: well A2, but Row 1 and Col 1 .1 such rows."),
    "row,column": (["A,1", "B,2", "C,1"], "row 2: well A2, but row B and column 2 .2 such rows."),
    "Metadata_Row,WellColumn": (["1,1", "1,3", "2,1"], "well A2, but Row 1 and WellColumn 3"),
    "column,x": (["1,u", "1,v", "1,w"], "row 2: well A2, but column 1 .1 such rows."),
    "Col,x": (["7,u", "8,v", "9,w"], "row 1: well A1, but Col 7 .3 such rows."),
    "row,x": (["A,u", "A,v", "A,w"], "row 3: well B1, but row A .1 such rows."),
    "PlateRow,x": (["1,u", "1,v", "1,w"], "row 3: well B1, but PlateRow 1"),
    "Row,Column": (["1,1", ",", "1,1"], "row 3: well B1, but Row 1 and Column 1"),
}


@pytest.mark.parametrize("names", CONTRADICTED)
@pytest.mark.parametrize("as_map", [False, True])
def test_rows_and_columns_that_contradict_the_well(names, as_map, folder):
    values, message = CONTRADICTED[names]
    rows = [f"{well},{value}" for well, value in zip(["A1", "A2", "B1"], values, strict=True)]
    with pytest.raises(ValueError, match=f"{message}.* Correct one of them"):
        if as_map:
            layout = write(folder, "\n".join([f"well,{names}", *rows]), "layout.csv")
            text = "well,DNA\nA1,a.tif\nA2,b.tif\nB1,c.tif\n"
            CSVMetadata(write(folder, text), platemap=layout)
        rows = [f"{row},{file}.tif" for row, file in zip(rows, "abc", strict=True)]
        CSVMetadata(write(folder, "\n".join([f"well,{names},DNA", *rows])))


BESIDE = {
    "column agrees": ("column", ["1", "2", "1"]),
    "column of words": ("column", ["left", "right", "left"]),
    "column from 0": ("column", ["0", "1", "0"]),
    "rows agree": ("wellrow", ["A", "A", "B"]),
    "half": ("col", ["1.5", "2", "1"]),
}


@pytest.mark.parametrize("case", BESIDE)
def test_what_is_no_other_row_or_column_stays_beside_the_well(case, folder):
    name, values = BESIDE[case]
    wells = ["A1,a.tif", "A2,b.tif", "B1,c.tif"]
    rows = [f"{value},{well}" for value, well in zip(values, wells, strict=True)]
    metadata = CSVMetadata(write(folder, "\n".join([f"{name},well,DNA", *rows])))
    assert metadata.inference_metadata_columns == [name, "well"]


def test_a_column_row_that_is_none_of_the_plate_is_renamed(folder):
    with pytest.raises(ValueError, match="have a column row of their own. Rename .* Row"):
        CSVMetadata(write(folder, "well,Row,Col,DNA\nB3,top,3,a.tif\nB4,low,4,b.tif\n"))


DATES = ["02-Jan", "1-Mar", "2. Jan", "Jan-02", "02-Jan-24", "2024-01-02", "01/02/2024", "1.Mrz"]


@pytest.mark.parametrize("date", DATES)
@pytest.mark.parametrize("wells", [["A01", "A02", "{}"], ["{}", "{}", "{}"]])
@pytest.mark.parametrize("as_map", [False, True])
def test_wells_that_excel_made_dates_of_are_named(date, wells, as_map, folder):
    names = [well.format(date) for well in wells]
    rows = [f"{i},{well},{'abc'[i]}.tif" for i, well in enumerate(names)]
    (folder / "t.csv").write_text("\n".join(["site,well,DNA", *rows]))
    options = {}
    if as_map:
        options["platemap"] = folder / "t.csv"
        (folder / "u.csv").write_text("well,DNA\nA01,a.tif\n")
        (folder / "t.csv").write_text("\n".join(["well,t", *dict.fromkeys(names)]))
    row = 1 if wells[0] == "{}" else 3
    with pytest.raises(ValueError, match=f"t.csv: row {row}: well {date} is a date, which Excel"):
        CSVMetadata(folder / ("u.csv" if as_map else "t.csv"), **options)


@pytest.mark.parametrize("odd", ["blank", "A01b", "3", "A00", "1-2", "5"])
def test_names_unlike_those_of_the_other_wells_are_noted(odd, folder):
    rows = "".join(f"{well},{file}.tif\n" for well, file in [("A1", "a"), ("B2", "b"), (odd, "c")])
    metadata = CSVMetadata(write(folder, f"well,DNA\n{rows}"))
    told = f"1 of 3 names of wells are not written as the others: {odd}. They count as wells"
    assert [note.startswith(told) for note in metadata.notes] == [True]
    assert CSVMetadata(write(folder, f"well,DNA\n{odd},a.tif\nx,b.tif\n")).notes == ()


PLATES = {
    "007": ("7", "name no plate alike: 7 in the map, 007 in the table. Write each plate the same"),
    "7": ("7.0", "name no plate alike: 7.0 in the map, 7 in the table"),
    "P1": ("p1", "name no plate alike: p1 in the map, P1 in the table"),
    "a b c d": ("A B", "alike: A, B in the map, a, b, c … in the table"),
    "007 8": ("7 8", "has no plate 007 of the table; it has 7. Write each plate the same"),
    "1 2": ("1", "has no plate 2 of the table; it has 1. Write .*, or add the missing rows"),
}


@pytest.mark.parametrize("plates", PLATES)
@pytest.mark.parametrize("key", ["plate", "batch"])
def test_plates_that_a_plate_map_names_otherwise(plates, key, folder):
    listed, message = PLATES[plates]
    rows = [f"{plate},A1,{file}.tif" for plate, file in zip(plates.split(), "abcd", strict=False)]
    table = write(folder, "\n".join([f"{key},well,DNA", *rows]))
    rows = [f"{plate},A1,x" for plate in listed.split()]
    layout = write(folder, "\n".join([f"{key},well,t", *rows]), "layout.csv")
    with pytest.raises(ValueError, match=message.replace("plate", key)):
        CSVMetadata(table, platemap=layout)


def test_wells_by_number(folder):
    metadata = CSVMetadata(write(folder, "well,DNA\n1,a.tif\n12,b.tif\n"))
    assert column(metadata, "well") == ["1", "12"]


def test_tables_without_wells_say_so(folder, capsys):
    metadata = CSVMetadata(write(folder, "plate,position,DNA\np,1,a.tif\np,2,b.tif\n"))
    assert metadata.notes == (
        "no column names the wells (well, or row and col), so every site has a profile of its own; "
        "the columns are plate, position",
    )
    assert "no column names the wells" in capsys.readouterr().err


def test_plates_by_barcode_rather_than_number(folder):
    text = "plate_number,barcode,well,DNA\n1,x,A1,a.tif\n1,y,A1,b.tif\n"
    assert column(CSVMetadata(write(folder, text)), "plate") == ["x", "y"]


def test_gaps_are_counted(folder, capsys):
    text = "plate,well,dose,gene,DNA\np,A1,NA,NA,a.tif\np,A2,0.5,None,b.tif\n"
    metadata = CSVMetadata(write(folder, text))
    assert column(metadata, "gene") == ["NA", "None"]
    assert "the column dose has no number in 1 of 2 rows" in capsys.readouterr().err


def test_names_in_digits_stay_apart(folder):
    text = "plate,well,DNA\n007,A1,a.tif\n7,A1,b.tif\n1E05,A1,c.tif\n100000,A1,d.tif\n"
    metadata = CSVMetadata(write(folder, text))
    assert len(metadata.plates()) == 4
    plates = CSVMetadata(write(folder, text.replace("plate,", "Plate_ID,")))
    assert column(plates, "plate") == ["007", "7", "1E05", "100000"]


LONG = """plate,well,site,channel,compound,exposure,path
p,A1,1,ER,x,9,a.tif
p,A1,1,DNA,x,5,b.tif
p,A1,2,DNA,x,5,c.tif
p,A1,2,ER,x,9,d.tif
"""


@pytest.mark.parametrize("name", ["channel", "Channel", "ChannelName", "Metadata_Channel"])
@pytest.mark.parametrize("path", ["path", "file"])
def test_one_row_an_image(name, path, folder, capsys):
    text = LONG.replace("channel", name).replace("path", path)
    metadata = CSVMetadata(write(folder, text))
    assert metadata.channels == ["ER", "DNA"]
    assert column(metadata, "path") == [
        [str(folder / "a.tif"), str(folder / "b.tif")],
        [str(folder / "d.tif"), str(folder / "c.tif")],
    ]
    assert column(metadata, "site") == ["1", "2"]
    assert metadata.inference_metadata_columns == ["plate", "well", "site", "compound"]
    said = capsys.readouterr().err
    assert "4 images are 2 sites of the channels ER, DNA; exposure differ between channels" in said


BAD_LONG = {
    "lacking": (LONG.replace("p,A1,2,ER,x,9,d.tif\n", ""), "site 2 has no row of channel ER"),
    "twice": (
        LONG.replace("c.tif", "c.tif\np,A1,2,DNA,x,5,a3.tif"),
        "both plate p, well A01, site 2",
    ),
    "no site": (
        "\n".join(",".join(line.split(",")[:2] + line.split(",")[3:]) for line in LONG.split()),
        "rows 2 and 3 are both plate p, well A01, channel DNA. Tell them apart by a column site",
    ),
    "no keys": ("channel,path\nER,a.tif\nDNA,b.tif\n", "add plate, well and site"),
    "no channel": (LONG.replace("2,ER", "2,"), "column channel is empty in row 4"),
    "label": (LONG.replace("x,5,b", "y,5,b"), "column compound is not the same in all rows of"),
}


@pytest.mark.parametrize("case", BAD_LONG)
def test_rows_of_images_that_make_no_sites(case, folder):
    text, message = BAD_LONG[case]
    with pytest.raises(ValueError, match=message):
        CSVMetadata(write(folder, text))


def test_load_data_columns_in_any_order(folder):
    text = (
        f"URL_ER,PathName_ER,PathName_DNA,FileName_ER,FileName_DNA,URL_DNA,Series_ER,Well\n"
        f"file://{folder}/a.tif,/gone,{folder},gone.tif,b.tif,,0,A1\n"
        f",{folder}/,,c.tif,d.tif,,0,A2\n"
    )
    metadata = CSVMetadata(write(folder, text))
    assert metadata.channels == ["ER", "DNA"]
    assert column(metadata, "path") == [
        [str(folder / "a.tif"), str(folder / "b.tif")],
        [str(folder / "c.tif"), str(folder / "d.tif")],
    ]
    assert metadata.inference_metadata_columns == ["well"]


ADDRESSES = {
    "file:///{folder}/a#1 b.tif": None,
    "file://localhost{folder}/a%231%20b.tif": None,
    "file:{folder}/a#1 b.tif": None,
    "FILE://{folder}/a#1%20b.tif": None,
    "{folder}/a#1 b.tif": None,
    "sub\\..\\a#1 b.tif": None,
    "./a#1 b.tif": None,
    "gs://bucket/project/a.tif": "gs://bucket/project/a.tif: gs addresses are not read, only https",
    "s3:/bucket/a.tif": "lacks a slash: write s3://",
    "simplecache::https://host/a.tif": "protocols that are chained are not read",
    "file://host/share/a.tif": "an address of another machine",
    "C:\\data\\a.tif": "a path of a Windows machine",
}


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("name", ["URL_DNA", "DNA", "path"])
def test_addresses(address, name, folder):
    (folder / "sub").mkdir()
    (folder / "a.tif").rename(folder / "a#1 b.tif")
    (folder / "t.csv").write_text(f"well,{name}\nA1,{address.format(folder=folder)}\n")
    if ADDRESSES[address] is None:
        path = CSVMetadata(folder / "t.csv").paths(0)[0]
        assert tifffile.imread(path).shape == IMAGE.shape
    else:
        with pytest.raises(ValueError, match=f"of row 1 holds .*{ADDRESSES[address]}"):
            CSVMetadata(folder / "t.csv")


KINDS = {
    "control_type": (
        ["negcon", "poscon_diverse", "Empty", "trt"],
        ["negcon", "poscon", "empty", None],
    ),
    "pert_type": (["negcon", "poscon", "trt", ""], ["negcon", "poscon", None, None]),
    "Metadata_pert_type": (
        ["NEGCON", "poscon_diverse", "NA", "None"],
        ["negcon", "poscon", None, None],
    ),
}


@pytest.mark.parametrize("name", KINDS)
def test_control_words_of_the_field(name, folder):
    given, expected = KINDS[name]
    rows = "".join(f"A{i},{kind},{'abcd'[i]}.tif\n" for i, kind in enumerate(given))
    metadata = CSVMetadata(write(folder, f"well,{name},DNA\n{rows}"))
    assert column(metadata, "control_type") == expected


def test_pert_types_that_name_no_controls_are_said(folder):
    text = "well,pert_type,DNA\nA1,control,a.tif\nA2,trt,b.tif\n"
    metadata = CSVMetadata(write(folder, text))
    assert "control_type" not in metadata.metadata
    assert "pert_type holds 'control', so it names no controls" in metadata.notes[0]


def test_flags_name_controls(folder):
    text = "well,is_control,DNA\nA1,0,a.tif\nA2,1,b.tif\nA3,1,c.tif\n"
    metadata = CSVMetadata(write(folder, text), controls="is_control")
    assert column(metadata, "control_type") == [None, "negcon", "negcon"]


def test_numbers_that_differ_within_a_well_are_noted(folder):
    rows = "".join(f"A{i // 2},{i % 2},{dose},{'abcdef'[i]}.tif\n"
                   for i, dose in enumerate([1, 1, 2, 3, 4, 4]))  # fmt: skip
    for name in "ef":
        tifffile.imwrite(folder / f"{name}.tif", IMAGE)
    metadata = CSVMetadata(write(folder, f"well,site,dose,DNA\n{rows}"))
    assert (
        "column dose is not the same in all rows of 1 wells: well A01 has 2, 3" in metadata.notes[0]
    )


def test_what_describes_sites_is_said(folder, capsys):
    text = "well,site,focus,DNA\nA1,1,sharp,a.tif\nA1,2,blurred,b.tif\n"
    metadata = CSVMetadata(write(folder, text))
    assert metadata.notes == ()
    assert "focus differ within most wells" in capsys.readouterr().err


def test_names_of_tables(folder):
    names = {}
    for name in ("screen.batch1.csv", "screen.batch2.csv", ".plate.csv", "a.tsv.gz", "plate"):
        names[name] = dataset_name(folder / name)
    assert list(names.values()) == ["screen.batch1", "screen.batch2", ".plate", "a", "plate"]
    for name in (".csv", " .csv", ".csv.gz"):
        (folder / name).write_text(APART)
        with pytest.raises(ValueError, match="has no name before its suffix"):
            CSVMetadata(folder / name)


@pytest.mark.parametrize("name", ["plate.txt", "plate.TSV", "plate.dat", "my plate"])
def test_any_file_of_text_is_a_table(name, folder):
    (folder / name).write_text(APART.replace(",", "\t"))
    assert valsets.open_valset(folder / name).channels == ["DNA", "ER"]


def test_chosen_channels_leave_other_images_out(folder):
    text = "well,DNA,thumb\nA1,a.tif,b.tif\nA2,c.tif,\n"
    metadata = CSVMetadata(write(folder, text), channels="DNA")
    assert metadata.channels == ["DNA"]
    assert metadata.inference_metadata_columns == ["well"]


BAD = {
    "empty table": ("plate,well,DNA\n", {}, "my_plate.csv cannot be read .*has no rows"),
    "no images": ("plate,well\n1,A1\n", {}, "has no images: expected a column path, or columns"),
    "both": ("path,DNA\na3.tif,a.tif\n", {}, "has a column path and image paths in DNA"),
    "path no text": ("path\n3\n4\n", {}, "column path of row 1 holds 3; expected the path"),
    "empty cell": ("DNA,ER\na.tif,b.tif\nc.tif,\n", {}, "mixed channel counts: the channel ER is"),
    "twice": ("DNA\na.tif\nb.tif\na.tif\n", {}, "2 rows repeat the images .* rows 1 and 3"),
    "planes": ("path\na3.tif\ntwo.tif\n", {}, "mixed channel counts: .*two.tif with 2|a3.tif with"),
    "no batch": (
        "batch,well,DNA\nb,A1,a.tif\n,A2,b.tif\n",
        {},
        "column batch is empty in 1 rows, .* row 2. Every site needs its batch",
    ),
    "no well": ("well,DNA\nA1,a.tif\n,b.tif\n", {}, "column well is empty in 1 rows, .* row 2"),
    "no site": ("well,site,DNA\nA1,1,a.tif\nA1,,b.tif\n", {}, "column site is empty in 1 rows"),
    "two plates": ("plate,Plate,DNA\n1,1,a.tif\n", {}, "has the column plate twice"),
    "unknown channel": (APART, {"channels": ["RNA"]}, "channels names RNA, which are no columns"),
    "unknown plane": ("path\na3.tif\n", {"channels": "DNA=ch9"}, "ch9, which my_plate does not"),
    "channel twice": (APART, {"channels": "A=DNA,B=DNA"}, "names a channel twice: DNA, DNA"),
    "channel again": (APART, {"channels": "DNA,DNA"}, "names a channel twice: DNA, DNA"),
    "no channel": (APART, {"channels": []}, "channels is empty"),
    "bad query": (APART, {"controls": "compund == 1"}, "controls .* is no query on my_plate"),
    "unknown column": (
        APART,
        {"controls": "gene == 'x'"},
        "no column 'gene'.; its columns are .*. What is in the wells can come from .* platemap",
    ),
    "no control": (
        APART,
        {"controls": "compound == 'H2O'"},
        "no row of my_plate: compound holds 'x', 'DMSO'",
    ),
    "control word": ("DNA,control_type\na.tif,neg\n", {}, "control_type holds 'neg'; expected neg"),
    "site twice": (
        "plate,well,site,DNA,PlaneID\np,A1,1,a.tif,1\np,A1,1,b.tif,2\np,A1,2,c.tif,1\n",
        {},
        "rows 1 and 2 are both plate p, well A01, site 1 .2 such rows.. They differ in PlaneID",
    ),
    "thumbnails": (
        "well,site,DNA\nA1,1,a.tif\nA2,1,b.tif\nA2,1,c.tif\n",
        {},
        "rows 2 and 3 are both",
    ),
    "plane": ("well,z,DNA\nA1,1,a.tif\nA1,2,b.tif\n", {}, "rows of well A01 differ in z, and no"),
    "time": ("well,Time_Point,DNA\nA1,0,a.tif\nA1,1,b.tif\n", {}, "differ in Time_Point"),
    "stain": ("well,dye,DNA\nA1,x,a.tif\nA1,y,b.tif\n", {}, "differ in dye, and no column names"),
    "another plate": (
        "Plate_Map,well,ImageNumber,DNA\nx,A1,1,a.tif\ny,A1,2,b.tif\n",
        {},
        "rows of well A01 differ in Plate_Map. If it names plates, call it plate",
    ),
    "no header": ("p,A1,a.tif\np,A2,b.tif\n", {}, "has a column named a.tif: the first row must"),
    "file twice": (
        "DNA,ER\na.tif,./a.tif\n",
        {},
        "a.tif is channel DNA of row 1 and channel ER of",
    ),
    "file again": (
        "DNA,ER\na.tif,b.tif\nb.tif,c.tif\n",
        {},
        "channel ER of row 1 and channel DNA of row 2",
    ),
    "some images": (
        "DNA,ER\na.tif,b.tif\nc.tif,none\n",
        {},
        "column ER of row 2 holds none; expected",
    ),
    "paths": ("path\na3.tif\nb3\n", {}, "column path of row 2 holds b3; expected the path"),
    "label": (
        "well,site,compound,DNA\nA1,1,DMSO,a.tif\nA1,2,dmso,b.tif\nA2,1,x,c.tif\n",
        {},
        "column compound is not the same in all rows of 1 wells: well A01 has 'DMSO', 'dmso'",
    ),
    "label missing": (
        "well,site,drug,DNA\nA1,1,x,a.tif\nA1,2,,b.tif\nA2,1,x,c.tif\nA2,2,x,d.tif\n",
        {},
        "column drug is not the same .* well A01 has 'x', nothing",
    ),
    "our name": (
        "well,Status,DNA\nA1,x,a.tif\n",
        {},
        "column status of their own. Rename .* Status",
    ),
    "our measure": ("well,focus_DNA,DNA\nA1,1,a.tif\n", {}, "a column focus_dna of their own"),
    "case": ("dose,Dose,DNA\n1,2,a.tif\n", {}, "has the column Dose twice"),
    "row 0": ("row,col,DNA\n0,1,a.tif\n", {}, "row 1 has row 0 and col 1, which name no well"),
    "planes of files": (
        "FileName_DNA,Frame_DNA\na.tif,1\n",
        {},
        "Frame_DNA takes planes from inside",
    ),
    "channel a column": ("FileName_DNA,DNA\na.tif,x\n", {}, "has a column DNA beside FileName_DNA"),
    "code": (APART, {"controls": "@pd.io.common.os.getpid() > 0"}, "is no query on my_plate .'@'"),
    "no truth": (APART, {"controls": "compound"}, "'compound' is neither true nor false"),
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
    with pytest.raises(FileNotFoundError, match="At most 50% may be missing .max_missing."):
        CSVMetadata(folder / "my_plate.csv", max_missing=0.5)
    some = CSVMetadata(folder / "my_plate.csv", max_missing=0.9)
    assert any("5 of 6 image files are missing, the first are" in note for note in some.notes)
    with pytest.raises(FileNotFoundError, match="5 of 5 image files are missing"):
        CSVMetadata(write(folder, "DNA\n" + rows), max_missing=1.0)
    write(folder, "DNA\na.tif\n" + rows)
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
    "no well in a row": ("well,t\nA1,x\nB2,y\n,z\n", "plate map layout.csv has no well in row 3"),
    "batch": ("batch,well,t\nb,A1,x\n", "has a column batch, the table has none"),
    "empty": ("well,t\n", "plate map [^ ]*layout.csv cannot be read as a table: it has no rows"),
    "column twice": ("well,t,T\nA1,x,y\n", "plate map layout.csv: has the column T twice"),
    "surplus": ("well,t\nA1,x,y\n", "plate map [^ ]*layout.csv cannot be read as a table: line 2"),
    "row 0": ("row,col,t\n0,1,x\n", "plate map layout.csv: row 1 has row 0 and col 1"),
}


@pytest.mark.parametrize("case", BAD_MAPS)
def test_plate_map_mistakes_are_named(case, folder):
    layout, message = BAD_MAPS[case]
    with pytest.raises(ValueError, match=message) as error:
        CSVMetadata(write(folder, PLATE), platemap=write(folder, layout, "layout.csv"))
    assert str(error.value).count("layout.csv") == 1


MAPS = {
    "blank rows": "well,t\nA1,x\nB2,y\n,\n,\n",
    "surplus": "well,t,,\nA1,x,,\nB2,y,,\n",
    "rows and columns": "t;Row;Col\nx;A;1\ny;B;2\n",
    "Phenix": "well\tt\nr01c01\tx\nr2c2\ty\n",
}


@pytest.mark.parametrize("case", MAPS)
def test_plate_maps_of_all_kinds(case, folder):
    metadata = CSVMetadata(write(folder, PLATE), platemap=write(folder, MAPS[case], "layout.csv"))
    assert column(metadata, "t") == ["x", "y"]


def test_plate_map_of_numbered_wells(folder):
    layout = write(folder, "well,t\n1,x\n2,y\n,\n", "layout.csv")
    metadata = CSVMetadata(write(folder, "well,DNA\n1,a.tif\n02,b.tif\n"), platemap=layout)
    assert column(metadata, "t") == ["x", "y"]


def test_plate_map_by_batch(folder):
    text = "batch,plate,well,DNA\n1,p,A1,a.tif\n2,p,A1,b.tif\n"
    layout = write(folder, "Batch,Plate,Well,t\n1,p,A1,x\n2,p,A1,y\n", "layout.csv")
    assert column(CSVMetadata(write(folder, text), platemap=layout), "t") == ["x", "y"]


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


def sites_of(folder, column, values):
    """A table of wells with two sites each, and a column of values, a site each."""
    rows = []
    for i, value in enumerate(values):
        name = f"s{i}.tif"
        tifffile.imwrite(folder / name, IMAGE)
        rows.append(f"A{i // 2 + 1},{i % 2},{value},{name}\n")
    return write(folder, f"well,site,{column},DNA\n{''.join(rows)}")


def test_a_dose_that_differs_in_many_wells_is_named(folder):
    metadata = CSVMetadata(sites_of(folder, "concentration", [1, 2, 1, 2, 3, 3]))
    assert "column concentration is not the same in all rows of 2 wells" in metadata.notes[0]


def test_numbers_that_describe_sites_are_said(folder, capsys):
    metadata = CSVMetadata(sites_of(folder, "x", range(6)))
    assert metadata.notes == () and "x differ within most wells" in capsys.readouterr().err


def test_one_of_two_wells_is_an_exception(folder):
    metadata = CSVMetadata(sites_of(folder, "cid", [101, 999, 5, 5]))
    assert "column cid is not the same in all rows of 1 wells: well A01" in metadata.notes[0]


def test_row_and_column_beside_wells_in_another_spelling_are_left_out(folder):
    text = "well,Row,Col,DNA\nA1,1,1,a.tif\nA2,1,2,b.tif\n"
    metadata = CSVMetadata(write(folder, text))
    assert "Row" not in metadata.metadata and metadata.metadata["well"].tolist() == ["A01", "A02"]


def test_wells_of_a_query_may_be_spelt_as_in_the_table(folder, capsys):
    path = write(folder, "well,compound,DNA\nA1,DMSO,a.tif\nA2,x,b.tif\n")
    for query in ("well in ['A1', 'r01c02']", "well == 'A1' or well == 'a02'"):
        metadata = CSVMetadata(path, controls=query)
        assert metadata.metadata["control_type"].tolist() == ["negcon", "negcon"]
    assert "no row" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "query",
    [
        "compound in ['DMSO', 'watr']",
        "compound == 'DMSO' or compound == 'watr'",
        "compound.isin(['watr', 'DMSO'])",
    ],
)
def test_what_a_query_names_and_no_row_has_is_said(query, folder, capsys):
    path = write(folder, "well,compound,DNA\nA1,DMSO,a.tif\nA2,x,b.tif\n")
    CSVMetadata(path, controls=query)
    assert "warning: controls: no row of my_plate has compound 'watr'" in capsys.readouterr().err


def test_controls_that_the_table_calls_otherwise_are_said(folder, capsys):
    text = "well,compound,control_type,DNA\nA1,DMSO,poscon,a.tif\nA2,DMSO,,b.tif\n"
    metadata = CSVMetadata(write(folder, text), controls="compound == 'DMSO'")
    assert metadata.metadata["control_type"].tolist() == ["negcon", "negcon"]
    assert "1 rows of my_plate whose control_type is poscon" in capsys.readouterr().err


@pytest.mark.parametrize(
    "query",
    [
        "compound not in ['taxol']",
        "compound != 'taxol'",
        "not compound == 'taxol'",
        "not compound.str.startswith('tax')",
    ],
)
def test_controls_that_match_a_blank_are_noted(query, folder, capsys):
    rows = "".join(f"p,{well},{label},{file}.tif\n" for well, label, file in
                   [("A1", "DMSO", "a"), ("A2", "", "b"), ("A3", "taxol", "c")])  # fmt: skip
    metadata = CSVMetadata(write(folder, f"plate,well,compound,DNA\n{rows}"), controls=query)
    assert column(metadata, "control_type") == ["negcon", "negcon", None]
    told = "controls match 1 wells whose compound is blank, and they count as negative controls: "
    assert metadata.notes == (f"{told}p A02. Where they are none, add: and compound.notna()",)
    assert told in capsys.readouterr().err
    again = CSVMetadata(folder / "my_plate.csv", controls=f"({query}) and compound.notna()")
    assert again.notes == () and column(again, "control_type") == ["negcon", None, None]


def test_blanks_that_match_are_counted_by_wells_or_rows(folder):
    text = "well,site,dose,DNA\nA1,1,,a.tif\nA1,2,,b.tif\nA2,1,1,c.tif\nA2,2,1,d.tif\n"
    metadata = CSVMetadata(write(folder, text), controls="not dose > 0")
    assert any("match 1 wells whose dose is blank" in note for note in metadata.notes)
    text = "dose,DNA\n,a.tif\n1,b.tif\n,c.tif\n"
    metadata = CSVMetadata(write(folder, text), controls="dose != 1")
    assert "match 2 rows whose dose is blank, and they count" in metadata.notes[0]
    assert "controls: 1, 3. Where" in metadata.notes[0]


@pytest.mark.parametrize("other", ["dmso", "Dmso", "DMSO"])
@pytest.mark.parametrize("query", ["compound == 'DMSO'", "compound in ['DMSO']"])
def test_labels_that_differ_from_a_control_by_case_are_noted(query, other, folder):
    text = f"well,compound,DNA\nA1,DMSO,a.tif\nA2,{other},b.tif\nA3,taxol,c.tif\n"
    metadata = CSVMetadata(write(folder, text), controls=query)
    told = f"controls match the compound 'DMSO', not '{other}' (1 rows). Where they are the same"
    assert [note.startswith(told) for note in metadata.notes] == [True] * (other != "DMSO")


def test_labels_that_differ_from_a_control_by_blanks_are_noted(folder):
    text = "well,compound,DNA\nA1,no drug,a.tif\nA2,No  drug,b.tif\n"
    (folder / "t.csv").write_text(text)
    metadata = CSVMetadata(folder / "t.csv", controls="compound == 'no drug'")
    assert "match the compound 'no drug', not 'No  drug'" in metadata.notes[0]


PIECES = ["a", "b.tif", ".", "..", "/", "//", "\\", "C:", "file:", "x+y:", "é", ":", " ", ".h", "~"]
PIECES += ["file://", "localhost/", "%20", "#"]


@pytest.mark.parametrize("root", ["/", "/d", "/d/.h/e", "/d/../e", "/d e"])
def test_paths_are_found_column_by_column_as_cell_by_cell(root):
    rng = np.random.default_rng(0)
    cells, found = [], []
    for count in rng.integers(1, 7, 3000):
        cell = "".join(PIECES[i] for i in rng.integers(len(PIECES), size=count)) + ".tif"
        try:
            found.append(files._absolute(cell, f"{root}/"))
            cells.append(cell)
        except ValueError as error:
            frame = pd.DataFrame({"p": pd.Series(["a.tif", cell], dtype="str")})
            with pytest.raises(ValueError) as raised:
                files.resolved(frame, "p", root)
            assert str(raised.value) == f"the column p of row 2 holds {cell}: {error}"
    assert len(found) > 1000
    for kind in ("str", object):
        frame = pd.DataFrame({"p": pd.Series(cells, dtype=kind)})
        assert files.resolved(frame, "p", root) == found


def test_columns_of_images_are_told_as_cell_by_cell():
    cells = [
        "a.tif",
        "A.TIFF",
        "x.jpEG",
        None,
        "",
        "tif",
        ".tif",
        "a.tıf",
        "a.tİf",
        "a.npy ",
        "é.PNG",
    ]
    told = [files.is_image(cell) for cell in cells]
    assert sum(told) == 5
    for kind in ("str", object):
        assert files.are_images(pd.Series(cells, dtype=kind)).tolist() == told
    assert files.are_images(pd.Series([1, "a.tif", 2.5, True])).tolist() == [
        False,
        True,
        False,
        False,
    ]
    assert not files.are_images(pd.Series([1.0, 2.0])).any()
