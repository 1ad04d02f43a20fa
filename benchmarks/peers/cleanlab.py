"""cleanlab: quality of labels by a classifier's out-of-fold probabilities."""

import numpy as np
from cleanlab.rank import get_label_quality_scores
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler


def score(X: np.ndarray, labels: np.ndarray, classifier: str) -> np.ndarray:
    """Score the labels of each row of `labels`."""
    if classifier == "10 neighbours":
        model = KNeighborsClassifier(10, metric="cosine")
    else:
        model = LogisticRegression(max_iter=500)
        X = StandardScaler(with_std=False).fit_transform(X)
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    scores = []
    for y in labels:
        proba = cross_val_predict(model, X, y, cv=folds, method="predict_proba")
        scores.append(get_label_quality_scores(y, proba))
    return np.array(scores)
