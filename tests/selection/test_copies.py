"""A selection that copies cannot fool: equal rows count once, nearly equal ones as one thing."""

import numpy as np
import pytest

from dinov2_sklearn import DiversitySampler

STRATEGIES = ["hybrid", "coverage", "fps", "typical", "cluster"]
OPTIONS = [
    {},
    {"n_clusters": 5},
    {"fps_scope": "cluster"},
    {"n_clusters": 5, "fps_scope": "cluster"},
    {"fps_ratio": 0.0},
    {"metric": "cosine"},
    {"outlier_fraction": 0.01},
]


def burst_among(n_frames, n_others, jitter=0.0, d=16, seed=0):
    """One thing many times, at random places among things that are there once."""
    rng = np.random.RandomState(seed)
    X = rng.normal(size=(n_frames + n_others, d)).astype(np.float32)
    frames = rng.permutation(len(X))[:n_frames]
    X[frames] = X[frames[0]] + (jitter * rng.normal(size=(n_frames, d))).astype(np.float32)
    is_frame = np.zeros(len(X), dtype=bool)
    is_frame[frames] = True
    return X, is_frame


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_equal_rows_are_picked_once(strategy, options):
    X, _ = burst_among(400, 600)
    sampler = DiversitySampler(500, strategy=strategy, **options)
    picks = sampler.fit(X).selected_indices_
    assert len(np.unique(X[picks], axis=0)) == 500
    # The next round gets what is left, and never what equals a row of the first.
    rest = sampler.set_params(n_samples=85).select(X, preselected=picks)
    assert len(np.unique(X[np.concatenate([picks, rest])], axis=0)) == 585
    with pytest.warns(UserWarning, match=r"n_samples=900 is more than the \d+ distinct rows"):
        sampler.set_params(n_samples=900).fit(X)
    assert len(np.unique(X[sampler.selected_indices_], axis=0)) == len(sampler.selected_indices_)


@pytest.mark.parametrize("strategy", ["hybrid", "coverage", "fps", "cluster"])
def test_equal_rows_of_a_later_batch_are_picked_once(strategy):
    X, _ = burst_among(200, 300)
    sampler = DiversitySampler(100, strategy=strategy).partial_fit(X[:250]).partial_fit(X[250:])
    assert len(np.unique(sampler.representatives_, axis=0)) == 200


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("strategy", ["hybrid", "coverage"])
def test_rows_of_an_earlier_direction_wait_for_all_others(strategy, dtype):
    rng = np.random.RandomState(0)
    X = rng.normal(size=(60, 8)).astype(dtype)
    sampler = DiversitySampler(30, strategy=strategy, metric="cosine").fit(X[:30])
    again = (X * rng.uniform(0.1, 9, size=(60, 1))).astype(dtype)
    with pytest.warns(UserWarning, match="n_samples=31 is more than the 30"):
        sampler.set_params(n_samples=31).partial_fit(again)
    assert sorted(sampler.selected_indices_) == list(range(30, 60))


def test_rows_of_one_direction_are_copies_under_cosine():
    rng = np.random.RandomState(0)
    X = np.repeat(rng.normal(size=(30, 4)), 5, axis=0)
    X *= rng.choice([0.25, 1.0, 2.0, 8.0], size=(150, 1))
    for strategy in STRATEGIES:
        picks = DiversitySampler(30, strategy=strategy, metric="cosine").select(X)
        assert sorted((picks // 5).tolist()) == list(range(30))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_rows_of_one_direction_are_copies_up_to_rounding(strategy, dtype):
    D = np.random.RandomState(0).normal(size=(300, 32)).astype(dtype)
    X = np.concatenate([D, 3 * D, 0.1 * D, np.pi * D, D / 7]).astype(dtype)
    sampler = DiversitySampler(350, strategy=strategy, metric="cosine")
    with pytest.warns(UserWarning, match="more than the 300 distinct rows"):
        picks = sampler.select(X)
    assert sorted((picks % 300).tolist()) == list(range(300))


def test_random_draws_copies_like_other_rows():
    X, is_frame = burst_among(400, 600)
    picks = DiversitySampler(500, strategy="random").select(X)
    assert 150 < is_frame[picks].sum() < 250


@pytest.mark.parametrize("options", OPTIONS[:5], ids=str)
@pytest.mark.parametrize("jitter", [1e-6, 1e-4, 1e-3, 1e-2])
@pytest.mark.parametrize("n_frames", [60, 600])
@pytest.mark.parametrize("strategy", ["hybrid", "coverage", "fps", "typical", "cluster"])
def test_a_burst_gets_the_picks_of_one_thing(strategy, n_frames, jitter, options):
    X, is_frame = burst_among(n_frames, 900, jitter)
    picks = DiversitySampler(100, strategy=strategy, **options).select(X)
    # One thing of 901 deserves a ninth of a pick of 100: a whole one, and at most three.
    assert is_frame[picks].sum() <= 3


def test_all_rows_equal_give_one_pick():
    for strategy in STRATEGIES:
        sampler = DiversitySampler(5, strategy=strategy)
        with pytest.warns(UserWarning, match="more than the 1 distinct rows that can be picked"):
            sampler.fit(np.full((40, 3), 0.1, dtype=np.float32))
        assert sampler.selected_indices_.tolist() == [0]
        assert sampler.covering_radius_ == 0
        assert sampler.representation_.tolist() == [1]


def test_copies_weigh_in_what_is_covered():
    X = np.concatenate([np.zeros((20, 1)), [[8.0], [9.0], [10.0]]])
    sampler = DiversitySampler(1, strategy="coverage").fit(X)
    assert sampler.selected_indices_.tolist() == [0]
    assert sampler.coverage_.tolist() == [1]
    assert (sampler.labels_ == 0).all()


def test_a_preselected_row_stands_for_its_copies():
    X = np.array([[0.0], [5.0], [0.0], [9.0], [5.0]])
    for strategy in STRATEGIES:
        picks = DiversitySampler(2, strategy=strategy).select(X, preselected=[2])
        assert sorted(picks.tolist()) == [1, 3]


def test_the_heaviest_of_equal_rows_is_picked():
    X = np.array([[3.0], [0.0], [3.0], [1.0], [1.0], [3.0]])
    weights = np.array([0, 1, 1, 0.5, 1, 1])
    for strategy in STRATEGIES:
        picks = DiversitySampler(3, strategy=strategy).select(X, weights=weights)
        assert sorted(picks.tolist()) == [1, 2, 4]
