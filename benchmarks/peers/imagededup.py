"""imagededup: the part of its `CNN.find_duplicates` that compares encodings."""

import numpy as np
from imagededup.handlers.search.retrieval import get_cosine_similarity


def pairs_above(X: np.ndarray, similarity: float) -> tuple[np.ndarray, np.ndarray]:
    """Return both rows of all pairs, each pair once."""
    table = get_cosine_similarity(X, verbose=False)
    first, second = [], []
    for row, products in enumerate(table):
        near = np.flatnonzero(products[:row] >= similarity)
        first.append(near)
        second.append(np.full(len(near), row))
    return np.concatenate(first), np.concatenate(second)
