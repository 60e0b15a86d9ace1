"""Names that options choose from, where the code behind them needs torch.

A command line explains its options, and refuses wrong ones, from here: torch takes seconds to load.
"""

POOLINGS = ("cls", "mean", "max", "cls_mean", "cls_max", "cls_mean_max")
"""CLS token, mean or maximum of the patch tokens, or several of them side by side."""

PRECISIONS = ("fp32", "bf16", "fp16")
"""Of a forward pass."""

AUTO = "auto"
"""The precision that the device is made for, see `embedding.resolved_precision`."""

CENTRINGS = ("mean", "sinkhorn")
"""What keeps a teacher from collapse, see `train.dino`."""

SHRINKAGE = 0.03
"""Share of an even spread that is mixed into the covariance within images, for a projection."""

GLOBAL_VIEWS = 2
"""Large crops of an image in self-distillation, and the fewest that a projection is fitted to."""
