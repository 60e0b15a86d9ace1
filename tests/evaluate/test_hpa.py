"""The questions of the Human Protein Atlas on tables with known answers."""

import numpy as np
import pandas as pd
import pytest

from unidino.evaluate import hpa, multilabel
from unidino.simulate import designs

CLASSES = ("Cytosol", "Nucleoli", "Vesicles")
FAST = {"draws": 20, "permutations": 10}


def images(seed=0, antibodies=24):
    """Three images an antibody in three cell lines; green shows the label, blue the line."""
    rng = np.random.default_rng(seed)
    places, lines = rng.normal(size=(2, 3, 4))
    rows, values = [], []
    for number in range(antibodies):
        for i in range(3):
            name, line = CLASSES[number % 3], (number + i) % 3
            rows.append((f"image {number}-{i}", str(number), f"line {line}", name))
            values.append(
                np.concatenate([lines[line], places[number % 3]]) + 0.2 * rng.normal(size=8)
            )
    names = [f"Metadata_{name}" for name in ("image", "antibody", "cell_line", "label")]
    features = [f"emb_{channel}_{i:04d}" for channel in ("blue", "green") for i in range(4)]
    return pd.concat(
        [pd.DataFrame(rows, columns=names), pd.DataFrame(values, columns=features)], axis=1
    )


def macro(table):
    return table.set_index("accuracy").loc["macro AP"]


def test_both_questions_are_asked_by_antibody():
    profiles = images()
    made = hpa.questions(profiles, seed=3)
    assert made.said == ()
    assert (made.group, made.groups) == ("antibody", "antibodies")
    assert made.rows.tolist() == list(range(72))
    antibody = profiles["Metadata_antibody"]
    for question in (made.localisation, made.cell_line):
        assert (pd.Series(question.folds).groupby(antibody).nunique() == 1).all()
        assert question.groups.tolist() == pd.factorize(antibody)[0].tolist()
    assert made.localisation.classes == CLASSES
    assert made.cell_line.classes == ("line 0", "line 1", "line 2")
    direct = multilabel.ask(profiles, "label", "antibody", seed=3)
    assert made.localisation.folds.tolist() == direct.folds.tolist()
    expected = pd.DataFrame(
        {"antibodies": 8, "images": 24, "asked": "yes"}, pd.Index(CLASSES, name="localisation")
    )
    pd.testing.assert_frame_equal(hpa.counted(made), expected, check_dtype=False)


def test_what_cannot_be_asked_is_said():
    profiles = images()
    lacking = profiles.copy()
    lacking.loc[[3, 4], "Metadata_label"] = None
    lacking.loc[10, "Metadata_antibody"] = None
    made = hpa.questions(lacking)
    assert made.said == (
        "Left out, without antibody: 1 of 72 images.",
        "Left out, without label: 2 of 72 images.",
    )
    assert made.rows.tolist() == [i for i in range(72) if i not in (3, 4, 10)]
    assert len(made.localisation.member) == 69

    made = hpa.questions(profiles.drop(columns="Metadata_antibody"))
    assert "No image has an antibody: each is split by itself" in made.said[0]
    assert (made.group, made.groups) == ("image", "images")
    assert hpa.counted(made).columns.tolist() == ["images", "asked"]
    assert made.localisation.groups.tolist() == list(range(72))
    made = hpa.questions(profiles.drop(columns=["Metadata_label", "Metadata_cell_line"]))
    assert made.localisation is None and made.cell_line is None
    assert made.said == (
        "Where a protein lies cannot be asked: no image has a label.",
        "How much of the cell line is read cannot be asked: no image has a cell_line.",
    )
    assert hpa.counted(made).empty

    rare = profiles.copy()
    rare.loc[rare["Metadata_antibody"].isin(["0", "1"]), "Metadata_label"] += "|Aggresome"
    made = hpa.questions(rare)
    assert made.said == (
        "Left out, since fewer than 5 antibodies have or lack it: Aggresome (label).",
    )
    assert hpa.counted(made).loc["Aggresome"].tolist() == [2, 6, "no"]
    made = hpa.questions(rare.drop(columns="Metadata_antibody"), least=7)
    assert "fewer than 7 images have or lack it: Aggresome (label)." in made.said[-1]

    small = hpa.questions(images(antibodies=6))
    assert small.localisation is None
    expected = "Where a protein lies cannot be asked: no label can be asked about: 5 values"
    assert expected in small.said[0]


