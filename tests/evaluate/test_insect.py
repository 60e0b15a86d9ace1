"""The insect set's questions on tables with known answers."""

import numpy as np
import pandas as pd
import pytest

from unidino import evaluate
from unidino.evaluate import insect


def wells(seed=0, noise=0.1):
    """Three annotations of two compounds at two doses, on three plates; controls."""
    rng = np.random.default_rng(seed)
    kinds = ["Mitochondrial complex I inhibitor", "Mitochondrial complex III inhibitor", "Channel"]
    centres = {"Mito": rng.normal(size=5), "Channel": rng.normal(size=5), "DMSO": np.zeros(5)}
    rows, values = [], []
    for plate in "pqr":
        position = 0
        for i in range(6):
            for dose in (1.0, 10.0):
                moa = kinds[i // 2]
                count = 20 if (i == 0 and dose == 10) or i == 5 else 90
                rows.append((plate, f"A{position + 1:02d}", f"c{i}", moa, dose, None, count))
                values.append(centres[moa.split()[0].replace("Mitochondrial", "Mito")])
                position += 1
        for _ in range(4):
            rows.append((plate, f"B{position + 1:02d}", "DMSO", "DMSO", 0.0, "negcon", 100))
            values.append(centres["DMSO"])
            position += 1
    names = ["Plate", "Well", "perturbation_id", "MoA", "concentration", "control_type", "objects"]
    frame = pd.DataFrame(rows, columns=[f"Metadata_{name}" for name in names])
    values = np.array(values) + noise * rng.normal(size=(len(frame), 5))
    return pd.concat([frame, pd.DataFrame(values).add_prefix("emb")], axis=1)


def test_complexes_are_one_annotation():
    frame = pd.DataFrame(
        {
            "MoA": [
                "Mitochondrial complex I inhibitor",
                "complex II inhibitor",
                "Complex chemistry",
                "Mitochondrial complex IV inhibitor",
                None,
            ]
        }
    )
    made = insect.annotated(frame)[insect.ANNOTATION]
    assert made.tolist()[:4] == [insect.MERGED, insect.MERGED, *frame["MoA"][2:4]]
    assert pd.isna(made[4])


def test_highest_concentration_that_leaves_cells():
    made = insect.concentrations(wells()).set_index("perturbation_id")
    assert made["concentration"].tolist() == [1, 10, 10, 10, 10, 1]
    assert made.loc["c0", "cells"] == pytest.approx(0.9)
    assert made["said"].tolist() == [""] * 5 + ["no dose leaves that many cells: the lowest"]
    everything = insect.concentrations(wells(), least_cells=0.1)
    assert (everything["concentration"] == 10).all()


def test_concentrations_by_the_datasets_own_count():
    frame = wells().rename(columns={"Metadata_objects": "Metadata_cell_count"})
    pd.testing.assert_frame_equal(insect.concentrations(frame), insect.concentrations(wells()))


def test_nothing_to_select_by():
    with pytest.raises(ValueError, match="which dose leaves cells"):
        insect.concentrations(wells().drop(columns="Metadata_objects"))
    with pytest.raises(ValueError, match="no negative control has cells"):
        insect.concentrations(wells().assign(Metadata_control_type="poscon"))
    with pytest.raises(ValueError, match="least_cells is 0"):
        insect.concentrations(wells(), 0)
    other = pd.DataFrame({"perturbation_id": ["x"], "concentration": [1.0]})
    with pytest.raises(ValueError, match="no well is left: none of the selected"):
        insect.protocol(other).select(wells())


def test_scores_at_the_selected_concentrations():
    frame = wells(noise=0.8)
    asked = insect.protocol(insect.concentrations(frame))
    treated = asked.select(frame)
    assert len(treated) == 6 * 3
    made = asked.scores({"a": frame}, draws=50, permutations=50).set_index(["accuracy", "level"])
    assert made["n"].tolist() == [6, 18, 18, 18]
    exclude = ["perturbation_id", "plate"]
    expected = evaluate.nearest_neighbour_accuracy(treated, insect.ANNOTATION, exclude)
    assert made.loc[("NSCP", "well"), "value"] == expected
    assert made.loc[("NSCP", "well"), "macro"] == expected.macro
