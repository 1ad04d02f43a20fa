import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits, make_blobs

from dinov2_sklearn.neighbors import nearest
from dinov2_sklearn.selection.strategies import STRATEGIES, Pool, _typical

CONFIGURATIONS = {
    "random": ("random", {}),
    "fps": ("fps", {}),
    "cluster": ("cluster", {}),
    "cluster, 4": ("cluster", {"n_clusters": 4}),
    "coverage": ("coverage", {}),
    "hybrid": ("hybrid", {}),
    "hybrid, in clusters": ("hybrid", {"fps_scope": "cluster"}),
    "hybrid, in 4 clusters": ("hybrid", {"n_clusters": 4, "fps_scope": "cluster"}),
    "hybrid, far": ("hybrid", {"fps_ratio": 1.0}),
    "hybrid, far in clusters": ("hybrid", {"fps_ratio": 1.0, "fps_scope": "cluster"}),
    "typical": ("typical", {}),
    "typical, two levels": ("typical", {"n_clusters": 4}),
    "typical, two levels, in clusters": ("typical", {"n_clusters": 4, "fps_scope": "cluster"}),
    "typical alone": ("typical", {"fps_ratio": 0.0}),
}
configurations = pytest.mark.parametrize("name", CONFIGURATIONS)


def make_pool(X, seed=0, *, preselected=(), excluded=(), weights=None, **options):
    candidates = np.ones(len(X), dtype=bool)
    candidates[list(preselected)] = False
    candidates[list(excluded)] = False
    mass = np.ones(len(X)) if weights is None else weights.copy()
    mass[list(excluded)] = 0
    return Pool(
        X=X,
        candidates=candidates,
        mass=mass,
        stand_in=np.arange(len(X)),
        preselected=np.array(preselected, dtype=np.intp),
        weights=weights,
        random_state=np.random.RandomState(seed),
        **options,
    )


def run(name, X, n_picks, seed=0, **options):
    strategy, fixed = CONFIGURATIONS[name]
    return STRATEGIES[strategy](make_pool(X, seed, **{**fixed, **options}), n_picks)


