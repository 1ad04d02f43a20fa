from contextlib import ExitStack, contextmanager
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dinov2_sklearn.neighbors import _geometry
from dinov2_sklearn.neighbors._geometry import UnitRows
from dinov2_sklearn.selection.strategies import _farthest_point, _lazy_distances
from dinov2_sklearn.selection.strategies._farthest_point import farthest_point, most_central


@contextmanager
def sizes(**small):
    """Small sizes take small data through many rounds, pools and blocks; others stay."""
    with ExitStack() as stack:
        for size, value in small.items():
            for module, name, new in {
                "pool": [
                    (_farthest_point, "_POOL_SIZE", value),
                    (_lazy_distances, "_CHUNK", value),
                ],
                "shortlist": [(_farthest_point, "_SHORTLIST_POOLS", value)],
                "finalists": [(_farthest_point, "_FINALISTS", value)],
                "step": [
                    (_lazy_distances, "_FIRST_STEP", value),
                    (_lazy_distances, "_LAST_STEP", 2 * value),
                ],
                "block": [(_geometry, "_BLOCK_SIZE", value), (_geometry, "_FEW_ROWS", 1)],
                "sketch": [(_lazy_distances, "_SKETCH_FROM", value)],
            }[size]:
                stack.enter_context(mock.patch.object(module, name, new))
        yield


some_sizes = st.fixed_dictionaries(
    {
        "pool": st.integers(1, 9),
        "shortlist": st.integers(1, 3),
        "finalists": st.integers(1, 5),
        "step": st.integers(1, 3),
        "block": st.integers(1, 40),
        "sketch": st.integers(1, 4),
    }
) | st.just({})


def assert_greedy(X, picks, *, tolerance, initial=None, weights=None):
    """Replay the picks: each is the farthest row of all, to a relative tolerance."""
    X = np.asarray(X, dtype=np.float64)
    weights = np.ones(len(X)) if weights is None else weights
    assert len(set(picks.tolist())) == len(picks)
    covered = np.full(len(X), np.inf) if initial is None else initial.copy()
    left = np.ones(len(X), dtype=bool)
    for rank, pick in enumerate(picks):
        if rank or initial is not None:
            priority = np.where(left, weights * np.sqrt(covered), -1)
            assert priority[pick] >= (1 - tolerance) * priority.max(), rank
        left[pick] = False
        covered = np.minimum(covered, ((X - X[pick]) ** 2).sum(axis=1))


def reference(X, n_picks, initial=None, candidates=None, weights=None):
    """The definition, one row at a time in float64."""
    X = X.astype(np.float64)
    n = len(X)
    left = list(range(n)) if candidates is None else list(np.flatnonzero(candidates))
    weights = np.ones(n) if weights is None else weights
    covered = np.full(n, np.inf) if initial is None else initial.copy()
    picks, distances = [], []
    for rank in range(n_picks):
        if rank == 0 and initial is None:
            center = X[left].mean(axis=0)
            heaviest = [i for i in left if weights[i] == max(weights[left])]
            pick = min(heaviest, key=lambda i: (((X[i] - center) ** 2).sum(), i))
        else:
            pick = max(left, key=lambda i: (weights[i] * np.sqrt(covered[i]), -i))
        picks.append(pick)
        distances.append(covered[pick])
        left.remove(pick)
        for i in range(n):
            covered[i] = min(covered[i], ((X[i] - X[pick]) ** 2).sum())
    return picks, distances


@st.composite
def problems(draw):
    n, d = draw(st.integers(1, 14)), draw(st.integers(1, 4))
    # Small integers keep every distance exact, ties included.
    X = draw(hnp.arrays(np.float64, (n, d), elements=st.integers(-2, 2).map(float)))
    X = (X + draw(st.sampled_from([0.0, 512.0]))).astype(draw(st.sampled_from(["f4", "f8"])))
    weights = hnp.arrays(np.float64, n, elements=st.sampled_from([0.0, 1.0, 2.0, 4.0]))
    candidates = draw(st.none() | hnp.arrays(bool, n))
    if candidates is not None:
        candidates[draw(st.integers(0, n - 1))] = True
    return X, {"candidates": candidates, "weights": draw(st.none() | weights)}


