"""What is accepted as rows, and what is said when it is not."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_array, gen_batches
from sklearn.utils.validation import validate_data

from ..utils import refuse_paths

__all__ = ["check_rows"]

# Elements looked at in one step when all rows are scanned: a few MB, whatever the data's size.
_SCAN_SIZE = 2**20


def check_rows(X: Any, metric: str, *, estimator: Any = None, reset: bool = True) -> NDArray:
    """Return `X` as a finite 2-D float32 or float64 array; name the first rows that are not.

    With an `estimator`, its ``n_features_in_`` and ``feature_names_in_`` are set (`reset`) or
    compared. float32 and float64 input is not copied.
    """
    refuse_paths(X)
    # Half precision becomes float32; all else that is no float becomes float64.
    half = getattr(X, "dtype", None) == np.float16
    dtypes = [np.float32, np.float64] if half else [np.float64, np.float32]
    options = {"dtype": dtypes, "ensure_all_finite": False}
    if estimator is None:
        X = check_array(X, input_name="X", **options)
    else:
        X = validate_data(estimator, X, reset=reset, **options)
    # NaN and infinity survive the maximum: one look at each row is enough.
    largest = _largest_entries(X)
    bad = np.flatnonzero(~np.isfinite(largest))
    if bad.size:
        raise ValueError(
            f"Input X contains NaN or infinity in {_rows(bad)}. Remove these rows first, or "
            "find out why their embeddings failed."
        )
    # The squares of larger values, summed over the features of a row, can overflow.
    limit = X.dtype.type(np.sqrt(np.finfo(X.dtype).max) * 1e-4)
    large = np.flatnonzero(largest > limit)
    if large.size:
        raise ValueError(
            f"Input X has values beyond {limit:.0e} in {_rows(large)}: distances between such "
            "rows cannot be computed. Embeddings are never that large: find out what went wrong."
        )
    if metric == "cosine":
        zero = np.flatnonzero(largest == 0)
        if zero.size:
            raise ValueError(
                f"Input X is zero in {_rows(zero)}: a zero row has no direction, so it has no "
                "cosine distance. Remove these rows, or use metric='euclidean'."
            )
    return X


def _largest_entries(X: NDArray) -> NDArray:
    """Largest absolute value of each row."""
    step = max(1, _SCAN_SIZE // X.shape[1])
    return np.concatenate(
        [
            np.maximum(X[rows].max(axis=1), -X[rows].min(axis=1))
            for rows in gen_batches(len(X), step)
        ]
    )


def _rows(positions: NDArray) -> str:
    """Say how many rows and which: '12 rows (the first: 3, 5, 9)'."""
    shown = ", ".join(str(position) for position in positions[:5])
    if len(positions) == 1:
        return f"row {shown}"
    if len(positions) <= 5:
        return f"rows {shown}"
    return f"{len(positions)} rows (the first: {shown})"
