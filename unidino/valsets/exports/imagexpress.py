"""MetaXpress' description of a plate (.HTD): what its wavelengths are called.

Source
------
The documentation of the crate openreadout-hcs (files of MetaMorph 6.2 and MetaXpress 6.6): lines of
a quoted key and comma-separated values, between "HTSInfoFile" and "EndFile".
"""

import contextlib
import csv
import re

from .harmony import told_apart

_MOST_BYTES = 1 << 20
_WAVE = re.compile(r"WaveName(\d+)")


def wavelength_names(path):
    """Names of the wavelengths of a plate.

    Parameters
    ----------
    path : Path
        A file of at most 1 MB; more is not read.

    Returns
    -------
    dict
        {number as in the files' names, "1": name}; empty where the file tells none. Numbers tell
        wavelengths of one name apart.
    """
    with open(path, "rb") as file:
        lines = file.read(_MOST_BYTES).decode("utf-8", "replace").splitlines()
    found = {}
    with contextlib.suppress(csv.Error):
        for row in csv.reader(lines, skipinitialspace=True):
            wave = _WAVE.fullmatch(row[0].strip()) if len(row) > 1 else None
            if wave and row[1].strip():
                found[wave[1]] = row[1].strip()
    return told_apart(found, "w")
