"""AttentionDisplay: attention laid over images."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .._figures import SavableFigureMixin
from ..images import check_images
from ._maps import reduce_heads

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

    from ._inspector import PatchAttentionInspector

__all__ = ["AttentionDisplay"]

_PANEL_INCHES = 2.4
_PANELS_ACROSS = 6


class AttentionDisplay(SavableFigureMixin):
    """Images beside the attention that a model pays to them.

    It is best made by `from_estimator`, which also draws it. All arguments are kept as attributes,
    so that it can be drawn again in another way; colours are clipped, the attention is not.

    Parameters
    ----------
    images : sequence of ndarray of shape (height, width, 3), dtype uint8
        The pictures that the model saw.
    attention : sequence of ndarray of shape (n_heads, grid_h, grid_w)
        The attention of one block's heads over the patches of each picture.
    titles : sequence of str, default=None
        A title for each picture.

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
    >>> from dinov2_sklearn.attention import AttentionDisplay
    >>> rng = np.random.default_rng(0)
    >>> image = rng.integers(0, 256, (56, 84, 3), dtype=np.uint8)
    >>> display = AttentionDisplay([image], [rng.random((6, 4, 6))], titles=["noise"])
    >>> len(display.plot().axes_)
    2
    >>> len(display.plot(kind="heads").axes_)
    7
    """

    def __init__(
        self,
        images: Sequence[NDArray[np.uint8]],
        attention: Sequence[NDArray[Any]],
        *,
        titles: Sequence[str] | None = None,
    ) -> None:
        self.images = [np.asarray(image) for image in images]
        self.attention = [np.asarray(maps) for maps in attention]
        self.titles = None if titles is None else list(titles)
        counts = {len(self.images), len(self.attention), len(self.titles or self.images)}
        if counts == {0} or len(counts) > 1:
            n_titles = "no" if self.titles is None else len(self.titles)
            raise ValueError(
                f"Give one attention, and one title if any, for each image: got "
                f"{len(self.images)} images, {len(self.attention)} attentions and {n_titles} "
                "titles."
            )
        for maps in self.attention:
            if maps.ndim != 3 or len(maps) != len(self.attention[0]):
                raise ValueError(
                    "Each attention must be of shape (n_heads, grid_h, grid_w), with as many "
                    f"heads as the first, {self.attention[0].shape}; got {maps.shape}."
                )

    @classmethod
    def from_estimator(
        cls,
        estimator: PatchAttentionInspector,
        images: Any,
        *,
        layer: int | None = None,
        head: int | None = None,
        head_reduction: str | None = None,
        titles: Sequence[str] | None = None,
        **plot_options: Any,
    ) -> AttentionDisplay:
        """Compute and draw the attention of one image or several.

        Parameters
        ----------
        estimator : PatchAttentionInspector
            Computes it.
        images : path, PIL image or uint8 array, or several of these
            What to look at.
        layer : int, default=None
            The block, negative from the end. None takes the estimator's.
        head : int, default=None
            The head to draw, negative from the end. None takes the estimator's.
        head_reduction : {"mean", "max", "min"}, default=None
            How all heads are made one where no head is chosen. None takes the estimator's.
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
            If there is no such layer or head.

        Notes
        -----
        Cost is one forward pass an image, each for itself, since their shapes may differ.
        """
        several = (
            [images] if _is_single(images) else check_images(images, estimator_name=cls.__name__)
        )
        layer = estimator.layer if layer is None else layer
        maps = [estimator.inspect(image, layers=layer) for image in several]
        display = cls([m.image for m in maps], [m.attention[0] for m in maps], titles=titles)
        return display.plot(
            head=estimator.head if head is None else head,
            head_reduction=head_reduction or estimator.head_reduction,
            **plot_options,
        )

    def plot(
        self,
        axes: Any = None,
        *,
        kind: str = "overlay",
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
        kind : {"overlay", "heads"}, default="overlay"
            One map an image, of `head` or of all heads reduced; or one map for each head.
        head : int, default=None
            The head to draw as "overlay", negative from the end; None reduces all heads.
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
            For an unknown kind, a head out of range, or axes that are too few or too many.
        """
        chosen = self._choose(kind, head, head_reduction)
        limits = [[_limits(grid, percentiles) for grid in maps] for maps in chosen]
        panels = self._panels(axes, 1 + len(chosen[0]), figsize)
        style = {"cmap": cmap, "alpha": alpha, "interpolation": interpolation}
        for row, image, maps, ends in zip(panels, self.images, chosen, limits, strict=True):
            row[0].imshow(image)
            for ax, grid, (low, high) in zip(row[1:], maps, ends, strict=True):
                _overlay(ax, image, grid, vmin=low, vmax=high, **style)
        self._write_titles(panels, heads=kind == "heads")
        self.axes_: NDArray = panels.ravel()
        self.figure_: Figure | SubFigure = self.axes_[0].figure
        return self

    def _choose(self, kind: str, head: int | None, head_reduction: str) -> list[NDArray]:
        """Return the maps to draw of each image, of shape (n_maps, grid_h, grid_w)."""
        if kind not in ("overlay", "heads"):
            raise ValueError(f"kind must be 'overlay' or 'heads', got {kind!r}.")
        if kind == "heads":
            return self.attention
        return [reduce_heads(maps, head, head_reduction, axis=0)[None] for maps in self.attention]

    def _panels(self, axes: Any, n_each: int, figsize: tuple[float, float] | None) -> NDArray:
        """Return axes of shape (n_images, n_each), without frames."""
        n_images = len(self.images)
        n_panels = n_images * n_each
        if axes is None:
            flat = _new_axes(n_panels, _columns(n_images, n_each), self._aspect(), figsize)
        else:
            flat = np.asarray(axes, dtype=object).ravel()
        if len(flat) != n_panels:
            raise ValueError(
                f"{n_images} images of {n_each} panels each need {n_panels} axes, got {len(flat)}."
            )
        for ax in flat:
            ax.set_axis_off()
        return flat.reshape(n_images, n_each)

    def _aspect(self) -> float:
        """Return the height of a panel over its width: that of the tallest image, within reason."""
        tallest = max(image.shape[0] / image.shape[1] for image in self.images)
        return min(max(tallest, 0.4), 2.5)

    def _write_titles(self, panels: NDArray, heads: bool) -> None:
        for row, title in zip(panels, self.titles or [], strict=False):
            # A file's name may hold a $.
            row[0].set_title(title, fontsize=9, parse_math=False)
        if heads:
            for row in panels:
                for i, ax in enumerate(row[1:]):
                    ax.set_title(f"head {i}", fontsize=9)


