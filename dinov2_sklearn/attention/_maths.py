"""Attention of the CLS token, recomputed from the queries and keys of a running model."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from ..backbone.forward import forward_tokens
from ..backbone.loading import Backbone

__all__ = ["attention_and_tokens", "cls_attention"]


def attention_and_tokens(
    backbone: Backbone, pixels: torch.Tensor, blocks: Sequence[int], token_block: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Run the model and return where its CLS token looks, and its patch tokens.

    The model's own attention kernel returns no weights. The rows of the CLS token are computed a
    second time, from the queries and keys of the chosen blocks alone.

    Parameters
    ----------
    backbone : Backbone
        The loaded model.
    pixels : torch.Tensor of shape (batch, 3, height, width)
        Preprocessed images.
    blocks : sequence of int
        Indices from 0 of the blocks whose attention is wanted.
    token_block : int
        Index of the block whose patch tokens are wanted.

    Returns
    -------
    attention : torch.Tensor of shape (batch, len(blocks), n_heads, grid_h, grid_w), float32
        The softmax runs over all tokens; the columns of the patches are kept as they are.
    tokens : torch.Tensor of shape (batch, grid_h, grid_w, dim), float32
        With the final LayerNorm applied.
    """
    patch = backbone.checkpoint.patch_size
    grid = pixels.shape[-2] // patch, pixels.shape[-1] // patch
    with _watch(backbone, blocks) as seen:
        run = forward_tokens(backbone, pixels, sorted({token_block, max(blocks)}))
    attention = torch.stack([seen[block] for block in blocks], dim=1)
    return attention.unflatten(-1, grid), run[token_block].patches.float().unflatten(1, grid)


def cls_attention(
    query: torch.Tensor, key: torch.Tensor, n_heads: int, n_registers: int
) -> torch.Tensor:
    """Compute the attention of the CLS token over the patches.

    Parameters
    ----------
    query, key : torch.Tensor of shape (batch, n_tokens, dim)
        Projections of one block, heads side by side; token 0 is CLS, then come the registers.
    n_heads, n_registers : int
        Heads of the block, register tokens of the model.

    Returns
    -------
    torch.Tensor of shape (batch, n_heads, n_tokens - 1 - n_registers), float32
        Sums to less than 1 a head: the rest goes to the CLS and register tokens.
    """
    query = query[:, 0].float().unflatten(-1, (n_heads, -1))
    key = key.float().unflatten(-1, (n_heads, -1))
    scores = torch.einsum("bhd,bthd->bht", query, key) * query.shape[-1] ** -0.5
    return scores.softmax(dim=-1)[..., 1 + n_registers :]


@contextmanager
def _watch(backbone: Backbone, blocks: Sequence[int]) -> Iterator[dict[int, torch.Tensor]]:
    """Collect the CLS attention of the blocks while the model runs inside the context."""
    seen: dict[int, torch.Tensor] = {}
    with backbone.lock, ExitStack() as hooks:
        for block in set(blocks):
            projections = dict(
                zip(("query", "key"), _projections(backbone.blocks[block]), strict=True)
            )
            for name, hook in _hooks(backbone, block, seen).items():
                hooks.callback(projections[name].register_forward_hook(hook).remove)
        yield seen


def _projections(block: torch.nn.Module) -> tuple[torch.nn.Module, torch.nn.Module]:
    """Return a block's query and key projections."""
    attention: Any = block.attention
    if hasattr(attention, "q_proj"):
        return attention.q_proj, attention.k_proj
    # Earlier releases of transformers 5 wrap them once more, under other names.
    return attention.attention.query, attention.attention.key


def _hooks(
    backbone: Backbone, block: int, seen: dict[int, torch.Tensor]
) -> dict[str, Callable[..., None]]:
    """Make the two hooks of a block; the later one to run computes the attention."""
    caller = threading.get_ident()
    parts: dict[str, torch.Tensor] = {}
    n_heads, n_registers = backbone.checkpoint.n_heads, backbone.checkpoint.n_registers

    def record(name: str, output: torch.Tensor) -> None:
        # Other threads may embed other images with the same model at this moment.
        if threading.get_ident() != caller:
            return
        parts[name] = output
        if len(parts) == 2:
            seen[block] = cls_attention(parts.pop("query"), parts.pop("key"), n_heads, n_registers)

    return {
        "query": lambda module, inputs, output: record("query", output),
        "key": lambda module, inputs, output: record("key", output),
    }
