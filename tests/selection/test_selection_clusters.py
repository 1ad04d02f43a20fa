import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dinov2_sklearn.selection._clusters import (
    allocate_quotas,
    default_n_clusters,
    extend_quotas,
    interleave,
    kmeans,
)

sizes_lists = st.lists(st.integers(0, 1000), min_size=1, max_size=20)


@settings(deadline=None)
@given(sizes_lists, st.floats(0, 1))
def test_quotas_sum_exactly_and_stay_within_one_of_their_share(sizes, fraction):
    sizes = np.array(sizes)
    total = round(fraction * sizes.sum())
    quotas = allocate_quotas(sizes, total)
    assert quotas.sum() == total
    assert (quotas >= 0).all()
    assert (quotas <= sizes).all()
    if sizes.sum():
        ideal = total * sizes / sizes.sum()
        assert (np.abs(quotas - ideal) < 1 + 1e-6).all()


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 50), st.floats(0, 1e6, allow_subnormal=False)),
        min_size=1,
        max_size=15,
    ),
    st.floats(0, 1),
)
def test_quotas_by_other_shares_respect_the_sizes(pairs, fraction):
    sizes, shares = (np.array(column) for column in zip(*pairs, strict=True))
    total = round(fraction * sizes.sum())
    quotas = allocate_quotas(sizes, total, shares=shares)
    assert quotas.sum() == total
    assert (quotas >= 0).all()
    assert (quotas <= sizes).all()
    # Clusters without a share get something only once the others are full.
    shared = shares > 0
    if quotas[~shared].any():
        assert (quotas[shared] == sizes[shared]).all()


def test_largest_remainder_by_hand():
    # Shares 4.17, 2.5 and 3.33 of 10: whole parts 4, 2, 3 and the one left goes to .5
    assert allocate_quotas(np.array([50, 30, 40]), 10).tolist() == [4, 3, 3]
    # A full cluster's surplus goes to the others in proportion.
    assert allocate_quotas(np.array([2, 9, 9]), 8, shares=np.array([8, 1, 1])).tolist() == [2, 3, 3]


@pytest.mark.parametrize("total", [-1, 6])
def test_impossible_totals_are_errors(total):
    with pytest.raises(ValueError, match=f"Cannot divide {total} picks among 5 rows"):
        allocate_quotas(np.array([2, 3]), total)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=1, max_size=12),
    st.floats(0, 1),
)
def test_extended_quotas_complete_the_labelled_rows(pairs, fraction):
    sizes, covered = (np.array(column) for column in zip(*pairs, strict=True))
    total = round(fraction * sizes.sum())
    quotas = extend_quotas(sizes, covered, total)
    assert quotas.sum() == total
    assert (quotas >= 0).all()
    assert (quotas <= sizes).all()
    # No cluster that has more than its due already is given more.
    due = allocate_quotas(sizes + covered, total + int(covered.sum()))
    assert (quotas[covered >= due] == 0).all()


def test_extended_quotas_by_hand():
    assert extend_quotas(np.array([10, 6]), np.array([0, 4]), 4).tolist() == [4, 0]
    assert extend_quotas(np.array([10, 10]), np.array([0, 0]), 4).tolist() == [2, 2]


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
