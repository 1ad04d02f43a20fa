"""apricot: facility location on squared distances, lazily greedy."""

import numpy as np
from apricot import FacilityLocationSelection


def cover(X: np.ndarray, n_picks: int) -> np.ndarray:
    return FacilityLocationSelection(n_picks, metric="euclidean", optimizer="lazy").fit(X).ranking
