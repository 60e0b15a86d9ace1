"""What a plate's images and layout tell before its profiles are asked anything.

Sites that stand out, wells to look at, what position explains, and labels that position gives away;
from the tables of an extraction, never from pixels.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from .. import arguments, quality, tables
from ..profiles.reference import SPARSE
from . import batch, similarity

SATURATED = 0.01
"""A site is flagged where more than this share of a channel's pixels lies at the upper limit."""

OUTLYING = 3.5
"""Robust z-score beyond which a site is flagged.

Source: Iglewicz and Hoaglin 1993 (How to Detect and Handle Outliers, ASQC Quality Press).
"""

LEAST_SITES = 8
"""Sites of a plate below which none is called unlike the others."""

LEAST_CONTROLS = 8
"""Negative controls from which on position is judged by them, rather than by all wells."""

TOLD = 0.8
"""From so much of the labels that row or column give away on, a layout is called confounded; see
`told_by_position`."""

# What makes a spread of a normal distribution's standard deviation: of the median and of the mean
# absolute deviation.
_MEDIAN_DEVIATION, _MEAN_DEVIATION = 1.4826, 1.2533


@dataclass(frozen=True)
class Limits:
    """Where a site is flagged.

    Attributes
    ----------
    sparse : float
        Foreground and objects below this part of their plate's median, 0 to 1.
    saturated : float
        More than this share of a channel's pixels at the upper limit, 0 to 1.
    outlying : float
        Mean intensity or focus of a channel farther than this from the plate's median, as a
        robust z-score.

    Raises
    ------
    ValueError
        A limit that is not above 0; a share that is not below 1.
    """

    sparse: float = SPARSE
    saturated: float = SATURATED
    outlying: float = OUTLYING

    def __post_init__(self):
        for name in ("sparse", "saturated", "outlying"):
            arguments.check_positive(name, getattr(self, name))
        for name in ("sparse", "saturated"):
            if getattr(self, name) >= 1:
                raise ValueError(
                    f"{name} is {getattr(self, name)}; it is a share, above 0 and below 1."
                )

    def wording(self):
        """{flag: when it is raised, in words}."""
        return {
            "unreadable": "the site could not be read",
            "empty": "no tile shows foreground",
            "sparse": f"foreground below {self.sparse:g} of the plate's median",
            "few objects": f"objects in the first channel below {self.sparse:g} of the plate's "
            "median",
            "flat": f"one value, or more than {quality.SATURATED_SHARE:g} of the pixels at the "
            "upper limit",
            "saturated": f"more than {self.saturated:g} of the pixels at the upper limit",
            "intensity": f"mean intensity beyond {self.outlying:g} robust z of the plate",
            "focus": f"focus beyond {self.outlying:g} robust z of the plate",
        }


def robust_z(values, groups):
    """Distance from the median of a group, in spreads that outliers do not widen.

    The spread is the median absolute deviation, scaled to a standard deviation; where more than
    half of a group are equal, the mean absolute deviation. Where all are, 0.

    Parameters
    ----------
    values : numpy.ndarray
        (n,), NaN where missing.
    groups : dict
        {key: rows}, such as the sites of each plate.

    Returns
    -------
    numpy.ndarray
        (n,); NaN where missing, and in groups with fewer than `LEAST_SITES` values.

    Source: Iglewicz and Hoaglin 1993 (How to Detect and Handle Outliers, ASQC Quality Press).
    """
    made = np.full(len(values), np.nan)
    for rows in groups.values():
        there = rows[np.isfinite(values[rows])]
        if len(there) < LEAST_SITES:
            continue
        away = values[there] - np.median(values[there])
        spread = _MEDIAN_DEVIATION * np.median(np.abs(away))
        spread = spread or _MEAN_DEVIATION * np.abs(away).mean()
        made[there] = away / spread if spread else 0.0
    return made


