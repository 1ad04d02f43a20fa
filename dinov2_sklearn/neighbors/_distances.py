"""Nearest rows, exactly: products in the rows' own precision bound, differences in float64 settle.

Every search here has one rounding and one order. A matrix product bounds the squared distances;
what its rounding error leaves possible is compared by differences, taken and summed in float64.
So a row's result does not depend on the rows beside it, on the blocks or on the threads. Rows
equally far come in ascending order of index, a row itself before them where it counts.
"""

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import gen_batches

from ._geometry import Rows, RowSubset, row_blocks
from ._rows import first_occurrences
from ._threads import for_each

__all__ = [
    "absolute_error",
    "assign",
    "knn",
    "nearest",
    "own_center_sq_distances",
    "pair_sq_distances",
    "relative_error",
    "sq_distances_to_earlier",
]

# Rows that a block of queries is compared with in one product.
_CHUNK = 4096
# Random directions in which a center close by is looked for; the multiplications that make it
# worth while, and the share of the centers that may be left by it.
_SKETCH_SIZE, _MUCH_WORK, _SHARE_LEFT = 64, 2**34, 0.1
# Rows that tell that share, and rows of one center that are compared with what is left for them.
_PROBES, _ROWS_OF_ONE = 512, 64


def pair_sq_distances(A: NDArray, B: NDArray) -> NDArray:
    """Squared distance of each row of `A` to the same row of `B` (or to the one row `B`).

    The difference is taken first and in float64, so that close rows keep all their digits and
    equal rows are exactly 0 apart.
    """
    difference = A.astype(np.float64)
    difference -= B
    return np.einsum("ij,ij->i", difference, difference)


def own_center_sq_distances(X: Rows, centers: NDArray, labels: NDArray) -> NDArray:
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
    X: Rows, centers: NDArray, *, before: NDArray | None = None
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Find the nearest of `centers` for every row of `X`, exactly and row by row.

    Parameters
    ----------
    X : Rows of shape (n, d)
    centers : Rows of shape (m, d)
    before : ndarray of shape (n,), default=None
        Row ``i`` may only use the centers at positions smaller than ``before[i]``.

    Returns
    -------
    indices : ndarray of shape (n,)
        Position in `centers`, the lowest one in a tie; -1 for a row that may use none.
    sq_distances : ndarray of shape (n,), float64
        Squared Euclidean distances, infinite for a row that may use none.

    Examples
    --------
    >>> import numpy as np
    >>> from dinov2_sklearn.neighbors import nearest
    >>> nearest(np.array([[0.0], [4.0]]), np.array([[1.0], [3.0]]))
    (array([0, 1]), array([1., 1.]))
    """
    if len(centers) == 0:
        return np.full(len(X), -1, dtype=np.intp), np.full(len(X), np.inf)
    kept = np.flatnonzero(first_occurrences(centers)[0])
    # Equal centers tie everywhere: only the first of them can win.
    distinct = centers if len(kept) == len(centers) else RowSubset(centers, kept)
    if before is None:
        try:
            with np.errstate(over="raise", invalid="raise"):
                if _is_sketched(X, distinct):
                    indices, sq_distances = _by_guess(X, distinct, _guess(X, distinct))
                    return kept[indices], sq_distances
        except FloatingPointError:  # squares beyond float32
            pass
    places = None if before is None else np.searchsorted(kept, before)
    indices, sq_distances = _search(X, distinct, 1, places)
    indices, sq_distances = indices[:, 0], sq_distances[:, 0]
    return np.where(indices < 0, -1, kept[indices]), sq_distances


def _is_sketched(X: Rows, centers: Rows) -> bool:
    """Tell whether a guess for each row leaves few centers that it must be compared with."""
    if len(X) * len(centers) * X.shape[1] < _MUCH_WORK or X.shape[1] < 4 * _SKETCH_SIZE:
        return False
    probes = X[:: max(1, len(X) // _PROBES)]
    guess = centers[_guess(probes, centers)]
    # In float64, as a probe may lie beyond what float32 can square.
    away = pair_sq_distances(probes, guess)
    shift = guess[0].astype(np.float64)
    table, norms = _expanded(guess - shift, centers[:: max(1, len(centers) // _PROBES)] - shift)
    share = np.count_nonzero(table <= 4 * away[:, None] - norms[:, None]) / table.size
    return bool(share <= _SHARE_LEFT)


def _expanded(rows: NDArray, centers: NDArray) -> tuple[NDArray, NDArray]:
    """Squared distances of rows and centers less the rows' squared norms, and these norms."""
    table = rows @ (-2 * centers.T)
    table += np.einsum("ij,ij->i", centers, centers)
    return table, np.einsum("ij,ij->i", rows, rows)


