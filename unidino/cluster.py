"""A Ray cluster at one extraction: each task embeds plates, or parts of them where plates are few.

The tasks are shards of the extraction, and what they write is what a run without Ray writes. The
machines of a cluster see images, weights and outputs under the same paths, on a disk that they
share, and have the same unidino installed. Ray takes up a task again whose worker was lost; what is
embedded is kept, see `plate_parts`.
"""

import contextlib
import logging
import os
import platform
from importlib.util import find_spec

from . import arguments, shards
from .progress import Progress, one_line, say

ENGINES = ("local", "ray")
"""What runs an extraction: this process and those it starts, or a cluster."""

RETRIES = 3
"""Times that a task is taken up again whose worker was lost."""

PARTS = 2
"""Tasks for each worker where there are fewer plates than workers."""

TASKS = 8
"""Tasks for each worker, at most: each opens the dataset, and a million sites take 20 s."""

_STORE_BYTES = 80 * 2**20
_SHOWN = 3


def check(given):
    """Stop on parameters of an extraction that go against its engine.

    Parameters
    ----------
    given : dict
        ``engine``, ``ray_address``, ``shard``, ``gpus`` and ``device``.

    Raises
    ------
    ValueError
    ImportError
        Ray is asked for, and is not installed.
    """
    arguments.check_choice("engine", given["engine"], ENGINES)
    if given["engine"] != "ray":
        if given["ray_address"] is not None:
            raise ValueError(
                f"ray_address is {given['ray_address']!r} and goes with engine 'ray': set "
                "engine='ray', or leave ray_address out."
            )
        return
    for name in ("shard", "gpus"):
        if given[name] is not None:
            raise ValueError(
                f"engine 'ray' goes without {name}: it divides the sites among the workers of the "
                f"cluster. Leave {name} out."
            )
    if given["device"] not in (None, "cpu", "cuda"):
        raise ValueError(
            f"device is {given['device']!r}; with engine 'ray' it is cpu or cuda, and Ray gives "
            "each worker a GPU of its own. Set one of them, or leave device out."
        )
    if find_spec("ray") is None:
        raise ImportError("engine 'ray' needs the package ray: pip install 'unidino[scale]'.")


