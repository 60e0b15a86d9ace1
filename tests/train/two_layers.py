"""The command line of training, its vit_tiny of two layers: for tests of how a run goes."""

import time

from unidino.models.vit import ARCHITECTURES
from unidino.train.loop import main
from unidino.train.run import Trainer

whole_step = Trainer.train_step


def slow_step(*arguments):
    """Small steps take no time: a signal sent after a step would find the run at its end."""
    time.sleep(0.15)
    return whole_step(*arguments)


if __name__ == "__main__":
    width, _, heads = ARCHITECTURES["vit_tiny"]
    ARCHITECTURES["vit_tiny"] = (width, 2, heads)
    Trainer.train_step = slow_step
    main()
