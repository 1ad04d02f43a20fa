"""Properties of what is found in one image."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dinov2_sklearn.attention import AttentionMaps
from dinov2_sklearn.attention._maps import reduce_heads


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
