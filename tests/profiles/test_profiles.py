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


def test_measures_of_quality_are_means_over_the_sites_that_were_read():
    sites = plates(plates=2, wells=2, sites=3)
    sites["Metadata_status"] = ["ok", "empty", "failed"] * 4
    failed = sites["Metadata_status"] == "failed"
    rng = np.random.default_rng(0)
    measures = [f"Metadata_{name}" for name in ("foreground", "objects")]
    measures += [f"Metadata_{name}_DNA" for name in ("mean", "saturated", "focus", "signal")]
    for name in measures:
        sites[name] = rng.random(len(sites))
    sites.loc[0:2, "Metadata_objects"] = 7.0
    sites.loc[failed, [*measures, *NAMES]] = np.nan
    sites.loc[9:11, [*measures, *NAMES]] = np.nan
    wells = profiles.aggregate(sites)
    for i in range(4):
        expected = sites.iloc[3 * i : 3 * i + 2][measures].mean()
        np.testing.assert_allclose(wells.loc[i, measures].to_numpy(float), expected)
    assert wells.loc[3, measures].isna().all()
    again = profiles.consensus(wells.iloc[:3], ["plate"], "mean")
    np.testing.assert_allclose(again.loc[0, measures].to_numpy(float), wells[measures][:2].mean())


def test_published_names_aggregate():
    frame = pd.DataFrame({"plate": ["p", "p"], "well": ["a", "a"], "emb0": [1.0, 3.0]})
    assert profiles.aggregate(frame, ["plate", "well"])["emb0"].tolist() == [2.0]


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        ({}, (KEYS, "mode"), "operation 'mode' is not one of mean, median"),
        ({}, (["plaet"],), "no column 'plaet' in the table"),
        ({}, ([],), "`by` names no column"),
        (
            {"Metadata_status": "good"},
            (KEYS,),
            "Metadata_status holds 'good'; .* ok, empty or fail",
        ),
    ],
)
def test_wrong_aggregation(change, arguments, message):
    with pytest.raises(ValueError, match=message):
        profiles.aggregate(plates().assign(**change), *arguments)


def test_nothing_to_aggregate():
    with pytest.raises(ValueError, match="the table has no rows"):
        profiles.aggregate(plates().iloc[:0])
    with pytest.raises(ValueError, match="the table has no features"):
        profiles.aggregate(plates().drop(columns=NAMES))
    with pytest.raises(ValueError, match="no column well: name the columns"):
        profiles.aggregate(plates().drop(columns="Metadata_Well"))


def naive_aggregate(sites, keys, operation):
    """Row by row, group by group: {key: (used, empty, failed, status, features)}."""
    groups = {}
    for _, row in sites.iterrows():
        groups.setdefault(tuple(str(row[key]) for key in keys), []).append(row)
    made = {}
    for key, rows in groups.items():
        failed = [r for r in rows if r["Metadata_status"] == "failed" or r[NAMES].isna().all()]
        rest = [r for r in rows if not any(r is f for f in failed)]
        ok = [r for r in rest if r["Metadata_status"] == "ok"]
        used = ok or rest
        features = [np.nan] * len(NAMES)
        for i, name in enumerate(NAMES):
            values = [r[name] for r in used if not np.isnan(r[name])]
            if values:
                features[i] = getattr(np, operation)(values)
        status = "ok" if ok else "empty" if rest else "failed"
        made[key] = (len(used), len(rest) - len(ok), len(failed), status, features)
    return made


