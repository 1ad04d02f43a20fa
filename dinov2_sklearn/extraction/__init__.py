"""Images -> embeddings: :class:`DINOv2Transformer`."""

from ._transformer import DINOv2Transformer

__all__ = ["DINOv2Transformer"]
