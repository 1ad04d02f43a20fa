import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from dinov2_sklearn.neighbors import _rows
from dinov2_sklearn.neighbors._rows import first_occurrences, map_blocks, match_rows

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
