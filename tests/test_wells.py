"""Wells are written in many ways, and kept in one."""

import pandas as pd
import pytest

from unidino.wells import row_letters, well_name


def test_wells_in_one_spelling():
    wells = pd.Series(["A1", "a01", " B12", "AA3", "P024", None, "3-4"])
    assert well_name(wells).tolist() == ["A01", "A01", "B12", "AA03", "P24", None, "3-4"]


@pytest.mark.parametrize(("number", "letters"), [(1, "A"), (26, "Z"), (27, "AA"), (0, None)])
def test_letters_of_rows(number, letters):
    assert row_letters(number) == letters