@pytest.mark.parametrize("operation", ["mean", "median"])
@pytest.mark.parametrize("seed", range(4))
def test_aggregation_of_gappy_tables_equals_the_loop(seed, operation):
    rng = np.random.default_rng(seed)
    sites = plates(seed, plates=3, wells=8, sites=4)
    sites["Metadata_status"] = rng.choice(["ok", "empty", "failed"], len(sites), p=[0.4, 0.3, 0.3])
    sites.loc[sites["Metadata_status"] == "failed", NAMES] = np.nan
    sites[NAMES] = sites[NAMES].mask(rng.random((len(sites), len(NAMES))) < 0.2)
    sites.loc[rng.choice(len(sites), 6, replace=False), NAMES] = np.nan
    sites.loc[sites["Metadata_Well"] == "A03", "Metadata_Well"] = None
    # Rows in no order, under an index that repeats.
    sites = sites.sample(frac=1, random_state=seed)
    sites.index = rng.integers(0, 5, len(sites))
    keys = ["Metadata_Batch", "Metadata_Plate", "Metadata_Well"]
    wells = profiles.aggregate(sites, operation=operation)
    expected = naive_aggregate(sites, keys, operation)
    assert len(wells) == len(expected) == 24
    assert [tuple(map(str, row)) for row in wells[keys].to_numpy()] == list(expected)
    for (_, row), (used, empty, failed, status, features) in zip(
        wells.iterrows(), expected.values(), strict=True
    ):
        assert row["Metadata_sites"] == used
        assert (row["Metadata_sites_empty"], row["Metadata_sites_failed"]) == (empty, failed)
        assert row["Metadata_status"] == status
        np.testing.assert_allclose(row[NAMES].to_numpy(float), features, rtol=1e-6)


def test_what_varies_in_one_group_leaves():
    frame = pd.DataFrame(
        {
            "plate": ["p", "p", "q", "q"],
            "well": ["a", "a", "a", "a"],
            "dose": [1.0, 1.0, np.nan, np.nan],
            "gap": [1.0, np.nan, 2.0, 2.0],
            "files": [["x"], ["x"], ["y"], ["y"]],
            "images": [["x"], ["z"], ["y"], ["y"]],
            "emb0": [1.0, 3.0, 5.0, 6.0],
        }
    )
    made = profiles.aggregate(frame)
    assert made.columns.tolist() == ["plate", "well", "dose", "files", "Metadata_sites", "emb0"]
    assert made["emb0"].tolist() == [2.0, 5.5]


def test_one_group_takes_no_column_from_the_others():
    wells = [f"A{i:02d}" for i in range(6) for _ in range(2)]
    frame = pd.DataFrame({"well": wells, "dose": [1.0] * 12, "gene": ["x"] * 12, "emb0": 0.0})
    frame.loc[5, "dose"] = 2.0
    frame.loc[[0, 2, 4], "gene"] = "y"
    made = profiles.aggregate(frame)
    assert np.flatnonzero(made["dose"].isna()).tolist() == [2]
    assert "gene" not in made


def test_single_precision_stays_and_sums_in_double():
    frame = pd.DataFrame({"well": ["a"] * 30001, "emb0": np.float32(0.1)})
    made = profiles.aggregate(frame)
    assert made["emb0"].dtype == np.float32
    assert made["emb0"][0] == np.float32(0.1)


def test_columns_beyond_one_step(monkeypatch):
    from unidino.profiles import aggregation

    sites = plates(sites=3)
    whole = profiles.aggregate(sites)
    monkeypatch.setattr(aggregation, "_VALUES", 2 * len(sites))
    pd.testing.assert_frame_equal(profiles.aggregate(sites), whole)


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


