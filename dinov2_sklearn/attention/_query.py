"""Which layer, which head, and which token's attention is meant."""

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Query",
    "check_query",
    "check_reduction",
    "head_index",
    "layer_position",
    "patch_index",
    "query_token",
    "reduce_heads",
]

Query = str | int | tuple[int, int]

_REDUCTIONS: dict[str, Callable[..., Any]] = {"mean": np.mean, "max": np.max, "min": np.min}


def check_query(query: Any) -> Query:
    """Return `query` in plain types, or say in a ValueError what may be given."""
    if isinstance(query, str) and query == "cls":
        return query
    pair = isinstance(query, (tuple, list)) and len(query) == 2
    try:
        if pair:
            return _whole(query[0]), _whole(query[1])
        return _whole(query)
    except TypeError:
        raise ValueError(
            'query must be "cls", the number of a register token, or the (row, column) of a '
            f"patch, got {query!r}."
        ) from None


def query_token(
    query: Query, n_registers: int, grid: tuple[int, int], *, has_cls: bool = True
) -> int:
    """Return the place of a query's token in the model's sequence; IndexError if it has none."""
    if isinstance(query, str):
        if not has_cls:
            raise IndexError(
                "query='cls' asks for the CLS token, which this model does not have. Give the "
                "(row, column) of a patch."
            )
        return 0
    if isinstance(query, tuple):
        row, column = patch_index(*query, grid)
        return has_cls + n_registers + row * grid[1] + column
    if not -n_registers <= query < n_registers:
        there = f"{n_registers} register tokens" if n_registers else "no register tokens"
        raise IndexError(
            f"query={query} asks for a register token: the model has {there}, counted from 0. "
            "For a patch give (row, column)."
        )
    return has_cls + query % n_registers


def patch_index(row: Any, column: Any, grid: tuple[int, int]) -> tuple[int, int]:
    """Return the place of a patch, negative from the end, in a grid; IndexError if it has none."""
    try:
        row, column = _whole(row), _whole(column)
    except TypeError:
        raise TypeError(
            f"A patch is given by the integers of its row and column, got {row!r} and {column!r}. "
            "For a position in pixels, divide by the patch size and round down."
        ) from None
    height, width = grid
    if not (-height <= row < height and -width <= column < width):
        raise IndexError(
            f"There is no patch at row={row}, col={column}: the grid has {height} rows and "
            f"{width} columns, counted from 0."
        )
    return row % height, column % width


def reduce_heads(
    attention: NDArray[np.float32], head: int | None, reduction: str, axis: int
) -> NDArray[np.float32]:
    """Take one head of attention with an axis of heads, or make all of them one."""
    if head is not None:
        return np.take(attention, head_index(head, attention.shape[axis]), axis=axis)
    return _REDUCTIONS[check_reduction(reduction)](attention, axis=axis)


def check_reduction(reduction: Any) -> str:
    """Return the name of a reduction of heads, or say which there are."""
    if not isinstance(reduction, str) or reduction not in _REDUCTIONS:
        raise ValueError(
            f"head_reduction must be one of {', '.join(map(repr, _REDUCTIONS))}, got {reduction!r}."
        )
    return reduction


def head_index(head: Any, n_heads: int) -> int:
    """Turn a head's number, negative from the end, into an index in ``range(n_heads)``."""
    try:
        head = _whole(head)
    except TypeError:
        raise TypeError(f"head must be an int, or None for all heads, got {head!r}.") from None
    if not -n_heads <= head < n_heads:
        raise ValueError(
            f"head={head} is out of range: the model has {n_heads} heads in each block, numbered "
            f"0 to {n_heads - 1}, or -1 (the last) to -{n_heads}; None takes all of them."
        )
    return head % n_heads


def layer_position(layer: Any, layers: Sequence[int], depth: int) -> int:
    """Return the place in `layers` of a block's number, negative from the end of the model."""
    if layer is None:
        return len(layers) - 1
    try:
        layer = _whole(layer)
    except TypeError:
        raise TypeError(f"layer must be an int, or None for the last, got {layer!r}.") from None
    block = layer + depth if layer < 0 else layer
    if block not in layers:
        raise ValueError(
            f"There is no attention of layer={layer} here: these maps hold the blocks "
            f"{', '.join(map(str, layers))} of {depth}."
        )
    return list(layers).index(block)


def _whole(value: Any) -> int:
    # A bool is an int to Python, and a mistake here.
    if isinstance(value, (bool, np.bool_)):
        raise TypeError
    return operator.index(value)
