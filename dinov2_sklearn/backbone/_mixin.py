"""What the estimators that run a backbone over images have in common."""

from numbers import Integral
from typing import TYPE_CHECKING, Any

from ..utils import Interval, StrOptions
from ._checkpoints import Checkpoint, find_checkpoint

if TYPE_CHECKING:
    from ._loading import Backbone

__all__ = ["BackboneMixin"]


class BackboneMixin:
    """Mixin of stateless estimators whose X is images and whose work is a model's.

    The model is never an attribute: it lives in a cache of the process.
    """

    _parameter_constraints: dict = {
        "model_name": [str],
        "revision": [str, None],
        "image_size": [Interval(Integral, 1, None, closed="left"), None],
        "device": [str],
        "dtype": [StrOptions({"auto", "float32", "bfloat16", "float16"})],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "num_workers": [Interval(Integral, 0, None, closed="left")],
    }

    model_name: str
    revision: str | None
    device: Any
    dtype: str

    def _checkpoint(self) -> Checkpoint:
        """Find the checkpoint; subclasses also hold their parameters to it."""
        return find_checkpoint(self.model_name, self.revision)

    def _load(self, checkpoint: Checkpoint) -> "Backbone":
        from ._loading import load_backbone, resolve_device, resolve_dtype

        device = resolve_device(self.device)
        return load_backbone(checkpoint, device, resolve_dtype(self.dtype, device))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.requires_fit = False
        tags.transformer_tags.preserves_dtype = []
        return tags
