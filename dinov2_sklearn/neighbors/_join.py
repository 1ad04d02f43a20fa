"""The similarity join: which rows lie within a radius of each other."""

import threading
import warnings
from collections.abc import Callable
from itertools import pairwise
from math import isqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import euclidean_distances

from ._distances import absolute_error, relative_error
from ._forest import Forest, Pairs, spans
from ._geometry import Rows, RowSubset, exact_rows, row_blocks
from ._shadow import Shadow, cast_rows, cut, product_error, rounded_up, rounding, transposed
from ._threads import for_each

__all__ = ["within"]

# Up to so many rows are compared in all features, without looking for a cheaper way.
_SMALL = 2048
# Rows of one product, and the rows that they are compared with.
_TILE = (512, 2048)
# Rows whose comparisons are one piece of work, and cells whose neighbours are sought together.
_PART, _CELL_GROUP = 4096, 64
# Rows that principal axes are learned from, rows that tell what they would save, and rows that
# the center of a cell is learned from.
_TRAIN, _SAMPLE, _CELL_TRAIN = 20_000, 1024, 32
# How many principal axes are thought of.
_WIDTHS = (8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384)
# What a pair of rows costs, in features of a product: to be looked at, and to be settled.
_LOOK_COST, _SETTLE_COST = 30, 25_000
# Share of the pairs of a tile that is cheaper looked at in all features first.
_DENSE, _FEW = 1 / 64, 64
# Cells pay if they leave no more than this share of the pairs.
_CELLS_PAY = 0.4


def within(
    X: Rows,
    max_sq_distance: float,
    *,
    n_jobs: int | None = None,
    advance: Callable[[int], object] | None = None,
) -> Pairs:
    """Join the rows that lie within a radius of each other, exactly.

    There can be n^2 such pairs, as in a burst of frames that are nearly the same. Returned are
    those of the minimum spanning forest, fewer than there are rows, from which follow for this
    radius and any smaller one the connected groups of rows, and each row's nearest other row.

    Parameters
    ----------
    X : Rows of shape (n, d)
        Distinct rows.
    max_sq_distance : float
        Square of the radius. A pair at this very distance, as differences in float64 give it,
        is within.
    n_jobs : int or None, default=None
        Threads; None is as many as matrix products would take. They change nothing else.
    advance : callable, default=None
        Called with the number of rows that are done, in one thread at a time.

    Returns
    -------
    pairs : Pairs
        The forest. Of pairs equally far, those with lower indices are in it.

    Notes
    -----
    Rows are compared in their first principal components and the length of the rest, in which
    no two rows are farther apart than they are; a sample tells how many components are cheapest.
    Where it pays, rows are grouped around centers first, and a row meets only the cells whose
    border is near enough: rows x and y in the cells of a and b are no nearer than the sum of
    their distances to the plane midway between a and b. What rounding leaves possible is settled
    by differences in float64.

    A pair is left out unsettled if pairs that are surely nearer connect its rows: it is in no
    minimum spanning forest. So a crowd of near-equal rows costs little more than the products of
    its rows, and memory stays linear in n.

    At worst O(n^2 d) time.

    Examples
    --------
    >>> import numpy as np
    >>> from dinov2_sklearn.neighbors import within
    >>> pairs = within(np.array([[0.0], [5.0], [0.5], [1.0]]), 1.0)
    >>> pairs.first, pairs.second, pairs.sq_distances
    (array([0, 2]), array([2, 3]), array([0.25, 0.25]))
    """
    forest = Forest(len(X))
    if len(X) > 1:
        join = _Join(X, max_sq_distance, forest, n_jobs)
        lock = threading.Lock()

        def compare(work: list[_Part]) -> None:
            for part, others in zip(work, join.others_of(work), strict=True):
                join.compare(part.rows, others)
                if advance is not None:
                    with lock:
                        advance(part.rows.stop - part.rows.start)

        for_each(compare, join.share_out(), n_jobs)
    return forest.pairs()


class _Part(NamedTuple):
    """Rows of one cell, as positions in the order of the join."""

    rows: slice
    cell: int


