"""Three questions of retrieval under their names, with the pair rules that belong to each.

Is a treatment unlike the controls (`activity`), unlike every other treatment (`distinctiveness`),
and like those of its mechanism (`consistency`)? Each row says which rules it was asked under.

Source: Kalinin et al. 2025 (doi 10.1038/s41467-025-60306-2).
"""

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from .. import arguments, tables
from ..profiles.reference import reference_rows
from . import significance, similarity
from .retrieval import packed, ranking_scores

POSITIONS = ("barred", "allowed")
NOT_ASKABLE = "not askable: one position a treatment"
_NOT_EXCLUDED = "position not excluded"
_ALONE = "not askable: one profile"
_NO_NEGATIVE = "not askable: nothing to compare with on its plates"

# Pairs of a query and another that are ranked at a time.
_BLOCK_PAIRS = 2**22


def activity(
    profiles,
    perturbation="compound",
    *,
    controls="negcon",
    plate="plate",
    well="well",
    same_position="barred",
    metric="cosine",
    features=None,
    null_size=10000,
    seed=0,
):
    """Does a treatment's well find its replicates before the negative controls of its own plate?

    Parameters
    ----------
    profiles : pd.DataFrame
        One row a well: metadata, bare or with ``Metadata_``, then features.
    perturbation : str
        What replicates share: a treatment, or a compound of one dose.
    controls : str
        Rows of the negative controls: "negcon" (control_type) or a query. They are compared with,
        and never asked about. Other controls are treatments like any other.
    plate, well : str
        Columns; wells of one name on several plates are one position.
    same_position : {"barred", "allowed"}
        Whether a replicate at the same position counts as one: what is alike there may be the
        position.
    metric, features
        As of `retrieval.average_precision`.
    null_size, seed : int
        Of the drawn p-values.

    Returns
    -------
    pd.DataFrame
        One row a perturbation, in the order of first appearance: its column, ``n_wells``, the
        columns of `significance.grouped` (missing where it could not be asked), ``same_position``
        and ``said`` (why not, or "position not excluded" where some replicate lay at the same).

    Raises
    ------
    ValueError
        A column that does not exist or has missing values, no controls, no perturbation that can
        be asked about; as `retrieval.average_precision`.
    """
    asked = _Wells(profiles, perturbation, controls, plate, well, same_position, metric, features)
    if not asked.control.any():
        raise ValueError(
            "activity compares with negative controls, and the profiles hold none; name them as "
            "`controls`, a query such as \"compound == 'DMSO'\"."
        )
    return asked.told(asked.scores(lambda block: asked.control[block]), null_size, seed)


def pooled_activity(
    tables_of_wells,
    perturbation="compound",
    *,
    controls="negcon",
    plate="plate",
    well="well",
    same_position="barred",
    metric="cosine",
    features=None,
    null_size=10000,
    seed=0,
):
    """`activity` of the same treated wells in several tables, each with controls of its own.

    So are treatments compared with controls that a correction did not see: a table a plate, all
    treated wells and the controls of that plate, corrected by the controls of the others
    (`profiles.held_out`). Wells without a control on their plate are not asked in that table.

    Parameters
    ----------
    tables_of_wells : list of pd.DataFrame
        The same treated wells in each.
    perturbation, controls, plate, well, same_position, metric, features, null_size, seed
        As of `activity`.

    Returns
    -------
    pd.DataFrame
        As of `activity`; the mean of a perturbation is over its wells in all tables.

    Raises
    ------
    ValueError
        As `activity`; no table, tables of different perturbations.
    """
    asked = [
        _Wells(wells, perturbation, controls, plate, well, same_position, metric, features)
        for wells in tables_of_wells
    ]
    if not asked:
        raise ValueError("there is no table of wells to ask about.")
    first = asked[0]
    place = {name: code for code, name in enumerate(first.names)}
    parts = []
    for own in asked:
        if own.treatments() != first.treatments():
            raise ValueError(
                f"the tables hold different {first.key}s; give the same wells in each."
            )
        scores = own.scores(lambda block, own=own: own.control[block])
        if scores is not None:
            parts.append(scores.assign(code=[place[own.names[code]] for code in scores["code"]]))
    scores = pd.concat(parts, ignore_index=True) if parts else None
    return first.told(scores, null_size, seed)


def distinctiveness(
    profiles,
    perturbation="compound",
    *,
    controls="negcon",
    plate="plate",
    well="well",
    same_position="barred",
    metric="cosine",
    features=None,
    null_size=10000,
    seed=0,
):
    """Does a treatment's well find its replicates before all other wells of its own plate?

    Parameters
    ----------
    profiles, perturbation, plate, well, same_position, metric, features, null_size, seed
        As of `activity`.
    controls : str
        As of `activity`; here they are compared with beside the other treatments, and may be
        absent.

    Returns
    -------
    pd.DataFrame
        As of `activity`.

    Raises
    ------
    ValueError
        As `activity`.
    """
    asked = _Wells(profiles, perturbation, controls, plate, well, same_position, metric, features)
    return asked.told(asked.scores(lambda block: np.ones(len(block), bool)), null_size, seed)


