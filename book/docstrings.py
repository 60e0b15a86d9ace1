"""Sphinx: the line ``Source: …`` that ends a docstring is a section of its own."""


def _source_as_section(app, what, name, obj, options, lines):
    for i, line in enumerate(lines):
        if line.startswith("Source: "):
            lines[i : i + 1] = ["References", "----------", line.removeprefix("Source: ")]
            return


def setup(app):
    # Before napoleon, which takes the line for a part of the section above it.
    app.connect("autodoc-process-docstring", _source_as_section, priority=100)
    return {"parallel_read_safe": True}
