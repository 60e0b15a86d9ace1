"""Multi-label scores against scikit-learn and loops, and splits that keep groups together."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, f1_score
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from unidino.evaluate import multilabel

CLASSES = ("Cytosol", "Nucleoli", "Vesicles")


def images(seed=0, antibodies=30, signal=2.0, features=8, own=0.0):
    """Two or three images an antibody of one or two classes; features show class and antibody."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(len(CLASSES), features))
    rows, values = [], []
    for number in range(antibodies):
        chosen = {number % 3} | ({int(rng.integers(3))} if number % 2 else set())
        at = signal * sum(centres[i] for i in chosen) + own * rng.normal(size=features)
        for _ in range(2 + number % 2):
            rows.append((f"HPA{number:03d}", "|".join(CLASSES[i] for i in sorted(chosen))))
            values.append(at + rng.normal(size=features))
    frame = pd.DataFrame(rows, columns=["Metadata_antibody", "Metadata_label"])
    return pd.concat([frame, pd.DataFrame(values).add_prefix("emb")], axis=1)


def ask(profiles, **options):
    return multilabel.ask(profiles, "label", "antibody", **options)


def test_classes_of_a_profile_and_those_too_rare():
    profiles = images()
    profiles.loc[profiles["Metadata_antibody"].isin(["HPA000", "HPA003"]), "Metadata_label"] += (
        " | Aggresome"
    )
    asked = ask(profiles)
    assert asked.classes == CLASSES
    for i, name in enumerate(CLASSES):
        has = profiles["Metadata_label"].map(lambda cell, n=name: n in cell.split("|"))
        # The blanks around the separator are no part of a name.
        has |= profiles["Metadata_label"].str.contains(name)
        assert asked.member[:, i].tolist() == has.tolist()
        counted = asked.counts.set_index("label").loc[name]
        assert counted["groups"] == profiles.loc[has, "Metadata_antibody"].nunique()
        assert counted["profiles"] == has.sum()
        assert asked.prevalence[i] == has.mean()
    rare = asked.counts.set_index("label").loc["Aggresome"]
    assert (rare["groups"], rare["asked"]) == (2, False)
    assert ask(profiles, least=2).classes == ("Aggresome", *CLASSES)


def test_a_class_that_nearly_all_have_is_left_out():
    profiles = images()
    most = profiles["Metadata_antibody"] != "HPA001"
    profiles.loc[most, "Metadata_label"] += "|Everywhere"
    assert "Everywhere" not in ask(profiles).classes
    assert not ask(profiles).counts.set_index("label").loc["Everywhere", "asked"]


@pytest.mark.parametrize("seed", range(5))
def test_groups_stay_together_and_classes_are_spread(seed):
    asked = ask(images(seed), folds=4, seed=seed)
    frame = pd.DataFrame({"group": asked.groups, "fold": asked.folds})
    assert (frame.groupby("group")["fold"].nunique() == 1).all()
    assert set(asked.folds) == {0, 1, 2, 3}
    sizes = np.bincount(asked.folds)
    assert sizes.max() - sizes.min() <= 6
    for own in asked.member.T:
        held = frame[own].groupby("fold")["group"].nunique().reindex(range(4), fill_value=0)
        assert held.min() >= 1


def test_dealing_follows_its_rule():
    """A second implementation, with sets and loops."""
    rng = np.random.default_rng(3)
    groups = np.sort(rng.integers(0, 20, 60))
    groups = np.unique(groups, return_inverse=True)[1]
    member = rng.random((60, 4)) < (0.1, 0.3, 0.5, 0.2)
    count = groups.max() + 1
    has = {g: {c for c in range(4) if member[groups == g, c].any()} for g in range(count)}
    common = {c: sum(c in own for own in has.values()) for c in range(4)}
    rarest = {g: min((common[c] for c in has[g]), default=count + 1) for g in range(count)}
    order = sorted(
        np.random.default_rng(7).permutation(count).tolist(), key=lambda g: rarest[g]
    )  # sorted is stable
    placed = {}
    for g in order:
        own = next((c for c in range(4) if c in has[g] and common[c] == rarest[g]), None)
        free = []
        for fold in range(3):
            there = [other for other, where in placed.items() if where == fold]
            free.append(
                (
                    sum(own in has[other] for other in there) if own is not None else 0,
                    sum(int((groups == other).sum()) for other in there),
                    fold,
                )
            )
        placed[g] = min(free)[2]
    expected = [placed[g] for g in groups]
    assert multilabel.deal(member, groups, 3, seed=7).tolist() == expected


