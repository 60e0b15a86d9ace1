"""Every way to prepare profiles, and what each leaves: of batches and positions, and of biology.

A normalisation or a correction that hides the batch has done nothing yet: it may have hidden the
treatments as well. So each is measured on both sides, on the same wells, with intervals over the
same resampled treatments.

Source: batch beside biology as Luecken et al. 2022 (doi 10.1038/s41592-021-01336-8) and Arevalo et
al. 2024 (doi 10.1038/s41467-024-50613-5) weigh them; the three batch measures of `BATCH`, the way
they are scaled and their intervals are this project's.
"""

import contextlib
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from .. import tables, wells
from ..profiles import CORRECTIONS, FITTED, NORM_METHODS, consensus, correct, normalise
from ..profiles.corrected import fresh
from ..profiles.reference import ALL
from . import batch as batches
from . import neighbours, probes, questions, retrieval
from .batch import is_line
from .bootstrap import interval_text

BATCH = ("nearest", "line", "mixing")
"""Measures of how far the batch is gone: for the nearest well, for a line through the features, and
in a neighbourhood (LISI); 0 where it is all that is seen, 1 as of a random choice from unlimited
wells: `ceilings` says what chance gives of those that there are."""

BIOLOGY = ("NSC", "NSCB", "NSB", "activity", "consistency")
"""Measures of what is left of the treatments, 1 at best."""

_OF_LABELS = ("NSC", "NSCB", "consistency")

_SCORES = [
    "prepared", "kind", "measure", "value", "low", "high", "n", "difference", "difference_low",
    "difference_high",
]  # fmt: skip

# Of p-values that are not looked at.
_NULL_SIZE = 100

ON_ALL = ", all wells"
"""Ends the name of the normalisation whose reference is all wells of a plate."""

REMOVED, KEPT = "batch removed", "biology kept"
"""Means of the measures of `BATCH` and of `BIOLOGY` that every way could be asked."""

_NO_POSITION = (
    "no position can be read or removed, and no activity, which bars replicates at one position"
)


@dataclass(frozen=True)
class Layout:
    """Which columns of a table say what, bare or with ``Metadata_``.

    Attributes
    ----------
    batch : str
        What should leave no trace.
    perturbation : str
        What replicates share. Intervals resample it.
    label : str or None
        What several perturbations share, such as a target; None where there is nothing of the kind.
    plate, well : str
    metric : str
        Of similarities, see `similarity.METRICS`.
    """

    batch: str = "batch"
    perturbation: str = "compound"
    label: str | None = "target"
    plate: str = "plate"
    well: str = "well"
    metric: str = "cosine"

    def of(self, profiles):
        """Where a column is there, its name in the table: a dict of those that are."""
        named = {name: getattr(self, name) for name in ("batch", "perturbation", "label")}
        named |= {"plate": self.plate, "well": self.well}
        found = {}
        for key, name in named.items():
            with contextlib.suppress(ValueError):
                found[key] = tables.find_column(profiles, name)
        return found


@dataclass
class Prepared:
    """Profiles prepared in one way.

    Attributes
    ----------
    name : str
    kind : str
        "raw", "normalised" or "corrected".
    profiles : pd.DataFrame or None
        All wells, controls included; None where the way could not be gone.
    said : str
        Why not, and what a normalisation warned of.
    """

    name: str
    kind: str
    profiles: pd.DataFrame | None
    said: str = ""


