"""Where everything lives: the data root, the outputs, and the name of every artefact.

Writers and readers both ask this module, so that a file is never written under one name and looked
for under another. No path depends on the working directory.
"""

import hashlib
import os
import re
from pathlib import Path
from urllib.parse import quote

DATASET_FOLDERS = {
    "BBBC021": "BBBC021_v1",
    "jumpcp-valset": "JUMPCP",
    "example_data": "example_data",
    "cell-health": "Cell_Health",
    "HPA": "HPA",
    "BBBC037": "BBBC037_v1",
    "insect": "picasso-monheim",
    "worlds": "worlds",
}
"""Folder of each dataset under the data root: the published ones, and the simulated worlds."""

UNIDINO_WEIGHTS = "uniDINO.pth"
"""File name of the released weights, looked for in `checkpoint_folders`."""

NAME_BYTES = 200
"""Longest file name made of a metadata value; file systems take 255 with what is appended."""

DEMO_WEIGHTS = "unidino-demo.safetensors"
"""File name of the demo model's weights, which are part of the project."""


def _from_environment(variable):
    """Absolute folder that an environment variable names, or None when unset or empty."""
    value = os.environ.get(variable, "").strip()
    return Path(value).expanduser().resolve() if value else None


def project_root():
    """Folder that holds the project's tree, or a per-user folder for an installed wheel."""
    checkout = Path(__file__).resolve().parents[1]
    if (checkout / "_toc.yml").exists() or (checkout / "pyproject.toml").exists():
        return checkout
    return Path.home() / ".cache" / "unidino"


def data_is_simulated_default():
    """True when UNIDINO_DATA is unset, so that absent datasets are simulated."""
    return _from_environment("UNIDINO_DATA") is None


def data_root():
    """The data root: UNIDINO_DATA, else ``data/sample`` of the project.

    Raises
    ------
    FileNotFoundError
        UNIDINO_DATA names a folder that does not exist.
    """
    root = _from_environment("UNIDINO_DATA")
    if root is None:
        return project_root() / "data" / "sample"
    if not root.is_dir():
        raise FileNotFoundError(
            f"UNIDINO_DATA is {root}, which is not a folder. Set it to the folder that holds the "
            "datasets, or unset it to work on simulated ones."
        )
    return root


def real_data_root():
    """Folder of the small real data sets (UNIDINO_REAL, else ``../shared/real``), or None."""
    root = _from_environment("UNIDINO_REAL") or project_root().parent / "shared" / "real"
    return root if root.is_dir() else None


def outputs_root():
    """Folder of everything extracted: UNIDINO_OUTDIR, else ``data/embeddings``."""
    return _from_environment("UNIDINO_OUTDIR") or project_root() / "data" / "embeddings"


def results_folder():
    """Folder of a page's small tables and figures (UNIDINO_RESULTS, which `make` sets), or None."""
    return _from_environment("UNIDINO_RESULTS")


def cache_root():
    """Folder of what may be deleted at any time: UNIDINO_CACHE, else the user's own for caches."""
    user = _from_environment("XDG_CACHE_HOME") or Path.home() / ".cache"
    return _from_environment("UNIDINO_CACHE") or user / "unidino"


def cache_folder(kind, name):
    """Folder of what is remembered of one kind, such as headers, of the dataset of a name."""
    return cache_root() / kind / hashlib.sha256(str(name).encode()).hexdigest()[:16]


def fetched_folder():
    """Folder of the copies of image files that lie elsewhere, see `remote`."""
    return cache_root() / "fetched"


def checkpoint_folders():
    """Folders in which weights are looked for by name, in order; what is fetched belongs there.

    Those of simulated data come late: `make clean` removes these. An installed wheel holds the demo
    model itself.
    """
    folders = [data_root() / "checkpoints", project_root() / "data" / "checkpoints"]
    if data_is_simulated_default():
        folders.reverse()
    return [*folders, Path(__file__).with_name("demo")]


def download_root():
    """Folder of datasets that are fetched: UNIDINO_DATA, else ``data/downloaded`` of the project.

    Not ``data/sample``, whose simulated contents come and go. It need not be there yet.
    """
    return _from_environment("UNIDINO_DATA") or project_root() / "data" / "downloaded"


def received_folder(folder):
    """In a folder that is fetched into: halves of files, and what is known of the whole ones."""
    return Path(folder) / ".download"


def find_weights(file_name):
    """The file of that name in one of the checkpoint folders, or None."""
    candidates = [folder / file_name for folder in checkpoint_folders()]
    candidates.append(data_root() / file_name)
    return next((path for path in candidates if path.is_file()), None)


def dataset_folder(valset, root=None):
    """Folder of a published dataset under a data root."""
    return Path(root or data_root()) / DATASET_FOLDERS[valset]


def _digest(name):
    # Escaped text has two hexadecimal digits behind each %, so no plain name looks like this.
    return "%~" + hashlib.sha256(str(name).encode()).hexdigest()[:16]


