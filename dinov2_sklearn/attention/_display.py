"""AttentionDisplay: attention laid over images."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.utils.validation import check_is_fitted

from ..drawing import SavableFigureMixin
from ..images import check_images
from ._maps import AttentionMaps
from ._query import Query

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

__all__ = ["AttentionDisplay"]

_KINDS = ("overlay", "heads", "layers", "rollout", "pca")


class AttentionDisplay(SavableFigureMixin):
    """Images beside the attention that a model pays to them.

    It is best made by `from_estimator`, which also draws it. All arguments are kept as attributes,
    so that it can be drawn again in another way; colours are clipped, the attention is not.

    Parameters
    ----------
    maps : AttentionMaps or sequence of AttentionMaps
        What `PatchAttentionInspector.inspect` found in one image, or in each of several.
    patch_rgb : sequence of ndarray of shape (grid_h, grid_w, 3), dtype uint8, default=None
        The colours of each image's patches, for ``kind="pca"``.
    titles : sequence of str, default=None
        A title for each image.

    Attributes
    ----------
    figure_ : matplotlib Figure
        The figure of the last `plot`.
    axes_ : ndarray of matplotlib Axes
        Its panels: of each image the picture, then its maps.

    See Also
    --------
    PatchAttentionInspector : Computes the attention.

    Notes
    -----
    A figure of its own is made without ``matplotlib.pyplot``: nothing is shown or kept open behind
    the caller's back. In a notebook a drawn display shows itself.

    Examples
    --------
    >>> import numpy as np
    >>> from dinov2_sklearn.attention import AttentionDisplay, AttentionMaps
    >>> rng = np.random.default_rng(0)
    >>> maps = AttentionMaps(
    ...     attention=rng.random((3, 6, 4, 6), dtype=np.float32),
    ...     layers=(0, 1, 2),
    ...     patch_tokens=rng.random((4, 6, 8), dtype=np.float32),
    ...     image=rng.integers(0, 256, (56, 84, 3), dtype=np.uint8),
    ... )
    >>> display = AttentionDisplay([maps], titles=["noise"])
    >>> [len(display.plot(kind=kind).axes_) for kind in ("overlay", "heads", "layers")]
    [2, 7, 4]
    """

    def __init__(
        self,
        maps: AttentionMaps | Sequence[AttentionMaps],
        *,
        patch_rgb: Sequence[NDArray[np.uint8]] | None = None,
        titles: Sequence[str] | None = None,
    ) -> None:
        self.maps = [maps] if isinstance(maps, AttentionMaps) else list(maps)
        self.patch_rgb = None if patch_rgb is None else list(patch_rgb)
        self.titles = None if titles is None else list(titles)
        if not self.maps:
            raise ValueError("There is nothing to display: maps is empty.")
        strange = [type(m).__name__ for m in self.maps if not isinstance(m, AttentionMaps)]
        if strange:
            raise TypeError(
                f"maps must be AttentionMaps, got an object of type {strange[0]}. Images are for "
                "AttentionDisplay.from_estimator."
            )
        for name, values in (("patch_rgb", self.patch_rgb), ("titles", self.titles)):
            if values is not None and len(values) != len(self.maps):
                raise ValueError(
                    f"{name} must have one entry for each image: got {len(values)} for "
                    f"{len(self.maps)} images."
                )
        first = self.maps[0].attention.shape[:2]
        for other in self.maps:
            if other.attention.shape[:2] != first:
                raise ValueError(
                    "All maps must hold as many layers and heads as the first, "
                    f"{first[0]} and {first[1]}; got {other.attention.shape[:2]}."
                )

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        images: Any,
        *,
        kind: str = "overlay",
        layer: int | None = None,
        head: int | None = None,
        head_reduction: str | None = None,
        query: Query | None = None,
        titles: Sequence[str] | None = None,
        **plot_options: Any,
    ) -> AttentionDisplay:
        """Compute and draw the attention of one image or several.

        Parameters
        ----------
        estimator : PatchAttentionInspector
            Computes it. For ``kind="pca"`` it must be fitted.
        images : path, PIL image or uint8 array, or several of these
            What to look at.
        kind : {"overlay", "heads", "layers", "rollout", "pca"}, default="overlay"
            See `plot`.
        layer : int, default=None
            The block, negative from the end. None takes the estimator's.
        head : int, default=None
            The head to draw, negative from the end. None takes the estimator's.
        head_reduction : {"mean", "max", "min"}, default=None
            How all heads are made one where no head is chosen. None takes the estimator's.
        query : "cls", int or (int, int), default=None
            The token that looks. None takes the estimator's.
        titles : sequence of str, default=None
            A title for each image.
        **plot_options : dict
            Further options of `plot`.

        Returns
        -------
        AttentionDisplay

        Raises
        ------
        ImageDecodeError
            If an image cannot be decoded.
        ValueError
            If there is no such kind, layer or head.

        Notes
        -----
        Cost is that of `PatchAttentionInspector.inspect_many`.
        """
        _check_kind(kind)
        if kind == "pca":
            check_is_fitted(estimator, "patch_pca_")
        several = (
            [images] if _is_single(images) else check_images(images, estimator_name=cls.__name__)
        )
        layer = estimator.layer if layer is None else layer
        maps = list(estimator.inspect_many(several, None if kind == "layers" else layer, query))
        colors = None
        if kind == "pca":
            colors = [estimator.patch_pca_.colors(m.patch_tokens) for m in maps]
        return cls(maps, patch_rgb=colors, titles=titles).plot(
            kind=kind,
            layer=layer,
            head=estimator.head if head is None else head,
            head_reduction=head_reduction or estimator.head_reduction,
            **plot_options,
        )

    def plot(
        self,
        axes: Any = None,
        *,
        kind: str = "overlay",
        layer: int | None = None,
        head: int | None = None,
        head_reduction: str = "mean",
        percentiles: tuple[float, float] | None = (1, 99),
        cmap: str = "inferno",
        alpha: float = 0.6,
        interpolation: str = "bilinear",
        figsize: tuple[float, float] | None = None,
    ) -> AttentionDisplay:
        """Draw the images and, beside each, its attention laid over it.

        Parameters
        ----------
        axes : sequence of matplotlib Axes, default=None
            Axes to draw on, one for each panel: of each image the picture, then its maps. None
            makes a figure.
        kind : {"overlay", "heads", "layers", "rollout", "pca"}, default="overlay"
            What is beside each image. "overlay": one map, of `layer` and of `head` or all heads
            reduced. "heads": a map for each head of `layer`. "layers": a map for each layer there
            is. "rollout": one map, of the attention followed from `layer` down to the image.
            "pca": the colours of its patches.
        layer : int, default=None
            The block to draw, negative from the end; None draws the last there is.
        head : int, default=None
            The head to draw, negative from the end; None reduces all heads.
        head_reduction : {"mean", "max", "min"}, default="mean"
            How all heads are made one.
        percentiles : (float, float), default=(1, 99)
            Of each map, the percentiles that the ends of the colour scale stand for; what lies
            beyond has the colour of the end. None takes the whole range, where a single outlier
            may leave the rest dark.
        cmap : str, default="inferno"
            Name of a matplotlib colour map.
        alpha : float, default=0.6
            Opacity of the map over the image, 0 to 1.
        interpolation : str, default="bilinear"
            How the grid is drawn; "nearest" shows the patches as they are.
        figsize : (float, float), default=None
            Width and height of a new figure in inches. None gives each panel 2.4 inches.

        Returns
        -------
        AttentionDisplay
            This display.

        Raises
        ------
        ValueError
            For an unknown kind, a layer or a head that is not there, "pca" without colours, or
            axes that are too few or too many.
        """
        from ._drawing import draw_colors, draw_overlay, new_panels

        drawn, names = self._choose(_check_kind(kind), layer, head, head_reduction)
        images = [maps.image for maps in self.maps]
        panels = new_panels(axes, images, 1 + len(names), figsize)
        for row, image, grids in zip(panels, images, drawn, strict=True):
            row[0].imshow(image)
            for ax, grid in zip(row[1:], grids, strict=True):
                if kind == "pca":
                    draw_colors(ax, image, grid, interpolation)
                else:
                    draw_overlay(ax, image, grid, percentiles, cmap, alpha, interpolation)
        for row, title in zip(panels, self.titles or [], strict=False):
            # A file's name may hold a $.
            row[0].set_title(title, fontsize=9, parse_math=False)
        for row in panels:
            for ax, name in zip(row[1:], names, strict=True):
                ax.set_title(name, fontsize=9)
        self.axes_: NDArray = panels.ravel()
        self.figure_: Figure | SubFigure = self.axes_[0].figure
        return self

    def _choose(
        self, kind: str, layer: int | None, head: int | None, head_reduction: str
    ) -> tuple[list[list[NDArray]], list[str]]:
        """Return the grids to draw beside each image, and their names."""
        first = self.maps[0]
        if kind == "pca":
            if self.patch_rgb is None:
                raise ValueError(
                    'kind="pca" draws the colours of patches: give patch_rgb, or use '
                    "AttentionDisplay.from_estimator with a fitted inspector."
                )
            return [[colors] for colors in self.patch_rgb], [""]
        if kind == "rollout":
            return [[maps.rollout(layer, head_reduction)] for maps in self.maps], [""]
        if kind == "heads":
            heads = range(first.attention.shape[1])
            grids = [[maps.select(layer, head) for head in heads] for maps in self.maps]
            return grids, [f"head {head}" for head in heads]
        if kind == "layers":
            grids = [
                [maps.select(layer, head, head_reduction) for layer in maps.layers]
                for maps in self.maps
            ]
            return grids, [f"layer {layer}" for layer in first.layers]
        return [[maps.select(layer, head, head_reduction)] for maps in self.maps], [""]


def _check_kind(kind: str) -> str:
    if kind not in _KINDS:
        raise ValueError(f"kind must be one of {', '.join(map(repr, _KINDS))}, got {kind!r}.")
    return kind


def _is_single(images: Any) -> bool:
    if isinstance(images, np.ndarray):
        return images.dtype == np.uint8 and images.ndim in (2, 3)
    return isinstance(images, (str, bytes, os.PathLike, Image.Image))
