"""What a strategy is given, and what it returns."""

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import euclidean_distances

from ...neighbors import Rows, RowSubset, members_of, nearest, own_center_sq_distances
from ._clusters import TRAIN_ROWS, allocate_quotas, kmeans, order_by_likeness

__all__ = [
    "Pool",
    "Subset",
    "cluster_quotas",
    "cluster_rows",
    "count_things",
    "group_mass",
    "spread_quotas",
]

# Rows of a cluster among which bursts are looked for, and how many of them make one.
_SAMPLE_ROWS = 256
_BURST_ROWS = 8
# How near to each other the frames of a burst are, as a share of how far rows are from their
# centroids.
_BURST_SIZE = 0.1


@dataclass(frozen=True)
class Subset:
    """Picked rows, and what choosing them found out.

    Attributes
    ----------
    indices : ndarray of shape (n_picks,)
        Rows in pick order.
    labels : ndarray of shape (n,) or None
        The cluster of every row, where there are clusters.
    costs : ndarray of shape (n_known,) or None
        After each of the first picks, the sum of mass times squared distance to the nearest.
    sq_distances : ndarray of shape (n,) or None
        Squared distance of rows to the nearest of these picks or labelled row; NaN where it is not
        known.
    nearest : ndarray of int of shape (n,) or None
        Which one that is, where the distance is known: the rank of a pick, or for a labelled row
        a negative number, by which it stands in `Pool.labelled_rows`.
    least_costs : ndarray of shape (n_picks,) or None
        What no choice of as many candidates can fall below.
    """

    indices: NDArray[np.intp]
    labels: NDArray[np.intp] | None = None
    sq_distances: NDArray[np.float64] | None = None
    nearest: NDArray[np.intp] | None = None
    costs: NDArray[np.float64] | None = None
    least_costs: NDArray[np.float64] | None = None


def _no_rows() -> NDArray[np.intp]:
    return np.empty(0, dtype=np.intp)


@dataclass(frozen=True)
class Pool:
    """Rows to pick from, and what is known of them.

    Attributes
    ----------
    X : Rows of shape (n, d)
        Rows in Euclidean geometry.
    candidates : ndarray of bool of shape (n,)
        Rows that may be picked; of equal rows one alone, and none that equals a labelled one.
    mass : ndarray of shape (n,)
        What each row weighs among those to be covered: the weights of all rows that equal it, 1
        each by default. 0 for rows that are stood for by an equal one, or left out as outliers.
    stand_in : ndarray of int of shape (n,)
        For each row the one among those equal to it that stands for all of them.
    preselected : ndarray of int
        Rows that are labelled already.
    elsewhere : ndarray of shape (m, d) or None
        Rows that are not among X and are labelled, or picked, already.
    weights : ndarray of shape (n,) or None
        Non-negative shares of the largest, positive for some candidate.
    random_state : RandomState
    min_sq_distance : float
        Squared distance that picks keep from each other and from what is labelled.
    raw : ndarray of shape (n, d) or None
        The rows as the user knows them, for a strategy of the user's.
    n_clusters : int or None
    fps_ratio : float
    fps_scope : {"global", "cluster"}
    """

    X: Rows
    candidates: NDArray[np.bool_]
    mass: NDArray[np.float64]
    stand_in: NDArray[np.intp]
    random_state: np.random.RandomState
    preselected: NDArray[np.intp] = field(default_factory=_no_rows)
    elsewhere: NDArray | None = None
    weights: NDArray[np.float64] | None = None
    min_sq_distance: float = 0.0
    raw: NDArray | None = None
    n_clusters: int | None = None
    fps_ratio: float = 0.15
    fps_scope: str = "global"

    @cached_property
    def usable(self) -> NDArray[np.bool_]:
        """Mask of the rows that shape the clusters: candidates and labelled rows."""
        usable = self.candidates.copy()
        usable[self.preselected] = True
        return usable

    @cached_property
    def sq_distances_elsewhere(self) -> NDArray[np.float64] | None:
        """Squared distance of each row to the nearest of those elsewhere, if there are any."""
        if self.elsewhere is None or not len(self.elsewhere):
            return None
        return nearest(self.X, self.elsewhere)[1]

    def count_far(self, n_picks: int) -> int:
        """Say how many of the picks are far ones: a small budget goes to what is common."""
        return int(self.fps_ratio * n_picks + 1e-9)

    def labelled_rows(self) -> NDArray:
        """Rows that picks keep away from: those elsewhere, and the preselected ones."""
        inside = self.X[self.preselected]
        return inside if self.elsewhere is None else np.concatenate([self.elsewhere, inside])

    def restricted_to(self, members: NDArray[np.intp], elsewhere: NDArray | None = None) -> "Pool":
        """Return the same over some of the rows, none of which is copied."""
        return replace(
            self,
            X=RowSubset(self.X, members),
            candidates=self.candidates[members],
            mass=self.mass[members],
            stand_in=np.arange(len(members)),
            preselected=np.flatnonzero(np.isin(members, self.preselected)),
            elsewhere=self.elsewhere if elsewhere is None else elsewhere,
            weights=None if self.weights is None else self.weights[members],
            raw=None if self.raw is None else self.raw[members],
        )


