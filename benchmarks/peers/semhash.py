"""SemHash: near-duplicates among embeddings, by an approximate index."""

import numpy as np
from semhash import SemHash


def self_deduplicate(X: np.ndarray, similarity: float, backend: str) -> np.ndarray:
    """Return the rows that are kept. The encoder is not asked: the embeddings are there."""
    records = [str(row) for row in range(len(X))]
    index = SemHash.from_embeddings(X, records, model=None, ann_backend=backend)
    kept = index.self_deduplicate(threshold=similarity).selected
    return np.array([int(record) for record in kept])
