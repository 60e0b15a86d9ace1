"""Training by self-distillation: ``python -m unidino.train``, or ``torchrun -m unidino.train``."""

from .options import EXIT_STOPPED, FREE
from .training import train

__all__ = ["EXIT_STOPPED", "FREE", "train"]
