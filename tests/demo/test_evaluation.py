"""The demo model's scores against slow twins on tiny crops and plates; what mistakes are told."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import tifffile
import torch
from scipy.stats import spearmanr

import unidino
from unidino import evaluate, paths, simulate, tables
from unidino.demo import data, evaluation, real_sets, recipe, score_tables, scoring, trials
from unidino.evaluate import dose_response
from unidino.models import checkpoints, vit

SIDE = 20
COMPOUNDS = {"DMSO": "DMSO", "a": "x", "b": "x", "c": "y", "d": "y", "e": "z", "f": "z"}


def write_crops(root):
    """Crops of six compounds at two doses and DMSO; one that shows no cell."""
    rng = np.random.default_rng(0)
    folder = root / real_sets.CROPS_FOLDER
    (folder / "cells").mkdir(parents=True)
    rows = []
    for compound, moa in COMPOUNDS.items():
        for dose in (0,) if compound == "DMSO" else (1, 2):
            for site in range(6 if compound == "DMSO" else 2):
                file = f"{compound}{dose}{site}.npy"
                texture = rng.gamma(2 + ord(moa[0]) % 3, 300, (SIDE, SIDE, 3))
                crop = np.minimum(texture * (1 + 0.2 * dose), 65535)
                np.save(folder / "cells" / file, crop.astype(np.uint16))
                rows.append([file, "p", "A01", site, compound, float(dose), moa, False])
    np.save(folder / "cells" / "none.npy", np.full((SIDE, SIDE, 3), 60000, np.uint16))
    rows.append(["none.npy", "p", "A01", 9, "a", 1.0, "x", True])
    names = ["file", "plate", "well", "site", "compound", "concentration", "moa", "empty_crop"]
    pd.DataFrame(rows, columns=names).to_csv(folder / "labels.csv", index=False)


def write_sbs(root):
    """The translocation plate in small: two rows of each half, every dose, tiny images."""
    rng = np.random.default_rng(1)
    folder = root / "sbs_translocation_plate"
    (folder / "images").mkdir(parents=True)
    rows = []
    for i in range(48):
        row, column = "ABEF"[i // 12], i % 12 + 1
        dose = 0 if column <= 2 else column - 2
        control = {1: -1, 2: -1, 12: 1}.get(column, 0)
        for channel in (1, 2):
            name = f"Channel{channel}-{i + 1:02d}-{row}-{column:02d}.tif"
            image = rng.poisson(20 + 6 * dose * channel, (48, 56)).astype(np.uint8)
            tifffile.imwrite(folder / "images" / name, image)
        rows.append([i + 1, row, f"{column:02d}", dose, control])
    names = ["ImageNumber", "Row", "Column", "SBS_Doses", "SBS_Controls"]
    pd.DataFrame(rows, columns=names).to_csv(folder / "1049_Metadata.csv", index=False)


def write_mix(root):
    """Images of two stains from two repositories, and of one that a single one shows."""
    rng = np.random.default_rng(2)
    names = ["file", "source", "repo", "commit", "path", "licence", "stain_channel", "cell_type",
             "bit_depth", "height", "width"]  # fmt: skip
    kinds = {
        "train_mix": (("DNA", 2), ("F-actin", 9)),
        "train_more": (("Hoechst", 2), ("actin", 9), ("Golgi", 4)),
    }
    for folder, stains in kinds.items():
        rows = []
        for stain, shape in stains:
            for i in range(3):
                file = f"{stain}-{i}.tif"
                (root / folder).mkdir(exist_ok=True)
                across = np.cos(np.arange(44) / (i + 1))
                waves = np.add.outer(np.sin(np.arange(40) / shape), across)
                values = (60 * (waves + 2) + rng.integers(0, 9, (40, 44))).astype(np.uint8)
                tifffile.imwrite(root / folder / file, values)
                rows.append(
                    [file, folder, f"repo-{folder}", "c", "p", "MIT", stain, "cells", "8", 40, 44]
                )
        pd.DataFrame(rows, columns=names).to_csv(root / folder / "manifest.csv", index=False)


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    root = tmp_path_factory.mktemp("real")
    write_crops(root)
    write_sbs(root)
    write_mix(root)
    return root


@pytest.fixture(autouse=True)
def here(real, monkeypatch):
    monkeypatch.setenv("UNIDINO_REAL", str(real))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    config = vit.ModelConfig(arch="vit_tiny", embed_dim=24, size=32, intensity="plate")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        checkpoints.save_model(vit.EmbeddingModel(config), path)
    return str(path)


def value(scores, **wanted):
    """The one value in a table of scores."""
    kept = scores
    for name, one in ({"minus": ""} | wanted).items():
        kept = kept[kept[name] == one]
    assert len(kept) == 1, kept
    return kept["value"].iloc[0]


# The held-out crops.


def twin_treatments(root, features_of):
    """Treatment means from the definition, a crop at a time."""
    table = pd.read_csv(root / real_sets.CROPS_FOLDER / "labels.csv")
    table = [row for row in table.itertuples() if not row.empty_crop]
    crops = [np.load(root / real_sets.CROPS_FOLDER / "cells" / row.file) for row in table]
    limits = [
        np.percentile(np.concatenate([crop[..., c].ravel() for crop in crops]), [0.5, 99.7])
        for c in range(3)
    ]
    vectors = []
    for crop in crops:
        planes = [
            np.clip((crop[..., c] - low) / (high - low), 0, 1)
            for c, (low, high) in enumerate(limits)
        ]
        vectors.append(features_of(planes))
    vectors = np.array(vectors, float)
    control = np.array([row.compound == "DMSO" for row in table])
    spread = vectors[control].std(0)
    vectors = vectors[:, spread > 1e-9]
    vectors = (vectors - vectors[control].mean(0)) / vectors[control].std(0)
    groups = {}
    for row, vector in zip(table, vectors, strict=True):
        if row.compound != "DMSO":
            groups.setdefault((row.compound, row.concentration, row.moa), []).append(vector)
    return {key: np.mean(group, 0) for key, group in groups.items()}


def twin_nsc(treatments):
    hits = []
    for (compound, _, moa), own in treatments.items():
        others = [
            (own @ other / np.linalg.norm(own) / np.linalg.norm(other), key[2])
            for key, other in treatments.items()
            if key[0] != compound
        ]
        hits.append(max(others)[1] == moa)
    return np.mean(hits)


def bilinear(plane, size):
    """Resized with pixel centres aligned at the edges, from the definition."""
    side = len(plane)
    at = np.clip((np.arange(size) + 0.5) * side / size - 0.5, 0, side - 1)
    low = np.minimum(at.astype(int), side - 2)
    part = at - low
    rows = plane[low] * (1 - part)[:, None] + plane[low + 1] * part[:, None]
    return rows[:, low] * (1 - part) + rows[:, low + 1] * part


def test_held_out_protocol_equals_its_twin(real, weights, tmp_path):
    model = unidino.load_model(weights, pooling="max")

    def embeddings(planes):
        made = [torch.from_numpy(bilinear(p, 128).astype(np.float32))[None, None] for p in planes]
        with torch.inference_mode():
            return np.concatenate([model(one)[0].numpy() for one in made])

    expected = twin_treatments(real, embeddings)
    labels, crops = real_sets.read_crops(real)
    assert len(crops) == 30 and crops.shape[1:] == (3, SIDE, SIDE)
    made = real_sets.crop_treatments(
        labels, real_sets.embed_crops(model, real_sets.scale_crops(crops))
    )
    assert len(made) == 12
    values = made[tables.feature_columns(made)].to_numpy()
    np.testing.assert_allclose(values, np.array(list(expected.values())), atol=2e-3)
    looks = tmp_path / "looks.csv"
    scorer = evaluation.Evaluation(weights, "max", tmp_path, seeds=2, draws=50)
    scores = scorer.heldout(looks)
    metric = "NSC of moa, treatments"
    assert value(scores, model=scorer.name) == pytest.approx(twin_nsc(expected), abs=1e-6)
    assert set(scores["model"]) == {
        scorer.name, "random_vit", "transfer", "hand-made", "Gaussian"
    }  # fmt: skip
    assert set(scores["metric"]) == {metric}
    by_hand = real_sets.crop_treatments(
        labels, real_sets.crops_by_hand(real_sets.scale_crops(crops))
    )
    keys = zip(by_hand["compound"], by_hand["concentration"], by_hand["moa"], strict=True)
    vectors = by_hand[tables.feature_columns(by_hand)].to_numpy(float)
    own = dict(zip(keys, vectors, strict=True))
    assert value(scores, model="hand-made") == pytest.approx(twin_nsc(own), abs=1e-6)
    # Untrained models: the mean over seeds of what each scores alone.
    alone = [
        evaluation.load_model("random_vit", arch="vit_tiny", embed_dim=24, pooling="max", seed=seed)
        for seed in range(2)
    ]
    each = []
    for one in alone:
        one = real_sets.crop_treatments(
            labels, real_sets.embed_crops(one, real_sets.scale_crops(crops))
        )
        each.append(float(evaluate.nearest_neighbour_accuracy(one, "moa", ["compound"])))
    assert value(scores, model="random_vit") == pytest.approx(np.mean(each), abs=1e-6)
    lead = value(scores, model=scorer.name, minus="random_vit")
    assert lead == pytest.approx(twin_nsc(expected) - np.mean(each), abs=2e-6)


def test_each_model_is_one_look(weights, tmp_path):
    looks = tmp_path / "looks.csv"
    one, other = (
        SimpleNamespace(sha256="0123456789", config=vit.ModelConfig("vit_tiny", pooling=pooling))
        for pooling in ("cls", "max")
    )
    assert score_tables.record_look(looks, "m", one) == 1
    assert score_tables.record_look(looks, "m", one) == 1
    assert score_tables.record_look(looks, "m", other) == 2
    assert pd.read_csv(looks, dtype=str)["sha256"].tolist() == ["01234567"] * 2


# The development sets and the plate.


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Small development sets where `demo_data.write` puts them."""
    outdir = tmp_path_factory.mktemp("demo")
    for valset, size in {"BBBC021": 28, "jumpcp-valset": 24}.items():
        batches = {"BBBC021": 2, "jumpcp-valset": 2}[valset]
        simulate.ensure(
            valset, outdir / "development-11", seed=9, workers=1, rendering=11, field=40,
            wells=size, plates=1, batches=batches,
        )  # fmt: skip
    return outdir