def test_dealt_by_profile_groups_lie_on_both_sides():
    asked = ask(images())
    alone = multilabel.by_profile(asked)
    frame = pd.DataFrame({"group": alone.groups, "fold": alone.folds})
    assert (frame.groupby("group")["fold"].nunique() > 1).any()
    assert (alone.groups == asked.groups).all()


def test_average_precision_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 5, (40, 3)) / 4  # many are equal
    member = rng.random((40, 3)) < 0.3
    weights = rng.integers(0, 3, (6, 40))
    made = multilabel.average_precisions(scores, member, weights)
    for draw, weight in enumerate(weights):
        for i in range(3):
            expected = average_precision_score(member[:, i], scores[:, i], sample_weight=weight)
            assert made[draw, i] == pytest.approx(expected)
    plain = multilabel.average_precisions(scores, member)
    expected = [average_precision_score(member[:, i], scores[:, i]) for i in range(3)]
    assert plain == pytest.approx(expected)
    equal = multilabel.average_precisions(np.zeros((40, 3)), member)
    assert equal == pytest.approx(member.mean(0))


def test_measures_are_those_of_scikit_learn(monkeypatch):
    rng = np.random.default_rng(1)
    scores = rng.random((50, 4))
    member = rng.random((50, 4)) < 0.4
    weights = rng.integers(0, 3, (5, 50))
    made = multilabel.measures(scores, member, weights)
    for row, weight in zip(made, weights, strict=True):
        said = scores > 0.5
        expected = [
            average_precision_score(member, scores, average="macro", sample_weight=weight),
            average_precision_score(member, scores, average="micro", sample_weight=weight),
            f1_score(member, said, average="macro", sample_weight=weight),
            f1_score(member, said, average="micro", sample_weight=weight),
        ]
        assert row == pytest.approx(expected)
    assert multilabel.measures(scores, member) == pytest.approx(
        multilabel.measures(scores, member, np.ones((1, 50)))[0]
    )
    monkeypatch.setattr(multilabel, "_BLOCK_VALUES", 2 * scores.size)  # two draws at a time
    assert multilabel.measures(scores, member, weights) == pytest.approx(made)
    drawn = np.stack([member, member[::-1], member])
    both = multilabel.measures(scores, drawn)
    assert both[1] == pytest.approx(multilabel.measures(scores, member[::-1]))


def test_a_class_that_no_drawn_profile_has_is_left_out_of_the_mean():
    member = np.array([[1, 0], [1, 0], [0, 1]], bool)
    scores = np.array([[0.9, 0.2], [0.8, 0.1], [0.1, 0.9]])
    first = multilabel.measures(scores, member, np.array([[1, 1, 0]]))[0]
    assert first == pytest.approx([1, 1, 1, 1])


@pytest.mark.parametrize("features", [8, 200])
def test_logistic_regression_is_a_pipeline_of_scikit_learn(features):
    """Also where features outnumber profiles, and the twin is computed without turning them."""
    profiles = images(features=features, signal=0.3)
    asked = ask(profiles)
    made = multilabel.predict(profiles, asked, multilabel.Logistic(strengths=(3.0,)))
    values = profiles.filter(like="emb").to_numpy()
    for fold in range(5):
        test = asked.folds == fold
        for i in range(3):
            twin = make_pipeline(
                StandardScaler(),
                # Features divided by a root are a penalty divided by a number.
                LogisticRegression(
                    C=3.0 / features, class_weight="balanced", tol=1e-8, max_iter=5000
                ),
            ).fit(values[~test], asked.member[~test, i])
            expected = twin.predict_proba(values[test])[:, 1]
            assert made.scores[test, i] == pytest.approx(expected, abs=1e-3)


