"""What the selection room accepts, and what it says when it does not."""

from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["check_metric", "check_n_samples", "check_weights"]


def check_metric(metric: str) -> str:
    """Return the name of a metric, if it is one."""
    if metric not in ("euclidean", "cosine"):
        raise ValueError(f"metric must be one of ('euclidean', 'cosine'). Got {metric!r}.")
    return metric


def check_n_samples(n_samples: Any, n_candidates: int, owner: str) -> int:
    """Return how many picks `n_samples` asks for among `n_candidates` rows (may be more)."""
    whole = isinstance(n_samples, Integral)
    valid = n_samples >= 1 if whole else 0 < n_samples <= 1
    # bool is an int to Python, but True picks are a mistake
    if isinstance(n_samples, bool) or not valid:
        raise ValueError(
            f"The 'n_samples' parameter of {owner} must be an int in the range [1, inf) or a "
            f"float in the range (0.0, 1.0]. Got {n_samples!r} instead."
        )
    if whole:
        return int(n_samples)
    return max(1, round(float(n_samples) * n_candidates))


def check_weights(
    weights: Any, n_rows: int, labelled: NDArray[np.intp], *, scaled: bool = True
) -> NDArray[np.float64]:
    """Return `weights` as a float64 array of `n_rows` finite, non-negative shares of the largest.

    Some row that is not `labelled` must have a positive weight.
    """
    weights = np.array(weights, dtype=np.float64)
    if weights.shape != (n_rows,):
        raise ValueError(
            f"weights must be 1-D with one number a row of X ({n_rows}). Got an array of shape "
            f"{weights.shape}."
        )
    bad = np.flatnonzero(~np.isfinite(weights) | (weights < 0))
    if bad.size:
        raise ValueError(
            f"weights must be finite and not negative. Got {weights[bad[0]]} at row {bad[0]}."
        )
    if not np.delete(weights, labelled).any() and len(labelled) < n_rows:
        raise ValueError("weights are zero for every row that can be picked.")
    # Only their ratios matter; as shares of the largest they stay finite in float32 too.
    return weights / weights.max() if scaled else weights
