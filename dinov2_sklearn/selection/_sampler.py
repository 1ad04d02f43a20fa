"""DiversitySampler: the rows worth labelling first."""

import sys
from collections.abc import Callable
from numbers import Integral, Real
from time import perf_counter
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from ..neighbors._distances import nearest, sq_distances_to_earlier
from ..neighbors._geometry import Rows, to_geometry, to_metric
from ..utils import (
    Interval,
    Progress,
    StrOptions,
    VersionedMixin,
    check_indices,
    fit_context,
    transform_output,
)
from ._farthest_point import farthest_point
from ._pick import candidate_mask, count_picks, pick
from ._representatives import NearestRepresentativeMixin
from ._strategies import STRATEGIES
from ._task import Picks, Task
from ._validation import check_rows, check_weights


class DiversitySampler(
    VersionedMixin,
    NearestRepresentativeMixin,
    OneToOneFeatureMixin,
    TransformerMixin,
    BaseEstimator,
):
    """Select a small diverse subset of rows, such as the images worth labelling first.

    Parameters
    ----------
    n_samples : int or float, default=100
        Rows to pick: an int of at least 1, or a fraction in (0, 1] of the rows that can be
        picked, rounded, at least one row. Where there are fewer rows, all are picked, with a
        warning.
    strategy : {"hybrid", "fps", "cluster", "random"} or callable, default="hybrid"
        - "hybrid": typical rows first, then the rows farthest from all of these;
        - "fps": exact greedy farthest-point sampling (core-set);
        - "cluster": random rows of k-means clusters, in proportion to the clusters' sizes;
        - "random": rows drawn at random;
        - a callable ``(X, n_samples, *, preselected, weights, random_state) -> indices`` gets
          the rows (read-only), the number of picks, an array of preselected rows (maybe empty),
          the weights (as shares of the largest) or None, and a RandomState. It returns
          `n_samples` distinct rows in pick order, none of them preselected.
    n_clusters : int, default=None
        Clusters of "cluster" and "hybrid", at most one a row. None chooses: for "cluster" the
        smallest of the number of picks, the square root of the number of rows, and 100; for
        "hybrid" one flat k-means with a cluster a typical pick while rows times clusters stay
        below ten million, otherwise the square root of the number of picks. A number asks
        "hybrid" for two levels: k-means into that many clusters and again inside each of them.
    fps_ratio : float, default=0.3
        Share of the picks of "hybrid", rounded, that are farthest points; from 0 (typical rows
        alone) to 1 (the same as "fps").
    fps_scope : {"global", "cluster"}, default="global"
        Whether the far picks of "hybrid" are sought over all rows, or cluster by cluster with a
        quota in proportion to its size.
    metric : {"euclidean", "cosine"}, default="euclidean"
        Distance between rows. "cosine" picks by the Euclidean distance between rows scaled to
        length one, which orders rows as one minus the cosine does; one minus the cosine is what
        is reported.
    outlier_fraction : float, default=0.0
        Share of the rows, in [0, 1), that "fps" and "hybrid" leave out: those farthest from
        their 10th nearest neighbour. Other strategies ignore it. Above zero it costs an exact
        neighbour search, O(n^2 d).
    random_state : int, RandomState instance or None, default=42
        Seed of the draws and of k-means. `fit` draws one seed from it that `transform` uses
        again. "fps" does not depend on it.
    verbose : bool or int, default=False
        Whether `fit` and `partial_fit` say on stderr what was picked.

    Attributes
    ----------
    selected_indices_ : ndarray of shape (n_picks,)
        Rows of X in pick order. Every prefix is a sensible selection itself: for "fps" and
        "random" a smaller `n_samples` gives that very prefix, for "cluster" prefixes hold the
        clusters in proportion, for "hybrid" the typical rows come first, ordered so that each
        prefix stands for as much of the data as it can, and the far rows follow.
    support_ : ndarray of bool of shape (n_rows,)
        Mask of the picked rows.
    representatives_ : ndarray of shape (n_representatives, n_features)
        Copy of the picked rows, in pick order; after `partial_fit`, of all batches.
    representative_indices_ : ndarray of shape (n_representatives,)
        Where each representative stands among all rows seen since the last `fit`, counted
        through the batches. Equal to `selected_indices_` after `fit`.
    pick_distances_ : ndarray of shape (n_picks,)
        Distance of each pick to the nearest row that was picked earlier or preselected, without
        weights. Infinite for the first pick where nothing is preselected.
    coverage_ : ndarray of shape (n_picks,)
        Share of the rows of X that are nearer to this pick than to any other representative or
        preselected row.
    covering_radius_ : float
        Largest distance of a row of X to its nearest representative or preselected row.
    labels_ : ndarray of shape (n_rows,)
        Cluster of each row. Only with the strategies "cluster" and "hybrid".
    n_samples_seen_ : int
        Rows seen by `fit` and the calls of `partial_fit` since.
    n_features_in_ : int
        Number of features seen during `fit`.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of features seen during `fit`, where all of them are strings.

    See Also
    --------
    selection_report : Measures a selection beside random ones.
    write_selection : Writes a selection as CSV.

    Notes
    -----
    With n rows of d features and m picks, farthest points take O(n m d) time, and one pass of
    k-means over k clusters O(n k d). The covering radius is exact: another O(n m d) at the speed
    of a matrix product. Data is never copied whole, and float32 stays float32.

    Typical rows of "hybrid" are those nearest the centroids of as many k-means groups as there
    are rows to pick or preselected, skipping groups that hold a preselected row [3]_; far rows
    are the greedy farthest points [1]_ given the typical and the preselected ones, as for
    core-sets [2]_. At small budgets the typical rows teach a classifier more than far ones
    [3]_; together they also cover the data better than either.

    `preselected` rows count as labelled: picks keep away from them and complete the clusters'
    quotas. `weights` multiply the distance in the choice of farthest points; the first one,
    with nothing preselected, is then the row of largest weight, the most central in a tie. They
    are the chances of "random" picks and of those within a cluster, the shares of the clusters'
    quotas, and the pull of each row on the centroids of "hybrid". A row without weight is as good
    as covered to "fps", and elsewhere is picked only when its cluster has no other left.

    In a pipeline, pass them as ``pipe.fit(X, select__weights=weights)``. A cross-validated
    search cuts arrays of one entry a row into its folds: give `preselected` as a mask there.

    References
    ----------
    .. [1] T. F. Gonzalez, "Clustering to minimize the maximum intercluster distance",
       Theoretical Computer Science 38, 1985.
    .. [2] O. Sener and S. Savarese, "Active learning for convolutional neural networks: a
       core-set approach", ICLR 2018.
    .. [3] G. Hacohen, A. Dekel and D. Weinshall, "Active learning on a budget: opposite
       strategies suit high and low budgets", ICML 2022.

    Examples
    --------
    >>> import numpy as np
    >>> from dinov2_sklearn import DiversitySampler
    >>> X = np.array([[0.0, 0.0], [0.1, 0.0], [5.0, 5.0], [5.1, 5.0], [9.0, 0.0]])
    >>> sampler = DiversitySampler(n_samples=3, strategy="fps").fit(X)
    >>> sampler.selected_indices_
    array([2, 0, 4])
    >>> sampler.predict([[0.2, 0.1], [8.0, 1.0]])
    array([1, 2])
    >>> DiversitySampler(n_samples=3, strategy="fps").fit_transform(X)
    array([[0., 0.],
           [5., 5.],
           [9., 0.]])
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        # The two ranges are checked together in `check_n_samples`, which also refuses bools.
        "n_samples": [Integral, Real],
        "strategy": [StrOptions(set(STRATEGIES)), callable],
        "n_clusters": [Interval(Integral, 1, None, closed="left"), None],
        "fps_ratio": [Interval(Real, 0, 1, closed="both")],
        "fps_scope": [StrOptions({"global", "cluster"})],
        "metric": [StrOptions({"euclidean", "cosine"})],
        "outlier_fraction": [Interval(Real, 0, 1, closed="left")],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        n_samples: int | float = 100,
        *,
        strategy: str | Callable[..., ArrayLike] = "hybrid",
        n_clusters: int | None = None,
        fps_ratio: float = 0.3,
        fps_scope: str = "global",
        metric: str = "euclidean",
        outlier_fraction: float = 0.0,
        random_state: int | np.random.RandomState | None = 42,
        verbose: bool | int = False,
    ):
        self.n_samples = n_samples
        self.strategy = strategy
        self.n_clusters = n_clusters
        self.fps_ratio = fps_ratio
        self.fps_scope = fps_scope
        self.metric = metric
        self.outlier_fraction = outlier_fraction
        self.random_state = random_state
        self.verbose = verbose

    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: ArrayLike,
        y: Any = None,
        *,
        preselected: ArrayLike | None = None,
        weights: ArrayLike | None = None,
    ) -> Self:
        """Pick rows of X.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
            Embeddings, finite; float32 and float64 are kept as they are.
        y : None
            Ignored.
        preselected : array-like, default=None
            Rows that are labelled already, as row numbers or as a mask of length `n_rows`. They
            are extended and never picked.
        weights : array-like of shape (n_rows,), default=None
            Importance of each row, such as a model's uncertainty: not negative, and positive
            for some row that can be picked.

        Returns
        -------
        self : DiversitySampler
            The fitted sampler.

        Raises
        ------
        ValueError
            If X holds NaN, infinity or, under cosine, a zero row; if `n_samples`, `preselected`
            or `weights` do not fit X; if every row is preselected; or if a callable strategy
            returns what it should not.
        """
        started = perf_counter()
        rows = check_rows(X, self.metric, estimator=self, reset=True)
        self._seed = self._draw_seed()
        with Progress(1, "Picking", "step", shown=False, fitting=self) as progress:
            task, picks = self._pick(rows, preselected, weights, self._seed)
            progress.update()
        self._preselected_rows = rows[task.preselected]
        self.representatives_ = rows[picks.indices]
        self.representative_indices_ = picks.indices.copy()
        self.n_samples_seen_ = len(rows)
        self._describe(task.X, picks, task.X[task.preselected])
        self._report(started)
        return self

    def fit_transform(
        self,
        X: ArrayLike,
        y: Any = None,
        *,
        preselected: ArrayLike | None = None,
        weights: ArrayLike | None = None,
    ) -> Any:
        """Pick rows of X and return them, in their original order.

        Without `preselected` and `weights` this equals ``fit(X).transform(X)`` at half the cost.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
            Embeddings.
        y : None
            Ignored.
        preselected, weights : array-like, default=None
            As in `fit`.

        Returns
        -------
        X_selected : ndarray or DataFrame of shape (n_picks, n_features)
            The picked rows, as `transform` returns them.
        """
        self.fit(X, preselected=preselected, weights=weights)
        return self._rows_out(X, self.representatives_, self.selected_indices_)

    def transform(self, X: ArrayLike) -> Any:
        """Pick rows of this X, as `fit` would, and return them in their original order.

        The rows that `fit` saw play no part; `score_samples` compares with those.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
            Embeddings.

        Returns
        -------
        X_selected : ndarray or DataFrame of shape (n_picks, n_features)
            The picked rows. Under ``set_output(transform="pandas")`` they keep the index of a
            pandas X; any other X gives an index of row positions. polars frames have no index:
            `select` tells the positions.
        """
        check_is_fitted(self)
        rows = check_rows(X, self.metric, estimator=self, reset=False)
        picked = self._pick(rows, None, None, self._seed)[1].indices
        return self._rows_out(X, rows[picked], picked)

    @fit_context(prefer_skip_nested_validation=True)
    def select(
        self,
        X: ArrayLike,
        *,
        preselected: ArrayLike | None = None,
        weights: ArrayLike | None = None,
    ) -> np.ndarray:
        """Pick rows of X without fitting.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
            Embeddings.
        preselected, weights : array-like, default=None
            As in `fit`.

        Returns
        -------
        indices : ndarray of shape (n_picks,)
            Rows of X in pick order: what `fit` would put into `selected_indices_`. The sampler
            is not changed, and need not be fitted.
        """
        rows = check_rows(X, self.metric)
        return self._pick(rows, preselected, weights, self._draw_seed())[1].indices

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Pick more rows from a new batch, the farthest from all picked so far.

        The first batch is picked as `fit` does. From each later one `n_samples` rows are picked
        by exact farthest point, whatever the strategy, given all representatives and
        preselected rows; an `outlier_fraction` is left out for "fps" and "hybrid".

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
            The batch.
        y : None
            Ignored.

        Returns
        -------
        self : DiversitySampler
            `representatives_`, `representative_indices_` and `n_samples_seen_` span all
            batches. All other attributes describe this batch: its picks, in its own row
            numbers, and its distances to all representatives.
        """
        if not hasattr(self, "representatives_"):
            return self.fit(X)
        started = perf_counter()
        rows = check_rows(X, self.metric, estimator=self, reset=False)
        # All representatives share the dtype of the first batch.
        rows = rows.astype(self.representatives_.dtype, copy=False)
        geometry = to_geometry(rows, self.metric)
        earlier = np.concatenate([self._preselected_rows, self.representatives_])
        earlier = to_geometry(earlier, self.metric)[:]
        nothing = np.empty(0, dtype=np.intp)
        candidates = candidate_mask(geometry, nothing, self.strategy, self.outlier_fraction)
        indices, _ = farthest_point(
            geometry,
            count_picks(self.n_samples, candidates, type(self).__name__),
            initial_sq_distances=nearest(geometry, earlier)[1],
            candidates=candidates,
        )
        self.representatives_ = np.concatenate([self.representatives_, rows[indices]])
        self.representative_indices_ = np.concatenate(
            [self.representative_indices_, indices + self.n_samples_seen_]
        )
        self.n_samples_seen_ += len(rows)
        self._describe(geometry, Picks(indices), earlier)
        self._report(started)
        return self

    def get_support(self, indices: bool = False) -> np.ndarray:
        """Tell which rows of the fitted X were picked.

        Parameters
        ----------
        indices : bool, default=False
            Whether to return row numbers instead of a mask.

        Returns
        -------
        support : ndarray
            Mask of shape (n_rows,), or the picked rows' numbers in ascending order.
        """
        check_is_fitted(self)
        return np.flatnonzero(self.support_) if indices else self.support_

    def _pick(
        self,
        rows: np.ndarray,
        preselected: ArrayLike | None,
        weights: ArrayLike | None,
        seed: int,
    ) -> tuple[Task, Picks]:
        labelled = np.empty(0, dtype=np.intp)
        if preselected is not None:
            labelled = check_indices(preselected, len(rows), "preselected")
        geometry = to_geometry(rows, self.metric)
        candidates = candidate_mask(geometry, labelled, self.strategy, self.outlier_fraction)
        task = Task(
            X=geometry,
            n_picks=count_picks(self.n_samples, candidates, type(self).__name__),
            candidates=candidates,
            preselected=labelled,
            weights=None if weights is None else check_weights(weights, len(rows), candidates),
            random_state=np.random.RandomState(seed),
            n_clusters=self.n_clusters,
            fps_ratio=self.fps_ratio,
            fps_scope=self.fps_scope,
        )
        return task, pick(rows, task, self.strategy)

    def _draw_seed(self) -> int:
        return int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))

    def _describe(self, geometry: Rows, picks: Picks, earlier: np.ndarray) -> None:
        """Set the attributes that describe one X, given its picks and all rows before them."""
        picked = geometry[picks.indices]
        position, sq_distances = nearest(geometry, np.concatenate([earlier, picked]))
        own = position[position >= len(earlier)] - len(earlier)
        self.selected_indices_ = picks.indices
        self.support_ = np.zeros(len(geometry), dtype=bool)
        self.support_[picks.indices] = True
        between = sq_distances_to_earlier(picked, earlier)
        self.pick_distances_ = to_metric(between, self.metric)
        self.coverage_ = np.bincount(own, minlength=len(picked)) / len(geometry)
        self.covering_radius_ = float(to_metric(sq_distances.max(), self.metric))
        if picks.labels is not None:
            self.labels_ = picks.labels
        elif hasattr(self, "labels_"):
            del self.labels_

    def _rows_out(self, X: Any, rows: np.ndarray, indices: np.ndarray) -> Any:
        """Bring picked rows into their original order, in the container that is asked for."""
        order = np.argsort(indices)
        if transform_output(self) != "pandas":
            return rows[order]
        # scikit-learn would give these rows the index of the whole X, and fail on its length; a
        # frame that has an index already it takes as it is.
        import pandas as pd

        positions = indices[order]
        index = X.index[positions] if isinstance(X, pd.DataFrame) else positions
        return pd.DataFrame(rows[order], index=index)

    def _report(self, started: float) -> None:
        if self.verbose:
            print(
                f"[{type(self).__name__}] picked {len(self.selected_indices_)} of "
                f"{len(self.support_)} rows, covering radius {self.covering_radius_:.4g}, "
                f"{perf_counter() - started:.1f} s",
                file=sys.stderr,
            )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
