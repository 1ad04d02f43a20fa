"""scikit-activeml: MaxHerding, greedy coverage by a kernel, and BADGE."""

import numpy as np
from skactiveml.classifier import SklearnClassifier
from skactiveml.pool import Badge, MaxHerding
from skactiveml.utils import MISSING_LABEL
from sklearn.linear_model import LogisticRegression


def cover(X: np.ndarray, n_picks: int) -> np.ndarray:
    y = np.full(len(X), MISSING_LABEL)
    return MaxHerding(random_state=0).query(X=X, y=y, batch_size=n_picks)


def badge(
    X: np.ndarray, y: np.ndarray, rows: np.ndarray, first: np.ndarray, n_rounds: int
) -> np.ndarray:
    """Play rounds once for each line of `rows`, given the first picks; return places in `rows`."""
    played = []
    for seed, (some, picks) in enumerate(zip(rows, first, strict=True)):
        n_picks = len(picks)
        for _ in range(n_rounds - 1):
            known = np.full(len(some), MISSING_LABEL)
            known[picks] = y[some[picks]]
            model = LogisticRegression(C=100.0, max_iter=500)
            classifier = SklearnClassifier(model, classes=np.unique(known[picks]))
            query = Badge(random_state=seed).query
            new = query(X=X[some], y=known, clf=classifier, batch_size=n_picks)
            picks = np.concatenate([picks, new])
        played.append(picks)
    return np.array(played)
