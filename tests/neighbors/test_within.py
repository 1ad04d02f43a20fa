import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.spatial import cKDTree

from dinov2_sklearn.neighbors import UnitRows, _forest, _join, connected, first_occurrences, within


def reference(X, max_sq_distance):
    """Kruskal's algorithm over all pairs in float64, ties by index."""
    X = X.astype(np.float64)
    sq_distances = np.stack([np.einsum("ij,ij->i", X - row, X - row) for row in X])
    first, second = np.triu_indices(len(X), 1)
    near = sq_distances[first, second] <= max_sq_distance
    first, second = first[near], second[near]
    order = np.lexsort((second, first, sq_distances[first, second]))
    group = np.arange(len(X))
    kept = []
    for i, j in zip(first[order].tolist(), second[order].tolist(), strict=True):
        if group[i] != group[j]:
            group[group == group[j]] = group[i]
            kept.append((i, j))
        if len(kept) == len(X) - 1:
            break
    kept = np.array(kept, dtype=int).reshape(-1, 2).T
    return kept[0], kept[1], sq_distances[kept[0], kept[1]]


def check_against_reference(X, max_sq_distance):
    for found, expected in zip(
        within(X, max_sq_distance), reference(X, max_sq_distance), strict=True
    ):
        np.testing.assert_array_equal(found, expected)


@pytest.fixture
def small(monkeypatch):
    """Take the ways of large data with small data."""
    monkeypatch.setattr(_join, "_SMALL", 30)
    monkeypatch.setattr(_join, "_TILE", (16, 32))
    monkeypatch.setattr(_join, "_PART", 40)
    monkeypatch.setattr(_join, "_CELL_GROUP", 3)
    monkeypatch.setattr(_join, "_WIDTHS", (2, 4, 8))
    monkeypatch.setattr(_join, "_FEW", 8)
    monkeypatch.setattr(_forest, "_PENDING", 50)


@settings(max_examples=60, deadline=None)
@given(
    arrays(
        np.float32,
        array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=14),
        elements=st.integers(-2, 2),
    ),
    st.sampled_from([0.0, 1.0, 2.0, 3.0, 5.0, 20.0]),
    st.sampled_from([np.float32, np.float64]),
)
def test_is_the_forest_of_a_plain_loop_where_ties_are_common(rows, max_sq_distance, dtype):
    rows = rows[first_occurrences(rows)[0]].astype(dtype)
    check_against_reference(rows, max_sq_distance)


DATA = {
    "nothing to prune": lambda draw: draw.normal(size=(300, 12)),
    "clusters": lambda draw: (
        20 * draw.normal(size=(15, 12))[draw.integers(15, size=300)] + draw.normal(size=(300, 12))
    ),
    "a burst": lambda draw: np.concatenate(
        [draw.normal(size=(150, 12)), 3 + 1e-3 * draw.normal(size=(150, 12))]
    ),
    "a grid": lambda draw: np.unique(draw.integers(0, 4, size=(300, 4)), axis=0),
    "one far row": lambda draw: np.concatenate([draw.normal(size=(200, 6)), np.full((1, 6), 1e6)]),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("radius", [1e-3, 0.1, 1.0, 3.0, 100.0])
@pytest.mark.parametrize("data", DATA)
def test_every_way_leads_to_the_same_forest(small, data, radius, dtype, monkeypatch):
    X = DATA[data](np.random.default_rng(0)).astype(dtype)
    for pays in (0, 0.4, 10):  # no cells, cells if they pay, cells
        monkeypatch.setattr(_join, "_CELLS_PAY", pays)
        check_against_reference(X, radius**2)


def test_pairs_at_the_threshold_are_settled_in_float64():
    # In float32 the first pair is as far apart as the second.
    X = np.array([[0, 1.0], [1.0, 1.0], [0, 9.0], [1 + 1e-12, 9.0]])
    assert within(X, 1.0).first.tolist() == [0]
    rows = np.float32([[3, 4], [4, 3]])
    cosine = 24 / 25
    assert len(within(UnitRows(rows), 2 * (1 - cosine) + 1e-15).first) == 1
    assert len(within(UnitRows(rows), 2 * (1 - cosine) - 1e-15).first) == 0


@pytest.mark.parametrize("n_jobs", [1, 2, 3])
def test_threads_change_nothing(small, n_jobs):
    X = DATA["clusters"](np.random.default_rng(1)).astype(np.float32)
    done = []
    found = within(X, 9.0, n_jobs=n_jobs, advance=done.append)
    assert sum(done) == len(X)
    for got, expected in zip(found, reference(X, 9.0), strict=True):
        np.testing.assert_array_equal(got, expected)


def test_a_burst_of_near_equal_rows_keeps_fewer_pairs_than_rows():
    # 3,100,000 pairs are within the radius.
    draw = np.random.default_rng(0)
    X = np.float32(5 + 1e-3 * draw.normal(size=(2500, 16)))
    pairs = within(X, 1.0)
    assert len(pairs.first) == 2499
    assert connected(2500, pairs.first, pairs.second).max() == 0


def test_many_cells_leave_no_pair_out():
    draw = np.random.default_rng(0)
    X = draw.normal(size=(20_000, 3)).astype(np.float32)
    pairs = within(X, 0.05**2)
    near = cKDTree(X).query_pairs(0.05, output_type="ndarray")
    assert len(near) > 1000
    groups = connected(len(X), near[:, 0], near[:, 1])
    np.testing.assert_array_equal(connected(len(X), pairs.first, pairs.second), groups)


def test_groups_are_numbered_by_their_first_rows():
    assert connected(6, np.array([1, 3]), np.array([4, 5])).tolist() == [0, 1, 2, 3, 1, 3]
