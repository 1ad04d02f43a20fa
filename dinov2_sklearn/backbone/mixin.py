"""What the estimators that run a backbone over images have in common."""

from typing import TYPE_CHECKING, Any

from .checkpoints import Checkpoint

if TYPE_CHECKING:
    from .loading import Backbone

__all__ = ["BackboneMixin"]


class BackboneMixin:
    """Mixin of stateless estimators whose X is images and whose work is a model's.

    The estimator has the parameters ``device`` and ``dtype``. Its model is never an attribute:
    it lives in the process-wide cache of :func:`~dinov2_sklearn.backbone.loading.load_backbone`.
    """

    device: str
    dtype: str

    def _load(self, checkpoint: Checkpoint) -> "Backbone":
        from .loading import load_backbone, resolve_device, resolve_dtype

        device = resolve_device(self.device)
        return load_backbone(checkpoint, device, resolve_dtype(self.dtype, device))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.requires_fit = False
        tags.transformer_tags.preserves_dtype = []
        return tags
