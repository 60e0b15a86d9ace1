"""Illumination functions of whole plates: given, estimated, stored, taken up again, told of."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import tifffile

import unidino
from unidino import dataset, flatfield, illumination, paths, plate_illumination, tables
from unidino.pages import extraction, plots
from unidino.simulate import microscope
from unidino.train.data import open_training_set
from unidino.verify import verify
from unidino.verify.origin import opened

SHAPE = (64, 80)
CHANNELS = ["DNA", "ER"]


def _light(v, shape=SHAPE):
    y, x = (np.linspace(-1, 1, side) for side in shape)
    return 1 - v * (y[:, None] ** 2 + x**2) / 2


def _field(rng, shape=SHAPE):
    """Discs on a faint ground, (H, W), evenly lit."""
    y, x = np.indices(shape)
    image = np.full(shape, 300.0)
    for _ in range(12):
        cy, cx = rng.uniform(0, shape[0]), rng.uniform(0, shape[1])
        image += 2000 * rng.random() * ((y - cy) ** 2 + (x - cx) ** 2 < 60)
    return image


def _write(folder, plates=2, wells=6, vignette=(0.5, 0.2)):
    """A CSV of plates that are lit unevenly, each channel in its own way."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for plate in range(plates):
        for well in range(wells):
            row = {"plate": f"p{plate}", "well": f"A{well + 1:02d}"}
            row["control_type"] = "negcon" if well < 4 else None
            rng = np.random.default_rng([plate, well])
            for channel, v in zip(CHANNELS, vignette, strict=True):
                row[channel] = f"{plate}_{well}_{channel}.tif"
                lit = _field(rng) * _light(v)
                tifffile.imwrite(folder / row[channel], np.rint(lit).astype(np.uint16))
            rows.append(row)
    pd.DataFrame(rows).to_csv(folder / "plate.csv", index=False)
    return folder / "plate.csv"


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return _write(tmp_path_factory.mktemp("plate"))


def _run(table, weights, outdir, **options):
    options = {"device": "cpu", "num_workers": 0, "precision": "fp32"} | options
    return unidino.extract(str(table), model=weights, outdir=str(outdir), **options)


@pytest.fixture(scope="module")
def estimated(table, weights, tmp_path_factory):
    return _run(table, weights, tmp_path_factory.mktemp("estimated"), illumination="estimate")


def _features(made):
    return made.sites().filter(regex="^emb_").to_numpy()


def _functions(made):
    """{(plate, channel): function} of the files that stand with an extraction."""
    folder = made.sites_path.parent / "illumination"
    return {(f.parent.name, f.stem): np.load(f) for f in sorted(folder.rglob("*.npy"))}


def test_a_function_is_that_of_the_mean_image(table, estimated):
    metadata = unidino.open_valset(str(table))
    found = _functions(estimated)
    assert found.keys() == {(p, c) for p in ("p0", "p1") for c in CHANNELS}
    for (plate, channel), function in found.items():
        rows = np.flatnonzero(metadata.metadata["plate"] == plate)
        c = CHANNELS.index(channel)
        mean = np.mean([tifffile.imread(metadata.paths(i)[c]).astype(float) for i in rows], 0)
        means = flatfield.block_means(flatfield.block_sums(mean), 1, SHAPE)
        assert function.dtype == np.float32
        np.testing.assert_allclose(function, flatfield.function(means, SHAPE), rtol=1e-6)


def test_an_estimate_is_applied_as_if_it_were_given(table, estimated, weights, tmp_path):
    named = estimated.sites_path.parent / "illumination/{plate}/{channel}.npy"
    given = _run(table, weights, tmp_path / "given", illumination=str(named))
    np.testing.assert_array_equal(_features(given), _features(estimated))
    divided = tmp_path / "divided"
    divided.mkdir()
    metadata = given.metadata
    frame = pd.read_csv(table)
    for i in range(len(frame)):
        for c, plane in enumerate(dataset.load_site(metadata, i)):
            tifffile.imwrite(divided / frame[CHANNELS[c]].iloc[i], plane)
    frame.to_csv(divided / "plate.csv", index=False)
    plain = _run(divided / "plate.csv", weights, tmp_path / "plain")
    np.testing.assert_array_equal(_features(plain), _features(given))
    untouched = _run(table, weights, tmp_path / "untouched")
    assert np.abs(_features(untouched) - _features(given)).max() > 1e-3


