"""Our own strategies, in a process of their own as their peers are."""

import numpy as np

from dinov2_sklearn import DiversitySampler


def coverage(X: np.ndarray, n_picks: int) -> np.ndarray:
    return DiversitySampler(n_picks, strategy="coverage").select(X)


def hybrid(X: np.ndarray, n_picks: int) -> np.ndarray:
    return DiversitySampler(n_picks).select(X)


def farthest(X: np.ndarray, n_picks: int) -> np.ndarray:
    return DiversitySampler(n_picks, strategy="fps").select(X)
