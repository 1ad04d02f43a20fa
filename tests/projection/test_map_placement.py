import numpy as np
import pytest
from scipy.optimize import approx_fprime

from dinov2_sklearn.projection._placement import (
    _attraction,
    _repulsion,
    average_by_distance,
    refine_positions,
)

A, B = 1.577, 0.895  # min_dist = 0.1


@pytest.mark.parametrize("n_components", [1, 2, 3])
def test_forces_are_gradients_of_umaps_objective(n_components):
    # Cross-entropy of one neighbour: log(1 + a d^2b); of one negative: -log(1 - 1/(1 + a d^2b)),
    # whose force umap divides by 0.001 + d^2 where the gradient has d^2.
    def distance(offset):
        return A * (offset @ offset) ** B

    for offset in np.random.default_rng(0).normal(size=(20, n_components)) + 1:
        pull = -approx_fprime(offset, lambda x: np.log1p(distance(x)))
        push = -approx_fprime(offset, lambda x: -np.log(distance(x) / (1 + distance(x))))
        squared = offset @ offset
        np.testing.assert_allclose(_attraction(offset, A, B), pull, rtol=1e-4, atol=1e-5)
        expected = np.clip(push * squared / (0.001 + squared), -4, 4)
        np.testing.assert_allclose(_repulsion(offset, A, B), expected, rtol=1e-4, atol=1e-5)


def test_forces_at_distance_zero_are_zero():
    for force in (_attraction, _repulsion):
        assert (force(np.zeros((2, 3)), A, B) == 0).all()


def test_a_row_settles_among_its_neighbours_and_not_at_an_outlier():
    draw = np.random.default_rng(0)
    cluster, outlier = draw.normal(size=(14, 2)), np.array([[40.0, 40.0]])
    anchors = np.vstack([cluster, outlier]).astype(np.float32)
    placed = refine_positions(anchors[None].astype(float), np.ones((1, 15)), anchors, A, B)
    assert np.linalg.norm(placed[0] - cluster.mean(axis=0)) < 2


def test_average_by_distance_interpolates_and_meets_the_points():
    points = np.array([[[0.0], [10.0]]] * 3)
    distances = np.array([[0.0, 5], [1, 1], [1, 4]])
    np.testing.assert_allclose(average_by_distance(points, distances)[:, 0], [0, 5, 2], atol=1e-12)
