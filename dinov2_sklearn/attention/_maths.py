"""Attention, recomputed from the queries and keys of a running model."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from ..backbone._forward import Tokens, forward_tokens
from ..backbone._loading import Backbone

__all__ = ["attention_and_tokens", "attention_rows", "queries_and_keys", "rollout"]

# What is made of a block's queries and keys, (batch, n_heads, n_tokens, head_dim).
Measure = Callable[[torch.Tensor, torch.Tensor], Any]


def attention_and_tokens(
    backbone: Backbone,
    pixels: torch.Tensor,
    blocks: Sequence[int],
    token_block: int,
    query_token: int = 0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Run the model and return where one of its tokens looks, and its patch tokens.

    The model's own attention kernel returns no weights. The rows of that one token are computed a
    second time, from the queries and keys of the chosen blocks alone.

    Pixels are preprocessed images, (batch, 3, height, width). Attention is that of the token at a
    place of the sequence, where 0 is CLS, in `blocks`: (batch, len(blocks), n_heads, grid_h,
    grid_w), float32. Its softmax runs over all tokens; the columns of the patches are kept as they
    are. Tokens are those of `token_block`, (batch, grid_h, grid_w, dim), float32, with the final
    LayerNorm applied.
    """
    grid = _grid(backbone, pixels)

    def rows(query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        return attention_rows(query[:, :, query_token], key)[..., backbone.checkpoint.n_prefix :]

    seen, run = _watched(backbone, pixels, blocks, [token_block], rows)
    attention = torch.stack([seen[block] for block in blocks], dim=1)
    return attention.unflatten(-1, grid), run[token_block].patches.float().unflatten(1, grid)


def rollout(
    backbone: Backbone, pixels: torch.Tensor, last_block: int, reduction: str
) -> torch.Tensor:
    """Run the model and follow attention from its last tokens down to its first.

    Returns how much of each token after `last_block` comes from each token before block 0, of shape
    (batch, n_tokens, n_tokens); rows sum to 1. Of no block is more kept than its part in the
    product, and no more than one head is held beside it.
    """
    product: list[torch.Tensor] = []

    def multiply(query: torch.Tensor, key: torch.Tensor) -> None:
        mixing = _reduced_attention(query, key, reduction)
        # The residual connection passes each token on beside what it gathers.
        mixing.diagonal(dim1=1, dim2=2).add_(1)
        mixing /= mixing.sum(dim=-1, keepdim=True)
        product[:] = [mixing @ product[0] if product else mixing]

    _watched(backbone, pixels, range(last_block + 1), [], multiply)
    return product[0]


def queries_and_keys(
    backbone: Backbone, pixels: torch.Tensor, blocks: Sequence[int]
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Run the model and return blocks' queries and keys, (batch, n_heads, n_tokens, head_dim)."""
    seen, _ = _watched(backbone, pixels, blocks, [], lambda query, key: (query, key))
    return [seen[block] for block in blocks]


def _watched(
    backbone: Backbone,
    pixels: torch.Tensor,
    blocks: Sequence[int],
    token_blocks: Sequence[int],
    measure: Measure,
) -> tuple[dict[int, Any], dict[int, Tokens]]:
    """Run the model; return what `measure` makes of some blocks, and the tokens of others."""
    seen: dict[int, Any] = {}

    def record(block: int, query: torch.Tensor, key: torch.Tensor) -> None:
        seen[block] = measure(query, key)

    watch = {block: partial(record, block) for block in blocks}
    tokens = forward_tokens(backbone, pixels, {*token_blocks, max(blocks)}, watch=watch)
    return seen, tokens


def attention_rows(query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    """Compute the softmax of one token's queries (batch, n_heads, head_dim) over all keys."""
    scores = torch.einsum("bhd,bhtd->bht", query.float(), key.float())
    return (scores * query.shape[-1] ** -0.5).softmax(dim=-1)


def _reduced_attention(query: torch.Tensor, key: torch.Tensor, reduction: str) -> torch.Tensor:
    """Return attention (batch, n_tokens, n_tokens) of one block, head by head."""
    n_heads, scale = query.shape[1], query.shape[-1] ** -0.5
    combine: Any = {"mean": torch.add, "max": torch.maximum, "min": torch.minimum}[reduction]
    result: torch.Tensor | None = None
    for head in range(n_heads):
        scores = query[:, head].float() @ key[:, head].float().transpose(1, 2)
        attention = scores.mul_(scale).softmax(dim=-1)
        result = attention if result is None else combine(result, attention, out=result)
    assert result is not None
    return result.div_(n_heads) if reduction == "mean" else result


def _grid(backbone: Backbone, pixels: torch.Tensor) -> tuple[int, int]:
    patch = backbone.checkpoint.patch_size
    return pixels.shape[-2] // patch, pixels.shape[-1] // patch