@pytest.fixture(autouse=True)
def one_development_set(monkeypatch):
    monkeypatch.setattr(data, "DEVELOPMENT_RENDERINGS", (11,))
    monkeypatch.setattr(evaluation, "GAUSSIAN_SEEDS", 3)


def test_sets_of_one_kind_are_pooled():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"compound": list("aabbccdd"), "moa": list("xxxxyyyy")})
    frame["concentration"] = 1.0
    parts = []
    for _ in range(3):
        values = rng.normal(size=(2, 8, 3))
        made = [
            frame.assign(**{f"emb{i}": one[:, i] for i in range(3)}).sample(frac=1, random_state=1)
            for one in values
        ]
        first, second = (one.reset_index(drop=True) for one in made)
        parts.append({"m": [first], "r": [second]})
    scores = scoring.neighbour_scores(parts, "real crops", draws=200)
    for name in ("m", "r"):
        hits = [
            evaluate.nearest_neighbour_accuracy(part[name][0], "moa", ["compound"]).correct
            for part in parts
        ]
        row = scores[(scores["features"] == name) & (scores["minus"] == "")].iloc[0]
        assert row["value"] == pytest.approx(sum(hits) / 24) and row["n"] == 24
    # Four compounds in three sets are twelve things to resample.
    (rule,) = scoring.DEVELOPMENT_RULES["real crops"]
    frames = [part["m"][0] for part in parts]
    accuracy, table = scoring.pooled([rule.accuracy(one) for one in frames], frames, rule)
    assert table["compound"].nunique() == 12
    assert evaluate.bootstrap_interval(accuracy, table, "compound", draws=50)[0] >= 0


