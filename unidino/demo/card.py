"""What the card of the demo model tells: its data, its training, and its scores.

``python -m unidino.demo.card`` lists the sources of the real training images in
``data/train_mix_sources.csv``: where each came from and under which licence, no pixels.
"""

import argparse
import inspect
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from .. import paths, tables
from ..evaluate import bootstrap
from ..pages import plots
from ..train import train
from ..train.options import published as published_options
from . import evaluation, real_sets, recipe, score_tables
from .data import REAL_SHARE, TRAINING, TRAINING_PLATES

SOURCES = Path("data", "train_mix_sources.csv")
SOURCE_COLUMNS = ["file", "source", "repo", "commit", "path", "licence", "stain", "cells"]

SAME_PROJECTION = ("random_vit, projected", "transfer, projected")
"""Names in tables of other networks under a projection that is fitted as the model's is."""

_NAMES = {"stain_channel": "stain", "cell_type": "cells"}
# They say where a run was carried out, not what it computes.
_PLACES = {
    "output_dir", "datasets", "dataset_weights", "monitor", "monitor_freq", "saveckp_freq",
    "checkpoint_minutes", "num_workers", "device", "ckpt",
}  # fmt: skip


def mix_sources(root):
    """Every real training image and where it came from.

    Parameters
    ----------
    root : Path
        The real data root.

    Returns
    -------
    pd.DataFrame
        `SOURCE_COLUMNS`, one row an image that is trained on.

    Raises
    ------
    FileNotFoundError
        The mix is not there.
    """
    frame = real_sets.mix_manifest(root).rename(columns=_NAMES)
    return frame[SOURCE_COLUMNS]


def read_sources(path=None):
    """The committed table of `mix_sources`.

    Raises
    ------
    FileNotFoundError
    """
    path = Path(path or paths.project_root() / SOURCES)
    if not path.is_file():
        raise FileNotFoundError(f"no sources at {path}: run python -m unidino.demo.card")
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def by_source(sources):
    """What is trained on, a row a source and a simulated set.

    Parameters
    ----------
    sources : pd.DataFrame
        From `read_sources`.

    Returns
    -------
    pd.DataFrame
        source, kind (real or simulated), count (images; wells of simulated sets), share of the
        draws (of 1), licence, repository.
    """
    groups = sources.groupby("source", sort=False)
    count = groups.size()
    by_stain = sources.groupby(["source", "stain"]).size() ** 0.5
    draws = by_stain.groupby("source").sum() / by_stain.sum() * REAL_SHARE
    licences = groups["licence"].agg(lambda texts: ", ".join(dict.fromkeys(map(_short, texts))))
    real = pd.DataFrame(
        {
            "kind": "real",
            "count": count.map("{} images".format),
            "share of draws": draws,
            "licence": licences,
            "repository": groups["repo"].agg(lambda names: ", ".join(dict.fromkeys(names))),
        }
    ).rename_axis("source")
    wells = {
        name: size["wells"] * size.get("plates", 1) * size.get("batches", 1)
        for name, size in TRAINING_PLATES.items()
    }
    folders = len(TRAINING)
    simulated = pd.DataFrame(
        {
            "kind": "simulated",
            "count": [f"{folders} x {number} wells" for number in wells.values()],
            "share of draws": (1 - REAL_SHARE) / len(wells),
            "licence": "this project's",
            "repository": "",
        },
        index=pd.Index(wells, name="source"),
    )
    real = real.sort_values("share of draws", ascending=False, kind="stable")
    return pd.concat([real, simulated]).reset_index()


def _short(licence):
    """The licence's name, without where it is written."""
    return licence.split(" - ")[0].split(" for ")[0].strip()


def attribution(sources):
    """The sources whose licence asks for attribution (CC BY).

    Returns
    -------
    list of str
        Repository, commit and licence.
    """
    asked = sources[sources["licence"].map(_short).str.startswith("CC BY")]
    groups = asked.groupby(["repo", "commit"], sort=False)
    return [
        f"{repo}, commit {commit[:7]}, {len(part)} images, {_short(part['licence'].iloc[0])}"
        for (repo, commit), part in groups
    ]


