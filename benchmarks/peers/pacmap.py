"""PaCMAP, with its defaults but for the distance, which is ours; a seed costs it its threads."""

import numpy as np
import pacmap


def lay_out(X: np.ndarray) -> np.ndarray:
    return pacmap.PaCMAP(distance="angular", random_state=42).fit_transform(X)
