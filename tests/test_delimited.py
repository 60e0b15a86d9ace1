"""Delimited text in every dialect gives the same table; what is ambiguous or broken is named."""

import gzip
import sys

import numpy as np
import pandas as pd
import pytest

from unidino import delimited, tables

ROWS = [
    ("plate", "well", "compound", "dose", "note"),
    ("007", "A01", "DMSO", "0.5", "a"),
    ("7", "A02", "None", "1", "b; c"),
    ("1E05", "A03", "NA", "1e-05", "µ"),
]


def lines(separator=",", decimal=".", end="", newline="\n"):
    text = []
    for row in ROWS:
        cells = [cell.replace(".", decimal) if cell[:1].isdigit() else cell for cell in row]
        cells = [f'"{cell}"' if separator in cell else cell for cell in cells]
        text.append(separator.join(cells) + end)
    return newline.join(text) + newline


def read(tmp_path, content, name="t.csv", encoding="utf-8"):
    data = content if isinstance(content, bytes) else content.encode(encoding)
    (tmp_path / name).write_bytes(data)
    return tables.read_csv(tmp_path / name)


DIALECTS = {
    "comma": lines(),
    "semicolon": lines(";"),
    "tab": lines("\t"),
    "bar": lines("|"),
    "decimal comma": lines(";", ","),
    "quoted decimal comma": lines(",", ","),
    "tab, decimal comma": lines("\t", ","),
    "sep=": "sep=;\n" + lines(";", ","),
    "quoted sep=": '"sep=,"\n' + lines(),
    "byte-order mark": "\ufeff" + lines(),
    "blank rows": "\n,,,,\n" + lines().replace("\n", "\n,,,,\n\n") + " , ,\n\n",
    "surplus separators": lines(end=","),
    "surplus separators below the header": lines(end=",,").replace("note,,", "note"),
    "blanks around": lines().replace(",", " , ").replace("\n", "  \n"),
    "Windows": lines(newline="\r\n"),
    "old Mac": lines(newline="\r"),
    "all quoted": "\n".join(",".join(f'"{cell}"' for cell in row) for row in ROWS),
    "blanks before quotes": "\n".join(", ".join(f'"{cell}"' for cell in row) for row in ROWS),
    "row numbers": "\n".join(
        ",".join(["" if i == 0 else str(i), *row]) for i, row in enumerate(ROWS)
    ),
}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_dialects(dialect, tmp_path):
    frame = read(tmp_path, DIALECTS[dialect], "t.txt")
    assert list(frame.columns) == list(ROWS[0])
    assert frame["plate"].tolist() == ["007", "7", "1E05"]
    assert frame["compound"].tolist() == ["DMSO", "None", "NA"]
    assert frame["dose"].tolist() == [0.5, 1.0, 1e-05]
    assert frame["note"].tolist() == ["a", "b; c", "µ"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_encodings(encoding, tmp_path):
    frame = read(tmp_path, lines("\t"), encoding=encoding)
    assert frame["note"].tolist() == ["a", "b; c", "µ"]


def test_compressed(tmp_path):
    assert read(tmp_path, gzip.compress(lines().encode()), "t.csv.gz")["dose"].sum() > 1.5
    with pytest.raises(ValueError, match="half.csv.gz cannot be read as a table"):
        read(tmp_path, gzip.compress(lines().encode())[:30], "half.csv.gz")


def column(tmp_path, *entries, name="x", separator=","):
    text = "".join(f'{separator}"{entry}"\n' for entry in entries)
    return read(tmp_path, f"a{separator}{name}\n{text}" + f"1{separator}\n" * (not any(entries)))[
        name
    ]


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        (["1", "2"], [1, 2]),
        (["1", "2.0", "-3e2"], [1.0, 2.0, -300.0]),
        (["1", "NA", "nan", "NULL"], [1.0, None, None, None]),
        (["1.5", "None"], ["1.5", "None"]),
        (["NA", "NA"], ["NA", "NA"]),
        (["007", "7"], ["007", "7"]),
        (["0.5", "00.5"], ["0.5", "00.5"]),
        (["1E05", "100000"], ["1E05", "100000"]),
        (["1e+05", "1.0E-3"], [1e5, 1e-3]),
        (["1234567890123456", "1"], ["1234567890123456", "1"]),
        (["True", "false"], [True, False]),
        (["True", "no"], ["True", "no"]),
        (["0,5", "1"], [0.5, 1.0]),
        (["1,000", "2,500"], ["1,000", "2,500"]),
        (["1,000", "2,50"], [1.0, 2.5]),
        (["inf", "1"], ["inf", "1"]),
        (["1_000", "1"], ["1_000", "1"]),
        (["2024-01-02", "3"], ["2024-01-02", "3"]),
        (["12 ", " 13"], [12, 13]),
    ],
)
def test_types(entries, expected, tmp_path):
    values = column(tmp_path, *entries)
    shown = [None if value is None or value != value else value for value in values.tolist()]
    assert shown == expected
    assert [type(v) for v in shown] == [type(v) for v in expected]


