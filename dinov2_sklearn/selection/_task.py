"""What a strategy is given, what it returns, and the two steps that several of them share."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from ..neighbors._geometry import Rows, RowSubset
from ._clusters import TRAIN_ROWS, extend_quotas, kmeans


class Picks(NamedTuple):
    """Picked rows in pick order, and the cluster of every row of X where there are clusters."""

    indices: np.ndarray
    labels: np.ndarray | None = None


@dataclass(frozen=True)
class Task:
    """Rows to pick from, and how.

    Attributes
    ----------
    X : ndarray or other Rows of shape (n, d)
        Rows in Euclidean geometry.
    n_picks : int
        Picks to return, at most the number of candidates.
    candidates : ndarray of bool of shape (n,)
        Rows that may be picked.
    preselected : ndarray of int
        Rows that are labelled already; none of them is a candidate.
    weights : ndarray of shape (n,) or None
        Non-negative shares of the largest, positive for some candidate.
    random_state : RandomState
    n_clusters : int or None
    fps_ratio : float
    fps_scope : {"global", "cluster"}
    """

    X: Rows
    n_picks: int
    candidates: np.ndarray
    preselected: np.ndarray
    weights: np.ndarray | None
    random_state: np.random.RandomState
    n_clusters: int | None = None
    fps_ratio: float = 0.3
    fps_scope: str = "global"

    @cached_property
    def usable(self) -> np.ndarray:
        """Mask of the rows that shape the clusters: candidates and labelled rows."""
        usable = self.candidates.copy()
        usable[self.preselected] = True
        return usable

    def restricted_to(self, members: np.ndarray) -> "Task":
        """Return the same task over some of the rows, none of which is copied."""
        return replace(
            self,
            X=RowSubset(self.X, members),
            candidates=self.candidates[members],
            preselected=np.flatnonzero(np.isin(members, self.preselected)),
            weights=None if self.weights is None else self.weights[members],
        )


def cluster_rows(
    task: Task, n_clusters: int, *, weighted: bool = False, train_rows: int = TRAIN_ROWS
) -> tuple[np.ndarray, np.ndarray]:
    """k-means over the usable rows; the others get the label of the nearest centroid."""
    return kmeans(
        task.X,
        n_clusters,
        random_state=task.random_state,
        usable=task.usable,
        weights=task.weights if weighted else None,
        train_rows=train_rows,
    )


def cluster_quotas(
    task: Task, labels: np.ndarray, n_picks: int, candidates: np.ndarray
) -> np.ndarray:
    """Give each cluster picks in proportion to its size or, with weights, to its total weight."""
    n_groups = int(labels.max()) + 1
    sizes = np.bincount(labels[candidates], minlength=n_groups)
    covered = np.bincount(labels[task.preselected], minlength=n_groups)
    shares = None
    if task.weights is not None:
        shares = group_mass(task, labels)
    return extend_quotas(sizes, covered, n_picks, shares=shares)


def group_mass(task: Task, labels: np.ndarray) -> np.ndarray:
    """Usable rows of each group or, with weights, their total weight."""
    weights = None if task.weights is None else task.weights[task.usable]
    return np.bincount(labels[task.usable], weights=weights, minlength=int(labels.max()) + 1)
