"""Where a new row goes on a finished map."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["average_by_distance", "membership_strengths", "refine_positions"]

N_STEPS = 50
N_NEGATIVES = 64
FIRST_STEP = 0.25
REPULSION = 5.0  # negatives drawn for each attraction, as umap does
LONGEST_PULL = 4.0  # umap clips each component of each force
N_START = 7


def membership_strengths(distances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn distances to neighbours into UMAP's membership strengths.

    Each row's strengths are ``exp(-d / sigma)``, with sigma such that those of all neighbours but
    the nearest sum to ``log2(n_neighbors)``. As in umap for new rows, the nearest neighbour's
    distance is not taken off.

    Distances are of shape (n_rows, n_neighbors), ascending, of at least 2 neighbours; strengths are
    from 0 to 1.
    """
    target = np.log2(distances.shape[1])
    low = np.zeros(len(distances))
    high = np.full(len(distances), np.inf)
    sigma = np.ones(len(distances))
    for _ in range(64):
        total = np.exp(-distances[:, 1:] / sigma[:, None]).sum(axis=1)
        too_wide = total > target
        high = np.where(too_wide, sigma, high)
        low = np.where(too_wide, low, sigma)
        sigma = np.where(np.isinf(high), 2 * sigma, (low + high) / 2)
    sigma = np.maximum(sigma, 1e-3 * distances.mean(axis=1))
    return np.exp(-distances / np.maximum(sigma, np.finfo(float).tiny)[:, None])


def average_by_distance(
    points: NDArray[np.float64], distances: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Average the points of each row's neighbours, weighted by inverse distance."""
    nearest = np.maximum(distances[:, :1], np.finfo(float).tiny)
    weights = nearest / np.maximum(distances, nearest)
    return (weights[:, :, None] * points).sum(axis=1) / weights.sum(axis=1)[:, None]


def refine_positions(
    points: NDArray[np.float64],
    strengths: NDArray[np.float64],
    anchors: NDArray[np.float32],
    a: float,
    b: float,
) -> NDArray[np.float64]:
    """Place rows by UMAP's objective, each row for itself.

    A row starts at the component-wise median of its nearest neighbours' points and then descends
    UMAP's cross-entropy with those points fixed. The repelling term is averaged over
    `N_NEGATIVES` anchors, others at each step but the same for every row and every call, so that
    the result is a function of the row alone.

    Points are of shape (n_rows, n_neighbors, n_components), nearest first, strengths of shape
    (n_rows, n_neighbors), and anchors, the fitted map, of shape (n_anchors, n_components). The
    map's similarity at distance d is ``1 / (1 + a * d ** (2 * b))``.
    """
    draw = np.random.RandomState(0)
    pull = strengths / strengths.max(axis=1, keepdims=True)
    push = REPULSION * pull.sum(axis=1)
    # Coordinates first: numpy then sums over them, and over neighbours, along whole rows.
    attractors = np.ascontiguousarray(points.transpose(2, 0, 1))
    position = np.median(attractors[:, :, :N_START], axis=2)
    for step in range(N_STEPS):
        negatives = anchors[draw.randint(len(anchors), size=N_NEGATIVES)].T.astype(np.float64)
        force = (pull * _attraction(position[:, :, None] - attractors, a, b)).sum(axis=2)
        force += push * _repulsion(position[:, :, None] - negatives[:, None, :], a, b).mean(axis=2)
        position = position + FIRST_STEP * (1 - step / N_STEPS) * force
    return position.T


def _attraction(offsets: NDArray[np.float64], a: float, b: float) -> NDArray[np.float64]:
    squared = (offsets * offsets).sum(axis=0)
    # b - 1 may be negative; at distance 0 the offset itself is 0 and so is the force.
    power = np.maximum(squared, np.finfo(float).tiny) ** (b - 1)
    scale = -2 * a * b * power / (a * power * squared + 1)
    return np.clip(scale * offsets, -LONGEST_PULL, LONGEST_PULL)


def _repulsion(offsets: NDArray[np.float64], a: float, b: float) -> NDArray[np.float64]:
    squared = (offsets * offsets).sum(axis=0)
    scale = 2 * b / ((0.001 + squared) * (a * squared**b + 1))
    return np.clip(scale * offsets, -LONGEST_PULL, LONGEST_PULL)
