"""Processes that train together: joined by torchrun, or one alone."""

import os
from datetime import timedelta

import torch
import torch.distributed as dist


def barrier(world):
    """Wait for all processes."""
    if world > 1:
        dist.barrier()


class Processes:
    """The process group of the launcher, as a context: (device, rank, number of processes)."""

    def __init__(self, device):
        self.device = device

    def __enter__(self):
        world = int(os.environ.get("WORLD_SIZE", 1))
        rank = int(os.environ.get("RANK", 0))
        local = int(os.environ.get("LOCAL_RANK", 0))
        cuda = torch.cuda.is_available()
        try:
            device = torch.device(self.device or (f"cuda:{local}" if cuda else "cpu"))
            torch.zeros(1, device=device)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).split("\n")[0]
            raise ValueError(
                f"device {self.device or local!r} is not to be had here ({reason}). Start one "
                "process a GPU, or take device cpu."
            ) from None
        if device.type == "cuda":
            torch.cuda.set_device(device)
            torch.backends.cuda.matmul.allow_tf32 = True
            torch.backends.cudnn.allow_tf32 = True
        self.joined = world > 1 and not dist.is_initialized()
        if self.joined:
            backend = "nccl" if device.type == "cuda" else "gloo"
            # The first process may measure plates, or embed the monitor, while the others wait.
            dist.init_process_group(backend, timeout=timedelta(hours=4))
        return device, rank, world

    def __exit__(self, *exception):
        if self.joined:
            dist.destroy_process_group()
