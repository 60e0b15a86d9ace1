"""Pages are well-formed whatever is put into them, and load nothing."""

from xml.etree import ElementTree

import pytest

from unidino.report import html

from .conftest import parsed, text_of

HOSTILE = "<script>alert(1)</script> & \"quoted\" 'too' ]]> --> </style>"


def test_texts_and_attributes_come_back_as_they_were():
    made = html.page(HOSTILE, HOSTILE, html.element("p", HOSTILE, title=HOSTILE, data_x=HOSTILE))
    root = parsed(made)
    paragraph = root.find("body/p")
    assert paragraph.text == paragraph.get("title") == paragraph.get("data-x") == HOSTILE
    assert root.find("head/title").text == HOSTILE
    assert not list(root.iter("script"))
    assert [node.tag for node in root.find("body")] == ["p"]


def test_characters_that_no_page_may_hold_are_replaced():
    assert html.clean("a\x00b\x1bc\ud800d\n\te") == "a\ufffdb\ufffdc\ufffdd\n\te"
    html.page("\x00", "", html.element("p", "\x08")).encode()


def test_content_keeps_its_order():
    made = html.element("p", "a", [html.element("b", 1), None, "c"], html.element("i"), 2.5)
    assert ElementTree.tostring(made, "unicode", method="html") == "<p>a<b>1</b>c<i></i>2.5</p>"
    assert html.element("a", class_="x", for_=None).attrib == {"class": "x"}


def test_a_page_may_load_nothing():
    root = parsed(html.page("t", "d"))
    policy = {
        node.get("http-equiv"): node.get("content") for node in root.iter("meta")
    }["Content-Security-Policy"]  # fmt: skip
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    assert root.get("lang") == "en"
    style = root.find("head/style").text
    assert "url(" not in style and "@import" not in style and "<" not in style


def test_tables_have_heads_and_numbers_on_the_right():
    caption, scrolled = html.table("All", ["name", "n"], [["a", 1], ["b" * 50, 22]], {1})
    assert caption.text == scrolled.get("aria-label") == "All"
    rows = list(scrolled.iter("tr"))
    assert [text_of(cell) for cell in rows[1]] == ["a", "1"]
    assert [cell.get("scope") for row in rows for cell in row] == [
        "col", "col", "row", None, "row", None,
    ]  # fmt: skip
    assert [row[1].get("class") for row in rows] == ["number"] * 3
    assert [row[0].get("class") for row in rows] == [None, None, "long"]


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("plain", "plain"),
        ("use `a b` here", "use <code>a b</code> here"),
        ("`x`", "<code>x</code>"),
    ],
)
def test_what_stands_between_backticks_is_code(text, made):
    paragraph = html.element("p", html.prose(text))
    assert ElementTree.tostring(paragraph, "unicode", method="html") == f"<p>{made}</p>"


def test_no_sentences_are_no_list():
    assert html.sentences([]) is None
    assert len(html.sentences(["a", "b"])) == 2
