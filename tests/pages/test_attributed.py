"""What the page of attribution draws and says is what its tables hold."""

import numpy as np
import pandas as pd
import pytest

from unidino.pages import attributed, plots

CHANNELS = ("DNA", "Actin")


def table(units=(3, 6), **more):
    """Values of two channels for two mechanisms and all."""
    rows = []
    for label, n, values in (
        ("m0", units[0], (0.4, 0.1)),
        ("m1", units[1], (-0.2, 0.3)),
        ("all", sum(units), (0.2, 0.2)),
    ):
        for channel, value in zip(CHANNELS, values, strict=True):
            low = np.nan if n < 5 else value - 0.1
            rows.append((label, channel, value, low, low + 0.2, n))
    columns = ["label", "channel", "shapley", "low", "high", "units"]
    made = pd.DataFrame(rows, columns=columns)
    others = {"alone": made["shapley"], "left out": -made["shapley"], "permuted": 0.5}
    return made.assign(**others, forest=[9, 1, 2, 8, np.nan, np.nan], **more)


def test_heat_maps_show_the_values_and_frame_what_was_planted():
    made = table()
    figure = attributed.channel_heat_maps(
        {"one": made, "other": made.assign(shapley=0.1)}, "heading", "value", {"m1": "Actin"}
    )
    first, second = figure.axes[:2]
    assert [t.get_text() for t in first.get_xticklabels()] == list(CHANNELS)
    assert [t.get_text() for t in first.get_yticklabels()] == ["m0", "m1", "all"]
    assert [t.get_text() for t in first.texts] == ["0.40", "0.10", "-0.20", "0.30", "0.20", "0.20"]
    frame = first.patches[0]
    assert (frame.get_x() + frame.get_width() / 2, frame.get_y() + frame.get_height() / 2) == (
        pytest.approx((1, 1))
    )
    assert len(first.patches) == len(second.patches) == 1
    assert second.get_title() == "other"
    limits = {axis.images[0].get_clim() for axis in (first, second)}
    assert limits == {(-0.4, 0.4)}
    plots.plt.close(figure)


def test_pixel_maps_beside_their_tiles():
    tile = np.linspace(0, 1, 16).reshape(4, 4)
    cells = tile > 0.5
    signed, looked_at = np.array([[0.5, -1.0]]), np.array([[0.2, 0.8]])
    full = np.ones((4, 4), bool)
    rows = [
        (
            "a",
            [("tile", tile, cells), ("occlusion", signed, cells), ("roll-out", looked_at, cells)],
        ),
        ("DNA\nquite a long mechanism", [("tile", tile, full), ("occlusion", looked_at, full)]),
    ]
    figure = attributed.pixel_maps(rows, "heading")
    axes = figure.axes
    assert [axis.get_title() for axis in axes[:3]] == ["tile", "occlusion", "roll-out"]
    assert axes[0].get_ylabel() == "a" and axes[3].get_ylabel() == "DNA\nquite a long\nmechanism"
    np.testing.assert_array_equal(axes[0].images[0].get_array(), tile)
    (shown,) = axes[1].images
    np.testing.assert_array_equal(shown.get_array(), signed)
    assert shown.get_clim() == (-1, 1) and shown.get_extent() == [0, 4, 4, 0]
    assert axes[2].images[0].get_clim() == (0, 0.8)
    # Where no patch speaks against the treatment, the colours of occlusion are the same.
    positive = axes[4].images[0]
    assert positive.get_clim() == (-0.8, 0.8) and positive.get_cmap() == shown.get_cmap()
    assert axes[2].images[0].get_cmap() != shown.get_cmap()
    assert [len(axis.collections) for axis in axes[:5]] == [0, 1, 1, 0, 0]  # outlines
    assert not axes[5].get_visible()
    plots.plt.close(figure)


def curves():
    rows = [
        (case, name, test, share, score)
        for case, value in (("x", 1.0), ("y", 2.0))
        for name in ("occlusion", "random")
        for test in ("deletion", "insertion")
        for tile in (0, 1)
        for share, score in ((0.0, value), (1.0, value * tile))
    ]
    return pd.DataFrame(rows, columns=["case", "attribution", "test", "patches", "score"])


