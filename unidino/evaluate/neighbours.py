"""How often a profile's nearest neighbour is of its kind, and how sure that number is."""

import contextlib
import hashlib
import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd

from .. import arguments, tables
from . import similarity


class Accuracy(float):
    """A share of correct neighbours that knows how it came about; a float in every other way.

    Attributes
    ----------
    accuracy : float
    correct : int or float
        Correct profiles; whole unless ties make it an expectation.
    n : int
        Scored profiles.
    without_neighbour : int
        Profiles that had no allowed neighbour; not scored.
    tied_share : float
        Share of the scored profiles to which neighbours with and without their label are equally
        near.
    answerable : int
        Scored profiles of which some allowed neighbour has the label; no more can be correct.
    macro : float
        Mean over the labels of the share within each: rare labels count as common ones do.
    by_label : bool
        Whether neighbours were barred by their label.
    neighbours : pd.DataFrame
        One row a scored profile: ``profile`` and ``neighbour`` (row numbers; the first of several
        that are equally near), ``label``, ``neighbour_label``, ``distance``, ``correct`` (0 or 1;
        of several, the share that has the label), ``tied`` and ``answerable`` (bool).
    identity : dict of str to str
        Columns of the table that was scored -> digests of their values.
    """

    def __new__(cls, neighbours, without_neighbour, identity, by_label=False):
        n = len(neighbours)
        made = super().__new__(cls, neighbours["correct"].mean() if n else float("nan"))
        made.neighbours = neighbours
        made.n = n
        correct = round(float(neighbours["correct"].sum()), 9)
        made.correct = int(correct) if correct.is_integer() else correct
        made.without_neighbour = int(without_neighbour)
        made.tied_share = float(neighbours["tied"].mean()) if n else float("nan")
        made.answerable = int(neighbours["answerable"].sum())
        made.identity = identity
        made.by_label = by_label
        return made

    @property
    def accuracy(self):
        return float(self)

    @property
    def macro(self):
        return float(self.neighbours.groupby("label")["correct"].mean().mean())

    def __reduce__(self):
        return Accuracy, (
            self.neighbours, self.without_neighbour, self.identity, self.by_label
        )  # fmt: skip


