"""How much of a score each channel is worth: exact Shapley values over all subsets of channels.

Every channel is embedded alone, so that profiles of fewer channels need no forward pass: they are
those with the other channels' features left out.
"""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from .. import arguments, tables
from ..profiles.corrected import correct as corrected
from . import channels, questions, similarity
from .neighbours import Rule
from .protocol import Protocol

MOST_CHANNELS = 8
"""Channels whose subsets are scored, at most: 256 scores."""

LEAST_UNITS = 5
"""Compounds below which resampling them says nothing: five give 126 different samples."""

EMPTY = "none"
"""Name of the subset without a channel."""

ALL = "all"
"""Name of the row over all labels."""

WAYS = ("shapley", "alone", "left out", "permuted", "forest")
"""Columns of `compared`: each says of every channel how much it matters."""

_TREATMENT = "Metadata_attributed"


@dataclass(frozen=True)
class Neighbours:
    """The share of a label's profiles whose nearest neighbour has it.

    Attributes
    ----------
    protocol : Protocol
        Says which wells are asked about, and what a level merges.
    rule : Rule
        Must bar neighbours of the same unit (`Rule.by`), such as the same compound.
    metric : str
        As of `evaluate.nearest_neighbour_accuracy`.
    """

    protocol: Protocol
    rule: Rule
    metric: str = "cosine"

    def __post_init__(self):
        if self.rule.by not in self.rule.exclude:
            raise ValueError(
                f"{self.rule.name}, {self.rule.level}, allows neighbours of the same "
                f"{self.rule.by}: what no channel scores is told by labels that are exchanged "
                f"between them. Take a rule that excludes {self.rule.by}."
            )

    @property
    def label(self):
        return self.rule.label

    def items(self, profiles):
        """One row a scored profile.

        Parameters
        ----------
        profiles : pd.DataFrame
            Well profiles, normalised; controls and what else is not asked about may be among them.

        Returns
        -------
        pd.DataFrame
            label, unit (what a bootstrap resamples), value (1 where the neighbour has the label; of
            several that are equally near the share that has).
        """
        wells = self.protocol.select(profiles)
        made, compared = self.protocol.accuracy(wells, self.rule, self.metric)
        units = compared[tables.find_column(compared, self.rule.by)].to_numpy()
        scored = made.neighbours
        return pd.DataFrame(
            {
                "label": scored["label"],
                "unit": units[scored["profile"]],
                "value": scored["correct"].astype(float),
            }
        )

    def chance(self, items):
        """What each item scores where labels are exchanged between units: the mean over all ways.

        A neighbour is of another unit, which has the label in (m - 1) of (n - 1) exchanges, of n
        units of which m have it: whoever is nearest.

        Returns
        -------
        numpy.ndarray
            (items,).
        """
        pairs = items[["label", "unit"]].drop_duplicates()
        several = pairs["unit"][pairs["unit"].duplicated()]
        if len(several):
            raise ValueError(
                f"{self.rule.by} {several.iloc[0]} has several labels ({self.rule.label}): they "
                "can be exchanged only where each has one."
            )
        count = pairs["label"].map(pairs["label"].value_counts()).set_axis(pairs["label"])
        count = count[~count.index.duplicated()]
        return ((items["label"].map(count) - 1) / max(1, len(pairs) - 1)).to_numpy(float)


@dataclass(frozen=True)
class Activity:
    """How well replicates of a treatment find each other before the controls of their plates.

    The normalised mean average precision of `questions.activity`, 0 for chance and 1 for perfect.

    Attributes
    ----------
    protocol : Protocol
    level : str
        Of `Protocol.levels`: names the columns of a treatment.
    label, by : str
        Columns of the labels that are told apart, and of what a bootstrap resamples.
    metric, same_position : str
        As of `questions.activity`.
    """

    protocol: Protocol
    level: str = "treatment"
    label: str = "moa"
    by: str = "compound"
    metric: str = "cosine"
    same_position: str = "barred"

    def items(self, profiles):
        """One row a treatment that can be asked about; see `Neighbours.items`."""
        treated = self.protocol.select(profiles)
        columns = [tables.find_column(treated, name) for name in self.protocol.levels[self.level]]
        number = treated.groupby(columns, sort=False, dropna=False).ngroup()
        control = profiles[tables.find_column(profiles, "control_type")] == "negcon"
        wells = pd.concat(
            [treated.assign(**{_TREATMENT: number.astype(float)}), profiles[control]],
            ignore_index=True,
        )
        answers = questions.activity(
            wells,
            _TREATMENT,
            metric=self.metric,
            same_position=self.same_position,
            null_size=1,  # p-values are not read
        ).dropna(subset="mean_normalized_average_precision")
        first = treated[~number.duplicated()].set_axis(np.arange(number.nunique()))
        first = first.loc[answers[_TREATMENT].astype(int)]
        return pd.DataFrame(
            {
                "label": first[tables.find_column(treated, self.label)].to_numpy(),
                "unit": first[tables.find_column(treated, self.by)].to_numpy(),
                "value": answers["mean_normalized_average_precision"].to_numpy(float),
            }
        )

    def chance(self, items):
        """0 for each item: the precision is normalised so that a random ranking has it."""
        return np.zeros(len(items))


