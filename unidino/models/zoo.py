"""Models by name: the released weights, the baselines, or any weights file."""

from difflib import get_close_matches
from pathlib import Path

from .. import paths
from ..progress import say
from . import catalogue

# What loads torch, which takes seconds, is imported by functions.

NAMES = (*catalogue.named(("none", "may")),)
"""Models that are there without naming a file."""

NEED_CKPT = ("dino", *catalogue.named(("must",)))
"""Models that are loaded from the file `ckpt`."""

_TAKE_CKPT = (*NEED_CKPT, *catalogue.named(("may",)))
DEFAULT_MODEL = "unidino-demo"

_told = set()
"""Licences that were said in this process."""


def _random_vit(arch, embed_dim, cls_reduced_dim, pooling, block, seed):
    """A seeded, untrained vision transformer: the baseline that training has to beat."""
    from .checkpoints import weights_digest
    from .vit import arch_config, seeded

    config = arch_config(
        arch or "vit_tiny",
        embed_dim=embed_dim,
        cls_reduced_dim=cls_reduced_dim,
        pooling=pooling or "cls",
        block=block,
        intensity="plate",
    )
    model = seeded(config, seed)
    model.origin = "seeded, untrained"
    # Networks of other seeds are other networks: their outputs lie in folders of their own.
    model.name = "random_vit" if seed == 0 else f"random_vit-{seed}"
    model.sha256 = weights_digest(model.weights())
    return model


def weights_file(name_or_path):
    """The weights file that a name or path means; None where there is none."""
    named = {"unidino-demo": paths.DEMO_WEIGHTS, "unidino": paths.UNIDINO_WEIGHTS}
    if str(name_or_path) in named:
        return paths.find_weights(named[str(name_or_path)])
    path = Path(name_or_path).expanduser()
    return path if path.is_file() else None


