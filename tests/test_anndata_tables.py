"""Profiles as AnnData: what is written is what was made, and what the field's tools then do."""

import datetime
import errno
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import unidino
from unidino import anndata_tables, cli, inference, paths, tables

anndata = pytest.importorskip("anndata")

EXAMPLE = Path(__file__).resolve().parents[1] / "data" / "example"
CHANNELS = ["DNA", "Tubulin", "Actin"]


def table(rows=4, features=("emb_DNA_0000", "emb_DNA_0001", "emb_ER_0000"), **columns):
    """Profiles by hand: wells of one plate, then the columns that are given."""
    made = {"Metadata_Plate": "7", "Metadata_Well": [f"A{n + 1:02d}" for n in range(rows)]}
    values = {name: np.arange(rows) + 10.0 * n for n, name in enumerate(features)}
    return pd.DataFrame(made | columns | values)


def round_trip(adata, folder):
    return anndata.read_h5ad(anndata_tables.write(adata, folder / "made.h5ad"))


def test_what_a_hand_made_table_becomes(tmp_path):
    control = ["negcon", None, None, "poscon"]
    frame = table(Metadata_control_type=control, Metadata_moa=["x", "y", None, "x"])
    made = round_trip(anndata_tables.to_anndata(frame), tmp_path)
    assert made.obs_names.tolist() == ["7|A01", "7|A02", "7|A03", "7|A04"]
    assert made.var_names.tolist() == ["emb_DNA_0000", "emb_DNA_0001", "emb_ER_0000"]
    assert made.X.dtype == np.float32
    assert made.X.tolist() == [[n, n + 10, n + 20] for n in range(4)]
    assert made.var["channel"].tolist() == ["DNA", "DNA", "ER"]
    assert set(made.var["feature_kind"]) == {"embedding"} and made.var["is_feature"].all()
    assert made.obs["Metadata_Plate"].tolist() == ["7"] * 4
    types = ["negcon", "treatment", "treatment", "poscon"]
    assert made.obs["Metadata_Control_Type"].tolist() == types
    assert made.obs["Metadata_Control"].tolist() == [True, False, False, True]
    assert made.obs["Metadata_MOA"].isna().tolist() == [False, False, True, False]
    assert not {"Metadata_moa", "Metadata_control_type"} & set(made.obs)


def test_values_are_not_those_of_the_frame():
    features = ["emb_DNA_0000", "emb_DNA_0001"]
    frame = table(features=features).astype(dict.fromkeys(features, np.float32))
    adata = anndata_tables.to_anndata(frame, {"same": frame})
    adata.X[1, 1] = adata.layers["same"][1, 0] = -1
    assert (frame[features] >= 0).all(None)