def test_the_strength_is_chosen_inside_the_training_part():
    profiles = images(signal=0.5)
    asked = ask(profiles)
    values = profiles.filter(like="emb").to_numpy()
    train = asked.folds != 0
    made = multilabel.Logistic()
    groups = np.unique(asked.groups[train], return_inverse=True)[1]
    folds = multilabel.deal(asked.member[train], groups, made.inner)
    found = []
    for strength in made.strengths:
        fixed = multilabel.Logistic(strengths=(strength,))
        scores = np.empty((train.sum(), 3))
        for fold in range(made.inner):
            test = folds == fold
            scores[test] = fixed.predict(
                values[train][~test], asked.member[train][~test], groups[~test],
                values[train][test],
            )  # fmt: skip
        found.append(average_precision_score(asked.member[train], scores, average="macro"))
    chosen = made.choose(values[train], asked.member[train], asked.groups[train])
    assert chosen == made.strengths[int(np.argmax(found))]
    scores = multilabel.predict(profiles, asked, made).scores
    fixed = multilabel.Logistic(strengths=(chosen,))
    assert scores[~train] == pytest.approx(
        multilabel.predict(profiles, asked, fixed).scores[~train]
    )
    # What is predicted has no part in it.
    changed = profiles.copy()
    changed.loc[~train, "Metadata_label"] = "Cytosol"
    changed.loc[~train, [f"emb{i}" for i in range(8)]] *= -1
    values = changed.filter(like="emb").to_numpy()
    assert made.choose(values[train], asked.member[train], asked.groups[train]) == chosen


@pytest.mark.parametrize("features", [8, 200])
def test_neighbours_are_those_of_scikit_learn(features):
    profiles = images(features=features)
    asked = ask(profiles)
    made = multilabel.predict(profiles, asked, multilabel.Nearest(neighbours=4))
    values = profiles.filter(like="emb").to_numpy()
    for fold in range(5):
        test = asked.folds == fold
        scaler = StandardScaler().fit(values[~test])
        near = NearestNeighbors(n_neighbors=4, metric="cosine").fit(scaler.transform(values[~test]))
        found = near.kneighbors(scaler.transform(values[test]), return_distance=False)
        assert made.scores[test] == pytest.approx(asked.member[~test][found].mean(1))


def test_a_class_without_training_profiles_scores_nothing():
    values = np.random.default_rng(0).normal(size=(6, 3))
    member = np.array([[0, 1]] * 6, bool)
    made = multilabel.Logistic(strengths=(1.0,)).predict(values, member, np.arange(6), values)
    assert made[:, 0].tolist() == [0] * 6
    assert made[:, 1].tolist() == [1] * 6


def test_what_is_planted_is_found_and_chance_is_the_share():
    profiles = images(antibodies=60)
    asked = ask(profiles)
    for classifier in (multilabel.Logistic((10.0,)), multilabel.Nearest()):
        assert multilabel.measures(
            multilabel.predict(profiles, asked, classifier).scores, asked.member
        )[0] > 0.9  # fmt: skip
    nothing = images(antibodies=60, signal=0.0)
    made = multilabel.predict(nothing, ask(nothing), multilabel.Logistic((10.0,)))
    table = multilabel.scored(made, draws=200).set_index("accuracy")
    row = table.loc["macro AP"]
    assert row["null_low"] < row["value"] < row["null_high"]
    assert row["low"] < asked.prevalence.mean() + 0.1


def test_what_antibodies_have_of_their_own_is_told_only_by_a_split_of_images():
    profiles = images(antibodies=60, signal=0.0, own=3.0)
    asked = ask(profiles)
    kept, leaked = (
        multilabel.scored(multilabel.predict(profiles, one, multilabel.Nearest(2)), draws=20)
        for one in (asked, multilabel.by_profile(asked))
    )
    assert leaked["value"][0] > kept["value"][0] + 0.2


def test_intervals_and_exchanged_labels_keep_groups_together():
    profiles = images()
    asked = ask(profiles)
    weights = multilabel.resampled(asked.groups, 50, 0)
    assert weights.shape == (50, len(profiles))
    for own in range(asked.groups.max() + 1):
        assert (np.ptp(weights[:, asked.groups == own], axis=1) == 0).all()
    first = np.unique(asked.groups, return_index=True)[1]
    assert (weights[:, first].sum(1) == len(first)).all()
    kinds = sorted(map(tuple, asked.member[first]))
    for member in multilabel.exchanged(asked, 20, 0):
        frame = pd.DataFrame(member).assign(group=asked.groups)
        assert (frame.groupby("group").nunique() == 1).all(axis=None)
        assert sorted(map(tuple, member[first])) == kinds
    made = multilabel.predict(profiles, asked, multilabel.Nearest())
    table = multilabel.scored(made, draws=50, permutations=20)
    again = multilabel.measures(made.scores, asked.member, weights)
    shifted = again - again.mean(0) + table["value"].to_numpy()
    assert table["low"].to_numpy() == pytest.approx(np.quantile(shifted, 0.025, axis=0))
    assert table["high"].to_numpy() == pytest.approx(
        np.quantile(shifted, 0.975, axis=0).clip(max=1)
    )
    null = [multilabel.measures(made.scores, m) for m in multilabel.exchanged(asked, 20, 0)]
    assert table["null"].to_numpy() == pytest.approx(np.mean(null, axis=0))
    assert table["null_high"].to_numpy() == pytest.approx(np.quantile(null, 0.975, axis=0))