@pytest.mark.parametrize("method", ["standardize", "mad_robustize", "robustize", "spherize"])
@pytest.mark.parametrize("controls", [16, 19])
@pytest.mark.filterwarnings("ignore:The .mode.copy_on_write")
def test_normalisation_equals_pycytominer(method, controls):
    """Even and odd numbers of controls, scales far apart, gaps outside of the reference."""
    import pycytominer  # takes a second

    wells = plates(4, plates=3, wells=48, controls=controls, features=12)
    names = tables.feature_columns(wells)
    wells[names] *= np.geomspace(1e-6, 1e6, 12).astype(np.float32)
    if method != "spherize":
        wells.loc[[30, 90], names[3]] = np.nan
    wells["Metadata_fit"] = wells["Metadata_control_type"] == "negcon"
    parts = (
        [wells] if method == "spherize" else [part for _, part in wells.groupby("Metadata_Plate")]
    )
    expected = pd.concat(
        pycytominer.normalize(
            part.astype(dict.fromkeys(names, float)),
            names,
            meta_features=["Metadata_fit"],
            samples="Metadata_fit",
            method=method,
            mad_robustize_epsilon=0.0,
        )
        for part in parts
    )
    made = profiles.normalise(wells, method).profiles
    np.testing.assert_allclose(made[names], expected[names], rtol=1e-6, atol=1e-6)


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
    for warnings in (made.warnings, without.warnings):
        assert "names no controls, so the reference of a plate is all of its" in warnings[0]
    meant = profiles.normalise(wells, reference="all", by=["plate"])
    assert not any("names no controls" in warning for warning in meant.warnings)


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
        ValueError, match=r"1 of 3 plates have fewer than 4 .*: b1 p1 \(3\)\. .*reference='all'"
    ):
        profiles.normalise(wells)


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
    with pytest.raises(ValueError, match="3 of 3 plates have no feature that varies among the ref"):
        profiles.normalise(wells, by=["plate"])
    with pytest.raises(ValueError, match="the table has no features"):
        profiles.normalise(wells.drop(columns=NAMES))


def test_nothing_is_done_without_post_processing():
    wells = plates()
    assert profiles.normalise(wells, "no_post_proc").profiles is wells


def test_the_plate_is_source_batch_and_plate():
    wells = plates(plates=4, controls=20)
    wells["Metadata_Plate"] = "same"
    wells["Metadata_Source"] = np.repeat(["s1", "s1", "s2", "s2"], 24)
    made = profiles.normalise(wells).profiles
    for start in range(0, len(wells), 24):
        part = wells.iloc[start : start + 24]
        alone = profiles.normalise(part, by=[]).profiles
        np.testing.assert_allclose(made[NAMES].iloc[start : start + 24], alone[NAMES], rtol=1e-6)


def test_one_set_without_plates():
    wells = plates(controls=20)
    images = wells.drop(columns=["Metadata_Plate", "Metadata_Well"])
    made = profiles.normalise(images).profiles
    np.testing.assert_array_equal(made[NAMES], profiles.normalise(wells, by=[]).profiles[NAMES])


def test_reference_queries_take_bare_and_prefixed_names():
    wells = plates(controls=20)
    expected = profiles.normalise(wells, reference="Metadata_Well < 'A09'").profiles
    for query in ("well < 'A09'", "Well < 'A09'", "emb_DNA_0000 > -99 and well < 'A09'"):
        made = profiles.normalise(wells, reference=query)
        pd.testing.assert_frame_equal(made.profiles, expected)
        assert made.reference_used == f"profiles where {query}"


def test_half_equal_values_have_no_mad_to_divide_by():
    """Four of six controls nearly equal: a spread above zero, yet none to rest on."""
    wells = plates(plates=2, wells=30, controls=6)
    rows = (wells["Metadata_Plate"] == "p1") & (wells["Metadata_control_type"] == "negcon")
    spread = np.r_[[0.0, 1e-3, -1e-3, 2e-3], [8.0, -9.0]]
    wells.loc[rows, NAMES[0]] = (wells[NAMES[0]].mean() + spread).astype(np.float32)
    made = profiles.normalise(wells, "mad_robustize")
    assert made.dropped_features == [NAMES[0]]


def test_a_spread_far_below_the_treatments_is_dropped():
    """Controls of noise about zero: any ratio to their own magnitude looks fine."""
    wells = plates(plates=1, wells=40, controls=20)
    noise = np.random.default_rng(0).normal(scale=1e-20, size=20)
    wells[NAMES[1]] = np.r_[noise, np.linspace(0.5, 1, 20)]
    made = profiles.normalise(wells)
    assert made.dropped_features == [NAMES[1]]


