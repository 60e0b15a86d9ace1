"""Where everything lives: the data root, the outputs, and the name of every artefact.

Writers and readers both ask this module, so that a file is never written under one name and looked
for under another. No path depends on the working directory.
"""

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
}
"""Folder of each published dataset under the data root."""

UNIDINO_WEIGHTS = "uniDINO.pth"
"""File name of the released weights, looked for under ``<data root>/checkpoints``."""

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
    """Folder of the small committed tables and figures: UNIDINO_RESULTS, else ``book/results``."""
    return _from_environment("UNIDINO_RESULTS") or project_root() / "book" / "results"


def checkpoint_folders():
    """Folders in which weights are looked for by name, in order."""
    return [data_root() / "checkpoints", project_root() / "data" / "checkpoints"]


def dataset_folder(valset, root=None):
    """Folder of a published dataset under a data root."""
    return Path(root or data_root()) / DATASET_FOLDERS[valset]


def escape(name):
    """A file name for any metadata value: separators and odd characters percent-encoded.

    Different names stay different (also on file systems that ignore case only where the names
    themselves differ by more than case).
    """
    escaped = quote(str(name), safe=" ()+,=@[]{}~-_")
    return re.sub(r"^\.", "%2E", escaped)


def valset_folder(outdir, model, valset):
    """``<outdir>/<model>/<valset>``, the folder of one extraction."""
    return Path(outdir) / escape(model) / escape(valset)


def site_table(folder, plate_key):
    """Site embeddings of one plate.

    Parameters
    ----------
    folder : Path
        From `valset_folder`.
    plate_key : sequence
        The plate's key, outermost first: (source, batch, plate), (batch, plate) or (plate,).
    """
    *parents, plate = (escape(part) for part in plate_key)
    return Path(folder, "sites", *parents, f"{plate}.parquet")


def profiles_table(folder, valset, norm_method, operation="mean", l2norm=False):
    """Profiles of an extraction; operation "none" keeps one row a site."""
    level = "site" if operation == "none" else "well"
    method = f"l2_{norm_method}" if l2norm else norm_method
    return Path(folder) / f"{escape(valset)}_{method}_{level}_features.parquet"


def settings_file(folder):
    """The settings that every plate of an extraction shares."""
    return Path(folder) / "settings.json"


def log_file(folder):
    """What a run said while it worked."""
    return Path(folder) / "extract.log"
