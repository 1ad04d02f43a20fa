"""What every room may use: scikit-learn's private names, files, pickles, progress, warnings.

Those of scikit-learn are loaded on first use: the images room does without.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._files import atomic_write, left_over, temporary_beside
from ._progress import progress_bar
from ._values import check_indices, check_int, refuse_paths
from ._versioned import PickleVersionWarning, VersionedMixin
from ._warnings import warn

if TYPE_CHECKING:
    from ._sklearn import Interval, StrOptions, fit_context, transform_output

__all__ = [
    "Interval",
    "PickleVersionWarning",
    "StrOptions",
    "VersionedMixin",
    "atomic_write",
    "check_indices",
    "check_int",
    "fit_context",
    "left_over",
    "progress_bar",
    "refuse_paths",
    "temporary_beside",
    "transform_output",
    "warn",
]


def __getattr__(name: str) -> Any:
    if name not in ("Interval", "StrOptions", "fit_context", "transform_output"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("._sklearn", __name__), name)
