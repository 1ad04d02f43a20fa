"""k-means groups, and how many picks each of them gets."""

import warnings
from math import isqrt

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import leaves_list, linkage
from sklearn.cluster import KMeans, kmeans_plusplus
from sklearn.exceptions import ConvergenceWarning

from ...neighbors import Rows, assign

__all__ = [
    "TRAIN_ROWS",
    "allocate_quotas",
    "default_n_clusters",
    "dues",
    "interleave",
    "kmeans",
    "order_by_likeness",
]

MAX_DEFAULT_CLUSTERS = 100

# Centroids are means: more rows than these for each of them hardly move them.
TRAIN_ROWS = 256
# The start needs fewer, and Lloyd's iterations gain next to nothing after so many.
_SEED_SHARE = 4
_MAX_ITER = 20
# A tree of more clusters than these takes longer than the clusters themselves.
_TREE_LIMIT = 4096


def kmeans(
    X: Rows,
    n_clusters: int,
    *,
    random_state: np.random.RandomState,
    usable: NDArray | None = None,
    weights: NDArray | None = None,
    train_rows: int = TRAIN_ROWS,
) -> tuple[NDArray, NDArray]:
    """Group rows by k-means, trained on a sample of them.

    Parameters
    ----------
    X : ndarray or Rows of shape (n, d)
    n_clusters : int
        Groups to look for, at least 1; no more than there are usable rows are made.
    random_state : RandomState
        Draws the sample and the seed of the k-means++ start.
    usable : ndarray of bool of shape (n,), default=None
        Rows that shape the groups; all if None.
    weights : ndarray of shape (n,), default=None
        How much each row pulls its centroid; equal where all are zero.
    train_rows : int, default=256
        Rows to train on for each group.

    Returns
    -------
    labels : ndarray of shape (n,)
        Group of each row. Every group from 0 to ``len(centers) - 1`` has a usable row.
    centers : ndarray of shape (n_groups, d)
        Centroids. Fewer than `n_clusters` where there are fewer distinct rows.

    Notes
    -----
    A k-means++ start on a quarter of the sample, at most 20 of Lloyd's iterations on the sample,
    and one pass over all rows: O(n_clusters^2 d train_rows + n n_clusters d).
    """
    rows = np.arange(len(X)) if usable is None else np.flatnonzero(usable)
    n_clusters = min(n_clusters, len(rows))
    if weights is not None and not weights[rows].any():
        weights = None
    centers = _trained_centers(X, rows, n_clusters, random_state, weights, train_rows)
    while True:
        labels = assign(X, centers)
        used = np.unique(labels[rows])
        if len(used) == len(centers):
            return labels, centers
        centers = centers[used]


