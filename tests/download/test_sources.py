"""What sources list: records of Zenodo, buckets, pages of folders; and the catalogue itself."""

import csv
import hashlib
import io
import json
import re
from dataclasses import replace
from urllib.parse import urlsplit

import numpy as np
import pytest
import tifffile

from unidino import paths
from unidino.download import catalogue, sources, transfer
from unidino.download.command import fetch_entry
from unidino.valsets import VALSETS, open_valset


def record_of(served, files, licence="cc-by-nc-4.0"):
    """Serve a record of Zenodo, in the form of its API, and its files."""
    listed = []
    for name, content in files.items():
        served.files[f"files/{name}/content"] = content
        md5 = hashlib.md5(content).hexdigest()
        links = {"self": served.url(f"files/{name}/content")}
        entry = {"key": name, "size": len(content), "checksum": f"md5:{md5}", "links": links}
        listed.append(entry)
    record = {"id": 1, "metadata": {"license": {"id": licence}}, "files": listed}
    served.files["api/records/1"] = json.dumps(record).encode()
    return served.url("api/records/1")


@pytest.fixture
def record_entry(served, entry_of):
    def make(files, match=(".*",), **source):
        record = record_of(served, files)
        return entry_of({"kind": "zenodo", "record": record, "match": match, **source})

    return make


def test_files_of_a_record_by_the_first_pattern_that_fits(record_entry, web, tmp_path, said):
    entry = record_entry({"a.csv": b"1", "b.csv": b"22", "c.zip": b"333"}, (r"x.*", r".*\.csv"))
    folder = fetch_entry(entry, web, root=tmp_path)
    assert sorted(p.name for p in folder.iterdir() if p.is_file()) == ["a.csv", "b.csv"]
    assert any("cc-by-nc-4.0; its files: a.csv, b.csv, c.zip" in line for line in said)


def test_files_of_a_record_by_name(record_entry, web, tmp_path):
    entry = record_entry({"a.csv": b"1", "b.csv": b"22"}, ("nothing",))
    with pytest.raises(ValueError, match="is called as expected; it has a.csv, b.csv. Name those"):
        fetch_entry(entry, web, root=tmp_path)
    with pytest.raises(ValueError, match="the record has no file 'd.csv'; it has a.csv, b.csv"):
        fetch_entry(entry, web, root=tmp_path, parts="d.csv")
    folder = fetch_entry(entry, web, root=tmp_path, parts="b.csv")
    assert (folder / "b.csv").read_bytes() == b"22" and not (folder / "a.csv").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<html>", "answers no JSON. Try later, or open"),
        (b"[]", "is no record with files any more"),
        (b'{"files": [{"key": "a"}]}', "is no record with files any more"),
        (b'{"files": []}', "none of the record's files is called as expected"),
    ],
)
def test_records_that_are_none(record_entry, served, web, tmp_path, content, message):
    entry = record_entry({})
    served.files["api/records/1"] = content
    with pytest.raises((transfer.TransferError, ValueError), match=message):
        fetch_entry(entry, web, root=tmp_path)


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a\\b"])
def test_odd_names_in_a_record(record_entry, web, tmp_path, name):
    with pytest.raises(transfer.TransferError, match="has an odd name or checksum"):
        fetch_entry(record_entry({name: b"x"}), web, root=tmp_path)


def listing(objects, token=None):
    """A page of a bucket's listing, as S3 writes it."""
    rows = "".join(
        f"<Contents><Key>{key}</Key><LastModified>2023-01-01T00:00:00.000Z</LastModified>"
        f"<ETag>&quot;{etag}&quot;</ETag><Size>{size}</Size></Contents>"
        for key, size, etag in objects
    )
    more = "false" if token is None else "true"
    next_page = "" if token is None else f"<NextContinuationToken>{token}</NextContinuationToken>"
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name>'
        f"<IsTruncated>{more}</IsTruncated>{next_page}{rows}</ListBucketResult>"
    ).encode()


