"""The projection: directions that tell images apart, by definition and against a planted truth."""

import numpy as np
import pandas as pd
import pytest
import scipy.linalg
import tifffile
import torch

import unidino
from unidino import train as train_module
from unidino.models import checkpoints
from unidino.train.data import read_planes
from unidino.train.export import export
from unidino.train.projection import embed_images, fit_projection


def planted(images=60, crops=5, width=12, telling=3, seed=0):
    """Crops whose images differ in `telling` directions only, under strong common noise."""
    rng = np.random.default_rng(seed)
    mixing = np.linalg.qr(np.random.default_rng(99).standard_normal((width, width)))[0]
    labels = np.repeat(np.arange(images), crops)
    signal = np.zeros((images, width))
    signal[:, :telling] = rng.standard_normal((images, telling))
    noise = rng.standard_normal((len(labels), width)) * np.r_[np.full(telling, 0.1), [2.0] * 9]
    order = rng.permutation(len(labels))
    return ((signal[labels] + noise) @ mixing + 7)[order], labels[order]


def scatter(features, images):
    """Covariances within and between images, by their definition, crop by crop."""
    mean = features.mean(0)
    within, between = 0, 0
    for image in np.unique(images):
        part = features[images == image]
        for row in part:
            within = within + np.outer(row - part.mean(0), row - part.mean(0))
            between = between + np.outer(part.mean(0) - mean, part.mean(0) - mean)
    return within / len(features), between / len(features)


@pytest.mark.parametrize("shrinkage", [0.0, 0.03, 0.5])
@pytest.mark.parametrize("dim", [1, 3, 12])
def test_it_equals_the_generalised_eigenvectors(dim, shrinkage):
    features, images = planted()
    weight, bias = fit_projection(features, images, dim, shrinkage)
    within, between = scatter(features, images)
    spread = np.trace(within) / len(within) * np.eye(len(within))
    within = (1 - shrinkage) * within + shrinkage * spread
    # The total covariance takes the place of both together, shrunk alike.
    total = np.cov(features.T, bias=True)
    total = (1 - shrinkage) * total + shrinkage * np.trace(total) / len(total) * np.eye(len(total))
    _, vectors = scipy.linalg.eigh(total - within, within)
    expected = vectors[:, ::-1][:, :dim].T
    signs = np.sign((weight * expected).sum(1, keepdims=True))
    np.testing.assert_allclose(weight, signs * expected, rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(features.mean(0) @ weight.T + bias, 0, atol=1e-8)


def test_it_finds_what_is_common_to_the_crops_of_an_image():
    features, images = planted()
    weight, bias = fit_projection(features, images, 3)
    others, labels = planted(seed=1)

    def found(values):
        distance = np.linalg.norm(values[:, None] - values[None], axis=2)
        np.fill_diagonal(distance, np.inf)
        return (labels[distance.argmin(1)] == labels).mean()

    assert found(others) < 0.3 < 0.7 < found(others @ weight.T + bias)


def test_wrong_numbers_of_directions_and_crops():
    features, images = planted()
    with pytest.raises(ValueError, match="projected_dim is 13; expected 1 to 12: .* 12 features"):
        fit_projection(features, images, 13)
    few = images < 4
    with pytest.raises(ValueError, match="expected 1 to 3: .* the 4 images less one"):
        fit_projection(features[few], images[few], 4)
    images[0] = 1000
    with pytest.raises(ValueError, match="an image has a single crop"):
        fit_projection(features, images, 2)


@pytest.fixture
def trained(tmp_path):
    """The folder of a tiny training on bright and dark images."""
    rng = np.random.default_rng(0)
    for i in range(12):
        image = rng.normal(3000 * (1 + i), 800, (60, 60)).clip(0, 65535).astype(np.uint16)
        tifffile.imwrite(tmp_path / f"{i}.tif", image)
    pd.DataFrame({"path": [f"{i}.tif" for i in range(12)]}).to_csv(tmp_path / "a.csv", index=False)
    folder = tmp_path / "run"
    train_module.train(
        str(folder), arch="vit_tiny", embed_dim=24, size=32, local_size=16, local_crops_number=1,
        out_dim=16, epochs=1, epoch_length=8, batch_size_per_gpu=4, warmup_epochs=0,
        freeze_last_layer=0, warmup_teacher_temp_epochs=0, datasets=[str(tmp_path / "a.csv")],
        intensity_scaling="dtype", num_workers=0, device="cpu", zoom_min=0.8, zoom_max=1.2,
    )  # fmt: skip
    return folder


def test_crops_are_embedded_image_by_image(trained):
    weights = trained / "teacher.safetensors"
    model = checkpoints.load_checkpoint(weights)
    options = checkpoints.read_header(weights)["training"]
    sets = read_planes(trained)
    features, images = embed_images(model, sets, options, 60, 3, seed=4)
    assert features.shape == (180, 24) and images.shape == (180,)
    again = embed_images(model, sets, options, 60, 3, seed=4, batch_size=7)
    np.testing.assert_allclose(features, again[0], atol=1e-5)
    # Images differ in brightness alone, so the crops of one lie together.
    within, between = scatter(features.astype(float), images)
    assert np.trace(between) > np.trace(within)
    assert set(images) <= set(range(12)) and len(set(images)) > 8


def test_an_export_ends_in_the_projection(trained, tmp_path):
    made = export(
        str(trained), str(tmp_path / "p.safetensors"), "cls_mean_max", projected_dim=5,
        projection_images=40, projection_crops=4, projection_shrinkage=0.1, device="cpu", seed=3,
    )  # fmt: skip
    model = unidino.load_model(made)
    assert (model.embedding_dim, model.config.projected_dim) == (5, 5)
    header = checkpoints.read_header(made)
    assert header["projection"] == {
        "images": 40, "crops": 4, "seed": 3, "shrinkage": 0.1
    }  # fmt: skip
    plain = checkpoints.load_checkpoint(trained / "teacher.safetensors", pooling="cls_mean_max")
    x = torch.rand(3, 1, 32, 32)
    with torch.inference_mode():
        wanted = model.projection(plain(x))
        torch.testing.assert_close(model(x), wanted, atol=0.1, rtol=0.05)
        # Half precision before the projection does not reach into it.
        with torch.autocast("cpu", torch.bfloat16):
            assert model(x).dtype == torch.float32
    assert unidino.load_model(made, pooling="cls_mean_max").config == model.config
    with pytest.raises(ValueError, match="projection that was fitted to pooling cls_mean_max, not"):
        unidino.load_model(made, pooling="cls")


def test_wrong_projections_are_refused_before_work(trained, tmp_path):
    target = str(tmp_path / "p.safetensors")
    for options, message in (
        ({"projected_dim": 0}, "projected_dim is 0; it must be above 0"),
        ({"projected_dim": 4, "projection_images": 0}, "projection_images is 0"),
        ({"projected_dim": 4, "projection_crops": 1}, "projection_crops is 1; it must be 2"),
        ({"projection_shrinkage": 1.5}, "projection_shrinkage is 1.5; it is a share, 0 to 1"),
        ({"projected_dim": 40}, "projected_dim is 40; expected 1 to"),
        ({"projected_dim": 4, "device": "cuda:7"}, "device 'cuda:7' is not to be had here"),
    ):
        with pytest.raises(ValueError, match=message):
            export(str(trained), target, **{"projection_images": 50} | options)
    (trained / "planes.pt").unlink()
    with pytest.raises(FileNotFoundError, match="no planes.pt in .*: it is no folder of a trai"):
        export(str(trained), target, projected_dim=4)
