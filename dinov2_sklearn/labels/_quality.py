"""LabelQuality: labels that their neighbours contradict, and what these would say."""

from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import gen_batches
from sklearn.utils.validation import check_is_fitted

from ..neighbors import (
    NearNeighbors,
    Rows,
    RowSubset,
    check_rows,
    connected,
    find_pairs,
    knn,
    knn_in_cells,
    limit_of_cosine,
    nearest,
    to_geometry,
)
from ..utils import Interval, VersionedMixin, fit_context, warn
from ._uncertainty import check_labels

__all__ = ["LabelQuality", "label_quality"]

# Up to so many voters, all rows are compared with all of them.
EXACT_ROWS = 20_000
# Votes counted at once, over all rows of a block.
_BLOCK = 2**22
# The score of a label that nobody can judge, and how many copies must have it where no other row
# has: fewer may be a slip of the pen.
_UNKNOWN, _MANY = 1 / 3, 3
# What is allowed for rounding where only equal rows are copies.
_ROUNDING = 1e-9


class LabelQuality(VersionedMixin, BaseEstimator):
    """Score labels by their neighbours: low where a label is likely wrong.

    Each row's class is voted on by its nearest labelled rows. Copies vote as one, and not on
    themselves: a burst that was labelled at once would otherwise vouch for its own mistake, and
    outvote all others. But a label that differs from those of a row's copies is doubted for that.

    Parameters
    ----------
    n_neighbors : int, default=10
        Rows, or sets of copies, that vote.
    min_similarity : float, default=0.99
        Cosine from which two rows are copies, and with them all that they connect, as in
        `NearDuplicates`.

    Attributes
    ----------
    label_quality_ : ndarray of shape (n_rows,)
        From 0, where all neighbours have another label, to 1, where all agree; NaN for rows without
        a label.
    suggested_labels_ : ndarray of shape (n_rows,)
        The class that a row's neighbours would give it, also where it has no label; a row without
        one may follow its copies.
    n_groups_ : int
        Sets of copies among the labelled rows, those of one row included: how many can vote.
    neighbor_recall_ : float
        Share of the true voters that were found: 1 up to 20,000 of them, and about 0.995 or more
        above, judged on a sample.
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
    ``(1 + 2 p - r) / 3``, times the share of the row's copies, itself included, that have its
    label. A label that three copies or more have, and no other row, cannot be judged by others: it
    scores at least a third.

    Of a set of copies the first row stands for all, with the label that most of them have. Up to
    20,000 such rows, voters are the nearest of all; of more, rows are compared with those of the
    cells around them alone, in O(n^1.5 d) time, so that one voter in 200 may be missed and the next
    asked instead. Copies are always found exactly. The labelled rows are kept, as unit rows.

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
        known, unknown = np.flatnonzero(codes >= 0), np.flatnonzero(codes < 0)
        geometry = to_geometry(rows if len(known) == len(rows) else rows[known], "cosine")
        limit = self._copy_limit()
        pairs = find_pairs(geometry, limit)
        groups = connected(len(known), pairs.first, pairs.second)
        self._copies = _Copies(groups, codes[known], len(self.classes_))
        # The unit rows are what is searched, also in what is loaded from a pickle.
        self._rows = geometry[:]
        self.n_groups_ = len(self._copies.first)
        self._warn_of_few(known)
        self._of_groups = self._ask(None)
        self.neighbor_recall_ = self._of_groups.recall
        scores = np.full(len(rows), np.nan)
        places = np.empty(len(rows), dtype=np.intp)
        scores[known], places[known] = self._judge_copies(np.arange(len(known)), codes[known])
        if len(unknown):
            found = self._ask(RowSubset(to_geometry(rows, "cosine"), unknown))
            places[unknown] = self._count(found, None)[1]
            self.neighbor_recall_ = min(self.neighbor_recall_, found.recall)
        self.label_quality_, self.suggested_labels_ = scores, self.classes_[places]
        return self

    def _copy_limit(self) -> float:
        return max(limit_of_cosine(self.min_similarity), _ROUNDING)

    def _warn_of_few(self, known: NDArray[np.intp]) -> None:
        counts = self._copies.votes_of_class
        lonely = self.classes_[counts < 2].tolist()
        largest = int(self._copies.sizes.max())
        if largest > max(len(known) / 2, 2):
            warn(
                f"{largest} of {len(known)} labelled rows are copies at min_similarity="
                f"{self.min_similarity}, which vote as one. If they are not, raise it."
            )
        elif lonely:
            warn(
                f"{len(lonely)} of {len(counts)} classes have a single label or copies of one, "
                f"such as {lonely[0]!r}: no other row can speak for it, so its score says "
                "little, right or wrong."
            )

    def score_samples(self, X: ArrayLike, y: Any = None) -> NDArray[np.float64]:
        """Score labels of any rows by the rows of `fit`.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
            Embeddings. Copies of fitted rows are judged as these, which have no vote on them.
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
        queries = to_geometry(rows, "cosine")
        own = None if y is None else self._places(y, len(rows))
        scores = self._count(self._ask(queries), own)[0]
        first, apart = nearest(queries, self._rows)
        copies = np.flatnonzero(apart <= self._copy_limit())
        labels = None if own is None else own[copies]
        scores[copies] = self._judge_copies(first[copies], labels)[0]
        return scores

    def _places(self, y: Any, n_rows: int) -> NDArray[np.intp]:
        """Return each label's place among the fitted classes."""
        classes, codes = check_labels(y, n_rows, least=1)
        fitted = set(self.classes_.tolist())
        unknown = [name for name in classes.tolist() if name not in fitted]
        if unknown:
            raise ValueError(f"y holds {unknown[0]!r}, a class that had no label in fit.")
        places = np.searchsorted(self.classes_, classes)
        return np.where(codes >= 0, places[codes], -1)

    def _ask(self, queries: Rows | None) -> NearNeighbors:
        """Find the nearest sets of copies of queries, or of each set among the others."""
        rows = self._rows
        if self.n_groups_ < len(rows):
            rows = rows[self._copies.first]
        k = min(int(self.n_neighbors), self.n_groups_ - (queries is None))
        if k == 0:
            return NearNeighbors(np.full((1, 1), -1), np.full((1, 1), np.inf), 1.0)
        if self.n_groups_ <= max(EXACT_ROWS, 20 * k):
            return NearNeighbors(*knn(rows, k, queries=queries), 1.0)
        return knn_in_cells(rows.astype(np.float32, copy=False), k, queries=queries)

    def _judge_copies(
        self, rows: NDArray[np.intp], own: NDArray[np.intp] | None
    ) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """Score labels of fitted rows, or of copies of these, by the voters on all their copies."""
        indices, sq_distances, recall = self._of_groups
        groups = self._copies.groups[rows]
        found = NearNeighbors(indices[groups], sq_distances[groups], recall)
        scores, places = self._count(found, own)
        if own is None:
            return scores, places
        # Copies cannot vouch for a label, but contradict one.
        common = self._copies.common[groups]
        agreeing = self._copies.count(groups, np.maximum(own, 0))
        is_alone = (self._copies.votes_of_class[common] < 2) & (own == common) & (agreeing >= _MANY)
        scores = np.where(is_alone, np.maximum(scores, _UNKNOWN), scores)
        scores *= agreeing / self._copies.sizes[groups]
        is_fewer = agreeing < self._copies.count(groups, common)
        return scores, np.where(is_alone | is_fewer, common, places)

    def _count(
        self, found: NearNeighbors, own: NDArray[np.intp] | None
    ) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """Return scores of labels, and the classes that voters suggest."""
        n_rows, counts = len(found.indices), self._copies.votes_of_class
        scores, places = np.empty(n_rows), np.empty(n_rows, dtype=np.intp)
        for part in gen_batches(n_rows, max(1, _BLOCK // max(self.n_neighbors, len(counts)))):
            some = None if own is None else own[part]
            voters, sq_distances = found.indices[part], found.sq_distances[part]
            scores[part], places[part] = self._count_block(voters, sq_distances, counts, some)
        return scores, places

    def _count_block(
        self,
        voters: NDArray[np.intp],
        sq_distances: NDArray[np.float64],
        counts: NDArray[np.intp],
        own: NDArray[np.intp] | None,
    ) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """Count the votes on some rows; a voter of -1 is none."""
        votes = np.where(voters >= 0, self._copies.common[voters], 0)
        finite = np.where(voters >= 0, sq_distances, 0)
        # A floor, so that one voter that is very near does not silence all others.
        floor = 0.01 * finite.max(axis=1, keepdims=True) + _ROUNDING
        weights = np.where(voters >= 0, 1 / (finite + floor), 0) / np.sqrt(
            np.maximum(counts, 1)[votes]
        )
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


class _Copies:
    """What labels each set of copies has, and how often."""

    def __init__(self, groups: NDArray[np.int32], codes: NDArray[np.intp], n_classes: int):
        self.groups, self._n_classes = groups, np.int64(n_classes)
        self.sizes = np.bincount(groups)
        self.first = np.unique(groups, return_index=True)[1]
        self._pairs, self._counts = np.unique(self._pair(groups, codes), return_counts=True)
        pairs = self._pairs[np.argsort(-self._counts, kind="stable")]
        at = np.unique(pairs // self._n_classes, return_index=True)[1]
        self.common: NDArray[np.intp] = (pairs[at] % self._n_classes).astype(np.intp)
        self.votes_of_class = np.bincount(self.common, minlength=n_classes)

    def count(self, groups: NDArray, codes: NDArray) -> NDArray[np.intp]:
        """Count the labels of some class in each of some groups."""
        wanted = self._pair(groups, codes)
        at = np.minimum(np.searchsorted(self._pairs, wanted), len(self._pairs) - 1)
        return np.where(self._pairs[at] == wanted, self._counts[at], 0)

    def _pair(self, groups: NDArray, codes: NDArray) -> NDArray[np.int64]:
        return groups * self._n_classes + codes


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
