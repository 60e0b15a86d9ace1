"""Corrections against formulas and slower twins, on batches never seen, and from files."""

import sys

import numpy as np
import pandas as pd
import pytest
from scipy.stats import multivariate_normal

from unidino import profiles
from unidino.profiles.sphere import GRID, likeliest

NAMES = [f"emb_DNA_{i:04d}" for i in range(4)]


def screen(seed=0, batches=3, controls=12, treated=8, shift=2.0):
    """Wells of several batches, each with an offset; features correlated, their scales unlike."""
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(4, 4)) * [5, 1, 0.2, 1]
    rows, values = [], []
    for batch in range(batches):
        offset = rng.normal(0, shift, 4)
        for i in range(controls + treated):
            well = f"{'ABCDEFGH'[i % 8]}{i // 8 + 1:02d}"
            rows.append((f"b{batch}", f"p{batch}", well, "negcon" if i < controls else None))
            values.append(rng.normal(size=4) @ mix + offset + (i >= controls) * 3)
    frame = pd.DataFrame(
        rows, columns=[f"Metadata_{n}" for n in ("Batch", "Plate", "Well", "control_type")]
    )
    return frame.join(pd.DataFrame(np.array(values), columns=NAMES)).sample(frac=1, random_state=1)


def values_of(frame, rows=slice(None)):
    return frame.loc[rows, NAMES].to_numpy()


def test_sphered_controls_vary_alike_in_every_direction():
    wells = screen()
    controls = (wells["Metadata_control_type"] == "negcon").to_numpy()
    made = profiles.sphere(wells, regularisation=1e-9)
    own = values_of(made)[controls]
    np.testing.assert_allclose(own.mean(0), 0, atol=1e-9)
    np.testing.assert_allclose(own.T @ own / len(own), np.eye(4), atol=1e-6)
    # ZCA: of all whitenings the one that stays nearest; each feature goes with its own.
    correlation = np.corrcoef(values_of(wells)[controls].T, own.T)[:4, 4:]
    assert (np.diag(correlation) > 0.5).all()
    assert made.index.equals(wells.index) and list(made) == list(wells)


