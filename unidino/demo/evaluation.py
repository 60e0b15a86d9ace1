"""What a small model is worth: scores beside random, Gaussian and hand-made features.

``python -m unidino.demo.evaluation --model PATH`` scores it on the development sets, by which
models are chosen. The held-out real crops are looked at only when they are named in ``--sets``,
and each look is recorded.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from .. import arguments, evaluate, inference, paths, profiles, tables, valsets
from ..embedding import PRECISIONS
from ..evaluate import baselines, bbbc021, dose_response
from ..evaluate.neighbours import Rule, table_identity
from ..models import checkpoints, load_model
from ..models.vit import POOLINGS, EmbeddingModel, block_count
from ..profiles.aggregation import consensus
from . import real_sets
from .data import development_sets

SCORE_COLUMNS = [
    "model", "sha256", "pooling", "set", "metric", "minus", "value", "low", "high", "n", "seeds",
    "seed_low", "seed_high",
]  # fmt: skip
"""Of a table of scores. ``minus`` names what is subtracted, and is empty for a score itself; low
and high are the ends of a 95 % interval; seed_low and seed_high the range over seeds."""


DEVELOPMENT_RULES = {
    "BBBC021": (Rule("NSC of moa, treatments", "treatment"),),
    "jumpcp-valset": (
        Rule("NSC of target, wells", "well", "target", ("perturbation_id",), by="perturbation_id"),
        Rule("compound in another source, wells", "well", "perturbation_id", ("source",),
             by="perturbation_id"),
    ),
    "stains": (Rule("stain, another repository", "image", "stain", ("repo",), by="plate"),),
    "real crops": (Rule("NSC of moa, treatments", "treatment"),),
}  # fmt: skip
"""What is asked of each set, under which name; cosine distance throughout."""


def compared(profiles, name):
    """The profiles of a set that are compared with each other, in the order of their keys.

    Parameters
    ----------
    profiles : pd.DataFrame
        Well profiles; images of the stains; treatments for the real crops.
    name : str
        Key of `DEVELOPMENT_RULES`.

    Returns
    -------
    pd.DataFrame
        Treatments (means of their wells) of BBBC021; the wells of JUMP-CP but the controls.
    """
    if name in ("stains", "real crops"):
        return profiles
    profiles = profiles.sort_values(tables.key_columns(profiles, tables.WELL_KEY), kind="stable")
    if name == "BBBC021":
        return consensus(bbbc021.treated(profiles), list(bbbc021.TREATMENT), "mean")
    kept = profiles[tables.find_column(profiles, "control_type")].isna()
    kept &= profiles[tables.feature_columns(profiles)].notna().all(axis=1)
    return profiles[kept].reset_index(drop=True)


def mean_accuracy(accuracies):
    """One accuracy from those of several seeds: each profile counts by its share of hits.

    Parameters
    ----------
    accuracies : list of evaluate.Accuracy
        On the same profiles.

    Returns
    -------
    evaluate.Accuracy
    """
    first = accuracies[0]
    hits = np.mean([one.neighbours["correct"].to_numpy(float) for one in accuracies], axis=0)
    neighbours = first.neighbours.assign(correct=hits)
    return evaluate.Accuracy(neighbours, first.without_neighbour, first.identity)


def pooled(accuracies, parts, rule):
    """One accuracy over sets of which each was asked by itself, and the profiles of all.

    Parameters
    ----------
    accuracies : list of evaluate.Accuracy
        One a set.
    parts : list of pd.DataFrame
        The profiles of each.
    rule : Rule
        What is resampled of one set is something else in another.

    Returns
    -------
    evaluate.Accuracy, pd.DataFrame
    """
    frames, neighbours, first = [], [], 0
    for number, (accuracy, part) in enumerate(zip(accuracies, parts, strict=True)):
        column = tables.find_column(part, rule.by)
        frames.append(part.assign(**{column: part[column].astype(str) + f" of set {number}"}))
        rows = {name: accuracy.neighbours[name] + first for name in ("profile", "neighbour")}
        neighbours.append(accuracy.neighbours.assign(**rows))
        first += len(part)
    profiles = pd.concat(frames, ignore_index=True)
    made = evaluate.Accuracy(
        pd.concat(neighbours, ignore_index=True),
        sum(accuracy.without_neighbour for accuracy in accuracies),
        table_identity(profiles, accuracies[0].identity),
    )
    return made, profiles


def neighbour_scores(parts, name, *, draws=2000, seed=0):
    """Accuracies of feature sets on sets of one kind, and the first one's lead over the others.

    Parameters
    ----------
    parts : list of dict of str to list of pd.DataFrame
        For each set, name -> profiles, one frame a seed of the features; the first name is the one
        that is compared with the others. Neighbours are sought within a set.
    name : str
        Key of `DEVELOPMENT_RULES`.
    draws, seed : int
        Of the bootstrap, which resamples compounds.

    Returns
    -------
    pd.DataFrame
        `SCORE_COLUMNS` from ``set`` on, and ``features``.

    Raises
    ------
    ValueError
        Feature sets of different profiles.
    """
    parts = [
        {key: [compared(one, name) for one in frames] for key, frames in part.items()}
        for part in parts
    ]
    first = next(iter(parts[0]))
    rows = []
    for rule in DEVELOPMENT_RULES[name]:
        found = {}
        for features, seeds in parts[0].items():
            for number in range(len(seeds)):
                frames = [part[features][number] for part in parts]
                if any(
                    _keys(frame, rule) != _keys(part[first][0], rule)
                    for frame, part in zip(frames, parts, strict=True)
                ):
                    raise ValueError(
                        f"{features} and {first} describe different profiles of {name}."
                    )
                accuracy, table = pooled([rule.accuracy(frame) for frame in frames], frames, rule)
                found.setdefault(features, []).append(accuracy)
                if features == first:
                    profiles = table
        means = {features: mean_accuracy(made) for features, made in found.items()}
        options = {"draws": draws, "seed": seed}
        for features, mean in means.items():
            interval = evaluate.bootstrap_interval(mean, profiles, rule.by, **options)
            rows.append(
                _row(name, rule.name, features, "", float(mean), interval, mean.n)
                | _seeds([float(one) for one in found[features]])
            )
        for features in list(means)[1:]:
            value, *interval = evaluate.paired_difference(
                means[first], means[features], profiles, rule.by, **options
            )
            rows.append(
                _row(name, rule.name, first, features, value, interval, means[first].n)
                | _seeds([value])
            )
    return pd.DataFrame(rows)


def _keys(profiles, rule):
    names = dict.fromkeys((rule.label, *rule.exclude, rule.by, "concentration"))
    columns = tables.key_columns(profiles, names)
    return profiles[columns].astype(str).apply(tuple, axis=1).tolist()


def dose_scores(feature_sets, name="SBS plate", *, draws=2000, seed=0):
    """Dose response of feature sets on the translocation plate, cross-fitted, with intervals.

    The intervals resample wells, within a dose and within a kind of control, and leave the axes
    as they were fitted: there are only two compounds.

    Parameters
    ----------
    feature_sets : dict of str to list of pd.DataFrame
        As for `neighbour_scores`: well profiles with half, dose and control_type.
    draws, seed : int
        Of the bootstrap.

    Returns
    -------
    pd.DataFrame
        As `neighbour_scores`.
    """
    made = {}
    for features, frames in feature_sets.items():
        parts = [_dose(frame, draws, seed) for frame in frames]
        values = np.array([part[0] for part in parts])
        made[features] = (values, np.mean([part[1] for part in parts], axis=0), parts[0][2])
    first = next(iter(made))
    rows = []
    for features, (values, resampled, described) in made.items():
        for i, (metric, n) in enumerate(described):
            rows.append(
                _row(name, metric, features, "", values[:, i].mean(), _ends(resampled[:, i]), n)
                | _seeds(values[:, i])
            )
    for features in list(made)[1:]:
        difference = made[first][1] - made[features][1]
        for i, (metric, n) in enumerate(made[first][2]):
            value = made[first][0][:, i].mean() - made[features][0][:, i].mean()
            rows.append(
                _row(name, metric, first, features, value, _ends(difference[:, i]), n)
                | _seeds([value])
            )
    return pd.DataFrame(rows)


def _dose(profiles, draws, seed):
    """(values, resampled values (draws, metrics), (metric, n) of each) of one set of features."""
    profiles = profiles.sort_values(tables.key_columns(profiles, ["well"]), kind="stable")
    summary, scores = dose_response.cross_fitted(profiles, "half", "dose")
    rng = np.random.default_rng(seed)
    values, resampled, described = [], [], []
    for row in summary.sort_values("scored").itertuples():
        part = scores[scores["half"] == row.scored]
        series = part[part["control"].isna()].sort_values("dose", kind="stable")
        draw = [_resample(one["score"], draws, rng) for _, one in series.groupby("dose")]
        ranks = rankdata(series["dose"])
        values.append(row.spearman)
        resampled.append(_correlation(rankdata(np.hstack(draw), axis=1), ranks))
        described.append((f"Spearman, rows {row.scored}", len(series)))
        low, high = (
            _resample(part.loc[part["control"] == kind, "score"], draws, rng)
            for kind in ("negcon", "poscon")
        )
        spread = 3 * (low.std(1, ddof=1) + high.std(1, ddof=1))
        values.append(row.z_prime)
        resampled.append(1 - spread / np.abs(high.mean(1) - low.mean(1)))
        described.append((f"Z', rows {row.scored}", low.shape[1] + high.shape[1]))
    return values, np.stack(resampled, 1), described


def _resample(values, draws, rng):
    values = values.to_numpy()
    return values[rng.integers(len(values), size=(draws, len(values)))]


def _correlation(rows, other):
    """Pearson correlation of each row with a vector."""
    rows = rows - rows.mean(1, keepdims=True)
    other = other - other.mean()
    return rows @ other / np.sqrt((rows**2).sum(1) * (other**2).sum())


def _ends(resampled):
    return np.nanquantile(resampled, [0.025, 0.975])


def _row(name, metric, features, minus, value, interval, n):
    low, high = interval
    described = {"features": features, "set": name, "metric": metric, "minus": minus}
    return described | {"value": value, "low": low, "high": high, "n": n}


def _seeds(values):
    return {"seeds": len(values), "seed_low": min(values), "seed_high": max(values)}


SETS = ("development", "stains", "sbs", "heldout", "blocks")
GAUSSIAN_SEEDS = 20
LOOKS = "heldout_looks.csv"
"""Table of the models that were scored on the held-out crops, beside the demo model's weights."""

