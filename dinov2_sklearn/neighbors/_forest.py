"""Minimum spanning forests, which hold all that connects rows in fewer pairs than rows."""

import threading
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree

__all__ = ["Forest", "Pairs", "connected", "renumber", "spans"]

# Pairs that wait to be merged into the forest, and heights at which the forest is cut.
_PENDING = 2**16
_N_HEIGHTS = 8


class Pairs(NamedTuple):
    """Pairs of rows and their squared distances, in ascending order of distance and index.

    Attributes
    ----------
    first, second : ndarray of int of shape (n_pairs,)
        The lower and the higher row of each pair.
    sq_distances : ndarray of shape (n_pairs,), float64
    """

    first: NDArray[np.intp]
    second: NDArray[np.intp]
    sq_distances: NDArray[np.float64]

    def where(self, mask: NDArray[np.bool_]) -> "Pairs":
        """Return some of the pairs."""
        return Pairs(self.first[mask], self.second[mask], self.sq_distances[mask])


def connected(n: int, first: NDArray[np.intp], second: NDArray[np.intp]) -> NDArray[np.int32]:
    """Label `n` rows with their connected groups, numbered in the order of their first rows."""
    graph = _graph(n, first, second, np.ones(len(first), dtype=bool))
    return renumber(connected_components(graph, directed=False)[1])


def renumber(labels: NDArray) -> NDArray[np.int32]:
    """Give groups new numbers, in the order of their first rows."""
    _, first, labels = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int32)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[labels.reshape(-1)]


def _spanning(n: int, first: NDArray, second: NDArray, order: NDArray) -> NDArray[np.intp]:
    """Return which pairs are in the minimum spanning forest, in the `order` of their lengths."""
    # Ranks instead of lengths: no two are equal, so there is one forest, and none is 0.
    ranks = np.empty(len(order))
    ranks[order] = np.arange(1, len(order) + 1)
    forest = minimum_spanning_tree(_graph(n, first, second, ranks))
    return order[np.sort(forest.data).astype(np.intp) - 1]


def _graph(n: int, first: NDArray, second: NDArray, values: NDArray) -> csr_array:
    # Row numbers of 32 bits: older versions of scipy's graph routines take no others.
    ends = first.astype(np.int32), second.astype(np.int32)
    return coo_array((values, ends), shape=(n, n)).tocsr()


class _Cut(NamedTuple):
    """A forest cut at some heights: rows with one label at a height are connected below it."""

    heights: NDArray[np.float64]
    labels: NDArray[np.int32]

    @classmethod
    def of(cls, n: int, pairs: Pairs) -> "_Cut":
        at = np.unique(np.linspace(0, len(pairs.first), _N_HEIGHTS + 1).astype(int))
        at = at[at > 0]
        labels = [connected(n, pairs.first[:count], pairs.second[:count]) for count in at]
        return cls(pairs.sq_distances[at - 1], np.array(labels, dtype=np.int32).reshape(-1, n))

    def bypassed(self, first: NDArray, second: NDArray, lower: NDArray) -> NDArray[np.bool_]:
        """Tell which pairs, at least `lower` apart, surely nearer pairs connect already."""
        bypassed = np.zeros(len(first), dtype=bool)
        for height, labels in zip(self.heights, self.labels, strict=True):
            bypassed |= (labels[first] == labels[second]) & (lower > height)
        return bypassed

    def reach(self, *groups: NDArray[np.intp]) -> list[NDArray[np.float64]]:
        """Return the heights from which each row is connected to the crowd of all these rows."""
        if len(self.heights) == 0:
            return [np.full(len(rows), np.inf) for rows in groups]
        everyone = np.concatenate(groups)
        _, place, counts = np.unique(
            self.labels[0, everyone], return_index=True, return_counts=True
        )
        crowd = self.labels[:, everyone[place[counts.argmax()]]]
        reached = []
        for rows in groups:
            together = self.labels[:, rows] == crowd[:, None]
            height = self.heights[together.argmax(axis=0)]
            reached.append(np.where(together.any(axis=0), height, np.inf))
        return reached


def spans(
    n: int, first: NDArray, second: NDArray, lower: NDArray, upper: NDArray
) -> NDArray[np.intp]:
    """Return which pairs may be in the minimum spanning forest, from bounds of their distances.

    Short pairs come first: they bypass most of the others, which are never sorted.
    """
    tree = few = np.empty(0, np.intp)
    left, n_short = np.arange(len(first)), 4 * n
    while len(left):
        order = np.arange(len(left))
        if len(left) > n_short:
            order = np.argpartition(upper[left], n_short)
        short, left = left[order[:n_short]], left[order[n_short:]]
        few = np.concatenate([few, short])
        some = np.concatenate([tree, short])
        order = np.argsort(upper[some], kind="stable")
        tree = some[_spanning(n, first[some], second[some], order)]
        group, height = connected(n, first[tree], second[tree]), upper[tree].max()
        left = left[(group[first[left]] != group[second[left]]) | (lower[left] <= height)]
        n_short *= 2
    cut = _Cut.of(n, Pairs(first[tree], second[tree], upper[tree]))
    return np.sort(few[~cut.bypassed(first[few], second[few], lower[few])])


class Forest:
    """The minimum spanning forest of all pairs added so far, from any thread."""

    def __init__(self, n: int):
        self._n = n
        nothing = np.empty(0, dtype=np.intp)
        self._pairs = Pairs(nothing, nothing, np.empty(0))
        self._pending: list[Pairs] = []
        self._n_pending = 0
        self._lock = threading.Lock()
        self.cut = _Cut.of(n, self._pairs)

    def add(self, pairs: Pairs) -> None:
        """Take pairs into account, each of them once."""
        with self._lock:
            self._pending.append(pairs)
            self._n_pending += len(pairs.first)
            if self._n_pending > max(_PENDING, self._n // 2):
                self._merge()
                # Replaced whole: who reads it meanwhile has the old one, which holds as well.
                self.cut = _Cut.of(self._n, self._pairs)

    def pairs(self) -> Pairs:
        """Return the forest."""
        with self._lock:
            self._merge()
        return self._pairs

    def _merge(self) -> None:
        first, second, sq_distances = map(
            np.concatenate, zip(self._pairs, *self._pending, strict=True)
        )
        self._pending, self._n_pending = [], 0
        if len(first):
            order = np.lexsort((second, first, sq_distances))
            kept = _spanning(self._n, first, second, order)
            self._pairs = Pairs(first[kept], second[kept], sq_distances[kept])