def prepare(profiles, layout, norm_method="standardize", reference="negcon", methods=None):
    """Profiles as they are, under every normalisation, and under every correction of one of these.

    Parameters
    ----------
    profiles : pd.DataFrame
        Wells, controls included, not normalised.
    layout : Layout
    norm_method : str
        The normalisation, of `NORM_METHODS`, that corrections start from.
    reference : str
        As of `profiles.normalise`.
    methods : list of str, optional
        Normalisations and corrections that are tried; all by default.

    Returns
    -------
    list of Prepared
        "raw"; normalisations under their names, and `norm_method` once more on all wells of a
        plate; corrections. All describe the same wells: those whose features each of them could
        make. One that could not be made says why.

    Raises
    ------
    ValueError
        An unknown method; no well that all describe.
    """
    ways = [name for name in (*NORM_METHODS, *CORRECTIONS) if name not in ("no_post_proc", "none")]
    unknown = [name for name in methods or () if name not in ways]
    if unknown:
        raise ValueError(f"method {unknown[0]!r} is not one of {', '.join(ways)}.")
    chosen = [name for name in ways if methods is None or name in methods]
    profiles = profiles.reset_index(drop=True)
    made, base, words = [Prepared("raw", "raw", profiles)], profiles, None
    for name in dict.fromkeys([*chosen, norm_method] if norm_method in NORM_METHODS else chosen):
        if name not in NORM_METHODS or name == "no_post_proc":
            continue
        try:
            done = normalise(profiles, name, reference)
        except ValueError as error:
            made.append(Prepared(name, "normalised", None, str(error)))
            continue
        made.append(Prepared(name, "normalised", done.profiles, " ".join(done.warnings)))
        if name == norm_method:
            base, words = done.profiles, done.reference_used
    if words is not None and words not in ALL:
        # A plate has more wells than controls: what these few leave of it is seen beside.
        done = normalise(profiles, norm_method, "all")
        made.append(Prepared(f"{norm_method}{ON_ALL}", "normalised", done.profiles))
    for name in chosen:
        if name in NORM_METHODS:
            continue
        try:
            done = correct(base, name, layout.batch)[0]
        except (ValueError, ImportError) as error:
            made.append(Prepared(name, "corrected", None, str(error)))
            continue
        made.append(Prepared(name, "corrected", done))
    return _on_same_wells(made)


def _on_same_wells(made):
    """The ways on the wells that all of them describe."""
    whole = np.ones(len(made[0].profiles), bool)
    for one in made:
        if one.profiles is not None:
            features = tables.feature_columns(one.profiles)
            whole &= np.isfinite(one.profiles[features].to_numpy(float)).all(1)
    if not whole.any():
        raise ValueError("no well has all features under every way: leave the worst out.")
    for one in made:
        if one.profiles is not None:
            one.profiles = one.profiles[whole].reset_index(drop=True)
    return made


def described(made):
    """A table of the ways: kind, wells, features, what was said of each."""
    rows = [
        {
            "prepared": one.name,
            "kind": one.kind,
            "wells": 0 if one.profiles is None else len(one.profiles),
            "features": 0 if one.profiles is None else len(tables.feature_columns(one.profiles)),
            "said": one.said,
        }
        for one in made
    ]
    return pd.DataFrame(rows).set_index("prepared")


def treated(profiles, layout):
    """The wells that are asked about: those that are no negative control, with a perturbation.

    Batches and plates that are numbers become text: they are names, not amounts.
    """
    names = layout.of(profiles)
    if "perturbation" not in names:
        tables.find_column(profiles, layout.perturbation)
    kept = profiles[names["perturbation"]].notna()
    control = tables.key_columns(profiles, ["control_type"])
    if control:
        kept &= profiles[control[0]] != "negcon"
    if not kept.any():
        raise ValueError(
            f"no well is treated: each is a negative control, or has no {layout.perturbation}."
        )
    asked = profiles[kept].reset_index(drop=True)
    numbers = [
        names[key] for key in ("batch", "plate") if key in names and is_line(asked[names[key]])
    ]
    return asked.assign(**{name: tables.text(asked[name]) for name in numbers})


