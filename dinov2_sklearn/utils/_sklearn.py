"""The only place that touches private or recent scikit-learn names.

Everything else imports them from here, so that a scikit-learn release that moves one of them
is answered by a change to this file alone.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import _fit_context as fit_context
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils._set_output import _get_output_config
from sklearn.utils.validation import _get_feature_names

try:
    from sklearn.callback import CallbackSupportMixin
except ImportError:  # before scikit-learn 1.9

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Nothing: estimators have no ``set_callbacks`` yet."""


__all__ = [
    "CallbackSupportMixin",
    "Interval",
    "StrOptions",
    "check_same_columns",
    "fit_context",
    "rows_out",
]


def check_same_columns(one: Any, other: Any) -> None:
    """Refuse two data frames whose columns are others, or in another order."""
    names, theirs = _get_feature_names(one), _get_feature_names(other)
    if names is not None and theirs is not None and not np.array_equal(names, theirs):
        raise ValueError(
            f"The two data frames have other columns, or in another order: {', '.join(names[:5])}, "
            f"... and {', '.join(theirs[:5])}, .... Choose the same ones of both."
        )


def rows_out(estimator: Any, X: Any, rows: NDArray, indices: NDArray[np.intp]) -> Any:
    """Bring some rows of X into their original order, in the container that is asked for."""
    order = np.argsort(indices)
    if _get_output_config("transform", estimator)["dense"] != "pandas":
        return rows[order]
    # scikit-learn would give these rows the index of the whole X, and fail on its length; a
    # frame that has an index already it takes as it is.
    import pandas as pd

    positions = indices[order]
    index = X.index[positions] if isinstance(X, pd.DataFrame) else positions
    return pd.DataFrame(rows[order], index=index)
