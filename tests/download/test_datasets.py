"""The catalogue's entries from a server to the layout that is read here, and the command line."""

import gzip
import hashlib
import io
import json
import os
import re
import subprocess
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from unidino import cli, paths, simulate
from unidino.download import archives, catalogue, command, space, transfer
from unidino.download.command import fetch_entry
from unidino.models import zoo
from unidino.valsets import open_valset

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def simulated(tmp_path_factory):
    """The folder of a tiny BBBC021 of two plates, drawn once."""
    root = tmp_path_factory.mktemp("simulated")
    simulate.simulate("BBBC021", root, field=32, wells=11, plates=1, batches=2, workers=1)
    return root / "BBBC021_v1"


def served_entry(name, served, **values):
    """An entry of the catalogue, its https addresses led to the server, path and all."""
    entry = catalogue.find(name)

    def led(url):
        return served.url(url.removeprefix("https://"))

    moved = [replace(s, base=led(s.base), record=led(s.record)) for s in entry.sources]
    return replace(entry, sources=tuple(moved), **values)


@pytest.fixture
def bbbc021(simulated, served):
    """BBBC021 of the catalogue with the simulated plates in its place, on the server."""
    below = "data.broadinstitute.org/bbbc/BBBC021"
    for table in simulated.glob("BBBC021_v1_*.csv"):
        served.files[f"{below}/{table.name}"] = table.read_bytes()
    plates = sorted(folder.name for folder in (simulated / "Images").iterdir())
    for plate in plates:
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.mkdir(plate)
            for image in sorted((simulated / "Images" / plate).iterdir()):
                archive.write(image, f"{plate}/{image.name}")
        served.files[f"{below}/BBBC021_v1_images_{plate}.zip"] = packed.getvalue()
    return served_entry("BBBC021", served, parts=tuple(plates))


def archive_of(entry, served, i=0):
    return next(n for n in served.files if n.endswith(f"{entry.parts[i]}.zip"))


def test_bbbc021_is_opened_where_it_was_fetched(bbbc021, simulated, served, web, tmp_path):
    served.cuts[archive_of(bbbc021, served)] = [1000]
    folder = fetch_entry(bbbc021, web, root=tmp_path, accept_licence=True)
    got = open_valset("BBBC021", root=tmp_path)
    expected = open_valset("BBBC021", root=simulated.parent)
    moved = [
        [p.replace(str(simulated), str(folder)) for p in row] for row in expected.metadata.path
    ]
    pd.testing.assert_frame_equal(got.metadata, expected.metadata.assign(path=moved))
    for row in got.metadata.path:
        for file in row:
            origin = Path(file.replace(str(folder), str(simulated)))
            assert Path(file).read_bytes() == origin.read_bytes()
    hidden = paths.received_folder(folder)
    assert sorted(p.name for p in hidden.iterdir()) == ["lock", "received.jsonl"]


def test_a_second_run_fetches_nothing_and_a_lost_image_its_plate(bbbc021, served, web, tmp_path):
    folder = fetch_entry(bbbc021, web, root=tmp_path, accept_licence=True)
    served.asked.clear()
    fetch_entry(bbbc021, web, root=tmp_path, accept_licence=True)
    assert {method for method, *_ in served.asked} == {"HEAD"}
    lost = next((folder / "Images" / bbbc021.parts[1]).iterdir())
    content = lost.read_bytes()
    lost.unlink()
    served.asked.clear()
    fetch_entry(bbbc021, web, root=tmp_path, accept_licence=True)
    assert [p for m, p, _ in served.asked if m == "GET"] == [archive_of(bbbc021, served, 1)]
    assert lost.read_bytes() == content


