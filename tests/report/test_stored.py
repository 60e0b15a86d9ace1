"""What is read of an extraction, and every message where it cannot be."""

import re
import shutil

import numpy as np
import pandas as pd
import pytest

from unidino import tables
from unidino.report import stored
from unidino.verify.findings import Table

from .conftest import WELLS, images


@pytest.fixture(scope="module")
def plates(tmp_path_factory, extracted):
    """Plates whose names repeat across batches, or would be odd as file names."""
    names = ["p", "q/r", "P"]
    base = tmp_path_factory.mktemp("plates")
    parts = []
    for batch in ("1", "2"):
        table = images(base / batch, names, WELLS[:6], ["negcon"] * 4 + ["a", "b"])
        frame = pd.read_csv(table).assign(batch=batch)
        for channel in ("DNA", "ER"):
            frame[channel] = f"{batch}/" + frame[channel]
        parts.append(frame)
    pd.concat(parts).to_csv(base / "t.csv", index=False)
    return extracted(base / "t.csv")


@pytest.fixture
def copy(folder, tmp_path):
    """A copy to be damaged."""
    return shutil.copytree(folder, tmp_path / "small" / "t")


def test_a_plate_is_read_as_the_tables_have_it(folder):
    one = stored.read(folder)
    wells = tables.read_table(folder / "t_no_post_proc_well_features.parquet")
    after = tables.read_table(folder / "t_standardize_well_features.parquet")
    sites = tables.read_table(folder / "sites" / "p.parquet")
    pd.testing.assert_frame_equal(one.wells, wells)
    pd.testing.assert_frame_equal(one.profiles, after)
    pd.testing.assert_frame_equal(one.sites[sites.columns], sites)
    # Sites have the labels of their wells.
    labels = wells.set_index("Metadata_Well")["Metadata_compound"]
    expected = sites["Metadata_Well"].map(labels)
    assert one.sites["Metadata_compound"].fillna("").tolist() == expected.fillna("").tolist()
    assert one.key == ("p",) and one.name == "p" and one.by_well and one.unit == "well"
    assert one.file.name == "t_standardize_well_features.parquet" and one.others == []
    assert one.channels == ["DNA", "ER"] and one.dataset == "t" and not one.simulated
    assert one.output == folder / "reports" / "p_report.html"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d", one.extracted[0])
    assert one.extracted[1] == "the end of the log"


def test_each_plate_is_read_alone(plates):
    table = tables.read_table(plates / "t_standardize_well_features.parquet")
    seen, outputs = [], set()
    for batch in ("1", "2"):
        for plate in ("p", "q/r", "P"):
            one = stored.read(plates, f"{batch}/{plate}")
            mine = (table["Metadata_Batch"] == batch) & (table["Metadata_Plate"] == plate)
            pd.testing.assert_frame_equal(one.profiles, table[mine].reset_index(drop=True))
            assert len(one.sites) == len(one.wells) == 6 and len(one.keys) == 6
            assert one.table.is_file()
            outputs.add(str(one.output).lower())
            seen += one.sites["Metadata_path"].tolist()
    assert len(outputs) == 6 and len(set(seen)) == 36


def test_rows_of_many_pages_are_those_of_the_plate(tmp_path):
    rng = np.random.default_rng(0)
    plates = rng.choice(["a", "b", "c"], 9000)
    frame = pd.DataFrame({"Metadata_Plate": plates, "emb0": rng.normal(size=9000)})
    tables.write_table(frame, tmp_path / "x.parquet", {})
    table = Table(tmp_path / "x.parquet", "x.parquet", tuple(frame.columns))
    made = stored._rows_of(table, ("b",), tmp_path)
    pd.testing.assert_frame_equal(made, frame[plates == "b"].reset_index(drop=True))
    assert stored._rows_of(table, ("z",), tmp_path).empty


def test_the_table_written_last_is_taken_unless_one_is_named(folder, extracted):
    first = stored.read(folder, profiles="t_no_post_proc_well_features.parquet")
    assert first.file.name == "t_no_post_proc_well_features.parquet"
    extracted(folder.parents[2] / "t.csv", norm_method="mad_robustize")
    try:
        one = stored.read(folder)
        assert one.made["norm_method"] == "mad_robustize"
        assert one.others == ["t_standardize_well_features.parquet"]
        named = stored.read(folder, profiles="t_standardize_well_features")
        assert named.made["norm_method"] == "standardize"
    finally:
        for file in folder.glob("t_mad_robustize*"):
            file.unlink()


