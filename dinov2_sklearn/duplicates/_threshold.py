"""What a user says of a threshold, in the squared distances that the searches speak of."""

from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..neighbors import (
    SAME_DIRECTION,
    UnitRows,
    exact_rows,
    limit_of_cosine,
    nearest,
    pair_sq_distances,
    row_blocks,
)

__all__ = ["nearest_within", "similarity", "sq_limit"]


def sq_limit(min_similarity: Any, max_distance: Any, metric: str) -> float:
    """Return the largest squared distance of a pair of near-duplicates."""
    if metric == "euclidean":
        if max_distance is None:
            raise ValueError(
                "metric='euclidean' takes max_distance, the largest distance of two "
                "near-duplicates. Got max_distance=None."
            )
        if not (isinstance(max_distance, Real) and 0 <= float(max_distance) < np.inf):
            raise ValueError(
                f"max_distance must be a number, finite and not negative. Got {max_distance!r}."
            )
        return float(max_distance) ** 2
    if metric != "cosine":
        raise ValueError(f"metric must be 'cosine' or 'euclidean'. Got {metric!r}.")
    if max_distance is not None:
        raise ValueError(
            f"max_distance={max_distance!r} is for metric='euclidean'. metric='cosine' takes "
            "min_similarity."
        )
    if not (isinstance(min_similarity, Real) and -1 < float(min_similarity) <= 1):
        raise ValueError(
            "min_similarity is a cosine: it must be above -1, where every pair would be one of "
            f"near-duplicates, and at most 1. Got {min_similarity!r}."
        )
    return limit_of_cosine(float(min_similarity))


def similarity(sq_distances: NDArray[np.float64], metric: str) -> NDArray[np.float64]:
    """Return cosines or, for the Euclidean metric, distances with a minus: larger is nearer."""
    if metric == "euclidean":
        return 0.0 - np.sqrt(sq_distances)
    # Rounding may take the cosine of equal directions a hair below 1.
    return np.where(sq_distances <= SAME_DIRECTION, 1.0, 1 - sq_distances / 2)


def nearest_within(
    queries: NDArray | UnitRows,
    rows: NDArray | UnitRows,
    limit: float,
    before: NDArray[np.intp] | None = None,
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Find the nearest row of each query, and its squared distance as float64 gives it.

    Whether it is within `limit` is as exact as in a search of pairs: unit rows in float32 lie a
    rounding error beside those in float64, so queries near the limit are settled in float64.
    """
    found, _ = nearest(queries, rows[:], before=before)
    sq_distances = np.full(len(queries), np.inf)
    some = np.flatnonzero(found >= 0)
    for part in row_blocks(len(some), queries.shape[1]):
        which = some[part]
        near = exact_rows(rows, found[which])
        sq_distances[which] = pair_sq_distances(exact_rows(queries, which), near)
    if isinstance(queries, np.ndarray):
        return found, sq_distances
    for query in np.flatnonzero(np.abs(sq_distances - limit) < 1e-5):
        stop = len(rows) if before is None else int(before[query])
        (row,) = exact_rows(queries, [query])
        for part in row_blocks(stop, queries.shape[1]):
            to_block = pair_sq_distances(exact_rows(rows, part), row)
            at = int(to_block.argmin())
            if to_block[at] < sq_distances[query]:
                found[query], sq_distances[query] = part.start + at, to_block[at]
    return found, sq_distances