def flags(sites, limits=None):
    """What stands out in which site.

    Parameters
    ----------
    sites : pd.DataFrame
        The site table of an extraction, failed ones too.
    limits : Limits, optional

    Returns
    -------
    pd.DataFrame
        One row a flag: ``row`` (of `sites`), ``flag`` (see `Limits.wording`), ``channel`` ("" for
        the whole site), ``value`` and ``limit`` (missing where there is none), ``excess`` (how many
        times beyond the limit; infinite for sites without content).
    """
    limits = limits or Limits()
    status = sites["Metadata_status"].to_numpy(object)
    plates = tables.groups(sites, tables.plate_columns(sites))
    nothing = np.full(len(sites), np.nan)
    parts = [
        _flagged("unreadable", "", status == "failed", nothing, nothing),
        _flagged("empty", "", status == "empty", nothing, nothing),
    ]
    for flag, measure in (("sparse", "foreground"), ("few objects", "objects")):
        values = sites[f"Metadata_{measure}"].to_numpy(float)
        limit = limits.sparse * _medians(values, plates)
        parts.append(_flagged(flag, "", values < limit, values, limit))
    for channel, rows in quality.flat(sites).items():
        parts.append(_flagged("flat", channel, rows, nothing, nothing))
        share = sites[f"Metadata_saturated_{channel}"].to_numpy(float)
        limit = np.full(len(sites), float(limits.saturated))
        parts.append(_flagged("saturated", channel, share > limit, share, limit))
        for flag, measure in (("intensity", "mean"), ("focus", "focus")):
            z = robust_z(sites[f"Metadata_{measure}_{channel}"].to_numpy(float), plates)
            limit = np.full(len(sites), float(limits.outlying))
            parts.append(_flagged(flag, channel, np.abs(z) > limit, z, limit))
    made = pd.concat(parts, ignore_index=True)
    return made.sort_values(["row"], kind="stable", ignore_index=True)


def _medians(values, groups):
    """The median of each value's group, of what is there; NaN for groups of few sites."""
    made = np.full(len(values), np.nan)
    for rows in groups.values():
        there = values[rows][np.isfinite(values[rows])]
        if len(there) >= LEAST_SITES:
            made[rows] = np.median(there)
    return made


def _flagged(flag, channel, rows, values, limit):
    """The part of `flags` that one flag of one channel makes."""
    here = np.flatnonzero(rows)
    value, limit = values[here], limit[here]
    with np.errstate(divide="ignore"):
        excess = np.where(value < limit, limit / np.abs(value), np.abs(value) / limit)
    # Beyond a robust z-score below 0, too, the larger is the farther.
    excess = np.abs(value) / limit if flag in ("intensity", "focus") else excess
    return pd.DataFrame(
        {
            "row": here,
            "flag": flag,
            "channel": channel,
            "value": value,
            "limit": limit,
            "excess": np.where(np.isnan(value), np.inf, excess),
        }
    )


def flag_table(flagged, sites, limits=None):
    """How many sites and wells each flag was raised for; those that were not, too.

    Parameters
    ----------
    flagged : pd.DataFrame
        From `flags`.
    sites : pd.DataFrame
        The same site table.
    limits : Limits, optional
        The same limits.

    Returns
    -------
    pd.DataFrame
        ``flag``, ``raised where`` (in words), ``channels`` (those with some), ``sites`` and
        ``wells``.
    """
    names = well_names(sites)
    rows = []
    for flag, wording in (limits or Limits()).wording().items():
        own = flagged[flagged["flag"] == flag]
        wells = {names[row] for row in own["row"]}
        channels = ", ".join(dict.fromkeys(filter(None, own["channel"])))
        rows.append((flag, wording, channels, own["row"].nunique(), len(wells)))
    return pd.DataFrame(rows, columns=["flag", "raised where", "channels", "sites", "wells"])


def well_names(frame):
    """What the well of each row is called: its key, the plate left out where there is one only.

    Parameters
    ----------
    frame : pd.DataFrame
        Sites or wells; a row without a well has its number.

    Returns
    -------
    list of str
    """
    keys = tables.key_columns(frame, tables.WELL_KEY)
    if not tables.key_columns(frame, ["well"]):
        return [f"row {i}" for i in range(len(frame))]
    told = [name for name in keys[:-1] if frame[name].nunique(dropna=False) > 1]
    return frame[[*told, keys[-1]]].astype(str).agg(" ".join, axis=1).tolist()


