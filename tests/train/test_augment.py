"""Views against a per-image twin in numpy and scipy, given the same draws."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter1d, map_coordinates

from unidino.train import augment
from unidino.train.augment import (
    BLUR,
    CENTRE_X,
    CENTRE_Y,
    FLIP_X,
    FLIP_Y,
    INVERSE_ZOOM,
    NOISE,
    NOISE_START,
)

SETTINGS = {
    "published": {},
    "zoomed": {"zoom_min": 0.6, "zoom_max": 1.7, "shift": 0.1},
    "all": {"zoom_min": 0.7, "zoom_max": 2.0, "blur_prob": 0.6, "noise_prob": 0.6},
    "enlarged": {"zoom_min": 1.5, "zoom_max": 1.5},
}


def settings(name, **more):
    return augment.ViewSettings(
        size=40, local_size=16, local_crops_number=3, **SETTINGS[name], **more
    )


def image(seed, height=90, width=120, channels=2):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 4096, (channels, height, width), dtype=np.uint16)


def cut(plane, corner, side):
    """The window of one channel, filled by reflection."""
    top, left = (int(v) for v in corner)
    pad = 3 * side
    padded = np.pad(plane, pad, mode="reflect")
    return padded[top + pad : top + pad + side, left + pad : left + pad + side]


def twin(window, draws, tone, low, high, size, native):
    """One view of one channel, step by step."""
    window = window.astype(np.float64)
    if native:
        view = window
        view = view[::-1] if draws[FLIP_Y] else view
        view = view[:, ::-1] if draws[FLIP_X] else view
    else:
        steps = (np.arange(size) + 0.5 - size / 2) * draws[INVERSE_ZOOM]
        # Coordinates of pixel centres are half a pixel more than array indices.
        rows = draws[CENTRE_Y] + steps * (-1 if draws[FLIP_Y] else 1) - 0.5
        columns = draws[CENTRE_X] + steps * (-1 if draws[FLIP_X] else 1) - 0.5
        grid = np.meshgrid(rows, columns, indexing="ij")
        view = map_coordinates(window, grid, order=1, mode="nearest")
    view = np.clip((view - low) / (high - low), 0, 1)
    view = np.clip(view + tone[0], 0, 1) ** tone[1]
    if draws[BLUR] > 0:
        for axis in (0, 1):
            view = gaussian_filter1d(view, draws[BLUR], axis, mode="mirror", radius=6)
    if draws[NOISE] > 0:
        bank = torch.randn(2**20, generator=torch.Generator().manual_seed(0)).numpy()
        start = int(draws[NOISE_START])
        noise = np.take(bank, np.arange(start, start + view.size), mode="wrap")
        view = np.clip(view + draws[NOISE] * noise.reshape(view.shape), 0, 1)
    return view


@pytest.mark.parametrize("name", SETTINGS)
def test_views_equal_the_twin(name):
    views = settings(name)
    for seed in range(4):
        raw = image(seed, channels=1)
        rng = np.random.default_rng(seed)
        corners, draws, tone, padded = augment.draw_views(rng, views, 90, 120, 1)
        assert padded == 0
        for number, size in enumerate(views.sizes):
            window = cut(raw[0], corners[number], views.window(size))
            made = augment.make_views(
                torch.from_numpy(np.ascontiguousarray(window))[None, None],
                torch.from_numpy(draws[number])[None],
                torch.from_numpy(tone[number])[None],
                torch.tensor([[300.0]]),
                torch.tensor([[3000.0]]),
                size,
                views.native,
            )
            wanted = twin(window, draws[number], tone[number, 0], 300, 3000, size, views.native)
            assert made.shape == (1, 1, size, size)
            np.testing.assert_allclose(made[0, 0].numpy(), wanted, atol=2e-4)


def test_a_batch_is_its_views_one_by_one():
    views = settings("all")
    rng = np.random.default_rng(1)
    windows, draws, tones = [], [], []
    for seed in range(6):
        raw = image(seed)
        corners, drawn, tone, _ = augment.draw_views(rng, views, 90, 120, 2)
        windows.append(np.stack([cut(p, corners[0], views.window(views.size)) for p in raw]))
        draws.append(drawn[0])
        tones.append(tone[0])
    arguments = [torch.from_numpy(np.stack(part)) for part in (windows, draws, tones)]
    low, high = torch.full((6, 2), 100.0), torch.full((6, 2), 4000.0)
    together = augment.make_views(*arguments, low, high, 40, views.native)
    for i in range(6):
        alone = augment.make_views(
            *[part[i : i + 1] for part in arguments],
            low[i : i + 1],
            high[i : i + 1],
            40,
            views.native,
        )
        torch.testing.assert_close(together[i : i + 1], alone)
    assert together.min() >= 0 and together.max() <= 1


def test_native_views_lie_inside_the_image_and_everywhere():
    views = augment.ViewSettings(size=40, local_size=16, local_crops_number=8)
    rng = np.random.default_rng(0)
    corners = np.stack([augment.draw_views(rng, views, 50, 45, 1)[0] for _ in range(400)])
    places = corners[:, :2]
    assert places.min() == 0
    assert places[..., 0].max() == 10 and places[..., 1].max() == 5
    counts = np.bincount(places[..., 1].ravel())
    assert counts.min() > 0.6 * counts.mean()


def test_flips_shifts_and_gammas_have_their_published_ranges():
    views = augment.ViewSettings()
    rng = np.random.default_rng(0)
    drawn = [augment.draw_views(rng, views, 300, 300, 1)[1:3] for _ in range(300)]
    draws = np.concatenate([d for d, _ in drawn])
    tone = np.concatenate([t for _, t in drawn]).reshape(-1, 2)
    for column in (FLIP_Y, FLIP_X):
        assert abs(draws[:, column].mean() - 0.5) < 0.05
    assert -0.3 <= tone[:, 0].min() < -0.28 and 0.28 < tone[:, 0].max() <= 0.3
    assert 0.5 <= tone[:, 1].min() < 0.52 and 1.48 < tone[:, 1].max() <= 1.5
    assert not draws[:, [BLUR, NOISE]].any()
    assert views.sizes == [224, 224] + [96] * 8


def test_views_larger_than_the_image_are_counted_and_centred():
    views = augment.ViewSettings(size=64, local_size=16, local_crops_number=2)
    corners, _, _, padded = augment.draw_views(np.random.default_rng(0), views, 50, 200, 1)
    assert padded == 2
    assert (corners[:2, 0] == -7).all()


def test_zoom_and_noise_are_as_likely_as_asked():
    views = augment.ViewSettings(zoom_min=0.5, zoom_max=2, blur_prob=0.25, noise_prob=0.75)
    rng = np.random.default_rng(0)
    draws = np.concatenate([augment.draw_views(rng, views, 600, 600, 1)[1] for _ in range(300)])
    zoom = 1 / draws[:, INVERSE_ZOOM]
    assert 0.5 <= zoom.min() < 0.52 and 1.9 < zoom.max() <= 2
    assert abs(np.log(zoom).mean()) < 0.05
    assert abs((draws[:, BLUR] > 0).mean() - 0.25) < 0.04
    assert abs((draws[:, NOISE] > 0).mean() - 0.75) < 0.04


def test_views_of_an_image_can_share_their_zoom():
    rng = np.random.default_rng(0)
    zooms = {}
    for shared in (False, True):
        views = augment.ViewSettings(zoom_min=0.5, zoom_max=2, shared_zoom=shared)
        drawn = [augment.draw_views(rng, views, 600, 600, 1)[1] for _ in range(50)]
        zooms[shared] = 1 / np.stack([draws[:, INVERSE_ZOOM] for draws in drawn])
    assert np.ptp(zooms[True], axis=1).max() == 0
    assert np.ptp(zooms[False], axis=1).min() > 0.3
    assert zooms[True].min() < 0.6 and zooms[True].max() > 1.7


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"zoom_min": 0}, "zoom_min is 0 and zoom_max 1.0; expected 0 < min <= max"),
        ({"gamma_min": 2.0}, "gamma_min is 2.0 and gamma_max 1.5"),
        ({"blur_prob": 1.2}, "blur_prob is 1.2; it is a probability"),
        ({"noise_prob": -1}, "noise_prob is -1"),
        ({"shift": 2}, "shift is 2; it must be 0 to 1"),
        ({"local_crops_number": -1}, "local_crops_number is -1"),
    ],
)
def test_wrong_settings(wrong, message):
    with pytest.raises(ValueError, match=message):
        augment.ViewSettings(**wrong)