@settings(deadline=None)
@given(problems(), st.data(), some_sizes)
def test_matches_the_definition(problem, data, small):
    X, options = problem
    squares = st.integers(0, 9).map(float)
    initial = data.draw(hnp.arrays(np.float64, len(X), elements=squares))
    mask = options["candidates"]
    n_picks = data.draw(st.integers(0, len(X) if mask is None else int(mask.sum())))
    with sizes(**small):
        indices, sq_distances = farthest_point(X, n_picks, initial_sq_distances=initial, **options)
    expected, expected_distances = reference(X, n_picks, initial, **options)
    assert indices.tolist() == expected
    assert sq_distances.tolist() == expected_distances


def test_row_whose_bound_is_a_guess_is_searched():
    """A pick of smaller norm, so of a smaller error, bounded it; a farther one is seen first."""
    X = np.array([[2.0], [0], [0], [0], [0], [-1], [-2]], dtype=np.float32)
    with sizes(pool=1, shortlist=1, finalists=1, step=1, block=1, sketch=1):
        indices, sq_distances = farthest_point(X, 7, covered=np.array([0]))
    assert indices[:3].tolist() == [6, 1, 5]
    assert sq_distances.tolist() == [16, 4, 1, 0, 0, 0, 0]


@settings(deadline=None)
@given(problems(), st.data(), some_sizes)
def test_covered_rows_count_as_picks(problem, data, small):
    X, options = problem
    rows = data.draw(st.lists(st.integers(0, len(X) - 1), min_size=1, unique=True))
    difference = X.astype(np.float64)[:, None] - X[rows][None]
    initial = (difference**2).sum(axis=-1).min(axis=1)
    mask = options["candidates"]
    n_picks = len(X) if mask is None else int(mask.sum())
    # Wherever they are said to be near, rightly or not.
    options["near"] = data.draw(
        st.none() | hnp.arrays(np.intp, len(X), elements=st.sampled_from([-1, *rows]))
    )
    with sizes(**small):
        indices, sq_distances = farthest_point(X, n_picks, covered=np.array(rows), **options)
    del options["near"]
    expected = reference(X, n_picks, initial, **options)
    assert (indices.tolist(), sq_distances.tolist()) == expected


@settings(deadline=None)
@given(problems())
def test_starts_from_the_most_central_candidate_of_largest_weight(problem):
    X, options = problem
    mask, weights = options["candidates"], options["weights"]
    eligible = np.ones(len(X), dtype=bool) if mask is None else mask.copy()
    center = X[eligible].astype(np.float64).mean(axis=0)
    first = most_central(X, eligible.copy(), weights)
    if weights is not None:
        eligible &= weights == weights[eligible].max()
    distances = ((X - center) ** 2).sum(axis=1)
    assert eligible[first]
    assert distances[first] == pytest.approx(distances[eligible].min(), abs=1e-9)
    n_picks = len(X) if mask is None else int(mask.sum())
    indices, sq_distances = farthest_point(X, n_picks, **options)
    assert indices[0] == first
    assert sq_distances[0] == np.inf
    # From there on it is the sequence that starts with this row covered.
    initial = ((X - X[first]) ** 2).sum(axis=1).astype(np.float64)
    rest = np.ones(len(X), dtype=bool) if mask is None else mask.copy()
    rest[first] = False
    expected = reference(X, n_picks - 1, initial, rest, weights)
    assert (indices[1:].tolist(), sq_distances[1:].tolist()) == expected


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_matches_the_definition_on_real_numbers(dtype, offset):
    X = (np.random.RandomState(3).normal(size=(150, 40)) + offset).astype(dtype)
    indices, sq_distances = farthest_point(X, 150)
    expected, expected_distances = reference(X, 150)
    assert indices.tolist() == expected
    np.testing.assert_allclose(sq_distances, expected_distances, rtol=1e-12)


