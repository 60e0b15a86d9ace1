"""The questions that the Human Protein Atlas answers: where a protein lies in the cell."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from .. import tables
from ..simulate.designs import LOCALISATIONS
from . import baselines, multilabel

LABEL, ANTIBODY, LINE, IMAGE = "label", "antibody", "cell_line", "image"

PROTEIN = "green"
"""Channel of the protein; the others show nucleus, microtubules and endoplasmic reticulum."""

LEAST = 5
"""Antibodies that must show a localisation for it to be asked about."""

_SEVERAL = {ANTIBODY: "antibodies", IMAGE: "images"}


@dataclass(frozen=True)
class Questions:
    """What can be asked of a table of images.

    Attributes
    ----------
    rows : numpy.ndarray of int
        The profiles that are asked about.
    group : str
        Column of what stays together: the antibody, or the image where none is known.
    localisation, cell_line : multilabel.Asked or None
        None where it cannot be asked.
    said : tuple of str
        What cannot be asked, or not as it should, and why.
    """

    rows: np.ndarray
    group: str
    localisation: multilabel.Asked | None
    cell_line: multilabel.Asked | None
    said: tuple

    @property
    def groups(self):
        """What stays together, in the plural."""
        return _SEVERAL[self.group]


def questions(profiles, least=LEAST, folds=5, seed=0):
    """What can be asked of profiles: localisation and cell line, split by antibody.

    Parameters
    ----------
    profiles : pd.DataFrame
        One row an image: image, and label, antibody and cell_line as far as they are there, bare
        or with ``Metadata_``; then features.
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
            said.append(f"Left out, without {name}: {int((~known).sum())} of {len(known)} images.")
            kept &= known
    rows = np.flatnonzero(kept)
    asked = profiles.iloc[rows]
    group = ANTIBODY
    if not there[ANTIBODY]:
        said.append(
            "No image has an antibody: each is split by itself, so that images of one antibody may "
            "lie on both sides. What follows is no more than an upper bound."
        )
        group = IMAGE
    made = {}
    for name, what in (
        (LABEL, "Where a protein lies"),
        (LINE, "How much of the cell line is read"),
    ):
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
                f"Left out, since fewer than {least} {_SEVERAL[group]} have or lack it: "
                f"{', '.join(left)} ({name})."
            )
    return Questions(rows, group, made[LABEL], made[LINE], tuple(said))


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


def proteins_alone(sets, channel=PROTEIN):
    """`protein_alone` of several sets.

    Parameters
    ----------
    sets : dict of str to pd.DataFrame
    channel : str

    Returns
    -------
    (dict of str to pd.DataFrame, list of str)
        Those that can be cut so, and a sentence for each other.
    """
    made, said = {}, []
    for name, profiles in sets.items():
        try:
            made[name] = protein_alone(profiles, channel)
        except ValueError as error:
            said.append(f"{name}: {error}")
    return made, said


def planted(profiles, truth):
    """What was planted in simulated images, as features: no image can tell better.

    Parameters
    ----------
    profiles : pd.DataFrame
        With image.
    truth : pd.DataFrame
        Of `simulate.planted_truth`: image, and how much the protein's channel shows of each of
        `simulate.designs.LOCALISATIONS`, what the antibody binds besides included.

    Returns
    -------
    pd.DataFrame
        The metadata of `profiles`, then ``emb_planted_0000`` … .

    Raises
    ------
    ValueError
        An image that is not in `truth`.
    """
    shares = truth.set_index(IMAGE)[list(LOCALISATIONS)]
    images = profiles[tables.find_column(profiles, IMAGE)]
    unknown = images[~images.isin(shares.index)]
    if len(unknown):
        raise ValueError(
            f"image {unknown.iloc[0]} is not in the planted truth: it belongs to other images."
        )
    names = [f"emb_planted_{i:04d}" for i in range(shares.shape[1])]
    return baselines.described(profiles, shares.loc[images].set_axis(names, axis=1))


def counted(asked):
    """How many antibodies and images have each localisation, and which are asked about.

    Parameters
    ----------
    asked : Questions

    Returns
    -------
    pd.DataFrame
        Empty where no localisation is known.
    """
    if asked.localisation is None:
        return pd.DataFrame()
    counts = asked.localisation.counts.set_index(LABEL)
    counts["asked"] = counts["asked"].map({True: "yes", False: "no"})
    if asked.group == IMAGE:
        counts = counts.drop(columns="groups")
    named = counts.rename(columns={"groups": asked.groups, "profiles": "images"})
    return named.rename_axis("localisation")


def predict(sets, question, classifiers):
    """`multilabel.predict_all`, or nothing where the question cannot be asked.

    Parameters
    ----------
    sets, classifiers
        As of `multilabel.predict_all`.
    question : multilabel.Asked or None

    Returns
    -------
    dict
    """
    return {} if question is None else multilabel.predict_all(sets, question, classifiers)


def against(predicted, first, *, draws=1000, seed=0):
    """By how much one feature set is better than the others, classifier by classifier.

    Parameters
    ----------
    predicted : dict
        Of `predict`.
    first : str
    draws, seed
        As of `multilabel.differences`.

    Returns
    -------
    pd.DataFrame
        As of `Protocol.differences`; the level is the classifier.
    """
    rows = [
        multilabel.differences(predicted[level, first], made, draws=draws, seed=seed).assign(
            **{"level": level, "compared with": name}
        )
        for (level, name), made in predicted.items()
        if name != first
    ]
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame()


def changed(new, old, hue, *, draws=1000, seed=0):
    """What a change moved, for each feature set and classifier that both have.

    Parameters
    ----------
    new, old : dict
        Of `predict`.
    hue : str
        Names the change.
    draws, seed
        As of `multilabel.differences`.

    Returns
    -------
    pd.DataFrame
        ``features``, ``hue``, ``level`` (the classifier), ``accuracy``, ``before``, ``after``,
        ``value`` (after minus before), ``low``, ``high``, ``n``.
    """
    rows = []
    for key, made in new.items():
        if key not in old:
            continue
        level, name = key
        before, after = (
            multilabel.measures(one.scores, one.asked.member) for one in (old[key], made)
        )
        part = multilabel.differences(made, old[key], draws=draws, seed=seed)
        part = part.rename(columns={"difference": "value"})
        rows.append(part.assign(features=name, hue=hue, level=level, before=before, after=after))
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame()


def unseen_lines(sets, question, classifiers, *, parts=4, seed=0):
    """Localisation in cell lines that training never showed, beside lines that it did.

    Parameters
    ----------
    sets : dict of str to pd.DataFrame
    question : multilabel.Asked or None
    classifiers : list
    parts, seed
        As of `multilabel.predict_unseen`.

    Returns
    -------
    (dict, dict)
        As of `predict`: unseen lines, and as little training with lines that were seen. Both empty
        where it cannot be asked.
    """
    unseen, seen = {}, {}
    for one in classifiers if question is not None else ():
        for name, profiles in sets.items():
            if not tables.key_columns(profiles, [LINE]):
                continue
            unseen[one.name, name], seen[one.name, name] = multilabel.predict_unseen(
                profiles, question, one, LINE, parts=parts, seed=seed
            )
    return unseen, seen
