"""Rows and their neighbours: the geometry of a metric, and searches in blocks."""

from ._cells import NearNeighbors, divide_evenly, knn_in_cells, members_of
from ._distances import (
    absolute_error,
    assign,
    knn,
    nearest,
    own_center_sq_distances,
    pair_sq_distances,
    relative_error,
    sq_distances_to_earlier,
)
from ._forest import Pairs, connected, renumber
from ._geometry import (
    SAME_DIRECTION,
    Rows,
    RowSubset,
    UnitRows,
    exact_rows,
    limit_of_cosine,
    row_blocks,
    to_geometry,
    to_metric,
)
from ._join import within
from ._pairs import find_pairs
from ._rows import (
    check_finite,
    direction_tolerance,
    first_directions,
    first_occurrences,
    map_blocks,
    match_rows,
    row_keys,
)
from ._selector import RowSelectorMixin
from ._threads import count_threads, for_each
from ._validation import check_rows

__all__ = [
    "SAME_DIRECTION",
    "NearNeighbors",
    "Pairs",
    "RowSelectorMixin",
    "RowSubset",
    "Rows",
    "UnitRows",
    "absolute_error",
    "assign",
    "check_finite",
    "check_rows",
    "connected",
    "count_threads",
    "direction_tolerance",
    "divide_evenly",
    "exact_rows",
    "find_pairs",
    "first_directions",
    "first_occurrences",
    "for_each",
    "knn",
    "knn_in_cells",
    "limit_of_cosine",
    "map_blocks",
    "match_rows",
    "members_of",
    "nearest",
    "own_center_sq_distances",
    "pair_sq_distances",
    "relative_error",
    "renumber",
    "row_blocks",
    "row_keys",
    "sq_distances_to_earlier",
    "to_geometry",
    "to_metric",
    "within",
]