@pytest.mark.parametrize("name", ["Plate", "Metadata_Well", "Image_Metadata_Site", "compound"])
def test_names_are_text_even_where_all_are_numbers(name, tmp_path):
    assert column(tmp_path, "1", "2", name=name).tolist() == ["1", "2"]


def test_thousands_or_decimals_by_the_separator(tmp_path):
    assert column(tmp_path, "1,000", "2,500", separator=";").tolist() == [1.0, 2.5]


def table(**columns):
    """A table with semicolons, a row a tuple of the columns' entries."""
    rows = zip(*columns.values(), strict=True)
    return "\n".join([";".join(columns), *(";".join(row) for row in rows)]) + "\n"


PROVING = {"0,5": ("0,5", "1"), "beside a dash": ("0,5", "1,5", "-"), "1,250": ("1,250", "2")}
POINTS = {
    "thousands": ("1.250", "10.000"),
    "one decimal": ("1.5", "2"),
    "exponent": ("1.0e-3", "2"),
    "with gaps": ("1.250", "NA"),
}


@pytest.mark.parametrize("points", POINTS)
@pytest.mark.parametrize("commas", PROVING)
@pytest.mark.parametrize("first", ["volume", "dose"])
def test_decimal_marks_agree_across_columns(first, commas, points, tmp_path):
    columns = {"volume": PROVING[commas], "dose": POINTS[points]}
    columns = {name: (values * 3)[:6] for name, values in columns.items()}
    columns = {first: columns[first]} | columns
    message = (
        f"column volume has numbers with a decimal comma \\({PROVING[commas][0]}\\) and the column "
        f"dose with a point \\({POINTS[points][0]}\\). Write one of them in the whole table"
    )
    with pytest.raises(ValueError, match=message):
        read(tmp_path, table(**columns))


@pytest.mark.parametrize(
    ("name", "entries"),
    [
        ("version", ("1.2.3", "1.2.4")),
        ("software", ("v1.5", "v1.6")),
        ("date", ("01.02", "02.02")),
        ("mixed", ("1.5", "none", "low")),
        ("plate", ("1.250", "1.5")),
        ("compound", ("1.250", "1.5")),
    ],
)
def test_text_with_points_stays_beside_decimal_commas(name, entries, tmp_path):
    frame = read(tmp_path, table(**{"volume": ("0,5", "1,5", "2"), name: (entries * 2)[:3]}))
    assert frame["volume"].tolist() == [0.5, 1.5, 2.0]
    assert frame[name].tolist() == list((entries * 2)[:3])


def test_thousands_with_commas_stand_beside_decimal_points(tmp_path):
    frame = read(tmp_path, 'cells,dose\n"1,250",0.5\n"2,000",1.5\n')
    assert frame["cells"].tolist() == ["1,250", "2,000"]
    assert frame["dose"].tolist() == [0.5, 1.5]


