"""What is stored is read back: every kind of damage is found, named, and told what to do about."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
import tracemalloc

import filelock
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tifffile

import unidino
from unidino import cli, paths, profiles, sites, tables
from unidino.models import checkpoints, vit
from unidino.verify import verify

P0, P1 = "sites/p0.parquet", "sites/p1.parquet"
BEFORE, AFTER = (f"plate_{m}_well_features.parquet" for m in ("no_post_proc", "standardize"))


def images(folder, plates=("p0", "p1"), wells=6, fields=2):
    """A table of small images; the last site is damaged."""
    rng = np.random.default_rng(0)
    rows = []
    for plate in plates:
        for well in range(wells):
            for site in range(fields):
                name = f"img/{plate}_{well}_{site}.tif"
                image = rng.normal(2000, 200, (48, 48))
                image[10:30, 10:30] += 3000 + 2000 * rng.random()
                (folder / "img").mkdir(parents=True, exist_ok=True)
                tifffile.imwrite(folder / name, image.astype(np.uint16))
                kind = "negcon" if well < wells - 1 else None
                rows.append({"plate": plate, "well": f"A{well + 1:02d}", "site": site + 1,
                             "control_type": kind, "dna": name})  # fmt: skip
    (folder / name).write_bytes(b"no image")
    pd.DataFrame(rows).to_csv(folder / "plate.csv", index=False)
    return folder / "plate.csv"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    config = vit.arch_config("vit_tiny", embed_dim=12, size=32)
    checkpoints.save_model(vit.seeded(config, 0), path)
    return str(path)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return images(tmp_path_factory.mktemp("data"))


def extracted(table, weights, outdir, **options):
    """The folder of an extraction."""
    made = unidino.extract(str(table), model=weights, outdir=str(outdir), **options)
    return made.profiles_path.parent


@pytest.fixture(scope="module")
def original(data, weights, tmp_path_factory):
    return extracted(data, weights, tmp_path_factory.mktemp("out"), csv=True, correct="sphere")


@pytest.fixture
def folder(original, tmp_path):
    """A copy to be damaged."""
    return shutil.copytree(original, tmp_path / "copy" / "plate")


def told(folder, kind=None):
    return [str(f) for f in verify(folder) if kind in (None, f.kind)]


def rewrite(path, change, made=None):
    """A table with something changed, and its provenance, inside and beside it, as it was."""
    frame = tables.read_table(path)
    provenance = frame.attrs["provenance"] | (made or {})
    changed = change(frame)
    tables.write_table(frame if changed is None else changed, path, provenance)


def lose_dataset(folder):
    record = json.loads((folder / "settings.json").read_text())
    tables.write_json(folder / "settings.json", record | {"origin": "/gone/plate.csv"})


def test_an_extraction_is_well(original, capsys):
    assert verify(original) == verify(str(original)) == []
    cli.main(["verify", str(original)])
    *lines, summary = capsys.readouterr().out.splitlines()
    assert lines == [
        "fine   sites/p0.parquet: plate p0, 12 sites: 12 ok",
        "fine   sites/p1.parquet: plate p1, 12 sites: 11 ok, 1 failed",
        f"fine   {BEFORE}: 12 profiles of 12 features",
        "fine   plate_standardize_sphere_well_features.parquet: 12 profiles of 12 features",
        f"fine   {AFTER}: 12 profiles of 12 features",
    ]
    assert summary == f"{original}: 5 tables are fine, 0 things are wrong, 0 notes"


@pytest.mark.parametrize(
    "options",
    [{"operation": "median"}, {"operation": "none"}, {"norm_method": "no_post_proc"},
     {"l2norm": True}, {"channels": "nucleus=dna"}, {"correct": "position"}],
    ids=str,
)  # fmt: skip
def test_other_extractions_are_well(options, data, weights, tmp_path):
    assert verify(extracted(data, weights, tmp_path, **options)) == []


@pytest.mark.parametrize("lacking", [["plate"], ["plate", "well", "site"]])
def test_without_plates_or_wells(lacking, data, weights, tmp_path):
    frame = pd.read_csv(data)
    frame = frame[frame["plate"] == "p0"].drop(columns=lacking)
    frame["dna"] = [str(data.parent / name) for name in frame["dna"]]
    frame.to_csv(tmp_path / "screen.csv", index=False)
    made = extracted(tmp_path / "screen.csv", weights, tmp_path, reference="all")
    assert verify(made) == []
    rewrite(made / "sites" / "part-0000.parquet", lambda frame: frame.iloc[1:])
    lines = told(made, "wrong")
    assert any("its sites are {'ok': 11" in line for line in lines), lines
    frame.iloc[[*range(len(frame)), 0]].assign(
        dna=[*frame["dna"], str(data.parent / "img" / "p1_0_0.tif")]
    ).to_csv(tmp_path / "screen.csv", index=False)
    extracted_again = shutil.copytree(made, tmp_path / "copy")
    assert told(extracted_again, "wrong")


def test_a_part_that_is_missing(data, weights, tmp_path, monkeypatch):
    monkeypatch.setattr(sites, "PART_SITES", 4)
    frame = pd.read_csv(data).iloc[:12].drop(columns="plate")
    frame["dna"] = [str(data.parent / name) for name in frame["dna"]]
    frame.to_csv(tmp_path / "screen.csv", index=False)
    made = extracted(tmp_path / "screen.csv", weights, tmp_path, reference="all")
    assert verify(made) == []
    (made / "sites" / "part-0001.parquet").unlink()
    lines = told(made, "wrong")
    assert "wrong  sites: 4 of the dataset's 12 sites are missing, such as" in lines[0]
    lose_dataset(made)
    lines = told(made, "wrong")
    assert f"wrong  {BEFORE.replace('plate', 'screen')}: its provenance counts" in lines[0]


def test_images_of_another_root_are_found(data, weights, tmp_path):
    shutil.copy(data, tmp_path / "plate.csv")
    root = str(data.parent / "img" / "..")
    made = extracted(tmp_path / "plate.csv", weights, tmp_path, root=root)
    assert verify(made) == []
    text = (tmp_path / "plate.csv").read_text().replace("img/", f"{data.parent}/img/")
    (tmp_path / "plate.csv").write_text(text)
    assert verify(made) == []


def cut(path, keep):
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data))])


def flip_in_page(path):
    """Change the first page of the first feature: its checksum tells."""
    column = pq.read_metadata(path).row_group(0)
    at = next(
        column.column(i).data_page_offset
        for i in range(column.num_columns)
        if column.column(i).path_in_schema.startswith("emb")
    )
    data = bytearray(path.read_bytes())
    data[at + 60] ^= 1
    path.write_bytes(bytes(data))


def set_value(column, row, value):
    def change(frame):
        frame.loc[row, column] = value

    return change


def swap(folder):
    for suffix in (".parquet", ".json"):
        one, other = ((folder / name).with_suffix(suffix) for name in (P0, P1))
        one.rename(folder / "x")
        other.rename(one)
        (folder / "x").rename(other)


def edit_record(folder, **changes):
    record = json.loads((folder / "settings.json").read_text())
    tables.write_json(folder / "settings.json", record | changes)


def made_otherwise(folder):
    settings = tables.read_provenance(folder / P0)["settings"] | {"stride": 8}
    rewrite(folder / P0, lambda frame: None, {"settings": settings})


def foreign(path):
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table({"emb_0": [1.0]}), path)


EMB = "emb_dna_0003"
DAMAGES = {
    "cut": (lambda f: cut(f / P0, 0.5), P0, r"cannot be read whole \(.*\). Delete it and run the"),
    "emptied": (lambda f: cut(f / P0, 0), P0, "cannot be read whole"),
    "flipped": (lambda f: flip_in_page(f / P0), P0, "cannot be read whole .*(CRC|checksum)"),
    "other file": (lambda f: (f / P0).write_text("x" * 999), P0, "cannot be read whole"),
    "rows": (lambda f: rewrite(f / P0, lambda t: t.iloc[2:]), P0,
             "2 of the dataset's 12 sites are missing, such as img/p0_0_0.tif"),
    "counts": (lambda f: rewrite(f / P0, lambda t: t.iloc[2:]), P0,
               r"its sites are \{'ok': 10, .* its provenance says \{'empty': 0, .* 'ok': 12\}"),
    "twice": (lambda f: rewrite(f / P0, lambda t: t.iloc[[0, *range(12)]]), P0,
              "1 sites are there twice, such as img/p0_0_0.tif"),
    "no rows": (lambda f: rewrite(f / P0, lambda t: t.iloc[:0]), P0, "it has no rows"),
    "NaN": (lambda f: rewrite(f / P0, set_value(EMB, 4, np.nan)), P0,
            f"1 values in 1 rows are not finite though .* such as {EMB} in row 5"),
    "infinite": (lambda f: rewrite(f / P1, set_value(EMB, 0, np.inf)), P1, "1 values in 1 rows"),
    "of a failed site": (lambda f: rewrite(f / P1, set_value(EMB, 11, 1.0)), P1,
                         f"1 values in 1 rows are there though .* such as {EMB} in row 12"),
    "status": (lambda f: rewrite(f / P0, set_value("Metadata_status", 3, "fine")), P0,
               "Metadata_status holds 'fine'"),
    "well": (lambda f: rewrite(f / P0, set_value("Metadata_Well", 3, "A09")), P0,
             "Metadata_Well of 1 sites is not the dataset's, such as 'A09' where that has 'A02'"),
    "plate in a row": (lambda f: rewrite(f / P0, set_value("Metadata_Plate", 3, "p7")), P0,
                       "its provenance says plate p0, its rows hold p7"),
    "path": (lambda f: rewrite(f / P0, set_value("Metadata_path", 3, "img/z.tif")), P0,
             "1 of 12 sites are not in the dataset, such as img/z.tif"),
    "image id": (lambda f: rewrite(f / P0, set_value("Metadata_image_id", 3, "0" * 16)), P0,
                 "its image ids are not those whose hash is in its provenance"),
    "feature": (lambda f: rewrite(f / P0, lambda t: t.drop(columns=EMB)), P0,
                "its columns are not those of the other plates"),
    "text": (lambda f: rewrite(f / P0, lambda t: t.assign(**{EMB: "x"})), P0,
             "its features are not all real numbers"),
    "key column": (lambda f: rewrite(f / P0, lambda t: t.drop(columns="Metadata_Site")), P0,
                   "it lacks the column Metadata_Site"),
    "measures": (lambda f: rewrite(f / P0, lambda t: t.drop(columns="Metadata_tiles")), P0,
                 "it lacks the columns Metadata_tiles"),
    "value": (lambda f: rewrite(f / P0, set_value(EMB, 4, 0.5)), BEFORE,
              f"1 values are not the mean of the sites in {P0}, such as {EMB} of p0 A03: "),
    "swapped": (swap, P0, f"it holds plate p1, whose table is {P1}. Delete it and run"),
    "copied": (lambda f: shutil.copy(f / P0, f / "sites" / "p2.parquet"), "sites/p2.parquet",
               f"it holds plate p0, whose table is {P0}"),
    "of no plate": (lambda f: rewrite(f / P0, lambda t: None, {"plate": []}), P0,
                    "its provenance says nothing of its plate"),
    "of another plate": (lambda f: rewrite(f / P0, lambda t: None, {"plate": ["p9"]}), P0,
                         "it holds plate p9, which the dataset does not have"),
    "lost": (lambda f: (f / P0).unlink(), P0, "the table of plate p0 is missing. Run the same"),
    "foreign": (lambda f: foreign(f / "sites" / "x.parquet"), "sites/x.parquet",
                "it has no provenance: no extraction wrote it as it is"),
    "provenance": (lambda f: rewrite(f / P0, lambda t: None, {"counts": None}), P0,
                   "its provenance says nothing of counts"),
    "other settings": (made_otherwise, P0,
                       "it was made otherwise: stride was 8, in settings.json it is 32"),
    "record": (lambda f: edit_record(f, size=64), "settings.json",
               "agrees with no table: size was 32, in settings.json it is 64. Run the same"),
    "name in the record": (lambda f: edit_record(f, valset="x"), "settings.json",
                           "valset was 'plate', in settings.json it is 'x'"),
    "no record": (lambda f: (f / "settings.json").unlink(), "settings.json", "is missing. Run"),
    "damaged record": (lambda f: cut(f / "settings.json", 0.5), "settings.json",
                       "cannot be read whole .* it is written again"),
    "list for a record": (lambda f: (f / "settings.json").write_text("[]"), "settings.json",
                          "it holds no names and values"),
    "sidecar": (lambda f: (f / P0).with_suffix(".json").write_text("{}"), "sites/p0.json",
                f"says otherwise than {P0} itself. Delete both and run the same command again"),
    "cut sidecar": (lambda f: cut((f / P0).with_suffix(".json"), 0.5), "sites/p0.json",
                    "cannot be read whole .* Delete it: the table holds the same"),
    "no profiles": (lambda f: [p.unlink() for p in f.glob("plate_*")], ".",
                    "there are no profiles. Run the same command again"),
    "before": (lambda f: (f / BEFORE).unlink(), AFTER,
               f"{BEFORE}, the profiles before normalisation, is missing or damaged"),
    "cut profiles": (lambda f: cut(f / AFTER, 0.7), AFTER, "cannot be read whole"),
    "flipped profiles": (lambda f: flip_in_page(f / AFTER), AFTER, "cannot be read whole"),
    "flipped before": (lambda f: flip_in_page(f / BEFORE), BEFORE, "cannot be read whole"),
    "profile": (lambda f: rewrite(f / BEFORE, lambda t: t.iloc[1:]), BEFORE,
                f"1 profiles of {P0} are missing, such as p0 A01"),
    "profile twice": (lambda f: rewrite(f / BEFORE, lambda t: t.iloc[[0, *range(12)]]), BEFORE,
                      "1 of its rows repeat another's keys"),
    "profile of nothing": (
        lambda f: rewrite(f / BEFORE, lambda t: pd.concat([t, t[:1].assign(Metadata_Well="B1")])),
        BEFORE, "1 of its 13 rows are of no site there is"),
    "mixed profiles": (lambda f: rewrite(f / BEFORE, lambda t: t.iloc[[0, 6, *range(1, 6),
                                                                       *range(7, 12)]]),
                       BEFORE, f"its rows of {P0} do not stand together"),
    "profile value": (lambda f: rewrite(f / BEFORE, set_value(EMB, 0, 9.0)), BEFORE,
                      rf"such as {EMB} of p0 A01: 9.0, not -?\d"),
    "missing profile value": (lambda f: rewrite(f / BEFORE, set_value(EMB, 0, np.nan)), BEFORE,
                              f"such as {EMB} of p0 A01: nan, not"),
    "profile status": (lambda f: rewrite(f / BEFORE, set_value("Metadata_status", 0, "empty")),
                       BEFORE, "such as Metadata_status of p0 A01: empty, not ok"),
    "sites of a profile": (lambda f: rewrite(f / BEFORE, set_value("Metadata_sites", 0, 3)),
                           BEFORE, "such as Metadata_sites of p0 A01: 3, not 2"),
    "profile feature": (lambda f: rewrite(f / BEFORE, lambda t: t.drop(columns=EMB)), BEFORE,
                        "its features are not those of the site tables"),
    "profile keys": (
        lambda f: rewrite(f / BEFORE, lambda t: t.drop(columns=["Metadata_Plate",
                                                                "Metadata_Well"])),
        BEFORE, "it lacks the key columns of a well"),
    "operation": (lambda f: rewrite(f / BEFORE, lambda t: None, {"operation": "sum"}), BEFORE,
                  "its provenance says operation 'sum'"),
    "profile counts": (
        lambda f: rewrite(f / AFTER, lambda t: None, {"counts": {"sites": 3}}), AFTER,
        r"its provenance counts \{'sites': 3, .* there are \{'sites': 24, .*'profiles': 12"),
    "images of profiles": (lambda f: rewrite(f / AFTER, lambda t: None, {"images_sha256": "0"}),
                           AFTER, "it was made of other images than the site tables"),
    "settings of profiles": (lambda f: rewrite(f / AFTER, lambda t: None, {"valset": "x"}), AFTER,
                             "it was made otherwise: valset was 'x', in settings.json it is"),
    "renamed profiles": (
        lambda f: (f / AFTER).rename(f / "plate_robustize_well_features.parquet"),
        "plate_robustize_well_features.parquet", f"its provenance is that of {AFTER}"),
    "NaN in profiles": (lambda f: rewrite(f / AFTER, set_value(EMB, 2, np.nan)), AFTER,
                        f"1 values are not finite, such as {EMB} in row 3"),
    "row of profiles": (lambda f: rewrite(f / AFTER, lambda t: t.iloc[::-1]), AFTER,
                        f"its rows are not those of {BEFORE}, from row 1 on"),
    "feature of profiles": (lambda f: rewrite(f / AFTER, lambda t: t.drop(columns=EMB)), AFTER,
                            f"its features are not those of {BEFORE} less those that it says"),
    "copy": (lambda f: (f / AFTER).with_suffix(".csv").write_text(
                 (f / AFTER).with_suffix(".csv").read_text().replace("0.", "1.")), AFTER,
             "plate_standardize_well_features.csv beside it says otherwise, from row 1 on"),
    "cut copy": (lambda f: cut((f / AFTER).with_suffix(".csv"), 0.5), AFTER,
                 "plate_standardize_well_features.csv beside it"),
    "correction": (lambda f: next(f.glob("*_correction.npz")).write_bytes(b"x"),
                   "plate_standardize_sphere_well_features.parquet",
                   "its correction cannot be loaded"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_found(name, folder):
    damage, file, message = DAMAGES[name]
    damage(folder)
    found = [f for f in verify(folder) if f.kind == "wrong"]
    pattern = f"^wrong  {file}: .*{message}"
    assert any(re.search(pattern, str(f)) for f in found), found
    assert all(f.what and f.remedy and "\n" not in str(f) for f in found)


def test_only_what_is_damaged_is_named(folder, capsys):
    rewrite(folder / P0, set_value(EMB, 4, np.nan))
    with pytest.raises(SystemExit, match="^1$"):
        cli.main(["verify", str(folder)])
    lines = capsys.readouterr().out.splitlines()
    assert [line[:6] for line in lines[:-1]] == ["wrong ", *["fine  "] * 4]
    assert lines[0].startswith(f"wrong  {P0}: ")
    assert lines[-1].endswith(": 4 tables are fine, 1 things are wrong, 0 notes")
    swap(folder)
    assert {f.file for f in verify(folder)} == {P0, P1}


@pytest.mark.parametrize(
    ("damage", "file", "message"),
    [
        (lambda f: None, None, None),
        (lambda f: (f / P0).unlink(), P0, "the table of plate p0 is missing"),
        (swap, P1, f"it holds plate p0, whose table is {P0}"),
        (lambda f: rewrite(f / P0, lambda t: t.iloc[2:]), P0, "its image ids are not those"),
    ],
    ids=["none", "lost", "swapped", "rows"],
)
def test_without_the_dataset_the_rest_is_checked(damage, file, message, folder):
    lose_dataset(folder)
    damage(folder)
    note = "note   .: its dataset, /gone/plate.csv, is not there: sites are not compared with it"
    found = told(folder)
    assert note in found
    found.remove(note)
    assert not found if file is None else any(f"{file}: " in f and message in f for f in found)


def test_a_dataset_that_cannot_be_opened(folder, tmp_path):
    (tmp_path / "plate.csv").write_text("well\nA1\n")
    edit_record(folder, origin=str(tmp_path / "plate.csv"))
    (line,) = told(folder)
    assert line.startswith("note") and "cannot be opened: sites are not compared with it (" in line
    edit_record(folder, origin=None)
    assert told(folder) == ["note   .: its dataset is not recorded: sites are not compared with it"]


def test_a_dataset_with_more_sites(folder, data, tmp_path):
    frame = pd.read_csv(data)
    frame["dna"] = [str(data.parent / name) for name in frame["dna"]]
    more = frame.iloc[[0]].assign(site=3, dna="q.tif")
    pd.concat([frame, more, more.assign(plate="p2", dna="r.tif")]).to_csv(
        tmp_path / "plate.csv", index=False
    )
    edit_record(folder, origin=str(tmp_path / "plate.csv"))
    lines = told(folder, "wrong")
    assert "1 of the dataset's 13 sites are missing" in lines[0]
    assert "sites/p2.parquet: the table of plate p2 is missing" in lines[1] and len(lines) == 2


def test_leftovers_and_foreign_files_are_listed(folder):
    aside = paths.aside_folder(folder)
    shutil.copytree(folder, aside)
    (folder / "sites" / ".p3.parts").mkdir()
    (folder / "sites" / ".p3.parts" / "0.npz").write_bytes(b"")
    (folder / ".0123.unidino.tmp").write_bytes(b"")
    (folder / "sites" / "p3.json").write_text("{}")
    (folder / "plate_mad_robustize_well_features.json").write_text("{}")
    (folder / "notes.txt").write_text("mine")
    (folder / P0).with_suffix(".json").unlink()
    foreign(folder / "own.parquet")
    found = {f.file: f.what for f in verify(folder) if f.kind == "note"}
    assert not told(folder, "wrong")
    assert found.pop("sites/p0.json") == "is missing; the table holds the same itself"
    assert "earlier extraction that an interrupted run was" in found.pop(f"../{aside.name}")
    for name in (".0123.unidino.tmp", "sites/.p3.parts"):
        assert found.pop(name).startswith("left by an interrupted run")
    for name in ("sites/p3.json", "plate_mad_robustize_well_features.json"):
        assert found.pop(name).startswith("has no table beside it")
    assert set(found) == {"notes.txt", "own.parquet"}
    assert set(found.values()) == {"is nothing that an extraction writes"}


def test_a_run_at_work_is_told(folder):
    file = paths.lock_file(folder)
    with filelock.FileLock(file):
        assert told(folder) == ["note   .: a run is at work here: verify again when it has ended"]
    assert told(folder) == []


def test_what_only_tells_how_it_was_computed_may_differ(folder):
    edit_record(folder, engine={"batch": 9}, added="later")
    assert verify(folder) == []


def test_every_flipped_byte_is_found_or_changes_nothing(folder):
    rng = np.random.default_rng(0)
    for name in (P0, BEFORE, AFTER):
        file = folder / name
        data, whole = file.read_bytes(), tables.read_table(file)
        for at in [*rng.integers(0, len(data), 6), *rng.integers(-6000, 0, 6) % len(data)]:
            changed = bytearray(data)
            changed[at] ^= 1 << int(rng.integers(8))
            file.write_bytes(bytes(changed))
            if not told(folder, "wrong"):
                read = tables.read_table(file)
                pd.testing.assert_frame_equal(read, whole)
                assert read.attrs == whole.attrs
        file.write_bytes(data)
    assert verify(folder) == []


@pytest.mark.parametrize("name", ["gone", "settings.json", "sites", ".."])
def test_misuse(name, folder, capsys):
    with pytest.raises(SystemExit, match="^2$"):
        cli.main(["verify", str(folder / name)] if name != "sites" else ["verify"])
    told = capsys.readouterr().err
    expected = {
        "gone": "gone does not exist. Give the folder of an extraction",
        "settings.json": "settings.json is a file. Give the folder of an extraction",
        "sites": "the following arguments are required: folder",
        "..": f"holds no extraction: .* such as .*{folder.name}",
    }[name]
    assert re.search(expected, told), told
    with pytest.raises(TypeError, match="folder takes str or .*Path, got 3"):
        verify(3)


def stored(folder, plates, fields=1000, features=200):
    """An extraction as it lies on disk, without images."""
    rng = np.random.default_rng(0)
    settings, parts = {"size": 32}, []
    tables.write_json(folder / "settings.json", settings | {"valset": "s", "origin": "/gone"})
    names = [f"emb_dna_{i:04d}" for i in range(features)]
    digest = hashlib.sha256()
    for p in range(plates):
        ids = [f"{p:08x}{i:08x}" for i in range(fields)]
        digest.update("".join(ids).encode())
        frame = pd.DataFrame(
            {
                "Metadata_Plate": f"p{p:03d}",
                "Metadata_Well": [f"A{i // 4 + 1:02d}" for i in range(fields)],
                "Metadata_Site": [str(i % 4) for i in range(fields)],
                "Metadata_path": [f"{p}_{i}.tif" for i in range(fields)],
                "Metadata_image_id": ids,
                "Metadata_status": "ok",
                "Metadata_tiles": 4.0,
                "Metadata_tiles_kept": 4.0,
            }
        )
        values = rng.normal(size=(fields, features)).astype(np.float32)
        frame = pd.concat([frame, pd.DataFrame(values, columns=names)], axis=1)
        made = {
            "settings": settings, "valset": "s", "plate": [f"p{p:03d}"],
            "counts": {"ok": fields, "empty": 0, "failed": 0},
            "images_sha256": hashlib.sha256("".join(ids).encode()).hexdigest(),
        }  # fmt: skip
        tables.write_table(frame, folder / "sites" / f"p{p:03d}.parquet", made)
        parts.append(profiles.aggregate(frame))
    made |= {
        "counts": {"sites": fields * plates, "ok": fields * plates, "empty": 0, "failed": 0,
                   "tiles": 4 * fields * plates, "tiles_kept": 4 * fields * plates,
                   "profiles": fields * plates // 4},
        "operation": "mean", "norm_method": "no_post_proc", "images_sha256": digest.hexdigest(),
    }  # fmt: skip
    tables.write_table(pd.concat(parts), folder / "s_no_post_proc_well_features.parquet", made)
    return folder


def peak(folder):
    tracemalloc.start()
    try:
        assert [f.kind for f in verify(folder)] == ["note"]
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_plates(tmp_path):
    few = peak(stored(tmp_path / "few" / "s", 2))
    many = peak(stored(tmp_path / "many" / "s", 6))
    assert many < few + 1.5 * 1000 * 200 * 4, (few, many)


def test_torch_is_not_loaded(folder):
    code = f"import sys; from unidino import verify; verify.main([{str(folder)!r}]); " \
        "sys.exit('torch' in sys.modules)"  # fmt: skip
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
