"""What a finished map is looked at with: clusters, pictures, pages."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.cluster import HDBSCAN, KMeans
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from ..utils import check_int
from ._display import ProjectionDisplay
from ._report import ProjectionReport, projection_report

__all__ = ["MapViewsMixin", "draw_seed"]

SMALLEST_CLUSTER = 5


def draw_seed(random_state: int | np.random.RandomState | None) -> int:
    """Turn a `random_state` parameter into a seed, another at each call for None."""
    if random_state is None:
        return int(np.random.default_rng().integers(np.iinfo(np.int32).max))
    return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))


class MapViewsMixin:
    """Mixin for estimators with a map in ``embedding_``."""

    embedding_: NDArray[np.float32]
    metric: str
    random_state: int | np.random.RandomState | None
    transform: Callable[[ArrayLike], NDArray[np.float32]]

    def cluster(self, n_clusters: int = 100, method: str = "kmeans") -> NDArray[np.intp]:
        """Cluster the points of the map.

        The clusters are those of the coordinates, what the eye sees, and not of the embeddings.

        Parameters
        ----------
        n_clusters : int, default=100
            Number of k-means clusters, at most the number of distinct points. HDBSCAN finds its
            own number and ignores this.

        method : {"kmeans", "hdbscan"}, default="kmeans"
            The clustering of scikit-learn to use. HDBSCAN marks rows of no cluster with -1.

        Returns
        -------
        labels : ndarray of shape (n_samples,), int
            Cluster of each row of `embedding_`; also kept as `labels_`.
        """
        check_is_fitted(self)
        seed = draw_seed(self.random_state)
        self.labels_ = _cluster_points(self.embedding_, n_clusters, method, seed)
        return self.labels_

    def projection_report(self, X: ArrayLike, n_neighbors: int = 15) -> ProjectionReport:
        """Measure how well the map keeps the neighbours of rows.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
            Rows of `fit`, or new ones, which are then placed as `transform` places them.

        n_neighbors : int, default=15
            Neighbours a row, itself not counted.

        Returns
        -------
        report : ProjectionReport
            Trustworthiness, neighbour recall and triplet accuracy. Of more than 2,000 rows, so many
            are judged, each among all rows; `projection_report` has more options.
        """
        points = self.transform(X)
        return projection_report(X, points, n_neighbors=n_neighbors, metric=self.metric)

    def plot_static(
        self,
        output_path: str | os.PathLike[str],
        dot_size: float = 50,
        dpi: float = 150,
        figsize: tuple[float, float] = (12, 10),
    ) -> ProjectionDisplay:
        """Draw the map into a picture file, coloured by `labels_` where there are any.

        Parameters
        ----------
        output_path : str or path
            The file to write; its extension says the format.

        dot_size : float, default=50
            Area of a dot in square points on a map of up to 500 rows; on larger maps dots
            shrink in proportion, see `ProjectionDisplay.plot`.

        dpi : float, default=150
            Pixels an inch.

        figsize : tuple of float, default=(12, 10)
            Width and height in inches.

        Returns
        -------
        display : ProjectionDisplay
            The drawn display.
        """
        display = ProjectionDisplay.from_estimator(self, dot_size=dot_size, figsize=figsize)
        display.save(output_path, dpi=dpi)
        return display

    def plot_interactive(
        self,
        output_path: str | os.PathLike[str],
        image_paths: Sequence[str | os.PathLike[str]] | None = None,
        show_images: bool = False,
        embeddings: ArrayLike | None = None,
    ) -> ProjectionDisplay:
        """Write the map as one web page that needs no connection, to look and to label.

        Parameters
        ----------
        output_path : str or path
            The HTML file to write.

        image_paths : sequence of str or path, default=None
            Path of each row's image, shown when the pointer is on its point.

        show_images : bool, default=False
            Also show the images themselves, as small copies kept inside the page. A file that
            cannot be read gets a placeholder, and one warning names such files. For more choice
            see `ProjectionDisplay.write_html`.

        embeddings : array-like of shape (n_samples, n_features), default=None
            The rows of the map, by which the page finds what is like an image.

        Returns
        -------
        display : ProjectionDisplay
            The display that wrote the page.

        Raises
        ------
        ValueError
            If there is not one path for each row, or none where images are to be shown.
        """
        check_is_fitted(self)
        if show_images and image_paths is None:
            raise ValueError("show_images=True needs image_paths: one path for each row.")
        display = ProjectionDisplay(self.embedding_)
        display.write_html(
            output_path,
            image_paths,
            thumbnails="sprites" if show_images else None,
            columns={"cluster": self.labels_} if hasattr(self, "labels_") else None,
            embeddings=embeddings,
            metric=self.metric,
        )
        return display


def _cluster_points(
    points: NDArray[np.float32], n_clusters: int, method: str, seed: int
) -> NDArray[np.intp]:
    check_int("n_clusters", n_clusters)
    if method == "kmeans":
        n_distinct = len(np.unique(points, axis=0))
        model = KMeans(min(int(n_clusters), n_distinct), n_init=1, random_state=seed)
    elif method == "hdbscan":
        if len(points) < 2:
            return np.full(len(points), -1, dtype=np.intp)
        model = HDBSCAN(min_cluster_size=min(SMALLEST_CLUSTER, len(points)), copy=True)
    else:
        raise ValueError(f"method must be 'kmeans' or 'hdbscan', got {method!r}.")
    return model.fit_predict(points.astype(np.float64)).astype(np.intp)