@contextlib.contextmanager
def connected(address=None):
    """Be connected to a Ray cluster while the block lasts.

    Parameters
    ----------
    address : str, optional
        Of a cluster, or "auto", the one that this machine belongs to; by default Ray is started on
        this machine and ends with the block. A process that is connected already stays so.

    Raises
    ------
    ConnectionError
        No cluster answers there.
    RuntimeError
        Ray does not start on this machine.
    """
    import ray

    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    options = {"address": address}
    if address is None:
        # Not an address of None, which joins a cluster where the environment names one.
        options["address"] = "local"
        options |= {"include_dashboard": False, "object_store_memory": _STORE_BYTES}
    try:
        # What workers say goes to the log of the extraction.
        ray.init(**options, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # Ray raises that itself, where it does not start in time
        reason = one_line(error).partition("\n")[0]
        if address is None:
            raise RuntimeError(
                f"Ray did not start on this machine: {reason} Run this again when the machine is "
                "less busy, or with engine='local'."
            ) from error
        raise ConnectionError(
            f"ray_address is {address!r}, and no Ray cluster answers there ({reason}). "
            "Start one with `ray start --head`, give its address, or leave ray_address out."
        ) from None
    try:
        yield
    finally:
        ray.shutdown()


def workers(device, resources):
    """What a task takes of a cluster, and how many run at once: a GPU each, else a processor.

    Parameters
    ----------
    device : {None, "cpu", "cuda"}
    resources : dict
        Of the cluster: its ``GPU`` and ``CPU``.

    Returns
    -------
    (dict, int)

    Raises
    ------
    ValueError
        The cluster has none.
    """
    on_gpu = device == "cuda" or (device is None and resources.get("GPU", 0) >= 1)
    kind = "GPU" if on_gpu else "CPU"
    count = int(resources.get(kind, 0))
    if not count:
        raise ValueError(
            f"device is {device!r}, and the Ray cluster offers no {kind}: add a machine that has "
            "one, or give another device."
        )
    return {"num_cpus": 1, "num_gpus": int(on_gpu)}, count


def divided(sizes, count):
    """Into how many shards the plates are divided for so many workers.

    Parameters
    ----------
    sizes : dict
        {plate key: sites}.
    count : int
        Workers.
    """
    return min(len(sizes), TASKS * count) if len(sizes) >= count else PARTS * count


def share(sizes, finished, call, options, address=None, title="sites"):
    """Call once a shard, each in a task of a Ray cluster; wait for all.

    A shard of several plates that fails is divided into them, so that one plate stops no other.

    Parameters
    ----------
    sizes : dict
        {plate key: sites}.
    finished : set
        Keys of the plates that need no task.
    call : callable
        Takes `options`, with ``shard``; what it returns is not looked at.
    options : dict
    address : str, optional
        See `connected`.
    title : str
        What is being done.

    Raises
    ------
    RuntimeError
        Tasks failed for good: named with their plates. The others were waited for.
    ConnectionError, ValueError
        See `connected` and `workers`.
    """
    if sizes.keys() <= finished:
        return
    import ray

    with connected(address):
        takes, count = workers(options.get("device"), ray.cluster_resources())
        # A task that raises is not repeated: it would raise again.
        remote = ray.remote(**takes, max_retries=RETRIES)(_work)
        place = os.getcwd(), {k: v for k, v in os.environ.items() if k.startswith("UNIDINO_")}
        pending, failed = {}, []

        def submit(of_all, wanted):
            for number in range(of_all):
                part = [s for s in shards.stretches(sizes, number, of_all) if s.key in wanted]
                if part:
                    shard = f"{number + 1}/{of_all}"
                    pending[remote.remote(call, options | {"shard": shard}, *place)] = shard, part

        submit(divided(sizes, count), sizes.keys() - finished)
        ended, sites = 0, sum(_sites(part) for _, part in pending.values())
        say(f"{title}: {sites} sites in {len(pending)} tasks for {count} workers of Ray")
        with Progress(sites, "site", title) as bar:
            try:
                while pending:
                    (task,), _ = ray.wait(list(pending))
                    shard, part = pending.pop(task)
                    ended += 1
                    reason = _reason(task)
                    if reason and len(part) > 1 and all(stretch.whole for stretch in part):
                        submit(len(sizes), {stretch.key for stretch in part})
                        continue
                    bar.note(f"{ended} of {ended + len(pending)} tasks")
                    bar.update(_sites(part))
                    if reason:
                        failed.append(f"{_named(shard, part)}: {reason}")
                        say(f"warning: {failed[-1]}")
            finally:
                for task in pending:
                    ray.cancel(task, force=True)
    if failed:
        more = f" (and {len(failed) - _SHOWN} more)" if len(failed) > _SHOWN else ""
        raise RuntimeError(
            f"{len(failed)} of {ended} tasks failed: {'; '.join(failed[:_SHOWN])}{more}. What was "
            "embedded is kept: the same command goes on."
        )


def _work(call, options, folder, variables):
    """One task, as if called where the extraction was started."""
    os.environ.update(variables)
    try:
        os.chdir(folder)
    except OSError:
        raise FileNotFoundError(
            f"there is no folder {folder} on {platform.node()}: the machines of a cluster see "
            "images and outputs under the same paths, on a disk that they share."
        ) from None
    call(**options)


def _reason(task):
    """Why an ended task failed; None where it did not."""
    import ray

    try:
        ray.get(task)
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", None) or error
        return f"{type(cause).__name__}: {one_line(cause).splitlines()[0]}"


def _named(shard, part):
    plates = ", ".join(" ".join(map(str, stretch.key)) for stretch in part)
    whole = all(stretch.whole for stretch in part)
    return f"plate {plates}" if whole else f"part {shard}, of plate {plates}"


def _sites(part):
    return sum(map(len, part))