@pytest.mark.parametrize("entry", ["1,250", "-", "#N/A", "########", "<0.1", "007", "1E05", "inf"])
@pytest.mark.parametrize("often", [1, 4])
def test_entries_that_make_text_of_numbers_are_said(entry, often, tmp_path, capsys):
    assert column(tmp_path, "0", "10", "20", "30", *[entry] * often)[0] == "0"
    said = capsys.readouterr().err
    count = f"{often} such rows of {4 + often}"
    assert f"t.csv: the column x is text because of {entry!r} in row 5 ({count})" in said


@pytest.mark.parametrize("entries", [("DMSO", "x1"), ("1", "NA"), ("a", "b", "1"), ("True", "no")])
def test_columns_of_text_are_not_said(entries, tmp_path, capsys):
    column(tmp_path, *entries)
    assert "is text because" not in capsys.readouterr().err


BROKEN = {
    "empty": ("", "it is empty"),
    "separators only": (",,\n,,\n", "it is empty"),
    "header only": ("a,b\n", "has no rows below its header"),
    "sep= only": ("sep=;\n", "it is empty"),
    "surplus cell": ("a,b\n1,2\n1,DMSO, 1%\n", "line 3 has 3 cells, the header 2: '1%'"),
    "index of R": ('"a","b"\n"1",2,3\n"2",4,5\n', "line 2 has 3 cells, the header 2"),
    "title above": (
        "plate export\n\na,b,c\n1,2,3\n",
        "line 3 has 3 cells, the header 1: .*read from line 1, 'plate export': .* remove the lines",
    ),
    "comment above": ("\n# by me\na,b\n1,2\n", "read from line 2, '# by me': .* remove the lines"),
    "comments above": (
        "# by me, today\n# x\na,b,c\n1,2,3\n",
        "line 3 has 3 cells, the header 2: .* line 1, '# by me': .* remove the lines above the",
    ),
    "column twice": ("a,b,a\n1,2,3\n", "has the column a twice"),
    "header twice": ("a,b\n1,2\na,b\n3,4\n", "line 3 repeats the header"),
    "no name": ("a,,b\n1,2,3\n", "column 2 has values \\('2' …\\) but no name"),
    "open quote": ('a,b\n1,"2\n3,4\n', "line 3: unexpected end of data"),
    "text after quote": ('a,b\n1,"2"x\n3,4\n', "line 2: ',' expected after '\"'"),
    "both points": ("a;b\n1,5;x\n2.5;y\n", "the column a has numbers with a decimal comma"),
    "latin": ("a,b\n1,µ\n".encode("latin-1"), "byte 0xb5 in line 2 is no utf-8 text.* CSV UTF-8"),
    "workbook": (b"PK\x03\x04rest", "is a workbook, not text. Save it as CSV"),
    "bytes": (b"ab\x00\x01\x02", "holds a zero byte"),
    "wide": (",".join(f"c{i}" for i in range(10_001)) + "\n1\n", "has 10001 columns; at most"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_tables_are_named(case, tmp_path):
    content, message = BROKEN[case]
    with pytest.raises(ValueError, match=f"t.csv cannot be read as a table: .*{message}"):
        read(tmp_path, content)


def place(newline, encoding, before, size):
    """A table whose last row but one holds a byte of another encoding, and the row's line."""
    header = f"a{newline}".encode(encoding)
    row = ("x" * 7 + newline).encode(encoding.replace("utf-16", "utf-16-le"))
    if encoding == "utf-8":
        return header + row * before + "µ".encode("cp1252") + row * size, before + 2
    return header + row * before + b"\x00\xdc" + row * size, before + 2


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("before", [0, 3, 40_000])
@pytest.mark.parametrize("size", [0, 5000])
@pytest.mark.parametrize("packed", [False, True])
def test_bytes_that_are_no_text_are_named_by_their_line(
    newline, encoding, before, size, packed, tmp_path
):
    content, line = place(newline, encoding, before, size)
    content = gzip.compress(content) if packed else content
    with pytest.raises(ValueError, match=f" in line {line} is no {encoding} text. Save"):
        read(tmp_path, content)


@pytest.mark.parametrize("end", ["é".encode()[:1], "€".encode()[:2]])
def test_a_file_that_ends_within_a_letter(end, tmp_path):
    with pytest.raises(ValueError, match=f"byte 0x{end[0]:02x} in line 3 is no utf-8 text"):
        read(tmp_path, b"a,b\n1,2\n3,4" + end)


def test_values_are_those_that_were_written(tmp_path):
    generator = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "plate": [f"{n:03d}" for n in generator.integers(0, 30, 200)],
            "label": generator.choice(["x", 'say "x"', "a,b", "c;d", "None", "two\nlines"], 200),
            "dose": generator.lognormal(0, 9, 200),
            "count": generator.integers(0, 10**9, 200),
        }
    )
    # The type of text on pandas 3, which older ones do not take by themselves.
    texts = dict.fromkeys(["plate", "label"], pd.StringDtype("pyarrow", na_value=np.nan))
    frame = frame.astype(texts)
    for options in ({}, {"sep": ";", "decimal": ","}, {"sep": "\t"}):
        frame.to_csv(tmp_path / "t.csv", index=False, **options)
        pd.testing.assert_frame_equal(tables.read_csv(tmp_path / "t.csv"), frame)


