"""Extractions from LoadData tables: images elsewhere, functions of the illumination."""

import functools
import shutil
import zipfile

import numpy as np
import pandas as pd
import pytest
import tifffile

import unidino
from tests.serving import send, status
from unidino import images, paths, remote, tables
from unidino.metadata import Metadata
from unidino.valsets import CSVMetadata
from unidino.verify import verify

CHANNELS = ("DNA", "ER")
SHAPE = (48, 60)


def picture(seed):
    rng = np.random.default_rng(seed)
    image = rng.normal(300, 20, SHAPE)
    for y, x in rng.integers(4, 44, (6, 2)):
        image[y - 4 : y + 4, x - 4 : x + 4] += 1500 * rng.random()
    return image.round().astype(np.uint16)


def screen(folder, plates=("P", "Q"), wells=5):
    """Images of some plates; the table with their names, one row a site."""
    folder.mkdir(exist_ok=True)
    rows = []
    for p, plate in enumerate(plates):
        for w in range(wells):
            row = {"Metadata_Plate": plate, "Metadata_Well": f"A{w + 1:02d}"}
            for c, channel in enumerate(CHANNELS):
                row[channel] = f"{plate}{w}{channel}.tif"
                tifffile.imwrite(folder / row[channel], picture(100 * p + 10 * w + c))
            rows.append(row)
    return pd.DataFrame(rows)


def write(frame, path):
    frame.to_csv(path, index=False)
    return path


def serve(server, folder):
    for file in folder.iterdir():
        server.url(f"/{file.name}", file.read_bytes())


@pytest.fixture
def extract(weights, tmp_path):
    return functools.partial(
        unidino.extract,
        model=weights,
        outdir=str(tmp_path / "out"),
        norm_method="no_post_proc",
        device="cpu",
    )


def values(made):
    frame = made.profiles
    return frame[tables.feature_columns(frame)].to_numpy()


@pytest.fixture
def both(tmp_path, server):
    """The same images in two tables: of this machine, and of the server."""
    frame = screen(tmp_path / "data")
    serve(server, tmp_path / "data")
    here = write(frame, tmp_path / "data" / "here.csv")
    elsewhere = frame.rename(columns={name: f"FileName_{name}" for name in CHANNELS})
    for name in CHANNELS:
        elsewhere[f"PathName_{name}"] = f"http://{server.address}"
    return here, write(elsewhere, tmp_path / "elsewhere.csv")


def test_nothing_is_asked_without_leave(both, extract, server):
    with pytest.raises(ValueError, match="elsewhere: the table wants 20 files from elsewhere: 20 "):
        extract(str(both[1]))
    with pytest.raises(ValueError, match="set remote=True .--remote True, -p remote True"):
        unidino.open_valset(str(both[1]))
    with pytest.raises(
        ValueError, match="the table https://h/t.csv lies elsewhere. Fetch it and .*--remote True"
    ):
        unidino.open_valset("https://h/t.csv", remote=True)
    own = Metadata()
    own.metadata = pd.DataFrame({"path": [[f"http://{server.address}/P0DNA.tif"]]})
    own.single_channel_metadata = own.is_merged = False
    own.inference_metadata_columns = []
    with pytest.raises(ValueError, match="dataset: the table wants 1 file from elsewhere"):
        own.validate()
    with pytest.raises(ValueError, match="remote goes with a CSV, not with example_data"):
        unidino.open_valset("example_data", remote=True)
    assert unidino.open_valset(str(both[1]), remote=True).channels == list(CHANNELS)
    assert not server.asked