class _Join:
    """Rows in an order, and how those near each other are found among them.

    A position is a place in that order: cell by cell, within a cell by length.
    """

    def __init__(self, X: Rows, max_sq_distance: float, forest: Forest, n_jobs: int | None):
        self._X = X
        self._forest = forest
        self._sq_radius = max_sq_distance
        self._radius = float(np.sqrt(max_sq_distance))
        self._relative = relative_error(X.dtype, X.shape[1])
        self._absolute = absolute_error(X.dtype, X.shape[1])
        train = np.random.RandomState(0).choice(len(X), min(len(X), _TRAIN), replace=False)
        sample = exact_rows(X, np.sort(train))
        mean = sample.mean(axis=0)
        sample -= mean
        centers, share, axes = None, 1.0, None
        if len(X) > _SMALL:
            centers, share = _centers(X, mean, self._radius)
            axes = _axes(sample, self._radius, share)
        del sample
        labels, lengths = _labels(X, mean, centers, n_jobs)
        self._order = np.lexsort((lengths, labels))
        self._lengths = lengths[self._order]
        n_cells = 1 if centers is None else len(centers)
        self._starts = np.searchsorted(labels[self._order], np.arange(n_cells + 1))
        rows = RowSubset(X, self._order)
        self._shadow = Shadow(rows, mean, axes, n_jobs)
        self._cells = None
        if centers is not None:
            self._cells = _Cells(rows, mean, centers, self._starts, self._radius)

    def share_out(self) -> list[list[_Part]]:
        """Cut the cells into parts, and put the parts of a few cells into one piece of work."""
        cells = [
            [_Part(rows, cell) for rows in cut(start, stop, _PART)]
            for cell, (start, stop) in enumerate(pairwise(self._starts.tolist()))
            if stop > start
        ]
        if self._cells is None:
            return [[part] for part in cells[0]]
        groups = cut(0, len(cells), _CELL_GROUP)
        return [[part for cell in cells[group] for part in cell] for group in groups]

    def others_of(self, work: list[_Part]) -> list[NDArray[np.intp]]:
        """Find the positions in later cells that the rows of each part may be near."""
        if self._cells is None:
            return [np.empty(0, dtype=np.intp)] * len(work)
        cells = list(dict.fromkeys(part.cell for part in work))
        found = dict(zip(cells, self._cells.neighbors(cells), strict=True))
        return [found[part.cell] for part in work]

    def compare(self, part: slice, others: NDArray[np.intp]) -> None:
        """Compare a part's rows with each other, with those after them in their cell and others.

        So each pair of rows is met once.
        """
        buffer = np.empty(_TILE[0] * _TILE[1], dtype=self._X.dtype)
        tiles = [(rows, self._shadow[rows]) for rows in cut(part.start, part.stop, _TILE[0])]
        end = int(self._starts[np.searchsorted(self._starts, part.stop)])
        for columns in cut(part.start, end, _TILE[1]):
            # In ascending order of length: all that follow are too long to be near.
            apart = self._lengths[columns.start] - self._lengths[part.stop - 1]
            if apart > self._reach(part, columns):
                break
            right = transposed(self._shadow[columns])
            for rows, left in tiles:
                if rows.start < columns.stop:
                    self._tile(rows, columns, left, right, buffer)
        for chosen in cut(0, len(others), _TILE[1]):
            right = transposed(self._shadow[others[chosen]])
            for rows, left in tiles:
                self._tile(rows, others[chosen], left, right, buffer)

    def _reach(self, rows: slice, columns: slice | NDArray[np.intp]) -> float:
        """Return how far apart rows within the radius can seem."""
        lengths = float(self._lengths[rows].max()) + float(self._lengths[columns].max())
        return self._radius + self._shadow.slack * lengths

    def _tile(
        self,
        rows: slice,
        columns: slice | NDArray[np.intp],
        left: NDArray,
        right: NDArray,
        buffer: NDArray,
    ) -> None:
        """Settle the pairs of some rows and columns that are not surely too far apart."""
        table = buffer[: len(left) * right.shape[1]].reshape(len(left), -1)
        np.matmul(left, right, out=table)
        reach = self._reach(rows, columns)
        limit = rounded_up(reach**2 + product_error(left, right), table.dtype)
        positions = (
            np.arange(columns.start, columns.stop) if isinstance(columns, slice) else columns
        )
        if positions[0] < rows.stop:
            table[positions <= np.arange(rows.start, rows.stop)[:, None]] = np.inf
        if table.min() > limit:
            return
        possible = table <= limit
        first, second = self._order[rows], self._order[positions]
        if np.count_nonzero(possible) > max(_FEW, _DENSE * table.size):
            first, second, possible = self._look_closer(first, second, possible)
        i, j = np.divmod(np.flatnonzero(possible), possible.shape[1])
        self._settle(first[i], second[j])

    def _look_closer(
        self, first: NDArray, second: NDArray, possible: NDArray[np.bool_]
    ) -> tuple[NDArray, NDArray, NDArray[np.bool_]]:
        """Drop pairs of rows that are too far apart in all features, or not needed."""
        some, others = possible.any(axis=1), possible.any(axis=0)
        a, b = first[some], second[others]
        needed = possible[some][:, others]
        A, B = exact_rows(self._X, a), exact_rows(self._X, b)
        # Amid a crowd, products are as exact as the crowd is small.
        center = B.mean(axis=0)
        A, B = (A - center).astype(self._X.dtype), (B - center).astype(self._X.dtype)
        norms_a, norms_b = (np.einsum("ij,ij->i", rows, rows) for rows in (A, B))
        table = A @ (-2 * B.T)
        table += norms_a[:, None]
        table += norms_b
        error = self._relative * float(norms_a.max() + norms_b.max()) + self._absolute
        # A row that is connected to the crowd at some height needs no longer pair for that.
        limits = [
            rounded_up(np.minimum(heights, self._sq_radius) + error, table.dtype)
            for heights in self._forest.cut.reach(a, b)
        ]
        needed &= (table <= limits[0][:, None]) | (table <= limits[1])
        if np.count_nonzero(needed) > _FEW + 4 * (len(a) + len(b)):
            i, j = np.divmod(np.flatnonzero(needed), len(b))
            distances = table[needed].astype(np.float64)
            tree = spans(len(a) + len(b), i, len(a) + j, distances - error, distances + error)
            needed[:] = False
            needed[i[tree], j[tree]] = True
        return a, b, needed

    def _settle(self, first: NDArray[np.intp], second: NDArray[np.intp]) -> None:
        """Add the pairs that are within the radius to the forest."""
        for part in row_blocks(len(first), self._X.shape[1]):
            i, j = first[part], second[part]
            difference = exact_rows(self._X, i)
            difference -= exact_rows(self._X, j)
            sq_distances = np.einsum("ij,ij->i", difference, difference)
            near = sq_distances <= self._sq_radius
            i, j = i[near], j[near]
            self._forest.add(Pairs(np.minimum(i, j), np.maximum(i, j), sq_distances[near]))


