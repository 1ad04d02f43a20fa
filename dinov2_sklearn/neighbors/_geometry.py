"""Rows as the room sees them: always in Euclidean geometry, and never copied whole.

Everything inside this room is Euclidean: `to_geometry` turns cosine input into unit rows, whose
squared Euclidean distance is twice the cosine distance, and `to_metric` turns the squared
distances that the kernels return into what a user sees.
"""

from typing import Any, TypeAlias

import numpy as np
from sklearn.utils import gen_batches

# Elements of a temporary block: 1 MB of float32 stays in a core's cache while it is worked on. Wide
# rows make blocks of up to 16 MB, as long as they are too few for a product of matrices.
_BLOCK_SIZE, _LARGEST_BLOCK_SIZE, _FEW_ROWS = 2**18, 2**22, 256


class UnitRows:
    """Rows scaled to length one as they are read, in the precision of X: no copy of X is made.

    Parameters
    ----------
    X : ndarray of shape (n, d), float32 or float64
        No row of it is zero.
    """

    ndim = 2

    def __init__(self, X: np.ndarray):
        self.shape: tuple[int, int] = X.shape
        self.dtype: np.dtype[Any] = X.dtype
        self._X = X
        self._lengths = np.empty((len(X), 1), dtype=X.dtype)
        for rows in row_blocks(len(X), X.shape[1]):
            block = X[rows].astype(np.float64)
            # Scaled by the largest entry first: squares of tiny or huge entries leave float64.
            largest = np.abs(block).max(axis=1)
            block /= largest[:, None]
            self._lengths[rows, 0] = largest * np.sqrt(np.einsum("ij,ij->i", block, block))

    def __len__(self) -> int:
        return len(self._X)

    def __getitem__(self, rows: Any) -> np.ndarray:
        return self._X[rows] / self._lengths[rows]


class RowSubset:
    """Some of the rows, in a given order, gathered as they are read.

    Parameters
    ----------
    X : Rows of shape (n, d)
    rows : ndarray of int of shape (m,)
    """

    ndim = 2

    def __init__(self, X: "Rows", rows: np.ndarray):
        self.shape: tuple[int, int] = (len(rows), X.shape[1])
        self.dtype: np.dtype[Any] = X.dtype
        self._X = X
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, rows: Any) -> np.ndarray:
        return self._X[self._rows[rows]]


Rows: TypeAlias = np.ndarray | UnitRows | RowSubset


def to_geometry(X: np.ndarray, metric: str) -> Rows:
    """Return rows whose Euclidean geometry is that of `metric`; `X` itself if it has it already."""
    return X if metric == "euclidean" else UnitRows(X)


def to_metric(sq_distances: np.ndarray, metric: str) -> np.ndarray:
    """Return distances of `metric` from squared Euclidean ones between geometry rows."""
    return np.sqrt(sq_distances) if metric == "euclidean" else sq_distances / 2


def row_blocks(n_rows: int, width: int) -> list[slice]:
    """Cut rows of `width` elements into blocks of a limited size."""
    if n_rows == 0:
        return []
    width = max(1, width)
    few = min(_FEW_ROWS, _LARGEST_BLOCK_SIZE // width)
    return list(gen_batches(n_rows, max(1, few, _BLOCK_SIZE // width)))
