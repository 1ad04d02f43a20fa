"""Packages that come with an extra of this one."""

from importlib import import_module
from typing import Any

__all__ = ["import_extra"]


def import_extra(module: str, extra: str, needed_by: str) -> Any:
    """Import a module, or say how to install it.

    Parameters
    ----------
    module : str
        Such as ``"pyarrow.parquet"``.
    extra : str
        The extra of this package that installs it.
    needed_by : str
        What needs it, in the plural: the message begins so.

    Raises
    ------
    ImportError
        If it is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{needed_by} need {module.partition('.')[0]}. Install it with "
            f'`pip install "dinov2-sklearn[{extra}]"`.'
        ) from error
