"""Tables aggregated from files, some features at a time: twins of those aggregated in memory."""

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from unidino import cli, profiles, tables
from unidino.profiles import aggregation, parts

NAMES = [f"emb_DNA_{i:04d}" for i in range(7)]


def sites(seed=0, plates=3, wells=8, each=4):
    """Sites with gaps, failures, measures, lists and numbers for names, rows in no order."""
    rng = np.random.default_rng(seed)
    count = plates * wells * each
    frame = pd.DataFrame(
        {
            "Metadata_Batch": np.repeat(np.arange(plates) % 2, wells * each),
            "Metadata_Plate": np.repeat([f"p{i}" for i in range(plates)], wells * each),
            "Metadata_Well": np.tile(np.repeat([f"A{i:02d}" for i in range(wells)], each), plates),
            "Metadata_Site": np.tile(np.arange(each), plates * wells),
            "Metadata_compound": np.repeat([None, "DMSO", "x"], wells * each)[:count],
            "Metadata_dose": np.repeat(rng.choice([0.5, np.nan], plates * wells), each),
            "Metadata_status": rng.choice(["ok", "empty", "failed"], count, p=[0.5, 0.3, 0.2]),
            "Metadata_foreground": rng.random(count),
        }
    )
    frame["Metadata_files"] = [["a", plate] for plate in frame["Metadata_Plate"]]
    values = pd.DataFrame(rng.normal(5, 2, (count, len(NAMES))).astype(np.float32), columns=NAMES)
    values = values.mask(rng.random(values.shape) < 0.2)
    values[rng.random(count) < 0.1] = np.nan
    frame = frame.join(values)
    return frame.sample(frac=1, random_state=seed).reset_index(drop=True)


def stored(frame, path, **options):
    frame.to_parquet(path, index=False, **options)
    return path


def by_plate(frame, folder):
    """A file a plate, as an extraction has them."""
    return [
        stored(part, folder / f"{plate}.parquet") for plate, part in frame.groupby("Metadata_Plate")
    ]


@pytest.fixture
def narrow(monkeypatch):
    """Two columns of 96 rows at a time; gives (rows, columns) of all that was read of features."""
    monkeypatch.setattr(aggregation, "_VALUES", 2 * 96)
    made, read = [], pq.ParquetFile.read

    def reading(self, names, **options):
        made.append((self.metadata.num_rows, list(names)))
        return read(self, names, **options)

    monkeypatch.setattr(pq.ParquetFile, "read", reading)
    return made


def assert_same(made, expected):
    """To the last bit, types and order of columns included."""
    pd.testing.assert_frame_equal(made, expected, check_exact=True)


@pytest.mark.parametrize("operation", ["mean", "median"])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.usefixtures("narrow")
def test_a_file_equals_its_table(seed, operation, tmp_path):
    path = stored(sites(seed), tmp_path / "sites.parquet", row_group_size=17)
    expected = profiles.aggregate(tables.read_table(path), operation=operation)
    assert_same(profiles.aggregate_file(path, operation=operation), expected)
    by = ["plate"]
    expected = profiles.aggregate(tables.read_table(path), by, operation)
    assert_same(profiles.aggregate_file(str(path), by, operation), expected)


@pytest.mark.parametrize("operation", ["mean", "median"])
def test_a_table_without_status_equals_its_own(operation, narrow, tmp_path):
    frame = sites(3).drop(columns=["Metadata_status", "Metadata_foreground"])
    path = stored(frame, tmp_path / "sites.parquet")
    expected = profiles.aggregate(tables.read_table(path), operation=operation)
    assert_same(profiles.aggregate_file(path, operation=operation), expected)
    assert (expected["Metadata_sites"] < 4).any()


