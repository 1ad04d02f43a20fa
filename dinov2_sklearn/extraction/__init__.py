"""Images -> embeddings: :class:`DINOv2Transformer`, in folders of shards, and on a cluster."""

from ._shards import extract_to_shards
from ._transformer import DINOv2Transformer
from .cluster import extract_with_ray

__all__ = ["DINOv2Transformer", "extract_to_shards", "extract_with_ray"]
