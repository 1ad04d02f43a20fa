"""The row-wise side of a sampler: where new rows stand among its representatives."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from ..neighbors import RowSelectorMixin, nearest, to_metric
from ._metrics import compute_diversity

__all__ = ["NearestRepresentativeMixin"]


class NearestRepresentativeMixin(RowSelectorMixin):
    """Methods that compare rows with `representatives_`, each row for itself."""

    representatives_: np.ndarray

    def score_samples(self, X: ArrayLike) -> np.ndarray:
        """Tell how novel each row is: its distance to the nearest representative.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
            Embeddings.

        Returns
        -------
        distances : ndarray of shape (n_rows,), float64
            0 for a row that equals a representative.
        """
        return to_metric(self._nearest_representative(X)[1], self.metric)

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Assign each row to its nearest representative.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
            Embeddings.

        Returns
        -------
        positions : ndarray of int of shape (n_rows,)
            Positions in `representatives_`, the lowest in a tie.
        """
        return self._nearest_representative(X)[0]

    def score(self, X: ArrayLike, y: Any = None) -> float:
        """Return minus the mean distance of the rows to their nearest representative.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
            Embeddings, such as those that a search holds out.
        y : None
            Ignored.

        Returns
        -------
        score : float
            At most 0; larger is better.
        """
        return -float(self.score_samples(X).mean())

    def compute_diversity(self, X: ArrayLike, n_neighbors: int = 10) -> np.ndarray:
        """Measure how alone each row is: its mean distance to its nearest other rows.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
            Embeddings.
        n_neighbors : int, default=10
            Nearest other rows that are averaged over; all of them where there are fewer.

        Returns
        -------
        diversity : ndarray of shape (n_rows,), float64
            As `dinov2_sklearn.selection.compute_diversity` with this sampler's metric. Needs no
            fit.
        """
        return compute_diversity(X, n_neighbors, metric=self.metric)

    def _nearest_representative(self, X: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        check_is_fitted(self)
        queries, representatives = self._beside(X, self.representatives_)
        return nearest(queries, representatives[:])
