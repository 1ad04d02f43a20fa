"""Images -> embeddings: :class:`DINOv2Transformer`, and the cache that spares it work."""

from ._cache import CacheInfo, EmbeddingCache
from ._transformer import DINOv2Transformer

__all__ = ["CacheInfo", "DINOv2Transformer", "EmbeddingCache"]
