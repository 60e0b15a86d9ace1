"""Microsnoop's encoder, a residual convolutional network, and what its weights are called.

Source: Xun et al. 2024, the networks in cellimnet/microsnoop-publish, commit 5cdcaf0
(microsnoop/models/net_combine.py, modelzoo.py), and cellimnet/scellseg-publish, commit 1c4b29b
(scellseg/net_utils.py).
"""

from collections import OrderedDict

import torch.nn.functional as F
from torch import nn

ARCH = "microsnoop"
"""Its name among the architectures."""

WIDTHS = (32, 64, 128, 256)
"""Channels after each stage; the last is the width of an embedding."""

_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
_CONVOLUTION = ("weight", "bias")
_UNITS = 4


def _unit(entering, leaving):
    """Batch norm, ReLU and a convolution of 3 x 3."""
    return nn.Sequential(
        OrderedDict(
            norm=nn.BatchNorm2d(entering),
            active=nn.ReLU(inplace=True),
            conv=nn.Conv2d(entering, leaving, 3, padding=1),
        )
    )


class Stage(nn.Module):
    """Four units, two and two bridged; a projection bridges the first two."""

    def __init__(self, entering, leaving):
        super().__init__()
        self.shortcut = nn.Sequential(
            OrderedDict(norm=nn.BatchNorm2d(entering), conv=nn.Conv2d(entering, leaving, 1))
        )
        widths = (entering, *[leaving] * (_UNITS - 1))
        self.units = nn.ModuleList(_unit(width, leaving) for width in widths)

    def forward(self, x):
        x = self.shortcut(x) + self.units[1](self.units[0](x))
        return x + self.units[3](self.units[2](x))


class Encoder(nn.Module):
    """From images to embeddings of unit length.

    Parameters
    ----------
    channels : int
        That enter together.
    """

    def __init__(self, channels=1):
        super().__init__()
        widths = (channels, *WIDTHS)
        pairs = zip(widths[:-1], widths[1:], strict=True)
        self.stages = nn.ModuleList(Stage(entering, leaving) for entering, leaving in pairs)

    def forward_features(self, x):
        """The last map: (B, channels, H, W) to (B, 256, H // 8, W // 8)."""
        for number, stage in enumerate(self.stages):
            x = stage(F.max_pool2d(x, 2) if number else x)
        return x

    def forward(self, x):
        """Means of the last map, of unit length: (B, 256)."""
        # In float32 under autocast, too.
        return F.normalize(self.forward_features(x).float().mean((2, 3)), dim=1)


def encoder_names():
    """The published name of every weight of the encoder, by our own.

    Returns
    -------
    dict of str to str
    """
    places = {"shortcut": ("proj", 1)}
    places |= {f"units.{unit}": (f"conv.conv_{unit}", 2) for unit in range(_UNITS)}
    names = {}
    for stage in range(len(WIDTHS)):
        for place, (part, convolution) in places.items():
            own = f"stages.{stage}.{place}"
            theirs = f"encoder.downsample.down.res_down_{stage}.{part}"
            names |= {f"{own}.norm.{kind}": f"{theirs}.0.{kind}" for kind in _NORM}
            names |= {
                f"{own}.conv.{kind}": f"{theirs}.{convolution}.{kind}" for kind in _CONVOLUTION
            }
    return names


def decoder_shapes():
    """Names and shapes of what the checkpoint holds beside the encoder.

    The decoder reconstructed masked images in training. It is not used; the list tells it from
    what does not belong into the file.

    Returns
    -------
    dict of str to tuple of int
    """
    shapes = {}

    def norm(name, width):
        shapes.update({f"{name}.{kind}": (width,) for kind in _NORM[:-1]})
        shapes[f"{name}.{_NORM[-1]}"] = ()

    def product(name, leaving, entering, *kernel):
        shapes[f"{name}.weight"] = (leaving, entering, *kernel)
        shapes[f"{name}.bias"] = (leaving,)

    for stage, leaving in enumerate(WIDTHS):
        entering = WIDTHS[min(stage + 1, len(WIDTHS) - 1)]
        name = f"decoder.upsample.up.res_up_{stage}"
        norm(f"{name}.proj.0", entering)
        product(f"{name}.proj.1", leaving, entering, 1, 1)
        norm(f"{name}.conv.conv_0.0", entering)
        product(f"{name}.conv.conv_0.2", leaving, entering, 3, 3)
        for unit in range(1, _UNITS):
            norm(f"{name}.conv.conv_{unit}.conv.0", leaving)
            product(f"{name}.conv.conv_{unit}.conv.2", leaving, leaving, 3, 3)
            product(f"{name}.conv.conv_{unit}.full", leaving, WIDTHS[-1])
    norm("decoder.base_bn", WIDTHS[0])
    product("decoder.base_conv", 1, WIDTHS[0], 1, 1)
    return shapes
