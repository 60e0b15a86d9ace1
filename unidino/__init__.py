"""uniDINO: one single-channel vision transformer for every fluorescence assay.

The public names live in their modules; the ones that other people's scripts rely on are also
importable from here. They load on first use, so that ``import unidino`` stays quick.
"""

from importlib import import_module

_PUBLIC = {
    "CSVMetadata": "valsets",
    "Dataset": "dataset",
    "Metadata": "metadata",
    "extract": "inference",
    "get_concatenated_datasets": "dataset",
    "load_model": "models",
    "open_valset": "valsets",
}

__version__ = "0.1.0"
__all__ = sorted(_PUBLIC)


def __getattr__(name):
    if name in _PUBLIC:
        return getattr(import_module(f"{__name__}.{_PUBLIC[name]}"), name)
    try:
        return import_module(f"{__name__}.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"{__name__}.{name}":
            raise
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None


def __dir__():
    return sorted([*globals(), *_PUBLIC])