def test_provenance_says_which_functions(table, estimated, weights, tmp_path):
    settings = estimated.provenance["settings"]
    assert settings["illumination"] == plate_illumination.settings()
    for file, _ in estimated.site_tables():
        told = tables.read_provenance(file)["illumination"]
        assert told["kind"] == "estimated" and told["sites"] == 6
        for channel, one in told["functions"].items():
            stored = file.parents[1] / "illumination" / file.stem / f"{channel}.npy"
            assert one["sha256"] == tables.sha256_file(stored)
            function = np.load(stored).astype(float)
            assert one["spread"] == pytest.approx(function.std() / function.mean())
            assert one["error"] > 0
    named = str(estimated.sites_path.parent / "illumination/p0/DNA.npy")
    given = _run(table, weights, tmp_path, illumination=named)
    assert given.provenance["settings"]["illumination"] == "given"
    recorded = json.loads(paths.settings_file(given.sites_path.parent).read_text())
    assert opened(recorded)[0].metadata.illumination(0) == [named] * 2
    file, _ = next(given.site_tables())
    digest = tables.sha256_file(named)
    assert tables.read_provenance(file)["illumination"] == {
        "kind": "given",
        "functions": {channel: [digest] for channel in CHANNELS},
    }
    plain = _run(table, weights, tmp_path / "none", illumination="none")
    assert "illumination" not in plain.provenance["settings"]
    assert "illumination" not in tables.read_provenance(next(plain.site_tables())[0])
    with pytest.raises(ValueError, match="illumination was 'given', is None"):
        _run(table, weights, tmp_path)


def test_the_images_of_an_extraction_are_the_corrected_ones(table, estimated):
    plain = unidino.open_valset(str(table))
    raw, seen = (dataset.load_site(one, 0) for one in (plain, estimated.metadata))
    functions = [np.load(file) for file in estimated.metadata.illumination(0)]
    for c in range(2):
        np.testing.assert_array_equal(seen[c], np.rint(raw[c] / functions[c].astype(float)))


def test_a_killed_run_goes_on_with_the_same_functions(
    table, estimated, weights, tmp_path, monkeypatch
):
    write, written = tables.write_table, []

    def killed(frame, path, provenance=None):
        if written:
            raise KeyboardInterrupt
        written.append(path)
        write(frame, path, provenance)

    monkeypatch.setattr(tables, "write_table", killed)
    with pytest.raises(KeyboardInterrupt):
        _run(table, weights, tmp_path, illumination="estimate")
    monkeypatch.undo()
    folder = next(tmp_path.rglob("illumination"))
    before = {f: f.stat().st_mtime_ns for f in folder.rglob("*.npy")}
    assert len(before) == 4
    next(folder.rglob("p1/ER.npy")).write_bytes(b"cut short")
    made = _run(table, weights, tmp_path, illumination="estimate")
    np.testing.assert_array_equal(_features(made), _features(estimated))
    found, expected = _functions(made), _functions(estimated)
    for key in expected:
        assert found[key].tobytes() == expected[key].tobytes()
    again = {f: f.stat().st_mtime_ns for f in folder.rglob("*.npy")}
    assert {f.parent.name for f in before if before[f] != again[f]} == {"p1"}


def test_shards_of_a_plate_agree(table, estimated, weights, tmp_path):
    # Five shards of two plates: plates are divided, and each part finds or makes its function.
    for number in range(1, 6):
        _run(table, weights, tmp_path, illumination="estimate", shard=f"{number}/5", batch_size=8)
    made = _run(table, weights, tmp_path, illumination="estimate", batch_size=8)
    np.testing.assert_allclose(_features(made), _features(estimated), atol=1e-5)
    for key, function in _functions(estimated).items():
        assert _functions(made)[key].tobytes() == function.tobytes()


