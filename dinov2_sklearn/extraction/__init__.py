"""Images -> embeddings: :class:`DINOv2Transformer` and the threads that feed it."""

from ._transformer import DINOv2Transformer

__all__ = ["DINOv2Transformer"]
