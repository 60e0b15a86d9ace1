"""Folders as microscopes export them: understood by an index, by names, or by a pattern."""

from .export import ExportMetadata

__all__ = ["ExportMetadata"]
