"""From a source of the catalogue to the files it has now: addresses, places, sizes, checksums."""

import csv
import html.parser
import json
import re
import xml.etree.ElementTree as ElementTree
from urllib.parse import quote, unquote, urlencode, urljoin, urlsplit

from .archives import safe_parts
from .transfer import ARCHIVES, Item, TransferError

MOST_OBJECTS = 1_000_000


def items(entry, parts, web, folder):
    """Every file that an entry is made of.

    Parameters
    ----------
    entry : catalogue.Entry
    parts : list of str
        Of `Entry.chosen`; of a record of Zenodo, the names of files to take instead of those that
        the catalogue expects.
    web : transfer.Web
    folder : Path
        Of the entry, where tables that name files may lie.

    Returns
    -------
    (list of transfer.Item, list of str)
        The files, and what the sources say of themselves: licences, numbers.

    Raises
    ------
    TransferError, ValueError
        A listing cannot be had, or lacks what is looked for.
    """
    found, notes = [], []
    for source in entry.sources:
        if source.kind == "zenodo":
            chosen, note = _zenodo(source, parts, web)
            found += chosen
            notes.append(note)
            continue
        if source.kind == "table":
            found += _table(source, folder)
            continue
        for part in parts if source.by_part else [None]:
            found += _OF_KIND[source.kind](source, part, web)
    places = {}
    for item in found:
        if places.setdefault(item.path.lower(), item) is not item:
            raise ValueError(f"{item.url} and {places[item.path.lower()].url} have one place.")
    return found, notes


def _path(source, name, part=None):
    """The place of a file below the entry's folder; None where its name is odd."""
    into = source.into.format(*_levels(part), part=part)
    parts = safe_parts(name if into == "." else f"{into}/{name}")
    return None if parts is None else "/".join(parts)


def _levels(part):
    return (part or "").split("/")


def _files(source, part, web):
    made = []
    for given in source.files:
        name = given["name"].format(part=part)
        url = urljoin(source.base.format(part=part), quote(name))
        path = _path(source, name.rpartition("/")[2], part)
        made.append(Item(url, path, given.get("size"), given.get("checksum"), source, part))
    return made


def _zenodo(source, names, web):
    record = _json(web, source.record)
    try:
        files = {
            file["key"]: (file["links"]["self"], int(file["size"]), str(file["checksum"]))
            for file in record["files"]
        }
    except (KeyError, TypeError, ValueError):
        raise TransferError(
            f"{source.record} is no record with files any more. Open the page by hand."
        ) from None
    listed = ", ".join(sorted(files))
    if names:
        lacking = [name for name in names if name not in files]
        if lacking:
            raise ValueError(f"the record has no file {lacking[0]!r}; it has {listed}.")
        chosen = list(names)
    else:
        fits = ([k for k in files if re.fullmatch(m, k, re.IGNORECASE)] for m in source.match)
        chosen = next((keys for keys in fits if keys), [])
    if not chosen:
        raise ValueError(
            f"none of the record's files is called as expected; it has {listed}. Name those to "
            "take with parts."
        )
    made = []
    for key in chosen:
        url, size, checksum = files[key]
        name = key.rpartition("/")[2] if source.only else key
        if source.only and not name.lower().endswith(ARCHIVES):
            if not name.endswith(source.root_of.rpartition(".")[2]):
                raise ValueError(
                    f"the record's file {key!r} is neither {source.root_of} nor an archive that is "
                    f"unpacked here ({', '.join(ARCHIVES)}). The record has {listed}."
                )
            name = source.root_of
        path = _path(source, name)
        if path is None or not re.fullmatch("md5:[0-9a-f]{32}|sha256:[0-9a-f]{64}", checksum):
            raise TransferError(f"the record's file {key!r} has an odd name or checksum.")
        made.append(Item(url, path, size, checksum, source))
    licence = (record.get("metadata") or {}).get("license") or {}
    told = licence.get("id", "none named") if isinstance(licence, dict) else licence
    return made, f"the record's licence: {told}; its files: {listed}"


def _json(web, url):
    try:
        return json.loads(web.document(url))
    except ValueError:
        raise TransferError(
            f"{url} answers no JSON. Try later, or open the page by hand."
        ) from None