def test_features_missing_here_and_there():
    wells = plates(controls=20)
    wells.loc[3, NAMES[0]] = np.inf
    wells.loc[23, NAMES[1]] = np.nan
    wells[NAMES[4]] = np.nan
    made = profiles.normalise(wells)
    assert made.dropped_features == [NAMES[4]]
    values = made.profiles[NAMES[:4]].to_numpy()
    assert np.argwhere(np.isnan(values)).tolist() == [[3, 0], [23, 1]]
    # Row 3 is a control: it stays out of the fit with all its features.
    rest = profiles.normalise(wells.drop(index=[3, 23])).profiles[NAMES[:4]].to_numpy()
    np.testing.assert_allclose(np.delete(values, [3, 23], 0), rest, rtol=1e-5, atol=1e-6)
    whitened = profiles.normalise(plates(plates=1, controls=20).mask(wells.isna()), "spherize")
    assert whitened.profiles.loc[23, NAMES[:4]].isna().all()


def test_features_that_most_of_the_reference_lacks_are_dropped():
    wells = plates(controls=8)
    wells.loc[wells["Metadata_Well"] < "A05", NAMES[2]] = np.nan
    made = profiles.normalise(wells)
    assert made.dropped_features == [NAMES[2]]
    rest = profiles.normalise(wells.drop(columns=NAMES[2])).profiles
    pd.testing.assert_frame_equal(made.profiles, rest)


def test_gaps_that_leave_no_reference_are_named():
    wells = plates(controls=8)
    for i, well in enumerate(("A00", "A01", "A02", "A03", "A04")):
        wells.loc[wells["Metadata_Well"] == well, NAMES[i]] = np.nan
    wells.loc[wells["Metadata_Well"] == "A05", NAMES[2]] = np.inf
    with pytest.raises(ValueError, match=r"5 features are .* \(emb_DNA_0002 in 6 of 24\)"):
        profiles.normalise(wells)


def test_a_plate_that_could_not_be_read_does_not_stop_the_others():
    wells = plates(controls=20)
    wells.loc[wells["Metadata_Plate"] == "p1", NAMES] = np.nan
    made = profiles.normalise(wells)
    assert made.warnings == ["1 of 3 plates have no readable profile and stay missing: b1 p1."]
    assert made.profiles[NAMES].isna().all(axis=1).sum() == 24
    wells[NAMES] = np.nan
    with pytest.raises(ValueError, match="no profile can be .* 3 of 3 plates have no readable"):
        profiles.normalise(wells)


def test_features_of_text():
    wells = plates().assign(emb_DNA_0002="high")
    with pytest.raises(ValueError, match="1 feature columns hold text, the first is emb_DNA_0002"):
        profiles.normalise(wells)


def test_dependent_features_are_not_whitened():
    """Rounding alone sets them apart, and whitening would make it as large as the rest."""
    wells = plates(plates=2, wells=60, controls=40)
    wells[NAMES[3]] = (wells[NAMES[1]] * 2 - wells[NAMES[0]]).astype(np.float32)
    made = profiles.normalise(wells, "spherize")
    assert len(made.dropped_features) == 1
    assert set(made.dropped_features) < {NAMES[0], NAMES[1], NAMES[3]}
    assert np.abs(made.profiles[tables.feature_columns(made.profiles)].to_numpy()).max() < 10


def test_whitening_does_not_blow_up_what_controls_share():
    wells = plates(plates=2, wells=60, controls=40)
    controls = (wells["Metadata_control_type"] == "negcon").to_numpy()
    noise = np.random.default_rng(0).normal(size=120) * np.where(controls, 0.01, 100)
    wells[NAMES[3]] = wells[NAMES[1]] + noise * wells[NAMES[1]].std()
    with pytest.raises(ValueError, match="along some direction the reference varies less than"):
        profiles.normalise(wells, "spherize")


def test_too_few_of_all_profiles():
    with pytest.raises(
        ValueError, match=r"all profiles\): the set \(3\)\. Normalise more profiles"
    ):
        profiles.normalise(plates().iloc[:3], reference="all", by=[])


