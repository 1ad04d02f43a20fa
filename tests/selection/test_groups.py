"""Quotas of groups, and the distance that picks keep."""

import warnings

import numpy as np
import pytest

from dinov2_sklearn import DiversitySampler

STRATEGIES = ["hybrid", "coverage", "fps", "typical", "cluster", "random"]


def first_rows(X, n_samples, *, preselected, weights, random_state):
    return [row for row in range(len(X)) if row not in preselected][:n_samples]


def cameras(sizes=(500, 200, 100, 50, 20, 10, 5, 5), d=8, seed=0):
    rng = np.random.RandomState(seed)
    camera = np.repeat(np.arange(len(sizes)), sizes)
    X = rng.normal(size=(len(camera), d)) + 2 * rng.normal(size=(len(sizes), d))[camera]
    return X.astype(np.float32), camera


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("strategy", [*STRATEGIES, first_rows])
def test_groups_get_their_proportion(strategy, metric):
    X, camera = cameras()
    names = np.array([f"camera {c}" for c in camera], dtype=object)
    sampler = DiversitySampler(60, strategy=strategy, metric=metric).fit(X, groups=names)
    picks = sampler.selected_indices_
    assert len(set(picks.tolist())) == 60
    due = 60 * np.bincount(camera) / len(camera)
    assert (np.abs(np.bincount(camera[picks], minlength=8) - due) < 1).all()
    np.testing.assert_array_equal(sampler.select(X, groups=names), picks)
    # Whoever stops early has each group in proportion as well.
    assert np.abs(np.bincount(camera[picks[:30]], minlength=8) - due / 2).max() <= 2


def test_small_groups_get_a_pick_now_and_then():
    X, camera = cameras()
    counts = np.array(
        [
            np.bincount(
                camera[
                    DiversitySampler(20, strategy="random", random_state=seed).select(
                        X, groups=camera
                    )
                ],
                minlength=8,
            )
            for seed in range(300)
        ]
    )
    due = 20 * np.bincount(camera) / len(camera)
    np.testing.assert_allclose(counts.mean(axis=0), due, atol=0.15)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_equal_balance_passes_on_what_small_groups_lack(strategy):
    X, camera = cameras()
    sampler = DiversitySampler(80, strategy=strategy, group_balance="equal")
    counts = np.bincount(camera[sampler.select(X, groups=camera)])
    assert counts[6:].tolist() == [5, 5]
    assert set(counts[:5].tolist()) | {10} <= {10, 11, 12, 13}
    assert counts.sum() == 80
    # Labelled rows count.
    labelled = np.flatnonzero(camera == 0)[:10]
    more = camera[sampler.select(X, groups=camera, preselected=labelled)]
    assert np.bincount(more, minlength=8)[0] <= 5


def test_a_group_is_picked_away_from_what_others_have():
    X = np.array([[0.0], [0.1], [9.0], [0.0], [9.1], [5.0]])
    sampler = DiversitySampler(2, strategy="fps", group_balance="equal")
    picks = sampler.select(X, groups=["a", "a", "a", "b", "b", "b"])
    assert abs(X[picks[0]] - X[picks[1]]) > 4


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (["a"] * 79, r"one value a row of X \(80\). Got an array of shape \(79,\)"),
        ([["a"]] * 80, "groups must be 1-D"),
        (["a"] * 40 + [None] + ["b"] * 39, "no value in 1 of 80 rows, first in row 40"),
        ([1.0] * 70 + [float("nan")] * 10, "no value in 10 of 80 rows, first in row 70"),
    ],
)
def test_impossible_groups(groups, message):
    X = np.random.RandomState(0).normal(size=(80, 3))
    with pytest.raises(ValueError, match=message):
        DiversitySampler(5).fit(X, groups=groups)


def test_more_groups_than_picks_is_said():
    X = np.random.RandomState(0).normal(size=(80, 3))
    groups = np.arange(80) // 4
    assert len(DiversitySampler(5).select(X, groups=groups)) == 5
    sampler = DiversitySampler(5, group_balance="equal")
    with pytest.warns(UserWarning, match="5 picks are fewer than the 20 groups"):
        picks = sampler.select(X, groups=groups)
    assert len(set(groups[picks].tolist())) == 5


@pytest.mark.parametrize("strategy", STRATEGIES[:-1])
def test_groups_share_what_is_equal(strategy):
    rng = np.random.RandomState(0)
    A = rng.normal(size=(50, 4))
    X = np.concatenate([A, A[:45], rng.normal(size=(5, 4))])
    groups = np.repeat(["a", "b"], 50)
    sampler = DiversitySampler(20, strategy=strategy, group_balance="equal")
    picks = sampler.select(X, groups=groups)
    assert np.unique(X[picks], axis=0, return_counts=True)[1].tolist() == [1] * 20
    assert (picks < 50).sum() == 10
    # All but 5 of each group are shared: both can have 27 or 28 of the 55.
    assert (sampler.set_params(n_samples=54).select(X, groups=groups) < 50).sum() == 27
    # Equal rows without weight give nothing to their group.
    weights = np.r_[np.ones(50), np.zeros(45), np.ones(5)]
    sampler.set_params(n_samples=20)
    with pytest.warns(UserWarning, match="1 of the 2 groups get fewer picks than they are due"):
        picks = sampler.select(X, groups=groups, weights=weights)
    assert (weights[picks] > 0).all()
    assert (picks < 50).sum() == 15


