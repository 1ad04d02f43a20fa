"""What the estimators that run a backbone over images have in common."""

from numbers import Integral
from typing import TYPE_CHECKING, Any, Self

from ..images import check_images
from ..utils import Interval, StrOptions, fit_context
from ._checkpoints import Checkpoint, find_checkpoint

if TYPE_CHECKING:
    from ._loading import Backbone

__all__ = ["BackboneMixin"]


class BackboneMixin:
    """Mixin of stateless estimators whose X is images and whose work is a model's.

    The model is never an attribute: it lives in the process-wide cache of
    ``backbone.loading.load_backbone``.
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

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None) -> Self:
        """Check the parameters, the form of X, and that the checkpoint is there.

        Parameters
        ----------
        X : sequence, array, Series or one-column DataFrame of length n
            Image paths, PIL images, or uint8 arrays of shape (height, width, 3).
        y : object, default=None
            Ignored.

        Returns
        -------
        self : estimator
            The same object.

        Raises
        ------
        ValueError, TypeError
            For a parameter out of range, a bare path, an empty X or one that holds no images.
        CheckpointError
            If the checkpoint cannot be found.
        """
        check_images(X, estimator_name=type(self).__name__)
        self._checkpoint()
        return self

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
