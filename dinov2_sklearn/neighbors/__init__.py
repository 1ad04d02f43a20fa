"""Rows and their neighbours: the geometry of a metric, exact searches, in blocks."""

__all__: list[str] = []
