"""Extractions to be reported on, and reports read back as a browser reads them."""

from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
import tifffile

import unidino
from unidino.models import checkpoints, vit

VOID = {"br", "hr", "img", "input", "link", "meta"}
WELLS = [f"{row}{column:02d}" for row in "ABCD" for column in range(1, 7)]
# Controls and treatments spread over rows and columns, as a good layout is.
KINDS = [
    "negcon", "a", "negcon", "b", "negcon", "poscon",
    "a", "negcon", "b", "negcon", "poscon", "negcon",
    "negcon", "b", "negcon", "poscon", "negcon", "a",
    "b", "negcon", "poscon", "negcon", "a", "negcon",
]  # fmt: skip


class Tree(HTMLParser):
    """A page as a tree of elements; what is not closed where it was opened is an error."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.root, self.open = None, []

    def handle_starttag(self, tag, attributes):
        assert len(dict(attributes)) == len(attributes), f"an attribute of {tag} stands twice"
        made = ElementTree.Element(tag, {name: value or "" for name, value in attributes})
        if self.open:
            self.open[-1].append(made)
        else:
            assert self.root is None, "two roots"
            self.root = made
        if tag not in VOID:
            self.open.append(made)

    def handle_startendtag(self, tag, attributes):
        raise AssertionError(f"<{tag}/> closes nothing in HTML")

    def handle_endtag(self, tag):
        assert self.open and self.open[-1].tag == tag, f"</{tag}> closes nothing that is open"
        self.open.pop()

    def handle_data(self, data):
        if not self.open:
            assert not data.strip()
            return
        parent = self.open[-1]
        if len(parent):
            parent[-1].tail = (parent[-1].tail or "") + data
        else:
            parent.text = (parent.text or "") + data


def parsed(text):
    """The root of a page."""
    assert text.startswith("<!DOCTYPE html>")
    tree = Tree()
    tree.feed(text)
    tree.close()
    assert not tree.open
    return tree.root


def text_of(node):
    return " ".join("".join(node.itertext()).split())


def part(root, name):
    """A section of a page by its id."""
    return next(node for node in root.iter("section") if node.get("id") == name)


def frame_of(root, name, which=0):
    """A table of a section as a frame of text."""
    table = list(part(root, name).iter("table"))[which]
    head = [text_of(cell) for cell in table.find("thead").iter("th")]
    rows = [[text_of(cell) for cell in row] for row in table.find("tbody")]
    return pd.DataFrame(rows, columns=head)


def verdict(root, question):
    """(word, what was said) of a question."""
    rows = frame_of(root, "verdicts").set_index("Question")
    return rows.at[question, "Verdict"][2:], rows.at[question, "What was found"]


def images(folder, plates=("p",), wells=WELLS, kinds=KINDS, sites=1, drop=(), **columns):
    """A table of small images: wells of one treatment are alike, of others they are not."""
    rng = np.random.default_rng(0)
    rows = []
    (folder / "img").mkdir(parents=True)
    for number, plate in enumerate(plates):
        for i, well in enumerate(wells):
            for site in range(sites):
                kind = kinds[i] if kinds else "x"
                row = {"plate": plate, "well": well, "site": site + 1}
                if kinds:
                    control = kind in ("negcon", "poscon")
                    row["control_type"] = kind if control else None
                    row["compound"] = None if kind == "negcon" else kind
                row |= {name: values[i] for name, values in columns.items()}
                for channel, turned in (("DNA", False), ("ER", True)):
                    image = rng.normal(1000, 50, (48, 48))
                    size = {"a": 22, "b": 30, "poscon": 36}.get(kind, 14)
                    image[8 : 8 + size, 8:20] += 3000 + 100 * rng.random()
                    image = image.T if turned else image
                    name = f"img/{number}_{well}_{site}_{channel}.tif"
                    tifffile.imwrite(folder / name, image.astype(np.uint16))
                    row[channel] = name
                rows.append(row)
    pd.DataFrame(rows).drop(columns=list(drop)).to_csv(folder / "t.csv", index=False)
    return folder / "t.csv"


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    config = vit.arch_config("vit_tiny", embed_dim=12, size=32)
    checkpoints.save_model(vit.seeded(config, 0), path)
    return str(path)


@pytest.fixture(scope="session")
def extracted(weights):
    """Function that extracts a table and returns the folder."""

    def made(table, outdir=None, **options):
        outdir = outdir or table.parent / "out"
        options = {"model": weights, "max_missing": 0.5} | options
        return unidino.extract(str(table), outdir=str(outdir), **options).profiles_path.parent

    return made


@pytest.fixture(scope="session")
def folder(tmp_path_factory, extracted):
    """A plate of 24 wells, two sites each: one cannot be read, one is bright beyond its limit."""
    table = images(tmp_path_factory.mktemp("plate"), sites=2)
    (table.parent / "img" / "0_A02_0_ER.tif").write_bytes(b"no image")
    tifffile.imwrite(
        table.parent / "img" / "0_B03_1_DNA.tif",
        np.where(np.arange(48) < 24, 65535, 900).astype(np.uint16) * np.ones((48, 1), np.uint16),
    )
    return extracted(table)