def check_name(name, ckpt=None):
    """Stop on a model that is none, before torch is loaded.

    Parameters
    ----------
    name : str
        As `load_model` takes it.
    ckpt : str or Path, optional

    Raises
    ------
    ValueError
        An unknown name (suggests the nearest); a `ckpt` that is missing, or goes with another.
    """
    if ckpt is not None and name not in _TAKE_CKPT:
        raise ValueError(
            f"ckpt goes with model {_listed(_TAKE_CKPT)}, not with {name!r}: leave it out."
        )
    if name in NEED_CKPT and ckpt is None:
        entry = catalogue.MODELS.get(name)
        where = f": {entry.file} ({entry.source}; {entry.licence})" if entry else ""
        raise ValueError(f"model {name!r} needs ckpt, the path of its weights file{where}.")
    if name.lower() in catalogue.ABSENT:
        raise ValueError(
            f"model {name!r} is not offered: {catalogue.ABSENT[name.lower()]}. Each model here "
            f"embeds one channel at a time: {', '.join((*NAMES, *NEED_CKPT))}."
        )
    known = (*NAMES, *NEED_CKPT)
    if name not in known and not Path(name).suffix and not Path(name).exists():
        near = get_close_matches(name.lower(), known, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(
            f"unknown model {name!r}. It is one of {', '.join(NAMES)}, {_listed(NEED_CKPT)} with "
            f"ckpt, or the path of a .safetensors or .pth file.{hint}"
        )


def _listed(names):
    """Names in words: 'a', 'b' or 'c'."""
    *others, last = map(repr, names)
    return f"{', '.join(others)} or {last}"


def _tell_licence(model):
    """Say once what rules out commercial use."""
    if catalogue.non_commercial(model.licence) and (model.name, model.licence) not in _told:
        _told.add((model.name, model.licence))
        say(
            f"the weights of {model.name} are under {model.licence}: not for commercial use. The "
            "provenance of what they embed says so, too"
        )


def load_model(
    name_or_path=None,
    *,
    arch=None,
    embed_dim=None,
    cls_reduced_dim=None,
    pooling=None,
    block=None,
    ckpt=None,
    seed=0,
):
    """A model by name, or from a weights file.

    Parameters
    ----------
    name_or_path : str or Path, optional
        ``unidino-demo`` (the small model that comes with the project), ``unidino`` (the released
        weights, where they have been fetched), ``random_vit`` (seeded, untrained), ``transfer``
        (natural images alone: EfficientNet-Lite0 of the extra ``transfer``, or timm's DINO from a
        local file); with `ckpt`, ``microsnoop`` and ``morphem`` (published by others) and ``dino``
        (any weights); or the path of a weights file. Default `DEFAULT_MODEL`.
    arch : str, optional
        Architecture of ``random_vit`` (default vit_tiny) or of a file that does not say.
    embed_dim, cls_reduced_dim : int, optional
        Width and reduced width, likewise.
    pooling : {"cls", "mean", "max", "cls_mean", "cls_max", "cls_mean_max"}, optional
        In the place of the pooling that is stored with the weights; weights that end in a
        projection, as the demo model's do, have only their own.
    block : int, optional
        The block that is read, from 1: a transformer's layer, or a stage of one of timm's
        convolutional networks; in the place of the stored one, likewise.
    ckpt : str or Path, optional
        Weights file, for the models ``dino``, ``microsnoop``, ``morphem`` and ``transfer``.
    seed : int
        Of ``random_vit``, whose name ends in it unless it is 0.

    Returns
    -------
    EmbeddingModel
        Eval mode; maps (B, 1, H, W) float in [0, 1] to (B, D), D its ``embedding_dim`` (24 for
        the demo model). H and W are multiples of the patch size (16). A licence that rules out
        commercial use is said once; ``licence`` holds what is known of it.

    Raises
    ------
    FileNotFoundError, ValueError
        Weights that are absent, do not fit or are asked for under an unknown name.

    Examples
    --------
    >>> import torch, unidino
    >>> model = unidino.load_model()
    >>> model(torch.rand(2, 1, 96, 96)).shape
    torch.Size([2, 24])
    """
    name = str(name_or_path or DEFAULT_MODEL)
    settings = {"arch": arch, "embed_dim": embed_dim, "cls_reduced_dim": cls_reduced_dim}
    settings |= {"pooling": pooling, "block": block}
    check_name(name, ckpt)
    model = _loaded(name, settings, ckpt, seed)
    if name in catalogue.MODELS:
        model.licence = catalogue.licence(name)
    if name in catalogue.MODELS and name != "random_vit":
        model.name = name
    _tell_licence(model)
    return model


def _loaded(name, settings, ckpt, seed):
    """The model of a name that is known, or of a path."""
    from .checkpoints import load_checkpoint
    from .published import LOADERS
    from .transfer import transfer

    if name == "random_vit":
        return _random_vit(**settings, seed=seed)
    if name == "dino":
        return load_checkpoint(ckpt, **settings)
    if name == "unidino-demo":
        path = paths.find_weights(paths.DEMO_WEIGHTS)
        if path is None:
            raise FileNotFoundError(
                f"the demo model's weights {paths.DEMO_WEIGHTS} are in none of "
                f"{', '.join(map(str, paths.checkpoint_folders()))}. They come with the "
                "project's repository: take them from its data/checkpoints (or train them, "
                "data/README.md), or name another model, such as 'random_vit'."
            )
        return load_checkpoint(path, **settings)
    if name == "unidino":
        path = paths.find_weights(paths.UNIDINO_WEIGHTS)
        if path is None:
            raise FileNotFoundError(
                f"the released weights {paths.UNIDINO_WEIGHTS} are in none of "
                f"{', '.join(map(str, paths.checkpoint_folders()))}. Fetch them into the first "
                f"({catalogue.licence(name)}, not for commercial use): unidino download weights; "
                f"or use the model {DEFAULT_MODEL!r} meanwhile."
            )
        return load_checkpoint(path, **settings)
    if name in ("transfer", *LOADERS):
        shape = ("arch", "embed_dim", "cls_reduced_dim")
        unfit = [key for key in shape if settings[key] is not None]
        if unfit:
            raise ValueError(f"model {name!r} has its own {', '.join(unfit)}; leave them out.")
        load = LOADERS.get(name, transfer)
        return load(ckpt, settings["pooling"], settings["block"])
    return load_checkpoint(name, **settings)
