"""Simulated plates with planted phenotypes, in the layout of each published dataset."""

from .datasets import MARKER, VALSETS, draw, ensure, planted_truth, simulate

__all__ = ["MARKER", "VALSETS", "draw", "ensure", "planted_truth", "simulate"]