def nearest_neighbour_accuracy(
    profiles,
    label,
    exclude=(),
    metric="cosine",
    exclude_if_same_label=(),
    features=None,
    allowed=None,
):
    """Share of profiles whose nearest allowed neighbour has their label.

    NSC is ``exclude=["compound"]``; NSCB ``exclude=["compound", "batch"]``; the released code's
    NSCB ``exclude=["compound"], exclude_if_same_label=["batch"]``; NSPW
    ``label="compound", exclude=["plate", "well"]``. What is nearest is asked of all profiles given:
    leave out controls (negative ones among those asked are warned of), and mechanisms of one batch
    only (`in_several`), beforehand.

    Parameters
    ----------
    profiles : pd.DataFrame
        One row a profile: metadata, bare or with ``Metadata_``, then features.
    label : str
        Column to match, such as "moa". Profiles without a label are neither scored nor neighbours.
    exclude : list of str
        A neighbour that shares any of these columns is not allowed; a missing value is shared with
        nobody.
    metric : {"cosine", "abs_cosine", "correlation", "euclidean", "cityblock", "chebyshev"}
    exclude_if_same_label : list of str
        A neighbour that shares any of these columns *and* the label is not allowed.
    features : list of str, optional
        Feature columns. By default those with known names (``emb…``, ``Cells_`` …); in a table
        without them, columns that are numbered alike (f0, f1, …).
    allowed : numpy.ndarray of bool, optional
        (n, n), what no column says: whether the profile of the column may be a neighbour of that of
        the row. A profile that may have none is not asked about.

    Returns
    -------
    Accuracy
        A float with ``.accuracy``, ``.n``, ``.correct``, ``.without_neighbour``, ``.tied_share``,
        ``.answerable``, ``.neighbours``. Profiles left without a neighbour are counted, not scored;
        where that is all of them, the value is NaN. Of neighbours that are equally near
        (similarities within 1e-6, see `similarity.tie_widths`) the share that has the label counts:
        what a random choice is expected to give.

    Raises
    ------
    ValueError
        A column that does not exist, the label among the excluded, no labelled profile, missing or
        infinite features, an unknown metric, `allowed` of another shape; for cosines and
        correlation a profile without direction (zero, or constant).

    Source: Ljosa et al. 2013 (doi 10.1177/1087057113503553, NSC); Ando, McLean and Berndl 2017
    (doi 10.1101/161422, NSCB).
    """
    arguments.check_choice("metric", metric, similarity.METRICS)
    exclude = column_names(exclude, "exclude")
    same_label = column_names(exclude_if_same_label, "exclude_if_same_label")
    label_column = tables.find_column(profiles, label)
    for name in [*exclude, *same_label]:
        if tables.find_column(profiles, name) == label_column:
            raise ValueError(
                f"{name} is the label, and excluded as well: no neighbour could be right. Exclude "
                "what tells profiles of a label apart, such as their compound."
            )
    features = similarity.find_features(profiles, features, [label, *exclude, *same_label])
    labels = _codes(profiles, label)
    rows = np.flatnonzero(labels >= 0)
    if not len(rows):
        raise ValueError(f"no profile has a {label}: column {label_column} is empty.")
    controls = tables.key_columns(profiles, ["control_type"])
    if controls:
        asked = int((profiles[controls[0]].iloc[rows] == "negcon").sum())
        if asked:
            warnings.warn(
                f"{asked} of {len(rows)} profiles that are asked about are negative controls: what "
                f"is nothing but untreated has no {label} to be found by. Leave them out first.",
                stacklevel=2,
            )
    barred = [_own_if_missing(_codes(profiles, name)[rows]) for name in exclude]
    # Equal pairs of a column and the label become equal numbers.
    both = [_codes(profiles, name)[rows] for name in same_label]
    barred += [
        _own_if_missing(np.where(codes < 0, -1, codes * (labels.max() + 1) + labels[rows]))
        for codes in both
    ]
    values = similarity.comparable(profiles, features, metric, rows)
    if allowed is not None:
        allowed = np.asarray(allowed)
        if allowed.shape != (len(profiles), len(profiles)) or allowed.dtype != bool:
            raise ValueError(
                f"allowed has the shape {allowed.shape} and holds {allowed.dtype}; expected one "
                f"bool for each pair of the {len(profiles)} profiles."
            )
        allowed = allowed[np.ix_(rows, rows)]
    scored = _nearest(values, metric, barred, labels[rows], allowed)
    if len(scored) and not scored["answerable"].any():
        warnings.warn(
            f"no profile can have a right answer: without those that share its "
            f"{' or '.join([*exclude, *same_label]) or 'row'}, no other has its {label}.",
            stacklevel=2,
        )
    names = profiles[label_column].to_numpy()
    own, other = rows[scored.index], rows[scored["neighbour"]]
    neighbours = pd.DataFrame(
        {
            "profile": own,
            "neighbour": other,
            "label": names[own],
            "neighbour_label": names[other],
            "distance": scored["distance"].to_numpy(),
            "correct": scored["correct"].to_numpy(),
            "tied": scored["correct"].between(0, 1, inclusive="neither").to_numpy(),
            "answerable": scored["answerable"].to_numpy(),
        }
    )
    identity = table_identity(profiles, [label, *exclude, *same_label, *tables.KEYS])
    return Accuracy(neighbours, len(rows) - len(scored), identity, bool(same_label))


@dataclass(frozen=True)
class Rule:
    """What is asked of neighbours, under a name: whose label is matched, and who is none.

    Attributes
    ----------
    name : str
        As in tables and figures.
    level : str
        Of the profiles that are compared: "treatment" (replicates merged) or "well".
    label, exclude, exclude_if_same_label
        As of `nearest_neighbour_accuracy`.
    several_batches : bool
        Whether labels that are seen in one batch only are left out, see `in_several`.
    by : str
        Column of what a bootstrap resamples.
    """

    name: str
    level: str
    label: str = "moa"
    exclude: tuple = ("compound",)
    exclude_if_same_label: tuple = ()
    several_batches: bool = False
    by: str = "compound"

    def accuracy(self, profiles, metric="cosine"):
        """`nearest_neighbour_accuracy` of profiles of this level."""
        return nearest_neighbour_accuracy(
            profiles, self.label, self.exclude, metric, self.exclude_if_same_label
        )


def column_names(value, option):
    """A list of column names from a name, a list, an array or a Series."""
    if value is None:
        return []
    if isinstance(value, str):
        return [value]
    names = list(value)
    wrong = [name for name in names if not isinstance(name, str)]
    if wrong:
        raise ValueError(
            f"{option} takes names of columns, got {wrong[0]!r}; add the values to the profiles as "
            "a column and give its name."
        )
    return names