def test_check_finds_an_image_that_changed(bbbc021, web, tmp_path):
    folder = fetch_entry(bbbc021, web, root=tmp_path, accept_licence=True)
    image = next((folder / "Images" / bbbc021.parts[0]).iterdir())
    content = bytearray(image.read_bytes())
    content[-1] ^= 1
    image.write_bytes(content)
    fetch_entry(bbbc021, web, root=tmp_path, accept_licence=True)
    with pytest.raises(ValueError, match=f"{image.name} is not what came out of its archive any m"):
        fetch_entry(bbbc021, web, root=tmp_path, accept_licence=True, check=True)


def test_an_archive_of_the_users_is_not_replaced(bbbc021, served, web, tmp_path):
    mine = tmp_path / "BBBC021_v1" / f"BBBC021_v1_images_{bbbc021.parts[0]}.zip"
    mine.parent.mkdir()
    mine.write_bytes(b"mine")
    options = {"root": tmp_path, "accept_licence": True, "keep_archives": True}
    with pytest.raises(transfer.TransferError, match="could not be had(?s:.*)is not what was publ"):
        fetch_entry(bbbc021, web, **options)
    assert mine.read_bytes() == b"mine"


def test_one_plate_and_then_the_rest(bbbc021, served, web, tmp_path, said):
    plate = bbbc021.parts[0]
    folder = fetch_entry(bbbc021, web, root=tmp_path, accept_licence=True, parts=plate)
    assert [p.name for p in (folder / "Images").iterdir()] == [plate]
    assert any("1 of 2 are there; extraction takes them with max_missing=0.99" in x for x in said)
    opened = open_valset("BBBC021", root=tmp_path, max_missing=0.99)
    assert set(opened.metadata.plate) == set(bbbc021.parts)
    fetch_entry(bbbc021, web, root=tmp_path, accept_licence=True, keep_archives=True)
    assert len(list(folder.glob("*.zip"))) == 1
    open_valset("BBBC021", root=tmp_path)


def test_a_killed_run_unpacks_what_it_had_fetched(bbbc021, served, web, tmp_path, monkeypatch):
    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(archives, "settle", killed)
        with pytest.raises(KeyboardInterrupt):
            fetch_entry(bbbc021, web, root=tmp_path, accept_licence=True, workers=1)
    hidden = paths.received_folder(tmp_path / "BBBC021_v1")
    (hidden / "left.unpacking").mkdir()
    assert len(list(hidden.glob("*.zip"))) == 1
    served.asked.clear()
    fetch_entry(bbbc021, web, root=tmp_path, accept_licence=True)
    assert archive_of(bbbc021, served) not in [p for m, p, _ in served.asked if m == "GET"]
    assert not list(hidden.glob("*.unpacking")) and not list(hidden.glob("*.zip"))
    open_valset("BBBC021", root=tmp_path)


def test_a_hostile_archive_leaves_nothing(bbbc021, served, web, tmp_path):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(f"{bbbc021.parts[0]}/a.tif", b"x")
        archive.writestr("../../../evil", b"x")
    served.files[archive_of(bbbc021, served)] = packed.getvalue()
    with pytest.raises(archives.HostileArchive, match="its member '../../../evil' has a path that"):
        fetch_entry(bbbc021, web, root=tmp_path / "root", accept_licence=True, workers=1)
    assert not list(tmp_path.rglob("evil")) and not list(tmp_path.rglob("a.tif"))


