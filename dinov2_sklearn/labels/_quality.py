"""LabelQuality: labels that their neighbours contradict, and what these would say."""

from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from ..neighbors import Rows, RowSubset, check_rows, knn, to_geometry
from ..utils import Interval, VersionedMixin, fit_context, warn
from ._uncertainty import check_labels

__all__ = ["LabelQuality", "label_quality"]

# Neighbours looked for beyond those asked for: some may be copies.
_SPARE = 4
# Neighbours looked for at once, over all rows of a block.
_BLOCK = 2**22
# What is allowed for rounding where only equal rows are copies.
_ROUNDING = 1e-9


class LabelQuality(VersionedMixin, BaseEstimator):
    """Score labels by their neighbours: low where a label is likely wrong.

    Each row's class is voted on by its nearest labelled rows. The row itself has no vote, nor have
    copies of it: a burst that was labelled at once would otherwise vouch for its own mistake.

    Parameters
    ----------
    n_neighbors : int, default=10
        Rows that vote.
    min_similarity : float, default=0.99
        Cosine from which two rows are copies, so that neither votes on the other.

    Attributes
    ----------
    label_quality_ : ndarray of shape (n_rows,)
        From 0, where all neighbours have another label, to 1, where all agree; NaN for rows without
        a label.
    suggested_labels_ : ndarray of shape (n_rows,)
        The class that a row's neighbours would give it, also where it has no label.
    classes_ : ndarray of shape (n_classes,)
        The classes, in order.
    n_features_in_ : int
        Number of features seen during `fit`.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of features seen during `fit`, where all of them are strings.

    See Also
    --------
    label_quality : The same in one call.
    NearDuplicates : Groups copies; differing labels within a group are mistakes as well.

    Notes
    -----
    A vote weighs one over the squared distance, and less the more labels its class has (by the
    square root of their number), so that a rare class is not outvoted by being rare. With p the
    share of a row's own label and r the largest share of another class, the score is
    ``(1 + 2 p - r) / 3``.

    Exact neighbours take O(n^2 d) time. The labelled rows are kept, as unit rows.

    A burst of copies still has a vote each on other rows: where bursts are long, keep one row of
    each with `NearDuplicates` first.

    References
    ----------
    .. [1] C. G. Northcutt, L. Jiang and I. L. Chuang, "Confident learning: estimating uncertainty
       in dataset labels", Journal of Artificial Intelligence Research 70, 2021.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_digits
    >>> from dinov2_sklearn import LabelQuality
    >>> X, y = load_digits(return_X_y=True)
    >>> y[3] = 8  # it was a 3
    >>> quality = LabelQuality().fit(X, y)
    >>> float(quality.label_quality_[3]) < 0.05, int(quality.suggested_labels_[3])
    (True, 3)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_neighbors": [Interval(Integral, 1, None, closed="left")],
        "min_similarity": [Interval(Real, -1, 1, closed="right")],
    }

    def __init__(self, n_neighbors: int = 10, *, min_similarity: float = 0.99):
        self.n_neighbors = n_neighbors
        self.min_similarity = min_similarity

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ArrayLike, y: Any) -> Self:
        """Score the labels of these rows.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
            Embeddings, finite and not zero.
        y : array-like of shape (n_rows,)
            Labels, text or whole numbers; -1, None or NaN where there is none.

        Returns
        -------
        self : LabelQuality
            The fitted estimator.

        Raises
        ------
        ValueError
            If no row has a label, or all labels are the same.
        TypeError
            If labels are of several kinds, such as text and numbers.

        Warns
        -----
        UserWarning
            If a class has a single label: no other can speak for it.
        """
        rows = check_rows(X, "cosine", estimator=self, reset=True)
        if y is None:
            raise ValueError(
                "LabelQuality requires y to be passed, but the target y is None: it scores labels."
            )
        self.classes_, codes = check_labels(y, len(rows))
        known = np.flatnonzero(codes >= 0)
        self._codes = codes[known]
        # The unit rows are what is searched, also in what is loaded from a pickle.
        self._rows = to_geometry(rows[known], "cosine")[:]
        counts = np.bincount(self._codes, minlength=len(self.classes_))
        lonely = self.classes_[counts == 1].tolist()
        if lonely:
            warn(
                f"{len(lonely)} of {len(counts)} classes have a single label, such as "
                f"{lonely[0]!r}: no other row can speak for it, so it scores low, right or wrong."
            )
        self.label_quality_, self.suggested_labels_ = self._judge(rows, codes)
        return self

    def score_samples(self, X: ArrayLike, y: Any = None) -> NDArray[np.float64]:
        """Score labels of any rows by the rows of `fit`.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
            Embeddings. Copies among the fitted rows have no vote, as in `fit`.
        y : array-like of shape (n_rows,), default=None
            Labels, all of them among `classes_`; -1, None or NaN where there is none. None scores
            the label that the neighbours themselves would give: how much they agree.

        Returns
        -------
        scores : ndarray of shape (n_rows,)
            From 0 to 1; NaN where there is no label.
        """
        check_is_fitted(self)
        rows = check_rows(X, "cosine", estimator=self, reset=False)
        return self._judge(rows, None if y is None else self._places(y, len(rows)))[0]

    def _places(self, y: Any, n_rows: int) -> NDArray[np.intp]:
        """Return each label's place among the fitted classes."""
        classes, codes = check_labels(y, n_rows, least=1)
        fitted = set(self.classes_.tolist())
        unknown = [name for name in classes.tolist() if name not in fitted]
        if unknown:
            raise ValueError(f"y holds {unknown[0]!r}, a class that had no label in fit.")
        places = np.searchsorted(self.classes_, classes)
        return np.where(codes >= 0, places[codes], -1)

    def _judge(
        self, rows: NDArray, codes: NDArray[np.intp] | None
    ) -> tuple[NDArray[np.float64], NDArray]:
        """Return scores of labels, and the labels that neighbours suggest."""
        queries = to_geometry(rows, "cosine")
        scores, places = np.empty(len(rows)), np.empty(len(rows), dtype=np.intp)
        counts = np.bincount(self._codes, minlength=len(self.classes_))
        voters, sq_distances = self._find_voters(queries)
        step = max(1, _BLOCK // max(self.n_neighbors, len(counts)))
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            own = None if codes is None else codes[part]
            scores[part], places[part] = self._count(voters[part], sq_distances[part], counts, own)
        return scores, self.classes_[places]

    def _count(
        self,
        voters: NDArray[np.intp],
        sq_distances: NDArray[np.float64],
        counts: NDArray[np.intp],
        own: NDArray[np.intp] | None,
    ) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """Count the votes on some rows; a voter of -1 is none."""
        votes = np.where(voters >= 0, self._codes[voters], 0)
        finite = np.where(voters >= 0, sq_distances, 0)
        # A floor, so that one voter that is very near does not silence all others.
        floor = 0.01 * finite.max(axis=1, keepdims=True) + np.finfo(float).tiny
        weights = np.where(voters >= 0, 1 / (finite + floor), 0) / np.sqrt(counts[votes])
        at = np.arange(len(voters))
        shares = np.zeros((len(voters), len(counts)))
        np.add.at(shares, (at[:, None], votes), weights)
        shares += 1e-3 * shares.sum(axis=1, keepdims=True) / len(counts) + np.finfo(float).tiny
        shares /= shares.sum(axis=1, keepdims=True)
        suggested = shares.argmax(axis=1)
        if own is None:
            own = suggested
        # Of a tie, and where there are no voters, the label that is there stays.
        best = shares[at, suggested] > shares[at, own]
        suggested = np.where((own >= 0) & ~best, own, suggested)
        mine = shares[at, own]
        shares[at, own] = 0
        scores = (1 + 2 * mine - shares.max(axis=1)) / 3
        return np.where(own >= 0, scores, np.nan), suggested

    def _find_voters(self, queries: Rows) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """Find the nearest labelled rows that are no copies; -1 where there are fewer.

        A row itself is the first of its copies.
        """
        k, limit = self.n_neighbors, max(2 * (1 - self.min_similarity), _ROUNDING)
        voters = np.full((len(queries), k), -1, dtype=np.intp)
        sq_distances = np.full((len(queries), k), np.inf)
        n_found, left = k + 1 + _SPARE, np.arange(len(queries))
        while len(left):
            n_found = min(n_found, len(self._rows))
            short = []
            step = max(256, _BLOCK // n_found)
            for start in range(0, len(left), step):
                some = left[start : start + step]
                asked = queries if len(some) == len(queries) else RowSubset(queries, some)
                indices, sq = knn(self._rows, n_found, queries=asked)
                far: NDArray[np.bool_] = np.greater(sq, limit)
                first = far.argmax(axis=1)
                # All after the first are farther.
                place = first[:, None] + np.arange(k)
                there = (place < n_found) & far.any(axis=1, keepdims=True)
                place = np.minimum(place, n_found - 1)
                found = np.take_along_axis(indices, place, axis=1)
                voters[some] = np.where(there, found, -1)
                sq_distances[some] = np.where(there, np.take_along_axis(sq, place, axis=1), np.inf)
                short.append(some[~there.all(axis=1)])
            left = np.concatenate(short) if n_found < len(self._rows) else left[:0]
            n_found *= 4
        return voters, sq_distances


def label_quality(
    X: ArrayLike, y: Any, *, n_neighbors: int = 10, min_similarity: float = 0.99
) -> tuple[NDArray[np.float64], NDArray]:
    """Score labels by their neighbours, and say what these suggest.

    Parameters
    ----------
    X : array-like of shape (n_rows, n_features)
        Embeddings, finite and not zero.
    y : array-like of shape (n_rows,)
        Labels, text or whole numbers; -1, None or NaN where there is none.
    n_neighbors : int, default=10
        Rows that vote on each.
    min_similarity : float, default=0.99
        Cosine from which two rows are copies, so that neither votes on the other.

    Returns
    -------
    quality : ndarray of shape (n_rows,)
        From 0, a label that its neighbours contradict, to 1; NaN where there is no label.
    suggested_labels : ndarray of shape (n_rows,)
        The class that a row's neighbours would give it.

    See Also
    --------
    LabelQuality : The same as an estimator, which also scores other rows.

    Examples
    --------
    >>> from dinov2_sklearn import label_quality
    >>> X = [[9, 1], [9, 3], [9, 5], [9, 7], [1, 9], [3, 9], [5, 9], [7, 9]]
    >>> y = ["wren", "wren", "robin", "wren", "robin", "robin", "robin", "robin"]
    >>> quality, suggested = label_quality(X, y, n_neighbors=3)
    >>> int(quality.argmin()), str(suggested[2])
    (2, 'wren')
    """
    model = LabelQuality(n_neighbors, min_similarity=min_similarity).fit(X, y)
    return model.label_quality_, model.suggested_labels_