def test_exchanged_labels_leave_no_order_of_a_groups_profiles():
    """The first profile of each group is of one class, as a line that shows every antibody."""
    profiles = images(antibodies=12)
    first = ~profiles["Metadata_antibody"].duplicated()
    profiles["Metadata_label"] = np.where(first, "first", "other")
    asked = ask(profiles)
    made = multilabel.exchanged(asked, 200, 0)[:, first.to_numpy(), 0].mean()
    assert made == pytest.approx(asked.member[:, 0].mean(), abs=0.05)


def test_differences_are_taken_on_the_same_draws():
    profiles = images(signal=0.5)
    asked = ask(profiles)
    one = multilabel.predict(profiles, asked, multilabel.Logistic((10.0,)))
    other = multilabel.predict(profiles, asked, multilabel.Nearest())
    made = multilabel.differences(one, other, draws=40).set_index("accuracy")
    weights = multilabel.resampled(asked.groups, 40, 0)
    drawn = [
        multilabel.measures(one.scores, asked.member, w[None])[0]
        - multilabel.measures(other.scores, asked.member, w[None])[0]
        for w in weights
    ]
    shifted = drawn - np.mean(drawn, axis=0) + made["difference"].to_numpy()
    assert made["low"].to_numpy() == pytest.approx(np.quantile(shifted, 0.025, axis=0))
    same = multilabel.differences(one, one, draws=10)
    assert (same[["difference", "low", "high"]] == 0).all(axis=None)
    fewer = ask(profiles.iloc[:-1])
    with pytest.raises(ValueError, match="asked about other profiles or classes; ask both alike"):
        multilabel.differences(
            one, multilabel.predict(profiles.iloc[:-1], fewer, multilabel.Nearest())
        )


def test_unseen_lines_are_told_by_the_others_alone():
    """Features that show the class in one direction in one line, and in the other in the rest."""
    profiles = images(antibodies=60, signal=3.0)
    rng = np.random.default_rng(0)
    line = rng.choice(["a", "b", "c", "d"], len(profiles))
    profiles["Metadata_cell_line"] = line
    features = profiles.filter(like="emb").columns
    asked = ask(profiles)
    same, beside = multilabel.predict_unseen(
        profiles, asked, multilabel.Nearest(), "cell_line", parts=4
    )
    gap = multilabel.measures(beside.scores, asked.member) - multilabel.measures(
        same.scores, asked.member
    )
    assert abs(gap[0]) < 0.1
    profiles.loc[line == "a", features] *= -1
    turned, known = multilabel.predict_unseen(
        profiles, asked, multilabel.Nearest(), "cell_line", parts=4
    )
    own = line == "a"
    assert (
        multilabel.average_precisions(turned.scores[own], asked.member[own]).mean() + 0.2
        < multilabel.average_precisions(known.scores[own], asked.member[own]).mean()
    )


def test_unseen_lines_are_left_out_of_training():
    profiles = images()
    profiles["Metadata_cell_line"] = np.resize(["a", "b", "c"], len(profiles))
    asked = ask(profiles)

    class Told:
        """Its score is whether the training part holds a profile of the predicted ones' line."""

        name = "told"

        def fixed(self, values, member, groups):
            return self

        def predict(self, values, member, groups, others):
            sizes.append(len(values))
            return np.repeat(np.isin(others[:, :1], values[:, :1]), member.shape[1], axis=1)

    sizes = []
    codes = pd.factorize(profiles["Metadata_cell_line"])[0]
    shown = profiles.assign(**{f"emb{i}": codes for i in range(8)})
    without, beside = multilabel.predict_unseen(shown, asked, Told(), "cell_line", parts=3)
    assert not without.scores.any()
    assert beside.scores.all()
    assert sizes[::2] == sizes[1::2]