def training_options(header):
    """Options of a training that differ from those of the published one.

    Parameters
    ----------
    header : dict
        From `checkpoints.read_header`; its ``training`` holds the options.

    Returns
    -------
    pd.DataFrame
        option, published, here.
    """
    published = _published()
    rows = [
        {"option": name, "published": str(published[name]), "here": str(value)}
        for name, value in _differing(header, published).items()
    ]
    return pd.DataFrame(rows, columns=["option", "published", "here"])


def _published():
    """The defaults of `train.train` on a GPU."""
    defaults = {name: p.default for name, p in inspect.signature(train).parameters.items()}
    return defaults | published_options()


def _differing(header, options):
    """Options of a training that are not those, in their order; where it ran aside."""
    own = header.get("training", {})
    return {
        name: own[name]
        for name, value in options.items()
        if name in own and name not in _PLACES and own[name] != value
    }


def stage_of(header):
    """The stage of `recipe.STAGES` that a training belongs to: whose options are most its own.

    Parameters
    ----------
    header : dict
        As for `training_options`.
    """
    own = _published() | header.get("training", {})

    def agreeing(stage):
        return sum(own.get(name) == value for name, value in recipe.STAGES[stage].items())

    return max(recipe.STAGES, key=agreeing)


def changed_options(header):
    """Options of a training that differ from those of its stage in the recipe, by name.

    Parameters
    ----------
    header : dict
        As for `training_options`.

    Returns
    -------
    dict
    """
    return _differing(header, _published() | recipe.STAGES[stage_of(header)])


def training_command(header):
    """The commands that made a model: its data, then all stages and the export.

    Parameters
    ----------
    header : dict
        As for `training_options`.

    Returns
    -------
    str
        Lines for a shell.
    """
    stage = stage_of(header)
    stages = [name for name in (recipe.FROM.get(stage), stage) if name]
    changed = changed_options(header)
    given = ["data/sample/demo", "data/checkpoints/demo", f"data/checkpoints/{paths.DEMO_WEIGHTS}"]
    words = [*map(repr, given), f"stages={stages!r}"]
    words += [f"{name}={value!r}" for name, value in changed.items()]
    if not changed:
        run = "python -m unidino.demo.recipe data/sample/demo data/checkpoints/demo"
        run += "\n" if tuple(stages) == recipe.SHIPPED else f" --stages {','.join(stages)}\n"
    else:
        run = (
            "python - <<'END'\n"
            "from unidino.demo import recipe\n"
            "if __name__ == '__main__':\n"
            f"    recipe.run({', '.join(words)})\n"
            "END\n"
        )
    return "python -m unidino.demo.data data/sample/demo\n" + run


def hours(epochs, header):
    """Hours that the steps of a training took, from its epochs' speed.

    Parameters
    ----------
    epochs : pd.DataFrame
        Of ``epochs.jsonl``: images_per_second.
    header : dict

    Returns
    -------
    float
    """
    length = header.get("training", {}).get("epoch_length")
    if not length or "images_per_second" not in epochs:
        return float("nan")
    return float((length / epochs["images_per_second"]).sum() / 3600)


def optional_table(path):
    """A CSV, or None where there is no such file."""
    return pd.read_csv(path, keep_default_na=False) if Path(path).is_file() else None