def test_curves_are_means_over_tiles():
    figure = attributed.fidelity_curves(curves(), "heading")
    assert [axis.get_title() for axis in figure.axes] == ["x", "y", "", ""]
    lines = {line.get_label(): line for line in figure.axes[1].get_lines()}
    assert lines["occlusion"].get_ydata().tolist() == [2.0, 1.0]
    assert lines["random"].get_linestyle() == "--"
    assert figure.axes[0].get_xlabel() == "share of patches deleted"
    assert figure.axes[2].get_xlabel() == "share of patches inserted"
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["occlusion", "random"]
    plots.plt.close(figure)


def test_the_first_channel_by_each_way():
    made = attributed.first_by_each_way(table())
    # Left out, both channels of m0 are worth less than nothing: neither is first.
    assert made.loc["m0"].tolist() == ["DNA", "DNA", "–", "DNA = Actin", "DNA"]
    assert made.loc["m1"].tolist() == ["Actin", "Actin", "DNA", "DNA = Actin", "Actin"]
    nothing = attributed.first_by_each_way(table().assign(shapley=0.0))
    assert (nothing["Shapley value"] == "–").all()
    assert made.loc["all"].tolist()[0] == "DNA = Actin" and made.loc["all", "forest count"] == "–"


def test_what_is_said_of_channels():
    assert attributed.overall(table()) == (
        "Over all 9 compounds the channels are worth DNA 0.20 (0.10 to 0.30) and Actin 0.20 "
        "(0.10 to 0.30), in sum 0.40. 1 of 2 mechanisms have fewer than 5 compounds and no "
        "interval."
    )
    assert attributed.overall(table(units=(2, 2))).endswith(
        "worth DNA 0.20 and Actin 0.20, in sum 0.40. No mechanism has 5 compounds: their values "
        "stand without interval."
    )
    assert attributed.overall(table(units=(5, 5))).endswith("in sum 0.40.")
    assert attributed.agreement(table()) == (
        "All channels together score more than exchanged labels in 2 of 2 mechanisms. The Shapley "
        "value puts one channel first in 2 of 2: channels that tie have no first among them, nor "
        "have those that are worth nothing or less (“–”). Of these 2 the same channel alone comes "
        "first by alone in 2, left out in 0, permuted in 0 and forest count in 2."
    )


def test_mechanisms_that_are_not_found_have_no_first_channel():
    lost = attributed.agreement(table().assign(shapley=[-0.1, -0.2, 0.3, -0.3, 0.2, 0.2]))
    assert "in 0 of 2 mechanisms (not in m0 and m1). " in lost
    # m1 has a channel above 0, though the channels together score what exchanged labels do.
    assert "one channel first in 1 of 2: " in lost and "Of these 1 the" in lost
    tied = attributed.agreement(table().assign(shapley=0.1))
    assert "in 2 of 2 mechanisms. " in tied and "one channel first in 0 of 2: " in tied


def test_what_is_said_of_the_planted_channel():
    found = pd.DataFrame(
        {
            "features": ["a", "a", "b"],
            "way": ["shapley", "forest", "shapley"],
            "first": [6, 5, 4],
            "of": 6,
            "by chance": 2.0,
        }
    )
    assert attributed.planted_found(found) == (
        "- `a`: of 6 mechanisms that change one stain only, the planted channel comes first in 6 "
        "by Shapley value and 5 by forest count; by chance it would in 2.0.\n"
        "- `b`: of 6 mechanisms that change one stain only, the planted channel comes first in 4 "
        "by Shapley value; by chance it would in 2.0."
    )


def test_what_is_said_of_pixels():
    rows = [
        ("occlusion", test, p)
        for test, p_values in (
            ("deletion", (0.05, 0.05)),
            ("insertion", (0.05, 1.0)),
            ("on cells", (0.5, np.nan)),
        )
        for p in p_values
    ]
    scores = pd.DataFrame(rows, columns=["attribution", "test", "p_value"])
    scores = scores.assign(value=[0.1, 0.5, 0.9, 0.1, 0.5, np.nan])
    scores = scores.assign(random_low=0.2, random_high=0.8, cells=0.5)
    assert attributed.believed(scores) == (
        "- **occlusion**, against random orders of the patches: in 2 of 2 tiles its patches, "
        "deleted first, take the treatment away sooner, in 1 of 2 tiles inserted first, they bring "
        "it back sooner (in 1 it is worse than each random order) and in 0 of 2 tiles that are not "
        "all cells more of it lies on cells."
    )


