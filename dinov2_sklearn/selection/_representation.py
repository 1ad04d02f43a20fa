"""How much of the spread of the data each prefix of the picks takes away."""

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import gen_batches

from ..neighbors import Rows, RowSubset, for_each, nearest, pair_sq_distances, row_blocks
from .strategies import Pool, Subset

__all__ = ["cost_of_best_row", "describe_cover", "share_represented", "share_taken_away"]

# Rows times picks whose distances are compared for the costs of all prefixes; of more rows every
# so-manyth is taken.
_COMPARISONS = 2**22


def describe_cover(
    pool: Pool, subset: Subset
) -> tuple[NDArray[np.float64], NDArray[np.intp], NDArray[np.float64]]:
    """Find what covers each row, and what each prefix of the picks costs.

    Returns
    -------
    sq_distances : ndarray of shape (n,)
        Squared distance of each row to the nearest pick or labelled row.
    rank : ndarray of int of shape (n,)
        Which pick that is; negative for a labelled row.
    costs : ndarray of shape (n_picks,)
        After each pick, the sum of mass times squared distance. What choosing has computed is
        taken over.
    """
    X, labelled = pool.X, pool.labelled_rows()
    n_known = 0 if subset.costs is None else len(subset.costs)
    first, rest = X[subset.indices[:n_known]], X[subset.indices[n_known:]]
    unknown = np.arange(len(X))
    sq_distances, rank = np.full(len(X), np.inf), np.full(len(X), -1, dtype=np.intp)
    if subset.sq_distances is not None and subset.nearest is not None:
        sq_distances = subset.sq_distances[pool.stand_in]
        rank = subset.nearest[pool.stand_in]
        unknown = np.flatnonzero(np.isnan(sq_distances))
    if len(unknown):
        place, sq_distances[unknown] = nearest(
            RowSubset(X, unknown), np.concatenate([labelled, first])
        )
        rank[unknown] = place - len(labelled)
    costs = [] if subset.costs is None else [subset.costs]
    if len(rest):
        place, closer = nearest(X, rest)
        better = closer < sq_distances
        costs.append(_costs_of_prefixes(pool, sq_distances, rest, np.minimum(closer, sq_distances)))
        sq_distances = np.where(better, closer, sq_distances)
        rank = np.where(better, place + n_known, rank)
    return sq_distances, rank, np.concatenate(costs)


def _costs_of_prefixes(
    pool: Pool, before: NDArray[np.float64], picks: NDArray, after: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Find what rows cost after each of some picks, from the distances before and after them.

    The picks between come from products, and of large data from every so-manyth row.
    """
    rows = np.flatnonzero(pool.mass > 0)
    total = float(pool.mass[rows] @ after[rows])
    step = max(1, len(rows) * len(picks) // _COMPARISONS)
    sample = rows[::step]
    center = picks.mean(axis=0, dtype=np.float64).astype(picks.dtype)
    centred = picks - center
    norms = np.einsum("ij,ij->i", centred, centred)
    parts = list(gen_batches(len(sample), 256))
    sums = np.empty((len(parts), len(picks)))

    def add(i: int) -> None:
        some = sample[parts[i]]
        block = pool.X[some] - center
        table = norms - 2 * (block @ centred.T)
        table += np.einsum("ij,ij->i", block, block)[:, None]
        np.minimum.accumulate(table, axis=1, out=table)
        np.maximum(table, 0, out=table)
        np.minimum(table, before[some, None].astype(table.dtype), out=table)
        sums[i] = pool.mass[some] @ table

    for_each(add, range(len(parts)))
    costs = sums.sum(axis=0)
    # Rounding apart, or a sample's chance, the last is the total.
    if costs[-1] > 0 and np.isfinite(costs[-1]):
        costs *= total / costs[-1]
    costs[-1] = total
    return costs


def cost_of_best_row(pool: Pool, subset: Subset) -> float:
    """Say what the rows cost with one pick, the row nearest to their mean.

    Rows without weight may be that one, outliers may not.
    """
    rows = np.flatnonzero(pool.usable)
    best = _cost_of_best_row(RowSubset(pool.X, rows), pool.mass[rows])
    if subset.costs is not None and len(subset.costs) and not len(pool.labelled_rows()):
        # The same number, if the best row could be picked; now without rounding between.
        first = float(subset.costs[0])
        return first if abs(first - best) <= 1e-6 * best else best
    return best


def _cost_of_best_row(X: Rows, mass: NDArray[np.float64]) -> float:
    parts = row_blocks(len(X), X.shape[1])
    sums = np.empty((len(parts), X.shape[1]))
    sq_distances = np.empty(len(X))

    def add(i: int) -> None:
        sums[i] = mass[parts[i]] @ X[parts[i]].astype(np.float64)

    for_each(add, range(len(parts)))
    mean = sums.sum(axis=0) / mass.sum()

    def measure(part: slice) -> None:
        sq_distances[part] = pair_sq_distances(X[part], mean)

    for_each(measure, parts)
    return float(mass @ sq_distances + mass.sum() * sq_distances.min())


def share_represented(X: Rows, sq_distances: NDArray[np.float64]) -> float:
    """Say how much of the spread is taken away, by distances to the nearest pick."""
    spread = _cost_of_best_row(X, np.ones(len(X)))
    return float(share_taken_away(np.array([sq_distances.sum()]), spread)[0])


def share_taken_away(costs: NDArray[np.float64], spread: float) -> NDArray[np.float64]:
    """Return 1 - costs / spread; all of it where there is no spread."""
    return 1 - costs / spread if spread > 0 else np.ones(len(costs))
