import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from dinov2_sklearn.neighbors._knn import nearest_rows, self_neighbors


def reference(queries, rows, n_neighbors, own=False):
    """All distances in float64; ties by index, after the row itself where asked for."""
    squared = ((queries[:, None].astype(float) - rows[None].astype(float)) ** 2).sum(axis=2)
    order = []
    for i, row in enumerate(squared):
        order.append(sorted(range(len(row)), key=lambda j: (not (own and i == j), row[j], j)))
    indices = np.array(order)[:, :n_neighbors]
    return indices, np.sqrt(np.take_along_axis(squared, indices, axis=1))


@settings(max_examples=30)
@given(
    arrays(
        np.float32,
        array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9),
        elements=st.integers(-2, 2),
    ),
    st.integers(1, 9),
)
def test_agrees_with_a_plain_loop_where_ties_are_common(rows, n_neighbors):
    n_neighbors = min(n_neighbors, len(rows))
    for found, expected in [
        (self_neighbors(rows, n_neighbors), reference(rows, rows, n_neighbors, own=True)),
        (nearest_rows(rows, rows, n_neighbors), reference(rows, rows, n_neighbors)),
    ]:
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_array_equal(found[1], expected[1])


def test_agrees_with_a_plain_loop_far_from_the_origin():
    # |x|^2 - 2xy + |y|^2 in float32 has no correct digit here.
    rows = np.float32(1000 + 0.01 * np.random.default_rng(0).normal(size=(300, 20)))
    indices, distances = self_neighbors(rows, 15)
    expected = reference(rows, rows, 15, own=True)
    np.testing.assert_array_equal(indices, expected[0])
    np.testing.assert_allclose(distances, expected[1], rtol=1e-12)


def test_a_row_is_its_own_first_neighbour_among_any_number_of_copies():
    rows = np.repeat(np.float32([[0.1, 0.7], [3, 4]]), 400, axis=0)
    indices, distances = self_neighbors(rows, 5)
    np.testing.assert_array_equal(indices[:, 0], np.arange(800))
    assert (distances == 0).all()
    assert all(len(set(row)) == 5 for row in indices)
