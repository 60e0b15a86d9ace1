"""What the training page says of a run, read from what the run left."""

import copy
import json
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from .. import dataset, tables, valsets
from ..models import checkpoints
from ..models.vit import EmbeddingModel
from ..models.zoo import load_model
from ..train import augment
from ..train.data import TrainingImages, collate, views_of
from ..train.log import CONFIG, ENVIRONMENT, EPOCHS, STEPS
from ..train.monitor import Monitor
from ..train.options import model_config
from ..train.run import warm_start
from ..train.state import ROLLING, WEIGHTS
from ..train.windows import PlaneReader
from .training import LOG

START = "start.json"
"""Accuracy on the monitor before the first step."""

_CANDIDATES = 12


def headline(training):
    """What is trained on what, in a sentence of Markdown."""
    o = training.options
    kinds = {metadata.simulated for metadata in training.opened}
    kind = "**Simulated** images" if all(kinds) else "Real images"
    if len(kinds) == 2:
        kind = "Real and **simulated** images"
    sets = ", ".join(m.valset for m in training.opened)
    width = f", {o['embed_dim']} wide" if o["embed_dim"] else ""
    start = f"the weights of `{Path(o['ckpt']).name}`" if o["ckpt"] else "random weights"
    text = (
        f"{kind} of {sets}: the model, a `{o['arch']}`{width}, starts from {start} and is trained "
        f"for {o['epochs']} epochs"
    )
    watched = Monitor.open(o)
    if watched:
        text += f"; its nearest-neighbour {training.question} is followed"
        known = {valsets.name_and_root(name) for name in o["datasets"]}
        seen = (watched.valset, watched.root) in known
        text += ", **which is trained on, too**" if seen else ", which it never trains on"
    return text + "."


def facts(training):
    """What was trained, in numbers that are the same on every machine."""
    o = training.options
    model = load_model(training.weights)
    views = f"2 of {o['size']}, {o['local_crops_number']} of {o['local_size']}"
    values = {
        "images to draw from": sum(len(part) for part in training.planes()),
        "images of a step": o["batch_size_per_gpu"] * o["grad_accum"] * training.processes,
        "steps": len(training.steps),
        "epochs": len(training.epochs),
        "views of an image (pixels)": views,
        "views larger than their image, padded": int(training.epochs["padded_views"].sum()),
        "images that could not be read": int(training.epochs["unread_images"].sum()),
        "parameters of the model": sum(p.numel() for p in model.parameters()),
        "numbers in an embedding": model.embedding_dim,
        "prototypes of the head": o["out_dim"],
        "intensity scaling": o["intensity_scaling"],
        "precision": o["precision"],
    }
    return pd.DataFrame({"value": values}).rename_axis("training")


def mixture(training):
    """Images of every set, one a site and channel, and its share of the draws."""
    sets = training.planes()
    shares = training.options["dataset_weights"]
    if shares is None:
        repeats = dataset.published_repeats([len(part) for part in sets])
        shares = [len(part) * n for part, n in zip(sets, repeats, strict=True)]
    table = pd.DataFrame(
        {
            "dataset": [part.name for part in sets],
            "data": ["simulated" if m.simulated else "real" for m in training.opened],
            "sites": [len(m.metadata) for m in training.opened],
            "images": [len(part) for part in sets],
            "share of draws": np.array(shares, float) / sum(shares),
        }
    )
    return table.round(3).set_index("dataset")


def start_accuracy(training):
    """Accuracy on the monitor of the weights that training starts from; None without a monitor.

    It is measured once and remembered in the training's folder.
    """
    o = training.options
    watched = Monitor.open(o)
    if watched is None:
        return None
    asked = json.loads(json.dumps([o[n] for n in ("monitor", "monitor_label", "monitor_exclude")]))
    file = training.folder / START
    if file.is_file() and (stored := json.loads(file.read_text()))["monitor"] == asked:
        return stored["accuracy"]
    device = torch.device(o["device"] or ("cuda" if torch.cuda.is_available() else "cpu"))
    with tempfile.TemporaryDirectory() as folder:
        checkpoints.save_model(start_model(o), Path(folder) / WEIGHTS)
        accuracy = watched.accuracy(folder, device)
    tables.write_json(file, {"monitor": asked, "accuracy": accuracy})
    return accuracy


