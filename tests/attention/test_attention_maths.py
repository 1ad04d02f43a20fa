"""Recomputed attention agrees with what the model says of itself when it runs eagerly."""

import threading
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dinov2_sklearn.attention._maths import (
    attention_and_tokens,
    attention_rows,
    queries_and_keys,
    rollout,
)
from dinov2_sklearn.backbone import find_checkpoint
from dinov2_sklearn.backbone._forward import forward_tokens
from dinov2_sklearn.backbone._loading import load_backbone

MODELS = pytest.mark.parametrize("folder", ["tiny_dinov2", "tiny_registers"], indirect=True)
SIZES = pytest.mark.parametrize("size", [(56, 56), (42, 84), (70, 28)])


@pytest.fixture
def folder(request):
    return request.getfixturevalue(request.param)


def _backbone(folder, dtype=torch.float32):
    return load_backbone(find_checkpoint(folder), torch.device("cpu"), dtype)


def _pixels(size, batch=3, seed=0):
    return torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(seed))


@lru_cache
def _eager_model(folder):
    from transformers import AutoModel

    return AutoModel.from_pretrained(folder, attn_implementation="eager").eval()


def _eager(folder, pixels):
    """Attention (batch, layers, heads, tokens, tokens), and the final tokens."""
    with torch.inference_mode():
        out = _eager_model(folder)(pixels, output_attentions=True)
    return torch.stack(out.attentions, dim=1), out.last_hidden_state


@MODELS
@SIZES
@pytest.mark.parametrize("query", [0, 1, 2, 5, -1])
def test_equals_eager_attention_of_all_layers_and_heads(folder, size, query):
    backbone, pixels = _backbone(folder), _pixels(size)
    depth, skip = backbone.checkpoint.depth, 1 + backbone.checkpoint.n_registers
    attention, tokens = attention_and_tokens(backbone, pixels, range(depth), depth - 1, query)
    everything, last = _eager(folder, pixels)
    expected = everything[:, :, :, query]
    grid = size[0] // 14, size[1] // 14
    assert attention.shape == (3, depth, 2, *grid)
    torch.testing.assert_close(attention.flatten(3), expected[..., skip:], atol=1e-5, rtol=0)
    torch.testing.assert_close(tokens.flatten(1, 2), last[:, skip:], atol=1e-4, rtol=1e-4)


@MODELS
def test_chosen_blocks_come_in_the_order_given(folder):
    backbone, pixels = _backbone(folder), _pixels((56, 56))
    everything, _ = attention_and_tokens(backbone, pixels, range(3), 0)
    some, _ = attention_and_tokens(backbone, pixels, [2, 0, 2], 0)
    torch.testing.assert_close(some, everything[:, [2, 0, 2]], atol=1e-6, rtol=0)


def test_tokens_of_a_block_before_or_after_those_of_the_attention(tiny_dinov2):
    backbone, pixels = _backbone(tiny_dinov2), _pixels((56, 56))
    tokens = forward_tokens(backbone, pixels, range(4))
    for block in (0, 3):
        _, patches = attention_and_tokens(backbone, pixels, [1, 2], block)
        torch.testing.assert_close(patches.flatten(1, 2), tokens[block].patches)


def test_half_precision_is_close_and_float32(tiny_dinov2):
    pixels = _pixels((56, 56))
    full, _ = attention_and_tokens(_backbone(tiny_dinov2), pixels, [0], 0)
    half, tokens = attention_and_tokens(_backbone(tiny_dinov2, torch.bfloat16), pixels, [0], 0)
    assert half.dtype == tokens.dtype == torch.float32
    torch.testing.assert_close(half, full, atol=0.05, rtol=0)


def test_threads_that_share_the_model_do_not_disturb_each_other(tiny_dinov2):
    backbone = _backbone(tiny_dinov2)
    inputs = [_pixels((56, 56), batch=2, seed=seed) for seed in range(4)]
    expected = [attention_and_tokens(backbone, pixels, range(4), 3)[0] for pixels in inputs]
    stop, errors = threading.Event(), []

    def embed():
        while not stop.is_set():
            forward_tokens(backbone, _pixels((28, 28), batch=1), [3])

    def inspect(i):
        for _ in range(5):
            found, _ = attention_and_tokens(backbone, inputs[i], range(4), 3)
            if found.shape != expected[i].shape or not torch.allclose(found, expected[i]):
                errors.append(i)

    embedding = threading.Thread(target=embed)
    inspecting = [threading.Thread(target=inspect, args=(i,)) for i in range(4)]
    for thread in (embedding, *inspecting):
        thread.start()
    for thread in inspecting:
        thread.join()
    stop.set()
    embedding.join()
    assert errors == []