def unaskable(profiles, layout):
    """What a table cannot be asked, and why.

    Parameters
    ----------
    profiles : pd.DataFrame
        Wells, controls included; features are not looked at.
    layout : Layout

    Returns
    -------
    dict of str to str
        Of ``batch``, ``controls``, ``position``, ``label`` and ``across`` (whether batches can be
        told from what they hold) those that are lacking -> the reason, in words.
    """
    profiles = profiles[tables.metadata_columns(profiles)]
    names = layout.of(profiles)
    asked = treated(profiles, layout)
    said = {}
    count = asked[names["batch"]].nunique() if "batch" in names else 0
    if count < 2:
        there = "no column" if not count else "one value only, of"
        said["batch"] = f"{there} {layout.batch}: no batch can be read or removed"
    control = tables.key_columns(profiles, ["control_type"])
    if not control or not (profiles[control[0]] == "negcon").any():
        said["controls"] = "no negative controls: no activity, no tvn, sphere or position"
    try:
        wells.positions(asked[names["well"]])
    except KeyError:
        said["position"] = f"no column {layout.well}: {_NO_POSITION}"
    except ValueError as error:
        said["position"] = f"{_NO_POSITION}: {error}"
    of = {"label": layout.label, "perturbation": layout.perturbation}
    if "label" not in names:
        there = f"no column {layout.label}" if layout.label else "none is named"
        said["label"] = f"{there}: neither NSC, NSCB nor consistency"
    elif not neighbours.in_several(asked, *of.values()).any():
        said["label"] = (
            f"no {layout.label} of two {layout.perturbation}s: neither NSC, NSCB nor consistency"
        )
    if count > 1 and not neighbours.in_several(asked, layout.perturbation, layout.batch).any():
        only = [layout.perturbation]
        if "label" in names and not neighbours.in_several(asked, layout.label, layout.batch).any():
            only.append(layout.label)
        said["across"] = (
            f"each {' and each '.join(only)} lies in one {layout.batch} only: what looks like "
            f"the {layout.batch} may be biology, and removing it may remove that"
        )
    return said


@dataclass
class Measure:
    """A score that is a mean over profiles, kept by perturbation so that these can be resampled.

    Attributes
    ----------
    sums, counts : numpy.ndarray
        (perturbations, parts): of the profiles' scores. The value is the mean over the parts of
        their means, scaled: (mean - worst) / (best - worst).
    worst, best : float
    n : int
        Profiles that were scored.
    """

    sums: np.ndarray
    counts: np.ndarray
    worst: float = 0.0
    best: float = 1.0
    n: int = field(init=False)

    def __post_init__(self):
        self.n = int(self.counts.sum())

    def values(self, weights):
        """(draws,) values under weights (draws, perturbations)."""
        with np.errstate(invalid="ignore", divide="ignore"):
            means = (weights @ self.sums) / (weights @ self.counts)
        return (_mean(means) - self.worst) / (self.best - self.worst)


def measures(profiles, layout):
    """All that `BATCH` and `BIOLOGY` name, as far as it can be asked.

    Parameters
    ----------
    profiles : pd.DataFrame
        Prepared wells, controls included.
    layout : Layout

    Returns
    -------
    dict of str to Measure
        Those that can be asked, in the order of `BATCH` and `BIOLOGY`. The perturbations are those
        of `treated`, in the order of first appearance.
    """
    return of_batch(profiles, layout) | of_biology(profiles, layout)


def of_batch(profiles, layout):
    """The measures of `BATCH` that can be asked, see `measures`."""
    asked = treated(profiles, layout)
    if "batch" in unaskable(profiles, layout):
        return {}
    perturbation, batch = (
        tables.find_column(asked, n) for n in (layout.perturbation, layout.batch)
    )
    codes, names = pd.factorize(asked[perturbation])
    own = pd.factorize(asked[batch])[0]
    made = {}
    # A neighbour of the same perturbation would lie in another batch, where each has one of it.
    near = neighbours.nearest_neighbour_accuracy(asked, batch, [perturbation], layout.metric)
    if near.n:
        rows = near.neighbours["profile"].to_numpy()
        allowed = codes[rows][:, None] != codes
        chance = (allowed & (own[rows][:, None] == own)).sum(1) / allowed.sum(1)
        away = 1 - near.neighbours["correct"].to_numpy()
        best = 1 - chance.mean()
        if best > 0:
            made["nearest"] = _measure(codes[rows], len(names), away, best=best)
    if len(names) > 1:
        line = probes.read_out(asked, batch, perturbation)
        shares = 1 - line["right"].to_numpy()
        best = 1 - 1 / (own.max() + 1)
        made["line"] = _measure(codes, len(names), shares, parts=own, best=best)
    if len(asked) > 3:
        mixed = batches.lisi(asked, batch, layout.metric)["lisi"].to_numpy()
        made["mixing"] = _measure(codes, len(names), mixed, worst=1, best=own.max() + 1)
    return made