def test_a_dataset_without_plates_has_one_function_a_channel(table, weights, tmp_path):
    frame = pd.read_csv(table)[CHANNELS]
    frame = frame.assign(**{c: [str(table.parent / f) for f in frame[c]] for c in CHANNELS})
    frame.to_csv(tmp_path / "loose.csv", index=False)
    made = _run(tmp_path / "loose.csv", weights, tmp_path, illumination="estimate", reference="all")
    assert _functions(made).keys() == {("illumination", channel) for channel in CHANNELS}
    file, _ = next(made.site_tables())
    assert tables.read_provenance(file)["illumination"]["sites"] == 12
    raw = tifffile.imread(frame["DNA"].iloc[3])
    function = _functions(made)["illumination", "DNA"].astype(float)
    np.testing.assert_array_equal(dataset.load_site(made.metadata, 3)[0], np.rint(raw / function))


def test_what_an_overwrite_discards_are_functions_too(table, estimated, weights, tmp_path):
    _run(table, weights, tmp_path, illumination="estimate")
    made = _run(table, weights, tmp_path, illumination="none", overwrite=True)
    assert not _functions(made)


def _planes(stack):
    """A dataset in memory, one channel, whose sites are planes (N, H, W)."""
    return SimpleNamespace(valset="d", channels=["DNA"], stack=stack, paths=lambda i: [f"{i}.tif"])


@pytest.fixture
def in_memory(monkeypatch):
    monkeypatch.setattr(dataset, "read_site", lambda m, i: np.asarray(m.stack[i])[None])


def test_the_error_that_is_told_is_the_error_that_is_made(in_memory):
    # Even light, so that the whole function is error. Of 12 plates the mean squares are each those
    # of more than 100 independent values (a function has more than 10): their ratio is that of two
    # chi squares, within 1.9 but for one in a thousand.
    made, told = [], []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        stack = [_field(rng) for _ in range(16)]
        (function,), (measured,), count = plate_illumination.estimate(
            _planes(stack), range(16), "plate p"
        )
        assert count == 16
        made.append(flatfield.difference(function, np.ones(SHAPE)) ** 2)
        told.append(measured["error"] ** 2)
        assert measured["spread"] == pytest.approx(made[-1] ** 0.5)
    assert 1 / 1.9 < np.mean(told) / np.mean(made) < 1.9


@pytest.mark.parametrize("vignette", [0.3, 0.6])
def test_the_light_of_a_simulated_microscope_is_found(in_memory, vignette):
    # A slide of even brightness: nothing but the light and the camera's noise, which a function
    # averages out. The centre of the light is drawn anew for each image, with variance 0.15^2 along
    # each axis; the function is that of the mean. Offset 0: it is not lit.
    camera = microscope.Camera(vignette=vignette, offset=0.0)
    rng = np.random.default_rng(0)
    stack = [
        microscope.photograph(rng, np.full(SHAPE, 1.0), camera, background=0) for _ in range(64)
    ]
    (function,), (measured,), _ = plate_illumination.estimate(_planes(stack), range(64), "plate p")
    light = _light(vignette) - vignette * 2 * 0.15**2 / 2
    # The drawn centres tilt the mean by v c y, with c of standard error 0.15 / 8 along each axis;
    # lines miss the curvature (see test_flatfield), in places of 1/64 and 1/80 of the field.
    tilt = 4 * vignette * 0.15 / 8 * 2
    sigma = 2 * flatfield.WIDTH * np.array([1, SHAPE[0] / SHAPE[1]])
    curvature = vignette / 2 * (sigma**2).sum() * 1.8
    ratio = function / light
    assert np.abs(ratio / ratio.mean() - 1).max() < (tilt + curvature) / light.min()
    corrected = np.mean(stack, 0) / function
    before, after = (np.std(one) / np.mean(one) for one in (np.mean(stack, 0), corrected))
    assert after < before / 4
    assert measured["spread"] > plate_illumination.TOLD * measured["error"]