def test_parquet_of_any_name(tmp_path):
    frame = pd.DataFrame({"Plate": [7.0, 8.0], "compound": [" DMSO ", "x"], "dose": [1, 2]})
    frame.to_parquet(tmp_path / "t.dat")
    read = tables.read_csv(tmp_path / "t.dat")
    assert read["Plate"].tolist() == ["7", "8"]
    assert read["compound"].tolist() == ["DMSO", "x"]
    wide = pd.DataFrame(np.zeros((1, 10_001)), columns=[f"c{i}" for i in range(10_001)])
    wide.to_parquet(tmp_path / "wide.parquet")
    with pytest.raises(ValueError, match="has 10001 columns"):
        tables.read_csv(tmp_path / "wide.parquet")


def test_cells_are_stripped_of_what_python_takes_for_blanks(tmp_path):
    blanks = [chr(i) for i in range(sys.maxunicode + 1) if chr(i).isspace()]
    blanks = [blank for blank in blanks if blank not in "\n\r"]
    text = "a,b\n" + "".join(f'"{blank}x{blank}y{blank}",{blank}z\n' for blank in blanks)
    frame = read(tmp_path, text)
    assert frame["a"].tolist() == [f"x{blank}y" for blank in blanks]
    assert (frame["b"] == "z").all()
    alone = read(tmp_path, "a,b\n1,2\n" + "".join(f'"{blank}",{blank}\n' for blank in blanks))
    assert len(alone) == 1


def test_rows_beyond_a_block_are_read_alike(tmp_path):
    rng = np.random.default_rng(0)
    cells = ["", " ", "a", "é", "plate 1", "x,y", "0"]
    wanted = [[cells[i] for i in rng.integers(len(cells), size=3)] for _ in range(2500)]
    lines = [",".join(f'"{cell}"' for cell in row) for row in wanted]
    frame = read(tmp_path, "plate,b,c\n" + "\n".join(lines))
    kept = [[cell.strip() or None for cell in row] for row in wanted if "".join(row).strip()]
    shown = frame.astype(object).where(frame.notna(), None).to_numpy().tolist()
    assert shown == kept


def test_a_header_repeated_far_below_is_named(tmp_path):
    text = "plate,b\n" + "plates,b\n" * 1500 + " plate ,b \n"
    with pytest.raises(ValueError, match="line 1502 repeats the header"):
        read(tmp_path, text)


def test_words_are_what_holds_no_number():
    entries = [
        "1",
        "-1",
        "+.5",
        ",5",
        ".x",
        "a1",
        "1a",
        "٣",
        "é",
        "-",
        "na",
        "true",
        "1,000",
        "./a",
    ]
    for entry in entries:
        column = pd.Series([entry, None, "word"], dtype="str")
        if delimited.is_words(column):
            assert not delimited._is_number(entry)
            assert delimited.typed(column).dropna().tolist() == [entry, "word"]
    wordy = [entry for entry in entries if delimited.is_words(pd.Series([entry]))]
    assert wordy == [".x", "a1", "-", "na", "true", "./a"]