def cluster_rows(
    pool: Pool, n_clusters: int, *, weighted: bool = False, train_rows: int = TRAIN_ROWS
) -> tuple[NDArray[np.intp], NDArray]:
    """k-means over the usable rows; the others get the label of the nearest centroid."""
    return kmeans(
        pool.X,
        n_clusters,
        random_state=pool.random_state,
        usable=pool.usable,
        weights=pool.weights if weighted else None,
        train_rows=train_rows,
    )


def count_things(pool: Pool, labels: NDArray[np.intp], centers: NDArray) -> NDArray[np.float64]:
    """Count each row as one thing, but a burst of nearly equal frames as one together.

    A burst is found in a sample of each cluster, so where it is a few hundredths of the cluster.
    """
    things = np.ones(len(pool.X))
    rows = np.flatnonzero(pool.usable)
    apart = own_center_sq_distances(RowSubset(pool.X, rows), centers, labels[rows])
    sq_size = _BURST_SIZE**2 * apart.mean()
    draw = np.random.RandomState(0)
    for group in members_of(labels[rows]):
        members = rows[group]
        sample = pool.X[draw.permutation(members)[:_SAMPLE_ROWS]]
        for frame in _burst_frames(sample, sq_size):
            _, away = nearest(RowSubset(pool.X, members), frame[np.newaxis])
            frames = members[away <= sq_size]
            things[frames] = 1 / len(frames)
    return things


def _burst_frames(sample: NDArray, sq_size: float) -> list[NDArray]:
    """Return a frame of each burst in a sample, the one with the most others near it."""
    near = euclidean_distances(sample, squared=True) <= sq_size
    frames = []
    while len(near) and (counts := near.sum(axis=0)).max() >= _BURST_ROWS:
        frame = counts.argmax()
        frames.append(sample[frame])
        near &= ~(near[frame] | near[frame][:, np.newaxis])
    return frames


def cluster_quotas(
    pool: Pool, labels: NDArray[np.intp], centers: NDArray, n_picks: int
) -> NDArray[np.intp]:
    """Give each cluster picks in proportion to its size or, with weights, to its total weight."""
    shares = None if pool.weights is None else group_mass(pool, labels)
    return _divide(pool, labels, centers, n_picks, pool.candidates, shares)


def spread_quotas(
    pool: Pool,
    labels: NDArray[np.intp],
    centers: NDArray,
    n_picks: int,
    candidates: NDArray[np.bool_],
) -> NDArray[np.intp]:
    """Give each cluster picks in proportion to its spread about its centroid.

    By its size, a burst of frames that are nearly equal would get as many as its frames are.
    """
    rows = np.flatnonzero(pool.usable)
    spread = own_center_sq_distances(RowSubset(pool.X, rows), centers, labels[rows])
    if pool.weights is not None:
        spread = spread * pool.weights[rows]
    shares = np.bincount(labels[rows], spread, minlength=len(centers)).astype(np.float64)
    return _divide(pool, labels, centers, n_picks, candidates, shares)


def _divide(
    pool: Pool,
    labels: NDArray[np.intp],
    centers: NDArray,
    n_picks: int,
    candidates: NDArray[np.bool_],
    shares: NDArray[np.float64] | None,
) -> NDArray[np.intp]:
    sizes = np.bincount(labels[candidates], minlength=len(centers))
    covered = np.bincount(labels[pool.preselected], minlength=len(centers))
    # Side by side with those alike, so that what rounding takes from one, one like it gets.
    order = order_by_likeness(centers)
    quotas = np.empty(len(centers), dtype=np.intp)
    quotas[order] = allocate_quotas(
        sizes[order],
        covered[order],
        n_picks,
        pool.random_state,
        shares=None if shares is None else shares[order],
    )
    return quotas


def group_mass(pool: Pool, labels: NDArray[np.intp]) -> NDArray[np.float64]:
    """Usable rows of each group or, with weights, their total weight."""
    weights = None if pool.weights is None else pool.weights[pool.usable]
    n_groups = int(labels.max()) + 1
    return np.bincount(labels[pool.usable], weights, minlength=n_groups).astype(np.float64)
