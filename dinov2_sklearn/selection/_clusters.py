"""k-means groups, and how many picks each of them gets."""

import warnings
from math import isqrt

import numpy as np
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

MAX_DEFAULT_CLUSTERS = 100


def kmeans(
    X: np.ndarray,
    n_clusters: int,
    *,
    random_state: np.random.RandomState,
    weights: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Group rows by k-means.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    n_clusters : int
        Groups to look for, at least 1; no more than there are rows are made.
    random_state : RandomState
        Draws the seed of the k-means++ start.
    weights : ndarray of shape (n,), default=None
        How much each row pulls its centroid; equal where all are zero.

    Returns
    -------
    labels : ndarray of shape (n,)
        Group of each row. Every group from 0 to ``len(centers) - 1`` has a row.
    centers : ndarray of shape (n_groups, d)
        Centroids. Fewer than `n_clusters` where there are fewer distinct rows.
    """
    n_clusters = min(n_clusters, len(X))
    if weights is not None and not weights.any():
        weights = None
    seed = random_state.randint(np.iinfo(np.int32).max)
    model = KMeans(n_clusters, n_init=1, random_state=seed)
    with warnings.catch_warnings():
        # Fewer distinct rows than clusters: the empty ones are dropped below.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X, sample_weight=weights)
    used, labels = np.unique(model.labels_, return_inverse=True)
    return labels.reshape(-1), model.cluster_centers_[used]


def default_n_clusters(n_rows: int, n_picks: int) -> int:
    """Return how many clusters to spread `n_picks` over when the user does not say.

    The square root of the rows, but neither more than the picks (a cluster without a pick is of
    no use) nor more than 100 (k-means over all rows would dominate the time).
    """
    return max(1, min(n_picks, isqrt(n_rows), MAX_DEFAULT_CLUSTERS))


def allocate_quotas(
    sizes: np.ndarray, total: int, *, shares: np.ndarray | None = None
) -> np.ndarray:
    """Divide `total` picks among clusters in proportion, by largest remainder.

    Parameters
    ----------
    sizes : ndarray of int of shape (k,)
        Rows that each cluster has to give: no quota exceeds its size.
    total : int
        Picks to divide, from 0 to ``sizes.sum()``.
    shares : ndarray of shape (k,), default=None
        Non-negative numbers that the quotas are proportional to; the sizes if None. What a full
        cluster cannot take goes to the others; clusters with no share get picks last.

    Returns
    -------
    quotas : ndarray of int of shape (k,)
        ``0 <= quotas <= sizes`` with ``quotas.sum() == total``.
    """
    sizes = np.asarray(sizes)
    if not 0 <= total <= sizes.sum():
        raise ValueError(f"Cannot divide {total} picks among {sizes.sum()} rows.")
    quotas = np.zeros(len(sizes), dtype=np.intp)
    share = np.asarray(sizes if shares is None else shares, dtype=np.float64)
    while (left := total - int(quotas.sum())) > 0:
        open_ = (share > 0) & (quotas < sizes)
        if not open_.any():
            share = sizes.astype(np.float64)
            continue
        open_share = np.where(open_, share, 0.0)
        ideal = left * (open_share / open_share.sum())
        full = open_ & (ideal >= sizes)
        if full.any():
            quotas[full] = sizes[full]
        else:
            quotas += _largest_remainder(ideal, left)
    return quotas


def _largest_remainder(ideal: np.ndarray, total: int) -> np.ndarray:
    quotas = np.floor(ideal).astype(np.intp)
    by_remainder = np.argsort(quotas - ideal, kind="stable")
    quotas[by_remainder[: total - quotas.sum()]] += 1
    return quotas


def extend_quotas(
    sizes: np.ndarray, covered: np.ndarray, total: int, *, shares: np.ndarray | None = None
) -> np.ndarray:
    """Divide `total` new picks so that they and the rows already labelled are in proportion.

    Parameters
    ----------
    sizes : ndarray of int of shape (k,)
        Rows of each cluster that are still to be had.
    covered : ndarray of int of shape (k,)
        Rows of each cluster that are labelled already.
    total : int
        New picks, from 0 to ``sizes.sum()``.
    shares : ndarray of shape (k,), default=None
        Numbers that old and new picks together are proportional to; all rows if None.

    Returns
    -------
    quotas : ndarray of int of shape (k,)
        New picks of each cluster, ``0 <= quotas <= sizes``, summing to `total`.
    """
    wanted = allocate_quotas(sizes + covered, total + int(covered.sum()), shares=shares)
    missing = np.maximum(wanted - covered, 0)
    # Where a cluster has more labelled rows than its due, the others get less than theirs.
    return allocate_quotas(missing, total)


def interleave(groups: list[np.ndarray]) -> np.ndarray:
    """Merge the groups' picks so that every prefix holds each group in proportion.

    Each group keeps its own order; pick ``r`` of ``q`` stands at ``(r + 1/2) / q`` of the whole.
    """
    if not groups:
        return np.empty(0, dtype=np.intp)
    position = np.concatenate([(np.arange(len(group)) + 0.5) / len(group) for group in groups])
    # In a tie the larger group comes first: it stands for more rows.
    size = np.concatenate([np.full(len(group), len(group)) for group in groups])
    return np.concatenate(groups)[np.lexsort((-size, position))].astype(np.intp)
