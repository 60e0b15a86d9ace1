"""From raw tiles to site embeddings: scaled and embedded on the device, tile means taken there."""

import contextlib
import time
from dataclasses import replace
from pathlib import Path

import torch

from . import intensity
from .choices import AUTO
from .models import half

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}

CPU_BATCH = 16
"""Tiles in a forward pass on a CPU: larger batches wait for memory, see benchmarks/extract.py."""

GPU_BATCHES = (64, 128, 256, 512, 1024)
"""Tiles in a forward pass that are tried on a GPU."""

_ENOUGH = 0.97
_BF16_FLAGS = {"amx_bf16", "avx512_bf16"}


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


def resolved_precision(precision, device, cpu_info="/proc/cpuinfo"):
    """What "auto" stands for on a device: bf16 where its hardware multiplies it, else fp32.

    Parameters
    ----------
    precision : {"auto", "fp32", "bf16", "fp16"}
    device : torch.device
    cpu_info : str or Path
        Where a CPU lists what it has; absent on other systems than Linux, which get fp32.

    Returns
    -------
    str
    """
    if precision != AUTO:
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp32"
    if device.type != "cpu" or not Path(cpu_info).is_file():
        return "fp32"
    return "bf16" if _BF16_FLAGS & set(Path(cpu_info).read_text().split()) else "fp32"


class Embedder:
    """Embeds groups of sites, one after another.

    Parameters
    ----------
    model : EmbeddingModel
        On `device`, in eval mode.
    batch_size : int or None
        Tiles (of one channel) in a forward pass; None for `CPU_BATCH`, or what `tune` finds.
    device : torch.device
    precision : {"auto", "fp32", "bf16", "fp16"}
        Of the forward pass; means are always taken in float32. In half precision a transformer's
        weights are converted once, other networks run under autocast.

    Attributes
    ----------
    precision : str
        As resolved.
    compiled : bool
        Whether `compile` has fused the blocks.
    """

    def __init__(self, model, batch_size, device, precision="fp32"):
        self.precision = resolved_precision(precision, device)
        self.dtype = PRECISIONS[self.precision]
        self.model = model
        if self.dtype is not None and model.is_vit:
            self.model = half.in_half(model, self.dtype)
        self.batch_size = batch_size or CPU_BATCH
        self.to_tune = batch_size is None and device.type == "cuda"
        self.device = device
        self.compiled = False

    def compile(self):
        """Fuse the blocks of a transformer in half precision on a GPU, where torch can."""
        if self.device.type == "cuda" and self.dtype is not None and self.model.is_vit:
            self.compiled = half.compile_blocks(self.model)

    def tune(self, size):
        """Take the smallest batch that a GPU embeds about as fast as any, unless one is given.

        Parameters
        ----------
        size : int
            Side of the tiles, in pixels.
        """
        if not self.to_tune:
            return
        rates = {}
        for count in GPU_BATCHES:
            tiles = torch.zeros(count, self.model.config.in_chans, size, size, device=self.device)
            try:
                self._passed(tiles)
                torch.cuda.synchronize(self.device)
                began = time.perf_counter()
                for _ in range(3):
                    self._passed(tiles)
                torch.cuda.synchronize(self.device)
            except torch.OutOfMemoryError:
                break
            rates[count] = count / (time.perf_counter() - began)
        best = max(rates.values(), default=0)
        fast = [count for count, rate in rates.items() if rate >= _ENOUGH * best]
        self.batch_size = min(fast, default=GPU_BATCHES[0])
        self.to_tune = False

    def _passed(self, x):
        """One forward pass."""
        autocast = contextlib.nullcontext()
        if self.dtype is not None and not self.model.is_vit:
            autocast = torch.autocast(self.device.type, self.dtype)
        with torch.inference_mode(), autocast:
            return self.model(x).float()

    def forward(self, x):
        """Embeddings of a batch (N, in_chans, h, w) as float32.

        It passes in parts of the same size, `batch_size` rows at most.
        """
        parts = max(1, -(-len(x) // self.batch_size))
        try:
            return torch.cat([self._passed(part) for part in x.tensor_split(parts)])
        except torch.OutOfMemoryError:
            raise RuntimeError(
                f"{self.device} has too little memory left for {self.batch_size} tiles of "
                f"{x.shape[-1]} px at a time. Take a smaller batch_size."
            ) from None

    def _inputs(self, item, limits):
        """Tiles of a site on the device, scaled: (tiles x channels, 1, h, w)."""
        low, high = limits(item)
        raw = item["tiles"].to(self.device, non_blocking=True)
        tiles = intensity.scale(raw, low, high)
        if self.model.config.in_chans > 1:
            return tiles
        return tiles.flatten(0, 1).unsqueeze(1)

    def sites(self, groups, limits):
        """Site embeddings in the order of the items.

        The tiles of a group pass together, so that what is computed follows from the group alone. A
        GPU has the next group at work while the means of one are brought back.

        Parameters
        ----------
        groups : iterable of list of dict
            Items from `dataset.SiteTiles`; one with "error" has no tiles.
        limits : callable
            Item -> (low, high), the raw intensities that become 0 and 1, one a channel.

        Yields
        ------
        list of (dict, numpy.ndarray or None)
            A group: its items, without their tiles, and their embeddings (channel groups, D),
            float32, means over a site's tiles; None for a failed site.
        """
        waiting = None
        for items in groups:
            begun = self._begun(items, limits)
            if self.device.type == "cpu":
                yield self._ended(*begun)
                continue
            if waiting:
                yield self._ended(*waiting)
            waiting = begun
        if waiting:
            yield self._ended(*waiting)

    def _begun(self, items, limits):
        """Items, and means of those that were read (sites, channel groups, D), on the device."""
        read = [item for item in items if "error" not in item]
        if not read:
            return items, None
        inputs = [self._inputs(item, limits) for item in read]
        embedded = self.forward(torch.cat(inputs)).split([len(part) for part in inputs])
        means = []
        for item, part in zip(read, embedded, strict=True):
            tiles = len(item.pop("tiles"))
            means.append(part.view(tiles, len(part) // tiles, -1).mean(0))
        return items, torch.stack(means)

    @staticmethod
    def _ended(items, means):
        found = iter(() if means is None else means.cpu().numpy())
        return [(item, None if "error" in item else next(found)) for item in items]
