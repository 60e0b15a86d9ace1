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


def in_words(seconds):
    """A time in the largest unit of which it has two: 90 minutes, 3 weeks."""
    units = {"weeks": 604800, "days": 86400, "hours": 3600, "minutes": 60}
    for unit, length in units.items():
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(1, seconds):.0f} seconds"


class Pace:
    """How fast a long run is and how long it will take, said once after its first seconds.

    What is done first waits for the readers: the clock starts when that is done.

    Parameters
    ----------
    left : int
        Units to be done.
    unit : str
        What is counted, such as "site".
    """

    AFTER = 5.0
    """Seconds of which the rate is the mean."""

    WORTH = 30.0
    """Runs that will take fewer seconds than these from then on need no estimate."""

    def __init__(self, left, unit):
        self._left = left
        self._unit = unit
        self._first = None
        self._seen = 0
        self._said = False

    def skip(self, count):
        """Count units that were done before."""
        self._left -= count

    def done(self, count):
        """Count units that were done now."""
        self._left -= count
        now = time.monotonic()
        if self._first is None:
            self._first = now
            return
        self._seen += count
        if self._said or now - self._first < self.AFTER:
            return
        self._said = True
        rate = self._seen / (now - self._first)
        if self._left / rate > self.WORTH:
            say(f"{rate:.3g} {self._unit}s a second: about {in_words(self._left / rate)} to go")


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
