"""Greedy coverage beside its definition, and what it proves of itself."""

from itertools import combinations
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.datasets import load_digits

from dinov2_sklearn import DiversitySampler
from dinov2_sklearn.selection.strategies import (
    _coverage,
    _coverage_at_scale,
    _pairs,
    _strategies,
)
from dinov2_sklearn.selection.strategies._coverage import cover


def reference(X, n_picks, candidates, mass, covered=None, min_sq_distance=0.0):
    """The definition, in float64."""
    X = X.astype(np.float64)
    table = ((X[:, None] - X[None]) ** 2).sum(axis=-1)
    left = candidates.copy()
    if covered is None:
        distances = np.full(len(X), 1e9)
    else:
        distances = ((X[:, None] - covered[None]) ** 2).sum(axis=-1).min(axis=1)
        left &= distances >= min_sq_distance
    picks, costs = [], []
    while left.any() and len(picks) < n_picks:
        gains = mass @ np.maximum(distances[:, None] - table, 0)
        gains[~left] = -1
        best = gains.max()
        if best <= 1e-9:
            break
        pick = int(np.argmax(gains >= best * (1 - 1e-12)))
        picks.append(pick)
        distances = np.minimum(distances, table[:, pick])
        left[pick] = False
        left &= table[:, pick] >= min_sq_distance
        costs.append(mass @ distances)
    return picks, costs


@st.composite
def problems(draw):
    n, d = draw(st.integers(1, 14)), draw(st.integers(1, 4))
    # Small integers keep every distance exact, ties included.
    X = draw(hnp.arrays(np.float64, (n, d), elements=st.integers(-3, 3).map(float), unique=False))
    X = np.unique(X, axis=0)
    X = (X + draw(st.sampled_from([0.0, 512.0]))).astype(draw(st.sampled_from(["f4", "f8"])))
    mass = draw(hnp.arrays(np.float64, len(X), elements=st.sampled_from([0.0, 1.0, 2.0, 4.0])))
    candidates = draw(hnp.arrays(bool, len(X)))
    candidates[draw(st.integers(0, len(X) - 1))] = True
    return X, candidates, mass


@pytest.mark.parametrize("pairs", [2**23, 0], ids=["pairs kept", "products alone"])
@settings(deadline=None)
@given(problems(), st.data())
def test_matches_the_definition(pairs, problem, data):
    X, candidates, mass = problem
    n_picks = data.draw(st.integers(1, int(candidates.sum())))
    spacing = data.draw(st.sampled_from([0.0, 2.0, 5.0]))
    rows = data.draw(st.lists(st.integers(0, len(X) - 1), unique=True, max_size=3))
    candidates[rows] = False
    covered = X[rows] if rows else None
    options = {"candidates": candidates, "mass": mass, "covered": covered}
    with (
        mock.patch.multiple(_coverage, _PAIRS=pairs, _PAIRS_SHARE=0.0, _FIRST_BATCH=1),
        mock.patch.multiple(_pairs, _ROWS_OF_WORK=5, N_ROWS=2, N_OTHERS=3),
    ):
        found = cover(X, n_picks, min_sq_distance=spacing, **options)
    if not mass.any() and covered is None:
        assert len(found.indices) <= 1  # the most central; nothing is left to gain
        return
    picks, costs = reference(X, n_picks, candidates, mass, covered, spacing)
    # Of ties that rounding makes, either may be picked: the costs are the same.
    np.testing.assert_allclose(found.costs[: len(costs)], costs, rtol=1e-5, atol=1e-5)
    if X.dtype == np.float64:
        assert len(found.indices) == len(picks)
    else:  # what rounding leaves of a gain of nothing may be picked for, at the same cost
        assert len(found.indices) >= len(picks)
        last = found.costs[max(len(costs) - 1, 0) :]
        np.testing.assert_allclose(last, np.full(len(last), last[:1]), rtol=1e-5, atol=1e-5)


def test_a_gain_out_of_date_is_no_tie():
    # Row 1 had a gain of 2 but for rounding, and has one of 1 after the first pick: row 4 has 2.
    X = np.array([[-1.0, -2.0], [-1.0, 0.0], [0.0, 0.0], [0.0, 1.0], [1.0, -1.0]])
    options = {"candidates": np.arange(5) != 3, "mass": np.array([0.0, 1, 1, 1, 1])}
    with mock.patch.multiple(_coverage, _PAIRS=0, _PAIRS_SHARE=0.0, _FIRST_BATCH=1):
        assert cover(X, 2, covered=X[[3]], **options).costs.tolist() == pytest.approx([3, 1])