def _trained_centers(
    X: Rows,
    rows: NDArray,
    n_clusters: int,
    random_state: np.random.RandomState,
    weights: NDArray | None,
    train_rows: int,
) -> NDArray:
    """Centroids of k-means over a random sample of some rows."""
    order = random_state.permutation(rows)
    if weights is not None:
        # Rows without weight do not pull: they are drawn only for want of others.
        order = order[np.argsort(weights[order] == 0, kind="stable")]
    sample = order[: train_rows * n_clusters]
    seeds = order[: max(1, train_rows // _SEED_SHARE) * n_clusters]
    pull = None if weights is None else weights[sample]
    start, _ = kmeans_plusplus(
        # float64, as scikit-learn would convert float32 anew for every center.
        X[seeds].astype(np.float64),
        n_clusters,
        sample_weight=None if weights is None else weights[seeds],
        random_state=random_state.randint(np.iinfo(np.int32).max),
    )
    model = KMeans(n_clusters, init=start.astype(X.dtype), n_init=1, max_iter=_MAX_ITER)
    with warnings.catch_warnings():
        # Fewer distinct rows than clusters: the empty ones are dropped afterwards.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X[sample], sample_weight=pull)
    centers: NDArray = model.cluster_centers_
    return centers


def default_n_clusters(n_rows: int, n_picks: int) -> int:
    """Return how many clusters to spread `n_picks` over when the user does not say.

    The square root of the rows, but neither more than the picks (a cluster without a pick is of
    no use) nor more than 100 (k-means over all rows would dominate the time).
    """
    return max(1, min(n_picks, isqrt(n_rows), MAX_DEFAULT_CLUSTERS))


def order_by_likeness(centers: NDArray) -> NDArray[np.intp]:
    """Order clusters so that those alike stand side by side: the leaves of a tree of them."""
    if not 2 < len(centers) <= _TREE_LIMIT:
        return np.arange(len(centers))
    return leaves_list(linkage(centers, "average")).astype(np.intp)


def dues(
    sizes: NDArray[np.intp], total: float, *, shares: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Divide `total` picks among clusters in proportion, in fractions of picks.

    No due exceeds its cluster's size; what a full cluster cannot take goes to the others in
    proportion. Clusters with no share get picks last. `shares` are the sizes if None.
    """
    sizes = np.asarray(sizes)
    if not 0 <= total <= sizes.sum():
        raise ValueError(f"Cannot divide {total} picks among {sizes.sum()} rows.")
    due = np.zeros(len(sizes))
    share = np.asarray(sizes if shares is None else shares, dtype=np.float64)
    while (left := total - due.sum()) > 1e-9 * max(total, 1):
        open_ = (share > 0) & (due < sizes)
        if not open_.any():
            share = sizes.astype(np.float64)
            continue
        open_share = np.where(open_, share, 0.0)
        open_share /= open_share.max()
        ideal = left * (open_share / open_share.sum())
        full = open_ & (due + ideal >= sizes)
        due = np.where(full, sizes, due) if full.any() else due + ideal
    return due


def allocate_quotas(
    sizes: NDArray[np.intp],
    covered: NDArray[np.intp],
    total: int,
    random_state: np.random.RandomState,
    *,
    shares: NDArray[np.float64] | None = None,
) -> NDArray[np.intp]:
    """Divide `total` new picks so that they and the rows already labelled are in proportion.

    Parameters
    ----------
    sizes : ndarray of int of shape (k,)
        Rows of each cluster that are still to be had: no quota exceeds its size.
    covered : ndarray of int of shape (k,)
        Rows of each cluster that are labelled already.
    total : int
        New picks, from 0 to ``sizes.sum()``.
    random_state : RandomState
        Draws which fractions of picks become whole ones.
    shares : ndarray of shape (k,), default=None
        Non-negative numbers that old and new picks together are proportional to; all rows of
        each cluster if None.

    Returns
    -------
    quotas : ndarray of int of shape (k,)
        Less than one pick from what each cluster is due, on average exactly that, and summing to
        `total`.

    Notes
    -----
    Systematic sampling: with the dues laid end to end, a pick stands at each whole number after a
    start drawn from [0, 1). So not only each cluster, but each run of clusters that follow one
    another is within one pick of its due. Cutting fractions off instead would leave out every
    cluster that is due less than one pick, always the same ones.
    """
    wanted = dues(sizes + covered, total + int(covered.sum()), shares=shares)
    # Where a cluster has more labelled rows than its due, the others get less than theirs.
    due = dues(sizes, total, shares=np.maximum(wanted - covered, 0))
    ends = np.cumsum(due)
    ends[len(ends) - 1 :] = total
    # Rounding must not carry a sum that is whole over the next whole number, or under it.
    whole = np.round(ends)
    ends = np.where(np.abs(ends - whole) < 1e-9 * max(total, 1), whole, ends)
    marks = np.floor(ends + random_state.uniform()).astype(np.intp)
    return np.minimum(np.diff(marks, prepend=0), sizes)


def interleave(groups: list[NDArray]) -> NDArray:
    """Merge the groups' picks so that every prefix holds each group in proportion.

    Each group keeps its own order; pick ``r`` of ``q`` stands at ``(r + 1/2) / q`` of the whole.
    """
    if not groups:
        return np.empty(0, dtype=np.intp)
    position = np.concatenate([(np.arange(len(group)) + 0.5) / len(group) for group in groups])
    # In a tie the larger group comes first: it stands for more rows.
    size = np.concatenate([np.full(len(group), len(group)) for group in groups])
    return np.concatenate(groups)[np.lexsort((-size, position))].astype(np.intp)
