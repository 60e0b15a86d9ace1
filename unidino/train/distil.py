"""Distillation: the student reproduces what another model sees in the same view.

Source of the two targets, one vector an image and one at every patch: Romero et al. 2015, FitNets
(arXiv:1412.6550), section 2.2, regression of hidden features; standardised as in Heo et al. 2019
(arXiv:1904.01866), section 3.2.
"""

from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import nn

from ..models import load_model
from ..models.vit import block_count

_EPS = 1e-5


def standardised(values):
    """Each feature with mean 0 and variance 1 over a batch (and over places).

    Parameters
    ----------
    values : torch.Tensor
        (B, D) or (B, D, h, w).
    """
    values = values.float()
    others = [axis for axis in range(values.ndim) if axis != 1]
    variance, mean = torch.var_mean(values, others, correction=0, keepdim=True)
    return (values - mean) / (variance + _EPS).sqrt()


class Source(nn.Module):
    """The model that is distilled from: frozen, never saved with the training.

    Parameters
    ----------
    model : EmbeddingModel

    Attributes
    ----------
    map_block : int or None
        Block whose map is the second target: the one before that which is embedded. None where
        the network has no blocks to read: the embedding is then the only target.
    """

    def __init__(self, model):
        super().__init__()
        self.model = model.eval().requires_grad_(False)
        count = block_count(model.backbone)
        # The end of a transformer is its last block.
        self.block = model.config.block or (count if model.is_vit else None)
        self.map_block = max(1, (self.block or count) - 1) if count else None

    @classmethod
    def of(cls, name, in_chans):
        """The source of a model's name, or None without one.

        Raises
        ------
        ValueError, FileNotFoundError
            As `load_model`; a model of other channels.
        """
        if name is None:
            return None
        model = load_model(name)
        if model.config.in_chans != in_chans:
            raise ValueError(
                f"distil_from {name} takes {model.config.in_chans} channels together, the student "
                f"{in_chans}: they must agree."
            )
        return cls(model)

    def widths(self):
        """(features of the embedding, channels of the map or None)."""
        width = None
        if self.map_block:
            width = self.model.backbone.feature_info[self.map_block - 1]["num_chs"]
        return self.model.embedding_dim, width

    def check_size(self, size):
        """Stop where it takes no views of that size.

        Raises
        ------
        ValueError
        """
        try:
            self.targets(torch.zeros(2, self.model.config.in_chans, size, size))
        except (RuntimeError, AssertionError, ValueError) as error:
            raise ValueError(
                f"distil_from {self.model.name} takes no views of size {size} ({error})."
            ) from None

    @torch.no_grad()
    def targets(self, views):
        """What the student is to reproduce.

        Parameters
        ----------
        views : torch.Tensor
            (N, C, H, W) in [0, 1].

        Returns
        -------
        vector : torch.Tensor
            (N, D), the embedding, `standardised`.
        grid : torch.Tensor or None
            (N, M, h, w), the map, likewise.
        """
        model = self.model
        # Half precision makes convolutions on a CPU slower, not faster.
        exact = views.device.type == "cpu"
        with torch.autocast(views.device.type, enabled=False) if exact else nullcontext():
            x = model.prepared(views.float() if exact else views)
            if self.block and self.map_block < self.block:
                (_, grid), read = model.tokens_of(x, [self.map_block, self.block])
                vector = model.reduced(model.pooled(*read))
            else:
                vector = model(views)
                grid = model.tokens_of(x, [self.map_block])[0][1] if self.map_block else None
        return standardised(vector), None if grid is None else standardised(grid)


class Reproduction(nn.Module):
    """Linear maps from a student's embedding and patch tokens to a source's targets.

    Parameters
    ----------
    embedding_dim, token_dim : int
        Of the student.
    vector_dim, grid_dim : int, int or None
        From `Source.widths`.
    """

    def __init__(self, embedding_dim, token_dim, vector_dim, grid_dim):
        super().__init__()
        self.vector = nn.Linear(embedding_dim, vector_dim)
        self.grid = nn.Linear(token_dim, grid_dim) if grid_dim else None

    def forward(self, embedding, grid):
        """Predictions (N, D) and (N, M, h, w) from an embedding and patch tokens where they lie."""
        made = self.grid(grid.movedim(1, -1)).movedim(-1, 1) if self.grid is not None else None
        return self.vector(embedding), made


def distillation_loss(predicted, targets):
    """Mean squared error of the vector, plus that of the map.

    Parameters
    ----------
    predicted, targets : tuple
        (vector, grid) from `Reproduction` and from `Source.targets`; a target's map is resampled
        to the places of the student's patches.

    Returns
    -------
    torch.Tensor
        1 for predictions of 0, the mean of every target; 2 with a map.
    """
    loss = F.mse_loss(predicted[0].float(), targets[0])
    if targets[1] is not None:
        grid = targets[1]
        if grid.shape[2:] != predicted[1].shape[2:]:
            grid = F.interpolate(grid, predicted[1].shape[2:], mode="bilinear", antialias=True)
        loss = loss + F.mse_loss(predicted[1].float(), grid)
    return loss
