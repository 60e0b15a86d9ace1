"""The axis between controls, cross-fitted; hand-made features against plain formulas."""

from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import rankdata

from unidino.evaluate import baselines, dose_response
from unidino.valsets.csv import CSVMetadata


def plate(seed=0, signal=1.0):
    """Two halves with controls and nine doses; the dose moves the first two features."""
    rng = np.random.default_rng(seed)
    rows = []
    for half in ("A-D", "E-H"):
        for dose, kind, count in [(0, "negcon", 8), (10, "poscon", 4)] + [
            (d, None, 4) for d in range(1, 10)
        ]:
            for _ in range(count):
                values = rng.normal(size=4)
                values[:2] += signal * np.array([1.0, -0.6]) * dose
                rows.append([half, dose, kind, *values])
    return pd.DataFrame(
        rows, columns=["half", "dose", "control_type", "emb0", "emb1", "emb2", "emb3"]
    )


def test_rounding_among_the_controls_drowns_no_feature():
    frame = plate()
    # Constant but for rounding in the negative controls of one half, not so elsewhere.
    rounded = np.where(frame["control_type"] == "negcon", 0.0, np.arange(len(frame)) % 7)
    rounded[frame.index[(frame["half"] == "A-D") & (frame["control_type"] == "negcon")][0]] = 1e-16
    known, scores = dose_response.cross_fitted(frame, "half", "dose")
    made, same = dose_response.cross_fitted(frame.assign(emb4=rounded), "half", "dose")
    pd.testing.assert_frame_equal(made, known)
    pd.testing.assert_frame_equal(same, scores)


def test_scores_equal_the_formulas():
    frame = plate()
    summary, scores = dose_response.cross_fitted(frame, "half", "dose")
    values = frame.filter(like="emb").to_numpy()
    for _, row in summary.iterrows():
        fitted, scored = frame["half"] == row["fitted"], frame["half"] == row["scored"]
        negative = values[fitted & (frame["control_type"] == "negcon")]
        positive = values[fitted & (frame["control_type"] == "poscon")]
        z = (values - negative.mean(0)) / negative.std(0, ddof=1)
        axis = z[fitted & (frame["control_type"] == "poscon")].mean(0)
        axis /= np.sqrt((axis**2).sum())
        np.testing.assert_allclose(scores.loc[scored, "score"], (z @ axis)[scored])
        series = scored & frame["control_type"].isna()
        ranks = rankdata((z @ axis)[series]), rankdata(frame["dose"][series])
        assert row["spearman"] == pytest.approx(np.corrcoef(*ranks)[0, 1])
        a, b = ((z @ axis)[scored & (frame["control_type"] == k)] for k in ("negcon", "poscon"))
        expected = 1 - 3 * (a.std(ddof=1) + b.std(ddof=1)) / abs(a.mean() - b.mean())
        assert row["z_prime"] == pytest.approx(expected)
        assert len(positive) == row["positive_controls"] == 4


def test_planted_dose_is_found_and_nothing_is_not():
    strong, _ = dose_response.cross_fitted(plate(), "half", "dose")
    nothing, _ = dose_response.cross_fitted(plate(signal=0), "half", "dose")
    assert strong["spearman"].min() > 0.9
    assert nothing["spearman"].abs().max() < 0.5
    assert nothing["z_prime"].max() < 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"half": "one"}, "the column half has the values .'one'.; expected two halves"),
        ({"control_type": None}, "needs at least two negative and one positive control, got 0"),
        ({"emb0": 1.0, "emb1": 1.0, "emb2": 1.0, "emb3": 1.0}, "equal the negative ones"),
    ],
)
def test_mistakes_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        dose_response.cross_fitted(plate().assign(**change), "half", "dose")


