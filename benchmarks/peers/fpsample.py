"""fpsample: farthest points among rows. Its trees of buckets, made for points in space, refuse rows
of hundreds of columns.
"""

import fpsample
import numpy as np


def farthest(X: np.ndarray, n_picks: int, start: int) -> np.ndarray:
    return fpsample.fps_sampling(X, n_picks, start_idx=start).astype(int)