def test_three_groups_share_what_pairs_of_them_have():
    X = np.arange(20.0)[:, None]
    X, groups = np.concatenate([X, X]), np.r_[[0] * 10, [1] * 10, [1] * 10, [2] * 10]
    sampler = DiversitySampler(18, strategy="coverage", group_balance="equal")
    assert np.bincount(groups[sampler.select(X, groups=groups)]).tolist() == [6, 6, 6]


def test_a_group_without_candidates_is_said():
    X = np.random.RandomState(0).normal(size=(80, 3))
    X[60:] = X[:20]
    groups = np.repeat(["a", "b", "copies"], [30, 30, 20])
    weights = np.repeat([1.0, 0.0], [60, 20])
    with pytest.warns(UserWarning, match="1 of the 3 groups have no row that can be picked"):
        picks = DiversitySampler(12).select(X, groups=groups, weights=weights)
    assert len(picks) == 12
    assert (picks < 60).all()
    # One that is labelled already has had its share.
    labelled = np.arange(30)
    assert len(DiversitySampler(12).select(X[:60], groups=groups[:60], preselected=labelled)) == 12


def test_groups_of_a_later_batch():
    X, camera = cameras()
    sampler = DiversitySampler(16, strategy="coverage", group_balance="equal")
    sampler.partial_fit(X, groups=camera).partial_fit(X + 1, groups=camera)
    assert np.bincount(camera[sampler.selected_indices_]).tolist() == [2] * 8


@pytest.mark.parametrize("strategy", ["cluster", "hybrid"])
def test_balancing_weights_reach_the_largest_group(strategy):
    X, camera = cameras((5000, 2000, 1000, 500, 200, 100, 50, 20, 10, 10), d=32)
    weights = 1 / np.bincount(camera)[camera]
    if strategy == "cluster":
        for seed in range(8):
            sampler = DiversitySampler(100, strategy=strategy, random_state=seed)
            counts = np.bincount(camera[sampler.select(X, weights=weights)], minlength=10)
            assert (np.abs(counts - 10) <= 3).all(), (seed, counts)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("options", [{}, {"preselected": [3, 9]}, {"weights": np.arange(1.0, 201)}])
@pytest.mark.parametrize("strategy", [*STRATEGIES, first_rows])
def test_picks_keep_their_distance(strategy, options, metric):
    X = np.random.RandomState(0).normal(size=(200, 3)) + 1
    distance = 0.8 if metric == "euclidean" else 0.05
    sampler = DiversitySampler(25, strategy=strategy, min_distance=distance, metric=metric)
    if strategy is first_rows:
        with pytest.warns(UserWarning, match=r"leaves \d+ of 25 picks"):
            sampler.fit(X, **options)
    else:
        sampler.fit(X, **options)
        assert len(sampler.selected_indices_) == 25
    assert sampler.pick_distances_.min() >= distance
    everyone = sampler.set_params(n_samples=200 - len(options.get("preselected", [])))
    with pytest.warns(UserWarning, match=rf"min_distance={distance} leaves \d+ of"):
        everyone.fit(X, **options)
    assert sampler.pick_distances_.min() >= distance
    if not callable(strategy):
        # No other row is far enough from all of them.
        assert sampler.covering_radius_ < distance


def test_distance_holds_between_groups_too():
    X, camera = cameras()
    for strategy in STRATEGIES:
        sampler = DiversitySampler(40, strategy=strategy, min_distance=2.5)
        sampler.fit(X, groups=camera)
        assert sampler.pick_distances_.min() >= 2.5


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_other_groups_give_what_one_cannot_at_a_distance(strategy):
    # Group 1 is near what group 0 has; whichever goes first, rows far enough are left.
    X = np.array([0.0, 1, 2, 5, 6, 7, 7, 7])[:, None]
    sampler = DiversitySampler(4, strategy=strategy, min_distance=2.0)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        sampler.fit(X, groups=[0, 1] * 4)
    n_picks = len(sampler.selected_indices_)
    assert n_picks >= 3
    assert ["leaves 3 of 4 picks" in str(warning.message) for warning in said] == [True] * (
        4 - n_picks
    )
    assert sampler.covering_radius_ < 2


@pytest.mark.parametrize("options", [{}, {"weights": np.arange(1.0, 201)}, {"preselected": [3]}])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_no_group_and_no_cluster_stops_early(strategy, options):
    X = np.random.RandomState(0).normal(size=(200, 3))
    sampler = DiversitySampler(190, strategy=strategy, min_distance=0.8, fps_scope="cluster")
    for groups in (None, np.arange(200) % 7, np.arange(200) // 40):
        with pytest.warns(UserWarning, match=r"leaves \d+ of 190 picks"):
            sampler.fit(X, groups=groups, **options)
        assert sampler.pick_distances_.min() >= 0.8
        assert sampler.covering_radius_ < 0.8


def test_distance_beyond_the_data_leaves_one_pick():
    X = np.random.RandomState(0).normal(size=(50, 3))
    for strategy in STRATEGIES:
        sampler = DiversitySampler(5, strategy=strategy, min_distance=1e3)
        with pytest.warns(UserWarning, match="min_distance=1000.0 leaves 1 of 5 picks"):
            sampler.fit(X)
        assert len(sampler.selected_indices_) == 1


def test_negative_distances_are_errors():
    with pytest.raises(ValueError, match="'min_distance' parameter of DiversitySampler must be"):
        DiversitySampler(5, min_distance=-1).fit(np.eye(9))