def test_renderings_do_not_share_a_folder(prepared, weights, monkeypatch):
    for rendering in (11, 12):
        simulate.ensure(
            "BBBC021", prepared / f"development-{rendering}", seed=9, workers=1, field=40,
            rendering=rendering, wells=28, plates=1, batches=2,
        )  # fmt: skip
    monkeypatch.setattr(data, "DEVELOPMENT_RENDERINGS", (11, 12))
    monkeypatch.setattr(data, "DEVELOPMENT", {"BBBC021": {}})
    scorer = evaluation.Evaluation(weights, outdir=prepared, with_baselines=False, draws=50)
    one, both = scorer.development(renderings=1), scorer.development()
    assert both["n"].item() == 2 * one["n"].item()


def test_weights_files_stand_beside_the_model(prepared, weights, exported, tmp_path, capsys):
    table, looks = tmp_path / "scores.csv", tmp_path / "looks.csv"
    scorer = evaluation.Evaluation(
        weights, outdir=prepared, with_baselines=False, beside={"other": exported}, draws=50
    )
    sbs = [*("--no-baselines", "--sets", "sbs", "--draws", "50", "--table", str(table))]
    command = ["--model", weights, "--outdir", str(prepared), *sbs]
    evaluation.main([*command, "--beside", f"other={exported}"])
    rows = score_tables.read_scores(table)
    other = unidino.load_model(str(exported))
    named = rows[rows["model"] == "other"]
    assert set(named["sha256"]) == {other.sha256[:8]} and set(named["pooling"]) == {"max"}
    # Alone it scores the same, and the differences are those of the two.
    evaluation.main(["--model", str(exported), *command[2:]])
    alone = score_tables.read_scores(table).query(f"model == '{other.name}'").set_index("metric")
    for row in named.itertuples():
        assert row.value == pytest.approx(alone.loc[row.metric, "value"], abs=1e-6)
        own = value(rows, model=scorer.name, metric=row.metric)
        lead = value(rows, model=scorer.name, metric=row.metric, minus="other")
        assert lead == pytest.approx(own - row.value, abs=2e-6)
    scores = scorer.heldout(looks)
    assert pd.read_csv(looks)["model"].tolist() == [scorer.name, "other"]
    assert set(scores["model"]) == {scorer.name, "other"}
    with pytest.raises(ValueError, match="beside: transfer is the name of another baseline"):
        evaluation.Evaluation(weights, beside={"transfer": exported})


