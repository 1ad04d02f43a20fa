"""The typical rows of the data: those nearest the centroids of small groups."""

import heapq
from math import isqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import euclidean_distances

from ...neighbors import RowSubset, members_of, nearest, own_center_sq_distances
from ._clusters import default_n_clusters, interleave
from ._pool import Pool, cluster_rows, group_mass, spread_quotas

__all__ = ["Typical", "pick_typical_rows", "representative_order"]

# Rows times groups up to which one flat k-means is affordable: below a second an iteration on two
# cores. As no one picks more rows than there are, it also bounds a matrix of pick to pick.
FLAT_LIMIT = 10_000_000
# Rows that each of the inner groups is trained on: there are many, and each gives but one pick.
_INNER_TRAIN_ROWS = 32


class Typical(NamedTuple):
    """Picks, and what is known of all rows beside them.

    Attributes
    ----------
    indices : ndarray of shape (n_picks,)
        Picked rows.
    mass : ndarray of shape (n_picks,)
        What each of them stands for.
    near : ndarray of int of shape (n,)
        For each row the pick of its group; -1 where the group has none, or the row is unusable.
    """

    indices: NDArray
    mass: NDArray
    near: NDArray


def pick_typical_rows(pool: Pool, n_picks: int) -> tuple[Typical, NDArray]:
    """Pick rows that stand for many others.

    Small data is grouped once, a group for each pick (and for each row labelled already). Large
    data is grouped in levels: k-means into clusters, and k-means again inside each of them into
    its quota, which costs a fraction; a cluster that is large itself is divided in the same way.
    An explicit number of clusters means two levels at least.

    Returns
    -------
    typical : Typical
        Every prefix of the picks stands for as much of the data as it can: see
        `representative_order`.
    labels : ndarray of shape (n,)
        The cluster of every row (of the first level where there are several).
    """
    if pool.n_clusters is None and n_picks and _is_small(pool, n_picks):
        labels, centers = cluster_rows(pool, n_picks + len(pool.preselected), weighted=True)
        typical = _nearest_centroids(pool, labels, centers, n_picks)
    else:
        n_wanted = n_picks + len(pool.preselected)
        n_clusters = pool.n_clusters or _n_outer_clusters(pool, n_wanted)
        labels, centers = cluster_rows(pool, n_clusters)
        typical = _pick_within_each(pool, labels, centers, n_picks)
    order = representative_order(pool, typical.indices, typical.mass)
    return Typical(typical.indices[order], typical.mass[order], typical.near), labels


def _is_small(pool: Pool, n_picks: int) -> bool:
    n_groups = n_picks + len(pool.preselected)
    return int(np.count_nonzero(pool.usable)) * n_groups <= FLAT_LIMIT


def _n_outer_clusters(pool: Pool, n_picks: int) -> int:
    return default_n_clusters(int(np.count_nonzero(pool.usable)), isqrt(n_picks))


def _pick_within_each(pool: Pool, labels: NDArray, centers: NDArray, n_picks: int) -> Typical:
    """Pick each cluster's quota inside it."""
    quotas = spread_quotas(pool, labels, centers, n_picks, pool.candidates)
    members = members_of(labels)
    mass_of = np.zeros(len(pool.X))
    near = np.full(len(pool.X), -1, dtype=np.intp)
    picks = []
    for group in np.flatnonzero(quotas):
        rows = members[group][pool.usable[members[group]]]
        inner = _pick_inside(pool.restricted_to(rows), int(quotas[group]))
        picks.append(rows[inner.indices])
        mass_of[picks[-1]] = inner.mass
        near[rows] = np.where(inner.near < 0, -1, rows[inner.near])
    merged = interleave(picks)
    return Typical(merged, mass_of[merged], near)


def _pick_inside(pool: Pool, n_picks: int) -> Typical:
    """Pick rows of one cluster, a group for each pick and each labelled row."""
    n_groups = n_picks + len(pool.preselected)
    if not _is_small(pool, n_picks):
        labels, centers = cluster_rows(pool, _n_outer_clusters(pool, n_groups))
        # Rows that are all equal cannot be divided.
        if len(centers) > 1:
            return _pick_within_each(pool, labels, centers, n_picks)
    labels, centers = cluster_rows(pool, n_groups, weighted=True, train_rows=_INNER_TRAIN_ROWS)
    return _nearest_centroids(pool, labels, centers, n_picks)


def _nearest_centroids(pool: Pool, labels: NDArray, centers: NDArray, n_picks: int) -> Typical:
    """Pick the candidate nearest the centroid of each group, the largest groups first.

    A group that holds a labelled row has its turn only after the groups that hold none; where
    there are fewer groups than picks, the next nearest rows follow in the same way. Rows without
    weight come last. A pick stands for the mass of its group.
    """
    rows = np.flatnonzero(pool.candidates)
    group = labels[rows]
    sq_distances = own_center_sq_distances(RowSubset(pool.X, rows), centers, group)
    weightless = np.zeros(len(rows), dtype=bool)
    if pool.weights is not None:
        weightless = pool.weights[rows] == 0
    turn = _rank_within(group, np.lexsort((sq_distances, weightless, group)))
    turn += np.bincount(labels[pool.preselected], minlength=len(centers))[group]
    mass = group_mass(pool, labels)[group]
    chosen = np.lexsort((-mass, turn, weightless))[:n_picks]
    pick_of = np.full(len(centers), -1, dtype=np.intp)
    pick_of[group[chosen[::-1]]] = rows[chosen[::-1]]  # the first of several
    return Typical(rows[chosen], mass[chosen], pick_of[labels])


def _rank_within(group: NDArray, order: NDArray) -> NDArray:
    """Rank of each row among those of its group, for an `order` that is sorted by group."""
    sizes = np.bincount(group)
    starts = np.cumsum(sizes) - sizes
    rank = np.empty(len(group), dtype=np.intp)
    rank[order] = np.arange(len(group)) - starts[group[order]]
    return rank


def representative_order(pool: Pool, picks: NDArray, mass: NDArray) -> NDArray:
    """Order picks so that every prefix represents the groups' mass as well as it can.

    Greedy: each next pick is the one that most reduces the mean squared distance of the picks,
    each with the mass of its group, to the prefix (and to the labelled rows). Gains only shrink
    as the prefix grows, so most of them need not be computed anew.

    References
    ----------
    .. [1] M. Minoux, "Accelerated greedy algorithms for maximizing submodular set functions",
       Optimization Techniques, 1978.
    """
    n_picks = len(picks)
    if n_picks < 2 or n_picks**2 > FLAT_LIMIT:
        return np.arange(n_picks)
    # float64: the expanded form is exact enough to order prototypes that lie apart.
    points = pool.X[picks].astype(np.float64)
    distances = euclidean_distances(points - points.mean(axis=0), squared=True)
    if len(pool.preselected):
        remaining = nearest(pool.X[picks], pool.X[pool.preselected])[1]
    else:
        # Far away, so that the first pick is the one nearest to all.
        remaining = np.full(n_picks, 2 * distances.max())
    gains = mass @ np.maximum(remaining[:, None] - distances, 0)
    heap = [(-gain, rank) for rank, gain in enumerate(gains)]
    heapq.heapify(heap)
    order: list[int] = []
    while len(order) < n_picks:
        rank = heap[0][1]
        gain = mass @ np.maximum(remaining - distances[rank], 0)
        heapq.heapreplace(heap, (-gain, rank))
        if heap[0][1] == rank:
            heapq.heappop(heap)
            order.append(rank)
            np.minimum(remaining, distances[rank], out=remaining)
    return np.array(order, dtype=np.intp)