def test_distance_from_controls_leaves_each_control_out():
    frame = pd.concat([plate(), plate(1)], ignore_index=True)
    frame.insert(0, "Metadata_Plate", np.repeat(["p", "q"], len(frame) // 2))
    made = dose_response.distance_from_controls(frame)
    values = frame.filter(like="emb").to_numpy()
    for i, row in frame.iterrows():
        others = [
            values[j]
            for j, other in frame.iterrows()
            if other["Metadata_Plate"] == row["Metadata_Plate"]
            and other["control_type"] == "negcon"
            and i != j
        ]
        expected = np.sqrt(((values[i] - np.mean(others, axis=0)) ** 2).sum())
        assert made[i] == pytest.approx(expected)


def test_score_along_controls_leaves_each_control_out():
    frame = plate().drop(columns="half")
    made = dose_response.along_controls(frame)
    values, kinds = frame.filter(like="emb").to_numpy(), frame["control_type"].to_numpy(object)
    for i in range(len(frame)):
        others = np.arange(len(frame)) != i
        negative, positive = (values[others & (kinds == k)] for k in ("negcon", "poscon"))
        spread = negative.std(0, ddof=1)
        axis = (positive.mean(0) - negative.mean(0)) / spread
        expected = ((values[i] - negative.mean(0)) / spread) @ axis / np.linalg.norm(axis)
        assert made[i] == pytest.approx(expected)


def test_plates_without_enough_controls_have_no_score():
    frame = plate()
    few = frame[
        (frame["control_type"] != "negcon") | (frame.groupby("control_type").cumcount() < 1)
    ]
    assert np.isnan(dose_response.distance_from_controls(few.reset_index(drop=True))).all()
    one = frame[
        (frame["control_type"] != "poscon") | (frame.groupby("control_type").cumcount() < 1)
    ]
    one = one.reset_index(drop=True)
    assert np.isnan(dose_response.along_controls(one)).all()
    assert np.isfinite(dose_response.distance_from_controls(one)).all()
    with pytest.raises(ValueError, match="no column 'kind' in the table"):
        dose_response.along_controls(one, control="kind")


def test_trends_equal_rank_correlations_and_their_exchanges():
    from scipy.stats import false_discovery_control, spearmanr

    rng = np.random.default_rng(0)
    series = pd.DataFrame({"compound": ["a"] * 5 + ["b"] * 5, "dose": [1, 2, 2, 4, 8] * 2})
    series["score"] = [1.0, 2, 3, 5, 4, *rng.normal(size=5)]
    made = dose_response.trends(series, "compound", "dose", "score", draws=4000)
    p_values = []
    for row, (name, part) in zip(made.itertuples(), series.groupby("compound"), strict=True):
        rho = spearmanr(part["dose"], part["score"]).statistic
        assert (row.compound, row.n_wells, row.n_doses) == (name, 5, 4)
        assert row.spearman == pytest.approx(rho)
        every = [
            abs(spearmanr(part["dose"], order).statistic) for order in permutations(part["score"])
        ]
        p_values.append(np.mean(np.array(every) >= abs(rho) - 1e-9))
        assert row.p_value == pytest.approx(p_values[-1], abs=0.03)
    expected = false_discovery_control(made["p_value"])
    np.testing.assert_allclose(made["corrected_p_value"], expected)


def test_trends_say_what_they_cannot_ask():
    series = pd.DataFrame(
        {
            "compound": [*"aaaabbbb", None],
            "dose": [1, 1, 2, 2, 1, 2, 3, np.nan, 4],
            "score": [1.0, 2, 3, 4, 5, 5, 5, 5, 6],
        }
    )
    made = dose_response.trends(series, "compound", "dose", "score", draws=9)
    assert made["said"].tolist() == [
        "not askable: fewer than 3 doses", "not askable: all scores are equal"
    ]  # fmt: skip
    assert made["n_wells"].tolist() == [4, 3]
    assert made[["spearman", "p_value", "corrected_p_value"]].isna().all(axis=None)
    with pytest.raises(ValueError, match="the column dose holds text; a trend needs numbers"):
        dose_response.trends(series.assign(dose="1 uM"), "compound", "dose", "score")
    with pytest.raises(ValueError, match="draws is 0; it must be above 0"):
        dose_response.trends(series, "compound", "dose", "score", draws=0)


def test_hand_made_features_equal_the_formulas():
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(0)
    image = gaussian_filter(rng.random((2, 40, 50)), (0, 1, 1)).astype(np.float32)
    made = baselines.site_features(image, ["DNA", "ER"])
    assert len(made) == 2 * 14 + 1
    for c, name in enumerate(["DNA", "ER"]):
        plane = image[c].astype(float)
        flat = plane.ravel()
        blurred = [plane] + [0] * 4
        for i, scale in enumerate(baselines.HANDMADE_SCALES):
            blurred[i + 1] = gaussian_filter(image[c], scale)
        expected = [
            flat.mean(),
            flat.std(),
            ((flat - flat.mean()) ** 3).mean() / flat.std() ** 3,
            *np.percentile(flat, [5, 50, 95, 99]),
            *[(blurred[i] - blurred[i + 1]).std() for i in range(4)],
            np.abs(plane[:, 1:] - plane[:, :-1]).mean(),
            *[
                ((plane[:, s:] - flat.mean()) * (plane[:, :-s] - flat.mean())).mean() / flat.var()
                for s in (2, 8)
            ],
        ]
        values = [made[f"emb_{name}_{i:04d}"] for i in range(14)]
        np.testing.assert_allclose(values, expected, rtol=2e-3, atol=1e-4)
    correlation = np.corrcoef(image[0].ravel(), image[1].ravel())[0, 1]
    assert made["emb_DNA-ER_0000"] == pytest.approx(correlation, abs=1e-4)
    assert np.isfinite(
        list(baselines.site_features(np.zeros((2, 9, 9)), ["a", "b"]).values())
    ).all()


def test_hand_made_features_of_a_plate(tmp_path):
    import tifffile

    rng = np.random.default_rng(0)
    for i in range(3):
        tifffile.imwrite(tmp_path / f"{i}.tif", rng.integers(0, 255, (30, 40), dtype=np.uint8))
    pd.DataFrame(
        {"plate": "p", "well": ["A1", "A2", "A3"], "DNA": ["0.tif", "1.tif", "2.tif"]}
    ).to_csv(tmp_path / "x.csv", index=False)
    made = baselines.handmade(CSVMetadata(tmp_path / "x.csv"))
    assert made["Metadata_Well"].tolist() == ["A01", "A02", "A03"]
    assert made.filter(like="emb_DNA").shape == (3, 14)
    assert made["emb_DNA_0000"].between(0, 1).all()
