"""What one plate spoils stays on that plate and is named: planted defects, against plates apart."""

import numpy as np
import pandas as pd
import pytest

from unidino import profiles
from unidino.profiles import defects, reference

CHANNELS = ("DNA", "ER", "Mito")
METHODS = ("standardize", "mad_robustize", "robustize", "spherize")


def names(channel, features=4):
    return [f"emb_{channel}_{i:04d}" for i in range(features)]


NAMES = [name for channel in CHANNELS for name in names(channel)]


def wells(seed=0, plates=3, wells=40, controls=20):
    """Profiles of several plates as `aggregate` makes them, measures of quality among them."""
    rng = np.random.default_rng(seed)
    count = plates * wells
    frame = pd.DataFrame(
        {
            "Metadata_Plate": np.repeat([f"p{i}" for i in range(plates)], wells),
            "Metadata_Well": [f"{'ABCD'[w // 10]}{w % 10 + 1:02d}" for w in range(wells)] * plates,
            "Metadata_control_type": (["negcon"] * controls + [None] * (wells - controls)) * plates,
            "Metadata_status": "ok",
            "Metadata_foreground": rng.uniform(0.3, 0.5, count),
        }
    )
    for channel in CHANNELS:
        frame[f"Metadata_mean_{channel}"] = rng.uniform(100, 200, count)
        frame[f"Metadata_saturated_{channel}"] = 0.0
        frame[f"Metadata_focus_{channel}"] = rng.uniform(0.1, 2, count)
        frame[f"Metadata_signal_{channel}"] = rng.uniform(0.02, 0.5, count)
    values = rng.normal(5, 2, (count, len(NAMES))) * rng.uniform(0.5, 9, len(NAMES))
    return frame.assign(**dict(zip(NAMES, values.T.astype(np.float32), strict=True)))


def on(frame, plate):
    return (frame["Metadata_Plate"] == plate).to_numpy()


def assert_unharmed(made, clean, rows, features):
    """The rows are what they are without the defective plate, or the defective channel."""
    np.testing.assert_allclose(
        made.profiles.loc[rows, features], clean.profiles[features], rtol=1e-5, atol=1e-5
    )


def constant(frame, plate, channel):
    frame.loc[on(frame, plate), names(channel)] = 0.3


def missing(frame, plate, channel):
    frame.loc[on(frame, plate), names(channel)] = np.nan


def noise(frame, plate, channel):
    """As an unlit camera: the features spread like any others, the images tell."""
    frame.loc[on(frame, plate), f"Metadata_focus_{channel}"] = 19.97


def filtered_noise(frame, plate, channel):
    """Shrunk, so that it is white no longer."""
    frame.loc[on(frame, plate), f"Metadata_signal_{channel}"] = 5e-5


def constant_controls(frame, plate, channel):
    controls = frame["Metadata_control_type"] == "negcon"
    frame.loc[on(frame, plate) & controls, names(channel)] = 0.3


@pytest.mark.parametrize("defect", [constant, missing, noise, filtered_noise, constant_controls])
@pytest.mark.parametrize("method", METHODS)
def test_a_dead_channel_is_missing_on_its_plate_alone(method, defect):
    frame = wells()
    defect(frame, "p1", "ER")
    made = profiles.normalise(frame, method)
    if method == "spherize" and defect is constant_controls:
        assert not made.dead_channels  # the pooled reference has a spread
        return
    living = ["DNA", "Mito"]
    assert made.dead_channels == {"p1": ["ER"]}
    assert made.dropped_features == []
    (line,) = [w for w in made.warnings if "channel ER is dead on 1 of 3 plates" in w]
    rows = on(frame, "p1")
    others = profiles.normalise(frame[~rows], method)
    if method == "spherize":
        assert line.endswith(
            ": p1; profiles of these plates are missing, since spherize mixes features."
        )
        assert made.profiles.loc[rows, NAMES].isna().all(axis=None)
    else:
        assert line.endswith(": p1; its features are missing there.")
        assert made.profiles.loc[rows, names("ER")].isna().all(axis=None)
        kept = [name for channel in living for name in names(channel)]
        alone = profiles.normalise(frame.loc[rows].drop(columns=names("ER")), method)
        assert_unharmed(made, alone, rows, kept)
    assert_unharmed(made, others, ~rows, NAMES)


def test_a_channel_that_is_lit_in_one_well_is_alive():
    """A reporter that only hits show."""
    frame = wells()
    noise(frame, "p1", "ER")
    filtered_noise(frame, "p2", "ER")
    lit = [np.flatnonzero(on(frame, plate))[-1] for plate in ("p1", "p2")]
    frame.loc[lit, ["Metadata_focus_ER", "Metadata_signal_ER"]] = [18.0, 0.002]
    assert profiles.normalise(frame).dead_channels == {}


