"""Where new rows go on a finished map, each for itself."""

import numpy as np
from numpy.typing import NDArray

from ._layout import LONGEST_PUSH, N_PUSHES, SOFTENING

__all__ = ["average_by_distance", "refine_positions"]

N_STEPS = 50
N_NEGATIVES = 64
FIRST_STEP = 0.25
N_START = 7


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
    push = N_PUSHES * pull.sum(axis=1)
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
    return np.clip(scale * offsets, -LONGEST_PUSH, LONGEST_PUSH)


def _repulsion(offsets: NDArray[np.float64], a: float, b: float) -> NDArray[np.float64]:
    squared = (offsets * offsets).sum(axis=0)
    scale = 2 * b / ((SOFTENING + squared) * (a * squared**b + 1))
    return np.clip(scale * offsets, -LONGEST_PUSH, LONGEST_PUSH)
