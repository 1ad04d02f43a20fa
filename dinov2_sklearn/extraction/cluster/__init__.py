"""Extraction on the nodes of a Ray cluster."""

from ._ray import extract_with_ray

__all__ = ["extract_with_ray"]
