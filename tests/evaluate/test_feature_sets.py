"""Sets of profiles of one dataset: found, named, and cut to the wells that all describe."""

import numpy as np
import pandas as pd
import pytest

from unidino import paths, simulate, tables, valsets
from unidino.evaluate import feature_sets
from unidino.profiles import normalise


def wells(names=("A01", "A02", "B01"), features=2, plate="p"):
    frame = pd.DataFrame({"Metadata_Plate": plate, "Metadata_Well": list(names)})
    frame["Metadata_moa"] = [f"moa of {name}" for name in names]
    for i in range(features):
        frame[f"emb_DNA_{i:04d}"] = np.arange(len(names)) + 10.0 * i
    return frame


def store(outdir, model, valset, frame, provenance=None):
    folder = paths.valset_folder(outdir, model, valset)
    tables.write_table(frame, paths.profiles_table(folder, valset, "no_post_proc"), provenance)
    return folder


def test_models_folders_and_tables_are_found(tmp_path):
    folder = store(tmp_path, "mine", "BBBC021", wells(), {"simulated": True})
    wells().to_csv(tmp_path / "theirs.csv", index=False)
    entries = ["mine", f"again={folder}", str(tmp_path / "theirs.csv")]
    made = feature_sets.read(entries, "BBBC021", tmp_path)
    assert [one.name for one in made] == ["mine", "again", "theirs"]
    assert [one.provenance for one in made] == [{"simulated": True}] * 2 + [{}]
    for one in made:
        pd.testing.assert_frame_equal(one.profiles, wells(), check_dtype=False)


def test_dataset_of_a_csv_is_called_by_its_stem(tmp_path):
    store(tmp_path, "mine", "my_plate", wells())
    (made,) = feature_sets.read(["mine"], "folder/my_plate.csv", tmp_path)
    assert len(made.profiles) == 3


def test_absent_sets_say_how_they_are_made(tmp_path):
    store(tmp_path, "mine", "BBBC021", wells())
    made = feature_sets.read(["mine", "transfer", "lost.csv"], "BBBC021", tmp_path)
    assert made[1].profiles is None and made[2].profiles is None
    assert f"unidino extract --valset BBBC021 --model transfer --outdir {tmp_path}" in made[1].said
    assert made[2].said == "No file lost.csv."
    table = feature_sets.described(feature_sets.on_same_wells(made))
    assert table["wells"].tolist() == [3, 0, 0]
    assert table["dimensions"].tolist() == [2, 0, 0]
    assert table.loc["transfer", "said"] == made[1].said


def test_nothing_to_read(tmp_path):
    for entries in ("unidino-demo", []):
        with pytest.raises(ValueError, match="a list of models or tables"):
            feature_sets.read(entries, "BBBC021", tmp_path)
    with pytest.raises(ValueError, match="none of the profiles is there: Not extracted"):
        feature_sets.read(["transfer"], "BBBC021", tmp_path)
    with pytest.raises(ValueError, match="two of the profiles are called 'a'"):
        feature_sets.read(["a", "a=b"], "BBBC021", tmp_path)


def test_tables_that_are_no_profiles(tmp_path):
    wells(features=0).to_csv(tmp_path / "labels.csv", index=False)
    with pytest.raises(ValueError, match=r"labels\.csv has no feature columns"):
        feature_sets.read([str(tmp_path / "labels.csv")], "BBBC021")
    wells().drop(columns="Metadata_Plate").to_csv(tmp_path / "plateless.csv", index=False)
    with pytest.raises(ValueError, match="no column 'plate'"):
        feature_sets.read([str(tmp_path / "plateless.csv")], "BBBC021")