def flattened(frame, rows, channel, how):
    """The channel is constant, or saturated, in some profiles that embed far from all others."""
    column, value = {"constant": ("focus", 0.0), "saturated": ("saturated", 0.995)}[how]
    frame.loc[rows, f"Metadata_{column}_{channel}"] = value
    frame.loc[rows, names(channel)] = np.float32(300)


@pytest.mark.parametrize("how", ["constant", "saturated"])
@pytest.mark.parametrize("method", ["standardize", "spherize"])
def test_controls_of_a_flat_channel_are_left_out_of_the_reference(method, how):
    frame = wells()
    rows = [0, 3, 39]  # two controls and a treatment
    flattened(frame, rows, "ER", how)
    made = profiles.normalise(frame, method)
    assert made.left_out == ["p0 A01", "p0 A04"]
    assert made.warnings[:2] == [
        "channel ER is constant or saturated in 3 of 120 profiles: p0 A01, p0 A04, p0 D10; "
        "their features of it may tell of the exposure or the export, not of cells: look at their "
        "images.",
        "2 of 60 reference profiles have a channel that is constant or saturated and are left out "
        "of the reference: p0 A01, p0 A04.",
    ]
    by_hand = frame.assign(Metadata_out=np.isin(np.arange(len(frame)), rows))
    by_hand = profiles.normalise(by_hand, method, "control_type == 'negcon' and not out")
    np.testing.assert_array_equal(made.profiles[NAMES], by_hand.profiles[NAMES])
    assert made.profiles.loc[rows, NAMES].notna().all(axis=None)


def test_controls_of_a_flat_channel_stay_where_too_few_would_remain():
    frame = wells(controls=6)
    frame.loc[0, "Metadata_foreground"] = 0.0
    flattened(frame, [1, 2], "ER", "constant")
    made = profiles.normalise(frame)
    assert made.left_out == ["p0 A01"]
    assert made.warnings[2] == (
        "2 of 17 reference profiles have a channel that is constant or saturated and stay in it, "
        "since fewer than 4 others would remain: p0 A02, p0 A03."
    )


def test_flat_channels_are_named_where_all_profiles_are_the_reference():
    frame = wells()
    flattened(frame, range(15), "ER", "constant")
    flattened(frame, [2], "DNA", "saturated")
    made = profiles.normalise(frame, reference="all")
    assert made.left_out == []
    first, second, *_ = made.warnings
    assert first.startswith("channel DNA is constant or saturated in 1 of 120 profiles: p0 A03;")
    assert "channel ER is constant or saturated in 15 of 120 profiles: p0 A01" in second
    assert "p0 A10 and 5 more;" in second


def test_a_channel_that_is_dark_on_its_plate_is_said_once():
    frame = wells()
    flattened(frame, on(frame, "p1"), "ER", "constant")
    made = profiles.normalise(frame)
    assert made.dead_channels == {"p1": ["ER"]} and made.left_out == []
    assert not any("constant or saturated" in text for text in made.warnings)


def test_channels_that_are_embedded_together_are_named_when_they_are_dark():
    frame = wells().rename(
        columns=dict(zip(NAMES, [f"emb_all_{i:04d}" for i in range(12)], strict=True))
    )
    noise(frame, "p1", "ER")
    unlit(frame, on(frame, "p2"))
    made = profiles.normalise(frame)
    assert made.dead_channels == {"p2": ["all"]}
    assert "1 of 3 plates are constant or nothing but noise in every channel" in made.warnings[0]
    assert made.warnings[1] == (
        "channel ER is constant or nothing but noise on 1 of 3 plates: p1; no feature is of it "
        "alone, so none is missing there."
    )


def test_a_channel_that_is_dead_everywhere_is_dropped():
    frame = wells()
    frame[names("Mito")] = 1.0
    made = profiles.normalise(frame)
    assert made.dropped_features == names("Mito")
    assert made.warnings == [
        "channel Mito is dead on 3 of 3 plates (constant, nothing but noise, or without spread "
        "among the reference): p0, p1, p2; its features are missing there.",
        "4 of 12 features have no spread, or none but noise, among the reference of any plate and "
        "are dropped: 4 of Mito.",
    ]