@pytest.mark.parametrize(
    ("dtype", "pairs"), [(np.float32, 2**23), (np.float64, 8000), (np.float32, 0)]
)
def test_many_picks_of_real_rows(dtype, pairs):
    X = load_digits(return_X_y=True)[0][:500].astype(dtype)
    mass = np.random.RandomState(0).randint(1, 4, size=len(X)).astype(float)
    everyone = np.ones(len(X), dtype=bool)
    with (
        mock.patch.multiple(_coverage, _PAIRS=pairs, _PAIRS_SHARE=0.0),
        mock.patch.multiple(_pairs, _ROWS_OF_WORK=64, N_ROWS=32, N_OTHERS=100),
    ):
        found = cover(X, 150, candidates=everyone, mass=mass)
    picks, costs = reference(X, 150, everyone, mass)
    np.testing.assert_allclose(found.costs, costs, rtol=1e-6)
    assert found.indices.tolist() == picks
    table = ((X[:, None].astype(float) - X[found.indices].astype(float)) ** 2).sum(axis=-1)
    np.testing.assert_allclose(found.sq_distances, table.min(axis=1), rtol=1e-12)
    np.testing.assert_array_equal(found.nearest, table.argmin(axis=1))


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.integers(1, 4))
def test_no_choice_costs_less_than_the_bound(seed, n_picks):
    rng = np.random.RandomState(seed)
    X = rng.normal(size=(9, 2))
    mass = rng.randint(1, 5, size=9).astype(float)
    found = cover(X, n_picks, candidates=np.ones(9, dtype=bool), mass=mass, n_bounds=5)
    table = ((X[:, None] - X[None]) ** 2).sum(axis=-1)
    for k in range(1, 6):
        best = min(mass @ table[:, list(rows)].min(axis=1) for rows in combinations(range(9), k))
        assert found.least_costs[k - 1] <= best * (1 + 1e-9) + 1e-9
        if k <= n_picks:
            assert found.costs[k - 1] >= best * (1 - 1e-9)


def test_fewer_picks_are_a_prefix():
    X = load_digits(return_X_y=True)[0]
    longest = DiversitySampler(300, strategy="coverage").select(X)
    for n_picks in (1, 2, 50, 299):
        picks = DiversitySampler(n_picks, strategy="coverage").select(X)
        np.testing.assert_array_equal(picks, longest[:n_picks])


def test_starts_with_the_row_nearest_to_the_mean_at_nothing():
    X = load_digits(return_X_y=True)[0]
    sampler = DiversitySampler(20, strategy="coverage").fit(X)
    distances = np.linalg.norm(X - X.mean(axis=0), axis=1)
    assert sampler.selected_indices_[0] == distances.argmin()
    assert sampler.representation_[0] == 0
    assert (np.diff(sampler.representation_) > 0).all()
    assert (sampler.representation_ <= sampler.representation_bound_).all()
    assert sampler.representation_bound_[-1] < 1


def test_rows_that_count_in_the_representation():
    rng = np.random.RandomState(0)
    X = np.concatenate([rng.normal(size=(200, 3)), 50 + rng.normal(size=(8, 3))])
    weights = rng.uniform(size=208)
    # The best single row has no weight.
    weights[np.square(X[:200] - X[:200].mean(axis=0)).sum(axis=1).argsort()[:40]] = 0
    sampler = DiversitySampler(9, strategy="coverage", outlier_fraction=8.1 / 208)
    sampler.fit(X, weights=weights)
    inside, weights = X[:200], weights[:200]
    pairs = np.square(inside[:, None] - inside).sum(axis=-1)
    costs = [weights @ pairs[:, sampler.selected_indices_[:k]].min(axis=1) for k in range(1, 10)]
    best = (weights @ pairs).min()
    np.testing.assert_allclose(sampler.representation_, 1 - np.array(costs) / best)
    assert sampler.representation_[0] < 0
    assert (sampler.representation_ <= sampler.representation_bound_).all()


def test_the_bound_holds_to_the_last_digit():
    for seed in range(30):
        X = np.random.RandomState(seed).normal(size=(40, 3)).astype(np.float32)
        sampler = DiversitySampler(39, strategy="coverage").fit(X)
        assert (sampler.representation_ <= sampler.representation_bound_).all()


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("strategy", ["coverage", "hybrid", "fps", "random", "cluster"])
def test_representation_is_what_each_prefix_takes_away(strategy, metric):
    X = load_digits(return_X_y=True)[0][:300] + 1
    weights = np.random.RandomState(1).uniform(size=300)
    sampler = DiversitySampler(30, strategy=strategy, metric=metric)
    sampler.fit(X, weights=weights, preselected=[4, 9])
    rows = X / np.linalg.norm(X, axis=1, keepdims=True) if metric == "cosine" else X
    table = ((rows[:, None] - rows[None]) ** 2).sum(axis=-1)
    best = (weights @ table).min()
    for rank in range(30):
        prefix = [4, 9, *sampler.selected_indices_[: rank + 1]]
        expected = 1 - weights @ table[:, prefix].min(axis=1) / best
        assert sampler.representation_[rank] == pytest.approx(expected, abs=1e-9)


