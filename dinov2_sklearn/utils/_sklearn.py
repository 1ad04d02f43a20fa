"""The only place that touches private scikit-learn names.

Everything else imports them from here, so that a scikit-learn release that moves one of them
is answered by a change to this file alone.
"""

from typing import Any

from sklearn.base import _fit_context as fit_context
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils._set_output import _get_output_config

__all__ = ["Interval", "StrOptions", "fit_context", "transform_output"]


def transform_output(estimator: Any) -> str:
    """Return the container asked for by `set_output`: "default", "pandas" or "polars"."""
    return _get_output_config("transform", estimator)["dense"]
