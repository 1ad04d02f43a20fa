"""Exact nearest neighbours by scikit-learn's blocked brute force, with reproducible order."""

import numpy as np
import sklearn
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from ._rows import BLOCK_ROWS

# The blocked search ranks by |x|^2 - 2xy + |y|^2, whose rounding may swap rows that are nearly
# equally far. It is asked for a few rows more than needed; exact distances then settle the order.
SPARE = 8


def self_neighbors(
    rows: NDArray[np.float32], n_neighbors: int
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Find each row's nearest rows, itself first.

    Parameters
    ----------
    rows : ndarray of shape (n_rows, n_features)
    n_neighbors : int
        Neighbours a row, itself included; at most n_rows.

    Returns
    -------
    indices : ndarray of shape (n_rows, n_neighbors)
    distances : ndarray of shape (n_rows, n_neighbors), float64
        Euclidean, ascending. Rows equally far stand in ascending order of index, after the row
        itself.
    """
    found = _search(rows, rows, n_neighbors)
    own = np.arange(len(rows))[:, None]
    # Among more equal rows than the search returns, the row itself may be missing.
    missing = ~(found == own).any(axis=1)
    found[missing, -1] = own[missing, 0]
    indices = np.empty((len(rows), n_neighbors), dtype=np.intp)
    distances = np.empty((len(rows), n_neighbors))
    for start in range(0, len(rows), BLOCK_ROWS):
        part = slice(start, start + BLOCK_ROWS)
        indices[part], distances[part] = _settle(
            rows[part], rows, found[part], n_neighbors, own[part]
        )
    return indices, distances


def nearest_rows(
    queries: NDArray[np.float32], rows: NDArray[np.float32], n_neighbors: int
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Find the rows nearest to each query.

    Parameters
    ----------
    queries : ndarray of shape (n_queries, n_features)
    rows : ndarray of shape (n_rows, n_features)
    n_neighbors : int
        At most n_rows.

    Returns
    -------
    indices : ndarray of shape (n_queries, n_neighbors)
    distances : ndarray of shape (n_queries, n_neighbors), float64
        Euclidean, ascending. Rows equally far stand in ascending order of index.
    """
    return _settle(queries, rows, _search(queries, rows, n_neighbors), n_neighbors)


def _search(
    queries: NDArray[np.float32], rows: NDArray[np.float32], n_neighbors: int
) -> NDArray[np.intp]:
    n_candidates = min(n_neighbors + SPARE, len(rows))
    with sklearn.config_context(assume_finite=True):
        search = NearestNeighbors(n_neighbors=n_candidates, algorithm="brute").fit(rows)
        return search.kneighbors(queries, return_distance=False)


def _settle(
    queries: NDArray[np.float32],
    rows: NDArray[np.float32],
    candidates: NDArray[np.intp],
    n_neighbors: int,
    own: NDArray[np.intp] | None = None,
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Order the candidates by distances from differences; ties: the row itself, then by index."""
    candidates = np.sort(candidates, axis=1)
    offsets = rows[candidates].astype(np.float64)
    offsets -= queries[:, None, :]
    squared = np.einsum("ijk,ijk->ij", offsets, offsets)
    rank = squared if own is None else np.where(candidates == own, -1.0, squared)
    order = np.argsort(rank, axis=1, kind="stable")[:, :n_neighbors]
    distances = np.sqrt(np.take_along_axis(squared, order, axis=1))
    return np.take_along_axis(candidates, order, axis=1), distances
