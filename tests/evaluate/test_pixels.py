"""Occlusion, roll-out and curves: a model whose pixels are known, and naive twins."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import tifffile
import torch
from sklearn.covariance import LedoitWolf
from sklearn.metrics import roc_auc_score
from torch import nn

import unidino
from unidino import dataset, tables, tiles
from unidino.embedding import Embedder
from unidino.evaluate import pixels
from unidino.models import vit

PATCH = 4


def sums(planes):
    """An embedding that is known: sums of the left half and of the right half of a tile."""
    half = planes.shape[-1] // 2
    left, right = planes[..., :half].sum((1, 2, 3)), planes[..., half:].sum((1, 2, 3))
    return torch.stack([left, right], 1).numpy()


def tile(seed=0, shape=(8, 16)):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


LEFT = pixels.Axis(np.zeros(2), np.array([1.0, 0.0]))


def test_axis_is_the_direction_that_tells_the_treatment_from_the_controls_spread():
    rng = np.random.default_rng(0)
    spread = np.array([[3.0, 0, 0], [2.9, 0.3, 0], [0, 0, 1]])
    controls = rng.normal(size=(60, 3)) @ spread.T
    treated = rng.normal(size=(50, 3)) @ spread.T + (0.5, -0.5, 0.2)
    way = pixels.axis(controls, treated)
    assert way(controls).mean() == pytest.approx(0)
    assert way(treated).mean() == pytest.approx(1)
    inverse = np.linalg.inv(LedoitWolf().fit(controls).covariance_)
    step = treated.mean(0) - controls.mean(0)
    np.testing.assert_allclose(way.weights, inverse @ step / (step @ inverse @ step))
    # It tells them apart better than the plain difference of means does.
    plain = pixels.Axis(controls.mean(0), step / (step @ step))
    assert way(controls).std() < 0.5 * plain(controls).std()


def test_no_way():
    some = np.random.default_rng(0).normal(size=(9, 3))
    with pytest.raises(ValueError, match="3 tiles of the controls are too few .* give 4"):
        pixels.axis(some[:3], some)
    with pytest.raises(ValueError, match="2 tiles of the treatment"):
        pixels.axis(some, some[:2])
    with pytest.raises(ValueError, match="there is no way there"):
        pixels.axis(some, some)
    with pytest.raises(ValueError, match="the tiles of the controls are all alike"):
        pixels.axis(np.ones((5, 3)), some)


def test_patches_are_numbered_row_by_row():
    numbers, grid = pixels.patch_numbers((5, 9), 4)
    assert grid == (2, 3)
    expected = [[(y // 4) * 3 + x // 4 for x in range(9)] for y in range(5)]
    assert numbers.tolist() == expected
    with pytest.raises(ValueError, match="patch is 0"):
        pixels.patch_numbers((5, 9), 0)


def test_background_has_the_pixels_outside_cells():
    plane, cells = tile(), np.zeros((8, 16), bool)
    cells[2:6, 3:12] = True
    made = pixels.background(plane, cells, seed=1)
    outside = set(plane.numpy()[~cells].tolist())
    assert set(made.numpy().ravel().tolist()) <= outside
    assert made.shape == plane.shape and len(np.unique(made)) > 20
    torch.testing.assert_close(made, pixels.background(plane, cells, seed=1))
    everywhere = pixels.background(plane, np.ones((8, 16), bool))
    darkest = np.sort(plane.numpy().ravel())[: int(0.05 * 128)]
    assert set(everywhere.numpy().ravel().tolist()) <= set(darkest.tolist())


def test_occlusion_is_what_the_patch_adds():
    plane, fill = tile(), torch.full((8, 16), 0.25)
    made = pixels.occlusion(sums, LEFT, plane, fill, PATCH)
    assert made.shape == (2, 4)
    for row in range(2):
        for column in range(4):
            part = plane[row * 4 : row * 4 + 4, column * 4 : column * 4 + 4]
            added = float((part - 0.25).sum()) if column < 2 else 0.0
            assert made[row, column] == pytest.approx(added, abs=1e-5)


def test_curves_by_a_naive_twin():
    plane, fill = tile(), tile(1)
    order = np.random.default_rng(0).permutation(8)
    deleted = pixels.deletion(sums, LEFT, plane, fill, order, PATCH, step=3)
    inserted = pixels.insertion(sums, LEFT, plane, fill, order, PATCH, step=3)
    for place, count in enumerate([0, 3, 6, 8]):
        without, only = plane.clone(), fill.clone()
        for number in order[:count]:
            y, x = divmod(int(number), 4)
            here = (slice(4 * y, 4 * y + 4), slice(4 * x, 4 * x + 4))
            without[here], only[here] = fill[here], plane[here]
        assert deleted[place] == pytest.approx(float(without[:, :8].sum()), rel=1e-6)
        assert inserted[place] == pytest.approx(float(only[:, :8].sum()), rel=1e-6)
    backwards = pixels.deletion(sums, LEFT, plane, fill, order[::-1], PATCH)
    forwards = pixels.insertion(sums, LEFT, plane, fill, order, PATCH)
    np.testing.assert_allclose(forwards, backwards[::-1])


def test_area_is_the_mean_height():
    assert pixels.area([1.0, 1.0, 1.0]) == 1
    assert pixels.area([1.0, 0.5, 0.0]) == 0.5
    assert pixels.area([1.0, 0.0, 0.0]) == 0.25


def test_an_order_names_each_patch_once():
    with pytest.raises(ValueError, match="the order names 2 patches; it must name each of the 8"):
        pixels.deletion(sums, LEFT, tile(), tile(1), [0, 1], PATCH)
    with pytest.raises(ValueError, match="step is 0"):
        pixels.deletion(sums, LEFT, tile(), tile(1), range(8), PATCH, step=0)


def test_share_on_cells():
    cells = np.zeros((8, 16), bool)
    cells[:4, :4] = True
    cells[4:, 8:10] = True
    importance = np.array([[3.0, -9.0, 0.0, 0.0], [0.0, 0.0, 2.0, 1.0]])
    share, even = pixels.cell_share(importance, cells, PATCH)
    assert share == pytest.approx((3 * 1 + 2 * 0.5) / 6)
    assert even == pytest.approx(cells.mean())
    assert np.isnan(pixels.cell_share(-np.abs(importance), cells, PATCH)[0])
    flat = pixels.cell_share(np.ones((2, 4)), cells, PATCH)
    assert flat[0] == flat[1] == even


def test_a_true_attribution_beats_random_orders():
    plane = torch.zeros(8, 16)
    plane[:, :8] = torch.rand(8, 8, generator=torch.Generator().manual_seed(2)) + 0.5
    cells = plane.numpy() > 0
    fill = torch.zeros(8, 16)
    true = pixels.occlusion(sums, LEFT, plane, fill, PATCH)
    scores, curves = pixels.examined(
        sums, LEFT, plane, fill, cells, {"occlusion": true, "wrong": -true}, PATCH, orders=39
    )
    found = scores.set_index(["attribution", "test"])
    assert (found.loc["occlusion", "p_value"] <= 2 / 40).all()
    assert found.loc[("occlusion", "on cells"), "value"] == 1
    assert found.loc[("wrong", "deletion"), "p_value"] > 0.9
    assert np.isnan(found.loc[("wrong", "on cells"), ["value", "p_value"]].tolist()).all()
    deletion = curves[(curves["attribution"] == "occlusion") & (curves["test"] == "deletion")]
    assert found.loc[("occlusion", "deletion"), "value"] == pixels.area(deletion["score"])
    assert deletion["score"].iloc[0] == pytest.approx(float(plane.sum()), rel=1e-6)
    assert deletion["score"].iloc[-1] == 0
    random = curves[curves["attribution"] == "random"].pivot(
        index="patches", columns="test", values="score"
    )
    np.testing.assert_allclose(random["deletion"], random["insertion"][::-1])
    assert found.loc[("occlusion", "deletion"), "random"] == pytest.approx(
        pixels.area(random["deletion"])
    )


def test_a_tile_of_cells_alone_is_not_asked_whether_more_lies_on_cells():
    plane = tile()
    cells = np.ones((8, 16), bool)
    fill = pixels.background(plane, cells)
    maps = {"map": np.arange(8.0).reshape(2, 4)}
    scores, _ = pixels.examined(sums, LEFT, plane, fill, cells, maps, PATCH)
    found = scores.set_index("test")
    asked = ["value", "random", "random_low", "random_high", "p_value"]
    assert found.loc["on cells", asked].isna().all()
    assert found.loc[["deletion", "insertion"], asked].notna().all(axis=None)
    assert (scores["cells"] == 1).all()
    cells[:, :2] = False
    scores, _ = pixels.examined(sums, LEFT, plane, fill, cells, maps, PATCH)
    assert scores[asked].notna().all(axis=None) and (scores["cells"] == 0.875).all()


def test_too_few_pixels_beside_cells_are_no_background():
    assert not pixels.all_cells(np.arange(200) >= 3)
    cells = (np.arange(200) >= 2).reshape(10, 20)
    assert pixels.all_cells(cells)
    plane = torch.arange(200, dtype=torch.float32).flip(0).reshape(10, 20) / 200
    # The two pixels outside cells are the brightest; the darkest twentieth stands in for them.
    made = pixels.background(plane, cells)
    assert made.max() == pytest.approx(9 / 200) and made.unique().numel() > 2


def test_an_attribution_of_other_patches_is_refused():
    with pytest.raises(ValueError, match=r"map has \(2, 2\) patches; a patch of 4 .* \(2, 4\)"):
        pixels.examined(
            sums, LEFT, tile(), tile(1), np.ones((8, 16), bool), {"map": np.ones((2, 2))}, PATCH
        )
    with pytest.raises(ValueError, match="orders is 0"):
        pixels.examined(sums, LEFT, tile(), tile(1), np.ones((8, 16), bool), {}, PATCH, orders=0)


def plain_rollout(model, x, layers):
    """Roll-out from the weights, written out."""
    state, heads = model.weights(), vit.ARCHITECTURES[model.config.arch][2]
    tokens = nn.functional.conv2d(
        x, state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], stride=16
    )
    tokens = tokens.flatten(2).mT
    batch, _, width = tokens.shape
    tokens = torch.cat([state["cls_token"].expand(batch, -1, -1), tokens], 1) + state["pos_embed"]
    flow = torch.eye(tokens.shape[1])
    for i in range(layers):
        part = {k.split(".", 2)[2]: v for k, v in state.items() if k.startswith(f"blocks.{i}.")}
        norm = nn.functional.layer_norm(
            tokens, (width,), part["norm1.weight"], part["norm1.bias"], 1e-6
        )
        qkv = norm @ part["attn.qkv.weight"].T + part["attn.qkv.bias"]
        q, k, _ = qkv.view(batch, -1, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
        attention = (q @ k.mT / (width // heads) ** 0.5).softmax(-1).mean(1)
        flow = (0.5 * attention + 0.5 * torch.eye(tokens.shape[1])) @ flow
        tokens = model.backbone.blocks[i](tokens)
    return flow


@pytest.mark.parametrize(
    ("pooling", "block"), [("cls", None), ("mean", None), ("cls_mean_max", 5), ("max", 2)]
)
def test_rollout_equals_the_formulas(pooling, block):
    config = vit.ModelConfig(arch="vit_tiny", size=64, pooling=pooling, block=block)
    model = vit.seeded(config, 3)
    x = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    made = pixels.rollout(model, x, 16)
    with torch.inference_mode():
        flow = plain_rollout(model, x, block or 12)
        before = model(x)
    rows = {"cls": flow[:, 0, 1:], "mean": flow[:, 1:, 1:].mean(1), "max": flow[:, 1:, 1:].mean(1)}
    expected = torch.stack([rows[name] for name in pooling.split("_")]).mean(0)
    expected = (expected / expected.sum(1, keepdim=True)).reshape(2, 4, 4).numpy()
    np.testing.assert_allclose(made, expected, rtol=1e-4)
    coarse = pixels.rollout(model, x, 32)
    np.testing.assert_allclose(coarse[:, 0, 1], made[:, :2, 2:].sum((1, 2)), rtol=1e-5)
    # The model is as it was.
    assert all(layer.attn.fused_attn for layer in model.backbone.blocks)
    assert not any(layer.attn.attn_drop._forward_hooks for layer in model.backbone.blocks)
    with torch.inference_mode():
        torch.testing.assert_close(model(x), before)
    with pytest.raises(ValueError, match="patch is 24; it must be a multiple of the model's 16"):
        pixels.rollout(model, x, 24)


def test_other_networks_have_no_attention():
    model = unidino.load_model("random_vit", arch="timm:test_efficientnet")
    with pytest.raises(pixels.NoAttention, match="no attention that could be rolled out"):
        pixels.rollout(model, torch.rand(1, 1, 64, 64), 16)


def test_tiles_and_cells_of_sites():
    metadata = unidino.CSVMetadata("data/example/plate.csv")
    model = unidino.load_model()
    read = list(pixels.read_tiles(metadata, [5, 2], model, dataset.plate_statistics(metadata)))
    assert [row for row, _, _ in read] == [2, 5]
    images = unidino.Dataset(
        metadata, use_crops_with_metadata=True, size=112, foreground_channel="any"
    )
    statistics = dataset.plate_statistics(metadata).set_index("channel")
    thresholds = statistics.loc[metadata.channels, "threshold"].to_numpy()
    for row, made, cells in read:
        item = images[row]
        kept = item["crops"][:, item["labels"]].squeeze(2).transpose(0, 1)
        torch.testing.assert_close(made, kept)
        raw, _ = images.image(row)
        grid = tiles.tile_grid(*raw.shape[1:], 112)
        shares = tiles.foreground_shares(raw, grid, 112, thresholds, "any")
        np.testing.assert_allclose(cells.mean((1, 2)), shares[item["labels"].numpy()])


def test_sites_of_wells_and_every_second_plate():
    metadata = unidino.CSVMetadata("data/example/plate.csv")
    table = metadata.metadata
    wells = pd.DataFrame({"Metadata_Plate": table["plate"], "Metadata_Well": table["well"]})
    assert pixels.rows_of(metadata, wells.iloc[[7, 3]]) == [3, 7]
    with pytest.raises(ValueError, match="no site of plate lies in the 1 wells, such as x A01"):
        pixels.rows_of(metadata, wells.iloc[:1].assign(Metadata_Plate="x"))
    with pytest.raises(ValueError, match="lies in the 0 wells, such as none"):
        pixels.rows_of(metadata, wells.iloc[:0])
    assert pixels.every_second_plate(metadata) == set()
    table["plate"] = [f"p{i % 5}" for i in range(len(table))]
    held = pixels.every_second_plate(metadata)
    assert held == set(np.flatnonzero(table["plate"].isin(["p1", "p3"])))


def test_a_case_is_looked_at_where_its_axis_was_not_made():
    rng = np.random.default_rng(0)
    sites = {}
    for row in range(12):
        level = 0.5 if row < 6 else 1.0 + row / 100
        planes = rng.random((3, 2, 8, 16)).astype(np.float32)
        planes[:, 1] *= level
        sites[row] = torch.from_numpy(planes), rng.random((3, 8, 16)) > 0.5
    held = {4, 5, 10, 11}
    made = pixels.case(sites, sums, 1, range(6), range(6, 12), held, 2)

    def embedded(rows):
        return sums(torch.cat([sites[row][0][:, 1:] for row in rows]))

    way = pixels.axis(embedded(range(4)), embedded(range(6, 10)))
    np.testing.assert_allclose(made.axis.weights, way.weights)
    assert made.fitted == (12, 12)
    control, treated = way(embedded([4, 5])), way(embedded([10, 11]))
    assert made.position == pytest.approx((control.mean(), treated.mean()))
    labels = [0] * len(control) + [1] * len(treated)
    assert made.apart == pytest.approx(roc_auc_score(labels, [*control, *treated]))
    nearest = int(np.abs(control).argmin())
    torch.testing.assert_close(made.control[0], sites[4 + nearest // 3][0][nearest % 3, 1])
    furthest = np.argsort(-treated)[:2]
    for (plane, cells), number in zip(made.treated, furthest, strict=True):
        torch.testing.assert_close(plane, sites[10 + number // 3][0][number % 3, 1])
        np.testing.assert_array_equal(cells, sites[10 + number // 3][1][number % 3])
    with pytest.raises(ValueError, match="no site of the controls is held out"):
        pixels.case(sites, sums, 1, range(6), range(6, 12), {10})
    with pytest.raises(ValueError, match="no site of the treatment is left for the axis"):
        pixels.case(sites, sums, 1, range(6), [10, 11], held)
    with pytest.raises(ValueError, match="count is 0"):
        pixels.case(sites, sums, 1, range(6), range(6, 12), held, 0)


@pytest.fixture(scope="module")
def dim_plate(tmp_path_factory):
    """Six sites of the example plate in two channels; in four the first is black, but for corners.

    The sixth shows nothing in any channel.
    """
    folder = tmp_path_factory.mktemp("plate")
    table = pd.read_csv("data/example/plate.csv").iloc[:6]
    channels = unidino.CSVMetadata("data/example/plate.csv").channels[:2]
    stored = {}
    for name in channels:
        for row, file in enumerate(table[name]):
            image = tifffile.imread(Path("data/example", file))
            if (row > 1 and name == channels[0]) or row == 5:
                dark = image.copy()
                dark[:, :] = np.percentile(image, 1)
                if row < 4:
                    dark[:112, :112] = image[:112, :112]
                image = dark
            stored[name, row] = f"{name}_{row}.tif"
            tifffile.imwrite(folder / stored[name, row], image)
    for name in channels:
        table[name] = [stored[name, row] for row in range(6)]
    others = [c for c in table if c in unidino.CSVMetadata("data/example/plate.csv").channels[2:]]
    table.drop(columns=others).to_csv(folder / "plate.csv", index=False)
    return folder


def test_profiles_by_any_channel_are_those_of_such_an_extraction(dim_plate, tmp_path):
    common = {"valset": str(dim_plate / "plate.csv"), "norm_method": "no_post_proc"}
    common |= {"precision": "fp32"}
    by_first = unidino.extract(**common, outdir=str(tmp_path / "first"))
    by_any = unidino.extract(**common, outdir=str(tmp_path / "any"), foreground_channel="any")
    gone = pixels.left_out_tiles(by_first.profiles)
    assert gone.tolist()[:2] == [0, 0] and (gone[2:] > 0).all()
    made = pixels.by_any_channel(
        by_first.profiles,
        by_first.metadata,
        Embedder(unidino.load_model(), 64, torch.device("cpu")),
        dataset.plate_statistics(by_first.metadata),
    )
    features = tables.feature_columns(made)
    assert list(made.columns) == list(by_first.profiles.columns)
    np.testing.assert_allclose(made[features], by_any.profiles[features], atol=1e-5)
    assert not np.allclose(made[features], by_first.profiles[features], atol=1e-3)
    pd.testing.assert_frame_equal(made.iloc[:2], by_first.profiles.iloc[:2])


def test_profiles_of_all_tiles_stay_as_they_are():
    wells = pd.DataFrame({"Metadata_tiles": [6, 6], "Metadata_tiles_kept": [6, 6]})
    assert pixels.by_any_channel(wells, None, SimpleNamespace(model=None), None) is wells
    wells["Metadata_tiles_kept"] = [6, 4]
    assert pixels.left_out_tiles(wells).tolist() == [0, 2]
    bare = pd.DataFrame({"Metadata_Well": ["A01", "A02"]})
    assert pixels.left_out_tiles(bare).tolist() == [0, 0]
