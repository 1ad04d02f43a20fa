"""scikit-activeml: MaxHerding, greedy coverage by a kernel."""

import numpy as np
from skactiveml.pool import MaxHerding
from skactiveml.utils import MISSING_LABEL


def cover(X: np.ndarray, n_picks: int) -> np.ndarray:
    y = np.full(len(X), MISSING_LABEL)
    return MaxHerding(random_state=0).query(X=X, y=y, batch_size=n_picks)
