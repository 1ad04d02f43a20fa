"""Clusters of the points of a map."""

from numbers import Integral

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import HDBSCAN, KMeans

SMALLEST_GROUP = 5


def is_int(value: object) -> bool:
    """Tell an integer of any kind from all else, True and False among it."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def cluster_points(
    points: NDArray[np.float32], n_clusters: int, method: str, seed: int | None
) -> NDArray[np.intp]:
    """Label each point with its cluster, as `UMAPProjector.cluster` describes."""
    if not is_int(n_clusters) or n_clusters < 1:
        raise ValueError(f"n_clusters must be an int of at least 1, got {n_clusters!r}.")
    if method == "kmeans":
        n_distinct = len(np.unique(points, axis=0))
        model = KMeans(min(int(n_clusters), n_distinct), n_init=1, random_state=seed)
    elif method == "hdbscan":
        if len(points) < 2:
            return np.full(len(points), -1, dtype=np.intp)
        model = HDBSCAN(min_cluster_size=min(SMALLEST_GROUP, len(points)), copy=True)
    else:
        raise ValueError(f"method must be 'kmeans' or 'hdbscan', got {method!r}.")
    return model.fit_predict(points.astype(np.float64)).astype(np.intp)
