"""Vision towers: what a loaded model does before, between and after its blocks."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ._checkpoints import Checkpoint
from ._models import CheckpointError
from ._plan import plan_block

__all__ = ["Tower", "tower_of"]

# What every block takes beside the tokens: rotary embeddings, or nothing.
Position = Mapping[str, Any]


@dataclass(eq=False)
class Tower:
    """A model's vision tower in the form that all have in common."""

    embed: Callable[[torch.Tensor], tuple[torch.Tensor, Position]]
    """Pixels to the tokens that the first block gets, and to their places."""
    blocks: Sequence[nn.Module]
    final_norm: nn.Module
    head: Callable[[torch.Tensor], torch.Tensor] | None = None
    """What makes one vector of all tokens, where there is no CLS token."""


def tower_of(checkpoint: Checkpoint, model: nn.Module) -> Tower:
    """Find the parts of a model; its blocks are run by the plan where that is possible."""
    if checkpoint.family == "dinov3_convnext":
        return _convolutions(model)
    tower = _of_timm(model) if checkpoint.family == "timm" else _of_transformers(checkpoint, model)
    tower.blocks = [
        plan_block(block, checkpoint.n_heads, checkpoint.n_prefix, _positions(model, block))
        for block in tower.blocks
    ]
    return tower


def _of_transformers(checkpoint: Checkpoint, model: Any) -> Tower:
    model = getattr(model, "vision_model", model)  # of CLIP and SigLIP before transformers 5.6
    depth = checkpoint.depth
    stacks = [m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) == depth]
    norms = [child for child in model.children() if isinstance(child, nn.LayerNorm)]
    if not stacks or not norms:
        raise CheckpointError(
            f"The model of {checkpoint.name!r}, {type(model).__name__}, has no stack of {depth} "
            "blocks with a LayerNorm behind: it is no Vision Transformer that is known here."
        )
    first_norm = norms[0] if len(norms) > 1 else nn.Identity()  # CLIP's
    extra = _accepted(stacks[0][0], attention_mask=None)
    embeddings = _embeddings(checkpoint, model)

    def embed(pixels: torch.Tensor) -> tuple[torch.Tensor, Position]:
        position = dict(extra)
        if hasattr(model, "rope_embeddings"):
            position["position_embeddings"] = model.rope_embeddings(pixels)
        return first_norm(embeddings(pixels)), position

    return Tower(embed, list(stacks[0]), norms[-1], getattr(model, "head", None))


def _embeddings(checkpoint: Checkpoint, model: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return what makes tokens of pixels of any size."""
    options = _accepted(model.embeddings, interpolate_pos_encoding=True)
    if checkpoint.family == "vit_mae":
        model.config.mask_ratio = 0.0

        def unmasked(pixels: torch.Tensor) -> torch.Tensor:
            n_patches = pixels.shape[2] * pixels.shape[3] // checkpoint.patch_size**2
            in_order = torch.arange(n_patches, device=pixels.device).expand(len(pixels), -1)
            return model.embeddings(pixels, noise=in_order, **options)[0]

        return unmasked
    if checkpoint.family == "siglip2":  # any number of patches of any shape

        def from_patches(pixels: torch.Tensor) -> torch.Tensor:
            size = checkpoint.patch_size
            shape = torch.tensor([[edge // size for edge in pixels.shape[2:]]] * len(pixels))
            rows = pixels.unflatten(3, (-1, size)).unflatten(2, (-1, size))
            patches = rows.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)
            return model.embeddings(patches, shape)

        return from_patches
    return lambda pixels: model.embeddings(pixels, **options)


def _of_timm(model: Any) -> Tower:
    if getattr(model, "rope_mixed", False):
        raise CheckpointError(
            "Of timm, models whose blocks turn by angles of their own are not run."
        )

    def embed(pixels: torch.Tensor) -> tuple[torch.Tensor, Position]:
        hidden = model._pos_embed(model.patch_embed(pixels))
        hidden, rope = hidden if isinstance(hidden, tuple) else (hidden, None)
        return model.norm_pre(hidden), {} if rope is None else {"rope": rope}

    head = None
    if getattr(model, "attn_pool", None) is not None:
        head = nn.Sequential(model.attn_pool, model.fc_norm)
    return Tower(embed, model.blocks, model.norm, head)


def _convolutions(model: Any) -> Tower:
    """Return a network without tokens; the mean of its last map stands for a CLS token."""

    def embed(pixels: torch.Tensor) -> tuple[torch.Tensor, Position]:
        found = model.model(pixels).last_hidden_state.flatten(2).transpose(1, 2)
        return torch.cat((found.mean(dim=1, keepdim=True), found), dim=1), {}

    return Tower(embed, [nn.Identity()], model.layer_norm)


def _accepted(module: nn.Module, **options: Any) -> dict[str, Any]:
    """Return those of some options that a module takes."""
    parameters = inspect.signature(module.forward).parameters
    return {name: value for name, value in options.items() if name in parameters}


def _positions(model: Any, block: nn.Module) -> Callable[[int, int], Position]:
    """Return what makes rotary embeddings for a few patches, to try a block with."""

    def make(n_patches: int, head_dim: int) -> Position:
        weight = next(model.parameters())
        angles = torch.linspace(0, 3, n_patches * head_dim // 2).view(n_patches, -1).to(weight)
        if hasattr(model, "rope_embeddings"):  # equal angles in both halves
            return {"position_embeddings": (angles.cos().tile(2), angles.sin().tile(2))}
        if getattr(model, "rope", None) is not None:  # equal angles in neighbours
            angles = angles.repeat_interleave(2, dim=-1)
            return {"rope": torch.cat((angles.sin(), angles.cos()), dim=-1)}
        return _accepted(block, attention_mask=None)

    return make
