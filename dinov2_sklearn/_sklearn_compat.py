"""The only place that touches private scikit-learn names.

Everything else imports them from here, so that a scikit-learn release that moves one of them
is answered by a change to this file alone.
"""

from sklearn.base import _fit_context as fit_context
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions

__all__ = ["HasMethods", "Interval", "StrOptions", "fit_context"]
