"""What all estimators have: pickles that know their version, and scikit-learn's callbacks."""

from inspect import signature
from typing import Any

from .._version import __version__
from ._sklearn import CallbackSupportMixin
from ._warnings import warn

__all__ = ["PickleVersionWarning", "VersionedMixin"]

_KEY = "_dinov2_sklearn_version"


class PickleVersionWarning(UserWarning):
    """An estimator was pickled by another version of this package."""


class VersionedMixin(CallbackSupportMixin):
    """Mixin of estimators, on their left: warns where a pickle is another version's.

    With scikit-learn >= 1.9 it brings ``set_callbacks``, whose callbacks `Progress` tells.
    """

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), _KEY: __version__}

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        version = state.pop(_KEY, "an unknown version")
        if version != __version__:
            warn(
                f"This {type(self).__name__} was pickled by dinov2_sklearn {version}, and this is "
                f"{__version__}. If its results are not as before, fit it again.",
                PickleVersionWarning,
            )
            # Parameters that the other version did not have do what they do unless given.
            for name, parameter in signature(type(self).__init__).parameters.items():
                if name != "self":
                    state.setdefault(name, parameter.default)
        super().__setstate__(state)