@pytest.fixture
def bucket(served):
    """JUMP-CP of the catalogue with a bucket of this machine, and a function that fills it."""
    entry = catalogue.find("jumpcp-valset")
    (of_bucket,) = (s for s in entry.sources if s.kind == "bucket")
    entry = replace(entry, sources=(replace(of_bucket, base=served.url()),))
    prefix = "cpg0016-jump/source_4/images/2021_04_26_Batch1/images/"
    query = "?list-type=2&prefix=" + (prefix + "BR1").replace("/", "%2F")

    def fill(pages):
        """Pages of {name below the prefix: content}."""
        for i, page in enumerate(pages):
            token = f"t/{i + 1}" if i + 1 < len(pages) else None
            objects = []
            for name, content in page.items():
                served.files[prefix + name] = content
                objects.append((prefix + name, len(content), hashlib.md5(content).hexdigest()))
            path = query if i == 0 else f"{query}&continuation-token=t%2F{i}"
            served.files[path] = listing(objects, token)

    return entry, fill, query


PART = "source_4/2021_04_26_Batch1/BR1"


def test_a_plate_of_a_bucket(bucket, web, tmp_path, said):
    entry, fill, _ = bucket
    images = "BR1__2021-Measurement1/Images"
    fill(
        [
            {f"{images}/r01c01f01p01-ch1sk1fk1fl1.tiff": b"1", f"{images}/Index.idx.xml": b"<x/>"},
            {f"{images}/r01c01f01p01-ch2sk1fk1fl1.tiff": b"22", f"{images}/notes.txt": b"no"},
            {"BR10__2021/Images/r01c01f01p01-ch1sk1fk1fl1.tiff": b"another plate"},
        ]
    )
    folder = fetch_entry(entry, web, root=tmp_path, parts=PART)
    assert folder == tmp_path / "JUMPCP"
    plate = folder / "images" / "source_4" / "2021_04_26_Batch1" / images
    assert sorted(p.name for p in plate.iterdir()) == [
        "Index.idx.xml", "r01c01f01p01-ch1sk1fk1fl1.tiff", "r01c01f01p01-ch2sk1fk1fl1.tiff",
    ]  # fmt: skip
    assert [p.name for p in plate.parents[1].iterdir()] == ["BR1__2021-Measurement1"]
    assert any("JUMP_valset_4sources.csv" in line for line in said)


def test_a_plate_of_a_bucket_is_opened_as_a_folder(bucket, web, tmp_path):
    entry, fill, _ = bucket
    images = {}
    for well in ("r01c01", "r02c03"):
        for channel in range(1, 6):
            packed = io.BytesIO()
            tifffile.imwrite(packed, np.full((32, 32), channel, np.uint16))
            name = f"BR1__2021-Measurement1/Images/{well}f01p01-ch{channel}sk1fk1fl1.tiff"
            images[name] = packed.getvalue()
    fill([images])
    folder = fetch_entry(entry, web, root=tmp_path, parts=PART)
    plate = folder / "images" / "source_4" / "2021_04_26_Batch1"
    opened = open_valset(str(plate))
    assert sorted(opened.metadata.well) == ["A01", "B03"]
    assert len(opened.channels) == 5


def test_the_md5_of_an_object_is_compared(bucket, served, web, tmp_path):
    entry, fill, _ = bucket
    fill([{"BR1/a.tiff": b"right"}])
    served.files["cpg0016-jump/source_4/images/2021_04_26_Batch1/images/BR1/a.tiff"] = b"wrong"
    with pytest.raises(transfer.TransferError, match="its MD5 is .*, published is .*, twice"):
        fetch_entry(entry, web, root=tmp_path, parts=PART)