def own_scores(scores, name, sha256, pooling):
    """The rows of a table of scores that belong to one model: its own and its baselines'.

    Parameters
    ----------
    scores : pd.DataFrame
        From `score_tables.read_scores`.
    name : str
        Name that the model gets in the table.
    sha256, pooling : str
        Of the model.

    Returns
    -------
    pd.DataFrame

    Raises
    ------
    ValueError
        The model is not in the table.
    """
    own = (scores["sha256"] == sha256[:8]) & (scores["pooling"] == pooling)
    if not own.any():
        raise ValueError(
            f"the table of scores does not hold the model {sha256[:8]} with pooling {pooling}: run "
            "python -m unidino.demo.evaluation for it."
        )
    # A baseline that was made anew has two rows: the later one counts.
    compared = scores["model"].isin(scores.loc[own, "minus"]) & (scores["minus"] == "")
    compared &= (scores["model"] != evaluation.RANDOM) | (scores["pooling"] == pooling)
    latest = ~scores[compared].duplicated(["model", "set", "metric"], keep="last")
    compared &= latest.reindex(scores.index, fill_value=False)
    kept = scores[own | compared].assign(model=scores["model"].where(~own, name))
    # The development sets first, whatever was scored first.
    order = kept["set"].map({name: i for i, name in enumerate(SET_TITLES)})
    return kept.iloc[order.argsort(kind="stable")].reset_index(drop=True)


def look_scores(looks, path):
    """The scores that the looks at the held-out crops gave.

    Parameters
    ----------
    looks : pd.DataFrame or None
        Table of `score_tables.record_look`.
    path : str or Path
        Table of scores.

    Returns
    -------
    pd.DataFrame
        sha256, pooling and score of each model; empty without looks.
    """
    scores = score_tables.read_scores(path)
    scores = scores[(scores["set"] == "real crops") & (scores["minus"] == "")]
    keys = ["model", "sha256", "pooling"]
    looks = pd.DataFrame(columns=keys) if looks is None else looks.astype(str)
    both = looks[keys].merge(scores, on=keys, how="left")
    score = [interval_text(row) for row in both.itertuples()]
    return both[keys].assign(score=score).set_index("model")


def beside(committed, again):
    """Scores that were computed again, beside those of the committed table.

    Returns
    -------
    pd.DataFrame
        set, metric, features, committed, again.
    """
    keys = ["set", "metric", "model"]
    first, second = (part[part["minus"] == ""] for part in (committed, again))
    both = second[[*keys, "value"]].merge(
        first[[*keys, "value"]], on=keys, how="left", suffixes=("_again", "_committed")
    )
    both = both.rename(columns={"model": "features", "value_committed": "committed"})
    return both.rename(columns={"value_again": "again"})[
        ["set", "metric", "features", "committed", "again"]
    ]


def interval_text(row):
    """A row of a table of scores in short, such as "0.34 (0.23 to 0.46)"."""
    return bootstrap.interval_text(row.value, row.low, row.high)


def side_by_side(scores, differences=False):
    """Scores as people read them: a row a question, a column a set of features.

    Parameters
    ----------
    scores : pd.DataFrame
        `score_tables.SCORE_COLUMNS`.
    differences : bool
        The model minus each of the others, in the place of the scores themselves.

    Returns
    -------
    pd.DataFrame
        Strings such as "0.34 (0.23 to 0.46)".
    """
    shown = scores[(scores["minus"] != "") == differences]
    text = [interval_text(row) for row in shown.itertuples()]
    column = "minus" if differences else "model"
    asked = shown["set"].map(lambda name: SET_TITLES.get(name, name)) + ": " + shown["metric"]
    shown = shown.assign(text=text, question=asked)
    wide = shown.pivot(index="question", columns=column, values="text").rename_axis(columns=None)
    wide = wide.loc[asked.unique(), shown[column].unique()].fillna("")
    return wide.rename(columns="minus {}".format) if differences else wide


def compared(scores):
    """The differences of a table of scores as `findings.compared` takes them.

    Parameters
    ----------
    scores : pd.DataFrame
        `score_tables.SCORE_COLUMNS`.

    Returns
    -------
    pd.DataFrame
        accuracy, level (the set), compared with, difference, low, high, n.
    """
    minus = scores[scores["minus"] != ""]
    return pd.DataFrame(
        {
            "accuracy": minus["metric"],
            "level": minus["set"].map(lambda name: SET_TITLES.get(name, name)),
            "compared with": minus["minus"],
            "difference": minus["value"],
            "low": minus["low"],
            "high": minus["high"],
            "n": minus["n"],
        }
    )


