"""scikit-learn, of the project's own environment: k-means in both forms, and pairs of near rows."""

import numpy as np
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.neighbors import NearestNeighbors


def kmeans(X: np.ndarray, n_clusters: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    model = KMeans(n_clusters, random_state=seed).fit(X)
    return model.labels_, model.cluster_centers_


def minibatch(X: np.ndarray, n_clusters: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    model = MiniBatchKMeans(n_clusters, random_state=seed).fit(X)
    return model.labels_, model.cluster_centers_


def pairs_above(X: np.ndarray, similarity: float) -> tuple[np.ndarray, np.ndarray]:
    """Return both rows of all pairs of unit rows, as FiftyOne's near-duplicates are found."""
    index = NearestNeighbors(metric="cosine", algorithm="brute").fit(X)
    found = index.radius_neighbors(X, 1 - similarity, return_distance=False)
    first = np.repeat(np.arange(len(X)), [len(rows) for rows in found])
    second = np.concatenate(found)
    return first[first < second], second[first < second]
