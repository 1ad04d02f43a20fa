"""Exact greedy farthest-point sampling, at the speed of matrix products.

The functions here are pure and know nothing of estimators or metrics: rows in, indices out.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...neighbors import Rows, absolute_error, pair_sq_distances, relative_error, row_blocks
from ._lazy_distances import LazyDistances

__all__ = ["farthest_point", "most_central"]

# Rows whose distances are brought up to date in one round, and those of them that go on into the
# greedy choice. More rows make rounds fewer and cost more each; the optimum is flat.
_POOL_SIZE = 4096
_FINALISTS = 1024
# Pools in a shortlist: so many rounds go by before all rows are looked through again.
_SHORTLIST_POOLS = 16


def farthest_point(
    X: Rows,
    n_picks: int,
    *,
    covered: NDArray | None = None,
    near: NDArray | None = None,
    initial_sq_distances: NDArray | None = None,
    candidates: NDArray | None = None,
    weights: NDArray | None = None,
) -> tuple[NDArray, NDArray]:
    """Pick rows one by one, each the farthest from everything picked before it.

    Parameters
    ----------
    X : ndarray or UnitRows of shape (n, d), float32 or float64
        Rows, compared by their Euclidean distance. Never copied whole, never changed.
    n_picks : int
        How many rows to pick, at most the number of candidates.
    covered : ndarray of int, default=None
        Rows that count as picked before; those that are candidates can be picked all the same.
    near : ndarray of int of shape (n,), default=None
        For each row a covered row that may be close, or -1. It saves time where it is, and never
        changes what is picked.
    initial_sq_distances : ndarray of shape (n,), default=None
        Squared distance of each row to what else is covered, such as rows that are not in X.
        Where nothing is covered, the first pick is `most_central`.
    candidates : ndarray of bool of shape (n,), default=None
        Rows that may be picked; all of them if None.
    weights : ndarray of shape (n,), default=None
        Non-negative factors of the distances in the choice.

    Returns
    -------
    indices : ndarray of shape (n_picks,)
        Rows in pick order, none twice. In a tie the lowest index is picked.
    sq_distances : ndarray of shape (n_picks,), float64
        Squared distance, without weight, of each pick to what was covered before it; infinite
        for a first pick with nothing covered.

    Notes
    -----
    The picks are those of the plain loop that computes every distance in float64 and by
    difference, also for float32 rows: duplicates are exactly 0 apart, and ties and near-ties
    come out the same. The first k picks do not depend on `n_picks`.

    Distances to the picks only shrink as picks are added, so one that is out of date is an upper
    bound, and most rows never need theirs renewed [2]_. In a round, the rows with the largest
    bounds form a pool; matrix products bring it up to date, and those of it whose distance is
    still beyond every bound outside are settled in float64. Greedy choice among these is the
    choice among all rows for as long as the best of them stays beyond the largest bound outside;
    then the next pool is formed. `LazyDistances` keeps the bounds, and `relative_error` derives
    their padding.

    Time is that of a few passes over the data and, depending on it, of comparing each row with
    some or all of the picks, O(n m d) at worst, as a matrix product. Memory is some 40 bytes a
    row, the picks, and blocks of fixed size.

    References
    ----------
    .. [1] T. F. Gonzalez, "Clustering to minimize the maximum intercluster distance",
       Theoretical Computer Science 38, 1985.
    .. [2] M. Minoux, "Accelerated greedy algorithms for maximizing submodular set functions",
       Optimization Techniques, 1978. RDKit's MaxMinPicker applies the idea to single rows.
    """
    allowed = np.ones(len(X), dtype=bool) if candidates is None else candidates
    if n_picks > np.count_nonzero(allowed):
        raise ValueError(f"Cannot pick {n_picks} of {np.count_nonzero(allowed)} candidates.")
    if n_picks == 0:
        return np.empty(0, dtype=np.intp), np.empty(0)
    race = _Race(X, n_picks, allowed, initial_sq_distances, weights)
    if covered is not None and len(covered):
        race.start_from(covered, near)
    elif initial_sq_distances is None:
        center = most_central(X, allowed, weights)
        race.take(center, np.inf)
        race.start_from(np.array([center]))
    while len(race.picks) < n_picks:
        race.run_round()
    return np.array(race.picks, dtype=np.intp), np.array(race.sq_distances)


class _Bar(NamedTuple):
    """What no row outside a pool exceeds: a priority and, of the rows that have it, the first."""

    priority: float
    row: int

    def is_cleared_by(self, priority: NDArray, rows: NDArray) -> NDArray:
        """Tell which rows come before all those outside; lower indices do in a tie."""
        return (priority > self.priority) | ((priority == self.priority) & (rows < self.row))


class _Race:
    """State of the greedy choice. The priority of a row is its weight times its distance."""

    def __init__(
        self,
        X: Rows,
        n_picks: int,
        allowed: NDArray,
        initial: NDArray | None,
        weights: NDArray | None,
    ):
        self.picks: list[int] = []
        self.sq_distances: list[float] = []
        self._n_picks = n_picks
        self._weights = weights
        self._distances = LazyDistances(X, initial)
        # From upper bounds; -1 for rows that cannot be picked (any more).
        self._priority = np.full(len(X), -1.0)
        rows = np.flatnonzero(allowed)
        self._priority[rows] = self._priority_of(rows, self._distances.upper[rows])
        # Rows that come before all others, and what none of these others exceeds.
        self._shortlist, self._shortlist_bar = rows[:0], _Bar(-1.0, 0)

    def _priority_of(self, rows: NDArray, sq_distances: NDArray) -> NDArray:
        if self._weights is None:
            return sq_distances
        # The square root also keeps tiny weights from vanishing.
        finite = np.minimum(sq_distances, np.finfo(np.float64).max)
        return self._weights[rows] * np.sqrt(finite)

    def _update_priority(self, rows: NDArray) -> None:
        self._priority[rows] = self._priority_of(rows, self._distances.upper[rows])

    def start_from(self, covered: NDArray, near: NDArray | None = None) -> None:
        """Begin with rows that are covered, one of which may be known to be near each row."""
        for row in covered:
            self._distances.add_pick(int(row))
        self._distances.bound_all(near)
        self._update_priority(np.flatnonzero(self._priority >= 0))

    def take(self, row: int, sq_distance: float) -> None:
        """Pick a row."""
        self.picks.append(row)
        self.sq_distances.append(sq_distance)
        self._priority[row] = -1.0

    def run_round(self) -> None:
        """Form a pool, bring it up to date, and pick from it as long as that is exact."""
        pool, bar = self._next_pool()
        upper = self._distances.upper
        self._distances.refresh(
            pool, lambda rows: self._priority_of(rows, upper[rows]) >= bar.priority
        )
        self._update_priority(pool)
        pool = pool[bar.is_cleared_by(self._priority[pool], pool)]
        if len(pool) > _FINALISTS:
            pool, bar = _largest(self._priority[pool], pool, _FINALISTS)
        pool.sort()
        exact, nearest = self._distances.settle(pool)
        self._pick_among(pool, exact, nearest, bar)

    def _next_pool(self) -> tuple[NDArray, _Bar]:
        """Return the rows of largest priority, and the bar for the others."""
        rows, bar = self._shortlist, self._shortlist_bar
        # Priorities only shrink: who is still above the bar comes before all outside.
        rows = self._still_open(rows[bar.is_cleared_by(self._priority[rows], rows)])
        if len(rows) < _POOL_SIZE:
            everyone = np.arange(len(self._priority))
            rows, bar = _largest(self._priority, everyone, _SHORTLIST_POOLS * _POOL_SIZE)
            rows = self._still_open(rows)
        self._shortlist, self._shortlist_bar = rows, bar
        if len(rows) <= _POOL_SIZE:
            return rows, bar
        return _largest(self._priority[rows], rows, _POOL_SIZE)

    def _still_open(self, rows: NDArray) -> NDArray:
        return rows[self._priority[rows] >= 0]

    def _pick_among(self, rows: NDArray, exact: NDArray, nearest: NDArray, bar: _Bar) -> None:
        """Greedy choice among rows, in ascending order, whose distances are exact."""
        distances = self._distances
        priority = self._priority_of(rows, exact)
        block, norms = distances.centred(rows)
        while len(rows) and len(self.picks) < self._n_picks:
            leader = int(priority.argmax())
            if not bar.is_cleared_by(priority[leader], rows[leader]):
                break
            pick = int(rows[leader])
            self.take(pick, float(exact[leader]))
            distances.add_pick(pick)
            exact[leader] = priority[leader] = -1.0
            newest = distances.n_picks - 1
            table, share = distances.lower_bounds(block, norms, newest, newest + 1)
            (near,) = np.nonzero(table[:, 0] + share < exact)
            sq_distances = distances.exact(rows[near], newest)
            closer = sq_distances < exact[near]
            near, sq_distances = near[closer], sq_distances[closer]
            exact[near], nearest[near] = sq_distances, newest
            priority[near] = self._priority_of(rows[near], sq_distances)
            on = priority >= bar.priority
            if 2 * np.count_nonzero(on) < len(on):
                self._put_back(rows[~on], exact[~on], nearest[~on], priority[~on])
                rows, exact, nearest, priority = rows[on], exact[on], nearest[on], priority[on]
                block, norms = block[on], norms[on]
        self._put_back(rows, exact, nearest, priority)

    def _put_back(self, rows: NDArray, exact: NDArray, nearest: NDArray, priority: NDArray) -> None:
        self._distances.store(rows, exact, nearest)
        self._distances.seen[rows] = self._distances.n_picks
        self._priority[rows] = priority


def _largest(priority: NDArray, rows: NDArray, size: int) -> tuple[NDArray, _Bar]:
    """Choose the rows of largest priority, lower indices in a tie, and the bar for the others."""
    n = len(rows)
    if size >= n:
        return rows, _Bar(-1.0, 0)
    cut = float(np.partition(priority, n - size)[n - size])
    above = rows[priority > cut]
    ties = np.sort(rows[priority == cut])
    n_ties = size - len(above)
    # Without a tie outside, the bar is cleared at this very priority.
    first_outside = int(ties[n_ties]) if n_ties < len(ties) else np.iinfo(np.intp).max
    return np.concatenate([above, ties[:n_ties]]), _Bar(cut, first_outside)


def most_central(X: Rows, candidates: NDArray, weights: NDArray | None = None) -> int:
    """Return the candidate nearest to the candidates' mean, the lowest index in a tie.

    With weights, only the candidates of the largest weight are considered: nothing is covered
    yet, so all distances are equally infinite and the weight alone decides.
    """
    center = np.zeros(X.shape[1])
    for part in row_blocks(len(X), X.shape[1]):
        center += candidates[part].astype(np.float64) @ X[part].astype(np.float64)
    center /= np.count_nonzero(candidates)
    if weights is not None:
        candidates = candidates & (weights == weights[candidates].max())
    rows = _possibly_nearest(X, candidates, center)
    sq_distances = np.concatenate(
        [pair_sq_distances(X[rows[part]], center) for part in row_blocks(len(rows), X.shape[1])]
    )
    return int(rows[sq_distances.argmin()])


def _possibly_nearest(X: Rows, candidates: NDArray, center: NDArray) -> NDArray:
    """Candidates that rounding leaves possible as the nearest to a center."""
    rounded = center.astype(X.dtype)
    distance = np.empty(len(X))
    for part in row_blocks(len(X), X.shape[1]):
        block = X[part] - rounded
        distance[part] = np.sqrt(np.einsum("ij,ij->i", block, block))
    distance[~candidates] = np.inf
    relative = relative_error(X.dtype, X.shape[1])
    # Rounding the center moves it by no more than u of its length.
    margin = relative * np.linalg.norm(center) + np.sqrt(absolute_error(X.dtype, X.shape[1]))
    reach = (distance.min() * (1 + relative) + 2 * margin) / (1 - relative)
    return np.flatnonzero(distance <= reach)