def of_biology(profiles, layout):
    """The measures of `BIOLOGY` that can be asked, see `measures`."""
    asked = treated(profiles, layout)
    lacking = unaskable(profiles, layout)
    perturbation = tables.find_column(asked, layout.perturbation)
    codes, names = pd.factorize(asked[perturbation])
    metric, made = layout.metric, {}

    def nearest(name, label, exclude, kept):
        rows = np.flatnonzero(kept)
        if not len(rows):
            return
        part = asked.iloc[rows].reset_index(drop=True)
        found = neighbours.nearest_neighbour_accuracy(part, label, exclude, metric)
        if found.n:
            own = rows[found.neighbours["profile"]]
            right = found.neighbours["correct"].to_numpy()
            made[name] = _measure(codes[own], len(names), right)

    if "label" not in lacking:
        several = neighbours.in_several(asked, layout.label, layout.perturbation)
        nearest("NSC", layout.label, [perturbation], several)
        if "batch" not in lacking:
            several = several & neighbours.in_several(asked, layout.label, layout.batch)
            nearest("NSCB", layout.label, [perturbation, layout.batch], several)
    if "batch" not in lacking:
        several = neighbours.in_several(asked, layout.perturbation, layout.batch)
        nearest("NSB", perturbation, [layout.batch], several)
    if "controls" not in lacking:
        try:
            active = questions.activity(
                profiles, layout.perturbation, plate=layout.plate, well=layout.well, metric=metric,
                null_size=_NULL_SIZE,
            )  # fmt: skip
        except ValueError:
            active = None
        if active is not None:
            scored = active.dropna(subset="mean_normalized_average_precision")
            own = pd.Index(names).get_indexer(scored[perturbation])
            values = scored["mean_normalized_average_precision"].to_numpy()
            made["activity"] = _measure(own, len(names), values)
    if "label" not in lacking:
        scores = _consistency(asked, layout)
        if scores is not None:
            own = pd.Index(names).get_indexer(scores[perturbation])
            values = scores["normalized_average_precision"].to_numpy()
            made["consistency"] = _measure(own, len(names), values)
    return {name: made[name] for name in BIOLOGY if name in made}


def _consistency(asked, layout):
    """Average precision of each perturbation's consensus among those of other labels, or None."""
    several = neighbours.in_several(asked, layout.label, layout.perturbation)
    merged = consensus(asked[several].reset_index(drop=True), [layout.perturbation], "median")
    try:
        made = retrieval.average_precision(
            merged, [layout.label], [layout.perturbation], neg_diffby=[layout.label],
            metric=layout.metric,
        )  # fmt: skip
    except ValueError:
        return None
    return made.dropna(subset="average_precision")


def _measure(codes, size, values, parts=None, **ends):
    """Scores of profiles, summed by perturbation and part."""
    parts = np.zeros(len(codes), int) if parts is None else parts
    sums, counts = np.zeros((2, size, parts.max() + 1))
    np.add.at(sums, (codes, parts), values)
    np.add.at(counts, (codes, parts), 1)
    return Measure(sums, counts, **ends)


