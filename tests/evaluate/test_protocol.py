"""Which wells are asked about."""

import numpy as np
import pandas as pd
import pytest

from unidino.evaluate import protocol


def wells(seed):
    """Wells of all kinds of controls, some without a label, some that could not be read."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "Metadata_moa": rng.choice(["a", "b", None], 60),
            "Metadata_control_type": rng.choice(["negcon", "poscon", None], 60),
            "dose": rng.integers(0, 3, 60),
        },
        index=rng.permutation(60),
    )
    frame[["emb0", "emb1"]] = rng.normal(size=(60, 2))
    return frame.mask(rng.random((60, 1)) < [[0, 0, 0, 0.2, 0.2]])


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("label", ["moa", None])
@pytest.mark.parametrize("seed", range(3))
def test_wells_that_count_by_a_loop(seed, label, named):
    frame = wells(seed)
    if not named:
        frame = frame.drop(columns="Metadata_control_type")
    for also in (None, frame["dose"] > 0):
        made = protocol.treated_wells(frame, label, also)
        kept = [
            number
            for number, row in enumerate(frame.to_dict("records"))
            if row.get("Metadata_control_type") != "negcon"
            and (label is None or isinstance(row["Metadata_moa"], str))
            and not np.isnan([row["emb0"], row["emb1"]]).any()
            and (also is None or row["dose"] > 0)
        ]
        assert 0 < len(kept) < len(frame)
        pd.testing.assert_frame_equal(made, frame.iloc[kept].reset_index(drop=True))


@pytest.mark.parametrize(
    ("label", "among", "message"),
    [
        ("moa", "", "no well is left: none has a moa, is readable and no negative control"),
        (None, "of the doses", "no well is left: none of the doses is readable and no negative"),
    ],
)
def test_no_well_is_left(label, among, message):
    frame = wells(0).assign(emb1=np.nan)
    with pytest.raises(ValueError, match=message):
        protocol.treated_wells(frame, label, among=among)
    with pytest.raises(ValueError, match="no column 'mao'"):
        protocol.treated_wells(frame, "mao")
