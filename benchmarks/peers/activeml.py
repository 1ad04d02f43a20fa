"""scikit-activeml: MaxHerding, greedy coverage by a kernel, and BADGE."""

import numpy as np
from skactiveml.classifier import SklearnClassifier
from skactiveml.pool import Badge, MaxHerding
from skactiveml.utils import MISSING_LABEL
from sklearn.linear_model import LogisticRegression


def cover(X: np.ndarray, n_picks: int) -> np.ndarray:
    y = np.full(len(X), MISSING_LABEL)
    return MaxHerding(random_state=0).query(X=X, y=y, batch_size=n_picks)


def badge(X: np.ndarray, y: np.ndarray, n_picks: int, seed: int) -> np.ndarray:
    """Rows by k-means++ on the gradients of a classifier; a label of -1 is none."""
    y = np.where(y < 0, MISSING_LABEL, y.astype(float))
    classifier = SklearnClassifier(
        LogisticRegression(C=100.0, max_iter=500), classes=np.unique(y[np.isfinite(y)])
    )
    return Badge(random_state=seed).query(X=X, y=y, clf=classifier, batch_size=n_picks)
