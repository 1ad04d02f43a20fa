"""Embeddings to a subset: few rows that stand for all of them.

`DiversitySampler` picks the rows that are worth labelling first, `selection_report` measures how
well some rows stand for all rows, `compute_diversity` says how alone each row is, and
`write_selection` puts a selection into a file.
"""

from ._copies import copy_images
from ._exports import write_selection
from ._metrics import SelectionReport, SelectionScores, compute_diversity, selection_report
from ._sampler import DiversitySampler

__all__ = [
    "DiversitySampler",
    "SelectionReport",
    "SelectionScores",
    "compute_diversity",
    "copy_images",
    "selection_report",
    "write_selection",
]