def test_channels_that_are_dead_on_the_same_plates_share_a_line():
    frame = wells()
    for plate, channel in (("p0", "DNA"), ("p0", "Mito"), ("p1", "ER")):
        noise(frame, plate, channel)
    texts = [text for text in profiles.normalise(frame).warnings if "dead" in text]
    assert [text.split(" (")[0] for text in texts] == [
        "2 channels DNA, Mito are dead on 1 of 3 plates",
        "channel ER is dead on 1 of 3 plates",
    ]


def test_many_dead_channels_are_named_up_to_ten():
    frame = wells().rename(columns={name: f"emb_c{i}_0000" for i, name in enumerate(NAMES)})
    frame["emb_live_0000"] = np.random.default_rng(1).normal(size=len(frame))
    frame[[f"emb_c{i}_0000" for i in range(12)]] = 1.0
    first, second = profiles.normalise(frame).warnings
    assert first.startswith(
        "12 channels c0, c1, c2, c3, c4, c5, c6, c7, c8, c9 and 2 more are dead"
    )
    assert second.endswith("1 of c9 and 2 more.")


def test_a_feature_that_one_plate_drops_names_plate_and_channel():
    frame = wells()
    frame.loc[on(frame, "p2"), "emb_ER_0001"] = 1.0
    frame.loc[on(frame, "p0"), "emb_DNA_0000"] = 1.0
    made = profiles.normalise(frame)
    assert made.dropped_features == ["emb_DNA_0000", "emb_ER_0001"]
    assert made.dead_channels == {}
    assert made.warnings == [
        "2 of 12 features have no spread among the reference of some plate and are dropped from "
        "all: 1 of DNA on p0, 1 of ER on p2."
    ]
    frame.loc[on(frame, "p1"), ["emb_DNA_0000", "emb_DNA_0001"]] = 1.0
    (said,) = profiles.normalise(frame).warnings
    assert said.endswith("all: 2 of DNA on 2 plates such as p0, 1 of ER on p2.")


def unread(frame, rows):
    frame.loc[rows, NAMES] = np.nan


def black(frame, rows):
    frame.loc[rows, NAMES] = 0.25


def unlit(frame, rows):
    frame.loc[rows, [f"Metadata_focus_{channel}" for channel in CHANNELS]] = 20.1


def unseeded(frame, rows):
    frame.loc[rows, "Metadata_status"] = "empty"


def without_controls(frame, rows):
    frame.loc[
        rows & (frame["Metadata_control_type"] == "negcon") & (frame.index % 20 > 2), NAMES
    ] = np.nan


@pytest.mark.parametrize("method", ["mad_robustize", "spherize"])
@pytest.mark.parametrize(
    ("defect", "reason"),
    [
        (unread, "have no readable profile"),
        (black, "have no feature that varies among the reference"),
        (unlit, "are constant or nothing but noise in every channel"),
        (unseeded, "show no foreground in any profile"),
        (without_controls, "have fewer than 4 readable reference profiles"),
    ],
)
def test_a_dead_plate_is_missing_and_the_others_are_normalised(method, defect, reason):
    frame = wells()
    rows = on(frame, "p1")
    defect(frame, rows)
    made = profiles.normalise(frame, method)
    if method == "spherize" and defect is without_controls:
        assert made.dead_channels == {}  # the other plates' controls serve
        return
    assert f"1 of 3 plates {reason}" in made.warnings[0]
    assert made.warnings[0].endswith("and stay missing: p1.")
    assert made.dead_channels == {"p1": list(CHANNELS)}
    assert made.profiles.loc[rows, NAMES].isna().all(axis=None)
    assert_unharmed(made, profiles.normalise(frame[~rows], method), ~rows, NAMES)


def test_no_plate_that_can_be_normalised_stops_with_every_reason():
    frame = wells(plates=2)
    unread(frame, on(frame, "p0"))
    black(frame, on(frame, "p1"))
    with pytest.raises(
        ValueError, match=r"1 of 2 plates have no readable profile: p0\. 1 of 2 .*p1"
    ):
        profiles.normalise(frame)


def test_plates_that_leave_no_feature_in_common():
    frame = wells(plates=2)
    for plate, features in (("p0", (0, 1)), ("p1", (2, 3))):
        for channel in CHANNELS:
            frame.loc[on(frame, plate), [names(channel)[i] for i in features]] = 1.0
    with pytest.raises(ValueError, match="no feature varies among the reference .* of every plate"):
        profiles.normalise(frame)


def sparse_wells(spoiled=2):
    """Controls of next to no cells on each plate, whose features lie far from all others."""
    frame = wells(controls=16)
    for plate in ("p0", "p1", "p2"):
        rows = np.flatnonzero(on(frame, plate))[:spoiled]
        frame.loc[rows, "Metadata_foreground"] = 0.01
        frame.loc[rows, NAMES] += np.float32(40)
    return frame


