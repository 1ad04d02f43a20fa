"""What the inspector finds in one image."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["AttentionMaps", "head_index", "reduce_heads"]

_REDUCTIONS: dict[str, Callable[..., Any]] = {"mean": np.mean, "max": np.max, "min": np.min}


@dataclass(frozen=True, eq=False, repr=False)
class AttentionMaps:
    """Attention and patch tokens of one image, made by `PatchAttentionInspector.inspect`.

    Attributes
    ----------
    attention : ndarray of shape (n_layers, n_heads, grid_h, grid_w), dtype float32
        The share of the CLS token's attention that each patch gets. Each map sums to less than 1:
        the rest goes to the CLS token itself and to the register tokens.
    layers : tuple of int
        The block that each entry of `attention` comes from, counted from 0.
    patch_tokens : ndarray of shape (grid_h, grid_w, dim), dtype float32
        Patch tokens of the inspector's layer, with the model's final LayerNorm applied.
    image : ndarray of shape (height, width, 3), dtype uint8
        The picture that the model saw: RGB, resized and cropped.

    Examples
    --------
    >>> import numpy as np
    >>> from dinov2_sklearn.attention import AttentionMaps
    >>> maps = AttentionMaps(
    ...     attention=np.full((1, 6, 2, 2), 0.2, dtype=np.float32),
    ...     layers=(11,),
    ...     patch_tokens=np.float32([[[1, 0], [2, 0]], [[0, 1], [-1, 0]]]),
    ...     image=np.zeros((28, 28, 3), dtype=np.uint8),
    ... )
    >>> maps.similarity(0, 0)
    array([[ 1.,  1.], [ 0., -1.]], dtype=float32)
    """

    attention: NDArray[np.float32]
    layers: tuple[int, ...]
    patch_tokens: NDArray[np.float32]
    image: NDArray[np.uint8]

    def __repr__(self) -> str:
        _, n_heads, rows, columns = self.attention.shape
        return (
            f"AttentionMaps(layers={self.layers}, {n_heads} heads, {rows} x {columns} patches of "
            f"{self.patch_tokens.shape[-1]} features)"
        )

    def similarity(self, row: int, col: int) -> NDArray[np.float32]:
        """Compare one patch with all patches.

        Parameters
        ----------
        row, col : int
            The patch's place in the grid, from the top left; negative counts from the end.

        Returns
        -------
        ndarray of shape (grid_h, grid_w), dtype float32
            Cosine between its token and that of each patch, -1 to 1.

        Raises
        ------
        IndexError
            If the grid has no such patch.
        """
        height, width, _ = self.patch_tokens.shape
        if not (-height <= row < height and -width <= col < width):
            raise IndexError(
                f"There is no patch at row={row}, col={col}: the grid has {height} rows and "
                f"{width} columns, counted from 0."
            )
        norms = np.linalg.norm(self.patch_tokens, axis=-1, keepdims=True)
        units = self.patch_tokens / np.maximum(norms, np.finfo(np.float32).tiny)
        return np.clip(units @ units[row, col], -1, 1)


def reduce_heads(
    attention: NDArray[np.float32], head: int | None, reduction: str, axis: int
) -> NDArray[np.float32]:
    """Take one head, or reduce all of them.

    Parameters
    ----------
    attention : ndarray
        Attention with an axis of heads.
    head : int or None
        The head, negative from the end; None reduces.
    reduction : {"mean", "max", "min"}
        How all heads are made one.
    axis : int
        The axis of heads.

    Returns
    -------
    ndarray
        Without that axis.

    Raises
    ------
    ValueError
        If there is no such head or no such reduction.
    """
    if head is not None:
        return np.take(attention, head_index(head, attention.shape[axis]), axis=axis)
    if reduction not in _REDUCTIONS:
        raise ValueError(
            f"head_reduction must be one of {', '.join(map(repr, _REDUCTIONS))}, got {reduction!r}."
        )
    return _REDUCTIONS[reduction](attention, axis=axis)


def head_index(head: int, n_heads: int) -> int:
    """Turn a head's number, negative from the end, into an index in ``range(n_heads)``."""
    if not hasattr(head, "__index__"):
        raise TypeError(f"head must be an int, or None for all heads, got {head!r}.")
    if not -n_heads <= head < n_heads:
        raise ValueError(
            f"head={head} is out of range: the model has {n_heads} heads in each block, numbered "
            f"0 to {n_heads - 1}, or -1 (the last) to -{n_heads}; None takes all of them."
        )
    return int(head) % n_heads