def test_development_and_plate_by_the_command(prepared, weights, tmp_path, capsys):
    table = tmp_path / "scores.csv"
    command = ["--model", weights, "--outdir", str(prepared), "--table", str(table)]
    evaluation.main([*command, "--seeds", "1", "--draws", "100"])
    printed = capsys.readouterr().out
    assert "NSC of target, wells" in printed and "Z', rows E-H" in printed
    scores = score_tables.read_scores(table)
    assert list(scores) == score_tables.SCORE_COLUMNS
    assert set(scores["set"]) == {"BBBC021", "jumpcp-valset", "stains", "SBS plate"}
    assert set(scores["model"]) == {
        unidino.load_model(weights).name, "random_vit", "transfer", "hand-made", "Gaussian"
    }  # fmt: skip
    model = unidino.load_model(weights)
    own = scores[(scores["model"] == model.name) & (scores["minus"] == "")]
    assert set(own["sha256"]) == {model.sha256[:8]} and set(own["pooling"]) == {"cls"}
    assert (own["low"] <= own["high"]).all()
    # Scored again from the profiles that were written.
    (file,) = (prepared / "evaluation").rglob(f"{model.name}/jumpcp-valset/*_standardize_*.parquet")
    wells = tables.read_table(file)
    wells = wells[wells["Metadata_control_type"].isna()].reset_index(drop=True)
    for metric, label, exclude in (
        ("NSC of target, wells", "target", "perturbation_id"),
        ("compound in another source, wells", "perturbation_id", "source"),
    ):
        expected = evaluate.nearest_neighbour_accuracy(wells, label, [exclude])
        assert value(own, metric=metric) == pytest.approx(float(expected), abs=1e-6)
    (file,) = (prepared / "evaluation").rglob(f"{model.name}/sbs/*_no_post_proc_*.parquet")
    summary, _ = dose_response.cross_fitted(tables.read_table(file), "half", "dose")
    summary = summary.set_index("scored")
    for half in ("A-D", "E-H"):
        for name, column in (("Spearman", "spearman"), ("Z'", "z_prime")):
            made = value(own, metric=f"{name}, rows {half}")
            assert made == pytest.approx(summary.loc[half, column], abs=1e-6)
    # The same again replaces its rows; another pooling adds some.
    command += ["--no-baselines", "--draws", "100", "--sets", "sbs"]
    evaluation.main(command)
    assert len(score_tables.read_scores(table)) == len(scores)
    evaluation.main([*command, "--pooling", "mean"])
    poolings = score_tables.read_scores(table).groupby("pooling").size()
    assert poolings["mean"] == (own["set"] == "SBS plate").sum()


@pytest.fixture
def exported(tmp_path):
    """Weights and curves as `export` writes them after two of three epochs."""
    path = tmp_path / "tried.safetensors"
    config = vit.ModelConfig(
        arch="vit_tiny", embed_dim=24, size=32, pooling="max", intensity="plate"
    )
    options = recipe.SELF_DISTIL | {"epoch_length": 900, "lr": 0.5, "device": "cuda:7"}
    details = {"epoch": 2, "step": 20, "training": options}
    checkpoints.save_model(vit.seeded(config, 5), path, details)
    curves = pd.DataFrame({"epoch": [1, 2], "images_per_second": [10.0, 30.0]})
    curves.to_csv(path.with_suffix(".epochs.csv"), index=False)
    return path


