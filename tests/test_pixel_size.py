"""The size of pixels from files and tables to models: known, compared, rescaled to."""

import copy

import numpy as np
import pandas as pd
import pytest
import tifffile
import torch
from PIL import Image

import unidino
from unidino import dataset, identity, images, inference, tables
from unidino.models import checkpoints, load_model, vit
from unidino.train import data as training_data


def cells(seed, shape=(96, 130)):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    image = rng.normal(400, 40, shape)
    for _ in range(8):
        cy, cx = rng.uniform(0, shape[0]), rng.uniform(0, shape[1])
        image += 9000 * ((y - cy) ** 2 + (x - cx) ** 2 < 200)
    return image.clip(0, 65535).astype(np.uint16)


def write(path, image, size=None):
    told = {} if size is None else {"resolution": (1e4 / size, 1e4 / size)}
    tifffile.imwrite(path, image, **told, **({"resolutionunit": "CENTIMETER"} if told else {}))


def make_plate(folder, sizes, column=None, wells=8, images_of=cells):
    """A CSV of one channel; `sizes` of the files, repeated, and of the column pixel_size."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for well in range(wells):
        write(folder / f"{well}.tif", images_of(well), sizes[well % len(sizes)])
        row = {"DNA": f"{well}.tif", "plate": "p", "well": f"A{well + 1:02d}"}
        rows.append(row | {"control_type": "negcon" if well < 4 else None})
    frame = pd.DataFrame(rows)
    if column is not None:
        frame["pixel_size"] = column
    frame.to_csv(folder / "plate.csv", index=False)
    return folder / "plate.csv"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Paths of the same small model, of unknown pixels and of pixels of 0.65 µm."""
    folder = tmp_path_factory.mktemp("weights")
    made = {}
    for size in (None, 0.65):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            config = vit.ModelConfig(arch="vit_tiny", size=48, pixel_size=size)
            checkpoints.save_model(vit.EmbeddingModel(config), folder / f"{size}.safetensors")
        made[size] = str(folder / f"{size}.safetensors")
    return made


def run(csv, model, outdir, **options):
    options = {"norm_method": "no_post_proc", "precision": "fp32"} | options
    return unidino.extract(str(csv), model=model, outdir=str(outdir), **options)


def opened(csv):
    return unidino.open_valset(str(csv))


def test_the_size_that_most_files_say(tmp_path):
    assert opened(make_plate(tmp_path / "a", [0.65])).pixel_size == 0.65
    assert opened(make_plate(tmp_path / "b", [None])).pixel_size is None
    mixed = opened(make_plate(tmp_path / "c", [0.65, 0.65, 0.65, 0.325]))
    assert mixed.pixel_size == 0.65
    halves = opened(make_plate(tmp_path / "d", [0.65, 0.325]))
    assert halves.pixel_size is None and halves.pixel_sizes == {0.65: 4, 0.325: 4}
    assert list(mixed.pixel_sizes) == [0.65, 0.325]
    assert opened(tmp_path / "b" / "plate.csv").pixel_sizes == {}


def test_a_column_says_it_before_the_files_do(tmp_path):
    assert opened(make_plate(tmp_path / "a", [0.65], column=0.2)).pixel_size == 0.2
    partly = [0.2, None, None, None, None, None, None, None]
    made = opened(make_plate(tmp_path / "b", [0.65], column=partly))
    assert made.pixel_size == 0.65
    assert [made.stated_pixel_size(i) for i in (0, 1)] == [0.2, None]


@pytest.mark.parametrize("value", ["0.65 um", 0, -1, "inf"])
def test_a_column_of_anything_else(value, tmp_path):
    csv = make_plate(tmp_path, [None], column=[0.5, value, *[0.5] * 6])
    with pytest.raises(ValueError, match="column pixel_size of row 2 holds .*expected the size"):
        opened(csv)


def test_the_size_as_read(tmp_path):
    made = opened(make_plate(tmp_path, [0.5]))
    assert made.read_pixel_size == 0.5
    made.resize_shorter_side = 48
    assert made.read_pixel_size == 1.0
    made.resize_shorter_side = 4000
    assert made.read_pixel_size == 0.5
    made.target_pixel_size = 0.8
    assert made.read_pixel_size == 0.8


def by_pillow(image, size):
    """An independent antialiased bilinear resize."""
    made = Image.fromarray(image.astype(np.float32)).resize(size[::-1], Image.Resampling.BILINEAR)
    return np.rint(np.asarray(made))