def test_unreadable_sites_are_left_out(monkeypatch):
    def read(metadata, i):
        if i % 3 == 0:
            raise ValueError("damaged")
        return np.full((1, *SHAPE), 100 + i)

    monkeypatch.setattr(dataset, "read_site", read)
    order = [5, 3, 4, 0, 1, 2]
    assert plate_illumination.estimate(_planes(None), order, "p")[2] == 4
    assert plate_illumination.estimate(_planes(None), order, "p", sites=3)[2] == 3
    read = [row for row, *_ in plate_illumination._read(_planes(None), order, "p", 3)]
    assert read == [5, 4, 1]


def test_what_cannot_be_estimated_is_told(in_memory):
    even = np.full(SHAPE, 9)
    with pytest.raises(ValueError, match="plate p: 1 of 1 sites could be read, .* two or more"):
        plate_illumination.estimate(_planes([even]), [0], "plate p")
    with pytest.raises(ValueError, match="0.tif is 64 x 80 pixels and 1.tif 80 x 64: one illum"):
        plate_illumination.estimate(_planes([even, even.T]), [0, 1], "plate p")
    dark = even * 1000
    dark[:, :20] = 1
    with pytest.raises(ValueError, match="d, plate p, channel DNA: .* taken for uneven light"):
        plate_illumination.estimate(_planes([dark, dark]), [0, 1], "plate p")
    dead = plate_illumination.estimate(_planes([even * 0, even * 0]), [0, 1], "plate p")
    np.testing.assert_array_equal(dead[0][0], 1)
    assert dead[1] == [{"error": 0.0, "spread": 0.0}]


def test_a_function_that_may_be_chance_is_noted(weights, tmp_path):
    table = _write(tmp_path / "even", plates=1, vignette=(0.0, 0.0))
    for well in range(6):  # no cells that could hide the light
        file = tmp_path / "even" / f"0_{well}_ER.tif"
        tifffile.imwrite(file, np.rint(9000 * _light(0.6)).astype(np.uint16))
    made = _run(table, weights, tmp_path, illumination="estimate")
    (note,) = [w for w in made.warnings if "cannot be told from chance" in w]
    assert "1 of 2 estimated illumination functions" in note and "that of DNA, plate p0" in note
    record = json.loads(next(tmp_path.rglob("illumination.json")).read_text())
    assert plate_illumination.untold(record) == ["DNA"]


def test_functions_are_named_by_columns(table, tmp_path):
    for plate in ("p0", "p1"):
        for channel in ("Nuclei", "ER"):
            np.save(tmp_path / f"{plate}_{channel}.npy", np.ones(SHAPE))
    template = f"{tmp_path}/{{plate}}_{{channel}}.npy"
    metadata = unidino.open_valset(str(table), illumination=template, channels="ER,Nuclei=DNA")
    assert metadata.illumination(6) == [f"{tmp_path}/p1_{c}.npy" for c in ("ER", "Nuclei")]
    assert metadata.metadata["illumination"].iat[6] is metadata.metadata["illumination"].iat[7]
    assert "illumination" not in metadata.inference_metadata_columns
    alone = unidino.open_valset(str(table), True, illumination=template, channels="ER,Nuclei=DNA")
    assert [alone.illumination(i) for i in (0, 1)] == [
        [f"{tmp_path}/p0_{c}.npy"] for c in ("ER", "Nuclei")
    ]
    for word in ("none", "estimate"):
        illumination.choose(metadata, word)
        assert not metadata.illumination_files()


