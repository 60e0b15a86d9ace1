"""Training from a notebook: the command it types, and the processes that run it."""

import collections
import functools
import hashlib
import inspect
import json
import re
import shlex
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import torch

from .. import paths, train
from ..progress import logging_to, say
from ..train.log import EPOCHS, STEPS, read_log
from ..train.monitor import Monitor
from ..train.options import checked, model_config
from ..train.planes import open_training_set, remembered_planes
from ..train.state import WEIGHTS

LOG = "launch.log"
"""Everything that the processes print, beside the logs of the training itself."""

_LAST_LINES = 20


@functools.wraps(train.train)
def parameters(**given):
    """What the notebook takes: the parameters of `train.train`, its folder optional."""


parameters.__annotations__ = train.train.__annotations__ | {"output_dir": str | None}


def process_count(processes, device=None):
    """Processes to start: as many as asked for; for 0 one a GPU, and one where there is none.

    Raises
    ------
    ValueError
        Fewer than 0.
    """
    if processes < 0:
        raise ValueError(f"processes is {processes}; expected 0 (one a GPU) or more.")
    return processes or (1 if device else max(1, torch.cuda.device_count()))


def command(options, processes):
    """The command line of a training, with the options that differ from their defaults.

    Parameters
    ----------
    options : dict
        Of `train.train`.
    processes : int
        Started by torchrun where there are several.

    Returns
    -------
    list of str
    """
    words = [sys.executable, "-m"]
    if processes > 1:
        words += ["torch.distributed.run", "--standalone", "--nproc_per_node", str(processes), "-m"]
    words.append("unidino.train")
    for name, parameter in inspect.signature(train.train).parameters.items():
        value = options[name]
        if value == parameter.default:
            continue
        if isinstance(value, bool):
            words.append(f"--{name}" if value else f"--no-{name}")
        else:
            words += [f"--{name}", str(value)]
    return words


def shown(words):
    """A command as one types it, an option a line, without the folders of this machine."""
    words = [re.sub(r"(?<![\w.~])/(?:[^/'\",\s]+/)*", "…/", word) for word in words]
    text = " ".join(map(_quoted, words))
    text = re.sub(r"^\S+ -m torch\.distributed\.run", "torchrun", text)
    text = re.sub(r"^\S+ -m unidino", "python -m unidino", text)
    return re.sub(r" (--(?!standalone|nproc_per_node))", r" \\\n  \1", text)


def _quoted(word):
    if re.fullmatch(r"[\w…@%+=:,./-]+", word):
        return word
    return shlex.quote(word) if re.search(r'["$`\\!]', word) else f'"{word}"'


def run_command(words, folder):
    """Run a command, its output on the terminal and in the folder's log, not on the page.

    An interrupted cell sends SIGTERM, upon which training writes a checkpoint.

    Raises
    ------
    RuntimeError
        It failed; holds its last lines.
    """
    last = collections.deque(maxlen=_LAST_LINES)
    log = Path(folder) / LOG
    with logging_to(log), _started(words) as process:
        try:
            for line in process.stdout:
                if line.strip():
                    say(line.rstrip())
                    last.append(line.rstrip())
        except BaseException:
            process.terminate()
            process.communicate()
            raise
    if process.returncode == train.EXIT_STOPPED:
        raise RuntimeError(f"training was stopped; run it again to go on from {log.parent}.")
    if process.returncode:
        lines = "\n".join(last)
        raise RuntimeError(
            f"training ended with status {process.returncode}. {log} ends with:\n{lines}"
        )


def _started(words):
    # A ctrl-C reaches the whole group; ignored there, it leaves training the time to write.
    main = threading.current_thread() is threading.main_thread()
    earlier = signal.signal(signal.SIGINT, signal.SIG_IGN) if main else None
    try:
        return subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        )
    finally:
        if main:
            signal.signal(signal.SIGINT, earlier)


@dataclass
class Training:
    """A training that a page starts and reads back.

    Attributes
    ----------
    given : dict
        The parameters of `train.train`; the folder is filled in.
    options : dict
        The same, checked: precision and sets resolved.
    processes : int
    opened : list of Metadata
        The sets to train on.
    """

    given: dict
    options: dict
    processes: int
    opened: list

    @classmethod
    def of(cls, processes, **given):
        """A training with these parameters; wrong ones stop here.

        Without `output_dir` the options that decide what is computed give the folder its name: the
        same ones go on with a run, others start one of their own.

        Raises
        ------
        ValueError, TypeError, FileNotFoundError
        """
        count = process_count(processes, given["device"])
        options = checked(given | {"output_dir": given["output_dir"] or ""}, train.train)
        config = model_config(options)
        if not given["output_dir"]:
            decisive = {k: v for k, v in options.items() if k not in train.FREE}
            decisive["total"] = options["batch_size_per_gpu"] * options["grad_accum"] * count
            text = json.dumps(decisive, sort_keys=True)
            digest = hashlib.sha256(text.encode()).hexdigest()[:8]
            folder = paths.outputs_root() / "training" / f"{paths.escape(config.arch)}-{digest}"
            given = given | {"output_dir": str(folder)}
        options["output_dir"] = given["output_dir"]
        Monitor.open(options)
        return cls(given, options, count, [open_training_set(n) for n in options["datasets"]])

    @property
    def folder(self):
        """Where checkpoints and logs are."""
        return Path(self.options["output_dir"]).expanduser().absolute()

    @property
    def weights(self):
        """The teacher's weights."""
        return self.folder / WEIGHTS

    @property
    def command(self):
        """The command line."""
        return command(self.given, self.processes)

    @property
    def heading(self):
        """Model and data, for the top of a figure."""
        kinds = {
            metadata.simulated: "simulated" if metadata.simulated else "real"
            for metadata in self.opened
        }
        sets = ", ".join(metadata.valset for metadata in self.opened)
        return f"{self.options['arch']} on {sets} ({' and '.join(kinds.values())})"

    @property
    def question(self):
        """What the accuracy on the monitor is of, or None."""
        watched = Monitor.open(self.options)
        return watched and f"accuracy of {watched.label} in {Path(watched.valset).stem}"

    @functools.cached_property
    def steps(self):
        """The log of the steps; ``epochs_done`` counts epochs up to and with the step."""
        log = read_log(self.folder, STEPS)
        per_epoch = len(log) / self.options["epochs"]
        return log.assign(epochs_done=(log["step"] + 1) / per_epoch)

    @functools.cached_property
    def epochs(self):
        """The log of the epochs."""
        return read_log(self.folder, EPOCHS)

    def run(self):
        """Train, or go on; a finished run ends at once."""
        run_command(self.command, self.folder)

    def planes(self):
        """The planes of every set, as the run remembered them."""
        return remembered_planes(self.opened, self.options, self.folder, 0, 1)