@pytest.mark.parametrize("target", [1.0, 0.75, 0.65, 0.5, 0.4, 0.25])
def test_images_are_rescaled_as_another_library_does(target, tmp_path):
    made = opened(make_plate(tmp_path, [0.5], wells=2))
    raw = dataset.load_site(made, 0)
    made.target_pixel_size = target
    rescaled = dataset.load_site(made, 0)
    size = (round(96 * 0.5 / target), round(130 * 0.5 / target))
    assert rescaled.shape == (1, *size) and rescaled.dtype == np.uint16
    expected = by_pillow(raw[0], size)
    assert np.abs(rescaled[0].astype(float) - expected).max() <= 1
    assert dataset.sides_read(made, dataset.site_headers(made)[0]) == size


def test_each_image_is_rescaled_by_its_own_size(tmp_path):
    made = opened(make_plate(tmp_path / "a", [0.65, 0.325], wells=2))
    made.target_pixel_size = 0.65
    assert [dataset.load_site(made, i).shape for i in (0, 1)] == [(1, 96, 130), (1, 48, 65)]
    made = opened(make_plate(tmp_path / "b", [0.65], column=[0.65, 1.3], wells=2))
    made.target_pixel_size = 0.65
    assert [dataset.load_site(made, i).shape for i in (0, 1)] == [(1, 96, 130), (1, 192, 260)]


def test_an_extraction_of_larger_images_equals_that_of_rescaled_ones(weights, tmp_path):
    fine = make_plate(tmp_path / "fine", [0.325])

    def coarse(seed):
        return by_pillow(cells(seed), (48, 65)).astype(np.uint16)

    same = make_plate(tmp_path / "coarse", [0.65], images_of=coarse)
    rescaled = run(fine, weights[None], tmp_path / "one", pixel_size=0.65)
    plain = run(same, weights[None], tmp_path / "two")
    features = tables.feature_columns(plain.profiles)
    one, two = (made.profiles[features].to_numpy() for made in (rescaled, plain))
    untouched = run(fine, weights[None], tmp_path / "three").profiles[features].to_numpy()
    # Libraries round a few pixels differently.
    assert np.abs(one - two).max() < 0.01 * np.abs(one - untouched).max()
    assert rescaled.provenance["settings"]["pixel_size"] == 0.65
    assert rescaled.provenance["pixel_size"] == 0.325
    assert "pixel_size" not in plain.provenance["settings"]
    assert rescaled.counts["tiles"] == plain.counts["tiles"]


def test_sizes_are_part_of_what_an_embedding_is_of(weights, tmp_path):
    csv = make_plate(tmp_path / "data", [None], column=0.5)
    run(csv, weights[None], tmp_path / "out", pixel_size=1.0)
    made = opened(csv)
    before = identity.image_ids(made, [0])
    made.target_pixel_size = 1.0
    assert identity.image_ids(made, [0]) != before
    frame = pd.read_csv(csv).assign(pixel_size=0.25)
    frame.to_csv(csv, index=False)
    with pytest.raises(ValueError, match="8 of 8 sites have other images"):
        run(csv, weights[None], tmp_path / "out", pixel_size=1.0)
    # Without rescaling it is a label: nothing is embedded again.
    run(csv, weights[None], tmp_path / "plain")
    frame.assign(pixel_size=0.125).to_csv(csv, index=False)
    run(csv, weights[None], tmp_path / "plain")


def test_images_of_unknown_pixels_are_not_rescaled(weights, tmp_path):
    csv = make_plate(tmp_path / "a", [None])
    with pytest.raises(ValueError, match="files of plate do not say it. Give it in µm by a column"):
        run(csv, weights[None], tmp_path / "out", pixel_size=0.65)
    csv = make_plate(tmp_path / "b", [0.65, 0.65, 0.65, None])
    made = run(csv, weights[None], tmp_path / "out", pixel_size=1.0)
    errors = made.sites().set_index("Metadata_Well")["Metadata_error"]
    assert errors.notna().to_numpy().nonzero()[0].tolist() == [3, 7]
    assert "3.tif: does not say the size of its pixels" in errors["A04"]
    table = opened(csv)
    table.target_pixel_size = 1.0
    with pytest.raises(images.ImageError, match="3.tif: does not say the size of its pixels"):
        dataset.load_site(table, 3)


