"""kmedoids: FasterPAM on squared distances, which exchanges picks until nothing improves."""

import kmedoids
import numpy as np
from sklearn.metrics import euclidean_distances


def cover(X: np.ndarray, n_picks: int) -> np.ndarray:
    table = euclidean_distances(X, squared=True)
    return kmedoids.fasterpam(table, n_picks, random_state=0).medoids.astype(int)
