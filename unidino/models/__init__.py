"""Models: vision transformers, their weights in files, and all of them by name."""

from .zoo import DEFAULT_MODEL, NAMES, check_name, load_model, weights_file

__all__ = ["DEFAULT_MODEL", "NAMES", "check_name", "load_model", "weights_file"]
