import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dinov2_sklearn.selection.strategies._clusters import (
    allocate_quotas,
    default_n_clusters,
    dues,
    interleave,
    kmeans,
    order_by_likeness,
)


def draw(seed=0):
    return np.random.RandomState(seed)


clusters = st.lists(
    st.tuples(st.integers(0, 50), st.integers(0, 40), st.floats(0, 1e6, allow_subnormal=False)),
    min_size=1,
    max_size=15,
)


@settings(deadline=None)
@given(clusters, st.floats(0, 1), st.booleans(), st.integers(0, 99))
def test_quotas_sum_exactly_and_stay_within_one_of_what_is_due(rows, fraction, by_shares, seed):
    sizes, covered, shares = (np.array(column) for column in zip(*rows, strict=True))
    total = round(fraction * sizes.sum())
    options = {"shares": shares} if by_shares else {}
    quotas = allocate_quotas(sizes, covered, total, draw(seed), **options)
    assert quotas.sum() == total
    assert (quotas >= 0).all()
    assert (quotas <= sizes).all()
    wanted = dues(sizes + covered, total + int(covered.sum()), **options)
    due = dues(sizes, total, shares=np.maximum(wanted - covered, 0))
    assert (np.abs(quotas - due) < 1 + 1e-6).all()
    # Clusters without a share get something only once the others are full.
    if by_shares and not covered.any() and quotas[shares == 0].any():
        assert (quotas[shares > 0] + 1 >= sizes[shares > 0]).all()


def test_quotas_are_on_average_what_is_due():
    sizes = np.array([50, 3, 3, 3, 3, 1, 1])
    quotas = np.array([allocate_quotas(sizes, 0 * sizes, 10, draw(seed)) for seed in range(4000)])
    due = 10 * sizes / sizes.sum()
    assert (np.abs(quotas - due) < 1).all()
    np.testing.assert_allclose(quotas.mean(axis=0), due, atol=4 * np.sqrt(0.25 / 4000))
    # Neighbours make up for each other.
    assert (np.abs(quotas[:, 1:].sum(axis=1) - due[1:].sum()) < 1).all()


def test_dues_by_hand():
    np.testing.assert_allclose(dues(np.array([50, 30, 20]), 10), [5, 3, 2])
    # A full cluster's surplus goes to the others in proportion.
    np.testing.assert_allclose(dues(np.array([2, 9, 9]), 8, shares=np.array([8, 1, 1])), [2, 3, 3])
    np.testing.assert_allclose(dues(np.array([2, 4]), 4, shares=np.array([1, 0])), [2, 2])


@pytest.mark.parametrize("total", [-1, 6])
def test_impossible_totals_are_errors(total):
    with pytest.raises(ValueError, match=f"Cannot divide {total} picks among 5 rows"):
        dues(np.array([2, 3]), total)


def test_quotas_complete_the_labelled_rows():
    def quotas(sizes, covered, total):
        return allocate_quotas(np.array(sizes), np.array(covered), total, draw()).tolist()

    assert quotas([10, 6], [0, 4], 4) == [4, 0]
    assert quotas([10, 10], [0, 0], 4) == [2, 2]


def test_clusters_alike_stand_side_by_side():
    centers = np.array([[0.0], [9.0], [0.1], [9.1], [0.2]])
    order = order_by_likeness(centers)
    far = np.isin(order, [1, 3])
    assert sorted(order.tolist()) == [0, 1, 2, 3, 4]
    assert np.count_nonzero(np.diff(far)) == 1
    assert order_by_likeness(centers[:2]).tolist() == [0, 1]


@settings(deadline=None)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=8))
def test_interleaved_prefixes_hold_each_group_in_proportion(lengths):
    groups = [np.arange(length) + 1000 * i for i, length in enumerate(lengths)]
    merged = interleave(groups)
    assert sorted(merged.tolist()) == sorted(np.concatenate(groups).tolist())
    for i, group in enumerate(groups):
        own = merged // 1000 == i
        assert merged[own].tolist() == group.tolist()
        expected = np.arange(1, len(merged) + 1) * len(group) / max(1, len(merged))
        # Half a pick from this group's own rounding and half from each other group's.
        assert (np.abs(np.cumsum(own) - expected) <= 0.5 + 0.5 * len(groups)).all()


def test_interleave_by_hand():
    groups = [np.array([1, 2, 3, 4]), np.array([10]), np.array([20, 21])]
    assert interleave(groups).tolist() == [1, 20, 2, 10, 3, 21, 4]
    assert interleave([]).tolist() == []


@pytest.mark.parametrize(
    ("n_rows", "n_picks", "expected"),
    [(1, 1, 1), (3, 100, 1), (1797, 20, 20), (1797, 100, 42), (10**6, 10**4, 100), (100, 0, 1)],
)
def test_default_number_of_clusters(n_rows, n_picks, expected):
    assert default_n_clusters(n_rows, n_picks) == expected


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_distinct", [1, 2, 5])
def test_kmeans_with_fewer_distinct_rows_than_clusters(dtype, n_distinct):
    X = np.repeat(np.random.RandomState(0).normal(size=(n_distinct, 3)), 6, axis=0).astype(dtype)
    labels, centers = kmeans(X, 8, random_state=np.random.RandomState(0))
    assert len(centers) == n_distinct
    assert np.unique(labels).tolist() == list(range(n_distinct))
    assert centers.dtype == dtype
    np.testing.assert_allclose(centers[labels], X, rtol=1e-6)


def test_kmeans_is_deterministic_and_caps_the_clusters():
    X = np.random.RandomState(1).normal(size=(40, 3))
    first = kmeans(X, 5, random_state=np.random.RandomState(2))
    second = kmeans(X, 5, random_state=np.random.RandomState(2))
    np.testing.assert_array_equal(first[0], second[0])
    labels, centers = kmeans(X, 1000, random_state=np.random.RandomState(2))
    assert sorted(labels.tolist()) == list(range(40))
    np.testing.assert_allclose(centers[labels], X)
