"""Rows as the searches see them: always in Euclidean geometry, and never copied whole.

Everything inside this room is Euclidean: `to_geometry` turns cosine input into unit rows, whose
squared Euclidean distance is twice the cosine distance, and `to_metric` turns the squared
distances that the searches return into what a user sees.
"""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import gen_batches

__all__ = [
    "SAME_DIRECTION",
    "RowSubset",
    "Rows",
    "UnitRows",
    "exact_rows",
    "limit_of_cosine",
    "row_blocks",
    "to_geometry",
    "to_metric",
]

# Squared distance of rows that point the same way, at most, when they are scaled in float64.
SAME_DIRECTION = 4 * float(np.finfo(np.float64).eps)

# Elements of a temporary block: 1 MB of float32 stays in a core's cache while it is worked on. Wide
# rows make blocks of up to 16 MB, as long as they are too few for a product of matrices.
_BLOCK_SIZE, _LARGEST_BLOCK_SIZE, _FEW_ROWS = 2**18, 2**22, 256


class UnitRows:
    """Rows scaled to length one as they are read, in the precision of X: no copy of X is made.

    Parameters
    ----------
    X : ndarray of shape (n, d), float32 or float64

    Attributes
    ----------
    zeros : ndarray of int
        The rows of zeros: they have no direction, and stay zeros.
    """

    ndim = 2

    def __init__(self, X: NDArray):
        self.shape: tuple[int, int] = X.shape
        self.dtype: np.dtype[Any] = X.dtype
        self._X = X
        lengths = np.empty((len(X), 1))
        for rows in row_blocks(len(X), X.shape[1]):
            block = X[rows].astype(np.float64)
            # Scaled by the largest entry first: squares of tiny or huge entries leave float64.
            largest = np.abs(block).max(axis=1)
            block /= np.where(largest == 0, 1, largest)[:, None]
            lengths[rows, 0] = largest * np.sqrt(np.einsum("ij,ij->i", block, block))
        self.zeros: NDArray[np.intp] = np.flatnonzero(lengths == 0)
        lengths[self.zeros] = 1
        self._lengths = lengths
        # float32 has few digits left for the smallest lengths.
        tiny = np.finfo(X.dtype).tiny / np.finfo(X.dtype).eps
        self._divide_in = np.float64 if len(X) and lengths.min() < tiny else X.dtype

    def __len__(self) -> int:
        return len(self._X)

    def __getitem__(self, rows: Any) -> NDArray:
        lengths = self._lengths[rows].astype(self._divide_in, copy=False)
        return (self._X[rows] / lengths).astype(self.dtype, copy=False)

    def columns(self, some: NDArray[np.intp]) -> NDArray:
        """Return some columns of all rows, without reading the others."""
        lengths = self._lengths.astype(self._divide_in, copy=False)
        return (self._X[:, some] / lengths).astype(self.dtype, copy=False)

    def exact(self, rows: Any) -> NDArray[np.float64]:
        """Read rows in float64, without the rounding to the precision of X."""
        return self._X[rows] / self._lengths[rows]


class RowSubset:
    """Some of the rows, in a given order, gathered as they are read.

    Parameters
    ----------
    X : Rows of shape (n, d)
    rows : ndarray of int of shape (m,)
    """

    ndim = 2

    def __init__(self, X: "Rows", rows: NDArray[np.intp]):
        self.shape: tuple[int, int] = (len(rows), X.shape[1])
        self.dtype: np.dtype[Any] = X.dtype
        self._X = X
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, rows: Any) -> NDArray:
        return self._X[self._rows[rows]]

    def columns(self, some: NDArray[np.intp]) -> NDArray:
        """Return some columns of all rows, without reading the others."""
        return columns_of(self._X, some)[self._rows]

    def exact(self, rows: Any) -> NDArray[np.float64]:
        """Read rows in float64."""
        return exact_rows(self._X, self._rows[rows])


Rows: TypeAlias = NDArray | UnitRows | RowSubset


def exact_rows(X: Rows, rows: Any) -> NDArray[np.float64]:
    """Read rows in float64; unit rows are as long as float64 can say."""
    return X[rows].astype(np.float64) if isinstance(X, np.ndarray) else X.exact(rows)


def columns_of(X: Rows, some: NDArray[np.intp]) -> NDArray:
    """Return some columns of all rows."""
    return X[:, some] if isinstance(X, np.ndarray) else X.columns(some)


def to_geometry(X: NDArray, metric: str) -> NDArray | UnitRows:
    """Return rows whose Euclidean geometry is that of `metric`; `X` itself if it has it already.

    Parameters
    ----------
    X : ndarray of shape (n, d), float32 or float64
        Finite.
    metric : {"cosine", "euclidean"}

    Returns
    -------
    rows : ndarray or UnitRows of shape (n, d)
        What the searches of this room take.
    """
    return X if metric == "euclidean" else UnitRows(X)


def to_metric(sq_distances: Any, metric: str) -> Any:
    """Turn squared distances between geometry rows into distances of `metric`.

    Parameters
    ----------
    sq_distances : ndarray or float
        Squared Euclidean distances between rows of `to_geometry`.
    metric : {"cosine", "euclidean"}

    Returns
    -------
    distances : ndarray or float
        One minus the cosine, or Euclidean distances.
    """
    return np.sqrt(sq_distances) if metric == "euclidean" else sq_distances / 2


def limit_of_cosine(cosine: float) -> float:
    """Return the largest squared distance between geometry rows of such a cosine or more."""
    return 2 * (1 - float(cosine)) + SAME_DIRECTION


def row_blocks(n_rows: int, width: int) -> list[slice]:
    """Cut rows of `width` elements into blocks of a limited size."""
    if n_rows == 0:
        return []
    width = max(1, width)
    few = min(_FEW_ROWS, _LARGEST_BLOCK_SIZE // width)
    return list(gen_batches(n_rows, max(1, few, _BLOCK_SIZE // width)))