def wells_to_look_at(flagged, sites):
    """The wells with flags, the one farthest beyond a limit first, and why.

    Parameters
    ----------
    flagged : pd.DataFrame
        From `flags`.
    sites : pd.DataFrame
        The same site table.

    Returns
    -------
    pd.DataFrame
        ``well``, ``sites``, ``flagged`` (of them), ``flags`` (raised), ``excess`` (the largest) and
        ``reasons``; ordered by excess, then by the number of flags, then as the wells stand in the
        table.
    """
    names = np.array(well_names(sites), dtype=object)
    counts = pd.Series(names).value_counts(sort=False)
    rows = []
    for name, own in flagged.groupby(names[flagged["row"]], sort=False):
        farthest = own.sort_values("excess", ascending=False, kind="stable")
        reasons = farthest.groupby(["flag", "channel"], sort=False)
        several = counts[name] > 1
        told = [_reason(part, several) for _, part in reasons]
        raised = own["row"].nunique()
        rows.append((name, counts[name], raised, len(own), own["excess"].max(), "; ".join(told)))
    names = ["well", "sites", "flagged", "flags", "excess", "reasons"]
    made = pd.DataFrame(rows, columns=names)
    return made.sort_values(["excess", "flags"], ascending=False, kind="stable", ignore_index=True)


def _reason(part, several):
    """One flag of one channel in the sites of a well, in words; the farthest site's value."""
    first = part.iloc[0]
    text = f"{first['channel']} {first['flag']}".strip()
    if np.isfinite(first["value"]):
        beyond = f"limit {first['limit']:.3g}"
        unit = "z " if first["flag"] in ("intensity", "focus") else ""
        text += f" ({unit}{first['value']:.3g}, {beyond})"
    return text + (f" in {len(part)} sites" if several and len(part) > 1 else "")


def position_sample(profiles):
    """The wells by which position is judged: negative controls, or all wells where these are few.

    Treatments stand where the layout puts them, so that what tells them apart looks like position;
    controls are all treated alike.

    Parameters
    ----------
    profiles : pd.DataFrame

    Returns
    -------
    (numpy.ndarray of bool, str)
        The rows, and what they are in words.
    """
    rows = negative_controls(profiles)
    if rows.sum() >= LEAST_CONTROLS:
        return rows, f"{int(rows.sum())} negative controls"
    return np.ones(len(profiles), bool), f"all {len(profiles)} wells, treatments included"


def negative_controls(profiles):
    """Which rows are negative controls, (n,) bool; none where the table does not tell."""
    column = tables.key_columns(profiles, ["control_type"])
    if not column:
        return np.zeros(len(profiles), bool)
    return (profiles[column[0]] == "negcon").to_numpy(bool, copy=True)


def position_effects(profiles, features=None, others=(), *, draws=999, seed=0):
    """Share of the variance that row, column and edge explain, and what exchanged wells give.

    Parameters
    ----------
    profiles : pd.DataFrame
        One row a well, named by its position.
    features : list of str, optional
        As of `nearest_neighbour_accuracy`; measures of images may stand in their place.
    others : iterable of str
        More columns of groups to ask about, such as plate and batch.
    draws : int
        Exchanges: of positions between the wells of a plate, of `others` between all.
    seed : int

    Returns
    -------
    pd.DataFrame
        One row a column that has several values: ``position``, ``values``, ``n_wells``,
        ``explained`` (mean R squared over the features), ``by_chance`` (expected without any
        relation), ``chance_95`` (95th percentile of the exchanges), ``p_value`` (share of exchanges
        that explain as much, the observed one counted among them).

    Raises
    ------
    ValueError
        As `batch.positions` and `batch.variance_explained`; draws that are not above 0.
    """
    arguments.check_positive("draws", draws)
    features = similarity.find_features(profiles, features)
    plates = tables.plate_columns(profiles)
    places = batch.positions(profiles).add_prefix("asked_")
    frame = profiles.join(places)
    for name in others:
        frame[f"asked_{name}"] = profiles[tables.find_column(profiles, name)].astype(str)
    rows = []
    for asked in frame.columns[profiles.shape[1] :]:
        if frame[asked].nunique() < 2:
            continue
        told = batch.variance_explained(frame, [asked], features).iloc[0]
        within = plates if asked in places else ()
        chance = batch.exchanged_variance(frame, asked, within, features, draws=draws, seed=seed)
        as_much = (chance >= told["explained"] - similarity.TOLERANCE).sum()
        rows.append(
            {
                "position": asked.removeprefix("asked_"),
                "values": frame[asked].nunique(),
                "n_wells": len(frame),
                "explained": told["explained"],
                "by_chance": told["by_chance"],
                "chance_95": np.quantile(chance, 0.95),
                "p_value": (1 + as_much) / (1 + draws),
            }
        )
    names = ["position", "values", "n_wells", "explained", "by_chance", "chance_95", "p_value"]
    return pd.DataFrame(rows, columns=names)