def test_trials_are_recorded_by_the_command(prepared, exported, tmp_path, capsys):
    table = tmp_path / "trials.csv"
    command = [str(exported), "--outdir", str(prepared), "--table", str(table), "--draws", "50"]
    trials.main([*command, "--tried", "first"])
    assert "first" in capsys.readouterr().out
    (row,) = trials.read(table).to_dict("records")
    assert row["options"] == "epoch_length=900, lr=0.5"
    assert (row["crops"], row["minutes"]) == ("1800", "2")  # 900 / 10 + 900 / 30 seconds
    assert (row["pooling"], row["projected_dim"]) == ("max", "")
    assert (row["stage"], row["block"]) == ("self-distil", "")
    scorer = evaluation.Evaluation(exported, outdir=prepared, with_baselines=False, draws=50)
    scores = pd.concat([scorer.development(), scorer.stains(), scorer.sbs()])
    for one in scores[~scores["metric"].str.startswith("Spearman")].itertuples():
        text = f"{one.value:.2f} ({one.low:.2f} to {one.high:.2f})"
        assert row[f"{one.set}, {one.metric}"] == text
    assert len(row) == len(trials.TRIAL_COLUMNS) == 14
    # Another adds a row; one of the same name takes the place of the old.
    trials.record(row | {"tried": "second"}, table)
    trials.record(row | {"minutes": 7}, table)
    read = trials.read(table)
    assert read["tried"].tolist() == ["first", "second"] and read["minutes"].tolist() == ["7", "2"]


def test_wrong_trials_are_refused_before_work(exported, tmp_path):
    table = tmp_path / "trials.csv"
    table.write_text("a,b\n1,2\n")
    command = ["--tried", "x", "--outdir", str(tmp_path), "--table", str(table)]
    with pytest.raises(SystemExit, match=r"trials.csv has the columns a, b; expected \['tried'"):
        trials.main([str(exported), *command])
    assert table.read_text() == "a,b\n1,2\n"
    table.unlink()
    exported.with_suffix(".epochs.csv").unlink()
    with pytest.raises(SystemExit, match="or tried.epochs.csv is not beside it: write both"):
        trials.main([str(exported), *command])
    with pytest.raises(SystemExit, match="no weights at .*nothing"):
        trials.main([str(tmp_path / "nothing.safetensors"), *command])
    assert not table.exists()


def wells(seed, slope):
    """Scores of a plate, as features along one axis."""
    rng = np.random.default_rng(seed)
    rows = []
    for half in ("A-D", "E-H"):
        for kind, dose, count in (("negcon", 0, 8), ("poscon", 9, 4)):
            rows += [(half, dose, kind)] * count
        rows += [(half, dose, None) for dose in range(1, 10) for _ in range(4)]
    frame = pd.DataFrame(rows, columns=["half", "dose", "control_type"])
    frame.insert(0, "well", [f"w{i:03d}" for i in range(len(frame))])
    for i in range(3):
        frame[f"emb{i}"] = frame["dose"] * slope + rng.normal(size=len(frame))
    return frame


def test_dose_scores_equal_their_twin():
    sets = {"m": [wells(0, 0.5)], "r": [wells(1, 0.1), wells(2, 0.1)]}
    scores = scoring.dose_scores(sets, draws=300).rename(columns={"features": "model"})
    for half in ("A-D", "E-H"):
        made = []
        for frame in sets["r"]:
            _, scored = dose_response.cross_fitted(frame, "half", "dose")
            part = scored[(scored["half"] == half) & scored["control"].isna()]
            made.append(spearmanr(part["score"], part["dose"]).statistic)
        metric = f"Spearman, rows {half}"
        assert value(scores, model="r", metric=metric) == pytest.approx(np.mean(made))
        row = scores[(scores["model"] == "m") & (scores["metric"] == metric)].set_index("minus")
        assert row.loc["r", "value"] == pytest.approx(row.loc["", "value"] - np.mean(made))
        assert row.loc["", "low"] < row.loc["", "value"] < row.loc["", "high"]
        assert row.loc["r", "low"] > 0


def test_resampled_correlations_equal_scipy():
    rng = np.random.default_rng(0)
    rows, other = rng.normal(size=(5, 12)), rng.normal(size=12)
    made = scoring._correlation(rows, other)
    np.testing.assert_allclose(made, [np.corrcoef(row, other)[0, 1] for row in rows])


