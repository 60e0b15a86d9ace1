"""Illumination functions that were estimated, held against the tables that they were used for."""

from .. import paths, tables
from .findings import Finding

REMEDY = (
    "Run the same command with overwrite, or restore the file: the images cannot be corrected "
    "again as they were"
)


def functions_of(table, folder):
    """{file: its SHA-256} of the functions that a table says it was made with, stored beside it.

    Parameters
    ----------
    table : findings.Table
    folder : Path
        Of the extraction.
    """
    light = table.made.get("illumination")
    if table.damage or not isinstance(light, dict) or light.get("kind") != "estimated":
        return {}
    told = light["functions"]
    within = paths.illumination_folder(folder, table.file)
    if not paths.illumination_record(within).exists():
        # Parts of a dataset without plates share their functions.
        within = paths.illumination_folder(folder)
    files = paths.illumination_functions(within, table.made["settings"]["channels"])
    return {file: told[channel]["sha256"] for channel, file in files.items() if channel in told}


def function_findings(found):
    """Findings on the functions of all site tables, each function once.

    Parameters
    ----------
    found : contents.Contents
    """
    seen = {}
    for table in found.sites:
        for file, digest in functions_of(table, found.folder).items():
            if file not in seen:
                seen[file] = tables.sha256_file(file) if file.is_file() else None
            if seen[file] == digest:
                continue
            name = file.relative_to(found.folder).as_posix()
            what = "is missing" if seen[file] is None else "is not the one"
            what += f" that {table.name} says its images were divided by"
            yield Finding("wrong", name, what, REMEDY)
