"""Attention, recomputed from the queries and keys of a running model."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch

from ..backbone._forward import forward_tokens
from ..backbone._loading import Backbone

__all__ = ["attention_and_tokens", "attention_rows", "queries_and_keys", "rollout", "split_heads"]

# What is made of a block's index and its queries and keys, (batch, n_heads, n_tokens, head_dim).
Measure = Callable[[int, torch.Tensor, torch.Tensor], Any]


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
    first_patch = 1 + backbone.checkpoint.n_registers
    grid = _grid(backbone, pixels)

    def rows(block: int, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        return attention_rows(query[:, :, query_token], key)[..., first_patch:]

    with _watch(backbone, blocks, rows) as seen:
        run = forward_tokens(backbone, pixels, sorted({token_block, max(blocks)}))
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

    def multiply(block: int, query: torch.Tensor, key: torch.Tensor) -> None:
        mixing = _reduced_attention(query, key, reduction)
        # The residual connection passes each token on beside what it gathers.
        mixing.diagonal(dim1=1, dim2=2).add_(1)
        mixing /= mixing.sum(dim=-1, keepdim=True)
        product[:] = [mixing @ product[0] if product else mixing]

    with _watch(backbone, range(last_block + 1), multiply):
        forward_tokens(backbone, pixels, [last_block])
    return product[0]


def queries_and_keys(
    backbone: Backbone, pixels: torch.Tensor, blocks: Sequence[int]
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Run the model and return blocks' queries and keys, (batch, n_heads, n_tokens, head_dim)."""
    with _watch(backbone, blocks, lambda block, query, key: (query, key)) as seen:
        forward_tokens(backbone, pixels, [max(blocks)])
    return [seen[block] for block in blocks]


def split_heads(projected: torch.Tensor, n_heads: int) -> torch.Tensor:
    """Turn (batch, n_tokens, dim) with heads side by side into (batch, n_heads, n_tokens, ...)."""
    return projected.unflatten(-1, (n_heads, -1)).transpose(1, 2)


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


@contextmanager
def _watch(backbone: Backbone, blocks: Sequence[int], measure: Measure) -> Iterator[dict[int, Any]]:
    """Collect what `measure` makes of the blocks while the model runs inside the context."""
    seen: dict[int, Any] = {}
    caller = threading.get_ident()

    def record(
        block: int, name: str, parts: dict[str, torch.Tensor], module: Any, inputs: Any, output: Any
    ) -> None:
        # Other threads may embed other images with the same model at this moment.
        if threading.get_ident() != caller:
            return
        parts[name] = split_heads(output, backbone.checkpoint.n_heads)
        if len(parts) == 2:  # whichever of the two runs first
            seen[block] = measure(block, parts.pop("query"), parts.pop("key"))

    with torch.inference_mode(), backbone.lock, ExitStack() as hooks:
        for block in set(blocks):
            parts: dict[str, torch.Tensor] = {}
            pair = zip(("query", "key"), _projections(backbone.blocks[block]), strict=True)
            for name, projection in pair:
                hook = partial(record, block, name, parts)
                hooks.callback(projection.register_forward_hook(hook).remove)
        yield seen


def _projections(block: torch.nn.Module) -> tuple[torch.nn.Module, torch.nn.Module]:
    """Return a block's query and key projections."""
    attention: Any = block.attention
    if hasattr(attention, "q_proj"):
        return attention.q_proj, attention.k_proj
    # Earlier releases of transformers 5 wrap them once more, under other names.
    return attention.attention.query, attention.attention.key