@st.composite
def inputs(draw):
    n, d = draw(st.integers(1, 25)), draw(st.integers(1, 3))
    rng = np.random.RandomState(draw(st.integers(0, 1000)))
    kind = draw(st.sampled_from(["distinct", "duplicates", "constant"]))
    X = rng.normal(size=(n, d)).astype(draw(st.sampled_from(["f4", "f8"])))
    if kind == "duplicates":
        X = X[rng.randint(max(1, n // 4), size=n)]
    if kind == "constant":
        X[:] = X[0]
    preselected = rng.permutation(n)[: draw(st.integers(0, n - 1))]
    rest = np.setdiff1d(np.arange(n), preselected)
    excluded = rng.permutation(rest)[: draw(st.integers(0, len(rest) - 1))]
    candidates = np.setdiff1d(rest, excluded)
    n_picks = draw(st.integers(1, len(candidates)))
    weights = rng.randint(3, size=n).astype(float) if draw(st.booleans()) else None
    if weights is not None:
        weights[candidates[0]] = 1.0
    return X, n_picks, {"preselected": preselected, "excluded": excluded, "weights": weights}


@configurations
@settings(max_examples=40, deadline=None)
@given(inputs())
def test_returns_as_many_distinct_candidates_as_asked(name, data):
    X, n_picks, options = data
    picks = run(name, X, n_picks, **options)
    pool = make_pool(X, **options)
    assert len(picks.indices) == n_picks
    assert len(set(picks.indices.tolist())) == n_picks
    assert pool.candidates[picks.indices].all()
    if options["weights"] is not None and name == "random":
        with_weight = np.count_nonzero(options["weights"][pool.candidates])
        heavy = options["weights"][picks.indices] > 0
        assert heavy[:with_weight].all()


@configurations
def test_labels_cover_every_row_where_there_are_clusters(name):
    X = make_blobs(120, centers=4, random_state=0)[0]
    labels = run(name, X, 12, preselected=[3], excluded=[5, 6]).labels
    strategy, options = CONFIGURATIONS[name]
    if strategy in ("cluster", "typical") or options.get("fps_scope") == "cluster":
        assert labels.shape == (120,)
        assert np.unique(labels).tolist() == list(range(labels.max() + 1))
        if "n_clusters" in options:
            assert labels.max() + 1 == 4
    else:
        assert labels is None


@configurations
def test_is_deterministic_for_a_seed(name):
    X = np.random.RandomState(0).normal(size=(150, 5)).astype(np.float32)
    first, second = (run(name, X, 20, seed=3).indices for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("name", ["random", "fps", "coverage"])
@pytest.mark.parametrize("weighted", [False, True])
def test_fewer_picks_are_a_prefix(name, weighted):
    rng = np.random.RandomState(0)
    X = rng.normal(size=(90, 4))
    options = {"weights": rng.uniform(size=90) if weighted else None, "preselected": [4, 8]}
    longest = run(name, X, 80, **options).indices
    for n_picks in (1, 7, 50):
        assert (run(name, X, n_picks, **options).indices == longest[:n_picks]).all()


def test_random_draws_follow_the_weights():
    weights = np.array([0.0, 1.0, 2.0, 5.0])
    first = [
        run("random", np.zeros((4, 1)), 1, seed, weights=weights).indices[0] for seed in range(4000)
    ]
    share = np.bincount(first, minlength=4) / 4000
    # Four standard deviations of the largest share.
    np.testing.assert_allclose(share, weights / 8, atol=4 * np.sqrt(0.25 / 4000))


def test_cluster_prefixes_hold_the_clusters_in_proportion():
    X, y = make_blobs([60, 30, 10], centers=[[0, 0], [50, 0], [0, 50]], random_state=0)
    picks = run("cluster", X, 20, n_clusters=3).indices
    assert np.bincount(y[picks]).tolist() == [12, 6, 2]
    assert np.bincount(y[picks[:10]]).tolist() == [6, 3, 1]


@pytest.mark.parametrize("name", ["cluster", "typical alone"])
def test_weights_shift_the_quotas(name):
    X, y = make_blobs([50, 50], centers=[[0, 0], [50, 0]], random_state=0)
    weights = np.where(y == 0, 3.0, 1.0)
    picks = run(name, X, 8, n_clusters=2, weights=weights).indices
    first = np.count_nonzero(y[picks] == 0)
    # The typical ones go by spread as well, which is nearly the same for both.
    assert abs(first - 6) <= (name != "cluster")


@pytest.mark.parametrize("n_clusters", [None, 3])
def test_labelled_rows_count_towards_their_cluster(n_clusters):
    X, y = make_blobs([40, 40, 40], centers=[[0, 0], [90, 0], [0, 90]], random_state=0)
    labelled = np.flatnonzero(y == 0)[:4]
    options = {"preselected": labelled, "n_clusters": n_clusters}
    picks = run("typical alone", X, 8, **options).indices
    counts = np.bincount(y[picks], minlength=3)
    assert counts[0] < counts[1]
    assert counts[0] < counts[2]


def test_typical_rows_sit_in_the_middle_of_their_group():
    X, y = make_blobs(300, centers=[[0, 0], [90, 0], [0, 90], [90, 90]], random_state=0)
    picks = run("typical alone", X, 4).indices
    assert sorted(y[picks].tolist()) == [0, 1, 2, 3]
    for pick in picks:
        members = X[y == y[pick]]
        distance = np.linalg.norm(members - members.mean(axis=0), axis=1)
        # Not equal to the last bit: a norm's order of summation is that of the rows beside it.
        assert np.linalg.norm(X[pick] - members.mean(axis=0)) <= distance.min() * (1 + 1e-12)


def test_typical_rows_skip_groups_that_are_labelled():
    X, y = make_blobs(300, centers=[[0, 0], [90, 0], [0, 90], [90, 90]], random_state=0)
    labelled = [np.flatnonzero(y == 1)[0], np.flatnonzero(y == 3)[0]]
    picks = run("typical alone", X, 2, preselected=labelled).indices
    assert sorted(y[picks].tolist()) == [0, 2]


def test_larger_groups_come_first():
    sizes = [10, 80, 40]
    X, y = make_blobs(sizes, centers=[[0, 0], [90, 0], [0, 90]], random_state=0)
    assert y[run("typical alone", X, 3).indices].tolist() == [1, 2, 0]


@pytest.mark.parametrize("name", ["hybrid", "typical"])
def test_far_picks_are_farthest_points_given_the_others(name):
    X = np.random.RandomState(0).normal(size=(200, 3))
    picks = run(name, X, 20, fps_ratio=0.3).indices
    for rank in range(14, 20):
        sq_distances = nearest(X, X[picks[:rank]])[1]
        assert sq_distances[picks[rank]] == sq_distances.max()


@pytest.mark.parametrize("name", ["hybrid, in 4 clusters", "typical, two levels, in clusters"])
def test_far_picks_in_clusters_go_where_the_spread_is(name):
    X, y = make_blobs(
        [60, 60, 60], centers=[[0, 0], [90, 0], [0, 90]], cluster_std=[2, 1, 1e-3], random_state=0
    )
    picks = run(name, X, 24, n_clusters=3, fps_ratio=0.5).indices
    counts = np.bincount(y[picks[12:]], minlength=3)
    # Of 12: in proportion to 4, 1 and next to nothing.
    assert abs(counts[0] - 9.6) < 1.5
    assert counts[2] <= 1


def test_hybrid_of_far_picks_alone_is_fps():
    X = np.random.RandomState(0).normal(size=(100, 3))
    far = run("hybrid, far", X, 30, preselected=[7]).indices
    assert (far == run("fps", X, 30, preselected=[7]).indices).all()


def test_rows_left_out_do_not_shape_the_clusters():
    X = np.random.RandomState(0).normal(size=(60, 2))
    with_junk = np.concatenate([X, [[1e6, 0.0], [0.0, 1e6]]])
    picks = run("hybrid", with_junk, 10, excluded=[60, 61])
    np.testing.assert_array_equal(picks.indices, run("hybrid", X, 10).indices)
    assert picks.nearest.shape == (62,)
    assert np.isnan(picks.sq_distances[60:]).all()


def test_order_of_typical_rows_is_greedy():
    rng = np.random.RandomState(0)
    X, mass = rng.normal(size=(40, 3)), rng.randint(1, 9, size=40).astype(float)
    picks = np.arange(40)
    order = _typical.representative_order(make_pool(X), picks, mass)
    sq_distances = ((X[:, None] - X[None]) ** 2).sum(axis=-1)
    assert sorted(order.tolist()) == list(range(40))
    for rank in range(1, 40):
        costs = [
            mass @ sq_distances[:, [*order[: rank - 1], other]].min(axis=1)
            for other in order[rank - 1 :]
        ]
        assert costs[0] == pytest.approx(min(costs), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("limit", [0, 60 * 1797])
def test_large_data_goes_through_two_levels(monkeypatch, limit):
    X, y = load_digits(return_X_y=True)
    monkeypatch.setattr(_typical, "FLAT_LIMIT", limit)
    picks = run("typical", X / 16, 60)
    assert picks.labels.max() + 1 == (7 if limit == 0 else 51)
    assert len(set(picks.indices.tolist())) == 60
    assert len(set(y[picks.indices[:30]].tolist())) == 10
