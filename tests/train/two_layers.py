"""The command line of training, with networks that are small: for tests of how a run goes."""

import functools
import os
import sys
import time

from torch.distributed.run import main as torchrun

from unidino.models.vit import ARCHITECTURES
from unidino.train import dino
from unidino.train.run import Trainer
from unidino.train.training import main

whole_step = Trainer.train_step
width, _, heads = ARCHITECTURES["vit_tiny"]
VIT_TINY = (width, 2, heads)
"""vit_tiny, of two layers."""
NarrowHead = functools.partial(dino.DINOHead, hidden_dim=64, bottleneck_dim=32)
"""The head whose published widths take most of the seconds of a small run."""


def slow_step(*arguments):
    """Small steps take no time: a signal sent after a step would find the run at its end."""
    time.sleep(0.15)
    return whole_step(*arguments)


def run(words=None):
    """The command line, of these words or of the process's own."""
    ARCHITECTURES["vit_tiny"] = VIT_TINY
    dino.DINOHead = NarrowHead
    Trainer.train_step = slow_step
    main(words)


def forked(words, log, environment, launcher=()):
    """`run` in a process that was forked from one with all libraries imported.

    It leads a session of its own, as one started from a terminal does, and writes to `log`. With
    words for a launcher it is torchrun, whose processes are forked in their turn.
    """
    os.setsid()
    os.environ.update(environment)
    said = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(said, stream)
    sys.stdout, sys.stderr = os.fdopen(1, "w", 1), os.fdopen(2, "w", 1)
    if launcher:
        torchrun([*launcher, "--start_method", "fork", "--run_path", __file__, *words])
    else:
        run(words)


if __name__ == "__main__":
    run()