def blocks(profiles):
    """The features of each channel.

    Parameters
    ----------
    profiles : pd.DataFrame
        Features named ``emb_<channel>_<number>`` (`tables.feature_channel`).

    Returns
    -------
    dict of str to list of str

    Raises
    ------
    ValueError
        Fewer than two channels, or more than `MOST_CHANNELS`.
    """
    made = {}
    for name in tables.feature_columns(profiles):
        made.setdefault(tables.feature_channel(name), []).append(name)
    if not 2 <= len(made) <= MOST_CHANNELS:
        raise ValueError(
            f"the features are of {len(made)} channels ({', '.join(list(made)[:3])} …); between 2 "
            f"and {MOST_CHANNELS} can be told apart. Profiles of single-channel models name them: "
            "emb_<channel>_<number>."
        )
    return made


def equal_norms(profiles):
    """Profiles in which every channel weighs the same.

    A channel of more features, or of features in a larger unit, would outvote the others. Each
    block is scaled as a whole, over all profiles: where a channel shows more than elsewhere, it
    still says more.

    Parameters
    ----------
    profiles : pd.DataFrame

    Returns
    -------
    pd.DataFrame
        The same rows and columns; the root mean square over the profiles of a block's length is
        that of all blocks on average.

    Raises
    ------
    ValueError
        As `blocks`; missing features, a channel that is 0 in every profile.
    """
    own = blocks(profiles)
    lengths = {}
    for channel, names in own.items():
        values = similarity.comparable(profiles, names, "euclidean")
        lengths[channel] = float(np.sqrt((values**2).sum(1).mean()))
        if not lengths[channel]:
            raise ValueError(
                f"channel {channel} is 0 in every profile: it has nothing to weigh. Leave its "
                "features out."
            )
    target = np.mean(list(lengths.values()))
    scale = pd.Series(
        {name: target / lengths[channel] for channel, names in own.items() for name in names}
    )
    made = profiles.copy()
    made[scale.index] = profiles[scale.index].astype(float) * scale
    return made


def subsets(names):
    """All subsets of channels, in the order of binary numbers whose first digit is the first.

    Returns
    -------
    list of tuple of str
        2^C, the empty one first.
    """
    return [
        tuple(name for i, name in enumerate(names) if number >> i & 1)
        for number in range(2 ** len(names))
    ]


def subset_name(subset):
    """A subset in words: "DAPI + Actin"."""
    return " + ".join(subset) or EMPTY


def score_subsets(profiles, question, correct="none", batch="batch"):
    """What every subset of the channels scores, item by item.

    Parameters
    ----------
    profiles : pd.DataFrame
        Well profiles, normalised, with their negative controls where these are asked for.
    question : Neighbours or Activity
    correct : str
        Of `profiles.CORRECTIONS`: fit anew on the channels of each subset, once their blocks have
        equal norms.
    batch : str
        Of `profiles.correct`.

    Returns
    -------
    pd.DataFrame
        label, unit, then a column a subset, named by `subset_name` in the order of `subsets`: what
        the item scores by these channels alone. Without any it is `question.chance`.

    Raises
    ------
    ValueError
        As `equal_norms`, `profiles.correct` and the question; names the channels.
    """
    names = list(blocks(profiles))
    weighed = equal_norms(profiles)
    columns = {EMPTY: None}
    for subset in subsets(names)[1:]:
        items = _items(weighed, subset, question, correct, batch)
        columns[subset_name(subset)] = items["value"].to_numpy()
    columns[EMPTY] = question.chance(items)
    return pd.concat([items[["label", "unit"]], pd.DataFrame(columns)], axis=1)


def _items(weighed, subset, question, correct, batch):
    """The items of a question by some channels."""
    own = blocks(weighed)
    others = [name for channel in own if channel not in subset for name in own[channel]]
    try:
        made, _ = corrected(weighed.drop(columns=others), correct, batch)
        return question.items(made)
    except ValueError as error:
        error.args = (f"channels {subset_name(subset)}: {error}",)
        raise


