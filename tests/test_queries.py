"""Queries mean what pandas makes of them, and can do nothing else."""

import numpy as np
import pandas as pd
import pytest

from unidino import queries

FRAME = pd.DataFrame(
    {
        "compound": ["DMSO", "taxol", None, "dmso low", "a.c"],
        "dose": [0.0, 1.5, np.nan, 3.0, 1.0],
        "is_control": [1, 0, 0, 1, 0],
        "hit": [True, False, True, False, False],
        "seen": [True, None, False, None, True],
        "conc (uM)": [1, 2, 3, 4, 5],
        "plate": ["7", "7", "007", "7", "8"],
    }
)

SAME_AS_PANDAS = [
    "compound == 'DMSO'",
    'compound == "DMSO" or dose > 1',
    "compound != 'taxol'",
    "0 < dose <= 1.5",
    "0 < dose and not dose > 1",
    "dose > -1 & is_control == 1 | hit",
    "(dose > -1) & ~hit",
    "compound in ['DMSO', 'taxol']",
    "compound not in ('DMSO',) and plate == '7'",
    "`conc (uM)` >= 3",
    "compound.isna()",
    "compound.notna() and compound.isin(['taxol'])",
    "hit == True",
    "hit == 1",
    "is_control == hit",
    "compound.str.startswith('D') == True",
]


@pytest.mark.parametrize("query", SAME_AS_PANDAS)
def test_rows_are_those_of_pandas(query):
    expected = FRAME.index.isin(FRAME.query(query).index)
    assert queries.rows(FRAME, query).tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("is_control", [0, 3]),
        ("not is_control", [1, 2, 4]),
        ("seen", [0, 4]),
        ("compound.str.lower().str.contains('dmso')", [0, 3]),
        ("compound.str.contains('.')", [4]),
        ("compound.str.endswith('l')", [1]),
        ("compound == 'a & b @ c | `d`'", []),
    ],
)
def test_rows(query, expected):
    assert np.flatnonzero(queries.rows(FRAME, query)).tolist() == expected


def test_columns_are_found_with_and_without_their_prefix():
    frame = FRAME.rename(columns={"plate": "Metadata_Plate"})
    assert queries.rows(frame, "plate == '8'").tolist() == [False] * 4 + [True]
    assert queries.rows(frame, "Metadata_Plate == '8'").sum() == 1


REFUSED = {
    "": "it is empty",
    "@os.system('touch x') == 0": "'@' is not read",
    "@pd.io.common.os.getcwd() != ''": "'@' is not read",
    "compound.to_csv('x.csv')": "is not read; of a column isna",
    "compound.str.decode('utf8')": "of .str these are: startswith",
    "compound.str.contains('(a+)+$', regex=True)": "is not read: it is no known method",
    "compound.__class__ == 1": "is not read: queries know columns",
    "__import__('os')": "is no known method of a column",
    "(lambda: 1)()": "is no known method of a column",
    "[c for c in compound]": "is not read: queries know",
    "f'{dose}' == 'x'": "is not read: queries know",
    "dose if hit else dose": "is not read: queries know",
    "dose + 1 > 2": "is not read: queries know",
    "dose ** 9 ** 9 ** 9 > 1": "is not read: queries know",
    "compound[0] == 'x'": "is not read: queries know",
    "(x := dose) > 1": "is not read: queries know",
    "(" * 900 + "dose" + ")" * 900: "it cannot be parsed|nested",
    "dose == 1 or " * 200 + "hit": "characters; at most 2000",
    "dose ==": "it cannot be parsed",
    "compound = 'DMSO'": "equality is written ==",
    "compound is 'DMSO'": "'is' is not read",
    "compound == None": "missing values are found by isna",
    "compound == ['DMSO']": "a list is compared by in",
    "'DMSO' in compound": "compare a column with a list",
    "1 == 1": "compares two constants",
    "compound": "'compound' is neither true nor false",
    "dose": "'dose' is neither true nor false",
    "`conc (uM)`": "`conc \\(uM\\)` is neither|'`conc \\(uM\\)`' is neither",
    "dose and hit": "'dose' is neither true nor false",
    "plate == 7": "compares plate with 7, but plate holds text: write the value in quotes",
    "plate in [7]": "compares plate with 7, but plate holds text",
    "dose == '0'": "dose holds numbers: write the value without quotes",
    "dose.str.lower() == 'x'": "dose holds no text",
    "-dose > 1": "a sign goes with a number",
}


@pytest.mark.parametrize("query", REFUSED)
def test_everything_else_is_refused(query):
    with pytest.raises(ValueError, match=REFUSED[query]):
        queries.rows(FRAME, query)


def test_nothing_is_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for query in ("compound.to_csv('x')", "@FRAME.to_csv('x') == 1", "open('x', 'w') == 1"):
        with pytest.raises(ValueError, match="is not read"):
            queries.rows(FRAME, query)
    assert not list(tmp_path.iterdir())


def test_unknown_columns_have_an_error_of_their_own():
    with pytest.raises(queries.UnknownColumn, match="no column 'compund'") as error:
        queries.rows(FRAME, "compund == 'DMSO'")
    assert error.value.column == "compund"
    with pytest.raises(queries.UnknownColumn, match="no column 'a b'"):
        queries.rows(FRAME, "`a b` == 'DMSO'")


def test_values_that_there_are():
    told = queries.values_named(FRAME, "compound == 'x' and `conc (uM)` > 9")
    assert told.startswith("compound holds 'DMSO', 'taxol', 'dmso low'")
    assert told.endswith("conc (uM) holds 1, 2, 3, 4, 5.")


BY_BLANKS = {
    "compound not in ['taxol']": [2],
    "compound != 'taxol'": [2],
    "not compound == 'taxol'": [2],
    "not compound.isin(['taxol'])": [2],
    "not compound.str.startswith('t')": [2],
    "not compound.str.lower() == 'taxol'": [2],
    "dose != 1": [2],
    "not (dose > 0)": [2],
    "not 0 < dose <= 9": [2],
    "not seen": [1, 3],
    "compound != 'taxol' and dose != 1": [2],
    "compound != 'taxol' or not compound in ['a']": [2],
    "not (compound == 'taxol' or dose > 1)": [2],
    "compound == 'DMSO'": [],
    "compound == 'DMSO' or plate == '007'": [],
    "compound != 'taxol' or plate == '007'": [],
    "compound != 'taxol' and compound.notna()": [],
    "compound.isna()": [],
    "compound != 'taxol' or compound.isna()": [],
    "dose >= 0": [],
    "seen": [],
}


@pytest.mark.parametrize("query", BY_BLANKS)
def test_rows_that_match_by_a_blank(query):
    assert np.flatnonzero(queries.by_blanks(FRAME, query)).tolist() == BY_BLANKS[query]
    assert queries.rows(FRAME, query)[BY_BLANKS[query]].all()


@pytest.mark.parametrize("name", ["Row", "col", "Metadata_Column", "well_row"])
def test_rows_and_columns_are_queried_by_the_well(name):
    message = "no column '.*' .it names the wells: query well instead"
    for well in ("well", "Metadata_Well"):
        with pytest.raises(queries.UnknownColumn, match=message):
            queries.rows(pd.DataFrame({well: ["A01"]}), f"{name} == 1")
    with pytest.raises(queries.UnknownColumn, match="no column '[a-zA-Z_]*'$"):
        queries.rows(FRAME, f"{name} == 1")
