"""The command line of training, its vit_tiny of two layers: for tests of how a run goes."""

import os
import sys
import time

from unidino.models.vit import ARCHITECTURES
from unidino.train.run import Trainer
from unidino.train.training import main

whole_step = Trainer.train_step


def slow_step(*arguments):
    """Small steps take no time: a signal sent after a step would find the run at its end."""
    time.sleep(0.15)
    return whole_step(*arguments)


def run(words=None):
    """The command line, of these words or of the process's own."""
    width, _, heads = ARCHITECTURES["vit_tiny"]
    ARCHITECTURES["vit_tiny"] = (width, 2, heads)
    Trainer.train_step = slow_step
    main(words)


def forked(words, log, environment):
    """`run` in a process that was forked from one with all libraries imported.

    It leads a session of its own, as one started from a terminal does, and writes to `log`.
    """
    os.setsid()
    os.environ.update(environment)
    said = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(said, stream)
    sys.stdout, sys.stderr = os.fdopen(1, "w", 1), os.fdopen(2, "w", 1)
    run(words)


if __name__ == "__main__":
    run()
