"""The ``unidino`` command: one word for each thing that the package does on its own."""

import sys
from difflib import get_close_matches
from importlib import import_module

from . import __version__

COMMANDS = {
    "extract": ("unidino.inference", "profiles from the images of a dataset, table or folder"),
    "table": (
        "unidino.valsets.exports.table",
        "a microscope's export as a CSV, to look at and edit",
    ),
    "verify": ("unidino.verify", "a check of what was extracted: whole, unmixed, of its images"),
    "report": ("unidino.report", "one plate as one HTML file: quality, heat maps, pictures"),
    "aggregate": ("unidino.profiles.aggregation", "profiles of wells from a large table of sites"),
    "anndata": ("unidino.anndata_tables", "profiles as AnnData (.h5ad), for scanpy and its like"),
    "train": ("unidino.train.training", "a model by self-distillation (several GPUs: torchrun)"),
    "export": ("unidino.train.export", "the weights of a training as one small file"),
    "download": ("unidino.download", "released weights and published datasets, by name"),
    "simulate": ("unidino.simulate.datasets", "plates with planted phenotypes"),
}
"""Module of each command, loaded when it is called, and what it makes."""


def main(argv=None):
    """Run one of `COMMANDS`; without one, list them."""
    words = sys.argv[1:] if argv is None else list(argv)
    if not words or words[0] in ("-h", "--help"):
        print("usage: unidino COMMAND [OPTIONS]\n")
        for name, (_, made) in COMMANDS.items():
            print(f"  {name:10}{made}")
        print("\nunidino COMMAND --help lists the options of a command.")
    elif words[0] == "--version":
        print(__version__)
    elif words[0] in COMMANDS:
        name, *options = words
        import_module(COMMANDS[name][0]).main(options, f"unidino {name}")
    else:
        near = get_close_matches(words[0], COMMANDS, n=1, cutoff=0.4)
        hint = f" Did you mean {near[0]}?" if near else ""
        sys.exit(f"error: no command {words[0]!r}; there are {', '.join(COMMANDS)}.{hint}")