def by_block(blocks):
    """Scores by block as people read them: a row a block, a column a question.

    Parameters
    ----------
    blocks : pd.DataFrame
        From `evaluation.Evaluation.blocks`.

    Returns
    -------
    pd.DataFrame
        Strings such as "0.34 (0.23 to 0.46)".
    """
    asked = blocks["set"].map(SET_TITLES) + ": " + blocks["metric"]
    shown = blocks.assign(question=asked, text=[interval_text(row) for row in blocks.itertuples()])
    wide = shown.pivot(index="block", columns="question", values="text")
    return wide[asked.unique()].rename_axis(columns=None)


def main(argv=None):
    """The command line."""
    parser = argparse.ArgumentParser("python -m unidino.demo.card", description=__doc__)
    parser.add_argument("table", nargs="?", default=paths.project_root() / SOURCES)
    given = parser.parse_args(argv)
    root = paths.real_data_root()
    if root is None:
        sys.exit("error: no real images: set UNIDINO_REAL to the folder above train_mix.")
    try:
        sources = mix_sources(root)
    except FileNotFoundError as error:
        sys.exit(f"error: {error}")
    with tables.atomic_path(given.table) as temporary:
        sources.to_csv(temporary, index=False, lineterminator="\n")
    print(f"{len(sources)} images of {sources['source'].nunique()} sources: {given.table}")


if __name__ == "__main__":
    main()


SET_TITLES = {
    "BBBC021": "simulated BBBC021",
    "jumpcp-valset": "simulated JUMP-CP",
    "stains": "real training images",
    "SBS plate": "real translocation plate",
    "real crops": "real BBBC021 cells, held out",
}
"""What the sets are, for readers."""

_PANELS = (
    ("accuracy of the nearest neighbour", (0, 1), lambda metric: "rows" not in metric),
    ("Spearman correlation with dose, and Z'", (-1, 1.05), lambda metric: "rows" in metric),
)


def _figure(height, rows, columns=1, **options):
    with plt.rc_context(plots.STYLE):
        return plt.subplots(
            rows, columns, figsize=(plots.WIDTH, height), layout="constrained", squeeze=False,
            **options,
        )  # fmt: skip


def plot_scores(scores, heading):
    """Scores with their intervals: neighbour accuracies above, the dose response below.

    What lies beyond an axis is drawn as an arrow at its end: Z' has no lower bound.

    Parameters
    ----------
    scores : pd.DataFrame
        `score_tables.SCORE_COLUMNS`; rows that are differences are left out.
    heading : str
    """
    scores = scores[scores["minus"] == ""]
    names = list(dict.fromkeys(scores["model"]))
    panels = [
        (label, limits, part)
        for label, limits, chosen in _PANELS
        if len(part := scores[scores["metric"].map(chosen)])
    ]
    counts = [len(part.drop_duplicates(["set", "metric"])) for _, _, part in panels]
    figure, axes = _figure(
        0.62 * sum(counts) + 0.9 * len(panels) + 0.6, len(panels), height_ratios=counts
    )
    for axis, (label, limits, part) in zip(axes[:, 0], panels, strict=True):
        groups = part.drop_duplicates(["set", "metric"])
        place = {key: y for y, key in enumerate(zip(groups["set"], groups["metric"], strict=True))}
        for y in range(1, len(place), 2):
            axis.axhspan(y - 0.5, y + 0.5, color="#F2F2F2", lw=0)
        for i, name in enumerate(names):
            shift = 0.7 * ((i + 0.5) / len(names) - 0.5)
            _points(axis, part[part["model"] == name], place, shift, i, limits)
        ticks = [
            f"{SET_TITLES.get(row.set, row.set)}\n{row.metric} (n = {row.n})"
            for row in groups.itertuples()
        ]
        axis.set_yticks(range(len(place)), ticks, fontsize=8.5)
        axis.set_ylim(len(place) - 0.5, -0.5)
        axis.set_xlim(*limits)
        axis.set_xlabel(label)
        axis.tick_params(axis="y", length=0)
    handles = [
        plt.Line2D(
            [], [], color=plots.PALETTE[i], marker=plots.MARKERS[i], markersize=5, lw=1.2,
            label=name,
        )
        for i, name in enumerate(names)
    ]  # fmt: skip
    figure.legend(
        handles=handles, loc="outside lower center", ncols=min(4, len(names)), frameon=False
    )
    figure.suptitle(heading, fontsize=10.5)
    return figure


