import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from dinov2_sklearn.neighbors import UnitRows, _rows
from dinov2_sklearn.neighbors._rows import (
    first_directions,
    first_occurrences,
    map_blocks,
    match_rows,
)

# Few values, so that equal rows are common.
small_rows = arrays(
    np.float32,
    array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12),
    elements=st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.5, float(np.float32(1e-30))]),
)


@pytest.fixture(params=["hashes", "all hashes equal"])
def hashes(request, monkeypatch):
    if request.param == "all hashes equal":
        monkeypatch.setattr(_rows, "row_keys", lambda rows: np.zeros(len(rows), np.uint64))


def check_first_occurrences(rows):
    is_first, place = first_occurrences(rows)
    seen = {}
    for row, first, at in zip(rows.tolist(), is_first, place, strict=True):
        assert first == (tuple(row) not in seen)
        assert at == seen.setdefault(tuple(row), len(seen))


@given(small_rows, st.sampled_from([np.float32, np.float64]))
def test_first_occurrences_number_the_values_in_the_order_they_come(rows, dtype):
    check_first_occurrences(rows.astype(dtype))


def test_first_occurrences_survives_values_that_share_a_hash(hashes):
    check_first_occurrences(np.float32([[1, 2], [3, 4], [1, 2], [0, 1], [3, 4]]))


@given(small_rows, st.data())
def test_match_rows_finds_exactly_the_known_values(known, data):
    known = known[first_occurrences(known)[0]]
    rows = data.draw(
        arrays(np.float32, (5, known.shape[1]), elements=st.sampled_from([0.0, 1.0, -1.0, 0.5]))
    )
    places = {tuple(row): i for i, row in enumerate(known.tolist())}
    assert match_rows(rows, known).tolist() == [places.get(tuple(row), -1) for row in rows.tolist()]


def test_hashes_of_a_million_like_rows_differ():
    grid = np.float32(np.stack(np.meshgrid(*[np.arange(100.0)] * 3), axis=-1).reshape(-1, 3))
    assert len(np.unique(_rows.row_keys(grid))) == len(grid)


@settings(max_examples=25)
@given(st.integers(1, 600), st.integers(0, 2**32 - 1))
def test_map_blocks_gives_a_row_the_same_result_in_every_company(n_rows, seed):
    draw = np.random.default_rng(seed)
    rows = draw.normal(size=(n_rows, 7)).astype(np.float32)
    matrix = draw.normal(size=(7, 3))
    together = map_blocks(lambda block: block @ matrix, rows, 3)
    row = draw.integers(n_rows)
    alone = map_blocks(lambda block: block @ matrix, rows[row : row + 1], 3)
    np.testing.assert_array_equal(together[row], alone[0])
    np.testing.assert_allclose(together, rows @ matrix, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("d", [1, 2, 7, 40, 400])
def test_directions_are_equal_up_to_rounding(d, dtype):
    rng = np.random.RandomState(d)
    distinct = rng.normal(size=(60, d)).astype(dtype)
    if d > 2:
        distinct[distinct < -1] = 0
    source = rng.permutation(np.repeat(np.arange(len(distinct)), 20))
    factors = np.exp(rng.uniform(-20, 20, size=(len(source), 1))).astype(dtype)
    is_first, place = first_directions(UnitRows(distinct[source] * factors))
    # In one dimension there are two directions.
    value = (distinct > 0).ravel()[source] if d == 1 else source
    _, first, inverse = np.unique(value, return_index=True, return_inverse=True)
    np.testing.assert_array_equal(np.flatnonzero(is_first), np.sort(first))
    np.testing.assert_array_equal(np.flatnonzero(is_first)[place], first[inverse])


def test_directions_that_differ_are_not_equal():
    rng = np.random.RandomState(0)
    row = rng.normal(size=32).astype(np.float32)
    X = row + (1e-6 * rng.normal(size=(500, 32))).astype(np.float32)
    assert first_directions(UnitRows(X))[0].all()
    copies = np.concatenate([X, np.float32(3) * X[::7], np.float32(0.1) * X[::7]])
    source = np.concatenate([np.arange(500), np.arange(500)[::7], np.arange(500)[::7]])
    np.testing.assert_array_equal(first_directions(UnitRows(copies))[1], source)
    one = np.tile(row, (33, 1))
    one[np.arange(32), np.arange(32)] *= np.float32(1 + 1e-6)
    assert first_directions(UnitRows(one))[0].all()
    # Nor is a sparse row another that has its other entries.
    sparse = np.where(rng.uniform(size=(2000, 50)) < 0.05, rng.normal(size=(2000, 50)), 0)
    sparse = np.unique(sparse[(sparse != 0).sum(axis=1) > 1], axis=0)
    assert first_directions(UnitRows(sparse))[0].all()