# Of an extraction.


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The example plate, extracted with everything that may lie beside its profiles."""
    return extract(tmp_path_factory.mktemp("out"), anndata=True, csv=True)


def extract(outdir, **options):
    plate, layout = str(EXAMPLE / "plate.csv"), str(EXAMPLE / "layout.csv")
    return unidino.extract(plate, platemap=layout, outdir=str(outdir), **options)


@pytest.fixture(scope="module")
def written(made):
    return anndata.read_h5ad(paths.anndata_file(made.profiles_path))


def test_file_of_an_extraction_holds_its_tables(made, written):
    normalised = tables.read_table(made.profiles_path)
    raw = tables.read_table(made.unnormalised_path)
    features = tables.feature_columns(normalised)
    assert written.var_names.tolist() == features
    np.testing.assert_array_equal(written.X, normalised[features].to_numpy(np.float32))
    np.testing.assert_array_equal(written.layers["normalised"], written.X)
    np.testing.assert_array_equal(written.layers["raw"], raw[features].to_numpy(np.float32))
    assert not np.array_equal(written.layers["raw"], written.X)
    wells = normalised["Metadata_Plate"] + "|" + normalised["Metadata_Well"]
    assert written.obs_names.tolist() == wells.tolist()


def test_channel_is_the_one_that_was_embedded(made, written):
    per_channel = written.n_vars // len(CHANNELS)
    assert written.var["channel"].tolist() == np.repeat(CHANNELS, per_channel).tolist()
    assert made.metadata.channels == CHANNELS


def test_columns_of_an_extraction_keep_what_they_say(made, written):
    frame = tables.read_table(made.profiles_path)
    assert not written.obs.isna().all().any()
    compared = 0
    for column in written.obs.columns.drop(["Metadata_Control", "Metadata_Control_Type"]):
        own, read = frame[tables.find_column(frame, column)], written.obs[column]
        assert (own.isna().to_numpy() == read.isna().to_numpy()).all(), column
        if pd.api.types.is_numeric_dtype(own):
            assert own.dtype == read.dtype
            np.testing.assert_array_equal(own, read)
        else:
            assert all(isinstance(value, str) for value in read.cat.categories)
            assert own.dropna().tolist() == read.dropna().tolist()
        compared += 1
    there = [name for name in tables.metadata_columns(frame) if not frame[name].isna().all()]
    assert compared == len(there) - 1
    quality = {f"Metadata_focus_{channel}" for channel in CHANNELS} | {"Metadata_objects"}
    assert quality <= set(written.obs)
    kinds = frame["Metadata_control_type"].fillna("treatment")
    assert written.obs["Metadata_Control_Type"].tolist() == kinds.tolist()


def test_provenance_of_an_extraction(made, written):
    stored = tables.read_provenance(made.profiles_path)
    assert anndata_tables.read_provenance(written) == stored
    assert stored["settings"]["model"] == "unidino-demo"
    assert written.uns["mantispy"]["resolution"] == "well"
    assert list(written.uns["mantispy"]["grouped_by"]) == ["Metadata_Plate", "Metadata_Well"]
    assert written.uns["mantispy"]["perturbation"] == {
        "column": "Metadata_treatment",
        "control_column": "Metadata_Control_Type",
    }


def test_extraction_gives_what_it_wrote(made, written):
    given = made.to_anndata()
    pd.testing.assert_frame_equal(given.obs, written.obs)
    pd.testing.assert_frame_equal(given.var, written.var, check_categorical=False)
    np.testing.assert_array_equal(given.X, written.X)
    assert set(given.layers) == set(written.layers) == {"raw", "normalised"}


def test_correction_is_x_and_what_it_corrected_a_layer(made):
    outdir = made.profiles_path.parents[2]
    corrected = extract(outdir, correct="sphere", anndata=True)
    given = anndata.read_h5ad(paths.anndata_file(corrected.profiles_path))
    features = list(given.var_names)
    np.testing.assert_array_equal(given.X, corrected.profiles[features].to_numpy(np.float32))
    before = tables.read_table(made.profiles_path)[features].to_numpy(np.float32)
    np.testing.assert_array_equal(given.layers["normalised"], before)
    assert not np.array_equal(given.X, before)


def test_profiles_without_normalisation_are_x_and_raw(made):
    outdir = made.profiles_path.parents[2]
    plain = extract(outdir, norm_method="no_post_proc", anndata=True)
    given = anndata.read_h5ad(paths.anndata_file(plain.unnormalised_path))
    assert list(given.layers) == ["raw"]
    np.testing.assert_array_equal(given.layers["raw"], given.X)


def copied(made, folder, *names):
    """The table of an extraction elsewhere, with those of its companions that are named."""
    for path in (made.profiles_path, *names):
        (folder / path.name).write_bytes(path.read_bytes())
    return folder / made.profiles_path.name


def test_table_that_lies_alone_has_no_raw_layer(made, tmp_path, capsys):
    alone = anndata_tables.of_extraction(copied(made, tmp_path))
    assert list(alone.layers) == ["normalised"]
    assert f"layer raw is left out: there is no {made.unnormalised_path.name}" in (
        capsys.readouterr().err
    )


def test_table_under_another_name_has_no_layers(made, tmp_path):
    other = copied(made, tmp_path).rename(tmp_path / "mine.parquet")
    assert not anndata_tables.of_extraction(other).layers


def test_layer_of_other_images_is_left_out(made, tmp_path, capsys):
    file = copied(made, tmp_path, made.unnormalised_path).with_name(made.unnormalised_path.name)
    raw = tables.read_table(file)
    tables.write_table(raw, file, raw.attrs["provenance"] | {"images_sha256": "0"})
    given = anndata_tables.of_extraction(tmp_path / made.profiles_path.name)
    assert list(given.layers) == ["normalised"]
    assert "was made with other settings or images" in capsys.readouterr().err


def test_features_that_normalisation_dropped_are_in_no_layer(made, tmp_path):
    path = copied(made, tmp_path, made.unnormalised_path)
    frame = tables.read_table(path)
    provenance = frame.attrs["provenance"] | {"dropped_features": ["emb_DNA_0003"]}
    tables.write_table(frame.drop(columns="emb_DNA_0003"), path, provenance)
    given = anndata_tables.of_extraction(path)
    assert given.layers["raw"].shape == given.shape == (24, 71)
    column = given.var_names.get_loc("emb_DNA_0004")
    raw = tables.read_table(made.unnormalised_path)["emb_DNA_0004"]
    np.testing.assert_array_equal(given.layers["raw"][:, column], raw.to_numpy(np.float32))
    assert anndata_tables.read_provenance(given)["dropped_features"] == ["emb_DNA_0003"]


def test_sites_of_an_extraction(made):
    (path,) = made.sites_path.rglob("*.parquet")
    given = anndata_tables.of_extraction(path)
    assert given.n_obs == made.counts["sites"] and not given.layers


@pytest.mark.parametrize("option", ["csv", "anndata"])
def test_copies_of_an_earlier_run_are_named_where_they_say_otherwise(
    made, option, tmp_path, capsys
):
    """Labels may be joined anew without them: what they say is then no longer so."""
    outdir = made.profiles_path.parents[2]
    folder = shutil.copytree(outdir, tmp_path / "out")
    table = folder / made.profiles_path.relative_to(outdir)
    file = {"csv": table.with_suffix(".csv"), "anndata": paths.anndata_file(table)}[option]
    before = file.read_bytes()
    other = {"csv": "anndata", "anndata": "csv"}[option]
    extract(folder)
    assert "earlier run" not in capsys.readouterr().err
    layout = pd.read_csv(EXAMPLE / "layout.csv", dtype=str)
    layout.loc[layout["control_type"].isna(), "treatment"] += " again"
    layout.to_csv(tmp_path / "layout.csv", index=False)
    unidino.extract(
        str(EXAMPLE / "plate.csv"),
        platemap=str(tmp_path / "layout.csv"),
        outdir=str(folder),
        **{other: True},
    )
    said = capsys.readouterr().err
    assert (
        f"{file.name} is of an earlier run, and these profiles differ from it; with {option} it "
        "is written anew"
    ) in said
    assert said.count("earlier run") == 1
    assert file.read_bytes() == before


def test_copy_is_known_by_what_it_holds(made, tmp_path):
    path = copied(made, tmp_path, made.unnormalised_path)
    file = tmp_path / "copy.h5ad"

    def changed(change):
        adata = anndata_tables.of_extraction(path)
        change(adata)
        return anndata_tables.is_copy(anndata_tables.write(adata, file), path)

    def elsewhere(adata):
        adata.uns["unidino"] = {"provenance": "{}"}

    def value(adata):
        adata.X[3, 5] += 1

    def layer(adata):
        adata.layers["raw"][3, 5] += 1

    def label(adata):
        adata.obs["Metadata_Well"] = adata.obs["Metadata_Well"].to_numpy()[::-1]

    def name(adata):
        adata.obs_names = adata.obs_names[::-1]

    assert changed(elsewhere)
    assert not any(map(changed, (value, layer, label, name)))
    file.write_bytes(b"cut")
    assert not anndata_tables.is_copy(file, path)


def test_verification_knows_the_file(made):
    from unidino.verify import verify

    found = [str(finding) for finding in verify(made.profiles_path.parent)]
    assert not [finding for finding in found if "h5ad" in finding]


def test_shard_has_no_profiles_to_give(tmp_path):
    shard = inference.Extraction(None, None, None, tmp_path / "sites", {}, {}, None)
    with pytest.raises(ValueError, match="a shard makes no profiles, .* run without shard"):
        shard.to_anndata()


def test_without_anndata_nothing_is_computed(monkeypatch, tmp_path):
    monkeypatch.setattr(anndata_tables, "find_spec", lambda name: None)
    said = re.escape("pip install 'unidino[anndata]'")
    with pytest.raises(ImportError, match=said):
        extract(tmp_path / "out", anndata=True)
    assert not (tmp_path / "out").exists()
    for call in (anndata_tables.to_anndata, anndata_tables.of_extraction):
        with pytest.raises(ImportError, match=said):
            call(table())


# Columns.


def obs_of(values, folder):
    """A column as it comes back from disk."""
    return round_trip(anndata_tables.to_anndata(table(Metadata_x=values)), folder).obs["Metadata_x"]


TEXTS = {
    "numbers that are names": ["007", "7", "1e3", "07"],
    "words of nothing": ["None", "nan", "", "NA"],
    "missing": ["a", None, np.nan, "b"],
    "all alike": ["a"] * 4,
    "other scripts": ["β-tubulin", "µm", "細胞", "é"],
}


@pytest.mark.parametrize("kind", [object, "string", "category", pd.ArrowDtype(pa.string())])
@pytest.mark.parametrize("values", TEXTS.values(), ids=TEXTS)
def test_text_stays_text(values, kind, tmp_path):
    read = obs_of(pd.Series(values, dtype=object).astype(kind), tmp_path)
    assert [None if pd.isna(v) else v for v in read] == [
        None if pd.isna(value) else value for value in values
    ]


def test_text_as_pandas_3_has_it(tmp_path):
    kind = pd.StringDtype(na_value=np.nan)
    read = obs_of(pd.Series(["7", None, "b", "7"], dtype=kind), tmp_path)
    assert read.dropna().tolist() == ["7", "b", "7"]
    with pd.option_context("future.infer_string", True):
        frame = table(
            Metadata_x=["7", None, "b", "7"], Metadata_control_type=["negcon"] + [None] * 3
        )
        assert frame["Metadata_x"].dtype == "str"
        made = round_trip(anndata_tables.to_anndata(frame), tmp_path)
    assert made.obs["Metadata_x"].dropna().tolist() == ["7", "b", "7"]
    assert made.obs_names.tolist() == ["7|A01", "7|A02", "7|A03", "7|A04"]
    assert made.obs["Metadata_Control_Type"].tolist() == ["negcon"] + ["treatment"] * 3


NUMBERS = {
    "integers": ([1, 2, 3, 2**60 + 1], "int64"),
    "few bits": (pd.Series([1, 2, 3, 4], dtype="uint8"), "int64"),
    "some missing": (pd.Series([1, None, 2**60 + 1, 4], dtype="Int64"), "Int64"),
    "as objects": (pd.Series([1, 2, 3, 4], dtype=object), "int64"),
    "objects, missing": (pd.Series([1, None, 3, 4], dtype=object), "Int64"),
    "floats": ([0.5, np.nan, np.inf, -1.0], "float64"),
    "half as long": (pd.Series([0.5, 1, 2, 3], dtype="float32"), "float64"),
    "nullable": (pd.Series([0.5, None, 2, 3], dtype="Float64"), "float64"),
    "of arrow": (pd.Series([0.5, None, 2, 3], dtype=pd.ArrowDtype(pa.float64())), "float64"),
    "integers and floats": (pd.Series([1, 0.5, None, 3], dtype=object), "float64"),
    "categories": (pd.Series([4, 2, 4, 2]).astype("category"), "int64"),
    "yes and no": ([True, False, True, True], "bool"),
    "yes, no, missing": (pd.Series([True, None, False, True], dtype=object), "boolean"),
}


@pytest.mark.parametrize(("values", "kind"), NUMBERS.values(), ids=NUMBERS)
def test_numbers_stay_numbers(values, kind, tmp_path):
    read = obs_of(values, tmp_path)
    assert read.dtype == kind
    expected = pd.Series(values)
    assert (read.isna().to_numpy() == expected.isna().to_numpy()).all()
    assert read.dropna().tolist() == expected.dropna().tolist()


ODD = {
    "mixed": ([1, "a", None, 2.5], ["1", "a", None, "2.5"]),
    "lists": ([["a", "b"], ["c"], None, []], ["['a', 'b']", "['c']", None, "[]"]),
    "days": (
        pd.to_datetime(["2024-01-02", None, "2024-01-03", "2024-01-03"]),
        ["2024-01-02 00:00:00", None, "2024-01-03 00:00:00", "2024-01-03 00:00:00"],
    ),
    "dates": ([datetime.date(2024, 1, 2)] * 4, ["2024-01-02"] * 4),
    "what HDF5 does not take": (["a\0b", "c", "d", "e"], ["a\ufffdb", "c", "d", "e"]),
    "categories of both": (
        pd.Series([1, "a", 1, "a"], dtype=object).astype("category"), ["1", "a", "1", "a"]
    ),
}  # fmt: skip


@pytest.mark.parametrize(("values", "expected"), ODD.values(), ids=ODD)
def test_what_is_neither_is_text(values, expected, tmp_path):
    read = obs_of(values, tmp_path)
    assert [None if pd.isna(value) else value for value in read] == expected


def test_order_of_categories_is_kept(tmp_path):
    doses = pd.Categorical(["low", "high", "low", "high"], ["low", "mid", "high"], ordered=True)
    read = obs_of(doses, tmp_path)
    assert read.cat.ordered and read.cat.categories.tolist() == ["low", "high"]


@pytest.mark.parametrize("nothing", [None, np.nan, pd.NA, pd.NaT])
def test_column_of_nothing_is_left_out(nothing):
    assert "Metadata_x" not in anndata_tables.to_anndata(table(Metadata_x=[nothing] * 4)).obs


def test_slash_in_a_name(tmp_path):
    frame = table(**{"Metadata_a/b": list("wxyz"), "Metadata_a_b": 1, "Metadata_mean_U/L": 0.5})
    read = round_trip(anndata_tables.to_anndata(frame), tmp_path).obs
    assert read["Metadata_a_b"].tolist() == list("wxyz")
    assert read["Metadata_a_b_"].tolist() == [1] * 4
    assert "Metadata_mean_U_L" in read
    made = anndata_tables.to_anndata(table(**{"a/b": list("wxyz")}), by="a/b")
    assert made.uns["mantispy"]["grouped_by"] == ["Metadata_a_b"]


def test_names_are_spelt_as_the_schema_spells_them():
    frame = table(compound="c", MOA="m", Metadata_gene="g", Metadata_concentration=0.5, dose=1)
    columns = set(anndata_tables.to_anndata(frame).obs)
    expected = {"Compound", "MOA", "Gene", "Concentration", "dose"}
    assert {f"Metadata_{name}" for name in expected} <= columns


def test_keys_in_lower_case_are_those_of_the_schema():
    frame = table().rename(columns={"Metadata_Plate": "Metadata_plate", "Metadata_Well": "well"})
    made = anndata_tables.to_anndata(frame)
    assert list(made.obs) == ["Metadata_Plate", "Metadata_Well"]
    assert made.uns["mantispy"]["grouped_by"] == ["Metadata_Plate", "Metadata_Well"]
    assert made.uns["mantispy"]["resolution"] == "well"


def test_names_that_differ_by_case_alone_are_left():
    frame = table(Metadata_moa="a", Metadata_MOA="b")
    obs = anndata_tables.to_anndata(frame).obs
    assert (obs["Metadata_moa"] == "a").all() and (obs["Metadata_MOA"] == "b").all()


def test_control_words_of_others_are_left():
    for name in ("Metadata_control_type", "Metadata_Control_Type"):
        obs = anndata_tables.to_anndata(table(**{name: ["trt", "neg", "trt", None]})).obs
        assert obs["Metadata_control_type"].dropna().tolist() == ["trt", "neg", "trt"]
        assert not {"Metadata_Control", "Metadata_Control_Type"} & set(obs)


def test_controls_of_a_table_do_not_hide_those_of_the_schema():
    frame = table(Metadata_Control=list("abcd"), control_type=["negcon", None, None, None])
    obs = anndata_tables.to_anndata(frame).obs
    assert obs["Metadata_control"].tolist() == list("abcd")
    assert obs["Metadata_Control"].tolist() == [True, False, False, False]


def test_row_without_control_and_perturbation_is_empty(tmp_path):
    control = ["negcon", None, None, None]
    frame = table(
        Metadata_control_type=control,
        Metadata_compound=[None, "taxol", None, " "],
        Metadata_Gene=pd.Categorical([None, None, "TP53", None]),
    )
    obs = round_trip(anndata_tables.to_anndata(frame), tmp_path).obs
    assert obs["Metadata_Control_Type"].tolist() == ["negcon", "treatment", "treatment", "empty"]
    assert obs["Metadata_Control"].tolist() == [True, False, False, True]


def test_columns_that_say_nothing_of_any_row_make_none_empty():
    frame = table(Metadata_control_type=["negcon", None, None, None], Metadata_compound=[None] * 4)
    obs = anndata_tables.to_anndata(frame).obs
    assert obs["Metadata_Control_Type"].tolist() == ["negcon"] + ["treatment"] * 3


def test_treatments_alone_are_no_empty_column():
    obs = anndata_tables.to_anndata(table(Metadata_control_type=[None] * 4)).obs
    assert obs["Metadata_Control_Type"].tolist() == ["treatment"] * 4


# Rows.


def test_rows_are_named_by_the_whole_key():
    frame = table(source="1", batch=["b1", "b1", "b2", "b2"])
    made = anndata_tables.to_anndata(frame)
    assert made.obs_names.tolist() == ["1|b1|7|A01", "1|b1|7|A02", "1|b2|7|A03", "1|b2|7|A04"]
    keys = [f"Metadata_{name}" for name in ("Source", "Batch", "Plate", "Well")]
    assert made.uns["mantispy"]["grouped_by"] == keys


def test_sites_are_part_of_names_where_wells_have_several():
    frame = table(Metadata_Site=[1, 2, 1, 2])
    assert anndata_tables.to_anndata(frame).obs_names[1] == "7|A02"
    frame["Metadata_Well"] = ["A01", "A01", "A02", "A02"]
    made = anndata_tables.to_anndata(frame)
    assert made.obs_names.tolist() == ["7|A01|1", "7|A01|2", "7|A02|1", "7|A02|2"]
    assert made.uns["mantispy"]["resolution"] == "well"


def test_images_without_plates_are_named_by_image():
    frame = table(image=list("abcd")).drop(columns=["Metadata_Plate", "Metadata_Well"])
    made = anndata_tables.to_anndata(frame)
    assert made.obs_names.tolist() == list("abcd")
    assert made.uns["mantispy"]["resolution"] == "aggregate"
    assert made.uns["mantispy"]["grouped_by"] == ["Metadata_image"]


def test_rows_without_a_key_are_numbered():
    frame = table(moa="m").drop(columns=["Metadata_Plate", "Metadata_Well"])
    made = anndata_tables.to_anndata(frame)
    assert made.obs_names.tolist() == ["0", "1", "2", "3"] and "mantispy" not in made.uns


def test_consensus_profiles_are_named_by_their_compound():
    frame = table(compound=list("abcd")).drop(columns=["Metadata_Plate", "Metadata_Well"])
    made = anndata_tables.to_anndata(frame, by="compound")
    assert made.obs_names.tolist() == list("abcd")
    assert made.uns["mantispy"]["grouped_by"] == ["Metadata_Compound"]
    assert made.uns["mantispy"]["perturbation"] == {"column": "Metadata_Compound"}


def one_well_twice(**columns):
    return table(**columns).assign(Metadata_Well=["A01", "A02", "A03", "A02"])


def test_rows_of_the_dataset_tell_images_of_one_well_apart():
    made = anndata_tables.to_anndata(one_well_twice(Metadata_row=[5, 2, 3, 9]))
    assert made.obs_names.tolist() == ["7|A01|5", "7|A02|2", "7|A03|3", "7|A02|9"]
    images = table(image=list("aabb"), Metadata_row=range(4))
    images = images.drop(columns=["Metadata_Plate", "Metadata_Well"])
    assert anndata_tables.to_anndata(images).obs_names.tolist() == list("0123")


def test_rows_that_nothing_tells_apart_are_numbered(capsys):
    made = anndata_tables.to_anndata(one_well_twice())
    assert made.obs_names.tolist() == ["7|A01|1", "7|A02|1", "7|A03|1", "7|A02|2"]
    said = "rows 2 and 4 are both called '7|A02' (Metadata_Plate, Metadata_Well), so each row has"
    assert said in capsys.readouterr().err


def test_values_that_contain_the_separator_are_told_apart():
    frame = table(2, Metadata_Plate=["a|b", "a"], Metadata_Well=["c", "b|c"])
    assert anndata_tables.to_anndata(frame).obs_names.tolist() == ["a|b|c|1", "a|b|c|2"]


def test_columns_that_were_given_must_tell_rows_apart():
    said = r"rows 2 and 4 are both called '7\|A02' \(Metadata_Plate, Metadata_Well\), and 2 rows"
    with pytest.raises(ValueError, match=said):
        anndata_tables.to_anndata(one_well_twice(), by=["plate", "well"])


def test_layer_of_numbered_rows_has_the_same_rows():
    frame = one_well_twice()
    raw = frame.assign(emb_ER_0000=[9.0, 8.0, 7.0, 6.0])
    made = anndata_tables.to_anndata(frame, {"raw": raw})
    assert made.layers["raw"][:, 2].tolist() == [9, 8, 7, 6]
    with pytest.raises(ValueError, match="layer raw: it has 3 rows, the profiles have 4, and no"):
        anndata_tables.to_anndata(frame, {"raw": raw.head(3)})


# Features.


def test_features_of_cellprofiler_are_measurements(tmp_path):
    frame = table(features=["Nuclei_Area", "Cells_Intensity_DNA", "Cytoplasm_x"])
    read = round_trip(anndata_tables.to_anndata(frame), tmp_path).var
    assert read["feature_kind"].tolist() == ["measurement"] * 3
    assert read["object"].tolist() == ["Nuclei", "Cells", "Cytoplasm"]
    assert read["channel"].isna().all()


def test_channel_is_empty_where_none_is_known():
    assert anndata_tables.to_anndata(table(features=["emb0", "emb1"])).var["channel"].isna().all()
    together = {"settings": {"model_config": {"in_chans": 3}}}
    frame = table(features=["emb_all_0000", "emb_all_0001"])
    assert anndata_tables.to_anndata(frame, provenance=together).var["channel"].isna().all()


def test_channels_with_underscores_and_numbers():
    frame = table(features=["emb_ch_2_0000", "emb_7_0000", "emb_emb_0000"])
    assert anndata_tables.to_anndata(frame).var["channel"].tolist() == ["ch_2", "7", "emb"]


def test_missing_features_stay_missing(tmp_path):
    frame = table()
    frame["emb_ER_0000"] = pd.array([1, None, 2, None], dtype="Float64")
    read = round_trip(anndata_tables.to_anndata(frame), tmp_path)
    assert np.isnan(read.X[:, 2]).tolist() == [False, True, False, True]


def test_layers_follow_the_rows_and_features_of_the_profiles():
    frame = table()
    more = table(rows=6, features=["emb_ER_0000", "emb_X_0000", "emb_DNA_0001", "emb_DNA_0000"])
    shuffled = more.sample(frac=1, random_state=0)
    made = anndata_tables.to_anndata(frame, {"other": shuffled})
    expected = more.set_index("Metadata_Well").loc[frame["Metadata_Well"], list(made.var_names)]
    np.testing.assert_array_equal(made.layers["other"], expected)


# Provenance.


def test_provenance_survives_whatever_it_holds(tmp_path):
    told = {
        "nothing": None,
        "list": [1, None, "a", 2.5, [True, None], {"b/c": []}],
        "batch/plate": {"µ": "ü", "": 0.1},
        "deep": {"a": {"b": {"c": [None, {}]}}},
    }
    given = anndata_tables.to_anndata(table(), provenance=told | {"tuple": (1, (2, None))})
    read = anndata_tables.read_provenance(round_trip(given, tmp_path))
    assert read == told | {"tuple": [1, [2, None]]}


def test_no_provenance_in_the_anndata_of_others():
    assert anndata_tables.read_provenance(anndata.AnnData(np.zeros((1, 1)))) == {}
    assert anndata_tables.read_provenance(anndata_tables.to_anndata(table())) == {}


# Real tables of CellProfiler.


REAL = {
    "cpjump1_u2os/BR00117010_normalized_feature_select_negcon_batch.csv.gz": (384, 904),
    "pediatric_cancer_atlas/round_2.parquet": (1082, 160),
}


@pytest.mark.parametrize(("name", "shape"), REAL.items())
def test_real_tables_come_back_as_they_were(name, shape, tmp_path):
    root = paths.real_data_root()
    if root is None or not (root / name).is_file():
        pytest.skip(f"no real data {name} (set UNIDINO_REAL)")
    frame = tables.read_table(root / name)
    read = round_trip(anndata_tables.to_anndata(root / name), tmp_path)
    assert read.shape == shape
    expected = frame[tables.feature_columns(frame)].to_numpy(np.float32)
    np.testing.assert_array_equal(read.X, expected)
    assert set(read.var["feature_kind"]) == {"measurement"} and read.var["object"].notna().all()
    wells = frame["Metadata_Plate"] + "|" + frame["Metadata_Well"]
    assert read.obs_names.tolist() == wells.tolist()
    for column in read.obs:
        own = frame[tables.find_column(frame, column)]
        assert read.obs[column].dropna().tolist() == own.dropna().tolist(), column


# What is said of bad input.


def no_features():
    return table()[["Metadata_Plate", "Metadata_Well"]]


def features_as_text():
    return table().assign(emb_ER_0000=list("abcd"))


def well_without_name():
    return table().assign(Metadata_Well=["A01", None, "A03", "A04"])


BAD = {
    "no rows": (lambda: table().head(0), ValueError, "profiles: the table has no rows"),
    "no features": (no_features, ValueError, "the table has no features: no column is named emb"),
    "text": (features_as_text, TypeError, "the feature emb_ER_0000 holds .*, not numbers"),
    "yes and no": (
        lambda: table().assign(emb_ER_0000=True), TypeError, "emb_ER_0000 holds bool, not numbers"
    ),
    "one name": (
        lambda: table(plate="8"), ValueError, "two columns are called Metadata_Plate, .* drop one"
    ),
    "no name": (well_without_name, ValueError, "Metadata_Well is empty in 1 rows, .* is row 2"),
    "no file": (lambda: "absent.parquet", FileNotFoundError, "no table at absent.parquet"),
}  # fmt: skip


@pytest.mark.parametrize(("given", "error", "said"), BAD.values(), ids=BAD)
def test_bad_tables_are_named(given, error, said):
    with pytest.raises(error, match=said):
        anndata_tables.to_anndata(given())


def test_column_that_should_name_rows_is_not_there():
    with pytest.raises(ValueError, match="no column 'compound' in the table. Its metadata columns"):
        anndata_tables.to_anndata(table(), by="compound")


BAD_LAYERS = {
    "features": (
        table().drop(columns="emb_ER_0000"), "lacks 1 of the 3 features, such as emb_ER_0000"
    ),
    "rows": (table(rows=3), r"lacks 1 of the 4 profiles, such as 7\|A04"),
    "twice": (pd.concat([table(), table()]), r"rows 1 and 5 are both called '7\|A01'"),
}  # fmt: skip


@pytest.mark.parametrize(("layer", "said"), BAD_LAYERS.values(), ids=BAD_LAYERS)
def test_bad_layers_are_named(layer, said):
    with pytest.raises(ValueError, match=said):
        anndata_tables.to_anndata(table(), {"raw": layer})


def test_layer_whose_rows_nothing_tells_apart():
    keyless = table().drop(columns=["Metadata_Plate", "Metadata_Well"])
    with pytest.raises(ValueError, match="layer raw: it has 3 rows, the profiles have 4, and no"):
        anndata_tables.to_anndata(keyless, {"raw": keyless.head(3)})
    made = anndata_tables.to_anndata(keyless, {"raw": keyless})
    np.testing.assert_array_equal(made.layers["raw"], made.X)


def test_failed_writing_leaves_what_was_there(tmp_path, monkeypatch):
    made = anndata_tables.to_anndata(table())
    path = anndata_tables.write(made, tmp_path / "made.h5ad")
    before = path.read_bytes()

    def fail(self, path, **options):
        Path(path).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(anndata.AnnData, "write_h5ad", fail)
    with pytest.raises(OSError, match="made.h5ad cannot be written: the disk is full"):
        anndata_tables.write(made, path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_same_bytes_on_every_run(tmp_path):
    made = [anndata_tables.to_anndata(table(Metadata_moa=list("abab"))) for _ in range(2)]
    files = [anndata_tables.write(a, tmp_path / f"{n}.h5ad") for n, a in enumerate(made)]
    assert files[0].read_bytes() == files[1].read_bytes()


# The command.


def test_command_writes_what_the_function_gives(made, tmp_path, capsys):
    out = tmp_path / "sub" / "made.h5ad"
    cli.main(["anndata", str(made.profiles_path), str(out)])
    assert capsys.readouterr().out == f"{out}\n"
    read = anndata.read_h5ad(out)
    assert set(read.layers) == {"raw", "normalised"} and read.shape == (24, 72)


def test_command_takes_tables_of_others_and_columns_that_name_rows(tmp_path):
    table(compound=list("abcd"), dose=[1, 1, 2, 2]).to_csv(tmp_path / "t.csv", index=False)
    out = tmp_path / "made.h5ad"
    cli.main(["anndata", str(tmp_path / "t.csv"), str(out), "--by", "compound, dose"])
    assert anndata.read_h5ad(out).obs_names.tolist() == ["a|1", "b|1", "c|2", "d|2"]


def test_command_says_what_is_wrong(tmp_path):
    with pytest.raises(SystemExit, match="error: made.txt does not end in .h5ad"):
        cli.main(["anndata", "absent.parquet", "made.txt"])
    with pytest.raises(SystemExit, match="error: no table at absent.parquet"):
        cli.main(["anndata", "absent.parquet", "made.h5ad"])
    with pytest.raises(TypeError, match="parameter by takes .* got 7"):
        anndata_tables.convert("t.csv", "made.h5ad", by=7)


# The field's tools on the Parquet and CSV tables.


@pytest.fixture(scope="module")
def wells(made):
    """The profiles as pycytominer loads them."""
    from pycytominer.cyto_utils.load import load_profiles

    return load_profiles(made.profiles_path)


def test_parquet_and_csv_are_loaded_alike_by_pycytominer(made, wells):
    from pycytominer.cyto_utils.load import load_profiles

    text = load_profiles(made.profiles_path.with_suffix(".csv"))
    assert list(text.columns) == list(wells.columns)
    features = tables.feature_columns(wells)
    first = len(wells.columns) - len(features)
    assert list(wells.columns[first:]) == features
    assert all(name.startswith("Metadata_") for name in wells.columns[:first])
    np.testing.assert_allclose(text[features], wells[features], rtol=1e-6)
    assert text["Metadata_Well"].tolist() == wells["Metadata_Well"].tolist()


def test_pycytominer_normalises_selects_and_aggregates(made):
    import pycytominer

    raw = pd.read_parquet(made.unnormalised_path)
    features = tables.feature_columns(raw)
    controls = "Metadata_control_type == 'negcon'"
    scaled = pycytominer.normalize(
        raw, features, list(raw.columns.drop(features)), samples=controls, method="standardize"
    )
    normalised = pd.read_parquet(made.profiles_path)
    np.testing.assert_allclose(scaled[features], normalised[features], atol=1e-3)
    constant = normalised.assign(emb_DNA_0000=1.0)
    selected = pycytominer.feature_select(constant, features, operation="variance_threshold")
    assert "emb_DNA_0000" not in selected and "emb_DNA_0001" in selected
    treatments = pycytominer.aggregate(
        normalised, ["Metadata_treatment"], features, operation="mean"
    )
    expected = normalised.groupby("Metadata_treatment")[features].mean()
    np.testing.assert_allclose(treatments[features], expected, rtol=1e-5, atol=1e-6)


def test_pycytominer_must_be_told_the_features(wells):
    from pycytominer.cyto_utils import infer_cp_features

    with pytest.raises(ValueError, match="No features or metadata found"):
        infer_cp_features(wells)
    assert infer_cp_features(wells, metadata=True) == tables.metadata_columns(wells)


def test_copairs_finds_planted_replicates():
    from copairs.map import average_precision

    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(2, 24))
    frame = pd.DataFrame(
        np.vstack([one, one, one, other, other, other]),
        columns=[f"emb_DNA_{n:04d}" for n in range(24)],
    ).assign(Metadata_compound=list("aaabbb"), Metadata_Plate="1", Metadata_Well=list("abcdef"))
    made = anndata_tables.to_anndata(frame)
    scores = average_precision(
        made.obs, made.X, ["Metadata_Compound"], [], [], ["Metadata_Compound"], progress_bar=False
    )
    assert scores["average_precision"].tolist() == [1.0] * 6


def test_parquet_as_cytotable_lays_it_out(made, tmp_path):
    from pycytominer.cyto_utils.load import load_cytotable_profiles

    stored = pq.read_schema(made.profiles_path)
    assert len(set(stored.names)) == len(stored.names)
    assert not any(pa.types.is_nested(kind) for kind in stored.types)
    assert not any(name.startswith("__index") for name in stored.names)
    folder = tmp_path / "warehouse" / "profiles" / "joined_profiles"
    folder.mkdir(parents=True)
    (folder / "plate.parquet").write_bytes(made.profiles_path.read_bytes())
    loaded = load_cytotable_profiles(tmp_path)
    pd.testing.assert_frame_equal(loaded, pd.read_parquet(made.profiles_path))


def test_json_beside_the_table_is_the_provenance_inside(made):
    beside = json.loads(made.profiles_path.with_suffix(".json").read_text())
    assert beside == tables.read_provenance(made.profiles_path)
