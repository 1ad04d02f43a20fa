"""Values that several rooms are given: what they accept, and what they say when they do not."""

import os
from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["check_indices", "check_int", "refuse_paths"]


def refuse_paths(X: Any) -> None:
    """Raise a ValueError if X is paths, where embeddings are wanted."""
    listed = isinstance(X, Sequence) and not isinstance(X, (str, bytes))
    listed = listed or (isinstance(X, np.ndarray) and X.ndim == 1)
    if listed and len(X) and isinstance(X[0], (str, os.PathLike)):
        raise ValueError(
            f"X holds paths, such as {str(X[0])!r}, where embeddings are wanted. Make them first: "
            "DINOv2Transformer().fit_transform(paths), or put the two into one Pipeline."
        )


def check_indices(indices: Any, n_rows: int, name: str) -> NDArray[np.intp]:
    """Return `indices` as a 1-D int array of distinct rows out of `n_rows`.

    A boolean mask of length `n_rows` is turned into the indices of its true entries.
    """
    indices = np.asarray(indices)
    if indices.ndim != 1:
        raise ValueError(f"{name} must be 1-D. Got an array of shape {indices.shape}.")
    if indices.dtype == bool:
        if len(indices) != n_rows:
            raise ValueError(
                f"{name} is a boolean mask of length {len(indices)}, but X has {n_rows} rows."
            )
        return np.flatnonzero(indices)
    if indices.size == 0:
        return np.empty(0, dtype=np.intp)
    if not np.issubdtype(indices.dtype, np.integer):
        raise ValueError(
            f"{name} must hold row numbers (integers) or be a boolean mask. Got "
            f"dtype {indices.dtype}."
        )
    _check_distinct_and_inside(indices, n_rows, name)
    return indices.astype(np.intp)


def _check_distinct_and_inside(indices: NDArray, n_rows: int, name: str) -> None:
    outside = indices[(indices < 0) | (indices >= n_rows)]
    if outside.size:
        raise ValueError(
            f"{name} holds {outside[0]}, which is no row of X: X has {n_rows} rows, numbered "
            f"0 to {n_rows - 1}."
        )
    values, counts = np.unique(indices, return_counts=True)
    repeated = values[counts > 1]
    if repeated.size:
        mask = len(indices) == n_rows and set(values.tolist()) == {0, 1}
        hint = " For a mask of rows, give booleans: astype(bool)." if mask else ""
        raise ValueError(f"{name} holds row {repeated[0]} more than once.{hint}")


def check_int(name: str, value: Any, low: int = 1, high: int | None = None) -> None:
    """Raise a ValueError unless a value is an int within bounds; True and False are none."""
    if (
        isinstance(value, bool)
        or not isinstance(value, Integral)
        or not low <= int(value)
        or (high is not None and int(value) > high)
    ):
        bounds = f"of at least {low}" if high is None else f"from {low} to {high}"
        raise ValueError(f"{name} must be an int {bounds}, got {value!r}.")
