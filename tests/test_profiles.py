"""Aggregation and normalisation against plain loops; what no normalisation may let through."""

import numpy as np
import pandas as pd
import pytest

from unidino import profiles, tables


def plates(seed=0, plates=3, wells=24, controls=8, features=5, sites=1):
    """Site embeddings with a control in every third well."""
    rng = np.random.default_rng(seed)
    rows = []
    for plate in range(plates):
        for well in range(wells):
            for site in range(sites):
                rows.append(
                    {
                        "Metadata_Batch": f"b{plate % 2}",
                        "Metadata_Plate": f"p{plate}",
                        "Metadata_Well": f"A{well:02d}",
                        "Metadata_Site": site,
                        "Metadata_control_type": "negcon" if well < controls else None,
                        "Metadata_status": "ok",
                    }
                )
    frame = pd.DataFrame(rows)
    values = rng.normal(5, 2, (len(frame), features)) * rng.uniform(0.5, 9, features)
    names = [f"emb_DNA_{i:04d}" for i in range(features)]
    return pd.concat([frame, pd.DataFrame(values.astype(np.float32), columns=names)], axis=1)


KEYS = ["batch", "plate", "well"]
NAMES = [f"emb_DNA_{i:04d}" for i in range(5)]


@pytest.mark.parametrize("operation", ["mean", "median"])
def test_aggregation_equals_the_loop(operation):
    sites = plates(sites=3).sample(frac=1, random_state=0).reset_index(drop=True)
    wells = profiles.aggregate(sites, KEYS, operation)
    assert len(wells) == 72
    assert "Metadata_Site" not in wells.columns
    assert (wells["Metadata_sites"] == 3).all()
    for _, row in wells.iterrows():
        same = (sites["Metadata_Plate"] == row["Metadata_Plate"]) & (
            sites["Metadata_Well"] == row["Metadata_Well"]
        )
        expected = getattr(np, operation)(sites.loc[same, NAMES].to_numpy(), axis=0)
        np.testing.assert_allclose(row[NAMES].to_numpy(float), expected, rtol=1e-6)
        expected = "negcon" if row["Metadata_Well"] < "A08" else None
        kind = row["Metadata_control_type"]
        assert kind == expected or (expected is None and pd.isna(kind))


def test_failed_and_empty_sites():
    sites = plates(plates=1, wells=3, sites=3, controls=0)
    status = ["ok", "failed", "empty", "empty", "failed", "empty", "failed", "failed", "failed"]
    sites["Metadata_status"] = status
    sites.loc[sites["Metadata_status"] == "failed", NAMES] = np.nan
    wells = profiles.aggregate(sites, KEYS)
    assert wells["Metadata_sites"].tolist() == [1, 2, 0]
    np.testing.assert_allclose(
        wells.loc[0, NAMES].to_numpy(float), sites.loc[0, NAMES].to_numpy(float)
    )
    np.testing.assert_allclose(
        wells.loc[1, NAMES].to_numpy(float),
        sites.loc[[3, 5], NAMES].mean().to_numpy(float),
        rtol=1e-6,
    )
    assert wells.loc[2, NAMES].isna().all()


def test_published_names_aggregate():
    frame = pd.DataFrame({"plate": ["p", "p"], "well": ["a", "a"], "emb0": [1.0, 3.0]})
    assert profiles.aggregate(frame, ["plate", "well"])["emb0"].tolist() == [2.0]


def test_unknown_operation():
    with pytest.raises(ValueError, match="operation 'mode' is not one of mean, median"):
        profiles.aggregate(plates(), KEYS, "mode")


def scaled(values, reference, method):
    """What a method means, written out."""
    if method == "standardize":
        return (values - reference.mean(0)) / reference.std(0)
    centre = np.median(reference, 0)
    if method == "robustize":
        low, high = np.percentile(reference, [25, 75], axis=0)
        return (values - centre) / (high - low)
    # 1.4826 makes the MAD of normal values their standard deviation.
    return (values - centre) / (1.4826022185056018 * np.median(np.abs(reference - centre), 0))


@pytest.mark.parametrize("method", ["standardize", "mad_robustize", "robustize"])
@pytest.mark.parametrize("reference", ["negcon", "all", "Metadata_Well < 'A05'"])
def test_normalisation_equals_the_formulas(method, reference):
    wells = plates()
    made = profiles.normalise(wells, method, reference, by=["batch", "plate"])
    for plate in ("p0", "p1", "p2"):
        here = (wells["Metadata_Plate"] == plate).to_numpy()
        values = wells.loc[here, NAMES].to_numpy(float)
        rows = {
            "negcon": wells["Metadata_control_type"] == "negcon",
            "all": pd.Series(True, wells.index),
        }.get(reference, wells["Metadata_Well"] < "A05")
        expected = scaled(values, wells.loc[here & rows, NAMES].to_numpy(float), method)
        np.testing.assert_allclose(
            made.profiles.loc[here, NAMES].to_numpy(), expected, rtol=1e-4, atol=1e-4
        )


def test_spherize_whitens_the_controls_of_all_plates():
    wells = plates(plates=4, wells=40, controls=20)
    made = profiles.normalise(wells, "spherize", by=["plate"])
    controls = made.profiles[made.profiles["Metadata_control_type"] == "negcon"][NAMES].to_numpy()
    np.testing.assert_allclose(np.cov(controls, rowvar=False), np.eye(5), atol=0.02)
    np.testing.assert_allclose(controls.mean(0), 0, atol=1e-5)


def test_spherize_needs_more_controls_than_features():
    with pytest.raises(
        ValueError, match=r"spherize needs more .* controls: 8\) than features \(9\)"
    ):
        profiles.normalise(plates(plates=1, features=9), "spherize")


