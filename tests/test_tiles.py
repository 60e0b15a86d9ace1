"""Tiles against plain loops, over square and non-square images both ways."""

import numpy as np
import pytest

from unidino import tiles

SIZES = [(224, 224), (224, 280), (300, 224), (448, 500), (1024, 1280), (230, 700), (225, 225)]


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize(("size", "stride"), [(224, None), (112, None), (112, 50), (96, 96)])
def test_cover_leaves_no_pixel_out(height, width, size, stride):
    grid = tiles.tile_grid(height, width, size, stride)
    covered = np.zeros((height, width), bool)
    for y, x in grid:
        assert 0 <= y <= height - size
        assert 0 <= x <= width - size
        covered[y : y + size, x : x + size] = True
    assert covered.all()
    assert grid[0].tolist() == [0, 0]
    assert grid[-1].tolist() == [height - size, width - size]
    for starts, length in ((np.unique(grid[:, 0]), height), (np.unique(grid[:, 1]), width)):
        fewest = -(-(length - size) // (stride or size)) + 1
        assert len(starts) == fewest
        if len(starts) > 1:
            steps = np.diff(starts)
            assert steps.max() <= (stride or size)
            assert steps.max() - steps.min() <= 1


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize(("size", "stride"), [(224, None), (112, 150), (100, 30)])
def test_grid_equals_the_loop(height, width, size, stride):
    step = stride or size
    expected = [
        [y, x]
        for y in range(0, height, step)
        for x in range(0, width, step)
        if y + size <= height and x + size <= width
    ]
    assert tiles.tile_grid(height, width, size, stride, "grid").tolist() == expected


def test_legacy_is_a_square_of_the_rows():
    grid = tiles.tile_grid(1024, 1280, tiling="legacy")
    assert len(grid) == 16
    assert grid[:, 1].max() == 3 * 224
    assert len(tiles.tile_grid(1024, 1280, tiling="grid")) == 20
    square = np.ones(16, bool)
    assert tiles.coverage(
        1080, 1080, tiles.tile_grid(1080, 1080, tiling="legacy"), square, 224
    ) == (pytest.approx((4 * 224 / 1080) ** 2))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((100, 300, 224), "100 x 300 is smaller than a tile of 224"),
        ((300, 300, 100, 150), "stride 150 leaves gaps between tiles of 100: take at most 100"),
        ((1280, 1024, 224, None, "legacy"), "taller than wide, on which the released code crashes"),
    ],
)
def test_impossible_grids(arguments, message):
    with pytest.raises(ValueError, match=message):
        tiles.tile_grid(*arguments)


def reflected(i, length):
    """Index of a pixel that a mirror shows at place i."""
    while not 0 <= i < length:
        i = -i if i < 0 else 2 * (length - 1) - i
    return i


@pytest.mark.parametrize("shape", [(50, 30), (10, 80), (64, 7)])
def test_reflection_equals_the_loop(shape):
    image = np.random.default_rng(0).integers(0, 255, (2, *shape), dtype=np.uint8)
    padded = tiles.fit_to_tile(image, 64)
    height, width = padded.shape[1:]
    assert (height, width) == tuple(max(64, side) for side in shape)
    top, left = (max(0, 64 - side) // 2 for side in shape)
    rows = [reflected(y - top, shape[0]) for y in range(height)]
    columns = [reflected(x - left, shape[1]) for x in range(width)]
    np.testing.assert_array_equal(padded, image[:, rows][:, :, columns])


def test_enlarging_keeps_type_and_aspect():
    image = np.full((1, 32, 48), 700, np.uint16)
    enlarged = tiles.fit_to_tile(image, 64, "resize")
    assert enlarged.shape == (1, 64, 96)
    assert enlarged.dtype == np.uint16
    assert (enlarged == 700).all()


def test_large_images_pass_unchanged():
    image = np.zeros((1, 64, 80))
    assert tiles.fit_to_tile(image, 64) is image


@pytest.mark.parametrize("channel", [0, 1, "any"])
def test_shares_and_choice_equal_the_loop(channel):
    generator = np.random.default_rng(3)
    image = generator.integers(0, 100, (2, 60, 90))
    image[:, :, 40:] //= 2
    grid = tiles.tile_grid(60, 90, 20, 13)
    thresholds = [97, 98]
    shares = tiles.foreground_shares(image, grid, 20, thresholds, channel)
    for (y, x), share in zip(grid, shares, strict=True):
        hits = 0
        for i in range(y, y + 20):
            for j in range(x, x + 20):
                above = [image[c, i, j] > thresholds[c] for c in (0, 1)]
                hits += any(above) if channel == "any" else above[channel]
        assert share == pytest.approx(hits / 400)
    kept, empty = tiles.choose_tiles(shares, 0.01)
    assert kept.tolist() == [share >= 0.01 for share in shares]
    assert 0 < kept.sum() < len(kept)
    assert not empty


def test_tiles_are_copies_of_their_pixels():
    image = np.random.default_rng(0).integers(0, 9, (3, 40, 50)).astype(np.uint16)
    grid = tiles.tile_grid(40, 50, 20, 13)
    made = tiles.cut(image, grid, 20)
    assert made.dtype == image.dtype
    expected = np.stack([image[:, y : y + 20, x : x + 20] for y, x in grid])
    image[:] = 0
    np.testing.assert_array_equal(made, expected)


def test_middle_tile_where_none_passes():
    kept, empty = tiles.choose_tiles(np.zeros(16), 0.01)
    assert np.flatnonzero(kept).tolist() == [8]
    assert empty


def test_coverage_counts_overlaps_once():
    grid = tiles.tile_grid(30, 50, 20)
    assert tiles.coverage(30, 50, grid, np.ones(len(grid), bool), 20) == 1
    kept = np.arange(len(grid)) == 0
    assert tiles.coverage(30, 50, grid, kept, 20) == pytest.approx(400 / 1500)
