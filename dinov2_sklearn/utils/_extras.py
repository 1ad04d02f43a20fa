"""Packages that come with an extra of this one."""

from importlib import import_module
from typing import Any

__all__ = ["import_extra"]


def import_extra(name: str, extra: str, needed_by: str, instead: str = "") -> Any:
    """Import a package, or say how to install it.

    Parameters
    ----------
    name : str
        The module, as in an import.
    extra : str
        The extra of this package that installs it.
    needed_by : str
        What needs it, in the plural, as the message begins.
    instead : str, default=""
        What else the user can do, as the message ends.

    Raises
    ------
    ImportError
        If it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise ImportError(
            f"{needed_by} need {name.partition('.')[0]}. Install it with "
            f'`pip install "dinov2-sklearn[{extra}]"`{instead}.'
        ) from error