def test_no_named_controls_takes_all_and_says_so():
    wells = plates().assign(Metadata_control_type=None)
    made = profiles.normalise(wells, by=["plate"])
    assert made.reference_used == "all profiles (the dataset names no controls)"
    without = profiles.normalise(wells.drop(columns="Metadata_control_type"), by=["plate"])
    assert without.reference_used == made.reference_used


@pytest.mark.parametrize(("controls", "share"), [(6, "32%"), (15, "19%")])
def test_few_controls_warn(controls, share):
    made = profiles.normalise(plates(controls=controls), by=["plate"])
    assert f"the fewest: {controls}" in made.warnings[0]
    assert share in made.warnings[0]
    assert not profiles.normalise(plates(controls=16), by=["plate"]).warnings


def test_too_few_controls_stop_with_the_remedy():
    wells = plates()
    plate = wells["Metadata_Plate"] == "p1"
    wells.loc[plate & (wells["Metadata_Well"] > "A02"), "Metadata_control_type"] = None
    with pytest.raises(
        ValueError, match=r"1 plates have fewer than 4 .*p1 \(3\)\. .*reference='all'"
    ):
        profiles.normalise(wells, by=["plate"])


def test_unreadable_controls_do_not_count():
    wells = plates(controls=6)
    wells.loc[wells["Metadata_Well"] < "A03", NAMES] = np.nan
    with pytest.raises(ValueError, match="fewer than 4 readable reference profiles"):
        profiles.normalise(wells, by=["plate"])


@pytest.mark.parametrize("method", ["standardize", "mad_robustize", "robustize", "spherize"])
@pytest.mark.parametrize("spread", [0.0, 1e-7])
def test_no_spread_never_becomes_a_huge_number(method, spread):
    wells = plates(plates=2, wells=40, controls=20)
    generator = np.random.default_rng(0)
    flat = (0.1 + spread * generator.normal(size=40)).astype(np.float32)
    rows = wells["Metadata_Plate"] == "p1"
    if method == "spherize":
        rows |= True
        flat = np.tile(flat, 2)
    wells.loc[rows, NAMES[2]] = flat
    made = profiles.normalise(wells, method, by=["plate"])
    assert made.dropped_features == [NAMES[2]]
    assert NAMES[2] not in made.profiles.columns
    assert np.abs(made.profiles[tables.feature_columns(made.profiles)].to_numpy()).max() < 100
    assert "1 of 5 features have no spread" in made.warnings[-1]


def test_missing_profiles_stay_and_leave_the_fit_alone():
    wells = plates(controls=20)
    wells.loc[22, NAMES] = np.nan
    made = profiles.normalise(wells, by=["plate"]).profiles
    rest = profiles.normalise(wells.drop(index=22), by=["plate"]).profiles
    assert made.loc[22, NAMES].isna().all()
    np.testing.assert_allclose(
        made.drop(index=22)[NAMES].to_numpy(), rest[NAMES].to_numpy(), rtol=1e-5
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("minmax",), "norm_method 'minmax' is not one of standardize"),
        (("standardize", "well = 3"), "neither negcon, all nor a query"),
        (("standardize", "Metadata_Well == 'Z99'"), "matches no profile"),
    ],
)
def test_wrong_options(arguments, message):
    with pytest.raises(ValueError, match=message):
        profiles.normalise(plates(), *arguments)


def test_constant_and_featureless_tables():
    wells = plates()
    wells[NAMES] = 1.0
    with pytest.raises(ValueError, match="no feature varies among the reference"):
        profiles.normalise(wells, by=["plate"])
    with pytest.raises(ValueError, match="the table has no features"):
        profiles.normalise(wells.drop(columns=NAMES))


def test_nothing_is_done_without_post_processing():
    wells = plates()
    assert profiles.normalise(wells, "no_post_proc").profiles is wells


def test_consensus_counts_replicates():
    wells = profiles.aggregate(plates(), KEYS)
    made = profiles.consensus(wells, ["well"], "mean")
    assert (made["Metadata_replicates"] == 3).all()
    np.testing.assert_allclose(
        made[NAMES[0]], wells.groupby("Metadata_Well", sort=False)[NAMES[0]].mean(), rtol=1e-6
    )


def test_tvn_equals_the_formulas():
    from scipy.linalg import inv, sqrtm

    wells = plates(plates=4, controls=9)
    controls = (wells["Metadata_control_type"] == "negcon").to_numpy()
    made = profiles.tvn(wells, controls)[NAMES].to_numpy()
    x = wells[NAMES].to_numpy(float)
    x = x - x[controls].mean(0)
    s, v = np.linalg.eigh(x[controls].T @ x[controls] / controls.sum())
    x = x @ v @ np.diag(1 / np.sqrt(s + 1))
    target = sqrtm(x[controls].T @ x[controls] / controls.sum() + np.eye(5)).real
    for batch in ("b0", "b1"):
        here = (wells["Metadata_Batch"] == batch).to_numpy()
        own = x[here & controls]
        source = inv(sqrtm(own.T @ own / len(own) + np.eye(5)).real)
        np.testing.assert_allclose(made[here], x[here] @ source @ target, rtol=1e-6, atol=1e-8)


def test_tvn_needs_controls_and_features():
    wells = plates()
    controls = (wells["Metadata_Batch"] == "b0") & (wells["Metadata_control_type"] == "negcon")
    with pytest.raises(ValueError, match="b1 of batch has fewer than two controls"):
        profiles.tvn(wells, controls)
    wells.loc[3, NAMES] = np.nan
    with pytest.raises(ValueError, match="1 profiles have missing features"):
        profiles.tvn(wells, controls)