def test_a_tie_with_all_orders_is_not_worse_and_tiles_of_cells_alone_are_not_asked():
    rows = [
        ("deletion", 1.0, 0.5, 1.0, 0.4),
        ("deletion", 1.1, 0.5, 1.0, 1.0),
        ("insertion", 0.5, 0.5, 1.0, 0.4),
        ("insertion", 0.5, 0.5, 0.5, 1.0),
        ("on cells", 0.9, 0.2, 0.8, 0.4),
        ("on cells", np.nan, np.nan, np.nan, 1.0),
    ]
    columns = ["test", "value", "random_low", "random_high", "cells"]
    scores = pd.DataFrame(rows, columns=columns).assign(attribution="map", case="x")
    scores = scores.assign(p_value=[1.0, 1.0, 1.0, 1.0, 0.05, np.nan], tile=[1, 2, 1, 2, 1, 2])
    assert attributed.believed(scores) == (
        "- **map**, against random orders of the patches: in 0 of 2 tiles its patches, deleted "
        "first, take the treatment away sooner (in 1 it is worse than each random order), in 0 of "
        "2 tiles inserted first, they bring it back sooner and in 1 of 1 tiles that are not all "
        "cells more of it lies on cells."
    )
    assert attributed.filled(scores) == (
        "1 of 2 tiles are all cells (at least 99 % of their pixels): what stands for their "
        "background is drawn from the darkest 5 % of them."
    )
    assert attributed.filled(scores.assign(cells=0.4)) == ""


def test_what_is_said_of_emptied_tiles():
    assert attributed.emptied(curves()) == (
        "A tile of nothing but its background lies at 0.50 (x) and 1.00 (y): what is near 1 or "
        "beyond says that the model takes emptiness for the treatment; a curve need not end at 0."
    )


def test_what_is_said_of_tiles():
    wells = pd.DataFrame({"Metadata_tiles": [6, 6, 6], "Metadata_tiles_kept": [6, 4, 5]})
    by_one = attributed.chosen_tiles(wells, "DAPI", True)
    assert by_one == (
        "Tiles were chosen by the channel DAPI alone: 3 of 18 are left out, in 2 of 3 wells. Where "
        "DAPI shows little, the other channels are looked at less, too: they know it from DAPI. "
        "Their wells were embedded again for this page, with tiles chosen by any channel."
    )
    not_again = attributed.chosen_tiles(wells, "DAPI", False)
    assert not_again.endswith("`foreground_channel='any'` extracts profiles without this leak.")
    assert attributed.chosen_tiles(wells, "any", False) == (
        "Tiles were chosen by any channel: 3 of 18 are left out, in 2 of 3 wells."
    )
    unknown = "The profiles do not say which tiles they are made of."
    assert attributed.chosen_tiles(wells, None, False) == unknown
    bare = pd.DataFrame({"Metadata_Well": ["A01", "A02"]})
    assert attributed.chosen_tiles(bare, "DAPI", False) == unknown


def test_what_is_said_of_two_ways_to_make_profiles():
    made = table()
    assert attributed.moved(made, made) == "No value differs."
    other = made.assign(shapley=[0.1, 0.15, -0.2, 0.3, 0.25, 0.2])
    assert attributed.moved(made, other) == (
        "The values over all compounds differ by at most 0.05, those of single mechanisms by at "
        "most 0.30; the first channel is the same in 1 of 2 mechanisms that have one first channel "
        "by either."
    )
    # Channels that tie have no first by either way; the order of the rows makes none.
    tied = made.assign(shapley=[0.3, 0.3, -0.2, 0.3, 0.2, 0.2])
    assert attributed.moved(tied, tied.assign(shapley=tied["shapley"] + 0.1)).endswith(
        "the first channel is the same in 1 of 1 mechanisms that have one first channel by either."
    )
