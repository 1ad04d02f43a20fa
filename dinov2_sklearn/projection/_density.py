"""Very many points as a picture of their density."""

import numpy as np
from numpy.typing import NDArray

CELLS = 450  # along the longer side
FAINTEST = 0.25


def shade(
    positions: NDArray[np.float64], colors: NDArray[np.float64]
) -> tuple[NDArray[np.float64], tuple[float, float, float, float]]:
    """Count points in cells: a cell is as opaque as it is full, in the mean of its colours.

    Opacity goes with the logarithm of the count, from `FAINTEST` for a single point to 1 for the
    fullest cell, so that neither single points nor the inside of crowds are lost.

    Parameters
    ----------
    positions : ndarray of shape (n_points, 2)
    colors : ndarray of shape (n_points, 3)
        Red, green and blue, from 0 to 1.

    Returns
    -------
    picture : ndarray of shape (n_rows, n_columns, 4)
        From the lowest row up.
    extent : tuple of float
        Left, right, lower and upper end.
    """
    low, high = positions.min(axis=0), positions.max(axis=0)
    cell = float((high - low).max()) / CELLS or 1.0
    shape = (((high - low) / cell).astype(int) + 1)[::-1]
    column, row = ((positions - low) / cell).astype(int).T
    cells = row * shape[1] + column
    n_cells = int(shape.prod())
    counts = np.bincount(cells, minlength=n_cells)
    picture = np.zeros((n_cells, 4))
    full = counts > 0
    for channel in range(3):
        total = np.bincount(cells, weights=colors[:, channel], minlength=n_cells)
        picture[full, channel] = total[full] / counts[full]
    strength = np.log(counts[full]) / max(np.log(counts.max()), 1.0)
    picture[full, 3] = FAINTEST + (1 - FAINTEST) * strength
    upper = low + shape[::-1] * cell
    extent = (float(low[0]), float(upper[0]), float(low[1]), float(upper[1]))
    return picture.reshape(*shape, 4), extent
