"""What a long run says while it works: to the terminal and a log, never into a notebook's page."""

import contextlib
import os
import sys
import time
from pathlib import Path

from tqdm import tqdm

_LOGS = []


def _terminal():
    """The stream of the terminal: inside a Jupyter kernel the one it was started from.

    A kernel replaces stdout and stderr by streams that end in the notebook, where progress would
    be stored with the page; the descriptor it kept of the original still leads to the terminal.
    """
    descriptor = getattr(sys.stderr, "_original_stdstream_copy", None)
    if descriptor is None:
        return sys.stderr
    with contextlib.suppress(OSError):
        return os.fdopen(os.dup(descriptor), "w", buffering=1)
    return open(os.devnull, "w")


@contextlib.contextmanager
def logging_to(path):
    """Everything said inside the block also goes to the file `path`, appended."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a", buffering=1) as log:
        _LOGS.append(log)
        try:
            yield
        finally:
            _LOGS.remove(log)


def say(message):
    """Write one line to the terminal and to the open logs."""
    print(message, file=_terminal())
    _log(message)


def _log(message):
    for log in _LOGS:
        with contextlib.suppress(OSError):  # a full disk is named by what writes results
            print(time.strftime("%Y-%m-%d %H:%M:%S"), message, file=log)


def one_line(error):
    """What went wrong, without the traces that torch and its reading processes wrap around it."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    if "DataLoader worker process" in lines[0]:
        return lines[-1].partition(": ")[2] or lines[-1]
    return lines[0] if isinstance(error, RuntimeError) else str(error)


class Progress:
    """A bar with rate and time remaining on the terminal; a line a minute in the logs.

    Parameters
    ----------
    total : int
        Number of units expected.
    unit : str
        What is counted, such as "site".
    title : str
        What is being done.
    scaled : bool
        Write numbers as 1.5G, for bytes.
    """

    def __init__(self, total, unit, title, scaled=False):
        self._terminal = _terminal()
        interactive = self._terminal.isatty()
        # Off a terminal each refresh is a line of a log: few of them.
        self._bar = tqdm(
            total=total,
            unit=unit,
            desc=title,
            file=self._terminal,
            mininterval=0.2 if interactive else 20,
            maxinterval=1 if interactive else 60,
            dynamic_ncols=interactive,
            unit_scale=scaled,
        )
        self._logged = time.monotonic()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._bar.close()
        if self._terminal is not sys.stderr:
            self._terminal.close()

    def note(self, text):
        """Show `text` behind the bar at its next refresh."""
        self._bar.set_postfix_str(text, refresh=False)

    def update(self, n=1):
        """Count `n` more units."""
        self._bar.update(n)
        if time.monotonic() - self._logged >= 60:
            self._logged = time.monotonic()
            _log(self._bar)
