"""Simulated plates with planted phenotypes, in the layout of each published dataset, and worlds."""

from .datasets import LAYOUTS, MARKER, draw, ensure, fingerprint, planted_truth, simulate

__all__ = ["LAYOUTS", "MARKER", "draw", "ensure", "fingerprint", "planted_truth", "simulate"]