def _subset_columns(scored):
    return list(scored.columns[2:])


def scored_channels(scored):
    """The channels of a table of `score_subsets`: its subsets of one."""
    columns = _subset_columns(scored)
    return [columns[2**i] for i in range(len(columns).bit_length() - 1)]


def by_label(scored):
    """What each subset scores for each label.

    Parameters
    ----------
    scored : pd.DataFrame
        From `score_subsets`.

    Returns
    -------
    pd.DataFrame
        Rows: labels in the order of their names, then `ALL` over all items; a column a subset.
    """
    made = scored.groupby("label")[_subset_columns(scored)].mean()
    made.loc[ALL] = scored[_subset_columns(scored)].mean()
    return made


def shapley_weights(count):
    """The matrix that turns scores of subsets into Shapley values.

    Parameters
    ----------
    count : int
        Channels, C.

    Returns
    -------
    numpy.ndarray
        (C, 2^C), subsets in the order of `subsets`: the mean over all orders in which channels can
        be added of what each adds.

    Source: Shapley 1953 (doi 10.1515/9781400881970-018).
    """
    numbers = np.arange(2**count)
    held = numbers >> np.arange(count)[:, None] & 1
    sizes = held.sum(0)
    # Orders in which exactly the others of a subset come before a channel, as a share of all.
    share = np.array([1 / (count * math.comb(count - 1, before)) for before in range(count)])
    return np.where(held, share[sizes - 1], -share[np.minimum(sizes, count - 1)])


def shapley(scored, *, level=0.95, draws=2000, seed=0):
    """Shapley values of the channels for each label.

    Parameters
    ----------
    scored : pd.DataFrame
        From `score_subsets`.
    level : float
        Coverage of the intervals, 0 to 1.
    draws : int
        Resamples of a label's units, such as compounds.
    seed : int

    Returns
    -------
    pd.DataFrame
        One row a label and channel, labels as in `by_label`: label, channel, shapley (they sum to
        the score of all channels less that of none), low and high (missing below `LEAST_UNITS`
        units), alone (what the channel scores by itself, less that of none), left out (what all
        score, less what is left without it), units, items, said (why there is no interval).

    Raises
    ------
    ValueError
        A level that is no share, no resample.
    """
    arguments.check_positive("draws", draws)
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; it is a share between 0 and 1, such as 0.95.")
    names = scored_channels(scored)
    weights = shapley_weights(len(names))
    full = len(weights[0]) - 1
    rows = []
    for label in by_label(scored).index:
        part = scored if label == ALL else scored[scored["label"] == label]
        values = part[_subset_columns(scored)].to_numpy()
        codes, units = pd.factorize(part["unit"])
        mean = values.mean(0)
        low = high = np.full(len(names), np.nan)
        few = len(units) < LEAST_UNITS
        if not few:
            drawn = _resampled(values, codes, len(units), draws, seed) @ weights.T
            low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)
        for i, channel in enumerate(names):
            rows.append(
                {
                    "label": label,
                    "channel": channel,
                    "shapley": weights[i] @ mean,
                    "low": low[i],
                    "high": high[i],
                    "alone": mean[2**i] - mean[0],
                    "left out": mean[full] - mean[full - 2**i],
                    "units": len(units),
                    "items": len(part),
                    "said": f"no interval: {len(units)} units" if few else "",
                }
            )
    return pd.DataFrame(rows)


def _resampled(values, codes, count, draws, seed):
    """(draws, subsets): mean scores of resampled units, whose items stay together."""
    sums = np.zeros((count, values.shape[1]))
    np.add.at(sums, codes, values)
    sizes = np.bincount(codes, minlength=count)
    chosen = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), draws)
    return (chosen @ sums) / (chosen @ sizes)[:, None]


