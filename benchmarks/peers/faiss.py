"""faiss: k-means, and exact neighbours."""

import faiss
import numpy as np


def kmeans(X: np.ndarray, n_clusters: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and centers. Its defaults: 25 iterations on at most 256 rows a cluster."""
    model = faiss.Kmeans(X.shape[1], n_clusters, seed=seed)
    model.train(X)
    _, labels = model.index.search(X, 1)
    return labels[:, 0], model.centroids


def kmeans_all_rows(X: np.ndarray, n_clusters: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and centers, trained on all rows."""
    most = -(-len(X) // n_clusters)
    model = faiss.Kmeans(X.shape[1], n_clusters, seed=seed, max_points_per_centroid=most)
    model.train(X)
    _, labels = model.index.search(X, 1)
    return labels[:, 0], model.centroids


def knn(X: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return distances squared and row numbers of the nearest rows, the row itself among them."""
    index = faiss.IndexFlatL2(X.shape[1])
    index.add(X)
    return index.search(X, k)


def pairs_above(X: np.ndarray, similarity: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return limits, products and rows of all pairs of unit rows whose product is larger."""
    index = faiss.IndexFlatIP(X.shape[1])
    index.add(X)
    return index.range_search(X, similarity)
