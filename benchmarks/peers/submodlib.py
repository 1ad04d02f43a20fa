"""submodlib: facility location on all similarities, lazily greedy, in C++."""

import numpy as np
from sklearn.metrics import euclidean_distances
from submodlib import FacilityLocationFunction


def cover(X: np.ndarray, n_picks: int) -> np.ndarray:
    table = euclidean_distances(X, squared=True)
    similarity = table.max() - table
    function = FacilityLocationFunction(n=len(X), mode="dense", sijs=similarity, separate_rep=False)
    chosen = function.maximize(budget=n_picks, optimizer="LazyGreedy", show_progress=False)
    return np.array([row for row, _ in chosen])