def test_objects_in_pieces_have_no_md5(bucket, served, web, tmp_path):
    entry, fill, query = bucket
    fill([{"BR1/a.tiff": b"in pieces"}])
    key = "cpg0016-jump/source_4/images/2021_04_26_Batch1/images/BR1/a.tiff"
    served.files[query] = listing([(key, 9, "0123456789abcdef0123456789abcdef-2")])
    folder = fetch_entry(entry, web, root=tmp_path, parts=PART)
    assert len(list(folder.rglob("a.tiff"))) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (listing([]), f"the bucket has no image of {PART}"),
        (b"<html><body>", "answers no listing of a bucket"),
        (listing([("a/BR1/x.tiff", "many", "")]), "answers no listing of a bucket"),
    ],
)
def test_buckets_that_list_nothing(bucket, served, web, tmp_path, content, message):
    entry, _, query = bucket
    served.files[query] = content
    with pytest.raises((ValueError, transfer.TransferError), match=message):
        fetch_entry(entry, web, root=tmp_path, parts=PART)


def test_odd_names_in_a_bucket(bucket, web, tmp_path):
    entry, fill, _ = bucket
    fill([{"BR1/../../../evil.tiff": b"x"}])
    with pytest.raises(transfer.TransferError, match="lists an object of the odd name"):
        fetch_entry(entry, web, root=tmp_path, parts=PART)


def test_a_page_of_a_folder(served, web, entry_of, tmp_path):
    names = ["r01c01f01p01-ch1sk1fk1fl1.tiff", "r02c11f09p01-ch5sk1fk1fl1.tiff"]
    for name in names:
        served.files[f"P1/Images/{name}"] = name.encode()
    links = [*names, "Index.idx.xml", "../", "?C=N;O=D", "/elsewhere/" + names[0], "../" + names[0]]
    page = "".join(f'<tr><td><a href="{link}">x</a></td></tr>' for link in links)
    served.files["P1/Images/"] = f"<html><table>{page}</table></html>".encode()
    source = {
        "kind": "index",
        "base": served.url("{part}/Images/"),
        "keep": r"r\d\dc\d\df\d\dp01-ch[1-5]sk1fk1fl1\.tiff",
        "into": "data/{part}_corrected",
    }
    entry = entry_of(source, parts=("P1", "P2"), part="plate")
    folder = fetch_entry(entry, web, root=tmp_path, parts=["P1"])
    assert sorted(p.name for p in (folder / "data" / "P1_corrected").iterdir()) == names
    served.files["P2/Images/"] = b"<html>moved</html>"
    with pytest.raises(ValueError, match="P2/Images/ lists none of the files that are expected"):
        fetch_entry(entry, web, root=tmp_path)


def test_a_listing_that_never_ends(served, web, entry_of, tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "DOCUMENT", 1000)
    served.files["P/"] = b"x" * 1001
    entry = entry_of({"kind": "index", "base": served.url("P/"), "keep": ".*"})
    with pytest.raises(transfer.TransferError, match="is larger than 1.0 kB: no listing"):
        fetch_entry(entry, web, root=tmp_path)


def test_two_files_for_one_place(served, web, entry_of, tmp_path):
    files = ({"name": "x/a.csv"}, {"name": "y/A.csv"})
    entry = entry_of({"kind": "files", "base": served.url(), "files": files})
    with pytest.raises(ValueError, match="y/A.csv and .*x/a.csv have one place"):
        fetch_entry(entry, web, root=tmp_path)


# The catalogue.


def test_every_published_dataset_is_in_the_catalogue():
    published = set(VALSETS) - {"worlds"}
    assert set(catalogue.entries()) == published | {"weights", "embeddings"}
    for name in published:
        assert catalogue.find(name).folder == paths.DATASET_FOLDERS[name]


@pytest.mark.parametrize("entry", catalogue.entries().values(), ids=list(catalogue.entries()))
def test_entries_are_whole(entry):
    assert entry.automatic in catalogue.AUTOMATIC
    assert (entry.automatic == "none") == (not entry.sources)
    assert entry.manual.strip() and entry.cite and entry.confirmed
    for read in entry.confirmed:
        assert set(read) == {"what", "where", "read"}
    if re.search("NC|©", entry.licence) or "zenodo" in {s.kind for s in entry.sources}:
        assert entry.asks
    for source in entry.sources:
        assert source.kind in catalogue.KINDS
        assert urlsplit(source.record or source.base).scheme == "https"
        for pattern in (*source.match, source.keep):
            re.compile(pattern)
        if source.by_part and source.kind != "bucket":
            assert entry.parts