@pytest.mark.parametrize("method", ["mad_robustize", "spherize"])
def test_near_empty_controls_are_left_out_of_the_reference(method):
    frame = sparse_wells()
    sparse = frame["Metadata_foreground"] < 0.1
    made = profiles.normalise(frame, method)
    assert made.left_out == [f"p{i} A0{j}" for i in range(3) for j in (1, 2)]
    assert made.warnings[0] == (
        "6 of 48 reference profiles show next to no cells (foreground below 25% of the median of "
        "their plate's reference) and are left out of the reference: p0 A01, p0 A02, p1 A01, "
        "p1 A02, p2 A01, p2 A02."
    )
    by_hand = profiles.normalise(
        frame.assign(out=sparse), method, "control_type == 'negcon' and not out"
    )
    np.testing.assert_array_equal(made.profiles[NAMES], by_hand.profiles[NAMES])
    # They keep their rows: what they are stays to be seen.
    assert made.profiles.loc[sparse, NAMES].notna().all(axis=None)


def test_near_empty_controls_no_longer_inflate_the_spread():
    """As on simulated insect plates, where two of 16 widened a feature's spread by 1.75."""
    frame = sparse_wells()
    before = profiles.normalise(frame.drop(columns="Metadata_foreground")).profiles
    after = profiles.normalise(frame).profiles
    dense = frame["Metadata_foreground"] > 0.1
    controls = dense & (frame["Metadata_control_type"] == "negcon")
    for table, low, high in ((before, 0.05, 0.85), (after, 0.97, 1.03)):
        spread = table[controls].groupby("Metadata_Plate")[NAMES].std(ddof=0).to_numpy()
        assert low < spread.mean() < high


def test_near_empty_controls_stay_where_too_few_would_remain():
    frame = wells(controls=5)
    frame.loc[[0, 1], "Metadata_foreground"] = 0.01
    made = profiles.normalise(frame)
    assert made.left_out == []
    assert "stay in it, since fewer than 4 others would remain: p0 A01, p0 A02." in made.warnings[0]


@pytest.mark.parametrize("spoiled", [1, 8, 9, 12])
@pytest.mark.parametrize("status", ["empty", "ok", None])
def test_empty_controls_are_left_out_however_many_they_are(spoiled, status):
    """Where most controls are empty, the median is that of the others."""
    frame = sparse_wells(spoiled)
    sparse = frame["Metadata_foreground"] < 0.1
    frame.loc[sparse, "Metadata_foreground"] = 0.0
    frame.loc[sparse, "Metadata_status"] = status
    if status is None:
        frame = frame.drop(columns="Metadata_status")
    made = profiles.normalise(frame)
    assert len(made.left_out) == 3 * spoiled
    assert f"{3 * spoiled} of 48 reference profiles show next to no cells (fore" in made.warnings[0]
    dense = profiles.normalise(
        frame.assign(out=sparse), reference="control_type == 'negcon' and not out"
    )
    np.testing.assert_array_equal(made.profiles[NAMES], dense.profiles[NAMES])


def test_status_tells_where_foreground_does_not():
    """As with a least foreground of a tile that was set high."""
    frame = wells()
    frame.loc[[3, 4], "Metadata_status"] = "empty"
    made = profiles.normalise(frame)
    assert made.left_out == ["p0 A04", "p0 A05"]
    assert "no cells (status empty, or foreground below 25% of the median" in made.warnings[0]


def test_empty_controls_stay_loudly_where_all_are():
    frame = wells(controls=6)
    controls = on(frame, "p0") & (frame["Metadata_control_type"] == "negcon")
    frame.loc[controls, ["Metadata_foreground", "Metadata_status"]] = [0.0, "empty"]
    made = profiles.normalise(frame)
    assert made.left_out == []
    assert made.warnings[0].startswith("6 of 18 reference profiles show next to no cells (status")
    assert "stay in it, since fewer than 4 others would remain: p0 A01" in made.warnings[0]


def test_a_reporter_that_controls_do_not_show_leaves_them_in():
    frame = wells()
    frame["Metadata_foreground"] = np.geomspace(1e-5, 0.02, len(frame))
    assert profiles.normalise(frame).left_out == []


def test_a_label_called_foreground_is_no_measure():
    frame = wells().assign(Metadata_foreground="dark")
    assert profiles.normalise(frame).left_out == []


def test_whitening_drops_what_varies_among_treatments_alone():
    frame = wells()
    controls = frame["Metadata_control_type"] == "negcon"
    frame.loc[controls, "emb_ER_0001"] = 0.5
    made = profiles.normalise(frame, "spherize")
    assert made.dropped_features == ["emb_ER_0001"]
    assert "1 of 12 features have no spread of their own" in made.warnings[0]


