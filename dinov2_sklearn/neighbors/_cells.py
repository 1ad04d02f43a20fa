"""Nearest rows, nearly all of them: a row is compared with the rows of the cells around it alone.

This is the inverted file of similarity search [1]_, made for the neighbours of all rows at once:
queries come in chunks that lie together, so that a cell meets many of them in one product.

References
----------
.. [1] Sivic, J. and Zisserman, A. (2003). Video Google: a text retrieval approach to object
   matching in videos. ICCV 2003.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import gen_batches

from ._distances import assign, knn, pair_sq_distances
from ._geometry import Rows, row_blocks
from ._threads import for_each

__all__ = ["NearNeighbors", "divide_evenly", "knn_in_cells", "members_of"]

_CELLS_PER_ROOT = 2  # cells for each unit of the square root of the number of rows
_TRAIN_ROWS = 32  # rows of each cell that k-means sees
_N_ITER = 5
_LARGE_CELL = 3  # times the mean size, from which a cell is divided again
_JUDGED = 512  # rows whose true neighbours are looked for
# Rows kept until differences have settled the distances, beyond those asked for.
_MARGIN = 2
_CHUNK = 2048


class NearNeighbors(NamedTuple):
    """What `knn_in_cells` finds."""

    indices: NDArray[np.intp]
    sq_distances: NDArray[np.float64]
    recall: float
    """Share of the true neighbours that were found, of a sample of rows."""


def knn_in_cells(
    X: NDArray[np.float32],
    n_neighbors: int,
    *,
    queries: Rows | None = None,
    recall: float = 0.995,
    include_self: bool = False,
    n_jobs: int | None = None,
) -> NearNeighbors:
    """Find nearly all of the nearest rows of every row or query, without comparing all pairs.

    Parameters
    ----------
    X : ndarray of shape (n, d), float32
        Distinct rows, more than `n_neighbors`.
    n_neighbors : int
        Rows to find for each.
    queries : Rows of shape (m, d), default=None
        Whose neighbours are looked for. None means each row of X, among the other rows.
    recall : float, default=0.995
        Share of the true neighbours to find. Of a sample of rows the neighbours are looked for
        among all; so many cells are then looked into as hold this share of them.
    include_self : bool, default=False
        Without `queries`: whether a row comes first among its own neighbours.
    n_jobs : int, default=None
        Threads; the result is the same for any number of them.

    Returns
    -------
    found : NearNeighbors
        Indices and squared distances as `knn` returns them, and the recall reached.

    Notes
    -----
    Time is about n^1.5 d, times the cells that a row looks into: few where rows lie in groups, and
    nearly all, as in `knn`, where rows have no neighbourhoods to speak of.

    Examples
    --------
    >>> import numpy as np
    >>> from dinov2_sklearn.neighbors import knn_in_cells
    >>> X = np.random.default_rng(0).normal(size=(1000, 2)).astype(np.float32)
    >>> found = knn_in_cells(X, 5)
    >>> found.indices.shape, found.recall > 0.99
    ((1000, 5), True)
    """
    cells = _Cells(X, n_jobs)
    n_found = n_neighbors + (queries is None)  # a row finds itself
    asked = _Asked(X, cells.labels, True) if queries is None else cells.ask(queries, n_jobs)
    n_asked = len(asked.rows)
    judged = np.sort(np.random.RandomState(0).permutation(n_asked)[:_JUDGED])
    sample = asked.rows[judged].astype(X.dtype, copy=False)
    true, true_sq_distances = knn(X, n_found, queries=sample)
    n_probes = cells.count_probes(sample, true, recall)
    enough = max(n_probes, cells.count_safe_probes(n_found))
    indices = np.empty((n_asked, n_found), dtype=np.intp)
    sq_distances = np.empty((n_asked, n_found))
    order = np.argsort(asked.labels, kind="stable")

    def search(part: slice) -> None:
        some = order[part]
        indices[some], sq_distances[some] = cells.nearest(asked, some, n_found, n_probes)
        short = some[np.isinf(sq_distances[some, -1])]  # these cells hold too few rows
        if len(short):
            indices[short], sq_distances[short] = cells.nearest(asked, short, n_found, enough)

    for_each(search, list(gen_batches(n_asked, _CHUNK)), n_jobs)
    reached = float((sq_distances[judged] <= true_sq_distances[:, -1:]).mean())
    first = int(queries is None and not include_self)
    last = n_neighbors + first
    return NearNeighbors(indices[:, first:last], sq_distances[:, first:last], reached)


class _Asked(NamedTuple):
    """Rows whose neighbours are looked for, the cell of each, and if they are those searched."""

    rows: Rows
    labels: NDArray[np.intp]
    are_own: bool


class _Cells:
    """Rows in the order of their cells, and cells in an order in which those nearby follow."""

    def __init__(self, X: NDArray[np.float32], n_jobs: int | None):
        self._X = X
        centers = _train(X, max(1, int(_CELLS_PER_ROOT * len(X) ** 0.5)), n_jobs)
        centers = centers[_tour(centers)]
        used, labels = np.unique(assign(X, centers, n_jobs), return_inverse=True)
        self.labels = labels.reshape(-1)
        self._order = np.argsort(self.labels, kind="stable")
        self._starts = np.append(0, np.cumsum(np.bincount(self.labels)))
        self._shift = centers.mean(axis=0)
        self._centers = centers[used] - self._shift
        self._rows = X[self._order] - self._shift
        self._norms = np.einsum("ij,ij->i", self._rows, self._rows)
        self._center_norms = np.einsum("ij,ij->i", self._centers, self._centers)

    def ask(self, queries: Rows, n_jobs: int | None) -> _Asked:
        """Put queries into the cells."""
        return _Asked(queries, assign(queries, self._centers + self._shift, n_jobs), False)

    def count_probes(
        self, judged: NDArray[np.float32], true: NDArray[np.intp], recall: float
    ) -> int:
        """Count the cells that some rows must look into to find their true neighbours."""
        tables = self._far(judged - self._shift)
        ranks = tables.argsort(axis=1, kind="stable").argsort(axis=1, kind="stable")
        needed = np.sort(np.take_along_axis(ranks, self.labels[true], axis=1), axis=None)
        return int(needed[int(np.ceil(recall * len(needed))) - 1]) + 1

    def count_safe_probes(self, n_found: int) -> int:
        """Count the cells that hold as many rows as are asked for, however small they are."""
        return int(np.searchsorted(np.cumsum(np.sort(np.diff(self._starts))), n_found)) + 1

    def _far(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Squared distances to all centers, but for what depends on the row alone."""
        return self._center_norms - 2 * (rows @ self._centers.T)

    def nearest(
        self, asked: _Asked, some: NDArray[np.intp], n_found: int, n_probes: int
    ) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """Find the nearest of some of the asked, which come by their cells; a row itself first."""
        n_kept = n_found + _MARGIN
        asking = asked.rows[some].astype(self._X.dtype, copy=False)
        query, row, lower = self._candidates(asking, asked.labels[some], n_kept, n_probes)
        by_query = np.lexsort((lower, query))
        query, row = query[by_query], row[by_query]
        counts = np.bincount(query)
        rank = np.arange(len(query)) - (np.cumsum(counts) - counts)[query]
        query, row, rank = (values[rank < n_kept] for values in (query, row, rank))
        indices = np.full((len(some), n_kept), -1, dtype=np.intp)
        sq_distances = np.full((len(some), n_kept), np.inf)
        indices[query, rank] = row = self._order[row]
        for pairs in row_blocks(len(row), self._X.shape[1]):
            i, j = query[pairs], row[pairs]
            sq_distances[i, rank[pairs]] = pair_sq_distances(asking[i], self._X[j])
        others = (indices != some[:, None]) if asked.are_own else np.zeros_like(indices)
        best = np.lexsort((indices, sq_distances, others))[:, :n_found]
        return (
            np.take_along_axis(indices, best, axis=1),
            np.take_along_axis(sq_distances, best, axis=1),
        )

    def _candidates(
        self, asking: NDArray[np.float32], labels: NDArray[np.intp], n_kept: int, n_probes: int
    ) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
        """Return queries, rows that may be near them, and bounds, by cell."""
        rows = asking - self._shift
        doubled = -2 * rows
        limits = self._limits(doubled, labels, n_kept)
        far = self._far(rows)
        probes = np.argpartition(far, min(n_probes, far.shape[1]) - 1, axis=1)[:, :n_probes]
        by_cell = np.argsort(probes, axis=None, kind="stable")
        query = by_cell // probes.shape[1]
        used, at = np.unique(probes.ravel()[by_cell], return_index=True)
        found = []
        for cell, some in zip(used, np.split(query, at[1:]), strict=True):
            start, stop = self._starts[cell], self._starts[cell + 1]
            lower = doubled[some] @ self._rows[start:stop].T
            lower += self._norms[start:stop]
            near = np.flatnonzero(lower <= limits[some, None])
            i, j = np.divmod(near, stop - start)
            found.append((some[i], j + start, lower.ravel()[near]))
        query, row, lower = map(np.concatenate, zip(*found, strict=True))
        return query, row, lower

    def _limits(
        self, doubled: NDArray[np.float32], labels: NDArray[np.intp], n_kept: int
    ) -> NDArray[np.float32]:
        """Return the distances within which each row has enough neighbours in its own cell."""
        limits = np.full(len(doubled), np.inf, dtype=doubled.dtype)
        for cell in range(labels[0], labels[-1] + 1):
            start, stop = self._starts[cell], self._starts[cell + 1]
            if stop - start < n_kept:
                continue
            own = slice(*np.searchsorted(labels, (cell, cell + 1)))
            lower = doubled[own] @ self._rows[start:stop].T
            lower += self._norms[start:stop]
            # A product of another shape may be rounded otherwise.
            limits[own] = np.partition(lower, n_kept - 1, axis=1)[:, n_kept - 1]
        return limits


