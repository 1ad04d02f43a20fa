"""How unsure a classifier is of each row, given the labels so far."""

import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.linear_model import LogisticRegression

from ..neighbors import check_rows, row_blocks
from ..utils import encode_labels

__all__ = ["check_classifier", "check_labels", "default_classifier", "label_uncertainty"]


def label_uncertainty(X: ArrayLike, y: Any, *, estimator: Any = None) -> NDArray[np.float64]:
    """Say how unsure a classifier that learned the labels so far is of each row.

    As weights of ``DiversitySampler(strategy="coverage")`` they make the next round: rows that the
    classifier is unsure of, each of which stands for many others like it.

    Parameters
    ----------
    X : array-like of shape (n_rows, n_features)
        Embeddings, finite.
    y : array-like of shape (n_rows,)
        Labels, text or whole numbers; -1, None or NaN where there is none.
    estimator : classifier with ``predict_proba``, default=None
        A clone of it learns the labelled rows. None is a logistic regression on rows that are
        centred and scaled by one number, which leaves their geometry as it is.

    Returns
    -------
    weights : ndarray of shape (n_rows,)
        One minus the margin: 0 where the most probable class is certain, 1 where the two most
        probable ones are equally so.

    Raises
    ------
    ValueError
        If no row has a label, all have, or all labels are the same.
    TypeError
        If labels are of several kinds, or the classifier gives no probabilities.

    See Also
    --------
    DiversitySampler : Picks rows that cover what is uncertain.
    label_report : Says when more labels stop paying.

    Notes
    -----
    With few labels the most uncertain rows are odd ones, and alike: picking those teaches less than
    rows that stand for others. Coverage alone goes on covering what is certain already. Their
    product has neither fault [1]_.

    References
    ----------
    .. [1] W. Bae, G. L. Oliveira and D. J. Sutherland, "Uncertainty herding: one active learning
       method for all label budgets", ICLR 2025.

    Examples
    --------
    >>> import numpy as np
    >>> from dinov2_sklearn import DiversitySampler, label_uncertainty
    >>> X = np.array([[0.0], [1.0], [2.1], [3.0], [4.0]])
    >>> y = ["wren", None, None, None, "robin"]
    >>> label_uncertainty(X, y).argmax()
    np.int64(2)
    >>> sampler = DiversitySampler(1, strategy="coverage")
    >>> sampler.select(X, preselected=[0, 4], weights=label_uncertainty(X, y))
    array([2])
    """
    rows = check_rows(X, "euclidean")
    classes, codes = check_labels(y, len(rows))
    known = codes >= 0
    if known.all():
        raise ValueError(
            "All rows have a label: nothing is left to be unsure about. label_quality says which "
            "of the labels look wrong."
        )
    model = default_classifier() if estimator is None else clone(check_classifier(estimator))
    if estimator is None:
        model.learn_scale(rows)
    model.fit(rows[known], classes[codes[known]])
    weights = np.empty(len(rows))
    for part in row_blocks(len(rows), max(rows.shape[1], len(classes))):
        best = np.sort(model.predict_proba(rows[part]), axis=1)[:, -2:]
        weights[part] = 1 - (best[:, 1] - best[:, 0])
    return weights


def check_labels(y: Any, n_rows: int, *, least: int = 2) -> tuple[NDArray, NDArray[np.intp]]:
    """Return classes and places of `encode_labels`, at least some classes."""
    classes, codes = encode_labels(y, n_rows)
    if len(classes) == 0:
        raise ValueError(
            "No row has a label: y holds -1, None or NaN alone. Label a first round, which "
            'DiversitySampler(strategy="coverage") picks without labels.'
        )
    if len(classes) < least:
        raise ValueError(
            f"All {int((codes >= 0).sum())} labels are {classes.tolist()[0]!r}: with one class "
            "there is nothing to tell apart. Label more rows, picked without labels, until there "
            "are two."
        )
    return classes, codes


def check_classifier(estimator: Any) -> Any:
    """Refuse what gives no probabilities."""
    if not hasattr(estimator, "predict_proba"):
        raise TypeError(
            f"{type(estimator).__name__} has no predict_proba: the margin is a difference of "
            "probabilities. Wrap it in sklearn.calibration.CalibratedClassifierCV, or leave "
            "estimator out."
        )
    return estimator


def default_classifier() -> "_ScaledLogisticRegression":
    """Return the classifier that the functions of this room use unless they are given one."""
    return _ScaledLogisticRegression()


class _ScaledLogisticRegression(ClassifierMixin, BaseEstimator):
    """Logistic regression on centred rows of length one in the mean.

    Each feature scaled on its own would blow up those that hardly vary.
    """

    _C = 100.0

    def learn_scale(self, rows: NDArray) -> None:
        """Take center and scale from more rows than have labels."""
        self._shift = rows.mean(axis=0, dtype=np.float64)
        squares = sum(
            float(np.square(rows[part] - self._shift).sum())
            for part in row_blocks(len(rows), rows.shape[1])
        )
        self._scale = np.sqrt(squares / len(rows)) or 1.0

    def fit(self, X: NDArray, y: NDArray) -> "_ScaledLogisticRegression":
        if not hasattr(self, "_shift"):
            self.learn_scale(X)
        with warnings.catch_warnings():
            # Of first rounds, that have nearly as many classes as labels.
            warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
            self._model = LogisticRegression(C=self._C, max_iter=1000).fit(self._scaled(X), y)
        self.classes_ = self._model.classes_
        return self

    def predict(self, X: NDArray) -> NDArray:
        return self._model.predict(self._scaled(X))

    def predict_proba(self, X: NDArray) -> NDArray[np.float64]:
        return self._model.predict_proba(self._scaled(X))

    def _scaled(self, X: NDArray) -> NDArray:
        return ((X - self._shift) / self._scale).astype(X.dtype)