def _bucket(source, part, web):
    levels = _levels(part)
    prefix = source.prefix.format(*levels)
    before = prefix.rpartition("/")[0] + "/"
    made, token = [], None
    while True:
        query = {"list-type": "2", "prefix": prefix}
        if token:
            query["continuation-token"] = token
        url = f"{source.base}?{urlencode(query)}"
        page = _listing(web.document(url), url)
        for key, size, etag in page["objects"]:
            name = key.removeprefix(before)
            plate = name.partition("/")[0]
            # A01 is not a beginning of A011.
            ours = plate == levels[-1] or plate.startswith(f"{levels[-1]}_")
            if not ours or not re.fullmatch(source.keep, name, re.IGNORECASE):
                continue
            path = _path(source, name, part)
            if path is None:
                raise TransferError(f"{url} lists an object of the odd name {key!r}.")
            # Of objects that were uploaded in one piece the ETag is the MD5.
            checksum = f"md5:{etag}" if re.fullmatch("[0-9a-f]{32}", etag) else None
            made.append(Item(source.base + quote(key), path, size, checksum, source, part))
            if len(made) > MOST_OBJECTS:
                raise TransferError(f"{url} lists more than {MOST_OBJECTS} objects.")
        before_token, token = token, page["next"]
        if not token or token == before_token:
            break
    if not made:
        raise ValueError(
            f"the bucket has no image of {part}. Parts are source/batch/plate as in "
            "metadata/plate.csv.gz, which is fetched with any plate that there is."
        )
    return made


def _listing(text, url):
    """Objects and the token of the next page of a listing of S3."""
    try:
        root = ElementTree.fromstring(text)
        objects = []
        for element in root.iter():
            if element.tag.rpartition("}")[2] == "Contents":
                fields = {child.tag.rpartition("}")[2]: child.text or "" for child in element}
                objects.append((fields["Key"], int(fields["Size"]), fields["ETag"].strip('"')))
        named = {child.tag.rpartition("}")[2]: child.text for child in root}
    except (ElementTree.ParseError, KeyError, ValueError):
        raise TransferError(f"{url} answers no listing of a bucket. Try later.") from None
    token = named.get("NextContinuationToken") if named.get("IsTruncated") == "true" else None
    return {"objects": objects, "next": token}


class _Links(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        if tag == "a":
            self.found += [value for name, value in attrs if name == "href" and value]


def _index(source, part, web):
    base = source.base.format(part=part)
    links = _Links()
    links.feed(web.document(base))
    made = {}
    for link in links.found:
        url = urljoin(base, link)
        name = unquote(urlsplit(url).path.rpartition("/")[2])
        if url.startswith(base) and re.fullmatch(source.keep, name):
            made[name] = Item(urljoin(base, quote(name)), _path(source, name, part), None, None,
                              source, part)  # fmt: skip
    if not made:
        raise ValueError(f"the page {base} lists none of the files that are expected there.")
    return list(made.values())


def _table(source, folder):
    """Files whose addresses a table names that a person has put into the folder."""
    file = folder / source.table
    if not file.is_file():
        raise ValueError(f"there is no {source.table} in {folder}, the table that names the files.")
    made = []
    with open(file, newline="", encoding="utf-8-sig") as opened:
        rows = csv.DictReader(opened)
        lacking = [name for name in (source.column, source.where) if name not in rows.fieldnames]
        if lacking:
            raise ValueError(f"{file} has no column {lacking[0]}; expected those of the original.")
        for number, row in enumerate(rows, 2):
            if str(row[source.where]).strip().lower() != "true":
                continue
            stem = (row[source.column] or "").strip()
            if source.base.startswith("https://"):  # some tables still write http
                stem = re.sub("^http://", "https://", stem)
            for ending in source.endings:
                name = (stem + ending).rpartition("/")[2]
                path = _path(source, name)
                if not stem.startswith(source.base) or path is None:
                    raise ValueError(
                        f"{file}, line {number}: the {source.column} {stem!r} is no address below "
                        f"{source.base}. Take the original table."
                    )
                made.append(Item(quote(stem + ending, ":/"), path, None, None, source))
    if not made:
        raise ValueError(f"{file} has no row with {source.where} True.")
    return made


_OF_KIND = {"files": _files, "bucket": _bucket, "index": _index}