@pytest.mark.parametrize("operation", ["mean", "median"])
@pytest.mark.parametrize("by", [None, ["Metadata_compound"], ["well"]])
@pytest.mark.usefixtures("narrow")
def test_files_of_one_table_equal_the_table(by, operation, tmp_path):
    """Groups within files, and groups that lie in two of them or in all."""
    frame = sites(5)
    frame["Metadata_compound"] = frame["Metadata_Plate"].map({"p0": "x", "p1": "y", "p2": "y"})
    files = by_plate(frame, tmp_path)
    # What one plate alone has to tell.
    stored(tables.read_table(files[1]).assign(Metadata_note="a"), files[1])
    expected = profiles.aggregate(
        pd.concat(map(tables.read_table, files), ignore_index=True), by, operation
    )
    assert_same(profiles.aggregate_file(files, by, operation), expected)
    assert_same(profiles.aggregate_file(tmp_path, by, operation), expected)


def test_files_that_share_no_group_are_read_one_after_another(tmp_path):
    empty = stored(sites().iloc[:0], tmp_path / "none.parquet")
    table = parts.Stored([*by_plate(sites(), tmp_path), empty])
    for groups, rows in (([0, 1, 2], [32, 32, 32]), ([0, 1, 1], [32, 64]), ([0, 1, 0], [96])):
        made = table.parts(np.repeat(groups, 32))
        assert [part.rows.stop - part.rows.start for part in made] == rows
    interleaved = np.r_[np.zeros(32, int), [1] * 31, 2, [3] * 32]
    assert [part.rows.start for part in table.parts(interleaved)] == [0, 32, 64]


def test_so_many_values_at_a_time_and_each_once(narrow, tmp_path):
    frame = sites(1)
    frame.loc[frame["Metadata_status"] != "failed", NAMES[0]] = 1.0
    profiles.aggregate_file(stored(frame, tmp_path / "sites.parquet"), operation="median")
    features = [(rows, names) for rows, names in narrow if set(names) & set(NAMES)]
    assert all(rows * len(names) <= 2 * 96 for rows, names in features)
    # The first is looked at once more, for sites of which nothing was read.
    assert sorted(name for _, names in features for name in names) == [NAMES[0], *NAMES]


def test_precision_stays_as_it_is(tmp_path):
    frame = sites().astype({NAMES[1]: float}).assign(emb_DNA_0007=3)
    path = stored(frame, tmp_path / "sites.parquet")
    made = profiles.aggregate_file(path)
    assert_same(made, profiles.aggregate(tables.read_table(path)))
    assert [str(made[name].dtype) for name in NAMES[:3]] == ["float32", "float64", "float32"]
    # A feature of which one file keeps more digits has them in the profiles of all.
    files = by_plate(sites(), tmp_path)
    stored(tables.read_table(files[2]).astype({NAMES[0]: float}), files[2])
    expected = profiles.aggregate(pd.concat(map(tables.read_table, files), ignore_index=True))
    assert_same(profiles.aggregate_file(files), expected)
    assert expected[NAMES[0]].dtype == float


def test_an_index_that_pandas_stored_is_no_column(tmp_path):
    path = tmp_path / "sites.parquet"
    sites().set_index("Metadata_Plate").to_parquet(path)
    assert_same(profiles.aggregate_file(path), profiles.aggregate(tables.read_table(path)))
    with pytest.raises(ValueError, match="no column 'plate' in the table"):
        profiles.aggregate_file(path, ["plate", "well"])


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        ({}, (["plaet"],), "no column 'plaet' in the table. Its metadata columns are: Metadata_B"),
        ({}, (None, "mode"), "operation 'mode' is not one of mean, median"),
        ({}, ([],), "`by` names no column"),
        ({NAMES[2]: "dark"}, (), r"sites.parquet holds the feature 'emb_DNA_0002' as \w*string, "),
        ({"Metadata_status": "good"}, (), "Metadata_status holds 'good'"),
    ],
)
def test_wrong_tables_stop_before_features_are_read(change, arguments, message, narrow, tmp_path):
    path = stored(sites().assign(**change), tmp_path / "sites.parquet")
    with pytest.raises(ValueError, match=message):
        profiles.aggregate_file(path, *arguments)
    assert not any(set(names) & set(NAMES) for _, names in narrow)