def _train(X: NDArray[np.float32], n_cells: int, n_jobs: int | None) -> NDArray[np.float32]:
    """Centers of k-means over a sample, in which no cell is much larger than the others."""
    sample = X[np.random.RandomState(0).permutation(len(X))[: n_cells * _TRAIN_ROWS]]

    def split(rows: NDArray[np.intp], n_parts: int) -> tuple[NDArray[np.intp], NDArray]:
        return _lloyd(sample[rows], n_parts, n_jobs)

    return divide_evenly(len(sample), _TRAIN_ROWS, _LARGE_CELL, split)[1]


def divide_evenly(
    n_rows: int,
    size: int,
    most: float,
    split: Callable[[NDArray[np.intp], int], tuple[NDArray[np.intp], NDArray]],
) -> tuple[list[NDArray[np.intp]], NDArray]:
    """Divide rows into cells of some `size` rows, and those much larger than that again.

    A center amid all rows gathers those that have none of their own, and is near everyone: all
    rows would be compared with all of its cell.

    Parameters
    ----------
    n_rows, size : int
    most : float
        Times its size that a cell may have.
    split : callable
        Divides some rows into so many parts; returns the part of each row, and their centers.

    Returns
    -------
    cells : list of ndarray of int
        Rows of each cell. One of rows that `split` does not part stays as large as it is.
    centers : ndarray of shape (n_cells, d)
    """
    open_, cells, centers = [np.arange(n_rows)], [], []
    while open_:
        rows = open_.pop()
        labels, found = split(rows, -(-len(rows) // size))
        for part, center in zip(members_of(labels, len(found)), found, strict=True):
            # Rows that are not parted are nearly equal, but for some.
            if most * size < len(part) < 0.9 * len(rows):
                open_.append(rows[part])
            elif len(part):
                cells.append(rows[part])
                centers.append(center)
    return cells, np.array(centers)


def members_of(labels: NDArray, n_groups: int = 0) -> list[NDArray[np.intp]]:
    """Rows of each group, in ascending order; of `n_groups` groups at least."""
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.cumsum(np.bincount(labels, minlength=n_groups))[:-1])


def _lloyd(
    rows: NDArray[np.float32], n_cells: int, n_jobs: int | None
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """k-means from the first rows on; unlike scikit-learn's sums, these keep one order."""
    centers = rows[:n_cells]
    for _ in range(_N_ITER):
        labels = assign(rows, centers, n_jobs)
        order = np.argsort(labels, kind="stable")
        _, starts, counts = np.unique(labels[order], return_index=True, return_counts=True)
        sums = np.add.reduceat(rows[order], starts, axis=0, dtype=np.float64)
        centers = (sums / counts[:, None]).astype(rows.dtype)
    return assign(rows, centers, n_jobs), centers


def _tour(centers: NDArray[np.float32]) -> NDArray[np.intp]:
    """Order centers so that each is followed by the nearest of those that are left."""
    centred = centers - centers.mean(axis=0)
    far = np.einsum("ij,ij->i", centred, centred) - 2 * (centred @ centred.T)
    path = np.zeros(len(centers), dtype=np.intp)
    for step in range(1, len(centers)):
        far[:, path[step - 1]] = np.inf
        path[step] = far[path[step - 1]].argmin()
    return path
