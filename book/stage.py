"""Set up a book of pages made from a data root of one's own.

    python book/stage.py FOLDER

Copies the chapters and the configuration to FOLDER, whose ``book/results`` holds the pages. Pages
that were not made there are left out of the contents.
"""

import shutil
import sys
from pathlib import Path

import yaml
from digest import ROOT


def without(contents, absent):
    """A table of contents without some files, nor parts that would be empty."""
    if isinstance(contents, list):
        kept = [without(entry, absent) for entry in contents]
        return [entry for entry in kept if entry]
    if isinstance(contents, dict):
        if contents.get("file") in absent:
            return None
        kept = {key: without(value, absent) for key, value in contents.items()}
        return None if kept.get("chapters") == [] else kept
    return contents


def files(contents):
    """Every file that a table of contents names."""
    if isinstance(contents, list):
        return [name for entry in contents for name in files(entry)]
    if isinstance(contents, dict):
        own = [contents[key] for key in ("root", "file") if key in contents]
        return own + [name for value in contents.values() for name in files(value)]
    return []


def stage(folder):
    """Copy all but the pages; the pages that are missing."""
    folder = Path(folder)
    left_out = shutil.ignore_patterns("results", "*.py", "__pycache__")
    shutil.copytree(ROOT / "book", folder / "book", ignore=left_out, dirs_exist_ok=True)
    shutil.copyfile(ROOT / "_config.yml", folder / "_config.yml")
    contents = yaml.safe_load((ROOT / "_toc.yml").read_text())
    absent = [
        name
        for name in files(contents)
        if not any((folder / f"{name}{suffix}").is_file() for suffix in (".md", ".ipynb"))
    ]
    text = yaml.safe_dump(without(contents, absent), sort_keys=False)
    (folder / "_toc.yml").write_text(text)
    return absent


if __name__ == "__main__":
    for name in stage(sys.argv[1]):
        print(f"not in this book, since it was not made: {name}")
