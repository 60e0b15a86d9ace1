"""Processes that train together: joined by torchrun, or one alone."""

import os
import sys
from datetime import timedelta

import torch
import torch.distributed as dist


class Processes:
    """The process group of the launcher, as a context that gives itself.

    Parameters
    ----------
    device : str or None
        Where several processes of one machine train on GPUs, each takes the one of its own number
        (``LOCAL_RANK``), whatever number `device` gives.

    Attributes
    ----------
    device : torch.device
    rank, world : int
        Number of this process, and of processes.

    Raises
    ------
    ValueError
        The device is not to be had here.
    """

    def __init__(self, device=None):
        self.world = int(os.environ.get("WORLD_SIZE", 1))
        self.rank = int(os.environ.get("RANK", 0))
        self.device = _own_device(device)
        self._joined = False

    def __enter__(self):
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)
            torch.backends.cuda.matmul.allow_tf32 = True
            torch.backends.cudnn.allow_tf32 = True
        if self.world > 1 and not dist.is_initialized():
            backend = "nccl" if self.device.type == "cuda" else "gloo"
            # The first process may measure plates, or embed the monitor, while the others wait.
            dist.init_process_group(backend, timeout=timedelta(hours=4))
            self._joined = True
        return self

    def __exit__(self, *exception):
        if self._joined:
            dist.destroy_process_group()

    def barrier(self):
        """Wait for all processes."""
        if self.world > 1:
            dist.barrier()

    def any(self, flag):
        """Whether `flag` is true in any process; the same answer in all."""
        if self.world == 1:
            return bool(flag)
        sum_of_flags = torch.tensor(float(flag), device=self.device)
        dist.all_reduce(sum_of_flags)
        return bool(sum_of_flags > 0)

    def first(self, function, *arguments):
        """What a function returns in the first process, while the others wait and get None.

        Its error is raised in the first process and ends the others without a word.
        """
        made, error = None, None
        if self.rank == 0:
            try:
                made = function(*arguments)
            except Exception as raised:
                error = raised
        if self.any(error is not None):
            if error is None:
                sys.exit(1)
            raise error
        return made


def _own_device(name):
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        several = int(os.environ.get("LOCAL_WORLD_SIZE", 1)) > 1
        if device.type == "cuda" and (several or device.index is None):
            device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).split("\n")[0]
        raise ValueError(
            f"device {name or str(device)!r} is not to be had here ({reason}). Start one process "
            "a GPU, or take device cpu."
        ) from None
    return device
