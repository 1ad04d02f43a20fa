"""Exact greedy farthest-point sampling: a plain loop, one pass over the rows for each pick.

The functions here are pure and know nothing of estimators or metrics: rows in, indices out.
"""

import numpy as np
from sklearn.utils import gen_batches

from ._distances import pair_sq_distances

# Elements of the block of differences: 1 MB of float64 stays in the cache.
_BLOCK_SIZE = 2**17


def farthest_point(
    X: np.ndarray,
    n_picks: int,
    *,
    initial_sq_distances: np.ndarray | None = None,
    candidates: np.ndarray | None = None,
    weights: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Pick rows one by one, each the farthest from everything picked before it.

    Parameters
    ----------
    X : ndarray of shape (n, d), float32 or float64
        Rows, compared by their Euclidean distance. Never copied whole, never changed.
    n_picks : int
        How many rows to pick, at most the number of candidates.
    initial_sq_distances : ndarray of shape (n,), default=None
        Squared distance of each row to what is already covered. None when nothing is: the first
        pick is then `most_central`.
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
    O(n d) time a pick and O(n) memory. Differences are taken before they are squared, in float64:
    duplicates are exactly 0 apart and near-ties come out as in a float64 computation. The first
    k picks do not depend on `n_picks`.

    References
    ----------
    .. [1] T. F. Gonzalez, "Clustering to minimize the maximum intercluster distance",
       Theoretical Computer Science 38, 1985.
    """
    allowed = np.ones(len(X), dtype=bool) if candidates is None else candidates.copy()
    if n_picks > np.count_nonzero(allowed):
        raise ValueError(f"Cannot pick {n_picks} of {np.count_nonzero(allowed)} candidates.")
    indices = np.empty(n_picks, dtype=np.intp)
    sq_distances = np.empty(n_picks)
    covered = np.full(len(X), np.inf)
    if initial_sq_distances is not None:
        covered[:] = initial_sq_distances
    for rank in range(n_picks):
        if rank == 0 and initial_sq_distances is None:
            pick = most_central(X, allowed, weights)
        else:
            pick = _farthest(covered, allowed, weights)
        indices[rank], sq_distances[rank] = pick, covered[pick]
        allowed[pick] = False
        if rank + 1 < n_picks:
            np.minimum(covered, _sq_distances_to(X, X[pick]), out=covered)
    return indices, sq_distances


def most_central(X: np.ndarray, candidates: np.ndarray, weights: np.ndarray | None = None) -> int:
    """Return the candidate nearest to the candidates' mean, the lowest index in a tie.

    With weights, only the candidates of the largest weight are considered: nothing is covered
    yet, so all distances are equally infinite and the weight alone decides.
    """
    center = X.mean(axis=0, dtype=np.float64, where=candidates[:, None])
    if weights is not None:
        candidates = candidates & (weights == weights[candidates].max())
    rows = np.flatnonzero(candidates)
    return int(rows[np.argmin(_sq_distances_to(X, center)[rows])])


def _farthest(covered: np.ndarray, allowed: np.ndarray, weights: np.ndarray | None) -> int:
    # The weight multiplies the distance; the square root also keeps tiny weights from vanishing.
    priority = covered if weights is None else weights * np.sqrt(covered)
    return int(np.argmax(np.where(allowed, priority, -1.0)))


def _sq_distances_to(X: np.ndarray, point: np.ndarray) -> np.ndarray:
    sq_distances = np.empty(len(X))
    for rows in gen_batches(len(X), max(1, _BLOCK_SIZE // X.shape[1])):
        sq_distances[rows] = pair_sq_distances(X[rows], point)
    return sq_distances
