"""What the estimators that run a backbone over images have in common."""

from collections.abc import Mapping
from numbers import Integral
from typing import TYPE_CHECKING, Any

from ..images import Decoding
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
        "crop_mode": [StrOptions({"center", "pad", "squash"})],
        "bands": [tuple, list, None],
        "value_range": [StrOptions({"auto"}), tuple, list],
        "max_pixels": [Interval(Integral, 1, None, closed="left"), None],
        "truncated": [StrOptions({"refuse", "accept"})],
        "storage_options": [Mapping, None],
    }

    model_name: str
    revision: str | None
    device: Any
    dtype: str
    bands: tuple[int, ...] | None
    value_range: Any
    max_pixels: int | None
    truncated: Any
    storage_options: Mapping[str, Any] | None

    def _checkpoint(self) -> Checkpoint:
        """Find the checkpoint; subclasses also hold their parameters to it."""
        return find_checkpoint(self.model_name, self.revision)

    def _decoding(self) -> Decoding:
        """Gather how files become RGB images."""
        return Decoding(
            bands=None if self.bands is None else tuple(self.bands),
            value_range="auto" if self.value_range == "auto" else tuple(self.value_range),
            max_pixels=self.max_pixels,
            truncated=self.truncated,
            storage_options=self.storage_options,
        )

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
