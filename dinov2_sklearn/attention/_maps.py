"""What the inspector finds in one image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._query import Query, check_reduction, layer_position, patch_index, reduce_heads

if TYPE_CHECKING:
    from ._model import AttentionModel

__all__ = ["AttentionMaps"]


@dataclass(frozen=True, eq=False, repr=False)
class AttentionMaps:
    """Attention and patch tokens of one image, made by `PatchAttentionInspector.inspect`.

    Attributes
    ----------
    attention : ndarray of shape (n_layers, n_heads, grid_h, grid_w), dtype float32
        The share of the query token's attention that each patch gets. Each map sums to less than
        1: the rest goes to the CLS token and to the register tokens.
    layers : tuple of int
        The block that each entry of `attention` comes from, counted from 0.
    patch_tokens : ndarray of shape (grid_h, grid_w, dim), dtype float32
        Patch tokens of the inspector's layer, with the model's final LayerNorm applied.
    image : ndarray of shape (height, width, 3), dtype uint8
        The picture that the model saw: RGB, resized and cropped.
    query : "cls", int or (int, int), default="cls"
        The token that looks: CLS, a register token by its number, or a patch by its row and
        column.
    depth : int, default=None
        Blocks of the model, from which negative layers count. None means as many as `layers` tell
        of.
    original_shape : (int, int), default=None
        (height, width) in pixels of the image before it was resized and cropped. None means that
        of `image`.
    window : (float, float, float, float), default=None
        (left, top, right, bottom) of the part that the model saw, in pixels of the original. It
        reaches beyond the original where that was padded. None means the whole of it.

    Examples
    --------
    >>> import numpy as np
    >>> from dinov2_sklearn.attention import AttentionMaps
    >>> maps = AttentionMaps(
    ...     attention=np.float32([[[[0.5, 0.1], [0.1, 0.2]]]]),
    ...     layers=(11,),
    ...     patch_tokens=np.float32([[[1, 0], [2, 0]], [[0, 1], [-1, 0]]]),
    ...     image=np.zeros((28, 28, 3), dtype=np.uint8),
    ... )
    >>> maps.similarity(0, 0)
    array([[ 1.,  1.], [ 0., -1.]], dtype=float32)
    >>> maps.mass_mask(0.6)
    array([[ True, False], [False,  True]])
    >>> maps.on_original(maps.select(layer=11), smooth=False).shape
    (28, 28)
    """

    attention: NDArray[np.float32]
    layers: tuple[int, ...]
    patch_tokens: NDArray[np.float32]
    image: NDArray[np.uint8]
    query: Query = "cls"
    depth: int | None = None
    original_shape: tuple[int, int] | None = None
    window: tuple[float, float, float, float] | None = None
    # Loads the model again, to give other blocks: what is too large is not kept just in case.
    _reload: Callable[[Sequence[int]], AttentionModel] | None = None

    def __repr__(self) -> str:
        _, n_heads, rows, columns = self.attention.shape
        query = "" if self.query == "cls" else f"query={self.query}, "
        return (
            f"AttentionMaps({query}layers={self.layers}, {n_heads} heads, {rows} x {columns} "
            f"patches of {self.patch_tokens.shape[-1]} features)"
        )

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        rows, columns = self.attention.shape[-2:]
        return rows, columns

    def select(
        self,
        layer: int | None = None,
        head: int | None = None,
        head_reduction: str = "mean",
    ) -> NDArray[np.float32]:
        """Take the map of one layer, and of one head or of all heads made one.

        Parameters
        ----------
        layer : int, default=None
            One of `layers`, negative from the end of the model. None takes the last of `layers`.
        head : int, default=None
            The head, negative from the end. None reduces all heads.
        head_reduction : {"mean", "max", "min"}, default="mean"
            How all heads are made one, patch by patch.

        Returns
        -------
        ndarray of shape (grid_h, grid_w), dtype float32

        Raises
        ------
        ValueError
            If there is no such layer, head or reduction.
        """
        position = layer_position(layer, self.layers, self._depth)
        return reduce_heads(self.attention[position], head, head_reduction, axis=0)

    def mass_mask(
        self,
        share: float = 0.6,
        layer: int | None = None,
        head: int | None = None,
        head_reduction: str = "mean",
    ) -> NDArray[np.bool_]:
        """Find the fewest patches that hold a share of a map.

        Parameters
        ----------
        share : float, default=0.6
            How much of what all patches get together, above 0 and at most 1.
        layer, head, head_reduction : see `select`
            Which map.

        Returns
        -------
        ndarray of shape (grid_h, grid_w), dtype bool
            True for the patches of most attention; of equal ones those nearer the top left.

        Raises
        ------
        ValueError
            If `share` is out of range, or there is no such map.
        """
        if not _is_share(share):
            raise ValueError(f"share must be above 0 and at most 1, got {share!r}.")
        attention = self.select(layer, head, head_reduction).astype(np.float64)
        order = np.argsort(-attention, axis=None, kind="stable")
        held = np.cumsum(attention.ravel()[order])
        mask = np.zeros(attention.size, dtype=bool)
        if held[-1] > 0:
            mask[order[: np.searchsorted(held, share * held[-1]) + 1]] = True
        return mask.reshape(attention.shape)

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
        TypeError
            If the place is not given by integers.
        IndexError
            If the grid has no such patch.
        """
        place = patch_index(row, col, self.grid)
        norms = np.linalg.norm(self.patch_tokens, axis=-1, keepdims=True)
        units = self.patch_tokens / np.maximum(norms, np.finfo(np.float32).tiny)
        return np.clip(units @ units[place], -1, 1)

    def rollout(
        self, layer: int | None = None, head_reduction: str = "mean"
    ) -> NDArray[np.float32]:
        """Follow the attention of the query token down through the blocks to the image [1]_.

        Parameters
        ----------
        layer : int, default=None
            The block to start from, negative from the end; all blocks below it are followed,
            whichever `layers` there are. None starts from the model's last.
        head_reduction : {"mean", "max", "min"}, default="mean"
            How the heads of each block are made one.

        Returns
        -------
        ndarray of shape (grid_h, grid_w), dtype float32
            How much of the query token comes from each patch, as far as attention tells. Sums to
            less than 1: the rest comes from the CLS token and the register tokens.

        Raises
        ------
        RuntimeError
            If these maps were not made by an inspector.
        ValueError
            If there is no such layer or reduction.

        Notes
        -----
        The identity is added to each block's attention for the residual connection, rows are
        brought to a sum of 1, and the blocks are multiplied. This runs the model once more, and
        multiplies matrices of ``n_tokens ** 2`` entries, of which three are held at a time: at 224
        pixels that is nothing, at 1,036 pixels 120 MB each and several times the model's own work.

        References
        ----------
        .. [1] S. Abnar and W. Zuidema, "Quantifying Attention Flow in Transformers", 2020,
           https://arxiv.org/abs/2005.00928
        """
        if self._reload is None:
            raise RuntimeError(
                "rollout() runs the model again, and these maps know of none: they were not made "
                "by PatchAttentionInspector.inspect."
            )
        depth = self._depth
        block = range(depth)[layer_position(layer, range(depth), depth)]
        reduction = check_reduction(head_reduction)
        return self._reload([block]).rollout(self.image, block, reduction)

    def on_original(self, grid: ArrayLike, *, smooth: bool = True) -> NDArray[np.float32]:
        """Put a map back on the pixels of the original image: resize and crop undone.

        Parameters
        ----------
        grid : array-like of shape (grid_h, grid_w) or (grid_h, grid_w, n_channels)
            A map: attention, a mask, similarities, colours.
        smooth : bool, default=True
            Whether values between the middles of patches are interpolated; otherwise each pixel
            has the value of its patch.

        Returns
        -------
        ndarray of shape (height, width[, n_channels]), dtype float32
            NaN where the model saw nothing because it was cropped away.

        Raises
        ------
        ValueError
            If `grid` is not of this image's grid.
        """
        values = np.asarray(grid, dtype=np.float32)
        if values.ndim not in (2, 3) or values.shape[:2] != self.grid:
            raise ValueError(
                f"The grid of this image has {self.grid[0]} rows and {self.grid[1]} columns of "
                f"patches, got an array of shape {values.shape}."
            )
        height, width = self.original_shape or self.image.shape[:2]
        left, top, right, bottom = self.window or (0, 0, width, height)
        rows = _weights(height, top, bottom, values.shape[0], smooth)
        columns = _weights(width, left, right, values.shape[1], smooth)
        result = np.tensordot(rows, values, axes=1)
        result = np.moveaxis(np.tensordot(columns, result, axes=(1, 1)), 0, 1)
        result[~rows.any(axis=1)] = np.nan
        result[:, ~columns.any(axis=1)] = np.nan
        return result

    @property
    def _depth(self) -> int:
        return max(self.layers) + 1 if self.depth is None else self.depth


def _is_share(value: Any) -> bool:
    return isinstance(value, Real) and 0 < float(value) <= 1


def _weights(
    n_pixels: int, start: float, stop: float, n_cells: int, smooth: bool
) -> NDArray[np.float32]:
    """Weights (n_pixels, n_cells) of cells spread from start to stop; 0 for pixels outside."""
    middles = np.arange(n_pixels) + 0.5
    seen = np.flatnonzero((middles >= start) & (middles < stop))
    if not seen.size:  # less than a pixel was seen, between two middles
        seen = np.array([min(int((start + stop) / 2), n_pixels - 1)])
    places: NDArray[Any] = np.clip((middles[seen] - start) / (stop - start), 0, 1) * n_cells
    weights = np.zeros((n_pixels, n_cells), dtype=np.float32)
    if not smooth:
        weights[seen, np.minimum(places.astype(np.intp), n_cells - 1)] = 1
        return weights
    places = np.clip(places - 0.5, 0, n_cells - 1)
    below = np.minimum(places.astype(np.intp), max(n_cells - 2, 0))
    above = np.minimum(below + 1, n_cells - 1)
    weights[seen, below] += 1 - (places - below)
    weights[seen, above] += places - below
    return weights
