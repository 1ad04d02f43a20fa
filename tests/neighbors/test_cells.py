import numpy as np
import pytest
from sklearn.datasets import make_blobs

from dinov2_sklearn.neighbors import _cells, knn, knn_in_cells


@pytest.fixture(scope="module")
def blobs():
    X, _ = make_blobs(4000, 12, centers=30, cluster_std=2.0, random_state=0)
    return X.astype(np.float32)


@pytest.fixture(scope="module")
def true(blobs):
    return knn(blobs, 10)


@pytest.mark.parametrize("recall", [0.9, 0.99])
def test_it_finds_the_share_that_was_asked_for_and_says_so(recall, blobs, true):
    found = knn_in_cells(blobs, 10, recall=recall)
    reached = (found.sq_distances <= true[1][:, -1:]).mean()
    assert reached >= recall - 0.01
    assert found.recall == pytest.approx(reached, abs=0.01)


def test_what_is_found_is_exact(blobs, true):
    found = knn_in_cells(blobs, 10)
    same = (found.indices == true[0]).all(axis=1)
    assert same.mean() > 0.9
    np.testing.assert_array_equal(found.sq_distances[same], true[1][same])
    offsets = blobs[found.indices].astype(float) - blobs[:, None]
    np.testing.assert_allclose(found.sq_distances, (offsets**2).sum(axis=2), rtol=1e-12)
    assert (np.diff(found.sq_distances, axis=1) >= 0).all()
    assert (found.indices != np.arange(len(blobs))[:, None]).all()


def test_all_cells_are_all_rows(blobs, true):
    found = knn_in_cells(blobs, 10, recall=1.0)
    assert found.recall == 1
    assert (found.indices == true[0]).mean() > 0.999


def test_a_row_comes_first_where_it_counts(blobs):
    without, with_self = (knn_in_cells(blobs, n, include_self=n == 6) for n in (5, 6))
    np.testing.assert_array_equal(with_self.indices[:, 0], np.arange(len(blobs)))
    np.testing.assert_array_equal(with_self.indices[:, 1:], without.indices)


def test_it_is_the_same_for_any_number_of_threads(blobs, monkeypatch):
    monkeypatch.setattr(_cells, "_CHUNK", 300)
    first, *others = (knn_in_cells(blobs, 10, n_jobs=n) for n in (1, 2, 5))
    for found in others:
        np.testing.assert_array_equal(found.indices, first.indices)
        np.testing.assert_array_equal(found.sq_distances, first.sq_distances)


@pytest.mark.parametrize("n_rows", [7, 60])
def test_few_rows_and_cells_of_one_row(n_rows):
    rows = np.float32(1.05 ** np.arange(n_rows))[:, None]  # ever farther apart
    found = knn_in_cells(rows, 5)
    np.testing.assert_array_equal(found.indices, knn(rows, 5)[0])


def test_far_groups_do_not_lose_their_neighbours(blobs):
    far = blobs[:1000].copy()
    far[:500] += 1000
    found = knn_in_cells(far, 10, recall=1.0)
    assert ((found.indices < 500) == (np.arange(1000) < 500)[:, None]).all()


def test_what_rounding_hides_lowers_the_recall_that_is_stated():
    rows = np.float32(2.0 ** np.arange(60))[:, None]
    found = knn_in_cells(rows, 5, recall=1.0)
    true = knn(rows, 5)[1][:, -1:]
    assert found.recall == pytest.approx((found.sq_distances <= true).mean(), abs=0.1)
    assert found.recall < 0.9


def test_queries_find_what_they_find_among_all(blobs):
    queries = blobs[::7] + np.float32(0.3)
    found = knn_in_cells(blobs, 10, queries=queries)
    indices, sq_distances = knn(blobs, 10, queries=queries)
    reached = (found.sq_distances <= sq_distances[:, -1:]).mean()
    assert reached >= 0.985
    assert found.recall == pytest.approx(reached, abs=0.01)
    same = (found.indices == indices).all(axis=1)
    assert same.mean() > 0.9
    np.testing.assert_array_equal(found.sq_distances[same], sq_distances[same])
    # A row that asks finds itself, as any other.
    again = knn_in_cells(blobs, 1, queries=blobs[:50])
    np.testing.assert_array_equal(again.indices[:, 0], np.arange(50))


def test_no_cell_gathers_the_groups_that_have_no_center_of_their_own():
    """The center amid all rows is near everyone: all would be compared with all of its cell."""
    X, _ = make_blobs(9000, 200, centers=250, cluster_std=5.0, random_state=0)
    sizes = np.diff(_cells._Cells(X.astype(np.float32), None)._starts)
    assert sizes.max() < 5 * sizes.mean()
