"""The forward plan: a transformer block's own weights, run with less work and the same result.

A block as nearly all Vision Transformers have it, ``x + attention(norm(x))`` and then
``x + mlp(norm(x))``, is run with one product for queries, keys and values, with its LayerScale in
the weights before it, with the cheaper kernel of attention, and for the first token alone where
nobody asks for the others. Weights are found by their role, since their names differ between
architectures and releases, and what is found is tried: a block that computes anything else keeps
its own code.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

__all__ = [
    "PlannedBlock",
    "Watch",
    "attend",
    "fold_scales",
    "multiplied",
    "plan_block",
    "run_block",
]

# Is shown a block's queries and keys, (batch, n_heads, n_tokens, head_dim), as attention has them.
Watch = Callable[[torch.Tensor, torch.Tensor], Any]

# Names in timm and in transformers, whose releases 5.4 to 5.24 differ.
_ATTENTION = ("attention", "self_attn", "attn")
_QUERY, _KEY, _VALUE = ("q_proj", "query"), ("k_proj", "key"), ("v_proj", "value")
_OUT = ("o_proj", "out_proj", "proj", "dense")
_SCALES = (("layer_scale1", "ls1", "gamma_1"), ("layer_scale2", "ls2", "gamma_2"))
# In bfloat16, two products and a softmax of 257 tokens take half as long as torch's kernel on AMD's
# CPUs, and as long on Intel's with AMX; with 577 tokens the matrix between them leaves the caches,
# and they take three times as long. In float32, and on GPUs, the kernel is the faster one. By a
# rule and not by a stopwatch, so that the same images always give the same rows
# (benchmarks/extraction.py, part forward, measures both).
_MOST_MULTIPLIED_TOKENS = 320
# First tokens are multiplied so many at a time on a CPU, filled up where there are fewer: products
# of other numbers of rows may be summed in another order, and a row would depend on its batch.
_CPU_FIRST_TOKENS = 16


class _NotPlanned(Exception):
    """A block is made of other parts."""


def fold_scales(block: nn.Module) -> None:
    """Multiply a block's LayerScale into the weights before it; what it computes stays the same."""
    try:
        scaled = _out(block), [m for m in _mlp(block).modules() if isinstance(m, nn.Linear)][-1]
    except (_NotPlanned, IndexError):
        return
    for names, linear in zip(_SCALES, scaled, strict=True):
        name = next((name for name in names if getattr(block, name, None) is not None), None)
        if name is None or isinstance(scale := getattr(block, name), nn.Identity):
            continue
        is_parameter = isinstance(scale, nn.Parameter)
        factors = scale if is_parameter else next(scale.parameters())
        with torch.no_grad():
            linear.weight.mul_(factors[:, None])
            if linear.bias is not None:
                linear.bias.mul_(factors)
        setattr(block, name, None if is_parameter else nn.Identity())


def plan_block(
    block: nn.Module, n_heads: int, n_prefix: int, position: Callable[[int, int], Mapping[str, Any]]
) -> nn.Module:
    """Return a block as it is run: planned if that gives what its own code gives.

    `position` makes rotary embeddings of so many patches and so long heads, to try the block with.
    """
    try:
        planned = PlannedBlock(block, n_heads, n_prefix)
        weight = planned.qkv_weight
        generator = torch.Generator().manual_seed(0)
        probe = torch.randn(1, n_prefix + 3, weight.shape[1], generator=generator).to(weight)
        tried = position(3, planned.head_dim)
        with torch.inference_mode():
            own, ours = (run_block(which, probe, tried) for which in (block, planned))
    except (_NotPlanned, RuntimeError, TypeError):
        return block
    tolerance = 1e-4 if own.dtype == torch.float32 else 0.05
    return planned if bool((own - ours).abs().max() <= tolerance * own.abs().max()) else block


def run_block(
    block: nn.Module, hidden: torch.Tensor, position: Mapping[str, Any], watch: Watch | None = None
) -> torch.Tensor:
    """Run a block, planned or not, on all tokens; show queries and keys to who watches."""
    if isinstance(block, PlannedBlock):
        return block(hidden, position, watch)
    with nullcontext() if watch is None else _Watching(watch):
        result = block(hidden, **position)
    return result[0] if isinstance(result, tuple) else result


class _Watching(TorchFunctionMode):
    """Shows queries and keys that this thread gives to torch's attention."""

    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self.watch = watch

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if function is F.scaled_dot_product_attention:
            self.watch(args[0], args[1])
        return function(*args, **(kwargs or {}))


