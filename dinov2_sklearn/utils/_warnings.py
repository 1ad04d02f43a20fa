"""Warnings that point at the user's line, however deep in the package they arise."""

import contextlib
import os
import sys
import warnings
from importlib.util import find_spec

__all__ = ["warn"]

# What can stand between the user's line and the place where something is found out: decorated
# methods, pipelines, searches, context managers. No user can change a line there.
_BETWEEN = (
    os.path.dirname(os.path.dirname(__file__)) + os.sep,  # noqa: PTH120 - frames know str only
    # Found, not imported: warnings need neither.
    *(
        os.path.join(folder, "")  # noqa: PTH118
        for package in ("sklearn", "joblib")
        if (spec := find_spec(package)) is not None
        for folder in spec.submodule_search_locations or ()
    ),
    contextlib.__file__,
)


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn as from the first line outside this package and the libraries that call it.

    Parameters
    ----------
    message : str
        What the user reads.
    category : type of Warning, default=UserWarning
    """
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_BETWEEN):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