@pytest.mark.parametrize("change", [{"reference": "all"}, {"control_type": None}])
def test_where_all_profiles_are_the_reference_sparse_ones_are_among_them(change):
    frame = sparse_wells()
    if "control_type" in change:
        frame["Metadata_control_type"] = None
    made = profiles.normalise(frame, reference=change.get("reference", "negcon"))
    assert made.left_out == []
    expected = profiles.normalise(frame.drop(columns="Metadata_foreground"), reference="all")
    np.testing.assert_array_equal(made.profiles[NAMES], expected.profiles[NAMES])


def test_sites_are_named_by_their_site():
    frame = sparse_wells()
    frame["Metadata_Site"] = 7
    assert profiles.normalise(frame).left_out[0] == "p0 A01"
    twice = pd.concat([frame, frame.assign(Metadata_Site=8)], ignore_index=True)
    assert profiles.normalise(twice).left_out[:2] == ["p0 A01 7", "p0 A02 7"]
    images = frame.drop(columns=["Metadata_Plate", "Metadata_Well", "Metadata_Site"])
    assert profiles.normalise(images).left_out[:3] == ["row 0", "row 1", "row 40"]


@pytest.mark.parametrize("seed", range(4))
def test_sparse_reference_equals_the_loop(seed):
    rng = np.random.default_rng(seed)
    frame = wells(seed, plates=5, wells=12, controls=6)
    frame["Metadata_foreground"] = rng.choice([0, 0.01, 0.05, 0.3, 0.4, 0.5, np.nan], len(frame))
    frame["Metadata_status"] = rng.choice(["ok", "ok", "empty"], len(frame))
    rows = rng.random(len(frame)) < 0.6
    plates = reference.plates_of(frame)
    sparse, _ = reference.sparse_reference(frame, plates, rows)
    for plate in frame["Metadata_Plate"].unique():
        here = [
            (i, frame.at[i, "Metadata_foreground"], frame.at[i, "Metadata_status"] == "empty")
            for i in np.flatnonzero(on(frame, plate) & rows)
            if frame.at[i, "Metadata_foreground"] >= 0
        ]
        shown = [value for _, value, empty in here if value >= 0.01 and not empty]
        least = 0.25 * np.median(shown) if shown else 0
        below = [i for i, value, empty in here if empty or value < least]
        if len(here) - len(below) < 4:
            below = []
        assert np.flatnonzero(sparse & on(frame, plate)).tolist() == below


def test_spherize_with_few_controls_is_told_from_the_table_alone():
    table = wells().drop(columns=NAMES)
    with pytest.raises(ValueError, match=r"spherize needs .* controls: 60\) than features \(60\)"):
        profiles.check_reference(table, "spherize", features=60)
    assert profiles.check_reference(table, "spherize", features=59) == []
    assert profiles.check_reference(table, "standardize", features=60) == []


def test_wells_that_are_lost_already_count_out_in_advance():
    table = wells().drop(columns=NAMES)
    readable = ~(on(table, "p1") & (np.arange(len(table)) % 40 > 2))
    (text,) = profiles.check_reference(table, readable=readable)
    assert "1 of 3 plates have fewer than 4 reference profiles" in text
    assert text.endswith("can be read: p1; they will stay missing in the normalised table.")
    with pytest.raises(ValueError, match=r"spherize needs .* controls: 43\) than features \(43\)"):
        profiles.check_reference(table, "spherize", features=43, readable=readable)
    with pytest.raises(ValueError, match="3 of 3 plates .* read: p0, p1, p2. Name more controls"):
        profiles.check_reference(table, readable=np.zeros(len(table), bool))


def test_unnamed_controls_are_told_from_the_table_alone():
    table = wells().drop(columns=[*NAMES, "Metadata_control_type"])
    assert "names no controls" in profiles.check_reference(table)[0]


def test_many_plates_are_named_up_to_ten():
    frame = wells(plates=13, wells=8, controls=5)
    for i in range(1, 13):
        black(frame, on(frame, f"p{i}"))
    text = profiles.normalise(frame).warnings[0]
    assert text.startswith("12 of 13 plates") and text.endswith("p9, p10 and 2 more.")


def test_features_know_their_channel():
    features = ["emb_Golgi_ER_0003", "emb_0001", "emb17", "Nuclei_AreaShape_Area", "emb_all_0000"]
    assert list(defects.channel_features(features)) == ["Golgi_ER", "emb", "Nuclei", "all"]