@pytest.mark.parametrize(
    "given, message",
    [
        ("flat", "illumination is 'flat'; expected 'none', 'estimate', or where the functions lie"),
        ("{plate.npy", "illumination '{plate.npy' has odd braces"),
        ("https://h/{plate}.npy", "illumination 'https://h/{plate}.npy' is an address; functions"),
        ("{}.npy", "is to name columns in its braces and nothing else"),
        ("{plate!r}.npy", "is to name columns in its braces and nothing else"),
        ("{plate:>5}.npy", "is to name columns in its braces and nothing else"),
        ("{plate.__class__}.npy", "illumination names plate.__class__ in braces; the columns of"),
        (
            "{Stain}.npy",
            "names Stain in braces; the columns of plate are plate, well, control_type",
        ),
        ("{control_type}.npy", "plate has no control_type in row 5"),
    ],
)
def test_odd_names_of_functions_are_refused(table, given, message):
    with pytest.raises(ValueError) as error:
        unidino.open_valset(str(table), illumination=given)
    assert message in str(error.value)


def test_given_functions_are_checked_before_anything_is_made(table, weights, tmp_path):
    template = f"{tmp_path}/{{plate}}.npy"
    np.save(tmp_path / "p0.npy", np.ones(SHAPE))
    with pytest.raises(
        FileNotFoundError, match=r"1 of 2 illumination functions are missing[^|]*p1"
    ):
        _run(table, weights, tmp_path / "out", illumination=template)
    np.save(tmp_path / "p1.npy", np.ones(SHAPE[::-1]))
    with pytest.raises(ValueError, match="p1.npy: is 80 x 64 pixels, and the image .* 64 x 80"):
        _run(table, weights, tmp_path / "out", illumination=template)
    np.save(tmp_path / "p1.npy", np.zeros(SHAPE))
    with pytest.raises(ValueError, match="p1.npy: holds 5120 values that are not above 0"):
        _run(table, weights, tmp_path / "out", illumination=template)
    with pytest.raises(ValueError, match="illumination is 'flat'"):
        _run(table, weights, tmp_path / "out", illumination="flat")
    assert not list((tmp_path / "out").rglob("*.parquet"))


def test_the_names_of_functions_differ_whatever_the_disk(tmp_path):
    files = paths.illumination_functions(tmp_path, ["ER", "er", "a/b"])
    assert len({str(file).lower() for file in files.values()}) == 3
    assert {file.parent for file in files.values()} == {tmp_path}
    table = paths.site_tables(tmp_path, [("b", "p.1")])["b", "p.1"]
    assert paths.illumination_folder(tmp_path, table) == tmp_path / "illumination" / "b" / "p.1"


def _relative(planes):
    """The mean image of planes over the blocks of a field, relative to its mean."""
    mean = np.mean([plane.astype(float) for plane in planes], 0)
    means = flatfield.block_means(flatfield.block_sums(mean), 1, SHAPE)
    return means / means.mean()


def test_a_page_shows_the_mean_image_before_and_after(table, estimated):
    shown = extraction.light(estimated)
    raw = unidino.open_valset(str(table))
    rows = np.flatnonzero(raw.metadata["plate"] == "p0")
    for c in range(2):
        for name, metadata in (("before", raw), ("after", estimated.metadata)):
            expected = _relative([dataset.load_site(metadata, i)[c] for i in rows])
            np.testing.assert_allclose(shown[name][c], expected)
    function = _functions(estimated)["p0", "DNA"].astype(float)
    expected = flatfield.block_means(flatfield.block_sums(function), 1, SHAPE)
    np.testing.assert_allclose(shown["functions"][0], expected)
    assert shown["heading"] == "plate, plate p0, real: 6 sites"
    figure = plots.illumination(**shown)
    assert [axis.get_title() for axis in figure.axes[:4]] == [
        "function", "mean image before", "mean image after", "across the middle",
    ]  # fmt: skip
    assert [axis.get_ylabel() for axis in figure.axes[0:8:4]] == CHANNELS
    plots.plt.close(figure)