def test_images_that_would_become_vast(tmp_path, monkeypatch):
    made = opened(make_plate(tmp_path, [0.5], wells=1))
    made.target_pixel_size = 0.005
    monkeypatch.setenv("UNIDINO_MAX_PIXELS", "1000000")
    with pytest.raises(images.ImageError, match="124,800,000 pixels once it is rescaled"):
        dataset.load_site(made, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pixel_size": 0}, "pixel_size is 0; expected µm, above 0"),
        ({"pixel_size": float("nan")}, "pixel_size is nan"),
        ({"pixel_size": 0.5, "resize_shorter_side": 100}, "both say how large images become"),
    ],
)
def test_parameters_that_say_nothing(options, message):
    with pytest.raises(ValueError, match=message):
        unidino.extract("x.csv", **options)


def test_a_size_replaces_the_datasets_own_resize(tmp_path):
    made = opened(make_plate(tmp_path, [0.5]))
    made.resize_shorter_side = 48
    inference._rescale(made, 1.0)
    assert (made.resize_shorter_side, made.target_pixel_size) == (None, 1.0)


# Models.


def warned(made):
    return [text for text in made.warnings if "was trained on pixels" in text]


def test_a_model_of_other_pixels_warns_once(weights, tmp_path, capsys):
    csv = make_plate(tmp_path / "data", [0.325])
    made = run(csv, weights[0.65], tmp_path / "out")
    (text,) = warned(made)
    assert "trained on pixels of 0.65 µm, those of the images are 0.325 µm" in text
    assert "cells 2 times as large as in training; pixel_size=0.65 rescales" in text
    assert capsys.readouterr().err.count("was trained on pixels") == 1
    assert not warned(run(csv, weights[0.65], tmp_path / "rescaled", pixel_size=0.65))
    assert not warned(run(csv, weights[None], tmp_path / "unknown"))


@pytest.mark.parametrize(("size", "count"), [(0.65, 0), (0.7, 0), (0.6, 0), (0.72, 1), (None, 0)])
def test_from_which_difference_on(size, count, weights, tmp_path):
    metadata = opened(make_plate(tmp_path, [size], wells=1))
    inference._compare_pixels(metadata, load_model(weights[0.65]))
    assert len(metadata.notes) == count


def test_images_of_several_sizes_are_said(weights, tmp_path):
    network = load_model(weights[None])
    for sizes, count in (([0.65, 0.65, 0.65, 0.325], 1), ([0.65, 0.66], 0), ([0.65, None], 0)):
        metadata = opened(make_plate(tmp_path / str(sizes), sizes))
        inference._compare_pixels(metadata, network)
        assert len(metadata.notes) == count
        if count:
            assert "several sizes (0.65 µm in 6, 0.325 µm in 2 of the sites" in metadata.notes[0]
        metadata.target_pixel_size = 0.65
        inference._compare_pixels(metadata, network)
        assert len(metadata.notes) == count


def test_the_size_travels_with_the_weights(weights):
    assert load_model(weights[0.65]).config.pixel_size == 0.65
    assert load_model(weights[None]).config.pixel_size is None
    # As files and extractions from before have it.
    assert "pixel_size" not in checkpoints.read_header(weights[None])["config"]
    assert "pixel_size" not in vit.ModelConfig().as_dict()


@pytest.mark.parametrize("value", [0.0, -1.0, float("inf"), float("nan")])
def test_no_size_of_a_model(value):
    with pytest.raises(ValueError, match="pixel_size is .*; expected µm, above 0"):
        vit.ModelConfig(pixel_size=value)


def test_the_size_that_training_sets_share(tmp_path):
    sets = [
        training_data.planes_of(opened(make_plate(tmp_path / str(n), [size])), 1, "dtype")
        for n, size in enumerate([0.65, 0.66, 0.325, None])
    ]
    assert [part.pixel_size for part in sets] == [0.65, 0.66, 0.325, None]
    shared = training_data.shared_pixel_size
    assert shared(sets[:1]) == 0.65
    assert shared(sets[:2]) == pytest.approx(0.655)
    assert shared(sets[:3]) is None and shared(sets[2:]) is None
    again = training_data.Planes.from_plain(copy.deepcopy(sets[0].plain()))
    assert again.pixel_size == 0.65 and again.reading == sets[0].reading
