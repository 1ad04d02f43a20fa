"""Embeddings to a subset: few rows that stand for all of them.

`DiversitySampler` picks the rows that are worth labelling first, `selection_report` measures how
well some rows stand for all rows, `compute_diversity` says how alone each row is, and
`write_selection` puts a selection into a file.
"""

from ._display import RepresentationDisplay
from ._metrics import SelectionReport, SelectionScores, compute_diversity, selection_report
from ._optimality import OptimalityGap, optimality_gap
from ._sampler import DiversitySampler
from .files import (
    Selection,
    copy_images,
    load_selection,
    read_selection,
    write_selection,
    write_yolo,
)

__all__ = [
    "DiversitySampler",
    "OptimalityGap",
    "RepresentationDisplay",
    "Selection",
    "SelectionReport",
    "SelectionScores",
    "compute_diversity",
    "copy_images",
    "load_selection",
    "optimality_gap",
    "read_selection",
    "selection_report",
    "write_selection",
    "write_yolo",
]