def test_tables_of_several_sets_and_classes():
    profiles = images()
    asked = ask(profiles)
    sets = {"a": profiles, "b": images(1)}
    classifiers = [multilabel.Nearest(), multilabel.Logistic((1.0,))]
    predicted = multilabel.predict_all(sets, asked, classifiers)
    table = multilabel.score_all(predicted, draws=10, permutations=5)
    assert list(predicted) == [
        ("nearest neighbours", "a"), ("nearest neighbours", "b"),
        ("logistic regression", "a"), ("logistic regression", "b"),
    ]  # fmt: skip
    assert len(table) == 16
    one = table[(table["features"] == "b") & (table["level"] == "logistic regression")]
    expected = multilabel.measures(predicted["logistic regression", "b"].scores, asked.member)
    assert one["value"].to_numpy() == pytest.approx(expected)
    made = multilabel.by_class({"a": predicted["nearest neighbours", "a"]})
    assert made.index.tolist() == list(CLASSES)
    assert made["share"].to_numpy() == pytest.approx(asked.member.mean(0))
    for i, name in enumerate(CLASSES):
        expected = average_precision_score(
            asked.member[:, i], predicted["nearest neighbours", "a"].scores[:, i]
        )
        assert made.loc[name, "a"] == pytest.approx(expected)


def test_features_that_training_does_not_vary_tell_nothing():
    profiles = images()
    asked = ask(profiles)
    for classifier in (multilabel.Logistic((3.0,)), multilabel.Nearest()):
        plain = multilabel.predict(profiles, asked, classifier).scores
        beside = profiles.assign(emb8=np.where(asked.folds == 0, 9.0, 7.0))
        features = [f"emb{i}" for i in range(9)]
        made = multilabel.predict(beside, asked, classifier, features).scores[asked.folds == 0]
        assert np.isfinite(made).all()
        if isinstance(classifier, multilabel.Nearest):
            assert (made == plain[asked.folds == 0]).all()


def test_mistakes_are_named():
    profiles = images()
    for strengths in ((), (1.0, 0.0)):
        with pytest.raises(ValueError, match=r"strengths is \[.*; it takes one number above 0"):
            multilabel.Logistic(strengths)
    with pytest.raises(ValueError, match="neighbours is 0; it must be above 0"):
        multilabel.Nearest(0)
    with pytest.raises(ValueError, match="folds is 1 and least 5; both are 2 or more"):
        ask(profiles, folds=1)
    with pytest.raises(ValueError, match="no column 'gene'"):
        multilabel.ask(profiles, "label", "gene")
    lost = profiles.assign(Metadata_antibody=[None, *profiles["Metadata_antibody"][1:]])
    with pytest.raises(ValueError, match="1 profiles have no Metadata_antibody, row 0"):
        ask(lost)
    with pytest.raises(
        ValueError, match="no label can be asked about: 25 values of antibody must have it, and 25 "
        "lack it. Of 30, 13 have the most common, Nucleoli",
    ):  # fmt: skip
        ask(profiles, least=25)
    with pytest.raises(ValueError, match="30 groups are too few for 31 folds"):
        ask(profiles, folds=31)
    asked = ask(profiles)
    with pytest.raises(ValueError, match="74 profiles, but 75 were asked about"):
        multilabel.predict(profiles.iloc[:-1], asked, multilabel.Nearest())
    with pytest.raises(ValueError, match="have missing or infinite features, row 3"):
        broken = profiles.copy()
        broken.loc[3, "emb0"] = np.nan
        multilabel.predict(broken, asked, multilabel.Nearest())
    made = multilabel.predict(profiles, asked, multilabel.Nearest())
    with pytest.raises(ValueError, match="draws is 0; it must be above 0"):
        multilabel.scored(made, draws=0)
    with pytest.raises(ValueError, match="draws is 0; it must be above 0"):
        multilabel.scored(made, draws=5, permutations=0)
    few = profiles.assign(Metadata_cell_line="a")
    with pytest.raises(ValueError, match="1 groups are too few for 4 folds"):
        multilabel.predict_unseen(few, asked, multilabel.Nearest(), "cell_line")
