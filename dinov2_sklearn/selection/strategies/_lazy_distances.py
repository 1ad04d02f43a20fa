"""Distances of rows to a growing set of picks, each known only as well as was asked for."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ...neighbors import Rows, absolute_error, pair_sq_distances, relative_error, row_blocks

__all__ = ["LazyDistances"]

# Stale rows brought up to date together, and the picks that they are compared with in one matrix
# product: few at first, as many rows fall out of the race at once, then more and more.
_CHUNK = 4096
_FIRST_STEP, _LAST_STEP = 128, 1024
# Random directions in which a pick close by is looked for first, and how many picks unseen, and
# how many features, make that worth its cost.
_SKETCH_SIZE = 64
_SKETCH_FROM = 256


class LazyDistances:
    """Squared distance of each row to its nearest pick, as bounds that are tightened on demand.

    Parameters
    ----------
    X : ndarray or UnitRows of shape (n, d), float32 or float64
        Rows; only parts of them are ever copied.
    initial : ndarray of shape (n,), float64, default=None
        Exact squared distances to what is covered before the first pick; infinite if None.

    Attributes
    ----------
    n_picks : int
        Picks added so far.
    upper : ndarray of shape (n,), float64
        Upper bound of each row's squared distance to all picks.
    seen : ndarray of int of shape (n,)
        How many of the picks each row was compared with: the first so many.

    Notes
    -----
    Beside `upper` and `seen` it is kept for each row which of the seen picks is the nearest as
    far as products can tell, and a lower bound of the distances to all others. So the exact
    distance costs one difference in float64, unless a second pick remains possible.

    Bounds come from ``|x|^2 - 2 x.c + |c|^2`` of centred rows and picks, in the precision of X;
    `relative_error` derives how far they are padded.
    """

    def __init__(self, X: Rows, initial: NDArray | None = None):
        n, d = X.shape
        self.n_picks = 0
        self.upper = np.full(n, np.inf) if initial is None else initial.astype(np.float64)
        self.seen = np.zeros(n, dtype=np.int32)
        # -1 stands for what was covered before the first pick.
        self._nearest = np.full(n, -1, dtype=np.int32)
        self._others = np.full(n, np.inf)
        self._X = X
        self._initial = initial
        # Any point amid the rows will do.
        self._center = X[:: max(1, n // 4096)].mean(axis=0, dtype=np.float64).astype(X.dtype)
        self._relative_error = relative_error(X.dtype, d)
        self._absolute_error = absolute_error(X.dtype, d)
        self._pick_rows = np.empty(64, dtype=np.intp)
        self._pick_norms = np.empty(64)
        # Times -2, as the products need them.
        self._scaled_picks = np.empty((64, d), dtype=X.dtype)
        # A constant seed: directions decide how soon a row is left behind, never what is picked.
        directions = np.random.RandomState(0).normal(size=(d, min(d, _SKETCH_SIZE)))
        self._directions = directions.astype(X.dtype)
        self._sketches = np.empty((64, self._directions.shape[1]), dtype=X.dtype)

    def add_pick(self, row: int) -> None:
        """Count a row among the picks; nothing is compared with it yet."""
        if self.n_picks == len(self._pick_rows):
            for name in ("_pick_rows", "_pick_norms", "_scaled_picks", "_sketches"):
                setattr(self, name, np.concatenate([getattr(self, name)] * 2))
        centred, norms = self.centred(np.array([row]))
        self._pick_rows[self.n_picks] = row
        self._pick_norms[self.n_picks] = norms[0]
        self._scaled_picks[self.n_picks] = -2 * centred[0]
        self._sketches[self.n_picks] = centred[0] @ self._directions
        self.n_picks += 1

    def centred(self, rows: NDArray | slice) -> tuple[NDArray, NDArray]:
        """Return the centred rows and their squared norms."""
        block = self._X[rows] - self._center
        return block, np.einsum("ij,ij->i", block, block).astype(np.float64)

    def lower_bounds(
        self, block: NDArray, norms: NDArray, start: int, stop: int
    ) -> tuple[NDArray, NDArray]:
        """Bound the distances of centred rows to picks from below, as a table and what to add.

        The bounds are the table plus the second result, one float64 number a row: left apart, as
        the table is large and is mostly compared within a row.
        """
        table = block @ self._scaled_picks[start:stop].T
        kept = 1 - self._relative_error
        table += (kept * self._pick_norms[start:stop]).astype(block.dtype)
        return table, kept * norms - self._absolute_error

    def _widths(self, norms: NDArray, picks: NDArray) -> NDArray:
        """Upper minus lower bound of the distance of each row to one pick."""
        relative = self._relative_error * (norms + self._pick_norms[picks])
        return np.where(picks < 0, 0.0, 2 * (relative + self._absolute_error))

    def bound_all(self, near: NDArray | None = None) -> None:
        """Bound every row by a pick close by, in the order of memory; none counts as seen.

        `near` names such a pick by its row of X, or is -1 where a pick is to be looked for.
        """
        n, d = self._X.shape
        known = np.full(n, -1 if self.n_picks > 1 else 0)  # one pick is near all rows
        if near is not None:
            number_of = np.full(n, -1)
            number_of[self._pick_rows[: self.n_picks]] = np.arange(self.n_picks)
            known = np.where(near < 0, -1, number_of[near])
        for rows in row_blocks(n, max(d, self.n_picks) if (known < 0).any() else d):
            block, norms = self.centred(rows)
            guess = known[rows]
            unknown = guess < 0
            if unknown.any():
                guess[unknown] = self._guess(block[unknown])
            bounds = self._bounds_by(guess, block, norms)
            self.upper[rows] = np.minimum(self.upper[rows], bounds)

    def _guess(self, block: NDArray) -> NDArray:
        """Return a pick close to each of some centred rows.

        A bound needs no more than one pick that is close enough, and a projection mostly finds
        it at a fraction of the cost of comparing with all.
        """
        sketches = self._sketches[: self.n_picks]
        table = (block @ self._directions) @ (-2 * sketches.T)
        table += np.einsum("ij,ij->i", sketches, sketches)
        return table.argmin(axis=1)

    def _bounds_by(self, guess: NDArray, block: NDArray, norms: NDArray) -> NDArray:
        """Upper bounds of the distances of centred rows, each by one pick."""
        if self.n_picks == 1:
            products = block @ self._scaled_picks[0]
        else:
            products = np.einsum("ij,ij->i", block, self._scaled_picks[guess])
        # Half the width would do. Once more the width, so that the same pick, when it is seen,
        # gives a smaller bound.
        width = self._widths(norms, guess)
        return products + (norms + self._pick_norms[guess]) + 1.5 * width

    def refresh(self, rows: NDArray, matters: Callable[[NDArray], NDArray]) -> None:
        """Compare rows with the picks that they have not seen, while they still matter.

        `matters` returns a mask of the rows whose upper bounds are still of interest.
        """
        rows = rows[self.seen[rows] < self.n_picks]
        rows = rows[np.argsort(self.seen[rows], kind="stable")]
        for start in range(0, len(rows), _CHUNK):
            chunk = rows[start : start + _CHUNK]
            block, norms = self.centred(chunk)
            if self.n_picks - self.seen[chunk[0]] >= _SKETCH_FROM <= block.shape[1]:
                on = ~self._leave_behind(chunk, block, norms, matters)
                chunk, block, norms = chunk[on], block[on], norms[on]
            step = _FIRST_STEP
            while len(chunk):
                seen = self.seen[chunk]
                stop = min(int(seen[0]) + step, self.n_picks)
                behind = slice(int(np.searchsorted(seen, stop)))
                self._compare(chunk[behind], block[behind], norms[behind], stop)
                on = (self.seen[chunk] < self.n_picks) & matters(chunk)
                if not on.all():
                    chunk, block, norms = chunk[on], block[on], norms[on]
                step = min(2 * step, _LAST_STEP)

    def _leave_behind(
        self,
        rows: NDArray,
        block: NDArray,
        norms: NDArray,
        matters: Callable[[NDArray], NDArray],
    ) -> NDArray:
        """Lower the bounds of rows that a pick close by puts out of the race; tell which.

        What these rows have seen stays as it is.
        """
        before = self.upper[rows]
        bounds = self._bounds_by(self._guess(block), block, norms)
        self.upper[rows] = np.minimum(before, bounds)
        on = matters(rows)
        self.upper[rows[on]] = before[on]
        left_behind: NDArray = ~on
        return left_behind

    def _compare(self, rows: NDArray, block: NDArray, norms: NDArray, stop: int) -> None:
        """Compare rows, in the order of what they have seen, with the picks before `stop`."""
        seen = self.seen[rows]
        start = int(seen[0])
        table, share = self.lower_bounds(block, norms, start, stop)
        if seen[-1] > start:
            table[np.arange(start, stop) < seen[:, None]] = np.inf
        every = np.arange(len(rows))
        best = table.argmin(axis=1)
        lower = table[every, best] + share
        table[every, best] = np.inf
        self._merge(rows, norms, start + best, lower, table.min(axis=1) + share)
        self.seen[rows] = stop

    def _merge(
        self,
        rows: NDArray,
        norms: NDArray,
        best: NDArray,
        lower: NDArray,
        lower_of_rest: NDArray,
    ) -> None:
        """Take note of the best of some new picks, and of a lower bound for the rest of them."""
        old, old_upper = self._nearest[rows], self.upper[rows]
        upper = lower + self._widths(norms, best)
        better = upper < old_upper
        old_lower = old_upper - self._widths(norms, old)
        others = np.where(better, np.minimum(old_lower, lower_of_rest), lower)
        self._others[rows] = np.minimum(self._others[rows], others)
        self._nearest[rows] = np.where(better, best, old)
        self.upper[rows] = np.where(better, upper, old_upper)

    def settle(self, rows: NDArray) -> tuple[NDArray, NDArray]:
        """Find the exact squared distances of rows to the picks seen, and the nearest of these."""
        nearest = self._nearest[rows]
        # Infinite where a bound by a guess left none of the picks seen as the nearest: these are
        # searched for below.
        exact = np.full(len(rows), np.inf)
        before = nearest < 0
        if self._initial is not None:
            exact[before] = self._initial[rows[before]]
        (after,) = np.nonzero(~before)
        for part in row_blocks(len(after), self._X.shape[1]):
            which = after[part]
            picks = self._pick_rows[nearest[which]]
            exact[which] = pair_sq_distances(self._X[rows[which]], self._X[picks])
        for i in np.flatnonzero(exact > np.maximum(self._others[rows], 0)):
            exact[i], nearest[i] = self._search(rows[i], exact[i], nearest[i])
        self.store(rows, exact, nearest)
        return exact, nearest

    def _search(self, row: int, distance: float, nearest: int) -> tuple[float, int]:
        """Look for a pick that is nearer than `distance` among all that the row has seen."""
        if self._initial is not None and self._initial[row] < distance:
            distance, nearest = float(self._initial[row]), -1
        block, norms = self.centred(np.array([row]))
        table, share = self.lower_bounds(block, norms, 0, int(self.seen[row]))
        possible = np.flatnonzero(table[0] + share < distance)
        for part in row_blocks(len(possible), self._X.shape[1]):
            picks = self._X[self._pick_rows[possible[part]]]
            exact = pair_sq_distances(picks, self._X[row])
            if exact.min() < distance:
                distance, nearest = float(exact.min()), int(possible[part][exact.argmin()])
        return distance, nearest

    def exact(self, rows: NDArray, pick: int) -> NDArray:
        """Squared distances of rows to one pick, by differences in float64."""
        return pair_sq_distances(self._X[rows], self._X[self._pick_rows[pick]])

    def store(self, rows: NDArray, exact: NDArray, nearest: NDArray) -> None:
        """Keep exact distances of rows to the picks that they have seen."""
        self.upper[rows] = exact
        self._nearest[rows] = nearest
        self._others[rows] = exact
