"""Whether an extraction on disk is whole and of one piece; ``unidino verify FOLDER``."""

import sys
from collections import Counter
from pathlib import Path

from .. import arguments
from ..progress import one_line
from .contents import Contents, agreed, recorded_settings
from .findings import Finding
from .functions import function_findings
from .origin import opened
from .profile_tables import Before, is_before, profile_findings
from .site_tables import Total, site_findings

__all__ = ["Finding", "verify"]


def verify(folder: str | Path, /):
    """Read an extraction back and find what is damaged, mixed up or missing.

    Every table is read whole, its pages against their checksums, one plate at a time: memory
    follows the largest plate and the profiles, not the number of sites. Nothing is written.

    Parameters
    ----------
    folder : str or Path
        The folder of one extraction, <outdir>/<model>/<valset>.

    Returns
    -------
    list of Finding
        What is wrong, and notes; empty where all is well. Compared are: the settings of every table
        with ``settings.json``; site tables with the dataset, where that is still there: its plates,
        the sites of each, once; the statuses with the counts in the provenance, the image ids with
        their hash; features: the same in all plates, finite, missing where a site failed; the
        profiles before normalisation with the mean or median of the sites; those after it, and
        copies as CSV, with those before it; each table with the JSON beside it; estimated
        illumination functions with what the tables say of them.

    Raises
    ------
    FileNotFoundError, ValueError
        No such folder; one that holds no extraction.
    TypeError
        A folder that is neither text nor a path.

    Examples
    --------
    >>> import unidino
    >>> from unidino.verify import verify
    >>> made = unidino.extract("data/example/plate.csv", platemap="data/example/layout.csv")
    >>> verify(made.profiles_path.parent)
    []
    """
    arguments.check_types({"folder": folder}, verify)
    return [finding for finding in _findings(Contents(folder)) if finding.kind != "fine"]


def _findings(found):
    """Every `Finding`, those of tables that are fine too, as they are made."""
    folder = found.folder
    yield from found.oddities()
    recorded, notes = recorded_settings(folder)
    yield from notes
    whole = [table for table in (*found.sites, *found.profiles) if not table.damage]
    recorded, notes = agreed(recorded, whole)
    yield from notes
    origin, notes = opened(recorded)
    yield from notes
    before = [Before(table) for table in found.profiles if is_before(table, folder)]
    total = Total()
    yield from site_findings(found, recorded, origin, before, total)
    yield from function_findings(found)
    yield from profile_findings(found, recorded, before, total)


def main(argv=None, program="python -m unidino.verify"):
    """The command line: a line a table, then a summary; exit status 1 if something is wrong."""
    parser = arguments.parser(verify, program)
    folder = parser.parse_args(argv).folder
    try:
        found = Contents(folder)
    except (FileNotFoundError, ValueError) as error:
        parser.error(one_line(error))
    kinds = Counter()
    for finding in _findings(found):
        print(finding, flush=True)
        kinds[finding.kind] += 1
    told = f"{kinds['fine']} tables are fine, {kinds['wrong']} things are wrong"
    print(f"{folder}: {told}, {kinds['note']} notes")
    if kinds["wrong"]:
        sys.exit(1)