def told_by_position(profiles, labels):
    """How much of the labels the row, or the column, of a well gives away.

    Each well is called what most other wells of its row (of all plates) are called, and the share
    of right names is set in proportion to what is right when each is called what most others of the
    table are.

    Parameters
    ----------
    profiles : pd.DataFrame
        One row a well, named by its position.
    labels : sequence
        One a row, none missing.

    Returns
    -------
    dict
        {"row": value, "column": value}: 1 where it tells every label, 0 where it tells no more than
        the commonest label does.

    Raises
    ------
    ValueError
        As `batch.positions`.

    Notes
    -----
    Goodman and Kruskal's lambda, with each well left out of the votes on itself: where every label
    stands in a row of its own once, the row tells nothing that could be learnt. Of names that are
    equally frequent one is guessed.

    Source: Goodman and Kruskal 1954 (doi 10.1080/01621459.1954.10501231).
    """
    places = batch.positions(profiles)
    codes = pd.factorize(pd.Series(list(labels), dtype=object))[0]
    least = _guessed(codes, np.zeros(len(codes), int))
    shares = {name: _guessed(codes, places[name].to_numpy()) for name in ("row", "column")}
    return {
        name: (share - least) / (1 - least) if share > least else 0.0
        for name, share in shares.items()
    }


def _guessed(codes, groups):
    """Share of codes that are right when each is guessed from the others of its group."""
    right = 0.0
    for members in pd.Series(codes).groupby(groups).indices.values():
        counts = np.bincount(codes[members], minlength=codes.max() + 1)
        for code in codes[members]:
            others = counts.copy()
            others[code] -= 1
            most = others.max()
            right += (others[code] == most) / (others == most).sum() if most else 0
    return right / max(1, len(codes))


def ranks_by_position(profiles, doses):
    """Spearman's correlation of doses with the number of their row, and of their column.

    Parameters
    ----------
    profiles : pd.DataFrame
        One row a well, named by its position.
    doses : array-like of float
        One a row, none missing.

    Returns
    -------
    dict
        {"row": rho, "column": rho}; 0 where all wells stand in one, or all doses are equal.

    Raises
    ------
    ValueError
        As `batch.positions`.
    """
    places = batch.positions(profiles)
    numbers = {
        "row": places["row"].str.rjust(2),  # A … Z before AA
        "column": places["column"].astype(int),
    }
    ranks = pd.Series(np.asarray(doses, float)).rank()
    made = {}
    for name, values in numbers.items():
        rho = values.reset_index(drop=True).rank().corr(ranks)
        made[name] = 0.0 if np.isnan(rho) else float(rho)
    return made


def crowded(controls, treated, most=2):
    """Rows or columns that hold all controls and no treatment.

    Parameters
    ----------
    controls, treated : pd.DataFrame
        One row a well, named by its position.
    most : int
        More rows or columns than this are no crowd.

    Returns
    -------
    dict
        {"row" or "column": their names}, where it is so.

    Raises
    ------
    ValueError
        As `batch.positions`.
    """
    own, other = batch.positions(controls), batch.positions(treated)
    made = {}
    for place in ("row", "column"):
        names = sorted(set(own[place]), key=lambda name: (len(name), name))
        if len(names) <= most and not set(names) & set(other[place]):
            made[place] = names
    return made