def test_weights_weigh_what_is_covered():
    X = np.array([[0.0], [1.0], [2.0], [10.0], [20.0]])
    assert DiversitySampler(1, strategy="coverage").select(X).tolist() == [3]
    weights = [1, 1, 1, 0, 9]
    assert DiversitySampler(1, strategy="coverage").select(X, weights=weights).tolist() == [4]
    sampler = DiversitySampler(2, strategy="coverage")
    assert sampler.select(X, preselected=[4]).tolist() == [2, 3]


def test_weights_of_covered_rows_alone_leave_the_farthest():
    X = np.array([[0.0], [1.0], [2.0], [10.0], [20.0]])
    sampler = DiversitySampler(4, strategy="coverage")
    assert sampler.select(X, weights=[1, 0, 0, 0, 0]).tolist() == [0, 4, 3, 2]


def test_goes_on_with_what_a_new_batch_lacks():
    rng = np.random.RandomState(0)
    first, second = rng.normal(size=(60, 3)), rng.normal(size=(60, 3)) + np.array([30, 0, 0])
    sampler = DiversitySampler(5, strategy="coverage").partial_fit(first)
    batch = np.concatenate([first, second])
    sampler.partial_fit(batch, preselected=[3], weights=np.ones(120))
    assert (sampler.selected_indices_[:3] >= 60).all()
    assert 3 not in sampler.selected_indices_
    expected = DiversitySampler(5, strategy="coverage").select(
        np.concatenate([batch, sampler.representatives_[:5]]), preselected=[3, *range(120, 125)]
    )
    assert sampler.selected_indices_.tolist() == expected.tolist()


def test_memory_maps_and_read_only_rows_give_the_same_picks(tmp_path):
    X = np.random.RandomState(0).normal(size=(500, 8)).astype(np.float32)
    expected = DiversitySampler(40, strategy="coverage").select(X)
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    np.testing.assert_array_equal(
        DiversitySampler(40, strategy="coverage").select(mapped), expected
    )


def clouds(n, d=16, n_clouds=12, seed=0):
    rng = np.random.RandomState(seed)
    centers = 3 * rng.normal(size=(n_clouds, d))
    return (centers[rng.randint(n_clouds, size=n)] + rng.normal(size=(n, d))).astype(np.float32)


@pytest.fixture
def grouped():
    """Take small data through what large data goes through."""
    with (
        mock.patch.object(_strategies, "EXACT_ROWS", 1000),
        mock.patch.multiple(_coverage_at_scale, _CELLS=12, _COARSE=600, _FINE=2000),
    ):
        yield


def test_crossing_the_size_at_which_rows_are_grouped_changes_little(grouped):
    X = clouds(1001)
    exact, groups = (DiversitySampler(80, strategy="coverage").fit(rows) for rows in (X[:1000], X))
    assert hasattr(exact, "representation_bound_")
    assert not hasattr(groups, "representation_bound_")
    assert groups.representation_[-1] >= 0.99 * exact.representation_[-1]
    # What is known of rows is exact on both sides.
    assert groups.covering_radius_ == groups.score_samples(X).max()


def test_groups_lose_little_and_are_nested(grouped):
    X = clouds(4000)
    longest = DiversitySampler(120, strategy="coverage").fit(X)
    shortest = DiversitySampler(50, strategy="coverage").select(X)
    np.testing.assert_array_equal(shortest, longest.selected_indices_[:50])
    with mock.patch.object(_strategies, "EXACT_ROWS", 10_000):
        exact = DiversitySampler(120, strategy="coverage").fit(X)
    assert longest.representation_[-1] >= 0.98 * exact.representation_[-1]
    assert len(set(longest.selected_indices_.tolist())) == 120


def test_groups_keep_to_what_can_be_picked(grouped):
    X = clouds(1500)
    X[200:900] = X[200]
    weights = np.where(np.arange(1500) < 1200, 1.0, 0.0)
    preselected = np.arange(0, 1500, 7)
    sampler = DiversitySampler(60, strategy="coverage", min_distance=3.0)
    with mock.patch.object(_strategies, "EXACT_ROWS", 500):
        sampler.fit(X, preselected=preselected, weights=weights)
    picks = sampler.selected_indices_
    assert not np.isin(picks, preselected).any()
    assert (picks < 1200).all()
    assert np.count_nonzero((picks >= 200) & (picks < 900)) <= 1
    assert sampler.pick_distances_.min() >= 3.0