def test_plates_are_fetched_in_their_turn_and_once(both, extract, server, tmp_path, capfd):
    here, elsewhere = (extract(str(both[0])), extract(str(both[1]), remote=True))
    np.testing.assert_allclose(values(elsewhere), values(here), atol=1e-6)
    assert sorted(server.asked) == sorted(
        f"/{file.name}" for file in (tmp_path / "data").glob("*.tif")
    )
    # Few images tell how large they are; the others come plate by plate.
    order = [name[1] for name in server.asked]
    assert order[: len(order) - order[::-1].index("P")].count("Q") <= 6
    assert "fetching images: 100%" in capfd.readouterr().err
    paths_ = elsewhere.sites()["Metadata_path"]
    assert paths_.tolist()[1] == f"http://{server.address}/P1DNA.tif"
    # What is finished needs neither server nor copies.
    shutil.rmtree(paths.fetched_folder())
    assert verify(elsewhere.profiles_path.parent) == []
    again = extract(str(both[1]), remote=True)
    np.testing.assert_array_equal(values(again), values(elsewhere))
    assert len(server.asked) == 20


def test_members_of_an_archive_are_a_plate_like_files(both, extract, tmp_path):
    frame = pd.read_csv(both[0])
    with zipfile.ZipFile(tmp_path / "data" / "all.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in CHANNELS:
            for file in frame[name]:
                archive.write(tmp_path / "data" / file, f"in/{file}")
            frame[name] = [f"zip://in/{file}::all.zip" for file in frame[name]]
    packed = write(frame, tmp_path / "data" / "packed.csv")
    with pytest.raises(
        ValueError, match="wants 20 files in archives of this machine: 20 of the archive /.*all.z"
    ):
        extract(str(packed))
    made = extract(str(packed), remote=True)
    np.testing.assert_allclose(values(made), values(extract(str(both[0]))), atol=1e-6)
    frame.loc[0, "DNA"] = "zip://in/none.tif::all.zip"
    with pytest.raises(FileNotFoundError, match="1 of 20 image files are missing.*\n.*in/none.tif"):
        extract(str(write(frame, tmp_path / "data" / "lost.csv")), remote=True, max_missing=0.0)


def test_other_processes_read_the_copies(both, extract, server):
    here = extract(str(both[0]))
    made = extract(str(both[1]), remote=True, num_workers=1)
    np.testing.assert_allclose(values(made), values(here), atol=1e-6)
    assert len(server.asked) == 20


def test_tables_without_plates_are_fetched_at_once(both, extract, server, tmp_path):
    frame = pd.read_csv(both[1]).drop(columns="Metadata_Plate")
    frame["Metadata_Well"] = [f"B{i + 1:02d}" for i in range(len(frame))]
    made = extract(str(write(frame, tmp_path / "wells.csv")), remote=True)
    assert made.counts["ok"] == 10 and len(server.asked) == 20


def test_a_file_that_is_gone_is_its_sites_failure(both, extract, server, tmp_path):
    server.answers["/Q1ER.tif"] = status(404)
    server.answers["/P2DNA.tif"] = b"II*\0"
    made = extract(str(both[1]), remote=True)
    sites = made.sites().set_index(["Metadata_Plate", "Metadata_Well"])
    base = f"http://{server.address}"
    assert sites.loc[("Q", "A02"), "Metadata_error"] == (
        f"{base}/Q1ER.tif: there is no such file (404). Correct the table."
    )
    assert sites.loc[("P", "A03"), "Metadata_error"].startswith(
        f"{base}/P2DNA.tif: not a readable image"
    )
    assert made.counts["failed"] == 2 and made.counts["ok"] == 8
    told = " ".join(made.warnings)
    assert f"1 of 5 sites are recorded as failed. The first: {base}/Q1ER.tif" in told
    with pytest.raises(ValueError, match="Q1ER.tif: there is no such file|P2DNA.tif: not a read"):
        extract(str(both[1]), remote=True, outdir=str(tmp_path / "strict"), on_error="raise")


def test_nothing_readable_stops_before_the_plates_are_fetched(both, extract, server):
    for name in list(server.answers):
        server.answers[name] = status(403)
    with pytest.raises(
        ValueError,
        match="none of the 6 sites that were looked at could be read. The first: .*refuses it .403",
    ):
        extract(str(both[1]), remote=True)


def test_a_run_that_loses_its_server_goes_on_later(both, extract, server, tmp_path, monkeypatch):
    """What is embedded stays, and what could not be fetched is no failed site."""
    monkeypatch.setattr(remote, "SILENT_FILES", 2)
    here = extract(str(both[0]))
    answers = dict(server.answers)

    def until_p_is_read(data):
        def answer(handler):
            gone = all(name in server.asked for name in answers if name.startswith("/P"))
            send(handler, b"" if gone else data, code=503 if gone else 200)

        return answer

    for name, data in answers.items():
        if name.startswith("/Q"):
            server.answers[name] = until_p_is_read(data)
    with pytest.raises(
        ConnectionError, match=r"did not answer for \d+ files .*answers 503.*embedded is kept"
    ):
        extract(str(both[1]), remote=True)
    assert len(list((tmp_path / "out").rglob("elsewhere/sites/P.parquet"))) == 1
    assert not list((tmp_path / "out").rglob("elsewhere/sites/Q.parquet"))
    server.answers |= answers
    made = extract(str(both[1]), remote=True)
    np.testing.assert_allclose(values(made), values(here), atol=1e-6)


def test_merged_images_elsewhere_tell_their_channels_by_a_few(extract, server, tmp_path):
    rows = []
    for i in range(40):
        both = np.stack([picture(i), picture(50 + i)])
        tifffile.imwrite(tmp_path / "m.tif", both, photometric="minisblack")
        url = server.url(f"/{i}.tif", (tmp_path / "m.tif").read_bytes())
        rows.append({"plate": f"P{i // 20}", "well": f"A{i % 20 + 1:02d}", "path": url})
    csv = write(pd.DataFrame(rows), tmp_path / "merged.csv")
    metadata = unidino.open_valset(str(csv), remote=True)
    assert metadata.channels == ["ch1", "ch2"]
    assert 0 < len(server.asked) <= 8


# Illumination functions of LoadData tables.


def function(folder, name, seed=0):
    """A smooth function around 1, as CellProfiler saves it."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]] / np.array(SHAPE)[:, None, None]
    values = 0.8 + 0.5 * (y + seed / 10) * x
    np.save(folder / name, values / np.median(values))
    return np.load(folder / name)


def load_data(frame, folder, illumination):
    """A LoadData table in the columns of JUMP: ``Orig`` images, functions without."""
    made = frame[["Metadata_Plate", "Metadata_Well"]].copy()
    for name in CHANNELS:
        made[f"FileName_{illumination}{name}"] = made["Metadata_Plate"] + f"_Illum{name}.npy"
        made[f"PathName_{illumination}{name}"] = str(folder / "illum")
        made[f"FileName_Orig{name}"] = frame[name]
        made[f"PathName_Orig{name}"] = str(folder)
    return made


@pytest.fixture
def vignetted(tmp_path):
    """A screen with functions for each plate and channel; its table."""
    frame = screen(tmp_path / "data")
    (tmp_path / "data" / "illum").mkdir()
    (tmp_path / "flat").mkdir()
    for p, plate in enumerate("PQ"):
        for c, name in enumerate(CHANNELS):
            made = function(tmp_path / "data" / "illum", f"{plate}_Illum{name}.npy", p + 2 * c)
            for file in frame.loc[frame["Metadata_Plate"] == plate, name]:
                image = tifffile.imread(tmp_path / "data" / file)
                tifffile.imwrite(tmp_path / "flat" / file, np.rint(image / made).astype(np.uint16))
    return frame


@pytest.mark.parametrize("illumination", ["Illum", "IllumOrig", "illum", "Illum_"])
def test_functions_are_those_of_the_channels_that_they_name(illumination, vignetted, tmp_path):
    table = write(load_data(vignetted, tmp_path / "data", illumination), tmp_path / "load_data.csv")
    metadata = unidino.open_valset(str(table))
    assert metadata.channels == ["OrigDNA", "OrigER"]
    assert metadata.illumination(9) == [
        str(tmp_path / f"data/illum/Q_Illum{name}.npy") for name in CHANNELS
    ]


def test_functions_of_a_load_data_table_are_applied(vignetted, extract, tmp_path):
    table = write(load_data(vignetted, tmp_path / "data", "Illum"), tmp_path / "load_data.csv")
    made = extract(str(table))
    assert not [name for name in made.sites() if "llum" in name]
    flat = extract(str(write(vignetted, tmp_path / "flat" / "flat.csv")))
    np.testing.assert_allclose(values(made), values(flat), atol=1e-6)
    raw = extract(str(write(vignetted, tmp_path / "data" / "raw.csv")))
    assert np.abs(values(raw) - values(flat)).max() > 1e-3
    out = str(tmp_path / "as they are")
    np.testing.assert_array_equal(
        values(extract(str(table), illumination="none", outdir=out)), values(raw)
    )


def test_functions_elsewhere(vignetted, extract, server, tmp_path):
    serve(server, tmp_path / "flat")
    base = f"http://{server.address}"
    for file in (tmp_path / "data" / "illum").iterdir():
        server.url(f"/illum/{file.name}", file.read_bytes())
    frame = load_data(vignetted, tmp_path / "data", "Illum")
    for name in CHANNELS:
        frame[f"PathName_Illum{name}"] = f"{base}/illum"
    table = write(frame, tmp_path / "load_data.csv")
    with pytest.raises(ValueError, match="the table wants 4 files from elsewhere"):
        extract(str(table))
    made = extract(str(table), remote=True)
    flat = extract(str(write(vignetted, tmp_path / "flat" / "flat.csv")))
    np.testing.assert_allclose(values(made), values(flat), atol=1e-6)
    assert sorted(server.asked) == [f"/illum/{p}_Illum{c}.npy" for p in "PQ" for c in CHANNELS]


def test_a_real_field_elsewhere_with_functions(extract, server, tmp_path):
    root = paths.real_data_root()
    folder = root and root / "cellpainting_fovs" / "jump_r01c02f01"
    if folder is None or not folder.is_dir():
        pytest.skip("the real fields are not here: set UNIDINO_REAL to their folder")
    rows, flat = {"Metadata_Plate": "P", "Metadata_Well": "A02"}, {"plate": "P", "well": "A02"}
    for c, name in enumerate(CHANNELS):
        file = folder / f"r01c02f01p01-ch{c + 1}sk1fk1fl1.tiff"
        image = tifffile.imread(file)
        y, x = np.mgrid[-1 : 1 : image.shape[0] * 1j, -1 : 1 : image.shape[1] * 1j]
        light = 1.2 - 0.3 * (x**2 + y**2)
        np.save(tmp_path / f"P_Illum{name}.npy", light)
        corrected = np.clip(np.rint(image / light), 0, 65535).astype(np.uint16)
        tifffile.imwrite(tmp_path / f"{name}.tif", corrected)
        flat[f"Orig{name}"] = f"{name}.tif"
        rows[f"URL_Orig{name}"] = server.url(f"/{file.name}", file.read_bytes())
        npy = f"P_Illum{name}.npy"
        rows[f"URL_Illum{name}"] = server.url(f"/{npy}", (tmp_path / npy).read_bytes())
    made = extract(
        str(write(pd.DataFrame([rows]), tmp_path / "load_data.csv")),
        remote=True,
        resize_shorter_side=200,
    )
    expected = extract(
        str(write(pd.DataFrame([flat]), tmp_path / "flat.csv")), resize_shorter_side=200
    )
    np.testing.assert_allclose(values(made), values(expected), atol=1e-6)
    assert len(server.asked) == 4


def told(tmp_path, text, **options):
    for name in "ab":
        tifffile.imwrite(tmp_path / f"{name}.tif", picture(1 + ord(name)))
    for name in "fgh":
        function(tmp_path, f"{name}.npy")
    (tmp_path / "t.csv").write_text(text)
    return CSVMetadata(tmp_path / "t.csv", **options)


def test_functions_go_with_the_channels_that_have_them(tmp_path, capfd):
    metadata = told(tmp_path, "Well,DNA,ER,Illum_ER\nA1,a.tif,b.tif,f.npy\n")
    assert metadata.illumination(0) == [None, str(tmp_path / "f.npy")]
    assert "t: DNA has no illumination functions: these images are used" in capfd.readouterr().err
    metadata.select_channels("ER")
    assert metadata.illumination(0) == [str(tmp_path / "f.npy")]
    text = "Well,DNA,ER,IllumDNA,IllumER\nA1,a.tif,b.tif,f.npy,g.npy\n"
    metadata = told(tmp_path, text, channels="ER")
    assert metadata.illumination(0) == [str(tmp_path / "g.npy")]
    text = "Well,OrigDNA,DNA,IllumOrigDNA,IllumDNA\nA1,a.tif,b.tif,f.npy,g.npy\n"
    assert told(tmp_path, text).illumination(0) == [str(tmp_path / f"{n}.npy") for n in "fg"]
    text = "Well,Site,DNA,IllumDNA\nA1,1,a.tif,f.npy\nA1,2,b.tif,\n"
    metadata = told(tmp_path, text)
    assert [metadata.illumination(i) for i in (0, 1)] == [[str(tmp_path / "f.npy")], [None]]
    # What is called so and names no file describes sites.
    text = "Well,DNA,IlluminationType\nA1,a.tif,LED\n"
    assert told(tmp_path, text).inference_metadata_columns == ["well", "IlluminationType"]


WRONG = {
    "no channel": (
        "Well,DNA,IllumRNA\nA1,a.tif,f.npy\n",
        "the column IllumRNA holds illumination functions of a channel that the table does not "
        "have; it has DNA. Call it Illum and a channel's name, or remove it.",
    ),
    "no channel of LoadData": (
        "Well,FileName_OrigDNA,FileName_IllumRNA\nA1,a.tif,f.npy\n",
        "the column IllumRNA holds illumination functions of a channel that the table does not "
        "have; it has OrigDNA.",
    ),
    "twice": (
        "Well,DNA,IllumDNA,Illum_OrigDNA\nA1,a.tif,f.npy,g.npy\n",
        "the columns IllumDNA and Illum_OrigDNA both hold the illumination functions of the "
        "channel DNA. Remove one.",
    ),
    "of MATLAB": (
        "Well,FileName_DNA,FileName_IllumDNA\nA1,a.tif,f.mat\n",
        "the column IllumDNA of row 1 holds f.mat; expected an illumination function, ending in "
        ".npy, .tif, .tiff. Have CellProfiler save it as npy, or remove the column",
    ),
    "merged": (
        "Well,path,IllumDNA\nA1,a.tif,f.npy\n",
        "the columns IllumDNA hold illumination functions, which go with one column of images a "
        "channel.",
    ),
    "a row an image": (
        "Well,channel,file,IllumDNA\nA1,DNA,a.tif,f.npy\nA1,ER,b.tif,\n",
        "the columns IllumDNA hold illumination functions, which go with one column",
    ),
    "a column of that name": (
        "Well,DNA,illumination\nA1,a.tif,LED\n",
        "has a column illumination, as illumination functions are called here. Rename it.",
    ),
    "missing": (
        "Well,DNA,IllumDNA\nA1,a.tif,none.npy\n",
        "1 of 1 illumination functions are missing",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_mistakes_with_functions_are_named(case, tmp_path):
    text, message = WRONG[case]
    with pytest.raises((ValueError, FileNotFoundError)) as raised:
        told(tmp_path, text)
    assert message in str(raised.value)


def test_an_image_is_an_image_by_its_address(tmp_path, server):
    files = {"q": "?sig=a.png#x.csv", "plain": ""}
    tifffile.imwrite(tmp_path / "a.tif", picture(0))
    for name, query in files.items():
        url = server.url("/a.tif", (tmp_path / "a.tif").read_bytes()) + query
        (tmp_path / f"{name}.csv").write_text(f"Well,DNA,note\nA1,{url},x\n")
        metadata = CSVMetadata(tmp_path / f"{name}.csv", remote=True)
        assert metadata.channels == ["DNA"]
        np.testing.assert_array_equal(images.read_image(metadata.paths(0)[0])[0], picture(0))
