"""NearDuplicates: groups of rows that are nearly the same, and one of each."""

import copy
import sys
from numbers import Integral, Real
from time import perf_counter
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from ..neighbors import (
    Pairs,
    Rows,
    RowSelectorMixin,
    RowSubset,
    check_rows,
    connected,
    exact_rows,
    find_pairs,
    pair_sq_distances,
    row_blocks,
    to_geometry,
)
from ..utils import Interval, Progress, StrOptions, VersionedMixin, fit_context, rows_out, warn
from ._groups import central_rows, complete_groups, join_first_fit, nearest_partners
from ._threshold import nearest_within, similarity, sq_limit

__all__ = ["NearDuplicates"]

# With so many distinct rows in one group, the threshold is more likely wrong than the rows alike.
_ONE_GROUP = 10


class NearDuplicates(
    VersionedMixin, RowSelectorMixin, OneToOneFeatureMixin, TransformerMixin, BaseEstimator
):
    """Group rows that are nearly the same, such as burst frames and copies, and keep one of each.

    Exact: every pair of rows at or above the threshold is found, and no other.

    Parameters
    ----------
    min_similarity : float, default=0.95
        Cosine, above -1 and up to 1, from which two rows are near-duplicates. With
        ``metric="cosine"``.
    metric : {"cosine", "euclidean"}, default="cosine"
        How rows are compared.
    max_distance : float, default=None
        Distance up to which two rows are near-duplicates, with ``metric="euclidean"``.
    linkage : {"connected", "complete"}, default="connected"
        - "connected": rows that a chain of near-duplicates connects are one group. Along a chain
          its ends may be far apart, as the first and the last frame of a slow turn.
        - "complete": no group holds a pair below the threshold. Row by row, in their order, a row
          joins the first group all of whose rows are near, or founds one.
    keep : {"central", "first", "last"} or array-like of shape (n_rows,), default="central"
        Which row of a group is kept: the one nearest to the group's mean, the first, the last, or
        the one with the highest of the scores given, such as sharpness. The first in a tie.
        Scores belong to the rows that are grouped: before `transform` of other rows, or
        `partial_fit` of a further batch, set theirs by ``set_params(keep=...)``.
    n_jobs : int or None, default=None
        Threads that search. None is as many as matrix products take, -1 all processors. The
        results are the same.
    verbose : bool or int, default=False
        Whether `fit` shows a progress bar and says on stderr what was found.

    Attributes
    ----------
    labels_ : ndarray of shape (n_rows,)
        Group of each row, numbered in the order of the groups' first rows. A row without
        near-duplicates is a group of its own. As `groups` of scikit-learn's splitters they keep
        copies on one side.
    group_sizes_ : ndarray of shape (n_groups,)
        Rows of each group.
    kept_indices_ : ndarray of shape (n_groups,)
        The row that is kept of each group.
    support_ : ndarray of bool of shape (n_rows,)
        Mask of the rows that are kept.
    similarity_ : ndarray of shape (n_rows,)
        Similarity of each row to the row that is kept of its group: the cosine or, with
        ``metric="euclidean"``, minus the distance.
    nearest_ : ndarray of shape (n_rows,)
        Each row's nearest other row, the first in a tie, if it is a near-duplicate; else -1. For
        rows of `partial_fit`, among the rows before them.
    nearest_similarity_ : ndarray of shape (n_rows,)
        Similarity to it, NaN where there is none.
    n_groups_ : int
        Number of groups.
    duplicate_ratio_ : float
        Share of the rows that are not kept.
    n_features_in_ : int
        Number of features seen during `fit`.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of features seen during `fit`, where all of them are strings.

    See Also
    --------
    similarity_report : Helps to choose the threshold.
    NearDuplicatesDisplay : Shows groups, and pairs around the threshold.
    leaks : Finds test rows that have a copy in training.
    DiversitySampler : Picks a diverse subset of what is left.

    Notes
    -----
    Similarities are those of float64, whatever the precision of the rows: matrix products only
    rule pairs out, with a margin for their rounding, and pairs near the threshold are settled by
    differences. Cosines of 1 are told from lower ones up to float64's own rounding.

    Equal rows are compared once, and of all pairs only a minimum spanning forest is kept, fewer
    than there are rows: a burst of 50,000 frames has 1,250,000,000 pairs. So memory is linear in
    the rows; time is O(n^2 d) at worst, and much less where rows form clusters.

    The fitted rows are kept for `predict`, `partial_fit` and `rethreshold`, not copied where they
    are float32 or float64: do not change X in place.

    Examples
    --------
    >>> import numpy as np
    >>> from dinov2_sklearn import NearDuplicates
    >>> X = np.array([[1.0, 0.0], [0.0, 1.0], [0.99, 0.02], [2.0, 0.0]])
    >>> duplicates = NearDuplicates(0.99).fit(X)
    >>> duplicates.labels_
    array([0, 1, 0, 0])
    >>> duplicates.get_support(indices=True)
    array([0, 1])
    >>> duplicates.predict([[3.0, 0.01], [1.0, 1.0]])
    array([ 0, -1])
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        # The range depends on the metric: see `sq_limit`.
        "min_similarity": [Real],
        "metric": [StrOptions({"cosine", "euclidean"})],
        "max_distance": [Interval(Real, 0, None, closed="left"), None],
        "linkage": [StrOptions({"connected", "complete"})],
        "keep": [StrOptions({"central", "first", "last"}), "array-like"],
        "n_jobs": [Integral, None],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        min_similarity: float = 0.95,
        *,
        metric: str = "cosine",
        max_distance: float | None = None,
        linkage: str = "connected",
        keep: str | ArrayLike = "central",
        n_jobs: int | None = None,
        verbose: bool | int = False,
    ):
        self.min_similarity = min_similarity
        self.metric = metric
        self.max_distance = max_distance
        self.linkage = linkage
        self.keep = keep
        self.n_jobs = n_jobs
        self.verbose = verbose

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Group the rows of X.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
            Embeddings, finite.
        y : None
            Ignored.

        Returns
        -------
        self : NearDuplicates
            The fitted estimator.

        Raises
        ------
        ValueError
            If X holds NaN, infinity or, under cosine, a zero row; if the threshold makes no
            sense; or if there are not as many scores to keep by as rows.

        Warns
        -----
        UserWarning
            If all rows are one group, and not because they are equal.
        """
        started = perf_counter()
        rows = check_rows(X, self.metric, estimator=self, reset=True)
        self._limit = sq_limit(self.min_similarity, self.max_distance, self.metric)
        scores = self._scores(len(rows))
        self._rows = rows
        geometry = to_geometry(rows, self.metric)
        with Progress(
            len(rows), "Comparing", "row", shown=bool(self.verbose), fitting=self
        ) as progress:
            self._pairs = find_pairs(
                geometry, self._limit, n_jobs=self.n_jobs, advance=progress.update
            )
        self._searched, self._searched_limit = self._pairs, self._limit
        self._n_fitted = len(rows)
        self._batches = [(len(rows), scores)]
        labels = self._group(geometry, self._pairs)
        self._describe(geometry, labels, _kept(geometry, labels, self._batches))
        self._say(started)
        return self

    def fit_transform(self, X: ArrayLike, y: Any = None) -> Any:
        """Group the rows of X and return those that are kept, in their order.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
            Embeddings.
        y : None
            Ignored.

        Returns
        -------
        X_kept : ndarray or DataFrame of shape (n_groups, n_features)
            As `transform` returns them.
        """
        self.fit(X)
        kept = np.sort(self.kept_indices_)
        return rows_out(self, X, self._rows[kept], kept)

    def transform(self, X: ArrayLike) -> Any:
        """Group the rows of this X, as `fit` would, and return those that are kept.

        The rows that `fit` saw play no part; `predict` compares with those.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
            Embeddings.

        Returns
        -------
        X_kept : ndarray or DataFrame of shape (n_groups, n_features)
            One row a group, in their order. Under ``set_output(transform="pandas")`` they keep the
            index of a pandas X; any other X gives an index of row positions.
        """
        check_is_fitted(self)
        rows = check_rows(X, self.metric, estimator=self, reset=False)
        scores = self._scores(len(rows))
        geometry = to_geometry(rows, self.metric)
        labels = self._group(geometry, find_pairs(geometry, self._limit, n_jobs=self.n_jobs))
        kept = np.sort(_kept(geometry, labels, [(len(rows), scores)]))
        return rows_out(self, X, rows[kept], kept)

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Group the rows of a new batch with those seen before.

        Each row in turn joins a group or founds one, and what was given before stays: the
        numbers of groups, and which row of each is kept. With ``linkage="connected"`` a row joins
        the group of the nearest row before it; groups that it would connect stay apart.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
            The batch. The first one is grouped as `fit` does.
        y : None
            Ignored.

        Returns
        -------
        self : NearDuplicates
            All attributes span all batches, with rows counted through them.
        """
        if not hasattr(self, "labels_"):
            return self.fit(X)
        started = perf_counter()
        batch = check_rows(X, self.metric, estimator=self, reset=False)
        scores = self._scores(len(batch))
        n_before = len(self._rows)
        # Of the finer precision, in which no row of either becomes another.
        rows = np.concatenate([self._rows, batch])
        geometry = to_geometry(rows, self.metric)
        new = np.arange(n_before, len(rows))
        parents, sq_distances = nearest_within(
            to_geometry(rows[n_before:], self.metric), geometry, self._limit, before=new
        )
        near = sq_distances <= self._limit
        labels = self._join_groups(geometry, new, np.where(near, parents, -1))
        latest = (len(rows), scores)
        kept = _kept(geometry, labels, [latest], start=n_before, kept=self.kept_indices_)
        # From here on nothing takes long: who interrupts it finds it as it was.
        self._rows, self._batches = rows, [*self._batches, latest]
        self._pairs = Pairs(
            np.concatenate([self._pairs.first, parents[near]]),
            np.concatenate([self._pairs.second, new[near]]),
            np.concatenate([self._pairs.sq_distances, sq_distances[near]]),
        )
        self._searched, self._searched_limit = self._pairs, self._limit
        self._describe(geometry, labels, kept)
        self._say(started)
        return self

    def rethreshold(
        self, min_similarity: float | None = None, *, max_distance: float | None = None
    ) -> Self:
        """Return a fitted copy at a stricter threshold, without searching again.

        Parameters
        ----------
        min_similarity : float, default=None
            The new threshold, not below that of the search.
        max_distance : float, default=None
            The same with ``metric="euclidean"``, not above that of the search.

        Returns
        -------
        stricter : NearDuplicates
            What `fit` at that threshold gives.

        Raises
        ------
        ValueError
            If the threshold is laxer than what was searched.
        """
        check_is_fitted(self)
        if min_similarity is not None and self.metric == "euclidean":
            raise ValueError(
                f"min_similarity={min_similarity!r} is for metric='cosine'. metric='euclidean' "
                "takes max_distance."
            )
        other = copy.copy(self)
        if min_similarity is not None:
            other.min_similarity = min_similarity
        if max_distance is not None:
            other.max_distance = max_distance
        limit = sq_limit(other.min_similarity, other.max_distance, self.metric)
        if limit > self._searched_limit:
            asked, searched = (
                _threshold_text(of, self.metric) for of in (limit, self._searched_limit)
            )
            raise ValueError(
                f"{asked} is laxer than {searched}, at which the rows were searched: pairs beyond "
                "that are not known. Fit at the laxer threshold."
            )
        other._limit = limit
        other._pairs = pairs = self._searched.where(self._searched.sq_distances <= limit)
        geometry = to_geometry(self._rows, self.metric)
        n = self._n_fitted
        labels = other._group(geometry, pairs.where(pairs.second < n), n)
        if n < len(self._rows):
            other.labels_, other.n_groups_ = labels, int(labels.max()) + 1
            new = np.arange(n, len(self._rows))
            parents = np.full(len(new), -1, dtype=np.intp)
            later = pairs.second >= n
            parents[pairs.second[later] - n] = pairs.first[later]
            labels = other._join_groups(geometry, new, parents)
        other._describe(geometry, labels, _kept(geometry, labels, self._batches))
        return other

    def predict(self, X: ArrayLike) -> NDArray[np.intp]:
        """Tell which fitted row each row copies.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
            Embeddings.

        Returns
        -------
        rows : ndarray of int of shape (n_rows,)
            The nearest fitted row, the first in a tie, if it is a near-duplicate; else -1.
        """
        nearest, sq_distances = self._nearest_fitted(X)
        return np.where(sq_distances <= self._limit, nearest, -1)

    def score_samples(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return the similarity of each row to the nearest fitted row.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
            Embeddings.

        Returns
        -------
        similarity : ndarray of shape (n_rows,)
            The cosine or, with ``metric="euclidean"``, minus the distance; also where it is below
            the threshold.
        """
        return similarity(self._nearest_fitted(X)[1], self.metric)

    def _nearest_fitted(self, X: ArrayLike) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        check_is_fitted(self)
        return nearest_within(*self._beside(X, self._rows), self._limit)

    def _scores(self, n: int) -> str | NDArray[np.float64]:
        """Return how to keep: a word, or checked scores."""
        if isinstance(self.keep, str):
            return self.keep
        scores = np.asarray(self.keep, dtype=np.float64)
        if scores.shape != (n,):
            raise ValueError(
                f"keep must be a word or hold one score a row ({n}). Got an array of shape "
                f"{scores.shape}. For other rows, set_params(keep=...) takes their scores."
            )
        if np.isnan(scores).any():
            raise ValueError(f"keep holds NaN, first at row {np.isnan(scores).argmax()}.")
        return scores

    def _group(self, geometry: Rows, pairs: Pairs, n: int | None = None) -> NDArray[np.intp]:
        """Label the first `n` rows, all by default, by the pairs within the threshold."""
        n = len(geometry) if n is None else n
        if self.linkage == "complete":
            return complete_groups(RowSubset(geometry, np.arange(n)), pairs, self._limit)
        return connected(n, pairs.first, pairs.second).astype(np.intp)

    def _join_groups(
        self, geometry: Rows, new: NDArray[np.intp], parents: NDArray[np.intp]
    ) -> NDArray[np.intp]:
        """Label all rows: those seen before as they are, `new` ones with or without parents."""
        labels = self.labels_
        if self.linkage == "complete":
            before = np.arange(len(labels))
            joined = join_first_fit(geometry, new, labels, before, self._limit)
            return np.concatenate([labels, joined])
        labels = np.concatenate([labels, np.empty(len(new), dtype=np.intp)])
        n_groups = self.n_groups_
        for row, parent in zip(new.tolist(), parents.tolist(), strict=True):
            if parent < 0:
                labels[row] = n_groups
                n_groups += 1
            else:
                labels[row] = labels[parent]
        return labels

    def _describe(self, geometry: Rows, labels: NDArray, kept: NDArray[np.intp]) -> None:
        """Set the attributes, given each row's group and each group's kept row."""
        self.labels_ = labels
        self.group_sizes_ = np.bincount(labels)
        self.kept_indices_ = kept
        self.support_ = np.zeros(len(labels), dtype=bool)
        self.support_[kept] = True
        self.n_groups_ = len(kept)
        self.duplicate_ratio_ = 1 - self.n_groups_ / len(labels)
        to_kept = np.zeros(len(labels))
        others = np.flatnonzero(~self.support_)
        for part in row_blocks(len(others), geometry.shape[1]):
            rows = others[part]
            to_kept[rows] = pair_sq_distances(
                exact_rows(geometry, rows), exact_rows(geometry, kept[labels[rows]])
            )
        self.similarity_ = similarity(to_kept, self.metric)
        self.nearest_, sq_distances = _partners(self._n_fitted, len(labels), self._pairs)
        alone = self.nearest_ < 0
        self.nearest_similarity_ = similarity(np.where(alone, 0, sq_distances), self.metric)
        self.nearest_similarity_[alone] = np.nan
        if self.n_groups_ == 1 and np.count_nonzero(to_kept) >= _ONE_GROUP:
            threshold = _threshold_text(self._limit, self.metric)
            warn(
                f"All {len(labels)} rows are one group at {threshold}: it tells nothing apart. "
                "similarity_report(X) helps to choose a threshold."
            )

    def _pairs_around(self, n: int) -> tuple[NDArray[np.intp], NDArray[np.float64], float]:
        """Return the known pairs nearest to the threshold, the most similar first, and it."""
        pairs = self._searched
        known = similarity(pairs.sq_distances, self.metric)
        threshold = float(similarity(np.array(self._limit), self.metric))
        nearest = np.argsort(np.abs(known - threshold), kind="stable")[:n]
        nearest = nearest[np.argsort(-known[nearest], kind="stable")]
        rows = np.stack([pairs.first[nearest], pairs.second[nearest]], axis=1)
        return rows, known[nearest], threshold

    def _say(self, started: float) -> None:
        if self.verbose:
            print(
                f"[{type(self).__name__}] {len(self.labels_)} rows are {self.n_groups_} groups, "
                f"the largest of {self.group_sizes_.max()}, {perf_counter() - started:.1f} s",
                file=sys.stderr,
            )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _threshold_text(limit: float, metric: str) -> str:
    # Rounded, since a limit lies a rounding error beside what was asked for.
    value = round(float(similarity(np.array(limit), metric)), 12) + 0.0
    return (
        f"max_distance={-value:.12g}" if metric == "euclidean" else f"min_similarity={value:.12g}"
    )


