"""What every room may use: scikit-learn's private names, files, pickles, progress, warnings.

Those of scikit-learn are loaded on first use: the images room does without.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._extras import import_extra
from ._files import atomic_write, left_over, temporary_beside
from ._label_studio import from_local_storage, to_local_storage
from ._labels import encode_labels
from ._progress import Progress
from ._values import check_indices, check_int, refuse_paths
from ._warnings import warn

if TYPE_CHECKING:
    from ._sklearn import Interval, StrOptions, check_same_columns, fit_context, rows_out
    from ._versioned import PickleVersionWarning, VersionedMixin

__all__ = [
    "Interval",
    "PickleVersionWarning",
    "Progress",
    "StrOptions",
    "VersionedMixin",
    "atomic_write",
    "check_indices",
    "check_int",
    "check_same_columns",
    "encode_labels",
    "fit_context",
    "from_local_storage",
    "import_extra",
    "left_over",
    "refuse_paths",
    "rows_out",
    "temporary_beside",
    "to_local_storage",
    "warn",
]

_LAZY = {
    **dict.fromkeys(
        ("Interval", "StrOptions", "check_same_columns", "fit_context", "rows_out"), "._sklearn"
    ),
    **dict.fromkeys(("PickleVersionWarning", "VersionedMixin"), "._versioned"),
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LAZY[name], __name__), name)