def scores(prepared, layout, base, *, draws=2000, seed=0):
    """Every way on every measure, with intervals, beside the way that others are compared with.

    Parameters
    ----------
    prepared : list of Prepared
        From `prepare`; those that could not be made are left out.
    layout : Layout
    base : str
        Name of the way that a correction starts from.
    draws, seed : int
        Of the bootstrap, which resamples perturbations: the same ones for all.

    Returns
    -------
    pd.DataFrame
        One row a way and measure: prepared, kind, measure, value, low, high (95 %), n (profiles),
        difference (to `base`), difference_low, difference_high. At the end of a way stand
        ``REMOVED`` and ``KEPT``, means of the measures that every way could be asked, with n
        perturbations.

    Raises
    ------
    ValueError
        No way of that name.
    """
    there = [one for one in prepared if one.profiles is not None]
    if base not in [one.name for one in there]:
        raise ValueError(f"base is {base!r}; the ways are {', '.join(one.name for one in there)}.")
    asked = treated(there[0].profiles, layout)
    count = asked[tables.find_column(asked, layout.perturbation)].nunique()
    chances = np.full(count, 1 / count)
    weights = np.random.default_rng(seed).multinomial(count, chances, draws)
    # The first row is the sample itself.
    weights = np.vstack([np.ones(count), weights])
    made = {one.name: measures(one.profiles, layout) for one in there}
    drawn = {
        name: {measure: (one.values(weights), one.n) for measure, one in found.items()}
        for name, found in made.items()
    }
    for mean, parts in ((REMOVED, BATCH), (KEPT, BIOLOGY)):
        # What not every way could be asked would make means of different things.
        common = [part for part in parts if all(part in found for found in made.values())]
        for found in drawn.values() if common else ():
            values = np.stack([found[part][0] for part in common], axis=1)
            found[mean] = (_mean(values), count)
    rows = []
    for one in there:
        for name, (values, n) in drawn[one.name].items():
            row = {"prepared": one.name, "kind": one.kind, "measure": name}
            row |= _interval(values, "") | {"n": n}
            if name in drawn[base]:
                row |= _interval(values - drawn[base][name][0], "difference")
            rows.append(row)
    return pd.DataFrame(rows, columns=_SCORES)


def _mean(values):
    """Mean of each row over what is there; missing where nothing is."""
    there = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.where(there, values, 0).sum(1) / there.sum(1)


def _interval(values, name):
    low, high = np.nanquantile(values[1:], [0.025, 0.975])
    names = (name, f"{name}_low", f"{name}_high") if name else ("value", "low", "high")
    return dict(zip(names, (values[0], low, high), strict=True))


def ceilings(profiles, layout, *, draws=20, seed=0):
    """What the measures give once batches, or labels, mean nothing.

    Parameters
    ----------
    profiles : pd.DataFrame
        Prepared wells, controls included.
    layout : Layout
    draws, seed : int
        Batches are exchanged between the wells of a perturbation, labels between perturbations.

    Returns
    -------
    pd.DataFrame
        One row a measure of `BATCH`, with batches exchanged, and of `NSC`, `NSCB` and
        `consistency`, with labels exchanged, as far as they can be asked; and ``REMOVED``:
        measure, exchanged ("batches" or "labels"), value (mean), low, high (95 % of the draws).
    """
    rng = np.random.default_rng(seed)
    lacking = unaskable(profiles, layout)
    asked = treated(profiles, layout)
    perturbation = tables.find_column(asked, layout.perturbation)
    groups = list(asked.groupby(perturbation).indices.values())
    found = {}
    one = np.ones((1, len(groups)))
    if "batch" not in lacking and "across" not in lacking:
        batch = tables.find_column(asked, layout.batch)
        for _ in range(draws):
            order = np.arange(len(asked))
            for members in groups:
                order[members] = rng.permutation(members)
            drawn = asked.assign(**{batch: asked[batch].to_numpy()[order]})
            values = {name: made.values(one)[0] for name, made in of_batch(drawn, layout).items()}
            values[REMOVED] = np.mean(list(values.values()))
            for name, value in values.items():
                found.setdefault((name, "batches"), []).append(value)
    if "label" not in lacking:
        label = tables.find_column(asked, layout.label)
        own = asked.drop_duplicates(perturbation).set_index(perturbation)[label]
        there = [name for name in of_biology(asked, layout) if name in _OF_LABELS]
        for _ in range(draws):
            exchanged = pd.Series(rng.permutation(own.to_numpy()), own.index)
            drawn = asked.assign(**{label: asked[perturbation].map(exchanged)})
            for name, made in of_biology(drawn, layout).items():
                if name in there:
                    found.setdefault((name, "labels"), []).append(made.values(one)[0])
    rows = [
        {"measure": name, "exchanged": what, "value": np.mean(values)}
        | dict(zip(("low", "high"), np.quantile(values, [0.025, 0.975]), strict=True))
        for (name, what), values in found.items()
    ]
    return pd.DataFrame(rows, columns=["measure", "exchanged", "value", "low", "high"])


