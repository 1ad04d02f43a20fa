"""Shadows of rows: fewer dimensions, distances by products, and what rounding does to them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._distances import absolute_error, relative_error
from ._geometry import Rows, exact_rows, row_blocks
from ._threads import for_each

__all__ = ["Shadow", "cast_rows", "cut", "product_error", "rounded_up", "rounding", "transposed"]


def cut(start: int, stop: int, size: int) -> list[slice]:
    """Share a range out into slices of a size."""
    return [slice(at, min(at + size, stop)) for at in range(start, stop, size)]


class Shadow:
    """Rows in fewer dimensions, where no two of them are farther apart than they are.

    Kept where axes are few; in all features, cast as they are read: that would be all rows again.
    Rounding moves a row by no more than `slack`, as a share of its length.
    """

    def __init__(
        self,
        X: Rows,
        mean: NDArray[np.float64],
        axes: NDArray[np.float64] | None,
        n_jobs: int | None,
    ):
        self._X, self._mean = X, mean
        self._kept: NDArray | None = None
        self.slack = rounding(X.dtype)
        if axes is not None:
            # The length of the rest is what is left of a difference.
            self.slack += 2 * float(np.sqrt(4 * X.shape[1] * np.finfo(np.float64).eps))
            kept = np.empty((len(X), axes.shape[1] + 3), dtype=X.dtype)

            def cast(part: slice) -> None:
                kept[part] = cast_rows(X, part, mean, axes)

            for_each(cast, row_blocks(*X.shape), n_jobs)
            self._kept = kept

    def __getitem__(self, rows: slice | NDArray[np.intp]) -> NDArray:
        return cast_rows(self._X, rows, self._mean) if self._kept is None else self._kept[rows]


def rounding(dtype: np.dtype) -> float:
    """Bound by what share of its length rounding moves a row; twice, for second order."""
    return 2 * float(np.finfo(dtype).eps)


def cast_rows(
    X: Rows,
    rows: slice | NDArray[np.intp],
    mean: NDArray[np.float64],
    axes: NDArray[np.float64] | None = None,
) -> NDArray:
    """Read rows in all features, or on some axes and the length of the rest.

    Each is followed by its squared length and by 1, so that a product gives squared distances.
    """
    block = exact_rows(X, rows)
    block -= mean
    if axes is not None:
        sq_lengths = np.einsum("ij,ij->i", block, block)
        block = block @ axes
        rest = sq_lengths - np.einsum("ij,ij->i", block, block)
        block = np.column_stack([block, np.sqrt(np.maximum(rest, 0))])
    shadow = np.ones((block.shape[0], block.shape[1] + 2), dtype=X.dtype)
    shadow[:, :-2] = block
    shadow[:, -2] = np.einsum("ij,ij->i", shadow[:, :-2], shadow[:, :-2], dtype=np.float64)
    return shadow


def transposed(rows: NDArray) -> NDArray:
    """Return what rows of a shadow are multiplied with for squared distances to these."""
    right = -2 * rows.T
    right[-2], right[-1] = 1, rows[:, -2]
    return right


def product_error(left: NDArray, right: NDArray) -> float:
    """Bound how far rounding moves the squared distances that a product gives."""
    width = left.shape[1]
    norms = float(left[:, -2].max()) + float(right[-1].max())
    return relative_error(left.dtype, width) * norms + absolute_error(left.dtype, width)


def rounded_up(value: Any, dtype: np.dtype) -> Any:
    """Return the next number of a type above a value."""
    return np.nextafter(np.asarray(value).astype(dtype), dtype.type(np.inf))