@settings(max_examples=30, deadline=None)
@given(
    batch=st.integers(1, 3),
    n_heads=st.integers(1, 4),
    head_dim=st.integers(1, 5),
    n_tokens=st.integers(1, 9),
    seed=st.integers(0, 2**16),
)
def test_rows_agree_with_a_plain_loop(batch, n_heads, head_dim, n_tokens, seed):
    rng = np.random.default_rng(seed)
    query, key = rng.normal(size=(2, batch, n_tokens, n_heads * head_dim)).astype(np.float32)
    queries, keys = (
        torch.from_numpy(x).unflatten(-1, (n_heads, -1)).transpose(1, 2) for x in (query, key)
    )
    found = attention_rows(queries[:, :, 0], keys)
    assert found.shape == (batch, n_heads, n_tokens)
    for i in range(batch):
        for head in range(n_heads):
            part = slice(head * head_dim, (head + 1) * head_dim)
            scores = [float(query[i, 0, part] @ token) for token in key[i, :, part]]
            weights = np.exp(np.array(scores) / np.sqrt(head_dim))
            np.testing.assert_allclose(found[i, head], weights / weights.sum(), atol=1e-5)


@MODELS
@SIZES
@pytest.mark.parametrize("reduction", ["mean", "max", "min"])
@pytest.mark.parametrize("last", [0, 2])
def test_rollout_agrees_with_eager_attention_multiplied_out(folder, size, reduction, last):
    backbone, pixels = _backbone(folder), _pixels(size)
    found = rollout(backbone, pixels, last, reduction)
    attentions = _eager(folder, pixels)[0].numpy().astype(np.float64)
    for image in range(3):  # each image for itself, as in the paper
        product = np.eye(attentions.shape[-1])
        for heads in attentions[image, : last + 1]:
            mixing = getattr(np, reduction)(heads, axis=0) + np.eye(len(product))
            product = mixing / mixing.sum(axis=1, keepdims=True) @ product
        np.testing.assert_allclose(found[image], product, atol=1e-5)
    np.testing.assert_allclose(found.sum(dim=-1), 1, atol=1e-5)


@MODELS
def test_queries_and_keys_give_the_attention(folder):
    backbone, pixels = _backbone(folder), _pixels((42, 56))
    pairs = queries_and_keys(backbone, pixels, [2, 0])
    expected = _eager(folder, pixels)[0]
    for block, (query, key) in zip([2, 0], pairs, strict=True):
        scores = query @ key.transpose(2, 3) * query.shape[-1] ** -0.5
        torch.testing.assert_close(scores.softmax(-1), expected[:, block], atol=1e-5, rtol=0)


def test_all_layers_and_heads_of_every_architecture_equal_eager(architecture):
    folder, pixels, reference = architecture
    backbone = _backbone(folder)
    if backbone.checkpoint.n_heads == 0:
        pytest.skip("no attention")
    everything = torch.stack(reference().attentions, dim=1)
    skip = backbone.checkpoint.n_prefix
    for query in (0, skip + 5):
        attention, _ = attention_and_tokens(backbone, pixels, range(3), 2, query)
        expected = everything[:, :, :, query, skip:]
        torch.testing.assert_close(attention.flatten(3), expected, atol=1e-5, rtol=0)
        assert attention.std() > 1e-3  # far from uniform


def test_blocks_that_keep_their_own_code_are_watched_too(tiny_dinov2):
    backbone, pixels = _backbone(tiny_dinov2), _pixels((56, 56))
    planned = queries_and_keys(backbone, pixels, [1, 3])
    own = replace(backbone, tower=replace(backbone.tower, blocks=backbone.model.encoder.layer))
    for ours, theirs in zip(planned, queries_and_keys(own, pixels, [1, 3]), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
