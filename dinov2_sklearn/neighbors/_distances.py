"""Exact distances in blocks, shared by the picks, the novelty scores and the metrics."""

import numpy as np
from sklearn.neighbors import NearestNeighbors
from sklearn.utils import gen_batches

from ._geometry import Rows, row_blocks

# Rows that are searched for neighbours at a time, in a centred copy.
_NEIGHBOR_BLOCK = 2**16


def pair_sq_distances(A: np.ndarray, B: np.ndarray) -> np.ndarray:
    """Squared distance of each row of `A` to the same row of `B` (or to the one row `B`).

    The difference is taken first and in float64, so that close rows keep all their digits and
    equal rows are exactly 0 apart.
    """
    difference = A.astype(np.float64)
    difference -= B
    return np.einsum("ij,ij->i", difference, difference)


def own_center_sq_distances(X: Rows, centers: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Squared distance of each row of `X` to ``centers[label]`` of its own label."""
    sq_distances = np.empty(len(X))
    for rows in row_blocks(len(X), X.shape[1]):
        sq_distances[rows] = pair_sq_distances(X[rows], centers[labels[rows]])
    return sq_distances


def relative_error(dtype: np.dtype, d: int) -> float:
    """Bound the error of an expanded squared distance, as a share of ``|x|^2 + |c|^2``.

    ``|x|^2 - 2 x.c + |c|^2`` is computed from a row x and a center c of d centred and rounded
    entries, in a precision whose unit roundoff is u. With ``s = |x|^2 + |c|^2``:

    - rounding the centred entries moves the squared distance by at most
      ``2 u (|x| + |c|)^2 <= 4 u s``;
    - a product of d terms is off by at most ``d u |x||c|``, in whatever order it is summed [1]_:
      twice that is ``d u s``; the squared norms are off by ``d u s`` as well;
    - three more roundings cost at most ``6 u s``;
    - the float64 distance by differences, which decides, is itself off by ``(d + 2) 2^-53`` of
      at most ``2 s``.

    Together this is ``(2 d + 10) u s + (2 d + 4) 2^-53 s``. Here stand 5% and some more, for
    terms of second order: enough while ``d u < 0.02``.

    References
    ----------
    .. [1] N. J. Higham, "Accuracy and stability of numerical algorithms", section 3.1, SIAM,
       2002.
    """
    u = float(np.finfo(dtype).eps) / 2
    return (2.1 * d + 32) * u + (2.1 * d + 8) * 2.0**-53


def absolute_error(dtype: np.dtype, d: int) -> float:
    """Bound what underflow adds: each product loses no more than the smallest normal number."""
    return 8.0 * d * float(np.finfo(dtype).tiny)


def nearest(
    X: Rows, centers: np.ndarray, *, before: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Find the nearest of `centers` for every row of `X`, exactly and row by row.

    Parameters
    ----------
    X : ndarray or UnitRows of shape (n, d)
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
    search = _CenterSearch(distinct)
    for rows in row_blocks(len(X), max(len(distinct), X.shape[1])):
        block = X[rows]
        barred = None if before is None else kept[None, :] >= before[rows, None]
        possible = search.possible(block, barred)
        chosen, sq_distances[rows] = _nearest_of_pairs(block, distinct, *np.nonzero(possible))
        indices[rows] = np.where(chosen < 0, -1, kept[chosen])
    return indices, sq_distances


class _CenterSearch:
    """Tells which centers may be the nearest to rows, from matrix products alone."""

    def __init__(self, centers: np.ndarray):
        self._shift = centers.mean(axis=0, dtype=np.float64).astype(centers.dtype)
        centred = centers - self._shift
        self._norms = np.einsum("ij,ij->i", centred, centred).astype(np.float64)
        self._scaled = -2 * centred.T
        self._relative = relative_error(centers.dtype, centers.shape[1])
        self._absolute = absolute_error(centers.dtype, centers.shape[1])

    def possible(self, block: np.ndarray, barred: np.ndarray | None) -> np.ndarray:
        """Mask, of shape (rows, centers), of the centers that rounding leaves possible."""
        block = block - self._shift
        norms = np.einsum("ij,ij->i", block, block).astype(np.float64)
        # Lower bounds of the distances, less what is the same for all centers.
        lower = block @ self._scaled
        lower += ((1 - self._relative) * self._norms).astype(block.dtype)
        if barred is not None:
            lower[barred] = np.inf
        best = lower.argmin(axis=1)
        width = 2 * (self._relative * (norms + self._norms[best]) + self._absolute)
        limit = lower[np.arange(len(block)), best] + width
        # Rounded upwards, so that the best center itself always remains.
        mask: np.ndarray = lower <= np.nextafter(limit.astype(block.dtype), np.inf)[:, None]
        return mask if barred is None else mask & ~barred


def _nearest_of_pairs(
    X: np.ndarray, centers: np.ndarray, row: np.ndarray, center: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Nearest center of each row among the pairs to compare, by differences in float64."""
    chosen = np.full(len(X), -1, dtype=np.intp)
    smallest = np.full(len(X), np.inf)
    for pairs in row_blocks(len(row), X.shape[1]):
        i, j = row[pairs], center[pairs]
        sq_distances = pair_sq_distances(X[i], centers[j])
        # The pairs come by row and then by center: the first of equal distances stays.
        order = np.lexsort((sq_distances, i))
        starts = np.flatnonzero(np.diff(i[order], prepend=-1))
        first = order[starts]
        first = first[sq_distances[first] < smallest[i[first]]]
        chosen[i[first]], smallest[i[first]] = j[first], sq_distances[first]
    return chosen, smallest


def assign(X: Rows, centers: np.ndarray) -> np.ndarray:
    """Label each row with the nearest of `centers`, or with another that is as near to rounding.

    One matrix product a block: where exactness matters, use `nearest`.
    """
    shift = centers.mean(axis=0, dtype=np.float64).astype(centers.dtype)
    centred = centers - shift
    norms = np.einsum("ij,ij->i", centred, centred)
    labels = np.empty(len(X), dtype=np.intp)
    for rows in row_blocks(len(X), max(len(centers), X.shape[1])):
        table = (X[rows] - shift) @ (-2 * centred.T)
        table += norms
        labels[rows] = table.argmin(axis=1)
    return labels


def sq_distances_to_earlier(rows: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Squared distance of each of `rows` to the nearest of `start` and of the rows before it."""
    everything = np.concatenate([start, rows])
    before = np.arange(len(start), len(everything))
    return nearest(rows, everything, before=before)[1]


def neighbor_sq_distances(X: Rows, n_neighbors: int) -> np.ndarray:
    """Squared distances of every row to its nearest other rows, nearest first.

    At most ``len(X) - 1`` neighbours are returned, so a row alone has none. Exact brute force,
    O(n^2 d) time, in blocks.
    """
    n_neighbors = min(n_neighbors, len(X) - 1)
    found = np.full((len(X), n_neighbors), np.inf)
    if n_neighbors == 0:
        return found
    # Centred: scikit-learn's expanded form loses small distances far from the origin.
    center = X[:: max(1, len(X) // 4096)].mean(axis=0, dtype=np.float64).astype(X.dtype)
    for others in gen_batches(len(X), _NEIGHBOR_BLOCK):
        block = X[others]
        # One more than asked for: a row finds itself.
        n_found = min(n_neighbors + 1, len(block))
        search = NearestNeighbors(n_neighbors=n_found, algorithm="brute").fit(block - center)
        for rows in row_blocks(len(X), X.shape[1]):
            mine = X[rows]
            neighbors = search.kneighbors(mine - center, return_distance=False)
            sq_distances = np.stack(
                [pair_sq_distances(mine, block[column]) for column in neighbors.T], axis=1
            )
            itself = np.arange(rows.start, rows.stop)[:, None] == neighbors + others.start
            sq_distances[itself] = np.inf
            both = np.concatenate([found[rows], sq_distances], axis=1)
            both.sort(axis=1)
            found[rows] = both[:, :n_neighbors]
    return found
