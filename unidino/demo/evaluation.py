"""What a small model is worth: scores beside random, Gaussian and hand-made features.

``python -m unidino.demo.evaluation --model PATH`` scores it on the development sets, by which
models are chosen. The held-out real crops are looked at only when they are named in ``--sets``,
and each look is recorded.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd

from .. import arguments, inference, paths, profiles, tables, valsets
from ..embedding import PRECISIONS
from ..evaluate import baselines
from ..models import checkpoints, load_model
from ..models.vit import POOLINGS, EmbeddingModel, block_count
from . import real_sets, score_tables
from .data import development_sets
from .score_tables import SCORE_COLUMNS
from .scoring import dose_scores, neighbour_scores

SETS = ("development", "stains", "sbs", "heldout", "blocks")
GAUSSIAN_SEEDS = 20
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

    def _embedded_images(self, name, table, root):
        """As `embedded`, of a table of real images, with all baselines; nothing normalised."""
        csv = self.outdir / "evaluation" / f"{name}.csv"
        with tables.atomic_path(csv) as temporary:
            table.to_csv(temporary, index=False)
        sets = self.embedded(csv, root, "no_post_proc")
        if self.with_baselines:
            sets[BY_HAND] = [baselines.handmade(valsets.open_valset(csv, root=root))]
            sets[GAUSSIAN] = gaussian(sets[self.name][0])
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
        made = [neighbour_scores(sets, name, draws=self.draws) for name, sets in parts.items()]
        return self._described(pd.concat(made, ignore_index=True))

    def stains(self):
        """Scores on real images: whether the nearest of another repository has the same stain.

        Their pixels are trained on, their stains are not told: it says what is learnt, not how it
        does elsewhere.
        """
        root = _real_root(real_sets.MIX_FOLDERS[0])
        sets = self._embedded_images("stains", real_sets.stained_images(root), root)
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
            made = pd.concat([one.stains(), one.development(renderings=1)])
            parts.append(made.assign(model=self.name, sha256=self.network.sha256[:8], block=block))
        table = pd.concat(parts[::-1], ignore_index=True)
        return table[["block", *SCORE_COLUMNS]]

    def sbs(self):
        """Scores on the translocation plate, cross-fitted."""
        root = _real_root("sbs_translocation_plate")
        sets = self._embedded_images("sbs", real_sets.sbs_plate(root), root)
        return self._described(dose_scores(sets, draws=self.draws))

    def heldout(self, looks=None):
        """Scores on the held-out real crops.

        Parameters
        ----------
        looks : Path, optional
            Table in which the look is recorded; ``data/checkpoints/heldout_looks.csv``.
        """
        labels, crops = real_sets.read_crops(paths.real_data_root())
        looks = looks or paths.project_root() / "data" / "checkpoints" / score_tables.LOOKS
        others = {name: load_model(file) for name, file in self.beside.items()}
        if self.name != RANDOM:
            score_tables.record_look(looks, self.name, self.network)
        for name, other in others.items():
            score_tables.record_look(looks, name, other)
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

    def _described(self, made):
        """With the columns that say which model; rounded."""
        known = {name: load_model(file) for name, file in self.beside.items()}
        known[self.name] = self.network
        digests = {name: model.sha256[:8] for name, model in known.items()}
        poolings = {name: model.config.pooling for name, model in known.items()}
        described = made.assign(
            model=made["features"],
            sha256=made["features"].map(digests).fillna(""),
            pooling=made["features"].map({RANDOM: self.pooling} | poolings).fillna(""),
        )
        return described[SCORE_COLUMNS].round(6)


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
            score_tables.read_table(given.table)  # stops before any work
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
            made = getattr(evaluation, name)()
            print(made.drop(columns=["sha256"]).round(3).to_string(index=False), flush=True)
            if given.table and name == "blocks":
                score_tables.write_table(made, Path(given.table).with_suffix(".blocks.csv"))
            elif given.table:
                score_tables.append(made, given.table)
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
