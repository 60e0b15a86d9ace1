"""What a small model is worth: scores beside random, Gaussian and hand-made features.

``python -m unidino.demo.evaluation --model PATH`` scores it on the development sets, by which
models are chosen. The held-out real crops are looked at only when they are named in ``--sets``,
and each look is recorded.
"""

import argparse
import sys
from pathlib import Path

import pandas as pd

from .. import arguments, inference, paths, profiles, tables, valsets
from ..embedding import PRECISIONS
from ..evaluate import baselines, handmade
from ..models.vit import POOLINGS
from ..models.zoo import load_model
from . import real_crops, real_sets
from .data import development_sets
from .scores import COLUMNS, dose_scores, neighbour_scores

SETS = ("development", "sbs", "heldout")
GAUSSIAN_SEEDS = 20
LOOKS = "heldout_looks.csv"
"""Table of the models that were scored on the held-out crops, beside the demo model's weights."""

RANDOM, GAUSSIAN, BY_HAND = "random_vit", "Gaussian", "hand-made"


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
        precision="fp32",
        draws=2000,
    ):
        if seeds < 0:
            raise ValueError(f"seeds is {seeds}; it must be 0 or more.")
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
        folder = self.outdir / "evaluation" / f"{config.pooling}-{config.size}-{self.precision}"
        made = inference.extract(
            model=self.model, pooling=config.pooling, outdir=str(folder), **options
        )
        sets = {self.name: [made.profiles]}
        for seed in range(self.seeds):
            twin = inference.extract(
                model=RANDOM,
                outdir=str(folder / f"seed-{seed}"),
                **options,
                **self.untrained(seed),
            )
            sets.setdefault(RANDOM, []).append(twin.profiles)
        return sets

    def development(self):
        """Scores on the simulated sets whose seeds and renderings training never shows."""
        parts = []
        for one in development_sets(self.outdir):
            metadata = valsets.open_valset(one["valset"], root=one["root"])
            sets = self.embedded(one["valset"], one["root"], "standardize")
            if self.with_baselines:
                by_hand = profiles.aggregate(handmade.extract(metadata))
                sets[BY_HAND] = [profiles.normalise(by_hand).profiles]
                sets[GAUSSIAN] = gaussian(sets[self.name][0])
            parts.append(neighbour_scores(sets, one["valset"], draws=self.draws))
        return self._described(pd.concat(parts, ignore_index=True))

    def sbs(self):
        """Scores on the translocation plate, cross-fitted."""
        root = _real_root()
        csv = self.outdir / "evaluation" / "sbs.csv"
        with tables.atomic_path(csv) as temporary:
            real_sets.sbs_plate(root).to_csv(temporary, index=False)
        sets = self.embedded(csv, root, "no_post_proc")
        if self.with_baselines:
            sets[BY_HAND] = [handmade.extract(valsets.open_valset(csv, root=root))]
            sets[GAUSSIAN] = gaussian(sets[self.name][0])
        return self._described(dose_scores(sets, draws=self.draws))

    def heldout(self, looks=None):
        """Scores on the held-out real crops.

        Parameters
        ----------
        looks : Path, optional
            Table in which the look is recorded; ``data/checkpoints/heldout_looks.csv``.
        """
        labels, crops = real_crops.read(paths.real_data_root())
        if self.name != RANDOM:
            record_look(looks or paths.project_root() / "data" / "checkpoints" / LOOKS, self)
        scaled = real_crops.scale(crops)
        features = {self.name: [real_crops.embed(self.network, scaled, precision=self.precision)]}
        for seed in range(self.seeds):
            twin = load_model(RANDOM, **self.untrained(seed))
            made = real_crops.embed(twin, scaled, precision=self.precision)
            features.setdefault(RANDOM, []).append(made)
        if self.with_baselines:
            features[BY_HAND] = [real_crops.by_hand(scaled)]
            features[GAUSSIAN] = gaussian(features[self.name][0])
        sets = {
            name: [real_crops.treatments(labels, frame) for frame in frames]
            for name, frames in features.items()
        }
        return self._described(neighbour_scores(sets, "real crops", draws=self.draws))

    def _described(self, scores):
        """With the columns that say which model; rounded."""
        own = scores["features"] == self.name
        embedded = own | (scores["features"] == RANDOM)
        made = scores.assign(
            model=scores["features"],
            sha256=own.map({True: self.network.sha256[:8], False: ""}),
            pooling=embedded.map({True: self.pooling, False: ""}),
        )
        return made[COLUMNS].round(6)


def gaussian(profiles_or_features):
    """Random features, as many as a table has, under several seeds."""
    frame = profiles_or_features
    size = len(tables.feature_columns(frame))
    return [baselines.gaussian(frame, size, seed) for seed in range(GAUSSIAN_SEEDS)]


def _real_root():
    root = paths.real_data_root()
    if root is None or not (root / "sbs_translocation_plate").is_dir():
        raise FileNotFoundError(
            "the real plate sbs_translocation_plate is absent: set UNIDINO_REAL to the folder "
            "above it."
        )
    return root


def record_look(path, evaluation):
    """Note that a model was scored on the held-out crops; the same model again is no new look.

    Parameters
    ----------
    path : Path
        CSV: model, sha256 (first 8), pooling.
    evaluation : Evaluation

    Returns
    -------
    int
        Looks so far.
    """
    row = pd.DataFrame(
        {
            "model": [evaluation.name],
            "sha256": [evaluation.network.sha256[:8]],
            "pooling": [evaluation.pooling],
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
        `scores.COLUMNS`.
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
    whole = pd.concat([_table(path, COLUMNS), scores], ignore_index=True)
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
    return _table(path, COLUMNS)


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


def main(argv=None):
    """The command line."""
    parser = argparse.ArgumentParser("python -m unidino.demo.evaluation", description=__doc__)
    parser.add_argument("--model", required=True, help="name or weights file")
    parser.add_argument("--pooling", choices=POOLINGS, help="in the place of the model's own")
    parser.add_argument("--outdir", default="data/sample/demo", help="of unidino.demo.data")
    parser.add_argument("--sets", default="development,sbs", help=", ".join(SETS))
    parser.add_argument("--table", help="CSV to which the scores are added")
    parser.add_argument("--seeds", type=int, default=3, help="untrained models")
    parser.add_argument("--baselines", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--precision", choices=tuple(PRECISIONS), default="fp32")
    parser.add_argument("--draws", type=int, default=2000, help="of the bootstrap")
    given = parser.parse_args(argv)
    try:
        names = [name.strip() for name in given.sets.split(",")]
        for name in names:
            arguments.check_choice("sets", name, SETS)
        if given.table:
            _table(given.table, COLUMNS)  # stops before any work
        evaluation = Evaluation(
            given.model,
            given.pooling,
            given.outdir,
            seeds=given.seeds,
            with_baselines=given.baselines,
            precision=given.precision,
            draws=given.draws,
        )
        for name in names:
            scores = getattr(evaluation, name)()
            print(scores.drop(columns=["sha256"]).round(3).to_string(index=False), flush=True)
            if given.table:
                append(scores, given.table)
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