def test_sets_are_cut_to_the_same_wells_with_the_labels_of_the_first():
    first = feature_sets.FeatureSet("first", wells(("A01", "A02", "B01", "B02")))
    other = wells(("B02", "A02", "C01", "A01"), features=3).assign(Metadata_moa="another")
    other.loc[1, "emb_DNA_0002"] = np.nan  # of A02: this feature is left out
    other.loc[3, tables.feature_columns(other)] = np.nan  # A01 could not be read
    sets = [
        first,
        feature_sets.FeatureSet("absent", None, said="why"),
        feature_sets.FeatureSet("other", other),
    ]
    made = feature_sets.on_same_wells(sets)
    assert made[1] is sets[1]
    for one in (made[0], made[2]):
        assert one.profiles["Metadata_Well"].tolist() == ["A02", "B02"]
        assert one.profiles["Metadata_moa"].tolist() == ["moa of A02", "moa of B02"]
    assert made[2].profiles["emb_DNA_0000"].tolist() == [1.0, 0.0]
    assert "emb_DNA_0002" not in made[2].profiles
    assert made[0].said == "2 wells left out: not every set describes them."
    assert made[2].said.endswith("1 features left out, with missing values: emb_DNA_0002.")


def test_batches_part_wells_of_one_name():
    one = pd.concat([wells().assign(Metadata_Batch=batch) for batch in ("x", "y")])
    sets = [feature_sets.FeatureSet(n, one.reset_index(drop=True)) for n in ("a", "b")]
    assert len(feature_sets.on_same_wells(sets)[1].profiles) == 6


def test_wells_that_no_set_shares_or_one_has_twice():
    a = feature_sets.FeatureSet("a", wells())
    with pytest.raises(ValueError, match="no well is described by all of a, b"):
        feature_sets.on_same_wells([a, feature_sets.FeatureSet("b", wells(plate="q"))])
    twice = feature_sets.FeatureSet("b", wells(("A01", "A01", "A02")))
    with pytest.raises(ValueError, match="b: plate p, well A01 stands in two rows"):
        feature_sets.on_same_wells([a, twice])


def test_sets_without_a_model(monkeypatch):
    frame = wells(("A01", "A02", "A03", "A04"))
    frame["Metadata_Batch"] = ["x", "x", "y", "y"]
    frame["Metadata_objects"] = [3.0, 4.0, 5.0, 6.0]
    for measure in ("mean", "saturated", "focus", "signal"):
        frame[f"Metadata_{measure}_DNA"] = [0.1, 0.2, 0.3, 0.4]
    first = feature_sets.FeatureSet("first", frame)
    made = feature_sets.without_model(first, "no_such_set")
    assert [one.name for one in made] == [
        "hand-made", "count and intensity", "position alone", "batch alone"
    ]  # fmt: skip
    assert made[0].profiles is None and "no_such_set" in made[0].said
    assert made[1].profiles["emb_count_0000"].tolist() == [3, 4, 5, 6]
    assert len(tables.feature_columns(made[2].profiles)) == 4
    assert made[3].profiles["emb_batch_0000"].tolist() == [1, 1, 0, 0]
    assert [one.kind for one in made] == ["no model"] * 2 + ["label alone"] * 2
    kept = feature_sets.on_same_wells([first, *made])
    assert [one.kind for one in kept] == ["model", *(one.kind for one in made)]


def test_hand_made_features_of_a_datasets_wells(tmp_path):
    simulate.simulate("BBBC021", tmp_path, wells=12, plates=1, batches=1, field=64)
    metadata = valsets.open_valset("BBBC021", root=tmp_path)
    frame = metadata.metadata[["plate", "well"]].rename(columns=tables.metadata_name)
    frame = frame.drop_duplicates().assign(emb_DNA_0000=1.0)
    first = feature_sets.FeatureSet("first", frame.reset_index(drop=True))
    (made, *_) = feature_sets.without_model(first, "BBBC021", str(tmp_path))
    assert len(made.profiles) == len(frame)
    assert len(tables.feature_columns(made.profiles)) == 3 * 14 + 3