@st.composite
def hard_problems(draw):
    """Rows whose distances cancel in products: near-ties, offsets, outliers, tiny scales."""
    rng = np.random.RandomState(draw(st.integers(0, 2**32 - 1)))
    n, d = draw(st.integers(2, 60)), draw(st.integers(1, 30))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    kind = draw(st.sampled_from(["noise", "near-ties", "near-duplicates", "outlier", "signs"]))
    X = rng.normal(size=(n, d))
    if kind == "near-ties":
        X /= np.linalg.norm(X, axis=1, keepdims=True)
        X = np.concatenate([X, -X]) * (1 + 1e-7 * rng.normal(size=(2 * n, 1)))
    if kind == "near-duplicates":
        X = X[rng.randint(n, size=3 * n)] + 1e-6 * rng.normal(size=(3 * n, d))
    if kind == "outlier":
        X[rng.randint(n)] *= 1e4
    if kind == "signs":
        X = np.sign(X)
    X = (X + draw(st.sampled_from([0.0, 1.0, 1e4]))) * draw(st.sampled_from([1.0, 1e-25, 1e9]))
    return X.astype(dtype)


@settings(deadline=None, max_examples=60)
@given(hard_problems(), some_sizes, st.booleans())
def test_every_pick_is_the_farthest_in_float64(X, small, weighted):
    weights = np.random.RandomState(0).choice([0.5, 1.0, 1.0 + 1e-9], len(X)) if weighted else None
    with sizes(**small):
        indices, sq_distances = farthest_point(X, len(X), weights=weights)
    # What a float64 sum of d squares may lose.
    assert_greedy(X, indices, tolerance=4e-16 * (X.shape[1] + 4), weights=weights)
    double = X.astype(np.float64)
    for rank in range(1, len(X)):
        expected = ((double[indices[:rank]] - double[indices[rank]]) ** 2).sum(axis=1).min()
        assert sq_distances[rank] == pytest.approx(expected, rel=1e-13, abs=0)


@settings(deadline=None, max_examples=30)
@given(hard_problems(), some_sizes)
def test_unit_rows_are_picked_by_their_float64_directions(X, small):
    X = X[np.abs(X).max(axis=1) > 0]
    lengths = np.float64(np.abs(X).max(axis=1, keepdims=True))
    unit = X / lengths
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    with sizes(**small):
        picks = farthest_point(UnitRows(X), len(X))[0]
    # Rows are rounded to their own precision, which moves each by up to eps: distances that are
    # larger than that by far must come out in order.
    covered = np.full(len(X), np.inf)
    rounding = 4 * np.finfo(X.dtype).eps
    for rank, pick in enumerate(picks):
        if rank:
            left = np.setdiff1d(np.arange(len(X)), picks[:rank])
            assert np.sqrt(covered[pick]) >= np.sqrt(covered[left].max()) - rounding
        covered = np.minimum(covered, ((unit - unit[pick]) ** 2).sum(axis=1))


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [("clusters", np.float32), ("noise", np.float64), ("few values", np.float32)],
)
def test_many_rounds_on_many_rows(kind, dtype):
    rng = np.random.RandomState(0)
    X = rng.normal(size=(10_000, 16))
    if kind == "clusters":
        X = 0.3 * X + rng.normal(size=(50, 16))[rng.randint(50, size=len(X))]
    if kind == "few values":
        X = (X > 1).astype(float)
    X = X.astype(dtype)
    picks, sq_distances = farthest_point(X, 400)
    assert_greedy(X, picks, tolerance=1e-14)
    with sizes(pool=100, finalists=10, step=7, sketch=5):
        again = farthest_point(X, 400)
    np.testing.assert_array_equal(picks, again[0])
    np.testing.assert_array_equal(sq_distances, again[1])


