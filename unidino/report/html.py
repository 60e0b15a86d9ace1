"""Elements of a page that needs nothing beside it, each text escaped as it is put in."""

import re
from importlib import resources
from xml.etree import ElementTree

# What no HTML may hold, and what a name in a table could.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""What a browser lets the page load: nothing that is not in it, and no script at all."""


def element(tag, *content, **attributes):
    """An element of HTML or SVG.

    Parameters
    ----------
    tag : str
    *content : str, number, Element, None, or lists of these
        Texts are escaped when the page is written; None is left out.
    **attributes
        ``class_`` is the attribute class; of other names ``_`` becomes ``-``; None is left out.

    Returns
    -------
    xml.etree.ElementTree.Element
    """
    named = {
        (name.rstrip("_").replace("_", "-")): clean(value)
        for name, value in attributes.items()
        if value is not None
    }
    made = ElementTree.Element(tag, named)
    _append(made, content)
    return made


def _append(parent, content):
    for item in content:
        if item is None:
            continue
        if isinstance(item, list | tuple):
            _append(parent, item)
        elif isinstance(item, ElementTree.Element):
            parent.append(item)
        elif len(parent):
            parent[-1].tail = (parent[-1].tail or "") + clean(item)
        else:
            parent.text = (parent.text or "") + clean(item)


def clean(value):
    """A value as text without the characters that no page may hold."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", str(value))


LONG = 40
"""Characters from which on a cell of text is kept wide."""


def table(caption, header, rows, numeric=(), class_=None):
    """A table that scrolls within its own width, under its caption.

    Parameters
    ----------
    caption : str
    header : list of str
    rows : iterable of list
        Cells: texts or elements; the first of a row heads it.
    numeric : set of int
        Columns of numbers, which are set to the right.
    class_ : str, optional
    """

    def kind(column, cell=""):
        if column in numeric:
            return "number"
        first = cell[0] if isinstance(cell, list) else cell
        return "long" if isinstance(first, str) and len(first) >= LONG else None

    head = [element("th", name, scope="col", class_=kind(i)) for i, name in enumerate(header)]
    body = [
        element(
            "tr",
            [
                element("td" if i else "th", cell, class_=kind(i, cell), scope=None if i else "row")
                for i, cell in enumerate(row)
            ],
        )
        for row in rows
    ]
    made = element(
        "table",
        element("thead", element("tr", head)),
        element("tbody", body),
        class_=class_,
    )
    # Whoever has no mouse scrolls what can be focussed.
    return [
        element("p", caption, class_="caption"),
        element("div", made, class_="scroll", tabindex="0", role="region", aria_label=caption),
    ]


def prose(text):
    """A sentence as content, what stands between backticks as code."""
    parts = text.split("`")
    return [element("code", part) if i % 2 else part for i, part in enumerate(parts)]


def facts(pairs):
    """Names and values as a list of definitions."""
    return element(
        "dl",
        [element("div", element("dt", name), element("dd", value)) for name, value in pairs],
        class_="facts",
    )


def sentences(texts):
    """Sentences as a list; None where there are none."""
    return element("ul", [element("li", prose(text)) for text in texts]) if texts else None


def section(name, title, *content):
    """A part of the page under a heading, to which the list of contents leads."""
    return element("section", element("h2", title), content, id=name)


def page(title, description, *content):
    """A whole page as text.

    Parameters
    ----------
    title, description : str
    *content : Element
        What its body holds.

    Returns
    -------
    str
    """
    style = resources.files(__package__).joinpath("style.css").read_text()
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="referrer", content="no-referrer"),
        element("meta", name="description", content=description),
        element("title", title),
        element("style", "\n" + style),
    )
    whole = element("html", head, element("body", content), lang="en")
    return "<!DOCTYPE html>\n" + ElementTree.tostring(whole, "unicode", method="html") + "\n"