class _Wells:
    """Wells as `activity` and `distinctiveness` compare them."""

    def __init__(self, profiles, perturbation, controls, plate, well, same_position, metric, names):
        arguments.check_choice("same_position", same_position, POSITIONS)
        arguments.check_choice("metric", metric, similarity.METRICS)
        self.metric, self.barred = metric, same_position == "barred"
        features = similarity.find_features(profiles, names, [perturbation, plate, well])
        self.key = tables.find_column(profiles, perturbation)
        self.control = control_rows(profiles, controls)
        rows = np.arange(len(profiles))
        codes, self.names = pd.factorize(profiles[self.key])
        similarity.refuse(
            rows[(codes < 0) & ~self.control],
            f"have no {self.key}",
            "; name what each holds, or remove such profiles first.",
        )
        # A control is not asked about, whatever it is called.
        self.codes = np.where(self.control, -1, codes)
        self.plates, self.positions = (
            similarity.whole_codes(profiles, name) for name in (plate, well)
        )
        self.values = similarity.comparable(profiles, features, metric)
        self.width = similarity.tie_widths(self.values, metric)
        self.counts = np.bincount(self.codes[self.codes >= 0], minlength=len(self.names))
        self.members = pd.Series(rows).groupby(self.codes).indices

    def treatments(self):
        """How many wells each perturbation has."""
        return {name: n for name, n in zip(self.names, self.counts, strict=True) if n}

    def scores(self, negatives):
        """One row a well, or None; `negatives` says which rows of a plate are compared with."""
        parts = []
        for members in pd.Series(self.plates).groupby(self.plates).indices.values():
            against = members[negatives(members)]
            replicates = np.append(self.counts, 0)[self.codes[members]]
            # Queries of about as many replicates together: rankings of one block are equally long.
            magnitude = np.frexp(replicates)[1]
            for size in np.unique(magnitude[replicates > 1]):
                queries = members[magnitude == size]
                step = max(1, _BLOCK_PAIRS // (len(against) + 2**size))
                for first in range(0, len(queries), step):
                    parts.append(self._ranked(queries[first : first + step], against))
        return pd.concat(parts, ignore_index=True) if parts else None

    def _ranked(self, own, against):
        """Scores of some wells of one plate."""
        codes = self.codes[own]
        negative = similarity.distances(self.values[own], self.values[against], self.metric)
        negative[codes[:, None] == self.codes[against]] = np.inf
        positive = np.full((len(own), self.counts[codes].max()), np.inf)
        for code in np.unique(codes):
            rows, others = np.flatnonzero(codes == code), self.members[code]
            queries = own[rows]
            block = similarity.distances(self.values[queries], self.values[others], self.metric)
            block[queries[:, None] == others] = np.inf
            if self.barred:
                block[self.positions[queries, None] == self.positions[others]] = np.inf
            positive[rows, : len(others)] = block
        return ranking_scores(positive, negative, self.width).assign(code=codes)

    def told(self, scores, null_size, seed):
        """The rows of all perturbations, with what is to be said of each."""
        asked = scores is not None and scores["average_precision"].notna().any()
        if not asked:
            raise ValueError(
                f"no {self.key} can be asked about: none has two profiles"
                f"{' at different positions' if self.barred else ''} with something to compare "
                "them with on their plates."
                + (
                    " Set same_position to 'allowed' to count replicates at one position."
                    * self.barred
                )
            )
        made = significance.grouped(scores, ["code"], null_size, seed).set_index("code")
        made = made.reindex(np.flatnonzero(self.counts))
        several, one_place = self._replicated()
        lacking = made["mean_average_precision"].isna().to_numpy()
        said = np.where(lacking, _NO_NEGATIVE, "").astype(object)
        codes = made.index.to_numpy()
        said[lacking & ~several[codes]] = _ALONE
        if self.barred:
            said[lacking & several[codes] & one_place[codes]] = NOT_ASKABLE
        else:
            said[~lacking & self._shares_position()[codes]] = _NOT_EXCLUDED
        made.insert(0, self.key, self.names[codes])
        made.insert(1, "n_wells", self.counts[codes])
        rule = "barred" if self.barred else "allowed"
        return made.assign(same_position=rule, said=said).reset_index(drop=True)

    def _replicated(self):
        """Of each perturbation: whether it has several wells, whether all lie at one position."""
        frame = pd.DataFrame({"code": self.codes, "position": self.positions})
        places = frame[frame["code"] >= 0].groupby("code")["position"].nunique()
        places = places.reindex(range(len(self.names)), fill_value=0).to_numpy()
        return self.counts > 1, places == 1

    def _shares_position(self):
        """Of each perturbation: whether two of its wells lie at one position."""
        frame = pd.DataFrame({"code": self.codes, "position": self.positions})
        frame = frame[frame["code"] >= 0]
        again = frame.duplicated().groupby(frame["code"]).any()
        return again.reindex(range(len(self.names)), fill_value=False).to_numpy()


def consistency(
    profiles,
    target="target",
    perturbation="compound",
    *,
    active=None,
    separator="|",
    metric="cosine",
    features=None,
    null_size=10000,
    seed=0,
):
    """Does a perturbation find others of its target before those of other targets?

    Parameters
    ----------
    profiles : pd.DataFrame
        One row a profile, usually the consensus (median) of a perturbation's wells.
    target : str
        Column of targets, mechanisms or gene sets; several in a cell are divided by `separator`.
        Profiles without one are left out.
    perturbation : str
        Another profile of the same is neither right nor wrong.
    active : collection, optional
        Perturbations that are asked about, such as those that `activity` retrieved; all by
        default. The others are left out, and in ``mean_over_annotated`` count as 0.
    separator : str
    metric, features, null_size, seed
        As of `activity`.

    Returns
    -------
    pd.DataFrame
        One row a target, in the order of their names: the column, ``n_perturbations`` (annotated),
        the columns of `significance.grouped`, ``mean_over_annotated`` (normalised average
        precision, inactive ones counted as 0), ``said`` (why not).

    Raises
    ------
    ValueError
        A column that does not exist, nothing annotated, no target that two perturbations share;
        as `retrieval.average_precision`.
    """
    arguments.check_choice("metric", metric, similarity.METRICS)
    features = similarity.find_features(profiles, features, [target, perturbation])
    column = tables.find_column(profiles, target)
    key = tables.find_column(profiles, perturbation)
    labels = profiles[column].map(lambda cell: split_labels(cell, separator))
    annotated = np.flatnonzero(labels.map(len))
    if not len(annotated):
        raise ValueError(f"no profile has a {target}: column {column} is empty.")
    similarity.refuse(
        annotated[profiles[key].isna().to_numpy()[annotated]],
        f"have no {key}",
        "; name what each holds, or remove such profiles first.",
    )
    kept = annotated
    if active is not None:
        kept = annotated[profiles[key].isin(list(active)).to_numpy()[annotated]]
    names, everyone = membership(labels.iloc[annotated])
    member = everyone[np.searchsorted(annotated, kept)]
    codes = pd.factorize(profiles[key].to_numpy()[kept])[0]
    values = similarity.comparable(profiles, features, metric, kept) if len(kept) else None
    parts = [] if values is None else list(_label_scores(values, codes, member, metric))
    scores = pd.concat(parts, ignore_index=True) if parts else None
    if scores is None or scores["average_precision"].isna().all():
        raise ValueError(
            f"no {target} can be asked about: none is shared by two {perturbation}s"
            f"{' that are active' if active is not None else ''} while others lack it."
        )
    made = significance.grouped(scores, ["label"], null_size, seed).set_index("label")
    made = made.reindex(range(len(names)))
    made.insert(0, column, names)
    row, label = everyone.nonzero()
    pairs = pd.DataFrame({"key": profiles[key].to_numpy()[annotated[row]], "label": label})
    made.insert(1, "n_perturbations", np.bincount(pairs.drop_duplicates()["label"]))
    sums = made["mean_normalized_average_precision"] * made["n_profiles"]
    made["mean_over_annotated"] = sums.fillna(0) / np.bincount(label)
    few = made["mean_average_precision"].isna()
    made["said"] = np.where(few, "not askable: fewer than two perturbations to compare", "")
    return made.reset_index(drop=True)


def split_labels(cell, separator="|"):
    """The labels of a cell, each once, as a list; empty where it is missing."""
    if isinstance(cell, str):
        return sorted({part.strip() for part in cell.split(separator)} - {""})
    return [] if pd.isna(cell) else [str(cell)]


def membership(labels):
    """(names, (n, names) sparse matrix of ones) of lists of labels."""
    names = sorted({name for own in labels for name in own})
    place = {name: i for i, name in enumerate(names)}
    columns = [place[name] for own in labels for name in own]
    ends = np.cumsum([0, *map(len, labels)])
    ones = np.ones(len(columns), np.int32)
    return names, csr_array((ones, columns, ends), shape=(len(labels), len(names)))


def _label_scores(values, codes, member, metric):
    """Scores of each profile for each of its labels, some profiles at a time."""
    width = similarity.tie_widths(values, metric)
    of_label = member.T.tocsr()
    step = max(1, _BLOCK_PAIRS // len(values))
    for first in range(0, len(values), step):
        here = slice(first, first + step)
        block = similarity.distances(values[here], values, metric)
        block[codes[here, None] == codes] = np.inf
        wrong = (member[here] @ of_label).toarray() == 0
        asked, label = member[here].nonzero()
        # Profiles of many labels are ranked once for each.
        for start in range(0, len(asked), step):
            row, own = asked[start : start + step], label[start : start + step]
            right = of_label[own].toarray().astype(bool)
            scores = ranking_scores(
                packed(block[row], right), np.where(wrong[row], block[row], np.inf), width
            )
            yield scores.assign(label=own)


def control_rows(profiles, controls):
    """Which rows are negative controls; none where the table does not tell."""
    rows, words = reference_rows(profiles, controls)
    if controls == "negcon" and words != "negative controls":
        return np.zeros(len(profiles), bool)
    return np.asarray(rows)
