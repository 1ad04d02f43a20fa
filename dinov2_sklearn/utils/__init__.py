"""What every room may use: scikit-learn's private names, files, pickles, progress, warnings."""

from ._files import atomic_write, left_over, temporary_beside
from ._progress import progress_bar
from ._sklearn import Interval, StrOptions, fit_context, transform_output
from ._values import check_indices, refuse_paths
from ._versioned import PickleVersionWarning, VersionedMixin
from ._warnings import warn

__all__ = [
    "Interval",
    "PickleVersionWarning",
    "StrOptions",
    "VersionedMixin",
    "atomic_write",
    "check_indices",
    "fit_context",
    "left_over",
    "progress_bar",
    "refuse_paths",
    "temporary_beside",
    "transform_output",
    "warn",
]
