"""What users give for each point of a map, checked."""

import os
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray


def per_point(values: ArrayLike, n_points: int, name: str) -> NDArray:
    """Turn values into an array with one for each point."""
    array = np.asarray(values)
    if array.shape != (n_points,):
        raise ValueError(
            f"{name} has shape {array.shape}, and the map has {n_points} points: give one value "
            "for each point."
        )
    return array


def as_names(values: Sequence[str | os.PathLike[str]], n_points: int, name: str) -> list[str]:
    """Turn paths into strings, one for each point."""
    if isinstance(values, (str, bytes, os.PathLike)):
        raise ValueError(f"{name} must be a sequence with one path for each point, got {values!r}.")
    names = [os.fsdecode(value) for value in values]
    if len(names) != n_points:
        raise ValueError(
            f"{name} has {len(names)} entries, and the map has {n_points} points: give one for "
            "each point."
        )
    return names


def as_selection(selected: ArrayLike, n_points: int) -> NDArray[np.intp]:
    """Turn indices in pick order, or a mask, into indices."""
    chosen = np.asarray(selected)
    if chosen.ndim != 1:
        raise ValueError(f"selected must be one-dimensional, got shape {chosen.shape}.")
    if chosen.dtype == bool:
        if len(chosen) != n_points:
            raise ValueError(f"The mask selected has {len(chosen)} values for {n_points} points.")
        return np.flatnonzero(chosen)
    if len(chosen) == 0:
        return np.empty(0, dtype=np.intp)
    if chosen.dtype.kind not in "iu":
        raise ValueError(f"selected must be indices or a mask, got dtype {chosen.dtype}.")
    if chosen.min() < 0 or chosen.max() >= n_points:
        raise ValueError(
            f"selected has indices from {chosen.min()} to {chosen.max()}, and there are "
            f"{n_points} points: indices run from 0 to {n_points - 1}."
        )
    return chosen.astype(np.intp)
