"""UMAP's weighted graph of neighbours, and the curve by which a map's distances are likened to it.

Both are umap-learn's, to rounding. They are written here because that package compiles its own for
some 14 seconds in every new process, which is longer than a map of 50,000 rows takes.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import curve_fit
from scipy.sparse import csr_array

from ..neighbors import for_each, row_blocks

__all__ = ["fuzzy_graph", "membership_strengths", "similarity_curve"]

N_BISECTIONS = 64
CLOSE_ENOUGH = 1e-5  # to the sum that strengths are to have


def similarity_curve(min_dist: float) -> tuple[float, float]:
    """Fit UMAP's ``1 / (1 + a * d ** (2 * b))`` to a curve that is flat up to `min_dist`."""
    far = np.linspace(0, 3, 300)
    wanted = np.where(far < min_dist, 1.0, np.exp(-(far - float(min_dist))))
    (a, b), _ = curve_fit(lambda d, a, b: 1 / (1 + a * d ** (2 * b)), far, wanted)
    return float(a), float(b)


def membership_strengths(
    distances: NDArray[np.float64], offsets: NDArray[np.float64] | float = 0.0
) -> NDArray[np.float64]:
    """Turn distances to neighbours into UMAP's membership strengths.

    Each row's strengths are ``exp(-max(d - offset, 0) / sigma)``, with sigma such that those of all
    neighbours but the nearest sum to ``log2(n_neighbors)``. umap takes the distance of the nearest
    neighbour for the offset in a graph, and none for new rows.

    Distances are of shape (n_rows, n_neighbors), ascending, of at least 2 neighbours; offsets of
    shape (n_rows, 1). Strengths are from 0 to 1.
    """
    beyond = np.maximum(distances - offsets, 0)
    target = np.log2(distances.shape[1])
    low, high = np.zeros(len(distances)), np.full(len(distances), np.inf)
    sigma = np.ones(len(distances))
    for _ in range(N_BISECTIONS):
        total = np.exp(-beyond[:, 1:] / sigma[:, None]).sum(axis=1)
        done = np.abs(total - target) < CLOSE_ENOUGH
        if done.all():
            break
        too_wide = total > target
        high = np.where(too_wide, sigma, high)
        low = np.where(too_wide, low, sigma)
        wider = np.where(np.isinf(high), 2 * sigma, (low + high) / 2)
        sigma = np.where(done, sigma, wider)  # a row stops for itself, whatever the others do
    sigma = np.maximum(sigma, 1e-3 * distances.mean(axis=1))
    return np.exp(-beyond / np.maximum(sigma, np.finfo(float).tiny)[:, None])


def fuzzy_graph(
    indices: NDArray[np.intp], distances: NDArray[np.float64], n_jobs: int | None = None
) -> csr_array:
    """Weigh the edges between rows and their neighbours, each row the first of its own.

    An edge that two rows give the strengths s and t gets s + t - s t: that of either or both.
    Returns a symmetric sparse array of float32, its diagonal empty.
    """
    n_rows, n_neighbors = indices.shape
    strengths = np.empty(indices.shape, dtype=np.float32)

    def weigh(part: slice) -> None:
        far = distances[part]
        nearest = np.where(far > 0, far, np.inf).min(axis=1)
        offsets = np.where(np.isinf(nearest), 0, nearest)[:, None]
        strengths[part] = membership_strengths(far, offsets)

    for_each(weigh, row_blocks(n_rows, 4 * n_neighbors), n_jobs)
    strengths[:, 0] = 0
    ends = np.arange(0, strengths.size + 1, n_neighbors)
    one_way = csr_array((strengths.ravel(), indices.ravel(), ends), shape=(n_rows, n_rows))
    other_way = one_way.T.tocsr()
    graph = csr_array(one_way + other_way - one_way * other_way)
    graph.eliminate_zeros()
    graph.sort_indices()
    return graph
