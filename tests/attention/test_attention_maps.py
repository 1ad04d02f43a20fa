"""Properties of what is found in one image."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dinov2_sklearn.attention import AttentionMaps
from dinov2_sklearn.attention._query import check_query, query_token, reduce_heads


def _maps(tokens):
    height, width, _ = tokens.shape
    attention = np.zeros((1, 2, height, width), dtype=np.float32)
    image = np.zeros((14 * height, 14 * width, 3), dtype=np.uint8)
    return AttentionMaps(attention, (0,), tokens, image)


@settings(max_examples=30, deadline=None)
@given(height=st.integers(1, 4), width=st.integers(1, 5), seed=st.integers(0, 2**16))
def test_similarity_is_a_cosine(height, width, seed):
    tokens = np.random.default_rng(seed).normal(size=(height, width, 6)).astype(np.float32)
    maps = _maps(tokens)
    every = np.array([[maps.similarity(i, j) for j in range(width)] for i in range(height)])
    assert every.shape == (height, width, height, width)
    assert every.dtype == np.float32
    flat = every.reshape(height * width, -1)
    np.testing.assert_allclose(flat, flat.T, atol=1e-6)
    np.testing.assert_allclose(np.diag(flat), 1, atol=1e-6)
    assert np.abs(flat).max() <= 1
    scale = np.random.default_rng(seed).uniform(0.1, 9, size=(height, width, 1))
    rescaled = _maps((tokens * scale).astype(np.float32))
    np.testing.assert_allclose(rescaled.similarity(0, -1), maps.similarity(0, width - 1), atol=1e-5)


def test_similarity_to_a_token_of_zeros_is_zero():
    tokens = np.ones((2, 2, 3), dtype=np.float32)
    tokens[0, 0] = 0
    similarity = _maps(tokens).similarity(1, 1)
    np.testing.assert_allclose(similarity, [[0, 1], [1, 1]], atol=1e-6)


@pytest.mark.parametrize(("row", "col"), [(2, 0), (0, 3), (-3, 0), (0, -4)])
def test_patch_outside_the_grid(row, col):
    with pytest.raises(IndexError, match=f"row={row}, col={col}: the grid has 2 rows and 3"):
        _maps(np.ones((2, 3, 4), dtype=np.float32)).similarity(row, col)


@pytest.mark.parametrize("place", [(0.0, 1), ("0", 1), (0, None), (True, 0), (np.float64(1), 0)])
def test_patch_that_is_not_given_by_integers(place):
    with pytest.raises(TypeError, match="given by the integers of its row and column, got"):
        _maps(np.ones((2, 3, 4), dtype=np.float32)).similarity(*place)


def test_numpy_integers_are_integers():
    maps = _maps(np.random.default_rng(0).random((2, 3, 4), dtype=np.float32))
    np.testing.assert_array_equal(
        maps.similarity(np.int64(1), np.uint8(2)), maps.similarity(-1, -1)
    )


def test_frozen():
    with pytest.raises(AttributeError):
        _maps(np.ones((2, 3, 4), dtype=np.float32)).layers = (1,)


def test_reduce_heads():
    attention = np.random.default_rng(0).random((2, 3, 4), dtype=np.float32)
    np.testing.assert_array_equal(reduce_heads(attention, -1, "mean", axis=1), attention[:, 2])
    np.testing.assert_array_equal(
        reduce_heads(attention, None, "min", axis=1), attention.min(axis=1)
    )
    with pytest.raises(ValueError, match=r"head=3 is out of range: the model has 3 heads"):
        reduce_heads(attention, 3, "mean", axis=1)
    with pytest.raises(ValueError, match="'mean', 'max', 'min', got 'median'"):
        reduce_heads(attention, None, "median", axis=1)


def test_repr_is_a_line():
    maps = AttentionMaps(
        attention=np.zeros((2, 6, 3, 4), np.float32),
        layers=(0, 11),
        patch_tokens=np.zeros((3, 4, 384), np.float32),
        image=np.zeros((42, 56, 3), np.uint8),
    )
    assert repr(maps) == "AttentionMaps(layers=(0, 11), 6 heads, 3 x 4 patches of 384 features)"


def _with_attention(attention, layers, **options):
    height, width = attention.shape[-2:]
    return AttentionMaps(
        attention=np.asarray(attention, dtype=np.float32),
        layers=layers,
        patch_tokens=np.ones((height, width, 4), dtype=np.float32),
        image=np.zeros((14 * height, 14 * width, 3), dtype=np.uint8),
        **options,
    )


def test_select_goes_by_the_block_and_not_by_its_place():
    attention = np.random.default_rng(0).random((3, 2, 4, 5), dtype=np.float32)
    maps = _with_attention(attention, (7, 2, 11), depth=12)
    for layer, place in [(None, 2), (7, 0), (2, 1), (-1, 2), (-5, 0), (np.int64(-10), 1)]:
        np.testing.assert_array_equal(maps.select(layer, 1), attention[place, 1])
    np.testing.assert_array_equal(maps.select(2, None, "max"), attention[1].max(axis=0))
    for layer in (0, 12, -2, -13):
        with pytest.raises(ValueError, match=f"layer={layer} here.*hold the blocks 7, 2, 11 of 12"):
            maps.select(layer)
    with pytest.raises(TypeError, match="layer must be an int, or None for the last, got 1.5"):
        maps.select(1.5)
    with pytest.raises(TypeError, match="head must be an int"):
        maps.select(7, 0.5)


@settings(max_examples=100, deadline=None)
@given(values=st.lists(st.integers(0, 5), min_size=6, max_size=6), share=st.floats(0.01, 1))
def test_mass_mask_holds_the_share_with_the_fewest_patches(values, share):
    attention = np.array(values, dtype=np.float32).reshape(1, 1, 2, 3) / 64
    mask = _with_attention(attention, (0,)).mass_mask(share)
    weights = np.array(values) / 64
    wanted, chosen = share * weights.sum(), mask.ravel()
    assert weights[chosen].sum() >= wanted * (1 - 1e-12)
    n = int(chosen.sum())
    if n:  # the n - 1 heaviest of all would not do
        assert np.sort(weights)[::-1][: n - 1].sum() < wanted
        assert weights[chosen].min() >= weights[~chosen].max(initial=0)
    else:
        assert weights.sum() == 0


@pytest.mark.parametrize("share", [0, -0.1, 1.01, float("nan"), "0.6", None])
def test_mass_mask_of_no_share(share):
    maps = _with_attention(np.ones((1, 1, 2, 2)), (0,))
    with pytest.raises(ValueError, match="share must be above 0 and at most 1, got"):
        maps.mass_mask(share)


def test_mass_mask_of_a_head():
    attention = np.zeros((2, 2, 2, 2), dtype=np.float32)
    attention[0, 1] = [[0, 0.5], [0, 0]]
    attention[1, 1] = [[0.5, 0], [0, 0]]
    maps = _with_attention(attention, (3, 4), depth=6)
    np.testing.assert_array_equal(maps.mass_mask(0.9, layer=3, head=-1), attention[0, 1] > 0)


def test_rollout_needs_a_model():
    with pytest.raises(RuntimeError, match="not made by PatchAttentionInspector"):
        _with_attention(np.ones((1, 1, 2, 2)), (0,)).rollout()


def test_on_original_without_smoothing_repeats_each_patch():
    grid = np.arange(6.0).reshape(2, 3)
    maps = _with_attention(np.ones((1, 1, 2, 3)), (0,), original_shape=(8, 12))
    np.testing.assert_array_equal(
        maps.on_original(grid, smooth=False), np.kron(grid, np.ones((4, 4)))
    )


def test_on_original_undoes_the_crop():
    # Of 10 x 20 pixels the middle 8 x 12 were seen.
    maps = _with_attention(
        np.ones((1, 1, 2, 3)), (0,), original_shape=(10, 20), window=(4, 1, 16, 9)
    )
    grid = np.arange(6.0).reshape(2, 3)
    found = maps.on_original(grid, smooth=False)
    expected = np.full((10, 20), np.nan)
    expected[1:9, 4:16] = np.kron(grid, np.ones((4, 4)))
    np.testing.assert_array_equal(found, expected)


def test_on_original_drops_what_was_padded():
    # 10 x 4 pixels stood in the middle of a black 10 x 8.
    maps = _with_attention(
        np.ones((1, 1, 1, 4)), (0,), original_shape=(10, 4), window=(-2, 0, 6, 10)
    )
    found = maps.on_original([[1, 2, 3, 4]], smooth=False)
    np.testing.assert_array_equal(found, np.tile([2, 2, 3, 3], (10, 1)))


@settings(max_examples=30, deadline=None)
@given(height=st.integers(1, 5), width=st.integers(1, 5), seed=st.integers(0, 99))
def test_on_original_smooth_agrees_with_pillow(height, width, seed):
    from PIL import Image

    grid = np.random.default_rng(seed).random((height, width), dtype=np.float32)
    maps = _with_attention(
        np.ones((1, 1, height, width)), (0,), original_shape=(height * 9, width * 7)
    )
    expected = Image.fromarray(grid).resize((width * 7, height * 9), Image.Resampling.BILINEAR)
    np.testing.assert_allclose(maps.on_original(grid), expected, atol=1e-5)


def test_on_original_takes_masks_and_colours():
    maps = _with_attention(np.ones((1, 1, 2, 2)), (0,), original_shape=(4, 6))
    colors = np.random.default_rng(0).integers(0, 256, (2, 2, 3), dtype=np.uint8)
    found = maps.on_original(colors, smooth=False)
    assert found.shape == (4, 6, 3)
    np.testing.assert_array_equal(found[::2, ::3], colors)
    assert maps.on_original(maps.mass_mask(1)).min() == 1
    with pytest.raises(ValueError, match=r"has 2 rows and 2 columns of patches, got.*\(3, 2\)"):
        maps.on_original(np.ones((3, 2)))


@pytest.mark.parametrize(
    ("query", "token"),
    [("cls", 0), (0, 1), (1, 2), (-1, 2), ((0, 0), 3), ((1, 2), 8), ([-1, -1], 8)],
)
def test_place_of_a_query(query, token):
    assert query_token(check_query(query), n_registers=2, grid=(2, 3)) == token


@pytest.mark.parametrize("query", ["CLS", 1.0, (1,), (1, 2, 3), (0.5, 1), None, True, b"cls"])
def test_query_that_means_nothing(query):
    with pytest.raises(ValueError, match='query must be "cls", the number of a register'):
        check_query(query)


def test_query_of_what_is_not_there():
    with pytest.raises(IndexError, match="query=2 asks for a register token: the model has 2 "):
        query_token(2, 2, (2, 3))
    with pytest.raises(IndexError, match="the model has no register tokens"):
        query_token(0, 0, (2, 3))
    with pytest.raises(IndexError, match="row=2, col=0: the grid has 2 rows and 3"):
        query_token((2, 0), 0, (2, 3))


def test_repr_names_the_query():
    maps = _with_attention(np.ones((1, 2, 2, 2)), (0,), query=(1, 0))
    assert repr(maps).startswith("AttentionMaps(query=(1, 0), layers=(0,)")