def permuted(profiles, question, correct="none", batch="batch", *, repeats=10, seed=0):
    """What the score of all channels loses where the block of one lies with other wells.

    Parameters
    ----------
    profiles, question, correct, batch
        As of `score_subsets`. Blocks are exchanged between all wells but the negative controls.
    repeats : int
        Exchanges, over which the mean is taken.
    seed : int

    Returns
    -------
    pd.DataFrame
        label, channel, permuted; rows as of `shapley`.
    """
    arguments.check_positive("repeats", repeats)
    own = blocks(profiles)
    weighed = equal_norms(profiles)
    everything = _items(weighed, tuple(own), question, correct, batch)
    rows = np.arange(len(profiles))
    kind = tables.key_columns(profiles, ["control_type"])
    if kind:
        rows = rows[(profiles[kind[0]] != "negcon").to_numpy()]
    rng = np.random.default_rng(seed)
    losses = []
    for channel, names in own.items():
        total = np.zeros(len(everything))
        for _ in range(repeats):
            exchanged = weighed.copy()
            values = weighed[names].to_numpy(copy=True)
            values[rows] = values[rng.permutation(rows)]
            exchanged[names] = values
            total += _items(exchanged, tuple(own), question, correct, batch)["value"].to_numpy()
        loss = everything.assign(value=everything["value"] - total / repeats)
        means = loss.groupby("label")["value"].mean()
        means.loc[ALL] = loss["value"].mean()
        losses.append(means.rename("permuted").rename_axis("label").reset_index().assign(
            channel=channel
        ))  # fmt: skip
    return pd.concat(losses, ignore_index=True)[["label", "channel", "permuted"]]


def compared(
    profiles,
    question,
    correct="none",
    batch="batch",
    *,
    top=50,
    draws=2000,
    repeats=10,
    seed=0,
):
    """Shapley values beside the other ways to say what a channel matters.

    Parameters
    ----------
    profiles, question, correct, batch
        As of `score_subsets`.
    top : int
        Features that a forest's count is taken over (`channels.top_feature_counts`), by the wells
        that are asked about.
    draws, repeats, seed : int
        As of `shapley` and `permuted`.

    Returns
    -------
    pd.DataFrame
        The columns of `shapley`, permuted and forest (a count; missing for `ALL`).

    Raises
    ------
    ValueError
        As these.
    """
    scored = score_subsets(profiles, question, correct, batch)
    made = shapley(scored, draws=draws, seed=seed)
    lost = permuted(profiles, question, correct, batch, repeats=repeats, seed=seed)
    wells = question.protocol.select(profiles)
    counts = channels.top_feature_counts(wells, question.label, top, seed=seed)
    counts = counts.rename_axis("label").reset_index()
    counts = counts.melt("label", var_name="channel", value_name="forest")
    made = made.merge(lost, "left", ["label", "channel"]).merge(
        counts, "left", ["label", "channel"]
    )
    said = made.pop("said")
    return made.assign(said=said)


def planted_ranks(table, planted, ways=WAYS):
    """Which place the channel that a mechanism was planted in comes to, by each way.

    Parameters
    ----------
    table : pd.DataFrame
        From `compared` or `shapley`.
    planted : dict or pd.Series
        Label -> the channel that alone was changed. Other labels are left out.
    ways : sequence of str
        Columns of the table; those that it lacks are left out.

    Returns
    -------
    pd.DataFrame
        One row a label and way: label, planted, way, value, best of the others, rank (1 is first;
        channels of the same value share the last of their places: what is not ahead is not first).

    Raises
    ------
    ValueError
        No label of the table was planted, a channel that it does not have.
    """
    planted = dict(planted)
    own = table[table["label"].isin(planted)]
    if own.empty:
        raise ValueError(
            f"none of the labels was planted: the table has {', '.join(table['label'].unique())}; "
            f"planted are {', '.join(map(str, planted))}."
        )
    known = list(own["channel"].unique())
    ways = [way for way in ways if way in table]
    rows = []
    for label, part in own.groupby("label", sort=False):
        channel = planted[label]
        if channel not in known:
            raise ValueError(
                f"{label} was planted in {channel}; the profiles have {', '.join(known)}."
            )
        first = (part["channel"] == channel).to_numpy()
        for way in ways:
            values = part[way].to_numpy(float)
            ahead = values[~first] >= values[first] - similarity.TOLERANCE
            rows.append(
                {
                    "label": label,
                    "planted": channel,
                    "way": way,
                    "value": values[first][0],
                    "best of the others": values[~first].max(),
                    "rank": 1 + int(ahead.sum()),
                }
            )
    return pd.DataFrame(rows)


def found_first(ranks, count):
    """How often the planted channel comes first, by each way.

    Parameters
    ----------
    ranks : pd.DataFrame
        From `planted_ranks`.
    count : int
        Channels.

    Returns
    -------
    pd.DataFrame
        One row a way: way, first, of, mean rank, by chance (the expected count where every channel
        is as likely).
    """
    groups = ranks.groupby("way", sort=False)["rank"]
    made = pd.DataFrame(
        {
            "first": groups.apply(lambda rank: int((rank == 1).sum())),
            "of": groups.size(),
            "mean rank": groups.mean(),
        }
    )
    return made.assign(**{"by chance": made["of"] / count}).reset_index()
