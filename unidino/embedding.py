"""From raw tiles to site embeddings: scaled and embedded on the device, tile means taken there."""

import contextlib
from dataclasses import replace

import torch

from . import choices, intensity

PRECISIONS = dict(zip(choices.PRECISIONS, (None, torch.bfloat16, torch.float16), strict=True))


def channel_groups(model, channels):
    """Names of the embeddings of a site: its channels, or "all" for a multi-channel model.

    Raises
    ------
    ValueError
        A multi-channel model and another number of channels.
    """
    together = model.config.in_chans
    if together == 1:
        return list(channels)
    if together != len(channels):
        raise ValueError(
            f"{model.name} embeds {together} channels together, the dataset has {len(channels)} "
            f"({', '.join(channels)}). Select {together} with channels=[…], or take a "
            "single-channel model."
        )
    return ["all"]


def check_size(model, size):
    """The tile side in pixels, once the model is known to take it.

    Raises
    ------
    ValueError
        A size that is no multiple of the patch size, or that the backbone refuses.
    """
    config = replace(model.config, size=size)
    if size != model.config.size:
        try:
            with torch.inference_mode():
                model(torch.zeros(1, config.in_chans, size, size))
        except (AssertionError, RuntimeError, ValueError) as error:
            raise ValueError(
                f"{model.name} takes no tiles of size {size} ({error}). Take {model.config.size}, "
                "or leave size out."
            ) from None
    return size


def find_device(name=None):
    """The device of that name; by default the first GPU, else the CPU.

    Raises
    ------
    ValueError
        It is not to be had here.
    """
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).split("\n")[0]
        raise ValueError(
            f"device {name!r} is not to be had here ({reason}). Take cpu, or leave device out."
        ) from None
    return device


class Embedder:
    """Embeds the tiles of one site after another, in batches that span sites.

    Parameters
    ----------
    model : EmbeddingModel
        On `device`, in eval mode.
    batch_size : int
        Tiles (of one channel) in a forward pass.
    device : torch.device
    precision : {"fp32", "bf16", "fp16"}
        Of the forward pass; means are always taken in float32.
    """

    def __init__(self, model, batch_size, device, precision="fp32"):
        self.model = model
        self.batch_size = batch_size
        self.device = device
        self.dtype = PRECISIONS[precision]

    def forward(self, x):
        """Embeddings of a batch (N, in_chans, h, w) as float32, `batch_size` rows at a time."""
        autocast = (
            torch.autocast(self.device.type, self.dtype) if self.dtype else contextlib.nullcontext()
        )
        try:
            with torch.inference_mode(), autocast:
                return torch.cat([self.model(part).float() for part in x.split(self.batch_size)])
        except torch.OutOfMemoryError:
            raise RuntimeError(
                f"{self.device} has too little memory left for {self.batch_size} tiles of "
                f"{x.shape[-1]} px at a time. Take a smaller batch_size."
            ) from None

    def _inputs(self, item, limits):
        """Tiles of a site on the device, scaled: (tiles x channels, 1, h, w)."""
        low, high = limits(item)
        tiles = intensity.scale(item["tiles"].to(self.device), low, high)
        if self.model.config.in_chans > 1:
            return tiles
        return tiles.flatten(0, 1).unsqueeze(1)

    def sites(self, items, limits):
        """Site embeddings in the order of `items`.

        Parameters
        ----------
        items : iterable of dict
            From `dataset.SiteTiles`; an item with "error" has no tiles.
        limits : callable
            Item -> (low, high), the raw intensities that become 0 and 1, one a channel.

        Yields
        ------
        item : dict
        embedding : numpy.ndarray or None
            (groups, D) float32, the mean over the site's tiles; None for a failed site.
        """
        waiting, inputs, rows = [], [], 0
        for item in items:
            if "error" not in item:
                inputs.append(self._inputs(item, limits))
                rows += len(inputs[-1])
            waiting.append(item)
            if rows >= self.batch_size:
                yield from self._flush(waiting, inputs)
                waiting, inputs, rows = [], [], 0
        yield from self._flush(waiting, inputs)

    def _flush(self, waiting, inputs):
        parts = iter(())
        if inputs:
            parts = iter(self.forward(torch.cat(inputs)).split([len(part) for part in inputs]))
        for item in waiting:
            if "error" in item:
                yield item, None
                continue
            part = next(parts)
            tiles = len(item["tiles"])
            yield item, part.view(tiles, len(part) // tiles, -1).mean(0).cpu().numpy()
