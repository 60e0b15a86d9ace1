"""The questions that the Human Protein Atlas answers: where a protein lies in the cell."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from .. import tables
from . import baselines, multilabel

LABEL, ANTIBODY, LINE, IMAGE = "label", "antibody", "cell_line", "image"

PROTEIN = "green"
"""Channel of the protein; the others show nucleus, microtubules and endoplasmic reticulum."""

LEAST = 5
"""Antibodies that must show a localisation for it to be asked about."""


@dataclass(frozen=True)
class Questions:
    """What can be asked of a table of images.

    Attributes
    ----------
    rows : numpy.ndarray of int
        The profiles that are asked about.
    localisation, cell_line : multilabel.Asked or None
        None where it cannot be asked.
    said : tuple of str
        What cannot be asked, or not as it should, and why.
    """

    rows: np.ndarray
    localisation: multilabel.Asked | None
    cell_line: multilabel.Asked | None
    said: tuple


def questions(profiles, least=LEAST, folds=5, seed=0):
    """What can be asked of profiles: localisation and cell line, split by antibody.

    Parameters
    ----------
    profiles : pd.DataFrame
        One row an image: label, antibody and cell_line, bare or with ``Metadata_``, as far as they
        are there, then features.
    least, folds, seed
        As of `multilabel.ask`.

    Returns
    -------
    Questions
        Images without label or antibody are left out. Where no antibody is known, each image is
        taken for one of its own, which is said.
    """
    said = []
    kept = np.ones(len(profiles), bool)
    there = {}
    for name in (ANTIBODY, LABEL, LINE):
        column = tables.key_columns(profiles, [name])
        known = profiles[column[0]].notna().to_numpy() if column else np.zeros(len(kept), bool)
        there[name] = known.any()
        if there[name] and not known.all():
            said.append(f"{int((~known).sum())} images without {name} are left out.")
            kept &= known
    rows = np.flatnonzero(kept)
    asked = profiles.iloc[rows]
    group = ANTIBODY
    if not there[ANTIBODY]:
        said.append(
            "No image has an antibody: each is split by itself, so that images of one antibody may "
            "lie on both sides. What follows is no more than an upper bound."
        )
        group = "Metadata_split"
        asked = asked.assign(**{group: np.arange(len(asked))})
    made = {}
    for name, what in ((LABEL, "Where a protein lies"), (LINE, "How much of the cell line is read")):
        made[name] = None
        if not there[name]:
            said.append(f"{what} cannot be asked: no image has a {name}.")
            continue
        try:
            made[name] = multilabel.ask(asked, name, group, least=least, folds=folds, seed=seed)
        except ValueError as error:
            said.append(f"{what} cannot be asked: {error}")
            continue
        counts = made[name].counts
        left = counts.loc[~counts["asked"], name]
        if len(left):
            said.append(
                f"Left out, since fewer than {least} antibodies have or lack it: "
                f"{', '.join(left)} ({name})."
            )
    return Questions(rows, made[LABEL], made[LINE], tuple(said))


def protein_alone(profiles, channel=PROTEIN):
    """The profiles with the features of the protein's channel alone.

    Raises
    ------
    ValueError
        No feature of that channel: a table whose features name none, or name others.
    """
    features = tables.feature_columns(profiles)
    own = [name for name in features if tables.feature_channel(name) == channel]
    if not own:
        have = ", ".join(dict.fromkeys(map(tables.feature_channel, features)))
        raise ValueError(f"no feature of the channel {channel}; the features are of {have}.")
    return profiles[[*tables.metadata_columns(profiles), *own]]


def planted(profiles, truth, classes):
    """What was planted in simulated images, as features: what no image can tell better.

    Parameters
    ----------
    profiles : pd.DataFrame
        With image.
    truth : pd.DataFrame
        Of `simulate.planted_truth`: image, and the share of each localisation.
    classes : list of str
        Columns of `truth` that are taken.

    Returns
    -------
    pd.DataFrame
        The metadata of `profiles`, then ``emb_planted_0000`` … .

    Raises
    ------
    ValueError
        An image that is not in `truth`, a class that is no column of it.
    """
    lacking = [name for name in classes if name not in truth.columns]
    if lacking:
        raise ValueError(f"the planted truth has no column {lacking[0]!r}; it has others' names.")
    shares = truth.set_index(IMAGE)[list(classes)]
    images = profiles[tables.find_column(profiles, IMAGE)]
    unknown = images[~images.isin(shares.index)]
    if len(unknown):
        raise ValueError(f"image {unknown.iloc[0]} is not in the planted truth.")
    features = shares.loc[images].set_axis(
        [f"emb_planted_{i:04d}" for i in range(len(classes))], axis=1
    )
    return baselines.described(profiles, features)