def start_model(options):
    """The backbone that student and teacher start from."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options["seed"])
        model = EmbeddingModel(model_config(options))
    if options["ckpt"]:
        warm_start(model, options["ckpt"])
    return model.eval()


def epoch_table(training, start=None):
    """The epochs: means of loss, entropy and gradient, effective rank, accuracy on the monitor.

    Parameters
    ----------
    training : Training
    start : float, optional
        Accuracy before the first step, shown as epoch 0.

    Returns
    -------
    pd.DataFrame
        The columns that differ between machines begin with ``trained``.
    """
    names = ["loss", "teacher_entropy", "grad_norm", "effective_rank", "accuracy"]
    table = training.epochs.reindex(columns=["epoch", *names])
    if start is not None:
        first = pd.DataFrame({"epoch": [0], "accuracy": [start]})
        table = pd.concat([first, table], ignore_index=True)[table.columns]
    if table["accuracy"].isna().all():
        table = table.drop(columns="accuracy")
    return table.rename(columns={name: f"trained_{name}" for name in names})


def change(training, name, digits=3):
    """A number of the epochs from the first to the last, in words."""
    values = training.epochs[name].dropna()
    first, last = (f"{value:.{digits}g}" for value in (values.iloc[0], values.iloc[-1]))
    epochs = training.epochs.loc[values.index, "epoch"]
    return f"from {first} in epoch {epochs.iloc[0]} to {last} in epoch {epochs.iloc[-1]}"


def accuracy_change(training, start):
    """Rank and accuracy of a run in words, beside the accuracy before it."""
    text = f"The effective rank went {change(training, 'effective_rank')}."
    if start is None:
        return text + "\nNo set was watched: name one as `monitor`."
    return text + (
        f"\nThe accuracy was {start:.3g} before training and went {change(training, 'accuracy')}."
    )


def warnings(training):
    """The collapse warnings of all epochs, to be seen, in Markdown."""
    lines = [
        f"> **Warning, epoch {epoch}:** {text}"
        for epoch, found in training.epochs[["epoch", "warnings"]].itertuples(index=False)
        for text in found
    ]
    return "\n>\n".join(lines) or "No epoch showed a sign of collapse."


def views(training, local=3):
    """Arguments of `training_plots.views`: an image of every set, and what is cut from it.

    Of some images spread over a set the one of highest contrast is taken.

    Parameters
    ----------
    training : Training
    local : int
        Local views shown.
    """
    settings = augment.ViewSettings.of(training.options)
    drawn = {name: training.options[name] for name in ("intensity_scaling", "seed")}
    rows = []
    for part in training.planes()[:5]:
        images = TrainingImages([part], settings, **drawn)
        spread = np.unique(np.linspace(0, len(part) - 1, _CANDIDATES).astype(int))
        made = [_cut(part, images, settings, int(number)) for number in spread]
        rows.append(max(made, key=lambda row: row["image"].std()))
    return {"rows": rows, "local": min(local, settings.local_crops_number)}


def _cut(part, images, settings, number):
    """The first plane of an image, its views, and where they lie: (top, left, side)."""
    rng = np.random.default_rng([images.seed, number])
    again = copy.deepcopy(rng)
    item = images.item(number, rng) | {"unread": []}
    at = number * images.channels
    plane = PlaneReader(part.channel_axis).plane(part.files[at], int(part.numbers[number, 0]))
    corners, draws, _, _ = augment.draw_views(again, settings, *plane.shape, images.channels)
    sides = np.array(settings.sizes) * draws[:, augment.INVERSE_ZOOM]
    centres = corners + draws[:, [augment.CENTRE_Y, augment.CENTRE_X]]
    low, high = item["low"][0], item["high"][0]
    batch = collate([item])
    made = views_of(batch, settings, torch.device("cpu"))
    return {
        "name": part.name,
        "image": ((plane.astype(np.float32) - low) / (high - low)).clip(0, 1),
        "boxes": np.column_stack([centres - sides[:, None] / 2, sides]),
        "views": [view[0].numpy() for views in made for view in views],
    }


def files(training):
    """What a training left, one file a line."""
    wording = {
        WEIGHTS: "the teacher, to use",
        ROLLING: "everything, to go on with the same command",
        "checkpoint*.pth": "the same after some epochs",
        STEPS: "numbers of every step",
        EPOCHS: "numbers of every epoch",
        CONFIG: "all options",
        ENVIRONMENT: "versions, devices, command",
        "tensorboard": "the numbers for TensorBoard",
        "train.log": "what the training said",
        LOG: "what its processes printed",
    }
    lines = []
    for pattern, text in wording.items():
        found = [p for p in training.folder.glob(pattern) if p.name == pattern or p.name != ROLLING]
        if found:
            name = pattern if len(found) > 1 else found[0].name
            lines.append(f"{name:<22}{text}")
    return "\n".join(lines)