def test_nothing_is_compared_where_nothing_can_be_asked():
    assert hpa.predict({"a": images()}, None, [multilabel.Nearest()]) == {}
    assert multilabel.score_all({}).empty
    assert hpa.against({}, "a").empty
    assert hpa.changed({}, {}, "hue").empty
    assert hpa.unseen_lines({"a": images()}, None, [multilabel.Nearest()]) == ({}, {})


def test_the_protein_is_read_from_its_channel():
    profiles = images()
    question = hpa.questions(profiles).localisation
    sets = {"m": profiles, "c": profiles.drop(columns=profiles.filter(like="green"))}
    alone, said = hpa.proteins_alone(sets)
    assert list(alone) == ["m"]
    assert alone["m"].columns.tolist() == [
        *profiles.columns[:4], *(f"emb_green_{i:04d}" for i in range(4))
    ]  # fmt: skip
    assert said == ["c: no feature of the channel green; the features are of blue."]
    near = [multilabel.Nearest()]
    every, own = (hpa.predict(some, question, near) for some in (sets, alone))
    table = multilabel.score_all(every, **FAST)
    assert macro(multilabel.score_all(own, **FAST))["value"] > 0.95
    assert macro(table[table["features"] == "c"])["value"] < 0.6
    made = hpa.changed(own, every, "protein alone", draws=20)
    assert made["features"].tolist() == ["m"] * 4
    assert made["hue"].unique() == ["protein alone"]
    assert made["level"].unique() == ["nearest neighbours"]
    assert made["value"].to_numpy() == pytest.approx(made["after"] - made["before"])
    expected = multilabel.measures(own["nearest neighbours", "m"].scores, question.member)
    assert made["after"].to_numpy() == pytest.approx(expected)
    direct = multilabel.differences(
        own["nearest neighbours", "m"], every["nearest neighbours", "m"], draws=20
    )
    assert made["low"].to_numpy() == pytest.approx(direct["low"])


def test_one_set_against_the_others():
    profiles = images()
    question = hpa.questions(profiles).localisation
    sets = {"m": profiles, "blue": hpa.protein_alone(profiles, "blue")}
    predicted = hpa.predict(sets, question, [multilabel.Nearest()])
    made = hpa.against(predicted, "m", draws=20)
    assert made["compared with"].tolist() == ["blue"] * 4
    assert made["level"].unique() == ["nearest neighbours"]
    assert macro(made)["low"] > 0


def test_planted_shares_are_features_of_their_images():
    profiles = images().iloc[[5, 2, 9]]
    truth = pd.DataFrame({"image": [f"image {n}-{i}" for n in range(24) for i in range(3)]})
    for i, name in enumerate(designs.LOCALISATIONS):
        truth[name] = np.arange(72) + 100 * i
    made = hpa.planted(profiles, truth)
    assert made["Metadata_image"].tolist() == ["image 1-2", "image 0-2", "image 3-0"]
    assert made["emb_planted_0000"].tolist() == [5, 2, 9]
    assert made["emb_planted_0001"].tolist() == [105, 102, 109]
    assert made.filter(like="emb_planted").shape[1] == len(designs.LOCALISATIONS)
    with pytest.raises(ValueError, match="image image 1-2 is not in the planted truth"):
        hpa.planted(profiles, truth.iloc[:3])


def test_unseen_lines():
    profiles = images()
    question = hpa.questions(profiles).localisation
    near = multilabel.Nearest()
    lineless = profiles.drop(columns="Metadata_cell_line")
    unseen, seen = hpa.unseen_lines({"m": profiles, "no": lineless}, question, [near], parts=3)
    assert list(unseen) == list(seen) == [("nearest neighbours", "m")]
    direct = multilabel.predict_unseen(profiles, question, near, "cell_line", parts=3)
    for made, expected in zip((unseen, seen), direct, strict=True):
        assert (made["nearest neighbours", "m"].scores == expected.scores).all()