def test_a_disk_that_fills_up_while_unpacking(bbbc021, web, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(archives._Limits, "write", full)
    with pytest.raises(OSError, match="the disk of .*BBBC021_v1 is full. Free some; the same comm"):
        fetch_entry(bbbc021, web, root=tmp_path, accept_licence=True)


def test_a_licence_that_is_not_accepted(bbbc021, served, web, tmp_path, said):
    with pytest.raises(ValueError, match=r"the licence is © AstraZeneca .*accept it with accept_l"):
        fetch_entry(bbbc021, web, root=tmp_path)
    assert not served.asked and not list(tmp_path.iterdir())
    told = "\n".join(said)
    assert bbbc021.licence_url in told and all(text in told for text in bbbc021.cite)
    fetch_entry(bbbc021, web, root=tmp_path, accept_licence=True)
    record = (paths.received_folder(tmp_path / "BBBC021_v1") / "received.jsonl").read_text()
    accepted = [json.loads(x) for x in record.splitlines() if "accepted" in json.loads(x)]
    assert [line["licence"] for line in accepted] == [bbbc021.licence]


def test_a_dry_run_says_all_and_fetches_nothing(bbbc021, served, web, tmp_path, said):
    fetch_entry(bbbc021, web, root=tmp_path, dry_run=True)
    assert {method for method, *_ in served.asked} == {"HEAD"}
    told = "\n".join(said)
    size = sum(len(content) for content in served.files.values())
    assert f"fetch    5 files, {space.words(size)}" in told
    assert "GB needed" in told and str(tmp_path / "BBBC021_v1") in told
    assert not list((tmp_path / "BBBC021_v1").glob("*.csv"))


def test_sources_and_checksums_are_recorded(bbbc021, served, web, tmp_path):
    folder = fetch_entry(bbbc021, web, root=tmp_path, accept_licence=True)
    record = (paths.received_folder(folder) / "received.jsonl").read_text().splitlines()
    lines = {line["path"]: line for line in map(json.loads, record)}
    table = lines["BBBC021_v1_moa.csv"]
    content = (folder / "BBBC021_v1_moa.csv").read_bytes()
    assert table["sha256"] == hashlib.sha256(content).hexdigest()
    assert table["url"].endswith("/BBBC021_v1_moa.csv") and table["size"] == len(content)
    plate = lines[f"BBBC021_v1_images_{bbbc021.parts[0]}.zip"]
    assert len(plate["unpacked"]) == len(list((folder / "Images" / bbbc021.parts[0]).iterdir()))


def record(served, files):
    """Serve the record of Zenodo of the catalogue."""
    listed = []
    for name, content in files.items():
        served.files[f"f/{name}"] = content
        checksum = f"md5:{hashlib.md5(content).hexdigest()}"
        links = {"self": served.url(f"f/{name}")}
        listed.append({"key": name, "size": len(content), "checksum": checksum, "links": links})
    content = {"metadata": {"license": {"id": "cc-by-nc-4.0"}}, "files": listed}
    served.files["zenodo.org/api/records/14988837"] = json.dumps(content).encode()


def tar_of_folder(folder, top):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.add(folder, top)
    return packed.getvalue()


def packed_weights(name):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(name, b"weights")
        archive.writestr("model/LICENSE", b"text")
    return packed.getvalue()


@pytest.mark.parametrize(
    "files",
    [
        {"uniDINO.pth": b"weights", "embeddings.zip": b"no"},
        {"SSL_data/checkpoints/uniDINO.pth": b"weights"},
        {"model_weights.zip": packed_weights("model/checkpoints/uniDINO.pth"), "example.zip": b"x"},
    ],
    ids=["plain", "in a folder", "packed"],
)
def test_released_weights_are_found_by_name_afterwards(served, web, tmp_path, monkeypatch, files):
    monkeypatch.setenv("UNIDINO_DATA", str(tmp_path))
    record(served, files)
    entry = served_entry("weights", served)
    folder = fetch_entry(entry, web, accept_licence=True)
    assert folder == tmp_path / "checkpoints"
    assert zoo.weights_file("unidino") == folder / "uniDINO.pth"
    assert (folder / "uniDINO.pth").read_bytes() == b"weights"
    visible = [p.name for p in folder.iterdir() if not p.name.startswith(".")]
    assert visible == ["uniDINO.pth"]


def test_without_a_data_root_weights_go_where_they_are_looked_for(monkeypatch, tmp_path):
    monkeypatch.setattr(paths, "project_root", lambda: tmp_path)
    assert catalogue.find("weights").target() == paths.checkpoint_folders()[0]
    assert catalogue.find("HPA").target() == tmp_path / "data" / "downloaded" / "HPA"
    assert catalogue.find("HPA").target(tmp_path / "x") == tmp_path / "x" / "HPA"


def test_a_data_root_need_not_be_there_yet(monkeypatch, tmp_path):
    monkeypatch.setenv("UNIDINO_DATA", str(tmp_path / "new"))
    assert catalogue.find("weights").target() == tmp_path / "new" / "checkpoints"
    assert catalogue.find("HPA").target() == tmp_path / "new" / "HPA"


def test_absent_weights_name_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("UNIDINO_DATA", str(tmp_path))
    monkeypatch.setattr(paths, "project_root", lambda: tmp_path)
    with pytest.raises(FileNotFoundError, match="unidino download weights"):
        zoo.load_model("unidino")


def test_weights_in_an_archive_that_is_not_unpacked_here(served, web, tmp_path):
    record(served, {"weights.7z": b"7z"})
    entry = served_entry("weights", served)
    with pytest.raises(ValueError, match="'weights.7z' is neither uniDINO.pth nor an archive that"):
        fetch_entry(entry, web, root=tmp_path, accept_licence=True, parts="weights.7z")


def test_weights_that_the_archive_lacks(served, web, tmp_path):
    record(served, {"weights.zip": packed_weights("model/other.pth")})
    entry = served_entry("weights", served)
    with pytest.raises(
        ValueError, match="holds uniDINO.pth 0 times, expected once. It holds model/"
    ):
        fetch_entry(entry, web, root=tmp_path, accept_licence=True)


def test_the_example_plate_is_opened_where_it_was_fetched(served, web, tmp_path):
    simulate.simulate("example_data", tmp_path, field=32, wells=17, sites=1, workers=1)
    origin = tmp_path / "example_data"
    record(
        served, {"uniDINO.pth": b"no", "example_data.tar.gz": tar_of_folder(origin, "a/example")}
    )
    entry = served_entry("example_data", served)
    fetch_entry(entry, web, root=tmp_path / "root", accept_licence=True)
    got = open_valset("example_data", root=tmp_path / "root").metadata
    expected = open_valset("example_data", root=tmp_path).metadata
    assert len(got) == len(expected) > 0
    assert [Path(p).read_bytes() for p in got.path] == [Path(p).read_bytes() for p in expected.path]


def test_embeddings_are_unpacked(served, web, tmp_path):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("embeddings/BBBC021/bbbc021_unidino_mad_robustized.csv", b"plate,emb0\n")
    record(served, {"embeddings.zip": packed.getvalue(), "uniDINO.pth": b"no"})
    folder = fetch_entry(
        served_entry("embeddings", served), web, root=tmp_path, accept_licence=True
    )
    assert folder == tmp_path / "published_embeddings"
    assert (folder / "embeddings/BBBC021/bbbc021_unidino_mad_robustized.csv").is_file()


def test_cell_health_is_opened_where_it_was_fetched(served, web, tmp_path):
    options = {"field": 32, "wells": 19, "plates": 1, "batches": 1, "sites": 1, "workers": 1}
    simulate.simulate("cell-health", tmp_path, **options)
    origin = tmp_path / "Cell_Health"
    table = pd.read_csv(origin / "metadata.csv", dtype=str)
    plate = table.plate.iloc[0]
    names = {
        "plate": "Plate", "well": "Well", "cell_line": "Characteristics [Cell Line]",
        "reagent_identifier": "Reagent Identifier", "gene_symbol": "Gene Symbol",
        "control_type": "Control Type", "comment": "Comment [Image]",
    }  # fmt: skip
    rows = table[table.plate == plate].rename(columns=names)[list(names.values())]
    both = pd.concat([rows, rows.assign(Plate=f"{plate}_illum_corrected")])
    annotation = both.to_csv(index=False).encode()
    entry = served_entry("cell-health", served, parts=(plate,))
    notes, readouts, images = entry.sources
    (note,) = notes.files
    notes = replace(notes, files=(note | {"size": None, "checksum": None},))
    readouts = replace(readouts, files=tuple({"name": f["name"]} for f in readouts.files))
    entry = replace(entry, sources=(notes, readouts, images))
    served.files[notes.base.removeprefix(served.address + "/") + note["name"]] = annotation
    for file in readouts.files:
        served.files[readouts.base.removeprefix(served.address + "/") + file["name"]] = b"\x1f\x8b"
    below = images.base.removeprefix(served.address + "/").format(part=plate)
    files = sorted((origin / "idr0080" / "data" / plate / "Images").iterdir())
    links = "".join(f'<a href="{file.name}">{file.name}</a>' for file in files)
    served.files[below] = links.encode()
    for file in files:
        served.files[below + file.name] = file.read_bytes()
    folder = fetch_entry(entry, web, root=tmp_path / "root")
    got = open_valset("cell-health", root=tmp_path / "root").metadata
    assert set(got.plate) == {f"{plate}_illum_corrected"}
    assert sorted(Path(p).name for row in got.path for p in row) == [f.name for f in files]
    assert (folder / "cell_health_median.tsv.gz").is_file()


def test_what_cannot_be_fetched_says_what_to_do(tmp_path):
    with pytest.raises(ValueError) as caught:
        command.download("insect", root=tmp_path)
    told = str(caught.value)
    assert told.startswith("insect cannot be fetched by a program.\nBy hand, into")
    assert str(tmp_path / "picasso-monheim") in told
    assert not list(tmp_path.iterdir())


@pytest.fixture
def hpa(served, tmp_path):
    """HPA of the catalogue, its images on the server; the folder that a person prepares."""
    simulate.simulate("HPA", tmp_path, field=32, wells=3, workers=1)
    origin = tmp_path / "HPA"
    entry = served_entry("HPA", served)
    table = pd.read_csv(origin / "kaggle_2021.tsv")
    for address in table.Image:
        for ending in entry.sources[0].endings:
            image = origin / "images" / (address.split("/")[-1] + ending.removesuffix(".gz"))
            below = address.removeprefix("https://") + ending
            served.files[below] = gzip.compress(image.read_bytes())
    assert table.Image.str.startswith("https://images.proteinatlas.org/").all()
    table["Image"] = table.Image.str.replace("https://", served.url(), regex=False)
    folder = tmp_path / "root" / "HPA"
    folder.mkdir(parents=True)
    table.to_csv(folder / "kaggle_2021.tsv", index=False)
    return entry, folder


def test_hpa_is_fetched_by_the_table_that_a_person_brings(hpa, served, web, tmp_path, said):
    entry, folder = hpa
    fetch_entry(entry, web, root=tmp_path / "root")
    got = open_valset("HPA", root=tmp_path / "root").metadata
    expected = open_valset("HPA", root=tmp_path).metadata
    for mine, theirs in zip(got.path, expected.path, strict=True):
        assert [Path(p).read_bytes() for p in mine] == [Path(p).read_bytes() for p in theirs]
    assert not any("By hand" in line for line in said)
    served.asked.clear()
    fetch_entry(entry, web, root=tmp_path / "root")
    assert not any(method == "GET" for method, *_ in served.asked)


def test_sizes_of_many_files_are_those_of_a_few(hpa, served, web, tmp_path, said, monkeypatch):
    monkeypatch.setattr(command, "_ASKED", 3)
    monkeypatch.setattr(command, "_FEW", 4)
    entry, _ = hpa
    fetch_entry(entry, web, root=tmp_path / "root", dry_run=True)
    heads = [path for method, path, _ in served.asked if method == "HEAD"]
    assert len(heads) == 4
    mean = sum(len(served.files[path]) for path in heads) / 4
    (fetched,) = [line for line in said if "  fetch" in line]
    assert fetched == f"  fetch    12 files, about {space.words(round(12 * mean))}"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns="in_trainset"), "has no column in_trainset; expected those of"),
        (lambda t: t.assign(in_trainset=False), "has no row with in_trainset True"),
        (lambda t: t.assign(Image="https://example.org/x"), "line 2: the Image 'https://example"),
        (lambda t: t.assign(Image=t.Image + "\\x"), "line 2: the Image .* is no address below"),
        (None, "there is no kaggle_2021.tsv in .*HPA, the table that names the files"),
    ],
)
def test_tables_of_addresses_that_are_none(hpa, web, tmp_path, change, message):
    entry, folder = hpa
    file = folder / "kaggle_2021.tsv"
    if change is None:
        file.unlink()
    else:
        change(pd.read_csv(file)).to_csv(file, index=False)
    with pytest.raises(ValueError, match=f"(?s){message}.*By hand, into"):
        fetch_entry(entry, web, root=tmp_path / "root")


