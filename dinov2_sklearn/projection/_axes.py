"""Principal axes, the same for any number of threads: sums of blocks in the order of the rows."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh
from sklearn.utils import gen_batches
from threadpoolctl import threadpool_limits

from ..neighbors import for_each, map_blocks

__all__ = ["Axes", "along_axes", "principal_axes", "principal_layout"]

BLOCK_ROWS = 4096
N_PARTS = 16  # sums that are added up at the end


class Axes(NamedTuple):
    """Principal axes of a matrix."""

    mean: NDArray[np.float32]
    components: NDArray[np.float32]
    loss: float
    """The share of the variance that the axes leave out."""


def principal_axes(rows: NDArray[np.float32], n_components: int) -> Axes:
    """Find the first principal axes, at most as many as the matrix has rows or columns."""
    n_components = min(n_components, *rows.shape)
    # Scaled, so that no square overflows.
    scale = _largest(rows) or 1.0
    mean = rows.mean(axis=0, dtype=np.float64)
    with threadpool_limits(limits=1):
        if len(rows) < rows.shape[1]:
            centred = (rows - mean) / scale
            products = centred @ centred.T
        else:
            products = _scatter(rows, mean, scale)
        size = len(products)
        values, vectors = eigh(products, subset_by_index=[size - n_components, size - 1])
        axes = vectors[:, ::-1]
        if len(rows) < rows.shape[1]:
            axes = np.linalg.qr(centred.T @ axes)[0]
    # The sign of an axis means nothing: its largest entry is made positive.
    axes *= np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(n_components)])
    total = float(np.trace(products))
    loss = 1 - float(values.sum()) / total if total > 0 else 0.0
    return Axes(mean.astype(np.float32), axes.T.astype(np.float32), min(max(loss, 0.0), 1.0))


def along_axes(
    rows: NDArray[np.floating], mean: NDArray[np.float32], components: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return each row's coordinates on some axes, whatever other rows there are."""
    center, axes = mean.astype(np.float64), components.T.astype(np.float64)
    return map_blocks(lambda block: (block - center) @ axes, rows, axes.shape[1])


def _largest(rows: NDArray[np.float32]) -> float:
    return max(float(rows.max(initial=0)), -float(rows.min(initial=0)))


def _scatter(
    rows: NDArray[np.float32], mean: NDArray[np.float64], scale: float
) -> NDArray[np.float64]:
    """Sum the products of centred and scaled rows with themselves."""
    parts = list(gen_batches(len(rows), max(BLOCK_ROWS, -(-len(rows) // N_PARTS))))
    sums = np.zeros((len(parts), rows.shape[1], rows.shape[1]))

    def add(part: int) -> None:
        start, stop = parts[part].start, parts[part].stop
        for batch in gen_batches(stop - start, BLOCK_ROWS):
            block = (rows[start:stop][batch] - mean) / scale
            sums[part] += block.T @ block

    for_each(add, range(len(parts)))
    return sums.sum(axis=0)


def principal_layout(rows: NDArray[np.float32], n_components: int) -> NDArray[np.float32]:
    """Lay rows out on their first principal axes, the largest coordinate scaled to 10."""
    axes = principal_axes(rows, n_components)
    scale = _largest(rows) or 1.0
    along = axes.components.T.astype(np.float64)
    scores = map_blocks(lambda block: ((block - axes.mean) / scale) @ along, rows, along.shape[1])
    layout = np.zeros((len(rows), n_components), dtype=np.float32)
    layout[:, : scores.shape[1]] = scores
    largest = np.abs(layout).max()
    if largest <= np.finfo(np.float32).eps:
        return np.zeros_like(layout)
    return layout * (10 / largest)