def _axes(sample: NDArray[np.float64], radius: float, share: float) -> NDArray[np.float64] | None:
    """Choose principal axes by what the search would cost; None for all features.

    No more than a third of the features: rows on these axes are kept, beside those given. `share`
    is how many of all pairs are compared: those that are near are among them.
    """
    d = sample.shape[1]
    axes = np.linalg.eigh(sample.T @ sample)[1][:, ::-1]
    kept = sample[:_SAMPLE] @ axes
    norms = np.einsum("ij,ij->i", kept, kept)
    sq_distances = np.zeros((len(kept), len(kept)))
    every_distance = euclidean_distances(kept, squared=True)
    best, cheapest = None, _cost(d, every_distance, radius, share)
    for low, high in pairwise([0, *(w for w in _WIDTHS if w <= d // 3)]):
        part = kept[:, low:high]
        sq_distances += euclidean_distances(part, squared=True)
        norms = norms - np.einsum("ij,ij->i", part, part)
        rest = np.sqrt(np.maximum(norms, 0))
        cost = _cost(high, sq_distances + (rest[:, None] - rest) ** 2, radius, share)
        if cost < cheapest:
            best, cheapest = axes[:, :high], cost
    return best


def _cost(width: int, sq_distances: NDArray, radius: float, share: float) -> float:
    """Estimate what comparing costs in so many features, by the distances of a sample."""
    near = float(np.mean(sq_distances <= radius**2)) - 1 / len(sq_distances)
    return share * (width + _LOOK_COST) + _SETTLE_COST * near


def _labels(
    X: Rows, mean: NDArray[np.float64], centers: NDArray | None, n_jobs: int | None
) -> tuple[NDArray[np.int32], NDArray]:
    """Label each row with a center that is near, 0 without any, and measure how long it is."""
    labels = np.zeros(len(X), dtype=np.int32)
    lengths = np.empty(len(X), dtype=X.dtype)
    right = None if centers is None else transposed(centers)

    def label(part: slice) -> None:
        rows = cast_rows(X, part, mean)
        lengths[part] = np.sqrt(rows[:, -2])
        if right is not None:
            labels[part] = (rows @ right).argmin(axis=1)

    for_each(label, row_blocks(len(X), X.shape[1] if right is None else max(right.shape)), n_jobs)
    return labels, lengths


def _centers(X: Rows, mean: NDArray[np.float64], radius: float) -> tuple[NDArray | None, float]:
    """Return centers of cells, in all features, and the share of pairs that they leave.

    None and 1 where they would save too little.
    """
    n_cells = isqrt(len(X))
    draw = np.random.RandomState(0).permutation(len(X))[: n_cells * _CELL_TRAIN]
    sample = RowSubset(X, np.sort(draw))
    rows = cast_rows(sample, slice(None), mean)[:, :-2]
    model = KMeans(n_cells, init="random", n_init=1, max_iter=5, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # rows that rounding makes equal
        model.fit(rows)
    centers = np.ones((n_cells, rows.shape[1] + 2), dtype=rows.dtype)
    centers[:, :-2] = model.cluster_centers_
    centers[:, -2] = np.einsum("ij,ij->i", centers[:, :-2], centers[:, :-2])
    order = np.argsort(model.labels_, kind="stable")
    starts = np.searchsorted(model.labels_[order], np.arange(n_cells + 1))
    cells = _Cells(RowSubset(sample, order), mean, centers, starts, radius)
    left = [len(others) for others in cells.neighbors(list(range(n_cells)))]
    n_pairs = np.diff(starts) @ (np.diff(starts) / 2 + left)
    share = float(n_pairs) / (len(order) ** 2 / 2)
    return (centers, share) if share < _CELLS_PAY else (None, 1.0)


class _Cells:
    """Which rows may be near a cell, by their distance to the border between it and their own.

    The border of two cells is the plane midway between their centers. A row's margin is its
    distance to that plane, negative beyond it: two rows are no nearer than the sum of theirs.
    """

    def __init__(
        self,
        X: Rows,
        mean: NDArray[np.float64],
        centers: NDArray,
        starts: NDArray,
        radius: float,
    ):
        self._X = X
        self._mean = mean
        self._right = transposed(centers)
        self._starts = starts
        self._labels = np.repeat(np.arange(len(centers)), np.diff(starts))
        # What rounding of the margins themselves may take away.
        self._radius = radius * (1 + 1e-5)
        apart = np.sqrt(np.maximum(centers @ self._right, 0).astype(np.float64))
        # Between centers at one place there is no border: no margin.
        with np.errstate(divide="ignore"):
            self._scale = np.where(apart > 0, 0.5 / apart, 0).astype(centers.dtype)
        np.fill_diagonal(self._scale, 0)
        self._own = np.empty(len(X), dtype=centers.dtype)
        self._least = np.full(self._scale.shape, np.inf, dtype=centers.dtype)
        for cell, (start, stop) in enumerate(pairwise(starts.tolist())):
            for part in cut(start, stop, _PART):
                rows = cast_rows(X, part, mean)
                table = rows @ self._right
                self._own[part] = table[:, cell]
                margins = self._margins(rows, table, part, np.arange(len(centers)))
                np.minimum(self._least[cell], margins.min(axis=0), out=self._least[cell])

    def _margins(
        self, rows: NDArray, table: NDArray, part: slice, cells: NDArray[np.intp]
    ) -> NDArray:
        """Lower bounds of the margins of some rows towards cells, from distances to centers."""
        error = 2 * product_error(rows, self._right)
        margins = table - self._own[part, None]
        margins -= margins.dtype.type(error)
        margins *= self._scale[self._labels[part, None], cells]
        margins -= rounding(rows.dtype) * np.sqrt(rows[:, -2].max())
        return margins

    def neighbors(self, cells: list[int]) -> list[NDArray[np.intp]]:
        """Find for each cell the rows of later cells that may be near one of its rows."""
        chosen = np.array(cells)
        ends = self._starts[chosen + 1]
        right = np.ascontiguousarray(self._right[:, chosen])
        which, found = [], []
        for part in cut(int(ends[0]), len(self._labels), _PART):
            block = cast_rows(self._X, part, self._mean)
            margins = self._margins(block, block @ right, part, chosen)
            margins += self._least[chosen[:, None], self._labels[part]].T
            possible = (margins <= self._radius).T
            possible &= np.arange(part.start, part.stop) >= ends[:, None]
            cell, row = np.nonzero(possible)
            which.append(cell.astype(np.int32))  # half as large: there can be many
            found.append((row + part.start).astype(np.int32))
        if not found:
            return [np.empty(0, dtype=np.intp)] * len(cells)
        cell = np.concatenate(which)
        rows = np.concatenate(found)[np.argsort(cell, kind="stable")]
        return np.split(rows, np.cumsum(np.bincount(cell, minlength=len(cells)))[:-1])