class PlannedBlock(nn.Module):
    """A block, run by the plan. It shares the weights of the block that it is made from."""

    def __init__(self, block: nn.Module, n_heads: int, n_prefix: int) -> None:
        super().__init__()
        norms = [child for child in block.children() if isinstance(child, nn.LayerNorm)]
        if len(norms) != 2:
            raise _NotPlanned
        self.norm1, self.norm2 = norms  # children are in the order of their use
        self.qkv_weight, self.qkv_bias = _fused(_attention(block))
        self.out, self.mlp = _out(block), _mlp(block)
        self.n_heads = n_heads
        self.head_dim = len(self.qkv_weight) // 3 // n_heads
        self.scale = self.head_dim**-0.5
        self.n_prefix = n_prefix  # tokens before the patches, which have no place in the image
        # transformers turns halves of a head's dimensions; timm says if it does.
        self.turns_halves = getattr(_attention(block), "rotate_half", True)

    def forward(
        self, hidden: torch.Tensor, position: Mapping[str, Any], watch: Watch | None = None
    ) -> torch.Tensor:
        """Run on all tokens."""
        qkv = F.linear(self.norm1(hidden), self.qkv_weight, self.qkv_bias)
        parts = qkv.unflatten(-1, (3, self.n_heads, self.head_dim))
        self._turn(parts[:, :, :2], position)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        if watch is not None:
            watch(query, key)
        return self._rest(hidden, attend(query, key, value, self.scale))

    def first(self, hidden: torch.Tensor, position: Mapping[str, Any]) -> torch.Tensor:
        """Run as far as the first token of each image needs it: (batch, 1, dim)."""
        on_cpu = hidden.device.type == "cpu"
        parts = hidden.split(_CPU_FIRST_TOKENS if on_cpu else len(hidden))
        return torch.cat([self._first(part, position, on_cpu) for part in parts])

    def _first(self, hidden: torch.Tensor, position: Mapping[str, Any], fill: bool) -> torch.Tensor:
        def filled(rows: torch.Tensor) -> torch.Tensor:
            return F.pad(rows, (0, 0, 0, 0, 0, _CPU_FIRST_TOKENS - len(rows))) if fill else rows

        n_images, dim = len(hidden), self.n_heads * self.head_dim
        bias_q, bias_kv = self.qkv_bias[:dim], self.qkv_bias[dim:]
        normed = self.norm1(hidden)
        kv = F.linear(normed, self.qkv_weight[dim:], bias_kv)
        parts = kv.unflatten(-1, (2, self.n_heads, self.head_dim))
        self._turn(parts[:, :, :1], position)
        key, value = parts.permute(2, 0, 3, 1, 4)
        query = F.linear(filled(normed[:, :1]), self.qkv_weight[:dim], bias_q)[:n_images]
        query = query.unflatten(-1, (self.n_heads, self.head_dim)).transpose(1, 2)
        mixed = attend(query, key, value, self.scale)
        return self._rest(filled(hidden[:, :1]), mixed, filled)[:n_images]

    def _rest(
        self,
        hidden: torch.Tensor,
        mixed: torch.Tensor,
        filled: Callable[[torch.Tensor], torch.Tensor] = lambda rows: rows,
    ) -> torch.Tensor:
        hidden = self.out(filled(mixed.transpose(1, 2).flatten(2))).add_(hidden)
        return self.mlp(self.norm2(hidden)).add_(hidden)

    def _turn(self, parts: torch.Tensor, position: Mapping[str, Any]) -> None:
        """Turn queries and keys, (batch, n_tokens, parts, n_heads, head_dim), by their places."""
        if "position_embeddings" in position:
            cos, sin = position["position_embeddings"]
        elif position.get("rope") is not None:
            sin, cos = position["rope"].chunk(2, dim=-1)
        else:
            return
        patches = parts[:, self.n_prefix :]
        if self.turns_halves:
            one, other = patches.chunk(2, dim=-1)
            turned = torch.cat((-other, one), dim=-1)
        else:
            turned = torch.stack((-patches[..., 1::2], patches[..., ::2]), dim=-1).flatten(-2)
        patches.copy_(patches * cos[:, None, None] + turned * sin[:, None, None])


def attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float
) -> torch.Tensor:
    """Compute attention of (batch, n_heads, n_tokens, head_dim) each, in the cheaper way."""
    is_half = query.dtype in (torch.bfloat16, torch.float16)
    if query.device.type == "cpu" and is_half and key.shape[2] <= _MOST_MULTIPLIED_TOKENS:
        return multiplied(query, key, value, scale)
    return F.scaled_dot_product_attention(query, key, value, scale=scale)


def multiplied(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float
) -> torch.Tensor:
    """Compute attention as two products and a softmax between them."""
    return ((query * scale) @ key.transpose(2, 3)).softmax(dim=-1) @ value


def _attention(block: nn.Module) -> nn.Module:
    return _first_of(dict(block.named_children()), _ATTENTION)


def _out(block: nn.Module) -> nn.Linear:
    return _first_of(_by_last_name(_attention(block)), _OUT)


def _mlp(block: nn.Module) -> nn.Module:
    children = dict(block.named_children())
    if "intermediate" in children and "output" in children:  # of transformers before 5.10
        return nn.Sequential(
            children["intermediate"], _first_of(_by_last_name(children["output"]), ("dense",))
        )
    return _first_of(children, ("mlp",))


def _by_last_name(module: nn.Module) -> dict[str, Any]:
    linears = module.named_modules()
    return {name.split(".")[-1]: part for name, part in linears if isinstance(part, nn.Linear)}


def _first_of(parts: Mapping[str, Any], names: Iterable[str]) -> Any:
    for name in names:
        if name in parts:
            return parts[name]
    raise _NotPlanned


def _fused(attention: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return weight and bias of queries, keys and values in one, which their own parts then are."""
    linears = _by_last_name(attention)
    if "qkv" in linears:
        weight, bias = linears["qkv"].weight, linears["qkv"].bias
        apart: list[Any] = [getattr(attention, f"{letter}_bias", None) for letter in "qkv"]
        if all(part is not None for part in apart):
            bias = torch.cat([part.detach() for part in apart])
        return weight.detach(), weight.new_zeros(len(weight)) if bias is None else bias.detach()
    parts = [_first_of(linears, names) for names in (_QUERY, _KEY, _VALUE)]
    dims = [part.out_features for part in parts]
    if len({*dims}) > 1:  # heads that share keys
        raise _NotPlanned
    weight = torch.cat([part.weight.detach() for part in parts])
    bias = torch.cat(
        [
            part.weight.new_zeros(dim) if part.bias is None else part.bias.detach()
            for part, dim in zip(parts, dims, strict=True)
        ]
    )
    for part, rows, values in zip(parts, weight.split(dims), bias.split(dims), strict=True):
        part.weight = nn.Parameter(rows, requires_grad=False)
        if part.bias is not None:
            part.bias = nn.Parameter(values, requires_grad=False)
    return weight, bias