# Mistakes.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--sets", "heldot"],
            "sets 'heldot' is not one of development, stains, sbs, heldout, blocks",
        ),
        (["--seeds", "-1"], "seeds is -1; it must be 0 or more"),
        (["--draws", "0"], "draws is 0; it must be above 0"),
        (["--model", "no.pth"], "no weights at no.pth"),
        (["--beside", "a.pth"], "--beside is 'a.pth'; expected NAME=FILE, each name once"),
        (["--beside", "a=no.pth"], "--beside a: no weights file no.pth"),
    ],
)
def test_mistakes_are_named(options, message, tmp_path):
    with pytest.raises(SystemExit, match=message):
        evaluation.main(["--model", "random_vit", "--outdir", str(tmp_path), *options])


def test_another_table_is_not_touched(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    with pytest.raises(SystemExit, match="t.csv has the columns a, b; expected"):
        evaluation.main(["--model", "random_vit", "--table", str(tmp_path / "t.csv")])
    with pytest.raises(FileNotFoundError, match="no scores at .*gone.csv: run python -m"):
        score_tables.read_scores(tmp_path / "gone.csv")


def test_absent_real_data_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "real_data_root", lambda: None)
    scorer = evaluation.Evaluation("random_vit", outdir=tmp_path)
    assert scorer.seeds == 0  # an untrained model is no baseline of itself
    with pytest.raises(FileNotFoundError, match="real crops .* are absent: set UNIDINO_REAL"):
        scorer.heldout()
    with pytest.raises(FileNotFoundError, match="real images sbs_translocation_plate are absent"):
        scorer.sbs()
    with pytest.raises(FileNotFoundError, match="the real images train_mix are absent"):
        scorer.stains()


def test_different_profiles_are_not_compared():
    frame = pd.DataFrame({"compound": ["a", "b"], "moa": ["x", "x"], "concentration": [1.0, 1.0]})
    first = frame.assign(emb0=[1.0, 2.0], emb1=[0.0, 1.0])
    with pytest.raises(ValueError, match="r and m describe different profiles of real crops"):
        scoring.neighbour_scores([{"m": [first], "r": [first[::-1]]}], "real crops")


def test_several_channels_together_are_refused():
    model = vit.EmbeddingModel(vit.ModelConfig(arch="vit_tiny", in_chans=3, size=32))
    with pytest.raises(ValueError, match="embeds 3 channels together, not one"):
        real_sets.embed_crops(model, np.zeros((1, 3, 8, 8), np.float32))


def test_stained_images_are_those_of_several_repositories(real):
    images = real_sets.stained_images(real)
    counts = images.groupby(["stain", "repo"]).size().to_dict()
    assert counts == {
        ("DNA", "repo-train_mix"): 3, ("DNA", "repo-train_more"): 3,
        ("actin", "repo-train_mix"): 3, ("actin", "repo-train_more"): 3,
    }  # fmt: skip
    assert images["path"].map(lambda file: (real / file).is_file()).all()


def test_large_groups_of_images_are_thinned_evenly(real, monkeypatch):
    monkeypatch.setattr(real_sets, "STAIN_IMAGES", 2)
    images = real_sets.stained_images(real)
    assert set(images.groupby(["stain", "repo"]).size()) == {2}
    first = images[(images["stain"] == "DNA") & (images["repo"] == "repo-train_mix")]
    assert first["path"].tolist() == ["train_mix/DNA-0.tif", "train_mix/DNA-2.tif"]


def test_blocks_are_scored_without_the_projection(prepared, tmp_path):
    config = vit.ModelConfig(
        arch="vit_tiny", embed_dim=24, size=32, intensity="plate", pooling="cls_mean",
        projected_dim=5,
    )  # fmt: skip
    model = vit.seeded(config, 2)
    checkpoints.save_model(model, tmp_path / "small.safetensors")
    scorer = evaluation.Evaluation(
        tmp_path / "small.safetensors", outdir=prepared, draws=20, with_baselines=False
    )
    curve = scorer.blocks(every=5)
    assert sorted(set(curve["block"])) == [7, 12]
    assert set(curve["set"]) == {"stains", "BBBC021", "jumpcp-valset"}
    assert set(curve["pooling"]) == {"cls_mean"}
    last = evaluation.unprojected(model, 12)
    x = torch.rand(2, 1, 32, 32)
    plain = vit.EmbeddingModel(vit.ModelConfig(**vars(config) | {"projected_dim": None})).eval()
    plain.backbone.load_state_dict(model.backbone.state_dict())
    torch.testing.assert_close(last(x), plain(x))
