"""Released weights and published datasets, fetched by name; ``unidino download NAME``."""

from .command import download, main

__all__ = ["download", "main"]
