"""The layout: points that descend UMAP's objective all at once, the same for any number of threads.

**The objective.** Rows i and j are joined by an edge of weight w_ij, and p_i is the sum of a row's
weights. With points at distance d on the map, of the similarity ``q(d) = 1 / (1 + a d^(2b))``, ::

    E = 2 sum_(i<j) w_ij (-log q(d_ij)) + 5 sum_(i<j) (p_i + p_j) / (2 n) R(d_ij)

where R is ``-log(1 - q)`` with a slope of at most 4, and softened near 0 as in umap-learn, whose
1 / d^2 is a 1 / (d^2 + 0.001). This is what umap-learn's sampling of edges and of five negatives
for each descends in expectation [1]_, but that a negative's weight here is the mean of both ends'.

**The step.** All points move at once, each given where the others were. A point with pulls P_j, of
sum S, and the push G steps by ::

    sum_j P_j (y_j - y) * alpha / (1 + alpha S)  +  G * alpha / sqrt(1 + alpha S)

The first is the step to where the pulls alone would leave it, were it to feel them along the way:
the implicit Euler step. Explicit steps of all points at once overshoot and swing as soon as alpha S
is above 2; these cannot. Pushes are damped less, so that crowds open early. As alpha falls to 0 so
do both dampings: the layout comes to rest where the gradient of E is 0.

**The negatives.** Pushes are averaged over 32 points of the map, drawn anew for each block of some
1,000 rows and each pass: an unbiased estimate for each row. Rows share a block by their number of
neighbours and not by place, so that what they share in noise moves the block as a whole. Where
there are few blocks this would not hold, and an island of rows would be kicked far away: of fewer
than 8,192 rows more points push, and of up to 512 all.

**The same bytes.** What a block becomes depends on the last pass, its number and the seed. Who
computes it does not matter.

References
----------
.. [1] Damrich, S. and Hamprecht, F. A. (2021). On UMAP's true loss function. NeurIPS 34.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from threadpoolctl import threadpool_limits

from ..utils import Progress

__all__ = ["LONGEST_PUSH", "N_PUSHES", "SOFTENING", "default_n_epochs", "optimize_layout"]

N_NEGATIVES, PUSHES_OF_A_PASS = 32, 2**18
N_PUSHES = 5.0  # the weight of pushes: umap-learn draws so many negatives for each edge
LONGEST_PUSH = 4.0
SOFTENING = 0.001
BLOCK_SIZE, BLOCK_ROWS = 2**15, 2048  # edges and rows of a block
# Forces are looked up by the sign, the exponent and the first 9 bits of the mantissa of a squared
# distance: they are right to 0.1%, and the same on every processor.
DROPPED_BITS = 14


def default_n_epochs(n_rows: int) -> int:
    """Say how many passes a layout takes: as umap-learn does but where rows lie so close that more
    of them are needed to come apart.
    """
    return 500 if n_rows <= 10_000 else 200 if n_rows <= 100_000 else 300


def optimize_layout(
    graph: csr_array,
    start: NDArray[np.float32],
    curve: tuple[float, float],
    *,
    n_epochs: int,
    seed: int,
    n_threads: int = 1,
    progress: Progress | None = None,
) -> NDArray[np.float32]:
    """Descend the objective from a start; see the head of this module.

    The graph is symmetric with an empty diagonal, the start of shape (n_rows, n_components), and
    `curve` UMAP's ``a`` and ``b``.
    """
    order = np.argsort(np.diff(graph.indptr), kind="stable")
    layout = _Layout(graph, order, _force_tables(*curve), seed)
    points = np.ascontiguousarray(start[order].T, dtype=np.float32)
    moved = np.empty_like(points)
    blocks = range(len(layout.blocks))
    n_threads = min(n_threads, len(blocks))
    with threadpool_limits(limits=1), ThreadPoolExecutor(n_threads) as pool:
        run: Callable = map if n_threads == 1 else pool.map
        for epoch in range(n_epochs):
            alpha = np.float32(1 - epoch / n_epochs)
            args = (points, moved, alpha, epoch)
            list(run(lambda block, args=args: layout.step(block, *args), blocks))
            points, moved = moved, points
            if progress is not None:
                progress.update()
    placed = np.empty_like(start)
    placed[order] = points.T
    return placed


class _Forces(NamedTuple):
    """Forces by squared distance: what an offset is multiplied with."""

    pull: NDArray[np.float32]
    push: NDArray[np.float32]


def _force_tables(a: float, b: float) -> _Forces:
    bits = np.arange(2 ** (31 - DROPPED_BITS), dtype=np.int32) << DROPPED_BITS
    # The middle of all numbers that begin with these bits; from infinity on there are none.
    middles = (bits | 1 << (DROPPED_BITS - 1))[: np.float32(np.inf).view(np.int32) >> DROPPED_BITS]
    squared = middles.view(np.float32).astype(np.float64)
    pull = 4 * a * b * squared ** (b - 1) / (1 + a * squared**b)
    push = 2 * b / ((SOFTENING + squared) * (1 + a * squared**b))
    push = np.minimum(push, LONGEST_PUSH / np.sqrt(squared))
    return _Forces(pull.astype(np.float32), push.astype(np.float32))


class _Block(NamedTuple):
    rows: slice
    """Which rows, by their places in the order of the layout."""
    neighbors: NDArray[np.intp]
    """(most_neighbors, n_rows); the row itself, which does not pull, where it has fewer."""
    weights: NDArray[np.float32]


class _Layout:
    """The graph, cut into blocks of rows with about as many neighbours each."""

    def __init__(
        self, graph: csr_array, order: NDArray[np.intp], forces: _Forces, seed: int
    ) -> None:
        self._forces = forces
        self._seed = seed
        self._n_rows = len(order)
        self._n_negatives = min(self._n_rows, max(N_NEGATIVES, PUSHES_OF_A_PASS // self._n_rows))
        # Half of each row's share in the weight of a push.
        share = N_PUSHES / self._n_negatives / 2
        self._masses = (graph.sum(axis=1)[order] * share).astype(np.float32)
        self.blocks = list(_cut(graph, order))
        self._size = max(
            max(len(block.weights), self._n_negatives) * block.weights.shape[1]
            for block in self.blocks
        )
        self._of_thread = threading.local()

    def step(
        self,
        number: int,
        points: NDArray[np.float32],
        moved: NDArray[np.float32],
        alpha: np.float32,
        epoch: int,
    ) -> None:
        """Move the rows of a block."""
        block = self.blocks[number]
        own = points[:, block.rows]
        offsets, force = self._weigh(points, block.neighbors, own, self._forces.pull)
        force *= block.weights
        damping = 1 / (1 + alpha * force.sum(axis=0))
        pull = _sum_along(offsets, force)
        negatives = self._draw_negatives(number, epoch)
        offsets, force = self._weigh(points, negatives, own, self._forces.push)
        force *= self._masses[block.rows] + self._masses[negatives]
        push = _sum_along(offsets, force)
        moved[:, block.rows] = own + alpha * (damping * pull - np.sqrt(damping) * push)

    def _draw_negatives(self, block: int, epoch: int) -> NDArray[np.intp]:
        if self._n_negatives == self._n_rows:
            return np.arange(self._n_rows)[:, None]
        key = [self._seed, (epoch << 32) + block]
        draw = np.random.Generator(np.random.Philox(key=key))
        return draw.integers(0, self._n_rows, size=(self._n_negatives, 1))

    def _weigh(
        self,
        points: NDArray[np.float32],
        others: NDArray[np.intp],
        own: NDArray[np.float32],
        table: NDArray[np.float32],
    ) -> tuple[list[NDArray[np.float32]], NDArray[np.float32]]:
        """Return offsets to other points, one coordinate after the other, and their forces."""
        shape = (len(others), own.shape[1])
        offsets, squared, force, places = self._buffers(len(points), shape)
        for coordinate, offset in enumerate(offsets):
            if others.shape == shape:
                np.take(points[coordinate], others, out=offset, mode="clip")
                offset -= own[coordinate]
            else:
                np.subtract(points[coordinate][others], own[coordinate], out=offset)
            np.multiply(offset, offset, out=force if coordinate else squared)
            if coordinate:
                squared += force
        np.right_shift(squared.view(np.int32), DROPPED_BITS, out=places, casting="unsafe")
        np.take(table, places, out=force, mode="clip")
        return offsets, force

    def _buffers(self, n_components: int, shape: tuple[int, int]) -> tuple:
        """Return room for one pass over a block, the same for every block of a thread."""
        local = self._of_thread
        if not hasattr(local, "floats"):
            local.floats = np.empty((n_components + 2, self._size), dtype=np.float32)
            local.places = np.empty(self._size, dtype=np.intp)
        size = shape[0] * shape[1]
        floats = [buffer[:size].reshape(shape) for buffer in local.floats]
        return floats[:-2], floats[-2], floats[-1], local.places[:size].reshape(shape)


def _sum_along(
    offsets: list[NDArray[np.float32]], force: NDArray[np.float32]
) -> NDArray[np.float32]:
    total = np.empty((len(offsets), force.shape[1]), dtype=np.float32)
    for offset, out in zip(offsets, total, strict=True):
        offset *= force
        offset.sum(axis=0, out=out)
    return total


def _cut(graph: csr_array, order: NDArray[np.intp]) -> Iterator[_Block]:
    """Cut rows, in ascending order of their degrees, into blocks; pad the neighbours of each."""
    starts, degrees = graph.indptr[:-1][order], np.diff(graph.indptr)[order]
    place = np.empty(len(order), dtype=np.intp)
    place[order] = np.arange(len(order))
    start = 0
    while start < len(order):
        stop = min(len(order), start + BLOCK_ROWS)
        ahead = np.arange(1, stop - start + 1) * degrees[start:stop]
        stop = start + max(1, int(np.searchsorted(ahead, BLOCK_SIZE, side="right")))
        rank = np.arange(degrees[stop - 1])[:, None]
        is_edge = rank < degrees[start:stop]
        edge = np.where(is_edge, starts[start:stop] + rank, 0)
        neighbors = np.where(is_edge, place[graph.indices[edge]], np.arange(start, stop))
        weights = np.where(is_edge, graph.data[edge], np.float32(0))
        yield _Block(slice(start, stop), neighbors, weights)
        start = stop