def test_what_remains_by_hand_is_said_at_the_end(served, web, tmp_path, said):
    entry = served_entry("BBBC037", served)
    (source,) = entry.sources
    path = source.base.removeprefix(served.address + "/") + source.files[0]["name"]
    served.files[path] = b"Plate,Well\n"
    folder = fetch_entry(entry, web, root=tmp_path)
    assert (folder / source.into / source.files[0]["name"]).is_file()
    assert any("By hand" in line and "BBBC037_image_path.csv" in line for line in said)


# The command line.


@pytest.mark.parametrize(
    ("given", "command"),
    [
        ([], r"-m unidino.download *$"),
        (["DATASET=BBBC021", "ARGS=--dry-run"], "-m unidino.download BBBC021 --dry-run$"),
    ],
)
def test_make_data(given, command):
    called = ["make", "-n", "-C", str(PROJECT), "--no-print-directory", "data", *given]
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    ran = subprocess.run(called, env=environment, capture_output=True, text=True, check=True)
    assert re.search(command, ran.stdout.strip())


def test_without_a_name_the_catalogue_is_listed(capsys):
    cli.main(["download"])
    listed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in listed[1:10]] == list(catalogue.entries())
    assert "CC BY-NC 4.0: not for commercial use" in listed[1]
    assert listed[-1] == "unidino download NAME fetches one; unidino download --help lists the " \
        "options."  # fmt: skip