RANDOM, GAUSSIAN, BY_HAND, TRANSFER = "random_vit", "Gaussian", "hand-made", "transfer"


class Evaluation:
    """A model, its baselines, and where their embeddings are kept.

    Parameters
    ----------
    model : str
        A name or path, see `unidino.load_model`.
    pooling : {"cls", "mean", "max", "cls_mean", "cls_max", "cls_mean_max"}, optional
        In the place of the model's own.
    outdir : str or Path
        Folder of `data.write`; embeddings go to ``<outdir>/evaluation``.
    seeds : int
        Untrained models to compare with, 0 for none.
    with_baselines : bool
        False scores the model alone.
    beside : dict of str to str, optional
        Further baselines: weights files by the name that each gets in tables, such as untrained
        weights under a projection like the model's.
    precision : {"fp32", "bf16", "fp16"}
        Of the forward pass.
    draws : int
        Of the bootstrap.

    Raises
    ------
    ValueError, FileNotFoundError
        Options out of range; as `unidino.load_model`.
    """

    def __init__(
        self,
        model,
        pooling=None,
        outdir="data/sample/demo",
        *,
        seeds=3,
        with_baselines=True,
        beside=None,
        precision="fp32",
        draws=2000,
    ):
        if seeds < 0:
            raise ValueError(f"seeds is {seeds}; it must be 0 or more.")
        self.beside = {name: str(file) for name, file in (beside or {}).items()}
        taken = {RANDOM, GAUSSIAN, BY_HAND, TRANSFER} & set(self.beside)
        if taken:
            raise ValueError(f"beside: {min(taken)} is the name of another baseline; take another.")
        arguments.check_positive("draws", draws)
        arguments.check_choice("precision", precision, tuple(PRECISIONS))
        if pooling is not None:
            arguments.check_choice("pooling", pooling, POOLINGS)
        self.model = str(model)
        self.network = load_model(model, pooling=pooling)
        self.outdir = Path(outdir)
        self.with_baselines = with_baselines
        # An untrained model is no baseline of itself.
        self.seeds = seeds if with_baselines and self.network.name != RANDOM else 0
        self.precision = precision
        self.draws = draws

    @property
    def name(self):
        """Of the model, in tables."""
        return self.network.name

    @property
    def pooling(self):
        """With which it is used."""
        return self.network.config.pooling

    def untrained(self, seed):
        """The arguments of `load_model` for an untrained model of the same size and pooling."""
        config = self.network.config
        return {
            "arch": config.arch,
            "embed_dim": config.embed_dim,
            "cls_reduced_dim": config.cls_reduced_dim,
            "pooling": config.pooling,
            "seed": seed,
        }

    def embedded(self, valset, root, norm_method):
        """Well profiles of the model and of its untrained twins.

        Returns
        -------
        dict of str to list of pd.DataFrame
        """
        config = self.network.config
        options = {
            "valset": str(valset),
            "root": str(root),
            "norm_method": norm_method,
            "precision": self.precision,
            "size": config.size,
            "intensity_scaling": config.intensity,
        }
        # Sets of one name lie in several renderings.
        place = (f"{config.pooling}-{config.size}-{self.precision}", Path(root).name)
        folder = self.outdir.joinpath("evaluation", *place)
        made = inference.extract(
            model=self.model, pooling=config.pooling, outdir=str(folder), **options
        )
        sets = {self.name: [made.profiles]}
        if self.with_baselines and self.name != TRANSFER:
            other = inference.extract(model=TRANSFER, outdir=str(folder), **options)
            sets[TRANSFER] = [other.profiles]
        for seed in range(self.seeds):
            twin = inference.extract(
                model=RANDOM,
                outdir=str(folder / f"seed-{seed}"),
                **options,
                **self.untrained(seed),
            )
            sets.setdefault(RANDOM, []).append(twin.profiles)
        for name, file in self.beside.items():
            other = inference.extract(model=file, outdir=str(folder), **options)
            sets[name] = [other.profiles]
        return sets

    def development(self, renderings=None):
        """Scores on the simulated sets whose seeds and renderings training never shows.

        Parameters
        ----------
        renderings : int, optional
            How many of them; all by default.
        """
        parts = {}
        for one in development_sets(self.outdir, renderings):
            metadata = valsets.open_valset(one["valset"], root=one["root"])
            sets = self.embedded(one["valset"], one["root"], "standardize")
            if self.with_baselines:
                by_hand = profiles.aggregate(baselines.handmade(metadata))
                sets[BY_HAND] = [profiles.normalise(by_hand).profiles]
                sets[GAUSSIAN] = gaussian(sets[self.name][0])
            parts.setdefault(one["valset"], []).append(sets)
        scores = [neighbour_scores(made, name, draws=self.draws) for name, made in parts.items()]
        return self._described(pd.concat(scores, ignore_index=True))

    def stains(self):
        """Scores on real images: whether the nearest of another repository has the same stain.

        Their pixels are trained on, their stains are not told: it says what is learnt, not how it
        does elsewhere.
        """
        root = _real_root(real_sets.MIX_FOLDERS[0])
        csv = self.outdir / "evaluation" / "stains.csv"
        with tables.atomic_path(csv) as temporary:
            real_sets.stained_images(root).to_csv(temporary, index=False)
        sets = self.embedded(csv, root, "no_post_proc")
        if self.with_baselines:
            sets[BY_HAND] = [baselines.handmade(valsets.open_valset(csv, root=root))]
            sets[GAUSSIAN] = gaussian(sets[self.name][0])
        scaled = {
            name: [
                profiles.normalise(frame, "standardize", "all", by=[]).profiles for frame in frames
            ]
            for name, frames in sets.items()
        }
        return self._described(neighbour_scores([scaled], "stains", draws=self.draws))

    def blocks(self, every=2):
        """Scores of the model without its projection, read after blocks of its upper half.

        Parameters
        ----------
        every : int
            Blocks from one that is read to the next; the last one is always read.

        Returns
        -------
        pd.DataFrame
            block, and the columns of a table of scores: stains, and the first simulated set of
            each kind.
        """
        count = block_count(self.network.backbone)
        parts = []
        for block in range(count, count // 2, -every):
            path = self.outdir / "evaluation" / "blocks" / f"block-{block}.safetensors"
            checkpoints.save_model(unprojected(self.network, block), path)
            one = Evaluation(
                path,
                outdir=self.outdir,
                with_baselines=False,
                precision=self.precision,
                draws=self.draws,
            )
            scores = pd.concat([one.stains(), one.development(renderings=1)])
            parts.append(
                scores.assign(model=self.name, sha256=self.network.sha256[:8], block=block)
            )
        table = pd.concat(parts[::-1], ignore_index=True)
        return table[["block", *SCORE_COLUMNS]]

    def sbs(self):
        """Scores on the translocation plate, cross-fitted."""
        root = _real_root("sbs_translocation_plate")
        csv = self.outdir / "evaluation" / "sbs.csv"
        with tables.atomic_path(csv) as temporary:
            real_sets.sbs_plate(root).to_csv(temporary, index=False)
        sets = self.embedded(csv, root, "no_post_proc")
        if self.with_baselines:
            sets[BY_HAND] = [baselines.handmade(valsets.open_valset(csv, root=root))]
            sets[GAUSSIAN] = gaussian(sets[self.name][0])
        return self._described(dose_scores(sets, draws=self.draws))

    def heldout(self, looks=None):
        """Scores on the held-out real crops.

        Parameters
        ----------
        looks : Path, optional
            Table in which the look is recorded; ``data/checkpoints/heldout_looks.csv``.
        """
        labels, crops = real_sets.read_crops(paths.real_data_root())
        looks = looks or paths.project_root() / "data" / "checkpoints" / LOOKS
        others = {name: load_model(file) for name, file in self.beside.items()}
        if self.name != RANDOM:
            record_look(looks, self.name, self.network)
        for name, other in others.items():
            record_look(looks, name, other)
        scaled = real_sets.scale_crops(crops)
        features = {
            self.name: [real_sets.embed_crops(self.network, scaled, precision=self.precision)]
        }
        for seed in range(self.seeds):
            twin = load_model(RANDOM, **self.untrained(seed))
            made = real_sets.embed_crops(twin, scaled, precision=self.precision)
            features.setdefault(RANDOM, []).append(made)
        if self.with_baselines and self.name != TRANSFER:
            other = load_model(TRANSFER)
            features[TRANSFER] = [real_sets.embed_crops(other, scaled, precision=self.precision)]
        for name, other in others.items():
            features[name] = [real_sets.embed_crops(other, scaled, precision=self.precision)]
        if self.with_baselines:
            features[BY_HAND] = [real_sets.crops_by_hand(scaled)]
            features[GAUSSIAN] = gaussian(features[self.name][0])
        sets = {
            name: [real_sets.crop_treatments(labels, frame) for frame in frames]
            for name, frames in features.items()
        }
        return self._described(neighbour_scores([sets], "real crops", draws=self.draws))

    def _described(self, scores):
        """With the columns that say which model; rounded."""
        known = {name: load_model(file) for name, file in self.beside.items()}
        known[self.name] = self.network
        digests = {name: model.sha256[:8] for name, model in known.items()}
        poolings = {name: model.config.pooling for name, model in known.items()}
        made = scores.assign(
            model=scores["features"],
            sha256=scores["features"].map(digests).fillna(""),
            pooling=scores["features"].map({RANDOM: self.pooling} | poolings).fillna(""),
        )
        return made[SCORE_COLUMNS].round(6)


def unprojected(model, block=None):
    """A model without its projection, read after a block.

    Parameters
    ----------
    model : EmbeddingModel
    block : int, optional
        The model's own by default.
    """
    config = replace(model.config, projected_dim=None, block=block or model.config.block)
    made = EmbeddingModel(config)
    state = model.weights()
    kept = {name: values for name, values in state.items() if not name.startswith("projection.")}
    made.load_weights(kept, model.name)
    return made.eval()


def gaussian(profiles_or_features):
    """Random features, as many as a table has, under several seeds."""
    frame = profiles_or_features
    size = len(tables.feature_columns(frame))
    return [baselines.gaussian(frame, size, seed) for seed in range(GAUSSIAN_SEEDS)]


def _real_root(folder):
    root = paths.real_data_root()
    if root is None or not (root / folder).is_dir():
        raise FileNotFoundError(
            f"the real images {folder} are absent: set UNIDINO_REAL to the folder above them."
        )
    return root


def record_look(path, name, model):
    """Note that a model was scored on the held-out crops; the same model again is no new look.

    Parameters
    ----------
    path : Path
        CSV: model, sha256 (first 8), pooling.
    name : str
        That it has in tables.
    model : EmbeddingModel

    Returns
    -------
    int
        Looks so far.
    """
    row = pd.DataFrame(
        {
            "model": [name],
            "sha256": [model.sha256[:8]],
            "pooling": [model.config.pooling],
        }
    )
    before = _table(path, list(row))
    looks = pd.concat([before, row]).drop_duplicates(["sha256", "pooling"])
    if len(looks) > len(before):
        _write(looks, path)
    return len(looks)


def append(scores, path):
    """Add scores to a CSV; those of the same model, set and metric are replaced.

    Parameters
    ----------
    scores : pd.DataFrame
        `SCORE_COLUMNS`.
    path : Path

    Returns
    -------
    pd.DataFrame
        The whole table.

    Raises
    ------
    ValueError
        The file is another table.
    """
    keys = ["model", "sha256", "pooling", "set", "metric", "minus"]
    whole = pd.concat([_table(path, SCORE_COLUMNS), scores], ignore_index=True)
    whole = whole.drop_duplicates(keys, keep="last")
    _write(whole, path)
    return whole


def read_scores(path):
    """A table of scores, its empty cells empty text.

    Raises
    ------
    FileNotFoundError, ValueError
        No such file; another table.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(
            f"no scores at {path}: run python -m unidino.demo.evaluation with --table {path}"
        )
    return _table(path, SCORE_COLUMNS)


def _table(path, columns):
    """The table of that path, or an empty one."""
    path = Path(path)
    if not path.is_file():
        return pd.DataFrame(columns=columns)
    text = dict.fromkeys(("model", "sha256", "pooling", "set", "metric", "minus"), str)
    frame = pd.read_csv(path, dtype=text, keep_default_na=False, na_values={"low": "", "high": ""})
    if list(frame) != columns:
        raise ValueError(f"{path} has the columns {', '.join(frame)}; expected {columns}.")
    return frame


def _write(frame, path):
    with tables.atomic_path(path) as temporary:
        frame.to_csv(temporary, index=False, lineterminator="\n")


def _named_files(texts):
    """NAME=FILE, NAME=FILE … as a dict."""
    named = {}
    for text in texts:
        name, equals, file = (part.strip() for part in text.rpartition("="))
        if not equals or not name or name in named:
            raise ValueError(f"--beside is {text!r}; expected NAME=FILE, each name once.")
        if not Path(file).is_file():
            raise FileNotFoundError(f"--beside {name}: no weights file {file}.")
        named[name] = file
    return named


def main(argv=None):
    """The command line."""
    parser = argparse.ArgumentParser("python -m unidino.demo.evaluation", description=__doc__)
    parser.add_argument("--model", required=True, help="name or weights file")
    parser.add_argument("--pooling", choices=POOLINGS, help="in the place of the model's own")
    parser.add_argument("--outdir", default="data/sample/demo", help="of unidino.demo.data")
    parser.add_argument("--sets", default="development,stains,sbs", help=", ".join(SETS))
    parser.add_argument("--table", help="CSV to which the scores are added")
    parser.add_argument("--seeds", type=int, default=3, help="untrained models")
    parser.add_argument(
        "--beside",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="weights file to compare with, under that name; may be repeated",
    )
    parser.add_argument("--baselines", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--precision", choices=tuple(PRECISIONS), default="fp32")
    parser.add_argument("--draws", type=int, default=2000, help="of the bootstrap")
    given = parser.parse_args(argv)
    try:
        names = [name.strip() for name in given.sets.split(",")]
        for name in names:
            arguments.check_choice("sets", name, SETS)
        if given.table:
            _table(given.table, SCORE_COLUMNS)  # stops before any work
        evaluation = Evaluation(
            given.model,
            given.pooling,
            given.outdir,
            seeds=given.seeds,
            with_baselines=given.baselines,
            beside=_named_files(given.beside),
            precision=given.precision,
            draws=given.draws,
        )
        for name in names:
            scores = getattr(evaluation, name)()
            print(scores.drop(columns=["sha256"]).round(3).to_string(index=False), flush=True)
            if given.table and name == "blocks":
                _write(scores, Path(given.table).with_suffix(".blocks.csv"))
            elif given.table:
                append(scores, given.table)
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
