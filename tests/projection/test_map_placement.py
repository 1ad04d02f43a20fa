import numpy as np
import pytest
from scipy.optimize import approx_fprime

from dinov2_sklearn.projection._layout import (
    _attraction,
    _repulsion,
    average_by_distance,
    import_umap,
    membership_strengths,
    refine_positions,
)

A, B = 1.577, 0.895  # min_dist = 0.1


@pytest.mark.parametrize("n_neighbors", [2, 5, 15])
def test_membership_strengths_are_those_of_umap(n_neighbors):
    umap_ = import_umap().umap_
    distances = np.sort(np.random.default_rng(0).gamma(2, size=(50, n_neighbors)), axis=1)
    strengths = membership_strengths(distances)
    as_float32 = distances.astype(np.float32)
    sigmas, rhos = umap_.smooth_knn_dist(as_float32, float(n_neighbors), local_connectivity=0.0)
    indices = np.tile(np.arange(n_neighbors), (50, 1))
    _, _, expected, _ = umap_.compute_membership_strengths(
        indices, as_float32, sigmas, rhos, bipartite=True
    )
    np.testing.assert_allclose(strengths.ravel(), expected, atol=1e-4)


@pytest.mark.parametrize("distances", [[0.0, 0, 0], [0, 1, 1], [1e-300, 1e-300, 1e300]])
def test_membership_strengths_of_extreme_distances_are_in_range(distances):
    strengths = membership_strengths(np.array([distances]))
    assert ((strengths >= 0) & (strengths <= 1)).all()


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
