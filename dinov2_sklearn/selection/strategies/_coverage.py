"""Greedy facility location on squared distances, exact, at the speed of matrix products.

The functions here are pure and know nothing of estimators or metrics: rows in, indices out.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...neighbors import (
    Rows,
    RowSubset,
    absolute_error,
    for_each,
    nearest,
    pair_sq_distances,
    relative_error,
    row_blocks,
)
from ._pairs import N_OTHERS, N_ROWS, Pairs, below, pairs_of_all, pieces_of, products

__all__ = ["Cover", "cover"]

# Pairs of rows to keep where the data is small; 12 bytes each, 16 in float64. Of large data, pairs
# take no more than this share of it.
_PAIRS, _PAIRS_SHARE = 2**23, 0.1
# Rows by which the number of pairs is estimated, and those that a point amid all is the mean of.
_PROBES, _SAMPLE = 256, 4096
# Stale candidates evaluated at once: few at first, as the best of them often settles it.
_FIRST_BATCH, _LAST_BATCH = 32, 512
# Gains are equal that differ by no more than rounding may: so many units in the last place.
_TIE = 128


Improve = Callable[[int, NDArray[np.intp], NDArray[np.float64]], tuple[NDArray, NDArray[np.intp]]]


class Cover(NamedTuple):
    """What greedy choice found.

    Attributes
    ----------
    indices : ndarray of shape (n_picks,)
        Rows in pick order.
    costs : ndarray of shape (n_picks,)
        After each pick, the sum over the rows of mass times squared distance to the nearest pick.
    least_costs : ndarray of shape (n_bounds,)
        What no choice of 1, 2, ... candidates can fall below.
    sq_distances : ndarray of shape (n,)
        Squared distance of each row to the nearest pick, or to what was covered before.
    nearest : ndarray of int of shape (n,)
        Which pick that is, by its rank; negative for what was covered before: -1 is the last row
        of `covered`.
    """

    indices: NDArray[np.intp]
    costs: NDArray[np.float64]
    least_costs: NDArray[np.float64]
    sq_distances: NDArray[np.float64]
    nearest: NDArray[np.intp]


def cover(
    X: Rows,
    n_picks: int,
    *,
    candidates: NDArray[np.bool_],
    mass: NDArray[np.float64],
    references: NDArray | None = None,
    near: Sequence[tuple[NDArray[np.intp], NDArray[np.intp]]] | None = None,
    covered: NDArray | None = None,
    min_sq_distance: float = 0.0,
    n_bounds: int | None = None,
    improve: Improve | None = None,
) -> Cover:
    """Pick rows one by one, each the one that lowers the cost most.

    The cost of picks is the sum over all rows of their mass times the squared distance to the
    nearest pick, or covered row.

    Parameters
    ----------
    X : Rows of shape (n, d), float32 or float64
        Rows to pick from, and to cover, distinct ones. They are copied once, centred, unless
        there is `near`.
    n_picks : int
        How many rows to pick, at most the number of candidates.
    candidates : ndarray of bool of shape (n,)
        Rows that may be picked.
    mass : ndarray of shape (r,)
        Non-negative weights of the rows to be covered.
    references : ndarray of shape (r, d), default=None
        What is to be covered in place of X.
    near : sequence of pairs of arrays of int, default=None
        Some references, in ascending order throughout, and the candidates that may be near
        enough to matter to them. All may matter to all if None.
    covered : ndarray of shape (m, d), default=None
        Rows, of X or not, that count as picked before.
    min_sq_distance : float, default=0.0
        No candidate nearer than this to a pick, or to a covered row, is picked.
    n_bounds : int, default=None
        Number of rows up to which `least_costs` goes; `n_picks` if None.
    improve : callable, default=None
        Gets the candidate of the largest gain, the references that it may be nearer to than all
        picks, and their squared distances to these. Returns the row to pick in its place, and
        those candidates that cannot be picked any more.

    Returns
    -------
    found : Cover
        With fewer picks than `n_picks` where no candidate is left, or none that lowers the cost.

    Notes
    -----
    With ``m_i`` the squared distance of row i to what is covered so far, the gain of a candidate
    c is ``sum_i mass_i max(0, m_i - |x_i - c|^2)``. Gains only shrink as picks are added: the
    value of a set of picks, the cost it takes away, is submodular. So a gain that is out of date
    is an upper bound, and only the candidates whose bound is the largest need be evaluated
    again [1]_, which happens in batches, by matrix products.

    A pair of a row and a candidate has its part in a gain only while ``|x_i - c|^2 < m_i``, and
    once it has none it never has one again. After k picks a row has some n / k candidates that
    are nearer to it than the nearest pick. As soon as so few pairs are left that they can be
    kept, all of them are found in one pass of matrix products, and from there on every gain is
    kept up to date: a pick changes the distances of few rows, and each of these the gains of few
    candidates. Altogether the matrix products amount to one or two comparisons of all pairs of
    rows, however many rows are picked: a product tells of two rows what each is to the other.

    Distances to picks are differences in float64; gains come from products in the precision of
    X. Gains that differ by no more than rounding may are equal, and of equal ones the lowest
    index is picked, so that the picks do not depend on threads. The first pick needs no
    comparison: ``sum_i mass_i |x_i - c|^2`` is least for the row nearest to the mean.

    **Bounds.** Let S be the first t picks, and f the cost that a set takes away. For any k rows
    R, ``f(R) <= f(S + R) <= f(S) + sum of the gains of R after S``, since f is monotone and
    submodular, and that sum is at most that of the k largest gains after S [2]_. So no choice of
    k candidates has a cost below the cost of S less the k largest gains; `least_costs` is the
    largest of these numbers over the prefixes S that were looked at.

    References
    ----------
    .. [1] M. Minoux, "Accelerated greedy algorithms for maximizing submodular set functions",
       Optimization Techniques, 1978.
    .. [2] G. L. Nemhauser, L. A. Wolsey and M. L. Fisher, "An analysis of approximations for
       maximizing submodular set functions", Mathematical Programming 14, 1978.
    """
    greedy = _Greedy(
        X,
        candidates,
        mass,
        references,
        min_sq_distance,
        n_bounds or n_picks,
        copied=near is None,
    )
    greedy.improve = improve
    if covered is not None and len(covered):
        greedy.start_from(covered)
    return greedy.run(n_picks, near)


class _Greedy:
    """State of the greedy choice."""

    def __init__(
        self,
        X: Rows,
        candidates: NDArray[np.bool_],
        mass: NDArray[np.float64],
        references: NDArray | None,
        min_sq_distance: float,
        n_bounds: int,
        *,
        copied: bool,
    ):
        # Products are of centred rows, which keeps their rounding small; differences are not.
        self._rows, self._references = X, X if references is None else references
        center = X[:: max(1, len(X) // _SAMPLE)].mean(axis=0, dtype=np.float64).astype(X.dtype)
        self._X, self._norms = _centred(X, center, copied)
        self._R, self._r_norms = self._X, self._norms
        if references is not None:
            self._R, self._r_norms = _centred(references, center, copied)
        self._mass = mass
        self._weights = mass.astype(X.dtype)
        self._min_sq_distance = min_sq_distance
        # How far a product may be off, at most: for pairs that are settled by differences.
        share, least = relative_error(X.dtype, X.shape[1]), absolute_error(X.dtype, X.shape[1])
        self._slack = share * (self._r_norms + self._norms.max(initial=0)) + least
        self.improve: Improve | None = None
        self.picks: list[int] = []
        self.costs: list[float] = []
        self._least_costs = np.zeros(n_bounds)
        # Upper bounds of the gains; -inf for rows that cannot be picked (any more).
        self._gains = np.where(candidates, np.inf, -np.inf)
        # Candidates whose bound was computed before the last pick.
        self._stale = np.zeros(len(self._X), dtype=bool)
        self._pairs: Pairs | None = None
        self._distances = np.full(len(self._R), np.inf)
        self._nearest = np.full(len(self._R), -1, dtype=np.intp)
        self._cost = np.inf
        # What rounding may leave of a gain that is zero.
        self._noise = 0.0

    def start_from(self, covered: NDArray) -> None:
        """Count rows as picked before."""
        position, self._distances = nearest(self._references, covered)
        self._nearest = position - len(covered)
        if self._min_sq_distance > 0:
            rows = np.flatnonzero(self._is_open())
            close = nearest(RowSubset(self._rows, rows), covered)[1] < self._min_sq_distance
            self._gains[rows[close]] = -np.inf

    def run(
        self, n_picks: int, near: Sequence[tuple[NDArray[np.intp], NDArray[np.intp]]] | None
    ) -> Cover:
        """Pick until there are enough."""
        if n_picks and np.isinf(self._distances).any():
            self._take_most_central()
        self._cost = float(self._mass @ np.where(self._mass > 0, self._distances, 0))
        if self.picks:
            self.costs.append(self._cost)
        if len(self.picks) < n_picks and self._is_open().any():
            if near is not None:
                self._keep_pairs(near)
            elif not self._keep_pairs_if_few():
                self._evaluate_all()
            self._noise = 64 * np.finfo(np.float64).eps * max(self._gains.max(), 0)
            self._note_bounds()
        while len(self.picks) < n_picks and self._pick_next():
            pass
        return Cover(
            np.array(self.picks, dtype=np.intp),
            np.array(self.costs),
            self._least_costs,
            self._distances,
            self._nearest,
        )

    def _is_open(self) -> NDArray[np.bool_]:
        return self._gains > -np.inf

    def _take_most_central(self) -> None:
        """Pick the candidate nearest to the mean of all that is to be covered."""
        mass = self._mass if self._mass.any() else np.ones(len(self._R))
        # In float64, and in blocks, as every row is looked at.
        parts = row_blocks(len(self._R), self._R.shape[1])
        mean = sum(mass[part] @ self._R[part].astype(np.float64) for part in parts) / mass.sum()
        parts = row_blocks(len(self._X), self._X.shape[1])
        sq_distances = np.concatenate([pair_sq_distances(self._X[part], mean) for part in parts])
        sq_distances[~self._is_open()] = np.inf
        least = sq_distances.min()
        ties = sq_distances <= least + _TIE * np.finfo(np.float64).eps * (least + mean @ mean)
        self._take(int(np.argmax(ties)), np.arange(len(self._R)))

    def _take(self, pick: int, rows: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray]:
        """Pick a row; return which of `rows` it is nearer to than all before, and what they had."""
        row, barred = self._rows[pick], np.array([pick])
        if self.improve is not None:
            row, barred = self.improve(pick, rows, self._distances[rows])
        sq_distances = np.concatenate(
            [
                pair_sq_distances(self._references[rows[part]], row)
                for part in row_blocks(len(rows), self._X.shape[1])
            ]
            or [np.empty(0)]
        )
        closer = sq_distances < self._distances[rows]
        rows, sq_distances = rows[closer], sq_distances[closer]
        before = self._distances[rows]
        self._distances[rows] = sq_distances
        self._nearest[rows] = len(self.picks)
        self.picks.append(pick)
        self._gains[barred] = -np.inf
        self._bar_close_to(row)
        return rows, before

    def _bar_close_to(self, row: NDArray) -> None:
        """Put candidates too close to a pick out of the race."""
        if self._min_sq_distance > 0:
            rows = np.flatnonzero(self._is_open())
            close = nearest(RowSubset(self._rows, rows), row[None])[1] < self._min_sq_distance
            self._gains[rows[close]] = -np.inf

    def _pick_next(self) -> bool:
        """Pick the candidate of largest gain, unless there is none."""
        if self._pairs is None:
            self._refresh()
        best = float(self._gains.max())
        if best <= self._noise:
            return False
        pick = int(np.argmax(self._gains >= self._least_tie(best)))
        if self._pairs is None:
            by_product = self._r_norms - 2 * (self._R @ self._X[pick]) + self._norms[pick]
            rows = np.flatnonzero(by_product < self._distances + self._slack)
            rows, before = self._take(pick, rows)
        else:
            rows, before = self._take(pick, self._pairs.rows_of(pick))
            self._gains -= self._pairs.lost_gains(rows, before, self._distances[rows], self._mass)
        self._cost -= float(self._mass[rows] @ (before - self._distances[rows]))
        self.costs.append(max(self._cost, 0.0))
        self._tidy()
        return True

    def _tidy(self) -> None:
        """From time to time, drop pairs that have no part in a gain any more, and note bounds."""
        n_picks = len(self.picks)
        if self._pairs is None:
            self._stale = self._is_open()
            if n_picks & (n_picks - 1) == 0 or n_picks % 32 == 0:
                self._keep_pairs_if_few()
        elif n_picks >= 2 * self._pairs.n_picks:
            self._pairs = self._pairs.thinned(self._distances + self._slack, n_picks)
        if n_picks <= 8 or n_picks % (n_picks // 8) == 0:
            self._note_bounds()

    def _note_bounds(self) -> None:
        """Bound the cost of any choice by what is left to gain."""
        n_bounds = min(len(self._least_costs), len(self._gains))
        largest = np.maximum(self._gains, 0)
        if n_bounds < len(largest):
            largest = np.partition(largest, len(largest) - n_bounds)[-n_bounds:]
        largest = np.sort(largest)[::-1].cumsum()
        least = self._least_costs[:n_bounds]
        np.maximum(least, self._cost - largest, out=least)

    def _least_tie(self, best: float) -> float:
        """Return the least gain that may equal the best but for rounding."""
        return best - (_TIE * float(np.finfo(self._X.dtype).eps) * abs(best) + self._noise)

    # The first picks, by products alone.

    def _refresh(self) -> None:
        """Evaluate candidates anew until none that is out of date may be the best."""
        size = _FIRST_BATCH
        while True:
            best = np.where(self._stale, -np.inf, self._gains).max()
            may_be = self._stale & (self._gains >= self._least_tie(best))
            rows = np.flatnonzero(may_be & self._is_open())
            if len(rows) == 0:
                return
            if len(rows) > size:
                rows = rows[np.argpartition(-self._gains[rows], size)[:size]]
            self._evaluate(rows)
            size = min(2 * size, _LAST_BATCH)

    def _evaluate(self, rows: NDArray[np.intp]) -> None:
        """Compute the gains of some candidates."""
        distances = self._distances.astype(self._X.dtype)
        spare = distances - self._r_norms

        def evaluate(some: NDArray[np.intp]) -> None:
            block, norms = 2 * self._X[some], self._norms[some]
            gains = np.zeros(len(some))
            for start in range(0, len(self._R), N_OTHERS):
                part = slice(start, start + N_OTHERS)
                table = block @ self._R[part].T
                _to_parts_in_gains(table, spare[part], norms[:, None], distances[part])
                gains += table @ self._weights[part]
            self._gains[some] = gains

        for_each(evaluate, _parts(rows, N_ROWS))
        self._stale[rows] = False

    def _evaluate_all(self) -> None:
        """Compute the gains of all candidates; each product serves both of its rows."""
        rows = np.flatnonzero(self._is_open())
        if self._R is not self._X or 2 * len(rows) < len(self._X):
            self._evaluate(rows)
            return
        distances = self._distances.astype(self._X.dtype)
        spare, norms, weights = distances - self._norms, self._norms, self._weights
        pieces = pieces_of(len(self._X))
        sums: dict[int, NDArray[np.float64]] = {}

        def evaluate(i: int) -> None:
            gains = np.zeros(len(self._X))
            for some, part, table in products(self._X, pieces[i]):
                if part != pieces[i]:
                    other = table.T.copy()
                    _to_parts_in_gains(other, spare[some], norms[part, None], distances[some])
                    gains[part] += other @ weights[some]
                _to_parts_in_gains(table, spare[part], norms[some, None], distances[part])
                gains[some] += table @ weights[part]
            sums[i] = gains[pieces[i].start :].copy()

        for_each(evaluate, range(len(pieces)))
        total = np.zeros(len(self._X))
        for i, piece in enumerate(pieces):  # in one order, whichever was done first
            total[piece.start :] += sums.pop(i)
        self._gains[rows] = total[rows]

    # All later picks, by the pairs that matter.

    def _keep_pairs_if_few(self) -> bool:
        """Find all pairs that have a part in a gain, if there is room for them."""
        n = len(self._R)
        probes = np.unique(np.linspace(0, n - 1, _PROBES).astype(np.intp))
        table = self._norms - 2 * (self._R[probes] @ self._X.T)
        limit = self._distances[probes] + self._slack[probes] - self._r_norms[probes]
        share = np.count_nonzero(table < limit[:, None]) / table.size
        room = max(_PAIRS, _PAIRS_SHARE * self._X.nbytes / 12)
        if share * n * len(self._X) > room:
            return False
        if self._R is self._X:
            limits = (self._distances + self._slack).astype(self._X.dtype)
            self._use_pairs([pairs_of_all(self._X, self._norms, limits)])
        else:
            everyone = np.arange(len(self._X))
            self._keep_pairs([(rows, everyone) for rows in _parts(np.arange(n), N_ROWS)])
        return True

    def _keep_pairs(self, near: Sequence[tuple[NDArray[np.intp], NDArray[np.intp]]]) -> None:
        found: dict[int, tuple[NDArray, ...]] = {}

        def find(i: int) -> None:
            references, candidates = near[i]
            block, norms = -2 * self._R[_as_slice(references)], self._r_norms[references]
            limit = (self._distances + self._slack)[references].astype(block.dtype) - norms
            rows, others, values = [], [], []
            for some in _parts(candidates, N_OTHERS) if len(candidates) else []:
                table = block @ self._X[_as_slice(some)].T
                table += self._norms[some]
                row, other, found_here = below(table, limit[:, None])
                rows.append(row)
                others.append(some[other].astype(np.int32))
                values.append(np.maximum(found_here + norms[row], 0))
            row = np.concatenate(rows) if rows else np.empty(0, dtype=np.intp)
            order = np.argsort(row, kind="stable")
            columns = np.concatenate([*others, np.empty(0, dtype=np.int32)])[order]
            sq_distances = np.concatenate([*values, np.empty(0, dtype=block.dtype)])[order]
            found[i] = columns, sq_distances, np.bincount(row, minlength=len(block))

        for_each(find, range(len(near)))
        self._use_pairs([found.pop(i) for i in range(len(near))])

    def _use_pairs(self, found: list[tuple[NDArray, ...]]) -> None:
        self._pairs = Pairs(found, len(self._X), len(self.picks))
        gains = self._pairs.gains(self._distances, self._mass)
        self._gains = np.where(self._is_open(), gains, -np.inf)


class _Centred:
    """Rows less a center, gathered as they are read."""

    def __init__(self, X: Rows, center: NDArray):
        self.shape: tuple[int, int] = X.shape
        self.dtype: np.dtype[Any] = X.dtype
        self._X, self._center = X, center

    def __len__(self) -> int:
        return len(self._X)

    def __getitem__(self, rows: Any) -> NDArray:
        block: NDArray = self._X[rows] - self._center
        return block


def _centred(X: Rows, center: NDArray, copied: bool) -> tuple[Any, NDArray]:
    """Return centred rows, copied once or each time that they are read, and their norms."""
    rows = X[:] - center if copied else _Centred(X, center)
    norms = np.empty(len(X), dtype=X.dtype)
    for part in row_blocks(len(X), X.shape[1]):
        block = rows[part]
        norms[part] = np.einsum("ij,ij->i", block, block)
    return rows, norms


def _to_parts_in_gains(table: NDArray, spare: NDArray, norms: NDArray, most: NDArray) -> None:
    """Make of twice the products of candidates and rows, in place, what each row adds to a gain."""
    table += spare
    table -= norms
    np.minimum(table, most, out=table)
    np.maximum(table, 0, out=table)


def _as_slice(rows: NDArray[np.intp]) -> NDArray[np.intp] | slice:
    """Rows that follow one another as a slice, which copies nothing."""
    whole = rows[-1] - rows[0] == len(rows) - 1
    return slice(int(rows[0]), int(rows[-1]) + 1) if whole else rows


def _parts(rows: NDArray[np.intp], size: int) -> Sequence[NDArray[np.intp]]:
    return np.array_split(rows, max(1, -(-len(rows) // size)))
