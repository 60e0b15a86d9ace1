"""What the published datasets share: where they lie, and how their tables are read."""

from pathlib import Path

import numpy as np

from .. import paths
from ..metadata import Metadata
from ..tables import read_csv

PHENIX_CHANNELS = ("DNA", "ER", "RNA", "AGP", "Mito")
"""Channels 1 to 5 of the Cell Painting sets, in file-name order."""


def existing(*candidates):
    """The first of these files that exists, plain or as .gz, or None."""
    for candidate in candidates:
        for file in (candidate, candidate.with_name(candidate.name + ".gz")):
            if file.is_file():
                return file
    return None


def table(*candidates):
    """A table that must exist under one of these names."""
    file = existing(*candidates)
    if file is None:
        raise FileNotFoundError(
            f"no table at {candidates[0]}. Put the dataset there (unidino download lists what "
            "can be fetched), set UNIDINO_DATA to the folder that holds it, or unset UNIDINO_DATA "
            "to work on simulated data."
        )
    return read_csv(file)


def require(frame, columns, file):
    lacking = [column for column in columns if column not in frame.columns]
    if lacking:
        raise ValueError(
            f"{file} lacks the columns {', '.join(lacking)}; it has "
            f"{', '.join(map(str, frame.columns))}."
        )


class PublishedMetadata(Metadata):
    """What the seven published datasets share.

    Parameters
    ----------
    single_channel_metadata : bool
        One row an image and channel.
    root : str or Path, optional
        Data root; UNIDINO_DATA, else ``data/sample``, where absent datasets are simulated.
    check_files : bool
        Check that every image is there.
    """

    is_merged = False

    def __init__(self, single_channel_metadata=False, root=None, check_files=True):
        self.single_channel_metadata = False
        folder = self._find_folder(root)
        self.root = str(folder)
        self.simulated = (folder / "SIMULATED.json").is_file()
        self.channels = list(type(self).channels)
        self.metadata = self._mark(self._sites(folder)).reset_index(drop=True)
        self.validate(check_files=check_files)
        if single_channel_metadata:
            self.as_single_channel()

    def _find_folder(self, root):
        if root is None and paths.data_is_simulated_default():
            from .. import simulate

            simulate.ensure(self.valset, paths.data_root())
        folder = paths.dataset_folder(self.valset, root).absolute()
        # A root may hold the tables of one dataset directly, with the images elsewhere.
        if not folder.is_dir() and root is not None and Path(root).is_dir():
            return Path(root).absolute()
        return folder

    def _mark(self, frame):
        return frame

    def _downsampled(self, controls, share, by):
        """Keep a seeded share of the controls of every plate, as the published training mix."""
        generator = np.random.default_rng(0)
        keep = ~controls.to_numpy()
        for _, rows in (
            controls[controls].groupby([self.metadata[name] for name in by]).groups.items()
        ):
            count = max(1, round(share * len(rows)))
            keep[generator.choice(np.asarray(rows), count, replace=False)] = True
        return self.metadata[keep].reset_index(drop=True)