def test_only_labels_alone_are_not_normalised():
    frame = wells(("A01", "A02", "A03", "A04", "A05", "A06"))
    frame["Metadata_control_type"] = ["negcon"] * 5 + [None]
    sets = [
        feature_sets.FeatureSet("a", frame),
        feature_sets.FeatureSet("absent", None),
        feature_sets.FeatureSet("b", frame, kind="label alone"),
    ]
    made = feature_sets.normalised(sets)
    assert list(made) == ["a", "b"] and made["b"] is frame
    expected = normalise(frame).profiles
    pd.testing.assert_frame_equal(made["a"], expected)


def test_comparison_knows_what_it_compares(tmp_path):
    store(tmp_path, "mine", "BBBC021", wells(), {"simulated": True})
    whole = wells(("A01", "A02", "B01", "B02"))
    whole.to_csv(tmp_path / "theirs.csv", index=False)
    entries = ["lost", "mine", f"theirs={tmp_path / 'theirs.csv'}"]
    made = feature_sets.compare(entries, "BBBC021", tmp_path, tmp_path, alone=("well",))
    assert (made.first.name, made.data, made.where) == ("mine", "simulated", "BBBC021, simulated")
    assert made.kinds["position alone"] == "label alone" and made.kinds["lost"] == "model"
    by_name = {one.name: one.profiles for one in made.sets}
    assert [name for name, one in by_name.items() if one is None][0] == "lost"
    assert len(by_name["theirs"]) == len(by_name["position alone"]) == 3
    there = {name: one for name, one in by_name.items() if one is not None}
    assert list(made.models(there)) == ["mine", "theirs"]
    other = feature_sets.compare(entries[2:], "BBBC021", tmp_path, tmp_path, alone=())
    assert (other.first.name, other.data) == ("theirs", "real")


def pictures(names):
    frame = pd.DataFrame({"Metadata_image": list(names), "Metadata_label": "Cytosol"})
    return frame.assign(emb_green_0000=np.arange(len(frame)) + 1.0)


def test_profiles_of_images_have_no_wells(tmp_path):
    store(tmp_path, "mine", "HPA", pictures("abc"))
    pictures("cbd").to_csv(tmp_path / "theirs.csv", index=False)
    entries = ["mine", str(tmp_path / "theirs.csv")]
    made = feature_sets.on_same_wells(
        feature_sets.read(entries, "HPA", tmp_path, unit="image"), unit="image"
    )
    assert made[0].profiles["Metadata_image"].tolist() == ["b", "c"]
    assert made[1].profiles["emb_green_0000"].tolist() == [2.0, 1.0]
    assert made[0].said == "1 images left out: not every set describes them."
    assert feature_sets.described(made, "image")["images"].tolist() == [2, 2]
    wells().to_csv(tmp_path / "wells.csv", index=False)
    with pytest.raises(ValueError, match="no column 'image'"):
        feature_sets.read([str(tmp_path / "wells.csv")], "HPA", unit="image")
    twice = feature_sets.FeatureSet("b", pictures("aab"))
    with pytest.raises(ValueError, match="b: image a stands in two rows; a set has one row for"):
        feature_sets.on_same_wells([made[0], twice], unit="image")
    other = feature_sets.FeatureSet("other", pictures("xy"))
    with pytest.raises(ValueError, match="no image is described by all of mine, other"):
        feature_sets.on_same_wells([made[0], other], unit="image")


def test_hand_made_features_of_images(tmp_path):
    simulate.simulate("HPA", tmp_path, field=48, wells=4, workers=1)
    images = valsets.open_valset("HPA", root=tmp_path).metadata["image"]
    first = feature_sets.FeatureSet("first", pictures(images))
    (made, *_) = feature_sets.without_model(first, "HPA", str(tmp_path), alone=(), unit="image")
    assert made.profiles["Metadata_image"].tolist() == images.tolist()
    assert "Metadata_sites" not in made.profiles
