"""How far a selection can be from the best possible one, proven."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..neighbors import (
    Rows,
    RowSubset,
    absolute_error,
    check_rows,
    first_directions,
    for_each,
    knn,
    nearest,
    relative_error,
    to_geometry,
)
from ..utils import check_indices
from ._validation import check_metric, check_weights
from .strategies import cover

__all__ = ["OptimalityGap", "optimality_gap"]

# Distinct rows up to which all pairs of them are compared, and pairs that are kept.
MAX_ROWS = 20_000
_PAIRS = 2**26
# Rows up to which products are in float64, so that their rounding costs nothing.
_FLOAT64_ROWS = 6000
# Prices beyond the distance to so many of the picks hardly help.
_PICKS_BELOW_PRICE = 4
_MAX_STEPS, _PATIENCE, _CLOSE = 400, 12, 1e-4


@dataclass(frozen=True)
class OptimalityGap:
    """What `optimality_gap` returns; prints as a sentence.

    Attributes
    ----------
    cost : float
        Sum over the rows of weight times squared distance to the nearest selected row; under
        cosine, of weight times cosine distance.
    lower_bound : float
        What no selection of as many rows can cost less than.
    gap : float
        ``cost / lower_bound - 1``: 0.03 says that the selection costs at most 3% more than the
        best possible. Infinite where the bound is 0 and the cost is not.
    n_picks, n_rows : int
        Rows selected, and rows of the data.
    """

    cost: float
    lower_bound: float
    gap: float
    n_picks: int
    n_rows: int

    def __str__(self) -> str:
        return (
            f"{self.n_picks:,} of {self.n_rows:,} rows, proven within {self.gap:.1%} of the least "
            f"cost that {self.n_picks:,} rows can have"
        )


def optimality_gap(
    X: ArrayLike,
    indices: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    metric: str = "euclidean",
) -> OptimalityGap:
    """Prove how far a selection can be from the one that covers the data best.

    Parameters
    ----------
    X : array-like of shape (n_rows, n_features)
        Embeddings, of which at most 20,000 are distinct.
    indices : array-like of shape (n_picks,)
        The selected rows: distinct row numbers, or a boolean mask of length `n_rows`.
    weights : array-like of shape (n_rows,), default=None
        How much each row counts among those to be covered; all the same if None.
    metric : {"euclidean", "cosine"}, default="euclidean"
        Distance between rows, as in `DiversitySampler`.

    Returns
    -------
    proof : OptimalityGap
        With `cost`, `lower_bound` and `gap`; printing it gives a sentence.

    Raises
    ------
    ValueError
        If more than 20,000 rows are distinct, or an argument does not fit X.

    See Also
    --------
    DiversitySampler : With the strategy "coverage", picks rows of a low cost.

    Notes
    -----
    Finding the k rows of least cost is the p-median problem, which nobody can solve for thousands
    of rows in general; but how low its cost can be is bounded well [1]_. Give every row i a price
    ``p_i >= 0``. Any k rows S cost::

        sum_i w_i min_{s in S} d_is  >=  sum_i w_i (p_i - max_{s in S} max(0, p_i - d_is))
                                     >=  sum_i w_i p_i - sum_{s in S} g_s,

        with g_s = sum_i w_i max(0, p_i - d_is).

    The first line holds because ``min_s d_is >= min(p_i, min_s d_is)``, the second because the
    sum over S of numbers that are not negative is no less than their maximum. So the cost of no
    choice is below ``sum_i w_i p_i`` less the k largest ``g_j``, whatever the prices are. This is
    the Lagrangian relaxation of "each row has one pick that it goes to"; the prices that make the
    bound largest are approached by subgradient steps [2]_: a row whose price pays for no pick
    among the k raises it, one that pays for several lowers it.

    The prices start from a greedy solution, and only pairs of rows nearer than a highest price are
    kept: few, as a price need not exceed the distance to the fourth nearest pick. Distances are
    rounded downwards, by what the products can be off, so that the bound stays one.
    Time is that of comparing all pairs of rows a few times, and of up to 400 steps over the pairs.

    References
    ----------
    .. [1] G. Cornuejols, M. L. Fisher and G. L. Nemhauser, "Location of bank accounts to optimize
       float", Management Science 23, 1977.
    .. [2] J. E. Beasley, "Lagrangean heuristics for location problems", European Journal of
       Operational Research 65, 1993.

    Examples
    --------
    >>> from dinov2_sklearn import optimality_gap
    >>> X = [[0.0], [1.0], [2.0], [10.0], [11.0], [12.0]]
    >>> proof = optimality_gap(X, [1, 4])
    >>> proof.cost
    4.0
    >>> proof.gap < 0.01
    True
    >>> optimality_gap(X, [0, 4]).cost
    7.0
    """
    geometry = to_geometry(check_rows(X, check_metric(metric)), metric)
    n_rows = len(geometry)
    indices = check_indices(indices, n_rows, "indices")
    if len(indices) == 0:
        raise ValueError("indices is empty: there is no selection to measure.")
    if weights is not None:
        weights = check_weights(weights, n_rows, np.empty(0, dtype=np.intp), scaled=False)
    is_first, value = first_directions(geometry)
    rows = np.flatnonzero(is_first)
    if len(rows) > MAX_ROWS:
        raise ValueError(
            f"X has {len(rows)} distinct rows, and all pairs of them would be compared: at most "
            f"{MAX_ROWS} are. Take a sample of rows that holds the selected ones, or only groups "
            "of them; the representation_ of DiversitySampler has no such limit."
        )
    mass = np.bincount(value, weights, minlength=len(rows)).astype(np.float64)
    distinct = geometry if len(rows) == n_rows else RowSubset(geometry, rows)
    cost = float(mass @ nearest(distinct, geometry[indices])[1])
    bound = _lower_bound(distinct, mass, len(indices), cost)
    unit = 1.0 if metric == "euclidean" else 0.5
    gap = cost / bound - 1 if bound > 0 else (0.0 if cost == 0 else np.inf)
    return OptimalityGap(unit * cost, unit * bound, max(0.0, gap), len(indices), n_rows)


def _lower_bound(X: Rows, mass: NDArray[np.float64], n_picks: int, cost: float) -> float:
    """Bound the cost of any choice of `n_picks` rows from below."""
    n = len(X)
    if n_picks >= n or cost == 0:
        return 0.0
    greedy = cover(X, n_picks, candidates=np.ones(n, dtype=bool), mass=mass)
    picks = greedy.indices
    if len(picks) < n_picks or greedy.costs[-1] == 0:
        return 0.0
    if n_picks == 1:
        # The most central row is the best.
        return min(cost, float(greedy.costs[0]))
    target = min(cost, float(greedy.costs[-1]))
    pick_rows = X[picks]
    to_picks = knn(pick_rows, min(_PICKS_BELOW_PRICE, n_picks), queries=X)[1]
    highest = to_picks[:, -1] if n_picks >= _PICKS_BELOW_PRICE else np.full(n, np.inf)
    pairs = _PricedPairs(X, mass, highest)
    prices = np.minimum(to_picks[:, :2].mean(axis=1), pairs.highest)
    best = max(pairs.climb(prices, n_picks, target), float(greedy.least_costs[-1]), 0.0)
    return min(best, target)


class _PricedPairs:
    """Pairs of a row and another that is nearer than the highest price of the row."""

    def __init__(self, X: Rows, mass: NDArray[np.float64], highest: NDArray[np.float64]):
        n, d = X.shape
        dtype = np.dtype(np.float64) if n <= _FLOAT64_ROWS else X.dtype
        rows = X[:].astype(dtype)
        rows = rows - rows.mean(axis=0)
        norms = np.einsum("ij,ij->i", rows, rows)
        share, least = relative_error(dtype, d), absolute_error(dtype, d)
        most = max(1, _PAIRS // n)
        blocks = [slice(start, min(start + 256, n)) for start in range(0, n, 256)]
        found: dict[int, tuple[NDArray, NDArray, NDArray]] = {}
        self.highest = highest.copy()

        def find(i: int) -> None:
            part = blocks[i]
            table = norms - 2 * (rows[part] @ rows.T)
            table += norms[part, None]
            if most < n:
                limit = np.partition(table, most, axis=1)[:, most]
                self.highest[part] = np.minimum(self.highest[part], limit)
            row, other = np.nonzero(table < self.highest[part, None])
            lower = table[row, other] - (share * (norms[part][row] + norms[other]) + least)
            # Down to single precision: a number that is too small is one on the safe side.
            single = np.nextafter(lower.astype(np.float32), np.float32(-np.inf))
            single[part.start + row == other] = 0
            counts = np.bincount(row, minlength=part.stop - part.start)
            found[i] = other.astype(np.int32), np.maximum(single, 0), counts

        for_each(find, range(len(blocks)))
        self._others, self._sq_distances, self._counts = (
            np.concatenate([found[i][part] for i in range(len(blocks))]) for part in range(3)
        )
        # A price is never above any distance that was left out.
        np.minimum(self.highest, np.finfo(np.float32).max, out=self.highest)
        self.highest -= share * (norms + norms.max()) + least
        np.maximum(self.highest, 0, out=self.highest)
        self._rows = np.repeat(np.arange(n, dtype=np.int32), self._counts)
        self._mass = mass
        self._equal = bool((mass == mass[0]).all())

    def climb(self, prices: NDArray[np.float64], n_picks: int, target: float) -> float:
        """Raise the bound by subgradient steps on the prices, and return the best."""
        best, best_prices, scale, since = -np.inf, prices, 1.0, 0
        direction = np.zeros(len(prices))
        for _ in range(_MAX_STEPS):
            bound, slope = self._bound(prices, n_picks)
            if bound > best * (1 + _CLOSE / 100) or best == -np.inf:
                since = 0
            else:
                since += 1
            if bound > best:
                best, best_prices = bound, prices
            if since >= _PATIENCE:
                prices, scale, since = best_prices, scale / 2, 0
                direction[:] = 0
                if scale < 0.02:
                    break
                continue
            direction = slope + 0.5 * direction
            length = float(self._mass @ direction**2)
            if target - best <= _CLOSE * target or length == 0:
                break
            step = scale * max(target - bound, _CLOSE * target) / length
            prices = np.clip(prices + step * direction, 0, self.highest)
        return best

    def _bound(self, prices: NDArray[np.float64], n_picks: int) -> tuple[float, NDArray]:
        """Compute the bound of some prices, and how it changes with each, a unit of mass."""
        paid = np.repeat(prices, self._counts)
        paid -= self._sq_distances
        np.maximum(paid, 0, out=paid)
        pays = paid > 0
        if self._equal:
            gains = self._mass[0] * np.bincount(self._others, paid, minlength=len(prices))
        else:
            paid *= self._mass[self._rows]
            gains = np.bincount(self._others, paid, minlength=len(prices))
        chosen = np.argpartition(-gains, n_picks - 1)[:n_picks]
        is_chosen = np.zeros(len(prices), dtype=bool)
        is_chosen[chosen] = True
        pays &= is_chosen[self._others]
        served = np.bincount(self._rows[pays], minlength=len(prices))
        return float(self._mass @ prices - gains[chosen].sum()), 1.0 - served