def telltales(profiles, layout, count="objects"):
    """What else the field measures of batches, and how well the place on the plate can be read.

    Parameters
    ----------
    profiles : pd.DataFrame
        Prepared wells, controls included.
    layout : Layout
    count : str
        Column of the objects in a well.

    Returns
    -------
    pd.DataFrame
        One row a number: ``group`` and ``measure``, value. Of "mixing" BRAS, kBET (1 for batches
        that lie alike), connected (graph connectivity) and PC regression (0 for none); of "place
        read" the share of the variance of row and column that a line foretells (0 for no better
        than the mean of the plate, negative for worse) and the accuracy for edge (0.5 for none);
        of "variance" what batch, plate, row, column, edge and count explain beyond chance. Missing
        where it cannot be asked.
    """
    lacking = unaskable(profiles, layout)
    asked = treated(profiles, layout).copy()
    names = layout.of(asked)
    alike = "label" if "label" not in lacking else "perturbation"
    rows = []

    def tell(group, measure, ask):
        try:
            value = float(ask())
        except ValueError:
            value = np.nan
        rows.append((group, measure, value))

    metric, batch = layout.metric, layout.batch
    labelled = asked[asked[names[alike]].notna()].reset_index(drop=True)
    tell(
        "mixing", "BRAS", lambda: batches.bras(labelled, names[alike], batch, metric)["bras"].mean()
    )
    tell("mixing", "kBET", lambda: batches.kbet(asked, batch, metric)["accepted"].mean())
    tell(
        "mixing", "connected",
        lambda: batches.graph_connectivity(asked, names[alike], metric)["connected"].mean(),
    )  # fmt: skip
    if "batch" not in lacking:
        tell("mixing", "PC regression", lambda: batches.pc_regression(asked, batch))
    if "position" not in lacking:
        places = wells.positions(asked[names["well"]])
        asked["Metadata_place_row"] = places["row"].astype(float)
        asked["Metadata_place_column"] = places["column"].astype(float)
        asked["Metadata_place_edge"] = np.where(places["edge"], "edge", "inner")
    for place in ("row", "column", "edge"):
        tell("place read", place, lambda p=place: _place(asked, p, names))
    for key in ("batch", "plate"):
        tell("variance", key, lambda k=key: _beyond(asked, names.get(k, getattr(layout, k))))
    for place in ("row", "column", "edge"):
        tell("variance", place, lambda p=place: _beyond(asked, f"Metadata_place_{p}", groups=True))
    tell("variance", "count", lambda: _beyond(asked, count))
    return pd.DataFrame(rows, columns=["group", "measure", "value"])


def _place(asked, place, names):
    within = names.get("plate")
    column = f"Metadata_place_{place}"
    return probes.readable(probes.read_out(asked, column, names["perturbation"], within=within))


def _beyond(asked, column, groups=False):
    column = tables.find_column(asked, column)
    if asked[column].nunique() < 2:
        return np.nan
    if groups:
        asked = asked.assign(**{column: asked[column].astype(str)})
    return batches.variance_explained(asked, [column])["beyond_chance"].iloc[0]


def unseen(profiles, layout, methods=tuple(FITTED)):
    """Corrections on batches that they never saw: mean average precision there, before and after.

    Parameters
    ----------
    profiles : pd.DataFrame
        Wells as corrections take them, controls included.
    layout : Layout
    methods : list of str
        Of `profiles.FITTED`.

    Returns
    -------
    pd.DataFrame
        One row a method and batch, as of `batch.inductive_scores`, with ``method``. The precision
        is normalised and that of `consistency` within the batch; of wells of one perturbation,
        where no label can be asked. Methods that cannot be fit are missing.

    Raises
    ------
    ValueError
        Fewer than two batches; nothing that a batch by itself could be asked.
    """

    def score(part):
        asked = treated(part, layout)
        if "label" in unaskable(part, layout):
            keys = [layout.perturbation]
            made = retrieval.average_precision(asked, keys, neg_diffby=keys, metric=layout.metric)
        else:
            made = _consistency(asked, layout)
        if made is None:
            raise ValueError(f"a {layout.batch} by itself has no two {layout.perturbation}s alike.")
        return made["normalized_average_precision"].mean()

    parts = []
    for method in methods:
        try:
            fresh(method, layout.batch).fit(profiles)
        except ValueError:
            continue
        made = batches.inductive_scores(
            profiles, layout.batch, lambda rest, m=method: fresh(m, layout.batch).fit(rest), score
        )
        parts.append(made.assign(method=method))
    if not parts:
        return pd.DataFrame(columns=[layout.batch, "n_profiles", "before", "after", "method"])
    return pd.concat(parts, ignore_index=True)