def test_the_reference_is_checked_before_any_image():
    wells = plates(controls=3).drop(columns=NAMES)
    bare = wells.rename(columns=lambda name: name.removeprefix("Metadata_").lower())
    for table in (wells, bare):
        with pytest.raises(ValueError, match=r"3 of 3 plates .* b0 p0 \(3\), b1 p1 \(3\)"):
            profiles.check_reference(table)
        assert profiles.check_reference(table, reference="all") == []
        assert profiles.check_reference(table, "no_post_proc") == []
        assert "the fewest: 9" in profiles.check_reference(table, "spherize")[0]


def test_input_stays_as_it_is():
    wells = plates(controls=20).assign(**{NAMES[0]: 1.0})
    before = wells.copy()
    profiles.normalise(wells)
    profiles.aggregate(wells)
    pd.testing.assert_frame_equal(wells, before)


def test_consensus_counts_replicates():
    wells = profiles.aggregate(plates(), KEYS)
    made = profiles.consensus(wells, ["well"], "mean")
    assert (made["Metadata_replicates"] == 3).all()
    np.testing.assert_allclose(
        made[NAMES[0]], wells.groupby("Metadata_Well", sort=False)[NAMES[0]].mean(), rtol=1e-6
    )


@pytest.mark.parametrize("features", [5, 30])
def test_tvn_equals_the_formulas(features):
    """As released, then turned back into the features' own axes; also with few controls."""
    from scipy.linalg import inv, sqrtm

    wells = plates(plates=4, controls=9)
    rng = np.random.default_rng(features)
    more = rng.normal(size=(len(wells), features - 5))
    more = pd.DataFrame(more).add_prefix("emb_more_").set_axis(wells.index)
    wells, names = pd.concat([wells, more], axis=1), [*NAMES, *more]
    controls = (wells["Metadata_control_type"] == "negcon").to_numpy()
    if features > 5:
        # Twelve controls, fewer than features.
        controls = controls & (np.cumsum(controls) % 3 == 0)
    made = profiles.tvn(wells, controls)[names].to_numpy()
    x = wells[names].to_numpy(float)
    x = x - x[controls].mean(0)
    s, v = np.linalg.eigh(x[controls].T @ x[controls] / controls.sum())
    x = x @ v @ np.diag(1 / np.sqrt(s + 1))
    target = sqrtm(x[controls].T @ x[controls] / controls.sum() + np.eye(features)).real
    for batch in ("b0", "b1"):
        here = (wells["Metadata_Batch"] == batch).to_numpy()
        own = x[here & controls]
        source = inv(sqrtm(own.T @ own / len(own) + np.eye(features)).real)
        released = x[here] @ source @ target
        np.testing.assert_allclose(made[here], released @ v.T, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({}, {"controls": "Metadata_Batch == 'b0'"}, r"1 of 2 .* than 4 controls \(batch: b1 \(0"),
        ({}, {"controls": [True, False]}, r"shape \(2,\) .* one boolean for each of the 72"),
        ({}, {"controls": [1] * 72}, "type int64; expected one boolean"),
        ({}, {"batch": "week"}, "no column 'week'"),
        ({}, {"regularisation": 0}, "regularisation is 0; it must be above 0"),
        ({"emb_DNA_0001": np.nan}, {}, "72 profiles have missing .* the first is row 0"),
        ({"Metadata_Batch": None}, {}, "72 profiles have no batch, the first is row 0"),
        ({"Metadata_control_type": None}, {}, "names no negative controls"),
    ],
)
def test_tvn_names_what_is_wrong(change, options, message):
    with pytest.raises(ValueError, match=message):
        profiles.tvn(plates().assign(**change), **options)
    with pytest.raises(ValueError, match="tvn: the table has no features"):
        profiles.tvn(plates().drop(columns=NAMES))


def test_tvn_finds_the_controls_and_leaves_its_input():
    wells = plates(plates=4, controls=9)
    before = wells.copy()
    controls = (wells["Metadata_control_type"] == "negcon").to_numpy()
    made = profiles.tvn(wells)
    pd.testing.assert_frame_equal(made, profiles.tvn(wells, controls))
    pd.testing.assert_frame_equal(made, profiles.tvn(wells, "control_type == 'negcon'"))
    pd.testing.assert_frame_equal(wells, before)
    assert list(made.columns) == list(wells.columns)
