"""DiversitySampler: the rows worth labelling first."""

import sys
from collections.abc import Callable
from numbers import Integral, Real
from time import perf_counter
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from ..neighbors import (
    check_rows,
    direction_tolerance,
    sq_distances_to_earlier,
    to_geometry,
    to_metric,
)
from ..utils import (
    Interval,
    Progress,
    StrOptions,
    VersionedMixin,
    check_indices,
    fit_context,
    rows_out,
    warn,
)
from ._preparation import Distinct, check_groups, count_picks, find_distinct, warn_of_groups
from ._representation import cost_of_best_row, describe_cover, share_taken_away
from ._representatives import NearestRepresentativeMixin
from ._validation import check_weights
from .strategies import STRATEGIES, Pool, Strategy, Subset, pick_by_group, users_strategy

__all__ = ["DiversitySampler"]

# Strategies for which copies are rows like others, and outliers too.
_PLAIN = ("random",)
_WITHOUT_OUTLIERS = ("coverage", "hybrid", "fps", "typical")
# Strategies that choose by what picks stand for, so that these are the clusters.
_COVERING = ("coverage", "hybrid")


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
        picked, rounded, at least one row. Where there are fewer rows, or fewer distinct ones, all
        of these are picked, with a warning.
    strategy : {"hybrid", "coverage", "fps", "typical", "cluster", "random"} or callable, \
            default="hybrid"
        - "hybrid": "coverage", then the rows farthest from all of these;
        - "coverage": row by row, the one that leaves the least mean squared distance of all rows
          to their nearest pick (greedy facility location);
        - "fps": exact greedy farthest-point sampling (core-set);
        - "typical": the rows nearest to the centroids of k-means, then the farthest from them;
          "hybrid" of version 0.1;
        - "cluster": random rows of k-means clusters, in proportion to the clusters' sizes, where
          a burst of nearly equal rows counts as one;
        - "random": rows drawn at random;
        - a callable ``(X, n_samples, *, preselected, weights, random_state) -> indices`` gets
          the rows (read-only), the number of picks, an array of preselected rows (maybe empty),
          the weights (as shares of the largest) or None, and a RandomState. It returns
          `n_samples` distinct rows in pick order, none of them preselected.
    n_clusters : int, default=None
        Clusters of "cluster" and of far picks by cluster, at most one a row. None chooses the
        smallest of the number of picks, the square root of the number of rows, and 100. For
        "typical", None chooses one flat k-means with a cluster a typical pick while rows times
        clusters stay below ten million, and a number asks for two levels: k-means into that many
        clusters and again inside each of them.
    fps_ratio : float, default=0.15
        Share of the picks of "hybrid" and "typical", rounded down, that are farthest points; from
        0 to 1 (the same as "fps").
    fps_scope : {"global", "cluster"}, default="global"
        Whether these far picks are sought over all rows, or cluster by cluster with a quota in
        proportion to its spread.
    min_distance : float, default=0.0
        No pick is nearer than this to another pick or to a preselected row. Fewer rows are picked
        where no more are that far apart, with a warning.
    group_balance : {"proportional", "equal"}, default="proportional"
        Whether each of the `groups` gets picks in proportion to its distinct rows, or as many as
        the others; what a group cannot give, being small or for `min_distance`, goes to the
        others.
    metric : {"euclidean", "cosine"}, default="euclidean"
        Distance between rows. "cosine" picks by the Euclidean distance between rows scaled to
        length one, which orders rows as one minus the cosine does; one minus the cosine is what
        is reported.
    outlier_fraction : float, default=0.0
        Share of the rows, in [0, 1), that all strategies but "cluster", "random" and callables
        leave out: those farthest from their 10th nearest neighbour. They are not picked, and
        count in `coverage_` and `covering_radius_` alone. Above zero it costs an exact neighbour
        search, O(n^2 d).
    random_state : int, RandomState instance or None, default=42
        Seed of the draws and of k-means. `fit` draws one seed from it that `transform` uses
        again. "coverage", "fps" and, without clusters and groups, "hybrid" do not depend on it.
    verbose : bool or int, default=False
        Whether `fit` and `partial_fit` say on stderr what was picked.

    Attributes
    ----------
    selected_indices_ : ndarray of shape (n_picks,)
        Rows of X in pick order. Every prefix is a sensible selection itself: for "coverage",
        "fps" and "random" a smaller `n_samples` gives that very prefix, for "cluster" prefixes
        hold the clusters in proportion, for "hybrid" and "typical" the rows that stand for most
        others come first and the far ones follow.
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
    representation_ : ndarray of shape (n_picks,)
        How much of the spread the picks so far take away: 1 - the sum of the rows' squared
        distances to the nearest pick (or preselected row) / the same for the one row that is
        nearest to their mean, which is the best single one. The sums are over all rows but the
        outliers that `outlier_fraction` leaves out, weighted where there are weights. At most 1,
        and 0 for the first pick of "coverage", or less where the best single row has no weight.
        Of large data with many picks, the numbers between the first and the last are estimates
        from every so-manyth row.
    representation_bound_ : ndarray of shape (n_picks,)
        What `representation_` cannot exceed, whichever rows are picked that have weight and are
        not left out; see Notes. Only with "coverage" and "hybrid", without `groups`, up to some
        30,000 distinct rows.
    labels_ : ndarray of shape (n_rows,)
        Cluster of each row. With "coverage" and "hybrid", unless their far picks are sought by
        cluster, the representative or preselected row that it is nearest to, preselected rows
        first. Absent with "fps", "random" and callables.
    n_samples_seen_ : int
        Rows seen by `fit` and the calls of `partial_fit` since.
    n_features_in_ : int
        Number of features seen during `fit`.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of features seen during `fit`, where all of them are strings.

    See Also
    --------
    selection_report : Measures a selection beside random ones.
    optimality_gap : Proves how far a selection can be from the best possible.
    write_selection : Writes a selection as CSV.

    Notes
    -----
    **Copies.** Rows that are equal (under "cosine": of one direction, but for rounding) count as
    one row: one of them is picked at most, in all strategies but "random" and callables, and
    quotas count them once. It is the one of largest weight, of several the first. In what
    "coverage" covers, that row has the mass of all of them. Rows that are nearly equal, such as
    the frames of a burst, are covered by one pick, after which the others have next to nothing to
    add.

    **Coverage.** With the picks S, the cost is ``sum_i w_i min_{s in S} |x_i - s|^2``, which
    facility location [4]_ lowers row by row. The value of S, the cost it takes away from that of
    the best single row, is monotone and submodular: a row adds the less, the more were picked
    before. So k greedy picks reach at least ``1 - 1/e`` of the value of the best k [5]_, and
    nearly always far more. How much can be proven afterwards: for any k rows R and any prefix S,
    ``value(R) <= value(S) + the k largest gains left after S``; `representation_bound_` is the
    least of these sums. The user guide's chapter on coverage has the proof.

    **Farthest points.** With n rows of d features and m picks, they take O(n m d) time at worst,
    and one pass of k-means over k clusters O(n k d); coverage of up to 30,000 rows takes two or
    three comparisons of all pairs of rows, O(n^2 d), however many are picked. The covering radius
    is exact: another O(n m d) at the speed of a matrix product, or a fraction of that where most
    picks are told to be too far by the triangle inequality. Data is never copied whole beyond
    30,000 rows, and float32 stays float32.

    The far rows of "hybrid" are the greedy farthest points [1]_ given those before and the
    preselected ones, as for core-sets [2]_. At small budgets rows that stand for many teach a
    classifier more than far ones [3]_; together they also cover the data better than either.

    `preselected` rows count as labelled: picks keep away from them and complete the quotas of
    clusters and groups. `weights` weigh the rows that "coverage" covers, and multiply the
    distance in the choice of farthest points, the first of which, with nothing preselected, is
    then the row of largest weight, the most central in a tie. They are the chances of "random"
    picks and of those within a cluster, and the shares of the clusters' quotas. A row without
    weight is as good as covered, and is picked only when no other is left, of its cluster or of
    all.

    Quotas are whole numbers less than one from what each cluster or group is due; the seed draws
    who gets the remainders, in proportion, so that on average each gets what it is due.

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
    .. [4] G. Cornuejols, M. L. Fisher and G. L. Nemhauser, "Location of bank accounts to optimize
       float", Management Science 23, 1977.
    .. [5] G. L. Nemhauser, L. A. Wolsey and M. L. Fisher, "An analysis of approximations for
       maximizing submodular set functions", Mathematical Programming 14, 1978.

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

    representative_indices_: NDArray[np.intp]
    n_samples_seen_: int
    _preselected_rows: NDArray

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        # The two ranges are checked together in `check_n_samples`, which also refuses bools.
        "n_samples": [Integral, Real],
        "strategy": [StrOptions(set(STRATEGIES)), callable],
        "n_clusters": [Interval(Integral, 1, None, closed="left"), None],
        "fps_ratio": [Interval(Real, 0, 1, closed="both")],
        "fps_scope": [StrOptions({"global", "cluster"})],
        "min_distance": [Interval(Real, 0, None, closed="left")],
        "group_balance": [StrOptions({"proportional", "equal"})],
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
        fps_ratio: float = 0.15,
        fps_scope: str = "global",
        min_distance: float = 0.0,
        group_balance: str = "proportional",
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
        self.min_distance = min_distance
        self.group_balance = group_balance
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
        groups: ArrayLike | None = None,
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
        groups : array-like of shape (n_rows,), default=None
            Group of each row, such as its camera, its day or its class: any values, none missing.
            Each group is given a number of picks, as `group_balance` says. Rows that are equal in
            several groups count for that which lacks most of its share.

        Returns
        -------
        self : DiversitySampler
            The fitted sampler.

        Raises
        ------
        ValueError
            If X holds NaN, infinity or, under cosine, a zero row; if `n_samples`, `preselected`,
            `weights` or `groups` do not fit X; if every row is preselected; or if a callable
            strategy returns what it should not.
        """
        rows = check_rows(X, self.metric, estimator=self, reset=True)
        self._seed = self._draw_seed()
        return self._pick_more(rows, preselected, weights, groups, anew=True)

    def fit_transform(
        self,
        X: ArrayLike,
        y: Any = None,
        *,
        preselected: ArrayLike | None = None,
        weights: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> Any:
        """Pick rows of X and return them, in their original order.

        Without `preselected`, `weights` and `groups` this equals ``fit(X).transform(X)`` at half
        the cost.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
            Embeddings.
        y : None
            Ignored.
        preselected, weights, groups : array-like, default=None
            As in `fit`.

        Returns
        -------
        X_selected : ndarray or DataFrame of shape (n_picks, n_features)
            The picked rows, as `transform` returns them.
        """
        self.fit(X, preselected=preselected, weights=weights, groups=groups)
        return rows_out(self, X, self.representatives_, self.selected_indices_)

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
        picked = self._pick(rows, None, None, None, self._seed)[1].indices
        return rows_out(self, X, rows[picked], picked)

    @fit_context(prefer_skip_nested_validation=True)
    def select(
        self,
        X: ArrayLike,
        *,
        preselected: ArrayLike | None = None,
        weights: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> NDArray[np.intp]:
        """Pick rows of X without fitting.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
            Embeddings.
        preselected, weights, groups : array-like, default=None
            As in `fit`.

        Returns
        -------
        indices : ndarray of shape (n_picks,)
            Rows of X in pick order: what `fit` would put into `selected_indices_`. The sampler
            is not changed, and need not be fitted.
        """
        rows = check_rows(X, self.metric)
        return self._pick(rows, preselected, weights, groups, self._draw_seed())[1].indices

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self,
        X: ArrayLike,
        y: Any = None,
        *,
        preselected: ArrayLike | None = None,
        weights: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> Self:
        """Pick more rows from a new batch, given all picked so far.

        The first batch is picked as `fit` does. From each later one `n_samples` rows are picked
        given all representatives and preselected rows: those that cover most of the batch with
        the strategy "coverage", with all others the exact farthest points. An `outlier_fraction`
        is left out as in `fit`.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
            The batch.
        y : None
            Ignored.
        preselected, weights, groups : array-like, default=None
            As in `fit`, for the rows of this batch.

        Returns
        -------
        self : DiversitySampler
            `representatives_`, `representative_indices_` and `n_samples_seen_` span all
            batches. All other attributes describe this batch: its picks, in its own row
            numbers, and its distances to all representatives.
        """
        if not hasattr(self, "representatives_"):
            return self.fit(X, preselected=preselected, weights=weights, groups=groups)
        rows = check_rows(X, self.metric, estimator=self, reset=False)
        # All representatives share the dtype of the first batch.
        rows = rows.astype(self.representatives_.dtype, copy=False)
        return self._pick_more(rows, preselected, weights, groups)

    def _pick_more(
        self,
        rows: NDArray,
        preselected: ArrayLike | None,
        weights: ArrayLike | None,
        groups: ArrayLike | None,
        *,
        anew: bool = False,
    ) -> Self:
        """Pick from a batch, given those before unless `anew`; take note, and describe it."""
        started = perf_counter()
        labelled, known, places, n_seen = rows[:0], rows[:0], np.empty(0, dtype=np.intp), 0
        elsewhere = None
        if not anew:
            labelled, known = self._preselected_rows, self.representatives_
            places, n_seen = self.representative_indices_, self.n_samples_seen_
            elsewhere = to_geometry(np.concatenate([labelled, known]), self.metric)[:]
        fitting = self if anew else None
        with Progress(1, "Picking", "step", shown=False, fitting=fitting) as progress:
            pool, subset = self._pick(
                rows, preselected, weights, groups, self._seed, elsewhere=elsewhere
            )
            progress.update()
        self._preselected_rows = np.concatenate([labelled, rows[pool.preselected]])
        self.representatives_ = np.concatenate([known, rows[subset.indices]])
        self.representative_indices_ = np.concatenate([places, subset.indices + n_seen])
        self.n_samples_seen_ = n_seen + len(rows)
        self._describe(pool, subset)
        self._report(started)
        return self

    def _pick(
        self,
        rows: NDArray,
        preselected: ArrayLike | None,
        weights: ArrayLike | None,
        groups: ArrayLike | None,
        seed: int,
        *,
        elsewhere: NDArray | None = None,
    ) -> tuple[Pool, Subset]:
        """Check the arguments, and pick."""
        labelled = np.empty(0, dtype=np.intp)
        if preselected is not None:
            labelled = check_indices(preselected, len(rows), "preselected")
        if weights is not None:
            weights = check_weights(weights, len(rows), labelled)
        numbers = None if groups is None else check_groups(groups, len(rows))
        distinct, pool = self._make_pool(rows, labelled, weights, numbers, seed, elsewhere)
        # A share is one of the rows that could be picked if copies were rows like others.
        n_rows = int(np.count_nonzero(pool.candidates[pool.stand_in]))
        n_picks = count_picks(self.n_samples, n_rows, pool.candidates, type(self).__name__)
        strategy = self._strategy(elsewhere is not None)
        if numbers is None:
            subset = strategy(pool, n_picks)
        else:
            warn_of_groups(numbers, distinct, labelled, n_picks, self.group_balance)
            subset = pick_by_group(pool, n_picks, strategy, numbers, self.group_balance)
        if len(subset.indices) < n_picks:
            users = callable(self.strategy) and elsewhere is None
            others = "other row that the strategy returned" if users else "other row"
            warn(
                f"min_distance={self.min_distance} leaves {len(subset.indices)} of {n_picks} "
                f"picks: every {others} is nearer than that to one of them, or to a labelled row."
            )
        return pool, subset

    def _make_pool(
        self,
        rows: NDArray,
        labelled: NDArray[np.intp],
        weights: NDArray[np.float64] | None,
        groups: NDArray[np.intp] | None,
        seed: int,
        elsewhere: NDArray | None,
    ) -> tuple[Distinct, Pool]:
        """Say which rows can be picked, and what each of them stands for."""
        geometry = to_geometry(rows, self.metric)
        copies_count = callable(self.strategy) or self.strategy in _PLAIN
        distinct = find_distinct(
            geometry,
            labelled,
            weights,
            self.outlier_fraction if self.strategy in _WITHOUT_OUTLIERS else 0.0,
            groups=groups,
            balance=self.group_balance,
            as_rows=copies_count and elsewhere is None,
        )
        squared = self.min_distance**2 if self.metric == "euclidean" else 2 * self.min_distance
        pool = Pool(
            X=geometry,
            candidates=distinct.candidates,
            mass=distinct.mass,
            stand_in=distinct.stand_in,
            random_state=np.random.RandomState(seed),
            preselected=labelled,
            elsewhere=elsewhere,
            weights=distinct.weights,
            min_sq_distance=squared,
            raw=rows if callable(self.strategy) else None,
            n_clusters=self.n_clusters,
            fps_ratio=self.fps_ratio,
            fps_scope=self.fps_scope,
        )
        self._leave_out_known(pool)
        return distinct, pool

    def _leave_out_known(self, pool: Pool) -> None:
        """Bar candidates that equal a row picked or labelled elsewhere, if others are left."""
        least = 0.0 if self.metric == "euclidean" else (2 * direction_tolerance(pool.X.dtype)) ** 2
        if pool.sq_distances_elsewhere is not None:
            new = pool.candidates & (pool.sq_distances_elsewhere > least)
            pool.candidates[:] = new if new.any() else pool.candidates

    def _strategy(self, goes_on: bool) -> Strategy:
        """Return how to pick; from a later batch, by covering or the farthest."""
        if goes_on:
            return STRATEGIES["coverage" if self.strategy == "coverage" else "fps"]
        if callable(self.strategy):
            return users_strategy(self.strategy)
        return STRATEGIES[self.strategy]

    def _draw_seed(self) -> int:
        return int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))

    def _describe(self, pool: Pool, subset: Subset) -> None:
        """Set the attributes that describe one X, given its picks and all rows before them."""
        labelled, picked = pool.labelled_rows(), pool.X[subset.indices]
        sq_distances, rank, costs = describe_cover(pool, subset)
        self.selected_indices_ = subset.indices
        self.support_ = np.zeros(len(pool.X), dtype=bool)
        self.support_[subset.indices] = True
        between = sq_distances_to_earlier(picked, labelled)
        self.pick_distances_ = to_metric(between, self.metric)
        self.coverage_ = np.bincount(rank[rank >= 0], minlength=len(picked)) / len(pool.X)
        self.covering_radius_ = float(to_metric(sq_distances.max(), self.metric))
        spread = cost_of_best_row(pool, subset)
        self.representation_ = share_taken_away(costs, spread)
        self._set_or_delete("labels_", self._clusters(subset, rank + len(labelled)))
        bound = None
        if subset.least_costs is not None:
            bound = share_taken_away(subset.least_costs[: len(picked)], spread)
            bound = np.maximum(bound, self.representation_)  # equal but for rounding, at times
        self._set_or_delete("representation_bound_", bound)

    def _clusters(self, subset: Subset, place: NDArray[np.intp]) -> NDArray[np.intp] | None:
        """Return the cluster of each row, if the strategy has any; otherwise what covers it."""
        covers = self.strategy in _COVERING and subset.costs is not None
        return place if subset.labels is None and covers else subset.labels

    def _set_or_delete(self, name: str, value: Any) -> None:
        if value is not None:
            setattr(self, name, value)
        elif hasattr(self, name):
            delattr(self, name)

    def _report(self, started: float) -> None:
        if self.verbose:
            bound = ""
            if hasattr(self, "representation_bound_"):
                bound = f" (no choice takes more than {self.representation_bound_[-1]:.1%})"
            print(
                f"[{type(self).__name__}] picked {len(self.selected_indices_)} of "
                f"{len(self.support_)} rows, covering radius {self.covering_radius_:.4g}, taking "
                f"away {self.representation_[-1]:.1%} of the spread{bound}, "
                f"{perf_counter() - started:.1f} s",
                file=sys.stderr,
            )

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "min_distance" not in state and state["strategy"] == "hybrid":  # pickled by 0.1.0
            state = {**state, "strategy": "typical"}  # its name since
        super().__setstate__(state)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
