"""A report on one plate as one file that can be mailed; ``unidino report FOLDER``."""

import sys
from pathlib import Path

from .. import arguments, tables
from ..evaluate import plate_quality
from ..pages import plate as plates
from ..progress import one_line, say
from . import montage, sections, stored, verdicts

__all__ = ["report"]

PROJECTIONS = ("pca", "umap")


def report(
    folder: str | Path,
    /,
    *,
    plate: str | None = None,
    output: str | None = None,
    profiles: str | None = None,
    label: str | None = None,
    perturbation: str | None = None,
    dose: str | None = None,
    root: str | None = None,
    remote: bool = False,
    projection: str = "pca",
    sparse: float = plate_quality.Limits.sparse,
    saturated: float = plate_quality.Limits.saturated,
    outlying: float = plate_quality.Limits.outlying,
    told: float = plate_quality.TOLD,
    level: float = 0.05,
    draws: int = 999,
    seed: int = 0,
):
    """Write an HTML report on a plate that was extracted: quality, heat maps, pictures, a map.

    The file needs nothing beside it and loads nothing. Where the dataset has no plates, the report
    is on all of it.

    Parameters
    ----------
    folder : str or Path
        The folder of one extraction, <outdir>/<model>/<valset>.
    plate : str
        Its name, or batch/plate where several have it; the only one by default.
    output : str
        The file to write; reports/<plate>_report.html below the folder by default.
    profiles : str
        File name of the table of profiles that is asked; the normalised one that was written last,
        by default.
    label : str
        Column whose values are shown; compound, gene, treatment … by default, what there is first.
    perturbation : str
        Column that replicates share, with the dose; the label by default.
    dose : str
        Column of doses; concentration or dose by default.
    root : str
        Folder that the images lie below, where the extraction was given one or they were moved.
    remote : bool
        Fetch the images of the pictures where they lie elsewhere, at addresses of the web.
    projection : {"pca", "umap"}
        How the map is made; UMAP takes longer, and its coordinates differ between machines.
    sparse : float
        Flagged: foreground or objects below this part of the plate's median, 0 to 1.
    saturated : float
        Flagged: more than this share of the pixels at the upper limit, 0 to 1.
    outlying : float
        Flagged: intensity or focus beyond this robust z of the plate.
    told : float
        Distrusted: so much of a label that row or column tells, 0 to 1.
    level : float
        Of p-values, 0 to 1.
    draws : int
        Exchanges of the wells' positions.
    seed : int
        Of exchanges and of UMAP.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    FileNotFoundError, ValueError
        No such folder, no extraction in it, an unknown or ambiguous plate, column or table,
        numbers out of their range; says what there is and what to do.
    TypeError
        A value of another type.
    OSError
        The file cannot be written.

    Examples
    --------
    >>> import unidino
    >>> from unidino.report import report
    >>> made = unidino.extract("data/example/plate.csv", platemap="data/example/layout.csv")
    >>> report(made.profiles_path.parent).name
    'example_report.html'
    """
    given = dict(locals())
    arguments.check_types(given, report)
    arguments.check_choice("projection", projection, PROJECTIONS)
    arguments.check_positive("draws", draws)
    for name in ("told", "level"):
        if not 0 < given[name] < 1:
            raise ValueError(f"{name} is {given[name]}; it is a share, above 0 and below 1.")
    limits = plate_quality.Limits(sparse, saturated, outlying)
    one = stored.read(folder, plate, profiles)
    output = one.output if output is None else Path(output)
    if output.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"output {str(output)!r} is no HTML file; give a name that ends in .html.")
    columns = plates.stored_columns(one.wells, label, perturbation, dose)
    found = verdicts.ask(one, columns, limits, told=told, level=level, draws=draws, seed=seed)
    judged = verdicts.verdicts(one, found, told=told, level=level)
    pictures = montage.photograph(one, montage.chosen(one, found, level=level), root, remote)
    text = sections.whole(one, found, judged, pictures, columns, projection, level, seed)
    with tables.atomic_path(output) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return output


def main(argv=None, program="python -m unidino.report"):
    """The command line: writes the report and prints its name."""
    options = vars(arguments.parser(report, program).parse_args(argv))
    folder = options.pop("folder")
    try:
        made = report(folder, **options)
    except (ValueError, TypeError, OSError, ImportError) as error:
        sys.exit(f"error: {one_line(error)}")
    say(f"{made.stat().st_size / 1e6:.1f} MB, one file: open it in a browser, or mail it")
    print(made)