def _points(axis, part, place, shift, i, limits):
    colour, marker = plots.PALETTE[i], plots.MARKERS[i]
    for row in part.itertuples():
        y = place[row.set, row.metric] + shift
        low, high = np.clip([row.low, row.high], *limits)
        axis.plot([low, high], [y, y], color=colour, lw=1.2)
        outside = row.value < limits[0]
        axis.plot(
            [max(row.value, limits[0])], [y], color=colour, marker="<" if outside else marker,
            markersize=5, clip_on=False,
        )  # fmt: skip


def plot_blocks(blocks, heading):
    """Scores by the block that is read, a panel a question, with their intervals.

    Parameters
    ----------
    blocks : pd.DataFrame
        From `evaluation.Evaluation.blocks`.
    heading : str
    """
    asked = list(blocks.groupby(["set", "metric"], sort=False))
    rows = -(-len(asked) // 2)
    figure, axes = _figure(2.3 * rows + 0.4, rows, 2, sharex=True)
    for axis, ((name, metric), part) in zip(axes.flat, asked, strict=False):
        errors = [part["value"] - part["low"], part["high"] - part["value"]]
        axis.errorbar(
            part["block"], part["value"], errors, fmt="o-", color=plots.PALETTE[0], markersize=4,
            lw=1.2, elinewidth=0.8,
        )  # fmt: skip
        axis.set_title(f"{SET_TITLES.get(name, name)}\n{metric} (n = {part['n'].iloc[0]})",
                       fontsize=9)  # fmt: skip
        axis.set_ylim(bottom=0)
        axis.xaxis.set_major_locator(MaxNLocator(7, integer=True))
        axis.tick_params(labelbottom=True)
        axis.set_xlabel("block that is read")
        axis.set_ylabel("accuracy")
    for axis in axes.flat[len(asked) :]:
        axis.set_visible(False)
    figure.suptitle(heading, fontsize=10.5)
    return figure


def plot_training(epochs, heading):
    """How a training went, by epoch: loss, teacher entropy, effective rank, accuracy.

    Parameters
    ----------
    epochs : pd.DataFrame
        Of ``epochs.jsonl``; columns that it lacks are left out.
    heading : str
    """
    curves = {
        "loss": "loss",
        "teacher_entropy": "teacher entropy (nats)",
        "effective_rank": "effective rank",
        "accuracy": "NSC, simulated BBBC021 (wells)",
    }
    shown = [name for name in curves if name in epochs]
    figure, axes = _figure(2.0 * -(-len(shown) // 2) + 0.4, -(-len(shown) // 2), 2, sharex=True)
    for axis, name in zip(axes.flat, shown, strict=False):
        values = epochs[["epoch", name]].apply(pd.to_numeric, errors="coerce").dropna()
        axis.plot(values["epoch"], values[name], ".-", color=plots.PALETTE[0], markersize=4)
        axis.set_title(curves[name], fontsize=9.5)
        axis.yaxis.set_major_locator(MaxNLocator(4))
        axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axis.tick_params(labelbottom=True)
        axis.set_xlabel("epoch")
    for axis in axes.flat[len(shown) :]:
        axis.set_visible(False)
    figure.suptitle(heading, fontsize=10.5)
    return figure