def drifts(profiles, layout, methods=CORRECTIONS[1:]):
    """How far corrected profiles move when a batch is added, see `batch.drift`.

    Parameters
    ----------
    profiles : pd.DataFrame
        Wells as corrections take them, controls included.
    layout : Layout
    methods : list of str
        Of `profiles.CORRECTIONS`.

    Returns
    -------
    pd.DataFrame
        One row a method and batch, with ``method``; methods that cannot be fit are missing, and
        those that two batches are too few for.
    """
    parts = []
    for method in methods:
        try:
            made = batches.drift(
                profiles, layout.batch, lambda part, m=method: correct(part, m, layout.batch)[0],
                layout.metric,
            )  # fmt: skip
        except (ValueError, ImportError):
            continue
        parts.append(made.assign(method=method))
    names = [layout.batch, "n_profiles", "displacement", "rank_change", "new_neighbour", "method"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=names)


def side_by_side(scored, names):
    """Scores as people read them: a row a way, a column a measure, intervals in brackets.

    Parameters
    ----------
    scored : pd.DataFrame
        From `scores`.
    names : list of str
        Measures; those that were not asked are left out.

    Returns
    -------
    pd.DataFrame
        Strings such as "0.34 (0.23 to 0.46)", "–" where there is no score.
    """
    texts = [interval_text(row.value, row.low, row.high) for row in scored.itertuples()]
    wide = scored.assign(text=texts).pivot(index="prepared", columns="measure", values="text")
    wide = wide.loc[scored["prepared"].unique(), [n for n in names if n in wide]]
    return wide.fillna("–").rename_axis(columns=None)


def found_by_batch(prepared, layout, name):
    """How often wells of one perturbation that stands in every batch are found, batch by batch.

    Parameters
    ----------
    prepared : list of Prepared
    layout : Layout
    name : str
        The perturbation, such as an anchor line.

    Returns
    -------
    pd.DataFrame
        One row a way and batch, in the order of the table: prepared, the batch, n (wells of the
        perturbation), ``found`` (share of them whose nearest well of another batch is of the
        perturbation, all treated wells being there), ``own`` (share whose nearest other well of the
        perturbation lies in their batch) and ``own_by_chance``.

    Raises
    ------
    ValueError
        No such perturbation.
    """
    rows = []
    for one in prepared:
        if one.profiles is None:
            continue
        asked = treated(one.profiles, layout)
        perturbation = tables.find_column(asked, layout.perturbation)
        batch = tables.find_column(asked, layout.batch)
        here = np.flatnonzero(asked[perturbation] == name)
        if not len(here):
            raise ValueError(f"no treated well holds the {layout.perturbation} {name!r}.")
        near = neighbours.nearest_neighbour_accuracy(asked, perturbation, [batch], layout.metric)
        right = near.neighbours.set_index("profile")["correct"].reindex(here).to_numpy()
        alone = asked.iloc[here].reset_index(drop=True)
        own = neighbours.nearest_neighbour_accuracy(alone, batch, (), layout.metric)
        stays = own.neighbours.set_index("profile")["correct"].reindex(range(len(alone))).to_numpy()
        chance = (alone.groupby(batch)[batch].transform("size") - 1) / (len(alone) - 1)
        each = alone[[batch]].assign(n=1, found=right, own=stays, own_by_chance=chance)
        means = each.groupby(batch, sort=False).agg(
            {"n": "size", "found": "mean", "own": "mean", "own_by_chance": "mean"}
        )
        rows.append(means.reset_index().assign(prepared=one.name))
    made = pd.concat(rows, ignore_index=True)
    return made[["prepared", *made.columns.drop("prepared")]]