def escape(name):
    """A file name for any metadata value: separators and odd characters percent-encoded.

    Different names stay different. Names that would be longer than `NAME_BYTES` are cut and end in
    a hash of the whole.

    Raises
    ------
    ValueError
        A name of blanks alone.
    """
    if not str(name).strip():
        raise ValueError(f"the name {str(name)!r} is empty, so no file can be called by it.")
    escaped = quote(str(name), safe=" ()+,=@[]{}~-_")
    # Some file systems hide names that begin with a point, and drop points and blanks at the end.
    escaped = re.sub(r"^\.|[. ]$", lambda odd: f"%{ord(odd[0]):02X}", escaped)
    if len(escaped) <= NAME_BYTES:
        return escaped
    digest = _digest(name)
    return re.sub("%.?$", "", escaped[: NAME_BYTES - len(digest)]) + digest


def valset_folder(outdir, model, valset):
    """``<outdir>/<model>/<valset>``, the folder of one extraction."""
    return Path(outdir) / escape(model) / escape(valset)


def site_tables(folder, plate_keys):
    """Site embeddings, one file a plate.

    Parameters
    ----------
    folder : Path
        From `valset_folder`.
    plate_keys : iterable of tuple
        The plates' keys, outermost first: (source, batch, plate), (batch, plate) or (plate,).

    Returns
    -------
    dict
        Key to path, in the order of the keys. Names that differ by case alone end in a hash, so
        that they are different files on disks that ignore case, too.
    """
    return _by_plate(Path(folder, "sites"), plate_keys, ".parquet")


def reports_folder(folder):
    """Folder of the reports on the plates of an extraction."""
    return Path(folder) / "reports"


def report_files(folder, plate_keys):
    """Reports for people, one file a plate, as `site_tables` has its tables."""
    return _by_plate(reports_folder(folder), plate_keys, "_report.html")


def _by_plate(folder, plate_keys, ending):
    plate_keys = list(plate_keys)
    spellings = {}
    for key in plate_keys:
        for i, part in enumerate(key):
            spellings.setdefault((key[:i], escape(part).lower()), set()).add(part)

    def name(key, i):
        escaped = escape(key[i])
        alone = len(spellings[key[:i], escaped.lower()]) == 1
        return escaped if alone else escaped + _digest(key[i])

    files = {}
    for key in plate_keys:
        *parents, plate = (name(key, i) for i in range(len(key)))
        files[key] = Path(folder, *parents, f"{plate}{ending}")
    return files


def profiles_table(folder, valset, norm_method, level="well", l2norm=False):
    """Profiles of an extraction, one row a well or, where there are none, one row a site."""
    method = f"l2_{norm_method}" if l2norm else norm_method
    return Path(folder) / f"{escape(valset)}_{method}_{level}_features.parquet"


def correction_file(path):
    """The fitted correction of a table of profiles, beside it."""
    return path.with_name(path.name.replace("_features.parquet", "_correction.npz"))


def anndata_file(path):
    """A table of profiles as AnnData, beside it."""
    return path.with_suffix(".h5ad")


def settings_file(folder):
    """The settings that every plate of an extraction shares."""
    return Path(folder) / "settings.json"


def lock_file(folder):
    """Beside an extraction's folder: locked by the run that is at work there."""
    return Path(folder).with_name(f".{Path(folder).name}.lock")


def runs_folder(folder):
    """Beside an extraction's folder: a locked file for each run that is at work there."""
    return Path(folder).with_name(f".{Path(folder).name}.runs")


def plate_lock_file(table):
    """Beside a plate's table: locked by the run that embeds the plate."""
    return table.with_name(f".{table.stem}.lock")


def parts_folder(table):
    """Beside a plate's table, while it is not there: parts of the plate that are finished."""
    return table.with_name(f".{table.stem}.parts")


def illumination_folder(folder, table=None):
    """Folder of the illumination functions that were estimated for the plate of a site table, or
    for a dataset without plates."""
    within = Path(folder, "illumination")
    if table is None:
        return within
    return within / table.relative_to(Path(folder, "sites")).parent / table.stem


def illumination_functions(folder, channels):
    """{channel: file} of the functions in a folder from `illumination_folder`.

    Names that differ by case alone end in a hash, as those of `site_tables`.
    """
    folded = [escape(channel).lower() for channel in channels]
    files = {}
    for channel, name in zip(channels, folded, strict=True):
        alone = folded.count(name) == 1
        files[channel] = Path(folder, f"{escape(channel)}{'' if alone else _digest(channel)}.npy")
    return files


def illumination_record(folder):
    """What the functions in a folder from `illumination_folder` were estimated of."""
    return Path(folder) / "illumination.json"


def aside_folder(folder):
    """Where an overwrite keeps the earlier extraction until there is a new plate."""
    return Path(folder).with_name(f".{Path(folder).name}.replaced")


def log_file(folder):
    """What a run said while it worked."""
    return Path(folder) / "extract.log"
