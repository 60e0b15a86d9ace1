"""What the series of damaged files share: an end to each case, and what they took."""

import contextlib
import resource
import signal

LIMIT = 30.0
"""Seconds after which a case is taken to hang; the slowest take less than one."""


class Hung(BaseException):
    """A case that does not end; no ``except Exception`` on the way keeps it."""


@contextlib.contextmanager
def within(seconds=LIMIT):
    """Stop the block with `Hung` after so many seconds; of the main thread only."""

    def stop(number, frame):
        raise Hung(f"more than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def most_memory():
    """The most memory of this process so far, bytes that it really filled."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def took():
    """CPU time and the most memory of this process so far, in words."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    seconds = usage.ru_utime + usage.ru_stime
    return f"{seconds:.0f} CPU s, at most {most_memory() / 2**30:.2f} GiB of memory"
