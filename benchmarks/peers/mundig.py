"""lightly-mundig: a diverse choice of rows."""

import numpy as np
from lightly_mundig import Selection


def farthest(X: np.ndarray, n_picks: int, start: int) -> np.ndarray:
    selection = Selection()
    selection.add_diversifying_strategy(X, 1.0)
    return np.array(selection.run_selection([start], len(X), n_picks))
