"""scikit-learn, of the project's own environment: k-means in both forms."""

import numpy as np
from sklearn.cluster import KMeans, MiniBatchKMeans


def kmeans(X: np.ndarray, n_clusters: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    model = KMeans(n_clusters, random_state=seed).fit(X)
    return model.labels_, model.cluster_centers_


def minibatch(X: np.ndarray, n_clusters: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    model = MiniBatchKMeans(n_clusters, random_state=seed).fit(X)
    return model.labels_, model.cluster_centers_