@pytest.fixture
def on_loopback(bbbc021, web, monkeypatch):
    monkeypatch.setattr(catalogue, "find", lambda _: bbbc021)
    monkeypatch.setattr(transfer, "Web", lambda: web)


def test_the_command_line(on_loopback, tmp_path):
    words = ["download", "BBBC021", "--root", str(tmp_path), "--accept-licence", "True"]
    cli.main(words)
    open_valset("BBBC021", root=tmp_path)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["BBBC021"], "error: BBBC021: the licence is ©"),
        (["BBBC021", "--workers", "0"], "error: workers is 0; it must be above 0"),
        (["BBBC021", "--parts", "Week"], "error: BBBC021 has no plate 'Week'"),
    ],
)
def test_errors_end_the_command(on_loopback, tmp_path, words, message):
    with pytest.raises(SystemExit, match=message):
        cli.main(["download", *words, "--root", str(tmp_path)])


def test_wrong_types_and_names():
    with pytest.raises(TypeError, match="parameter accept_licence takes bool, got 'yes'"):
        command.download("weights", accept_licence="yes")
    with pytest.raises(ValueError, match="Did you mean BBBC021"):
        command.download("BBBC21")


def test_interrupted(on_loopback, web, tmp_path, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(command.sources, "items", interrupt)
    with pytest.raises(SystemExit, match="interrupted; the same command goes on where it stopped"):
        words = ["--accept-licence", "True", "--root", str(tmp_path)]
        cli.main(["download", "BBBC021", *words])
    assert not list(tmp_path.iterdir())