def test_tables_of_nothing(tmp_path):
    path = tmp_path / "sites.parquet"
    for frame, message in (
        (sites().iloc[:0], "the table has no rows"),
        (sites().drop(columns=NAMES), "the table has no features"),
        (sites().drop(columns="Metadata_Well"), "no column well: name the columns"),
    ):
        with pytest.raises(ValueError, match=message):
            profiles.aggregate_file(stored(frame, path))


def test_wrong_files(tmp_path):
    path = stored(sites(), tmp_path / "sites.parquet")
    other = stored(sites().rename(columns={NAMES[3]: "emb_ER_0000"}), tmp_path / "other.parquet")
    more = stored(sites().assign(emb_ER_0000=1.0), tmp_path / "more.parquet")
    sites().to_csv(tmp_path / "sites.csv", index=False)
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.parquet").write_text("no table")
    for given, error, message in (
        ([path, other], ValueError, "other.parquet has no column 'emb_DNA_0003'; it lacks 1 of the"
         " features of .*sites.parquet. Aggregate tables of the same model"),
        ([path, more], ValueError, "sites.parquet has no column 'emb_ER_0000'; it lacks 1 of the"),
        ([path, path], ValueError, "sites.parquet is listed twice"),
        ([], ValueError, "the list of paths is empty"),
        (tmp_path / "gone.parquet", FileNotFoundError, "no table at .*gone.parquet"),
        (tmp_path / "folder", FileNotFoundError, "the folder .*folder holds no .parquet file"),
        (tmp_path / "sites.csv", ValueError, "sites.csv is no .parquet file: .* Read it whole"),
        (tmp_path / "text.parquet", ValueError, "text.parquet cannot be read as a table: it is da"),
    ):  # fmt: skip
        with pytest.raises(error, match=message):
            profiles.aggregate_file(given)


def test_a_damaged_feature_names_its_file(tmp_path):
    path = tmp_path / "sites.parquet"
    tables.write_table(sites(), path)
    names = pq.read_schema(path).names
    chunk = pq.ParquetFile(path).metadata.row_group(0).column(names.index(NAMES[4]))
    content = bytearray(path.read_bytes())
    place = (chunk.dictionary_page_offset or chunk.data_page_offset) + 100
    content[place : place + 20] = bytes(20)
    path.write_bytes(content)
    with pytest.raises(ValueError, match="sites.parquet cannot be read as a table: it is damaged"):
        profiles.aggregate_file(path)


def test_the_command_writes_what_the_function_makes(tmp_path, capsys):
    (tmp_path / "sites").mkdir()
    for i, file in enumerate(by_plate(sites(), tmp_path / "sites")):
        tables.write_table(tables.read_table(file), file, {"model": "m", "plate": [str(i)]})
    wells = tmp_path / "wells.parquet"
    words = ["aggregate", str(tmp_path / "sites"), str(wells), "--operation", "median"]
    cli.main([*words, "--by", "Metadata_Plate, well"])
    assert capsys.readouterr().out.strip().endswith(str(wells))
    made = tables.read_table(wells)
    expected = profiles.aggregate_file(tmp_path / "sites", ["plate", "well"], "median")
    assert_same(made[NAMES], expected[NAMES])
    assert made.attrs["provenance"] == {
        "model": "m", "operation": "median", "norm_method": "no_post_proc", "l2norm": False
    }  # fmt: skip
    with pytest.raises(SystemExit, match="error: .*wells.parquet is there already: delete it"):
        cli.main(words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sites.parquet", "wells.csv"], "error: wells.csv is no .parquet file: profiles are writ"),
        (["gone.parquet", "wells.parquet"], "error: no table at gone.parquet"),
        (["sites.parquet", "wells.parquet", "--by", "Metadata_plat"], "error: no column 'Metadata"),
        (["sites.parquet", "wells.parquet", "--operation", "sum"], "error: operation 'sum' is not"),
    ],
)
def test_the_command_names_what_is_wrong(words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stored(sites(), tmp_path / "sites.parquet")
    with pytest.raises(SystemExit, match=message):
        cli.main(["aggregate", *words])
    assert not (tmp_path / "wells.parquet").exists()
