r"""How microscopes name their files: one pattern an instrument, confirmed by the sources named.

Sources
-------
Opera Phenix, Operetta: files of the Cell Painting Gallery (cpg0000-jump-pilot); Revvity's wording
on the OME forum (r row, c column, f field, p plane, ch channel, the rest not in use); sk counts
time points (the documentation of the crate openreadout-hcs, checked against Bio-Formats).
ImageXpress: `MetaxpressTiffReader.java` of ome/bioformats; files of BBBC021 and of cpg0016-jump,
source_8. ImageXpress HCS.ai: the documentation of fractal-uzh-converters.
CellVoyager CV7000, CV8000: `tests/test_unit_parse_metadata_from_filename.py` of
fractal-analytics-platform/fractal-tasks-core; cpg0016-jump, source_10.
CQ1: `CellVoyagerReader.java` of ome/bioformats, which builds W%dF%03dT%04dZ%02dC%d.tif; the dataset
of thread 52615 of forum.image.sc.
IN Cell Analyzer: `InCellReader.java` of ome/bioformats; CellProfiler/CellProfiler#3725.
ArrayScan, CellInsight: "ArrayScan VTI HCS Reader: User's Guide Addendum" of Cellomics, chapter 5.
Cytation: Zenodo record 5933221 (a pipeline of CellProfiler for it); thread 69372 of forum.image.sc.
scan^R: `ScanrReader.java` of ome/bioformats; thread 14872 of forum.image.sc.
"""

import re
from dataclasses import dataclass

_SUFFIX = r"\.(?i:tiff?|png|jpe?g)"
_GUID = r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"
_ROW = r"(?:[A-Z]|A[A-F])"  # of at most 1536 wells; s12 is a site, w12 a wavelength
_WELL = rf"(?P<well>{_ROW}\d{{2}})"
_WELL_SHORT = rf"(?P<well>{_ROW}\d{{1,2}})"

_METAXPRESS_FOLDERS = re.compile(r"(?i:timepoint_(?P<timepoint>\d+)|zstep_(?P<plane>\d+)|images?)")

THUMBNAIL = re.compile(rf".*_thumb(?:_?\[?{_GUID}\]?)?{_SUFFIX}")
"""MetaXpress' thumbnails, which lie beside its images."""


@dataclass(frozen=True)
class Layout:
    """How one software names its images.

    Attributes
    ----------
    name : str
    pattern : re.Pattern
        Of the whole name of a file; its groups are well (or row and column), site, channel, plane,
        timepoint, and prefix, what stands before them.
    example : str
    channel : str
        What a channel is called, of what its group matched.
    folders : re.Pattern
        Folders inside of a plate's; its groups are plane and timepoint.
    weak : bool
        Other images have such names, too: they count where no others are known.
    """

    name: str
    pattern: re.Pattern
    example: str
    channel: str = "{}"
    folders: re.Pattern = re.compile(r"(?i:images?)")
    weak: bool = False


LAYOUTS = (
    Layout(
        "Opera Phenix or Operetta (Harmony)",
        re.compile(
            r"(?i:r(?P<row>\d{1,3})c(?P<column>\d{1,3})f(?P<site>\d+)p(?P<plane>\d+)(?:rc\d+)?"
            r"-ch(?P<channel>\d+)(?:sk(?P<timepoint>\d+))?(?:fk\d+)?(?:fl\d+)?)" + _SUFFIX
        ),
        "r01c02f03p01-ch1sk1fk1fl1.tiff",
        "ch{}",
    ),
    Layout(
        "CellVoyager CV7000 or CV8000",
        re.compile(
            rf"(?P<prefix>.+)_{_WELL}_T(?P<timepoint>\d+)F(?P<site>\d+)L\d+A\d+"
            rf"Z(?P<plane>\d+)C(?P<channel>\d+){_SUFFIX}"
        ),
        "plate_A02_T0001F003L01A01Z01C01.tif",
        "C{}",
    ),
    Layout(
        "CQ1",
        re.compile(
            # Z000 is the projection of the others.
            r"W(?P<well>\d+)F(?P<site>\d+)T(?P<timepoint>\d+)Z(?:00+|(?P<plane>\d+))"
            r"C(?P<channel>\d+)" + _SUFFIX
        ),
        "W0002F0003T0001Z001C1.tif",
        "C{}",
        re.compile(r"(?i:images?|projection|field\d+)"),
    ),
    Layout(
        "IN Cell Analyzer",
        re.compile(
            r"(?P<row>[A-Za-z]{1,2}) - (?P<column>\d{1,2})\(fld (?P<site>\d+)"
            r"(?: wv (?P<channel>[^()]+?))?(?: z (?P<plane>\d+))?"
            r"(?: time (?P<timepoint>\d+) - \d+ ?ms)?\)" + _SUFFIX
        ),
        "A - 02(fld 3 wv DAPI - DAPI).tif",
    ),
    Layout(
        "scan^R",
        re.compile(
            rf"{_WELL_SHORT}--W\d+--P(?P<site>\d+)--Z(?P<plane>\d+)--T(?P<timepoint>\d+)"
            rf"--(?P<channel>.+){_SUFFIX}"
        ),
        "A2--W00002--P00003--Z00000--T00000--DAPI.tif",
        folders=re.compile(r"(?i:data|images?)"),
    ),
    Layout(
        "Cytation (Gen5)",
        re.compile(
            rf"{_WELL_SHORT}_-?\d{{1,2}}_\d+_(?P<site>\d+)_(?P<channel>.+)_(?P<timepoint>\d{{3}})"
            + _SUFFIX
        ),
        "A2_01_1_3_DAPI_001.tif",
    ),
    Layout(
        "ImageXpress HCS.ai",
        re.compile(
            rf"(?P<prefix>.+)_t(?P<timepoint>\d+)_{_WELL}_s(?P<site>\d+)_w(?P<channel>\d+)"
            rf"_z(?P<plane>\d+){_SUFFIX}"
        ),
        "protocol_t0_A02_s3_w0_z0.tif",
        "w{}",
        re.compile(r"(?i:timepoint\d+|experiment)"),
    ),
    Layout(
        "ArrayScan or CellInsight",
        re.compile(rf"(?:(?P<prefix>.+)_)?{_WELL}f(?P<site>\d{{2,3}})d(?P<channel>\d){_SUFFIX}"),
        "plate_A02f03d0.TIF",
        "d{}",
    ),
    Layout(
        "ImageXpress (MetaXpress)",
        re.compile(
            rf"(?=.*(?:_s\d|_w\d|{_GUID}))(?:(?P<prefix>.+)_)?{_WELL}(?:_s(?P<site>\d+))?"
            rf"(?:_w(?P<channel>\d{{1,2}}))?(?:_?\[?{_GUID}\]?)?{_SUFFIX}"
        ),
        "plate_A02_s3_w1AB12CD34-….tif",
        "w{}",
        _METAXPRESS_FOLDERS,
    ),
    Layout(
        "ImageXpress (MetaXpress), one image a well",
        re.compile(rf"(?P<prefix>.+)_{_WELL}{_SUFFIX}"),
        "plate_A02.tif",
        "w{}",
        _METAXPRESS_FOLDERS,
        weak=True,
    ),
)
"""The names that are known, the more particular ones first."""

HARMONY = LAYOUTS[0]
IMAGEXPRESS = LAYOUTS[-2]
