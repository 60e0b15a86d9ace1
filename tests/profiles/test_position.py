"""The correction of positions: planted gradients, a plain regression as twin, and its errors."""

import numpy as np
import pandas as pd
import pytest

from unidino import profiles
from unidino.profiles.position import GRID

NAMES = [f"emb_DNA_{i:04d}" for i in range(5)]


def screen(seed=0, plates=4, slope=0.3, edge=0.8):
    """96-well plates, controls in a quarter of the wells; treatments differ, strongly on the right.

    Returns
    -------
    (pd.DataFrame, numpy.ndarray)
        Wells, and what each would be without its position.
    """
    rng = np.random.default_rng(seed)
    rows, plain, added = [], [], []
    direction = rng.normal(size=5)
    for plate in range(plates):
        offset = rng.normal(0, 3, 5)
        for row in range(8):
            for column in range(12):
                control = rng.random() < 0.25
                rows.append((f"p{plate}", f"{'ABCDEFGH'[row]}{column + 1:02d}",
                             "negcon" if control else None))  # fmt: skip
                effect = 0 if control else 2.0 * column * np.array([0, 0, 0, 0, 1])
                plain.append(rng.normal(0, 1, 5) + offset + effect)
                outside = row in (0, 7) or column in (0, 11)
                added.append((slope * column + edge * outside) * direction)
    frame = pd.DataFrame(rows, columns=[f"Metadata_{n}" for n in ("Plate", "Well", "control_type")])
    plain = np.array(plain)
    return frame.join(pd.DataFrame(plain + added, columns=NAMES)), plain


def test_planted_gradient_goes_and_treatments_stay():
    frame, plain = screen(slope=0.6, edge=1.5)
    made = profiles.Position().fit(frame).transform(frame)
    assert list(made) == list(frame)
    before = frame[NAMES].to_numpy() - plain
    after = made[NAMES].to_numpy() - plain
    # What is left of the planted effect, about a mean that no comparison sees: the error of three
    # terms that are known from so many controls of unit noise.
    controls = (frame["Metadata_control_type"] == "negcon").sum()
    assert (after - after.mean(0)).std() < 2 * np.sqrt(3 / controls)
    assert (after - after.mean(0)).std() < (before - before.mean(0)).std() / 3


def test_without_an_effect_next_to_nothing_is_taken_off():
    frame, _ = screen(3, slope=0, edge=0)
    correction = profiles.Position().fit(frame)
    taken = frame[NAMES] - correction.transform(frame)[NAMES]
    assert correction.ridge >= 0.3 and float(taken.std().max()) < 0.2


def test_lines_are_those_of_a_plain_regression():
    frame, _ = screen(1)
    made = profiles.Position(ridge=0).fit(frame).transform(frame)
    controls = frame[frame["Metadata_control_type"] == "negcon"]

    def terms(wells):
        row = wells["Metadata_Well"].str[0].map("ABCDEFGH".index)
        column = wells["Metadata_Well"].str[1:].astype(int) - 1
        outside = row.isin([0, 7]) | column.isin([0, 11])
        return np.column_stack([row, column, outside]).astype(float)

    plates = pd.get_dummies(controls["Metadata_Plate"]).to_numpy(float)
    design = np.hstack([terms(controls), plates])
    weights = np.linalg.lstsq(design, controls[NAMES].to_numpy(), rcond=None)[0][:3]
    expected = frame[NAMES] - (terms(frame) - terms(controls).mean(0)) @ weights
    np.testing.assert_allclose(made[NAMES], expected, atol=1e-9)


def test_treatments_have_no_part_in_it():
    frame, _ = screen(2)
    changed = frame.copy()
    treated = changed["Metadata_control_type"].isna()
    changed.loc[treated, NAMES] += np.random.default_rng(0).normal(0, 50, (treated.sum(), 5))
    one, other = (profiles.Position().fit(f).arrays["weights"] for f in (frame, changed))
    np.testing.assert_array_equal(one, other)


def test_the_penalty_foretells_left_out_plates_best():
    frame, _ = screen(4, slope=0.1, edge=0)
    chosen = profiles.Position().fit(frame).ridge
    controls = frame[frame["Metadata_control_type"] == "negcon"].reset_index(drop=True)
    centred = controls[NAMES] - controls.groupby("Metadata_Plate")[NAMES].transform("mean")
    scale = centred.std(ddof=0)
    errors = []
    for ridge in GRID:
        error = 0.0
        for plate in controls["Metadata_Plate"].unique():
            own = (controls["Metadata_Plate"] == plate).to_numpy()
            row = controls["Metadata_Well"].str[0].map("ABCDEFGH".index)
            column = controls["Metadata_Well"].str[1:].astype(int)
            terms = pd.DataFrame({"r": row, "c": column, "e": row.isin([0, 7])
                                  | column.isin([1, 12])}).astype(float)  # fmt: skip
            terms = terms / terms.std(ddof=0)
            terms -= terms.groupby(controls["Metadata_Plate"]).transform("mean")
            x, y = terms.to_numpy(), (centred / scale).to_numpy()
            penalty = ridge * (~own).sum() * np.eye(3)
            weights = np.zeros((3, 5)) if np.isinf(ridge) else np.linalg.inv(
                x[~own].T @ x[~own] + penalty) @ x[~own].T @ y[~own]  # fmt: skip
            error += ((y[own] - x[own] @ weights) ** 2).sum()
        errors.append(error)
    assert chosen == GRID[int(np.argmin(errors))]


def test_one_plate_and_controls_in_one_row():
    frame, _ = screen(5, plates=1)
    first_row = frame["Metadata_Well"].str[0] == "A"
    frame["Metadata_control_type"] = np.where(first_row, "negcon", None)
    correction = profiles.Position(ridge=0).fit(frame)
    assert (correction.arrays["weights"][[0, 2]] == 0).all()  # row and edge do not vary
    assert (correction.arrays["weights"][1] != 0).all()


def test_saved_and_applied_to_another_plate(tmp_path):
    frame, _ = screen(6)
    correction = profiles.Position().fit(frame)
    correction.save(tmp_path / "c.npz")
    other, _ = screen(7, plates=1)
    again = profiles.load_correction(tmp_path / "c.npz").transform(other)
    pd.testing.assert_frame_equal(again, correction.transform(other))


def test_what_cannot_be_fit():
    frame, _ = screen(8, plates=1)
    few = frame.assign(Metadata_control_type=["negcon"] * 7 + [None] * 89)
    with pytest.raises(ValueError, match="position: 7 controls are too few"):
        profiles.Position().fit(few)
    piled = frame.assign(Metadata_Well="B02", Metadata_control_type="negcon")
    with pytest.raises(ValueError, match="all controls lie in one row and one column"):
        profiles.Position().fit(piled)
    with pytest.raises(ValueError, match="wells are no position on a plate"):
        profiles.Position().fit(frame.assign(Metadata_Well="x-ray"))
    with pytest.raises(ValueError, match="ridge is -1"):
        profiles.Position(ridge=-1)


def test_controls_given_as_booleans_are_not_saved(tmp_path):
    frame, _ = screen(9)
    controls = (frame["Metadata_control_type"] == "negcon").to_numpy()
    correction = profiles.Position(controls).fit(frame)
    with pytest.raises(ValueError, match="booleans of one table"):
        correction.save(tmp_path / "c.npz")