def test_wide_rows_and_many_picks():
    rng = np.random.RandomState(0)
    X = (
        0.5 * rng.normal(size=(3000, 300))
        + rng.normal(size=(400, 300))[rng.randint(400, size=3000)]
    )
    X = X.astype(np.float32)
    picks = farthest_point(X, 600)[0]
    assert_greedy(X, picks, tolerance=1e-13)
    candidates = np.ones(len(X), dtype=bool)
    candidates[picks[:400]] = False
    for near in (None, rng.choice(picks[:400], len(X)), np.where(X[:, 0] > 0, picks[0], -1)):
        rest = farthest_point(X, 200, covered=picks[:400], near=near, candidates=candidates)[0]
        np.testing.assert_array_equal(rest, picks[400:])


def test_read_only_memory_maps_and_slices_give_the_same_picks(tmp_path):
    X = np.random.RandomState(0).normal(size=(3000, 8)).astype(np.float32)
    expected = farthest_point(X, 50)[0]
    np.save(tmp_path / "X.npy", X)
    wide = np.repeat(X, 2, axis=1)
    for same in (
        np.load(tmp_path / "X.npy", mmap_mode="r"),
        np.asfortranarray(X),
        wide[:, ::2],
    ):
        same.flags.writeable = False
        np.testing.assert_array_equal(farthest_point(same, 50)[0], expected)


def test_ties_go_to_the_lowest_index():
    square = np.array([[1.0, 1], [1, -1], [-1, -1], [-1, 1], [0, 0]])
    assert farthest_point(square, 5)[0].tolist() == [4, 0, 1, 2, 3]
    assert farthest_point(square[:4], 4)[0].tolist() == [0, 2, 1, 3]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("value", [0.0, 0.1, 1e6])
def test_constant_data_is_picked_in_order(dtype, value):
    X = np.full((30, 7), value, dtype=dtype)
    indices, sq_distances = farthest_point(X, 30)
    assert indices.tolist() == list(range(30))
    assert sq_distances[0] == np.inf
    assert (sq_distances[1:] == 0).all()


def test_duplicates_come_after_all_distinct_rows():
    rng = np.random.RandomState(4)
    distinct = (rng.normal(size=(20, 16)) * 1e-3 + 50).astype(np.float32)
    X = np.repeat(distinct, 3, axis=0)
    indices, sq_distances = farthest_point(X, 60)
    assert len(set(indices.tolist())) == 60
    assert len(np.unique(X[indices[:20]], axis=0)) == 20
    assert (sq_distances[:20] > 0).all()
    assert (sq_distances[20:] == 0).all()
    assert (np.diff(indices[20:]) > 0).all()


@pytest.mark.parametrize("weighted", [False, True])
def test_fewer_picks_are_a_prefix(weighted):
    rng = np.random.RandomState(5)
    X = rng.normal(size=(80, 6)).astype(np.float32)
    weights = rng.uniform(size=80) if weighted else None
    longest = farthest_point(X, 80, weights=weights)[0]
    assert sorted(longest.tolist()) == list(range(80))
    for n_picks in (1, 2, 17, 79):
        assert (farthest_point(X, n_picks, weights=weights)[0] == longest[:n_picks]).all()


def test_distances_never_grow():
    sq_distances = farthest_point(np.random.RandomState(6).normal(size=(200, 5)), 200)[1]
    assert (np.diff(sq_distances[1:]) <= 0).all()


def test_weightless_rows_come_last():
    X = np.random.RandomState(7).normal(size=(30, 3))
    weights = np.where(np.arange(30) % 3 == 0, 0.0, 1e-170)
    indices = farthest_point(X, 30, weights=weights)[0]
    assert (weights[indices[:20]] > 0).all()


def test_more_picks_than_candidates_is_an_error():
    with pytest.raises(ValueError, match="Cannot pick 3 of 2 candidates"):
        farthest_point(np.ones((4, 1)), 3, candidates=np.array([True, False, True, False]))


def test_arguments_are_left_alone():
    X = np.random.RandomState(8).normal(size=(10, 2))
    initial, candidates = np.full(10, 4.0), np.arange(10) > 2
    copies = X.copy(), initial.copy(), candidates.copy()
    farthest_point(X, 5, initial_sq_distances=initial, candidates=candidates)
    for array, copy in zip((X, initial, candidates), copies, strict=True):
        np.testing.assert_array_equal(array, copy)