def test_a_page_says_what_was_corrected(table, estimated, weights, tmp_path):
    told = extraction.what_was_corrected(estimated)
    records = [json.loads(f.read_text()) for f in estimated.sites_path.parent.rglob("illum*.json")]
    errors = [one["error"] for r in records for one in r["functions"].values()]
    assert "for each channel from 6 sites on each of 2 plates" in told
    assert f"is {np.median(errors):.1%} (median) and at most {max(errors):.1%}" in told
    plain = _run(table, weights, tmp_path)
    assert "No illumination function is applied" in extraction.what_was_corrected(plain)
    assert extraction.light(plain) is extraction.illumination_figure(plain) is None
    settings = {"settings": {"illumination": "given"}}
    assert "that the dataset gives" in extraction.what_was_corrected(
        SimpleNamespace(provenance=settings)
    )


def test_training_takes_the_images_as_they_are_and_says_so(table, tmp_path):
    np.save(tmp_path / "illum.npy", np.full(SHAPE, 2.0))
    frame = pd.read_csv(table)
    listed = pd.DataFrame({"Metadata_Plate": frame["plate"], "Metadata_Well": frame["well"]})
    listed["FileName_DNA"], listed["PathName_DNA"] = frame["DNA"], str(table.parent)
    listed["FileName_IllumDNA"], listed["PathName_IllumDNA"] = "illum.npy", str(tmp_path)
    listed.to_csv(tmp_path / "load_data.csv", index=False)
    opened = unidino.open_valset(str(tmp_path / "load_data.csv"))
    assert opened.illumination_files() == [str(tmp_path / "illum.npy")]
    trained = open_training_set(str(tmp_path / "load_data.csv"))
    assert not trained.illumination_files()
    assert "its illumination functions are not applied in training" in trained.notes[-1]
    plain = unidino.open_valset(str(table), channels="DNA")
    np.testing.assert_array_equal(dataset.load_site(trained, 0), dataset.load_site(plain, 0))


def test_functions_are_verified(estimated, weights, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(estimated.sites_path.parent, folder)
    assert verify(folder) == []
    (folder / "illumination/p0/DNA.npy").unlink()
    np.save(folder / "illumination/p1/ER.npy", np.ones(SHAPE))
    (folder / "illumination/p1/notes.txt").write_text("mine")
    found = {(f.kind, f.file): f.what for f in verify(folder)}
    assert found == {
        ("note", "illumination/p1/notes.txt"): "is nothing that an extraction writes",
        ("wrong", "illumination/p0/DNA.npy"): (
            "is missing that sites/p0.parquet says its images were divided by"
        ),
        ("wrong", "illumination/p1/ER.npy"): (
            "is not the one that sites/p1.parquet says its images were divided by"
        ),
    }


def test_the_light_of_a_real_plate_is_even_after_the_division(tmp_path):
    # Functions of every second field, and the others divided by them: what is left of the light is
    # the error of two means of half the fields each, the function's and that of what is divided.
    root = paths.real_data_root()
    if root is None:
        pytest.skip("the real images of AS_09047 are absent (set UNIDINO_REAL)")
    files = sorted((root / "train_more" / "cp_illum").glob("*.png"))
    wells = [f"A{i + 1:02d}" for i in range(len(files))]
    frame = pd.DataFrame({"plate": "AS_09047", "well": wells, "d2": list(map(str, files))})
    frame.to_csv(tmp_path / "plate.csv", index=False)
    stored = unidino.open_valset(str(tmp_path / "plate.csv"))
    halves = [list(range(first, len(files), 2)) for first in (0, 1)]
    (function,), (told,), count = plate_illumination.estimate(stored, halves[0], "plate AS_09047")
    assert count == len(halves[0])
    np.save(tmp_path / "AS_09047_d2.npy", function)
    template = str(tmp_path / "{plate}_{channel}.npy")
    given = unidino.open_valset(str(tmp_path / "plate.csv"), illumination=template)
    width = flatfield.WIDTH * flatfield.BLOCKS
    before, after, _ = plate_illumination.mean_images(given, halves[1])
    spreads = [flatfield.smoothed(mean[0], width).std() for mean in (before, after)]
    assert spreads[0] == pytest.approx(told["spread"], abs=3 * told["error"])
    assert spreads[1] < 3 * np.sqrt(2) * told["error"] < spreads[0] / 2