def test_sphering_is_pycytominers_where_nothing_is_added():
    from pycytominer.operations import Spherize

    wells = screen(2)
    controls = (wells["Metadata_control_type"] == "negcon").to_numpy()
    theirs = Spherize(epsilon=1e-12, method="ZCA").fit(wells.loc[controls, NAMES])
    expected = np.asarray(theirs.transform(wells[NAMES]), float)
    made = values_of(profiles.sphere(wells, regularisation=1e-9))
    # They divide by n - 1.
    n = controls.sum()
    np.testing.assert_allclose(made, expected * np.sqrt(n / (n - 1)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [12, 45])
def test_the_regulariser_is_the_likeliest_of_the_grid(size):
    rng = np.random.default_rng(1)
    values = rng.normal(size=(30, size)) @ rng.normal(size=(size, size))
    folds = np.arange(30) % 3
    unit = values.var(0).mean()
    likelihood = []
    for share in GRID:
        total = 0
        for fold in range(3):
            rest = values[folds != fold]
            covariance = np.cov(rest.T, bias=True) + share * unit * np.eye(size)
            total += (
                multivariate_normal(rest.mean(0), covariance).logpdf(values[folds == fold]).sum()
            )
        likelihood.append(total)
    assert likeliest(values, folds) == pytest.approx(GRID[np.argmax(likelihood)] * unit)


def test_the_regulariser_grows_where_controls_are_few():
    rng = np.random.default_rng(3)
    mix = rng.normal(size=(40, 40))
    many, few = (
        likeliest(rng.normal(size=(n, 40)) @ mix, np.arange(n) % 5) for n in (2000, 25)
    )  # fmt: skip
    assert few > 30 * many


@pytest.mark.parametrize("kind", profiles.FITTED.values())
def test_a_batch_that_was_never_seen(kind):
    wells = screen(4, controls=40)
    new = (wells["Metadata_Batch"] == "b2").to_numpy()
    fitted = kind().fit(wells[~new])
    before = wells.copy()
    made = fitted.transform(wells[new])
    pd.testing.assert_frame_equal(wells, before)
    controls = (made["Metadata_control_type"] == "negcon").to_numpy()
    spread = values_of(made)[controls].std(0)
    if kind is not profiles.Position:  # which leaves the scale as it is
        assert (spread > 0.2).all() and (spread < 2).all()
    # The same rows by themselves or with others are corrected alike.
    together = fitted.transform(wells)
    pd.testing.assert_frame_equal(made, together[new])


@pytest.mark.parametrize("kind", profiles.FITTED.values())
def test_from_a_file_it_corrects_alike(kind, tmp_path):
    wells = screen(5)
    fitted = kind().fit(wells)
    path = fitted.save(tmp_path / "correction.npz")
    again = profiles.load_correction(path)
    assert type(again) is kind and again.settings() == fitted.settings()
    # The order of features is that of the fit.
    turned = wells[[*wells.columns[:4], *NAMES[::-1]]]
    pd.testing.assert_frame_equal(again.transform(turned)[list(wells)], fitted.transform(wells))


@pytest.mark.parametrize("kind", profiles.FITTED.values())
def test_mistakes_are_named(kind, tmp_path):
    wells = screen()
    with pytest.raises(ValueError, match=f"{kind.name}: fit it on profiles with controls first"):
        kind().transform(wells)
    with pytest.raises(ValueError, match=f"{kind.name}: fit it before it is saved"):
        kind().save(tmp_path / "c.npz")
    fitted = kind().fit(wells)
    with pytest.raises(
        ValueError, match=r"fit on 4 features, the table has 3; it lacks emb_DNA_0000"
    ):
        fitted.transform(wells.drop(columns=NAMES[0]))
    with pytest.raises(ValueError, match="60 profiles have missing or infinite features"):
        fitted.transform(wells.assign(emb_DNA_0000=np.nan))
    with pytest.raises(ValueError, match="the table names no negative controls"):
        kind().fit(wells.assign(Metadata_control_type=None))


@pytest.mark.parametrize("kind", [profiles.TVN, profiles.Sphere])
def test_a_regulariser_is_above_0(kind):
    with pytest.raises(ValueError, match="regularisation is -1; it must be above 0"):
        kind(regularisation=-1)


@pytest.mark.parametrize("method", ["tvn", "sphere"])
def test_by_name_incomplete_profiles_stay_as_they_are(method):
    wells = screen(6)
    wells.iloc[[3, 40], wells.columns.get_loc(NAMES[0])] = np.nan
    made, fitted = profiles.correct(wells, method)
    whole = wells[NAMES].notna().all(axis=1)
    alone = profiles.FITTED[method]().fit(wells[whole])
    pd.testing.assert_frame_equal(made[whole], alone.transform(wells[whole]))
    pd.testing.assert_frame_equal(made[~whole], wells[~whole])
    assert fitted.settings() == alone.settings()
    same, nothing = profiles.correct(wells, "none")
    assert same is wells and nothing is None


def test_controls_that_the_fit_did_not_see():
    wells = screen(3)
    control = (wells["Metadata_control_type"] == "negcon").to_numpy()
    parts = profiles.held_out(wells, "sphere")
    seen = set()
    for part in parts:
        held = part[part["Metadata_control_type"] == "negcon"]
        (plate,) = set(held["Metadata_Plate"])
        seen.add(plate)
        here = (wells["Metadata_Plate"] == plate).to_numpy() & control
        assert len(part) - len(held) == (~control).sum()
        fitted = profiles.Sphere().fit(wells[~here])
        expected = fitted.transform(wells[here | ~control]).reset_index(drop=True)
        pd.testing.assert_frame_equal(part, expected)
    assert seen == set(wells["Metadata_Plate"])
    with pytest.raises(ValueError, match="correct 'harmony' is not one of tvn, sphere, position"):
        profiles.held_out(wells, "harmony")
    with pytest.raises(ValueError, match="controls stand on 1 plate; to hold out those of one"):
        profiles.held_out(wells[wells["Metadata_Plate"] == "p0"], "sphere")


@pytest.mark.parametrize(
    ("method", "change", "message"),
    [
        ("tvm", {}, "correct 'tvm' is not one of none, tvn, sphere, position, harmony"),
        ("tvn", {"Metadata_Batch": None}, "tvn: 60 profiles have no batch"),
        ("sphere", {"Metadata_control_type": None}, "sphere: the table names no negative controls"),
        ("harmony", {"Metadata_Batch": "x"}, "harmony: there is one batch only"),
    ],
)
def test_what_a_table_tells_stops_before_features_are_made(method, change, message):
    table = screen().drop(columns=NAMES)
    assert profiles.check_correction(table, "tvn") is None
    with pytest.raises(ValueError, match=message):
        profiles.check_correction(table.assign(**change), method)


def test_controls_that_cannot_be_sphered():
    wells = screen()
    few = np.zeros(len(wells), bool)
    few[:2] = True
    with pytest.raises(ValueError, match="sphere: 2 controls are too few"):
        profiles.sphere(wells, few)
    with pytest.raises(ValueError, match="the controls are all alike"):
        profiles.sphere(wells.assign(**dict.fromkeys(NAMES, 1.0)))


def test_other_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no correction at .*gone.npz"):
        profiles.load_correction(tmp_path / "gone.npz")
    (tmp_path / "text.npz").write_text("hello")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    np.savez(tmp_path / "pickle.npz", told=np.array([{"name": "tvn"}], dtype=object))
    for name in ("text", "other", "pickle"):
        with pytest.raises(ValueError, match=f"{name}.npz holds no correction"):
            profiles.load_correction(tmp_path / f"{name}.npz")


def test_harmony_mixes_batches_and_keeps_treatments():
    pytest.importorskip("harmonypy")
    rng = np.random.default_rng(0)
    batch = np.repeat(["x", "y"], 100)
    kind = np.tile(["a", "b"], 100)
    values = rng.normal(size=(200, 4))
    values[:, 0] += 12 * (kind == "a")
    values[:, 1] += 3 * (batch == "x")
    wells = pd.DataFrame({"Metadata_Batch": batch, "Metadata_kind": kind})
    wells = wells.join(pd.DataFrame(values, columns=NAMES))
    made = profiles.harmony(wells)
    assert list(made) == list(wells) and made.index.equals(wells.index)
    means = made.groupby("Metadata_Batch")[NAMES].mean()
    assert np.abs(means.loc["x"] - means.loc["y"]).max() < 0.75
    kinds = made.groupby("Metadata_kind")[NAMES[0]].mean()
    assert kinds["a"] - kinds["b"] > 9
    pd.testing.assert_frame_equal(made, profiles.harmony(wells))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.assign(Metadata_Batch=None), "60 profiles have no batch"),
        (lambda f: f.assign(Metadata_Batch="x"), "there is one batch only"),
        (lambda f: f.groupby("Metadata_Batch").head(2), "6 profiles are too few"),
        (lambda f: f.assign(emb_DNA_0000=np.nan), "missing or infinite ones"),
    ],
)
def test_harmony_names_what_is_wrong(change, message):
    pytest.importorskip("harmonypy")
    with pytest.raises(ValueError, match=message):
        profiles.harmony(change(screen()))


def test_harmony_without_its_package_stops_before_features_are_made(monkeypatch):
    module = sys.modules["unidino.profiles.harmony"]  # its function has its name
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="needs the package harmonypy: pip install"):
        profiles.check_correction(screen().drop(columns=NAMES), "harmony")
