"""scikit-matter: farthest points among rows."""

import numpy as np
from skmatter.sample_selection import FPS


def farthest(X: np.ndarray, n_picks: int, start: int) -> np.ndarray:
    return FPS(n_to_select=n_picks, initialize=start).fit(X).selected_idx_
