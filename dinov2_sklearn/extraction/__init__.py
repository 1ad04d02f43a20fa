"""Images -> embeddings: :class:`DINOv2Transformer`, its cache, and folders of shards."""

from ._cache import CacheInfo, EmbeddingCache
from ._ray import extract_with_ray
from ._shards import Shards, extract_to_shards, open_shards
from ._transformer import DINOv2Transformer

__all__ = [
    "CacheInfo",
    "DINOv2Transformer",
    "EmbeddingCache",
    "Shards",
    "extract_to_shards",
    "extract_with_ray",
    "open_shards",
]
