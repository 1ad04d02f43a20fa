"""Embeddings in files: one file, a folder of shards, and the cache that is never asked twice.

`save_embeddings` writes a matrix of embeddings with the images they belong to, `load_embeddings`
reads it back as `Embeddings`; `open_shards` opens the folders of `extract_to_shards` and
`extract_with_ray`; an `EmbeddingCache` says what is in its folder; `load_labels` and `save_labels`
bring labels from files to rows and back. Nothing that is read here can
run code, and importing this room loads neither torch nor pyarrow.
"""

from ._cache import CacheInfo, EmbeddingCache
from ._embeddings import Embeddings, EmbeddingsFileError, load_embeddings, save_embeddings
from ._labels import load_labels, save_labels
from ._shards import Shards, open_shards

__all__ = [
    "CacheInfo",
    "EmbeddingCache",
    "Embeddings",
    "EmbeddingsFileError",
    "Shards",
    "load_embeddings",
    "load_labels",
    "open_shards",
    "save_embeddings",
    "save_labels",
]
