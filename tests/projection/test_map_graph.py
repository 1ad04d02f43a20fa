import numpy as np
import pytest
from scipy.sparse import csr_array

from dinov2_sklearn.projection._graph import fuzzy_graph, membership_strengths, similarity_curve


def test_curves_are_those_of_umap(umap_learn):
    for min_dist, a, b in umap_learn["curves"]:
        np.testing.assert_allclose(similarity_curve(min_dist), (a, b), rtol=1e-5)


@pytest.mark.parametrize("n_neighbors", [2, 5, 15])
def test_membership_strengths_are_those_of_umap(n_neighbors, umap_learn):
    distances = np.sort(np.random.default_rng(0).gamma(2, size=(50, n_neighbors)), axis=1)
    expected = umap_learn[f"strengths_{n_neighbors}"]
    np.testing.assert_allclose(membership_strengths(distances), expected, atol=1e-4)


def test_the_graph_is_that_of_umap(umap_learn):
    n_rows = len(umap_learn["indices"])
    distances = umap_learn["distances"].astype(np.float64)
    graph = fuzzy_graph(umap_learn["indices"].astype(np.intp), distances)
    parts = (umap_learn[f"graph_{name}"] for name in ("data", "indices", "indptr"))
    expected = csr_array(tuple(parts), shape=(n_rows, n_rows))
    np.testing.assert_allclose(graph.toarray(), expected.toarray(), atol=1e-4)
    assert (graph != graph.T).nnz == 0
    assert not graph.diagonal().any()


@pytest.mark.parametrize("distances", [[0.0, 0, 0], [0, 1, 1], [1e-300, 1e-300, 1e300]])
def test_strengths_of_extreme_distances_are_in_range(distances):
    strengths = membership_strengths(np.array([distances]))
    assert ((strengths >= 0) & (strengths <= 1)).all()


@pytest.mark.parametrize("far", [0.0, 1e-38, 1e38])
def test_every_row_has_a_neighbour_at_any_scale(far):
    indices = np.array([[0, 1], [1, 2], [2, 1]])
    graph = fuzzy_graph(indices, np.array([[0.0, far]] * 3))
    assert np.isfinite(graph.data).all()
    assert (graph.sum(axis=1) > 0).all()
