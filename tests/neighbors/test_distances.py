import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics.pairwise import cosine_distances

from dinov2_sklearn.neighbors import (
    _distances,
    _geometry,
    nearest,
    sq_distances_to_earlier,
    to_geometry,
    to_metric,
)


def reference_nearest(X, centers):
    """All differences at once in float64; argmin gives the lowest index in a tie."""
    difference = X.astype(np.float64)[:, None] - centers.astype(np.float64)[None]
    sq_distances = np.einsum("ijk,ijk->ij", difference, difference)
    return sq_distances.argmin(axis=1), sq_distances.min(axis=1)


@st.composite
def two_sets(draw):
    # Few distinct values: duplicates and exact ties are frequent, and all arithmetic is exact.
    n, m, d = (draw(st.integers(1, 12)) for _ in range(3))
    values = st.integers(-3, 3).map(float)
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    offset = draw(st.sampled_from([0.0, 1000.0]))
    X, centers = (draw(hnp.arrays(np.float64, (rows, d), elements=values)) for rows in (n, m))
    return (X + offset).astype(dtype), (centers + offset).astype(dtype)


@settings(deadline=None)
@given(two_sets())
def test_nearest_is_exact_and_breaks_ties_by_the_lowest_index(sets):
    X, centers = sets
    indices, sq_distances = nearest(X, centers)
    expected_indices, expected = reference_nearest(X, centers)
    np.testing.assert_array_equal(indices, expected_indices)
    np.testing.assert_array_equal(sq_distances, expected)


@settings(deadline=None)
@given(two_sets(), st.integers(0, 2**32 - 1))
def test_nearest_is_exact_whatever_the_guess(sets, seed):
    X, centers = sets
    centers = np.unique(centers, axis=0)
    guess = np.random.RandomState(seed).randint(len(centers), size=len(X))
    indices, sq_distances = _distances._by_guess(X, centers, guess)
    expected_indices, expected = reference_nearest(X, centers)
    np.testing.assert_array_equal(indices, expected_indices)
    np.testing.assert_array_equal(sq_distances, expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [1.0, 1e17])
def test_a_guess_changes_nothing(dtype, scale, monkeypatch):
    rng = np.random.RandomState(0)
    middles = 3 * rng.normal(size=(30, 256))
    X = scale * (middles[rng.randint(30, size=2000)] + rng.normal(size=(2000, 256))).astype(dtype)
    X[5] *= 100
    centers = X[rng.permutation(2000)[:200]]
    plain = nearest(X, centers)
    monkeypatch.setattr(_distances, "_MUCH_WORK", 0)
    for got, expected in zip(nearest(X, centers), plain, strict=True):
        np.testing.assert_array_equal(got, expected)
    assert scale > 1 or _distances._is_sketched(X, centers)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_nearest_keeps_small_distances(dtype, offset):
    rng = np.random.RandomState(0)
    centers = (rng.normal(size=(40, 64)) + offset).astype(dtype)
    step = np.finfo(dtype).eps * max(offset, 1.0) * 8
    X = centers[rng.randint(40, size=300)] + (step * rng.choice([-1, 1], (300, 64))).astype(dtype)
    indices, sq_distances = nearest(X, centers)
    expected_indices, expected = reference_nearest(X, centers)
    np.testing.assert_array_equal(indices, expected_indices)
    np.testing.assert_allclose(sq_distances, expected, rtol=1e-12)


def test_nearest_of_a_row_does_not_depend_on_the_rows_beside_it(monkeypatch):
    rng = np.random.RandomState(1)
    X = rng.normal(size=(200, 33)).astype(np.float32)
    centers = np.concatenate([X[:20], X[:20], -X[:20]])
    whole = nearest(X, centers)
    monkeypatch.setattr(_geometry, "_BLOCK_SIZE", 100)
    monkeypatch.setattr(_geometry, "_FEW_ROWS", 1)
    for got, expected in zip(nearest(X, centers), whole, strict=True):
        np.testing.assert_array_equal(got, expected)
    alone = [nearest(row[None], centers) for row in X]
    np.testing.assert_array_equal(np.concatenate([index for index, _ in alone]), whole[0])
    np.testing.assert_array_equal(np.concatenate([distance for _, distance in alone]), whole[1])


def test_one_far_center_does_not_blur_the_others():
    rng = np.random.RandomState(2)
    centers = rng.normal(size=(30, 8)).astype(np.float32)
    centers[7] *= 1e6
    X = rng.normal(size=(100, 8)).astype(np.float32)
    np.testing.assert_array_equal(nearest(X, centers)[0], reference_nearest(X, centers)[0])


def test_nearest_without_centers():
    indices, sq_distances = nearest(np.ones((3, 2)), np.empty((0, 2)))
    assert indices.tolist() == [-1, -1, -1]
    assert np.isinf(sq_distances).all()


@settings(deadline=None)
@given(two_sets())
def test_distances_to_earlier_rows_match_a_plain_loop(sets):
    rows, start = sets
    got = sq_distances_to_earlier(rows, start)
    for i, row in enumerate(rows):
        earlier = np.concatenate([start, rows[:i]])
        assert got[i] == reference_nearest(row[None], earlier)[1][0]


def test_distances_to_earlier_rows_without_a_start():
    rows = np.array([[0.0], [3.0], [1.0], [3.0]])
    assert sq_distances_to_earlier(rows, rows[:0]).tolist() == [np.inf, 9.0, 1.0, 0.0]


@settings(deadline=None)
@given(
    hnp.arrays(np.float64, (6, 3), elements=st.floats(-1e3, 1e3)).filter(
        lambda X: np.abs(X).max(axis=1).min() > 1e-3
    )
)
def test_geometry_of_cosine_gives_cosine_distances(X):
    unit = to_geometry(X, "cosine")[:]
    difference = unit[:, None] - unit[None]
    got = to_metric((difference**2).sum(axis=-1), "cosine")
    np.testing.assert_allclose(got, cosine_distances(X), atol=1e-12)


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_geometry_of_cosine_survives_extreme_lengths(scale):
    X = scale * np.array([[3.0, 4.0], [0.0, 2.0]])
    np.testing.assert_allclose(to_geometry(X, "cosine")[:], [[0.6, 0.8], [0.0, 1.0]], rtol=1e-14)


def test_geometry_keeps_float32_and_leaves_the_input_alone():
    X = np.random.RandomState(0).normal(size=(5, 4)).astype(np.float32)
    before = X.copy()
    assert to_geometry(X, "cosine").dtype == to_geometry(X, "cosine")[:2].dtype == np.float32
    assert to_geometry(X, "euclidean") is X
    np.testing.assert_array_equal(X, before)
