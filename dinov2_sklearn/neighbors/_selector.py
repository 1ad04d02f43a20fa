"""What estimators that select rows have in common."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from ._geometry import UnitRows, to_geometry
from ._validation import check_rows

__all__ = ["RowSelectorMixin"]


class RowSelectorMixin:
    """Methods of an estimator that selects rows, as scikit-learn's selectors do features."""

    metric: str
    support_: NDArray[np.bool_]

    def get_support(self, indices: bool = False) -> NDArray[Any]:
        """Tell which rows of the fitted X were selected.

        Parameters
        ----------
        indices : bool, default=False
            Whether to return row numbers instead of a mask.

        Returns
        -------
        support : ndarray
            Mask of shape (n_rows,), or the selected rows' numbers in ascending order.
        """
        check_is_fitted(self)
        return np.flatnonzero(self.support_) if indices else self.support_

    def _beside(
        self, X: ArrayLike, fitted: NDArray
    ) -> tuple[NDArray | UnitRows, NDArray | UnitRows]:
        """Check new rows; return them and fitted ones as rows of one geometry and one dtype."""
        rows = check_rows(X, self.metric, estimator=self, reset=False)
        # float32 queries of rows in float64 are compared in float64, and the other way round.
        dtype = np.result_type(rows, fitted)
        return (
            to_geometry(rows.astype(dtype, copy=False), self.metric),
            to_geometry(fitted.astype(dtype, copy=False), self.metric),
        )
