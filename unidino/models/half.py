"""A transformer in half precision: the published weights, arranged as a GPU multiplies fastest."""

import copy

import torch
import torch.nn.functional as F
from torch import nn


def in_half(model, dtype):
    """A copy of a vision transformer whose backbone holds its weights in `dtype`.

    Pooling, reducer and projection stay in float32: the projection takes means out, small
    differences of large numbers. Against autocast this saves the conversion of every weight and
    activation in every pass.

    Parameters
    ----------
    model : EmbeddingModel
        With ``is_vit``.
    dtype : torch.dtype

    Returns
    -------
    EmbeddingModel
    """
    made = copy.deepcopy(model)
    made.backbone.to(dtype)
    if next(made.parameters()).device.type == "cuda":
        embed = made.backbone.patch_embed
        embed.proj = PatchProduct(embed.proj)
    return made


def compile_blocks(model):
    """Fuse what lies between the products of a transformer's blocks, which takes some seconds.

    Returns
    -------
    bool
        Whether it could be: torch's compiler wants Triton and a C compiler at hand.
    """
    blocks = model.backbone.blocks
    with torch.inference_mode():
        width = model.backbone.embed_dim
        probe = next(blocks.parameters())
        tokens = torch.zeros(8, 50, width, dtype=probe.dtype, device=probe.device)
        for block in blocks:
            block.compile(dynamic=True)
        try:
            blocks[0](tokens)
        except Exception:  # whatever the compiler stumbles over, the plain way is there
            for block in blocks:
                block._compiled_call_impl = None
            return False
    return True


class PatchProduct(nn.Module):
    """A convolution whose kernel is as wide as its stride, as one product of matrices.

    With one input channel cuDNN takes a slow general kernel for it: 6 % of a forward pass.
    """

    def __init__(self, convolution):
        super().__init__()
        self.kernel = convolution.kernel_size
        self.weight = nn.Parameter(convolution.weight.flatten(1), requires_grad=False)
        self.bias = convolution.bias

    def forward(self, x):
        count, channels, height, width = x.shape
        rows, columns = self.kernel
        x = x.view(count, channels, height // rows, rows, width // columns, columns)
        patches = x.permute(0, 2, 4, 1, 3, 5).flatten(3)
        return F.linear(patches, self.weight, self.bias).permute(0, 3, 1, 2)
