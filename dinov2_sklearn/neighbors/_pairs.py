"""Pairs of near rows, of which many may be equal."""

from collections.abc import Callable

import numpy as np

from ._forest import Pairs
from ._geometry import Rows, RowSubset
from ._join import within
from ._rows import first_directions

__all__ = ["find_pairs"]


def find_pairs(
    geometry: Rows,
    limit: float,
    *,
    n_jobs: int | None = None,
    advance: Callable[[int], object] | None = None,
) -> Pairs:
    """Return a minimum spanning forest of the pairs within `limit`, squared, of any rows.

    Equal rows, and unit rows of one direction, are compared once.
    """
    is_first, place = first_directions(geometry)
    first = np.flatnonzero(is_first)
    if len(first) == len(is_first):
        return within(geometry, limit, n_jobs=n_jobs, advance=advance)
    pairs = within(RowSubset(geometry, first), limit, n_jobs=n_jobs, advance=advance)
    copies = np.flatnonzero(~is_first)
    return Pairs(
        np.concatenate([first[place[copies]], first[pairs.first]]),
        np.concatenate([copies, first[pairs.second]]),
        np.concatenate([np.zeros(len(copies)), pairs.sq_distances]),
    )
