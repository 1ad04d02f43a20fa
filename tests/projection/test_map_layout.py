from functools import partial

import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.spatial.distance import pdist, squareform
from sklearn.manifold import trustworthiness

from dinov2_sklearn.neighbors import knn
from dinov2_sklearn.projection import UMAPProjector, projection_report
from dinov2_sklearn.projection._axes import principal_axes
from dinov2_sklearn.projection._graph import fuzzy_graph
from dinov2_sklearn.projection._layout import _force_tables, optimize_layout

CURVE = A, B = 1.577, 0.895  # min_dist = 0.1


def graph_of(rows, n_neighbors=15):
    indices, sq_distances = knn(rows, n_neighbors, include_self=True)
    return fuzzy_graph(indices, np.sqrt(sq_distances))


def objective(points, graph):
    """What the head of the layout's module writes down, but for the limit of slopes."""
    squared = squareform(pdist(points.astype(float), "sqeuclidean"))
    weights = graph.toarray().astype(float)
    masses = weights.sum(axis=1)
    pairs = np.triu_indices(len(points), 1)
    far = A * squared[pairs] ** B
    push = (masses[:, None] + masses)[pairs] / (2 * len(points)) * np.log1p(1 / (far + 1e-3))
    return (2 * weights[pairs] * np.log1p(far) + 5 * push).sum()


def test_forces_are_slopes_of_the_objective():
    forces = _force_tables(A, B)
    far = np.float32(np.geomspace(0.4, 30, 200))
    places = (far * far).view(np.int32) >> 14
    slope = 2 * A * B * far ** (2 * B - 1) / (1 + A * far ** (2 * B))  # of log(1 + a d^2b)
    np.testing.assert_allclose(forces.pull[places] * far, 2 * slope, rtol=2e-3)
    repulsion = 2 * B * far / ((0.001 + far**2) * (1 + A * far ** (2 * B)))
    np.testing.assert_allclose(forces.push[places] * far, np.minimum(repulsion, 4), rtol=2e-3)
    assert np.isfinite(forces.pull).all()
    assert (forces.push[:-1] >= forces.push[1:]).all()


@pytest.mark.parametrize("n_components", [1, 2, 3])
def test_it_descends_its_objective_from_near_and_far(n_components, digits):
    graph = graph_of(digits[0][:300].astype(np.float32))
    for spread in (0.1, 1, 10):
        start = np.random.default_rng(0).normal(scale=spread, size=(300, n_components))
        points = optimize_layout(graph, start.astype(np.float32), CURVE, n_epochs=200, seed=0)
        assert np.isfinite(points).all()
        assert objective(points, graph) < objective(start, graph)


def test_damped_steps_do_not_swing():
    # A hub that is pulled by 2,000 others: an explicit step would throw it a thousandfold too far.
    n = 2001
    hub, rest = np.zeros(n - 1, dtype=int), np.arange(1, n)
    edges = np.concatenate([hub, rest]), np.concatenate([rest, hub])
    graph = csr_array((np.ones(2 * (n - 1), dtype=np.float32), edges), shape=(n, n))
    start = np.random.default_rng(0).normal(size=(n, 2)).astype(np.float32)
    points = optimize_layout(graph, start, CURVE, n_epochs=50, seed=0)
    radii = np.linalg.norm(points - points[1:].mean(axis=0), axis=1)
    assert radii[0] <= radii[1:].max() < 50


def test_a_ring_stays_a_ring_and_a_chain_a_chain():
    turn = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    ring = np.column_stack([np.cos(turn), np.sin(turn), np.zeros(400)])
    points = UMAPProjector(metric="euclidean").fit_transform(ring)
    middle = points.mean(axis=0)
    angles = np.unwrap(np.arctan2(*(points - middle).T))
    assert abs(abs(angles[-1] - angles[0]) - 2 * np.pi) < 0.5  # once around
    chain = np.column_stack([np.arange(400.0), np.zeros(400)])
    points = UMAPProjector(metric="euclidean").fit_transform(chain)
    assert trustworthiness(chain, points, n_neighbors=15) > 0.97
    assert np.abs(points[0] - points[-1]).max() == pytest.approx(np.ptp(points, 0).max(), rel=0.2)


def test_far_clusters_stay_apart_and_keep_their_arrangement():
    draw = np.random.default_rng(0)
    centers = 1000.0 * draw.normal(size=(6, 10))
    rows = np.repeat(centers, 60, axis=0) + draw.normal(size=(360, 10))
    points = UMAPProjector(metric="euclidean").fit_transform(rows)
    groups = np.repeat(np.arange(6), 60)
    nearest = squareform(pdist(points) + 1e-9) + 1e9 * np.eye(360)
    assert (groups[nearest.argmin(axis=1)] == groups).all()
    assert projection_report(rows, points, metric="euclidean").triplet_accuracy > 0.7


def test_an_island_of_few_rows_is_not_kicked_away():
    # By what all rows of a block share in noise; the kicks were as large as the map.
    draw = np.random.default_rng(0)
    sizes = [28, 60, 40, 30, 20, 20, 20, 16, 10, 6]
    centers = draw.normal(size=(10, 30))
    centers[0] *= 2
    rows = np.repeat(centers, sizes, axis=0) + 0.3 * draw.normal(size=(250, 30))
    make = partial(UMAPProjector, n_neighbors=100, min_dist=0.9)
    maps = [make(random_state=seed).fit_transform(rows) for seed in range(4)]
    extents = [np.ptp(points, axis=0).max() for points in maps]
    assert max(extents) < 1.2 * min(extents)


def test_a_graph_in_many_pieces_has_a_map():
    pairs = np.repeat(np.arange(300.0)[:, None] * 1e4, 2, axis=0)
    pairs[1::2] += 1
    projector = UMAPProjector(metric="euclidean", n_neighbors=2, n_epochs=100)
    points = projector.fit_transform(np.hstack([pairs, pairs[::-1] ** 2 % 977]))
    assert np.isfinite(points).all()


@pytest.mark.parametrize("shape", [(500, 7), (20, 300), (5000, 3)])
def test_axes_are_those_of_a_decomposition(shape):
    rows = np.random.default_rng(0).normal(size=shape) * np.geomspace(1, 9, shape[1]) + 5
    axes = principal_axes(rows.astype(np.float32), 3)
    _, values, directions = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
    cosines = np.abs(np.einsum("ij,ij->i", axes.components, directions[:3]))
    np.testing.assert_allclose(cosines, 1, atol=1e-4)
    assert axes.loss == pytest.approx(1 - (values[:3] ** 2).sum() / (values**2).sum(), abs=1e-5)
