import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from dinov2_sklearn.neighbors import UnitRows, _distances, knn


def reference(queries, rows, n_neighbors, own=None):
    """All distances in float64; ties by index, a row itself first or left out."""
    squared = ((queries[:, None].astype(float) - rows[None].astype(float)) ** 2).sum(axis=2)
    order = []
    for i, row in enumerate(squared):
        others = [j for j in range(len(row)) if own is None or i != j]
        others.sort(key=lambda j: (row[j], j))
        order.append([i, *others] if own == "first" else others)
    indices = np.array(order, dtype=int).reshape(len(queries), -1)[:, :n_neighbors]
    return indices, np.take_along_axis(squared, indices, axis=1)


@settings(max_examples=60, deadline=None)
@given(
    arrays(
        np.float32,
        array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12),
        elements=st.sampled_from([-2.0, -1.0, -0.0, 0.0, 1.0]),
    ),
    st.integers(1, 14),
    st.sampled_from([np.float32, np.float64]),
)
def test_agrees_with_a_plain_loop_where_ties_and_copies_are_common(rows, n_neighbors, dtype):
    rows = rows.astype(dtype)
    for found, expected in [
        (knn(rows, n_neighbors), reference(rows, rows, n_neighbors, "left out")),
        (knn(rows, n_neighbors, include_self=True), reference(rows, rows, n_neighbors, "first")),
        (knn(rows, n_neighbors, queries=rows[:4]), reference(rows[:4], rows, n_neighbors)),
    ]:
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_array_equal(found[1], expected[1])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_agrees_with_a_plain_loop_far_from_the_origin(dtype):
    # |x|^2 - 2xy + |y|^2 has no correct digit here.
    step = np.finfo(dtype).eps * 1e5
    rows = (1000 + step * np.random.default_rng(0).normal(size=(300, 20))).astype(dtype)
    for found, expected in [
        (knn(rows, 15), reference(rows, rows, 15, "left out")),
        (knn(rows, 15, queries=rows), reference(rows, rows, 15)),
    ]:
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_allclose(found[1], expected[1], rtol=1e-12)


def test_is_the_same_in_blocks_of_any_size(monkeypatch):
    rows = np.random.default_rng(1).integers(-2, 3, size=(500, 6)).astype(np.float32)
    whole = knn(rows, 7)
    monkeypatch.setattr(_distances, "_CHUNK", 17)
    for expected, found in zip(whole, knn(rows, 7), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_row_is_its_own_first_neighbour_among_any_number_of_copies():
    rows = np.repeat(np.float32([[0.1, 0.7], [3, 4]]), 400, axis=0)
    indices, sq_distances = knn(rows, 5, include_self=True)
    np.testing.assert_array_equal(indices[:, 0], np.arange(800))
    assert (sq_distances == 0).all()
    assert all(len(set(row)) == 5 for row in indices)


def test_many_copies_of_few_rows_take_no_quadratic_time():
    rows = np.repeat(np.float32([[0, 0], [1, 0], [5, 0]]), 40_000, axis=0)
    indices, sq_distances = knn(rows, 3)
    assert indices[0].tolist() == [1, 2, 3]
    assert indices[50_000].tolist() == [40_000, 40_001, 40_002]
    assert not sq_distances.any()


def test_unit_rows_keep_directions_of_any_length_and_report_zeros():
    rows = np.float32([[3, 4], [0, 0], [-3e-30, 4e-30], [3e30, -4e30], [3e-43, 4e-43]])
    unit = UnitRows(rows)
    expected = [[0.6, 0.8], [0, 0], [-0.6, 0.8], [0.6, -0.8], [0.6, 0.8]]
    np.testing.assert_allclose(unit[:4], expected[:4], rtol=1e-6)
    np.testing.assert_allclose(unit[4:], expected[4:], rtol=1e-2)  # such numbers have few digits
    np.testing.assert_allclose(np.linalg.norm(unit[4]), 1, rtol=1e-6)
    assert unit.zeros.tolist() == [1]


def test_rows_whose_squares_leave_float32_have_neighbours():
    rows = np.float32([[0, 0], [1e30, 0], [3e30, 0], [-3e38, 0], [3e38, 0]])
    assert knn(rows, 2)[0].tolist() == [[1, 2], [0, 2], [1, 0], [0, 1], [2, 1]]
