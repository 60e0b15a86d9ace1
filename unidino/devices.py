"""Several devices of one machine at one extraction, a process each."""

import multiprocessing
import traceback


def gpu_names(gpus, available=None):
    """Device names of the GPUs that are asked for.

    Parameters
    ----------
    gpus : int or list of int
        How many, or which, from 0.
    available : int, optional
        GPUs of this machine; torch is asked by default.

    Returns
    -------
    list of str

    Raises
    ------
    ValueError
        There are not so many, or none of that number; one is named twice.
    """
    if available is None:
        import torch

        available = torch.cuda.device_count()
    numbers = list(range(gpus)) if isinstance(gpus, int) else [int(number) for number in gpus]
    wrong = not numbers or min(numbers) < 0 or max(numbers) >= available
    if wrong or len(set(numbers)) < len(numbers):
        raise ValueError(
            f"gpus is {gpus}; this machine has {available} (numbered from 0). Give how many share "
            "the work, or their numbers, each once; or leave gpus out."
        )
    return [f"cuda:{number}" for number in numbers]


def share(devices, call, options):
    """Call once a device, each in a process with its shard of the work; wait for all.

    Parameters
    ----------
    devices : list of str
    call : callable
        Of a module; takes `options`, with ``device`` and ``shard``.
    options : dict

    Raises
    ------
    RuntimeError
        A process failed; the others are waited for.
    """
    # Not forked: a forked process cannot use the GPU that this one has opened.
    context = multiprocessing.get_context("spawn")
    failures = context.Queue()
    processes = []
    for number, device in enumerate(devices, 1):
        own = options | {"device": device, "shard": f"{number}/{len(devices)}"}
        processes.append(context.Process(target=_work, args=(call, own, failures)))
        processes[-1].start()
    for process in processes:
        process.join()
    failed = [d for d, process in zip(devices, processes, strict=True) if process.exitcode]
    if failed:
        told = failures.get() if not failures.empty() else "it was ended from outside"
        raise RuntimeError(
            f"embedding on {', '.join(failed)} failed: {told}. What was embedded is kept: the same "
            "command goes on."
        )


def _work(call, options, failures):
    try:
        call(**options)
    except Exception as error:
        traceback.print_exc()
        failures.put(f"{type(error).__name__}: {error}")
        failures.close()
        failures.join_thread()
        raise SystemExit(1) from None