def _is_single(images: Any) -> bool:
    if isinstance(images, np.ndarray):
        return images.dtype == np.uint8 and images.ndim in (2, 3)
    return isinstance(images, (str, bytes, os.PathLike, Image.Image))


def _limits(grid: NDArray, percentiles: tuple[float, float] | None) -> tuple[float, float]:
    low, high = np.percentile(grid, (0, 100) if percentiles is None else percentiles)
    return float(low), float(high)


def _columns(n_images: int, n_each: int) -> int:
    if n_images > 1:
        return n_each * min(n_images, max(1, _PANELS_ACROSS // n_each))
    return n_each if n_each <= 4 else math.ceil(math.sqrt(n_each))


def _new_axes(
    n_panels: int, n_columns: int, aspect: float, figsize: tuple[float, float] | None
) -> NDArray:
    """Make axes in a figure that pyplot does not know; spare places stay empty."""
    from matplotlib.figure import Figure

    n_rows = -(-n_panels // n_columns)
    if figsize is None:
        figsize = (_PANEL_INCHES * n_columns, _PANEL_INCHES * aspect * n_rows)
    figure = Figure(figsize=figsize, layout="constrained")
    axes = [figure.add_subplot(n_rows, n_columns, i + 1) for i in range(n_panels)]
    return np.array(axes, dtype=object)


def _overlay(ax: Axes, image: NDArray[np.uint8], grid: NDArray, **style: Any) -> None:
    height, width = image.shape[:2]
    ax.imshow(image)
    ax.imshow(grid, extent=(-0.5, width - 0.5, height - 0.5, -0.5), **style)
