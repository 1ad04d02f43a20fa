"""The form in which rows are searched and kept: scaled, reduced, float32."""

import numpy as np
from numpy.typing import NDArray

from ..neighbors._rows import map_blocks, unit_rows
from ..utils import warn

AUTO_ROWS = 5_000
AUTO_COMPONENTS = 100


def scale_rows(X: NDArray[np.float32], metric: str) -> NDArray[np.float32]:
    """Scale rows so that `metric` is a function of their Euclidean distance.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
    metric : {"cosine", "euclidean"}

    Returns
    -------
    ndarray of shape (n_rows, n_features), float32
        X itself for the Euclidean metric.
    """
    if metric == "euclidean":
        return X
    rows, zeros = unit_rows(X)
    if len(zeros):
        shown = ", ".join(map(str, zeros[:5])) + (", ..." if len(zeros) > 5 else "")
        warn(
            f"{len(zeros)} of {len(X)} rows are all zeros (index {shown}), and metric='cosine' "
            "compares directions, which they do not have: their place on the map means nothing. "
            "Leave them out, or use metric='euclidean'.",
        )
    return rows


def in_metric(offsets: NDArray[np.float64], metric: str) -> NDArray[np.float64]:
    """Turn Euclidean distances between scaled rows into distances of `metric`."""
    return offsets**2 / 2 if metric == "cosine" else offsets


def settle_components(pca_components: int | str | None, n_rows: int, n_features: int) -> int | None:
    """Say how many principal components to keep, None for all features."""
    if pca_components == "auto":
        large = n_rows > AUTO_ROWS and n_features > AUTO_COMPONENTS
        return AUTO_COMPONENTS if large else None
    return None if pca_components is None else int(pca_components)


def reduce_rows(
    rows: NDArray[np.float32],
    mean: NDArray[np.float32] | None,
    components: NDArray[np.float32] | None,
) -> NDArray[np.float32]:
    """Project scaled rows on principal axes, if any; copied and free of negative zeros."""
    if mean is not None and components is not None:
        center, axes = mean.astype(np.float64), components.T.astype(np.float64)
        rows = map_blocks(lambda block: (block - center) @ axes, rows, axes.shape[1])
    return rows + np.float32(0)
