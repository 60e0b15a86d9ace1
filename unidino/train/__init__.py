"""Training by self-distillation: ``python -m unidino.train``, or ``torchrun -m unidino.train``."""

from .loop import EXIT_STOPPED, FREE, train

__all__ = ["EXIT_STOPPED", "FREE", "train"]