def _guess(X: Rows, centers: Rows) -> NDArray[np.intp]:
    """Find for each row a center that is near it in a few random directions."""
    # A constant seed: directions decide how long it takes, never what is found.
    directions = np.random.RandomState(0).normal(size=(X.shape[1], _SKETCH_SIZE)).astype(X.dtype)
    shift = centers[:1]
    sketches = (centers[:] - shift) @ directions
    guess = np.empty(len(X), dtype=np.intp)

    def look(part: slice) -> None:
        with np.errstate(over="raise", invalid="raise"):
            guess[part] = _expanded((X[part] - shift) @ directions, sketches)[0].argmin(axis=1)

    for_each(look, row_blocks(len(X), max(len(centers), X.shape[1])))
    return guess


def _by_guess(
    X: Rows, centers: Rows, guess: NDArray[np.intp]
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Find the nearest center of every row, given one that is near.

    With x at u from the center q, a center p is no nearer than ``|q - p| - u``: those that are
    2 u or more from q need not be looked at [1]_.

    References
    ----------
    .. [1] C. Elkan, "Using the triangle inequality to accelerate k-means", ICML 2003.
    """
    indices, sq_distances = np.empty(len(X), dtype=np.intp), np.empty(len(X))
    order = np.argsort(guess, kind="stable")
    ends = np.searchsorted(guess[order], np.arange(len(centers)), side="right")
    starts = np.append(0, ends[:-1])

    def search(part: slice) -> None:
        with np.errstate(over="raise", invalid="raise"):
            around = _Best(centers[part], centers[part.start], 1)
            chunks = gen_batches(len(centers), _CHUNK)
            lower = np.concatenate([around.lower_bounds(centers[c]) for c in chunks], axis=1)
            for q, bounds in zip(range(part.start, part.stop), lower, strict=True):
                search_around(q, bounds, order[starts[q] : ends[q]])

    def search_around(q: int, bounds: NDArray, rows: NDArray[np.intp]) -> None:
        away = pair_sq_distances(X[rows], centers[q])
        rows = rows[np.argsort(away, kind="stable")]
        away.sort()
        bounds[q] = 0
        for start in range(0, len(rows), _ROWS_OF_ONE):
            few = slice(start, start + _ROWS_OF_ONE)
            near = np.flatnonzero(bounds <= 4 * away[few][-1] * (1 + 1e-9))
            best = _best_of(X[rows[few]], RowSubset(centers, near), centers[q], 1, None)
            indices[rows[few]] = near[best.indices[:, 0]]
            sq_distances[rows[few]] = best.sq_distances[:, 0]

    for_each(search, list(gen_batches(len(centers), _ROWS_OF_ONE)))
    return indices, sq_distances


def knn(
    X: Rows, n_neighbors: int, *, queries: Rows | None = None, include_self: bool = False
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Find the nearest rows of every row, or of every query, exactly.

    Parameters
    ----------
    X : Rows of shape (n, d)
    n_neighbors : int
        Rows to find for each; no more are found than there are.
    queries : Rows of shape (m, d), default=None
        Whose neighbours are looked for. None means each row of X, among the other rows.
    include_self : bool, default=False
        Without `queries`: whether a row comes first among its own neighbours.

    Returns
    -------
    indices : ndarray of int of shape (m, n_found)
        Nearest first; rows equally far in ascending order.
    sq_distances : ndarray of shape (m, n_found), float64
        Squared Euclidean distances.

    Notes
    -----
    O(n m d) time at the speed of matrix products, in threads, and memory for blocks beside the
    result. Without queries, equal rows are searched once.

    Examples
    --------
    >>> import numpy as np
    >>> from dinov2_sklearn.neighbors import knn
    >>> knn(np.array([[0.0], [1.0], [3.0]]), 1)
    (array([[1],
           [0],
           [1]]), array([[1.],
           [1.],
           [4.]]))
    """
    if queries is not None:
        return _search(queries, X, min(n_neighbors, len(X)))
    is_first, place = first_occurrences(X)
    distinct = X if is_first.all() else RowSubset(X, np.flatnonzero(is_first))
    # One more than asked for: a row finds itself.
    n_found = min(n_neighbors + 1, len(X))
    found = _search(distinct, distinct, min(n_found, len(distinct)))
    if distinct is not X:
        found = _expand(*found, place, n_found)
    indices, sq_distances = _without_self(found[0][place], found[1][place])
    if include_self:
        indices = np.insert(indices, 0, np.arange(len(X)), axis=1)
        sq_distances = np.insert(sq_distances, 0, 0.0, axis=1)
    return indices[:, :n_neighbors], sq_distances[:, :n_neighbors]


def _expand(
    indices: NDArray[np.intp], sq_distances: NDArray[np.float64], place: NDArray, n_found: int
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Put all equal rows, by `place`, where the first of them was found; keep `n_found`."""
    counts = np.bincount(place)
    starts = np.cumsum(counts) - counts
    width = min(n_found, int(counts.max()))
    # The first members of each set of equal rows, -1 where a set is smaller.
    ranks = np.arange(width)
    members = np.argsort(place, kind="stable")[np.minimum(starts[:, None] + ranks, len(place) - 1)]
    members[ranks >= counts[:, None]] = -1
    rows = np.empty((len(indices), n_found), dtype=np.intp)
    distances = np.empty((len(indices), n_found))
    for part in row_blocks(len(indices), width * indices.shape[1]):
        every = members[indices[part]].reshape(part.stop - part.start, -1)
        of_every = np.where(every < 0, np.inf, np.repeat(sq_distances[part], width, axis=1))
        order = np.lexsort((every, of_every))[:, :n_found]
        rows[part] = np.take_along_axis(every, order, axis=1)
        distances[part] = np.take_along_axis(of_every, order, axis=1)
    return rows, distances


def _without_self(
    indices: NDArray[np.intp], sq_distances: NDArray[np.float64]
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Take each row out of its own neighbours."""
    others = indices != np.arange(len(indices))[:, None]
    # Among more equal rows than were found, the row itself may be missing: the last one goes.
    others[others.all(axis=1), -1] = False
    shape = (len(indices), indices.shape[1] - 1)
    return indices[others].reshape(shape), sq_distances[others].reshape(shape)


def _search(
    queries: Rows, rows: Rows, n_neighbors: int, before: NDArray | None = None
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Find the nearest `n_neighbors` of the rows, -1 and infinitely far where there are fewer.

    Query ``i`` may use only the rows before ``before[i]``.
    """
    indices = np.full((len(queries), n_neighbors), -1, dtype=np.intp)
    sq_distances = np.full((len(queries), n_neighbors), np.inf)
    if n_neighbors == 0:
        return indices, sq_distances
    shift = rows[:: max(1, len(rows) // 4096)].mean(axis=0, dtype=np.float64).astype(rows.dtype)

    def search(part: slice) -> None:
        barred = None if before is None else before[part]
        try:
            with np.errstate(over="raise", invalid="raise"):
                best = _best_of(queries[part], rows, shift, n_neighbors, barred)
        except FloatingPointError:  # squares beyond float32
            best = _best_of(queries[part].astype(np.float64), rows, shift, n_neighbors, barred)
        indices[part], sq_distances[part] = best.indices, best.sq_distances

    for_each(search, row_blocks(len(queries), max(min(len(rows), _CHUNK), queries.shape[1])))
    return indices, sq_distances


def _best_of(
    queries: NDArray, rows: Rows, shift: NDArray, n_neighbors: int, before: NDArray | None
) -> "_Best":
    best = _Best(queries, shift, n_neighbors)
    for chunk in gen_batches(len(rows), _CHUNK):
        barred = None
        if before is not None:
            barred = np.arange(chunk.start, chunk.stop) >= before[:, None]
        best.compare(rows[chunk], chunk.start, barred)
    return best


class _Best:
    """The nearest rows of some queries, among those that they were compared with."""

    def __init__(self, queries: NDArray, shift: NDArray, n_neighbors: int):
        self.indices = np.full((len(queries), n_neighbors), -1, dtype=np.intp)
        self.sq_distances = np.full((len(queries), n_neighbors), np.inf)
        self._queries = queries
        self._shift = shift
        self._centred = queries - shift
        self._norms = np.einsum("ij,ij->i", self._centred, self._centred).astype(np.float64)
        coarse = max(queries.dtype, shift.dtype, key=lambda dtype: np.finfo(dtype).eps)
        self._relative = relative_error(coarse, queries.shape[1])
        self._absolute = absolute_error(coarse, queries.shape[1])

    def compare(self, rows: NDArray, start: int, barred: NDArray | None) -> None:
        """Take the next rows into account; `barred` is a mask of pairs that do not count."""
        lower, norms = self._less_own_share(rows)
        if barred is not None:
            lower[barred] = np.inf
        limit = np.minimum(self._known_limit(), self._limit_among(lower, norms))
        # Rounded upwards, so that what the limit comes from always remains.
        possible = lower <= np.nextafter(limit.astype(lower.dtype), np.inf)[:, None]
        if barred is not None:
            possible &= ~barred
        query, row = np.divmod(np.flatnonzero(possible), len(rows))
        for pairs in row_blocks(len(query), rows.shape[1]):
            i, j = query[pairs], row[pairs]
            self._merge(i, start + j, pair_sq_distances(self._queries[i], rows[j]))

    def lower_bounds(self, rows: NDArray) -> NDArray:
        """Bound the squared distances of all queries and rows."""
        return self._less_own_share(rows)[0] + self._own_share()[:, None]

    def _less_own_share(self, rows: NDArray) -> tuple[NDArray, NDArray[np.float64]]:
        """Return lower bounds less what is the same for all rows, and the rows' squared norms."""
        centred = rows.astype(self._centred.dtype, copy=False) - self._shift
        norms = np.einsum("ij,ij->i", centred, centred).astype(np.float64)
        lower = self._centred @ (-2 * centred.T)
        lower += ((1 - self._relative) * norms).astype(lower.dtype)
        return lower, norms

    def _own_share(self) -> NDArray[np.float64]:
        return (1 - self._relative) * self._norms - self._absolute

    def _known_limit(self) -> NDArray[np.float64]:
        """Return the distances to be beaten, as lower bounds are written."""
        return self.sq_distances[:, -1] - self._own_share()

    def _limit_among(self, lower: NDArray, norms: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what enough of these rows stay below, as far as rounding can tell."""
        n_neighbors = self.indices.shape[1]
        if n_neighbors > lower.shape[1] or not np.isinf(self.sq_distances[:, -1]).any():
            return np.full(len(lower), np.inf)
        if n_neighbors == 1:
            low = lower.argmin(axis=1)[:, None]
        else:
            low = np.argpartition(lower, n_neighbors - 1, axis=1)[:, :n_neighbors]
        width = 2 * (self._relative * (self._norms[:, None] + norms[low]) + self._absolute)
        return (np.take_along_axis(lower, low, axis=1) + width).max(axis=1)

    def _merge(self, query: NDArray, row: NDArray, sq_distances: NDArray) -> None:
        """Keep the nearest of those known and these; of equally far ones the lowest."""
        touched, query = np.unique(query, return_inverse=True)
        known = np.repeat(np.arange(len(touched)), self.indices.shape[1])
        query = np.concatenate([known, query.reshape(-1)])
        row = np.concatenate([self.indices[touched].ravel(), row])
        sq_distances = np.concatenate([self.sq_distances[touched].ravel(), sq_distances])
        order = np.lexsort((row, sq_distances, query))
        counts = np.bincount(query)
        first = (np.cumsum(counts) - counts)[:, None] + np.arange(self.indices.shape[1])
        self.indices[touched] = row[order][first]
        self.sq_distances[touched] = sq_distances[order][first]


def assign(X: Rows, centers: NDArray, n_jobs: int | None = None) -> NDArray[np.intp]:
    """Label each row with the nearest of `centers`, or with another that is as near to rounding.

    One matrix product a block: where exactness matters, use `nearest`.
    """
    shift = centers.mean(axis=0, dtype=np.float64).astype(centers.dtype)
    centred = centers - shift
    norms = np.einsum("ij,ij->i", centred, centred)
    doubled = -2 * centred.T
    labels = np.empty(len(X), dtype=np.intp)

    def label(rows: slice) -> None:
        table = (X[rows] - shift) @ doubled
        table += norms
        labels[rows] = table.argmin(axis=1)

    for_each(label, row_blocks(len(X), max(len(centers), X.shape[1])), n_jobs)
    return labels


def sq_distances_to_earlier(rows: NDArray, start: NDArray) -> NDArray:
    """Squared distance of each of `rows` to the nearest of `start` and of the rows before it."""
    everything = np.concatenate([start, rows])
    before = np.arange(len(start), len(everything))
    return nearest(rows, everything, before=before)[1]