def test_without_a_log_the_date_is_that_of_the_file(copy):
    (copy / "extract.log").unlink()
    said = stored.read(copy).extracted
    assert said[0].endswith(" UTC") and said[1] == "the date of the site table"


@pytest.mark.parametrize(
    ("plate", "message"),
    [
        (None, "holds 6 plates, a report is on one. Name it by plate: 1/P, 1/p, 1/q/r, 2/P"),
        ("p", "2 plates in .* are called 'p'. Name one in full: 1/p, 2/p."),
        ("1/pp", "holds no plate '1/pp'. Did you mean '1/p'? There are: 1/P, 1/p, 1/q/r"),
        ("3", "holds no plate '3'. There are: 1/P, 1/p, 1/q/r"),
    ],
)
def test_which_plate_is_meant(plates, plate, message):
    pattern = re.escape(message).replace(r"\.\*", ".*")
    with pytest.raises(ValueError, match=pattern):
        stored.read(plates, plate)


def test_many_plates_are_listed_in_part(folder):
    keys = [(f"plate{i}",) for i in range(30)]
    with pytest.raises(ValueError, match=r"plate0, .*, plate19 … \(30\)\.$"):
        stored._chosen(folder, keys, None)


def test_a_dataset_without_plates_is_read_whole(tmp_path, extracted):
    table = images(tmp_path / "d", drop=["plate"])
    one = stored.read(extracted(table))
    assert one.key == () and len(one.wells) == 24 and one.table is None
    assert one.name == "all images" and one.output.name == "dataset_report.html"
    with pytest.raises(ValueError, match="has no plates, so none is called 'p'. Leave plate out"):
        stored.read(one.folder, "p")


def test_profiles_of_sites(tmp_path, extracted):
    table = images(tmp_path / "d", sites=2)
    one = stored.read(extracted(table, operation="none"))
    assert len(one.wells) == len(one.sites) == 48 and one.unit == "site"
    labels = one.wells.set_index("Metadata_path")["Metadata_control_type"]
    expected = one.sites["Metadata_path"].map(labels)
    assert one.sites["Metadata_control_type"].fillna("").tolist() == expected.fillna("").tolist()


def test_what_is_no_extraction_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist. Give the folder of an extraction"):
        stored.read(tmp_path / "none")
    with pytest.raises(ValueError, match="holds no extraction: no settings.json"):
        stored.read(tmp_path)


def test_damaged_and_missing_tables_are_said(copy):
    before, after = (copy / f"t_{m}_well_features.parquet" for m in ("no_post_proc", "standardize"))
    with pytest.raises(ValueError, match="profiles 'x' is no whole table of profiles in .*; there "
                       "are: t_no_post_proc_well_features.parquet, t_standardize"):  # fmt: skip
        stored.read(copy, profiles="x")
    whole = after.read_bytes()
    body = bytearray(whole)
    body[200:260] = bytes(60)
    after.write_bytes(body)
    with pytest.raises(ValueError, match=r"t_standardize.* cannot be read .*unidino verify "):
        stored.read(copy)
    after.write_bytes(whole)
    before.unlink()
    with pytest.raises(ValueError, match="holds damaged profiles .*Run the same extraction again"):
        stored.read(copy)
    after.unlink()
    with pytest.raises(ValueError, match="holds no profiles .*Run the same extraction again, "
                       "without shard"):  # fmt: skip
        stored.read(copy)


def test_damaged_site_tables_are_said(copy):
    table = copy / "sites" / "p.parquet"
    whole = table.read_bytes()
    body = bytearray(whole)
    body[100:160] = bytes(60)
    table.write_bytes(body)
    with pytest.raises(ValueError, match=r"p.parquet .*unidino verify .* says what is wrong"):
        stored.read(copy)
    table.write_bytes(b"PAR1")
    with pytest.raises(ValueError, match="holds no readable site tables. unidino verify"):
        stored.read(copy)


def test_profiles_that_lack_the_plate_or_their_origin(copy, tmp_path):
    before = copy / "t_no_post_proc_well_features.parquet"
    frame = tables.read_table(before)
    made = frame.attrs.pop("provenance")
    tables.write_table(frame.assign(Metadata_Plate="other"), before, made)
    with pytest.raises(ValueError, match="holds no profiles of the plate p. Run the same"):
        stored.read(copy)
    tables.write_table(frame, copy / "t_no_post_proc_site_features.parquet", made)
    before.unlink()
    with pytest.raises(ValueError, match="stands without the profiles before normalisation"):
        stored.read(copy)
