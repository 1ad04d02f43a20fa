"""The only place that touches private or recent scikit-learn names.

Everything else imports them from here, so that a scikit-learn release that moves one of them
is answered by a change to this file alone.
"""

from typing import Any

from sklearn.base import _fit_context as fit_context
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils._set_output import _get_output_config

try:
    from sklearn.callback import CallbackSupportMixin
except ImportError:  # before scikit-learn 1.9

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Nothing: estimators have no ``set_callbacks`` yet."""


__all__ = ["CallbackSupportMixin", "Interval", "StrOptions", "fit_context", "transform_output"]


def transform_output(estimator: Any) -> str:
    """Return the container asked for by `set_output`: "default", "pandas" or "polars"."""
    return _get_output_config("transform", estimator)["dense"]
