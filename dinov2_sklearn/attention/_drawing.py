"""What AttentionDisplay draws with matplotlib."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

__all__ = ["draw_colors", "draw_overlay", "new_panels"]

_PANEL_INCHES = 2.4
_PANELS_ACROSS = 6


def new_panels(
    axes: Any,
    images: Sequence[NDArray[np.uint8]],
    n_each: int,
    figsize: tuple[float, float] | None,
) -> NDArray[np.object_]:
    """Return axes of shape (n_images, n_each) without frames: those given, or new ones."""
    n_panels = len(images) * n_each
    if axes is None:
        flat = _new_axes(n_panels, _columns(len(images), n_each), _aspect(images), figsize)
    else:
        flat = np.asarray(axes, dtype=object).ravel()
    if len(flat) != n_panels:
        raise ValueError(
            f"{len(images)} images of {n_each} panels each need {n_panels} axes, got {len(flat)}."
        )
    for ax in flat:
        ax.set_axis_off()
    return flat.reshape(len(images), n_each)


def _aspect(images: Sequence[NDArray[np.uint8]]) -> float:
    """Return the height of a panel over its width: that of the tallest image, within reason."""
    tallest = max(image.shape[0] / image.shape[1] for image in images)
    return min(max(tallest, 0.4), 2.5)


def _columns(n_images: int, n_each: int) -> int:
    if n_images > 1:
        return n_each * min(n_images, max(1, _PANELS_ACROSS // n_each))
    if n_each <= 4:
        return n_each
    return min((4, 5, 6), key=lambda columns: -n_each % columns)  # the fewest empty places


def _new_axes(
    n_panels: int, n_columns: int, aspect: float, figsize: tuple[float, float] | None
) -> NDArray[np.object_]:
    """Make axes in a figure that pyplot does not know; spare places stay empty."""
    n_rows = -(-n_panels // n_columns)
    if figsize is None:
        figsize = (_PANEL_INCHES * n_columns, _PANEL_INCHES * aspect * n_rows)
    figure = Figure(figsize=figsize, layout="constrained")
    axes = [figure.add_subplot(n_rows, n_columns, i + 1) for i in range(n_panels)]
    return np.array(axes, dtype=object)


def draw_overlay(
    ax: Axes,
    image: NDArray[np.uint8],
    grid: NDArray[np.float32],
    percentiles: tuple[float, float] | None,
    cmap: str,
    alpha: float,
    interpolation: str,
) -> None:
    """Draw an image and a map over it, whose colours end at its percentiles."""
    ends = (0, 100) if percentiles is None else percentiles
    if not 0 <= ends[0] < ends[1] <= 100:
        raise ValueError(f"percentiles must rise within 0 to 100, got {percentiles!r}.")
    low, high = np.percentile(grid, ends)
    ax.imshow(image)
    ax.imshow(
        grid,
        extent=_extent(image),
        vmin=float(low),
        vmax=float(high),
        cmap=cmap,
        alpha=alpha,
        interpolation=interpolation,
    )


def draw_colors(
    ax: Axes, image: NDArray[np.uint8], colors: NDArray[np.uint8], interpolation: str
) -> None:
    """Draw the colours of patches, as large as their image."""
    ax.imshow(colors, extent=_extent(image), interpolation=interpolation)


def _extent(image: NDArray[np.uint8]) -> tuple[float, float, float, float]:
    height, width = image.shape[:2]
    return -0.5, width - 0.5, height - 0.5, -0.5