def table_identity(profiles, names):
    """Digests of columns, by which `bootstrap_interval` knows the table that was scored.

    Parameters
    ----------
    profiles : pd.DataFrame
    names : iterable of str
        Bare or with ``Metadata_``; those that the table lacks are left out.

    Returns
    -------
    dict of str to str
    """
    made = {}
    for name in dict.fromkeys(names):
        with contextlib.suppress(ValueError):
            values = profiles[tables.find_column(profiles, name)]
            text = "\n".join(values.astype(str).where(values.notna(), ""))
            made[name] = hashlib.sha256(text.encode()).hexdigest()
    return made


def _codes(profiles, column):
    """Integers, equal where the values are; -1 where missing."""
    return pd.factorize(profiles[tables.find_column(profiles, column)])[0]


def _own_if_missing(codes):
    """Codes in which each missing value is a value of its own, shared with nobody."""
    missing = codes < 0
    codes = codes.copy()
    codes[missing] = codes.max(initial=0) + 1 + np.arange(missing.sum())
    return codes


def _nearest(values, metric, barred, labels, allowed=None):
    """The nearest allowed neighbour of each row that has one.

    Returns
    -------
    pd.DataFrame
        Indexed by row: ``neighbour`` (row, the first of several that are equally near),
        ``distance``, ``correct`` (share of these that have the label), ``answerable`` (whether any
        allowed neighbour has the label).
    """
    cut = similarity.bands(len(values))
    keys = [pd.factorize(codes)[0].astype(np.int32) for codes in (np.arange(len(values)), *barred)]
    labels = labels.astype(np.int32)
    # The distance of each row from the nearest of each band; two bands are compared once.
    least = np.full((len(values), len(cut)), np.inf, values.dtype)
    answerable = np.zeros(len(values), bool)
    for i, here in enumerate(cut):
        for j, there in enumerate(cut[i:], i):
            block = _apart(values, metric, keys, here, there)
            for rows, others, band, far in ((here, there, j, block), (there, here, i, block.T)):
                far = _allowed(far, allowed, rows, others)
                least[rows, band] = far.min(1)
                right = np.isfinite(far) & (labels[rows, None] == labels[others])
                answerable[rows] |= right.any(1)
    smallest = least.min(1)
    reach = smallest + similarity.tie_widths(values, metric)(smallest)
    # Bands that hold the nearest of a row are compared with it again: what ties with it is counted.
    near, alike, first = np.zeros((3, len(values)), int)
    for band, there in reversed(list(enumerate(cut))):
        holds = np.flatnonzero(np.isfinite(smallest) & (least[:, band] <= reach))
        for part in similarity.bands(len(holds)):
            rows = holds[part]
            far = _allowed(_apart(values, metric, keys, rows, there), allowed, rows, there)
            tied = far <= reach[rows, None]
            near[rows] += tied.sum(1)
            alike[rows] += (tied & (labels[rows, None] == labels[there])).sum(1)
            some = tied.any(1)
            first[rows[some]] = there.start + tied[some].argmax(1)
    found = np.flatnonzero(np.isfinite(smallest))
    return pd.DataFrame(
        {
            "neighbour": first[found],
            "distance": np.maximum(smallest[found], 0),
            "correct": alike[found] / near[found],
            "answerable": answerable[found],
        },
        index=found,
    )


def _apart(values, metric, keys, rows, columns):
    """Distances of rows from other rows, infinite where both share one of the keys."""
    block = similarity.distances(values[rows], values[columns], metric)
    for codes in keys:
        block[codes[rows, None] == codes[columns]] = np.inf
    return block


def _allowed(block, allowed, rows, columns):
    """The distances, infinite where a row may not have that neighbour."""
    if allowed is None:
        return block
    return np.where(allowed[rows][:, columns], block, np.inf)


def in_several(profiles, label, group):
    """Rows whose label occurs in more than one group.

    NSCB is not defined for a mechanism seen in one batch only: its profiles are left out.

    Returns
    -------
    numpy.ndarray of bool
    """
    names = profiles[tables.find_column(profiles, label)]
    groups = profiles[tables.find_column(profiles, group)]
    return (groups.groupby(names).transform("nunique") > 1).to_numpy()
