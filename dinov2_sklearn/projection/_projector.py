"""UMAPProjector: a map by UMAP's objective, with a row-by-row transform."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from ..neighbors import (
    UnitRows,
    check_finite,
    count_threads,
    first_occurrences,
    knn,
    knn_in_cells,
    map_blocks,
    match_rows,
    to_metric,
)
from ..utils import Interval, Progress, StrOptions, VersionedMixin, fit_context, refuse_paths, warn
from ._axes import along_axes, principal_axes, principal_layout
from ._graph import fuzzy_graph, membership_strengths, similarity_curve
from ._layout import default_n_epochs, optimize_layout
from ._placement import average_by_distance, refine_positions
from ._views import MapViewsMixin, draw_seed

__all__ = ["UMAPProjector"]

AUTO_ROWS = 5_000
AUTO_COMPONENTS = 100
# Fewer distinct rows than this have no neighbourhoods to speak of: they get their principal axes.
FEWEST_ROWS = 5
# Up to so many distinct rows all pairs are compared: a second or two. Beyond, cells are faster.
EXACT_ROWS = 20_000
LOW_RECALL = 0.95


class UMAPProjector(
    VersionedMixin, MapViewsMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator
):
    r"""Map embeddings to a few coordinates by UMAP's objective, and place new rows on the map.

    The graph of neighbours and the objective are UMAP's [1]_; the layout that descends it is our
    own. It is not umap-learn's map: it keeps neighbours about as well, takes a fraction of the time
    and is the same to the byte for any number of threads. `transform` is deterministic and works
    row by row, so that a row's point does not depend on the batch it comes in, and a training row
    gets the very point that it got in `fit`.

    Parameters
    ----------
    n_components : int, default=2
        Number of coordinates of the map.

    n_neighbors : int, default=15
        Size of a row's neighbourhood, the row itself included; at least 2. Small values show
        fine structure, large ones the overall arrangement. Where there are no more distinct rows
        than this, all the others are taken and a ``UserWarning`` says so.

    min_dist : float, default=0.1
        How tightly points may be packed, from 0 to 1, in units of the map's spread.

    metric : {"cosine", "euclidean"}, default="cosine"
        Distance between rows. With ``"cosine"`` a row of zeros has no direction: it counts as
        equally far from all others, and a ``UserWarning`` names such rows.

    pca_components : int, "auto" or None, default="auto"
        Number of principal components that neighbours are searched in. ``"auto"`` takes 100 where
        there are more than 5,000 rows and more than 100 features, and all features otherwise.
        None takes all features; an int, at most as many as there are rows or features. With
        ``metric="cosine"`` the components are those of the rows scaled to length 1. The share of
        the variance that is left out is `pca_loss_`.

    n_epochs : int or None, default=None
        Passes of the optimisation. None takes 500 up to 10,000 distinct rows, 200 up to 100,000,
        and 300 above.

    random_state : int, RandomState instance or None, default=42
        With a seed, the same data give the same map to the byte on machines of one kind with the
        same library versions, whatever the number of cores. None draws another seed at each fit.
        `transform` is deterministic in either case.

    n_jobs : int or None, default=None
        Threads that `fit` takes; None means as many as products of matrices take. The map is the
        same for any number.

    verbose : bool or int, default=False
        Show a progress bar of the layout's passes on standard error.

    Attributes
    ----------
    embedding_ : ndarray of shape (n_samples, n_components), float32
        The map: the point of each row given to `fit` and `partial_fit`, in that order.

    labels_ : ndarray of shape (n_samples,), int
        Cluster of each row, once `cluster` was called; -1 is noise. A later `fit` or
        `partial_fit` drops it.

    n_neighbors_ : int
        The size of neighbourhood in use.

    neighbor_recall_ : float
        Share of the nearest neighbours that the search of `fit` found, of a sample of 512 rows; 1
        where it was exact.

    pca_mean_ : ndarray of shape (n_features,), float32, or None
        Mean that was taken off before PCA, None without PCA.

    pca_components_ : ndarray of shape (n_pca_components, n_features), float32, or None
        Principal axes, None without PCA.

    pca_loss_ : float
        Share of the variance that PCA left out, from 0 to 1; 0 without PCA.

    n_features_in_ : int
        Number of features seen in `fit`.

    feature_names_in_ : ndarray of shape (n_features,)
        Names of the features, where X had string names for all of them.

    See Also
    --------
    ProjectionDisplay : Draws the map.
    sklearn.manifold.Isomap : A map by geodesic distances.

    Notes
    -----
    Identical rows (after conversion to float32, and scaling to length 1 for cosine) are one point:
    the map is made of the distinct rows, and a thousand copies weigh as much as one. Fewer than 5
    distinct rows are laid out on their principal axes, a single one at the origin.

    **The objective.** Rows i and j are joined by UMAP's edge of weight :math:`w_{ij}`, and
    :math:`p_i = \sum_j w_{ij}`. From a start on their principal axes [2]_ the points :math:`y`
    descend

    .. math::

        E = - 2 \sum_{i < j} w_{ij} \log q_{ij}
            - 5 \sum_{i < j} \frac{p_i + p_j}{2 n} \log (1 - q_{ij}), \qquad
        q_{ij} = \frac{1}{1 + a \|y_i - y_j\|^{2 b}}

    with pushes of at most 4, all points at once in damped steps, the second sum by 32 random
    points a step. umap-learn's sampled steps descend the same in expectation, but for the weight of
    a push.

    **Placing a new row.** A row that equals a known row gets that row's point. Any other starts at
    the component-wise median of its 7 nearest training rows' points and then descends UMAP's own
    objective, for itself alone, against the fixed points of its `n_neighbors_` nearest training
    rows and a fixed sample of the map as negatives. On held-out handwritten digits this keeps
    neighbours as well as umap's own transform, whose result for a row moves with its batch.
    Rows added by `partial_fit` are never neighbours of later rows, so that the order and the
    grouping of the additions do not matter; fit anew once the added rows differ from the fitted.

    **Cost.** Up to 20,000 distinct rows, neighbours are exact: ``n_samples ** 2`` distances.
    Beyond, a row is compared with the rows of so many k-means cells around it as hold 99.5% of the
    neighbours of a sample, and `neighbor_recall_` says what was reached. Neighbours for `transform`
    are exact, ``n_queries * n_samples`` distances; the rest of it takes about 0.1 ms a row. Memory
    is linear in the rows. A pickle holds arrays only, in essence the rows in the form that is
    searched and the map.

    There is no ``inverse_transform``. The map keeps who is near whom and drops nearly everything
    else: no embedding read back from two coordinates is one that the model would produce.

    References
    ----------
    .. [1] McInnes, L., Healy, J. and Melville, J. (2018). UMAP: Uniform Manifold Approximation
       and Projection for Dimension Reduction. arXiv:1802.03426.
    .. [2] Kobak, D. and Linderman, G. C. (2021). Initialization is critical for preserving global
       data structure in both t-SNE and UMAP. Nature Biotechnology 39, 156-157.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from dinov2_sklearn.projection import UMAPProjector
    >>> X = load_digits().data[:300]
    >>> projector = UMAPProjector(n_epochs=50).fit(X[:200])
    >>> projector.embedding_.shape
    (200, 2)
    >>> points = projector.transform(X[200:])
    >>> bool((projector.transform(X[250:251]) == points[50]).all())
    True
    >>> projector.cluster(n_clusters=10).shape
    (200,)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "n_neighbors": [Interval(Integral, 2, None, closed="left")],
        "min_dist": [Interval(Real, 0, 1, closed="both")],
        "metric": [StrOptions({"cosine", "euclidean"})],
        "pca_components": [
            StrOptions({"auto"}),
            Interval(Integral, 1, None, closed="left"),
            None,
        ],
        "n_epochs": [Interval(Integral, 1, None, closed="left"), None],
        "random_state": ["random_state"],
        "n_jobs": [Integral, None],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        n_components: int = 2,
        n_neighbors: int = 15,
        min_dist: float = 0.1,
        metric: str = "cosine",
        *,
        pca_components: int | str | None = "auto",
        n_epochs: int | None = None,
        random_state: int | np.random.RandomState | None = 42,
        n_jobs: int | None = None,
        verbose: bool | int = False,
    ) -> None:
        self.n_components = n_components
        self.n_neighbors = n_neighbors
        self.min_dist = min_dist
        self.metric = metric
        self.pca_components = pca_components
        self.n_epochs = n_epochs
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.verbose = verbose

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ArrayLike, y: Any = None) -> UMAPProjector:
        """Make the map of X.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Embeddings, one a row, finite.

        y : Ignored
            Present for scikit-learn's API.

        Returns
        -------
        self : UMAPProjector

        Raises
        ------
        ValueError
            If X has NaN or infinite values, or values too large for float32.
        """
        data = self._validate(X, reset=True)
        rows = _scale_rows(data, self.metric)
        self._learn_axes(rows)
        rows = _reduce_rows(rows, self.pca_mean_, self.pca_components_)
        self._is_first, place = first_occurrences(rows)
        self._known_rows = rows if self._is_first.all() else rows[self._is_first]
        self._n_anchors = len(self._known_rows)
        n_epochs = int(self.n_epochs or default_n_epochs(self._n_anchors))
        shown = bool(self.verbose)
        with Progress(n_epochs, "Mapping", "pass", shown=shown, fitting=self) as progress:
            self.embedding_ = self._map_anchors(self._known_rows, n_epochs, progress)[place]
        self.__dict__.pop("labels_", None)
        return self

    def fit_transform(self, X: ArrayLike, y: Any = None, **fit_params: Any) -> NDArray[np.float32]:
        """Make the map of X and return it: the same as ``fit(X).transform(X)``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Embeddings, one a row, finite.

        y : Ignored
            Present for scikit-learn's API.

        **fit_params : dict
            Handed on to `fit`, which takes none.

        Returns
        -------
        points : ndarray of shape (n_samples, n_components), float32
        """
        return self.fit(X, y, **fit_params).embedding_.copy()

    def transform(self, X: ArrayLike) -> NDArray[np.float32]:
        """Place rows on the map, each for itself.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)
            Embeddings, one a row, finite.

        Returns
        -------
        points : ndarray of shape (n_queries, n_components), float32
            For a row that was given to `fit` or `partial_fit`, its point in `embedding_`.
        """
        check_is_fitted(self)
        data = self._validate(X, reset=False)
        return self._points_of(self._represent(data))

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: ArrayLike, y: Any = None) -> UMAPProjector:
        """Add rows to the map; points given before stay as they are, to the byte.

        The first call makes the map, as `fit` does: it should be given rows that speak for those
        to come. Later calls place their rows by the rule of `transform`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Embeddings, one a row, finite.

        y : Ignored
            Present for scikit-learn's API.

        Returns
        -------
        self : UMAPProjector
        """
        if not hasattr(self, "embedding_"):
            return self.fit(X)
        data = self._validate(X, reset=False)
        rows = self._represent(data)
        is_new = first_occurrences(rows)[0] & (match_rows(rows, self._known_rows) < 0)
        self.embedding_ = np.concatenate([self.embedding_, self._points_of(rows)])
        self._is_first = np.concatenate([self._is_first, is_new])
        self._known_rows = np.concatenate([self._known_rows, rows[is_new]])
        self.__dict__.pop("labels_", None)
        return self

    @property
    def _n_features_out(self) -> int:
        return self.embedding_.shape[1]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        tags.non_deterministic = self.random_state is None
        return tags

    def _validate(self, X: ArrayLike, reset: bool) -> NDArray[np.float32]:
        refuse_paths(X)
        with np.errstate(over="ignore"):  # what is too large becomes infinite, and an error
            data = validate_data(
                self, X, dtype=np.float32, order="C", ensure_all_finite=False, reset=reset
            )
        check_finite(data, "Input X")
        return data

    def _learn_axes(self, rows: NDArray[np.float32]) -> None:
        self.pca_mean_: NDArray[np.float32] | None = None
        self.pca_components_: NDArray[np.float32] | None = None
        self.pca_loss_ = 0.0
        n_components = _settle_components(self.pca_components, *rows.shape)
        if n_components is not None:
            axes = principal_axes(rows, n_components)
            self.pca_mean_, self.pca_components_, self.pca_loss_ = axes

    def _represent(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        """Bring rows into the form that is searched and kept."""
        rows = _scale_rows(X, self.metric)
        return _reduce_rows(rows, self.pca_mean_, self.pca_components_)

    def _map_anchors(
        self, rows: NDArray[np.float32], n_epochs: int, progress: Progress
    ) -> NDArray[np.float32]:
        """Lay out distinct rows."""
        self.n_neighbors_ = max(1, min(int(self.n_neighbors), len(rows) - 1))
        if self.n_neighbors_ < self.n_neighbors:
            warn(
                f"n_neighbors={self.n_neighbors} needs more distinct rows than that, and there "
                f"are {len(rows)}: using n_neighbors={self.n_neighbors_}.",
            )
        self._curve: tuple[float, float] | None = None
        self.neighbor_recall_ = 1.0
        start = principal_layout(rows, int(self.n_components))
        if len(rows) < FEWEST_ROWS:
            progress.update(n_epochs)
            return start
        self._curve = similarity_curve(self.min_dist)
        seed = draw_seed(self.random_state)
        # Separates equal points, and gives an axis without extent one.
        noise = np.random.RandomState(seed).normal(0, 1e-4, start.shape)
        indices, sq_distances = self._find_neighbors(rows)
        return optimize_layout(
            fuzzy_graph(indices, to_metric(sq_distances, self.metric), self.n_jobs),
            start + noise.astype(np.float32),
            self._curve,
            n_epochs=n_epochs,
            seed=seed,
            n_threads=count_threads(self.n_jobs),
            progress=progress,
        )

    def _find_neighbors(
        self, rows: NDArray[np.float32]
    ) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """Find each row's neighbourhood, the row itself first."""
        if len(rows) <= max(EXACT_ROWS, 20 * self.n_neighbors_):
            return knn(rows, self.n_neighbors_, include_self=True)
        found = knn_in_cells(rows, self.n_neighbors_, include_self=True, n_jobs=self.n_jobs)
        self.neighbor_recall_ = found.recall
        if found.recall < LOW_RECALL:
            warn(
                f"Only {found.recall:.0%} of the nearest neighbours were found: values of very "
                "different size hide them. Scale the features, or fit fewer than "
                f"{EXACT_ROWS:,} rows, whose neighbours are exact.",
            )
        return found.indices, found.sq_distances

    def _points_of(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Look up the points of known rows, and place the others."""
        known = self.embedding_[self._is_first]
        found = match_rows(rows, self._known_rows)
        points = known[found]
        if (found < 0).any():
            anchors = self._known_rows[: self._n_anchors]
            points[found < 0] = map_blocks(
                lambda block: self._place(block, anchors, known[: self._n_anchors]),
                rows[found < 0],
                known.shape[1],
            )
        return points

    def _place(
        self,
        rows: NDArray[np.float32],
        anchors: NDArray[np.float32],
        anchor_points: NDArray[np.float32],
    ) -> NDArray[np.float64]:
        n_neighbors = len(anchors) if self._curve is None else self.n_neighbors_
        indices, sq_distances = knn(anchors, n_neighbors, queries=rows)
        points = anchor_points[indices].astype(np.float64)
        if self._curve is None:
            placed = average_by_distance(points, np.sqrt(sq_distances))
        else:
            strengths = membership_strengths(to_metric(sq_distances, self.metric))
            placed = refine_positions(points, strengths, anchor_points, *self._curve)
        # PCA rounded in another order, on another machine say, moves a training row by a rounding
        # error: it keeps its point.
        lengths = np.sqrt((rows.astype(np.float64) ** 2).sum(axis=1))
        same = np.sqrt(sq_distances[:, 0]) <= 2 * np.finfo(np.float32).eps * lengths
        placed[same] = points[same, 0]
        return placed


def _scale_rows(X: NDArray[np.float32], metric: str) -> NDArray[np.float32]:
    """Scale rows so that `metric` is a function of their Euclidean distance."""
    if metric == "euclidean":
        return X
    rows = UnitRows(X)
    zeros = rows.zeros
    if len(zeros):
        shown = ", ".join(map(str, zeros[:5])) + (", ..." if len(zeros) > 5 else "")
        warn(
            f"{len(zeros)} of {len(X)} rows are all zeros (index {shown}), and metric='cosine' "
            "compares directions, which they do not have: their place on the map means nothing. "
            "Leave them out, or use metric='euclidean'.",
        )
    return rows[:]


def _settle_components(
    pca_components: int | str | None, n_rows: int, n_features: int
) -> int | None:
    """Say how many principal components to keep, None for all features."""
    if pca_components == "auto":
        large = n_rows > AUTO_ROWS and n_features > AUTO_COMPONENTS
        return AUTO_COMPONENTS if large else None
    return None if pca_components is None else int(pca_components)


def _reduce_rows(
    rows: NDArray[np.float32],
    mean: NDArray[np.float32] | None,
    components: NDArray[np.float32] | None,
) -> NDArray[np.float32]:
    """Project scaled rows on principal axes, if any; copied and free of negative zeros."""
    if mean is not None and components is not None:
        rows = along_axes(rows, mean, components)
    return rows + np.float32(0)