def _partners(n_fitted: int, n: int, pairs: Pairs) -> tuple[NDArray, NDArray]:
    """Return each fitted row's nearest partner, and of later rows the one before them."""
    fitted = pairs.second < n_fitted
    nearest, sq_distances = nearest_partners(n, pairs.where(fitted))
    later = pairs.second[~fitted]
    nearest[later], sq_distances[later] = pairs.first[~fitted], pairs.sq_distances[~fitted]
    return nearest, sq_distances


def _kept(
    geometry: Rows,
    labels: NDArray,
    batches: list[tuple[int, str | NDArray[np.float64]]],
    start: int = 0,
    kept: NDArray[np.intp] | None = None,
) -> NDArray[np.intp]:
    """Return the row to keep of each group: among those of the batch that founds it.

    Each of the batches says where it ends and how it keeps; groups that have a row in `kept`
    already were founded before row `start`.
    """
    kept = np.empty(0, dtype=np.intp) if kept is None else kept
    for end, scores in batches:
        rows = np.arange(start, end)
        rows = rows[labels[rows] >= len(kept)]
        if len(rows):
            its = scores if isinstance(scores, str) else scores[rows - start]
            kept = np.concatenate([kept, _kept_of(geometry, labels, rows, its)])
        start = end
    return kept


def _kept_of(
    geometry: Rows,
    labels: NDArray,
    rows: NDArray[np.intp],
    scores: str | NDArray[np.float64],
) -> NDArray[np.intp]:
    """Return the row to keep of each group that some rows are in, whose scores are given."""
    order = np.argsort(labels[rows], kind="stable")
    members = rows[order]
    starts = np.flatnonzero(np.diff(labels[members], prepend=-1))
    if isinstance(scores, np.ndarray):
        return members[np.lexsort((members, -scores[order], labels[members]))[starts]]
    if scores == "last":
        return members[np.append(starts[1:], len(members)) - 1]
    if scores == "first":
        return members[starts]
    return central_rows(geometry, members, starts)
