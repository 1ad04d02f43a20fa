"""Exact distances in blocks, shared by the picks, the novelty scores and the metrics.

Everything inside this room is Euclidean: `to_geometry` turns cosine input into unit rows, whose
squared Euclidean distance is twice the cosine distance, and `to_metric` turns the squared
distances that the kernels return into what a user sees.
"""

import numpy as np
from sklearn.neighbors import NearestNeighbors
from sklearn.utils import gen_batches

# Elements of a temporary block: 32 MB of float64, small beside the data and large enough for BLAS.
_BLOCK_SIZE = 2**22


def to_geometry(X: np.ndarray, metric: str) -> np.ndarray:
    """Return rows whose Euclidean geometry is that of `metric`; `X` itself if it has it already."""
    if metric == "euclidean":
        return X
    unit = np.empty_like(X, order="C")
    for rows in _row_blocks(len(X), X.shape[1]):
        block = X[rows].astype(np.float64)
        # Scaled by the largest entry first: squares of tiny or huge entries leave float64.
        block /= np.abs(block).max(axis=1, keepdims=True)
        unit[rows] = block / np.sqrt(np.einsum("ij,ij->i", block, block))[:, None]
    return unit


def to_metric(sq_distances: np.ndarray, metric: str) -> np.ndarray:
    """Return distances of `metric` from squared Euclidean ones between geometry rows."""
    return np.sqrt(sq_distances) if metric == "euclidean" else sq_distances / 2


def pair_sq_distances(A: np.ndarray, B: np.ndarray) -> np.ndarray:
    """Squared distance of each row of `A` to the same row of `B` (or to the one row `B`).

    The difference is taken first and in float64, so that close rows keep all their digits and
    equal rows are exactly 0 apart.
    """
    difference = np.subtract(A, B, dtype=np.float64)
    return np.einsum("ij,ij->i", difference, difference)


def own_center_sq_distances(X: np.ndarray, centers: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Squared distance of each row of `X` to ``centers[label]`` of its own label."""
    sq_distances = np.empty(len(X))
    for rows in _row_blocks(len(X), X.shape[1]):
        sq_distances[rows] = pair_sq_distances(X[rows], centers[labels[rows]])
    return sq_distances


def nearest(
    X: np.ndarray, centers: np.ndarray, *, before: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Find the nearest of `centers` for every row of `X`, exactly and row by row.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    centers : ndarray of shape (m, d)
    before : ndarray of shape (n,), default=None
        Row ``i`` may only use the centers at positions smaller than ``before[i]``.

    Returns
    -------
    indices : ndarray of shape (n,)
        Position in `centers`, the lowest one in a tie; -1 for a row that may use none.
    sq_distances : ndarray of shape (n,), float64
        Squared Euclidean distances, infinite for a row that may use none.

    Notes
    -----
    One matrix product a block bounds the distances; the centers that its rounding error leaves
    possible are compared again by direct differences in float64. So a row's result does not
    depend on the rows beside it, and time is O(n m d) at the speed of BLAS.
    """
    indices = np.full(len(X), -1, dtype=np.intp)
    sq_distances = np.full(len(X), np.inf)
    if len(centers) == 0:
        return indices, sq_distances
    # Equal centers tie everywhere: only the first of them can win.
    kept = np.sort(np.unique(centers, axis=0, return_index=True)[1])
    distinct = centers[kept]
    shift = distinct.mean(axis=0, dtype=np.float64).astype(X.dtype)
    shifted = distinct - shift
    for rows in _row_blocks(len(X), max(len(distinct), X.shape[1])):
        lower, upper = _sq_distance_bounds(X[rows] - shift, shifted)
        if before is not None:
            barred = kept[None, :] >= before[rows, None]
            lower[barred] = upper[barred] = np.inf
        possible = (lower <= upper.min(axis=1, keepdims=True)) & np.isfinite(lower)
        chosen, sq_distances[rows] = _nearest_of_pairs(X[rows], distinct, *np.nonzero(possible))
        indices[rows] = np.where(chosen < 0, -1, kept[chosen])
    return indices, sq_distances


def _sq_distance_bounds(X: np.ndarray, centers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of the squared distances, from ``|x|^2 - 2 x.c + |c|^2`` and its rounding error."""
    row_norms = np.einsum("ij,ij->i", X, X)[:, None]
    center_norms = np.einsum("ij,ij->i", centers, centers)
    # A dot product of d terms is off by at most d * eps * |x| |c|, and its parts by less.
    error = 4 * (X.shape[1] + 4) * np.finfo(X.dtype).eps
    lower = X @ centers.T
    lower *= -2
    upper = lower + (1 + error) * center_norms
    upper += (1 + error) * row_norms
    lower += (1 - error) * center_norms
    lower += (1 - error) * row_norms
    return lower, upper


def _nearest_of_pairs(
    X: np.ndarray, centers: np.ndarray, row: np.ndarray, center: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Nearest center of each row among the pairs to compare, by differences in float64."""
    chosen = np.full(len(X), -1, dtype=np.intp)
    smallest = np.full(len(X), np.inf)
    for pairs in _row_blocks(len(row), X.shape[1]):
        i, j = row[pairs], center[pairs]
        sq_distances = pair_sq_distances(X[i], centers[j])
        # The pairs come by row and then by center: the first of equal distances stays.
        order = np.lexsort((j, sq_distances, i))
        first = order[np.unique(i[order], return_index=True)[1]]
        first = first[sq_distances[first] < smallest[i[first]]]
        chosen[i[first]], smallest[i[first]] = j[first], sq_distances[first]
    return chosen, smallest


def sq_distances_to_earlier(rows: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Squared distance of each of `rows` to the nearest of `start` and of the rows before it."""
    everything = np.concatenate([start, rows])
    before = np.arange(len(start), len(everything))
    return nearest(rows, everything, before=before)[1]


def neighbor_sq_distances(X: np.ndarray, n_neighbors: int) -> np.ndarray:
    """Squared distances of every row to its nearest other rows, nearest first.

    At most ``len(X) - 1`` neighbours are returned, so a row alone has none. Exact brute force,
    O(n^2 d) time, in blocks.
    """
    n_neighbors = min(n_neighbors, len(X) - 1)
    if n_neighbors == 0:
        return np.empty((len(X), 0))
    # Centred: scikit-learn's expanded form loses small distances far from the origin.
    centred = X - X.mean(axis=0, dtype=np.float64).astype(X.dtype)
    search = NearestNeighbors(n_neighbors=n_neighbors, algorithm="brute").fit(centred)
    neighbors = search.kneighbors(return_distance=False)
    sq_distances = np.empty(neighbors.shape)
    for rows in _row_blocks(len(X), X.shape[1]):
        for column in range(n_neighbors):
            sq_distances[rows, column] = pair_sq_distances(X[rows], X[neighbors[rows, column]])
    sq_distances.sort(axis=1)
    return sq_distances


def _row_blocks(n_rows: int, width: int) -> list[slice]:
    return list(gen_batches(n_rows, max(1, _BLOCK_SIZE // max(1, width)))) if n_rows else []