def test_the_plates_are_those_of_the_published_table():
    real = paths.real_data_root()
    file = real and real / "bbbc021_ljosa" / "BBBC021_v1_image.csv.gz"
    if not file or not file.is_file():
        pytest.skip("no bbbc021_ljosa in the real data")
    import gzip

    with gzip.open(file, "rt") as opened:
        listed = {row["Image_PathName_DAPI"].split("/")[-1] for row in csv.DictReader(opened)}
    assert set(catalogue.find("BBBC021").parts) == listed


def test_the_annotation_is_the_published_one():
    real = paths.real_data_root()
    file = real and real / "cellhealth_idr0080" / "idr0080-screenA-annotation.csv"
    if not file or not file.is_file():
        pytest.skip("no cellhealth_idr0080 in the real data")
    (given,) = next(s.files for s in catalogue.find("cell-health").sources if len(s.files) == 1)
    digests = transfer.digest(file)
    assert digests["size"] == given["size"]
    assert f"sha256:{digests['sha256']}" == given["checksum"]


@pytest.mark.parametrize(
    ("name", "hint"),
    [("bbbc21", "Did you mean BBBC021"), ("weight", "Did you mean weights"), ("x", "there are")],
)
def test_unknown_names(name, hint):
    with pytest.raises(ValueError, match=f"nothing is published under .*{hint}"):
        catalogue.find(name)


@pytest.mark.parametrize(
    ("name", "parts", "message"),
    [
        ("BBBC021", "week1_22123", "has no plate 'week1_22123'. Did you mean Week1_22123"),
        ("jumpcp-valset", "BR00117035", "is not a plate, as source/batch/plate, such as source_4/"),
        ("jumpcp-valset", "source_4/../BR1", "is not a plate"),
        ("BBBC037", "41744", "BBBC037 has no parts; leave parts out"),
    ],
)
def test_unknown_parts(name, parts, message):
    with pytest.raises(ValueError, match=message):
        catalogue.find(name).chosen(parts)


def test_parts_as_text_or_list():
    entry = catalogue.find("bbbc021")
    assert entry.chosen("Week1_22123, Week1_22141") == ["Week1_22123", "Week1_22141"]
    assert entry.chosen(["Week1_22123"]) == ["Week1_22123"]
    assert len(entry.chosen(None)) == 55


def test_every_source_says_where_its_files_go(web, monkeypatch):
    """The addresses and places of the entries that need no listing."""
    entry = catalogue.find("BBBC021")
    found, _ = sources.items(entry, ["Week1_22123"], web, None)
    base = "https://data.broadinstitute.org/bbbc/BBBC021/"
    assert [item.url for item in found] == [
        f"{base}BBBC021_v1_{name}"
        for name in ("image.csv", "compound.csv", "moa.csv", "images_Week1_22123.zip")
    ]
    found, _ = sources.items(catalogue.find("BBBC037"), [], web, None)
    folder = "gene_overexpression/idr0033-rohban-pathways/screenA"
    assert [item.path for item in found] == [f"{folder}/idr0033-screenA-annotation.csv"]


# The book.


def book():
    return (paths.project_root() / "book" / "download.md").read_text()


def test_the_book_has_the_catalogue():
    rows = [line for line in book().splitlines() if line.startswith("| `")]
    assert rows == [catalogue.row(entry) for entry in catalogue.entries().values()]


def test_the_book_says_what_is_left_to_do_by_hand():
    for entry in catalogue.entries().values():
        if entry.automatic != "all":
            assert entry.manual.strip() in book(), entry.name
